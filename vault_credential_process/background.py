"""The one thread of a process that does ahead of time what nobody should wait for.

It is a daemon, starts when there is first something to do, ends when there is nothing any more or the program ends,
and is not inherited by a child of ``fork``, which gets one of its own when it needs it.
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from typing import Protocol

from vault_credential_process.fastpath import uptime
from vault_credential_process.forks import at_fork

logger = logging.getLogger(__name__)

NAP = 15.0
"""Seconds after which the thread looks about it in any case: after a sleep of the machine, or when all has gone."""


class Chore(Protocol):
    """Something to be done again and again."""

    def tend(self) -> float:
        """Do it; return the :func:`uptime` at which it is to be done again. It never raises."""


class Background:
    """Does chores at their time. It holds none of them alive."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._due: dict[weakref.ref[Chore], float] = {}
        self._thread: threading.Thread | None = None
        self._ending = False

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def schedule(self, chore: Chore, at: float) -> None:
        """Do a chore at an :func:`uptime`, instead of any other time that was set for it before."""
        with self._changed:
            if self._ending:
                return
            self._due[weakref.ref(chore)] = at
            if not self.running:
                thread = threading.Thread(target=self._run, name="vault-credential-process", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the system has no more threads; the next call tries again
                    logger.warning("no thread to refresh ahead of time: %s", error)
                    return
                self._thread = thread
            self._changed.notify()

    def end(self) -> None:
        """Let the thread end with the program; what it is at is not waited for."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    def forked(self) -> None:
        """Begin anew in a child of ``fork``: the thread stayed behind, and its locks may be held for ever."""
        self._begin()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._due = {ref: at for ref, at in self._due.items() if ref() is not None}
                if not self._due or self._ending:
                    self._thread = None
                    return
                ref, at = min(self._due.items(), key=lambda item: item[1])
                wait = at - uptime()
                if wait > 0:
                    self._changed.wait(min(wait, NAP))
                    continue
                del self._due[ref]
                chore = ref()
            if chore is not None:
                try:
                    again = chore.tend()
                except BaseException as error:  # a time-out of gevent, or a hook that wants to end the program
                    logger.warning("a chore ended in %s; it is tried again", type(error).__name__)
                    again = uptime() + NAP
                with self._changed:
                    # Somebody may have set a time meanwhile, who knew more.
                    self._due.setdefault(ref, again)
            del chore


background = Background()
"""The one of this process."""

atexit.register(background.end)
at_fork(background.forked)
