"""A platform's metadata service as a test scripts it, and the command against a scripted Vault."""

from __future__ import annotations

import pathlib
import urllib.parse
from collections.abc import Mapping
from typing import Any

from vault_credential_process.testing.scripted import Reply, ScriptedServer, reply

from ..conftest import COMMAND, Run

LOGGED_IN = reply(
    200,
    {
        "auth": {
            "client_token": "f33f8c72-924e-11f8-cb43-ac59d697597c",
            "accessor": "0e9e354a-520f-df04-6867-ee81cae3d42d",
            "policies": ["default", "dev", "prod"],
            "lease_duration": 2764800,
            "renewable": True,
        }
    },
)
"""A login that succeeded, as HashiCorp's API documentation has it for both methods (api-docs/auth/azure, /gcp)."""

CREDENTIALS = {
    "lease_id": "aws/creds/webapp/1",
    "lease_duration": 3600,
    "data": {
        "access_key": "ASIAIOSFODNN7EXAMPLE",
        "secret_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "security_token": "AQoDYXdzEPT//////////wEXAMPLE",
    },
}


class MetadataService(ScriptedServer):
    """Answers by path, without its query, what the test tells it to; 404 for everything else."""

    def tell(self, path: str, *replies: Reply) -> None:
        """Answer a path with these replies in order; the last one repeats."""
        self._script["GET", path] = list(replies)

    def asked_for(self) -> list[tuple[str, dict[str, str]]]:
        """Return paths and queries in the order in which they came."""
        parts = [urllib.parse.urlsplit(request.path) for request in self.requests]
        return [
            (part.path, dict(urllib.parse.parse_qsl(part.query, strict_parsing=bool(part.query)))) for part in parts
        ]


def run_get(run: Run, vault: ScriptedServer, keys: Mapping[str, str], home: pathlib.Path, **environ: str) -> Any:
    """Run ``get`` on a profile with these keys against a scripted Vault that has credentials for ``webapp``."""
    vault.on("GET", "aws/creds/webapp", reply(200, CREDENTIALS))
    settings = {"vault_aws_role": "webapp", **keys, "vault_addr": vault.address}
    path = home / "config"
    path.write_text("[profile webapp]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
    given = {"AWS_CONFIG_FILE": str(path), "VAULT_MAX_RETRIES": "0", **environ}
    return run(*COMMAND.split(), "get", "--profile", "webapp", **given)


def refused(done: Any, code: int, words: str) -> None:
    """Look at the end of a command that must fail: its code, one line with these words, and no canary in it."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "canary" not in done.stderr
