"""What a release tells: changelog, contributing, installing; the last is done as it stands with ``-m soak``."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import boto3
import pytest

from vault_credential_process import auth, cache
from vault_credential_process.cli import parser

from .conftest import ROOT, Built, Run, Tenant
from .pages import blocks_of, commands_of
from .test_code import LAYERS
from .test_dependencies import PROJECT, PYPROJECT
from .test_help import unknown_in

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
INSTALL = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
PROGRAM = "vault-credential-process"


class TestChangelog:
    """``CHANGELOG.md``."""

    def test_form_is_that_of_keep_a_changelog(self) -> None:
        """What is not released stands first, then versions with their days, the newest first; the kinds are known."""
        first, *released = re.findall(r"^## (.*)$", CHANGELOG, re.M)
        versions = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d", heading) for heading in released]
        numbers = [tuple(map(int, found.groups())) for found in versions if found]

        assert first == "[Unreleased]"
        assert len(numbers) == len(released)
        assert numbers == sorted(numbers, reverse=True)
        assert set(re.findall(r"^### (.*)$", CHANGELOG, re.M)) <= {
            "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security",
        }  # fmt: skip

    def test_version_of_the_project_is_told(self) -> None:
        """The version of the sources has its heading, or is the one that is not released."""
        released = re.findall(r"^## \[(\d\S*)\]", CHANGELOG, re.M)
        coming = CHANGELOG.partition("## [Unreleased]")[2].partition("\n## ")[0]

        assert PROJECT["version"] in released[:1] or PROJECT["version"] in coming

    @pytest.mark.parametrize("name", parser.COMMANDS)
    def test_each_command_is_told(self, name: str) -> None:
        """No command came without a word."""
        assert f"`{name}`" in CHANGELOG

    def test_number_of_auth_methods_is_true(self) -> None:
        """It names every auth method, and how many there are."""
        assert ("Sixteen auth methods" in CHANGELOG) == (len(auth.METHODS) == 16)


class TestContributing:
    """``CONTRIBUTING.md``."""

    def test_files_and_names_exist(self) -> None:
        """Each file that it names is there, and each table has the name that it tells."""
        places = (ROOT, ROOT / "tests", ROOT / "vault_credential_process")
        named = {one for one in re.findall(r"`([\w./]+(?:\.py|\.md|\.toml|\.txt|/))`", CONTRIBUTING) if "<" not in one}

        assert {name for name in named if not any((place / name).exists() for place in places)} == set()
        assert len(named) > 20
        for module, name in ((auth, "METHODS"), (cache, "BACKENDS"), (parser, "COMMANDS"), (parser, "GROUPS")):
            assert f"`{name}`" in CONTRIBUTING
            assert hasattr(module, name)

    def test_markers_are_those_of_the_project(self) -> None:
        """Each marker has its row."""
        rows = set(re.findall(r"^\| `(\w+)` \|", CONTRIBUTING.partition("| marker |")[2].partition("\n\n")[0], re.M))

        assert rows == {text.partition(":")[0] for text in PYPROJECT["tool"]["pytest"]["ini_options"]["markers"]}

    def test_layers_are_those_of_the_code(self) -> None:
        """Each module stands in its layer."""
        for layer, modules in re.findall(r"^\| (\d) \| .* \| (.*) \|$", CONTRIBUTING, re.M):
            assert {LAYERS[name] for name in re.findall(r"`(\w+)/?`", modules)} == {int(layer)}

    def test_commands_are_the_known_ones(self) -> None:
        """Environment and tests are told as the README tells them; what is told besides is run below or elsewhere."""
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        commands = commands_of(CONTRIBUTING)

        assert commands[2] in readme
        assert commands == [
            "python3 -m venv .venv",
            ". .venv/bin/activate",
            'pip install -e ".[test]"',
            "pytest tests/test_config.py -n0",
            "pytest",
            "pytest -m soak",
            "python -m sphinx -W -b html docs site",
        ]
        assert '"-W", "-b", "html"' in (ROOT / "tests" / "test_site.py").read_text(encoding="utf-8")

    def test_one_file_is_tested_as_told(self, run: Run) -> None:
        """The command for one file works."""
        command = next(one for one in commands_of(CONTRIBUTING) if "-n0" in one)
        done = run(sys.executable, "-m", *command.split(), "-q", "-p", "no:cacheprovider")

        assert done.returncode == 0, done.stdout + done.stderr


def section(title: str) -> str:
    """Return what stands below a heading of the page of installation."""
    found = INSTALL.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert found, title
    return found


def for_way(title: str, program: str) -> str:
    """Return the one command of a section that is for one way of installing."""
    (command,) = (one for one in commands_of(section(title)) if one.startswith(program) or f" {program}" in one)
    return command


class TestInstallPage:
    """``docs/install.md``."""

    def test_our_commands_parse(self) -> None:
        """Each call of ours has a command and flags that exist."""
        calls = [one for one in commands_of(INSTALL) if re.search(rf"{PROGRAM} [a-z]", one)]

        assert [unknown_in(one) for one in calls] == [[[]]] * len(calls)
        assert len(calls) >= 3

    def test_path_in_the_profile_is_whole(self) -> None:
        """The line of the example is what the command before it printed."""
        told = section("The path in the profile")
        (profile,) = (text for language, text in blocks_of(told) if language == "ini")
        (printed,) = re.findall(r"^(/\S+)$", told, re.M)

        assert f"credential_process = {printed} get --profile webapp\n" in profile

    def test_each_way_has_its_section_upgrade_and_end(self) -> None:
        """Each way to install has a command for each step of its life."""
        for way, removed in (("/opt/vcp", "rm"), ("pipx", "pipx"), ("uv", "uv")):
            assert for_way("Upgrade", way)
            assert for_way("Uninstall", removed)


@pytest.fixture
def checkout(built: Built, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the sources: what installs from a checkout leaves its own files there."""
    return pathlib.Path(shutil.copytree(built.sources, tmp_path / "checkout"))


