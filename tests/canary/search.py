"""The search: a secret in a text, in whatever form."""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from collections.abc import Callable, Iterable, Iterator

from .plants import Secret


def _go_quoted(text: str) -> str:
    """Return a text as Go's ``%q`` writes it."""
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("\x7f", "\\x7f")


def _go_json(text: str) -> str:
    """Return a text as Go's ``encoding/json`` writes it."""
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    for character in "<>&":
        escaped = escaped.replace(character, f"\\u{ord(character):04x}")
    return escaped


def _path_escaped(text: str) -> str:
    """Return a text as Go's ``url.PathEscape`` writes it."""
    return urllib.parse.quote(text, safe="$&+=:@")


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "repr": lambda text: repr(text)[1:-1],
    "repr of bytes": lambda text: repr(text.encode())[2:-1],
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON of Go": _go_json,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "%q of Go": _go_quoted,
    "URL": lambda text: urllib.parse.quote(text, safe=""),
    "URL path": urllib.parse.quote,
    "URL path of Go": _path_escaped,
    "URL query": urllib.parse.quote_plus,
    "HTML": html.escape,
    "hexadecimal": lambda text: text.encode().hex(),
}
"""Ways to write a text that keep its whole."""


def _inner(content: bytes, before: int, encode: Callable[[bytes], bytes]) -> str:
    """Return what base64 makes of some bytes with so many others before and any behind, without the mixed edges."""
    encoded = encode(b"\0" * before + content + b"\0" * 3).decode()
    bits = (before * 8, (before + len(content)) * 8)
    return encoded[-(-bits[0] // 6) : bits[1] // 6]


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64encode,
    "base64 of URLs": base64.urlsafe_b64encode,
}
"""Ways that mix a text with what is beside it: ``user:password`` in a header, say."""


def forms(value: str) -> Iterator[str]:
    """Yield all that a text may look like, in lower case."""
    for form in FORMS.values():
        yield form(value).lower()
    for encode in ENCODINGS.values():
        for before in range(3):
            yield _inner(value.encode(), before, encode).lower()


class Search:
    """Looks for some secrets in texts."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        """Make all forms of all secrets."""
        self.secrets = tuple(dict.fromkeys(secrets))
        self._forms = [(secret, tuple(dict.fromkeys(forms(secret.value)))) for secret in self.secrets]

    def found(self, text: str) -> list[Secret]:
        """Return those that stand in a text."""
        folded = text.lower()
        return [secret for secret, forms in self._forms if any(form in folded for form in forms)]
