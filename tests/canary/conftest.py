"""Fixtures of the canary."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import keyring
import pytest

from vault_credential_process.testing.scripted import ScriptedServer

from .plants import Pair
from .plays import Play, Props
from .stage import Stage


@pytest.fixture
def props(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Props]:
    """Where secrets are planted: files, a keyring, services of a platform."""
    planted = tmp_path / "planted"
    planted.mkdir()
    monkeypatch.setenv("STORE_FILE", str(planted / "keyring"))
    with contextlib.ExitStack() as stack:
        made = Props(planted, stack)
        before = keyring.get_keyring()
        keyring.set_keyring(made.store)
        stack.callback(keyring.set_keyring, before)
        yield made


@pytest.fixture
def staged(
    tmp_path: pathlib.Path, shm: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., contextlib.AbstractContextManager[Stage]]:
    """Return what makes a stage for a play, with a server of its own."""

    @contextlib.contextmanager
    def stage(play: Play, *, temporary: bool = True) -> Iterator[Stage]:
        with ScriptedServer(context=play.context) as server, ScriptedServer() as aws, monkeypatch.context() as patch:
            yield Stage(tmp_path, shm, patch, server, play, Pair(temporary=temporary), aws)

    return stage
