"""Okta: a user of Okta, with Okta's own second factor.

https://developer.hashicorp.com/vault/api-docs/auth/okta#login and ``#verify``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets as random
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import sources
from vault_credential_process.auth.password import PasswordMethod
from vault_credential_process.errors import AuthenticationError, UnreachableError, VaultCredentialError
from vault_credential_process.models import Person, option
from vault_credential_process.parsers import parse_okta_provider
from vault_credential_process.refusals import RefusedError

if TYPE_CHECKING:
    from vault_credential_process.answers import Answer
    from vault_credential_process.vault import Vault

logger = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two questions for the number that Okta wants to be tapped."""

_APPS = {"OKTA": "Okta Verify", "GOOGLE": "Google Authenticator"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Okta(PasswordMethod):
    """Log in as a user of Okta.

    Okta decides about the second factor, and without a code it sends a push to the user's device. That is for a login
    that a person began: nobody should find an unasked one on the telephone because a program refreshed. For the same
    reason the token is not renewed, which to Okta is a login.
    """

    name: ClassVar[str] = "okta"
    default_mount: ClassVar[str] = "okta"
    summary: ClassVar[str] = "a user of Okta"
    asked: ClassVar[str] = "Okta"
    renews: ClassVar[bool] = False

    vault_okta_provider: str | None = option(
        "VAULT_OKTA_PROVIDER",
        flag="--okta-provider",
        parse=parse_okta_provider,
        metavar="OKTA|GOOGLE",
        help="whose code is the second factor, where it is a code: that of Okta Verify or of Google Authenticator",
    )

    def _check_alone(self, path: str) -> None:
        if not self.config.vault_login_mfa_code_command:
            raise AuthenticationError(
                f"{self.config.vault_addr}/v1/{path}: nothing was sent, for Okta may ask the user's device to confirm; "
                f"run: {self.config.login_command}, or set vault_login_mfa_code_command"
            )

    def _body(self, vault: Vault, password: str) -> dict[str, str]:
        """Return the password with a code, or with a nonce by which the number of a push is asked for."""
        code = self._code(vault)
        if not code:
            return {"password": password, "nonce": random.token_hex(10)}
        provider = {"provider": self.vault_okta_provider} if self.vault_okta_provider else {}
        return {"password": password, "totp": code, **provider}

    def _code(self, vault: Vault) -> str:
        """Return the code of the second factor: from the command, else from the person where it is to be a code."""
        command, provider = self.config.vault_login_mfa_code_command, self.vault_okta_provider
        if command:
            told = {"VAULT_MFA_METHOD_TYPE": self.name, "VAULT_MFA_METHOD_ID": provider or ""}
            return sources.run_command(command, "vault_login_mfa_code_command", vault.deadline, environ=told)
        if vault.person is None or provider is None:
            return ""
        # Apps show a code in groups, and people type it so.
        return vault.person.ask(f"Code of {_APPS[provider]}: ").replace(" ", "")

    def _ask(self, vault: Vault, path: str, body: Mapping[str, str], secrets: tuple[str, ...]) -> Answer:
        """Send the login; where it may wait for a push, tell the person what to do meanwhile."""
        if vault.person is None or "nonce" not in body:
            return super(Okta, self)._ask(vault, path, body, secrets)
        vault.person.tell("If Okta sends a push to your device, confirm it there.")
        with _number_told(vault, vault.person, f"auth/{self.mount}/verify", body["nonce"]):
            return super(Okta, self)._ask(vault, path, body, secrets)


@contextlib.contextmanager
def _number_told(vault: Vault, person: Person, path: str, nonce: str) -> Iterator[None]:
    """Ask meanwhile, in a conversation of its own, for the number that a push may want to be tapped, and tell it."""
    done = threading.Event()
    thread = threading.Thread(target=_tell_number, args=(vault, person, path, nonce, done), name="okta", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(POLL)


def _tell_number(vault: Vault, person: Person, path: str, nonce: str, done: threading.Event) -> None:
    try:
        with type(vault)(vault.config, vault.deadline) as beside:
            while not done.wait(POLL):
                number = _number(beside, path, nonce)
                if number is not None and not done.is_set():
                    person.tell(f"In Okta Verify, tap the number {number}.")
                    return
    except VaultCredentialError as error:
        # The login itself tells what is wrong, or succeeds without a number.
        logger.debug("the number of the push is not to be had: %s", type(error).__name__)


def _number(vault: Vault, path: str, nonce: str) -> int | None:
    """Return the number, ``None`` while there is none. Whoever knows the nonce hears it, too."""
    try:
        data = vault.ask(f"{path}/{nonce}", secrets=(nonce,)).body.get("data")
    except UnreachableError as error:
        if isinstance(error, RefusedError) and error.refusal.status not in (404, 429):
            raise
        return None
    number = data.get("correct_answer") if isinstance(data, Mapping) else None
    return number if isinstance(number, int) else None
