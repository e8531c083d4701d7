"""A fault of the server itself: brought about between two requests of a client, and undone afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import requests

from vault_credential_process.cache.entry import TokenEntry
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory
from vault_credential_process.demo.server import VaultServer
from vault_credential_process.testing.scripted import Request

from ..certificates import Authority
from .faults import PATIENT, Fault
from .proxy import FaultProxy, Meeting, Stage
from .trial import Trial, WireCase

AT_THE_SERVER = cast(Stage, "server")
"""The stage of these faults: the request is on its way to the server and not there yet."""

_MOMENT = re.compile(rb"[0-9]+\.[0-9]+")


class Gate(FaultProxy):
    """Passes everything on; what was armed happens to the server just before it gets the request."""

    def _forwarded(self, request: Request, path: str, kind: str) -> bytes:
        act = self._met(AT_THE_SERVER, kind)
        if act is not None:
            act(Meeting(cast(Any, None), path))
        return super()._forwarded(request, path, kind)


@dataclasses.dataclass(frozen=True)
class ServerFault:
    """One fault: what is done to the server, at which moments that means something, and how the client is set up.

    ``pause`` are the seconds that the client waits before a new try, at least. ``outside`` gives it a token of somebody
    else's; ``namespaced`` puts all that it uses into a namespace.
    """

    name: str
    act: Callable[[ServerTrial], object]
    moments: tuple[str, ...]
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    within: float = PATIENT
    pause: float = 0.05
    outside: bool = False
    namespaced: bool = False


@dataclasses.dataclass(frozen=True)
class ServerCase(WireCase):
    """A row of the server's table."""

    what: ServerFault

    @classmethod
    def of(cls, what: ServerFault, moment: str) -> ServerCase:
        """Return the row of a fault at a moment."""
        how = Fault(what.name, AT_THE_SERVER, lambda _: None, settings=what.settings, within=what.within)
        return cls(what.name, moment, what.within, how, what)


class Namespace:
    """A namespace of a server, for a laboratory of its own."""

    def __init__(self, server: VaultServer, name: str) -> None:
        """Make the namespace."""
        self._server, self.name = server, name
        self.engine = dataclasses.replace(server.engine, real=False)
        self.address = server.address
        self._key = ""
        self.repair()

    def repair(self) -> None:
        """Make the namespace, if it is not there, and unlock it."""
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            try:
                self._server.call("POST", f"sys/namespaces/{self.name}", {})
                break
            except requests.HTTPError:  # the one before is on its way out
                time.sleep(0.05)
        if self._key:
            self._server.call("POST", f"sys/namespaces/api-lock/unlock/{self.name}", {"unlock_key": self._key})
            self._key = ""

    def delete(self) -> None:
        """Delete the namespace with all that is in it, and wait until it is gone."""
        self._server.call("DELETE", f"sys/namespaces/{self.name}")
        limit = time.monotonic() + 20
        with contextlib.suppress(requests.HTTPError):
            while self._server.call("GET", f"sys/namespaces/{self.name}") and time.monotonic() < limit:
                time.sleep(0.01)
        assert time.monotonic() < limit

    def lock(self) -> None:
        """Let nobody use the namespace."""
        locked = self._server.call("POST", f"sys/namespaces/api-lock/lock/{self.name}", {})
        self._key = str(locked["data"]["unlock_key"])

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        """Send a request of the administrator to the namespace."""
        return self._server.call(method, f"{self.name}/{path}", body, **options)

    def mount_aws(self) -> None:
        """Mount what stands in for the engine."""
        self.call("POST", "sys/mounts/aws", {"type": "kv", "options": {"version": "1"}})


