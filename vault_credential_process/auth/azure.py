"""Azure: an access token of the managed identity of a virtual machine or an app, and what tells which machine it is.

https://developer.hashicorp.com/vault/api-docs/auth/azure#login; Microsoft's part:
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token,
https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference and
https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from vault_credential_process import refusals
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
from vault_credential_process.models import Identity, VaultToken, is_word, option, options_of
from vault_credential_process.parsers import parse_address, parse_guid
from vault_credential_process.refusals import RefusedError

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault

DEFAULT_RESOURCE = "https://management.azure.com/"
IMDS = "http://169.254.169.254"
IMDS_HOST = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
ENDPOINT, HEADER = "IDENTITY_ENDPOINT", "IDENTITY_HEADER"

LIMIT = 5.0
"""Seconds that one request to a metadata service may take."""

_WHAT = "the token of the managed identity"
_METADATA = "the metadata of the virtual machine"
_WHERE = "on an Azure VM, or in App Service, Functions or Container Apps"
_UPDATING = (404, 410)
"""How the metadata service answers while it is being updated."""

_CLOCKS = "check the clocks of this host and of Vault's"
_UNTOLD = "the role is bound to what the metadata does not tell here"
_ELSEWHERE = (
    "name the resource whose identity this is: check vault_azure_resource_group, and vault_azure_resource_id or "
    "vault_azure_vm_name"
)
_VERDICTS = {
    "expected audience": "vault_azure_resource must be what resource in the mount's config is",
    "issued by a different provider": "the identity is of another tenant than tenant_id in the mount's config",
    "token is expired": _CLOCKS,
    "(not before)": _CLOCKS,
    "not yet valid": _CLOCKS,
    "subscription_id and resource_group_name are required": (
        f"set vault_azure_subscription_id, vault_azure_resource_group and vault_azure_resource_id: {_UNTOLD}"
    ),
    "vm_name, vmss_name": f"set vault_azure_resource_id: {_UNTOLD}",
    "match expected identities": _ELSEWHERE,
    "claim does not match": _ELSEWHERE,
    "resource_id does not match": _ELSEWHERE,
    "claims are missing": (
        f"take {DEFAULT_RESOURCE} for vault_azure_resource and in the mount's config: a token for another resource "
        "tells of no machine"
    ),
    "service principal not authorized": "",
    "groups not authorized": "",
    "subscription not authorized": "",
    "resource group not authorized": "",
    "location not authorized": "",
    "scale set not authorized": "",
}
"""What Vault says of an identity that it refuses, with status 500, and what to do about it; empty: look at the role."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Azure(BearerMethod):
    """Log in with the managed identity of an Azure resource."""

    name: ClassVar[str] = "azure"
    default_mount: ClassVar[str] = "azure"
    summary: ClassVar[str] = "the managed identity of an Azure resource"
    ambient: ClassVar[tuple[str, ...]] = (ENDPOINT, HEADER, IMDS_HOST)

    vault_azure_resource: str | None = option(
        "VAULT_AZURE_RESOURCE",
        flag="--azure-resource",
        metavar="URI",
        help=f"resource that the token is for, as the mount's config has it (default: {DEFAULT_RESOURCE})",
    )
    vault_azure_client_id: str | None = option(
        "VAULT_AZURE_CLIENT_ID",
        flag="--azure-client-id",
        parse=parse_guid,
        metavar="GUID",
        help="client ID of the user-assigned identity to take (default: the one that Azure takes)",
    )
    vault_azure_subscription_id: str | None = option(
        "VAULT_AZURE_SUBSCRIPTION_ID",
        flag="--azure-subscription-id",
        parse=parse_guid,
        metavar="GUID",
        help="subscription to name at the login (default: what the metadata of the VM tells)",
    )
    vault_azure_resource_group: str | None = option(
        "VAULT_AZURE_RESOURCE_GROUP",
        flag="--azure-resource-group",
        metavar="NAME",
        help="resource group to name at the login (default: what the metadata of the VM tells)",
    )
    vault_azure_vm_name: str | None = option(
        "VAULT_AZURE_VM_NAME",
        flag="--azure-vm-name",
        metavar="NAME",
        help="virtual machine to name at the login (default: what its metadata tells)",
    )
    vault_azure_vmss_name: str | None = option(
        "VAULT_AZURE_VMSS_NAME",
        flag="--azure-vmss-name",
        metavar="NAME",
        help="scale set to name at the login (default: what the metadata of the VM tells)",
    )
    vault_azure_resource_id: str | None = option(
        "VAULT_AZURE_RESOURCE_ID",
        flag="--azure-resource-id",
        metavar="ID",
        help="ID of the resource to name at the login instead of a VM: an app's, for one",
    )

    def at_home(self) -> None:
        """Take an app's identity, where a role says that it is meant for Vault; of a VM nothing here tells."""
        if not self.config.vault_auth_role:
            raise AuthUnavailable("vault_auth_role is not set")
        if ENDPOINT not in self.config.ambient:
            raise AuthUnavailable(f"not in an app on Azure: {ENDPOINT} is not set")

    def identity(self) -> Identity:
        """Return role, resource and identity; Vault has no default role here."""
        if not self.config.vault_auth_role:
            raise require(self.config, "vault_auth_role", options_of(type(self.config)))
        return super(Azure, self).identity()

    def _source(self) -> tuple[str, ...]:
        place = self.config.ambient[ENDPOINT].strip() if self._is_app() else self._imds()
        return (place, self._resource(), self.vault_azure_client_id or "", *map("=".join, self._named().items()))

    def _secrets(self) -> tuple[str, ...]:
        """Return what an app shows to be given its token: one endpoint may serve several."""
        return (self.config.ambient[HEADER],) if self._is_app() else ()

    def _proof(self, vault: Vault) -> tuple[str, str]:
        params = {"resource": self._resource()}
        if self.vault_azure_client_id:
            params["client_id"] = self.vault_azure_client_id
        if self._is_app():
            address = self._address(ENDPOINT)
            params["api-version"] = "2019-08-01"
            headers = {"X-IDENTITY-HEADER": self.config.ambient[HEADER]}
            reply = self._ask(vault, address, params, headers)
        else:
            address = f"{self._imds()}/metadata/identity/oauth2/token"
            params["api-version"] = "2018-02-01"
            reply = self._ask(vault, address, params, {"Metadata": "true"}, again=_UPDATING)
        token = reply.json().get("access_token")
        if reply.status == 200 and isinstance(token, str):
            return token, "the managed identity"
        raise self._without_token(address, reply)

    def _without_token(self, address: str, reply: metadata.Reply) -> VaultCredentialError:
        """Return what an answer without a token means; its own words may be anything, so they are not repeated."""
        if reply.status == 400 and reply.json().get("error") == "invalid_resource":
            return ConfigurationError(
                f"{_WHAT}: {address}: HTTP 400: the tenant has no resource {self._resource()}; correct "
                f"vault_azure_resource (from {self.config.origin('vault_azure_resource')})"
            )
        if reply.status == 400 and self.vault_azure_client_id:
            return AuthenticationError(
                f"{_WHAT}: {address}: HTTP 400: no such identity here; assign it to this resource, or correct "
                f"vault_azure_client_id (from {self.config.origin('vault_azure_client_id')})"
            )
        if reply.status == 400:
            return AuthenticationError(
                f"{_WHAT}: {address}: HTTP 400: no identity here, or several; assign one to this resource, and set "
                "vault_azure_client_id if it is a user-assigned one"
            )
        if reply.status in (401, 403) and self._is_app():
            return AuthenticationError(
                f"{_WHAT}: {address}: refused with HTTP {reply.status}; hand {ENDPOINT} and {HEADER} on as the app has "
                "them"
            )
        if reply.status in (401, 403):
            return UnreachableError(
                f"{_WHAT}: {address}: refused with HTTP {reply.status}; let this process reach Azure's metadata "
                f"service (only {_WHERE})"
            )
        return UnreachableError(
            f"{_WHAT}: {address}: HTTP {reply.status} and no token; try again in a minute, if this is Azure at all "
            f"(only {_WHERE})"
        )

    def _further(self, vault: Vault) -> dict[str, str]:
        """Return what tells which resource asks: what is configured, and of a VM its metadata.

        Vault needs it where the role is bound to more than identities and groups. A container may get a token where
        no metadata is told, so a refusal leaves it to Vault to say what it misses.
        """
        named = self._named()
        has_machine = bool(named.keys() & {"vm_name", "vmss_name", "resource_id"})
        if self._is_app() or (has_machine and {"subscription_id", "resource_group_name"} <= named.keys()):
            return named
        address = f"{self._imds()}/metadata/instance"
        params, headers = {"api-version": "2021-02-01"}, {"Metadata": "true"}
        reply = self._ask(vault, address, params, headers, what=_METADATA, again=_UPDATING)
        if reply.status >= 500 or reply.status in (410, 429):
            raise UnreachableError(f"{_METADATA}: {address}: HTTP {reply.status}; try again in a minute")
        compute = reply.json().get("compute")
        told: dict[str, Any] = compute if reply.status == 200 and isinstance(compute, dict) else {}
        found = {"subscription_id": told.get("subscriptionId"), "resource_group_name": told.get("resourceGroupName")}
        if not has_machine:
            found |= {"vm_name": told.get("name"), "vmss_name": told.get("vmScaleSetName")}
        return {name: value for name, value in found.items() if value and isinstance(value, str)} | named

    def _send(self, vault: Vault, body: dict[str, str], remedy: str) -> VaultToken:
        """Log in. Vault refuses an identity with the status of a failure of its own, which would pass by itself."""
        path = f"auth/{self.mount}/login"
        try:
            answer = vault.ask(path, body, secrets=[body["jwt"], self.config.ambient.get(HEADER, "")])
        except RefusedError as error:
            refusal = error.refusal
            said = " ".join(refusal.errors or ())
            advice = next((told for words, told in _VERDICTS.items() if words in said), None)
            if refusal.status in (400, 500) and advice is not None:
                raise AuthenticationError(
                    f"{refusal.where}: login refused: {refusal.text}; {advice or remedy}"
                ) from None
            raise refusals.login(refusal, mount=self.mount, remedy=remedy) from None
        return vault.granted(answer, path)

    def _ask(
        self,
        vault: Vault,
        address: str,
        params: dict[str, str],
        headers: dict[str, str],
        *,
        what: str = _WHAT,
        again: tuple[int, ...] = (),
    ) -> metadata.Reply:
        return metadata.fetch(
            address,
            deadline=vault.deadline,
            what=what,
            headers=headers,
            params=params,
            limit=LIMIT,
            retries=self.config.vault_max_retries,
            again=again,
            where=_WHERE,
        )

    def _resource(self) -> str:
        return self.vault_azure_resource or DEFAULT_RESOURCE

    def _named(self) -> dict[str, str]:
        """Return what the configuration tells of the resource, under the names that Vault has for it."""
        found = {
            "subscription_id": self.vault_azure_subscription_id,
            "resource_group_name": self.vault_azure_resource_group,
            "vm_name": self.vault_azure_vm_name,
            "vmss_name": self.vault_azure_vmss_name,
            "resource_id": self.vault_azure_resource_id,
        }
        return {name: value for name, value in found.items() if value}

    def _is_app(self) -> bool:
        """Tell whether App Service, or what is like it, provides the identity."""
        present = [name for name in (ENDPOINT, HEADER) if name in self.config.ambient]
        if len(present) == 1:
            (missing,) = {ENDPOINT, HEADER} - set(present)
            raise ConfigurationError(f"{missing}: not set, but {present[0]} is; hand both on to where this runs")
        if present and not is_word(self.config.ambient[HEADER]):
            raise ConfigurationError(f"{HEADER}: not one printable word; hand it on as the app has it")
        return bool(present)

    def _imds(self) -> str:
        return self._address(IMDS_HOST).rstrip("/") if IMDS_HOST in self.config.ambient else IMDS

    def _address(self, name: str) -> str:
        """Return the address that a variable of the platform holds, as it stands."""
        address = self.config.ambient[name].strip()
        try:
            is_http = parse_address(address).startswith("http")
        except ValueError:
            is_http = False
        if not is_http:
            raise ConfigurationError(f"{name}: not an http address; hand it on as the platform has it")
        return address