WAYS = {
    "A virtual environment": ("python3", "/opt/vcp", "rm"),
    "pipx": ("pipx", "pipx", "pipx"),
    "uv": ("uv", "uv", "uv"),
}


@pytest.mark.soak
@pytest.mark.system
@pytest.mark.skipif(os.name != "posix", reason="the page's commands are POSIX's")
@pytest.mark.parametrize(
    "way",
    [pytest.param(w, marks=pytest.mark.skipif(not shutil.which(p[0]), reason=f"no {p[0]}")) for w, p in WAYS.items()],
)
def test_page_of_installation_works(
    way: str, checkout: pathlib.Path, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, clean_environment: pathlib.Path
) -> None:
    """Installed as the page tells, the command serves boto3 from its place; manual, upgrade and removal work."""
    program, upgrade, removal = WAYS[way]
    home, place = clean_environment, clean_environment / "opt" / "vcp"
    tool = os.path.dirname(shutil.which(program) or "")
    path = f"{home}/.local/bin:{place}/bin:{tool}:/usr/bin:/bin"
    (home / ".bashrc").touch()

    def do(command: str) -> str:
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", command.replace("/opt/vcp", str(place))],
            cwd=checkout,
            env={**os.environ, "PATH": path, "SHELL": "/bin/bash", "MANPAGER": "cat", "AWS_CONFIG_FILE": ""},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    for command in commands_of(section(way)):
        do(command)
    (told,) = (one for one in commands_of(section("The path in the profile")))
    command = do(told).strip()
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(tenant.laboratory.profile("webapp", tenant.settings, command=command))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / ".aws" / "config"))
    found = boto3.Session(profile_name="webapp").get_credentials()
    assert found is not None
    assert found.method == "custom-process"
    assert found.access_key
    if shutil.which("man"):
        (manual,) = commands_of(section("The manual and completion"))
        assert "VAULT-CREDENTIAL-PROCESS(1)" in do(manual)
    do(for_way("Upgrade", upgrade))
    for line in commands_of(section("See that it works")):
        assert do(line)
    for line in commands_of(section("Uninstall"))[:2]:
        do(line)
    do(for_way("Uninstall", removal))

    assert not os.path.lexists(command)
    left = [path for path in home.rglob("*credential?process*") if ".cache" not in path.parts]
    assert [path for path in left if path.suffix != ".lock"] == []  # pipx's own
