"""A person at a real pseudo-terminal, for tests of what asks: waits for a question, types, and sees what is shown."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Mapping

_ON_TERMINAL = "import os, sys; os.open(sys.argv[1], os.O_RDWR); os.execv(sys.argv[2], sys.argv[2:])"
"""The first terminal that the leader of a session opens is the one that ``/dev/tty`` names."""

PATIENCE = 30.0


class Typist:
    """Runs a program whose terminal is this one; its stdout and stderr are pipes. Use it as a context manager."""

    def __init__(self, *command: str, environ: Mapping[str, str] | None = None, piped: bytes | None = None) -> None:
        """Start the program; ``piped`` is what it finds on a stdin that is no terminal."""
        self.terminal, theirs = pty.openpty()
        self.shown = ""
        """All that the terminal has shown so far."""
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", _ON_TERMINAL, os.ttyname(theirs), *command],
            env={**os.environ, **(environ or {})},
            stdin=theirs if piped is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        if piped is not None:
            assert self.process.stdin is not None
            self.process.stdin.write(piped)
            self.process.stdin.close()
            self.process.stdin = None
        # While it is held open here too, what was shown last can be read after the end.
        self._theirs = theirs

    def __enter__(self) -> Typist:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate(timeout=PATIENCE)
        os.close(self._theirs)
        os.close(self.terminal)

    def sees(self, words: str) -> None:
        """Wait until the terminal has shown these words since they were last waited for."""
        start = len(self.shown)
        limit = time.monotonic() + PATIENCE
        while words not in self.shown[start:]:
            assert time.monotonic() < limit, f"{words!r} was not shown: {self.shown!r}"
            assert self._look(0.1) or self.process.poll() is None, f"it ended: {self.shown!r} {self.process.stderr}"

    def _look(self, seconds: float) -> bool:
        if not select.select([self.terminal], [], [], seconds)[0]:
            return False
        self.shown += os.read(self.terminal, 65536).decode()
        return True

    def types(self, text: str, end: str = "\n") -> None:
        """Type a line."""
        os.write(self.terminal, (text + end).encode())

    def answers(self, question: str, text: str) -> None:
        """Wait for a question, and type the answer."""
        self.sees(question)
        self.types(text)

    def presses(self, key: int) -> None:
        """Type a control character of the terminal, such as ``termios.VINTR``."""
        os.write(self.terminal, termios.tcgetattr(self.terminal)[6][key])

    def kills(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self.terminal)[3] & termios.ECHO)

    def ends(self) -> subprocess.CompletedProcess[str]:
        """Wait for the end; return code, stdout and stderr."""
        out, err = self.process.communicate(timeout=PATIENCE)
        while self._look(0):
            pass
        return subprocess.CompletedProcess(self.process.args, self.process.returncode, out.decode(), err.decode())


class Reader(Typist):
    """Somebody who reads everything, and nothing twice: what is shown together may be waited for one by one."""

    _read = 0

    def sees(self, words: str) -> None:
        """Wait until the terminal has shown these words behind those that were waited for before."""
        limit = time.monotonic() + PATIENCE
        while words not in self.shown[self._read :]:
            assert time.monotonic() < limit, f"{words!r} was not shown: {self.shown[self._read :]!r}"
            assert self._look(0.1) or self.process.poll() is None, f"it ended: {self.shown!r}"
        self._read = self.shown.index(words, self._read) + len(words)
