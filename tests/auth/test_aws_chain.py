"""The AWS credentials that sign a login: where they come from, and that no chain leads back to us."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse
from typing import Any

import boto3
import pytest

import vault_credential_process
from vault_credential_process import auth
from vault_credential_process.auth import aws_chain
from vault_credential_process.demo import aws
from vault_credential_process.demo.server import free_port
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.expiry import Deadline
from vault_credential_process.profiles import Profile
from vault_credential_process.provider import uninstall
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply, silence
from vault_credential_process.vault import Vault

from ..bench import READ
from ..conftest import COMMAND, Run
from .methods import log_in
from .signers import (
    EXAMPLE,
    KEYS,
    LOGIN,
    OURS,
    WEB_IDENTITY,
    caller,
    export,
    files,
    in_an_hour,
    instance_metadata,
    metadata_answer,
    new_user,
    section,
    sent,
)

__all__ = ["files"]


class TestSource:
    """Whose credentials sign: botocore's chain, without the profile that runs us."""

    def test_environment_goes_before_the_default_profile(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        cloud: aws.LocalAWS,
        monkeypatch: pytest.MonkeyPatch,
        files: pathlib.Path,
    ) -> None:
        """Without a named profile keys of the environment sign, and ``[default]`` where there are none."""
        (first, of_environment), (second, of_default) = new_user(cloud), new_user(cloud)
        (files / "credentials").write_text(section("default", of_default))

        assert caller(cloud, sent(scripted, exchanges)) == second
        export(monkeypatch, of_environment)
        assert caller(cloud, sent(scripted, exchanges)) == first

    def test_named_profile_goes_before_the_environment(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        cloud: aws.LocalAWS,
        monkeypatch: pytest.MonkeyPatch,
        files: pathlib.Path,
    ) -> None:
        """A profile that was named signs whatever is exported, and is read anew at each login."""
        first, keys = new_user(cloud)
        second, others = new_user(cloud)
        export(monkeypatch, EXAMPLE)
        (files / "credentials").write_text(section("base", keys))
        assert caller(cloud, sent(scripted, exchanges, vault_aws_iam_profile="base")) == first
        (files / "credentials").write_text(section("base", others))
        assert caller(cloud, sent(scripted, exchanges, vault_aws_iam_profile="base")) == second

    @pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
    def test_profile_of_the_caller_does_not_leak(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        cloud: aws.LocalAWS,
        monkeypatch: pytest.MonkeyPatch,
        files: pathlib.Path,
        variable: str,
    ) -> None:
        """A program that runs us tells its profile to the environment; the source stays ``[default]``."""
        arn, keys = new_user(cloud)
        (files / "credentials").write_text(section("default", keys) + section("webapp", new_user(cloud)[1]))
        monkeypatch.setenv(variable, "webapp")

        assert caller(cloud, sent(scripted, exchanges)) == arn

    def test_role_of_a_source_profile(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        cloud: aws.LocalAWS,
        monkeypatch: pytest.MonkeyPatch,
        files: pathlib.Path,
    ) -> None:
        """A profile with ``role_arn`` and ``source_profile`` signs as the role."""
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", cloud.endpoint)
        (files / "credentials").write_text(section("base", new_user(cloud, aws.POLICY)[1]))
        (files / "config").write_text(
            f"[profile deploy]\nrole_arn = {aws.ROLE_ARN}\nrole_session_name = it\nsource_profile = base\n"
        )
        arn = caller(cloud, sent(scripted, exchanges, vault_aws_iam_profile="deploy"))

        assert arn == f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/{aws.ROLE}/it"

    def test_web_identity_of_the_environment(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        cloud: aws.LocalAWS,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: pathlib.Path,
    ) -> None:
        """In EKS the role of the service account signs; nothing need name the method but a role for Vault."""
        token = tmp_path / "token"
        token.write_text("eyJ.e30.x")
        issued = cloud.assume_role(name="pod")
        with ScriptedServer() as sts:
            sts.otherwise = reply(200, WEB_IDENTITY.format(**issued, ends=in_an_hour()).encode())
            export(
                monkeypatch,
                {
                    "AWS_ENDPOINT_URL_STS": sts.address,
                    "AWS_ROLE_ARN": aws.ROLE_ARN,
                    "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
                },
            )
            scripted.on("POST", LOGIN, replay(exchanges["aws_iam_login"]))
            log_in(scripted.address, {"vault_auth_role": "app"}, os.environ)
            asked = dict(urllib.parse.parse_qsl(sts.requests[0].body.decode()))
        body = scripted.requests[-1].json

        assert caller(cloud, body) == f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/{aws.ROLE}/pod"
        assert body["role"] == "app"
        assert (asked["RoleArn"], asked["WebIdentityToken"]) == (aws.ROLE_ARN, "eyJ.e30.x")

    def test_container(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        cloud: aws.LocalAWS,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """In ECS the role of the task signs."""
        with ScriptedServer() as container:
            container.otherwise = metadata_answer(cloud.assume_role(name="task"))
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{container.address}/credentials")
            arn = caller(cloud, sent(scripted, exchanges))

        assert arn == f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/{aws.ROLE}/task"

    @pytest.mark.parametrize("disabled", [False, True])
    def test_instance(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        cloud: aws.LocalAWS,
        monkeypatch: pytest.MonkeyPatch,
        disabled: bool,
    ) -> None:
        """On EC2 the role of the instance signs; where the metadata service is switched off nobody asks it."""
        with ScriptedServer() as imds:
            imds.otherwise = instance_metadata(cloud.assume_role(name="i-0abc"))
            monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.address)
            monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", str(disabled).lower())
            if disabled:
                with pytest.raises(AuthenticationError, match="no AWS credentials to log in with"):
                    sent(scripted, exchanges)
                assert imds.requests == []
            else:
                arn = caller(cloud, sent(scripted, exchanges))
                assert arn == f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/{aws.ROLE}/i-0abc"
                assert imds.requests[0].method == "PUT"

    @pytest.mark.parametrize("link", [False, True], ids=["itself", "by source_profile"])
    def test_helper_of_another_program(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        cloud: aws.LocalAWS,
        monkeypatch: pytest.MonkeyPatch,
        files: pathlib.Path,
        link: bool,
    ) -> None:
        """A source may have a ``credential_process`` of its own; that is not told which profile runs us."""
        keys = new_user(cloud, aws.POLICY)[1]
        printed = {
            "Version": 1,
            "AccessKeyId": keys["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": keys["AWS_SECRET_ACCESS_KEY"],
        }
        helper = files / "helper"
        helper.write_text(f"#!/bin/sh\nenv > {files}/told\necho '{json.dumps(printed)}'\n")
        helper.chmod(0o755)
        config = f"[profile base]\ncredential_process = {helper}\n"
        if link:
            config += f"[profile deploy]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = base\n"
        (files / "config").write_text(config)
        export(monkeypatch, {"AWS_PROFILE": "webapp", "AWS_ENDPOINT_URL_STS": cloud.endpoint})
        arn = caller(cloud, sent(scripted, exchanges, vault_aws_iam_profile="deploy" if link else "base"))
        told = (files / "told").read_text()

        assert ("assumed-role" in arn) is link
        assert "AWS_PROFILE" not in told
        assert "VAULT_AWS_IAM_NESTED=1" in told

    def test_helper_has_no_input(self, scripted: ScriptedServer, files: pathlib.Path) -> None:
        """What lies on our stdin is nobody's to read: a helper that asks finds the end."""
        helper = files / "helper"
        helper.write_text(f"#!/bin/sh\nread -r word && echo $word > {files}/typed\nexit 1\n")
        helper.chmod(0o755)
        (files / "config").write_text(
            f"[profile base]\ncredential_process = {helper}\n[profile webapp]\nvault_addr = {scripted.address}\n"
            "vault_auth_method = aws-iam\nvault_aws_iam_profile = base\nvault_aws_role = webapp\n"
        )
        done = subprocess.run(
            [*OURS.split(), "webapp"], input="typed\n", capture_output=True, text=True, timeout=60, check=False
        )

        assert done.returncode == 3, done.stderr
        assert not (files / "typed").exists()

    def test_program_with_our_provider_logs_in_once(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        cloud: aws.LocalAWS,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """``install()`` and an exported role would let our own provider answer the chain: it is not asked."""
        arn, keys = new_user(cloud)
        with ScriptedServer() as container:
            issued = {"AccessKeyId": keys["AWS_ACCESS_KEY_ID"], "SecretAccessKey": keys["AWS_SECRET_ACCESS_KEY"]}
            container.otherwise = metadata_answer({**issued, "SessionToken": ""})
            scripted.on("POST", LOGIN, replay(exchanges["aws_iam_login"]))
            scripted.on("GET", READ, replay(exchanges["creds_assumed_role"]))
            export(
                monkeypatch,
                {
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{container.address}/credentials",
                    "VAULT_ADDR": scripted.address,
                    "VAULT_AUTH_METHOD": "aws-iam",
                    "VAULT_AWS_ROLE": "webapp",
                },
            )
            vault_credential_process.install()
            try:
                credentials = boto3.session.Session().get_credentials()
            finally:
                uninstall()

        assert credentials is not None
        assert credentials.method == "vault"
        assert scripted.asked("POST", LOGIN) == 1
        assert caller(cloud, scripted.requests[0].json) == arn


class TestNoRecursion:
    """A source that leads back to us is refused, or left out where nobody named it."""

    @pytest.mark.parametrize(
        ("config", "named", "message"),
        [
            ("", "webapp", "[profile webapp] gets its"),
            ("[profile base]\nvault_aws_role = x\n", "base", "[profile base] gets its"),
            (f"[profile base]\ncredential_process = {OURS} base\n", "base", "[profile base] gets its"),
            (
                "[profile base]\ncredential_process = /opt/vcp/bin/vault-credential-process get --profile base\n",
                "base",
                "[profile base] gets its",
            ),
            (
                "[profile base]\ncredential_process = 'C:\\vcp\\vault-credential-process.exe' get\n",
                "base",
                "[profile base] gets its",
            ),
            (
                f"[profile base]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = webapp\n",
                "base",
                "[profile base] leads to [profile webapp], which gets its",
            ),
            (
                (
                    f"[profile base]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = middle\n"
                    f"[profile middle]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = default\n"
                    "[default]\nvault_aws_role = x\n"
                ),
                "base",
                "[profile base] leads to [default], which gets its",
            ),
        ],
    )
    def test_named_source_that_leads_back_is_refused(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        files: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        config: str,
        named: str,
        message: str,
    ) -> None:
        """The running profile, one of ours, and one that leads there by links: one line, and nothing is sent."""
        export(monkeypatch, EXAMPLE)
        (files / "config").write_text(f"[profile webapp]\nvault_aws_role = webapp\n{config}")
        with pytest.raises(ConfigurationError) as caught:
            sent(scripted, exchanges, vault_aws_iam_profile=named)

        assert str(caught.value) == (
            f"vault_aws_iam_profile: {message} credentials from vault-credential-process; name one that gets them "
            "elsewhere (from vault_aws_iam_profile in [profile webapp])"
        )
        assert scripted.requests == []

    def test_source_of_a_similar_name_is_not_refused(
        self, scripted: ScriptedServer, exchanges: dict[str, Any], files: pathlib.Path, cloud: aws.LocalAWS
    ) -> None:
        """A profile of somebody else that only has ``source_profile``, or a helper with a longer name, is a source."""
        arn, keys = new_user(cloud)
        printed = {
            "Version": 1,
            "AccessKeyId": keys["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": keys["AWS_SECRET_ACCESS_KEY"],
        }
        helper = files / "not-vault-credential-process"
        helper.write_text(f"#!/bin/sh\necho '{json.dumps(printed)}'\n")
        helper.chmod(0o755)
        (files / "config").write_text(f"[profile base]\nsource_profile = webapp\ncredential_process = {helper}\n")

        assert caller(cloud, sent(scripted, exchanges, vault_aws_iam_profile="base")) == arn

    @pytest.mark.parametrize(
        ("running", "config"),
        [
            ("default", "[default]\nvault_aws_role = webapp\n"),
            ("default", f"[default]\ncredential_process = {OURS} default\n"),
            ("webapp", "[default]\nvault_aws_role = other\n"),
            ("webapp", f"[default]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = webapp\n"),
        ],
    )
    def test_default_profile_that_leads_back_is_left_out(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        cloud: aws.LocalAWS,
        files: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        running: str,
        config: str,
    ) -> None:
        """Where nobody named a source, the files are passed over; the environment still signs."""
        (files / "config").write_text(config)
        (files / "credentials").write_text(section("default", EXAMPLE))
        scripted.on("POST", LOGIN, replay(exchanges["aws_iam_login"]))
        given = {"vault_addr": scripted.address, **KEYS}

        def log_in_as(profile: str) -> None:
            configuration = auth.configure(given, os.environ, Profile(profile, {}))
            with Vault(configuration, Deadline(20)) as vault:
                auth.login(auth.choose(configuration), vault)

        with pytest.raises(AuthenticationError) as caught:
            log_in_as(running)
        assert str(caught.value) == (
            "no AWS credentials to log in with: neither the environment nor a container nor an instance has any, and "
            "[default] gets its own from vault-credential-process; name a profile that has some in "
            "vault_aws_iam_profile"
        )
        assert scripted.requests == []

        arn, keys = new_user(cloud)
        export(monkeypatch, keys)
        log_in_as(running)
        assert caller(cloud, scripted.requests[-1].json) == arn

    def test_program_that_leads_back_is_stopped(
        self,
        scripted: ScriptedServer,
        files: pathlib.Path,
        run: Run,
    ) -> None:
        """A helper whose name tells nothing, and which runs us again, ends in one line, not in a thousand processes."""
        helper = files / "wrapper"
        helper.write_text(f"#!/bin/sh\necho run >> {files}/runs\nexec {OURS} webapp 2>> {files}/told\n")
        helper.chmod(0o755)
        (files / "config").write_text(
            f"[profile base]\ncredential_process = {helper}\n[profile webapp]\nvault_addr = {scripted.address}\n"
            "vault_auth_method = aws-iam\nvault_aws_iam_profile = base\nvault_aws_role = webapp\n"
            "vault_aws_cache = none\n"
        )
        done = run(*COMMAND.split(), "get", "--profile", "webapp")

        assert (done.returncode, done.stdout) == (3, "")
        assert "the AWS credentials of [profile base] cannot be had: CredentialRetrievalError; " in done.stderr
        assert (files / "runs").read_text() == "run\n"
        assert (
            "this login was started by a program that gets the AWS credentials of another one"
            in (files / "told").read_text()
        )
        assert scripted.requests == []


class TestTrouble:
    """Credentials that cannot be had: one line, in the class that fits, with the next step."""

    @pytest.mark.parametrize(
        ("config", "environ", "named", "kind", "message"),
        [
            (
                "",
                {},
                None,
                AuthenticationError,
                (
                    "no AWS credentials to log in with: neither the environment nor [default] nor a container nor an "
                    "instance has any; name a profile that has some in vault_aws_iam_profile"
                ),
            ),
            (
                "[profile base]\nregion = eu-central-1\n",
                EXAMPLE,
                "base",
                AuthenticationError,
                (
                    "no AWS credentials to log in with: [profile base] has none; name a profile that has some in "
                    "vault_aws_iam_profile"
                ),
            ),
            (
                "",
                {},
                "base",
                ConfigurationError,
                (
                    "vault_aws_iam_profile: [profile base] is in no config or credentials file of AWS; check the "
                    "name (from vault_aws_iam_profile in [profile webapp])"
                ),
            ),
            (
                "",
                {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"},
                None,
                ConfigurationError,
                (
                    "the AWS credentials of the default chain: Partial credentials found in env, missing: "
                    "AWS_SECRET_ACCESS_KEY; mend the profile, or the variables of AWS"
                ),
            ),
            (
                f"[profile base]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = gone\n",
                {},
                "base",
                ConfigurationError,
                (
                    'the AWS credentials of [profile base]: The source_profile "gone" referenced in the profile '
                    '"base" does not exist.; mend the profile, or the variables of AWS'
                ),
            ),
            (
                (
                    f"[profile base]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = base\n"
                    "mfa_serial = arn:aws:iam::1:mfa/x\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n"
                    "aws_secret_access_key = x\n"
                ),
                {},
                "base",
                ConfigurationError,
                (
                    "vault_aws_iam_profile: [profile base] wants an MFA code (mfa_serial), and nobody is asked at a "
                    "login to Vault; name a profile without one"
                ),
            ),
            (
                "[profile base]\ncredential_process = /no/such/program\n",
                {},
                "base",
                AuthenticationError,
                (
                    "the AWS credentials of [profile base] cannot be had: FileNotFoundError; aws "
                    "sts get-caller-identity --profile base shows more"
                ),
            ),
            (
                f"[profile base]\ncredential_process = {sys.executable} -c \"import sys; sys.exit('canary')\"\n",
                {},
                "base",
                AuthenticationError,
                (
                    "the AWS credentials of [profile base] cannot be had: CredentialRetrievalError; aws sts "
                    "get-caller-identity --profile base shows more"
                ),
            ),
        ],
    )
    def test_source_without_credentials_says_what_to_do(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        files: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        config: str,
        environ: dict[str, str],
        named: str | None,
        kind: type[VaultCredentialError],
        message: str,
    ) -> None:
        """Absent, misnamed, half and failing sources; a failing program's words are not repeated."""
        (files / "config").write_text(config)
        export(monkeypatch, environ)
        with pytest.raises(kind) as caught:
            sent(scripted, exchanges, **({"vault_aws_iam_profile": named} if named else {}))

        assert type(caught.value) is kind
        assert str(caught.value) == message
        assert scripted.requests == []

    def test_role_that_may_not_be_assumed(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        cloud: aws.LocalAWS,
        files: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """AWS's own words are shown where a source may not assume its role."""
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", cloud.endpoint)
        (files / "credentials").write_text(section("base", new_user(cloud)[1]))
        (files / "config").write_text(f"[profile deploy]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = base\n")

        with pytest.raises(AuthenticationError, match=r"\[profile deploy\] cannot be had: An error .*AccessDenied"):
            sent(scripted, exchanges, vault_aws_iam_profile="deploy")

    def test_command_says_it_in_one_line(self, cloud: aws.LocalAWS, files: pathlib.Path, run: Run) -> None:
        """A refresh that failed makes botocore warn, with a traceback; stderr has our line and no more."""
        (files / "credentials").write_text(section("base", new_user(cloud)[1]))
        (files / "config").write_text(
            f"[profile deploy]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = base\n"
            "[profile webapp]\nvault_auth_method = aws-iam\nvault_aws_iam_profile = deploy\nvault_aws_role = webapp\n"
        )
        done = run(*OURS.split(), "webapp", AWS_ENDPOINT_URL_STS=cloud.endpoint)

        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith(
            "vault-credential-process: the AWS credentials of [profile deploy] cannot be had: "
        )
        assert done.stderr.endswith("; aws sts get-caller-identity --profile deploy shows more\n")
        assert done.stderr.count("\n") == 1

    def test_sts_that_is_away(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        files: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """AWS that does not answer is not a wrong source."""
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{free_port()}")
        (files / "credentials").write_text(section("base", EXAMPLE))
        (files / "config").write_text(f"[profile deploy]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = base\n")

        with pytest.raises(UnreachableError, match=r"AWS does not answer \(Could not connect to the endpoint URL"):
            sent(scripted, exchanges, vault_aws_iam_profile="deploy")

    @pytest.mark.parametrize("kind", ["program", "container"])
    def test_chain_ends_before_the_deadline(
        self,
        scripted: ScriptedServer,
        files: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        kind: str,
    ) -> None:
        """A program or a service that keeps silent costs no more than the call may take, and the program is ended."""
        with ScriptedServer() as container:
            container.otherwise = silence(30)
            if kind == "program":
                pid = files / "pid"
                helper = files / "helper"
                helper.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec sleep 60\n")
                helper.chmod(0o755)
                (files / "config").write_text(f"[default]\ncredential_process = {helper}\n")
            else:
                monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{container.address}/credentials")
            configuration = auth.configure(
                {"vault_addr": scripted.address, **KEYS, "vault_auth_role": "x"}, os.environ, Profile("webapp", {})
            )
            began = time.monotonic()
            with Vault(configuration, Deadline(3)) as vault, pytest.raises(DeadlineError) as caught:
                auth.login(auth.choose(configuration), vault)

        assert time.monotonic() - began < 3
        assert re.fullmatch(
            r"the AWS credentials of the default chain did not come within 2\.\d* s; see what aws sts "
            "get-caller-identity waits for, or raise vault_aws_timeout",
            str(caught.value),
        )
        if kind == "program":
            limit = time.monotonic() + 5
            while (pathlib.Path("/proc") / pid.read_text().strip()).exists() and time.monotonic() < limit:
                time.sleep(0.02)
            assert not (pathlib.Path("/proc") / pid.read_text().strip()).exists()

    @pytest.mark.parametrize("builder", [True, False])
    def test_programs_of_the_chain_are_started_by_us(self, monkeypatch: pytest.MonkeyPatch, builder: bool) -> None:
        """The names that botocore keeps to itself are still those that the chain is changed by."""
        session = aws_chain._session(None)
        resolver = aws_chain.botocore.credentials.create_credential_resolver(session)
        started = object()
        aws_chain._run_with(resolver, started)  # type: ignore[arg-type]
        providers = resolver.providers
        if builder:
            (assume_role,) = (p for p in providers if p.METHOD == "assume-role")
            providers = assume_role._profile_provider_builder.providers(profile_name="base", disable_env_vars=True)
        (process,) = (p for p in providers if p.METHOD == "custom-process")

        assert process._popen is started
