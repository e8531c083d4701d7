"""``shell``: one's own shell with our credentials, and a mark in its prompt."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import termios
from typing import NamedTuple

import pytest

from vault_credential_process.cli import shell
from vault_credential_process.cli.exec.child_environment import ENDPOINT
from vault_credential_process.cli.outer import CONFIG, RUNS

from .conftest import Run, Tenant
from .test_command import config_of, refusal
from .typist import Reader

BASH = shutil.which("bash") or "/bin/bash"
COMMAND = (sys.executable, "-m", "vault_credential_process", "shell", "--profile=webapp")
WAITING = (
    f"{sys.executable} -Ic 'import os, signal as s, time; s.signal(s.SIGINT, s.SIG_DFL); "
    's.signal(s.SIGCONT, lambda *_: os.write(1, b"a" b"gain\\n")); os.write(1, b"be" b"gun\\n"); '
    "[time.sleep(0.05) for _ in iter(int, 1)]'"
)
"""A command line that says ``begun``, and ``again`` after a stop.

It starts nothing: a shell whose child is stopped between ``vfork`` and ``exec`` waits for it, and does not stop itself.
"""


class Kind(NamedTuple):
    """A shell: the file of its settings, with what brings other credentials; our flags; its prompt."""

    name: str
    file: str
    settings: str
    flags: tuple[str, ...]
    prompt: str


RIVALS = "export AWS_PROFILE=other AWS_CONFIG_FILE=/nowhere/config\n"
KINDS = [
    Kind("bash", ".bashrc", f"{RIVALS}PS1='own> '; alias mine='echo aliased'\n", (), "own> "),
    Kind("zsh", ".zshrc", f"{RIVALS}PROMPT='own> '; alias mine='echo aliased'\n", (), "own> "),
    Kind(
        "fish",
        ".config/fish/config.fish",
        "set -gx AWS_PROFILE other; set -gx AWS_CONFIG_FILE /nowhere/config\n"
        'function fish_prompt; echo -n "own$status> "; end; function mine; echo aliased; end\n',
        ("--env",),
        "own0> ",
    ),
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest, clean_environment: pathlib.Path) -> Kind:
    """A shell that is installed, with the settings of a user who exports a profile."""
    found: Kind = request.param
    if shutil.which(found.name) is None:
        pytest.skip(f"{found.name} is not installed")
    path = clean_environment / found.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found.settings)
    return found


def at_terminal(*command: str, **environ: str) -> Reader:
    """Begin a program that has all three streams on the terminal, as shells want it."""
    return Reader("/bin/sh", "-c", 'exec "$@" > "$(tty)" 2>&1', "sh", *command, environ={"TERM": "dumb", **environ})


def ours(config: str, name: str, *flags: str, **environ: str) -> Reader:
    """Begin a shell with our credentials."""
    return at_terminal(*COMMAND, *flags, AWS_CONFIG_FILE=config, SHELL=shutil.which(name) or name, **environ)


class TestShells:
    """Real shells at a real terminal."""

    def test_shell(self, kind: Kind, tenant: Tenant, tmp_path: pathlib.Path) -> None:
        """It has the user's settings, a mark, our credentials, and not what the user's files would bring."""
        config, flags = config_of(tenant), kind.flags
        out = tmp_path / "out"
        with ours(config, kind.name, *flags) as typist:
            typist.sees(f"(vault:webapp) {kind.prompt}")
            typist.types("mine")
            typist.sees("aliased")
            typist.sees(f"(vault:webapp) {kind.prompt}")
            typist.types(f"env > {out}")
            typist.sees(f"(vault:webapp) {kind.prompt}")
            typist.types("exit 4")
            done = typist.ends()

        variables = out.read_text()
        assert done.returncode == 4, typist.shown
        assert f"{RUNS}=webapp\n" in variables
        assert (f"{ENDPOINT}=http" in variables, "AWS_SECRET_ACCESS_KEY=" in variables) == (not flags, bool(flags))
        assert "AWS_PROFILE" not in variables
        assert "__vcp" not in variables
        assert "/nowhere" not in variables
        for name in ("AWS_PROFILE", "AWS_CONFIG_FILE"):
            assert f"your start-up files set {name}, which is undone here" in typist.shown
        assert typist.shown.count("undone here") == 2

    def test_control(self, kind: Kind, tenant: Tenant) -> None:
        """The control: without us the same shell has the profile that its files export."""
        path = shutil.which(kind.name) or kind.name
        with at_terminal(path, "-i") as typist:
            typist.sees(kind.prompt)
            typist.types("echo of-the-user:$AWS_PROFILE")
            typist.sees("of-the-user:other")
            typist.types("exit")
            assert typist.ends().returncode == 0

    def test_keys_of_the_terminal(self, kind: Kind, tenant: Tenant) -> None:
        """Ctrl-C ends what runs in the shell and not the shell; Ctrl-Z and ``fg`` are the shell's as well."""
        prompt = f"(vault:webapp) {kind.prompt[:3]}"
        with ours(config_of(tenant), kind.name) as typist:
            typist.sees(prompt)
            typist.types(WAITING)
            typist.sees("begun")
            typist.presses(termios.VINTR)
            typist.sees(prompt)
            typist.types(WAITING)
            typist.sees("begun")
            typist.presses(termios.VSUSP)
            typist.sees(prompt)
            typist.types("fg")
            typist.sees("again")
            typist.presses(termios.VINTR)
            typist.sees(prompt)
            typist.types("exit 0")
            assert typist.ends().returncode == 0, typist.shown

    def test_suspended(self, tenant: Tenant, clean_environment: pathlib.Path) -> None:
        """A shell that suspends itself stops us too, so that the shell which runs us takes its terminal back."""
        (clean_environment / ".bashrc").write_text("PS1='own> '\n")
        with at_terminal(BASH, "--norc", "-i", AWS_CONFIG_FILE=config_of(tenant), SHELL=BASH, PS1="outer> ") as typist:
            typist.sees("outer> ")
            typist.types(" ".join(COMMAND))
            typist.sees("(vault:webapp) own> ")
            typist.types("suspend")
            typist.sees("outer> ")
            typist.types("fg")
            typist.sees("shell --profile=webapp")
            typist.types("echo in''side $VAULT_CREDENTIAL_PROCESS_EXEC; exit 5")
            typist.sees("inside webapp")
            typist.sees("outer> ")
            typist.types("echo code''=$?; exit")
            typist.sees("code=5")
            typist.ends()


