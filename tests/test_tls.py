"""TLS on real listeners: whom we trust, who we are, and what a handshake that fails tells its user."""

from __future__ import annotations

import pathlib
import socket
import ssl
from collections.abc import Iterator

import pytest

from vault_credential_process.errors import ConfigurationError, UnreachableError, VaultCredentialError
from vault_credential_process.testing.scripted import ScriptedServer, reply, reset
from vault_credential_process.tls import tls_context

from .certificates import DAY, Authority
from .talk import LOGGED_IN, LOGIN, READ, STS, TOKEN, log_in_to, read_from, said, settings, talk_to

LOOPBACK = "127.0.0.1"


@pytest.fixture
def authority(tmp_path: pathlib.Path) -> Authority:
    """The authority that signs the servers' certificates."""
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path: pathlib.Path) -> Authority:
    """An authority that signed nothing of ours."""
    return Authority(tmp_path, "stranger")


def serving(context: ssl.SSLContext) -> ScriptedServer:
    """Return a TLS server that knows the login and the read."""
    server = ScriptedServer(context=context)
    server.on("POST", LOGIN, LOGGED_IN)
    server.on("GET", READ, STS)
    return server


@pytest.fixture
def vault(authority: Authority) -> Iterator[ScriptedServer]:
    """A TLS server whose certificate is good for the loopback address."""
    with serving(authority.issue(LOOPBACK).listener()) as server:
        yield server


def failure(address: str, *, exit_code: int = 5, **environ: str) -> str:
    """Return the message of a login that must fail in the class of an exit code."""
    with pytest.raises(VaultCredentialError) as caught:
        log_in_to(address, **environ)
    assert caught.value.exit_code == exit_code
    assert type(caught.value) is {2: ConfigurationError, 5: UnreachableError}[exit_code]
    return said(caught.value)


