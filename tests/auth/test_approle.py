"""AppRole: what it sends, what it makes of the answers, and the whole way on a real server."""

from __future__ import annotations

import pathlib
import shlex
import tempfile
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from vault_credential_process import auth, sources
from vault_credential_process.auth import AuthMethod
from vault_credential_process.auth.approle import AppRole
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory, write_private
from vault_credential_process.errors import AuthenticationError, ConfigurationError, SealedError
from vault_credential_process.expiry import Deadline
from vault_credential_process.refused import WAIT
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply

from ..bench import Bench, Clock
from ..conftest import ENGINE, Run
from ..pages import Page
from ..test_cache import InMemoryKeyring, store
from ..test_sources import unprivileged
from .methods import document, get
from .people import Somebody
from .test_auto import APPROLE, NOW, SECRET_ID, log_in

__all__ = ["store"]

LOGIN = "auth/approle/login"
with_namespaces = pytest.mark.skipif(
    "bao" not in pathlib.Path(ENGINE.binary).name, reason="only OpenBao has namespaces without a licence"
)


class TestContract(AuthMethodContract):
    """The contract of every method."""

    method: ClassVar[type[AuthMethod]] = AppRole

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"vault_role_id": "role", "vault_secret_id": "canary-secret-id"}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return ("canary-secret-id",)


def secret_file(directory: pathlib.Path, content: str) -> str:
    """Write a secret file and return its path."""
    path = directory / "secret"
    write_private(path, content)
    return str(path)


