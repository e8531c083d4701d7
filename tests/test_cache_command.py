"""``cache`` and ``status``: what is held, in words for people and for programs; forgetting it, and ending its token."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from vault_credential_process import cache, requester
from vault_credential_process.cache.entry import Keepsake
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.errors import DeadlineError, UnreachableError, VaultCredentialError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.testing.scripted import Reply, ScriptedServer, replay, reply, reset, silence
from vault_credential_process.tokens import lives

from .bench import DENIED, LOGIN, LOOK_UP, READ, REVOKE, Bench, Clock
from .conftest import Run, Tenant, new_tenant
from .test_command import config_of, document, refusal, seconds_left, token_for, without_approle

Told = Callable[..., str]


@pytest.fixture
def told(command: Run, tenant: Tenant) -> Told:
    """Run a command with the tenant's config file; return what it printed after a success, which holds no secret."""
    config_of(tenant)
    return telling(command, AWS_CONFIG_FILE=str(tenant.home / "config"))


@pytest.fixture
def replayed(command: Run, scripted: ScriptedServer, exchanges: dict[str, Any]) -> Told:
    """Run a command with the scripted server, which lets everybody in, and settings from the environment alone."""
    scripted.on_login(exchanges["approle_login"])
    scripted.on("GET", "aws/creds/webapp", replay(exchanges["creds_assumed_role"]))
    return telling(command, VAULT_ADDR=scripted.address, VAULT_ROLE_ID="role", VAULT_AWS_ROLE="webapp")


def telling(command: Run, **environ: str) -> Told:
    """Return a function that runs a command and looks at what holds for every success."""

    def tell(*arguments: str, code: int = 0, **more: str) -> str:
        held = [path.read_text() for path in cache_files("entry-*")]
        done = command(*arguments, **environ, **more)
        if code:
            return refusal(done, code)
        assert (done.returncode, done.stderr) == (0, "")
        if arguments[0] == "get":
            document(done)
        else:
            assert leaks(done.stdout, held) == []
        return done.stdout

    return tell


def cache_files(pattern: str) -> list[pathlib.Path]:
    """Return files of the host's cache, locks left out."""
    base = pathlib.Path(os.environ["XDG_RUNTIME_DIR"]) / "vault-credential-process"
    return [path for path in base.glob(pattern) if path.suffix != ".lock"]


SECRETS = ("access_key", "secret_key", "session_token", "value")


def leaks(text: str, entries: list[str]) -> list[str]:
    """Return the names of the secrets of cache entries that stand in a text."""
    parts = [part for entry in entries for part in json.loads(entry).values() if isinstance(part, dict)]
    return [key for part in parts for key in SECRETS if part.get(key) and part[key] in text]


def is_alive(tenant: Tenant, token: str) -> bool:
    """Tell whether the server still knows a token."""
    try:
        tenant.laboratory.server.call("POST", "auth/token/lookup", {"token": token})
    except requests.HTTPError:
        return False
    return True


def users(cloud: aws.LocalAWS) -> set[str]:
    """Return the names of all IAM users."""
    return {user["UserName"] for user in cloud.client("iam", **cloud.engine_keys).list_users()["Users"]}


def aged(exchanges: dict[str, Any], age: int) -> bytes:
    """Return credentials of 900 s as a Vault Proxy answers them from its cache, so many seconds old."""
    exchange = copy.deepcopy(exchanges["creds_assumed_role"])
    exchange["response"]["headers"]["Age"] = str(age)
    exchange["response"]["body"]["data"]["ttl"] = 900
    return replay(exchange)


def kept_token() -> str:
    """Return the one Vault token in the host's cache."""
    entries = [json.loads(path.read_text()) for path in cache_files("entry-*")]
    (token,) = (entry["token"]["value"] for entry in entries if entry["kind"] == "token")
    return str(token)


