"""Known secrets are planted everywhere, and then looked for on every stream, in every log, error and ``repr``."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import inspect
import logging
import os
import pathlib
import pkgutil
import re
import subprocess
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator

import pytest

import vault_credential_process
from vault_credential_process import auth
from vault_credential_process.errors import VaultCredentialError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.testing.scripted import ScriptedServer, reply, reset, silence

from .conftest import Run

TOKEN = "hvs.CANARYtokenCANARYtoken"
SECRET_ID = "canary-secret-id-5f1c"
PROXY_PASSWORD = "canary-proxy-password"
MFA_CODE = "424299"
ACCESS_KEY = "ASIACANARYCANARY"
SECRET_KEY = "canarySecretKey/with+signs="
SESSION_TOKEN = "canarySessionToken//=="
OF_VAULT = (TOKEN, SECRET_ID, PROXY_PASSWORD)
OF_AWS = (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN)

LOGIN, READ, LOOK_UP = ("POST", "auth/approle/login"), ("GET", "aws/creds/webapp"), ("GET", "auth/token/lookup-self")
REVOKE, GIVE_BACK = ("POST", "auth/token/revoke-self"), ("POST", "sys/leases/revoke")
LOGGED_IN = {"auth": {"client_token": TOKEN, "lease_duration": 600, "policies": ["app"], "token_type": "service"}}
KEYS = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
STS = {"lease_id": "aws/creds/webapp/1", "lease_duration": 900, "data": {**KEYS, "security_token": SESSION_TOKEN}}
IAM_USER = {"lease_id": "aws/creds/webapp/2", "lease_duration": 900, "data": KEYS}


def echo(status: int, *secrets: str) -> bytes:
    """Return Vault's own refusal, by a server that repeats what it was sent."""
    return reply(status, {"errors": [f"1 error occurred:\n\t* cannot use {secret}\n\n" for secret in secrets]})


def page(status: int, *secrets: str) -> bytes:
    """Return the same by a gateway, as a page."""
    return reply(status, f"<html>{' '.join(secrets)}</html>".encode(), {"Content-Type": "text/html"})


Script = dict[tuple[str, str], object]
GOOD: Script = {LOGIN: reply(200, LOGGED_IN), READ: reply(200, STS), REVOKE: reply(204)}
SUCCESSES: dict[str, Script] = {
    "STS": {},
    "IAM user": {READ: reply(200, IAM_USER)},
    "token that cannot be revoked": {REVOKE: echo(500, TOKEN)},
}
FAILURES: dict[str, Script] = {
    "login refused": {LOGIN: echo(400, SECRET_ID, f"[{SECRET_ID}]")},
    "login denied": {LOGIN: echo(403, SECRET_ID)},
    "login fails": {LOGIN: echo(500, SECRET_ID)},
    "login of unknown path": {LOGIN: echo(404, SECRET_ID)},
    "login answered by a gateway": {LOGIN: page(502, SECRET_ID)},
    "login answered with a page": {LOGIN: page(200, SECRET_ID, TOKEN)},
    "login without a usable token": {LOGIN: reply(200, {"auth": {"client_token": f"{TOKEN} x"}, "data": SECRET_ID})},
    "login wrapped": {LOGIN: reply(200, {"wrap_info": {"token": TOKEN}})},
    "login wants a second factor": {LOGIN: reply(200, {"auth": {"mfa_requirement": {"mfa_request_id": TOKEN}}})},
    "login redirected away": {LOGIN: reply(307, None, {"Location": f"http://192.0.2.1/v1/x?secret={SECRET_ID}"})},
    "login reset": {LOGIN: reset},
    "token of one use": {LOGIN: reply(200, {"auth": {**LOGGED_IN["auth"], "num_uses": 1}})},
    "read refused": {READ: echo(400, TOKEN, f"[{TOKEN}]")},
    "read denied": {READ: echo(403, TOKEN)},
    "read of no role": {READ: echo(404, TOKEN)},
    "read limited": {READ: echo(429, TOKEN)},
    "read fails": {READ: echo(500, TOKEN)},
    "read answered with a page": {READ: page(200, TOKEN, *OF_AWS)},
    "read answered by a gateway": {READ: page(503, TOKEN, *OF_AWS)},
    "read redirected away": {READ: reply(307, None, {"Location": f"http://192.0.2.1/v1/x?token={TOKEN}"})},
    "read wrapped": {READ: reply(200, {"wrap_info": {"token": TOKEN}})},
    "read cut short": {READ: reply(200, STS)[:-20]},
    "read reset": {READ: reset},
    "half an answer": {
        READ: reply(200, {"lease_id": "l", "data": {"secret_key": SECRET_KEY, "security_token": SESSION_TOKEN}}),
        GIVE_BACK: echo(403, TOKEN),
    },
}


