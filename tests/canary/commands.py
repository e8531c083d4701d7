"""The table of commands: each command of the parser, with its actions and flags, and how it is run."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
from collections.abc import Iterator

from vault_credential_process.cli import parser

PROFILE = "--profile=webapp"
OF_SETTINGS = {"--no-cache", "-v", "--log-file"}
"""Flags that every command has, or that stand for a setting."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One command line; ``apart`` where a test of its own runs it in a process, and tells why."""

    words: tuple[str, ...]
    asks_vault: bool = False
    typed: bool = False
    """Whether a secret is handed in through a pipe; at a terminal it is typed."""
    apart: str = ""


RUNS: dict[str, tuple[Run, ...]] = {
    "login": (
        Run(("login", PROFILE), asks_vault=True),
        Run(("login", PROFILE, "--no-browser"), asks_vault=True),
    ),
    "get": (
        Run(("get", PROFILE), asks_vault=True),
        Run(("get", PROFILE)),
        Run(("get", PROFILE, "--no-cache"), asks_vault=True),
    ),
    "status": (Run(("status", PROFILE)), Run(("status", PROFILE, "--json"))),
    "cache list": (Run(("cache", "list")), Run(("cache", "list", "--json"))),
    "cache clear": (
        Run(("cache", "clear", PROFILE, "--revoke"), asks_vault=True),
        Run(("cache", "clear", PROFILE)),
        Run(("cache", "clear")),
        Run(("cache", "clear", "--all")),
    ),
    "logout": (
        Run(("logout", PROFILE), asks_vault=True),
        Run(("logout", PROFILE, "--force"), asks_vault=True),
    ),
    "secret set": (Run(("secret", "set", "webapp"), typed=True),),
    "secret check": (Run(("secret", "check", "webapp")),),
    "secret delete": (Run(("secret", "delete", "webapp")),),
    "autoload enable": (Run(("autoload", "enable")), Run(("autoload", "enable", "--force"))),
    "autoload status": (Run(("autoload", "status")), Run(("autoload", "status", "--json"))),
    "autoload disable": (Run(("autoload", "disable")),),
    "demo": (Run(("demo", "--keep"), apart="it is interrupted early, and runs to its end with the soak"),),
}
"""Each command with its actions, in an order in which one finds what another left."""


def declared() -> dict[str, set[str]]:
    """Return each command of the parser, with its actions, and the flags that are its own."""
    _, subparsers = parser._parser(list(parser.COMMANDS))
    found: dict[str, set[str]] = {}
    for name, subparser in subparsers.items():
        importlib.import_module(f"vault_credential_process.cli.{name}").add_options(subparser)
        choices = [a.choices for a in subparser._actions if not a.option_strings and a.choices]
        flags = set(_own_flags(subparser)) - OF_SETTINGS
        for action in [f"{name} {choice}" for choice in choices[0]] if choices else [name]:
            found[action] = flags
    return found


def _own_flags(subparser: argparse.ArgumentParser) -> Iterator[str]:
    for action in subparser._actions:
        if isinstance(action, argparse._StoreTrueAction) and action.dest not in ("verbose", "help"):
            yield action.option_strings[-1]


def played_flags(name: str) -> set[str]:
    """Return the flags with which a command, whatever its action, is run."""
    return {
        word
        for action, runs in RUNS.items()
        if action.partition(" ")[0] == name.partition(" ")[0]
        for run in runs
        for word in run.words
        if word.startswith("--") and "=" not in word
    }
