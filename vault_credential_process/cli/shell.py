"""``shell``: ``exec`` with one's own shell, and a mark in its prompt."""

from __future__ import annotations

import argparse
import functools
import ntpath
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping

from vault_credential_process import commands
from vault_credential_process.cli import complain
from vault_credential_process.cli import exec as exec_command
from vault_credential_process.cli.exec.child_environment import ENDPOINT, RIVALS, TOKEN
from vault_credential_process.cli.outer import CONFIG, RUNS, SHARED
from vault_credential_process.fastpath import write_private

_OURS = (CONFIG, SHARED, RUNS, ENDPOINT, TOKEN)
_KEPT = "__vcp_kept_"
_PATIENCE = 5.0
_LONGEST = 4096

_SAID = "vault-credential-process: your start-up files set %s, which is undone here"
"""What a shell says on stderr of a variable that would bring other credentials; ``%s`` is its name."""

_STUCK = "vault-credential-process: your start-up files made %s read-only: programs here may have other credentials"
"""What it says of one that nobody can undo; zsh would read no further if that was tried."""

_RESTORE = """\
__vcp_undo() {{
    if ( "$2" "$3" ) 2>/dev/null; then "$2" "$3"; printf '{said}\\n' "$1" >&2; else printf '{stuck}\\n' "$1" >&2; fi
}}
__vcp_gone() {{ if [ -n "$1" ]; then __vcp_undo "$2" unset "$2"; fi; }}
__vcp_same() {{ if [ "$1" != "$2" ]; then __vcp_undo "$3" export "$3=$2"; fi; }}
{gone}
{same}
unset -f __vcp_gone __vcp_same __vcp_undo
unset {kept}
"""

_BASH = """\
if [ -f ~/.bashrc ]; then . ~/.bashrc; fi
{restore}
__vcp_mark() {{ case $PS1 in *'({mark})'*) ;; *) PS1="({mark}) $PS1" ;; esac; }}
if [[ "$(declare -p PROMPT_COMMAND 2>/dev/null)" == "declare -a"* ]]; then
    PROMPT_COMMAND+=(__vcp_mark)
else
    PROMPT_COMMAND="${{PROMPT_COMMAND:+$PROMPT_COMMAND$'\\n'}}__vcp_mark"
fi
"""

_ZSHENV = """\
__vcp_place=$ZDOTDIR
{zdotdir}
if [[ -f ${{ZDOTDIR:-$HOME}}/.zshenv ]]; then . ${{ZDOTDIR:-$HOME}}/.zshenv; fi
__vcp_zdotdir=${{ZDOTDIR-}}
ZDOTDIR=$__vcp_place
"""

_ZSHRC = """\
if [[ -n $__vcp_zdotdir ]]; then ZDOTDIR=$__vcp_zdotdir; else unset ZDOTDIR; fi
if [[ ${{HISTFILE-}} == $__vcp_place/* ]]; then HISTFILE=${{ZDOTDIR:-$HOME}}/.zsh_history; fi
unset __vcp_zdotdir __vcp_place
if [[ -f ${{ZDOTDIR:-$HOME}}/.zshrc ]]; then . ${{ZDOTDIR:-$HOME}}/.zshrc; fi
{restore}
autoload -Uz add-zsh-hook
__vcp_mark() {{ [[ $PROMPT == *'({mark})'* ]] || PROMPT="({mark}) $PROMPT" }}
add-zsh-hook precmd __vcp_mark
"""

_FISH = """\
function __vcp_gone
    if set -q $argv[1]
        set -e $argv[1]
        printf '{said}\\n' $argv[1] >&2
    end
end
function __vcp_same
    set -l kept {prefix}$argv[1]
    if test "$$argv[1]" != "$$kept"
        set -gx $argv[1] $$kept
        printf '{said}\\n' $argv[1] >&2
    end
    set -e $kept
end
{gone}
{same}
functions -e __vcp_gone __vcp_same
functions -c fish_prompt __vcp_prompt
function __vcp_status
    return $argv[1]
end
function fish_prompt
    set -l was $status
    echo -n '({mark}) '
    __vcp_status $was
    __vcp_prompt
end
"""

