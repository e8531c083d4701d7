"""JWT: a JSON Web Token: of a CI job, a file, a variable or a command."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.models import Identity, VaultToken

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JWT(AuthMethod):
    """Log in with a JSON Web Token: of a CI job, a file, a variable or a command."""

    name: ClassVar[str] = "jwt"
    default_mount: ClassVar[str] = "jwt"
    summary: ClassVar[str] = "a JSON Web Token: of a CI job, a file, a variable or a command"
    takes_role: ClassVar[bool] = True

    def identity(self) -> Identity:
        return Identity((self.name, self.mount))

    def login(self, vault: Vault) -> VaultToken:
        raise self.nobody_is_logged_in()
