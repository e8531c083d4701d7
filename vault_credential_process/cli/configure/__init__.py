"""``configure``: write a profile into the AWS config file, by questions at a terminal or by flags in a script."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Mapping

from vault_credential_process import auth, awsconfig
from vault_credential_process.cli import installed, parser
from vault_credential_process.cli.configure import changes, roles
from vault_credential_process.cli.configure.asking import Asker
from vault_credential_process.cli.configure.changes import File
from vault_credential_process.cli.configure.discovery import PATIENCE, Session, clearing, is_logged_in, wants_somebody
from vault_credential_process.cli.configure.draft import Draft
from vault_credential_process.cli.configure.interview import Interview
from vault_credential_process.cli.paint import Paint
from vault_credential_process.cli.spinner import Spinner
from vault_credential_process.cli.terminal import Terminal
from vault_credential_process.config import REGION_VARIABLES
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    VaultCredentialError,
    bare,
    one_line,
)
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import section_name
from vault_credential_process.profiles import config_path, every_profile, find_profile, profile_name

SEVERAL = "{role}"
"""What a draft is called that is to become a profile for each role."""


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of every setting, and how to go about it."""
    to.epilog = (
        "example: vault-credential-process configure --profile webapp --yes --vault-addr https://vault.example.com:8200"
        " --role-id 7d0b8e0c-2d9c-4d5a-9d4c-0c6c1b7f0e11 --secret-id-file /etc/webapp/secret-id --role webapp"
    )
    to.add_argument("--region", metavar="REGION", help="AWS region of the profile (AWS_REGION)")
    to.add_argument("--roles", metavar="PATTERN", help="a profile for each role that matches, as in 'team-*'")
    to.add_argument("--name", metavar="TEMPLATE", help="how those profiles are called (default: {role})")
    to.add_argument("--yes", action="store_true", help="ask nothing and write: for scripts")
    to.add_argument("--dry-run", action="store_true", help="show what would change, and write nothing")
    to.add_argument("--replace", action="store_true", help="change a profile that configure did not write, too")
    to.add_argument("--remove", action="store_true", help="take a profile out again that configure wrote")
    to.add_argument("--no-login", action="store_true", help="do not try whether the login works; ask Vault nothing")
    to.add_argument("--read", action="store_true", help="try to read credentials, too, and give back what can be")
    parser.add_settings(to)


def run(arguments: argparse.Namespace) -> int:
    """Ask, try, show the difference, and write.

    :raises VaultCredentialError: when something is missing or wrong; nothing is written then.
    """
    try:
        return _run(arguments)
    except VaultCredentialError as error:
        failure = bare(error)
    raise failure


def _run(arguments: argparse.Namespace) -> int:
    _check_flags(arguments)
    asker = None if arguments.yes else Asker.at_terminal()
    if asker is None and not (arguments.yes or arguments.dry_run):
        raise ConfigurationError("no terminal to ask on; add --yes to write without a question, or --dry-run")
    with contextlib.ExitStack() as stack:
        if asker is not None:
            stack.enter_context(asker)
        one = _Run(arguments, asker, stack)
        return one.remove() if arguments.remove else one.configure()


def _check_flags(arguments: argparse.Namespace) -> None:
    if arguments.no_login and (arguments.read or arguments.roles):
        other = "--read" if arguments.read else "--roles"
        raise ConfigurationError(f"--no-login: {other} needs a login; leave one of the two out")
    if arguments.name and not arguments.roles:
        raise ConfigurationError("--name: names the profiles of --roles; name a single one with --profile")
    if arguments.roles and arguments.vault_aws_role:
        raise ConfigurationError("--roles: --role names a single one; leave one of the two out")
    if arguments.roles and arguments.remove:
        raise ConfigurationError("--remove: takes out one profile; name it with --profile")


