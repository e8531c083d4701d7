"""The quick answer of ``get``: the same bytes without asking anybody, and never one that something has overtaken."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from vault_credential_process import auth, fastpath
from vault_credential_process.lock import FileLock
from vault_credential_process.models import options_of
from vault_credential_process.testing.scripted import Request, ScriptedServer, reply

from .talk import LOGGED_IN, LOGIN, READ, STS, STS_DATA

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs is Linux's")

MAIN = "import sys; from vault_credential_process.cli import main; sys.exit(main(['get', *sys.argv[1:]]))"
REAL, PLANTED = STS_DATA["access_key"], "ASIAPLANTED7EXAMPLE0"
ARGUMENTS = ("--profile=webapp",)
SECRET_ID = "5ecre7-1d-of-the-first-day\n"


@dataclasses.dataclass(frozen=True)
class Host:
    """A user's host: a config file, a Secret ID file, a runtime directory, and a server that says what it is told."""

    server: ScriptedServer
    config: pathlib.Path
    secret_id: pathlib.Path
    directory: pathlib.Path

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start ``get``."""
        return subprocess.Popen(
            [sys.executable, "-c", MAIN, *(arguments or ARGUMENTS)],
            env={**os.environ, "AWS_CONFIG_FILE": str(self.config), **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.config.parent,
        )

    def get(self, *arguments: str, **environ: str) -> bytes:
        """Run ``get``, which must succeed in silence, and return what it printed."""
        return finished(self.start(*arguments, **environ))

    @property
    def quick(self) -> list[pathlib.Path]:
        """The quick answers that lie there."""
        return [path for path in self.directory.glob("quick-*") if path.suffix != ".lock"]

    def plant(self) -> pathlib.Path:
        """Run ``get``; put another key into its quick answer, so that whoever is served from there shows it."""
        self.get()
        (path,) = self.quick
        path.write_bytes(path.read_bytes().replace(REAL.encode(), PLANTED.encode()))
        return path


def finished(process: subprocess.Popen[bytes]) -> bytes:
    """Return what a process printed that must succeed in silence."""
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["Version"] == 1
    return out


def key_in(document: bytes) -> str:
    """Return the access key of a document."""
    return str(json.loads(document)["AccessKeyId"])


@pytest.fixture
def host(scripted: ScriptedServer, clean_environment: pathlib.Path, shm: pathlib.Path) -> Host:
    """A host whose server gives STS credentials of 900 s."""
    scripted.on("POST", LOGIN, LOGGED_IN)
    scripted.on("GET", READ, STS)
    config, secret_id = clean_environment / "config", clean_environment / "secret-id"
    secret_id.write_text(SECRET_ID)
    secret_id.chmod(0o600)
    config.write_text(
        f"[profile webapp]\nvault_addr = {scripted.address}\nvault_role_id = role\n"
        f"vault_secret_id_file = {secret_id}\nvault_aws_role = webapp\n"
    )
    return Host(scripted, config, secret_id, shm / fastpath.NAME)


def test_hit_is_the_same_bytes(host: Host) -> None:
    """The second call prints what the first one did, byte for byte, and asks the server nothing."""
    first = host.get()
    asked = len(host.server.requests)

    assert (host.get(), len(host.server.requests), asked) == (first, 2, 2)
    assert key_in(first) == REAL


def test_hit_comes_from_the_quick_file(host: Host) -> None:
    """What is planted there is served, whatever else changed in the environment: the tests below can tell a miss."""
    host.plant()

    assert key_in(host.get(LANG="C", PATH="/nowhere", TERM="dumb")) == PLANTED


@pytest.mark.parametrize("arguments", [("--profile", "webapp"), ("--profile=webapp", "--timeout=44"), ("-v",)])
def test_other_arguments_are_noticed(host: Host, arguments: tuple[str, ...]) -> None:
    """Other words on the command line are another question, even where they mean the same."""
    host.plant()
    process = host.start(*ARGUMENTS, *arguments)
    out, _ = process.communicate(timeout=60)

    assert (process.returncode, key_in(out)) == (0, REAL)


@pytest.mark.parametrize(
    "name", ["VAULT_CLIENT_TIMEOUT", "BAO_MAX_RETRIES", "AWS_REGION", "XDG_DATA_HOME", "HOME", "VAULT_NO_SUCH_THING"]
)
def test_changed_variable_is_noticed(host: Host, name: str) -> None:
    """A variable of Vault's, OpenBao's, AWS's or the home's that is set to something else is a miss."""
    host.plant()

    assert key_in(host.get(**{name: "1"})) == REAL
    assert key_in(host.get()) == PLANTED


@pytest.mark.parametrize("name", auth.METHODS)
def test_variables_that_a_method_reads_are_noticed(name: str) -> None:
    """Whatever a method reads from the environment is part of the quick key, options and platform alike."""
    method = auth.find(name)
    read = {*method.ambient, *(v for declared in options_of(method) for v in declared.variables)}

    assert [v for v in read if not v.startswith(fastpath._PREFIXES) and v not in fastpath._NAMES] == []


def rewritten_with_old_time(path: pathlib.Path) -> None:
    """Write as many other bytes into the same file and put its time back, as a careful copy does."""
    before = path.stat()
    with path.open("r+") as file:
        file.write(path.read_text().replace("first day", "other day").replace("= role\n", "= ROLE\n"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns)


def replaced_by_a_copy(path: pathlib.Path) -> None:
    """Put a file of the same content and time in its place."""
    shutil.copy2(path, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def touched(path: pathlib.Path) -> None:
    """Give it another time."""
    os.utime(path, (1, 1))


def lengthened(path: pathlib.Path) -> None:
    """Append a line that says nothing."""
    with path.open("a") as file:
        file.write("\n")


@pytest.mark.parametrize("which", ["config", "secret_id"])
@pytest.mark.parametrize("change", [rewritten_with_old_time, replaced_by_a_copy, touched, lengthened])
def test_changed_file_is_noticed(host: Host, which: str, change: Callable[[pathlib.Path], None]) -> None:
    """The AWS config file or the file of the Secret ID, rewritten or replaced, is a miss on the next call."""
    host.plant()
    change(getattr(host, which))

    assert key_in(host.get()) == REAL


@pytest.mark.parametrize("which", ["config", "secret_id"])
def test_removed_file_is_noticed(host: Host, which: str) -> None:
    """Without its profile or its Secret ID a call has no right to the kept answer: one line, exit 2."""
    host.plant()
    getattr(host, which).unlink()
    process = host.start()
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err.count(b"\n")) == (2, b"", 1)


def test_file_changed_during_the_fetch_is_noticed(host: Host) -> None:
    """A Secret ID that is replaced while the call logs in with the old one is used by the next call."""

    def rotate(connection: socket.socket, _: Request) -> None:
        host.secret_id.write_text("another-secret-id\n")
        connection.sendall(LOGGED_IN)

    host.server.on("POST", LOGIN, rotate, LOGGED_IN)
    host.get()
    host.get()

    sent = [request.json["secret_id"] for request in host.server.requests if request.path == f"/v1/{LOGIN}"]
    assert sent == [SECRET_ID.strip(), "another-secret-id"]


def test_file_that_appears_is_noticed(host: Host, clean_environment: pathlib.Path) -> None:
    """A file that was looked for and not there, of a token helper, is watched too."""
    environ = {"VAULT_ADDR": host.server.address, "VAULT_AWS_ROLE": "webapp"}
    host.config.unlink()
    host.server.on("GET", "auth/token/lookup-self", reply(200, {"data": {"ttl": 3600, "type": "service"}}))
    (clean_environment / ".vault-token").write_text("hvs.CAESICanary")
    host.get("--auth=auto", **environ)
    (path,) = host.quick
    path.write_bytes(path.read_bytes().replace(REAL.encode(), PLANTED.encode()))
    assert key_in(host.get("--auth=auto", **environ)) == PLANTED

    (clean_environment / ".vault").write_text("# no helper\n")
    assert key_in(host.get("--auth=auto", **environ)) == REAL


def with_field(number: int, change: Callable[[str], str]) -> Callable[[pathlib.Path], None]:
    """Return what rewrites one field of a quick file's first line."""

    def spoil(path: pathlib.Path) -> None:
        head, _, rest = path.read_bytes().partition(b"\n")
        fields = head.decode().split(" ")
        fields[number] = change(fields[number])
        path.write_bytes(" ".join(fields).encode() + b"\n" + rest)

    return spoil


