"""``get``: print the Version 1 document, and nothing else."""

from __future__ import annotations

import argparse
import os
import sys
import threading

from vault_credential_process.cli import complain, parser
from vault_credential_process.errors import DeadlineError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.process import document

_GRACE = 1.0
"""Seconds past the deadline after which a call that still waits, in a name server say, is ended from outside."""


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of every setting."""
    to.epilog = "example: vault-credential-process get --profile webapp"
    parser.add_settings(to)


def run(arguments: argparse.Namespace) -> int:
    """Fetch and print."""
    config = parser.configuration(arguments)
    with _Watchdog(config.vault_aws_timeout + _GRACE):
        credentials = Fetcher(config).fetch()
    sys.stdout.buffer.write(document(credentials))
    sys.stdout.buffer.flush()
    return 0


class _Watchdog:
    """Ends the process when the deadline passed inside a call that no timeout reaches, such as ``getaddrinfo``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer = threading.Timer(seconds, self._bite)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _bite(self) -> None:
        complain(f"gave up after {self._seconds:g} s; check DNS and the network, or raise vault_aws_timeout")
        os._exit(DeadlineError.exit_code)
