"""What a server answers, as bytes on a socket: status line, headers, bodies, and what becomes of each request."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from vault_credential_process.config import Config, resolve
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import VaultToken
from vault_credential_process.testing.scripted import ScriptedServer
from vault_credential_process.vault import Vault

from . import material
from .kit import SECRET_ID, TOKEN, assert_sound, clean_log, outcome, shared, target
from .of_answers import LOGIN, LOOK_UP, MFA, REFUSED, STATIC, STS, USER, WRAPPED

LOOKED_UP = {"data": {"creation_path": "auth/approle/role/app/secret-id", "creation_ttl": 900}}
UNWRAPPED = {"data": {"secret_id": SECRET_ID, "secret_id_ttl": 900}}


@st.composite
def reply(draw: st.DrawFn) -> bytes:
    """The bytes of an answer: mostly HTTP, with hostile headers and a body that was a good one."""
    how = draw(st.integers(0, 19))
    if how == 0:
        return draw(st.binary(max_size=200))
    documents = draw(
        st.sampled_from(((LOGIN, MFA), (STS, USER), (STATIC, WRAPPED), (LOOK_UP,), (LOOKED_UP, UNWRAPPED), (REFUSED,)))
    )
    body = draw(material.encoded(*documents))
    status = draw(
        st.sampled_from(
            (b"200", b"200", b"200", b"200", b"204", b"400", b"403", b"404", b"429", b"473", b"500", b"503")
        )
        | st.sampled_from(
            (b"100", b"101", b"199", b"206", b"299", b"300", b"301", b"304", b"307", b"308", b"412", b"599")
        )
        | st.sampled_from((b"0", b"99", b"1000", b"-1", b"2e2", b"", "\u0662\u0660\u0660".encode()))
    )
    headers = [(b"Content-Length", b"%d" % len(body)), (b"Content-Type", b"application/json")]
    headers = draw(st.permutations(headers + draw(st.lists(material.header(), max_size=3))))
    if how == 1:
        headers = [(name, value) for name, value in headers if name != b"Content-Length"]
    version = draw(st.sampled_from((b"HTTP/1.1",) * 9 + (b"HTTP/1.0", b"HTTP/2", b"HTTP", b"")))
    lines = [b"%s %s Scripted" % (version, status), *(b"%s: %s" % pair for pair in headers)]
    end = draw(st.sampled_from((b"\r\n",) * 19 + (b"\n",)))
    return end.join([*lines, b"", body])


def _login(vault: Vault) -> None:
    body = {"role_id": "role", "secret_id": SECRET_ID}
    found = vault.login("auth/approle/login", body, mount="approle", remedy="check it", secrets=(SECRET_ID,))
    assert found.value is not None


def _read(vault: Vault) -> None:
    assert_sound(vault.read_credentials(VaultToken(TOKEN)))


def _unwrap(vault: Vault) -> None:
    found = vault.wrapping_path(TOKEN)
    assert found is None or isinstance(found, str)
    vault.unwrap(TOKEN)


ASKED: dict[str, Callable[[Vault], object]] = {
    "login": _login,
    "read": _read,
    "look-up": lambda vault: vault.look_up(TOKEN, origin="VAULT_TOKEN"),
    "renewal": lambda vault: vault.renew_token(VaultToken(TOKEN)),
    "lease": lambda vault: vault.renew_lease(VaultToken(TOKEN), "aws/creds/webapp/1"),
    "revocation": lambda vault: vault.revoke_token(VaultToken(TOKEN)),
    "wrapping": _unwrap,
}


def settings(address: str, **more: str) -> Config:
    """Return the configuration for a server that is asked once."""
    environ = {"VAULT_ADDR": address, "VAULT_AWS_ROLE": "webapp", "VAULT_MAX_RETRIES": "0", **more}
    return resolve({}, environ, None, ())


@target(
    "bytes of a server's answer",
    (
        "requester.Requester.ask", "requester._refusal", "requester._json", "requester._body", "requester._age",
        "requester._retry_after", "requester.Requester._redirected", "transport._read", "transport.base_of",
        "failures.explain", "failures.was_sent", "vault.Vault.wrapping_path", "vault.Vault.unwrap",
        "vault.Vault.renew_lease", "vault.Vault.look_up", "vault.Vault.read_credentials", "refusals.read",
    ),
    st.tuples(st.sampled_from(sorted(ASKED)), reply()),
    inputs=(("read", b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset\r\nContent-Length: 2\r\n\r\n{}"),),
    examples=200,
)  # fmt: skip
def wire(given: tuple[str, bytes]) -> str:
    """Whatever bytes come back, a request ends in what was asked for or in an error of ours, and logs no secret."""
    kind, content = given
    server = shared("server", ScriptedServer)
    server.requests.clear()
    server.otherwise = content

    def call() -> None:
        with Vault(settings(server.address, VAULT_MAX_RETRIES="0"), Deadline(5)) as vault:
            ASKED[kind](vault)

    with clean_log():
        met = outcome(call)
    assert len(server.requests) <= 5
    return met


_DOCUMENT = b"""<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""
_REFUSAL = b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>"


