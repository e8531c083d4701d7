"""The page and the table: the same rows, and a comparison that notices a difference."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from .conftest import declared
from .table import NOTHING, PAGE, Case, Outcome, Table, parse, render

CASE = Case("reply cut in two", "login", within=10)
FAILED = Outcome("http://vault:8200: it broke", 5, {"login": 1}, 0.1, "1 token")
MADE = Outcome("new credentials", 0, {"login": 1, "read": 1}, 0.1)


def test_page_has_exactly_the_rows_of_the_tests(pytestconfig: pytest.Config) -> None:
    """No row of the page is without its test, and no test without its row; the page is as it would be written."""
    names = [case.name for case in declared()]
    page = PAGE.read_text(encoding="utf-8")

    assert len(set(names)) == len(names)
    if not pytestconfig.getoption("--write-faults", default=False):
        assert set(parse(page)) == set(names)
        assert render(parse(page)) == page


@pytest.fixture
def page(tmp_path: pathlib.Path) -> pathlib.Path:
    """A page with two rows."""
    path = tmp_path / "faults.md"
    table = Table(path, writing=True)
    table.check(CASE, FAILED)
    table.check(dataclasses.replace(CASE, fault="no fault"), MADE)
    table.write([CASE, dataclasses.replace(CASE, fault="no fault")])
    return path


def test_row_that_is_as_the_page_says(page: pathlib.Path) -> None:
    """What was written is what is read; the time may be another."""
    Table(page).check(CASE, dataclasses.replace(FAILED, seconds=9.9))


@pytest.mark.parametrize(
    "change",
    [{"sees": "it broke"}, {"code": 7}, {"requests": {"login": 2}}, {"left": NOTHING}, {"seconds": 10.1}],
    ids=str,
)
def test_row_that_is_not_as_the_page_says(page: pathlib.Path, change: dict[str, object]) -> None:
    """Other words, another code, another number of requests, other remains, and a late end each fail."""
    with pytest.raises(AssertionError):
        Table(page).check(CASE, dataclasses.replace(FAILED, **change))  # type: ignore[arg-type]


def test_row_that_is_not_on_the_page(page: pathlib.Path) -> None:
    """A row that nobody wrote down fails."""
    with pytest.raises(AssertionError):
        Table(page).check(dataclasses.replace(CASE, moment="first read"), FAILED)


def test_rows_that_are_gone_leave_the_page(page: pathlib.Path) -> None:
    """A run that writes keeps what it did not measure, but not what no test declares."""
    table = Table(page, writing=True)
    table.write([CASE])

    assert list(parse(page.read_text(encoding="utf-8"))) == [CASE.name]


@pytest.mark.parametrize("outcome", [FAILED, MADE])
def test_internal_errors_and_late_ends_are_never_written(page: pathlib.Path, outcome: Outcome) -> None:
    """A run that writes the page fails, too, at a bug and at what took too long."""
    for change in ({"code": 70}, {"seconds": 10.1}):
        with pytest.raises(AssertionError):
            Table(page, writing=True).check(CASE, dataclasses.replace(outcome, **change))
