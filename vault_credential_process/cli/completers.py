"""Answers to a shell that asks how a command line goes on.

They come from the parser, the AWS config file, the names in the cache and the names of files. Vault is not asked,
nobody logs in, no keyring is opened, and nothing is written; what goes wrong means no answer, never a message.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from argcomplete.completers import SuppressCompleter
from argcomplete.finders import CompletionFinder
from argcomplete.lexers import split_line

from vault_credential_process import auth, cache, fastpath
from vault_credential_process.config import Config
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.models import Option, options_of
from vault_credential_process.profiles import Profile, every_profile

NO_ANSWER = 1

FROM_PROFILES = (
    "vault_addr",
    "vault_namespace",
    "vault_auth_namespace",
    "vault_auth_mount",
    "vault_auth_role",
    "vault_aws_mount",
    "vault_aws_role_arn",
)
"""Settings of which the values are offered that other profiles have."""

ENDPOINTS = ("creds", "sts", "static-creds")

PLACEHOLDERS = {"REGION", "DURATION"}
"""What stands for a value in a metavar such as ``auto|REGION``, whose other words are values themselves."""

Completer = Callable[..., "Iterable[str] | Mapping[str, str]"]


def is_asked(environ: Mapping[str, str]) -> bool:
    """Tell whether a shell asks: it runs the command without arguments, the line in the environment."""
    return "_ARGCOMPLETE" in environ and "COMP_LINE" in environ


def answer(build: Callable[[Sequence[str]], argparse.ArgumentParser]) -> int:
    """Answer, which ends the process; ``build`` makes the parser for the words of a command line.

    Only where there is no answer does this return: the exit code.
    """
    try:
        line, point, start = (os.environ[name] for name in ("COMP_LINE", "COMP_POINT", "_ARGCOMPLETE"))
        _, prefix, _, before, _ = split_line(line, int(point))
        finder = Finder()
        finder.words = before[int(start) :]
        finder(build([*finder.words, prefix]), always_complete_options=False, default_completer=SuppressCompleter())
    except Exception:  # whoever pressed a key wants no message
        return NO_ANSWER
    return NO_ANSWER


class Finder(CompletionFinder):
    """argcomplete's, with what it does not know: which values our flags take, and that ``--`` begins another program.

    Flags are offered where one begins. Where nothing has been typed, and no value is awaited, those that are the
    command's own.
    """

    words: Sequence[str] = ()
    """The words before the one that is completed, without the name of the program."""

    def collect_completions(
        self, active_parsers: list[argparse.ArgumentParser], parsed_args: argparse.Namespace, cword_prefix: str
    ) -> list[str]:
        parser: Any = active_parsers[-1]
        if "--" in self.words:
            others = programs(cword_prefix) if self.words[-1] == "--" else files(cword_prefix)
            self._display_completions = dict.fromkeys(others, "")
            return list(self._display_completions)
        if len(active_parsers) == 1 and not all(word.startswith("-") for word in self.words):
            return []  # no such command
        for action in parser._actions:
            action.completer = completer_of(action)
        found: list[str] = super().collect_completions(active_parsers, parsed_args, cword_prefix)
        if found or cword_prefix or any(action.option_strings for action in parser.active_actions):
            return found
        self._display_completions = {a.option_strings[-1]: a.help or "" for a in parser._actions if _is_own(a)}
        return list(self._display_completions)


def _is_own(action: argparse.Action) -> bool:
    """Tell whether a flag is the command's own: neither a setting nor of all commands."""
    common = action.dest.startswith("vault_") or action.dest in ("help", "verbose", "log_file", "version")
    return bool(action.option_strings) and not common


