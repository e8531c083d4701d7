"""A response-wrapped Secret ID: looked up, compared, unwrapped once, kept, and what a thief leaves behind."""

from __future__ import annotations

import concurrent.futures
import configparser
import dataclasses
import json
import logging
import os
import pathlib
import re
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import requests

from vault_credential_process import auth, fastpath
from vault_credential_process.auth import AuthMethod
from vault_credential_process.auth.approle import AppRole
from vault_credential_process.cache import CacheBackend
from vault_credential_process.cache.memory import Memory
from vault_credential_process.cache.none import NoCache
from vault_credential_process.demo.laboratory import Laboratory, write_private
from vault_credential_process.demo.proxy import CountingProxy
from vault_credential_process.demo.server import DIRECTLY
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    SealedError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.expiry import Deadline
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.models import VaultToken
from vault_credential_process.profiles import Profile
from vault_credential_process.refused import WAIT
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import Reply, Request, ScriptedServer, reply, reset
from vault_credential_process.vault import Vault

from ..bench import Bench, Clock
from ..conftest import Run
from ..pages import Page
from ..test_single_flight import HERD, one_document, start, until
from .methods import document
from .test_approle import keys, machines, namespaced, with_namespaces

__all__ = ["keys", "machines"]

WRAPPING = "hvs.CAESICanaryWrappingToken"
SECRET_ID = "canary-secret-id-in-the-wrapping"
TOKEN = "hvs.CAESICanaryTokenOfTheLogin"
PATH = "auth/approle/role/webapp/secret-id"
LOOKUP, UNWRAP, LOGIN = "sys/wrapping/lookup", "sys/wrapping/unwrap", "auth/approle/login"
LOGGED_IN = reply(200, {"auth": {"client_token": TOKEN, "lease_duration": 600, "policies": ["app"]}})
REFUSED = reply(400, {"errors": ["invalid role or secret ID"]})
SPENT = reply(400, {"errors": ["wrapping token is not valid or does not exist"]})
STOLEN = "POSSIBLE INTERCEPTION: Vault does not know the wrapping token"
OURS = "is spent: a call of ours unwrapped it and did not get to keep the Secret ID; deliver a new wrapped Secret ID"


def made_at(path: str) -> bytes:
    """Return the answer to the look-up of a wrapping token that is good."""
    return reply(200, {"data": {"creation_path": path, "creation_time": "2026-11-23T20:17:03Z", "creation_ttl": 600}})


def holding(**data: Any) -> bytes:
    """Return the answer to an unwrap."""
    return reply(200, {"data": {"secret_id_accessor": "an-accessor", "secret_id_num_uses": 0, **data}})


GOOD, FULL = made_at(PATH), holding(secret_id=SECRET_ID, secret_id_ttl=0)


@dataclasses.dataclass
class Host:
    """A host with a wrapping token in a file, a cache, a clock, and a server that says what it is told."""

    server: ScriptedServer
    file: pathlib.Path
    cache: CacheBackend = dataclasses.field(default_factory=Memory)
    clock: Clock = dataclasses.field(default_factory=Clock)

    def play(self, lookup: Reply = GOOD, unwrap: Reply = FULL) -> None:
        """Tell the server what to answer."""
        self.server.on("POST", LOOKUP, lookup)
        self.server.on("POST", UNWRAP, unwrap)
        self.server.on("POST", LOGIN, LOGGED_IN)

    def log_in(self, **changes: str | None) -> VaultToken:
        """Log in with the keys of a profile."""
        given = {
            "vault_addr": self.server.address,
            "vault_role_id": "role",
            "vault_secret_id_wrapped_file": str(self.file),
            "vault_approle_role_name": "webapp",
            "vault_max_retries": "0",
            **changes,
        }
        config = auth.configure({}, {}, Profile("webapp", {k: v for k, v in given.items() if v is not None}))
        with Vault(config, Deadline(20), self.clock, cache=self.cache) as vault:
            return auth.login(auth.choose(config), vault)

    def fail(self, error: type[VaultCredentialError] = AuthenticationError, **changes: str | None) -> str:
        """Log in in vain; return the message, after a look at what holds for all of them."""
        with pytest.raises(error) as caught:
            self.log_in(**changes)
        message = str(caught.value)
        assert message.isprintable()
        assert found(message, *traceback.format_exception(caught.value)) == []
        return message

    @property
    def asked(self) -> list[str]:
        """What the server was asked for, in order."""
        return [r.path.removeprefix("/v1/") for r in self.server.requests]


@pytest.fixture
def host(scripted: ScriptedServer, tmp_path: pathlib.Path) -> Host:
    """A host to which a wrapping token was delivered."""
    path = tmp_path / "wrapping-token"
    write_private(path, WRAPPING + "\n")
    made = Host(scripted, path)
    made.play()
    return made


def found(*texts: str) -> list[str]:
    """Return the secrets that stand in texts."""
    return [secret for secret in (WRAPPING, SECRET_ID, TOKEN) if any(secret in text for text in texts)]


class TestContract(AuthMethodContract):
    """The contract of every method, with a wrapping token in place of the Secret ID."""

    method: ClassVar[type[AuthMethod]] = AppRole

    @pytest.fixture
    def settings(self, tmp_path: pathlib.Path) -> dict[str, Any]:
        path = tmp_path / "wrapping-token"
        write_private(path, WRAPPING)
        return {
            "vault_role_id": "role",
            "vault_secret_id_wrapped_file": str(path),
            "vault_secret_id_wrapping_path": PATH,
        }

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return (WRAPPING, SECRET_ID)

    def _answer(self, server: ScriptedServer, settings: dict[str, Any], answer: Reply) -> None:
        server.on("POST", LOOKUP, made_at(PATH))
        server.on("POST", UNWRAP, holding(secret_id=SECRET_ID))
        super()._answer(server, settings, answer)

    def _log_in(self, server: ScriptedServer, settings: dict[str, Any]) -> VaultToken:
        method = self._made(server, settings)
        with Vault(method.config, Deadline(10), cache=Memory()) as vault:
            return auth.login(method, vault)


