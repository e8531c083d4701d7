"""The roles of a mount, as far as a token may see them: whether one is there, and which of them a pattern means."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from vault_credential_process import awsconfig
from vault_credential_process.cli.configure.discovery import Session
from vault_credential_process.cli.configure.draft import Draft
from vault_credential_process.errors import ConfigurationError, PermissionDeniedError, one_line


def check(session: Session | None, draft: Draft) -> tuple[str, str]:
    """Return what to tell of a role, and what to warn of: whether it is there and may be read, as far as Vault says.

    :raises ConfigurationError: when the list may be seen, and the role is not in it.
    """
    if session is None:
        return "", ""
    mount, kind, role = *_place(draft), draft.text("vault_aws_role")
    known = session.roles(mount, static=kind == "static-roles")
    if known is not None and role not in known:
        where = f"{session.config.vault_addr}/v1/{mount}/{kind}"
        raise ConfigurationError(
            f"{where}: no role {role!r} at mount {mount!r}; check vault_aws_role (vault list {mount}/{kind})"
        )
    path = draft.config().aws_path
    may = session.may_read(path)
    if may is False:
        return "", f"this token may not read {path}: check the name of the role, or have the policy allow it"
    if may:
        return f"the token may read {path}", ""
    return ("" if known else f"{unseen(session, f'{mount}/{kind}')}: nobody knows whether {role} is there"), ""


def unseen(session: Session, path: str) -> str:
    """Return why a list was not seen."""
    if path in session.unlisted:
        return f"the server has no list of {path}"
    uses = session.token.uses_left
    return (
        f"the token may not list {path}" if uses is None else f"the token serves {uses} times, so {path} was not listed"
    )


def matching(session: Session | None, draft: Draft, pattern: str) -> list[str]:
    """Return the roles that a pattern of a shell means.

    :raises PermissionDeniedError: when the token may not see the list.
    :raises ConfigurationError: when none matches, or the server has no such list.
    """
    mount, kind = _place(draft)
    known = session.roles(mount, static=kind == "static-roles") if session else None
    if known is None:
        where, path = f"{draft.text('vault_addr')}/v1/{mount}/{kind}", f"{mount}/{kind}"
        if session is not None and path in session.unlisted:
            raise ConfigurationError(f"{where}: the server has no such list; write the profiles one by one with --role")
        raise PermissionDeniedError(
            f"{where}: the token may not list the roles; add: path "
            f'"{path}" {{ capabilities = ["list"] }}, or write the profiles one by one with --role'
        )
    found = [role for role in known if fnmatch.fnmatchcase(role, pattern)]
    if not found:
        seen = one_line(", ".join(known), limit=200) or "none at all"
        raise ConfigurationError(f"--roles: no role at {mount} matches {pattern!r}; there are: {seen}")
    return found


def named(roles: Iterable[str], template: str) -> dict[str, str]:
    """Return the role of each profile, by the profile's name.

    :raises ConfigurationError: when two would be called the same, or one as no profile can be.
    """
    found: dict[str, str] = {}
    for role in roles:
        try:
            name = awsconfig.check_name(template.replace("{role}", role))
        except ValueError as error:
            raise ConfigurationError(f"--name: {error}") from None
        if name in found:
            raise ConfigurationError(f"--name: {found[name]} and {role} would both be {name}; put {{role}} into it")
        found[name] = role
    return found


def _place(draft: Draft) -> tuple[str, str]:
    """Return the mount, and which of its lists has the roles."""
    is_static = draft.text("vault_aws_endpoint") == "static-creds"
    return draft.text("vault_aws_mount") or "aws", "static-roles" if is_static else "roles"
