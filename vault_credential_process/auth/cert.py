"""TLS certificates: the client certificate of the connection is the proof.

https://developer.hashicorp.com/vault/api-docs/auth/cert#login-with-tls-certificate-method
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.config import require
from vault_credential_process.models import Identity, VaultToken, options_of

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cert(AuthMethod):
    """Log in with ``vault_client_cert`` and ``vault_client_key``, loaded anew at each login."""

    name: ClassVar[str] = "cert"
    default_mount: ClassVar[str] = "cert"
    summary: ClassVar[str] = "the client certificate of the TLS connection"
    takes_role: ClassVar[bool] = True

    def identity(self) -> Identity:
        """Return the role and the certificate's file: the certificate itself is replaced from time to time."""
        if self.config.vault_client_cert is None:
            raise require(self.config, "vault_client_cert", options_of(type(self.config)))
        return Identity((self.name, self.mount, self.config.vault_auth_role or "", self.config.vault_client_cert))

    def login(self, vault: Vault) -> VaultToken:
        """Log in at ``auth/<mount>/login``."""
        role = self.config.vault_auth_role
        remedy = f"check {self.config.vault_client_cert}: its CA, its names and its end"
        remedy += f", and vault_auth_role (from {self.config.origin('vault_auth_role')})" if role else ""
        return vault.login(f"auth/{self.mount}/login", {"name": role} if role else {}, mount=self.mount, remedy=remedy)
