"""Credentials for the commands of people: those that ``get`` would print, with a sign of life while they come."""

from __future__ import annotations

import argparse
import os
import sys
from typing import NamedTuple

from vault_credential_process import cache
from vault_credential_process.cli import parser
from vault_credential_process.cli.get import Watchdog
from vault_credential_process.cli.spinner import Spinner
from vault_credential_process.config import Config
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.models import AWSCredentials


class Obtained(NamedTuple):
    """Credentials, and the configuration that led to them."""

    config: Config
    credentials: AWSCredentials


def fetcher_of(arguments: argparse.Namespace) -> Fetcher:
    """Return what fetches for the profile and the flags, with the host's cache; nothing is asked of Vault yet.

    :raises ConfigurationError: when something that was configured is missing or malformed.
    """
    config = parser.configuration(arguments)
    return Fetcher(config, cache=cache.choose(config.vault_aws_cache or "auto", os.environ))


def obtain(fetcher: Fetcher) -> Obtained:
    """Return credentials that are valid now, kept or fetched, within the deadline of the call.

    :raises VaultCredentialError: when there are none to be had.
    """
    config = fetcher.config
    spinner = Spinner(sys.stderr, f"waiting for the credentials of {config.aws_path}")
    with Watchdog(spinner.end) as watchdog, spinner:
        watchdog.set(config.vault_aws_timeout)
        return Obtained(config, fetcher.fetch())
