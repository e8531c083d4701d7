"""What an auth method keeps for its next login, in the cache of the call: an unwrapped Secret ID, a nonce.

It is read and written under the single flight of the login, so that no two processes make one each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault_credential_process.cache.entry import Keepsake

if TYPE_CHECKING:
    from vault_credential_process.auth.base import AuthMethod
    from vault_credential_process.vault import Vault


def recall(vault: Vault, method: AuthMethod, *parts: str, anywhere: bool = False) -> str | None:
    """Return what was kept under these parts, which may be secrets: they enter the key as a keyed hash.

    What is kept ``anywhere`` is found whatever address, namespace and mount point are set.
    """
    if vault.cache is None:
        return None
    kept = Keepsake.load(vault.cache.get(key(vault, method, *parts, anywhere=anywhere)), vault.now())
    return None if kept is None else kept.value


def keep(
    vault: Vault,
    method: AuthMethod,
    value: str,
    *parts: str,
    what: str,
    expiry: float | None = None,
    irreplaceable: bool = False,
    anywhere: bool = False,
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
    return vault.cache.set(key(vault, method, *parts, anywhere=anywhere), kept.dump())


def forget(vault: Vault, method: AuthMethod, *parts: str, anywhere: bool = False) -> None:
    """Forget what was kept under these parts."""
    if vault.cache is not None:
        vault.cache.delete(key(vault, method, *parts, anywhere=anywhere))


def key(vault: Vault, method: AuthMethod, *parts: str, anywhere: bool = False) -> str:
    """Return the key of what is kept under these parts.

    What an unverified server said never serves a call that verifies, and is sent to no other. Which CA, proxy or
    certificate is trusted does not matter: these are replaced, and what cannot be had again must outlive that.
    """
    if vault.cache is None:
        raise AssertionError("without a cache nothing is looked for")
    if anywhere:
        return vault.cache.place.hash("keepsake", *parts)
    config = vault.config
    where = (config.vault_addr, config.auth_namespace or "", method.name, method.mount)
    unverified = ("\0", "unverified") if config.vault_skip_verify else ()
    return vault.cache.place.hash("keepsake", *where, *parts, *unverified)
