"""The command itself: hostile flags, variables and profiles, in this process; exit code and streams are looked at."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from unittest import mock

from hypothesis import strategies as st

from vault_credential_process import auth, cache, cli
from vault_credential_process.cli import parser
from vault_credential_process.config import Config
from vault_credential_process.errors import LONGEST
from vault_credential_process.models import options_of
from vault_credential_process.testing.scripted import ScriptedServer, reply

from . import material
from .kit import ACCEPTED, SECRET_ID, SECRETS, as_botocore_loads, shared, target
from .of_answers import LOGIN, STS
from .of_profiles import config_file, directory
from .of_settings import GOOD

CODES = frozenset({0, 2, 3, 4, 5, 6, 7})
"""What the command ends with, on purpose; not 70, which is a bug."""

_DANGEROUS = ("_command", "vault_addr", "vault_aws_timeout", "vault_client_timeout", "vault_proxy_addr")
"""Settings whose hostile values would run something, ask a name server, or end this process by the watchdog."""
_TAME = [o for o in (*options_of(Config), *auth.options()) if not o.key.endswith(_DANGEROUS)]
_FLAGS = tuple(o.flag for o in _TAME if o.flag)
_VARIABLES = tuple(name for o in _TAME for name in o.environ)
_KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "COVERAGE_PROCESS_START", "TZ")

words = st.sampled_from(tuple(GOOD.values())) | material.text
addresses = st.sampled_from(
    ("http://127.0.0.1:1", "", "unix:///nonexistent", "https://[", "http://[::1", "x", "http://h/?", "\x1b")
)
timeouts = st.sampled_from(("30", "1m", "nan", "-1", "1e3", "", "9" * 5000, "\u0661"))
commands = st.sampled_from(("/nonexistent", "'", "", "/bin/false", "/bin/echo code", "/bin/echo \x1b"))


@st.composite
def command_line(draw: st.DrawFn) -> list[str]:
    """A command line, of a command that neither asks anybody nor changes this environment."""
    line = draw(
        st.sampled_from(
            (["get"],) * 6
            + (
                ["status"],
                ["status", "--all"],
                ["env", "--unset"],
                ["cache", "list"],
                ["cache", "clear"],
                ["logout"],
                ["autoload", "status"],
            )
        )
        | st.sampled_from(
            (["get", "-v"], ["status", "--json"], ["cache", "x\x1b"], ["secret", "check", "x"], [], ["nosuch"])
        )
    )
    line = list(line)
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.integers(0, 9))
        if kind < 5:
            flag, value = draw(st.sampled_from(_FLAGS)), draw(words)
            line += [f"{flag}={value}"] if draw(st.booleans()) else [flag, value]
        elif kind == 5:
            line += ["--vault-addr", draw(addresses)]
        elif kind == 6:
            line += [draw(st.sampled_from(("--timeout", "--client-timeout"))), draw(timeouts)]
        elif kind == 7:
            line += [draw(st.sampled_from(("--secret-id-command", "--mfa-code-command"))), draw(commands)]
        elif kind == 8:
            line += [
                "--profile",
                draw(st.sampled_from(("webapp", "default", "é", "\x1b[31m", "a\nb", "", "x" * 5000)) | words),
            ]
        else:
            line.append(
                draw(words | st.sampled_from(("--", "-", "-v", "--help", "--version", "-x", "--no-cache", "\udcff")))
            )
    return line


@st.composite
def called(draw: st.DrawFn) -> tuple[list[str], dict[str, str], bytes | None]:
    """A command line, variables that are not what they should be, and an AWS config file."""
    names = draw(st.lists(st.sampled_from((*_VARIABLES, "AWS_PROFILE", "AWS_REGION", "XDG_RUNTIME_DIR")), max_size=2))
    environ = {name: draw(words).replace("\0", "") for name in names}
    environ = {
        name: value.encode("utf-8", "replace").decode() if "\ud800" in value else value
        for name, value in environ.items()
    }
    return draw(command_line()), environ, draw(st.none() | st.none() | config_file())


@target(
    "command line, variables and profile",
    ("cli.main", "cli.parser.run", "cli.parser._unknown", "cli.parser.configuration", "cli.logs.set_up",
    "fastpath.ticket"),
    called(),
    must=(ACCEPTED, "exit 2"),
    inputs=(
        (["get", "--role", "webapp"], {}, None),
        (["get"], {"VAULT_AWS_ROLE": "../config/root"}, None),
        (["get", "--profile", "\x1b[31m"], {}, b"[default]\n"),
        (["get", "x" * 5000], {}, None),
        (["get", "--vault-namespace", "\ud800"], {}, None),
        (["get", "--cacert", "a\ud800\0b"], {}, None),
        (["cache", "list"], {"AWS_PROFILE": "a\x1b[31mb"}, b"[profile a\x1b[31mb]\nregion = x\n"),
    ),
    examples=60,
)  # fmt: skip
def command(given: tuple[list[str], dict[str, str], bytes | None]) -> str:
    """Whatever it is given, the command ends with a code that is documented and one line on stderr, no traceback.

    Given nothing at all, it shows its help there.
    """
    argv, environ, content = given
    with called_here(environ, content) as streams:
        try:
            code: object = cli.main(argv)
        except SystemExit as done:  # argparse, after --help or --version
            code = done.code
        out, err = streams()
    assert code in CODES, f"exit code {code}: {err}"
    assert "Traceback" not in err
    assert not [secret for secret in SECRETS if secret in err]
    told = [line for line in err.split("\n") if line]
    assert all(line.isprintable() and len(line) <= LONGEST + 200 for line in told), err
    ours = [line for line in told if line.startswith("vault-credential-process: ")]
    if code and not argv:
        assert (code, err, out) == (2, parser.build([]).format_help(), "")
        return "exit 2"
    if code:
        assert len(ours) == 1
        assert told[-1] == ours[0]
        assert out == ""
        return f"exit {code}"
    assert ours == []
    if out.startswith('{"Version"'):
        assert as_botocore_loads(out.encode())["access_key"]
    else:
        assert SECRETS[2] not in out
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\x9b]", out), repr(out)
    return ACCEPTED


@contextlib.contextmanager
def called_here(environ: dict[str, str], content: bytes | None) -> Iterator[object]:
    """Make this process such a one as runs the command; what it changed in here is put back."""
    server = shared("good server", ScriptedServer)
    server.on("POST", "auth/approle/login", reply(200, LOGIN))
    server.on("GET", "aws/creds/webapp", reply(200, STS))
    home = pathlib.Path(tempfile.mkdtemp(prefix="home-", dir=directory()))
    config = home / "config"
    if content is not None:
        config.write_bytes(content)
    base = {name: os.environ[name] for name in _KEPT if name in os.environ}
    base |= {
        "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "AWS_CONFIG_FILE": str(config), "VAULT_ADDR": server.address,
        "VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": SECRET_ID, "VAULT_AWS_ROLE": "webapp", "VAULT_MAX_RETRIES": "0",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring", "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "*",
    }  # fmt: skip
    log = logging.getLogger("vault_credential_process")
    kept = log.handlers[:], log.level, log.propagate, logging.raiseExceptions
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors, write_through=True) for errors in ("strict", "backslashreplace")
    )
    before = os.getcwd()
    try:
        os.chdir(home)
        with (
            mock.patch.dict(os.environ, base | environ, clear=True),
            mock.patch("sys.stdout", out),
            mock.patch("sys.stderr", err),
            mock.patch.object(cache, "_memory", None),
        ):
            yield lambda: tuple(stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    finally:
        os.chdir(before)
        for handler in set(log.handlers) - set(kept[0]):
            stream = getattr(handler, "stream", None)
            if stream is not None and stream is not err:
                stream.close()
        log.handlers[:], log.level, log.propagate, logging.raiseExceptions = kept
        shutil.rmtree(home, ignore_errors=True)
