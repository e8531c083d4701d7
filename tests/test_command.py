"""``get`` as a program of its own: what it prints, where it takes its settings from, and who it logs in as."""

from __future__ import annotations

import calendar
import json
import os
import pathlib
import re
import stat
import subprocess
import sys
import sysconfig
import time
from typing import Any

import pytest

from vault_credential_process import auth
from vault_credential_process.config import Config
from vault_credential_process.demo import aws
from vault_credential_process.models import options_of

from .conftest import Run, Tenant

SCRIPT = str(pathlib.Path(sysconfig.get_path("scripts")) / "vault-credential-process")
NO_SESSION = {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMI"}


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what a successful run printed, after a look at what holds for every success."""
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert done.stdout.endswith("}\n")
    printed: dict[str, Any] = json.loads(done.stdout)
    assert printed["Version"] == 1
    return printed


def refusal(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line of a run that failed with a code."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("vault-credential-process: ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("\n")
    return done.stderr


def seconds_left(printed: dict[str, Any]) -> float:
    """Return the seconds from now to the stated ``Expiration``."""
    return calendar.timegm(time.strptime(printed["Expiration"], "%Y-%m-%dT%H:%M:%SZ")) - time.time()


def config_of(tenant: Tenant, **changes: str | None) -> str:
    """Write the profile of a tenant with some keys changed, or left out, and return the path of the config file."""
    settings = {key: value for key, value in {**tenant.settings, **changes}.items() if value is not None}
    return str(tenant.write_config(tenant.laboratory.profile("webapp", settings)))


def without_approle(tenant: Tenant, **changes: str | None) -> str:
    """Write the profile of a tenant that says nothing of how to log in."""
    return config_of(tenant, **{"vault_role_id": None, "vault_secret_id_file": None, **changes})


def token_for(tenant: Tenant, **settings: Any) -> str:
    """Return a token of the tenant's policy."""
    body = {"policies": [tenant.role], "ttl": "10m", **settings}
    made: str = tenant.laboratory.server.call("POST", "auth/token/create", body)["auth"]["client_token"]
    return made


@pytest.mark.parametrize("program", [[SCRIPT], [sys.executable, "-m", "vault_credential_process"]])
def test_get_prints_one_line_that_aws_accepts(run: Run, tenant: Tenant, program: list[str]) -> None:
    """The installed script and ``python -m`` both print the document, and nothing else; AWS takes the keys."""
    printed = document(run(*program, "get", "--profile", "webapp", AWS_CONFIG_FILE=config_of(tenant)))

    assert list(printed) == [
        "Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration", "AccountId",
    ]  # fmt: skip
    assert printed["AccountId"] == aws.ACCOUNT
    assert 880 < seconds_left(printed) <= 900
    client = tenant.laboratory.cloud.client(
        "sts",
        aws_access_key_id=printed["AccessKeyId"],
        aws_secret_access_key=printed["SecretAccessKey"],
        aws_session_token=printed["SessionToken"],
    )
    assert f"assumed-role/{aws.ROLE}/" in client.get_caller_identity()["Arn"]


def test_get_needs_neither_stdin_nor_home_nor_terminal(tenant: Tenant) -> None:
    """A daemon starts its helper without HOME, terminal, PATH or stdin, and it works."""
    done = subprocess.run(
        [
            "/bin/sh",
            "-c",
            'exec "$0" "$@" <&-',
            sys.executable,
            "-m",
            "vault_credential_process",
            "get",
            "--profile=webapp",
        ],
        env={"AWS_CONFIG_FILE": config_of(tenant)},
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert document(done)["AccessKeyId"]


def test_profile_from_the_environment_and_by_default(command: Run, tenant: Tenant) -> None:
    """``AWS_PROFILE`` names the profile where no flag does, and ``[default]`` serves where nothing does."""
    config = config_of(tenant)
    assert document(command("get", AWS_CONFIG_FILE=config, AWS_PROFILE="webapp"))

    text = pathlib.Path(config).read_text().replace("[profile webapp]", "[default]")
    pathlib.Path(config).write_text(text)
    assert document(command("get", AWS_CONFIG_FILE=config))


def test_flag_beats_profile_beats_environment(command: Run, short_lived: Tenant) -> None:
    """A flag goes before the profile, the profile before the environment, ``BAO_X`` before ``VAULT_X``."""
    names = ("flag", "profile", "bao", "vault")
    role = {name: f"{short_lived.role}-{name}" for name in names}
    short_lived.laboratory.allow(short_lived.role, 'path "aws/creds/*" { capabilities = ["read"] }')
    for name in names:
        short_lived.laboratory.write(
            role[name], {"access_key": name, "secret_key": "s", "security_token": "t", "ttl": 900}
        )
    both = {"VAULT_AWS_ROLE": role["vault"], "BAO_AWS_ROLE": role["bao"]}

    def read(*flags: str, in_profile: str | None = None, **environ: str) -> str:
        config = config_of(short_lived, vault_aws_role=in_profile)
        return str(
            document(command("get", "--profile=webapp", *flags, AWS_CONFIG_FILE=config, **environ))["AccessKeyId"]
        )

    assert read("--role", role["flag"], in_profile=role["profile"], **both) == "flag"
    assert read(in_profile=role["profile"], **both) == "profile"
    assert read(**both) == "bao"
    assert read(VAULT_AWS_ROLE=role["vault"]) == "vault"


def test_everything_from_the_environment(command: Run, tenant: Tenant) -> None:
    """Without a profile the environment is enough; there ``AWS_ROLE`` names the role too, but not beside a profile."""
    environ = {
        "VAULT_ADDR": tenant.laboratory.server.address,
        "VAULT_ROLE_ID": tenant.approle["role_id"],
        "VAULT_SECRET_ID": tenant.approle["secret_id"],
        "AWS_ROLE": tenant.role,
    }

    assert document(command("get", **environ))["SessionToken"]
    beside = command("get", "--profile=webapp", AWS_CONFIG_FILE=config_of(tenant, vault_aws_role=None), **environ)
    assert "vault_aws_role: missing" in refusal(beside, 2)


def test_custom_mounts(command: Run, short_lived: Tenant) -> None:
    """Auth method and engine are found where they are mounted, slashes and all."""
    server = short_lived.laboratory.server
    server.mount_aws("team-a/cloud")
    server.call("POST", "sys/auth/team-a/machines", {"type": "approle"})
    try:
        path = "auth/team-a/machines/role/web"
        short_lived.laboratory.allow(short_lived.role, 'path "team-a/cloud/creds/web" { capabilities = ["read"] }')
        server.call(
            "POST",
            path,
            {"token_policies": [short_lived.role], "bind_secret_id": False, "token_bound_cidrs": "127.0.0.1"},
        )
        key = short_lived.laboratory.write_sts("web", ttl=900, mount="team-a/cloud")
        config = config_of(
            short_lived,
            vault_role_id=server.call("GET", f"{path}/role-id")["data"]["role_id"],
            vault_secret_id_file=None,
            vault_auth_mount="/team-a/machines/",
            vault_aws_mount="team-a/cloud",
            vault_aws_role="web",
        )
        assert document(command("get", "--profile=webapp", AWS_CONFIG_FILE=config))["AccessKeyId"] == key
    finally:
        server.call("DELETE", "sys/auth/team-a/machines")
        server.call("DELETE", "sys/mounts/team-a/cloud")


def test_sts_endpoint(command: Run, tenant: Tenant) -> None:
    """``vault_aws_endpoint = sts`` reads the engine's older path."""
    if not tenant.laboratory.server.engine.real:
        tenant.laboratory.write_sts(tenant.role, ttl=900, endpoint="sts")

    printed = document(command("get", "--profile=webapp", "--endpoint=sts", AWS_CONFIG_FILE=config_of(tenant)))

    assert printed["SessionToken"]
    assert 800 < seconds_left(printed) <= 3600


def test_static_credentials_have_no_session_token(command: Run, short_lived: Tenant) -> None:
    """Static credentials print no ``SessionToken`` and expire after the interval that is configured."""
    short_lived.laboratory.write(short_lived.role, NO_SESSION, endpoint="static-creds")
    config = config_of(short_lived, vault_aws_endpoint="static-creds", vault_aws_static_interval="10m")

    printed = document(command("get", "--profile=webapp", AWS_CONFIG_FILE=config))

    assert sorted(printed) == ["AccessKeyId", "Expiration", "SecretAccessKey", "Version"]
    assert 590 < seconds_left(printed) <= 600


@pytest.mark.parametrize("variable", ["VAULT_TOKEN", "BAO_TOKEN"])
def test_token_from_the_environment(command: Run, tenant: Tenant, variable: str) -> None:
    """An exported token logs in where no AppRole is configured, ``BAO_TOKEN`` before ``VAULT_TOKEN``; it lives on."""
    token = token_for(tenant)
    environ = {"VAULT_TOKEN": "hvs.dead", variable: token}

    assert document(command("get", "--profile=webapp", AWS_CONFIG_FILE=without_approle(tenant), **environ))
    assert tenant.laboratory.server.call("GET", "auth/token/lookup-self", token=token)["data"]["ttl"] > 0


def test_token_file_comes_last(command: Run, tenant: Tenant, clean_environment: pathlib.Path) -> None:
    """``~/.vault-token`` serves where nothing else is set, and an exported token goes before it."""
    file = clean_environment / ".vault-token"
    file.write_text(token_for(tenant) + "\n")
    config = without_approle(tenant)

    assert document(command("get", "--profile=webapp", AWS_CONFIG_FILE=config))
    dead = refusal(command("get", "--profile=webapp", AWS_CONFIG_FILE=config, VAULT_TOKEN="hvs.dead"), 3)
    assert "it is dead, or has no policy for" in dead


def test_token_never_answers_for_an_approle(command: Run, tenant: Tenant, clean_environment: pathlib.Path) -> None:
    """Where AppRole is configured neither the token file nor an exported token is used, not even when AppRole fails."""
    good = token_for(tenant)
    (clean_environment / ".vault-token").write_text("hvs.dead")
    assert document(command("get", "--profile=webapp", AWS_CONFIG_FILE=config_of(tenant), VAULT_TOKEN="hvs.dead"))

    (clean_environment / ".vault-token").write_text(good)
    wrong = config_of(tenant, vault_role_id="nobody")
    assert "invalid role" in refusal(command("get", "--profile=webapp", AWS_CONFIG_FILE=wrong, VAULT_TOKEN=good), 3)
    exported = {"VAULT_ROLE_ID": "nobody", "VAULT_SECRET_ID": "nothing"}
    done = command("get", "--profile=webapp", AWS_CONFIG_FILE=without_approle(tenant), **exported)
    assert "invalid role" in refusal(done, 3)


@pytest.mark.parametrize(("uses", "left"), [(1, 0), (2, 1)])
@pytest.mark.usefixtures("no_cache")
def test_token_with_its_last_use_is_refused(command: Run, tenant: Tenant, uses: int, left: int) -> None:
    """A token that would read with its last use is refused before the read: Vault would revoke what it read."""
    token = token_for(tenant, num_uses=uses)

    done = command("get", "--profile=webapp", AWS_CONFIG_FILE=without_approle(tenant), VAULT_TOKEN=token)

    assert f"the token from VAULT_TOKEN has {left} use" in refusal(done, 3)


def test_token_with_a_use_to_spare_works(command: Run, tenant: Tenant) -> None:
    """A token of three uses is looked up and read with, and asked for nothing after that: one use is left."""
    made = tenant.laboratory.server.call(
        "POST", "auth/token/create", {"policies": [tenant.role], "ttl": "10m", "num_uses": 3}
    )["auth"]
    config = without_approle(tenant)

    assert document(command("get", "--profile=webapp", AWS_CONFIG_FILE=config, VAULT_TOKEN=made["client_token"]))
    looked_up = tenant.laboratory.server.call("POST", "auth/token/lookup-accessor", {"accessor": made["accessor"]})
    assert looked_up["data"]["num_uses"] == 1


@pytest.mark.usefixtures("no_cache")
def test_token_that_may_not_look_itself_up(command: Run, short_lived: Tenant) -> None:
    """Such a token reads STS credentials; keys that die with it need ``vault_token_ttl``, which bounds them."""
    token = token_for(short_lived, no_default_policy=True)
    config = without_approle(short_lived, vault_aws_probe="off")

    def get(*flags: str) -> subprocess.CompletedProcess[str]:
        return command("get", "--profile=webapp", *flags, AWS_CONFIG_FILE=config, VAULT_TOKEN=token)

    short_lived.laboratory.write_sts(short_lived.role, ttl=900)
    assert 880 < seconds_left(document(get())) <= 900
    short_lived.laboratory.write(short_lived.role, NO_SESSION)
    assert "allow auth/token/lookup-self in its policy, or set vault_token_ttl" in refusal(get(), 2)
    assert 50 < seconds_left(document(get("--token-ttl", "60s"))) <= 60


def test_help_names_every_command_and_flag(command: Run) -> None:
    """``--help`` names the commands, ``get --help`` every flag with its profile key and its variables."""
    overview, details = command("--help"), command("get", "--help")

    assert (overview.returncode, overview.stderr, details.returncode, details.stderr) == (0, "", 0, "")
    assert re.search(r"^ +get +print credentials", overview.stdout, re.MULTILINE)
    words = " ".join(details.stdout.split())
    for declared in (*options_of(Config), *auth.options()):
        assert (f"({declared.key};" in words) == (declared.flag is not None), declared.key
        if declared.flag:
            assert f"{declared.flag} {declared.metavar} " in words
            assert all(variable in words for variable in declared.environ)
    assert {"--profile", "--log-file", "--verbose"} <= set(re.findall(r"--[a-z-]+", words))


def test_version(command: Run) -> None:
    """``--version`` prints name and version."""
    done = command("--version")

    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"vault-credential-process \d+\.\d+\.\d+\S*\n", done.stdout)


def test_verbose_writes_to_stderr_only(command: Run, tenant: Tenant) -> None:
    """``-v`` tells the steps on stderr; stdout still holds the document alone."""
    done = command("get", "--profile=webapp", "-v", AWS_CONFIG_FILE=config_of(tenant))

    assert done.returncode == 0
    assert json.loads(done.stdout)["Version"] == 1
    assert done.stdout.count("\n") == 1
    for step in (
        "auth method approle: ",
        "POST auth/approle/login: try 1: HTTP 200",
        f"read aws/creds/{tenant.role}: sts",
    ):
        assert step in done.stderr


@pytest.mark.usefixtures("no_cache")
def test_log_file_holds_the_steps(command: Run, tenant: Tenant, tmp_path: pathlib.Path) -> None:
    """``--log-file`` appends the same to a file of mode 0600, and leaves both streams as they are."""
    log, config = tmp_path / "steps.log", config_of(tenant)
    for runs in (1, 2):
        assert document(command("get", "--profile=webapp", "--log-file", str(log), AWS_CONFIG_FILE=config))
        assert log.read_text().count("POST auth/approle/login: try 1") == runs

    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \d+ vault_credential_process\S* DEBUG ", log.read_text())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_log_file_on_a_full_disk_is_no_failure(command: Run, tenant: Tenant) -> None:
    """A log that cannot be written costs the log, not the credentials, and says nothing on stderr."""
    config = config_of(tenant)

    assert document(command("get", "--profile=webapp", "--log-file", "/dev/full", AWS_CONFIG_FILE=config))


def test_misspelt_keys_that_resemble_nothing_are_only_logged(command: Run, tenant: Tenant) -> None:
    """An unknown ``vault_*`` key is told of with ``-v`` and does no harm without."""
    config = config_of(tenant, vault_zebra="yes")

    assert document(command("get", "--profile=webapp", AWS_CONFIG_FILE=config))
    assert (
        "vault_zebra in [profile webapp]: no such setting; ignored"
        in command("get", "--profile=webapp", "-v", AWS_CONFIG_FILE=config).stderr
    )
