"""Login MFA: the second factor that a login may want before it gives its token.

https://developer.hashicorp.com/vault/docs/auth/login-mfa and ``/vault/api-docs/system/mfa/validate``.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vault_credential_process import refusals, refused, sources
from vault_credential_process.answers import Answer, text_of
from vault_credential_process.config import Config
from vault_credential_process.errors import AuthenticationError, VaultCredentialError, one_line
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import Person
from vault_credential_process.refusals import Refusal, RefusedError

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault

logger = logging.getLogger(__name__)

PATH = "sys/mfa/validate"
TRIES = 3
"""How often a person may give a code for one login: a refused one does not use the login up, and Vault allows five."""


WAIT = 90.0
"""Seconds for which a code that was refused is not sent again: as long as any clock may take it for a right one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """One way to give a second factor: with a code, or (``takes_code`` false) by a push to somebody's device."""

    id: str
    kind: str
    name: str
    takes_code: bool

    @property
    def called(self) -> str:
        """What people know it as."""
        return f"{self.kind} {self.name}".strip()


@dataclasses.dataclass(frozen=True, slots=True)
class Requirement:
    """What a login wants besides: of each constraint, one of its methods."""

    request_id: str = dataclasses.field(repr=False)
    constraints: tuple[tuple[Method, ...], ...]


def requirement(answer: Answer) -> Requirement | None:
    """Return the second factor that a login wants; ``None`` where it wants none.

    https://developer.hashicorp.com/vault/docs/auth/login-mfa
    """
    auth = answer.body.get("auth")
    required = auth.get("mfa_requirement") if isinstance(auth, Mapping) else None
    if not isinstance(required, Mapping):
        return None
    constraints = required.get("mfa_constraints")
    return Requirement(
        text_of(required.get("mfa_request_id")) or "",
        tuple(_methods(found) for found in constraints.values()) if isinstance(constraints, Mapping) else (),
    )


def _methods(constraint: object) -> tuple[Method, ...]:
    found = constraint.get("any") if isinstance(constraint, Mapping) else None
    methods = [method for method in found if isinstance(method, Mapping)] if isinstance(found, list) else []
    return tuple(
        Method(
            id=text_of(method.get("id")) or "",
            kind=one_line(str(method.get("type") or "unknown"), limit=40),
            name=one_line(str(method.get("name") or ""), limit=80),
            takes_code=method.get("uses_passcode") is True,
        )
        for method in methods
    )


def validate(vault: Vault, required: Requirement, login: str) -> Answer:
    """Give what a login at ``login`` wants and return the answer with the token.

    A person whose code was refused may give another one. A command may not: it would print the same code again, which
    is not sent twice unless a person wants it.

    :raises VaultCredentialError: when nobody can give what the login wants, or Vault does not accept it.
    """
    config, person = vault.config, vault.person
    for left in reversed(range(TRIES)):
        chosen, codes = payload(required, config, person, vault.deadline)
        given = [(method, code) for method, found in chosen.items() for code in found]
        if person is None:
            _check_unrefused(vault, login, given)
        try:
            return vault.ask(
                PATH,
                {"mfa_request_id": required.request_id, "mfa_payload": chosen},
                secrets=(required.request_id, *codes),
            )
        except RefusedError as error:
            is_wrong = _is_wrong_code(error.refusal)
            if is_wrong and person is None:
                for method, code in given:
                    refused.remember(vault, login, error.refusal, method, code, what="refused code", seconds=WAIT)
            is_last = not (left and codes and is_wrong)
            if person is None or config.vault_login_mfa_code_command or is_last:
                raise refusal_of(error.refusal) from None
            logger.debug("the second factor was refused: %s", error)
        # With several factors the codes that were right are used up too.
        person.tell("The code was refused. A code serves once: wait for the next one.")
    raise AssertionError("unreachable: the last try returns or raises")


