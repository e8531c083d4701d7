"""The wire: a ``requests`` session that treats TLS, proxies, sockets and time as Vault's own Go client does.

``requests`` alone would trust only certifi's bundle, read ``.netrc``, follow thirty redirects with the token in
hand, and wait for ever on a reply that comes byte by byte. Source for the variables: ``api/client.go`` of
hashicorp/vault (``ReadEnvironment``) and https://developer.hashicorp.com/vault/docs/commands#environment-variables.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import time
import urllib.parse
from collections.abc import Sequence
from typing import Any

import requests
import requests.adapters
import requests.utils
import urllib3
import urllib3.connection
import urllib3.connectionpool

from vault_credential_process.config import Config
from vault_credential_process.errors import ConfigurationError, UnreachableError, one_line
from vault_credential_process.expiry import Deadline
from vault_credential_process.parsers import is_loopback

MAX_REPLY = 4 * 1024 * 1024
"""Bytes of the longest reply that is read; an answer with credentials has less than 8 KiB."""

CONNECT_LIMIT = 10.0
"""Seconds that one attempt to connect may take."""

_CHUNK = 64 * 1024
_ALERTS_ABOUT_US = ("alert certificate", "alert bad certificate", "alert unknown ca", "alert handshake failure")
"""What OpenSSL reports where the server does not take the client's certificate, or wants one."""


def base_url(config: Config) -> str:
    """Return the address that requests are made to; a socket has no host, so it is called ``localhost``."""
    return "http://localhost" if config.vault_addr.startswith("unix:") else config.vault_addr


def open_session(config: Config, deadline: Deadline | None) -> requests.Session:
    """Return a session for one server.

    Every request of it ends before ``deadline``, and in any case within ``vault_client_timeout`` seconds.

    :raises ConfigurationError: when a TLS file is missing or is not what it should be.
    """
    session = _Session()
    session.trust_env = False
    session.proxies = _proxies(config)
    adapter = _Adapter(config, deadline)
    session.adapters.clear()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


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
        _load(
            context.load_cert_chain,
            "vault_client_cert",
            f"{config.vault_client_cert} with {config.vault_client_key}",
            certfile=config.vault_client_cert,
            keyfile=config.vault_client_key,
            password=_refuse_password,
        )
    if config.vault_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _refuse_password() -> str:
    """Answer OpenSSL, which would ask on the terminal."""
    return ""


def _load(load: Any, key: str, what: str, **arguments: Any) -> None:
    try:
        load(**arguments)
    except ssl.SSLError as error:
        reason = (error.reason or "not PEM").replace("_", " ").lower()
        raise ConfigurationError(f"{key}: {what}: {reason}; it must be an unencrypted PEM file") from None
    except OSError as error:
        raise ConfigurationError(f"{key}: {what}: {error.strerror or 'cannot be read'}") from None
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


def _proxies(config: Config) -> dict[str, str]:
    """Return the proxies: ``VAULT_PROXY_ADDR``, else the environment's, which Go never uses for this host."""
    if config.vault_addr.startswith("unix:"):
        return {}
    if config.vault_proxy_addr:
        return {"http": config.vault_proxy_addr, "https": config.vault_proxy_addr}
    if is_loopback(urllib.parse.urlsplit(config.vault_addr).hostname or ""):
        return {}
    return dict(requests.utils.get_environ_proxies(config.vault_addr))


class _Session(requests.Session):
    """A session that follows no redirect, whoever asks it to: the token would go along."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Find none."""


class _TimedStream(io.RawIOBase):
    """A reply as it comes from the socket; all of it must be here before the socket's time-out has passed once."""

    def __init__(self, sock: socket.socket, stream: io.RawIOBase) -> None:
        self._sock = sock
        self._stream = stream
        limit = sock.gettimeout()
        self._end = None if limit is None else time.monotonic() + limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._end is not None:
            left = self._end - time.monotonic()
            if left <= 0:
                raise TimeoutError("the reply is not complete in time")
            self._sock.settimeout(left)
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _TimedReply(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **keywords: Any) -> None:
        super().__init__(sock, *args, **keywords)
        self.fp = io.BufferedReader(_TimedStream(sock, self.fp.detach()))


