"""The fetcher over a scripted server, by an injected clock: what it keeps, what it asks for, what it leaves behind."""

from __future__ import annotations

import copy
import pathlib
import sys
import urllib.parse
from typing import Any

import pytest

from vault_credential_process.demo import aws
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    SealedError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply

from .bench import DENIED, LOGIN, LOOK_UP, NOW, READ, REVOKE, Bench, Clock


@pytest.fixture
def bench(scripted: ScriptedServer, exchanges: dict[str, Any]) -> Bench:
    """Return a server that lets everybody in and allows revoking."""
    made = Bench(scripted, exchanges, Clock())
    made.on_login()
    scripted.on("POST", REVOKE, reply(204))
    return made


@pytest.mark.parametrize(
    ("life", "margin"),
    [(43200, 960), (1921, 960), (1920, 480), (900, 225), (240, 60), (120, 60), (119, 59.5), (4, 2)],
)
def test_hands_out_while_enough_is_left(bench: Bench, life: float, margin: float) -> None:
    """A kept pair is handed out to the last moment that the rule allows, and refreshed just after it."""
    bench.on_login(lease_duration=10 * life)
    bench.server.on("GET", READ, bench.lease(life, "ASIAFIRST"), bench.lease(life, "ASIASECOND"))
    fetcher = bench.fetcher()
    keys = []
    for moment in (0, life - margin, life - margin + 0.25):
        bench.clock.now = NOW + moment
        keys.append(fetcher.fetch().access_key)

    assert keys == ["ASIAFIRST", "ASIAFIRST", "ASIASECOND"]


@pytest.mark.parametrize(
    ("failure", "error"),
    [("sealed", SealedError), ("rate_limited", UnreachableError), ("denied", PermissionDeniedError)],
)
def test_last_good_pair_until_its_end(bench: Bench, failure: str, error: type[VaultCredentialError]) -> None:
    """A refresh that fails leaves the old pair in use until a second before its end, for it has a way to go."""
    answer = DENIED if failure == "denied" else replay(bench.exchanges[failure])
    bench.server.on("GET", READ, bench.lease(900, "ASIAFIRST"), answer)
    bench.server.on("GET", LOOK_UP, replay(bench.exchanges["token_lookup_self"]))
    fetcher = bench.fetcher()
    fetcher.fetch()

    for moment in (700, 800, 898.9):
        bench.clock.now = NOW + moment
        assert fetcher.fetch().access_key == "ASIAFIRST"
    bench.clock.now = NOW + 899.1
    with pytest.raises(error):
        fetcher.fetch()


@pytest.mark.parametrize(("moment", "pause"), [(700, 30), (860, 10), (892, 2)])
def test_failed_refresh_is_not_tried_at_once_again(bench: Bench, moment: float, pause: float) -> None:
    """The next try comes after a quarter of the life that is left, 30 s at most; it may succeed."""
    bench.server.on(
        "GET", READ, bench.lease(900, "ASIAFIRST"), replay(bench.exchanges["sealed"]), bench.lease(900, "ASIASECOND")
    )
    fetcher = bench.fetcher()
    fetcher.fetch()
    keys = []
    for later in (0, pause / 2, pause - 0.5, pause):
        bench.clock.now = NOW + moment + later
        keys.append(fetcher.fetch().access_key)

    assert keys == ["ASIAFIRST"] * 3 + ["ASIASECOND"]
    assert bench.server.asked("GET", READ) == 3


def test_failure_without_a_pair_is_told_each_time(bench: Bench) -> None:
    """With nothing to hand out, every call asks, so that the first success counts."""
    bench.server.on("GET", READ, replay(bench.exchanges["sealed"]), bench.lease(900))
    fetcher = bench.fetcher()

    with pytest.raises(SealedError):
        fetcher.fetch()
    assert fetcher.fetch().access_key == "ASIAIOSFODNN7EXAMPLE"


@pytest.mark.parametrize(("token_life", "margin"), [(36000, 960), (1200, 300), (100, 50)])
def test_token_is_used_until_its_margin(bench: Bench, token_life: float, margin: float) -> None:
    """One login serves all reads until the token nears its end."""
    bench.on_login(lease_duration=token_life)
    bench.server.on("GET", READ, bench.lease(2))
    fetcher = bench.fetcher()
    logins = []
    for moment in (0, 5, token_life - margin, token_life - margin + 2):
        bench.clock.now = NOW + moment
        fetcher.fetch()
        logins.append(bench.server.asked("POST", LOGIN))

    assert logins == [1, 1, 1, 2]
    assert bench.server.asked("GET", READ) == 4
    assert bench.server.asked("POST", REVOKE) == 0


def test_token_for_others_is_the_kept_one(bench: Bench) -> None:
    """``token()`` and ``fetch()`` share one login."""
    bench.server.on("GET", READ, bench.lease(900))
    fetcher = bench.fetcher()

    assert [fetcher.token().value, fetcher.token().value] == ["hvs.EXAMPLE"] * 2
    fetcher.fetch()
    assert bench.asked() == [f"POST {LOGIN}", f"GET {READ}"]


