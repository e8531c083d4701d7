"""What our providers for botocore's chain and for aiobotocore's share: whose profile it is, and what serves it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import botocore.exceptions

from vault_credential_process import auth, cache
from vault_credential_process.config import Config
from vault_credential_process.errors import VaultCredentialError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.profiles import Profile

if TYPE_CHECKING:
    import botocore.session

METHOD = "vault"
"""The name under which botocore's chain knows the provider, and ``credentials.method`` of what it yields."""

_shares = False

_OF_OTHERS = frozenset({"credential_process", "aws_access_key_id"})
"""Keys of a profile that get credentials elsewhere, and come after us in botocore's chain."""


def claimed(
    session: botocore.session.Session, profile_name: str | None, settings: Mapping[str, Any]
) -> Callable[[], Config] | None:
    """Return what configures the profile that a session uses where that is ours, else ``None``.

    ``settings`` are profile keys that go before the profile's.
    """
    named = profile_name or session.get_config_variable("profile")
    name = named or "default"
    keys = session.full_config.get("profiles", {}).get(name)
    in_profile = keys is not None and "vault_aws_role" in keys
    exported = not named and bool(os.environ.get("BAO_AWS_ROLE") or os.environ.get("VAULT_AWS_ROLE"))
    elsewhere = keys is not None and not _OF_OTHERS.isdisjoint(keys)
    if not (in_profile or settings.get("vault_aws_role") or (exported and not elsewhere)):
        return None
    profile = Profile(name, keys) if keys is not None else None

    def configure() -> Config:
        # No partial: its repr would show the environment to whatever looks into frames.
        return auth.configure(settings, os.environ, profile)

    return configure


def share_by_default() -> None:
    """Let programs of this process keep what they get in the host's cache, unless another one is named.

    For processes that are short and many, as runs of a command are: memory of their own would serve nobody.
    """
    global _shares  # noqa: PLW0603 - one for all
    _shares = True


def fetcher_of(config: Config) -> Fetcher:
    """Return a fetcher for a program: what it keeps lies in the memory of the process, unless another cache is named.

    Where the auth method brings what cannot be had again without somebody, it lies in the host's.

    :raises ConfigurationError: when no role is configured, or the named cache cannot be used.
    """
    named = config.vault_aws_cache
    if named is None and (_shares or _needs_host_cache(config)):
        named = "auto"
    return Fetcher(config, cache=cache.choose(named, os.environ) if named and named != "memory" else cache.of_process())


def _needs_host_cache(config: Config) -> bool:
    try:
        return auth.choose(config).needs_host_cache
    except VaultCredentialError:  # the fetch will tell
        return False


def as_botocore(error: VaultCredentialError) -> botocore.exceptions.CredentialRetrievalError:
    """Return the error as programs that catch ``BotoCoreError`` expect it."""
    return botocore.exceptions.CredentialRetrievalError(provider=METHOD, error_msg=str(error))
