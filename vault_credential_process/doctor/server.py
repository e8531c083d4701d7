"""The state of the server: whether it is Vault at all, which one, sealed, standby, initialized."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from vault_credential_process import refusals
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, error, failed, note, ok, skipped
from vault_credential_process.doctor.network import HEALTH
from vault_credential_process.errors import one_line
from vault_credential_process.refusals import Refusal

_OF_PATHS = ("v1", "ui")
"""How addresses end that were copied from a request, or from a browser."""


def examine(case: Case) -> Iterator[Finding]:
    """Tell what the answer of ``sys/health`` says."""
    response, config = case.health, case.config
    if response is None or config is None:
        yield skipped(case.step, "no server answered")
        return
    body = _json(response.content)
    is_state = isinstance(body.get("initialized"), bool)
    end = config.vault_addr.rstrip("/").rpartition("/")[2]
    if not is_state and end in _OF_PATHS:
        yield error(
            case.step,
            f"{config.vault_addr}: no Vault answers there",
            f"/{end} is no part of the address: the path of each request is put behind it",
            f"take /{end} out of vault_addr (from {config.origin('vault_addr')})",
        )
        return
    refusal = _refusal(config.vault_addr, response, body, is_state)
    failure = refusals.general(refusal) if refusal is not None else None
    if failure is not None:
        yield failed(case.step, failure)
        return
    case.serves = True
    if not is_state:
        # A proxy may hand on a few paths only, and the login may be one of them.
        yield note(case.step, f"{HEALTH}: HTTP {response.status_code}", "the state of the server is not told here")
        return
    is_standby = bool(body.get("standby") or body.get("performance_standby"))
    yield ok(case.step, f"{_product(body)}, unsealed and {'a standby' if is_standby else 'active'}")
    if is_standby:
        yield note(case.step, "a standby hands requests on to the active node", "which must be within its reach")


def _json(content: bytes) -> Mapping[str, Any]:
    """Return the body of an answer; nothing where it is not JSON."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _refusal(address: str, response: requests.Response, body: Mapping[str, Any], is_state: bool) -> Refusal | None:
    """Return the answer as a refusal, as the login would get it; ``None`` where the server serves."""
    status = response.status_code
    if not is_state:
        errors = body.get("errors")
        if b"HTTP request to an HTTPS server" in response.content:
            errors = ["HTTP request to an HTTPS server"]
        said = tuple(map(str, errors)) if isinstance(errors, list) else None
        return Refusal(address, HEALTH, status, said)
    if not body["initialized"]:
        return Refusal(address, HEALTH, 501, ("Vault is not initialized",))
    if body.get("sealed"):
        return Refusal(address, HEALTH, 503, ("Vault is sealed",))
    return Refusal(address, HEALTH, 472, ()) if status == 472 else None


def _product(state: Mapping[str, Any]) -> str:
    """Return what the server is: HashiCorp's says whether it is the enterprise edition, OpenBao does not."""
    version = one_line(str(state.get("version") or "of an unknown version"), limit=40)
    if "enterprise" in state or version.endswith(("+ent", "+ent.hsm")):
        return f"Vault {version}"
    return f"OpenBao {version}" if version[:2] in ("2.", "3.") else f"Vault or OpenBao {version}"
