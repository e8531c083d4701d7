"""Another leader in the middle of a client's call: it steps down, is killed, or dies with the request in its hands."""

from __future__ import annotations

import concurrent.futures
import pathlib
import threading
import time
from collections.abc import Iterator

import pytest

from vault_credential_process import auth, flight, requester
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.errors import UnreachableError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.testing.scripted import Request

from ..certificates import Authority
from ..conftest import ENGINE, Run, new_tenant
from ..test_command import document, refusal
from ..test_real_engine import users
from .change import SURVIVES, Change, Door, Group, cases_of
from .cluster import Cluster, Node, wait_until
from .program import OVER, SOON, Program
from .proxy import FaultProxy
from .server import ServerCase, prepare
from .table import Outcome, Table
from .test_server import FIRST, HELD, HELD_USER, LEASE, LOGIN, LOGOUT, TOKEN

Outcomes = dict[tuple[str, str], Outcome]


def step_down(group: Group, _: list[Door]) -> None:
    """Let the leader step down, and everybody know of the next one."""
    group.cluster.step_down()
    group.cluster.settle()
    assert group.cluster.leader is not group.leader


def kill(group: Group, _: list[Door]) -> None:
    """Kill the leader."""
    if group.leader.is_alive:
        group.leader.kill()
    assert not group.leader.is_alive


def name_another(group: Group, doors: list[Door]) -> None:
    """Kill the leader; its address refuses until another one leads, and is that one's then."""
    kill(group, doors)

    def open_again() -> None:
        leader = group.cluster.leader
        wait_until(lambda: leader.call("GET", "sys/mounts"))
        for door in doors:
            door.lead_to(leader)
            door.disarm()

    threading.Thread(target=open_again, daemon=True).start()


def die_with_requests(group: Group, doors: list[Door]) -> None:
    """Let the leader take what a standby hands on, and die; the third node is dead, so nobody is elected."""
    (third,) = (node for node in group.cluster.standbys if node is not group.standby)
    third.kill()
    group.leader.freeze()
    before = [sum(door.passed.values()) for door in doors]

    def die() -> None:
        wait_until(lambda: all(sum(d.passed.values()) > n for d, n in zip(doors, before, strict=True)))
        time.sleep(0.5)
        group.leader.kill()

    threading.Thread(target=die, daemon=True).start()


STEP_DOWN = Change(
    "cluster: another leader since the request before",
    step_down,
    (LOGIN, FIRST, HELD_USER, HELD, TOKEN, LEASE, LOGOUT),
)
KILLED = Change(
    "cluster: leader killed; a standby is asked until another leads", kill, (HELD, TOKEN, LOGOUT), is_long=True
)
RENAMED = Change(
    "cluster: leader killed; the address refuses until it is the next one's",
    name_another,
    (LOGIN, FIRST, HELD_USER, HELD, TOKEN),
    by_name=True,
    is_long=True,
)
IN_HAND = Change(
    "cluster: leader dies with the request that a standby handed on; no other is elected",
    die_with_requests,
    (LOGIN, FIRST, HELD_USER, HELD, TOKEN, LEASE, LOGOUT),
)
GROUPS = ((KILLED, RENAMED), (IN_HAND,), (STEP_DOWN,))
"""Changes, and those that happen together; who has stepped down does not stand for election for ten seconds."""

CASES = tuple(case for group in GROUPS for change in group for case in cases_of(change))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three servers."""
    with Cluster(ENGINE) as running:
        yield running


@pytest.fixture(scope="module")
def served(cluster: Cluster, cloud: aws.LocalAWS, tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """The laboratory of the cluster; its administrator asks the first node, whoever leads."""
    made = Laboratory(cluster.nodes[0], cloud, tmp_path_factory.mktemp("cluster"))
    prepare(made)
    return made


@pytest.fixture(autouse=True, scope="module")
def patience() -> Iterator[None]:
    """Clients have the patience that an election takes on a busy machine, and try often meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requester, "RETRY_WAIT", 0.1)
        patch.setattr(flight, "PATIENCE", 60.0)
        yield


@pytest.fixture(scope="module")
def changes() -> dict[tuple[Change, ...], Outcomes]:
    """What came of the changes so far."""
    return {}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom the clients trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


def settings_of(cluster: Cluster, laboratory: Laboratory, home: pathlib.Path) -> dict[str, str]:
    """Return the settings of an application that asks a standby and has the time to wait."""
    tenant = new_tenant(laboratory, home, token_ttl="24h")
    patient = {key.lower(): value for key, value in SURVIVES.items()}
    return tenant.settings | patient | {"vault_addr": cluster.standbys[0].address}


