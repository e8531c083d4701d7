"""What a good answer says: the recorded exchanges turned into tokens and credentials with their true life."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_credential_process import answers
from vault_credential_process.answers import Answer
from vault_credential_process.errors import (
    ConfigurationError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.expiry import format_timestamp
from vault_credential_process.models import AWSCredentials, VaultToken
from vault_credential_process.process import document

NOW = 1_795_465_023.0  # 2026-11-23T20:17:03Z
DAY = 86400
WHERE = "https://vault.example/v1/aws/creds/webapp"
HOUR_TOKEN = VaultToken("hvs.EXAMPLE", expiry=NOW + 3600)
ROOT_TOKEN = VaultToken("hvs.EXAMPLE")
UNKNOWN_TOKEN = VaultToken("hvs.EXAMPLE", expiry_known=False, external=True)


def read(
    body: dict[str, Any], token: VaultToken = ROOT_TOKEN, *, static: bool = False, age: float = 0.0
) -> AWSCredentials:
    """Turn a body into credentials, asked for at NOW."""
    return answers.aws_credentials(Answer(body, NOW, age), WHERE, token=token, static=static, static_interval=3600)


def changed(body: dict[str, Any], data: dict[str, Any] | None = None, **envelope: Any) -> dict[str, Any]:
    """Return a recorded body with changes; a value of ``...`` takes the key away."""
    body = copy.deepcopy(body) | envelope
    for key, value in (data or {}).items():
        if value is ...:
            body["data"].pop(key, None)
        else:
            body["data"][key] = value
    return body


@pytest.mark.parametrize(
    ("name", "kind", "life", "renewable"),
    [
        ("creds_iam_user", "iam_user", 32 * DAY, True),
        ("creds_iam_user_batch_token", "iam_user", 1199, True),
        ("creds_iam_user_short_token", "iam_user", 32 * DAY, True),
        ("creds_assumed_role", "sts", 899, False),
        ("creds_assumed_role_ttl", "sts", 1199, False),
        ("creds_assumed_role_ttl_clamped", "sts", 3599, False),
        ("creds_assumed_role_several_arns", "sts", 3599, False),
        ("creds_federation_token", "sts", 3599, False),
        ("sts_assumed_role", "sts", 1199, False),
        ("static_creds", "static", 3600, False),
    ],
)
def test_recorded_answer_has_its_type_and_life(
    exchanges: dict[str, Any], name: str, kind: str, life: float, renewable: bool
) -> None:
    """Every recorded answer, read with a token that does not end, is told for what it is."""
    body = exchanges[name]["response"]["body"]
    credentials = read(body, static="static-creds" in exchanges[name]["request"]["path"])

    assert (credentials.credential_type, credentials.life, credentials.renewable) == (kind, life, renewable)
    assert (credentials.issued, credentials.lease_id) == (NOW, body["lease_id"])
    assert (credentials.access_key, credentials.secret_key) == (body["data"]["access_key"], body["data"]["secret_key"])
    assert credentials.session_token == (body["data"]["security_token"] if kind == "sts" else None)


@pytest.mark.parametrize("seconds", [20, 2])
@pytest.mark.parametrize("name", ["creds_iam_user", "creds_iam_user_short_token"])
def test_iam_user_dies_with_its_token(exchanges: dict[str, Any], name: str, seconds: int) -> None:
    """A lease of 32 days read with a token of seconds states an Expiration seconds away."""
    token = VaultToken("hvs.EXAMPLE", expiry=NOW + seconds)
    credentials = read(exchanges[name]["response"]["body"], token)

    assert exchanges[name]["response"]["body"]["lease_duration"] == 32 * DAY
    assert credentials.life == seconds
    assert json.loads(document(credentials))["Expiration"] == format_timestamp(NOW + seconds)


def test_recorded_token_of_two_seconds_ends_its_keys(exchanges: dict[str, Any]) -> None:
    """The token's own answer is where the truth stands: its 2 s go from the login to the credentials."""
    exchange = exchanges["creds_iam_user_short_token"]
    login = copy.deepcopy(exchanges["approle_login"]["response"]["body"])
    login["auth"]["lease_duration"] = exchange["token"]["token_ttl"]
    token = answers.login_token(Answer(login, NOW - 0.5), WHERE)

    assert read(exchange["response"]["body"], token).expiry == NOW - 0.5 + 2


def test_batch_token_shows_in_the_lease_and_counts_too(exchanges: dict[str, Any]) -> None:
    """With a batch token both ends are near; the earlier is stated."""
    token = answers.login_token(Answer(exchanges["approle_login_batch_token"]["response"]["body"], NOW - 10), WHERE)

    assert token.token_type == "batch"
    assert read(exchanges["creds_iam_user_batch_token"]["response"]["body"], token).life == 1190


