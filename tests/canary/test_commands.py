"""Every command, with every action and flag, for every auth method, and where Vault fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from vault_credential_process import auth
from vault_credential_process.expiry import Deadline
from vault_credential_process.sources import SERVICE

from ..conftest import Run
from ..test_autoload_command import Python, python
from .commands import RUNS
from .evidence import Evidence
from .failures import FAILURES, Failure
from .methods import PLAYS
from .plants import Secret, awkward
from .plays import Play, Props
from .search import Search
from .stage import Stage

__all__ = ["python"]

Staged = Callable[..., AbstractContextManager[Stage]]
ALL = [run for runs in RUNS.values() for run in runs if not run.apart]
OF_PROFILES = [run for run in ALL if run.words[0] not in ("secret", "autoload", "completion")]
OF_NO_PROFILE = [run for run in ALL if run not in OF_PROFILES]


@pytest.mark.parametrize("method", auth.METHODS)
def test_commands_of_a_profile(method: str, props: Props, staged: Staged) -> None:
    """One after the other, each as talkative as can be and each silent, none shows a secret but ``get``."""
    play = next(iter(PLAYS[method](props)))
    with staged(play) as stage:
        stage.fresh_cache()
        evidence = Evidence()
        codes = {}
        with stage.watched(evidence):
            if play.person:
                stage.fetcher().log_in(play.person(), Deadline(20))
            for run in OF_PROFILES:
                if not (play.person and run.words[0] == "login"):
                    codes[" ".join(run.words)] = stage.talkative(evidence, *run.words)
                    stage.command(evidence, *run.words)
        assert evidence.leaks(stage.search) == set()
        assert evidence.kinds(stage.search, "stdout of get") <= {"AWS credentials"}
        # Where an Agent has the token nobody logs in, and where a person has to, nobody does after the logout.
        expected = {0, 2} if method == "agent" else {0, 3} if play.person else {0}
        assert set(codes.values()) <= expected, codes


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: f"{failure.moment} {failure.name}")
def test_commands_when_vault_fails(failure: Failure, props: Props, staged: Staged) -> None:
    """The same where the login or the read goes wrong."""
    play = next(iter(PLAYS["approle"](props)))
    with staged(play) as stage:
        stage.fresh_cache()
        evidence = Evidence()
        stage.script(**{failure.moment: failure.answer(play, stage.pair)})
        with stage.watched(evidence):
            for run in OF_PROFILES:
                if run.asks_vault:
                    stage.talkative(evidence, *run.words)
        assert evidence.leaks(stage.search) == set()


@pytest.mark.parametrize("status", [403, 500])
def test_commands_when_nothing_can_be_revoked(status: int, props: Props, staged: Staged) -> None:
    """Nor where the end of a token is refused, by a server that repeats it."""
    play = next(iter(PLAYS["approle"](props)))
    with staged(play) as stage:
        evidence = Evidence()
        repeated = next(f for f in FAILURES if f.name == f"HTTP {status}").answer(play, stage.pair)
        stage.server.on("POST", "auth/token/revoke-self", repeated)
        with stage.watched(evidence):
            for words in (
                ("get", "--no-cache"),
                ("get",),
                ("logout",),
                ("cache", "clear", "--revoke"),
                ("logout", "--force"),
            ):
                stage.talkative(evidence, *words, "--profile=webapp")
        assert stage.server.asked("POST", "auth/token/revoke-self") >= 2
        assert evidence.leaks(stage.search) == set()


def test_secrets_and_autoload(props: Props, staged: Staged, python: Python, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that comes through a pipe is in the keyring, and nothing else of what these commands do holds it."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "canary_store.Store")
    typed = Secret("password", awkward())
    evidence = Evidence()
    with staged(Play("token", "none", secrets=(typed,))) as stage:
        with stage.watched(evidence):
            for run in OF_NO_PROFILE:
                assert stage.talkative(evidence, *run.words, stdin=typed.value.encode() if run.typed else b"") == 0
                if run.typed:
                    assert props.store.get_password(SERVICE, "webapp") == typed.value
        assert evidence.leaks(stage.search) == set()
    assert os.path.exists(os.environ["STORE_FILE"])


def test_completion(props: Props, staged: Staged, command: Run) -> None:
    """What is offered on a host that holds credentials, in profiles with all that may stand there, is no secret."""
    play = next(iter(PLAYS["approle"](props)))
    evidence = Evidence()
    with staged(play) as stage:
        stage.fresh_cache()
        assert stage.command(evidence, "get", "--profile=webapp") == 0
        with stage.config.open("a") as config:
            config.writelines(f"[profile {o.value[:8]}]\nvault_addr = https://u:{o.value}@h\n" for o in play.secrets)
        offered = stage.root / "offered"
        for line in ("get --profile ", "get --role ", "get --vault-addr ", "get -", "get --log-file ../"):
            asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(offered), "COMP_LINE": f"us {line}"}
            done = command(**asked, COMP_POINT=str(3 + len(line)), _ARC_DEBUG="1")
            assert done.returncode == 0
            evidence.add("stdout", line, done.stdout + offered.read_text())
            evidence.add("stderr", line, done.stderr)
            assert offered.read_text()
        assert evidence.leaks(stage.search) == set()


@pytest.mark.parametrize(
    "words",
    [
        ("get", "SECRET"), ("login", "--password=SECRET"), ("secret", "set", "n", "SECRET"), ("SECRET",),
        ("secret", "SECRET"), ("completion", "SECRET"), ("env", "--shell=SECRET"), ("cache", "SECRET"),
        ("get", "-pSECRET"), ("configure", "--yes=SECRET"), ("get", "--no-cache=SECRET"), ("status", "-vSECRET"),
        ("--password=SECRET", "get"), ("-pSECRET", "get"),
    ],
)  # fmt: skip
def test_secret_on_the_command_line_is_not_repeated(words: tuple[str, ...], staged: Staged) -> None:
    """A secret that somebody writes where none belongs is repeated by no stream, log or error."""
    typed = Secret("password", awkward())
    evidence = Evidence()
    with staged(Play("token", "none", secrets=(typed,))) as stage, stage.watched(evidence):
        assert stage.command(evidence, *(word.replace("SECRET", typed.value) for word in words)) == 2

    # The frames of this error hold the command line, which whoever wrote it can see anyway.
    assert {leak.place for leak in evidence.leaks(Search((typed,)))} <= {"frame"}
    assert {"stderr", "error", "traceback"} <= evidence.places
