"""``completion``: print what a shell needs in order to complete our command lines."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys

SHELLS = ("bash", "zsh", "fish", "powershell")
PROGRAM = "vault-credential-process"


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the name of the shell."""
    to.epilog = 'example: eval "$(vault-credential-process completion bash)"'
    to.add_argument("shell", choices=SHELLS, help="whose script to print; docs/completion.md tells where each goes")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    sys.stdout.write(script(arguments.shell))
    return 0


def script(shell: str) -> str:
    """Return the script of a shell: it runs this command with what was typed, whenever somebody asks.

    bash, zsh and PowerShell run the command as it was typed. fish runs it by its name, so that one that is not on
    ``PATH`` stands in the script with its place.
    """
    from argcomplete.shell_integration import shellcode

    # Without readline's file names where there is no answer: a flag that wants a role is offered no file.
    return shellcode(
        [PROGRAM],
        shell=shell,
        complete_arguments=["-o", "nospace"],
        argcomplete_script=_place() if shell == "fish" else None,
    )


def _place() -> str | None:
    """Return where this command is, quoted, if it would not be found by its name."""
    path = os.path.abspath(sys.argv[0])
    if shutil.which(PROGRAM) or os.path.splitext(os.path.basename(path))[0] != PROGRAM:
        return None
    return shlex.quote(path)
