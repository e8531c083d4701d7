"""What another user of the host, and whoever reads what programs leave behind, gets: nothing."""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import os
import pathlib
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from vault_credential_process import fastpath, sources
from vault_credential_process.auth import callback
from vault_credential_process.demo.server import free_port
from vault_credential_process.lock import FileLock
from vault_credential_process.testing.auth import TOKEN, AuthMethodContract
from vault_credential_process.testing.scripted import Request, ScriptedServer, reply

from .auth.methods import log_in
from .auth.people import CODE, Somebody, come_back, fetch
from .auth.test_oidc import CALLBACK, STATE, offer
from .conftest import Run
from .talk import LOGGED_IN, LOGIN, STS_DATA
from .talk import TOKEN as OF_THE_LOGIN
from .test_sources import unprivileged, written

SECRET_ID = "hunter2-secret-id"
READ = "aws/creds/webapp"
DATA = STS_DATA | {"security_token": "FwoGZXIvYXdzEBMa-planted"}
PLANTED = (SECRET_ID, STS_DATA["secret_key"], DATA["security_token"])

as_root = pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can be another user")
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the runtime cache is Linux's")


@pytest.fixture
def environ(scripted: ScriptedServer) -> dict[str, str]:
    """Return what lets ``get`` succeed with a scripted server."""
    scripted.on("POST", LOGIN, LOGGED_IN)
    scripted.on("GET", READ, reply(200, {"lease_id": f"{READ}/1", "lease_duration": 3600, "data": DATA}))
    return {
        "VAULT_ADDR": scripted.address,
        "VAULT_ROLE_ID": "role",
        "VAULT_SECRET_ID": SECRET_ID,
        "VAULT_AWS_ROLE": "webapp",
    }


def attempts(path: pathlib.Path) -> list[Callable[[], Any]]:
    """Return what somebody may try with a file or a directory of another user."""
    if path.is_dir():
        return [lambda: os.listdir(path), (path / "new").touch, lambda: path.rename(path.with_name("moved"))]
    return [
        path.read_bytes,
        lambda: path.write_bytes(b"x"),
        path.unlink,
        path.stat,
        lambda: os.link(path, path.parent.with_name("link")),
        FileLock(str(path)).try_acquire,
    ]


@as_root
@on_linux
def test_another_user_gets_nothing(command: Run, environ: dict[str, str], shm: pathlib.Path) -> None:
    """Another user can neither read, change, move, link nor lock anything that ``get`` left; a control can."""
    shm.chmod(0o755)
    assert command("get", **environ).returncode == 0
    directory = shm / fastpath.NAME
    files = list(directory.iterdir())
    control = pathlib.Path(written(shm / "control", b"x", 0o666))
    kinds = {path.name.partition("-")[0] for path in files}
    tries = [attempt for path in (directory, *files) for attempt in attempts(path)]
    stopped = 0
    with unprivileged():
        control.read_bytes()
        control.write_bytes(b"y")
        assert FileLock(str(control)).try_acquire()
        for attempt in tries:
            try:
                attempt()
            except PermissionError:
                stopped += 1

    assert {"entry", "quick", "key"} <= kinds
    assert stopped == len(tries) == 3 + 6 * len(files)
    assert command("get", **environ).returncode == 0


@on_linux
@pytest.mark.parametrize("cache", ["memory", "none"])
def test_nothing_lies_anywhere(
    run: Run, environ: dict[str, str], clean_environment: pathlib.Path, tmp_path: pathlib.Path, shm: pathlib.Path,
    cache: str,
) -> None:  # fmt: skip
    """With ``memory``, and with ``none``, no file of a program that ran and ended holds a secret."""
    left = tmp_path / "tmp"
    left.mkdir()
    code = (
        "import sys, vault_credential_process as v\n"
        "m = v.VaultAWSCredentialManager(vault_aws_cache=sys.argv[1])\n"
        "print(m.get_aws_credentials()['aws_secret_access_key'])"
    )
    done = run(sys.executable, "-c", code, cache, **environ, TMPDIR=str(left))
    places = (clean_environment, left, shm)
    found = [path for place in places for path in place.rglob("*") if path.is_file()]

    assert done.stdout.strip() == STS_DATA["secret_key"], done.stderr
    assert [path for path in found if any(secret.encode() in path.read_bytes() for secret in PLANTED)] == []


