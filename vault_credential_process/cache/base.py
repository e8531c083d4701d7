"""What a cache backend is: a place for small values by key, and a place for its users to meet."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.cache.entry import Keepsake, of_another_version
from vault_credential_process.cache.place import Place

if TYPE_CHECKING:
    from typing_extensions import Self


class CacheUnavailable(Exception):  # noqa: N818 - a verdict that auto acts on, not a failure
    """The backend cannot keep anything here; the text is the reason."""


class CacheBackend(abc.ABC):
    """Base of every cache backend.

    Values are at most a few KiB of ASCII. A backend never raises for a value that is missing, damaged, foreign or too
    large to keep: what cannot be read is ``None``, what cannot be written is not kept. Backends of other packages are
    found through the entry-point group ``vault_credential_process.cache_backends``.
    """

    name: ClassVar[str]
    """The value of ``vault_aws_cache``."""
    summary: ClassVar[str]
    """One line for the docs."""
    shared: ClassVar[bool]
    """Whether other processes of the user see what is kept."""

    place: Place
    reason: str
    """Why this backend can be used here, for people who ask."""

    @classmethod
    @abc.abstractmethod
    def open(cls, environ: Mapping[str, str]) -> Self:
        """Return the backend, ready for use.

        :raises CacheUnavailable: when it cannot keep anything here.
        """

    @abc.abstractmethod
    def get(self, key: str) -> bytes | None:
        """Return what is kept under a key (40 hexadecimal digits), or ``None``."""

    @abc.abstractmethod
    def set(self, key: str, value: bytes) -> bool:
        """Keep a value, in one step for all who read; tell whether it is kept."""

    @abc.abstractmethod
    def delete(self, key: str) -> None:
        """Forget a key; nothing happens where it is not kept."""

    def clear(self, *, everything: bool = False) -> int:
        """Forget all keys but those that are spared, or all of them; return how many were forgotten."""
        before = set(self.keys())
        for key in before:
            if everything or not self.spares(key):
                self.delete(key)
        return len(before.difference(self.keys()))

    def spares(self, key: str) -> bool:
        """Tell whether a key stays where everything is to be forgotten that can be had again.

        Whether it has ended does not matter: the clock that says so may be wrong.
        """
        content = self.get(key)
        kept = Keepsake.load(content)
        return of_another_version(content) == "keepsake" if kept is None else kept.irreplaceable

    @abc.abstractmethod
    def keys(self) -> Iterable[str]:
        """Return the keys that are kept, as far as the backend can tell."""
