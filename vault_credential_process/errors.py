"""Everything that can go wrong, each with the exit code of its class.

Every message is one line for a human: what happened, at which address and path, and what to do next. No
message ever holds a secret; :func:`one_line` is what makes text from elsewhere fit for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


class VaultCredentialError(Exception):
    """Root of every error this package raises on purpose.

    ``exit_code`` is what the command ends with; 70 (``EX_SOFTWARE``) would mean a bug.
    """

    exit_code = 70


class ConfigurationError(VaultCredentialError):
    """A setting is missing, malformed, or names something that does not exist (role, mount point, namespace)."""

    exit_code = 2


class AuthenticationError(VaultCredentialError):
    """Vault did not accept the login, or the token is dead, used up or about to be."""

    exit_code = 3


class AuthUnavailable(AuthenticationError):  # noqa: N818 - a verdict that auto acts on, not a failure
    """An auth method has nothing to try here: it is absent, not broken, so ``auto`` goes on to the next."""


class PermissionDeniedError(VaultCredentialError):
    """The token is alive but no policy lets it read the path."""

    exit_code = 4


class UnreachableError(VaultCredentialError):
    """No usable answer: network, TLS, standby, rate limit, or a failure between Vault and AWS."""

    exit_code = 5


class SealedError(VaultCredentialError):
    """Vault is sealed or not initialized."""

    exit_code = 6


class DeadlineError(VaultCredentialError):
    """The call's own deadline (``vault_aws_timeout``) passed."""

    exit_code = 7


def failure_of(exit_code: int, message: str) -> VaultCredentialError:
    """Return the error of a class that is known by its exit code, as another process left word of it."""
    found = (kind for kind in VaultCredentialError.__subclasses__() if kind.exit_code == exit_code)
    return next(found, VaultCredentialError)(message)


def bare(error: VaultCredentialError) -> VaultCredentialError:
    """Return the same failure without its traceback and causes: what looks into their frames would find secrets."""
    return failure_of(error.exit_code, str(error))


def one_line(text: str, *, secrets: Iterable[str | None] = (), limit: int = 300) -> str:
    """Return foreign text as one printable line of at most ``limit`` characters, known secrets blotted out.

    In whatever case: a host name, for one, is put into lower case on its way here.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = re.sub(re.escape(secret), "***", text, flags=re.IGNORECASE)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
