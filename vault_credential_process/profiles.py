"""The AWS config file: which profile is in use, and its keys."""

from __future__ import annotations

import configparser
import dataclasses
import os
import shlex
from collections.abc import Mapping
from typing import Any

from vault_credential_process.errors import ConfigurationError, one_line
from vault_credential_process.models import section_name


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """One profile of the AWS config file: its name and its keys, lower-cased, as the file has them."""

    name: str
    keys: Mapping[str, Any] = dataclasses.field(repr=False)

    @property
    def source(self) -> str | None:
        """The profile with whose credentials SDKs assume the role of this one; ``None`` where it has other ways."""
        named = self.keys.get("source_profile")
        is_ours = any(key.startswith("vault_") or key == "credential_process" for key in self.keys)
        return named if isinstance(named, str) and "role_arn" in self.keys and not is_ours else None


def profile_name(arguments: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    """Return the name of the profile that was asked for: the argument ``profile``, else the environment's.

    ``AWS_DEFAULT_PROFILE`` goes before ``AWS_PROFILE``, as in botocore (``botocore.configprovider``).
    """
    return arguments.get("profile") or environ.get("AWS_DEFAULT_PROFILE") or environ.get("AWS_PROFILE") or None


def config_path(environ: Mapping[str, str]) -> str:
    """Return the path of the AWS config file, variables and ``~`` in it expanded as botocore does."""
    return os.path.expanduser(os.path.expandvars(environ.get("AWS_CONFIG_FILE") or "~/.aws/config"))


def credentials_path(environ: Mapping[str, str]) -> str:
    """Return the path of AWS's shared credentials file, expanded alike."""
    return os.path.expanduser(os.path.expandvars(environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"))


def find_profile(arguments: Mapping[str, Any], environ: Mapping[str, str]) -> Profile | None:
    """Return the profile in use from the AWS config file; ``None`` where none is named and there is no default.

    The file is ``AWS_CONFIG_FILE``, else ``~/.aws/config``. It is read as botocore reads it
    (``botocore.configloader``), what stands in ``[DEFAULT]`` for every section included.

    :raises ConfigurationError: when the file cannot be read or the profile that was named is not in it.
    """
    named = profile_name(arguments, environ)
    path = config_path(environ)
    try:
        parser = read(path)
    except FileNotFoundError:
        if not named:
            return None
        raise ConfigurationError(
            f"{path}: no such file, so there is no profile {named!r}; run vault-credential-process configure, or set "
            "AWS_CONFIG_FILE"
        ) from None
    name = named or "default"
    section = _sections(parser).get(name)
    if section is not None:
        return _profile(parser, name, section)
    if not named:
        return None
    if parser.has_section(name) and not name.startswith("profile "):
        raise ConfigurationError(f"{path}: the section of a profile is written {section_name(name)}, not [{name}]")
    raise ConfigurationError(f"{section_name(name)} is not in {path}; name another with --profile or AWS_PROFILE")


def every_profile(environ: Mapping[str, str]) -> list[Profile]:
    """Return all profiles of the AWS config file, in its order; none where there is no file.

    :raises ConfigurationError: when the file cannot be read.
    """
    try:
        parser = read(config_path(environ))
    except FileNotFoundError:
        return []
    return [_profile(parser, name, section) for name, section in _sections(parser).items()]


def read(path: str) -> configparser.RawConfigParser:
    """Return the content of a config file.

    :raises FileNotFoundError: when there is none.
    :raises ConfigurationError: when it cannot be read.
    """
    parser = configparser.RawConfigParser()
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError(f"{path}: cannot be read: {reason}") from None
    except configparser.Error as error:
        raise ConfigurationError(f"{path}: {_without_values(error)}; mend the file") from None
    return parser


def _sections(parser: configparser.RawConfigParser) -> dict[str, str]:
    """Return the section of each profile: of several spellings of one name the last, as in botocore."""
    named = ((called(section), section) for section in parser.sections())
    return {name: section for name, section in named if name is not None}


def _profile(parser: configparser.RawConfigParser, name: str, section: str) -> Profile:
    return Profile(name, {key: _nested(value) for key, value in parser.items(section)})


def called(section: str) -> str | None:
    """Return the name of the profile that a section holds; ``None`` where it holds none (``build_profile_map``)."""
    if section == "default":
        return section
    if not section.startswith("profile"):
        return None
    try:
        words = shlex.split(section)
    except ValueError:
        return None
    return words[1] if len(words) == 2 else None


def _nested(value: str) -> str | dict[str, str]:
    """Return the keys in a value that begins on a line of its own, as with ``s3 =`` (``_parse_nested``)."""
    if not value.startswith("\n"):
        return value
    pairs = (line.partition("=") for line in value.splitlines() if line.strip())
    return {key.strip(): inner.strip() for key, _, inner in pairs}


def _without_values(error: configparser.Error) -> str:
    """Tell where a config file is broken, without the text of the line: it may hold a key."""
    if isinstance(error, configparser.DuplicateOptionError):
        # A line with a colon but no "=" has its value in what is taken for the key.
        key = one_line(error.option).partition(" ")[0]
        return f"key {key!r} stands twice in [{one_line(error.section)}] (line {error.lineno})"
    if isinstance(error, configparser.DuplicateSectionError):
        return f"section [{one_line(error.section)}] stands twice (line {error.lineno})"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} stands before any [section]"
    if isinstance(error, configparser.ParsingError) and error.errors:
        return f"line {error.errors[0][0]} is neither a key = value pair nor a [section]"
    return "cannot be parsed"
