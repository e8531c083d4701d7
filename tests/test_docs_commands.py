"""Every command that the documentation tells is run: here, as it stands, or by a test that is named; or the reason is.

Commands of ours, of Vault and of ``aws`` are run here unless another test does; any other must be registered.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import importlib
import pathlib
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from vault_credential_process.cli import parser
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.demo.server import VaultServer

from . import secret_store
from .conftest import COMMAND, ENGINE, ROOT
from .pages import PAGES, blocks_of, commands_of
from .reader import OURS, Place
from .test_dependencies import EXTRAS, PROJECT

INSTALLS = re.compile(r"\b(pip|pipx|uv tool|venv)\b")
SAFE = re.compile(
    rf"(\(umask \d+ && )?(([A-Z_]+=\S+ )*(/opt/(vcp|webapp/venv)/bin/)?{OURS}|vault|bao|aws|export|unset) .*"
    rf"|mkdir -p -m 700 ~/.*|command -v {OURS}|eval \"\$\({OURS} .*"
)
"""What is run here: it writes into the home of the test and to its servers, and nowhere else."""


class Elsewhere(NamedTuple):
    """Commands that another test runs: pages and commands by pattern, the test's file, and what stands in it."""

    page: str
    command: str
    file: str
    words: str


class Cannot(NamedTuple):
    """Commands that cannot be run here, and why."""

    page: str
    command: str
    why: str


def by_page(method: str, file: str, words: str | None = None) -> Elsewhere:
    """Return the entry for the set-up commands of an auth method's page, which its own tests run."""
    return Elsewhere(f"docs/auth/{method}.md", "vault (auth enable|write|read) .*", file, words or f'Page("{method}")')


ELSEWHERE = (
    Elsewhere("README.md", r'pip install "\.\[demo\]" && vault-credential-process demo', "tests/test_demo.py", "DEMO"),
    Elsewhere("README.md", r'pip install -e "\.\[test\]" && pytest', ".ci/run", "pip install"),
    by_page("cert", "tests/auth/test_cert.py", 'Page("cert").set_up('),
    by_page("jwt", "tests/auth/test_jwt.py", 'Page("jwt").set_up('),
    by_page("kubernetes", "tests/auth/test_kubernetes.py", 'Page("kubernetes").set_up('),
    by_page("oidc", "tests/auth/people.py", 'Page("oidc").set_up('),
    Elsewhere("docs/auth/oidc.md", "bao write auth/oidc/role/.*", "tests/auth/test_oidc.py", '"$ bao write"'),
    by_page("okta", "tests/auth/test_okta.py", 'requests_of(Page("okta"))'),
    by_page("github", "tests/auth/test_github.py", 'requests_of(Page("github"))'),
    by_page("azure", "tests/auth/test_azure.py", 'Page("azure").commands()'),
    by_page("gcp", "tests/auth/test_gcp.py", 'Page("gcp").commands()'),
    by_page("ldap", "tests/auth/test_ldap.py", 'Page("ldap").set_up('),
    by_page("radius", "tests/auth/test_radius.py", 'Page("radius").set_up('),
    by_page("aws-iam", "tests/auth/test_aws_real.py", 'Page("aws-iam").set_up('),
    by_page("aws-ec2", "tests/auth/test_aws_real.py", 'Page("aws-ec2").set_up('),
    Elsewhere("docs/login.md", r"(\w+=\$\()?vault .*", "tests/test_mfa.py", 'Page("../login").set_up('),
    Elsewhere("docs/configure.md", ".*", "tests/configure/test_page.py", '"docs" / "configure.md"'),
    Elsewhere("docs/completion.md", ".*", "tests/test_completion.py", '"docs" / "completion.md"'),
    Elsewhere(
        "docs/install.md",
        "python3 -m venv .*|pipx .*|uv tool .*|rm -r .*|man .*",
        "tests/test_release.py",
        '"docs" / "install.md"',
    ),
    Elsewhere("docs/dependencies.md", "uv pip compile .*", "tests/test_dependencies.py", "uv pip compile"),
    Elsewhere("docs/dependencies.md", "SOURCE_DATE_EPOCH=.* -m build .*", "tests/conftest.py", "SOURCE_DATE_EPOCH"),
    Elsewhere("docs/frameworks/celery.md", "celery .*", "tests/frameworks/test_celery.py", 'page.command("celery")'),
    Elsewhere("docs/frameworks/fastapi.md", "uvicorn .*", "tests/frameworks/test_fastapi.py", 'command("uvicorn")'),
    Elsewhere(
        "docs/frameworks/flask-gunicorn.md", "gunicorn .*", "tests/frameworks/test_flask_gunicorn.py", '"gunicorn"'
    ),
    Elsewhere("docs/frameworks/s3fs-dask.md", "python .*", "tests/frameworks/test_s3fs_dask.py", 'command("python")'),
    Elsewhere(
        "docs/frameworks/notebook.md",
        f"{OURS} login .*",
        "tests/frameworks/test_notebook.py",
        'command("vault-credential-process login")',
    ),
    Elsewhere("docs/serve.md", f"{OURS} serve .*", "tests/test_serve.py", '"docs" / "serve.md"'),
    Elsewhere("docs/status.md", ".* --watch", "tests/test_status.py", '"--watch"'),
    Elsewhere("docs/tutorial.md", ".*", "tests/test_tutorial.py", '"tutorial.md"'),
)
CANNOT = (
    Cannot("*", r"\S*pip install .*", "it asks the package index; CI installs the same from its lock file"),
    Cannot("docs/frameworks/notebook.md", "jupyter lab", "JupyterLab stays up until somebody closes it"),
    Cannot("docs/frameworks/lambda.md", "cp .*|.* zip .*|aws lambda .*", "it packs what pip brought, for an account"),
    Cannot("docs/dependencies.md", "git clone .*", "the address of the repository is its host's"),
    Cannot("docs/dependencies.md", "python3 -m venv .*pip install .*", "it asks the package index"),
    Cannot("docs/dependencies.md", "sha256sum .*", "it compares what a release has with what the build above made"),
    Cannot("docs/how-to/*.md", "docker .*", "there is no container engine here"),
    Cannot("docs/serve.md", "docker .*", "there is no container engine here"),
    Cannot("docs/serve.md", "sudo .*", "it makes a service of this machine"),
    Cannot("docs/how-to/*.md", "kubectl .*", "there is no cluster here"),
    Cannot("docs/console.md", f"{OURS} console .*", "it asks AWS's own federation endpoint; tests/test_console.py"),
    Cannot("docs/auth/aws-*.md", "vault (delete|write) .*", "OpenBao has the method as a plugin, which is not here"),
)


