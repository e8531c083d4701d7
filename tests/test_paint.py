"""Colour: on a terminal that has it and wants it, nowhere else."""

from __future__ import annotations

import io
import os

import pytest

from vault_credential_process.cli.paint import Paint

from .screen import Screen

COLOURS = ("bold", "dim", "red", "green", "yellow", "cyan")


@pytest.fixture(autouse=True)
def colourful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the terminal have colours."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.parametrize("colour", COLOURS)
def test_terminal_has_colours(colour: str) -> None:
    """On a terminal text is wrapped in one sequence and the one that ends it; no text stays no text."""
    with Screen() as screen:
        paint = getattr(Paint(screen.stream), colour)

        assert paint("text").startswith("\x1b[")
        assert paint("text").endswith("mtext\x1b[0m")
        assert paint("") == ""


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("NO_COLOR", "0"), ("TERM", "dumb")])
def test_nobody_wants_colours(monkeypatch: pytest.MonkeyPatch, colour: str, name: str, value: str) -> None:
    """``NO_COLOR`` set to anything, or a terminal without colours, leaves text as it is."""
    monkeypatch.setenv(name, value)
    with Screen() as screen:
        assert getattr(Paint(screen.stream), colour)("text") == "text"


def test_empty_no_color_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """``NO_COLOR`` counts when it is not empty, as https://no-color.org has it."""
    monkeypatch.setenv("NO_COLOR", "")
    with Screen() as screen:
        assert Paint(screen.stream).on


def test_no_terminal() -> None:
    """A pipe, a stream in memory, a closed one and none at all have no colours."""
    reading, writing = os.pipe()
    with open(reading), open(writing, "w") as pipe:
        assert not Paint(pipe).on
    assert not Paint(pipe).on
    assert not Paint(io.StringIO()).on
    assert not Paint(None).on
