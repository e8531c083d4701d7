"""What is held, as a picture for a terminal: how much life is left, and what becomes of it at the next call."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator
from typing import TextIO

from vault_credential_process.cache.entry import Entry, Kept, TokenEntry
from vault_credential_process.cli.paint import Paint, can_show
from vault_credential_process.errors import one_line
from vault_credential_process.expiry import format_timestamp, refresh_margin

WIDEST = 100
"""Columns that are used at most: a longer bar tells no more."""

_LABEL = 16
_COUNT = 22
_SHORTEST_BAR = 8
_EIGHTHS = " ▏▎▍▌▋▊▉"
_EMPTY, _FULL, _MARK = "░", "█", "┃"
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))

Line = list[tuple[str, str]]
"""Pieces of a line: a colour, that is the name of a method of :class:`Paint` or nothing, and a text."""


def in_words(seconds: float) -> str:
    """Return a span as ``2d 3h``, ``1h 30m``, ``47m 12s`` or ``12s``, rounded down.

    What is left must not be told longer than it is. A whole life is rounded up before: it began a moment ago.
    """
    left = max(int(seconds), 0)
    parts: list[str] = []
    for size, unit in _UNITS:
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size}{unit}")
        elif parts:
            break
        left %= size
    return " ".join(parts[:2])


class Picture:
    """Draws for one stream: in its colours, with its characters."""

    def __init__(self, stream: TextIO | None) -> None:
        self.paint = Paint(stream)
        self._blocks = can_show(stream, _EMPTY + _FULL + _MARK + _EIGHTHS)

    def draw(self, things: Iterable[Kept], now: float, columns: int) -> list[Line]:
        """Return the lines that show what is kept, none wider than ``columns`` but where a word is."""
        width = min(columns, WIDEST)
        lines: list[Line] = []
        whose: tuple[str | None, str] | None = None
        for thing in things:
            before, whose = whose, (thing.profile, thing.vault_addr)
            if isinstance(thing, Entry) or whose != before:
                lines += [[], _title(thing)] if lines else [_title(thing)]
            lines += self._thing(thing, now, width)
        return lines

    def text(self, line: Line, columns: int | None = None) -> str:
        """Return a line as it is written, cut off after so many columns."""
        found, left = "", columns if columns is not None else sum(len(text) for _, text in line)
        for colour, text in line:
            piece = text[:left]
            left -= len(piece)
            found += getattr(self.paint, colour)(piece) if colour else piece
        return found

    def _thing(self, thing: Kept, now: float, width: int) -> Iterator[Line]:
        if isinstance(thing, Entry):
            yield from self._credentials(thing, now, width)
        elif isinstance(thing, TokenEntry):
            yield from self._token(thing, now, width)
        else:
            until = "does not end" if thing.expiry is None else f"ends {format_timestamp(thing.expiry)}"
            yield [("dim", _label("kept")), ("", f"{thing.what}, {until}")]

    def _credentials(self, entry: Entry, now: float, width: int) -> Iterator[Line]:
        pair = entry.credentials
        left, margin = pair.seconds_left(now), refresh_margin(pair.life)
        if left <= 0:
            colour, told = "red", "ended: the next call reads new ones"
        elif not entry.proven:
            colour, told = "yellow", "AWS does not know the new IAM user yet"
        elif left >= margin:
            colour, told = "green", f"handed out as they are for {in_words(left - margin)}, then refreshed"
        elif entry.failure:
            colour, told = "red", "due for a refresh, which fails; valid all the same"
        else:
            colour, told = "yellow", "due for a refresh: the next call does it"
        yield self._bar("credentials", left, pair.life, margin, colour, width)
        yield from _details(colour, told, width)
        lease = f", lease {pair.lease_id}" if pair.lease_id else ""
        yield from _details("dim", f"{pair.credential_type}, ends {format_timestamp(pair.expiry)}{lease}", width)
        if entry.failure:
            when = f"{in_words(now - entry.failed_at)} ago: " if entry.failed_at else ""
            yield from _details("red", f"{when}{entry.failure}", width, label="last failure")

    def _token(self, kept: TokenEntry, now: float, width: int) -> Iterator[Line]:
        token, life = kept.token, kept.life
        uses = "" if token.uses_left is None else f", serves {token.uses_left} times"
        what = f"{token.token_type} token of {kept.path}"
        if token.expiry is None or life is None:
            end = "does not end" if token.expiry_known else "lives for nobody knows how long"
            yield [("dim", _label("Vault token")), ("green", end)]
            yield from _details("dim", f"{what}{uses}", width)
            return
        left, margin = token.seconds_left(now), refresh_margin(life)
        if left <= 0:
            colour, told = "red", "ended: the next call that needs one logs in"
        elif left >= margin:
            colour, told = "green", ""
        elif token.renewable:
            colour, told = "yellow", "the next call that needs it renews it, or logs in"
        else:
            colour, told = "yellow", "not renewable: the next call that needs one logs in"
        yield self._bar("Vault token", left, life, margin, colour, width)
        if told:
            yield from _details(colour, told, width)
        yield from _details("dim", f"{what}, ends {format_timestamp(token.expiry)}{uses}", width)

    def _bar(self, label: str, left: float, life: float, margin: float, colour: str, width: int) -> Line:
        """Return a bar that is as full as there is life left, with a mark where it is time for other ones."""
        count = f"{in_words(left)} of {in_words(math.ceil(round(life, 3)))}"
        cells = width - _LABEL - _COUNT
        if cells < _SHORTEST_BAR:
            return [("dim", _label(label)), (colour, count)]
        part = min(max(left / life, 0.0), 1.0) if life > 0 else 0.0
        eighths = round(part * cells * 8)
        mark = min(round(margin / life * cells), cells - 1) if life > 0 else 0
        pieces: Line = [("dim", _label(label))]
        for cell in range(cells):
            filled = min(max(eighths - cell * 8, 0), 8)
            if cell == mark:
                pieces.append(("bold", _MARK if self._blocks else "|"))
            elif not filled:
                pieces.append(("dim", _EMPTY if self._blocks else "."))
            elif self._blocks:
                pieces.append((colour, _FULL if filled == 8 else _EIGHTHS[filled]))
            else:
                pieces.append((colour, "#" if filled >= 4 else "."))
        return [*_joined(pieces), ("", f"  {count}")]


def _title(thing: Kept) -> Line:
    """Return whose a thing is."""
    path = thing.aws_path if isinstance(thing, Entry) else thing.path
    profile = one_line(thing.profile, limit=80) if thing.profile else "no profile"
    return [("bold", profile), ("", f"  {path}"), ("dim", f" at {thing.vault_addr}")]


def _joined(pieces: Line) -> Line:
    """Return the same line with neighbours of one colour as one piece."""
    found: Line = []
    for colour, text in pieces:
        if found and found[-1][0] == colour:
            found[-1] = (colour, found[-1][1] + text)
        else:
            found.append((colour, text))
    return found


def _label(label: str) -> str:
    return f"  {label}".ljust(_LABEL)


def _details(colour: str, text: str, width: int, *, label: str = "") -> Iterator[Line]:
    """Yield lines of text beside a label; a word that is wider than the room for it stays whole."""
    room = max(width - _LABEL, _SHORTEST_BAR)
    for number, line in enumerate(textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)):
        yield [("dim", _label(label if not number else "")), (colour, line)]
