"""The secrets that are planted: new ones for each test, hard to quote, each of a kind that design and docs speak of."""

from __future__ import annotations

import dataclasses
import secrets

KINDS = {
    "AWS credentials": "access key, secret key and session token, as Vault hands them out",
    "sign-in token": "of an address that signs in to the AWS console",
    "endpoint token": "what clients of `serve` and `exec` send",
    "Vault token": "handed in, or brought by a login; the tokens of a refused or wrapped answer too",
    "wrapping token": "what wraps a Secret ID",
    "Secret ID": "handed in",
    "unwrapped Secret ID": "what a wrapping token held; it serves once, so it is kept",
    "JWT": "of a job, a service account, a machine",
    "password": "of a user, or a proxy",
    "GitHub token": "of a person or a job",
    "AWS keys": "those that sign a login",
    "nonce": "of an instance, handed in",
    "kept nonce": "of an instance, made here at its first login",
    "private key": "of a client certificate",
    "code": "of a second factor, or what a browser came back with",
    "proof": "whatever else was sent to log in: all but a few public fields, and tokens in headers",
}
"""Every kind, and what is meant by it."""


@dataclasses.dataclass(frozen=True)
class Secret:
    """One planted secret."""

    kind: str
    value: str = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind
        assert len(self.value) >= 6, "too short to be looked for"


def word(prefix: str = "canary") -> str:
    """Return a text that stands nowhere else."""
    return f"{prefix}-{secrets.token_hex(12)}"


def awkward(prefix: str = "canary") -> str:
    """Return such a text that every way of quoting writes otherwise."""
    return f"""{prefix} "{secrets.token_hex(6)}"\\<&ü>+/=%41'{secrets.token_hex(6)}"""


def token() -> Secret:
    """Return a Vault token."""
    return Secret("Vault token", word("hvs.CANARY"))


class Pair:
    """AWS credentials, with what only a URL or base64 would change."""

    def __init__(self, *, temporary: bool = True) -> None:
        """Make them; those of an IAM user are not temporary."""
        self.access_key = f"{'ASIA' if temporary else 'AKIA'}{secrets.token_hex(8).upper()}"
        self.secret_key = f"{secrets.token_hex(10)}/{secrets.token_hex(9)}+="
        self.session_token = f"{secrets.token_hex(20)}//+{secrets.token_hex(20)}==" if temporary else None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What of them is looked for."""
        values = (self.access_key, self.secret_key, self.session_token)
        return tuple(Secret("AWS credentials", value) for value in values if value)

    @property
    def data(self) -> dict[str, str | None]:
        """Them as Vault answers."""
        return {
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            **({"security_token": self.session_token} if self.session_token else {}),
        }