@st.composite
def sts_reply(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """The status of STS and a body of any kind."""
    body = draw(st.sampled_from((_DOCUMENT, _REFUSAL, b"", b"<", b"\xff\xfe<Code>", b"<Code>" + b" " * 5000 + b"x")))
    at = draw(st.integers(0, len(body)))
    body = body[:at] + draw(material.octets) + body[at:] if draw(st.booleans()) else body
    return draw(st.sampled_from((b"200", b"403", b"400", b"429", b"500", b"503"))), body


@target(
    "what STS answers the probe of new keys",
    ("probe.wait_until_known", "probe.endpoint", "sts.endpoint", "sts.signed"),
    st.tuples(
        sts_reply(),
        st.sampled_from((b"text/xml", b"text/xml; charset", b"text/xml; charset=nosuch", b"text/xml; charset=ascii"))
        | material.header().map(lambda pair: pair[1]),
        st.sampled_from(("", "us-east-1", "x\ny", "a/b", "é", "\ud800", "cn-north-1", "[", "..")),
        st.sampled_from(
            ("", "", "", "", "http://[::1", "http://", "x", "https://\x1b", "http://127.0.0.1:99999", "unix://")
        ),
    ),
    must=("known", "unknown"),
    inputs=(
        ((b"200", _DOCUMENT), b"text/xml", "", ""),
        ((b"403", _REFUSAL), b"text/xml; charset=nosuch", "", ""),
        ((b"200", b"\xff"), b"text/xml", "", ""),
    ),
    examples=30,
)
def probe(given: tuple[tuple[bytes, bytes], bytes, str, str]) -> str:
    """New keys are proven, or handed out unproven; what answers for STS is never the end of a call."""
    import dataclasses

    from vault_credential_process import probe as probing
    from vault_credential_process.models import AWSCredentials

    (status, body), kind, region, endpoint = given
    server = shared("server", ScriptedServer)
    server.otherwise = b"HTTP/1.1 %s X\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
        status, kind.replace(b"\n", b" ").replace(b"\r", b" "), len(body), body,
    )  # fmt: skip
    config = settings("http://127.0.0.1:1")
    config = dataclasses.replace(config, aws_region=region or None, aws_sts_endpoint=endpoint or server.address)
    pair = AWSCredentials("AKIAIOSFODNN7EXAMPLE", "secret", None, 0.0, 900.0, "iam_user")
    # One answer in a row is enough to see what becomes of it.
    before = probing.SUCCESSES, probing._PAUSE
    probing.SUCCESSES, probing._PAUSE = 1, 0.01
    try:
        found, known = probing.wait_until_known(pair, config, Deadline(5), seconds=0.05)
    finally:
        probing.SUCCESSES, probing._PAUSE = before
    assert found.account_id is None or len(found.account_id) == 12
    return "known" if known else "unknown"
