"""``memory``: kept in this process, for threads and sessions of one program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.cache.base import CacheBackend
from vault_credential_process.cache.place import ProcessPlace

if TYPE_CHECKING:
    from typing_extensions import Self


class Memory(CacheBackend):
    """A dictionary."""

    name: ClassVar[str] = "memory"
    summary: ClassVar[str] = "in the memory of the process; the default of programs that use the provider"
    shared: ClassVar[bool] = False

    def __init__(self) -> None:
        """Begin empty."""
        self.place = ProcessPlace()
        self.reason = "the process has memory"
        self._values: dict[str, bytes] = {}

    @classmethod
    def open(cls, environ: Mapping[str, str]) -> Self:
        """Return a new, empty cache."""
        return cls()

    def get(self, key: str) -> bytes | None:
        return self._values.get(key)

    def set(self, key: str, value: bytes) -> bool:
        self._values[key] = value
        return True

    def delete(self, key: str) -> None:
        self._values.pop(key, None)

    def keys(self) -> Iterable[str]:
        return tuple(self._values)
