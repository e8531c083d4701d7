"""GitHub: what it sends, from where, and what a refusal means.

No server here has the method: the answer is that of Vault's documentation
(https://developer.hashicorp.com/vault/docs/auth/github#via-the-api); a refusal comes with status 500
(https://github.com/coder/modules/issues/108), from older versions with 400.
"""

from __future__ import annotations

import pathlib
from typing import Any, ClassVar

import pytest

from vault_credential_process import auth, sources
from vault_credential_process.auth import AuthMethod
from vault_credential_process.auth.github import GitHub
from vault_credential_process.errors import AuthenticationError, ConfigurationError, UnreachableError
from vault_credential_process.profiles import Profile
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import ScriptedServer, reply

from ..bench import Clock
from ..conftest import Run
from ..pages import Page
from .commands import requests_of
from .methods import log_in
from .passwords import CREDENTIALS, PAIR, READ, fetcher, get_from
from .people import Somebody

SECRET = "ghp_canary16C7e42F292c6912E7710c838347Ae178B4a"
TOKEN = "1977fceb-3bfa-6c71-4d1f-b64af98ac018"  # the documentation's
LOGIN = "auth/github/login"
KEYS = {"vault_auth_method": "github"}
DOCUMENTED = reply(
    200,
    {
        "auth": {
            "renewable": True,
            "lease_duration": 2764800,
            "metadata": {"username": "my-user", "org": "my-org"},
            "policies": ["default", "dev-policy"],
            "accessor": "f93c4b2d-18b6-2b50-7a32-0fecf88237b8",
            "client_token": TOKEN,
        }
    },
)
LASTING = reply(200, {"lease_id": "aws/creds/webapp/1", "lease_duration": 3600, "data": {**PAIR, "ttl": 3600}})
REMEDY = ": it needs the scope read:org, and its owner must be a member of the organisation"


class TestContract(AuthMethodContract):
    """The contract of every method."""

    method: ClassVar[type[AuthMethod]] = GitHub

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"vault_github_token": SECRET}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return (SECRET,)


class TestContractOfACommand(TestContract):
    """The same where a command prints the token."""

    @pytest.fixture
    def settings(self, tmp_path: pathlib.Path) -> dict[str, Any]:
        (tmp_path / "token").write_text(SECRET)
        return {"vault_github_token_command": f"/bin/cat {tmp_path}/token"}


@pytest.fixture
def github(scripted: ScriptedServer) -> ScriptedServer:
    """A server that accepts the login as the documentation has it."""
    scripted.on("POST", LOGIN, DOCUMENTED)
    scripted.on("GET", READ, CREDENTIALS)
    return scripted


@pytest.fixture
def token_file(tmp_path: pathlib.Path) -> pathlib.Path:
    """A file that holds the token."""
    path = tmp_path / "github-token"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


def test_profile_of_the_page_logs_in(
    run: Run, github: ScriptedServer, clean_environment: pathlib.Path, token_file: pathlib.Path
) -> None:
    """The page's profile gives AWS credentials; the token, and nothing else, is the body of the login."""
    keys = Page("github").profile({"~/.config/webapp/github-token": str(token_file)})
    done = get_from(run, github.address, keys | {"vault_addr": github.address}, clean_environment)

    assert (done.returncode, done.stderr) == (0, "")
    assert [r.json for r in github.requests if r.method == "POST" and r.path == f"/v1/{LOGIN}"] == [{"token": SECRET}]


def test_commands_of_the_page() -> None:
    """The set-up commands ask the server for what the API documentation tells."""
    assert requests_of(Page("github")) == [
        ("sys/auth/github", {"type": "github"}),
        ("auth/github/config", {"organization": "acme-org", "token_ttl": "8h"}),
        ("auth/github/map/teams/aws", {"value": "webapp"}),
    ]


