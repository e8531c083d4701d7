"""Stored secrets that Vault refused: remembered for a while and not sent again, so that programs lock nobody out.

They are remembered in the cache of the call, under a keyed hash. A person who wants it tries at once. Where nothing is
to be kept (``none``), this alone is, in the private directory on tmpfs where there is one: a program that runs the
command at each request would lock a user out in seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from vault_credential_process import cache
from vault_credential_process.cache.entry import Keepsake
from vault_credential_process.errors import AuthenticationError, VaultCredentialError
from vault_credential_process.expiry import format_timestamp
from vault_credential_process.refusals import Refusal, RefusedError

if TYPE_CHECKING:
    from vault_credential_process.cache.base import CacheBackend
    from vault_credential_process.vault import Vault

WAIT = 600.0
"""Seconds for which a stored secret that was refused is not sent again.

Vault locks a user, or an AppRole, after five wrong ones in 15 minutes, and directories have rules of their own.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Before:
    """What Vault said when it refused the same, and until when that is not sent again."""

    until: str
    said: str


@contextlib.contextmanager
def once(
    vault: Vault,
    path: str,
    *secrets: str,
    what: str,
    origin: str,
    beside: str,
    locked: str,
    explain: Callable[[Refusal], VaultCredentialError],
) -> Iterator[None]:
    """Log in at ``path`` within, with secrets that are not sent again once they were refused as wrong ones (400).

    ``what`` names them in ``cache list`` and ``origin`` in an error, ``beside`` what else may be wrong, ``locked`` who
    would be locked out, and ``explain`` makes a refusal an error.

    :raises AuthenticationError: when they were refused before, and no person wants it.
    :raises VaultCredentialError: when Vault refuses.
    """
    before = recall(vault, path, *secrets)
    if before is not None and vault.person is None:
        raise AuthenticationError(
            f"{vault.config.vault_addr}/v1/{path}: login refused before: {before.said}; {origin} is not sent again "
            f"until {before.until}, for a few wrong ones lock {locked} out: replace it or correct "
            f"{beside}, or run: {vault.config.login_command}"
        )
    try:
        yield
    except RefusedError as error:
        failure = explain(error.refusal)
        if error.refusal.status == 400 and isinstance(failure, AuthenticationError) and vault.person is None:
            remember(vault, path, error.refusal, *secrets, what=what)
        raise failure from None
    memory = _memory(vault)
    if before is not None and memory is not None:
        memory.delete(_key(memory, vault, path, secrets))


def recall(vault: Vault, path: str, *secrets: str) -> Before | None:
    """Return what is remembered of the same secrets at ``path``."""
    memory = _memory(vault)
    if memory is None:
        return None
    kept = Keepsake.load(memory.get(_key(memory, vault, path, secrets)), vault.now())
    if kept is None:
        return None
    until, _, said = kept.value.partition(" ")
    return Before(until, said)


def remember(vault: Vault, path: str, refusal: Refusal, *secrets: str, what: str, seconds: float | None = None) -> None:
    """Remember that Vault refused secrets at ``path``, for :data:`WAIT` where nothing else is said."""
    memory = _memory(vault)
    if memory is None:
        return
    config, until = vault.config, vault.now() + (WAIT if seconds is None else seconds)
    said = f"{format_timestamp(until)} {refusal.text}"
    kept = Keepsake(said, what, until, profile=config.profile, path=path, vault_addr=config.vault_addr)
    memory.set(_key(memory, vault, path, secrets), kept.dump())


def _memory(vault: Vault) -> CacheBackend | None:
    """Return where refusals are remembered; ``None`` where the call has no cache at all."""
    if vault.cache is None or vault.cache.name != "none":
        return vault.cache
    with contextlib.suppress(cache.CacheUnavailable):
        return cache.find("runtime").open(os.environ)
    return None


def _key(memory: CacheBackend, vault: Vault, path: str, secrets: tuple[str, ...]) -> str:
    """Return the key; what an unverified server refused is not held against a call that verifies."""
    config = vault.config
    where = (config.vault_addr, config.auth_namespace or "", str(config.vault_skip_verify))
    return memory.place.hash("refused", *where, path, *secrets)
