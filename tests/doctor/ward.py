"""Where set-ups are examined: a profile that works, on a real server and a local AWS, for tests to break."""

from __future__ import annotations

import dataclasses
import email.utils
import json
import pathlib
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import pytest

from vault_credential_process.cli import doctor, parser
from vault_credential_process.testing.scripted import Reply, ScriptedServer, reply

from ..conftest import COMMAND, Tenant
from ..talk import LOGGED_IN, LOGIN, LOOK_UP, LOOKED_UP, READ, STS

QUICK = f"#!/bin/sh\n'''exec' /bin/echo vault-credential-process {version('vault-credential-process')}\n"
"""A script of the command that starts at once, however busy the machine is."""
LINE = f"{COMMAND} get --profile webapp"
CAPABILITIES = "sys/capabilities-self"
STATE = {"initialized": True, "sealed": False, "standby": False, "version": "2.4.0"}
ALLOWED = reply(200, {READ: ["read"], "aws/roles/webapp": ["deny"]})


@dataclasses.dataclass(frozen=True)
class Report:
    """What an examination came to."""

    code: int
    document: Mapping[str, Any]

    @property
    def findings(self) -> list[dict[str, Any]]:
        """All of them, in order."""
        return list(self.document["findings"])

    @property
    def trouble(self) -> dict[str, Any]:
        """The first error; without one the first warning."""
        states = ("error", "warning")
        return next(found for state in states for found in self.findings if found["state"] == state)

    def of(self, step: str) -> list[dict[str, Any]]:
        """Return what one step found."""
        return [found for found in self.findings if found["step"] == step]

    def says(self, step: str, words: str) -> bool:
        """Tell whether a step says some words, whatever of it."""
        return any(words in f"{f['found']} {f['means']} {f['remedy']}" for f in self.of(step))


def ahead(seconds: float) -> dict[str, str]:
    """Return the header of a server whose clock is so many seconds ahead."""
    return {"Date": email.utils.formatdate(time.time() + seconds, usegmt=True)}


@dataclasses.dataclass
class Ward:
    """One host: its files, its environment, and the servers that it can reach."""

    tenant: Tenant
    patch: pytest.MonkeyPatch
    path: pathlib.Path
    server: ScriptedServer
    """Plays Vault where no real server would do what is wanted."""
    cloud: ScriptedServer
    """Plays AWS, the same."""
    flags: tuple[str, ...] = ("--profile=webapp",)
    seconds: int = 3600
    """The life of the credentials of the role."""

    def write(self, *lines: str, line: str | None = LINE, **changes: str | None) -> pathlib.Path:
        """Write the profile with some keys changed or left out, and further lines."""
        keys = {"credential_process": line, **self.tenant.settings, **changes}
        cloud = self.tenant.laboratory.cloud
        written = [f"{key} = {value}" for key, value in keys.items() if value is not None]
        text = ["[profile webapp]", "region = us-east-1", f"endpoint_url = {cloud.endpoint}", *written, *lines]
        config = self.path / "config"
        config.write_text("\n".join(text) + "\n")
        self.patch.setenv("AWS_CONFIG_FILE", str(config))
        return config

    def scripted(self, *, headers: Mapping[str, str] | None = None, **changes: Reply) -> None:
        """Let the scripted server answer well, but for what is named, and write a profile that leads there."""
        server = self.server
        server.on("GET", "sys/health", changes.get("health", reply(200, STATE, headers)))
        server.on("POST", LOGIN, changes.get("login", LOGGED_IN))
        server.on("GET", LOOK_UP, changes.get("look_up", LOOKED_UP))
        server.on("POST", CAPABILITIES, changes.get("capabilities", ALLOWED))
        server.on("GET", READ, changes.get("read", STS))
        self.write(vault_addr=server.address, vault_aws_role="webapp", vault_max_retries="0")

    def program(self, name: str, text: str) -> str:
        """Write a program and return its path."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def read(self) -> None:
        """Let credentials be read whatever their kind."""
        self.flags = (*self.flags, "--read")


def examined(capsys: pytest.CaptureFixture[str], *flags: str) -> Report:
    """Run the command in this process, for programs."""
    arguments = parser.build(["doctor"]).parse_args(["doctor", *flags, "--json"])
    code = doctor.run(arguments)
    streams = capsys.readouterr()
    assert streams.err == ""
    return Report(code, json.loads(streams.out))


def launcher() -> str:
    """Return a script as pip writes it, which runs the command."""
    import sys

    return f"#!{sys.executable}\nfrom vault_credential_process.cli import command\ncommand()\n"


def allow(ward: Ward, hcl: str) -> None:
    """Give the application a policy."""
    ward.tenant.laboratory.allow(ward.tenant.role, hcl)


def command_line(ward: Ward, *flags: str) -> tuple[str, ...]:
    """Return the command for a process of its own."""
    return (sys.executable, "-m", "vault_credential_process", "doctor", *ward.flags, *flags)
