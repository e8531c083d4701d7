"""A small OpenID Connect provider on this machine, with device authorization (RFC 8628)."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Provider:
    """Knows one client and one device, whose login a test approves or refuses. Use it as a context manager."""

    def __init__(self) -> None:
        """Make a key and take a port."""
        self._key = rsa.generate_private_key(65537, 2048)
        handler = type("Handler", (_Handler,), {"provider": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self.reset()

    def __enter__(self) -> Provider:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def reset(self) -> None:
        """Forget who has logged in."""
        self.complete = False
        self._answer: dict[str, Any] = {"error": "authorization_pending"}

    def approve(self, subject: str) -> None:
        """Let the device log in as somebody."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": "vault", "sub": subject, "iat": now, "exp": now + 600}
        self._answer = {
            "access_token": "access",
            "token_type": "Bearer",
            "expires_in": 600,
            "id_token": self._sign(claims),
        }

    def refuse(self, error: str) -> None:
        """End the login of the device."""
        self._answer = {"error": error}

    def _sign(self, claims: dict[str, Any]) -> str:
        parts = ({"alg": "RS256", "kid": "one", "typ": "JWT"}, claims)
        text = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
        return f"{text}.{_base64url(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def get(self, path: str) -> dict[str, Any] | None:
        """Return what is public: where everything is, and the key."""
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "device_authorization_endpoint": f"{self.issuer}/device",
                "jwks_uri": f"{self.issuer}/keys",
                "id_token_signing_alg_values_supported": ["RS256"],
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
            }
        if path == "/keys":
            public = self._key.public_key().public_numbers()
            n, e = (_base64url(number.to_bytes(size, "big")) for number, size in ((public.n, 256), (public.e, 3)))
            return {"keys": [{"kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256", "n": n, "e": e}]}
        return None

    def post(self, path: str) -> dict[str, Any] | None:
        """Begin a login of the device, or tell what came of it."""
        if path == "/device":
            address = f"{self.issuer}/verify"
            begun = {"device_code": "D1", "user_code": "ABCD-EFGH", "verification_uri": address, "expires_in": 600}
            if self.complete:
                begun["verification_uri_complete"] = f"{address}?user_code=ABCD-EFGH"
            return begun
        return self._answer if path == "/token" else None


class _Handler(http.server.BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        self._tell(self.provider.get(self.path))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._tell(self.provider.post(self.path))

    def _tell(self, found: dict[str, Any] | None) -> None:
        content = json.dumps(found or {}).encode()
        self.send_response(404 if found is None else 400 if "error" in found else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
