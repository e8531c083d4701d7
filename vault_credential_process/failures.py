"""What a request that brought no answer means: an exception of requests turned into an error that says what to do."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import requests
import urllib3

from vault_credential_process.config import Config
from vault_credential_process.errors import UnreachableError, one_line

_ALERTS_ABOUT_US = ("alert certificate", "alert bad certificate", "alert unknown ca", "alert handshake failure")
"""What OpenSSL reports where the server does not take the client's certificate, or wants one."""

_VERSIONS = ("unsupported protocol", "alert protocol version", "wrong ssl version")
"""What OpenSSL reports where the two have no version of TLS in common."""

_UNSENT = "vault_credential_process_unsent"


class NodeAwayError(UnreachableError):
    """The node that a standby names cannot be reached. The standby may have handed the request on to it before."""

    def __init__(self, explained: UnreachableError) -> None:
        super().__init__(str(explained))


def mark_unsent(error: BaseException) -> None:
    """Write on an error that it happened before the first byte of a request."""
    setattr(error, _UNSENT, True)


def was_sent(error: requests.RequestException) -> bool:
    """Tell whether any byte of the request may have reached the server; only if not, it may be sent again freely."""
    connecting = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    return not any(getattr(cause, _UNSENT, False) or isinstance(cause, connecting) for cause in causes(error))


def is_of_proxy(error: requests.RequestException) -> bool:
    """Tell whether a proxy failed or refused to connect us (the words are those of ``http.client``)."""
    return isinstance(error, requests.exceptions.ProxyError) or any(
        isinstance(cause, OSError) and str(cause).startswith("Tunnel connection failed") for cause in causes(error)
    )


def is_about_our_certificate(error: requests.RequestException) -> bool:
    """Tell whether the server does not take the client's certificate, or wants one."""
    return any(words in _reason(error) for words in _ALERTS_ABOUT_US)


def _reason(error: requests.RequestException) -> str:
    """Return OpenSSL's words; empty where it said nothing."""
    reason = next((cause.reason for cause in causes(error) if isinstance(cause, ssl.SSLError) and cause.reason), "")
    return one_line(reason).replace("_", " ").lower()


def explain(error: requests.RequestException, config: Config, what: str) -> UnreachableError:
    """Return what a failed request means: one line with the address and what to do."""
    chain = causes(error)
    text = " ".join(str(cause) for cause in chain)
    address = config.vault_addr
    if config.origin("vault_addr").kind == "default":
        address += " (the default, for vault_addr is not set)"
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UnreachableError(f"{address}: TLS: {_certificate_trouble(cause, config)}")
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text.lower():
        return UnreachableError(f"{address}: TLS failed at once: the server speaks plain http there; check vault_addr")
    if isinstance(error, requests.exceptions.SSLError):
        reason = _reason(error) or "handshake failed"
        remedy = "check the TLS settings"
        if any(words in reason for words in _VERSIONS):
            remedy = "the server must speak TLS 1.2 or later"
        # A server may hang up on a client certificate before its alert is read: then an end of file is all there is.
        if is_about_our_certificate(error) or any(isinstance(c, ssl.SSLEOFError) for c in chain):
            remedy = "does the server want another vault_client_cert and vault_client_key?"
        return UnreachableError(f"{address}: TLS: {reason}; {remedy}")
    if is_of_proxy(error):
        if "Tunnel connection failed: 407" in text:
            return UnreachableError(
                f"{address}: the proxy wants a password; write http://user:password@host in HTTPS_PROXY"
            )
        return UnreachableError(f"{address}: the proxy refused or failed; check VAULT_PROXY_ADDR or HTTPS_PROXY")
    unwritable = not was_sent(error) and any(isinstance(cause, UnicodeError) for cause in chain)
    if unwritable or any(isinstance(cause, socket.gaierror) for cause in chain):
        return UnreachableError(f"{address}: the host name does not resolve; check vault_addr and DNS")
    if any(isinstance(cause, ConnectionRefusedError) for cause in chain):
        return UnreachableError(f"{address}: connection refused: nothing listens there; check vault_addr and its port")
    if any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in chain):
        reason = next((c.strerror for c in chain if isinstance(c, OSError) and c.strerror), "no connection")
        there = "that the Agent runs" if address.startswith("unix:") else "the network"
        return UnreachableError(f"{address}: {one_line(reason).lower()}; check vault_addr and {there}")
    if isinstance(error, requests.Timeout) or any(isinstance(c, urllib3.exceptions.TimeoutError) for c in chain):
        return UnreachableError(
            f"{address}: no answer to {what} in time; check the network, or raise vault_client_timeout"
        )
    scheme = " (https:// where the server speaks TLS)" if address.startswith("http:") else ""
    return UnreachableError(f"{address}: the connection broke during {what}; check the network and vault_addr{scheme}")


def _certificate_trouble(error: ssl.SSLCertVerificationError, config: Config) -> str:
    message = one_line(error.verify_message or "the certificate is not valid").rstrip(".")
    lower = message.lower()
    if "expired" in lower or "not yet valid" in lower:
        return f"{message}; renew the server's certificate, or check this host's clock"
    if "mismatch" in lower or "not valid for" in lower:
        return f"{message}; use the name in the certificate in vault_addr, or set vault_tls_server_name"
    trusted = config.vault_cacert or config.vault_capath or ("" if config.vault_cacert_bytes else "the system's CAs")
    return f"{message} (trusted: {trusted or 'vault_cacert_bytes'}); set vault_cacert to the CA that signed it"


def causes(error: BaseException) -> list[BaseException]:
    """Return an error with all that caused it: requests and urllib3 wrap in arguments, reasons and causes.

    Not in contexts, which reach into what the caller was handling when it asked, an earlier request of its own perhaps.
    """
    found: list[BaseException] = []
    queue: list[Any] = [error]
    while queue:
        item = queue.pop(0)
        if not isinstance(item, BaseException) or item in found:
            continue
        found.append(item)
        queue += [*item.args, getattr(item, "reason", None), item.__cause__]
    return found
