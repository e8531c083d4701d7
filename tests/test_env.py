"""``env``: lines that a real shell takes for its environment, whatever stands in a value; and those that undo it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from vault_credential_process.cli.env import CREDENTIALS, SHELLS, guess
from vault_credential_process.config import REGION_VARIABLES
from vault_credential_process.demo import aws
from vault_credential_process.demo.server import free_port
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.testing.scripted import ScriptedServer, replay

from .conftest import COMMAND as GET
from .conftest import Run, Tenant
from .screen import Screen
from .test_command import document, refusal

COMMAND = (sys.executable, "-m", "vault_credential_process")
PRINT = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith(('AWS_', 'V_'))}))"
PROGRAMS = {
    "sh": ("sh", "-c", 'eval "$(cat "$1")"; exec "$2" -c "$3"', "sh"),
    "bash": ("bash", "-eu", "-c", 'eval "$(cat "$1")"; exec "$2" -c "$3"', "bash"),
    "dash": ("dash", "-c", 'eval "$(cat "$1")"; exec "$2" -c "$3"', "dash"),
    "zsh": ("zsh", "-f", "-c", 'eval "$(cat "$1")"; exec "$2" -c "$3"', "zsh"),
    "fish": ("fish", "--no-config", "-c", "cat $argv[1] | source; exec $argv[2] -c $argv[3]"),
    "pwsh": ("pwsh", "-NoProfile", "-Command", "Get-Content -Raw $args[0] | Invoke-Expression; & $args[1] -c $args[2]"),
}
"""Real shells: each does what a file says, and then shows its environment."""
OF_SHELL = {**dict.fromkeys(("sh", "bash", "dash", "zsh"), "sh"), "fish": "fish", "pwsh": "powershell"}
AWKWARD = (
    "plain", "", " ", "a b", "'", "''", '"', "\\", "\\'", "'\\''", "$HOME", "`id`", "$(id)", "!x", "*", "~", "#a",
    "a;b", "a&b", "%PATH%",
    "-n", "=", "a\tb", "a\nb", "\\n", "é", "\u2018x\u2019", "(a)", "{a,b}", "<a>", "\\\\", "x\\",
)  # fmt: skip

INSTALLED = [name for name in PROGRAMS if shutil.which(name)]


def evaluated(program: str, lines: str, tmp_path: pathlib.Path, **environ: str) -> dict[str, str]:
    """Return the environment of a shell after it did what the lines say."""
    path = tmp_path / "lines"
    path.write_text(lines)
    done = subprocess.run(
        [*PROGRAMS[program], str(path), sys.executable, PRINT],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def parsed(lines: str) -> dict[str, str]:
    """Return what a ``.env`` file says, by python-dotenv's rule: bare, or in single quotes with two escapes."""
    found = {}
    for line in lines.splitlines():
        name, _, value = line.partition("=")
        if value.startswith("'"):
            assert value.endswith("'")
            value = re.sub(r"\\(['\\])", r"\1", value[1:-1])
        found[name] = value
    return found


