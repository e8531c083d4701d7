"""How often each SDK asks while a pair is valid: by the life that is left, as the table of the docs tells."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from ..conftest import ROOT, Run
from .sdks import SDKS, AwsCli
from .ways import Way

pytestmark = pytest.mark.system

REQUESTS = 100
LIVES = {"60 s": 60, "15 min": 900, "1 h": 3600}
MEANINGS: dict[str, Callable[[int], bool]] = {
    "each": lambda asked: asked >= REQUESTS,
    "some, beside them": lambda asked: 1 < asked < REQUESTS,
}


def rows(number: int) -> list[list[str]]:
    """Return the cells of a table of the docs, its head first."""
    text = (ROOT / "docs" / "sdks" / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## How often it asks\n")[1].split("\n## ")[0]
    table = re.findall(r"(?:^\|.*\|\n)+", section, re.MULTILINE)[number]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "---" not in line]


HEAD, *TOLD = rows(0)
TABLE = {row[0]: dict(zip(HEAD[1:], row[1:], strict=True)) for row in TOLD}
"""What the docs tell: by SDK, and by way and life."""
WINDOWS = [
    (row[0], way, int(cell.removesuffix(" min")) * 60)
    for row in rows(1)[1:]
    for way, cell in zip(("process", "endpoint"), row[1:], strict=True)
    if cell != "—"
]
"""SDK, way, and how many seconds before the end it asks at each request."""


def test_every_sdk_has_its_row() -> None:
    """Whatever is proven stands in the table, and nothing else."""
    assert set(TABLE) == {*SDKS, "AWS CLI v1", "AWS CLI v2"}
    assert HEAD[1:] == [f"{way}, {life}" for way in ("process", "endpoint") for life in LIVES]


def asked(request: pytest.FixtureRequest, name: str, way: Way, life: int, requests: int) -> int:
    """Return how often a program asks that signs some requests, all of which AWS accepts."""
    way.issue(life)
    before = way.count()
    with SDKS[name](request.getfixturevalue, way) as program:
        answers = [program.lists() for _ in range(requests)]
    assert [answer for answer in answers if "error" in answer.lower()] == []
    return way.count() - before


@pytest.mark.soak
@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("name", SDKS)
def test_program_asks_as_often_as_told(request: pytest.FixtureRequest, name: str, life: str, way: Way) -> None:
    """A hundred requests of one client, one after the other."""
    cell = TABLE[name][f"{way.name}, {life}"]
    if cell == "—":
        pytest.skip(f"{name} has no such way")
    found = asked(request, name, way, LIVES[life], REQUESTS)

    print(f"\n{name:14} {way.name:9} {life:7} {found}")
    assert MEANINGS[cell](found) if cell in MEANINGS else found == int(cell)


@pytest.mark.soak
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(("name", "by", "window"), WINDOWS)
def test_window_is_as_told(request: pytest.FixtureRequest, name: str, by: str, window: int, inside: bool) -> None:
    """Half a minute inside its window an SDK asks again and again, half a minute outside it does not."""
    way: Way = request.getfixturevalue(f"by_{by}")
    found = asked(request, name, way, window - 30 if inside else window + 30, 10)

    assert (found > 2) is inside


@pytest.mark.soak
@pytest.mark.parametrize("life", LIVES)
def test_command_asks_as_often_as_told(cli: AwsCli, life: str, way: Way, run: Run) -> None:
    """One ``aws s3 ls``."""
    way.issue(LIVES[life])
    before = way.count()
    done = cli.lists(way, run)
    asked = way.count() - before

    print(f"\nAWS CLI v{cli.version} {way.name:9} {life:7} {asked}")
    assert (done.returncode, done.stderr) == (0, "")
    assert asked == int(TABLE[f"AWS CLI v{cli.version}"][f"{way.name}, {life}"])
