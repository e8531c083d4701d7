"""What an auth method keeps for its next login, in the cache of the call: an unwrapped Secret ID, a nonce.

It is read and written under the single flight of the login, so that no two processes make one each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault_credential_process.cache.entry import Keepsake

if TYPE_CHECKING:
    from vault_credential_process.auth.base import AuthMethod
    from vault_credential_process.vault import Vault


def recall(vault: Vault, method: AuthMethod, *parts: str) -> str | None:
    """Return what was kept under these parts, which may be secrets: they enter the key as a keyed hash."""
    if vault.cache is None:
        return None
    kept = Keepsake.load(vault.cache.get(_key(vault, method, parts)), vault.now())
    return None if kept is None else kept.value


def keep(
    vault: Vault,
    method: AuthMethod,
    value: str,
    *parts: str,
    what: str,
    expiry: float | None = None,
    irreplaceable: bool = False,
) -> bool:
    """Keep a value, and tell whether that worked; ``what`` names it for people (``cache list``).

    What is ``irreplaceable`` outlives a ``cache clear`` that does not ask for it.
    """
    if vault.cache is None:
        return False
    config = vault.config
    kept = Keepsake(
        value,
        what,
        expiry,
        profile=config.profile,
        path=f"auth/{method.mount}",
        vault_addr=config.vault_addr,
        irreplaceable=irreplaceable,
    )
    return vault.cache.set(_key(vault, method, parts), kept.dump())


def forget(vault: Vault, method: AuthMethod, *parts: str) -> None:
    """Forget what was kept under these parts."""
    if vault.cache is not None:
        vault.cache.delete(_key(vault, method, parts))


def _key(vault: Vault, method: AuthMethod, parts: tuple[str, ...]) -> str:
    if vault.cache is None:
        raise AssertionError("without a cache nothing is looked for")
    namespace = vault.config.auth_namespace or ""
    return vault.cache.place.hash("keepsake", vault.config.vault_addr, namespace, method.name, method.mount, *parts)
