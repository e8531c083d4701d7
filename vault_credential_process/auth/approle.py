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
    vault_secret_id_file: str | None = sources.from_file("vault_secret_id", "Secret ID")
    vault_secret_id_keyring: str | None = sources.from_keyring("vault_secret_id", "Secret ID")
    vault_secret_id_command: tuple[str, ...] | None = sources.from_command("vault_secret_id", "Secret ID")
    vault_secret_id: str | None = sources.from_environment("vault_secret_id", "Secret ID")

    def at_home(self) -> None:
        """Leave it to :meth:`identity`: without a Role ID there is nothing to try."""

    def identity(self) -> Identity:
        """Return the Role ID, and the Secret ID as a secret: whoever has another one may be somebody else."""
        role_id, source = self._found()
        parts, secrets = source.told() if source is not None else ((), ())
        return Identity((self.name, self.mount, role_id, *parts), secrets)

    def watched(self) -> tuple[str, ...]:
        return (self.vault_secret_id_file,) if self.vault_secret_id_file else ()

    def login(self, vault: Vault) -> VaultToken:
        """Log in at ``auth/<mount>/login``."""
        role_id, source = self._found()
        remedy = f"check vault_role_id (from {self.config.origin('vault_role_id')})"
        if source is None:
            remedy += ", and set vault_secret_id_file or VAULT_SECRET_ID if the role binds a Secret ID"
            return vault.login(f"auth/{self.mount}/login", {"role_id": role_id}, mount=self.mount, remedy=remedy)
        secret_id = source.read(vault.deadline)
        remedy += f" and the Secret ID (from {source}): it may have expired or be used up"
        if secret_id.startswith(_TOKEN_PREFIXES):
            remedy = (
                f"the Secret ID (from {source}) begins like a Vault token: it may be a wrapping "
                "token, which must be unwrapped first (vault unwrap -field=secret_id)"
            )
        body = {"role_id": role_id, "secret_id": secret_id}
        return vault.login(f"auth/{self.mount}/login", body, mount=self.mount, remedy=remedy, secrets=[secret_id])

    def _found(self) -> tuple[str, sources.Source | None]:
        """Return the Role ID, and where the Secret ID is."""
        source = sources.find(self.config, "vault_secret_id")
        if self.vault_role_id is None:
            if source is None:
                raise AuthUnavailable("vault_role_id is not set")
            raise require(self.config, "vault_role_id", options_of(type(self)))
        return self.vault_role_id, source
