"""A token that somebody else obtained: from ``VAULT_TOKEN``, ``BAO_TOKEN`` or a token file.

https://developer.hashicorp.com/vault/docs/commands/token-helper (the file ``~/.vault-token``)
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import sources
from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.errors import (
    AuthenticationError,
    AuthUnavailable,
    ConfigurationError,
    PermissionDeniedError,
)
from vault_credential_process.models import Identity, VaultToken, option
from vault_credential_process.parsers import parse_path

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault

DEFAULT_FILE = "~/.vault-token"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Token(AuthMethod):
    """Use a token that was handed in: from a file that was named, the environment, else ``~/.vault-token``."""

    name: ClassVar[str] = "token"
    default_mount: ClassVar[str] = "token"
    summary: ClassVar[str] = "a token of your own: VAULT_TOKEN, or a token file"

    vault_token_file: str | None = option(
        "VAULT_TOKEN_FILE",
        flag="--token-file",
        parse=parse_path,
        metavar="FILE",
        help=f"file that holds a Vault token (default: {DEFAULT_FILE})",
    )
    vault_token: str | None = option("VAULT_TOKEN", secret=True, help="the Vault token itself")

    def identity(self) -> Identity:
        """Return the token as a secret: it is all that tells who we are."""
        return Identity((self.name,), (self._find()[0],))

    def watched(self) -> tuple[str, ...]:
        return (self.vault_token_file or os.path.expanduser(DEFAULT_FILE),)

    def login(self, vault: Vault) -> VaultToken:
        """Look the token up once, before it is used, so that its life and its uses are known.

        A token that may not look itself up is used as it is, with ``vault_token_ttl`` as its life.
        """
        value, origin = self._find()
        try:
            VaultToken(value)
        except ValueError as error:
            raise ConfigurationError(f"the token from {origin} is {error}") from None
        try:
            token = vault.look_up(value, origin=origin)
        except PermissionDeniedError:
            ttl = self.config.vault_token_ttl
            asked_at = vault.now()
            return VaultToken(
                value,
                expiry=asked_at + ttl if ttl else None,
                expiry_known=ttl is not None,
                external=True,
                looked_up=False,
            )
        if token.uses_left is not None and token.uses_left < 2:
            raise AuthenticationError(
                f"the token from {origin} has {token.uses_left} uses left; reading credentials wants two: "
                "with the last one Vault revokes them at once; get a token with more uses, or without a limit"
            )
        return token

    def _find(self) -> tuple[str, str]:
        """Return the token and where it was found."""
        source = self.config.foremost("vault_token", "vault_token_file")
        if source == "vault_token" and self.vault_token:
            return self.vault_token.strip(), str(self.config.origin(source))
        if source == "vault_token_file" and self.vault_token_file:
            return sources.read_file(self.vault_token_file, source), self.vault_token_file
        path = os.path.expanduser(DEFAULT_FILE)
        if not os.path.exists(path):
            raise AuthUnavailable(f"VAULT_TOKEN is not set and there is no {DEFAULT_FILE}")
        return sources.read_file(path, "token file"), DEFAULT_FILE
