"""What hostile input is made of: values, documents with a few things changed, and their bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

ESCAPES = ("\x1b[31m", "\x1b]0;owned\x07", "\r", "\n", "\x00", "\x7f", "\x9b", "\u2028", "\u202e", "\ufeff", "\x85")
NASTY_TEXT = (
    "", " ", "a b", "\t", "é", "\ud800", "\udcff", "😀", "\U0001d7d9", "\u0663", "%", "%2e%2e", "%2F", "..", ".",
    "/", "//", "../x",
    "a/../b", "?", "#", ";", "\\", "'", '"', "null", "true", "NaN", "Infinity", "-1", "1e400", "0x10", "1_000",
    "9" * 400, "9" * 5000, "x" * 5000, "15m", "1h30m", "[", "{", "[" * 5000, "https://[", "http://[::1", "$HOME", "~",
    "{0}", "%s", "%n", *ESCAPES,
)  # fmt: skip
MOMENTS = (
    "2026-11-23T20:17:03Z", "2026-11-23T20:17:03", "2026-11-23 20:17:03+01:00", "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999999Z", "10000-01-01T00:00:00Z",
    "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T20:17:60Z",
    "2027-01-01T00:00:00.000000001+23:59", "2027-01-01T00:00:00+24:00", "1970-01-01T00:00:00Z", "2026-11-23", "now",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 0.5, 900, 3600, 2**31, 2**53, 2**63, -(2**63), 10**18, 10**400, 1e18, -1e18, 1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"), 3_153_600_000, 3_153_600_001, 253402300799, 253402300800,
)  # fmt: skip

text = st.sampled_from(NASTY_TEXT) | st.text(max_size=12) | st.sampled_from(MOMENTS)
"""Any text, and what parsers trip over."""

line = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=20)
scalar = st.sampled_from((None, True, False)) | st.sampled_from(NUMBERS) | text | st.integers() | st.floats()
value = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=5
)
"""Anything that JSON can say, and a little more."""


def _places(document: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to each value in a document."""
    found = [before] if before else []
    if isinstance(document, Mapping):
        for key, inner in document.items():
            found += _places(inner, (*before, key))
    elif isinstance(document, list):
        for number, inner in enumerate(document):
            found += _places(inner, (*before, number))
    return found


def _like(found: Any) -> st.SearchStrategy[Any]:
    """Return what may stand in the place of a value without being of another type."""
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        return st.sampled_from(NUMBERS) | st.floats() | st.integers()
    return text if isinstance(found, str) else value


@st.composite
def mutated(draw: st.DrawFn, *documents: Any) -> Any:
    """One of some documents with up to three things replaced, left out or added."""
    found = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(0, 3))):
        places = _places(found)
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        holder = found
        for step in way:
            holder = holder[step]
        change = draw(st.sampled_from(("replace", "replace", "leave out", "add")))
        if change == "replace":
            holder[last] = draw(_like(holder[last]) if draw(st.booleans()) else value)
        elif change == "leave out" and isinstance(holder, dict):
            del holder[last]
        elif isinstance(holder, dict):
            holder[draw(text)] = draw(value)
    return found


def deep(levels: int, left: bytes = b"[", right: bytes = b"]") -> bytes:
    """Return JSON that is nested so deep."""
    return left * levels + right * levels


def dumped(document: Any) -> bytes:
    """Return a document as JSON, ``NaN`` and lone surrogates included."""
    return json.dumps(document).encode()


@st.composite
def encoded(draw: st.DrawFn, *documents: Any) -> bytes:
    """The bytes of a mutated document, mostly as they are, sometimes cut, doubled, nested or in another encoding."""
    document = draw(mutated(*documents))
    try:
        content = dumped(document)
    except (ValueError, RecursionError):
        content = b"{}"
    how = draw(st.integers(0, 19))
    if how < 11:
        return content
    if how == 11:
        return content[: draw(st.integers(0, len(content)))]
    if how == 12:
        at = draw(st.integers(0, len(content)))
        return content[:at] + draw(st.binary(max_size=4)) + content[at:]
    if how == 13:
        return content.decode().encode(draw(st.sampled_from(("utf-16", "utf-32", "utf-8-sig", "utf-16-be"))))
    if how == 14:
        return content[:-1] + b"," + content[1:] if content.startswith(b"{") else content * 2
    if how == 15:
        # Around the depth at which Python gives up, which what it has called so far makes less.
        levels = draw(st.integers(800, 1010))
        return content.replace(b'"default"', deep(levels), 1).replace(b"900", deep(levels), 1)
    if how == 16:
        return draw(st.sampled_from((deep(100_000), deep(50_000, b'{"a":', b"}"), b"9" * 6000, b'"' + b"\\" * 999)))
    if how == 17:
        return content.replace(b"900", b"9" * draw(st.sampled_from((400, 4299, 4301))), 1)
    if how == 18:
        return content.replace(b"default", draw(st.binary(max_size=6)), 1)
    return draw(st.binary(max_size=60))


octets = text.map(lambda found: found.encode("utf-8", "surrogatepass")) | st.binary(max_size=40)
"""Any bytes, and what parsers trip over."""


@st.composite
def header(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A header that says something to us or to the libraries below."""
    name = draw(st.sampled_from(HEADERS))
    return name, draw(st.sampled_from(HEADER_VALUES) | octets)


HEADERS = (
    b"Age", b"Retry-After", b"Location", b"Content-Type", b"Content-Length", b"Content-Encoding", b"X-Cache",
    b"Transfer-Encoding", b"Set-Cookie", b"Connection", b"Date", b"WWW-Authenticate", b"Metadata-Flavor", b"X", b"",
)  # fmt: skip
HEADER_VALUES = (
    b"0", b"1", b"-1", b"900", b"9" * 400, b"9" * 5000, b"1e3", b"nan", b"1, 2", "\u0663".encode(), b"HIT", b"hit",
    b"gzip",
    b"deflate", b"br", b"zstd", b"chunked", b"identity", b"application/json; charset", b"text/html; charset=nosuch",
    b"text/html; charset=\"", b"a=b; expires=Mon, 01 Jan 99999 00:00:00 GMT", b"=;;", b"\x1b[31m", b"\xff\xfe",
    b"x" * 70000,
    b"Mon, 23 Nov 2026 20:17:03 GMT", b"http://[", b"https://[::1/v1/aws/creds/webapp", b"//", b"/", b"?",
    b"javascript:x",
    b"http://127.0.0.1:1/v1/aws/creds/webapp", b"https://127.0.0.1:1/v1/aws/creds/webapp", b"http://a:b/v1/",
    b"https://127.0.0.1:99999/v1/aws/creds/webapp", b"https:///v1/aws/creds/webapp", b"https://a@/v1/aws/creds/webapp",
    b"https://..:1/v1/aws/creds/webapp", b"unix:///v1/aws/creds/webapp", b"https://\xe9:1/v1/aws/creds/webapp",
    b"https://127.0.0.1:1\\@/v1/aws/creds/webapp", b"https://%31:1/v1/aws/creds/webapp", b"\thttps://x\t",
)  # fmt: skip
