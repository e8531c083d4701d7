"""The AWS credentials that an AWS login is signed with: botocore's chain, and never the profile that runs us.

A chain that led back here would log in to log in, without end: such a profile is refused where it was named, and left
out where it only lies on the way.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

import botocore.config
import botocore.credentials
import botocore.exceptions
import botocore.session

from vault_credential_process.auth.aws_iam import NESTED
from vault_credential_process.config import Config
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineError,
    UnreachableError,
    VaultCredentialError,
    one_line,
)
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import section_name
from vault_credential_process.timed import in_time

_CALLERS = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
"""Variables that tell a program which profile its caller resolves: the one that runs us."""

_OURS = re.compile(r"(?:^|[\s/\\\"'])vault[-_]credential[-_]process(?:\.exe)?(?:$|[\s\"'])")
"""A ``credential_process`` line that runs us, by the command or by ``python -m``."""

_SHARE = 0.8
"""What part of the time that is left the chain may take: the login comes after it."""

_CONNECT_LIMIT, _READ_LIMIT = 3.0, 10.0
"""Seconds that a request of the chain to AWS may take."""

_MALFORMED = (
    botocore.exceptions.InvalidConfigError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.ConfigParseError,
)

_SHOWN = (
    *_MALFORMED,
    botocore.exceptions.ClientError,
    botocore.exceptions.SSOError,
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
)
"""Errors whose words hold no answer of a program or a metadata service, and so no secret."""


@dataclasses.dataclass(frozen=True, slots=True)
class Keys:
    """AWS credentials of somebody, and ``origin``, where botocore found them."""

    access_key: str = dataclasses.field(repr=False)
    secret_key: str = dataclasses.field(repr=False)
    session_token: str | None = dataclasses.field(repr=False)
    origin: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Trail:
    """The profiles that a source leads through, and which of them gets its credentials from us."""

    names: tuple[str, ...]
    culprit: str | None


def find(config: Config, named: str | None, deadline: Deadline) -> Keys:
    """Return the credentials of the profile ``named``, else of botocore's chain with the ``[default]`` profile.

    They are fetched anew each time. Keys in the environment go before ``[default]``, not before a named profile.

    :raises ConfigurationError: when the profile does not exist, is malformed, or leads back to us.
    :raises AuthenticationError: when there are no credentials, or AWS gives none.
    :raises UnreachableError: when AWS does not answer.
    :raises DeadlineError: when it all takes longer than the call may.
    """
    what = "the AWS credentials to log in with"
    limit = deadline.remaining(what) * _SHARE
    chain = _Chain(config, named, time.monotonic() + limit)
    # Name servers and files on a network have no time-out of their own.
    found, failures = in_time(chain.load, limit, "aws-chain")
    if found:
        return found[0]
    raise chain.explain(failures[0] if failures else None, limit) from None


class _Chain:
    """botocore's chain for one source, as far as it does not lead back to us."""

    def __init__(self, config: Config, named: str | None, until: float) -> None:
        self._config = config
        self._named = named
        self._until = until
        self._files_lead_back = False
        self.source = section_name(named) if named else "the default chain"

    def load(self) -> Keys:
        """Return the first credentials of the chain."""
        session = _session(self._named)
        trail = self._trail(session.full_config.get("profiles", {}))
        if trail.culprit is not None:
            self._refuse_named(trail)
            self._files_lead_back = True
            session = _session(None, with_files=False)
        credentials = self._resolver(session).load_credentials()
        if credentials is None:
            raise self._nothing()
        if credentials.method == "assume-role":
            self._refuse_prompt(session.full_config["profiles"], trail)
        frozen = credentials.get_frozen_credentials()
        origin = f"the credentials of {self.source} ({credentials.method})"
        return Keys(str(frozen.access_key), str(frozen.secret_key), frozen.token or None, origin)

    def _trail(self, profiles: Mapping[str, Any]) -> _Trail:
        names: list[str] = []
        name: Any = self._named or "default"
        while isinstance(name, str) and name not in names:
            names.append(name)
            keys = profiles.get(name, {})
            process = str(keys.get("credential_process", ""))
            if name == self._config.profile or "vault_aws_role" in keys or _OURS.search(process):
                return _Trail(tuple(names), name)
            name = keys.get("source_profile") if "role_arn" in keys else None
        return _Trail(tuple(names), None)

    def _refuse_named(self, trail: _Trail) -> None:
        if not self._named:
            return
        culprit = section_name(trail.culprit or "")
        way = self.source if trail.culprit == self._named else f"{self.source} leads to {culprit}, which"
        raise ConfigurationError(
            f"vault_aws_iam_profile: {way} gets its credentials from vault-credential-process; name one that gets them "
            f"elsewhere (from {self._config.origin('vault_aws_iam_profile')})"
        )

    def _refuse_prompt(self, profiles: Mapping[str, Any], trail: _Trail) -> None:
        asking = next((name for name in trail.names if "mfa_serial" in profiles.get(name, {})), None)
        if asking is not None:
            raise ConfigurationError(
                f"vault_aws_iam_profile: {section_name(asking)} wants an MFA code (mfa_serial), and nobody is asked at "
                "a login to Vault; name a profile without one"
            )

    def _resolver(self, session: botocore.session.Session) -> botocore.credentials.CredentialResolver:
        """Return the chain as botocore builds it: not by the session, into which ``install()`` may have put us."""
        region = session.get_config_variable("region") or self._config.aws_region or "us-east-1"
        resolver = botocore.credentials.create_credential_resolver(session, region_name=region)
        session.register_component("credential_provider", resolver)
        _run_with(resolver, self._start)
        return resolver

    def _start(self, command: list[str], **streams: Any) -> subprocess.Popen[bytes]:
        """Start a program of the chain: it is not told of the profile that runs us, and ends when the chain must."""
        environ = {name: value for name, value in os.environ.items() if name not in _CALLERS}
        return _Helper(command, self._until, env={**environ, NESTED: "1"}, stdin=subprocess.DEVNULL, **streams)

    def _nothing(self) -> VaultCredentialError:
        if self._named:
            looked = f"{self.source} has none"
        elif self._files_lead_back:
            looked = (
                "neither the environment nor a container nor an instance has any, and [default] gets its own from "
                "vault-credential-process"
            )
        else:
            looked = "neither the environment nor [default] nor a container nor an instance has any"
        return AuthenticationError(
            f"no AWS credentials to log in with: {looked}; name a profile that has some in vault_aws_iam_profile"
        )

    def explain(self, error: Exception | None, limit: float) -> VaultCredentialError:
        """Return what became of the chain; ``None`` stands for no answer at all."""
        where = f"the AWS credentials of {self.source}"
        shows = "aws sts get-caller-identity" + (f" --profile {self._named}" if self._named else "")
        if isinstance(error, VaultCredentialError):
            return error
        if error is None or isinstance(error, subprocess.TimeoutExpired):
            return DeadlineError(
                f"{where} did not come within {limit:.3g} s; see what {shows} waits for, or raise vault_aws_timeout"
            )
        if isinstance(error, botocore.exceptions.ProfileNotFound):
            return ConfigurationError(
                f"vault_aws_iam_profile: {self.source} is in no config or credentials file of AWS; check the name "
                f"(from {self._config.origin('vault_aws_iam_profile')})"
            )
        reason = one_line(str(error) if isinstance(error, _SHOWN) else type(error).__name__, limit=200)
        if isinstance(error, (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError)):
            return UnreachableError(f"{where}: AWS does not answer ({reason}); {shows} shows more")
        if isinstance(error, _MALFORMED):
            return ConfigurationError(f"{where}: {reason}; mend the profile, or the variables of AWS")
        return AuthenticationError(f"{where} cannot be had: {reason}; {shows} shows more")


