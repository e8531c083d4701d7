"""The table of auth methods: how each is played."""

from __future__ import annotations

import contextlib
import http.client
import secrets
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

from vault_credential_process.demo.server import free_port
from vault_credential_process.testing.scripted import Request, reply

from ..auth.instance import Instance, Notary
from ..auth.people import Somebody
from ..certificates import Authority
from .plants import Pair, Secret, awkward, token, word
from .plays import LOOK_UP, Play, Props, by_declaration, jwt

ROLE = {"vault_auth_role": "webapp"}


def approle(props: Props) -> Iterator[Play]:
    """A Secret ID, and one in a wrapping token."""
    yield from by_declaration(props, "approle", keys={"vault_role_id": "role-of-webapp"})
    wrapping = Secret("wrapping token", word("hvs.CANARYwrapping"))
    held = Secret("unwrapped Secret ID", word())
    path = "auth/approle/role/webapp/secret-id"
    keys = {"vault_role_id": "role-of-webapp", "vault_approle_role_name": "webapp"}
    yield Play(
        "approle",
        "wrapped file",
        keys={**keys, "vault_secret_id_wrapped_file": props.file(wrapping.value)},
        secrets=(wrapping, held),
        before={
            ("POST", "sys/wrapping/lookup"): reply(200, {"data": {"creation_path": path, "creation_ttl": 600}}),
            ("POST", "sys/wrapping/unwrap"): reply(200, {"data": {"secret_id": held.value, "secret_id_ttl": 0}}),
        },
    )


def token_(props: Props) -> Iterator[Play]:
    """A token that was handed in, and one of a token helper."""
    yield from by_declaration(props, "token", path=LOOK_UP, verb="GET")
    given = token()
    helper = props.program(f"#!/bin/sh\ncat {props.file(given.value)}")
    named = props.file(f'token_helper = "{helper}"')
    yield Play(
        "token", "helper", path=LOOK_UP, verb="GET", environ={"VAULT_CONFIG_PATH": named}, secrets=(given,), token=given
    )


def agent(_: Props) -> Iterator[Play]:
    """An Agent that adds a token of its own."""
    yield Play("agent", "agent", path=LOOK_UP, verb="GET")


def kubernetes(props: Props) -> Iterator[Play]:
    """The token of a service account."""
    account = {"namespace": "shop", "serviceaccount": {"name": "webapp", "uid": "u"}}
    given = Secret("JWT", jwt(kubernetes_io=account))
    keys = {**ROLE, "vault_kubernetes_token_file": props.file(given.value)}
    yield Play("kubernetes", "file", keys=keys, secrets=(given,))


def jwt_(props: Props) -> Iterator[Play]:
    """The token of a job, at hand and asked of GitHub."""
    yield from by_declaration(props, "jwt", keys=ROLE)
    given, asking = Secret("JWT", jwt()), Secret("GitHub token", word("request-token"))
    actions = props.service(reply(200, {"value": given.value}))
    yield Play(
        "jwt",
        "GitHub Actions",
        keys={**ROLE, "vault_jwt_audience": "vault"},
        environ={
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{actions.address}/idtoken?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": asking.value,
        },
        secrets=(given, asking),
    )


def aws_iam(_: Props) -> Iterator[Play]:
    """A request that AWS keys sign."""
    keys = Pair()
    signing = tuple(Secret("AWS keys", value) for value in (keys.secret_key, keys.session_token) if value)
    environ = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    yield Play(
        "aws-iam",
        "variables",
        keys={**ROLE, "vault_aws_iam_server_id": "vault.example.com"},
        environ={**environ, "AWS_SESSION_TOKEN": keys.session_token or ""},
        secrets=signing,
        path="auth/aws/login",
    )


def aws_ec2_(props: Props) -> Iterator[Play]:
    """A signed identity document, with a nonce in a file and one that is kept."""
    instance = props.stack.enter_context(Instance(Notary()))
    nonce = Secret("nonce", word())
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": instance.address, "AWS_EC2_METADATA_DISABLED": "false"}
    shown = tuple(Secret("proof", instance.shown(name)) for name in ("pkcs7", "signature"))
    common: dict[str, Any] = {"environ": environ, "path": "auth/aws/login"}
    keys = {**ROLE, "vault_aws_ec2_nonce_file": props.file(nonce.value)}
    yield Play("aws-ec2", "nonce file", keys=keys, secrets=(nonce, *shown), **common)
    yield Play("aws-ec2", "kept nonce", keys={**ROLE, "vault_aws_ec2_proof": "identity"}, secrets=shown, **common)


