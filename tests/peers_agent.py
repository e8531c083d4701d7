"""A real ``bao agent`` or ``bao proxy`` that logs in to a server with an AppRole and adds its token to requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import requests

from vault_credential_process.demo.server import DIRECTLY, VaultServer, free_port

from .peers import Peer

Kind = Literal["agent", "proxy"]


class Agent(Peer):
    """One Agent or Proxy with a TCP listener that wants Vault's request header, and a socket that does not.

    ``address`` is the one, ``socket`` the other. Both answer before the first login is done: :meth:`logged_in` tells.
    """

    def __init__(
        self,
        server: VaultServer,
        approle: Mapping[str, str],
        *,
        kind: Kind = "proxy",
        caches: bool = False,
        use: Literal["true", "false", "force"] = "true",
        hcl: str | None = None,
    ) -> None:
        """Prepare one.

        ``approle`` has ``role_id`` and ``secret_id_file``, ``use`` is ``use_auto_auth_token``. ``hcl`` is a whole
        configuration, as a page has it, with example values that are replaced here.
        """
        self.program = kind
        super().__init__()
        self._server, self._approle = server, approle
        self._caches, self._use, self._example = caches, use, hcl
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.socket_file = self.directory / "agent.sock"
        self.socket = f"unix://{self.socket_file}"

    def start(self) -> None:
        configuration = self.directory / "agent.hcl"
        configuration.write_text(self._hcl())
        self._process = self._spawn(self._server.engine.binary, self.program, "-config", str(configuration))
        self._wait_until(self._answers if self._example is None else self.socket_file.exists)

    def logged_in(self) -> None:
        """Wait until it has a token."""
        self._wait_until(lambda: self.ask("auth/token/lookup-self").ok)

    def ask(self, path: str, *, method: str = "GET") -> requests.Response:
        """Return the answer to a request without a token of ours."""
        headers = {"X-Vault-Request": "true"}
        return requests.request(method, f"{self.address}/v1/{path}", headers=headers, timeout=10, proxies=DIRECTLY)

    def _answers(self) -> bool:
        try:
            return self.ask("sys/health").status_code == 200
        except requests.RequestException:
            return False

    def _hcl(self) -> str:
        role_id = self.directory / "role-id"
        role_id.write_text(self._approle["role_id"])
        if self._example is not None:
            replacing = {
                "https://vault.example.com:8200": self._server.address,
                "/etc/vault-agent/role-id": str(role_id),
                "/etc/vault-agent/secret-id": self._approle["secret_id_file"],
                "/run/vault-agent/agent.sock": str(self.socket_file),
            }
            text = self._example
            for old, new in replacing.items():
                assert old in text, f"{old!r} does not stand in the configuration"
                text = text.replace(old, new)
            return text
        return f"""
            vault {{ address = "{self._server.address}" }}
            auto_auth {{
              method "approle" {{
                config = {{
                  role_id_file_path = "{role_id}"
                  secret_id_file_path = "{self._approle["secret_id_file"]}"
                  remove_secret_id_file_after_reading = false
                }}
              }}
              sink "file" {{ config = {{ path = "{self.directory}/token" }} }}
            }}
            api_proxy {{ use_auto_auth_token = "{self._use}" }}
            {"cache {}" if self._caches else ""}
            listener "tcp" {{
              address = "127.0.0.1:{self.port}"
              tls_disable = true
              require_request_header = true
            }}
            listener "unix" {{
              address = "{self.socket_file}"
              tls_disable = true
            }}
        """
