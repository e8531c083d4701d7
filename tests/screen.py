"""A terminal as a person sees it: a pseudo-terminal, and as much of a screen as the package's own output needs."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

PATIENCE = 30.0

_PIECE = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|([^\x1b])", re.DOTALL)
_ON_TERMINAL = "import os, sys; os.close(os.open(os.ttyname(2), os.O_RDWR)); os.execv(sys.argv[1], sys.argv[1:])"
"""The first terminal that the leader of a session opens is the one that rules it: Ctrl-C comes from there."""


class Screen:
    """Somebody's terminal. ``stream`` writes to it; use it as a context manager."""

    def __init__(self, *, columns: int = 80, rows: int = 24, encoding: str = "utf-8") -> None:
        """Open it; ``encoding`` is that of ``stream``."""
        self._ours, theirs = pty.openpty()
        self._theirs = theirs
        self.stream: TextIO = io.TextIOWrapper(os.fdopen(os.dup(theirs), "wb", 0), encoding, write_through=True)
        self._bytes = b""
        self.resize(columns, rows)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        os.close(self._theirs)
        os.close(self._ours)

    def resize(self, columns: int, rows: int = 24) -> None:
        """Give it another size."""
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def look(self, seconds: float = 0) -> bool:
        """Take in what was written; tell whether anything was, in so many seconds."""
        found = False
        while select.select([self._ours], [], [], 0 if found else seconds)[0]:
            self._bytes += os.read(self._ours, 65536)
            found = True
        return found

    @property
    def raw(self) -> str:
        """All that was written to it so far."""
        self.look()
        return self._bytes.decode(errors="ignore")

    def wait(self, seen: Callable[[], bool], what: str = "it") -> None:
        """Wait until something is seen."""
        limit = time.monotonic() + PATIENCE
        while not seen():
            assert time.monotonic() < limit, f"{what} was not seen: {self.raw!r}"
            self.look(0.05)

    def sees(self, words: str) -> None:
        """Wait until words stand on the screen."""
        self.wait(lambda: words in "\n".join(self.lines), repr(words))

    def presses(self, key: int) -> None:
        """Type a control character of the terminal, such as ``termios.VINTR``."""
        os.write(self._ours, termios.tcgetattr(self._ours)[6][key])

    @property
    def lines(self) -> list[str]:
        """What stands on it now, without the empty rows at the end."""
        return _shown(self.raw)

    @property
    def has_cursor(self) -> bool:
        """Whether the cursor is shown."""
        raw = self.raw
        return raw.rfind("\x1b[?25l") <= raw.rfind("\x1b[?25h")

    @contextlib.contextmanager
    def running(self, *command: str, environ: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """Run a program whose terminal this is, for all three of its streams."""
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _ON_TERMINAL, *command],
            env={**os.environ, "TERM": "xterm-256color", **(environ or {})},
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE)


def _shown(raw: str) -> list[str]:
    screens: list[tuple[list[list[str]], int, int]] = []
    rows: list[list[str]] = [[]]
    row = column = 0
    for numbers, kind, character in _PIECE.findall(raw):
        if character == "\r":
            column = 0
        elif character == "\n":
            row += 1
            rows += [[] for _ in range(row + 1 - len(rows))]
        elif character:
            line = rows[row]
            line += " " * (column + 1 - len(line))
            line[column] = character
            column += 1
        elif kind == "K":
            del rows[row][column:]
        elif kind == "J":
            del rows[row][column:]
            del rows[row + 1 :]
        elif kind == "H":
            row = column = 0
        elif (numbers, kind) == ("?1049", "h"):
            screens.append((rows, row, column))
            rows, row, column = [[]], 0, 0
        elif (numbers, kind) == ("?1049", "l") and screens:
            rows, row, column = screens.pop()
        else:
            assert kind in "mhl", f"not a sequence that is known here: {numbers}{kind}"
    lines = ["".join(line).rstrip() for line in rows]
    while lines and not lines[-1]:
        lines.pop()
    return lines
