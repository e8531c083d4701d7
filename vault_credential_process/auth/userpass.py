"""Userpass: a user name and a password that Vault itself keeps.

https://developer.hashicorp.com/vault/api-docs/auth/userpass#login
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from vault_credential_process.auth.password import PasswordMethod


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Userpass(PasswordMethod):
    """Log in as a user name and a password that Vault itself keeps."""

    name: ClassVar[str] = "userpass"
    default_mount: ClassVar[str] = "userpass"
    summary: ClassVar[str] = "a user name and a password that Vault itself keeps"
    locks: ClassVar[bool] = True
