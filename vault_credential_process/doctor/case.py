"""What one examination knows: what it was given, and what its steps have found out so far."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import requests

from vault_credential_process.cache import CacheBackend
from vault_credential_process.cache.entry import Entry
from vault_credential_process.config import Config
from vault_credential_process.doctor.findings import Finding
from vault_credential_process.errors import ConfigurationError, DeadlineError, VaultCredentialError
from vault_credential_process.expiry import Deadline
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.models import AWSCredentials, Clock, VaultToken, wall_clock
from vault_credential_process.profiles import Profile

DEFAULT_LIMIT = 45.0
"""Seconds of the whole examination, where the settings do not say (``vault_aws_timeout``)."""


@dataclasses.dataclass
class Case:
    """One examination.

    ``arguments`` are the values of flags by the name of their setting. ``logs_in`` is whether Vault may be asked for a
    token where none is kept, ``reads`` whether credentials may be read whatever their type. What a step finds
    out is ``None`` until then, and stays so where it failed.
    """

    arguments: Mapping[str, Any] = dataclasses.field(repr=False)
    environ: Mapping[str, str] = dataclasses.field(repr=False)
    logs_in: bool = True
    reads: bool = False
    line_for: Callable[[str], str] = lambda name: f"/…/vault-credential-process get --profile {name}"
    """Returns the ``credential_process`` line that a profile should have."""
    complaint_of: Callable[[Sequence[str]], str | None] = lambda words: None
    """Returns what this version of the command has to say against its arguments, or ``None``."""
    clock: Clock = wall_clock
    began: float = dataclasses.field(default_factory=time.monotonic)
    deadline: Deadline = dataclasses.field(default_factory=lambda: Deadline(DEFAULT_LIMIT))

    step: str = ""
    findings: list[Finding] = dataclasses.field(default_factory=list)
    profile: Profile | None = None
    config: Config | None = None
    complaints: list[ConfigurationError] = dataclasses.field(default_factory=list)
    """What is wrong with the settings: then nothing is sent that could be meant for somebody else."""
    health: requests.Response | None = dataclasses.field(default=None, repr=False)
    asked_at: float = 0.0
    """When the health was asked for and answered, in the middle, by our clock."""
    serves: bool = False
    """Whether the server can be asked for a token."""
    cache: CacheBackend | None = None
    fetcher: Fetcher | None = None
    cache_failure: VaultCredentialError | None = None
    token: VaultToken | None = None
    denied: bool = False
    """Whether the token may not read the path, as far as Vault told."""
    may_read_role: bool = False
    """Whether the token may read the role itself, which tells its kind."""
    role: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The settings of the role, as far as the token may read them."""
    lacks_role: bool = False
    """Whether Vault told that there is no such role."""
    lacks_line: bool = False
    """Whether the profile has no ``credential_process``, so that only programs with the provider can use it."""
    kind: str | None = None
    """``iam_user``, ``static``, ``sts``, or which of the kinds of STS it is; ``None`` where nobody tells."""
    pair: AWSCredentials | None = None

    def keep(self, finding: Finding) -> Finding:
        """Remember a finding and return it."""
        self.findings.append(finding)
        return finding

    @property
    def cause(self) -> Finding | None:
        """The first error, which is the cause; ``None`` where all is well."""
        return next((finding for finding in self.findings if finding.state == "error"), None)

    @property
    def exit_code(self) -> int:
        """The exit code of the first error, 0 without one."""
        return self.cause.exit_code if self.cause else 0

    @property
    def complete(self) -> bool:
        """Whether everything was tried, up to AWS, which takes the credentials."""
        return any(finding.step == "identity" and finding.state == "ok" for finding in self.findings)

    def limit(self, seconds: float, what: str) -> float:
        """Return so many seconds, or what is left of the examination.

        :raises DeadlineError: when nothing is.
        """
        return min(seconds, self.deadline.remaining(what))

    def late(self) -> DeadlineError | None:
        """Return the error of an examination whose time is up; ``None`` while there is some."""
        try:
            self.deadline.remaining(f"the step {self.step}")
        except DeadlineError as failure:
            return failure
        return None

    @property
    def can_say_whom(self) -> bool:
        """Whether the settings are in order, so that it is certain who is meant and where."""
        return self.config is not None and not self.complaints

    def held(self) -> tuple[Entry | None, AWSCredentials | None]:
        """Return the credentials that are kept, whatever their state, and the pair of them that is valid now."""
        entry = self.fetcher.peek() if self.fetcher is not None else None
        pair = entry.served if entry is not None else None
        return entry, pair if pair is not None and pair.seconds_left(self.clock()) > 1 else None
