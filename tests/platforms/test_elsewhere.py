"""The package where modules and functions of Linux are missing, as on Windows and macOS; see ``elsewhere.py``."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vault_credential_process.cache.keyring import WINDOWS_LIMIT
from vault_credential_process.testing.scripted import ScriptedServer, reply

from ..secret_store import plant
from ..talk import LOGGED_IN, LOGIN, READ, SECRET_ID, STS_DATA
from .elsewhere import POSIX_MODULES

ELSEWHERE = pathlib.Path(__file__).with_name("elsewhere.py")
SYSTEMS = ("win32", "darwin")
LONG = "FwoGZXIvYXdzE" + "session-token" * 200
"""A session token that fills more than one item of a Windows secret store."""
STS = reply(
    200, {"lease_id": "aws/creds/webapp/1", "lease_duration": 3600, "data": {**STS_DATA, "security_token": LONG}}
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems are imitated on Linux")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def started(system: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start the command, or with ``-c`` some code, as if on another system."""
    line = [sys.executable, "-X", "warn_default_encoding", str(ELSEWHERE), system, *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, **{**pipes, **options})


def ended(process: subprocess.Popen[str], typed: str | None = None) -> tuple[int, str, str]:
    """Return the exit code of a process and what it wrote."""
    try:
        stdout, stderr = process.communicate(typed, timeout=120)
    finally:
        process.kill()
    return process.returncode, stdout, stderr


def ran(system: str, *arguments: str) -> str:
    """Return what a success writes to stdout; it writes nothing to stderr."""
    code, stdout, stderr = ended(started(system, *arguments))
    assert (code, stderr) == (0, "")
    return stdout


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A server that lets the application of the environment in and gives it STS credentials of an hour."""
    with ScriptedServer() as scripted:
        scripted.on("POST", LOGIN, LOGGED_IN)
        scripted.on("GET", READ, STS)
        environ = {"ADDR": scripted.address, "ROLE_ID": "role", "SECRET_ID": SECRET_ID, "AWS_ROLE": "webapp"}
        for name, value in environ.items():
            monkeypatch.setenv(f"VAULT_{name}", value)
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        yield scripted


@pytest.fixture
def store(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The system's secret store, which is a file here; return the file."""
    return plant(tmp_path, monkeypatch)


@pytest.fixture
def files(clean_environment: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, pathlib.Path]:
    """Where the user's own files lie on each system."""
    monkeypatch.setenv("LOCALAPPDATA", str(clean_environment / "local"))
    return {
        "win32": clean_environment / "local" / "vault-credential-process",
        "darwin": clean_environment / "Library" / "Caches" / "vault-credential-process",
    }


CONTROL = """
import importlib, os, signal, socket, sys, time
found = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        found.append(name)
    except ModuleNotFoundError:
        pass
for path in ("/proc/self/mountinfo", "/dev/shm/x", "/dev/tty"):
    try:
        os.close(os.open(path, os.O_RDONLY))
        found.append(path)
    except FileNotFoundError:
        pass
    except OSError:
        found.append(path)
for module, name in ((os, "getuid"), (os, "fork"), (os, "register_at_fork"), (os, "O_NOFOLLOW"), (signal, "SIGHUP"),
                     (socket, "AF_UNIX"), (time, "CLOCK_BOOTTIME"), (time, "clock_gettime")):
    if hasattr(module, name):
        found.append(name)
print(sys.platform, *found)
"""


