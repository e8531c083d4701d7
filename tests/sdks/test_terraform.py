"""Terraform with its provider for AWS, which is written in Go: in a plan, and with nothing of Vault in its files."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable

import pytest

from vault_credential_process.demo import aws

from .ways import ByEndpoint, Way

pytestmark = pytest.mark.system

CONFIGURATION = pathlib.Path(__file__).parent / "terraform" / "main.tf"
TERRAFORM = shutil.which("terraform") or shutil.which("tofu")
MIRRORS = (
    *("/opt/tf-plugins", "/usr/share/terraform/plugins", "/usr/local/share/terraform/plugins"),
    *(os.path.expanduser(place) for place in ("~/.terraform.d/plugins", "~/.local/share/terraform/plugins")),
)
"""Where providers may lie; the first is a usual place in images, the others are Terraform's own."""
SILENT = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_CLI_CONFIG_FILE": os.devnull}

Done = subprocess.CompletedProcess[str]
Plan = Callable[..., Done]


def terraform(directory: pathlib.Path, *arguments: str, **environ: str) -> Done:
    """Run Terraform in a directory."""
    if TERRAFORM is None:
        pytest.skip("no terraform, nor tofu, on PATH")
    return subprocess.run(
        [TERRAFORM, arguments[0], "-no-color", "-input=false", *arguments[1:]],
        cwd=directory,
        env={**os.environ, **SILENT, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A directory with a configuration, and the provider of a mirror on this machine or of the registry."""
    made = tmp_path_factory.mktemp("terraform")
    shutil.copy(CONFIGURATION, made)
    mirrors = [f"-plugin-dir={place}" for place in MIRRORS if os.path.isdir(place)][:1]
    done = terraform(made, "init", *mirrors)
    if done.returncode:
        pytest.skip(f"terraform finds no provider hashicorp/aws: {' '.join(done.stderr.split())}")
    return made


@pytest.fixture
def plan(directory: pathlib.Path) -> Plan:
    """Plan what reads a bucket."""

    def start(way: Way, **environ: str) -> Done:
        return terraform(directory, "plan", "-lock=false", f"-var=bucket={aws.BUCKET}", **way.environ, **environ)

    return start


def test_plans_by_process(plan: Plan, by_process: Way) -> None:
    """A plan reads a bucket with keys of the profile; it runs the process once, and its requests share the keys."""
    key = by_process.issue(900)
    done = plan(by_process)

    assert (done.returncode, done.stderr) == (0, "")
    assert '+ "hello.txt",' in done.stdout
    assert set(by_process.signed()) == {(key, "sent")}
    assert by_process.count() == 1


def test_shows_the_exit_code_and_our_line_in_its_log(plan: Plan, by_process: Way) -> None:
    """With Vault sealed Terraform tells the exit code, and with ``TF_LOG_CORE=WARN`` our line; no secret is there."""
    by_process.issue()
    with by_process.sealed():
        done = plan(by_process, TF_LOG_CORE="WARN")
    told, logged = " ".join(done.stderr.split()), [line for line in done.stderr.splitlines() if "[WARN]" in line]

    assert done.returncode == 1
    assert "process provider error: error in credential_process: exit status 6" in told
    assert [line for line in logged if 'stderr="vault-credential-process: http' in line and "Vault is sealed" in line]
    assert by_process.secrets_in(done.stdout + done.stderr) == []


@pytest.mark.soak
def test_plans_across_the_end_of_its_keys(plan: Plan, way: Way) -> None:
    """Between two plans the keys end: each signs with those of its time, and a plan asks once."""
    first = way.issue(8)
    before = plan(way)
    second = way.replace()
    asked = way.count()
    after = plan(way)

    assert way.count() - asked == 1
    assert [(done.returncode, done.stderr) for done in (before, after)] == [(0, "")] * 2
    assert list(dict.fromkeys(way.signed())) == [(first, "sent"), (second, "sent")]


@pytest.mark.soak
def test_endpoint_that_has_nothing_valid(plan: Plan, by_endpoint: ByEndpoint) -> None:
    """With Vault sealed and the pair ended a plan tells what the endpoint says."""
    by_endpoint.issue()
    with by_endpoint.sealed():
        by_endpoint.outlive()
        done = plan(by_endpoint)

    assert done.returncode == 1
    assert "Vault is sealed; unseal it" in " ".join(done.stderr.split())
    assert by_endpoint.secrets_in(done.stdout + done.stderr) == []
