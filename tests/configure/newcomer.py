"""Whoever configures: the flags of a script, what was told, and somebody who answers at a terminal."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import sysconfig

from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory

from ..conftest import Tenant
from ..typist import Reader

SCRIPT = str(pathlib.Path(sysconfig.get_path("scripts")) / "vault-credential-process")
LIST = 'path "aws/roles" { capabilities = ["list"] }\npath "aws/roles/" { capabilities = ["list"] }\n'
SOMEBODYS = (
    "[profile webapp]\nregion = us-east-1\noutput = json\nvault_aws_role = old\ncredential_process = /usr/bin/x y\n"
)
"""A profile that somebody else wrote."""


def flags(tenant: Tenant, **changes: str | None) -> list[str]:
    """Return the flags of a tenant's settings."""
    given = {
        "vault-addr": tenant.laboratory.server.address,
        "role-id": tenant.approle["role_id"],
        "secret-id-file": tenant.approle["secret_id_file"],
        "role": tenant.role,
        "region": aws.REGION,
        **{key.replace("_", "-"): value for key, value in changes.items()},
    }
    return [f"--{key}={value}" for key, value in given.items() if value is not None]


def listed(laboratory: Laboratory, role: str) -> None:
    """Make a role that gives STS credentials, and stands in the list of the stand-in, too."""
    laboratory.assumed_role(role)
    if not laboratory.server.engine.real:
        laboratory.server.call("POST", f"aws/roles/{role}", {"credential_type": "assumed_role"})


def told(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a success printed."""
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def tokens(laboratory: Laboratory) -> int:
    """Return how many tokens the server knows."""
    return len(laboratory.server.call("LIST", "auth/token/accessors")["data"]["keys"])


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line of a run that failed after it had told something."""
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stdout + done.stderr
    return done.stderr


class Newcomer(Reader):
    """Somebody who answers the questions at a terminal."""

    def does(self, **answers: str) -> None:
        """Answer questions that begin like the keyword, with a blank for ``_``, and a colon for ``__``."""
        for question, answer in answers.items():
            self.answers(question.replace("__", ": ").replace("_", " "), answer)


def newcomer(*arguments: str, **environ: str) -> Newcomer:
    """Begin at a terminal without colours."""
    return Newcomer(
        *(sys.executable, "-m", "vault_credential_process", "configure", *arguments),
        environ={"NO_COLOR": "1", **environ},
    )
