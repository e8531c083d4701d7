"""What comes in at a login from elsewhere: the browser, metadata services, an OIDC provider's address."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

from hypothesis import strategies as st

from vault_credential_process import auth
from vault_credential_process.auth import callback
from vault_credential_process.expiry import Deadline
from vault_credential_process.testing.scripted import ScriptedServer
from vault_credential_process.vault import Vault

from . import material
from .kit import ACCEPTED, SECRET_KEY, outcome, shared, target

STATE = "st_PlantedStateOfTheHostileTests"
PORT = 8250


@st.composite
def request(draw: st.DrawFn) -> bytes:
    """A request that a browser, or whoever else is on this machine, sends to the listener."""
    pair = st.tuples(
        st.sampled_from((b"state", b"code", b"error", b"error_description", b"x", b"")),
        st.sampled_from(
            (STATE.encode(), STATE.encode() + b",ns=a", b"", b"abc", b"%00", b"%ff", b"%0d%0a", b"%1b[31m", b"%", b"+")
        )
        | material.octets,
    ).map(b"=".join)
    query = draw(
        st.sampled_from((b"state=%s&code=abc" % STATE.encode(), b"state=%s&error=denied" % STATE.encode()))
        | st.just(b"")
    )
    query = b"&".join([*([query] if query else []), *draw(st.lists(pair, max_size=3))])
    if draw(st.integers(0, 19)) == 0:
        query = b"&".join([query] * 60)
    method = draw(st.sampled_from((b"GET",) * 9 + (b"POST", b"get", b"GET\t", b"")))
    path = draw(
        st.sampled_from((b"/oidc/callback",) * 9 + (b"/", b"//oidc/callback", b"http://localhost/oidc/callback", b"*"))
    )
    version = draw(st.sampled_from((b"HTTP/1.1",) * 9 + (b"HTTP/1.0", b"HTTP/2", b"")))
    host = draw(
        st.sampled_from((b"localhost:%d" % PORT,) * 6 + (b"LOCALHOST:%d" % PORT, b"evil.example", b"localhost", b""))
    )
    lines = [b"%s %s?%s %s" % (method, path, query, version), b"Host: " + host]
    lines += draw(st.lists(material.header().map(b": ".join), max_size=2))
    return b"\r\n".join([*lines, b"", b""])


@target(
    "request of a browser that comes back",
    ("auth.callback.Listener._judge", "auth.callback.bare", "auth.page.refusal"),
    request() | material.octets,
    must=(ACCEPTED, "refused 400", "refused 404", "refused 405"),
    inputs=(
        b"GET /oidc/callback?state=%s&code=abc HTTP/1.1\r\nHost: localhost:8250\r\n\r\n" % STATE.encode(),
        b"GET /?state=%s HTTP/1.1\r\nHost: localhost:8250\r\n\r\n" % STATE.encode(),
        b"POST /oidc/callback HTTP/1.1\r\nHost: localhost:8250\r\n\r\n",
        b"GET /oidc/callback?state=%ff&code=1 HTTP/1.1\r\nHost: localhost:8250\r\n\r\n",
    ),
    examples=200,
)
def browser(content: bytes) -> str:
    """Only a request with the state is an arrival, with a code or an error; any other gets a status."""
    listener = callback.Listener(f"http://localhost:{PORT}/oidc/callback", None, "https://vault.example")
    try:
        found = listener._judge(content.partition(b"\r\n\r\n")[0].decode("latin-1"), STATE)
    finally:
        listener.close()
    if not isinstance(found, tuple):
        return f"refused {found.value}"
    assert STATE.encode() in content, "let in without the state"
    assert found[0] or found[1]
    return ACCEPTED


@target(
    "bytes on the listener's socket",
    ("auth.callback.Listener._read", "auth.callback.Listener.wait"),
    st.lists(material.octets | request(), max_size=3),
    must=("still waiting",),
    examples=15,
)
def listening(sent: list[bytes]) -> str:
    """Whatever connections bring, the listener goes on until the browser comes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with callback.Listener(f"http://127.0.0.1:{port}/oidc/callback", None, "by") as listener:
        good = b"GET /oidc/callback?state=%s&code=abc HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (STATE.encode(), port)

        def come() -> None:
            for content in (*sent, good):
                with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                    client.sendall(content)
                    if content is good:
                        client.settimeout(30)
                        client.recv(1)

        thread = threading.Thread(target=come)
        thread.start()
        with listener.wait(STATE, Deadline(30)) as arrival:
            assert arrival.code == "abc"
        thread.join(30)
    return "still waiting"


def _vault(environ: dict[str, str], method: str) -> tuple[Any, Vault]:
    config = auth.configure({"vault_auth_method": method}, environ, None)
    return auth.choose(config), Vault(config, Deadline(5))


_JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0." + SECRET_KEY
_COMPUTE = {"compute": {"subscriptionId": "default", "resourceGroupName": "group", "name": "vm", "vmScaleSetName": ""}}
_DOCUMENT = {"instanceId": "i-0123456789abcdef0", "region": "default"}
_BODIES = {
    "azure": (json.dumps({"access_token": _JWT}).encode(), json.dumps(_COMPUTE).encode()),
    "gcp": (_JWT.encode(), _JWT.encode()),
    "aws-ec2": (json.dumps(_DOCUMENT).encode(), b"MIIB" * 10),
    "jwt": (json.dumps({"value": _JWT}).encode(), b"{}"),
}


