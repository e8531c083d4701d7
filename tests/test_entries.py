"""What is kept: entries that come back whole or not at all, keys that part what differs, and the hand-out rule."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_credential_process import auth
from vault_credential_process.cache.entry import Entry, TokenEntry, credentials_key, token_key
from vault_credential_process.cache.place import ProcessPlace
from vault_credential_process.config import Config, Profile
from vault_credential_process.expiry import refresh_margin
from vault_credential_process.models import AWSCredentials, VaultToken
from vault_credential_process.testing.scripted import ScriptedServer, reply

from .bench import NOW, READ, Bench, Clock

PAIR = AWSCredentials(
    access_key="ASIAIOSFODNN7EXAMPLE",
    secret_key="SECRET-OF-THE-PAIR",
    session_token="SESSION-OF-THE-PAIR",
    issued=NOW,
    expiry=NOW + 900,
    credential_type="sts",
    lease_id="aws/creds/webapp/EXAMPLE",
    account_id="123456789012",
)
OLD_USER = AWSCredentials(
    "AKIAIOSFODNN7EXAMPLE", "SECRET-OF-THE-USER", None, NOW - 9, NOW + 9, "iam_user", renewable=True
)
ENTRIES = {
    "plain": Entry(PAIR),
    "unproven, with all the rest": Entry(
        dataclasses.replace(PAIR, session_token=None, credential_type="iam_user", account_id=None),
        proven=False,
        previous=OLD_USER,
        failure="Vault is sealed: ü",
        failed_at=NOW + 1.5,
        token_hash="f" * 40,
        profile="webapp",
        aws_path="aws/creds/webapp",
        vault_addr="https://vault.example.com",
    ),
}
TOKENS = {
    "plain": TokenEntry(VaultToken("hvs.SECRET-OF-THE-TOKEN"), life=None),
    "with all the rest": TokenEntry(
        VaultToken("hvs.SECRET", NOW + 3600, False, True, 7, "batch", ("app", "default"), True),
        life=3600.0,
        profile="webapp",
        path="auth/approle",
        vault_addr="https://vault.example.com",
    ),
}

Fields = dict[str, Any]
Spoiler = Callable[[Fields], object]
SPOILED: dict[str, Spoiler] = {
    "other version": lambda f: f.update(format="vcp0"),
    "no version": lambda f: f.pop("format"),
    "wrong kind": lambda f: f.update(kind="document"),
    "unknown field": lambda f: f.update(colour="blue"),
    "profile a number": lambda f: f.update(profile=7),
    "address missing": lambda f: f.pop("vault_addr"),
}
SPOILED_CREDENTIALS: dict[str, Spoiler] = SPOILED | {
    "no credentials": lambda f: f.pop("credentials"),
    "credentials null": lambda f: f.update(credentials=None),
    "credentials a list": lambda f: f.update(credentials=list(f["credentials"].values())),
    "access key missing": lambda f: f["credentials"].pop("access_key"),
    "lease id missing": lambda f: f["credentials"].pop("lease_id"),
    "unknown field of the credentials": lambda f: f["credentials"].update(region="us-east-1"),
    "secret key a number": lambda f: f["credentials"].update(secret_key=7),
    "secret key null": lambda f: f["credentials"].update(secret_key=None),
    "session token a list": lambda f: f["credentials"].update(session_token=["a"]),
    "expiry text": lambda f: f["credentials"].update(expiry="2026-11-23T21:17:03Z"),
    "expiry true": lambda f: f["credentials"].update(expiry=True),
    "expiry null": lambda f: f["credentials"].update(expiry=None),
    "expiry not a number": lambda f: f["credentials"].update(expiry=float("nan")),
    "expiry endless": lambda f: f["credentials"].update(expiry=float("inf")),
    "expiry past every calendar": lambda f: f["credentials"].update(expiry=10**400),
    "renewable a number": lambda f: f["credentials"].update(renewable=1),
    "type unknown": lambda f: f["credentials"].update(credential_type="root"),
    "access key empty": lambda f: f["credentials"].update(access_key=""),
    "secret key of two lines": lambda f: f["credentials"].update(secret_key="a\nb"),
    "session token not ASCII": lambda f: f["credentials"].update(session_token="\ud800"),
    "before every calendar": lambda f: f["credentials"].update(issued=-2e11, expiry=-1e11),
    "previous ends before it begins": lambda f: f.update(previous={**f["credentials"], "expiry": NOW - 1}),
    "previous without a key": lambda f: f.update(previous={**f["credentials"], "access_key": ""}),
    "ends before it begins": lambda f: f["credentials"].update(expiry=NOW - 1),
    "from the future": lambda f: f["credentials"].update(issued=NOW + 61),
    "proven a word": lambda f: f.update(proven="no"),
    "proven missing": lambda f: f.pop("proven"),
    "previous a word": lambda f: f.update(previous="ASIAEXAMPLE"),
    "previous endless": lambda f: f.update(previous={**f["credentials"], "expiry": float("inf")}),
    "failure a number": lambda f: f.update(failure=503),
    "failure without its time": lambda f: f.update(failed_at="yesterday"),
    "token hash null": lambda f: f.update(token_hash=None),
}
SPOILED_TOKENS: dict[str, Spoiler] = SPOILED | {
    "no token": lambda f: f.pop("token"),
    "token a word": lambda f: f.update(token="hvs.EXAMPLE"),
    "token empty": lambda f: f["token"].update(value=""),
    "token of two lines": lambda f: f["token"].update(value="hvs.\nEXAMPLE"),
    "uses true": lambda f: f["token"].update(uses_left=True),
    "uses a fraction": lambda f: f["token"].update(uses_left=1.5),
    "policies a word": lambda f: f["token"].update(policies="root"),
    "policies numbers": lambda f: f["token"].update(policies=[1]),
    "external missing": lambda f: f["token"].pop("external"),
    "expiry endless": lambda f: f["token"].update(expiry=float("inf")),
    "life text": lambda f: f.update(life="1h"),
    "life missing": lambda f: f.pop("life"),
    "from the future": lambda f: (f["token"].update(expiry=NOW + 3661), f.update(life=3600)),
}
GARBAGE = [None, b"", b"{", b"null", b"[]", b"7", b'"vcp1"', b"\xff\xfe\x00", b"\x00" * 900, b"[" * 60000, b"9" * 9000]


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_credentials_come_back_as_they_were(entry: Entry) -> None:
    """An entry is equal to what was kept, and is ASCII meanwhile."""
    assert Entry.load(entry.dump(), NOW) == entry
    assert entry.dump().isascii()


@pytest.mark.parametrize("entry", TOKENS.values(), ids=TOKENS)
def test_tokens_come_back_as_they_were(entry: TokenEntry) -> None:
    """A token is equal to what was kept, its policies a tuple again."""
    assert TokenEntry.load(entry.dump(), NOW) == entry
    assert entry.dump().isascii()


@pytest.mark.parametrize("content", GARBAGE, ids=lambda c: repr(c)[:20])
def test_garbage_is_nothing(content: bytes | None) -> None:
    """What is no entry at all is a miss."""
    assert (Entry.load(content, NOW), TokenEntry.load(content, NOW)) == (None, None)


@pytest.mark.parametrize("entry", [*ENTRIES.values(), *TOKENS.values()], ids=[*ENTRIES, *TOKENS])
def test_truncated_is_nothing(entry: Entry | TokenEntry) -> None:
    """An entry that was cut anywhere is a miss, and no entry is of both kinds."""
    whole = entry.dump()
    loaded = [Entry.load(whole[:n], NOW) or TokenEntry.load(whole[:n], NOW) for n in range(len(whole))]

    assert loaded == [None] * len(whole)
    assert (Entry.load(whole, NOW) is None) is (TokenEntry.load(whole, NOW) is not None)


@pytest.mark.parametrize("spoil", SPOILED_CREDENTIALS.values(), ids=SPOILED_CREDENTIALS)
def test_spoiled_credentials_are_nothing(spoil: Spoiler) -> None:
    """One field that is missing, unknown, of another type or out of bounds makes the whole entry a miss."""
    fields = json.loads(Entry(PAIR).dump())
    assert Entry.load(json.dumps(fields).encode(), NOW) == Entry(PAIR)
    spoil(fields)

    assert Entry.load(json.dumps(fields).encode(), NOW) is None


@pytest.mark.parametrize("spoil", SPOILED_TOKENS.values(), ids=SPOILED_TOKENS)
def test_spoiled_tokens_are_nothing(spoil: Spoiler) -> None:
    """The same goes for a kept token."""
    kept = TOKENS["plain"]
    fields = json.loads(kept.dump())
    assert TokenEntry.load(json.dumps(fields).encode(), NOW) == kept
    spoil(fields)

    assert TokenEntry.load(json.dumps(fields).encode(), NOW) is None


@pytest.mark.parametrize(("ahead", "is_held"), [(0, True), (60, True), (61, False), (86400, False)])
def test_little_ahead_is_a_clock_that_was_set(ahead: float, is_held: bool) -> None:
    """An entry issued up to a minute ahead of the clock counts; one from further on is a miss."""
    entry = Entry(dataclasses.replace(PAIR, issued=NOW + ahead, expiry=NOW + ahead + 900))

    assert (Entry.load(entry.dump(), NOW) is not None) is is_held


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(content=st.binary(max_size=300))
def test_no_bytes_make_it_fail(content: bytes) -> None:
    """Whatever bytes lie there, loading raises nothing and believes nothing."""
    assert (Entry.load(content, NOW), TokenEntry.load(content, NOW)) == (None, None)


@given(name=st.sampled_from([f.name for f in dataclasses.fields(AWSCredentials)]), value=JSON)
def test_no_field_of_credentials_makes_it_fail(name: str, value: Any) -> None:
    """Whatever one field holds, the entry is a miss or its field is of the right type and its times can be written."""
    fields = json.loads(Entry(PAIR).dump())
    fields["credentials"][name] = value
    loaded = Entry.load(json.dumps(fields).encode(), NOW)

    if loaded is not None:
        restored = loaded.credentials
        assert getattr(restored, name) == value
        assert isinstance(restored.access_key, str)
        assert isinstance(restored.renewable, bool)
        assert restored.issued - NOW <= 60 < 10**12 > restored.expiry > restored.issued


@given(name=st.sampled_from([f.name for f in dataclasses.fields(Entry)]), value=JSON)
def test_no_field_of_an_entry_makes_it_fail(name: str, value: Any) -> None:
    """The same for the fields beside the credentials."""
    loaded = Entry.load(json.dumps({**json.loads(Entry(PAIR).dump()), name: value}).encode(), NOW)

    assert loaded is None or (isinstance(loaded.proven, bool) and isinstance(loaded.failed_at, float | int | None))


@pytest.mark.parametrize("entry", [*ENTRIES.values(), *TOKENS.values()], ids=[*ENTRIES, *TOKENS])
def test_repr_tells_no_secret(entry: Entry | TokenEntry) -> None:
    """Neither keys nor tokens stand in what a log or a traceback may show of an entry."""
    text = f"{entry!r} {entry}"

    assert type(entry).__name__ in text
    assert not any(word in text for word in ("SECRET", "SESSION", "ASIA", "AKIA", "hvs."))


BASE = {
    "vault_addr": "https://vault.example.com",
    "vault_role_id": "role",
    "vault_secret_id": "secret",
    "vault_aws_role": "webapp",
}
TOKEN_TOO = {
    "address": {"vault_addr": "https://other.example.com"},
    "namespace": {"vault_namespace": "team"},
    "auth namespace": {"vault_auth_namespace": "team"},
    "role id": {"vault_role_id": "another"},
    "Secret ID": {"vault_secret_id": "another"},
    "no Secret ID": {"vault_secret_id": ""},
    "auth mount": {"vault_auth_mount": "approle-2"},
    "auth method": {"vault_auth_method": "token", "vault_token": "hvs.EXAMPLE"},
    "CA": {"vault_cacert_bytes": "-----BEGIN CERTIFICATE-----"},
    "no verification": {"vault_skip_verify": "true"},
    "proxy": {"vault_proxy_addr": "http://127.0.0.1:3128"},
    "token ttl": {"vault_token_ttl": "60"},
    "another token": {"vault_auth_method": "token", "vault_token": "hvs.ANOTHER"},
}
CREDENTIALS_ONLY = {
    "mount": {"vault_aws_mount": "aws-2"},
    "endpoint": {"vault_aws_endpoint": "sts"},
    "static endpoint": {"vault_aws_endpoint": "static-creds"},
    "static interval": {"vault_aws_endpoint": "static-creds", "vault_aws_static_interval": "60"},
    "role": {"vault_aws_role": "another"},
    "role_arn": {"vault_aws_role_arn": "arn:aws:iam::123456789012:role/app"},
    "another role_arn": {"vault_aws_role_arn": "arn:aws:iam::123456789012:role/other"},
    "session name": {"vault_aws_role_session_name": "ana"},
    "ttl": {"vault_aws_ttl": "1200"},
    "MFA": {"vault_aws_mfa_code_command": "totp"},
    "namespace with its own login": {"vault_namespace": "team", "vault_auth_namespace": "ops"},
}
NEITHER = {
    "nothing": {},
    "timeout": {"vault_aws_timeout": "3"},
    "client timeout": {"vault_client_timeout": "3"},
    "retries": {"vault_max_retries": "0"},
    "probe": {"vault_aws_probe": "off"},
    "cache": {"vault_aws_cache": "memory"},
    "interval without static endpoint": {"vault_aws_static_interval": "60"},
    "method by name": {"vault_auth_method": "approle"},
    "mount by name": {"vault_auth_mount": "approle", "vault_aws_mount": "aws"},
}
PLACE = ProcessPlace()


def configured(changes: dict[str, str], profile: str | None = None) -> Config:
    """Return the configuration of every row, with changes."""
    return auth.configure(BASE | changes, {}, Profile(profile, {}) if profile else None)


def keys(config: Config) -> tuple[str, str]:
    """Return the keys of the token and of the credentials."""
    identity = auth.choose(config).identity()
    return token_key(PLACE, config, identity), credentials_key(PLACE, config, identity)


@pytest.mark.parametrize("changes", TOKEN_TOO.values(), ids=TOKEN_TOO)
def test_what_changes_the_token(changes: dict[str, str]) -> None:
    """Whatever a login depends on, whom it trusts included, gives another key to token and credentials."""
    assert all(one != other for one, other in zip(keys(configured(changes)), keys(configured({})), strict=True))


@pytest.mark.parametrize("changes", CREDENTIALS_ONLY.values(), ids=CREDENTIALS_ONLY)
def test_what_changes_the_credentials(changes: dict[str, str]) -> None:
    """Whatever a read depends on gives another key to the credentials; with one login the token stays the same."""
    before = keys(configured({k: v for k, v in changes.items() if k == "vault_auth_namespace"}))
    after = keys(configured(changes))

    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


@pytest.mark.parametrize("changes", NEITHER.values(), ids=NEITHER)
def test_what_changes_nothing(changes: dict[str, str]) -> None:
    """Name of the profile, limits of time and the probe change no answer, so they share it."""
    assert keys(configured(changes, "webapp")) == keys(configured(changes, "other")) == keys(configured({}))


def test_no_two_ways_share_a_key() -> None:
    """All that differ from the base differ from each other, too."""
    rows = [*TOKEN_TOO.values(), *CREDENTIALS_ONLY.values(), {}]

    assert len({keys(configured(changes))[1] for changes in rows}) == len(rows)


def test_keys_of_two_places_tell_nothing_of_each_other() -> None:
    """The hash is keyed by the random key of the place: the same Secret ID has another name on another host."""
    config = configured({})
    identity = auth.choose(config).identity()
    found = [token_key(place, config, identity) for place in (PLACE, ProcessPlace())]

    assert found[0] != found[1]
    assert all(len(key) == 40 and set(key) <= set("0123456789abcdef") for key in found)


MINUTE = 60.0
MARGINS = {1: 30, 5: 75, 10: 150, 15: 225, 16: 240, 20: 300, 32: 480, 33: 960, 60: 960, 720: 960}
"""Minutes of life, and the seconds that must be left for a kept pair to be handed out."""


@pytest.mark.parametrize(("minutes", "margin"), MARGINS.items())
def test_margin(minutes: int, margin: float) -> None:
    """W is 16 min: a life over 2 W is handed out while W is left, others while a quarter is, 60 s or half a life."""
    assert refresh_margin(minutes * MINUTE) == margin


@pytest.mark.parametrize(("minutes", "margin"), MARGINS.items())
@pytest.mark.parametrize("age", ["0", "a tenth", "half", "last moment", "past it", "last second", "ended"])
def test_hand_out_rule(
    scripted: ScriptedServer, exchanges: dict[str, Any], minutes: int, margin: float, age: str
) -> None:
    """A kept pair of each life is handed out at each age of the rule without a request, and refreshed after it."""
    bench = Bench(scripted, exchanges, Clock())
    life = minutes * MINUTE
    bench.on_login(lease_duration=100 * life)
    scripted.on("GET", READ, bench.lease(life, "ASIAFIRST"), bench.lease(life, "ASIASECOND"))
    scripted.otherwise = reply(500, {"errors": ["nobody asks for this"]})
    ages = {"0": 0.0, "a tenth": life / 10, "half": life / 2, "last moment": life - margin}
    ages |= {"past it": life - margin + 0.25, "last second": life - 1, "ended": life}
    fetcher = bench.fetcher()
    fetcher.fetch()
    bench.clock.now = NOW + ages[age]
    is_fresh = ages[age] <= life - margin

    assert fetcher.fetch().access_key == ("ASIAFIRST" if is_fresh else "ASIASECOND")
    assert scripted.asked("GET", READ) == (1 if is_fresh else 2)
