"""``runtime``: small files in a private directory on tmpfs, shared by the processes of one user."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import fastpath
from vault_credential_process.cache.base import CacheBackend, CacheUnavailable
from vault_credential_process.cache.entry import CLOCK_SLACK, FOREIGN, ended, of_another_version
from vault_credential_process.cache.place import PASSING, HostPlace, is_half_done

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

STALE = 2 * 86400
"""Seconds after which an answer that nobody wrote any more is swept away; a call that asks again writes it anew."""

_OTHERS = ("key", "failed-", "note-")
"""How the names begin of what is no answer: the random key, the marks of the keyring backend, word for who waits."""


class Runtime(CacheBackend):
    """Files ``entry-<key>`` of mode 0600, written in one step."""

    name: ClassVar[str] = "runtime"
    summary: ClassVar[str] = "private files on tmpfs, never on a disk; the default on Linux"
    shared: ClassVar[bool] = True

    def __init__(self, directory: str, reason: str) -> None:
        """Use a directory that was checked.

        :raises OSError: when its random key can be neither read nor made.
        """
        self.directory = directory
        self.place: HostPlace = HostPlace(directory)
        self.reason = reason

    @classmethod
    def open(cls, environ: Mapping[str, str]) -> Self:
        """Return the cache in ``$XDG_RUNTIME_DIR``, else in ``/dev/shm``."""
        directory, reason = fastpath.runtime_directory(environ)
        if directory is None:
            raise CacheUnavailable(reason)
        try:
            return cls(directory, reason)
        except OSError as error:
            raise CacheUnavailable(f"{directory}: {error.strerror}") from None

    def get(self, key: str) -> bytes | None:
        return fastpath.read_private(self.place.path("entry", key))

    def set(self, key: str, value: bytes) -> bool:
        try:
            fastpath.write_private(self.place.path("entry", key), value)
        except OSError as error:
            logger.warning("%s: %s; nothing is kept", self.directory, error.strerror)
            return False
        self._sweep()
        return True

    def delete(self, key: str) -> None:
        fastpath.forget(self.directory, key)
        try:
            os.unlink(self.place.path("entry", key))
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.warning("%s: %s; the entry stays", self.directory, error.strerror)

    def clear(self, *, everything: bool = False) -> int:
        fastpath.forget(self.directory)
        forgotten = super().clear(everything=everything)
        self.place.sweep(0)
        for name in fastpath.listed(self.directory):
            if _is_answer(name) and not name.startswith("entry-"):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self.directory, name))
        return forgotten

    def keys(self) -> Iterable[str]:
        names = fastpath.listed(self.directory)
        return [
            n.removeprefix("entry-") for n in names if n.startswith("entry-") and n.count("-") == 1 and "." not in n
        ]

    def _sweep(self) -> None:
        """Remove what nobody has written for long: the directory must not grow as long as the host is up.

        An entry that has not ended stays, however old: behind it may be an IAM user of a month.
        """
        self.place.sweep(PASSING)
        now = time.time()
        for name in fastpath.listed(self.directory):
            if not _is_answer(name):
                continue
            path = os.path.join(self.directory, name)
            try:
                age = now - os.lstat(path).st_mtime
                if not -CLOCK_SLACK <= age < STALE and (not name.startswith("entry-") or _is_past(path, now, age)):
                    os.unlink(path)
            except OSError:
                continue


def _is_past(path: str, now: float, age: float) -> bool:
    """Tell whether an entry serves nobody any more; of one that another version keeps only its age tells."""
    content = fastpath.read_private(path)
    kind = of_another_version(content)
    if kind is None:
        return ended(content, now, fastpath.clock_origin())
    return kind != "keepsake" and age > FOREIGN


def _is_answer(name: str) -> bool:
    """Tell whether a file is an entry or a quick answer, or else nothing that anybody needs."""
    return not name.startswith(_OTHERS) and not name.endswith(".lock") and not is_half_done(name)