def test_nothing_is_held(told: Told) -> None:
    """An empty cache is listed as such, with the place and why it is this one, and clearing it is no error."""
    assert told("cache", "list").splitlines()[1:] == ["nothing is held"]
    assert told("cache", "list").startswith("runtime cache: ")
    assert json.loads(told("cache", "list", "--json")) == []
    assert told("cache", "clear") == "forgot 0 entries of the runtime cache\n"
    assert told("cache", "clear", "--profile=webapp") == "nothing was held\n"
    assert told("status", "--profile=webapp").startswith("nothing is held for aws/creds/")


def test_list_for_programs(told: Told, tenant: Tenant) -> None:
    """Each entry is one object: what it is, whose, of which server, until when, and its lease."""
    printed = json.loads(told("get", "--profile=webapp"))
    rows = {row["kind"]: row for row in json.loads(told("cache", "list", "--json"))}
    pair, token = rows["credentials"], rows["token"]

    assert rows.keys() == {"credentials", "token"}
    assert {row["profile"] for row in rows.values()} == {"webapp"}
    assert {row["vault_addr"] for row in rows.values()} == {tenant.laboratory.server.address}
    assert (pair["path"], token["path"]) == (f"aws/creds/{tenant.role}", "auth/approle")
    assert (pair["type"], token["type"]) == ("sts", "service")
    assert (pair["expires"], pair["last_failure"]) == (printed["Expiration"], None)
    assert 800 < pair["seconds_left"] <= 900 < token["seconds_left"]
    assert bool(pair["lease_id"]) is tenant.laboratory.server.engine.real


def test_list_for_people(told: Told, tenant: Tenant) -> None:
    """The table has a line for each entry, beginning with its profile; a call without one shows a dash."""
    expiration = json.loads(told("get", "--profile=webapp"))["Expiration"]
    flags = [f"--role={tenant.role}", f"--vault-addr={tenant.laboratory.server.address}", "--role-session-name=ana"]
    flags += [f"--role-id={tenant.approle['role_id']}", f"--secret-id-file={tenant.approle['secret_id_file']}"]
    told("get", *flags)
    head, *lines = told("cache", "list").splitlines()[1:]

    assert head.split() == ["PROFILE", "PATH", "VAULT", "TYPE", "EXPIRES", "LEASE"]
    assert sorted(line.split()[0] for line in lines) == ["-", "webapp", "webapp"]
    assert any(line.startswith("webapp ") and expiration in line and " sts " in line for line in lines)
    assert any(line.startswith("webapp ") and " service token " in line for line in lines)


def test_status(told: Told, tenant: Tenant) -> None:
    """``status`` tells of one profile alone, and without asking the server."""
    expiration = json.loads(told("get", "--profile=webapp"))["Expiration"]
    found = json.loads(told("status", "--profile=webapp", "--json"))

    assert (found["held"], found["type"], found["expires"]) == (True, "sts", expiration)
    assert (found["path"], found["profile"]) == (f"aws/creds/{tenant.role}", "webapp")
    assert (found["cache"], found["last_failure"]) == ("runtime", None)
    text = told("status", "--profile=webapp")
    assert text.startswith(f"aws/creds/{tenant.role} at {tenant.laboratory.server.address}: sts, ")
    assert expiration in text
    assert json.loads(told("status", "--profile=webapp", "--role=other", "--json"))["held"] is False
    assert json.loads(told("status", "--profile=webapp", "--no-cache", "--json"))["cache"] == "none"


def test_clear_all(told: Told) -> None:
    """``cache clear`` leaves nothing behind that could be handed out, and the next call fetches anew."""
    told("get", "--profile=webapp")
    told("get", "--profile=webapp")
    assert len(cache_files("quick-*")) == 1
    token = kept_token()

    assert told("cache", "clear") == "forgot 2 entries of the runtime cache\n"
    assert cache_files("quick-*") == cache_files("entry-*") == []
    told("get", "--profile=webapp")
    assert kept_token() != token


