"""What all workers of a run share: it is made once, by the first of them that wants it."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest

from vault_credential_process.lock import FileLock

LIMIT = 600.0
"""Seconds for which a worker waits for what another one makes."""


def made_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[pathlib.Path], str | None]
) -> tuple[pathlib.Path, str | None]:
    """Return a directory of the whole run, which ``make`` fills, and why that failed, or ``None``.

    ``make`` gets the path of a directory that there is not, and returns the reason of a failure. What failed is not
    tried again.
    """
    base = factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    word, lock = place.with_name(f"{name}.word"), FileLock(str(place.with_name(f"{name}.lock")))
    assert lock.acquire(LIMIT, word.exists) or word.exists(), f"{name} was not made within {LIMIT:g} s"
    try:
        if not word.exists():
            draft = place.with_name(f"{name}.draft")
            draft.write_text(make(place) or "", encoding="utf-8")
            draft.replace(word)
    finally:
        lock.release()
    return place, word.read_text(encoding="utf-8") or None
