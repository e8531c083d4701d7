"""A picture on a terminal that is drawn anew in its place until somebody presses Ctrl-C."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TextIO

from vault_credential_process.cli.signals import undone

GLANCE = 0.2
"""Seconds after which another size of the terminal is seen."""

_BEGIN = "\x1b[?1049h\x1b[?25l"
"""The alternate screen, so that what was there comes back, and no cursor."""
_END = "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


def watch(stream: TextIO, picture: Callable[[os.terminal_size], list[str]], seconds: float) -> None:
    """Show what ``picture`` returns for the size of the terminal, every so many seconds and where that changes.

    Ctrl-C is how it ends; it returns then. Whatever ends or stops it brings the screen and the cursor back first.
    """
    with undone(lambda: _write(stream, _BEGIN), lambda: _write(stream, _END)):
        try:
            while True:
                size = os.get_terminal_size(stream.fileno())
                # The last row stays free: a line break there would move the whole picture.
                lines = picture(size)[: max(size.lines - 1, 1)]
                text = "".join(f"{line}{_REST_OF_LINE}\n" for line in lines)
                _write(stream, f"{_HOME}{text}{_REST}")
                again = time.monotonic() + seconds
                while (left := again - time.monotonic()) > 0 and os.get_terminal_size(stream.fileno()) == size:
                    time.sleep(min(left, GLANCE))
        except KeyboardInterrupt:
            return


def _write(stream: TextIO, text: str) -> None:
    """Write past the stream's buffer: a signal may come in the middle of it, whose handler writes too."""
    left = text.encode(stream.encoding or "ascii", "replace")
    while left:
        left = left[os.write(stream.fileno(), left) :]