@pytest.mark.parametrize("place", ["file", "variable", "command", "keyring"])
def test_token_of_each_place(
    github: ScriptedServer, token_file: pathlib.Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The token comes from a file, a variable, a command or the keyring."""
    entries = {(sources.SERVICE, "webapp"): SECRET}
    monkeypatch.setattr("keyring.get_password", lambda service, name: entries.get((service, name)))
    keys = {
        "file": {"vault_github_token_file": str(token_file)},
        "command": {"vault_github_token_command": f"/bin/cat {token_file}"},
        "keyring": {"vault_github_token_keyring": "webapp"},
        "variable": {},
    }[place]
    environ = {"VAULT_GITHUB_TOKEN": SECRET} if place == "variable" else {}

    assert log_in(github.address, {**KEYS, **keys}, environ).value == TOKEN
    assert [request.json for request in github.requests] == [{"token": SECRET}]


def test_another_token_is_another_identity(token_file: pathlib.Path) -> None:
    """The bytes of the token tell who it is, wherever they lie; of a command its words do."""

    def identity(keys: dict[str, str], **environ: str) -> Any:
        return auth.choose(auth.configure({}, environ, Profile("webapp", {**KEYS, **keys}))).identity()

    by_file = identity({"vault_github_token_file": str(token_file)})
    assert by_file == identity({}, VAULT_GITHUB_TOKEN=SECRET)
    assert by_file.secrets == (SECRET,)
    token_file.write_text("another")
    assert by_file != identity({"vault_github_token_file": str(token_file)})
    commands = [identity({"vault_github_token_command": f"/bin/{name}"}) for name in ("one", "two")]
    assert commands[0] != commands[1]
    assert commands[0].secrets == ()


def test_replaced_token_is_taken_up(github: ScriptedServer, token_file: pathlib.Path) -> None:
    """A token that is replaced while a program runs is the one that the next call logs in with."""
    keys = {**KEYS, "vault_github_token_file": str(token_file)}
    made = fetcher(github.address, keys, Clock())
    made.fetch()
    token_file.write_text("another")
    made.fetch()

    assert [r.json for r in github.requests if r.path == f"/v1/{LOGIN}"] == [{"token": SECRET}, {"token": "another"}]


def test_replaced_token_ends_the_quick_answer(
    run: Run, github: ScriptedServer, clean_environment: pathlib.Path, token_file: pathlib.Path
) -> None:
    """A command that would find its answer at once looks at the file first: somebody else's token gets another."""
    github.on("GET", READ, LASTING)
    keys = {**KEYS, "vault_github_token_file": str(token_file)}
    for token in (SECRET, "another"):
        token_file.write_text(token)
        done = get_from(run, github.address, keys, clean_environment)
        assert (done.returncode, done.stderr) == (0, "")

    assert [r.json for r in github.requests if r.path == f"/v1/{LOGIN}"] == [{"token": SECRET}, {"token": "another"}]


def test_person_is_asked_once(github: ScriptedServer) -> None:
    """Without a token anywhere a person is asked for it, once."""
    somebody = Somebody()
    somebody.answers = [SECRET]

    assert log_in(github.address, KEYS, person=somebody).value == TOKEN
    assert somebody.answers == []
    assert [request.json for request in github.requests] == [{"token": SECRET}]


@pytest.mark.parametrize(
    ("keys", "environ", "code", "words"),
    [
        ({}, {}, 3, "auth/github: nobody is logged in; run: vault-credential-process login --profile webapp\n"),
        ({}, {"VAULT_GITHUB_TOKEN": " "}, 2, "vault_github_token: VAULT_GITHUB_TOKEN: empty\n"),
        (
            {"vault_github_token_file": "/no/such"},
            {},
            2,
            "vault_github_token_file: /no/such: No such file or directory",
        ),
        ({"vault_github_token_command": "/bin/false"}, {}, 2, "_command: /bin/false ended with code 1; run it by hand"),
        ({"vault_auth_mount": "nowhere"}, {"VAULT_GITHUB_TOKEN": SECRET}, 3, "no auth method is mounted at nowhere ("),
    ],
)
def test_what_is_wrong_says_what_to_do(
    run: Run,
    github: ScriptedServer,
    clean_environment: pathlib.Path,
    keys: dict[str, str],
    environ: dict[str, str],
    code: int,
    words: str,
) -> None:
    """Each mistake is one line, with the code of its class."""
    github.on("POST", "auth/nowhere/login", reply(403, {"errors": ["permission denied"]}))
    done = get_from(run, github.address, {**KEYS, **keys}, clean_environment, **environ)

    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize(
    "said",
    [
        "GET https://api.github.com/user: 401 Bad credentials []",
        "user is not part of required org",
        "GET https://api.github.com/user/teams?per_page=100: 403 Resource not accessible by personal access token []",
    ],
)
def test_token_that_github_does_not_take(github: ScriptedServer, status: int, said: str) -> None:
    """A refused token is a matter of authentication, although Vault answers with the status of a failure of its own."""
    github.on("POST", LOGIN, reply(status, {"errors": [said]}))

    with pytest.raises(AuthenticationError) as caught:
        log_in(github.address, KEYS, {"VAULT_GITHUB_TOKEN": SECRET})
    assert str(caught.value) == (
        f"{github.address}/v1/{LOGIN}: login refused: {said}; check the GitHub token (from VAULT_GITHUB_TOKEN){REMEDY}"
    )
    assert github.asked("POST", LOGIN) == 1


def test_github_away(github: ScriptedServer) -> None:
    """A failure between Vault and GitHub is none of the token."""
    said = 'Get "https://api.github.com/user": dial tcp: lookup api.github.com: no such host'
    github.on("POST", LOGIN, reply(500, {"errors": [said]}))

    with pytest.raises(UnreachableError, match=r"HTTP 500: Get .*: no such host; see Vault's log, then try again"):
        log_in(github.address, KEYS, {"VAULT_GITHUB_TOKEN": SECRET})


def test_empty_answer_is_not_sent(github: ScriptedServer) -> None:
    """A person who gives nothing sends nothing."""
    somebody = Somebody()
    somebody.answers = [""]

    with pytest.raises(ConfigurationError, match="vault_github_token: the answer: empty"):
        log_in(github.address, KEYS, person=somebody)
    assert github.requests == []


@pytest.mark.parametrize("status", [200, 400, 500])
def test_token_is_in_no_stream(
    run: Run, github: ScriptedServer, clean_environment: pathlib.Path, token_file: pathlib.Path, status: int
) -> None:
    """At its most talkative the command shows neither GitHub's token nor Vault's, whatever the server repeats."""
    if status != 200:
        github.on("POST", LOGIN, reply(status, {"errors": [f"401 Bad credentials {SECRET}"]}))
    log = clean_environment / "log"
    keys = {**KEYS, "vault_github_token_file": str(token_file)}
    done = get_from(run, github.address, keys, clean_environment, "-v", f"--log-file={log}")
    told = done.stdout + done.stderr + log.read_text()

    assert done.returncode == (0 if status == 200 else 3)
    assert LOGIN in log.read_text()
    assert [secret for secret in (SECRET, TOKEN) if secret in told] == []
