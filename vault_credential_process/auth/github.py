"""GitHub: a personal access token of a member of the organisation.

https://developer.hashicorp.com/vault/api-docs/auth/github#login
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import refusals, sources
from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.errors import ConfigurationError, VaultCredentialError
from vault_credential_process.models import Identity, VaultToken
from vault_credential_process.refusals import Refusal, RefusedError

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault

_REFUSED = ("bad credentials", "not part of required org", "not accessible by personal access token")
"""What is wrong with the token; Vault says so with the status of a failure of its own (500)."""


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

    @property
    def needs_host_cache(self) -> bool:
        """Whether what a login brings must outlive the process: without a stored token a person logged in elsewhere."""
        return sources.find(self.config, "vault_github_token") is None

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
        if not token:
            where = source or "the answer"
            raise ConfigurationError(f"{source.key if source else 'vault_github_token'}: {where}: empty")
        path = f"auth/{self.mount}/login"
        try:
            answer = vault.ask(path, {"token": token}, secrets=[token])
        except RefusedError as error:
            raise self._refused(error.refusal, origin) from None
        return vault.granted(answer, path)

    def _refused(self, refusal: Refusal, origin: str) -> VaultCredentialError:
        said = " ".join(refusal.errors or ()).lower()
        if refusal.status == 500 and any(words in said for words in _REFUSED):
            refusal = dataclasses.replace(refusal, status=400)
        remedy = f"check {origin}: it needs the scope read:org, and its owner must be a member of the organisation"
        return refusals.login(refusal, mount=self.mount, remedy=remedy)
