"""The faults of the wire, as data: what each does to a client, at which stage, and with which limits of time."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import socket
import time
from collections.abc import Callable, Mapping

from vault_credential_process.testing import scripted
from vault_credential_process.testing.scripted import Request

from .proxy import Meeting, Stage

Act = Callable[[Meeting], None]

PATIENT = 20.0
"""Seconds of ``vault_aws_timeout`` for what ends at once."""
BY_REQUEST = {"VAULT_CLIENT_TIMEOUT": "3s"}
BY_CALL = {"VAULT_AWS_TIMEOUT": "2s"}
"""What ends a reply that does not come: the limit of one request, and that of the whole call."""

HTML = {"Content-Type": "text/html"}
PAGE = b"<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
HUGE = 100 * 1024 * 1024

STATUSES = {
    400: "unsupported operation here",
    403: "1 error occurred:\n\t* permission denied\n\n",
    404: 'no handler for route "aws/creds/webapp". route entry not found.',
    405: "1 error occurred:\n\t* unsupported operation\n\n",
    412: "required index state not present",
    429: 'request path "aws/creds/webapp": rate limit quota exceeded',
    472: "",
    473: "",
    500: "1 error occurred:\n\t* internal error\n\n",
    501: "Vault is not initialized",
    502: "error forwarding request",
    503: "local node not active but active cluster node not found",
    504: "context deadline exceeded",
}
"""Vault's own refusals, with what it says."""
NO_ACTIVE_NODE = "no active Vault instance found"


@dataclasses.dataclass(frozen=True)
class Fault:
    """One fault. ``settings`` are the client's; ``within`` is when it must have ended, in seconds.

    ``via_proxy`` makes the man in the middle the client's forward proxy, ``tls`` makes it speak TLS.
    """

    name: str
    stage: Stage
    act: Act
    always: bool = False
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    within: float = PATIENT
    needs_body: bool = False
    via_proxy: bool = False
    tls: bool = False
    certificate: str = ""
    """What is wrong with the listener's certificate: then that is all of the fault."""
    moments: tuple[str, ...] = ()
    """Where it can be brought about; everywhere if none is named."""


def sends(content: bytes) -> Act:
    """Answer with these bytes."""
    return lambda meeting: meeting.client.sendall(content)


def scripted_act(reply: Callable[[socket.socket, Request], None]) -> Act:
    """Do what the scripted server does."""
    return lambda meeting: reply(meeting.client, Request("", meeting.path, {}, b""))


def cut(length: Callable[[bytes, int], int]) -> Act:
    """Send the reply up to a length, which is found from the reply and the length of its head, and hang up."""
    return lambda meeting: meeting.client.sendall(
        meeting.reply[: length(meeting.reply, meeting.reply.index(b"\r\n\r\n"))]
    )


def drip(pause: float) -> Act:
    """Send the reply byte by byte."""
    return lambda meeting: scripted.dripping(meeting.reply, pause=pause)(
        meeting.client, Request("", meeting.path, {}, b"")
    )


def endless(head: bytes, chunk: bytes) -> Act:
    """Send something, and then more of it until nobody takes it any more."""

    def act(meeting: Meeting) -> None:
        meeting.client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + head)
        meeting.client.settimeout(30)
        limit = time.monotonic() + 30
        while time.monotonic() < limit:
            meeting.client.sendall(chunk)

    return act


