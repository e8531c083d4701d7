"""``exec`` as a command: whose words are whose, what the program's environment holds, and ``--env``."""

from __future__ import annotations

import errno
import os
import pathlib
import subprocess
import sys
import time

import pytest

from vault_credential_process import auth
from vault_credential_process.cli.exec.child import Child
from vault_credential_process.cli.exec.child_environment import ENDPOINT, RIVALS, TOKEN, vault_variables
from vault_credential_process.cli.outer import RUNS
from vault_credential_process.config import Config
from vault_credential_process.demo import aws
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.models import options_of
from vault_credential_process.testing.scripted import ScriptedServer, reply

from .conftest import COMMAND, Run, Tenant
from .platforms.test_elsewhere import ELSEWHERE
from .talk import GOOD, LOGGED_IN, LOOKED_UP, STS
from .test_command import config_of, refusal
from .test_exec_files import KEYS, PROCESS


def shown(command: Run, *flags: str, config: str, **environ: str) -> dict[str, str]:
    """Return the environment that a program has."""
    words = ("exec", "--profile=webapp", *flags, "--", "env", "--null")
    done = command(*words, AWS_CONFIG_FILE=config, **environ)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(line.split("=", 1) for line in done.stdout.split("\0")[:-1])


SECRETS = {
    "VAULT_TOKEN", "VAULT_SECRET_ID", "VAULT_PASSWORD", "VAULT_JWT", "VAULT_GITHUB_TOKEN", "VAULT_PROXY_ADDR",
    "VAULT_HTTP_PROXY", "VAULT_ID_TOKEN", "VAULT_AWS_ROLE", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "IDENTITY_HEADER",
}  # fmt: skip
HARMLESS = {
    "VAULT_AGENT_ADDR", "BAO_AGENT_ADDR", "VAULT_CONFIG_PATH", "BAO_CONFIG_PATH", "VAULT_TOKEN_PATH",
    "BAO_TOKEN_PATH", "ACTIONS_ID_TOKEN_REQUEST_URL", "GITLAB_CI", "GITHUB_ACTIONS", "IDENTITY_ENDPOINT",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST", "GCE_METADATA_HOST", "K_SERVICE", "VAULT_AWS_IAM_NESTED",
}  # fmt: skip
"""Variables of platforms and files that auth methods look at, and which hold no proof of anything."""


