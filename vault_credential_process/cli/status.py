"""``status``: what is held for one profile or for all, how long it lives, and whether anybody is logged in."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import Any

from vault_credential_process import cache
from vault_credential_process.cache import CacheBackend
from vault_credential_process.cache.entry import Entry, Kept, TokenEntry, load
from vault_credential_process.cli import coredump, parser
from vault_credential_process.cli.cache import described, held, of_login
from vault_credential_process.cli.picture import WIDEST, Line, Picture
from vault_credential_process.cli.watch import watch
from vault_credential_process.config import Config
from vault_credential_process.errors import ConfigurationError, VaultCredentialError, one_line
from vault_credential_process.expiry import format_timestamp, parse_duration
from vault_credential_process.fastpath import clock_origin
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.profiles import profile_name
from vault_credential_process.tokens import lives

OFTENEST = 0.1
"""Seconds between two pictures at least."""

_PATIENT = 10
"""How many times as long as a look into the cache took it is left alone, for a keyring may take seconds."""


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of every setting."""
    to.epilog = "example: vault-credential-process status --profile webapp --watch"
    to.add_argument("--all", action="store_true", help="show what is held for all profiles, as without any profile")
    to.add_argument("--json", action="store_true", help="as JSON, for programs")
    to.add_argument(
        "--watch", nargs="?", const="1", metavar="SECONDS", help="draw it anew every second, or so often, until Ctrl-C"
    )
    parser.add_settings(to)


def run(arguments: argparse.Namespace) -> int:
    """Show what is held: a picture on a terminal, lines for anything else; nothing is asked of Vault.

    :raises ConfigurationError: for a watch without a terminal.
    """
    config = parser.configuration(arguments)
    backend = cache.choose(config.vault_aws_cache or "auto", os.environ)
    nobody = profile_name({"profile": arguments.profile}, os.environ) is None and not config.vault_aws_role
    view = _OfAll(backend) if arguments.all or nobody else _OfProfile(config, backend)
    if arguments.watch is not None:
        return _watch(view, arguments)
    if arguments.json:
        sys.stdout.write(json.dumps(view.for_programs(time.time()), indent=2) + "\n")
    elif sys.stdout.isatty():
        picture = Picture(sys.stdout)
        for line in _drawn(view, list(view.held(time.time())), picture, shutil.get_terminal_size().columns):
            sys.stdout.write(picture.text(line) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in view.lines(time.time())))
    return 0


class _OfProfile:
    """What is held for one profile."""

    def __init__(self, config: Config, backend: CacheBackend) -> None:
        self._config = config
        self._backend = backend
        self._fetcher = Fetcher(config, cache=backend)

    def empty(self, columns: int) -> list[Line]:
        """Return what a terminal shows where no credentials are held."""
        config, reason = self._config, f"{self._backend.name} cache: {self._backend.reason}"
        rest = [f"{config.aws_path} at {config.vault_addr}", reason]
        head: Line = [("bold", one_line(config.profile or "no profile", limit=80)), ("", "  nothing is held")]
        return [head, *(line for text in rest for line in _below(text, columns))]

    @property
    def nothing(self) -> str:
        return (
            f"nothing is held for {self._config.aws_path} at {self._config.vault_addr} ({self._backend.name} cache: "
            f"{self._backend.reason})"
        )

    def held(self, now: float) -> Iterator[Kept]:
        """Yield what is held; credentials that have ended are not."""
        entry, kept = self._fetcher.peek(), self._fetcher.kept_token()
        if entry is not None and entry.seconds_left(now) > 0:
            yield entry
        if kept is not None:
            yield kept

    def for_programs(self, now: float) -> dict[str, Any]:
        """Return it as JSON has it."""
        entry, kept = self._fetcher.peek(), self._fetcher.kept_token()
        found: dict[str, Any] = {"held": entry is not None and entry.seconds_left(now) > 0}
        if entry is not None:
            found |= described(entry, now)
        found |= {"cache": self._backend.name, "cache_reason": self._backend.reason, "token": None}
        if kept is not None:
            token = of_login("token", kept, kept.token.token_type, kept.token.expiry, now)
            found["token"] = {key: token[key] for key in ("path", "type", "expires", "seconds_left")}
        return found

    def lines(self, now: float) -> Iterator[str]:
        """Yield it as lines."""
        things = list(self.held(now))
        entries = [thing for thing in things if isinstance(thing, Entry)]
        if not entries:
            yield self.nothing
        for entry in entries:
            yield from _lines(entry, now)
        tokens = [f"of {thing.path}, {lives(thing.token)}" for thing in things if isinstance(thing, TokenEntry)]
        yield f"Vault token: {(tokens or ['none is held'])[0]}"


