"""The quick answer on hosts that are not as they should be, and the queue of calls that wait for it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from vault_credential_process import fastpath
from vault_credential_process.testing.scripted import Request, reply

from .talk import LOGGED_IN, LOGIN, READ, STS
from .test_fastpath import MAIN, REAL, Host, finished, host, key_in, pytestmark

__all__ = ["host", "pytestmark"]

STRANGER = 54321
MOUNT, UMOUNT = shutil.which("mount") or "mount", shutil.which("umount") or "umount"
OWN = pathlib.Path(f"/dev/shm/{fastpath.NAME}-{STRANGER}")
LOAD_ALL = """
import os, sys
from vault_credential_process import auth, process
from vault_credential_process.cache import none, runtime
from vault_credential_process.cli import get, logs, main, parser
from vault_credential_process.fetcher import Fetcher
Fetcher(auth.configure({"vault_aws_role": "warm-up"}, os.environ, None)).fetch()
"""
"""Everything is loaded while it can be read: the interpreter may lie where no other user may look."""

BECOME_STRANGER = f"os.setgroups([]); os.setgid({STRANGER}); os.setuid({STRANGER})"
SEALED = reply(503, {"errors": ["Vault is sealed"]})
as_root = pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="needs root: other users, mounts")


def slowly(seconds: float, answer: bytes) -> Callable[[socket.socket, Request], None]:
    """Answer after a while."""

    def wait(connection: socket.socket, _: Request) -> None:
        time.sleep(seconds)
        connection.sendall(answer)

    return wait


@pytest.fixture
def stranger(host: Host) -> Iterator[Callable[..., bytes]]:
    """Run ``get`` as an unprivileged user with a runtime directory, which must succeed in silence."""
    environ = {"VAULT_ADDR": host.server.address, "VAULT_AWS_ROLE": "webapp"}
    environ |= {"VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": "secret", "PATH": os.environ["PATH"], "HOME": "/nowhere"}
    host.server.on("GET", "aws/creds/warm-up", STS)

    def get(runtime: pathlib.Path) -> bytes:
        return finished(
            subprocess.Popen(
                [sys.executable, "-c", f"{LOAD_ALL}\n{BECOME_STRANGER}\nsys.exit(main(['get']))"],
                env={**environ, "XDG_RUNTIME_DIR": str(runtime)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )

    yield get
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(OWN)


def refused(path: pathlib.Path) -> bool:
    """Tell whether the stranger is really kept from writing into a directory."""
    write = f"try: open({str(path / 'probe')!r}, 'wb')\nexcept PermissionError: sys.exit(9)"
    code = f"import os, sys\n{BECOME_STRANGER}\n{write}"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 9


@contextlib.contextmanager
def mounted(path: pathlib.Path) -> Iterator[None]:
    """Mount a tmpfs of 64 KiB, or skip where that is not allowed."""
    path.mkdir()
    done = subprocess.run([MOUNT, "-t", "tmpfs", "-o", "size=64k,mode=0755", "tmpfs", path], check=False)
    if done.returncode:
        pytest.skip("this root may not mount")
    try:
        yield
    finally:
        subprocess.run([UMOUNT, "-l", path], check=True)


def of_another_user(directory: pathlib.Path) -> None:
    """Root's own, of the right mode."""
    directory.mkdir(mode=0o700)
    assert refused(directory), "the obstacle must be real"


def open_to_others(directory: pathlib.Path) -> None:
    """The user's, but others may look in."""
    directory.mkdir()
    directory.chmod(0o755)
    os.chown(directory, STRANGER, STRANGER)
    assert not refused(directory)
    (directory / "probe").unlink()


def a_link(directory: pathlib.Path) -> None:
    """A link to a good directory."""
    target = directory.with_name("elsewhere")
    target.mkdir(mode=0o700)
    os.chown(target, STRANGER, STRANGER)
    directory.symlink_to(target)


def unwritable(directory: pathlib.Path) -> None:
    """Nothing, in a runtime directory where the user can make nothing."""
    directory.parent.chmod(0o755)
    assert refused(directory.parent), "the obstacle must be real"


@as_root
@pytest.mark.parametrize("spoil", [of_another_user, open_to_others, a_link, unwritable])
@pytest.mark.parametrize("fallback", [True, False], ids=["another place", "no place at all"])
def test_directory_that_cannot_be_trusted(
    host: Host, shm: pathlib.Path, stranger: Callable[..., bytes], spoil: Callable[..., None], fallback: bool
) -> None:
    """It stays as it was found, and the call answers: from the other place, or without keeping anything."""
    shm.chmod(0o755)
    if not fallback:
        OWN.mkdir(mode=0o700)
    spoil(shm / fastpath.NAME)
    before = sorted(str(path) for path in shm.rglob("*"))

    assert [key_in(stranger(shm)) for _ in range(2)] == [REAL] * 2
    assert sorted(str(path) for path in shm.rglob("*")) == before
    assert host.server.asked("GET", READ) == (1 if fallback else 2)
    assert not fallback or stat.S_IMODE(OWN.stat().st_mode) == 0o700
    assert fallback or list(OWN.iterdir()) == []


