"""One row of the wire's table, measured: a client of its own, a fault at a moment, and a look at all that is left."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
import requests

from vault_credential_process import auth, cache
from vault_credential_process.cache.entry import Entry, Keepsake, TokenEntry
from vault_credential_process.cache.place import is_half_done
from vault_credential_process.cache.runtime import Runtime
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.errors import AuthenticationError, VaultCredentialError
from vault_credential_process.expiry import refresh_margin
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.lock import FileLock

from ..certificates import DAY, Authority
from ..conftest import Tenant, new_tenant
from ..test_command import document, refusal
from .faults import DNS, PATIENT, Fault
from .proxy import FaultProxy
from .table import FRESH, NOTHING, OLD, Case, Outcome, plain, several

START = 15.0
"""Seconds that a busy machine may need to start an interpreter; they are no part of the call."""


@dataclasses.dataclass(frozen=True)
class Moment:
    """Which request a fault meets, what the call asks for just before it, and what the role makes."""

    kind: str
    after: str | None = None
    makes: str = "sts"


AT = {
    "login": Moment("login", makes="iam_user"),
    "first read": Moment("read", after="login", makes="iam_user"),
    "read (IAM user)": Moment("read", after="login", makes="iam_user"),
    "read (STS)": Moment("read"),
    "renewal (token)": Moment("renewal (token)"),
    "renewal (lease)": Moment("renewal (lease)", makes="iam_user"),
    "revocation (logout)": Moment("revocation"),
    "revocation (tidy)": Moment("revocation", after="read"),
}


@dataclasses.dataclass(frozen=True)
class WireCase(Case):
    """A row of the wire's table."""

    how: Fault


