"""The AWS SDK for JavaScript, version 3, in a Node program that knows nothing of Vault."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from .program import Program
from .ways import LIFE, ByEndpoint, Way

pytestmark = pytest.mark.system

LISTED = {"objects": ["hello.txt"]}
SILENT = {"AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED": "true"}

Start = Callable[..., Program]


def test_lists_across_the_end_of_its_keys(javascript: Start, way: Way) -> None:
    """One client lists, idles until its keys have ended, and lists again with others: no request is refused."""
    first = way.issue()
    with javascript({**way.environ, **SILENT}) as program:
        before = program.answers()
        second = way.replace()
        after = program.answers()

    assert [before, after] == [LISTED, LISTED]
    assert way.signed() == [(first, "sent"), (second, "sent")]
    assert program.errors == []


def test_busy_program_never_waits_for_new_keys(javascript: Start, by_process: Way) -> None:
    """A client that lists on and on goes over to the next keys before those it has end, beside its requests."""
    first = by_process.issue()
    with javascript(by_process.environ) as program:
        program.answers()
        second, end = by_process.issue(3600), time.monotonic() + 10 * LIFE
        while (second, "sent") not in by_process.signed():
            assert program.answers() == LISTED
            assert time.monotonic() < end
        by_process.tenant.laboratory.cloud.end(first, time.time())
        assert program.answers() == LISTED

    keys = [key for key, _ in by_process.signed()]
    assert keys == sorted(keys, key=[first, second].index)
    assert {outcome for _, outcome in by_process.signed()} == {"sent"}


def test_hundred_requests_start_one_process(javascript: Start, by_process: Way) -> None:
    """Where 5 minutes or more are left the process runs once; the document is read with its life."""
    by_process.issue(900)
    with javascript(by_process.environ) as program:
        answers = [program.answers() for _ in range(100)]

    assert answers == [LISTED] * 100
    assert by_process.count() == 1


def test_named_source_shows_our_line(javascript: Start, by_process: Way) -> None:
    """With ``fromIni`` a refresh that fails shows the command line and our line; neither holds a secret."""
    by_process.issue()
    with javascript(by_process.environ, "webapp") as program:
        assert program.answers() == LISTED
        with by_process.sealed():
            by_process.outlive()
            shown: str = program.answers()["error"]

    command, line = shown.strip().splitlines()
    assert command == f"Command failed: {by_process.command} get --profile webapp"
    assert line.startswith("vault-credential-process: http://127.0.0.1:")
    assert "Vault is sealed; unseal it" in line
    assert by_process.secrets_in(program.shown) == []


def test_default_chain_hides_it(javascript: Start, by_process: Way) -> None:
    """The SDK's own chain runs the process twice, tries the other sources, and tells of none of them."""
    by_process.issue()
    with by_process.sealed(), javascript(by_process.environ) as program:
        shown = program.answers()

    assert shown == {"error": "Could not load credentials from any providers"}
    assert by_process.count() == 2
    assert by_process.secrets_in(program.shown) == []


@pytest.mark.soak
def test_endpoint_that_has_nothing_valid(javascript: Start, by_endpoint: ByEndpoint) -> None:
    """With Vault sealed and the pair ended the SDK asks five times, within 3 s, and tells of no answer."""
    by_endpoint.issue()
    with javascript(by_endpoint.environ) as program:
        assert program.answers() == LISTED
        with by_endpoint.sealed():
            by_endpoint.outlive()
            asked = by_endpoint.count()
            shown = program.answers()

    assert shown == {"error": "Could not load credentials from any providers"}
    assert by_endpoint.count() - asked == 5
    assert by_endpoint.secrets_in(program.shown) == []
