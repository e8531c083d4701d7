"""The ``credential_process`` line: whether SDKs can run it, and whether it runs us for this profile.

botocore splits the line without a shell, other SDKs hand it to ``sh -c``, so it must mean the same to both.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import pathlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence

from botocore.compat import compat_shell_split

from vault_credential_process import commands
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, error, note, ok, skipped, warning
from vault_credential_process.errors import one_line
from vault_credential_process.models import section_name
from vault_credential_process.parsers import join_command

_NO_PATH = re.compile(r"[\s=@]|:(?![/\\])")
"""What a path does not have, or not often: behind it something else begins."""
SLOW = 2.0
"""Seconds that a start may take, the quickest of three: a machine may be busy."""

_NAME = "vault-credential-process"
_PATIENCE = 10.0
_MOST = 4096
_OF_A_SHELL = re.compile(r"[$`;|&<>()*?\[\]{}#!]")
"""What ``sh -c`` takes for more than itself; botocore does not."""
_SHIMS = re.compile(r"[/\\]shims[/\\]")
"""Where pyenv, asdf and mise have theirs."""


def examine(case: Case) -> Iterator[Finding]:
    """Tell of the line; nothing but its ``--version`` is run."""
    if case.profile is None:
        yield skipped(case.step, "there is no profile that it could stand in")
        return
    name, line = case.profile.name, case.profile.keys.get("credential_process")
    if not isinstance(line, str) or not line.strip():
        yield _without(case, name)
        return
    try:
        words = compat_shell_split(line)
    except ValueError as failure:
        yield error(case.step, f"the line cannot be split: {str(failure).lower()}", remedy=_write(case, name))
        return
    trouble = _trouble(case, line, words, name)
    if trouble is not None:
        yield trouble
        return
    yield ok(case.step, f"credential_process = {_told(words)}")
    yield from _aim(case, words, name)
    yield from _manner(case, line, words, name)
    yield from _start(case, words, name)


def _without(case: Case, name: str) -> Finding:
    """Tell of a profile without the line, or with a key that was meant for it."""
    case.lacks_line = True
    written = case.profile.keys if case.profile is not None else {}
    close = difflib.get_close_matches("credential_process", [key.replace("-", "_") for key in written], 1, 0.8)
    key = next((key for key in written if [key.replace("-", "_")] == close and key != "credential_process"), None)
    if key is not None:
        return error(
            case.step,
            f"{key} in {section_name(name)}: did you mean credential_process?",
            "no SDK knows that key, and none asks Vault",
            _write(case, name),
        )
    return warning(
        case.step,
        f"there is no credential_process in {section_name(name)}",
        "only programs with the provider in them use this profile",
        f"add: credential_process = {case.line_for(name)}",
    )


def _write(case: Case, name: str) -> str:
    return f"write: credential_process = {case.line_for(name)}"


def _told(words: Sequence[str]) -> str:
    """Return the line as people may see it: whatever stands behind a flag, or is somebody else's, may be a secret."""
    shown = _command(words)
    rest = list(words[len(shown) :])
    if shown and rest[:1] == ["get"]:
        shown += rest[: 3 if rest[1:2] == ["--profile"] else 1]
    shown = shown or list(words[:1])
    return f"{one_line(join_command(shown), limit=200)}{' …' if len(shown) < len(words) else ''}"


def _command(words: Sequence[str]) -> list[str]:
    """Return the words that run us: the command itself, or an interpreter and what it runs; none where it is not us."""
    if words and _stem(words[0]) == _NAME:
        return list(words[:1])
    if not words or not _stem(words[0]).lower().startswith(("python", "pypy")):
        return []
    options = 1 + next((at for at, word in enumerate(words[1:]) if word == "-m" or not word.startswith("-")), 0)
    if list(words[options : options + 2]) == ["-m", "vault_credential_process"]:
        return list(words[: options + 2])
    return list(words[: options + 1]) if _stem("".join(words[options : options + 1])) == _NAME else []


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0] if path.lower().endswith(".exe") else os.path.basename(path)


def _trouble(case: Case, line: str, words: Sequence[str], name: str) -> Finding | None:
    """Return why SDKs cannot run the line."""
    program = words[0]
    # A variable that was put before the program, or a whole line in quotes: what follows may be a secret.
    first = _NO_PATH.split(program, maxsplit=1)[0]
    shown = program if first == program else f"{first} …"
    if program.startswith("~"):
        return error(
            case.step,
            f"the line begins with a ~, which botocore does not expand: {one_line(shown, limit=100)}",
            "botocore and the AWS CLI find no such file",
            f"write the whole path: {os.path.expanduser(shown)}",
        )
    if "$" in program:
        return error(
            case.step,
            "the program of the line has a $, and botocore puts in no variables",
            "botocore and the AWS CLI find no such file",
            "write the path itself",
        )
    is_path = os.path.isabs(program) or os.sep in program
    found = program if is_path else shutil.which(program, path=case.environ.get("PATH"))
    if found is None or not os.path.exists(found):
        spaced = _with_spaces(line, words)
        if spaced:
            return error(
                case.step,
                f"the path has a space and no quotes: {program} is taken for the program",
                "no SDK can run it",
                f"put the path into quotes: '{spaced}' …",
            )
        where = "there is no such file" if is_path else "there is no such command on PATH"
        return error(case.step, f"{shown}: {where}", "no SDK can run it", _write(case, name))
    if os.path.isdir(found) or not os.access(found, os.X_OK):
        return error(
            case.step, f"{found}: not executable", "no SDK can run it", f"chmod +x {found}, or {_write(case, name)}"
        )
    return None


