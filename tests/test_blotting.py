"""Secrets that stand in the address of a request are in no log, not even in that of a program that logs everything."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import threading
import traceback
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

from vault_credential_process import blotting
from vault_credential_process.demo.server import free_port
from vault_credential_process.errors import VaultCredentialError
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import VaultToken
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import Request, ScriptedServer, reply
from vault_credential_process.vault import Vault

from .auth.methods import log_in
from .auth.people import CODE, Somebody, come_back
from .auth.test_oidc import CALLBACK, NONCE, STATE, offer
from .bench import READ, Bench, Clock
from .conftest import Tenant
from .talk import TOKEN, settings

MFA_CODE = "987 654"
"""With a space, which an address writes in another way than the secret itself."""
WIRE = "urllib3.connectionpool"


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Log what every library of the process says, and let nobody have told it to blot anything yet."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger(WIRE).setLevel(logging.DEBUG)
    return caplog


def lines(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    """Return what one logger said."""
    return [record.getMessage() for record in caplog.records if record.name == name]


@pytest.fixture
def bench(scripted: ScriptedServer, exchanges: dict[str, Any]) -> Bench:
    """Return a server that lets everybody in."""
    made = Bench(scripted, exchanges, Clock())
    made.on_login()
    return made


def read_with_a_code(bench: Bench) -> None:
    """Read credentials with the code of a second factor."""
    bench.fetcher(vault_aws_mfa_code_command=f"printf '%s %s' {MFA_CODE}").fetch()


def test_mfa_code_is_in_no_log(bench: Bench, everything: pytest.LogCaptureFixture) -> None:
    """The code goes to Vault in the address of the read, and into no line that tells of that address."""
    bench.server.on("GET", READ, bench.lease(900))
    read_with_a_code(bench)
    sent = bench.server.requests[-1].path
    told = [line for line in lines(everything, WIRE) if READ in line]

    assert urllib.parse.parse_qs(urllib.parse.urlsplit(sent).query) == {"mfa_code": [MFA_CODE]}
    assert [line for line in told if "mfa_code=***" in line] == told != []
    assert "654" not in everything.text


def test_the_log_would_have_the_code(bench: Bench, everything: pytest.LogCaptureFixture) -> None:
    """The control: the same address without the blot stands in urllib3's log as it was sent."""
    bench.server.on("GET", READ, bench.lease(900))
    blot = logging.getLogger(WIRE).filters[:]
    for one in blot:
        logging.getLogger(WIRE).removeFilter(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blotting, "_LOGGERS", ())
        read_with_a_code(bench)

    assert "mfa_code=987+654" in everything.text


@pytest.mark.parametrize("status", [400, 403, 500])
def test_mfa_code_that_the_server_repeats(bench: Bench, everything: pytest.LogCaptureFixture, status: int) -> None:
    """A server that quotes the code in a refusal does not bring it into the error."""
    bench.server.on("GET", READ, reply(status, {"errors": [f"MultiFactorAuthentication failed with {MFA_CODE}"]}))
    with pytest.raises(VaultCredentialError) as caught:
        read_with_a_code(bench)
    texts = (str(caught.value), everything.text, *traceback.format_exception(caught.value))

    assert [text for text in texts if "654" in text] == []


def odd_header(header: bytes) -> Callable[[socket.socket, Request], None]:
    """Return a reply with a line among its headers that is none, where urllib3 warns of its address and the rest."""

    def answer(connection: socket.socket, request: Request) -> None:
        head, _, body = AuthMethodContract.accepted.partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n" + header + b"\r\nMore: 1\r\n\r\n" + body)

    return answer


CODES = ["123456", "a b/c+d%e~\u00e9", "x'\"<>"]
WARNS = "urllib3.connection"


def heard(server: ScriptedServer, code: str, handler: logging.Handler) -> None:
    """Read once at a server that answers with such a header, which repeats the code; the result is of no matter."""
    server.on("GET", READ, odd_header(b"not a header " + code.encode()))
    logging.getLogger().addHandler(handler)
    try:
        with Vault(settings(server.address), Deadline(20)) as vault, contextlib.suppress(VaultCredentialError):
            vault.read_credentials(VaultToken(TOKEN), mfa_code=code)
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("blots", [True, False], ids=["blotted", "control"])
def test_header_that_does_not_parse(
    scripted: ScriptedServer,
    everything: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    blots: bool,
) -> None:
    """urllib3's warning of a header has neither the code in the address nor what the server repeats, nor any frame."""
    if not blots:
        monkeypatch.setattr(blotting._Blot, "filter", lambda *_: True)
    out = io.StringIO()
    heard(scripted, code, logging.StreamHandler(out))
    (record,) = [record for record in everything.records if record.name == WARNS]
    query = scripted.requests[-1].path.partition("mfa_code=")[2]
    echoed = repr(f"'\"{code.encode().decode('latin-1')}")[4:-1]

    assert "HeaderParsingError" in out.getvalue()
    assert (query in out.getvalue()) is (echoed in out.getvalue()) is not blots
    assert (record.exc_info is None) is blots


