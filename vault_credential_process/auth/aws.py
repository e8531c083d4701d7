"""What the two ways into Vault's AWS auth method share: one path, and advice that fits what Vault said.

https://developer.hashicorp.com/vault/api-docs/auth/aws#login
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import refusals
from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.errors import AuthenticationError
from vault_credential_process.models import VaultToken
from vault_credential_process.refusals import RefusedError

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AWSMethod(AuthMethod):
    """Log in as something that AWS vouches for."""

    default_mount: ClassVar[str] = "aws"
    takes_role: ClassVar[bool] = True

    def _log_in(
        self,
        vault: Vault,
        proof: Mapping[str, str],
        *,
        advice: Mapping[str, str],
        otherwise: str,
        secrets: Sequence[str],
    ) -> VaultToken:
        """Log in at ``auth/<mount>/login``.

        ``advice`` tells what to do where Vault's answer has certain words, the first of them first. Some of these
        answers have the status of a failure of the server, but none goes away by itself.
        """
        role = self.config.vault_auth_role
        path = f"auth/{self.mount}/login"
        try:
            answer = vault.ask(path, {**({"role": role} if role else {}), **proof}, secrets=secrets)
        except RefusedError as error:
            refusal = error.refusal
            said = " ".join(refusal.errors or ())
            remedy = next((told for words, told in advice.items() if words in said), None)
            if remedy is not None and refusal.status in (400, 500):
                raise AuthenticationError(f"{refusal.where}: login refused: {refusal.text}; {remedy}") from None
            raise refusals.login(refusal, mount=self.mount, remedy=otherwise) from None
        return vault.granted(answer, path)

    def _role(self, default: str) -> str:
        """Return which role was asked for and where that is set; ``default`` is what Vault takes without one."""
        if self.config.vault_auth_role:
            return f"vault_auth_role (from {self.config.origin('vault_auth_role')})"
        return f"vault_auth_role (not set, so Vault takes {default})"
