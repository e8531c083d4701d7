"""The clock is set back and forward, between calls and while a pair is kept: what is stated of its end stays true.

``clock`` is by how much the wall clock of a call is off, ``passed`` what the clock that nobody sets has gone on.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import pathlib
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from vault_credential_process.cache.entry import CLOCK_SLACK, STEP, Entry, TokenEntry
from vault_credential_process.cache.memory import Memory
from vault_credential_process.cache.place import PASSING
from vault_credential_process.cache.runtime import STALE, Runtime
from vault_credential_process.expiry import parse_timestamp
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.keeper import Keeper
from vault_credential_process.models import AWSCredentials, VaultToken
from vault_credential_process.testing.scripted import Request, ScriptedServer, replay

from ..bench import NOW, READ, Bench, Clock
from .aftermath import LOGIN
from .conftest import Run, Stage, files

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the runtime cache is Linux's")
SPANS = pytest.mark.parametrize("span", [3600, 86400, 31_536_000], ids=["an hour", "a day", "a year"])
LIFE = 900


def left(run: Run, clock: float) -> float:
    """Return the seconds that a document states to be left, to a caller whose clock is off."""
    return parse_timestamp(run.document["Expiration"]) - (time.time() + clock)


@linux
@SPANS
def test_forward_and_back_again(stage: Stage, span: int) -> None:
    """A clock that runs ahead costs one pair; set right again, that pair serves with its true end: no third one."""
    runtime = stage.shm / "host"
    first = stage.run(runtime)
    ahead = stage.run(runtime, clock=span)
    right = stage.run(runtime)
    again = stage.run(runtime)

    assert {first.key, ahead.key, right.key} <= stage.witness.keys
    assert right.key == ahead.key
    assert again.out == right.out
    assert (LIFE - 60 < left(ahead, span) <= LIFE) is (LIFE - 60 < left(right, 0) <= LIFE) is True
    assert stage.witness.granted(stage.read_path) == 3  # the zygote's own among them


@linux
@SPANS
def test_set_back(stage: Stage, span: int) -> None:
    """Set back right after a pair was kept, it is handed out with an end by the clock as it is now: no other login."""
    runtime = stage.shm / "host"
    first = stage.run(runtime)
    behind = stage.run(runtime, clock=-span)

    assert behind.key == first.key
    assert LIFE - 60 < left(behind, -span) <= LIFE
    assert (stage.witness.granted(LOGIN), stage.witness.granted(stage.read_path)) == (2, 2)


@linux
@pytest.mark.parametrize("quick", [True, False], ids=["quick answer", "entry"])
def test_pair_that_ended_before_the_clock_went_back(stage: Stage, quick: bool) -> None:
    """The clock shows the moment of the read once more, but the pair has ended since: another is read."""
    runtime = stage.shm / "host"
    first = stage.run(runtime)
    assert stage.run(runtime).out == first.out, "by the wall clock alone the pair is good"
    if not quick:
        for name, path in files(runtime).items():
            if name.startswith("quick-"):
                path.unlink()
    run = stage.run(runtime, passed=LIFE + 1)

    assert left(run, 0) > LIFE - 60
    assert stage.witness.granted(stage.read_path) == 3
    assert stage.witness.granted(LOGIN) == 2, "the token lives an hour"


@linux
def test_part_of_a_life_that_the_clock_hides(stage: Stage) -> None:
    """After 500 s, of which the clock shows 200, the pair is handed out with the 400 s that it has."""
    runtime = stage.shm / "host"
    first = stage.run(runtime)
    run = stage.run(runtime, passed=500, clock=200)

    assert run.key == first.key
    assert 340 < left(run, 200) <= 401
    assert stage.witness.granted(stage.read_path) == 2


@linux
def test_few_seconds_cost_nothing(stage: Stage) -> None:
    """A clock that was set back by less than 5 s leaves the quick answer what it was."""
    runtime = stage.shm / "host"
    first = stage.run(runtime)

    assert stage.run(runtime, clock=-3).out == first.out
    assert stage.run(runtime, clock=-60).out != first.out, "by more it does not"


@dataclasses.dataclass
class Steady(Clock):
    """A clock that can be set, beside one that only goes on."""

    since_start: float = 1000.0

    def origin(self) -> float:
        """Return what the clock would have shown at the start."""
        return self.now - self.since_start

    def passes(self, seconds: float, *, shown: float | None = None) -> None:
        """Let time pass, of which the clock shows as much as it is told."""
        self.since_start += seconds
        self.now += seconds if shown is None else shown


def kept_at(bench: Bench, clock: Steady) -> Fetcher:
    """Return a fetcher with a memory of its own, by a clock."""
    return Fetcher(bench.fetcher().config, cache=Memory(), clock=clock)


def test_last_good_pair_ends_when_it_ends(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """Vault is away and the clock was set back: a pair that has ended is not the last good answer."""
    clock = Steady()
    bench = Bench(scripted, exchanges, clock)
    bench.on_login(lease_duration=36_000)
    scripted.on("GET", "aws/creds/webapp", bench.lease(3600))
    fetcher = kept_at(bench, clock)
    pair = fetcher.fetch()
    clock.passes(3590, shown=100)
    scripted.on("GET", "aws/creds/webapp", b"")
    last = fetcher.fetch()

    assert (last.access_key, round(last.seconds_left(clock.now))) == (pair.access_key, 10)
    clock.passes(40)
    with pytest.raises(Exception, match="aws/creds/webapp"):
        fetcher.fetch()


def test_token_that_nears_its_end_unseen(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """A token whose hour has nearly passed while the clock was set back is renewed or replaced, not believed."""
    clock = Steady()
    bench = Bench(scripted, exchanges, clock)
    bench.on_login(lease_duration=3600, renewable=False)
    scripted.on("GET", "aws/creds/webapp", bench.lease(900))
    fetcher = kept_at(bench, clock)
    fetcher.fetch()
    clock.passes(3590, shown=1000)
    fetcher.fetch()

    assert scripted.asked("POST", LOGIN) == 2


def stepping(clock: Clock, step: float, content: bytes) -> Callable[[socket.socket, Request], None]:
    """Answer once the clock was set."""

    def answer(connection: socket.socket, _: Request) -> None:
        clock.now += step
        connection.sendall(content)

    return answer


@pytest.mark.parametrize(("step", "seconds"), [(-86400, 900), (-0.5, 900), (0, 900), (300, 600)])
def test_set_while_an_answer_is_under_way(
    scripted: ScriptedServer, exchanges: dict[str, Any], step: float, seconds: float
) -> None:
    """The end is by the clock that is there with the answer, now and from the cache; set forward, it comes early."""
    clock = Steady()
    bench = Bench(scripted, exchanges, clock)
    bench.on_login(lease_duration=36_000)
    scripted.on("GET", READ, stepping(clock, step, bench.lease(LIFE)))
    fetcher = kept_at(bench, clock)
    first = fetcher.fetch()
    left = first.seconds_left(clock.now)
    clock.passes(100)
    again = fetcher.fetch()

    assert (left, first.life) == (seconds, LIFE)
    assert (again, scripted.asked("GET", READ)) == (first, 1)


@pytest.mark.parametrize("while_asking", [LOGIN, READ])
def test_end_of_a_token_moves_with_the_clock(
    scripted: ScriptedServer, exchanges: dict[str, Any], while_asking: str
) -> None:
    """An IAM user of a month whose token lives for 900 s has those, whenever the clock is set back."""
    clock = Steady()
    bench = Bench(scripted, exchanges, clock)
    login = copy.deepcopy(exchanges["approle_login"])
    login["response"]["body"]["auth"]["lease_duration"] = LIFE
    answers = {LOGIN: replay(login), READ: bench.lease(30 * 86400, "AKIAIOSFODNN7EXAMPLE", "creds_iam_user")}
    for method, path in (("POST", LOGIN), ("GET", READ)):
        step = -3600 if path == while_asking else 0
        scripted.on(method, path, stepping(clock, step, answers[path]))
    config = bench.fetcher(vault_aws_probe="off").config

    assert Fetcher(config, cache=Memory(), clock=clock).fetch().seconds_left(clock.now) == LIFE


def test_no_pair_is_held_for_longer_than_it_lives(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """A clock that does not tell that it was set back is believed no more life than the answer gave."""
    bench = Bench(scripted, exchanges, Clock())
    bench.on_login(lease_duration=36_000)
    scripted.on("GET", READ, stepping(bench.clock, -3600, bench.lease(LIFE)))
    keeper = Keeper(bench.fetcher(vault_aws_background="false"))
    keeper.frozen()
    left = keeper.seconds_left()

    assert keeper.held().seconds_left(bench.clock.now) == LIFE + 3600, "by its own clock it lives on"
    assert left is not None
    assert LIFE - 60 < left <= LIFE


PAIR = AWSCredentials("AKIA", "s", None, issued=NOW, expiry=NOW + LIFE, credential_type="iam_user")


def test_all_times_of_an_entry_move_with_the_clock() -> None:
    """The pair that is served while a new one is not known, and the time of a failure, are by the same clock."""
    old = dataclasses.replace(PAIR, access_key="AKIAOLD", issued=NOW - 100, expiry=NOW + 60)
    clock = Steady()
    kept = Entry(PAIR, proven=False, previous=old, failure="sealed", failed_at=NOW).dump(clock.origin())
    clock.now -= 3600
    entry = Entry.load(kept, clock.now, clock.origin())

    assert entry is not None
    assert entry.previous is not None
    assert entry.credentials.seconds_left(clock.now) == LIFE
    assert (entry.previous.seconds_left(clock.now), entry.previous.life) == (60, 160)
    assert entry.failed_at == clock.now


@pytest.mark.parametrize("step", [-0.95, -0.0011, 0.0], ids=["a second", "a millisecond", "none"])
def test_small_steps_do_not_add_up(step: float) -> None:
    """An entry that is written anew between many steps ends when it ends; without a step it stays what it is."""
    clock = Steady(since_start=1e6 / 3)
    pair, life = Entry(PAIR), TokenEntry(VaultToken("hvs.x", expiry=NOW + LIFE), LIFE)
    for _ in range(1000):
        kept, held = pair.dump(clock.origin()), life.dump(clock.origin())
        clock.passes(1 / 7, shown=1 / 7 + step)
        loaded, other = Entry.load(kept, clock.now, clock.origin()), TokenEntry.load(held, clock.now, clock.origin())
        assert loaded is not None
        assert other is not None
        pair, life = loaded, other
    assert other.token.expiry is not None
    moved = [pair.credentials.expiry - PAIR.expiry, other.token.expiry - PAIR.expiry]

    assert moved == ([pytest.approx(1000 * step, abs=0.01)] * 2 if step else [0, 0])


STEPS = st.lists(st.tuples(st.floats(0, 5000), st.floats(-1e8, 1e8)), min_size=1, max_size=5)


@hypothesis.given(steps=STEPS, life=st.floats(1, 1e6), store=st.booleans())
def test_no_sequence_of_steps_lengthens_a_life(steps: list[tuple[float, float]], life: float, store: bool) -> None:
    """However time passes and the clock is set, nothing kept states more life than it has; set back only, the truth."""
    clock = Steady()
    pair = AWSCredentials("AKIA", "s", None, issued=NOW, expiry=NOW + life, credential_type="iam_user")
    token = VaultToken("hvs.x", expiry=NOW + life)
    began = clock.since_start
    kept, held = Entry(pair).dump(clock.origin()), TokenEntry(token, life).dump(clock.origin())
    for passed, step in steps:
        clock.passes(passed, shown=passed + step)
        truly = life - (clock.since_start - began)
        entry = Entry.load(kept, clock.now, clock.origin())
        other = TokenEntry.load(held, clock.now, clock.origin())

        assert entry is not None
        assert other is not None
        for stated in (entry.credentials.seconds_left(clock.now), other.token.seconds_left(clock.now)):
            assert stated <= truly + STEP * len(steps) + 0.01
            if all(s <= 0 for _, s in steps):
                assert stated >= truly - STEP * len(steps) - 0.01
        if store:
            kept, held = entry.dump(clock.origin()), other.dump(clock.origin())


def test_without_the_other_clock_only_the_future_tells() -> None:
    """Where an entry or a caller knows no such clock, one from the future is a miss, as it always was."""
    clock = Steady()
    pair = AWSCredentials("AKIA", "s", None, issued=NOW, expiry=NOW + 900, credential_type="sts")

    for kept, origin in ((Entry(pair).dump(), clock.origin()), (Entry(pair).dump(clock.origin()), None)):
        assert Entry.load(kept, NOW - CLOCK_SLACK - 1, origin) is None
        assert Entry.load(kept, NOW - CLOCK_SLACK + 1, origin) == Entry(pair)


@linux
def test_files_from_the_future_are_swept(shm: pathlib.Path) -> None:
    """What was written while the clock ran ahead goes with the next store, unless it is held or has not ended."""
    backend = Runtime.open({"XDG_RUNTIME_DIR": str(shm)})
    now = time.time()
    alive = AWSCredentials("AKIA", "s", None, issued=now, expiry=now + 900, credential_type="sts")
    over = dataclasses.replace(alive, issued=now - 900, expiry=now - 1)
    backend.set("a" * 40, Entry(alive).dump())
    backend.set("b" * 40, Entry(over).dump())
    names = {f"entry-{'a' * 40}", f"entry-{'b' * 40}", "quick-x", "quick-x.lock", "failed-x", "entry-c.7.7"}
    for name in names:
        path = pathlib.Path(backend.directory, name)
        path.touch(mode=0o600)
        os.utime(path, (now + 2 * STALE, now + 2 * STALE))
    backend.set("d" * 40, b"new")

    assert names & files(shm).keys() == {f"entry-{'a' * 40}"}
    assert STALE > PASSING > CLOCK_SLACK
