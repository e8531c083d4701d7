"""The pages of ``docs/auth``: one for each method, and what they name exists."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from vault_credential_process import auth
from vault_credential_process.config import Config
from vault_credential_process.models import options_of
from vault_credential_process.profiles import Profile

from ..conftest import ROOT, Run
from ..pages import Page

README = (ROOT / "docs" / "auth" / "README.md").read_text(encoding="utf-8")
BADGE = ROOT / "examples" / "badge_auth"


def test_table_has_every_method_with_its_summary() -> None:
    """The rows are those of the program's own table, in its order, in its words."""
    rows = re.findall(r"^\| \[`([a-z0-9-]+)`\]\(([a-z0-9-]+)\.md\) \| (.*?) \|$", README, re.MULTILINE)

    assert rows == [(name, name, auth.find(name).summary) for name in auth.METHODS]


def test_there_is_no_page_without_a_method() -> None:
    """A page that nobody's table names would be forgotten."""
    assert {path.stem for path in (ROOT / "docs" / "auth").glob("*.md")} == {"README", *auth.METHODS}


@pytest.mark.parametrize("name", auth.METHODS)
def test_profile_of_the_page_means_its_method(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The example's keys all exist, and ``auto`` or the named method is the page's own."""
    keys = Page(name).profile()
    config = auth.configure({}, {}, Profile("webapp", keys))

    assert caplog.records == []
    assert [method.name for method, _ in auth.candidates(config)] == [name]


@pytest.mark.parametrize("name", auth.METHODS)
def test_page_sets_vault_up_and_tells_what_to_know(name: str) -> None:
    """Each page has the commands that make it work, and what people will meet."""
    page = Page(name)

    assert [command for command in page.commands() if command.startswith(("vault ", "bao "))] != []
    assert page.section("Good to know").strip()


@pytest.mark.parametrize("name", auth.METHODS)
def test_page_names_settings_that_exist(name: str) -> None:
    """Each setting that a page names in code is one of ours."""
    known = {o.key for o in (*options_of(Config), *auth.options())}
    named = set(re.findall(r"`(vault_[a-z0-9_]+)", Page(name).text))

    assert named - known == set()


def test_example_of_ones_own_method_is_short() -> None:
    """A method takes fewer than 40 lines."""
    assert len((BADGE / "badge_auth.py").read_text().splitlines()) < 40


@pytest.mark.system
def test_example_of_ones_own_method_keeps_the_contract(run: Run, tmp_path: pathlib.Path) -> None:
    """Installed as a package, found by its entry point, the example passes the contract tests that are shipped."""
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(BADGE, source)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(source))
    installed = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=120)
    assert installed.returncode == 0, installed.stderr

    test = str(source / "test_badge_auth.py")
    done = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test, PYTHONPATH=str(site))

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"1[0-9] passed", done.stdout)
    assert "failed" not in done.stdout
