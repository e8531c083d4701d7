"""``logout``: end what a login began."""

from __future__ import annotations

import argparse
import os
import sys

from vault_credential_process import cache
from vault_credential_process.cli import parser
from vault_credential_process.errors import VaultCredentialError, failure_of
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.tokens import lives


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of every setting."""
    to.epilog = "example: vault-credential-process logout --profile webapp"
    to.add_argument("--force", action="store_true", help="forget the token here even where it cannot be revoked")
    parser.add_settings(to)


def run(arguments: argparse.Namespace) -> int:
    """Revoke the token, and forget it with all credentials that it asked for.

    :raises VaultCredentialError: when it cannot be revoked; nothing is forgotten then, unless that is forced, or Vault
        may have ended the token and the answer was lost.
    """
    config = parser.configuration(arguments)
    backend = cache.choose(config.vault_aws_cache or "auto", os.environ)
    fetcher = Fetcher(config, cache=backend, needs_role=False)
    kept = fetcher.kept_token()
    lines = [] if kept else [f"nobody is logged in to {config.vault_addr}"]
    try:
        lines += fetcher.forget(revoke=kept is not None, force=arguments.force, roles=True)
    except VaultCredentialError as error:
        if kept is None or fetcher.kept_token() is None:
            raise
        raise failure_of(
            error.exit_code, f"{error}; logout --force forgets the token here, though it {lives(kept.token)}"
        ) from None
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
