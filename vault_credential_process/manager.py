"""The credential manager: the small class that a web service holds."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

import boto3
import botocore.credentials
import botocore.session
import hvac
import hvac.adapters
import hvac.exceptions

from vault_credential_process import auth, healing
from vault_credential_process.chain import METHOD, fetcher_of
from vault_credential_process.errors import AuthenticationError, VaultCredentialError, bare
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.forks import at_fork
from vault_credential_process.health import Health
from vault_credential_process.profiles import find_profile
from vault_credential_process.provider import VaultCredentials
from vault_credential_process.registry import keeper_of
from vault_credential_process.vault import connected_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)


class VaultAWSCredentialManager:
    """AWS sessions, clients and credentials that come from Vault and refresh themselves.

    Configured by arguments, a profile, or the environment (``VAULT_ADDR``, ``VAULT_ROLE_ID``, ``VAULT_SECRET_ID``,
    ``AWS_ROLE``); further settings go by their profile keys, such as ``vault_aws_mount="team-aws"``. Nothing is
    asked of Vault before it is needed. One manager serves all threads of a process.
    """

    def __init__(
        self,
        *,
        vault_addr: str | None = None,
        role_id: str | None = None,
        secret_id: str | None = None,
        aws_role: str | None = None,
        profile_name: str | None = None,
        region_name: str | None = None,
        **settings: Any,
    ) -> None:
        """Resolve the configuration.

        :raises ConfigurationError: when a setting is missing or malformed.
        """
        arguments: dict[str, Any] = {
            "profile": profile_name,
            "vault_addr": vault_addr,
            "vault_role_id": role_id,
            "vault_secret_id": secret_id,
            "vault_aws_role": aws_role,
            **settings,
        }
        failure = None
        try:
            profile = find_profile(arguments, os.environ)
            self._fetcher = fetcher_of(auth.configure(arguments, os.environ, profile, read_aws_role=True))
        except VaultCredentialError as error:
            failure = bare(error)
        if failure is not None:
            # What looks into the frames of the error must not find these.
            del secret_id, settings, arguments
            raise failure
        self._region_name = region_name
        self._profile_name = profile.name if profile else None
        self._credentials: VaultCredentials | None = None
        self._session: boto3.session.Session | None = None
        self._vault_client: hvac.Client | None = None
        self.forked()
        _managers.add(self)

    def __repr__(self) -> str:
        """Tell what is served from where, and no secret."""
        fetcher = getattr(self, "_fetcher", None)  # none where the configuration was refused
        return (
            "<VaultAWSCredentialManager>"
            if fetcher is None
            else (f"<VaultAWSCredentialManager {fetcher.config.aws_path} at {fetcher.config.vault_addr}>")
        )

    @property
    def aws_role(self) -> str:
        """The Vault role whose credentials are served."""
        return self._fetcher.config.vault_aws_role

    @property
    def vault_client(self) -> hvac.Client:
        """An authenticated ``hvac.Client``; it logs in again by itself when its token nears its end.

        ``vault_client.is_authenticated()`` serves a health check. A caller's own ``auth.token.renew_self()`` does
        no harm.
        """
        with self._lock:
            if self._vault_client is None:
                config = self._fetcher.config
                client = hvac.Client if auth.choose(config).keeps_token else _AgentClient
                self._vault_client = connected_client(config, _adapter_for(self._fetcher), client=client)
            return self._vault_client

    def get_aws_credentials(self) -> dict[str, str | None]:
        """Return credentials for ``boto3.client(..., **credentials)``; they are valid now and do not refresh.

        :raises botocore.exceptions.CredentialRetrievalError: when there are none to be had.
        """
        frozen = self._shared_credentials().get_frozen_credentials()
        return {
            "aws_access_key_id": frozen.access_key,
            "aws_secret_access_key": frozen.secret_key,
            "aws_session_token": frozen.token,
        }

    def get_aws_session(self) -> boto3.session.Session:
        """Return a ``boto3.Session`` that works for weeks: what it hands out refreshes itself."""
        with self._lock:
            if self._session is None:
                self._session = self._new_session()
            return self._session

    def get_s3_client(self, **arguments: Any) -> S3Client:
        """Return an S3 client that works for weeks; ``arguments`` go to ``boto3.Session.client``."""
        return self.get_aws_session().client("s3", **arguments)

    def health(self) -> Health:
        """Return how the credentials do, for a health route: nothing is asked of Vault, and nothing is waited for.

        Before the first use they are not ``authenticated`` yet.
        """
        credentials = self._credentials
        return (keeper_of(self._fetcher) if credentials is None else credentials.keeper).health()

    def _new_session(self) -> boto3.session.Session:
        session = botocore.session.Session(profile=self._profile_name)
        provider = _SharedProvider(session, self._shared_credentials)
        session.register_component("credential_provider", botocore.credentials.CredentialResolver([provider]))
        healing.register(session)
        return boto3.session.Session(botocore_session=session, region_name=self._region_name)

    def _shared_credentials(self) -> VaultCredentials:
        # Without the lock, which a child of fork may need meanwhile: threads that come together share one fetch anyway.
        credentials = self._credentials
        if credentials is None:
            credentials = self._credentials = VaultCredentials(self._fetcher)
        return credentials

    def forked(self) -> None:
        """Begin with a new lock in a child of ``fork``: a thread that held the old one lives on in the parent only."""
        self._lock = threading.RLock()


_managers: weakref.WeakSet[VaultAWSCredentialManager] = weakref.WeakSet()


def _forked() -> None:
    for manager in _managers:
        manager.forked()


at_fork(_forked)


class _SharedProvider(botocore.credentials.CredentialProvider):
    """Hands one manager's credentials to a session: they are fetched once for all of its sessions."""

    METHOD = METHOD

    def __init__(self, session: botocore.session.Session, shared: Any) -> None:
        super().__init__(session)
        self._shared = shared

    def load(self) -> Any:
        return self._shared()


class _AgentClient(hvac.Client):  # type: ignore[misc]
    """hvac's client where an Agent adds the token: to have none of one's own is not to be logged out."""

    def is_authenticated(self) -> bool:
        try:
            self.lookup_token()
        except (hvac.exceptions.Forbidden, hvac.exceptions.InvalidPath, hvac.exceptions.InvalidRequest):
            return False
        return True


def _adapter_for(fetcher: Fetcher) -> type[hvac.adapters.Adapter]:
    """Return an hvac adapter whose token is always the fetcher's live one, unless the caller sets another."""

    class TokenAdapter(hvac.adapters.JSONAdapter):  # type: ignore[misc]
        _own: str | None = None

        @property
        def token(self) -> str | None:
            if self._own:
                return self._own
            try:
                return fetcher.token().value
            except AuthenticationError as error:
                logger.warning("%s", error)
                return None

        @token.setter
        def token(self, value: str | None) -> None:
            self._own = value

    return TokenAdapter
