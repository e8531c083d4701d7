"""The two ways to an SDK that knows nothing of Vault: a profile whose process is counted, and the endpoint."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator

from vault_credential_process.demo import aws

from ..canary.plants import Secret
from ..canary.search import Search
from ..conftest import COMMAND, Run, Tenant
from ..serving import URI, Answer, Serving, wait_until

TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
LIFE = 2
"""Seconds that credentials live whose end is waited for."""


class Way:
    """How an SDK is led to credentials of one application; this one is by ``credential_process``."""

    name = "process"

    def __init__(self, tenant: Tenant, run: Run) -> None:
        """Write the profile ``webapp``, and a command for it that notes each run."""
        self.tenant, self._run = tenant, run
        self._noted = tenant.home / "runs"
        self._noted.touch()
        self.command = tenant.home / "counted"
        self.command.write_text(f'#!/bin/sh\necho run >>{self._noted}\nexec {COMMAND} "$@"\n')
        self.command.chmod(0o755)
        text = tenant.laboratory.profile("webapp", tenant.settings, command=str(self.command))
        self.config = str(tenant.write_config(text))
        self.keys: list[str] = []
        """Access keys of the pairs that Vault has had, in order."""
        self._life = 0
        self._secrets = [Secret("Secret ID", tenant.approle["secret_id"])]

    @property
    def environ(self) -> dict[str, str]:
        """What the environment of a program holds."""
        return {**self.place, "AWS_CONFIG_FILE": self.config, "AWS_PROFILE": "webapp"}

    @property
    def with_token(self) -> dict[str, str]:
        """What a program's holds that knows of no token file."""
        return self.environ

    @property
    def place(self) -> dict[str, str]:
        """Where AWS is."""
        return {"AWS_ENDPOINT_URL": self.tenant.laboratory.cloud.endpoint, "AWS_REGION": aws.REGION}

    def issue(self, life: int = LIFE) -> str:
        """Let Vault hand out another pair that lives so many seconds from its reading; return its access key."""
        laboratory, role = self.tenant.laboratory, self.tenant.role
        self._life = life
        self.keys.append(laboratory.write_sts(role, ttl=life))
        data = self.data()
        self._secrets += [Secret("AWS credentials", data[name]) for name in ("secret_key", "security_token")]
        return self.keys[-1]

    def data(self) -> dict[str, str]:
        """Return the pair as Vault has it."""
        answer = self.tenant.laboratory.server.call("GET", f"aws/creds/{self.tenant.role}")
        found: dict[str, str] = answer["data"]
        return found

    def replace(self) -> str:
        """Let Vault hand out another pair, and wait until the one before has ended; return the new access key."""
        old, life = self.keys[-1], self._life
        new = self.issue(3600)
        self._outlive(life)
        wait_until(lambda: self.handed_out() == new)
        self.tenant.laboratory.cloud.end(old, time.time())
        return new

    def outlive(self) -> None:
        """Wait until the last pair has ended, and nobody has another."""
        self._outlive(self._life)

    @staticmethod
    def _outlive(life: float) -> None:
        """Wait so long that a pair has ended that somebody has read before."""
        end = time.time() + life
        wait_until(lambda: time.time() > end)

    @contextlib.contextmanager
    def sealed(self) -> Iterator[None]:
        """Seal Vault, and unseal it again."""
        server = self.tenant.laboratory.server
        server.seal()
        try:
            yield
        finally:
            server.unseal()

    def handed_out(self) -> str:
        """Return the access key that whoever asks now is given."""
        done = self._run(*COMMAND.split(), "get", "--profile=webapp", **self.environ)
        return str(json.loads(done.stdout)["AccessKeyId"])

    def count(self) -> int:
        """Return how often programs have asked."""
        return len(self._noted.read_text().splitlines())

    def signed(self) -> list[tuple[str, str]]:
        """Return key and outcome of each request of this application that AWS has seen."""
        return [(key, outcome) for key, outcome in self.tenant.laboratory.cloud.requests if key in self.keys]

    def secrets_in(self, text: str) -> list[Secret]:
        """Return what stands in a text, in whatever form, of all that is secret here; tokens by the look of them."""
        look = re.escape(self.tenant.laboratory.server.root_token.partition(".")[0]) + r"\.[\w-]{20,}"
        return [*Search(self._secrets).found(text), *(Secret("Vault token", one) for one in re.findall(look, text))]


class ByEndpoint(Way):
    """By ``serve``; programs know of no profile."""

    name = "endpoint"

    def __init__(self, tenant: Tenant, run: Run, stack: contextlib.ExitStack) -> None:
        """Prepare it: it begins to serve with the first pair."""
        super().__init__(tenant, run)
        self._stack = stack
        self._serving: Serving | None = None
        self._asked = 0

    def issue(self, life: int = LIFE) -> str:
        key = super().issue(life)
        if self._serving is None:
            self._serving = self._stack.enter_context(Serving("--profile=webapp", AWS_CONFIG_FILE=self.config))
            self._secrets.append(Secret("endpoint token", self._serving.token))
        return key

    @property
    def serving(self) -> Serving:
        """The command that serves."""
        assert self._serving is not None
        return self._serving

    @property
    def environ(self) -> dict[str, str]:
        return {**self.place, **self.serving.environ}

    @property
    def with_token(self) -> dict[str, str]:
        return {**self.place, URI: self.serving.environ[URI], TOKEN: self.serving.token}

    def _ask(self, path: str) -> Answer:
        self._asked += 1
        return self.serving.ask(path)

    def handed_out(self) -> str:
        return str(self._ask("/").json["AccessKeyId"])

    def count(self) -> int:
        earlier, metrics = self._asked, self._ask("/metrics").body.decode()
        answered = re.findall(r"^\w+_requests_total\{.*\} (\d+)$", metrics, re.MULTILINE)
        return sum(map(int, answered)) - earlier
