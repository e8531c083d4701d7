"""How ``doctor`` shows what it finds: for people on terminals of all kinds; and that nothing ends it too early."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from vault_credential_process import doctor as package
from vault_credential_process.cli.doctor import Sheet
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, error, failed, ok, skipped, warning
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.testing.scripted import silence

from ..conftest import Run
from ..screen import Screen
from .ward import Ward, command_line, examined

TROUBLE = error("login", "refused " * 30, "nobody is let in", "check the Secret ID " * 10, exit_code=3)
ALL = [
    ok("settings", "vault_addr = https://vault.example.com", "from the profile"),
    warning("clock", "the clocks are 70 s apart", "AWS allows 300", "set the clock"),
    TROUBLE,
    skipped("role", "there is no token"),
]


DONE = ok("identity", "AWS takes the credentials")


def case_of(*findings: Finding) -> Case:
    """Return an examination that found these."""
    return Case({}, {}, findings=list(findings))


def sheet_of(encoding: str, *findings: Finding) -> str:
    """Return what is written of some findings to a stream that is no terminal."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding, write_through=True)
    sheet = Sheet(stream)
    sheet.heading("settings")
    for finding in findings:
        sheet.show(finding)
    sheet.verdict(case_of(*findings))
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode(encoding)


def test_terminal_shows_colours_and_short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the marks are coloured and no line is wider than it."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    with Screen(columns=60) as screen:
        sheet = Sheet(screen.stream)
        for finding in ALL:
            sheet.show(finding)
        sheet.verdict(case_of(*ALL))
        raw, lines = screen.raw, screen.lines

    assert "\x1b[32m✓\x1b[0m" in raw
    assert "\x1b[31m✗\x1b[0m \x1b[31mrefused" in raw
    assert max(map(len, lines)) <= 60
    assert lines[0] == "  ✓ vault_addr           = https://vault.example.com"
    assert lines[1] == "      from the profile"
    assert lines[4] == "    → set the clock"


def test_stream_that_is_no_terminal_is_plain() -> None:
    """In a file or a pipe there is no colour, and each part of a finding is a line of its own, however long."""
    lines = sheet_of("utf-8", *ALL).splitlines()

    assert "\x1b" not in "".join(lines)
    assert [line for line in lines if line.startswith("  ✗")] == ["  ✗ " + TROUBLE.found]
    assert lines[1] == "  ✓ vault_addr           = https://vault.example.com, from the profile"
    assert lines[-1] == f"1 error; begin with login: {TROUBLE.found}"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
def test_marks_of_poor_encodings(encoding: str) -> None:
    """Where the stream's encoding has no such characters ASCII serves, in texts of others too."""
    shown = sheet_of(encoding, ok("settings", "profile ★ …"), TROUBLE)

    assert "  + profile ? ..." in shown
    assert "  x refused" in shown
    assert "    -> check the Secret ID" in shown


def test_verdict() -> None:
    """The last line says what matters: the cause, else what was not tried, or the first warning."""
    untried = "the role and AWS were not tried: vault-credential-process doctor --read\n"
    assert sheet_of("utf-8", ALL[0], DONE).endswith("\nall is well\n")
    assert sheet_of("utf-8", *ALL[:2], DONE).endswith("\nit works, with 1 warning: the clocks are 70 s apart\n")
    assert sheet_of("utf-8", ALL[0]).endswith(f"\nnothing wrong so far; {untried}")
    assert sheet_of("utf-8", *ALL[:2]).endswith(
        f"\nnothing wrong so far, with 1 warning: the clocks are 70 s apart; {untried}"
    )
    assert sheet_of("utf-8", skipped("login", "no", "run get; then doctor")).endswith(
        "not tried: run get; then doctor\n"
    )
    assert "2 errors; begin with login: refused" in sheet_of("utf-8", *ALL, failed("x", ConfigurationError("y; z")))


def test_what_a_server_says_cannot_move_the_cursor() -> None:
    """Control characters and line breaks in what is found come to nothing."""
    assert Finding("x", "ok", "a\x1b[2Jb\nc\x07").found == "a [2Jb c"


def test_message_is_parted_where_the_remedy_begins() -> None:
    """Of an error's message, what stands behind its first semicolon is what to do; one in parentheses parts nothing."""
    found = failed("login", ConfigurationError("no way (a: b; c: d); set it; or do not"))

    assert (found.found, found.remedy) == ("no way (a: b; c: d)", "set it; or do not")


def test_step_that_breaks_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a bug in one step is an error of exit code 70 without its text, and the next steps go on."""

    def breaks(case: Case) -> Iterator[Finding]:
        yield ok(case.step, "so far")
        raise RuntimeError("5ec2e7")

    def refuses(case: Case) -> Iterator[Finding]:
        yield from ()
        raise ConfigurationError("b; c")

    monkeypatch.setattr(package, "STEPS", {"one": breaks, "two": refuses})
    case = Case({}, {})

    states = [(f.step, f.state, f.exit_code) for f in package.examine(case)]

    assert states == [("one", "ok", 0), ("one", "error", 70), ("two", "error", 2)]
    assert "5ec2e7" not in str(case.findings)
    assert case.exit_code == 70


def test_checks_can_fail(ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
    """The control: without the step that sees it, a broken set-up counts as well."""
    ward.write(vault_addr="http://127.0.0.1:1")
    steps = {name: step for name, step in package.STEPS.items() if name not in ("network", "clock")}

    assert examined(capsys, *ward.flags).code == 5
    ward.patch.setattr(package, "STEPS", steps)
    assert examined(capsys, *ward.flags).code == 0


def test_whole_run_has_a_deadline(ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that takes requests and never answers: each wait ends, and all of them within ``vault_aws_timeout``."""
    ward.scripted(health=silence(60), login=silence(60))
    started = time.monotonic()

    report = examined(capsys, *ward.flags, "--timeout=2s")

    assert time.monotonic() - started < 20
    assert report.code in (5, 7)
    assert report.trouble["step"] == "network"


def test_help_has_an_example(run: Run, ward: Ward) -> None:
    """``--help`` names the flags and an example."""
    done = run(*command_line(dataclasses.replace(ward, flags=()), "--help"))

    assert "example: vault-credential-process doctor --profile webapp" in done.stdout
    assert {"--json", "--no-login", "--read"} <= set(done.stdout.split())


def test_reader_that_leaves(ward: Ward) -> None:
    """Whoever stops reading gets no traceback."""
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" | /bin/true', "sh", *command_line(ward)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "Traceback" not in done.stderr
    assert sys.executable in " ".join(command_line(ward))
