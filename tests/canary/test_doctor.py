"""``doctor``, which looks at everything that a profile leads to, shows no secret of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from vault_credential_process import auth
from vault_credential_process.expiry import Deadline
from vault_credential_process.testing.scripted import reply

from .evidence import Evidence
from .failures import FAILURES, Failure
from .methods import PLAYS
from .plays import Play, Props
from .stage import Stage

Staged = Callable[..., AbstractContextManager[Stage]]
WORDS = ("doctor", "--profile=webapp")


@pytest.fixture(autouse=True)
def no_aws_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the aws command out, which takes a second to tell its version."""
    kept = (place for place in os.environ["PATH"].split(os.pathsep) if not os.path.exists(os.path.join(place, "aws")))
    monkeypatch.setenv("PATH", os.pathsep.join(kept))


@pytest.mark.parametrize("method", auth.METHODS)
def test_whole_way(method: str, props: Props, staged: Staged) -> None:
    """It logs in, reads and asks AWS, once as talkative as can be and once for programs, and shows no secret."""
    play = next(iter(PLAYS[method](props)))
    with staged(play) as stage:
        stage.fresh_cache()
        stage.server.on("POST", "sys/capabilities-self", repeated(play))
        evidence = Evidence()
        with stage.watched(evidence):
            if play.person:
                stage.fetcher().log_in(play.person(), Deadline(20))
            codes = {stage.talkative(evidence, *WORDS, "--no-login"), stage.talkative(evidence, *WORDS, "--read")}
            codes.add(stage.command(evidence, *WORDS, "--json"))
        assert evidence.leaks(stage.search) == set()
        assert {"stdout", "stderr", "log file"} <= evidence.places
        assert codes == {0}


def repeated(play: Play) -> bytes:
    """Return an answer that allows the read, and repeats the token, as no server should."""
    token = play.token.value
    return reply(200, {"aws/creds/webapp": ["read", token], "capabilities": [token], "warnings": [token]})


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: f"{failure.moment} {failure.name}")
def test_where_vault_fails(failure: Failure, props: Props, staged: Staged) -> None:
    """Nor where the login or the read goes wrong, whatever the server repeats."""
    play = next(iter(PLAYS["approle"](props)))
    with staged(play) as stage:
        stage.fresh_cache()
        evidence = Evidence()
        stage.script(**{failure.moment: failure.answer(play, stage.pair)})
        with stage.watched(evidence):
            stage.talkative(evidence, *WORDS, "--read")
        assert evidence.leaks(stage.search) == set()