class _Helper(subprocess.Popen[bytes]):
    """A program that is ended when it does not end in time; botocore would wait for ever."""

    def __init__(self, command: list[str], until: float, **keywords: Any) -> None:
        self._until = until
        super().__init__(command, **keywords)

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[bytes, bytes]:  # noqa: A002
        del timeout
        try:
            return super().communicate(input, max(self._until - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            with self:
                self.kill()
            raise


def _session(named: str | None, *, with_files: bool = True) -> botocore.session.Session:
    """Return a session that knows nothing of our caller's profile, nor of AWS's files where they lead back to us."""
    variables: dict[str, Any] = {"profile": (None, None, None, None)}
    if not with_files:
        variables["config_file"] = variables["credentials_file"] = (None, None, os.devnull, None)
    session = botocore.session.Session(session_vars=variables, profile=named)
    session.set_default_client_config(
        botocore.config.Config(
            connect_timeout=_CONNECT_LIMIT, read_timeout=_READ_LIMIT, retries={"total_max_attempts": 2}
        )
    )
    return session


def _run_with(resolver: botocore.credentials.CredentialResolver, start: Callable[..., Any]) -> None:
    """Let programs of the chain, and of the source profiles in it, be started by ``start``.

    botocore takes another starter only where a provider is made by hand; where it has renamed what it keeps to itself,
    programs start as botocore starts them.
    """
    for provider in resolver.providers:
        _replace_starter(provider, start)
        builder = getattr(provider, "_profile_provider_builder", None)
        if builder is not None and hasattr(builder, "providers"):
            builder.providers = _with_starter(builder.providers, start)


def _with_starter(build: Callable[..., list[Any]], start: Callable[..., Any]) -> Callable[..., list[Any]]:
    def providers(*arguments: Any, **keywords: Any) -> list[Any]:
        found = build(*arguments, **keywords)
        for provider in found:
            _replace_starter(provider, start)
        return found

    return providers


def _replace_starter(provider: Any, start: Callable[..., Any]) -> None:
    if hasattr(provider, "_popen"):
        provider._popen = start
