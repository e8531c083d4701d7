"""AWS on this machine: moto as STS, IAM and S3, with its checks of keys, signatures and policies turned on.

What moto leaves out, the end of credentials, is added in front of it.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import boto3
import botocore.config
import botocore.session
import requests
import werkzeug.serving
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app

from vault_credential_process.demo.server import DIRECTLY

REGION = "us-east-1"
ACCOUNT = "123456789012"
BUCKET = "webapp-files"
ROLE = "app"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{ROLE}"
CHAINED_ROLE = "app-chained"
CHAINED_ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{CHAINED_ROLE}"
POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","sts:AssumeRole"],"Resource":"*"}]}'
TRUST = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}'
_ENGINE_POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:*","sts:*"],"Resource":"*"}]}'
_CREDENTIAL = re.compile(r"Credential=([A-Z0-9]{16,128})/")
_NOTHING_OF_OURS: Any = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
"""Session variables of an administrator who knows neither the user's profile nor the user's AWS files."""
_EXPIRED = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{open}<Code>ExpiredToken</Code>'
    "<Message>The provided token has expired.</Message>{close}<RequestId>EXAMPLE</RequestId></{root}>"
)


class LocalAWS:
    """moto on a free loopback port. Use it as a context manager.

    It comes with a bucket, a role that may use it, one to chain to, and an IAM user for Vault's engine
    (``engine_keys``).
    """

    def __init__(self) -> None:
        """Take a port; nothing answers before the context is entered."""
        application = DomainDispatcherApplication(create_backend_app)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._ends: dict[str, float] = {}
        self.requests: list[tuple[str, str]] = []
        """Access key and outcome (``sent`` or ``expired``) of every signed request, for tests that count."""
        self._server = werkzeug.serving.make_server(
            "127.0.0.1", 0, self._in_front_of(application), threaded=True, request_handler=MotoRequestHandler
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="moto", daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.engine_keys: dict[str, str] = {}

    def __enter__(self) -> LocalAWS:
        self._thread.start()
        self._set_up()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def client(self, service: str, **keys: str) -> Any:
        """Return a client of the administrator, or of whoever the keys belong to."""
        keys = keys or {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "EXAMPLE"}
        style = botocore.config.Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, proxies={})
        session: Any = boto3.session.Session(botocore_session=botocore.session.Session(session_vars=_NOTHING_OF_OURS))
        return session.client(service, region_name=REGION, endpoint_url=self.endpoint, config=style, **keys)

    def check(self, on: bool) -> None:
        """Turn moto's checks on or, to administrate, off."""
        answer = requests.post(
            f"{self.endpoint}/moto-api/reset-auth", data="0" if on else "inf", timeout=10, proxies=DIRECTLY
        )
        answer.raise_for_status()

    def assume_role(self, seconds: int = 900, name: str = "demo") -> dict[str, str]:
        """Return credentials of the role, as Vault's engine would get them from STS."""
        answer = self.client("sts", **self.engine_keys).assume_role(
            RoleArn=ROLE_ARN, RoleSessionName=name, DurationSeconds=seconds
        )
        found: dict[str, str] = answer["Credentials"]
        return found

    def end(self, access_key: str, at: float) -> None:
        """Let a key end at a time (seconds since the epoch, UTC), whatever STS promised."""
        self._ends[access_key] = at

    def _set_up(self) -> None:
        self.check(False)
        iam = self.client("iam")
        for role in (ROLE, CHAINED_ROLE):
            iam.create_role(RoleName=role, AssumeRolePolicyDocument=TRUST)
            iam.put_role_policy(RoleName=role, PolicyName="files", PolicyDocument=POLICY)
        iam.create_user(UserName="vault")
        iam.put_user_policy(UserName="vault", PolicyName="engine", PolicyDocument=_ENGINE_POLICY)
        key = iam.create_access_key(UserName="vault")["AccessKey"]
        self.engine_keys = {
            "aws_access_key_id": key["AccessKeyId"],
            "aws_secret_access_key": key["SecretAccessKey"],
        }
        s3 = self.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="hello.txt", Body=b"hello\n")
        self.check(True)

    def _in_front_of(self, application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """Refuse keys that have ended, as AWS does and moto does not."""

        def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            signed = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
            access_key = signed.group(1) if signed else ""
            asked = (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", ""))
            if asked == ("GET", "/", "") and not signed:
                # AWS refuses what is not signed, and tells the time; moto's checks take a signature for granted.
                start_response("403 Forbidden", [("Content-Length", "0")])
                return []
            expired = time.time() >= self._ends.get(access_key, float("inf"))
            if access_key:
                self.requests.append((access_key, "expired" if expired else "sent"))
            if not expired:
                return application(environ, start_response)
            is_s3 = "/s3/" in environ.get("HTTP_AUTHORIZATION", "")
            text = (
                _EXPIRED.format(root="Error", open="", close="")
                if is_s3
                else _EXPIRED.format(root="ErrorResponse", open="<Error>", close="</Error>")
            )
            body = text.encode()
            start_response(
                "400 Bad Request" if is_s3 else "403 Forbidden",
                [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))],
            )
            # werkzeug sends what it is given, and a client that reads a body after HEAD is broken by it.
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

        return answer
