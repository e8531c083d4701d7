"""Azure: what it asks of the metadata service and sends to Vault. Nothing here is Azure, nor Vault's own plugin.

What the metadata service answers is what Microsoft documents: learn.microsoft.com/entra/identity/
managed-identities-azure-resources/how-to-use-vm-token ("Get a token using HTTP", "Error handling"),
/azure/app-service/overview-managed-identity ("REST endpoint reference") and
/azure/virtual-machines/instance-metadata-service. What Vault answers is what developer.hashicorp.com/vault/
api-docs/auth/azure#login documents, and the words with which its plugin refuses (path_login.go).
"""

from __future__ import annotations

import pathlib
import re
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from vault_credential_process import auth
from vault_credential_process.auth import AuthMethod, azure, metadata
from vault_credential_process.auth.azure import Azure
from vault_credential_process.errors import (
    AuthenticationError,
    AuthUnavailable,
    ConfigurationError,
    UnreachableError,
)
from vault_credential_process.profiles import Profile
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import Reply, ScriptedServer, reply, reset, silence

from ..conftest import Run
from ..pages import Page
from .metadata_service import LOGGED_IN, MetadataService, refused, run_get
from .methods import NOW, document, log_in
from .tokens import Signer

TOKEN_PATH, INSTANCE_PATH = "/metadata/identity/oauth2/token", "/metadata/instance"
LOGIN = ("POST", "auth/azure/login")
SUBSCRIPTION = "6a1d5988-5917-4221-b224-904cd7e24a25"
CLIENT_ID = "3cb88732-1356-4782-b671-4877166be01a"
RESOURCE_ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/web/providers/Microsoft.Web/sites/webapp"
HEADER = "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a"
ROLE = {"vault_auth_method": "azure", "vault_auth_role": "webapp"}
SIGNER = Signer()


def token(**claims: Any) -> str:
    """Return an access token as Entra ID signs one."""
    return SIGNER.sign(**{"aud": "https://management.azure.com/", "exp": int(max(time.time(), NOW)) + 86400, **claims})


def handed_out(value: str) -> bytes:
    """Return the answer to a request for a token that succeeds."""
    told = {"refresh_token": "", "expires_in": "3599", "expires_on": "1506484173", "not_before": "1506480273"}
    further = {"resource": "https://management.azure.com/", "token_type": "Bearer"}
    return reply(200, {"access_token": value, **told, **further})


def instance(**changes: str) -> bytes:
    """Return the metadata of a virtual machine."""
    compute = {
        "azEnvironment": "AzurePublicCloud",
        "location": "westeurope",
        "name": "webapp_0",
        "resourceGroupName": "web",
        "resourceId": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/web/providers/Microsoft.Compute/vm/webapp_0",
        "subscriptionId": SUBSCRIPTION,
        "tags": "",
        "vmScaleSetName": "",
    }
    return reply(200, {"compute": {**compute, **changes}, "network": {"interface": []}})


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetadataService]:
    """The metadata service of a virtual machine."""
    with MetadataService() as service:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", service.address)
        service.tell(TOKEN_PATH, handed_out(token()))
        service.tell(INSTANCE_PATH, instance())
        yield service


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetadataService]:
    """The token endpoint of an app in App Service, which has no metadata of a machine."""
    with MetadataService() as service:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{service.address}/msi/token/")
        monkeypatch.setenv("IDENTITY_HEADER", HEADER)
        service.tell("/msi/token/", handed_out(token()))
        yield service


class TestContractOfAMachine(AuthMethodContract):
    """The contract of every method, on a virtual machine."""

    method: ClassVar[type[AuthMethod]] = Azure

    @pytest.fixture
    def settings(self, machine: MetadataService, planted: tuple[str, ...]) -> dict[str, Any]:
        machine.tell(TOKEN_PATH, handed_out(planted[0]))
        return {"vault_auth_role": "webapp"}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return (token(),)


class TestContractOfAnApp(AuthMethodContract):
    """The contract of every method, in App Service."""

    method: ClassVar[type[AuthMethod]] = Azure

    @pytest.fixture
    def settings(self, app: MetadataService, planted: tuple[str, ...]) -> dict[str, Any]:
        app.tell("/msi/token/", handed_out(planted[0]))
        return {"vault_auth_role": "webapp", "vault_azure_resource_id": RESOURCE_ID}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return (token(), HEADER)


