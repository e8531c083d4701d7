"""Where a secret is read from at login time: a file, or a command's output."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import shlex
import sys
import tempfile
from collections.abc import Iterator

import pytest

from vault_credential_process import auth, sources
from vault_credential_process.errors import ConfigurationError, DeadlineError
from vault_credential_process.expiry import Deadline
from vault_credential_process.profiles import Profile

SECRET = "00000000-0000-4000-8000-secretexample"
UNPRIVILEGED = 65534


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody for a while if this is root, whom no mode stops."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(UNPRIVILEGED)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def written(path: pathlib.Path, content: bytes, mode: int = 0o600) -> str:
    """Write a secret file and return its path."""
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    "content",
    [b"SECRET", b"SECRET\n", b"  SECRET\r\n\n", b"\xef\xbb\xbfSECRET\n"],
    ids=["bare", "newline", "padded", "byte-order mark"],
)
def test_secret_in_a_file_is_read_without_its_surroundings(tmp_path: pathlib.Path, content: bytes) -> None:
    """White space around the secret and a byte-order mark are not part of it."""
    path = written(tmp_path / "secret-id", content.replace(b"SECRET", SECRET.encode()))

    assert sources.read_file(path, "vault_secret_id_file") == SECRET


def test_file_is_read_anew_each_time(tmp_path: pathlib.Path) -> None:
    """A rotated secret is seen at the next login, without a restart."""
    path = written(tmp_path / "secret-id", b"first")
    before = sources.read_file(path, "vault_secret_id_file")
    written(tmp_path / "secret-id", b"second")

    assert (before, sources.read_file(path, "vault_secret_id_file")) == ("first", "second")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"hunter2\nhunter3\n", "holds more than one line"),
        (b"hunter2\rhunter3", "holds more than one line"),
        (b"hunter2\0", "holds more than one line"),
        (b"hunter2\xff\xfe", "not text"),
        (b"hunter2" * 10_000, "longer than 65536 bytes"),
    ],
)
def test_file_without_one_secret_is_refused(tmp_path: pathlib.Path, content: bytes, reason: str) -> None:
    """The error names the setting and the path, and never the content."""
    path = written(tmp_path / "secret-id", content)

    with pytest.raises(ConfigurationError) as caught:
        sources.read_file(path, "vault_secret_id_file")
    assert str(caught.value).startswith(f"vault_secret_id_file: {path}: {reason}")
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing", "No such file or directory"), (".", "Is a directory"), ("a\0b", "not a path")],
)
def test_path_that_cannot_be_read_is_refused(tmp_path: pathlib.Path, name: str, reason: str) -> None:
    """A missing file, a directory and what is no path at all are one printable line."""
    with pytest.raises(ConfigurationError, match=rf"^vault_token_file: .*: {reason}; check the path") as caught:
        sources.read_file(f"{tmp_path}/{name}", "vault_token_file")

    assert str(caught.value).isprintable()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_file_that_this_user_may_not_read_is_refused() -> None:
    """A forbidden file is an error that tells so; a control shows that the mode is what forbids it."""
    with tempfile.TemporaryDirectory() as directory:
        pathlib.Path(directory).chmod(0o711)  # the stranger may enter here, other than pytest's own directories
        path = written(pathlib.Path(directory, "secret-id"), SECRET.encode(), 0o444)
        with unprivileged():
            assert sources.read_file(path, "vault_secret_id_file") == SECRET
        pathlib.Path(path).chmod(0)
        with unprivileged(), pytest.raises(ConfigurationError) as caught:
            sources.read_file(path, "vault_secret_id_file")

    assert str(caught.value) == (f"vault_secret_id_file: {path}: Permission denied; check the path and its permissions")


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o604, True), (0o600, False), (0o400, False)])
def test_file_that_others_may_read_gets_a_warning(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    """A secret that everybody can read is used, but not silently; the warning does not hold it."""
    path = written(tmp_path / "secret-id", SECRET.encode(), mode)
    with caplog.at_level(logging.WARNING):
        assert sources.read_file(path, "vault_secret_id_file") == SECRET

    expected = [f"vault_secret_id_file: {path} can be read by others (mode {mode:04o}); chmod 600 it"]
    assert [record.getMessage() for record in caplog.records] == (expected if warned else [])


def program(code: str) -> tuple[str, ...]:
    """Return a command that runs some Python."""
    return (sys.executable, "-I", "-c", code)


def run(command: tuple[str, ...], seconds: float = 30) -> str:
    """Run a command as the code of a second factor is fetched."""
    return sources.run_command(command, "vault_aws_mfa_code_command", Deadline(seconds))


def test_command_gives_its_output() -> None:
    """What a command prints on stdout is the secret, without the white space around it."""
    assert run(program("import sys; print(' 123456 '); print('noise', file=sys.stderr)")) == "123456"


def test_command_has_no_terminal_to_ask_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Its stdin is empty and its stderr goes nowhere: an SDK would read it as ours."""
    code = "import sys; print('noise', file=sys.stderr); print(repr(sys.stdin.read()))"

    assert (run(program(code)), *capfd.readouterr()) == ("''", "", "")


