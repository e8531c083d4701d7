"""Names that become parts of a path: what is asked for on the wire lies where it should, or nothing is asked for."""

from __future__ import annotations

import posixpath
import urllib.parse

from hypothesis import strategies as st

from vault_credential_process import auth
from vault_credential_process.cache.memory import Memory
from vault_credential_process.errors import VaultCredentialError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.testing.scripted import Request, ScriptedServer, reply

from . import material
from .kit import ACCEPTED, refusal, shared, target
from .of_answers import LOGIN, STS

NAMES = (
    "..", ".", "../x", "../../sys/health", "a/..", "a/../b", "a/b", "/a", "a/", "//a", "a//b", "%2e%2e", "%2E%2e/x",
    "..%2fx",
    "%2e%2e%2fconfig%2froot", "%252e%252e", "..;/x", "a;b", ";", "a?b", "?", "a#b", "#", "..\\x", "\\..\\x", "a\\b",
    "a b",
    " ", "", "\t", "a\nb", "a\r\nHost: evil", "..\r\n", "\x00", "\x7f", "\uff0e\uff0e", "\uff0e\uff0e\uff0fx",
    "\u2024\u2024/x", "\u2025/x", "a\u2215b", "é",
    "\u202e", "..\u200b", "\ufeff..", "\ud800", "%", "%zz", "%00", "a%", "*", "+", "a+b", "~", "$", "{role}", "a:b",
    "a@b",
    ":80", "@evil", "http://evil/", "a.b", "a..b", "..a", "a..", "...", "x" * 3000, "a=b", "a&b", "'", '"', "<x>",
    "|", "^",
)  # fmt: skip
"""What has led out of a path somewhere."""

GOOD = {"role": "webapp", "mount": "aws", "auth_mount": "userpass", "username": "alice", "namespace": ""}
PARAMETERS = frozenset({"role_arn", "role_session_name", "ttl", "mfa_code"})

name = (
    st.sampled_from(NAMES)
    | st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).map("".join)
    | st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).map("/".join)
    | st.text("ab./%2eE;?#\\ @-_é\n", max_size=10)
    | material.text
)


def decoded(request: Request) -> str:
    """Return the path of a request as a server reads it: without its query, and with no escape left."""
    return urllib.parse.unquote(request.path.partition("?")[0], errors="strict")


def assert_below(request: Request, wanted: str) -> None:
    """Check that a request is for one path, however a server cleans it."""
    path = decoded(request)
    assert path == f"/v1/{wanted}", f"{path!r} instead of {wanted!r}"
    assert posixpath.normpath(path) == path, f"{path!r} is another path to a server that cleans it"
    assert "#" not in request.path
    query = urllib.parse.parse_qs(request.path.partition("?")[2], keep_blank_values=True)
    assert query.keys() <= PARAMETERS, query
    assert request.headers["host"].startswith("127.0.0.1:")


@target(
    "names in a path, on the wire",
    (
        "parsers.parse_role",
        "parsers.parse_mount",
        "parsers.parse_username",
        "parsers.parse_endpoint",
        "config.Config.aws_path",
    ),
    st.tuples(st.sampled_from(sorted(GOOD)), name, st.sampled_from(("creds", "sts", "static-creds"))),
    must=(ACCEPTED, "ConfigurationError"),
    inputs=tuple((field, value, "creds") for field, value in GOOD.items())
    + tuple((field, value, "creds") for field in ("role", "mount", "username") for value in NAMES),
    examples=60,
)
def paths(given: tuple[str, str, str]) -> str:
    """Whatever a role, a mount, a namespace or a user is called, only its own path is asked for, or nothing is."""
    field, value, endpoint = given
    server = shared("server of paths", ScriptedServer)
    server.requests.clear()
    names = {**GOOD, field: value}
    server.otherwise = reply(200, {**LOGIN, **STS})
    settings = {
        "vault_addr": server.address, "vault_auth_method": "userpass", "vault_password": "secret",
        "vault_max_retries": "0",
        "vault_aws_role": names["role"], "vault_aws_mount": names["mount"], "vault_aws_endpoint": endpoint,
        "vault_auth_mount": names["auth_mount"], "vault_username": names["username"],
    }  # fmt: skip
    if names["namespace"]:
        settings["vault_namespace"] = names["namespace"]
    try:
        config = auth.configure(settings, {}, None)
        Fetcher(config, cache=Memory()).fetch()
    except VaultCredentialError as error:
        assert [decoded(request) for request in server.requests] in ([], [f"/v1/auth/{GOOD['auth_mount']}/login/alice"])
        return refusal(error)
    login, read = server.requests[:2]
    mount, username = names["auth_mount"].strip().strip("/"), names["username"].strip()
    assert_below(login, f"auth/{mount}/login/{username}")
    assert_below(read, f"{names['mount'].strip().strip('/')}/{endpoint}/{names['role']}")
    for request in server.requests[2:]:
        assert_below(request, "auth/token/revoke-self")
    namespace = names["namespace"].strip().strip("/")
    for request in server.requests:
        assert request.headers.get("x-vault-namespace", "").encode("latin-1").decode() == namespace
    return ACCEPTED
