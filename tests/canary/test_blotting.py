"""What servers repeat of a secret is blotted out of messages, in whatever form they write it."""

from __future__ import annotations

import time

import hypothesis
import hypothesis.strategies as st
import pytest

from vault_credential_process.errors import BLOT, one_line

from .plants import Secret, awkward, word
from .search import ENCODINGS, FORMS, Search

LETTERS = st.characters(min_codepoint=33, exclude_categories=["C", "Z"])


@pytest.mark.parametrize(
    "value", [word("hvs.CANARY"), awkward(), "p\tw &<>\"'\\ü€😀 /+=?#%20 x"], ids=["word", "awkward", "worse"]
)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_blotted(form: str, value: str) -> None:
    """Between other words, in upper case too where that does not change what it stands for."""
    for written in {FORMS[form](value), FORMS[form](value).swapcase()} if value.isascii() else {FORMS[form](value)}:
        line = one_line(f"cannot use [{written}] now", secrets=(value,), limit=10_000)

        assert line.startswith("cannot use [***")
        assert Search((Secret("password", value),)).found(line) == []


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("before", ["", "a", "ab", "user:", "Bearer "])
def test_every_encoding_is_blotted(encoding: str, before: str) -> None:
    """Alone and as a part of something longer, as ``user:password`` in a header is."""
    value = awkward()
    for behind in ("", "x", "xy"):
        written = ENCODINGS[encoding](f"{before}{value}{behind}".encode()).decode()
        line = one_line(f"no: {written}", secrets=(value,), limit=10_000)

        assert BLOT in line
        assert Search((Secret("password", value),)).found(line) == []


@hypothesis.given(value=st.text(LETTERS, min_size=6, max_size=40), form=st.sampled_from(sorted(FORMS)))
@hypothesis.settings(max_examples=150)
def test_any_secret_is_blotted(value: str, form: str) -> None:
    """The same for any text that is no shorter than a code of a second factor."""
    line = one_line(f"[{FORMS[form](value)}]", secrets=(value,), limit=10_000)

    assert BLOT in line
    assert value not in line.replace(BLOT, "")


@pytest.mark.parametrize("value", ["x" * 60_000, "+/ " * 20_000], ids=["plain", "to be quoted"])
def test_long_secret_takes_no_long_time(value: str) -> None:
    """A secret of the longest kind is blotted out in far less than a call takes."""
    began = time.monotonic()
    line = one_line(f"{'z' * 5_000} {value}", secrets=(value,), limit=10**6)

    assert line.endswith(BLOT)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("length", [40, 2_000, 30_000])
def test_secret_that_is_cut_off_is_not_shown(length: int) -> None:
    """Of a text that is longer than what is looked at nothing is shown that may be the half of a secret."""
    value = word() + "x" * length
    line = one_line((value + " ") * (200_000 // length), secrets=(value,), limit=10**6)

    assert set(line.split()) <= {BLOT, "*", "**"}


def test_what_is_no_secret_stays() -> None:
    """Other words stay as they are, also beside what looks like an encoding."""
    said = "permission denied for c2VjcmV0 and %41%42"

    assert one_line(said, secrets=("hvs.EXAMPLE", "424242", None, "")) == said
