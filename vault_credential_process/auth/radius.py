"""Radius: a user of a RADIUS server.

https://developer.hashicorp.com/vault/api-docs/auth/radius#login
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from vault_credential_process.auth.password import PasswordMethod


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Radius(PasswordMethod):
    """Log in as a user of a RADIUS server.

    To renew the token Vault would send the password to the server once more: a one-time code in it would be wrong by
    then, and a second factor that is a push would ring somebody's telephone.
    """

    name: ClassVar[str] = "radius"
    default_mount: ClassVar[str] = "radius"
    summary: ClassVar[str] = "a user of a RADIUS server"
    asked: ClassVar[str] = "the RADIUS server"
    renews: ClassVar[bool] = False
