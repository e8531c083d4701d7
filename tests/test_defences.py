"""What neither time, nor a neighbour on the host, nor a hostile server may get out of the cache."""

from __future__ import annotations

import os
import pathlib
import stat
import time
from typing import Any

import pytest

from vault_credential_process import fastpath
from vault_credential_process.cache.entry import Entry
from vault_credential_process.cache.runtime import STALE, Runtime
from vault_credential_process.errors import AuthenticationError, UnreachableError
from vault_credential_process.models import AWSCredentials
from vault_credential_process.testing.cache import KEY, OTHER_KEY
from vault_credential_process.testing.scripted import ScriptedServer, reply

from .bench import DENIED, LOOK_UP, NOW, READ, Bench, Clock
from .conftest import Run, Tenant

on_linux = pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="tmpfs is Linux's")


@pytest.fixture
def bench(scripted: ScriptedServer, exchanges: dict[str, Any]) -> Bench:
    """Return a server that lets everybody in."""
    made = Bench(scripted, exchanges, Clock())
    made.on_login()
    return made


@on_linux
@pytest.mark.parametrize(("left", "stays"), [(86400.0, True), (-1.0, False)])
def test_sweep_spares_what_has_not_ended(shm: pathlib.Path, left: float, stays: bool) -> None:
    """An entry that nobody touched for days is swept only once it has ended: it may be an IAM user of a month."""
    now = time.time()
    backend = Runtime.open({"XDG_RUNTIME_DIR": str(shm)})
    keys = AWSCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI", None, now - 30 * 86400, now + left, "iam_user")
    backend.set(KEY, Entry(keys).dump())
    os.utime(backend.place.path("entry", KEY), (now - STALE - 60,) * 2)
    backend.set(OTHER_KEY, b"{}")

    assert (backend.get(KEY) is not None) is stays


@on_linux
@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root gives a directory to another user")
@pytest.mark.parametrize("others", ["owner", "mode"])
def test_parent_that_others_rule_is_not_used(shm: pathlib.Path, others: str) -> None:
    """Where another user can rename our directory, what we left is not safe: it is passed over, with the reason."""
    if others == "owner":
        os.chown(shm, 54321, 54321)
    else:
        shm.chmod(0o777)
    environ = {"XDG_RUNTIME_DIR": str(shm)}
    directory, reason = fastpath.runtime_directory(environ)
    place = fastpath.ticket(["get"], environ)

    assert directory != str(shm / fastpath.NAME)
    assert directory is not None or "others may put another directory in its place" in reason
    assert place is None or not place.directory.startswith(str(shm))
    assert not stat.S_ISLNK(os.lstat(shm).st_mode)


def test_stated_token_life_is_counted_once(bench: Bench) -> None:
    """``vault_token_ttl`` counts from the token's first use: the stated end stays, and after it the token is over."""
    bench.server.on("GET", LOOK_UP, DENIED)
    bench.server.on("GET", READ, bench.lease(2_764_800, name="creds_iam_user"))
    environ = {"VAULT_TOKEN": "hvs.HANDED-IN"}
    fetcher = bench.fetcher(environ=environ, vault_token_ttl="100s", vault_aws_probe="off")
    ends = []
    for second in (0, 30, 60, 90):
        bench.clock.now = NOW + second
        ends.append(fetcher.fetch().expiry)
    bench.clock.now = NOW + 101

    assert ends == [NOW + 100] * 4
    with pytest.raises(AuthenticationError, match="vault_token_ttl has passed"):
        fetcher.fetch()


def test_renewal_that_does_not_say_for_how_long(bench: Bench, exchanges: dict[str, Any]) -> None:
    """A renewal without a duration extends nothing: a new pair is read instead of believing in the old one."""
    first = bench.lease(100, "AKIAFIRST", name="creds_iam_user")
    bench.server.on("GET", READ, first, bench.lease(100, "AKIASECOND", name="creds_iam_user"))
    bench.server.on("POST", "auth/token/renew-self", reply(200, exchanges["token_renew_self"]["response"]["body"]))
    bench.server.on("POST", "sys/leases/renew", reply(204))
    fetcher = bench.fetcher(vault_aws_probe="off")
    fetcher.fetch()
    bench.clock.now = NOW + 60

    assert fetcher.fetch().access_key == "AKIASECOND"
    assert bench.server.asked("POST", "sys/leases/renew") == 1


@on_linux
def test_cleared_entry_ends_its_quick_answer(
    command: Run, short_lived: Tenant, shm: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A quick answer whose entry is gone is not handed out, even if it was written after the clearing."""
    short_lived.laboratory.write_sts(short_lived.role, ttl=3600)
    config = str(short_lived.write_config())
    first = command("get", "--profile=webapp", AWS_CONFIG_FILE=config).stdout
    (quick,) = [p for p in (shm / fastpath.NAME).glob("quick-*") if p.suffix != ".lock"]
    kept = quick.read_bytes()
    command("cache", "clear", AWS_CONFIG_FILE=config)
    fastpath.write_private(str(quick), kept)
    short_lived.laboratory.write_sts(short_lived.role, ttl=3600)

    assert command("get", "--profile=webapp", AWS_CONFIG_FILE=config).stdout not in ("", first)


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, b"<html>", {"Content-Type": "hvs.EXAMPLE"}),
        reply(307, None, {"Location": "http://hvs.EXAMPLE.example/v1/" + READ}),
    ],
    ids=["content type", "redirect"],
)
def test_echoed_token_is_blotted_out(bench: Bench, answer: bytes) -> None:
    """A server that echoes the token where a message repeats its words does not get it onto stderr."""
    bench.server.on("GET", READ, answer)
    with pytest.raises(UnreachableError) as caught:
        bench.fetcher().fetch()

    assert "hvs.example" not in str(caught.value).lower()
