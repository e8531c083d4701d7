"""Agent: what is asked without a token of ours, and the whole way through a real Agent and a real Proxy."""

from __future__ import annotations

import json
import pathlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest

from vault_credential_process import auth
from vault_credential_process.auth import AuthMethod
from vault_credential_process.auth.agent import Agent as AgentMethod
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory, write_private
from vault_credential_process.demo.server import free_port
from vault_credential_process.errors import AuthenticationError, ConfigurationError, UnreachableError
from vault_credential_process.expiry import Deadline
from vault_credential_process.manager import VaultAWSCredentialManager
from vault_credential_process.profiles import Profile
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import ScriptedServer, reply
from vault_credential_process.vault import Vault

from ..bench import DENIED, LOOK_UP, NOW, READ, REVOKE, Bench, Clock
from ..conftest import COMMAND, Run
from ..pages import Page
from ..peers_agent import Agent, Kind
from .methods import document
from .test_auto import APPROLE, log_in, names

LEASES = "sys/leases/lookup"


def alive(ttl: float = 3600, **data: Any) -> bytes:
    """Return the look-up of an Agent's token, from which the Agent took id and accessor."""
    known = {"ttl": ttl, "num_uses": 0, "type": "service", "renewable": True, "policies": ["webapp", "default"]}
    return reply(200, {"data": {**known, **data}})


class TestContract(AuthMethodContract):
    """The contract of every method."""

    method: ClassVar[type[AuthMethod]] = AgentMethod
    verb: ClassVar[str] = "GET"
    path: ClassVar[str] = LOOK_UP
    accepted: ClassVar[bytes] = alive()
    token: ClassVar[str | None] = None
    mountable: ClassVar[bool] = False

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return ()

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


@pytest.mark.parametrize(
    ("environ", "keys", "expected"),
    [
        ({"VAULT_AGENT_ADDR": "http://127.0.0.1:8100"}, None, "agent"),
        ({"BAO_AGENT_ADDR": "http://127.0.0.1:8100"}, {}, "agent"),
        ({"VAULT_ADDR": "unix:///run/agent.sock"}, None, "agent"),
        ({}, {"vault_addr": "unix:///run/agent.sock"}, "agent"),
        ({"VAULT_ADDR": "http://127.0.0.1:8100"}, None, None),
        ({"VAULT_AGENT_ADDR": "http://127.0.0.1:8100"}, {"vault_addr": "http://127.0.0.1:8200"}, None),
        ({"VAULT_AGENT_ADDR": "http://127.0.0.1:8100", "VAULT_TOKEN": "hvs.EXAMPLE"}, None, "token"),
        ({"VAULT_AGENT_ADDR": "http://127.0.0.1:8100", **APPROLE}, None, "approle"),
        ({"VAULT_AGENT_ADDR": "http://127.0.0.1:8100"}, {"vault_role_id": "x"}, "approle"),
    ],
)
def test_auto_knows_an_agent_by_its_address(
    environ: dict[str, str], keys: dict[str, str] | None, expected: str | None
) -> None:
    """An address from ``VAULT_AGENT_ADDR``, and a socket, are an Agent's, unless another method's option is set."""
    config = auth.configure({}, environ, None if keys is None else Profile("webapp", keys))
    try:
        chosen = auth.choose(config).name
    except AuthenticationError:
        chosen = None

    assert chosen == expected


def test_named_agent_needs_no_address_of_its_own(scripted: ScriptedServer) -> None:
    """Named in the profile, it asks at whatever address, and an exported token stays out of it."""
    scripted.on("GET", LOOK_UP, alive())
    environ = {"VAULT_TOKEN": "hvs.ambient"}

    assert names(environ, {"vault_auth_method": "agent"}) == ["agent"]
    assert log_in(scripted, environ, {"vault_auth_method": "agent"}).value is None


@pytest.fixture
def bench(scripted: ScriptedServer, exchanges: dict[str, Any]) -> Bench:
    """An Agent whose token lives for an hour, with STS credentials for as long."""
    made = Bench(scripted, exchanges, Clock())
    scripted.on("GET", LOOK_UP, alive())
    scripted.on("GET", READ, made.lease(3600))
    return made


def fetcher_of(bench: Bench, *, keep: bool = True, **settings: str) -> Any:
    """Return a fetcher that asks the bench's server as an Agent."""
    return bench.fetcher(
        keep=keep, environ={"AWS_ENDPOINT_URL": bench.server.address}, vault_auth_method="agent", **settings
    )


