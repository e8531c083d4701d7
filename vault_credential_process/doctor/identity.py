"""Who the credentials are to AWS: a signed ``sts:GetCallerIdentity``, which needs no permission."""

from __future__ import annotations

from collections.abc import Iterator

from vault_credential_process import caller
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, failed, ok, skipped, warning
from vault_credential_process.errors import AuthenticationError, UnreachableError


def examine(case: Case) -> Iterator[Finding]:
    """Ask STS whose the valid credentials are."""
    if case.config is None or case.pair is None:
        yield skipped(case.step, "there are no valid credentials to ask with")
        return
    try:
        found = caller.who(case.pair, case.config, timeout=case.limit(caller.PATIENCE, "STS"))
    except AuthenticationError as refused:
        yield failed(case.step, refused, "programs get these credentials until they end")
        return
    except UnreachableError as silent:
        unknown = failed(case.step, silent)
        yield warning(case.step, unknown.found, "whether AWS takes the credentials is not known", unknown.remedy)
        return
    yield ok(case.step, f"AWS takes the credentials: {found.arn}", f"account {found.account}")
