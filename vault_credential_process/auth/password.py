"""What the methods with a user name and a password share."""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import refusals, refused, sources
from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.config import require
from vault_credential_process.errors import (
    ConfigurationError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.models import Identity, VaultToken, option, options_of
from vault_credential_process.parsers import parse_username
from vault_credential_process.refusals import Refusal

if TYPE_CHECKING:
    from vault_credential_process.answers import Answer
    from vault_credential_process.vault import Vault

_SECRETS = ("password", "totp")
"""What must not be repeated of all that is sent."""

_AWAY = (
    "error connecting to host",
    "connection refused",
    "connection reset",
    "context deadline exceeded",
    "i/o timeout",
    "network is unreachable",
    "no route to host",
    "no such host",
)
"""What Vault says, with the status of a wrong password, where whom it asks does not answer."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PasswordMethod(AuthMethod):
    """Log in as a user. Without a password at hand, ``login`` asks for it and ``get`` goes on with what it left."""

    asked: ClassVar[str] = ""
    """Whom Vault asks whether the password is right, in words for an error; nobody where it knows by itself."""
    locks: ClassVar[bool] = False
    """Whether Vault locks a user after wrong passwords; then it answers 403 to the right one, too."""
    renews: ClassVar[bool] = True
    """Whether the token may be renewed; not where Vault would log in once more, and somebody might be asked to."""

    vault_username: str | None = option(
        "VAULT_USERNAME", flag="--username", parse=parse_username, metavar="NAME", help="user name to log in with"
    )
    vault_password_file: str | None = sources.from_file("vault_password", "password")
    vault_password_keyring: str | None = sources.from_keyring("vault_password", "password")
    vault_password_command: tuple[str, ...] | None = sources.from_command("vault_password", "password")
    vault_password: str | None = sources.from_environment("vault_password", "password")

    @property
    def needs_host_cache(self) -> bool:
        """Whether what a login brings must outlive the process: without a stored password a person logged in."""
        return sources.find(self.config, "vault_password") is None

    def identity(self) -> Identity:
        """Return the user: another password of the same user makes nobody else of him."""
        return Identity((self.name, self.mount, self._username()))

    def login(self, vault: Vault) -> VaultToken:
        """Log in at ``auth/<mount>/login/<user name>``.

        A stored password that was refused is not sent again for a while, unless a person wants it.
        """
        username = self._username()
        path = f"auth/{self.mount}/login/{urllib.parse.quote(username, safe='')}"
        source = sources.find(self.config, "vault_password")
        if source is not None:
            if vault.person is None:
                self._check_alone(path)
            password, origin = source.read(vault.deadline), f"the password (from {source})"
        elif vault.person is not None:
            password = vault.person.ask(f"Password of {username} at {self.config.vault_addr} ({self.name}): ")
            origin = "the password"
        else:
            raise self.nobody_is_logged_in()
        if not password:
            # A directory takes it for somebody without a name, whom it may let in.
            raise ConfigurationError(f"{source.key if source else 'vault_password'}: {source or 'the answer'}: empty")
        with refused.once(
            vault,
            path,
            password,
            what="refused password",
            origin=origin,
            beside=f"vault_username (from {self.config.origin('vault_username')})",
            locked="a user",
            explain=lambda refusal: self._refused(refusal, username, origin),
        ):
            body = self._body(vault, password)
            secrets = tuple(body[key] for key in _SECRETS if key in body)
            answer = self._ask(vault, path, body, secrets)
        token = vault.granted(answer, path, secrets=secrets)
        return token if self.renews else dataclasses.replace(token, renewable=False)

    def _check_alone(self, path: str) -> None:
        """Refuse what nobody but a person should set off; nothing, as a rule.

        :raises AuthenticationError: when a login at ``path`` is of that kind.
        """

    def _body(self, vault: Vault, password: str) -> dict[str, str]:
        """Return what is sent."""
        del vault
        return {"password": password}

    def _ask(self, vault: Vault, path: str, body: Mapping[str, str], secrets: tuple[str, ...]) -> Answer:
        """Send the login.

        :raises RefusedError: when Vault answers with anything but success.
        """
        return vault.ask(path, body, secrets=secrets)

    def _refused(self, refusal: Refusal, username: str, origin: str) -> VaultCredentialError:
        """Return the error of a refused login. What the server wrote decides: a short password blots out much of it."""
        said = " ".join(refusal.errors or ()).lower()
        asked = f"vault_username (from {self.config.origin('vault_username')})"
        if refusal.status == 404 and "unsupported path" in said:
            return ConfigurationError(
                f"{refusal.where}: {refusal.text}: {self.name} has no such user names; check {asked}"
            )
        if refusal.status == 400 and any(words in said for words in _AWAY):
            return UnreachableError(
                f"{refusal.where}: Vault does not reach {self.asked}: {refusal.text}; check that it runs, and "
                f"auth/{self.mount}/config, then try again"
            )
        if refusal.status == 400 and "not configured" in said:
            return ConfigurationError(f"{refusal.where}: {refusal.text}; write auth/{self.mount}/config in Vault")
        remedy = f"check {asked} and {origin}"
        if refusal.status == 403 and self.locks:
            remedy = f"{username} is locked out after wrong passwords: wait 15 minutes, or see sys/locked-users"
        return refusals.login(refusal, mount=self.mount, remedy=remedy)

    def _username(self) -> str:
        if self.vault_username is None:
            raise require(self.config, "vault_username", options_of(type(self)))
        return self.vault_username
