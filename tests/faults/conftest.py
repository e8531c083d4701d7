"""The table of faults, for all tests of this folder, and the flag that writes its page."""

from __future__ import annotations

import importlib
import pathlib

import pytest

from .table import Case, Table

HERE = pathlib.Path(__file__).parent
TABLE = pytest.StashKey[Table]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag that writes the page."""
    parser.addoption("--write-faults", action="store_true", help="write docs/faults.md from what this run measures")


def is_writing(config: pytest.Config) -> bool:
    """Tell whether the page is to be written; the flag is not known where this folder was not named."""
    return bool(config.getoption("--write-faults", default=False))


def declared() -> list[Case]:
    """Return the rows of all test modules of this folder."""
    modules = (importlib.import_module(f"{__package__}.{path.stem}") for path in sorted(HERE.glob("test_*.py")))
    return [case for module in modules for case in getattr(module, "CASES", ())]


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to write from several processes, none of which has all rows."""
    if is_writing(config) and config.getoption("numprocesses", default=None):
        raise pytest.UsageError("--write-faults: the rows must be measured in one process; add -n0")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page, where that was asked for."""
    if is_writing(session.config) and TABLE in session.config.stash:
        session.config.stash[TABLE].write(declared())


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Table:
    """The page, and what this process measures of it."""
    made = Table(writing=is_writing(pytestconfig))
    pytestconfig.stash[TABLE] = made
    return made