def sent(vault: ScriptedServer, keys: dict[str, str], environ: dict[str, str]) -> dict[str, str]:
    """Log in, and return the body of the login."""
    vault.on(*LOGIN, LOGGED_IN)
    assert log_in(vault.address, {**ROLE, **keys}, environ).value == "f33f8c72-924e-11f8-cb43-ac59d697597c"
    (request,) = vault.requests
    body: dict[str, str] = request.json
    return body


@pytest.fixture
def at(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return what the environment of the test's machine or app tells a login in the process."""
    if "machine" in request.fixturenames:
        service = request.getfixturevalue("machine")
        return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": service.address}
    service = request.getfixturevalue("app")
    return {"IDENTITY_ENDPOINT": f"{service.address}/msi/token/", "IDENTITY_HEADER": HEADER}


def test_what_a_machine_sends(scripted: ScriptedServer, machine: MetadataService, at: dict[str, str]) -> None:
    """The token for the default resource, and what the metadata tells of the machine; the API's field names."""
    value = token(sub="of this test")
    machine.tell(TOKEN_PATH, handed_out(value))

    assert sent(scripted, {}, at) == {
        "role": "webapp",
        "jwt": value,
        "subscription_id": SUBSCRIPTION,
        "resource_group_name": "web",
        "vm_name": "webapp_0",
    }
    assert machine.asked_for() == [
        (TOKEN_PATH, {"api-version": "2018-02-01", "resource": "https://management.azure.com/"}),
        (INSTANCE_PATH, {"api-version": "2021-02-01"}),
    ]
    assert [request.headers["metadata"] for request in machine.requests] == ["true", "true"]
    assert "resource=https%3A%2F%2Fmanagement.azure.com%2F" in machine.requests[0].path


def test_scale_set_is_named_too(scripted: ScriptedServer, machine: MetadataService, at: dict[str, str]) -> None:
    """A machine of a scale set sends its name and that of the set, as Vault's own Agent does."""
    machine.tell(INSTANCE_PATH, instance(vmScaleSetName="webapp"))
    body = sent(scripted, {}, at)

    assert (body["vm_name"], body["vmss_name"]) == ("webapp_0", "webapp")


def test_resource_and_identity_are_asked_for(
    scripted: ScriptedServer, machine: MetadataService, at: dict[str, str]
) -> None:
    """The resource of the mount's config and the client ID of a user-assigned identity go into the request."""
    sent(scripted, {"vault_azure_resource": "api://vault", "vault_azure_client_id": CLIENT_ID}, at)

    assert machine.asked_for()[0][1] == {
        "api-version": "2018-02-01",
        "resource": "api://vault",
        "client_id": CLIENT_ID,
    }


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"vault_azure_resource_group": "other"}, {"resource_group_name": "other", "vm_name": "webapp_0"}),
        ({"vault_azure_vmss_name": "set"}, {"resource_group_name": "web", "vmss_name": "set"}),
        ({"vault_azure_resource_id": RESOURCE_ID}, {"resource_group_name": "web", "resource_id": RESOURCE_ID}),
    ],
)
def test_settings_go_before_the_metadata(
    scripted: ScriptedServer,
    machine: MetadataService,
    at: dict[str, str],
    keys: dict[str, str],
    expected: dict[str, str],
) -> None:
    """What the profile names replaces what the metadata tells: of machine, scale set and resource all that is told."""
    body = sent(scripted, keys, at)
    del body["jwt"], body["role"]

    assert body == {"subscription_id": SUBSCRIPTION, **expected}
    assert len(machine.requests) == 2


def test_metadata_is_not_asked_for_what_is_named(
    scripted: ScriptedServer, machine: MetadataService, at: dict[str, str]
) -> None:
    """Where the profile names all there is, the metadata of the machine is left alone."""
    keys = {
        "vault_azure_subscription_id": SUBSCRIPTION,
        "vault_azure_resource_group": "web",
        "vault_azure_vm_name": "x",
    }
    body = sent(scripted, keys, at)

    assert [path for path, _ in machine.asked_for()] == [TOKEN_PATH]
    assert (body["subscription_id"], body["resource_group_name"], body["vm_name"]) == (SUBSCRIPTION, "web", "x")


