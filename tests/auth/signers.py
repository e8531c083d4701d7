"""What the tests of AWS logins share: whose keys sign, what is sent, and what STS makes of it."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import re
import time
import urllib.parse
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
import requests

from vault_credential_process.demo import aws
from vault_credential_process.demo.server import DIRECTLY
from vault_credential_process.testing.scripted import Request, ScriptedServer, replay, reply

from ..conftest import COMMAND
from .methods import log_in

LOGIN = "auth/aws/login"
KEYS = {"vault_auth_method": "aws-iam"}
EXAMPLE = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "canary+session/token==",
}
OURS = f"{COMMAND} get --profile"


def export(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Set variables of the environment."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def exported(keys: Mapping[str, str]) -> dict[str, str]:
    """Return credentials, as boto3 or STS names them, as variables."""
    found = {
        "AWS_ACCESS_KEY_ID": keys.get("aws_access_key_id") or keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys.get("aws_secret_access_key") or keys["SecretAccessKey"],
    }
    return found | ({"AWS_SESSION_TOKEN": keys["SessionToken"]} if "SessionToken" in keys else {})


def sent(scripted: ScriptedServer, exchanges: Mapping[str, Any], **keys: str) -> dict[str, Any]:
    """Log in at the scripted server, which accepts, and return the body of the login."""
    scripted.on("POST", LOGIN, replay(exchanges["aws_iam_login"]))
    assert log_in(scripted.address, KEYS | keys, os.environ).value == "hvs.EXAMPLE"
    body: dict[str, Any] = scripted.requests[-1].json
    return body


def decoded(body: Mapping[str, str]) -> tuple[str, str, dict[str, str]]:
    """Return address, body and headers of the request to STS in the body of a login."""
    url, content, headers = (
        base64.b64decode(body[f"iam_request_{part}"], validate=True).decode() for part in ("url", "body", "headers")
    )
    return url, content, json.loads(headers)


def ask_sts(cloud: aws.LocalAWS, url: str, content: str, headers: Mapping[str, str]) -> requests.Response:
    """Send the request as Vault does: to the STS that it knows, by ``POST //``, its host that of the address."""
    host = urllib.parse.urlsplit(url).netloc
    given = {**headers, "Host": host}
    return requests.post(f"{cloud.endpoint}//", data=content, headers=given, timeout=10, proxies=DIRECTLY)


def caller(cloud: aws.LocalAWS, body: Mapping[str, str]) -> str:
    """Return whom STS, its checks on, takes the signer of a login for."""
    answer = ask_sts(cloud, *decoded(body))
    assert answer.status_code == 200, answer.text
    (arn,) = re.findall("<Arn>(.*?)</Arn>", answer.text)
    return str(arn)


def new_user(cloud: aws.LocalAWS, policy: str | None = None) -> tuple[str, dict[str, str]]:
    """Make an IAM user; return its ARN and its keys as variables."""
    name = f"user-{uuid.uuid4().hex[:8]}"
    iam = cloud.client("iam", **cloud.engine_keys)
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    if policy:
        iam.put_user_policy(UserName=name, PolicyName="its", PolicyDocument=policy)
    return arn, exported(iam.create_access_key(UserName=name)["AccessKey"])


@pytest.fixture
def files(clean_environment: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The directory of AWS's files ``config`` and ``credentials``, neither of which exists yet."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(clean_environment / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(clean_environment / "credentials"))
    return clean_environment


def section(name: str, keys: Mapping[str, str]) -> str:
    """Return a section of a credentials file."""
    return "\n".join([f"[{name}]", *(f"{key.lower()} = {value}" for key, value in keys.items()), ""])


WEB_IDENTITY = (
    '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
    "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{AccessKeyId}</AccessKeyId>"
    "<SecretAccessKey>{SecretAccessKey}</SecretAccessKey><SessionToken>{SessionToken}</SessionToken>"
    "<Expiration>{ends}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
    "</AssumeRoleWithWebIdentityResponse>"
)
"""The answer of STS (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html)."""


def in_an_hour() -> str:
    """Return the time in an hour."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))


def metadata_answer(issued: Mapping[str, Any]) -> bytes:
    """Return the answer of a metadata service with credentials of an hour."""
    keys = {name: issued[name] for name in ("AccessKeyId", "SecretAccessKey")}
    return reply(200, {**keys, "Token": issued["SessionToken"], "Expiration": in_an_hour(), "Code": "Success"})


def instance_metadata(issued: Mapping[str, Any]) -> Any:
    """Play the metadata service of an instance with a role."""

    def answer(connection: Any, request: Request) -> None:
        if request.method == "PUT":
            connection.sendall(reply(200, b"imds-session-token"))
        elif request.headers.get("x-aws-ec2-metadata-token") != "imds-session-token":
            connection.sendall(reply(401))
        elif request.path.endswith("/security-credentials/"):
            connection.sendall(reply(200, b"webapp"))
        else:
            connection.sendall(metadata_answer(issued))

    return answer
