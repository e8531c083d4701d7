"""The pair of a process: read without a wait, replaced ahead of time, truthful while Vault is away."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vault_credential_process import background as background_module
from vault_credential_process import cache, health, keeper
from vault_credential_process.errors import AuthenticationError, SealedError, UnreachableError, VaultCredentialError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.health import Health
from vault_credential_process.keeper import Keeper
from vault_credential_process.provider import VaultCredentials
from vault_credential_process.registry import keeper_of, keepers
from vault_credential_process.testing.scripted import Request, ScriptedServer, replay, reply

from .bench import LOGIN, READ, REVOKE, Bench, Clock

RENEW = "auth/token/renew-self"


@pytest.fixture
def bench(scripted: ScriptedServer, exchanges: dict[str, Any]) -> Bench:
    """A server that lets everybody in, and a clock that stands."""
    made = Bench(scripted, exchanges, Clock())
    made.on_login()
    return made


@pytest.fixture
def live(bench: Bench) -> Bench:
    """The same with the time of day."""
    return Bench(bench.server, bench.exchanges, time.time)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_hooks() -> Iterator[None]:
    """Forget the hooks that a test leaves behind."""
    yield
    health._hooks.clear()


def leases(bench: Bench, life: float, *, takes: float = 0.0) -> list[str]:
    """Answer each read with a lease of its own, after a while; return the keys that were given, as they are."""
    given: list[str] = []

    def answer(connection: socket.socket, _: Request) -> None:
        time.sleep(takes)
        given.append(f"ASIA{len(given)}")
        connection.sendall(bench.lease(life, given[-1]))

    bench.server.on("GET", READ, answer)
    return given


def wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait until something is so."""
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.005)
    assert condition()


def at_once(count: int, act: Callable[[], Any]) -> list[Any]:
    """Let many threads do the same at the same time; return what came of it."""
    start, found = threading.Barrier(count), []

    def run() -> None:
        start.wait(20)
        found.append(act())

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_first_use_by_many_threads_is_one_fetch(live: Bench) -> None:
    """Thirty-two threads that begin together, each with a session of its own, make one login and one read."""
    given = leases(live, 900, takes=0.2)

    keys = at_once(32, lambda: VaultCredentials(live.fetcher(keep=True)).access_key)

    assert keys == ["ASIA0"] * 32
    assert (given, live.server.asked("POST", LOGIN)) == (["ASIA0"], 1)


@pytest.fixture(autouse=True)
def one_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all fetchers of a test keep what they get in the same memory, as the sessions of a program do."""
    shared = cache.of_process()
    original = Fetcher.__init__

    def init(self: Fetcher, config: Any, **options: Any) -> None:
        original(self, config, **{**options, "cache": shared})

    monkeypatch.setattr(Fetcher, "__init__", init)


def test_what_wants_the_same_shares_a_keeper(live: Bench) -> None:
    """Two sessions of one profile share a pair, another role has its own, and nothing is left of who is gone."""
    leases(live, 900)
    one, two = VaultCredentials(live.fetcher()), VaultCredentials(live.fetcher())
    live.server.on("GET", "aws/creds/other", live.lease(900, "ASIAOTHER"))
    other = VaultCredentials(live.fetcher(vault_aws_role="other"))

    assert one.keeper is two.keeper
    assert other.access_key == "ASIAOTHER"
    assert {one.keeper, other.keeper} <= set(keepers())

    gone = repr(other.keeper)
    del other
    gc.collect()
    assert gone not in map(repr, keepers())


def test_nobody_waits_across_ten_lease_ends(live: Bench) -> None:
    """With a Vault that takes its time, threads that go on signing wait at the first use and never again."""
    given = leases(live, 1.2, takes=0.15)
    kept = VaultCredentials(live.fetcher()).keeper
    first, done = kept.health(), threading.Event()

    def sign() -> bool:
        while not done.is_set():
            assert kept.held().seconds_left(time.time()) > 0
            time.sleep(0.02)
        return True

    threads = [threading.Thread(target=sign, daemon=True) for _ in range(16)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(given) >= 11, 30)
    done.set()
    for thread in threads:
        thread.join(10)
    health = kept.health()

    assert (first.waits, health.waits, health.lease_ends, health.failures) == (1, 1, 0, 0)
    assert health.fetches == health.refreshes == len(given)
    assert live.server.asked("POST", LOGIN) == 1


def test_vault_away_costs_no_request_until_the_pair_ends(
    live: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the pair lives each call succeeds; then each fails with cause and tries, until Vault is back."""
    monkeypatch.setattr(keeper, "PAUSE_AFTER_THE_END", (0.05, 0.2))
    sealed = replay(live.exchanges["sealed"])
    live.server.on("GET", READ, live.lease(2, "ASIAFIRST"), sealed)
    kept = VaultCredentials(live.fetcher()).keeper
    began, failed, back, outcomes = time.time(), [], 0.0, []
    while time.time() < began + 4:
        moment = time.time()
        try:
            outcomes.append((moment, kept.held().access_key))
        except SealedError as error:
            failed.append((moment, str(error)))
        if not back and moment > began + 2.8:
            live.server.on("GET", READ, live.lease(900, "ASIASECOND"))
            back = time.time()
        time.sleep(0.01)
    end = began + 2

    assert {key for moment, key in outcomes if moment < end - 0.1} == {"ASIAFIRST"}
    assert min(moment for moment, _ in failed) > end - 0.1
    assert min(moment for moment, key in outcomes if key == "ASIASECOND") < back + 1
    assert max(moment for moment, _ in failed) < back + 1
    assert "Vault is sealed" in failed[-1][1]
    assert " (tried " in failed[-1][1]
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and r.name == keeper.__name__]
    assert len(told) == 2
    assert "Vault is sealed; unseal it" in told[0]
    assert "going on with credentials that live for" in told[0]
    assert told[1].startswith("Vault gives credentials again, after ")
    assert kept.health().lease_ends == 1
    assert kept.health().error is None


