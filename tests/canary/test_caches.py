"""Every cache backend: what it keeps holds AWS credentials and tokens, and never a Secret ID, JWT or password."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from vault_credential_process import cache
from vault_credential_process.cache.keyring import SERVICE

from .caches import BACKENDS
from .evidence import ENTRY, Evidence
from .failures import FAILURES
from .methods import PLAYS
from .plays import Props
from .stage import Stage

Staged = Callable[..., AbstractContextManager[Stage]]


def add_items(evidence: Evidence, props: Props) -> None:
    """Note the items of the keyring that are the cache's."""
    for name, value in props.store.items().get(SERVICE, {}).items():
        evidence.add("file name", "an item of the keyring", name)
        evidence.add("cache entry", name, value)


@pytest.mark.parametrize("method", ["approle", "jwt", "userpass", "aws-iam"])
@pytest.mark.parametrize("name", cache.BACKENDS)
def test_what_is_kept(name: str, method: str, props: Props, staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries and their names hold nothing else, and other files of the cache nothing at all."""
    monkeypatch.setenv("VAULT_AWS_CACHE", name)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "canary_store.Store")
    play = next(iter(PLAYS[method](props)))
    evidence = Evidence()
    with staged(play) as stage, stage.watched(evidence):
        assert stage.talkative(evidence, "get", "--profile=webapp") == 0
        for words in (("get",), ("status",), ("status", "--json")):
            stage.command(evidence, *words, "--profile=webapp")
        stage.command(evidence, "cache", "list")
        # A failure is remembered too, for those who wait.
        stage.script(login=FAILURES[0].answer(play, stage.pair))
        stage.talkative(evidence, "get", "--profile=webapp", "--role=other")
        add_items(evidence, props)
        evidence.add_alive()
    assert evidence.leaks(stage.search) == set()
    kept = evidence.kinds(stage.search, "cache entry")
    assert kept == ({"AWS credentials", "Vault token"} if BACKENDS[name].keeps else set())
    if name != "runtime":
        files = [path for place in (stage.root, stage.runtime) for path in place.rglob("*")]
        # With ``none`` it is remembered all the same that Vault refused a stored secret, so that nobody is locked out.
        refusals = [path for path in files if name == "none" and path.is_file() and b'"refused ' in path.read_bytes()]
        assert [path.name for path in files if ENTRY.fullmatch(path.name) and path not in refusals] == []
