"""``keyring``: the operating system's secret store, through the keyring library.

A named backend (``PYTHON_KEYRING_BACKEND``, or keyring's own configuration) is honoured. Locks and word of failures
lie in a private directory of the user, without any secret.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, TypeVar

import keyring
import keyring.errors

from vault_credential_process import fastpath
from vault_credential_process.cache.base import CacheBackend, CacheUnavailable
from vault_credential_process.cache.place import HostPlace, per_user_directory

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

SERVICE = "vault-credential-process"
TIMEOUT = 10.0
"""Seconds that the store may take: it may wait for somebody to unlock it, and nobody may be there."""

WINDOWS_LIMIT = 1200
"""Characters in one Windows credential: 2,560 bytes of UTF-16, less a margin."""

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

    @classmethod
    def open(cls, environ: Mapping[str, str]) -> Self:
        """Return the store, if there is one that keeps secrets."""
        backend = keyring.get_keyring()
        described = f"{type(backend).__module__}.{type(backend).__qualname__}"
        if type(backend).__module__ in ("keyring.backends.fail", "keyring.backends.null"):
            raise CacheUnavailable(f"keyring found no secret store ({described})")
        directory, reason = per_user_directory(environ)
        if directory is None:
            raise CacheUnavailable(reason)
        limit = WINDOWS_LIMIT if sys.platform == "win32" else None
        try:
            return cls(directory, f"keyring uses {described}", limit=limit)
        except OSError as error:
            raise CacheUnavailable(f"{directory}: {error.strerror}") from None

    def get(self, key: str) -> bytes | None:
        first = self._ask(keyring.get_password, key)
        if first is None or not first.startswith("parts "):
            return None if first is None else first.encode()
        head, _, value = first.partition("\n")
        try:
            parts = int(head.split(" ")[1])
        except (IndexError, ValueError):
            return None
        for number in range(1, parts):
            more = self._ask(keyring.get_password, f"{key}.{number}")
            if more is None:
                return None
            value += more
        return value.encode()

    def set(self, key: str, value: bytes) -> bool:
        text = value.decode("ascii")
        pieces = [text]
        if self._limit is not None and len(text) > self._limit:
            size = self._limit - 16
            pieces = [text[start : start + size] for start in range(0, len(text), size)]
            pieces[0] = f"parts {len(pieces)}\n{pieces[0]}"
        # The first piece names the number of the rest, so it is written last: half a value is never read.
        for number, piece in reversed(list(enumerate(pieces))):
            if self._ask(_written, f"{key}.{number}" if number else key, piece) is None:
                return False
        self._index(lambda known: known | {key: len(pieces)})
        return True

    def delete(self, key: str) -> None:
        for number in range(self._known().get(key, 1)):
            self._ask(keyring.delete_password, f"{key}.{number}" if number else key)
        self._index(lambda known: {k: v for k, v in known.items() if k != key})

    def keys(self) -> Iterable[str]:
        return tuple(self._known())

    def _ask(self, ask: Callable[..., _T], *arguments: str) -> _T | None:
        """Ask the store, but do not wait for ever: it may want to be unlocked by somebody who is not there."""
        answers: list[_T] = []

        def run() -> None:
            try:
                answers.append(ask(SERVICE, *arguments))
            except keyring.errors.PasswordDeleteError:
                pass
            except Exception as error:
                # Stores raise what they like, and its text may repeat the item.
                logger.warning("keyring: %s; going on without", type(error).__name__)

        thread = threading.Thread(target=run, name="keyring", daemon=True)
        thread.start()
        thread.join(TIMEOUT)
        if thread.is_alive():
            logger.warning("keyring: no answer within %g s; unlock the store, or choose another cache", TIMEOUT)
        return answers[0] if answers else None

    def _known(self) -> dict[str, int]:
        """Return what is kept: stores cannot be listed, so an index without secrets lies beside the locks."""
        content = fastpath.read_private(os.path.join(self.place.directory, "keyring-index"))
        try:
            known = json.loads(content or b"{}")
            return {str(key): int(pieces) for key, pieces in known.items()}
        except (ValueError, AttributeError, TypeError):
            return {}

    def _index(self, change: Callable[[dict[str, int]], dict[str, int]]) -> None:
        known = self._known()
        changed = change(known)
        if changed != known:
            try:
                path = os.path.join(self.place.directory, "keyring-index")
                fastpath.write_private(path, json.dumps(changed).encode())
            except OSError as error:
                logger.warning("keyring: the index cannot be written: %s", error.strerror)


def _written(service: str, name: str, value: str) -> bool:
    keyring.set_password(service, name, value)
    return True
