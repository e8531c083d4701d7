"""Completion: what is offered, in the shells themselves, and that asking for it does nothing else."""

from __future__ import annotations

import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest

from vault_credential_process import auth
from vault_credential_process.cache.entry import Entry
from vault_credential_process.cache.runtime import Runtime
from vault_credential_process.cli import completers, completion, parser
from vault_credential_process.models import AWSCredentials
from vault_credential_process.testing.scripted import ScriptedServer

from .conftest import ROOT, Run, Tenant

PAGE = (ROOT / "docs" / "completion.md").read_text(encoding="utf-8")
CONFIG = """
[default]
region = eu-central-1
[profile webapp]
vault_addr = ADDRESS
vault_aws_role = webapp
vault_aws_mount = aws-prod
vault_secret_id_keyring = webapp-secret-id
[profile "batch jobs"]
vault_addr = https://admin:hunter2@vault.example.com:8200
vault_aws_role = batch
[profile by-environment]
credential_process = /opt/vcp/bin/vault-credential-process get --profile by-environment
[profile of-others]
credential_process = /opt/bin/other --profile of-others
[profile "run $(touch ran)"]
credential_process = /opt/vcp/bin/vault-credential-process get --profile "run $(touch ran)"
[profile broken]
vault_aws_role = not a role
"""
SERVED = {"webapp", "batch jobs", "by-environment", "run $(touch ran)", "broken"}
SELF = "vault-credential-process"

Ask = Callable[..., "list[str]"]


@pytest.fixture
def address(scripted: ScriptedServer) -> Iterator[str]:
    """A server that must not be asked anything."""
    yield scripted.address
    assert scripted.requests == []