_POWERSHELL = "$global:VcpPrompt = $function:prompt; function global:prompt {{ '({mark}) ' + (& $global:VcpPrompt) }}"


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of ``exec``."""
    to.epilog = "example: vault-credential-process shell --profile webapp"
    exec_command.add_flags(to)


def run(arguments: argparse.Namespace) -> int:
    """Run a shell until it is left; return its exit code.

    :raises VaultCredentialError: when there are no credentials; nothing is run then.
    """
    path = own_shell(os.environ, sys.platform)
    return exec_command.start(arguments, functools.partial(prepare, path), path)


def own_shell(environ: Mapping[str, str], platform: str) -> str:
    """Return the shell of a user: ``SHELL``, else the one that every system of its kind has."""
    if environ.get("SHELL"):
        return environ["SHELL"]
    if platform == "win32":
        found = shutil.which("pwsh") or shutil.which("powershell")
        return found or environ.get("COMSPEC") or "cmd.exe"
    return "/bin/sh"


def prepare(path: str, directory: str, environ: dict[str, str]) -> list[str]:
    """Return the command that runs a shell with a mark in its prompt, and no other credentials.

    It reads the user's own start-up files, which are not touched: what they set of ours is undone after them. The files
    for that go into the private ``directory``, and hold no secret. A shell that is not known is run as it is.

    :raises OSError: when they cannot be written.
    """
    # Nothing in it means anything to a shell, in quotes or in a prompt.
    mark = "vault:" + re.sub(r"[^A-Za-z0-9_.@+:/-]", "_", environ[RUNS])
    name = ntpath.basename(path).lower().removesuffix(".exe")
    if name not in _SHELLS:
        return [path]
    words = [path, *_SHELLS[name](mark, directory, environ)]
    if name == "zsh" and not _reads(path, environ):
        complain(
            "the system's start-up files of zsh set ZDOTDIR, so that ours are not read: the prompt has no mark, and "
            "what your own set of AWS's variables is not undone"
        )
    return words


def _bash(mark: str, directory: str, environ: dict[str, str]) -> list[str]:
    file = os.path.join(directory, "bashrc")
    write_private(file, _BASH.format(mark=mark, restore=_restored(environ)).encode())
    return ["--rcfile", file]


def _zsh(mark: str, directory: str, environ: dict[str, str]) -> list[str]:
    restore = _restored(environ)
    outer = environ.get("ZDOTDIR")
    zdotdir = f"ZDOTDIR={shlex.quote(outer)}" if outer else "unset ZDOTDIR"
    write_private(os.path.join(directory, ".zshenv"), _ZSHENV.format(zdotdir=zdotdir).encode())
    write_private(os.path.join(directory, ".zshrc"), _ZSHRC.format(mark=mark, restore=restore).encode())
    environ["ZDOTDIR"] = directory
    return []


def _reads(path: str, environ: Mapping[str, str]) -> bool:
    """Tell whether zsh reads the files in ``ZDOTDIR``: the system's own that it always reads may say otherwise."""
    try:
        _, printed = commands.run((path, "-f", "-c", 'print -r -- "$ZDOTDIR"'), environ, _PATIENCE, _LONGEST)
    except OSError:
        return True
    return printed is None or printed.decode("utf-8", "replace").rstrip("\n") == environ["ZDOTDIR"]


def _fish(mark: str, directory: str, environ: dict[str, str]) -> list[str]:
    ours = _kept(environ)
    gone = "\n".join(f"__vcp_gone {name}" for name in RIVALS if name not in environ)
    same = "\n".join(f"__vcp_same {name}" for name in ours)
    file = os.path.join(directory, "config.fish")
    write_private(file, _FISH.format(mark=mark, said=_SAID, gone=gone, same=same, prefix=_KEPT).encode())
    return ["--init-command", f"source {shlex.quote(file)}"]


def _powershell(mark: str, directory: str, environ: dict[str, str]) -> list[str]:
    return ["-NoExit", "-Command", _POWERSHELL.format(mark=mark)]


def _cmd(mark: str, directory: str, environ: dict[str, str]) -> list[str]:
    environ["PROMPT"] = f"({mark}) {environ.get('PROMPT', '$P$G')}"
    return []


def _plain(mark: str, directory: str, environ: dict[str, str]) -> list[str]:
    environ["PS1"] = f"({mark}) $ "
    return []


def _kept(environ: dict[str, str]) -> list[str]:
    """Return the variables that must be as they are after all start-up files, and keep them under another name.

    In the environment: files of the system's are read before any of ours.
    """
    ours = [name for name in dict.fromkeys((*_OURS, *RIVALS)) if name in environ]
    environ.update({_KEPT + name: environ[name] for name in ours})
    return ours


def _restored(environ: dict[str, str]) -> str:
    """Return what undoes, in a POSIX shell, what start-up files changed."""
    ours = _kept(environ)
    return _RESTORE.format(
        said=_SAID,
        stuck=_STUCK,
        gone="\n".join(f'__vcp_gone "${{{name}+x}}" {name}' for name in RIVALS if name not in environ),
        same="\n".join(f'__vcp_same "${{{name}-}}" "${_KEPT}{name}" {name}' for name in ours),
        kept=" ".join(_KEPT + name for name in ours),
    )


_SHELLS: dict[str, Callable[[str, str, dict[str, str]], list[str]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
    **dict.fromkeys(("pwsh", "powershell"), _powershell),
    "cmd": _cmd,
    **dict.fromkeys(("sh", "dash", "ash", "ksh", "mksh", "busybox"), _plain),
}
"""By the name of the program: the words that it is run with, having written what they need."""
