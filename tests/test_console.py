"""``console``: the address that signs in, over a scripted federation endpoint, and how the browser comes by it."""

from __future__ import annotations

import json
import logging
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vault_credential_process import cli, federation
from vault_credential_process.cli import handover
from vault_credential_process.cli.handover import hand_over
from vault_credential_process.errors import AuthenticationError, ConfigurationError, UnreachableError
from vault_credential_process.federation import CONSOLES, Console, console_of, destination, sign_in
from vault_credential_process.models import AWSCredentials
from vault_credential_process.testing.scripted import Reply, ScriptedServer, dripping, replay, reply, reset, silence

from .certificates import Authority
from .test_fastpath_host import BECOME_STRANGER, as_root

TOKEN = "VCQgs5qZZt3Q6fn8Tr5EXAMPLEmLnwB7JjUc-SHwnUUWabcRdnWsi4DBn-dvC"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SESSION = "FwoGZXIvYXdzEXAMPLE//+=="
PAIR = AWSCredentials("ASIAIOSFODNN7EXAMPLE", SECRET, SESSION, 0, 4_000_000_000, "sts")
GIVEN = reply(200, {"SigninToken": TOKEN})
HOST = "console.aws.amazon.com"
HOME = f"https://{HOST}/console/home"


@pytest.fixture
def amazon() -> Iterator[ScriptedServer]:
    """What answers for the federation endpoint."""
    with ScriptedServer() as server:
        server.otherwise = GIVEN
        yield server


def console(server: ScriptedServer) -> Console:
    """Return a console whose federation endpoint is a server of ours."""
    return Console(f"{server.address}/federation", HOST)


def signed_in(server: ScriptedServer, answer: Reply = GIVEN, **options: Any) -> str:
    """Return the address that a server's answer makes."""
    server.otherwise = answer
    given = {"seconds": None, "ca_bundle": None, **options}
    return sign_in(PAIR, console(server), HOME, **given).address


