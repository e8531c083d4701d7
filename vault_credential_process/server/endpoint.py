"""The container-credentials endpoint, as an ASGI application: who may ask, for what, and what is answered.

The protocol is that of AWS's containers; ``botocore.utils.ContainerMetadataFetcher`` and
``@aws-sdk/credential-provider-http`` show what SDKs send and want:
https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
"""

from __future__ import annotations

import collections
import hmac
import json
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from vault_credential_process.expiry import format_timestamp
from vault_credential_process.fastpath import uptime
from vault_credential_process.keeper import Keeper
from vault_credential_process.models import AWSCredentials
from vault_credential_process.parsers import is_loopback
from vault_credential_process.server import exposition
from vault_credential_process.server.role import Refused, Role

logger = logging.getLogger(__name__)

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

RESERVED = frozenset({"health", "metrics"})
"""Paths that no role may have."""

_HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]


class Tokens:
    """What a client must send as ``Authorization``: one token, and for a while after a change the one before it."""

    def __init__(self, token: str) -> None:
        """Begin with a token."""
        self._valid: list[tuple[bytes, float]] = [(token.encode("ascii"), float("inf"))]

    def __repr__(self) -> str:
        """Tell how many are good, and none of them."""
        return f"<Tokens: {len(self._valid)}>"

    @staticmethod
    def new() -> str:
        """Return a new one: 43 characters that fit into a header and a shell."""
        return secrets.token_urlsafe(32)

    def offer(self, token: str) -> None:
        """Take another one beside those that are good, while clients are told of it."""
        self._valid = [(token.encode("ascii"), float("inf")), *self._valid]

    def withdraw(self) -> None:
        """Take back what was offered: nobody was told of it."""
        self._valid = self._valid[1:]

    def settle(self, grace: float) -> None:
        """Go over to what was offered; the one before it stays good for ``grace`` seconds, and none that is older."""
        offered, (last, _), *_ = self._valid
        self._valid = [offered, (last, uptime() + grace)]

    def accept(self, value: bytes) -> bool:
        """Tell whether a header's value is one of them; that takes as long whatever it is."""
        now = uptime()
        known = [hmac.compare_digest(value, token) and now < until for token, until in self._valid]
        return any(known)


class Endpoint:
    """The application: credentials at ``/<name>`` for who has the token, ``/health`` and ``/metrics`` for all."""

    def __init__(self, roles: Mapping[str, Keeper], tokens: Tokens, *, any_host: bool = False) -> None:
        """Serve each keeper at its name, a single one at ``/`` too.

        ``any_host`` takes requests whatever host they name: for TLS, whose certificate says who is meant.
        """
        self.roles = {name: Role(keeper) for name, keeper in roles.items()}
        self._paths = {f"/{name}": role for name, role in self.roles.items()}
        if len(self.roles) == 1:
            self._paths["/"] = next(iter(self.roles.values()))
        self._tokens = tokens
        self._any_host = any_host
        self.statuses: collections.Counter[int] = collections.Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: list[tuple[bytes, bytes]] = []
        try:
            status, kind, content = await self._answer(scope)
        except Refused as refused:
            status, kind, headers = refused.status, "application/json", list(refused.headers)
            content = _json(refused.body())
            logger.debug("answered %d %s", status, refused.code)
        except Exception as error:
            logger.exception("a request ended in an unforeseen error")
            status, kind = 500, "application/json"
            content = _json(Refused(500, "InternalError", f"internal error: {type(error).__name__}").body())
        self.statuses[status] += 1
        length = str(len(content)).encode("ascii")
        fields = [(b"content-type", kind.encode("ascii")), (b"content-length", length), *_HEADERS, *headers]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope: Scope) -> tuple[int, str, bytes]:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if not self._any_host and not _is_local(_only(headers, b"host")):
            raise Refused(403, "WrongHost", "the Host of the request is not this machine's loopback; ask 127.0.0.1")
        if scope["method"] != "GET":
            raise Refused(405, "MethodNotAllowed", "only GET is answered", (b"allow", b"GET"))
        path, sent = scope["path"], _only(headers, b"authorization")
        is_known = self._tokens.accept(sent)
        if path == "/metrics":
            return 200, exposition.CONTENT_TYPE, self._metrics()
        if path == "/health":
            return self._health(told=is_known)
        if not is_known:
            what = "is not the token" if sent else "is missing"
            also = "" if sent else "; an SDK that does not know the file (AWS CLI 2.9) needs the latter: $(cat FILE)"
            raise Refused(
                403,
                "AccessDenied",
                f"the Authorization header {what}; set AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE to the file that the "
                f"server wrote, or AWS_CONTAINER_AUTHORIZATION_TOKEN to the token alone{also}",
            )
        if path not in self._paths:
            places = ", ".join(sorted(map(path_of, self.roles)))
            raise Refused(404, "NotFound", f"nothing is served here; there is {places}")
        return 200, "application/json", _json(document(await self._paths[path].credentials()))

    def _health(self, *, told: bool) -> tuple[int, str, bytes]:
        """Return how all roles do; the words of a failure, which name addresses, only to who has the token."""
        roles: dict[str, dict[str, Any]] = {}
        for name, role in self.roles.items():
            health = role.keeper.health()
            left = None if health.seconds_left is None else int(health.seconds_left)
            roles[name] = {"valid": health.authenticated, "seconds_left": left, "failing": health.error is not None}
            if told:
                roles[name]["error"] = health.error
        is_well = all(role["valid"] for role in roles.values())
        content = _json({"status": "ok" if is_well else "unavailable", "roles": roles})
        return 200 if is_well else 503, "application/json", content

    def _metrics(self) -> bytes:
        for role in self.roles.values():
            role.look()
        return exposition.text(
            self.statuses,
            {name: (role.keeper.health(), role.token_expiry) for name, role in self.roles.items()},
        )


def document(credentials: AWSCredentials) -> dict[str, str]:
    """Return what SDKs read: ``Token`` is there where there is none, too, and ``Expiration`` always."""
    fields = {
        "AccessKeyId": credentials.access_key,
        "SecretAccessKey": credentials.secret_key,
        "Token": credentials.session_token or "",
        "Expiration": format_timestamp(credentials.expiry),
    }
    if credentials.account_id:
        fields["AccountId"] = credentials.account_id
    return fields


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def _only(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Return the value of a header that stands there once, else nothing."""
    found = [value for key, value in headers if key == name]
    return found[0] if len(found) == 1 else b""


_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([0-9a-z.-]+))(?::[0-9]{1,5})?", re.ASCII)


def _is_local(host: bytes) -> bool:
    """Tell whether a ``Host`` names the loopback of a machine: a page whose name was bound anew to it does not."""
    match = _HOST.fullmatch(host.decode("latin-1").lower())
    return match is not None and is_loopback(match[1] or match[2])


def path_of(name: str) -> str:
    """Return the path at which a role is served, quoted as it stands in an address."""
    return f"/{quote(name, safe='')}"
