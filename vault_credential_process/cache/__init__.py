"""The cache backends: one table that names them, and ``auto``, which chooses.

Credentials and Vault tokens are kept in memory, never on a disk. Adding a backend is one file and one line of
:data:`BACKENDS`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import sys
import threading
from collections.abc import Mapping

from vault_credential_process.cache.base import CacheBackend, CacheUnavailable
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.forks import at_fork

__all__ = ["BACKENDS", "ENTRY_POINTS", "CacheBackend", "CacheUnavailable", "choose", "find", "of_process"]

logger = logging.getLogger(__name__)

_guard = threading.Lock()
_memory: CacheBackend | None = None

ENTRY_POINTS = "vault_credential_process.cache_backends"

BACKENDS = {
    "runtime": "vault_credential_process.cache.runtime:Runtime",
    "keyring": "vault_credential_process.cache.keyring:Keyring",
    "memory": "vault_credential_process.cache.memory:Memory",
    "none": "vault_credential_process.cache.none:NoCache",
}
"""Name of each backend and where it is."""


def find(name: str) -> type[CacheBackend]:
    """Return the backend of a name: from the table, else from another package's entry point.

    :raises ConfigurationError: when there is none.
    """
    if name in BACKENDS:
        module, _, attribute = BACKENDS[name].partition(":")
        found: type[CacheBackend] = getattr(importlib.import_module(module), attribute)
        return found
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        loaded = entry_point.load()
        if isinstance(loaded, type) and issubclass(loaded, CacheBackend):
            return loaded
        raise ConfigurationError(f"vault_aws_cache: {name}: {entry_point.value} is not a CacheBackend")
    raise ConfigurationError(f"vault_aws_cache: no backend {name!r}; write auto, {', '.join(BACKENDS)}")


def choose(name: str, environ: Mapping[str, str]) -> CacheBackend:
    """Return the backend of a name, or what ``auto`` means here; its ``reason`` tells why it is this one.

    ``auto`` is ``runtime`` on Linux and ``keyring`` on macOS and Windows; where that cannot keep anything, nothing is
    kept. A backend that was named and cannot be used is an error: somebody counts on it.

    :raises ConfigurationError: when the backend that was named does not exist or cannot be used.
    """
    wanted = ("runtime" if sys.platform.startswith("linux") else "keyring") if name == "auto" else name
    try:
        backend = find(wanted).open(environ)
    except CacheUnavailable as error:
        if name != "auto":
            raise ConfigurationError(f"vault_aws_cache: {name} cannot be used here: {error}") from None
        backend = find("none").open(environ)
        backend.reason = f"no place for {wanted}: {error}"
    logger.debug("cache: %s: %s", backend.name, backend.reason)
    return backend


def _forked() -> None:
    """Begin with a new lock in a child of ``fork``."""
    global _guard  # noqa: PLW0603 - one for all
    _guard = threading.Lock()


at_fork(_forked)


def of_process() -> CacheBackend:
    """Return the one memory of this process: every session of a program shares what it keeps."""
    global _memory  # noqa: PLW0603 - one for all, made when it is first wanted
    with _guard:
        if _memory is None:
            _memory = find("memory").open({})
        return _memory
