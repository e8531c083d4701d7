"""The example web service as a process of its own, configured by its environment only."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import botocore.exceptions
import pytest
import requests

from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory, Renewer
from vault_credential_process.demo.server import free_port
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply, reset

from .conftest import ROOT, Tenant, new_tenant

TTL = 4
"""Seconds that the stand-in's credentials live: the shortest that leaves the service time to start."""


class Service:
    """The running example."""

    def __init__(self, port: int, log: pathlib.Path) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.log = log

    def get(self, path: str) -> requests.Response:
        return requests.get(self.address + path, timeout=30)

    def upload(self, name: str, content: bytes) -> requests.Response:
        return requests.post(self.address + "/files", files={"file": (name, content)}, timeout=30)


@contextlib.contextmanager
def running(log: pathlib.Path, **environ: str) -> Iterator[Service]:
    """Run the example until the block ends, and stop it by its own process id."""
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", str(ROOT / "examples" / "flask_app.py")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "run", "--port", str(port)],
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        service = Service(port, log)
        limit = time.monotonic() + 30
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < limit, log.read_text()
            with contextlib.suppress(requests.ConnectionError):
                service.get("/nosuch")
                break
            time.sleep(0.05)
        yield service
    finally:
        process.terminate()
        process.wait(10)


def environment(vault: str, role: str, approle: dict[str, str], cloud: aws.LocalAWS) -> dict[str, str]:
    """Return all that the service is told."""
    return {
        "VAULT_ADDR": vault,
        "VAULT_ROLE_ID": approle["role_id"],
        "VAULT_SECRET_ID": approle["secret_id"],
        "AWS_ROLE": role,
        "AWS_DEFAULT_REGION": aws.REGION,
        "AWS_ENDPOINT_URL": cloud.endpoint,
        "S3_BUCKET": aws.BUCKET,
    }


def of_tenant(tenant: Tenant) -> dict[str, str]:
    """Return the environment of an application."""
    laboratory = tenant.laboratory
    return environment(laboratory.server.address, tenant.role, dict(tenant.approle), laboratory.cloud)


def test_lists_and_uploads(tenant: Tenant, tmp_path: pathlib.Path) -> None:
    """The service is healthy, lists files, takes a file, refuses what is none, and logs no secret."""
    with running(tmp_path / "log", **of_tenant(tenant)) as service:
        health = service.get("/health")
        uploaded = service.upload("../a report.txt", b"numbers")
        listed = service.get("/files").json()
        nameless = requests.post(service.address + "/files", files={"file": ("..", b"x")}, timeout=30)
        empty = requests.post(service.address + "/files", timeout=30)
        log = service.log.read_text()

    assert (health.status_code, health.json()) == (200, {"authenticated": True, "role": tenant.role})
    assert (uploaded.status_code, uploaded.json()) == (201, {"name": "a_report.txt"})
    assert {"a_report.txt", "hello.txt"} <= set(listed)
    assert [answer.status_code for answer in (nameless, empty)] == [400, 400]
    assert tenant.approle["secret_id"] not in log
    stored = tenant.laboratory.cloud
    keys = stored.assume_role()
    client = stored.client(
        "s3",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    assert client.get_object(Bucket=aws.BUCKET, Key="a_report.txt")["Body"].read() == b"numbers"


def test_goes_on_after_the_first_credentials_have_ended(
    stand_in: Laboratory, clean_environment: pathlib.Path, cloud: aws.LocalAWS, tmp_path: pathlib.Path
) -> None:
    """Neither the end of the first AWS keys nor that of the first Vault token is noticed by anybody."""
    tenant = new_tenant(stand_in, clean_environment, token_ttl="3s", token_max_ttl="3s")
    with Renewer(stand_in, tenant.role, ttl=TTL):
        begin = len(cloud.requests)
        with running(tmp_path / "log", **of_tenant(tenant)) as service:
            statuses = [service.get("/files").status_code]
            first = next(key for key, _ in cloud.requests[begin:] if key != cloud.engine_keys["aws_access_key_id"])
            end = time.time() + TTL
            cloud.end(first, end)
            while time.time() < end + 0.5:
                statuses += [service.get("/health").status_code, service.get("/files").status_code]
                time.sleep(0.1)
            uploaded = service.upload("later.txt", b"later")
            listed = service.get("/files").json()

    assert set(statuses) == {200}
    assert uploaded.status_code == 201
    assert "later.txt" in listed
    used = [key for key, _ in cloud.requests[begin:] if key != cloud.engine_keys["aws_access_key_id"]]
    assert used[0] == first
    assert used[-1] != first
    assert (first, "expired") not in cloud.requests


def test_old_keys_really_end(cloud: aws.LocalAWS) -> None:
    """The test above would fail with keys that are not refreshed: the laboratory's AWS refuses them."""
    issued = cloud.assume_role()
    keys = {
        "aws_access_key_id": issued["AccessKeyId"],
        "aws_secret_access_key": issued["SecretAccessKey"],
        "aws_session_token": issued["SessionToken"],
    }
    assert cloud.client("s3", **keys).list_buckets()["Buckets"]
    cloud.end(issued["AccessKeyId"], time.time())

    with pytest.raises(botocore.exceptions.ClientError, match="ExpiredToken"):
        cloud.client("s3", **keys).list_buckets()


@pytest.mark.parametrize("trouble", ["sealed", "a gateway's page", "reset"])
def test_vault_away(
    scripted: ScriptedServer, exchanges: dict[str, Any], cloud: aws.LocalAWS, tmp_path: pathlib.Path, trouble: str
) -> None:
    """While Vault is away the health check answers 503, and files are served on."""
    issued = cloud.assume_role()
    names = {"access_key": "AccessKeyId", "secret_key": "SecretAccessKey", "security_token": "SessionToken"}
    scripted.on_login(exchanges["approle_login"])
    data = {ours: issued[theirs] for ours, theirs in names.items()} | {"ttl": 900}
    scripted.on("GET", "aws/creds/webapp", reply(200, {"lease_duration": 900, "data": data}))
    scripted.otherwise = {
        "sealed": replay(exchanges["sealed"]),
        "a gateway's page": reply(502, b"<html>"),
        "reset": reset,
    }[trouble]
    told = environment(scripted.address, "webapp", {"role_id": "role", "secret_id": "secret"}, cloud)
    with running(tmp_path / "log", **told) as service:
        health, files = service.get("/health"), service.get("/files")
        log = service.log.read_text()

    assert (health.status_code, health.json()) == (503, {"authenticated": False, "role": "webapp"})
    assert files.status_code == 200
    assert "Traceback" not in log


def test_cut_off_from_vault(
    scripted: ScriptedServer, exchanges: dict[str, Any], cloud: aws.LocalAWS, tmp_path: pathlib.Path
) -> None:
    """Once there are no credentials any more the service says so with 503, and tells why in its log only."""
    scripted.on_login(exchanges["approle_login"])
    data = {"access_key": "ASIAIOSFODNN7EXAMPLE", "secret_key": "EXAMPLE", "security_token": "EXAMPLE", "ttl": 1}
    first = reply(200, {"lease_duration": 1, "data": data})
    scripted.on("GET", "aws/creds/webapp", first, replay(exchanges["sealed"]))
    told = environment(scripted.address, "webapp", {"role_id": "role", "secret_id": "secret"}, cloud)
    with running(tmp_path / "log", **told) as service:
        time.sleep(1)
        answer = service.get("/files")
        log = service.log.read_text()

    assert (answer.status_code, list(answer.json())) == (503, ["error"])
    assert "Vault is sealed" not in answer.text
    assert "Vault is sealed" in log
