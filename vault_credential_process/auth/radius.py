"""Radius: a user of a RADIUS server.

https://developer.hashicorp.com/vault/api-docs/auth/radius#login
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from vault_credential_process.auth.password import PasswordMethod


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Radius(PasswordMethod):
    """Log in as a user of a RADIUS server."""

    name: ClassVar[str] = "radius"
    default_mount: ClassVar[str] = "radius"
    summary: ClassVar[str] = "a user of a RADIUS server"
