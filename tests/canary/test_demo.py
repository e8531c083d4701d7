"""The demo: a real server, unmodified programs, and no secret in what it shows, in any log, or left behind."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

import pytest

from .commands import RUNS
from .evidence import ENTRY, Evidence
from .family import COMMAND, add_witnesses, look, watched_environ
from .plants import Secret
from .search import Search

PATIENCE = 180.0
SHOWN = "5. The aws command"
"""What is told when the first program has had credentials, which lie in the cache then."""
UP = "Everything stays up until you press Ctrl-C."
KINDS = {"access_key": "AWS credentials", "secret_key": "AWS credentials", "session_token": "AWS credentials"}

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="its cache lies in memory elsewhere")


@pytest.fixture
def place() -> Iterator[pathlib.Path]:
    """Return a directory on tmpfs for temporary files, in which the demo puts all that it makes."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="vcp-test-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


def secrets_in(place: pathlib.Path) -> set[Secret]:
    """Return the secrets that lie in the demo's files while it is up."""
    found = {Secret("Vault token", path.read_text().strip()) for path in place.rglob("root-token")}
    found |= {Secret("Secret ID", path.read_text().strip()) for path in place.rglob("*.secret-id")}
    for path in place.rglob("entry-*"):
        if ENTRY.fullmatch(path.name):
            found |= set(_leaves(json.loads(path.read_text())))
    return found


def _leaves(value: object, name: str = "") -> Iterator[Secret]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, key)
    elif isinstance(value, str) and value and name in KINDS:
        yield Secret(KINDS[name], value)
    elif isinstance(value, str) and value.startswith(("s.", "hvs.")):
        yield Secret("Vault token", value)


@pytest.mark.parametrize(
    ("moment", "code"), [(SHOWN, 130), pytest.param(UP, 0, marks=pytest.mark.soak)], ids=["interrupted", "to its end"]
)
def test_demo(moment: str, code: int, place: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Its root token, Secret IDs, tokens and keys are told by nothing that it prints, logs or starts."""
    evidence = Evidence()
    printed: list[str] = []
    environ = watched_environ(tmp_path / "witnesses", TMPDIR=str(place))
    (run,) = RUNS["demo"]
    with subprocess.Popen(
        [*COMMAND, *run.words],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=lambda: printed.extend(process.stdout or ()), daemon=True)
        reader.start()
        try:
            limit = time.monotonic() + PATIENCE
            while moment not in "".join(printed) and process.poll() is None:
                assert time.monotonic() < limit, printed
                look(evidence, process.pid, environ)
                time.sleep(0.2)
            assert process.poll() is None, printed
            secrets = secrets_in(place)
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == code, printed
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(PATIENCE)
            reader.join(PATIENCE)
    evidence.add("stdout", "", "".join(printed))
    add_witnesses(evidence, tmp_path / "witnesses")

    assert {"Vault token", "Secret ID", "AWS credentials"} == {secret.kind for secret in secrets}
    # Programs that sign requests have them in botocore's own log, and a server of the demo in its own memory.
    leaks = {leak for leak in evidence.leaks(Search(secrets)) if (leak.place, leak.kind) != ("log", "AWS credentials")}
    assert leaks == set()
    assert os.listdir(place) == []
