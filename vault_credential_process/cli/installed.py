"""Where this command is installed, as a ``credential_process`` line has to name it, and what wins over the line."""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import pathlib
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from typing import Any

from vault_credential_process.config import REGION_VARIABLES
from vault_credential_process.doctor.profile_line import is_temporary
from vault_credential_process.doctor.shadows import before_us
from vault_credential_process.errors import ConfigurationError, one_line
from vault_credential_process.models import section_name
from vault_credential_process.profiles import credentials_path

PACKAGE = "vault-credential-process"

_CACHES = frozenset({".cache", "Caches", "Cache", "archive-v0"})
"""Directories that are emptied: there pipx and uv put what they run once."""
_IN_QUOTES = frozenset("\"'$`\\%")
"""What means something else to one reader of the line than to another, even between double quotes."""


def command_line(profile: str) -> str:
    """Return the ``credential_process`` line of a profile.

    It names the console script beside the interpreter that runs this: not a shim of pyenv or asdf, which serves another
    Python tomorrow, and not a link of pipx or uv, which leads there all the same. Both make the script anew in the same
    place when they upgrade. Double quotes are what POSIX shells, Windows and botocore agree on.

    :raises ConfigurationError: when no way of writing the path, or the name, is read alike by all SDKs.
    """
    place = "install vault-credential-process where the path has no quotes, $, backquotes, %, # or ;"
    words = [_quoted(word, place) for word in installed()]
    return " ".join([*words, "get", "--profile", _quoted(profile, "give the profile another name")])


def installed() -> list[str]:
    """Return the absolute path of the command; where there is none, the interpreter and how it runs the package."""
    found = next((path for path in _scripts() if os.path.isfile(path) and os.access(path, os.X_OK)), None)
    return [found] if found else [os.path.abspath(sys.executable), "-m", "vault_credential_process"]


def _scripts() -> Iterator[str]:
    """Yield where the script may be: where the installer says that it put it, then where installers do here."""
    name = f"{PACKAGE}.exe" if sys.platform == "win32" else PACKAGE
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if pathlib.PurePath(str(file)).name == name:
            yield os.path.abspath(str(file.locate()))
    yield os.path.abspath(os.path.join(sysconfig.get_path("scripts"), name))


def _quoted(word: str, remedy: str) -> str:
    own = _IN_QUOTES - {"\\"} if sys.platform == "win32" else _IN_QUOTES
    if set(word) & own or not word.isprintable() or re.search(r"\s[#;]", word):
        raise ConfigurationError(f"{one_line(word)}: SDKs read this in different ways; {remedy}")
    is_plain = all(c.isalnum() or c in "/\\:._+@=-" for c in word)
    return word if is_plain else f'"{word}"'


def doubts() -> Iterator[str]:
    """Yield, a line each, why the command may be gone when it is wanted."""
    path = installed()[0]
    if is_temporary(path):
        yield f"{path} lies in a temporary directory: install the command elsewhere before you rely on it"
    elif _CACHES & set(pathlib.PurePath(path).parts):
        yield f"{path} lies in a cache, which may be emptied: uv tool install or pipx install puts it where it stays"


def lacking(profiles: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for profiles without a region where the environment has none either."""
    names = [section_name(name) for name, keys in profiles.items() if not keys.get("region")]
    if names and not any(map(environ.get, REGION_VARIABLES)):
        yield f"{', '.join(names)}: no region, which most services want: add --region, or set AWS_REGION"


def rivals(profiles: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield, a line each, what SDKs would take instead of the credentials of Vault; of each profile the keys are given.

    The order is botocore's: environment, role, SSO, credentials file, ``aws login``, ``credential_process``
    (``botocore.credentials.create_credential_resolver``).
    """
    path = credentials_path(environ)
    parser = configparser.RawConfigParser(strict=False)
    try:
        if os.path.isfile(path):  # a pipe would be waited for
            parser.read(path, encoding="utf-8")
    except (OSError, ValueError, configparser.Error):
        yield f"{path} cannot be read: keys in it would win over Vault's"
    for name, keys in profiles.items():
        if parser.has_section(name) and parser.has_option(name, "aws_access_key_id"):
            yield f"[{name}] in {path} has keys, and they win over the profile: remove them"
        if parser.has_section(name) and parser.has_option(name, "credential_process"):
            yield f"[{name}] in {path} has a credential_process, which wins over the profile's: remove it"
        if "aws_access_key_id" in keys:
            yield f"{section_name(name)} has keys of its own, which some SDKs prefer: remove aws_access_key_id"
        for key in before_us(keys):
            yield f"{section_name(name)} has {key}, which wins over credential_process: remove it"
    if environ.get("AWS_ACCESS_KEY_ID"):
        yield "AWS_ACCESS_KEY_ID is set, and its keys win over a profile that AWS_PROFILE names: unset it"
