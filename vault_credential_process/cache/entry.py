"""What is kept: AWS credentials and Vault tokens as ASCII JSON, and the keys they are kept under."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from vault_credential_process.cache.place import Place
from vault_credential_process.config import Config
from vault_credential_process.fastpath import FORMAT
from vault_credential_process.models import AWSCredentials, Identity, VaultToken

_T = TypeVar("_T", AWSCredentials, VaultToken)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Credentials in a cache.

    ``proven`` is false until AWS knew a freshly made IAM user; ``previous`` is the pair that is served meanwhile.
    ``failure`` is why they were last not refreshed, in words without a secret. ``label`` tells people what it is:
    profile, role path and address.
    """

    credentials: AWSCredentials
    proven: bool = True
    previous: AWSCredentials | None = None
    failure: str | None = None
    failed_at: float | None = None
    token_key: str = ""
    profile: str | None = None
    aws_path: str = ""
    vault_addr: str = ""

    def dump(self) -> bytes:
        """Return the entry as it is kept."""
        return _dump("credentials", dataclasses.asdict(self))

    @classmethod
    def load(cls, content: bytes | None, now: float) -> Entry | None:
        """Return a kept entry; ``None`` where it is garbage, of another version, or from the future."""
        fields = _load("credentials", content)
        if fields is None:
            return None
        try:
            credentials = _restore(AWSCredentials, fields.pop("credentials"))
            previous = fields.pop("previous")
            entry = cls(
                credentials=credentials,
                previous=None if previous is None else _restore(AWSCredentials, previous),
                **fields,
            )
            is_sane = credentials.issued <= now + 60 and credentials.issued < credentials.expiry
        except (TypeError, KeyError, ValueError, AttributeError):
            return None
        return entry if is_sane else None


@dataclasses.dataclass(frozen=True, slots=True)
class TokenEntry:
    """A Vault token in a cache, with the life it had when it was made or renewed (``None``: it does not end)."""

    token: VaultToken
    life: float | None
    profile: str | None = None
    path: str = ""
    vault_addr: str = ""

    def dump(self) -> bytes:
        """Return the entry as it is kept."""
        return _dump("token", dataclasses.asdict(self))

    @classmethod
    def load(cls, content: bytes | None) -> TokenEntry | None:
        """Return a kept entry; ``None`` where it is garbage or of another version."""
        fields = _load("token", content)
        try:
            return None if fields is None else cls(**{**fields, "token": _restore(VaultToken, fields["token"])})
        except (TypeError, KeyError, ValueError, AttributeError):
            return None


def token_key(place: Place, config: Config, identity: Identity) -> str:
    """Return the key of a token: everything that a login depends on."""
    return place.hash(
        FORMAT, "token", config.vault_addr, config.auth_namespace or "", *identity.parts, "\0", *identity.secrets
    )


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
        "token_ttl": config.vault_token_ttl,
    }
    return place.hash("credentials", token_key(place, config, identity), json.dumps(parameters, sort_keys=True))


def _dump(kind: str, fields: Mapping[str, Any]) -> bytes:
    return json.dumps({"format": FORMAT, "kind": kind, **fields}, ensure_ascii=True).encode("ascii")


def _load(kind: str, content: bytes | None) -> dict[str, Any] | None:
    try:
        fields = json.loads(content or b"")
    except ValueError:
        return None
    if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT or fields.pop("kind", None) != kind:
        return None
    return fields


def _restore(owner: type[_T], fields: Any) -> _T:
    """Return a value whose every field has the type that it was kept with.

    :raises TypeError: when a field is missing, unknown, or of another type.
    """
    make: Callable[..., _T] = owner
    restored = make(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
    for field in dataclasses.fields(restored):
        value = getattr(restored, field.name)
        allowed = _TYPES[str(field.type)]
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise TypeError(field.name)
    return restored


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "int | None": (int, type(None)),
    "bool": (bool,),
    "tuple[str, ...]": (tuple,),
    "CredentialType": (str,),
}
