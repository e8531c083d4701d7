"""What all workers of a run share."""

from __future__ import annotations

import pathlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .shared import made_once


@pytest.mark.parametrize("reason", [None, "no network"])
def test_is_made_once(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, reason: str | None
) -> None:
    """Of several that want it at the same moment one makes it, and all get the same, a failure too."""
    made: list[pathlib.Path] = []
    ready = threading.Barrier(4)

    def make(place: pathlib.Path) -> str | None:
        made.append(place)
        time.sleep(0.2)
        place.mkdir()
        return reason

    def want(_: int) -> tuple[pathlib.Path, str | None]:
        ready.wait(20)
        return made_once(tmp_path_factory, f"shared-{reason}", make)

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(want, range(4)))

    assert found == {(made[0], reason)}
    assert len(made) == 1


def test_place_is_the_same_for_all_workers(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has its own directory in that of the run; what is shared lies beside those of the workers."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    base = tmp_path_factory.mktemp("run")
    monkeypatch.setattr(tmp_path_factory, "getbasetemp", lambda: base / "popen-gw0")

    place, _ = made_once(tmp_path_factory, "thing", lambda place: None)

    assert place == base / "thing"
