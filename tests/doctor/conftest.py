"""Fixtures of the doctor's tests."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Iterator

import pytest

from vault_credential_process.doctor import profile_line
from vault_credential_process.testing.scripted import ScriptedServer

from ..conftest import Tenant
from .ward import Ward


@pytest.fixture
def ward(short_lived: Tenant, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Iterator[Ward]:
    """A host on which all is well.

    Its directory for temporary files is no part of where Python lies, and it has no aws command, which takes a second.
    No start counts as slow: the machine of the tests may be busy.
    """
    (tmp_path / "tmp").mkdir()
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(profile_line, "SLOW", 60.0)
    with ScriptedServer() as server, ScriptedServer() as cloud:
        made = Ward(short_lived, monkeypatch, tmp_path, server, cloud)
        short_lived.laboratory.write_sts(short_lived.role, ttl=made.seconds)
        made.write()
        yield made