def test_what_is_missing_is_missing() -> None:
    """On the imitated Windows none of what is taken away can be had; on the imitated macOS what Linux alone has."""
    assert ran("win32", "-c", CONTROL, *POSIX_MODULES).split() == ["win32"]

    left = ran("darwin", "-c", CONTROL, *POSIX_MODULES).split()
    assert left[:1] == ["darwin"]
    assert {"getuid", "fork", "O_NOFOLLOW", "SIGHUP", "AF_UNIX", "fcntl", "termios", "clock_gettime"} < set(left)
    assert {"/proc/self/mountinfo", "/dev/shm/x", "CLOCK_BOOTTIME"}.isdisjoint(left)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_module_can_be_imported(system: str) -> None:
    """No module needs what the system has not, those of the demo and of the contract tests among them."""
    names = ran(system, "--extras", "-c", "print(*every_module(extras=True))").split()

    assert {f"vault_credential_process.{name}" for name in ("lock", "cli.terminal", "demo.tour", "fastpath")} < set(
        names
    )


def test_module_that_needs_one_is_found() -> None:
    """The check above would fail: a module that imports ``fcntl`` without an alternative cannot be imported."""
    code, _, stderr = ended(started("win32", "-c", "from fcntl import flock"))

    assert (code, stderr.splitlines()[-1]) == (1, "ModuleNotFoundError: No module named 'fcntl'")


@pytest.mark.parametrize("system", SYSTEMS)
def test_get_without_a_cache(server: ScriptedServer, system: str) -> None:
    """``get`` logs in, reads, and prints one document."""
    assert json.loads(ran(system, "get", "--no-cache"))["SessionToken"] == LONG
    assert (server.asked("POST", LOGIN), server.asked("GET", READ)) == (1, 1)


CLEAR = "; main(['cache', 'clear'])"


@pytest.mark.parametrize("system", SYSTEMS)
def test_get_with_the_secret_store(
    server: ScriptedServer, store: pathlib.Path, files: dict[str, pathlib.Path], system: str
) -> None:
    """The next call finds the credentials in the system's store; the user's own directory holds no secret.

    On Windows each item of the store is short enough. What is cleared is gone from the store.
    """
    first = ran(system, "get")
    assert ran(system, "get") == first
    assert (server.asked("POST", LOGIN), server.asked("GET", READ)) == (1, 1)
    items = json.loads(store.read_text())
    assert any(len(item) > WINDOWS_LIMIT for item in items.values()) == (system == "darwin")
    assert len(items) > 2 or system == "darwin"
    beside = {path.name: path.read_bytes() for path in files[system].iterdir()}
    assert len(beside.pop("key")) == 32
    assert [name for name, content in beside.items() if len(content) > 1] == []

    told = ran(system, "-c", "from vault_credential_process.cli import main; main(['cache', 'list'])" + CLEAR)

    assert "webapp" in told
    assert LONG not in told
    assert json.loads(store.read_text()) == {}
    assert server.asked("GET", READ) == 1


@pytest.mark.parametrize("system", SYSTEMS)
def test_processes_that_start_together_share_one_read(
    server: ScriptedServer, store: pathlib.Path, files: dict[str, pathlib.Path], system: str
) -> None:
    """Three calls at once cost one login and one read.

    The lock of Windows is imitated: its module is a stand-in over ``flock``. What is shown is how ``lock.py`` uses it.
    """

    def slow(connection: Any, _: Any) -> None:
        time.sleep(1)
        connection.sendall(STS)

    server.on("GET", READ, slow)
    processes = [started(system, "get") for _ in range(3)]

    answers = [ended(process) for process in processes]

    assert {(code, stderr) for code, _, stderr in answers} == {(0, "")}
    assert len({stdout for _, stdout, _ in answers}) == 1
    assert (server.asked("POST", LOGIN), server.asked("GET", READ)) == (1, 1)
    assert files[system].is_dir()


LOCKS = """
import sys
from vault_credential_process import lock
from vault_credential_process.cache.place import HostPlace
place = HostPlace(sys.argv[1])
first, second = (lock.FileLock(place.path("entry", "a") + ".lock") for _ in range(2))
said = [lock.fcntl if hasattr(lock, "fcntl") else lock.msvcrt.__name__]
said += [first.try_acquire(), second.try_acquire(), second.acquire(0.05)]
try:
    first.remove()
except PermissionError:
    said.append("open")
place.sweep(0)
first.release()
said += [second.try_acquire(), first.try_acquire()]
second.release()
place.sweep(0)
print(*said)
"""


