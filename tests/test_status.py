"""``status`` as a picture on a terminal: a bar whose colour is the rule's verdict; and the watch of it."""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
import signal
import sys
import termios
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from vault_credential_process.cache.entry import Entry, Keepsake, Kept, TokenEntry
from vault_credential_process.cli.picture import WIDEST, Line, Picture, in_words
from vault_credential_process.expiry import refresh_margin
from vault_credential_process.models import AWSCredentials, VaultToken

from .conftest import Run, Tenant
from .screen import Screen
from .test_command import config_of, refusal

NOW = 1_800_000_000.0
ADDRESS = "https://vault.example.com:8200"
LEASE = "aws/creds/webapp/3QXq0x3fZzP1m4"
COMMAND = (sys.executable, "-m", "vault_credential_process")


def pair(left: float, life: float = 3600, kind: Any = "sts") -> AWSCredentials:
    """Return credentials with so many seconds left of their life."""
    return AWSCredentials("AKIAIOSFODNN7EXAMPLE", "secret", None, NOW - (life - left), NOW + left, kind, LEASE)


def entry(left: float, life: float = 3600, **fields: Any) -> Entry:
    """Return kept credentials with so many seconds left of their life."""
    known = {"profile": "webapp", "aws_path": "aws/creds/webapp", "vault_addr": ADDRESS}
    return Entry(pair(left, life), **{**known, **fields})


def token(left: float | None, life: float | None = 3600, **fields: Any) -> TokenEntry:
    """Return a kept token with so many seconds left of its life."""
    expiry = None if left is None else NOW + left
    made = VaultToken("hvs.secret", expiry, **{"renewable": True, **fields})
    return TokenEntry(made, None if left is None else life, "webapp", "auth/approle", ADDRESS)


def draw(*held: Kept, columns: int = 80, encoding: str = "utf-8") -> list[Line]:
    """Draw for a stream of this encoding."""
    return Picture(io.TextIOWrapper(io.BytesIO(), encoding)).draw(held, NOW, columns)


def plain(lines: list[Line]) -> list[str]:
    """Return the texts of lines."""
    return ["".join(text for _, text in line) for line in lines]


def bar(line: Line) -> tuple[str, str | None]:
    """Return the characters of the bar in a line, and the colour of what is full of it."""
    cells = "".join(text for colour, text in line if colour)[16:]
    return cells, next((colour for colour, _ in line[1:] if colour not in ("", "dim", "bold")), None)


