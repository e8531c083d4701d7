"""``exec`` as a parent: signals, exit codes, the terminal, and that neither outlives the other."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from vault_credential_process.testing.scripted import ScriptedServer

from .canary.family import core_limit, family
from .conftest import Run
from .serving import PATIENCE, wait_until
from .talk import LOOKED_UP, STS
from .typist import Typist

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc on this system")

COMMAND = (sys.executable, "-m", "vault_credential_process", "exec", "--")
WITNESS = """
import os, signal, sys, time
def note(number, _):
    os.write(1, (signal.Signals(number).name + "\\n").encode())
for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", "CONT"):
    signal.signal(getattr(signal, "SIG" + name), note)
print("ready", os.getpid(), os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"], flush=True)
limit = time.monotonic() + 60
while time.monotonic() < limit and not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
sys.exit(3)
"""
"""Says which signals it gets, until a file is there."""
BASH = shutil.which("bash") or "/bin/bash"
FALLBACK = (
    "import signal, sys; del signal.sigtimedwait; sys.argv[0] = 'vault-credential-process'; "
    "from vault_credential_process.cli import command; command()"
)
"""Runs the command as on macOS, where nobody learns who sent a signal."""


@pytest.fixture(autouse=True)
def vault(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """A server that has credentials for whoever has a token, and variables that lead to it."""
    scripted.on("GET", "auth/token/lookup-self", LOOKED_UP)
    scripted.on("GET", "aws/creds/webapp", STS)
    monkeypatch.setenv("VAULT_ADDR", scripted.address)
    monkeypatch.setenv("VAULT_AWS_ROLE", "webapp")
    monkeypatch.setenv("VAULT_TOKEN", "hvs.EXAMPLE")
    return scripted


class Program:
    """A command of ours with a program that says which signals it gets."""

    def __init__(self, process: subprocess.Popen[str], done: pathlib.Path) -> None:
        """Wait until the program runs."""
        self.process = process
        assert process.stdout is not None
        self._lines: list[str] = []
        self._thread = threading.Thread(target=lambda: self._lines.extend(iter(process.stdout.readline, "")))  # type: ignore[union-attr]
        self._done = done
        self._thread.start()
        _, pid, self.address = wait_until(lambda: self._lines)[0].split()
        self.pid = int(pid)

    @property
    def signals(self) -> list[str]:
        """The signals that it got so far."""
        return [line.strip() for line in self._lines[1:]]

    def gets(self, *names: str) -> None:
        """Wait until it got these signals, and see that it got no others."""
        wait_until(lambda: len(self.signals) >= len(names))
        assert self.signals == list(names)

    def ends(self) -> int:
        """Let the program end, and return our exit code."""
        self._done.touch()
        code = self.process.wait(PATIENCE)
        self._thread.join(PATIENCE)
        return code


@pytest.fixture
def run_program(tmp_path: pathlib.Path) -> Iterator[Callable[..., Program]]:
    """Return what starts a command of ours with such a program."""
    started: list[Program] = []

    def start(*command: str, **options: Any) -> Program:
        words = (*(command or COMMAND), sys.executable, "-c", WITNESS, str(tmp_path / "done"))
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **options)
        started.append(Program(process, tmp_path / "done"))
        return started[-1]

    yield start
    for program in started:
        with contextlib.suppress(ProcessLookupError):
            program.process.send_signal(signal.SIGCONT)
        program.ends()
        assert program.process.stdout is not None
        program.process.stdout.close()


def state(pid: int) -> str:
    """Return the state of a process as the kernel names it; nothing where there is none."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    return state(pid) in ("", "Z")


def signals(task: int | str, which: str) -> int:
    """Return the signals that a thread blocks (``SigBlk``), or that wait for its process (``ShdPnd``)."""
    text = pathlib.Path(f"/proc/{task}/status").read_text()
    return int(dict(line.split(":", 1) for line in text.splitlines())[which], 16)


class TestCodes:
    """The exit code is the program's."""

    @pytest.mark.parametrize("code", [0, 3, 130])
    def test_code_of_the_program(self, code: int, run: Run) -> None:
        """Whatever it is."""
        done = run(*COMMAND, "sh", "-c", f"echo out; echo err >&2; exit {code}")

        assert (done.returncode, done.stdout, done.stderr) == (code, "out\n", "err\n")

    @pytest.mark.parametrize("name", ["INT", "KILL", "SEGV"])
    def test_signal_of_the_program(self, name: str, run: Run) -> None:
        """Where a signal ended it we end by the same one: a shell has 128 and its number, and sees a Ctrl-C."""
        done = run(*COMMAND, "sh", "-c", f"kill -{name} $$")

        assert (done.returncode, done.stdout, done.stderr) == (-getattr(signal, f"SIG{name}"), "", "")

    def test_streams_are_the_programs(self) -> None:
        """It reads our stdin, to its end."""
        done = subprocess.run(
            [*COMMAND, "cat"], input="through\n", capture_output=True, text=True, timeout=60, check=False
        )

        assert (done.returncode, done.stdout, done.stderr) == (0, "through\n", "")


class TestSignals:
    """What is sent to us reaches the program, once."""

    @pytest.mark.parametrize("command", [COMMAND, (sys.executable, "-c", FALLBACK, "exec", "--")], ids=["", "macOS"])
    def test_each_is_passed_on_once(self, command: tuple[str, ...], run_program: Callable[..., Program]) -> None:
        """Each of these, while we live on and return the program's code."""
        program = run_program(*command, start_new_session=True)
        names = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT"]
        for number, name in enumerate(names, 1):
            program.process.send_signal(getattr(signal, name))
            program.gets(*names[:number])

        assert program.ends() == 3
        assert program.signals == names

    def test_program_that_takes_its_default_action(self, run: Run) -> None:
        """A program that handles no ``SIGTERM`` is ended by ours, and so are we."""
        process = subprocess.Popen([*COMMAND, "sh", "-c", "echo ready; exec sleep 60"], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.terminate()
            assert process.wait(PATIENCE) == -signal.SIGTERM

    def test_ignored_signal_stays_ignored(self, run: Run) -> None:
        """What ``nohup`` set is inherited; nothing that Python ignores or blocks is."""
        show = "trap '' HUP; exec \"$@\""
        done = run("sh", "-c", show, "sh", *COMMAND, "cat", "/proc/self/status")
        lines = dict(line.split(":\t", 1) for line in done.stdout.splitlines())

        assert int(lines["SigBlk"], 16) == 0
        assert int(lines["SigIgn"], 16) == 1 << signal.SIGHUP - 1

    def test_what_other_threads_block(self, run_program: Callable[..., Program]) -> None:
        """Programs that other threads start, such as a ``vault_*_command``, inherit no more than a terminal's keys."""
        pid = run_program().process.pid
        blocked = {int(task): signals(f"{pid}/task/{task}", "SigBlk") for task in os.listdir(f"/proc/{pid}/task")}
        blocked.pop(pid)
        keys = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH)

        assert blocked
        assert set(blocked.values()) == {sum(1 << number - 1 for number in keys)}

    def test_program_that_signals_its_group(self, run: Run) -> None:
        """``kill 0`` reaches the program once, not once more by way of us."""
        script = "trap 'n=$((n+1))' USR1; kill -USR1 0; sleep 0.2; sleep 0.2; echo $n"
        done = subprocess.run(
            [*COMMAND, "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False,
            start_new_session=True,
        )  # fmt: skip

        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")

    def test_while_vault_is_asked(self, vault: ScriptedServer) -> None:
        """A ``SIGTERM`` before there are credentials ends us, and nothing was run."""
        asked, go = threading.Event(), threading.Event()

        def wait(*_: object) -> None:
            asked.set()
            go.wait(PATIENCE)

        vault.on("GET", "aws/creds/webapp", wait)
        process = subprocess.Popen([*COMMAND, "echo", "run"], stdout=subprocess.PIPE)
        with process:
            assert asked.wait(PATIENCE)
            relatives = family(process.pid)
            assert len(relatives) == 2
            process.terminate()
            assert process.communicate(timeout=PATIENCE)[0] == b""
            assert process.returncode == -signal.SIGTERM
            go.set()
        wait_until(lambda: all(map(is_gone, relatives)))


class TestTerminal:
    """At a terminal."""

    SAY = "import os; print(os.tcgetpgrp(0) == os.getpgrp(), os.isatty(0), flush=True)"

    def test_program_has_it(self) -> None:
        """The program is in the foreground, with the terminal that we have."""
        with Typist(*COMMAND, sys.executable, "-c", self.SAY) as typist:
            done = typist.ends()

        assert (done.returncode, done.stdout, done.stderr) == (0, "True True\n", "")

    @pytest.mark.parametrize(
        ("key", "name"), [(termios.VINTR, "SIGINT"), (termios.VQUIT, "SIGQUIT")], ids=["Ctrl-C", "Ctrl-\\"]
    )
    def test_key_reaches_the_program_once(self, key: int, name: str, tmp_path: pathlib.Path) -> None:
        """A key that sends a signal reaches the program once; a ``kill`` of us is told apart, and passed on."""
        with Typist(*COMMAND, sys.executable, "-c", WITNESS, str(tmp_path / "done")) as typist:
            assert typist.process.stdout is not None
            typist.process.stdout.readline()
            typist.presses(key)
            assert typist.process.stdout.readline().decode() == f"{name}\n"
            # A second one would be the same one until we have fetched the first and wait, which unblocks them.
            wait_until(lambda: not any(signals(typist.process.pid, which) for which in ("ShdPnd", "SigBlk")))
            typist.kills(getattr(signal, name))
            assert typist.process.stdout.readline().decode() == f"{name}\n"
            (tmp_path / "done").touch()
            done = typist.ends()

        assert (done.returncode, done.stdout, done.stderr) == (3, "", "")

    def test_shell_sees_the_interruption(self, tmp_path: pathlib.Path) -> None:
        """Ctrl-C that ends the program ends a loop of the shell that runs us."""
        script = f"while :; do {' '.join(COMMAND)} sh -c 'echo ready; exec sleep 60'; done"
        with Typist(BASH, "-c", script) as typist:
            assert typist.process.stdout is not None
            assert typist.process.stdout.readline() == b"ready\n"
            typist.presses(termios.VINTR)
            done = typist.ends()

        assert (done.returncode, done.stdout) == (-signal.SIGINT, "")

    def test_job_control(self, tmp_path: pathlib.Path) -> None:
        """Ctrl-Z stops both, ``fg`` lets both go on, and the program's code comes back."""
        program = f"{' '.join(COMMAND)} {sys.executable} -c '{WITNESS}' {tmp_path / 'done'} > {tmp_path / 'out'}"
        (tmp_path / "run").write_text(program)
        out = tmp_path / "out"
        with Typist(BASH, "--norc", "--noprofile", "-i", environ={"PS1": "$ ", "HISTFILE": ""}) as typist:
            typist.types(f". {tmp_path / 'run'}")
            wait_until(lambda: out.exists() and out.read_text().startswith("ready"))
            child = int(out.read_text().split()[1])
            us = int(pathlib.Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
            for _ in range(2):
                typist.presses(termios.VSUSP)
                wait_until(lambda: (state(us), state(child)) == ("T", "T"))
                typist.types("fg")
                wait_until(lambda: "T" not in (state(us), state(child)))
            (tmp_path / "done").touch()
            wait_until(lambda: is_gone(us))
            typist.types(f"echo $? > {tmp_path / 'code'}; exit")
            typist.ends()

        assert (tmp_path / "code").read_text() == "3\n"
        assert set(out.read_text().split("\n")[1:-1]) == {"SIGCONT"}

    def test_without_a_terminal_nobody_is_stopped(self, run_program: Callable[..., Program]) -> None:
        """Where no shell could let us go on, a program that is stopped is stopped alone."""
        program = run_program(start_new_session=True)
        os.kill(program.pid, signal.SIGSTOP)
        wait_until(lambda: state(program.pid) == "T")
        time.sleep(0.2)
        assert state(program.process.pid) != "T"
        program.process.send_signal(signal.SIGCONT)
        program.gets("SIGCONT")


class TestLife:
    """Neither outlives the other."""

    def test_we_are_killed(self, run_program: Callable[..., Program]) -> None:
        """``SIGKILL``, which nobody can handle, ends the program too, whatever it ignores."""
        program = run_program()
        program.process.kill()

        wait_until(lambda: is_gone(program.pid))
        assert program.process.wait(PATIENCE) == -signal.SIGKILL

    def test_program_is_killed(self, run_program: Callable[..., Program]) -> None:
        """We end with it, and the endpoint with us."""
        program = run_program()
        address = urlsplit(program.address)
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=PATIENCE):
            os.kill(program.pid, signal.SIGKILL)
            assert program.process.wait(PATIENCE) == -signal.SIGKILL
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address.hostname or "", address.port or 0), timeout=PATIENCE)

    def test_killed_while_vault_is_asked(self, vault: ScriptedServer) -> None:
        """What was forked to become the program ends with us, although it knows nothing yet."""
        asked, go = threading.Event(), threading.Event()

        def wait(*_: object) -> None:
            asked.set()
            go.wait(PATIENCE)

        vault.on("GET", "aws/creds/webapp", wait)
        with subprocess.Popen([*COMMAND, "echo", "run"], stdout=subprocess.PIPE) as process:
            assert asked.wait(PATIENCE)
            relatives = family(process.pid)
            process.kill()
            assert process.communicate(timeout=PATIENCE)[0] == b""
        go.set()
        wait_until(lambda: all(map(is_gone, relatives)))

    def test_private_directory(self, run_program: Callable[..., Program], shm: pathlib.Path, run: Run) -> None:
        """It is gone after the end; one that a killed process left is removed by the next, and no other is."""
        place = shm / "vault-credential-process"
        program = run_program()
        (mine,) = place.glob("exec-*")
        assert mine.stat().st_mode & 0o777 == 0o700
        (place / "exec-1-1-1-of_another_namespace").mkdir()
        program.process.kill()
        wait_until(lambda: is_gone(program.process.pid))
        program.process.wait(PATIENCE)
        assert list(place.glob("exec-*"))

        done = run(*COMMAND, sys.executable, "-c", f"import os; print(os.listdir({str(place)!r}))")

        assert done.returncode == 0
        assert mine.name not in done.stdout
        assert "of_another_namespace" in done.stdout
        assert [path.name for path in place.glob("exec-*")] == ["exec-1-1-1-of_another_namespace"]

    def test_directory_of_one_that_lives_is_left_alone(self, run_program: Callable[..., Program], run: Run) -> None:
        """A second command beside the first takes nothing from it; nor from one that became its program."""
        program = run_program()
        config = pathlib.Path(f"/proc/{program.pid}/environ").read_bytes().split(b"AWS_CONFIG_FILE=")[1].split(b"\0")[0]
        command = [*COMMAND[:-1], "--env", "--", "sh", "-c", 'echo "$AWS_CONFIG_FILE"; exec cat']
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as became:
            assert became.stdout is not None
            of_env = became.stdout.readline().strip()
            assert run(*COMMAND, "true").returncode == 0
            assert os.path.exists(config)
            assert os.path.exists(of_env)
        assert became.returncode == 0
        assert run(*COMMAND, "true").returncode == 0
        assert not os.path.exists(of_env)

    def test_no_core_dump(self, run_program: Callable[..., Program]) -> None:
        """Neither we nor the program dump core."""
        program = run_program()

        assert [core_limit(pid) for pid in (program.process.pid, program.pid)] == ["0", "0"]
