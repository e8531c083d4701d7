"""What a login and a look-up say of a token: the recorded exchanges turned into its life and its uses."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_credential_process import answers
from vault_credential_process.answers import Answer
from vault_credential_process.errors import AuthenticationError, VaultCredentialError

from .test_answers import BODIES, DAY, JSON, NOW, WHERE, changed

AUTHS = st.dictionaries(
    st.sampled_from(["client_token", "lease_duration", "num_uses", "policies", "token_type", "mfa_requirement"]), JSON
)


@pytest.mark.parametrize(
    ("name", "life", "renewable", "uses", "kind"),
    [
        ("approle_login", 3600, True, None, "service"),
        ("approle_login_batch_token", 1200, False, None, "batch"),
        ("approle_login_num_uses", 1200, True, 1, "service"),
        ("userpass_login", 32 * DAY, True, None, "service"),
        ("aws_iam_login", 600, True, None, "service"),
        ("token_renew_self", 3600, True, None, "service"),
    ],
)
def test_login_says_how_long_and_how_often(
    exchanges: dict[str, Any], name: str, life: float, renewable: bool, uses: int | None, kind: str
) -> None:
    """A login's answer holds life, uses, type and policies of the token; it is ours to revoke."""
    token = answers.login_token(Answer(exchanges[name]["response"]["body"], NOW, 10), WHERE)

    assert (token.value, token.policies, token.external) == ("hvs.EXAMPLE", ("app", "default"), False)
    assert (token.seconds_left(NOW - 10), token.expiry_known) == (life, True)
    assert (token.renewable, token.uses_left, token.token_type) == (renewable, uses, kind)


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        (None, "the answer holds no token; check vault_auth_method and vault_auth_mount"),
        ({}, "the answer holds no usable token"),
        ({"client_token": "two words"}, "the answer holds no usable token"),
        ({"client_token": "", "mfa_requirement": {"mfa_request_id": "x"}}, "the answer holds no usable token"),
    ],
)
def test_login_without_a_token_is_an_error(auth: Any, message: str) -> None:
    """A login that yields no token, or not yet, is told with its address."""
    with pytest.raises(AuthenticationError, match=f"^{WHERE}: .*{message}|^{WHERE}: {message}"):
        answers.login_token(Answer({"auth": auth}, NOW), WHERE)


@pytest.mark.parametrize(
    ("data", "expiry", "uses"),
    [
        ({}, NOW + 3600, None),
        ({"ttl": 0, "expire_time": None}, None, None),  # a root token
        ({"ttl": 0}, NOW, None),  # the last second of a token that ends
        ({"ttl": -5}, NOW, None),
        ({"num_uses": 5}, NOW + 3600, 5),
        ({"num_uses": -1}, NOW + 3600, 0),  # the look-up was the last use
        ({"num_uses": math.nan}, NOW + 3600, None),
    ],
)
def test_look_up_tells_the_rest(
    exchanges: dict[str, Any], data: dict[str, Any], expiry: float | None, uses: int | None
) -> None:
    """A token that was handed in is described by its look-up, which was itself a use; it is not ours to revoke."""
    body = changed(exchanges["token_lookup_self"]["response"]["body"], data)
    token = answers.looked_up_token(Answer(body, NOW), "hvs.EXAMPLE")

    assert (token.expiry, token.uses_left, token.external) == (expiry, uses, True)
    assert (token.renewable, token.token_type, token.policies) == (True, "service", ("app", "default"))


@given(BODIES | st.fixed_dictionaries({"auth": AUTHS}))
def test_any_json_gives_a_token_or_our_own_error(body: dict[str, Any]) -> None:
    """A login's answer, however strange, brings a token that is whole or an error of ours."""
    try:
        token = answers.login_token(Answer(body, NOW), WHERE)
    except VaultCredentialError:
        return
    assert token.value
    assert token.expiry is None or math.isfinite(token.expiry)
    assert token.uses_left is None or token.uses_left != 0


@given(st.fixed_dictionaries({"data": st.dictionaries(st.sampled_from(["ttl", "num_uses", "policies"]), JSON)}))
def test_any_json_gives_a_looked_up_token_or_our_own_error(body: dict[str, Any]) -> None:
    """A look-up's answer, however strange, brings a token with an end that is a number, or an error of ours."""
    try:
        token = answers.looked_up_token(Answer(body, NOW), "hvs.EXAMPLE")
    except VaultCredentialError:
        return
    assert token.expiry is None or math.isfinite(token.expiry)
    assert token.uses_left is None or token.uses_left >= 0
