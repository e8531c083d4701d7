"""The cache backends, each held to the contract, and what only one of them promises."""

from __future__ import annotations

import os
import pathlib
import stat
import sys
from collections.abc import Iterator

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.errors
import pytest

from vault_credential_process import cache, fastpath
from vault_credential_process.cache.base import CacheBackend
from vault_credential_process.cache.keyring import Keyring
from vault_credential_process.cache.memory import Memory
from vault_credential_process.cache.none import NoCache
from vault_credential_process.cache.runtime import STALE, Runtime
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.testing.cache import KEY, CacheBackendContract

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs is Linux's")


class InMemoryKeyring(keyring.backend.KeyringBackend):
    """A store that keeps items in a dictionary and counts what it is asked."""

    priority = 1

    def __init__(self, largest: int | None = None) -> None:
        super().__init__()
        self.items: dict[tuple[str, str], str] = {}
        self.reads = 0
        self.largest = largest

    def get_password(self, service: str, username: str) -> str | None:
        self.reads += 1
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
        for name in ("entry-old", "quick-old", "quick-old.lock", "failed-old", "note-old"):
            (directory / name).write_bytes(b"")
            os.utime(directory / name, (1, 1))
        os.utime(directory / "key", (1, 1))
        backend.set(KEY, b"new")

        assert {p.name for p in directory.iterdir()} == {"key", f"entry-{KEY}"}
        assert STALE > 86400


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

    def test_no_such_backend(self) -> None:
        """A name that nobody knows is answered with those that are known."""
        with pytest.raises(ConfigurationError, match="write auto, runtime, keyring, memory, none"):
            cache.choose("redis", {})
