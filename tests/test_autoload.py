"""Programs that cannot be changed: what ``autoload`` does to those of an environment, and what it leaves alone."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from vault_credential_process import autoload
from vault_credential_process.cli import autoload as command_module
from vault_credential_process.demo import aws
from vault_credential_process.demo import programs as demo_programs

from .conftest import COMMAND, NAME, ROOT, Built, Tenant

LIST_BUCKETS = str(pathlib.Path(str(demo_programs.__file__)).with_name("list_buckets.py"))
METHOD = "import boto3; print(boto3.Session().get_credentials().method)"
MODULES = "import sys; print(*sorted(sys.modules), sep='\\n')"
KEYS = {"Version": 1, "AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "SecretAccessKey": "EXAMPLE"}


def clean(**further: str) -> dict[str, str]:
    """Return the cleared environment without what this interpreter was told, and with further variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    return {**kept, **further}


class Environment(NamedTuple):
    """A virtual environment."""

    directory: pathlib.Path

    @property
    def site_packages(self) -> pathlib.Path:
        """Where its packages are."""
        (found,) = self.directory.glob("lib/python*/site-packages")
        return found

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.directory / "bin" / "python")

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run its interpreter."""
        return subprocess.run(
            [self.python, *arguments],
            env=clean(**environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def say(self, *arguments: str, **environ: str) -> str:
        """Run its interpreter; return what it printed, with nothing on stderr and code 0."""
        done = self.run(*arguments, **environ)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def autoload(self, action: str) -> str:
        """Run the installed command."""
        return self.say(str(self.directory / "bin" / "vault-credential-process"), "autoload", action)


def environment(directory: pathlib.Path, *install: str) -> Environment:
    """Make an environment with one package, which finds the dependencies where this interpreter has them."""
    venv.create(directory, symlinks=True)
    made = Environment(directory)
    pip = [sys.executable, "-m", "pip", "--python", made.python, "install", "--quiet", "--no-deps", *install]
    done = subprocess.run(pip, env=clean(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made.site_packages / "zz-dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    made.run("-c", METHOD)
    return made


@pytest.fixture(scope="module")
def wheel_environment(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the built wheel."""
    return environment(tmp_path_factory.mktemp("autoload") / "environment", str(built.wheel))


@pytest.fixture
def off(wheel_environment: Environment) -> Iterator[Environment]:
    """The environment, as it is after the installation; and again after the test."""
    yield wheel_environment
    wheel_environment.autoload("disable")


@pytest.fixture
def on(off: Environment) -> Environment:
    """The environment with autoload enabled."""
    off.autoload("enable")
    return off


class Webapp(NamedTuple):
    """A profile whose ``credential_process`` works, and leaves a trace."""

    environ: dict[str, str]
    trace: pathlib.Path

    def was_run(self) -> bool:
        """Tell whether the process was run, and forget it."""
        found = self.trace.exists()
        self.trace.unlink(missing_ok=True)
        return found


@pytest.fixture
def webapp(tenant: Tenant, tmp_path: pathlib.Path) -> Webapp:
    """Write the profile."""
    trace = tmp_path / "trace"
    text = tenant.laboratory.profile("webapp", tenant.settings)
    line = f'credential_process = sh -c "touch {trace}; exec {COMMAND} get --profile webapp"\n'
    return Webapp({"AWS_CONFIG_FILE": str(tenant.write_config(text + line)), "AWS_PROFILE": "webapp"}, trace)


