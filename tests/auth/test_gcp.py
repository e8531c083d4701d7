"""GCP: what it asks of the metadata server and sends to Vault. Nothing here is Google's, nor Vault's own plugin.

What the metadata server answers is what Google documents: cloud.google.com/compute/docs/instances/
verifying-instance-identity ("Obtaining the instance identity token", "Token contents") and /compute/docs/metadata/
querying-metadata ("Metadata server response headers"). What Vault answers is what developer.hashicorp.com/vault/
api-docs/auth/gcp#login documents, and the words with which its plugin refuses (path_login.go).
"""

from __future__ import annotations

import logging
import pathlib
import re
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from vault_credential_process import auth
from vault_credential_process.auth import AuthMethod, gcp, metadata
from vault_credential_process.auth.gcp import GCP
from vault_credential_process.errors import AuthUnavailable, UnreachableError
from vault_credential_process.profiles import Profile
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import Reply, ScriptedServer, reply, reset, silence

from ..conftest import Run
from ..pages import Page
from .metadata_service import LOGGED_IN, MetadataService, refused, run_get
from .methods import NOW, document, log_in
from .tokens import Signer

ACCOUNT = "webapp@acme-web.iam.gserviceaccount.com"
TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/identity"
ACCOUNT_PATH = f"/computeMetadata/v1/instance/service-accounts/{ACCOUNT}/identity"
LOGIN = ("POST", "auth/gcp/login")
ROLE = {"vault_auth_method": "gcp", "vault_auth_role": "webapp"}
SIGNER = Signer()


def token(**claims: Any) -> str:
    """Return an identity token as Google signs one for an instance."""
    machine = {"instance_id": "152986662232938449", "instance_name": "webapp-1", "zone": "europe-west3-a"}
    told = {"iss": "https://accounts.google.com", "aud": "http://vault/webapp", "google": {"compute_engine": machine}}
    return SIGNER.sign(**{**told, "exp": int(max(time.time(), NOW)) + 3600, **claims})


def handed_out(value: str, **headers: str) -> bytes:
    """Return the answer of the metadata server to a request for a token that succeeds."""
    given = {"Metadata-Flavor": "Google", "Content-Type": "text/html", "Server": "Metadata Server for VM", **headers}
    return reply(200, value.encode(), given)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetadataService]:
    """The metadata server of a workload."""
    with MetadataService() as service:
        monkeypatch.setenv("GCE_METADATA_HOST", service.address.removeprefix("http://"))
        service.tell(TOKEN_PATH, handed_out(token()))
        yield service


@pytest.fixture
def at(machine: MetadataService) -> dict[str, str]:
    """Return what the environment of the workload tells a login in the process."""
    return {"GCE_METADATA_HOST": machine.address.removeprefix("http://")}


class TestContract(AuthMethodContract):
    """The contract of every method."""

    method: ClassVar[type[AuthMethod]] = GCP

    @pytest.fixture
    def settings(self, machine: MetadataService, planted: tuple[str, ...]) -> dict[str, Any]:
        machine.tell(TOKEN_PATH, handed_out(planted[0]))
        return {"vault_auth_role": "webapp"}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return (token(),)


def sent(vault: ScriptedServer, keys: dict[str, str], environ: dict[str, str]) -> dict[str, str]:
    """Log in, and return the body of the login."""
    vault.on(*LOGIN, LOGGED_IN)
    assert log_in(vault.address, {**ROLE, **keys}, environ).value == "f33f8c72-924e-11f8-cb43-ac59d697597c"
    (request,) = vault.requests
    body: dict[str, str] = request.json
    return body


def test_what_is_sent(scripted: ScriptedServer, machine: MetadataService, at: dict[str, str]) -> None:
    """Role and token alone, for Vault refuses further fields; the audience ends as Vault wants it."""
    value = token(sub="of this test")
    machine.tell(TOKEN_PATH, handed_out(f"{value}\n"))

    assert sent(scripted, {}, at) == {"role": "webapp", "jwt": value}
    assert machine.asked_for() == [(TOKEN_PATH, {"audience": "http://vault/webapp", "format": "full"})]
    assert machine.requests[0].headers["metadata-flavor"] == "Google"
    assert "audience=http%3A%2F%2Fvault%2Fwebapp" in machine.requests[0].path


def test_named_account_is_asked_for(scripted: ScriptedServer, machine: MetadataService, at: dict[str, str]) -> None:
    """A service account that the profile names is asked for by its e-mail address, as it stands."""
    value = token(email=ACCOUNT)
    machine.tell(ACCOUNT_PATH, handed_out(value))

    assert sent(scripted, {"vault_gcp_service_account": ACCOUNT}, at)["jwt"] == value
    assert [path for path, _ in machine.asked_for()] == [ACCOUNT_PATH]


