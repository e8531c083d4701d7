"""``get`` in broken set-ups: one line on stderr, the exit code of its class, no traceback, in time."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest
import requests

from vault_credential_process.demo.server import VaultServer
from vault_credential_process.testing.scripted import ScriptedServer, reply, silence

from .certificates import Authority
from .conftest import ENGINE, Run, Tenant, new_tenant
from .test_command import config_of, refusal

COMMAND_LINE = (sys.executable, "-m", "vault_credential_process")
GET = (*COMMAND_LINE, "get", "--profile", "webapp")
APPROLE = {"VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": "secret"}


@dataclasses.dataclass(frozen=True)
class Broken:
    """One broken set-up: what is wrong with the profile, the environment or the flags, and what is said of it."""

    name: str
    code: int
    words: str
    profile: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    environ: Mapping[str, str] = dataclasses.field(default_factory=dict)
    flags: tuple[str, ...] = ()


TABLE = [
    Broken(
        "wrong Secret ID",
        3,
        "/v1/auth/approle/login: login refused: invalid role or secret ID; check vault_role_id (from vault_role_id in "
        "[profile webapp]) and the Secret ID (from VAULT_SECRET_ID): it may have expired or be used up",
        {"vault_secret_id_file": None},
        {"VAULT_SECRET_ID": "00000000-0000-4000-8000-000000000000"},
    ),
    Broken("wrong Role ID", 3, "invalid role or secret ID; check vault_role_id", {"vault_role_id": "nobody"}),
    Broken("no Secret ID", 3, "set vault_secret_id_file or VAULT_SECRET_ID", {"vault_secret_id_file": None}),
    Broken(
        "missing Secret ID file",
        2,
        "vault_secret_id_file: /no/such/file: No such file or directory; check the path",
        {"vault_secret_id_file": "/no/such/file"},
    ),
    Broken("no way to log in", 3, "no way to log in", {"vault_role_id": None, "vault_secret_id_file": None}),
    Broken(
        "missing role setting",
        2,
        "vault_aws_role: missing (set --role, vault_aws_role in [profile webapp], or VAULT_AWS_ROLE)",
        {"vault_aws_role": None},
    ),
    Broken(
        "role that does not exist",
        2,
        "/v1/aws/creds/nosuch: no role 'nosuch' at mount 'aws'; check vault_aws_role (vault list aws/roles)",
        {"vault_aws_role": "nosuch"},
    ),
    Broken(
        "denied path",
        4,
        "/v1/aws/creds/denied: permission denied: the token has no policy for aws/creds/denied (its policies: ",
        {"vault_aws_role": "denied"},
    ),
    Broken(
        "unknown mount",
        2,
        "no AWS secrets engine at mount 'nosuch'; check vault_aws_mount",
        {"vault_aws_mount": "nosuch"},
    ),
    Broken(
        "unknown auth mount",
        3,
        "/v1/auth/nosuch/login: login refused: permission denied; either no auth method is mounted at nosuch",
        {"vault_auth_mount": "nosuch"},
    ),
    Broken("unknown namespace", 2, "no such namespace; check vault_namespace", {"vault_namespace": "nosuch"}),
    Broken("unknown auth namespace", 2, "no such namespace; check vault_n", {"vault_auth_namespace": "nosuch"}),
    Broken("unknown auth method", 2, "no method 'approl'; write auto, agent, ", {"vault_auth_method": "approl"}),
    Broken(
        "wrong port",
        5,
        "connection refused: nothing listens there; check vault_addr",
        {"vault_addr": "http://127.0.0.1:1"},
    ),
    Broken("misspelt key", 2, "no such setting; did you mean vault_aws_role?", {"vault_aws_rol": "webapp"}),
    Broken("malformed address", 2, "vault_addr: ", {"vault_addr": "vault.example.com:8200"}),
    Broken("plain http to another host", 2, "over plain http to another host", {"vault_addr": "http://192.0.2.1:8200"}),
    Broken("malformed duration", 2, "vault_aws_ttl: not a duration", {"vault_aws_ttl": "soon"}),
    Broken("unknown endpoint", 2, "vault_aws_endpoint: ", {"vault_aws_endpoint": "keys"}),
    Broken("secret in the profile", 2, "a secret must not stand in the config file", {"vault_secret_id": "5ec2e7"}),
    Broken("unknown profile", 2, "[profile webap] is not in ", flags=("--profile", "webap")),
    Broken(
        "no config file", 2, "no such file, so there is no profile 'webapp'", environ={"AWS_CONFIG_FILE": "/no/file"}
    ),
    Broken(
        "secret as a flag",
        2,
        "no such flag: --secret-id; did you mean --secret-id-file?",
        flags=("--secret-id", "5ec2e7"),
    ),
    Broken("stray word", 2, "an argument that belongs to no flag; see", flags=("5ec2e7",)),
    Broken("flag without its value", 2, "argument --role: expected one argument; see", flags=("--role",)),
    Broken("log file nowhere", 2, "--log-file: /no/log: No such file", flags=("--log-file", "/no/log")),
]


@pytest.mark.parametrize("broken", TABLE, ids=lambda broken: broken.name)
def test_broken_setup_is_told_in_one_line(command: Run, tenant: Tenant, broken: Broken) -> None:
    """What is wrong, where, and what to do stand in one line; the exit code tells the class; no secret is repeated."""
    hcl = 'path "*" { capabilities = ["read"] }\npath "aws/creds/denied" { capabilities = ["deny"] }\n'
    tenant.laboratory.allow(tenant.role, hcl)
    started = time.monotonic()

    done = command(
        "get",
        "--profile",
        "webapp",
        *broken.flags,
        **{"AWS_CONFIG_FILE": config_of(tenant, **broken.profile), **broken.environ},
    )

    line = refusal(done, broken.code)
    assert time.monotonic() - started < 10
    assert broken.words in line
    assert "5ec2e7" not in line
    assert tenant.approle["secret_id"] not in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("stauts",), "no such command: stauts; did you mean status?"),
        (("nothing",), "no such command; see vault-credential-process --help"),
        (
            ("--profile=x", "get"),
            "--profile: flags stand behind the command: vault-credential-process get --profile ...",
        ),
        (("-v", "status"), "-v: flags stand behind the command: vault-credential-process status -v ..."),
        (("--verbos",), "the following arguments are required: COMMAND; see vault-credential-process --help"),
        (("get", "--profil", "x"), "no such flag: --profil; did you mean --profile?"),
        (("cache", "list", "--jsn"), "no such flag: --jsn; did you mean --json?"),
        (("get", "--kv-mont=x"), "no such flag: --kv-mont; see vault-credential-process get --help"),
        (("get", "--auth-mout=x"), "no such flag: --auth-mout; did you mean --auth-mount?"),
        (("get", "--xyz=x", "--userame=y"), "no such flag: --xyz, --userame; see vault-credential-process get --help"),
        (("get", "--userame=y"), "no such flag: --userame; did you mean --username?"),
    ],
)
def test_unknown_command_or_flag(command: Run, arguments: tuple[str, ...], words: str) -> None:
    """What does not exist is one line, with what resembles it, or else with the way to ``--help``."""
    line = refusal(command(*arguments), 2)

    assert words in line
    assert len(line) < 160


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[profile webapp]\n5ec2e7\n", "line 2 is neither a key = value pair nor a [section]"),
        (b"vault_secret = 5ec2e7\n", "line 1 stands before any [section]"),
        (b"[profile webapp]\nregion = a\nregion = 5ec2e7\n", "key 'region' stands twice"),
        (b"\xff\xfe\x00[profile webapp]", "not UTF-8 text"),
    ],
)
def test_garbage_in_the_config_file(command: Run, tmp_path: pathlib.Path, content: bytes, words: str) -> None:
    """A config file that cannot be parsed is named with the line that is wrong, but not with what stands there."""
    path = tmp_path / "config"
    path.write_bytes(content)

    line = refusal(command("get", "--profile=webapp", AWS_CONFIG_FILE=str(path)), 2)

    assert f"{path}: " in line
    assert words in line
    assert "5ec2e7" not in line


def test_wrapping_token_in_place_of_the_secret_id(command: Run, tenant: Tenant) -> None:
    """A Secret ID that was delivered wrapped and never unwrapped is recognised for what it is."""
    server = tenant.laboratory.server
    wrapped = requests.post(
        f"{server.address}/v1/auth/approle/role/{tenant.role}/secret-id",
        headers={"X-Vault-Token": server.root_token, "X-Vault-Wrap-TTL": "60s"},
        timeout=10,
    ).json()["wrap_info"]["token"]
    config = config_of(tenant, vault_secret_id_file=None)

    line = refusal(command("get", "--profile=webapp", AWS_CONFIG_FILE=config, VAULT_SECRET_ID=wrapped), 3)

    assert "if it is a wrapping token, name its file in vault_secret_id_wrapped_file" in line
    assert wrapped not in line


@pytest.mark.usefixtures("no_cache")
def test_used_up_secret_id(command: Run, short_lived: Tenant) -> None:
    """A Secret ID of one use works once; the second time the line says that it may be used up."""
    home = short_lived.home
    once = new_tenant(short_lived.laboratory, home, secret_id_num_uses=1)
    once.laboratory.write_sts(once.role, ttl=900)
    config = config_of(once)

    assert command("get", "--profile=webapp", AWS_CONFIG_FILE=config).returncode == 0
    assert "it may have expired or be used up" in refusal(command("get", "--profile=webapp", AWS_CONFIG_FILE=config), 3)


def test_sealed_server(command: Run, short_lived: Tenant) -> None:
    """A sealed server is told from one that is away."""
    server = short_lived.laboratory.server
    config = config_of(short_lived)
    server.seal()
    try:
        line = refusal(command("get", "--profile=webapp", AWS_CONFIG_FILE=config), 6)
    finally:
        server.unseal()

    assert f"{server.address}/v1/auth/approle/login: Vault is sealed; unseal it" in line


def test_https_to_an_http_port(command: Run, tenant: Tenant) -> None:
    """TLS spoken to a plain listener is told as such, and not tried again."""
    config = config_of(tenant, vault_addr=tenant.laboratory.server.address.replace("http:", "https:"))

    line = refusal(command("get", "--profile=webapp", AWS_CONFIG_FILE=config), 5)

    assert "the server speaks plain http there; check vault_addr" in line


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")  # the harness's own requests
def test_tls_listener_without_https_and_without_its_ca(command: Run, tmp_path: pathlib.Path) -> None:
    """A real TLS listener: plain http is told to write https, and an unknown CA which setting names it."""
    authority = Authority(tmp_path)
    pair = authority.issue("127.0.0.1")
    with VaultServer(ENGINE, tls=(str(pair.certificate), str(pair.key))) as server:
        plain = server.address.replace("https:", "http:")
        spoken = refusal(command("get", "--role=x", "--vault-addr", plain, **APPROLE), 5)
        unknown = refusal(command("get", "--role=x", "--vault-addr", server.address, **APPROLE), 5)
        trusted = ("--cacert", str(authority.certificate))
        known = refusal(command("get", "--role=x", "--vault-addr", server.address, *trusted, **APPROLE), 3)

    assert "the server speaks TLS there; write https:// in vault_addr" in spoken
    assert "set vault_cacert to the CA that signed it" in unknown
    assert "login refused" in known


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ((429, {"errors": ["request path: rate limit quota exceeded"]}), 5, "too many requests"),
        ((502, b"<html>Bad Gateway</html>"), 5, "HTTP 502 in words that are not Vault's"),
        ((200, b"<html>Welcome</html>"), 5, "the answer is not Vault's JSON"),
        ((200, {"wrap_info": {"token": "hvs.wrapped"}, "data": None}), 2, "the answer is response-wrapped"),
        ((200, {"data": {}}), 5, "the answer is empty"),
        ((200, {"data": {"note": "hello"}}), 2, "is vault_aws_mount an AWS secrets engine?"),
    ],
)
def test_unusable_answers(
    command: Run, scripted: ScriptedServer, exchanges: dict[str, Any], answer: tuple[int, Any], code: int, words: str
) -> None:
    """A limit, a gateway's page, a wrapped, an empty or a strange answer is an error in one line, never a crash."""
    scripted.on_login(exchanges["approle_login"])
    scripted.on("GET", "aws/creds/webapp", reply(*answer))

    done = command("get", "--role=webapp", "--max-retries=0", "--vault-addr", scripted.address, **APPROLE)

    assert words in refusal(done, code)


