"""Agent: a Vault (or OpenBao) Agent or Proxy that logs in for us and adds its token to what we ask.

https://developer.hashicorp.com/vault/docs/agent-and-proxy/autoauth and ``/agent-and-proxy/proxy/apiproxy``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.auth.token import looked_up
from vault_credential_process.errors import AuthUnavailable
from vault_credential_process.models import Identity, VaultToken

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Agent(AuthMethod):
    """Ask without a token of ours. The Agent logs in, renews and revokes; we do none of it."""

    name: ClassVar[str] = "agent"
    default_mount: ClassVar[str] = "token"
    summary: ClassVar[str] = "a Vault Agent or Proxy that logs in for us"
    ambient: ClassVar[tuple[str, ...]] = ("BAO_AGENT_ADDR", "VAULT_AGENT_ADDR")
    keeps_token: ClassVar[bool] = False

    def at_home(self) -> None:
        """Take an address that is an Agent's: a socket, or one from ``VAULT_AGENT_ADDR``."""
        is_agent = self.config.origin("vault_addr").name.endswith("_AGENT_ADDR")
        if not is_agent and not self.config.vault_addr.startswith("unix:"):
            origin = self.config.origin("vault_addr")
            overruled = next((name for name in self.ambient if name in self.config.ambient), None)
            raise AuthUnavailable(
                f"{overruled} is overruled by {origin}"
                if overruled
                else "VAULT_AGENT_ADDR is not set, and vault_addr is no socket"
            )

    def identity(self) -> Identity:
        """Return the method alone: who the Agent is, its address tells."""
        return Identity((self.name,))

    def login(self, vault: Vault) -> VaultToken:
        """Ask how long the Agent's token lives; it may be another one at the next call."""
        return looked_up(vault, None, "the Agent")
