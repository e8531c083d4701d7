"""JWT: where the token comes from, what is sent, and the whole way on a real server that trusts an issuer of ours."""

from __future__ import annotations

import logging
import os
import pathlib
import shlex
import socket
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import pytest

from vault_credential_process import auth
from vault_credential_process.auth import AuthMethod, metadata
from vault_credential_process.auth.jwt import JWT
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.errors import (
    AuthenticationError,
    AuthUnavailable,
    ConfigurationError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.models import Identity
from vault_credential_process.profiles import Profile
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import Request, ScriptedServer, reply

from ..conftest import Run
from ..pages import Page
from ..test_sources import unprivileged
from .methods import NOW, document, get, log_in
from .tokens import Issuer, Signer

AUDIENCE = "https://vault.example.com"
REQUEST_TOKEN = "canary-request-token"
HOUR = 3600
SIGNER = Signer()


def good(signer: Signer = SIGNER, **claims: Any) -> str:
    """Return a token of a job that is good for an hour by the clock of ``log_in`` and by that of this host."""
    ends = int(max(NOW, time.time())) + HOUR
    given = {"aud": AUDIENCE, "exp": ends, "iat": int(NOW), "sub": "project_path:acme/webapp:ref_type:branch:ref:main"}
    return signer.sign(**{**given, **claims})


class Actions(Issuer):
    """GitHub Actions as a job sees it: the issuer, and at ``/idtoken`` what gives a job its identity token.

    https://docs.github.com/en/actions/reference/security/oidc#methods-for-requesting-the-oidc-token
    """

    def __init__(self) -> None:
        """Listen on a free loopback port."""
        super().__init__()
        self.subject = "repo:acme/webapp:ref:refs/heads/main"
        self.given: list[str] = []

    def environ(self, **others: str) -> dict[str, str]:
        """Return the variables of a job with ``permissions: id-token: write``."""
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.address}/idtoken?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
            **others,
        }

    def _answer(self, connection: socket.socket, request: Request) -> None:
        path, _, query = request.path.partition("?")
        if path != "/idtoken":
            super()._answer(connection, request)
            return
        asked = dict(urllib.parse.parse_qsl(query))
        is_ours = request.headers.get("authorization") == f"bearer {REQUEST_TOKEN}"
        if request.method != "GET" or not is_ours or asked.get("api-version") != "2.0":
            connection.sendall(reply(401))
            return
        audience = asked.get("audience", "https://github.com/acme")
        self.given.append(good(self.signer, iss=self.address, aud=audience, sub=self.subject))
        connection.sendall(reply(200, {"count": 1, "value": self.given[-1]}))


@pytest.fixture(scope="module")
def actions() -> Iterator[Actions]:
    """A GitHub of this host."""
    with Actions() as running:
        yield running


@pytest.fixture
def vault(scripted: ScriptedServer) -> ScriptedServer:
    """A scripted server that takes any login."""
    scripted.on("POST", "auth/jwt/login", TestContract.accepted)
    return scripted


BY_NAME = {"vault_auth_method": "jwt", "vault_auth_role": "webapp"}


class TestContract(AuthMethodContract):
    """The contract of every method, with a token at hand."""

    method: ClassVar[type[AuthMethod]] = JWT

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"vault_jwt": good(), "vault_auth_role": "webapp"}

    @pytest.fixture
    def planted(self, settings: dict[str, Any]) -> tuple[str, ...]:
        return (settings["vault_jwt"],)


