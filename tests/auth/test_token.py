"""Token: where it is found, what it sends, what it makes of the answers, and the whole way on a real server."""

from __future__ import annotations

import math
import pathlib
import sys
from typing import Any, ClassVar

import pytest

from vault_credential_process import auth
from vault_credential_process.auth import AuthMethod
from vault_credential_process.auth.token import Token
from vault_credential_process.demo.laboratory import Laboratory, write_private
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    SealedError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.sources import SERVICE
from vault_credential_process.testing.auth import TOKEN as CONTRACT_TOKEN
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply

from ..bench import Bench, Clock
from ..conftest import Run
from ..pages import Page
from ..test_cache import InMemoryKeyring, store
from .methods import document, get
from .test_auto import NOW, TOKEN, log_in

__all__ = ["store"]

LOOK_UP = "auth/token/lookup-self"


class TestContract(AuthMethodContract):
    """The contract of every method."""

    method: ClassVar[type[AuthMethod]] = Token
    verb: ClassVar[str] = "GET"
    path: ClassVar[str] = LOOK_UP
    accepted: ClassVar[bytes] = reply(200, {"data": {"ttl": 600, "num_uses": 0, "type": "service"}})
    mountable: ClassVar[bool] = False

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"vault_token": CONTRACT_TOKEN}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return (CONTRACT_TOKEN,)

    @pytest.mark.parametrize("status", [400, 404])
    def test_refused(
        self,
        settings: dict[str, Any],
        planted: tuple[str, ...],
        vault_server: ScriptedServer,
        caplog: pytest.LogCaptureFixture,
        status: int,
    ) -> None:
        """As for every method, but for 403: that may only say that the token may not look itself up."""
        super().test_refused(settings, planted, vault_server, caplog, status)


def secret_file(directory: pathlib.Path, content: str) -> str:
    """Write a secret file and return its path."""
    write_private(directory / "secret", content)
    return str(directory / "secret")


def looked_up(exchanges: dict[str, Any], **data: Any) -> bytes:
    """Return the recorded look-up with changes in its data."""
    body = exchanges["token_lookup_self"]["response"]["body"]
    return reply(200, body | {"data": body["data"] | data})


@pytest.mark.parametrize(
    ("data", "left", "uses"),
    [
        ({}, 3600, None),
        ({"ttl": 20}, 20, None),
        ({"ttl": 0, "expire_time": None}, math.inf, None),
        ({"num_uses": 2}, 3600, 2),
    ],
)
def test_token_is_looked_up_once_before_its_use(
    scripted: ScriptedServer, exchanges: dict[str, Any], data: dict[str, Any], left: float, uses: int | None
) -> None:
    """A token that was handed in tells its life and its uses by one look-up; it is not ours to revoke."""
    scripted.on("GET", "auth/token/lookup-self", looked_up(exchanges, **data))
    token = log_in(scripted, TOKEN)

    assert (token.seconds_left(NOW), token.uses_left, token.external) == (left, uses, True)
    assert [r.path for r in scripted.requests] == ["/v1/auth/token/lookup-self"]


@pytest.mark.parametrize(("num_uses", "left"), [(1, 1), (-1, 0)])
def test_token_that_is_nearly_used_up_is_refused(
    scripted: ScriptedServer, exchanges: dict[str, Any], num_uses: int, left: int
) -> None:
    """With fewer than two uses left for the read, one line says so, and nothing more is asked."""
    scripted.on("GET", "auth/token/lookup-self", looked_up(exchanges, num_uses=num_uses))

    with pytest.raises(AuthenticationError, match=f"the token from VAULT_TOKEN has {left} uses left; .* wants two"):
        log_in(scripted, TOKEN)
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(("ttl", "known", "expiry"), [(None, False, None), ("30m", True, NOW + 1800)])
def test_token_that_may_not_look_itself_up(
    scripted: ScriptedServer, exchanges: dict[str, Any], ttl: str | None, known: bool, expiry: float | None
) -> None:
    """After a 403 the life is what ``vault_token_ttl`` says, and unknown without it."""
    scripted.on("GET", "auth/token/lookup-self", replay(exchanges["creds_bad_token"]))
    token = log_in(scripted, TOKEN | ({"VAULT_TOKEN_TTL": ttl} if ttl else {}))

    assert (token.expiry_known, token.expiry, token.external) == (known, expiry, True)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(503, {"errors": ["Vault is sealed"]}), SealedError),
        (reply(500, {"errors": ["internal error"]}), UnreachableError),
        (reply(200, {"data": None}), UnreachableError),
    ],
)
def test_look_up_that_fails_for_other_reasons_is_an_error(
    scripted: ScriptedServer, answer: bytes, error: type[VaultCredentialError]
) -> None:
    """Only Vault's 403 means "may not look itself up"; all else stops the login."""
    scripted.on("GET", "auth/token/lookup-self", answer)

    with pytest.raises(error):
        log_in(scripted, TOKEN)


