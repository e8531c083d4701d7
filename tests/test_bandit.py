"""bandit: what it finds in the package is looked at, one by one."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
from typing import Any

from .conftest import NAME, ROOT

STARTS_PROGRAMS = "starts programs without a shell: a list of words, none of them from the server"
NO_PASSWORD = "a name, a kind of token or a default; no secret stands in the source"
OWN_SERVER = "the demo's own server on loopback, made a moment ago"
LOOKED_AT = {
    ("auth/aws_chain.py", "B404"): "names an error of subprocess; starts nothing",
    ("cli/exec/child.py", "B404"): STARTS_PROGRAMS,
    ("cli/exec/child.py", "B603"): "starts the program of exec, which the user names",
    ("cli/exec/child.py", "B606"): "becomes that program, without a shell on purpose",
    ("cli/completion.py", "B604"): "the name of a shell, for whose script it is; starts nothing",
    ("directory.py", "B108"): "a private directory is made in it",
    ("cli/terminal.py", "B404"): STARTS_PROGRAMS,
    ("cli/terminal.py", "B603"): "starts this Python, which opens a browser; the address goes in by stdin",
    ("commands.py", "B404"): STARTS_PROGRAMS,
    ("commands.py", "B603"): "starts the command that the user's own setting names",
    ("parsers.py", "B404"): "quotes words as Windows does; starts nothing",
    ("demo/server.py", "B404"): STARTS_PROGRAMS,
    ("demo/server.py", "B603"): "starts the server that was found",
    ("demo/server.py", "B501"): OWN_SERVER,
    ("demo/server.py", "B105"): NO_PASSWORD,
    ("demo/tour.py", "B404"): STARTS_PROGRAMS,
    ("demo/tour.py", "B603"): "starts the demo's own programs",
    ("demo/tour.py", "B108"): "a private directory is made in it",
    ("demo/tour.py", "B105"): NO_PASSWORD,
    ("demo/aws.py", "B105"): NO_PASSWORD,
    ("fastpath.py", "B108"): "made with mode 0700, and owner, mode and file system are checked",
    ("auth/__init__.py", "B105"): NO_PASSWORD,
    ("auth/aws_ec2.py", "B105"): NO_PASSWORD,
    ("auth/jwt.py", "B105"): NO_PASSWORD,
    ("cli/parser.py", "B105"): NO_PASSWORD,
    ("cli/status.py", "B105"): NO_PASSWORD,
    ("testing/auth.py", "B105"): "a token of no server",
    ("tokens.py", "B105"): NO_PASSWORD,
    ("vault.py", "B106"): "no token at all",
}
"""Each kind of finding in each file that is right as it is, and why."""


def findings(*paths: pathlib.Path) -> dict[tuple[str, str], list[str]]:
    """Return what bandit finds, by file and kind: the lines, with bandit's words."""
    done = subprocess.run(
        [sys.executable, "-m", "bandit", "-q", "-r", "-f", "json", "-c", "pyproject.toml", *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["errors"] == []
    found: dict[tuple[str, str], list[str]] = {}
    for one in told["results"]:
        path = pathlib.PurePath(one["filename"]).as_posix().partition(f"{NAME}/")[2]
        found.setdefault((path, one["test_id"]), []).append(f"{one['line_number']}: {one['issue_text']}")
    return found


def test_finds_what_was_looked_at() -> None:
    """Everything that bandit finds has its reason in the table, and no reason is without a finding."""
    found = findings(pathlib.Path(NAME))

    assert {place: lines for place, lines in found.items() if place not in LOOKED_AT} == {}
    assert set(LOOKED_AT) - set(found) == set()


def test_no_finding_is_silenced_in_the_source() -> None:
    """No line of the package, and no setting, switches bandit off but for the assertions of the contract tests."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.bandit")[2].partition("\n[")[0]

    assert [
        path for path in (ROOT / NAME).rglob("*.py") if re.search(r"#\s*nosec", path.read_text(encoding="utf-8"))
    ] == []
    assert settings.splitlines()[1:] == ['skips = ["*/testing/*.py"] # contract tests']


def test_would_find_something(tmp_path: pathlib.Path) -> None:
    """A shell with a variable in it, and an assertion outside of the contract tests, are found."""
    path = tmp_path / NAME / "module.py"
    path.parent.mkdir()
    path.write_text("import os\n\ndef run(name):\n    assert name\n    os.system('ls ' + name)\n")

    assert set(findings(path.parent)) == {("module.py", "B101"), ("module.py", "B605")}
