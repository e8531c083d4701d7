"""``cache``: show what is held, and forget it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from vault_credential_process import cache
from vault_credential_process.cache import CacheBackend
from vault_credential_process.cache.entry import Entry, Keepsake, TokenEntry, load
from vault_credential_process.cli import parser
from vault_credential_process.errors import ConfigurationError, one_line
from vault_credential_process.expiry import format_timestamp
from vault_credential_process.fastpath import clock_origin
from vault_credential_process.fetcher import Fetcher


def add_options(to: argparse.ArgumentParser) -> None:
    """Add ``list`` and ``clear`` with their flags."""
    to.epilog = "example: vault-credential-process cache clear --profile webapp --revoke"
    to.add_argument("action", choices=("list", "clear"), help="list: what is held, no secrets; clear: forget it")
    to.add_argument("--json", action="store_true", help="list: as JSON, for programs")
    to.add_argument(
        "--revoke", action="store_true", help="clear: also end the profile's Vault token, and IAM users with it"
    )
    to.add_argument("--all", action="store_true", help="clear: forget what cannot be had again, too")
    parser.add_settings(to)


def run(arguments: argparse.Namespace) -> int:
    """List or clear."""
    config = parser.configuration(arguments)
    backend = cache.choose(config.vault_aws_cache or "auto", os.environ)
    if arguments.all and (arguments.profile or arguments.vault_aws_role):
        raise ConfigurationError("cache clear --all: forgets what every profile holds; leave out --profile and --role")
    if arguments.action == "list":
        rows = list(held(backend, time.time()))
        text = json.dumps(rows, indent=2) if arguments.json else _table(backend, rows)
        sys.stdout.write(text + "\n")
        return 0
    if arguments.all or (config.profile is None and not config.vault_aws_role):
        if arguments.revoke:
            raise ConfigurationError("cache clear --revoke: name the profile whose token is to end, with --profile")
        forgotten = backend.clear(everything=arguments.all)
        lines = [f"forgot {_entries(forgotten)} of the {backend.name} cache", *_spared(backend)]
        sys.stdout.write("\n".join(lines) + "\n")
        return 0
    for line in Fetcher(config, cache=backend).forget(revoke=arguments.revoke) or ["nothing was held"]:
        sys.stdout.write(line + "\n")
    return 0


def _entries(number: int) -> str:
    return "1 entry" if number == 1 else f"{number} entries"


def _spared(backend: CacheBackend) -> list[str]:
    """Return the line, if any, that tells what is still kept because it cannot be had again."""
    keys = sorted(backend.keys())
    loaded = [Keepsake.load(backend.get(key)) for key in keys if backend.spares(key)]
    kept = [keepsake.what for keepsake in loaded if keepsake is not None]
    if not kept:
        return []
    what = ", ".join(sorted(set(kept)))
    return [f"kept {_entries(len(kept))} that cannot be had again ({what}); cache clear --all forgets them too"]


def held(backend: CacheBackend, now: float) -> Iterator[dict[str, Any]]:
    """Yield a description of each entry, without any secret."""
    origin = clock_origin()
    for key in sorted(backend.keys()):
        kept = load(backend.get(key), now, origin)
        if isinstance(kept, Entry):
            yield described(kept, now)
        elif isinstance(kept, TokenEntry):
            yield of_login("token", kept, kept.token.token_type, kept.token.expiry, now)
        elif kept is not None:
            yield of_login("keepsake", kept, kept.what, kept.expiry, now)


def of_login(kind: str, kept: TokenEntry | Keepsake, what: str, expiry: float | None, now: float) -> dict[str, Any]:
    """Return what people and programs may know of what a login left behind."""
    return {
        "kind": kind,
        "profile": kept.profile,
        "path": kept.path,
        "vault_addr": kept.vault_addr,
        "type": what,
        "expires": format_timestamp(expiry) if expiry is not None else None,
        "seconds_left": max(0, int(expiry - now)) if expiry is not None else None,
        "lease_id": None,
        "last_failure": None,
    }


def described(entry: Entry, now: float) -> dict[str, Any]:
    """Return what people and programs may know of kept credentials."""
    credentials = entry.credentials
    return {
        "kind": "credentials",
        "profile": entry.profile,
        "path": entry.aws_path,
        "vault_addr": entry.vault_addr,
        "type": credentials.credential_type,
        "expires": format_timestamp(credentials.expiry),
        "seconds_left": max(0, int(credentials.seconds_left(now))),
        "lease_id": credentials.lease_id or None,
        "last_failure": entry.failure,
    }


def _table(backend: CacheBackend, rows: list[dict[str, Any]]) -> str:
    lines = [f"{backend.name} cache: {backend.reason}"]
    if not rows:
        return "\n".join([*lines, "nothing is held"])
    cells = [["PROFILE", "PATH", "VAULT", "TYPE", "EXPIRES", "LEASE"]]
    for row in rows:
        kind = f"{row['type']} token" if row["kind"] == "token" else row["type"]
        cells.append(
            [
                one_line(row["profile"] or "-", limit=80),
                row["path"],
                row["vault_addr"],
                kind,
                f"{row['expires'] or 'never'}{' (ended)' if row['seconds_left'] == 0 else ''}",
                row["lease_id"] or "-",
            ]
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for number, line in enumerate(cells):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        failure = rows[number - 1]["last_failure"] if number else None
        if failure:
            lines.append(f"    last failure: {failure}")
    return "\n".join(lines)