@pytest.mark.real_engine
def test_policy_that_reads_refuses_a_post(tenant: Tenant) -> None:
    """Why the code stands in an address: in a body the engine takes it for an update, which few policies allow."""
    call, path = tenant.laboratory.server.call, f"aws/creds/{tenant.role}"
    keys = {name: tenant.approle[name] for name in ("role_id", "secret_id")}
    token = call("POST", "auth/approle/login", keys)["auth"]["client_token"]

    assert call("GET", f"{path}?mfa_code=987654", token=token)["data"]["access_key"]
    with pytest.raises(OSError, match="403"):
        call("POST", path, {"mfa_code": "987654"}, token=token)


def test_what_a_browser_brought_is_in_no_log(scripted: ScriptedServer, everything: pytest.LogCaptureFixture) -> None:
    """State, code and nonce of an OIDC login go to Vault in an address, which Vault wants, and into no log."""
    port = free_port()
    offer(scripted)
    scripted.on("GET", CALLBACK, AuthMethodContract.accepted)
    scripted.on("GET", CALLBACK, AuthMethodContract.accepted)
    person = Somebody(come_back)
    log_in(scripted.address, {"vault_auth_method": "oidc", "vault_oidc_callback_port": str(port)}, person=person)
    sent = next(request.path for request in scripted.requests if CALLBACK in request.path)
    nonce = scripted.requests[0].json["client_nonce"]

    assert all(secret in sent for secret in (STATE, CODE, nonce))
    # The browser of this test is a thread, which logs its own visit; a real one is another program.
    ours = [r.getMessage() for r in everything.records if r.thread == threading.get_ident()]
    assert [line for line in ours if CALLBACK in line and "***" in line]
    assert [secret for secret in (STATE, CODE, NONCE, nonce) if secret in "\n".join(ours)] == []


def test_oktas_nonce_is_in_no_log(scripted: ScriptedServer, everything: pytest.LogCaptureFixture) -> None:
    """Whoever knows the nonce hears which number to tap: it is in the address of a question, and in no log."""
    asked = threading.Event()

    def wait(connection: socket.socket, request: Request) -> None:
        nonce.append(request.json["nonce"])
        scripted.on("GET", f"auth/okta/verify/{nonce[0]}", number)
        asked.wait(20)
        connection.sendall(AuthMethodContract.accepted)

    def number(connection: socket.socket, _: Request) -> None:
        asked.set()
        connection.sendall(reply(200, {"data": {"correct_answer": 94}}))

    nonce: list[str] = []
    scripted.on("POST", "auth/okta/login/fred", wait)
    fred = Somebody()
    fred.answers = ["correct-horse"]
    log_in(scripted.address, {"vault_auth_method": "okta", "vault_username": "fred"}, person=fred)

    assert asked.is_set()
    assert [line for line in everything.text.splitlines() if "auth/okta/verify/***" in line] != []
    assert nonce[0] not in everything.text


def test_other_threads_log_as_ever(everything: pytest.LogCaptureFixture) -> None:
    """What another thread, or this one afterwards, logs is left as it is; so is what holds no secret."""
    log = logging.getLogger(WIRE)
    with blotting.unlogged(("s3cret",)), blotting.unlogged(()):
        other = threading.Thread(target=log.debug, args=("other %s", "s3cret"))
        other.start()
        other.join(10)
        log.debug("here %s 100%%", "s3cret")
        log.debug("here %d", 7)
    log.debug("after %s", "s3cret")

    assert lines(everything, WIRE) == ["other s3cret", "here *** 100%", "here 7", "after s3cret"]
    assert everything.records[2].args == (7,)


def test_nothing_heaps_up(everything: pytest.LogCaptureFixture) -> None:
    """However many requests there were, one filter stands on each logger."""
    for number in range(3):
        with blotting.unlogged((f"s3cret{number}",)):
            pass

    assert [one for one in logging.getLogger(WIRE).filters if one is blotting._blot] == [blotting._blot]
