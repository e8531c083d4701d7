"""GitHub: a personal access token of a member of the organisation.

https://developer.hashicorp.com/vault/api-docs/auth/github#login
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import sources
from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.models import Identity, VaultToken

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GitHub(AuthMethod):
    """Log in with a personal access token."""

    name: ClassVar[str] = "github"
    default_mount: ClassVar[str] = "github"
    summary: ClassVar[str] = "a personal access token of GitHub"

    vault_github_token_file: str | None = sources.from_file("vault_github_token", "GitHub token")
    vault_github_token_keyring: str | None = sources.from_keyring("vault_github_token", "GitHub token")
    vault_github_token_command: tuple[str, ...] | None = sources.from_command("vault_github_token", "GitHub token")
    vault_github_token: str | None = sources.from_environment("vault_github_token", "GitHub token")

    def identity(self) -> Identity:
        """Return the token as a secret: it is all that tells who we are."""
        source = sources.find(self.config, "vault_github_token")
        parts, secrets = source.told() if source is not None else ((), ())
        return Identity((self.name, self.mount, *parts), secrets)

    def watched(self) -> tuple[str, ...]:
        return (self.vault_github_token_file,) if self.vault_github_token_file else ()

    def login(self, vault: Vault) -> VaultToken:
        """Log in at ``auth/<mount>/login``."""
        source = sources.find(self.config, "vault_github_token")
        if source is not None:
            token, origin = source.read(vault.deadline), f"the GitHub token (from {source})"
        elif vault.person is not None:
            token, origin = vault.person.ask("Personal access token of GitHub: "), "the GitHub token"
        else:
            raise self.nobody_is_logged_in()
        remedy = f"check {origin}: it needs the scope read:org, and its owner must be a member of the organisation"
        return vault.login(
            f"auth/{self.mount}/login", {"token": token}, mount=self.mount, remedy=remedy, secrets=[token]
        )
