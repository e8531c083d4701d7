"""Kubernetes: the token of the pod's service account, which the kubelet projects into a file and replaces.

https://developer.hashicorp.com/vault/api-docs/auth/kubernetes#login
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import sources
from vault_credential_process.auth.bearer import BearerMethod
from vault_credential_process.config import require
from vault_credential_process.errors import AuthUnavailable
from vault_credential_process.models import Identity, option, options_of
from vault_credential_process.parsers import parse_path

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault

DEFAULT_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes(BearerMethod):
    """Log in as the pod's service account."""

    name: ClassVar[str] = "kubernetes"
    default_mount: ClassVar[str] = "kubernetes"
    summary: ClassVar[str] = "the service account of a pod"
    further_advice: ClassVar[str] = ", and that Vault reaches the cluster (its log says why not)"

    vault_kubernetes_token_file: str | None = option(
        "VAULT_KUBERNETES_TOKEN_FILE",
        flag="--kubernetes-token-file",
        parse=parse_path,
        metavar="FILE",
        help=f"file of the service account's token, read at each login (default: {DEFAULT_FILE})",
    )

    def at_home(self) -> None:
        """Take a pod's token file, where a role says that it is meant for Vault."""
        if not os.path.exists(DEFAULT_FILE):
            raise AuthUnavailable(f"not in a pod: there is no {DEFAULT_FILE}")
        if not self.config.vault_auth_role:
            raise AuthUnavailable("vault_auth_role is not set")

    def identity(self) -> Identity:
        """Return role and file; Vault has no default role here."""
        if not self.config.vault_auth_role:
            raise require(self.config, "vault_auth_role", options_of(type(self.config)))
        return super(Kubernetes, self).identity()

    def _source(self) -> tuple[str, ...]:
        return (self._file(),)

    def _proof(self, vault: Vault) -> tuple[str, str]:
        del vault
        # The kubelet chooses the mode, and nobody in the pod can change it.
        token = sources.read_file(self._file(), "vault_kubernetes_token_file", private=False)
        return token, self._file()

    def _file(self) -> str:
        return self.vault_kubernetes_token_file or DEFAULT_FILE
