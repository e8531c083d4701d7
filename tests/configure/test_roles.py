"""Several roles at once, and the read that tries one."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory
from vault_credential_process.testing.scripted import ScriptedServer, reply

from ..conftest import Run, Tenant, new_tenant
from ..test_command import document
from ..test_real_engine import users
from .newcomer import flags, refused, told


class TestSeveral:
    """A profile for each role of a pattern."""

    def test_roles(self, command: Run, teams: Tenant, config: pathlib.Path) -> None:
        """Each role that matches has a profile that works, all in one change; the names follow the template."""
        arguments = ("configure", *flags(teams, role=None), "--yes", f"--roles={teams.role}-*")
        said = told(command(*arguments, "--name=vault-{role}"))
        assert said.count("@@ ") == 1
        (kept,) = command("cache", "list").stdout.splitlines()[2:]
        assert kept.startswith("-  ")
        for letter in "ab":
            printed = command("get", f"--profile=vault-{teams.role}-{letter}")
            document(printed)

        assert "nothing to change" in told(command(*arguments, "--name=vault-{role}"))
        assert "--name: " in refused(command(*arguments, "--name=one"), 2)
        assert "--name: 'a b' cannot be the name" in refused(command(*arguments, "--name=a b"), 2)

    def test_nothing_matches(self, command: Run, teams: Tenant, config: pathlib.Path) -> None:
        """The line says what there is."""
        line = refused(command("configure", *flags(teams, role=None), "--yes", "--roles=none-*"), 2)

        assert "--roles: no role at aws matches 'none-*'; there are: " in line
        assert not config.exists()

    def test_forbidden_list(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """Without the list it cannot be done; the line has the policy."""
        line = refused(command("configure", *flags(tenant, role=None), "--yes", "--roles=*"), 4)

        assert 'the token may not list the roles; add: path "aws/roles" { capabilities = ["list"] }' in line
        assert not config.exists()


class TestRead:
    """``--read``."""

    def test_several(self, command: Run, teams: Tenant, config: pathlib.Path) -> None:
        """Of each role credentials are read."""
        said = told(command("configure", *flags(teams, role=None, roles=f"{teams.role}-*"), "--yes", "--read"))

        assert [f"read aws/creds/{teams.role}-{name}: " in said for name in "ab"] == [True, True]

    def test_several_where_the_first_costs_the_token(
        self, command: Run, scripted: ScriptedServer, config: pathlib.Path
    ) -> None:
        """Where an IAM user can be given back with the token alone, the others are not read, and that is told."""
        scripted.on(
            "POST", "auth/approle/login", reply(200, {"auth": {"client_token": "hvs.x", "lease_duration": 600}})
        )
        scripted.on("LIST", "aws/roles", reply(200, {"data": {"keys": ["a", "b"]}}))
        scripted.on("GET", "aws/roles?list=true", reply(200, {"data": {"keys": ["a", "b"]}}))
        keys = {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMI", "security_token": None}
        body = {"lease_id": "aws/creds/a/1", "lease_duration": 600, "data": keys}
        scripted.on("GET", "aws/creds/a", reply(200, body))
        scripted.on("POST", "sys/leases/revoke", reply(403, {"errors": ["permission denied"]}))
        scripted.on("POST", "auth/token/revoke-self", reply(204, None))
        words = (f"--vault-addr={scripted.address}", "--role-id=x", "--auth=approle", "--roles=*", "--yes", "--read")
        said = told(command("configure", *words))

        assert "aws/creds/b was not read: the token of the login was revoked to give back what was read before" in said
        assert config.read_text().count("[profile ") == 2

    def test_sts(self, command: Run, tenant: Tenant, config: pathlib.Path, cloud: aws.LocalAWS) -> None:
        """It says whose the keys are, by STS, and that nobody can take them back."""
        said = told(
            command("configure", "--profile=webapp", *flags(tenant), "--yes", "--read", AWS_ENDPOINT_URL=cloud.endpoint)
        )

        assert f"read aws/creds/{tenant.role}: keys of arn:aws:sts::{aws.ACCOUNT}:assumed-role/{aws.ROLE}/" in said
        assert "STS credentials cannot be revoked by anyone" in said
        assert "ASIA" not in said

    @pytest.mark.parametrize(
        ("lease", "token", "outcome"),
        [
            (204, 204, "its lease was revoked, and the user with it"),
            (403, 204, "its token was revoked, and the user with it"),
            (403, 403, "and the token may not revoke it: it lives until "),
        ],
    )
    def test_iam_user_is_given_back(
        self, command: Run, scripted: ScriptedServer, config: pathlib.Path, lease: int, token: int, outcome: str
    ) -> None:
        """The user that the read made is ended by its lease, else by its token; else it says how long it lives."""
        answers: dict[int, Any] = {204: None, 403: {"errors": ["permission denied"]}}
        scripted.on(
            "POST", "auth/approle/login", reply(200, {"auth": {"client_token": "hvs.x", "lease_duration": 600}})
        )
        keys = {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMI", "security_token": None}
        body = {"lease_id": "aws/creds/webapp/1", "lease_duration": 600, "data": keys}
        scripted.on("GET", "aws/creds/webapp", reply(200, body))
        scripted.on("POST", "sys/leases/revoke", reply(lease, answers[lease]))
        scripted.on("POST", "auth/token/revoke-self", reply(token, answers[token]))
        said = told(
            command(
                *("configure", "--profile=webapp", f"--vault-addr={scripted.address}", "--role-id=x", "--role=webapp"),
                *("--auth=approle", "--yes", "--read"),
            )
        )

        assert "the read made an IAM user in AWS" in said
        assert outcome in said
        assert "wJalr" not in said
        assert "vault_aws_role = webapp" in config.read_text()

    @pytest.mark.real_engine
    @pytest.mark.parametrize("may_revoke", [True, False])
    def test_iam_user_is_gone(
        self,
        command: Run,
        laboratory: Laboratory,
        clean_environment: pathlib.Path,
        config: pathlib.Path,
        cloud: aws.LocalAWS,
        may_revoke: bool,
    ) -> None:
        """The user that the read made in AWS is there no more, whether the policy lets the lease be revoked or not."""
        user = new_tenant(laboratory, clean_environment)
        laboratory.iam_user(user.role)
        revoke = 'path "sys/leases/revoke" { capabilities = ["update"] }\n' if may_revoke else ""
        laboratory.allow(user.role, READ_POLICY.format(mount="aws", endpoint="creds", role=user.role) + revoke)
        before = users(cloud)
        said = told(command("configure", "--profile=webapp", *flags(user), "--yes", "--read"))

        assert f"its {'lease' if may_revoke else 'token'} was revoked, and the user with it" in said
        assert ": keys of a new IAM user; they live until " in said
        assert users(cloud) == before
        document(command("get", "--profile=webapp", "--probe=off"))
        assert len(users(cloud) - before) == 1
