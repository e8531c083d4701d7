"""A real server with decoys at other paths, which its policy would let us read: no name of a role leads to one."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any, NamedTuple

import pytest

from vault_credential_process import auth
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.errors import ConfigurationError, VaultCredentialError
from vault_credential_process.expiry import Deadline
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.models import VaultToken
from vault_credential_process.vault import Vault

from .of_paths import NAMES

DECOY = "AKIADECOYDECOYDECOY1"
ATTACKS = tuple(
    text
    for way in ("../config/decoy", "../../decoy/creds/decoy", "x/../../config/decoy", "..%2fconfig%2fdecoy",
    "/../config/decoy")
    for text in (way, way.replace("..", "%2e%2e"), way.replace("/", "\\"), way.replace("..", "..;"), f"{way}?x=",
    f"{way}#x",
                 f" {way}", f"{way}\n", way.replace("..", "\uff0e\uff0e"), way.replace("..", "%252e%252e"),
                 way.replace("/", "//"))
)  # fmt: skip


class Trap(NamedTuple):
    """A server with one honest role and decoys around it, and a token that may read them all."""

    address: str
    token: str
    mount: str
    role: str

    def fetcher(self, **names: str) -> Fetcher:
        """Return a fetcher with other names."""
        given: dict[str, Any] = {"vault_aws_role": self.role, "vault_aws_mount": self.mount, **names}
        given |= {"vault_addr": self.address, "vault_token": self.token, "vault_max_retries": "0"}
        return Fetcher(auth.configure(given, {}, None))


@pytest.fixture(scope="module")
def trap(stand_in: Laboratory) -> Trap:
    """The stand-in of the engine, in which anything may be written anywhere."""
    mount, role = f"trap-{uuid.uuid4().hex[:8]}", "webapp"
    server = stand_in.server
    for path in (mount, f"{mount}-decoy"):
        server.call("POST", f"sys/mounts/{path}", {"type": "kv", "options": {"version": "1"}})
    stand_in.write_sts(role, ttl=900, mount=mount)
    decoy = {"access_key": DECOY, "secret_key": "decoy", "security_token": "decoy", "ttl": 900}
    for path in ("config/decoy", "decoy", "creds/decoy"):
        server.call("POST", f"{mount}/{path}", decoy)
        server.call("POST", f"{mount}-decoy/{path}", decoy)
    stand_in.allow(
        mount, f'path "{mount}/*" {{ capabilities = ["read"] }}\npath "{mount}-decoy/*" {{ capabilities = ["read"] }}'
    )
    made = server.call("POST", "auth/token/create", {"policies": [mount], "ttl": "1h"})
    return Trap(server.address, made["auth"]["client_token"], mount, role)


@pytest.mark.parametrize("key", ["vault_aws_role", "vault_aws_mount"])
def test_no_name_reaches_a_decoy(trap: Trap, key: str) -> None:
    """Every name that would climb is refused before anything is sent, or finds nothing."""
    for attack in (*ATTACKS, *NAMES):
        name = attack.replace("decoy/creds", f"{trap.mount}-decoy/creds")
        if key == "vault_aws_mount":
            name = f"{trap.mount}/creds/{name}"
        try:
            found = trap.fetcher(**{key: name}).fetch()
        except VaultCredentialError:
            continue
        assert found.access_key != DECOY, name


def test_honest_role_is_read(trap: Trap) -> None:
    """The same token reads the role that is meant."""
    assert trap.fetcher().fetch().access_key not in ("", DECOY)


@pytest.mark.parametrize("name", ["../config/decoy", "x/../../config/decoy"])
def test_decoy_is_within_reach(trap: Trap, name: str) -> None:
    """A control: past the parser such a name does reach the decoy, for what sends requests cleans their paths."""
    config = trap.fetcher().config
    with pytest.raises(ConfigurationError, match="is not the name of a role"):
        trap.fetcher(vault_aws_role=name)

    with Vault(dataclasses.replace(config, vault_aws_role=name), Deadline(20)) as vault:
        assert vault.read_credentials(VaultToken(trap.token)).access_key == DECOY
