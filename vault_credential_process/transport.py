"""The wire: a ``requests`` session that treats TLS, proxies, sockets and time as Vault's own Go client does.

``requests`` alone would trust only certifi's bundle, read ``.netrc``, follow thirty redirects with the token in
hand, and wait for ever on a reply that comes byte by byte. Source for the variables: ``api/client.go`` of
hashicorp/vault (``ReadEnvironment``) and https://developer.hashicorp.com/vault/docs/commands#environment-variables.
"""

from __future__ import annotations

import urllib.parse
import zlib
from typing import Any

import requests
import requests.adapters
import requests.structures
import requests.utils
import urllib3

from vault_credential_process import connections
from vault_credential_process.config import Config
from vault_credential_process.errors import ConfigurationError, UnreachableError
from vault_credential_process.expiry import Deadline
from vault_credential_process.parsers import is_loopback
from vault_credential_process.tls import tls_context

MAX_REPLY = 4 * 1024 * 1024
"""Bytes of the longest reply that is read; an answer with credentials has less than 8 KiB."""

_CHUNK = 64 * 1024


def base_url(config: Config) -> str:
    """Return the address that requests are made to; a socket has no host, so it is called ``localhost``."""
    return "http://localhost" if config.vault_addr.startswith("unix:") else config.vault_addr


def open_session(config: Config, deadline: Deadline | None) -> requests.Session:
    """Return a session for one server.

    Every request of it ends before ``deadline``, and in any case within ``vault_client_timeout`` seconds.

    :raises ConfigurationError: when a TLS file is missing or is not what it should be, or the proxy is one of SOCKS.
    """
    session = _Session()
    # Before 2.6, urllib3 unpacks each piece of a reply whole, however often it was packed.
    session.headers["Accept-Encoding"] = "identity"
    session.trust_env = False
    session.proxies = _proxies(config)
    adapter = _Adapter(config, deadline)
    session.adapters.clear()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _proxies(config: Config) -> dict[str, str]:
    """Return the proxies: ``VAULT_PROXY_ADDR``, else the environment's, which Go never uses for this host."""
    if config.vault_addr.startswith("unix:"):
        return {}
    if config.vault_proxy_addr:
        return {"http": config.vault_proxy_addr, "https": config.vault_proxy_addr}
    if is_loopback(urllib.parse.urlsplit(config.vault_addr).hostname or ""):
        return {}
    proxies = dict(requests.utils.get_environ_proxies(config.vault_addr))
    scheme, _, rest = config.vault_addr.partition("://")
    for used in (scheme, "https"):  # a redirect may lead to TLS
        proxy = requests.utils.select_proxy(f"{used}://{rest}", proxies) or ""
        if proxy.lower().startswith("socks"):
            raise ConfigurationError(
                f"{used.upper()}_PROXY or ALL_PROXY: a SOCKS proxy, which has no time limits; write http://host:3128, "
                "or name the server in NO_PROXY"
            )
    return proxies


class _Session(requests.Session):
    """A session that follows no redirect, whoever asks it to: the token would go along."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Find none."""


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
        self.poolmanager.pool_classes_by_scheme = connections.POOLS

    def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **keywords)
        manager.pool_classes_by_scheme = connections.POOLS
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
        return connections.pool_of_socket(self._socket)

    def build_response(self, request: requests.PreparedRequest, reply: Any) -> requests.Response:
        """Return a response without a guess at its encoding: requests 2.32 fails where ``charset`` has no value."""
        response = requests.Response()
        response.status_code, response.reason, response.raw = reply.status, reply.reason, reply
        response.headers = requests.structures.CaseInsensitiveDict(reply.headers)
        response.url, response.request, response.encoding = request.url or "", request, "utf-8"
        return response

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
        limits = urllib3.Timeout(total=left, connect=min(left, connections.CONNECT_LIMIT), read=left)
        try:
            response = super().send(request, stream=True, timeout=limits, verify=verify, cert=cert, proxies=proxies)  # type: ignore[arg-type]
            response._content = _read(response, what)
        except (urllib3.exceptions.HTTPError, UnicodeError) as error:
            # A host name that no name server takes is not wrapped by requests.
            raise requests.ConnectionError(error, request=request) from None
        except requests.RequestException:
            if self._deadline is not None:
                self._deadline.remaining(what)
            raise
        return response


def _read(response: requests.Response, what: str) -> bytes:
    """Return the body of a reply, unpacked, and close the connection."""
    body = bytearray()
    try:
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            body += chunk
            if len(body) > MAX_REPLY:
                raise _too_long(response, what)
        return _unpacked(bytes(body), response, what)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise requests.ConnectionError(error, request=response.request) from None
    finally:
        response.raw.close()


def _unpacked(body: bytes, response: requests.Response, what: str) -> bytes:
    """Return a body that a proxy may have compressed, although nobody asked it to; no more of it than may be."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity") or not body:
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise UnreachableError(
            f"{base_of(response.url)}: the reply to {what} is compressed, and not by gzip: a proxy or another server "
            "answered; check vault_addr"
        )
    unpacking = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        unpacked = unpacking.decompress(body, MAX_REPLY + 1)
    except zlib.error as error:
        raise urllib3.exceptions.DecodeError(str(error)) from None
    if len(unpacked) > MAX_REPLY:
        raise _too_long(response, what)
    if not unpacking.eof:
        raise urllib3.exceptions.DecodeError("the compressed reply is cut short")
    return unpacked


def _too_long(response: requests.Response, what: str) -> UnreachableError:
    return UnreachableError(
        f"{base_of(response.url)}: the reply to {what} is longer than {MAX_REPLY} bytes: "
        "that is not Vault; check vault_addr"
    )


def base_of(url: str | None) -> str:
    """Return the scheme, host and port of a URL."""
    parts = urllib.parse.urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc}"