def test_every_request_bears_the_header_and_no_token(
    bench: Bench, clean_environment: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``X-Vault-Request: true`` and no token, though one is exported and one lies in the home directory."""
    monkeypatch.setenv("VAULT_TOKEN", "hvs.ambient")
    (clean_environment / ".vault-token").write_text("hvs.ambient")
    fetcher_of(bench).fetch()

    assert bench.asked() == [f"GET {LOOK_UP}", f"GET {READ}"]
    assert [r.headers["x-vault-request"] for r in bench.server.requests] == ["true", "true"]
    assert [
        name for r in bench.server.requests for name in r.headers if name in ("x-vault-token", "authorization")
    ] == []


def test_socket_is_asked_in_the_same_way(tmp_path: pathlib.Path) -> None:
    """A ``unix://`` listener gets the same requests."""
    with ScriptedServer(unix_path=str(tmp_path / "agent.sock")) as server:
        server.on("GET", LOOK_UP, alive())
        token = log_in(server, {})

    assert (token.value, token.external) == (None, True)
    assert [(r.headers["x-vault-request"], r.headers.get("x-vault-token")) for r in server.requests] == [("true", None)]


@pytest.mark.parametrize("keep", [True, False])
def test_token_is_looked_up_before_each_read_and_left_alone(bench: Bench, keep: bool) -> None:
    """It is the Agent's: not kept, not renewed, not revoked, and asked about anew before each read."""
    fetcher = fetcher_of(bench, keep=keep)
    for _ in range(2):
        fetcher.fetch()
        bench.clock.now += 3000

    assert bench.asked() == [f"GET {LOOK_UP}", f"GET {READ}"] * 2
    assert fetcher.token().value is None


@pytest.mark.parametrize(("ttl", "data", "left"), [(120, {}, 120), (0, {"expire_time": None}, 2764800)])
def test_iam_user_ends_with_the_token_of_the_agent(bench: Bench, ttl: float, data: dict[str, Any], left: float) -> None:
    """The stated end is that of the lease, or of the Agent's token where that is earlier."""
    bench.server.on("GET", LOOK_UP, alive(ttl, **data))
    bench.server.on("GET", READ, bench.lease(2764800, "AKIAIOSFODNN7EXAMPLE", "creds_iam_user"))

    assert fetcher_of(bench, vault_aws_probe="off").fetch().expiry == NOW + left


def test_unusable_answer_is_not_revoked(bench: Bench) -> None:
    """Keys whose end nobody can tell are refused, and their lease is left to the Agent."""
    bench.server.on("GET", LOOK_UP, DENIED)
    bench.server.on("GET", READ, bench.lease(2764800, "AKIAIOSFODNN7EXAMPLE", "creds_iam_user"))
    with pytest.raises(ConfigurationError, match="these keys die with the Vault token, whose life nobody could tell"):
        fetcher_of(bench).fetch()

    assert bench.asked() == [f"GET {LOOK_UP}", f"GET {READ}"]


def cached(age: int | None, **changes: Any) -> bytes:
    """Return an IAM user's keys with a lease of 1,000 s, as an Agent's cache gives them after ``age`` seconds."""
    body = {
        "lease_id": "aws/creds/webapp/1",
        "renewable": True,
        "lease_duration": 1000,
        "data": {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMI", "security_token": None},
    }
    return reply(200, body | changes, {"X-Cache": "MISS"} if age is None else {"X-Cache": "HIT", "Age": str(age)})


@pytest.mark.parametrize(
    ("age", "changes", "lease", "left", "asks"),
    [
        (None, {}, reply(200, {"data": {"ttl": 900}}), 1000, False),
        (0, {}, reply(200, {"data": {"ttl": 900}}), 900, True),
        (400, {}, reply(200, {"data": {"ttl": 900}}), 900, True),
        (4000, {}, reply(200, {"data": {"ttl": 900}}), 900, True),
        (400, {}, DENIED, 600, True),
        (400, {}, reply(200, {"data": {"ttl": None, "id": "x"}}), 600, True),
        (400, {"renewable": False}, DENIED, 600, False),
        (400, {"lease_id": ""}, DENIED, 600, False),
    ],
)
def test_lease_in_the_cache_of_an_agent_is_looked_up(
    bench: Bench, age: int | None, changes: dict[str, Any], lease: bytes, left: float, asks: bool
) -> None:
    """The Agent renews what it holds, so the lease tells what is left; where it may not be asked, its age does."""
    bench.server.on("GET", READ, cached(age, **changes))
    bench.server.on("POST", LEASES, lease)

    assert fetcher_of(bench, vault_aws_probe="off").fetch().expiry == NOW + left
    assert bench.asked() == [f"GET {LOOK_UP}", f"GET {READ}"] + [f"POST {LEASES}"] * asks
    assert [r.json for r in bench.server.requests if r.body] == [{"lease_id": "aws/creds/webapp/1"}] * asks


@pytest.mark.parametrize(
    "lease",
    [reply(400, {"errors": ["invalid lease"]}), reply(200, {"data": {"ttl": 0, "id": "x"}}), DENIED],
)
@pytest.mark.parametrize("method", [{"vault_auth_method": "agent"}, {"vault_token": "hvs.EXAMPLE"}])
def test_dead_lease_in_the_cache_is_not_handed_out(bench: Bench, lease: bytes, method: dict[str, str]) -> None:
    """What ended at the server while a cache still gives it is told, and not revoked: others have it too."""
    bench.server.on("GET", READ, cached(2000))
    bench.server.on("POST", LEASES, lease)
    with pytest.raises(UnreachableError) as caught:
        bench.fetcher(environ={}, **method).fetch()

    assert str(caught.value) == (
        f"{bench.server.address}/v1/{READ}: the credentials had ended before they were read; check what caches answers "
        "there"
    )
    assert bench.asked() == [f"GET {LOOK_UP}", f"GET {READ}", f"POST {LEASES}"]


def test_keys_that_come_again_are_not_probed_again(bench: Bench) -> None:
    """The same IAM user from the Agent's cache, with a lease that was renewed meanwhile, is known to AWS already."""
    bench.server.on("GET", READ, cached(None), cached(900))
    bench.server.on("POST", LEASES, reply(200, {"data": {"ttl": 1000}}))
    fetcher = fetcher_of(bench)
    first = fetcher.fetch()
    probes = sum(r.path == "/" for r in bench.server.requests)
    bench.clock.now += 900
    second = fetcher.fetch()

    assert probes == 3
    assert (first.expiry, second.expiry) == (NOW + 1000, NOW + 1900)
    assert sum(r.path == "/" for r in bench.server.requests) == probes


def test_login_from_the_cache_of_a_proxy_is_looked_up(scripted: ScriptedServer) -> None:
    """A token that a caching Proxy gives to several, and renews, is not ours, and lives as the look-up says."""
    answer = {"auth": {"client_token": "hvs.SHARED", "lease_duration": 60, "renewable": True}}
    scripted.on("POST", "auth/approle/login", reply(200, answer, {"Age": "300"}))
    scripted.on("GET", LOOK_UP, alive(45), DENIED)
    known, unknown = log_in(scripted, APPROLE), log_in(scripted, APPROLE)

    assert (known.value, known.external, known.expiry) == ("hvs.SHARED", True, NOW + 45)
    assert (unknown.value, unknown.external, unknown.expiry) == ("hvs.SHARED", True, NOW - 300 + 60)


@pytest.mark.parametrize(("headers", "ends"), [({"X-Cache": "MISS"}, 0), ({}, 1)])
def test_login_that_an_agent_may_have_kept_is_not_revoked(
    scripted: ScriptedServer, exchanges: dict[str, Any], headers: dict[str, str], ends: int
) -> None:
    """A ``MISS`` is the next program's ``HIT``: the token is not ended after the read, nor asked about; ours is."""
    bench = Bench(scripted, exchanges, Clock())
    answer = {"auth": {"client_token": "hvs.SHARED", "lease_duration": 3600, "renewable": True}}
    scripted.on("POST", "auth/approle/login", reply(200, answer, headers))
    scripted.on("GET", READ, bench.lease(900))
    fetcher = bench.fetcher(keep=False)
    fetcher.fetch()

    assert bench.asked() == ["POST auth/approle/login", f"GET {READ}"] + [f"POST {REVOKE}"] * ends


def test_kept_login_through_an_agent_is_left_alone(scripted: ScriptedServer, exchanges: dict[str, Any]) -> None:
    """What is kept of a ``MISS`` is not revoked on request either, as at the end of a program."""
    bench = Bench(scripted, exchanges, Clock())
    answer = {"auth": {"client_token": "hvs.SHARED", "lease_duration": 3600, "renewable": True}}
    scripted.on("POST", "auth/approle/login", reply(200, answer, {"X-Cache": "MISS"}))
    scripted.on("GET", READ, bench.lease(900))
    fetcher = bench.fetcher()
    fetcher.fetch()
    told = fetcher.forget(revoke=True)

    assert told[0].startswith("no token of ours is held, so nothing was revoked")
    assert bench.asked() == ["POST auth/approle/login", f"GET {READ}"]


@pytest.mark.parametrize(
    ("look_up", "read", "words"),
    [
        (
            DENIED,
            DENIED,
            (
                f"/v1/{READ}: permission denied, and the Agent's token may not look itself up: the Agent is not "
                f"logged in, or its token has no policy for {READ}; see the Agent's log for its auto-auth, "
                "or allow the path"
            ),
        ),
        (
            reply(400, {"errors": ["missing client token"]}),
            DENIED,
            (
                f"/v1/{LOOK_UP}: the Agent added no token that Vault takes: missing client token; "
                "see the Agent's log for its auto-auth"
            ),
        ),
    ],
)
@pytest.mark.parametrize("ttl", [{}, {"vault_token_ttl": "1h"}])
def test_agent_without_a_token_is_told(
    bench: Bench, look_up: bytes, read: bytes, words: str, ttl: dict[str, str]
) -> None:
    """OpenBao answers 403, older Vaults 400; the error sends to the Agent's log, for only that tells more."""
    bench.server.on("GET", LOOK_UP, look_up)
    bench.server.on("GET", READ, read)
    with pytest.raises(AuthenticationError) as caught:
        fetcher_of(bench, **ttl).fetch()

    assert str(caught.value) == bench.server.address + words


def test_nothing_of_the_agent_is_forgotten_but_credentials(bench: Bench) -> None:
    """``cache clear --revoke`` forgets the pair and asks the Agent for nothing: the token is its own."""
    fetcher = fetcher_of(bench)
    fetcher.fetch()
    asked = bench.asked()
    done = fetcher.forget(revoke=True)

    assert done[0] == "no token of ours is held, so nothing was revoked: a token from outside is its owner's to end"
    assert done[-1] == f"forgot the credentials of {READ} at {bench.server.address}"
    assert (fetcher.peek(), bench.asked()) == (None, asked)


def test_health_check_of_the_manager(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token of its own ``is_authenticated`` still tells whether the Agent has one."""
    bench.server.on("GET", LOOK_UP, alive())
    monkeypatch.setenv("VAULT_AGENT_ADDR", bench.server.address)
    monkeypatch.setenv("AWS_ROLE", "webapp")
    client = VaultAWSCredentialManager().vault_client
    before = client.is_authenticated()
    bench.server.on("GET", LOOK_UP, DENIED)

    assert (before, client.is_authenticated()) == (True, False)
    assert [r.headers.get("x-vault-token") for r in bench.server.requests if "lookup" in r.path] == [None] * len(
        bench.asked()
    )


@pytest.fixture(scope="module")
def approle(fresh: Laboratory) -> dict[str, str]:
    """A server that was set up as the page tells; the Agent's Role ID and the file of its Secret ID."""
    fresh.server.call("DELETE", "sys/auth/approle")
    Page("agent").set_up(fresh.server, fresh.directory, {"/etc/vault-agent": str(fresh.directory)})
    return {
        "role_id": (fresh.directory / "role-id").read_text(),
        "secret_id_file": str(fresh.directory / "secret-id"),
    }


@pytest.fixture(scope="module", params=["agent", "agent, caching", "proxy", "proxy, caching"])
def agent(request: pytest.FixtureRequest, fresh: Laboratory, approle: dict[str, str]) -> Iterator[Agent]:
    """A real Agent and a real Proxy, each with and without its cache, logged in."""
    kind, _, caching = request.param.partition(", ")
    with Agent(fresh.server, approle, kind=kind, caches=bool(caching)) as made:
        made.logged_in()
        yield made


def get(run: Run, laboratory: Laboratory, home: pathlib.Path, keys: Mapping[str, str], **environ: str) -> Any:
    """Run ``get`` on a profile that has these keys, and the role."""
    path = home / "config"
    path.write_text(laboratory.profile("webapp", {"vault_aws_role": "webapp", **keys}, command=COMMAND))
    return run(*COMMAND.split(), "get", "--profile", "webapp", **{"AWS_CONFIG_FILE": str(path), **environ})


def test_address_of_an_agent_gives_credentials(
    run: Run, fresh: Laboratory, agent: Agent, clean_environment: pathlib.Path
) -> None:
    """``VAULT_AGENT_ADDR``, and a socket in the profile, are all that a profile needs; AWS takes the keys."""
    by_port = document(get(run, fresh, clean_environment, {}, VAULT_AGENT_ADDR=agent.address))
    by_socket = document(get(run, fresh, clean_environment, {"vault_addr": agent.socket}))

    for printed in (by_port, by_socket):
        keys = {
            "aws_access_key_id": printed["AccessKeyId"],
            "aws_secret_access_key": printed["SecretAccessKey"],
            "aws_session_token": printed["SessionToken"],
        }
        assert fresh.cloud.client("s3", **keys).list_buckets()["Buckets"][0]["Name"] == aws.BUCKET


def test_agent_forwards_nothing_but_look_up_and_read(
    run: Run, fresh: Laboratory, agent: Agent, clean_environment: pathlib.Path
) -> None:
    """Two calls that keep nothing: nothing is renewed, revoked or logged in through the Agent, whose token lives on."""
    before = agent.log.stat().st_size
    for _ in range(2):
        document(get(run, fresh, clean_environment, {"vault_addr": agent.socket}, VAULT_AWS_CACHE="none"))
    log = agent.log.read_bytes()[before:].decode()

    assert re.findall(r"received request: method=(\S+) path=/v1/(\S+)", log) == [("GET", LOOK_UP), ("GET", READ)] * 2
    assert agent.ask(LOOK_UP).json()["data"]["ttl"] > 0


def test_own_token_goes_through(run: Run, fresh: Laboratory, agent: Agent, clean_environment: pathlib.Path) -> None:
    """``VAULT_TOKEN`` is used as it is: its own policies count, and a dead one is not replaced by the Agent's."""
    made = fresh.server.call("POST", "auth/token/create", {"policies": ["default"], "ttl": "5m"})["auth"]
    poor = get(run, fresh, clean_environment, {}, VAULT_AGENT_ADDR=agent.address, VAULT_TOKEN=made["client_token"])
    dead = get(run, fresh, clean_environment, {}, VAULT_AGENT_ADDR=agent.address, VAULT_TOKEN="hvs.unknown")
    root = get(run, fresh, clean_environment, {}, VAULT_AGENT_ADDR=agent.address, VAULT_TOKEN=fresh.server.root_token)

    assert (poor.returncode, "its policies: default" in poor.stderr) == (4, True)
    assert (dead.returncode, "it is dead, or has no policy" in dead.stderr) == (3, True)
    assert document(root)["Version"] == 1


def test_status_and_clearing(run: Run, fresh: Laboratory, agent: Agent, clean_environment: pathlib.Path) -> None:
    """``status`` shows the pair, ``cache list`` no token; ``cache clear --revoke`` leaves the Agent's token alone."""
    document(get(run, fresh, clean_environment, {"vault_addr": agent.socket}))
    environ = {"AWS_CONFIG_FILE": str(clean_environment / "config")}
    status, held, cleared, after = (
        run(*COMMAND.split(), *words, **environ)
        for words in (
            ("status", "--profile=webapp", "--json"),
            ("cache", "list", "--json"),
            ("cache", "clear", "--profile=webapp", "--revoke"),
            ("status", "--profile=webapp", "--json"),
        )
    )

    assert (json.loads(status.stdout)["held"], json.loads(after.stdout)["held"]) == (True, False)
    assert [row["kind"] for row in json.loads(held.stdout)] == ["credentials"]
    assert (cleared.returncode, cleared.stderr) == (0, "")
    assert "no token of ours is held, so nothing was revoked" in cleared.stdout
    assert agent.ask(LOOK_UP).json()["data"]["ttl"] > 0


@pytest.mark.parametrize("kind", ["agent", "proxy"])
def test_configuration_of_the_page_works(
    run: Run, fresh: Laboratory, approle: dict[str, str], clean_environment: pathlib.Path, kind: Kind
) -> None:
    """The page's own configuration, run by Agent and Proxy, and its profile give AWS credentials."""
    found = re.search(r"```hcl\n(.*?)```", Page("agent").text, re.DOTALL)
    assert found is not None
    with Agent(fresh.server, approle, kind=kind, hcl=found.group(1)) as made:
        keys = Page("agent").profile({"/run/vault-agent": str(made.directory)})
        limit = time.monotonic() + 10
        while (done := get(run, fresh, clean_environment, keys)).returncode and time.monotonic() < limit:
            time.sleep(0.2)

    assert document(done)["Version"] == 1


@pytest.mark.parametrize("kind", ["agent", "proxy"])
@pytest.mark.parametrize("use", ["true", "false"])
def test_agent_that_has_no_token(
    run: Run, fresh: Laboratory, approle: dict[str, str], clean_environment: pathlib.Path, kind: Kind, use: Any
) -> None:
    """Not logged in, or told to keep its token to itself: one line sends to its log; our own token still works."""
    wrong = clean_environment / "wrong"
    write_private(wrong, "no such Secret ID")
    given = approle | ({"secret_id_file": str(wrong)} if use == "true" else {})
    with Agent(fresh.server, given, kind=kind, use=use) as made:
        done = get(run, fresh, clean_environment, {}, VAULT_AGENT_ADDR=made.address)
        own = {"VAULT_AGENT_ADDR": made.address, "VAULT_TOKEN": fresh.server.root_token}
        with_token = get(run, fresh, clean_environment, {}, **own)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert "the Agent is not logged in, or its token has no policy" in done.stderr
    assert "see the Agent's log" in done.stderr
    assert document(with_token)["Version"] == 1


def test_agent_that_forces_its_token(
    run: Run, fresh: Laboratory, approle: dict[str, str], clean_environment: pathlib.Path
) -> None:
    """With ``force`` the Agent's token takes the place of whatever we send."""
    with Agent(fresh.server, approle, use="force") as made:
        made.logged_in()
        environ = {"VAULT_AGENT_ADDR": made.address, "VAULT_TOKEN": "hvs.unknown"}
        done = get(run, fresh, clean_environment, {}, **environ)

    assert document(done)["Version"] == 1


def test_policy_of_the_agent_is_missing(run: Run, fresh: Laboratory, clean_environment: pathlib.Path) -> None:
    """A live token that may not read is told with its policies, and the exit code of its class."""
    poor = {"role_id": "", "secret_id_file": str(clean_environment / "secret-id")}
    fresh.server.call("POST", "auth/approle/role/poor", {"token_policies": ["default"]})
    poor["role_id"] = fresh.server.call("GET", "auth/approle/role/poor/role-id")["data"]["role_id"]
    made = fresh.server.call("POST", "auth/approle/role/poor/secret-id", {})["data"]["secret_id"]
    write_private(pathlib.Path(poor["secret_id_file"]), made)
    with Agent(fresh.server, poor) as agent:
        agent.logged_in()
        done = get(run, fresh, clean_environment, {}, VAULT_AGENT_ADDR=agent.address)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1)
    assert f"permission denied: the token has no policy for {READ} (its policies: default)" in done.stderr


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:{port}", "connection refused: nothing listens there; check vault_addr and its port"),
        ("unix:///no/such/agent.sock", "no such file or directory; check vault_addr and that the Agent runs"),
    ],
)
def test_agent_that_is_not_running(
    run: Run, fresh: Laboratory, clean_environment: pathlib.Path, address: str, words: str
) -> None:
    """A closed port and a missing socket are one line each, and the exit code of what cannot be reached."""
    done = get(
        run, fresh, clean_environment, {}, VAULT_AGENT_ADDR=address.format(port=free_port()), VAULT_MAX_RETRIES="0"
    )

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (5, "", 1)
    assert words in done.stderr


