"""What the pages' programs run in: environments of their own, a Vault that is counted, and an AWS."""

from __future__ import annotations

import configparser
import contextlib
import dataclasses
import fcntl
import os
import pathlib
import re
import shlex
import subprocess
import time
import venv
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests

from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory, Renewer
from vault_credential_process.demo.proxy import CountingProxy
from vault_credential_process.demo.server import free_port

from ..conftest import COMMAND, ROOT, Built, Tenant

FRAMEWORKS = ROOT / "docs" / "frameworks"
LOGIN, REVOKE = "auth/approle/login", "auth/token/revoke-self"
LIFE = 4
"""Seconds that credentials live: the shortest that leaves a program time to start."""


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment with the wheel and what pages install."""

    programs: pathlib.Path

    @classmethod
    def shared(cls, name: str, factory: pytest.TempPathFactory, wheel: pathlib.Path, *packages: str) -> Environment:
        """Return the one of a name, which whoever wants it first makes: all of pytest's processes share it."""
        base = factory.getbasetemp()
        directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
        with directory.with_name(f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            made = directory / "made"
            if not made.exists():
                cls._make(directory, wheel, *packages)
                made.touch()
        return cls(directory / "bin")

    @staticmethod
    def _make(directory: pathlib.Path, wheel: pathlib.Path, *packages: str) -> None:
        """Make one, with the versions that pip chooses today."""
        venv.create(directory, with_pip=True, symlinks=True)
        pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, str(wheel), *packages], capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr

    def variables(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a program in it: nothing of this interpreter, its programs first."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
        return kept | {"PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"} | dict(environ)

    def run(self, *command: str, cwd: pathlib.Path, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            [str(self.programs / command[0]), *command[1:]],
            cwd=cwd,
            env=self.variables(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @contextlib.contextmanager
    def running(self, *command: str, cwd: pathlib.Path, log: str = "log", **environ: str) -> Iterator[Running]:
        """Run a program until the block ends, and stop it by its own process id; ``log`` is where it speaks."""
        path = cwd / log
        with path.open("wb") as output:
            process = subprocess.Popen(
                [str(self.programs / command[0]), *command[1:]],
                cwd=cwd,
                env=self.variables(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield Running(process, path)
        finally:
            process.terminate()
            try:
                process.wait(30)
            finally:
                process.kill()


@dataclasses.dataclass(frozen=True)
class Running:
    """A program at work, and what it has said."""

    process: subprocess.Popen[bytes]
    path: pathlib.Path

    @property
    def log(self) -> str:
        """All that it said so far."""
        return self.path.read_text(errors="replace")

    def until(self, condition: Any, seconds: float = 30) -> None:
        """Wait until something is so; the program must not end meanwhile."""
        limit = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < limit, self.log
            time.sleep(0.05)


@pytest.fixture(scope="session")
def plain(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with boto3 and all that stands on it."""
    packages = ("flask", "gunicorn", "celery", "prometheus-client", "opentelemetry-sdk")
    return Environment.shared("plain", tmp_path_factory, built.wheel, *packages)


@pytest.fixture(scope="session")
def asynchronous(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with aiobotocore, which wants a botocore of its own choice, and all that stands on it."""
    packages = ("aioboto3", "fastapi", "uvicorn", "s3fs", "dask")
    return Environment.shared("asynchronous", tmp_path_factory, built.wheel, *packages)


class Page:
    """One page of ``docs/frameworks``: its program, its profile, and how it is run."""

    def __init__(self, name: str) -> None:
        """Read the page."""
        self.text = (FRAMEWORKS / f"{name}.md").read_text(encoding="utf-8")

    def block(self, language: str) -> str:
        """Return the one block of a language."""
        (found,) = re.findall(rf"^```{language}\n(.*?)^```", self.text, re.DOTALL | re.MULTILINE)
        return str(found)

    def write_program(self, directory: pathlib.Path) -> pathlib.Path:
        """Write the program into the file that the page names, and return its path."""
        named = re.search(r"^`(\w+\.py)`:$", self.text, re.MULTILINE)
        path = directory / (named.group(1) if named else "program.py")
        path.write_text(self.block("python"), encoding="utf-8")
        return path

    def command(self, program: str) -> list[str]:
        """Return the words of the line that runs a program."""
        (line,) = re.findall(rf"^\$ ({program} .*)$", self.block("console"), re.MULTILINE)
        return shlex.split(line)

    def profile(self, values: Mapping[str, str | None]) -> str:
        """Return the profile with other values for its keys, all of which it must have; ``None`` leaves one out."""
        parser = configparser.RawConfigParser()
        parser.read_string(self.block("ini"))
        keys = dict(parser["profile webapp"])
        assert set(values) <= set(keys)
        kept = {key: value for key, value in {**keys, **values}.items() if value is not None}
        return "[profile webapp]\n" + "".join(f"{key} = {value}\n" for key, value in kept.items())


@dataclasses.dataclass(frozen=True)
class Place:
    """A directory to run a page's program in, and a Vault whose requests are counted."""

    directory: pathlib.Path
    vault: CountingProxy
    tenant: Tenant

    def prepare(self, name: str, more: str = "", **values: str | None) -> Page:
        """Write program and profile of a page for this Vault and AWS, with other ``values`` and ``more`` keys."""
        page = Page(name)
        page.write_program(self.directory)
        ours = self.tenant.settings | {
            "vault_addr": self.vault.address,
            "region": aws.REGION,
            "credential_process": f"{COMMAND} get --profile webapp",
        }
        text = page.profile({**ours, **values})
        endpoint = f"endpoint_url = {self.tenant.laboratory.cloud.endpoint}\n"
        pathlib.Path(os.environ["AWS_CONFIG_FILE"]).write_text(text + endpoint + more)
        return page

    @property
    def logins(self) -> int:
        """How often somebody has logged in."""
        return self.vault.count("POST", LOGIN)

    @property
    def revocations(self) -> int:
        """How often somebody has ended its token."""
        return self.vault.count("POST", REVOKE)

    @property
    def signed(self) -> list[tuple[str, str]]:
        """Key and outcome of each request of an application that AWS has seen."""
        cloud = self.tenant.laboratory.cloud
        engine = cloud.engine_keys["aws_access_key_id"]
        return [(key, outcome) for key, outcome in cloud.requests if key != engine]

    def saw_refreshes(self) -> bool:
        """Tell whether AWS has seen three pairs or more; none may have come after its end."""
        assert {outcome for _, outcome in self.signed} <= {"sent"}
        return len({key for key, _ in self.signed}) >= 3


class Mortal:
    """The stand-in's pen, for pairs that AWS refuses long after a program should have replaced them."""

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory

    def write_sts(self, role: str, *, ttl: int) -> str:
        """Write a pair. It is there to be read for half of its life, and should be replaced after another half."""
        key = self._laboratory.write_sts(role, ttl=ttl)
        self._laboratory.cloud.end(key, time.time() + 3 * ttl)
        return key


@pytest.fixture
def place(
    short_lived: Tenant, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, cloud: aws.LocalAWS
) -> Iterator[Place]:
    """A place whose credentials live for seconds."""
    directory = tmp_path / "place"
    directory.mkdir()
    monkeypatch.setenv("AWS_CONFIG_FILE", str(directory / "aws-config"))
    cloud.requests.clear()
    with (
        CountingProxy(short_lived.laboratory.server.address) as vault,
        Renewer(Mortal(short_lived.laboratory), short_lived.role, ttl=LIFE),  # type: ignore[arg-type]
    ):
        yield Place(directory, vault, short_lived)


class Service:
    """A web service at a port of this machine."""

    def __init__(self) -> None:
        """Take a free port."""
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> requests.Response:
        """Ask it, past any proxy."""
        with requests.Session() as session:
            session.trust_env = False
            return session.get(self.address + path, timeout=30)

    def answers(self) -> bool:
        """Tell whether it listens."""
        with contextlib.suppress(requests.ConnectionError):
            return bool(self.get("/nosuch").status_code)
        return False