def test_first_login_unwraps(host: Host) -> None:
    """Looked up in the body, which does not spend it; then spent in the header; then its Secret ID logs in."""
    token = host.log_in()
    lookup, unwrap, login = host.server.requests

    assert token.value == TOKEN
    assert host.asked == [LOOKUP, UNWRAP, LOGIN]
    assert (lookup.json, lookup.headers.get("x-vault-token")) == ({"token": WRAPPING}, None)
    assert (unwrap.json, unwrap.headers["x-vault-token"]) == ({}, WRAPPING)
    assert login.json == {"role_id": "role", "secret_id": SECRET_ID}
    assert "x-vault-token" not in login.headers


def test_later_logins_use_the_kept_secret_id(host: Host) -> None:
    """The same file means the same Secret ID, for a month too where it has no end; nothing is unwrapped again."""
    host.log_in()
    host.clock.now += 31 * 86400
    host.play(lookup=SPENT, unwrap=SPENT)
    host.log_in()

    assert host.asked == [LOOKUP, UNWRAP, LOGIN, LOGIN]
    assert [r.json["secret_id"] for r in host.server.requests if r.path.endswith("login")] == [SECRET_ID] * 2


def test_another_wrapping_token_is_another_secret_id(host: Host) -> None:
    """A new token in the file is looked up and unwrapped; both files' Secret IDs stay what they are."""
    host.log_in()
    write_private(host.file, "hvs.CAESITheNextOne")
    host.play(unwrap=holding(secret_id="another"))
    host.log_in()
    write_private(host.file, WRAPPING)
    host.log_in()

    assert host.asked == [LOOKUP, UNWRAP, LOGIN, LOOKUP, UNWRAP, LOGIN, LOGIN]
    secrets = [r.json["secret_id"] for r in host.server.requests if r.path.endswith("login")]
    assert secrets == [SECRET_ID, "another", SECRET_ID]


def test_secret_id_is_kept_as_long_as_it_lives(host: Host) -> None:
    """After ``secret_id_ttl`` a new one is needed, and said so without asking anybody: nobody has stolen anything."""
    host.play(unwrap=holding(secret_id=SECRET_ID, secret_id_ttl=3600))
    host.log_in()
    host.clock.now += 3599
    host.log_in()
    host.clock.now += 1
    message = host.fail()

    assert message == (
        f"{host.server.address}/v1/auth/approle: the Secret ID that was unwrapped from {host.file} has ended (its "
        "secret_id_ttl has passed); deliver a new wrapped Secret ID"
    )
    assert host.asked == [LOOKUP, UNWRAP, LOGIN, LOGIN]


@pytest.mark.parametrize("ttl", [0, None, -1, "soon", True, 1e400])
def test_life_that_is_none_counts_as_endless(host: Host, ttl: object) -> None:
    """A ``secret_id_ttl`` of 0, or one that is no span of time, ends nothing."""
    host.play(unwrap=holding(secret_id=SECRET_ID, secret_id_ttl=ttl))
    host.log_in()
    host.clock.now += 400 * 86400
    host.log_in()

    assert host.asked == [LOOKUP, UNWRAP, LOGIN, LOGIN]


def test_spent_by_somebody_else(host: Host) -> None:
    """A token that Vault does not know may have been intercepted: loud, code 3, asked once, nothing logged in."""
    host.play(lookup=SPENT)
    message = host.fail(vault_max_retries="3")

    assert message == (
        f"{host.server.address}/v1/sys/wrapping/lookup: {STOLEN} in {host.file}: somebody else has unwrapped it, or it "
        "expired (no mark here tells that it was us; a restart or a cleared cache takes that away); treat the Secret "
        "ID as stolen: tell the security team, destroy the Secret ID, deliver a new one"
    )
    assert (host.asked, AuthenticationError.exit_code) == ([LOOKUP], 3)


def test_spent_by_somebody_else_at_the_last_moment(host: Host) -> None:
    """Alive when it was looked up and spent when it was to be unwrapped: no call of ours was it, now or later."""
    host.play(unwrap=SPENT)
    assert STOLEN in host.fail()
    host.play(lookup=SPENT)
    assert STOLEN in host.fail()

    assert host.asked == [LOOKUP, UNWRAP, LOOKUP]


