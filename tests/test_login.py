"""``login``: somebody logs in at a real pseudo-terminal, and ``get`` goes on with the token without asking anybody."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from vault_credential_process import auth
from vault_credential_process.cache.memory import Memory
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.errors import AuthenticationError, ConfigurationError, DeadlineError
from vault_credential_process.expiry import Deadline
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.testing.scripted import ScriptedServer, reply
from vault_credential_process.tokens import SPARE, Tokens

from .bench import LOGIN, LOOK_UP, READ, REVOKE, Bench, Clock
from .conftest import Run
from .desk import ASKED, PASSWORD, Desk, with_users
from .ledger import OTHER, PROBE_OFF, Ledger, at
from .test_cache_command import cache_files, kept_token
from .test_command import document, refusal
from .typist import Typist


@pytest.fixture(scope="module")
def users(fresh: Laboratory) -> Laboratory:
    """A server with a user."""
    return with_users(fresh)


@pytest.fixture
def desk(users: Laboratory, clean_environment: pathlib.Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The user's place."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(clean_environment / "config"))
    return Desk.of_alice(users, clean_environment, run)


def test_login_and_get(desk: Desk) -> None:
    """One password at the terminal, which does not show it; then ``get`` works, in any process, and asks nobody."""
    before = desk.get()
    assert "nobody is logged in; run: vault-credential-process login --profile webapp" in refusal(before, 3)
    told = desk.logged_in()

    place = f"logged in to {desk.laboratory.server.address} at auth/userpass"
    start = f"{place} as userpass-alice, policies default, webapp; the token lives"
    assert told.startswith(f"{start} until 20")
    assert told.endswith("Z\n")
    with Typist(sys.executable, "-m", "vault_credential_process", "get", "--profile=webapp") as typist:
        document(typist.ends())
        assert typist.shown == ""


def test_password_is_shown_nowhere(desk: Desk, tmp_path: pathlib.Path) -> None:
    """At its most talkative neither terminal, streams nor log hold the password or the token, nor does a file."""
    log = tmp_path / "log"
    with desk.login("-v", f"--log-file={log}") as typist:
        typist.answers(ASKED, PASSWORD)
        done = typist.ends()
        told = done.stdout + done.stderr + typist.shown + log.read_text()

    assert done.returncode == 0
    assert "logged in at auth/userpass/login/alice" in log.read_text()
    assert [secret for secret in (PASSWORD, kept_token()) if secret in told] == []
    assert [path for path in desk.home.rglob("*") if path.is_file() and PASSWORD in path.read_text()] == []


def test_password_that_the_server_repeats(desk: Desk, scripted: ScriptedServer, tmp_path: pathlib.Path) -> None:
    """A server that repeats the password in a refusal, as a list, or in a page makes it known to nobody."""
    path = "auth/userpass/login/alice"
    said = reply(400, {"errors": [f"wrong: {PASSWORD}", f"[{PASSWORD.upper()}]"]})
    page = reply(502, f"<html>{PASSWORD}</html>".encode(), {"Content-Type": "text/html"})
    desk.profile(vault_addr=scripted.address)
    for answer in (said, page, reply(200, {"auth": {"client_token": f"{PASSWORD} x"}})):
        scripted.on("POST", path, answer)
        log = tmp_path / "log"
        with desk.login("-v", f"--log-file={log}", "--max-retries=0") as typist:
            typist.answers(ASKED, PASSWORD)
            done = typist.ends()
            assert done.returncode in {3, 5}
            assert PASSWORD not in (done.stdout + done.stderr + typist.shown + log.read_text()).lower()
            assert "Traceback" not in done.stderr


def test_wrong_password(desk: Desk) -> None:
    """A wrong password is one line, with the code of authentication; whoever was logged in still is."""
    desk.logged_in()
    token = kept_token()
    with desk.login() as typist:
        typist.answers(ASKED, "wrong")
        said = refusal(typist.ends(), 3)

    assert "login refused: invalid username or password; check vault_username (from vault_username in [profile" in said
    assert kept_token() == token
    document(desk.get())


def test_interrupted(desk: Desk) -> None:
    """Ctrl-C at the question ends the command as a shell expects, nothing is kept, and the next login works."""
    with desk.login() as typist:
        typist.sees(ASKED)
        typist.presses(termios.VINTR)
        done = typist.ends()
        assert (done.returncode, done.stdout) == (130, "")
        assert done.stderr == "vault-credential-process: interrupted\n"
        assert typist.echoes

    assert cache_files("entry-*") == []
    desk.logged_in()


def test_nobody_at_the_terminal(desk: Desk) -> None:
    """Without a terminal nobody is asked: one line, at once."""
    done = subprocess.run(
        [sys.executable, "-m", "vault_credential_process", "login", "--profile=webapp"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
        timeout=60,
    )

    assert "no terminal to ask on; run the command in one, or name a file" in refusal(done, 2)


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_nowhere_to_keep_the_token(desk: Desk, scripted: ScriptedServer, cache: str) -> None:
    """Where nothing is kept between calls the login is refused before anybody is asked anything."""
    desk.profile(vault_addr=scripted.address, vault_aws_cache=cache)
    with desk.login() as typist:
        said = refusal(typist.ends(), 2)

        assert f"vault_aws_cache: {cache} keeps nothing for the next call" in said
        assert typist.shown == ""
    assert scripted.requests == []


def test_login_without_a_role(desk: Desk) -> None:
    """Logging in needs no role, and one login serves every role of the same user at the same server."""
    desk.profile(vault_aws_role=None)
    desk.logged_in()
    logins = desk.laboratory.server.call("GET", "sys/internal/counters/tokens")["data"]["counters"]
    desk.profile()

    document(desk.get())
    document(desk.get("--role-session-name=ana"))
    assert desk.laboratory.server.call("GET", "sys/internal/counters/tokens")["data"]["counters"] == logins


def test_login_without_a_profile(desk: Desk) -> None:
    """Flags say it all."""
    flags = [f"--vault-addr={desk.laboratory.server.address}", "--auth=userpass", "--username=alice"]
    with desk.login(*flags, profile=None, environ={"AWS_CONFIG_FILE": "/no/such/file"}) as typist:
        typist.answers(ASKED, PASSWORD)
        assert typist.ends().returncode == 0

    document(desk.get())


def test_login_of_a_machine(desk: Desk) -> None:
    """A method that needs nobody logs in, too, and asks nobody."""
    app = desk.laboratory.app_role("machine", policies=("webapp",))
    machine = {"vault_role_id": app["role_id"], "vault_secret_id_file": app["secret_id_file"]}
    desk.profile(vault_auth_method="approle", vault_username=None, **machine)
    with desk.login() as typist:
        done = typist.ends()
        assert (done.returncode, typist.shown) == (0, "")
        assert " at auth/approle, policies default, webapp; " in done.stdout

    document(desk.get())


def test_no_use_is_counted_before_the_first(desk: Desk) -> None:
    """A token of two uses can be read with, which wants two: ``login`` has used none of them up."""
    app = desk.laboratory.app_role("twice", policies=("webapp",), token_num_uses=2)
    machine = {"vault_role_id": app["role_id"], "vault_secret_id_file": app["secret_id_file"]}
    desk.profile(vault_auth_method="approle", vault_username=None, **machine)
    with desk.login() as typist:
        assert typist.ends().stdout.endswith("Z and serves 2 times\n")
    token = kept_token()
    document(desk.get())

    assert kept_token() == token


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (
            reply(200, {"data": {"display_name": "approle-eve\n\x1b[2Jadmin hvs.CANARY"}}),
            " as approle-eve [2Jadmin ***,",
        ),
        (reply(200, {"data": {"display_name": "approle"}}), ","),
        (reply(200, {"data": {"display_name": ["eve"]}}), ","),
        (reply(403, {"errors": ["permission denied"]}), ","),
    ],
)
def test_name_that_vault_has(desk: Desk, scripted: ScriptedServer, answer: bytes, shown: str) -> None:
    """Whose token it is stands on the one line, whatever the server wrote; where it does not tell, nothing does."""
    auth_of = {"client_token": "hvs.CANARY", "lease_duration": 600, "policies": ["app"]}
    scripted.on("POST", LOGIN, reply(200, {"auth": auth_of}))
    scripted.on("GET", LOOK_UP, answer)
    keys = {"vault_role_id": "role", "vault_secret_id_command": "echo secret", "vault_max_retries": "0"}
    desk.profile(vault_addr=scripted.address, vault_auth_method="approle", vault_username=None, **keys)
    with desk.login() as typist:
        done = typist.ends()

    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert f"logged in to {scripted.address} at auth/approle{shown} policies app; the token lives until" in done.stdout


def test_agent_logs_in_by_itself(desk: Desk, scripted: ScriptedServer) -> None:
    """Where an Agent holds the token there is nobody to log in, which is said before anything is asked."""
    desk.profile(vault_auth_method="agent", vault_addr=scripted.address)
    with desk.login() as typist:
        said = refusal(typist.ends(), 2)

    assert "vault_auth_method: agent: the token is kept elsewhere, so there is nobody to log in here; run get" in said
    assert scripted.requests == []


def test_get_does_not_wait_for_somebody_who_types(desk: Desk) -> None:
    """While a login waits at its question, calls go on with the token that is still alive, without a pause."""
    desk.logged_in()
    with desk.login() as typist:
        typist.sees(ASKED)
        began = time.monotonic()
        document(desk.get("--role-session-name=ana"))
        took = time.monotonic() - began
        typist.types(PASSWORD)
        assert typist.ends().returncode == 0

    assert took < 10


def test_get_waits_for_the_first_login(desk: Desk) -> None:
    """Without a token a call waits for the login that has begun, and goes on with what it brings."""
    with desk.login() as typist:
        typist.sees(ASKED)
        with Typist(sys.executable, "-m", "vault_credential_process", "get", "--profile=webapp") as waiting:
            time.sleep(1)
            assert waiting.process.poll() is None
            typist.types(PASSWORD)
            assert typist.ends().returncode == 0
            document(waiting.ends())


def test_new_login_leaves_what_is_valid(desk: Desk) -> None:
    """After another login the pair that is held is still handed out: it lives without its token."""
    desk.logged_in()
    first = document(desk.get())
    token = kept_token()
    desk.logged_in()

    assert document(desk.get()) == first
    assert kept_token() != token


def test_status_tells_who_is_logged_in(desk: Desk) -> None:
    """``status`` tells of the token without asking the server: that there is none, else where from and how long."""
    assert desk.command("status").stdout.endswith("\nVault token: none is held\n")
    assert json.loads(desk.command("status", "--json").stdout)["token"] is None
    told = desk.logged_in()
    token = json.loads(desk.command("status", "--json").stdout)["token"]

    assert token.keys() == {"path", "type", "expires", "seconds_left"}
    assert (token["path"], token["type"]) == ("auth/userpass", "service")
    assert token["expires"] in told
    assert 8 * 3600 - 120 < token["seconds_left"] <= 8 * 3600
    shown = desk.command("status").stdout
    assert shown.startswith("nothing is held for aws/creds/webapp")
    assert shown.endswith(f"\nVault token: of auth/userpass, lives until {token['expires']}\n")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "nobody is logged in; run: vault-credential-process login --profile webapp"),
        ({"VAULT_PASSWORD": "wrong"}, "login refused: invalid username or password"),
    ],
)
def test_ended_token(desk: Desk, environ: Mapping[str, str], words: str) -> None:
    """A token that was ended at the server is found out by the read, and the line says whom to call."""
    desk.logged_in()
    desk.laboratory.server.call("POST", "auth/token/revoke", {"token": kept_token()})

    assert words in refusal(desk.get(**environ), 3)


class Nobody:
    """A person who is not asked."""

    def ask(self, question: str) -> str:
        """Fail."""
        raise AssertionError(question)

    def tell(self, line: str) -> None:
        """Fail."""
        raise AssertionError(line)

    def browse(self, address: str) -> bool:
        """Fail."""
        raise AssertionError(address)


@pytest.fixture
def bench(scripted: ScriptedServer, exchanges: dict[str, Any]) -> Bench:
    """Return a server without a script."""
    return Bench(scripted, exchanges, Clock())


SEALED = reply(503, {"errors": ["Vault is sealed"]})
REFUSED = reply(400, {"errors": ["invalid role or secret ID"]})


def test_login_ends_the_pause_after_a_failure(bench: Bench) -> None:
    """After a failure the old pair is handed out for a while without asking; a login ends that for every role."""
    bench.on_login()
    bench.server.on("GET", READ, bench.lease(900), SEALED, bench.lease(900))
    bench.server.on("GET", OTHER, bench.lease(900), SEALED, bench.lease(900))
    first = bench.fetcher(**PROBE_OFF)
    second = Fetcher(bench.fetcher(**PROBE_OFF, vault_aws_role="other").config, cache=first.cache, clock=bench.clock)
    for moment in (0, 700, 701):
        at(bench, moment, first)
        at(bench, moment, second)
    asked = [bench.server.asked("GET", path) for path in (READ, OTHER)]
    assert asked == [2, 2]

    first.log_in(Nobody(), Deadline(10))
    for thing in (first, second):
        at(bench, 702, thing)
        kept = thing.peek()
        assert kept is not None
        assert kept.failure is None
    assert [bench.server.asked("GET", path) for path in (READ, OTHER)] == [3, 3]


class Full(Memory):
    """A cache that cannot keep anything now."""

    name: ClassVar[str] = "full"

    def set(self, key: str, value: bytes) -> bool:
        """Keep nothing."""
        return False


def test_token_that_is_not_kept(bench: Bench) -> None:
    """A token that cannot be kept is ended, and the login is a failure: nobody would have anything of it."""
    bench.on_login()
    bench.server.on("POST", REVOKE, reply(204))
    thing = Fetcher(bench.fetcher().config, cache=Full(), clock=bench.clock)

    with pytest.raises(
        ConfigurationError, match="vault_aws_cache: full: the token could not be kept, so nobody is log"
    ):
        thing.log_in(Nobody(), Deadline(10))
    assert bench.asked() == [f"POST {LOGIN}", f"POST {REVOKE}"]


@dataclasses.dataclass
class Somebody(Nobody):
    """A person who answers every question alike."""

    answer: str

    def ask(self, question: str) -> str:
        """Return the answer."""
        return self.answer


@pytest.mark.parametrize(
    ("login", "maximum"), [({"renewable": False}, 36000), ({}, 3600)], ids=["not renewable", "at its maximum"]
)
def test_token_is_used_to_its_end(bench: Bench, login: dict[str, Any], maximum: float) -> None:
    """A token that cannot be renewed any more serves as long as it lives, though every login is refused.

    A refused one is tried again only after three quarters of what is left: four times in the last 16 minutes, for a
    few wrong passwords lock a user.
    """
    ledger = Ledger(bench, login=login, maximum=maximum)
    bench.server.on("GET", READ, bench.lease(60))
    thing = bench.fetcher(**PROBE_OFF)
    at(bench, 0, thing)
    bench.server.on("POST", LOGIN, REFUSED)
    for moment in range(20, 3600, 20):
        at(bench, moment, thing)
    assert 2 <= ledger.asked(LOGIN)[0] <= 1 + 4

    bench.server.on("GET", READ, SEALED)
    with pytest.raises(AuthenticationError, match="login refused before: invalid role"):
        at(bench, 3700, thing)


def test_token_of_a_person_is_used_to_its_end(bench: Bench) -> None:
    """Where a person would have to type the password, nothing but the read is asked until the token ends."""
    path = "auth/userpass/login/alice"
    bench.server.on("POST", path, reply(200, {"auth": {"client_token": "hvs.ALICE", "lease_duration": 3600}}))
    bench.server.on("GET", READ, bench.lease(60))
    keys = {"vault_auth_method": "userpass", "vault_username": "alice", "vault_role_id": "", "vault_secret_id": ""}
    thing = bench.fetcher(environ={}, **keys)
    thing.log_in(Somebody(PASSWORD), Deadline(10))
    for moment in range(0, 3600, 60):
        at(bench, moment, thing)
    assert bench.asked() == [f"POST {path}", *[f"GET {READ}"] * 60]

    with pytest.raises(AuthenticationError, match="nobody is logged in; run: vault-credential-process login"):
        at(bench, 3700, thing)


def test_token_that_lives_serves_while_another_login_goes_on(bench: Bench) -> None:
    """While somebody holds the lock of the login, a token with time to spare serves; one that ends is waited for."""
    bench.on_login(lease_duration=3600, renewable=False)
    bench.server.on("GET", READ, bench.lease(60))
    thing = bench.fetcher(**PROBE_OFF, vault_aws_timeout="0.5")
    at(bench, 0, thing)
    settings = {**PROBE_OFF, "vault_aws_timeout": "0.5", "vault_aws_role": "other"}
    other = Fetcher(bench.fetcher(**settings).config, cache=thing.cache, clock=bench.clock)
    key = Tokens(thing.config, thing.cache, bench.clock, auth.choose(thing.config)).key
    with thing.cache.place.locked(key, Deadline(10)):
        at(bench, 3600 - SPARE - 1, thing)
        with pytest.raises(DeadlineError, match="while waiting for another thread's fetch"):
            at(bench, 3600 - SPARE + 1, other)

    assert bench.server.asked("POST", LOGIN) == 1