def entries_for(page: str, command: str) -> list[Elsewhere | Cannot]:
    """Return what is registered for a command."""
    found = (entry for entry in (*ELSEWHERE, *CANNOT) if fnmatch.fnmatch(page, entry.page))
    return [entry for entry in found if re.fullmatch(entry.command, command)]


TOLD = {path.relative_to(ROOT).as_posix(): commands_of(path.read_text(encoding="utf-8")) for path in PAGES}
HERE = {page: [one for one in commands if not entries_for(page, one)] for page, commands in TOLD.items()}


class TestRegister:
    """What is said of the commands that are not run here."""

    @pytest.mark.parametrize("entry", ELSEWHERE, ids=lambda entry: f"{entry.page} {entry.command}")
    def test_test_that_runs_it_is_there(self, entry: Elsewhere) -> None:
        """The file exists and has the words that run the page's commands."""
        assert entry.words in (ROOT / entry.file).read_text(encoding="utf-8")

    @pytest.mark.parametrize("entry", [*ELSEWHERE, *CANNOT], ids=lambda entry: f"{entry.page} {entry.command}")
    def test_entry_is_for_something(self, entry: Elsewhere | Cannot) -> None:
        """No entry is left of a command that is gone, or was never told."""
        assert [1 for page, commands in TOLD.items() for one in commands if entry in entries_for(page, one)]

    def test_what_cannot_be_run_is_little(self) -> None:
        """The exceptions stay few: one in eight of all commands, installations aside."""
        told = [(page, one) for page, commands in TOLD.items() for one in commands]
        excepted = [
            (page, one)
            for page, one in told
            if any(isinstance(entry, Cannot) for entry in entries_for(page, one)) and not INSTALLS.search(one)
        ]

        assert len(excepted) <= len(told) / 8, excepted

    def test_each_command_is_run_or_registered(self) -> None:
        """A command that is new and none of those that are run here is told somewhere in this file, or this fails."""
        new = [(page, one) for page, commands in HERE.items() for one in commands if not SAFE.fullmatch(one)]

        assert new == []

    @pytest.mark.parametrize(
        "command",
        [
            one
            for page, commands in TOLD.items()
            for one in commands
            if f" {OURS}" in one and any(isinstance(entry, Cannot) for entry in entries_for(page, one))
        ],
    )
    def test_our_flags_in_them_exist(self, command: str) -> None:
        """What cannot be run is at least parsed: our command by our parser, an installation as what it installs."""
        words = shlex.split(command)
        if INSTALLS.search(command):
            assert [word for word in words if re.split(r"[\[=<>~]", word)[0] == PROJECT["name"]]
            assert {extra for word in words for extra in re.findall(r"process\[(\w+)\]", word)} <= set(EXTRAS)
        else:
            assert OURS not in words or unknown_in(words[words.index(OURS) + 1 :]) == []

    def test_flag_that_does_not_exist_is_seen(self) -> None:
        """The check of flags would fail."""
        assert unknown_in(["get", "--profil", "webapp"]) == ["--profil", "webapp"]

    @pytest.mark.parametrize("page", TOLD)
    def test_block_tells_what_to_type(self, page: str) -> None:
        """A block of commands has one, with its prompt; it would be run by nobody."""
        blocks = blocks_of((ROOT / page).read_text(encoding="utf-8"))

        assert [text for language, text in blocks if language == "console" and not text.startswith("$ ")] == []


