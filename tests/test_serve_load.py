"""The endpoint under load, by ``benchmarks/serve.py``: no answer fails while leases come and go, and none is slow."""

from __future__ import annotations

import types
from typing import Any

import pytest

from .conftest import ROOT, script


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The script that anyone can run."""
    return script(ROOT / "benchmarks" / "serve.py")


@pytest.mark.parametrize(
    ("clients", "seconds", "life", "least", "limit"),
    [
        pytest.param(20, 5, 2, 3, 1.0, id="in short"),
        pytest.param(50, 60, 12, 10, 0.1, id="at full length", marks=pytest.mark.soak),
    ],
)
def test_load(benchmark: Any, clients: int, seconds: float, life: int, least: int, limit: float) -> None:
    """Each answer holds keys that live, all leases are seen, and 99 of 100 answers come within 100 ms.

    In short, among other tests, within the second that the JavaScript SDK waits.
    """
    benchmark.RATE_SECONDS, benchmark.RATE_ROUNDS = 0.1, 1

    load, reads, ratio = benchmark.measure(seconds, life, clients)

    assert load.failures == []
    assert len(load.times) >= clients * seconds * benchmark.PER_SECOND * 0.9
    assert reads >= len(load.keys) >= least
    assert load.percentile < limit <= 10 * benchmark.LONGEST
    assert ratio > 0


def test_failure_would_be_seen(benchmark: Any) -> None:
    """The control: a refusal, an empty answer and keys that have ended are failures."""
    load = benchmark.Load()
    good = b'{"AccessKeyId": "a", "SecretAccessKey": "b", "Expiration": "2999-01-01T00:00:00Z"}'
    bad = (
        (503, good),
        (200, b"{}"),
        (200, b""),
        (200, good.replace(b'"b"', b'""')),
        (200, good.replace(b"2999", b"1999")),
    )
    load.note(200, good, 0.0)
    assert load.failures == []

    for status, body in bad:
        load.note(status, body, 0.0)

    assert len(load.failures) == len(bad)