@pytest.mark.system
class TestEnabled:
    """Programs of an environment with autoload."""

    def test_unmodified_program_runs_no_process(self, on: Environment, webapp: Webapp, cloud: aws.LocalAWS) -> None:
        """A program that imports only boto3 lists a bucket with credentials from Vault; no process is started."""
        told = on.say(LIST_BUCKETS, **webapp.environ)

        assert told.startswith(f"{aws.BUCKET}  (access key …")
        assert told.strip().endswith(cloud.requests[-1][0][-4:] + ")")
        assert not webapp.was_run()
        assert on.say("-c", METHOD, **webapp.environ) == "vault\n"

    def test_disabled_is_as_before_to_the_byte(self, off: Environment, webapp: Webapp) -> None:
        """After ``disable`` the program, the start of Python and its directory are what they were before ``enable``."""

        def look() -> tuple[Any, ...]:
            program = off.run(LIST_BUCKETS, **webapp.environ)
            started = off.run("-v", "-c", "pass")
            files = {path.name: path.read_bytes() for path in off.site_packages.iterdir() if path.is_file()}
            return (
                (program.returncode, program.stdout, program.stderr, webapp.was_run()),
                (started.returncode, started.stdout, re.sub(r"0x[0-9a-f]+", "", started.stderr)),
                off.say("-c", MODULES),
                sorted(os.listdir(off.site_packages)),
                files,
            )

        before = look()
        off.autoload("enable")
        between = look()
        off.autoload("disable")
        after = look()

        assert after == before
        assert before[0][3]
        assert not between[0][3]
        assert all(one != other for one, other in zip(before, between, strict=True))

    def test_program_without_botocore_loads_next_to_nothing(self, on: Environment) -> None:
        """A program that never imports botocore has two small modules of ours, and nothing that they would need."""
        loaded = set(on.say("-c", MODULES).split())
        without = set(on.say("-S", "-c", f"import site; {MODULES}").split())
        on.autoload("disable")
        before = set(on.say("-c", MODULES).split())

        assert {name for name in loaded - before if not name.startswith(NAME)} <= {"__future__"}
        assert {name for name in loaded if name.startswith(NAME)} == {NAME, f"{NAME}.autoload"}
        assert not {name for name in without if name.startswith(NAME)}

    def test_start_of_python_takes_at_most_2_ms_more(self, on: Environment) -> None:
        """What Python runs at its start is done in 2 ms, the best of many."""
        (line,) = (on.site_packages / f"{command_module.NAME}.pth").read_text().splitlines()
        measure = (
            "import sys, time; line = sys.argv[1]; began = time.perf_counter(); exec(line); "
            f"print(time.perf_counter() - began, '{NAME}.autoload' in sys.modules)"
        )
        on.autoload("disable")

        told = [on.say("-c", measure, line).split() for _ in range(15)]

        assert {loaded for _, loaded in told} == {"True"}
        assert min(float(seconds) for seconds, _ in told) < 0.002

    def test_profile_of_others_is_left_alone(self, on: Environment, tenant: Tenant, tmp_path: pathlib.Path) -> None:
        """With another profile the process is run as ever, and nothing of ours is loaded."""
        keys = tmp_path / "keys"
        keys.write_text(json.dumps(KEYS))
        other = f"[profile other]\ncredential_process = cat {keys}\n"
        environ = {"AWS_CONFIG_FILE": str(tenant.write_config(other)), "AWS_PROFILE": "other"}
        ours = f"print([m for m in sorted(__import__('sys').modules) if m.startswith('{NAME}.')])"

        assert on.say("-c", f"{METHOD}; {ours}", **environ) == f"custom-process\n['{NAME}.autoload']\n"

    @pytest.mark.parametrize("variable", autoload.VARIABLES)
    def test_switched_off_for_one_process(self, on: Environment, webapp: Webapp, variable: str) -> None:
        """``VAULT_AWS_AUTOLOAD=off`` has a process go the old way."""
        assert on.say("-c", METHOD, **webapp.environ, **{variable: "off"}) == "custom-process\n"
        assert webapp.was_run()

    def test_broken_config_gets_botocores_own_error(self, on: Environment, tmp_path: pathlib.Path) -> None:
        """A config file that is none ends a program as it would without."""
        broken = tmp_path / "broken"
        broken.write_text("[profile webapp\nvault_aws_role\n")
        environ = {"AWS_CONFIG_FILE": str(broken), "AWS_PROFILE": "webapp"}

        done = on.run("-c", METHOD, **environ)
        without = on.run("-c", METHOD, **environ, VAULT_AWS_AUTOLOAD="off")

        assert "botocore.exceptions.ConfigParseError" in done.stderr
        assert (done.returncode, done.stdout) == (without.returncode, without.stdout) == (1, "")
        assert done.stderr.splitlines()[-1] == without.stderr.splitlines()[-1]

    def test_what_cannot_be_loaded_is_done_without(
        self, on: Environment, tenant: Tenant, tmp_path: pathlib.Path
    ) -> None:
        """Where a dependency of ours is broken a program goes on with the process, and its log tells why."""
        (tmp_path / "hvac.py").write_text("raise ValueError('canary')\n")
        keys = tmp_path / "keys"
        keys.write_text(json.dumps(KEYS))
        text = tenant.laboratory.profile("webapp", tenant.settings) + f"credential_process = cat {keys}\n"
        environ = {"AWS_CONFIG_FILE": str(tenant.write_config(text)), "AWS_PROFILE": "webapp"}
        debug = f"import logging; logging.basicConfig(level='ERROR'); logging.getLogger('{NAME}').setLevel('DEBUG')"

        silent = on.run("-c", METHOD, **environ, PYTHONPATH=str(tmp_path))
        logged = on.run("-c", f"{debug}; {METHOD}", **environ, PYTHONPATH=str(tmp_path))

        assert (silent.stdout, silent.stderr) == ("custom-process\n", "")
        assert logged.stdout == "custom-process\n"
        assert logged.stderr == f"DEBUG:{NAME}.autoload:this program goes on without Vault: ValueError\n"

    def test_status_tells(self, on: Environment) -> None:
        """``status`` names the environment and the file."""
        told = on.autoload("status")

        assert told.splitlines() == [
            f"autoload is on in {on.directory} (Python {sys.version.split()[0]})",
            f"written: {on.site_packages / command_module.NAME}.pth",
        ]

    def test_editable_install(self, tmp_path: pathlib.Path, webapp: Webapp) -> None:
        """It works where the package is installed editable, too."""
        sources = tmp_path / "sources"
        copied = ("LICENSE", "README.md", "pyproject.toml", "setup.cfg", "tools", NAME)
        sources.mkdir()
        for name in copied:
            (sources / name).symlink_to(ROOT / name)
        made = environment(tmp_path / "environment", "--editable", str(sources))
        made.autoload("enable")

        assert made.say("-c", METHOD, **webapp.environ) == "vault\n"
        assert not webapp.was_run()


