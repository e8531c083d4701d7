"""What the methods share that show a signed token of their platform and ask for a role."""

from __future__ import annotations

import abc
import base64
import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any, ClassVar

from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.errors import AuthenticationError, ConfigurationError
from vault_credential_process.expiry import format_timestamp
from vault_credential_process.models import Identity, VaultToken

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault

_SIGNED = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+", re.ASCII)
"""A JSON Web Signature in its compact form (RFC 7515, 7.1); the middle part are the claims."""

_FLEETING = frozenset({"iat", "nbf", "exp", "jti"})
"""Claims that are new in each token (RFC 7519, 4.1)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BearerMethod(AuthMethod):
    """Log in with a JSON Web Token that is fetched anew at each login, so that it may rotate."""

    takes_role: ClassVar[bool] = True
    further_advice: ClassVar[str] = ""
    """What else to check where a login is refused."""

    def identity(self) -> Identity:
        """Return role and source: the token itself is replaced all the time."""
        parts = (self.name, self.mount, self.config.vault_auth_role or "", *self._source())
        return Identity(parts, self._secrets())

    def login(self, vault: Vault) -> VaultToken:
        """Log in at ``auth/<mount>/login``.

        A token that is none, or has ended by the clock of this host, is not sent.
        """
        proof, origin = self._proof(vault)
        _check(proof, origin, vault.now())
        role = self.config.vault_auth_role
        body = {"jwt": proof, **({"role": role} if role else {}), **self._further(vault)}
        if role:
            remedy = f"check vault_auth_role (from {self.config.origin('vault_auth_role')}) and what it is bound to"
        else:
            remedy = "set vault_auth_role, or check the default role of the mount"
        remedy += f"{self.further_advice}; the token came from {origin}"
        return self._send(vault, body, remedy)

    @abc.abstractmethod
    def _source(self) -> tuple[str, ...]:
        """Return the names of the place that the token comes from."""

    def _secrets(self) -> tuple[str, ...]:
        """Return what tells those apart who find their tokens at the same place, and is not to be shown."""
        return ()

    @abc.abstractmethod
    def _proof(self, vault: Vault) -> tuple[str, str]:
        """Return the token, and where it came from in words for an error.

        :raises VaultCredentialError: when it cannot be had.
        """

    def _further(self, vault: Vault) -> dict[str, str]:
        """Return what else is sent."""
        del vault
        return {}

    def _send(self, vault: Vault, body: dict[str, str], remedy: str) -> VaultToken:
        """Send the login; ``remedy`` is what to advise where it is refused."""
        return vault.login(f"auth/{self.mount}/login", body, mount=self.mount, remedy=remedy, secrets=[body["jwt"]])


def bearer_of(proof: str) -> str:
    """Return what stays the same in the tokens of one bearer: their claims, without what is new in each.

    Of something that is no JSON Web Token it is the whole.
    """
    claims = _claims(proof)
    if claims is None:
        return proof
    return json.dumps({name: value for name, value in claims.items() if name not in _FLEETING}, sort_keys=True)


def _claims(proof: str) -> dict[str, Any] | None:
    """Return what a token claims; ``None`` where it is no JSON Web Token."""
    found = _SIGNED.fullmatch(proof)
    try:
        encoded = found.group(1) if found else ""
        claims = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _check(proof: str, origin: str, now: float) -> None:
    """Refuse what cannot succeed; whether the signature is good is for Vault to say.

    :raises ConfigurationError: when it is no JSON Web Token.
    :raises AuthenticationError: when it has expired.
    """
    claims = _claims(proof)
    if claims is None:
        raise ConfigurationError(f"the token from {origin} is not a JSON Web Token; check what is written there")
    end = claims.get("exp")
    if isinstance(end, (int, float)) and end <= now:
        raise AuthenticationError(
            f"the token from {origin} expired at {format_timestamp(max(end, 0))}; have it replaced, or check this "
            "host's clock"
        )
