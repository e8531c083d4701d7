"""Each setting with its value and where that came from; what the profile and the environment say differently."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vault_credential_process import auth, fastpath
from vault_credential_process.config import Config, missing_role
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, error, failed, note, ok, warning
from vault_credential_process.errors import ConfigurationError, one_line
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import Option, section_name
from vault_credential_process.parsers import join_command
from vault_credential_process.profiles import Profile, config_path, every_profile, find_profile, profile_name

_KEY = re.compile(r"vault[\w-]*", re.ASCII)
"""How an error of a setting begins."""
_MOST_COMPLAINTS = 20
_MOST_NAMES = 10
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
"""The byte-order marks of UTF-8 and UTF-16."""
_HIDDEN = "set, not shown"
_OURS = ("VAULT_", "BAO_")
_OURS_IN_A_FILE = re.compile(r"vault_\w+|credential_process", re.ASCII)


class Declared(NamedTuple):
    """An option, and whether its value may be shown."""

    option: Option
    is_shown: bool


def declared(owner: type) -> Iterator[Declared]:
    """Yield the options of a dataclass with whether their values may be shown."""
    for field in dataclasses.fields(owner):
        option = field.metadata.get("option")
        if option is not None:
            yield Declared(dataclasses.replace(option, key=field.name), field.repr and not option.secret)


def every(config: Config) -> dict[str, Declared]:
    """Return the general options and those of the methods that are concerned, by their keys."""
    owners: tuple[type, ...] = (Config, *(auth.find(name) for name in config.methods))
    return {each.option.key: each for owner in owners for each in declared(owner)}


def examine(case: Case) -> Iterator[Finding]:
    """Tell which profile is in use, and each setting."""
    try:
        case.profile = find_profile(case.arguments, case.environ)
        yield _profile(case)
        yield from _sources(case)
    except ConfigurationError as failure:
        case.complaints.append(failure)
        yield _unreadable(case, failure)
    is_known = not case.complaints
    case.complaints += _indented(case)
    config = case.config = _resolved(case)
    for complaint in case.complaints[0 if is_known else 1 :]:
        yield failed(case.step, complaint)
    if config is None:
        return
    case.deadline = Deadline(config.vault_aws_timeout, already=time.monotonic() - case.began)
    yield from _values(case, config, is_known=is_known)
    if is_known:
        yield from _missing(case, config)
    yield from _misspelt(case, config)
    yield from _differences(case, config)
    yield from _dangers(case, config)


def _unreadable(case: Case, failure: ConfigurationError) -> Finding:
    """Tell why there is no profile; a mark at the beginning of the file is not to be seen in an editor."""
    path = config_path(case.environ)
    with contextlib.suppress(OSError), open(path, "rb") as file:
        if file.read(3).startswith(_MARKS):
            return error(
                case.step,
                f"{path}: begins with a byte-order mark",
                "no SDK reads it",
                "store it as UTF-8 without one",
            )
    found = failed(case.step, failure)
    with contextlib.suppress(ConfigurationError):
        names = _names(case)
        if names and case.profile is None and not os.path.isdir(path):
            found = dataclasses.replace(found, remedy=f"{found.remedy}; there is {names}")
    return found


def _names(case: Case) -> str:
    """Return the names of the profiles that there are, some of them where they are many."""
    return ", ".join([profile.name for profile in every_profile(case.environ)][:_MOST_NAMES])


def _indented(case: Case) -> Iterator[ConfigurationError]:
    """Yield an error for each key with one of ours in its value: an indented line is a part of that above it."""
    section = section_name(case.profile.name if case.profile is not None else "default")
    for key, value in (case.profile.keys if case.profile is not None else {}).items():
        lines = list(value) if isinstance(value, Mapping) else str(value).splitlines()[1:]
        for inner in filter(None, map(_OURS_IN_A_FILE.match, lines)):
            yield ConfigurationError(
                f"{inner[0]} in {section}: indented, so it is taken for a part of {key} above it; "
                "begin the line in the first column"
            )


def _profile(case: Case) -> Finding:
    """Tell where the profile is, and what names it."""
    path = config_path(case.environ)
    if case.profile is None:
        there = "" if os.path.exists(path) else ", which does not exist"
        names = _names(case)
        return note(
            case.step,
            f"no profile: none is named, and there is no [default] in {path}{there}",
            remedy=f"name one with --profile: {names}" if names else "",
        )
    how = "nothing names another"
    if case.arguments.get("profile"):
        how = "--profile names it"
    elif profile_name(case.arguments, case.environ):
        how = f"{'AWS_DEFAULT_PROFILE' if case.environ.get('AWS_DEFAULT_PROFILE') else 'AWS_PROFILE'} names it"
    return ok(case.step, f"{section_name(case.profile.name)} in {path}", how)


def _sources(case: Case) -> Iterator[Finding]:
    """Go on to the profile with whose credentials SDKs assume the role of this one, if it is such a profile.

    :raises ConfigurationError: when that is not in the file.
    """
    seen: set[str] = set()
    while case.profile is not None and case.profile.source is not None and case.profile.name not in seen:
        name, source = case.profile.name, case.profile.source
        seen.add(name)
        yield note(
            case.step,
            f"{section_name(name)} assumes a role with the credentials of {section_name(source)}",
            "all that follows is about those",
            f"see that they may with: {join_command(['aws', 'sts', 'get-caller-identity', '--profile', name])}",
        )
        case.profile = find_profile({"profile": source}, case.environ)


def _resolved(case: Case) -> Config | None:
    """Return the configuration without what is wrong in it; that goes to the complaints."""
    arguments, environ, profile = dict(case.arguments), dict(case.environ), case.profile
    keys = dict(profile.keys) if profile is not None else {}
    for _ in range(_MOST_COMPLAINTS):
        written = Profile(profile.name, keys) if profile is not None else None
        try:
            by_itself = profile_name(arguments, environ) is None
            return auth.configure(arguments, environ, written, read_aws_role=by_itself)
        except ConfigurationError as failure:
            case.complaints.append(failure)
            key = key_of(failure)
            if key is None or not _drop(key, arguments, environ, keys):
                return None
    return None


def key_of(complaint: ConfigurationError) -> str | None:
    """Return the setting that is complained of, with whose key the message begins."""
    key = _KEY.match(str(complaint))
    return key[0] if key else None


def _drop(key: str, *places: dict[str, Any]) -> bool:
    """Take a setting out of wherever it stands; tell whether it stood anywhere."""
    name = key.removeprefix("vault_").upper()
    names = {key, *(f"{prefix}{name}" for prefix in _OURS)}
    names |= {f"{prefix}AGENT_ADDR" for prefix in _OURS} if key == "vault_addr" else set()
    dropped = [place.pop(name) for place in places for name in names & place.keys()]
    return bool(dropped)


def _values(case: Case, config: Config, *, is_known: bool) -> Iterator[Finding]:
    """Tell each value that somebody gave, and the address in any case."""
    others = 0
    for key, each in every(config).items():
        origin = config.origin(key)
        if origin.kind == "default":
            others += 1
            continue
        where = "the profile" if origin.kind == "profile" else str(origin)
        yield ok(case.step, f"{key} = {shown(each, _value(config, key))}", f"from {where}")
    if is_known:
        yield note(case.step, f"{others} other settings have their defaults", "docs/settings.md tells them")


def _missing(case: Case, config: Config) -> Iterator[Finding]:
    """Tell which settings it takes are nowhere, unless there is one, and it was complained of."""
    complained = set(map(key_of, case.complaints))
    if config.origin("vault_addr").kind == "default" and "vault_addr" not in complained:
        yield warning(
            case.step,
            f"vault_addr is not set; {config.vault_addr} is what is left",
            remedy=every(config)["vault_addr"].option.remedy(config.profile),
        )
    if case.profile is not None and not config.aws_region:
        yield warning(
            case.step,
            f"there is no region, in {section_name(case.profile.name)} or in AWS_REGION",
            "most services want one: the AWS CLI and SDKs end with that",
            f"add region = eu-central-1, or yours, to {section_name(case.profile.name)}",
        )
    if not config.vault_aws_role and "vault_aws_role" not in complained:
        yield failed(case.step, missing_role(config))


def _value(config: Config, key: str) -> Any:
    return config.settings[key].value if key in config.settings else getattr(config, key)


def shown(each: Declared, value: Any) -> str:
    """Return a value as people may see it; of a command only its program, for its words may hold a secret."""
    if value is None:
        return "empty"
    if not each.is_shown:
        return _HIDDEN
    if isinstance(value, tuple):
        return " ".join((one_line(str(value[0]), limit=80), *(["…"] if value[1:] else [])))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g} s"
    return one_line(str(value), limit=100)


def _misspelt(case: Case, config: Config) -> Iterator[Finding]:
    """Tell of keys and variables that look like ours, and are not."""
    options = {o.key: o for o in (*(e.option for e in every(config).values()), *auth.options())}
    complained = set(map(key_of, case.complaints))
    for key in sorted(case.profile.keys if case.profile else ()):
        if key.startswith(("vault_", "vault-")) and key not in options and key not in complained:
            yield warning(
                case.step,
                f"{key} in {section_name(case.profile.name if case.profile else 'default')}: no such setting; ignored",
                remedy="take it out, or see docs/settings.md for its name",
            )
    known = {name for option in options.values() for name in option.variables}
    for name in sorted(set(case.environ) - known):
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.86) if name.startswith(_OURS) else []
        if close and close[0] not in case.environ:
            yield warning(case.step, f"{name} is set, which nothing reads", remedy=f"is {close[0]} meant?")


def _differences(case: Case, config: Config) -> Iterator[Finding]:
    """Tell where the environment says something else than what goes before it."""
    for key, each in every(config).items():
        origin = config.origin(key)
        if origin.kind not in ("argument", "profile"):
            continue
        exported = next((name for name in each.option.variables if case.environ.get(name)), None)
        if exported is None:
            continue
        try:
            is_same = each.option.parse(case.environ[exported]) == _value(config, key)
            other = shown(each, each.option.parse(case.environ[exported]))
        except ValueError:
            is_same, other = False, "malformed"
        if not is_same:
            yield note(
                case.step,
                f"{exported} = {other} is exported, and is not used",
                f"{origin} goes first: {shown(each, _value(config, key))}",
            )


def _dangers(case: Case, config: Config) -> Iterator[Finding]:
    """Tell what makes a set-up weaker than it need be."""
    if config.vault_skip_verify:
        yield warning(
            case.step,
            f"vault_skip_verify = true (from {config.origin('vault_skip_verify')})",
            "whoever is on the way can play Vault, and gets the login",
            "set vault_cacert to the CA that signed the server's certificate",
        )
    options = every(config)
    for key in (key for key in options if key.endswith("_file")):
        path, held = _value(config, key), options.get(key.removesuffix("_file"))
        if not (fastpath.HAS_OWNERS and path and held is not None and held.option.secret):
            continue
        with contextlib.suppress(OSError, ValueError):  # the login tells of it
            mode = os.stat(path).st_mode
            if stat.S_ISREG(mode) and mode & stat.S_IROTH:
                yield warning(
                    case.step,
                    f"{key}: {path} can be read by others (mode {stat.S_IMODE(mode):04o})",
                    "the secret in it is theirs, too",
                    f"chmod 600 {path}",
                )