@pytest.mark.parametrize(
    "path",
    [
        "auth/approle/role/other/secret-id",
        "auth/approle/role/webapp/custom-secret-id",
        "auth/approle/role/webapp/role-id",
        "auth/approle/role/webapp/secret-id/",
        "auth/approle/role/WebApp/secret-id",
        "auth/elsewhere/role/webapp/secret-id",
        "kv/auth/approle/role/webapp/secret-id",
        "team/auth/approle/role/webapp/secret-id",
        "sys/wrapping/wrap",
        "cubbyhole/\x1b[2Jfake\n",
        f"kv/{WRAPPING}",
        "",
        None,
    ],
)
def test_made_elsewhere(host: Host, path: str | None) -> None:
    """Any other creation path is refused as a possible exchange; nothing is unwrapped, nothing logged in."""
    host.play(lookup=reply(200, {"data": {"creation_path": path, "creation_ttl": 600}}))
    message = host.fail()

    assert f"{LOOKUP}: POSSIBLE INTERCEPTION: the wrapping token in {host.file} was made at " in message
    assert f", not at {PATH}: the Secret ID may have been intercepted and replaced; nothing was unwrapped" in message
    assert host.asked == [LOOKUP]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"vault_auth_mount": "teams/ci"}, "auth/teams/ci/role/webapp/secret-id"),
        ({"vault_namespace": "team"}, PATH),
        ({"vault_secret_id_wrapping_path": "auth/approle/role/webapp/custom-secret-id"}, "{}"),
        ({"vault_secret_id_wrapping_path": "/broker/secret-ids/webapp/", "vault_approle_role_name": None}, "{}"),
    ],
)
def test_expected_path(host: Host, changes: dict[str, str | None], path: str) -> None:
    """It has the mount point and no namespace; ``vault_secret_id_wrapping_path`` is the whole of another one."""
    expected = path.format(str(changes.get("vault_secret_id_wrapping_path")).strip("/"))
    mount = changes.get("vault_auth_mount") or "approle"
    host.server.on("POST", f"auth/{mount}/login", LOGGED_IN)
    host.play(lookup=made_at("auth/approle/role/other/secret-id"))
    assert f"not at {expected}: " in host.fail(**changes)
    host.play(lookup=made_at(expected))

    assert host.log_in(**changes).value == TOKEN


def test_namespace_goes_along(host: Host) -> None:
    """Look-up, unwrap and login are all sent to the namespace of the login."""
    host.log_in(vault_namespace="work", vault_auth_namespace="logins")

    assert [r.headers["x-vault-namespace"] for r in host.server.requests] == ["logins"] * 3


class Unwritable(Memory):
    """A cache on a full disk."""

    def set(self, key: str, value: bytes) -> bool:
        return False


@pytest.mark.parametrize(
    ("cache", "reason"),
    [(NoCache(), "none: nothing is to be kept"), (Unwritable(), "memory: the process has memory")],
)
def test_nowhere_to_keep(host: Host, cache: CacheBackend, reason: str) -> None:
    """Where the Secret ID could not be kept, nothing is spent for it."""
    host.cache = cache
    message = host.fail(ConfigurationError)

    assert message == (
        f"vault_secret_id_wrapped_file: {host.file}: a wrapping token serves once, and no cache can keep the Secret ID "
        f"({reason}), so nothing was unwrapped; set vault_aws_cache to one that keeps, or use vault_secret_id_file"
    )
    assert host.asked == [LOOKUP]


def test_conversation_without_a_cache(host: Host) -> None:
    """A caller that brings no cache at all is told the same, before anything is asked."""
    host.cache = None  # type: ignore[assignment]

    assert "no cache can keep the Secret ID (there is none), so nothing was unwrapped" in host.fail(ConfigurationError)
    assert host.asked == []


class Filling(Memory):
    """A cache that is full after its first value."""

    def set(self, key: str, value: bytes) -> bool:
        return not self._values and super().set(key, value)


