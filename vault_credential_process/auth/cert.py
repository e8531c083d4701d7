"""TLS certificates: the client certificate of the connection is the proof.

https://developer.hashicorp.com/vault/api-docs/auth/cert#login-with-tls-certificate-method
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import refusals
from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.config import require
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.models import Identity, VaultToken, options_of
from vault_credential_process.refusals import RefusedError

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cert(AuthMethod):
    """Log in with ``vault_client_cert`` and ``vault_client_key``, loaded anew for each call that asks Vault."""

    name: ClassVar[str] = "cert"
    default_mount: ClassVar[str] = "cert"
    summary: ClassVar[str] = "the client certificate of the TLS connection"
    takes_role: ClassVar[bool] = True

    def identity(self) -> Identity:
        """Return the role and the certificate's file: the certificate itself is replaced from time to time."""
        config = self.config
        if config.vault_client_cert is None:
            raise require(config, "vault_client_cert", options_of(type(config)))
        if not config.vault_addr.startswith("https:"):
            raise ConfigurationError(
                f"vault_addr: {config.vault_addr} is no TLS connection, which auth method cert shows its certificate "
                f"in (from {config.origin('vault_addr')}); write https://"
            )
        return Identity((self.name, self.mount, config.vault_auth_role or "", config.vault_client_cert))

    def login(self, vault: Vault) -> VaultToken:
        """Log in at ``auth/<mount>/login``."""
        role = self.config.vault_auth_role
        path = f"auth/{self.mount}/login"
        remedy = f"check {self.config.vault_client_cert}: its CA, its names and its end"
        remedy += f", and vault_auth_role (from {self.config.origin('vault_auth_role')})" if role else ""
        try:
            answer = vault.ask(path, {"name": role} if role else {})
        except RefusedError as error:
            refusal = error.refusal
            if "failed to verify client's certificate" in refusal.text:
                # Vault answers 500 for a certificate that has expired.
                refusal = dataclasses.replace(refusal, status=400)
            raise refusals.login(refusal, mount=self.mount, remedy=remedy) from None
        return vault.granted(answer, path)
