"""GCP: an identity token of the service account that a workload on Google Cloud runs as.

https://developer.hashicorp.com/vault/api-docs/auth/gcp#login; Google's part:
https://cloud.google.com/compute/docs/instances/verifying-instance-identity#request_signature and
https://cloud.google.com/run/docs/securing/service-identity
"""

from __future__ import annotations

import dataclasses
import urllib.parse
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.auth import metadata
from vault_credential_process.auth.bearer import BearerMethod
from vault_credential_process.config import require
from vault_credential_process.errors import (
    AuthenticationError,
    AuthUnavailable,
    ConfigurationError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.models import Identity, option, options_of
from vault_credential_process.parsers import parse_address, parse_service_account

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault

DEFAULT_HOST = "metadata.google.internal"
HOST = "GCE_METADATA_HOST"
SERVICE = "K_SERVICE"

LIMIT = 5.0
"""Seconds that one request to the metadata server may take."""

_WHAT = "the identity token of Google Cloud"
_WHERE = "on Google Cloud"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GCP(BearerMethod):
    """Log in with the service account of a Google Cloud workload."""

    name: ClassVar[str] = "gcp"
    default_mount: ClassVar[str] = "gcp"
    summary: ClassVar[str] = "the service account of a Google Cloud workload"
    ambient: ClassVar[tuple[str, ...]] = (HOST, SERVICE)
    further_advice: ClassVar[str] = ", its type (gce on Compute Engine, iam elsewhere) and, for iam, max_jwt_exp=60m"

    vault_gcp_service_account: str | None = option(
        "VAULT_GCP_SERVICE_ACCOUNT",
        flag="--gcp-service-account",
        parse=parse_service_account,
        metavar="EMAIL",
        help="service account to log in as, where several are attached (default: default)",
    )

    def at_home(self) -> None:
        """Take what Cloud Run, or a metadata server that is named, provides, where a role says that it is for Vault."""
        if not self.config.vault_auth_role:
            raise AuthUnavailable("vault_auth_role is not set")
        if not self.config.ambient.keys() & {HOST, SERVICE}:
            raise AuthUnavailable(f"not on Cloud Run: neither {SERVICE} nor {HOST} is set")

    def identity(self) -> Identity:
        """Return role and service account; Vault has no default role here."""
        if not self.config.vault_auth_role:
            raise require(self.config, "vault_auth_role", options_of(type(self.config)))
        return super(GCP, self).identity()

    def _source(self) -> tuple[str, ...]:
        return (self._address(), self._account())

    def _proof(self, vault: Vault) -> tuple[str, str]:
        address = f"{self._address()}/computeMetadata/v1/instance/service-accounts/{self._account()}/identity"
        reply = metadata.fetch(
            address,
            deadline=vault.deadline,
            what=_WHAT,
            headers={"Metadata-Flavor": "Google"},
            # Vault looks at how the audience ends, whatever its own address; this is the one of its documentation.
            params={"audience": f"http://vault/{self.config.vault_auth_role}", "format": "full"},
            limit=LIMIT,
            retries=self.config.vault_max_retries,
            where=_WHERE,
        )
        if reply.status != 200:
            raise self._without_token(address, reply.status)
        if reply.headers.get("Metadata-Flavor") != "Google":
            raise UnreachableError(
                f"{_WHAT}: {address}: the answer is not that of Google's metadata server; check {HOST} and DNS"
            )
        return reply.body.decode("latin-1").strip(), "the metadata server"

    def _without_token(self, address: str, status: int) -> VaultCredentialError:
        """Return what a refusal means; its own words may be anything, so they are not repeated."""
        if status == 404:
            return AuthenticationError(
                f"{_WHAT}: {address}: HTTP 404: no such service account here; attach it to this workload, or correct "
                f"vault_gcp_service_account (from {self.config.origin('vault_gcp_service_account')})"
            )
        if 400 <= status < 500 and status != 429:
            return AuthenticationError(
                f"{_WHAT}: {address}: refused with HTTP {status}; on GKE let the pod's service account act for this "
                "one (roles/iam.workloadIdentityUser)"
            )
        return UnreachableError(
            f"{_WHAT}: {address}: HTTP {status} and no token; try again in a minute (only {_WHERE})"
        )

    def _account(self) -> str:
        return self.vault_gcp_service_account or "default"

    def _address(self) -> str:
        host = self.config.ambient.get(HOST, DEFAULT_HOST).strip()
        address = f"http://{host}"
        try:
            is_host = parse_address(address) == address and not urllib.parse.urlsplit(address).path
        except ValueError:
            is_host = False
        if not is_host:
            raise ConfigurationError(f"{HOST}: not a host; write host or host:port")
        return address
