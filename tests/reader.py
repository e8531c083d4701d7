"""Somebody who reads a page and types its commands: a home of its own, the programs, and a server to set up."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shlex
import subprocess
import sys
import venv

from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory, write_private

from .conftest import COMMAND, ROOT

OURS = "vault-credential-process"
EXAMPLE = "84896a0c-1347-aa90-a4f6-aca8b7558780"
"""An accessor in the pages, in whose place the reader has another."""


@dataclasses.dataclass
class Place:
    """Where the commands of a page are run: a home of its own, our command, ``aws``, and ``vault`` for the server's."""

    laboratory: Laboratory
    home: pathlib.Path
    programs: pathlib.Path
    done: list[str] = dataclasses.field(default_factory=list)

    def put(self, name: str, *words: str) -> None:
        """Make a program of a name that runs others."""
        path = self.programs / name
        path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        path.chmod(0o755)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run one command as it stands, but for the directory where the page puts secrets."""
        server = self.laboratory.server
        environ = {
            "PATH": f"{self.programs}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "VAULT_ADDR": server.address,
            "VAULT_TOKEN": server.root_token,
            "COLUMNS": "100",
        }
        for name in ("HOME", "XDG_RUNTIME_DIR", "PYTHONPATH", "PYTHON_KEYRING_BACKEND", "STORE_FILE"):
            environ[name] = os.environ[name]
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", self.adapt(command)],
            cwd=self.home,
            env=environ | {"AWS_EC2_METADATA_DISABLED": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.done.append(command)
        return done

    def adapt(self, command: str) -> str:
        """Return a command with the example's values replaced by those of this place."""
        command = re.sub("/etc/(webapp|vault-agent)/", f"{self.home}/etc/", command)
        command = command.replace(f"/opt/vcp/bin/{OURS}", OURS).replace("s3://bucket/", f"s3://{aws.BUCKET}/")
        if "/opt/webapp/venv/" in command:
            command = command.replace("/opt/webapp/venv", str(self.environment()))
        if EXAMPLE in command:
            accessors = self.laboratory.server.call("LIST", "auth/approle/role/webapp/secret-id")["data"]["keys"]
            command = command.replace(EXAMPLE, accessors[0])
        return command

    def environment(self) -> pathlib.Path:
        """Return a virtual environment of the page's own that finds this package and what it needs."""
        made = self.home / "venv"
        if not made.exists():
            venv.create(made, symlinks=True)
            found = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
            (packages,) = made.glob("lib/*/site-packages")
            (packages / "found.pth").write_text("\n".join(found) + "\n")
            self.programs = made / "bin"
            self.put(OURS, str(made / "bin" / "python"), "-m", "vault_credential_process")
        return made

    def write_profile(self) -> None:
        """Write the profile ``webapp`` of the pages, once Vault is set up; what the page has made is used."""
        call = self.laboratory.server.call
        secret_id = self.home / "etc" / "secret-id"
        if not secret_id.exists():
            write_private(secret_id, call("POST", "auth/approle/role/webapp/secret-id", {})["data"]["secret_id"])
        settings = {
            "vault_addr": self.laboratory.server.address,
            "vault_role_id": call("GET", "auth/approle/role/webapp/role-id")["data"]["role_id"],
            "vault_secret_id_file": str(secret_id),
            "vault_aws_role": "webapp",
        }
        text = self.laboratory.profile("webapp", settings, command=COMMAND)
        (self.home / ".aws").mkdir()
        (self.home / ".aws" / "config").write_text(text)
