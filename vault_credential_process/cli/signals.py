"""What a signal must not leave behind on a terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

_LEAVING = ("SIGTSTP", "SIGTERM", "SIGHUP", "SIGQUIT")


@contextlib.contextmanager
def undone(begin: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """Change the terminal with ``begin`` while a block runs, and change it back with ``end``.

    Whatever ends or stops us changes it back first; who goes on after a stop changes it anew. A signal that somebody
    else handles or ignores is left to them, and so are all of them outside the main thread.
    """

    def leave(number: int, _: object) -> None:
        end()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Here again after a stop alone.
        signal.signal(number, leave)
        begin()

    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in _LEAVING if hasattr(signal, name)):
            if signal.getsignal(number) == signal.SIG_DFL:
                handlers[number] = signal.signal(number, leave)
    try:
        begin()
        yield
    finally:
        end()
        for caught, handler in handlers.items():
            signal.signal(caught, handler)