@pytest.mark.parametrize(
    "answer",
    [reply(403), reply(404), reply(200, b"<html>"), reply(200, {"compute": []}), reply(200, {"compute": {"name": 5}})],
    ids=["forbidden", "not found", "page", "list", "number"],
)
def test_without_metadata_only_the_token_is_sent(
    scripted: ScriptedServer, machine: MetadataService, at: dict[str, str], answer: Reply
) -> None:
    """A role that is bound to identities alone needs no more, as in a container that gets a token but no metadata."""
    machine.tell(INSTANCE_PATH, answer)

    assert sent(scripted, {}, at).keys() == {"role", "jwt"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reset, "the connection broke during it; check that its service"),
        (reply(429), "/metadata/instance: HTTP 429; try"),
    ],
    ids=["reset", "busy"],
)
def test_metadata_that_is_away_is_waited_for(
    scripted: ScriptedServer, machine: MetadataService, at: dict[str, str], answer: Reply, words: str
) -> None:
    """Where the metadata may come back nobody logs in without it."""
    machine.tell(INSTANCE_PATH, answer)

    with pytest.raises(UnreachableError, match=f"^the metadata of the virtual machine: http://.*{words}"):
        log_in(scripted.address, ROLE, at)
    assert scripted.requests == []


def test_what_an_app_sends(scripted: ScriptedServer, app: MetadataService, at: dict[str, str]) -> None:
    """An app asks its own endpoint, at its address as it stands, with its header, and sends what the profile names."""
    value = token(sub="of this test")
    app.tell("/msi/token/", handed_out(value))
    keys = {
        "vault_azure_client_id": CLIENT_ID,
        "vault_azure_subscription_id": SUBSCRIPTION,
        "vault_azure_resource_group": "web",
        "vault_azure_resource_id": RESOURCE_ID,
    }

    assert sent(scripted, keys, at) == {
        "role": "webapp",
        "jwt": value,
        "subscription_id": SUBSCRIPTION,
        "resource_group_name": "web",
        "resource_id": RESOURCE_ID,
    }
    query = {"api-version": "2019-08-01", "resource": "https://management.azure.com/", "client_id": CLIENT_ID}
    assert app.asked_for() == [("/msi/token/", query)]
    assert app.requests[0].headers["x-identity-header"] == HEADER
    assert "metadata" not in app.requests[0].headers


def test_apps_endpoint_goes_before_the_machines(
    scripted: ScriptedServer, app: MetadataService, machine: MetadataService
) -> None:
    """Where both are there the app's identity is meant, and its machine is nobody's business."""
    environ = {
        "IDENTITY_ENDPOINT": f"{app.address}/msi/token/",
        "IDENTITY_HEADER": HEADER,
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": machine.address,
    }
    sent(scripted, {}, environ)

    assert (len(app.requests), len(machine.requests)) == (1, 0)


def test_default_address_is_the_one_of_azure() -> None:
    """Without a word from the environment the well-known link-local address is asked."""
    config = auth.configure({}, {}, Profile("webapp", ROLE))

    assert auth.choose(config).identity().parts[3] == azure.IMDS == "http://169.254.169.254"


@pytest.mark.parametrize(
    "other",
    [
        {"vault_azure_resource": "api://vault"},
        {"vault_azure_client_id": CLIENT_ID},
        {"vault_azure_resource_id": RESOURCE_ID},
        {"vault_azure_vm_name": "x"},
    ],
)
def test_identities_are_told_apart(other: dict[str, str]) -> None:
    """Another resource, identity or name is another login: answers are not shared."""
    first, second = (
        auth.choose(auth.configure({}, {}, Profile("webapp", ROLE | keys))).identity() for keys in ({}, other)
    )

    assert first != second


@pytest.mark.parametrize(
    "other",
    [
        {azure.ENDPOINT: "http://127.0.0.1:2/msi/token"},
        {azure.HEADER: "another"},
        {azure.ENDPOINT: "", azure.HEADER: ""},
        {azure.ENDPOINT: "", azure.HEADER: "", azure.IMDS_HOST: "http://127.0.0.1:3"},
    ],
)
def test_places_are_told_apart(other: dict[str, str]) -> None:
    """Another endpoint, and another header for the same one, may give another identity; the header is a secret."""
    app = {azure.ENDPOINT: "http://127.0.0.1:1/msi/token", azure.HEADER: "canary"}
    environs = (app, app | other, {})
    found = [auth.choose(auth.configure({}, e, Profile("webapp", ROLE))).identity() for e in environs]

    assert found[0] != found[1]
    assert (found[0].secrets, found[2].secrets) == (("canary",), ())


