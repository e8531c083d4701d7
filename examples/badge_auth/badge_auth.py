"""An auth method of a package of its own: a badge number and the PIN in a file."""

import dataclasses
from typing import ClassVar

from vault_credential_process import sources
from vault_credential_process.auth import AuthMethod
from vault_credential_process.errors import AuthUnavailable
from vault_credential_process.models import Identity, VaultToken, option
from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Badge(AuthMethod):
    """Log in with a badge."""

    name: ClassVar[str] = "badge"
    default_mount: ClassVar[str] = "badge"
    summary: ClassVar[str] = "a badge and its PIN"

    vault_badge: str | None = option("VAULT_BADGE", help="number of the badge")
    vault_badge_pin_file: str | None = sources.from_file("vault_badge_pin", "PIN of the badge")

    def identity(self) -> Identity:
        """Return the badge: another PIN makes nobody else of its holder."""
        if self.vault_badge is None:
            raise AuthUnavailable("vault_badge is not set")
        return Identity((self.name, self.mount, self.vault_badge))

    def login(self, vault: Vault) -> VaultToken:
        """Log in at ``auth/<mount>/login``."""
        pin = sources.read_file(self.vault_badge_pin_file or "/etc/badge/pin", "vault_badge_pin_file")
        body = {"badge": self.vault_badge, "pin": pin}
        return vault.login(f"auth/{self.mount}/login", body, mount=self.mount, remedy="check the PIN", secrets=[pin])
