"""AWSIAM: an AWS identity: a signed sts:GetCallerIdentity."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.models import Identity, VaultToken

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AWSIAM(AuthMethod):
    """Log in with an AWS identity: a signed sts:GetCallerIdentity."""

    name: ClassVar[str] = "aws-iam"
    default_mount: ClassVar[str] = "aws"
    summary: ClassVar[str] = "an AWS identity: a signed sts:GetCallerIdentity"
    takes_role: ClassVar[bool] = True

    def identity(self) -> Identity:
        return Identity((self.name, self.mount))

    def login(self, vault: Vault) -> VaultToken:
        raise self.nobody_is_logged_in()
