"""This host's clock beside those of Vault and of AWS: with more than five minutes between them AWS refuses us."""

from __future__ import annotations

from collections.abc import Iterator

import botocore.awsrequest

from vault_credential_process import awswire, probe
from vault_credential_process.config import Config
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, error, ok, skipped, warning
from vault_credential_process.requester import http_date

TOLERANCE = 300.0
"""Seconds that AWS lets a signature be off (https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html)."""

NEAR = 60.0
"""Seconds that nobody need know of: answers have a way to go, and dates have no fractions."""

_PATIENCE = 5.0
_DAY = 86400.0


def examine(case: Case) -> Iterator[Finding]:
    """Compare the clocks, and tell whose is off."""
    config = case.config
    if config is None:
        yield skipped(case.step, "the settings do not say where AWS is")
        return
    vault, aws = _of_vault(case), None
    try:
        aws = _of_aws(case, config)
    except Exception as failure:  # botocore raises what it likes at an endpoint or a region that is none
        yield warning(
            case.step,
            f"STS cannot be reached from here ({type(failure).__name__})",
            "the clock is compared with Vault's alone, and identity is not told",
            "check the network, proxies, region and AWS_ENDPOINT_URL",
        )
    if vault is None and aws is None:
        yield skipped(case.step, "nobody told the time")
        return
    yield _judged(case, vault, aws)


def _judged(case: Case, vault: float | None, aws: float | None) -> Finding:
    """Return what two differences mean, in seconds by which the others are ahead of us."""
    if aws is not None and abs(aws) > TOLERANCE:
        whose = "this host's clock is"
        if vault is not None and abs(vault) < NEAR:
            whose = "the clocks of this host and of Vault are"
        agreed = ", as Vault's says too" if vault is not None and abs(vault - aws) < NEAR else ""
        return error(
            case.step,
            f"{whose} {_told(-aws)} AWS's{agreed}",
            "AWS refuses every signature that is five minutes off",
            "set the clock (timedatectl set-ntp true)",
        )
    if vault is not None and abs(vault) > TOLERANCE:
        if aws is None:
            return warning(
                case.step,
                f"this host's clock is {_told(-vault)} Vault's; AWS's is not known",
                "AWS refuses signatures of whichever is wrong",
                "compare both with a third clock",
            )
        return warning(
            case.step,
            f"Vault's clock is {_told(vault)} this host's, which agrees with AWS's",
            "AWS may refuse what Vault asks for",
            "set the clock of Vault's host",
        )
    largest = max((abs(offset) for offset in (vault, aws) if offset is not None), default=0.0)
    if largest > NEAR:
        return warning(case.step, f"the clocks are {largest:.0f} s apart", "AWS allows 300", "set the clock")
    known = " and ".join(name for name, offset in (("Vault's", vault), ("AWS's", aws)) if offset is not None)
    return ok(case.step, f"the clock agrees with {known}")


def _told(seconds: float) -> str:
    """Return how far a clock is off from another; more than nothing is ahead."""
    way = "ahead of" if seconds > 0 else "behind"
    size = abs(seconds)
    if size >= 2 * _DAY:
        return f"{size / _DAY:.0f} days {way}"
    return f"{size / 60:.0f} min {way}" if size >= 120 else f"{size:.0f} s {way}"


def _of_vault(case: Case) -> float | None:
    """Return the seconds by which Vault's clock is ahead of ours, as its answer tells."""
    return None if case.health is None else _ahead(case.health.headers.get("Date", ""), case.asked_at)


def _of_aws(case: Case, config: Config) -> float | None:
    """Return the seconds by which AWS's clock is ahead of ours: STS is asked, without a signature."""
    url, _ = probe.endpoint(config)
    before = case.clock()
    # Any answer has a date; this path is no call of any service.
    request = botocore.awsrequest.AWSRequest(method="GET", url=f"{url}favicon.ico").prepare()
    answer = awswire.send(request, ca_bundle=config.aws_ca_bundle, timeout=case.limit(_PATIENCE, "STS"))
    return _ahead(answer.date, (before + case.clock()) / 2)


def _ahead(date: str, ours: float) -> float | None:
    theirs = http_date(date)
    return None if theirs is None else theirs - ours
