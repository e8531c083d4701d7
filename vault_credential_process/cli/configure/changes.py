"""A change of the AWS config file: made, shown, and written if the file still is what was shown."""

from __future__ import annotations

import configparser
import difflib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from vault_credential_process import auth, awsconfig
from vault_credential_process.cli.configure.draft import is_ours
from vault_credential_process.cli.paint import Paint
from vault_credential_process.config import Config
from vault_credential_process.errors import ConfigurationError, one_line
from vault_credential_process.models import options_of, section_name
from vault_credential_process.profiles import called, find_profile

TRIES = 100
"""How often a change that nobody looks at is made anew where another program has written the file meanwhile.

So many may be at it at the same time.
"""

_SHOWN = frozenset({"region", "output", "source_profile", "role_arn", "endpoint_url"})
"""Keys of AWS's whose values are no secret."""
_HIDDEN = frozenset({"vault_proxy_addr"})
"""Keys of ours whose values may hold one."""
_COMMAND = re.compile(r'(?:"[^"]+"|[^\s"]+)(?: -m vault_credential_process)? get --profile \S+')
"""A ``credential_process`` line as ``configure`` writes it: one of somebody else's may hold a secret, too."""


class File:
    """The AWS config file at a path, as it was read."""

    def __init__(self, path: str) -> None:
        """Read it.

        :raises ConfigurationError: when it cannot be read, or botocore could not read it either.
        """
        self.path = path
        self.content = awsconfig.read(path)
        if self.content is not None:
            find_profile({}, {"AWS_CONFIG_FILE": path})

    @property
    def text(self) -> str:
        """What it holds; nothing where there is none."""
        return (self.content or b"").decode("utf-8", "surrogateescape")

    def put(self, profiles: Mapping[str, Mapping[str, str]], *, replace: bool, no_region: bool = False) -> str:
        """Return the text with these profiles, each with its keys; a region that is not among them stays or goes.

        :raises ConfigurationError: when one is there that ``configure`` did not write, unless that is to be replaced.
        """
        text = self.text

        def goes(key: str) -> bool:
            return is_ours(key) or (no_region and key == "region")

        for name, keys in profiles.items():
            section = awsconfig.find(awsconfig.lines_of(text), name)
            changed = awsconfig.with_profile(text, name, keys, goes)
            if changed != text and section is not None and not section.is_marked and not replace:
                raise ConfigurationError(
                    f"{section_name(name)} is in {self.path} already, and configure did not write it; --replace "
                    "changes its credential_process and vault_* keys and keeps the rest"
                )
            text = changed
        self._check(text, profiles)
        if not _own_are_as_before(self.text, text, profiles, goes):
            raise self._impossible()
        return text

    def take_out(self, name: str) -> str:
        """Return the text without a profile.

        :raises ConfigurationError: when it is not there, or ``configure`` did not write it.
        """
        try:
            text = awsconfig.without_profile(self.text, name)
        except ValueError as error:
            raise ConfigurationError(f"{section_name(name)} cannot be taken out of {self.path}: it {error}") from None
        self._check(text, {name: {}})
        return text

    def _check(self, text: str, profiles: Mapping[str, Mapping[str, str]]) -> None:
        """Make sure that a change does what it should and nothing else, as ``configparser`` reads it."""
        is_right = _others_are_as_before(self.text, text, profiles)
        if is_right:
            found = {called(section): keys for section, keys in _profiles_in(text).items()}
            is_right = all(dict(keys).items() <= found.get(name, {}).items() for name, keys in profiles.items())
        if not is_right:
            raise self._impossible()

    def _impossible(self) -> ConfigurationError:
        return ConfigurationError(f"{self.path}: cannot be changed without touching what else is in it; do it by hand")


def _profiles_in(text: str, *, defaults: bool = True) -> dict[str, dict[str, str]]:
    """Return every section with its keys, as ``configparser`` reads them; those of ``[DEFAULT]`` in each, or in none.

    :raises configparser.Error: when it cannot.
    """
    parser = configparser.RawConfigParser()
    parser.read_string(text.replace("\r\n", "\n").replace("\r", "\n"))
    spared = set() if defaults else set(parser.defaults().items())
    return {section: dict(set(parser.items(section)) - spared) for section in parser.sections()}


def _others_are_as_before(before: str, after: str, profiles: Iterable[str]) -> bool:
    """Tell whether all but these profiles read as they did."""
    ours = set(profiles)
    try:
        then, now = _profiles_in(before), _profiles_in(after)
    except configparser.Error:
        return False
    return {k: v for k, v in then.items() if called(k) not in ours} == {
        k: v for k, v in now.items() if called(k) not in ours
    }


def _own_are_as_before(
    before: str, after: str, profiles: Mapping[str, Mapping[str, str]], goes: Callable[[str], bool]
) -> bool:
    """Tell whether what somebody else wrote into these profiles reads as it did, and nothing that goes is left."""
    then, now = (
        {called(s): keys for s, keys in _profiles_in(text, defaults=False).items()} for text in (before, after)
    )
    return all(
        {k: v for k, v in then.get(name, {}).items() if k not in keys and not goes(k)}
        == {k: v for k, v in now.get(name, {}).items() if k not in keys}
        for name, keys in profiles.items()
    )


def save(path: str, seen: File, make: Callable[[File], str], *, is_shown: bool) -> None:
    """Write what ``make`` makes of the file; where somebody was shown the change, only if it still is that.

    :raises ConfigurationError: when the file has changed meanwhile, or cannot be written.
    """
    for _ in range(1 if is_shown else TRIES):
        if awsconfig.replace(path, seen.content, make(seen).encode("utf-8", "surrogateescape")):
            return
        seen = File(path)
    raise ConfigurationError(
        f"{path}: another program changed it meanwhile; nothing was written: run the command again"
    )


def difference(path: str, before: str, after: str, paint: Paint) -> str:
    """Return a unified difference for people: what may be a secret in the lines of others is not shown."""
    return "\n".join(_difference(path, before, after, paint))


def _difference(path: str, before: str, after: str, paint: Paint) -> Iterator[str]:
    now, then = ([_shown(line) for line in awsconfig.lines_of(text)] for text in (before, after))
    name = one_line(path, limit=400)
    for line in difflib.unified_diff(now, then, f"{name} (now)", f"{name} (then)", lineterm=""):
        if line.startswith(("---", "+++")):
            yield paint.bold(line)
        elif line.startswith("@@"):
            yield paint.cyan(line)
        elif line.startswith(("+", "-")):
            yield (paint.green if line[0] == "+" else paint.red)(line)
        else:
            yield line


def _shown(line: awsconfig.Line) -> str:
    text = one_line(line.text, limit=400)
    if line.kind in ("header", "blank") or text in (awsconfig.BEGIN, awsconfig.END):
        return text
    if line.kind == "key":
        is_own = line.name in public() or (line.name == "credential_process" and _COMMAND.fullmatch(line.value))
        return text if is_own or line.name in _SHOWN else f"{one_line(line.name, limit=80).partition(' ')[0]} = …"
    return "…"


@functools.cache
def public() -> frozenset[str]:
    """Return the keys of ours whose values are no secret."""
    return frozenset({o.key for o in (*options_of(Config), *auth.options()) if not o.secret}) - _HIDDEN
