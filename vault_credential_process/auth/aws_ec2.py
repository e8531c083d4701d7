"""AWSEC2: the identity document of an EC2 instance."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.models import Identity, VaultToken

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AWSEC2(AuthMethod):
    """Log in with the identity document of an EC2 instance."""

    name: ClassVar[str] = "aws-ec2"
    default_mount: ClassVar[str] = "aws"
    summary: ClassVar[str] = "the identity document of an EC2 instance"
    takes_role: ClassVar[bool] = True

    def identity(self) -> Identity:
        return Identity((self.name, self.mount))

    def login(self, vault: Vault) -> VaultToken:
        raise self.nobody_is_logged_in()