def test_cache_that_fills_up_meanwhile(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """A Secret ID in hand that cannot be kept serves this login, with a warning; later ones know that it was ours."""
    host.cache = Filling()
    with caplog.at_level(logging.WARNING):
        host.log_in()
    host.play(lookup=SPENT)

    assert "the unwrapped Secret ID was not kept; the next login needs a new one" in caplog.text
    assert OURS in host.fail()


@pytest.mark.parametrize(
    "data",
    [
        {"role_id": "7d0b8e0c-2d9c-4d5a-9d4c-0c6c1b7f0e11"},
        {"secret_id": ""},
        {"secret_id": None},
        {"secret_id": ["x"]},
        {"secret_id": f"{SECRET_ID} and more"},
    ],
)
def test_no_secret_id_inside(host: Host, data: dict[str, Any]) -> None:
    """What held something else is an error of the set-up; it is spent, and later calls know by whom."""
    host.play(unwrap=holding(**data))
    message = host.fail(ConfigurationError)
    host.play(lookup=SPENT)

    assert message == (
        f"{host.server.address}/v1/sys/wrapping/unwrap: what the wrapping token in {host.file} held is no Secret ID; "
        f"deliver one that was made at {PATH}, or correct vault_secret_id_wrapping_path"
    )
    assert OURS in host.fail()
    assert LOGIN not in host.asked


AMBIGUOUS: dict[str, Reply] = {
    "reset": reset,
    "cut short": holding(secret_id=SECRET_ID)[:-20],
    "internal error": reply(500, {"errors": ["internal error"]}),
    "gateway": reply(502, b"<html>bad gateway</html>", {"Content-Type": "text/html"}),
    "not JSON": reply(200, b"<html>sign in</html>", {"Content-Type": "text/html"}),
    "empty": reply(200, {"data": None, "auth": {"client_token": TOKEN}}),
}
TURNED_AWAY: dict[str, Reply] = {
    "sealed": reply(503, {"errors": ["Vault is sealed"]}),
    "limited": reply(429, {"errors": ["request path rate limit quota exceeded"]}),
    "not replicated": reply(412, {"errors": ["required index state not present"]}),
}


@pytest.mark.parametrize("answer", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_unwrap_whose_outcome_is_unknown(host: Host, answer: Reply) -> None:
    """It is sent once. A token that is spent afterwards was spent by us; nobody is accused."""
    host.play(unwrap=answer)
    host.fail(VaultCredentialError, vault_max_retries="2")
    host.play(lookup=SPENT)
    message = host.fail()

    assert (message.partition(OURS)[1], host.asked) == (OURS, [LOOKUP, UNWRAP, LOOKUP])


@pytest.mark.parametrize("answer", TURNED_AWAY.values(), ids=TURNED_AWAY)
def test_unwrap_that_was_turned_away(host: Host, answer: Reply) -> None:
    """It spent nothing: a token that is spent afterwards was spent by somebody else."""
    host.play(unwrap=answer)
    host.fail(VaultCredentialError)
    host.play(lookup=SPENT)

    assert STOLEN in host.fail()


def test_unwrap_that_never_left(host: Host, tmp_path: pathlib.Path) -> None:
    """A connection that is refused spends nothing: a token that is spent afterwards was spent by somebody else."""
    path = tmp_path / "agent.sock"

    def answer_and_hang_up(connection: socket.socket, _: Request) -> None:
        path.unlink()
        connection.sendall(GOOD)

    with ScriptedServer(unix_path=str(path)) as host.server:
        host.play(lookup=answer_and_hang_up)
        assert "no such file or directory; check vault_addr and that the Agent runs" in host.fail(UnreachableError)
        assert host.asked == [LOOKUP]
    with ScriptedServer(unix_path=str(path)) as host.server:
        host.play(lookup=SPENT)

        assert STOLEN in host.fail()


def test_unwrap_for_which_no_time_is_left(host: Host) -> None:
    """A call whose time is up before the token is sent leaves no mark in the way."""
    config = auth.configure(
        {
            "vault_addr": host.server.address,
            "vault_role_id": "role",
            "vault_secret_id_wrapped_file": str(host.file),
            "vault_approle_role_name": "webapp",
        },
        {},
        None,
    )
    answered = threading.Event()

    def answer_late(connection: socket.socket, _: Request) -> None:
        answered.set()
        connection.sendall(GOOD)

    host.play(lookup=answer_late)
    deadline = Deadline(5, clock=lambda: 10.0 if answered.is_set() else 0.0)
    with Vault(config, deadline, host.clock, cache=host.cache) as vault, pytest.raises(VaultCredentialError):
        auth.login(auth.choose(config), vault)
    host.play(lookup=SPENT)

    assert UNWRAP not in host.asked
    assert STOLEN in host.fail()


@pytest.mark.parametrize("answer", [*AMBIGUOUS.values(), *TURNED_AWAY.values()], ids=[*AMBIGUOUS, *TURNED_AWAY])
def test_unwrap_that_failed_is_made_up_for(host: Host, answer: Reply) -> None:
    """A token that turns out to be alive is unwrapped by the next call."""
    host.play(unwrap=answer)
    host.fail(VaultCredentialError)
    host.play()

    assert host.log_in().value == TOKEN
    assert host.asked == [LOOKUP, UNWRAP, LOOKUP, UNWRAP, LOGIN]


def test_late_arrival_of_our_own_unwrap(host: Host) -> None:
    """Where an earlier call of ours may have spent it between look-up and unwrap, nobody is accused."""
    host.play(unwrap=reset)
    host.fail(UnreachableError)
    host.play(unwrap=SPENT)
    assert OURS in host.fail()
    host.play(lookup=SPENT)

    assert OURS in host.fail()


@pytest.mark.parametrize("path", [LOOKUP, UNWRAP])
def test_wrapping_that_is_forbidden(host: Host, path: str) -> None:
    """A refusal in other words is told with them, and is no interception."""
    host.server.on("POST", path, reply(403, {"errors": [f"permission denied: {WRAPPING}"]}))

    assert host.fail() == (
        f"{host.server.address}/v1/{path}: the wrapping token in {host.file} was refused: permission denied: ***; see "
        "Vault's log, then deliver a new wrapped Secret ID"
    )


def test_sealed_while_it_is_looked_up(host: Host) -> None:
    """A sealed server says nothing of the token."""
    host.play(lookup=TURNED_AWAY["sealed"])

    assert "Vault is sealed" in host.fail(SealedError)
    assert host.asked == [LOOKUP]


def test_kept_secret_id_that_vault_refuses(host: Host) -> None:
    """Used up, expired or destroyed: deliver a new one. It stays kept, for the Role ID may be what is wrong."""
    host.log_in()
    host.server.on("POST", LOGIN, REFUSED)
    message = host.fail()
    host.server.on("POST", LOGIN, LOGGED_IN)
    host.clock.now += WAIT
    host.log_in()

    assert message == (
        f"{host.server.address}/v1/auth/approle/login: login refused: invalid role or secret ID; check vault_role_id "
        f"(from vault_role_id in [profile webapp]), or deliver a new wrapped Secret ID in {host.file}: the one "
        "that was unwrapped may have expired or be used up"
    )
    assert host.asked == [LOOKUP, UNWRAP, LOGIN, LOGIN, LOGIN]


def test_new_secret_id_that_vault_refuses(host: Host) -> None:
    """Refused right after it was unwrapped it may be a thief's, of another namespace: loud once, with code 3."""
    host.server.on("POST", LOGIN, REFUSED)
    message, later = host.fail(), host.fail()

    assert message == (
        f"{host.server.address}/v1/auth/approle/login: login refused: invalid role or secret ID; POSSIBLE "
        f"INTERCEPTION: the Secret ID was unwrapped from {host.file} just now: the wrapping token may have been "
        "replaced by one of another namespace; tell the security team, unless vault_role_id (from vault_role_id in "
        "[profile webapp]) or vault_auth_namespace is wrong"
    )
    assert f"refused before: invalid role or secret ID; the Secret ID (unwrapped from {host.file}) is not sent" in later
    assert host.asked == [LOOKUP, UNWRAP, LOGIN]


@pytest.mark.parametrize(
    "changes", [{"vault_addr": "localhost"}, {"vault_namespace": "team"}, {"vault_auth_mount": "ci"}]
)
def test_unwrapped_under_other_settings(host: Host, changes: dict[str, str]) -> None:
    """A token that we spent under other settings is no interception; asked for nothing, and good where it was."""
    mount = changes.get("vault_auth_mount", "approle")
    address = host.server.address
    if "vault_addr" in changes:
        changes = {"vault_addr": (address := address.replace("127.0.0.1", "localhost"))}
    host.log_in()
    host.play(lookup=SPENT, unwrap=SPENT)
    message = host.fail(**changes)
    host.log_in()

    assert message == (
        f"{address}/v1/auth/{mount}: the wrapping token in {host.file} is spent: a call of ours unwrapped it under "
        "another vault_addr, namespace, mount point or vault_skip_verify, and its Secret ID is sent nowhere else; "
        "deliver a new wrapped Secret ID, or go back to those settings"
    )
    assert host.asked == [LOOKUP, UNWRAP, LOGIN, LOGIN]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "7d0b8e0c-2d9c-4d5a-9d4c-0c6c1b7f0e11\n",
            "holds a Secret ID, not a token that wraps one; name the file in vault_secret_id_file instead",
        ),
        (f"token {WRAPPING}", "not a wrapping token: with spaces or non-ASCII characters"),
        ("hvs.É", "not a wrapping token: with spaces or non-ASCII characters"),
        (f"{WRAPPING}\n{WRAPPING}\n", "holds more than one line"),
        ("\n", "empty"),
        (None, "No such file or directory; check the path and its permissions"),
    ],
)
def test_file_without_a_wrapping_token(host: Host, content: str | None, reason: str) -> None:
    """What cannot be a wrapping token is not sent, least of all taken for a stolen one."""
    host.file.unlink()
    if content is not None:
        write_private(host.file, content)

    assert host.fail(ConfigurationError) == f"vault_secret_id_wrapped_file: {host.file}: {reason}"
    assert host.asked == []


