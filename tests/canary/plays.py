"""How each auth method is played: its secrets planted in every way that its options declare, and a server for it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

from vault_credential_process import auth
from vault_credential_process.demo.laboratory import write_private
from vault_credential_process.models import Option, options_of
from vault_credential_process.sources import SERVICE
from vault_credential_process.testing.scripted import Reply, Request, ScriptedServer, reply

from ..auth.people import Somebody
from ..auth.tokens import Signer
from .inner.canary_store import Store
from .plants import Secret, awkward, token, word

SIGNER = Signer()
LOOK_UP = "auth/token/lookup-self"
VALUES: dict[str, Callable[[], Secret]] = {
    "vault_secret_id": lambda: Secret("Secret ID", word()),
    "vault_token": token,
    "vault_jwt": lambda: Secret("JWT", jwt()),
    "vault_password": lambda: Secret("password", awkward()),
    "vault_github_token": lambda: Secret("GitHub token", word("ghp_CANARY")),
}
"""What is planted for each secret that an option declares."""


def jwt(**claims: Any) -> str:
    """Return a token of a platform that is good for an hour."""
    return SIGNER.sign(**{"aud": "vault", "sub": "canary", "exp": int(time.time()) + 3600, **claims})


@dataclasses.dataclass(frozen=True)
class Play:
    """One way to log in with a method."""

    method: str
    way: str
    keys: dict[str, str] = dataclasses.field(default_factory=dict)
    environ: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)
    secrets: tuple[Secret, ...] = ()
    path: str = "auth/{method}/login"
    verb: str = "POST"
    token: Secret = dataclasses.field(default_factory=token)
    """The token that a login brings."""
    before: dict[tuple[str, str], Reply] = dataclasses.field(default_factory=dict, repr=False)
    """What is asked of Vault before the login, with its answers."""
    person: Callable[[], Somebody] | None = None
    """Who has to be there."""
    context: ssl.SSLContext | None = None
    """How the server speaks TLS."""

    @property
    def accepted(self) -> bytes:
        """The answer to a login that succeeds."""
        life = {"client_token": self.token.value, "accessor": "a", "lease_duration": 3600, "policies": ["app"]}
        if self.path == LOOK_UP:
            return reply(200, {"data": {"id": self.token.value, "ttl": 3600, "num_uses": 0, "type": "service"}})
        return reply(200, {"auth": {**life, "token_type": "service", "renewable": True}})

    @property
    def options(self) -> set[str]:
        """The options that it sets."""
        named = {variable: o.key for o in auth.options() for variable in o.environ}
        return {*self.keys, *(named[name] for name in self.environ if name in named)}


class Props:
    """Where secrets are planted, and which services of a platform there are, for one test."""

    def __init__(self, directory: pathlib.Path, stack: contextlib.ExitStack) -> None:
        """Plant in a directory; what has to be ended goes onto the stack."""
        self.directory = directory
        self.stack = stack
        self.store = Store()  # type: ignore[no-untyped-call]
        self._number = 0

    def file(self, content: str, name: str = "planted") -> str:
        """Plant a file that nobody else can read, and return its path."""
        self._number += 1
        path = self.directory / f"{name}-{self._number}"
        write_private(path, content + "\n")
        return str(path)

    def program(self, text: str) -> str:
        """Plant a file that can be run, and return its path."""
        path = self.file(text, "program")
        pathlib.Path(path).chmod(0o700)
        return path

    def entry(self, value: str) -> str:
        """Plant an entry of the keyring, and return its name."""
        self._number += 1
        self.store.set_password(SERVICE, f"planted-{self._number}", value)
        return f"planted-{self._number}"

    def command(self, value: str) -> str:
        """Return a command that prints a secret."""
        return f"/bin/cat {self.file(value)}"

    def service(self, otherwise: Reply) -> ScriptedServer:
        """Start a service that has one answer."""
        server = self.stack.enter_context(ScriptedServer())
        server.otherwise = otherwise
        return server


def sources(
    props: Props, method: str, secret: Secret, base: str
) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
    """Yield each way to hand a secret in that the method declares: its name, keys of the profile, and variables."""
    declared: dict[str, Option] = {o.key: o for o in options_of(auth.find(method))}
    makers: dict[str, Callable[[str], str]] = {"file": props.file, "keyring": props.entry, "command": props.command}
    if declared[base].secret:
        yield "variable", {}, {declared[base].environ[0]: secret.value}
    for kind, make in makers.items():
        if f"{base}_{kind}" in declared:
            yield kind, {f"{base}_{kind}": make(secret.value)}, {}


def declared_secrets(method: str) -> list[str]:
    """Return the secrets that a method declares as its own options."""
    return [o.key for o in options_of(auth.find(method)) if o.secret]


def by_declaration(props: Props, method: str, **further: Any) -> Iterator[Play]:
    """Yield a play for each way to hand in the secrets of a method; ``further`` is what it needs besides."""
    for base in declared_secrets(method):
        secret = VALUES[base]()
        for way, keys, environ in sources(props, method, secret, base):
            given = {**further, "keys": {**further.get("keys", {}), **keys}}
            given["environ"] = {**further.get("environ", {}), **environ}
            if further.get("path") == LOOK_UP:
                given["token"] = secret
            given["secrets"] = (secret, *further.get("secrets", ()))
            yield Play(method, way, **given)


def answered(**answers: Reply) -> Callable[[Any, Request], None]:
    """Return an answer that depends on the last word of the path; 404 for any other."""

    def answer(connection: Any, request: Request) -> None:
        name = request.path.partition("?")[0].rstrip("/").rpartition("/")[2].replace("-", "_")
        given = answers.get(name, reply(404))
        if callable(given):
            given(connection, request)
        else:
            connection.sendall(given)

    return answer


def document(request: Request) -> dict[str, Any]:
    """Return the body of a request, where it is one in JSON."""
    try:
        body = json.loads(request.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
