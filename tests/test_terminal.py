"""The person at the terminal: asked without an echo, on a real pseudo-terminal, and sent to a browser with a window."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import termios

import pytest

from vault_credential_process.cli import terminal
from vault_credential_process.cli.terminal import Terminal, has_display
from vault_credential_process.expiry import Deadline

from .conftest import Run
from .typist import Typist

SECRET = "correct horse"
ASK = """
import sys
from vault_credential_process.cli.terminal import Terminal
from vault_credential_process.errors import VaultCredentialError
from vault_credential_process.expiry import Deadline
try:
    print(repr(Terminal(Deadline(float(sys.argv[1]))).ask("Secret: ")))
except VaultCredentialError as error:
    print(error.exit_code, error)
except KeyboardInterrupt:
    print("interrupted")
print(repr(None if sys.stdin.isatty() else sys.stdin.read()))
"""
SHELL = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ, setpgroup=0)
os.tcsetpgrp(0, child)
assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
os.tcsetpgrp(0, os.getpgrp())
print("stopped", file=open("/dev/tty", "w"), flush=True)
input()
os.tcsetpgrp(0, child)
os.killpg(child, signal.SIGCONT)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""As much of a shell as stops and goes on with a program in the foreground."""


def asking(seconds: float = 30, piped: bytes | None = None, program: tuple[str, ...] = ()) -> Typist:
    """Return somebody at whose terminal a secret is asked for."""
    return Typist(sys.executable, *program, "-c", ASK, str(seconds), piped=piped)


def test_answer_is_not_shown() -> None:
    """The terminal shows the question and a new line, never the answer, and echoes again afterwards."""
    with asking() as typist:
        typist.sees("Secret: ")
        assert not typist.echoes
        typist.types(SECRET)
        done = typist.ends()

        assert (done.returncode, done.stdout.splitlines()[0], done.stderr) == (0, repr(SECRET), "")
        assert typist.shown == "Secret: \r\n"
        assert typist.echoes


def test_stdin_is_left_alone() -> None:
    """What comes through a pipe is not taken for the answer, and is there for whoever wants it."""
    with asking(piped=b"of somebody else") as typist:
        typist.answers("Secret: ", SECRET)

        assert typist.ends().stdout == f"{SECRET!r}\n'of somebody else'\n"


@pytest.mark.parametrize("answer", ["  spaces around  ", "pässwörd", "tab\tinside", "\x1b[A"])
def test_answer_is_taken_as_it_is(answer: str) -> None:
    """Whatever stands in one line is the answer, spaces included."""
    with asking() as typist:
        typist.answers("Secret: ", answer)

        assert typist.ends().stdout.splitlines()[0] == repr(answer)


def test_typing_can_be_corrected() -> None:
    """The terminal's own editing works: the last character is taken back."""
    with asking() as typist:
        typist.sees("Secret: ")
        typist.types("correct horsy", end="")
        typist.presses(termios.VERASE)
        typist.types("e")

        assert typist.ends().stdout.splitlines()[0] == repr(SECRET)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("\n", "2 the terminal: nothing was typed; run the command again"),
        ("\x04", "2 the terminal: nothing was typed; run the command again"),
        ("hunter2\nhunter3\n", "2 the terminal: more than one line was typed; hand it in by a file or a pipe"),
        ("h" * 4095 + "\n", "2 the terminal: a line of more than 4094 bytes may have been cut off; hand it in by a"),
        ("h" * 5000 + "\n", "2 the terminal: a line of more than 4094 bytes may have been cut off; hand it in by a"),
    ],
    ids=["empty line", "end of file", "two lines", "at the limit", "cut off"],
)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the longest line is the system's")
def test_no_whole_line_is_an_error(typed: str, message: str) -> None:
    """Nothing, more than one line, and a line that the system may have cut: one line each, without what was typed."""
    with asking() as typist:
        typist.sees("Secret: ")
        typist.types(typed, end="")
        said = typist.ends().stdout

        assert said.startswith(message)
        assert "hunter" not in said + typist.shown


def test_longest_line_is_whole() -> None:
    """A line of the longest length that counts as whole is whole."""
    with asking() as typist:
        typist.answers("Secret: ", "h" * terminal.LONGEST_LINE)

        assert typist.ends().stdout.splitlines()[0] == repr("h" * terminal.LONGEST_LINE)


def test_answer_that_is_no_text() -> None:
    """Bytes that are not UTF-8 are refused and not repeated."""
    with asking() as typist:
        typist.sees("Secret: ")
        os.write(typist.terminal, b"p\xe4ss\n")

        assert typist.ends().stdout.startswith("2 the terminal: what was typed is not text in UTF-8")


def test_nobody_answers() -> None:
    """Nobody is waited for longer than the call may take, and the terminal echoes again."""
    with asking(seconds=0.3) as typist:
        typist.sees("Secret: ")
        done = typist.ends()

        assert done.stdout.startswith("7 gave up after 0.3 s: nobody answered at the terminal; run the command again")
        assert typist.echoes


def test_interrupted() -> None:
    """Ctrl-C ends the question, and the terminal echoes again."""
    with asking() as typist:
        typist.sees("Secret: ")
        typist.types("half a pass", end="")
        typist.presses(termios.VINTR)

        assert typist.ends().stdout.splitlines()[0] == "interrupted"
        assert typist.echoes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_ended_by_a_signal(number: signal.Signals) -> None:
    """A program that is ended while it asks leaves a terminal behind that echoes, and dies of that signal."""
    with asking() as typist:
        typist.sees("Secret: ")
        assert not typist.echoes
        typist.process.send_signal(number)

        assert typist.ends().returncode == -number
        assert typist.echoes


