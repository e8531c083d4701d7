"""The wire to a platform's own services: its limits, and that no message repeats what it carried."""

from __future__ import annotations

import logging
import time
import urllib.parse

import pytest

from vault_credential_process.auth import metadata
from vault_credential_process.errors import DeadlineError, UnreachableError
from vault_credential_process.expiry import Deadline
from vault_credential_process.testing.scripted import Reply, ScriptedServer, dripping, reply, reset, silence

WHAT = "the identity token of a platform"
SECRET = "canary-of-the-platform"


def fetch(url: str, **options: object) -> metadata.Reply:
    """Ask a service, with a secret in a header."""
    given = {"deadline": Deadline(5), "what": WHAT, "headers": {"Authorization": f"bearer {SECRET}"}, **options}
    return metadata.fetch(url, **given)  # type: ignore[arg-type]


def failure(url: str, **options: object) -> str:
    """Return the one line of a request that must find no answer."""
    with pytest.raises(UnreachableError) as caught:
        fetch(url, **options)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{WHAT}: ")
    assert SECRET not in message
    return message


def test_what_is_sent(scripted: ScriptedServer) -> None:
    """Method, query and headers go out as they were given, the query after the one of the address."""
    scripted.otherwise = reply(200, {"value": SECRET})
    found = fetch(
        f"{scripted.address}/token?v=2", method="PUT", params={"audience": "https://a b"}, headers={"Metadata": "true"}
    )

    (request,) = scripted.requests
    assert (request.method, request.path) == ("PUT", "/token?v=2&audience=https%3A%2F%2Fa+b")
    assert request.headers["metadata"] == "true"
    assert (found.status, found.json()) == (200, {"value": SECRET})


@pytest.mark.parametrize("status", [400, 403, 404, 410, 500])
def test_status_is_for_the_caller(scripted: ScriptedServer, status: int) -> None:
    """Whatever the status, it is the caller who knows what it means."""
    scripted.otherwise = reply(status, {"error": "x"})

    assert fetch(scripted.address).status == status


@pytest.mark.parametrize("body", [b"", b"text", b"[1]", b"\xff", b"[" * 5000])
def test_what_is_no_object_has_no_fields(scripted: ScriptedServer, body: bytes) -> None:
    """A body that is no JSON object reads as an empty one."""
    scripted.otherwise = reply(200, body)

    assert fetch(scripted.address).json() == {}


def test_reply_hides_its_body() -> None:
    """An answer is a secret: its ``repr`` shows the status alone."""
    assert repr(metadata.Reply(200, SECRET.encode())) == "Reply(status=200)"


def test_redirect_is_not_followed(scripted: ScriptedServer) -> None:
    """The secret in the header must not go where the service points to."""
    with ScriptedServer() as elsewhere:
        scripted.otherwise = reply(302, headers={"Location": elsewhere.address})

        assert fetch(scripted.address).status == 302
        assert elsewhere.requests == []


@pytest.mark.parametrize("length", [metadata.MAX_REPLY + 1, 5 * 1024 * 1024])
def test_long_reply_is_refused(scripted: ScriptedServer, length: int) -> None:
    """No token is as long as that."""
    scripted.otherwise = reply(200, SECRET.encode() * (length // len(SECRET) + 1))

    assert failure(scripted.address) == (
        f"{WHAT}: {scripted.address}: longer than {metadata.MAX_REPLY} bytes; check what answers there"
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reset, "the connection broke during it"),
        (silence(5), "no answer to it in time"),
        (dripping(reply(200, {"value": "x" * 500}), pause=0.1), "no answer to it in time"),
        (dripping(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 50, pause=0.1), "no answer to it in time"),
    ],
    ids=["reset", "silence", "dripping body", "dripping headers"],
)
def test_service_that_does_not_answer(scripted: ScriptedServer, answer: Reply, words: str) -> None:
    """A reply that breaks off, stays away or comes byte by byte ends within the limit of one request."""
    scripted.otherwise = answer
    began = time.monotonic()
    message = failure(scripted.address, limit=0.3)

    assert words in message
    assert message.endswith("; check that its service can be reached from here")
    assert scripted.address in message
    assert time.monotonic() - began < 2