@pytest.fixture
def config(clean_environment: pathlib.Path, address: str, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A config file with profiles of ours and of others."""
    path = clean_environment / "config"
    path.write_text(CONFIG.replace("ADDRESS", address))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    return path


@pytest.fixture
def ask(run: Run, tmp_path: pathlib.Path) -> Ask:
    """Ask as a shell does, by argcomplete's protocol, and return what is offered; nothing may be printed."""

    def answers(line: str, **environ: str) -> list[str]:
        offered = tmp_path / "offered"
        asked = {
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_SHELL": "bash",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(offered),
            "COMP_LINE": f"{SELF} {line}",
            "COMP_POINT": str(len(SELF) + 1 + len(line)),
        }
        done = run(sys.executable, "-m", "vault_credential_process", **{**asked, **environ})
        assert (done.stdout, done.stderr) == ("", "")
        text = offered.read_text() if done.returncode == 0 else ""
        return text.split("\n") if text else []

    return answers


@pytest.mark.usefixtures("config")
class TestOffered:
    """What is offered."""

    def test_commands(self, ask: Ask) -> None:
        """First all commands; then those that begin with what was typed."""
        assert ask("") == list(parser.COMMANDS)
        assert ask("logo") == ["logout"]

    @pytest.mark.parametrize(
        ("line", "offered"),
        [
            ("get --profile ", {re.sub(r"([ $()])", r"\\\1", name) for name in SERVED}),
            ("get --profile we", {"webapp"}),
            ("get --profile=we", {"--profile=webapp"}),
            ('get --profile "b', {"batch jobs", "by-environment", "broken"}),
            ("get --role ", {"webapp", "batch"}),
            ("status --mount ", {"aws-prod"}),
            ("get --auth ", {"auto", *auth.METHODS}),
            ("get --cache ", {"auto", "runtime", "keyring", "memory", "none"}),
            ("get --endpoint s", {"sts", "static-creds"}),
            ("get --skip-verify ", {"true", "false"}),
            ("login --oidc-mode ", {"client", "direct", "device"}),
            ("get --probe ", {"auto", "off"}),
            ("secret ", {"set", "delete", "check"}),
            ("secret check ", {"webapp-secret-id"}),
            ("completion ", set(completion.SHELLS)),
            ("get --ttl ", set()),
            ("get nosuch", set()),
            ("nosuch ", set()),
        ],
    )
    def test_values(self, ask: Ask, line: str, offered: set[str]) -> None:
        """Values of the flags that have some that are known here; nothing where there are none."""
        assert set(ask(line)) == offered

    def test_address_is_one_of_another_profile(self, ask: Ask, address: str) -> None:
        """Addresses come from the profiles; one that is refused, for it holds a password, is not shown."""
        assert ask("get --vault-addr ") == [address]

    def test_flags(self, ask: Ask) -> None:
        """A word that begins with a dash gets every flag; nothing typed gets those that are the command's own."""
        assert {"--role", "--role-id", "--log-file", "--help"} <= set(ask("get -"))
        assert ask("get --role-i") == ["--role-id"]
        assert ask("get ") == ["--profile"]
        assert set(ask("logout ")) == {"--force", "--profile"}

    def test_profiles_have_their_role_where_a_shell_shows_it(self, ask: Ask) -> None:
        """Both zsh and fish show what each profile is for."""
        assert "webapp:role webapp" in ask("get --profile ", _ARGCOMPLETE_SHELL="zsh")
        assert "webapp\trole webapp" in ask("get --profile ", _ARGCOMPLETE_SHELL="fish", _ARGCOMPLETE_DFS="\t")

    def test_files(self, ask: Ask, tmp_path: pathlib.Path, clean_environment: pathlib.Path) -> None:
        """A flag that takes a file gets files and directories, hidden ones where a dot was typed, ``~`` too."""
        (tmp_path / "inner").mkdir()
        (clean_environment / "one.pem").touch()
        (clean_environment / ".two.pem").touch()

        assert ask(f"get --cacert {tmp_path}/inn") == [f"{tmp_path}/inner/"]
        assert ask("get --cacert ~/one") == ["~/one.pem"]
        assert set(ask("get --log-file ~/")) == {"~/one.pem", "~/config"}
        assert ask("get --log-file ~/.t") == ["~/.two.pem"]
        assert ask(f"get --cacert {tmp_path}/nosuch/") == []

    @pytest.mark.skipif(os.name != "posix", reason="programs of POSIX")
    def test_after_two_dashes_another_program_begins(
        self, ask: Ask, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Behind ``--`` stand a program of ``PATH`` and then what it takes, for which files are offered, no flags."""
        for name, mode in (("tool-a", 0o755), ("tool-b", 0o644)):
            (tmp_path / name).touch(mode)
        environ = {"PATH": f"{tmp_path}{os.pathsep}{tmp_path}/nosuch"}

        assert ask("exec -- tool-", **environ) == ["tool-a"]
        assert ask(f"exec -- {tmp_path}/tool-b") == [f"{tmp_path}/tool-b"]
        assert ask(f"exec -- tool-a {tmp_path}/tool-b") == [f"{tmp_path}/tool-b"]
        assert ask("exec -- tool-a --pro") == []


class TestRoles:
    """Roles that are held on this host."""

    def test_roles_of_the_cache(self, ask: Ask, shm: pathlib.Path) -> None:
        """Without a profile those are offered of which credentials are in the runtime cache."""
        backend = Runtime.open(os.environ)
        pair = AWSCredentials("AKIAIOSFODNN7EXAMPLE", "secret", None, 0.0, 4e9, "static")
        backend.set("a" * 40, Entry(pair, aws_path="aws/creds/nightly").dump())
        backend.set("b" * 40, b"garbage")

        assert ask("get --role ") == ["nightly"] if sys.platform == "linux" else []

    def test_nothing_is_made(self, ask: Ask, shm: pathlib.Path, tmp_path: pathlib.Path) -> None:
        """Where there is no cache there is none afterwards, nor anything else of ours."""
        before = set(tmp_path.rglob("*"))

        assert ask("get --role ") == []
        assert list(shm.iterdir()) == []
        assert set(tmp_path.rglob("*")) - before == {tmp_path / "offered"}

    def test_role_of_what_get_left(self, tenant: Tenant, command: Run, ask: Ask) -> None:
        """What ``get`` fetched is offered afterwards, by its name alone."""
        path = str(tenant.write_config())
        assert command("get", "--profile", "webapp", AWS_CONFIG_FILE=path).returncode == 0

        assert ask("status --role ") == [tenant.role] if sys.platform == "linux" else []


class TestQuiet:
    """Whoever presses a key sees no error, and nothing is done for it."""

    @pytest.mark.parametrize("content", [b"no section\n", b"[profile x]\nvault_aws_role = \xff\n", b"[a]\n[a]\n"])
    def test_broken_config_file(self, ask: Ask, config: pathlib.Path, content: bytes) -> None:
        """A config file that cannot be read means no profiles, and says nothing."""
        config.write_bytes(content)

        assert ask("get --profile ") == []

    def test_flags_beside_a_broken_config_file(self, ask: Ask, config: pathlib.Path) -> None:
        """What does not need the file is offered all the same."""
        config.write_text("no section\n")

        assert ask("get --role-a") == ["--role-arn"]

    @pytest.mark.parametrize(
        "environ", [{"COMP_POINT": "x"}, {"_ARGCOMPLETE": "x"}, {"_ARGCOMPLETE_STDOUT_FILENAME": "/nosuch/file"}]
    )
    def test_question_that_is_none(self, run: Run, environ: dict[str, str]) -> None:
        """What is no question of argcomplete's gets exit code 1 and no word."""
        asked = {"_ARGCOMPLETE": "1", "COMP_LINE": f"{SELF} get ", "COMP_POINT": "4", **environ}

        done = run(sys.executable, "-m", "vault_credential_process", **asked)

        assert (done.returncode, done.stdout, done.stderr) == (1, "", "")

    @pytest.mark.parametrize("line", ["get --profile ", "login -", "get --role "])
    def test_nobody_is_asked(self, config: pathlib.Path, line: str, tmp_path: pathlib.Path) -> None:
        """What speaks to AWS is not loaded, nor what opens a keyring; ``address`` sees that Vault is not asked."""
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "vault_credential_process"],
            env={
                **os.environ,
                "_ARGCOMPLETE": "1",
                "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "offered"),
                "COMP_LINE": f"{SELF} {line}",
                "COMP_POINT": str(len(SELF) + 1 + len(line)),
            },
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        loaded = {entry.rpartition("|")[2].strip().partition(".")[0] for entry in done.stderr.splitlines()}

        assert (tmp_path / "offered").read_text()
        assert "argcomplete" in loaded
        assert loaded & {"botocore", "boto3", "keyring", "uvicorn"} == set()

    def test_a_key_costs_little(self, config: pathlib.Path, ask: Ask) -> None:
        """The CPU time of an answer is under 0.3 s on an idle machine; twice that is allowed here."""
        resource = pytest.importorskip("resource")
        costs = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            ask("get --profile ")
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

        assert min(costs) < 0.6


class TestNothingElse:
    """Completion is not in the way of any call."""

    @pytest.mark.parametrize("environ", [{}, {"_ARGCOMPLETE": "1", "COMP_LINE": "x", "COMP_POINT": "1"}])
    def test_call_with_arguments_does_not_load_it(self, environ: dict[str, str]) -> None:
        """No call that has arguments loads argcomplete, whatever was left in the environment."""
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "vault_credential_process", "get", "--help"],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )

        assert "usage: vault-credential-process get" in done.stdout
        assert "argcomplete" not in done.stderr

    def test_call_without_arguments_is_no_question_by_itself(self, command: Run) -> None:
        """A variable of argcomplete's that was exported does not silence a call without arguments."""
        done = command(_ARGCOMPLETE="1")

        assert (done.returncode, done.stderr) == (2, command("--help").stdout)

    def test_each_value_of_a_flag_has_its_place_in_the_page(self) -> None:
        """Each setting whose values come from profiles stands in the page of completion."""
        importlib.import_module("vault_credential_process.cli.get")
        made = parser.build(["get", "--role-id"])
        (subparsers,) = (action for action in made._actions if action.dest == "command")
        flags = {a.dest: a.option_strings for a in subparsers.choices["get"]._actions}  # type: ignore[index]

        for key in completers.FROM_PROFILES:
            assert "namespace" in key or flags[key][0] in PAGE


