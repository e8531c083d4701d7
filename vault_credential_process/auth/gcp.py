"""GCP: the service account of a Google Cloud workload."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.models import Identity, VaultToken

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GCP(AuthMethod):
    """Log in with the service account of a Google Cloud workload."""

    name: ClassVar[str] = "gcp"
    default_mount: ClassVar[str] = "gcp"
    summary: ClassVar[str] = "the service account of a Google Cloud workload"
    takes_role: ClassVar[bool] = True

    def identity(self) -> Identity:
        return Identity((self.name, self.mount))

    def login(self, vault: Vault) -> VaultToken:
        raise self.nobody_is_logged_in()
