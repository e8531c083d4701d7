"""Every property in its short form, and that the table of them leaves no parser of the package out."""

from __future__ import annotations

import ast
import importlib
import pathlib
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from ..conftest import ROOT
from . import __main__ as fuzzer
from . import kit, targets

PACKAGE = ROOT / "vault_credential_process"
COVERED = {name for one in targets.TARGETS.values() for name in one.covers}


@pytest.fixture(scope="module", autouse=True)
def tidied() -> Iterator[None]:
    """Take the servers and files of the targets away."""
    with kit.tidy():
        yield


@pytest.mark.parametrize("chosen", targets.TARGETS.values(), ids=targets.TARGETS)
def test_property_holds(chosen: kit.Target) -> None:
    """A few hundred hostile inputs, the same in every run, end as they may; good input among them is taken."""
    met = kit.run(chosen, chosen.examples)

    assert not [wanted for wanted in chosen.must if not any(label.startswith(wanted) for label in met)], met


def test_every_parser_is_a_target() -> None:
    """What takes text apart is named by a target, or stands among the few that none need name."""
    assert set(targets.found(PACKAGE)) - COVERED == set(targets.ELSEWHERE)


def test_new_parser_would_be_missed() -> None:
    """The check above would fail: a function that is called like a parser, or calls one of the library's, is found."""
    tree = ast.parse(
        "import json\n"
        "def parse_colour(text): return text\n"
        "class Colour:\n"
        "    def from_text(self, text): return text\n"
        "    def shade(self, text): return json.loads(text)\n"
        "def paint(colour): return colour\n"
    )

    assert set(targets.parsers_in(tree, "new")) == {"new.parse_colour", "new.Colour.from_text", "new.Colour.shade"}


@pytest.mark.parametrize("name", sorted(COVERED))
def test_what_a_target_names_exists(name: str) -> None:
    """A target names functions of the package, so that one that was renamed is seen."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(("vault_credential_process", *parts[:length])))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        assert callable(found) or isinstance(found, property)
        return
    pytest.fail("no such module")


class Planted:
    """A target that breaks at one kind of input, in place of the table."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the fuzzer find this target alone."""

        def check(text: str) -> str:
            if "7" in text:
                raise KeyError("planted")
            return kit.ACCEPTED

        chosen = kit.Target("planted", (), st.text("0123456789"), check, (), (), 10)
        monkeypatch.setattr(targets, "TARGETS", {"planted": chosen})


def test_fuzzer_finds_what_is_planted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A target that fails gives exit code 1, the smallest input, and the command that repeats it; which does."""
    Planted(monkeypatch)

    assert fuzzer.main(["--minutes", "0.1", "--seed", "5"]) == 1
    told = capsys.readouterr().out
    assert "KeyError: 'planted'" in told
    assert "value='7'" in told
    again = told.partition("again: python -m tests.hostile ")[2].partition("\n")[0]
    assert again.startswith("--target 'planted' --seed ")
    assert again.endswith(" --minutes 0")
    assert fuzzer.main(again.replace("'", "").split()) == 1


def test_counts_are_written_into_the_page(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--write`` puts the table between the marks of the page and leaves the rest; without the marks it says so."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{fuzzer.BEGIN}\nold\n{fuzzer.END}\nafter\n")
    options = ["--minutes", "0", "--target", "duration", "--write"]

    assert fuzzer.main(options, page=page) == 0

    text = page.read_text()
    assert text.startswith(f"before\n{fuzzer.BEGIN}\n\n| target |")
    assert text.endswith(f"{fuzzer.END}\nafter\n")
    assert "| duration | 1" in text
    assert "old" not in text
    page.write_text("nothing")
    with pytest.raises(SystemExit, match="no place for the counts"):
        fuzzer.main(options, page=page)
    assert capsys.readouterr().out


def test_page_has_the_counts_of_every_target() -> None:
    """The page of the repository has a row with inputs and no failure for each target."""
    rows = [line.strip("| ").split(" | ") for line in fuzzer.PAGE.read_text(encoding="utf-8").splitlines()]
    counts = {row[0]: row[1:] for row in rows if len(row) == 4 and row[1].replace(",", "").isdigit()}

    assert counts.keys() == {*targets.TARGETS, "**all**"}
    assert all(int(inputs.replace(",", "")) > 0 and failures == "0" for inputs, _, failures in counts.values())


@pytest.mark.soak
def test_fuzzer_runs_for_minutes() -> None:
    """All targets with random seeds, for five minutes."""
    assert fuzzer.main(["--minutes", "5"]) == 0
