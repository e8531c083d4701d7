"""Colour on a terminal, and nothing of it anywhere else."""

from __future__ import annotations

import os
from typing import TextIO


class Paint:
    """Colours text for one stream.

    Text stays as it is where the stream is no terminal, where the terminal has no colours (``TERM=dumb``), or where
    ``NO_COLOR`` is set to anything (https://no-color.org).
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.on = is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def bold(self, text: str) -> str:
        return self._paint("1", text)

    def dim(self, text: str) -> str:
        return self._paint("2", text)

    def red(self, text: str) -> str:
        return self._paint("31", text)

    def green(self, text: str) -> str:
        return self._paint("32", text)

    def yellow(self, text: str) -> str:
        return self._paint("33", text)

    def cyan(self, text: str) -> str:
        return self._paint("36", text)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and text else text


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a person may see what is written to a stream."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def can_show(stream: TextIO | None, text: str) -> bool:
    """Tell whether the encoding of a stream has all characters of a text."""
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True
