"""What goes wrong: one list, played for each way to log in, by a server that repeats whatever it was sent."""

from __future__ import annotations

import base64
import dataclasses
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

from vault_credential_process.testing.scripted import Reply, Request, reply, reset

from .plants import Pair, Secret
from .plays import Play, document
from .search import ENCODINGS, FORMS

PUBLIC = {
    *("role", "role_id", "name", "redirect_uri", "provider", "paths"),
    *("subscription_id", "resource_group_name", "vm_name", "vmss_name", "resource_id"),
    *("iam_http_request_method", "iam_request_url", "iam_request_body"),
}
"""Fields of a login that anybody may know."""
OF_QUERY = {"role_arn", "role_session_name", "ttl"}


def sent(request: Request) -> Iterator[tuple[str, str]]:
    """Yield what a request said that not everybody may know, with its name: what is not listed as public is secret."""
    yield from _texts(document(request))
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
    yield from ((name, value) for name, values in query.items() if name not in OF_QUERY for value in values)
    if "x-vault-token" in request.headers:
        yield "token", request.headers["x-vault-token"]


def _texts(body: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(body, dict):
        for key, value in body.items():
            yield from _texts(value, key)
    elif isinstance(body, list):
        for value in body:
            yield from _texts(value, name)
    elif isinstance(body, str) and body and name not in PUBLIC:
        yield name, body


def proofs(requests: list[Request]) -> Iterator[Secret]:
    """Yield what was sent as secrets to look for; a short text may stand anywhere by chance."""
    for request in requests:
        for name, text in sent(request):
            if len(text) >= 6:
                yield Secret("kept nonce" if name == "nonce" else "proof", text)


Answer = Callable[[Any, Request], None]


def repeating(status: int, form: Callable[[str], str], *, page: bool = False) -> Answer:
    """Return a refusal that repeats what it was sent, in some form: as Vault words it, or as a page of a gateway."""

    def answer(connection: Any, request: Request) -> None:
        said = [f"1 error occurred:\n\t* cannot use [{form(text)}]\n\n" for _, text in sent(request)] or ["no"]
        if page:
            connection.sendall(
                reply(status, f"<html>{said}</html>".encode(), {"Content-Type": f"text/{said[0][40:80]}"})
            )
        else:
            connection.sendall(reply(status, {"errors": said}))

    return answer


def _whole(status: int, form: Callable[[bytes], str]) -> Answer:
    """Return a refusal that repeats the whole body of what it was sent."""

    def answer(connection: Any, request: Request) -> None:
        connection.sendall(reply(status, {"errors": [f"error parsing JSON: {form(request.body)}"]}))

    return answer


def _redirecting(connection: Any, request: Request) -> None:
    """Redirect to another host, whose address and name hold what was sent."""
    _, secret = next(sent(request), ("", "none"))
    host = base64.b32encode(secret.encode()).decode().rstrip("=")[:60]
    target = f"http://{host}.invalid/v1/x?secret={urllib.parse.quote(secret)}"
    connection.sendall(reply(307, None, {"Location": target}))


@dataclasses.dataclass(frozen=True)
class Failure:
    """One thing that goes wrong, at the login or at the read."""

    moment: str
    name: str
    answer: Callable[[Play, Pair], Reply]
    may_succeed: bool = False
    """Whether some method takes the answer for a good one."""


def _said(play: Play, auth: dict[str, Any]) -> bytes:
    return reply(
        200, {"auth": {"client_token": play.token.value, "lease_duration": 600, "token_type": "service", **auth}}
    )


def _everywhere() -> Iterator[tuple[str, Callable[[Play, Pair], Reply]]]:
    """Yield what goes wrong at any request."""
    for status in (400, 403, 404, 429, 500):
        yield f"HTTP {status}", lambda *_, status=status: repeating(status, str)
    for name, form in FORMS.items():
        yield f"repeated: {name}", lambda *_, form=form: repeating(400, form)
    for name, encode in ENCODINGS.items():
        yield f"repeated: {name}", lambda *_, encode=encode: repeating(400, lambda text: encode(text.encode()).decode())
        yield f"whole body: {name}", lambda *_, encode=encode: _whole(400, lambda body: encode(body).decode())
    yield "whole body", lambda *_: _whole(400, lambda body: body.decode())
    yield "page of a gateway", lambda *_: repeating(502, str, page=True)
    yield "page that is no failure", lambda *_: repeating(200, str, page=True)
    yield "redirected away", lambda *_: _redirecting
    yield "reset", lambda *_: reset
    yield "sealed", lambda *_: reply(503, {"errors": ["Vault is sealed"]})
    yield "wrapped", lambda play, _: reply(200, {"wrap_info": {"token": play.token.value, "ttl": 60}})


def _failures() -> Iterator[Failure]:
    for name, answer in _everywhere():
        # A token that may not look itself up may be good all the same.
        yield Failure("login", name, answer, may_succeed=name == "HTTP 403")
        yield Failure("read", name, answer)
    yield Failure("login", "token that is none", lambda play, _: _said(play, {"client_token": f"{play.token.value} x"}))
    yield Failure("login", "second factor", lambda play, _: reply(
        200, {"auth": {"mfa_requirement": {"mfa_request_id": play.token.value, "mfa_constraints": {}}}}
    ), may_succeed=True)  # fmt: skip
    yield Failure("login", "token of one use", lambda play, _: _said(play, {"num_uses": 1}), may_succeed=True)
    yield Failure("login", "cut short", lambda play, _: play.accepted[:-20])
    yield Failure("read", "cut short", lambda _, pair: reply(200, {"data": pair.data})[:-20])
    yield Failure("read", "half of it", lambda _, pair: reply(200, {"data": {**pair.data, "access_key": None}}))
    yield Failure("read", "not a key", lambda _, pair: reply(
        200, {"lease_duration": 900, "data": {**pair.data, "secret_key": f"{pair.secret_key} x"}}
    ))  # fmt: skip


FAILURES = tuple(_failures())
"""Every failure."""
