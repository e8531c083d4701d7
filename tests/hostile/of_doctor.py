"""What the doctor looks at: the answer of ``sys/health`` with its date, AWS's files, the credential_process line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hypothesis import strategies as st

from vault_credential_process.config import resolve
from vault_credential_process.doctor import Case, Finding, clock, network, profile_line, server, shadows
from vault_credential_process.profiles import Profile
from vault_credential_process.testing.scripted import ScriptedServer, reply

from . import material
from .kit import ACCEPTED, SECRETS, clean_log, shared, target
from .of_profiles import config_file, directory

_STATE = b'{"initialized": true, "sealed": false, "standby": false, "version": "2.4.0"}'
_DATE = "Mon, 30 Nov 2026 10:00:00 GMT"
_NOWHERE = {"PATH": "/nonexistent"}


def judged(case: Case, step: Callable[[Case], Iterator[Finding]]) -> str:
    """Return the worst state of what a step finds, after a look at what holds for every finding."""
    with clean_log():
        found = list(step(case))
    for finding in found:
        for text in (finding.found, finding.means, finding.remedy):
            assert not text or text.isprintable(), repr(text)
            assert not [secret for secret in SECRETS if secret in text], text
        assert finding.found
        assert (finding.state == "error") is (finding.exit_code != 0)
        assert finding.exit_code != 70
    case.findings += found
    return next((state for state in ("error", "warning") if any(f.state == state for f in found)), ACCEPTED)


@target(
    "what sys/health answers the doctor",
    ("doctor.server._json", "doctor.network.examine", "doctor.clock._ahead"),
    st.tuples(
        st.sampled_from((200, 301, 400, 403, 429, 472, 473, 500, 501, 503)),
        st.sampled_from(
            (
                _STATE,
                b'{"initialized": false}',
                b'{"initialized": true, "sealed": 1, "version": "\\u001b[31m"}',
                b'{"initialized": true, "version": {"a": []}, "standby": "yes"}',
                b'{"errors": [null, {"a": 1}, "\\u001b"]}',
                b'{"errors": "x"}',
                b"[" * 50_000,
                b"Client sent an HTTP request to an HTTPS server.",
            )
        )
        | material.octets,
        st.sampled_from(
            (_DATE, "", "Mon, 30 Nov 9999 10:00:00 -2359", "Mon, 99 Nov 2026", "0", "Thu, 1 Jan 1 0:0:0 +9999")
        )
        | material.line,
    ),
    must=(ACCEPTED, "error"),
    inputs=((200, _STATE, _DATE), (200, _STATE, "")),
    examples=40,
)
def health(given: tuple[int, bytes, str]) -> str:
    """A finding for each, whatever it is, and no more than one error."""
    status, body, date = given
    vault = shared("server", ScriptedServer)
    date = "".join(c for c in date if c.isascii() and c.isprintable())
    vault.otherwise = reply(status, body, {"Date": date})
    case = Case({}, _NOWHERE, config=resolve({}, {"VAULT_ADDR": vault.address, **_AWAY}, None, ()))
    judged(case, network.examine)
    judged(case, clock.examine)
    met = judged(case, server.examine)
    assert (met == ACCEPTED) is case.serves
    return met


_AWAY = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}


@target(
    "AWS's files as the doctor reads them",
    ("doctor.shadows._sections",),
    st.tuples(config_file(), config_file()),
    must=(ACCEPTED, "warning"),
    inputs=((b"[profile webapp]\n", b"[webapp]\naws_access_key_id = x\n"), (b"\xff", b"no section")),
)
def files(given: tuple[bytes, bytes]) -> str:
    """Findings for whatever stands in them."""
    environ = {}
    for name, content in zip(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), given, strict=True):
        path = directory() / f"doctor-{name}"
        path.write_bytes(content)
        environ[name] = str(path)
    return judged(Case({}, environ, profile=Profile("webapp", {})), shadows.examine)


@target(
    "credential_process line",
    ("doctor.profile_line.examine",),
    st.lists(
        st.sampled_from(
            (
                *(
                    "/bin/cat",
                    "~/x",
                    "$HOME/x",
                    "'",
                    '"',
                    "get",
                    "--profile",
                    "webapp",
                    "--profile=",
                    "\\",
                    "",
                    "\x1b[31m",
                ),
                *(
                    "/nonexistent/vault-credential-process",
                    "vault-credential-process",
                    "/",
                    "/dev/null",
                    "a b",
                    SECRETS[0],
                ),
            )
        )
        | material.line,
        max_size=6,
    ).map(" ".join),
    must=("error", "warning"),
    inputs=("/bin/cat get --profile webapp", "''"),
)
def line(given: str) -> str:
    """Findings for whatever somebody wrote there; nothing is run that is not ours."""
    # The program itself is told, so none is taken for a secret.
    given = f"/bin/cat {given}" if SECRETS[0] in given else given
    return judged(Case({}, _NOWHERE, profile=Profile("webapp", {"credential_process": given})), profile_line.examine)
