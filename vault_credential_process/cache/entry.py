"""What is kept: AWS credentials and Vault tokens as ASCII JSON, and the keys they are kept under."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

from vault_credential_process.cache.place import Place
from vault_credential_process.config import Config
from vault_credential_process.expiry import HUNDRED_YEARS
from vault_credential_process.fastpath import FORMAT
from vault_credential_process.models import AWSCredentials, CredentialType, Identity, VaultToken, is_word

CLOCK_SLACK = 60.0
"""Seconds that an entry may come from the future before the clock that wrote it counts as wrong."""

STEP = 0.001
"""Seconds that a clock may seem to have been set back because its two readings are not of the same moment.

What counts as no step adds up where an entry is written again and again, so it is as little as can be told apart.
"""

OLDEST = "vcp1"
"""The format of keepsakes, which every later version reads: what they hold cannot be had again."""

FOREIGN = 33 * 86400
"""Seconds after which what another version of this package keeps is swept away: longer than Vault's longest lease.

What cannot be had again stays as long past its end: a clock that is ahead for a moment must not cost it.
"""

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Credentials in a cache.

    ``proven`` is false until AWS knew a freshly made IAM user; ``previous`` is the pair that is served meanwhile.
    ``failure`` is why they were last not refreshed, in words without a secret. ``token_hash`` stands for the token
    that asked for them, whose end an IAM user shares. The rest tells people what it is.
    """

    credentials: AWSCredentials
    proven: bool = True
    previous: AWSCredentials | None = None
    failure: str | None = None
    failed_at: float | None = None
    token_hash: str = dataclasses.field(default="", repr=False)
    profile: str | None = None
    aws_path: str = ""
    vault_addr: str = ""

    @property
    def served(self) -> AWSCredentials | None:
        """The pair that AWS knows: while the new one is unproven the one before it, if there was one."""
        return self.credentials if self.proven else self.previous

    def seconds_left(self, now: float) -> float:
        """Seconds until the credentials end."""
        return self.credentials.seconds_left(now)

    def dump(self, origin: float | None = None) -> bytes:
        """Return the entry as it is kept; ``origin`` is that of the clock by which its times are."""
        return _dump("credentials", dataclasses.asdict(self), origin=origin)

    @classmethod
    def load(cls, content: bytes | None, now: float, origin: float | None = None) -> Entry | None:
        """Return a kept entry; ``None`` where it is garbage, of another version, or from the future.

        Where its clock was set back meanwhile, which ``origin`` tells, its times are by the clock as it is now.
        """
        entry, back = _load("credentials", cls, content, origin)
        if entry is None:
            return None
        if back:
            entry = dataclasses.replace(
                entry,
                credentials=_earlier(entry.credentials, back),
                previous=None if entry.previous is None else _earlier(entry.previous, back),
                failed_at=None if entry.failed_at is None else entry.failed_at - back,
            )
        pairs = (entry.credentials, *((entry.previous,) if entry.previous is not None else ()))
        return entry if all(_is_sound(pair, now) for pair in pairs) else None


@dataclasses.dataclass(frozen=True, slots=True)
class TokenEntry:
    """A Vault token in a cache, with the longest life that it had (``None``: it does not end)."""

    token: VaultToken
    life: float | None
    profile: str | None = None
    path: str = ""
    vault_addr: str = ""

    def seconds_left(self, now: float) -> float:
        """Seconds until the token ends; infinite where it does not."""
        return self.token.seconds_left(now)

    def dump(self, origin: float | None = None) -> bytes:
        """Return the entry as it is kept; ``origin`` is that of the clock by which its times are."""
        return _dump("token", dataclasses.asdict(self), origin=origin)

    @classmethod
    def load(cls, content: bytes | None, now: float, origin: float | None = None) -> TokenEntry | None:
        """Return a kept entry; ``None`` where it is garbage, of another version, or from the future.

        Where its clock was set back meanwhile, which ``origin`` tells, its end is by the clock as it is now.
        """
        entry, back = _load("token", cls, content, origin)
        if entry is None or entry.life is None or entry.token.expiry is None:
            return entry
        expiry = entry.token.expiry - back
        entry = dataclasses.replace(entry, token=dataclasses.replace(entry.token, expiry=expiry))
        return entry if entry.life is None or expiry - entry.life <= now + CLOCK_SLACK else None


@dataclasses.dataclass(frozen=True, slots=True)
class Keepsake:
    """What an auth method must find again at its next login: an unwrapped Secret ID, a nonce.

    ``what`` tells people what it is; ``expiry`` is seconds since the epoch, UTC, ``None`` where it does not end.
    What is ``irreplaceable`` cannot be had again, and is not forgotten with the rest.
    """

    value: str = dataclasses.field(repr=False)
    what: str
    expiry: float | None = None
    profile: str | None = None
    path: str = ""
    vault_addr: str = ""
    irreplaceable: bool = False

    def dump(self) -> bytes:
        """Return the entry as it is kept."""
        return _dump("keepsake", dataclasses.asdict(self), OLDEST)

    @classmethod
    def load(cls, content: bytes | None, now: float | None = None) -> Keepsake | None:
        """Return a kept entry; ``None`` where it is garbage, of another version, or has ended by ``now``, if given."""
        entry, _ = _load("keepsake", cls, content, None, OLDEST)
        return None if entry is None or (now is not None and entry.seconds_left(now) <= 0) else entry

    def seconds_left(self, now: float) -> float:
        """Seconds until it ends; infinite where it does not."""
        return float("inf") if self.expiry is None else self.expiry - now


Kept = Entry | TokenEntry | Keepsake
"""Whatever a cache holds."""