def completer_of(action: argparse.Action) -> Completer | None:
    """Return what completes the value of an argument; ``None`` where argparse's own choices do, or nothing."""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    by_name: dict[str, Completer] = {
        "profile": profiles,
        "vault_aws_role": roles,
        "vault_auth_method": lambda **_: ["auto", *auth.METHODS],
        "vault_aws_cache": lambda **_: ["auto", *cache.BACKENDS],
        "vault_aws_endpoint": lambda **_: ENDPOINTS,
    }
    by_metavar: dict[str, Completer] = {
        "FILE": files,
        "DIR": files,
        "COMMAND": programs,
        "BOOL": lambda **_: ["true", "false"],
    }
    if action.choices is not None:
        return None
    if action.dest in by_name:
        return by_name[action.dest]
    if action.dest in FROM_PROFILES:
        return lambda **_: of_profiles(action.dest)
    if action.dest == "name" and not action.option_strings:
        return keyring_names
    if "|" in metavar:
        return lambda **_: set(metavar.split("|")) - PLACEHOLDERS
    return by_metavar.get(metavar)


def _every_profile() -> list[Profile]:
    try:
        return every_profile(os.environ)
    except ConfigurationError:
        return []


def is_served(profile: Profile) -> bool:
    """Tell whether a profile has its credentials from us."""
    command = str(profile.keys.get("credential_process", ""))
    return (
        "vault_aws_role" in profile.keys
        or "vault-credential-process" in command
        or "vault_credential_process" in command
    )


def profiles(**_: object) -> Mapping[str, str]:
    """Complete the profiles of the AWS config file that have their credentials from us, each with its role."""
    served = {p.name: _value(p, _OWN["vault_aws_role"]) for p in _every_profile() if is_served(p)}
    return {name: f"role {role}" if role else "" for name, role in served.items() if name and name.isprintable()}


def roles(**_: object) -> Iterable[str]:
    """Complete the Vault roles that profiles name, or that credentials are held of on this host."""
    return {*of_profiles("vault_aws_role"), *held_roles(os.environ)}


_OWN: Mapping[str, Option] = {declared.key: declared for declared in options_of(Config)}


def of_profiles(key: str) -> set[str]:
    """Return the values that profiles have for a setting."""
    return {value for value in (_value(profile, _OWN[key]) for profile in _every_profile()) if value}


def _value(profile: Profile, declared: Option) -> str | None:
    """Return what a profile has for a setting, if it is sound: what is not may be anything, a secret, too."""
    value = profile.keys.get(declared.key)
    try:
        return str(declared.parse(value)) if isinstance(value, str) and value and value.isprintable() else None
    except ValueError:
        return None


def held_roles(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the Vault roles of the credentials in the files of the ``runtime`` cache; no other cache is opened.

    A keyring might ask somebody to unlock it.
    """
    from vault_credential_process.cache.entry import Entry
    from vault_credential_process.cache.runtime import Runtime

    directory = fastpath.existing_directory(environ)
    if directory is None:
        return
    backend, now = Runtime(directory, "it was there"), time.time()
    for key in sorted(backend.keys()):
        entry = Entry.load(backend.get(key), now, fastpath.clock_origin())
        if entry is not None:
            yield entry.aws_path.rpartition("/")[2]


def keyring_names(**_: object) -> Iterable[str]:
    """Complete the names of keyring entries that profiles name."""
    return {
        value
        for profile in _every_profile()
        for key, value in profile.keys.items()
        if key.startswith("vault_") and key.endswith("_keyring") and isinstance(value, str) and value.isprintable()
    }


def files(prefix: str, **_: object) -> Iterator[str]:
    """Complete the names of files and directories; hidden ones where the name begins with a dot."""
    head, tail = os.path.split(prefix)
    with contextlib.suppress(OSError), os.scandir(os.path.expanduser(head) or ".") as found:
        for one in found:
            if one.name.startswith(tail) and one.name.isprintable() and (tail or not one.name.startswith(".")):
                yield os.path.join(head, one.name) + ("/" if one.is_dir() else "")


def programs(prefix: str, **_: object) -> Iterable[str]:
    """Complete the names of programs on ``PATH``; where the word has a slash, those of files."""
    if "/" in prefix:
        return files(prefix)
    found: set[str] = set()
    for directory in filter(None, os.get_exec_path()):
        with contextlib.suppress(OSError), os.scandir(directory) as inside:
            found |= {one.name for one in inside if one.name.startswith(prefix) and os.access(one.path, os.X_OK)}
    return {name for name in found if name.isprintable()}
