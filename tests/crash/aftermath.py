"""What a killed call may leave behind, and what the next ones make of it."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from vault_credential_process.cache.entry import Entry, Keepsake, TokenEntry
from vault_credential_process.cache.place import is_half_done
from vault_credential_process.lock import FileLock

from .conftest import Run, Stage, files
from .witness import LOGIN

_CHANGES = frozenset(
    {"mkdir", "write", "replace", "link", "unlink", "flock", "connect", "send", "sendall", "recv", "recv_into"}
)


def moments(steps: list[str], *, thorough: bool, since: str = "", stores: int | None = None) -> list[tuple[str, int]]:
    """Return before which steps to kill: every one, or those since whose predecessor something has changed.

    Each is a name, and how many of that name went before: one part of an answer more or less moves nothing else.
    ``since`` is the first step that matters where not every one does, and the last is the one after so many stores.
    """
    names = [step.split(" ")[0].rpartition(".")[2] for step in steps]
    is_write = [
        name in _CHANGES or (name == "open" and names[n + 1 : n + 2] == ["write"]) for n, name in enumerate(names)
    ]
    first = next((n for n, step in enumerate(steps) if step == since), 0)
    ends = [n for n, step in enumerate(steps) if step == "posix.replace entry"]
    last = len(steps) if stores is None else ends[stores - 1] + 1
    chosen = (n for n in range(len(steps)) if thorough or n == first or (first < n <= last and is_write[n - 1]))
    return [(steps[n], steps[:n].count(steps[n])) for n in chosen]


@dataclasses.dataclass(frozen=True)
class Left:
    """What lies in a runtime directory, after a look at what must hold whenever anybody dies."""

    half_done: list[str]
    entries: list[Entry]
    tokens: list[TokenEntry]
    keepsakes: list[Keepsake]

    @classmethod
    def of(cls, runtime: pathlib.Path, now: float) -> Left:
        """Look: no lock is held, what has its name is whole, all is the owner's alone."""
        left = cls([], [], [], [])
        for name, path in files(runtime).items():
            assert path.stat().st_mode & 0o777 == 0o600, name
            content = path.read_bytes()
            if is_half_done(name):
                left.half_done.append(name)
            elif name.endswith(".lock"):
                lock = FileLock(str(path))
                assert lock.try_acquire(), name
                lock.release()
                assert content == b""
            elif name == "key":
                assert len(content) == 32
            elif name.startswith("entry-"):
                left.add(content, now)
            elif name.startswith("quick-"):
                assert content.startswith(b"vcp")
                assert content.endswith(b"}\n")
            else:
                assert name.startswith(("note-", "failed-")), name
        return left

    def add(self, content: bytes, now: float) -> None:
        """Add an entry, which must be whole."""
        entry, token, keepsake = (kind.load(content, now) for kind in (Entry, TokenEntry, Keepsake))
        assert entry or token or keepsake or float(content)
        self.entries.extend([entry] if entry else [])
        self.tokens.extend([token] if token else [])
        self.keepsakes.extend([keepsake] if keepsake else [])


@dataclasses.dataclass(frozen=True)
class Death:
    """A call that was killed, what it left, and what Vault had granted it."""

    step: str
    runtime: pathlib.Path
    run: Run
    left: Left
    granted: dict[str, int]


def deaths(
    stage: Stage,
    *argv: str,
    thorough: bool,
    since: str = "",
    stores: int | None = None,
    prepare: Callable[[pathlib.Path], dict[str, Any]] = lambda _: {},
) -> Iterator[Death]:
    """Kill a call at each of its steps, which are counted first, each time in a runtime directory of its own.

    ``since`` and ``stores`` leave out the steps that other tests kill at. ``prepare`` makes a directory ready and
    returns what else is to be ordered.
    """
    counted = stage.shm / "counted"
    whole = stage.run(counted, *argv, **prepare(counted), steps=True)
    assert whole.code == 0, whole.err
    shutil.rmtree(counted)
    killed = 0
    chosen = moments(whole.steps, thorough=thorough, since=since, stores=stores)
    for number, step in enumerate(chosen):
        runtime = stage.shm / f"killed-{number}"
        more = prepare(runtime)
        before = tally(stage)
        run = stage.run(runtime, *argv, **more, steps=True, kill=step)
        # An answer may come in one part or two.
        assert run.code == -signal.SIGKILL or (run.code == 0 and step[0] == "socket.recv_into"), (step, run.err)
        stage.witness.settle()
        killed += run.code != 0
        assert run.err == ""
        assert run.out == "" or run.out.endswith("}\n") or argv
        now = time.time() + float(more.get("clock", 0))
        left = Left.of(runtime, now)
        assert len(left.half_done) <= 1
        granted = {path: count - before.get(path, 0) for path, count in tally(stage).items()}
        yield Death(f"{step[0]}, {step[1]} before", runtime, run, left, granted)
        shutil.rmtree(runtime, ignore_errors=True)
    assert killed >= len(chosen) - 3


def tally(stage: Stage) -> dict[str, int]:
    """Return how often each path was answered with success."""
    paths = [seen.path for seen in stage.witness.seen if seen.status < 300]
    return {path: paths.count(path) for path in set(paths)}


def after(stage: Stage, death: Death, **more: Any) -> tuple[Run, dict[str, int]]:
    """Run the next call, within its deadline, and return it with what Vault granted it."""
    before = tally(stage)
    began = time.monotonic()
    run = stage.run(death.runtime, **more)
    assert time.monotonic() - began < 30
    Left.of(death.runtime, time.time() + float(more.get("clock", 0)))
    return run, {path: count - before.get(path, 0) for path, count in tally(stage).items()}


def logins(granted: dict[str, int]) -> int:
    """Return how many logins were granted."""
    return granted.get(LOGIN, 0)