def test_deadline_with_a_silent_server(command: Run, scripted: ScriptedServer) -> None:
    """A server that takes the connection and says nothing costs what ``vault_aws_timeout`` allows, and code 7."""
    scripted.on("POST", "auth/approle/login", silence(8))
    started = time.monotonic()

    done = command("get", "--role=webapp", "--timeout=1s", "--vault-addr", scripted.address, **APPROLE)

    assert "gave up after 1 s while waiting for POST /v1/auth/approle/login" in refusal(done, 7)
    assert 1 <= time.monotonic() - started < 5


def test_deadline_reaches_calls_that_no_timeout_reaches(command: Run, tenant: Tenant, tmp_path: pathlib.Path) -> None:
    """A call that hangs where no timeout reaches, in a pipe nobody writes to, is ended from outside, with its code."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    config = config_of(tenant, vault_secret_id_file=str(tmp_path / "pipe"), vault_aws_timeout="1s")

    line = refusal(command("get", "--profile=webapp", AWS_CONFIG_FILE=config), 7)

    assert "gave up after 1 s; check DNS, the network and the files that are named" in line


def test_interrupt_while_waiting(scripted: ScriptedServer) -> None:
    """Ctrl-C while Vault is silent ends the command at once, with one line and the shell's code."""
    scripted.on("POST", "auth/approle/login", silence(8))
    environ = {**os.environ, **APPROLE, "VAULT_ADDR": scripted.address, "VAULT_AWS_ROLE": "webapp"}
    with subprocess.Popen(GET[:-2], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 10
        while not scripted.requests and time.monotonic() < limit:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=5)

    assert scripted.requests
    assert (process.returncode, output, errors) == (130, "", "vault-credential-process: interrupted\n")