def test_clear_spares_what_cannot_be_had_again(command: Run) -> None:
    """One line tells what is kept all the same, and how it goes; the numbers are those of the list."""
    told = telling(command)
    backend = cache.choose("runtime", os.environ)
    whats = ("unwrapped Secret ID", "mark of a wrapped Secret ID")
    for number, what in enumerate(whats):
        expiry = 1.0 if number else None  # by a clock that may be wrong
        backend.set(f"{number:040}", Keepsake("canary", what, expiry, irreplaceable=True).dump())
    backend.set("f" * 40, Keepsake("canary", "password").dump())
    kept = (
        "kept 2 entries that cannot be had again (mark of a wrapped Secret ID, unwrapped Secret ID); "
        "cache clear --all forgets them too\n"
    )

    assert told("cache", "clear") == f"forgot 1 entry of the runtime cache\n{kept}"
    assert told("cache", "clear") == f"forgot 0 entries of the runtime cache\n{kept}"
    assert sorted(row["type"] for row in json.loads(told("cache", "list", "--json"))) == sorted(whats)
    assert told("cache", "clear", "--all") == "forgot 2 entries of the runtime cache\n"
    base = pathlib.Path(os.environ["XDG_RUNTIME_DIR"]) / "vault-credential-process"
    assert [path.name for path in base.iterdir()] == ["key"]


def test_name_that_moves_the_cursor(command: Run, tenant: Tenant) -> None:
    """A profile may be called what a terminal takes for orders; it is shown as one printable line, by each command."""
    config = pathlib.Path(config_of(tenant))
    config.write_text(config.read_text().replace("[profile webapp]", '[profile "web\x1b[31m\u202eapp"]'))
    name, environ = "web\x1b[31m\u202eapp", {"AWS_CONFIG_FILE": str(config)}
    document(command("get", f"--profile={name}", **environ))
    for words in (
        ("cache", "list"),
        ("status", "--all"),
        ("status", f"--profile={name}"),
        ("whoami", f"--profile={name}"),
    ):
        done = command(*words, **environ)
        assert (done.returncode, done.stderr) == (0, "")
        assert all(line.isprintable() for line in done.stdout.splitlines())


def test_clear_all_wants_no_profile(replayed: Told) -> None:
    """``--all`` with a profile or a role would forget what others need, and is refused; what is exported is none."""
    refused = replayed("cache", "clear", "--all", "--role=webapp", code=2)
    assert "cache clear --all: forgets what every profile holds; leave out --profile and --role" in refused
    assert replayed("cache", "clear", "--all") == "forgot 0 entries of the runtime cache\n"


def test_clear_of_one_profile(told: Told, tenant: Tenant) -> None:
    """With a profile its entries go and others stay; its token lives on at the server."""
    other = new_tenant(tenant.laboratory, tenant.home)
    tenant.laboratory.assumed_role(other.role)
    profiles = [tenant.laboratory.profile(n, t.settings) for n, t in (("webapp", tenant), ("other", other))]
    tenant.write_config(*profiles)
    told("get", "--profile=webapp")
    token = kept_token()
    told("get", "--profile=other")
    done = told("cache", "clear", "--profile=webapp").splitlines()

    where = f"aws/creds/{tenant.role} at {tenant.laboratory.server.address}"
    assert done == [
        f"forgot the credentials of {where}",
        f"forgot the Vault token of auth/approle at {tenant.laboratory.server.address}",
    ]
    assert {row["profile"] for row in json.loads(told("cache", "list", "--json"))} == {"other"}
    assert is_alive(tenant, token)


def test_clear_and_revoke(told: Told, tenant: Tenant) -> None:
    """``--revoke`` ends the token at the server, and says of an STS pair that nobody can end it, and when it ends."""
    expiration = json.loads(told("get", "--profile=webapp"))["Expiration"]
    token = kept_token()
    assert is_alive(tenant, token)
    done = told("cache", "clear", "--profile=webapp", "--revoke").splitlines()

    assert done[:2] == [
        "revoked the Vault token, and with it every IAM user that it asked for",
        f"STS credentials cannot be revoked by anyone: the pair just forgotten lives until {expiration}",
    ]
    assert len(done) == 4
    assert not is_alive(tenant, token)
    assert cache_files("entry-*") == cache_files("quick-*") == []