def test_audience_follows_the_role(scripted: ScriptedServer, machine: MetadataService, at: dict[str, str]) -> None:
    """Each role has an audience of its own: the token for one is none for another."""
    sent(scripted, {"vault_auth_role": "team a&b"}, at)

    assert machine.asked_for()[0][1]["audience"] == "http://vault/team a&b"


def test_default_host_is_the_one_of_google() -> None:
    """Without a word from the environment the well-known name is asked."""
    config = auth.configure({}, {}, Profile("webapp", ROLE))

    assert auth.choose(config).identity().parts[3:] == ("http://metadata.google.internal", "default")


def test_accounts_are_told_apart() -> None:
    """Another service account is another identity: answers are not shared."""
    one, other = (
        auth.choose(auth.configure({}, {}, Profile("webapp", ROLE | keys))).identity()
        for keys in ({}, {"vault_gcp_service_account": ACCOUNT})
    )

    assert one != other


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_server_is_asked_again(
    scripted: ScriptedServer,
    machine: MetadataService,
    at: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    """A server that is busy, or has failed for a moment, is asked again ``vault_max_retries`` times."""
    monkeypatch.setattr(metadata, "RETRY_WAIT", 0.01)
    machine.tell(TOKEN_PATH, reply(status), reply(status), handed_out(token()))
    scripted.on(*LOGIN, LOGGED_IN)
    log_in(scripted.address, ROLE, at, {"vault_max_retries": "2"})

    assert [path for path, _ in machine.asked_for()] == [TOKEN_PATH] * 3


@pytest.mark.parametrize("status", [403, 404])
def test_refusal_is_not_asked_again(
    scripted: ScriptedServer, machine: MetadataService, at: dict[str, str], status: int
) -> None:
    """An account that is not there does not appear by itself."""
    machine.tell(TOKEN_PATH, reply(status))

    with pytest.raises(Exception, match=f"HTTP {status}"):
        log_in(scripted.address, ROLE, at, {"vault_max_retries": "2"})
    assert len(machine.requests) == 1


@pytest.mark.parametrize(("host", "tries"), [("127.0.0.1:1", 3), ("metadata.invalid", 1)])
def test_server_that_is_about_to_start_is_asked_again(
    scripted: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    host: str,
    tries: int,
) -> None:
    """In the first seconds of a pod on GKE connections are refused; a name that nobody knows stays unknown."""
    caplog.set_level(logging.DEBUG, logger="vault_credential_process")
    monkeypatch.setattr(metadata, "RETRY_WAIT", 0.01)

    with pytest.raises(UnreachableError):
        log_in(scripted.address, ROLE, {"GCE_METADATA_HOST": host}, {"vault_max_retries": "2"})
    assert caplog.text.count("another try in") == tries - 1


def test_page_and_metadata_give_credentials(
    run: Run, scripted: ScriptedServer, machine: MetadataService, clean_environment: pathlib.Path
) -> None:
    """The page's profile on a machine gives AWS credentials; the token of the login reads them."""
    scripted.on(*LOGIN, LOGGED_IN)
    done = run_get(run, scripted, Page("gcp").profile(), clean_environment)

    assert document(done)["AccessKeyId"] == "ASIAIOSFODNN7EXAMPLE"
    assert scripted.requests[1].headers["x-vault-token"] == "f33f8c72-924e-11f8-cb43-ac59d697597c"
    assert len(machine.requests) == 1


def test_workload_is_found_by_auto(
    run: Run, scripted: ScriptedServer, machine: MetadataService, clean_environment: pathlib.Path
) -> None:
    """On Cloud Run, or where the metadata server is named, the role is all that the profile needs."""
    scripted.on(*LOGIN, LOGGED_IN)
    done = run_get(run, scripted, {"vault_auth_role": "webapp"}, clean_environment, K_SERVICE="webapp")

    assert document(done)["AccessKeyId"] == "ASIAIOSFODNN7EXAMPLE"
    assert scripted.requests[0].json.keys() == {"role", "jwt"}
    assert len(machine.requests) == 1


OF_ANOTHER = "the answer is not that of Google's metadata server; check GCE_METADATA_HOST and DNS"
NO_TOKEN: dict[str, tuple[Reply, dict[str, str], int, str]] = {
    "no account": (
        reply(404, b"canary"), {}, 3,
        ("HTTP 404: no such service account here; attach it to this workload, or correct vault_gcp_service_account "
        "(from default)"),
    ),
    "no such account": (
        reply(404, b"canary"), {"vault_gcp_service_account": ACCOUNT}, 3,
        (f"{ACCOUNT}/identity: HTTP 404: no such service account here; attach it to this workload, or correct "
        "vault_gcp_service_account (from vault_gcp_service_account in [profile webapp])"),
    ),
    "forbidden": (
        reply(403, b"canary"), {}, 3,
        ("refused with HTTP 403; on GKE let the pod's service account act for this one "
        "(roles/iam.workloadIdentityUser)"),
    ),
    "failing": (
        reply(503, b"canary"), {}, 5,
        "HTTP 503 and no token; try again in a minute (only on Google Cloud)",
    ),
    "redirect": (reply(302, headers={"Location": "http://192.0.2.1/canary"}), {}, 5, "HTTP 302 and no token"),
    "of another server": (reply(200, b"<html>canary</html>"), {}, 5, OF_ANOTHER),
    "a token of another server": (reply(200, token().encode()), {}, 5, OF_ANOTHER),
    "of another flavor": (handed_out("canary", **{"Metadata-Flavor": "google"}), {}, 5, OF_ANOTHER),
    "not a token": (handed_out("canary \xe4"), {}, 2, "the token from the metadata server is not a JSON Web Token"),
    "expired": (
        handed_out(token(exp=1_700_000_000)), {}, 3,
        "the token from the metadata server expired at 2023-11-14T22:13:20Z",
    ),
    "too long": (handed_out(" " * 70_000), {}, 5, "longer than 65536 bytes; check what answers there"),
    "reset": (
        reset, {}, 5,
        "the connection broke during it; check that its service can be reached from here (only on Google Cloud)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "keys", "code", "words"), NO_TOKEN.values(), ids=NO_TOKEN)
def test_no_token(
    run: Run,
    scripted: ScriptedServer,
    machine: MetadataService,
    clean_environment: pathlib.Path,
    answer: Reply,
    keys: dict[str, str],
    code: int,
    words: str,
) -> None:
    """Without a token nothing is sent to Vault: one line that says what to do and repeats nothing of the answer."""
    for path in (TOKEN_PATH, ACCOUNT_PATH):
        machine.tell(path, answer)

    refused(run_get(run, scripted, ROLE | keys, clean_environment), code, words)
    assert scripted.requests == []


NOTHING_TO_ASK: dict[str, tuple[dict[str, str], dict[str, str], int, str]] = {
    "nobody there": (
        {"GCE_METADATA_HOST": "127.0.0.1:1"}, ROLE, 5,
        ("the identity token of Google Cloud: http://127.0.0.1:1: connection refused: nothing listens there; check "
        "that its service can be reached from here (only on Google Cloud)"),
    ),
    "no such host": (
        {"GCE_METADATA_HOST": "metadata.invalid"}, ROLE, 5,
        ("http://metadata.invalid: the host name does not resolve; check that its service can be reached from here "
        "(only on Google Cloud)"),
    ),
    "an address": (
        {"GCE_METADATA_HOST": "http://127.0.0.1/"}, ROLE, 2,
        "GCE_METADATA_HOST: not a host; write host or host:port",
    ),
    "a path": ({"GCE_METADATA_HOST": "127.0.0.1/x"}, ROLE, 2, "GCE_METADATA_HOST: not a host; write host or host:port"),
    "a user": ({"GCE_METADATA_HOST": "u:canary@h"}, ROLE, 2, "GCE_METADATA_HOST: not a host; write host or host:port"),
    "no role": (
        {}, {"vault_auth_method": "gcp"}, 2,
        "vault_auth_role: missing (set --auth-role, vault_auth_role in [profile webapp], or VAULT_AUTH_ROLE)",
    ),
    "malformed account": (
        {}, ROLE | {"vault_gcp_service_account": "../../x"}, 2,
        ("vault_gcp_service_account: not a service account; write its e-mail address, or default (from "
        "vault_gcp_service_account in [profile webapp])"),
    ),
    "not at home": (
        {}, {"vault_auth_role": "webapp"}, 3,
        "gcp: not on Cloud Run: neither K_SERVICE nor GCE_METADATA_HOST is set",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("environ", "keys", "code", "words"), NOTHING_TO_ASK.values(), ids=NOTHING_TO_ASK)
def test_nothing_to_ask(
    run: Run,
    scripted: ScriptedServer,
    clean_environment: pathlib.Path,
    environ: dict[str, str],
    keys: dict[str, str],
    code: int,
    words: str,
) -> None:
    """A server that is away, a malformed host or account, a missing role: one line and its code."""
    refused(run_get(run, scripted, keys, clean_environment, **environ), code, words)
    assert scripted.requests == []


REMEDY = (
    "; check vault_auth_role (from vault_auth_role in [profile webapp]) and what it is bound to, its type (gce on "
    "Compute Engine, iam elsewhere) and, for iam, max_jwt_exp=60m; the token came from the metadata server"
)
REFUSALS: dict[str, tuple[int, str, int, str]] = {
    "role": (400, 'role "webapp" not found', 3, f'role "webapp" not found{REMEDY}'),
    "audience": (400, "at least one of the JWT claim 'aud' must end in \"vault/webapp\"", 3, REMEDY),
    "type": (400, "expected JWT to have claims with GCE metadata", 3, REMEDY),
    "life": (400, "role requires that service account JWTs expire within 900 seconds", 3, REMEDY),
    "account": (400, f"service account {ACCOUNT} (id: 1) is not authorized for role", 3, REMEDY),
    "expired": (400, "JWT is expired or does not have proper 'exp' claim", 3, REMEDY),
    "failure of Google": (
        500, "could not find service account 'projects/-/serviceAccounts/1': googleapi: Error 403", 5,
        "googleapi: Error 403; see Vault's log, then try again",
    ),
    "mount": (403, "permission denied", 3, "either no auth method is mounted at gcp (Vault answers 403 for that"),
    "sealed": (503, "Vault is sealed", 6, "Vault is sealed"),
}  # fmt: skip
"""Status and words as Vault's plugin has them (openbao-plugins and vault-plugin-auth-gcp, path_login.go)."""


@pytest.mark.parametrize(("status", "said", "code", "words"), REFUSALS.values(), ids=REFUSALS)
def test_refused_login(
    run: Run,
    scripted: ScriptedServer,
    machine: MetadataService,
    clean_environment: pathlib.Path,
    status: int,
    said: str,
    code: int,
    words: str,
) -> None:
    """Not our role, not our account, no such mount: one line that says what to do; a failure of Vault is none."""
    scripted.on(*LOGIN, reply(status, {"errors": [said]}))

    refused(run_get(run, scripted, ROLE, clean_environment), code, words)
    assert [request.path for request in scripted.requests] == ["/v1/auth/gcp/login"]
    assert len(machine.requests) == 1


def test_silent_server_ends_within_its_limit(
    scripted: ScriptedServer, machine: MetadataService, at: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes the request and says nothing costs its limit, not the deadline of the call."""
    monkeypatch.setattr(gcp, "LIMIT", 0.2)
    machine.tell(TOKEN_PATH, silence(10))
    began = time.monotonic()

    with pytest.raises(UnreachableError, match=r"no answer to it in time; .* \(only on Google Cloud\)"):
        log_in(scripted.address, ROLE, at)
    assert time.monotonic() - began < 3


def test_token_is_asked_for_at_each_login(
    scripted: ScriptedServer, machine: MetadataService, at: dict[str, str]
) -> None:
    """What Google signs in the meantime is used without a restart."""
    first, second = token(sub="first"), token(sub="second")
    machine.tell(TOKEN_PATH, handed_out(first), handed_out(second))
    scripted.on(*LOGIN, LOGGED_IN)
    log_in(scripted.address, ROLE, at)
    log_in(scripted.address, ROLE, at)

    assert [request.json["jwt"] for request in scripted.requests] == [first, second]


@pytest.mark.parametrize(
    ("environ", "role", "reason"),
    [({"K_SERVICE": "webapp"}, None, "vault_auth_role is not set"), ({}, "webapp", "neither K_SERVICE nor")],
)
def test_auto_passes_it_over(environ: dict[str, str], role: str | None, reason: str) -> None:
    """Without a role, and where only a request could tell, ``auto`` goes on to the next method."""
    config = auth.configure({"vault_auth_method": "gcp", "vault_auth_role": role}, environ, None)

    with pytest.raises(AuthUnavailable, match=reason):
        GCP.from_config(config).at_home()


@pytest.mark.parametrize("environ", [{"K_SERVICE": "webapp"}, {"GCE_METADATA_HOST": "127.0.0.1:1"}])
def test_auto_takes_it_at_home(environ: dict[str, str]) -> None:
    """Either variable of the platform is enough."""
    config = auth.configure({"vault_auth_role": "webapp"}, environ, None)

    assert auth.choose(config).name == "gcp"


def test_commands_of_the_page_have_the_form_of_the_api() -> None:
    """The set-up is checked for its form alone, for no server here has the plugin: paths and names are the API's."""
    documented = {
        "name", "type", "bound_service_accounts", "bound_projects", "bound_zones", "bound_regions",
        "bound_instance_groups", "bound_labels", "max_jwt_exp", "token_policies", "token_ttl",
    }  # fmt: skip
    enable, *writes = Page("gcp").commands()

    assert enable == "vault auth enable gcp"
    assert [command.split()[2] for command in writes] == ["auth/gcp/role/webapp", "auth/gcp/role/webapp-run"]
    for command in writes:
        words = command.split()
        assert words[:2] == ["vault", "write"]
        assert {word.partition("=")[0] for word in words[3:]} <= documented
        assert all(re.fullmatch(r"[a-z_]+=\S+", word) for word in words[3:])