class TestUninstalled:
    """The line of an environment whose package has gone."""

    @pytest.mark.system
    def test_uninstalling_leaves_it_without_effect(self, built: Built, tmp_path: pathlib.Path) -> None:
        """After ``pip uninstall`` the line is still there, and Python starts as if it were not."""
        made = environment(tmp_path / "environment", str(built.wheel))
        made.autoload("enable")
        pip = [sys.executable, "-m", "pip", "--python", made.python, "uninstall", "--yes", "vault-credential-process"]
        subprocess.run(pip, env=clean(), capture_output=True, timeout=120, check=True)

        assert (made.site_packages / f"{command_module.NAME}.pth").is_file()
        assert not (made.site_packages / NAME).exists()
        assert NAME not in made.say("-c", MODULES).split()

    @pytest.mark.parametrize("left", [[], ["__pycache__"], ["__init__.py"]], ids=["nothing", "caches", "half of it"])
    def test_python_starts_silently(self, tmp_path: pathlib.Path, left: list[str]) -> None:
        """Uninstalling leaves the file behind; Python starts as if it were not there."""
        venv.create(tmp_path / "environment", symlinks=True)
        made = Environment(tmp_path / "environment")
        before = made.say("-c", MODULES)
        for name in left:
            path = made.site_packages / NAME / name
            path.parent.mkdir()
            path.touch() if path.suffix else path.mkdir()

        (made.site_packages / f"{command_module.NAME}.pth").write_text(command_module.LINE)

        assert set(made.say("-c", MODULES).split()) - set(before.split()) <= {NAME}

    def test_newer_form_is_silent_too(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a ``.start`` file names can be called where the package has gone."""
        (tmp_path / f"{command_module.NAME}.py").write_text(command_module.MODULE)
        code = (
            f"import sys, pkgutil; sys.modules['{NAME}'] = None; pkgutil.resolve_name('{command_module.NAME}:start')()"
        )

        done = subprocess.run(
            [sys.executable, "-c", code],
            env=clean(PYTHONPATH=str(tmp_path)),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_wheel_does_not_bring_it(built: Built) -> None:
    """Installing the package enables nothing."""
    assert [name for name in built.files if name.endswith((".pth", ".start"))] == []