class TestSignIn:
    """What is sent to the endpoint, and what becomes of its answer."""

    def test_address(self, amazon: ScriptedServer) -> None:
        """The address is the endpoint's, with the sign-in token and the page to open."""
        address = urllib.parse.urlsplit(signed_in(amazon))

        assert address._replace(query="").geturl() == f"{amazon.address}/federation"
        assert urllib.parse.parse_qs(address.query) == {
            "Action": ["login"],
            "Issuer": ["vault-credential-process"],
            "Destination": [HOME],
            "SigninToken": [TOKEN],
        }

    def test_what_is_sent(self, amazon: ScriptedServer) -> None:
        """The pair goes in the body of one POST, nothing of it in the address or in a header, and no duration."""
        signed_in(amazon)
        (request,) = amazon.requests
        form = urllib.parse.parse_qs(request.body.decode(), strict_parsing=True)

        assert (request.method, request.path) == ("POST", "/federation")
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        assert form.keys() == {"Action", "Session"}
        assert form["Action"] == ["getSigninToken"]
        assert json.loads(form["Session"][0]) == {
            "sessionId": "ASIAIOSFODNN7EXAMPLE",
            "sessionKey": SECRET,
            "sessionToken": SESSION,
        }
        assert not any(word in repr(request.headers) for word in (SECRET, SESSION))

    def test_duration(self, amazon: ScriptedServer) -> None:
        """A duration is sent where it is wanted, for AWS takes it from some kinds of credentials alone."""
        signed_in(amazon, seconds=3600)

        assert urllib.parse.parse_qs(amazon.requests[0].body.decode())["SessionDuration"] == ["3600"]

    def test_tls(self, tmp_path: pathlib.Path) -> None:
        """Over TLS the endpoint is verified: with the CA of ``AWS_CA_BUNDLE`` it is known, and nobody else is."""
        authority = Authority(tmp_path)
        with ScriptedServer(context=authority.issue("127.0.0.1").listener()) as server:
            assert TOKEN in signed_in(server, ca_bundle=str(authority.certificate))
            with pytest.raises(UnreachableError, match="no answer"):
                signed_in(server)
            assert len(server.requests) == 1

    @pytest.mark.parametrize("status", [400, 401, 403])
    def test_refused(self, amazon: ScriptedServer, status: int) -> None:
        """What AWS refuses is told, with the kinds that it takes; a duration that was wanted is the likely cause."""
        page = reply(status, b"<html>" + SECRET.encode(), {"Content-Type": "text/html"})
        with pytest.raises(AuthenticationError, match="assumed_role and federation_token") as caught:
            signed_in(amazon, page)
        assert SECRET not in str(caught.value)
        with pytest.raises(AuthenticationError, match="leave out --duration"):
            signed_in(amazon, page, seconds=900)

    @pytest.mark.parametrize(
        "answer",
        [
            reply(500, b""),
            reply(200, b"<html>"),
            reply(200, b"[" * 60_000),
            reply(200, {"SigninToken": "a\nb"}),
            reply(200, {"SigninToken": ""}),
            reply(200, {"SigninToken": 7}),
            reply(200, ["SigninToken"]),
            reply(302, {"SigninToken": TOKEN}, {"Location": "http://127.0.0.1:1/"}),
            reset,
        ],
    )
    def test_unusable_answers(self, amazon: ScriptedServer, answer: Reply) -> None:
        """Whatever else comes back makes no address, and is not asked for again."""
        with pytest.raises(UnreachableError):
            signed_in(amazon, answer)
        assert len(amazon.requests) == 1

    @pytest.mark.parametrize("answer", [silence(20), dripping(GIVEN, pause=0.3)], ids=["silent", "byte by byte"])
    def test_wait_is_bounded(self, amazon: ScriptedServer, answer: Reply) -> None:
        """An endpoint that says nothing, or a byte at a time, is given up after the limit."""
        began = time.monotonic()
        with pytest.raises(UnreachableError, match="no answer"):
            signed_in(amazon, answer, timeout=0.3)
        assert time.monotonic() - began < 5

    def test_nothing_shows_it(self, amazon: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
        """Neither the value's ``repr`` nor any log, at its most talkative, holds the address or the pair."""
        with caplog.at_level(logging.DEBUG):
            found = sign_in(PAIR, console(amazon), HOME, seconds=None, ca_bundle=None)

        assert "/federation" in caplog.text
        assert not any(word in caplog.text + repr(found) for word in (TOKEN, SECRET, SESSION, "ASIAIOSFODNN7EXAMPLE"))


class TestPlaces:
    """Which console, and which page of it."""

    @pytest.mark.parametrize(
        ("region", "partition"),
        [
            (None, "aws"),
            ("", "aws"),
            ("eu-central-1", "aws"),
            ("cn-northwest-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
        ],
    )
    def test_partition(self, region: str | None, partition: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The console is that of the region's partition, and no variable sends credentials elsewhere."""
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SIGNIN", "AWS_ENDPOINT_URL_STS"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")

        assert console_of(region) == CONSOLES[partition]
        assert CONSOLES[partition].endpoint.startswith("https://signin.")

    @pytest.mark.parametrize("region", ["us-iso-east-1", "nowhere-1", "a\x1bb", "eu-central-1/x"])
    def test_region_without_a_console(self, region: str) -> None:
        """For a region of another partition, or of none, there is one printable line."""
        with pytest.raises(ConfigurationError, match="is in no partition whose console is known here") as caught:
            console_of(region)
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize(
        ("wanted", "region", "expected"),
        [
            (None, None, HOME),
            (None, "eu-central-1", f"{HOME}?region=eu-central-1"),
            ("s3", None, f"https://{HOST}/s3/home"),
            ("s3", "eu-central-1", f"https://{HOST}/s3/home?region=eu-central-1"),
            (f"https://{HOST}/iam/home#/roles", "eu-central-1", f"https://{HOST}/iam/home#/roles"),
            (f"https://eu-central-1.{HOST}/s3", None, f"https://eu-central-1.{HOST}/s3"),
        ],
    )
    def test_page(self, wanted: str | None, region: str | None, expected: str) -> None:
        """A page is the console's home, a service's, or an address of the console itself."""
        assert destination(CONSOLES["aws"], wanted, region) == expected

    @pytest.mark.parametrize(
        "wanted",
        [
            "https://example.com/",
            f"http://{HOST}/",
            f"https://{HOST}.example.com/",
            f"https://example{HOST}/",
            f"https://{HOST}@example.com/",
            f"https://user@{HOST}/",
            f"https://{HOST}:8443/",
            f"https://{HOST}/a b",
            "https://[::1",
            "javascript:alert(1)",
            "../s3",
            "S3 bucket",
            "s3?x",
        ],
    )
    def test_page_elsewhere(self, wanted: str) -> None:
        """An address of another host leads nowhere."""
        with pytest.raises(ConfigurationError, match="--destination: "):
            destination(CONSOLES["aws"], wanted, None)


Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def told(
    amazon: ScriptedServer,
    scripted: ScriptedServer,
    exchanges: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Told:
    """Run ``console`` in this process, with a console whose endpoint is a server of ours."""
    scripted.on_login(exchanges["approle_login"])
    scripted.on("GET", "aws/creds/webapp", replay(exchanges["creds_assumed_role"]))
    monkeypatch.setattr(federation, "CONSOLES", {"aws": console(amazon)})
    for name, value in {"ADDR": scripted.address, "ROLE_ID": "role", "AWS_ROLE": "webapp"}.items():
        monkeypatch.setenv(f"VAULT_{name}", value)
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    logger = logging.getLogger("vault_credential_process")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logging, "raiseExceptions", True)

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(["console", *words])
        return code, *capsys.readouterr()

    return run


BROWSER = """
import sys, urllib.request
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None
try:
    urllib.request.build_opener(Stay).open(sys.argv[1], timeout=20)
except urllib.error.HTTPError as answer:
    said = f"{answer.code} {answer.headers['Location']}"
with open(sys.argv[0] + ".told", "w") as file:
    file.write(sys.argv[1] + " " + said)
"""


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    """Put a browser in place that notes its argument and where that leads."""
    path = tmp_path / "browser"
    path.write_text(f"#!{sys.executable}\n{BROWSER}")
    path.chmod(0o700)
    monkeypatch.setenv("BROWSER", str(path))
    return path.with_name("browser.told")


class TestCommand:
    """The command, with what a scripted Vault gave."""

    def test_print(self, told: Told) -> None:
        """``--print`` prints the address and nothing else."""
        code, out, err = told("--print", "--destination=s3")

        assert (code, err, out.count("\n")) == (0, "", 1)
        assert f"SigninToken={TOKEN}" in out
        assert urllib.parse.quote(f"https://{HOST}/s3/home", safe="") in out

    def test_browser(self, told: Told, browser: pathlib.Path) -> None:
        """The browser's argument is an address on this machine that leads on to the one that signs in."""
        code, out, err = told("--duration=1h")
        argument, status, location = _wait_for(browser).split()

        assert (code, err) == (0, "")
        assert out.startswith(f"opened {HOME} in the browser, signed in with aws/creds/webapp until 20")
        assert TOKEN not in out
        assert argument.startswith("http://127.0.0.1:")
        assert TOKEN not in argument
        assert status == "303"
        assert f"SigninToken={TOKEN}" in location

    def test_no_browser(self, told: Told) -> None:
        """Without a browser there is one line, with code 2, and no address."""
        code, out, err = told()

        assert (code, out) == (2, "")
        assert "console: no browser came for the address; console --print" in err
        assert TOKEN not in err

    @pytest.mark.parametrize("exchange", ["creds_iam_user", "static_creds"])
    def test_keys_of_an_iam_user(
        self, told: Told, scripted: ScriptedServer, amazon: ScriptedServer, exchanges: dict[str, Any], exchange: str
    ) -> None:
        """Keys without a session token sign nobody in; once that is known no further ones are read to find out."""
        flags = ["--print", "--probe=off", *(["--endpoint=static-creds"] if exchange == "static_creds" else [])]
        path = "aws/static-creds/webapp" if exchange == "static_creds" else "aws/creds/webapp"
        scripted.on("GET", path, replay(exchanges[exchange]))
        for _ in range(2):
            code, out, err = told(*flags)
            assert (code, out) == (2, "")
            assert f"console: {path} gives keys of an IAM user, which have no session token" in err
        assert (scripted.asked("GET", path), amazon.requests) == (1, [])

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--duration=10m",), "--duration: 600 s is not between 15m and 12h"),
            (("--duration=13h",), "--duration: 46800 s is not between 15m and 12h"),
            (("--duration=soon",), "--duration: not a duration"),
            (("--destination=https://example.com",), "--destination: "),
        ],
    )
    def test_bad_words(self, told: Told, scripted: ScriptedServer, words: tuple[str, ...], said: str) -> None:
        """A bad value is refused before anything is asked of anybody."""
        code, out, err = told("--print", *words)

        assert (code, out, scripted.requests) == (2, "", [])
        assert said in err