def test_stopped_and_gone_on_with() -> None:
    """Ctrl-Z gives the terminal back with its echo; in the foreground again it asks anew, without one."""
    with asking(program=("-c", SHELL)) as typist:
        typist.sees("Secret: ")
        typist.presses(termios.VSUSP)
        typist.sees("stopped")
        assert typist.echoes
        typist.types("fg")
        typist.sees("Secret: ")
        assert not typist.echoes
        typist.types(SECRET)

        assert typist.ends().stdout.splitlines()[0] == repr(SECRET)
        assert SECRET not in typist.shown


def test_no_terminal() -> None:
    """Without a terminal nobody can be asked, which is told at once."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, "30"],
        input="a pipe is no person",
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
        timeout=30,
    )

    assert done.stdout.startswith("2 no terminal to ask on; run the command in one, or name a file, a keyring entry or")


def test_told_on_stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for the person goes to stderr, if there is one: stdout is for the result."""
    Terminal(Deadline(1)).tell("https://vault.example.com")
    assert tuple(capsys.readouterr()) == ("", "https://vault.example.com\n")

    monkeypatch.setattr(sys, "stderr", None)
    Terminal(Deadline(1)).tell("https://vault.example.com")


ADDRESS = "https://vault.example.com/authorize?state=st_1&nonce=n"


def browser(directory: pathlib.Path, name: str = "browser", then: str = "true") -> str:
    """Make a browser that notes where it is sent, writes wherever it can, and returns its path."""
    path = directory / name
    path.write_text(
        f'#!/bin/sh\necho "$1" >> {directory}/visited\necho noise; echo noise >&2\n'
        f"(echo noise > /dev/tty) 2> /dev/null\ncat > {directory}/stdin\n{then}\n"
    )
    path.chmod(0o755)
    return str(path)


def visited(directory: pathlib.Path) -> list[str]:
    """Return where the browser was sent."""
    path = directory / "visited"
    return path.read_text().splitlines() if path.exists() else []


BROWSE = """
import sys
from vault_credential_process.cli.terminal import Terminal
from vault_credential_process.expiry import Deadline
sys.exit(not Terminal(Deadline(30)).browse(sys.argv[1]))
"""


def test_browser_is_silent(tmp_path: pathlib.Path) -> None:
    """The browser that ``BROWSER`` names gets the address, and neither our streams nor the terminal."""
    environ = {"BROWSER": browser(tmp_path)}
    with Typist(sys.executable, "-c", BROWSE, ADDRESS, environ=environ, piped=b"ours") as typist:
        done = typist.ends()

        assert (done.returncode, done.stdout, done.stderr, typist.shown) == (0, "", "", "")
    assert visited(tmp_path) == [ADDRESS]
    assert (tmp_path / "stdin").read_text() == ""


@pytest.mark.parametrize("name", ["lynx", "w3m", "links", "elinks", "www-browser"])
def test_browser_without_a_window_is_not_run(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A browser that would take the terminal is none."""
    monkeypatch.setenv("BROWSER", browser(tmp_path, name))

    assert Terminal(Deadline(30)).browse(ADDRESS) is False
    assert visited(tmp_path) == []


def test_browser_that_fails(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that fails, or is not there, is none."""
    monkeypatch.setenv("BROWSER", browser(tmp_path, then="exit 1"))
    assert Terminal(Deadline(30)).browse(ADDRESS) is False
    monkeypatch.setenv("BROWSER", str(tmp_path / "no-browser"))
    assert Terminal(Deadline(30)).browse(ADDRESS) is False

    assert visited(tmp_path) == [ADDRESS]


def test_browser_that_stays_open(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits until the window is closed again."""
    monkeypatch.setenv("BROWSER", browser(tmp_path, then="while [ -e $0 ]; do sleep 0.1; done"))
    monkeypatch.setattr(terminal, "START", 1.0)

    assert Terminal(Deadline(30)).browse(ADDRESS) is True
    assert visited(tmp_path) == [ADDRESS]
    (tmp_path / "browser").unlink()


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "javascript:alert(1)", "-new-window", "", "https:", "http://["]
)
def test_only_the_web_is_browsed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """An address that Vault should not have given leads nowhere."""
    monkeypatch.setenv("BROWSER", browser(tmp_path))

    assert Terminal(Deadline(30)).browse(address) is False
    assert visited(tmp_path) == []


def test_no_browser_is_wanted(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody said so, none is opened."""
    monkeypatch.setenv("BROWSER", browser(tmp_path))

    assert Terminal(Deadline(30), browser=False).browse(ADDRESS) is False
    assert visited(tmp_path) == []


@pytest.mark.parametrize(
    ("platform", "environ", "there"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"SSH_CONNECTION": "1 2 3 4", "DISPLAY": "localhost:10.0"}, True),
        ("linux", {"SSH_CONNECTION": "1 2 3 4", "BROWSER": "/opt/editor/browser.sh"}, True),
        ("linux", {"BROWSER": ""}, False),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "1 2 3 4"}, False),
        ("win32", {}, True),
        ("win32", {"SSH_CONNECTION": "1 2 3 4"}, False),
    ],
)
def test_display(platform: str, environ: dict[str, str], there: bool) -> None:
    """A window opens where there is a display, or where ``BROWSER`` names what opens one."""
    assert has_display(environ, platform) is there


def test_nothing_is_run_without_a_display(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a display there is no browser, whatever is installed."""
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)

    done = run(sys.executable, "-c", BROWSE, ADDRESS)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
