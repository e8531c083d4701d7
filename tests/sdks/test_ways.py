"""What the other tests here lean on would fail: AWS's look at signatures, the search for secrets, the count of runs."""

from __future__ import annotations

import json

import botocore.exceptions
import pytest

from ..conftest import Run
from .ways import Way


def test_wrong_signature_is_refused(by_process: Way) -> None:
    """A listing proves the keys: with another secret key AWS refuses it."""
    by_process.issue(900)
    data, cloud = by_process.data(), by_process.tenant.laboratory.cloud
    keys = {"aws_access_key_id": data["access_key"], "aws_session_token": data["security_token"]}
    right, wrong = (cloud.client("s3", aws_secret_access_key=key, **keys) for key in (data["secret_key"], "another"))

    assert right.list_buckets()["Buckets"]
    with pytest.raises(botocore.exceptions.ClientError, match="SignatureDoesNotMatch"):
        wrong.list_buckets()


def test_secrets_are_seen(by_process: Way) -> None:
    """Each of an application's secrets would be found, quoted too: Secret ID, keys, a Vault token."""
    by_process.issue(900)
    data = by_process.data()
    token = by_process.tenant.laboratory.server.root_token
    secrets = [by_process.tenant.approle["secret_id"], data["secret_key"], data["security_token"], token]

    assert by_process.secrets_in("nothing") == []
    assert [found.value for found in by_process.secrets_in(json.dumps(secrets))] == secrets


def test_runs_are_counted(by_process: Way, run: Run) -> None:
    """Each run of the command of the profile is one."""
    by_process.issue(900)
    for _ in range(2):
        assert run(str(by_process.command), "get", "--profile=webapp", **by_process.environ).returncode == 0

    assert by_process.count() == 2
