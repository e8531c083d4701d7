"""Questions to Vault that change nothing, asked with the token at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vault_credential_process import blotting
from vault_credential_process.config import Config
from vault_credential_process.doctor.case import Case
from vault_credential_process.models import VaultToken
from vault_credential_process.requester import Requester


def ask(
    case: Case,
    config: Config,
    path: str,
    token: VaultToken,
    namespace: str | None,
    json: Mapping[str, Any] | None = None,
    *,
    verb: str = "get",
) -> Mapping[str, Any]:
    """Return the body of the answer: to a ``POST`` where there is ``json``, else to a ``GET``, or what ``verb`` says.

    Not for a token of limited uses, of which it would be one.

    :raises RefusedError: when Vault answers with anything but success.
    :raises UnreachableError: when no usable answer comes.
    """
    secrets = (token.value,) if token.value is not None else ()
    requester = Requester(config, case.deadline, case.clock)
    try:
        with blotting.unlogged(secrets):
            answer = requester.ask(
                "post" if json else verb, path, token=token.value, namespace=namespace, json=json, secrets=secrets
            )
    finally:
        requester.close()
    return answer.body


def data_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the data in a body, nothing where there is none."""
    data = body.get("data")
    return data if isinstance(data, Mapping) else {}