class _OfAll:
    """What is held for all profiles."""

    def __init__(self, backend: CacheBackend) -> None:
        self._backend = backend

    def empty(self, columns: int) -> list[Line]:
        """Return what a terminal shows where nothing is held."""
        reason = f"{self._backend.name} cache: {self._backend.reason}"
        return [[("", "nothing is held")], *_below(reason, columns)]

    @property
    def nothing(self) -> str:
        return f"nothing is held ({self._backend.name} cache: {self._backend.reason})"

    def held(self, now: float) -> Iterator[Kept]:
        """Yield what is held, what belongs together one after the other; what has ended is not."""
        origin = clock_origin()
        things = [load(self._backend.get(key), now, origin) for key in sorted(self._backend.keys())]
        living = [thing for thing in things if thing is not None and thing.seconds_left(now) > 0]
        yield from sorted(living, key=_order)

    def for_programs(self, now: float) -> list[dict[str, Any]]:
        """Return it as JSON has it: what ``cache list --json`` tells."""
        return list(held(self._backend, now))

    def lines(self, now: float) -> Iterator[str]:
        """Yield it as lines."""
        things = list(self.held(now))
        if not things:
            yield self.nothing
        for thing in things:
            name = f"{one_line(thing.profile or '-', limit=80)}: "
            if isinstance(thing, Entry):
                first, *others = _lines(thing, now)
                yield name + first
                yield from others
            elif isinstance(thing, TokenEntry):
                yield f"{name}Vault token of {thing.path} at {thing.vault_addr}, {lives(thing.token)}"
            else:
                until = "does not end" if thing.expiry is None else f"until {format_timestamp(thing.expiry)}"
                yield f"{name}{thing.what} of {thing.path} at {thing.vault_addr}, {until}"


def _below(text: str, columns: int) -> Iterator[Line]:
    """Yield a text in dimmed lines that fit the terminal; a word that is wider stays whole."""
    room = max(min(columns, WIDEST) - 2, 1)
    for line in textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False):
        yield [("dim", f"  {line}")]


def _order(thing: Kept) -> tuple[str, str, int, str]:
    path = thing.aws_path if isinstance(thing, Entry) else thing.path
    return thing.profile or "", thing.vault_addr, 0 if isinstance(thing, Entry) else 1, path


def _lines(entry: Entry, now: float) -> Iterator[str]:
    found = described(entry, now)
    lease = f", lease {found['lease_id']}" if found["lease_id"] else ""
    yield (
        f"{found['path']} at {found['vault_addr']}: {found['type']}, {found['seconds_left']} s left, until "
        f"{found['expires']}{lease}"
    )
    if entry.failure:
        yield f"last failure: {entry.failure}"


def _drawn(view: _OfProfile | _OfAll, things: list[Kept], picture: Picture, columns: int) -> list[Line]:
    lines = picture.draw(things, time.time(), columns)
    if not any(isinstance(thing, Entry) for thing in things) and (not things or isinstance(view, _OfProfile)):
        lines = [*view.empty(columns), *lines]
    return lines


def _watch(view: _OfProfile | _OfAll, arguments: argparse.Namespace) -> int:
    """Draw it anew again and again; what cannot be looked at for a while is told in its place.

    :raises ConfigurationError: when there is no terminal, or the first look fails.
    """
    try:
        seconds = parse_duration(arguments.watch)
    except ValueError as error:
        raise ConfigurationError(f"--watch: {error}") from None
    if seconds < OFTENEST:
        raise ConfigurationError(f"--watch: {seconds:g} s is too often; write 1, or 500ms")
    if arguments.json or not sys.stdout.isatty():
        raise ConfigurationError("status --watch: draws on a terminal alone; for programs call status --json")
    coredump.hide()
    picture = Picture(sys.stdout)
    things, trouble = list(view.held(time.time())), ""
    due = 0.0

    def draw(size: os.terminal_size) -> list[str]:
        nonlocal things, trouble, due
        began = time.monotonic()
        if began >= due:
            try:
                things, trouble = list(view.held(time.time())), ""
            except VaultCredentialError as error:
                trouble = str(error)
            due = began + (time.monotonic() - began) * _PATIENT
        head: Line = [("dim", f"every {seconds:g} s, Ctrl-C ends it{' ' * 4}{format_timestamp(time.time())}")]
        lines = [head, [], *_drawn(view, things, picture, size.columns)]
        if trouble:
            lines += [[], [("red", trouble)]]
        return [picture.text(line, size.columns) for line in lines]

    watch(sys.stdout, draw, seconds)
    return 0
