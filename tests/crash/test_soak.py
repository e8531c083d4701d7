"""The soak in short, and whole; and that its judge sees what must not be."""

from __future__ import annotations

import json
import math
import pathlib
import random
import sys
import time

import pytest

from vault_credential_process.expiry import format_timestamp

from .soak import LEASE, Done, Issuer, Soak, Verdicts

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the runtime cache is Linux's")

NOW = 1_795_465_023.0


@pytest.mark.parametrize(
    ("seconds", "width"), [(8, 12), pytest.param(60, 50, marks=pytest.mark.soak)], ids=["in short", "whole"]
)
def test_soak(tmp_path: pathlib.Path, shm: pathlib.Path, seconds: float, width: int) -> None:
    """Every answer was valid when it was given, every failure is one line, and no lease is one too many."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    report = Soak(tmp_path, shm, seed=seed).run(seconds=seconds, width=width)

    assert report.faults == [], seed
    assert report.verdicts.codes[0] >= 1
    assert report.seals >= 1
    assert 1 <= report.logins <= report.reads <= report.most_reads


def done(key: str = "ASIA1", end: float = NOW + 5, code: int = 0, err: str = "", written: float = NOW) -> Done:
    """Return the end of a call."""
    document = json.dumps({"Version": 1, "AccessKeyId": key, "Expiration": format_timestamp(end)}) + "\n"
    return Done(code, "" if code else document, err, written)


@pytest.mark.parametrize(
    ("call", "verdict"),
    [
        (done(), ""),
        (done(code=6, err="sealed\n"), ""),
        (done(key="ASIA2"), "never issued"),
        (done(end=NOW + LEASE + 1), "ends 1.00 s before it says"),
        (done(written=NOW + 6), "had ended 1.00 s before"),
        (done(err="a warning\n"), "not silent"),
        (done(code=4, err="denied\n"), "code 4"),
        (done(code=70, err="internal error\n"), "code 70"),
        (done(code=6, err="two\nlines\n"), "code 6"),
        (Done(0, "", "", NOW), "no document"),
    ],
)
def test_judge(call: Done, verdict: str) -> None:
    """It tells a good call from each kind of bad one."""
    issuer = Issuer.__new__(Issuer)
    issuer.last_given = {"ASIA0": math.inf, "ASIA1": NOW}
    verdicts = Verdicts()
    verdicts.judge(issuer, call, sealed=False)

    assert [verdict in line for line in verdicts.wrong] == ([True] if verdict else [])


def test_kernel_tells_when_a_document_was_written(tmp_path: pathlib.Path) -> None:
    """The time of writing of a file is that of the clock, to within what a document is rounded by."""
    before = time.time()
    path = tmp_path / "out"
    path.write_text("x")

    assert before - 0.1 <= path.stat().st_mtime <= time.time() + 0.1
