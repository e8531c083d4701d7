"""The keepers of a process: one for all who want the same, new locks after ``fork``, and the end of the program."""

from __future__ import annotations

import atexit
import threading
import weakref

from vault_credential_process.fetcher import Fetcher
from vault_credential_process.forks import at_fork
from vault_credential_process.keeper import Keeper

_by_key: weakref.WeakValueDictionary[tuple[object, ...], Keeper] = weakref.WeakValueDictionary()
_registry = threading.Lock()


def keepers() -> list[Keeper]:
    """Return the keepers that are in use now."""
    return [keeper for keeper in (ref() for ref in _by_key.valuerefs()) if keeper is not None]


def keeper_of(fetcher: Fetcher) -> Keeper:
    """Return the keeper of what a fetcher would fetch: sessions and clients that want the same share one.

    :raises VaultCredentialError: when nobody can tell as whom the fetcher would log in.
    """
    key = fetcher.key(), id(fetcher.clock)
    with _registry:
        found = _by_key.get(key)
        if found is None:
            found = _by_key[key] = Keeper(fetcher)
        return found


def _share() -> None:
    """Take note that a child of ``fork`` has what is held, too: from now on it is not one process's to give back."""
    for keeper in keepers():
        keeper.is_shared = True


def _forked() -> None:
    """Begin with new locks in a child of ``fork``."""
    global _registry  # noqa: PLW0603 - one for all
    _registry = threading.Lock()
    for keeper in keepers():
        keeper.forked()


def _give_back() -> None:
    """End the tokens of keepers that are to, as the program ends."""
    for keeper in keepers():
        keeper.give_back()


atexit.register(_give_back)
at_fork(_forked, before=_share)
