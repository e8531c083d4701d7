"""``configure``: the profile that it writes works, and nothing is written unasked or lost."""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import logging
import os
import pathlib
import shlex
import subprocess
import sys
import sysconfig
import termios
import time
import uuid
from typing import Any

import pytest

from vault_credential_process import cli
from vault_credential_process.cli import configure, installed
from vault_credential_process.cli.configure import discovery
from vault_credential_process.config import Config
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory
from vault_credential_process.models import options_of
from vault_credential_process.sources import SERVICE
from vault_credential_process.testing.scripted import ScriptedServer, reply, silence

from .auth.tokens import Signer
from .conftest import ROOT, Run, Tenant, new_tenant
from .desk import PASSWORD, with_users
from .pages import commands_of
from .secret_store import plant
from .test_command import document, refusal
from .test_real_engine import users
from .typist import PATIENCE, Reader

SCRIPT = str(pathlib.Path(sysconfig.get_path("scripts")) / "vault-credential-process")
LIST = 'path "aws/roles" { capabilities = ["list"] }\npath "aws/roles/" { capabilities = ["list"] }\n'


@pytest.fixture
def config(clean_environment: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The AWS config file, which is not there yet."""
    path = clean_environment / ".aws" / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    return path


@pytest.fixture
def old(config: pathlib.Path, cloud: aws.LocalAWS) -> bytes:
    """What is in the AWS config file of somebody who has used AWS for long."""
    content = (
        f"# mine\r\n[default]\r\noutput = json\r\ns3 =\r\n\taddressing_style = path\r\n\r\n[profile other]\r\n"
        f"aws_secret_access_key = wJalrXUtnFEMI\r\nendpoint_url = {cloud.endpoint}"
    ).encode()
    config.parent.mkdir(mode=0o700)
    config.write_bytes(content)
    return content


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process, without a terminal; :class:`TestQuestions` runs it as a program of its own."""
    logger = logging.getLogger("vault_credential_process")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logging, "raiseExceptions", True)

    def start(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch, open(os.devnull, encoding="utf-8") as nothing:
            patch.setattr(sys, "stdin", nothing)
            for name, value in environ.items():
                patch.setenv(name, value)
            code = cli.main(words)
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return start


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


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line of a run that failed after it had told something."""
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stdout + done.stderr
    return done.stderr


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


class TestProfileThatIsThere:
    """A profile that somebody else wrote."""

    TEXT = (
        "[profile webapp]\nregion = us-east-1\noutput = json\nvault_aws_role = old\ncredential_process = /usr/bin/x y\n"
    )

    def test_is_not_changed_unasked(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """It is left alone, by ``--remove`` too; ``--replace`` changes our keys in it and keeps the rest."""
        config.parent.mkdir()
        config.write_text(self.TEXT)
        arguments = ("configure", "--profile=webapp", *flags(tenant), "--yes")

        assert "configure did not write it; --replace changes its" in refused(command(*arguments), 2)
        assert "was not put there by configure" in refused(command(*arguments, "--remove"), 2)
        assert config.read_text() == self.TEXT
        said = told(command(*arguments, "--replace"))

        assert "-credential_process = …\n" in said
        assert (
            f"[profile webapp]\nregion = us-east-1\noutput = json\nvault_aws_role = {tenant.role}\n"
            in config.read_text()
        )
        document(command("get", "--profile=webapp"))
        assert "nothing to change" in told(command(*arguments))

    def test_command_of_somebody_else_is_not_shown(self, command: Run, config: pathlib.Path) -> None:
        """Only a line as ``configure`` writes it is: in another a secret may stand before our command."""
        config.parent.mkdir()
        config.write_text(
            "[profile webapp]\ncredential_process = env VAULT_TOKEN=hvs.CAESI /opt/vault-credential-process get\n"
        )
        said = told(
            command(
                *("configure", "--profile=webapp", "--vault-addr=http://127.0.0.1:1", "--auth=token", "--role=x"),
                *("--no-login", "--yes", "--replace"),
            )
        )

        assert "hvs.CAESI" not in said
        assert f"\n+credential_process = {SCRIPT} get --profile webapp\n" in said

    def test_keys_of_every_section(self, command: Run, config: pathlib.Path) -> None:
        """What ``configparser`` puts into every section is no part of the profile."""
        config.parent.mkdir()
        config.write_text("[DEFAULT]\nregion = us-east-1\nvault_aws_ttl = 1h\n[profile webapp]\noutput = json\n")
        before = config.read_text()
        words = ("--vault-addr=http://127.0.0.1:1", "--auth=token", "--role=x", "--no-login", "--yes", "--replace")
        for name in ("webapp", "other"):
            told(command("configure", f"--profile={name}", *words))
            told(command("configure", f"--profile={name}", "--region=", "--no-login", "--yes", "--replace"))
        assert config.read_text().startswith(before)

    def test_malformed_file_is_left_alone(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """What botocore cannot read is to be mended first."""
        config.parent.mkdir()
        for content in (b"\xef\xbb\xbf[default]\n", b"[default]\n[default]\n", b"[default]\n# \xe9\n", b"x = y\n"):
            config.write_bytes(content)
            assert str(config) in refusal(command("configure", "--profile=webapp", *flags(tenant), "--yes"), 2)
            assert config.read_bytes() == content

    def test_link(self, command: Run, tenant: Tenant, config: pathlib.Path, tmp_path: pathlib.Path) -> None:
        """A config file among somebody's dotfiles is written where it is."""
        real = tmp_path / "dotfiles"
        real.write_text("[default]\n")
        config.parent.mkdir()
        config.symlink_to(real)
        told(command("configure", "--profile=webapp", *flags(tenant), "--yes"))

        assert config.is_symlink()
        assert "[profile webapp]" in real.read_text()


class TestWarnings:
    """What would keep the profile from being used."""

    def test_keys_that_win(self, command: Run, tenant: Tenant, config: pathlib.Path, tmp_path: pathlib.Path) -> None:
        """Keys of the same name in the credentials file, in the environment and in the profile are pointed at."""
        credentials = tmp_path / "credentials"
        credentials.write_text("[webapp]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\ncredential_process = x\n")
        config.parent.mkdir()
        config.write_text("[profile webapp]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\nsso_session = x\n")
        said = told(
            command(
                *("configure", "--profile=webapp", *flags(tenant), "--yes", "--replace"),
                AWS_SHARED_CREDENTIALS_FILE=str(credentials),
                AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE",
            )
        )

        assert f"warning: [webapp] in {credentials} has keys, and they win over the profile: remove them" in said
        assert f"warning: [webapp] in {credentials} has a credential_process, which wins over the profile's" in said
        assert "warning: AWS_ACCESS_KEY_ID is set, and its keys win" in said
        assert "warning: [profile webapp] has keys of its own" in said
        assert "warning: [profile webapp] has sso_session, which wins" in said
        assert "AKIAIOSFODNN7EXAMPLE" not in said


class TestCommandLine:
    """The ``credential_process`` line."""

    def test_is_the_installed_script(self) -> None:
        """It is the console script of this environment, by its absolute path, with the profile."""
        assert installed.command_line("webapp") == f"{SCRIPT} get --profile webapp"

    def test_without_a_script(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no script is installed the interpreter runs the package."""
        monkeypatch.setattr(os, "access", lambda *_: False)

        assert installed.installed() == [sys.executable, "-m", "vault_credential_process"]

    @pytest.mark.parametrize("name", ["a b", "a'b", 'a"b', "a$b", "a`b", "a%b", "a #b", "a ;b"])
    def test_path_is_quoted(self, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
        """A space goes into double quotes, which botocore and ``sh -c`` read alike; what they do not is refused."""
        from botocore.compat import compat_shell_split

        path = tmp_path / name / "vault-credential-process"
        path.parent.mkdir()
        path.write_text('#!/bin/sh\necho "$0" "$@"\n')
        path.chmod(0o755)
        monkeypatch.setattr(installed, "_scripts", lambda: iter([str(path)]))
        if name != "a b":
            with pytest.raises(installed.ConfigurationError, match="SDKs read this in different ways; install "):
                installed.command_line("webapp")
            return
        line = installed.command_line("webapp")

        words = [str(path), "get", "--profile", "webapp"]
        assert compat_shell_split(line) == words
        done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)
        assert done.stdout == " ".join(words) + "\n"

    def test_name_is_quoted(self) -> None:
        """So is the name of a profile, which may have a space in a file that somebody else wrote."""
        assert installed.command_line("my app") == f'{SCRIPT} get --profile "my app"'
        with pytest.raises(installed.ConfigurationError, match="in different ways; give the profile another name"):
            installed.command_line("it's")

    @pytest.mark.parametrize(
        ("path", "word"),
        [("/tmp/x/bin/v", "temporary"), ("/root/.cache/uv/archive-v0/x/bin/v", "a cache"), ("/opt/vcp/bin/v", None)],
    )
    def test_place_that_does_not_last(self, path: str, word: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        """A temporary directory, and the cache of a tool that runs things once, are pointed at."""
        monkeypatch.setattr(installed, "installed", lambda: [path])
        found = list(installed.doubts())

        assert len(found) == (word is not None)
        assert word is None or word in found[0]


@pytest.fixture
def teams(laboratory: Laboratory, clean_environment: pathlib.Path) -> Tenant:
    """Somebody who may list the roles ``<unique>-a``, ``-b`` and read them."""
    name = f"team-{uuid.uuid4().hex[:6]}"
    roles = [f"{name}-a", f"{name}-b"]
    for role in roles:
        listed(laboratory, role)
    hcl = "".join(READ_POLICY.format(mount="aws", endpoint="creds", role=role) for role in roles)
    laboratory.allow(name, hcl + LIST)
    return Tenant(laboratory, name, laboratory.app_role(name, policies=(name,)), clean_environment)


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


class TestPage:
    """``docs/configure.md``."""

    TEXT = (ROOT / "docs" / "configure.md").read_text(encoding="utf-8")

    def test_commands_work(self, command: Run, teams: Tenant, config: pathlib.Path) -> None:
        """Each command, as it stands and in order, ends well; the first one, with questions, is a test of its own."""
        first, *others = commands_of(self.TEXT)
        assert first == "vault-credential-process configure"
        replacing = {
            "https://vault.example.com:8200": teams.laboratory.server.address,
            "7d0b8e0c-2d9c-4d5a-9d4c-0c6c1b7f0e11": teams.approle["role_id"],
            "/etc/webapp/secret-id": teams.approle["secret_id_file"],
            "--role webapp": f"--role {teams.role}-a",
            "team-*": f"{teams.role}-*",
        }
        for line in others:
            typed = functools.reduce(lambda text, pair: text.replace(*pair), replacing.items(), line)
            program, *words = shlex.split(typed)
            assert program == "vault-credential-process"
            told(command(*words))
        assert config.read_text().count("[profile vault-team-") == 2

    def test_all_flags_are_told(self) -> None:
        """Each flag of its own that the command has stands on the page."""
        of_its_own = argparse.ArgumentParser()
        configure.add_options(of_its_own)
        general = {o.flag for o in options_of(Config)} | {"--profile", "--no-cache", "--help"}
        found = {word for action in of_its_own._actions for word in action.option_strings if word.startswith("--")}

        assert {flag for flag in found - general if f"`{flag}" not in self.TEXT} == {"--region"}


class TestQuestions:
    """At a terminal."""

    @pytest.mark.system
    def test_new_user(
        self, run: Run, aws_program: str, teams: Tenant, config: pathlib.Path, cloud: aws.LocalAWS
    ) -> None:
        """Who knows nothing of all this answers a few questions, chooses by numbers, and has a profile that works."""
        with newcomer(VAULT_ADDR="http://127.0.0.1:1") as typist:
            typist.does(Name_of_the_profile="a profile")
            typist.sees("cannot be the name of a profile here")
            typist.does(Name_of_the_profile="webapp", Address_of_Vault="")
            typist.sees("connection refused")
            typist.does(Address_of_Vault=teams.laboratory.server.address, Auth_method="17")
            typist.sees("write a number from 1 to 16, or a name of the list")
            typist.does(Auth_method="1", Mount_point="", Role_ID=teams.approle["role_id"], The_Secret_ID="1")
            typist.does(File=teams.approle["secret_id_file"], Mount_of="")
            typist.sees("Roles:")
            typist.sees("Role: ")
            listed = typist.shown.rpartition("Roles:")[2].splitlines()
            (number,) = (line.split()[0] for line in listed if line.endswith(f"  {teams.role}-b"))
            typist.types(number)
            typist.does(AWS_region=aws.REGION)
            typist.sees(f"+vault_aws_role = {teams.role}-b")
            assert not config.exists()
            typist.does(Write_this="y")
            assert "next: aws --profile webapp s3 ls\n" in told(typist.ends())
        done = run(aws_program, "--profile", "webapp", "s3", "ls", AWS_ENDPOINT_URL=cloud.endpoint)
        assert aws.BUCKET in told(done)

    @pytest.mark.parametrize("end", ["no", "Ctrl-C", "Ctrl-D"])
    def test_nothing_is_left_behind(self, tenant: Tenant, config: pathlib.Path, end: str) -> None:
        """Who says no, or goes away, has no file, and no token of the login that was tried."""
        before = tokens(tenant.laboratory)
        with newcomer("--profile=webapp", *flags(tenant)) as typist:
            typist.sees("Write this? (y/n) [y]: ")
            if end == "no":
                typist.types("n")
            else:
                typist.presses(termios.VINTR if end == "Ctrl-C" else termios.VEOF)
            done = typist.ends()

        assert done.returncode == {"no": 0, "Ctrl-C": 130, "Ctrl-D": 2}[end], done.stderr
        assert not config.parent.exists()
        assert tokens(tenant.laboratory) == before

    def test_goes_although_vault_is_silent(self, scripted: ScriptedServer, config: pathlib.Path) -> None:
        """Who goes away does not wait for a Vault that does not answer any more as long as a login would."""
        scripted.on("POST", "auth/approle/login", reply(200, {"auth": {"client_token": "hvs.x", "lease_duration": 60}}))
        scripted.on("LIST", "aws/roles", reply(403, {"errors": ["permission denied"]}))
        scripted.on("POST", "auth/token/revoke-self", silence(PATIENCE))
        words = (f"--vault-addr={scripted.address}", "--role-id=x", "--auth=approle", "--role=webapp", "--region=")
        scripted.on("GET", "sys/health", reply(200, {"initialized": True, "sealed": False}))
        with newcomer("--profile=webapp", *words) as typist:
            typist.does(The_Secret_ID="6")
            typist.sees("Write this?")
            typist.presses(termios.VINTR)
            began = time.monotonic()
            assert typist.ends().returncode == 130

        assert time.monotonic() - began < discovery.FAREWELL + 10

    def test_wrong_secret_is_asked_for_again(
        self, tenant: Tenant, config: pathlib.Path, tmp_path: pathlib.Path
    ) -> None:
        """A refused login is shown, and the questions of the login come again, with what was answered."""
        wrong = tmp_path / "wrong"
        wrong.write_text("wrong\n")
        wrong.chmod(0o600)
        with newcomer("--profile=webapp", *flags(tenant, role_id=None, secret_id_file=None)) as typist:
            typist.does(Auth_method="approle", Mount_point="", Role_ID=tenant.approle["role_id"], The_Secret_ID="file")
            typist.does(File=str(wrong))
            typist.sees("login refused: invalid role or secret ID")
            typist.does(Answer_the_questions="y", Auth_method="", Mount_point="", Role_ID="", The_Secret_ID="1")
            typist.does(File=tenant.approle["secret_id_file"], Write_this="y")
            told(typist.ends())

        assert f"vault_role_id = {tenant.approle['role_id']}\n" in config.read_text()

    @pytest.mark.parametrize("is_written", [True, False])
    def test_typed_secret_goes_to_the_keyring(
        self,
        command: Run,
        tenant: Tenant,
        config: pathlib.Path,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        is_written: bool,
    ) -> None:
        """A Secret ID that is typed is neither shown nor written to the file; unwritten, it is forgotten again."""
        store = plant(tmp_path, monkeypatch)
        with newcomer("--profile=webapp", *flags(tenant, secret_id_file=None), "--auth=approle") as typist:
            typist.does(The_Secret_ID="4", Name_of_the_entry="")
            typist.answers("Secret to keep as webapp-secret-id: ", tenant.approle["secret_id"])
            typist.does(Write_this="y" if is_written else "n")
            said = told(typist.ends()) + typist.shown

        assert tenant.approle["secret_id"] not in said
        if not is_written:
            assert store.read_text() == "{}"
            return
        assert tenant.approle["secret_id"] not in config.read_text()
        assert "vault_secret_id_keyring = webapp-secret-id\n" in config.read_text()
        document(command("get", "--profile=webapp"))

    def test_entry_that_was_there_is_put_back(
        self, tenant: Tenant, config: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who replaces an entry of the keyring, mistypes the secret, and gives up, has the entry as it was."""
        store = plant(tmp_path, monkeypatch)
        store.write_text(json.dumps({f"{SERVICE}/mine": "of another profile"}))
        with newcomer("--profile=webapp", *flags(tenant, secret_id_file=None), "--auth=approle") as typist:
            typist.does(The_Secret_ID="4", Name_of_the_entry="mine")
            typist.answers("The keyring holds mine already: replace it? (y/n) [n]: ", "y")
            typist.answers("Secret to keep as mine: ", "wrong")
            typist.sees("login refused: invalid role or secret ID")
            typist.does(Answer_the_questions="y", The_Secret_ID="4", Name_of_the_entry="mine")
            typist.answers("Secret to keep as mine: ", tenant.approle["secret_id"])
            typist.does(Write_this="n")
            told(typist.ends())

        assert json.loads(store.read_text()) == {f"{SERVICE}/mine": "of another profile"}

    def test_written_profile_keeps_its_secret(
        self, tenant: Tenant, config: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where nobody can be told that the profile was written, the entry that it names is there all the same."""
        store = plant(tmp_path, monkeypatch)
        with newcomer("--profile=webapp", *flags(tenant, secret_id_file=None), "--auth=approle") as typist:
            typist.does(The_Secret_ID="4", Name_of_the_entry="")
            typist.answers("Secret to keep as webapp-secret-id: ", tenant.approle["secret_id"])
            typist.sees("Write this?")
            process = typist.process
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            typist.types("y")
            assert process.wait(PATIENCE) == 70
            process.stderr.close()

        assert "vault_secret_id_keyring = webapp-secret-id\n" in config.read_text()
        assert tenant.approle["secret_id"] in store.read_text()

    def test_without_a_keyring(self, tenant: Tenant, config: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no keyring can keep what is typed, another way may be chosen; what was answered is not lost."""
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        with newcomer("--profile=webapp", *flags(tenant, secret_id_file=None), "--auth=approle") as typist:
            typist.does(The_Secret_ID="4")
            typist.sees("keyring found no secret store")
            typist.does(The_Secret_ID="1", File=tenant.approle["secret_id_file"], Write_this="y")
            told(typist.ends())

        assert f"vault_secret_id_file = {tenant.approle['secret_id_file']}\n" in config.read_text()

    def test_names_from_a_hostile_server(self, scripted: ScriptedServer, config: pathlib.Path) -> None:
        """What moves the cursor of a terminal, or fills it, or can be nothing's name, is neither shown nor written."""
        engines = {f"{name}/": {"type": "aws"} for name in ("aws", "\x1b]0;x\x07", "m" * 5000)}
        names = [
            "web\x1b[2Japp",
            "r" * 5000,
            "a\u202eb",
            "b\nvault_addr = http://evil",
            "x #y",
            "../sys",
            "team/",
            "webapp",
        ]
        scripted.on("GET", "sys/health", reply(200, {"initialized": True, "sealed": False}))
        scripted.on(
            "POST", "auth/approle/login", reply(200, {"auth": {"client_token": "hvs.x", "policies": ["\x1b[2J"]}})
        )
        scripted.on("GET", "sys/internal/ui/mounts", reply(200, {"data": {"secret": engines}}))
        scripted.on("LIST", "aws/roles", reply(200, {"data": {"keys": names}}))
        scripted.on("LIST", "aws/static-roles", reply(200, {"data": {"keys": 7}}))
        scripted.on("POST", "auth/token/revoke-self", reply(204))
        with newcomer("--profile=webapp", "--region=", f"--vault-addr={scripted.address}", "--role-id=x") as typist:
            typist.does(The_Secret_ID="6", Mount_of="")
            typist.answers("Role [webapp]: ", "1")
            typist.does(Write_this="y")
            done = typist.ends()

        assert typist.shown.rpartition("Roles:")[2].split("Role [")[0].split() == ["1", "webapp"]
        assert "\x1b" not in typist.shown + told(done)
        assert "vault_aws_role = webapp\n# end" in config.read_text()

    def test_person(self, command: Run, laboratory: Laboratory, tenant: Tenant, config: pathlib.Path) -> None:
        """A user types the password once, and ``get`` goes on with the token."""
        with_users(laboratory)
        laboratory.allow("webapp", READ_POLICY.format(mount="aws", endpoint="creds", role=tenant.role))
        address = laboratory.server.address
        with newcomer("--profile=webapp", f"--vault-addr={address}", f"--role={tenant.role}") as typist:
            typist.does(Auth_method="userpass", Mount_point="", User_name="alice", The_password="")
            typist.answers("Password of alice at ", PASSWORD)
            typist.does(AWS_region="-", Write_this="y")
            said = told(typist.ends())

        assert PASSWORD not in said + typist.shown + config.read_text()
        assert "vault_auth_method = userpass\nvault_username = alice\n" in config.read_text()
        assert "vault-credential-process login" not in said
        document(command("get", "--profile=webapp"))

    def test_person_in_a_script(self, command: Run, config: pathlib.Path, laboratory: Laboratory) -> None:
        """Where a login wants somebody, a script writes the profile untried and says how to go on."""
        said = told(
            command(
                *("configure", "--profile=webapp", f"--vault-addr={laboratory.server.address}", "--auth=userpass"),
                *("--username=alice", "--role=webapp", "--yes"),
            )
        )
        assert "the login was not tried: userpass wants somebody at a terminal\n" in said
        assert "next: vault-credential-process login --profile webapp\nnext: aws --profile webapp s3 ls\n" in said
        assert "the login wants somebody; run configure at a terminal" in refused(
            command("configure", "--profile=webapp", "--read", "--yes"), 3
        )

    def test_profile_of_somebody_else(self, tenant: Tenant, config: pathlib.Path) -> None:
        """Before it changes a profile that is there, it asks."""
        config.parent.mkdir()
        config.write_text(TestProfileThatIsThere.TEXT)
        for answer in ("n", "y"):
            with newcomer("--profile=webapp", *flags(tenant)) as typist:
                typist.answers("and keep the rest? (y/n) [n]: ", answer)
                if answer == "y":
                    typist.answers("Write this?", "y")
                told(typist.ends())
            assert (config.read_text() == TestProfileThatIsThere.TEXT) == (answer == "n")

    def test_flags_that_leave_the_method_open(self, tenant: Tenant, config: pathlib.Path) -> None:
        """A user name serves several methods, so it asks which; a role that is not in the list is asked for anew."""
        tenant.laboratory.allow(tenant.role, LIST)
        listed(tenant.laboratory, tenant.role)
        with newcomer(
            *("--profile=webapp", *flags(tenant, role=None, role_id=None, secret_id_file=None), "--username=alice"),
            PYTHONIOENCODING="ascii",
        ) as typist:
            typist.does(Auth_method="approle", Mount_point="", Role_ID=tenant.approle["role_id"], The_Secret_ID="1")
            typist.does(File=tenant.approle["secret_id_file"], Mount_of="", Role__="nothing-here")
            typist.sees("or a name of the list")
            typist.does(Role__=tenant.role, Write_this="y")
            told(typist.ends())

        assert "vault_username" not in config.read_text()

    def test_edit_in_between(self, tenant: Tenant, config: pathlib.Path) -> None:
        """Where the file changes between the difference and the answer, nothing is written over that."""
        with newcomer("--profile=webapp", *flags(tenant)) as typist:
            typist.sees("Write this?")
            config.parent.mkdir()
            config.write_text("[profile other]\n")
            typist.types("y")
            done = typist.ends()

        assert "another program changed it meanwhile; nothing was written: run the command again" in refused(done, 2)
        assert config.read_text() == "[profile other]\n"

    def test_defaults_are_those_of_the_profile(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """Who presses Enter at every question changes nothing."""
        told(command("configure", "--profile=webapp", *flags(tenant), "--yes"))
        with newcomer("--profile=webapp") as typist:
            typist.does(Address_of_Vault="", Auth_method="", Mount_point="", Role_ID="", The_Secret_ID="", File="")
            typist.does(Mount_of="", Role="", AWS_region="")
            assert "[profile webapp]: nothing to change in " in told(typist.ends())

    @pytest.mark.real_engine
    def test_lists_of_the_real_engine(
        self, command: Run, laboratory: Laboratory, clean_environment: pathlib.Path, config: pathlib.Path
    ) -> None:
        """Of two engines one is chosen, of its roles the static one, which OpenBao's engine does not list."""
        name, server, cloud = f"team-{uuid.uuid4().hex[:6]}", laboratory.server, laboratory.cloud
        mount, root = f"{name}/aws", cloud.client("iam", **cloud.engine_keys)
        root.create_user(UserName=name)
        server.call("POST", f"sys/mounts/{mount}", {"type": "aws"})
        try:
            server.call("POST", f"{mount}/config/root", laboratory.root())
            server.call("POST", f"{mount}/roles/webapp", {"credential_type": "assumed_role", "role_arns": aws.ROLE_ARN})
            server.call("POST", f"{mount}/static-roles/batch", {"username": name, "rotation_period": "1h"})
            lists = "".join(
                f'path "{mount}/{kind}" {{ capabilities = ["list"] }}\n' for kind in ("roles", "static-roles")
            )
            reads = [READ_POLICY.format(mount=mount, endpoint="static-creds", role="batch")]
            reads += [READ_POLICY.format(mount="aws", endpoint="creds", role="webapp")]
            laboratory.allow(name, lists + "".join(reads))
            approle = laboratory.app_role(name, policies=(name,))
            tenant = Tenant(laboratory, name, approle, clean_environment)
            with newcomer("--profile=webapp", *flags(tenant, role=None), "--auth=approle") as typist:
                typist.sees("AWS secrets engines:")
                typist.does(Mount=mount)
                typist.sees("The server has no list of static roles; the name of one can be typed.")
                typist.sees("1  webapp")
                typist.answers("Role [webapp]: ", "webap")
                typist.answers("Is webap a static role? (y/n) [n]: ", "")
                typist.answers("Role [webapp]: ", "batch")
                typist.answers("Is batch a static role? (y/n) [n]: ", "y")
                typist.does(Write_this="y")
                said = told(typist.ends())

            assert f"the token may read {mount}/static-creds/batch" in said
            assert f"vault_aws_role = batch\nvault_aws_mount = {mount}\nvault_aws_endpoint = static-creds\n" in (
                config.read_text()
            )
            assert "SessionToken" not in document(command("get", "--profile=webapp"))
            line = refused(command("configure", "--profile=webapp", "--roles=b*", "--yes"), 2)
            assert f"/v1/{mount}/static-roles: the server has no such list; write the profiles one by one" in line
        finally:
            server.call("DELETE", f"sys/mounts/{mount}")

    def test_mounts_and_static_roles(self, scripted: ScriptedServer, config: pathlib.Path) -> None:
        """AWS mounts that the token sees are a choice, and so are static roles, which set their endpoint."""
        engines = {"aws/": {"type": "aws"}, "kv/": {"type": "kv"}, "team/aws/": {"type": "aws"}}
        scripted.on("GET", "sys/health", reply(200, {"initialized": True, "sealed": False, "enterprise": True}))
        scripted.on("POST", "auth/jwt/login", reply(200, {"auth": {"client_token": "hvs.x", "lease_duration": 60}}))
        scripted.on("GET", "sys/internal/ui/mounts", reply(200, {"data": {"secret": engines}}))
        scripted.on("LIST", "team/aws/roles", reply(200, {"data": {"keys": ["webapp"]}}))
        scripted.on("LIST", "team/aws/static-roles", reply(200, {"data": {"keys": ["batch"]}}))
        scripted.on("POST", "auth/token/revoke-self", reply(204))
        token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.x"
        with newcomer("--profile=webapp", "--region=", VAULT_JWT=token) as typist:
            typist.does(Address_of_Vault=scripted.address, Namespace="admin", Auth_method="", Mount_point="jwt")
            typist.does(Role_to_log_in_with="ci", The_JSON_Web_Token="", Mount="2", Role="2", Write_this="y")
            told(typist.ends())

        text = config.read_text()
        assert "vault_namespace = admin\nvault_auth_method = jwt\nvault_auth_role = ci\n" in text
        assert "vault_aws_role = batch\nvault_aws_mount = team/aws\nvault_aws_endpoint = static-creds\n" in text
        assert token not in text + typist.shown
        assert {r.headers.get("x-vault-namespace") for r in scripted.requests if "roles" in r.path} == {"admin"}
