"""Token helpers: a program that keeps the token for ``vault`` and ``bao``, and the small file that names it.

https://developer.hashicorp.com/vault/docs/commands/token-helper and https://openbao.org/docs/commands/token-helper/
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping

from vault_credential_process import sources
from vault_credential_process.errors import ConfigurationError, one_line
from vault_credential_process.expiry import Deadline
from vault_credential_process.parsers import whole_path

KEY = "token_helper"
VARIABLES = ("BAO_CONFIG_PATH", "VAULT_CONFIG_PATH")
DEFAULT_FILES = ("~/.bao", "~/.vault")

_LONGEST = 64 * 1024
_GAP = r"(?:\s|#[^\n]*(?:\n|\Z)|//[^\n]*(?:\n|\Z)|/\*(?:[^*]|\*(?!/))*\*/)*"
_HCL = re.compile(rf'{_GAP}(?:("?){KEY}\1{_GAP}={_GAP}(?P<value>"(?:[^"\\\n]|\\.)*")(?:{_GAP},)?{_GAP})?')
"""White space and comments, and among them the one key there is; every text matches in one way or in none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Helper:
    """A token helper: its program, the file that names it, and the server whose token is wanted."""

    path: str
    file: str
    address: str

    def read(self, deadline: Deadline) -> str:
        """Return the token that the helper keeps for the server; empty where it keeps none.

        :raises ConfigurationError: when it cannot be started, fails, or prints what is no token. What it printed is
            not repeated.
        :raises DeadlineError: when it takes longer than the call may.
        """
        told = {"BAO_ADDR": self.address, "VAULT_ADDR": self.address}
        return sources.run_command(self._command, self._key, deadline, environ=told, may_be_silent=True)

    def told(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what it adds to an identity: its place, for only running it would tell more.

        :raises ConfigurationError: when it is running already, and led here.
        """
        sources.refuse_nested(self._command, self._key)
        return (KEY, self.path), ()

    @property
    def _command(self) -> tuple[str, ...]:
        return self.path, "get"

    @property
    def _key(self) -> str:
        return f"{KEY} in {self.file}"

    def __str__(self) -> str:
        """Tell where the token was found, for an error."""
        return f"the token helper {self.path}"


def files(ambient: Mapping[str, str]) -> tuple[str, ...]:
    """Return the files that may name a helper, first one first: the one that a variable names, else both programs'."""
    named = [ambient[name] for name in VARIABLES if name in ambient][:1]
    return tuple(whole_path(path) for path in named or DEFAULT_FILES)


def find(ambient: Mapping[str, str], address: str) -> Helper | None:
    """Return the helper that is configured on this machine; ``None`` where there is none.

    :raises ConfigurationError: when a file that might name one cannot be read or understood.
    """
    is_named = any(name in ambient for name in VARIABLES)
    for file in files(ambient):
        # A directory of that name is another program's, unless somebody says otherwise.
        if not is_named and os.path.isdir(file):
            continue
        path = _named_in(file)
        if path:
            if not os.path.isabs(path):
                shown = one_line(path, limit=80)
                raise ConfigurationError(f"{KEY} in {file}: {shown!r} is not an absolute path; write it from the root")
            return Helper(path, file, address)
    return None


def _named_in(file: str) -> str | None:
    try:
        with open(file, "rb") as opened:
            content = opened.read(_LONGEST + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigurationError(f"{KEY}: {one_line(file)}: {reason}; check the path and its permissions") from None
    try:
        if len(content) > _LONGEST:
            raise ValueError
        return parse(content.decode())
    except (ValueError, RecursionError):
        raise ConfigurationError(
            f'{file}: nothing but token_helper = "/path" may stand in this file; mend it'
        ) from None


def parse(text: str) -> str | None:
    """Return the helper that a text in HCL or JSON names; ``None`` where it names none.

    :raises ValueError: when anything else stands in the text; ``vault`` and ``bao`` refuse it too.
    """
    if text.lstrip().startswith("{"):
        pairs = json.loads(text, object_pairs_hook=list)
        if not pairs:
            return None
        ((key, value),) = pairs
        if key != KEY or not isinstance(value, (str, type(None))):
            raise ValueError(key)
        return value
    found = _HCL.fullmatch(text)
    if found is None:
        raise ValueError(KEY)
    literal = found["value"]
    return None if literal is None else str(json.loads(literal))