class TestEnvironment:
    """The variables of a program."""

    def test_what_is_set(self, command: Run, tenant: Tenant) -> None:
        """Endpoint, token, region, our files and a mark; all else is as it was."""
        config = config_of(tenant)
        made = shown(command, config=config, SOMETHING="else", VAULT_ADDR="https://vault.example.com:8200")

        assert made[ENDPOINT].startswith("http://127.0.0.1:")
        assert made["AWS_REGION"] == made["AWS_DEFAULT_REGION"] == aws.REGION
        assert (made[RUNS], made["SOMETHING"]) == ("webapp", "else")
        assert made["VAULT_ADDR"] == "https://vault.example.com:8200"
        assert not [name for name, value in made.items() if value == config and "OUTER" not in name]

    def test_variables(self, command: Run, tenant: Tenant) -> None:
        """Exported keys and profiles are taken away, and the program has ours."""
        config = config_of(tenant)
        rivals = {name: "EXAMPLE" for name in RIVALS if name not in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")}
        rivals |= {"AWS_PROFILE": "other", "AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere", "AWS_ROLE_ARN": aws.ROLE_ARN}

        made = shown(command, config=config, **rivals)

        assert {name for name in RIVALS if name in made} == {ENDPOINT, TOKEN}
        assert made[TOKEN] != "EXAMPLE"
        assert len(made[TOKEN]) == 43

    def test_exported_profile_names_the_one_in_use(self, command: Run, tenant: Tenant) -> None:
        """``AWS_PROFILE`` says which profile it is where no flag does, and the program does not see it."""
        config = config_of(tenant)
        done = command("exec", "--", "env", AWS_CONFIG_FILE=config, AWS_PROFILE="webapp")

        assert (done.returncode, done.stderr) == (0, "")
        assert f"{RUNS}=webapp\n" in done.stdout
        assert "AWS_PROFILE" not in done.stdout

    def test_without_any_file(self, command: Run, tenant: Tenant) -> None:
        """All settings by flags, and no config file: the program has an empty one."""
        flags = [f"--{flag}={tenant.settings[key]}" for flag, key in {
            "vault-addr": "vault_addr", "role-id": "vault_role_id", "secret-id-file": "vault_secret_id_file",
            "role": "vault_aws_role",
        }.items()]  # fmt: skip
        show = "import os; print(os.environ['" + RUNS + "']); print(open(os.environ['AWS_CONFIG_FILE']).read().split())"
        done = command("exec", *flags, "--", sys.executable, "-c", show)

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [tenant.role, "['[default]']"]

    def test_variable_without_a_name(self, run: Run, tenant: Tenant) -> None:
        """What no program can be started with is left out, instead of ending it."""
        words = ("env", "=odd=1", *COMMAND.split(), "exec", "--profile=webapp", "--", "env")
        done = run(*words, AWS_CONFIG_FILE=config_of(tenant))

        assert (done.returncode, done.stderr) == (0, "")
        assert "odd" not in done.stdout

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
    @pytest.mark.parametrize("name", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
    def test_file_that_is_a_pipe(self, name: str, command: Run, tenant: Tenant) -> None:
        """One that gives what it holds once is refused, instead of an endless wait for more of it."""
        pipe = tenant.home / "pipe"
        os.mkfifo(pipe)
        files = {"AWS_CONFIG_FILE": config_of(tenant), name: str(pipe)}
        done = command("exec", "--profile=webapp", "--", "true", **files)

        assert f"{name}: {pipe} is a pipe, which can be read but once; name a file" in refusal(done, 2)

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc on this system")
    def test_no_more_processes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where there may be none the line says so, and nothing is left open."""

        def refuse() -> int:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        monkeypatch.setattr(os, "fork", refuse)
        before = os.listdir("/proc/self/fd")
        with pytest.raises(ConfigurationError, match=r"no process can be started: .*; raise ulimit -u"):
            Child()

        assert os.listdir("/proc/self/fd") == before

    def test_region_of_several_lines(self, command: Run, tenant: Tenant) -> None:
        """An indented line belongs to the value above it: a key there reaches no variable."""
        config = config_of(tenant)
        text = pathlib.Path(config).read_text(encoding="utf-8")
        region = f"region = {aws.REGION}\n"
        assert region in text
        pathlib.Path(config).write_text(text.replace(region, f"{region}  aws_secret_access_key = EXAMPLE\n"))
        done = command("exec", "--profile=webapp", "--", "env", AWS_CONFIG_FILE=config)

        assert "region in [profile webapp]: not the name of a region" in refusal(done, 2)

    def test_region_that_is_set(self, command: Run, tenant: Tenant) -> None:
        """A region that is exported holds, for all SDKs."""
        made = shown(command, config=config_of(tenant), AWS_REGION="eu-west-3")

        assert made["AWS_REGION"] == made["AWS_DEFAULT_REGION"] == "eu-west-3"

    def test_tokens_of_single_services_are_taken_away(self, command: Run, tenant: Tenant) -> None:
        """A request that carried one would not be signed with our keys."""
        tokens = {"AWS_BEARER_TOKEN_BEDROCK": "EXAMPLE", "AWS_BEARER_TOKEN_ANOTHER": "EXAMPLE"}
        for flags in ((), ("--env",)):
            made = shown(command, *flags, config=config_of(tenant), **tokens)
            assert made.keys() & tokens.keys() == set()

    def test_secrets_are_taken_away(self, command: Run, tenant: Tenant) -> None:
        """No secret of ours is left in the environment, unless ``--keep-vault-env`` says so."""
        config = config_of(tenant)
        secrets = dict.fromkeys(SECRETS | {f"BAO_{n[6:]}" for n in SECRETS if n.startswith("VAULT_")}, "EXAMPLE")
        secrets |= {name: "http://user:EXAMPLE@127.0.0.1:1" for name in secrets if "PROXY" in name}
        profile = {"vault_auth_method": "approle"}
        config = config_of(tenant, **profile)
        proxies = {name: secrets.pop(name) for name in list(secrets) if "PROXY" in name}

        assert "EXAMPLE" not in str(shown(command, config=config, **secrets))
        assert proxies.keys() <= vault_variables()
        made = shown(command, "--keep-vault-env", config=config, **secrets)
        assert {name for name, value in made.items() if value == "EXAMPLE"} == set(secrets)

    def test_every_variable_is_decided(self) -> None:
        """Of every variable that an auth method declares it is decided whether it may stay."""
        declared = {o.environ[0] for o in (*options_of(Config), *auth.options()) if o.secret}
        ambient = {name for method in auth.METHODS for name in auth.find(method).ambient}

        assert declared <= SECRETS
        assert vault_variables() >= SECRETS
        assert {name for name in ambient if not name.startswith("AWS_")} <= SECRETS | HARMLESS
        assert HARMLESS.isdisjoint(vault_variables())


class TestCommandLine:
    """What is ours and what is the program's."""

    def test_words_behind_the_dashes_are_left_alone(self, command: Run, tenant: Tenant) -> None:
        """Whatever stands behind the first ``--`` is the program's, names of our commands and flags among them."""
        words = ("get", "-v", "--help", "--", "--profile", "other", "--version", "--env", "")
        done = command(
            "exec", "--profile=webapp", "--", sys.executable, "-c", "import sys; print(sys.argv[1:])", *words,
            AWS_CONFIG_FILE=config_of(tenant),
        )  # fmt: skip

        assert (done.returncode, done.stdout, done.stderr) == (0, f"{list(words)}\n", "")

    @pytest.mark.parametrize(
        ("words", "line"),
        [
            (("exec", "--profile=webapp", "aws", "s3", "ls"), "the command stands behind --"),
            (("exec", "--profile", "webapp"), "the command stands behind --"),
            (("exec", "--profile=webapp", "--"), "no command behind --"),
            (("exec", "--profile=webapp", "--", ""), "no command behind --"),
            (("exec", "--profil=webapp", "--", "true"), "no such flag: --profil"),
            (("exec", "aws", "--", "true"), "an argument that belongs to no flag"),
        ],
    )
    def test_no_command(self, words: tuple[str, ...], line: str, command: Run) -> None:
        """Without ``--``, or without anything behind it, one line says how to write it."""
        assert line in refusal(command(*words), 2)

    def test_help(self, command: Run) -> None:
        """The help ends with an example, and has the command in its usage."""
        done = command("exec", "--help")

        assert done.returncode == 0
        assert "-- COMMAND [ARGUMENT ...]" in " ".join(done.stdout.split())
        assert done.stdout.rstrip().endswith("example: vault-credential-process exec --profile webapp -- aws s3 ls")

    def test_no_such_program(self, command: Run, tmp_path: pathlib.Path, scripted: ScriptedServer) -> None:
        """127 and one line, as a shell has it, before Vault is asked for anything."""
        flags = ("exec", f"--vault-addr={scripted.address}", "--role=webapp", "--")
        for name in ("no-such-program", str(tmp_path / "none")):
            line = refusal(command(*flags, name, VAULT_TOKEN="hvs.EXAMPLE"), 127)
            assert f"{name}: there is no such program" in line
        assert scripted.requests == []

    def test_program_that_cannot_be_run(self, command: Run, tenant: Tenant, tmp_path: pathlib.Path) -> None:
        """126 and one line; a script without ``#!`` is run by ``sh``, as a shell does."""
        config = config_of(tenant)
        script = tmp_path / "script"
        script.write_text('echo "$1"; exit 4\n')
        script.chmod(0o600)
        line = refusal(command("exec", "--profile=webapp", "--", str(script), "a", AWS_CONFIG_FILE=config), 126)
        assert f"{script}: cannot be run: Permission denied" in line

        script.chmod(0o700)
        done = command("exec", "--profile=webapp", "--", str(script), "a b", AWS_CONFIG_FILE=config)
        assert (done.returncode, done.stdout, done.stderr) == (4, "a b\n", "")
        interpreter = tmp_path / "interpreter"
        interpreter.write_text("#!/no/such/interpreter\n")
        interpreter.chmod(0o700)
        assert refusal(command("exec", "--profile=webapp", "--", str(interpreter), AWS_CONFIG_FILE=config), 127)

    @pytest.mark.parametrize("flags", [(), ("--env",)])
    def test_nothing_is_run_without_credentials(
        self, flags: tuple[str, ...], command: Run, tenant: Tenant, tmp_path: pathlib.Path
    ) -> None:
        """Where Vault refuses there is one line, the exit code of its class, and no program."""
        config = config_of(tenant, vault_aws_role="nosuch")
        trace = tmp_path / "trace"
        done = command("exec", "--profile=webapp", *flags, "--", "touch", str(trace), AWS_CONFIG_FILE=config)

        assert "the token has no policy for aws/creds/nosuch" in refusal(done, 4)
        assert not trace.exists()

    def test_words_that_are_no_text(self, command: Run, tenant: Tenant) -> None:
        """Bytes that are not UTF-8 reach the program as they are, as words and as variables."""
        odd = os.fsdecode(b"\xff\xfe")
        show = "import os, sys; print(os.fsencode(sys.argv[1]), os.environb[b'ODD'])"
        done = command(
            "exec",
            "--profile=webapp",
            "--",
            sys.executable,
            "-c",
            show,
            odd,
            AWS_CONFIG_FILE=config_of(tenant),
            ODD=odd,
        )

        assert (done.returncode, done.stdout) == (0, "b'\\xff\\xfe' b'\\xff\\xfe'\n"), done.stderr

    def test_commands_of_ours_inside(self, command: Run, tenant: Tenant) -> None:
        """They go by the user's files again, and by the profile in use unless another is named."""
        config = config_of(tenant)
        ours = (sys.executable, "-m", "vault_credential_process")
        outer = ("exec", "--profile=webapp", "--")
        for words in (("status",), ("status", "--profile=webapp"), ("get", "--profile=webapp"), ("whoami",)):
            done = command(*outer, *ours, *words, AWS_CONFIG_FILE=config)
            assert (done.returncode, done.stderr) == (0, ""), words
        assert f":assumed-role/{aws.ROLE}/" in done.stdout
        other = command(*outer, *ours, "status", "--profile=nope", AWS_CONFIG_FILE=config)
        assert f"[profile nope] is not in {config}" in refusal(other, 2)

    def test_commands_of_ours_inside_with_a_role_alone(self, command: Run, tenant: Tenant) -> None:
        """Where a role was named, and no profile, none is in use inside."""
        flags = [f"--{key.removeprefix('vault_').replace('_', '-')}={value}" for key, value in tenant.settings.items()]
        flags = [flag.replace("--addr=", "--vault-addr=").replace("--aws-role=", "--role=") for flag in flags]
        inner = (sys.executable, "-c", "import os; print(*(name for name in os.environ if 'OUTER_PROFILE' in name))")
        done = command("exec", *flags, "--", *inner)

        assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")

    def test_nesting(self, command: Run, tenant: Tenant) -> None:
        """Inside of itself it refuses; with ``--nest`` it runs from the user's own files, in the same profile too."""
        config = config_of(tenant)
        inner = (sys.executable, "-m", "vault_credential_process", "exec", "--profile=webapp")
        outer = ("exec", "--profile=webapp", "--")

        line = refusal(command(*outer, *inner, "--", "true", AWS_CONFIG_FILE=config), 2)
        assert f"this runs under exec already, as webapp ({RUNS}); leave that first, or add --nest" in line
        done = command(*outer, *inner, "--nest", "--", "env", AWS_CONFIG_FILE=config)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:") == 1
        assert f"VAULT_CREDENTIAL_PROCESS_OUTER_CONFIG={config}\n" in done.stdout


@pytest.mark.parametrize("flags", [(), ("--env",)], ids=["endpoint", "env"])
def test_without_fork(flags: tuple[str, ...], scripted: ScriptedServer) -> None:
    """On Windows the program runs beside us, with its words as they are, and we end with its exit code."""
    scripted.on("GET", "auth/token/lookup-self", LOOKED_UP)
    scripted.on("GET", "aws/creds/webapp", STS)
    show = "import os, sys; print(os.getppid(), sys.argv[1:], 'AWS_SECRET_ACCESS_KEY' in os.environ); sys.exit(5)"
    ours = ("exec", f"--vault-addr={scripted.address}", "--role=webapp", *flags, "--")
    with subprocess.Popen(
        [sys.executable, str(ELSEWHERE), "win32", *ours, sys.executable, "-c", show, "a b", ""],
        env={**os.environ, "VAULT_TOKEN": "hvs.EXAMPLE", "VAULT_AWS_CACHE": "none"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        said = process.communicate(timeout=60)

    assert (process.returncode, *said) == (5, f"{process.pid} ['a b', ''] {bool(flags)}\n", "")


class TestEnv:
    """``--env``: the keys themselves, and no process of ours."""

    WHO = (
        "import boto3, os; credentials = boto3.Session().get_credentials(); boto3.client('s3').list_buckets(); "
        "print(os.getpid(), credentials.method, os.environ['AWS_CREDENTIAL_EXPIRATION'])"
    )

    def test_becomes_the_program(self, tenant: Tenant) -> None:
        """The program has our process number, and keys with their end in UTC, whatever ``[default]`` holds."""
        config = config_of(tenant)
        with open(config, "a", encoding="utf-8") as file:
            file.write(f"[default]\n{KEYS}{PROCESS}")
        command = [*COMMAND.split(), "exec", "--profile=webapp", "--env", "--", sys.executable, "-c", self.WHO]
        with subprocess.Popen(
            command, env={**os.environ, "AWS_CONFIG_FILE": config}, stdout=subprocess.PIPE, text=True
        ) as process:
            pid, method, expiration = process.communicate(timeout=60)[0].split()

        assert (int(pid), method) == (process.pid, "env")
        left = time.mktime(time.strptime(expiration, "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime())
        assert 800 < left <= 900

    def test_environment(self, command: Run, tenant: Tenant) -> None:
        """Keys, region and our files, and nothing of an endpoint or of an earlier pair."""
        made = shown(command, "--env", config=config_of(tenant), AWS_SECURITY_TOKEN="old", VAULT_TOKEN="hvs.EXAMPLE")

        assert {name for name in RIVALS if name in made} == {
            "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CREDENTIAL_EXPIRATION",
            "AWS_ACCOUNT_ID",
        }  # fmt: skip
        assert (made["AWS_REGION"], made[RUNS]) == (aws.REGION, "webapp")
        assert "VAULT_TOKEN" not in made

    def test_token_of_an_iam_user_is_not_revoked(
        self, command: Run, scripted: ScriptedServer, tmp_path: pathlib.Path
    ) -> None:
        """A key that dies with its token is handed over alive, without a cache too; the token is left to its end."""
        scripted.on("POST", "auth/approle/login", LOGGED_IN)
        scripted.on("GET", "aws/creds/webapp", reply(200, {
            "lease_id": "aws/creds/webapp/1", "lease_duration": 900,
            "data": {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "EXAMPLE", "security_token": None},
        }))  # fmt: skip
        scripted.on("GET", "auth/token/lookup-self", GOOD["look-up"])
        done = command(
            "exec", f"--vault-addr={scripted.address}", "--role=webapp", "--role-id=role", "--no-cache", "--probe=off",
            "--env", "--", "sh", "-c", 'echo "$AWS_ACCESS_KEY_ID"',
            VAULT_SECRET_ID="EXAMPLE",
        )  # fmt: skip

        assert (done.returncode, done.stdout, done.stderr) == (0, "AKIAIOSFODNN7EXAMPLE\n", "")
        assert scripted.asked("POST", "auth/token/revoke-self") == 0
