"""Faults between client and server: each at each moment, through a proxy of ours, against a real server."""

from __future__ import annotations

import concurrent.futures
import pathlib
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vault_credential_process import requester
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.transport import MAX_REPLY

from ..certificates import Authority
from .faults import FAULTS, STATUSES, TLS_FAULTS, Fault
from .proxy import FaultProxy
from .table import MOMENTS, Outcome, Table
from .trial import AT, Trial, WireCase

WORKERS = 10
"""Rows that are measured at a time; most of them wait for a process or a time limit."""

CASES = (
    *(
        WireCase(fault.name, moment, fault.within, fault)
        for moment in MOMENTS
        for fault in FAULTS
        if moment in AT and moment in (fault.moments or AT)
        if not (fault.needs_body and AT[moment].kind == "revocation")
    ),
    *(
        WireCase(fault.name, moment, fault.within, fault)
        for moment in ("login", "first read")
        for fault in TLS_FAULTS
        if moment in (fault.moments or AT)
    ),
)
"""Every fault at every moment; a revocation is answered without a body that could be cut."""

AT_EVERY_CHANGE = ("login", "revocation (logout)")
"""Moments whose rows the ordinary run measures; all others are for the soak."""

ACTS = tuple({(fault.stage, fault.act): fault for fault in FAULTS}.values())
"""One fault for each thing that the proxy does."""

UNTOUCHED = ("no fault", "reply byte by byte, in time")
"""Faults after which a client has all that the server said."""


class Ahead:
    """Measures rows in the order of the tests, a few at a time and a few ahead of the test that wants one."""

    def __init__(self, order: list[WireCase], measure: Callable[[WireCase], Outcome]) -> None:
        """Begin nothing yet."""
        self._order = order
        self._measure = measure
        self._pool = concurrent.futures.ThreadPoolExecutor(WORKERS)
        self._begun: dict[tuple[str, str], concurrent.futures.Future[Outcome]] = {}

    def outcome(self, case: WireCase) -> Outcome:
        """Return what a row measured."""
        at = self._order.index(case)
        for near in self._order[at : at + 2 * WORKERS]:
            if near.name not in self._begun:
                self._begun[near.name] = self._pool.submit(self._measure, near)
        return self._begun[case.name].result(120)

    def close(self) -> None:
        """End what was begun ahead of tests that never came."""
        self._pool.shutdown(cancel_futures=True)


def is_measured(item: Any) -> bool:
    """Tell whether a test wants a row measured, and will not be skipped."""
    is_row = getattr(item, "originalname", None) == test_fault_on_the_wire.__name__
    return is_row and not item.get_closest_marker("skip")


@pytest.fixture(scope="module")
def shm() -> Iterator[pathlib.Path]:
    """One private directory on tmpfs for all rows: they outlive the tests that they are measured ahead of."""
    base = pathlib.Path("/dev/shm") if pathlib.Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="vcp-faults-", dir=base) as path:
        yield pathlib.Path(path)


@pytest.fixture(scope="module")
def ahead(
    shm: pathlib.Path, laboratory: Laboratory, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Ahead]:
    """Return what measures the rows."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    if laboratory.server.engine.real:
        laboratory.server.call("POST", "aws/config/lease", {"lease": "1h", "lease_max": "24h"})

    def measure(case: WireCase) -> Outcome:
        with tempfile.TemporaryDirectory(dir=shm) as home:
            return Trial(case, laboratory, pathlib.Path(home), authority).measure()

    order = [item.callspec.params["case"] for item in request.session.items if is_measured(item)]  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requester, "RETRY_WAIT", 0.05)
        made = Ahead(order, measure)
        yield made
        made.close()


def marked(case: WireCase) -> Any:
    """Return a row as a parameter: only leases of the real engine can be renewed, and most moments are for the soak."""
    if case.moment == "renewal (lease)":
        return pytest.param(case, marks=pytest.mark.real_engine)
    return pytest.param(case, marks=() if case.moment in AT_EVERY_CHANGE else pytest.mark.soak)


@pytest.mark.parametrize("case", [marked(case) for case in CASES], ids=str)
def test_fault_on_the_wire(case: WireCase, ahead: Ahead, table: Table) -> None:
    """The fault ends as the page says: what the caller sees, when, what the server was asked, what is left."""
    table.check(case, ahead.outcome(case))


def test_every_recorded_status_is_among_the_faults(exchanges: dict[str, Any]) -> None:
    """What Vault was seen to refuse with, it refuses with here."""
    recorded = {exchange["response"]["status"] for exchange in exchanges.values()}

    assert {status for status in recorded if status >= 400} <= set(STATUSES)


def received(proxy: FaultProxy) -> bytes | str:
    """Ask for something without any code of ours; return what comes, but the date, or what broke."""
    got, end = b"", time.monotonic() + 2
    try:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=1) as client:
            client.sendall(b"GET /v1/sys/seal-status HTTP/1.1\r\nHost: vault\r\n\r\n")
            while len(got) <= MAX_REPLY and (chunk := client.recv(65536)):
                got += chunk
                if time.monotonic() > end:
                    return "too slow"
    except OSError as error:
        return type(error).__name__
    return b"\r\n".join(line for line in got.split(b"\r\n") if not line.startswith(b"Date:"))


@pytest.mark.parametrize("fault", ACTS, ids=lambda fault: fault.name)
def test_proxy_does_what_the_fault_says(laboratory: Laboratory, fault: Fault) -> None:
    """Control: a client gets other bytes than the server sent, or none; before and after the fault it gets all."""
    with FaultProxy(laboratory.server.address) as proxy:
        whole = received(proxy)
        proxy.reset()
        proxy.arm(fault.stage, fault.act, kind="other", always=fault.always)
        met = received(proxy)
        passed = proxy.passed["other"]
        assert proxy.is_left()
        proxy.disarm()
        after = received(proxy)

    assert isinstance(whole, bytes)
    assert whole.startswith(b"HTTP/1.1 200")
    assert after == whole
    assert (met == whole) == (fault.name in UNTOUCHED)
    assert proxy.met == 1
    assert passed == (fault.stage == "reply")