@on_linux
def test_runtime_holds_what_the_others_do_not(command: Run, environ: dict[str, str], shm: pathlib.Path) -> None:
    """The control: with ``runtime`` the pair lies in the private directory, the Secret ID not even there."""
    command("get", **environ)
    content = b"".join(path.read_bytes() for path in (shm / fastpath.NAME).iterdir())

    assert [secret for secret in PLANTED if secret.encode() in content] == list(PLANTED[1:])


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_warning_is_about_what_was_read(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mode and content are of one open file: who swaps the path meanwhile, or hides behind a link, changes neither."""
    path, private = tmp_path / "secret-id", tmp_path / "private"
    written(path, b"read by all", 0o644)
    written(private, b"of the owner", 0o600)
    link = tmp_path / "link"
    link.symlink_to(path)
    real = open

    def swapping(name: str, mode: str) -> Any:
        opened = real(name, mode)
        private.replace(path)
        return opened

    assert sources.read_file(str(link), "vault_secret_id_file") == "read by all"
    monkeypatch.setattr(sources, "open", swapping, raising=False)
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        found = sources.read_file(str(path), "vault_secret_id_file")

    assert (found, path.read_text()) == ("read by all", "of the owner")
    assert [record.getMessage() for record in caplog.records] == [
        f"vault_secret_id_file: {path} can be read by others (mode 0644); chmod 600 it"
    ]


def test_command_shows_no_secret_of_ours_to_what_it_runs(
    run: Run, environ: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """A program that a setting names gets our environment and a mark, and nothing that a login brought."""
    told = tmp_path / "told"
    code = f"import os, json; json.dump(dict(os.environ), open({str(told)!r}, 'w')); print(123456)"
    script = tmp_path / "code.py"
    script.write_text(code)
    environ["VAULT_AWS_MFA_CODE_COMMAND"] = f"{sys.executable} -I {script}"
    done = run(sys.executable, "-m", "vault_credential_process", "get", "--no-cache", **environ)
    seen = json.loads(told.read_text())

    assert done.returncode == 0
    assert set(seen) - set(os.environ) - set(environ) - {"LC_CTYPE"} == {sources.RUNNING}
    assert [name for name, value in seen.items() if OF_THE_LOGIN in value or value in PLANTED[1:]] == []


def test_state_is_compared_in_constant_time(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stranger sends is compared with the state of the login by ``hmac.compare_digest``, right or wrong."""
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def noting(given: bytes, wanted: bytes) -> bool:
        compared.append((given, wanted))
        return real(given, wanted)

    def visit(address: str) -> None:
        statuses.append(come_back(address, state="st_of-a-stranger").status_code)
        come_back(address)

    statuses: list[int] = []
    offer(scripted)
    scripted.on("GET", CALLBACK, AuthMethodContract.accepted)
    monkeypatch.setattr(callback.hmac, "compare_digest", noting)
    keys = {"vault_auth_method": "oidc", "vault_oidc_callback_port": str(free_port())}
    log_in(scripted.address, keys, person=Somebody(visit))

    assert statuses == [400]
    assert compared == [(b"st_of-a-stranger", STATE.encode()), (STATE.encode(), STATE.encode())]


def test_second_to_come_back_is_too_late(scripted: ScriptedServer) -> None:
    """Once the browser came back nobody else can end the login, be it with the same state and while Vault decides."""
    late: list[str] = []
    addresses: list[str] = []
    here = threading.Event()

    def visit(address: str) -> None:
        addresses.append(address)
        here.set()
        come_back(address)

    def decide(connection: socket.socket, _: Request) -> None:
        assert here.wait(20)
        port = int(keys["vault_oidc_callback_port"])
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.3) as second:
            target = f"/oidc/callback?state={STATE}&code=of-a-thief"
            second.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
            late.append(second.recv(100).decode())
        connection.sendall(AuthMethodContract.accepted)

    offer(scripted)
    scripted.on("GET", CALLBACK, decide)
    keys = {"vault_auth_method": "oidc", "vault_oidc_callback_port": str(free_port())}
    token = log_in(scripted.address, keys, person=Somebody(visit))
    with pytest.raises(OSError, match="refused"):
        fetch(f"http://localhost:{keys['vault_oidc_callback_port']}/oidc/callback", state=STATE, code="of-a-thief")

    assert token.value == TOKEN
    assert late == []
    assert scripted.asked("GET", CALLBACK) == 1
    assert f"code={CODE}" in next(request.path for request in scripted.requests if CALLBACK in request.path)