def test_role_name_is_needed(host: Host) -> None:
    """Nothing is sent before somebody says which role the Secret ID must be of."""
    assert host.fail(ConfigurationError, vault_approle_role_name=None) == (
        "vault_approle_role_name: missing (set --approle-role-name, vault_approle_role_name in [profile webapp], or "
        "VAULT_APPROLE_ROLE_NAME)"
    )
    assert host.asked == []


@pytest.mark.parametrize(
    ("profile", "environ", "is_wrapped"),
    [
        ({"vault_secret_id_wrapped_file": "{wrapped}"}, {"VAULT_SECRET_ID": "plain"}, True),
        ({"vault_secret_id_file": "{plain}"}, {"VAULT_SECRET_ID_WRAPPED_FILE": "{wrapped}"}, False),
        ({"vault_secret_id_wrapped_file": "{wrapped}", "vault_secret_id_file": "{plain}"}, {}, True),
        ({"vault_secret_id_wrapped_file": "", "vault_secret_id_file": "{plain}"}, {}, False),
        ({}, {"VAULT_SECRET_ID_WRAPPED_FILE": "{wrapped}", "VAULT_SECRET_ID": "plain"}, True),
        ({}, {"BAO_SECRET_ID_WRAPPED_FILE": "{wrapped}"}, True),
    ],
)
def test_nearest_place_wins(
    host: Host, tmp_path: pathlib.Path, profile: dict[str, str], environ: dict[str, str], is_wrapped: bool
) -> None:
    """What stands in the profile hides what is exported; between equals the wrapped one goes first."""
    plain = tmp_path / "plain"
    write_private(plain, "plain")
    places = {"wrapped": host.file, "plain": plain}
    keys = {key: text.format(**places) for key, text in profile.items()}
    settings = {"vault_addr": host.server.address, "vault_role_id": "role", "vault_approle_role_name": "webapp"}
    variables = {name: text.format(**places) for name, text in environ.items()}
    config = auth.configure(settings, variables, Profile("webapp", keys))
    with Vault(config, Deadline(20), host.clock, cache=host.cache) as vault:
        auth.login(auth.choose(config), vault)

    assert host.asked == ([LOOKUP, UNWRAP, LOGIN] if is_wrapped else [LOGIN])
    assert host.server.requests[-1].json["secret_id"] == (SECRET_ID if is_wrapped else "plain")


def test_identity_is_the_wrapping_token(host: Host) -> None:
    """Whoever has another wrapping token may be somebody else; the file is watched for that."""
    settings = {"vault_role_id": "role", "vault_secret_id_wrapped_file": str(host.file), "vault_secret_id_file": "/x"}
    method = auth.choose(auth.configure(settings | {"vault_approle_role_name": "webapp"}, {}, None))
    before = method.identity()
    write_private(host.file, "hvs.CAESITheNextOne")

    assert (before.parts, before.secrets) == (("approle", "approle", "role"), (WRAPPING,))
    assert method.identity() != before
    assert method.watched() == ("/x", str(host.file))


def test_callers_that_share_nothing_but_the_token(host: Host) -> None:
    """Logins at once that have no lock in common, as with different TLS settings, unwrap once all the same."""
    barrier = threading.Barrier(8)

    def log_in() -> str | None:
        barrier.wait(20)
        return host.log_in().value

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        tokens = {future.result() for future in [pool.submit(log_in) for _ in range(8)]}

    assert tokens == {TOKEN}
    assert [host.asked.count(path) for path in (LOOKUP, UNWRAP, LOGIN)] == [1, 1, 8]