class TestPicture:
    """What is drawn, by a clock that stands still."""

    @hypothesis.given(st.floats(60, 4_000_000), st.floats(0.001, 1))
    def test_colour_is_the_rules_verdict(self, life: float, part: float) -> None:
        """Green is what the rule hands out without asking, yellow what the next call refreshes."""
        left = life * part
        (colour,) = {colour for colour, _ in draw(entry(left, life))[1] if colour in ("green", "yellow", "red")} or {""}

        kept = pair(left, life)
        assert colour in ("", "green" if kept.seconds_left(NOW) >= refresh_margin(kept.life) else "yellow")

    @pytest.mark.parametrize(
        ("held", "colour", "words"),
        [
            (entry(3600), "green", "handed out as they are for 44m, then refreshed"),
            (entry(960), "green", "handed out as they are for 0s, then refreshed"),
            (entry(959), "yellow", "due for a refresh: the next call does it"),
            (entry(959, failure="Vault is sealed"), "red", "due for a refresh, which fails; valid all the same"),
            (entry(3000, failure="Vault is sealed"), "green", "handed out as they are"),
            (entry(3000, proven=False), "yellow", "AWS does not know the new IAM user yet"),
            (entry(0), None, "ended: the next call reads new ones"),
            (token(3000), "green", "service token of auth/approle"),
            (token(900), "yellow", "the next call that needs it renews it, or logs in"),
            (token(900, renewable=False), "yellow", "not renewable: the next call that needs one logs in"),
            (token(0), None, "ended: the next call that needs one logs in"),
            (token(3000, uses_left=3), "green", "serves 3 times"),
        ],
    )
    def test_what_becomes_of_it(self, held: Kept, colour: str | None, words: str) -> None:
        """Beside the colour there are words, for who sees none."""
        lines = draw(held)

        assert words in " ".join(" ".join(plain(lines)).split())
        assert colour is None or bar(lines[1])[1] == colour

    def test_full_and_empty(self) -> None:
        """The bar is full at the beginning, half full at half, and empty at the end; the mark stays where it is."""
        bars = [bar(draw(entry(left))[1])[0] for left in (3600, 1800, 1)]
        mark = bars[0].index("┃")

        assert bars[0] == "█" * mark + "┃" + "█" * (len(bars[0]) - mark - 1)
        assert [one.index("┃") for one in bars] == [mark] * 3
        assert mark == round(960 / 3600 * len(bars[0]))
        assert bars[1].count("█") + 1 == len(bars[0]) // 2
        assert bars[2].strip("░┃▏▎") == ""

    @hypothesis.given(st.floats(60, 4_000_000), st.floats(0, 1), st.floats(0, 1), st.integers(50, 200))
    def test_less_life_is_a_shorter_bar(self, life: float, first: float, second: float, columns: int) -> None:
        """Of two bars the one with less life left is never the fuller one."""
        cells = [
            sum(
                "▏▎▍▌▋▊▉█".find(cell) + 1
                for _, text in draw(entry(part * life, life), columns=columns)[1]
                for cell in text
            )
            for part in sorted((first, second))
        ]

        assert cells == sorted(cells)

    @pytest.mark.parametrize("columns", [40, 46, 60, 80, 100, 101, 300])
    def test_fits_the_terminal(self, columns: int) -> None:
        """No line is wider than the terminal, but where a word is; and none than is good to read."""
        lines = plain(draw(entry(2000, failure=f"{ADDRESS}: Vault is sealed", failed_at=NOW - 5), columns=columns)[1:])

        for line in lines:
            assert len(line) <= max(min(columns, WIDEST), 16 + max(map(len, line.split())))

    def test_narrow_terminal_has_no_bar(self) -> None:
        """Where there is no room for a bar its figures stand alone."""
        assert plain(draw(entry(1800), columns=40))[1].split() == ["credentials", "30m", "of", "1h"]

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
    def test_terminal_without_the_characters(self, encoding: str) -> None:
        """An encoding without blocks gets a bar of plain characters, as full as the other."""
        cells = bar(draw(entry(1800), encoding=encoding)[1])[0]

        assert set(cells) == set("#|.")
        assert abs(cells.count("#") - len(cells) / 2) <= 2
        assert all(line.isascii() for line in plain(draw(entry(100, failure="sealed"), token(5), encoding=encoding)))

    def test_whole_life_is_rounded_up(self) -> None:
        """A pair of ten minutes is one of ten minutes, though Vault took a moment to answer."""
        assert plain(draw(entry(599.2, life=599.98)))[1].endswith("9m 59s of 10m")

    def test_token_without_an_end(self) -> None:
        """A token that does not end, or of which nobody knows, has words in place of a bar."""
        assert "does not end" in plain(draw(token(None)))[1]
        assert "lives for nobody knows how long" in plain(draw(token(None, expiry_known=False)))[1]

    def test_last_failure(self) -> None:
        """The last failure stands below, with how long ago it was."""
        text = " ".join(plain(draw(entry(100, failure="Vault is sealed", failed_at=NOW - 75))))

        assert "last failure  1m 15s ago: Vault is sealed" in text

    def test_token_stands_with_its_profile(self) -> None:
        """What belongs to one profile at one server has one title; keepsakes are told, never shown."""
        kept = Keepsake("s3cret-id", "unwrapped Secret ID", None, "webapp", "auth/approle", ADDRESS)
        lines = plain(draw(entry(3000), token(3000), kept, entry(3000, profile="other")))

        assert [line.split()[0] for line in lines if line and not line.startswith(" ")] == ["webapp", "other"]
        assert "  kept          unwrapped Secret ID, does not end" in lines
        assert "s3cret-id" not in "".join(lines)

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            (-1, "0s"),
            (0.9, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m 59s"),
            (5400, "1h 30m"),
            (2_764_799, "31d 23h"),
        ],
    )
    def test_span(self, seconds: float, words: str) -> None:
        """A span is told in its two greatest units, rounded down: never longer than the truth."""
        assert in_words(seconds) == words


