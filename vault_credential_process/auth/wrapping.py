"""A response-wrapped Secret ID: looked up, compared, unwrapped once, and kept for later logins.

https://developer.hashicorp.com/vault/docs/concepts/response-wrapping#response-wrapping-token-validation
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vault_credential_process.auth import keepsakes
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineError,
    VaultCredentialError,
    one_line,
)
from vault_credential_process.expiry import HUNDRED_YEARS
from vault_credential_process.models import is_word
from vault_credential_process.refusals import RefusedError
from vault_credential_process.sources import Source

if TYPE_CHECKING:
    from vault_credential_process.auth.base import AuthMethod
    from vault_credential_process.cache.base import CacheBackend
    from vault_credential_process.vault import Vault

logger = logging.getLogger(__name__)

_SECRET_ID, _MARK = "Secret ID", "mark"
_BEGUN, _KEPT = "begun", "kept"
"""What the mark of a wrapping token says: that it is about to be spent here, and that what it held was kept, and where.

A token is spent wherever it was unwrapped, so that its mark is found under any settings; a Secret ID is sent only to
the address, namespace and mount point that it was unwrapped for.
"""

_LOOKUP, _UNWRAP = "sys/wrapping/lookup", "sys/wrapping/unwrap"
_GENERATED = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
"""A Secret ID that Vault made; no wrapping token looks like it."""


def secret_id(vault: Vault, method: AuthMethod, source: Source, token: str, creation_path: str) -> tuple[str, bool]:
    """Return the Secret ID behind the wrapping token that a source held: the kept one, else by unwrapping, once.

    The second value tells whether it was unwrapped just now.

    The token must have been made at ``creation_path``, exactly. Before it is spent a mark is left, so that a call
    that dies on the way is not taken for a thief.

    :raises ConfigurationError: when there is no wrapping token, no cache that keeps, or no Secret ID in what it held.
    :raises AuthenticationError: when the token may have been intercepted, or the Secret ID is lost or has ended.
    """
    if _GENERATED.fullmatch(token):
        raise ConfigurationError(
            f"{source.key}: {source}: holds a Secret ID, not a token that wraps one; name the file in "
            "vault_secret_id_file instead"
        )
    if not is_word(token):
        raise ConfigurationError(f"{source.key}: {source}: not a wrapping token: with spaces or non-ASCII characters")
    if vault.cache is None:
        raise _nowhere_to_keep(source, None)
    place = vault.cache.place
    # Calls that differ in more than whom they log in as share the token, but not the lock of the login.
    with place.locked(place.hash("unwrap", token), vault.deadline):
        kept = keepsakes.recall(vault, method, _SECRET_ID, token)
        if kept is not None:
            return kept, False
        try:
            return _unwrapped(vault, method, source, token, creation_path), True
        except RefusedError as error:
            said = error.refusal.text or f"HTTP {error.refusal.status}"
            raise AuthenticationError(
                f"{error.refusal.where}: the wrapping token in {source} was refused: {said}; see Vault's log, then "
                "deliver a new wrapped Secret ID"
            ) from None


def _unwrapped(vault: Vault, method: AuthMethod, source: Source, token: str, creation_path: str) -> str:
    """Spend a wrapping token and keep what it held."""
    mark = keepsakes.recall(vault, method, _MARK, token, anywhere=True)
    kept_here = f"{_KEPT} {keepsakes.key(vault, method, _SECRET_ID, token)}"
    if mark == kept_here:
        raise AuthenticationError(
            f"{vault.config.vault_addr}/v1/auth/{method.mount}: the Secret ID that was unwrapped from {source} has "
            "ended (its secret_id_ttl has passed); deliver a new wrapped Secret ID"
        )
    if mark is not None and mark.startswith(_KEPT):
        raise AuthenticationError(
            f"{vault.config.vault_addr}/v1/auth/{method.mount}: the wrapping token in {source} is spent: a call of "
            "ours unwrapped it under another vault_addr, namespace, mount point or vault_skip_verify, and its Secret "
            "ID is sent nowhere else; deliver a new wrapped Secret ID, or go back to those settings"
        )
    _check(vault, source, token, creation_path, is_ours=mark is not None)
    if not _leave_mark(vault, method, token, _BEGUN):
        raise _nowhere_to_keep(source, vault.cache)
    asked_at = vault.now()
    try:
        data = vault.unwrap(token)
    except VaultCredentialError as error:
        if mark is None and _is_unspent(error):
            keepsakes.forget(vault, method, _MARK, token, anywhere=True)
        raise
    if data is None:
        # It was alive a moment ago. Where no earlier call of ours can have spent it, somebody else has.
        if mark is None:
            keepsakes.forget(vault, method, _MARK, token, anywhere=True)
        raise _spent(vault, source, is_ours=mark is not None)
    found = data.get("secret_id")
    if not isinstance(found, str) or not is_word(found):
        raise ConfigurationError(
            f"{vault.config.vault_addr}/v1/{_UNWRAP}: what the wrapping token in {source} held is no Secret ID; "
            f"deliver one that was made at {creation_path}, or correct vault_secret_id_wrapping_path"
        )
    expiry = _expiry(data, asked_at)
    told = "unwrapped Secret ID"
    if keepsakes.keep(vault, method, found, _SECRET_ID, token, what=told, expiry=expiry, irreplaceable=True):
        _leave_mark(vault, method, token, kept_here)
    else:
        logger.warning("%s: the unwrapped Secret ID was not kept; the next login needs a new one", source)
    logger.debug("unwrapped the Secret ID that was made at %s", creation_path)
    return found


def _leave_mark(vault: Vault, method: AuthMethod, token: str, value: str) -> bool:
    return keepsakes.keep(
        vault, method, value, _MARK, token, what="mark of a wrapped Secret ID", irreplaceable=True, anywhere=True
    )


def _check(vault: Vault, source: Source, token: str, creation_path: str, *, is_ours: bool) -> None:
    """Look a wrapping token up, which does not spend it.

    :raises AuthenticationError: when it is spent, or was made elsewhere.
    """
    path = vault.wrapping_path(token)
    if path is None:
        raise _spent(vault, source, is_ours=is_ours)
    if path != creation_path:
        shown = one_line(path, secrets=(token,), limit=120)
        raise AuthenticationError(
            f"{vault.config.vault_addr}/v1/{_LOOKUP}: POSSIBLE INTERCEPTION: the wrapping token in {source} was made "
            f"at {shown}, not at {creation_path}: the Secret ID may have been intercepted and replaced; nothing was "
            "unwrapped and nothing logged in; tell the security team, unless vault_approle_role_name, vault_auth_mount "
            "or vault_secret_id_wrapping_path is wrong"
        )


def _spent(vault: Vault, source: Source, *, is_ours: bool) -> AuthenticationError:
    where = f"{vault.config.vault_addr}/v1/{_LOOKUP}"
    if is_ours:
        return AuthenticationError(
            f"{where}: the wrapping token in {source} is spent: a call of ours unwrapped it and did not get to keep "
            "the Secret ID; deliver a new wrapped Secret ID"
        )
    return AuthenticationError(
        f"{where}: POSSIBLE INTERCEPTION: Vault does not know the wrapping token in {source}: somebody else has "
        "unwrapped it, or it expired (no mark here tells that it was us; a restart or a cleared cache takes that "
        "away); treat the Secret ID as stolen: tell the security team, destroy the Secret ID, deliver a new one"
    )


def _nowhere_to_keep(source: Source, cache: CacheBackend | None) -> ConfigurationError:
    reason = "there is none" if cache is None else f"{cache.name}: {cache.reason}"
    return ConfigurationError(
        f"{source.key}: {source}: a wrapping token serves once, and no cache can keep the Secret ID ({reason}), so "
        "nothing was unwrapped; set vault_aws_cache to one that keeps, or use vault_secret_id_file"
    )


def _expiry(data: Mapping[str, Any], asked_at: float) -> float | None:
    """Return when a Secret ID ends, ``None`` where it does not."""
    ttl = data.get("secret_id_ttl")
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 0 < ttl <= HUNDRED_YEARS:
        return None
    return asked_at + ttl


def _is_unspent(error: VaultCredentialError) -> bool:
    """Tell whether a failed unwrap surely spent nothing: it did not leave, or Vault turned it away at the door.

    What failed on the wire is the context of the error that tells of it.
    """
    import requests

    from vault_credential_process import retries

    cause = error.__context__
    if isinstance(cause, (RefusedError, requests.RequestException)):
        return retries.failure_of(cause).value.undone
    return isinstance(error, DeadlineError)
