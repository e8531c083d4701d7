"""The sign of life: on a terminal while somebody waits, gone afterwards whatever ends the wait, and nowhere else."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pathlib
import signal
import socket
import sys
import threading
import time

import pytest

from vault_credential_process.cli import spinner
from vault_credential_process.cli.spinner import Spinner
from vault_credential_process.testing.scripted import Request, ScriptedServer

from .conftest import Run
from .screen import Screen
from .talk import LOGGED_IN, LOGIN

TEXT = "waiting for Vault"
WAITS = """
import sys, time
from vault_credential_process.cli.spinner import Spinner
with Spinner(sys.stderr, "waiting for Vault"):
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def colourful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the terminal have colours."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def threads() -> list[str]:
    """Return the names of the threads that spin."""
    return [thread.name for thread in threading.enumerate() if thread.name == "spinner"]


def test_shown_and_cleared() -> None:
    """While the block runs the text stands there behind a picture that moves; afterwards nothing does, nor a thread."""
    with Screen() as screen:
        with Spinner(screen.stream, TEXT, after=0):
            screen.sees(TEXT)
            first = screen.lines[0][0]
            screen.wait(lambda: screen.lines[0][0] != first)
            assert threads() == ["spinner"]
        assert (screen.lines, threads()) == ([], [])
        assert "\x1b" not in screen.raw


def test_short_wait_shows_nothing() -> None:
    """Who waits for less than the first moments sees nothing at all."""
    with Screen() as screen:
        with Spinner(screen.stream, TEXT, after=60):
            pass
        assert (screen.lines, screen.raw, threads()) == ([], "", [])
    assert 0.2 <= spinner.AFTER <= 0.5


def test_seconds_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some seconds they are told beside the text."""
    monkeypatch.setattr(spinner, "COUNTED", 0)
    with Screen() as screen, Spinner(screen.stream, TEXT, after=0):
        screen.sees(f"{TEXT}, 0 s")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_error_clears_it(error: type[BaseException]) -> None:
    """Whatever ends the block, the line is clear."""
    with Screen() as screen:
        with contextlib.suppress(error), Spinner(screen.stream, TEXT, after=0):
            screen.sees(TEXT)
            raise error
        assert (screen.lines, threads()) == ([], [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_signal_clears_it(number: signal.Signals) -> None:
    """A signal does what it does without us, and the line is clear."""
    with Screen() as screen, screen.running(sys.executable, "-c", WAITS) as process:
        screen.sees(TEXT)
        process.send_signal(number)
        assert process.wait(30) == -number
        assert TEXT not in "".join(screen.lines), screen.raw


def test_handlers_are_put_back() -> None:
    """What signals did before they do afterwards, and during a question."""
    before = signal.getsignal(signal.SIGTERM)
    with Screen() as screen:
        with Spinner(screen.stream, TEXT, after=0) as spinning:
            assert signal.getsignal(signal.SIGTERM) != before
            with spinning.paused():
                assert signal.getsignal(signal.SIGTERM) == before
        assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_terminal_without_colours(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """One line that stays, once, where nothing shall move."""
    monkeypatch.setenv(name, value)
    with Screen() as screen:
        with Spinner(screen.stream, TEXT, after=0) as spinning:
            screen.sees(f"{TEXT} ...")
            with spinning.paused():
                pass
            time.sleep(3 * spinner.PERIOD)
        assert screen.lines == [f"{TEXT} ..."]
        assert threads() == []


def test_no_terminal() -> None:
    """A pipe, a stream in memory and none at all get nothing, and no thread is begun."""
    reading, writing = os.pipe()
    with open(reading) as there, open(writing, "w") as pipe:
        for stream in (pipe, io.StringIO(), None):
            with Spinner(stream, TEXT, after=0) as spinning, spinning.aside(), spinning.paused():
                assert threads() == []
        pipe.close()
        assert there.read() == ""


def test_log_goes_there() -> None:
    """Where log lines go to the terminal (``-v``) they are the sign of life."""
    logger = logging.getLogger("vault_credential_process")
    with Screen() as screen:
        handler = logging.StreamHandler(screen.stream)
        logger.addHandler(handler)
        try:
            with Spinner(screen.stream, TEXT, after=0):
                assert threads() == []
        finally:
            logger.removeHandler(handler)
        assert screen.lines == []


def test_background_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the background of its shell nothing is drawn over what is in front."""
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp() + 1)
    with Screen() as screen, Spinner(screen.stream, TEXT, after=0):
        time.sleep(3 * spinner.PERIOD)
        assert screen.lines == []


