"""What is right and what is wrong between a profile and AWS: one file a topic, each a step that yields findings.

:func:`examine` runs them in the order in which a call for credentials goes. A step whose ground is missing says
so (``skipped``), and does not fail: the first error is the cause.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from vault_credential_process.doctor import (
    cache,
    clock,
    identity,
    installation,
    login,
    network,
    profile_line,
    role,
    server,
    settings,
    shadows,
)
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, bug, failed, skipped
from vault_credential_process.errors import VaultCredentialError

__all__ = ["STEPS", "Case", "Finding", "examine"]

logger = logging.getLogger(__name__)

Step = Callable[[Case], Iterator[Finding]]

STEPS: dict[str, Step] = {
    "versions": installation.examine,
    "settings": settings.examine,
    "other keys": shadows.examine,
    "credential_process": profile_line.examine,
    "network": network.examine,
    "clock": clock.examine,
    "server": server.examine,
    "login": login.examine,
    "role": role.examine,
    "cache": cache.examine,
    "identity": identity.examine,
}
"""Each step by its name, in order."""


def examine(case: Case) -> Iterator[Finding]:
    """Yield what each step finds, as soon as it finds it. Nothing is raised: an error is a finding."""
    for name, step in STEPS.items():
        case.step = name
        late = case.late()
        if late is not None:
            told = any(finding.exit_code == late.exit_code for finding in case.findings)
            yield case.keep(skipped(name, "no time is left") if told else failed(name, late))
            continue
        try:
            for finding in step(case):
                case.keep(finding)
                yield finding
        except VaultCredentialError as error:
            yield case.keep(failed(name, error))
        except Exception as error:  # the other steps have something to say all the same
            logger.debug("the step %s failed: %s", name, type(error).__name__)
            yield case.keep(bug(name, error))