@pytest.mark.parametrize("name", ["creds_assumed_role", "creds_federation_token", "sts_assumed_role"])
def test_sts_credentials_outlive_their_token(exchanges: dict[str, Any], name: str) -> None:
    """The token's life, known or not, means nothing for STS credentials."""
    body = exchanges[name]["response"]["body"]
    short = VaultToken("hvs.EXAMPLE", expiry=NOW + 2)

    assert read(body, short).life == read(body, UNKNOWN_TOKEN).life == body["data"]["ttl"]


@pytest.mark.parametrize(
    ("data", "lease_duration", "life"),
    [
        ({"ttl": 900}, 3600, 900),
        ({"ttl": 43200}, 3600, 43200),
        ({"ttl": 3599}, 0, 3599),
        ({"ttl": ...}, 3600, 3600),
        ({"ttl": None}, 3600, 3600),
        ({"ttl": ...}, 0, 900),
        ({"ttl": "20m"}, 3600, 1200),
        ({"ttl": "1200"}, 3600, 1200),
        ({"ttl": 1200.0}, 3600, 1200),
        ({"ttl": "soon"}, 3600, 3600),
        ({"ttl": True}, 3600, 3600),
        ({"ttl": math.nan}, 3600, 3600),
        ({"ttl": math.inf}, 3600, 3600),
        ({"ttl": 10**400}, 3600, 3600),
        ({"ttl": ...}, None, 900),
    ],
)
def test_data_ttl_goes_before_lease_duration(
    exchanges: dict[str, Any], data: dict[str, Any], lease_duration: int | None, life: float
) -> None:
    """``data.ttl`` wins in both directions; where it says nothing ``lease_duration`` does; then STS's minimum."""
    body = changed(exchanges["creds_assumed_role"]["response"]["body"], data, lease_duration=lease_duration)

    assert read(body).life == life


@pytest.mark.parametrize(
    ("data", "session_token"),
    [
        ({"session_token": "NEW"}, "NEW"),
        ({"session_token": "NEW", "security_token": ...}, "NEW"),
        ({"session_token": None}, "FwoGZXIvYXdzEXAMPLETOKEN=="),
        ({"session_token": ""}, "FwoGZXIvYXdzEXAMPLETOKEN=="),
        ({}, "FwoGZXIvYXdzEXAMPLETOKEN=="),
    ],
)
def test_session_token_stands_under_either_name(
    exchanges: dict[str, Any], data: dict[str, Any], session_token: str
) -> None:
    """``session_token`` (Vault 1.16) or ``security_token``, whichever is there."""
    credentials = read(changed(exchanges["creds_assumed_role"]["response"]["body"], data))

    assert (credentials.session_token, credentials.credential_type) == (session_token, "sts")


@pytest.mark.parametrize("data", [{"security_token": ...}, {"security_token": ""}, {"session_token": None}])
def test_no_session_token_is_an_iam_user(exchanges: dict[str, Any], data: dict[str, Any]) -> None:
    """Absent, null or empty: keys without a session token are an IAM user's."""
    credentials = read(changed(exchanges["creds_iam_user"]["response"]["body"], data))

    assert (credentials.session_token, credentials.credential_type) == (None, "iam_user")


@pytest.mark.parametrize(
    ("name", "static", "life"),
    [("creds_iam_user", False, 32 * DAY), ("creds_assumed_role", False, 899), ("static_creds", True, 3600)],
)
def test_age_of_a_cached_answer_is_subtracted(exchanges: dict[str, Any], name: str, static: bool, life: float) -> None:
    """An Agent repeats the original durations: the credentials began ``Age`` seconds ago and end as much earlier."""
    credentials = read(exchanges[name]["response"]["body"], static=static, age=300)

    assert (credentials.issued, credentials.life, credentials.seconds_left(NOW)) == (NOW - 300, life, life - 300)


def test_clock_that_was_set_back_meanwhile_moves_the_end_of_the_token_too(exchanges: dict[str, Any]) -> None:
    """The end of the token is by the clock of before, wherever in the conversation that was set back."""
    answer = Answer(exchanges["creds_iam_user"]["response"]["body"], NOW - 600, from_cache=True, set_back=600)
    lease = Answer({"data": {"ttl": 9000}}, NOW - 1000, set_back=400)
    later = answers.with_lease_left(answer, lease, WHERE)
    pairs = [
        answers.aws_credentials(found, WHERE, token=HOUR_TOKEN, static=False, static_interval=3600)
        for found in (answer, later)
    ]

    assert [pair.expiry for pair in pairs] == [NOW - 600 + 3600, NOW - 1000 + 3600]


@pytest.mark.parametrize(
    ("expiration", "left"),
    [
        ("2026-11-23T22:17:03Z", 7200),
        ("2026-11-23T22:17:03.5+00:00", 7200.5),
        ("2026-11-23T20:00:00Z", 60),
        ("tomorrow", 3600),
        ("2026-11-23T22:17:03", 3600),
        ("2126-11-24T20:17:03Z", 3600),  # in more than a hundred years
        ("9999-12-31T23:59:59.999999Z", 3600),
        (None, 3600),
        (1795465023, 3600),
    ],
)
def test_static_credentials_end_with_their_rotation(exchanges: dict[str, Any], expiration: Any, left: float) -> None:
    """``data.expiration`` where it is a time (overdue: a minute), else the configured interval."""
    body = changed(exchanges["static_creds"]["response"]["body"], {"expiration": expiration})

    assert read(body, UNKNOWN_TOKEN, static=True).seconds_left(NOW) == left


