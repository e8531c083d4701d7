"""What is kept: entries of a cache, the quick answer, and the words that processes leave one another."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Iterator

from hypothesis import strategies as st

from vault_credential_process import fastpath
from vault_credential_process.cache.entry import Entry, Keepsake, TokenEntry, ended, load
from vault_credential_process.cli.cache import described, of_login
from vault_credential_process.expiry import format_timestamp
from vault_credential_process.models import AWSCredentials, VaultToken
from vault_credential_process.process import document

from . import material
from .kit import ACCEPTED, NOW, SECRET_ID, SECRET_KEY, TOKEN, assert_sound, shared, target
from .of_profiles import directory

PAIR = AWSCredentials(
    "ASIAIOSFODNN7EXAMPLE",
    SECRET_KEY,
    "FwoGZXIvYXdz",
    NOW,
    NOW + 900.0,
    "sts",
    "aws/creds/webapp/1",
    False,
    "123456789012",
)
USER = dataclasses.replace(PAIR, session_token=None, credential_type="iam_user", issued=NOW - 900.0, renewable=True)
ENTRY = Entry(
    PAIR, False, USER, "Vault is sealed", NOW, "default", "webapp", "aws/creds/webapp", "https://vault.example"
)
KEPT = TokenEntry(VaultToken(TOKEN, NOW + 900, policies=("default",), uses_left=7), 900.0, "webapp", "auth/approle")
KEEPSAKE = Keepsake(SECRET_ID, "unwrapped Secret ID", NOW + 900, "default", "auth/approle")
ORIGIN = NOW - 86400.0
"""What the clock showed when the machine started."""
DOCUMENTS = tuple(
    json.loads(content)
    for content in (ENTRY.dump(ORIGIN), Entry(PAIR).dump(ORIGIN + 90), KEPT.dump(ORIGIN), KEEPSAKE.dump())
)


@target(
    "entry of a cache",
    ("cache.entry.Entry.load", "cache.entry.TokenEntry.load", "cache.entry.Keepsake.load", "cache.entry._load",
    "cache.entry._fields", "cache.entry.load", "cache.entry.ended"),
    material.encoded(*DOCUMENTS) | material.octets,
    must=("Entry", "TokenEntry", "Keepsake", "none"),
    inputs=tuple(kept.dump() for kept in (ENTRY, KEPT, KEEPSAKE)),
    examples=150,
)  # fmt: skip
def entry(content: bytes) -> str:
    """An entry comes back whole, as it was written, sound, and fit to be shown and handed out; else it is none."""
    loaded = (Entry.load(content, NOW, ORIGIN), TokenEntry.load(content, NOW, ORIGIN), Keepsake.load(content, NOW))
    found = next((one for one in loaded if one is not None), None)
    assert sum(one is not None for one in loaded) <= 1
    assert load(content, NOW, ORIGIN) == (Keepsake.load(content) if found is None else found)
    assert ended(content, NOW, ORIGIN) in (True, False)
    if found is None:
        assert ended(content, NOW, ORIGIN)
        return "none"
    assert type(found).load(found.dump(), NOW) == found
    if isinstance(found, Entry):
        for pair in (found.credentials, found.previous):
            if pair is not None:
                assert_sound(pair)
        shown = described(found, NOW)
    else:
        expiry = found.expiry if isinstance(found, Keepsake) else found.token.expiry
        shown = of_login("token", found, "service", expiry, NOW)
    assert json.dumps(shown)
    return type(found).__name__


@st.composite
def quick_file(draw: st.DrawFn) -> bytes:
    """The quick answer of a pair with one field of its head replaced, or cut, or with bytes in it."""
    content = shared("quick file", _written)
    line, (first, *rest) = document(PAIR), content.split(b"\n")
    head = first.split(b" ")
    how = draw(st.integers(0, 9))
    if how < 5:
        odd = (
            b"nan",
            b"inf",
            b"-inf",
            b"1e999",
            b"-1",
            b"9" * 5000,
            b"1_0",
            b"",
            b" ",
            b"0x1",
            b"vcp0",
            "\u0663".encode(),
            b"\xff",
        )
        head[draw(st.integers(0, len(head) - 1))] = draw(st.sampled_from(odd) | st.binary(max_size=4))
    watched = draw(
        st.sampled_from((b"- - - /nonexistent", b"- - - /\0", b"", b"- - -", b"1:2 3 4:5 /etc/passwd", b"- - - x"))
    )
    content = b" ".join(head) + b"\n" + (watched if how == 5 else rest[0]) + b"\n" + line
    if how == 6:
        return content[: draw(st.integers(0, len(content) - 1))]
    if how == 7:
        at = draw(st.integers(0, len(content)))
        return content[:at] + draw(st.binary(min_size=1, max_size=3)) + content[at:]
    return content


@contextlib.contextmanager
def _written() -> Iterator[bytes]:
    """Write a quick answer as the package does, and give its bytes."""
    place = fastpath.Ticket(_place(), "whole", 0.0)
    watched = {"/nonexistent": fastpath.ABSENT}
    place.store(document(PAIR), good_from=NOW, good_until=NOW + 600, ends=PAIR.expiry, entry="key", watched=watched)
    yield (directory() / "place" / "quick-whole").read_bytes()


def _place() -> str:
    """Return a private directory, as the quick answer wants one."""
    made: pathlib.Path = directory() / "place"
    made.mkdir(mode=0o700, exist_ok=True)
    return str(made)


@target(
    "quick answer, as the full path has it",
    ("fastpath._checked", "fastpath.Ticket.answer", "fastpath._split_state", "fastpath.path_state", "fastpath.forget"),
    st.tuples(
        quick_file(), st.sampled_from((NOW, NOW - 3600, NOW + 599, NOW + 601, NOW + 895, NOW + 901)), st.booleans()
    ),
    must=("handed out", "miss"),
    examples=150,
)
def quick(given: tuple[bytes, float, bool]) -> str:
    """What is handed out quickly is the document of the entry, within its time; anything else is a miss."""
    content, now, meanwhile = given
    found = fastpath._checked(content, _place(), now, meanwhile)
    fastpath.write_private(os.path.join(_place(), "quick-abc"), content)
    assert fastpath.forget(_place()) >= 1
    if found is None:
        return "miss"
    kept = Entry.load(Entry(PAIR).dump(ORIGIN), NOW, ORIGIN)
    assert kept is not None
    assert found == document(kept.credentials)
    return "handed out"


@st.composite
def word(draw: st.DrawFn) -> bytes:
    """Word of a failure as a process leaves it, nearly."""
    moment = draw(st.sampled_from(("now", "nan", "inf", "-1", "1e400", "x", "", "9" * 5000)))
    code = draw(st.sampled_from(("6", "6", "0", "-1", "70", "256", "9" * 30, "9" * 5000, "x", "\u0666", "6.0", "")))
    said = draw(st.sampled_from((b"sealed", b"", b"\x1b[31m", b"\xff", b"a\nb", b"\0", "é".encode())))
    moment = f"{time.monotonic() - draw(st.sampled_from((0.0, 0.1, 60.0))):f}" if moment == "now" else moment
    return f"{moment} {code}\n".encode() + said if draw(st.integers(0, 9)) else draw(st.binary(max_size=20))


@target(
    "word of a failure, and how long to wait",
    ("fastpath.read_failure", "fastpath._limit", "fastpath.read_private", "fastpath.Ticket.note"),
    word(),
    must=("told", "none"),
    examples=120,
)
def failure(content: bytes) -> str:
    """Word of a failure is told with an exit code that means failure, on one line; a wait is a number of seconds."""
    path = os.path.join(_place(), "failed-abc")
    fastpath.write_private(path, content)
    limit = fastpath._limit(content)
    assert not limit > 3600
    found = fastpath.read_failure(path, time.monotonic() - 30)
    if found is None:
        return "none"
    assert 0 < found[0] < 256, f"exit code {found[0]}"
    assert "\n" not in found[1]
    return "told"


@target(
    "entry that is written",
    ("cache.entry.Entry.dump", "cache.entry.TokenEntry.dump", "cache.entry.Keepsake.dump", "cache.entry._restore",
    "cache.entry._field"),
    st.tuples(st.floats(0, 900), st.floats(1, 3e9), st.text() | material.text, st.none() | st.integers(0, 10**30)),
)  # fmt: skip
def written(given: tuple[float, float, str, int | None]) -> str:
    """What is kept is found again as it was, whatever stands in its names."""
    before, life, name, uses = given
    pair = dataclasses.replace(PAIR, issued=NOW - before, expiry=NOW - before + life)
    kept = Entry(pair, True, None, name, NOW, name, name, name, name)
    assert Entry.load(kept.dump(), NOW) == kept
    token = TokenEntry(VaultToken(TOKEN, NOW + life, policies=(name,), uses_left=uses), life, name, name, name)
    assert TokenEntry.load(token.dump(), NOW) == token
    keepsake = Keepsake(name, name, NOW + life, name, name, name, True)
    assert Keepsake.load(keepsake.dump(), NOW) == keepsake
    assert format_timestamp(pair.expiry)
    return ACCEPTED
