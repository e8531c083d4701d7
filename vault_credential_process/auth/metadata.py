"""Requests to what a platform tells its workloads: metadata services, and issuers of identity tokens.

They go over the same wire as requests to Vault: no redirect, no ``.netrc``, a limit on time and size, the system's
CAs. What they send and get are secrets, so no message repeats more than the address and the status.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import urllib.parse
from collections.abc import Collection, Mapping
from typing import Any

import requests

from vault_credential_process import failures, transport
from vault_credential_process.config import Config
from vault_credential_process.errors import UnreachableError
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import Origin

logger = logging.getLogger(__name__)

MAX_REPLY = 64 * 1024
"""Bytes of the longest reply that is taken; a token has a few thousand."""

LIMIT = 10.0
"""Seconds that one request may take."""

RETRY_WAIT = 1.0
"""Seconds before the first new try, twice as many before each further one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered, whatever its status."""

    status: int
    body: bytes = dataclasses.field(repr=False)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    def json(self) -> Mapping[str, Any]:
        """Return the body as a JSON object; an empty one where it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def fetch(
    url: str,
    *,
    deadline: Deadline,
    what: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    limit: float = LIMIT,
    retries: int = 0,
    again: Collection[int] = (),
    use_proxy: bool = False,
    where: str = "",
) -> Reply:
    """Return the answer of a service. ``what`` says in words what is asked for, and ``where`` where it can be had.

    ``use_proxy`` lets the proxies of the environment serve, for hosts on the internet: a metadata service is always
    asked directly. A request that found no answer, 429, 5xx and the statuses of ``again`` are tried again ``retries``
    times; but a metadata service that is not there at all stays away. One that refuses may be about to start.

    :raises UnreachableError: when no usable answer comes.
    :raises DeadlineError: when the call's own deadline passes.
    """
    parts = urllib.parse.urlsplit(url)
    wire = Config(
        vault_addr=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
        vault_client_timeout=limit,
        origins={"vault_addr": Origin("argument", what)},
    )
    pause = RETRY_WAIT
    while True:
        reply, reason = None, ""
        try:
            reply = _once(wire, url, deadline, what, method, headers or {}, params or {}, use_proxy)
            is_final = reply.status < 500 and reply.status not in (429, *again)
        except requests.RequestException as error:
            deadline.remaining(what)
            reason = str(failures.explain(error, wire, "it")).partition(";")[0]
            is_final = not use_proxy and not failures.was_sent(error) and "connection refused" not in reason
        if is_final or retries <= 0 or pause >= deadline.remaining(what):
            break
        logger.debug("%s: %s; another try in %.0f s", what, reason or reply, pause)
        deadline.sleep(pause, what)
        retries, pause = retries - 1, pause * 2
    if reply is None:
        only = f" (only {where})" if where else ""
        raise UnreachableError(f"{what}: {reason}; check that its service can be reached from here{only}")
    return reply


def _once(
    wire: Config,
    url: str,
    deadline: Deadline,
    what: str,
    method: str,
    headers: Mapping[str, str],
    params: Mapping[str, str],
    use_proxy: bool,
) -> Reply:
    patience = min(wire.vault_client_timeout, deadline.remaining(what))
    with transport.open_session(dataclasses.replace(wire, vault_client_timeout=patience), None) as session:
        if not use_proxy:
            session.proxies = {}
        # http.client fails at headers that are not Latin-1, and requests at parameters that are not Unicode.
        encoded = {name: value.encode() for name, value in headers.items()}
        given = {name: value.encode(errors="replace") for name, value in params.items()}
        try:
            response = session.request(method, url, headers=encoded, params=given, allow_redirects=False)
        except UnreachableError:  # longer than any answer of Vault
            response = None
    if response is None or len(response.content) > MAX_REPLY:
        raise UnreachableError(f"{what}: {wire.vault_addr}: longer than {MAX_REPLY} bytes; check what answers there")
    return Reply(response.status_code, response.content, response.headers)
