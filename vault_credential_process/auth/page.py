"""The page that the browser shows after a login: it needs nothing but itself, and tells nothing that the URL holds."""

from __future__ import annotations

import base64
import hashlib
import html
from http import HTTPStatus

_AFTERWARDS = "You can close this window and go back to the terminal."

_REFUSALS = {
    HTTPStatus.NOT_FOUND: ("Nothing is here", "This address takes the answer to one login, and nothing else."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("Not a GET request", "The provider must send its answer in the address (query)."),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ("Too long", "The cookies of this host are too long: remove them."),
}

_STYLE = """
:root { color-scheme: light dark; --back: #f4f5f7; --card: #fff; --line: #dfe2e7; --text: #1b1f24; --soft: #59636e;
  --mark: #b3261e; --tint: #fbe9e7 }
.good { --mark: #1a7f4b; --tint: #e3f4ea }
@media (prefers-color-scheme: dark) {
  :root { --back: #111418; --card: #1a1e24; --line: #2d333b; --text: #e8eaed; --soft: #9da7b1; --mark: #ff8a80;
    --tint: #3a2220 }
  .good { --mark: #6fdd9b; --tint: #173325 }
}
* { box-sizing: border-box; margin: 0 }
body { min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--back);
  color: var(--text); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif }
main { width: min(26rem, 100%); padding: 2.5rem 2rem 1.75rem; text-align: center; background: var(--card);
  border: 1px solid var(--line); border-radius: 14px; box-shadow: 0 8px 30px rgb(0 0 0 / .07) }
svg { width: 3.5rem; height: 3.5rem; padding: .9rem; border-radius: 50%; background: var(--tint); color: var(--mark) }
path { fill: none; stroke: currentColor; stroke-width: 2.75; stroke-linecap: round; stroke-linejoin: round }
h1 { margin: 1.1rem 0 .6rem; font-size: 1.4rem; line-height: 1.25; letter-spacing: -.01em }
p { overflow-wrap: anywhere; text-wrap: balance }
p + p { margin-top: .35rem; color: var(--soft) }
footer { margin-top: 1.75rem; padding-top: 1.1rem; border-top: 1px solid var(--line); color: var(--soft);
  font: .8rem/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
"""

_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Connection": "close",
}


def welcome(by: str) -> bytes:
    """Return the answer after a login that Vault has accepted."""
    return _answer(HTTPStatus.OK, "You are logged in", f"{by} has accepted the login.", _AFTERWARDS)


def failure() -> bytes:
    """Return the answer after a login that failed."""
    return _answer(HTTPStatus.FORBIDDEN, "The login failed", "The terminal tells why.", _AFTERWARDS)


def refusal(status: HTTPStatus) -> bytes:
    """Return the answer to a request that is not the one that is waited for."""
    title, text = _REFUSALS.get(status, ("Not the expected answer", "This is not the login that is waited for."))
    return _answer(status, title, text, "Go on in the window where you log in, or begin again in the terminal.")


def _answer(status: HTTPStatus, title: str, *paragraphs: str) -> bytes:
    """Return an answer with a page that needs nothing but itself."""
    mood, mark = ("good", "M4 12.5l5.5 5.5L20 7") if status == HTTPStatus.OK else ("bad", "M6 6l12 12M18 6L6 18")
    told = "\n".join(f"<p>{html.escape(text)}</p>" for text in paragraphs)
    body = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main class="{mood}">
<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{mark}"/></svg>
<h1>{html.escape(title)}</h1>
{told}
<footer>vault-credential-process</footer>
</main>
</body>
</html>
""".encode()
    headers = {**_HEADERS, "Content-Length": str(len(body))}
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = "GET"
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
