"""The command line: argv, streams, exit codes and logging. The only code that prints or exits."""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from vault_credential_process.fastpath import Ticket

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
_LOST = {errno.ENOSPC, errno.EIO, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_UNDER_EXEC = "VAULT_CREDENTIAL_PROCESS_EXEC"
"""``outer.RUNS``, whose module is imported where that is set alone."""
BUG = 70
"""``EX_SOFTWARE`` of sysexits.h."""


def command() -> NoReturn:
    """Run the command line of this process and end it.

    ``get`` ends at once, its streams flushed: an orderly exit takes a few hundred modules apart again, which costs a
    fifth of the call.
    """
    code = main()
    if sys.argv[1:2] == ["get"]:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every error becomes one line on stderr here and nowhere else."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    place = None
    try:
        if _UNDER_EXEC in os.environ and arguments[:1] not in (["exec"], ["shell"]):
            from vault_credential_process.cli import outer

            outer.leave(os.environ)
        if arguments[:1] == ["get"] and sys.stdout is not None:
            from vault_credential_process import fastpath

            place = fastpath.ticket(arguments[1:], os.environ)
            code = None if place is None else fastpath.serve(place, _forbid_cores)
            if code is not None:
                return code
        return _run(arguments, place)
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        abandon_stdout()
        complain("nobody reads the output")
        return BUG
    except Exception as error:
        # What fails at a file of ours is told where it is written, so this was stdout.
        if isinstance(error, OSError) and error.filename is None and error.errno in _LOST:
            abandon_stdout()
            complain(f"the output cannot be written: {error.strerror}")
            return BUG
        from vault_credential_process.errors import where

        complain(f"internal error: {type(error).__name__} at {where(error)}; please report it")
        return BUG
    finally:
        if place is not None:
            place.lock.release()


def _forbid_cores() -> None:
    from vault_credential_process.cli import coredump

    coredump.forbid()


def _run(arguments: list[str], place: Ticket | None) -> int:
    """Run a command that has to be looked at; word of its failure is left for those who wait at the quick key."""
    from vault_credential_process.errors import VaultCredentialError

    try:
        from vault_credential_process.cli import parser

        try:
            code = parser.run(arguments, place)
        except SystemExit:  # of --help and --version
            _flush()
            raise
        _flush()
        return code
    except VaultCredentialError as error:
        _give_up_lost_output()
        if place is not None:
            place.fail(error.exit_code, str(error))
        from vault_credential_process.cli import logs

        logs.tell(str(error))
        complain(str(error))
        return error.exit_code


def complain(message: str) -> None:
    """Write one line to stderr, if there is one to write to."""
    try:
        sys.stderr.write(f"vault-credential-process: {message}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


def _flush() -> None:
    """Have what was printed written: a disk may be full, and the interpreter's own flush has another code for that."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _give_up_lost_output() -> None:
    """Have what was printed before a failure written, or forget it: the failure is what is told."""
    try:
        _flush()
    except (OSError, ValueError):
        abandon_stdout()


def abandon_stdout() -> None:
    """Point a stdout that cannot be written at nothing, or the interpreter's own flush at exit complains once more."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        pass
