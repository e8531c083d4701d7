"""What the methods with a user name and a password promise besides; each has these tests for its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import urllib.parse
from collections.abc import Iterator
from typing import Any, ClassVar

import hypothesis
import hypothesis.strategies as st
import pytest

from vault_credential_process import auth, parsers
from vault_credential_process.auth.password import PasswordMethod
from vault_credential_process.cache.memory import Memory
from vault_credential_process.errors import AuthenticationError, ConfigurationError, VaultCredentialError
from vault_credential_process.expiry import Deadline
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.profiles import Profile
from vault_credential_process.refused import WAIT
from vault_credential_process.testing.auth import TOKEN, AuthMethodContract
from vault_credential_process.testing.scripted import ScriptedServer, reply

from ..bench import Clock
from ..conftest import COMMAND, Run
from .methods import log_in
from .people import Somebody

PASSWORD = "canary-password"
ACCEPTED = AuthMethodContract.accepted
BRIEFLY = reply(200, {"auth": {"client_token": TOKEN, "lease_duration": 100, "policies": ["app"]}})
READ, RENEW = "aws/creds/webapp", "auth/token/renew-self"
PAIR = {"access_key": "ASIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMI", "security_token": "Fwo", "ttl": 300}
CREDENTIALS = reply(200, {"lease_id": "aws/creds/webapp/1", "lease_duration": 300, "data": PAIR})


def get_from(
    run: Run, address: str, keys: dict[str, str], home: pathlib.Path, *flags: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run ``get`` on a profile with these keys at a scripted server; return the finished process."""
    settings = {"vault_addr": address, "vault_aws_role": "webapp", "vault_max_retries": "0", **keys}
    path = home / "config"
    text = "[profile webapp]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())
    if not path.exists() or path.read_text() != text:
        # A file that was touched ends every quick answer.
        path.write_text(text)
    given = {"AWS_CONFIG_FILE": str(path), **environ}
    return run(*COMMAND.split(), "get", "--profile", "webapp", *flags, **given)


def fetcher(address: str, keys: dict[str, str], clock: Clock, **environ: str) -> Fetcher:
    """Return a fetcher in the process, with a cache of its own, for a profile with these keys."""
    settings = {"vault_addr": address, "vault_aws_role": "webapp", "vault_max_retries": "0", **keys}
    return Fetcher(auth.configure({}, environ, Profile("webapp", settings)), cache=Memory(), clock=clock)


def _is_user_name(text: str) -> bool:
    try:
        parsers.parse_username(text)
    except ValueError:
        return False
    return True


LETTERS = st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" /@%.\\?#;:+&=~ü")
NAMES = st.text(LETTERS, min_size=1).filter(_is_user_name)


