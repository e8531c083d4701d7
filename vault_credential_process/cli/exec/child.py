"""The program that ``exec`` runs: forked early, told late, watched to its end, and never left alone.

It is forked before anything is fetched and before there is any thread, in which nobody may fork safely. It waits at a
pipe for its command and environment, and knows no secret until then.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from vault_credential_process.cli.coredump import prctl
from vault_credential_process.errors import ConfigurationError

logger = logging.getLogger(__name__)

HAS_FORK = hasattr(os, "fork")

_PASSED_ON = (
    *("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"),
    *("SIGWINCH", "SIGTSTP", "SIGCONT"),
)
_OF_TERMINALS = ("SIGINT", "SIGQUIT", "SIGTSTP", "SIGWINCH")
"""Those that a terminal sends, to all of its foreground: what runs there has them already."""
_OF_PYTHON = ("SIGPIPE", "SIGXFSZ")
"""Signals that Python ignores for itself; the programs that it starts must not."""

_BY_THE_KERNEL = 0x80
"""``si_code`` of a signal that nobody sent by ``kill``: ``SI_KERNEL`` of ``asm-generic/siginfo.h``."""
_PR_SET_PDEATHSIG = 1
"""``linux/prctl.h``."""
_LOOK = 0.5
"""Seconds between two looks at the child where no signal tells of it: one that comes while another is dealt with may be
taken by another thread."""


class Child:
    """One process, to become a program. A context manager: whoever leaves it has no child any more."""

    def __init__(self) -> None:
        """Fork it, where the system can.

        :raises ConfigurationError: when there may be no more processes.
        """
        self.pid: int | None = None
        self._signals = _Signals()
        if not HAS_FORK:
            return
        orders, self._orders = os.pipe()
        self._word, word = os.pipe()
        us = os.getpid()
        # What comes between the fork and the child's own first steps would be handled there as it is here.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if not pid:
                os.close(self._orders)
                os.close(self._word)
                _become(orders, word, us, mask)
        except OSError as error:
            for descriptor in (orders, self._orders, self._word, word):
                os.close(descriptor)
            raise ConfigurationError(f"no process can be started: {error.strerror}; raise ulimit -u") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.pid = pid
        os.close(orders)
        os.close(word)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._signals.release()
        if not HAS_FORK:
            return
        for descriptor in (self._orders, self._word):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        if self.pid is not None:
            # Without orders it ends; with them it is no concern of whoever cannot wait for it.
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = None

    def hold_keys(self) -> None:
        """Keep what a terminal sends until :meth:`catch_signals`, in this thread and in those that it starts."""
        self._signals.hold()

    def catch_signals(self) -> None:
        """Let signals be the child's from now on. To be called in the main thread, once all other threads run."""
        self._signals.catch()

    def run(self, command: Sequence[str], environ: Mapping[str, str]) -> int:
        """Let it become the program, and wait for its end, however long that takes.

        Return its exit code, or the negative number of the signal that ended it.

        :raises OSError: when the program cannot be started.
        """
        if self.pid is None:
            return run_beside(command, environ)
        try:
            with os.fdopen(self._orders, "wb", closefd=False) as file:
                file.write(json.dumps([list(command), dict(environ)]).encode())
        except BrokenPipeError:
            pass  # it was ended from outside, which its status tells
        os.close(self._orders)
        self._orders = -1
        with os.fdopen(self._word, "rb", closefd=False) as file:
            number = file.read()
        if number:
            raise OSError(int(number), os.strerror(int(number)), command[0])
        return self._outlast(self.pid)

    def _outlast(self, pid: int) -> int:
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if not ended:
                self._signals.pass_on(pid)
            elif os.WIFSTOPPED(status):
                self._signals.stop_with(pid)
            else:
                self.pid = None
                return os.waitstatus_to_exitcode(status)


