"""The command as a program of its own, with bytes that are no text in its arguments and variables."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import sysconfig

import pytest

from .of_command import CODES

CASES: dict[str, tuple[list[bytes], dict[bytes, bytes]]] = {
    "role of bytes": ([b"get", b"--role", b"\xff\xfe"], {}),
    "file of bytes": ([b"get", b"--role", b"x", b"--role-id", b"\xff", b"--secret-id-file", b"/\xff\x1b[31m"], {}),
    "profile of bytes": ([b"get", b"--profile", b"\x1b[31m\xff\n"], {}),
    "flag of bytes": ([b"get", b"--\xff\x1b[31m=x"], {}),
    "command of bytes": ([b"\xff\x1b]0;x\x07"], {}),
    "log file of bytes": ([b"get", b"--log-file", b"/\xff\n/x"], {}),
    "variables of bytes": ([b"get"], {b"VAULT_AWS_ROLE": b"\xff", b"VAULT_ADDR": b"\xff"}),
    "resource of bytes": (
        [b"get", b"--role", b"x", b"--auth", b"azure", b"--auth-role", b"x", b"--max-retries", b"0"],
        {b"VAULT_AZURE_RESOURCE": b"\xff", b"AZURE_POD_IDENTITY_AUTHORITY_HOST": b"http://127.0.0.1:1"},
    ),
    "home of bytes": ([b"status", b"--role", b"x"], {b"HOME": b"/\xff\n", b"XDG_RUNTIME_DIR": b"/\xff"}),
    "config file of bytes": ([b"get", b"--profile", b"x"], {b"AWS_CONFIG_FILE": b"/\x1b[31m\xff\n"}),
    "long": ([b"get", b"--role", b"x" * 100_000], {}),
    "many": ([b"get", *[b"--x\x1b"] * 3000], {}),
}


@pytest.mark.parametrize(("arguments", "environ"), CASES.values(), ids=CASES)
def test_bytes_end_in_one_line(arguments: list[bytes], environ: dict[bytes, bytes]) -> None:
    """The command ends with a code that it documents and one printable line, whatever bytes it was started with."""
    done = subprocess.run(
        [os.fsencode(sys.executable), b"-m", b"vault_credential_process", *arguments],
        env={**os.environb, b"VAULT_ADDR": b"http://127.0.0.1:1", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert done.returncode in CODES - {0}
    assert done.stdout == b""
    line = done.stderr.decode()
    assert line.startswith("vault-credential-process: ")
    assert (line[-1], line[:-1].isprintable()) == ("\n", True)
    assert len(line) < 4200


def test_directory_that_is_gone_ends_in_one_line(tmp_path: pathlib.Path) -> None:
    """A relative path means nothing where the working directory was removed, and the command says so."""
    gone = tmp_path / "gone"
    gone.mkdir()
    script = os.path.join(sysconfig.get_path("scripts"), "vault-credential-process")
    code = (
        f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); "
        f"os.execv({script!r}, [{script!r}, 'get', '--role', 'x', '--cacert', 'ca.pem'])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "vault-credential-process: vault_cacert: a relative path, and the working directory is gone; write it from the "
        "root (from --cacert)\n"
    )
