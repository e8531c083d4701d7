"""Unmodified clients that know only a profile: botocore, a boto3 script, role chaining, the real ``aws`` command."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import boto3
import botocore.exceptions
import botocore.session
import pytest

from vault_credential_process.demo import aws
from vault_credential_process.demo import programs as demo_programs
from vault_credential_process.demo.laboratory import Laboratory

from .conftest import COMMAND, Run, Tenant

LIST_BUCKETS = str(pathlib.Path(str(demo_programs.__file__)).with_name("list_buckets.py"))


def write_config(tenant: Tenant, *further: str, **changes: str) -> str:
    """Write the profile ``webapp`` as a user would, with some keys changed, and return the path of the config file."""
    ours = tenant.laboratory.profile("webapp", {**tenant.settings, **changes}, command=COMMAND)
    return str(tenant.write_config(ours, *further))


def chained(laboratory: Laboratory) -> str:
    """Return a profile that assumes another role with the credentials of ``webapp``."""
    return laboratory.profile("chained", {"role_arn": aws.CHAINED_ROLE_ARN, "source_profile": "webapp"})


@pytest.fixture
def session_of(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a maker of botocore sessions for a profile of a tenant's config file."""

    def make(config: str, profile: str = "webapp") -> Any:
        monkeypatch.setenv("AWS_CONFIG_FILE", config)
        monkeypatch.setenv("AWS_ENDPOINT_URL", tenant.laboratory.cloud.endpoint)
        return botocore.session.Session(profile=profile)

    return make


def test_botocore_runs_the_process(session_of: Any, tenant: Tenant) -> None:
    """The ProcessProvider of botocore takes the document, with its expiry and its account, and AWS takes the keys."""
    session = session_of(write_config(tenant))

    credentials = session.get_credentials()

    assert credentials.method == "custom-process"
    assert credentials.get_deferred_property("account_id")() == aws.ACCOUNT
    assert 800 < (credentials._expiry_time.timestamp() - time.time()) <= 900
    assert [bucket["Name"] for bucket in session.create_client("s3").list_buckets()["Buckets"]] == [aws.BUCKET]


