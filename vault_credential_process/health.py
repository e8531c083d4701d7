"""How a keeper does: for health routes, metrics, and whoever wants to hear of each fetch."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vault_credential_process.keeper import Keeper

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """How a keeper does: for health routes and for metrics. All counts are of this process, since it began.

    ``seconds_left`` is negative once the pair has ended and ``None`` while there is none. ``error`` is the last
    failure, while it lasts. ``fetches`` counts the times that a pair was asked for, ``refreshes`` those that brought a
    new one, ``failures`` those that failed. ``hits`` counts the calls for credentials, approximately where threads
    race, ``waits`` those of them that found no valid pair, and ``lease_ends`` the pairs that ended unreplaced. Tasks of
    an event loop that wait together are one call.
    """

    authenticated: bool
    seconds_left: float | None
    error: str | None
    fetches: int
    refreshes: int
    failures: int
    hits: int
    waits: int
    lease_ends: int


Hook = Callable[["Keeper", "Health"], None]
"""Called after each fetch, whether it brought a new pair or failed; by the thread that fetched, once it
holds no lock."""

_hooks: list[Hook] = []


def on_refresh(hook: Hook) -> Hook:
    """Call a function after each fetch of any keeper of this process; also a decorator. It must not block."""
    _hooks.append(hook)
    return hook


def tell_hooks(keeper: Keeper, health: Health) -> None:
    """Let every hook hear of a fetch; what goes wrong in one is logged.

    A Ctrl-C, or an end of the program that a hook wants, goes on in the program's own thread; in any other it ends
    nothing.
    """
    for hook in _hooks:
        try:
            hook(keeper, health)
        except BaseException as error:  # whatever it is, it is not the credentials' trouble
            in_main = threading.current_thread() is threading.main_thread()
            if in_main and isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            logger.exception("a hook of on_refresh failed")