class Trial:
    """A client of its own, with its role, its cache and its man in the middle."""

    def __init__(self, case: WireCase, laboratory: Laboratory, home: pathlib.Path, authority: Authority) -> None:
        """Make the application; nothing is asked for yet."""
        self.case, self.how, self.at = case, case.how, AT[case.moment]
        self.laboratory = laboratory
        self.home = home
        lives = "1h" if case.moment == "renewal (token)" else "24h"
        self.tenant: Tenant = new_tenant(laboratory, home, token_ttl=lives)
        self.make_role()
        self.proxy = FaultProxy(laboratory.server.address, tls=self._listener(authority) if self.how.tls else None)
        self.held: str | None = None
        self.held_lease = ""
        self.earlier: dict[str, str] = {}
        """Tokens that the server gave before the fault, and that are still kept then, with their accessors."""
        self.is_refused = False
        """Whether it is remembered that the Secret ID was refused."""
        self.past = 0.0
        """Seconds by which the client's clock is ahead."""
        self.environ = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "TMPDIR": str(home / "tmp"),
            "AWS_CONFIG_FILE": str(home / "no-config"),
            "VAULT_ADDR": laboratory.server.address if self.how.via_proxy else self.proxy.address,
            "VAULT_ROLE_ID": self.tenant.approle["role_id"],
            "VAULT_SECRET_ID": self.tenant.approle["secret_id"],
            "VAULT_AWS_ROLE": self.tenant.role,
            "VAULT_AWS_PROBE": "off",
            "VAULT_MAX_RETRIES": "1",
            "VAULT_AWS_TIMEOUT": f"{PATIENT:g}s",
            "VAULT_CACERT": str(authority.certificate),
        }
        if self.how.via_proxy:
            self.environ["VAULT_PROXY_ADDR"] = self.proxy.address
        if case.moment == "revocation (tidy)":
            self.environ["VAULT_AWS_CACHE"] = "none"
        (home / "tmp").mkdir()

    def _listener(self, authority: Authority) -> ssl.SSLContext:
        """Return the settings of a listener with the certificate that the row wants."""
        wrong = self.how.certificate
        if wrong == "nobody trusts":
            authority = Authority(self.home, "stranger")
        name = "vault.example.com" if wrong == "is for another name" else "127.0.0.1"
        return authority.issue(name, life=-DAY / 24 if wrong == "has expired" else DAY).listener()

    @property
    def _is_elsewhere(self) -> bool:
        """Tell whether the fault is not one that a proxy does to a connection."""
        return bool(self.how.certificate) or self.how.name == DNS

    def make_role(self) -> None:
        """Make the role, or on the stand-in a pair that was not there before."""
        server, role = self.laboratory.server, self.tenant.role
        if server.engine.real:
            if self.at.makes == "iam_user":
                self.laboratory.iam_user(role)
            else:
                self.laboratory.assumed_role(role)
        else:
            data: dict[str, Any] = {"access_key": f"AKIA{uuid.uuid4().hex[:16].upper()}", "secret_key": "wJalrXUtnFEMI"}
            if self.at.makes == "sts":
                data |= {"security_token": "FwoGZXIvYXdz", "ttl": 900}
            self.laboratory.write(role, data)

    def fetcher(self, **environ: str) -> Fetcher:
        """Return a fetcher in this process, whose clock is ahead, on the row's own cache."""
        given = {**self.environ, **environ}
        config = auth.configure({}, given, None)
        backend = cache.choose(config.vault_aws_cache or "auto", given)
        return Fetcher(config, cache=backend, clock=lambda: time.time() + self.past)

    @property
    def backend(self) -> Runtime:
        """The row's own cache."""
        return Runtime.open(self.environ)

    def entries(self) -> dict[str, bytes | None]:
        """Return what is in the cache."""
        backend = self.backend
        return {key: backend.get(key) for key in iter(backend.keys())}

    def measure(self) -> Outcome:
        """Bring the fault about and return what came of it."""
        with self.proxy:
            if self.case.moment not in ("login", "first read", "revocation (tidy)"):
                self._prime()
            self.proxy.reset()
            how = self.how
            if not self._is_elsewhere:
                self.proxy.arm(how.stage, how.act, kind=self.at.kind, always=how.always, after=self.at.after)
            begin = time.monotonic()
            sees, code, allowed = self._called()
            seconds = max(0.0, time.monotonic() - begin - allowed)
            self._look_around()
            passed = dict(self.proxy.passed)
            assert self.proxy.met or self._is_elsewhere
            left = self.left(sees)
            self.proxy.disarm()
            outcome = Outcome(self._words(sees, code), code, passed, seconds, left)
            self._assert_once(passed)
            self._goes_on()
            return outcome

    def _prime(self) -> None:
        """Make what is held at the moment, and let the clock come to it."""
        fetcher = self.fetcher()
        pair = fetcher.fetch()
        self.held, self.held_lease = pair.access_key, pair.lease_id
        if self.case.moment == "renewal (token)":
            self.past = 3600 - refresh_margin(3600) / 2
        elif self.at.kind != "revocation":
            self.past = pair.seconds_left(time.time()) - refresh_margin(pair.life) / 2
        if self.at.after == "login":
            for key, content in self.entries().items():
                if TokenEntry.load(content, time.time()):
                    self.backend.delete(key)
        else:
            self.earlier = self.tokens()
        if not self.laboratory.server.engine.real:
            self.make_role()

    def _called(self) -> tuple[str, int, float]:
        """Make the call; return the access key or the line, the exit code, and seconds that do not count."""
        if self.case.moment in ("login", "first read") and "VAULT_AWS_TIMEOUT" not in self.how.settings:
            done = subprocess.run(
                [sys.executable, "-m", "vault_credential_process", "get"],
                env={**self.environ, **self.how.settings},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode:
                return refusal(done, done.returncode), done.returncode, START
            return str(document(done)["AccessKeyId"]), 0, START
        return self._asked()

    def _asked(self) -> tuple[str, int, float]:
        """Make the call in this process."""
        fetcher = self.fetcher(**self.how.settings)
        try:
            if self.case.moment == "revocation (logout)":
                return fetcher.forget(revoke=True, roles=True)[0], 0, 0
            return fetcher.fetch().access_key, 0, 0
        except VaultCredentialError as error:
            return str(error), error.exit_code, 0

    def _words(self, sees: str, code: int) -> str:
        if code or self.case.moment == "revocation (logout)":
            for secret in (self.environ["VAULT_SECRET_ID"], *self.tokens()):
                assert secret not in sees
            return plain(sees, {self.tenant.role: "webapp", self.environ["VAULT_CACERT"]: "ca.pem"})
        if sees == self.held:
            return OLD
        assert sees in self.keys()
        return FRESH

    def tokens(self) -> dict[str, str]:
        """Return the tokens that the server gave in this row, with their accessors."""
        logins = [
            answer.body["auth"] for answer in self.proxy.answers if answer.kind == "login" and "auth" in answer.body
        ]
        return {login["client_token"]: login["accessor"] for login in logins}

    def reads(self) -> list[tuple[str, str]]:
        """Return the access keys that the server gave in this row, with their leases."""
        reads = [answer.body for answer in self.proxy.answers if answer.kind == "read" and answer.body.get("data")]
        return [(read["data"]["access_key"], read["lease_id"]) for read in reads]

    def keys(self) -> dict[str, str]:
        """Return the same by access key."""
        return dict(self.reads())

    def left(self, sees: str) -> str:
        """Return what lives on at the server although nobody holds it, and what is held although it is dead."""
        contents = list(self.entries().values())
        now = time.time() + self.past
        pairs = [entry.credentials.access_key for entry in (Entry.load(c, now) for c in contents) if entry]
        tokens = [kept.token.value for kept in (TokenEntry.load(c, now) for c in contents) if kept]
        notes = [content for content in contents if Keepsake.load(content, now)]
        assert len(pairs) + len(tokens) + len(notes) == len(contents)

        def alive(given: dict[str, str]) -> int:
            lost = (accessor for token, accessor in given.items() if token not in tokens)
            return sum(self._lives("auth/token/lookup-accessor", accessor=accessor) for accessor in lost)

        parts = {"earlier token": alive(self.earlier), "token": alive(self.tokens())}
        parts["dead token (in the cache)"] = sum(not self._lives("auth/token/lookup", token=token) for token in tokens)
        parts["note (in the cache: a refused Secret ID)"] = len(notes)
        self.is_refused = bool(notes)
        held, lost = {*pairs, sees}, []
        for key, lease in reversed(self.reads()):  # the stand-in gives the same key twice; the last was received
            lost += [] if key in held else [lease]
            held.discard(key)
        if self.laboratory.server.engine.real:
            lost = [lease for lease in lost if self._lives("sys/leases/lookup", lease_id=lease)]
            self._assert_users()
        if self.case.moment == "renewal (lease)" and self.held not in pairs:
            parts["earlier IAM user"] = int(self._lives("sys/leases/lookup", lease_id=self.held_lease))
        parts["IAM user" if self.at.makes == "iam_user" else "STS pair"] = len(lost)
        return ", ".join(several(number, what) for what, number in parts.items() if number) or NOTHING

    def _assert_users(self) -> None:
        """AWS has an IAM user for each read that the server answered, and no other."""
        if self.at.makes == "iam_user":
            iam = self.laboratory.cloud.client("iam", **self.laboratory.cloud.engine_keys)
            pages = iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 1000})
            names = [user["UserName"] for page in pages for user in page["Users"]]
            made = sum(self.tenant.role in name for name in names)
            assert made == len(self.reads()) + (self.held is not None)

    def _lives(self, path: str, **body: str | None) -> bool:
        """Ask the administrator's way whether a token or lease is alive."""
        try:
            self.laboratory.server.call("POST", path, body)
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code in (400, 403, 404):
                return False
            raise
        return True

    def _look_around(self) -> None:
        """No lock is held, no file is half done, no connection is open."""
        assert self.proxy.is_left()
        assert list((self.home / "tmp").iterdir()) == []
        directory = pathlib.Path(self.backend.directory)
        for path in directory.iterdir():
            assert not is_half_done(path.name), path.name
            if path.suffix == ".lock":
                lock = FileLock(str(path))
                assert lock.try_acquire(), path.name
                lock.release()

    def _assert_once(self, passed: Mapping[str, int]) -> None:
        """Whatever happens, what may make a second token or IAM user reaches the server once."""
        assert passed.get("login", 0) <= 1
        if self.at.makes == "iam_user":
            assert passed.get("read", 0) <= 1

    def _goes_on(self) -> None:
        """Once the fault is over the next call gets credentials; a Secret ID that was refused is not sent again."""
        if self.is_refused:
            with pytest.raises(AuthenticationError, match="login refused before"):
                self.fetcher().fetch()
            return
        if not self._is_elsewhere and "VAULT_ADDR" not in self.how.settings:
            assert self.fetcher().fetch().access_key
