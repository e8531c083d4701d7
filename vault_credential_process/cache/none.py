"""``none``: nothing is kept; every call logs in and reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.cache.base import CacheBackend
from vault_credential_process.cache.place import ProcessPlace

if TYPE_CHECKING:
    from typing_extensions import Self


class NoCache(CacheBackend):
    """Forgets at once."""

    name: ClassVar[str] = "none"
    summary: ClassVar[str] = "nothing is kept; every call logs in and reads"
    shared: ClassVar[bool] = False

    def __init__(self) -> None:
        """Keep nothing."""
        self.place = ProcessPlace()
        self.reason = "nothing is to be kept"

    @classmethod
    def open(cls, environ: Mapping[str, str]) -> Self:
        """Return the backend."""
        return cls()

    def get(self, key: str) -> bytes | None:
        return None

    def set(self, key: str, value: bytes) -> bool:
        return False

    def delete(self, key: str) -> None:
        pass

    def keys(self) -> Iterable[str]:
        return ()
