"""Login MFA: the second factor that a login may want before it gives its token.

https://developer.hashicorp.com/vault/docs/auth/login-mfa and ``/vault/api-docs/system/mfa/validate``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from vault_credential_process import refusals, sources
from vault_credential_process.answers import Answer, text_of
from vault_credential_process.config import Config
from vault_credential_process.errors import AuthenticationError, VaultCredentialError, one_line
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import Person
from vault_credential_process.refusals import Refusal

PATH = "sys/mfa/validate"


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """One way to give a second factor: with a code, or (``takes_code`` false) by a push to somebody's device."""

    id: str
    kind: str
    name: str
    takes_code: bool


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
    called = f"{method.kind} {method.name}".strip()
    return person.ask(f"Code of the second factor ({called}): ")


def refused(refusal: Refusal) -> VaultCredentialError:
    """Return the error of a second factor that was not accepted."""
    return refusals.general(refusal) or AuthenticationError(
        f"{refusal.where}: the second factor was refused: {refusal.text or f'HTTP {refusal.status}'}; "
        "a code serves once and for a short time: try again with a new one"
    )
