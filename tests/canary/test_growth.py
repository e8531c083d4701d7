"""The canary grows by itself: what is added to the package fails here until it is played; and its page is true."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import types
from typing import Any, ClassVar

import pytest

import vault_credential_process
from vault_credential_process import auth, cache, config
from vault_credential_process.auth.token import Token
from vault_credential_process.cli import parser
from vault_credential_process.models import option
from vault_credential_process.sources import from_command, from_environment

from ..conftest import ROOT
from . import page
from .failures import FAILURES
from .growth import missing, unknown_secrets
from .plays import Props


def now_missing(tmp_path: pathlib.Path) -> set[str]:
    """Return what is missing now."""
    return set(missing(tmp_path / "planted"))


def test_everything_is_played(props: Props, tmp_path: pathlib.Path) -> None:
    """Every command, action and flag, method, secret, cache backend and public name has its place in the tables."""
    assert now_missing(tmp_path) == set()
    assert unknown_secrets() == set()


def test_new_command_would_be_missed(props: Props, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a command, an action and a flag that nobody plays are named."""
    module = types.ModuleType("vault_credential_process.cli.dummy")

    def add_options(to: Any) -> None:
        to.add_argument("action", choices=("one", "two"))
        to.add_argument("--dump", action="store_true")

    module.add_options = add_options  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(parser.COMMANDS, "dummy", "do something new")

    assert now_missing(tmp_path) == {
        "no run of the command 'dummy one' in commands.RUNS",
        "no run of the command 'dummy two' in commands.RUNS",
        "no run of the command 'dummy one' with --dump in commands.RUNS",
        "no run of the command 'dummy two' with --dump in commands.RUNS",
    }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dummy(Token):
    """A method that nobody plays."""

    name: ClassVar[str] = "dummy"
    vault_dummy_pin: str | None = from_environment("vault_dummy_pin", "pin")
    vault_dummy_pin_command: tuple[str, ...] | None = from_command("vault_dummy_pin", "pin")


def test_new_method_would_be_missed(props: Props, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a method that nobody plays is named, and so is each secret that it declares."""
    monkeypatch.setitem(auth.METHODS, "dummy", f"{__name__}:Dummy")

    assert now_missing(tmp_path) == {
        "no play of the auth method 'dummy' in methods.PLAYS",
        "no play plants 'vault_dummy_pin'",
        "no play plants 'vault_dummy_pin_command'",
    }
    assert unknown_secrets() == {"vault_dummy_pin"}


def test_new_setting_and_backend_would_be_missed(
    props: Props, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a secret among the general settings, a cache backend and a public name are named."""

    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Settings(config.Config):
        vault_new_secret: str | None = option("VAULT_NEW_SECRET", secret=True, help="a secret")

    monkeypatch.setattr("tests.canary.growth.Config", Settings)
    monkeypatch.setitem(cache.BACKENDS, "dummy", "somewhere:Dummy")
    monkeypatch.setattr(vault_credential_process, "__all__", [*vault_credential_process.__all__, "new_face"])

    assert now_missing(tmp_path) == {
        "no stage for the cache backend 'dummy' in caches.BACKENDS",
        "no face of faces.FACES uses 'new_face'",
        "no play plants 'vault_new_secret'",
    }


def test_page_is_true(props: Props) -> None:
    """``docs/canary.md`` is what the tables say; ``python -m tests.canary.page`` writes it."""
    assert (ROOT / "docs" / "canary.md").read_text(encoding="utf-8") == page.text(props)


def test_page_would_be_false(props: Props, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: another failure makes another page."""
    before = page.text(props)
    monkeypatch.setattr(page, "FAILURES", FAILURES[1:])

    assert page.text(props) != before
