"""``console``: sign in to the AWS console with the credentials of a profile."""

from __future__ import annotations

import argparse
import sys
import time

from vault_credential_process import federation
from vault_credential_process.cli import complain as note
from vault_credential_process.cli import parser
from vault_credential_process.cli.handover import PATIENCE, hand_over
from vault_credential_process.cli.obtained import fetcher_of, obtain
from vault_credential_process.cli.spinner import Spinner
from vault_credential_process.cli.terminal import Terminal
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.expiry import Deadline, format_timestamp
from vault_credential_process.parsers import parse_seconds


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of every setting."""
    to.epilog = "example: vault-credential-process console --profile webapp --destination s3"
    to.add_argument("--print", action="store_true", help="print the address, which signs in whoever has it")
    to.add_argument("--destination", metavar="PAGE", help="a service such as s3, or an address of the console")
    to.add_argument(
        "--duration",
        metavar="DURATION",
        help="life of the console session, 15m to 12h, where Vault assumed the role with the keys of an IAM user "
        "(default: as long as the credentials live)",
    )
    parser.add_settings(to)


def run(arguments: argparse.Namespace) -> int:
    """Open the console in the browser, or print the address that signs in.

    :raises ConfigurationError: when the credentials have no session token, or there is no browser; before anything is
        asked for if that is known.
    :raises VaultCredentialError: when there are no credentials, or AWS does not sign in with them.
    """
    seconds = None if arguments.duration is None else _duration(arguments.duration)
    fetcher = fetcher_of(arguments)
    config = fetcher.config
    console = federation.console_of(config.aws_region)
    page = federation.destination(console, arguments.destination, config.aws_region)
    kept = fetcher.peek()
    if kept is not None and kept.credentials.seconds_left(time.time()) > 0:
        federation.check(kept.credentials.credential_type, config.aws_path)
    credentials = obtain(fetcher).credentials
    federation.check(credentials.credential_type, config.aws_path)
    with Spinner(sys.stderr, "asking AWS for a way in") as spinner:
        found = federation.sign_in(credentials, console, page, seconds=seconds, ca_bundle=config.aws_ca_bundle)
        opened = not arguments.print and hand_over(Terminal(Deadline(PATIENCE), spinner=spinner), found.address)
    if arguments.print:
        if sys.stdout.isatty():
            note("this address signs in whoever has it, for 15 minutes")
        sys.stdout.write(found.address + "\n")
        return 0
    if not opened:
        raise ConfigurationError(
            "console: no browser came for the address; console --print prints it, and it signs in whoever has it"
        )
    end = credentials.expiry if seconds is None else time.time() + seconds
    sys.stdout.write(f"opened {page} in the browser, signed in with {config.aws_path} until {format_timestamp(end)}\n")
    return 0


def _duration(text: str) -> int:
    try:
        seconds = int(parse_seconds(text))
    except ValueError as error:
        raise ConfigurationError(f"--duration: {error}") from None
    if not federation.SHORTEST <= seconds <= federation.LONGEST:
        raise ConfigurationError(f"--duration: {seconds} s is not between 15m and 12h")
    return seconds