def test_revoke_wants_a_profile(command: Run, tenant: Tenant) -> None:
    """``--revoke`` alone ends nobody's token."""
    done = command("cache", "clear", "--revoke", AWS_CONFIG_FILE=config_of(tenant))

    assert "name the profile whose token is to end" in refusal(done, 2)


def test_revoke_of_a_dead_token(told: Told, tenant: Tenant) -> None:
    """A token that has ended already is forgotten like any other."""
    told("get", "--profile=webapp")
    tenant.laboratory.server.call("POST", "auth/token/revoke", {"token": kept_token()})

    assert told("cache", "clear", "--profile=webapp", "--revoke").startswith("the Vault token had ended already")
    assert cache_files("entry-*") == []


@pytest.mark.parametrize(("answer", "code"), [("creds_permission_denied", 4), ("sealed", 6)])
def test_revoke_that_fails(
    scripted: ScriptedServer, exchanges: dict[str, Any], replayed: Told, answer: str, code: int
) -> None:
    """Where the token cannot be revoked that is told, and everything is still held."""
    scripted.on("GET", "auth/token/lookup-self", replay(exchanges["token_lookup_self"]))
    scripted.on("POST", "auth/token/revoke-self", replay(exchanges[answer]))
    replayed("get")
    said = replayed("cache", "clear", "--revoke", code=code)

    assert ("may not revoke itself, so nothing was forgotten" in said) is (code == 4)
    assert len(cache_files("entry-*")) == 2


REVOKED_OR_NOT: dict[str, tuple[Reply, ...]] = {
    "silence": (silence(30),),
    "reset": (reset,),
    "a gateway's words": (reply(504, b"<html>"),),
    "Vault's own failure, in the middle of it": (reply(400, {"errors": ["failed to revoke a lease"]}),),
    "lost, then sealed": (reset, reply(503, {"errors": ["Vault is sealed"]})),
    "lost, then denied, and no look-up": (reset, DENIED),
}
NOT_REVOKED: dict[str, tuple[Reply, ...]] = {
    "sealed": (reply(503, {"errors": ["Vault is sealed"]}),),
    "limited": (reply(429, {"errors": ["rate limit quota exceeded"]}),),
    "denied": (DENIED,),
}