def test_agent_that_waits_for_vault_does_not_outlast_the_deadline(
    run: Run, stand_in: Laboratory, clean_environment: pathlib.Path
) -> None:
    """While its server is sealed the Agent keeps silent for a minute; the call ends at its own deadline."""
    approle = stand_in.app_role("waits", policies=("default",))
    with Agent(stand_in.server, approle) as agent:
        agent.logged_in()
        stand_in.server.seal()
        try:
            began = time.monotonic()
            done = get(run, stand_in, clean_environment, {"vault_addr": agent.socket, "vault_aws_timeout": "3s"})
            took = time.monotonic() - began
        finally:
            stand_in.server.unseal()

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (7, "", 1)
    assert "gave up after 3 s while waiting for GET" in done.stderr
    assert took < 15


def test_login_through_the_cache_of_a_proxy(fresh: Laboratory, approle: dict[str, str]) -> None:
    """A second login with the same AppRole gets the token of the first; neither of them may revoke it."""
    with Agent(fresh.server, approle, caches=True) as agent:
        environ = {"VAULT_ROLE_ID": approle["role_id"], "VAULT_SECRET_ID_FILE": approle["secret_id_file"]}
        config = auth.configure({"vault_addr": agent.address}, environ, None)
        tokens = []
        for _ in range(2):
            with Vault(config, Deadline(20)) as vault:
                tokens.append(auth.login(auth.choose(config), vault))
    first, second = tokens

    assert (first.value, first.external) == (second.value, True)
    assert (second.external, second.looked_up) == (True, True)
    assert second.seconds_left(time.time()) == pytest.approx(3600, abs=30)