class PasswordContract(AuthMethodContract):
    """Inherit and name the method; :attr:`wrong` is what Vault says, :attr:`keys` what a profile needs besides."""

    method: ClassVar[type[PasswordMethod]]
    path: ClassVar[str] = "auth/{mount}/login/alice"
    keys: ClassVar[dict[str, str]] = {}
    wrong: ClassVar[str]
    sent: ClassVar[dict[str, str]] = {"password": PASSWORD}

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"vault_username": "alice", "vault_password": PASSWORD, **self.keys}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return (PASSWORD,)

    @property
    def profile(self) -> dict[str, str]:
        """Keys of a profile, without a password."""
        return {"vault_auth_method": self.method.name, "vault_username": "alice", **self.keys}

    @property
    def login_path(self) -> str:
        """Where alice logs in."""
        return self.path.format(mount=self.method.default_mount)

    @pytest.fixture
    def willing(self) -> Iterator[ScriptedServer]:
        """A server that accepts every login and gives credentials of five minutes."""
        with ScriptedServer() as server:
            server.otherwise = ACCEPTED
            server.on("GET", READ, CREDENTIALS)
            yield server

    @pytest.fixture
    def unwilling(self, willing: ScriptedServer) -> ScriptedServer:
        """The same, but the password is wrong."""
        willing.on("POST", self.login_path, reply(400, {"errors": [self.wrong]}))
        return willing

    def test_sends_password(self, willing: ScriptedServer) -> None:
        """The password, and nothing else but what the method has besides, is the body of the login."""
        assert log_in(willing.address, self.profile, {"VAULT_PASSWORD": PASSWORD}).value == TOKEN

        assert [request.json for request in willing.requests] == [self.sent]

    def test_nobody_to_ask(self, willing: ScriptedServer) -> None:
        """Without a password and without a person the error says how to log in, and nothing is sent."""
        with pytest.raises(AuthenticationError) as caught:
            log_in(willing.address, self.profile)

        assert str(caught.value) == (
            f"{willing.address}/v1/auth/{self.method.default_mount}: nobody is logged in; "
            f"run: vault-credential-process login --profile webapp --vault-addr {willing.address}"
        )
        assert willing.requests == []

    def test_person_is_asked_once(self, willing: ScriptedServer) -> None:
        """A person is asked for the password, once; what is stored is not asked for."""
        somebody, silent = Somebody(), Somebody()
        somebody.answers = [PASSWORD]
        log_in(willing.address, self.profile, person=somebody)
        log_in(willing.address, self.profile, {"VAULT_PASSWORD": PASSWORD}, person=silent)

        assert somebody.answers == []
        assert [r.json["password"] for r in willing.requests if r.method == "POST"] == [PASSWORD, PASSWORD]

    @pytest.mark.parametrize("where", ["variable", "file", "person"])
    def test_empty_password_is_not_sent(self, willing: ScriptedServer, tmp_path: pathlib.Path, where: str) -> None:
        """An empty password, by which a directory may let in anybody, is refused before it is sent."""
        somebody, environ, keys = Somebody(), {}, dict(self.profile)
        if where == "variable":
            environ["VAULT_PASSWORD"] = " \n"
        elif where == "file":
            (tmp_path / "password").write_text("\n")
            keys["vault_password_file"] = str(tmp_path / "password")
        else:
            somebody.answers = [""]

        with pytest.raises(ConfigurationError, match=r"^vault_password.*: empty$"):
            log_in(willing.address, keys, environ, person=somebody)
        assert willing.requests == []

    def test_missing_file(self, willing: ScriptedServer) -> None:
        """A password file that is not there is told by its path, and nothing is sent."""
        with pytest.raises(ConfigurationError, match="vault_password_file: /no/such/file: No such file"):
            log_in(willing.address, {**self.profile, "vault_password_file": "/no/such/file"})
        assert willing.requests == []

    def test_user_name_is_required(self, willing: ScriptedServer) -> None:
        """Without a user name the error lists where it can be set."""
        keys = {key: value for key, value in self.profile.items() if key != "vault_username"}

        with pytest.raises(ConfigurationError, match=r"^vault_username: missing \(set --username, vault_username in "):
            log_in(willing.address, keys, {"VAULT_PASSWORD": PASSWORD})

    @hypothesis.given(name=NAMES)
    @hypothesis.example("bob b")
    @hypothesis.example("alice@example.org")
    @hypothesis.example("example/alice")
    @hypothesis.example("EXAMPLE\\alice")
    @hypothesis.example("50%2Falice")
    @hypothesis.example("a..b")
    @hypothesis.example("jürgen")
    @hypothesis.example("..%2f..%2fsys")
    @hypothesis.settings(max_examples=60, suppress_health_check=list(hypothesis.HealthCheck))
    def test_user_name_is_one_segment(self, name: str) -> None:
        """Whatever a user is called, the name is the last segment of the path, and the login goes nowhere else."""
        with ScriptedServer() as server:
            server.otherwise = ACCEPTED
            log_in(server.address, {**self.profile, "vault_username": name}, {"VAULT_PASSWORD": PASSWORD})
            (request,) = server.requests

        before, _, segment = request.path.rpartition("/")
        assert (request.method, before) == ("POST", f"/v1/auth/{self.method.default_mount}/login")
        assert urllib.parse.unquote(segment, errors="strict") == name.strip()
        assert set(segment) & set("?#;") == set()

    @pytest.mark.parametrize("name", ["..", ".", "../sys/x", "a/../b", "/alice", "alice/", "a//b", "a/./b"])
    def test_user_name_that_leads_elsewhere(self, willing: ScriptedServer, name: str) -> None:
        """A name that a server would take for another path is refused."""
        with pytest.raises(ConfigurationError, match="vault_username: not a user name: a path that leads elsewhere"):
            log_in(willing.address, {**self.profile, "vault_username": name}, {"VAULT_PASSWORD": PASSWORD})
        assert willing.requests == []

    def test_replaced_file_is_read_at_the_next_login(self, willing: ScriptedServer, tmp_path: pathlib.Path) -> None:
        """A password that is replaced while a program runs is the one that the next login sends."""
        path = tmp_path / "password"
        path.write_text("first")
        path.chmod(0o600)
        clock = Clock()
        made = fetcher(willing.address, {**self.profile, "vault_password_file": str(path)}, clock)
        made.fetch()
        path.write_text("second")
        clock.now += 1000
        made.fetch()

        assert [r.json["password"] for r in willing.requests if r.method == "POST"] == ["first", "second"]

    def test_renewal(self, willing: ScriptedServer) -> None:
        """The token is renewed towards its end, unless to renew it were to log in once more: then that is done."""
        clock = Clock()
        made = fetcher(willing.address, self.profile, clock, VAULT_PASSWORD=PASSWORD)
        made.fetch()
        clock.now += 500
        made.fetch()

        renewals, logins = willing.asked("POST", RENEW), willing.asked("POST", self.login_path)
        assert (renewals, logins) == ((1, 1) if self.method.renews else (0, 2))

    def test_refused_password_is_not_sent_again(self, unwilling: ScriptedServer) -> None:
        """Calls that try and try send a stored password that was refused once in ten minutes: users get locked."""
        clock = Clock()
        made = fetcher(unwilling.address, self.profile, clock, VAULT_PASSWORD=PASSWORD)
        told = []
        for _ in range(3):
            with pytest.raises(AuthenticationError) as caught:
                made.fetch()
            told.append(str(caught.value))
        assert unwilling.asked("POST", self.login_path) == 1
        assert told[0].endswith(
            f"login refused: {self.wrong}; check vault_username (from vault_username in [profile webapp]) and the "
            "password (from VAULT_PASSWORD)"
        )
        assert (
            told[1]
            == told[2]
            == (
                f"{unwilling.address}/v1/{self.login_path}: login refused before: {self.wrong}; the password (from "
                "VAULT_PASSWORD) is not sent again until 2026-11-23T20:27:03Z, for a few wrong ones lock a user out: "
                "replace it or correct vault_username (from vault_username in [profile webapp]), or run: "
                "vault-credential-process login --profile webapp"
            )
        )

        clock.now += WAIT
        with pytest.raises(AuthenticationError):
            made.fetch()
        assert unwilling.asked("POST", self.login_path) == 2

    def test_refused_password_is_sent_again_when_somebody_wants_it(self, unwilling: ScriptedServer) -> None:
        """A person who runs ``login`` knows why: it tries at once, and once it works programs do so too."""
        clock = Clock()
        made = fetcher(unwilling.address, self.profile, clock, VAULT_PASSWORD=PASSWORD)
        with pytest.raises(AuthenticationError):
            made.fetch()
        with pytest.raises(AuthenticationError, match="login refused: "):
            made.log_in(Somebody(), Deadline(20))
        unwilling.on("POST", self.login_path, BRIEFLY)
        made.log_in(Somebody(), Deadline(20))
        clock.now += 200
        made.fetch()

        assert unwilling.asked("POST", self.login_path) == 4

    def test_what_a_person_tried_is_not_held_against_programs(self, unwilling: ScriptedServer) -> None:
        """A login of a person that was refused, by a push that was denied say, keeps no program from trying."""
        made = fetcher(unwilling.address, self.profile, Clock(), VAULT_PASSWORD=PASSWORD)
        with pytest.raises(AuthenticationError):
            made.log_in(Somebody(), Deadline(20))
        with pytest.raises(AuthenticationError, match="login refused: "):
            made.fetch()

        assert unwilling.asked("POST", self.login_path) == 2

    def test_another_password_is_sent_at_once(
        self, run: Run, unwilling: ScriptedServer, clean_environment: pathlib.Path
    ) -> None:
        """Processes share that memory, by a keyed hash of the password: another one is tried at once."""
        home = clean_environment
        told = [get_from(run, unwilling.address, self.profile, home, VAULT_PASSWORD=PASSWORD) for _ in range(2)]
        assert [done.returncode for done in told] == [3, 3]
        assert [done.stderr.count("\n") for done in told] == [1, 1]
        assert "is not sent again until" in told[1].stderr
        assert unwilling.asked("POST", self.login_path) == 1
        files = [path for path in pathlib.Path(os.environ["XDG_RUNTIME_DIR"]).rglob("*") if path.is_file()]
        kept = b"".join(path.read_bytes() for path in files)
        assert b"refused password" in kept
        assert PASSWORD.encode() not in kept

        unwilling.on("POST", self.login_path, ACCEPTED)
        done = get_from(run, unwilling.address, self.profile, home, VAULT_PASSWORD="another")
        assert (done.returncode, done.stderr) == (0, "")
        assert unwilling.asked("POST", self.login_path) == 2

    @pytest.mark.parametrize("status", [200, 400, 403, 404, 500])
    def test_password_is_in_no_stream(
        self, run: Run, willing: ScriptedServer, clean_environment: pathlib.Path, planted: tuple[str, ...], status: int
    ) -> None:
        """At its most talkative the command shows neither the password nor the token, whatever the server repeats."""
        said = reply(status, {"errors": [f"wrong: {secret}" for secret in planted]}) if status != 200 else ACCEPTED
        willing.on("POST", self.login_path, said)
        log = clean_environment / "log"
        flags = ("-v", f"--log-file={log}")
        done = get_from(run, willing.address, self.profile, clean_environment, *flags, VAULT_PASSWORD=PASSWORD)
        told = done.stdout + done.stderr + log.read_text()

        assert done.returncode == {200: 0, 400: 3, 403: 3, 404: 2, 500: 5}[status]
        assert "auth/" in log.read_text()
        assert [secret for secret in (*planted, TOKEN) if secret in told] == []

    def test_server_behind_vault_is_away(self, willing: ScriptedServer) -> None:
        """Where Vault does not reach whom it asks that is no wrong password: it is told as such, and tried again."""
        if not self.method.asked:
            return
        away = "1 error occurred:\n\t* dial tcp 192.0.2.1:636: connect: connection refused\n\n"
        willing.on("POST", self.login_path, reply(400, {"errors": [away]}))
        made = fetcher(willing.address, self.profile, Clock(), VAULT_PASSWORD="e")
        for _ in range(2):
            with pytest.raises(VaultCredentialError) as caught:
                made.fetch()
            assert caught.value.exit_code == 5
            assert f"Vault does not reach {self.method.asked}: " in str(caught.value)

        assert willing.asked("POST", self.login_path) == 2