def test_programs_and_the_command_when_the_leader_dies(
    cluster: Cluster, served: Laboratory, cloud: aws.LocalAWS, clean_environment: pathlib.Path, command: Run
) -> None:
    """A program signs on with the pair it has, one whose pair has ended waits for the next leader; ``get`` says so."""
    settings = settings_of(cluster, served, clean_environment)
    served.assumed_role(settings["vault_aws_role"])
    signing, waiting = (Program(settings, cloud) for _ in range(2))
    signing.sign()
    waiting.sign()
    config = clean_environment / "config"
    config.write_text(served.profile("webapp", settings | {"vault_max_retries": "0"}))
    leader = cluster.leader
    leader.kill()
    signing.ahead, waiting.ahead = SOON, OVER
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waited = pool.submit(waiting.sign)
        cold = command("get", "--profile=webapp", AWS_CONFIG_FILE=str(config))
        assert wait_until(lambda: signing.sign() or signing.health.refreshes == 2)
        waited.result(60)

    assert (signing.health.failures, signing.health.waits, waiting.health.failures) == (0, 1, 0)
    assert cluster.leader is not leader
    if cold.returncode:
        line = refusal(cold, 5)
        assert "a standby" in line
    else:
        document(cold)
    cluster.settle()
    assert document(command("get", "--profile=webapp", AWS_CONFIG_FILE=str(config)))


def test_standby_that_redirects(cluster: Cluster, served: Laboratory, clean_environment: pathlib.Path) -> None:
    """A standby that hands nothing on names the leader; login, read and revocation are sent there."""
    settings = settings_of(cluster, served, clean_environment)
    served.assumed_role(settings["vault_aws_role"])
    with Redirecting(cluster, cluster.standbys[0]) as door:
        fetcher = Fetcher(auth.configure(settings | {"vault_addr": door.address, "vault_max_retries": "0"}, {}, None))
        assert fetcher.fetch().session_token
        fetcher.forget(revoke=True)

    kinds = ["login", "read", "revocation"]
    assert [answer.kind for answer in door.answers if answer.status == 307] == kinds
    assert [answer.kind for answer in door.answers if answer.status in (200, 204)] == kinds


class Redirecting(Door):
    """Asks its node not to hand requests on, as one does that is configured so."""

    def _forwarded(self, request: Request, path: str, kind: str) -> bytes:
        request.headers["x-vault-no-request-forwarding"] = "true"
        return super()._forwarded(request, path, kind)


class Treacherous(FaultProxy):
    """Stands between the engine and AWS: once AWS has made the keys of an IAM user, the node that asked is no more."""

    def __init__(self, endpoint: str, victim: Node) -> None:
        """Take a free port."""
        super().__init__(endpoint)
        self._victim = victim

    def _forwarded(self, request: Request, path: str, kind: str) -> bytes:
        reply = super()._forwarded(request, path, kind)
        if b"Action=CreateAccessKey" in request.body and self._victim.is_alive:
            self._victim.kill()
        return reply


@pytest.mark.real_engine
def test_leader_that_dies_with_a_new_user(
    cluster: Cluster, served: Laboratory, cloud: aws.LocalAWS, clean_environment: pathlib.Path
) -> None:
    """The leader dies when AWS has made a user: the call ends with one line, and makes no second one."""
    settings = settings_of(cluster, served, clean_environment)
    role = settings["vault_aws_role"]
    served.iam_user(role)
    before = users(cloud)
    try:
        with Treacherous(cloud.endpoint, cluster.leader) as between:
            served.server.call("POST", "aws/config/root", served.root() | {"iam_endpoint": between.address})
            with pytest.raises(UnreachableError, match="a standby"):
                Fetcher(auth.configure(settings, {}, None)).fetch()
            assert len(users(cloud) - before) == 1
    finally:
        cluster.settle()
        served.server.call("POST", "aws/config/root", served.root())


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.real_engine if case.moment == LEASE else ()) for case in CASES],
    ids=str,
)
def test_change_of_leader(
    case: ServerCase,
    changes: dict[tuple[Change, ...], Outcomes],
    cluster: Cluster,
    served: Laboratory,
    authority: Authority,
    table: Table,
) -> None:
    """The change ends as the page says: what the caller sees, when, what the server was asked, what is left."""
    (group,) = (group for group in GROUPS if case.fault in [change.name for change in group])
    if group not in changes:
        changes[group] = Group(group, cluster, served, authority).outcomes()
    table.check(case, changes[group][case.name])
