"""Waits until AWS knows an IAM user that was made a moment ago.

A new user's keys are refused for 5 to 15 s (hashicorp/vault#3115, #8413). ``sts:GetCallerIdentity`` needs no
permission, so it asks.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import time
from typing import Any

from vault_credential_process import awswire, sts
from vault_credential_process.awswire import Answer
from vault_credential_process.config import Config
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import AWSCredentials

logger = logging.getLogger(__name__)

SUCCESSES = 3
"""How many answers in a row must know the key: STS has many servers, and they learn at different times."""

_PAUSE = 0.5
_LONGEST = 5.0
_MARGIN = 2.0
_UNKNOWN_KEY = frozenset({"InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException", "AuthFailure"})
_TOO_MANY = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded"})
_CODE = re.compile(r"<Code>\s*([A-Za-z]+)\s*</Code>")
_ACCOUNT = re.compile(r"<Account>\s*(\d{12})\s*</Account>")


def wait_until_known(
    credentials: AWSCredentials, config: Config, deadline: Deadline, *, seconds: float
) -> tuple[AWSCredentials, bool]:
    """Return the credentials, with their account where STS told it, and whether AWS knows them.

    Gives up after ``seconds``, or shortly before the deadline; and at once, as if they were known, where STS cannot be
    reached: the keys are good, and a caller with retries of its own gets by.
    """
    limit = time.monotonic() + min(seconds, deadline.remaining("the probe of new keys") - _MARGIN)
    known_in_a_row = 0
    while (left := limit - time.monotonic()) > 0:
        try:
            response = ask(credentials, config, timeout=min(_LONGEST, left))
        except Exception as error:  # botocore raises what it likes at an endpoint or a region that is none
            if time.monotonic() >= limit:
                break
            logger.debug("probe: STS cannot be reached (%s); keys handed out unproven", type(error).__name__)
            return credentials, True
        text = response.text
        code = _CODE.search(text)
        refused = code.group(1) if code else ""
        if response.status_code == 403 and refused in _UNKNOWN_KEY:
            known_in_a_row = 0
        elif response.status_code < 500 and response.status_code != 429 and refused not in _TOO_MANY:
            known_in_a_row += 1
            account = _ACCOUNT.search(text)
            if account:
                credentials = dataclasses.replace(credentials, account_id=account.group(1))
        logger.debug("probe: HTTP %d %s, known %d times", response.status_code, refused, known_in_a_row)
        if known_in_a_row == SUCCESSES:
            return credentials, True
        time.sleep(_PAUSE)
    logger.debug("probe: AWS did not know the keys in time")
    return credentials, False


def ask(credentials: AWSCredentials, config: Config, *, timeout: float) -> Answer:
    """Return what STS answers to ``GetCallerIdentity``, asked once.

    :raises Exception: when there is no answer in ``timeout`` seconds, or the region or the endpoint is none: whatever
        botocore raises.
    """
    request = _signed(credentials, *endpoint(config))
    return awswire.send(request, ca_bundle=config.aws_ca_bundle, timeout=timeout)


def _signed(credentials: AWSCredentials, url: str, region: str) -> Any:
    keys = (credentials.access_key, credentials.secret_key, credentials.session_token)
    return sts.signed(*keys, url=url, region=region).prepare()


def endpoint(config: Config) -> tuple[str, str]:
    """Return the address of STS and the region to sign for: the profile's, in its own partition."""
    region = config.aws_region or "us-east-1"
    if config.aws_sts_endpoint:
        return config.aws_sts_endpoint.rstrip("/") + "/", region
    return sts.endpoint(region)
