"""Whoever asks for something else, or as somebody else, never has another's answer."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time
import uuid
from typing import Any

import pytest

from vault_credential_process import auth
from vault_credential_process.cache.entry import credentials_key, token_key
from vault_credential_process.cache.memory import Memory
from vault_credential_process.cache.place import Place
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory
from vault_credential_process.demo.proxy import CountingProxy
from vault_credential_process.testing.scripted import ScriptedServer, reply

from .conftest import Run, new_tenant
from .talk import LOGGED_IN, LOGIN, STS_DATA
from .test_command import document

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the runtime cache is Linux's")

BASE = {
    "vault_addr": "https://vault.example:8200",
    "vault_role_id": "role",
    "vault_secret_id": "secret",
    "vault_aws_role": "webapp",
}
CHANGES_LOGIN: dict[str, dict[str, str]] = {
    "address": {"vault_addr": "https://other.example:8200"},
    "port": {"vault_addr": "https://vault.example:8201"},
    "plain http": {"vault_addr": "http://vault.example:8200", "vault_allow_http": "true"},
    "namespace": {"vault_namespace": "team"},
    "namespace of the login": {"vault_auth_namespace": "team"},
    "auth mount": {"vault_auth_mount": "other"},
    "Role ID": {"vault_role_id": "other"},
    "Secret ID": {"vault_secret_id": "other"},
    "Role ID and Secret ID, joined alike": {"vault_role_id": "roles", "vault_secret_id": "ecret"},
}
CHANGES_ANSWER: dict[str, dict[str, str]] = {
    "role": {"vault_aws_role": "other"},
    "mount": {"vault_aws_mount": "other"},
    "endpoint": {"vault_aws_endpoint": "sts"},
    "role_arn": {"vault_aws_role_arn": "arn:aws:iam::123456789012:role/a"},
    "another role_arn": {"vault_aws_role_arn": "arn:aws:iam::123456789012:role/b"},
    "session name": {"vault_aws_role_session_name": "nightly"},
    "ttl": {"vault_aws_ttl": "30m"},
    "MFA": {"vault_aws_mfa_code_command": "/usr/bin/code"},
}
CHANGES_NOTHING: dict[str, dict[str, str]] = {
    "timeout": {"vault_aws_timeout": "10"},
    "retries": {"vault_max_retries": "0"},
    "probe": {"vault_aws_probe": "off"},
    "a slash at the end": {"vault_addr": "https://vault.example:8200/"},
    "cache": {"vault_aws_cache": "none"},
}


def keys_of(place: Place, changes: dict[str, str]) -> tuple[str, str]:
    """Return the keys of the token and of the credentials of a configuration."""
    config = auth.configure(BASE | changes, {}, None)
    identity = auth.choose(config).identity()
    return token_key(place, config, identity), credentials_key(place, config, identity)


def test_every_difference_that_matters_has_keys_of_its_own() -> None:
    """What changes the login changes both keys; what changes the answer alone, that of the credentials; all differ."""
    place = Memory().place
    token, credentials = keys_of(place, {})
    logins = {name: keys_of(place, changes) for name, changes in CHANGES_LOGIN.items()}
    answers = {name: keys_of(place, changes) for name, changes in CHANGES_ANSWER.items()}

    assert {name for name, keys in logins.items() if keys[0] == token} == set()
    assert {name for name, keys in answers.items() if keys[0] != token} == set()
    all_credentials = [credentials, *(keys[1] for keys in (*logins.values(), *answers.values()))]
    assert len(set(all_credentials)) == 1 + len(CHANGES_LOGIN) + len(CHANGES_ANSWER)


@pytest.mark.parametrize("name", CHANGES_NOTHING)
def test_what_changes_no_answer_shares_it(name: str) -> None:
    """Settings of how to ask, and other spellings, are no reason for a lease of one's own."""
    place = Memory().place

    assert keys_of(place, CHANGES_NOTHING[name]) == keys_of(place, {})


def test_tokens_that_were_handed_in_are_told_apart() -> None:
    """Each token has its own keys, which tell nothing of it; AppRole's are others again."""
    place = Memory().place
    environ = {"VAULT_ADDR": BASE["vault_addr"], "VAULT_AWS_ROLE": "webapp"}
    found = set()
    for token in ("hvs.one", "hvs.two"):
        config = auth.configure({}, environ | {"VAULT_TOKEN": token}, None)
        found.add(credentials_key(place, config, auth.choose(config).identity()))
    found.add(keys_of(place, {})[1])

    assert len(found) == 3
    assert {len(key) for key in found} == {40}
    assert all(set(key) <= set("0123456789abcdef") for key in found)


