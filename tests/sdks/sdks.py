"""Programs of other SDKs, each started so that it lists a bucket whenever it is told to."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import requests

from vault_credential_process.demo import aws
from vault_credential_process.demo.server import DIRECTLY, free_port

from ..conftest import Run
from ..serving import wait_until
from .program import Program
from .ways import Way

PROGRAMS = pathlib.Path(__file__).parent / "programs"
TABLES = "webapp-tables"
"""The bucket of what is not to be seen in the other one."""


class Rclone(Program):
    """rclone as a daemon that lists when it is asked over HTTP."""

    def __init__(self, command: str, environ: Mapping[str, str]) -> None:
        """Start it, and wait until it listens."""
        self._address, self._endpoint = f"127.0.0.1:{free_port()}", environ["AWS_ENDPOINT_URL"]
        flags = ("--rc-no-auth", "--rc-addr", self._address, "--config", os.devnull, "--retries", "1")
        super().__init__(command, "rcd", *flags, environ=environ)
        try:
            wait_until(self._listens)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        super().__exit__()

    def _listens(self) -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return self._post("rc/noop").ok
        return False

    def _post(self, call: str, **body: Any) -> requests.Response:
        return requests.post(f"http://{self._address}/{call}", json=body, timeout=60, proxies=DIRECTLY)

    def lists(self) -> str:
        bucket = {"type": "s3", "provider": "Other", "env_auth": "true", "endpoint": self._endpoint}
        answer = self._post("operations/list", fs=bucket, remote=aws.BUCKET).text
        self.lines.append(answer)
        return answer


@dataclasses.dataclass(frozen=True)
class AwsCli:
    """One ``aws`` command, of version 1 or 2."""

    version: int
    path: str

    def lists(self, way: Way, run: Run) -> subprocess.CompletedProcess[str]:
        """List the bucket.

        Some versions 2 know neither ``AWS_ENDPOINT_URL`` nor the variable of the token file: that of Debian 12.
        """
        environ, place = way.environ, []
        if self.version == 2:
            environ, place = way.with_token, ["--endpoint-url", way.place["AWS_ENDPOINT_URL"]]
        return run(self.path, *place, "s3", "ls", f"s3://{aws.BUCKET}/", AWS_PAGER="", **environ)


Fixture = Callable[[str], Any]


def _boto3(_: Fixture, way: Way) -> Program:
    return Program(sys.executable, str(PROGRAMS / "list_bucket_boto3.py"), aws.BUCKET, environ=way.environ)


def _javascript(fixture: Fixture, way: Way) -> Program:
    found: Program = fixture("javascript")(way.environ)
    return found


def _go1(fixture: Fixture, way: Way) -> Program:
    command = (str(fixture("native") / "s5cmd"), "--endpoint-url", way.place["AWS_ENDPOINT_URL"], "run")
    return Program(*command, ask=f"ls s3://{aws.BUCKET}/hello.txt", merge=True, environ=way.with_token)


def _go2(fixture: Fixture, way: Way) -> Program:
    return Rclone(str(fixture("native") / "rclone"), way.environ)


def _rust(fixture: Fixture, way: Way) -> Program:
    cloud = way.tenant.laboratory.cloud
    pair = cloud.assume_role()
    names = {"aws_access_key_id": "AccessKeyId", "aws_secret_access_key": "SecretAccessKey"}
    keys = {name: pair[key] for name, key in {**names, "aws_session_token": "SessionToken"}.items()}
    cloud.client("s3", **keys).create_bucket(Bucket=TABLES)
    return Program(
        str(fixture("native") / "python"), str(PROGRAMS / "list_bucket_delta.py"), TABLES, environ=way.environ
    )


def _cpp(fixture: Fixture, way: Way) -> Program:
    return Program(
        str(fixture("native") / "python"), str(PROGRAMS / "list_bucket_arrow.py"), aws.BUCKET, environ=way.environ
    )


def _ruby(_: Fixture, way: Way) -> Program:
    ruby = shutil.which("ruby")
    known = ruby and subprocess.run([ruby, "-e", "require 'aws-sdk-s3'"], capture_output=True, timeout=60, check=False)
    if not ruby or not known or known.returncode:
        pytest.skip("no AWS SDK for Ruby: apt-get install ruby-aws-sdk-s3")
    return Program(ruby, str(PROGRAMS / "list_bucket.rb"), aws.BUCKET, environ=way.environ)


SDKS: dict[str, Callable[[Fixture, Way], Program]] = {
    "boto3": _boto3,
    "JavaScript v3": _javascript,
    "Go v1": _go1,
    "Go v2": _go2,
    "Rust": _rust,
    "C++": _cpp,
    "Ruby": _ruby,
}
"""How each is started, by the name that the docs give it, from what fixtures make."""
