"""A target: what is parsed, the hostile input for it, and what must hold for each."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import logging
import math
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import botocore.credentials
import hypothesis
from hypothesis import strategies as st

from vault_credential_process.cache.entry import Entry
from vault_credential_process.errors import LONGEST, VaultCredentialError
from vault_credential_process.models import AWSCredentials, is_word
from vault_credential_process.process import document

NOW = 1_795_465_023.0
ACCEPTED = "accepted"
PACKAGE = "vault_credential_process"
TOKEN = "hvs.CAESIPlantedTokenOfTheHostileTests"
SECRET_ID = "5ec2e7-1d-planted-for-hostile-tests"
SECRET_KEY = "wJalrXUtnFEMIPlantedSecretKey"
SECRETS = (TOKEN, SECRET_ID, SECRET_KEY)

_T = TypeVar("_T")
_EXPIRATION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Target:
    """One property: ``check`` takes an input and returns its outcome, or raises ``AssertionError``.

    ``covers`` names the functions of the package that it reaches. ``must`` are outcomes that an ordinary run has to
    meet, without which it would show nothing; ``inputs`` are given in every run.
    """

    name: str
    covers: tuple[str, ...]
    strategy: st.SearchStrategy[Any]
    check: Callable[[Any], str]
    must: tuple[str, ...]
    inputs: tuple[Any, ...]
    examples: int


TARGETS: dict[str, Target] = {}


def target(
    name: str,
    covers: Iterable[str],
    strategy: st.SearchStrategy[Any],
    *,
    must: tuple[str, ...] = (ACCEPTED,),
    inputs: tuple[Any, ...] = (),
    examples: int = 60,
) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    """Add a property to the table; ``examples`` is how many inputs an ordinary run tries."""

    def add(check: Callable[[Any], str]) -> Callable[[Any], str]:
        assert name not in TARGETS
        TARGETS[name] = Target(name, tuple(covers), strategy, check, must, inputs, examples)
        return check

    return add


def run(
    chosen: Target, examples: int, *, seed: int | None = None, met: collections.Counter[str] | None = None
) -> collections.Counter[str]:
    """Try as many inputs and return how often each outcome was met; without a seed the same ones every time.

    ``met`` counts for a caller who wants to know it of a run that failed, too.
    :raises BaseException: what the smallest input that fails makes of the check, with that input in its notes.
    """
    met = collections.Counter() if met is None else met

    def prop(value: Any) -> None:
        met[chosen.check(value)] += 1

    wanted = hypothesis.settings(
        max_examples=examples,
        derandomize=seed is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    for given in chosen.inputs:
        prop = hypothesis.example(given)(prop)
    tried = wanted(hypothesis.given(chosen.strategy)(prop))
    (tried if seed is None else hypothesis.seed(seed)(tried))()
    return met


def refusal(error: VaultCredentialError, secrets: Iterable[str] = SECRETS) -> str:
    """Return the outcome of an error of ours, after a look at what holds for all of them."""
    said = str(error)
    assert error.exit_code != VaultCredentialError.exit_code, f"{type(error).__name__} has the exit code of a bug"
    assert said, "an error without words"
    assert said.isprintable(), f"not one printable line: {said!r}"
    assert len(said) <= LONGEST, f"{len(said)} characters"
    assert not [secret for secret in secrets if secret in said], f"a secret in {said!r}"
    return f"{type(error).__name__} {place_of(error)}"


def place_of(error: BaseException) -> str:
    """Return where in the package an error was raised: what tells one outcome from another."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if f"/{PACKAGE}/" in frame.filename]
    frame = next((frame for frame in reversed(frames) if frame.name not in ("__init__", "single_line")), None)
    return f"{frame.filename.rpartition(f'/{PACKAGE}/')[2]}:{frame.lineno}" if frame else "elsewhere"


def outcome(call: Callable[[], object], secrets: Iterable[str] = SECRETS) -> str:
    """Return what becomes of a call: accepted, or an error of ours. Anything else it raises is the failure."""
    try:
        call()
    except VaultCredentialError as error:
        return refusal(error, secrets)
    return ACCEPTED


class _Told(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def clean_log(secrets: Iterable[str] = SECRETS) -> Iterator[None]:
    """Look at what is logged meanwhile, at the highest level: printable lines, without a secret."""
    log, told = logging.getLogger(PACKAGE), _Told()
    level, log.propagate = log.level, False
    log.addHandler(told)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(told)
        log.setLevel(level)
        log.propagate = True
    for line in told.lines:
        assert line.isprintable(), f"logged: {line!r}"
        assert not [secret for secret in secrets if secret in line], f"a secret is logged: {line!r}"


def refused_text(parse: Callable[[str], _T], text: str) -> tuple[_T | None, str]:
    """Return the value of a text, and the outcome; a parser of a setting says no with ``ValueError`` alone."""
    try:
        return parse(text), ACCEPTED
    except ValueError as error:
        refused = error
    assert type(refused) is ValueError, f"{type(refused).__name__}: {refused}"
    assert len(str(refused)) <= 300, f"{len(str(refused))} characters"
    return None, f"ValueError {place_of(refused)}"


def assert_sound(credentials: AWSCredentials) -> None:
    """Check all that must hold for credentials that were accepted, up to what botocore makes of the document."""
    words = (credentials.access_key, credentials.secret_key)
    assert all(map(is_word, words if credentials.session_token is None else (*words, credentials.session_token)))
    assert math.isfinite(credentials.issued)
    assert math.isfinite(credentials.expiry)
    assert credentials.issued < credentials.expiry
    line = document(credentials)
    assert line.isascii()
    assert (line.count(b"\n"), line[-2:]) == (1, b"}\n")
    fields = json.loads(line)
    assert (fields["Version"], type(fields["Version"])) == (1, int)
    assert _EXPIRATION.fullmatch(fields["Expiration"]), fields["Expiration"]
    assert ("SessionToken" in fields) is (credentials.session_token is not None)
    loaded = as_botocore_loads(line)
    assert (loaded["access_key"], loaded["secret_key"], loaded["token"]) == (*words, credentials.session_token)
    end = botocore.credentials._parse_if_needed(loaded["expiry_time"])
    assert end.tzinfo is not None
    assert 0 <= credentials.expiry - end.timestamp() < 1
    entry = Entry(credentials)
    assert Entry.load(entry.dump(), credentials.issued) == entry


def as_botocore_loads(line: bytes) -> dict[str, Any]:
    """Return what botocore's own provider takes from a helper that prints a line."""

    class Helper:
        returncode = 0

        def __init__(self, *_: object, **__: object) -> None:
            """Start nothing."""

        def communicate(self) -> tuple[bytes, bytes]:
            return line, b""

    config = {"profiles": {"x": {"credential_process": "helper"}}}
    provider = botocore.credentials.ProcessProvider("x", lambda: config, popen=Helper)
    found: dict[str, Any] = provider._retrieve_credentials_using("helper")
    return found


_shared: dict[str, Any] = {}
_open = contextlib.ExitStack()


def shared(name: str, make: Callable[[], contextlib.AbstractContextManager[_T]]) -> _T:
    """Return what several inputs need, such as a server; made at the first, and gone with :func:`tidy`."""
    if name not in _shared:
        _shared[name] = _open.enter_context(make())
    found: _T = _shared[name]
    return found


@contextlib.contextmanager
def tidy() -> Iterator[None]:
    """Take away at the end what the targets made."""
    try:
        yield
    finally:
        _shared.clear()
        _open.close()
