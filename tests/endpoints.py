"""Fixtures of the endpoint in this process: a scripted Vault, a keeper, and a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from vault_credential_process.keeper import Keeper
from vault_credential_process.server import EndpointServer
from vault_credential_process.testing.scripted import ScriptedServer

from .bench import READ, Bench, Clock
from .serving import served


@pytest.fixture
def bench(scripted: ScriptedServer, exchanges: dict[str, Any]) -> Bench:
    """A scripted Vault that takes logins, and gives a pair that lives for an hour."""
    made = Bench(scripted, exchanges, Clock())
    made.on_login()
    scripted.on("GET", READ, made.lease(3600))
    return made


@pytest.fixture
def keeper(bench: Bench) -> Keeper:
    """A keeper that has fetched nothing yet."""
    return Keeper(bench.fetcher())


@pytest.fixture
def server(keeper: Keeper) -> Iterator[EndpointServer]:
    """An endpoint that serves one role."""
    with served({"webapp": keeper}) as running:
        yield running
