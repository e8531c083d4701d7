"""A boto3 program in this process that signs with Vault's keys, and whose clock can be set forward."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import boto3
import botocore.config
import botocore.session

from vault_credential_process import auth
from vault_credential_process.demo import aws
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.health import Health
from vault_credential_process.provider import VaultCredentials

SOON, OVER = 700.0, 901.0
"""Seconds after which a pair that lives for 900 s is to be refreshed, and after which it has ended."""


class Program:
    """The program: its credentials know nothing of other processes."""

    def __init__(self, settings: Mapping[str, str], cloud: aws.LocalAWS, *, ahead: float = 0.0) -> None:
        """Make a client of S3, which asks for keys at once."""
        self.ahead = ahead
        config = auth.configure(dict(settings), {}, None)
        self._credentials = VaultCredentials(Fetcher(config, clock=lambda: time.time() + self.ahead))
        nowhere: Any = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
        session = botocore.session.Session(session_vars=nowhere)
        session._credentials = self._credentials
        once = botocore.config.Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
        made: Any = boto3.session.Session(botocore_session=session, region_name=aws.REGION)
        self._client = made.client("s3", endpoint_url=cloud.endpoint, config=once)

    def sign(self) -> None:
        """Send one signed request, which AWS accepts."""
        found = self._client.list_buckets()["Buckets"]
        assert [bucket["Name"] for bucket in found] == [aws.BUCKET]

    @property
    def health(self) -> Health:
        """How its credentials do."""
        return self._credentials.keeper.health()
