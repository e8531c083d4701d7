"""Okta: what it sends, when it may send it, and the number that a push wants to be tapped.

No server here has the method: the answers are those of Vault's API documentation
(https://developer.hashicorp.com/vault/api-docs/auth/okta#login and ``#verify``), the refusals those of its source.
"""

from __future__ import annotations

import json
import pathlib
import re
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from vault_credential_process.auth.okta import Okta
from vault_credential_process.auth.password import PasswordMethod
from vault_credential_process.errors import AuthenticationError, ConfigurationError
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import Person
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import Reply, Request, ScriptedServer, reply

from ..bench import Clock
from ..conftest import Run
from ..pages import Page
from ..typist import Typist
from .commands import requests_of
from .methods import log_in
from .passwords import CREDENTIALS, PASSWORD, READ, RENEW, PasswordContract, fetcher, get_from
from .people import Somebody

CODE = "424299"
PRINTS = {"vault_login_mfa_code_command": "/usr/bin/printf 42%s 4299"}
"""A command that prints the code, in whose words it does not stand."""

KEYS = {"vault_auth_method": "okta", "vault_username": "fred"}
LOGIN = "auth/okta/login/fred"
TOKEN = "64d2a8f2-2a2f-5688-102b-e6088b76e344"  # the documentation's
DOCUMENTED = reply(
    200,
    {
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": None,
        "warnings": None,
        "auth": {
            "client_token": TOKEN,
            "accessor": "18bb8f89-826a-56ee-c65b-1736dc5ea27d",
            "policies": ["default"],
            "metadata": {"username": "fred", "policies": "default"},
            "lease_duration": 7200,
            "renewable": True,
        },
    },
)
NUMBER = reply(200, {"request_id": "de6a8029", "lease_id": "", "data": {"correct_answer": 94}, "warnings": None})
NO_NUMBER = reply(404, {"errors": []})


class TestContract(PasswordContract):
    """The contract of every method, and of those with a password, for a program with a code at hand."""

    method: ClassVar[type[PasswordMethod]] = Okta
    keys: ClassVar[dict[str, str]] = PRINTS
    wrong: ClassVar[str] = "Okta auth failed: the API returned an error: Authentication failed (code=E0000004)"
    sent: ClassVar[dict[str, str]] = {"password": PASSWORD, "totp": CODE}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return (PASSWORD, CODE)


class TestContractOfAPerson(AuthMethodContract):
    """The contract of every method, for somebody who confirms a push."""

    method: ClassVar[type[PasswordMethod]] = Okta
    path: ClassVar[str] = "auth/{mount}/login/alice"

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"vault_username": "alice", "vault_password": PASSWORD}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return (PASSWORD,)

    def person(self) -> Person:
        return Somebody()


def somebody(*answers: str) -> Somebody:
    """Return a person who answers so."""
    made = Somebody()
    made.answers = list(answers)
    return made


@pytest.fixture
def okta(scripted: ScriptedServer) -> ScriptedServer:
    """A server that accepts the login as the documentation has it."""
    scripted.on("POST", LOGIN, DOCUMENTED)
    return scripted


def bodies(server: ScriptedServer) -> list[dict[str, str]]:
    """Return what was sent to log in."""
    return [request.json for request in server.requests if request.method == "POST"]


