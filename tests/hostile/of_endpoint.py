"""The endpoint: what somebody sends it, the token file that is there, and what ``serve --check`` is answered."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
from collections.abc import Mapping
from typing import Any
from unittest import mock

from hypothesis import strategies as st

from vault_credential_process import auth
from vault_credential_process.cache.memory import Memory
from vault_credential_process.cli import serve, serve_check
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.keeper import Keeper
from vault_credential_process.server.endpoint import Endpoint, Tokens
from vault_credential_process.server.tokenfile import TokenFile
from vault_credential_process.testing.scripted import ScriptedServer, reply

from . import material
from .kit import ACCEPTED, SECRET_ID, SECRET_KEY, SECRETS, TOKEN, clean_log, outcome, shared, target
from .of_profiles import directory

_CLIENT_TOKEN = "client-token-of-the-hostile-tests"


class _Served:
    """An endpoint over a pair that lives for an hour."""

    def __init__(self) -> None:
        self._vault = ScriptedServer()

    def __enter__(self) -> Endpoint:
        vault = self._vault.__enter__()
        vault.on("POST", "auth/approle/login", reply(200, {"auth": {"client_token": TOKEN, "lease_duration": 3600}}))
        data = {"access_key": "ASIAIOSFODNN7EXAMPLE", "secret_key": SECRET_KEY, "security_token": "Fwo", "ttl": 3600}
        vault.on("GET", "aws/creds/webapp", reply(200, {"lease_duration": 3600, "data": data}))
        settings = {"vault_addr": vault.address, "vault_aws_role": "webapp", "vault_aws_background": "false"}
        config = auth.configure({**settings, "vault_role_id": "role", "vault_secret_id": SECRET_ID}, {}, None)
        keeper = Keeper(Fetcher(config, cache=Memory()))
        keeper.held()
        return Endpoint({"webapp": keeper}, Tokens(_CLIENT_TOKEN))

    def __exit__(self, *_: object) -> None:
        self._vault.__exit__()


def _answered(endpoint: Endpoint, scope: Mapping[str, Any]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    sent: list[Any] = []

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(endpoint(scope, receive, send))
    start, body = sent
    return start["status"], start["headers"], body["body"]


_hosts = st.sampled_from(
    (b"127.0.0.1:9911", b"localhost", b"[::1]:80", b"[::1", b"evil.example", b"127.0.0.1@evil", b"", b"127.0.0.1:x")
)
_tokens = st.sampled_from((_CLIENT_TOKEN.encode(), b"", b"x", _CLIENT_TOKEN.encode()[:-1], b"\xff" * 50))
_headers = st.tuples(
    st.lists(_hosts | material.octets, min_size=0, max_size=2), st.lists(_tokens | material.octets, max_size=2)
)


@target(
    "request to the endpoint",
    ("server.endpoint._is_local",),
    st.tuples(
        st.sampled_from(("GET", "GET", "GET", "POST", "HEAD", "\x1b")),
        st.sampled_from(("/", "/webapp", "/health", "/metrics", "//", "/webapp/", "*", "http://evil/webapp"))
        | material.text,
        _headers,
    ),
    must=(ACCEPTED, "403", "404", "405"),
    inputs=(
        ("GET", "/", ([b"127.0.0.1"], [_CLIENT_TOKEN.encode()])),
        ("GET", "/nothing", ([b"127.0.0.1"], [_CLIENT_TOKEN.encode()])),
        ("GET", "/", ([b"127.0.0.1"], [])),
        ("POST", "/", ([b"localhost"], [])),
    ),
)
def request(given: tuple[str, str, tuple[list[bytes], list[bytes]]]) -> str:
    """Credentials go to who sends the token alone, as the only one, and names this machine; all else is a reason."""
    method, path, (hosts, tokens) = given
    headers = [*((b"host", host) for host in hosts), *((b"authorization", token) for token in tokens)]
    endpoint = shared("endpoint", _Served)
    with clean_log():
        status, fields, body = _answered(endpoint, {"method": method, "path": path, "headers": headers})
    lengths = [int(value) for name, value in fields if name == b"content-length"]
    assert lengths == [len(body)]
    assert status in (200, 403, 404, 405), status
    text = body.decode("ascii")
    has_keys = SECRET_KEY in text
    assert has_keys == (status == 200 and path in ("/", "/webapp"))
    assert not has_keys or (len(hosts) == 1 and tokens == [_CLIENT_TOKEN.encode()] and method == "GET")
    assert not [secret for secret in (TOKEN, SECRET_ID, _CLIENT_TOKEN) if secret in text]
    if status != 200:
        assert json.loads(text)["message"].isprintable()
    return ACCEPTED if status == 200 else str(status)


@target(
    "token file of the endpoint",
    ("server.tokenfile.TokenFile.read",),
    st.tuples(
        st.sampled_from((b"a" * 43, b"a" * 43 + b"\n", b"", b"a b" * 20, b"\xef\xbb\xbf" + b"a" * 43))
        | material.octets,
        st.sampled_from((0o600, 0o600, 0o600, 0o400, 0o640, 0o644, 0o602)),
    ),
    must=(ACCEPTED, "ConfigurationError"),
    inputs=((b"a" * 43, 0o600), (b"a" * 43 + b"\n", 0o600), (b"a" * 43, 0o644)),
)
def token_file(given: tuple[bytes, int]) -> str:
    """It is taken as it is, for no client could send anything else, or left as it is."""
    content, mode = given
    place = directory() / "endpoint"
    place.mkdir(mode=0o700, exist_ok=True)
    path = place / "token"
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    made: list[Tokens] = []
    met = outcome(
        lambda: made.append(TokenFile(str(path)).begin()), (content.decode("latin-1"),) if content[8:] else ()
    )
    assert path.read_bytes() == content
    if met == ACCEPTED:
        assert made[0].accept(content)
        assert content.isascii()
        assert not content.split()[1:]
        assert not mode & 0o077
    return met


@target(
    "what serve --check is answered",
    ("cli.serve_check.check",),
    st.tuples(
        st.sampled_from((200, 503, 404, 302, 500)),
        st.sampled_from(
            (
                b'{"roles": {"a": {"valid": true}}}',
                b'{"roles": {"a": {"valid": false}, "\\u001b[31m": {"valid": 0}}}',
                b'{"roles": []}',
                b'{"roles": {"a": []}}',
                b'{"roles": {"a": {"valid": {}}}}',
                b"[" * 5_000,
                b"null",
                b"",
            )
        )
        | material.octets,
    ),
    must=(ACCEPTED, "UnreachableError"),
    inputs=((200, b'{"roles": {"a": {"valid": true}}}'), (503, b'{"roles": {"a": {"valid": false}}}'), (200, b"x")),
    examples=40,
)
def check(given: tuple[int, bytes]) -> str:
    """Whatever listens there, it is well or there is one line about it."""
    server = shared("server", ScriptedServer)
    server.otherwise = reply(*given)
    port = int(server.address.rpartition(":")[2])
    arguments = argparse.Namespace(host="127.0.0.1", port=port, tls_cert=None)
    with contextlib.redirect_stdout(io.StringIO()) as told:
        met = outcome(lambda: serve_check.check(arguments), SECRETS)
    assert told.getvalue() == (f"127.0.0.1:{port}: ok\n" if met == ACCEPTED else "")
    return met


@target(
    "address of an endpoint in the environment",
    ("cli.serve._refuse_loop",),
    st.sampled_from(
        ("http://127.0.0.1:9911/x", "http://localhost:9911", "http://[::1]:9911/", "http://[", "http://h:x/", "x", "")
    )
    | material.line,
    must=(ACCEPTED, "ConfigurationError"),
    inputs=("http://127.0.0.1:9911/x", "http://127.0.0.1:9912/x", "http://[::1"),
)
def loop(given: str) -> str:
    """One that leads here is refused; any other, and what is none, is nothing to us."""
    given = given.replace("\0", "").encode("utf-8", "ignore").decode()
    with mock.patch.dict(os.environ, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": given}):
        met = outcome(lambda: serve._refuse_loop(9911))
    assert (met == ACCEPTED) or "9911" in given
    return met
