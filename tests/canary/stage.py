"""Where it is played: a home, a runtime directory and a directory for temporary files that are searched afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import logging
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from vault_credential_process import auth, cache, cli, federation, probe
from vault_credential_process.cli import parser
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.profiles import Profile
from vault_credential_process.testing.scripted import Reply, ScriptedServer, reply

from .evidence import Evidence
from .failures import proofs, repeating
from .inner import canary_witness
from .plants import Pair, Secret, word
from .plays import Play
from .search import Search

READ = ("GET", "aws/creds/webapp")
GENERAL = {"vault_aws_role": "webapp", "vault_max_retries": "0", "vault_aws_timeout": "20"}
LOGGER = "vault_credential_process"
_OF_SECRETS = {"get": "stdout of get", "env": "lines of env", "console": "address of console"}
"""What prints secrets, and where they may stand then."""
_CALLER = b"<R><Account>123456789012</Account><Arn>arn:aws:iam::123456789012:user/a</Arn><UserId>A</UserId></R>"


class Terminalless(io.TextIOWrapper):
    """A stream in memory, with a buffer as a real one has."""

    def __init__(self, content: bytes = b"") -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        """All that was written."""
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


@dataclasses.dataclass
class Stage:
    """The place of one play: what is on this host, and a Vault that plays along."""

    root: pathlib.Path
    runtime: pathlib.Path
    patch: pytest.MonkeyPatch
    server: ScriptedServer
    play: Play
    pair: Pair
    aws: ScriptedServer
    """What answers for STS and for the console's federation endpoint when a person asks."""
    signin: Secret = dataclasses.field(default_factory=lambda: Secret("sign-in token", word("signin")))
    said: list[str] = dataclasses.field(default_factory=list)
    """What a face printed, or shows of itself."""

    def __post_init__(self) -> None:
        for name in ("work", "tmp"):
            (self.root / name).mkdir(exist_ok=True)
        self.patch.chdir(self.root / "work")
        self.patch.setenv("TMPDIR", str(self.root / "tmp"))
        self.patch.setattr(tempfile, "tempdir", None)
        self.config = self.root / "config"
        keys = {"vault_addr": self.server.address, "vault_auth_method": self.play.method, **GENERAL, **self.play.keys}
        self.keys = keys
        lines = "".join(f"{name} = {value}\n" for name, value in keys.items())
        self.config.write_text(f"[profile webapp]\nregion = us-east-1\n{lines}")
        for name, value in {"AWS_CONFIG_FILE": str(self.config), **self.play.environ}.items():
            self.patch.setenv(name, value)
        if self.play.method != "aws-iam":
            self.patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        self.patch.setattr(probe, "endpoint", lambda _: (f"{self.aws.address}/v1/sts", "us-east-1"))
        console = federation.Console(f"{self.aws.address}/v1/federation", "console.aws.amazon.com")
        self.patch.setattr(federation, "CONSOLES", {"aws": console})
        self.aws.on("POST", "sts", reply(200, _CALLER, {"Content-Type": "text/xml"}))
        self.aws.on("POST", "federation", reply(200, {"SigninToken": self.signin.value}))
        self.script()

    @property
    def login(self) -> tuple[str, str]:
        """The request that logs in."""
        return self.play.verb, self.play.path.format(method=self.play.method)

    def script(self, **changes: Reply) -> None:
        """Let the server answer well, but for the moments that are named; forget what it was asked."""
        self.server.requests.clear()
        token = self.play.token.value
        looked_up = {"id": token, "display_name": "canary", "ttl": 3600, "num_uses": 0, "type": "service"}
        self.server.on("GET", "auth/token/lookup-self", reply(200, {"data": looked_up}))
        self.server.on("POST", "auth/token/revoke-self", reply(204))
        # Few policies allow it.
        self.server.on("POST", "sys/leases/revoke", repeating(403, str))
        for request, answer in self.play.before.items():
            self.server.on(*request, answer)
        self.server.on(*self.login, changes.get("login", self.play.accepted))
        self.server.on(*READ, changes.get("read", self.read))

    @property
    def read(self) -> bytes:
        """The answer to a read that succeeds."""
        return reply(200, {"lease_id": "aws/creds/webapp/1", "lease_duration": 900, "data": self.pair.data})

    def fresh_cache(self) -> None:
        """Begin with an empty cache."""
        for path in self.runtime.iterdir():
            shutil.rmtree(path)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """All that is looked for: what was planted, and what was sent as a proof."""
        planted = {*self.play.secrets, self.play.token, *self.pair.secrets, self.signin}
        known = {secret.value for secret in planted}
        return (*planted, *(proof for proof in proofs(self.server.requests) if proof.value not in known))

    @property
    def search(self) -> Search:
        """The search for all of it."""
        return Search(self.secrets)

    @contextlib.contextmanager
    def watched(self, evidence: Evidence) -> Iterator[None]:
        """Collect what happens in this process and in these directories."""
        before = _states((self.root, self.runtime))
        witness = canary_witness.Witness()
        witness.start()
        try:
            yield
        finally:
            witness.stop()
            evidence.add_witness(witness.seen)
            changed = set(_states((self.root, self.runtime)).items()) - set(before.items())
            for path, _ in changed:
                if path != os.environ.get("STORE_FILE"):
                    self._found(evidence, path)

    def _found(self, evidence: Evidence, path: str) -> None:
        found = pathlib.Path(path)
        if found.is_file() and not path.endswith(".witness"):
            place = "log file" if found.name == "log" else None
            text = found.read_bytes().decode("utf-8", "replace")
            if place:
                evidence.add(place, path, text)
            else:
                evidence.add_file(path, text)
        elif found.is_dir():
            evidence.add("file name", "directory", path)

    def fetcher(self) -> Fetcher:
        """Return the engine of a program, for the profile; what it keeps lies in the host's cache."""
        config = auth.configure({}, os.environ, Profile("webapp", self.keys))
        return Fetcher(config, cache=cache.choose("auto", os.environ))

    def command(self, evidence: Evidence, *arguments: str, stdin: bytes = b"") -> int:
        """Run the command line in this process, with streams of its own; return its exit code."""
        caught: list[BaseException] = []
        run = parser.run

        def spy(*given: Any) -> int:
            try:
                return run(*given)
            except BaseException as error:
                caught.append(error)
                raise

        streams = {"stdin": Terminalless(stdin), "stdout": Terminalless(), "stderr": Terminalless()}
        with self.patch.context() as patch, _logging_as_it_was():
            patch.setattr(parser, "run", spy)
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            code = cli.main(arguments)
        place = "stdout" if code else _OF_SECRETS.get(arguments[0], "stdout")
        evidence.add(place, " ".join(arguments), streams["stdout"].text)
        evidence.add("stderr", " ".join(arguments), streams["stderr"].text)
        assert "internal error" not in streams["stderr"].text, streams["stderr"].text
        for error in caught:
            evidence.add_error(error)
        return code

    def talkative(self, evidence: Evidence, *arguments: str, stdin: bytes = b"") -> int:
        """Run a command at its most talkative."""
        flags = ("-v", f"--log-file={self.root / 'log'}")
        return self.command(evidence, *arguments, *flags, stdin=stdin)


@contextlib.contextmanager
def _logging_as_it_was() -> Iterator[None]:
    """Undo what the command does to logging: it owns its process, and not this one."""
    logger = logging.getLogger(LOGGER)
    before = (logger.propagate, logger.level, logger.handlers[:], logging.raiseExceptions)
    try:
        yield
    finally:
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler.stream, Terminalless):
                handler.stream.close()
        logger.propagate, logger.handlers[:], logging.raiseExceptions = before[0], before[2], before[3]
        logger.setLevel(before[1])


def _states(directories: Iterable[pathlib.Path]) -> dict[str, tuple[int, str]]:
    """Return the state of each file and directory: what was written anew has another."""
    found = {}
    for directory in directories:
        for path in directory.rglob("*"):
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found[str(path)] = (path.lstat().st_mtime_ns, content)
    return found
