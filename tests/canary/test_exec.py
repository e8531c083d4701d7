"""``exec`` and ``shell`` while a program runs: what stands in its environment, and that no secret of ours does."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from vault_credential_process.cli.exec.child_environment import ENDPOINT, TOKEN

from .evidence import Evidence
from .failures import repeating
from .family import COMMAND, PATIENCE, add_witnesses, core_limit, family, look, watched_environ
from .methods import PLAYS
from .plants import Secret
from .plays import Props
from .search import Search
from .stage import Stage

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/limits"), reason="no /proc on this system")

Staged = Callable[..., AbstractContextManager[Stage]]
WAIT = "echo ready; read line"
OF_A_PROGRAM = {False: "environment under exec", True: "environment under exec --env"}


def variable(pid: int, name: str) -> str:
    """Return a variable of a process."""
    variables = pathlib.Path(f"/proc/{pid}/environ").read_text().split("\0")
    return next((text.partition("=")[2] for text in variables if text.startswith(f"{name}=")), "")


@pytest.mark.parametrize("name", ["exec", "shell"])
@pytest.mark.parametrize("becomes", [False, True], ids=["endpoint", "env"])
@pytest.mark.parametrize("method", ["approle", "jwt", "token"])
def test_program_while_it_runs(name: str, becomes: bool, method: str, props: Props, staged: Staged) -> None:
    """The endpoint's token, or with ``--env`` the AWS credentials, is all that it has, and all that we show anybody."""
    evidence = Evidence()
    with staged(next(iter(PLAYS[method](props)))) as stage, stage.watched(evidence):
        environ = watched_environ(stage.root / "witnesses", SHELL="/bin/sh")
        flags = ("--profile=webapp", "-v", f"--log-file={stage.root / 'log'}", *(("--env",) if becomes else ()))
        words = ("--", "/bin/sh", "-c", WAIT) if name == "exec" else ()
        with subprocess.Popen(
            [*COMMAND, name, *flags, *words],
            env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            if name == "shell":
                process.stdin.write(f"{WAIT}\n")
                process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            program = family(process.pid)[-1]
            token = variable(program, TOKEN)
            assert (bool(token), bool(variable(program, ENDPOINT))) == (not becomes, not becomes)
            look(evidence, process.pid, environ)
            assert {core_limit(pid) for pid in family(process.pid)} == {"0"}
            out, err = process.communicate("\n", timeout=PATIENCE)
        assert process.returncode == 0, err
        evidence.add("stdout", name, out)
        evidence.add("stderr", name, err)
        add_witnesses(evidence, stage.root / "witnesses")
        search = Search((*stage.secrets, *([Secret("endpoint token", token)] if token else [])))
        of_program = [place == "environment" and "AWS_CONFIG_FILE" in text for place, _, text in evidence.texts]
        assert sum(of_program) >= 2
        evidence.texts[:] = [
            (OF_A_PROGRAM[becomes] if is_its else place, where, text)
            for is_its, (place, where, text) in zip(of_program, evidence.texts, strict=True)
        ]
    assert evidence.leaks(search) == set()
    assert evidence.kinds(search, OF_A_PROGRAM[becomes]) == {"AWS credentials" if becomes else "endpoint token"}
    assert {"stderr", "log", "file name", "command line"} <= evidence.places


@pytest.mark.parametrize("flags", [(), ("--env",)], ids=["endpoint", "env"])
@pytest.mark.parametrize("moment", ["login", "read"])
def test_when_vault_fails(moment: str, flags: tuple[str, ...], props: Props, staged: Staged) -> None:
    """Where Vault repeats what it was sent, no program is run and nothing of it is shown."""
    evidence = Evidence()
    with staged(next(iter(PLAYS["approle"](props)))) as stage, stage.watched(evidence):
        environ = watched_environ(stage.root / "witnesses")
        stage.script(**{moment: repeating(400, str)})
        command = [*COMMAND, "exec", "--profile=webapp", "-v", *flags, "--", "/bin/sh", "-c", "echo ready"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert (done.returncode in {2, 3}, done.stdout) == (True, "")
        evidence.add("stderr", "exec", done.stderr)
        add_witnesses(evidence, stage.root / "witnesses")
    assert evidence.leaks(stage.search) == set()