def execute(command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Become a program, found as a shell finds it, a script without ``#!`` included; as Python does not ignore signals.

    :raises OSError: when that is not possible; ``ENOENT`` where there is no such program.
    """
    for number in _numbers(_OF_PYTHON):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], list(command), dict(environ))  # noqa: S606 - what is wanted
    except OSError as error:
        found = shutil.which(command[0], path=environ.get("PATH"))
        if error.errno != errno.ENOEXEC or found is None:
            raise
        os.execve("/bin/sh", ["sh", found, *command[1:]], dict(environ))  # noqa: S606 - as execvp(3) does


def _numbers(names: Sequence[str]) -> list[signal.Signals]:
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def _become(orders: int, word: int, parent: int, mask: Any) -> NoReturn:
    """Wait, in the child, for what to become; nobody but ``execute`` and the kernel lets it out of here."""
    code = 127
    try:
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _end_with(parent)
        with os.fdopen(orders, "rb") as file:
            told = file.read()
        if told:
            execute(*json.loads(told))
        code = 0
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError):
            os.write(word, str(getattr(error, "errno", None) or errno.EINVAL).encode())
    finally:
        os._exit(code)


def _end_with(parent: int) -> None:
    """Have the kernel end this process as soon as its parent has ended (prctl(2), ``PR_SET_PDEATHSIG``). Linux only.

    By ``SIGKILL``: interactive shells ignore ``SIGTERM``, and servers take ``SIGHUP`` for a wish to read their files.
    """
    if not sys.platform.startswith("linux"):
        return
    prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(0)


class _Signals:
    """Signals to us, which are for the child, while it runs.

    The main thread blocks and fetches them, so that it learns who sent each: a terminal sends Ctrl-C to the child too.
    Those that a terminal can send are blocked by all threads, and by the programs that they start: these have no
    terminal. No other thread blocks the rest, which such programs, a ``vault_*_command`` say, must not inherit; what a
    thread is given of it while the main one is busy is noted by a handler. Where the system does not tell who sent a
    signal (macOS), one that a terminal can send counts as a terminal's while we are in its foreground.
    """

    def __init__(self) -> None:
        self._noted: collections.deque[int] = collections.deque()
        self._handlers: dict[int, Any] = {}
        self._before: Any = None
        self._wake: tuple[int, int] | None = None

    def hold(self) -> None:
        if HAS_FORK and hasattr(signal, "sigtimedwait"):
            ours = [n for n in _numbers(_OF_TERMINALS) if signal.getsignal(n) != signal.SIG_IGN]
            self._before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)

    def catch(self) -> None:
        if not HAS_FORK:
            return
        for number in _numbers(_PASSED_ON):
            # One that is ignored is ignored by the child as well, which inherits that.
            if signal.getsignal(number) != signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, lambda number, _: self._noted.append(number))
        if hasattr(signal, "sigtimedwait"):
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {*self._handlers, signal.SIGCHLD})
            self._before = before if self._before is None else self._before
        else:
            self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
            self._wake = os.pipe()
            for descriptor in self._wake:
                os.set_blocking(descriptor, False)
            signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)

    def release(self) -> None:
        """Let everything be as it was; what was for the child is for nobody any more."""
        if self._before is not None:
            while signal.sigtimedwait({*self._handlers, signal.SIGCHLD}, 0):
                pass
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
            self._before = None
        if self._wake is not None:
            signal.set_wakeup_fd(-1)
            for descriptor in self._wake:
                os.close(descriptor)
            self._wake = None
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def pass_on(self, pid: int) -> None:
        """Wait for a signal, but not long, and send it to the child unless that has it already."""
        for number, is_terminals, sender in self._next():
            # One that the child sends to all of its group, or to its parent, has reached it or is not meant for it.
            if is_terminals or sender == pid:
                logger.debug("%s has reached the program already", signal.Signals(number).name)
            else:
                logger.debug("%s is passed on", signal.Signals(number).name)
                os.kill(pid, number)

    def _next(self) -> Iterator[tuple[int, bool, int]]:
        while self._noted:
            number = self._noted.popleft()
            yield number, number in _numbers(_OF_TERMINALS) and _in_foreground(), 0
        if self._wake is not None:
            select.select([self._wake[0]], [], [], _LOOK)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake[0], 4096)
            return
        info = signal.sigtimedwait({*self._handlers, signal.SIGCHLD}, _LOOK)
        if info is not None and info.si_signo != signal.SIGCHLD:
            is_terminals = info.si_code == _BY_THE_KERNEL and info.si_signo in _numbers(_OF_TERMINALS)
            yield info.si_signo, is_terminals, info.si_pid

    def stop_with(self, pid: int) -> None:
        """Stop as the child has, so that the shell that runs us takes its terminal back; then let both go on.

        Not without a terminal: there is no shell then that would let us go on.
        """
        is_over = hasattr(os, "waitid") and os.waitid(os.P_PID, pid, os.WCONTINUED | os.WNOHANG) is not None
        if is_over or not _has_terminal():
            return
        os.kill(os.getpid(), signal.SIGSTOP)
        # Here again once somebody lets us; a shell lets all of its job go on, which the child may have left.
        if os.getpgid(pid) != os.getpgrp():
            os.kill(pid, signal.SIGCONT)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _in_foreground() -> bool:
    """Tell whether we run in the foreground of a terminal."""
    try:
        descriptor = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(descriptor)


def run_beside(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a program where there is no ``fork``: on Windows, whose console sends Ctrl-C to both; return its exit code.

    :raises OSError: when it cannot be started.
    """
    # CreateProcess looks for programs alone, in our PATH; npm.cmd and their like are found as a shell finds them.
    found = shutil.which(command[0], path=environ.get("PATH")) or command[0]
    process = subprocess.Popen([found, *command[1:]], env=dict(environ))
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue
