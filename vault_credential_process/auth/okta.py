"""Okta: a user of Okta."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.models import Identity, VaultToken

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Okta(AuthMethod):
    """Log in with a user of Okta."""

    name: ClassVar[str] = "okta"
    default_mount: ClassVar[str] = "okta"
    summary: ClassVar[str] = "a user of Okta"
    takes_role: ClassVar[bool] = False

    def identity(self) -> Identity:
        return Identity((self.name, self.mount))

    def login(self, vault: Vault) -> VaultToken:
        raise self.nobody_is_logged_in()