def _wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


def _wait_for(path: pathlib.Path) -> str:
    _wait_until(lambda: path.exists() and path.read_text() != "")
    return path.read_text()


class Visitor:
    """A person whose browser does what a test wants with the address that it is sent to."""

    def __init__(self, visit: Callable[[str], object], *, opens: bool = True) -> None:
        self.visit, self.opens = visit, opens

    def ask(self, question: str) -> str:
        """Never asked."""
        raise AssertionError(question)

    def tell(self, line: str) -> None:
        """Never told anything."""
        raise AssertionError(line)

    def browse(self, address: str) -> bool:
        """Visit it."""
        self.visit(address)
        return self.opens


def fetch(address: str, **headers: str) -> tuple[int, str | None]:
    """Return status and target of an answer, without following it."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    opener = urllib.request.build_opener(Stay, urllib.request.ProxyHandler({}))
    try:
        opener.open(urllib.request.Request(address, headers=headers), timeout=20).close()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.headers["Location"]
    raise AssertionError("neither led on nor refused")


GUEST = f"""
import os, socket, sys
host, port, path, source = sys.argv[1:]
host.encode("idna")  # loaded while it can be read
{BECOME_STRANGER}
with socket.create_connection((host, int(port)), timeout=20, source_address=(source, 0)) as guest:
    guest.sendall(f"GET {{path}} HTTP/1.1\\r\\nHost: {{host}}:{{port}}\\r\\n\\r\\n".encode())
    print(guest.recv(12).decode()[-3:])
