"""What the tests of auth methods share: a login through a profile, in the process and through the command."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from vault_credential_process import auth
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import Person, VaultToken
from vault_credential_process.profiles import Profile
from vault_credential_process.vault import Vault

from ..conftest import COMMAND, Run

NOW = 1_795_465_023.0


def log_in(
    address: str,
    keys: Mapping[str, str],
    environ: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
    *,
    person: Person | None = None,
) -> VaultToken:
    """Log in to a server with the keys of a profile, an environment and arguments."""
    given = {"vault_addr": address, "vault_max_retries": "0", **(arguments or {})}
    config = auth.configure(given, environ or {}, Profile("webapp", keys))
    with Vault(config, Deadline(20), lambda: NOW, person=person) as vault:
        return auth.login(auth.choose(config), vault)


def get(run: Run, laboratory: Laboratory, keys: Mapping[str, str], home: pathlib.Path, **environ: str) -> Any:
    """Run ``get`` on a profile with these keys against a laboratory; return the finished process."""
    settings = {"vault_aws_role": "webapp", **keys, "vault_addr": laboratory.server.address}
    path = home / "config"
    path.write_text(laboratory.profile("webapp", settings, command=COMMAND))
    return run(*COMMAND.split(), "get", "--profile", "webapp", **{"AWS_CONFIG_FILE": str(path), **environ})


def document(done: Any) -> dict[str, Any]:
    """Return the document that ``get`` printed, after a look at how it ended."""
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