def load(content: bytes | None, now: float, origin: float | None = None) -> Kept | None:
    """Return what is kept, of whatever kind; ``None`` where it is garbage, of another version, or from the future."""
    return Entry.load(content, now, origin) or TokenEntry.load(content, now, origin) or Keepsake.load(content)


def _is_sound(pair: AWSCredentials, now: float) -> bool:
    """Tell whether a pair is what an answer can have brought: three words, with an end after a beginning till now."""
    words = (pair.access_key, pair.secret_key, *((pair.session_token,) if pair.session_token is not None else ()))
    return all(map(is_word, words)) and pair.issued <= now + CLOCK_SLACK and pair.issued < pair.expiry


def _earlier(pair: AWSCredentials, seconds: float) -> AWSCredentials:
    return dataclasses.replace(pair, issued=pair.issued - seconds, expiry=pair.expiry - seconds)


def ended(content: bytes | None, now: float, origin: float | None = None) -> bool:
    """Tell whether what is kept serves nobody any more: it has ended, or is no entry at all."""
    kept = load(content, now, origin)
    if kept is None:
        return True
    grace = FOREIGN if isinstance(kept, Keepsake) and kept.irreplaceable else 0.0
    return kept.seconds_left(now) <= -grace


def of_another_version(content: bytes | None) -> str | None:
    """Return the kind of an entry that another version of this package keeps; ``None`` where it is none."""
    fields = _fields(content) or {}
    version, kind = fields.get("format"), fields.get("kind")
    ours = OLDEST if kind == "keepsake" else FORMAT
    is_entry = isinstance(version, str) and version.startswith("vcp") and isinstance(kind, str)
    return kind if is_entry and version != ours else None


def token_key(place: Place, config: Config, identity: Identity) -> str:
    """Return the key of a token: everything that a login depends on, whom it trusts and the way it takes included.

    What an unverified server said must never answer a call that verifies.
    """
    way = {
        name: getattr(config, name)
        for name in (
            "vault_addr",
            "vault_skip_verify",
            "vault_cacert",
            "vault_cacert_bytes",
            "vault_capath",
            "vault_tls_server_name",
            "vault_client_cert",
            "vault_proxy_addr",
            "vault_token_ttl",
            "auth_namespace",
        )
    }
    return place.hash(FORMAT, "token", json.dumps(way, sort_keys=True), *identity.parts, "\0", *identity.secrets)


def credentials_key(place: Place, config: Config, identity: Identity) -> str:
    """Return the key of credentials: everything that changes the answer.

    Two servers, two namespaces, two identities, two roles or two sets of parameters never share an entry.
    """
    parameters = {
        "namespace": config.vault_namespace,
        "path": config.aws_path,
        "role_arn": config.vault_aws_role_arn,
        "role_session_name": config.vault_aws_role_session_name,
        "ttl": config.vault_aws_ttl,
        "mfa": config.vault_aws_mfa_code_command,
        "static_interval": config.vault_aws_static_interval if config.vault_aws_endpoint == "static-creds" else None,
    }
    return place.hash("credentials", token_key(place, config, identity), json.dumps(parameters, sort_keys=True))


def _dump(kind: str, fields: Mapping[str, Any], version: str = FORMAT, *, origin: float | None = None) -> bytes:
    clock = {} if version == OLDEST else {"origin": origin}
    return json.dumps({"format": version, "kind": kind, **clock, **fields}, ensure_ascii=True).encode("ascii")


def _load(
    kind: str, owner: type[_T], content: bytes | None, origin: float | None, version: str = FORMAT
) -> tuple[_T | None, float]:
    """Return what is kept, and how many seconds its clock has been set back since."""
    fields = _fields(content)
    if fields is None or fields.pop("format", None) != version or fields.pop("kind", None) != kind:
        return None, 0.0
    try:
        kept = None if version == OLDEST else _field("float | None", fields.pop("origin"))
        back = 0.0 if kept is None or origin is None else kept - origin
        if back > HUNDRED_YEARS:
            return None, 0.0
        return _restore(owner, fields), back if back > STEP else 0.0
    except (ValueError, TypeError, KeyError):
        return None, 0.0


def _fields(content: bytes | None) -> dict[str, Any] | None:
    try:
        fields = json.loads(content or b"")
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _restore(owner: Callable[..., _T], values: Any) -> _T:
    """Return a value with exactly the fields that it was kept with, each of its own type.

    :raises TypeError: when a field is missing, unknown, or of another type.
    """
    declared = {field.name: str(field.type) for field in dataclasses.fields(owner)}  # type: ignore[arg-type]  # a class
    if not isinstance(values, dict) or values.keys() != declared.keys():
        raise TypeError("not the fields of an entry")
    return owner(**{name: _field(declared[name], value) for name, value in values.items()})


def _field(declared: str, value: Any) -> Any:
    kind, _, optional = declared.partition(" | ")
    if optional and value is None:
        return None
    if kind in _NESTED:
        return _restore(_NESTED[kind], value)
    is_right = isinstance(value, _TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))
    if is_right and kind == "float":
        is_right = _EARLIEST < value < _LATEST
    elif is_right and kind == "CredentialType":
        is_right = value in get_args(CredentialType)
    if not is_right:
        raise TypeError(declared)
    if isinstance(value, list):
        return tuple(_field("str", item) for item in value)
    return value


_EARLIEST, _LATEST = -58_000_000_000.0, 250_000_000_000.0
"""Seconds since the epoch, in the years 132 and 9892: other moments, and what is no number at all, break calendars."""

_NESTED: dict[str, Callable[..., Any]] = {"AWSCredentials": AWSCredentials, "VaultToken": VaultToken}
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "float": (float, int),
    "int": (int,),
    "bool": (bool,),
    "tuple[str, ...]": (list,),
    "CredentialType": (str,),
}
