"""The botocore provider: Vault's credentials inside the process, for boto3 programs that know nothing of them.

It reads the ``vault_*`` keys of the profile that a session uses and goes before botocore's own process provider,
so one profile serves both: this provider where it is installed, the ``credential_process`` line everywhere else.
"""

from __future__ import annotations

import datetime
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import boto3
import botocore
import botocore.credentials
import botocore.exceptions
import botocore.session

from vault_credential_process import auth, cache, healing
from vault_credential_process.config import Config
from vault_credential_process.errors import ConfigurationError, VaultCredentialError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.keeper import keeper_of
from vault_credential_process.profiles import Profile

# A program that sets up no logging must not find our warnings on its stderr.
logging.getLogger("vault_credential_process").addHandler(logging.NullHandler())

_registration = threading.Lock()

METHOD = "vault"
"""The name under which botocore's chain knows the provider, and ``credentials.method`` of what it yields."""

_OF_OTHERS = frozenset({"credential_process", "aws_access_key_id"})
"""Keys of a profile that get credentials elsewhere, and come after us in botocore's chain."""


class VaultCredentials(botocore.credentials.RefreshableCredentials):
    """botocore's refreshable credentials over a :class:`~vault_credential_process.keeper.Keeper`.

    Of the base class the type is wanted, and what others read of it: nothing here blocks while a valid pair is held.
    """

    def __init__(self, fetcher: Fetcher) -> None:
        """Fetch the first credentials.

        :raises botocore.exceptions.CredentialRetrievalError: when there are none, with our error as its cause.
        """
        self.method = METHOD
        try:
            self.keeper = keeper_of(fetcher)
            self.keeper.frozen()
        except VaultCredentialError as error:
            raise as_botocore(error) from error

    def get_frozen_credentials(self) -> botocore.credentials.ReadOnlyCredentials:
        """Return a pair that is valid now.

        :raises botocore.exceptions.CredentialRetrievalError: when there is none to be had.
        """
        try:
            return self.keeper.frozen()
        except VaultCredentialError as error:
            raise as_botocore(error) from error

    def refresh_needed(self, refresh_in: float | None = None) -> bool:
        """Tell whether less than ``refresh_in`` seconds are left; without a number, whether they have ended."""
        left = self.keeper.seconds_left()
        return left is None or left < (refresh_in or 0)

    access_key = property(lambda self: self.get_frozen_credentials().access_key)
    secret_key = property(lambda self: self.get_frozen_credentials().secret_key)
    token = property(lambda self: self.get_frozen_credentials().token)
    account_id = property(lambda self: self.get_frozen_credentials().account_id)

    @property
    def _expiry_time(self) -> datetime.datetime:
        """The end of the pair, which some programs read although botocore keeps the name to itself."""
        return datetime.datetime.fromtimestamp(self.keeper.held().expiry, datetime.timezone.utc)

    def _refresh(self) -> None:
        self.get_frozen_credentials()


def fetcher_of(config: Config) -> Fetcher:
    """Return a fetcher for a program: what it keeps lies in the memory of the process, unless another cache is named.

    :raises ConfigurationError: when no role is configured, or the named cache cannot be used.
    """
    named = config.vault_aws_cache
    return Fetcher(config, cache=cache.choose(named, os.environ) if named and named != "memory" else cache.of_process())


def as_botocore(error: VaultCredentialError) -> botocore.exceptions.CredentialRetrievalError:
    """Return the error as programs that catch ``BotoCoreError`` expect it."""
    return botocore.exceptions.CredentialRetrievalError(provider=METHOD, error_msg=str(error))


class VaultProvider(botocore.credentials.CredentialProvider):
    """A credential provider for botocore's chain.

    ``load`` returns ``None``, so that the chain goes on, unless the profile has ``vault_aws_role``, or the role was
    given as a setting, or no profile was named and ``VAULT_AWS_ROLE`` stands in the environment.

    To put it into a chain by hand::

        resolver = session.get_component("credential_provider")
        resolver.insert_before("custom-process", VaultProvider(session))
    """

    METHOD = METHOD
    CANONICAL_NAME = None

    def __init__(self, session: botocore.session.Session, *, profile_name: str | None = None, **settings: Any) -> None:
        """Remember where to look. ``settings`` are profile keys that go before the profile's."""
        super().__init__(session)
        self._profile_name = profile_name
        self._settings = settings

    def load(self) -> VaultCredentials | None:
        """Return refreshable credentials for the profile in use, or ``None`` where it is not ours.

        :raises botocore.exceptions.CredentialRetrievalError: when it is ours and there are none.
        """
        try:
            config = self._config()
            return None if config is None else VaultCredentials(fetcher_of(config))
        except VaultCredentialError as error:
            raise as_botocore(error) from error

    def _config(self) -> Config | None:
        named = self._profile_name or self.session.get_config_variable("profile")
        name = named or "default"
        keys = self.session.full_config.get("profiles", {}).get(name)
        in_profile = keys is not None and "vault_aws_role" in keys
        exported = not named and bool(os.environ.get("BAO_AWS_ROLE") or os.environ.get("VAULT_AWS_ROLE"))
        elsewhere = keys is not None and not _OF_OTHERS.isdisjoint(keys)
        if not (in_profile or self._settings.get("vault_aws_role") or (exported and not elsewhere)):
            return None
        profile = Profile(name, keys) if keys is not None else None
        return auth.configure(self._settings, os.environ, profile)


