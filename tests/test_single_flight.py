"""One login and one read for all who share a cache: processes that start together, threads, faces, profiles."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import boto3
import pytest

from vault_credential_process import VaultAWSCredentialManager, boto3_session, fastpath
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory
from vault_credential_process.demo.proxy import CountingProxy
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply, silence

from .conftest import Run, Tenant, new_tenant
from .talk import LOGGED_IN, LOGIN, READ, STS
from .test_command import config_of, document
from .test_fastpath import MAIN, Host, host, key_in
from .test_real_engine import users

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the runtime cache is Linux's")

__all__ = ["host"]

HERD = 64
KNOWN = b"<Response><Arn>arn:aws:iam::123456789012:user/u</Arn><Account>123456789012</Account></Response>"
UNKNOWN = b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>"


@pytest.fixture
def proxy(tenant: Tenant) -> Iterator[CountingProxy]:
    """A proxy in front of the real server that counts what passes."""
    with CountingProxy(tenant.laboratory.server.address) as running:
        yield running


def start(config: str, *flags: str, **environ: str) -> subprocess.Popen[bytes]:
    """Start ``get`` for the profile of a config file."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "--profile=webapp", *flags],
        env={**os.environ, "AWS_CONFIG_FILE": config, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(processes: list[subprocess.Popen[bytes]]) -> set[tuple[int | None, bytes, bytes]]:
    """Return the distinct ends of processes: code, stdout, stderr."""
    ends = set()
    for process in processes:
        out, err = process.communicate(timeout=100)
        ends.add((process.returncode, out, err))
    return ends


def one_document(processes: list[subprocess.Popen[bytes]]) -> bytes:
    """Return the document that all processes printed, in silence."""
    ends = ended(processes)
    assert len(ends) == 1, ends
    ((code, out, err),) = ends
    assert (code, err) == (0, b"")
    return out


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for something that another process does."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)


def passed(proxy: CountingProxy, role: str) -> tuple[int, int]:
    """Return how many logins and reads have passed a proxy."""
    return proxy.count("POST", "auth/approle/login"), proxy.count("GET", f"aws/creds/{role}")


def test_a_cold_herd_makes_one_login_and_one_read(tenant: Tenant, proxy: CountingProxy) -> None:
    """64 processes that start together print one pair, which AWS takes; the server saw one login and one read."""
    config = config_of(tenant, vault_addr=proxy.address)
    printed = json.loads(one_document([start(config) for _ in range(HERD)]))

    assert passed(proxy, tenant.role) == (1, 1)
    client = tenant.laboratory.cloud.client(
        "sts",
        aws_access_key_id=printed["AccessKeyId"],
        aws_secret_access_key=printed["SecretAccessKey"],
        aws_session_token=printed["SessionToken"],
    )
    assert f"assumed-role/{aws.ROLE}/" in client.get_caller_identity()["Arn"]


def test_herd_whose_holder_is_killed(tenant: Tenant, proxy: CountingProxy, shm: pathlib.Path) -> None:
    """SIGKILL on the one that fetches, in mid-fetch: the others print one pair, for one login more; nobody hangs."""
    config = config_of(tenant, vault_addr=proxy.address)
    proxy.delay = 6.0
    holder = start(config)
    until(lambda: list((shm / fastpath.NAME).glob("entry-*.lock")))
    others = [start(config) for _ in range(HERD - 1)]
    time.sleep(0.5)
    assert holder.poll() is None
    holder.kill()
    proxy.delay = 0.0
    began = time.monotonic()
    one_document(others)

    assert time.monotonic() - began < 30
    assert holder.communicate()[0] == b""
    until(lambda: passed(proxy, tenant.role)[0] == 2)  # the dead holder's own login arrives late
    assert passed(proxy, tenant.role) == (2, 1)


def test_holder_killed_between_login_and_read(host: Host) -> None:
    """The next one reads with the token that was kept: no second login."""
    host.server.on("GET", READ, silence(60), STS)
    holder = host.start()
    until(lambda: host.server.asked("GET", READ))
    others = [host.start() for _ in range(4)]
    time.sleep(0.5)
    holder.kill()
    holder.communicate()
    one_document(others)

    assert (host.server.asked("POST", LOGIN), host.server.asked("GET", READ)) == (1, 2)


def test_herd_at_a_sealed_server(tenant: Tenant, proxy: CountingProxy) -> None:
    """64 processes at a sealed server end alike: exit 6, one line, with a handful of requests at the server."""
    config = config_of(tenant, vault_addr=proxy.address)
    tenant.laboratory.server.seal()
    try:
        began = time.monotonic()
        ends = ended([start(config) for _ in range(HERD)])
    finally:
        tenant.laboratory.server.unseal()

    assert len(ends) == 1, ends
    ((code, out, err),) = ends
    assert (code, out, err.count(b"\n")) == (6, b"", 1)
    assert time.monotonic() - began < 45
    assert 1 <= passed(proxy, tenant.role)[0] <= 12
    assert passed(proxy, tenant.role)[1] == 0


def test_one_appRole_logs_in_once_for_all_its_roles(tenant: Tenant, proxy: CountingProxy) -> None:  # noqa: N802
    """Profiles that differ in nothing but the Vault role share a login; each has credentials of its own."""
    roles = [tenant.role, f"{tenant.role}-b", f"{tenant.role}-c"]
    policy = "".join(READ_POLICY.format(mount="aws", endpoint="creds", role=role) for role in roles)
    tenant.laboratory.allow(tenant.role, policy)
    for role in roles[1:]:
        tenant.laboratory.assumed_role(role)
    config = config_of(tenant, vault_addr=proxy.address, vault_aws_role=None)
    processes = [start(config, f"--role={role}") for role in roles for _ in range(4)]
    keys = {(role, key_in(one_document(processes[4 * n : 4 * n + 4]))) for n, role in enumerate(roles)}

    assert len({key for _, key in keys}) == 3
    assert proxy.count("POST", "auth/approle/login") == 1
    assert [proxy.count("GET", f"aws/creds/{role}") for role in roles] == [1, 1, 1]


def test_rotated_secret_id_is_noticed(tenant: Tenant, proxy: CountingProxy) -> None:
    """A new Secret ID in the file is logged in with on the next call, and answers it from then on."""
    config = config_of(tenant, vault_addr=proxy.address)
    one_document([start(config)])
    path = pathlib.Path(tenant.approle["secret_id_file"])
    made = tenant.laboratory.server.call("POST", f"auth/approle/role/{tenant.role}/secret-id", {})
    path.write_text(made["data"]["secret_id"])

    assert len({one_document([start(config)]) for _ in range(3)}) == 1
    assert proxy.count("POST", "auth/approle/login") == 2


def test_threads_of_one_manager(scripted: ScriptedServer) -> None:
    """32 threads that use a new manager at once make one login and one read, and have one pair."""
    scripted.on("POST", LOGIN, LOGGED_IN)
    scripted.on("GET", READ, STS)
    manager = VaultAWSCredentialManager(vault_addr=scripted.address, role_id="role", aws_role="webapp")
    barrier = threading.Barrier(32)

    def use() -> str | None:
        barrier.wait(20)
        return manager.get_aws_credentials()["aws_access_key_id"]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        keys = {future.result() for future in [pool.submit(use) for _ in range(32)]}

    assert keys == {"ASIAIOSFODNN7EXAMPLE"}
    assert (scripted.asked("POST", LOGIN), scripted.asked("GET", READ)) == (1, 1)


@pytest.mark.parametrize("name", ["runtime", "auto"])
def test_every_face_shares_the_host_s_lease(
    tenant: Tenant, proxy: CountingProxy, command: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """``get``, the provider and the manager, told to use the host's cache, hand out one lease."""
    config = config_of(tenant, vault_addr=proxy.address, vault_aws_cache=name)
    monkeypatch.setenv("AWS_CONFIG_FILE", config)
    manager = VaultAWSCredentialManager(profile_name="webapp")
    session = boto3_session("webapp")
    keys = {
        manager.get_aws_credentials()["aws_access_key_id"],
        session.get_credentials().access_key,
        document(command("get", "--profile=webapp"))["AccessKeyId"],
    }

    assert len(keys) == 1
    assert passed(proxy, tenant.role) == (1, 1)
    alone = boto3_session("webapp", vault_aws_cache="memory").get_credentials()
    assert isinstance(session, boto3.session.Session)
    assert passed(proxy, tenant.role) == (2, 2)
    assert alone.access_key


def test_get_takes_up_what_a_program_fetched_while_it_waits(host: Host) -> None:
    """A program in the middle of its fetch is waited for by ``get``: the lock is the host's."""
    host.server.on("GET", READ, lambda connection, _: (time.sleep(1.5), connection.sendall(STS)))  # type: ignore[arg-type, return-value]
    settings = {"vault_addr": host.server.address, "role_id": "role", "aws_role": "webapp"}
    manager = VaultAWSCredentialManager(**settings, vault_aws_cache="auto")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        inside = pool.submit(manager.get_aws_credentials)
        until(lambda: host.server.asked("GET", READ))
        environ = {"VAULT_ADDR": host.server.address, "VAULT_ROLE_ID": "role", "VAULT_AWS_ROLE": "webapp"}
        with contextlib.suppress(FileNotFoundError):
            host.config.unlink()
        printed = host.get("--auth=auto", **environ)

        assert inside.result()["aws_access_key_id"] == key_in(printed)
    assert (host.server.asked("POST", LOGIN), host.server.asked("GET", READ)) == (1, 1)


def test_new_iam_user_is_taken_up_by_the_next(
    scripted: ScriptedServer, exchanges: dict[str, dict[str, object]], clean_environment: pathlib.Path
) -> None:
    """Killed after its read and before AWS knew the keys: the next call proves the stored pair, and makes no user."""
    scripted.on_login(exchanges["approle_login"])
    scripted.on("GET", READ, replay(exchanges["creds_iam_user"]))
    config = clean_environment / "config"
    config.write_text(
        f"[profile webapp]\nvault_addr = {scripted.address}\nvault_role_id = role\nvault_aws_role = webapp\n"
    )
    with ScriptedServer() as sts:
        sts.otherwise = reply(403, UNKNOWN)
        holder = start(str(config), AWS_ENDPOINT_URL_STS=sts.address)
        until(lambda: sts.requests)
        waiters = [start(str(config), AWS_ENDPOINT_URL_STS=sts.address) for _ in range(3)]
        time.sleep(0.5)
        assert holder.poll() is None
        holder.kill()
        holder.communicate()
        refused = len(sts.requests)
        sts.otherwise = reply(200, KNOWN)
        printed = json.loads(one_document(waiters))
        proven = len(sts.requests)
        again = json.loads(one_document([start(str(config), AWS_ENDPOINT_URL_STS=sts.address)]))

        assert (printed["AccessKeyId"], printed["AccountId"]) == ("AKIAIOSFODNN7EXAMPLE", "123456789012")
        assert again == printed
        assert refused < proven == len(sts.requests)
    assert (scripted.asked("POST", LOGIN), scripted.asked("GET", READ)) == (1, 1)


@pytest.mark.real_engine
def test_herd_of_an_iam_user_role_makes_one_user(laboratory: Laboratory, clean_environment: pathlib.Path) -> None:
    """16 processes print one pair, and AWS has one user more."""
    tenant = new_tenant(laboratory, clean_environment, token_ttl="30m")
    laboratory.iam_user(tenant.role)
    before = users(laboratory.cloud)
    config = config_of(tenant)
    printed = json.loads(one_document([start(config) for _ in range(16)]))

    assert len(users(laboratory.cloud) - before) == 1
    assert printed["AccountId"] == aws.ACCOUNT
    assert "SessionToken" not in printed