@pytest.mark.parametrize("form", ["VAULT_CACERT", "BAO_CACERT", "VAULT_CACERT_BYTES", "VAULT_CAPATH", "SSL_CERT_FILE"])
def test_authority_that_is_trusted(
    vault: ScriptedServer, authority: Authority, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """The authority is taken from a file, a text, a directory, or the system's own store."""
    directory = tmp_path / "authorities"
    (directory / "below").mkdir(parents=True)
    (directory / "vault.pem").write_bytes(authority.certificate.read_bytes())
    values = {"VAULT_CACERT_BYTES": authority.certificate.read_text(), "VAULT_CAPATH": str(directory)}
    environ = {form: values.get(form, str(authority.certificate))}
    if form == "SSL_CERT_FILE":
        monkeypatch.setenv(form, environ.pop(form))

    assert log_in_to(vault.address, **environ).value == TOKEN


@pytest.mark.parametrize("trusted", ["nobody", "stranger"])
def test_unknown_authority(vault: ScriptedServer, stranger: Authority, trusted: str) -> None:
    """A certificate of an unknown authority is refused; the message says what was trusted and what to set."""
    environ = {} if trusted == "nobody" else {"VAULT_CACERT": str(stranger.certificate)}

    message = failure(vault.address, **environ)

    assert f"{vault.address}: TLS: " in message
    assert f"(trusted: {environ.get('VAULT_CACERT', 'the system')}" in message
    assert "set vault_cacert to the CA that signed it" in message
    assert vault.requests == []


@pytest.mark.parametrize(
    ("first", "second"), [("VAULT_CACERT", "VAULT_CACERT_BYTES"), ("VAULT_CACERT_BYTES", "VAULT_CAPATH")]
)
def test_precedence_of_authorities(
    vault: ScriptedServer, authority: Authority, stranger: Authority, tmp_path: pathlib.Path, first: str, second: str
) -> None:
    """A file goes before a text and a text before a directory, and only the one is trusted."""

    def value(name: str, of: Authority) -> str:
        directory = tmp_path / f"only-{of.certificate.stem}"
        directory.mkdir(exist_ok=True)
        (directory / "ca.pem").write_bytes(of.certificate.read_bytes())
        forms = {"VAULT_CACERT": str(of.certificate), "VAULT_CACERT_BYTES": of.certificate.read_text()}
        return forms.get(name, str(directory))

    message = failure(vault.address, **{first: value(first, stranger), second: value(second, authority)})

    assert "set vault_cacert" in message
    assert log_in_to(vault.address, **{first: value(first, authority), second: value(second, stranger)}).value == TOKEN


def test_expired_certificate(authority: Authority) -> None:
    """An expired certificate is refused, and the message thinks of the clock too."""
    with serving(authority.issue(LOOPBACK, life=-DAY).listener()) as server:
        message = failure(server.address, VAULT_CACERT=str(authority.certificate))

    assert "expired; renew the server's certificate, or check this host's clock" in message
    assert server.requests == []


def test_certificate_of_tomorrow(authority: Authority) -> None:
    """A certificate that is not valid yet is refused, and the message thinks of the clock."""
    with serving(authority.issue(LOOPBACK, begins=DAY, life=2 * DAY).listener()) as server:
        message = failure(server.address, VAULT_CACERT=str(authority.certificate))

    assert "not yet valid; renew the server's certificate, or check this host's clock" in message
    assert server.requests == []


def test_self_signed_certificate(stranger: Authority, authority: Authority) -> None:
    """A certificate that vouches for itself is refused, unless it is itself what is trusted."""
    pair = stranger.itself(LOOPBACK)
    with serving(pair.listener()) as server:
        message = failure(server.address, VAULT_CACERT=str(authority.certificate))
        assert log_in_to(server.address, VAULT_CACERT=str(pair.certificate)).value == TOKEN

    assert "self" in message
    assert "signed certificate (trusted: " in message
    assert "set vault_cacert to the CA that signed it" in message


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_version_of_tls(authority: Authority) -> None:
    """A server that speaks nothing newer than TLS 1.1 is refused, even where OpenSSL itself would talk to it."""
    trusted = {"VAULT_CACERT": str(authority.certificate)}
    context = authority.issue(LOOPBACK).listener()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with serving(context) as server:
        message = failure(server.address, **trusted)

        ours = tls_context(settings(server.address, **trusted))
        ours.set_ciphers("ALL:@SECLEVEL=0")
        assert shaken_hands(server, ours) is None
        ours.minimum_version = ssl.TLSVersion.TLSv1
        if shaken_hands(server, ours) != "TLSv1.1":
            pytest.skip("this OpenSSL has no TLS 1.1")

    assert "the server must speak TLS 1.2 or later" in message
    assert server.requests == []


def shaken_hands(server: ScriptedServer, context: ssl.SSLContext) -> str | None:
    """Return the version of TLS that a client agrees on with a server; ``None`` where there is none."""
    port = int(server.address.rpartition(":")[2])
    with socket.create_connection((LOOPBACK, port), timeout=20) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=LOOPBACK) as agreed:
                return agreed.version()
        except ssl.SSLError:
            return None


@pytest.mark.parametrize("kind", ["login", "look-up"])
@pytest.mark.parametrize("trouble", ["authority", "name", "expiry"])
def test_handshake_that_fails_is_not_repeated(
    authority: Authority, stranger: Authority, kind: str, trouble: str
) -> None:
    """A certificate that is not good is not better a second later: no request tries again."""
    name, life = ("vault.example" if trouble == "name" else LOOPBACK), (-DAY if trouble == "expiry" else DAY)
    trusted = stranger if trouble == "authority" else authority
    context = authority.issue(name, life=life).listener()
    greeted: list[object] = []
    context.sni_callback = lambda *seen: greeted.append(seen)
    with serving(context) as server, pytest.raises(UnreachableError, match="TLS: "):
        talk_to(server.address, kind, VAULT_CACERT=str(trusted.certificate))

    assert len(greeted) == 1


def test_certificate_of_another_name(authority: Authority) -> None:
    """A certificate for another name is refused, and the message names the setting that mends it."""
    with serving(authority.issue("vault.example").listener()) as server:
        message = failure(server.address, VAULT_CACERT=str(authority.certificate))

    assert "set vault_tls_server_name" in message
    assert LOOPBACK in message
    assert server.requests == []