def _with_spaces(line: str, words: Sequence[str]) -> str | None:
    """Return the beginning of the line that is a file if the spaces in it belong to the path."""
    for count in range(2, len(words) + 1):
        path = " ".join(words[:count])
        if line.startswith(path) and os.path.isfile(path):
            return path
    return None


def _aim(case: Case, words: Sequence[str], name: str) -> Iterator[Finding]:
    """Tell whether the line runs us, for the profile that it stands in."""
    if not _command(words):
        yield warning(
            case.step,
            f"the line runs {os.path.basename(words[0])}, not {_NAME}",
            "programs without the provider get what that prints",
            _write(case, name),
        )
        return
    if "get" not in words:
        yield error(case.step, "the line has no get: it prints no credentials", remedy=_write(case, name))
        return
    given = [after for word, after in zip(words, [*words[1:], ""], strict=True) if word == "--profile"]
    given += [word.partition("=")[2] for word in words if word.startswith("--profile=")]
    if not given:
        yield warning(
            case.step,
            "the line has no --profile",
            "a role profile that leads here would make it read the role's own profile",
            f"add: {join_command(['--profile', name])}",
        )
    elif given[-1] != name:
        yield error(
            case.step,
            f"the line says --profile {given[-1]}, and stands in {section_name(name)}",
            f"programs with {name} get the credentials of {given[-1]}",
            f"write: {join_command(['--profile', name])}",
        )


def _manner(case: Case, line: str, words: Sequence[str], name: str) -> Iterator[Finding]:
    """Tell what works here and now, and may not elsewhere or tomorrow."""
    program = words[0]
    if not os.path.isabs(program):
        yield warning(
            case.step,
            f"{program} is no absolute path",
            "it depends on the PATH, or the directory, of each program",
            f"write the whole path: {shutil.which(program) or os.path.abspath(program)}",
        )
    elif is_temporary(program):
        yield warning(
            case.step,
            f"{program} lies in a directory for temporary files",
            "it may be gone tomorrow",
            "install it in an environment of its own, such as /opt/vcp",
        )
    if _OF_A_SHELL.search(line):
        yield warning(
            case.step,
            "the line has characters that a shell takes for more than themselves",
            "botocore does not, other SDKs run it by sh -c",
            _write(case, name),
        )
    if _command(words) and (_SHIMS.search(program) or _is_shell_script(program)):
        yield warning(
            case.step,
            f"{program} is a shim or a shell script",
            "it costs 100 ms or so at each call, and depends on its version files",
            "name the program behind it (pyenv which, asdf which)",
        )


def is_temporary(path: str) -> bool:
    """Tell whether a file lies in a directory for temporary files."""
    try:
        place = os.path.realpath(tempfile.gettempdir())
    except OSError:  # no directory can be written to
        return False
    return pathlib.Path(os.path.realpath(path)).is_relative_to(place)


def _is_shell_script(program: str) -> bool:
    """Tell whether a program is a script of a shell; pip writes one where the path of Python is long, which is fine."""
    try:
        with open(program, "rb") as file:
            first, second = file.readline(256), file.readline(256)
    except OSError:
        return False
    return bool(re.match(rb"#!.*\b(?:ba|da|z|k)?sh\b", first)) and not second.startswith(b"'''exec'")


def _start(case: Case, words: Sequence[str], name: str) -> Iterator[Finding]:
    """Run its ``--version``, and tell how long it takes to start."""
    own = _command(words)
    if not own:
        return
    command = (*own, "--version")
    seconds, printed, code = float("inf"), b"", 0
    for _ in range(3):
        limit, began = case.limit(_PATIENCE, "the credential_process line"), time.monotonic()
        try:
            code, printed_now = commands.run(command, case.environ, limit, _MOST)
        except OSError as failure:
            yield error(case.step, f"{words[0]} does not start: {failure.strerror}", remedy="install it anew")
            return
        if printed_now is None:
            yield warning(
                case.step, f"{words[0]}: no answer to --version within {limit:g} s", "every call is that slow"
            )
            return
        printed, seconds = printed_now, min(seconds, time.monotonic() - began)
        if seconds < SLOW or code:
            break
    version = printed.decode("utf-8", "replace").strip().rpartition(" ")[2]
    if code or not version:
        yield error(case.step, f"{words[0]} --version fails", "so will get", "run it by hand, or install it anew")
        return
    here = importlib.metadata.version(_NAME)
    against = case.complaint_of(words[len(own) :]) if version == here and "get" in words else None
    if version != here:
        yield note(case.step, f"the line runs version {one_line(version, limit=40)}; this is {here}")
    elif against is not None:
        yield error(case.step, f"the line is refused: {against}", "no SDK gets anything", _write(case, name))
    if seconds >= SLOW:
        yield warning(
            case.step,
            f"it takes {seconds:.1f} s to start",
            "so does each refresh of each program",
            "look at what starts it: a shim, a slow disk, a scanner",
        )
    else:
        yield ok(case.step, f"it starts in {seconds * 1000:.0f} ms")
