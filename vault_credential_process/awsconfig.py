"""The AWS config file as text: a profile put in, changed, or taken out, and every other byte left as it is.

What a line is to Python's ``configparser``, which botocore reads the file with, it is here. A profile that we put in
stands between two comments. Neither has a ``:`` or ``=`` in it: ``aws configure set`` takes any line that has one for a
key, and would put the next key of the profile behind it.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from vault_credential_process.errors import ConfigurationError, one_line
from vault_credential_process.lock import FileLock
from vault_credential_process.models import section_name
from vault_credential_process.profiles import called

BEGIN = "# begin vault-credential-process configure"
END = "# end vault-credential-process configure"

PATIENCE = 10.0
"""Seconds to wait for another run that is writing."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_HEADER = configparser.RawConfigParser.SECTCRE
_KEY = re.compile(r"(.*?)\s*[=:]\s*(.*)")
_TO_SHELLS = frozenset("[]\"'\\#;$`&|<>()*?!~{}%^")
"""What a section's header, a shell or ``cmd.exe`` reads as something else than itself."""
_INLINE_COMMENT = re.compile(r"(?:^|\s)[#;]")


class Line(NamedTuple):
    """A line with its end: a ``header``, a ``key``, ``more`` of the value above, a ``note`` or ``blank``.

    ``name`` is the profile of a header (empty where it is of none) or the key in lower case; ``value`` is the key's.
    """

    text: str
    kind: str
    name: str = ""
    value: str = ""


class Section(NamedTuple):
    """Where a profile stands: the index of its header, of the line after its last, and of the comments around it."""

    header: int
    end: int
    begin_mark: int | None
    end_mark: int | None

    @property
    def is_marked(self) -> bool:
        """Whether we put it there."""
        return self.begin_mark is not None and self.end_mark is not None


def check_name(name: str) -> str:
    """Return a name that a section's header and a command line take as it is, without quotes.

    :raises ValueError: when it is none.
    """
    if not name or not name.isprintable() or " " in name or set(name) & _TO_SHELLS or name.startswith("-"):
        raise ValueError(
            f"{one_line(name, limit=80)!r} cannot be the name of a profile here: no spaces, quotes, brackets or other "
            "characters that shells read in their own way, and no - at the beginning"
        )
    return name


def check_value(text: str) -> str:
    """Return a value that every SDK reads from the line as it is.

    :raises ValueError: when one of them would read another.
    """
    if text != text.strip() or not text.isprintable():
        raise ValueError("has line breaks, control characters or spaces around it, which no config file keeps")
    if _INLINE_COMMENT.search(text):
        raise ValueError("has a # or ; at its beginning or after a space: some SDKs read a comment there")
    return text


def lines_of(text: str) -> list[Line]:
    """Return the lines, each as ``configparser`` takes it."""
    found: list[Line] = []
    indent, in_section, in_value = 0, False, False
    for line in _LINE.findall(text):
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", ";")):
            found.append(Line(line, "note" if stripped else "blank"))
            continue
        own_indent = len(line) - len(line.lstrip())
        if in_section and in_value and own_indent > indent:
            found.append(Line(line, "more"))
            continue
        indent = own_indent
        header, key = _HEADER.match(stripped), _KEY.match(stripped)
        if header:
            in_section, in_value = True, False
            found.append(Line(line, "header", called(header.group(1)) or ""))
        else:
            in_value = key is not None
            name, value = key.groups() if key else ("", "")
            found.append(Line(line, "key", name.rstrip().lower(), value.strip()))
    return found


def find(lines: Sequence[Line], profile: str) -> Section | None:
    """Return where a profile stands: the last of several spellings of its name, as in botocore."""
    headers = [n for n, line in enumerate(lines) if line.kind == "header"]
    here = next((n for n in reversed(headers) if lines[n].name == profile), None)
    if here is None:
        return None
    end = next((n for n in headers if n > here), len(lines))
    begin_mark = end_mark = None
    for number in range(here - 1, -1, -1):
        if lines[number].kind not in ("note", "blank") or lines[number].text.strip() == END:
            break
        if lines[number].text.strip() == BEGIN:
            begin_mark = number
            break
    for number in range(here + 1, end):
        if lines[number].text.strip() == END:
            end_mark = number
    return Section(here, end, begin_mark, end_mark)


