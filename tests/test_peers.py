"""The peers themselves: they start, tell right from wrong, and are gone afterwards."""

from __future__ import annotations

import http.server
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from vault_credential_process.demo.server import DIRECTLY, VaultServer

from . import peers

USERS = {"alice": 'wonder\'land \\ "%{User-Name}" ü', "bob b": "builder"}


@pytest.fixture(scope="module")
def older() -> Iterator[VaultServer]:
    """A real server that has the auth methods ldap and radius."""
    with VaultServer(peers.older_engine()) as server:
        yield server


def log_in(server: VaultServer, method: str, name: str, password: str) -> tuple[int, Any]:
    """Return the status of a login, and its policies or the text of its refusal."""
    url = f"{server.address}/v1/auth/{method}/login/{name}"
    answer = requests.post(url, json={"password": password}, timeout=30, proxies=DIRECTLY)
    body = answer.json()
    return answer.status_code, body["auth"]["policies"] if answer.ok else body["errors"][0]


@peers.needs("slapd")
def test_ldap_tells_right_from_wrong(older: VaultServer) -> None:
    """The directory lets people in by their passwords, refuses others, and can go away and come back."""
    with peers.LdapServer(USERS) as directory:
        older.call("POST", "sys/auth/ldap", {"type": "ldap"})
        settings = {"url": directory.url, "userdn": directory.user_dn, "userattr": "uid", "token_policies": "webapp"}
        search = {"binddn": directory.bind_dn, "bindpass": directory.bind_password}
        older.call("POST", "auth/ldap/config", {**settings, **search})
        refused = (400, "ldap operation failed: failed to bind as user")

        assert [log_in(older, "ldap", *user) for user in USERS.items()] == [(200, ["default", "webapp"])] * 2
        assert log_in(older, "ldap", "alice", "wrong") == refused
        assert log_in(older, "ldap", "nobody", "wrong") == refused

        directory.stop()
        status, text = log_in(older, "ldap", "alice", USERS["alice"])
        assert (status, "connection refused" in text) == (400, True)

        directory.start()
        assert log_in(older, "ldap", "alice", USERS["alice"])[0] == 200
    assert not directory.directory.exists()


@peers.needs("freeradius")
def test_radius_tells_right_from_wrong(older: VaultServer) -> None:
    """The RADIUS server lets people in by their passwords, refuses others, and can go away and come back."""
    with peers.RadiusServer(USERS) as radius:
        older.call("POST", "sys/auth/radius", {"type": "radius"})
        settings = {"host": radius.host, "port": radius.port, "secret": radius.secret}
        older.call("POST", "auth/radius/config", {**settings, "unregistered_user_policies": "webapp"})
        refused = (400, "access denied by the authentication server")

        assert [log_in(older, "radius", *user) for user in USERS.items()] == [(200, ["default", "webapp"])] * 2
        assert log_in(older, "radius", "alice", "wrong") == refused
        assert log_in(older, "radius", "nobody", "wrong") == refused

        radius.stop()
        status, text = log_in(older, "radius", "alice", USERS["alice"])
        assert (status, "connection refused" in text) == (400, True)

        radius.start()
        assert log_in(older, "radius", "alice", USERS["alice"])[0] == 200
    assert not radius.directory.exists()


class Pages(http.server.BaseHTTPRequestHandler):
    """``/start`` redirects to a form; its script sends it on to ``/callback``."""

    def do_GET(self) -> None:
        """Answer with a redirect, the form, or what the form was sent with."""
        if self.path == "/start":
            self.send_response(302)
            self.send_header("Location", "/form")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(FORM if self.path == "/form" else f"<p>{self.path}</p>".encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


FORM = b"""<form action="/callback"><input name="name"><select name="method"><option value="token">
<option value="userpass"></select><button>Sign in</button></form>
<script>document.title = "made by a script"</script>"""


@pytest.fixture
def pages() -> Iterator[str]:
    """The address of a loopback server with pages."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@pytest.mark.system
@peers.needs("chromium")
def test_browser_visits(pages: str, tmp_path: pathlib.Path) -> None:
    """The browser follows redirects, runs scripts, fills in a form, and shows what it sees."""
    with peers.Browser() as browser:
        assert "made by a script" in browser.visit(f"{pages}/start")
        assert browser.address == f"{pages}/form"

        browser.choose("select", "userpass")
        browser.fill("input", "alice & co")
        browser.click("button")
        browser.wait("location.pathname === '/callback'")
        assert "/callback?name=alice+%26+co&amp;method=userpass" in browser.dom()

        script = "document.querySelector('button').click()"
        assert "/callback?name=&amp;" in browser.visit(f"{pages}/start", script=script, until="location.search")

        browser.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")

        with pytest.raises(peers.PageError, match="ERR_NAME_NOT_RESOLVED"):
            browser.visit("http://www.example.com/")
    assert not browser.directory.exists()


@pytest.mark.parametrize("program", list(peers.PROGRAMS))
def test_what_is_missing_is_named(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A skip says which program is not here and how to get it."""
    monkeypatch.setitem(peers.PROGRAMS, program, (("no-such-program",), peers.PROGRAMS[program][1]))

    assert peers.needs(program).kwargs == {"reason": f"no {program}: apt-get install {program}"}
    assert peers.needs(program).args == (True,)
