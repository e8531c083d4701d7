"""``serve`` while it runs: what it prints, logs, writes and answers, where all goes well and where Vault fails."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from vault_credential_process.testing.scripted import reply

from ..serving import TOKEN_FILE, Serving
from .evidence import Evidence
from .failures import repeating
from .family import COMMAND, PATIENCE, add_witnesses, core_limit, look, wait_for, watched_environ
from .methods import PLAYS
from .plants import Secret
from .plays import Props
from .search import Search
from .stage import READ, Stage

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/limits"), reason="no /proc on this system")

Staged = Callable[..., AbstractContextManager[Stage]]


class Watched(Serving):
    """``serve`` at its most talkative, in the sight of a witness."""

    def __init__(self, stage: Stage, evidence: Evidence) -> None:
        self.stage, self.evidence, self.tokens = stage, evidence, set[str]()
        self.surroundings = watched_environ(stage.root / "witnesses")
        super().__init__("--profile=webapp", "-v", f"--log-file={stage.root / 'log'}", **self.surroundings)

    def ask_for_all(self) -> int:
        """Ask for everything, with the token and without, and note what came back; return the credentials' status."""
        self.tokens.add(self.token)
        given = self.ask("/webapp")
        place = "answer of serve" if given.status == 200 else "other answer of serve"
        self.evidence.add(place, "/webapp", given.body.decode())
        for path in ("/health", "/metrics", "/webapp", "/nothing"):
            for token in (None, "a-token-that-is-guessed", self.token):
                if path != "/webapp" or token != self.token:
                    answer = self.ask(path, token=token)
                    self.evidence.add("other answer of serve", path, f"{answer.headers}{answer.body.decode()}")
        return given.status

    def leaks(self) -> set[object]:
        """End it, and return what was found where it may not stand."""
        path = self.environ[TOKEN_FILE]
        look(self.evidence, self.process.pid, self.surroundings)
        assert core_limit(self.process.pid) == "0"
        assert self.end() == 0, self.errors
        self.evidence.add("stdout", "serve", "".join(self.lines))
        self.evidence.add("stderr", "serve", "".join(self.errors))
        assert "log" in add_witnesses(self.evidence, self.stage.root / "witnesses")
        self.evidence.texts[:] = [
            ("token file" if place == "file" and where.startswith(path) else place, where, text)
            for place, where, text in self.evidence.texts
        ]
        return set(self.evidence.leaks(self.search))

    @property
    def search(self) -> Search:
        """The search for all that was planted, and for every token that clients may send."""
        return Search((*self.stage.secrets, *(Secret("endpoint token", token) for token in self.tokens)))


def test_serve_while_it_runs(props: Props, staged: Staged) -> None:
    """No stream, log, file, argument or variable shows a secret, nor does an answer to who lacks the token."""
    evidence = Evidence()
    with (
        staged(next(iter(PLAYS["approle"](props)))) as stage,
        stage.watched(evidence),
        Watched(stage, evidence) as serving,
    ):
        assert serving.ask_for_all() == 200
        serving.process.send_signal(signal.SIGHUP)
        wait_for(lambda: serving.token not in serving.tokens)
        assert serving.ask_for_all() == 200
        assert len(serving.tokens) == 2
        evidence.add("token file", "read by a client", serving.token)
        check = [*COMMAND, "serve", "--check", f"--port={serving.address.rpartition(':')[2]}", "-v"]
        done = subprocess.run(
            check, env=serving.surroundings, capture_output=True, text=True, check=True, timeout=PATIENCE
        )
        evidence.add("stdout", "serve --check", done.stdout)
        evidence.add("stderr", "serve --check", done.stderr)
        assert serving.leaks() == set()

        assert evidence.kinds(serving.search, "answer of serve") == {"AWS credentials"}
        assert evidence.kinds(serving.search, "token file") == {"endpoint token"}
        assert {"other answer of serve", "stdout", "stderr", "log", "file name"} <= evidence.places


def test_serve_when_vault_fails(props: Props, staged: Staged) -> None:
    """The same while Vault repeats what it was sent, before the pair has ended and after."""
    evidence = Evidence()
    with staged(next(iter(PLAYS["approle"](props)))) as stage, stage.watched(evidence):
        brief = reply(200, {"lease_id": "aws/creds/webapp/1", "lease_duration": 2, "data": stage.pair.data})
        stage.server.on(*READ, brief, repeating(400, str))
        with Watched(stage, evidence) as serving:
            assert serving.ask_for_all() == 200
            wait_for(lambda: serving.ask("/health").json["roles"]["webapp"]["error"])
            serving.ask_for_all()
            wait_for(lambda: serving.ask("/webapp").status == 424)  # 503 while the last second of the pair runs
            assert serving.ask_for_all() == 424
            assert serving.leaks() == set()
            assert "***" in "".join(text for place, _, text in evidence.texts if place == "other answer of serve")
