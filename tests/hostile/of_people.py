"""What AWS answers a person: whose credentials they are, and the way in to the console; and where that shall lead."""

from __future__ import annotations

import urllib.parse

from hypothesis import strategies as st

from vault_credential_process import caller, federation
from vault_credential_process.models import AWSCredentials
from vault_credential_process.testing.scripted import ScriptedServer, reply

from . import material
from .kit import SECRETS, clean_log, outcome, shared, target
from .of_wire import sts_reply

_SECRET = SECRETS[0]
_PAIR = AWSCredentials("ASIAIOSFODNN7EXAMPLE", _SECRET, "session", 0.0, 900.0, "sts")
_CALLER = b"<Account>123456789012</Account><Arn>arn:aws:iam::123456789012:user/a</Arn><UserId>A</UserId>"
_TYPE = {"Content-Type": "text/xml"}


@target(
    "what STS answers to whoami",
    ("caller.who",),
    sts_reply() | st.tuples(st.just(b"200"), st.just(_CALLER)),
    inputs=(
        (b"200", _CALLER),
        (b"403", b"<Code>ExpiredToken</Code><Message>\x1b[31m" + _SECRET.encode() + b"</Message>"),
    ),
    examples=30,
)
def whoami(given: tuple[bytes, bytes]) -> str:
    """Three printable fields, or one line of ours without a secret."""
    from .of_wire import settings

    status, body = given
    server = shared("server", ScriptedServer)
    server.otherwise = reply(int(status), body, _TYPE)
    config = settings("http://127.0.0.1:1", AWS_ENDPOINT_URL_STS=server.address)
    found: list[caller.Caller] = []
    with clean_log():
        met = outcome(lambda: found.append(caller.who(_PAIR, config, timeout=5)))
    assert all(f"{one.account}{one.arn}{one.user_id}".isprintable() for one in found)
    return met


@target(
    "what the federation endpoint answers",
    ("federation.sign_in", "federation._token"),
    st.tuples(
        st.sampled_from((200, 302, 400, 500)),
        st.sampled_from(
            (b'{"SigninToken": "t"}', b'{"SigninToken": "a\\nb"}', b"[" * 50_000, b"{}", b"", b"\xff", b'"x"')
        )
        | material.octets,
    ),
    inputs=((200, b'{"SigninToken": "t"}'), (400, _SECRET.encode())),
    examples=30,
)
def signin(given: tuple[int, bytes]) -> str:
    """An address of the endpoint itself, or one line of ours without a secret."""
    status, body = given
    server = shared("server", ScriptedServer)
    server.otherwise = reply(status, body)
    console = federation.Console(f"{server.address}/federation", "console.aws.amazon.com")
    found: list[federation.SignIn] = []
    page = "https://console.aws.amazon.com/"
    with clean_log():
        met = outcome(
            lambda: found.append(
                federation.sign_in(_PAIR, console, page, seconds=None, ca_bundle=None, timeout=5),
            )
        )
    assert all(one.address.startswith(f"{console.endpoint}?Action=login&") for one in found)
    return met


@target(
    "the page and the region of console",
    ("federation.destination", "federation._is_of"),
    st.tuples(
        st.sampled_from(
            ("s3", "https://console.aws.amazon.com/x", "https://console.aws.amazon.com@evil/", "//evil", "https://[::1")
        )
        | material.text,
        st.sampled_from(("", "us-east-1", "cn-north-1", "us-east-1/../x", "x\ny")) | material.text,
    ),
    inputs=(("s3", "us-east-1"), ("https://eu-west-1.console.aws.amazon.com/s3", "")),
)
def page(given: tuple[str, str]) -> str:
    """A page of AWS's own console, over https, or one line of ours."""
    wanted, region = given
    found: list[tuple[federation.Console, str]] = []

    def look() -> None:
        console = federation.console_of(region or None)
        found.append((console, federation.destination(console, wanted, region or None)))

    met = outcome(look)
    for console, address in found:
        parts = urllib.parse.urlsplit(address)
        assert parts.scheme == "https"
        assert f".{parts.netloc}".endswith(f".{console.host}")
    return met
