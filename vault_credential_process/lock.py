"""A lock between processes that the kernel frees when its holder dies.

Loaded on the fast path, so it imports next to nothing. The lock is advisory (``flock``; on Windows a locked byte)
and belongs to one open file: threads of a process exclude each other as processes do, and a child of ``fork`` that
takes a lock of its own is a stranger.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SHORTEST_NAP = 0.005
_LONGEST_NAP = 0.05


class FileLock:
    """The exclusive lock of one file. The file stays behind, empty, unless :meth:`remove` takes it away."""

    __slots__ = ("_descriptor", "_owner", "path")

    def __init__(self, path: str) -> None:
        """Name the file; nothing is opened yet."""
        self.path = path
        self._descriptor = -1
        self._owner = 0

    def try_acquire(self) -> bool:
        """Take the lock if it is free, without waiting.

        :raises OSError: when the file cannot be opened, for which the caller has a way without a lock.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self.path, flags, 0o600)
        try:
            if _lock(descriptor) and self._is_still_there(descriptor):
                self._descriptor, self._owner = descriptor, os.getpid()
                descriptor = -1
                return True
            return False
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def acquire(self, seconds: float, done: Callable[[], bool] | None = None) -> bool:
        """Wait for the lock, but no longer than ``seconds``; ``done`` ends the wait as soon as it is true.

        It polls: a waiter with something to look at meanwhile needs no lock once it has found it, and a signal
        handler, the other way to bound ``flock``, belongs to the program.
        """
        end = time.monotonic() + seconds
        nap = _SHORTEST_NAP
        while True:
            if self.try_acquire():
                return True
            if (done is not None and done()) or time.monotonic() >= end:
                return False
            time.sleep(nap)
            nap = min(nap * 1.5, _LONGEST_NAP)

    def release(self) -> None:
        """Free the lock; nothing happens where it is not held.

        Closing alone would leave it with a child that was forked meanwhile and has the same open file. Such a child
        frees nothing of its parent's.
        """
        if self._descriptor >= 0:
            if self._owner == os.getpid():
                _unlock(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        """Take the file away while its lock is held; whoever waits for it notices and begins again."""
        if self._descriptor >= 0:
            os.unlink(self.path)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor >= 0

    def _is_still_there(self, descriptor: int) -> bool:
        """Tell whether the locked file is the one that the path names: another may have removed it."""
        try:
            named, opened = os.stat(self.path), os.fstat(descriptor)
        except OSError:
            return False
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined, unused-ignore]

else:

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