def test_what_is_kept_does_not_hold_the_wrapping_token(host: Host) -> None:
    """The mark and the name of the Secret ID are keyed hashes; the Secret ID lies in the cache alone."""
    host.log_in()
    keys = tuple(host.cache.keys())
    values = [host.cache.get(key) or b"" for key in keys]

    assert not [value for value in values if WRAPPING.encode() in value]
    assert [key for key in keys if re.fullmatch("[0-9a-f]{40}", key)] == list(keys)
    assert sorted(json.loads(value)["what"] for value in values) == [
        "mark of a wrapped Secret ID",
        "unwrapped Secret ID",
    ]


SCRIPTS: dict[str, tuple[dict[str, Reply], int]] = {
    "well": ({}, 0),
    "stolen": ({LOOKUP: reply(400, {"errors": [f"wrapping token {WRAPPING} is not valid or does not exist"]})}, 3),
    "replaced": ({LOOKUP: made_at(f"kv/{WRAPPING}")}, 3),
    "forbidden": ({LOOKUP: reply(403, {"errors": [WRAPPING]})}, 3),
    "limited": ({UNWRAP: reply(429, {"errors": [f"quota of {WRAPPING}"]})}, 5),
    "failing": ({UNWRAP: reply(500, {"errors": [f"cannot unwrap {WRAPPING}: nothing"]})}, 5),
    "no Secret ID": ({UNWRAP: holding(secret_id=f"{SECRET_ID} {WRAPPING}")}, 2),
    "page": ({UNWRAP: reply(200, f"<html>{WRAPPING} {SECRET_ID}</html>".encode(), {"Content-Type": "text/html"})}, 5),
    "login refused": ({LOGIN: reply(400, {"errors": [f"no such thing: {SECRET_ID}"]})}, 3),
}


@pytest.mark.parametrize(("script", "code"), SCRIPTS.values(), ids=SCRIPTS)
def test_no_secret_on_any_stream(
    command: Run, host: Host, tmp_path: pathlib.Path, script: dict[str, Reply], code: int
) -> None:
    """At its most talkative the command shows neither wrapping token nor Secret ID, whatever the server repeats."""
    for path, answer in script.items():
        host.server.on("POST", path, answer)
    credentials = {"access_key": "ASIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMI", "security_token": "Fwo"}
    host.server.on("GET", "aws/creds/webapp", reply(200, {"lease_duration": 900, "data": credentials}))
    environ = {
        "VAULT_ADDR": host.server.address,
        "VAULT_ROLE_ID": "role",
        "VAULT_SECRET_ID_WRAPPED_FILE": str(host.file),
        "VAULT_APPROLE_ROLE_NAME": "webapp",
        "VAULT_AWS_ROLE": "webapp",
        "VAULT_MAX_RETRIES": "0",
    }
    log = tmp_path / "log"
    done = command("get", "-v", "--log-file", str(log), **environ)
    again = command("get", "-v", "--log-file", str(log), **environ)
    listed = command("cache", "list", **environ)

    assert (done.returncode, bool(done.stdout)) == (code, not code), done.stderr
    assert "sys/wrapping/lookup" in log.read_text()
    for streams in (done, again, listed):
        assert found(streams.stdout, streams.stderr) == []
        assert "Traceback" not in streams.stderr
    assert found(log.read_text()) == []


@pytest.fixture
def wrapped(machines: Laboratory, keys: dict[str, str]) -> dict[str, str]:
    """The keys of the page's profile for a wrapped Secret ID; its file is rewritten by the page's own command."""
    page = Page("approle")
    block = re.search(r"```ini\n(.*?)```", page.section("Response-wrapped Secret IDs"), re.DOTALL)
    assert block is not None
    parser = configparser.RawConfigParser()
    parser.read_string(block.group(1).replace("/etc/webapp", str(machines.directory)))
    del keys["vault_secret_id_file"]
    (delivery,) = [line for line in page.commands() if "-wrap-ttl" in line]
    page.text = f"## Set up Vault\n```console\n$ {delivery}\n```\n"
    page.set_up(machines.server, machines.directory, {"/etc/webapp": str(machines.directory)})
    return keys | dict(parser.items("profile webapp"))


@pytest.fixture
def proxy(machines: Laboratory) -> Iterator[CountingProxy]:
    """A proxy in front of the real server that counts what passes."""
    with CountingProxy(machines.server.address) as running:
        yield running


@pytest.fixture
def settled(
    machines: Laboratory, proxy: CountingProxy, wrapped: dict[str, str], clean_environment: pathlib.Path
) -> Callable[..., str]:
    """Write the profile, through the proxy, with changes; return the path of the config file."""

    def write(**changes: str | None) -> str:
        keys = {**wrapped, "vault_addr": proxy.address, **changes}
        path = clean_environment / "config"
        path.write_text(machines.profile("webapp", {key: value for key, value in keys.items() if value is not None}))
        return str(path)

    return write


def passed(proxy: CountingProxy, login: str = LOGIN) -> tuple[int, int, int]:
    """Return how many look-ups, unwraps and logins have reached the server."""
    return proxy.count("POST", LOOKUP), proxy.count("POST", UNWRAP), proxy.count("POST", login)


def wrap(laboratory: Laboratory, path: str = PATH, body: Any = None, **headers: str) -> str:
    """Return the wrapping token of an answer."""
    server = laboratory.server
    answer = requests.post(
        f"{server.address}/v1/{path}",
        json=body or {},
        headers={"X-Vault-Token": server.root_token, "X-Vault-Wrap-TTL": "5m", **headers},
        timeout=30,
        proxies=DIRECTLY,
    )
    answer.raise_for_status()
    made: str = answer.json()["wrap_info"]["token"]
    return made


