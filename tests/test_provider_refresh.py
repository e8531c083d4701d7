"""How the provider's credentials refresh, what they do while Vault is away, and what they lean on in botocore."""

from __future__ import annotations

import threading
import time
import types
from collections.abc import Callable
from typing import Any

import botocore
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import botocore.session
import pytest

import vault_credential_process
from vault_credential_process import keeper, provider
from vault_credential_process.demo import aws
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    SealedError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.provider import VaultCredentials
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply

from .bench import LOGIN, NOW, READ, Bench, Clock
from .conftest import Tenant


@pytest.fixture
def bench(scripted: ScriptedServer, exchanges: dict[str, Any]) -> Bench:
    """Return a server that lets everybody in."""
    made = Bench(scripted, exchanges, Clock())
    made.on_login()
    return made


def alone(bench: Bench) -> VaultCredentials:
    """Return credentials that do without the thread: what they do is done by the call that asks."""
    return VaultCredentials(bench.fetcher(vault_aws_background="false"))


@pytest.mark.parametrize(("life", "margin"), [(36000, 960), (3600, 960), (1800, 450), (900, 225), (200, 60), (60, 30)])
def test_window_fits_the_lease(bench: Bench, life: float, margin: float) -> None:
    """Credentials are refreshed a little before the part of their life is left that the rule names, and not earlier."""
    bench.server.on("GET", READ, bench.lease(life, "ASIAFIRST"), bench.lease(life, "ASIASECOND"))
    credentials = alone(bench)

    bench.clock.now = NOW + life - 1.26 * margin
    before = credentials.get_frozen_credentials().access_key
    bench.clock.now = NOW + life - 1.04 * margin
    after = credentials.get_frozen_credentials().access_key

    assert (before, after) == ("ASIAFIRST", "ASIASECOND")
    assert bench.server.asked("GET", READ) == 2


@pytest.mark.parametrize(("first", "second", "margin"), [(3600, 900, 225), (900, 3600, 960)])
def test_window_changes_with_the_next_lease(bench: Bench, first: float, second: float, margin: float) -> None:
    """A refresh that yields another life sets another window, shorter or longer."""
    leases = bench.lease(first, "ASIAFIRST"), bench.lease(second, "ASIASECOND"), bench.lease(second, "ASIATHIRD")
    bench.server.on("GET", READ, *leases)
    credentials = alone(bench)
    bench.clock.now = NOW + first - 30
    assert credentials.access_key == "ASIASECOND"

    bench.clock.now += second - 1.26 * margin
    assert credentials.access_key == "ASIASECOND"
    bench.clock.now += 0.22 * margin
    assert credentials.access_key == "ASIATHIRD"


def held_up(release: threading.Event, asked: threading.Event, content: bytes) -> Callable[..., None]:
    """Return a reply that says when it is waited for, and comes when it is let go."""

    def answer(connection: Any, _: Any) -> None:
        asked.set()
        release.wait(10)
        connection.sendall(content)

    return answer


@pytest.mark.parametrize("left", [200, 30, 0.5])
def test_nobody_waits_for_a_refresh(bench: Bench, left: float) -> None:
    """While one thread refreshes, the others use the old pair to its last second, and ask nobody."""
    release, asked = threading.Event(), threading.Event()
    second = held_up(release, asked, bench.lease(900, "ASIASECOND"))
    bench.server.on("GET", READ, bench.lease(900, "ASIAFIRST"), second)
    credentials = alone(bench)
    bench.clock.now = NOW + 900 - left
    keys: list[str] = []

    def use() -> None:
        keys.append(credentials.get_frozen_credentials().access_key)

    threads = [threading.Thread(target=use, daemon=True) for _ in range(4)]
    threads[0].start()
    assert asked.wait(10)
    for thread in threads[1:]:
        thread.start()
    for thread in threads[1:]:
        thread.join(10)
    meanwhile = list(keys)
    release.set()
    threads[0].join(10)

    assert meanwhile == ["ASIAFIRST"] * 3
    assert keys[3:] == ["ASIASECOND"]
    assert bench.server.asked("GET", READ) == 2


def test_goes_on_while_vault_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair that is still valid serves every request, and Vault is tried again only now and then."""
    bench.server.on("GET", READ, bench.lease(900, "ASIAFIRST"), replay(bench.exchanges["sealed"]))
    up = Clock()
    monkeypatch.setattr(keeper, "uptime", up)
    credentials = alone(bench)
    keys = set()
    for second in range(900 - 225, 900):
        bench.clock.now = up.now = NOW + second
        keys.add(credentials.get_frozen_credentials().access_key)

    assert keys == {"ASIAFIRST"}
    assert 8 <= bench.server.asked("GET", READ) <= 30

    bench.clock.now = up.now = NOW + 901
    with pytest.raises(botocore.exceptions.CredentialRetrievalError, match="Vault is sealed") as caught:
        credentials.get_frozen_credentials()
    assert isinstance(caught.value.__cause__, SealedError)

    bench.server.on("GET", READ, bench.lease(900, "ASIASECOND"))
    up.now += 4
    assert credentials.get_frozen_credentials().access_key == "ASIASECOND"


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"vault_addr": "http://127.0.0.1:1", "vault_max_retries": "0"}, UnreachableError),
        ({"vault_role_id": "wrong"}, AuthenticationError),
        ({"vault_aws_role": "forbidden"}, PermissionDeniedError),
        ({"vault_secret_id_file": "/no/such/file"}, ConfigurationError),
        ({"vault_addr": "garbage"}, ConfigurationError),
    ],
)
def test_failure_is_botocores_error(
    short_lived: Tenant, changes: dict[str, str], cause: type[VaultCredentialError]
) -> None:
    """Programs that catch botocore's errors catch ours, with our message, and find the error itself as its cause."""
    session = vault_credential_process.boto3_session(**(short_lived.settings | changes))

    with pytest.raises(botocore.exceptions.CredentialRetrievalError) as caught:
        session.get_credentials()
    assert type(caught.value.__cause__) is cause
    assert str(caught.value.__cause__) in str(caught.value)


