"""What the tests of the wire say to a server, always with the same secrets, which must come up nowhere else."""

from __future__ import annotations

import time
from typing import Any

from vault_credential_process.config import Config, resolve
from vault_credential_process.errors import VaultCredentialError
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import AWSCredentials, VaultToken
from vault_credential_process.testing.scripted import ScriptedServer, reply
from vault_credential_process.vault import Vault

TOKEN = "hvs.CAESICanaryTokenThatIsSecret"
SECRET_ID = "5ecre7-1d00-canary"
LOGIN, READ, LOOK_UP = "auth/approle/login", "aws/creds/webapp", "auth/token/lookup-self"

LOGGED_IN = reply(200, {"auth": {"client_token": TOKEN, "lease_duration": 3600, "policies": ["app"]}})
LOOKED_UP = reply(200, {"data": {"ttl": 3600, "num_uses": 0, "type": "service", "policies": ["app"]}})
STS_DATA = {"access_key": "ASIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMI", "security_token": "Fwo", "ttl": 900}
STS = reply(200, {"lease_id": "aws/creds/webapp/1", "lease_duration": 900, "data": STS_DATA})

ONCE = {"login": ("POST", LOGIN), "first read": ("GET", READ), "iam_user read": ("GET", READ)}
FREELY = {
    "sts read": ("GET", READ),
    "static read": ("GET", "aws/static-creds/webapp"),
    "look-up": ("GET", LOOK_UP),
    "revocation": ("POST", "auth/token/revoke-self"),
}
GOOD = {"login": LOGGED_IN, "look-up": LOOKED_UP, "revocation": reply(204)}


def settings(address: str, **environ: str) -> Config:
    """Return the configuration for a server, with further environment variables."""
    return resolve({}, {"VAULT_ADDR": address, "VAULT_AWS_ROLE": "webapp", **environ}, None, ())


def login(vault: Vault) -> VaultToken:
    """Log in with AppRole."""
    body = {"role_id": "role", "secret_id": SECRET_ID}
    return vault.login(LOGIN, body, mount="approle", remedy="check the Secret ID", secrets=(SECRET_ID,))


def read(vault: Vault, **options: Any) -> AWSCredentials:
    """Read credentials with a token that is good for an hour."""
    return vault.read_credentials(VaultToken(TOKEN, expiry=time.time() + 3600, policies=("app",)), **options)


def log_in_to(address: str, *, seconds: float = 20, **environ: str) -> VaultToken:
    """Log in at a server, in a conversation of its own."""
    with Vault(settings(address, **environ), Deadline(seconds)) as vault:
        return login(vault)


def read_from(address: str, *, seconds: float = 20, **environ: str) -> AWSCredentials:
    """Read credentials from a server, in a conversation of its own."""
    with Vault(settings(address, **environ), Deadline(seconds)) as vault:
        return read(vault)


def talk(server: ScriptedServer, kind: str, **environ: str) -> None:
    """Make one kind of request to a server."""
    talk_to(server.address, kind, **environ)


def talk_to(address: str, kind: str, **environ: str) -> None:
    """Make one kind of request to an address."""
    if kind == "static read":
        environ["VAULT_AWS_ENDPOINT"] = "static-creds"
    with Vault(settings(address, **environ), Deadline(20)) as vault:
        if kind == "login":
            login(vault)
        elif kind == "look-up":
            vault.look_up(TOKEN, origin="VAULT_TOKEN")
        elif kind == "revocation":
            vault.revoke_token(VaultToken(TOKEN))
        else:
            read(vault, known_type={"iam_user read": "iam_user", "sts read": "sts"}.get(kind))


def said(error: VaultCredentialError) -> str:
    """Return an error's message after a look at what holds for all of them: one line, and no secret."""
    message = str(error)
    assert message.isprintable()
    assert TOKEN not in message
    assert SECRET_ID not in message
    return message