@pytest.fixture
def printed(tenant: Tenant, command: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return what runs ``env`` with a profile ``webapp`` in a region, and its lines."""
    text = tenant.laboratory.profile("webapp", tenant.settings, command=GET)
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("region"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tenant.write_config(f"{text}region = eu-central-1\n")))

    def run(*words: str, **environ: str) -> str:
        done = command("env", "--profile=webapp", *words, **environ)
        assert (done.returncode, done.stderr) == (0, "")
        return str(done.stdout)

    return run


@pytest.mark.parametrize("program", INSTALLED)
def test_any_value_arrives(program: str, tmp_path: pathlib.Path) -> None:
    """Whatever stands in a value, a real shell has just that in its environment, and does nothing else."""
    shell = SHELLS[OF_SHELL[program]]
    values = {f"V_{number}": value for number, value in enumerate(AWKWARD) if program != "pwsh" or value}
    lines = "".join(f"{shell.set(name, value)}\n" for name, value in values.items())

    assert {k: v for k, v in evaluated(program, lines, tmp_path).items() if k.startswith("V_")} == values


@hypothesis.given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])))
def test_any_value_in_one_word(value: str) -> None:
    """For a shell of the Bourne family it is one word, and for a ``.env`` file one line, that gives the value back."""
    assert shlex.split(SHELLS["sh"].set("V", value)) == ["export", f"V={value}"]
    assert parsed(SHELLS["dotenv"].set("V", value)) == {"V": value}


def test_typographic_quotes_of_powershell() -> None:
    """PowerShell takes typographic quotes for its own: each is doubled."""
    assert SHELLS["powershell"].set("V", "a'b\u2018c\u2019d\u201ae\u201bf") == (
        "$Env:V = 'a''b\u2018\u2018c\u2019\u2019d\u201a\u201ae\u201b\u201bf'"
    )


def test_shells_have_the_credentials(printed: Callable[..., str], command: Run, tmp_path: pathlib.Path) -> None:
    """A shell has the pair that ``get`` prints, its end in UTC and the profile's region; nothing of an earlier pair."""
    pair = document(command("get", "--profile=webapp"))
    stale = {"AWS_SECURITY_TOKEN": "stale", "AWS_ACCOUNT_ID": "999999999999", "AWS_REGION": "us-west-2"}
    lines = {kind: printed(f"--shell={kind}", **stale) for kind in set(OF_SHELL.values())}
    for program in INSTALLED:
        found = evaluated(program, lines[OF_SHELL[program]], tmp_path, **stale)

        assert found.pop("AWS_ACCOUNT_ID", None) == pair.get("AccountId")
        assert {name: found.get(name) for name in (*CREDENTIALS, *REGION_VARIABLES) if name != "AWS_ACCOUNT_ID"} == {
            "AWS_ACCESS_KEY_ID": pair["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": pair["SecretAccessKey"],
            "AWS_SESSION_TOKEN": pair["SessionToken"],
            "AWS_SECURITY_TOKEN": None,
            "AWS_CREDENTIAL_EXPIRATION": pair["Expiration"],
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }


def test_unset_takes_them_away(printed: Callable[..., str], tmp_path: pathlib.Path) -> None:
    """The lines of ``--unset`` leave none of them, whether they were set or not."""
    lines = {kind: printed(f"--shell={kind}", "--unset") for kind in set(OF_SHELL.values())}
    for program in INSTALLED:
        left = evaluated(
            program, lines[OF_SHELL[program]], tmp_path, **dict.fromkeys((*CREDENTIALS[1:], *REGION_VARIABLES), "x")
        )

        assert set(left) & {*CREDENTIALS, *REGION_VARIABLES} == set()


def test_unset_asks_nobody(command: Run, clean_environment: pathlib.Path) -> None:
    """``--unset`` wants no role and no server, and leaves a region alone that no profile of ours brought."""
    lines = command("env", "--unset", "--shell=sh", AWS_REGION="eu-central-1").stdout

    assert lines == f"unset {' '.join(CREDENTIALS)}\n"
    assert "--unset: a .env file has no lines" in refusal(command("env", "--unset", "--shell=dotenv"), 2)


@pytest.mark.parametrize("region", ["a b", "\x1b[31m", "é", "\n  a = b"])
def test_region_that_is_none(command: Run, clean_environment: pathlib.Path, region: str) -> None:
    """A region that is no word is refused, before it is shown to a terminal or a shell."""
    path = clean_environment / "config"
    path.write_text(f"[profile webapp]\nregion = {region}\n")
    done = command("env", "--profile=webapp", "--unset", "--shell=sh", AWS_CONFIG_FILE=str(path))

    assert "region in [profile webapp]: not the name of a region" in refusal(done, 2)


def test_dotenv(printed: Callable[..., str], command: Run) -> None:
    """A ``.env`` file has bare values alone, for ``docker --env-file`` knows no quotes."""
    lines = printed("--shell=dotenv")
    pair = document(command("get", "--profile=webapp"))

    assert "'" not in lines
    assert parsed(lines)["AWS_SESSION_TOKEN"] == pair["SessionToken"]
    assert set(parsed(lines)) <= {*CREDENTIALS, *REGION_VARIABLES}


def test_boto3_goes_on_with_them(
    printed: Callable[..., str], cloud: aws.LocalAWS, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unmodified boto3 program in that shell signs with them, and AWS, its checks on, takes it for the role."""
    monkeypatch.setattr(sys.modules[__name__], "PRINT", _WHO)
    found = evaluated("sh", printed("--shell=sh"), tmp_path, AWS_ENDPOINT_URL=cloud.endpoint)

    assert found["Arn"].startswith("arn:aws:sts::")
    assert found["method"] == "env"


_WHO = """
import boto3, json
session = boto3.Session()
who = session.client("sts").get_caller_identity()
print(json.dumps({"Arn": who["Arn"], "method": session.get_credentials().method}))
"""


def test_keys_of_an_iam_user(
    scripted: ScriptedServer, exchanges: dict[str, Any], command: Run, tmp_path: pathlib.Path
) -> None:
    """They have no session token: a stale one is taken away. And their token is not revoked, for they end with it."""
    scripted.on_login(exchanges["approle_login"])
    scripted.on("GET", "aws/creds/webapp", replay(exchanges["creds_iam_user"]))
    environ = {"VAULT_ADDR": scripted.address, "VAULT_ROLE_ID": "role", "VAULT_AWS_ROLE": "webapp"}
    lines = command("env", "--no-cache", "--probe=off", "--shell=sh", **environ).stdout
    found = evaluated("sh", lines, tmp_path, AWS_SESSION_TOKEN="stale", AWS_SECURITY_TOKEN="stale")

    assert found["AWS_ACCESS_KEY_ID"] == exchanges["creds_iam_user"]["response"]["body"]["data"]["access_key"]
    assert not {"AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"} & found.keys()
    assert scripted.asked("POST", "auth/token/revoke-self") == 0


def test_failure_prints_no_line(command: Run) -> None:
    """Where there are no credentials stdout is empty: a shell that evaluates it keeps what it has."""
    address = f"http://127.0.0.1:{free_port()}"
    environ = {"VAULT_ADDR": address, "VAULT_TOKEN": "hvs.x", "VAULT_AWS_ROLE": "webapp", "VAULT_MAX_RETRIES": "0"}
    refusal(command("env", "--shell=sh", **environ), 5)


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({}, "linux", "sh"),
        ({}, "darwin", "sh"),
        ({}, "win32", "powershell"),
        ({"SHELL": "/bin/bash"}, "linux", "sh"),
        ({"SHELL": "/usr/bin/zsh"}, "darwin", "sh"),
        ({"SHELL": "/usr/local/bin/fish"}, "linux", "fish"),
        ({"SHELL": "/opt/microsoft/powershell/7/pwsh"}, "linux", "powershell"),
        ({"SHELL": "C:\\Program Files\\Git\\usr\\bin\\bash.exe"}, "win32", "sh"),
    ],
)
def test_shell_is_guessed(environ: dict[str, str], platform: str, expected: str) -> None:
    """Without ``--shell`` the lines are those of the user's own shell."""
    assert guess(environ, platform) == expected


@pytest.mark.parametrize("shell", ["/bin/tcsh", "/usr/bin/nu", "/opt/\x1b[31mx"])
def test_shell_with_other_lines(shell: str) -> None:
    """For a shell that would not understand them there are none, and one printable line."""
    with pytest.raises(ConfigurationError, match="name others with --shell") as caught:
        guess({"SHELL": shell}, "linux")
    assert str(caught.value).isprintable()


def test_terminal_gets_a_word(printed: Callable[..., str]) -> None:
    """Where the lines are shown to a person a word on stderr says what they are, and how not to show them."""
    with Screen(columns=400) as screen:
        with screen.running(*COMMAND, "env", "--profile=webapp", environ={"SHELL": "/bin/bash"}) as process:
            assert process.wait(60) == 0
        text = "\n".join(screen.lines)
    assert 'these lines are secrets; to use them unseen: eval "$(vault-credential-process env' in text
    assert "export AWS_SESSION_TOKEN=" in text
