"""Fixtures of the tests of ``configure``."""

from __future__ import annotations

import logging
import os
import pathlib
import subprocess
import sys
import uuid

import pytest

from vault_credential_process import cli
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory

from ..conftest import Run, Tenant
from .newcomer import LIST, listed


@pytest.fixture
def config(clean_environment: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The AWS config file, which is not there yet."""
    path = clean_environment / ".aws" / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    return path


@pytest.fixture
def old(config: pathlib.Path, cloud: aws.LocalAWS) -> bytes:
    """What is in the AWS config file of somebody who has used AWS for long."""
    content = (
        f"# mine\r\n[default]\r\noutput = json\r\ns3 =\r\n\taddressing_style = path\r\n\r\n[profile other]\r\n"
        f"aws_secret_access_key = wJalrXUtnFEMI\r\nendpoint_url = {cloud.endpoint}"
    ).encode()
    config.parent.mkdir(mode=0o700)
    config.write_bytes(content)
    return content


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process, without a terminal; a newcomer at one runs it as a program of its own."""
    logger = logging.getLogger("vault_credential_process")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logging, "raiseExceptions", True)

    def start(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch, open(os.devnull, encoding="utf-8") as nothing:
            patch.setattr(sys, "stdin", nothing)
            for name, value in environ.items():
                patch.setenv(name, value)
            code = cli.main(words)
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return start


@pytest.fixture
def teams(laboratory: Laboratory, clean_environment: pathlib.Path) -> Tenant:
    """Somebody who may list the roles ``<unique>-a``, ``-b`` and read them."""
    name = f"team-{uuid.uuid4().hex[:6]}"
    roles = [f"{name}-a", f"{name}-b"]
    for role in roles:
        listed(laboratory, role)
    hcl = "".join(READ_POLICY.format(mount="aws", endpoint="creds", role=role) for role in roles)
    laboratory.allow(name, hcl + LIST)
    return Tenant(laboratory, name, laboratory.app_role(name, policies=(name,)), clean_environment)