def refused(command: Run, config: str) -> str:
    """Run ``get`` for a profile that is refused with the code of authentication; return its one line."""
    done = command("get", "--profile", "webapp", AWS_CONFIG_FILE=config)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1), done.stderr
    return done.stderr


def test_profile_of_the_page(
    command: Run, settled: Callable[..., str], proxy: CountingProxy, wrapped: dict[str, str]
) -> None:
    """The page's own commands and profile give AWS credentials; a later login uses the Secret ID that was kept."""
    config = settled()
    first = document(command("get", "--profile", "webapp", AWS_CONFIG_FILE=config))
    cleared = command("cache", "clear", "--profile", "webapp", AWS_CONFIG_FILE=config)
    document(command("get", "--profile", "webapp", AWS_CONFIG_FILE=config))

    assert first["Version"] == 1
    assert (cleared.returncode, pathlib.Path(wrapped["vault_secret_id_wrapped_file"]).stat().st_mode & 0o77) == (0, 0)
    assert passed(proxy) == (1, 1, 2)


def test_cleared_cache_keeps_the_secret_id(
    command: Run, settled: Callable[..., str], proxy: CountingProxy, wrapped: dict[str, str]
) -> None:
    """``cache clear`` spares the Secret ID and its mark, so that the next call logs in and nobody cries thief."""
    config = settled()
    document(command("get", "--profile", "webapp", AWS_CONFIG_FILE=config))
    cleared = command("cache", "clear")
    document(command("get", "--profile", "webapp", AWS_CONFIG_FILE=config))
    assert passed(proxy) == (1, 1, 2)
    forgotten = command("cache", "clear", "--all")

    assert cleared.stdout.splitlines() == [
        "forgot 2 entries of the runtime cache",
        (
            "kept 2 entries that cannot be had again (mark of a wrapped Secret ID, unwrapped Secret ID); "
            "cache clear --all forgets them too"
        ),
    ]
    assert forgotten.stdout == "forgot 4 entries of the runtime cache\n"
    assert STOLEN in refused(command, config)
    assert wrapped