def test_iam_user_of_a_token_of_unknown_life_is_refused(exchanges: dict[str, Any]) -> None:
    """Nobody can say when such keys end, so they are not handed out; the error says what to set."""
    with pytest.raises(ConfigurationError, match=f"^{WHERE}: .*lookup-self in its policy, or set vault_token_ttl"):
        read(exchanges["creds_iam_user"]["response"]["body"], UNKNOWN_TOKEN)


@pytest.mark.parametrize(("token", "life"), [(ROOT_TOKEN, 3600), (VaultToken("x", expiry=NOW + 20), 20)])
def test_iam_user_without_a_duration_is_bounded(exchanges: dict[str, Any], token: VaultToken, life: float) -> None:
    """``lease_duration`` 0 is not "for ever": the interval bounds it, and the token all the more."""
    assert read(changed(exchanges["creds_iam_user"]["response"]["body"], lease_duration=0), token).life == life


@pytest.mark.parametrize(
    ("arn", "account"),
    [
        ("arn:aws:sts::123456789012:assumed-role/app/x", "123456789012"),
        ("arn:aws-cn:sts::123456789012:assumed-role/app/x", "123456789012"),
        ("arn:aws:sts:::assumed-role/app/x", None),
        ("arn:aws:sts::²:assumed-role/app/x", None),
        ("arn:aws:sts::12345678901:assumed-role/app/x", None),
        (f"arn:aws:sts::{'1' * 5000}:assumed-role/app/x", None),
        ("123456789012", None),
        (None, None),
        (7, None),
    ],
)
def test_account_is_read_from_the_arn(exchanges: dict[str, Any], arn: Any, account: str | None) -> None:
    """The account stands in ``data.arn`` of an assumed role; anything else leaves it out."""
    body = changed(exchanges["creds_assumed_role"]["response"]["body"], {"arn": arn})

    assert read(body).account_id == account


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ({}, UnreachableError, "the answer is empty; check the path"),
        ({"data": None}, UnreachableError, "the answer is empty; check the path"),
        ({"data": {}}, UnreachableError, "the answer is empty; check the path"),
        ({"data": ["x"]}, UnreachableError, "the answer is empty; check the path"),
        ({"data": {"keys": ["webapp"]}}, ConfigurationError, "is vault_aws_mount an AWS secrets engine?"),
        ({"data": {"access_key": "A"}}, ConfigurationError, "holds no access_key and secret_key"),
        ({"data": {"access_key": "A", "secret_key": ""}}, ConfigurationError, "holds no access_key and secret_key"),
        ({"data": {"access_key": 1, "secret_key": "S"}}, ConfigurationError, "holds no access_key and secret_key"),
    ],
)
def test_answer_without_credentials_is_an_error(
    body: dict[str, Any], error: type[VaultCredentialError], message: str
) -> None:
    """An empty answer and one of another engine are told apart, each with its address and what to do."""
    with pytest.raises(error) as caught:
        read(body)

    assert str(caught.value).startswith(f"{WHERE}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("parse", [lambda answer: read(dict(answer.body)), lambda a: answers.login_token(a, WHERE)])
def test_wrapped_answer_is_an_error(exchanges: dict[str, Any], parse: Any) -> None:
    """A response-wrapped answer, recorded from the real server, says which setting of the policy wraps it."""
    body = exchanges["secret_id_wrapped"]["response"]["body"] | {"data": None, "auth": None}

    with pytest.raises(ConfigurationError, match=f"^{WHERE}: the answer is response-wrapped; remove min_wrapping_ttl"):
        parse(Answer(body, NOW))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400) | st.just("15m"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
DATA = st.fixed_dictionaries(
    {"access_key": st.just("AKIAIOSFODNN7EXAMPLE"), "secret_key": st.just("wJalrXUtnFEMI/K7MDENG")},
    optional=dict.fromkeys(("session_token", "security_token", "ttl", "expiration", "arn"), JSON),
)
NAMES = ("data", "auth", "lease_id", "lease_duration", "renewable", "wrap_info")
BODIES = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON) | {"data": DATA | JSON})


@given(BODIES, st.sampled_from([ROOT_TOKEN, HOUR_TOKEN, UNKNOWN_TOKEN]), st.booleans())
def test_any_json_gives_credentials_that_can_be_written_or_our_own_error(
    body: dict[str, Any], token: VaultToken, static: bool
) -> None:
    """No answer, however strange, brings anything but usable credentials or an error of ours."""
    try:
        credentials = read(body, token, static=static)
    except VaultCredentialError:
        return
    written = json.loads(document(credentials))
    assert {"Version", "AccessKeyId", "SecretAccessKey", "Expiration"} <= set(written)
    assert math.isfinite(credentials.expiry)