class TestScript:
    """``completion SHELL``."""

    @pytest.mark.parametrize("shell", completion.SHELLS)
    def test_script_names_the_command(self, command: Run, shell: str) -> None:
        """Each shell has its script, on stdout, and nothing on stderr."""
        done = command("completion", shell)

        assert (done.returncode, done.stderr) == (0, "")
        assert SELF in done.stdout

    def test_other_shells_are_refused(self, command: Run) -> None:
        """A shell that has no script is an error that names those that have."""
        done = command("completion", "tcsh")

        assert done.returncode == 2
        assert re.search(r"invalid choice.*bash.*zsh.*fish.*powershell", done.stderr)
        assert "tcsh" not in done.stderr

    def test_command_off_the_path(self, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
        """In fish stands the place of a command that is not on ``PATH``, quoted; else the name alone."""
        path = tmp_path / "a place" / SELF
        path.parent.mkdir()
        path.touch(0o755)
        monkeypatch.setattr(sys, "argv", [str(path)])
        monkeypatch.setenv("PATH", str(tmp_path))
        assert f"'{path}' 8>&1" in completion.script("fish")

        monkeypatch.setenv("PATH", str(path.parent))
        assert str(path) not in completion.script("fish")


def blocks(language: str) -> list[str]:
    """Return the page's blocks for a shell."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"
STARTS: dict[str, tuple[str, str, str]] = {
    "bash": ("bash", ".bashrc", "PS1='ready> '\n{0[0]}"),
    "bash-completion": ("bash", ".bashrc", f"PS1='ready> '\n. {BASH_COMPLETION}\n{{0[1]}}"),
    "zsh": ("zsh", ".zshrc", "PS1='ready> '\n{0[0]}"),
    "fish": ("fish", ".config/fish/config.fish", "function fish_prompt; echo 'ready> '; end\n{0[0]}"),
}
"""Program, start-up file, and what stands in that: the lines of the page, and a prompt to wait for."""


def has(shell: str) -> bool:
    """Tell whether a shell is here."""
    return shutil.which(STARTS[shell][0]) is not None and (
        shell != "bash-completion" or os.path.exists(BASH_COMPLETION)
    )


@pytest.mark.skipif(os.name != "posix", reason="no pseudo-terminals")
@pytest.mark.parametrize(
    "shell", [pytest.param(s, marks=pytest.mark.skipif(not has(s), reason=f"no {s}")) for s in STARTS]
)
def test_in_a_real_shell(shell: str, config: pathlib.Path, address: str, clean_environment: pathlib.Path) -> None:
    """Set up as the page tells, the tabulator completes in each shell; called by its place the command is known."""
    from .typist import Typist

    program, start, text = STARTS[shell]
    home = clean_environment
    (home / start).parent.mkdir(parents=True, exist_ok=True)
    (home / start).write_text(text.format(blocks(program)))
    (home / "a file.pem").touch()
    (home / "bin").mkdir()
    wrapper = home / "bin" / SELF
    wrapper.write_text(
        f'#!/bin/sh\nif [ -n "$_ARGCOMPLETE" ] || [ "$1" = completion ]; then\n'
        f'exec {sys.executable} -m vault_credential_process "$@"\nfi\nprintf "<%s>" "$@"; echo " ran"\n'
    )
    wrapper.chmod(0o755)
    environ = {
        "PATH": f"{home}/bin:{os.environ['PATH']}",
        "TERM": "xterm",
        "INPUTRC": "/dev/null",
        "ZDOTDIR": str(home),
    }
    typed: Sequence[tuple[str, str]] = (
        ("stat\t--profile web\t", "<status><--profile><webapp> ran"),
        ("get --profile bat\t", "<get><--profile><batch jobs> ran"),
        ("get --profile run\t", "<get><--profile><run $(touch ran)> ran"),
        ("get --vault-addr htt\t", f"<get><--vault-addr><{address}> ran"),
        ("get --profile=web\t", "<get><--profile=webapp> ran"),
        (f"get --cacert {home}/a\t", f"<get><--cacert><{home}/a file.pem> ran"),
    )

    with Typist("/bin/sh", "-c", f"exec {program} -i >/dev/tty 2>&1", environ=environ) as typist:
        typist.sees("ready> ")
        for line, ran in typed:
            typist.types(f"{SELF} {line}")
            typist.sees(ran)
        typist.types(f"{home}/bin/{SELF} logout --profile web\t")
        typist.sees("<logout><--profile><webapp> ran")
        typist.types("exit")
        typist.ends()
    assert [path for path in (home / "ran", pathlib.Path("ran")) if path.exists()] == []
