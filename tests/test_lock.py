"""The lock between processes: it excludes, it ends in time, and it never outlives its holder."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from vault_credential_process.cache.memory import Memory
from vault_credential_process.expiry import Deadline
from vault_credential_process.lock import FileLock

HOLD = """
import sys
from vault_credential_process.lock import FileLock
lock = FileLock(sys.argv[1])
print(lock.try_acquire(), flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
sys.stdin.readline()
"""
ADD = """
import os, sys
from vault_credential_process.lock import FileLock
path, counter, removes = sys.argv[1:]
for _ in range(50):
    lock = FileLock(path)
    while not lock.try_acquire():
        os.sched_yield()
    number = int(open(counter).read())
    os.sched_yield()
    open(counter, "w").write(str(number + 1))
    if removes == "remove":
        lock.remove()
    lock.release()
"""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    """The file of a lock, which is not there yet."""
    return str(tmp_path / "a.lock")


@pytest.fixture
def holder(path: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is told a line, and lives until it is told another."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def tell(process: subprocess.Popen[str]) -> str:
    """Tell a holder to go on and return its answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline()


def test_processes_exclude_each_other(path: str, holder: subprocess.Popen[str]) -> None:
    """What another process holds is not to be had, and is to be had once it was released."""
    lock = FileLock(path)
    before = lock.try_acquire(), lock.held

    assert tell(holder) == "released\n"
    assert (before, lock.try_acquire(), lock.held) == ((False, False), True, True)


@pytest.mark.parametrize("removes", ["leave", "remove"])
def test_no_two_are_ever_inside(path: str, tmp_path: pathlib.Path, removes: str) -> None:
    """Four processes that each add 1 to a number 50 times under the lock make 200, also if each removes its file."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", ADD, path, str(counter), removes]) for _ in range(4)]

    assert [process.wait(60) for process in processes] == [0] * 4
    assert counter.read_text() == "200"


def test_threads_exclude_each_other(path: str) -> None:
    """Two locks of one process on one file exclude each other, as those of two processes do."""
    first, second = FileLock(path), FileLock(path)

    assert (first.try_acquire(), second.try_acquire()) == (True, False)
    first.release()
    assert second.try_acquire()


def test_kernel_frees_the_lock_of_a_killed_holder(path: str, holder: subprocess.Popen[str]) -> None:
    """SIGKILL on the holder ends the wait of the next at once."""
    threading.Timer(0.3, holder.send_signal, [signal.SIGKILL]).start()
    began = time.monotonic()

    assert FileLock(path).acquire(30)
    assert 0.2 < time.monotonic() - began < 5


def test_waiting_ends_in_time(path: str, holder: subprocess.Popen[str]) -> None:
    """A lock that stays taken is waited for as long as was said, and not longer."""
    began = time.monotonic()

    assert not FileLock(path).acquire(0.4)
    assert 0.4 <= time.monotonic() - began < 2
    assert holder.poll() is None


def test_done_ends_the_wait(path: str, holder: subprocess.Popen[str]) -> None:
    """A waiter that has found what it waited for goes without the lock."""
    looks: list[float] = []
    lock = FileLock(path)

    assert not lock.acquire(30, lambda: looks.append(time.monotonic()) or len(looks) == 4)  # type: ignore[func-returns-value]
    assert (len(looks), lock.held) == (4, False)
    assert looks[-1] - looks[0] < 2
    assert holder.poll() is None


def test_removed_while_others_wait(path: str) -> None:
    """Who waits for a file that its holder removed gets the lock of the new one, and nobody gets it twice."""
    first, second, third = FileLock(path), FileLock(path), FileLock(path)
    assert first.try_acquire()
    got: list[bool] = []
    waiter = threading.Thread(target=lambda: got.append(second.acquire(30)))
    waiter.start()
    time.sleep(0.05)
    first.remove()
    waiter.join(10)

    assert (got, third.try_acquire(), os.path.exists(path)) == ([True], False, True)
    first.release()
    assert not third.try_acquire()


def test_only_the_holder_removes(path: str) -> None:
    """``remove`` of a lock that is not held leaves the file alone."""
    first, second = FileLock(path), FileLock(path)
    assert first.try_acquire()
    second.remove()

    assert os.path.exists(path)


def test_directory_that_is_gone(tmp_path: pathlib.Path) -> None:
    """Without its directory there is no lock: an error at once, for which callers have a way."""
    with pytest.raises(FileNotFoundError):
        FileLock(str(tmp_path / "gone" / "a.lock")).acquire(30)


def test_link_in_its_place(path: str, tmp_path: pathlib.Path) -> None:
    """A symbolic link in place of the file is not followed."""
    os.symlink(tmp_path / "target", path)

    with pytest.raises(OSError, match="symbolic links"):
        FileLock(path).try_acquire()
    assert not (tmp_path / "target").exists()


def test_release_can_be_repeated(path: str) -> None:
    """Releasing twice, or what was never held, does nothing; the file stays, empty and private."""
    lock = FileLock(path)
    lock.release()
    assert lock.try_acquire()
    lock.release()
    lock.release()

    assert FileLock(path).try_acquire()
    assert (os.stat(path).st_size, os.stat(path).st_mode & 0o777) == (0, 0o600)


@forks
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
class TestFork:
    """A process that forks while it holds a lock, as a web server that starts its workers does."""

    def in_child(self, check: object) -> int:
        """Run a check in a child that stays alive for it alone, and return its exit code."""
        pid = os.fork()
        if pid == 0:
            code = 2
            try:
                code = 0 if callable(check) and check() else 1
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_child_is_a_stranger(self, path: str) -> None:
        """A child's own lock of the same file waits for its parent's."""
        lock = FileLock(path)
        assert lock.try_acquire()

        assert self.in_child(lambda: not FileLock(path).try_acquire()) == 0

    def test_child_that_lives_on_keeps_nothing(self, path: str) -> None:
        """What the parent releases is free, though a child with the same open file lives on."""
        lock = FileLock(path)
        assert lock.try_acquire()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        os.close(reading)
        try:
            lock.release()
            assert FileLock(path).try_acquire()
        finally:
            os.close(writing)
            os.waitpid(pid, 0)

    def test_child_frees_nothing_of_its_parent(self, path: str) -> None:
        """A child that releases what it inherited leaves the parent's lock as it is."""
        lock = FileLock(path)
        assert lock.try_acquire()

        assert self.in_child(lambda: lock.release() or not lock.held) == 0
        assert (lock.held, FileLock(path).try_acquire()) == (True, False)

    def test_fetch_in_another_thread_does_not_block_the_child(self) -> None:
        """A child forked while the lock of a process's own cache is held gets it: that thread is not in the child."""
        place = Memory().place
        with place.locked("key", Deadline(10)):

            def child() -> bool:
                with place.locked("key", Deadline(1)) as mine:
                    return mine

            assert self.in_child(child) == 0
            with place.locked("key", Deadline(1), wait=False) as mine:
                assert not mine
