"""The table of commands: each command of the parser, with its actions and flags, and how it is run."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
from collections.abc import Iterator

from vault_credential_process.cli import completion, parser

PROFILE = "--profile=webapp"
OTHER = ("--profile=other", "--auth=jwt", "--vault-addr=http://127.0.0.1:1", "--role=other")
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
    "configure": (
        Run(("configure", PROFILE, "--yes", "--replace", "--read"), asks_vault=True),
        Run(("configure", PROFILE, "--timeout=19", "--replace", "--dry-run"), asks_vault=True),
        Run(("configure", *OTHER, "--no-login", "--yes")),
        Run(("configure", "--profile=other", "--remove", "--yes")),
    ),
    "env": (
        Run(("env", PROFILE, "--shell=sh"), asks_vault=True),
        *(Run(("env", PROFILE, f"--shell={name}")) for name in ("fish", "powershell", "dotenv")),
        Run(("env", PROFILE, "--shell=sh", "--unset")),
    ),
    "whoami": (Run(("whoami", PROFILE), asks_vault=True), Run(("whoami", PROFILE, "--json"))),
    "console": (
        Run(("console", PROFILE, "--print"), asks_vault=True),
        Run(("console", PROFILE, "--print", "--destination=s3", "--duration=1h")),
        Run(("console", PROFILE), apart="it needs a browser: tests/test_console.py"),
    ),
    "status": (
        Run(("status", PROFILE)),
        Run(("status", PROFILE, "--json")),
        Run(("status", "--all")),
        Run(("status", "--all", "--json")),
        Run(("status", PROFILE, "--watch=1"), apart="it needs a terminal: tests/test_status.py"),
    ),
    "doctor": (
        Run(("doctor", PROFILE, "--json", "--no-login", "--read"), apart="it starts the aws command: test_doctor.py"),
    ),
    **{
        name: (Run((name, PROFILE, "--env", "--nest", "--keep-vault-env"), apart="it runs a program: test_exec.py"),)
        for name in ("exec", "shell")
    },
    "serve": (
        Run(("serve", PROFILE), apart="it runs until it is stopped: test_serve.py"),
        Run(("serve", "--check"), apart="the same"),
    ),
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
    **{f"completion {shell}": (Run(("completion", shell)),) for shell in completion.SHELLS},
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
