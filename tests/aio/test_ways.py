"""What an event loop asks of a keeper, which must not wait; and what is so where aiobotocore is not installed."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import vault_credential_process
from vault_credential_process.keeper import Keeper
from vault_credential_process.testing.scripted import ScriptedServer, replay

from ..bench import NOW, READ, Bench, Clock


@pytest.fixture
def bench(scripted: ScriptedServer, exchanges: dict[str, Any]) -> Bench:
    """A server that lets everybody in and gives a lease of 900 s, and a clock that stands."""
    made = Bench(scripted, exchanges, Clock())
    made.on_login()
    made.server.on("GET", READ, made.lease(900, "ASIAFIRST"))
    return made


def keys(keeper: Keeper) -> tuple[str | None, str | None, bool]:
    """Return what a loop would hand out: the pair whose time has not come, the one that lives; and who is about it."""
    ready, living = keeper.ready(), keeper.living()
    return ready and ready.access_key, living and living.frozen.access_key, keeper.is_neglected()


@pytest.mark.parametrize("background", ["true", "false"])
def test_a_pair_from_its_first_use_to_its_end(bench: Bench, background: str) -> None:
    """There is none before the first use, then one that is ready, one that lives and waits for a call, and none."""
    keeper = Keeper(bench.fetcher(vault_aws_background=background))
    before = keys(keeper)
    keeper.frozen()
    at_first, hits = keys(keeper), keeper.health().hits
    bench.clock.now = NOW + 890
    when_its_time_has_come = keys(keeper)
    bench.clock.now = NOW + 900
    at_its_end = keys(keeper)

    assert before == (None, None, False)
    assert at_first == ("ASIAFIRST", "ASIAFIRST", False)
    assert when_its_time_has_come == (None, "ASIAFIRST", True)
    assert at_its_end[:2] == (None, None)
    assert hits == 2
    assert bench.server.asked("GET", READ) == 1


def test_a_pair_that_was_tried_in_vain_is_not_neglected(bench: Bench) -> None:
    """After a refresh that failed the pair waits for the next one's time, not for more calls."""
    keeper = Keeper(bench.fetcher(vault_aws_background="false"))
    keeper.frozen()
    bench.server.on("GET", READ, replay(bench.exchanges["sealed"]))
    bench.clock.now = NOW + 890
    keeper.frozen()

    assert keys(keeper) == (None, "ASIAFIRST", False)


def test_without_aiobotocore(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is there and says what is missing when it is used."""
    monkeypatch.setitem(sys.modules, "aiobotocore", None)

    with pytest.raises(ImportError, match="aiobotocore"):
        vault_credential_process.aio_session("webapp")