def _check_unrefused(vault: Vault, login: str, given: list[tuple[str, str]]) -> None:
    """Refuse what Vault would refuse again.

    :raises AuthenticationError: when a code was refused already, for the same login.
    """
    for method, code in given:
        before = refused.recall(vault, login, method, code)
        if before is not None:
            raise AuthenticationError(
                f"{vault.config.vault_addr}/v1/{PATH}: the second factor was refused before: {before.said}; its code "
                f"is not sent again until {before.until}: wait for a new one, or run: {vault.config.login_command}"
            )


def payload(
    required: Requirement, config: Config, person: Person | None, deadline: Deadline
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Return what validates a login, and the codes in it: one method of each constraint.

    A code comes from ``vault_login_mfa_code_command``, else from the person at the terminal. A push is for people
    only: nobody should find an unasked one on the telephone because a program refreshed.

    :raises AuthenticationError: when nobody can give what the login wants.
    """
    chosen: dict[str, list[str]] = {}
    codes = []
    for methods in required.constraints:
        method = _choose(methods, config, person)
        if person is not None and not method.takes_code:
            person.tell(f"Confirm the login with your second factor ({method.called}).")
        code = _code(method, config, person, deadline) if method.takes_code else ""
        chosen[method.id] = [code] if code else []
        codes.append(code)
    return chosen, tuple(code for code in codes if code)


def _choose(methods: tuple[Method, ...], config: Config, person: Person | None) -> Method:
    with_code = [method for method in methods if method.takes_code]
    if with_code and (config.vault_login_mfa_code_command or person is not None):
        return with_code[0]
    if methods and person is not None:
        return methods[0]
    kinds = ", ".join(method.kind for method in methods) or "of no kind"
    where = f"{config.vault_addr}/v1/{PATH}"
    if with_code:
        raise AuthenticationError(
            f"{where}: the login wants a second factor ({kinds}); set vault_login_mfa_code_command, or run: "
            f"{config.login_command}"
        )
    raise AuthenticationError(f"{where}: the login wants a second factor ({kinds}); run: {config.login_command}")


def _code(method: Method, config: Config, person: Person | None, deadline: Deadline) -> str:
    command = config.vault_login_mfa_code_command
    if command:
        told = {"VAULT_MFA_METHOD_TYPE": method.kind, "VAULT_MFA_METHOD_ID": method.id}
        return sources.run_command(command, "vault_login_mfa_code_command", deadline, environ=told)
    if person is None:
        raise AssertionError("a method that takes a code is chosen only where somebody can give one")
    # Apps show a code in groups, and people type it so.
    return person.ask(f"Code of the second factor ({method.called}): ").replace(" ", "")


def _is_wrong_code(refusal: Refusal) -> bool:
    """Tell whether another code may be accepted: not where nobody has a factor, or too many codes were wrong."""
    is_hopeless = _says(refusal, "validation attempts") or _says(refusal, "not present in entity")
    return refusal.status == 403 and _says(refusal, "failed to satisfy enforcement") and not is_hopeless


def _says(refusal: Refusal, words: str) -> bool:
    """Look into what the server wrote, not into what may be shown: a code of one letter blots out much of that."""
    return any(words in text.lower() for text in refusal.errors or ())


def refusal_of(refusal: Refusal) -> VaultCredentialError:
    """Return the error of a second factor that was not accepted."""
    error = refusals.general(refusal)
    if error is not None:
        return error
    said = refusal.text or f"HTTP {refusal.status}"
    if _says(refusal, "validation attempts"):
        return AuthenticationError(f"{refusal.where}: too many wrong codes: {said}; wait a minute, then log in again")
    if _says(refusal, "not present in entity"):
        return AuthenticationError(
            f"{refusal.where}: this user has no second factor yet: {said}; have one set up "
            "(vault write identity/mfa/method/totp/admin-generate)"
        )
    if _says(refusal, "invalid request id"):
        return AuthenticationError(
            f"{refusal.where}: the login was over before its second factor came: {said}; log in again"
        )
    return AuthenticationError(
        f"{refusal.where}: the second factor was refused: {said}; a code serves once and for a short time: wait for "
        "a new one, then log in again"
    )
