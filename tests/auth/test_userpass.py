"""Userpass: what it sends, and the whole way on a real server."""

from __future__ import annotations

import pathlib
from typing import Any, ClassVar

import pytest

from vault_credential_process.auth import AuthMethod
from vault_credential_process.auth.userpass import Userpass
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.testing.auth import AuthMethodContract

from ..conftest import Run
from ..pages import Page
from .methods import document, get


class TestContract(AuthMethodContract):
    """The contract of every method."""

    method: ClassVar[type[AuthMethod]] = Userpass
    path: ClassVar[str] = "auth/{mount}/login/alice"

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"vault_username": "alice", "vault_password": "canary-password"}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return ("canary-password",)


@pytest.fixture(scope="module")
def users(fresh: Laboratory) -> Laboratory:
    """A server that was set up as the page tells."""
    Page("userpass").set_up(fresh.server, fresh.directory)
    return fresh


def test_profile_of_the_page_logs_in(run: Run, users: Laboratory, clean_environment: pathlib.Path) -> None:
    """The page's profile and the password of a variable give AWS credentials."""
    done = get(run, users, Page("userpass").profile(), clean_environment, VAULT_PASSWORD="correct-horse")

    assert document(done)["Version"] == 1


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        (
            {"VAULT_PASSWORD": "wrong"},
            "refused: invalid username or password; check vault_username (from vault_username in [profile webapp])",
        ),
        ({}, "nobody is logged in; run: vault-credential-process login --profile webapp"),
    ],
)
def test_refused_user_says_what_to_do(
    run: Run, users: Laboratory, clean_environment: pathlib.Path, environ: dict[str, str], words: str
) -> None:
    """A wrong password, and none at all, are one line each and the code of authentication."""
    done = get(run, users, Page("userpass").profile(), clean_environment, **environ)

    assert (done.returncode, done.stdout) == (3, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
