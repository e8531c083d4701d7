"""The table of faces: how programs come by credentials, and which public names each uses."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import botocore.hooks
import botocore.session

import vault_credential_process
from vault_credential_process import awscli, cache, chain, health
from vault_credential_process.manager import VaultAWSCredentialManager

from .family import COMMAND, PATIENCE, watched_environ
from .stage import Stage


def by_process(stage: Stage) -> str:
    """Use botocore as it is, which runs our command."""
    line = " ".join((*COMMAND, "get", "--profile=webapp"))
    plain = stage.config.with_name("plain")
    plain.write_text(f"[profile plain]\ncredential_process = {line}\n{stage.config.read_text()}")
    stage.patch.setenv("AWS_CONFIG_FILE", str(plain))
    return _secret_key(botocore.session.Session(profile="plain"))


def by_provider(stage: Stage) -> str:
    """Use the provider, put into every session, one session, and one of boto3; and what tells of refreshes."""
    stage.patch.setattr(cache, "_memory", None)
    stage.patch.setattr(health, "_hooks", [])
    told: list[Any] = []
    provider = vault_credential_process.VaultProvider(botocore.session.Session(profile="webapp"))
    vault_credential_process.on_refresh(lambda *given: told.append(given))
    vault_credential_process.install()
    try:
        found = {
            _secret_key(botocore.session.Session(profile="webapp")),
            _secret_key(vault_credential_process.boto3_session("webapp")._session),
            _frozen(provider.load()),
        }
        assert told
        return found.pop()
    finally:
        stage.said += [repr(vault_credential_process.keepers()), repr(told)]
        vault_credential_process.uninstall()


def by_manager(stage: Stage) -> str:
    """Use the manager, with its secrets as arguments too, and its client of Vault."""
    stage.patch.setattr(cache, "_memory", None)
    manager = VaultAWSCredentialManager(profile_name="webapp", secret_id=stage.play.secrets[0].value)
    try:
        found = manager.get_aws_credentials()["aws_secret_access_key"]
        assert manager.vault_client.is_authenticated()
        assert manager.get_aws_session().get_credentials() is not None
    finally:
        stage.said += [repr(manager), repr(manager.health()), str(manager)]
    return str(found)


def by_autoload(stage: Stage) -> str:
    """Use a program that cannot be changed, in an interpreter that loads the provider by itself."""
    program = (
        "from vault_credential_process import autoload; autoload.start()\n"
        "import boto3; credentials = boto3.Session(profile_name='webapp').get_credentials()\n"
        "print(credentials.method, len(credentials.get_frozen_credentials().secret_key))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=watched_environ(stage.root / "witnesses"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    stage.said += [done.stdout, done.stderr]
    if done.returncode:
        raise ProgramError("CredentialRetrievalError" if "CredentialRetrievalError" in done.stderr else done.stderr)
    assert done.stdout == f"{chain.METHOD} {len(stage.pair.secret_key)}\n"
    return stage.pair.secret_key


class ProgramError(Exception):
    """A program ended with a traceback."""


def by_plugin(stage: Stage) -> str:
    """Use the plugin as the AWS CLI does."""
    stage.patch.setattr(cache, "_memory", None)
    stage.patch.setattr(chain, "_shares", False)
    hooks = botocore.hooks.HierarchicalEmitter()
    awscli.awscli_initialize(hooks)
    session = botocore.session.Session(profile="webapp")
    hooks.emit("session-initialized", session=session, parsed_args=None)
    return _secret_key(session)


def _secret_key(session: Any) -> str:
    return _frozen(session.get_credentials())


def _frozen(credentials: Any) -> str:
    return str(credentials.get_frozen_credentials().secret_key)


@dataclasses.dataclass(frozen=True)
class Face:
    """How a face is used, up to a secret key; ``elsewhere`` where it needs what is not installed here."""

    use: Callable[[Stage], str] | None
    names: tuple[str, ...] = ()
    elsewhere: str = ""


FACES = {
    "credential_process": Face(by_process),
    "provider": Face(by_provider, ("VaultProvider", "install", "uninstall", "boto3_session", "on_refresh", "keepers")),
    "manager": Face(by_manager, ("VaultAWSCredentialManager", "Health")),
    "autoload": Face(by_autoload),
    "AWS CLI plugin": Face(by_plugin),
    "aiobotocore": Face(None, ("aio_session",), "tests/aio/inner/check_canary.py, beside the released packages"),
}
"""Each face, with the public names that it has."""
OF_NO_FACE = {"VaultCredentialError"}
