"""``exec`` over the ends of leases: unmodified programs that copy files for longer than any pair of keys lives."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from vault_credential_process.demo import aws
from vault_credential_process.demo.aws import LocalAWS

from .conftest import COMMAND, Tenant
from .test_command import config_of

LOOP = 'while [ ! -e "$1" ]; do "$2" s3 cp --only-show-errors --recursive "$3" "s3://$4/$5/" || exit 9; done'
"""Copies a directory again and again, until a file is there."""
PROGRAM = (
    "import boto3, os, sys; s3 = boto3.client('s3'); n = 0\n"
    "while not os.path.exists(sys.argv[1]):\n"
    "    s3.put_object(Bucket=sys.argv[2], Key=f'boto3/{n % 50}', Body=b'x'); n += 1\n"
)


class Ending:
    """Credentials that end when they say: the engine's part, with an AWS that refuses them afterwards."""

    def __init__(self, tenant: Tenant, life: float) -> None:
        """Write the first pair; ``life`` is in seconds."""
        self._tenant, self._life = tenant, life
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.keys: list[str] = []
        self._write()

    def _write(self) -> None:
        laboratory = self._tenant.laboratory
        self.keys.append(laboratory.write_sts(self._tenant.role, ttl=int(self._life)))
        # It may be read until the next is written, and is then said to live as long as a new one.
        laboratory.cloud.end(self.keys[-1], time.time() + 1.5 * self._life + 1)

    def _run(self) -> None:
        while not self._stop.wait(self._life / 2):
            self._write()

    def __enter__(self) -> Ending:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


def copy(
    tenant: Tenant, cloud: LocalAWS, directory: pathlib.Path, *programs: list[str], life: float, ends: int
) -> None:
    """Run programs under ``exec`` beside each other until so many leases have ended; see that nothing failed."""
    done = directory / "done"
    with Ending(tenant, life) as ending:
        config = config_of(tenant)
        running = [
            subprocess.Popen(
                [*COMMAND.split(), "exec", "--profile=webapp", "--", *program],
                env={**os.environ, "AWS_CONFIG_FILE": config},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for program in programs
        ]
        try:
            limit = time.monotonic() + 60 + 3 * life * ends
            while len(used(cloud, ending)) <= ends and all(process.poll() is None for process in running):
                assert time.monotonic() < limit, "waited in vain"
                time.sleep(0.05)
        finally:
            done.touch()
            said = [process.communicate(timeout=120)[0] for process in running]
    assert [(process.returncode, out) for process, out in zip(running, said, strict=True)] == [(0, "")] * len(running)
    assert len(used(cloud, ending)) > ends
    assert [outcome for key, outcome in list(cloud.requests) if key in ending.keys and outcome == "expired"] == []


def used(cloud: LocalAWS, ending: Ending) -> set[str]:
    """Return the keys with which something was signed."""
    return {key for key, _ in list(cloud.requests)} & set(ending.keys)


def programs(directory: pathlib.Path, tenant: Tenant, aws_program: str) -> list[list[str]]:
    """Return the ``aws`` command that copies many files, and a program of boto3 that puts one after the other."""
    files = directory / "files"
    files.mkdir()
    for number in range(40):
        (files / f"{number}.txt").write_text(str(number))
    done = str(directory / "done")
    return [
        ["sh", "-c", LOOP, "sh", done, aws_program, str(files), aws.BUCKET, tenant.role],
        [sys.executable, "-c", PROGRAM, done, aws.BUCKET],
    ]


def test_three_lease_ends(short_lived: Tenant, cloud: LocalAWS, tmp_path: pathlib.Path, aws_program: str) -> None:
    """``aws s3 cp`` of many files, and a client of boto3, over three lease ends: nothing fails."""
    copy(short_lived, cloud, tmp_path, *programs(tmp_path, short_lived, aws_program), life=4, ends=3)


@pytest.mark.soak
def test_many_lease_ends(short_lived: Tenant, cloud: LocalAWS, tmp_path: pathlib.Path, aws_program: str) -> None:
    """The same for minutes."""
    copy(short_lived, cloud, tmp_path, *programs(tmp_path, short_lived, aws_program), life=6, ends=30)


@pytest.mark.soak
def test_key_that_has_ended_is_refused(short_lived: Tenant, cloud: LocalAWS, tmp_path: pathlib.Path) -> None:
    """The control: with ``--env`` the same program fails at the end of its keys, for nobody refreshes them."""
    with Ending(short_lived, 2):
        done = subprocess.run(
            [*COMMAND.split(), "exec", "--profile=webapp", "--env", "--", sys.executable, "-c", PROGRAM,
             str(tmp_path / "done"), aws.BUCKET],
            env={**os.environ, "AWS_CONFIG_FILE": config_of(short_lived)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert done.returncode == 1
    assert "expired" in done.stderr.lower()
