"""What is kept: AWS credentials and Vault tokens as ASCII JSON, and the keys they are kept under."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

from vault_credential_process.cache.place import Place
from vault_credential_process.config import Config
from vault_credential_process.fastpath import FORMAT
from vault_credential_process.models import AWSCredentials, CredentialType, Identity, VaultToken

CLOCK_SLACK = 60.0
"""Seconds that an entry may come from the future before the clock that wrote it counts as wrong."""

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

    def dump(self) -> bytes:
        """Return the entry as it is kept."""
        return _dump("credentials", dataclasses.asdict(self))

    @classmethod
    def load(cls, content: bytes | None, now: float) -> Entry | None:
        """Return a kept entry; ``None`` where it is garbage, of another version, or from the future."""
        entry = _load("credentials", cls, content)
        if entry is None:
            return None
        credentials = entry.credentials
        return entry if credentials.issued <= now + CLOCK_SLACK and credentials.issued < credentials.expiry else None


@dataclasses.dataclass(frozen=True, slots=True)
class TokenEntry:
    """A Vault token in a cache, with the longest life that it had (``None``: it does not end)."""

    token: VaultToken
    life: float | None
    profile: str | None = None
    path: str = ""
    vault_addr: str = ""

    def dump(self) -> bytes:
        """Return the entry as it is kept."""
        return _dump("token", dataclasses.asdict(self))

    @classmethod
    def load(cls, content: bytes | None, now: float) -> TokenEntry | None:
        """Return a kept entry; ``None`` where it is garbage, of another version, or from the future."""
        entry = _load("token", cls, content)
        if entry is None or entry.life is None or entry.token.expiry is None:
            return entry
        return entry if entry.token.expiry - entry.life <= now + CLOCK_SLACK else None


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
        return _dump("keepsake", dataclasses.asdict(self))

    @classmethod
    def load(cls, content: bytes | None, now: float) -> Keepsake | None:
        """Return a kept entry; ``None`` where it is garbage, of another version, or has ended."""
        entry = _load("keepsake", cls, content)
        return entry if entry is not None and (entry.expiry is None or entry.expiry > now) else None


def ended(content: bytes | None, now: float) -> bool:
    """Tell whether what is kept serves nobody any more: it has ended, or is no entry at all."""
    entry, kept = Entry.load(content, now), TokenEntry.load(content, now)
    if entry is not None:
        return entry.credentials.expiry <= now
    if Keepsake.load(content, now) is not None:
        return False
    return kept is None or (kept.token.expiry is not None and kept.token.expiry <= now)


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


def _dump(kind: str, fields: Mapping[str, Any]) -> bytes:
    return json.dumps({"format": FORMAT, "kind": kind, **fields}, ensure_ascii=True).encode("ascii")


def _load(kind: str, owner: type[_T], content: bytes | None) -> _T | None:
    try:
        fields = json.loads(content or b"")
        if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT or fields.pop("kind", None) != kind:
            return None
        return _restore(owner, fields)
    except (ValueError, TypeError, RecursionError):
        return None


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
        is_right = -_LATEST < value < _LATEST
    elif is_right and kind == "CredentialType":
        is_right = value in get_args(CredentialType)
    if not is_right:
        raise TypeError(declared)
    if isinstance(value, list):
        return tuple(_field("str", item) for item in value)
    return value


_LATEST = 250_000_000_000.0
"""Seconds since the epoch, in the year 9892: later moments, and what is no number at all, break calendars."""

_NESTED: dict[str, Callable[..., Any]] = {"AWSCredentials": AWSCredentials, "VaultToken": VaultToken}
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "float": (float, int),
    "int": (int,),
    "bool": (bool,),
    "tuple[str, ...]": (list,),
    "CredentialType": (str,),
}