@pytest.fixture
def environ(scripted: ScriptedServer, tmp_path: pathlib.Path) -> dict[str, str]:
    """Every secret that there is to hand in, and the address of the scripted server."""
    (tmp_path / "code").write_text(MFA_CODE)
    return {
        "VAULT_ADDR": scripted.address,
        "VAULT_AWS_ROLE": "webapp",
        "VAULT_ROLE_ID": "role",
        "VAULT_SECRET_ID": SECRET_ID,
        "VAULT_TOKEN": TOKEN,
        "VAULT_MAX_RETRIES": "0",
        "VAULT_AWS_MFA_CODE_COMMAND": f"/bin/cat {tmp_path}/code",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }


def play(scripted: ScriptedServer, script: Script) -> None:
    """Let the server answer well, but for what the script says."""
    for (method, path), answer in {**GOOD, **script}.items():
        scripted.on(method, path, answer)  # type: ignore[arg-type]


def found(text: str, *, but: tuple[str, ...] = ()) -> list[str]:
    """Return the planted secrets that stand in a text, as they are or as ``repr`` or a URL would write them."""
    return [s for s in (*OF_VAULT, *OF_AWS, MFA_CODE) if s not in but and (s in text or repr(s)[1:-1] in text)]


def run_logged(command: Run, log: pathlib.Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ``get`` at its most talkative, and look through its log."""
    done = command("get", "-v", "--log-file", str(log), **environ)
    logged = log.read_text()
    assert logged.count("\n") >= 1
    assert found(logged) == []
    assert found(done.stderr) == []
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("script", SUCCESSES.values(), ids=SUCCESSES)
def test_success_shows_aws_credentials_on_stdout_only(
    command: Run, scripted: ScriptedServer, environ: dict[str, str], tmp_path: pathlib.Path, script: Script
) -> None:
    """On success AWS credentials stand on stdout and nowhere else, and Vault's secrets nowhere."""
    play(scripted, script)

    done = run_logged(command, tmp_path / "log", environ)

    assert done.returncode == 0
    assert {ACCESS_KEY, SECRET_KEY} <= set(found(done.stdout)) <= set(OF_AWS)


@pytest.mark.parametrize("script", FAILURES.values(), ids=FAILURES)
def test_failure_shows_no_secret(
    command: Run, scripted: ScriptedServer, environ: dict[str, str], tmp_path: pathlib.Path, script: Script
) -> None:
    """On failure no secret stands anywhere, whatever the server repeats; stdout is empty."""
    play(scripted, script)

    done = run_logged(command, tmp_path / "log", environ)

    assert done.returncode in {2, 3, 4, 5}
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("vault-credential-process: ")


TOKEN_FAILURES: dict[str, tuple[Script, dict[str, str]]] = {
    "look-up fails": ({LOOK_UP: echo(500, TOKEN)}, {}),
    "look-up unknown": ({LOOK_UP: echo(404, TOKEN)}, {}),
    "dead": ({LOOK_UP: echo(403, TOKEN), READ: echo(403, TOKEN)}, {}),
    "used up": ({LOOK_UP: reply(200, {"data": {"id": TOKEN, "num_uses": -1}})}, {}),
    "not a token": ({}, {"VAULT_TOKEN": f"{TOKEN}\n{SECRET_ID}"}),
    "proxy away": ({}, {"VAULT_PROXY_ADDR": f"http://user:{PROXY_PASSWORD}@127.0.0.1:1"}),
    "proxy malformed": ({}, {"VAULT_PROXY_ADDR": f"htp://user:{PROXY_PASSWORD}@127.0.0.1:1"}),
    "address with a password": ({}, {"VAULT_ADDR": f"http://user:{PROXY_PASSWORD}@127.0.0.1:1"}),
}


@pytest.mark.parametrize(("script", "further"), TOKEN_FAILURES.values(), ids=TOKEN_FAILURES)
def test_failure_with_a_token_of_ones_own_shows_no_secret(
    command: Run, scripted: ScriptedServer, environ: dict[str, str], script: Script, further: dict[str, str]
) -> None:
    """The same where the token, or a proxy's password, was handed in."""
    play(scripted, script)

    done = command("get", "-v", **{**environ, "VAULT_ROLE_ID": "", "VAULT_SECRET_ID": "", **further})

    assert done.returncode in {2, 3, 4, 5}
    assert found(done.stdout + done.stderr) == []


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error with all that it hides behind it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("script", FAILURES.values(), ids=FAILURES)
def test_errors_hold_no_secret(
    scripted: ScriptedServer,
    environ: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    script: Script,
) -> None:
    """In a program too: text and ``repr`` of the error, its traceback, and our log at its most talkative."""
    caplog.set_level(logging.DEBUG, logger="vault_credential_process")
    play(scripted, script)

    with pytest.raises(VaultCredentialError) as caught:
        Fetcher(auth.configure({}, environ, None)).fetch()

    assert caplog.records
    assert found(caplog.text) == []
    assert found("".join(traceback.format_exception(caught.value))) == []
    for error in chain(caught.value):
        if isinstance(error, VaultCredentialError):
            assert found(f"{error} {error!r} {error.args} {getattr(error, 'refusal', None)!r}") == []


def held_by(error: BaseException) -> Iterator[str]:
    """Yield the ``repr`` of every variable of our frames that an error leads to: what error trackers send away."""
    for one in chain(error):
        trace = one.__traceback__
        while trace is not None:
            if "vault_credential_process" in trace.tb_frame.f_code.co_filename:
                yield from map(repr, trace.tb_frame.f_locals.values())
            trace = trace.tb_next


@pytest.mark.parametrize("script", FAILURES.values(), ids=FAILURES)
def test_errors_lead_to_no_secret(scripted: ScriptedServer, environ: dict[str, str], script: Script) -> None:
    """Nor do the frames and causes that hang on the error of a fetch, whatever looks into them."""
    play(scripted, script)

    with pytest.raises(VaultCredentialError) as caught:
        Fetcher(auth.configure({}, environ, None)).fetch()

    held = list(held_by(caught.value))
    assert held
    assert [text for text in held if found(text)] == []


@pytest.mark.parametrize("script", SUCCESSES.values(), ids=SUCCESSES)
def test_what_a_program_holds_is_silent(
    scripted: ScriptedServer, environ: dict[str, str], caplog: pytest.LogCaptureFixture, script: Script
) -> None:
    """After a fetch our log and the ``repr`` of every value of ours that is alive hold no secret."""
    caplog.set_level(logging.DEBUG, logger="vault_credential_process")
    play(scripted, script)
    proxied = {"VAULT_HTTP_PROXY": f"http://u:{PROXY_PASSWORD}@127.0.0.1:1"}
    others = auth.configure({}, {**environ, **proxied}, None)
    fetcher = Fetcher(auth.configure({}, environ, None))
    credentials, token = fetcher.fetch(), fetcher.token()
    methods = [method for method, _ in auth.candidates(others)]

    alive = [
        thing
        for thing in gc.get_objects()
        if str(type(thing).__module__).startswith("vault_credential_process.")
        and not str(type(thing).__module__).startswith("vault_credential_process.testing.")
        and not isinstance(thing, type)
    ]

    assert caplog.records
    assert found(caplog.text) == []
    assert {"Config", "Setting", "VaultToken", "AWSCredentials", "AppRole"} <= {type(thing).__name__ for thing in alive}
    assert [type(thing).__name__ for thing in alive if found(repr(thing))] == []
    assert (credentials.secret_key, token.value, others.vault_proxy_addr, methods[0].name) == (
        SECRET_KEY, TOKEN, proxied["VAULT_HTTP_PROXY"], "approle",
    )  # fmt: skip


def modules() -> Iterator[types.ModuleType]:
    """Yield every module of the package that can be imported without running a program, or aiobotocore."""
    for module in pkgutil.walk_packages(vault_credential_process.__path__, "vault_credential_process."):
        if not module.name.endswith(("__main__", ".aio")) and ".programs." not in module.name:
            yield importlib.import_module(module.name)


MAY_HOLD_A_SECRET = re.compile(
    r"secret|token|password|passphrase|key|body|value|data|content|credential|payload|proxy|errors"
)
REFERENCE = re.compile(r"vault_\w+_(file|keyring|command|path)")
"""Settings that tell where a secret lies, not what it is."""
HARMLESS = {
    "key": "the name of a setting",
    "secret": "whether a setting is one",
    "token_key": "the name of a cache entry",
    "token_type": "service or batch",
    "vault_token_ttl": "a duration",
    "vault_client_key": "a path",
    "credential_type": "iam_user, sts or static",
}


SILENT = re.compile(r"\b(VaultToken|AWSCredentials)\b")
"""Types that are looked at themselves; a field of theirs shows what they show."""


def shown(kind: type) -> set[str]:
    """Return the fields of a dataclass whose values its ``repr`` shows."""
    thing = object.__new__(kind)
    names = [field.name for field in dataclasses.fields(kind) if not SILENT.search(str(field.type))]
    for field in dataclasses.fields(kind):
        object.__setattr__(thing, field.name, f"<{field.name}>")
    return {name for name in names if f"<{name}>" in repr(thing)}


def test_no_dataclass_shows_what_may_be_a_secret() -> None:
    """Whatever may hold a secret is kept out of the ``repr`` of every dataclass in the package."""
    kinds = {
        thing
        for module in modules()
        for thing in vars(module).values()
        if isinstance(thing, type) and dataclasses.is_dataclass(thing) and not inspect.isabstract(thing)
    }

    assert {"VaultToken", "AWSCredentials", "Answer", "Refusal", "AppRole", "Token"} <= {
        kind.__name__ for kind in kinds
    }
    leaks = {
        f"{kind.__module__}.{kind.__name__}.{name}"
        for kind in kinds
        for name in shown(kind)
        if MAY_HOLD_A_SECRET.search(name) and name not in HARMLESS and not REFERENCE.fullmatch(name)
    }
    assert leaks == set()


def test_the_search_finds_what_is_shown() -> None:
    """The control: a dataclass that shows a secret would be found, and so would a secret in a text."""
    leaky = dataclasses.make_dataclass("leaky", ["secret_key", ("token", str, dataclasses.field(repr=False))])

    assert shown(leaky) == {"secret_key"}
    assert found(f"x {TOKEN} y") == [TOKEN]


def command_lines(process_id: int) -> list[str]:
    """Return the arguments of a process and of its children."""
    family = [process_id]
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"\nPPid:\t{process_id}\n" in (entry / "status").read_text():
                family.append(int(entry.name))
        except OSError:
            continue
    return [pathlib.Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode() for one in family]


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    limit = time.monotonic() + 10
    while not condition() and time.monotonic() < limit:
        time.sleep(0.02)
    assert condition()


@pytest.mark.skipif(not os.path.exists("/proc/self/cmdline"), reason="no /proc on this system")
def test_no_secret_is_an_argument(scripted: ScriptedServer, environ: dict[str, str]) -> None:
    """Neither the command nor a program that it runs shows a secret to ``ps``, with the token already in hand."""
    play(scripted, {READ: silence(10)})
    environ = {**os.environ, **environ, "VAULT_AWS_MFA_CODE_COMMAND": "/bin/sleep 1"}
    command = [sys.executable, "-m", "vault_credential_process", "get"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: len(command_lines(process.pid)) == 2)
            lines = command_lines(process.pid)
        finally:
            process.kill()

    assert scripted.asked(*LOGIN) == 1
    assert sorted(line.strip() for line in lines) == sorted([" ".join(command), "/bin/sleep 1"])
