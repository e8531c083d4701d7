"""What a hit imports: through the installed command, in an environment that holds nothing but the wheel."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import venv
from collections.abc import Callable

import pytest

from vault_credential_process import fastpath
from vault_credential_process.testing.scripted import ScriptedServer

from .conftest import Built
from .talk import LOGGED_IN, LOGIN, READ, STS

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the keyring keeps, which is imported"),
]

FORBIDDEN = {
    "hvac",
    "requests",
    "urllib3",
    "botocore",
    "boto3",
    "keyring",
    "argparse",
    "json",
    "re",
    "configparser",
    "logging",
    "typing",
    "dataclasses",
    "enum",
    "subprocess",
    "importlib.metadata",
    "shlex",
    "tempfile",
    "pathlib",
    "base64",
    "shutil",
    "locale",
    "traceback",
    "collections",
    "hashlib",
}
OURS = {
    "vault_credential_process",
    "vault_credential_process.cli",
    "vault_credential_process.fastpath",
    "vault_credential_process.lock",
}
FOR_WAITERS = {"vault_credential_process.cli.coredump"}
"""A call that waits holds its environment in memory for a while, so it allows no core."""

Loaded = Callable[..., set[str]]


@pytest.fixture(scope="module")
def scripts(built: Built, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where the programs are of a new environment into which a current pip installed the wheel, and that alone.

    Coverage's start-up file, and the one of an editable install, load half of the library into every interpreter.
    """
    environment = tmp_path_factory.mktemp("budget") / "environment"
    venv.create(environment, with_pip=True, symlinks=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for packages in (["--upgrade", "pip"], [str(built.wheel)]):
        done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    assert list(environment.rglob("*coverage*.pth")) + list(environment.rglob("__editable__*")) == []
    return environment / "bin"


@pytest.fixture
def loaded(scripts: pathlib.Path, scripted: ScriptedServer) -> Loaded:
    """Run the environment's interpreter on a program; return the modules that ``python -c pass`` does not load."""
    scripted.on("POST", LOGIN, LOGGED_IN)
    scripted.on("GET", READ, STS)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    environ |= {"VAULT_ADDR": scripted.address, "VAULT_ROLE_ID": "role", "VAULT_AWS_ROLE": "webapp"}

    def modules(*program: str) -> set[str]:
        done = subprocess.run(
            [scripts / "python", "-X", "importtime", *program],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
        assert len(lines) == len(done.stderr.splitlines())
        return {line.rpartition("|")[2].strip() for line in lines[1:]}

    def difference(*program: str) -> set[str]:
        return modules(*program) - modules("-c", "pass")

    return difference


def forbidden_in(found: set[str]) -> set[str]:
    """Return the forbidden modules, and parts of them, among those that were loaded."""
    parents = {name: {".".join(name.split(".")[:n]) for n in range(1, name.count(".") + 2)} for name in found}
    return {name for name, own in parents.items() if own & FORBIDDEN}


def test_hit_imports_next_to_nothing(scripts: pathlib.Path, loaded: Loaded, scripted: ScriptedServer) -> None:
    """A hit of the installed command loads four small modules of ours and nothing that is forbidden."""
    command = str(scripts / "vault-credential-process")
    miss = loaded(command, "get")
    hit = loaded(command, "get")

    assert forbidden_in(hit) == set()
    assert {name for name in hit if name.startswith("vault_credential_process")} == OURS
    assert scripted.asked("GET", READ) == 1
    assert {"hvac", "requests", "json", "argparse", "re", "logging", "dataclasses"} <= forbidden_in(miss)


def test_waiter_imports_next_to_nothing(
    scripts: pathlib.Path, loaded: Loaded, scripted: ScriptedServer, shm: pathlib.Path
) -> None:
    """A call that waited for another one's answer has imported next to no more than a hit."""
    command = str(scripts / "vault-credential-process")
    loaded(command, "get")
    (quick,) = (path for path in (shm / fastpath.NAME).glob("quick-*") if path.suffix != ".lock")
    kept = quick.with_name("kept")
    quick.rename(kept)
    publish = "import os, sys, time; time.sleep(1); os.rename(*sys.argv[1:])"
    hold = (
        "import sys, time; from vault_credential_process.lock import FileLock; l = FileLock(sys.argv[1] + '.lock'); "
        "print(l.try_acquire(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([scripts / "python", "-c", hold, quick], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "True\n"
            with subprocess.Popen([sys.executable, "-c", publish, kept, quick]):
                waited = loaded(command, "get")
        finally:
            holder.kill()

    assert forbidden_in(waited) == set()
    assert {name for name in waited if name.startswith("vault_credential_process")} == OURS | FOR_WAITERS
    assert scripted.asked("GET", READ) == 1
