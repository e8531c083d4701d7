"""``vault-credential-process autoload``: what it writes, where, and what it leaves alone."""

from __future__ import annotations

import json
import os
import pathlib
import pkgutil
import re
import site
import sys
import sysconfig
from collections.abc import Callable
from typing import NamedTuple

import botocore
import pytest

from vault_credential_process import autoload, cli
from vault_credential_process.cli import autoload as command_module

from .conftest import NAME


class Python(NamedTuple):
    """The directories of the Python that the command believes to run in."""

    prefix: pathlib.Path
    site_packages: pathlib.Path
    users: pathlib.Path
    library: pathlib.Path

    @property
    def files(self) -> list[str]:
        """What was written."""
        places = (self.site_packages, self.users)
        return sorted(path.name for place in places if place.is_dir() for path in place.iterdir())


@pytest.fixture
def python(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Python:
    """Let the command believe that it runs in a virtual environment, an old one, of directories that are empty."""
    prefix = tmp_path / "prefix"
    made = Python(prefix, prefix / "site-packages", tmp_path / "users", tmp_path / "library")
    for directory in made:
        directory.mkdir()
    paths = {"purelib": str(made.site_packages), "stdlib": str(made.library)}
    monkeypatch.setattr(sysconfig, "get_path", lambda name, *_, **__: paths[name])
    monkeypatch.setattr(site, "getusersitepackages", lambda: str(made.users))
    monkeypatch.setattr(site, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(command_module, "HAS_START_FILES", False)
    return made


@pytest.fixture
def no_environment(python: Python, monkeypatch: pytest.MonkeyPatch) -> Python:
    """Let it believe that it runs in no virtual environment."""
    monkeypatch.setattr(sys, "base_prefix", str(python.prefix))
    return python


Told = Callable[..., str]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """Run the command; return its stdout, or its stderr where another code than 0 is expected."""

    def run(*arguments: str, code: int = 0) -> str:
        assert cli.main(["autoload", *arguments]) == code
        out, err = capsys.readouterr()
        assert (out if code else err) == ""
        return (err if code else out).strip().removeprefix("vault-credential-process: ")

    return run


PTH, START, SHIM = f"{command_module.NAME}.pth", f"{command_module.NAME}.start", f"{command_module.NAME}.py"


class TestCommand:
    """``vault-credential-process autoload``."""

    def test_enable_writes_one_line(self, python: Python, told: Told) -> None:
        """The file holds one line, begins with ``import``, and only its owner may write it."""
        said = told("enable")
        path = python.site_packages / PTH

        assert said.startswith(f"autoload is on: programs of {python.prefix} (Python ")
        assert python.files == [PTH]
        assert path.read_text() == command_module.LINE
        assert path.read_text().startswith("import ")
        assert path.read_text().count("\n") == 1
        assert path.stat().st_mode & 0o777 == 0o644

    def test_enabling_again_changes_nothing(self, python: Python, told: Told) -> None:
        """The second time is like the first."""
        assert told("enable") == told("enable")
        assert python.files == [PTH]

    def test_disable_removes_it(self, python: Python, told: Told) -> None:
        """``disable`` names what it removed, and does nothing where nothing is."""
        told("enable")

        assert told("disable") == f"autoload is off: removed {python.site_packages / PTH}"
        assert told("disable").startswith(f"autoload is off in {python.prefix} (Python ")
        assert python.files == []

    def test_status(self, python: Python, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
        """``status`` tells whether it is on, where, and whether this process would be served."""
        assert told("status").startswith(f"autoload is off in {python.prefix}")
        told("enable")
        monkeypatch.setenv("VAULT_AWS_AUTOLOAD", "off")
        lines = told("status").splitlines()

        assert lines[0].startswith(f"autoload is on in {python.prefix}")
        assert lines[1:] == [
            f"written: {python.site_packages / PTH}",
            "switched off for processes with this environment, by BAO_AWS_AUTOLOAD or VAULT_AWS_AUTOLOAD",
        ]

    def test_status_as_json(self, python: Python, told: Told) -> None:
        """``--json`` has the same for programs."""
        described = {
            "environment": str(python.prefix),
            "python": sys.version.split()[0],
            "directory": str(python.site_packages),
            "switched_off": False,
        }

        assert json.loads(told("status", "--json")) == {**described, "state": "off", "files": []}
        told("enable")
        files = [str(python.site_packages / PTH)]
        assert json.loads(told("status", "--json")) == {**described, "state": "on", "files": files}

    def test_line_of_another_version(self, python: Python, told: Told) -> None:
        """An older line of ours is told, and replaced by ``enable``."""
        path = python.site_packages / PTH
        path.write_text("import vault_credential_process.autoload\n")

        assert told("status").splitlines()[-1] == "written by another version: autoload enable writes it anew"
        assert json.loads(told("status", "--json"))["state"] == "outdated"
        told("enable")
        assert path.read_text() == command_module.LINE

    @pytest.mark.parametrize("action", ["enable", "disable", "status"])
    def test_file_of_somebody_else(self, python: Python, told: Told, action: str) -> None:
        """A file of that name that is not ours is neither written nor removed."""
        path = python.site_packages / PTH
        path.write_text("import other\n")

        assert told(action, code=2) == f"{path}: autoload did not write this; look at it, and remove it by hand"
        assert path.read_text() == "import other\n"

    def test_no_virtual_environment(self, no_environment: Python, told: Told) -> None:
        """A Python that many programs share is left alone, unless that is wanted."""
        said = told("enable", code=2)

        assert said.startswith(f"{no_environment.prefix}: this Python is not a virtual environment, and autoload")
        assert said.endswith("enable it there, or add --force")
        assert no_environment.files == []
        told("enable", "--force")
        assert no_environment.files == [PTH]
        told("disable")
        assert no_environment.files == []

    def test_python_of_the_system(self, no_environment: Python, told: Told) -> None:
        """A Python that the operating system manages (PEP 668) is left alone, even in the user's own directory."""
        (no_environment.library / "EXTERNALLY-MANAGED").touch()
        install_for_user(no_environment)

        said = told("enable", code=2)

        assert said.startswith(f"{no_environment.prefix}: this Python is the operating system's own, and autoload")
        assert PTH not in no_environment.files

    def test_installed_for_the_user(self, no_environment: Python, told: Told) -> None:
        """Where the package is installed for the user, it is the user's programs that are served."""
        install_for_user(no_environment)
        told("enable")

        assert (no_environment.users / PTH).is_file()
        assert json.loads(told("status", "--json"))["directory"] == str(no_environment.users)
        told("disable")
        assert PTH not in no_environment.files

    def test_conda_environment(self, no_environment: Python, told: Told) -> None:
        """An environment of conda is one of one's own."""
        (no_environment.prefix / "conda-meta").mkdir()
        told("enable")

        assert (no_environment.site_packages / PTH).is_file()

    @pytest.mark.parametrize("action", ["enable", "status"])
    def test_place_that_is_none(self, python: Python, told: Told, action: str) -> None:
        """Where nothing can be read or written, the line says where."""
        python.site_packages.rmdir()
        python.site_packages.touch()

        said = told(action, code=2)

        assert said == f"{python.site_packages / START}: cannot be read: Not a directory"

    def test_nothing_half_written_is_left(self, python: Python, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
        """A write that fails leaves no file behind, and its reason is told."""

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", fail)

        assert told("enable", code=2) == f"{python.site_packages / PTH}: cannot be written: No space left on device"
        assert python.files == []

    def test_remove_that_fails(self, python: Python, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that cannot be removed is told, with the reason."""
        told("enable")

        def fail(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "unlink", fail)

        assert told("disable", code=2) == f"{python.site_packages / PTH}: cannot be removed: Permission denied"

    def test_botocore_without_the_hook(self, python: Python, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where botocore is too old nothing is written: it would do nothing."""
        monkeypatch.delattr(botocore, "register_initializer")

        assert "has no register_initializer" in told("enable", code=2)
        assert python.files == []

    def test_start_file_since_python_3_15(self, python: Python, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
        """Python 3.15 has ``.start`` files: it names what to call, which does what the line does."""
        monkeypatch.setattr(command_module, "HAS_START_FILES", True)
        told("enable")
        assert python.files == [SHIM, START]
        assert json.loads(told("status", "--json"))["state"] == "on"

        (named,) = (python.site_packages / START).read_text().splitlines()
        monkeypatch.syspath_prepend(python.site_packages)
        calls: list[str] = []
        monkeypatch.setattr(autoload, "start", lambda: calls.append("started"))
        pkgutil.resolve_name(named)()

        assert re.fullmatch(r"\w+(\.\w+)*:\w+", named)
        assert calls == ["started"]
        told("disable")
        assert [name for name in python.files if name != "__pycache__"] == []

    def test_environment_moved_to_python_3_15(
        self, python: Python, told: Told, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The older form in a newer Python is told, and replaced by ``enable``."""
        told("enable")
        monkeypatch.setattr(command_module, "HAS_START_FILES", True)

        assert json.loads(told("status", "--json"))["state"] == "outdated"
        told("enable")
        assert python.files == [SHIM, START]

    def test_what_starts_load_is_compiled(
        self, python: Python, told: Told, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Some installers do not compile: then each start of Python would."""
        monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "caches"))
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        told("enable")

        assert sorted(path.name.partition(".")[0] for path in (tmp_path / "caches").rglob("*.pyc")) == [
            "__init__", "autoload",
        ]  # fmt: skip

    def test_help(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """The help says what each action does, and to which programs."""
        monkeypatch.setenv("COLUMNS", "300")
        with pytest.raises(SystemExit) as ended:
            cli.main(["autoload", "--help"])
        text = capsys.readouterr().out

        assert ended.value.code == 0
        assert "have every program of the environment that this command is installed in use the provider" in text
        assert {"{enable,disable,status}", "--force", "--json"} <= set(text.split())


def install_for_user(python: Python) -> None:
    """Let the package be found among those of the user."""
    info = python.users / f"{NAME}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vault-credential-process\nVersion: 0.1.0\n")
