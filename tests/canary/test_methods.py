"""Every auth method, in every way that it is handed a secret, where all goes well and where anything goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from vault_credential_process import auth
from vault_credential_process.errors import VaultCredentialError
from vault_credential_process.expiry import Deadline

from .evidence import Evidence
from .failures import FAILURES, Failure
from .methods import PLAYS
from .plays import Props
from .stage import Stage

Staged = Callable[..., AbstractContextManager[Stage]]
IN_SHORT = {"HTTP 400", "HTTP 500", "redirected away", "reset"}
"""Failures that are played for every way to hand a secret in, and at the read for every method."""


def is_played(failure: Failure, method: str, number: int) -> bool:
    """Tell whether a failure is played for a way of a method, which is one of several in an order.

    All of the login's are for the first way of each method, and all of the read's for one method: a read sends the
    token, whoever brought it.
    """
    if failure.name in IN_SHORT:
        return True
    return number == 0 and (failure.moment == "login" or method == next(iter(auth.METHODS)))


def get(stage: Stage, evidence: Evidence) -> int:
    """Get credentials, by the command or, where somebody has to be there, in a program; return the exit code."""
    if stage.play.person is None:
        return stage.talkative(evidence, "get", "--profile=webapp")
    try:
        fetcher = stage.fetcher()
        fetcher.log_in(stage.play.person(), Deadline(20))
        fetcher.fetch()
    except VaultCredentialError as error:
        evidence.add_error(error)
        return error.exit_code
    return 0


@pytest.mark.parametrize("method", auth.METHODS)
def test_success(method: str, props: Props, staged: Staged) -> None:
    """AWS credentials stand on stdout and in the cache, the token in the cache, and nothing stands anywhere else."""
    for play in PLAYS[method](props):
        with staged(play) as stage:
            stage.fresh_cache()
            evidence = Evidence()
            with stage.watched(evidence):
                assert get(stage, evidence) == 0, evidence.texts
                if play.person is None:
                    stage.command(evidence, "get", "--profile=webapp")
                fetcher = stage.fetcher()
                held = fetcher.fetch(), fetcher.token()
                alive = evidence.add_alive()
            assert evidence.leaks(stage.search) == set(), play.way
            assert {"Config", "Fetcher", "AWSCredentials", "VaultToken"} <= alive
            # Now they may go: what was looked at had them.
            assert (held[0].secret_key, held[1].value) == (
                stage.pair.secret_key, None if method == "agent" else play.token.value
            )  # fmt: skip
            assert stage.server.asked(*stage.login) >= 1
            if play.person is None:
                kept = {"AWS credentials"}
                assert evidence.kinds(stage.search, "stdout of get") == kept
                assert evidence.kinds(stage.search, "quick answer") <= kept


@pytest.mark.parametrize("method", auth.METHODS)
def test_failures(method: str, props: Props, staged: Staged) -> None:
    """Whatever goes wrong, no secret stands anywhere but in the cache, also where the server repeats it all."""
    for number, play in enumerate(PLAYS[method](props)):
        with staged(play) as stage:
            for failure in FAILURES:
                if is_played(failure, method, number):
                    check(stage, failure)


def test_iam_user(props: Props, staged: Staged) -> None:
    """Keys of an IAM user, which are probed at an AWS that is away, stand where STS's do, and the old pair too."""
    play = next(iter(PLAYS["approle"](props)))
    with staged(play, temporary=False) as stage:
        evidence = Evidence()
        with stage.watched(evidence):
            assert get(stage, evidence) == 0
        assert evidence.leaks(stage.search) == set()
        assert evidence.kinds(stage.search, "stdout of get") == {"AWS credentials"}
        assert evidence.kinds(stage.search, "cache entry") == {"AWS credentials", "Vault token"}


def check(stage: Stage, failure: Failure) -> None:
    """Play a failure and search for what it left."""
    stage.fresh_cache()
    stage.script(**{failure.moment: failure.answer(stage.play, stage.pair)})
    evidence = Evidence()
    with stage.watched(evidence):
        code = get(stage, evidence)
    assert code in {0, 2, 3, 4, 5, 6} if failure.may_succeed else code in {2, 3, 4, 5, 6}, failure.name
    assert evidence.leaks(stage.search) == set(), (stage.play.way, failure.moment, failure.name)