def test_botocore_shows_our_line_when_it_fails(session_of: Any, tenant: Tenant) -> None:
    """When the helper fails its one line is what botocore's exception says."""
    session = session_of(write_config(tenant, vault_aws_role="nosuch"))

    with pytest.raises(botocore.exceptions.CredentialRetrievalError) as caught:
        session.get_credentials()

    assert "custom-process: vault-credential-process: " in str(caught.value)
    assert "permission denied: the token has no policy for aws/creds/nosuch" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_script_that_imports_only_boto3(run: Run, tenant: Tenant) -> None:
    """A program in its own process, which knows only ``AWS_PROFILE`` and ``AWS_CONFIG_FILE``, lists a bucket."""
    imported = [line for line in pathlib.Path(LIST_BUCKETS).read_text().splitlines() if "import" in line.split()]
    assert imported == ["import sys", "import time", "import boto3"]

    done = run(sys.executable, LIST_BUCKETS, AWS_CONFIG_FILE=write_config(tenant), AWS_PROFILE="webapp")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{aws.BUCKET}  (access key …")


@pytest.mark.usefixtures("no_cache")
def test_program_goes_on_when_its_credentials_have_run_out(
    short_lived: Tenant, cloud: aws.LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client made at the start: its first keys end, AWS refuses them, and its next request has new ones."""
    laboratory, role = short_lived.laboratory, short_lived.role
    monkeypatch.setenv("AWS_CONFIG_FILE", write_config(short_lived))
    first = laboratory.write_sts(role, ttl=900)
    session = boto3.session.Session(profile_name="webapp")
    s3 = session.client("s3")
    s3.list_buckets()
    old = session.get_credentials().get_frozen_credentials()
    assert old.access_key == first

    second = laboratory.write_sts(role, ttl=900)
    cloud.end(first, at=time.time())

    s3.list_buckets()
    assert session.get_credentials().get_frozen_credentials().access_key == second
    with pytest.raises(botocore.exceptions.ClientError, match="ExpiredToken"):
        cloud.client(
            "s3",
            aws_access_key_id=old.access_key,
            aws_secret_access_key=old.secret_key,
            aws_session_token=old.token,
        ).list_buckets()
    assert (second, "expired") not in cloud.requests


def test_process_that_runs_on_sees_the_key_change(short_lived: Tenant, cloud: aws.LocalAWS) -> None:
    """The same across processes: between two turns of an unmodified script its credentials end and are renewed."""
    laboratory, role = short_lived.laboratory, short_lived.role
    keys = [laboratory.write_sts(role, ttl=2)]
    environ = {**os.environ, "AWS_CONFIG_FILE": write_config(short_lived), "AWS_PROFILE": "webapp"}
    with subprocess.Popen(
        [sys.executable, LIST_BUCKETS, "2"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        lines = [process.stdout.readline()]
        keys.append(laboratory.write_sts(role, ttl=2))
        cloud.end(keys[0], at=time.time())
        rest, errors = process.communicate(timeout=30)
        lines.append(rest)

    assert (process.returncode, errors) == (0, "")
    for key, line in zip(keys, lines, strict=True):
        assert line == f"{aws.BUCKET}  (access key …{key[-4:]})\n"
    assert keys[0] != keys[1]


def test_role_chaining(session_of: Any, short_lived: Tenant) -> None:
    """A profile with ``role_arn`` and ``source_profile`` assumes its role with credentials of our command."""
    laboratory = short_lived.laboratory
    source = laboratory.write_sts(short_lived.role, ttl=900)
    session = session_of(write_config(short_lived, chained(laboratory)), "chained")

    credentials = session.get_credentials()

    assert credentials.method == "assume-role"
    assert credentials.get_frozen_credentials().access_key != source
    assert (source, "sent") in laboratory.cloud.requests
    assert f"assumed-role/{aws.CHAINED_ROLE}/" in session.create_client("sts").get_caller_identity()["Arn"]


def test_helper_is_run_with_the_profile_of_its_line(run: Run, tenant: Tenant) -> None:
    """A helper started for a chained profile inherits ``AWS_PROFILE=chained``; its own ``--profile`` is what counts."""
    config = write_config(tenant, chained(tenant.laboratory))
    program = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    environ = {
        "AWS_CONFIG_FILE": config,
        "AWS_PROFILE": "chained",
        "AWS_ENDPOINT_URL": tenant.laboratory.cloud.endpoint,
    }

    done = run(sys.executable, "-c", program, **environ)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"assumed-role/{aws.CHAINED_ROLE}/" in done.stdout


@pytest.mark.system
def test_aws_command_lists_buckets(run: Run, aws_command: str, tenant: Tenant) -> None:
    """``aws --profile webapp s3 ls`` works with a profile of ``credential_process``, ``vault_*`` keys and a region."""
    config = write_config(tenant)
    keys = [line.split(" = ")[0] for line in pathlib.Path(config).read_text().splitlines()[1:]]
    assert keys == [
        "region", "endpoint_url", "credential_process",
        "vault_addr", "vault_role_id", "vault_secret_id_file", "vault_aws_role",
    ]  # fmt: skip

    listed = run(aws_command, "--profile", "webapp", "s3", "ls", AWS_CONFIG_FILE=config)
    inside = run(aws_command, "--profile", "webapp", "s3", "ls", f"s3://{aws.BUCKET}/", AWS_CONFIG_FILE=config)

    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.split()[-1] == aws.BUCKET
    assert (inside.returncode, inside.stdout.split()[-1]) == (0, "hello.txt")


@pytest.mark.system
def test_aws_command_assumes_a_chained_role(run: Run, aws_command: str, tenant: Tenant) -> None:
    """The ``aws`` command goes on from our credentials to another role."""
    config = write_config(tenant, chained(tenant.laboratory))
    environ = {"AWS_CONFIG_FILE": config, "AWS_ENDPOINT_URL": tenant.laboratory.cloud.endpoint}

    done = run(aws_command, "--profile", "chained", "sts", "get-caller-identity", **environ)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"assumed-role/{aws.CHAINED_ROLE}/" in json.loads(done.stdout)["Arn"]


@pytest.mark.system
def test_aws_command_shows_our_line_when_it_fails(run: Run, aws_command: str, tenant: Tenant) -> None:
    """When Vault refuses, the user of the ``aws`` command reads our line, and no traceback."""
    config = write_config(tenant, vault_role_id="nobody")

    done = run(aws_command, "--profile", "webapp", "s3", "ls", AWS_CONFIG_FILE=config)

    assert done.returncode != 0
    assert done.stdout == ""
    assert "vault-credential-process: " in done.stderr
    assert "login refused: invalid role or secret ID" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.system
@pytest.mark.usefixtures("no_cache")
def test_aws_command_gets_new_credentials_each_time(
    run: Run, aws_command: str, short_lived: Tenant, cloud: aws.LocalAWS
) -> None:
    """Credentials that ended between two calls are no concern of the second."""
    config = write_config(short_lived)
    for _ in range(2):
        key = short_lived.laboratory.write_sts(short_lived.role, ttl=900)
        done = run(aws_command, "--profile", "webapp", "s3", "ls", AWS_CONFIG_FILE=config)
        assert (done.returncode, done.stderr) == (0, "")
        assert (key, "sent") in cloud.requests
        cloud.end(key, at=time.time())