@pytest.mark.real_engine
@pytest.mark.parametrize("caches", [False, True])
def test_iam_user_through_a_real_agent(
    run: Run, laboratory: Laboratory, clean_environment: pathlib.Path, caches: bool
) -> None:
    """Keys end no later than the Agent's token, whatever their lease says; its cache gives two calls one IAM user."""
    laboratory.iam_user("agents-user")
    laboratory.allow("agents-user", 'path "aws/creds/agents-user" { capabilities = ["read"] }')
    approle = laboratory.app_role(f"agents-{caches}", policies=("agents-user",), token_ttl="5m")
    keys = {"vault_aws_role": "agents-user", "vault_aws_cache": "none"}
    with Agent(laboratory.server, approle, caches=caches) as agent:
        agent.logged_in()
        printed = [
            document(get(run, laboratory, clean_environment, {**keys, "vault_addr": agent.socket})) for _ in "12"
        ]

        for one in printed:
            end = time.mktime(time.strptime(one["Expiration"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
            assert 0 < end - time.time() <= 300
            user = {"aws_access_key_id": one["AccessKeyId"], "aws_secret_access_key": one["SecretAccessKey"]}
            assert laboratory.cloud.client("s3", **user).list_buckets()["Buckets"][0]["Name"] == aws.BUCKET
    assert (printed[0]["AccessKeyId"] == printed[1]["AccessKeyId"]) is caches


@pytest.mark.real_engine
def test_lease_that_a_real_agent_renewed(run: Run, fresh: Laboratory, clean_environment: pathlib.Path) -> None:
    """Past the duration that its cache still states the keys are handed out, for as long as the renewed lease lives."""
    path = "aws/creds/renewed"
    fresh.server.call("POST", "aws/config/lease", {"lease": "6s", "lease_max": "1h"})
    fresh.iam_user("renewed")
    fresh.allow("renewed", f'path "{path}" {{ capabilities = ["read"] }}')
    role = {"token_policies": ["renewed"], "token_ttl": "1h"}
    fresh.server.call("POST", "auth/approle/role/renewed", role)
    role_id = fresh.server.call("GET", "auth/approle/role/renewed/role-id")["data"]["role_id"]
    secret_id = fresh.server.call("POST", "auth/approle/role/renewed/secret-id", {})["data"]["secret_id"]
    file = clean_environment / "secret-id"
    write_private(file, secret_id)
    keys = {"vault_aws_role": "renewed", "vault_aws_cache": "none", "vault_aws_probe": "off"}
    with Agent(fresh.server, {"role_id": role_id, "secret_id_file": str(file)}, caches=True) as agent:
        agent.logged_in()
        first = document(get(run, fresh, clean_environment, {**keys, "vault_addr": agent.socket}))
        limit = time.monotonic() + 20
        while int(agent.ask(path).headers.get("Age", 0)) <= 6 and time.monotonic() < limit:
            time.sleep(0.5)
        second = document(get(run, fresh, clean_environment, {**keys, "vault_addr": agent.socket}))

    assert second["AccessKeyId"] == first["AccessKeyId"]
    assert second["Expiration"] > first["Expiration"]