def test_lock_of_windows(tmp_path: pathlib.Path) -> None:
    """The byte lock excludes and ends; a file that cannot be removed while it is open stays, and harms nobody.

    ``msvcrt`` is a stand-in (see above): whether the real one locks is for Windows to show.
    """
    place = tmp_path / "place"
    place.mkdir()

    assert ran("win32", "-c", LOCKS, str(place)).split() == [
        "msvcrt", "True", "False", "False", "open", "True", "False",
    ]  # fmt: skip
    assert sorted(path.name for path in place.iterdir()) == ["entry-a.lock", "key"]


FILES = r"""
import os, sys
from vault_credential_process import fastpath
path = os.path.join(sys.argv[1], "file")
content = bytes(range(256)) + b"\r\n\n\r\x1a end"
fastpath.write_private(path, content)
plain = os.open(path, os.O_RDONLY)
print(fastpath.read_private(path) == content, os.read(plain, 1000) == content, oct(os.stat(path).st_mode & 0o777))
"""


def test_files_are_binary_on_windows(tmp_path: pathlib.Path) -> None:
    """A private file holds the bytes that were written, without owners and modes; opened otherwise it would not."""
    assert ran("win32", "-c", FILES, str(tmp_path)).split() == ["True", "False", "0o666"]


ASK = """
from vault_credential_process.cli.terminal import Terminal
from vault_credential_process.expiry import Deadline
print(repr(Terminal(Deadline(30)).ask("Password: ")))
"""


def test_question_on_windows() -> None:
    """Where there is no ``termios`` Python's own ``getpass`` asks the console; the keys are stdin's here."""
    asked = ended(started("win32", "-c", ASK, stdin=subprocess.PIPE), "corröct horse\r\n")

    assert asked == (0, "'corröct horse'\n", "Password: \n")


def test_question_without_a_console() -> None:
    """Where getpass would have to show what is typed, nothing is asked."""
    code = "import sys; del sys.modules['msvcrt']\n" + ASK
    line = "vault_credential_process.errors.ConfigurationError: no terminal to ask on; run the command in one"

    asked = ended(started("win32", "-c", code, stdin=subprocess.PIPE), "secret\n")

    assert asked[:2] == (1, "")
    assert asked[2].splitlines()[-1].startswith(line)


WORDS = r"""
import json, sys
from vault_credential_process.parsers import join_command, parse_command
print(json.dumps([parse_command(text) for text in sys.argv[1:]]))
words = ["C:\\Program Files\\vault\\secret.exe", "--name", 'a "b"']
assert list(parse_command(join_command(words))) == words
"""


def test_commands_are_split_as_the_system_does() -> None:
    r"""A backslash belongs to a path on Windows and is a quote elsewhere; quoted words are one word on both."""
    line = '"C:\\Program Files\\vault\\secret.exe" --from D:\\keys'

    assert json.loads(ran("win32", "-c", WORDS, line)) == [
        ["C:\\Program Files\\vault\\secret.exe", "--from", "D:\\keys"]
    ]
    assert json.loads(ran("darwin", "-c", WORDS, line)) == [
        ["C:\\Program Files\\vault\\secret.exe", "--from", "D:keys"]
    ]


def test_socket_address_on_windows(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python has no Unix sockets, an address of one is an error of the configuration, in one line."""
    monkeypatch.setenv("VAULT_ADDR", "unix:///run/agent.sock")
    words = "Python has no Unix sockets on this system; write https://host:8200 (from VAULT_ADDR)\n"

    code, stdout, stderr = ended(started("win32", "get", "--no-cache"))

    assert (code, stdout, stderr) == (2, "", f"vault-credential-process: vault_addr: {words}")
