"""What a step finds: one thing, what it means, and what to do about it."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from vault_credential_process.errors import VaultCredentialError, one_line, where

State = Literal["ok", "note", "warning", "error", "skipped"]

_LONGEST = 600
"""Characters of the longest part of a finding."""

_REMEDIES = {
    r": cannot be read: Is a directory": "name a file there, not a directory",
    r": cannot be read: not UTF-8 text": "store it as UTF-8",
    r": cannot be read: ": "check the path and its permissions",
    r": the section of a profile is written ": "write it like that",
    r" is not the name of a role ": "write the name alone, as vault list aws/roles shows it: no path, no quotes",
    r": empty$": "put the secret there",
    r": holds more than one line$": "put the secret there alone, on one line",
    r" is not a Vault token: ": "put the token there, and nothing else",
    r": an address must not carry ": "take it out; vault_auth_method says how to log in",
    r": an address has no query, fragment or spaces": "write https://host:8200",
}
"""What to do about errors that do not say it themselves, by the words in them; the first that fits."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a step found.

    ``found`` is what is so, ``means`` what follows from it, ``remedy`` what to do; the last two may be empty. Each is
    one printable line without a secret, whatever a server or a file put into it. ``exit_code`` is that of an error's
    class, 0 for anything else.
    """

    step: str
    state: State
    found: str
    means: str = ""
    remedy: str = ""
    exit_code: int = 0

    def __post_init__(self) -> None:
        for name in ("found", "means", "remedy"):
            object.__setattr__(self, name, one_line(getattr(self, name), limit=_LONGEST))


def ok(step: str, found: str, means: str = "") -> Finding:
    """Return what is as it should be."""
    return Finding(step, "ok", found, means)


def note(step: str, found: str, means: str = "", remedy: str = "") -> Finding:
    """Return what is neither good nor bad, but good to know."""
    return Finding(step, "note", found, means, remedy)


def warning(step: str, found: str, means: str = "", remedy: str = "") -> Finding:
    """Return what works now and may not work, or not for everybody."""
    return Finding(step, "warning", found, means, remedy)


def error(step: str, found: str, means: str = "", remedy: str = "", *, exit_code: int = 2) -> Finding:
    """Return what does not work; ``exit_code`` is that of its class."""
    return Finding(step, "error", found, means, remedy, exit_code)


def skipped(step: str, because: str, remedy: str = "") -> Finding:
    """Return that a step was left out, with the reason."""
    return Finding(step, "skipped", f"skipped: {because}", "", remedy)


def failed(step: str, failure: VaultCredentialError, means: str = "") -> Finding:
    """Return one of our errors as a finding: its message says first what happened, then what to do."""
    found, remedy = _parts(str(failure))
    known = (known for words, known in _REMEDIES.items() if re.search(words, found))
    return Finding(step, "error", found, means, remedy or next(known, ""), failure.exit_code)


def _parts(message: str) -> tuple[str, str]:
    """Return what happened and what to do: they are parted by the first semicolon that is in no parentheses."""
    depth = 0
    for at, character in enumerate(message):
        depth += (character == "(") - (character == ")")
        if character == ";" and depth <= 0:
            return message[:at], message[at + 1 :]
    return message, ""


def bug(step: str, failure: Exception) -> Finding:
    """Return a failure that nobody foresaw."""
    found = f"internal error: {type(failure).__name__} at {where(failure)}"
    return Finding(step, "error", found, "", "please report it", exit_code=70)
