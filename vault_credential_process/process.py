"""The Version 1 document of the AWS ``credential_process`` contract.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
"""

from __future__ import annotations

import json

from vault_credential_process.expiry import format_timestamp
from vault_credential_process.models import AWSCredentials


def document(credentials: AWSCredentials) -> bytes:
    """Return the one line that an SDK reads, in ASCII, with its line end.

    ``Version`` is an integer; ``Expiration`` always stands there, in the one form every SDK takes; there is no
    ``SessionToken`` key where there is no session token.
    """
    fields: dict[str, str | int] = {
        "Version": 1,
        "AccessKeyId": credentials.access_key,
        "SecretAccessKey": credentials.secret_key,
    }
    if credentials.session_token:
        fields["SessionToken"] = credentials.session_token
    fields["Expiration"] = format_timestamp(credentials.expiry)
    if credentials.account_id:
        fields["AccountId"] = credentials.account_id
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"
