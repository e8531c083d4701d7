"""Credentials for the commands of people: those that ``get`` would print, with a sign of life while they come."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

from vault_credential_process import cache
from vault_credential_process.cli import parser
from vault_credential_process.cli.get import Watchdog
from vault_credential_process.cli.spinner import Spinner
from vault_credential_process.config import Config
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.models import AWSCredentials
from vault_credential_process.profiles import Profile


class Obtained(NamedTuple):
    """Credentials, and the configuration that led to them."""

    config: Config
    credentials: AWSCredentials


def fetcher_of(arguments: argparse.Namespace, profile: Profile | None = None) -> Fetcher:
    """Return what fetches for the profile and the flags, with the host's cache; nothing is asked of Vault yet.

    :raises ConfigurationError: when something that was configured is missing or malformed.
    """
    return fetcher_for(parser.configuration(arguments, profile))


def fetcher_for(config: Config) -> Fetcher:
    """Return what fetches for a configuration, with the host's cache.

    :raises ConfigurationError: when the cache that was chosen cannot be used.
    """
    return Fetcher(config, cache=cache.choose(config.vault_aws_cache or "auto", os.environ))


def obtain(fetcher: Fetcher) -> Obtained:
    """Return credentials that are valid now, kept or fetched, within the deadline of the call.

    :raises VaultCredentialError: when there are none to be had.
    """
    with waiting(fetcher.config):
        return Obtained(fetcher.config, fetcher.fetch())


@contextlib.contextmanager
def waiting(config: Config) -> Iterator[None]:
    """Show a person that credentials are waited for, until they are there or the deadline of the call is over."""
    spinner = Spinner(sys.stderr, f"waiting for the credentials of {config.aws_path}")
    with Watchdog(spinner.end) as watchdog, spinner:
        watchdog.set(config.vault_aws_timeout)
        yield
