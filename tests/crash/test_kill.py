"""SIGKILL before every step of the command: the next call answers, and nothing is lost but what nobody had stored."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import time
from typing import Any

import pytest
import requests

from vault_credential_process.cache.place import PASSING, is_half_done
from vault_credential_process.cache.runtime import Runtime
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import write_private
from vault_credential_process.demo.server import DIRECTLY
from vault_credential_process.fastpath import NAME

from ..conftest import Tenant, new_tenant
from .aftermath import Death, after, deaths, logins, moments
from .conftest import Stage, Zygote, files, stage_of
from .witness import LOGIN, Witness

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the runtime cache is Linux's")

thoroughly = pytest.mark.parametrize(
    "thorough", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["changes", "every step"]
)
CONNECT, UNWRAP = "socket.connect", "sys/wrapping/unwrap"


@pytest.fixture
def users(laboratory: Any, clean_environment: pathlib.Path, zygote: Zygote, shm: pathlib.Path) -> Any:
    """A stage whose role gives the keys of IAM users, which AWS must know before they are handed out."""
    tenant = new_tenant(laboratory, clean_environment, token_ttl="1h", token_max_ttl="10h")
    if laboratory.server.engine.real:
        laboratory.iam_user(tenant.role)
    else:
        keys = laboratory.cloud.engine_keys
        pair = {"access_key": keys["aws_access_key_id"], "secret_key": keys["aws_secret_access_key"]}
        laboratory.write(tenant.role, pair)
    with Witness(laboratory.server.address) as witness:
        yield stage_of(tenant, witness, zygote, shm)


def settle(stage: Stage, death: Death, **more: Any) -> tuple[int, int]:
    """Let the next calls answer; return how many logins and reads were lost with the one that was killed."""
    run, granted = after(stage, death, **more)
    assert run.key in stage.witness.keys, death.step
    reads = granted.get(stage.read_path, 0)
    # What was stored is used, what was not is asked for once more, and once only.
    assert logins(granted) == (0 if death.left.tokens else 1), death.step
    assert reads == (0 if death.left.entries else 1), death.step
    again, none = after(stage, death, **more)
    assert again.out == run.out, death.step
    assert not any(none.values()), death.step
    return logins(death.granted) + logins(granted) - 1, death.granted.get(stage.read_path, 0) + reads - 1


def check(losses: list[tuple[int, int]], *, at_most: int) -> None:
    """Assert that a kill costs one login and one read at most, and only in the moments before they are stored."""
    assert {logins for logins, _ in losses} <= {0, 1}
    assert {reads for _, reads in losses} <= {0, 1}
    lost_logins, lost_reads = (sum(column) for column in zip(*losses, strict=True))
    assert 1 <= lost_logins <= at_most, "the search must meet the moments in which a login is lost"
    assert 1 <= lost_reads <= at_most
    assert len(losses) >= 2 * at_most


@thoroughly
def test_cold_call(stage: Stage, thorough: bool) -> None:
    """STS, nothing kept: one login and one read in all, but for those whose answer was on its way or not yet stored."""
    losses = [settle(stage, death) for death in deaths(stage, thorough=thorough)]

    check(losses, at_most=14 if thorough else 7)


@thoroughly
def test_new_iam_user(users: Stage, thorough: bool) -> None:
    """An IAM user is lost only in the moments between its answer and its file; stored, it is proven, not repeated."""
    losses, unproven = [], 0
    for death in deaths(users, thorough=thorough, since="posix.replace entry", prepare=hurried):
        unproven += any(not entry.proven for entry in death.left.entries)
        losses.append(settle(users, death, nap=0.01))

    check(losses, at_most=14 if thorough else 7)
    assert unproven >= 3, "kills during the probe find the pair stored and unproven"


def hurried(_: pathlib.Path) -> dict[str, Any]:
    """Let the pauses of a probe pass quickly."""
    return {"nap": 0.01}


def stored(stage: Stage, shift: float) -> Any:
    """Return what fills a runtime directory with what an earlier call kept, and lets ``shift`` seconds pass."""
    template = stage.shm / "template"
    stage.run(template)

    def prepare(runtime: pathlib.Path) -> dict[str, Any]:
        shutil.copytree(template, runtime)
        return {"clock": shift}

    return prepare


@thoroughly
def test_refresh(stage: Stage, thorough: bool) -> None:
    """A pair that is due: whoever comes after a kill gets the old or a new one, without another login."""
    prepare = stored(stage, 700)
    for death in deaths(stage, thorough=thorough, since=CONNECT, prepare=prepare):
        assert (len(death.left.tokens), len(death.left.entries)) == (1, 1), death.step
        run, granted = after(stage, death, clock=700)

        assert run.key in stage.witness.keys
        assert logins(granted) + logins(death.granted) == 0
        assert granted.get(stage.read_path, 0) <= 1


@pytest.mark.real_engine
@thoroughly
def test_renewal(users: Stage, thorough: bool) -> None:
    """An IAM user whose lease is due: token and lease are renewed, before a kill or after it; the user stays."""
    prepare = stored(users, 3000)
    key = users.run(users.shm / "template").key
    renewed = 0
    for death in deaths(users, thorough=thorough, since=CONNECT, prepare=prepare):
        run, granted = after(users, death, clock=3000)
        renewed += granted.get("sys/leases/renew", 0)

        assert run.key == key, death.step
        assert death.granted.get(users.read_path, 0) + granted.get(users.read_path, 0) == 0
        assert logins(granted) + logins(death.granted) == 0
    assert renewed > 3, "kills before the renewal leave it to the next call"


CLEAR = ("cache", "clear", "--revoke", "--profile", "webapp")


@thoroughly
def test_revocation(stage: Stage, thorough: bool) -> None:
    """``cache clear --revoke`` and a pair that is due: whatever was done, one login at most, and no dead token."""
    prepare = stored(stage, 700)
    fresh = 0
    for death in deaths(stage, *CLEAR, thorough=thorough, since=CONNECT, prepare=prepare):
        run, granted = after(stage, death, clock=700)
        fresh += logins(granted)

        assert run.key in stage.witness.keys
        assert logins(granted) <= 1
    assert fresh > 1, "kills after the revocation leave a dead token, which is noticed"


@pytest.mark.real_engine
@thoroughly
def test_revocation_of_an_iam_user(users: Stage, thorough: bool) -> None:
    """Whatever of ``cache clear --revoke`` was done: keys that ended with the token are handed out no more."""
    ended = 0

    def prepare(runtime: pathlib.Path) -> dict[str, Any]:
        users.run(runtime, nap=0.01)
        return {}

    for death in deaths(users, *CLEAR, thorough=thorough, since=CONNECT, prepare=prepare):
        ended += death.granted.get("auth/token/revoke-self", 0)
        run, _ = after(users, death, nap=0.01)

        keys = {"aws_access_key_id": run.key, "aws_secret_access_key": run.document["SecretAccessKey"]}
        assert users.tenant.laboratory.cloud.client("sts", **keys).get_caller_identity()["Arn"], death.step
    assert ended > 1


def accessors(stage: Stage) -> set[str]:
    """Return the accessors of all tokens of the server."""
    return set(stage.tenant.laboratory.server.call("LIST", "auth/token/accessors")["data"]["keys"])


@thoroughly
def test_call_without_a_cache(stage: Stage, thorough: bool) -> None:
    """It leaves at most the one token that it could not revoke any more, and no file that another call reads."""
    stage.write(vault_aws_cache="none")
    left = []
    before = accessors(stage)
    for death in deaths(stage, thorough=thorough, since=CONNECT):
        now = accessors(stage)
        left.append(len(now - before))
        before = now
        run, granted = after(stage, death)

        assert run.key in stage.witness.keys
        assert (logins(granted), granted.get(stage.read_path)) == (1, 1)
        assert not death.left.entries + death.left.tokens
        assert accessors(stage) == now
    assert set(left) == {0, 1}


def wrapped_secret_id(tenant: Tenant) -> str:
    """Return the wrapping token of a new Secret ID."""
    server = tenant.laboratory.server
    answer = requests.post(
        f"{server.address}/v1/auth/approle/role/{tenant.role}/secret-id",
        headers={"X-Vault-Token": server.root_token, "X-Vault-Wrap-TTL": "10m"},
        timeout=30,
        proxies=DIRECTLY,
    )
    token: str = answer.json()["wrap_info"]["token"]
    return token


@thoroughly
def test_wrapped_secret_id(stage: Stage, thorough: bool) -> None:
    """A Secret ID is lost only if the call dies between unwrapping and keeping it, and then one line says so."""
    path = stage.tenant.home / "wrapped"
    stage.write(
        vault_secret_id_file=None,
        vault_secret_id_wrapped_file=str(path),
        vault_approle_role_name=stage.tenant.role,
    )

    def prepare(_: pathlib.Path) -> dict[str, Any]:
        write_private(path, wrapped_secret_id(stage.tenant) + "\n")
        return {}

    lost = []
    for death in deaths(stage, thorough=thorough, since=CONNECT, stores=3, prepare=prepare):
        is_kept = any("unwrapped" in keepsake.what for keepsake in death.left.keepsakes)
        lost.append(death.granted.get(UNWRAP, 0) == 1 and not is_kept)
        run, granted = after(stage, death)
        if not lost[-1]:
            assert run.key in stage.witness.keys, death.step
            assert death.granted.get(UNWRAP, 0) + granted.get(UNWRAP, 0) == 1
            continue
        assert (run.code, run.out, run.err.count("\n")) == (3, "", 1)
        assert "a call of ours unwrapped it and did not get to keep the Secret ID" in run.err

    assert 1 <= sum(lost) <= (12 if thorough else 6)


def test_scraps_go_with_the_next_store(stage: Stage) -> None:
    """Half-written files of calls that died are gone once somebody keeps something an hour later, all of them."""
    runtime = stage.shm / "littered"
    steps = stage.run(stage.shm / "counted", steps=True).steps
    writes = [(step, steps[:n].count(step)) for n, step in enumerate(steps) if step.startswith("posix.replace")]
    scraps = {}
    for step in writes:
        shutil.rmtree(runtime, ignore_errors=True)
        stage.run(runtime, steps=True, kill=step)
        scraps |= {name: path.read_bytes() for name, path in files(runtime).items() if is_half_done(name)}
    assert len(scraps) == len(writes) >= 5
    shutil.rmtree(runtime)
    stage.run(runtime)
    past = time.time() - PASSING - 1
    for name, content in scraps.items():
        path = runtime / NAME / name
        path.write_bytes(content)
        os.utime(path, (past, past))
    backend = Runtime.open({"XDG_RUNTIME_DIR": str(runtime)})

    assert scraps.keys() <= files(runtime).keys()
    assert backend.set("0" * 40, b"{}")
    assert [name for name in files(runtime) if is_half_done(name)] == []


def test_all_steps_are_met(stage: Stage) -> None:
    """The steps that are counted are those that matter: locks, sockets, temporary files and their new names."""
    steps = stage.run(stage.shm / "counted", steps=True).steps
    kinds = set(steps)

    assert {"posix.mkdir vault", "posix.link key", "posix.replace note", "posix.replace entry"} <= kinds
    assert {"posix.replace quick", "fcntl.flock", "socket.connect", "socket.sendall", "socket.recv_into"} <= kinds
    assert steps.count("posix.replace entry") == 2
    assert 20 < len(moments(steps, thorough=False)) < len(moments(steps, thorough=True)) == len(steps)


def test_keys_are_good(users: Stage) -> None:
    """The keys of the stage are ones that AWS takes, so that the probe of them is a real one."""
    printed = users.run(users.shm / "once").document
    keys = {"aws_access_key_id": printed["AccessKeyId"], "aws_secret_access_key": printed["SecretAccessKey"]}
    arn = users.tenant.laboratory.cloud.client("sts", **keys).get_caller_identity()["Arn"]

    assert (printed["AccountId"], ":user/" in arn) == (aws.ACCOUNT, True)
    assert users.witness.granted(LOGIN) == 2