def refusals_of(live: Bench, seconds: float) -> tuple[Keeper, list[float]]:
    """Let a pair end while logins are refused for some seconds; return its keeper and the times of the logins."""
    logins: list[float] = []

    def refuse(connection: socket.socket, _: Request) -> None:
        logins.append(time.monotonic())
        connection.sendall(reply(403, {"errors": ["permission denied"]}))

    live.on_login(lease_duration=0.5, renewable=False)
    leases(live, 0.5)
    kept = VaultCredentials(live.fetcher()).keeper
    live.server.on("POST", LOGIN, refuse)
    wait_for(lambda: (kept.seconds_left() or 0) < 0 and kept._refusals)
    del logins[:]
    time.sleep(seconds)
    return kept, logins


def test_thread_backs_off_from_refusals(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Vault refuses the thread asks ever more seldom, up to the longest pause; a success ends that."""
    monkeypatch.setattr(keeper, "PAUSE_AFTER_THE_END", (0.01, 0.02))
    monkeypatch.setattr(keeper, "PAUSE_AFTER_REFUSAL", (0.1, 0.8))
    kept, logins = refusals_of(live, 3.5)
    pauses = [after - before for before, after in itertools.pairwise(logins)]

    assert 3 <= len(logins) <= 7
    assert min(pauses) > 0.15
    assert max(pauses) < 1.6
    live.on_login()
    leases(live, 900)
    wait_for(lambda: kept.health().error is None)
    assert kept._refusals == 0


def test_caller_tries_anew_while_the_thread_backs_off(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers get the remembered refusal at once, and one of them asks from time to time: what was mended is found."""
    monkeypatch.setattr(keeper, "PAUSE_AFTER_REFUSAL", (60.0, 300.0))
    monkeypatch.setattr(keeper, "PAUSE_OF_CALLERS", 1.0)
    kept, logins = refusals_of(live, 0)
    limit = time.monotonic() + 2.5
    failed = 0
    while time.monotonic() < limit:
        with pytest.raises(AuthenticationError, match="permission denied"):
            kept.frozen()
        failed += 1
        time.sleep(0.01)

    assert 1 <= len(logins) <= 3
    assert failed > 50
    live.on_login()
    leases(live, 900)
    limit = time.monotonic() + 3
    key = None
    while key is None and time.monotonic() < limit:
        with contextlib.suppress(AuthenticationError):
            key = kept.frozen().access_key
        time.sleep(0.01)
    assert key == "ASIA0"


def test_health_tells_of_the_trouble(live: Bench) -> None:
    """While refreshes fail and the pair lives, health shows both, and asks nobody."""
    live.server.on("GET", READ, live.lease(3, "ASIAFIRST"), replay(live.exchanges["sealed"]))
    kept = VaultCredentials(live.fetcher()).keeper
    wait_for(lambda: kept.health().error)
    asked, health = len(live.server.requests), kept.health()

    assert health.authenticated
    assert 0 < (health.seconds_left or 0) < 3
    assert "Vault is sealed" in (health.error or "")
    assert len(live.server.requests) == asked


def test_before_the_first_use_nobody_is_authenticated(live: Bench) -> None:
    """Health of what was never used is empty."""
    assert keeper_of(live.fetcher()).health() == Health(False, None, None, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("hours", [1, 24, -24])
def test_jump_of_the_clock(bench: Bench, monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    """After a sleep, or when the clock was set, a pair that ended meanwhile is replaced before the next signature."""
    up = Clock()
    monkeypatch.setattr(keeper, "uptime", up)
    given = leases(bench, 900)
    kept = keeper_of(bench.fetcher(vault_aws_background="false"))
    assert kept.frozen().access_key == "ASIA0"

    bench.clock.now += hours * 3600  # the wall's clock
    up.now += 3600  # time that has really passed
    assert kept.frozen().access_key == "ASIA1"
    assert given == ["ASIA0", "ASIA1"]


def test_clock_that_was_set_forward_wakes_the_thread(bench: Bench) -> None:
    """The moment of a refresh is noticed by the next call, although the thread sleeps by another clock."""
    given = leases(bench, 900)
    kept = VaultCredentials(bench.fetcher()).keeper
    bench.clock.now += 880

    assert kept.frozen().access_key == "ASIA0"
    wait_for(lambda: given == ["ASIA0", "ASIA1"])
    wait_for(lambda: kept.frozen().access_key == "ASIA1")
    assert kept.health().waits == 1


def test_hooks_and_counters(live: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A hook hears of each fetch, good and bad; one that fails is logged and does no harm."""
    heard: list[tuple[str, bool, str | None]] = []

    @health.on_refresh
    def note(kept: Keeper, health: Health) -> None:
        heard.append((repr(kept), health.authenticated, health.error))

    @health.on_refresh
    def broken(kept: Keeper, health: Health) -> None:
        raise ValueError("a hook of somebody else")

    live.server.on("GET", READ, live.lease(1, "ASIA0"), replay(live.exchanges["sealed"]), live.lease(900, "ASIA1"))
    kept = VaultCredentials(live.fetcher()).keeper
    wait_for(lambda: len(heard) == 3)
    for _ in range(100):
        kept.frozen()

    assert [error is None for _, _, error in heard] == [True, False, True]
    assert {name for name, _, _ in heard} == {f"<Keeper of aws/creds/webapp at {live.server.address}>"}
    assert (kept.health().fetches, kept.health().failures) == (3, 1)
    assert kept.health().hits >= 101
    assert "a hook of on_refresh failed" in caplog.text


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, BaseException])
def test_hook_that_wants_to_end_the_program_in_the_background(live: Bench, error: type[BaseException]) -> None:
    """In our thread it ends nothing: the other hooks hear of the fetch, and the pair is replaced in its time."""
    heard: list[str] = []

    @health.on_refresh
    def broken(_: Keeper, __: Health) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise error

    @health.on_refresh
    def note(kept: Keeper, _: Health) -> None:
        heard.append(threading.current_thread().name)

    live.server.on("GET", READ, *(live.lease(life, f"ASIA{life}") for life in (1, 2, 900)))
    kept = VaultCredentials(live.fetcher()).keeper
    wait_for(lambda: len(heard) == 3)

    assert heard[1:] == ["vault-credential-process"] * 2
    assert kept.frozen().access_key == "ASIA900"


@pytest.mark.parametrize(("error", "goes_on"), [(KeyboardInterrupt, True), (SystemExit, True), (BaseException, False)])
def test_hook_that_is_interrupted_in_the_programs_own_thread(
    bench: Bench, error: type[BaseException], goes_on: bool
) -> None:
    """A Ctrl-C in a hook reaches the program; what was fetched is held, and nobody waits for a lock."""
    bench.server.on("GET", READ, bench.lease(900, "ASIA0"))
    kept = keeper_of(bench.fetcher())

    @health.on_refresh
    def interrupted(_: Keeper, __: Health) -> None:
        raise error

    with pytest.raises(error) if goes_on else contextlib.nullcontext():
        kept.frozen()
    got: list[str] = []
    other = threading.Thread(target=lambda: got.append(kept.frozen().access_key), daemon=True)
    other.start()
    other.join(20)

    assert got == ["ASIA0"]
    assert (bench.server.asked("GET", READ), kept.health().refreshes) == (1, 1)


def test_hook_that_asks_for_the_same_pair_waits_for_nobody(bench: Bench) -> None:
    """A hook may sign with the credentials that it hears of: it gets what the caller gets."""
    bench.server.on("GET", READ, replay(bench.exchanges["sealed"]))
    kept = keeper_of(bench.fetcher())
    got: list[str] = []

    @health.on_refresh
    def use(one: Keeper, _: Health) -> None:
        with pytest.raises(SealedError) as caught:
            one.frozen()
        got.append(str(caught.value))

    with pytest.raises(SealedError) as caught:
        kept.frozen()

    assert got == [str(caught.value)]
    assert bench.server.asked("GET", READ) == 1


def test_thread_comes_when_it_is_needed_and_goes(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no thread before the first pair, one for all pairs, and none once nobody holds one."""
    monkeypatch.setattr(background_module, "NAP", 0.02)
    background = background_module.Background()
    monkeypatch.setattr(keeper, "background", background)
    before = set(threading.enumerate())
    leases(live, 900)
    kept = keeper_of(live.fetcher())
    assert not background.running

    live.server.on("GET", "aws/creds/other", live.lease(900, "ASIAOTHER"))
    other = VaultCredentials(live.fetcher(vault_aws_role="other"))
    kept.frozen()
    (ours,) = (t for t in set(threading.enumerate()) - before if t.name == "vault-credential-process")
    assert ours.daemon

    del kept, other
    gc.collect()
    wait_for(lambda: not background.running)
    ours.join(5)
    assert not ours.is_alive()


def test_without_the_thread(live: Bench) -> None:
    """``vault_aws_background = false`` starts none; calls refresh instead, one at a time."""
    given = leases(live, 1)
    kept = VaultCredentials(live.fetcher(vault_aws_background="false")).keeper
    time.sleep(0.6)

    assert given == ["ASIA0"]
    assert kept.frozen().access_key == "ASIA1"


def test_token_is_renewed_at_two_thirds_of_its_life(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is kept alive although its credentials need no refresh: a Secret ID of one use cannot log in again."""
    live.on_login(lease_duration=1, renewable=True)
    live.server.on("GET", READ, live.lease(3600, "ASIA0"))
    renewed = live.exchanges["approle_login"]["response"]["body"]["auth"] | {"lease_duration": 1, "renewable": True}
    live.server.on("POST", RENEW, reply(200, {"auth": renewed}))
    began = time.monotonic()
    kept = VaultCredentials(live.fetcher()).keeper
    wait_for(lambda: live.server.asked("POST", RENEW) >= 3)

    assert 1 < time.monotonic() - began < 5
    assert live.server.asked("POST", LOGIN) == 1
    assert kept.health().fetches == 1


def test_defect_does_not_end_the_thread(
    live: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unforeseen error in one refresh is logged, and tried again."""
    monkeypatch.setattr(keeper, "PAUSE", 0.05)
    leases(live, 1)
    kept = VaultCredentials(live.fetcher()).keeper
    original, failed = Fetcher.fetched, []

    def fetched(self: Fetcher, **options: Any) -> Any:
        if not failed:
            failed.append(True)
            raise RuntimeError("a defect")
        return original(self, **options)

    monkeypatch.setattr(Fetcher, "fetched", fetched)
    wait_for(lambda: kept.health().refreshes >= 2)

    assert "a refresh ended in an unforeseen error" in caplog.text


def test_waiting_for_a_hung_fetch_ends(live: Bench) -> None:
    """Who waits for another thread's first fetch does not wait longer than the deadline of a call."""
    release = threading.Event()

    def hang(connection: socket.socket, _: Request) -> None:
        release.wait(20)

    live.server.on("GET", READ, hang)
    kept = keeper_of(live.fetcher(vault_aws_timeout="500ms"))
    began = time.monotonic()

    def use() -> type:
        try:
            kept.frozen()
        except VaultCredentialError as error:
            return type(error)
        return str

    kinds = at_once(4, use)
    release.set()
    assert str not in kinds
    assert time.monotonic() - began < 5


FORKS = """
import os, socket, sys, threading, time
from vault_credential_process.provider import boto3_session
session = boto3_session(vault_addr=sys.argv[1], vault_role_id="role", vault_secret_id="secret", vault_aws_role="webapp")
credentials = session.get_credentials()
children = []
for number in range(int(sys.argv[2])):
    time.sleep(0.01)
    child = os.fork()
    if child == 0:
        deadline = time.monotonic() + 8
        key = credentials.get_frozen_credentials().access_key
        while credentials.get_frozen_credentials().access_key == key and time.monotonic() < deadline:
            time.sleep(0.02)
        os._exit(0 if credentials.get_frozen_credentials().access_key != key else 1)
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children].count(0))
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork on this system")
def test_children_of_fork_go_on(live: Bench) -> None:
    """Of fifty children forked in the middle of refreshes each signs, and each refreshes by itself; none hangs."""
    leases(live, 1.5, takes=0.1)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, live.server.address, "50"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("50\n", "")


def test_program_ends_at_once_with_the_thread_at_work(live: Bench, tmp_path: pathlib.Path) -> None:
    """A program that ends while its thread asks Vault ends without a wait, a message or a trace."""
    code = FORKS.partition("children = []")[0] + "time.sleep(0.7)\nprint(credentials.access_key)\n"
    live.server.on("GET", READ, live.lease(1, "ASIA0"), lambda connection, _: time.sleep(15))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, live.server.address], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.stdout, done.stderr, done.returncode) == ("ASIA0\n", "", 0)
    assert time.monotonic() - began < 8


def test_unreachable_at_the_first_use(live: Bench) -> None:
    """With nothing held there is nothing to go on with: the error comes at once, in its own class."""
    kept = keeper_of(live.fetcher(vault_addr="http://127.0.0.1:1"))

    with pytest.raises(UnreachableError, match="connection refused"):
        kept.frozen()
    assert kept.health().failures == 1


ENDING = """
import os, sys
from vault_credential_process.provider import boto3_session
session = boto3_session(vault_addr=sys.argv[1], vault_role_id="role", vault_secret_id="secret", vault_aws_role="webapp",
                        vault_aws_revoke_on_exit=sys.argv[2], vault_aws_cache=sys.argv[3])
print(session.get_credentials().access_key, flush=True)
if sys.argv[4] == "fork" and os.fork() == 0:
    sys.exit(0)
"""


@pytest.mark.parametrize(
    ("wanted", "place", "forks", "revoked"),
    [
        ("true", "memory", "", 1),
        ("false", "memory", "", 0),
        ("true", "runtime", "", 0),  # other processes of the host may use it
        ("true", "memory", "fork", 0),  # a child has it, too
    ],
)
def test_token_is_given_back_on_a_clean_exit(live: Bench, wanted: str, place: str, forks: str, revoked: int) -> None:
    """Where it is wanted a program ends its token when it ends, but never one that other processes share."""
    leases(live, 900)
    live.server.on("POST", REVOKE, reply(204))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ENDING, live.server.address, wanted, place, forks],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.stdout, done.stderr, done.returncode) == ("ASIA0\n", "", 0)
    assert live.server.asked("POST", REVOKE) == revoked


def test_exit_does_not_wait_for_a_vault_that_is_away(live: Bench) -> None:
    """Giving back takes five seconds at most, and its failure is nobody's."""
    leases(live, 900)
    live.server.on("POST", REVOKE, lambda connection, _: time.sleep(20))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", ENDING, live.server.address, "true", "memory", ""],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.stdout, done.stderr, done.returncode) == ("ASIA0\n", "", 0)
    assert time.monotonic() - began < 10