class TestWithoutAnybody:
    """A program logs in, and nobody expects a push."""

    def test_nothing_is_sent_without_a_code(
        self, run: Run, okta: ScriptedServer, clean_environment: pathlib.Path
    ) -> None:
        """A stored password alone may end in an unasked push: nothing is sent, and one line tells what to do."""
        for keys in (KEYS, {**KEYS, "vault_okta_provider": "OKTA"}):
            done = get_from(run, okta.address, keys, clean_environment, VAULT_PASSWORD=PASSWORD)
            assert (done.returncode, done.stdout) == (3, "")
            assert done.stderr == (
                f"vault-credential-process: {okta.address}/v1/{LOGIN}: nothing was sent, for Okta may ask the user's "
                "device to confirm; run: vault-credential-process login --profile webapp, or set "
                "vault_login_mfa_code_command\n"
            )

        assert okta.requests == []

    @pytest.mark.parametrize("provider", [None, "OKTA", "google"])
    def test_code_of_the_command(self, okta: ScriptedServer, provider: str | None) -> None:
        """With a command that prints the code the password goes with it, and with the provider that is named."""
        keys = {**KEYS, **PRINTS, **({"vault_okta_provider": provider} if provider else {})}
        assert log_in(okta.address, keys, {"VAULT_PASSWORD": PASSWORD}).value == TOKEN

        expected = {"password": PASSWORD, "totp": CODE, **({"provider": provider.upper()} if provider else {})}
        assert bodies(okta) == [expected]
        assert len(okta.requests) == 1

    def test_command_is_told_whose_code(self, okta: ScriptedServer, tmp_path: pathlib.Path) -> None:
        """The command finds the method and the provider in its environment."""
        script = tmp_path / "code"
        script.write_text('#!/bin/sh\necho "$VAULT_MFA_METHOD_TYPE-$VAULT_MFA_METHOD_ID"\n')
        script.chmod(0o700)
        keys = {**KEYS, "vault_login_mfa_code_command": str(script), "vault_okta_provider": "GOOGLE"}
        log_in(okta.address, keys, {"VAULT_PASSWORD": PASSWORD})

        assert bodies(okta)[0]["totp"] == "okta-GOOGLE"

    def test_token_is_not_renewed(self, okta: ScriptedServer) -> None:
        """Towards its end the token of a login by a person serves on, unrenewed: to Okta that were a login."""
        clock = Clock()
        okta.on("GET", READ, CREDENTIALS)
        made = fetcher(okta.address, KEYS, clock, VAULT_PASSWORD=PASSWORD)
        made.log_in(somebody(), Deadline(20))
        clock.now += 7100
        assert made.keep_token() is None
        made.fetch()
        assert (okta.asked("POST", RENEW), okta.asked("POST", LOGIN)) == (0, 1)

        clock.now += 400
        with pytest.raises(AuthenticationError, match="nothing was sent"):
            made.fetch()
        assert (okta.asked("POST", RENEW), okta.asked("POST", LOGIN)) == (0, 1)

    def test_unknown_provider(self, run: Run, okta: ScriptedServer, clean_environment: pathlib.Path) -> None:
        """A provider that there is not is refused."""
        keys = {**KEYS, "vault_okta_provider": "DUO"}
        done = get_from(run, okta.address, keys, clean_environment, VAULT_PASSWORD=PASSWORD)

        assert done.returncode == 2
        assert "vault_okta_provider: write OKTA or GOOGLE (from vault_okta_provider in [profile webapp])" in done.stderr


