"""``secret``: entries of the system's keyring, for the settings ``vault_*_keyring``."""

from __future__ import annotations

import argparse
import hmac
import sys
from collections.abc import Callable
from typing import TypeVar

from vault_credential_process import sources
from vault_credential_process.cli.terminal import Terminal
from vault_credential_process.errors import ConfigurationError, one_line
from vault_credential_process.expiry import Deadline

PATIENCE = 120.0
"""Seconds that a person has to type a secret, and to unlock the keyring."""

LONGEST_NAME = 200
"""Characters of the longest name: some stores take no more than that."""

_T = TypeVar("_T")


def add_options(to: argparse.ArgumentParser) -> None:
    """Add ``set``, ``delete`` and ``check``."""
    to.epilog = "example: vault-credential-process secret set webapp-secret-id < secret-id"
    to.add_argument(
        "action",
        choices=("set", "delete", "check"),
        help="set: keep what is typed, or comes through a pipe; delete: forget it; check: tell whether it is there",
    )
    to.add_argument("name", metavar="NAME", help="name of the entry, as a setting vault_*_keyring has it")


def run(arguments: argparse.Namespace) -> int:
    """Set, delete or check; no secret is ever shown.

    :raises ConfigurationError: when there is no such entry, no keyring, or no usable secret.
    :raises UnreachableError: when the keyring fails.
    """
    name = checked(arguments.name)
    sources.require_store()
    if arguments.action == "set":
        _set(name)
        told = f"kept as {name}; write vault_secret_id_keyring = {name}, or the vault_*_keyring that it is for"
    elif held(name) is None:
        raise ConfigurationError(f"the keyring holds no entry {name!r}; secret set {name} makes it")
    elif arguments.action == "delete":
        put_back(name, None)
        told = f"forgot {name}"
    else:
        told = f"the keyring holds {name}"
    sys.stdout.write(told + "\n")
    return 0


def checked(name: str) -> str:
    """Return a name that can stand in a profile as it is.

    :raises ConfigurationError: when it cannot.
    """
    if not name or name != name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise ConfigurationError(
            f"{one_line(name, limit=80)!r} is not the name of an entry: at most {LONGEST_NAME} printable characters, "
            "no spaces around them"
        )
    return name


def _set(name: str) -> None:
    import keyring

    secret = _typed(name)
    _ask(keyring.set_password, name, secret)
    kept = held(name)
    if kept is None or not hmac.compare_digest(kept.encode(), secret.encode()):
        if kept is not None:
            put_back(name, None)
        raise ConfigurationError("the keyring did not keep the secret as it is; name a file instead")


def _typed(name: str) -> str:
    """Return the secret from the terminal, or through a pipe; never from an argument, which others can see."""
    if sys.stdin is not None and not sys.stdin.isatty():
        content = sys.stdin.buffer.read(sources.MAX_SECRET + 1)
    else:
        content = Terminal(Deadline(PATIENCE)).ask(f"Secret to keep as {name}: ").encode()
    return sources.single_line(content, f"secret set {name}", "the secret")


def held(name: str) -> str | None:
    """Return what an entry holds; ``None`` where there is none.

    :raises UnreachableError: when the keyring fails.
    """
    import keyring

    return _ask(keyring.get_password, name)


def put_back(name: str, secret: str | None) -> None:
    """Have an entry hold what it held before; with ``None`` forget it.

    :raises UnreachableError: when the keyring fails.
    """
    import keyring

    if secret is None:
        _ask(keyring.delete_password, name)
    else:
        _ask(keyring.set_password, name, secret)


def _ask(ask: Callable[..., _T], *arguments: str) -> _T:
    """Ask the keyring with the patience of somebody who may have to unlock it first."""
    return sources.ask_keyring(ask, sources.SERVICE, *arguments, seconds=PATIENCE)