@pytest.fixture
def profile(tenant: Tenant, command: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Write a profile, and return what runs a command with it."""
    monkeypatch.setenv("AWS_CONFIG_FILE", config_of(tenant))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return lambda *words, **environ: command(*words, "--profile=webapp", **environ)


def kept_secrets() -> list[str]:
    """Return every secret in the host's cache."""
    base = pathlib.Path(os.environ["XDG_RUNTIME_DIR"]) / "vault-credential-process"
    kept = "".join(path.read_text() for path in base.glob("entry-*") if path.suffix != ".lock")
    return re.findall(r'"(?:access_key|secret_key|session_token|value)":\s*"([^"]+)"', kept)


class TestCommand:
    """The command, with what a real server gave."""

    def test_picture_on_a_terminal(self, profile: Callable[..., Any], tenant: Tenant) -> None:
        """Pair and token with a bar each, in colour; no secret, and no question to the server."""
        assert profile("get").returncode == 0
        with Screen(columns=90) as screen, screen.running(*COMMAND, "status", "--profile=webapp") as process:
            assert process.wait(30) == 0
            text = "\n".join(screen.lines)
            assert screen.lines[0] == f"webapp  aws/creds/{tenant.role} at {tenant.laboratory.server.address}"
            assert re.search(r"^  credentials   [█┃▏▎▍▌▋▊▉░]+  14m \d+s of 15m", text, re.MULTILINE)
            assert re.search(r"^  Vault token   [█┃▏▎▍▌▋▊▉░]+  ", text, re.MULTILINE)
            assert "\x1b[32m█" in screen.raw
            assert len(kept_secrets()) == 4
            assert [secret for secret in kept_secrets() if secret in screen.raw] == []

    def test_terminal_without_colours(self, profile: Callable[..., Any]) -> None:
        """``NO_COLOR`` leaves the bar and takes the colour."""
        assert profile("get").returncode == 0
        command = (*COMMAND, "status", "--profile=webapp")
        with Screen() as screen, screen.running(*command, environ={"NO_COLOR": "1"}) as process:
            assert process.wait(30) == 0
            assert "█" in screen.raw
            assert "\x1b" not in screen.raw

    def test_nothing_is_held(self, profile: Callable[..., Any]) -> None:
        """Where nothing is held the terminal says so of the profile, and below that in which cache, in its width."""
        words = (*COMMAND, "status", "--profile=webapp")
        with Screen(columns=60) as screen, screen.running(*words, environ={"COLUMNS": "60"}) as process:
            assert process.wait(30) == 0
            assert screen.lines[0] == "webapp  nothing is held"
            assert screen.lines[1].strip().startswith("aws/creds/")
            assert "runtime cache: " in "".join(screen.lines)
            assert max(map(len, screen.lines)) <= 60

    def test_all_profiles(self, profile: Callable[..., Any], command: Run) -> None:
        """Without a profile, and with ``--all``, everything is shown; as JSON it is what ``cache list`` tells."""
        assert command("status").stdout.startswith("nothing is held (runtime cache: ")
        assert profile("get").returncode == 0
        lines = command("status").stdout.splitlines()

        assert [line.partition(":")[0] for line in lines] == ["webapp", "webapp"]
        assert ["Vault token of auth/approle" in line for line in lines] == [False, True]
        assert profile("status", "--all").stdout.splitlines()[1] == lines[1]
        rows = [json.loads(command(*words, "--json").stdout) for words in (("status",), ("cache", "list"))]
        assert [row | {"seconds_left": 0} for row in rows[0]] == [row | {"seconds_left": 0} for row in rows[1]]

    def test_default_profile_without_a_role(self, command: Run, clean_environment: pathlib.Path) -> None:
        """A ``[default]`` that has nothing to do with Vault does not stand in the way of seeing everything."""
        path = clean_environment / "config"
        path.write_text("[default]\nregion = eu-central-1\n")

        assert command("status", AWS_CONFIG_FILE=str(path)).stdout.startswith("nothing is held (")
        refusal(command("status", "--profile=default", AWS_CONFIG_FILE=str(path)), 2)


class TestWatch:
    """``status --watch``."""

    def test_draws_anew_and_leaves_the_screen_as_it_was(self, profile: Callable[..., Any]) -> None:
        """What another process fetches shows up; Ctrl-C is its end, with code 0, and the screen is as before."""
        with Screen(columns=90) as screen:
            screen.stream.write("what was there\n")
            with screen.running(*COMMAND, "status", "--profile=webapp", "--watch=0.2") as process:
                screen.sees("webapp  nothing is held")
                assert not screen.has_cursor
                assert profile("get").returncode == 0
                screen.sees("credentials   ████")
                count = re.findall(r"\d+m \d+s of", "".join(screen.lines))
                screen.wait(lambda: re.findall(r"\d+m \d+s of", "".join(screen.lines)) != count, "a second less")
                assert "nothing is held" not in "".join(screen.lines)
                screen.presses(termios.VINTR)
                assert process.wait(30) == 0
            assert screen.lines in (["what was there"], ["what was there", "^C"])
            assert screen.has_cursor

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_signal(self, profile: Callable[..., Any], number: signal.Signals) -> None:
        """A signal does what it does without us, and the screen is as before."""
        with Screen() as screen, screen.running(*COMMAND, "status", "--profile=webapp", "--watch") as process:
            screen.sees("nothing is held")
            process.send_signal(number)
            assert process.wait(30) == -number
            assert (screen.lines, screen.has_cursor) == ([], True)

    def test_size_of_the_terminal(self, profile: Callable[..., Any]) -> None:
        """Another size of the terminal is filled at once, and a small one never overrun."""
        assert profile("get").returncode == 0
        with Screen(columns=60) as screen, screen.running(*COMMAND, "status", "--profile=webapp", "--watch=60"):
            screen.sees("credentials")
            screen.resize(100)
            screen.wait(lambda: any(len(line) > 60 for line in screen.lines), "a wider picture")
            screen.resize(30, 4)
            screen.wait(lambda: len(screen.lines) == 3, "three lines")
            assert max(map(len, screen.lines)) <= 30

    def test_trouble_is_told_in_its_place(self, profile: Callable[..., Any], tenant: Tenant) -> None:
        """What cannot be looked at any more is told below the last picture, which goes on counting."""
        assert profile("get").returncode == 0
        secret = pathlib.Path(tenant.approle["secret_id_file"])
        with Screen(columns=100) as screen, screen.running(*COMMAND, "status", "--profile=webapp", "--watch=0.2"):
            screen.sees("credentials   ██")
            secret.rename(secret.with_name("away"))
            try:
                screen.sees("vault_secret_id_file: ")
                assert "credentials   ██" in "\n".join(screen.lines)
            finally:
                secret.with_name("away").rename(secret)
            screen.wait(lambda: "vault_secret_id_file: " not in "\n".join(screen.lines), "the end of the trouble")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--watch",), "status --watch: draws on a terminal alone"),
            (("--watch", "--json"), "status --watch: draws on a terminal alone"),
            (("--watch=0",), "--watch: 0 s is too often"),
            (("--watch=soon",), "--watch: not a duration"),
        ],
    )
    def test_refused(self, profile: Callable[..., Any], words: tuple[str, ...], said: str) -> None:
        """Without a terminal, or with a value that is none, there is one line and code 2."""
        assert said in refusal(profile("status", *words), 2)
