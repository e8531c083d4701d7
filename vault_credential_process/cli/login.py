"""``login``: a person logs in, and ``get`` goes on with the token for as long as it lives."""

from __future__ import annotations

import argparse
import os
import sys

from vault_credential_process import cache
from vault_credential_process.cli import parser
from vault_credential_process.cli.spinner import Spinner
from vault_credential_process.cli.terminal import Terminal
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.expiry import Deadline
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.tokens import lives
from vault_credential_process.vault import Vault

PATIENCE = 120.0
"""Seconds that a person has, at the terminal and in the browser together; Vault has its own beside them."""

GLANCE = 5.0
"""Seconds that Vault may take to tell whose token it is; without it the login has succeeded all the same."""


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of every setting."""
    to.epilog = "example: vault-credential-process login --profile webapp"
    to.add_argument("--no-browser", action="store_true", help="print the address that the browser would be sent to")
    parser.add_settings(to)


def run(arguments: argparse.Namespace) -> int:
    """Log in, and tell who it is and for how long.

    :raises ConfigurationError: where nothing is kept between calls, before anything is asked.
    """
    config = parser.configuration(arguments)
    backend = cache.choose(config.vault_aws_cache or "auto", os.environ)
    if not backend.shared:
        raise ConfigurationError(
            f"vault_aws_cache: {backend.name} keeps nothing for the next call ({backend.reason}), so the login would "
            "be lost; name a cache that does: runtime or keyring"
        )
    deadline = Deadline(PATIENCE + config.vault_aws_timeout)
    with Spinner(sys.stderr, f"logging in to {config.vault_addr}") as spinner:
        person = Terminal(deadline, browser=not arguments.no_browser, spinner=spinner)
        kept = Fetcher(config, cache=backend, needs_role=False).log_in(person, deadline)
        with Vault(config, deadline.at_most(GLANCE)) as vault:
            name = vault.display_name(kept.token)
    who = f" as {name}" if name and kept.path != f"auth/{name}" else ""
    policies = ", ".join(kept.token.policies) or "none"
    uses = f" and serves {kept.token.uses_left} times" if kept.token.uses_left is not None else ""
    sys.stdout.write(
        f"logged in to {kept.vault_addr} at {kept.path}{who}, policies {policies}; the token {lives(kept.token)}"
        f"{uses}\n"
    )
    return 0
