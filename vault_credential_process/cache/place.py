"""Where callers that share a cache meet: the random key of their hashes, their locks, and word of failures.

Nothing secret lies here but the random key, which protects hashes and opens nothing.
"""

from __future__ import annotations

import abc
import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping

from vault_credential_process import fastpath
from vault_credential_process.errors import DeadlineError, VaultCredentialError, failure_of
from vault_credential_process.expiry import Deadline
from vault_credential_process.forks import at_fork
from vault_credential_process.lock import FileLock

logger = logging.getLogger(__name__)


PASSING = 3600.0
"""Seconds after which what serves only those who wait now is swept away; nobody waits longer."""

_WRITING = 60.0
"""Seconds after which a file that is being written was left behind by a writer that died."""


class Place(abc.ABC):
    """A meeting place of all callers of one cache."""

    hash_key: bytes

    def hash(self, *parts: str) -> str:
        """Return 40 hexadecimal digits that stand for the parts and tell nothing of them."""
        return fastpath.keyed_hash(self.hash_key, *(part.encode("utf-8", "surrogatepass") for part in parts))

    @abc.abstractmethod
    def locked(self, key: str, deadline: Deadline, *, wait: bool = True) -> contextlib.AbstractContextManager[bool]:
        """Hold the lock of a key; yield whether it was had.

        Without ``wait`` a lock that is taken yields false at once.

        :raises DeadlineError: when it was waited for in vain.
        """

    @abc.abstractmethod
    def remember_failure(self, key: str, error: VaultCredentialError) -> None:
        """Leave word of a failure for those who wait for the lock now."""

    @abc.abstractmethod
    def failure_since(self, key: str, moment: float) -> VaultCredentialError | None:
        """Return a failure that happened after ``moment`` (monotonic seconds) and is not older than 3 s."""


class ProcessPlace(Place):
    """Threads of one process meet in its memory."""

    def __init__(self) -> None:
        """Make a new random key; nothing of it leaves the process."""
        self.hash_key = os.urandom(32)
        self._failures: dict[str, tuple[float, int, str]] = {}
        self.unlock()
        _in_process.add(self)

    def unlock(self) -> None:
        """Begin with new locks, in a child of ``fork``: threads that held the old ones live on in the parent only."""
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    @contextlib.contextmanager
    def locked(self, key: str, deadline: Deadline, *, wait: bool = True) -> Iterator[bool]:
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        acquired = lock.acquire(timeout=deadline.remaining("another thread's fetch") if wait else 0)
        if wait and not acquired:
            deadline.remaining("another thread's fetch")
        try:
            yield acquired
        finally:
            if acquired:
                lock.release()

    def remember_failure(self, key: str, error: VaultCredentialError) -> None:
        # Its traceback would keep alive what the call held, secrets among it.
        with self._guard:
            self._failures[key] = time.monotonic(), error.exit_code, str(error)

    def failure_since(self, key: str, moment: float) -> VaultCredentialError | None:
        with self._guard:
            failed_at, code, message = self._failures.get(key, (float("-inf"), 0, ""))
        fresh = failed_at >= moment and time.monotonic() - failed_at <= fastpath.FAILURE_MEMORY
        return failure_of(code, message) if fresh else None


_in_process: weakref.WeakSet[ProcessPlace] = weakref.WeakSet()


def _unlock_all() -> None:
    for place in _in_process:
        place.unlock()


at_fork(_unlock_all)


class HostPlace(Place):
    """Processes of one user meet in a private directory."""

    def __init__(self, directory: str) -> None:
        """Read or make the random key of the directory.

        :raises OSError: when that is not possible.
        """
        self.directory = directory
        self.hash_key = fastpath.hash_key(directory)

    @contextlib.contextmanager
    def locked(self, key: str, deadline: Deadline, *, wait: bool = True) -> Iterator[bool]:
        lock = FileLock(self.path("entry", key) + ".lock")
        waiting_for = "another process's fetch"
        try:
            acquired = lock.acquire(deadline.remaining(waiting_for)) if wait else lock.try_acquire()
        except OSError as error:
            # A directory that is full or gone costs the single flight, not the credentials.
            logger.warning("%s: %s; going on without the lock", lock.path, error.strerror)
            acquired = True
        if wait and not acquired:
            deadline.remaining(waiting_for)
            raise DeadlineError(f"gave up after {deadline.seconds:g} s while waiting for {waiting_for}; try again")
        try:
            yield acquired
        finally:
            lock.release()

    def remember_failure(self, key: str, error: VaultCredentialError) -> None:
        fastpath.write_failure(self.path("failed", key), error.exit_code, str(error))

    def failure_since(self, key: str, moment: float) -> VaultCredentialError | None:
        failure = fastpath.read_failure(self.path("failed", key), moment)
        return None if failure is None else failure_of(*failure)

    def path(self, kind: str, key: str) -> str:
        """Return the file of one kind for a key."""
        return os.path.join(self.directory, f"{kind}-{key}")

    def sweep(self, age: float) -> None:
        """Remove what serves only those who wait now, if nobody has written it for ``age`` seconds.

        That are locks that nobody holds, word of failures and limits for a lock that nobody holds, and what a writer
        that died left half done.
        """
        now = time.time()
        for name in fastpath.listed(self.directory):
            path = os.path.join(self.directory, name)
            kind, _, key = name.partition("-")
            with contextlib.suppress(OSError):
                is_passing = is_half_done(name) or name.endswith(".lock") or kind in ("failed", "note")
                least = max(age, _WRITING) if is_half_done(name) else age
                # What is from the future was written before the clock was set back.
                if not is_passing or (least and now - least < os.lstat(path).st_mtime <= now + least):
                    continue
                if is_half_done(name):
                    os.unlink(path)
                elif name.endswith(".lock"):
                    _remove_lock(path)
                elif not any(_is_held(self.path(of, key) + ".lock") for of in ("quick", "entry")):
                    os.unlink(path)


def is_half_done(name: str) -> bool:
    """Tell whether a file of this name is being written, and will get another one."""
    return all(part.isdigit() for part in name.rsplit(".", 2)[1:]) and name.count(".") >= 2


def _remove_lock(path: str) -> None:
    lock = FileLock(path)
    if lock.try_acquire():
        try:
            lock.remove()
        finally:
            lock.release()


def _is_held(path: str) -> bool:
    if not os.path.exists(path):
        return False
    lock = FileLock(path)
    acquired = lock.try_acquire()
    lock.release()
    return not acquired


def per_user_directory(environ: Mapping[str, str]) -> tuple[str | None, str]:
    """Return a private directory for locks where no tmpfs is to be had: no credentials ever lie there."""
    directory, reason = fastpath.runtime_directory(environ)
    if directory is not None:
        return directory, reason
    home = os.path.expanduser("~")
    if sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    elif sys.platform == "win32":
        base = environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    else:
        base = environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    path = os.path.join(base, fastpath.NAME)
    try:
        os.makedirs(base, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        trouble = "" if sys.platform == "win32" else fastpath.not_private(os.lstat(path))
    except OSError as error:
        return None, f"{path}: {error.strerror}"
    if trouble:
        return None, f"{path}: {trouble}"
    return path, f"{path} is the user's cache directory"