def huge(meeting: Meeting) -> None:
    """Answer with 100 MB of JSON, honestly announced."""
    meeting.client.sendall(scripted.reply(200, b"").replace(b"Content-Length: 0", b"Content-Length: %d" % HUGE))
    for _ in range(HUGE // 65536):
        meeting.client.sendall(b" " * 65536)


def reset_unread(meeting: Meeting) -> None:
    """Break the connection once the first bytes have come, without a look at them."""
    meeting.client.recv(1, socket.MSG_PEEK)
    RESET(meeting)


@functools.cache
def _compressed() -> bytes:
    return scripted.reply(200, gzip.compress(b" " * HUGE, 1), {"Content-Encoding": "gzip"})


def compressed(meeting: Meeting) -> None:
    """Answer with 100 MB in the few bytes that they compress to."""
    meeting.client.sendall(_compressed())


def mislabelled(meeting: Meeting) -> None:
    """Send the server's own reply as if it were a page."""
    meeting.client.sendall(meeting.reply.replace(b"Content-Type: application/json", b"Content-Type: text/html", 1))


def redirect(where: Callable[[Meeting], str], status: int = 307) -> Act:
    """Send the client elsewhere."""
    return lambda meeting: meeting.client.sendall(scripted.reply(status, b"", {"Location": where(meeting)}))


def vaults(status: int, text: str, headers: Mapping[str, str] | None = None) -> Act:
    """Refuse as Vault does."""
    return sends(scripted.reply(status, {"errors": [text] if text else []}, headers))


DNS = "DNS does not know the host"
RESET = scripted_act(scripted.reset)
SILENCE = scripted_act(scripted.silence(30))
SLOWLY = drip(0.1)
DONE = "the server did the work"

CUTS: dict[str, Callable[[bytes, int], int]] = {
    "in the status line": lambda reply, head: 7,
    "after the status line": lambda reply, head: reply.index(b"\r\n") + 2,
    "in the headers": lambda reply, head: reply.lower().index(b"\r\ncontent-type") + 12,
    "in the last header": lambda reply, head: head - 1,
    "at the blank line": lambda reply, head: head + 4,
    "within the body": lambda reply, head: (head + 4 + len(reply)) // 2,
    "before its last byte": lambda reply, head: len(reply) - 1,
}

FAULTS = (
    Fault("no fault", "reply", lambda meeting: meeting.client.sendall(meeting.reply)),
    Fault("connection refused, always", "listener", RESET, always=True),
    Fault("reset while the request is being sent", "connection", reset_unread),
    Fault("reset before the server has the request", "request", RESET),
    Fault("reset before the server has the request, always", "request", RESET, always=True),
    Fault(f"reset after {DONE}", "reply", RESET),
    Fault(f"hang-up after {DONE}", "reply", sends(b"")),
    *(
        Fault(f"reply cut {where}", "reply", cut(length), needs_body=where.endswith(("blank line", "body", "byte")))
        for where, length in CUTS.items()
    ),
    Fault("reply byte by byte, in time", "reply", drip(0.0003)),
    Fault("reply byte by byte, too slow for vault_client_timeout", "reply", SLOWLY, settings=BY_REQUEST),
    Fault("reply byte by byte, too slow for vault_aws_timeout", "reply", SLOWLY, settings=BY_CALL, within=6),
    Fault("no reply, till vault_client_timeout", "reply", SILENCE, settings=BY_REQUEST),
    Fault("no reply, till vault_client_timeout, always", "reply", SILENCE, always=True, settings=BY_REQUEST),
    Fault("no reply, till vault_aws_timeout", "reply", SILENCE, settings=BY_CALL, within=6),
    Fault("reply with endless headers", "reply", endless(b"", b"X-Header: endless\r\n" * 100)),
    Fault("reply with an endless header", "reply", endless(b"X-Header: ", b"endless " * 4096)),
    Fault("reply with an endless body", "reply", endless(b"\r\n", b" " * 65536)),
    Fault("reply of 100 MB", "reply", huge),
    Fault("reply of 100 MB, compressed", "reply", compressed),
    Fault("reply of the wrong content type", "reply", mislabelled),
    Fault("reply 200 without a body", "reply", sends(scripted.reply(200))),
    Fault("reply 200 that is half of a JSON document", "reply", sends(scripted.reply(200, b'{"data": {"acc'))),
    Fault("reply 200 that is a JSON list", "reply", sends(scripted.reply(200, [1]))),
    *(
        Fault(f"HTML from a gateway, {status}, after {DONE}", "reply", sends(scripted.reply(status, PAGE, HTML)))
        for status in (200, 403, 500, 502, 503, 504)
    ),
    Fault("HTML from a gateway, 429, for what it keeps back", "request", sends(scripted.reply(429, PAGE, HTML))),
    Fault("HTML from a gateway, 503, always", "request", sends(scripted.reply(503, PAGE, HTML)), always=True),
    *(Fault(f"Vault's {status}", "request", vaults(status, text)) for status, text in STATUSES.items()),
    Fault("Vault's 503: sealed, always", "request", vaults(503, "Vault is sealed"), always=True),
    Fault("Vault's 503: no active node, after the request was handed on", "reply", vaults(503, NO_ACTIVE_NODE)),
    Fault("Vault's 503, always", "request", vaults(503, STATUSES[503]), always=True),
    Fault("Vault's 429, always", "request", vaults(429, STATUSES[429]), always=True),
    Fault("Vault's 429 with Retry-After of an hour", "request", vaults(429, STATUSES[429], {"Retry-After": "3600"})),
    Fault(
        "redirect to the same address",
        "request",
        redirect(lambda met: f"http://127.0.0.1:{met.port}{met.path}"),
    ),
    Fault(
        "redirect in a loop, always",
        "request",
        redirect(lambda met: f"http://127.0.0.1:{met.port}{met.path}"),
        always=True,
    ),
    Fault("redirect to another host", "request", redirect(lambda met: f"http://192.0.2.1:8200{met.path}")),
    Fault(
        "redirect to a host that DNS does not know, always",
        "request",
        redirect(lambda met: f"https://vault.invalid{met.path}"),
        always=True,
    ),
    Fault("redirect to another path", "request", redirect(lambda met: "/ui/vault/auth", 302)),
    Fault("redirect to nowhere", "request", redirect(lambda met: "")),
    Fault("forward proxy demands a password", "request", sends(scripted.reply(407, PAGE, HTML)), via_proxy=True),
    Fault("forward proxy is gone", "listener", RESET, always=True, via_proxy=True),
    Fault(
        "forward proxy demands a password on the way to https, always",
        "connection",
        sends(scripted.reply(407, PAGE, HTML)),
        always=True,
        via_proxy=True,
        settings={"VAULT_ADDR": "https://vault.invalid:8200"},
        moments=("login",),
    ),
    Fault(
        DNS,
        "connection",
        RESET,
        settings={"VAULT_ADDR": "https://vault.invalid:8200"},
        moments=("login",),
    ),
)

TLS_FAULTS = (
    *(
        Fault(f"TLS: certificate that {what}", "connection", RESET, tls=True, certificate=what, moments=("login",))
        for what in ("has expired", "is for another name", "nobody trusts")
    ),
    Fault("TLS: hang-up in the handshake", "connection", sends(b""), tls=True),
    Fault("TLS: reset in the handshake", "connection", reset_unread, tls=True),
    Fault("TLS: plain http in answer", "connection", sends(scripted.reply(400, b"", HTML)), tls=True),
    Fault("TLS: silence in the handshake", "connection", SILENCE, tls=True, settings=BY_REQUEST),
    Fault("TLS: hang-up before the reply", "reply", sends(b""), tls=True),
    Fault(
        "redirect from https to http",
        "request",
        redirect(lambda met: f"http://127.0.0.1:{met.port}{met.path}"),
        tls=True,
    ),
)
"""Faults that need a listener with TLS."""
