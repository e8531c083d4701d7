"""``env``: the credentials as lines that a shell, or whoever reads a ``.env`` file, takes for its environment."""

from __future__ import annotations

import argparse
import ntpath
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from vault_credential_process.cli import complain as note
from vault_credential_process.cli import parser
from vault_credential_process.cli.obtained import fetcher_of, obtain
from vault_credential_process.config import REGION_VARIABLES
from vault_credential_process.errors import ConfigurationError, one_line
from vault_credential_process.expiry import format_timestamp
from vault_credential_process.models import AWSCredentials, is_word, section_name
from vault_credential_process.parsers import join_command
from vault_credential_process.profiles import find_profile

CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_ACCOUNT_ID",
)
"""All that belongs to one pair, in the order of the lines; what a pair lacks must not be left from an earlier one."""

_BARE = re.compile(r"[A-Za-z0-9_./+=:@%,-]*", re.ASCII)


class Shell(NamedTuple):
    """How a shell sets a variable and takes it away, and how it is told to do what we print."""

    set: Callable[[str, str], str]
    unset: Callable[[Iterable[str]], str] | None
    use: str


def _fish(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _powershell(value: str) -> str:
    # Typographic quotes end a string, too.
    return "'" + re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", value) + "'"


def _dotenv(value: str) -> str:
    # docker --env-file takes quotes for a part of the value; no credential needs any.
    return value if _BARE.fullmatch(value) else _fish(value)


SHELLS = {
    "sh": Shell(
        lambda name, value: f"export {name}={shlex.quote(value)}",
        lambda names: f"unset {' '.join(names)}",
        'eval "$({})"',
    ),
    "fish": Shell(
        lambda name, value: f"set -gx {name} {_fish(value)}",
        lambda names: f"set -e {' '.join(names)}",
        "{} | source",
    ),
    "powershell": Shell(
        lambda name, value: f"$Env:{name} = {_powershell(value)}",
        lambda names: f"Remove-Item -ErrorAction SilentlyContinue {', '.join(f'Env:{name}' for name in names)}",
        "{} | Out-String | Invoke-Expression",
    ),
    "dotenv": Shell(lambda name, value: f"{name}={_dotenv(value)}", None, "docker run --env-file <({}) ..."),
}
"""By the name that ``--shell`` takes."""

_FAMILY = {
    **dict.fromkeys(("sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "busybox", "rbash"), "sh"),
    "fish": "fish",
    "pwsh": "powershell",
    "powershell": "powershell",
}
"""By the name of the program."""


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of every setting."""
    to.epilog = 'example: eval "$(vault-credential-process env --profile webapp)"'
    to.add_argument(
        "--shell", choices=tuple(SHELLS), help="whose lines to print, or dotenv for a .env file (default: SHELL's)"
    )
    to.add_argument("--unset", action="store_true", help="print the lines that take the variables away again")
    parser.add_settings(to)


def run(arguments: argparse.Namespace) -> int:
    """Fetch and print; where the lines go to a terminal, say on stderr what they are.

    :raises VaultCredentialError: when there are no credentials, or nobody knows whose lines are wanted.
    """
    name = arguments.shell or guess(os.environ, sys.platform)
    shell = SHELLS[name]
    profile = find_profile({"profile": arguments.profile}, os.environ)
    region = profile.keys.get("region") if profile else None
    check_region(region, profile.name if profile else None)
    if arguments.unset:
        if shell.unset is None:
            raise ConfigurationError("env --unset: a .env file has no lines that take variables away; remove the file")
        sys.stdout.write(shell.unset((*CREDENTIALS, *(REGION_VARIABLES if region else ()))) + "\n")
        return 0
    values = variables(obtain(fetcher_of(arguments, profile)).credentials, region)
    lines = [shell.set(key, value) for key, value in values.items()]
    stale = [key for key in CREDENTIALS if key not in values]
    if shell.unset is not None and stale:
        lines.append(shell.unset(stale))
    if sys.stdout.isatty():
        note(f"these lines are secrets; to use them unseen: {shell.use.format(_again(arguments, name))}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def check_region(region: object, profile: str | None) -> None:
    """See that the region of a profile, where it has one, can be the value of a variable.

    :raises ConfigurationError: when it is something else: several lines, say.
    """
    if region and not (isinstance(region, str) and is_word(region)):
        raise ConfigurationError(f"region in {section_name(profile or '')}: not the name of a region; correct it")


def variables(credentials: AWSCredentials, region: str | None) -> dict[str, str]:
    """Return the variables from which every AWS SDK takes credentials, and the region of their profile if it has one.

    ``AWS_CREDENTIAL_EXPIRATION`` is in UTC: botocore goes on no longer than that, and says so.
    """
    known = {
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "AWS_SESSION_TOKEN": credentials.session_token,
        "AWS_CREDENTIAL_EXPIRATION": format_timestamp(credentials.expiry),
        "AWS_ACCOUNT_ID": credentials.account_id,
        **dict.fromkeys(REGION_VARIABLES, region),
    }
    return {key: value for key, value in known.items() if value}


def guess(environ: Mapping[str, str], platform: str) -> str:
    """Return whose lines are wanted: those of the user's shell (``SHELL``), on Windows PowerShell's without one.

    :raises ConfigurationError: when there are none for that shell.
    """
    path = environ.get("SHELL") or ("powershell" if platform == "win32" else "sh")
    program = ntpath.basename(path).lower().removesuffix(".exe")
    if program not in _FAMILY:
        raise ConfigurationError(
            f"env: no lines for the shell {one_line(program, limit=80)!r} (from SHELL); name others with --shell: "
            f"{', '.join(SHELLS)}"
        )
    return _FAMILY[program]


def _again(arguments: argparse.Namespace, shell: str) -> str:
    """Return the command line, as far as it tells what is wanted."""
    words = ["vault-credential-process", "env", f"--shell={shell}"]
    return join_command([*words, f"--profile={arguments.profile}"] if arguments.profile else words)