class _Run:
    """One run: its flags, who answers (``None``: nobody), and what is undone where nothing is written."""

    def __init__(self, arguments: argparse.Namespace, asker: Asker | None, stack: contextlib.ExitStack) -> None:
        self._arguments, self._asker, self._stack = arguments, asker, stack
        self._flags = {k: v for k, v in vars(arguments).items() if k.startswith("vault_") and v is not None}
        self._file = File(config_path(os.environ))
        self._paint = Paint(sys.stdout)
        self._session: Session | None = None
        self._interview: Interview | None = None
        self._variables: list[str] = []
        self._doubts: list[str] = []
        self._no_region = self._wants_no_region = arguments.region == ""

    def remove(self) -> int:
        """Take a profile out."""
        name = self._name()
        self._file.take_out(name)
        found = find_profile({"profile": name}, {"AWS_CONFIG_FILE": self._file.path})
        command = found and clearing(found)
        left = (
            "the cache holds its token or credentials until they end; where no other profile needs them:",
            f"{self._paint.dim('next')}: {command}",
        )
        did = f"took {section_name(name)} out of"
        return self._change({}, lambda file: file.take_out(name), did, left if command else ())

    def configure(self) -> int:
        """Put a profile in, or several."""
        draft = self._draft()
        if self._asker is None:
            draft.settle()
            if not self._arguments.roles:
                draft.require("vault_aws_role")
                wanted = {draft.name: self._keys(draft)}
                if self._made(self._file, wanted) == self._file.text and not self._arguments.read:
                    return self._unchanged(wanted)
        else:
            if not self._may_change(draft):
                return self._nothing_written()
            self._interview = Interview(self._asker, draft)
            self._stack.callback(self._forget_entries)
            self._interview.server(offline=self._arguments.no_login)
            self._interview.method()
        self._log_in_with_patience(draft)
        self._variables = list(draft.variables())
        if self._arguments.roles:
            profiles = self._of_roles(draft)
        else:
            if self._interview is not None:
                self._interview.role(self._session)
                if self._arguments.region is None:
                    draft.region = self._interview.region(draft.region)
                    self._no_region = not draft.region
            draft.require("vault_aws_role")
            about, doubt = roles.check(self._session, draft)
            self._tell(*filter(None, [about]))
            self._doubts += filter(None, [doubt])
            profiles = {draft.name: self._keys(draft)}
            self._try_to_read(draft)
        names = ", ".join(map(section_name, profiles))
        return self._change(profiles, lambda file: self._made(file, profiles), f"wrote {names} to")

    def _forget_entries(self) -> None:
        if self._interview is not None:
            self._interview.forget()

    def _tell(self, *lines: str) -> None:
        encoding = sys.stdout.encoding or "utf-8"
        for line in lines:
            # What a terminal has no letters for must not keep the file from being written.
            sys.stdout.write(line.encode(encoding, "replace").decode(encoding) + "\n")

    def _nothing_written(self) -> int:
        self._tell("nothing was written")
        return 0

    def _unchanged(self, profiles: Mapping[str, Mapping[str, str]]) -> int:
        self._tell(f"{', '.join(map(section_name, profiles))}: nothing to change in {self._file.path}")
        self._keep()
        self._warn(profiles)
        return 0

    def _keep(self) -> None:
        """Leave what the run made beside the file: the profile that needs it is there."""
        if self._session is not None:
            self._session.keep()
        self._interview = None

    def _warn(self, profiles: Mapping[str, Mapping[str, str]]) -> None:
        there = {one.name: one.keys for one in every_profile({"AWS_CONFIG_FILE": self._file.path})}
        found = {name: there.get(name, {}) for name in profiles}
        lines = [f"no file has {name}: it must be set wherever the profile is used" for name in self._variables]
        lines += [*self._doubts, *([] if self._wants_no_region else installed.lacking(found, os.environ))]
        lines += [*installed.doubts(), *installed.rivals(found, os.environ)]
        self._tell(*(f"{self._paint.yellow('warning')}: {line}" for line in lines))

    def _tell_next(self, names: list[str]) -> None:
        name = names[0]
        own = "" if name == "default" else f"--profile {name} "
        steps = [f"aws {own}s3 ls", f"vault-credential-process doctor --profile {name}"]
        config = auth.configure({}, os.environ, find_profile({"profile": name}, {"AWS_CONFIG_FILE": self._file.path}))
        if (self._session is None or not self._session.is_kept) and wants_somebody(config):
            steps.insert(0, f"vault-credential-process login --profile {name}")
        self._tell(*(f"{self._paint.dim('next')}: {step}" for step in steps))

    def _name(self) -> str:
        """Return the name of the profile."""
        named = profile_name({"profile": self._arguments.profile}, os.environ)
        if self._asker is not None and not self._arguments.profile and not self._arguments.remove:
            return self._asker.ask("Name of the profile", named or "", check=awsconfig.check_name)
        if not named:
            raise ConfigurationError("profile: missing (set --profile or AWS_PROFILE)")
        try:
            return awsconfig.check_name(named)
        except ValueError as error:
            raise ConfigurationError(f"--profile: {error}") from None

    def _draft(self) -> Draft:
        """Return what flags, the profile that is there and the environment make."""
        region = self._arguments.region
        name = SEVERAL if self._arguments.roles and not self._arguments.profile else self._name()
        draft = Draft(name, self._flags, os.environ)
        section = awsconfig.find(awsconfig.lines_of(self._file.text), name)
        if section is not None:
            found = find_profile({"profile": name}, {"AWS_CONFIG_FILE": self._file.path})
            draft.old, draft.is_marked = dict(found.keys if found else {}), section.is_marked
        of_environment = next(filter(None, map(os.environ.get, REGION_VARIABLES)), "")
        draft.region = str((draft.old or {}).get("region", of_environment)) if region is None else region
        if region:
            try:
                awsconfig.check_value(region)
            except ValueError as error:
                raise ConfigurationError(f"--region: {error}") from None
        return draft

    def _may_change(self, draft: Draft) -> bool:
        """Ask whether a profile may be changed that somebody else wrote."""
        if draft.old is None or draft.is_marked or self._arguments.replace or self._asker is None:
            return True
        self._asker.show(f"{section_name(draft.name)} is in {self._file.path} already, and configure did not write it.")
        self._arguments.replace = self._asker.confirm(
            "Change its credential_process and vault_* keys, and keep the rest?", default=False
        )
        return bool(self._arguments.replace)

    def _log_in_with_patience(self, draft: Draft) -> None:
        """Log in; somebody at the terminal may mend what was wrong."""
        while True:
            try:
                self._log_in(draft)
                return
            except (AuthenticationError, ConfigurationError) as error:
                if self._interview is None or not self._interview.again(error):
                    raise
            self._interview.method()

    def _log_in(self, draft: Draft) -> None:
        """Log in, where that is wanted; the token is given back at the end unless the profile is written."""
        if self._arguments.no_login:
            self._tell("the login was not tried (--no-login)")
            return
        config = draft.config()
        if draft.name == SEVERAL:
            config = dataclasses.replace(config, profile=None)  # what is kept belongs to all of them
        needs_one = self._arguments.roles or self._arguments.read
        if self._asker is None and not needs_one and wants_somebody(config) and not is_logged_in(config):
            self._tell(f"the login was not tried: {draft.method} wants somebody at a terminal")
            return
        with Spinner(sys.stderr, f"logging in to {config.vault_addr}") as spinner:
            person = Terminal(Deadline(PATIENCE), spinner=spinner) if self._asker else None
            self._session = self._stack.enter_context(Session(config, person, may_go_on=draft.has_same_login()))
        policies = one_line(", ".join(self._session.token.policies)) or "none"
        told = "logged in to" if self._session.is_new else "still logged in to"
        self._tell(f"{told} {config.vault_addr} by {self._session.method}, policies {policies}")

    def _of_roles(self, draft: Draft) -> dict[str, dict[str, str]]:
        """Return a profile for each role of the pattern, by name."""
        profiles = {}
        found = roles.matching(self._session, draft, self._arguments.roles)
        for name, role in roles.named(found, self._arguments.name or SEVERAL).items():
            draft.answers["vault_aws_role"] = role
            profiles[name] = self._keys(draft, name)
            self._try_to_read(draft)
        return profiles

    def _try_to_read(self, draft: Draft) -> None:
        """Try to read credentials, where that is wanted."""
        if self._session is None or not self._arguments.read:
            return
        if self._session.is_over:
            path = draft.config().aws_path
            self._tell(f"{path} was not read: the token of the login was revoked to give back what was read before")
        else:
            self._tell(*self._session.read(draft.config()))

    def _keys(self, draft: Draft, name: str = "") -> dict[str, str]:
        """Return all keys of a profile, in their order."""
        region = {"region": draft.region} if draft.region else {}
        return {**region, "credential_process": installed.command_line(name or draft.name), **draft.keys()}

    def _made(self, file: File, profiles: Mapping[str, Mapping[str, str]]) -> str:
        return file.put(profiles, replace=self._arguments.replace, no_region=self._no_region)

    def _change(
        self,
        profiles: Mapping[str, Mapping[str, str]],
        make: Callable[[File], str],
        did: str,
        then: Iterable[str] = (),
    ) -> int:
        """Show a change, ask, make it, and tell what comes ``then``."""
        path, before, after = self._file.path, self._file.text, make(self._file)
        if before == after:
            return self._unchanged(profiles)
        if self._asker is not None:
            self._asker.show("\n" + changes.difference(path, before, after, self._asker.paint) + "\n")
        else:
            self._tell(changes.difference(path, before, after, self._paint))
        if self._arguments.dry_run:
            return self._nothing_written()
        if self._asker is not None and not self._asker.confirm("Write this?", default=True):
            return self._nothing_written()
        changes.save(path, self._file, make, is_shown=self._asker is not None)
        self._keep()
        self._tell(self._paint.green(f"{did} {path}"), *then)
        if profiles:
            self._warn(profiles)
            self._tell_next(list(profiles))
        return 0
