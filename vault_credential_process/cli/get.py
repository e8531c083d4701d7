"""``get``: print the Version 1 document, and nothing else."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from vault_credential_process import auth, cache
from vault_credential_process.cache.entry import Entry
from vault_credential_process.cache.runtime import Runtime
from vault_credential_process.cli import abandon_stdout, complain, parser
from vault_credential_process.config import Config
from vault_credential_process.errors import DeadlineError, VaultCredentialError
from vault_credential_process.fastpath import DEFAULT_WAIT, Ticket, clock_origin, path_state
from vault_credential_process.fetcher import Fetched, Fetcher
from vault_credential_process.process import document
from vault_credential_process.profiles import config_path

logger = logging.getLogger(__name__)

_GRACE = 1.0
"""Seconds past the deadline after which a call that still waits, in a name server say, is ended from outside."""


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of every setting."""
    to.epilog = "example: vault-credential-process get --profile webapp"
    parser.add_settings(to)


def run(arguments: argparse.Namespace) -> int:
    """Fetch and print.

    :raises VaultCredentialError: when the document cannot be printed; before anything is asked for if that is known.
    """
    if sys.stdout is None:
        raise _unread("closed")
    place: Ticket | None = arguments.place
    with Watchdog() as watchdog:
        watched = _states([config_path(os.environ)])
        config = parser.configuration(arguments)
        waited = place.waited if place is not None else 0.0
        watchdog.set(config.vault_aws_timeout, already=waited)
        backend = cache.choose(config.vault_aws_cache or "auto", os.environ)
        if place is not None:
            if isinstance(backend, Runtime) and backend.directory == place.directory:
                place.tell_deadline(config.vault_aws_timeout)
            else:
                place.stand_aside()
                place = None
        watched |= _states(auth.watched(config))
        fetched = Fetcher(config, cache=backend).fetched(waited=waited)
        line = document(fetched.credentials)
        if isinstance(backend, Runtime) and place is not None and not arguments.verbose and not arguments.log_file:
            _leave(place, backend, config, fetched, line, watched)
    try:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except OSError as error:
        abandon_stdout()
        raise _unread(error.strerror) from None
    return 0


def _states(paths: Iterable[str]) -> dict[str, str]:
    """Return the states of files that are about to be read."""
    return {path: path_state(path) for path in paths}


def _leave(
    place: Ticket, backend: Runtime, config: Config, fetched: Fetched, line: bytes, watched: Mapping[str, str]
) -> None:
    """Leave the document where the next call finds it first.

    The entry behind it is watched too: what is cleared, revoked or replaced ends the quick answer. Not for a method of
    another package: only it knows what its identity depends on.
    """
    now = time.time()
    if fetched.good_until <= now or config.vault_auth_method not in {"auto", *auth.METHODS}:
        return
    behind = _states([backend.place.path("entry", fetched.key)])
    entry = Entry.load(backend.get(fetched.key), now, clock_origin())
    if entry is None or fetched.credentials not in (entry.credentials, entry.previous):
        return
    try:
        place.store(
            line,
            good_from=fetched.credentials.issued,
            good_until=fetched.good_until,
            ends=fetched.credentials.expiry,
            entry=fetched.key,
            watched={**watched, **behind},
        )
    except OSError as error:
        logger.warning("%s: %s; no quick answer is kept", place.directory, error.strerror)


def _unread(reason: str | None) -> VaultCredentialError:
    return VaultCredentialError(f"stdout: {reason}; nobody receives the credentials; check who runs this command")


class Watchdog:
    """Ends the process when the deadline passed in a wait that no timeout reaches: a name server, a pipe, a disk."""

    _timer: threading.Timer | None = None
    _seconds = DEFAULT_WAIT

    def __init__(self, before: Callable[[], object] | None = None) -> None:
        """``before`` is called before the last word is said."""
        self._before = before

    def __enter__(self) -> Watchdog:
        self.set(DEFAULT_WAIT)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def set(self, seconds: float, *, already: float = 0.0) -> None:
        """Watch for so many seconds, of which some have passed already."""
        self._seconds = seconds
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(max(seconds - already, 0.0) + _GRACE, self._bite)
        self._timer.daemon = True
        self._timer.start()

    def _bite(self) -> None:
        if self._before is not None:
            self._before()
        complain(
            f"gave up after {self._seconds:g} s; check DNS, the network and the files that are named, "
            "or raise vault_aws_timeout"
        )
        os._exit(DeadlineError.exit_code)
