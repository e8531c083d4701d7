"""What the methods with a user name and a password share."""

from __future__ import annotations

import dataclasses
import urllib.parse
from typing import TYPE_CHECKING

from vault_credential_process import sources
from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.config import require
from vault_credential_process.models import Identity, VaultToken, option, options_of
from vault_credential_process.parsers import parse_username

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PasswordMethod(AuthMethod):
    """Log in as a user. Without a password at hand, ``login`` asks for it and ``get`` goes on with what it left."""

    vault_username: str | None = option(
        "VAULT_USERNAME", flag="--username", parse=parse_username, metavar="NAME", help="user name to log in with"
    )
    vault_password_file: str | None = sources.from_file("vault_password", "password")
    vault_password_keyring: str | None = sources.from_keyring("vault_password", "password")
    vault_password_command: tuple[str, ...] | None = sources.from_command("vault_password", "password")
    vault_password: str | None = sources.from_environment("vault_password", "password")

    def identity(self) -> Identity:
        """Return the user: another password of the same user makes nobody else of him."""
        return Identity((self.name, self.mount, self._username()))

    def login(self, vault: Vault) -> VaultToken:
        """Log in at ``auth/<mount>/login/<user name>``."""
        username = self._username()
        source = sources.find(self.config, "vault_password")
        if source is not None:
            password, origin = source.read(vault.deadline), f"the password (from {source})"
        elif vault.person is not None:
            password = vault.person.ask(f"Password of {username} at {self.config.vault_addr} ({self.name}): ")
            origin = "the password"
        else:
            raise self.nobody_is_logged_in()
        remedy = f"check vault_username (from {self.config.origin('vault_username')}) and {origin}"
        path = f"auth/{self.mount}/login/{urllib.parse.quote(username, safe='')}"
        return vault.login(path, self._body(vault, password), mount=self.mount, remedy=remedy, secrets=[password])

    def _body(self, vault: Vault, password: str) -> dict[str, str]:
        """Return what is sent."""
        del vault
        return {"password": password}

    def _username(self) -> str:
        if self.vault_username is None:
            raise require(self.config, "vault_username", options_of(type(self)))
        return self.vault_username