def test_terminal_without_the_characters() -> None:
    """An encoding that lacks the round pictures gets plain ones."""
    with Screen(encoding="latin-1") as screen, Spinner(screen.stream, TEXT, after=0):
        screen.sees(TEXT)
        assert screen.lines[0][0] in "|/-\\"


def test_narrow_terminal() -> None:
    """What does not fit is cut off, so that the line never goes on in the next row, also after a change of size."""
    with Screen(columns=12) as screen, Spinner(screen.stream, TEXT, after=0):
        screen.sees(TEXT[:9])
        assert len(screen.lines[0]) == 11
        screen.resize(40)
        screen.sees(TEXT)
        screen.resize(6)
        screen.wait(lambda: len(screen.lines[0]) == 5)


def test_something_else_is_written() -> None:
    """What is told meanwhile stands on a line of its own, from whatever thread, and the picture goes on below."""
    with Screen() as screen:
        with Spinner(screen.stream, TEXT, after=0) as spinning:
            screen.sees(TEXT)

            def tell() -> None:
                with spinning.aside():
                    screen.stream.write("tap the number 42\n")

            teller = threading.Thread(target=tell)
            teller.start()
            teller.join()
            screen.wait(lambda: len(screen.lines) == 2)
            assert screen.lines[0] == "tap the number 42"
            assert TEXT in screen.lines[1]
        assert screen.lines == ["tap the number 42"]


def test_question_is_asked() -> None:
    """While a question stands there it rests, and goes on afterwards."""
    with Screen() as screen, Spinner(screen.stream, TEXT, after=0) as spinning:
        screen.sees(TEXT)
        with spinning.paused():
            assert (screen.lines, threads()) == ([], [])
        screen.sees(TEXT)


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no thread left the wait goes on without an ornament."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Screen() as screen:
        with Spinner(screen.stream, TEXT, after=0):
            pass
        assert screen.lines == []


def test_login_shows_it(scripted: ScriptedServer, tmp_path: pathlib.Path) -> None:
    """Who logs in at a slow server sees for whom it waits; the line is gone when it is told who that is."""
    may_answer = threading.Event()

    def answer(connection: socket.socket, _: Request) -> None:
        may_answer.wait(30)
        connection.sendall(LOGGED_IN)

    scripted.on("POST", LOGIN, answer)
    secret = tmp_path / "secret-id"
    secret.write_text("secret")
    secret.chmod(0o600)
    environ = {"VAULT_ADDR": scripted.address, "VAULT_ROLE_ID": "role", "VAULT_SECRET_ID_FILE": str(secret)}
    command = (sys.executable, "-m", "vault_credential_process", "login")
    with Screen(columns=200) as screen, screen.running(*command, environ=environ) as process:
        screen.sees(f"logging in to {scripted.address}")
        may_answer.set()
        assert process.wait(30) == 0
        assert len(screen.lines) == 1
        assert screen.lines[0].startswith(f"logged in to {scripted.address}")


def test_get_does_not_know_it(run: Run, scripted: ScriptedServer) -> None:
    """``get`` is for programs: it does not so much as import the module, whether it succeeds or not."""
    code = (
        "import sys\nfrom vault_credential_process import cli\ncli.main(['get'])\n"
        "print([name for name in sys.modules if name.startswith('vault_credential_process.cli.')])"
    )
    done = run(sys.executable, "-c", code, VAULT_ADDR=scripted.address, VAULT_AWS_ROLE="webapp", VAULT_TOKEN="hvs.x")

    assert "vault_credential_process.cli.get" in done.stdout
    assert "vault_credential_process.cli.spinner" not in done.stdout


def test_last_word_of_the_watchdog() -> None:
    """Where a wait that knows no time-out ends the process from outside, its line stands alone."""
    code = (
        "import sys, time\n"
        "from vault_credential_process.cli.get import Watchdog\n"
        "from vault_credential_process.cli.spinner import Spinner\n"
        "spinner = Spinner(sys.stderr, 'waiting for Vault', after=0)\n"
        "with Watchdog(spinner.end) as watchdog, spinner:\n    watchdog.set(-0.5)\n    time.sleep(60)\n"
    )
    with Screen(columns=200) as screen, screen.running(sys.executable, "-c", code) as process:
        screen.sees(TEXT)
        assert process.wait(30) == 7
        assert len(screen.lines) == 1
        assert screen.lines[0].startswith("vault-credential-process: gave up after -0.5 s; check DNS")
