"""What ``doctor`` tells of servers, clocks and ways that are neither well nor broken in the common ways."""

from __future__ import annotations

import json
import sys

import pytest

from vault_credential_process.testing.scripted import ScriptedServer, reply

from ..conftest import Run
from ..platforms.test_elsewhere import ELSEWHERE, SYSTEMS
from ..talk import LOGIN, READ
from .test_role import IAM_USER
from .ward import ALLOWED, STATE, Ward, ahead, examined

Capture = pytest.CaptureFixture[str]
STANDBY = reply(429, STATE | {"standby": True})
OLD = reply(200, STATE | {"version": "1.21.0+ent", "enterprise": True})
EMPTY = reply(501, STATE | {"initialized": False, "sealed": True})
SECONDARY = reply(472, STATE | {"standby": True})
HIDDEN = reply(403, {"errors": ["permission denied"]})


@pytest.mark.parametrize(
    ("health", "code", "words"),
    [
        (STANDBY, 0, "OpenBao 2.4.0, unsealed and a standby"),
        (STANDBY, 0, "hands requests on to the active node"),
        (OLD, 0, "Vault 1.21.0+ent, unsealed and active"),
        (EMPTY, 6, "Vault is not initialized"),
        (SECONDARY, 5, "a DR secondary, which serves nobody"),
        (HIDDEN, 0, "the state of the server is not told here"),
        (reply(200, [STATE]), 5, "in words that are not Vault's"),
    ],
)
def test_state_of_the_server(ward: Ward, capsys: Capture, health: bytes, code: int, words: str) -> None:
    """Whatever ``sys/health`` says has its line, and whoever serves is asked for a token."""
    ward.scripted(health=health)

    report = examined(capsys, *ward.flags)

    assert report.code == code
    assert report.says("server", words)
    assert ward.server.asked("POST", LOGIN) == (not code)


def test_proxy_is_told_without_its_password(ward: Ward, capsys: Capture) -> None:
    """The way leads through the proxy that is set."""
    with ScriptedServer() as proxy:
        proxy.otherwise = reply(200, STATE)
        place = proxy.address.removeprefix("http://")
        ward.patch.setenv("VAULT_PROXY_ADDR", f"http://user:5ec2e7@{place}")
        ward.write(vault_addr="http://vault.example.com:8200", vault_allow_http="true")
        report = examined(capsys, *ward.flags, "--no-login")

    assert report.says("network", f"through the proxy {place}")
    assert [request.path for request in proxy.requests] == ["http://vault.example.com:8200/v1/sys/health"]
    assert "5ec2e7" not in str(report.document)


def test_tls_file_that_is_missing(ward: Ward, capsys: Capture) -> None:
    """A CA that is not where the setting says is an error of configuration."""
    ward.write(vault_addr="https://127.0.0.1:1", vault_cacert="/no/such/ca.pem")

    report = examined(capsys, *ward.flags)

    assert (report.code, report.trouble["step"]) == (2, "network")
    assert report.trouble["found"].startswith("vault_cacert: /no/such/ca.pem: No such file")


def test_aws_that_is_not_reached(ward: Ward, capsys: Capture) -> None:
    """Where STS is out of reach the rest is told all the same, and it is a warning: the keys may be good."""
    ward.patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    report = examined(capsys, *ward.flags, "--read")

    assert report.code == 0
    assert report.says("clock", "STS cannot be reached from here (EndpointConnectionError)")
    assert report.says("clock", "the clock agrees with Vault's")
    assert report.says("identity", "whether AWS takes the credentials is not known")


@pytest.mark.parametrize(
    ("vault", "words"),
    [(1200, "this host's clock is 20 min behind Vault's; AWS's is not known"), (100, "the clocks are ")],
)
def test_clock_without_aws(ward: Ward, capsys: Capture, vault: float, words: str) -> None:
    """Two clocks alone do not tell which one is wrong."""
    ward.scripted(headers=ahead(vault))
    ward.patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    found = [finding for finding in examined(capsys, *ward.flags).of("clock") if finding["state"] == "warning"]

    assert found[-1]["found"].startswith(words)


def test_token_that_ends_soon(ward: Ward, capsys: Capture) -> None:
    """The keys of an IAM user with a short token are as short, and both are warned of."""
    short = {"client_token": "hvs.t", "lease_duration": 50, "renewable": True, "policies": ["webapp"]}
    ward.scripted(login=reply(200, {"auth": short}), read=IAM_USER, capabilities=ALLOWED)
    ward.patch.setenv("VAULT_AWS_PROBE", "off")
    ward.patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    report = examined(capsys, *ward.flags, "--read")

    assert report.code == 0
    assert report.says("login", "a new login comes with the next call")
    assert report.says("role", "as long as the token")
    assert ward.server.asked("GET", READ) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems are imitated on Linux")
@pytest.mark.parametrize("system", SYSTEMS)
def test_other_systems(ward: Ward, run: Run, system: str) -> None:
    """Where Linux's parts are missing every step has its word, and none breaks."""
    ward.write(vault_addr="http://127.0.0.1:1")
    ward.patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    done = run(sys.executable, str(ELSEWHERE), system, "doctor", *ward.flags, "--json")

    report = json.loads(done.stdout)
    assert (done.stderr, report["exit_code"], report["cause"]["step"]) == ("", 5, "network")
    assert [finding["remedy"] for finding in report["findings"] if finding["step"] == "cache"] == [
        "start the system's secret store (keyring diagnose), or name another vault_aws_cache"
    ]
