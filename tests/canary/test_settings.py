"""Secrets in general settings, tokens and addresses that are not as they should be, and what Vault's error repeats."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from vault_credential_process.testing.scripted import reply

from .evidence import Evidence
from .failures import repeating
from .plants import Secret, awkward, word
from .plays import LOOK_UP, Play, Props
from .stage import Stage

Staged = Callable[..., AbstractContextManager[Stage]]
PASSWORD = word("proxy-password")
PROXIES = {
    "proxy that is away": {"VAULT_PROXY_ADDR": f"http://user:{PASSWORD}@127.0.0.1:1"},
    "proxy of another variable": {"VAULT_HTTP_PROXY": f"http://user:{PASSWORD}@127.0.0.1:1"},
    "proxy that is malformed": {"VAULT_PROXY_ADDR": f"htp://user:{PASSWORD}@127.0.0.1:1"},
    "proxy with a bad port": {"VAULT_PROXY_ADDR": f"http://user:{PASSWORD}@127.0.0.1:none"},
}


@pytest.mark.parametrize("environ", PROXIES.values(), ids=PROXIES)
def test_password_of_a_proxy(environ: dict[str, str], staged: Staged) -> None:
    """The password of a proxy stands in no message, log or ``repr``, also where the address is not one."""
    secret = Secret("password", PASSWORD)
    play = Play("approle", "proxy", keys={"vault_role_id": "role"}, environ=environ, secrets=(secret,))
    fails(staged, play, {2, 5})


def test_address_with_a_password(staged: Staged) -> None:
    """An address of Vault with a password in it is refused without a word of that."""
    keys = {"vault_role_id": "role", "vault_addr": f"http://user:{PASSWORD}@127.0.0.1:1"}
    fails(staged, Play("approle", "address", keys=keys, secrets=(Secret("password", PASSWORD),)), {2})


@pytest.mark.parametrize("text", ["{token}\n{other}", "{token} {other}", "\ufeff{token}\u00e9", "{token}\0{other}x"])
def test_token_that_is_none(text: str, props: Props, staged: Staged) -> None:
    """A file that holds more than a token, or something else, is refused without a word of its content."""
    token, other = Secret("Vault token", word("hvs.CANARY")), Secret("password", word())
    path = props.file(text.format(token=token.value, other=other.value))
    fails(staged, Play("token", "file", keys={"vault_token_file": path}, secrets=(token, other)), {2, 3})


LOOK_UPS = {
    "fails": repeating(500, str),
    "unknown": repeating(404, str),
    "dead": repeating(403, str),
    "says too much": reply(200, {"data": {"num_uses": -1, "policies": ["app"]}}),
}


@pytest.mark.parametrize("answer", LOOK_UPS.values(), ids=LOOK_UPS)
def test_token_that_does_not_serve(answer: object, staged: Staged) -> None:
    """A token that is dead, unknown or used up is told of without its text."""
    token = Secret("Vault token", word("hvs.CANARY"))
    play = Play("token", "variable", environ={"VAULT_TOKEN": token.value}, secrets=(token,), token=token)
    fails(staged, play, {2, 3, 4, 5}, look_up=answer, read=repeating(403, str))


def test_policies_that_repeat_the_secret(staged: Staged) -> None:
    """A login whose answer repeats the Secret ID and the token, as policies say, shows them to nobody."""
    secret = Secret("Secret ID", awkward())
    play = Play(
        "approle",
        "policies",
        keys={"vault_role_id": "role"},
        environ={"VAULT_SECRET_ID": secret.value},
        secrets=(secret,),
    )
    auth = {"client_token": play.token.value, "lease_duration": 600, "policies": [secret.value, play.token.value]}
    evidence = Evidence()
    with staged(play) as stage:
        stage.script(login=reply(200, {"auth": auth}))
        with stage.watched(evidence):
            assert stage.talkative(evidence, "login", "--profile=webapp") == 0
            stage.script(login=reply(200, {"auth": auth}), read=repeating(403, str))
            assert stage.talkative(evidence, "get", "--profile=webapp") == 4
        assert evidence.leaks(stage.search) == set()


def fails(staged: Staged, play: Play, codes: set[int], *, look_up: object = None, read: object = None) -> None:
    """Let ``get`` fail, and search for what it left."""
    evidence = Evidence()
    with staged(play) as stage:
        if look_up:
            stage.server.on("GET", LOOK_UP, look_up)  # type: ignore[arg-type]
        if read:
            stage.server.on("GET", "aws/creds/webapp", read)  # type: ignore[arg-type]
        with stage.watched(evidence):
            assert stage.talkative(evidence, "get", "--profile=webapp") in codes
            evidence.add_alive()
        assert evidence.leaks(stage.search) == set()
        assert {"stderr", "traceback"} <= evidence.places
