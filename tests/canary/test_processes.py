"""Real processes, while they run: command lines, environments, core dumps; a password that is typed at a terminal."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import resource
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from vault_credential_process import auth
from vault_credential_process.cli.terminal import Terminal
from vault_credential_process.expiry import Deadline
from vault_credential_process.testing.scripted import Reply, Request

from ..typist import Typist
from .evidence import Evidence
from .failures import repeating
from .family import COMMAND, Looker, add_witnesses, core_limit, look, wait_for, watched_environ
from .inner import canary_witness
from .methods import PLAYS
from .plants import Secret, awkward
from .plays import Play, Props
from .search import Search
from .stage import READ, Stage

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/limits"), reason="no /proc on this system")

Staged = Callable[..., AbstractContextManager[Stage]]
WITH_DUMPS = 'ulimit -c "$(ulimit -H -c)"; exec "$@"'
"""Lets a program dump core, as far as this machine allows it at all."""
OF_MACHINES = [name for name in auth.METHODS if name != "oidc"]  # which needs a person


def looking(looker: Looker, answer: Reply) -> Reply:
    """Return an answer before which the process that asks is looked at."""

    def reply(connection: Any, request: Request) -> None:
        looker.look()
        if callable(answer):
            answer(connection, request)
        else:
            connection.sendall(answer)

    return reply


@pytest.mark.parametrize("method", OF_MACHINES)
def test_get_while_it_runs(method: str, props: Props, staged: Staged) -> None:
    """Neither ``ps`` nor the environment of what it runs shows a secret; its memory goes into no core dump."""
    evidence = Evidence()
    with staged(next(iter(PLAYS[method](props)))) as stage, stage.watched(evidence):
        witnesses = stage.root / "witnesses"
        looker = Looker(evidence, watched_environ(witnesses))
        stage.script(login=looking(looker, stage.play.accepted))
        stage.server.on(*READ, looking(looker, stage.read))
        looker.start("/bin/sh", "-c", WITH_DUMPS, "sh", *COMMAND, "get", "--profile=webapp", "-v")
        assert looker.ended("stdout of get") == 0, evidence.texts
        assert looker.looked >= 2
        assert looker.limits == {"0"}
        assert "log" in add_witnesses(evidence, witnesses)
    assert evidence.leaks(stage.search) == set()
    assert evidence.kinds(stage.search, "stdout of get") == {"AWS credentials"}


@pytest.mark.parametrize("moment", ["login", "read"])
def test_get_that_fails(moment: str, props: Props, staged: Staged) -> None:
    """The same where Vault refuses: one line, and every file that was opened on the way is known."""
    evidence = Evidence()
    with staged(next(iter(PLAYS["approle"](props)))) as stage, stage.watched(evidence):
        witnesses = stage.root / "witnesses"
        looker = Looker(evidence, watched_environ(witnesses))
        stage.script(**{moment: looking(looker, repeating(400, str))})
        looker.start(*COMMAND, "get", "--profile=webapp", "-v", f"--log-file={stage.root / 'log'}")
        assert looker.ended("stdout") in {2, 3}
        assert looker.looked == 1
        add_witnesses(evidence, witnesses)
    assert evidence.leaks(stage.search) == set()
    written = {text for place, _, text in evidence.texts if place == "file name"}
    ours = (str(stage.root), str(stage.runtime), os.devnull, "/dev/tty", "/proc/")
    assert {path for path in written if not path.startswith(ours)} == set()


def test_limit_of_core_dumps_is_ours(tmp_path: pathlib.Path) -> None:
    """The control: another program keeps the limit that it was started with, which is not 0 where dumps are allowed."""
    looker = Looker(Evidence(), dict(os.environ))
    ready = tmp_path / "ready"
    program = f"import pathlib, time; pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    process = looker.start("/bin/sh", "-c", WITH_DUMPS, "sh", sys.executable, "-c", program)
    try:
        wait_for(ready.exists)
        assert (core_limit(process.pid) == "0") == (resource.getrlimit(resource.RLIMIT_CORE)[1] == 0)
    finally:
        process.kill()
        looker.ended("stdout")


@pytest.mark.parametrize("key", ["vault_aws_mfa_code_command", "vault_login_mfa_code_command"])
def test_command_that_prints_a_code(key: str, props: Props, staged: Staged, tmp_path: pathlib.Path) -> None:
    """While a command runs that prints a code, neither it nor we show any secret, with the token in hand already."""
    code, go = Secret("code", "4242994242"), tmp_path / "go"
    script = f"while [ ! -e {shlex.quote(str(go))} ]; do sleep 0.02; done; echo {code.value}"
    keys = {key: f"/bin/sh {props.file(script)}"}
    play = next(iter(PLAYS["okta" if "login" in key else "approle"](props)))
    play = dataclasses.replace(play, keys={**play.keys, **keys}, secrets=(*play.secrets, code))
    evidence = Evidence()
    with staged(play) as stage, stage.watched(evidence):
        witnesses = stage.root / "witnesses"
        looker = Looker(evidence, watched_environ(witnesses))
        process = looker.start(*COMMAND, "get", "--profile=webapp", "-v")
        try:
            wait_for(lambda: process.poll() is not None or look(Evidence(), process.pid, {}) >= 2)
            looker.look()
        finally:
            go.touch()
        assert looker.ended("stdout of get") == 0, evidence.texts
        assert looker.looked >= 2
        assert {"command line", "environment"} <= add_witnesses(evidence, witnesses)
        if "aws" in key:
            assert f"mfa_code={code.value}" in stage.server.requests[-1].path
    assert evidence.leaks(stage.search) == set()


def type_at(stage: Stage, evidence: Evidence, question: str, typed: Secret, *words: str) -> int:
    """Run a command that asks, look at it while it waits, type the answer, and note all; return its code."""
    witnesses = stage.root / "witnesses"
    environ = watched_environ(witnesses, PYTHON_KEYRING_BACKEND="canary_store.Store")
    log = f"--log-file={stage.root / 'log'}"
    with Typist("/bin/sh", "-c", WITH_DUMPS, "sh", *COMMAND, *words, "-v", log, environ=environ) as typist:
        typist.sees(question)
        look(evidence, typist.process.pid, environ)
        assert core_limit(typist.process.pid) == "0"
        assert not typist.echoes
        typist.types(typed.value)
        done = typist.ends()
        evidence.add("terminal", "", typist.shown)
        evidence.add("stdout", "", done.stdout)
        evidence.add("stderr", "", done.stderr)
    add_witnesses(evidence, witnesses)
    return int(done.returncode)


@pytest.mark.parametrize("method", ["userpass", "ldap", "radius"])
@pytest.mark.parametrize("refused", [False, True], ids=["accepted", "refused"])
def test_typed_password(method: str, refused: bool, props: Props, staged: Staged) -> None:
    """A password that is typed is not shown, and stands nowhere afterwards, also where the server repeats it."""
    play = next(play for play in PLAYS[method](props) if play.way == "typed")
    evidence = Evidence()
    with staged(play) as stage, stage.watched(evidence):
        if refused:
            stage.script(login=repeating(400, str))
        code = type_at(stage, evidence, "Password of alice at ", play.secrets[0], "login", "--profile=webapp")
        assert code == (3 if refused else 0), evidence.texts
        assert stage.server.asked(*stage.login) == 1
    assert evidence.leaks(stage.search) == set()


def test_typed_secret(props: Props, staged: Staged) -> None:
    """A secret that is typed for the keyring is not shown, and stands nowhere but in the keyring."""
    typed = Secret("password", awkward())
    evidence = Evidence()
    with staged(Play("token", "none", secrets=(typed,))) as stage, stage.watched(evidence):
        code = type_at(stage, evidence, "Secret to keep as webapp: ", typed, "secret", "set", "webapp")
        assert code == 0, evidence.texts
        kept = [text for items in props.store.items().values() for text in items.values()]
        # Its file is the keyring.
        evidence.texts = [text for text in evidence.texts if os.environ["STORE_FILE"] not in text[1]]
    assert kept == [typed.value]
    assert evidence.leaks(Search((typed,))) == set()


def test_browser_is_told_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """A browser, which outlives the login, gets neither the address as an argument nor what is meant for Vault."""
    told = tmp_path / "told"
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\nenv > {told}.part; mv {told}.part {told}\n")
    browser.chmod(0o700)
    secrets = {name: f"canary-of-{name.lower()}" for name in ("VAULT_TOKEN", "BAO_TOKEN", "VAULT_SECRET_ID")}
    for name, value in {**secrets, "BROWSER": str(browser)}.items():
        monkeypatch.setenv(name, value)
    witness = canary_witness.Witness()
    witness.start()
    try:
        assert Terminal(Deadline(30)).browse("https://idp.example.com/authorize?state=st_canary-of-the-state")
    finally:
        witness.stop()
    wait_for(told.exists)

    assert "HOME=" in told.read_text()
    assert [value for value in secrets.values() if value in told.read_text()] == []
    lines = [what for kind, _, what in witness.seen if kind == "command line"]
    assert len(lines) == 1
    assert "st_canary" not in lines[0]