def azure(props: Props) -> Iterator[Play]:
    """The token of a managed identity."""
    given, header = Secret("JWT", jwt()), Secret("proof", word())
    handed_out = {"access_token": given.value, "expires_on": "1506484173", "resource": "r", "token_type": "Bearer"}
    app = props.service(reply(200, handed_out))
    resource = "/subscriptions/6a1d5988/resourceGroups/web/providers/Microsoft.Web/sites/webapp"
    yield Play(
        "azure",
        "App Service",
        keys={**ROLE, "vault_azure_resource_id": resource},
        environ={"IDENTITY_ENDPOINT": f"{app.address}/msi/token/", "IDENTITY_HEADER": header.value},
        secrets=(given, header),
    )


def gcp(props: Props) -> Iterator[Play]:
    """The identity token of an instance."""
    google = {"compute_engine": {"instance_id": "1", "instance_name": "webapp-1", "zone": "europe-west3-a"}}
    given = Secret("JWT", jwt(iss="https://accounts.google.com", aud="http://vault/webapp", google=google))
    flavor = {"Metadata-Flavor": "Google", "Content-Type": "text/html"}
    machine = props.service(reply(200, given.value.encode(), flavor))
    environ = {"GCE_METADATA_HOST": machine.address.removeprefix("http://")}
    yield Play("gcp", "metadata", keys=ROLE, environ=environ, secrets=(given,))


def cert(props: Props) -> Iterator[Play]:
    """A client certificate."""
    authority = Authority(props.directory, f"authority-{secrets.token_hex(4)}")
    pair = authority.issue("webapp.example.com")
    key = "".join(line for line in pair.key.read_text().splitlines() if "-----" not in line)
    yield Play(
        "cert",
        "key file",
        keys={
            **ROLE,
            "vault_cacert": str(authority.certificate),
            "vault_client_cert": str(pair.certificate),
            "vault_client_key": str(pair.key),
        },
        secrets=(Secret("private key", key[-60:].rstrip("=")), Secret("private key", key[8:68])),
        context=authority.issue("127.0.0.1").listener(clients=authority),
    )


def _of_user(method: str) -> Callable[[Props], Iterator[Play]]:
    def plays(props: Props) -> Iterator[Play]:
        """A password of a user, from every source, typed, and with a second factor."""
        path = f"auth/{method}/login/alice"
        code = Secret("code", secrets.choice("123456789") + str(secrets.randbelow(10**11)).zfill(11))
        factor = {"vault_login_mfa_code_command": props.command(code.value)}
        user = {"vault_username": "alice"}
        # Okta's own second factor would be a push.
        needed = factor if method == "okta" else {}
        codes = (code,) if needed else ()
        yield from by_declaration(props, method, keys={**user, **needed}, path=path, secrets=codes)
        typed = Secret("password", awkward())

        def person() -> Somebody:
            somebody = Somebody()
            somebody.answers = [typed.value]
            return somebody

        yield Play(method, "typed", keys={**user, **needed}, path=path, secrets=(typed, *codes), person=person)

    return plays


def github(props: Props) -> Iterator[Play]:
    """A token of GitHub."""
    yield from by_declaration(props, "github")


def oidc(_: Props) -> Iterator[Play]:
    """A person whose browser comes back."""
    state, nonce = Secret("code", word("st_canary")), Secret("code", word("n_canary"))
    code = Secret("code", word("c_canary"))

    def address(connection: Any, request: Request) -> None:
        query = {"nonce": nonce.value, "redirect_uri": request.json["redirect_uri"], "state": state.value}
        url = "https://idp.example.com/authorize?" + urllib.parse.urlencode(query)
        connection.sendall(reply(200, {"data": {"auth_url": url}}))

    yield Play(
        "oidc",
        "browser",
        keys={**ROLE, "vault_oidc_callback_port": str(free_port())},
        secrets=(state, nonce, code),
        verb="GET",
        path="auth/oidc/oidc/callback",
        before={("POST", "auth/oidc/oidc/auth_url"): address},
        person=lambda: Somebody(lambda url: _come_back(url, code.value)),
    )


def _come_back(address: str, code: str) -> None:
    """Play the provider, and a browser that leaves nothing in the log of this process."""
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))
    to = urllib.parse.urlsplit(query["redirect_uri"])
    connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", f"{to.path}?{urllib.parse.urlencode({'state': query['state'], 'code': code})}")
        connection.getresponse().read()


PLAYS: dict[str, Callable[[Props], Iterator[Play]]] = {
    "approle": approle,
    "token": token_,
    "agent": agent,
    "kubernetes": kubernetes,
    "jwt": jwt_,
    "aws-iam": aws_iam,
    "aws-ec2": aws_ec2_,
    "azure": azure,
    "gcp": gcp,
    "cert": cert,
    "userpass": _of_user("userpass"),
    "ldap": _of_user("ldap"),
    "radius": _of_user("radius"),
    "okta": _of_user("okta"),
    "github": github,
    "oidc": oidc,
}
"""Each method of the table of methods, with all ways in which it is played."""
