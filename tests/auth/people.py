"""People who log in: somebody at the terminal, and a real server whose own identity provider knows alice."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import requests

from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.demo.server import free_port
from vault_credential_process.models import VaultToken

from ..conftest import COMMAND
from ..pages import Page
from .methods import log_in

CODE = "canary-code"
PASSWORD = "correct-horse"


class Somebody:
    """A person who does one thing with the address to log in at; without it, one who has no browser."""

    def __init__(self, visit: Callable[[str], object] | None = None) -> None:
        self.visit = visit
        self.told: list[str] = []
        self.done = threading.Event()
        self.answers: list[str] = []

    def ask(self, question: str) -> str:
        """Give the next answer that the test laid out."""
        del question
        return self.answers.pop(0)

    def tell(self, line: str) -> None:
        """Remember the line; a person without a browser carries the address to one."""
        self.told.append(line)

    def browse(self, address: str) -> bool:
        """Visit the address."""
        if self.visit is None:
            return False
        self.visit(address)
        self.done.set()
        return True

    @property
    def address(self) -> str:
        """The address that was told."""
        return next(word for line in self.told for word in line.split() if word.startswith("http"))


def fetch(address: str, **parameters: str) -> requests.Response:
    """Open a page as a browser without a proxy does."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(address, params=parameters, timeout=30, allow_redirects=False)


def come_back(address: str, **parameters: str) -> requests.Response:
    """Play the provider: send the browser back to where the address says."""
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))
    return fetch(query["redirect_uri"], **({"state": query["state"], "code": CODE} | parameters))


@contextlib.contextmanager
def logging_in(home: pathlib.Path, *flags: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``login`` on the profile that :func:`.methods.get` wrote; it is ended if the test ends first."""
    command = (*COMMAND.split(), "login", "--profile", "webapp", *flags)
    with subprocess.Popen(
        command,
        env={**os.environ, "AWS_CONFIG_FILE": str(home / "config"), **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class People:
    """A real server with its own identity provider, set up as the page tells, and one person, alice."""

    def __init__(self, laboratory: Laboratory) -> None:
        self.laboratory = laboratory
        self.port = free_port()
        server = self.server = laboratory.server
        server.call("POST", "sys/auth/userpass", {"type": "userpass"})
        server.call("POST", "auth/userpass/users/alice", {"password": PASSWORD})
        self.alice = server.call("POST", "auth/userpass/login/alice", {"password": PASSWORD})["auth"]
        self.direct = f"{server.address}/v1/auth/oidc/oidc/callback"
        uris = [f"http://localhost:{self.port}/oidc/callback", self.direct]
        server.call("POST", "identity/oidc/client/vault", {"redirect_uris": uris, "assignments": ["allow_all"]})
        client = server.call("GET", "identity/oidc/client/vault")["data"]
        replacing = {
            "https://idp.example.com": f"{server.address}/v1/identity/oidc/provider/default",
            "oidc_client_id=vault": f"oidc_client_id={client['client_id']}",
            "c0ffee-c0ffee": client["client_secret"],
            "8250/oidc": f"{self.port}/oidc",
        }
        Page("oidc").set_up(server, laboratory.directory, replacing)

    def keys(self, **keys: str) -> dict[str, str]:
        """Return the keys of the page's profile, with others."""
        return {**Page("oidc").profile(), "vault_oidc_callback_port": str(self.port), **keys}

    def authorize(self, address: str) -> dict[str, str]:
        """Log in at the provider as alice, without a page; return what it sends the browser back with."""
        query = urllib.parse.urlsplit(address).query
        path = f"identity/oidc/provider/default/authorize?{query}"
        given = self.server.call("GET", path, token=self.alice["client_token"])
        return {"state": given["state"], "code": given["code"]}

    def visit(self, address: str) -> requests.Response:
        """Log in as alice and come back."""
        return come_back(address, **self.authorize(address))

    def write(self, role: str, **settings: Any) -> None:
        """Make a role."""
        common = {"user_claim": "sub", "token_policies": "webapp", "allowed_redirect_uris": "unused"}
        self.server.call("POST", f"auth/oidc/role/{role}", common | settings)

    def log_in(self, visit: Callable[[str], object], **keys: str) -> VaultToken:
        """Log in with the page's profile."""
        given = self.keys(**keys)
        given.pop("vault_addr")
        return log_in(self.server.address, given, person=Somebody(visit))
