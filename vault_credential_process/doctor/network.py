"""The way to Vault: address, proxy, name, port, TLS. One request, ``sys/health``, which sends no secret."""

from __future__ import annotations

import ssl
import time
import urllib.parse
from collections.abc import Iterator

import requests
import requests.utils

from vault_credential_process import failures, transport
from vault_credential_process.config import Config
from vault_credential_process.doctor import certificate
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, failed, ok, skipped
from vault_credential_process.doctor.settings import key_of
from vault_credential_process.errors import ConfigurationError

HEALTH = "sys/health"

_PATIENCE = 15.0


def examine(case: Case) -> Iterator[Finding]:
    """Ask the server for its health, and tell how that went."""
    config = case.config
    if config is None or (case.complaints and config.origin("vault_addr").kind == "default"):
        is_refused = "vault_addr" in map(key_of, case.complaints)
        why = "the address is refused" if is_refused else "the settings do not say where Vault is"
        yield skipped(case.step, why)
        return
    try:
        session = transport.open_session(config, case.deadline.at_most(_PATIENCE))
    except ConfigurationError as failure:
        yield failed(case.step, failure)
        return
    with session:
        proxy = requests.utils.select_proxy(config.vault_addr, dict(session.proxies))
        # An Agent may refuse what lacks this header (``require_request_header``).
        headers = {"X-Vault-Request": "true"}
        began = time.monotonic()
        case.asked_at = case.clock()
        try:
            response = session.get(f"{transport.base_url(config)}/v1/{HEALTH}", headers=headers)
        except requests.RequestException as trouble:
            means = f"the way was {_way(config, proxy)}" if proxy else ""
            yield failed(case.step, failures.explain(trouble, config, f"GET {HEALTH}"), means)
            distrusted = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in failures.causes(trouble))
            if distrusted and not proxy:
                yield from certificate.of_stranger(case, config)
            return
    seconds = time.monotonic() - began
    case.asked_at += seconds / 2
    case.health = response
    yield ok(case.step, f"{config.vault_addr} answers in {seconds * 1000:.0f} ms", _way(config, proxy))
    if config.vault_addr.startswith("https:") and not proxy:
        yield from certificate.of_server(case, config)


def _way(config: Config, proxy: str | None) -> str:
    """Tell by which way it was reached; of a proxy not the password."""
    if config.vault_addr.startswith("unix:"):
        return "over a socket of this host"
    if not proxy:
        return "without a proxy"
    parts = urllib.parse.urlsplit(proxy)
    return f"through the proxy {parts.hostname}:{parts.port or 80}"
