"""The controls: a secret that is leaked on purpose is found, at each place and in each form."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from .evidence import MAY_STAND, PLACES, Evidence
from .family import add_witnesses, family, look, wait_for, watched_environ
from .plants import KINDS, Secret, awkward, word
from .plays import Play
from .search import ENCODINGS, FORMS, Search
from .stage import Stage

Staged = Callable[..., AbstractContextManager[Stage]]
SECRET = Secret("password", word())
LEAKY = """
import logging, os, pathlib, subprocess, sys, tempfile
secret, directory = sys.argv[1], pathlib.Path(sys.argv[2])
if len(sys.argv) > 3:
    getattr(sys, sys.argv[3]).write(secret)
    sys.exit()
logging.getLogger("urllib3.connectionpool").debug("GET /v1/x?code=%s", secret)
os.environ["HANDED_ON"] = secret
(directory / f"named-{secret}").touch()
(directory / "left").write_text(secret)
(directory / "gone").write_text(secret)
(directory / "gone").unlink()
subprocess.run(["/bin/true", secret], env={**os.environ, "MORE": secret})
os._exit(0)
"""


def test_every_form_is_found() -> None:
    """In upper case too, and with other words around it."""
    for value in (word(), awkward()):
        search = Search((Secret("password", value),))
        for form in FORMS.values():
            assert search.found(f"x{form(value)}y") == list(search.secrets)
            assert search.found(f"x{form(value).upper()}y") == list(search.secrets)
        for encode in ENCODINGS.values():
            for before in ("", "a", "ab", "user:"):
                assert search.found(encode(f"{before}{value}z".encode()).decode()) == list(search.secrets)
        header = base64.b64encode(f"alice:{value}".encode()).decode()
        assert search.found(f"Authorization: Basic {header}") == list(search.secrets)
        assert search.found(value[:-1] + "\n" + value[-1]) == []


class LeakyError(Exception):
    """An error that holds a secret."""

    def __init__(self, secret: str) -> None:
        super().__init__("something")
        self.held = secret


class Shown:
    """A value of ours that shows a secret."""

    __module__ = "vault_credential_process.somewhere"

    def __repr__(self) -> str:
        return SECRET.value


def of_error(evidence: Evidence) -> None:
    """Leak in an error's attributes, in its traceback, and in a frame that is not a test's."""
    # json is somebody else's code, whose frames hold what they were given.
    import json

    try:
        try:
            json.loads(f'{{"a": "{SECRET.value}"')
        finally:
            raise LeakyError(SECRET.value)
    except LeakyError as error:
        evidence.add_error(error)
    try:
        raise ValueError(SECRET.value)
    except ValueError as error:
        evidence.add_error(error)


def test_every_place_is_searched(staged: Staged, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A leak at each place where nothing may stand is found there."""
    evidence, leaked = Evidence(), Shown()
    with staged(Play("token", "none", secrets=(SECRET,))) as stage, stage.watched(evidence):
        witnesses = stage.root / "witnesses"
        environ = watched_environ(witnesses)
        command = [sys.executable, "-c", LEAKY, SECRET.value, str(stage.root / "tmp")]
        subprocess.run(command, env=environ, check=True, timeout=60)
        for stream in ("stdout", "stderr"):
            done = subprocess.run(
                [*command, stream], env=environ, capture_output=True, text=True, check=True, timeout=60
            )
            evidence.add(stream, "", getattr(done, stream))
            of_serve = ("answer of serve", "other answer of serve", "token file")
            under_exec = ("environment under exec", "environment under exec --env")
            for place in ("stdout of get", "lines of env", "address of console", *of_serve, *under_exec):
                evidence.add(place, "", done.stdout)
            evidence.add("terminal", "", getattr(done, stream))
        (stage.root / "log").write_text(SECRET.value)
        of_error(evidence)
        evidence.add_alive()
        for kind in ("entry", "quick"):
            (stage.runtime / f"{kind}-{'0' * 40}").write_text(SECRET.value)
        assert {"log", "variable", "file", "command line", "environment"} <= add_witnesses(evidence, witnesses)

    assert leaked
    found = {leak.place for leak in evidence.leaks(Search((SECRET,)))}
    assert found == set(PLACES)
    gone = {leak.where for leak in evidence.leaks(Search((SECRET,))) if leak.where.endswith("/gone")}
    assert len(gone) == 1


def test_running_child_is_looked_at(tmp_path: pathlib.Path) -> None:
    """What ``/proc`` shows of a child of a process is found: arguments, and variables that its parent added."""
    ready, evidence = tmp_path / "ready", Evidence()
    program = (
        "import subprocess, sys\n"
        f"words, environ = ['/bin/sh', '-c', 'touch {ready}; sleep 60; :'], {{'MORE': {SECRET.value!r}}}\n"
        "subprocess.run([*words, sys.stdin.read()], env=environ)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(SECRET.value.encode())
        process.stdin.close()
        try:
            wait_for(ready.exists)
            assert look(evidence, process.pid, os.environ) >= 2
        finally:
            for one in reversed(family(process.pid)):
                # One whose child was killed may have ended by itself.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)

    assert {leak.place for leak in evidence.leaks(Search((SECRET,)))} == {"command line", "environment"}


def test_log_of_this_process_is_seen(staged: Staged) -> None:
    """All loggers are heard, at every level, with the arguments of what they log and the errors that hang on it."""
    evidence = Evidence()
    with staged(Play("token", "none", secrets=(SECRET,))) as stage, stage.watched(evidence):
        for name in ("urllib3", "requests", "hvac", "botocore", "vault_credential_process.vault"):
            logging.getLogger(name).debug("%.1s", SECRET.value)
    leaks = evidence.leaks(Search((SECRET,)))

    assert {(leak.place, leak.where) for leak in leaks} == {
        ("log", name) for name in ("urllib3", "requests", "hvac", "botocore", "vault_credential_process.vault")
    }


def test_what_may_stand_somewhere_is_told_apart() -> None:
    """A token may stand in an entry of the cache and not in a quick answer; a password in neither."""
    evidence = Evidence()
    token, key = Secret("Vault token", word()), Secret("AWS credentials", word())
    for place in ("cache entry", "quick answer", "stdout of get"):
        evidence.add(place, place, f"{SECRET.value} {token.value} {key.value}")
    found = {(leak.place, leak.kind) for leak in evidence.leaks(Search((SECRET, token, key)))}

    assert found == {
        ("cache entry", "password"),
        ("quick answer", "password"),
        ("quick answer", "Vault token"),
        ("stdout of get", "password"),
        ("stdout of get", "Vault token"),
    }
    assert MAY_STAND.keys() <= PLACES.keys()
    assert {kind for kinds in MAY_STAND.values() for kind in kinds} <= KINDS.keys()