class TestContractInActions(AuthMethodContract):
    """The contract of every method, with a token that is asked of GitHub."""

    method: ClassVar[type[AuthMethod]] = JWT
    given: ClassVar[str] = good()

    @pytest.fixture
    def platform(self) -> Iterator[ScriptedServer]:
        with ScriptedServer() as server:
            server.otherwise = reply(200, {"value": self.given})
            yield server

    @pytest.fixture
    def settings(self, platform: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{platform.address}/idtoken?api-version=2.0")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", REQUEST_TOKEN)
        return {"vault_auth_role": "webapp", "vault_jwt_audience": AUDIENCE}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return (self.given,)

    def test_identity_does_not_ask_github(
        self, settings: dict[str, Any], vault_server: ScriptedServer, platform: ScriptedServer
    ) -> None:
        """Whom a login logs in as is told without a request to the platform."""
        self._made(vault_server, settings).identity()

        assert platform.requests == []

    def test_what_asks_for_the_token_is_a_secret_too(
        self, settings: dict[str, Any], vault_server: ScriptedServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The job's own token shows in no log, in no ``repr``, and goes to GitHub alone."""
        caplog.set_level(logging.DEBUG)
        method = self._made(vault_server, settings)
        self._log_in(vault_server, settings)

        sent = repr(vault_server.requests)
        assert self._found((REQUEST_TOKEN,), caplog.text, repr(method), repr(method.identity()), sent) == []


class Job(NamedTuple):
    """Where a token may stand, all at once."""

    keys: Mapping[str, str]
    environ: Mapping[str, str]
    tokens: Mapping[str, str]


@pytest.fixture
def job(tmp_path: pathlib.Path, actions: Actions) -> Job:
    """A job with every source there is, each with a token of its own."""
    tokens = {name: good(jti=name) for name in ("file", "command", "VAULT_JWT", "BAO_JWT", "VAULT_ID_TOKEN")}
    (tmp_path / "token").write_text(tokens["file"] + "\n")
    (tmp_path / "token").chmod(0o600)
    command = shlex.join([sys.executable, "-c", f"print({tokens['command']!r})"])
    environ = {name: token for name, token in tokens.items() if name.isupper()}
    keys = {"vault_jwt_file": str(tmp_path / "token"), "vault_jwt_command": command}
    return Job(BY_NAME | keys, environ | actions.environ(), tokens)


class TestSources:
    """Where the token is found."""

    def test_what_goes_first(self, vault: ScriptedServer, job: Job, actions: Actions) -> None:
        """What the profile names, then the variables of ours, then GitLab's variable, then GitHub's service."""
        keys, environ = dict(job.keys), dict(job.environ)
        for key in ("vault_jwt_file", "vault_jwt_command"):
            log_in(vault.address, keys, environ)
            del keys[key]
        for name in ("BAO_JWT", "VAULT_JWT", "VAULT_ID_TOKEN"):
            log_in(vault.address, keys, environ)
            del environ[name]
        log_in(vault.address, keys, environ)

        sent = [request.json["jwt"] for request in vault.requests]
        order = ("file", "command", "BAO_JWT", "VAULT_JWT", "VAULT_ID_TOKEN")
        assert sent == [*(job.tokens[name] for name in order), actions.given[-1]]

    def test_identity_is_the_source(self, job: Job, tmp_path: pathlib.Path) -> None:
        """Each source is another identity, a replaced token of the same bearer is none."""
        keys, environ, found = dict(job.keys), dict(job.environ), []
        for gone in ("vault_jwt_file", "vault_jwt_command", "BAO_JWT", "VAULT_JWT", "VAULT_ID_TOKEN"):
            config = auth.configure({}, environ, Profile("webapp", keys))
            first = JWT.from_config(config).identity()
            (tmp_path / "token").write_text(good(jti="next"))
            assert JWT.from_config(config).identity() == first
            found.append(first.parts[3:4] if "command" not in gone else ("vault_jwt_command",))
            assert len(first.secrets) == (gone != "vault_jwt_command")
            keys.pop(gone, None)
            environ.pop(gone, None)
        config = auth.configure({"vault_jwt_audience": AUDIENCE}, environ, Profile("webapp", keys))
        last = JWT.from_config(config).identity().parts

        assert [part for parts in found for part in parts] == [
            "vault_jwt_file", "vault_jwt_command", "vault_jwt", "vault_jwt", "VAULT_ID_TOKEN",
        ]  # fmt: skip
        assert last == ("jwt", "jwt", "webapp", "ACTIONS_ID_TOKEN_REQUEST_URL", AUDIENCE)

    @pytest.mark.parametrize("name", ["file", "VAULT_JWT", "VAULT_ID_TOKEN"])
    def test_identity_is_what_is_claimed(self, tmp_path: pathlib.Path, name: str) -> None:
        """Another subject, or anything else that Vault may ask for, is somebody else; a younger token is not."""

        def of(token: str) -> Identity:
            (tmp_path / "token").write_text(token)
            (tmp_path / "token").chmod(0o600)
            keys = {"vault_jwt_file": str(tmp_path / "token")} if name == "file" else {}
            environ = {name: token} if name.isupper() else {}
            return auth.choose(auth.configure({}, environ, Profile("webapp", BY_NAME | keys))).identity()

        first = of(good())
        assert of(good(iat=1, nbf=2, exp=int(NOW) + 7, jti="next")) == first
        others = [good(sub="project-B"), good(aud="x"), good(ref_protected="true"), "no.token", "no.other"]

        assert len({first, *map(of, others)}) == 1 + len(others)

    def test_identity_in_github_is_the_job(self, actions: Actions) -> None:
        """What asks for the token is another for each job: nobody is handed what another job got."""
        found = {
            auth.choose(auth.configure({}, actions.environ(**other), Profile("webapp", BY_NAME))).identity()
            for other in (
                {},
                {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "another"},
                {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://127.0.0.1/"},
            )
        }

        assert len(found) == 3

    def test_file_is_watched(self, tmp_path: pathlib.Path) -> None:
        """The quick answer ends where the file is replaced: it may be of another bearer then."""
        keys = BY_NAME | {"vault_jwt_file": str(tmp_path / "token")}

        assert auth.watched(auth.configure({}, {}, Profile("webapp", keys))) == (str(tmp_path / "token"),)
        assert auth.watched(auth.configure({}, {}, Profile("webapp", BY_NAME))) == ()

    def test_file_is_read_at_each_login(self, vault: ScriptedServer, tmp_path: pathlib.Path) -> None:
        """A token that was replaced is what the next login sends."""
        path = tmp_path / "token"
        tokens = [good(jti=name) for name in ("one", "two")]
        for token in tokens:
            path.write_text(token)
            path.chmod(0o600)
            log_in(vault.address, {**BY_NAME, "vault_jwt_file": str(path)})

        assert [request.json for request in vault.requests] == [{"jwt": token, "role": "webapp"} for token in tokens]

    def test_no_role(self, vault: ScriptedServer) -> None:
        """Without a role none is sent: the mount may have a default one."""
        token = good()
        log_in(vault.address, {"vault_auth_method": "jwt"}, {"VAULT_JWT": token})

        assert vault.requests[0].json == {"jwt": token}

    def test_token_in_the_profile_is_refused(self, vault: ScriptedServer) -> None:
        """A secret stands in no config file; the message names what to use instead, and not the token."""
        token = good()
        with pytest.raises(ConfigurationError) as caught:
            log_in(vault.address, {**BY_NAME, "vault_jwt": token})

        assert "use vault_jwt_file, or the environment variable VAULT_JWT" in str(caught.value)
        assert token not in str(caught.value)

    @pytest.mark.parametrize("name", ["VAULT_JWT", "VAULT_ID_TOKEN"])
    @pytest.mark.parametrize(
        ("token", "error", "words"),
        [
            (
                good(exp=NOW),
                AuthenticationError,
                "expired at 2026-11-23T20:17:03Z; have it replaced, or check this host's",
            ),
            ("${CI_JOB_JWT}", ConfigurationError, "is not a JSON Web Token; check what is written there"),
        ],
    )
    def test_token_that_cannot_serve_is_not_sent(
        self, vault: ScriptedServer, name: str, token: str, error: type[Exception], words: str
    ) -> None:
        """An expired token, and what is none, end in one line that names the variable."""
        with pytest.raises(error) as caught:
            log_in(vault.address, BY_NAME, {name: token})

        assert str(caught.value).startswith(f"the token from {name} {words}")
        assert token not in str(caught.value)
        assert vault.requests == []

    @pytest.mark.parametrize(
        ("keys", "words"),
        [
            (
                {"vault_jwt_file": "/no/such/file"},
                "vault_jwt_file: /no/such/file: No such file or directory; check the",
            ),
            ({"vault_jwt_command": "/bin/false"}, "vault_jwt_command: /bin/false ended with code 1; run it by hand"),
            ({"vault_jwt_command": "/no/such"}, "vault_jwt_command: /no/such: No such file or directory; write the"),
        ],
    )
    def test_source_that_is_broken(self, vault: ScriptedServer, keys: dict[str, str], words: str) -> None:
        """A file that is not there, or a command that fails, is broken: nothing else is tried."""
        with pytest.raises(ConfigurationError) as caught:
            log_in(vault.address, BY_NAME | keys, {"VAULT_JWT": good(), "VAULT_ID_TOKEN": good()})

        assert str(caught.value).startswith(words)
        assert vault.requests == []

    @pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
    def test_unreadable_file(self, vault: ScriptedServer) -> None:
        """A file of another user is a matter of configuration; the control shows that its mode is the obstacle."""
        with tempfile.TemporaryDirectory() as directory:
            pathlib.Path(directory).chmod(0o711)
            path = pathlib.Path(directory, "token")
            path.write_text(good())
            path.chmod(0o644)
            with unprivileged():
                log_in(vault.address, {**BY_NAME, "vault_jwt_file": str(path)})
            path.chmod(0o600)
            with unprivileged(), pytest.raises(ConfigurationError, match=r"token: Permission denied; check the path"):
                log_in(vault.address, {**BY_NAME, "vault_jwt_file": str(path)})

        assert len(vault.requests) == 1


class TestAtHome:
    """What ``auto`` takes for a CI job, and what it says where there is no identity token."""

    @pytest.mark.parametrize("platform", ["GitHub", "GitLab"])
    def test_job_with_a_role(self, vault: ScriptedServer, actions: Actions, platform: str) -> None:
        """In a job with an identity token and a role nothing else need be set."""
        environ = actions.environ() if platform == "GitHub" else {"GITLAB_CI": "true", "VAULT_ID_TOKEN": good()}
        log_in(vault.address, {}, environ | {"VAULT_AUTH_ROLE": "webapp"})

        assert vault.requests[0].json["role"] == "webapp"
        assert vault.requests[0].json["jwt"] == (
            actions.given[-1] if platform == "GitHub" else environ["VAULT_ID_TOKEN"]
        )

    @pytest.mark.parametrize(
        ("role", "environ", "reason"),
        [
            ("", {"VAULT_ID_TOKEN": "x"}, "vault_auth_role is not set"),
            (
                "webapp",
                {"GITHUB_ACTIONS": "true"},
                "the GitHub Actions job has no identity token: give it permissions: id-token: write",
            ),
            (
                "webapp",
                {"GITLAB_CI": "true"},
                "the GitLab job has no identity token: give it id_tokens: VAULT_ID_TOKEN",
            ),
            (
                "webapp",
                {},
                "no vault_jwt_file, vault_jwt_command or VAULT_JWT, and not in a job of GitHub Actions or GitLab",
            ),
        ],
    )
    def test_elsewhere(self, role: str, environ: dict[str, str], reason: str) -> None:
        """Without a role, or without a token, the method is passed over with its reason."""
        config = auth.configure({"vault_auth_role": role or None}, environ, None)
        with pytest.raises(AuthUnavailable) as caught:
            JWT.from_config(config).at_home()

        assert str(caught.value) == reason

    @pytest.mark.parametrize("missing", ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"])
    def test_half_of_what_github_sets(self, vault: ScriptedServer, actions: Actions, missing: str) -> None:
        """One of the two variables alone, as in a container that got only one, is broken and not absent."""
        environ = actions.environ()
        del environ[missing]
        (present,) = {name for name in environ if name.startswith("ACTIONS_")}
        with pytest.raises(ConfigurationError) as caught:
            log_in(vault.address, BY_NAME, environ)

        assert str(caught.value) == f"{missing}: not set, but {present} is; hand both on to where this runs"


class TestActions:
    """What is asked of GitHub, and what is made of its answers."""

    @pytest.mark.parametrize(
        ("keys", "query"),
        [
            ({}, "api-version=2.0"),
            ({"vault_jwt_audience": AUDIENCE}, "api-version=2.0&audience=https%3A%2F%2Fvault.example.com"),
        ],
    )
    def test_what_is_sent(self, vault: ScriptedServer, actions: Actions, keys: dict[str, str], query: str) -> None:
        """The address of the job with the audience behind it, and the job's token in the header; each login anew."""
        for _ in range(2):
            log_in(vault.address, BY_NAME | keys, actions.environ())

        asked = actions.requests[-2:]
        assert [(r.method, r.path, r.body) for r in asked] == [("GET", f"/idtoken?{query}", b"")] * 2
        assert {r.headers["authorization"] for r in asked} == {f"bearer {REQUEST_TOKEN}"}
        assert [r.json["jwt"] for r in vault.requests] == actions.given[-2:]
        assert actions.given[-2] != actions.given[-1]

    @pytest.mark.parametrize(
        "url",
        [
            "http://actions.example/idtoken?x=1",
            "ftp://127.0.0.1/idtoken",
            "file:///etc/passwd",
            "https:///idtoken",
            "https://host:port/idtoken",
            "https://host/id\ntoken",
            "idtoken",
        ],
    )
    def test_address_that_is_not_safe(self, vault: ScriptedServer, actions: Actions, url: str) -> None:
        """The job's token goes over TLS or stays on this host; other addresses are refused before anything is sent."""
        with pytest.raises(ConfigurationError) as caught:
            log_in(vault.address, BY_NAME, actions.environ(ACTIONS_ID_TOKEN_REQUEST_URL=url))

        assert str(caught.value) == "ACTIONS_ID_TOKEN_REQUEST_URL: not an https address; take it from the job as it is"
        assert vault.requests == []

    def test_token_that_is_not_one(self, vault: ScriptedServer, actions: Actions) -> None:
        """What cannot stand in a header is refused, unseen."""
        with pytest.raises(ConfigurationError, match=r"^ACTIONS_ID_TOKEN_REQUEST_TOKEN: not a token; take it from"):
            log_in(vault.address, BY_NAME, actions.environ(ACTIONS_ID_TOKEN_REQUEST_TOKEN="two words\r\nX: y"))

    @pytest.mark.parametrize(
        ("answer", "error", "words"),
        [
            (
                reply(401),
                AuthenticationError,
                "refused with HTTP 401; does the job still run that ACTIONS_ID_TOKEN_REQUEST",
            ),
            (reply(400, {"message": "canary"}), AuthenticationError, "refused with HTTP 400; does the job still run"),
            (
                reply(500, {"value": "canary"}),
                UnreachableError,
                "HTTP 500 and no token; try again, or look at GitHub's status page",
            ),
            (reply(302, headers={"Location": "/x"}), UnreachableError, "HTTP 302 and no token; try again"),
            (reply(200, b"canary"), UnreachableError, "HTTP 200 and no token; try again"),
            (reply(200, {"value": None}), UnreachableError, "HTTP 200 and no token; try again"),
        ],
    )
    def test_answers(
        self, vault: ScriptedServer, actions: Actions, answer: bytes, error: type[VaultCredentialError], words: str
    ) -> None:
        """A refusal, a failure and nonsense are one line each, in the class that each belongs to."""
        with ScriptedServer() as platform:
            platform.otherwise = answer
            environ = actions.environ(ACTIONS_ID_TOKEN_REQUEST_URL=f"{platform.address}/idtoken?api-version=2.0")
            with pytest.raises(error) as caught:
                log_in(vault.address, BY_NAME, environ)

        assert str(caught.value).startswith(f"the identity token of GitHub Actions: {words}")
        assert not {"canary", REQUEST_TOKEN} & set(str(caught.value).split())
        assert vault.requests == []

    @pytest.mark.parametrize(
        ("value", "error", "words"),
        [
            ("nonsense", ConfigurationError, "the token from GitHub Actions is not a JSON Web Token"),
            (good(exp=NOW - 1), AuthenticationError, "the token from GitHub Actions expired at "),
        ],
    )
    def test_token_that_cannot_serve(
        self, vault: ScriptedServer, actions: Actions, value: str, error: type[Exception], words: str
    ) -> None:
        """Nonsense, or a token that has ended by this host's clock, is not sent on."""
        with ScriptedServer() as platform:
            platform.otherwise = reply(200, {"value": value})
            with pytest.raises(error, match=words):
                log_in(vault.address, BY_NAME, actions.environ(ACTIONS_ID_TOKEN_REQUEST_URL=f"{platform.address}/t"))

        assert vault.requests == []

    def test_failure_that_passes(
        self, vault: ScriptedServer, actions: Actions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """GitHub's service is asked again as often as Vault would be."""
        monkeypatch.setattr(metadata, "RETRY_WAIT", 0.01)
        token = good()
        with ScriptedServer() as platform:
            platform.on("GET", "idtoken", reply(503), reply(502), reply(200, {"value": token}))
            environ = actions.environ(ACTIONS_ID_TOKEN_REQUEST_URL=f"{platform.address}/v1/idtoken")
            log_in(vault.address, BY_NAME, environ, {"vault_max_retries": "2"})

        assert vault.requests[0].json["jwt"] == token


@pytest.fixture(scope="module")
def gitlab() -> Iterator[Issuer]:
    """A GitLab of this host."""
    with Issuer() as running:
        yield running


@pytest.fixture(scope="module")
def laboratory(fresh: Laboratory, actions: Actions, gitlab: Issuer) -> Laboratory:
    """A real server that was set up as the page tells, for these issuers."""
    replacing = {"https://token.actions.githubusercontent.com": actions.address, "https://gitlab.com": gitlab.address}
    Page("jwt").set_up(fresh.server, fresh.directory, replacing)
    fresh.server.call("POST", "sys/auth/default", {"type": "jwt"})
    configuration = {"jwt_validation_pubkeys": [SIGNER.pem], "default_role": "webapp"}
    fresh.server.call("POST", "auth/default/config", configuration)
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": AUDIENCE, "token_policies": "webapp"}
    fresh.server.call("POST", "auth/default/role/webapp", role)
    return fresh


class TestRealServer:
    """The whole way, from the page's profile to AWS credentials."""

    def test_github(self, run: Run, laboratory: Laboratory, actions: Actions, clean_environment: pathlib.Path) -> None:
        """The page's profile in a job of GitHub Actions gives AWS credentials, and its token is new for each login."""
        before = len(actions.given)
        for _ in range(2):
            environ = actions.environ(VAULT_AWS_CACHE="none")
            assert document(get(run, laboratory, Page("jwt").profile(), clean_environment, **environ))["Version"] == 1

        assert len(set(actions.given[before:])) == 2

    def test_gitlab(self, run: Run, laboratory: Laboratory, gitlab: Issuer, clean_environment: pathlib.Path) -> None:
        """The page's profile with the other mount point in a job of GitLab gives AWS credentials."""
        keys = Page("jwt").profile() | {"vault_auth_mount": "gitlab"}
        environ = {"GITLAB_CI": "true", "VAULT_ID_TOKEN": good(gitlab.signer, iss=gitlab.address)}

        assert document(get(run, laboratory, keys, clean_environment, **environ))["Version"] == 1

    def test_job_without_a_method(
        self, run: Run, laboratory: Laboratory, actions: Actions, clean_environment: pathlib.Path
    ) -> None:
        """``auto`` finds out by itself that it is at home in a job with a role."""
        keys = {"vault_auth_role": "webapp"}
        environ = actions.environ(VAULT_JWT_AUDIENCE=AUDIENCE)

        assert document(get(run, laboratory, keys, clean_environment, **environ))["Version"] == 1

    def test_job_without_permission(self, run: Run, laboratory: Laboratory, clean_environment: pathlib.Path) -> None:
        """A job of GitHub Actions that may not have an identity token is told what it needs."""
        done = get(run, laboratory, Page("jwt").profile(), clean_environment, GITHUB_ACTIONS="true")

        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
        assert ": the GitHub Actions job has no identity token: give it permissions: id-token: write;" in done.stderr

    def test_default_role(self, run: Run, laboratory: Laboratory, clean_environment: pathlib.Path) -> None:
        """Without a role the mount's default one is taken."""
        keys = {"vault_auth_method": "jwt", "vault_auth_mount": "default"}

        assert document(get(run, laboratory, keys, clean_environment, VAULT_JWT=good()))["Version"] == 1

    @pytest.mark.parametrize(
        ("trouble", "code", "words"),
        [
            ("expired", 3, "the token from VAULT_ID_TOKEN expired at "),
            ("audience", 3, "audience claim does not match any expected audience; check vault_auth_role (from "),
            ("subject", 3, "what it is bound to; the token came from VAULT_ID_TOKEN"),
            ("issuer", 3, "login refused: error validating token: invalid issuer (iss) claim; check vault_auth_role"),
            ("key", 3, "login refused: error validating token: error verifying token signature"),
            (
                "role",
                3,
                'login refused: role "other" could not be found; check vault_auth_role (from vault_auth_role in ',
            ),
            ("no role", 3, "login refused: missing role; set vault_auth_role, or check the default role of the mount;"),
            ("mount", 3, "either no auth method is mounted at nowhere"),
            ("no file", 2, "vault_jwt_file: /no/such/file: No such file or directory; check the path"),
            ("no token", 2, "the token from VAULT_ID_TOKEN is not a JSON Web Token"),
        ],
    )
    def test_refused(
        self,
        run: Run,
        laboratory: Laboratory,
        gitlab: Issuer,
        clean_environment: pathlib.Path,
        trouble: str,
        code: int,
        words: str,
    ) -> None:
        """Whatever is wrong, it is one line that names the source or the setting, with the exit code of its class."""
        claims: dict[str, dict[str, Any]] = {
            "expired": {"exp": time.time() - 1},
            "audience": {"aud": "https://other.example.com"},
            "subject": {"sub": "project_path:acme/other:ref_type:branch:ref:main"},
            "issuer": {"iss": "https://other.example.com"},
        }
        changed = {
            "role": {"vault_auth_role": "other"},
            "no role": {"vault_auth_role": ""},
            "mount": {"vault_auth_mount": "nowhere"},
            "no file": {"vault_jwt_file": "/no/such/file"},
        }
        signer = SIGNER if trouble == "key" else gitlab.signer
        token = (
            "no-token" if trouble == "no token" else good(signer, **{"iss": gitlab.address, **claims.get(trouble, {})})
        )
        keys = Page("jwt").profile() | {"vault_auth_mount": "gitlab"} | changed.get(trouble, {})
        done = get(run, laboratory, keys, clean_environment, VAULT_ID_TOKEN=token)

        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
        assert words in done.stderr
        assert token not in done.stderr

    def test_rotation(self, laboratory: Laboratory, gitlab: Issuer, tmp_path: pathlib.Path) -> None:
        """A program that runs on logs in with the token that the file holds then, not with the one it began with."""
        path, skipped = tmp_path / "token", 0.0
        keys = Page("jwt").profile() | {"vault_auth_mount": "gitlab", "vault_jwt_file": str(path)}
        config = auth.configure({"vault_addr": laboratory.server.address}, {}, Profile("webapp", keys))
        fetcher = Fetcher(config, clock=lambda: time.time() + skipped)

        def replace(**claims: Any) -> None:
            path.write_text(good(gitlab.signer, iss=gitlab.address, **claims))
            path.chmod(0o600)

        replace()
        fetcher.fetch()
        skipped = 2 * HOUR  # the token of Vault lives for a quarter of one, that of GitLab for one
        laboratory.assumed_role("webapp")
        with pytest.raises(AuthenticationError, match=r"token expired at .*; have it replaced"):
            fetcher.fetch()
        replace(exp=time.time() + 3 * HOUR)

        assert fetcher.fetch().seconds_left(fetcher.clock()) > 0
