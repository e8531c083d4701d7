"""The command line: argv, streams, exit codes and logging. The only code that prints or exits."""

from __future__ import annotations

import sys
from collections.abc import Sequence

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
BUG = 70
"""``EX_SOFTWARE`` of sysexits.h."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every error becomes one line on stderr here and nowhere else."""
    from vault_credential_process.cli import parser
    from vault_credential_process.errors import VaultCredentialError

    try:
        return parser.run(sys.argv[1:] if argv is None else argv)
    except VaultCredentialError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        complain("nobody reads the output")
        return BUG
    except Exception as error:
        # The text of an unforeseen error may hold a secret; where it happened does not.
        trace = error.__traceback__
        while trace and trace.tb_next:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "nowhere"
        complain(f"internal error: {type(error).__name__} at {where}; please report it")
        return BUG


def complain(message: str) -> None:
    """Write one line to stderr, if there is one to write to."""
    try:
        sys.stderr.write(f"vault-credential-process: {message}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass
