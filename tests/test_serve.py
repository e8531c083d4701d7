"""``serve`` as a process: what it prints and writes, its signals, and unmodified clients that it serves."""

from __future__ import annotations

import ctypes
import inspect
import math
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from typing import Any

import pytest

from vault_credential_process import cli
from vault_credential_process.cli import coredump, serve
from vault_credential_process.demo import aws
from vault_credential_process.errors import VaultCredentialError
from vault_credential_process.server import EndpointServer, listen
from vault_credential_process.server.sockets import allow_connections
from vault_credential_process.testing.scripted import ScriptedServer

from .bench import LOGIN, READ, Bench, Clock
from .certificates import Authority
from .conftest import ROOT, Run, Tenant
from .pages import commands_of
from .serving import TOKEN_FILE, URI, Serving, wait_until

PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")


@pytest.fixture
def profile(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Tenant:
    """An application on the real server with a profile ``webapp``."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tenant.write_config()))
    return tenant


@pytest.fixture
def bench(
    scripted: ScriptedServer, exchanges: dict[str, Any], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Bench:
    """A scripted Vault, with a profile for it."""
    made = Bench(scripted, exchanges, Clock())
    made.on_login()
    scripted.on("GET", READ, made.lease(3600))
    secret = tmp_path / "secret-id"
    secret.write_text("secret-id")
    secret.chmod(0o600)
    keys = f"vault_addr = {scripted.address}\nvault_role_id = role\nvault_secret_id_file = {secret}\n"
    sections = [f"[profile {name}]\n{keys}vault_aws_role = {name}\n" for name in ("webapp", "other", "health")]
    (tmp_path / "config").write_text("\n".join(sections))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("VAULT_MAX_RETRIES", "0")
    return made


@pytest.mark.system
def test_aws_command_across_a_refresh(
    run: Run, aws_command: str, short_lived: Tenant, cloud: aws.LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real ``aws`` command, told two variables, lists a bucket; and again after its first keys have ended."""
    laboratory, role = short_lived.laboratory, short_lived.role
    keys = cloud.assume_role(3600, "trial")
    trial = {"AWS_ACCESS_KEY_ID": keys["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"]}
    trial |= {"AWS_SESSION_TOKEN": keys["SessionToken"], "AWS_ENDPOINT_URL": cloud.endpoint, "AWS_REGION": aws.REGION}
    began = time.monotonic()
    run(aws_command, "s3", "ls", **trial)
    # The first keys are replaced when half of their life is over: four times as long as the command takes here and now.
    first = laboratory.write_sts(role, ttl=max(4, math.ceil(8 * (time.monotonic() - began))))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(short_lived.write_config()))
    with Serving("--profile", "webapp") as serving:
        second = laboratory.write_sts(role, ttl=900)
        client = {**serving.environ, "AWS_ENDPOINT_URL": cloud.endpoint, "AWS_REGION": aws.REGION}
        client |= {"AWS_CONFIG_FILE": os.devnull}
        done = [run(aws_command, "s3", "ls", **client)]
        wait_until(lambda: serving.ask().json["AccessKeyId"] == second)
        cloud.end(first, at=time.time())
        done.append(run(aws_command, "s3", "ls", **client))

    assert [(d.returncode, d.stderr, d.stdout.split()[-1:]) for d in done] == [(0, "", [aws.BUCKET])] * 2
    assert {(first, "sent"), (second, "sent")} <= set(cloud.requests)


def test_what_it_prints_and_leaves(profile: Tenant) -> None:
    """Two lines for the shell, a private file without a line end, and after ``SIGTERM`` code 0 and nothing."""
    with Serving("--profile", "webapp") as serving:
        path = pathlib.Path(serving.environ[TOKEN_FILE])
        token = path.read_bytes()
        answer = serving.ask("/webapp")
        found = [stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)]
        code = serving.end()

    assert [line.partition("=")[0] for line in serving.lines] == [f"export {URI}", f"export {TOKEN_FILE}"]
    assert serving.environ[URI].endswith("/webapp")
    assert answer.status == 200
    assert len(token) == 43
    assert not token.split()[1:]
    assert token.decode() not in "".join(serving.lines)
    assert answer.json["SecretAccessKey"] not in "".join(serving.lines)
    assert found == [0o600, 0o700]
    assert str(path).startswith(os.environ["XDG_RUNTIME_DIR"])
    assert (code, serving.errors) == (0, [])
    assert not path.parent.exists()


@pytest.mark.parametrize("line", [c for c in commands_of(PAGE) if c.startswith("vault-credential-process serve ")])
def test_commands_of_the_page(bench: Bench, line: str) -> None:
    """Each command line of ``docs/serve.md`` serves; a port that is free stands in for the page's."""
    words = [os.path.expanduser(word) for word in shlex.split(line)[2:]]
    pathlib.Path("~/.cache").expanduser().mkdir(exist_ok=True)
    port = words.index("9911") if "9911" in words else None
    if port is not None:
        words[port] = "0"
    with Serving(*words) as serving:
        assert serving.ask("/webapp").status == 200
        names = [re.match(r"export (\w+)=", told) for told in serving.lines]

    assert [name[1] for name in names if name] == [URI, TOKEN_FILE]


def test_interrupted(bench: Bench) -> None:
    """Ctrl-C is 130 with its line, as with every command, and leaves nothing either."""
    with Serving("--profile", "webapp") as serving:
        path = pathlib.Path(serving.environ[TOKEN_FILE])
        code = serving.end(signal.SIGINT)

    assert (code, serving.errors) == (130, ["vault-credential-process: interrupted\n"])
    assert not path.exists()


def test_hangup_replaces_the_token(bench: Bench) -> None:
    """``SIGHUP`` writes a new token; the last one is good for a while, for who has read it just before."""
    with Serving("--profile", "webapp") as serving:
        before = serving.token
        serving.process.send_signal(signal.SIGHUP)
        after = wait_until(lambda: serving.token != before and serving.token)
        answers = [serving.ask(token=token).status for token in (before, after, "other")]
        serving.process.send_signal(signal.SIGHUP)
        wait_until(lambda: serving.token != after)
        answers += [serving.ask(token=token).status for token in (before, after)]

    assert answers == [200, 200, 403, 403, 200]


@linux_only
def test_hangup_of_a_terminal(bench: Bench) -> None:
    """Where it was started at a terminal that is closed it ends, as at ``SIGTERM``, and leaves nothing."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "vault_credential_process", "serve", "--profile", "webapp"]
    with (
        os.fdopen(ours),
        os.fdopen(theirs) as terminal,
        subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(2)]
            process.send_signal(signal.SIGHUP)
            said = process.communicate(timeout=30)
        finally:
            process.kill()

    assert (process.returncode, *said) == (0, "", "")
    assert not os.path.exists(shlex.split(told[1])[1].partition("=")[2])


@linux_only
def test_service_manager_is_told(bench: Bench, tmp_path: pathlib.Path) -> None:
    """``READY=1`` once it answers, ``STOPPING=1`` before it ends; a socket in the abstract namespace is one too."""
    name = f"vcp-test-{os.getpid()}"
    for bound, told in ((str(tmp_path / "notify"), str(tmp_path / "notify")), (f"\0{name}", f"@{name}")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(bound)
            manager.settimeout(30)
            with Serving("--profile", "webapp", NOTIFY_SOCKET=told) as serving:
                ready = manager.recv(4096).decode().splitlines()
                assert serving.ask().status == 200
                assert serving.end() == 0
                stopping = manager.recv(4096).decode()

        assert ready == ["READY=1", f"STATUS=serving at {serving.address}"]
        assert stopping == "STOPPING=1"


def test_service_manager_that_is_gone(bench: Bench, tmp_path: pathlib.Path) -> None:
    """Who is not there to be told is no reason to end; it is said on stderr."""
    with Serving("--profile", "webapp", NOTIFY_SOCKET=str(tmp_path / "gone")) as serving:
        assert serving.ask().status == 200
        assert serving.end() == 0

    assert "NOTIFY_SOCKET: the service manager was not told: " in serving.errors[0]


def test_several_profiles(bench: Bench) -> None:
    """Each profile has its lines and its path, and none lies at ``/``."""
    bench.server.on("GET", "aws/creds/other", bench.lease(3600, "ASIAOTHER7EXAMPLE"))
    with Serving("--profile", "webapp", "--profile=other") as serving:
        keys = [serving.ask(path).json.get("AccessKeyId") for path in ("/webapp", "/other", "/")]

    assert [line for line in serving.lines if line.startswith("#")] == ["# webapp\n", "# other\n"]
    assert [uri.rpartition("/")[2] for uri in serving.exports(URI)] == ["webapp", "other"]
    assert keys == ["ASIAIOSFODNN7EXAMPLE", "ASIAOTHER7EXAMPLE", None]


def test_without_a_profile(bench: Bench, tmp_path: pathlib.Path) -> None:
    """Flags alone do, and the role gives the path its name."""
    flags = ("--role=webapp", f"--vault-addr={bench.server.address}", "--role-id=role")
    secret = f"--secret-id-file={tmp_path / 'secret-id'}"
    with Serving(*flags, secret) as serving:
        assert serving.environ[URI].endswith("/webapp")
        assert serving.ask().status == 200


def test_vault_away_at_the_start(bench: Bench, command: Run) -> None:
    """Nothing is said to be ready, and the exit code and the one line are those of ``get``; nothing is left."""
    bench.server.on("POST", LOGIN, b"")

    done = command("serve", "--profile", "webapp")

    assert (done.returncode, done.stdout) == (5, "")
    assert len(done.stderr.splitlines()) == 1
    assert list(pathlib.Path(os.environ["XDG_RUNTIME_DIR"]).glob("vault-credential-process-*")) == []


def test_start_while_vault_is_away(bench: Bench) -> None:
    """What another process fetched is valid still, so it is served; that Vault is away does not matter yet."""
    with Serving("--profile", "webapp") as serving:
        first = serving.ask().json
    asked = len(bench.server.requests)
    bench.server.on("POST", LOGIN, b"")
    bench.server.on("GET", READ, b"")
    with Serving("--profile", "webapp") as serving:
        assert serving.ask().json == first
        assert serving.end() == 0

    assert serving.errors == []
    assert len(bench.server.requests) == asked


def test_trouble_is_told_on_stderr(bench: Bench) -> None:
    """When a refresh fails, a line says so once, and how long the pair lives; no traceback, no secret."""
    bench.server.on("GET", READ, bench.lease(4), b"")
    with Serving("--profile", "webapp") as serving:
        wait_until(lambda: serving.errors)
        health = serving.ask("/health").json
        pair = serving.ask()

    assert len(serving.errors) == 1
    assert "going on with credentials that live for " in serving.errors[0]
    assert health["roles"]["webapp"]["failing"] is True
    assert pair.status in (200, 503)


def test_login_that_leads_back_here(bench: Bench, command: Run) -> None:
    """An environment that sends AWS logins to this very endpoint is refused."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]

    done = command("serve", "--profile=webapp", f"--port={port}", **{URI: f"http://localhost:{port}/webapp"})

    assert done.returncode == 2
    assert f"{URI} leads to this endpoint itself; unset it where serve runs" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host=0.0.0.0"], "--host: credentials are served to other machines over TLS only; name 127.0.0.1"),
        (["--tls-cert=x"], "--tls-key: missing; TLS needs both"),
        (["--port=x"], "argument --port: invalid int value; see vault-credential-process serve --help"),
        (["--port=70000"], "--port: 70000 is no port; write 0 to 65535"),
        (["--rotate-authorization-token=5"], "the token before is good for 60 s; write a longer time"),
        (["--rotate-authorization-token=often"], "--rotate-authorization-token: not a duration"),
        (["--profile=webapp"], "--profile: webapp is named twice; name each profile once"),
        (["--profile=health"], "--profile: health is a path of the endpoint's own; give the profile another name"),
        (["--profile=none"], "[profile none] is not in "),
        (["--authorization-token-group=no-such-group"], "there is no group 'no-such-group'; write its name as"),
        (
            ["--authorization-token-file=/no/such/place/token"],
            "--authorization-token-file: /no/such/place: No such file",
        ),
        (["--check"], "--check: name the --port of the endpoint that runs"),
    ],
)
def test_what_cannot_be_served(
    bench: Bench, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mistake is one line that says what to do, with code 2, before Vault is asked for anything."""
    monkeypatch.setattr(coredump, "hide", lambda: None)

    assert cli.main(["serve", "--profile=webapp", *arguments]) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err
    assert len(printed.err.splitlines()) == 1
    assert bench.server.requests == []


class TestCheck:
    """``serve --check``, for probes."""

    def test_endpoint_that_is_well_and_one_that_is_not(self, bench: Bench, command: Run) -> None:
        """Code 0 while every role has a valid pair, 5 with a line otherwise and where nothing listens."""
        bench.server.on("GET", READ, bench.lease(2), b"")
        with Serving("--profile", "webapp") as serving:
            port = serving.address.rpartition(":")[2]
            well = command("serve", "--check", f"--port={port}", "--host=0.0.0.0")
            wait_until(lambda: serving.ask("/health").status == 503)
            ill = command("serve", "--check", f"--port={port}")
        gone = command("serve", "--check", f"--port={port}")

        assert (well.returncode, well.stdout, well.stderr) == (0, f"127.0.0.1:{port}: ok\n", "")
        assert (ill.returncode, ill.stdout) == (5, "")
        assert f"127.0.0.1:{port}: no valid credentials for webapp; see what serve says on stderr" in ill.stderr
        assert gone.returncode == 5
        assert "no endpoint answers (ConnectionRefusedError); is serve running?" in gone.stderr

    def test_over_tls(self, bench: Bench, command: Run, tmp_path: pathlib.Path) -> None:
        """Over TLS it takes the certificate that is served, and no other; clients are told the name they know."""
        authority = Authority(tmp_path)
        pair, other = authority.issue("creds.example"), authority.issue("creds.example")
        tls = (f"--tls-cert={pair.certificate}", f"--tls-key={pair.key}")
        with Serving("--profile=webapp", "--host=localhost", *tls) as serving:
            uri = serving.environ[URI]
            port = uri.split(":")[2].partition("/")[0]
            well = command("serve", "--check", f"--port={port}", *tls)
            wrong = command("serve", "--check", f"--port={port}", f"--tls-cert={other.certificate}")
            missing = command("serve", "--check", f"--port={port}", f"--tls-cert={tmp_path / 'none'}")

        assert uri == f"https://localhost:{port}/webapp"
        assert (well.returncode, well.stderr) == (0, "")
        assert wrong.returncode == 5
        assert "(SSLCertVerificationError)" in wrong.stderr
        assert missing.returncode == 2

    def test_what_answers_otherwise(self, scripted: ScriptedServer, command: Run) -> None:
        """Something else that listens there is no endpoint."""
        done = command("serve", "--check", f"--port={scripted.address.rpartition(':')[2]}")

        assert done.returncode == 5
        assert "no endpoint answers" in done.stderr


def test_rotation_by_time_and_a_server_that_ended(
    bench: Bench, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The token is replaced when its time has come; should the server end by itself, the command does, with code 70."""
    path, seen = tmp_path / "token", set()
    monkeypatch.setattr(coredump, "hide", lambda: None)
    monkeypatch.setattr(serve, "GRACE", 0.05)
    monkeypatch.setattr(serve, "_LOOK", 0.05)

    def is_running(_: EndpointServer) -> bool:
        seen.add(path.read_text())
        return len(seen) < 3

    monkeypatch.setattr(EndpointServer, "running", property(is_running))
    arguments = ["--profile=webapp", f"--authorization-token-file={path}", "--rotate-authorization-token=100ms"]

    assert cli.main(["serve", *arguments]) == VaultCredentialError.exit_code

    assert len(seen) == 3
    assert "the endpoint ended by itself; start it again, with -v" in capsys.readouterr().err


def test_few_open_files(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The limit of open files is raised as far as it goes, and a line says when that is not enough."""
    resource = pytest.importorskip("resource")
    limits = {"now": (256, 1024)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.update(now=wanted))

    serve._say_what_fits(allow_connections())

    assert limits["now"] == (1024, 1024)
    assert (
        "room for 896 connections only; raise it with ulimit -n, or LimitNOFILE in the unit" in capsys.readouterr().err
    )
    limits["now"] = (1024, 1 << 20)
    serve._say_what_fits(allow_connections())
    assert limits["now"] == (4224, 1 << 20)
    assert capsys.readouterr().err == ""


@linux_only
def test_memory_is_hidden() -> None:
    """A long-running command is not dumpable: no process of the same user reads its memory; a child is again."""
    ask_kernel = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)"
    hide = "from vault_credential_process.cli import coredump; coredump.hide()"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ask_kernel!r}])"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join((ask_kernel, hide, ask_kernel, child))],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip

    assert done.stdout.split() == ["1", "0", "1"]


@linux_only
def test_memory_is_hidden_from_the_same_user() -> None:
    """Another process of the same user reads neither its environment nor where its memory lies; the control does."""
    python = shutil.which("python3", path="/usr/bin:/bin")
    if os.geteuid() != 0 or python is None:
        pytest.skip("it takes root to become somebody else, and a Python that everybody may run")
    source = inspect.getsource(coredump)
    found = {}
    for name, call in (("hidden", "hide()"), ("as usual", "forbid()")):
        program = f"{source}\n{call}\nprint('ready', flush=True)\nimport time\ntime.sleep(60)"
        somebody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
        with subprocess.Popen([python, "-c", program], stdout=subprocess.PIPE, text=True, **somebody) as victim:
            try:
                assert victim.stdout is not None
                assert victim.stdout.readline() == "ready\n"
                reads = f"open('/proc/{victim.pid}/environ').read(); open('/proc/{victim.pid}/maps').read()"
                done = subprocess.run(
                    [python, "-c", reads], capture_output=True, text=True, check=False, timeout=60, **somebody
                )
                found[name] = (done.returncode, "PermissionError" in done.stderr)
            finally:
                victim.kill()

    assert found == {"hidden": (1, True), "as usual": (0, False)}


def test_serve_hides_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does so before it reads anything; where the system has no such thing it goes on without."""
    called: list[str] = []
    monkeypatch.setattr(coredump, "hide", lambda: called.append("hidden"))
    assert cli.main(["serve", "--port=70000"]) == 2
    assert called == ["hidden"]

    monkeypatch.undo()
    monkeypatch.setattr(coredump, "forbid", lambda: called.append("forbidden"))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: 1 / 0 if called[-1] != "forbidden" else object())
    coredump.hide()
    assert called == ["hidden", "forbidden"]