def unknown_in(words: list[str]) -> list[str]:
    """Return what our parser does not know in a command line, up to the first operator of the shell."""
    end = next((at for at, word in enumerate(words) if re.match(r"[|&;<>]|\d>", word)), len(words))
    words = words[:end]
    top, below = parser._parser([words[0]])
    below[words[0]].words = words
    importlib.import_module(f"vault_credential_process.cli.{words[0]}").add_options(below[words[0]])
    return top.parse_known_args(words, argparse.Namespace(place=None))[1]


@pytest.fixture(scope="module")
def vault(cloud: aws.LocalAWS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """A server whose administrator follows the pages."""
    with VaultServer(ENGINE) as server:
        made = Laboratory(server, cloud, tmp_path_factory.mktemp("vault"))
        made.assumed_role("webapp", ttl=3600)
        yield made


@pytest.fixture
def place(
    vault: Laboratory,
    clean_environment: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    """A home as somebody has it who follows a page."""
    secret_store.plant(tmp_path, monkeypatch)
    made = Place(vault, clean_environment, tmp_path / "programs")
    made.programs.mkdir()
    (made.home / "etc").mkdir(mode=0o700)
    (made.home / "secret-id").write_text("84896a0c-1347-aa90-a4f6-aca8b7558780\n")
    policy = next(text for language, text in blocks_of((ROOT / "README.md").read_text()) if language == "hcl")
    (made.home / "webapp.hcl").write_text(policy)
    made.put("vault", ENGINE.binary)
    made.put("bao", ENGINE.binary)
    made.put(OURS, *COMMAND.split())
    made.put("legacy-tool", "sh", "-ec", 'test -n "$AWS_ACCESS_KEY_ID"')
    (made.home / "data").mkdir()
    (made.home / "data" / "report.csv").write_text("1,2\n")
    return made


def is_for_vault(command: str) -> bool:
    """Tell whether the administrator of Vault types a command."""
    return bool(re.match(r"\(?(umask \d+ && )?(vault|bao) ", command))


@pytest.mark.parametrize("page", [page for page, commands in HERE.items() if commands])
def test_commands_of_the_page_work(request: pytest.FixtureRequest, place: Place, page: str) -> None:
    """Each command, as it stands and in order, ends well; those for Vault's administrator make what the others use."""
    call = place.laboratory.server.call
    for method in ("approle", "userpass"):
        with contextlib.suppress(OSError):
            call("DELETE", f"sys/auth/{method}")
    commands = HERE[page]
    if any(re.search(r"(^| )aws ", one) for one in commands):
        place.put("aws", str(request.getfixturevalue("aws_program")))
    if not any("auth enable approle" in one for one in commands):
        call("POST", "sys/auth/approle", {"type": "approle"})
        call("POST", "auth/approle/role/webapp", {"token_policies": ["webapp"], "token_ttl": "1h"})
    place.laboratory.allow("webapp", (place.home / "webapp.hcl").read_text())
    is_set_up = False

    for command in filter(SAFE.fullmatch, commands):
        if not is_for_vault(command) and not is_set_up:
            place.write_profile()
            is_set_up = True
        done = place.run(command)
        assert done.returncode == 0, f"{page}: $ {command}\n{done.stdout}{done.stderr}"

    assert place.done == list(filter(SAFE.fullmatch, commands))


def test_command_that_fails_is_seen(place: Place) -> None:
    """A command that does not exist, a flag that is none, and a pipe whose beginning fails do not pass for run."""
    for command in ("vault-credential-proces get", f"{OURS} get --nosuch", f"{OURS} get --profile nosuch | cat"):
        assert place.run(command).returncode != 0
