"""JWT: a JSON Web Token that somebody signed whom Vault trusts: the platform of a CI job, for one.

https://developer.hashicorp.com/vault/api-docs/auth/jwt#jwt-login; GitHub's part:
https://docs.github.com/en/actions/reference/security/oidc#methods-for-requesting-the-oidc-token; GitLab's:
https://docs.gitlab.com/ci/secrets/id_token_authentication/
"""

from __future__ import annotations

import dataclasses
import os
import urllib.parse
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import sources
from vault_credential_process.auth.bearer import BearerMethod, bearer_of
from vault_credential_process.errors import (
    AuthenticationError,
    AuthUnavailable,
    ConfigurationError,
    UnreachableError,
)
from vault_credential_process.models import is_word, option
from vault_credential_process.parsers import is_loopback

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault

GITLAB = "VAULT_ID_TOKEN"
REQUEST_URL = "ACTIONS_ID_TOKEN_REQUEST_URL"
REQUEST_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 - the name of a variable


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JWT(BearerMethod):
    """Log in with a JSON Web Token: what an option names goes before what a CI platform provides."""

    name: ClassVar[str] = "jwt"
    default_mount: ClassVar[str] = "jwt"
    summary: ClassVar[str] = "a JSON Web Token: of a CI job, a file, a variable or a command"
    ambient: ClassVar[tuple[str, ...]] = (GITLAB, REQUEST_URL, REQUEST_TOKEN, "GITLAB_CI", "GITHUB_ACTIONS")

    vault_jwt_file: str | None = sources.from_file("vault_jwt", "JSON Web Token")
    vault_jwt_command: tuple[str, ...] | None = sources.from_command("vault_jwt", "JSON Web Token")
    vault_jwt: str | None = sources.from_environment("vault_jwt", "JSON Web Token")
    vault_jwt_audience: str | None = option(
        "VAULT_JWT_AUDIENCE",
        flag="--jwt-audience",
        help="audience to ask GitHub Actions for (default: GitHub's own, the address of the repository's owner)",
    )

    def at_home(self) -> None:
        """Take what a CI platform provides, where a role says that it is meant for Vault."""
        if not self.config.vault_auth_role:
            raise AuthUnavailable("vault_auth_role is not set")
        self._source()

    def watched(self) -> tuple[str, ...]:
        source = sources.find(self.config, "vault_jwt")
        return (os.path.abspath(source.place),) if source is not None and source.key.endswith("_file") else ()

    def _source(self) -> tuple[str, ...]:
        source = sources.find(self.config, "vault_jwt")
        if source is not None and not source.is_fixed:
            return source.told()[0]
        if source is not None:
            return (source.key,) if source.key == "vault_jwt" else (source.key, source.place)
        if GITLAB in self.config.ambient:
            return (GITLAB,)
        present = [name for name in (REQUEST_URL, REQUEST_TOKEN) if name in self.config.ambient]
        if not present:
            raise AuthUnavailable(self._absence())
        if len(present) == 1:
            (missing,) = {REQUEST_URL, REQUEST_TOKEN} - set(present)
            raise ConfigurationError(f"{missing}: not set, but {present[0]} is; hand both on to where this runs")
        return (REQUEST_URL, self.vault_jwt_audience or "")

    def _secrets(self) -> tuple[str, ...]:
        """Return what the token claims, or what asks for it; of a command nobody knows before it runs."""
        source = sources.find(self.config, "vault_jwt")
        if source is not None:
            return tuple(bearer_of(token) for token in source.told()[1])
        if GITLAB in self.config.ambient:
            return (bearer_of(self.config.ambient[GITLAB].strip()),)
        return (self.config.ambient[REQUEST_URL], self.config.ambient[REQUEST_TOKEN])

    def _absence(self) -> str:
        if "GITHUB_ACTIONS" in self.config.ambient:
            return "the GitHub Actions job has no identity token: give it permissions: id-token: write"
        if "GITLAB_CI" in self.config.ambient:
            return f"the GitLab job has no identity token: give it id_tokens: {GITLAB}"
        return "no vault_jwt_file, vault_jwt_command or VAULT_JWT, and not in a job of GitHub Actions or GitLab"

    def _proof(self, vault: Vault) -> tuple[str, str]:
        source = sources.find(self.config, "vault_jwt")
        if source is not None:
            return source.read(vault.deadline), str(source)
        if self._source() == (GITLAB,):
            return self.config.ambient[GITLAB].strip(), GITLAB
        return self._from_github(vault), "GitHub Actions"

    def _from_github(self, vault: Vault) -> str:
        """Return a token that GitHub has just signed for this job."""
        from vault_credential_process.auth import metadata

        url = self.config.ambient[REQUEST_URL]
        try:
            parts = urllib.parse.urlsplit(url)
            is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
            is_address = bool(parts.hostname) and (parts.port is None or parts.port > 0) and url.isprintable()
        except ValueError:
            is_safe = is_address = False
        if not (is_safe and is_address):
            raise ConfigurationError(f"{REQUEST_URL}: not an https address; take it from the job as it is")
        if not is_word(self.config.ambient[REQUEST_TOKEN]):
            raise ConfigurationError(f"{REQUEST_TOKEN}: not a token; take it from the job as it is")
        what = "the identity token of GitHub Actions"
        reply = metadata.fetch(
            url,
            deadline=vault.deadline,
            what=what,
            headers={"Authorization": f"bearer {self.config.ambient[REQUEST_TOKEN]}", "Accept": "application/json"},
            params={"audience": self.vault_jwt_audience} if self.vault_jwt_audience else None,
            retries=self.config.vault_max_retries,
            use_proxy=True,
        )
        if 400 <= reply.status < 500 and reply.status != 429:
            raise AuthenticationError(
                f"{what}: refused with HTTP {reply.status}; does the job still run that {REQUEST_TOKEN} was made for?"
            )
        value = reply.json().get("value")
        if reply.status != 200 or not isinstance(value, str):
            raise UnreachableError(
                f"{what}: HTTP {reply.status} and no token; try again, or look at GitHub's status page"
            )
        return value