class TestPush:
    """Somebody logs in and confirms on a device."""

    def push(self, server: ScriptedServer, answer: bytes, *numbers: Reply, until: Callable[[], bool]) -> None:
        """Let the login wait until something has happened; meanwhile the number is asked for by its nonce."""

        def wait(connection: socket.socket, request: Request) -> None:
            server.on("GET", f"auth/okta/verify/{request.json['nonce']}", *numbers)
            limit = time.monotonic() + 10
            while not until() and time.monotonic() < limit:
                time.sleep(0.02)
            connection.sendall(answer)

        server.on("POST", LOGIN, wait)

    def test_number_is_told_while_the_login_waits(self, okta: ScriptedServer) -> None:
        """The number is asked for until there is one, by a nonce that nobody can guess, and told once."""
        fred = somebody(PASSWORD)
        self.push(okta, DOCUMENTED, NO_NUMBER, NUMBER, until=lambda: len(fred.told) > 1)

        assert log_in(okta.address, KEYS, person=fred).value == TOKEN
        assert fred.told == [
            "If Okta sends a push to your device, confirm it there.",
            "In Okta Verify, tap the number 94.",
        ]
        (body,) = bodies(okta)
        nonce = body.pop("nonce")
        assert body == {"password": PASSWORD}
        assert re.fullmatch("[0-9a-f]{20}", nonce)
        verified = [request for request in okta.requests if request.method == "GET"]
        assert [request.path for request in verified] == [f"/v1/auth/okta/verify/{nonce}"] * 2
        assert [request.headers.get("x-vault-token") for request in verified] == [None, None]

    def test_nonce_is_a_new_one_each_time(self, okta: ScriptedServer) -> None:
        """No two logins share a nonce."""
        for _ in range(2):
            log_in(okta.address, KEYS, person=somebody(PASSWORD))

        assert len({body["nonce"] for body in bodies(okta)}) == 2

    @pytest.mark.parametrize(
        "answer",
        [
            reply(403, {"errors": ["permission denied"]}),
            reply(500, {"errors": ["internal error"]}),
            reply(200, b"<html>"),
            reply(200, {"data": {"correct_answer": "94"}}),
            reply(200, {"data": None}),
        ],
    )
    def test_number_that_is_not_to_be_had(self, okta: ScriptedServer, answer: bytes) -> None:
        """A server that gives no number, as an older one, does not disturb the login."""
        fred = somebody(PASSWORD)
        self.push(okta, DOCUMENTED, answer, until=lambda: any(r.method == "GET" for r in okta.requests))

        assert log_in(okta.address, KEYS, person=fred).value == TOKEN
        assert len(fred.told) == 1

    @pytest.mark.parametrize(
        "said", ["multi-factor authentication denied", "failed to complete multi-factor authentication"]
    )
    def test_push_that_is_not_confirmed(self, okta: ScriptedServer, said: str) -> None:
        """A push that is denied, or that nobody answers, is one line, and does not count as a wrong password."""
        okta.on("POST", LOGIN, reply(400, {"errors": [said]}))
        made = fetcher(okta.address, KEYS, Clock(), VAULT_PASSWORD=PASSWORD)
        for _ in range(2):
            with pytest.raises(AuthenticationError, match=f"/v1/{LOGIN}: login refused: {said}; check vault_username"):
                made.log_in(somebody(), Deadline(20))

        assert okta.asked("POST", LOGIN) == 2

    def test_code_that_the_person_types(self, okta: ScriptedServer) -> None:
        """With a provider the person is asked for a code, in groups as apps show it, and there is no push."""
        fred = somebody(PASSWORD, "424 299")
        log_in(okta.address, {**KEYS, "vault_okta_provider": "GOOGLE"}, person=fred)

        assert bodies(okta) == [{"password": PASSWORD, "totp": CODE, "provider": "GOOGLE"}]
        assert (fred.answers, fred.told) == ([], [])
        assert len(okta.requests) == 1

    def test_whole_way(self, okta: ScriptedServer, clean_environment: pathlib.Path, run: Run) -> None:
        """``login`` at a terminal shows the number and keeps the token, with which ``get`` goes on by itself."""
        okta.on("GET", READ, CREDENTIALS)
        numbers: list[float] = []
        self.push(okta, DOCUMENTED, NO_NUMBER, NUMBER, until=lambda: len(numbers) > 0)
        # The profile is written by the first call, which finds nobody logged in.
        done = get_from(run, okta.address, KEYS, clean_environment)
        assert "nobody is logged in" in done.stderr
        config = {"AWS_CONFIG_FILE": str(clean_environment / "config")}
        log = clean_environment / "log"
        command = (sys.executable, "-m", "vault_credential_process", "login", "--profile=webapp", f"--log-file={log}")
        with Typist(*command, environ=config) as typist:
            typist.answers("Password of fred at ", PASSWORD)
            assert typist.process.stderr is not None
            told = b""
            while b"94" not in told:
                line = typist.process.stderr.readline()
                assert line, told
                told += line
            numbers.append(94)
            done = typist.ends()
            assert done.returncode == 0
            assert f"logged in to {okta.address} at auth/okta, policies default; " in done.stdout

        assert b"In Okta Verify, tap the number 94.\n" in told
        assert PASSWORD not in told.decode() + done.stdout + done.stderr + typist.shown + log.read_text()
        found = get_from(run, okta.address, KEYS, clean_environment)
        assert (found.returncode, found.stderr) == (0, "")
        assert json.loads(found.stdout)["AccessKeyId"] == "ASIAIOSFODNN7EXAMPLE"
        assert okta.asked("POST", LOGIN) == 1


def test_missing_configuration(okta: ScriptedServer) -> None:
    """A method that was enabled and not configured is no wrong password."""
    okta.on("POST", LOGIN, reply(400, {"errors": ["Okta auth method not configured"]}))

    with pytest.raises(ConfigurationError, match="Okta auth method not configured; write auth/okta/config in Vault"):
        log_in(okta.address, {**KEYS, **PRINTS}, {"VAULT_PASSWORD": PASSWORD})


def test_commands_of_the_page() -> None:
    """The set-up commands ask the server for what the API documentation tells."""
    assert requests_of(Page("okta")) == [
        ("sys/auth/okta", {"type": "okta"}),
        (
            "auth/okta/config",
            {"org_name": "dev-123456", "base_url": "okta.com", "api_token": "c0ffee-c0ffee", "token_ttl": "8h"},
        ),
        ("auth/okta/groups/aws", {"policies": "webapp"}),
    ]


def test_profiles_of_the_page(okta: ScriptedServer) -> None:
    """The page's profile logs in a person, and with the keys for programs a program."""
    page = Page("okta")
    keys = page.profile({"alice@example.com": "fred"}) | {"vault_addr": okta.address}
    log_in(okta.address, keys, person=somebody(PASSWORD))
    alone = re.findall(r"^(vault_\w+) = (.*)$", page.section("Without anybody there"), re.MULTILINE)
    assert [key for key, _ in alone] == ["vault_password_file", "vault_okta_provider", "vault_login_mfa_code_command"]
    log_in(okta.address, {**keys, **dict(alone[1:2]), **PRINTS}, {"VAULT_PASSWORD": PASSWORD})

    assert bodies(okta)[1] == {"password": PASSWORD, "totp": CODE, "provider": "GOOGLE"}
