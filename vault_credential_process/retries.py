"""Which request is sent again after which failure, and when: one table, which the requester obeys.

Vault's own Go client sends everything again after a failure on the wire, a 412, a 429 and every 5xx but 501
(``DefaultRetryPolicy`` in ``api/client.go``). Here a second column holds what cannot be repeated without harm: a login
may spend a Secret ID that serves once, and each read of an ``iam_user`` role makes an IAM user. Those are sent again
only where it is certain that nothing was done. ``docs/wire.md`` shows the table.
"""

from __future__ import annotations

import dataclasses
import enum
import http.client
import ssl

import requests
import urllib3

from vault_credential_process import failures
from vault_credential_process.errors import UnreachableError
from vault_credential_process.refusals import Refusal, RefusedError
from vault_credential_process.timed import jitter


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What follows from a failure.

    ``undone`` is whether it is certain that nothing was done, and no use of a token counted; ``harmless`` and
    ``harmful`` whether the request is sent again, where a repetition does no harm and where it may; ``told`` whether
    ``Retry-After`` in the answer says when.
    """

    failure: str
    undone: bool
    harmless: bool
    harmful: bool
    told: bool = False

    def again(self, repeatable: bool) -> bool:
        """Tell whether a request is sent again."""
        return self.harmless if repeatable else self.harmful


class Failure(enum.Enum):
    """The table: every way in which a request brings no usable answer."""

    NOT_CONNECTED = Row(
        "no connection: the name does not resolve, the port refuses, the host is silent, the handshake is broken off",
        undone=True, harmless=True, harmful=True,
    )  # fmt: skip
    PROXY = Row("the proxy is away, or refuses to connect", undone=True, harmless=True, harmful=True)
    TLS = Row(
        "TLS: a certificate that is not trusted, has expired or is for another name; no version in common; plain http",
        undone=True, harmless=False, harmful=False,
    )  # fmt: skip
    UNSENDABLE = Row("a host name or header that cannot be written", undone=True, harmless=False, harmful=False)
    BROKEN = Row("reset or hang-up after the request was sent", undone=False, harmless=True, harmful=False)
    TIME_OUT = Row("no answer within `vault_client_timeout`", undone=False, harmless=True, harmful=False)
    CUT_SHORT = Row("a reply that is cut short, or cannot be unpacked", undone=False, harmless=True, harmful=False)
    NOT_VAULT = Row(
        "a reply that is not Vault's: no JSON, over 4 MiB, compressed but not by gzip, a redirect that is not followed",
        undone=False, harmless=False, harmful=False,
    )  # fmt: skip
    NODE_AWAY = Row(
        "a redirect of a standby to a node that cannot be reached", undone=False, harmless=True, harmful=False
    )
    BEHIND = Row("412: the node is behind", undone=True, harmless=True, harmful=True)
    LIMITED = Row("429: too many requests", undone=True, harmless=True, harmful=True, told=True)
    SEALED = Row("503: Vault is sealed", undone=True, harmless=False, harmful=False)
    UNINITIALIZED = Row("501: Vault is not initialized", undone=True, harmless=False, harmful=False)
    # A standby says each of these also after it had handed the request on and got no answer (``forwardRequest`` in
    # ``http/handler.go``).
    NO_ACTIVE_NODE = Row(
        "500 of a standby: local node not active but active cluster node not found",
        undone=False, harmless=True, harmful=False,
    )  # fmt: skip
    ACTIVE_NODE_LOST = Row(
        "503 of a standby: no active Vault instance found", undone=False, harmless=True, harmful=False, told=True
    )
    # An engine says so in the middle of its work, where AWS throttles what follows upon ``CreateUser``: the user is
    # there until Vault undoes it (``ErrUpstreamRateLimited``).
    UPSTREAM = Row("502 in Vault's own JSON", undone=False, harmless=True, harmful=False, told=True)
    UNAVAILABLE = Row("503 in Vault's own JSON", undone=True, harmless=True, harmful=True, told=True)
    GATEWAY = Row("502 or 503 in a gateway's words", undone=False, harmless=True, harmful=False, told=True)
    SERVER_ERROR = Row("500, 504 and every other 5xx, whoever says so", undone=False, harmless=True, harmful=False)
    REFUSED = Row("every other status: 4xx, and 3xx that no Vault sends", undone=False, harmless=False, harmful=False)


def failure_of(error: requests.RequestException | UnreachableError) -> Failure:
    """Return the row of what a request ended in."""
    if isinstance(error, RefusedError):
        return _of_refusal(error.refusal)
    if isinstance(error, failures.NodeAwayError):
        return Failure.NODE_AWAY
    if isinstance(error, UnreachableError):
        return Failure.NOT_VAULT
    causes = failures.causes(error)
    if any(isinstance(cause, (UnicodeError, urllib3.exceptions.LocationParseError)) for cause in causes):
        return Failure.UNSENDABLE
    if isinstance(error, ValueError):  # what requests says of a URL or a header
        return Failure.UNSENDABLE
    if not failures.was_sent(error):
        if failures.is_of_proxy(error):
            return Failure.PROXY
        hang_up = any(isinstance(cause, ssl.SSLEOFError) for cause in causes)
        handshake = any(isinstance(cause, ssl.SSLError) for cause in causes)
        return Failure.TLS if handshake and not hang_up else Failure.NOT_CONNECTED
    if failures.is_about_our_certificate(error):
        # In TLS 1.3 the client has ended its part of the handshake when the server says so.
        return Failure.TLS
    if isinstance(error, requests.Timeout) or any(isinstance(c, urllib3.exceptions.TimeoutError) for c in causes):
        return Failure.TIME_OUT
    torn = (http.client.IncompleteRead, urllib3.exceptions.DecodeError)
    return Failure.CUT_SHORT if any(isinstance(cause, torn) for cause in causes) else Failure.BROKEN


def _of_refusal(refusal: Refusal) -> Failure:
    text, status = refusal.text.lower(), refusal.status
    if status == 412:
        return Failure.BEHIND
    if status == 429:
        return Failure.LIMITED
    if status == 501 or (status == 503 and "not initialized" in text):
        return Failure.UNINITIALIZED
    if status >= 500 and "vault is sealed" in text:
        return Failure.SEALED
    if status == 500 and "local node not active but active cluster node not found" in text:
        return Failure.NO_ACTIVE_NODE
    if status in (502, 503):
        if "no active vault instance found" in text:
            return Failure.ACTIVE_NODE_LOST
        if refusal.errors is None:
            return Failure.GATEWAY
        return Failure.UPSTREAM if status == 502 else Failure.UNAVAILABLE
    return Failure.SERVER_ERROR if status >= 500 else Failure.REFUSED


def wait(attempt: int, base: float, asked_for: float = 0.0) -> float:
    """Return the seconds before the next try: Go's, and no less than the server asks for.

    Go's client takes one to one and a half times ``base`` times the number of the try that failed
    (``LinearJitterBackoff``).
    """
    return max(base * attempt * jitter(1.0, 1.5), asked_for)