def test_command_is_not_read_by_a_shell() -> None:
    """``$HOME`` and ``;`` are plain text."""
    echo = tuple(shlex.split(f"{shlex.quote(sys.executable)} -I -c 'import sys; print(sys.argv[1:])' '$HOME;' id"))

    assert run(echo) == "['$HOME;', 'id']"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ("/no/such/command",),
            "/no/such/command: No such file or directory; write the command's absolute path",
        ),
        (("a\0b",), "a b: not a command; write the command's absolute path"),
        (program("print('hunter2'); raise SystemExit(3)"), f"{sys.executable} ended with code 3; run it by hand"),
        (program("pass"), f"{sys.executable}: empty"),
        (program("print('hunter2'); print('hunter3')"), f"{sys.executable}: holds more than one line"),
        (program("print('hunter2' * 10000)"), f"{sys.executable}: longer than 65536 bytes"),
    ],
    ids=["missing", "not a command", "fails", "empty", "two lines", "too long"],
)
def test_command_that_gives_no_secret_is_an_error(command: tuple[str, ...], message: str) -> None:
    """The error names the setting and the command; what was printed is not repeated, it may be the secret."""
    with pytest.raises(ConfigurationError) as caught:
        run(command)

    assert str(caught.value).startswith(f"vault_aws_mfa_code_command: {message}")
    assert "hunter" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("directory", [False, True], ids=["a file", "a directory"])
def test_command_without_the_x_bit(tmp_path: pathlib.Path, directory: bool) -> None:
    """A command that this user may not execute is said to be that, and its path is not doubted."""
    path = tmp_path if directory else pathlib.Path(written(tmp_path / "totp", b"#!/bin/sh\necho 123456\n"))
    with pytest.raises(ConfigurationError) as caught:
        run((str(path),))

    assert str(caught.value) == (
        f"vault_aws_mfa_code_command: {path}: Permission denied; it must be a file that this user may execute "
        "(chmod +x)"
    )


@pytest.mark.parametrize(
    ("arguments", "profile", "expected"),
    [
        ({"vault_password_file": "", "vault_password_command": "pass vault"}, {}, "vault_password_command"),
        ({"vault_password_file": ""}, {"vault_password_command": "pass vault"}, "vault_password_command"),
        (
            {"vault_password_file": ""},
            {"vault_password_file": "/a", "vault_password_keyring": "vault"},
            "vault_password_keyring",
        ),
        ({"vault_password_file": "/a", "vault_password_command": "pass vault"}, {}, "vault_password_file"),
        ({"vault_password_file": "", "vault_password_keyring": ""}, {}, None),
    ],
)
def test_setting_without_a_value_hides_none(
    arguments: dict[str, str], profile: dict[str, str], expected: str | None
) -> None:
    """An empty flag says nothing of where the secret lies, except that it is not in what the flag itself names."""
    given = {"vault_addr": "https://vault.example.com", "vault_auth_method": "userpass", "vault_username": "ana"}
    config = auth.configure(given | arguments, {}, Profile("webapp", profile))
    found = sources.find(config, "vault_password")

    assert (None if found is None else found.key) == expected


def test_command_ends_with_the_call() -> None:
    """A command that hangs is ended when the call's time is up."""
    with pytest.raises(DeadlineError, match=r"^vault_aws_mfa_code_command: .* did not end within 0.2 s"):
        run(program("import time; time.sleep(60)"), seconds=0.2)


def test_command_is_not_started_after_the_deadline() -> None:
    """With no time left nothing is run."""
    ticks = iter([0.0, 10.0])
    deadline = Deadline(5, clock=lambda: next(ticks))

    with pytest.raises(DeadlineError, match="waiting for the command of vault_aws_mfa_code_command"):
        sources.run_command(("/no/such/command",), "vault_aws_mfa_code_command", deadline)
