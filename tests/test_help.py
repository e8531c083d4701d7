"""``--help``: short, grouped, with an example for each command that works; and the reference made from the parsers."""

from __future__ import annotations

import argparse
import re
import shlex
import types

import pytest

from vault_credential_process.cli import parser

from .conftest import ROOT, Run, script

SELF = "vault-credential-process"


@pytest.fixture(scope="module")
def reference() -> types.ModuleType:
    """What makes the pages from the parsers."""
    return script(ROOT / "docs" / "reference.py")


def unknown_in(line: str) -> list[list[str]]:
    """Parse each call of ours in a line of the shell; return what the parser does not know in each."""
    calls = [shlex.split(call) for call in re.findall(rf"{SELF} ([^&|<>;)#]*)", line)]
    ours = [parser._parted(words)[0] for words in calls]
    return [parser.build(words).parse_known_args(words, argparse.Namespace(place=None))[1] for words in ours]


class TestExamples:
    """The examples at the end of each help."""

    @pytest.mark.parametrize("name", parser.COMMANDS)
    def test_each_command_has_one_that_parses(self, reference: types.ModuleType, name: str) -> None:
        """The help ends with an example, which the parser takes, and which is of this command."""
        made = reference.command(name)

        assert reference._parser_of(name).epilog.startswith("example")
        assert made.examples
        assert [unknown_in(example) for example in made.examples] == [[[]]] * len(made.examples)
        assert any(re.search(rf"{SELF} {name}\b", example) for example in made.examples)

    def test_first_things_to_try_parse(self) -> None:
        """The general help names three commands to begin with; each of them works as it stands."""
        lines = [line.partition("   ")[0] for line in parser.FIRST.splitlines() if line.startswith(f"  {SELF}")]

        assert [unknown_in(line.strip().partition("   ")[0]) for line in parser.FIRST.splitlines()[1:4]] == [[[]]] * 3
        assert len(lines) == 3

    @pytest.mark.parametrize("words", ["get --profil webapp", "get webapp", "status --jsonn"])
    def test_example_that_does_not_parse_is_seen(self, words: str) -> None:
        """The checks above would fail."""
        assert unknown_in(f"{SELF} {words} > file") != [[]]


class TestGeneral:
    """The general help."""

    def test_each_command_stands_in_one_group(self) -> None:
        """No command is without a group, and none stands in two."""
        assert sorted(name for names in parser.GROUPS.values() for name in names) == sorted(parser.COMMANDS)

    def test_is_short(self, command: Run) -> None:
        """It fits a page of 80 columns: one line for each command, and the first things to try."""
        done = command("--help", COLUMNS="80")
        lines = done.stdout.splitlines()

        assert (done.returncode, done.stderr) == (0, "")
        assert {line.split()[0] for line in lines if re.match(r"  [a-z]+  +\w", line)} == set(parser.COMMANDS)
        assert len(lines) <= 30 + len(parser.COMMANDS)
        assert max(map(len, lines)) <= 100
        assert parser.FIRST in done.stdout

    @pytest.mark.parametrize(("name", "text"), parser.COMMANDS.items())
    def test_line_of_a_command(self, name: str, text: str) -> None:
        """Each says in a line what the command does, as an order, without a full stop."""
        assert re.fullmatch(r"[a-z].*[^.]", text)
        assert len(text) <= 64

    def test_call_without_a_command_shows_the_help(self, command: Run) -> None:
        """Nothing at all is an error whose text is the general help."""
        done = command()

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == command("--help").stdout

    @pytest.mark.parametrize("name", parser.COMMANDS)
    def test_every_argument_is_told(self, reference: types.ModuleType, name: str) -> None:
        """No argument is without its help."""
        assert [a.written for a in reference.command(name).arguments if not a.meaning] == []


class TestPage:
    """``docs/commands.md``; ``test_docs.py`` holds it against the parsers."""

    def test_every_command_and_argument_is_there(self, reference: types.ModuleType) -> None:
        """Each command has its section, with its usage and each of its own arguments."""
        page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")

        assert re.findall(r"^## (.*)$", page, re.M) == [name for names in parser.GROUPS.values() for name in names]
        for name in parser.COMMANDS:
            section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
            assert reference.command(name).usage in section
            for argument in reference.command(name).arguments:
                assert f"| `{argument.written.replace('|', chr(92) + '|')}` |" in section

    def test_another_parser_makes_another_page(
        self, reference: types.ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The control: what changes in the parser changes the page and the manual."""
        before = reference.commands_page(), reference.manual()
        monkeypatch.setitem(parser.COMMANDS, "get", "do something else")
        after = reference.commands_page(), reference.manual()

        assert [one == other for one, other in zip(before, after, strict=True)] == [False, False]
