"""A sign of life on a terminal while a person waits, and nothing of it anywhere else."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from vault_credential_process.cli.paint import Paint, can_show
from vault_credential_process.cli.signals import undone

AFTER = 0.3
"""Seconds until it is shown: who waits no longer has not noticed that there was a wait."""

PERIOD = 0.1
"""Seconds between two pictures."""

COUNTED = 3.0
"""Seconds after which the seconds are told, too."""

_ROUND = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN = "|/-\\"


class Spinner:
    """Shows a small animation and a text while its block runs; a context manager.

    ``with Spinner(sys.stderr, "waiting for Vault"): ...`` shows nothing for the first :data:`AFTER` seconds, nothing
    where the stream is no terminal, where we are in its background or log lines go there, and one line that stays where
    the terminal shall have no colours (``NO_COLOR``, ``TERM=dumb``). Whatever ends or stops the block clears the line
    first. Once it is over there is no thread of it.
    """

    def __init__(self, stream: TextIO | None, text: str, *, after: float = AFTER) -> None:
        """Show nothing yet; ``after`` are the seconds until it does."""
        self.text = text
        self._after = after
        self._descriptor = _terminal(stream)
        self._moves = Paint(stream).on
        is_round = sys.platform != "win32" and can_show(stream, _ROUND)
        self._pictures = _ROUND if is_round else _PLAIN
        self._columns = 0
        self._told = False
        self._began = 0.0
        self._lock = threading.RLock()
        self._held = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._signals = contextlib.ExitStack()

    def __enter__(self) -> Spinner:
        self._began = time.monotonic()
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def end(self) -> None:
        """Clear the line and draw no more; from whatever thread."""
        self._over.set()
        self._clear()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Clear the line while something else is written, by whatever thread."""
        with self._lock:
            self._clear()
            yield

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Rest while a question is asked, signals included: they are the question's to handle."""
        running = self._thread is not None
        self._stop()
        try:
            yield
        finally:
            if running:
                self._began = time.monotonic()
                self._start()

    def _start(self) -> None:
        if self._descriptor is None or self._thread is not None:
            return
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._over,), name="spinner", daemon=True)
        if self._moves:
            self._signals.enter_context(undone(self._release, self._hold))
        try:
            self._thread.start()
        except RuntimeError:  # the system has no thread for an ornament
            self._thread = None
            self._stop()

    def _stop(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._over.set()
            thread.join(2 * PERIOD + 1)
            self._clear()
        self._signals.close()
        self._release()

    def _hold(self) -> None:
        """Clear the line and keep it clear: between this and the end that a signal brings nothing is drawn."""
        self._clear()
        self._held = self._held or self._lock.acquire(timeout=1)
        self._clear()

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._lock.release()

    def _run(self, over: threading.Event) -> None:
        if over.wait(self._after):
            return
        picture = 0
        while not over.is_set():
            with self._lock:
                if not over.is_set():
                    self._show(self._pictures[picture % len(self._pictures)])
            picture += 1
            if not self._moves or over.wait(PERIOD):
                return

    def _show(self, picture: str) -> None:
        if self._descriptor is None or not _in_foreground(self._descriptor):
            return
        if not self._moves:
            if not self._told:
                self._write(f"{self.text} ...\n")
            self._told = True
            return
        waited = time.monotonic() - self._began
        line = f"{picture} {self.text}" + (f", {waited:.0f} s" if waited >= COUNTED else "")
        # A line that fills its row would go on in the next one.
        line = line[: max(_width(self._descriptor) - 1, 0)]
        padding = " " * max(self._columns - len(line), 0)
        self._write(f"\r{line}{padding}")
        self._columns = len(line)

    def _clear(self) -> None:
        # Not for ever: a terminal that is held (Ctrl-S) holds whoever writes to it.
        if self._lock.acquire(timeout=1):
            try:
                if self._columns:
                    self._write("\r" + " " * self._columns + "\r")
                    self._columns = 0
            finally:
                self._lock.release()

    def _write(self, text: str) -> None:
        """Write past the stream's buffer, which a signal may have come in the middle of."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.write(self._descriptor, text.encode("utf-8", "replace"))


def _terminal(stream: TextIO | None) -> int | None:
    """Return the descriptor of a stream that is a terminal, unless the log is written to it; else ``None``."""
    loggers = logging.getLogger("vault_credential_process").handlers
    if any(isinstance(handler, logging.StreamHandler) and handler.stream is stream for handler in loggers):
        return None
    try:
        return stream.fileno() if stream is not None and stream.isatty() else None
    except (OSError, ValueError, AttributeError):
        return None


def _in_foreground(descriptor: int) -> bool:
    """Tell whether what we write belongs on the terminal now: not from the background of its shell."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except (OSError, AttributeError):  # not the terminal that controls us; Windows
        return True


def _width(descriptor: int) -> int:
    try:
        return os.get_terminal_size(descriptor).columns or 80
    except OSError:
        return 80