class TestStartUp:
    """What is done to have the mark there."""

    def test_prompt_commands_of_the_user(self, tenant: Tenant, clean_environment: pathlib.Path) -> None:
        """A bash whose prompt is made anew each time, by a list of commands, has the mark once, and the last code."""
        (clean_environment / ".bashrc").write_text("PROMPT_COMMAND=(true 'PS1=\"$? own> \"')\n")
        with ours(config_of(tenant), "bash") as typist:
            typist.sees("(vault:webapp) 0 own> ")
            typist.types("(exit 7)")
            typist.sees("(vault:webapp) 7 own> ")
            typist.types("exit 0")
            typist.ends()
        assert "(vault:webapp) (vault:webapp)" not in typist.shown

    @pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
    @pytest.mark.parametrize("moved", [False, True], ids=["home", "elsewhere"])
    def test_zsh_keeps_its_files(self, moved: bool, tenant: Tenant, clean_environment: pathlib.Path) -> None:
        """Its history and its files are where they were, in the home or where ``.zshenv`` says."""
        place = clean_environment / "zsh" if moved else clean_environment
        place.mkdir(exist_ok=True)
        (clean_environment / ".zshenv").write_text(f"ZDOTDIR={place}\n" if moved else "")
        (place / ".zshrc").write_text("PROMPT='own> '; SAVEHIST=10; HISTFILE=${ZDOTDIR:-$HOME}/.zsh_history\n")
        with ours(config_of(tenant), "zsh") as typist:
            typist.sees("(vault:webapp) own> ")
            typist.types("echo where''=${ZDOTDIR-none}")
            typist.sees(f"where={place if moved else 'none'}")
            typist.types("exit 0")
            typist.ends()
        assert "echo where" in (place / ".zsh_history").read_text()

    @pytest.mark.parametrize(("name", "file"), [("bash", ".bashrc"), ("zsh", ".zshrc")])
    def test_variable_that_cannot_be_undone(
        self, name: str, file: str, tenant: Tenant, clean_environment: pathlib.Path
    ) -> None:
        """Of one that is read-only nobody says that it is undone; the mark and all else are there."""
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
        (clean_environment / file).write_text("PS1='own> '; export AWS_PROFILE=other; readonly AWS_PROFILE\n")
        with ours(config_of(tenant), name) as typist:
            typist.sees("your start-up files made AWS_PROFILE read-only: programs here may have other credentials")
            typist.sees("(vault:webapp) own> ")
            typist.types("exit 0")
            typist.ends()
        assert "undone" not in typist.shown

    @pytest.mark.parametrize("name", ["/bin/sh", "dash"])
    def test_plain_shell(self, name: str, tenant: Tenant) -> None:
        """A shell without a start-up file of its own has the mark."""
        with ours(config_of(tenant), name) as typist:
            typist.sees("(vault:webapp) $ ")
            typist.types("exit 6")
            assert typist.ends().returncode == 6

    @pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
    def test_files_of_the_system(self, name: str, tmp_path: pathlib.Path, clean_environment: pathlib.Path) -> None:
        """What the system's own start-up files set, which are read before any of ours, is undone as well."""
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
        environ = {**os.environ, RUNS: "webapp", CONFIG: "/ours/config", ENDPOINT: "http://127.0.0.1:9/"}
        words = shell.prepare(str(shutil.which(name)), str(tmp_path), environ)
        # As those files have it.
        environ |= {CONFIG: "/foreign/config", ENDPOINT: "http://127.0.0.1:1/", "AWS_PROFILE": "other"}
        show = "env | grep -E '^(AWS|__vcp)' | sort"
        done = subprocess.run([*words, "-i", "-c", show], env=environ, capture_output=True, text=True, check=False)

        wanted = (CONFIG, ENDPOINT, "AWS_PROFILE", "__vcp")
        lines = [line for line in done.stdout.splitlines() if line.startswith(wanted)]
        assert lines == [f"{CONFIG}=/ours/config", f"{ENDPOINT}=http://127.0.0.1:9/"], done.stderr

    def test_zsh_that_is_led_elsewhere(self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Where the system's own file leads zsh away from ours, a line says what that means."""
        for place, said in (("/elsewhere", "so that ours are not read: the prompt has no mark, and"), ("$ZDOTDIR", "")):
            path = tmp_path / "zsh"
            path.write_text(f'#!/bin/sh\nprintf "%s\\n" "{place}"\n')
            path.chmod(0o755)
            environ = {**os.environ, RUNS: "webapp"}
            assert shell.prepare(str(path), str(tmp_path), environ) == [str(path)]
            assert (said in capsys.readouterr().err) if said else capsys.readouterr().err == ""

    def test_profile_with_an_odd_name(self, tmp_path: pathlib.Path) -> None:
        """A name that would mean something to a shell means nothing in a prompt."""
        for name in ("bash", "zsh", "fish", "sh", "cmd", "pwsh"):
            environ = {RUNS: "a'$(touch trace)`id`\\n%n\n{x}"}
            words = shell.prepare(f"/bin/{name}", str(tmp_path), environ)
            variables = [value for variable, value in environ.items() if not variable.endswith(RUNS)]
            said = f"{words}{variables}{[path.read_text() for path in tmp_path.iterdir() if path.is_file()]}"
            assert "touch trace" not in said
            assert "vault:a___touch_trace__id__n_n__x_" in said

    def test_whose_shell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``SHELL``, else the one that every system of its kind has; one that nobody knows is run as it is."""
        monkeypatch.setenv("PATH", "")
        assert shell.own_shell({"SHELL": "/usr/bin/nu"}, "linux") == "/usr/bin/nu"
        assert shell.own_shell({}, "linux") == "/bin/sh"
        assert shell.own_shell({"COMSPEC": r"C:\Windows\System32\cmd.exe"}, "win32") == r"C:\Windows\System32\cmd.exe"
        assert shell.prepare("/usr/bin/nu", "/nowhere", {RUNS: "webapp"}) == ["/usr/bin/nu"]
        environ = {RUNS: "webapp", "PROMPT": "$G"}
        assert shell.prepare(r"C:\Windows\System32\cmd.exe", "", environ) == [r"C:\Windows\System32\cmd.exe"]
        assert environ["PROMPT"] == "(vault:webapp) $G"

    def test_no_shell(self, command: Run, tenant: Tenant) -> None:
        """127 and one line where ``SHELL`` names nothing; words are refused."""
        config = config_of(tenant)
        line = refusal(command("shell", "--profile=webapp", AWS_CONFIG_FILE=config, SHELL="/no/such/shell"), 127)
        assert "/no/such/shell: there is no such program" in line
        assert "an argument that belongs to no flag" in refusal(command("shell", "ls", AWS_CONFIG_FILE=config), 2)

    def test_help(self, command: Run) -> None:
        """The help ends with an example."""
        shown = command("shell", "--help").stdout.rstrip()
        assert shown.endswith("example: vault-credential-process shell --profile webapp")
