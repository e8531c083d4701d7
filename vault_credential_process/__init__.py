"""AWS credentials from HashiCorp Vault or OpenBao, for programs that must not know about Vault.

Importing the package costs nothing: every name below is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vault_credential_process.errors import VaultCredentialError as VaultCredentialError
    from vault_credential_process.health import Health as Health
    from vault_credential_process.health import on_refresh as on_refresh
    from vault_credential_process.manager import VaultAWSCredentialManager as VaultAWSCredentialManager
    from vault_credential_process.provider import VaultProvider as VaultProvider
    from vault_credential_process.provider import aio_session as aio_session
    from vault_credential_process.provider import boto3_session as boto3_session
    from vault_credential_process.provider import install as install
    from vault_credential_process.provider import uninstall as uninstall
    from vault_credential_process.registry import keepers as keepers

__all__ = [
    "Health",
    "VaultAWSCredentialManager",
    "VaultCredentialError",
    "VaultProvider",
    "aio_session",
    "boto3_session",
    "install",
    "keepers",
    "on_refresh",
    "uninstall",
]

_HOMES = {
    "Health": "health",
    "VaultAWSCredentialManager": "manager",
    "VaultCredentialError": "errors",
    "VaultProvider": "provider",
    "aio_session": "provider",
    "boto3_session": "provider",
    "install": "provider",
    "keepers": "registry",
    "on_refresh": "health",
    "uninstall": "provider",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version("vault-credential-process")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
