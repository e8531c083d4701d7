"""``exec``: run a program with credentials that refresh, or, with ``--env``, become it with credentials that do not."""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from vault_credential_process.cli import complain, coredump, parser
from vault_credential_process.cli.env import check_region, variables
from vault_credential_process.cli.exec.child import HAS_FORK, Child, execute, run_beside
from vault_credential_process.cli.exec.child_environment import ENDPOINT, TOKEN, environment, refuse_pipes
from vault_credential_process.cli.obtained import fetcher_for, obtain, waiting
from vault_credential_process.cli.outer import RUNS, leave
from vault_credential_process.config import REGION_VARIABLES, Config
from vault_credential_process.directory import private_directory
from vault_credential_process.errors import ConfigurationError, one_line
from vault_credential_process.keeper import Keeper
from vault_credential_process.server import EndpointServer, source_of
from vault_credential_process.server.endpoint import Tokens
from vault_credential_process.server.sockets import listen

logger = logging.getLogger(__name__)

NOT_EXECUTABLE = 126
"""What shells end with where a program is there and cannot be run."""
NOT_FOUND = 127
"""And where there is none."""

Prepare = Callable[[str, dict[str, str]], Sequence[str]]
"""Returns the command to run, given the private directory and the environment, which it may change."""


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of every setting."""
    to.epilog = "example: vault-credential-process exec --profile webapp -- aws s3 ls"
    add_flags(to)
    if to.usage:
        to.usage += " -- COMMAND [ARGUMENT ...]"


def add_flags(to: argparse.ArgumentParser) -> None:
    """Add the flags that ``exec`` and ``shell`` share, and those of every setting."""
    to.add_argument(
        "--env",
        action="store_true",
        help="put the keys themselves into the environment and stay out of the way; nobody refreshes them",
    )
    to.add_argument("--nest", action="store_true", help="run inside another exec or shell")
    to.add_argument(
        "--keep-vault-env", action="store_true", help="leave VAULT_TOKEN, VAULT_SECRET_ID and their like to the program"
    )
    parser.add_settings(to)


def run(arguments: argparse.Namespace) -> int:
    """Run the command that stands behind ``--``; return its exit code.

    :raises VaultCredentialError: when there are no credentials; nothing is run then.
    """
    command: list[str] = arguments.command_line
    if not command or not command[0]:
        raise ConfigurationError("exec: no command behind --; write: exec --profile webapp -- aws s3 ls")
    return start(arguments, lambda *_: command, command[0])


def start(arguments: argparse.Namespace, prepare: Prepare, name: str) -> int:
    """Run the command that ``prepare`` returns; ``name`` is its program, for a look before Vault is asked.

    :raises ConfigurationError: inside of another ``exec``, unless that is wanted.
    :raises VaultCredentialError: when there are no credentials; nothing is run then.
    """
    coredump.hide()
    outer = leave(os.environ)
    if outer is not None and not arguments.nest:
        raise ConfigurationError(
            f"this runs under exec already, as {one_line(outer, limit=80)} ({RUNS}); leave that first, or add --nest"
        )
    refuse_pipes(os.environ)
    config = parser.configuration(arguments)
    if config.aws_region not in (os.environ.get(name) for name in REGION_VARIABLES):
        check_region(config.aws_region, config.profile)
    if not _is_there(name):
        return _cannot_run(name, FileNotFoundError(errno.ENOENT, ""))
    if arguments.env:
        return _become(config, prepare, keep_vault=arguments.keep_vault_env)
    return _ended_with(*_accompany(config, prepare, keep_vault=arguments.keep_vault_env))


def _accompany(config: Config, prepare: Prepare, *, keep_vault: bool) -> tuple[int, Keeper]:
    """Serve a program until it has ended; return its exit code, or the negative number of a signal, and the keeper."""
    with contextlib.ExitStack() as stack:
        child = stack.enter_context(Child())
        source = source_of(config)
        with waiting(config):
            if source.fetcher.cache.name == "none":
                source.held()
            else:
                # Into the cache: the keeper, which starts a thread, finds it there while the keys are held.
                source.fetcher.fetch()
        child.hold_keys()
        source.held()
        token = Tokens.new()
        server = EndpointServer(source, token=token, socket=listen("127.0.0.1", 0))
        stack.callback(server.stop)
        server.start()
        child.catch_signals()
        further = {ENDPOINT: f"{server.address}/", TOKEN: token}
        with _prepared(config, prepare, further, keep_vault) as (command, environ):
            logger.debug("%s is run, its credentials at %s", one_line(command[0]), server.address)
            try:
                return child.run(command, environ), source
            except OSError as error:
                return _cannot_run(command[0], error), source


def _become(config: Config, prepare: Prepare, *, keep_vault: bool) -> int:
    """Become the program, with the keys in its environment; return only where that is not possible."""
    further = variables(obtain(fetcher_for(config)).credentials, config.aws_region)
    with _prepared(config, prepare, further, keep_vault) as (command, environ):
        logger.debug("the keys live until %s, and nobody refreshes them", further["AWS_CREDENTIAL_EXPIRATION"])
        try:
            if not HAS_FORK:
                # Python's exec is a new process there: nobody learns its code, and its words part at blanks.
                return run_beside(command, environ)
            execute(command, environ)
        except OSError as error:
            return _cannot_run(command[0], error)


@contextlib.contextmanager
def _prepared(
    config: Config, prepare: Prepare, further: Mapping[str, str], keep_vault: bool
) -> Iterator[tuple[Sequence[str], dict[str, str]]]:
    """Return the command and its environment; the files that these name are there until the end of the block.

    :raises ConfigurationError: when the files cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            directory = stack.enter_context(private_directory("exec", os.environ))
            environ = environment(config, os.environ, directory, further, keep_vault=keep_vault)
            command = prepare(directory, environ)
        except OSError as error:
            raise ConfigurationError(
                f"{error.filename}: the program's AWS files cannot be written: {error.strerror}; make room there"
            ) from None
        yield command, environ


def _is_there(name: str) -> bool:
    """Tell whether there is such a program, whether or not it can be run."""
    places = ("",) if os.path.dirname(name) else os.get_exec_path()
    return shutil.which(name) is not None or any(os.path.lexists(os.path.join(place, name)) for place in places)


def _cannot_run(name: str, error: OSError) -> int:
    """Say why a program cannot be run; return the exit code that shells have for it."""
    shown = one_line(name, limit=80)
    if isinstance(error, FileNotFoundError):
        complain(f"{shown}: there is no such program; check the name, or PATH")
        return NOT_FOUND
    complain(f"{shown}: cannot be run: {error.strerror}")
    return NOT_EXECUTABLE


def _ended_with(code: int, source: Keeper) -> int:
    """Return the exit code of a program; where a signal ended it end by the same, as ``sudo`` and ``timeout`` do.

    So a shell in which a loop runs sees a Ctrl-C, and ends the loop. Process 1 of a container is ended by no signal of
    its own: there it is the code that shells have for it.
    """
    if code >= 0:
        return code
    # What runs at the end of a Python program does not run then.
    source.give_back()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    with contextlib.suppress(OSError, ValueError):  # of SIGKILL nobody changes anything
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    return 128 - code
