"""aiobotocore, aioboto3, s3fs and trio with our provider: in environments of their own.

The newest boto3, aiobotocore and aioboto3 pin different botocores, and none of them is the one of the other tests.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import time
import venv
import xml.etree.ElementTree as ET

import pytest

from vault_credential_process.demo import aws

from ..conftest import Built

pytestmark = pytest.mark.system

INNER = pathlib.Path(__file__).parent / "inner"


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is installed beside the wheel, and which files are run there."""

    name: str
    packages: tuple[str, ...]
    files: tuple[str, ...]


NEWEST = Kind(
    "newest",
    ("aiobotocore[httpx2]>=3", "s3fs", "trio"),
    ("check_aio.py", "check_canary.py", "check_s3fs.py", "check_trio.py"),
)
PINNED = Kind(
    "aioboto3", ("aioboto3", "s3fs"), ("check_aio.py", "check_aioboto3.py", "check_canary.py", "check_s3fs.py")
)
"""What aioboto3 pins, for the soak: another environment takes minutes."""


@pytest.fixture(
    scope="session", params=[NEWEST, pytest.param(PINNED, marks=pytest.mark.soak)], ids=lambda kind: kind.name
)
def environment(
    request: pytest.FixtureRequest, built: Built, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Kind, pathlib.Path]:
    """Make an environment with the wheel, pytest, and what a kind names; return it with its interpreter."""
    kind: Kind = request.param
    python = tmp_path_factory.mktemp(kind.name) / "environment" / "bin" / "python"
    venv.create(python.parent.parent, with_pip=True, symlinks=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for packages in (["--upgrade", "pip"], [str(built.wheel), "pytest", *kind.packages]):
        done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
    return kind, python


def names_in(path: pathlib.Path) -> set[str]:
    """Return the tests that stand in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_provider_serves_aiobotocore(
    environment: tuple[Kind, pathlib.Path], cloud: aws.LocalAWS, tmp_path: pathlib.Path
) -> None:
    """Every test of ``inner`` passes beside the released packages, and none is skipped."""
    kind, python = environment
    directory, report = tmp_path / "inner", tmp_path / "report.xml"
    shutil.copytree(INNER, directory, ignore=shutil.ignore_patterns("__pycache__"))
    ended, good = cloud.assume_role(3600, "ended"), cloud.assume_role(3600, "good")
    cloud.end(ended["AccessKeyId"], time.time())
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COV"))}
    environ |= {
        "PYTHONPATH": str(directory),
        "AWS_ENDPOINT_URL": cloud.endpoint,
        "TEST_BUCKET": aws.BUCKET,
        "TEST_CHAINED_ROLE_ARN": aws.CHAINED_ROLE_ARN,
        "TEST_ENDED_PAIR": json.dumps(ended, default=str),
        "TEST_GOOD_PAIR": json.dumps(good, default=str),
    }
    options = ["-q", "-p", "no:cacheprovider", "-p", "stage", "-W", "error", f"--junitxml={report}"]
    done = subprocess.run(
        [python, "-m", "pytest", *options, *kind.files],
        cwd=directory,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    (suite,) = ET.parse(report).getroot()  # noqa: S314 - pytest's own

    assert done.returncode == 0, done.stdout + done.stderr
    assert [suite.get(name) for name in ("errors", "failures", "skipped")] == ["0", "0", "0"]
    ran = {str(case.get("name")).partition("[")[0] for case in suite}
    assert ran == set().union(*(names_in(INNER / name) for name in kind.files))
