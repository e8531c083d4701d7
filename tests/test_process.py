"""The exact form of the document that an SDK reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vault_credential_process.models import AWSCredentials
from vault_credential_process.process import document

NOW = 1_795_465_023.0  # 2026-11-23T20:17:03Z


def credentials(**changes: Any) -> AWSCredentials:
    """Return STS credentials of a quarter of an hour, with changes."""
    values: dict[str, Any] = {
        "access_key": "ASIAIOSFODNN7EXAMPLE",
        "secret_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "session_token": "FwoGZXIvYXdzEXAMPLETOKEN==",
        "issued": NOW,
        "expiry": NOW + 899.9,
        "credential_type": "sts",
        "account_id": "123456789012",
    }
    return AWSCredentials(**(values | changes))


def test_document_is_one_exact_line() -> None:
    """The bytes for STS credentials, key by key, rounded down to the second, with one line end."""
    expected = (
        b'{"Version":1,"AccessKeyId":"ASIAIOSFODNN7EXAMPLE",'
        b'"SecretAccessKey":"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",'
        b'"SessionToken":"FwoGZXIvYXdzEXAMPLETOKEN==","Expiration":"2026-11-23T20:32:02Z",'
        b'"AccountId":"123456789012"}\n'
    )

    assert document(credentials()) == expected


@pytest.mark.parametrize("session_token", [None, ""])
def test_no_session_token_no_key(session_token: str | None) -> None:
    """Keys of an IAM user have no ``SessionToken`` key at all, not an empty one or ``null``."""
    fields = json.loads(document(credentials(session_token=session_token, credential_type="iam_user")))

    assert "SessionToken" not in fields


def test_unknown_account_is_left_out() -> None:
    """``AccountId`` stands there only when it is known."""
    assert "AccountId" not in json.loads(document(credentials(account_id=None)))


@pytest.mark.parametrize("kind", ["iam_user", "sts", "static"])
def test_expiration_always_stands_there(kind: str) -> None:
    """Its absence would mean "for ever" to botocore, so every type of credentials has it."""
    fields = json.loads(document(credentials(credential_type=kind, session_token=None, account_id=None)))

    assert {"Version", "AccessKeyId", "SecretAccessKey", "Expiration"} == set(fields)


def test_version_is_an_integer() -> None:
    """``Version`` is the number 1: a text or a fraction is refused by some SDK."""
    version = json.loads(document(credentials()))["Version"]

    assert (version, type(version)) == (1, int)


def test_document_is_ascii_without_a_byte_order_mark() -> None:
    """Whatever a stand-in puts into a secret, the document is ASCII on one line."""
    written = document(credentials(secret_key="clé\nsecrète\ud800"))

    assert written.isascii()
    assert written.startswith(b"{")
    assert (written.count(b"\n"), written[-1:]) == (1, b"\n")
    assert json.loads(written)["SecretAccessKey"] == "clé\nsecrète\ud800"