@as_root
def test_directory_on_a_disk(stranger: Callable[..., bytes]) -> None:
    """A private directory that is not on tmpfs gets no document and no entry."""
    runtime = pathlib.Path(f"/var/tmp/vcp-test-{os.getpid()}")
    (runtime / fastpath.NAME).mkdir(parents=True, mode=0o700)
    try:
        os.chown(runtime / fastpath.NAME, STRANGER, STRANGER)
        assert not fastpath.is_tmpfs(runtime.stat().st_dev), "the obstacle must be real"

        assert [key_in(stranger(runtime)) for _ in range(2)] == [REAL] * 2
        left = {path.name.partition("-")[0]: path.read_bytes() for path in (runtime / fastpath.NAME).iterdir()}
        assert not {"entry"} & left.keys()
        assert not any(REAL.encode() in content for content in left.values())
    finally:
        shutil.rmtree(runtime)


@as_root
@pytest.mark.parametrize("hurdle", ["full", "read-only"])
@pytest.mark.parametrize("known", [True, False], ids=["used before", "new"])
def test_file_system_that_takes_nothing(host: Host, tmp_path: pathlib.Path, hurdle: str, known: bool) -> None:
    """On a tmpfs that is full or read-only every call logs in and answers, in silence, and leaves no scraps."""
    place = tmp_path / "mounted"
    with mounted(place):
        runtime = {"XDG_RUNTIME_DIR": str(place)}
        directory = place / fastpath.NAME
        directory.mkdir(mode=0o700)
        if known:
            host.get("--profile=webapp", "--role-session-name=before", **runtime)
        before = {path.name for path in directory.iterdir()}
        if hurdle == "full":
            with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 1024)
        else:
            subprocess.run([MOUNT, "-o", "remount,ro", place], check=True)
        with pytest.raises(OSError, match=r"No space|Read-only"):
            (directory / "probe").write_bytes(b"x" * 8192)
        with contextlib.suppress(OSError):
            (directory / "probe").unlink()
        asked = host.server.asked("GET", READ)

        assert [key_in(host.get(**runtime)) for _ in range(2)] == [REAL] * 2
        assert host.server.asked("GET", READ) == asked + 2
        left = {path.name for path in directory.iterdir()} - before
        assert {name for name in left if not name.endswith(".lock")} == set()


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_calls_without_a_cache_do_not_queue(host: Host, how: str) -> None:
    """Four calls that share nothing, started together, take about as long as one."""
    flags = ("--profile=webapp", "--no-cache") if how == "flag" else ("--profile=webapp",)
    environ = {} if how == "flag" else {"VAULT_AWS_CACHE": "none"}
    host.server.on("POST", LOGIN, slowly(1.5, LOGGED_IN))
    began = time.monotonic()
    processes = [host.start(*flags, **environ) for _ in range(4)]

    assert {key_in(finished(process)) for process in processes} == {REAL}
    assert time.monotonic() - began < 4.5
    assert host.server.asked("GET", READ) == 4
    assert host.quick == []


def test_herd_waits_for_one(host: Host) -> None:
    """Calls that share the cache wait for the one that fetches, and print what it printed."""
    host.server.on("POST", LOGIN, slowly(1, LOGGED_IN))
    processes = [host.start() for _ in range(6)]

    assert len({finished(process) for process in processes}) == 1
    assert (host.server.asked("POST", LOGIN), host.server.asked("GET", READ)) == (1, 1)


def test_waiters_share_a_failure_and_a_later_call_does_not(host: Host) -> None:
    """Who waited gets the line and code of the one that failed, without asking; who comes later asks anew."""
    arrived = threading.Event()

    def fail(connection: socket.socket, _: Request) -> None:
        arrived.set()
        time.sleep(2)
        connection.sendall(reply(403, {"errors": ["permission denied"]}))

    host.server.on("POST", LOGIN, fail, LOGGED_IN)
    first = host.start()
    assert arrived.wait(20)
    waiters = [host.start() for _ in range(4)]
    ended = [(process.communicate(timeout=60), process.returncode) for process in (first, *waiters)]

    assert len(host.server.requests) == 1
    assert len({line for line, _ in ended}) == 1
    ((out, err),) = {line for line, _ in ended}
    assert (out, err.count(b"\n"), {code for _, code in ended}) == (b"", 1, {3})
    assert err.startswith(b"vault-credential-process: ")
    assert key_in(host.get()) == REAL


