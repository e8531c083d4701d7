"""What the methods share that show a signed token of their platform and ask for a role."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.models import Identity, VaultToken

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BearerMethod(AuthMethod):
    """Log in with a JSON Web Token that is fetched anew at each login, so that it may rotate."""

    takes_role: ClassVar[bool] = True

    def identity(self) -> Identity:
        """Return role and source: the token itself is replaced all the time."""
        return Identity((self.name, self.mount, self.config.vault_auth_role or "", *self._source()))

    def login(self, vault: Vault) -> VaultToken:
        """Log in at ``auth/<mount>/login``."""
        proof, origin = self._proof(vault)
        role = self.config.vault_auth_role
        body = {"jwt": proof, **({"role": role} if role else {}), **self._further(vault)}
        asked = (
            f"vault_auth_role (from {self.config.origin('vault_auth_role')})" if role else "vault_auth_role (not set)"
        )
        remedy = f"check {asked} and what it is bound to; the token came from {origin}"
        return vault.login(f"auth/{self.mount}/login", body, mount=self.mount, remedy=remedy, secrets=[proof])

    @abc.abstractmethod
    def _source(self) -> tuple[str, ...]:
        """Return the names of the place that the token comes from."""

    @abc.abstractmethod
    def _proof(self, vault: Vault) -> tuple[str, str]:
        """Return the token, and where it came from in words for an error.

        :raises VaultCredentialError: when it cannot be had.
        """

    def _further(self, vault: Vault) -> dict[str, str]:
        """Return what else is sent."""
        del vault
        return {}