"""
"""Another user, who can read nothing of ours but knows the address."""


class TestHandOver:
    """The address on this machine."""

    def test_serves_once(self) -> None:
        """It leads on the first who knows its path, and nobody afterwards or on another path or host name."""
        seen: list[tuple[int, str | None]] = []

        def visit(address: str) -> None:
            base, _, path = address.rpartition("/")
            seen.append(fetch(f"{base}/other"))
            seen.append(fetch(address, Host="evil.example.com"))
            seen.append(fetch(address))
            try:
                seen.append(fetch(address))
            except OSError:  # it listens no longer
                seen.append((404, None))
            assert len(path) >= 32

        assert hand_over(Visitor(visit), "https://signin.example.com/?a=b")
        _wait_until(lambda: len(seen) == 4)
        assert seen == [(404, None), (404, None), (303, "https://signin.example.com/?a=b"), (404, None)]

    @as_root
    @pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
    def test_another_user_is_not_led_on(self, source: str) -> None:
        """Another user of the host who saw the path in ``ps``, and is the first to come, gets nothing from anywhere."""
        seen: list[int] = []

        def visit(address: str) -> None:
            parts = urllib.parse.urlsplit(address)
            words = (str(parts.hostname), str(parts.port), parts.path, source)
            done = subprocess.run([sys.executable, "-c", GUEST, *words], capture_output=True, check=True, timeout=60)
            seen.append(int(done.stdout))
            seen.append(fetch(address)[0])

        assert hand_over(Visitor(visit), "https://signin.example.com/")
        assert seen[:1] == [404]

    def test_two_at_once(self) -> None:
        """Of two that come before it is closed the second gets nothing."""
        with handover._Server("https://signin.example.com/") as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                assert [fetch(server.url)[0] for _ in range(2)] == [303, 404]
            finally:
                server.shutdown()
                thread.join()

    def test_nobody_comes(self) -> None:
        """Without a browser it is over at once, and where none comes after the limit."""
        began = time.monotonic()
        assert not hand_over(Visitor(lambda _: None, opens=False), "https://signin.example.com/", seconds=60)
        assert not hand_over(Visitor(lambda _: None), "https://signin.example.com/", seconds=0.2)
        assert time.monotonic() - began < 20

    def test_slow_guest_holds_nobody_up(self) -> None:
        """Who connects and says nothing does not keep the browser from its address."""

        def visit(address: str) -> None:
            parts = urllib.parse.urlsplit(address)
            with socket.create_connection((str(parts.hostname), parts.port or 0)):
                assert fetch(address)[0] == 303

        assert hand_over(Visitor(visit), "https://signin.example.com/", seconds=20)


def test_address_is_in_no_process_list(told: Told, browser: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the browser runs no argument of any process of ours holds the sign-in token; the control finds it."""
    held = browser.with_name("held")
    program = browser.with_name("browser")
    program.write_text(
        program.read_text()
        + f"\nimport pathlib, time\nwhile not pathlib.Path({str(held)!r}).exists():\n    time.sleep(0.02)\n"
    )
    try:
        assert told()[0] == 0
        _wait_for(browser)
        assert "http://127.0.0.1:" in _arguments()
        assert TOKEN not in _arguments()
        with subprocess.Popen([sys.executable, "-c", "input()", TOKEN], stdin=subprocess.PIPE) as control:
            _wait_until(lambda: TOKEN in _arguments())
            control.communicate(b"\n")
    finally:
        held.touch()


def _arguments() -> str:
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)