class ServerTrial(Trial):
    """A client whose server breaks under it."""

    def __init__(self, case: ServerCase, laboratory: Laboratory, home: pathlib.Path, authority: Authority) -> None:
        """Make the application; nothing is asked for yet."""
        self.what = case.what
        self.real = laboratory.server
        self.namespace = None
        if self.what.namespaced:
            self.namespace = Namespace(self.real, f"ns{os.urandom(4).hex()}")
            laboratory = Laboratory(cast(VaultServer, self.namespace), laboratory.cloud, laboratory.directory)
        super().__init__(case, laboratory, home, authority)
        self.how = dataclasses.replace(case.how, act=lambda _: self.what.act(self))
        self.proxy._close()
        self.proxy = Gate(self.real.address)
        self.environ["VAULT_ADDR"] = self.proxy.address
        if self.namespace is not None:
            self.environ["VAULT_NAMESPACE"] = self.namespace.name
        if self.what.outside:
            self.environ["VAULT_AUTH_METHOD"] = "token"
            self.at = dataclasses.replace(self.at, after=None)
            self._hand_out()

    def _hand_out(self) -> None:
        """Give the client a token of somebody else's."""
        made = self.real.call("POST", "auth/token/create", {"policies": [self.tenant.role], "ttl": "24h"})
        self.environ["VAULT_TOKEN"] = made["auth"]["client_token"]

    def entries(self) -> dict[str, bytes | None]:
        """Return what is in the cache, without the notes of when something was tried last."""
        return {key: content for key, content in super().entries().items() if not _MOMENT.fullmatch(content or b"")}

    def live_tokens(self) -> set[str]:
        """Return the client's tokens: those that it got just now, and the one that it keeps or was given."""
        now = time.time() + self.past
        kept = (TokenEntry.load(content, now) for content in self.entries().values())
        found = {*self.tokens(), *(entry.token.value for entry in kept if entry and entry.token.value)}
        return found | ({self.environ["VAULT_TOKEN"]} if self.what.outside else set())

    def _called(self) -> tuple[str, int, float]:
        return super()._called() if self.case.moment == "login" else self._asked()

    def _look_around(self) -> None:
        super()._look_around()
        self.repair()

    def repair(self) -> None:
        """Put everything in its place again: the server unsealed; namespace, mounts, policies and roles."""
        state = self.real.call("GET", "sys/seal-status")
        if not state["initialized"]:
            self.real.initialize()
        elif state["sealed"]:
            self.real.unseal()
        if self.namespace is not None:
            self.namespace.repair()
        server = self.laboratory.server
        with _there_already():
            server.call("POST", "sys/auth/approle", {"type": "approle"})
        with _there_already():
            self.laboratory.mount()
            prepare(self.laboratory)
        self.real.call("DELETE", f"sys/quotas/rate-limit/{self.tenant.role}")
        self._make_app_role()
        self.make_role()

    def _make_app_role(self) -> None:
        """Make the client's policy and AppRole, with the Role ID and the Secret ID that the client knows."""
        role, given, server = self.tenant.role, self.tenant.approle, self.laboratory.server
        rules = (READ_POLICY.format(mount="aws", endpoint=e, role=role) for e in ("creds", "sts", "static-creds"))
        self.laboratory.allow(role, "".join(rules))
        path, life = f"auth/approle/role/{role}", "1h" if self.case.moment == "renewal (token)" else "24h"
        server.call("POST", path, {"token_policies": [role], "token_ttl": life})
        server.call("POST", f"{path}/role-id", {"role_id": given["role_id"]})
        with contextlib.suppress(requests.HTTPError):
            server.call("POST", f"{path}/custom-secret-id", {"secret_id": given["secret_id"]})

    def _goes_on(self) -> None:
        if self.what.outside:
            self._hand_out()
        super()._goes_on()

    def _words(self, sees: str, code: int) -> str:
        words = super()._words(sees, code)
        return words if self.namespace is None else words.replace(self.namespace.name, "team")

    def _assert_users(self) -> None:
        """AWS has no more IAM users than the server was asked for."""
        iam = self.laboratory.cloud.client("iam", **self.laboratory.cloud.engine_keys)
        pages = iam.get_paginator("list_users").paginate()
        made = sum(self.tenant.role in user["UserName"] for page in pages for user in page["Users"])
        assert made <= len(self.keys()) + (self.held is not None)

    def _assert_once(self, passed: Mapping[str, int]) -> None:
        """Whatever happens, at most one login and one read of an IAM user have succeeded for this call."""
        good = [answer.kind for answer in self.proxy.answers if answer.status == 200]
        assert good.count("login") <= 1
        if self.at.makes == "iam_user":
            assert good.count("read") <= 1


@contextlib.contextmanager
def _there_already() -> Iterator[None]:
    """Let something be there."""
    try:
        yield
    except requests.HTTPError as error:
        if "path is already in use" not in str(error):
            raise


def prepare(laboratory: Laboratory) -> None:
    """Give leases of the real engine an end."""
    if laboratory.server.engine.real:
        laboratory.server.call("POST", "aws/config/lease", {"lease": "1h", "lease_max": "24h"})
