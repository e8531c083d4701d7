"""A cluster of three real servers with raft storage on loopback: its leader can step down, be killed, and come back."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pathlib
import signal
import time
from collections.abc import Callable

import requests

from vault_credential_process.demo.server import DIRECTLY, Engine, VaultServer

WAIT = 60.0
"""Seconds that anything here may take on a busy machine."""

EXTRA = "disable_standby_reads = true"
"""Standbys hand every request on to the active node, as they do with what makes a lease: the stand-in of the engine
makes none, and would be read at the standby itself."""

RAFT = """storage "raft" {{
  path = "{path}"
  node_id = "{name}"
  performance_multiplier = 1
  autopilot_reconcile_interval = "200ms"
  autopilot_update_interval = "100ms"
}}"""


class Node(VaultServer):
    """One server of the cluster; it keeps what it knows in files, so that it comes back as it was."""

    def __init__(self, engine: Engine, name: str) -> None:
        """Prepare the server."""
        super().__init__(engine, extra=EXTRA)
        self.name = name
        self.is_alive = True
        """Whether the program runs; false from just before it is killed."""

    def _storage(self, directory: pathlib.Path) -> str:
        path = directory / "raft"
        path.mkdir(exist_ok=True)
        return RAFT.format(path=path, name=self.name)

    def _start(self) -> None:
        self._launch()

    def join(self, leader: Node) -> None:
        """Become a standby of a leader."""
        self._unseal_key, self.root_token = leader._unseal_key, leader.root_token
        wait_until(lambda: self.call("POST", "sys/storage/raft/join", {"leader_api_addr": leader.address})["joined"])
        self.open()

    def open(self) -> None:
        """Unseal the server, as active node or as standby; a second key would start it a second time."""
        self.call("PUT", "sys/unseal", {"key": self._unseal_key})
        wait_until(lambda: self.health in (200, 429))

    @property
    def health(self) -> int:
        """The status of ``sys/health``: 200 for the active node, 429 for a standby; 0 for no answer."""
        try:
            answer = requests.get(f"{self.address}/v1/sys/health", timeout=5, proxies=DIRECTLY)
        except requests.RequestException:
            return 0
        return answer.status_code

    @property
    def is_leader(self) -> bool:
        """Whether this is the active node, by its own word."""
        with contextlib.suppress(requests.RequestException):
            return bool(self.call("GET", "sys/leader")["is_self"])
        return False

    @property
    def serves(self) -> bool:
        """Whether it answers, a standby by handing requests on; one that cannot yet redirects to the leader."""
        with contextlib.suppress(requests.RequestException):
            answer = requests.get(
                f"{self.address}/v1/sys/mounts",
                headers={"X-Vault-Token": self.root_token},
                allow_redirects=False,
                timeout=5,
                proxies=DIRECTLY,
            )
            return answer.status_code == 200
        return False

    def freeze(self) -> None:
        """Stop the program where it is: what it is sent waits. Returns once each of its threads stands still."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        wait_until(lambda process=self._process.pid: _stands_still(process))

    def kill(self) -> None:
        """End the program without a word to anybody, and then the plugins that it has left alone."""
        assert self._process is not None
        self.is_alive = False
        plugins = _children(self._process.pid)
        self._process.kill()
        self._process.wait(WAIT)
        for plugin in plugins:
            with contextlib.suppress(ProcessLookupError):
                os.kill(plugin, signal.SIGKILL)

    def revive(self) -> None:
        """Start the program again after it was killed."""
        self._launch()
        self.is_alive = True
        self.open()


class Cluster:
    """Three servers, initialized, unsealed and able to lose one. Use it as a context manager."""

    def __init__(self, engine: Engine) -> None:
        """Prepare the servers."""
        self.nodes = [Node(engine, f"node{number}") for number in range(3)]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Cluster:
        try:
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                list(pool.map(self._stack.enter_context, self.nodes))
            first, *others = self.nodes
            first.initialize()
            # Without it a new server gets its vote after ten seconds only.
            first.call("POST", "sys/storage/raft/autopilot/configuration", {"server_stabilization_time": "1ms"})
            for node in others:
                node.join(first)
            self.settle()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # One that has stepped down takes ten seconds to end in good order.
        for node in self.alive:
            node.kill()
        self._stack.close()

    @property
    def alive(self) -> list[Node]:
        """The servers that run."""
        return [node for node in self.nodes if node.is_alive]

    @property
    def leader(self) -> Node:
        """The active node; waits for an election to end."""
        found: list[Node] = []
        wait_until(lambda: found.extend(node for node in self.alive if node.is_leader) or found)
        return found[0]

    @property
    def standbys(self) -> list[Node]:
        """The others that run."""
        leader = self.leader
        return [node for node in self.alive if node is not leader]

    def settle(self) -> None:
        """Wait until one leads, all others hand requests on to it, and each has a vote."""
        for node in self.nodes:
            if not node.is_alive:
                node.revive()
        leader = self.leader
        path = "sys/storage/raft/configuration"
        wait_until(lambda: all(peer["voter"] for peer in leader.call("GET", path)["data"]["config"]["servers"]))
        for node in self.nodes:
            wait_until(lambda node=node: node.call("GET", "sys/leader").get("leader_address") == leader.address)
            wait_until(lambda node=node: node.serves)

    def step_down(self) -> None:
        """Let the leader step down, and wait until another one leads; it may be elected again at first."""
        before, limit = self.leader, time.monotonic() + WAIT
        while self.leader is before:
            assert time.monotonic() < limit, "nobody else was elected"
            term = before.call("GET", "sys/leader").get("active_time")
            before.call("PUT", "sys/step-down")
            wait_until(lambda term=term: before.call("GET", "sys/leader").get("active_time") != term)


def _stands_still(process: int) -> bool:
    """Tell whether each thread of a process is stopped: the letter after its name, which may hold anything."""
    try:
        found = [path.read_text() for path in pathlib.Path(f"/proc/{process}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):  # a thread has just ended, so another one runs
        return False
    return all(text.rpartition(")")[2].split()[0] == "T" for text in found)


def _children(process: int) -> list[int]:
    """Return the children of a process."""
    found = pathlib.Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def wait_until(condition: Callable[[], object]) -> bool:
    """Wait until something is so; a server that refuses meanwhile is asked again."""
    limit = time.monotonic() + WAIT
    while True:
        try:
            if condition():
                return True
        except requests.RequestException:
            if time.monotonic() > limit:
                raise
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)