def with_profile(text: str, profile: str, keys: Mapping[str, str], is_ours: Callable[[str], bool]) -> str:
    """Return the text with a profile that has these keys, and no other of those that are ours.

    Keys that it is given are ours too. A profile that is there keeps its others, its comments and its order; lines that
    say the same stay as they are. A new one goes to the end, marked. A file without a line break at its end has none
    afterwards either.
    """
    lines = lines_of(text)
    newline = "\r\n" if text.endswith("\r") or (lines and lines[0].text.endswith("\r\n")) else "\n"
    section = find(lines, profile)
    written = {key: f"{key} = {value}{newline}" for key, value in keys.items()}
    if section is None:
        block = [BEGIN + newline, section_name(profile) + newline, *written.values(), END + newline]
        return _joined([*(line.text for line in lines), *([newline] if lines else []), *block], text, newline)
    kept, place, drops = [line.text for line in lines[: section.header + 1]], section.header + 1, False
    below = (_indent(line) for line in lines[section.header + 1 :] if line.kind not in ("note", "blank"))
    indent = next(below, "")
    for number in range(section.header + 1, section.end):
        line = lines[number]
        if line.kind == "key":
            new = written.pop(line.name, None)
            is_same = (
                new is not None and line.value == keys[line.name] and not _goes_on(lines[number + 1 : section.end])
            )
            drops = not is_same and (line.name in keys or is_ours(line.name))
            kept += [_indent(line) + new] if drops and new else [] if drops else [line.text]
        elif line.kind != "more" or not drops:
            kept.append(line.text)
        if line.kind in ("key", "more") and (section.end_mark is None or number < section.end_mark):
            place = len(kept)
            indent = _indent(line) if line.kind == "key" else indent
    # Less indented than what stands around it, a line would take the lines below it for its own value.
    kept[place:place] = [indent + new for new in written.values()]
    return _joined([*kept, *(line.text for line in lines[section.end :])], text, newline)


def without_profile(text: str, profile: str) -> str:
    """Return the text without a profile that :func:`with_profile` put in: as it was before that.

    What another program has added to it goes with it, below its last line too: there ``aws configure set`` puts a new
    key of the last profile in a file.

    :raises ValueError: when it is not there, or not marked.
    """
    lines = lines_of(text)
    section = find(lines, profile)
    if section is None:
        raise ValueError("is not there")
    if section.begin_mark is None or section.end_mark is None:
        raise ValueError("was not put there by configure; remove it by hand")
    start, end = section.begin_mark, section.end_mark + 1
    end = max([end, *(n + 1 for n in range(end, section.end) if lines[n].kind in ("key", "more"))])
    if start and lines[start - 1].kind == "blank":
        start -= 1
    elif not start and end < len(lines) and lines[end].kind == "blank":
        end += 1  # put there when the next profile was
    return _joined([line.text for line in (*lines[:start], *lines[end:])], text, "")


def _indent(line: Line) -> str:
    return line.text[: len(line.text) - len(line.text.lstrip())]


def _goes_on(below: Sequence[Line]) -> bool:
    """Tell whether a value goes on in the lines below its key."""
    return next((line.kind for line in below if line.kind not in ("note", "blank")), "") == "more"


def _joined(pieces: Sequence[str], original: str, newline: str) -> str:
    """Return lines as a text that ends as the original does, with a line break or without."""
    whole = [piece if piece.endswith(("\n", "\r")) else piece + newline for piece in pieces[:-1]]
    last = "".join(pieces[-1:])
    if original and not original.endswith(("\n", "\r")):
        last = last.removesuffix("\n").removesuffix("\r")
    elif last and not last.endswith(("\n", "\r")):
        last += newline
    return "".join(whole) + last


def read(path: str) -> bytes | None:
    """Return what the file holds; ``None`` where there is none.

    :raises ConfigurationError: when it cannot be read, or is no file that could be replaced: a device, or a pipe.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ConfigurationError(f"{path}: cannot be written: it is no regular file; nothing was changed")
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None


def replace(path: str, before: bytes | None, after: bytes) -> bool:
    """Write the file whole or not at all, if it still is what it was; tell whether it was written.

    A link stays a link, and what it leads to is written. The file keeps its mode and its owner; a new one is its
    owner's alone, and so is a new directory.

    :raises ConfigurationError: when it cannot be written.
    """
    target = os.path.realpath(path)
    try:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        with _alone(target):
            if read(target) != before:
                return False
            _write(target, after)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}; nothing was changed") from None
    return True


@contextlib.contextmanager
def _alone(target: str) -> Iterator[None]:
    """Keep other runs of ours from writing the same file meanwhile."""
    lock = FileLock(f"{target}.vault-credential-process.lock")
    if not lock.acquire(PATIENCE):
        raise ConfigurationError(f"{target}: another run has been writing it for {PATIENCE:g} s; run it again")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.remove()
        lock.release()
        if sys.platform == "win32":  # which removes no open file
            with contextlib.suppress(OSError):
                os.unlink(lock.path)


def _write(target: str, content: bytes) -> None:
    try:
        present = os.stat(target)
    except FileNotFoundError:
        present = None
    if present is not None and not os.access(target, os.W_OK):
        raise PermissionError(0, "it is read-only")
    descriptor, draft = tempfile.mkstemp(prefix=".config.", suffix=".tmp", dir=os.path.dirname(target))
    try:
        with os.fdopen(descriptor, "wb") as file:
            if present is not None:
                _give_to(file.fileno(), draft, present)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
    _settle(os.path.dirname(target))


def _give_to(descriptor: int, draft: str, present: os.stat_result) -> None:
    """Give a file the owner and the mode of another.

    The open file, not its name: in a directory of somebody else the name may be a link by now, and root would give away
    what that leads to.
    """
    if sys.platform == "win32":
        os.chmod(draft, stat.S_IMODE(present.st_mode))
        return
    made = os.fstat(descriptor)
    if (made.st_uid, made.st_gid) != (present.st_uid, present.st_gid):
        os.fchown(descriptor, present.st_uid, present.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(present.st_mode))


def _settle(directory: str) -> None:
    """Have the new name of a file survive a loss of power, where the system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
