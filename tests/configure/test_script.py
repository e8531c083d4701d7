"""``configure`` in a script: all is told by flags, and nobody is asked."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import shlex
import sys
import time
import uuid

import pytest

from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory

from ..auth.tokens import Signer
from ..conftest import Run, Tenant, new_tenant
from ..pages import commands_of
from ..test_command import document, refusal
from .newcomer import LIST, SCRIPT, flags, listed, refused, tokens, told


class TestScript:
    """With flags, and nobody to ask."""

    @pytest.mark.system
    def test_profile_works(
        self, command: Run, run: Run, aws_program: str, tenant: Tenant, config: pathlib.Path, cloud: aws.LocalAWS
    ) -> None:
        """What it writes serves the real ``aws`` command, and it says what to do next."""
        said = told(command("configure", "--profile=webapp", *flags(tenant), "--yes"))

        assert f"logged in to {tenant.laboratory.server.address} by approle, policies " in said
        assert f"wrote [profile webapp] to {config}\n" in said
        assert "next: aws --profile webapp s3 ls\nnext: vault-credential-process doctor --profile webapp\n" in said
        done = run(aws_program, "--profile", "webapp", "s3", "ls", AWS_ENDPOINT_URL=cloud.endpoint)
        assert aws.BUCKET in told(done)

    def test_text(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """The profile is whole: the absolute path of the command, the address, the method, the role; no secret."""
        told(command("configure", "--profile=webapp", *flags(tenant), "--yes"))

        assert config.read_text() == (
            "# begin vault-credential-process configure\n[profile webapp]\nregion = us-east-1\n"
            f"credential_process = {SCRIPT} get --profile webapp\n"
            f"vault_addr = {tenant.laboratory.server.address}\nvault_auth_method = approle\n"
            f"vault_role_id = {tenant.approle['role_id']}\n"
            f"vault_secret_id_file = {tenant.approle['secret_id_file']}\n"
            f"vault_aws_role = {tenant.role}\n# end vault-credential-process configure\n"
        )
        assert (config.stat().st_mode & 0o777, config.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    def test_everything_else_stays(self, command: Run, tenant: Tenant, config: pathlib.Path, old: bytes) -> None:
        """All else is kept to the byte; a second run changes nothing, ``--remove`` undoes it; no secret is shown."""
        said = told(command("configure", "--profile=webapp", *flags(tenant), "--yes"))
        written = config.read_bytes()
        assert written.startswith(old + b"\r\n\r\n")
        assert b"\n" not in written.replace(b"\r\n", b"")
        assert "wJalrXUtnFEMI" not in said
        document(command("get", "--profile=webapp"))

        again = told(command("configure", "--profile=webapp", *flags(tenant), "--yes"))
        assert again.startswith(f"[profile webapp]: nothing to change in {config}\n")
        assert config.read_bytes() == written

        said = told(command("configure", "--profile=webapp", "--remove", "--yes"))
        assert f"took [profile webapp] out of {config}\n" in said
        assert config.read_bytes() == old
        assert len(command("cache", "list").stdout.splitlines()) == 4
        (line,) = commands_of(f"```console\n$ {said.rpartition('next: ')[2]}```\n")
        assert "revoked the Vault token" in told(command(*shlex.split(line)[1:]))
        assert command("cache", "list").stdout.endswith("nothing is held\n")

    def test_change(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """What is not named stays as the profile has it; an empty flag takes a key out; only that is shown."""
        told(command("configure", "--profile=webapp", *flags(tenant), "--ttl=15m", "--yes"))
        with config.open("a") as file:
            file.write("output = json\n")
        before = config.read_text()

        said = told(command("configure", "--profile=webapp", "--ttl=", "--timeout=30s", "--yes"))

        assert config.read_text() == before.replace("vault_aws_ttl = 15m\n", "vault_aws_timeout = 30s\n")
        assert [line for line in said.splitlines() if line.startswith(("+v", "-v"))] == [
            "-vault_aws_ttl = 15m",
            "+vault_aws_timeout = 30s",
        ]
        told(command("configure", "--profile=webapp", "--region=", "--yes"))
        assert config.read_text() == before.replace("vault_aws_ttl = 15m\n", "vault_aws_timeout = 30s\n").replace(
            f"region = {aws.REGION}\n", ""
        )

    def test_other_method_drops_what_the_first_had(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """Settings of another method would make two of one."""
        told(command("configure", "--profile=webapp", *flags(tenant), "--yes"))
        told(command("configure", "--profile=webapp", "--auth=token", "--token-file=~/t", "--no-login", "--yes"))

        text = config.read_text()
        assert "vault_role_id" not in text
        assert "vault_secret_id" not in text
        assert text.count("vault_auth_method = token\n") == 1
        assert f"vault_token_file = {os.environ['HOME']}/t\n" in text

    def test_environment_is_taken_over(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """Where the server is and who logs in is written though only exported; a secret is not."""
        environ = {
            "VAULT_ADDR": tenant.laboratory.server.address,
            "VAULT_ROLE_ID": tenant.approle["role_id"],
            "VAULT_SECRET_ID": tenant.approle["secret_id"],
            "VAULT_AWS_ROLE": tenant.role,
            "VAULT_AWS_TTL": "20m",
            "AWS_REGION": "eu-central-1",
        }
        said = told(command("configure", "--profile=webapp", "--yes", **environ))

        text = config.read_text()
        assert tenant.approle["secret_id"] not in text + said
        assert f"vault_addr = {environ['VAULT_ADDR']}\nvault_auth_method = approle\n" in text
        assert "region = eu-central-1\n" in text
        assert "ttl" not in text
        assert "\nwarning: no file has VAULT_SECRET_ID: it must be set wherever the profile is used\n" in said
        document(command("get", "--profile=webapp", VAULT_SECRET_ID=environ["VAULT_SECRET_ID"]))

    def test_change_needs_no_other_login(
        self, command: Run, laboratory: Laboratory, config: pathlib.Path, clean_environment: pathlib.Path
    ) -> None:
        """Where the login stays as it is, the token that is kept serves: a Secret ID may be good for one login only."""
        once = new_tenant(laboratory, clean_environment, secret_id_num_uses=1)
        laboratory.assumed_role(once.role)
        told(command("configure", "--profile=webapp", *flags(once), "--yes"))

        said = told(command("configure", "--profile=webapp", "--timeout=30s", "--yes"))
        assert f"still logged in to {laboratory.server.address} by approle" in said
        document(command("get", "--profile=webapp"))
        assert "login refused" in refusal(command("configure", "--profile=webapp", "--auth-mount=approle2", "--yes"), 3)

    def test_dry_run(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """The difference is shown and nothing is written, no token left."""
        before = tokens(tenant.laboratory)
        said = told(command("configure", "--profile=webapp", *flags(tenant), "--dry-run"))

        assert f"+vault_aws_role = {tenant.role}\n" in said
        assert said.endswith("nothing was written\n")
        assert not config.exists()
        assert tokens(tenant.laboratory) == before

    def test_token_serves_the_next_call(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """The login that was tried is the one that ``get`` goes on with."""
        told(command("configure", "--profile=webapp", *flags(tenant), "--yes"))
        before = tokens(tenant.laboratory)
        document(command("get", "--profile=webapp"))

        assert tokens(tenant.laboratory) == before

    def test_token_of_another_profile_stays(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """A token that is kept for the same login, on which IAM users may live, is neither replaced nor revoked."""
        told(command("configure", "--profile=webapp", *flags(tenant), "--yes"))
        before = tokens(tenant.laboratory)
        (kept,) = command("cache", "list").stdout.splitlines()[2:]

        said = told(command("configure", "--profile=other", *flags(tenant), "--dry-run"))
        assert "\nlogged in to" in f"\n{said}"
        told(command("configure", "--profile=other", *flags(tenant), "--yes"))

        assert command("cache", "list").stdout.splitlines()[2:] == [kept]
        assert tokens(tenant.laboratory) == before
        document(command("get", "--profile=other"))
        assert tokens(tenant.laboratory) == before

    def test_token_that_vault_has_forgotten(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """A token that is kept, but has been revoked since, is not taken for a login: there is another one."""
        words = ("configure", "--profile=webapp", *flags(tenant))
        told(command(*words, "--yes"))
        server = tenant.laboratory.server
        accessors = server.call("LIST", "auth/token/accessors")["data"]["keys"]
        for accessor in accessors:
            found = server.call("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]
            if tenant.role in found["policies"]:
                server.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})

        said = told(command("configure", "--profile=webapp", "--timeout=30s", "--yes"))
        assert "still logged in" not in said
        before = tokens(tenant.laboratory)
        document(command("get", "--profile=webapp"))
        assert tokens(tenant.laboratory) == before

    @pytest.mark.parametrize(
        ("arguments", "code", "reason"),
        [
            ([], 2, "profile: missing (set --profile or AWS_PROFILE)"),
            (["--profile=a b"], 2, "--profile: 'a b' cannot be the name of a profile here"),
            (["--profile=x", "--vault-addr="], 2, "vault_addr: missing (set --vault-addr, vault_addr in [profile x]"),
            (["--profile=x", "--auth=approle", "--role-id="], 2, "vault_role_id: missing (set --role-id, "),
            (["--profile=x", "--role="], 2, "vault_aws_role: missing (set --role, vault_aws_role in [profile x]"),
            (
                ["--profile=x", "--auth=approle", "--secret-id-file=/a #b"],
                2,
                "vault_secret_id_file: has a # or ; at its beginning",
            ),
            (["--profile=x", "--secret-id-file=/nowhere"], 2, "vault_secret_id_file: /nowhere: No such file"),
            (["--profile=x"], 5, "http://127.0.0.1:1: connection refused"),
            (["--profile=x", "--vault-addr=nonsense"], 2, "vault_addr: 'nonsense' is not an address"),
            (["--profile=x", "--region=a ;c"], 2, "--region: has a # or ;"),
            (["--profile=x", "--no-login", "--read"], 2, "--no-login: --read needs a login"),
            (["--profile=x", "--name=y"], 2, "--name: names the profiles of --roles"),
            (["--profile=x", "--roles=*"], 2, "--roles: --role names a single one"),
            (["--profile=x", "--remove", "--roles=*", "--role="], 2, "--remove: takes out one profile"),
            (["--profile=x", "--remove"], 2, "[profile x] cannot be taken out of "),
        ],
    )
    def test_refusals(self, command: Run, config: pathlib.Path, arguments: list[str], code: int, reason: str) -> None:
        """What is missing or wrong is told in one line that names the flag; nothing is written."""
        given = ("--vault-addr=http://127.0.0.1:1", "--role-id=x", "--role=webapp", "--max-retries=0")
        done = command("configure", *given, *arguments, "--yes")

        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert reason in done.stderr
        assert not config.exists()

    def test_without_yes(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """Where nobody can be asked nothing is written unless that was said before; Vault is not even asked."""
        before = tokens(tenant.laboratory)

        assert "no terminal to ask on; add --yes to write without a question, or --dry-run" in refusal(
            command("configure", "--profile=webapp", *flags(tenant)), 2
        )
        assert not config.exists()
        assert tokens(tenant.laboratory) == before

    def test_own_token_is_not_taken_unasked(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """The token of whoever runs it must not become that of an application."""
        address = f"--vault-addr={tenant.laboratory.server.address}"
        token = {"VAULT_TOKEN": tenant.laboratory.server.root_token}
        listed(tenant.laboratory, tenant.role)
        arguments = ("configure", "--profile=webapp", address, f"--role={tenant.role}", "--yes")

        assert "vault_auth_method: missing (set --auth, " in refusal(command(*arguments, **token), 2)
        said = told(command(*arguments, "--auth=token", **token))
        assert "by token, policies root" in said
        assert token["VAULT_TOKEN"] not in config.read_text() + said

    def test_wrong_secret(self, command: Run, tenant: Tenant, config: pathlib.Path, tmp_path: pathlib.Path) -> None:
        """A refused login ends with its code, and the file stays away."""
        secret = tmp_path / "secret-id"
        secret.write_text("wrong\n")
        secret.chmod(0o600)

        assert "login refused: invalid role or secret ID" in refusal(
            command("configure", "--profile=webapp", *flags(tenant, secret_id_file=str(secret)), "--yes"), 3
        )
        assert not config.exists()

    def test_no_login(self, command: Run, config: pathlib.Path) -> None:
        """Without a login Vault is not asked, which is said."""
        said = told(
            command(
                *("configure", "--profile=w", "--vault-addr=http://127.0.0.1:1", "--auth=jwt", "--auth-role=ci"),
                *("--role=webapp", "--no-login", "--yes"),
            )
        )
        assert "the login was not tried (--no-login)" in said
        assert "vault_auth_method = jwt\nvault_auth_role = ci\nvault_aws_role = webapp\n" in config.read_text()

    def test_wrong_role_id(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """What is wrong is said to come from where it stands: from a flag, for no file has it yet."""
        words = flags(tenant, role_id="7d0b8e0c-0000-4d5a-9d4c-0c6c1b7f0e11")

        line = refusal(command("configure", "--profile=webapp", *words, "--yes"), 3)

        assert "check vault_role_id (from --role-id)" in line
        assert "in [profile webapp]" not in line

    def test_without_a_region(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """A profile without a region is warned of, unless the environment has one, or somebody wanted none."""
        words = ("configure", "--profile=webapp", *flags(tenant, region=None), "--no-login", "--yes")
        warning = "warning: [profile webapp]: no region, which most services want: add --region, or set AWS_REGION\n"

        assert warning in told(command(*words))
        assert warning in told(command(*words))
        assert "no region" not in told(command(*words, "--region="))
        assert "no region" not in told(command(*words, AWS_DEFAULT_REGION="eu-central-1"))

    def test_role_that_may_be_read(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """Where the policy allows the role and no list, that is told, and nothing alarms."""
        said = told(command("configure", "--profile=webapp", *flags(tenant), "--yes"))

        assert f"the token may read aws/creds/{tenant.role}\n" in said
        assert "may not" not in said
        assert "nobody knows" not in said

    def test_token_that_may_not_ask(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """Where the token may neither list the roles nor ask what it may do, that is told."""
        policy = 'path "sys/capabilities-self" { capabilities = ["deny"] }\n'
        read = READ_POLICY.format(mount="aws", endpoint="creds", role=tenant.role)
        tenant.laboratory.allow(tenant.role, policy + read)

        said = told(command("configure", "--profile=webapp", *flags(tenant), "--yes"))

        assert f"the token may not list aws/roles: nobody knows whether {tenant.role} is there\n" in said

    def test_role_that_is_not_there(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """A role that the token may not read is warned of; where the roles may be listed a missing one is refused."""
        said = told(command("configure", "--profile=webapp", *flags(tenant, role="nothing-here"), "--yes"))
        assert "warning: this token may not read aws/creds/nothing-here: check the name of the role" in said
        config.unlink()
        tenant.laboratory.allow(tenant.role, LIST)
        listed(tenant.laboratory, "another")

        assert "no role 'nothing-here' at mount 'aws'; check vault_aws_role (vault list aws/roles)" in refused(
            command("configure", "--profile=webapp", *flags(tenant, role="nothing-here"), "--yes"), 2
        )
        assert not config.exists()


def test_runs_at_once(run: Run, config: pathlib.Path) -> None:
    """Scripts that write the same file at the same time lose nothing."""
    words = ("--vault-addr=http://127.0.0.1:1", "--auth=token", "--role=x", "--no-login", "--yes")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        command = (sys.executable, "-m", "vault_credential_process", "configure", *words)
        for done in pool.map(lambda n: run(*command, f"--profile=p{n}"), range(4)):
            told(done)

    assert {line for line in config.read_text().splitlines() if line.startswith("[")} == {
        f"[profile p{n}]" for n in range(4)
    }


def test_token_of_a_job(command: Run, tenant: Tenant, config: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A method that takes a role at the login, with the token in a file."""
    signer, mount, server = Signer(), f"jwt-{uuid.uuid4().hex[:6]}", tenant.laboratory.server
    server.call("POST", f"sys/auth/{mount}", {"type": "jwt"})
    server.call("POST", f"auth/{mount}/config", {"jwt_validation_pubkeys": [signer.pem]})
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": [tenant.role]}
    server.call("POST", f"auth/{mount}/role/ci", role)
    token = tmp_path / "token"
    now = int(time.time())
    token.write_text(signer.sign(sub="job", aud="vault", iat=now, nbf=now - 5, exp=now + 600))
    token.chmod(0o600)
    words = flags(tenant, role_id=None, secret_id_file=None, jwt_file=str(token), auth="jwt", auth_mount=mount)

    assert "login refused" in refusal(command("configure", "--profile=webapp", *words, "--auth-role=cd", "--yes"), 3)
    told(command("configure", "--profile=webapp", *words, "--auth-role=ci", "--yes"))

    assert f"vault_auth_mount = {mount}\nvault_auth_role = ci\nvault_jwt_file = {token}\n" in config.read_text()
    document(command("get", "--profile=webapp"))
