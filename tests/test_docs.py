"""The documentation says what the code does: settings, errors, examples, policies, links."""

from __future__ import annotations

import ast
import configparser
import importlib
import logging
import pathlib
import re
import types
from typing import NamedTuple

import pytest

from vault_credential_process import auth, errors
from vault_credential_process.cli import BUG, INTERRUPTED
from vault_credential_process.cli.exec import NOT_EXECUTABLE, NOT_FOUND
from vault_credential_process.cli.parser import COMMANDS
from vault_credential_process.config import Config
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.models import options_of
from vault_credential_process.profiles import find_profile

from .conftest import COMMAND, ROOT, Run, script
from .test_code import SOURCES, room

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
BESIDE = [ROOT / f"{name}.md" for name in ("README", "SECURITY", "CHANGELOG", "CONTRIBUTING")]
PAGES = [*BESIDE, *sorted(DOCS.rglob("*.md"))]


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def generator() -> types.ModuleType:
    """The script that writes the table of settings."""
    return script(DOCS / "generate.py")


class TestSettings:
    """``docs/settings.md`` and its generator."""

    def test_page_is_up_to_date(self, generator: types.ModuleType) -> None:
        """The page is what the generator would write."""
        assert generator.main(["--check"]) == 0

    def test_check_fails_when_the_page_differs(
        self, generator: types.ModuleType, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """``--check`` exits 1 for a page that is missing or old and leaves it alone; without it the page is written."""
        page = tmp_path / "settings.md"
        generator.TARGET = page
        assert generator.main(["--check"]) == 1
        page.write_text("old")
        assert generator.main(["--check"]) == 1
        assert page.read_text() == "old"
        assert "not up to date" in capsys.readouterr().err

        assert generator.main([]) == 0

        assert page.read_text(encoding="utf-8") == (DOCS / "settings.md").read_text(encoding="utf-8")

    def test_every_option_has_its_row(self) -> None:
        """Each key, variable and flag of the option tables stands in one row; a secret has no key and no flag."""
        rows = [line.split(" | ") for line in (DOCS / "settings.md").read_text(encoding="utf-8").splitlines()]
        for declared in (*options_of(Config), *auth.options()):
            key = "| environment only" if declared.secret else f"| `{declared.key}`"
            (row,) = [r for r in rows if r[0] == key and r[1] == ", ".join(f"`{name}`" for name in declared.environ)]
            assert row[2].startswith(f"`{declared.flag} ") if declared.flag else not row[2].strip()

    def test_flags_are_those_of_the_command(self, command: Run) -> None:
        """``get --help`` names each flag of the page, and the page each flag of ``get --help``."""
        assert flags_of(command, "get") == self.documented()

    @pytest.mark.parametrize("name", sorted(COMMANDS))
    def test_command_takes_every_setting_or_none(self, command: Run, name: str) -> None:
        """The help of each command names all flags of the page, or those of messages and profile alone."""
        shown = flags_of(command, name)

        assert {"--verbose", "--log-file"} <= shown
        assert self.documented() & shown in (
            self.documented(),
            {"--verbose", "--log-file"},
            {"--verbose", "--log-file", "--profile"},
        )

    @staticmethod
    def documented() -> set[str]:
        """Return the flags that the page names."""
        return set(re.findall(r"`(?:-v`, `)?(--[a-z-]+)", (DOCS / "settings.md").read_text(encoding="utf-8")))


def flags_of(command: Run, name: str) -> set[str]:
    """Return the long flags in the help of one command."""
    done = command(name, "--help", COLUMNS="300")
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"(?<![\w-])--[a-z-]+", done.stdout)) - {"--help"}


class Message(NamedTuple):
    """A message of the source: its exit code, ``None`` where several may be, and its fixed words in order."""

    code: int | None
    words: tuple[str, ...]
    whole: bool
    """Whether it is printed as it is, not as a part of another message."""

    @property
    def pattern(self) -> str:
        """A regular expression that finds the message, whatever fills its gaps."""
        return ".*?".join(re.escape(words) for words in self.words)


OURS = {
    name: found.exit_code
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, errors.VaultCredentialError)
}
PARTS = {"ValueError": 2, "RuntimeError": 1, "TourFailed": 1, "AuthUnavailable": 3}
"""What is raised to be put into another message, with the exit code of that."""
NEVER_PRINTED = {
    (": permission denied",),  # a look-up that is forbidden: its callers go on without
    ("not an RFC 3339 time with a zone",),  # a time in an answer: it counts as absent
    ("not a time that exists",),
}
PREFIX = "vault-credential-process: "


