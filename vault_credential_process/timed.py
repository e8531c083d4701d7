"""Time limits for work that has none of its own: a name server, a secret store, a library; and jitter for pauses."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_random = random.SystemRandom()


def jitter(least: float, most: float) -> float:
    """Return a number between two, drawn by the system.

    Not by the generator of the module ``random``: processes that were forked would draw the same, and a program that
    has seeded it, to draw the same twice, would not.
    """
    return _random.uniform(least, most)


def in_time(work: Callable[[], T], seconds: float, name: str) -> tuple[list[T], list[Exception]]:
    """Do some work in a thread, and wait for it so many seconds at most.

    Returns what it returned and what it raised: one thing in one of the two, or nothing in both where it takes longer
    and goes on alone. It does not raise what the work raised, whose frames may hold secrets: the caller says what
    of that is told.

    :raises RuntimeError: when the system has no thread for it.
    """
    returned: list[T] = []
    raised: list[Exception] = []

    def run() -> None:
        try:
            returned.append(work())
        except Exception as error:  # libraries raise what they like
            raised.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    return returned, raised
