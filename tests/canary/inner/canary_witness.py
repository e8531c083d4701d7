"""What a process does that others may see: all that it logs, each file that it writes, each program that it starts.

Runs in the process itself, by an audit hook and a handler of the root logger; needs nothing but the standard library.
A hook cannot be taken away again, so there is one, which looks at whoever watches now.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_STARTS = {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn"}
_LONGEST = 4 * 1024 * 1024


class Handler(logging.Handler):
    """Hands over whole records, at every level: message, arguments and what hangs on an exception."""

    def __init__(self, tell: Any) -> None:
        super().__init__(0)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of a record."""
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        self._tell("log", record.name, f"{record.getMessage()}\n{record.args!r}\n{trace}")


class Witness:
    """Collects ``(kind, where, what)``; with ``file`` each goes there at once, for a process that may end abruptly."""

    def __init__(self, file: int | None = None) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self.handler = Handler(self.tell)
        self._file = file
        self._busy = threading.local()

    def tell(self, kind: str, where: str, what: str) -> None:
        """Note something."""
        if self._file is None:
            self.seen.append((kind, where, what))
        else:
            os.write(self._file, (json.dumps([kind, where, what]) + "\n").encode())

    def start(self) -> None:
        """Begin to watch."""
        global _watching, _hooked  # noqa: PLW0603 - a hook cannot be taken away, so that there is one
        root = logging.getLogger()
        self._level = root.level
        root.addHandler(self.handler)
        root.setLevel(logging.DEBUG)
        if not _hooked:
            _hooked = True
            sys.addaudithook(_hook)
        _watching = self

    def stop(self) -> None:
        """End it."""
        global _watching  # noqa: PLW0603 - as above
        _watching = None
        root = logging.getLogger()
        root.removeHandler(self.handler)
        root.setLevel(self._level)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Look at an event; what is read here makes none itself."""
        if getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            self._audit(event, arguments)
        finally:
            self._busy.now = False

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, int) and isinstance(flags, int) and flags & _WRITING:
                self._file_seen("opened", path, read=False)
        elif event in ("os.rename", "os.link"):
            self._file_seen(event, arguments[0], read=True)
            self._file_seen(event, arguments[1], read=False)
        elif event in ("os.remove", "os.truncate"):
            self._file_seen(event, arguments[0], read=True)
        elif event in ("os.mkdir", "os.symlink"):
            self._file_seen(event, arguments[-3] if event == "os.symlink" else arguments[0], read=False)
        elif event == "os.putenv":
            self.tell("variable", os.fsdecode(arguments[0]), os.fsdecode(arguments[1]))
        elif event in _STARTS:
            words = arguments[1] if event != "os.system" else arguments[0]
            line = words if isinstance(words, (str, bytes)) else "\0".join(os.fsdecode(word) for word in words)
            self.tell("command line", event, os.fsdecode(line))
            given = arguments[-1] if event in ("subprocess.Popen", "os.exec", "os.posix_spawn") else None
            told = {os.fsdecode(name): os.fsdecode(value) for name, value in dict(given or {}).items()}
            added = {name: value for name, value in told.items() if os.environ.get(name) != value}
            self.tell("environment", os.fsdecode(line), json.dumps(added))

    def _file_seen(self, what: str, path: Any, *, read: bool) -> None:
        if isinstance(path, int):
            return
        name = os.path.abspath(os.fsdecode(path))
        if "__pycache__" in name:
            return
        content = ""
        if read:
            try:
                with open(name, "rb") as file:
                    content = file.read(_LONGEST).decode("latin-1")
            except OSError:
                pass
        self.tell("file", f"{name} ({what})", content)


_watching: Witness | None = None
_hooked = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching is not None:
        _watching.audit(event, arguments)