def test_server_name(authority: Authority) -> None:
    """``VAULT_TLS_SERVER_NAME`` is sent to the server and is what its certificate must hold."""
    context = authority.issue("vault.example").listener()
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    with serving(context) as server:
        trusted = {"VAULT_CACERT": str(authority.certificate)}
        assert log_in_to(server.address, VAULT_TLS_SERVER_NAME="vault.example", **trusted).value == TOKEN
        message = failure(server.address, VAULT_TLS_SERVER_NAME="other.example", **trusted)

    assert names == ["vault.example", "other.example"]
    assert "set vault_tls_server_name" in message
    assert "other.example" in message


@pytest.mark.parametrize("trouble", ["authority", "name", "expiry", "server name"])
def test_skip_verify(
    authority: Authority, trouble: str, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    """``VAULT_SKIP_VERIFY`` takes any certificate, and without a warning: an SDK would mix it into what it reads."""
    name, life = ("vault.example" if trouble == "name" else LOOPBACK), (-DAY if trouble == "expiry" else DAY)
    environ = {} if trouble == "authority" else {"VAULT_CACERT": str(authority.certificate)}
    if trouble == "server name":
        environ["VAULT_TLS_SERVER_NAME"] = "other.example"
    with serving(authority.issue(name, life=life).listener()) as server:
        token = log_in_to(server.address, VAULT_SKIP_VERIFY="true", **environ)

    assert token.value == TOKEN
    assert recwarn.list == []
    assert capfd.readouterr() == ("", "")


def test_client_certificate(authority: Authority, stranger: Authority) -> None:
    """A server that wants a client certificate gets the configured one; without it, or with another, it refuses."""
    context = authority.issue(LOOPBACK).listener(clients=authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # the refusal is part of the handshake, not a race with a request
    trusted = {"VAULT_CACERT": str(authority.certificate)}
    ours, other = authority.issue("client"), stranger.issue("client")
    with serving(context) as server:
        token = log_in_to(
            server.address, VAULT_CLIENT_CERT=str(ours.certificate), VAULT_CLIENT_KEY=str(ours.key), **trusted
        )
        without = failure(server.address, **trusted)
        wrong = failure(
            server.address, VAULT_CLIENT_CERT=str(other.certificate), VAULT_CLIENT_KEY=str(other.key), **trusted
        )

    assert token.value == TOKEN
    assert len(server.requests) == 1
    for message in (without, wrong):
        assert "does the server want another vault_client_cert and vault_client_key?" in message


@pytest.mark.parametrize(
    ("variable", "content", "expected"),
    [
        ("VAULT_CACERT", None, "vault_cacert: {path}: No such file"),
        ("VAULT_CACERT", b"no certificate", "vault_cacert: {path}: "),
        ("VAULT_CACERT", b"", "vault_cacert: {path}: "),
        ("VAULT_CAPATH", None, "vault_capath: {path}: No such file"),
        ("VAULT_CLIENT_CERT", b"", "vault_client_key: missing; a client certificate needs both"),
        ("VAULT_CLIENT_KEY", b"", "vault_client_cert: missing; a client certificate needs both"),
    ],
)
def test_unusable_file(tmp_path: pathlib.Path, variable: str, content: bytes | None, expected: str) -> None:
    """A TLS file that is missing or is not what it should be is a matter of configuration, named with its path."""
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_bytes(content)

    message = failure("https://127.0.0.1:1", exit_code=2, **{variable: str(path)})

    assert message.startswith(expected.format(path=path))


@pytest.mark.parametrize(
    "text", ["no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "é"]
)
def test_unusable_text(text: str) -> None:
    """``VAULT_CACERT_BYTES`` that holds no certificate is a matter of configuration."""
    assert "vault_cacert_bytes: PEM text: " in failure("https://127.0.0.1:1", exit_code=2, VAULT_CACERT_BYTES=text)


def test_empty_directory(tmp_path: pathlib.Path) -> None:
    """A ``VAULT_CAPATH`` that holds no file would trust nobody, and is said to."""
    assert "holds no file" in failure("https://127.0.0.1:1", exit_code=2, VAULT_CAPATH=str(tmp_path / "home"))


@pytest.mark.parametrize("trouble", ["of another", "encrypted", "missing"])
def test_unusable_client_key(authority: Authority, trouble: str) -> None:
    """A key that does not fit, needs a password (nobody is asked for it), or is missing is named."""
    pair = authority.issue("client", password=b"key-password" if trouble == "encrypted" else None)
    key = {"of another": authority.issue("other").key, "missing": pair.key.with_name("none")}.get(trouble, pair.key)

    message = failure(
        "https://127.0.0.1:1", exit_code=2, VAULT_CLIENT_CERT=str(pair.certificate), VAULT_CLIENT_KEY=str(key)
    )

    expected = {
        "of another": f"vault_client_cert: {pair.certificate} with {key}: key values mismatch; name the key that",
        "encrypted": f"vault_client_key: {key}: encrypted; store it without a passphrase",
        "missing": f"vault_client_key: {key}: No such file or directory; check the path and its permissions",
    }
    assert message.startswith(expected[trouble])


def test_missing_client_certificate(authority: Authority, tmp_path: pathlib.Path) -> None:
    """A certificate that is missing is named under its own key, beside a key that is good."""
    none, key = tmp_path / "none.pem", authority.issue("client").key

    message = failure("https://127.0.0.1:1", exit_code=2, VAULT_CLIENT_CERT=str(none), VAULT_CLIENT_KEY=str(key))

    assert message.startswith(f"vault_client_cert: {none}: No such file or directory; check the path")


def test_https_to_a_plain_port(scripted: ScriptedServer) -> None:
    """TLS to a port that speaks plain http: the message says which of the two is wrong."""
    message = failure(scripted.address.replace("http:", "https:"))

    assert "the server speaks plain http there; check vault_addr" in message


GO_SAYS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


def test_http_to_a_tls_port(vault: ScriptedServer, scripted: ScriptedServer) -> None:
    """Plain http to a port that speaks TLS: the message says to write ``https``, if Vault itself tells us or if not."""
    scripted.otherwise = GO_SAYS

    told = failure(scripted.address)
    untold = failure(vault.address.replace("https:", "http:"))

    assert f"{scripted.address}/v1/{LOGIN}: the server speaks TLS there; write https:// in vault_addr" in told
    assert "check the network and vault_addr (https:// where the server speaks TLS)" in untold


def test_reset_inside_tls(vault: ScriptedServer, authority: Authority) -> None:
    """A connection that breaks after the handshake is told as such, and a login is not sent again."""
    vault.on("POST", LOGIN, reset)

    message = failure(vault.address, VAULT_CACERT=str(authority.certificate))

    assert "check" in message
    assert vault.asked("POST", LOGIN) == 1


def test_redirect_stays_inside_tls(authority: Authority, vault: ScriptedServer) -> None:
    """From one TLS node to another, under another name, a redirect is followed with the token."""
    with serving(authority.issue(LOOPBACK, "localhost").listener()) as active:
        target = active.address.replace(LOOPBACK, "localhost")
        vault.on("GET", READ, reply(307, headers={"Location": f"{target}/v1/{READ}"}))
        read_from(vault.address, VAULT_CACERT=str(authority.certificate))

    assert active.requests[0].headers["x-vault-token"] == TOKEN


def test_redirect_from_tls_to_plain_http(authority: Authority, vault: ScriptedServer, scripted: ScriptedServer) -> None:
    """A redirect must not leave TLS, not even on the same host: the target is sent nothing."""
    vault.on("GET", READ, reply(307, headers={"Location": f"{scripted.address}/v1/{READ}"}))

    with pytest.raises(UnreachableError) as caught:
        read_from(vault.address, VAULT_CACERT=str(authority.certificate))

    assert "redirected to http://127.0.0.1, where the token must not go" in said(caught.value)
    assert scripted.requests == []


@pytest.mark.parametrize("trusted", [True, False])
def test_redirect_into_tls(
    authority: Authority, stranger: Authority, vault: ScriptedServer, scripted: ScriptedServer, trusted: bool
) -> None:
    """From a plain listener to a TLS one a redirect is followed only to a server that ``VAULT_CACERT`` vouches for."""
    scripted.on("POST", LOGIN, reply(307, headers={"Location": f"{vault.address}/v1/{LOGIN}"}))

    if trusted:
        assert log_in_to(scripted.address, VAULT_CACERT=str(authority.certificate)).value == TOKEN
    else:
        assert "TLS: " in failure(scripted.address, VAULT_CACERT=str(stranger.certificate))

    assert len(vault.requests) == trusted