def test_call_that_waits_allows_no_core(host: Host) -> None:
    """A call that queues holds a secret of its environment for a while, whatever limit it was started with."""
    resource = pytest.importorskip("resource")
    arrived, go_on = threading.Event(), threading.Event()

    def hold(connection: socket.socket, _: Request) -> None:
        arrived.set()
        go_on.wait(60)
        connection.sendall(LOGGED_IN)

    def limit(process: subprocess.Popen[bytes]) -> tuple[int, int]:
        found: tuple[int, int] = resource.prlimit(process.pid, resource.RLIMIT_CORE)
        return found

    before = resource.getrlimit(resource.RLIMIT_CORE)
    if not before[1]:
        pytest.skip("no core is allowed here in any case")
    host.server.on("POST", LOGIN, hold)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        first = host.start()
        assert arrived.wait(60)
        waiter = host.start()
        assert limit(waiter) in ((before[1], before[1]), (0, before[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    end = time.monotonic() + 60
    while limit(waiter)[0] and time.monotonic() < end:
        time.sleep(0.02)
    found = limit(waiter)
    go_on.set()

    assert key_in(finished(first)) == key_in(finished(waiter)) == REAL
    assert found == (0, before[1])
    assert len(host.server.requests) == 2


def test_failure_reaches_waiters_without_stderr(host: Host) -> None:
    """A waiter whose stderr is closed ends with the same code."""
    host.server.on("GET", READ, slowly(2, reply(403, {"errors": ["permission denied"]})), STS)
    host.server.on("GET", "auth/token/lookup-self", reply(403, {"errors": ["permission denied"]}))
    first = host.start()
    limit = time.monotonic() + 20
    while not host.server.asked("GET", READ) and time.monotonic() < limit:
        time.sleep(0.02)
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" "$@" 2>&-', sys.executable, "-c", MAIN, "--profile=webapp"],
        env={**os.environ, "AWS_CONFIG_FILE": str(host.config)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    first.communicate(timeout=60)

    assert (done.returncode, done.stdout) == (first.returncode, b"")
    assert first.returncode == 4
    assert host.server.asked("GET", READ) == 1


@pytest.mark.parametrize("stdout", [">&-", ">/dev/full", "| true"], ids=["closed", "full", "left by its reader"])
def test_hit_that_nobody_receives(host: Host, stdout: str) -> None:
    """A hit whose stdout is closed, full or left by its reader is a failure with one line, not a silent success."""
    host.get()
    shell = f'trap "" PIPE; {{ "$0" "$@"; echo "code $?" >&2; }} {stdout}'
    done = subprocess.run(
        ["/bin/sh", "-c", shell, sys.executable, "-c", "import time; time.sleep(0.3)\n" + MAIN, "--profile=webapp"],
        env={**os.environ, "AWS_CONFIG_FILE": str(host.config)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )

    line, told = done.stderr.decode().splitlines()
    assert line.startswith("vault-credential-process: stdout: ")
    assert told == "code 70"


def test_one_process_may_ask_twice(host: Host) -> None:
    """A call inside a program frees the queue when it ends, also with a failure: the next one does not wait for it."""
    host.server.on("POST", LOGIN, SEALED)
    code = "from vault_credential_process.cli import main; print([main(['get']), main(['get'])])"
    environ = {"VAULT_ADDR": host.server.address, "VAULT_ROLE_ID": "r", "VAULT_AWS_ROLE": "webapp"}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environ}, capture_output=True, check=False, timeout=100
    )

    assert done.stdout == b"[6, 6]\n"
    assert time.monotonic() - began < 20


def test_names_tell_nothing(host: Host) -> None:
    """Secrets of the environment are in no name and in no word left behind, whatever the server repeats of them."""
    canary = "c4n4ry-5ecret-1d"
    environ = {"VAULT_ADDR": host.server.address, "VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": canary}
    environ["VAULT_AWS_ROLE"] = "webapp"
    host.get("--auth=approle", **environ)
    host.server.on("POST", LOGIN, reply(400, {"errors": [f"invalid secret id {canary}"]}))
    host.start("--auth=approle", "--auth-mount=approle", "--role-id=other", **environ).communicate(timeout=60)
    left = sorted(path for path in host.directory.iterdir() if not path.name.startswith("entry-"))

    assert {path.name.partition("-")[0] for path in left} == {"failed", "key", "note", "quick"}
    for path in left:
        assert canary not in path.name
        assert canary.encode() not in path.read_bytes()
    assert any(b"invalid secret id ***" in path.read_bytes() for path in left)
    assert stat.S_IMODE((host.directory / "key").stat().st_mode) == 0o600


def test_hash_wants_the_key_of_the_directory(tmp_path: pathlib.Path) -> None:
    """Two directories name the same call apart, one names it always alike; the key survives damage."""
    homes = [tmp_path / name for name in "ab"]
    for home in homes:
        home.mkdir()
    keys = [fastpath.hash_key(str(home)) for home in (*homes, homes[0])]

    assert keys[0] == keys[2] != keys[1]
    (homes[0] / "key").write_bytes(b"short")
    again = fastpath.hash_key(str(homes[0]))
    assert len(again) == 32
    assert fastpath.hash_key(str(homes[0])) == again
    assert [path.name for path in homes[0].iterdir()] == ["key"]
