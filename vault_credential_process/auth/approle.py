"""AppRole: a Role ID and, where the role binds one, a Secret ID.

https://developer.hashicorp.com/vault/api-docs/auth/approle#login-with-approle
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import sources
from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.config import require
from vault_credential_process.errors import AuthUnavailable
from vault_credential_process.models import Identity, VaultToken, option, options_of
from vault_credential_process.parsers import parse_path

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault

_TOKEN_PREFIXES = ("hvs.", "hvb.", "hvr.", "s.", "b.", "r.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AppRole(AuthMethod):
    """Log in with a Role ID and a Secret ID."""

    name: ClassVar[str] = "approle"
    default_mount: ClassVar[str] = "approle"
    summary: ClassVar[str] = "a Role ID and a Secret ID, for machines and services"

    vault_role_id: str | None = option(
        "VAULT_ROLE_ID", flag="--role-id", metavar="ID", redacted=True, help="Role ID of the AppRole"
    )
    vault_secret_id_file: str | None = option(
        "VAULT_SECRET_ID_FILE",
        flag="--secret-id-file",
        parse=parse_path,
        metavar="FILE",
        help="file that holds the Secret ID, read at each login",
    )
    vault_secret_id: str | None = option("VAULT_SECRET_ID", secret=True, help="the Secret ID itself")

    def identity(self) -> Identity:
        """Return the Role ID, and the Secret ID as a secret: whoever has another one may be somebody else."""
        role_id, secret_id, _ = self._found()
        return Identity((self.name, self.mount, role_id), (secret_id,) if secret_id else ())

    def watched(self) -> tuple[str, ...]:
        return (self.vault_secret_id_file,) if self.vault_secret_id_file else ()

    def login(self, vault: Vault) -> VaultToken:
        """Log in at ``auth/<mount>/login``."""
        role_id, secret_id, origin = self._found()
        body = {"role_id": role_id}
        remedy = f"check vault_role_id (from {self.config.origin('vault_role_id')})"
        if secret_id is None:
            remedy += ", and set vault_secret_id_file or VAULT_SECRET_ID if the role binds a Secret ID"
        else:
            body["secret_id"] = secret_id
            remedy += f" and the Secret ID (from {origin}): it may have expired or be used up"
            if secret_id.startswith(_TOKEN_PREFIXES):
                remedy = (
                    f"the Secret ID (from {origin}) begins like a Vault token: it may be a wrapping "
                    "token, which must be unwrapped first (vault unwrap -field=secret_id)"
                )
        return vault.login(
            f"auth/{self.mount}/login", body, mount=self.mount, remedy=remedy, secrets=[secret_id] if secret_id else []
        )

    def _found(self) -> tuple[str, str | None, str]:
        """Return Role ID, Secret ID, and where the latter was found."""
        secret_id, origin = self._secret_id()
        if self.vault_role_id is None:
            if secret_id is None:
                raise AuthUnavailable("vault_role_id is not set")
            raise require(self.config, "vault_role_id", options_of(type(self)))
        return self.vault_role_id, secret_id, origin

    def _secret_id(self) -> tuple[str | None, str]:
        """Return the Secret ID and where it was found."""
        source = self.config.foremost("vault_secret_id_file", "vault_secret_id")
        if source == "vault_secret_id_file" and self.vault_secret_id_file:
            return sources.read_file(self.vault_secret_id_file, source), self.vault_secret_id_file
        if source == "vault_secret_id" and self.vault_secret_id:
            return self.vault_secret_id.strip(), str(self.config.origin(source))
        return None, ""
