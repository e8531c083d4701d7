"""The plugin for the AWS CLI, in real ``aws`` commands: v1 of PyPI, and whatever v2 there is."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from typing import Any, NamedTuple

import botocore.credentials
import botocore.hooks
import botocore.session
import pytest

from vault_credential_process import awscli, fastpath
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.errors import ConfigurationError

from .conftest import NAME, ROOT, Built, Tenant

AWS_CLI = "awscli>=1.40"
V2 = os.environ.get("AWS_CLI_V2") or shutil.which("aws")
"""An ``aws`` command that may be one of version 2."""

PLUGIN = f"[plugins]\nvault = {NAME}.awscli\n"

Done = subprocess.CompletedProcess[str]
Aws = Callable[..., Done]


def run(*command: str, **environ: str) -> Done:
    """Run a program in the cleared environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    return subprocess.run(
        command,
        env={**kept, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def v1(built: Built, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where the programs are of an environment with the AWS CLI of PyPI and the built wheel."""
    directory = tmp_path_factory.mktemp("aws-cli") / "environment"
    pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for step in [sys.executable, "-m", "venv", str(directory)], [*pip, AWS_CLI, str(built.wheel)]:
        done = subprocess.run(
            step, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode:
            reason = ((done.stderr or done.stdout).strip().splitlines() or ["no reason given"])[-1]
            pytest.skip(f"{AWS_CLI} and the wheel cannot be installed: {reason}")
    return directory / "bin"


class Webapp(NamedTuple):
    """A profile whose ``credential_process`` would leave a trace."""

    tenant: Tenant
    trace: pathlib.Path

    @property
    def laboratory(self) -> Laboratory:
        """Where it runs."""
        return self.tenant.laboratory

    def config(self, *further: str, plugins: str = PLUGIN, **changes: str) -> str:
        """Write the config file, with some keys of the profile changed; return its path."""
        text = self.laboratory.profile("webapp", {**self.tenant.settings, **changes})
        process = f'credential_process = sh -c "touch {self.trace}; exit 1"\n'
        return str(self.tenant.write_config(plugins, text, process, *further))


@pytest.fixture
def webapp(tenant: Tenant, tmp_path: pathlib.Path) -> Webapp:
    """The profile, and where its trace would be."""
    return Webapp(tenant, tmp_path / "trace")


@pytest.fixture
def aws1(v1: pathlib.Path) -> Aws:
    """Run ``aws`` of version 1."""
    return lambda *arguments, **environ: run(str(v1 / "aws"), *arguments, **environ)


@pytest.mark.system
class TestVersion1:
    """The AWS CLI v1, with the package in its environment."""

    def test_no_process_is_run(self, aws1: Aws, webapp: Webapp, cloud: aws.LocalAWS) -> None:
        """``aws s3 ls`` lists a bucket with credentials from Vault, and runs no process for them."""
        done = aws1("--profile", "webapp", "s3", "ls", AWS_CONFIG_FILE=webapp.config())

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split()[-1] == aws.BUCKET
        assert not webapp.trace.exists()
        assert cloud.requests[-1][1] == "sent"

    def test_profile_of_the_environment(self, aws1: Aws, webapp: Webapp) -> None:
        """The profile may come from ``AWS_PROFILE``; ``aws configure list`` names the provider."""
        done = aws1("configure", "list", AWS_CONFIG_FILE=webapp.config(), AWS_PROFILE="webapp")
        rows = [line.split() for line in done.stdout.splitlines()]

        assert (done.returncode, done.stderr) == (0, "")
        assert [row[2] for row in rows if row[:1] == ["access_key"]] == ["vault"]
        assert not webapp.trace.exists()

    def test_autoload_serves_it_as_well(self, aws1: Aws, v1: pathlib.Path, webapp: Webapp) -> None:
        """Without the plugin, autoload in the environment of ``aws`` has it run no process either."""
        own = str(v1 / "vault-credential-process")
        assert run(own, "autoload", "enable").returncode == 0
        try:
            done = aws1("--profile", "webapp", "s3", "ls", AWS_CONFIG_FILE=webapp.config(plugins=""))
        finally:
            run(own, "autoload", "disable")

        assert (done.returncode, done.stderr) == (0, "")
        assert not webapp.trace.exists()

    def test_without_the_plugin_the_process_is_run(self, aws1: Aws, webapp: Webapp) -> None:
        """The control: without ``[plugins]`` the same profile leaves its trace."""
        done = aws1("--profile", "webapp", "s3", "ls", AWS_CONFIG_FILE=webapp.config(plugins=""))

        assert done.returncode != 0
        assert webapp.trace.exists()

    def test_runs_share_the_cache_of_the_host(
        self, aws1: Aws, webapp: Webapp, cloud: aws.LocalAWS, shm: pathlib.Path
    ) -> None:
        """Each run is a process of its own: the second uses what the first kept, as ``get`` would."""
        config = webapp.config()
        before = len(cloud.requests)
        for _ in range(2):
            assert aws1("--profile", "webapp", "s3", "ls", AWS_CONFIG_FILE=config).returncode == 0
        keys = {key for key, _ in cloud.requests[before:] if key != cloud.engine_keys["aws_access_key_id"]}

        assert len(keys) == 1
        if sys.platform.startswith("linux"):
            assert list((shm / fastpath.NAME).iterdir()) != []

    def test_another_cache_is_a_setting(self, aws1: Aws, webapp: Webapp, shm: pathlib.Path) -> None:
        """``vault_aws_cache`` in the profile, and ``VAULT_AWS_CACHE``, say where else."""
        by_profile = aws1("--profile", "webapp", "s3", "ls", AWS_CONFIG_FILE=webapp.config(vault_aws_cache="none"))
        by_variable = aws1("--profile", "webapp", "s3", "ls", AWS_CONFIG_FILE=webapp.config(), VAULT_AWS_CACHE="none")

        for done in (by_profile, by_variable):
            assert (done.returncode, done.stderr) == (0, "")
        # The directory is there for word of refused secrets alone.
        assert list((shm / fastpath.NAME).glob("entry-*")) == []

    def test_chained_role(self, aws1: Aws, webapp: Webapp, clean_environment: pathlib.Path) -> None:
        """A role is assumed with our credentials, and the CLI keeps it in its own cache, as ever."""
        chained = webapp.laboratory.profile("chained", {"role_arn": aws.CHAINED_ROLE_ARN, "source_profile": "webapp"})
        config = webapp.config(chained)

        done = aws1("--profile", "chained", "sts", "get-caller-identity", AWS_CONFIG_FILE=config)

        assert (done.returncode, done.stderr) == (0, "")
        assert f"assumed-role/{aws.CHAINED_ROLE}/" in json.loads(done.stdout)["Arn"]
        assert not webapp.trace.exists()
        assert list((clean_environment / ".aws" / "cli" / "cache").iterdir()) != []

    def test_profile_of_others_loads_nothing(self, v1: pathlib.Path, webapp: Webapp) -> None:
        """With a profile that is not ours the command is what it was, and loads two small modules more."""
        other = "[profile other]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = EXAMPLE\n"
        config = webapp.config(other)
        program = "import awscli.clidriver as c, sys; c.main(); print([*sys.modules])"

        done = run(
            str(v1 / "python"),
            "-c",
            program,
            "--profile",
            "other",
            "configure",
            "get",
            "region",
            AWS_CONFIG_FILE=config,
        )

        assert done.stderr == ""
        assert f"{NAME}.awscli" in done.stdout
        assert f"{NAME}.provider" not in done.stdout

    def test_shows_our_line_when_vault_refuses(self, aws1: Aws, webapp: Webapp) -> None:
        """The user of the ``aws`` command reads our line, and no traceback."""
        done = aws1("--profile", "webapp", "s3", "ls", AWS_CONFIG_FILE=webapp.config(vault_role_id="nobody"))

        assert (done.returncode, done.stdout) == (255, "")
        assert "login refused: invalid role or secret ID" in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert not webapp.trace.exists()

    def test_refuses_in_one_line_what_it_cannot_load(self, aws1: Aws, webapp: Webapp, tmp_path: pathlib.Path) -> None:
        """Where a dependency is missing a profile of ours gets one line, and the other profiles work."""
        (tmp_path / "hvac.py").write_text("raise ModuleNotFoundError(\"No module named 'hvac'\")\n")
        config = webapp.config("[profile other]\nregion = eu-central-1\n")
        environ = {"AWS_CONFIG_FILE": config, "PYTHONPATH": str(tmp_path)}

        done = aws1("--profile", "webapp", "s3", "ls", **environ)
        other = aws1("--profile", "other", "configure", "get", "region", **environ)

        assert (done.returncode, done.stdout) == (255, "")
        assert done.stderr.strip() == (
            "vault-credential-process: this aws command cannot load the plugin (ModuleNotFoundError: No module named "
            "'hvac'); install vault-credential-process where it looks, or take the plugin out of [plugins] and leave "
            "it to the credential_process line"
        )
        assert (other.returncode, other.stdout, other.stderr) == (0, "eu-central-1\n", "")

    def test_broken_config_is_the_commands_to_report(self, aws1: Aws, webapp: Webapp) -> None:
        """A profile that does not exist gets the command's own words."""
        done = aws1("--profile", "nosuch", "s3", "ls", AWS_CONFIG_FILE=webapp.config())

        assert done.returncode == 255
        assert done.stderr.strip().endswith("The config profile (nosuch) could not be found")


class Version2(NamedTuple):
    """An ``aws`` command of version 2."""

    command: str
    version: tuple[int, ...]

    @property
    def takes_it(self) -> bool:
        """Whether its botocore is new enough; that of Debian 12 (2.9.19) is not."""
        return self.version >= (2, 25)


@pytest.fixture(scope="module")
def v2() -> Version2:
    """The command; its plugins come from this interpreter's packages, so it must be of the same Python."""
    if V2 is None:
        pytest.skip("no AWS CLI v2: AWS_CLI_V2 is not set, and there is no aws on PATH")
    told = run(V2, "--version").stdout
    python = f"Python/{sys.version_info[0]}.{sys.version_info[1]}."
    if not told.startswith("aws-cli/2") or python not in told:
        pytest.skip(f"no AWS CLI v2 of {python}*: {V2} is {told.strip() or 'nothing'}; AWS_CLI_V2 names another")
    return Version2(V2, tuple(map(int, told.split()[0].removeprefix("aws-cli/").split("."))))


@pytest.mark.system
class TestVersion2:
    """The AWS CLI v2, whose plugins lie on a path of their own."""

    @pytest.mark.parametrize("profile", ["webapp", "chained"])
    def test_no_process_is_run(self, v2: Version2, webapp: Webapp, profile: str) -> None:
        """It lists a bucket, with a chained role too, and runs no process; an old one refuses in one line."""
        chained = webapp.laboratory.profile("chained", {"role_arn": aws.CHAINED_ROLE_ARN, "source_profile": "webapp"})
        places = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
        config = webapp.config(chained, plugins=f"{PLUGIN}cli_legacy_plugin_path = {places}\n")
        # 2.9.19 does not know endpoint_url in a profile.
        to_aws = ("--endpoint-url", webapp.laboratory.cloud.endpoint)

        done = run(v2.command, *to_aws, "--profile", profile, "s3", "ls", AWS_CONFIG_FILE=config, AWS_PAGER="")

        assert not webapp.trace.exists()
        if v2.takes_it:
            assert (done.returncode, done.stderr, done.stdout.split()[-1:]) == (0, "", [aws.BUCKET])
        else:
            (line,) = done.stderr.strip().splitlines()
            assert done.returncode == 255
            assert "vault-credential-process: this aws command is too old for the plugin; get 1.38, 2.25 or" in line

    def test_shows_our_line_when_vault_refuses(self, v2: Version2, webapp: Webapp) -> None:
        """The user reads one line, and no traceback."""
        places = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
        plugins = f"{PLUGIN}cli_legacy_plugin_path = {places}\n"
        config = webapp.config(plugins=plugins, vault_role_id="nobody")

        done = run(v2.command, "--profile", "webapp", "s3", "ls", AWS_CONFIG_FILE=config, AWS_PAGER="")

        (line,) = done.stderr.strip().splitlines()
        assert done.returncode == 255
        assert ("login refused: invalid role or secret ID" if v2.takes_it else "too old for the plugin") in line


class TestPlugin:
    """The plugin itself, in a session as the command has it."""

    @pytest.fixture
    def session(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """A session of a profile of ours."""
        path = tmp_path / "config"
        path.write_text("[profile webapp]\nvault_addr = https://vault.example.com\nvault_aws_role = webapp\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
        monkeypatch.setenv("VAULT_AWS_CACHE", "none")
        return botocore.session.Session(profile="webapp")

    def emit(self, session: Any) -> None:
        """Do as the command does, with a plugin of its own that asks for the chain and was there first."""
        hooks = botocore.hooks.HierarchicalEmitter()
        hooks.register("session-initialized", lambda session, **_: session.get_component("credential_provider"))
        awscli.awscli_initialize(hooks)
        hooks.emit("session-initialized", session=session, parsed_args=None)

    def test_comes_before_what_builds_the_chain(self, session: Any) -> None:
        """Version 2 registers its own handlers first: they must find the chain with the provider in it."""
        built: list[Any] = []
        build = session._create_credential_resolver
        session._create_credential_resolver = lambda: built.append(build()) or built[-1]
        self.emit(session)
        chain = session.get_component("credential_provider")

        assert len(built) == 1
        assert "vault" in [provider.METHOD for provider in chain.providers]

    def test_botocore_that_is_too_old(self, session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """A CLI whose botocore knows no account (2.9.19 of Debian 12) is refused in one line."""
        old = collections.namedtuple("ReadOnlyCredentials", ["access_key", "secret_key", "token"])
        monkeypatch.setattr(botocore.credentials, "ReadOnlyCredentials", old)

        with pytest.raises(ConfigurationError, match="this aws command is too old for the plugin"):
            self.emit(session)

    def test_config_that_cannot_be_read(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A broken config file is left to the command."""
        path = tmp_path / "broken"
        path.write_text("[profile webapp\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
        hooks = botocore.hooks.HierarchicalEmitter()
        awscli.awscli_initialize(hooks)

        assert hooks.emit("session-initialized", session=botocore.session.Session())[0][1] is None

    @pytest.mark.parametrize("variable", ["VAULT_AWS_CACHE", "BAO_AWS_CACHE"])
    def test_keeps_a_cache_that_is_named(self, session: Any, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
        """The host's cache is a default: a variable goes before it."""
        monkeypatch.delenv("VAULT_AWS_CACHE")
        monkeypatch.setenv(variable, "memory")
        self.emit(session)

        assert {name: os.environ.get(name) for name in (variable, "VAULT_AWS_CACHE")}[variable] == "memory"
        assert os.environ.get("VAULT_AWS_CACHE") in (None, "memory")