@pytest.fixture
def bench(scripted: ScriptedServer, exchanges: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A server that lets everybody in and gives each read another IAM user, and tries that follow at once."""
    monkeypatch.setattr(requester, "RETRY_WAIT", 0.01)
    made = Bench(scripted, exchanges, Clock())
    made.on_login()
    made.server.on("GET", READ, *(made.lease(7200, f"AKIA{number}", "creds_iam_user") for number in range(2)))
    return made


def iam_users(bench: Bench, **settings: str) -> Fetcher:
    """Return a fetcher that holds the first IAM user."""
    fetcher = bench.fetcher(**{"vault_aws_probe": "off", "vault_max_retries": "1", **settings})
    assert fetcher.fetch().access_key == "AKIA0"
    return fetcher


@pytest.mark.parametrize("replies", REVOKED_OR_NOT.values(), ids=REVOKED_OR_NOT)
def test_revocation_whose_answer_is_lost(bench: Bench, replies: tuple[Reply, ...]) -> None:
    """Where Vault may have ended the token neither it nor its IAM user is handed out again, and that is told."""
    fetcher = iam_users(bench, vault_client_timeout="0.5")
    kept = fetcher.kept_token()
    assert kept is not None
    bench.server.on("POST", REVOKE, *replies)
    bench.server.on("GET", LOOK_UP, reset)
    with pytest.raises(VaultCredentialError) as caught:
        fetcher.forget(revoke=True)

    assert str(caught.value).endswith(
        "; Vault may have ended the token all the same, so it is forgotten here, with every IAM user that it asked "
        f"for; if not, it {lives(kept.token)}"
    )
    assert (fetcher.peek(), fetcher.kept_token()) == (None, None)
    assert fetcher.fetch().access_key == "AKIA1"
    assert bench.server.asked("POST", LOGIN) == 2


def test_revocation_that_the_deadline_cuts_short(bench: Bench) -> None:
    """The same where the call's own deadline passes."""
    fetcher = iam_users(bench)
    bench.server.on("POST", REVOKE, silence(30))
    with pytest.raises(DeadlineError, match="Vault may have ended the token all the same"):
        fetcher.forget(revoke=True, seconds=0.5)

    assert fetcher.fetch().access_key == "AKIA1"


@pytest.mark.parametrize("replies", NOT_REVOKED.values(), ids=NOT_REVOKED)
def test_revocation_that_was_not_done(bench: Bench, replies: tuple[Reply, ...]) -> None:
    """Where it is certain that Vault ended nothing the IAM user is still held."""
    fetcher = iam_users(bench)
    bench.server.on("POST", REVOKE, *replies)
    bench.server.on("GET", LOOK_UP, replay(bench.exchanges["token_lookup_self"]))
    with pytest.raises(VaultCredentialError) as caught:
        fetcher.forget(revoke=True)

    assert "may have ended" not in str(caught.value)
    assert fetcher.fetch().access_key == "AKIA0"
    assert bench.server.asked("GET", READ) == 1


def test_revocation_without_a_server(exchanges: dict[str, Any]) -> None:
    """The same where no connection comes about."""
    with ScriptedServer() as server:
        away = Bench(server, exchanges, Clock())
        away.on_login()
        away.server.on("GET", READ, away.lease(7200, "AKIA0", "creds_iam_user"))
        fetcher = iam_users(away, vault_max_retries="0")
    with pytest.raises(UnreachableError, match=r"check vault_addr and its port$"):
        fetcher.forget(revoke=True)

    assert fetcher.fetch().access_key == "AKIA0"


def test_batch_token_is_not_revoked(scripted: ScriptedServer, exchanges: dict[str, Any], replayed: Told) -> None:
    """A batch token cannot be revoked, which is said instead of tried."""
    scripted.on_login(exchanges["approle_login_batch_token"])
    replayed("get")

    assert replayed("cache", "clear", "--revoke").startswith("a batch token cannot be revoked")
    assert cache_files("entry-*") == []
    assert scripted.asked("POST", "auth/token/revoke-self") == 0


def test_token_from_outside_is_never_revoked(told: Told, tenant: Tenant) -> None:
    """``--revoke`` leaves a token that was handed in alone, and says whose it is."""
    token = token_for(tenant)
    without_approle(tenant)
    told("get", "--profile=webapp", VAULT_TOKEN=token)
    done = told("cache", "clear", "--profile=webapp", "--revoke", VAULT_TOKEN=token)

    assert "so nothing was revoked: a token from outside is its owner's to end" in done
    assert is_alive(tenant, token)
    assert cache_files("entry-*") == []


@pytest.mark.real_engine
def test_revoke_ends_the_iam_user(told: Told, tenant: Tenant, cloud: aws.LocalAWS) -> None:
    """On the real engine every IAM user of the token goes with it, and none of them is handed out again."""
    before = users(cloud)
    owner = new_tenant(tenant.laboratory, tenant.home)
    owner.laboratory.iam_user(owner.role)
    config_of(owner)
    sessions = ([], ["--role-session-name=ana"])
    first = [json.loads(told("get", "--profile=webapp", *flags))["AccessKeyId"] for flags in sessions]
    assert len(users(cloud) - before) == len(set(first)) == 2
    told("cache", "clear", "--profile=webapp", "--revoke")
    limit = time.monotonic() + 15
    while users(cloud) - before and time.monotonic() < limit:
        time.sleep(0.2)

    assert users(cloud) == before
    again = [json.loads(told("get", "--profile=webapp", *flags))["AccessKeyId"] for flags in sessions]
    assert set(again) & set(first) == set()


FAILURES = {"sealed": ("sealed", "Vault is sealed"), "limiting": ("rate_limited", "too many requests")}


@pytest.mark.parametrize(("answer", "words"), FAILURES.values(), ids=FAILURES)
def test_last_failure_is_shown(
    scripted: ScriptedServer, exchanges: dict[str, Any], replayed: Told, answer: str, words: str
) -> None:
    """Past the rule the valid pair is handed out while Vault fails, silently; ``cache list`` and ``status`` say why."""
    scripted.on("GET", "aws/creds/webapp", aged(exchanges, 800), replay(exchanges[answer]))
    environ = {"VAULT_MAX_RETRIES": "0"}
    printed = [replayed("get", **environ) for _ in range(3)]
    assert len(set(printed)) == 1
    assert 0 < seconds_left(json.loads(printed[0])) <= 100
    assert scripted.asked("GET", "aws/creds/webapp") == 2

    rows = json.loads(replayed("cache", "list", "--json"))
    assert [words in row["last_failure"] for row in rows if row["kind"] == "credentials"] == [True]
    assert f"    last failure: {scripted.address}/v1/aws/creds/webapp: {words}" in replayed("cache", "list")
    assert f"\nlast failure: {scripted.address}/v1/aws/creds/webapp: {words}" in replayed("status")
    assert words in json.loads(replayed("status", "--json"))["last_failure"]


def test_real_server_is_sealed(command: Run, stand_in: Laboratory, short_lived: Tenant) -> None:
    """The same with a real server that is sealed; once it is unsealed the next try clears the reason."""
    tell = telling(command, AWS_CONFIG_FILE=config_of(short_lived))
    stand_in.write_sts(short_lived.role, ttl=8)
    printed = tell("get", "--profile=webapp")
    time.sleep(4.1)
    stand_in.server.seal()
    try:
        assert tell("get", "--profile=webapp", "--max-retries=0") == printed
        assert "Vault is sealed" in tell("cache", "list")
    finally:
        stand_in.server.unseal()
    stand_in.write_sts(short_lived.role, ttl=900)
    time.sleep(1.1)
    assert json.loads(tell("get", "--profile=webapp"))["AccessKeyId"] != json.loads(printed)["AccessKeyId"]
    assert "last failure" not in tell("cache", "list")


def test_ended_pair_is_not_held(scripted: ScriptedServer, exchanges: dict[str, Any], replayed: Told) -> None:
    """A pair that has ended is listed with no seconds left, and ``status`` holds nothing."""
    scripted.on("GET", "aws/creds/webapp", aged(exchanges, 899))
    replayed("get")
    time.sleep(1.1)

    assert replayed("status").startswith("nothing is held for aws/creds/webapp")
    assert json.loads(replayed("status", "--json"))["held"] is False
    rows = json.loads(replayed("cache", "list", "--json"))
    assert [row["seconds_left"] for row in rows if row["kind"] == "credentials"] == [0]
    listed = replayed("cache", "list").splitlines()[2:]
    assert [" (ended)  " in line for line in listed] == [row["seconds_left"] == 0 for row in rows]


def test_spoiled_entry_is_not_listed(replayed: Told) -> None:
    """What is no entry is neither listed nor in the way; clearing removes it."""
    replayed("get")
    for path in cache_files("entry-*"):
        path.write_text(path.read_text().replace('"format": "', '"format": "not '))

    assert json.loads(replayed("cache", "list", "--json")) == []
    replayed("cache", "clear")
    assert cache_files("entry-*") == []


def test_nothing_is_kept(told: Told) -> None:
    """With the cache turned off both commands say so, whatever the host's cache holds."""
    told("get", "--profile=webapp")
    assert len(cache_files("entry-*")) == 2

    assert told("cache", "list", "--no-cache").startswith("none cache: ")
    assert told("cache", "list", "--no-cache").endswith("\nnothing is held\n")
    assert json.loads(told("cache", "list", "--json", "--no-cache")) == []
    assert "(none cache: " in told("status", "--profile=webapp", "--no-cache")