def install() -> None:
    """Make every botocore session that is created from now on use Vault for profiles that have ``vault_aws_role``.

    boto3's default session is one of them. Calling it again changes nothing; :func:`uninstall` undoes it.

    :raises ConfigurationError: when this botocore is too old, or has changed where it must not.
    """
    if not hasattr(botocore, "register_initializer"):
        raise ConfigurationError(
            f"botocore {botocore.__version__} has no register_initializer; install botocore 1.31 or later"
        )
    _check_session(botocore.session.Session())
    with _registration:
        uninstall()
        botocore.register_initializer(install_into)


def uninstall() -> None:
    """Undo :func:`install` for sessions that are created from now on."""
    try:
        botocore.unregister_initializer(install_into)
    except ValueError:
        pass


def install_into(session: botocore.session.Session, **settings: Any) -> None:
    """Put the provider into one session, without loading its configuration or its credentials yet.

    boto3 names the profile only after botocore made the session, so the chain is built when it is first asked for.
    """
    original, register = _check_session(session)

    def resolver() -> botocore.credentials.CredentialResolver:
        return _with_vault(original(), session, settings)

    register("credential_provider", resolver)
    healing.register(session)


def boto3_session(
    profile_name: str | None = None, region_name: str | None = None, **settings: Any
) -> boto3.session.Session:
    """Return a ``boto3.Session`` whose credentials come from Vault and refresh themselves.

    ``settings`` are profile keys, such as ``vault_addr`` or ``vault_aws_role``; they go before the profile's.

    :raises botocore.exceptions.ProfileNotFound: when the profile does not exist.
    """
    session = botocore.session.Session(profile=profile_name)
    install_into(session, **settings)
    return boto3.session.Session(botocore_session=session, region_name=region_name)


def _check_session(session: botocore.session.Session) -> tuple[Callable[[], Any], Callable[[str, Any], None]]:
    """Return what builds the session's chain and what registers another builder.

    The one place that leans on names botocore keeps to itself: its public ways build the chain at once.

    :raises ConfigurationError: when botocore has renamed them.
    """
    build = getattr(session, "_create_credential_resolver", None)
    register = getattr(getattr(session, "_components", None), "lazy_register_component", None)
    if build is None or register is None:
        raise ConfigurationError(
            f"botocore {botocore.__version__} builds its credential chain in a new way; "
            "put VaultProvider into the chain by hand, or install an older botocore"
        )
    return build, register


def _with_vault(
    chain: botocore.credentials.CredentialResolver, session: botocore.session.Session, settings: dict[str, Any]
) -> botocore.credentials.CredentialResolver:
    """Put the provider before botocore's process provider, in the chain and in that of source profiles."""
    chain.insert_before("custom-process", VaultProvider(session, **settings))
    _serve_source_profiles(chain, session, settings)
    return chain


def _serve_source_profiles(
    chain: botocore.credentials.CredentialResolver, session: botocore.session.Session, settings: dict[str, Any]
) -> None:
    """Let ``source_profile`` name a profile of ours; the session's settings hold for it.

    botocore builds a chain for the source profile with a builder that it keeps to itself; where that is not to be
    found, such a profile still resolves through its ``credential_process`` line.
    """
    assume_role = next((p for p in chain.providers if p.METHOD == "assume-role"), None)
    builder = getattr(assume_role, "_profile_provider_builder", None)
    if builder is None or not hasattr(builder, "providers"):
        return
    original = builder.providers

    def providers(profile_name: str, disable_env_vars: bool = False) -> list[Any]:
        found = list(original(profile_name, disable_env_vars=disable_env_vars))
        if "vault_aws_role" in session.full_config.get("profiles", {}).get(profile_name, {}):
            place = next((i for i, p in enumerate(found) if p.METHOD == "custom-process"), len(found))
            found.insert(place, VaultProvider(session, profile_name=profile_name, **settings))
        return found

    builder.providers = providers
