"""The certificate of the server: whose it is, who signed it, and how long it lasts."""

from __future__ import annotations

import contextlib
import socket
import ssl
import urllib.parse
from collections.abc import Iterator
from typing import Any

from vault_credential_process.config import Config
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, note, ok, warning
from vault_credential_process.timed import in_time
from vault_credential_process.tls import tls_context

SOON = 14
"""Days that a certificate should have left."""

_DAY = 86400.0
_PATIENCE = 5.0
_NO_CHECK_TIME = 0x200000
"""``X509_V_FLAG_NO_CHECK_TIME`` of OpenSSL, which Python has no name for."""


def of_server(case: Case, config: Config) -> Iterator[Finding]:
    """Tell of a certificate that was verified a moment ago."""
    found = _shake_hands(case, config, tls_context(config))
    if found is None:
        return
    version, certificate, _ = found
    if config.vault_skip_verify:
        yield note(case.step, f"{version}; the certificate is not verified")
        return
    days = _days_left(case, certificate)
    told = f"{version}, certificate of {_names(certificate)}"
    if days is not None and days < SOON:
        yield warning(case.step, f"{told} ends in {_days(days)}", _issuer(certificate), "renew it on the server")
        return
    yield ok(case.step, told, f"{_issuer(certificate)}" + ("" if days is None else f", {_days(days)} left"))


def of_stranger(case: Case, config: Config) -> Iterator[Finding]:
    """Tell of a certificate that was not accepted. Nothing is sent to whoever shows it."""
    looking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    looking.check_hostname = False
    looking.verify_mode = ssl.CERT_NONE
    found = _shake_hands(case, config, looking)
    if found is None or not found[2]:
        return
    # Python tells what stands in a certificate only where it was verified, so this one is taken for its own authority.
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.load_verify_locations(cadata=found[2])
    with contextlib.suppress(AttributeError, ValueError, OverflowError):
        trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        trusting.verify_flags |= _NO_CHECK_TIME
    again = _shake_hands(case, config, trusting)
    if again is None or not again[1]:
        return
    days = _days_left(case, again[1])
    life = "" if days is None else f", ended {_days(-days)} ago" if days < 0 else f", {_days(days)} left"
    yield note(case.step, f"the certificate is of {_names(again[1])}{life}", _issuer(again[1]))


def _shake_hands(case: Case, config: Config, context: ssl.SSLContext) -> tuple[str, dict[str, Any], bytes] | None:
    """Return the version of TLS and the certificate, as Python tells it and as it is; ``None`` where that fails."""
    parts = urllib.parse.urlsplit(config.vault_addr)
    host, port = parts.hostname or "", parts.port or 443
    limit = case.limit(_PATIENCE, "the TLS handshake")

    def shake() -> tuple[str, dict[str, Any], bytes]:
        with (
            socket.create_connection((host, port), timeout=limit) as plain,
            context.wrap_socket(plain, server_hostname=config.vault_tls_server_name or host) as secured,
        ):
            certificate: dict[str, Any] = dict(secured.getpeercert() or {})
            return secured.version() or "TLS", certificate, secured.getpeercert(binary_form=True) or b""

    found, _ = in_time(shake, limit, "handshake")
    return found[0] if found else None


def _days_left(case: Case, certificate: dict[str, Any]) -> float | None:
    try:
        return (ssl.cert_time_to_seconds(certificate["notAfter"]) - case.clock()) / _DAY
    except (KeyError, ValueError):
        return None


def _days(days: float) -> str:
    return "1 day" if round(days) == 1 else f"{days:.0f} days"


def _names(certificate: dict[str, Any]) -> str:
    """Return the names that a certificate is for, three at most."""
    names = [value for _, value in certificate.get("subjectAltName", ())]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(names[:3]) or _common_name(certificate.get("subject", ()))) + more


def _issuer(certificate: dict[str, Any]) -> str:
    return f"signed by {_common_name(certificate.get('issuer', ()))}"


def _common_name(name: Any) -> str:
    """Return the common name of a subject or issuer, else whatever it has."""
    fields = {key: value for part in name for key, value in part}
    return str(fields.get("commonName") or ", ".join(fields.values()) or "nobody")
