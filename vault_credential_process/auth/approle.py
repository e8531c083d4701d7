"""AppRole: a Role ID and, where the role binds one, a Secret ID, as it is or response-wrapped.

https://developer.hashicorp.com/vault/api-docs/auth/approle#login-with-approle
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import refusals, refused, sources
from vault_credential_process.auth import wrapping
from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.config import require
from vault_credential_process.errors import AuthUnavailable
from vault_credential_process.models import Identity, VaultToken, option, options_of
from vault_credential_process.parsers import parse_mount, parse_path, parse_role

if TYPE_CHECKING:
    from vault_credential_process.errors import VaultCredentialError
    from vault_credential_process.refusals import Refusal
    from vault_credential_process.vault import Vault

_TOKEN_PREFIXES = ("hvs.", "hvb.", "hvr.", "s.", "b.", "r.")
_WRAPPED = "vault_secret_id_wrapped_file"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AppRole(AuthMethod):
    """Log in with a Role ID and a Secret ID."""

    name: ClassVar[str] = "approle"
    default_mount: ClassVar[str] = "approle"
    summary: ClassVar[str] = "a Role ID and a Secret ID, for machines and services"

    vault_role_id: str | None = option(
        "VAULT_ROLE_ID", flag="--role-id", metavar="ID", redacted=True, help="Role ID of the AppRole"
    )
    vault_secret_id_file: str | None = sources.from_file("vault_secret_id", "Secret ID")
    vault_secret_id_keyring: str | None = sources.from_keyring("vault_secret_id", "Secret ID")
    vault_secret_id_command: tuple[str, ...] | None = sources.from_command("vault_secret_id", "Secret ID")
    vault_secret_id: str | None = sources.from_environment("vault_secret_id", "Secret ID")
    vault_secret_id_wrapped_file: str | None = option(
        "VAULT_SECRET_ID_WRAPPED_FILE",
        flag="--secret-id-wrapped-file",
        parse=parse_path,
        metavar="FILE",
        help="file that holds the wrapping token of a response-wrapped Secret ID, unwrapped once and then kept",
    )
    vault_approle_role_name: str | None = option(
        "VAULT_APPROLE_ROLE_NAME",
        flag="--approle-role-name",
        parse=parse_role,
        metavar="ROLE",
        help="name of the AppRole, which the Role ID does not tell; a wrapped Secret ID must have been made for it",
    )
    vault_secret_id_wrapping_path: str | None = option(
        "VAULT_SECRET_ID_WRAPPING_PATH",
        flag="--secret-id-wrapping-path",
        parse=parse_mount,
        metavar="PATH",
        help="path that a wrapped Secret ID must have been made at (default: auth/<mount>/role/<role>/secret-id)",
    )

    def at_home(self) -> None:
        """Leave it to :meth:`identity`: without a Role ID there is nothing to try."""

    @property
    def needs_host_cache(self) -> bool:
        """Whether what a login brings must outlive the process: a wrapping token serves once on a host."""
        source = self._source()
        return source is not None and source.key == _WRAPPED

    def identity(self) -> Identity:
        """Return the Role ID, and the Secret ID as a secret: whoever has another one may be somebody else.

        A wrapping token stands for the Secret ID that it wraps.
        """
        role_id, source = self._found()
        parts, secrets = source.told() if source is not None else ((), ())
        return Identity((self.name, self.mount, role_id, *parts), secrets)

    def watched(self) -> tuple[str, ...]:
        return tuple(path for path in (self.vault_secret_id_file, self.vault_secret_id_wrapped_file) if path)

    def login(self, vault: Vault) -> VaultToken:
        """Log in at ``auth/<mount>/login``.

        A Secret ID that was refused is not sent again for a while, unless a person wants it: Vault would lock the role
        for everybody.
        """
        path = f"auth/{self.mount}/login"
        role_id, source = self._found()
        remedy = f"check vault_role_id (from {self.config.origin('vault_role_id')})"
        if source is None:
            remedy += ", and set vault_secret_id_file or VAULT_SECRET_ID if the role binds a Secret ID"
            return vault.login(path, {"role_id": role_id}, mount=self.mount, remedy=remedy)
        secret_id = held = source.read(vault.deadline)
        if source.key == _WRAPPED:
            secret_id, is_new = wrapping.secret_id(vault, self, source, held, self._creation_path())
            if is_new:
                # The path that a wrapping token was made at does not tell the namespace.
                remedy = (
                    f"POSSIBLE INTERCEPTION: the Secret ID was unwrapped from {source} just now: the wrapping token "
                    "may have been replaced by one of another namespace; tell the security team, unless vault_role_id "
                    f"(from {self.config.origin('vault_role_id')}) or vault_auth_namespace is wrong"
                )
            else:
                remedy += (
                    f", or deliver a new wrapped Secret ID in {source}: the one that was unwrapped may have expired or "
                    "be used up"
                )
        else:
            remedy += f" and the Secret ID (from {source}): it may have expired or be used up"
            if held.startswith(_TOKEN_PREFIXES):
                remedy = (
                    f"the Secret ID (from {source}) begins like a Vault token: if it is a wrapping token, name its "
                    f"file in {_WRAPPED}"
                )
        body, secrets = {"role_id": role_id, "secret_id": secret_id}, (secret_id, held)

        def explain(refusal: Refusal) -> VaultCredentialError:
            locked = "the role is locked out after wrong Secret IDs: wait 15 minutes, or see sys/locked-users"
            return refusals.login(refusal, mount=self.mount, remedy=locked if refusal.status == 403 else remedy)

        with refused.once(
            vault,
            path,
            role_id,
            secret_id,
            what="refused Secret ID",
            origin=f"the Secret ID ({'unwrapped ' if source.key == _WRAPPED else ''}from {source})",
            beside=f"vault_role_id (from {self.config.origin('vault_role_id')})",
            locked="the role",
            explain=explain,
        ):
            answer = vault.ask(path, body, secrets=secrets)
        return vault.granted(answer, path, secrets=secrets)

    def _found(self) -> tuple[str, sources.Source | None]:
        """Return the Role ID, and where the Secret ID is."""
        source = self._source()
        if self.vault_role_id is None:
            if source is None:
                raise AuthUnavailable("vault_role_id is not set")
            raise require(self.config, "vault_role_id", options_of(type(self)))
        if source is not None and source.key == _WRAPPED and not self._creation_path():
            raise require(self.config, "vault_approle_role_name", options_of(type(self)))
        return self.vault_role_id, source

    def _source(self) -> sources.Source | None:
        """Return where the Secret ID is, or the token that wraps it: the origin decides, then the wrapped one."""
        plain = sources.find(self.config, "vault_secret_id")
        file = self.vault_secret_id_wrapped_file
        if not file or (plain is not None and self.config.foremost(_WRAPPED, plain.key) != _WRAPPED):
            return plain
        return sources.Source(_WRAPPED, file, str(self.config.origin(_WRAPPED)))

    def _creation_path(self) -> str:
        """Return where a wrapped Secret ID must have been made; empty where nothing tells.

        OpenBao writes it without the namespace.
        """
        if self.vault_secret_id_wrapping_path:
            return self.vault_secret_id_wrapping_path
        name = self.vault_approle_role_name
        return f"auth/{self.mount}/role/{name}/secret-id" if name else ""
