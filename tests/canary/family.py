"""Real processes: what ``/proc`` shows of them and of what they start, and what a witness in each of them sees."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping

from .evidence import Evidence

INNER = pathlib.Path(__file__).parent / "inner"
PATIENCE = 60.0
COMMAND = (sys.executable, "-m", "vault_credential_process")


def watched_environ(directory: pathlib.Path, **further: str) -> dict[str, str]:
    """Return the environment of a process that has a witness, which writes to a directory."""
    directory.mkdir(exist_ok=True)
    path = os.pathsep.join(filter(None, (str(INNER), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "CANARY_WITNESS": str(directory), **further}


def add_witnesses(evidence: Evidence, directory: pathlib.Path) -> set[str]:
    """Note what all witnesses wrote; return the kinds of it."""
    kinds = set()
    for path in directory.glob("*.witness"):
        seen = [tuple(json.loads(line)) for line in path.read_text().splitlines()]
        evidence.add_witness(seen)
        kinds |= {kind for kind, _, _ in seen}
    return kinds


def family(process_id: int) -> list[int]:
    """Return a process with all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [process_id]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += parents.get(one, [])
    return found


def look(evidence: Evidence, process_id: int, environ: Mapping[str, str]) -> int:
    """Note what anybody may read of a process and its descendants; return how many they are.

    Of a child's environment that is what the process adds to the one that it was started with itself.
    """
    seen = 0
    for one in family(process_id):
        try:
            line = pathlib.Path(f"/proc/{one}/cmdline").read_bytes()
            variables = pathlib.Path(f"/proc/{one}/environ").read_bytes()
        except OSError:
            continue
        seen += 1
        evidence.add("command line", str(one), line.decode("utf-8", "replace"))
        told = dict(v.partition("=")[::2] for v in variables.decode("utf-8", "replace").split("\0"))
        added = {name: value for name, value in told.items() if environ.get(name) != value}
        evidence.add("environment", str(one), json.dumps(added))
    return seen


def core_limit(process_id: int) -> str:
    """Return the soft limit of the core dumps of a process."""
    limits = pathlib.Path(f"/proc/{process_id}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
    return line.split()[4]


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)


class Looker:
    """Looks at a process whenever a server that it talks to is asked something: in the middle of the call."""

    def __init__(self, evidence: Evidence, environ: Mapping[str, str]) -> None:
        """Nothing is looked at before :meth:`start`."""
        self._evidence, self._environ = evidence, environ
        self._known = threading.Event()
        self.process: subprocess.Popen[str] | None = None
        self.limits: set[str] = set()
        self.looked = 0

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start the process."""
        self.process = subprocess.Popen(
            command,
            env=dict(self._environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._known.set()
        return self.process

    def look(self) -> None:
        """Look at it."""
        assert self._known.wait(PATIENCE)
        assert self.process is not None
        self.looked += look(self._evidence, self.process.pid, self._environ)
        self.limits.add(core_limit(self.process.pid))

    def ended(self, place: str) -> int:
        """Wait for its end, note its streams, and return its code."""
        assert self.process is not None
        try:
            out, err = self.process.communicate(timeout=PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.communicate(timeout=PATIENCE)
        self._evidence.add(place, "", out)
        self._evidence.add("stderr", "", err)
        return self.process.returncode
