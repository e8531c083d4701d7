"""What ``doctor`` tells of the login, and what it spends of it."""

from __future__ import annotations

import os
import pathlib
import sys

import pytest

from vault_credential_process.testing.scripted import ScriptedServer, reply

from ..conftest import Run
from ..talk import LOGIN, LOOK_UP, LOOKED_UP, READ
from ..test_command import token_for
from .ward import ALLOWED, CAPABILITIES, STATE, Ward, examined

CREATED = "auth/approle/role/webapp/secret-id"


class TestLogin:
    """What is spent and what is not, and what is told of the token."""

    def test_no_login(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """With ``--no-login`` nobody logs in; a token that is kept is told of all the same."""
        ward.scripted()
        ward.patch.setenv("VAULT_TOKEN", "hvs.somebody-else")
        before = examined(capsys, *ward.flags, "--no-login")
        assert ward.server.asked("POST", LOGIN) == 0
        examined(capsys, *ward.flags)
        after = examined(capsys, *ward.flags, "--no-login")

        assert before.says("login", "--no-login forbids a login")
        assert before.says("login", "VAULT_TOKEN is set, and is not used approle is what is configured")
        assert after.says("login", "a token is kept from an earlier login")
        assert ward.server.asked("POST", LOGIN) == 1
        assert ward.server.asked("GET", READ) == 0

    def test_wrapping_token_is_not_spent(self, ward: Ward, capsys: pytest.CaptureFixture[str], run: Run) -> None:
        """A wrapped Secret ID serves once: it is left to ``get``, and what that unwrapped serves here, too."""
        wrapped = ward.path / "wrapped"
        wrapped.write_text("hvs.WRAPPING")
        wrapped.chmod(0o600)
        ward.scripted()
        ward.write(
            vault_addr=ward.server.address,
            vault_secret_id_file=None,
            vault_secret_id_wrapped_file=str(wrapped),
            vault_approle_role_name="webapp",
            vault_aws_role="webapp",
        )
        ward.server.on(
            "POST", "sys/wrapping/lookup", reply(200, {"data": {"creation_path": CREATED, "creation_ttl": 600}})
        )
        ward.server.on("POST", "sys/wrapping/unwrap", reply(200, {"data": {"secret_id": "5ec2e7", "secret_id_ttl": 0}}))

        report = examined(capsys, *ward.flags)

        assert report.says("login", "a login would spend the wrapping token")
        assert report.code == 0
        assert {request.method for request in ward.server.requests} == {"GET"}
        assert run(sys.executable, "-m", "vault_credential_process", "get", *ward.flags).returncode == 0
        assert run(sys.executable, "-m", "vault_credential_process", "cache", "clear", *ward.flags).returncode == 0
        assert examined(capsys, *ward.flags).says("login", "logged in; the token is kept for get")
        assert ward.server.asked("POST", "sys/wrapping/unwrap") == 1

    def test_uses_of_a_token_are_spared(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """A token of limited uses is not asked what it may do: that would be one of them."""
        token = token_for(ward.tenant, num_uses=5)
        ward.write(vault_role_id=None, vault_secret_id_file=None)
        ward.patch.setenv("VAULT_TOKEN", token)

        report = examined(capsys, *ward.flags)

        assert report.says("login", "4 uses left")
        assert report.says("login", "that would be one of its uses")
        call = ward.tenant.laboratory.server.call
        assert call("POST", "auth/token/lookup", {"token": token})["data"]["num_uses"] == 4

    def test_token_is_described(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """Type, life, renewal, limit, policies, and what was passed over."""
        token = token_for(ward.tenant, explicit_max_ttl="1h", period="30m")
        ward.write(vault_role_id=None, vault_secret_id_file=None)
        (pathlib.Path(os.environ["HOME"]) / ".vault-token").write_text(token)

        report = examined(capsys, *ward.flags)

        assert report.says("login", "passed over: ")
        assert report.says("login", "service token, lives until ")
        assert report.says("login", "at most 3600 s in all, renewed for 1800 s each time")
        assert report.says("login", ward.tenant.role)
        assert token not in str(report.document)

    def test_root_token(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """A root token works, and is warned of."""
        ward.write(vault_role_id=None, vault_secret_id_file=None)
        ward.patch.setenv("VAULT_TOKEN", ward.tenant.laboratory.server.root_token)

        assert examined(capsys, *ward.flags).trouble["found"] == "it is a root token"

    def test_kept_token_that_is_revoked(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """A kept token that Vault takes no more is a warning, for ``get`` mends that; nothing is forgotten here."""
        ward.scripted()
        examined(capsys, *ward.flags)
        for path, method in ((LOOK_UP, "GET"), (CAPABILITIES, "POST")):
            ward.server.on(method, path, reply(403, {"errors": ["permission denied"]}))

        report = examined(capsys, *ward.flags)

        assert "the kept token may neither look itself up nor ask" in report.trouble["found"]
        assert report.code == 0

    def test_namespace_of_the_path(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """What the token may do is asked in the namespace of the engine, the token in that of the login."""
        ward.scripted()
        ward.write(
            vault_addr=ward.server.address,
            vault_aws_role="webapp",
            vault_namespace="engine",
            vault_auth_namespace="people",
        )

        examined(capsys, *ward.flags)

        asked = {r.path: r.headers.get("x-vault-namespace") for r in ward.server.requests}
        assert (asked[f"/v1/{CAPABILITIES}"], asked[f"/v1/{LOOK_UP}"]) == ("engine", "people")
        assert asked["/v1/sys/health"] is None

    def test_socket_of_an_agent(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """An Agent at a socket is asked like a server; the token that it adds is nobody's to show."""
        path = str(ward.path / "agent.sock")
        with ScriptedServer(unix_path=path) as agent:
            agent.on("GET", "sys/health", reply(200, STATE))
            agent.on("GET", LOOK_UP, LOOKED_UP)
            agent.on("POST", CAPABILITIES, ALLOWED)
            ward.write(
                vault_addr=f"unix://{path}", vault_role_id=None, vault_secret_id_file=None, vault_aws_role="webapp"
            )
            report = examined(capsys, *ward.flags)

        assert report.code == 0
        assert report.says("network", "over a socket of this host")
        assert report.says("login", "auth method agent")
        assert report.says("login", "the token comes from outside")
        assert report.says("login", f"it may read {READ}")

    def test_token_that_is_handed_in(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """What is kept of a token that somebody handed in is told, for it may be one that should not be."""
        ward.scripted()
        ward.server.on("GET", LOOK_UP, LOOKED_UP)
        ward.patch.setenv("VAULT_TOKEN", "hvs.EXAMPLE")
        flags = (f"--vault-addr={ward.server.address}", "--auth=token")
        for cache, kept in (((), True), (("--no-cache",), False)):
            report = examined(capsys, *ward.flags, *flags, *cache)
            assert report.says("login", "the token comes from outside; nobody logged in")
            assert report.says("login", "it is kept, as get keeps it, until cache clear") is kept

    def test_person_who_is_not_logged_in(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """Where a person has to log in, it says which command does."""
        ward.scripted()
        ward.write(
            vault_addr=ward.server.address, vault_role_id=None, vault_secret_id_file=None, vault_auth_method="oidc"
        )

        report = examined(capsys, *ward.flags)

        assert (report.code, report.trouble["found"]) == (3, f"{ward.server.address}/v1/auth/oidc: nobody is logged in")
        assert report.trouble["remedy"] == "run: vault-credential-process login --profile webapp"
