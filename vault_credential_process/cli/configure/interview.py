"""The questions of ``configure``: what a new user is asked, in the order in which the answers are needed."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

from vault_credential_process import auth, awsconfig, sources
from vault_credential_process.cli import secret
from vault_credential_process.cli.configure.asking import AskAgainError, Asker
from vault_credential_process.cli.configure.discovery import Session
from vault_credential_process.cli.configure.draft import REQUIRED, Draft
from vault_credential_process.cli.configure.roles import unseen
from vault_credential_process.config import Config
from vault_credential_process.errors import ConfigurationError, UnreachableError, VaultCredentialError
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import Option, options_of, wall_clock
from vault_credential_process.refusals import Refusal, RefusedError, general
from vault_credential_process.requester import Requester

GLANCE = 10.0
"""Seconds in which a server must tell that it is there."""

_WHATEVER_STATE = {
    "standbyok": "true",
    "perfstandbyok": "true",
    "sealedcode": "200",
    "uninitcode": "200",
    "drsecondarycode": "200",
}
_REFERENCES = {
    "_file": "in a file",
    "_keyring": "in an entry of the system's keyring",
    "_command": "printed by a command",
}
_TYPED, _VARIABLE, _NOWHERE = "type it", "environment", "none"


class Interview:
    """Asks for what no flag has settled, and puts the answers into a draft."""

    def __init__(self, asker: Asker, draft: Draft) -> None:
        """Ask nothing yet."""
        self._asker, self._draft = asker, draft
        self._entries: dict[str, str | None] = {}
        self._last: dict[str, str] = {}

    def server(self, *, offline: bool) -> None:
        """Ask for the address, and for a namespace where the server has some."""
        draft = self._draft
        while True:
            self._setting("vault_addr", "Address of Vault or OpenBao", required=True)
            if offline:
                return
            try:
                has_namespaces = _has_namespaces(_reaching(draft))
            except VaultCredentialError as error:
                if "vault_addr" in draft.flags:
                    raise
                self._asker.show(self._asker.paint.red(f"  {error}"))
                draft.answers.pop("vault_addr", None)
                continue
            if has_namespaces or draft.text("vault_namespace"):
                self._setting("vault_namespace", "Namespace (- for none)")
            return

    def method(self) -> None:
        """Ask for the auth method, what it cannot do without, and where its secret lies."""
        draft = self._draft
        is_settled = draft.is_given("vault_auth_method") or draft.names_a_method()
        if is_settled and not draft.method:
            try:
                draft.answers["vault_auth_method"] = draft.guess()
            except VaultCredentialError:  # several methods have that setting, or a file is not there
                is_settled = False
        if not is_settled:
            default = self._last.get("vault_auth_method") or draft.method
            with contextlib.suppress(VaultCredentialError):
                default = default or draft.guess()
            self._asker.show("\nWays to log in:")
            names = dict.fromkeys([*auth.METHODS, *([default] if default else [])])
            choices = [(name, auth.find(name).summary) for name in names]
            draft.answers["vault_auth_method"] = self._asker.choose("Auth method", choices, default)
        owner = auth.find(draft.method)
        if not is_settled and draft.method not in ("token", "agent"):
            default = draft.text("vault_auth_mount") or owner.default_mount
            self._setting("vault_auth_mount", "Mount point of the method", default=default)
        if owner.takes_role:
            self._setting("vault_auth_role", "Role to log in with (- for the one that the mount has set)")
        for key in REQUIRED.get(draft.method, ()):
            self._setting(key, _sentence(draft.option(key)), required=True)
        own = tuple(options_of(owner))
        for declared in own:
            if declared.secret:
                self._secret(declared, own)

    def _secret(self, declared: Option, own: Sequence[Option]) -> None:
        """Ask where a secret lies; it is never asked for itself, unless the keyring is to keep it."""
        draft, key = self._draft, declared.key
        what = declared.help.removeprefix("the ").removesuffix(" itself")
        references = [o for o in own if o.key in (f"{key}_file", f"{key}_keyring", f"{key}_command")]
        others = [o.key for o in own if o.key.startswith(key) and not o.secret]
        is_wrapped = any(draft.text(other) for other in set(others) - {o.key for o in references})
        if is_wrapped or any(draft.is_given(other) for other in others):
            return
        choices = [(o.key.removeprefix(f"{key}_"), _REFERENCES[o.key.removeprefix(key)]) for o in references]
        if any(value == "keyring" for value, _ in choices):
            choices.append((_TYPED, "now, and have the system's keyring keep it"))
        choices.append((_VARIABLE, f"in the variable {declared.environ[0]}, wherever the profile is used"))
        choices.append((_NOWHERE, _without(draft.method)))
        here = next((o.key.removeprefix(f"{key}_") for o in references if draft.text(o.key)), "")
        usual = _VARIABLE if any(draft.environ.get(name) for name in declared.variables) else ""
        usual = usual or ("file" if draft.method in ("approle", "jwt") else _NOWHERE)
        self._asker.show(f"\nWhere the {what} is:")
        entry = ""
        while True:
            chosen = self._asker.choose(f"The {what}", choices, here or usual)
            try:
                entry = self._kept(key) if chosen == _TYPED else ""
            except (ConfigurationError, UnreachableError) as error:  # no keyring, or one that nobody unlocks
                self._asker.show(self._asker.paint.red(f"  {error}"))
                continue
            break
        for other in references:
            if other.key != f"{key}_{chosen}":
                draft.answers[other.key] = ""
        if chosen == _TYPED:
            draft.answers[f"{key}_keyring"] = entry
        elif chosen not in (_VARIABLE, _NOWHERE):
            self._setting(f"{key}_{chosen}", _sentence(draft.option(f"{key}_{chosen}")), required=True)

    def _kept(self, key: str) -> str:
        """Have the keyring keep a secret that is typed; return the name of its entry."""
        sources.require_store()
        usual = f"{self._draft.name}-{key.removeprefix('vault_').replace('_', '-')}"
        while True:
            name = self._asker.ask("Name of the entry", usual)
            before = secret.held(secret.checked(name))
            if before is None or name in self._entries:
                break
            if self._asker.confirm(f"The keyring holds {name} already: replace it?", default=False):
                break
        self._entries.setdefault(name, before)
        secret.run(argparse.Namespace(action="set", name=name))
        return name

    def again(self, error: VaultCredentialError) -> bool:
        """Show why the login failed, and tell whether it shall be asked for anew, with the answers as defaults."""
        self._asker.show(self._asker.paint.red(f"  {error}"))
        if not self._asker.confirm("Answer the questions of the login again?", default=True):
            return False
        for key in self._draft.answers.keys() - {"vault_addr", "vault_namespace"}:
            self._last[key] = self._draft.answers.pop(key)
        return True

    def forget(self) -> None:
        """Have the keyring hold what it held before, where the profile is not written after all."""
        for name, before in self._entries.items():
            with contextlib.suppress(VaultCredentialError):
                secret.put_back(name, before)

    def role(self, session: Session | None) -> None:
        """Ask for mount and role, from a list where the token may see one."""
        draft, show = self._draft, self._asker.show
        mounts = None if session is None else session.mounts()
        default = draft.text("vault_aws_mount") or (mounts or ["aws"])[0]
        if draft.is_given("vault_aws_mount") or draft.is_given("vault_aws_role"):
            pass
        elif mounts and len(mounts) > 1:
            show("\nAWS secrets engines:")
            chosen = self._asker.choose("Mount", [(mount, "") for mount in mounts], default, others=True)
            draft.answers["vault_aws_mount"] = chosen
        else:
            if session is not None and mounts is None:
                show(f"Vault does not tell this token which AWS secrets engines there are; Enter takes {default}.")
            elif session is not None and not mounts:
                show(f"Vault shows this token no AWS secrets engine; Enter takes {default}.")
            self._setting("vault_aws_mount", "Mount of the AWS secrets engine", default=default)
        if draft.is_given("vault_aws_role"):
            return
        mount = draft.text("vault_aws_mount") or "aws"
        found = list(_choices(session, mount, draft)) if session else []
        if not found:
            if session is not None:
                show(f"{unseen(session, f'{mount}/roles')}: type the name.")
            self._setting("vault_aws_role", "Role", required=True)
            return
        show("\nRoles:")
        known = dict(found)
        default = draft.text("vault_aws_role") or (found[0][0] if len(found) == 1 else "")
        is_partial = session is not None and f"{mount}/static-roles" in session.unlisted
        if is_partial:
            show("The server has no list of static roles; the name of one can be typed.")
        while True:
            chosen = self._asker.choose("Role", found, default, others=is_partial)
            if chosen in known or self._asker.confirm(f"Is {chosen} a static role?", default=False):
                break
        draft.answers["vault_aws_role"] = chosen
        if known.get(chosen, _STATIC) == _STATIC:
            draft.answers["vault_aws_endpoint"] = "static-creds"
        elif draft.text("vault_aws_endpoint") == "static-creds":
            draft.answers["vault_aws_endpoint"] = "creds"

    def region(self, default: str) -> str:
        """Return the region, which may be empty."""
        return self._asker.ask("AWS region (- for none)", default, check=awsconfig.check_value)

    def _setting(self, key: str, question: str, *, default: str = "", required: bool = False) -> None:
        draft = self._draft
        if draft.is_given(key):
            return
        usual = self._last.get(key) or default or draft.text(key)
        if key == "vault_addr":
            usual = usual or str(draft.option(key).default)

        def check(answer: str) -> None:
            if not answer and required:
                raise AskAgainError("cannot be left out")
            if answer:
                awsconfig.check_value(answer)
                draft.option(key).parse(answer)

        answer = self._asker.ask(question, usual, check=check)
        if answer != draft.text(key) and not (answer == default and not draft.text(key)):
            draft.answers[key] = answer


_STATIC = "static: keys of one IAM user, rotated by Vault"


def _choices(session: Session, mount: str, draft: Draft) -> Iterator[tuple[str, str]]:
    """Yield the roles that can be chosen, each with what it is."""
    if not draft.is_given("vault_aws_endpoint") or draft.text("vault_aws_endpoint") != "static-creds":
        yield from ((role, "") for role in session.roles(mount) or ())
    if not draft.is_given("vault_aws_endpoint") or draft.text("vault_aws_endpoint") == "static-creds":
        yield from ((role, _STATIC) for role in session.roles(mount, static=True) or ())


def _sentence(declared: Option) -> str:
    text = declared.help.partition(" (")[0].partition(", ")[0]
    return text[0].upper() + text[1:]


def _without(method: str) -> str:
    """Return what it means to name no secret."""
    if method == "token":
        return "the token that vault login left: ~/.vault-token, or a token helper's"
    if method == "approle":
        return "the role binds no Secret ID"
    if method == "jwt":
        return "the platform of a CI job provides it"
    if method == "github":
        return "not here"
    return "asked for by vault-credential-process login"


def _reaching(draft: Draft) -> Config:
    """Return a configuration that reaches the server; nobody logs in with it."""
    return auth.configure({**draft.connection(), "vault_auth_method": "token"}, {}, None)


def _has_namespaces(config: Config) -> bool:
    """Ask the server whether it is there, and whether it is one with namespaces that says so.

    https://developer.hashicorp.com/vault/api-docs/system/health

    :raises VaultCredentialError: when it is not there, or sealed.
    """
    # Whoever mistyped it should not have to wait for other tries.
    requester = Requester(dataclasses.replace(config, vault_max_retries=0), Deadline(GLANCE), wall_clock)
    try:
        body = requester.ask("get", "sys/health", params=_WHATEVER_STATE).body
    except RefusedError as error:
        raise general(error.refusal) or error from None
    finally:
        requester.close()
    if body.get("sealed") is True:
        sealed = Refusal(config.vault_addr, "sys/health", 503, ("Vault is sealed",))
        raise general(sealed) or RefusedError(sealed)
    return body.get("enterprise") is True