class _Connection(urllib3.connection.HTTPConnection):
    response_class = _TimedReply


class _TLSConnection(urllib3.connection.HTTPSConnection):
    response_class = _TimedReply

    def connect(self) -> None:
        super().connect()
        # Where verification is switched off, somebody wrote so; urllib3 would warn on stderr at every request.
        self.is_verified = True


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _UnixConnection(_Connection):
    """An HTTP connection over a Unix socket: the listener of a Vault Agent or Proxy."""

    socket_path = ""

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout if isinstance(self.timeout, (int, float)) else None)
            sock.connect(self.socket_path)
        except OSError as error:
            sock.close()
            raise urllib3.exceptions.NewConnectionError(self, f"{self.socket_path}: {error.strerror}") from error
        self.sock = sock


class _Adapter(requests.adapters.HTTPAdapter):
    """Our TLS settings, a limit on time and size for every reply, and sockets."""

    def __init__(self, config: Config, deadline: Deadline | None) -> None:
        self._config = config
        self._deadline = deadline
        self._socket = config.vault_addr.removeprefix("unix://") if config.vault_addr.startswith("unix:") else None
        self._tls = self._tls_settings() if config.vault_addr.startswith("https:") else None
        super().__init__()

    def _tls_settings(self) -> dict[str, Any]:
        """Return what a pool must know. urllib3 sets ``cert_reqs`` on the context, so it is told what stands there."""
        context = tls_context(self._config)
        settings: dict[str, Any] = {"ssl_context": context, "cert_reqs": context.verify_mode}
        if self._config.vault_tls_server_name:
            settings["server_hostname"] = self._config.vault_tls_server_name
        return settings

    def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
        super().init_poolmanager(*args, **keywords)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **keywords)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
        return manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] != "https":
            return host, pool
        if self._tls is None:  # a plain http listener has redirected to TLS
            self._tls = self._tls_settings()
        return host, self._tls

    def add_headers(self, request: requests.PreparedRequest, **keywords: Any) -> None:
        """Write a namespace in UTF-8, as Go does; ``http.client`` would fail at what is not Latin-1."""
        namespace = request.headers.get("X-Vault-Namespace")
        if isinstance(namespace, str):
            request.headers["X-Vault-Namespace"] = namespace.encode()  # type: ignore[assignment]

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the pool alone: its context says all, and requests would add certifi's bundle to it."""

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        if self._socket is None:
            return super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
        pool = urllib3.HTTPConnectionPool("localhost")
        pool.ConnectionCls = type("_Connection", (_UnixConnection,), {"socket_path": self._socket})
        return pool

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        del stream, timeout
        what = f"{request.method} {urllib.parse.urlsplit(request.url or '').path}"
        left = self._config.vault_client_timeout
        if self._deadline is not None:
            left = min(left, self._deadline.remaining(what))
        limits = urllib3.Timeout(total=left, connect=min(left, CONNECT_LIMIT), read=left)
        try:
            response = super().send(request, stream=True, timeout=limits, verify=verify, cert=cert, proxies=proxies)  # type: ignore[arg-type]
            response._content = _read(response, what)
        except requests.RequestException:
            if self._deadline is not None:
                self._deadline.remaining(what)
            raise
        return response


def _read(response: requests.Response, what: str) -> bytes:
    """Return the body of a reply, decompressed, and close the connection."""
    body = bytearray()
    try:
        for chunk in response.raw.stream(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > MAX_REPLY:
                raise UnreachableError(
                    f"{base_of(response.url)}: the reply to {what} is longer than {MAX_REPLY} bytes: "
                    "that is not Vault; check vault_addr"
                )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise requests.ConnectionError(error, request=response.request) from None
    finally:
        response.raw.close()
    return bytes(body)


def base_of(url: str | None) -> str:
    """Return the scheme, host and port of a URL."""
    parts = urllib.parse.urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc}"


