"""``doctor``: walks the whole way from the profile to AWS, and says at each step what it found and what to do."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

from vault_credential_process.cli import installed, parser
from vault_credential_process.cli.paint import Paint, can_show, is_terminal
from vault_credential_process.doctor import Case, Finding, examine
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.parsers import join_command

JSON_VERSION = 1
"""Version of what ``--json`` prints; it grows with a change that a reader could trip over."""

WIDEST = 110
_NARROWEST = 40
_MARKS = {"ok": "✓", "note": "·", "warning": "!", "error": "✗", "skipped": "-"}
_PLAIN_MARKS = {"ok": "+", "note": ".", "warning": "!", "error": "x", "skipped": "-"}
_KEYS = 20
"""Columns of most names of settings."""
_CALM = ("ok", "note")
_COLOURS = {"ok": "green", "note": "dim", "warning": "yellow", "error": "red", "skipped": "dim"}


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of every setting, and what may be done."""
    to.epilog = "example: vault-credential-process doctor --profile webapp"
    to.add_argument("--json", action="store_true", help="as JSON, for programs")
    to.add_argument("--no-login", action="store_true", help="do not log in; a token that is kept is used")
    to.add_argument(
        "--read", action="store_true", help="read credentials even where that makes an IAM user; they are kept for get"
    )
    parser.add_settings(to)


def run(arguments: argparse.Namespace) -> int:
    """Examine, and show each finding as it comes; the exit code is that of the first error."""
    given = {key: value for key, value in vars(arguments).items() if value is not None}
    flags = {key: value for key, value in given.items() if key.startswith("vault_") or key == "profile"}
    case = Case(
        flags,
        os.environ,
        logs_in=not arguments.no_login,
        reads=arguments.read,
        line_for=_line,
        complaint_of=_complaint,
    )
    if arguments.json:
        for _ in examine(case):
            pass
        sys.stdout.write(json.dumps(document(case), indent=2) + "\n")
    else:
        sheet = Sheet(sys.stdout)
        for step, findings in itertools.groupby(examine(case), key=lambda finding: finding.step):
            sheet.heading(step)
            for finding in findings:
                sheet.show(finding)
        sheet.verdict(case)
    return case.exit_code


def _line(name: str) -> str:
    try:
        return installed.command_line(name)
    except ConfigurationError as failure:
        return f"… get --profile {name} ({failure})"


def _complaint(words: Sequence[str]) -> str | None:
    """Return why the command refuses its arguments, without what follows a flag: it may be a secret."""
    if {"-h", "--help", "--version"} & set(words):
        return "it prints no credentials"
    try:
        _, unknown = parser.build(words).parse_known_args(list(words))
    except ConfigurationError as failure:
        return str(failure).partition(":")[0].partition(";")[0]
    flags = [parser.flag_of(word) for word in unknown if word.startswith("-")]
    return f"unknown {', '.join(flags) or 'arguments'}" if unknown else None


def document(case: Case) -> dict[str, Any]:
    """Return what ``--json`` prints: the verdict, its cause, and every finding in order."""
    return {
        "version": JSON_VERSION,
        "ok": case.cause is None,
        "complete": case.complete,
        "exit_code": case.exit_code,
        "profile": case.profile.name if case.profile is not None else None,
        "cause": _fields(case.cause) if case.cause is not None else None,
        "findings": [_fields(finding) for finding in case.findings],
    }


def _fields(finding: Finding) -> dict[str, Any]:
    return {
        "step": finding.step,
        "state": finding.state,
        "found": finding.found,
        "means": finding.means or None,
        "remedy": finding.remedy or None,
        "exit_code": finding.exit_code,
    }


