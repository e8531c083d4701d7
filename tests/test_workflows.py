"""The workflows of ``.github``: valid, safe, and what the README says of them."""

from __future__ import annotations

import hashlib
import io
import pathlib
import re
import subprocess
import sys
import sysconfig
import types
import zipfile
from typing import Any

import pytest
import yaml

from .conftest import ROOT, script
from .test_dependencies import NEEDED, PYTHONS, SYSTEMS

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
LOADED: dict[str, Any] = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in WORKFLOWS}
JOBS = [(f"{name}: {key}", job) for name, loaded in LOADED.items() for key, job in loaded["jobs"].items()]
MATRIX = LOADED["test"]["jobs"]["test"]["strategy"]["matrix"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
UNSAFE = """\
on: pull_request_target
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v5
      - run: echo ${{ github.event.issue.title }}
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a linter of this environment."""
    path = pathlib.Path(sysconfig.get_path("scripts"), program)
    return subprocess.run([path, *arguments], capture_output=True, text=True, check=False, timeout=120)


def zizmor(path: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Run zizmor, which asks nobody, without a configuration."""
    return run("zizmor", "--offline", "--no-progress", "--no-config", "--persona=pedantic", str(path))


def schema(*paths: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Compare workflows with the schema that check-jsonschema brings."""
    return run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, paths))


class TestLinters:
    """zizmor and the schema of workflows."""

    def test_find_nothing(self) -> None:
        """Each workflow is a workflow, and none has a known weakness."""
        safe, valid = zizmor(GITHUB), schema(*WORKFLOWS)

        assert (safe.returncode, valid.returncode) == (0, 0), safe.stdout + valid.stdout

    def test_would_find_something(self, tmp_path: pathlib.Path) -> None:
        """Both see a workflow that hands its token to strangers, and one whose key is misspelt."""
        unsafe, invalid = tmp_path / "unsafe.yml", tmp_path / "invalid.yml"
        unsafe.write_text(UNSAFE)
        invalid.write_text(UNSAFE.replace("runs-on", "run-on"))
        found = zizmor(unsafe)

        assert found.returncode != 0
        assert [
            word for word in ("template-injection", "dangerous-triggers", "artipacked") if word not in found.stdout
        ] == []
        assert (schema(unsafe).returncode, schema(invalid).returncode) == (0, 1)


class TestJobs:
    """What each job has."""

    @pytest.mark.parametrize("name", LOADED)
    def test_workflow_has_no_permission_of_its_own(self, name: str) -> None:
        """Permissions are given job by job, and runs of one branch do not pile up."""
        assert LOADED[name]["permissions"] == {}
        assert LOADED[name]["concurrency"]["group"].startswith(name)

    @pytest.mark.parametrize(("name", "job"), JOBS, ids=[name for name, _ in JOBS])
    def test_job_is_held_short(self, name: str, job: dict[str, Any]) -> None:
        """A job may read the repository, ends in time, keeps no token, and takes actions and packages by hash."""
        (checkout,) = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
        installs = [line for step in job["steps"] for line in step.get("run", "").splitlines() if "pip install" in line]

        assert (job["permissions"], checkout["with"]) == ({"contents": "read"}, {"persist-credentials": False})
        assert job["timeout-minutes"] <= 120
        if name != "test: lowest":
            assert [line for line in installs if not re.search(r"--require-hashes|--no-index", line)] == []
        assert [
            step["uses"]
            for step in job["steps"]
            if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step.get("uses", "actions/none@" + 40 * "0"))
        ] == []

    def test_matrix_is_every_supported_one(self) -> None:
        """Each Python, system and server has its job."""
        assert MATRIX["python"] == [version.rpartition(".")[0] for version in PYTHONS]
        assert len(MATRIX["system"]) == len(SYSTEMS)
        assert MATRIX["server"] == ["openbao", "vault"]

    def test_lowest_versions_are_the_bounds(self) -> None:
        """The job with the lowest versions has each dependency at its lower bound."""
        lines = (ROOT / ".ci" / "lowest.txt").read_text(encoding="utf-8").splitlines()[1:]
        pinned = {name: version for name, _, version in (line.partition("==") for line in lines)}
        bounds = {
            name: next(one.version for one in needed.specifier if one.operator == ">=")
            for name, needed in NEEDED.items()
        }

        assert set(pinned) == set(bounds)
        for name, version in pinned.items():
            assert version.split(".")[: len(bounds[name].split("."))] == bounds[name].split(".")
            assert set(version.split(".")[len(bounds[name].split(".")) :]) <= {"0"}

    def test_readme_tells_what_was_never_run(self) -> None:
        """Each system and server of the workflow has its row in the README; all but CI's own say *not yet run*."""
        section = README.partition("## Where it runs")[2].partition("\n## ")[0]
        rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][1:]
        told = {(row[0].strip(), row[1].strip()): [cell.strip() for cell in row[2:]] for row in rows}

        assert set(told) == {
            (name, server) for name in ("Linux", "macOS", "Windows") for server in ("OpenBao", "Vault")
        }
        for place, cells in told.items():
            assert len(cells) == 2
            expected = (
                ["tested at every change", "*not yet run*"] if place == ("Linux", "OpenBao") else ["*not yet run*"] * 2
            )
            assert cells == expected


@pytest.fixture
def fetching() -> types.ModuleType:
    """The script that brings Vault."""
    return script(GITHUB / "vault.py")


class TestVault:
    """``.github/vault.py``, without its download."""

    @pytest.mark.parametrize(
        ("system", "machine", "name"),
        [("linux", "x86_64", "linux_amd64"), ("darwin", "arm64", "darwin_arm64"), ("win32", "AMD64", "windows_amd64")],
    )
    def test_archive_has_its_name(self, fetching: types.ModuleType, system: str, machine: str, name: str) -> None:
        """Each runner has an archive."""
        assert fetching.name_for(system, machine) == f"vault_{fetching.VERSION}_{name}.zip"

    @pytest.mark.parametrize("system", ["linux", "windows"])
    def test_program_is_taken_out(self, fetching: types.ModuleType, tmp_path: pathlib.Path, system: str) -> None:
        """What has the right sum is unpacked and can be run; another sum, or none, is an error."""
        name = f"vault_{fetching.VERSION}_{system}_amd64.zip"
        program = "vault.exe" if system == "windows" else "vault"
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("LICENSE.txt", "")
            archive.writestr(program, f"#!{sys.executable}\nprint('here')\n")
        sums = f"{hashlib.sha256(content.getvalue()).hexdigest()}  {name}\n"

        path = fetching.unpack(name, content.getvalue(), f"{'0' * 64}  other.zip\n{sums}", tmp_path)

        assert [path] == list(tmp_path.glob("vault*")) == [tmp_path / program]
        assert system == "windows" or subprocess.run([path], capture_output=True, check=True).stdout == b"here\n"
        for wrong in (f"{'0' * 64}  {name}\n", "", f"{sums}{sums}"):
            with pytest.raises(ValueError, match="not what SHA256SUMS says"):
                fetching.unpack(name, content.getvalue(), wrong, tmp_path / "none")
        assert not (tmp_path / "none").exists()
