"""The manual page: what it tells, that it is well-formed, and that it does not depend on where it was made."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import re
import shutil
import sys

import pytest

from vault_credential_process import errors
from vault_credential_process.cli import BUG, INTERRUPTED, parser
from vault_credential_process.cli.exec import NOT_EXECUTABLE, NOT_FOUND

from .conftest import ROOT, Run

PATH = ROOT / "docs" / "man" / "vault-credential-process.1"
TEXT = PATH.read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return what stands below a heading, without the marks of roff."""
    found = TEXT.partition(f"\n.SH {title}\n")[2].partition("\n.SH ")[0]
    return re.sub(r"\\f[BRI]|\\&", "", found).replace("\\-", "-").replace("\\(aq", "'")


class TestContent:
    """What the page tells."""

    def test_sections_are_those_of_a_manual_page(self) -> None:
        """They are there, in the order of man-pages(7)."""
        assert re.findall(r"^\.SH (.*)$", TEXT, re.M) == [
            "NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES",
            "SEE ALSO",
        ]  # fmt: skip

    def test_every_command_is_there(self) -> None:
        """Each command has its entry."""
        assert re.findall(r"(?<!\.RS\n)\.TP\n([a-z]+)\b", section("COMMANDS")) == [
            name for names in parser.GROUPS.values() for name in names
        ]

    def test_exit_codes_are_those_of_the_errors(self) -> None:
        """Each class of errors has its code, with a bug, an interruption, and what exec ends with by itself."""
        codes = {kind.exit_code for kind in errors.VaultCredentialError.__subclasses__()}

        assert {int(c) for c in re.findall(r"^\.B (\d+)$", section("EXIT STATUS"), re.M)} == {
            0, 1, *codes, BUG, INTERRUPTED, NOT_EXECUTABLE, NOT_FOUND,
        }  # fmt: skip

    def test_flags_are_those_of_the_page_of_settings(self) -> None:
        """Each flag of ``docs/settings.md`` stands in the options."""
        page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
        flags = set(re.findall(r"`(?:-v`, `)?(--[a-z-]+)", page))

        assert flags - set(re.findall(r"(--[a-z-]+)", section("OPTIONS"))) == set()

    def test_version_stands_for_the_date(self) -> None:
        """The page bears the version and no day, so that the same sources give the same page."""
        version = importlib.metadata.version("vault-credential-process")
        (title,) = re.findall(r"^\.TH .*$", TEXT, re.M)

        assert title.endswith(f' 1 "" "vault-credential-process {version}" "User Commands"')
        assert re.search(r"\b20\d\d\b", TEXT) is None


class TestForm:
    """The page as the tools of a system see it."""

    @pytest.mark.parametrize(
        "check",
        [
            ("groff", "-man", "-ww", "-Tutf8", str(PATH)),
            ("man", "--warnings", "-l", str(PATH)),
            ("mandoc", "-Tlint", "-Wwarning", str(PATH)),
        ],
        ids=lambda check: check[0],
    )
    def test_tools_find_nothing(self, check: tuple[str, ...], run: Run) -> None:
        """The formatters have no warning, but mandoc's that there is no date."""
        if not shutil.which(check[0]):
            pytest.skip(f"no {check[0]}")
        done = run(*check, LC_ALL="C.UTF-8")
        if check[0] == "man" and "unrecognized option" in done.stderr:
            pytest.skip("not the man of man-db")

        told = (done.stderr + (done.stdout if check[0] == "mandoc" else "")).splitlines()

        assert [line for line in told if "missing date" not in line] == []

    @pytest.mark.skipif(not shutil.which("groff"), reason="no groff")
    def test_warning_is_seen(self, run: Run, tmp_path: pathlib.Path) -> None:
        """The control: a macro that does not exist is told."""
        path = tmp_path / "page.1"
        path.write_text(TEXT + ".XX nosuch\n")

        assert "XX" in run("groff", "-man", "-ww", "-Tutf8", str(path)).stderr

    @pytest.mark.skipif(not shutil.which("groff"), reason="no groff")
    def test_text_is_shown_as_it_is(self, run: Run) -> None:
        """Flags have their hyphens, and quotes, tildes and backslashes arrive as they can be copied."""
        done = run("groff", "-man", "-Tascii", "-P-cbou", "-rLL=400n", str(PATH))

        assert "       --log-file FILE\n" in done.stdout
        assert "~/.aws/config" in done.stdout
        assert 'eval "$(vault-credential-process completion bash)"' in done.stdout

    def test_page_does_not_depend_on_the_place(self, run: Run) -> None:
        """In another terminal, time zone, locale and home the same pages would be written."""
        environ = {"COLUMNS": "20", "TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": "/nosuch"}
        done = run(sys.executable, str(ROOT / "docs" / "generate.py"), "--check", **environ)

        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_lines_are_ascii(self) -> None:
        """Every system shows it, whatever its locale; no line ends with a space."""
        assert TEXT.isascii()
        assert [line for line in TEXT.splitlines() if line != line.rstrip()] == []
        assert os.linesep == "\n" or b"\r" not in PATH.read_bytes()
