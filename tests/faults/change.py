"""One change of leader that meets several clients of a cluster, each at a moment of its own."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.testing.scripted import Request

from ..certificates import Authority
from .cluster import WAIT, Cluster, Node, wait_until
from .faults import Fault
from .proxy import bound
from .server import AT_THE_SERVER, Gate, ServerCase, ServerFault, ServerTrial
from .table import Outcome

SURVIVES = {"VAULT_MAX_RETRIES": "100", "VAULT_AWS_TIMEOUT": "60s"}
"""The settings of a client that has the time to wait for an election."""


class Door(Gate):
    """Stands in front of one node; a redirect to another one leads to a door in front of that."""

    def __init__(self, cluster: Cluster, node: Node, first: Door | None = None) -> None:
        """Take a free port; what the ``first`` door was asked for, this one counts there."""
        super().__init__(node.address)
        self._cluster = cluster
        self._first = first or self
        self._others: dict[str, Door] = {}
        self._nowhere = bound(0)
        self.on_begin: Callable[[], object] = lambda: None

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._nowhere.close()
        for door in self._others.values():
            door._nowhere.close()
            door._close()

    def lead_to(self, node: Node) -> None:
        """Stand in front of another node from now on."""
        self._target = ("127.0.0.1", node.port)

    def _begin(self) -> None:
        super()._begin()
        self.on_begin()

    def _forwarded(self, request: Request, path: str, kind: str) -> bytes:
        reply = super()._forwarded(request, path, kind)
        first = self._first
        if first is not self:
            first.passed[kind] += 1
            first.answers.append(self.answers[-1])
        for node in self._cluster.nodes:
            if f"Location: {node.address}/".encode() in reply:
                reply = reply.replace(node.address.encode(), self._address_of(node).encode(), 1)
        return reply

    def _address_of(self, node: Node) -> str:
        """Return where a redirect to a node leads: to a door in front of it, or, for a dead one, where nobody listens.

        A program that was killed a moment ago may still take connections, which break then.
        """
        first = self._first
        if not node.is_alive:
            host, port = first._nowhere.getsockname()
            return f"http://{host}:{port}"
        with first._guard:
            return first._others.setdefault(node.name, Door(self._cluster, node, first)).address


@dataclasses.dataclass(frozen=True)
class Change:
    """What happens to the cluster while clients are under way.

    ``begin`` gets their doors; once each has its answer the cluster is made whole. Where
    ``by_name``, the address is that of the dead leader until it names another. Where ``is_long``, clients try more
    often than once, and only what the active node answered is counted.
    """

    name: str
    begin: Callable[[Group, list[Door]], object]
    moments: tuple[str, ...]
    by_name: bool = False
    is_long: bool = False


def cases_of(change: Change) -> tuple[ServerCase, ...]:
    """Return the rows of a change."""
    settings = SURVIVES if change.is_long else {}
    within = 60.0 if change.is_long else 20.0
    what = ServerFault(change.name, lambda _: None, change.moments, settings, within)
    stage = "listener" if change.by_name else AT_THE_SERVER
    how = Fault(change.name, stage, lambda _: None, always=change.by_name, settings=settings, within=within)
    return tuple(ServerCase(change.name, moment, within, how, what) for moment in change.moments)


class ClusterTrial(ServerTrial):
    """A client of a cluster whose leader changes."""

    def __init__(self, case: ServerCase, group: Group, home: pathlib.Path) -> None:
        """Make the application; nothing is asked for yet."""
        super().__init__(case, group.laboratory, home, group.authority)
        self.group, self.change = group, group.changes[case.fault]
        self.door = Door(group.cluster, group.leader if self.change.by_name else group.standby)
        self.proxy._close()
        self.proxy = self.door
        self.environ["VAULT_ADDR"] = self.door.address
        if self.change.by_name:
            self.door.on_begin = lambda: group.begin.wait(WAIT)
        else:
            self.how = dataclasses.replace(case.how, act=lambda _: group.begin.wait(WAIT))
        self.served: Counter[str] = Counter()

    def measure(self) -> Outcome:
        """Bring the change about and return what came of it."""
        outcome = super().measure()
        return dataclasses.replace(outcome, requests=dict(self.served)) if self.change.is_long else outcome

    def _called(self) -> tuple[str, int, float]:
        return self._asked()

    def _look_around(self) -> None:
        self.served.update(answer.kind for answer in self.proxy.answers if answer.status < 300)
        self.group.end.wait(WAIT)
        super()._look_around()

    def repair(self) -> None:
        """Nothing is broken: the cluster is whole again."""
        self.door.lead_to(self.group.laboratory.server)


class Group:
    """The clients that meet changes at the same time: none goes on before all are there."""

    def __init__(self, changes: Sequence[Change], cluster: Cluster, laboratory: Laboratory, ca: Authority) -> None:
        """Prepare the clients."""
        self.changes = {change.name: change for change in changes}
        is_real = laboratory.server.engine.real
        found = (case for change in changes for case in cases_of(change))
        self.cases = [case for case in found if is_real or case.moment != "renewal (lease)"]
        cases, self.cluster, self.laboratory, self.authority = self.cases, cluster, laboratory, ca
        self._look()
        self.begin = threading.Barrier(len(cases), self._begin)
        self.end = threading.Barrier(len(cases), cluster.settle)
        self.trials: list[ClusterTrial] = []

    def outcomes(self) -> dict[tuple[str, str], Outcome]:
        """Let everybody meet the change; return what came of it, or raise what went wrong first."""
        base = "/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None
        with tempfile.TemporaryDirectory(prefix="vcp-fault-", dir=base) as home:
            places = [pathlib.Path(home, str(number)) for number in range(len(self.cases))]
            for case, place in zip(self.cases, places, strict=True):
                place.mkdir(mode=0o700)
                self.trials.append(ClusterTrial(case, self, place))
            with concurrent.futures.ThreadPoolExecutor(len(self.cases)) as pool:
                futures = [pool.submit(trial.measure) for trial in self.trials]
                done, _ = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
                if any(future.exception() for future in done):
                    self.begin.abort()
                    self.end.abort()
            for future in sorted(futures, key=_is_broken):
                future.result()
        return {case.name: future.result() for case, future in zip(self.cases, futures, strict=True)}

    def _look(self) -> None:
        """See who leads."""
        self.leader = self.cluster.leader
        self.standby = next(node for node in self.cluster.alive if node is not self.leader)

    def _begin(self) -> None:
        # On a busy machine there may have been an election since the doors were set up.
        self._look()
        wait_until(lambda: self.standby.serves)
        for trial in self.trials:
            trial.door.lead_to(self.leader if trial.change.by_name else self.standby)
        for name in {case.fault for case in self.cases}:
            doors = [trial.door for trial in self.trials if trial.case.fault == name]
            self.changes[name].begin(self, doors)


def _is_broken(future: concurrent.futures.Future[Outcome]) -> bool:
    return isinstance(future.exception(), threading.BrokenBarrierError)