def test_deadline_of_the_call_goes_first(scripted: ScriptedServer) -> None:
    """Where the call has less time than one request may take, that is what is told."""
    scripted.otherwise = silence(5)

    with pytest.raises(DeadlineError, match=rf"^gave up after 0.3 s while waiting for {WHAT}; "):
        fetch(scripted.address, deadline=Deadline(0.3))


def test_nobody_listens() -> None:
    """A closed port is told as such."""
    assert "http://127.0.0.1:1: connection refused" in failure("http://127.0.0.1:1/secret-path?secret=query")


def test_plain_port_under_https(scripted: ScriptedServer) -> None:
    """TLS to a port that does not speak it is told as such."""
    assert ": TLS failed at once" in failure(scripted.address.replace("http:", "https:"))


def test_name_and_password_in_the_address(scripted: ScriptedServer) -> None:
    """What stands before an ``@`` shows in no message."""
    host = urllib.parse.urlsplit(scripted.address).netloc
    scripted.otherwise = reset

    assert f"http://{host}: the connection broke" in failure(f"http://user:{SECRET}@{host}/token")


def test_header_that_cannot_be_sent(scripted: ScriptedServer) -> None:
    """A line break in a header ends in one line too, and nothing is sent."""
    failure(scripted.address, headers={"Authorization": f"bearer {SECRET}\r\nX-Other: 1"})

    assert scripted.requests == []


def test_header_outside_latin_1(scripted: ScriptedServer) -> None:
    """What is no Latin-1 is sent all the same: it is for the service to refuse."""
    scripted.otherwise = reply(401)

    assert fetch(scripted.address, headers={"Authorization": f"bearer {SECRET}\u2026"}).status == 401


@pytest.mark.parametrize(
    ("retries", "replies", "expected"),
    [
        (2, (reply(503), reply(429), reply(200, {})), [200, 3]),
        (2, (reset, reply(200, {})), [200, 2]),
        (1, (reply(503), reply(500), reply(200, {})), [500, 2]),
        (0, (reply(503), reply(200, {})), [503, 1]),
        (2, (reply(404), reply(200, {})), [404, 1]),
    ],
)
def test_retries(
    scripted: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    retries: int,
    replies: tuple[Reply, ...],
    expected: list[int],
) -> None:
    """What may pass by itself is asked for again, as often as was said; a refusal is final."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(metadata, "RETRY_WAIT", 0.01)
    scripted.on("GET", "token", *replies)
    found = fetch(f"{scripted.address}/v1/token", retries=retries)

    assert [found.status, len(scripted.requests)] == expected
    assert SECRET not in caplog.text


def test_pause_does_not_pass_the_deadline(scripted: ScriptedServer) -> None:
    """Where the next try would come too late the answer that is there is what counts, at once."""
    scripted.otherwise = reply(503)
    began = time.monotonic()

    assert fetch(scripted.address, retries=5, deadline=Deadline(0.9)).status == 503
    assert time.monotonic() - began < 0.8


def test_proxy_of_the_environment(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host on the internet is reached through the proxy that is set, where the caller says so."""
    monkeypatch.setenv("HTTPS_PROXY", scripted.address)
    message = failure("https://issuer.invalid/token", use_proxy=True)

    assert "the proxy refused or failed" in message
    assert [(r.method, r.path) for r in scripted.requests] == [("CONNECT", "issuer.invalid:443")]
    assert SECRET not in repr(scripted.requests)


@pytest.mark.parametrize("use_proxy", [True, False])
def test_no_proxy_for_this_host(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, use_proxy: bool) -> None:
    """What is on this host is asked directly, whatever proxy is set."""
    scripted.otherwise = reply(200, {})
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    assert fetch(scripted.address, use_proxy=use_proxy).status == 200


def test_metadata_is_asked_directly(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the caller says so no proxy is asked: it would get the secret of a plain request."""
    monkeypatch.setenv("HTTP_PROXY", scripted.address)
    failure("http://metadata.invalid/token", limit=2)

    assert scripted.requests == []


def test_parameter_that_is_no_text_is_sent_all_the_same(scripted: ScriptedServer) -> None:
    """What came as bytes that are no UTF-8, in a variable say, is the service's to refuse."""
    scripted.otherwise = reply(200, {})

    assert fetch(scripted.address, params={"resource": "a\udcffb"}).status == 200
    assert [request.path for request in scripted.requests] == ["/?resource=a%3Fb"]
