"""LDAP: a user of an LDAP directory or Active Directory.

https://developer.hashicorp.com/vault/api-docs/auth/ldap#login-with-ldap-user
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from vault_credential_process.auth.password import PasswordMethod


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LDAP(PasswordMethod):
    """Log in as a user of an LDAP directory or Active Directory."""

    name: ClassVar[str] = "ldap"
    default_mount: ClassVar[str] = "ldap"
    summary: ClassVar[str] = "a user of an LDAP directory or Active Directory"
    asked: ClassVar[str] = "the directory"
    locks: ClassVar[bool] = True
