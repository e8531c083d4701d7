"""What differs between systems stands in the file of its topic, as ``docs/platforms.md`` has it."""

from __future__ import annotations

import ast
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ..conftest import NAME, ROOT

PACKAGE = ROOT / NAME
PAGE = (ROOT / "docs" / "platforms.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|]+) \| (`[^|]+) \|", PAGE, re.MULTILINE)
SETTINGS = """\
[mypy]
python_version = 3.10
platform = {system}
follow_imports = skip
ignore_missing_imports = True
check_untyped_defs = True
cache_dir = {cache}
exclude = demo/programs/
"""
"""The standard library alone is looked at: what other packages have on a system is their own affair."""

MISSING = {
    "win32": {
        "lock.py": {"flock", "LOCK_EX", "LOCK_NB", "LOCK_UN"},
        "forks.py": {"register_at_fork"},
        "fastpath.py": {"getuid", "major", "minor", "clock_gettime"},
        "commands.py": {"killpg", "set_blocking", "SIGKILL"},
        "cli/exec/child.py": {
            *("O_NOCTTY", "P_PID", "SIGCHLD", "SIGCONT", "SIGKILL", "SIGSTOP", "SIG_BLOCK", "SIG_SETMASK"),
            *("WCONTINUED", "WIFSTOPPED", "WNOHANG", "WUNTRACED", "fork", "getpgid", "getpgrp", "pthread_sigmask"),
            *("set_blocking", "sigtimedwait", "tcgetpgrp"),
        },
        "directory.py": {"getuid"},
        "cli/coredump.py": {"setrlimit", "getrlimit", "RLIMIT_CORE"},
        "cli/spinner.py": {"tcgetpgrp", "getpgrp"},
        "cli/terminal.py": {"O_NOCTTY", "error", "tcgetattr", "tcsetattr", "ECHO", "TCSAFLUSH"},
        "connections.py": {"AF_UNIX"},
        "server/sockets.py": {"getrlimit", "setrlimit", "RLIMIT_NOFILE", "RLIM_INFINITY"},
        "server/tokenfile.py": {"getuid", "fchown", "fchmod", "O_DIRECTORY", "getgrnam"},
        "testing/scripted.py": {"AF_UNIX"},
    },
    "darwin": {"cli/exec/child.py": {"sigtimedwait"}},
}
"""The names that are missing on each system, by the file that uses them; each use is guarded."""

ASKS = {
    "awsconfig.py",
    "cache/__init__.py",
    "cache/keyring.py",
    "cache/place.py",
    "cli/configure/asking.py",
    "cli/exec/child.py",
    "cli/env.py",
    "cli/installed.py",
    "cli/shell.py",
    "cli/spinner.py",
    "cli/terminal.py",
    "demo/tour.py",
    "directory.py",
    "fastpath.py",
    "parsers.py",
}
"""The files that ask on which system they are."""


def missing(package: pathlib.Path, system: str, directory: pathlib.Path) -> dict[str, set[str]]:
    """Return the names that a package uses and the standard library of a system does not have, by file."""
    settings = directory / "mypy.ini"
    settings.write_text(SETTINGS.format(system=system, cache=directory / "cache"))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(settings), str(package)],
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, set[str]] = {}
    for path, name in re.findall(r'^(\S+?):\d+: error: Module has no attribute "(\w+)"', done.stdout, re.MULTILINE):
        found.setdefault(pathlib.PurePath(path).as_posix().removeprefix(f"{package.name}/"), set()).add(name)
    return found


def asking(tree: ast.AST) -> Iterator[str]:
    """Return how a module asks on which system it is."""
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if text in ("sys.platform", "os.name", "platform.system", "os.uname"):
            yield text


@pytest.mark.parametrize("system", MISSING)
def test_names_that_are_missing_stand_in_their_files(tmp_path: pathlib.Path, system: str) -> None:
    """mypy, told to be on the system, finds no other name that is not there, and all of these."""
    assert missing(PACKAGE, system, tmp_path) == MISSING[system]


def test_a_stray_would_be_found(tmp_path: pathlib.Path) -> None:
    """The check above would fail: it sees a function of POSIX in any module, guarded or not."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "stray.py").write_text(
        "import os\n\ndef f():\n    return os.geteuid() if hasattr(os, 'geteuid') else 0\n"
    )
    (package / "other.py").write_text("import os\n\ndef f():\n    return os.getegid()\n")

    assert missing(package, "win32", tmp_path)["other.py"] == {"getegid"}


def test_files_that_ask_where_they_are() -> None:
    """The system is asked for in these files alone, and by ``sys.platform`` alone, which type checkers know."""
    found = {
        path.relative_to(PACKAGE).as_posix(): set(asking(ast.parse(path.read_text(encoding="utf-8"))))
        for path in PACKAGE.rglob("*.py")
    }

    assert {name for name, asked in found.items() if asked} == ASKS
    assert set().union(*found.values()) == {"sys.platform"}


def test_page_names_each_file() -> None:
    """The page has a row for every file in which something differs, and no other."""
    named = {file for _, files in ROWS for file in re.findall(r"`([\w/]+\.py)`", files)}

    assert named == ASKS | {name for files in MISSING.values() for name in files}
