"""How often a request is sent again, and how soon."""

from __future__ import annotations

import random
import time

import pytest

from vault_credential_process import requester as vault_module
from vault_credential_process import retries
from vault_credential_process.errors import UnreachableError, VaultCredentialError
from vault_credential_process.retries import Failure
from vault_credential_process.testing.scripted import ScriptedServer, reply

from .talk import FREELY, LOGGED_IN, LOGIN, said, talk
from .test_retries import ANSWERED, errors, tries

RETRY_WAIT = vault_module.RETRY_WAIT


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow one another at once."""
    monkeypatch.setattr(vault_module, "RETRY_WAIT", 0.001)


@pytest.mark.parametrize("row", [Failure.LIMITED, Failure.UNAVAILABLE], ids=lambda row: row.name)
@pytest.mark.parametrize(
    ("setting", "number"), [({}, 3), ({"VAULT_MAX_RETRIES": "0"}, 1), ({"BAO_MAX_RETRIES": "4"}, 5)]
)
def test_number_of_tries(scripted: ScriptedServer, row: Failure, setting: dict[str, str], number: int) -> None:
    """``VAULT_MAX_RETRIES`` (2) says how often a request is sent again; after that the failure is reported."""
    scripted.on("POST", LOGIN, next(iter(ANSWERED[row].values())))

    with pytest.raises(UnreachableError) as caught:
        talk(scripted, "login", **setting)

    assert f"{scripted.address}/v1/{LOGIN}" in said(caught.value)
    assert scripted.asked("POST", LOGIN) == number


def gap(server: ScriptedServer) -> float:
    """Return the seconds between the first two requests."""
    return server.requests[1].received - server.requests[0].received


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_back_off_grows_as_in_go(attempt: int) -> None:
    """A wait is 1 to 1.5 s times the number of the try that failed, at random."""
    waits = [retries.wait(attempt, RETRY_WAIT) for _ in range(200)]

    assert attempt <= min(waits) < max(waits) < attempt * 1.5
    assert len(set(waits)) > 100


def test_default_wait_before_the_next_try(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate limit without ``Retry-After`` is waited out for one to one and a half times the default."""
    monkeypatch.setattr(vault_module, "RETRY_WAIT", 0.2)
    scripted.on("POST", LOGIN, errors(429, "rate limit quota exceeded"), LOGGED_IN)

    talk(scripted, "login")

    assert 0.2 <= gap(scripted) < 5


def test_retry_after_is_obeyed(scripted: ScriptedServer) -> None:
    """A rate limit with ``Retry-After`` is waited out for as long as it says."""
    scripted.on("POST", LOGIN, reply(429, {"errors": ["quota exceeded"]}, {"Retry-After": "1"}), LOGGED_IN)

    talk(scripted, "login")

    assert gap(scripted) >= 1


STATUSES = {
    row: next(iter(named.values())) for row, named in ANSWERED.items() if row.name not in ("CUT_SHORT", "NOT_VAULT")
}


@pytest.mark.parametrize(
    "row", [row for row, answer in STATUSES.items() if isinstance(answer, bytes)], ids=lambda row: row.name
)
def test_retry_after_counts_where_the_table_says(scripted: ScriptedServer, row: Failure) -> None:
    """One that lies past the deadline ends the tries of a limit or of a server that is away, and of nothing else."""
    asked, answer = FREELY["look-up"], STATUSES[row]
    assert isinstance(answer, bytes)
    scripted.on(*asked, answer.replace(b"\r\n", b"\r\nRetry-After: 3600\r\n", 1))

    with pytest.raises(VaultCredentialError):
        talk(scripted, "look-up")

    assert scripted.asked(*asked) == (1 if row.value.told else tries(row, True))


DAY = {"Date": "Wed, 21 Oct 2099 07:28:00 GMT"}


@pytest.mark.parametrize(
    ("moment", "headers", "number"),
    [
        ("Wed, 21 Oct 2099 07:28:00 GMT", {}, 1),
        ("Wed, 21 Oct 2099 08:28:00 GMT", DAY, 1),
        ("Wed, 21 Oct 2099 07:28:00 GMT", DAY, 3),
        ("Wed, 21 Oct 2015 07:28:00 GMT", {}, 3),
        ("9" * 400, {}, 1),
        ("0", {}, 3),
        ("soon", {}, 3),
        ("-1", {}, 3),
        ("\u00b2", {}, 3),
        ("Wed, 99 Oct 2099 07:28:00 GMT", {}, 3),
    ],
)
def test_form_of_retry_after(scripted: ScriptedServer, moment: str, headers: dict[str, str], number: int) -> None:
    """A date counts from that of the answer, else from our clock; what is neither date nor number counts as absent.

    One past the deadline is not waited for, and the limit is reported at once.
    """
    limited = reply(429, {"errors": ["rate limit quota exceeded"]}, {"Retry-After": moment, **headers})
    scripted.on("POST", LOGIN, limited)
    start = time.monotonic()

    with pytest.raises(UnreachableError) as caught:
        talk(scripted, "login")

    assert "too many requests: rate limit quota exceeded" in said(caught.value)
    assert scripted.asked("POST", LOGIN) == number
    assert time.monotonic() - start < 5


def test_jitter_leaves_a_seeded_program_alone() -> None:
    """Pauses differ, within their bounds, and a program that has seeded ``random`` draws what it would have drawn."""
    random.seed(1)
    state = random.getstate()

    drawn = {retries.wait(1, 1.0) for _ in range(20)}

    assert len(drawn) > 1
    assert all(1.0 <= seconds <= 1.5 for seconds in drawn)
    assert random.getstate() == state
