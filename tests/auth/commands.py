"""The set-up commands of a page whose method no server here has: run by the real program, at a scripted server."""

from __future__ import annotations

import pathlib
import tempfile
from types import SimpleNamespace
from typing import Any, cast

from vault_credential_process.demo.server import VaultServer
from vault_credential_process.testing.scripted import ScriptedServer, reply

from ..conftest import ENGINE
from ..pages import Page


def requests_of(page: Page) -> list[tuple[str, dict[str, Any]]]:
    """Return the paths that the commands write to, in order, and what they write."""
    with ScriptedServer() as server, tempfile.TemporaryDirectory() as directory:
        server.otherwise = reply(204)
        played = SimpleNamespace(engine=ENGINE, address=server.address, root_token="root")
        page.set_up(cast(VaultServer, played), pathlib.Path(directory))
        written = [request for request in server.requests if request.method in ("POST", "PUT")]
        return [(request.path.removeprefix("/v1/"), told(request.json)) for request in written]


def told(body: dict[str, Any]) -> dict[str, Any]:
    """Return what was told, without what the program sends as empty."""
    return {key: value for key, value in body.items() if value and not isinstance(value, dict)}
