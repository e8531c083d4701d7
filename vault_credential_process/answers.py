"""What a good answer of Vault says: its JSON turned into values. Pure functions, no network.

https://developer.hashicorp.com/vault/api-docs#responses (the envelope), ``/secret/aws#generate-credentials``,
``/auth/token#lookup-a-token-self``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from vault_credential_process import expiry
from vault_credential_process.errors import AuthenticationError, ConfigurationError, UnreachableError, one_line
from vault_credential_process.models import AWSCredentials, CredentialType, VaultToken, is_word

_ARN = re.compile(r"arn:[^:]*:[^:]*:[^:]*:(\d{12}):", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: its body, when its request was about to be sent, and its age in a proxy's cache.

    ``from_cache`` tells that others have it too: in the cache's first second its age is nothing yet. ``by_agent`` tells
    that an Agent or Proxy passed it on: whether it keeps a login's answer for others as well, nobody can tell.
    ``asked_at`` is by the clock that was there when the answer was: by ``set_back`` seconds less than it was before.
    """

    body: Mapping[str, Any] = dataclasses.field(repr=False)
    asked_at: float
    age: float = 0.0
    from_cache: bool = False
    by_agent: bool = False
    set_back: float = 0.0


def login_token(answer: Answer, where: str) -> VaultToken:
    """Return the token of a login (or of its renewal), with its life and its uses.

    :raises AuthenticationError: when the answer holds no token, or wants a second factor first.
    """
    auth = answer.body.get("auth")
    if not isinstance(auth, Mapping):
        _refuse_wrapped(answer, where)
        raise AuthenticationError(f"{where}: the answer holds no token; check vault_auth_method and vault_auth_mount")
    duration = _duration(auth.get("lease_duration")) or 0.0
    try:
        return VaultToken(
            value=str(auth.get("client_token") or ""),
            expiry=answer.asked_at - answer.age + duration if duration else None,
            renewable=auth.get("renewable") is True,
            uses_left=int(_number(auth.get("num_uses")) or 0) or None,
            token_type=_kind(auth.get("token_type")),
            policies=_strings(auth.get("policies")),
        )
    except ValueError:
        raise AuthenticationError(f"{where}: the answer holds no usable token") from None


def looked_up_token(answer: Answer, value: str | None) -> VaultToken:
    """Return a token that was handed in, as ``lookup-self`` describes it.

    The look-up itself was a use: ``num_uses`` is what is left after it, -1 where nothing is (seen on the real
    server; 0 means no limit).
    """
    data = data_of(answer, "auth/token/lookup-self")
    ttl = _duration(data.get("ttl")) or 0.0
    # In the last second of its life a token has a ttl of 0 too; only one without expire_time does not end.
    is_mortal = ttl > 0 or bool(data.get("expire_time"))
    uses = int(_number(data.get("num_uses")) or 0)
    return VaultToken(
        value=value,
        expiry=answer.asked_at - answer.age + ttl if is_mortal else None,
        renewable=data.get("renewable") is True,
        uses_left=None if uses == 0 else max(uses, 0),
        token_type=_kind(data.get("type")),
        policies=_strings(data.get("policies")),
        external=True,
    )


def lease_duration(answer: Answer) -> float:
    """Return the seconds that a lease lives, counted from when it was asked for; 0 where the answer does not say."""
    return _duration(answer.body.get("lease_duration")) or 0.0


