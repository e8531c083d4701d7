"""The programs that print a secret: how much they may print, what is left of them, and that none runs itself."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from typing import Any

import pytest

from vault_credential_process import commands, sources
from vault_credential_process.errors import ConfigurationError, DeadlineError
from vault_credential_process.expiry import Deadline
from vault_credential_process.testing.scripted import ScriptedServer

from .conftest import COMMAND, Run
from .test_sources import program

KEY = "vault_secret_id_command"
ENDLESS = (
    "import os, time\nopen({pid!r}, 'w').write(str(os.getpid()))\n"
    "for _ in range(1000): os.write(1, b'hunter2' * 10000)\ntime.sleep(600)"
)
"""A program that prints more than anybody reads, and then does not end; not so much that a test could not bear it."""


def is_running(process_id: int) -> bool:
    """Tell whether there is such a process."""
    try:
        os.kill(process_id, 0)
    except OSError:
        return False
    return True


def ends(process_id: int) -> bool:
    """Wait until a process is gone, or dead and not yet waited for, which only its new parent can help."""
    stat, limit = pathlib.Path(f"/proc/{process_id}/stat"), time.monotonic() + 20
    while time.monotonic() < limit:
        if not is_running(process_id):
            return True
        with contextlib.suppress(OSError):
            if ") Z " in stat.read_text():
                return True
        time.sleep(0.05)
    return False


def test_endless_output_is_cut_short(tmp_path: pathlib.Path) -> None:
    """A command that prints without end is ended at once, having cost kilobytes; the error repeats none of it."""
    pid = tmp_path / "pid"
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError) as caught:
            sources.run_command(program(ENDLESS.format(pid=str(pid))), KEY, Deadline(60))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert str(caught.value) == f"{KEY}: {sys.executable}: longer than 65536 bytes: that is not a secret"
    assert peak < 1_000_000
    assert not is_running(int(pid.read_text()))


@pytest.mark.parametrize(("size", "fits"), [(sources.MAX_SECRET, True), (sources.MAX_SECRET + 1, False)])
def test_the_limit(size: int, fits: bool) -> None:
    """What is just long enough is whole, and one byte more is too long, whatever the exit code."""
    code, printed = commands.run(
        program(f"import sys; print('x' * {size}, end=''); sys.exit(3)"), os.environ, 60, sources.MAX_SECRET
    )

    assert printed is not None
    assert (code, len(printed)) == (3, size) if fits else len(printed) > sources.MAX_SECRET


@pytest.mark.skipif(os.name != "posix", reason="a shell that leaves a child behind")
def test_child_that_holds_the_pipe(tmp_path: pathlib.Path) -> None:
    """A child that a command left behind with its stdout costs the deadline and not more; the command is ended."""
    pid = tmp_path / "pid"
    began = time.monotonic()
    with pytest.raises(DeadlineError, match=f"^{KEY}: /bin/sh did not end within 0.5 s; run it by hand"):
        sources.run_command(("/bin/sh", "-c", f"sleep 60 & echo $! > {pid}; echo hunter2"), KEY, Deadline(0.5))
    seconds = time.monotonic() - began

    assert seconds < 30
    assert ends(int(pid.read_text()))


@pytest.mark.skipif(os.name != "posix", reason="a shell that leaves a child behind")
@pytest.mark.parametrize("prefix", ["", "setsid "], ids=["child", "daemon"])
def test_nothing_of_ours_is_left_behind(tmp_path: pathlib.Path, prefix: str) -> None:
    """Whoever holds the pipe, no thread and no descriptor stay, however often it is tried."""
    if prefix and not shutil.which(prefix.strip()):
        pytest.skip("no setsid here")
    pid = tmp_path / "pid"
    command = ("/bin/sh", "-c", f"{prefix}sleep 60 & echo $! > {pid}; echo hunter2")

    def held() -> tuple[set[str], int]:
        return set(os.listdir("/dev/fd")), threading.active_count()

    before = len(held()[0]), held()[1]
    for _ in range(3):
        assert commands.run(command, os.environ, 0.5, 100) == (0, None)
        child = int(pid.read_text())
        if prefix:
            assert is_running(child), "a session of its own is out of reach, so the pipe is still held"
            os.kill(child, signal.SIGKILL)
        else:
            assert ends(child)
        assert (len(held()[0]), held()[1]) == before


@pytest.mark.skipif(os.name != "posix", reason="a shell that leaves a child behind")
def test_child_of_a_command_that_succeeds_lives_on(tmp_path: pathlib.Path) -> None:
    """An agent that a command starts, and that holds no pipe, outlives it."""
    mark, limit = tmp_path / "mark", time.monotonic() + 20
    line = f"(sleep 0.5; echo alive > {mark}) > /dev/null & echo hunter2"
    assert commands.run(("/bin/sh", "-c", line), os.environ, 60, 100) == (0, b"hunter2\n")
    while not mark.exists() and time.monotonic() < limit:
        time.sleep(0.05)

    assert mark.exists()


class TestWithoutGroups:
    """The way of Windows, where a thread reads."""

    @pytest.fixture(autouse=True)
    def no_groups(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take that way here."""
        monkeypatch.setattr(commands, "_HAS_GROUPS", False)

    def test_output_and_code(self) -> None:
        """Output and exit code come back; one that does not end in time is ended."""
        code = "import sys; print('hunter2'); sys.exit(3)"
        assert commands.run(program(code), os.environ, 60, 100) == (3, f"hunter2{os.linesep}".encode())
        assert commands.run(program("import time; time.sleep(60)"), os.environ, 0.5, 100) == (0, None)

    def test_no_thread_to_be_had(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the system has no more threads that is the message, and the command is ended."""

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        started: list[subprocess.Popen[bytes]] = []
        whole = subprocess.Popen

        def popen(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
            started.append(whole(*arguments, **options))
            return started[-1]

        monkeypatch.setattr(subprocess, "Popen", popen)
        with pytest.raises(ConfigurationError, match="the system has no thread to read its output with"):
            sources.run_command(program("import time; time.sleep(60)"), KEY, Deadline(60))

        assert [process.poll() is not None for process in started] == [True]


@pytest.mark.skipif(os.name != "posix", reason="SIGCHLD")
def test_failure_counts_where_sigchld_is_ignored(run: Run, scripted: ScriptedServer, tmp_path: pathlib.Path) -> None:
    """Who started us may ignore SIGCHLD, so that no exit code would be kept: a command that fails still fails."""
    path = tmp_path / "secret-id"
    path.write_text("#!/bin/sh\necho 'cannot reach the store'\nexit 3\n")
    path.chmod(0o700)
    config = configured(path, scripted.address, f"vault_secret_id_command = {path}")
    code = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
        "os.execv(sys.executable, [sys.executable, '-m', 'vault_credential_process', 'get', '--profile=inner'])"
    )
    done = run(sys.executable, "-c", code, AWS_CONFIG_FILE=config)

    assert (done.returncode, done.stdout) == (2, "")
    assert f"{path} ended with code 3" in done.stderr
    assert scripted.requests == []


def test_closed_stdout_is_waited_for(tmp_path: pathlib.Path) -> None:
    """A command that closes its stdout and goes on is waited for: its exit code says whether the output counts."""
    code = "import os, time; print('hunter2', flush=True); os.close(1); time.sleep(0.2); os._exit(3)"
    with pytest.raises(ConfigurationError, match="ended with code 3"):
        sources.run_command(program(code), KEY, Deadline(60))


SCRIPT = """#!/bin/sh
echo started >> {log}
[ $(wc -l < {log}) -gt 5 ] && exit 9
exec {command} get --profile {inner} 2>> {log}.errors
"""


@pytest.fixture
def script(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return where a command will stand that runs a program of AWS; beside it lies the count of its runs."""
    path = tmp_path / "secret-id"
    path.write_text(SCRIPT.format(log=tmp_path / "log", command=COMMAND, inner="inner"))
    path.chmod(0o700)
    return path


def configured(script: pathlib.Path, address: str, *keys: str, names: tuple[str, ...] = ("inner",)) -> str:
    """Write profiles whose secrets the script prints; return the config file's path."""
    common = (f"vault_addr = {address}", "vault_aws_role = webapp", "vault_role_id = role", *keys)
    path = script.parent / "config"
    path.write_text("".join("\n".join((f"[profile {name}]", *common, "")) for name in names))
    return str(path)


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
@pytest.mark.parametrize(
    ("cache", "keys"),
    [
        ("auto", ("vault_secret_id_command = {}",)),
        ("none", ("vault_secret_id_command = {}",)),
        ("auto", ("vault_auth_method = userpass", "vault_username = ana", "vault_password_command = {}")),
        ("auto", ("vault_auth_method = token", "vault_token_command = {}")),
    ],
    ids=["Secret ID", "Secret ID, no cache", "password", "token"],
)
def test_command_that_needs_its_own_profile(
    run: Run, scripted: ScriptedServer, script: pathlib.Path, keys: tuple[str, ...], cache: str
) -> None:
    """It is run once: what it runs refuses in one line at once, waits for no lock, and sends nothing."""
    keys = tuple(key.format(script) for key in keys)
    config = configured(script, scripted.address, *keys, f"vault_aws_cache = {cache}")
    done = run(*COMMAND.split(), "get", "--profile=inner", "--timeout=60", AWS_CONFIG_FILE=config, timeout=90)
    key = keys[-1].partition(" ")[0]

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"vault-credential-process: {key}: {script} ended with code 2; run it by hand to see why\n")
    errors = pathlib.Path(f"{script.parent}/log.errors").read_text()
    assert errors == (
        f"vault-credential-process: {key}: {script} is running already, and what it runs wants what it is to print: it "
        "must not need this profile's AWS credentials, nor those of one that leads back here\n"
    )
    assert (script.parent / "log").read_text() == "started\n"
    assert scripted.requests == []


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_command_that_leads_back_through_another_profile(
    run: Run, scripted: ScriptedServer, script: pathlib.Path
) -> None:
    """Two profiles that each need the other's credentials end at the first one that comes again."""
    other = script.with_name("other")
    other.write_text(SCRIPT.format(log=script.parent / "log", command=COMMAND, inner="outer"))
    other.chmod(0o700)
    config = configured(script, scripted.address, f"vault_secret_id_command = {script}", names=("outer",))
    inner = configured(script, scripted.address, f"vault_secret_id_command = {other}")
    text = pathlib.Path(inner).read_text()
    configured(script, scripted.address, f"vault_secret_id_command = {script}", names=("outer",))
    with pathlib.Path(config).open("a") as file:
        file.write(text)
    done = run(*COMMAND.split(), "get", "--profile=outer", AWS_CONFIG_FILE=config)

    assert done.returncode == 2
    assert (script.parent / "log").read_text() == "started\n" * 2
    assert f"{script} is running already" in pathlib.Path(f"{script.parent}/log.errors").read_text()


def test_same_command_for_another_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs one of our commands may run others of ours: only the same one, for the same key, comes back."""
    told = program(f"import os; print(os.environ['{sources.RUNNING}'])")
    first = sources.run_command(told, KEY, Deadline(60))
    monkeypatch.setenv(sources.RUNNING, first)
    second = sources.run_command(told, "vault_token_command", Deadline(60))

    assert second.split()[:1] == [first]
    assert len(second.split()) == 2
    with pytest.raises(ConfigurationError, match="is running already"):
        sources.run_command(told, KEY, Deadline(60))


def test_mark_tells_nothing_of_the_command() -> None:
    """The variable holds hashes: a word of a command may be a secret, and the environment is read by many."""
    mark = sources.run_command(program(f"import os; print(os.environ['{sources.RUNNING}'])"), KEY, Deadline(60))

    assert mark.isalnum()
    assert len(mark) == 16