@pytest.mark.parametrize(
    ("environ", "in_profile", "origin"),
    [
        ({"VAULT_TOKEN": "hvs.VAULT", "BAO_TOKEN": "hvs.BAO"}, False, "hvs.BAO"),
        ({"VAULT_TOKEN": " hvs.VAULT\n"}, False, "hvs.VAULT"),
        ({"VAULT_TOKEN": "hvs.VAULT"}, True, "hvs.FILE"),
    ],
)
def test_token_comes_from_the_nearest_place(
    scripted: ScriptedServer,
    exchanges: dict[str, Any],
    tmp_path: pathlib.Path,
    environ: dict[str, str],
    in_profile: bool,
    origin: str,
) -> None:
    """``BAO_TOKEN`` goes before ``VAULT_TOKEN``, and a file named in the profile before both."""
    scripted.on("GET", "auth/token/lookup-self", replay(exchanges["token_lookup_self"]))
    keys = {"vault_token_file": secret_file(tmp_path, "hvs.FILE\n")} if in_profile else {}
    log_in(scripted, environ, keys)

    assert [r.headers["x-vault-token"] for r in scripted.requests] == [origin]


@pytest.mark.parametrize("token", ["two words", "hvs.É", "line\nbreak"])
def test_text_that_is_no_token_is_not_sent(scripted: ScriptedServer, token: str) -> None:
    """What could not stand in a header is refused with its origin, without the text."""
    with pytest.raises(ConfigurationError) as caught:
        log_in(scripted, {"VAULT_TOKEN": token})

    assert str(caught.value).startswith("the token from VAULT_TOKEN is not a Vault token")
    assert token not in str(caught.value)
    assert scripted.requests == []


def test_token_of_a_keyring_entry(scripted: ScriptedServer, exchanges: dict[str, Any], store: InMemoryKeyring) -> None:
    """``vault_token_keyring`` names an entry, read once and at the login only; the token is its owner's."""
    store.items[SERVICE, "webapp"] = "hvs.KEYRING"
    scripted.on("GET", LOOK_UP, replay(exchanges["token_lookup_self"]))
    token = log_in(scripted, {}, {"vault_token_keyring": "webapp"})

    assert (token.value, token.external, store.reads) == ("hvs.KEYRING", True, 1)


