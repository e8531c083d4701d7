"""A token that somebody else obtained: handed in, in the keyring, in the token file, or known to a token helper.

https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self; the file ``~/.vault-token`` and what may
take its place: https://developer.hashicorp.com/vault/docs/commands/token-helper
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import sources
from vault_credential_process.auth import token_helper
from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.errors import (
    AuthenticationError,
    AuthUnavailable,
    ConfigurationError,
    PermissionDeniedError,
)
from vault_credential_process.models import Identity, VaultToken
from vault_credential_process.parsers import whole_path

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault

DEFAULT_FILE = "~/.vault-token"
FILE_VARIABLES = ("BAO_TOKEN_PATH", "VAULT_TOKEN_PATH")
"""What names another file to ``bao``."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Token(AuthMethod):
    """Use a token that was handed in, else the one that ``vault login`` or ``bao login`` left behind."""

    name: ClassVar[str] = "token"
    default_mount: ClassVar[str] = "token"
    summary: ClassVar[str] = "a token of your own: VAULT_TOKEN, a token file, or a token helper"
    ambient: ClassVar[tuple[str, ...]] = (*token_helper.VARIABLES, *FILE_VARIABLES)

    vault_token_file: str | None = sources.from_file("vault_token", "Vault token")
    vault_token_keyring: str | None = sources.from_keyring("vault_token", "Vault token")
    vault_token_command: tuple[str, ...] | None = sources.from_command("vault_token", "Vault token")
    vault_token: str | None = sources.from_environment("vault_token", "Vault token")

    def at_home(self) -> None:
        """Leave it to :meth:`identity`: a token is there or not."""

    def identity(self) -> Identity:
        """Return the token as a secret: it is all that tells who we are. One that takes asking enters by its place."""
        parts, secrets = self._find().told()
        return Identity((self.name, *parts), secrets)

    def watched(self) -> tuple[str, ...]:
        source = sources.find(self.config, "vault_token")
        if source is not None:
            return (os.path.abspath(source.place),) if source.key.endswith("_file") else ()
        return (*token_helper.files(self.config.ambient), self._default_file())

    def login(self, vault: Vault) -> VaultToken:
        """Look the token up once, before it is used, so that its life and its uses are known.

        A token that may not look itself up is used as it is, with ``vault_token_ttl`` as its life.
        """
        origin = self._find()
        value = origin.read(vault.deadline)
        if not value:
            raise AuthUnavailable(f"VAULT_TOKEN is not set and {origin} holds no token")
        try:
            VaultToken(value)
        except ValueError as error:
            raise ConfigurationError(f"the token from {origin} is {error}") from None
        token = looked_up(vault, value, str(origin))
        if token.uses_left is not None and token.uses_left < 2:
            raise AuthenticationError(
                f"the token from {origin} has {token.uses_left} uses left; reading credentials wants two: "
                "with the last one Vault revokes them at once; get a token with more uses, or without a limit"
            )
        return token

    def _find(self) -> sources.Source | token_helper.Helper:
        """Return where the token is."""
        config = self.config
        found = sources.find(config, "vault_token") or token_helper.find(config.ambient, config.vault_addr)
        if found is not None:
            return found
        path = self._default_file()
        told = DEFAULT_FILE if path == os.path.expanduser(DEFAULT_FILE) else path
        if not os.path.exists(path):
            raise AuthUnavailable(f"VAULT_TOKEN is not set and there is no {told}")
        return sources.Source("vault_token_file", path, told)

    def _default_file(self) -> str:
        """Return the file that holds the token where no helper does."""
        named = [self.config.ambient[name] for name in FILE_VARIABLES if name in self.config.ambient]
        return whole_path((*named, DEFAULT_FILE)[0])


def looked_up(vault: Vault, value: str | None, origin: str) -> VaultToken:
    """Return a token that came from outside, with its life; ``None`` stands for the one that an Agent adds.

    One that may not look itself up lives for ``vault_token_ttl``, or for nobody knows how long.
    """
    try:
        return vault.look_up(value, origin=origin)
    except PermissionDeniedError:
        ttl = vault.config.vault_token_ttl
        return VaultToken(
            value,
            expiry=vault.now() + ttl if ttl else None,
            expiry_known=ttl is not None,
            external=True,
            looked_up=False,
        )