def linked(path: pathlib.Path) -> None:
    """Put a symbolic link to the file in its place."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def made_a_directory(path: pathlib.Path) -> None:
    """Put a directory in its place."""
    path.unlink()
    path.mkdir()


SPOILT: dict[str, Callable[[pathlib.Path], object]] = {
    "the rule's moment has passed": with_field(3, lambda _: f"{time.time() - 1:f}"),
    "the clock was set back": with_field(2, lambda _: f"{time.time() + 60:f}"),
    "times that are no numbers": with_field(3, lambda _: "nan"),
    "another version": with_field(0, lambda _: "vcp0"),
    "another device": with_field(1, lambda device: str(int(device) + 1)),
    "another length": with_field(4, lambda length: str(int(length) - 1)),
    "more files than there are": with_field(6, lambda _: "999999999"),
    "a field too many": with_field(5, lambda entry: f"{entry} x"),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "garbage": lambda path: path.write_bytes(os.urandom(700)),
    "two documents": lambda path: path.write_bytes(path.read_bytes() * 2),
    "too large": lambda path: path.write_bytes(path.read_bytes() + b" " * 70_000),
    "readable by others": lambda path: path.chmod(0o644),
    "a link": linked,
    "a directory": made_a_directory,
}


@pytest.mark.parametrize("how", SPOILT)
def test_spoilt_quick_file_is_a_miss(host: Host, how: str) -> None:
    """Whatever happened to the quick file: the next call prints the real document, in silence."""
    SPOILT[how](host.plant())

    assert key_in(host.get()) == REAL


@pytest.mark.parametrize(("life", "served"), [(60, PLANTED), (5, REAL)])
def test_valid_pair_serves_while_another_call_refreshes(host: Host, life: float, served: str) -> None:
    """Past the rule a pair that lives on serves whoever finds the refresh under way; one that nearly ended does not."""
    path = host.plant()
    with_field(3, lambda _: f"{time.time() - 1:f}")(path)
    with_field(7, lambda _: f"{time.time() + life:f}")(path)
    lock = FileLock(f"{path}.lock")
    assert lock.try_acquire()
    waiting = host.start()
    if served == REAL:
        time.sleep(0.5)
        assert waiting.poll() is None
        lock.release()

    assert key_in(finished(waiting)) == served
    lock.release()


def test_a_few_seconds_of_clock_are_forgiven(host: Host) -> None:
    """A clock that was adjusted by less than 5 s costs nothing."""
    with_field(2, lambda _: f"{time.time() + 3:f}")(host.plant())

    assert key_in(host.get()) == PLANTED


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root gives a file to another user")
def test_quick_file_of_another_user_is_a_miss(host: Host) -> None:
    """A file of another user, in a directory of ours, is nothing that we wrote."""
    os.chown(host.plant(), 54321, 54321)

    assert key_in(host.get()) == REAL


def test_every_cut_is_a_miss(host: Host) -> None:
    """Wherever a quick file breaks off, none of its bytes is handed out."""
    host.get()
    (path,) = host.quick
    place = fastpath.Ticket(str(host.directory), path.name.removeprefix("quick-"), time.monotonic())
    whole = path.read_bytes()
    served = [place.answer()]
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        served.append(place.answer())

    assert served[0] == host.get()
    assert set(served[1:]) == {None}


@pytest.mark.parametrize("flags", [("-v",), ("--verbose",), ("--log-file=log",)])
def test_calls_that_tell_what_they_do_always_do_it(host: Host, flags: tuple[str, ...]) -> None:
    """With ``-v`` or ``--log-file`` nothing is stored as a quick answer, so nothing is served from one."""
    for _ in range(2):
        log = host.config.parent / "log"
        log.unlink(missing_ok=True)
        process = host.start(*ARGUMENTS, *flags)
        out, err = process.communicate(timeout=60)
        told = err.decode() + (log.read_text() if log.exists() else "")

        assert (process.returncode, key_in(out)) == (0, REAL)
        assert "cache: runtime" in told
        assert host.quick == []


@pytest.mark.parametrize("which", ["config", "secret_id"])
def test_relative_paths_are_of_their_directory(host: Host, which: str) -> None:
    """A relative path names another file in another directory: no answer of here, quick or kept, serves there."""
    environ = {}
    if which == "config":
        environ["AWS_CONFIG_FILE"] = host.config.name
    else:
        host.config.write_text(host.config.read_text().replace(str(host.secret_id), host.secret_id.name))
    assert key_in(host.get(**environ)) == REAL
    elsewhere = host.config.parent / "elsewhere"
    elsewhere.mkdir()
    assert (
        subprocess.run(
            [sys.executable, "-c", MAIN, *ARGUMENTS],
            env={**os.environ, "AWS_CONFIG_FILE": str(host.config), **environ},
            cwd=elsewhere,
            capture_output=True,
            check=False,
        ).returncode
        == 2
    )


def test_hash_tells_its_parts_apart() -> None:
    """Parts that join to the same text hash differently."""
    key = b"k" * 32
    hashes = {fastpath.keyed_hash(key, *parts) for parts in [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"abc", b"")]}

    assert len(hashes) == 4
