"""Every face, with the root logger at its most talkative, where all goes well and where anything goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import botocore.exceptions
import pytest

from vault_credential_process.errors import VaultCredentialError

from .evidence import Evidence
from .faces import FACES, ProgramError
from .failures import FAILURES, Failure
from .family import add_witnesses
from .methods import PLAYS
from .plants import Secret, awkward
from .plays import Play, Props
from .stage import Stage

Staged = Callable[..., AbstractContextManager[Stage]]
HERE = [name for name, face in FACES.items() if face.use]
IN_SHORT = {
    "HTTP 400",
    "HTTP 500",
    "whole body",
    "repeated: base64",
    "page of a gateway",
    "redirected away",
    "cut short",
}
"""Failures for which each face is used in this process; the commands and methods have them all."""
APART = {"credential_process", "autoload"}
"""Faces that are processes, which have one failure each at the login and at the read."""
CASES = [(name, f) for name in HERE for f in FAILURES if f.name in ({"HTTP 400"} if name in APART else IN_SHORT)]


def approle(props: Props) -> Play:
    """Return a play whose secret is a variable."""
    return next(iter(PLAYS["approle"](props)))


@pytest.mark.parametrize("name", HERE)
def test_face(name: str, props: Props, staged: Staged) -> None:
    """Credentials come, and no log, file, ``repr`` or process shows a secret."""
    evidence = Evidence()
    with staged(approle(props)) as stage, stage.watched(evidence):
        use = FACES[name].use
        assert use is not None
        assert use(stage) == stage.pair.secret_key
        assert evidence.add_alive()
        add_witnesses(evidence, stage.root / "witnesses")
        for text in stage.said:
            evidence.add("stderr", name, text)
    assert evidence.leaks(stage.search) == set()
    assert stage.server.asked(*stage.login) >= 1


@pytest.mark.parametrize(
    ("name", "failure"), CASES, ids=lambda of: of if isinstance(of, str) else f"{of.moment} {of.name}"
)
def test_face_when_vault_fails(name: str, failure: Failure, props: Props, staged: Staged) -> None:
    """Nor does the error, in any of its frames and causes."""
    evidence = Evidence()
    with staged(approle(props)) as stage, stage.watched(evidence):
        stage.script(**{failure.moment: failure.answer(stage.play, stage.pair)})
        use = FACES[name].use
        assert use is not None
        try:
            use(stage)
            assert failure.may_succeed
        except (VaultCredentialError, botocore.exceptions.BotoCoreError, ProgramError) as error:
            evidence.add_error(error)
        add_witnesses(evidence, stage.root / "witnesses")
        for text in stage.said:
            evidence.add("stderr", name, text)
    assert evidence.leaks(stage.search) == set()


@pytest.mark.parametrize("name", ["provider", "manager", "AWS CLI plugin"])
def test_setting_that_is_malformed(name: str, props: Props, staged: Staged) -> None:
    """An error of the configuration leads to no secret that stands in the environment or was an argument."""
    password = Secret("password", awkward())
    play = approle(props)
    environ = {**play.environ, "VAULT_PROXY_ADDR": f"htp://user:{password.value}@127.0.0.1"}
    evidence = Evidence()
    with staged(Play("approle", "proxy", play.keys, environ, (*play.secrets, password))) as stage:
        use = FACES[name].use
        assert use is not None
        with (
            stage.watched(evidence),
            pytest.raises((VaultCredentialError, botocore.exceptions.BotoCoreError)) as caught,
        ):
            use(stage)
        evidence.add_error(caught.value)
    assert evidence.leaks(stage.search) == set()
    assert "frame" in evidence.places