def test_short_lease_under_an_unmodified_client(short_lived: Tenant, cloud: aws.LocalAWS) -> None:
    """A client made once goes on after its first credentials of five seconds have ended, and no request fails."""
    laboratory, role = short_lived.laboratory, short_lived.role
    first = laboratory.write_sts(role, ttl=5)
    session = vault_credential_process.boto3_session(region_name=aws.REGION, **short_lived.settings)
    client = session.client("s3", endpoint_url=cloud.endpoint)
    old = session.get_credentials().get_frozen_credentials()
    end = time.time() + 5
    cloud.end(first, end)
    second = laboratory.write_sts(role, ttl=900)
    begin = len(cloud.requests)
    while time.time() < end + 0.3:
        assert client.list_buckets()["Buckets"]
        time.sleep(0.1)

    with pytest.raises(botocore.exceptions.ClientError, match="ExpiredToken"):
        cloud.client(
            "s3",
            aws_access_key_id=old.access_key,
            aws_secret_access_key=old.secret_key,
            aws_session_token=old.token,
        ).list_buckets()
    assert {key for key, _ in cloud.requests[begin:-1]} == {first, second}
    assert cloud.requests[begin:].count((first, "expired")) == 1


@pytest.mark.parametrize("service", ["sts", "dynamodb"])
@pytest.mark.parametrize("minutes", [1, 5, 10, 15, 60])
def test_two_hundred_requests_are_one_fetch(bench: Bench, service: str, minutes: int) -> None:
    """A client that signs two hundred requests reads one lease, however short; DynamoDB asks twice for each."""
    life = minutes * 60
    bench.server.on("GET", READ, bench.lease(life))
    session = vault_credential_process.boto3_session(
        region_name=aws.REGION, vault_addr=bench.server.address, vault_role_id="role", vault_secret_id="secret",
        vault_aws_role="webapp",
    )  # fmt: skip
    client, signed = session.client(service), set()

    def answer(request: Any, **_: Any) -> Any:
        signed.add(request.headers["Authorization"])
        body = b"{}" if service == "dynamodb" else b"<R><GetCallerIdentityResult/></R>"
        answered = botocore.awsrequest.AWSResponse(request.url, 200, {}, None)
        answered._content = body
        return answered

    client.meta.events.register("before-send", answer)
    call = client.list_tables if service == "dynamodb" else client.get_caller_identity
    for _ in range(200):
        call()

    assert signed
    assert (bench.server.asked("POST", LOGIN), bench.server.asked("GET", READ)) == (1, 1)
    assert session.get_credentials().keeper.health().hits >= 200 * (2 if service == "dynamodb" else 1)


def test_what_install_relies_on() -> None:
    """The names that botocore keeps to itself and the provider uses are still there and still mean the same."""
    vault_credential_process.install()
    try:
        session = botocore.session.Session()
    finally:
        vault_credential_process.uninstall()
    chain = session.get_component("credential_provider")
    builder = chain.get_provider("assume-role")._profile_provider_builder

    assert "custom-process" in [p.METHOD for p in builder.providers("x", disable_env_vars=True)]
    assert builder.providers.__module__ == provider.__name__
    assert isinstance(session._create_credential_resolver(), botocore.credentials.CredentialResolver)
    assert callable(session._components.lazy_register_component)
    assert "_credentials" in vars(session.create_client("sts", "us-east-1")._request_signer)


def test_changed_botocore_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where botocore has none of what is needed, one line says so and what to do."""
    changed: Any = types.SimpleNamespace()
    with pytest.raises(ConfigurationError, match="put VaultProvider into the chain by hand"):
        provider.install_into(changed)

    monkeypatch.delattr(botocore, "register_initializer")
    with pytest.raises(ConfigurationError, match=r"install botocore 1\.31 or later"):
        vault_credential_process.install()


def test_renamed_builder_leaves_the_rest_working(bench: Bench) -> None:
    """A chain whose role provider cannot be reached into still serves profiles of ours."""
    bench.server.on("GET", READ, bench.lease(900, "ASIAFIRST"))
    session: Any = botocore.session.Session()
    chain = session.get_component("credential_provider")
    del chain.get_provider("assume-role")._profile_provider_builder
    session._create_credential_resolver = lambda: chain
    provider.install_into(session, vault_addr=bench.server.address, vault_role_id="role", vault_aws_role="webapp")

    assert session.get_credentials().access_key == "ASIAFIRST"


def test_answer_that_is_no_answer(bench: Bench) -> None:
    """A page of some proxy in place of credentials leaves the old pair in use."""
    bench.server.on("GET", READ, bench.lease(900, "ASIAFIRST"), reply(200, b"<html>"))
    credentials = alone(bench)
    bench.clock.now = NOW + 890

    assert credentials.access_key == "ASIAFIRST"
    assert bench.server.asked("GET", READ) == 2
