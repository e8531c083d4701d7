"""The AWS CLI, version 1 and version 2, each command a process of its own."""

from __future__ import annotations

import contextlib

import pytest

from ..conftest import Run
from .conftest import VERSIONS
from .sdks import AwsCli
from .ways import ByEndpoint, Way

pytestmark = pytest.mark.system

LIFE = 3
"""Seconds that credentials live: botocore refuses what ends between the end of the process and its reading."""


@pytest.fixture
def each(request: pytest.FixtureRequest) -> list[AwsCli]:
    """Each version there is: they wait together for the end of their keys."""
    found: list[AwsCli] = []
    for version in VERSIONS:
        with contextlib.suppress(pytest.skip.Exception):
            found.append(request.getfixturevalue(version))
    assert found, "no AWS CLI at all"
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_version_is_here(request: pytest.FixtureRequest, version: str) -> None:
    """Both versions are there; one that is not is told by the skip of this test, and the next goes without it."""
    assert request.getfixturevalue(version)


def test_lists_across_the_end_of_its_keys(each: list[AwsCli], way: Way, run: Run) -> None:
    """Between two commands the keys end: each signs with those of its time, and neither is refused."""
    first = way.issue(LIFE)
    before = [cli.lists(way, run) for cli in each]
    second = way.replace()
    after = [cli.lists(way, run) for cli in each]

    for done in (*before, *after):
        assert (done.returncode, done.stderr, done.stdout.split()[-1:]) == (0, "", ["hello.txt"])
    assert way.signed() == [(first, "sent")] * len(each) + [(second, "sent")] * len(each)


def test_shows_our_line(cli: AwsCli, by_process: Way, run: Run) -> None:
    """With Vault sealed the command ends with our line, and nothing else; there is no secret in it."""
    by_process.issue()
    with by_process.sealed():
        done = cli.lists(by_process, run)

    (line,) = done.stderr.strip().splitlines()
    assert (done.returncode, done.stdout) == (255, "")
    assert "Error when retrieving credentials from custom-process: vault-credential-process: http" in line
    assert "Vault is sealed; unseal it" in line
    assert by_process.secrets_in(done.stderr) == []


@pytest.mark.soak
def test_endpoint_that_has_nothing_valid(cli: AwsCli, by_endpoint: ByEndpoint, run: Run) -> None:
    """With Vault sealed and the pair ended the command asks three times, and tells what the endpoint says."""
    by_endpoint.issue()
    with by_endpoint.sealed():
        by_endpoint.outlive()
        asked = by_endpoint.count()
        done = cli.lists(by_endpoint, run)

    (line,) = done.stderr.strip().splitlines()
    assert (done.returncode, done.stdout) == (255, "")
    assert "Vault is sealed; unseal it" in line
    assert by_endpoint.count() - asked == 3
    assert by_endpoint.secrets_in(done.stderr) == []
