"""The cache backends, each held to the contract, and what only one of them promises."""

from __future__ import annotations

import os
import pathlib
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.errors
import pytest

from vault_credential_process import cache, fastpath
from vault_credential_process.cache.base import CacheBackend
from vault_credential_process.cache.entry import FOREIGN, Keepsake
from vault_credential_process.cache.keyring import Keyring
from vault_credential_process.cache.memory import Memory
from vault_credential_process.cache.none import NoCache
from vault_credential_process.cache.place import PASSING
from vault_credential_process.cache.runtime import STALE, Runtime
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.expiry import Deadline
from vault_credential_process.lock import FileLock
from vault_credential_process.testing.cache import KEY, CacheBackendContract

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs is Linux's")


class InMemoryKeyring(keyring.backend.KeyringBackend):
    """A store that keeps items in a dictionary and counts what it is asked."""

    priority = 1

    def __init__(self, largest: int | None = None) -> None:
        super().__init__()
        self.items: dict[tuple[str, str], str] = {}
        self.reads = 0
        self.locked = False
        self.largest = largest

    def get_password(self, service: str, username: str) -> str | None:
        self.reads += 1
        if self.locked:
            raise keyring.errors.KeyringLocked("locked")
        return self.items.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.largest is not None and len(password) > self.largest:
            raise keyring.errors.PasswordSetError("too long")
        self.items[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.items.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError("not there")


@pytest.fixture
def store() -> Iterator[InMemoryKeyring]:
    """keyring, with a store in memory for the time of the test."""
    before = keyring.get_keyring()
    mine = InMemoryKeyring()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


class TestMemory(CacheBackendContract):
    @pytest.fixture
    def backend(self) -> CacheBackend:
        """A new one."""
        return Memory.open({})


class TestNone(CacheBackendContract):
    keeps = False

    @pytest.fixture
    def backend(self) -> CacheBackend:
        """A new one."""
        return NoCache.open({})


@on_linux
class TestRuntime(CacheBackendContract):
    @pytest.fixture
    def backend(self, shm: pathlib.Path) -> CacheBackend:
        """A new one, in a directory of its own."""
        return Runtime.open({"XDG_RUNTIME_DIR": str(shm)})

    def test_files_are_private(self, backend: Runtime) -> None:
        """Directory 0700, every file 0600."""
        backend.set(KEY, b"secret")
        modes = {stat.S_IMODE(p.stat().st_mode) for p in pathlib.Path(backend.directory).iterdir()}

        assert stat.S_IMODE(os.stat(backend.directory).st_mode) == 0o700
        assert modes == {0o600}

    def test_two_openings_share(self, backend: Runtime, shm: pathlib.Path) -> None:
        """Another process of the same user sees what was kept and makes the same hashes."""
        backend.set(KEY, b"shared")
        other = Runtime.open({"XDG_RUNTIME_DIR": str(shm)})

        assert other.get(KEY) == b"shared"
        assert other.place.hash("x") == backend.place.hash("x")

    @pytest.mark.parametrize("spoil", ["chmod 644", "symlink", "directory"])
    def test_a_foreign_entry_is_a_miss(self, backend: Runtime, spoil: str, tmp_path: pathlib.Path) -> None:
        """A file that others may read, a link, or a directory in its place is nothing that we kept."""
        path = pathlib.Path(backend.place.path("entry", KEY))
        if spoil == "chmod 644":
            backend.set(KEY, b"value")
            path.chmod(0o644)
        elif spoil == "symlink":
            (tmp_path / "target").write_bytes(b"value")
            path.symlink_to(tmp_path / "target")
        else:
            path.mkdir()

        assert backend.get(KEY) is None

    def test_old_files_are_swept(self, backend: Runtime) -> None:
        """What nobody has written for days goes when something else is kept, locks included; the key stays."""
        directory = pathlib.Path(backend.directory)
        littered(directory, age=STALE + 60)
        os.utime(directory / "key", (1, 1))
        backend.set(KEY, b"new")

        assert names(directory) == {"key", f"entry-{KEY}", "keyring-mark"}
        assert STALE > 86400

    @pytest.mark.parametrize(
        ("irreplaceable", "ago", "stays"),
        [(False, -60, True), (False, 60, False), (True, FOREIGN - 60, True), (True, FOREIGN + 60, False)],
    )
    def test_end_of_what_cannot_be_had_again_is_doubted(
        self, backend: Runtime, irreplaceable: bool, ago: float, stays: bool
    ) -> None:
        """It is swept only long after its end: a clock that is ahead for a moment does not cost it."""
        kept = Keepsake("SECRET", "unwrapped Secret ID", time.time() - ago, irreplaceable=irreplaceable)
        backend.set("e" * 40, kept.dump())
        os.utime(backend.place.path("entry", "e" * 40), (time.time() - STALE - 60,) * 2)
        backend.set(KEY, b"new")

        assert (backend.get("e" * 40) is not None) is stays

    def test_what_serves_those_who_wait_goes_after_an_hour(self, backend: Runtime) -> None:
        """Answers stay for days, locks and word for those who wait for an hour, and not a minute less."""
        directory = pathlib.Path(backend.directory)
        littered(directory, age=PASSING - 60)
        before = names(directory)
        backend.set(KEY, b"new")
        young = names(directory)
        littered(directory, age=PASSING + 60)
        backend.set(KEY, b"newer")

        assert young == before | {f"entry-{KEY}"}
        assert names(directory) == {"key", f"entry-{KEY}", "entry-old", "quick-old", "keyring-mark"}

    def test_clear_leaves_the_key_alone(self, backend: Runtime) -> None:
        """Everything goes, however new, but the random key, what is being written, and what is another backend's."""
        directory = pathlib.Path(backend.directory)
        littered(directory, age=0)
        (directory / "stray").write_bytes(b"")
        hashed = backend.place.hash("x")

        assert backend.clear() == 1
        assert names(directory) == {"key", "entry-old.7.7", "keyring-mark"}
        assert Runtime(str(directory), "again").place.hash("x") == hashed

    @pytest.mark.parametrize("how", ["clear", "sweep"])
    def test_what_is_waited_for_stays(self, backend: Runtime, how: str) -> None:
        """A lock that is held stays, with the word for those who wait for it; a waiter gets it when it is freed."""
        directory = pathlib.Path(backend.directory)
        littered(directory, age=STALE)
        got = threading.Event()
        lock, waiting = FileLock(str(directory / "quick-old.lock")), FileLock(str(directory / "quick-old.lock"))
        assert lock.try_acquire()

        def wait() -> None:
            if waiting.acquire(20):
                got.set()

        waiter = threading.Thread(target=wait)
        waiter.start()
        if how == "clear":
            backend.clear()
        else:
            backend.set(KEY, b"new")
        kept = names(directory)
        lock.release()
        waiter.join()

        assert kept >= {"quick-old.lock", "failed-old", "note-old"}
        assert "entry-old.lock" not in kept
        assert got.is_set()
        waiting.release()

    def test_waiter_survives_a_lock_that_is_cleared_away(self, backend: Runtime) -> None:
        """Clearing while many queue for one lock lets each have it once, never two at a time."""
        path = backend.place.path("entry", KEY) + ".lock"
        inside, most, served = 0, 0, 0
        guard = threading.Lock()

        def queue() -> None:
            nonlocal inside, most, served
            lock = FileLock(path)
            assert lock.acquire(20)
            with guard:
                inside, most, served = inside + 1, max(most, inside + 1), served + 1
            time.sleep(0.01)
            with guard:
                inside -= 1
            lock.release()

        threads = [threading.Thread(target=queue) for _ in range(12)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            backend.clear()

        assert (served, most) == (12, 1)


def littered(directory: pathlib.Path, *, age: float) -> None:
    """Write a file of every kind, none of which anybody has written for so many seconds."""
    then = time.time() - age
    kinds = ("entry-old", "quick-old", "failed-old", "note-old", "quick-old.lock", "entry-old.lock")
    for name in (*kinds, "entry-old.7.7", "keyring-mark"):
        (directory / name).write_bytes(b"")
        os.utime(directory / name, (then, then))


def names(directory: pathlib.Path) -> set[str]:
    """Return the names of all files."""
    return {path.name for path in directory.iterdir()}


REPLACEABLE = Keepsake("SECRET", "password")
IRREPLACEABLE = Keepsake("SECRET", "unwrapped Secret ID", irreplaceable=True)
ENDED = Keepsake("SECRET", "unwrapped Secret ID", expiry=1.0, irreplaceable=True)
ENDED_REPLACEABLE = Keepsake("SECRET", "password", expiry=1.0)


@pytest.mark.parametrize("name", ["memory", "keyring", pytest.param("runtime", marks=on_linux)])
def test_clear_spares_what_cannot_be_had_again(
    name: str, store: InMemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays, whatever the clock says of its end, until everything is forgotten; the count is of what was."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "in tests")
    backend = cache.find(name).open(os.environ)
    for number, keepsake in enumerate([REPLACEABLE, IRREPLACEABLE, ENDED, ENDED_REPLACEABLE]):
        backend.set(f"{number:040}", keepsake.dump())
    backend.set(KEY, b"no entry")
    forgotten = backend.clear()
    left = sorted(backend.keys())

    assert (forgotten, left) == (3, [f"{1:040}", f"{2:040}"])
    assert [Keepsake.load(backend.get(key)) for key in left] == [IRREPLACEABLE, ENDED]
    assert (backend.clear(), backend.clear(everything=True), tuple(backend.keys())) == (0, 2, ())
    assert store.items == {}


@on_linux
class TestKeyring(CacheBackendContract):
    @pytest.fixture
    def backend(self, store: InMemoryKeyring, shm: pathlib.Path) -> CacheBackend:
        """A new one over an empty store."""
        return Keyring.open({"XDG_RUNTIME_DIR": str(shm)})

    def test_one_read_a_call(self, backend: Keyring, store: InMemoryKeyring) -> None:
        """A value within the store's limit is one item and costs one read."""
        backend.set(KEY, b"x" * 3000)
        other = Keyring(backend.place.directory, "another process")
        before = store.reads
        values = [other.get(KEY), other.get(KEY), other.get("e" * 40)]

        assert values == [b"x" * 3000, b"x" * 3000, None]
        assert store.reads - before == 1

    def test_what_another_process_wrote_is_read_anew(self, backend: Keyring) -> None:
        """A value that was read is not remembered past the next writing of it, by whomever."""
        other = Keyring(backend.place.directory, "another process")
        backend.set(KEY, b"old")
        seen = [other.get(KEY)]
        backend.set(KEY, b"new")
        seen.append(other.get(KEY))

        assert seen == [b"old", b"new"]

    def test_clear_leaves_nothing_in_the_directory(self, backend: Keyring, store: InMemoryKeyring) -> None:
        """Marks go with their items, locks and word of failures as well."""
        backend.set(KEY, b"x")
        backend.place.remember_failure(KEY, ConfigurationError("a failure"))
        with backend.place.locked(KEY, Deadline(5)):
            pass

        assert backend.clear() == 1
        assert (names(pathlib.Path(backend.place.directory)), store.items) == ({"key"}, {})

    def test_clear_keeps_what_a_locked_store_does_not_show(self, backend: Keyring, store: InMemoryKeyring) -> None:
        """A store that is locked may hold what cannot be had again: it is not forgotten unless everything is."""
        backend.set(KEY, IRREPLACEABLE.dump())
        other = Keyring(backend.place.directory, "another process")
        store.locked = True
        forgotten = other.clear()
        store.locked = False
        unlocked = Keyring(backend.place.directory, "a third")

        assert (forgotten, unlocked.get(KEY)) == (0, IRREPLACEABLE.dump())

    def test_only_hashes_lie_beside_the_locks(self, backend: Keyring) -> None:
        """The directory of the locks holds no value."""
        backend.set(KEY, b"planted-secret")
        contents = b"".join(p.read_bytes() for p in pathlib.Path(backend.place.directory).iterdir())

        assert b"planted-secret" not in contents


@on_linux
class TestSmallItems(CacheBackendContract):
    """The keyring of a system whose items are small, as on Windows."""

    @pytest.fixture
    def backend(self, store: InMemoryKeyring, shm: pathlib.Path) -> CacheBackend:
        """A new one that splits values."""
        store.largest = 1200
        (shm / "d").mkdir(mode=0o700)
        return Keyring(str(shm / "d"), "a test", limit=1200)

    def test_a_torn_value_is_a_miss(self, backend: Keyring, store: InMemoryKeyring) -> None:
        """A value whose second part is gone is not handed out as if it were whole."""
        backend.set(KEY, b"x" * 3000)
        del store.items["vault-credential-process", f"{KEY}.1"]

        assert Keyring(backend.place.directory, "another process", limit=1200).get(KEY) is None

    def test_nothing_is_left_of_a_deleted_value(self, backend: Keyring, store: InMemoryKeyring) -> None:
        """Every part goes."""
        backend.set(KEY, b"x" * 3000)
        backend.delete(KEY)

        assert store.items == {}


def test_a_value_over_an_unknown_limit_is_refused_not_cut(store: InMemoryKeyring, shm: pathlib.Path) -> None:
    """A store that refuses a long value keeps nothing, and says so."""
    store.largest = 100
    backend = Keyring.open({"XDG_RUNTIME_DIR": str(shm)})

    assert backend.set(KEY, b"x" * 3000) is False
    assert backend.get(KEY) is None


@on_linux
class TestRuntimeDirectory:
    """Which directories are trusted."""

    def test_auto_prefers_the_login_s_directory(self, shm: pathlib.Path) -> None:
        """``XDG_RUNTIME_DIR`` on tmpfs is taken, and ``auto`` says so."""
        chosen = cache.choose("auto", {"XDG_RUNTIME_DIR": str(shm)})

        assert chosen.name == "runtime"
        assert str(shm) in chosen.reason
        assert "tmpfs" in chosen.reason

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [("mode", "mode 0755 instead of 0700"), ("link", "not a directory"), ("disk", "not on tmpfs")],
    )
    def test_a_spoilt_directory_is_not_used(
        self, shm: pathlib.Path, tmp_path: pathlib.Path, spoil: str, reason: str
    ) -> None:
        """Mode 0755, a link in its place, or a disk: not that directory, whatever is used instead."""
        runtime = shm
        if spoil == "mode":
            (shm / fastpath.NAME).mkdir(mode=0o755)
            (shm / fastpath.NAME).chmod(0o755)
        elif spoil == "link":
            (shm / "elsewhere").mkdir(mode=0o700)
            (shm / fastpath.NAME).symlink_to(shm / "elsewhere")
        else:
            assert not fastpath.is_tmpfs(os.stat(tmp_path).st_dev), "the obstacle must be real"
            runtime = tmp_path
        directory, why = fastpath.runtime_directory({"XDG_RUNTIME_DIR": str(runtime)})

        assert directory != str(runtime / fastpath.NAME)
        assert directory is not None or reason in why

    def test_a_named_backend_that_cannot_be_used_is_an_error(self, store: InMemoryKeyring) -> None:
        """Somebody counts on a backend that was named."""
        keyring.set_keyring(keyring.backends.fail.Keyring())

        with pytest.raises(ConfigurationError, match="keyring cannot be used here"):
            cache.choose("keyring", {})

    @pytest.mark.parametrize("system", ["darwin", "win32"])
    def test_auto_without_a_store_that_loads_is_no_cache(self, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
        """On macOS and Windows a wrong name of the store costs the cache, and the reason tells it."""
        monkeypatch.setattr(keyring.core, "_keyring_backend", None)
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "nosuch.B")
        monkeypatch.setattr(sys, "platform", system)
        chosen = cache.choose("auto", {})

        assert chosen.name == "none"
        assert chosen.reason.startswith("no place for keyring: PYTHON_KEYRING_BACKEND: 'nosuch.B' cannot be loaded (")

    def test_no_such_backend(self) -> None:
        """A name that nobody knows is answered with those that are known."""
        with pytest.raises(ConfigurationError, match="write auto, runtime, keyring, memory, none"):
            cache.choose("redis", {})


PLAIN_FILE = """
from keyring.backend import KeyringBackend


class PlaintextKeyring(KeyringBackend):
    priority = 0.5

    def get_password(self, service, username):
        return None

    set_password = delete_password = lambda *arguments: None


class Second(PlaintextKeyring):
    priority = 0.4
"""
OPEN = """
import os
from vault_credential_process.cache import choose
from vault_credential_process.errors import ConfigurationError
try:
    print(choose("keyring", os.environ).reason)
except ConfigurationError as error:
    print(error)
"""


class TestStoreInAFile:
    """A store of keyrings.alt, found by keyring as it finds the real one."""

    @pytest.fixture
    def site(self, tmp_path: pathlib.Path) -> pathlib.Path:
        """A directory in which a package of that name is installed, and no store of the system is to be had."""
        package = tmp_path / "site" / "keyrings" / "alt"
        package.mkdir(parents=True)
        (package / "file.py").write_text(PLAIN_FILE)
        metadata = tmp_path / "site" / "keyrings.alt-5.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: keyrings.alt\nVersion: 5.0\n")
        (metadata / "entry_points.txt").write_text("[keyring.backends]\nfile = keyrings.alt.file\n")
        return tmp_path / "site"

    def opened(self, site: pathlib.Path, **environ: str) -> str:
        """Return what a program is told that wants the keyring for its cache."""
        variables = {**os.environ, "PYTHONPATH": str(site), "DBUS_SESSION_BUS_ADDRESS": "disabled:", **environ}
        done = subprocess.run([sys.executable, "-c", OPEN], env=variables, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    @pytest.mark.parametrize("chain", [True, False], ids=["two stores", "one store"])
    def test_is_not_used_because_it_is_installed(self, site: pathlib.Path, chain: bool) -> None:
        """Nobody asked for keys in a file: keyring's own choice of one, alone or in a chain, keeps nothing."""
        if not chain:
            path = site / "keyrings" / "alt" / "file.py"
            path.write_text(path.read_text().partition("class Second")[0])
        name = "keyring.backends.chainer.ChainerBackend" if chain else "keyrings.alt.file.PlaintextKeyring"

        assert self.opened(site) == (
            f"vault_aws_cache: keyring cannot be used here: {name} keeps secrets in a file; if that may be, name it in "
            "PYTHON_KEYRING_BACKEND"
        )

    def test_is_used_where_it_was_named(self, site: pathlib.Path, tmp_path: pathlib.Path) -> None:
        """A variable or keyring's configuration file that names it is taken at its word."""
        file = tmp_path / "xdg" / "python_keyring" / "keyringrc.cfg"
        file.parent.mkdir(parents=True)
        file.write_text("[backend]\ndefault-keyring=keyrings.alt.file.PlaintextKeyring\n")
        used = "keyring uses keyrings.alt.file.PlaintextKeyring"

        assert self.opened(site, PYTHON_KEYRING_BACKEND="keyrings.alt.file.PlaintextKeyring") == used
        assert self.opened(site, XDG_CONFIG_HOME=str(tmp_path / "xdg")) == used
