"""Questions on the terminal whose answers may be seen; secrets are asked for by :mod:`~.cli.terminal`.

Everything is asked and shown on the terminal itself: stdout belongs to whoever started the command.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO, TextIO

from vault_credential_process.cli.paint import Paint
from vault_credential_process.errors import ConfigurationError, DeadlineError, one_line

PATIENCE = 600.0
"""Seconds that a person has for one answer."""

GLANCE = 0.5
"""Seconds after which a signal is seen that came just before the wait for the answer."""

MOST_SHOWN = 40
"""Choices that are listed; of more, the names are typed."""


class AskAgainError(ValueError):
    """What is wrong with an answer, which is asked for once more."""


class Asker:
    """Somebody who answers. Use it as a context manager."""

    def __init__(self, questions: TextIO, answers: IO[bytes]) -> None:
        """Take the two ends of a terminal."""
        self._questions, self._answers = questions, answers
        self.paint = Paint(questions)

    @classmethod
    def at_terminal(cls) -> Asker | None:
        """Return who sits at the terminal; ``None`` where stdin is not one: a script, or a job."""
        try:
            if sys.stdin is None or not sys.stdin.isatty():
                return None
            names = ("CONOUT$", "CONIN$") if sys.platform == "win32" else ("/dev/tty", "/dev/tty")
            questions = open(names[0], "w", encoding="utf-8", errors="replace")  # noqa: SIM115
            return cls(questions, open(names[1], "rb", buffering=0))
        except (OSError, ValueError):
            return None

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self._questions.close()
        self._answers.close()

    def show(self, text: str) -> None:
        """Show some lines."""
        self._questions.write(text + "\n")
        self._questions.flush()

    def ask(self, question: str, default: str = "", *, check: Callable[[str], object] | None = None) -> str:
        """Return the answer to a question, the default where it is empty; asked again while ``check`` raises.

        An answer of one ``-`` means none.

        :raises ConfigurationError: when nobody answers any more.
        """
        shown = f" [{one_line(default, limit=200)}]" if default else ""
        while True:
            self._questions.write(f"{self.paint.bold(question)}{self.paint.dim(shown)}: ")
            self._questions.flush()
            try:
                answer = self._line() or default
            except KeyboardInterrupt:
                self.show("")  # what comes next would stand behind the question
                raise
            answer = "" if answer == "-" else answer
            try:
                if check is not None:
                    check(answer)
            except ValueError as error:
                self.show(self.paint.red(f"  {error}"))
                continue
            return answer

    def confirm(self, question: str, *, default: bool) -> bool:
        """Return whether a question is answered with yes."""

        def check(answer: str) -> None:
            if answer.lower() not in ("y", "yes", "n", "no"):
                raise AskAgainError("write y or n")

        return self.ask(f"{question} (y/n)", "y" if default else "n", check=check).lower().startswith("y")

    def choose(
        self, question: str, choices: Sequence[tuple[str, str]], default: str = "", *, others: bool = False
    ) -> str:
        """Return one of several values, each with what is said of it; its number is typed, or the value itself.

        With ``others`` any other value may be typed, too.
        """
        values = [value for value, _ in choices]
        width = max(map(len, values), default=0)
        for number, (value, told) in enumerate(choices[:MOST_SHOWN], 1):
            self.show(f"  {number:>2}  {value:<{width}}  {self.paint.dim(told)}".rstrip())
        if len(choices) > MOST_SHOWN:
            self.show(f"  and {len(choices) - MOST_SHOWN} more, which can be typed by name")

        def chosen(answer: str) -> str:
            if answer in values or (others and answer and not answer.isdigit()):
                return answer
            if answer.isascii() and answer.isdigit() and 0 < int(answer) <= len(values):
                return values[int(answer) - 1]
            raise AskAgainError(f"write a number from 1 to {len(values)}, or a name of the list")

        return chosen(self.ask(question, default, check=chosen))

    def _line(self) -> str:
        limit = time.monotonic() + PATIENCE
        typed = b""
        while not typed.endswith(b"\n"):
            if sys.platform != "win32":
                left = limit - time.monotonic()
                if left <= 0:
                    raise DeadlineError(
                        f"gave up after {PATIENCE:g} s: nobody answered at the terminal; run the command again"
                    )
                if not select.select([self._answers], [], [], min(left, GLANCE))[0]:
                    continue
            try:
                piece = os.read(self._answers.fileno(), 65536)
            except OSError:
                piece = b""
            if not piece:
                self.show("")
                raise ConfigurationError("the terminal: nobody answers any more; nothing was written")
            typed += piece
        return typed.decode("utf-8", "replace").strip()