def test_one_call_ends_its_token_after_sts(bench: Bench) -> None:
    """A single call logs in, reads, and ends the token: the credentials live on without it."""
    bench.server.on("GET", READ, bench.lease(900))
    fetcher = bench.fetcher(keep=False)
    fetcher.fetch()
    fetcher.fetch()

    assert bench.asked() == [f"POST {LOGIN}", f"GET {READ}", f"POST {REVOKE}"] * 2
    assert bench.server.requests[2].headers["x-vault-token"] == "hvs.EXAMPLE"


@pytest.mark.parametrize("answer", ["creds_role_missing", "creds_permission_denied"])
def test_one_call_ends_its_token_after_a_refusal(bench: Bench, answer: str) -> None:
    """A call that is refused leaves no token behind either: an SDK may repeat it at every request."""
    bench.server.on("GET", READ, replay(bench.exchanges[answer]))
    with pytest.raises((ConfigurationError, PermissionDeniedError)):
        bench.fetcher(keep=False).fetch()

    assert bench.asked() == [f"POST {LOGIN}", f"GET {READ}", f"POST {REVOKE}"]


def test_token_that_cannot_be_ended_is_left(bench: Bench) -> None:
    """A policy that forbids revoking costs nothing but the tidiness."""
    bench.server.on("GET", READ, bench.lease(900))
    bench.server.on("POST", REVOKE, DENIED)

    assert bench.fetcher(keep=False).fetch().access_key == "ASIAIOSFODNN7EXAMPLE"
    assert bench.server.asked("POST", REVOKE) == 1


@pytest.mark.parametrize("probe", ["off", "auto"])
@pytest.mark.parametrize("keep", [False, True])
def test_token_of_an_iam_user_lives_on(bench: Bench, cloud: aws.LocalAWS, probe: str, keep: bool) -> None:
    """The token that made an IAM user is never ended: the keys would die with it, and they end when it does."""
    exchange = copy.deepcopy(bench.exchanges["creds_iam_user"])
    names = {"access_key": "aws_access_key_id", "secret_key": "aws_secret_access_key"}
    exchange["response"]["body"]["data"].update({ours: cloud.engine_keys[theirs] for ours, theirs in names.items()})
    bench.server.on("GET", READ, replay(exchange))
    fetcher = bench.fetcher(
        keep=keep, environ={"AWS_ENDPOINT_URL": cloud.endpoint}, vault_aws_probe=probe, vault_role_id="role"
    )
    before = len(cloud.requests)
    found = fetcher.fetch()

    assert (found.expiry, found.session_token) == (NOW + 3600, None)
    assert bench.asked() == [f"POST {LOGIN}", f"GET {READ}"]
    assert [key for key, _ in cloud.requests[before:]] == [found.access_key] * (3 if probe == "auto" else 0)
    assert found.account_id == (aws.ACCOUNT if probe == "auto" else None)


@pytest.mark.parametrize("keep", [False, True])
def test_token_from_outside_is_never_ended(bench: Bench, keep: bool) -> None:
    """A token that was handed in is looked up once, before the read, and left alone after it."""
    bench.server.on("GET", LOOK_UP, replay(bench.exchanges["token_lookup_self"]))
    bench.server.on("GET", READ, bench.lease(900))
    fetcher = bench.fetcher(keep=keep, environ={"VAULT_TOKEN": "hvs.HANDED-IN"})
    fetcher.fetch()

    assert bench.asked() == [f"GET {LOOK_UP}", f"GET {READ}"]
    assert {r.headers["x-vault-token"] for r in bench.server.requests} == {"hvs.HANDED-IN"}


@pytest.mark.parametrize("name", ["approle_login_batch_token", "approle_login_num_uses"])
def test_tokens_that_are_not_ended(bench: Bench, name: str) -> None:
    """Nothing is asked after the read with a token of limited uses, nor with a batch token, which nobody can end."""
    bench.on_login(name, **({"num_uses": 2} if "uses" in name else {}))
    bench.server.on("GET", READ, bench.lease(900))
    bench.fetcher(keep=False).fetch()

    assert bench.asked() == [f"POST {LOGIN}", f"GET {READ}"]


def test_token_of_limited_uses_is_not_kept(bench: Bench) -> None:
    """Each read has a token of its own, where one would not do for two."""
    bench.on_login("approle_login_num_uses", num_uses=2)
    bench.server.on("GET", READ, bench.lease(10))
    fetcher = bench.fetcher()
    for moment in (0, 8):
        bench.clock.now = NOW + moment
        fetcher.fetch()

    assert bench.asked() == [f"POST {LOGIN}", f"GET {READ}"] * 2


def test_token_of_one_use_is_refused(bench: Bench) -> None:
    """With its last use Vault keeps the credentials back, so nothing is read with it."""
    bench.on_login("approle_login_num_uses")
    with pytest.raises(AuthenticationError, match="token_num_uses"):
        bench.fetcher().fetch()

    assert bench.asked() == [f"POST {LOGIN}"]


