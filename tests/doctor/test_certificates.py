"""What ``doctor`` tells of certificates, on real listeners."""

from __future__ import annotations

import pathlib

import pytest

from vault_credential_process.testing.scripted import ScriptedServer, reply

from ..certificates import DAY, Authority
from .ward import STATE, Ward, examined


class TestTLS:
    """Certificates, on a real listener."""

    @pytest.fixture
    def authority(self, tmp_path: pathlib.Path) -> Authority:
        """The authority that signs the server's certificate."""
        return Authority(tmp_path)

    @staticmethod
    def trouble(ward: Ward, capsys: pytest.CaptureFixture[str], server: ScriptedServer, **keys: str) -> str:
        """Examine with a TLS server, and return all that the network step says."""
        server.on("GET", "sys/health", reply(200, STATE))
        ward.write(vault_addr=server.address, vault_max_retries="0", **keys)
        report = examined(capsys, *ward.flags, "--no-login")
        said = [f"{f['state']}: {f['found']}; {f['means']}; {f['remedy']}" for f in report.of("network")]
        assert said[0].startswith("ok") or (report.code, report.trouble["step"]) == (5, "network")
        return "\n".join(said)

    def test_good_and_nearing_its_end(
        self, ward: Ward, capsys: pytest.CaptureFixture[str], authority: Authority
    ) -> None:
        """A good certificate is told with its names, issuer and days; with few days left it is a warning."""
        trusting = {"vault_cacert": str(authority.certificate)}
        said = []
        for life in (400 * DAY, 3 * DAY):
            with ScriptedServer(context=authority.issue("127.0.0.1", life=life).listener()) as server:
                said.append(self.trouble(ward, capsys, server, **trusting))

        assert "ok: TLSv1.3, certificate of 127.0.0.1; signed by authority, 400 days left" in said[0]
        assert "warning: TLSv1.3, certificate of 127.0.0.1 ends in 3 days" in said[1]

    def test_unknown_authority(self, ward: Ward, capsys: pytest.CaptureFixture[str], authority: Authority) -> None:
        """It says whose certificate that is, who signed it, and which setting names the authority."""
        with ScriptedServer(context=authority.issue("127.0.0.1").listener()) as server:
            said = self.trouble(ward, capsys, server)

        assert "unable to get local issuer certificate" in said
        assert "set vault_cacert to the CA that signed it" in said
        assert "note: the certificate is of 127.0.0.1, 1 day left; signed by authority" in said

    def test_expired(self, ward: Ward, capsys: pytest.CaptureFixture[str], authority: Authority) -> None:
        """It says when it ended, and what to renew."""
        pair = authority.issue("127.0.0.1", life=-1.9 * DAY, begins=-9 * DAY)
        with ScriptedServer(context=pair.listener()) as server:
            said = self.trouble(ward, capsys, server, vault_cacert=str(authority.certificate))

        assert "error: " in said
        assert "certificate has expired" in said
        assert "ended 2 days ago" in said

    def test_wrong_name(self, ward: Ward, capsys: pytest.CaptureFixture[str], authority: Authority) -> None:
        """It says which names the certificate has."""
        with ScriptedServer(context=authority.issue("vault.example.com").listener()) as server:
            said = self.trouble(ward, capsys, server, vault_cacert=str(authority.certificate))

        assert "set vault_tls_server_name" in said
        assert "the certificate is of vault.example.com" in said

    def test_client_certificate_is_wanted(
        self, ward: Ward, capsys: pytest.CaptureFixture[str], authority: Authority
    ) -> None:
        """A server that wants to know us is told of as such."""
        listener = authority.issue("127.0.0.1").listener(clients=authority)
        with ScriptedServer(context=listener) as server:
            said = self.trouble(ward, capsys, server, vault_cacert=str(authority.certificate))

        assert "does the server want another vault_client_cert and vault_client_key?" in said

    def test_wrong_scheme(self, ward: Ward, capsys: pytest.CaptureFixture[str], authority: Authority) -> None:
        """TLS where the server speaks plain http, and plain http where it speaks TLS, in the words of Go's listener."""
        ward.write(vault_addr=ward.tenant.settings["vault_addr"].replace("http:", "https:"))
        plain = examined(capsys, *ward.flags).trouble
        go = reply(400, b"Client sent an HTTP request to an HTTPS server.\n", {"Content-Type": "text/plain"})
        ward.scripted(health=go)
        secured = examined(capsys, *ward.flags).trouble

        assert "the server speaks plain http there" in plain["found"] + plain["remedy"]
        assert "the server speaks TLS there" in secured["found"]