@pytest.mark.parametrize(
    ("redirection", "words"),
    [(">&-", "stdout: closed"), (">/dev/full", "stdout: No space left on device"), ("| true", "stdout: Broken pipe")],
)
def test_stdout_that_nobody_reads(run: Run, tenant: Tenant, redirection: str, words: str) -> None:
    """Where the document cannot be printed one line says so; nothing claims success."""
    script = f'{{ sleep 0.1; "$@"; echo "code $?" >&2; }} {redirection}'

    done = run("/bin/bash", "-c", script, "bash", *GET, AWS_CONFIG_FILE=config_of(tenant))

    line, code, rest = done.stderr.split("\n")
    assert words in line
    assert (code, rest) == ("code 70", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize(
    "words",
    [
        *("cache list", "cache clear", "completion bash", "--help", "--version", "get --help", "doctor --json"),
        *("status --profile=webapp", "status --all --json", "doctor --profile=webapp --no-login"),
        *("env --profile=webapp", "logout --profile=webapp"),
        "configure --profile=new --no-login --yes --dry-run --auth=token --vault-addr=http://127.0.0.1:1 --role=x",
    ],
)
def test_output_that_cannot_be_written(run: Run, tenant: Tenant, words: str) -> None:
    """Whatever the command, a full disk behind stdout is one line and no success."""
    script = '"$@" > /dev/full; echo "code $?" >&2'
    call = ("/bin/sh", "-c", script, "sh", *COMMAND_LINE, *words.split())

    for unbuffered in ("", "1"):
        done = run(*call, AWS_CONFIG_FILE=config_of(tenant), PYTHONUNBUFFERED=unbuffered)

        *lines, code = done.stderr.splitlines()
        assert lines[-1] == "vault-credential-process: the output cannot be written: No space left on device"
        assert code == "code 70"
        assert "Error" not in done.stderr


def test_closed_stdout_asks_vault_for_nothing(run: Run, scripted: ScriptedServer) -> None:
    """Where it is known beforehand that nobody can read them, no credentials are made."""
    environ = {**APPROLE, "VAULT_ADDR": scripted.address, "VAULT_AWS_ROLE": "webapp"}

    done = run("/bin/sh", "-c", '"$@" >&-', "sh", *GET[:-2], **environ)

    assert done.returncode == 70
    assert scripted.requests == []


def test_bug_is_one_line_without_its_text(run: Run, tenant: Tenant) -> None:
    """An unforeseen error ends with 70 and tells its kind and place; its text, which may hold a secret, it keeps."""
    program = (
        "import sys; from vault_credential_process import cli, fetcher\n"
        "def fetched(self, **_): raise RuntimeError('5ec2e7')\n"
        "fetcher.Fetcher.fetched = fetched\n"
        "sys.exit(cli.main(['get', '--profile', 'webapp']))"
    )

    line = refusal(run(sys.executable, "-c", program, AWS_CONFIG_FILE=config_of(tenant)), 70)

    assert "internal error: RuntimeError at <string>:2; please report it" in line
    assert "5ec2e7" not in line


def test_port_of_another_server(command: Run, tenant: Tenant) -> None:
    """An address that belongs to something else than Vault is told as such, in time."""
    started = time.monotonic()
    config = config_of(tenant, vault_addr=tenant.laboratory.cloud.endpoint)

    line = refusal(command("get", "--profile=webapp", AWS_CONFIG_FILE=config), 5)

    assert "words that are not Vault's: a proxy or another server answered; check vault_addr" in line
    assert time.monotonic() - started < 10
