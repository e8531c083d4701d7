"""The role: what kind of credentials it gives, how long they live, and what SDKs make of that.

Credentials are read only where that harms nobody: where the kind is known not to make an IAM user, or where somebody
asked for it. What was read is kept for ``get``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from vault_credential_process.config import Config
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, error, note, ok, skipped, warning
from vault_credential_process.doctor.login import role_path
from vault_credential_process.expiry import format_timestamp
from vault_credential_process.fetcher import Fetcher

ENOUGH = 20 * 60
"""Seconds that credentials should live at least: in their last 15 minutes botocore runs us on every request."""

_KINDS = ("iam_user", "assumed_role", "federation_token", "session_token")
_ENDPOINTS = {"static-creds": "static", "sts": "sts"}
"""Endpoints that give one kind, whatever the role says."""
_EVERY_REQUEST = "botocore runs the command on every request while less than 15 min are left"


def examine(case: Case) -> Iterator[Finding]:
    """Tell the kind, have credentials where that harms nobody, and judge their life."""
    config = case.config
    if config is None or case.fetcher is None:
        yield skipped(case.step, "nobody knows who would log in")
        return
    if not config.vault_aws_role:
        yield skipped(case.step, "no role is set")
        return
    entry, case.pair = case.held()
    if case.token is None and entry is None:
        yield skipped(case.step, "there is no token")
        return
    if case.lacks_role:
        where = role_path(config).rpartition("/")[0]
        also = "" if where.endswith("static-roles") else "; a static role wants vault_aws_endpoint = static-creds"
        yield error(
            case.step,
            f"no role {config.vault_aws_role!r} at mount {config.vault_aws_mount!r}",
            f"{config.vault_addr}/v1/{role_path(config)} is not there",
            f"check vault_aws_role (from {config.origin('vault_aws_role')}): vault list {where}{also}",
        )
    case.kind, how = _kind(config, case.role, entry.credentials.credential_type if entry is not None else None)
    if case.kind is not None:
        yield ok(case.step, f"role {config.vault_aws_role} gives {_in_words(case.kind)}", how)
    if case.pair is not None:
        yield ok(case.step, f"valid credentials are kept, until {format_timestamp(case.pair.expiry)}")
    else:
        yield _credentials(case, config)
    life = case.pair.life if case.pair is not None else case.role.get("default_sts_ttl")
    yield from _judged(case, case.kind or (case.pair.credential_type if case.pair else None), life)


def _kind(config: Config, told: Mapping[str, Any], of_kept: str | None) -> tuple[str | None, str]:
    """Return the kind of the role's credentials and how that is known."""
    if config.vault_aws_endpoint in _ENDPOINTS:
        return _ENDPOINTS[config.vault_aws_endpoint], "vault_aws_endpoint says so"
    several = told.get("credential_types")
    named = told.get("credential_type") or (several[0] if isinstance(several, list) and several else None)
    if named in _KINDS:
        return str(named), "the role says so"
    if of_kept is not None:
        return of_kept, "an earlier answer told"
    return None, ""


def _in_words(kind: str) -> str:
    return {"iam_user": "keys of a new IAM user (iam_user)", "static": "static keys", "sts": "STS credentials"}.get(
        kind, f"STS credentials ({kind})"
    )


def _credentials(case: Case, config: Config) -> Finding:
    """Read credentials, or tell why not.

    :raises VaultCredentialError: when the read fails.
    """
    if case.lacks_role:
        return skipped(case.step, "no credentials are read: there is no such role")
    if case.denied:
        return skipped(case.step, "no credentials are read: the token may not")
    if case.token is None:
        return skipped(case.step, "no credentials are read: there is no token")
    if not case.logs_in:
        return skipped(case.step, "no credentials are read: --no-login")
    if case.kind in (None, "iam_user") and not case.reads:
        what = "that would make an IAM user"
        if case.kind is None:
            what = "the token may not read the role, and it might make an IAM user"
        return skipped(case.step, f"no credentials are read: {what}", "run get, or doctor --read")
    left = case.deadline.remaining("the read of credentials")
    fetcher = Fetcher(dataclasses.replace(config, vault_aws_timeout=left), cache=case.cache, clock=case.clock)
    case.pair = fetcher.fetch()
    until = format_timestamp(case.pair.expiry)
    return ok(case.step, f"read {config.aws_path}: {_in_words(case.pair.credential_type)}, until {until}")


def _judged(case: Case, kind: str | None, life: object) -> Iterator[Finding]:
    """Tell what the life of the credentials means for SDKs, and for an IAM user."""
    if kind == "iam_user" and case.token is not None:
        end = "" if case.token.expiry is None else f" ({format_timestamp(case.token.expiry)}, unless it is renewed)"
        yield note(case.step, f"an IAM user ends with the Vault token that asked for it{end}")
    if not isinstance(life, (int, float)) or life <= 0 or kind is None or kind == "static":
        return
    minutes = f"{life / 60:.0f} min"
    if life >= ENOUGH:
        yield ok(case.step, f"they live {minutes}, which is enough for SDKs to refresh ahead of time")
    elif kind == "iam_user":
        yield warning(
            case.step,
            f"this role's keys live {minutes} only, as long as the token",
            _EVERY_REQUEST,
            "raise token_ttl and token_max_ttl of the auth method above 20 min, or use the provider in the process",
        )
    else:
        yield warning(
            case.step,
            f"this role's leases of {minutes} are short",
            _EVERY_REQUEST,
            "raise default_sts_ttl and max_sts_ttl above 20 min, or use the provider in the process",
        )