@st.composite
def metadata_reply(draw: st.DrawFn) -> tuple[str, bytes, dict[str, str]]:
    """A platform, the bytes that its service answers, and its variables."""
    platform = draw(st.sampled_from(sorted(_BODIES)))
    body = draw(
        st.sampled_from(_BODIES[platform])
        | material.encoded({"access_token": _JWT, "value": _JWT}, _COMPUTE, _DOCUMENT)
        | material.octets
    )
    status = draw(
        st.sampled_from((b"200",) * 5 + (b"400", b"401", b"403", b"404", b"410", b"302", b"429", b"500", b"x"))
    )
    headers = [b"Content-Length: %d" % len(body), b"Metadata-Flavor: Google", b"Connection: close"]
    headers += [b": ".join(draw(material.header())) for _ in range(draw(st.integers(0, 1)))]
    resource = draw(st.sampled_from(("https://vault.example", "\udcff", "\ud800", "é", "a b", "\x1b")))
    variables = {"VAULT_AZURE_RESOURCE": resource, "VAULT_JWT_AUDIENCE": resource}
    return platform, b"\r\n".join([b"HTTP/1.1 %s X" % status, *headers, b"", body]), variables


@target(
    "answer of a metadata service",
    (
        "auth.metadata.fetch", "auth.metadata._once", "auth.azure.Azure._proof", "auth.azure.Azure._further",
        "auth.gcp.GCP._proof", "auth.aws_ec2.AWSEC2._proof", "auth.aws_ec2.AWSEC2._signature", "auth.aws_ec2._instance",
        "auth.jwt.JWT._from_github", "auth.bearer._check",
    ),
    metadata_reply(),
    inputs=tuple(
        (name,
        b"HTTP/1.1 200 X\r\nMetadata-Flavor: Google\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(b),
        b), {})
        for name, (b, _) in _BODIES.items()
    ),
    examples=150,
)  # fmt: skip
def platforms(given: tuple[str, bytes, dict[str, str]]) -> str:
    """Whatever stands in for a platform's service says, a login has a proof that can be sent, or an error of ours."""
    platform, content, variables = given
    server = shared("metadata", ScriptedServer)
    server.otherwise = content
    environ = {
        "VAULT_ADDR": "http://127.0.0.1:1", "VAULT_AUTH_ROLE": "webapp", "VAULT_MAX_RETRIES": "0",
        "VAULT_AWS_ROLE": "webapp",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": server.address, "GCE_METADATA_HOST": server.address.partition("//")[2],
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": server.address, "ACTIONS_ID_TOKEN_REQUEST_URL": server.address + "/?a=b",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "token", **variables,
    }  # fmt: skip

    def call() -> None:
        method, vault = _vault(environ, platform)
        with vault:
            if platform == "aws-ec2":
                method._proof(vault.deadline)
            else:
                auth.bearer._check(method._proof(vault)[0], "there", 0.0)
                json.dumps(method._further(vault)).encode()

    return outcome(call, (SECRET_KEY,))


class Nobody:
    """A person who does nothing, and looks at what is said."""

    def ask(self, question: str) -> str:
        assert question.isprintable(), question
        return "code"

    def tell(self, line: str) -> None:
        assert line.isprintable(), line

    def browse(self, address: str) -> bool:
        del address
        return True


_URLS = (
    f"https://idp.example/authorize?state={STATE}&redirect_uri=x", "https://[x/?state=a", "http://[::1?state=a",
    "javascript:x",
    f"https://idp.example/?state={STATE}&state=b", "https://idp.example/?state=%0a", "", "https://",
    "https://idp/?state=a b",
)  # fmt: skip
STARTED = {"data": {"auth_url": _URLS[0], "state": STATE, "poll_interval": "1", "user_code": "default"}}


@st.composite
def started(draw: st.DrawFn) -> bytes:
    """How Vault answers the beginning of an OIDC login, nearly."""
    document = draw(material.mutated(STARTED, {"data": {"auth_url": _URLS[0]}}))
    data = document.get("data")
    if isinstance(data, dict) and draw(st.booleans()):
        data["auth_url"] = draw(st.sampled_from(_URLS))
    return material.dumped(document)


@target(
    "address that an OIDC login begins at",
    ("auth.oidc.OIDC._start", "auth.oidc._query", "auth.oidc._seconds", "cli.terminal._is_web"),
    st.tuples(started(), st.sampled_from(("client", "direct", "device"))),
    inputs=((material.dumped({"data": {"auth_url": "https://[x/?state=a"}}), "client"),),
    examples=100,
)
def oidc(given: tuple[bytes, str]) -> str:
    """A login begins at an address with one word for its state, or is an error of ours."""
    from vault_credential_process.cli.terminal import _is_web
    from vault_credential_process.testing.scripted import reply

    content, mode = given
    server = shared("server", ScriptedServer)
    server.otherwise = reply(200, content)

    def call() -> None:
        method, vault = _vault(
            {"VAULT_ADDR": server.address, "VAULT_OIDC_MODE": mode, "VAULT_MAX_RETRIES": "0"}, "oidc"
        )
        with vault:
            found = method._start(vault, "http://localhost:8250/oidc/callback")
        assert found.state.isprintable()
        assert found.address.startswith(("http://", "https://"))
        assert found.user_code.isprintable()
        assert found.interval is None or 1 <= found.interval <= 3600
        assert _is_web(found.address) in (True, False)

    return outcome(call)