def test_logs_in(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """Role ID and Secret ID go to the mount point; the token's life counts from before the request."""
    scripted.on_login(exchanges["approle_login"])
    token = log_in(scripted, APPROLE)

    assert (token.value, token.expiry, token.external) == ("hvs.EXAMPLE", NOW + 3600, False)
    assert [r.json for r in scripted.requests] == [{"role_id": "ROLE_ID", "secret_id": SECRET_ID}]
    assert "x-vault-token" not in scripted.requests[0].headers


def test_without_a_secret_id(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """A role that binds no Secret ID is asked without one."""
    scripted.on_login(exchanges["approle_login"])
    log_in(scripted, {"VAULT_ROLE_ID": "ROLE_ID"})

    assert [r.json for r in scripted.requests] == [{"role_id": "ROLE_ID"}]


def test_login_goes_to_its_mount_and_namespace(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """``vault_auth_mount`` and ``vault_auth_namespace`` say where the login is."""
    scripted.on_login(exchanges["approle_login"], mount="team/machines")
    keys = {"vault_auth_mount": "/team/machines/", "vault_namespace": "a", "vault_auth_namespace": "logins"}
    log_in(scripted, APPROLE, keys)

    assert [r.headers["x-vault-namespace"] for r in scripted.requests] == ["logins"]


@pytest.mark.parametrize(
    ("environ", "in_profile", "argument", "expected"),
    [
        ({"VAULT_SECRET_ID": "exported"}, True, None, "from-file"),
        ({"VAULT_SECRET_ID": "exported"}, False, None, "exported"),
        ({"BAO_SECRET_ID": "bao", "VAULT_SECRET_ID": "exported"}, False, None, "bao"),
        ({}, True, "passed", "passed"),
    ],
)
def test_secret_id_comes_from_the_nearest_place(
    scripted: ScriptedServer,
    exchanges: dict[str, Any],
    tmp_path: pathlib.Path,
    environ: dict[str, str],
    in_profile: bool,
    argument: str | None,
    expected: str,
) -> None:
    """A file named in the profile hides an exported Secret ID; an argument in the process hides both."""
    scripted.on_login(exchanges["approle_login"])
    keys = {"vault_role_id": "ROLE_ID"}
    if in_profile:
        keys["vault_secret_id_file"] = secret_file(tmp_path, "from-file\n")
    log_in(scripted, environ, keys, {"vault_secret_id": argument})

    assert [r.json["secret_id"] for r in scripted.requests] == [expected]


def test_secret_id_of_a_keyring_entry(
    scripted: ScriptedServer, exchanges: dict[str, Any], store: InMemoryKeyring
) -> None:
    """``vault_secret_id_keyring`` names an entry; it is read at the login only, not to tell who logs in."""
    scripted.on_login(exchanges["approle_login"])
    keys = {"vault_role_id": "ROLE_ID", "vault_secret_id_keyring": "webapp"}
    with pytest.raises(ConfigurationError, match="secret set webapp"):
        log_in(scripted, {}, keys)
    store.set_password(sources.SERVICE, "webapp", SECRET_ID)
    reads = store.reads
    log_in(scripted, {}, keys)

    assert [r.json["secret_id"] for r in scripted.requests] == [SECRET_ID]
    assert store.reads == reads + 1


def test_secret_id_of_a_command(scripted: ScriptedServer, exchanges: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """What ``vault_secret_id_command`` prints is the Secret ID."""
    scripted.on_login(exchanges["approle_login"])
    command = f"/bin/cat {shlex.quote(secret_file(tmp_path, SECRET_ID))}"
    log_in(scripted, {}, {"vault_role_id": "ROLE_ID", "vault_secret_id_command": command})

    assert [r.json["secret_id"] for r in scripted.requests] == [SECRET_ID]


@pytest.mark.parametrize(
    ("exchange", "environ", "words"),
    [
        (
            "approle_login_bad_secret_id",
            {},
            "check vault_role_id (from VAULT_ROLE_ID) and the Secret ID (from VAULT_SECRET_ID): it may have expired",
        ),
        (
            "approle_login_missing_secret_id",
            {"VAULT_SECRET_ID": ""},
            "and set vault_secret_id_file or VAULT_SECRET_ID if the role binds a Secret ID",
        ),
        (
            "approle_login_bad_secret_id",
            {"VAULT_SECRET_ID": "hvs.WRAPPING"},
            "begins like a Vault token: if it is a wrapping token, name its file in vault_secret_id_wrapped_file",
        ),
        (
            "auth_mount_missing",
            {},
            "no auth method is mounted at approle (Vault answers 403 for that; check",
        ),
    ],
)
def test_refused_login_says_what_to_check(
    scripted: ScriptedServer, exchanges: dict[str, Any], exchange: str, environ: dict[str, str], words: str
) -> None:
    """The message names address and path, where Role ID and Secret ID came from, and never the Secret ID."""
    scripted.on_login(exchanges[exchange])

    with pytest.raises(AuthenticationError) as caught:
        log_in(scripted, APPROLE | environ)
    assert str(caught.value).startswith(f"{scripted.address}/v1/auth/approle/login: ")
    assert words in str(caught.value)
    assert SECRET_ID not in str(caught.value)
    assert "WRAPPING" not in str(caught.value)


def test_secret_id_that_the_server_repeats_stays_secret(scripted: ScriptedServer) -> None:
    """A server that quotes the Secret ID in its error does not bring it into ours."""
    scripted.on("POST", LOGIN, reply(400, {"errors": [f"no such secret: {SECRET_ID}"]}))

    with pytest.raises(AuthenticationError, match=r"no such secret: \*\*\*; "):
        log_in(scripted, APPROLE)


def test_login_while_sealed(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """A sealed server is not a bad Secret ID, and is not asked twice."""
    scripted.on_login(exchanges["sealed_login"])

    with pytest.raises(SealedError, match="Vault is sealed; unseal it"):
        log_in(scripted, APPROLE | {"VAULT_MAX_RETRIES": "2"})
    assert len(scripted.requests) == 1


def test_login_token_of_one_use_is_refused_before_the_read(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """On its last use Vault keeps the credentials back, after it made them: such a token is not even tried."""
    scripted.on_login(exchanges["approle_login_num_uses"])

    with pytest.raises(AuthenticationError) as caught:
        log_in(scripted, APPROLE)
    assert str(caught.value) == (
        f"{scripted.address}/v1/auth/approle: the login gave a token of one use, and on its last use Vault keeps the "
        "credentials back; set token_num_uses to 0, or to 2 or more"
    )


def test_file_that_this_user_may_not_read(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """A forbidden Secret ID file is broken configuration: nothing is sent. A control shows that the mode forbids it."""
    scripted.on_login(exchanges["approle_login"])
    with tempfile.TemporaryDirectory() as directory:
        pathlib.Path(directory).chmod(0o711)  # the stranger may enter here, other than pytest's own directories
        path = pathlib.Path(secret_file(pathlib.Path(directory), SECRET_ID))
        keys = {"vault_role_id": "ROLE_ID", "vault_secret_id_file": str(path)}
        log_in(scripted, {}, keys)  # loads all that the stranger may not be able to load
        path.chmod(0o444)
        with unprivileged():
            log_in(scripted, {}, keys)
        path.chmod(0)
        with unprivileged(), pytest.raises(ConfigurationError) as caught:
            log_in(scripted, {}, keys)

    assert str(caught.value) == f"vault_secret_id_file: {path}: Permission denied; check the path and its permissions"
    assert len(scripted.requests) == 2


@pytest.mark.parametrize("key", ["file", "keyring", "command", "wrapped_file"])
def test_half_an_approle_is_broken(key: str) -> None:
    """Whatever says where the Secret ID is makes a missing Role ID an error, not a reason to try another method."""
    config = auth.configure({f"vault_secret_id_{key}": "/x"}, {"VAULT_TOKEN": "hvs.EXAMPLE"}, None)

    with pytest.raises(ConfigurationError, match=r"vault_role_id: missing \(set --role-id, "):
        auth.choose(config)


def test_replaced_secret_id_is_taken_up_by_a_program_that_runs(
    scripted: ScriptedServer, exchanges: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    """A fetcher that lives for weeks logs in with what the file holds at that time."""
    bench = Bench(scripted, exchanges, Clock())
    bench.on_login(lease_duration=3600, renewable=False)
    scripted.on("GET", "aws/creds/webapp", bench.lease(900))
    path = secret_file(tmp_path, "of-the-first-week")
    fetcher = bench.fetcher(environ={}, vault_role_id="role", vault_secret_id_file=path)
    fetcher.fetch()
    fetcher.fetch()
    secret_file(tmp_path, "of-the-second-week")
    bench.clock.now += 7 * 86400
    fetcher.fetch()

    logins = [r.json["secret_id"] for r in scripted.requests if r.path == f"/v1/{LOGIN}"]
    assert logins == ["of-the-first-week", "of-the-second-week"]


def test_refused_secret_id_is_not_sent_again(
    scripted: ScriptedServer, exchanges: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    """One that was refused goes out once in ten minutes, for it locks the role; another one goes out at once."""
    scripted.on_login(exchanges["approle_login_bad_secret_id"])
    bench = Bench(scripted, exchanges, Clock())
    path = secret_file(tmp_path, "dead-secret-id")
    fetcher = bench.fetcher(environ={}, vault_role_id="role", vault_secret_id_file=path)
    told = []
    for _ in range(6):
        with pytest.raises(AuthenticationError) as caught:
            fetcher.fetch()
        told.append(str(caught.value))
    assert scripted.asked("POST", LOGIN) == 1
    assert "login refused: invalid role or secret ID; check vault_role_id" in told[0]
    again = (
        f"{scripted.address}/v1/{LOGIN}: login refused before: invalid role or secret ID; the Secret ID (from {path}) "
        "is not sent again until 2026-11-23T20:27:03Z, for a few wrong ones lock the role out: replace it or correct "
        f"vault_role_id (from --role-id), or run: vault-credential-process login --vault-addr {scripted.address}"
    )
    assert told[1:] == [again] * 5

    with pytest.raises(AuthenticationError, match="login refused: "):
        fetcher.log_in(Somebody(), Deadline(20))
    bench.clock.now += WAIT
    with pytest.raises(AuthenticationError, match="login refused: "):
        fetcher.fetch()
    assert scripted.asked("POST", LOGIN) == 3

    bench.on_login()
    scripted.on("GET", "aws/creds/webapp", bench.lease(900))
    secret_file(tmp_path, "living-secret-id")
    fetcher.fetch()
    sent = [r.json["secret_id"] for r in scripted.requests if r.path == f"/v1/{LOGIN}"]
    assert sent == ["dead-secret-id"] * 3 + ["living-secret-id"]


def test_login_that_works_again_ends_the_wait(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """Once a person's login with the same Secret ID worked, programs send it too."""
    scripted.on_login(exchanges["approle_login_bad_secret_id"])
    bench = Bench(scripted, exchanges, Clock())
    fetcher = bench.fetcher()
    with pytest.raises(AuthenticationError):
        fetcher.fetch()
    bench.on_login(lease_duration=100, renewable=False)
    scripted.on("GET", "aws/creds/webapp", bench.lease(300))
    fetcher.log_in(Somebody(), Deadline(20))
    bench.clock.now += 200
    fetcher.fetch()

    assert scripted.asked("POST", LOGIN) == 3


def test_refusal_of_a_right_secret_id_is_not_held_against_it(
    scripted: ScriptedServer, exchanges: dict[str, Any]
) -> None:
    """While a role is locked the answer is 403: the line says so, and the Secret ID goes out again next time."""
    scripted.on("POST", LOGIN, reply(403, {"errors": ["permission denied"]}))
    fetcher = Bench(scripted, exchanges, Clock()).fetcher()
    for _ in range(2):
        with pytest.raises(AuthenticationError) as caught:
            fetcher.fetch()
        assert str(caught.value).endswith(
            ", or the role is locked out after wrong Secret IDs: wait 15 minutes, or see sys/locked-users"
        )

    assert scripted.asked("POST", LOGIN) == 2


@pytest.fixture(scope="module")
def machines(fresh: Laboratory) -> Iterator[Laboratory]:
    """A server that was set up as the page tells, its files in the laboratory's directory."""
    fresh.server.call("DELETE", "sys/auth/approle")
    Page("approle").set_up(fresh.server, fresh.directory, {"/etc/webapp": str(fresh.directory)})
    return fresh


@pytest.fixture
def keys(machines: Laboratory) -> dict[str, str]:
    """The keys of the page's profile, with the Role ID and the files of this server."""
    role_id = machines.server.call("GET", "auth/approle/role/webapp/role-id")["data"]["role_id"]
    return Page("approle").profile(
        {"7d0b8e0c-2d9c-4d5a-9d4c-0c6c1b7f0e11": role_id, "/etc/webapp": str(machines.directory)}
    )


def new_secret_id(laboratory: Laboratory, role: str = "webapp", **settings: Any) -> str:
    """Issue a Secret ID."""
    made: str = laboratory.server.call("POST", f"auth/approle/role/{role}/secret-id", settings)["data"]["secret_id"]
    return made


def test_profile_of_the_page_logs_in(
    run: Run, machines: Laboratory, keys: dict[str, str], clean_environment: pathlib.Path
) -> None:
    """The page's commands and its profile give AWS credentials."""
    assert keys["vault_secret_id_file"] == f"{machines.directory}/secret-id"
    assert document(get(run, machines, keys, clean_environment))["Version"] == 1


@pytest.mark.parametrize("place", ["environment", "command"])
def test_other_places_of_the_secret_id_log_in(
    run: Run, machines: Laboratory, keys: dict[str, str], clean_environment: pathlib.Path, place: str
) -> None:
    """A Secret ID in the environment, and one that a command prints, give AWS credentials too."""
    path, environ = keys.pop("vault_secret_id_file"), {}
    if place == "environment":
        environ["VAULT_SECRET_ID"] = pathlib.Path(path).read_text()
    else:
        keys["vault_secret_id_command"] = f"/bin/cat {path}"

    assert document(get(run, machines, keys, clean_environment, **environ))["Version"] == 1


def test_role_without_secret_ids_logs_in(
    run: Run, machines: Laboratory, keys: dict[str, str], clean_environment: pathlib.Path
) -> None:
    """A role that binds addresses and no Secret ID is content with the Role ID."""
    settings = {"token_policies": ["webapp"], "bind_secret_id": False, "token_bound_cidrs": ["127.0.0.0/8"]}
    machines.server.call("POST", "auth/approle/role/bare", settings)
    role_id = machines.server.call("GET", "auth/approle/role/bare/role-id")["data"]["role_id"]
    del keys["vault_secret_id_file"]

    assert document(get(run, machines, keys | {"vault_role_id": role_id}, clean_environment))["Version"] == 1


def test_host_with_a_dead_secret_id_locks_nobody_out(
    run: Run, machines: Laboratory, keys: dict[str, str], clean_environment: pathlib.Path
) -> None:
    """After seven calls with a Secret ID that was destroyed the role's other ones still log in."""
    del keys["vault_secret_id_file"]
    for _ in range(7):
        assert get(run, machines, keys, clean_environment, VAULT_SECRET_ID="dead").returncode == 3
    assert machines.server.call("GET", "sys/locked-users")["data"]["total"] == 0

    document(get(run, machines, keys, clean_environment, VAULT_SECRET_ID=new_secret_id(machines)))


CHECK = "check vault_role_id (from vault_role_id in [profile webapp]) and the Secret ID (from {file}): it may have"


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("wrong", 3, f"refused: invalid role or secret ID; {CHECK}"),
        ("of another role", 3, f"refused: invalid role or secret ID; {CHECK}"),
        ("used up", 3, f"refused: invalid role or secret ID; {CHECK}"),
        ("destroyed", 3, f"refused: invalid role or secret ID; {CHECK}"),
        ("bound to other addresses", 3, "unauthorized through CIDR restrictions on the secret ID"),
        ("wrong Role ID", 3, f"refused: invalid role or secret ID; {CHECK}"),
        ("no Secret ID", 3, "and set vault_secret_id_file or VAULT_SECRET_ID if the role binds a Secret ID"),
        (
            "no mount",
            3,
            "either no auth method is mounted at nowhere (Vault answers 403 for that; check vault_auth_mount",
        ),
        ("no file", 2, "vault_secret_id_file: {file}: No such file or directory; check the path and its permissions"),
        ("empty file", 2, "vault_secret_id_file: {file}: empty"),
        ("wrapping token", 3, "if it is a wrapping token, name its file in vault_secret_id_wrapped_file"),
        ("no namespace", 2, "no such namespace; check vault_namespace and vault_auth_namespace"),
    ],
)
def test_refused_machine_says_what_to_do(
    run: Run,
    machines: Laboratory,
    keys: dict[str, str],
    clean_environment: pathlib.Path,
    case: str,
    code: int,
    words: str,
) -> None:
    """Each way to be refused is one line with what to check, and the code of its class."""
    machines.server.call("POST", "auth/approle/role/other", {"token_policies": ["webapp"]})
    contents = {
        "wrong": lambda: SECRET_ID,
        "of another role": lambda: new_secret_id(machines, "other"),
        "used up": lambda: new_secret_id(machines, num_uses=1),
        "bound to other addresses": lambda: new_secret_id(machines, cidr_list=["192.0.2.0/24"]),
        "empty file": lambda: "",
        "wrapping token": lambda: "s.ABCDEFGHIJKLMNOPQRSTUVWX",
    }
    content = contents.get(case, lambda: new_secret_id(machines))()
    file = keys["vault_secret_id_file"] = secret_file(clean_environment, content)
    if case == "used up":
        machines.server.call("POST", LOGIN, {"role_id": keys["vault_role_id"], "secret_id": content})
    elif case == "destroyed":
        machines.server.call("POST", "auth/approle/role/webapp/secret-id/destroy", {"secret_id": content})
    elif case == "wrong Role ID":
        keys["vault_role_id"] = "7d0b8e0c-2d9c-4d5a-9d4c-0c6c1b7f0e11"
    elif case == "no Secret ID":
        del keys["vault_secret_id_file"]
    elif case == "no mount":
        keys["vault_auth_mount"] = "nowhere"
    elif case == "no file":
        pathlib.Path(file).unlink()
    elif case == "no namespace":
        keys["vault_namespace"] = "nowhere"
    done = get(run, machines, keys, clean_environment)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert words.format(file=file) in done.stderr
    assert not content or content not in done.stderr


def namespaced(laboratory: Laboratory, namespace: str, mount: str, exchanges: dict[str, Any]) -> tuple[str, str]:
    """Make a namespace with an AppRole and AWS credentials to read, both ``webapp``; return Role ID and Secret ID."""
    call, here = laboratory.server.call, namespace
    call("POST", f"sys/namespaces/{namespace}", {})
    call("POST", f"{here}/sys/mounts/aws", {"type": "kv", "options": {"version": "1"}})
    call("POST", f"{here}/aws/creds/webapp", exchanges["creds_assumed_role"]["response"]["body"]["data"])
    policy = READ_POLICY.format(mount="aws", endpoint="creds", role="webapp")
    call("PUT", f"{here}/sys/policies/acl/webapp", {"policy": policy})
    call("POST", f"{here}/sys/auth/{mount}", {"type": "approle"})
    call("POST", f"{here}/auth/{mount}/role/webapp", {"token_policies": ["webapp"]})
    role_id = call("GET", f"{here}/auth/{mount}/role/webapp/role-id")["data"]["role_id"]
    return role_id, call("POST", f"{here}/auth/{mount}/role/webapp/secret-id", {})["data"]["secret_id"]


@with_namespaces
def test_custom_mount_and_namespace(
    run: Run, fresh: Laboratory, clean_environment: pathlib.Path, exchanges: dict[str, Any]
) -> None:
    """``vault_auth_mount`` and ``vault_namespace`` lead to an AppRole of its own."""
    role_id, secret_id = namespaced(fresh, "approles", "teams/ci", exchanges)
    keys = {"vault_namespace": "approles", "vault_auth_mount": "teams/ci", "vault_role_id": role_id}
    keys["vault_secret_id_file"] = secret_file(clean_environment, secret_id)

    assert document(get(run, fresh, keys, clean_environment))["Version"] == 1


def test_expired_secret_id(scripted: ScriptedServer, exchanges: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """To Vault an expired Secret ID is an invalid one; the line says that it may have expired, and where it lies."""
    scripted.on("POST", LOGIN, replay(exchanges["approle_login_bad_secret_id"]))
    keys = {"vault_role_id": "ROLE_ID", "vault_secret_id_file": secret_file(tmp_path, SECRET_ID)}

    with pytest.raises(AuthenticationError, match="it may have expired or be used up") as caught:
        log_in(scripted, {}, keys)
    assert (caught.value.exit_code, keys["vault_secret_id_file"] in str(caught.value)) == (3, True)