def aws_credentials(
    answer: Answer, where: str, *, token: VaultToken, static: bool, static_interval: float
) -> AWSCredentials:
    """Return the credentials of ``creds/``, ``sts/`` or ``static-creds/`` with their true end.

    What they are is told by the endpoint and by the session token (``session_token`` beside or instead of
    ``security_token`` since Vault 1.16); never by ``lease_id``, which is empty behind some proxies.

    :raises ConfigurationError: when the answer holds no credentials, is wrapped, or tells of an IAM user
        whose life depends on a token of unknown life.
    """
    data = data_of(answer, where)
    access_key, secret_key = text_of(data.get("access_key")), text_of(data.get("secret_key"))
    if access_key is None or secret_key is None:
        raise ConfigurationError(
            f"{where}: the answer holds no access_key and secret_key; is vault_aws_mount an AWS secrets engine?"
        )
    session_token = text_of(data.get("session_token")) or text_of(data.get("security_token"))
    duration = lease_duration(answer)
    kind: CredentialType
    if static:
        kind = "static"
        end = expiry.static_expiry(
            asked_at=answer.asked_at,
            age=answer.age,
            expiration=_rotation(data.get("expiration"), answer.asked_at),
            interval=static_interval,
        )
    elif session_token:
        kind = "sts"
        end = expiry.sts_expiry(
            asked_at=answer.asked_at,
            age=answer.age,
            lease_duration=duration,
            data_ttl=_duration(data.get("ttl")),
        )
    else:
        kind = "iam_user"
        if not token.expiry_known:
            raise ConfigurationError(
                f"{where}: these keys die with the Vault token, whose life nobody could tell: it may not look itself "
                "up; allow auth/token/lookup-self in its policy, or set vault_token_ttl"
            )
        end = expiry.iam_user_expiry(
            asked_at=answer.asked_at,
            age=answer.age,
            lease_duration=duration,
            token_expiry=None if token.expiry is None else token.expiry - answer.set_back,
            fallback=static_interval,
        )
    if end <= answer.asked_at:
        raise had_ended(where)
    return AWSCredentials(
        access_key=access_key,
        secret_key=secret_key,
        session_token=session_token,
        issued=answer.asked_at - answer.age,
        expiry=end,
        credential_type=kind,
        lease_id=text_of(answer.body.get("lease_id")) or "",
        renewable=answer.body.get("renewable") is True,
        account_id=_account_of(data.get("arn")),
    )


def had_ended(where: str) -> UnreachableError:
    """Return the error for credentials that were over when they came."""
    return UnreachableError(
        f"{where}: the credentials had ended before they were read; check what caches answers there"
    )


def lease_in_cache(answer: Answer) -> str | None:
    """Return the lease of an answer from a cache that renews what it holds; ``None`` for any other answer."""
    is_renewed = answer.from_cache and answer.body.get("renewable") is True
    return text_of(answer.body.get("lease_id")) if is_renewed else None


def with_lease_left(answer: Answer, lease: Answer, where: str) -> Answer:
    """Return an answer from a cache as if it had just been given, by what ``sys/leases/lookup`` tells of its lease.

    :raises UnreachableError: when the lease has ended.
    """
    left = _duration(data_of(lease, where).get("ttl"))
    if left is None:
        return answer
    if not left:
        raise had_ended(where)
    body = {**answer.body, "lease_duration": left}
    return Answer(body, lease.asked_at, set_back=answer.set_back + lease.set_back)


def data_of(answer: Answer, where: str) -> Mapping[str, Any]:
    """Return the data of an answer.

    :raises ConfigurationError: when the answer is wrapped.
    :raises UnreachableError: when there is none.
    """
    data = answer.body.get("data")
    if isinstance(data, Mapping) and data:
        return data
    _refuse_wrapped(answer, where)
    raise UnreachableError(f"{where}: the answer is empty; check the path, and what stands between here and Vault")


def _refuse_wrapped(answer: Answer, where: str) -> None:
    if answer.body.get("wrap_info"):
        raise ConfigurationError(
            f"{where}: the answer is response-wrapped; remove min_wrapping_ttl from the token's policy for this path"
        )


def _number(value: object) -> float | None:
    """Return a duration in seconds: Vault writes numbers, stand-ins and proxies also text such as ``15m``.

    What is no number that a calendar could bear (``NaN``, ``Infinity``, a thousand years) counts as absent.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value) if abs(value) <= expiry.HUNDRED_YEARS else None
    if isinstance(value, str):
        try:
            return expiry.parse_duration(value)
        except ValueError:
            return None
    return None


def _duration(value: object) -> float | None:
    """Return a number that can be a span of time; a negative one counts as absent."""
    number = _number(value)
    return number if number is not None and number >= 0 else None


def _rotation(value: object, now: float) -> float | None:
    """Return when static keys are rotated; a time that is none, or is too far away to be meant, counts as absent."""
    try:
        moment = expiry.parse_timestamp(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment - now <= expiry.HUNDRED_YEARS else None


def _kind(value: object) -> str:
    """Return the kind of a token: one of the two that there are, whatever a server says."""
    return "batch" if value == "batch" else "service"


def _strings(value: object) -> tuple[str, ...]:
    return tuple(one_line(str(item), limit=80) for item in value) if isinstance(value, list) else ()


def text_of(value: object) -> str | None:
    """Return a value that is one printable ASCII word, as keys, session tokens and lease ids are; else ``None``."""
    return value if isinstance(value, str) and is_word(value) else None


def _account_of(arn: object) -> str | None:
    """Return the account in ``arn:aws:sts::123456789012:assumed-role/…``."""
    found = _ARN.match(arn) if isinstance(arn, str) else None
    return found.group(1) if found else None
