"""JSON Web Tokens for tests, signed as a platform signs them, and the issuer that vouches for them."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from vault_credential_process.testing.scripted import Request, ScriptedServer, reply


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Signer:
    """A key that signs with ES256 (RFC 7518, 3.4), and what others need to check it."""

    def __init__(self) -> None:
        """Make the key."""
        self._key = ec.generate_private_key(ec.SECP256R1())

    def sign(self, **claims: Any) -> str:
        """Return a token with these claims; ``kubernetes_io`` stands for ``kubernetes.io``."""
        named = {name.replace("kubernetes_io", "kubernetes.io"): value for name, value in claims.items()}
        header = {"alg": "ES256", "kid": "test", "typ": "JWT"}
        text = ".".join(_encoded(json.dumps(part).encode()) for part in (header, named))
        r, s = decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    @property
    def pem(self) -> str:
        """The public key, PEM-encoded."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    @property
    def jwks(self) -> dict[str, Any]:
        """The key as a JSON Web Key Set."""
        point = self._key.public_key().public_numbers()
        x, y = (_encoded(number.to_bytes(32, "big")) for number in (point.x, point.y))
        return {"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "test", "x": x, "y": y}]}


class Issuer(ScriptedServer):
    """An OpenID Connect issuer: its discovery document and its keys. Use it as a context manager."""

    def __init__(self, *, context: ssl.SSLContext | None = None) -> None:
        """Listen on a free loopback port."""
        super().__init__(context=context)
        self.signer = Signer()
        self.otherwise = self._answer

    def _answer(self, connection: socket.socket, request: Request) -> None:
        pages = {
            "/.well-known/openid-configuration": {"issuer": self.address, "jwks_uri": f"{self.address}/jwks"},
            "/jwks": self.signer.jwks,
        }
        page = pages.get(request.path)
        connection.sendall(reply(404) if page is None else reply(200, page))
