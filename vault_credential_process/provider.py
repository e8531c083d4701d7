"""The botocore provider: Vault's credentials inside the process, for boto3 programs that know nothing of them.

It reads the ``vault_*`` keys of the profile that a session uses and goes before botocore's own process provider,
so one profile serves both: this provider where it is installed, the ``credential_process`` line everywhere else.
"""

from __future__ import annotations

import datetime
import functools
import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import botocore
import botocore.credentials
import botocore.exceptions
import botocore.session

from vault_credential_process import healing
from vault_credential_process.chain import METHOD, as_botocore, claimed, fetcher_of
from vault_credential_process.config import Config
from vault_credential_process.errors import ConfigurationError, VaultCredentialError, bare
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.registry import keeper_of

if TYPE_CHECKING:
    import aiobotocore.session
    import boto3

# A program that sets up no logging must not find our warnings on its stderr.
logging.getLogger("vault_credential_process").addHandler(logging.NullHandler())

_registration = threading.Lock()


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
            failure = bare(error)
        raise as_botocore(failure) from failure

    def _config(self) -> Config | None:
        configure = claimed(self.session, self._profile_name, self._settings)
        return None if configure is None else configure()


def install() -> None:
    """Make every botocore session that is created from now on use Vault for profiles that have ``vault_aws_role``.

    boto3's default session is one of them, and aiobotocore's are too. Calling it again changes nothing;
    :func:`uninstall` undoes it.

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
    provider, retry = _faces_for(session)
    make = functools.partial(provider, session, **settings)

    def resolver() -> botocore.credentials.CredentialResolver:
        return _with_vault(original(), session, make)

    register("credential_provider", resolver)
    healing.register(session, retry)


def boto3_session(
    profile_name: str | None = None, region_name: str | None = None, **settings: Any
) -> boto3.session.Session:
    """Return a ``boto3.Session`` whose credentials come from Vault and refresh themselves.

    ``settings`` are profile keys, such as ``vault_addr`` or ``vault_aws_role``; they go before the profile's.

    :raises botocore.exceptions.ProfileNotFound: when the profile does not exist.
    """
    import boto3  # the AWS CLI has none, and its v2 a botocore that boto3 does not take

    session = botocore.session.Session(profile=profile_name)
    install_into(session, **settings)
    return boto3.session.Session(botocore_session=session, region_name=region_name)


def aio_session(
    profile_name: str | None = None, region_name: str | None = None, **settings: Any
) -> aiobotocore.session.AioSession:
    """Return an ``aiobotocore.session.AioSession`` whose credentials come from Vault and refresh themselves.

    The rest is as with :func:`boto3_session`. Nothing that it does for credentials holds up the event loop.

    :raises ImportError: when aiobotocore is not installed.
    """
    import aiobotocore.session

    session = aiobotocore.session.AioSession(profile=profile_name)
    install_into(session, **settings)
    if region_name is not None:
        session.set_config_variable("region", region_name)
    return session


def _faces_for(session: botocore.session.Session) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return what makes the provider of a session, and what has its clients try again.

    aiobotocore is not loaded for it: where nobody has, the session is not one of its kind.
    """
    theirs = getattr(sys.modules.get("aiobotocore.session"), "AioSession", None)
    if theirs is None or not isinstance(session, theirs):
        return VaultProvider, healing.retry
    from vault_credential_process import aio

    return aio.AioVaultProvider, aio.retry


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
    chain: botocore.credentials.CredentialResolver, session: botocore.session.Session, make: Callable[..., Any]
) -> botocore.credentials.CredentialResolver:
    """Put a provider before botocore's process provider, in the chain and in that of source profiles."""
    chain.insert_before("custom-process", make())
    _serve_source_profiles(chain, session, make)
    return chain


def _serve_source_profiles(
    chain: botocore.credentials.CredentialResolver, session: botocore.session.Session, make: Callable[..., Any]
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
            found.insert(place, make(profile_name=profile_name))
        return found

    builder.providers = providers
