"""What a server answers ``configure``: its mounts, its roles, and the credentials that it tries."""

from __future__ import annotations

from hypothesis import strategies as st

from vault_credential_process import auth
from vault_credential_process.cli.configure.discovery import LONGEST_NAME, Session
from vault_credential_process.testing.scripted import ScriptedServer, reply

from . import material
from .kit import ACCEPTED, SECRET_ID, SECRETS, clean_log, outcome, shared, target
from .of_answers import LOGIN, REFUSED, STS, USER

_MOUNTS = {"data": {"secret": {"aws/": {"type": "aws"}, "aws-dev/": {"type": "aws"}, "kv/": {"type": "kv"}}}}
_KEYS = {"data": {"keys": ["webapp", "a/../b", "\x1b[31m", "x" * 1000, None, 7]}}
_EMPTY: dict[str, object] = {"errors": []}

_status = st.sampled_from((200, 200, 200, 200, 204, 400, 403, 404, 405, 500))


@target(
    "what a server lists for configure",
    ("cli.configure.discovery.Session.mounts", "cli.configure.discovery.Session.roles",
    "cli.configure.discovery.Session.read", "cli.configure.discovery._is_good"),
    st.tuples(_status, material.encoded(_MOUNTS, _KEYS, REFUSED, _EMPTY) | material.octets),
    inputs=(
        (200, material.dumped(_MOUNTS)), (200, material.dumped(_KEYS)), (200, material.dumped(STS)),
        (200, material.dumped(USER)), (404, material.dumped(_EMPTY)), (200, material.deep(50_000)),
    ),
    must=("names", ACCEPTED),
    examples=40,
)  # fmt: skip
def listed(given: tuple[int, bytes]) -> str:
    """Names that can stand in a list and in the file, printable words of what was read, or one line of ours."""
    status, body = given
    server = shared("server of configure", ScriptedServer)
    server.on("POST", "auth/approle/login", reply(200, LOGIN))
    server.otherwise = reply(status, body)
    settings = {"vault_addr": server.address, "vault_aws_role": "webapp", "vault_aws_cache": "none"}
    settings |= {"vault_auth_method": "approle", "vault_role_id": "role", "vault_secret_id": SECRET_ID}
    settings |= {"vault_max_retries": "0"}
    config = auth.configure(settings, {"AWS_ENDPOINT_URL": server.address}, None)
    names: list[str] = []
    told: list[str] = []

    def look() -> None:
        with Session(config, None) as session:
            names.extend(session.mounts() or ())
            for static in (False, True):
                names.extend(session.roles("aws", static=static) or ())
            told.extend(session.read(config))

    with clean_log():
        met = outcome(look)
    assert all(name.isprintable() and 0 < len(name) <= LONGEST_NAME for name in names), names
    assert all(line.isprintable() for line in told), told
    assert not [secret for secret in SECRETS if secret in "".join((*names, *told))]
    return "names" if names else met