class Sheet:
    """What a person reads: a heading for each step, a mark and a line for each finding."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._paint = Paint(stream)
        self._marks = _MARKS if can_show(stream, "".join(_MARKS.values()) + "→…") else _PLAIN_MARKS
        self._arrow = "→" if self._marks is _MARKS else "->"
        is_seen = self._paint.on or is_terminal(stream)
        self._width = min(max(shutil.get_terminal_size().columns, _NARROWEST), WIDEST) if is_seen else 0

    def heading(self, step: str) -> None:
        """Begin a step."""
        self._write(self._paint.bold(step))

    def show(self, finding: Finding) -> None:
        """Show a finding: what is well on one line, what is not with what it means and what to do below it."""
        mark = getattr(self._paint, _COLOURS[finding.state])
        calm: dict[str, Callable[[str], str]] = {"ok": str, "note": str, "skipped": self._paint.dim}
        paint = calm.get(finding.state, mark)
        found, means = finding.found, finding.means
        if finding.step == "settings" and finding.state == "ok":
            key, sign, value = found.partition(" = ")
            found = f"{key:<{_KEYS}}{sign}{value}" if sign else found
        fits = not self._width or len(f"    {found}, {means}") <= self._width
        beside = self._paint.dim(f", {means}") if means and fits and finding.state in _CALM else ""
        for number, line in enumerate(self._wrapped(found, 4)):
            self._write(f"  {' ' if number else mark(self._marks[finding.state])} {paint(line)}{beside}")
        for line in [] if beside else self._wrapped(means, 6):
            self._write(f"      {self._paint.dim(line)}")
        blank = " " * len(self._arrow)
        for number, line in enumerate(self._wrapped(finding.remedy, 6)):
            self._write(f"    {blank if number else self._paint.cyan(self._arrow)} {line}")

    def verdict(self, case: Case) -> None:
        """Say in the end what matters: the first error, or else what was not tried, or the first warning."""
        warnings = [finding for finding in case.findings if finding.state == "warning"]
        errors = [finding for finding in case.findings if finding.state == "error"]
        text, paint = "all is well", self._paint.green
        if case.cause is not None:
            text = f"{_counted(errors, 'error')}; begin with {case.cause.step}: {case.cause.found}"
            paint = self._paint.red
        elif case.lacks_line:
            text = "the AWS CLI and other SDKs cannot use this profile; only programs with the provider can"
            paint = self._paint.yellow
        elif not case.complete:
            told = f", with {_counted(warnings, 'warning')}: {warnings[0].found}" if warnings else ""
            text, paint = f"nothing wrong so far{told}; {_untried(case)}", self._paint.yellow
        elif warnings:
            text, paint = f"it works, with {_counted(warnings, 'warning')}: {warnings[0].found}", self._paint.yellow
        self._write("")
        for line in self._wrapped(text, 0):
            self._write(paint(line))

    def _wrapped(self, text: str, indent: int) -> list[str]:
        """Return a text in lines that fit the terminal; in one elsewhere, for whoever searches it."""
        if not text or not self._width:
            return [text] if text else []
        return textwrap.wrap(text, self._width - indent, break_long_words=False, break_on_hyphens=False)

    def _write(self, line: str) -> None:
        if self._marks is _PLAIN_MARKS:
            encoding = self._stream.encoding or "ascii"
            line = line.replace("…", "...").encode(encoding, "replace").decode(encoding)
        self._stream.write(line + "\n")
        self._stream.flush()


def _untried(case: Case) -> str:
    """Return what was not tried, and how it is."""
    if case.pair is not None:
        return "AWS was not reached, so whether it takes the credentials is not known"
    remedy = next((f.remedy for f in case.findings if f.step == "login" and f.state == "skipped" and f.remedy), None)
    own = ["--profile", case.profile.name] if case.profile is not None else []
    again = join_command(["vault-credential-process", "doctor", "--read", *own])
    return f"the role and AWS were not tried: {remedy or again}"


def _counted(findings: Iterable[Finding], what: str) -> str:
    number = len(list(findings))
    return f"1 {what}" if number == 1 else f"{number} {what}s"