def test_keys_of_another_host_are_others() -> None:
    """The hashes are keyed: the same configuration has another key in another cache."""
    assert keys_of(Memory().place, {}) != keys_of(Memory().place, {})


def get(command: Run, *flags: str, **environ: str) -> dict[str, Any]:
    """Run ``get`` twice, the second time with a quick answer to be had, and return what both printed."""
    first, second = (document(command("get", *flags, **environ)) for _ in range(2))
    assert first == second
    return first


def sts(access_key: str) -> bytes:
    """Return an answer with a key."""
    data = {**STS_DATA, "access_key": access_key}
    return reply(200, {"lease_id": "aws/creds/webapp/1", "lease_duration": 900, "data": data})


@on_linux
class TestEndToEnd:
    """The command in one environment, one runtime directory, and two of everything."""

    def test_two_addresses(self, command: Run) -> None:
        """Two servers with the same AppRole and role: each call has the answer of its own."""
        environ = {"VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": "secret", "VAULT_AWS_ROLE": "webapp"}
        with ScriptedServer() as one, ScriptedServer() as two:
            for server, key in ((one, "ASIAONE"), (two, "ASIATWO")):
                server.on("POST", LOGIN, LOGGED_IN)
                server.on("GET", "aws/creds/webapp", sts(key))
            by_variable = [get(command, VAULT_ADDR=server.address, **environ)["AccessKeyId"] for server in (one, two)]
            by_flag = [get(command, f"--vault-addr={s.address}", **environ)["AccessKeyId"] for s in (one, two)]

            assert by_variable == by_flag == ["ASIAONE", "ASIATWO"]
            assert [server.asked("GET", "aws/creds/webapp") for server in (one, two)] == [1, 1]

    def test_two_role_arns(self, command: Run, scripted: ScriptedServer) -> None:
        """Two AWS roles of one Vault role: each call has the credentials of the role that it asked for."""
        scripted.on("POST", LOGIN, LOGGED_IN)
        scripted.on("GET", "aws/creds/webapp", sts("ASIAONE"), sts("ASIATWO"), reply(500))
        environ = {"VAULT_ADDR": scripted.address, "VAULT_ROLE_ID": "role", "VAULT_AWS_ROLE": "webapp"}
        arns = [f"arn:aws:iam::123456789012:role/{name}" for name in "ab"]
        keys = [get(command, f"--role-arn={arn}", **environ)["AccessKeyId"] for arn in (*arns, *arns)]

        assert keys == ["ASIAONE", "ASIATWO"] * 2
        assert [arn.rpartition("/")[2] in r.path for arn, r in zip(arns, scripted.requests[1:], strict=True)] == [
            True
        ] * 2
        assert scripted.asked("POST", LOGIN) == 1

    def test_two_identities(self, command: Run, laboratory: Laboratory, clean_environment: pathlib.Path) -> None:
        """One who may not read a role is not handed the pair that one who may has fetched a moment ago."""
        owner, other = (new_tenant(laboratory, clean_environment) for _ in range(2))
        laboratory.assumed_role(owner.role)
        environ = {"VAULT_ADDR": laboratory.server.address, "VAULT_AWS_ROLE": owner.role}
        theirs = {"VAULT_ROLE_ID": other.approle["role_id"], "VAULT_SECRET_ID": other.approle["secret_id"]}
        mine = {"VAULT_ROLE_ID": owner.approle["role_id"], "VAULT_SECRET_ID": owner.approle["secret_id"]}
        printed = get(command, **environ, **mine)
        refused = command("get", **environ, **theirs)
        mixed = command("get", **environ, **mine | {"VAULT_SECRET_ID": other.approle["secret_id"]})

        assert printed["AccessKeyId"]
        assert (refused.returncode, refused.stdout) == (4, "")
        assert (mixed.returncode, mixed.stdout) == (3, "")

    def test_two_secret_ids(self, command: Run, laboratory: Laboratory, clean_environment: pathlib.Path) -> None:
        """Two Secret IDs of one AppRole are two identities: each has a login of its own."""
        tenant = new_tenant(laboratory, clean_environment)
        laboratory.assumed_role(tenant.role)
        made = laboratory.server.call("POST", f"auth/approle/role/{tenant.role}/secret-id", {})["data"]["secret_id"]
        with CountingProxy(laboratory.server.address) as proxy:
            environ = {"VAULT_ADDR": proxy.address, "VAULT_AWS_ROLE": tenant.role}
            environ["VAULT_ROLE_ID"] = tenant.approle["role_id"]
            for secret_id in (tenant.approle["secret_id"], made, tenant.approle["secret_id"]):
                get(command, **environ, VAULT_SECRET_ID=secret_id)

            assert proxy.count("POST", "auth/approle/login") == 2
            assert proxy.count("GET", f"aws/creds/{tenant.role}") == 2

    def test_two_namespaces(self, command: Run, stand_in: Laboratory) -> None:
        """Two namespaces with the same mounts, role, Role ID and Secret ID: each call has the answer of its own."""
        name = f"app-{uuid.uuid4().hex[:8]}"
        role_id, secret_id = str(uuid.uuid4()), str(uuid.uuid4())
        server = stand_in.server
        spaces = [f"{name}-{letter}" for letter in "ab"]
        for space in spaces:
            server.call("POST", f"sys/namespaces/{space}")
            self.wait_for(stand_in, space)
            server.call("POST", f"{space}/sys/auth/approle", {"type": "approle"})
            server.call("POST", f"{space}/sys/mounts/aws", {"type": "kv", "options": {"version": "1"}})
            policy = READ_POLICY.format(mount="aws", endpoint="creds", role="webapp")
            server.call("PUT", f"{space}/sys/policies/acl/app", {"policy": policy})
            role = f"{space}/auth/approle/role/app"
            server.call("POST", role, {"token_policies": ["app"]})
            server.call("POST", f"{role}/role-id", {"role_id": role_id})
            server.call("POST", f"{role}/custom-secret-id", {"secret_id": secret_id})
            key = {"access_key": f"ASIA{space[-1].upper()}", "secret_key": "s", "security_token": "t", "ttl": 900}
            server.call("POST", f"{space}/aws/creds/webapp", key)
        environ = {"VAULT_ADDR": server.address, "VAULT_AWS_ROLE": "webapp"}
        environ |= {"VAULT_ROLE_ID": role_id, "VAULT_SECRET_ID": secret_id}
        by_variable = [get(command, VAULT_NAMESPACE=space, **environ)["AccessKeyId"] for space in spaces]
        by_flag = [get(command, f"--vault-namespace={space}", **environ)["AccessKeyId"] for space in spaces]

        assert by_variable == by_flag == ["ASIAA", "ASIAB"]
        assert self.failed(command("get", **environ)) == 3

    def failed(self, done: subprocess.CompletedProcess[str]) -> int:
        """Return the code of a call that printed no credentials."""
        assert done.stdout == ""
        return done.returncode

    def wait_for(self, laboratory: Laboratory, space: str) -> None:
        """Wait until a new namespace answers."""
        limit = time.monotonic() + 10
        while time.monotonic() < limit:
            with_mounts = json.dumps(laboratory.server.call("GET", f"{space}/sys/mounts"))
            if "sys/" in with_mounts:
                return
            time.sleep(0.1)
        raise AssertionError(f"the namespace {space} does not answer")

    def test_two_roles(self, command: Run, scripted: ScriptedServer) -> None:
        """Two roles of one AppRole, in two profiles of one file or by flag: each call has its own."""
        scripted.on("POST", LOGIN, LOGGED_IN)
        scripted.on("GET", "aws/creds/one", sts("ASIAONE"))
        scripted.on("GET", "aws/creds/two", sts("ASIATWO"))
        environ = {"VAULT_ADDR": scripted.address, "VAULT_ROLE_ID": "role"}
        by_flag = [get(command, f"--role={role}", **environ)["AccessKeyId"] for role in ("one", "two")]
        by_variable = [get(command, VAULT_AWS_ROLE=role, **environ)["AccessKeyId"] for role in ("one", "two")]

        assert by_flag == by_variable == ["ASIAONE", "ASIATWO"]
        assert [scripted.asked(*what) for what in (("POST", LOGIN), ("GET", "aws/creds/one"))] == [1, 1]
