"""``keyring``: the operating system's secret store, through the keyring library.

A named backend (``PYTHON_KEYRING_BACKEND``, or keyring's own configuration) is honoured. One that keeps secrets in a
file must be named: that it is installed says nothing of what may lie on a disk. Locks and word of failures
lie in a private directory of the user, without any secret.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, TypeVar

from vault_credential_process import fastpath, sources
from vault_credential_process.cache.base import CacheBackend, CacheUnavailable
from vault_credential_process.cache.place import PASSING, HostPlace, per_user_directory
from vault_credential_process.errors import ConfigurationError, UnreachableError

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend
    from typing_extensions import Self

logger = logging.getLogger(__name__)

SERVICE = "vault-credential-process"
WINDOWS_LIMIT = 1200
"""Characters in one Windows credential: 2,560 bytes of UTF-16, less a margin."""

_MARK = "keyring-"

_T = TypeVar("_T")


class Keyring(CacheBackend):
    """One item a key; on Windows, whose items are small, a value that is too long goes into several."""

    name: ClassVar[str] = "keyring"
    summary: ClassVar[str] = "the system's secret store; the default on macOS and Windows"
    shared: ClassVar[bool] = True

    def __init__(self, directory: str, reason: str, *, limit: int | None = None) -> None:
        """Use the store of this user; ``limit`` is the most characters of one item.

        :raises OSError: when the random key of the directory can be neither read nor made.
        """
        self.place: HostPlace = HostPlace(directory)
        self.reason = reason
        self._limit = limit
        self._read: dict[str, tuple[str, bytes | None]] = {}

    @classmethod
    def open(cls, environ: Mapping[str, str]) -> Self:
        """Return the store, if there is one that keeps secrets."""
        try:
            store = sources.load_store()
        except ConfigurationError as error:
            raise CacheUnavailable(str(error)) from None
        described = sources.name_of(store)
        if not sources.keeps(store):
            raise CacheUnavailable(f"keyring found no secret store ({described})")
        if _is_file(store) and not _is_named():
            raise CacheUnavailable(
                f"{described} keeps secrets in a file; if that may be, name it in PYTHON_KEYRING_BACKEND"
            )
        directory, reason = per_user_directory(environ)
        if directory is None:
            raise CacheUnavailable(reason)
        limit = WINDOWS_LIMIT if sys.platform == "win32" else None
        try:
            return cls(directory, f"keyring uses {described}", limit=limit)
        except OSError as error:
            raise CacheUnavailable(f"{directory}: {error.strerror}") from None

    def get(self, key: str) -> bytes | None:
        # What the store was asked for once is remembered until somebody writes anew: a call reads an item once, and
        # not at all where nothing is kept. Managed machines take seconds for each read.
        state = fastpath.path_state(self._mark(key))
        if state == fastpath.ABSENT:
            return None
        if self._read.get(key, ("", None))[0] != state:
            self._read[key] = state, self._whole(key)
        return self._read[key][1]

    def _whole(self, key: str) -> bytes | None:
        import keyring

        value = ""
        for number in range(self._pieces(key)):
            piece = self._ask(keyring.get_password, _item(key, number))
            if piece is None:
                return None
            value += piece
        return value.encode()

    def set(self, key: str, value: bytes) -> bool:
        text = value.decode("ascii")
        size = self._limit or len(text)
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        before = self._pieces(key)
        try:
            # Without its mark a value is not read: half of one never is.
            os.unlink(self._mark(key))
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.warning("keyring: %s: %s; nothing is kept", self.place.directory, error.strerror)
            return False
        for number in range(len(pieces), before):
            self._ask(_deleted, _item(key, number))
        for number, piece in enumerate(pieces):
            if self._ask(_written, _item(key, number), piece) is None:
                return False
        try:
            fastpath.write_private(self._mark(key), b"%d" % len(pieces))
        except OSError as error:
            logger.warning("keyring: %s: %s; nothing is kept", self.place.directory, error.strerror)
            return False
        self._read[key] = fastpath.path_state(self._mark(key)), value
        self.place.sweep(PASSING)
        return True

    def delete(self, key: str) -> None:
        for number in range(self._pieces(key)):
            self._ask(_deleted, _item(key, number))
        try:
            os.unlink(self._mark(key))
        except OSError as error:
            logger.debug("keyring: %s: %s", self._mark(key), error.strerror)

    def clear(self, *, everything: bool = False) -> int:
        forgotten = super().clear(everything=everything)
        self.place.sweep(0)
        return forgotten

    def spares(self, key: str) -> bool:
        # What a locked store does not give now may be one that cannot be had again.
        return self.get(key) is None or super().spares(key)

    def keys(self) -> Iterable[str]:
        names = fastpath.listed(self.place.directory)
        return [name.removeprefix(_MARK) for name in names if name.startswith(_MARK) and "." not in name]

    def _mark(self, key: str) -> str:
        """Return the file, without any secret, that tells that a key is kept, in how many items, and since when."""
        return os.path.join(self.place.directory, _MARK + key)

    def _pieces(self, key: str) -> int:
        content = fastpath.read_private(self._mark(key), 8) or b""
        return int(content) if content.isdigit() else 0

    def _ask(self, ask: Callable[..., _T], *arguments: str) -> _T | None:
        """Ask the store; ``None`` where it has nothing, fails, or waits for somebody who is not there."""
        try:
            return sources.ask_keyring(ask, SERVICE, *arguments)
        except UnreachableError as error:
            logger.warning("%s; going on without", error)
            return None


def _item(key: str, number: int) -> str:
    """Return the name of an item; only a value that is longer than one item has more than the first."""
    return f"{key}.{number}" if number else key


def _is_file(store: KeyringBackend) -> bool:
    """Tell whether a store, or the one of a chain that is written to, is of keyrings.alt: those keep files."""
    from keyring.backends.chainer import ChainerBackend

    members = list(store.backends) if isinstance(store, ChainerBackend) else [store]
    return any(type(member).__module__.startswith("keyrings.alt") for member in members[:1])


def _is_named() -> bool:
    """Tell whether somebody named the store that keyring uses, instead of leaving the choice to it."""
    from keyring import core

    return "PYTHON_KEYRING_BACKEND" in os.environ or core.load_config() is not None


def _written(service: str, name: str, value: str) -> bool:
    import keyring

    keyring.set_password(service, name, value)
    return True


def _deleted(service: str, name: str) -> bool:
    import keyring
    import keyring.errors

    try:
        keyring.delete_password(service, name)
    except keyring.errors.PasswordDeleteError:
        return False
    return True
