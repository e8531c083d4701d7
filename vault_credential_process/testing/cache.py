"""What every cache backend promises."""

from __future__ import annotations

import threading
import time

import pytest

from vault_credential_process.cache.base import CacheBackend
from vault_credential_process.errors import DeadlineError, SealedError
from vault_credential_process.expiry import Deadline

KEY = "0123456789abcdef0123456789abcdef01234567"
OTHER_KEY = "f" * 40


class CacheBackendContract:
    """Inherit, and override :meth:`backend`."""

    keeps = True
    """Whether the backend keeps anything at all."""

    @pytest.fixture
    def backend(self) -> CacheBackend:
        """Return the backend under test, empty."""
        raise NotImplementedError

    def test_describes_itself(self, backend: CacheBackend) -> None:
        """A backend has a name, a summary, a reason, and says whether it is shared."""
        assert all(isinstance(text, str) and text for text in (backend.name, backend.summary, backend.reason))
        assert isinstance(backend.shared, bool)

    def test_what_was_never_kept_is_none(self, backend: CacheBackend) -> None:
        """A missing key is ``None``, not an error."""
        assert backend.get(KEY) is None

    def test_keeps_a_value(self, backend: CacheBackend) -> None:
        """A value comes back as it was kept, and ``set`` tells the truth."""
        assert backend.set(KEY, b'{"a": 1}') is self.keeps
        assert backend.get(KEY) == (b'{"a": 1}' if self.keeps else None)

    def test_keeps_a_long_value_whole(self, backend: CacheBackend) -> None:
        """A value of 8 KiB comes back whole or not at all, never cut."""
        value = b"0123456789abcdef" * 512
        kept = backend.set(KEY, value)

        assert backend.get(KEY) == (value if kept else None)

    def test_replaces_a_value(self, backend: CacheBackend) -> None:
        """The last value wins, a shorter one after a longer one too."""
        backend.set(KEY, b"x" * 4000)
        backend.set(KEY, b"short")

        assert backend.get(KEY) == (b"short" if self.keeps else None)

    def test_keys_do_not_touch_each_other(self, backend: CacheBackend) -> None:
        """One key's value is never another's."""
        backend.set(KEY, b"one")
        backend.set(OTHER_KEY, b"two")
        backend.delete(KEY)

        assert backend.get(KEY) is None
        assert backend.get(OTHER_KEY) == (b"two" if self.keeps else None)
        assert list(backend.keys()) == ([OTHER_KEY] if self.keeps else [])

    def test_deleting_twice_is_no_error(self, backend: CacheBackend) -> None:
        """A key that is not kept can be forgotten."""
        backend.set(KEY, b"one")
        backend.delete(KEY)
        backend.delete(KEY)

        assert backend.get(KEY) is None

    def test_hashes_are_keyed(self, backend: CacheBackend) -> None:
        """The same parts give the same 40 digits; other parts, or the same split otherwise, give others."""
        first = backend.place.hash("a", "secret")

        assert first == backend.place.hash("a", "secret")
        assert len({first, backend.place.hash("as", "ecret"), backend.place.hash("a", "secrets")}) == 3
        assert len(first) == 40
        assert len(backend.place.hash_key) == 32

    def test_one_holds_the_lock(self, backend: CacheBackend) -> None:
        """While one holds a key's lock no other has it; who does not wait is told at once."""
        with backend.place.locked(KEY, Deadline(5)) as mine:
            with backend.place.locked(KEY, Deadline(5), wait=False) as second:
                assert (mine, second) == (True, False)
            with backend.place.locked(OTHER_KEY, Deadline(5), wait=False) as other:
                assert other
        with backend.place.locked(KEY, Deadline(5), wait=False) as again:
            assert again

    def test_waiting_ends_with_the_deadline(self, backend: CacheBackend) -> None:
        """Who waits for a lock in vain gets the deadline's error, in time."""
        began = time.monotonic()
        with backend.place.locked(KEY, Deadline(5)), pytest.raises(DeadlineError):
            with backend.place.locked(KEY, Deadline(0.2)):
                pass

        assert time.monotonic() - began < 3

    def test_the_next_in_line_gets_the_lock(self, backend: CacheBackend) -> None:
        """A waiter has the lock as soon as it is free."""
        got = threading.Event()

        def wait() -> None:
            with backend.place.locked(KEY, Deadline(5)):
                got.set()

        waiter = threading.Thread(target=wait)
        with backend.place.locked(KEY, Deadline(5)):
            waiter.start()
            assert not got.wait(0.05)
        assert got.wait(5)
        waiter.join()

    def test_a_failure_answers_those_who_waited(self, backend: CacheBackend) -> None:
        """Word of a failure reaches who was waiting when it happened, in its class, and nobody who comes later."""
        before = time.monotonic()
        backend.place.remember_failure(KEY, SealedError("Vault is sealed"))
        remembered = backend.place.failure_since(KEY, before)

        assert isinstance(remembered, SealedError)
        assert str(remembered) == "Vault is sealed"
        assert backend.place.failure_since(KEY, time.monotonic() + 0.001) is None
        assert backend.place.failure_since(OTHER_KEY, before) is None
