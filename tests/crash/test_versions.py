"""Two versions of the package on one runtime directory: neither believes nor destroys what the other keeps."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from vault_credential_process.cache.entry import FOREIGN, FORMAT, OLDEST, Keepsake
from vault_credential_process.cache.runtime import STALE, Runtime

from ..conftest import NAME, ROOT
from ..test_command import document
from .aftermath import LOGIN
from .conftest import Stage, files

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the runtime cache is Linux's")

NEXT, NEXT_FORMAT = "99.0.0", "vcp99"
KEY = "f" * 40
GIT, TAR = shutil.which("git") or sys.executable, shutil.which("tar") or "tar"
Get = Callable[..., "subprocess.Popen[str]"]


def replaced(path: pathlib.Path, old: str, new: str) -> None:
    """Replace a line of a file that it must hold once."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def present(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The package as it is, in a directory of its own as an installer would make it."""
    site = tmp_path_factory.mktemp("present")
    shutil.copytree(ROOT / NAME, site / NAME, ignore=shutil.ignore_patterns("__pycache__"))
    return site


@pytest.fixture(scope="module")
def future(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A later version, which writes entries of another format with one field more."""
    site = tmp_path_factory.mktemp("future")
    shutil.copytree(ROOT / NAME, site / NAME, ignore=shutil.ignore_patterns("__pycache__"))
    metadata = site / f"{NAME}-{NEXT}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {NEXT}\n")
    replaced(site / NAME / "fastpath.py", f'FORMAT = "{FORMAT}"', f'FORMAT = "{NEXT_FORMAT}"')
    entry = '    aws_path: str = ""\n    vault_addr: str = ""\n'
    replaced(site / NAME / "cache" / "entry.py", entry, entry + '    novelty: str = "new"\n')
    return site


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The first version that runs and whose ``get`` has a cache, where the history is at hand."""
    first = git("log", "--reverse", "--format=%H", "-S", "Ticket", "--", f"{NAME}/cli/get.py").split()
    if not first or git("rev-parse", "--is-shallow-repository").strip() != b"false":
        pytest.skip("the history of the package is not at hand: no git, or a shallow clone")
    later = git("log", "--reverse", "--format=%H", f"{first[0].decode()}..HEAD", "--", NAME).split()
    for commit in (first[0], *later[:10]):
        site = tmp_path_factory.mktemp("oldest")
        archive = git("archive", commit.decode(), NAME)
        subprocess.run([TAR, "-x", "-C", site], input=archive, check=True, timeout=60)
        # Nobody answers at the address: 5 is the code of a version that is whole.
        environ = {"PYTHONPATH": str(site), "VAULT_ADDR": "http://127.0.0.1:1", "VAULT_MAX_RETRIES": "0"}
        environ |= {"VAULT_ROLE_ID": "role", "VAULT_AWS_ROLE": "webapp", "XDG_RUNTIME_DIR": str(site)}
        command = [sys.executable, "-m", NAME, "get", "--no-cache"]
        if subprocess.run(command, env=environ, cwd=site, capture_output=True, check=False).returncode == 5:
            return site
    raise AssertionError("none of the first versions runs")


def git(*arguments: str) -> bytes:
    """Return what git tells of this checkout; nothing where it tells nothing."""
    return subprocess.run([GIT, *arguments], cwd=ROOT, capture_output=True, check=False, timeout=60).stdout


@pytest.fixture
def other(request: pytest.FixtureRequest) -> pathlib.Path:
    """Another version."""
    found: pathlib.Path = request.getfixturevalue(request.param)
    return found


others = pytest.mark.parametrize("other", ["future", "oldest"], indirect=True)


@pytest.fixture
def get(stage: Stage, shm: pathlib.Path) -> Get:
    """Start the command of a version, ``get`` unless told otherwise."""

    def start(site: pathlib.Path, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", NAME, *(argv or ("get", "--profile", "webapp"))],
            env={**os.environ, "AWS_CONFIG_FILE": str(stage.config), "PYTHONPATH": str(site)},
            cwd=site,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Return how a process ended."""
    out, err = process.communicate(timeout=100)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def printed(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the document of a process that must succeed in silence."""
    return document(ended(process))


def test_each_is_what_it_seems(present: pathlib.Path, future: pathlib.Path) -> None:
    """The versions are different ones, each from a directory of its own."""
    code = f"import {NAME}.fastpath as f; print(f.FORMAT, f.__file__)"
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": str(site)},
            cwd=site,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for site in (present, future)
    ]

    assert [line[0] for line in told] == [FORMAT, NEXT_FORMAT]
    assert [line[1].startswith(str(site)) for line, site in zip(told, (present, future), strict=True)] == [True] * 2


@others
def test_by_turns(stage: Stage, get: Get, present: pathlib.Path, other: pathlib.Path) -> None:
    """Calls by turns cost each version a login and a read of its own, once; each then finds what it kept."""
    first = [printed(get(site)) for site in (present, other)]
    asked = len(stage.witness.seen)
    later = [printed(get(site)) for site in (present, other, present, other)]

    assert later == first * 2
    assert len(stage.witness.seen) == asked
    # The zygote's own call is among them.
    assert (stage.witness.granted(LOGIN), stage.witness.granted(stage.read_path)) == (3, 3)


@others
def test_at_once(stage: Stage, get: Get, present: pathlib.Path, other: pathlib.Path) -> None:
    """Six calls of each, cold and at once: all answer, for one login and one read a version."""
    documents = [printed(process) for process in [get(site) for _ in range(6) for site in (present, other)]]

    assert {found["AccessKeyId"] for found in documents} <= stage.witness.keys
    assert stage.witness.granted(LOGIN) <= 3
    assert stage.witness.granted(stage.read_path) <= 3


@others
def test_neither_destroys(
    stage: Stage, get: Get, present: pathlib.Path, other: pathlib.Path, shm: pathlib.Path
) -> None:
    """What the other version keeps outlives days of this one's stores, is listed by none but its own, and serves on."""
    theirs = printed(get(other))
    names = {name for name in files(shm) if name.startswith("entry-") and not name.endswith(".lock")}
    past = time.time() - STALE - 60
    for name, path in files(shm).items():
        if name in names:
            os.utime(path, (past, past))
    printed(get(present))
    listed = ended(get(present, "cache", "list", "--json"))
    status = ended(get(present, "status", "--profile", "webapp"))
    asked = len(stage.witness.seen)

    assert names <= files(shm).keys()
    assert (listed.returncode, listed.stderr, len(json.loads(listed.stdout))) == (0, "", 2)
    assert (status.returncode, status.stderr) == (0, "")
    assert printed(get(other)) == theirs
    assert len(stage.witness.seen) == asked


def test_what_cannot_be_had_again_is_read_by_all(shm: pathlib.Path) -> None:
    """Keepsakes have a format of their own, which no new format of the rest changes; a newer one's is not cleared."""
    kept = Keepsake("value", "unwrapped Secret ID", irreplaceable=True)
    backend = Runtime.open({"XDG_RUNTIME_DIR": str(shm)})
    newer = kept.dump().replace(OLDEST.encode(), b"vcp7")
    assert json.loads(kept.dump())["format"] == OLDEST != FORMAT
    backend.set(KEY, newer)
    backend.set("0" * 40, b'{"format": "vcp7", "kind": "credentials"}')

    assert backend.get(KEY) == newer
    assert backend.clear() == 1
    assert backend.get(KEY) == newer
    assert backend.clear(everything=True) == 1


@pytest.mark.parametrize(
    ("kind", "age", "stays"),
    [("token", FOREIGN - 60, True), ("token", FOREIGN + 60, False), ("keepsake", FOREIGN + 60, True)],
)
def test_what_nobody_can_read_goes_at_last(shm: pathlib.Path, kind: str, age: float, stays: bool) -> None:
    """An entry of another version that nobody has written for longer than any lease goes; a keepsake does not."""
    backend = Runtime.open({"XDG_RUNTIME_DIR": str(shm)})
    backend.set(KEY, json.dumps({"format": "vcp7", "kind": kind}).encode())
    moment = time.time() - age
    os.utime(files(shm)[f"entry-{KEY}"], (moment, moment))
    backend.set("0" * 40, b"new")

    assert (backend.get(KEY) is not None) is stays