def was_sent(error: requests.RequestException) -> bool:
    """Tell whether any byte of the request may have reached the server; only if not, it may be sent again freely."""
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.SSLError)):
        return False
    causes = _causes(error)
    return not (_tunnel_refused(causes) or any(isinstance(c, urllib3.exceptions.NewConnectionError) for c in causes))


def _tunnel_refused(causes: Sequence[BaseException]) -> bool:
    """Tell whether a proxy refused to connect us (the words are those of ``http.client``)."""
    return any(isinstance(cause, OSError) and str(cause).startswith("Tunnel connection failed") for cause in causes)


def explain(error: requests.RequestException, config: Config, what: str) -> UnreachableError:
    """Return what a failed request means: one line with the address and what to do."""
    causes = _causes(error)
    text = " ".join(str(cause) for cause in causes)
    address = config.vault_addr
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UnreachableError(f"{address}: TLS: {_certificate_trouble(cause, config)}")
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text.lower():
        return UnreachableError(f"{address}: TLS failed at once: the server speaks plain http there; check vault_addr")
    if isinstance(error, requests.exceptions.SSLError):
        reason = next((c.reason for c in causes if isinstance(c, ssl.SSLError) and c.reason), "handshake failed")
        reason = one_line(reason).replace("_", " ").lower()
        remedy = "check the TLS settings"
        if any(words in reason for words in _ALERTS_ABOUT_US):
            remedy = "does the server want another vault_client_cert and vault_client_key?"
        return UnreachableError(f"{address}: TLS: {reason}; {remedy}")
    if isinstance(error, requests.exceptions.ProxyError) or _tunnel_refused(causes):
        return UnreachableError(f"{address}: the proxy refused or failed; check VAULT_PROXY_ADDR or HTTPS_PROXY")
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return UnreachableError(f"{address}: the host name does not resolve; check vault_addr and DNS")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return UnreachableError(f"{address}: connection refused: nothing listens there; check vault_addr and its port")
    if any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in causes):
        reason = next((c.strerror for c in causes if isinstance(c, OSError) and c.strerror), "no connection")
        there = "that the Agent runs" if address.startswith("unix:") else "the network"
        return UnreachableError(f"{address}: {one_line(reason).lower()}; check vault_addr and {there}")
    if isinstance(error, requests.Timeout) or any(isinstance(c, urllib3.exceptions.TimeoutError) for c in causes):
        return UnreachableError(
            f"{address}: no answer to {what} in time; check the network, or raise vault_client_timeout"
        )
    scheme = " (https:// where the server speaks TLS)" if address.startswith("http:") else ""
    return UnreachableError(f"{address}: the connection broke during {what}; check the network and vault_addr{scheme}")


def _certificate_trouble(error: ssl.SSLCertVerificationError, config: Config) -> str:
    message = one_line(error.verify_message or "the certificate is not valid").rstrip(".")
    lower = message.lower()
    if "expired" in lower:
        return f"{message}; renew the server's certificate, or check this host's clock"
    if "mismatch" in lower or "not valid for" in lower:
        return f"{message}; use the name in the certificate in vault_addr, or set vault_tls_server_name"
    trusted = config.vault_cacert or config.vault_capath or ("" if config.vault_cacert_bytes else "the system's CAs")
    return f"{message} (trusted: {trusted or 'vault_cacert_bytes'}); set vault_cacert to the CA that signed it"


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error with all that caused it: requests and urllib3 wrap in arguments, reasons and contexts."""
    found: list[BaseException] = []
    queue: list[Any] = [error]
    while queue:
        item = queue.pop(0)
        if not isinstance(item, BaseException) or item in found:
            continue
        found.append(item)
        queue += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]
    return found
