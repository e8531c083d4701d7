"""TLS as Vault's own Go client has it: 1.2 at least, the CA that is configured, else the system's.

Source for the variables: ``api/client.go`` of hashicorp/vault (``ConfigureTLS``).
"""

from __future__ import annotations

import os
import ssl
from typing import Any

import requests.utils

from vault_credential_process.config import Config
from vault_credential_process.errors import ConfigurationError


def tls_context(config: Config) -> ssl.SSLContext:
    """Return the TLS settings: TLS 1.2 at least, the CA that is configured, else the system's.

    ``VAULT_CACERT`` goes before ``VAULT_CACERT_BYTES``, and both before ``VAULT_CAPATH``, as in Go.

    :raises ConfigurationError: when a file is missing or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.vault_cacert:
        _load(context.load_verify_locations, "vault_cacert", config.vault_cacert, cafile=config.vault_cacert)
    elif config.vault_cacert_bytes:
        _load(context.load_verify_locations, "vault_cacert_bytes", "PEM text", cadata=config.vault_cacert_bytes)
    elif config.vault_capath:
        _load_directory(context, config.vault_capath)
    else:
        context.load_default_certs()
        paths = ssl.get_default_verify_paths()
        if not paths.cafile and not paths.capath and not context.cert_store_stats()["x509_ca"]:
            context.load_verify_locations(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)
    if config.vault_client_cert or config.vault_client_key:
        if not (config.vault_client_cert and config.vault_client_key):
            missing = "vault_client_key" if config.vault_client_cert else "vault_client_cert"
            raise ConfigurationError(f"{missing}: missing; a client certificate needs both its file and its key")
        _load_client(context, config.vault_client_cert, config.vault_client_key)
    if config.vault_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_client(context: ssl.SSLContext, certificate: str, key: str) -> None:
    def refuse() -> str:
        """Answer OpenSSL, which would ask on the terminal."""
        raise ConfigurationError(
            f"vault_client_key: {key}: encrypted; store it without a passphrase, readable by this user alone"
        )

    try:
        _load(
            context.load_cert_chain,
            "vault_client_cert",
            f"{certificate} with {key}",
            certfile=certificate,
            keyfile=key,
            password=refuse,
        )
    except ConfigurationError:
        # OpenSSL does not tell which of the two files it could not open.
        for setting, path in (("vault_client_cert", certificate), ("vault_client_key", key)):
            _load(_open, setting, path, path=path)
        raise


def _open(path: str) -> None:
    with open(path, "rb"):
        pass


def _load(load: Any, key: str, what: str, **arguments: Any) -> None:
    try:
        load(**arguments)
    except ssl.SSLError as error:
        reason = (error.reason or "not PEM").replace("_", " ").lower()
        if "mismatch" in reason:
            raise ConfigurationError(f"{key}: {what}: {reason}; name the key that belongs to it") from None
        raise ConfigurationError(f"{key}: {what}: {reason}; it must be an unencrypted PEM file") from None
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise ConfigurationError(f"{key}: {what}: {reason}; check the path and its permissions") from None
    except (TypeError, ValueError):
        raise ConfigurationError(f"{key}: {what}: not PEM") from None


def _load_directory(context: ssl.SSLContext, directory: str) -> None:
    """Load every file of a directory, as Go does; OpenSSL alone would want hashed names."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise ConfigurationError(f"vault_capath: {directory}: {error.strerror}") from None
    paths = [path for path in (os.path.join(directory, name) for name in names) if os.path.isfile(path)]
    if not paths:
        raise ConfigurationError(f"vault_capath: {directory}: holds no file")
    for path in paths:
        _load(context.load_verify_locations, "vault_capath", path, cafile=path)