@pytest.mark.parametrize("status", [404, 410, 429, 500, 503])
def test_busy_service_is_asked_again(
    scripted: ScriptedServer,
    machine: MetadataService,
    at: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    """What Microsoft says to try again is tried again, ``vault_max_retries`` times."""
    monkeypatch.setattr(metadata, "RETRY_WAIT", 0.01)
    machine.tell(TOKEN_PATH, reply(status), reply(status), handed_out(token()))
    scripted.on(*LOGIN, LOGGED_IN)
    log_in(scripted.address, ROLE, at, {"vault_max_retries": "2"})

    assert [path for path, _ in machine.asked_for()] == [TOKEN_PATH] * 3 + [INSTANCE_PATH]


def test_pauses_grow_and_end_with_the_tries(
    scripted: ScriptedServer, machine: MetadataService, at: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pause is twice the one before; then the status is what is told, and Vault was not asked."""
    monkeypatch.setattr(metadata, "RETRY_WAIT", 0.1)
    machine.tell(TOKEN_PATH, reply(429))

    with pytest.raises(UnreachableError, match="HTTP 429 and no token; try again in a minute"):
        log_in(scripted.address, ROLE, at, {"vault_max_retries": "2"})
    first, second, third = (request.received for request in machine.requests)
    assert second - first >= 0.1
    assert third - second >= 0.2
    assert scripted.requests == []


@pytest.mark.parametrize("status", [400, 401, 403])
def test_refusal_is_not_asked_again(
    scripted: ScriptedServer, machine: MetadataService, at: dict[str, str], status: int
) -> None:
    """A request that is wrong stays wrong."""
    machine.tell(TOKEN_PATH, reply(status))

    with pytest.raises(Exception, match=f"HTTP {status}"):
        log_in(scripted.address, ROLE, at, {"vault_max_retries": "2"})
    assert len(machine.requests) == 1


def test_page_and_metadata_give_credentials(
    run: Run, scripted: ScriptedServer, machine: MetadataService, clean_environment: pathlib.Path
) -> None:
    """The page's profile on a machine gives AWS credentials; the token of the login reads them."""
    scripted.on(*LOGIN, LOGGED_IN)
    done = run_get(run, scripted, Page("azure").profile(), clean_environment)

    assert document(done)["AccessKeyId"] == "ASIAIOSFODNN7EXAMPLE"
    assert scripted.requests[0].json["vm_name"] == "webapp_0"
    assert scripted.requests[1].headers["x-vault-token"] == "f33f8c72-924e-11f8-cb43-ac59d697597c"
    assert len(machine.requests) == 2


def test_app_is_found_by_auto(
    run: Run, scripted: ScriptedServer, app: MetadataService, clean_environment: pathlib.Path
) -> None:
    """In an app the role is all that the profile needs."""
    scripted.on(*LOGIN, LOGGED_IN)
    done = run_get(run, scripted, {"vault_auth_role": "webapp"}, clean_environment)

    assert document(done)["AccessKeyId"] == "ASIAIOSFODNN7EXAMPLE"
    assert scripted.requests[0].json.keys() == {"role", "jwt"}
    assert len(app.requests) == 1


NOT_FOUND = reply(400, {"error": "invalid_request", "error_description": "Identity not found", "canary": 1})
NO_RESOURCE = reply(400, {"error": "invalid_resource", "error_description": "AADSTS500011: canary"})
ONLY = "(only on an Azure VM, or in App Service, Functions or Container Apps)"
NO_TOKEN: dict[str, tuple[Reply, dict[str, str], int, str]] = {
    "no identity": (
        NOT_FOUND, {}, 3,
        ("HTTP 400: no identity here, or several; assign one to this resource, and set vault_azure_client_id if it is "
        "a user-assigned one"),
    ),
    "no such identity": (
        NOT_FOUND, {"vault_azure_client_id": CLIENT_ID}, 3,
        ("HTTP 400: no such identity here; assign it to this resource, or correct vault_azure_client_id (from "
        "vault_azure_client_id in [profile webapp])"),
    ),
    "no such resource": (
        NO_RESOURCE, {"vault_azure_resource": "api://nothing"}, 2,
        ("HTTP 400: the tenant has no resource api://nothing; correct vault_azure_resource (from "
        "vault_azure_resource in [profile webapp])"),
    ),
    "forbidden": (
        reply(403, b"canary"), {}, 5,
        f"refused with HTTP 403; let this process reach Azure's metadata service {ONLY}",
    ),
    "not found": (
        reply(404, b"canary"), {}, 5,
        f"HTTP 404 and no token; try again in a minute, if this is Azure at all {ONLY}",
    ),
    "updating": (reply(410, b"canary"), {}, 5, "HTTP 410 and no token; try again in a minute"),
    "failing": (reply(503, b"canary"), {}, 5, "HTTP 503 and no token; try again in a minute"),
    "redirect": (reply(302, headers={"Location": "http://192.0.2.1/canary"}), {}, 5, "HTTP 302 and no token"),
    "page": (reply(200, b"<html>canary</html>"), {}, 5, "HTTP 200 and no token"),
    "not a text": (reply(200, {"access_token": ["canary"]}), {}, 5, "HTTP 200 and no token"),
    "not a token": (handed_out("canary"), {}, 2, "the token from the managed identity is not a JSON Web Token"),
    "expired": (
        handed_out(token(exp=1_700_000_000)), {}, 3,
        "the token from the managed identity expired at 2023-11-14T22:13:20Z",
    ),
    "too long": (reply(200, b" " * 70_000), {}, 5, "longer than 65536 bytes; check what answers there"),
    "reset": (
        reset, {}, 5,
        f"the connection broke during it; check that its service can be reached from here {ONLY}",
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
    machine.tell(TOKEN_PATH, answer)

    refused(run_get(run, scripted, ROLE | keys, clean_environment), code, words)
    assert scripted.requests == []


APPS_OWN: dict[str, tuple[Reply, int, str]] = {
    "no identity": (
        reply(400, {"statusCode": 400, "message": "No Managed Identity found for specified canary."}), 3,
        "/msi/token/: HTTP 400: no identity here, or several; assign one to this resource",
    ),
    "wrong header": (
        reply(403, {"statusCode": 403, "message": "canary"}), 3,
        "refused with HTTP 403; hand IDENTITY_ENDPOINT and IDENTITY_HEADER on as the app has them",
    ),
    "not found": (reply(404, b"canary"), 5, "HTTP 404 and no token"),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "code", "words"), APPS_OWN.values(), ids=APPS_OWN)
def test_app_without_token(
    run: Run,
    scripted: ScriptedServer,
    app: MetadataService,
    clean_environment: pathlib.Path,
    answer: Reply,
    code: int,
    words: str,
) -> None:
    """The same of an app, whose endpoint wants a header too."""
    app.tell("/msi/token/", answer)

    refused(run_get(run, scripted, ROLE, clean_environment), code, words)
    assert len(app.requests) == 1
    assert scripted.requests == []


AWAY = "http://127.0.0.1:1"
NOTHING_TO_ASK: dict[str, tuple[dict[str, str], dict[str, str], int, str]] = {
    "nobody there": (
        {"AZURE_POD_IDENTITY_AUTHORITY_HOST": AWAY}, ROLE, 5,
        (f"the token of the managed identity: {AWAY}: connection refused: nothing listens there; check that its "
        f"service can be reached from here {ONLY}"),
    ),
    "no address of a machine": (
        {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "nowhere"}, ROLE, 2,
        "AZURE_POD_IDENTITY_AUTHORITY_HOST: not an http address; hand it on as the platform has it",
    ),
    "no address of an app": (
        {"IDENTITY_ENDPOINT": "unix:///run/canary", "IDENTITY_HEADER": "canary"}, ROLE, 2,
        "IDENTITY_ENDPOINT: not an http address; hand it on as the platform has it",
    ),
    "no header": (
        {"IDENTITY_ENDPOINT": "http://127.0.0.1:1/canary"}, ROLE, 2,
        "IDENTITY_HEADER: not set, but IDENTITY_ENDPOINT is; hand both on to where this runs",
    ),
    "no endpoint": (
        {"IDENTITY_HEADER": "canary"}, ROLE, 2,
        "IDENTITY_ENDPOINT: not set, but IDENTITY_HEADER is; hand both on to where this runs",
    ),
    "malformed header": (
        {"IDENTITY_ENDPOINT": AWAY, "IDENTITY_HEADER": "can\tary canary"}, ROLE, 2,
        "IDENTITY_HEADER: not one printable word; hand it on as the app has it",
    ),
    "no role": (
        {}, {"vault_auth_method": "azure"}, 2,
        "vault_auth_role: missing (set --auth-role, vault_auth_role in [profile webapp], or VAULT_AUTH_ROLE)",
    ),
    "malformed identity": (
        {}, ROLE | {"vault_azure_client_id": "webapp"}, 2,
        ("vault_azure_client_id: not a GUID; write 01234567-89ab-cdef-0123-456789abcdef (from vault_azure_client_id "
        "in [profile webapp])"),
    ),
    "not at home": (
        {}, {"vault_auth_role": "webapp"}, 3,
        "azure: not in an app on Azure: IDENTITY_ENDPOINT is not set",
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
    """A service that is away, half an environment, a missing role or a malformed value: one line and its code."""
    refused(run_get(run, scripted, keys, clean_environment, **environ), code, words)
    assert scripted.requests == []


CHECK_ROLE = (
    "; check vault_auth_role (from vault_auth_role in [profile webapp]) and what it is bound to; the token came from "
    "the managed identity"
)
CLOCKS = "; check the clocks of this host and of Vault's"
MACHINE = "; name the resource whose identity this is: check vault_azure_resource_group, and vault_azure_resource_id or"
REFUSALS: dict[str, tuple[int, str, int, str]] = {
    "role": (400, 'invalid role name "webapp"', 3, CHECK_ROLE),
    "principal": (500, f"service principal not authorized: {CLIENT_ID}", 3, f": {CLIENT_ID}{CHECK_ROLE}"),
    "group": (500, "resource group not authorized", 3, CHECK_ROLE),
    "location": (500, "location not authorized", 3, CHECK_ROLE),
    "audience": (
        500, 'oidc: expected audience "api://vault" got ["https://management.azure.com/"]', 3,
        "; vault_azure_resource must be what resource in the mount's config is",
    ),
    "audience, as a wrong request": (
        400, 'oidc: expected audience "api://vault" got ["https://management.azure.com/"]', 3,
        "; vault_azure_resource must be what resource in the mount's config is",
    ),
    "words of a gateway": (502, "location not authorized", 5, "HTTP 502: location not authorized; see Vault's log"),
    "tenant": (
        500, 'oidc: id token issued by a different provider, expected "https://sts.windows.net/1/" got "x"', 3,
        "; the identity is of another tenant than tenant_id in the mount's config",
    ),
    "expired": (500, "oidc: token is expired (Token Expiry: 2026-11-24 14:13:21 +0000 UTC)", 3, CLOCKS),
    "too early": (500, "oidc: current time 1 before the nbf (not before) time: 2", 3, CLOCKS),
    "untold": (
        500, "subscription_id and resource_group_name are required", 3,
        "; set vault_azure_subscription_id, vault_azure_resource_group and vault_azure_resource_id: the role is bound",
    ),
    "no machine": (
        500, "one of vm_name, vmss_name, resource_id, or an appid JWT claim must be provided", 3,
        "; set vault_azure_resource_id: the role is bound to what the metadata does not tell here",
    ),
    "another machine": (500, "neither token object id nor token app id match expected identities", 3, MACHINE),
    "claims": (500, "xms_mirid token claim does not match vm_name x", 3, MACHINE),
    "no claims": (
        500, "xms_az_rid and xms_mirid claims are missing from token", 3,
        "; take https://management.azure.com/ for vault_azure_resource and in the mount's config",
    ),
    "failure of Azure": (
        500, "unable to retrieve virtual machine metadata: GET https://management.azure.com/\n---\nRESPONSE 403", 5,
        "--- RESPONSE 403; see Vault's log, then try again",
    ),
    "mount": (403, "permission denied", 3, "either no auth method is mounted at azure (Vault answers 403 for that"),
    "sealed": (503, "Vault is sealed", 6, "Vault is sealed"),
}  # fmt: skip
"""Status and words as Vault's plugin has them (openbao-plugins and vault-plugin-auth-azure, path_login.go)."""


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
    """Not our role, not our identity, no such mount: one line that says what to do; a failure of Vault is none."""
    scripted.on(*LOGIN, reply(status, {"errors": [said]}))

    refused(run_get(run, scripted, ROLE, clean_environment), code, words)
    assert [request.path for request in scripted.requests] == ["/v1/auth/azure/login"]
    assert len(machine.requests) == 2


def test_refusal_in_a_frame_is_one_too(scripted: ScriptedServer, machine: MetadataService, at: dict[str, str]) -> None:
    """Vault may wrap the words of its plugin, as it does for other methods."""
    said = "1 error occurred:\n\t* groups not authorized: []\n\n"
    scripted.on(*LOGIN, reply(500, {"errors": [said]}))

    with pytest.raises(AuthenticationError, match=r"login refused: 1 error occurred: \* groups not authorized: \[\]; "):
        log_in(scripted.address, ROLE, at)
    assert len(machine.requests) == 2


def test_silent_service_ends_within_its_limit(
    scripted: ScriptedServer, machine: MetadataService, at: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that takes the request and says nothing costs its limit, not the deadline of the call."""
    monkeypatch.setattr(azure, "LIMIT", 0.2)
    machine.tell(TOKEN_PATH, silence(10))
    began = time.monotonic()

    with pytest.raises(UnreachableError, match=r"no answer to it in time; .* \(only on an Azure VM"):
        log_in(scripted.address, ROLE, at)
    assert time.monotonic() - began < 3


def test_token_is_asked_for_at_each_login(
    scripted: ScriptedServer, machine: MetadataService, at: dict[str, str]
) -> None:
    """What Azure hands out in the meantime is used without a restart."""
    first, second = token(sub="first"), token(sub="second")
    machine.tell(TOKEN_PATH, handed_out(first), handed_out(second))
    scripted.on(*LOGIN, LOGGED_IN)
    log_in(scripted.address, ROLE, at)
    log_in(scripted.address, ROLE, at)

    assert [request.json["jwt"] for request in scripted.requests] == [first, second]


@pytest.mark.parametrize(
    ("environ", "role", "reason"),
    [
        ({"IDENTITY_ENDPOINT": "http://127.0.0.1:1/"}, None, "vault_auth_role is not set"),
        ({"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:1"}, "webapp", "IDENTITY_ENDPOINT is not set"),
    ],
)
def test_auto_passes_it_over(environ: dict[str, str], role: str | None, reason: str) -> None:
    """Without a role, and where only a request could tell, ``auto`` goes on to the next method."""
    config = auth.configure({"vault_auth_method": "azure", "vault_auth_role": role}, environ, None)
    method = Azure.from_config(config)

    with pytest.raises(AuthUnavailable, match=reason):
        method.at_home()


def test_half_an_app_is_broken_not_absent() -> None:
    """``auto`` stops at an app whose environment was handed on in part."""
    environ = {"IDENTITY_ENDPOINT": "http://127.0.0.1:1/", "VAULT_AUTH_ROLE": "webapp"}

    with pytest.raises(ConfigurationError, match="IDENTITY_HEADER: not set, but IDENTITY_ENDPOINT is"):
        auth.choose(auth.configure({}, environ, None))


def test_commands_of_the_page_have_the_form_of_the_api() -> None:
    """The set-up is checked for its form alone, for no server here has the plugin: paths and names are the API's."""
    documented = {
        "config": {"tenant_id", "resource", "environment", "client_id", "client_secret"},
        "role/webapp": {
            "bound_service_principal_ids", "bound_group_ids", "bound_locations", "bound_subscription_ids",
            "bound_resource_groups", "bound_scale_sets", "token_policies", "token_ttl",
        },
    }  # fmt: skip
    enable, *writes = Page("azure").commands()

    assert enable == "vault auth enable azure"
    assert len(writes) == 4
    for command in writes:
        words = command.split()
        assert words[:2] == ["vault", "write"]
        assert {word.partition("=")[0] for word in words[3:]} <= documented[words[2].removeprefix("auth/azure/")]
        assert all(re.fullmatch(r"[a-z_]+=\S+", word) for word in words[3:])
