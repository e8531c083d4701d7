"""``whoami``: who AWS takes a program with this profile for."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time

from vault_credential_process import caller
from vault_credential_process.cli import parser
from vault_credential_process.cli.obtained import fetcher_of, obtain
from vault_credential_process.cli.paint import Paint
from vault_credential_process.cli.picture import in_words
from vault_credential_process.cli.spinner import Spinner
from vault_credential_process.errors import one_line
from vault_credential_process.expiry import format_timestamp


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of every setting."""
    to.epilog = "example: vault-credential-process whoami --profile webapp"
    to.add_argument("--json", action="store_true", help="as JSON, for programs")
    parser.add_settings(to)


def run(arguments: argparse.Namespace) -> int:
    """Ask STS, with the credentials that ``get`` would print, and tell what it answers and where they come from.

    :raises VaultCredentialError: when there are no credentials, or AWS refuses them.
    """
    config, credentials = obtain(fetcher_of(arguments))
    with Spinner(sys.stderr, "asking AWS"):
        found = caller.who(credentials, config)
    left = max(0, int(credentials.seconds_left(time.time())))
    expires = format_timestamp(credentials.expiry)
    if arguments.json:
        told = {
            **dataclasses.asdict(found),
            "profile": config.profile,
            "path": config.aws_path,
            "vault_addr": config.vault_addr,
            "type": credentials.credential_type,
            "expires": expires,
            "seconds_left": left,
            "lease_id": credentials.lease_id or None,
        }
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        return 0
    paint = Paint(sys.stdout)
    profile = f", profile {one_line(config.profile, limit=80)}" if config.profile else ""
    rows = {
        "account": found.account,
        "arn": paint.bold(found.arn),
        "user id": found.user_id,
        "from": f"{config.aws_path} at {config.vault_addr}{profile}",
        "until": f"{expires}, {in_words(left)} from now",
    }
    sys.stdout.write("".join(f"{paint.dim(name.ljust(9))}{value}\n" for name, value in rows.items()))
    return 0