def words_of(node: ast.expr) -> tuple[str, ...]:
    """Return the fixed words of a string or f-string, a gap between each two."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    found = (str(p.value).removeprefix(PREFIX).rstrip("\n") for p in parts if isinstance(p, ast.Constant))
    return tuple(text for text in found if text)


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES if room(path) != "testing"}


def messages() -> list[Message]:
    """Return every message that the package can print."""
    found = []
    for node in (node for tree in TREES.values() for node in ast.walk(tree)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = ast.unparse(node.func).removeprefix("errors.")
        words = words_of(node.args[0])
        spoken = called in OURS or called in PARTS or called in ("complain", "sys.stderr.write")
        if spoken and words not in NEVER_PRINTED and re.search(r"[A-Za-z]{3}", "".join(words)):
            whole = called not in PARTS or words[0].startswith("no way to log in")
            found.append(Message(OURS.get(called, PARTS.get(called)), words, whole))
    return found


MESSAGES = messages()


def plain(text: str) -> str:
    """Return the words of a text, each between two spaces: nothing but words is compared."""
    return f" {' '.join(re.findall(r'[A-Za-z0-9_]+', text))} "


STRINGS = "\n".join(
    plain(inner.value)
    for tree in TREES.values()
    for node in ast.walk(tree)
    if not isinstance(node, ast.Expr)  # a docstring says nothing to a user
    for inner in ast.iter_child_nodes(node)
    if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
)


def stretches(text: str) -> float:
    """Return into how few runs of words a text falls, each of which stands in one string of the source."""
    words, count = plain(text).split(), 0
    while words:
        known = (n for n in range(len(words), 0, -1) if f" {' '.join(words[:n])} " in STRINGS)
        length = next(known, 0)
        if not length:
            return float("inf")
        words, count = words[length:], count + 1
    return count


def rows() -> list[tuple[int, str]]:
    """Return the exit code and the message of each row of ``docs/errors.md``."""
    found, code = [], 0
    for line in (DOCS / "errors.md").read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"## (\d+)", line):
            code = int(heading.group(1))
        elif line.startswith("| `"):
            found.append((code, line.split("`")[1]))
    return found


class TestErrors:
    """``docs/errors.md``."""

    @pytest.mark.parametrize("message", MESSAGES, ids=lambda m: " … ".join(m.words)[:70])
    def test_each_message_has_a_row(self, message: Message) -> None:
        """Whatever the package can say stands in the table, under its exit code."""
        assert [text for code, text in rows() if message.code in (None, code) and re.search(message.pattern, text)]

    @pytest.mark.parametrize(("code", "text"), rows())
    def test_each_row_is_a_message(self, code: int, text: str) -> None:
        """No row tells of a message, or of words in one, that the package does not have."""
        fixed = re.sub(r"<[^<>]*>", " ", text)

        assert [m for m in MESSAGES if m.whole and m.code in (None, code) and re.search(m.pattern, text)]
        assert stretches(fixed) <= 2 + len(fixed.split()) / 4

    def test_words_that_nobody_says_are_seen(self) -> None:
        """The check of a row's words would fail: an invented word stands in no string of the source."""
        assert stretches("no role at mount") < float("inf")
        assert stretches("no rule at mount") == float("inf")

    def test_each_exit_code_has_its_section(self) -> None:
        """The page is grouped by exit code, and has every one of them."""
        page = (DOCS / "errors.md").read_text(encoding="utf-8")

        assert {int(code) for code in re.findall(r"^## (\d+)", page, re.MULTILINE)} == {
            1, *OURS.values(), BUG, NOT_EXECUTABLE, NOT_FOUND, INTERRUPTED,
        }  # fmt: skip


