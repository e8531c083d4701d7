"""What the tests of crashes stand on: processes that die when told, and a witness in front of a real server."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from vault_credential_process.fastpath import NAME

from ..conftest import ROOT, Tenant
from .witness import Witness

PATIENCE = 120.0
"""Seconds that an answer of the zygote is waited for: more than any deadline of the command."""


@dataclasses.dataclass(frozen=True)
class Run:
    """How a call ended; ``code`` is negative where a signal ended it, ``steps`` are those that were counted."""

    code: int
    out: str
    err: str
    steps: list[str]

    @property
    def document(self) -> dict[str, Any]:
        """What a success printed, in silence."""
        assert (self.code, self.err) == (0, "")
        printed: dict[str, Any] = json.loads(self.out)
        assert printed["Version"] == 1
        assert self.out.count("\n") == 1
        return printed

    @property
    def key(self) -> str:
        """The access key of a success."""
        return str(self.document["AccessKeyId"])


class Zygote:
    """The parent of the processes that the tests run."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, orders: Any) -> list[Run]:
        """Send orders and return how they ended, in their order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(orders).encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        assert ready, "a call hangs"
        return [Run(**answer) for answer in json.loads(self._process.stdout.readline())]

    def close(self) -> None:
        """End it, and what hangs with it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """One for each module of tests."""
    made = Zygote()
    yield made
    made.close()


@dataclasses.dataclass(frozen=True)
class Stage:
    """A profile at a real server with a witness in front, and calls in runtime directories of their own."""

    tenant: Tenant
    witness: Witness
    zygote: Zygote
    config: pathlib.Path
    shm: pathlib.Path

    def write(self, **changes: str | None) -> None:
        """Write the profile, with some keys changed or left out."""
        settings = {**self.tenant.settings, "vault_addr": self.witness.address, "vault_aws_timeout": "30", **changes}
        given = {key: value for key, value in settings.items() if value is not None}
        self.config.write_text(self.tenant.laboratory.profile("webapp", given))

    def order(self, runtime: pathlib.Path, *argv: str, environ: Mapping[str, str] | None = None, **more: Any) -> Any:
        """Return the order of one call, ``get`` unless told otherwise."""
        runtime.mkdir(mode=0o700, exist_ok=True)
        variables = {**os.environ, "AWS_CONFIG_FILE": str(self.config), "XDG_RUNTIME_DIR": str(runtime)}
        return {"argv": argv or ("get", "--profile", "webapp"), "environ": {**variables, **(environ or {})}, **more}

    def run(self, runtime: pathlib.Path, *argv: str, **more: Any) -> Run:
        """Run one call."""
        return self.zygote.ask([self.order(runtime, *argv, **more)])[0]

    def together(self, orders: Sequence[Any]) -> list[Run]:
        """Run calls side by side."""
        return self.zygote.ask(list(orders))

    def warm_up(self) -> None:
        """Let the zygote load all that a call needs."""
        assert self.zygote.ask(self.order(self.shm / "warm-up"))[0].code == 0
        shutil.rmtree(self.shm / "warm-up")

    @property
    def read_path(self) -> str:
        """The path that the credentials are read at."""
        return f"aws/creds/{self.tenant.role}"


def stage_of(tenant: Tenant, witness: Witness, zygote: Zygote, shm: pathlib.Path) -> Stage:
    """Return a stage, its profile written and its zygote warm."""
    made = Stage(tenant, witness, zygote, tenant.home / "config", shm)
    made.write()
    made.warm_up()
    return made


@pytest.fixture
def stage(tenant: Tenant, zygote: Zygote, shm: pathlib.Path) -> Iterator[Stage]:
    """A stage whose role gives STS credentials of 900 s."""
    with Witness(tenant.laboratory.server.address) as witness:
        yield stage_of(tenant, witness, zygote, shm)


def files(runtime: pathlib.Path) -> dict[str, pathlib.Path]:
    """Return what lies in the directory of a runtime directory, by name."""
    directory = runtime / NAME
    return {path.name: path for path in directory.iterdir()} if directory.exists() else {}
