"""Nothing waits for ever: every call that can wait states a limit, or stands here with the reason why it need not."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import pytest

from .conftest import ROOT

PACKAGE = ROOT / "vault_credential_process"

KNOWN = {
    ("aio.py", "asyncio.wait"): "for a thread whose call has a deadline",
    ("aio.py", "flight.result"): "of a future that is done",
    ("auth/callback.py", "socket.create_server"): "is read from only where a selector with a limit found something",
    ("cli/exec/child.py", "os.waitpid"): "for a process that was killed",
    ("cli/exec/child.py", "process.wait"): "on Windows, for the program of exec, which runs as long as it likes",
    ("cli/exec/child.py", "subprocess.Popen"): "the same program",
    ("cli/handover.py", "listening.join"): "for a loop that was shut down and looks ten times a second",
    ("cli/notify.py", "socket.socket"): "has its time-out before it connects",
    ("cli/serve.py", "thread.join"): "for a thread whose fetch has a deadline",
    ("cli/terminal.py", "getpass.getpass"): "on Windows, where nobody can be hurried",
    ("cli/terminal.py", "subprocess.Popen"): "a browser, which is not waited for",
    ("commands.py", "process.wait"): "for a process that was killed",
    ("commands.py", "subprocess.Popen"): "what it prints is read with a limit",
    ("connections.py", "socket.socket"): "has its time-out before it connects",
    ("demo/proxy.py", "back.join"): "the other direction ends with the connection",
    ("demo/proxy.py", "socket.create_connection"): "to the demo's own server",
    ("demo/proxy.py", "socket.create_server"): "serves the demo, in a thread that ends with it",
    ("demo/server.py", "socket.socket"): "is bound, to find a free port, and closed",
    ("demo/server.py", "subprocess.Popen"): "the demo's server, which the demo ends",
    ("demo/tour.py", "process.wait"): "for a process that was killed",
    ("demo/tour.py", "subprocess.Popen"): "is waited for with a limit",
    ("server/role.py", "fetch.result"): "of a future that is done",
    ("server/__init__.py", "self._told.wait"): "inside of a wait that has a limit",
    ("server/sockets.py", "socket.socket"): "is bound, and accepts on an event loop alone",
    ("testing/cache.py", "waiter.join"): "a test's own thread",
    ("testing/scripted.py", "socket.socket"): "a test's own server",
}
"""Calls without a limit of their own, by file and name, and why they do not wait for ever."""

ALWAYS = {
    "socket.socket", "socket.create_server", "subprocess.Popen", "requests.Session", "getpass.getpass", "input",
    "os.wait", "signal.pause", "signal.sigwait", "sys.stdin.read", "sys.stdin.readline", "requests.session",
}  # fmt: skip
"""Calls that take no limit."""

LIMIT_BY_NAME = {
    "subprocess.run": "timeout", "subprocess.call": "timeout", "subprocess.check_call": "timeout",
    "subprocess.check_output": "timeout", "asyncio.wait": "timeout", "concurrent.futures.wait": "timeout",
    "requests.get": "timeout", "requests.post": "timeout", "requests.put": "timeout", "requests.request": "timeout",
    "requests.head": "timeout", "requests.delete": "timeout", "urllib.request.urlopen": "timeout",
    "http.client.HTTPConnection": "timeout", "http.client.HTTPSConnection": "timeout",
    "socket.create_connection": "timeout", "botocore.httpsession.URLLib3Session": "timeout", "hvac.Client": "timeout",
}  # fmt: skip
"""Calls that must be given their limit by name."""

LIMIT_BY_PLACE = {"wait", "join", "acquire", "communicate", "result", "select", "get"}
"""Methods that wait for ever when they are called with nothing at all; ``"".join`` and ``{}.get`` never are."""


def unlimited(source: str) -> Iterator[str]:
    """Name each call in a source that may wait for ever."""
    tree = ast.parse(source)
    renamed = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ("subprocess", "requests", "socket", "getpass", "hvac")
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            name = renamed.get(name, name)
            if is_unlimited(node, name):
                yield name


def is_unlimited(call: ast.Call, name: str) -> bool:
    """Tell whether a call may wait for ever."""
    given = {keyword.arg for keyword in call.keywords}
    if name in ALWAYS:
        return True
    if name in LIMIT_BY_NAME:
        return LIMIT_BY_NAME[name] not in given
    if name == "select.select":
        return len(call.args) < 4
    if name in ("fcntl.flock", "fcntl.lockf"):
        return not any(flag in ast.unparse(call) for flag in ("LOCK_NB", "LOCK_UN"))
    if name == "os.waitpid":
        return "WNOHANG" not in ast.unparse(call)
    return name.rpartition(".")[2] in LIMIT_BY_PLACE and "." in name and not call.args and not call.keywords


def test_every_wait_has_a_limit() -> None:
    """A call that may wait for ever stands in the list above with its reason, and the list holds no other."""
    found = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in unlimited(path.read_text(encoding="utf-8"))
    }

    assert found == set(KNOWN)


@pytest.mark.parametrize(
    "call",
    [
        "subprocess.run(['x'])",
        "subprocess.check_output(['x'], stderr=None)",
        "subprocess.Popen(['x'])",
        "process.wait()",
        "process.communicate()",
        "thread.join()",
        "lock.acquire()",
        "future.result()",
        "queue.get()",
        "selector.select()",
        "select.select([a], [], [])",
        "asyncio.wait([a])",
        "requests.get('https://x')",
        "requests.Session()",
        "urllib.request.urlopen('https://x')",
        "socket.create_connection(('x', 1))",
        "socket.socket()",
        "hvac.Client(url='x')",
        "fcntl.flock(1, fcntl.LOCK_EX)",
        "os.waitpid(1, 0)",
        "input()",
        "from subprocess import run as go; go(['x'])",
        "from requests import post; post('https://x')",
    ],
)
def test_search_finds_what_waits(call: str) -> None:
    """The search above would find each of these, inside a function too."""
    assert len(list(unlimited(f"def f():\n    {call}\n"))) == 1


@pytest.mark.parametrize(
    "call",
    [
        "subprocess.run(['x'], timeout=3)",
        "process.wait(3)",
        "thread.join(3)",
        "lock.acquire(timeout=3)",
        "lock.acquire(blocking=False)",
        "', '.join(parts)",
        "mapping.get('key')",
        "select.select([a], [], [], 3)",
        "requests.get('https://x', timeout=3)",
        "fcntl.flock(1, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "wait()",
    ],
)
def test_search_lets_limits_pass(call: str) -> None:
    """What has a limit, or only shares a name, is not found."""
    assert not list(unlimited(call))


def test_wire_page_holds_the_table(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``docs/wire.md`` is what the generator makes of it, and the generator finds a table that is not."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import generate

    page = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
    stale = page.replace("| again | no |", "| again | again |")

    assert stale != page == generate.wire(stale) == generate.wire(page)
    monkeypatch.setattr(generate, "WIRE", tmp_path / "wire.md")
    generate.WIRE.write_text(stale, encoding="utf-8")
    assert generate.main(["--check"]) == 1