def test_mfa_code_goes_with_the_read(bench: Bench, tmp_path: pathlib.Path) -> None:
    """What the command prints at each read is sent as the MFA code, which no other parameter is."""
    codes = tmp_path / "codes"
    codes.write_text("111111\n222222\n")
    script = tmp_path / "code.py"
    script.write_text(
        f"import pathlib\npath = pathlib.Path({str(codes)!r})\nfirst, _, rest = path.read_text().partition('\\n')\n"
        "path.write_text(rest)\nprint(first)\n"
    )
    bench.server.on("GET", READ, bench.lease(10))
    fetcher = bench.fetcher(vault_aws_mfa_code_command=f"{sys.executable} {script}")
    for moment in (0, 8):
        bench.clock.now = NOW + moment
        fetcher.fetch()

    queries = [urllib.parse.urlsplit(r.path).query for r in bench.server.requests if READ in r.path]
    assert queries == ["mfa_code=111111", "mfa_code=222222"]


def test_failed_mfa_command(bench: Bench) -> None:
    """Without a code nothing is read, and the login's token is ended."""
    with pytest.raises(ConfigurationError, match="vault_aws_mfa_code_command: false ended with code 1"):
        bench.fetcher(keep=False, vault_aws_mfa_code_command="false").fetch()

    assert bench.asked() == [f"POST {LOGIN}", f"POST {REVOKE}"]


def test_lease_that_cannot_be_used_is_given_back(bench: Bench) -> None:
    """Keys of an IAM user whose end nobody can tell are revoked by their lease, not handed out."""
    exchange = bench.exchanges["creds_iam_user"]
    bench.server.on("GET", LOOK_UP, DENIED)
    bench.server.on("GET", READ, replay(exchange))
    bench.server.on("POST", "sys/leases/revoke", reply(204))
    with pytest.raises(ConfigurationError, match="vault_token_ttl"):
        bench.fetcher(environ={"VAULT_TOKEN": "hvs.HANDED-IN"}).fetch()

    assert bench.asked() == [f"GET {LOOK_UP}", f"GET {READ}", "POST sys/leases/revoke"]
    assert bench.server.requests[-1].json == {"lease_id": exchange["response"]["body"]["lease_id"]}


def test_denied_with_a_living_token(bench: Bench) -> None:
    """A kept token that is denied is looked up, found alive, and kept: no further login, however often it happens."""
    bench.server.on("GET", READ, bench.lease(10), DENIED)
    bench.server.on("GET", LOOK_UP, replay(bench.exchanges["token_lookup_self"]))
    fetcher = bench.fetcher()
    fetcher.fetch()
    for turn in range(5):
        bench.clock.now = NOW + 20 + turn
        with pytest.raises(PermissionDeniedError, match="no policy"):
            fetcher.fetch()

    assert bench.server.asked("POST", LOGIN) == 1
    assert bench.server.asked("GET", READ) == 6


def test_denied_with_a_fresh_token(bench: Bench) -> None:
    """A token of this very login is no dead one, so it is neither looked up nor replaced."""
    bench.server.on("GET", READ, DENIED)
    with pytest.raises(PermissionDeniedError):
        bench.fetcher().fetch()

    assert bench.asked() == [f"POST {LOGIN}", f"GET {READ}"]


def test_dead_token_is_replaced(bench: Bench) -> None:
    """A kept token that has been revoked costs one login, in the same call."""
    bench.server.on("GET", READ, bench.lease(10, "ASIAFIRST"), DENIED, bench.lease(900, "ASIASECOND"))
    bench.server.on("GET", LOOK_UP, DENIED)
    fetcher = bench.fetcher()
    fetcher.fetch()
    bench.clock.now = NOW + 8

    assert fetcher.fetch().access_key == "ASIASECOND"
    assert bench.asked()[2:] == [f"GET {READ}", f"GET {LOOK_UP}", f"POST {LOGIN}", f"GET {READ}"]


def test_denied_without_a_look_up(bench: Bench) -> None:
    """Where neither read nor look-up is allowed, nobody can tell: there is one further login a minute, no more."""
    bench.server.on("GET", READ, bench.lease(10), DENIED)
    bench.server.on("GET", LOOK_UP, DENIED)
    fetcher = bench.fetcher()
    fetcher.fetch()
    for second in range(20, 140):
        bench.clock.now = NOW + second
        with pytest.raises(PermissionDeniedError):
            fetcher.fetch()

    assert bench.server.asked("POST", LOGIN) == 3


def test_role_is_required(bench: Bench) -> None:
    """Without a role there is nothing to fetch, and the message lists every place for one."""
    with pytest.raises(ConfigurationError, match=r"vault_aws_role: missing .*--role.*VAULT_AWS_ROLE"):
        bench.fetcher(environ={}, vault_aws_role=None)