class TestReadme:
    """``README.md``."""

    def test_exit_codes_are_those_of_the_errors(self) -> None:
        """The codes that the README names, with their classes, are all that ``errors.py`` has but that of a bug."""
        sentence = re.search(r"exit code of its class: (.*?)\.\n", README)
        assert sentence is not None
        named = {int(code): word for code, word in re.findall(r"(\d+) (\w+)", sentence.group(1))}

        assert set(named) == set(OURS.values()) - {BUG}
        for name, code in OURS.items():
            assert code == BUG or name == "AuthUnavailable" or named[code] in name.lower()

    def test_profile_parses_and_has_known_keys_only(
        self, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The example's profile resolves without a warning, and each key is ours or AWS's."""
        (text,) = blocks("ini")
        path = tmp_path / "config"
        path.write_text(text)
        parser = configparser.RawConfigParser()
        parser.read(path)
        (section,) = parser.sections()
        profile = find_profile({"profile": section.removeprefix("profile ")}, {"AWS_CONFIG_FILE": str(path)})

        with caplog.at_level(logging.WARNING, "vault_credential_process"):
            config = auth.configure({}, {}, profile)

        known = {declared.key for declared in (*options_of(Config), *auth.options())}
        assert set(parser[section]) - known == {"region", "credential_process"}
        assert config.vault_aws_role == "webapp"
        assert [method.name for method, _ in auth.candidates(config)] == ["approle"]
        assert caplog.records == []

    def test_command_of_the_profile_names_the_profile(self) -> None:
        """The ``credential_process`` line is absolute and carries the profile that it stands in."""
        (text,) = blocks("ini")

        assert "[profile webapp]" in text
        assert re.search(r"^credential_process = /\S*/vault-credential-process get --profile webapp$", text, re.M)

    @pytest.mark.parametrize("code", blocks("python"))
    def test_python_examples_use_what_exists(self, code: str) -> None:
        """Each example compiles, and every name that it takes from a module exists there."""
        tree = ast.parse(code)
        modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules |= {alias.name: importlib.import_module(alias.name) for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    assert hasattr(importlib.import_module(node.module or ""), alias.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                assert hasattr(modules[node.value.id], node.attr)

        assert "vault_credential_process" in code

    def test_manager_has_what_the_examples_call(self) -> None:
        """Methods and properties of the manager in the examples exist."""
        manager = importlib.import_module("vault_credential_process").VaultAWSCredentialManager
        called = re.findall(r"manager\.(\w+)", "".join(blocks("python")))

        assert called
        assert [name for name in called if not hasattr(manager, name)] == []

    def test_nothing_is_left_to_fill_in(self) -> None:
        """No placeholder such as @TIME@ stands in a page."""
        assert [page.name for page in PAGES if re.search(r"@[A-Z]+@", page.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: pathlib.Path) -> None:
    """Each link to a file, relative to its page, leads to one in the repository."""
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    files = [link for link in links if not link.startswith(("http://", "https://"))]

    assert [link for link in files if not (page.parent / link).is_file()] == []


def test_readme_links_to_the_reference() -> None:
    """From the README one reaches settings, errors, the example and the licence."""
    assert {"docs/settings.md", "docs/errors.md", "examples/flask_app.py", "LICENSE"} <= set(
        re.findall(r"\]\(([^)#\s]+)", README)
    )


POLICIES = {block.split("\n", 1)[0].strip("# ").partition(":")[0]: block for block in blocks("hcl")}


class TestPolicies:
    """The README's policies, on a real server, with tokens that have no ``default`` policy."""

    def test_there_is_one_for_each_feature(self) -> None:
        """Read, look-up, revoke and renew are there, and nothing else."""
        assert list(POLICIES) == ["read", "look-up", "revoke", "renew"]

    def test_read_policy_is_enough_for_the_command(
        self, stand_in: Laboratory, clean_environment: pathlib.Path, command: Run
    ) -> None:
        """``get`` works with the first policy alone; with none at all it is denied."""
        stand_in.allow("readme-read", POLICIES["read"])
        stand_in.write_sts("webapp", ttl=3600)
        codes = {}
        for name, policies in (("readme", ("readme-read",)), ("readme-none", ())):
            approle = stand_in.app_role(name, policies=policies, token_no_default_policy=True)
            settings = {
                "vault_addr": stand_in.server.address,
                "vault_role_id": approle["role_id"],
                "vault_secret_id_file": approle["secret_id_file"],
                "vault_aws_role": "webapp",
            }
            path = clean_environment / name
            path.write_text(stand_in.profile("webapp", settings, command=COMMAND))
            codes[name] = command("get", "--profile", "webapp", AWS_CONFIG_FILE=str(path)).returncode

        assert codes == {"readme": 0, "readme-none": errors.PermissionDeniedError.exit_code}

    @pytest.mark.parametrize(
        ("name", "method", "path"),
        [
            ("look-up", "GET", "auth/token/lookup-self"),
            ("renew", "POST", "auth/token/renew-self"),
            ("revoke", "POST", "auth/token/revoke-self"),
        ],
    )
    def test_policy_allows_what_it_is_for(self, stand_in: Laboratory, name: str, method: str, path: str) -> None:
        """A token with this policy alone may do it, and a token without a policy may not."""
        stand_in.allow(f"readme-{name}", POLICIES[name])
        with_it, without = (
            stand_in.server.call(
                "POST", "auth/token/create", {"policies": [policy], "no_default_policy": True, "ttl": "5m"}
            )["auth"]["client_token"]
            for policy in (f"readme-{name}", "readme-nothing")
        )

        with pytest.raises(OSError, match="403"):
            stand_in.server.call(method, path, {} if method == "POST" else None, token=without)
        stand_in.server.call(method, path, {} if method == "POST" else None, token=with_it)
