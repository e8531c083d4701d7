"""Nothing left to write to: full disks, read-only directories, no inodes, no descriptors. Calls answer all the same."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from vault_credential_process.cache.place import is_half_done
from vault_credential_process.fastpath import NAME

from .conftest import Run, Stage, files

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the runtime cache is Linux's")

MOUNT, UMOUNT = shutil.which("mount") or "mount", shutil.which("umount") or "umount"
KEPT = "nothing is kept"


def whole(runtime: pathlib.Path) -> None:
    """Assert that nothing in a runtime directory is half a file."""
    assert not [name for name in files(runtime) if is_half_done(name)]


def told(log: pathlib.Path) -> list[str]:
    """Return the warnings of a log file."""
    return [line for line in log.read_text().splitlines() if " WARNING " in line]


def logging_to(stage: Stage, runtime: pathlib.Path, log: pathlib.Path, **more: object) -> Run:
    """Run ``get`` with a log file."""
    return stage.run(runtime, "get", "--profile", "webapp", "--log-file", str(log), **more)


@contextlib.contextmanager
def mounted(path: pathlib.Path, options: str) -> Iterator[pathlib.Path]:
    """Mount a small tmpfs, or skip where that is not allowed."""
    path.mkdir()
    command = [MOUNT, "-t", "tmpfs", "-o", f"{options},mode=0700", "tmpfs", str(path)]
    if os.getuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount")
    try:
        yield path
    finally:
        subprocess.run([UMOUNT, "-l", str(path)], check=True)


def fill(path: pathlib.Path) -> None:
    """Take what room there is."""
    with contextlib.suppress(OSError), (path / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)


def take_inodes(path: pathlib.Path) -> None:
    """Take what inodes there are."""
    with contextlib.suppress(OSError):
        for number in range(1000):
            (path / f"filler-{number}").touch()


def test_files_that_may_not_grow(stage: Stage, tmp_path: pathlib.Path) -> None:
    """Where every write fails, that of the log too, the call answers in silence and leaves no half file."""
    runtime, log = stage.shm / "limited", tmp_path / "log"
    limited = stage.run(runtime, limits={"FSIZE": 0})
    assert limited.key in stage.witness.keys
    whole(runtime)
    assert {name.partition("-")[0] for name in files(runtime)} <= {"quick", "entry"}
    assert all(path.stat().st_size == 0 for path in files(runtime).values())

    # 40 bytes let the random key be made, but no entry.
    again = logging_to(stage, runtime, log, limits={"FSIZE": 40})
    assert again.key in stage.witness.keys
    whole(runtime)
    assert stage.run(runtime).key in stage.witness.keys


@pytest.mark.parametrize("known", [True, False], ids=["used before", "new"])
@pytest.mark.parametrize("hurdle", ["room", "inodes", "read-only"])
def test_runtime_directory_without(stage: Stage, tmp_path: pathlib.Path, hurdle: str, known: bool) -> None:
    """On a tmpfs without room or inodes, or read-only: an answer, a warning in the log, no scraps, and none later."""
    log = tmp_path / "log"
    options = "size=256k,nr_inodes=24" if hurdle == "inodes" else "size=64k"
    with mounted(tmp_path / "tmpfs", options) as runtime:
        (runtime / NAME).mkdir(mode=0o700)
        if known:
            stage.run(runtime, environ={"VAULT_AWS_ROLE_SESSION_NAME": "before"})
        if hurdle == "read-only":
            subprocess.run([MOUNT, "-o", "remount,ro", str(runtime)], check=True)
        elif hurdle == "room":
            fill(runtime)
        else:
            take_inodes(runtime)
        with pytest.raises(OSError, match=r"No space|Read-only"):
            (runtime / "probe").write_bytes(b"x" * 8192)
        before = files(runtime).keys()
        runs = [logging_to(stage, runtime, log) for _ in range(2)]

        assert {run.key for run in runs} <= stage.witness.keys
        whole(runtime)
        assert not [n for n in files(runtime).keys() - before if not n.endswith(".lock")]
        if known:
            lines = told(log)
            assert any(KEPT in line for line in lines)
            said = [line.split(" ", 1)[1] for line in lines]
            assert len(said) == len(set(said)), "a call says once what it cannot keep"
        if hurdle == "read-only":
            return
        for path in runtime.glob("filler*"):
            path.unlink()
        (runtime / "probe").unlink(missing_ok=True)
        key = stage.run(runtime).key
        asked = len(stage.witness.seen)
        assert stage.run(runtime).key == key
        assert len(stage.witness.seen) == asked, "once there is room again the call is kept"


def test_log_on_a_full_disk(stage: Stage, tmp_path: pathlib.Path) -> None:
    """A log that cannot be written costs the log: the call answers, in silence."""
    with mounted(tmp_path / "disk", "size=64k") as disk:
        (disk / "log").touch(mode=0o600)
        fill(disk)
        with pytest.raises(OSError, match="No space"):
            (disk / "probe").write_bytes(b"x" * 8192)
        run = logging_to(stage, stage.shm / "kept", disk / "log")

    assert run.key in stage.witness.keys


def test_few_descriptors(stage: Stage) -> None:
    """However few files a call may open, it answers or says why not in one line; it leaves nothing half done."""
    answered, ended = 0, []
    for number in range(3, 13):
        runtime = stage.shm / f"few-{number}"
        run = stage.run(runtime, limits={"NOFILE": number})
        whole(runtime)
        if run.code == 0:
            answered += 1
            assert run.key in stage.witness.keys
        else:
            ended.append((run.code, run.err))
            assert (run.out, run.err.count("\n"), "Traceback" in run.err) == ("", 1, False), run.err
        assert stage.run(runtime).key in stage.witness.keys

    assert answered >= 3
    assert ended, "the obstacle must be real"
