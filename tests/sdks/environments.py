"""Environments that tests make, of packages of PyPI or npm; where one cannot be made the test is skipped, visibly."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from vault_credential_process.doctor import installation

JAVASCRIPT = pathlib.Path(__file__).parent / "javascript"


def _step(*command: str, cwd: pathlib.Path | None = None) -> str | None:
    """Run one step; return why it failed, or None."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within 300 s"
    if not done.returncode:
        return None
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()] or ["no reason given"]
    return next((line for line in said if "error" in line.lower()), said[-1])


def python(directory: pathlib.Path, *packages: str) -> pathlib.Path:
    """Make a virtual environment with packages, and return where its programs are."""
    programs = directory / ("Scripts" if os.name == "nt" else "bin")
    # The pip of this environment does, and byte code is made of what is imported: most of the time went there.
    pip = (sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--no-compile")
    quiet = ("--quiet", "--disable-pip-version-check")
    reason = _step(sys.executable, "-m", "venv", "--without-pip", str(directory)) or _step(*pip, *quiet, *packages)
    if reason:
        pytest.skip(f"{', '.join(packages)} cannot be installed: {reason}")
    return programs


def node(directory: pathlib.Path) -> tuple[str, pathlib.Path]:
    """Install what stands in the lock file of ``javascript``; return ``node``, and the directory of the program."""
    programs = {name: shutil.which(name) for name in ("node", "npm")}
    if not all(programs.values()):
        pytest.skip("no node and npm: apt-get install nodejs npm, version 20 or later")
    shutil.copytree(JAVASCRIPT, directory, ignore=shutil.ignore_patterns("node_modules"))
    quiet = (
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefer-offline",
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
    )
    reason = _step(str(programs["npm"]), "ci", *quiet, cwd=directory)
    if reason:
        pytest.skip(f"the AWS SDK for JavaScript cannot be installed: {reason}")
    return str(programs["node"]), directory


def version_2() -> str:
    """Return the path of an AWS CLI v2: what ``AWS_CLI_V2`` names, else the first ``aws`` on ``PATH`` that is one."""
    for place in CANDIDATES:
        if (_told(place) or "").startswith("aws-cli/2"):
            return place
    pytest.skip("no AWS CLI v2: AWS_CLI_V2 is not set, and no aws on PATH is one; apt-get install awscli")


def aws_with_endpoints() -> str | None:
    """Return the first ``aws`` that takes the address of AWS from a profile or a variable: 1.29 or 2.13, or later."""
    return next((place for place in CANDIDATES if installation.reads_endpoint(_told(place) or "")), None)


def _candidates() -> list[str]:
    named = os.environ.get("AWS_CLI_V2")
    found = (shutil.which("aws", path=place) for place in os.environ.get("PATH", "").split(os.pathsep))
    return [place for place in dict.fromkeys((named, *found)) if place]


def _told(command: str) -> str | None:
    try:
        return subprocess.run(
            [command, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None


CANDIDATES = _candidates()
"""Every ``aws`` there is; the tests' environment names none."""