def test_token_of_a_command(scripted: ScriptedServer, exchanges: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """``vault_token_command`` prints the token; it is its owner's."""
    scripted.on("GET", LOOK_UP, replay(exchanges["token_lookup_self"]))
    token = log_in(scripted, {}, {"vault_token_command": f"/bin/cat {secret_file(tmp_path, 'hvs.COMMAND')}"})

    assert (token.value, token.external) == ("hvs.COMMAND", True)


@pytest.mark.parametrize("place", ["keyring", "command"])
def test_place_stands_for_a_token_that_takes_asking(
    scripted: ScriptedServer, exchanges: dict[str, Any], store: InMemoryKeyring, tmp_path: pathlib.Path, place: str
) -> None:
    """Of three calls that share a cache, only the first asks the keyring, or runs the command."""
    scripted.on("GET", LOOK_UP, replay(exchanges["token_lookup_self"]))
    bench = Bench(scripted, exchanges, Clock())
    scripted.on("GET", "aws/creds/webapp", bench.lease(3600))
    store.items[SERVICE, "webapp"] = "hvs.KEYRING"
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\necho hvs.COMMAND\n")
    command.chmod(0o700)
    settings = {"keyring": {"vault_token_keyring": "webapp"}, "command": {"vault_token_command": str(command)}}
    fetcher = bench.fetcher(environ={}, **settings[place])
    for _ in range(3):
        fetcher.fetch()

    runs = {
        "keyring": store.reads,
        "command": len((tmp_path / "runs").read_text().split()) if place == "command" else 0,
    }
    assert runs[place] == 1
    assert bench.asked() == [f"GET {LOOK_UP}", "GET aws/creds/webapp"]


def test_replaced_file_is_taken_up_at_the_next_call(
    scripted: ScriptedServer, exchanges: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    """A program that runs on uses another token as soon as it lies in the file: it is another identity."""
    scripted.on("GET", LOOK_UP, replay(exchanges["token_lookup_self"]))
    bench = Bench(scripted, exchanges, Clock())
    scripted.on("GET", "aws/creds/webapp", bench.lease(3600))
    fetcher = bench.fetcher(environ={}, vault_token_file=secret_file(tmp_path, "hvs.FIRST"))
    fetcher.fetch()
    secret_file(tmp_path, "hvs.SECOND")
    fetcher.fetch()

    assert [r.headers["x-vault-token"] for r in scripted.requests] == ["hvs.FIRST"] * 2 + ["hvs.SECOND"] * 2


@pytest.mark.parametrize(
    ("environ", "keys", "watched"),
    [
        ({}, {}, ["{home}/.bao", "{home}/.vault", "{home}/.vault-token"]),
        ({"BAO_CONFIG_PATH": "~/b", "VAULT_CONFIG_PATH": "/v"}, {}, ["{home}/b", "{home}/.vault-token"]),
        ({"VAULT_CONFIG_PATH": "/v", "BAO_TOKEN_PATH": "/t"}, {}, ["/v", "/t"]),
        ({}, {"vault_token_file": "/f"}, ["/f"]),
        ({"VAULT_TOKEN": "hvs.EXAMPLE"}, {}, []),
        ({}, {"vault_token_command": "/bin/true"}, []),
    ],
)
def test_watches_what_decides(
    clean_environment: pathlib.Path, environ: dict[str, str], keys: dict[str, str], watched: list[str]
) -> None:
    """What may name a helper and the token file are watched where nothing is set, else the file that is."""
    config = auth.configure(keys | {"vault_auth_method": "token"}, environ, None)

    assert list(auth.watched(config)) == [path.format(home=clean_environment) for path in watched]


@pytest.fixture(scope="module")
def handed_out(fresh: Laboratory) -> Laboratory:
    """A server that was set up as the page tells, the token's file in the laboratory's directory."""
    Page("token").set_up(fresh.server, fresh.directory, {"/etc/webapp": str(fresh.directory)})
    return fresh


@pytest.fixture
def keys(handed_out: Laboratory) -> dict[str, str]:
    """The keys of the page's profile, with the file of this server."""
    return Page("token").profile({"/etc/webapp": str(handed_out.directory)})


def new_token(laboratory: Laboratory, **settings: Any) -> str:
    """Return a new token of the policy ``webapp``."""
    given = {"policies": ["webapp"], "ttl": "1h", **settings}
    return str(laboratory.server.call("POST", "auth/token/create", given)["auth"]["client_token"])


def test_profile_of_the_page_gives_credentials(
    run: Run, handed_out: Laboratory, keys: dict[str, str], clean_environment: pathlib.Path
) -> None:
    """The page's token and its profile give AWS credentials."""
    assert document(get(run, handed_out, keys, clean_environment))["Version"] == 1


def test_owner_keeps_the_token(
    run: Run, handed_out: Laboratory, keys: dict[str, str], clean_environment: pathlib.Path
) -> None:
    """A token from outside lives on after a call that keeps nothing, and after ``cache clear --revoke``."""
    token = new_token(handed_out)
    keys["vault_token_file"] = secret_file(clean_environment, token)
    document(get(run, handed_out, keys, clean_environment, VAULT_AWS_CACHE="none"))
    document(get(run, handed_out, keys, clean_environment))
    clear = (sys.executable, "-m", "vault_credential_process", "cache", "clear", "--revoke", "--profile=webapp")
    done = run(*clear, AWS_CONFIG_FILE=str(clean_environment / "config"))

    assert (done.returncode, done.stderr) == (0, "")
    assert "no token of ours is held, so nothing was revoked" in done.stdout
    assert handed_out.server.call("GET", LOOK_UP, token=token)["data"]["ttl"] > 0


def revoked(laboratory: Laboratory) -> str:
    token = new_token(laboratory)
    laboratory.server.call("POST", "auth/token/revoke", {"token": token})
    return token


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ("", 2, "vault_token_file: {file}: empty"),
        ("two words", 2, "the token from {file} is not a Vault token: empty, or with spaces"),
        ("dead", 3, "permission denied, and the token may not look itself up: it is dead, or has no policy for"),
        ("of two uses", 3, "the token from {file} has 1 uses left; reading credentials wants two"),
        ("without a policy", 4, "permission denied: the token has no policy for aws/creds/webapp (its policies: defa"),
        (None, 2, "vault_token_file: {file}: No such file or directory; check the path and its permissions"),
    ],
)
def test_token_that_will_not_do_says_why(
    run: Run,
    handed_out: Laboratory,
    keys: dict[str, str],
    clean_environment: pathlib.Path,
    content: str | None,
    code: int,
    words: str,
) -> None:
    """An unusable file, a dead token, a limited one and one without the policy are one line each, never the token."""
    made = {
        "dead": revoked,
        "of two uses": lambda laboratory: new_token(laboratory, num_uses=2),
        "without a policy": lambda laboratory: new_token(laboratory, policies=["default"]),
    }
    token = made[content](handed_out) if content in made else content
    file = secret_file(clean_environment, token or "")
    if content is None:
        pathlib.Path(file).unlink()
    done = get(run, handed_out, keys | {"vault_token_file": file}, clean_environment)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert words.format(file=file) in done.stderr
    assert not token or token not in done.stderr


@pytest.mark.parametrize("variable", ["", "BAO_TOKEN_PATH"])
def test_login_of_the_bao_command_is_found(
    run: Run, handed_out: Laboratory, clean_environment: pathlib.Path, variable: str
) -> None:
    """What ``bao login`` left behind gives credentials, in ``~/.vault-token`` and where ``BAO_TOKEN_PATH`` says."""
    token = new_token(handed_out)
    environ = {variable: str(clean_environment / "elsewhere")} if variable else {}
    bao = (handed_out.server.engine.binary, "login", "-no-print", token)
    assert run(*bao, BAO_ADDR=handed_out.server.address, **environ).returncode == 0

    assert (clean_environment / ("elsewhere" if variable else ".vault-token")).read_text() == token
    assert document(get(run, handed_out, {}, clean_environment, **environ))["Version"] == 1