def test_somebody_else_has_unwrapped_it(
    command: Run, machines: Laboratory, settled: Callable[..., str], proxy: CountingProxy, wrapped: dict[str, str]
) -> None:
    """The thief has the Secret ID, and the first call says so; nothing was logged in."""
    token = pathlib.Path(wrapped["vault_secret_id_wrapped_file"]).read_text().strip()
    stolen = machines.server.call("POST", UNWRAP, token=token)["data"]["secret_id"]
    for _ in range(2):
        line = refused(command, settled())
        assert STOLEN in line
        assert token not in line
        assert stolen not in line

    assert passed(proxy) == (2, 0, 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("auth/approle/role/other/secret-id", None),
        ("sys/wrapping/wrap", {"secret_id": "planted"}),
        (f"kv/{PATH}", None),
    ],
    ids=["another role", "made by hand", "a copy of the path"],
)
def test_somebody_has_replaced_it(
    command: Run,
    machines: Laboratory,
    settled: Callable[..., str],
    proxy: CountingProxy,
    tmp_path: pathlib.Path,
    path: str,
    body: Any,
) -> None:
    """A token that was made elsewhere is not unwrapped, and nothing is logged in; it is still good afterwards."""
    call = machines.server.call
    if path.startswith("kv/"):
        call("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "1"}})
        call("POST", path, {"secret_id": "planted"})
        answer = requests.get(
            f"{machines.server.address}/v1/{path}",
            headers={"X-Vault-Token": machines.server.root_token, "X-Vault-Wrap-TTL": "5m"},
            timeout=30,
            proxies=DIRECTLY,
        )
        token = answer.json()["wrap_info"]["token"]
    else:
        call("POST", "auth/approle/role/other", {"token_policies": ["webapp"]})
        token = wrap(machines, path, body)
    file = tmp_path / "replaced"
    write_private(file, token)
    line = refused(command, settled(vault_secret_id_wrapped_file=str(file)))

    assert f"was made at {path}, not at {PATH}: the Secret ID may have been intercepted and replaced" in line
    assert token not in line
    assert passed(proxy) == (1, 0, 0)
    assert call("POST", UNWRAP, token=token)["data"]


def test_custom_secret_id(
    command: Run, machines: Laboratory, settled: Callable[..., str], proxy: CountingProxy, tmp_path: pathlib.Path
) -> None:
    """``vault_secret_id_wrapping_path`` names another endpoint; a token in the form of a JWT serves too."""
    path = "auth/approle/role/webapp/custom-secret-id"
    file = tmp_path / "custom"
    write_private(file, wrap(machines, path, {"secret_id": "chosen-by-hand"}, **{"X-Vault-Wrap-Format": "jwt"}))
    assert file.read_text().startswith("eyJ")
    config = settled(
        vault_secret_id_wrapped_file=str(file), vault_secret_id_wrapping_path=path, vault_approle_role_name=None
    )

    assert document(command("get", "--profile", "webapp", AWS_CONFIG_FILE=config))["Version"] == 1
    assert passed(proxy) == (1, 1, 1)


@with_namespaces
def test_namespace_and_mount(
    command: Run,
    machines: Laboratory,
    settled: Callable[..., str],
    proxy: CountingProxy,
    tmp_path: pathlib.Path,
    exchanges: dict[str, Any],
) -> None:
    """In a namespace and at a mount point of its own; the creation path has the mount point and no namespace."""
    role_id, _ = namespaced(machines, "wrapping", "teams/ci", exchanges)
    file = tmp_path / "namespaced"
    write_private(file, wrap(machines, "wrapping/auth/teams/ci/role/webapp/secret-id"))
    config = settled(
        vault_secret_id_wrapped_file=str(file),
        vault_role_id=role_id,
        vault_namespace="wrapping",
        vault_auth_mount="teams/ci",
    )

    assert document(command("get", "--profile", "webapp", AWS_CONFIG_FILE=config))["Version"] == 1
    assert passed(proxy, "auth/teams/ci/login") == (1, 1, 1)


@with_namespaces
def test_token_of_another_namespace(
    command: Run,
    machines: Laboratory,
    settled: Callable[..., str],
    proxy: CountingProxy,
    tmp_path: pathlib.Path,
    exchanges: dict[str, Any],
) -> None:
    """One that a thief made in his namespace, at the same path, gets no further than a login that is refused."""
    namespaced(machines, "thief", "approle", exchanges)
    file = tmp_path / "replaced"
    write_private(file, wrap(machines, f"thief/{PATH}"))
    line = refused(command, settled(vault_secret_id_wrapped_file=str(file)))

    assert f"POSSIBLE INTERCEPTION: the Secret ID was unwrapped from {file} just now" in line
    assert passed(proxy) == (1, 1, 1)


def test_used_up(
    command: Run, machines: Laboratory, settled: Callable[..., str], proxy: CountingProxy, tmp_path: pathlib.Path
) -> None:
    """A kept Secret ID of one use serves one login; at the next the line says to deliver a new one."""
    file = tmp_path / "once"
    write_private(file, wrap(machines, body={"num_uses": 1}))
    config = settled(vault_secret_id_wrapped_file=str(file))
    document(command("get", "--profile", "webapp", AWS_CONFIG_FILE=config))
    command("cache", "clear", "--profile", "webapp", AWS_CONFIG_FILE=config)
    line = refused(command, config)

    assert (
        f"or deliver a new wrapped Secret ID in {file}: the one that was unwrapped may have expired or be used" in line
    )
    assert passed(proxy) == (1, 1, 2)


def test_cold_herd_unwraps_once(settled: Callable[..., str], proxy: CountingProxy) -> None:
    """64 processes that start together print one document, for one look-up, one unwrap and one login."""
    config = settled()
    printed = json.loads(one_document([start(config) for _ in range(HERD)]))

    assert printed["Version"] == 1
    assert passed(proxy) == (1, 1, 1)
    assert proxy.count("GET", "aws/creds/webapp") == 1


def test_killed_between_mark_and_keep(
    command: Run, machines: Laboratory, settled: Callable[..., str], shm: pathlib.Path, scripted: ScriptedServer
) -> None:
    """SIGKILL after the server spent the token and before the Secret ID was here: the next call says that it was us."""
    spent = threading.Event()

    def relay(connection: socket.socket, request: Request) -> None:
        passed_on = {name: value for name, value in request.headers.items() if name.startswith("x-vault")}
        answer = requests.request(
            request.method,
            machines.server.address + request.path,
            data=request.body,
            headers=passed_on,
            timeout=30,
            proxies=DIRECTLY,
        )
        if request.path.endswith(UNWRAP):
            assert answer.status_code == 200
            spent.set()
            connection.recv(1)
        connection.sendall(reply(answer.status_code, answer.content))

    scripted.otherwise = relay
    config = settled(vault_addr=scripted.address)
    process = start(config)
    until(spent.is_set)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    assert [path for path in (shm / fastpath.NAME).glob("entry-*") if path.suffix != ".lock"]
    for _ in range(2):
        assert OURS in refused(command, config)
    assert scripted.asked("POST", LOGIN) == 0


def test_replaced_token_is_taken_up_by_a_program_that_runs(
    machines: Laboratory, wrapped: dict[str, str], proxy: CountingProxy
) -> None:
    """A fetcher that lives for weeks logs in with the Secret ID of the new wrapping token, without a restart."""
    role = {"token_policies": ["webapp"], "token_ttl": "1h", "secret_id_num_uses": 1}
    machines.server.call("POST", "auth/approle/role/webapp", role)
    file = pathlib.Path(wrapped["vault_secret_id_wrapped_file"])
    write_private(file, wrap(machines))
    config = auth.configure({}, {}, Profile("webapp", {**wrapped, "vault_addr": proxy.address}))
    fetcher = Fetcher(config)
    fetcher.fetch()
    fetcher.fetch()
    assert passed(proxy) == (1, 1, 1)
    write_private(file, wrap(machines))
    fetcher.fetch()
    fetcher.fetch()

    assert passed(proxy) == (2, 2, 2)


def test_later_logins_of_a_program_unwrap_nothing(
    scripted: ScriptedServer, exchanges: dict[str, Any], host: Host
) -> None:
    """Whenever its Vault token has ended, a program logs in with the Secret ID that it unwrapped at first."""
    bench = Bench(scripted, exchanges, Clock())
    bench.on_login(lease_duration=3600, renewable=False)
    scripted.on("GET", "aws/creds/webapp", bench.lease(900))
    fetcher = bench.fetcher(
        environ={}, vault_role_id="role", vault_secret_id_wrapped_file=str(host.file), vault_approle_role_name="webapp"
    )
    for _ in range(3):
        fetcher.fetch()
        bench.clock.now += 4000

    assert [host.asked.count(path) for path in (LOOKUP, UNWRAP, LOGIN)] == [1, 1, 3]
