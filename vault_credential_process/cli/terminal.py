"""The person at the terminal: asked over ``/dev/tty`` without an echo, told on stderr, and sent to a browser.

stdin and stdout are left alone: they belong to whoever started the command.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator, Mapping

from vault_credential_process.cli.signals import undone
from vault_credential_process.cli.spinner import Spinner
from vault_credential_process.errors import ConfigurationError, DeadlineError
from vault_credential_process.expiry import Deadline
from vault_credential_process.timed import in_time

LONGEST_LINE = 1023 if sys.platform == "darwin" else 4094
"""Bytes of the longest line that surely is whole: the system cuts a longer one off without a word (``MAX_CANON``)."""

START = 5.0
"""Seconds after which a browser that was started and has not failed counts as opened."""

GLANCE = 0.5
"""Seconds after which a signal is seen that came just before the wait for the answer, which it does not end."""

_OPEN = """
import os, sys, webbrowser
browser = webbrowser.get()
name = os.path.basename(browser.name)
sys.exit(name in {"www-browser", "links", "links2", "elinks", "lynx", "w3m"} or not browser.open(input()))
"""
"""Opens the address on stdin, in a process without a terminal and our streams; never in a browser that wants them."""


class Terminal:
    """Somebody at the terminal, who has as long as the call has; a :class:`~vault_credential_process.models.Person`."""

    def __init__(self, deadline: Deadline, *, browser: bool = True, spinner: Spinner | None = None) -> None:
        """Look for nothing yet; without ``browser`` none is opened. What is asked and told interrupts ``spinner``."""
        self._deadline = deadline
        self._browser = browser
        self._spinner = spinner or Spinner(None, "")

    def ask(self, question: str) -> str:
        """Return what is typed after the question, without an echo.

        :raises ConfigurationError: when there is no terminal, or no line of text is typed.
        :raises DeadlineError: when nobody answers in time.
        """
        with self._spinner.paused():
            typed = _ask(question, self._deadline)
        if len(typed) > LONGEST_LINE:
            raise ConfigurationError(
                f"the terminal: a line of more than {LONGEST_LINE} bytes may have been cut off; hand it in by a file "
                "or a pipe"
            )
        try:
            answer = typed.decode()
        except UnicodeDecodeError:
            raise ConfigurationError("the terminal: what was typed is not text in UTF-8; check the locale") from None
        if not answer:
            raise ConfigurationError("the terminal: nothing was typed; run the command again")
        return answer

    def tell(self, line: str) -> None:
        """Write a line to stderr, if there is one to write to."""
        with self._spinner.aside(), contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def browse(self, address: str) -> bool:
        """Open an address in a browser with a window; tell whether there is one."""
        if not (self._browser and _is_web(address) and has_display(os.environ, sys.platform)):
            return False
        try:
            started = subprocess.Popen(
                [sys.executable, "-I", "-c", _OPEN],
                env=without_secrets(os.environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            if started.stdin is not None:
                with started.stdin as pipe:
                    pipe.write(address.encode() + b"\n")
        except OSError:
            return False
        codes, _ = in_time(started.wait, START, "browser")
        return not any(codes)


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a browser is told of the environment: nothing that is meant for Vault, for it outlives the login."""
    return {name: value for name, value in environ.items() if not name.startswith(("VAULT_", "BAO_"))}


def _is_web(address: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def has_display(environ: Mapping[str, str], platform: str) -> bool:
    """Tell whether a window can be opened where the person is; ``BROWSER`` says so, for one."""
    if environ.get("BROWSER"):
        return True
    if platform in ("darwin", "win32", "cygwin"):
        return not environ.get("SSH_CONNECTION")
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


try:
    import select
    import termios
except ImportError:  # Windows

    def _ask(question: str, deadline: Deadline) -> bytes:
        import getpass
        import warnings

        del deadline
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            try:
                return getpass.getpass(question).encode()
            except (getpass.GetPassWarning, EOFError, OSError):
                raise _no_terminal() from None

else:

    def _ask(question: str, deadline: Deadline) -> bytes:
        try:
            terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            raise _no_terminal() from None
        try:
            with _without_echo(terminal, question):
                return _line(terminal, deadline)
        except (OSError, termios.error):
            raise _no_terminal() from None
        finally:
            os.close(terminal)

    @contextlib.contextmanager
    def _without_echo(terminal: int, question: str) -> Iterator[None]:
        """Show a question and keep the answer from being shown; whatever ends or stops us puts the echo back first."""
        before = termios.tcgetattr(terminal)
        silent = [*before]
        silent[3] &= ~termios.ECHO

        def begin() -> None:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
            os.write(terminal, question.encode())

        def end() -> None:
            # What was typed besides is thrown away: it is not for the shell either.
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
            os.write(terminal, b"\n")

        with undone(begin, end):
            yield

    def _line(terminal: int, deadline: Deadline) -> bytes:
        typed = b""
        while not typed.endswith(b"\n"):
            try:
                left = deadline.remaining("an answer")
            except DeadlineError:
                raise DeadlineError(
                    f"gave up after {deadline.seconds:g} s: nobody answered at the terminal; run the command again"
                ) from None
            if select.select([terminal], [], [], min(left, GLANCE))[0]:
                piece = os.read(terminal, 65536)
                if not piece:
                    break
                typed += piece
        if select.select([terminal], [], [], 0)[0] and typed:
            raise ConfigurationError("the terminal: more than one line was typed; hand it in by a file or a pipe")
        return typed.rstrip(b"\r\n")


def _no_terminal() -> ConfigurationError:
    return ConfigurationError(
        "no terminal to ask on; run the command in one, or name a file, a keyring entry or a command that holds the "
        "answer"
    )
