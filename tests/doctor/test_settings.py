"""What ``doctor`` tells of settings: values with their origins, and where two places differ."""

from __future__ import annotations

import pathlib

import pytest

from .ward import Ward, examined


class TestSettings:
    """Values with their origins, and where two places differ."""

    def test_value_and_origin(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """Each value that somebody gave stands there with its origin; secrets and commands are not shown."""
        ward.write(vault_secret_id_file=None, vault_secret_id_command="/bin/cat /run/5ec2e7")
        ward.patch.setenv("VAULT_TOKEN", "hvs.5ec2e7")
        ward.patch.setenv("VAULT_PROXY_ADDR", "http://user:5ec2e7@127.0.0.1:1")
        ward.patch.setenv("VAULT_AWS_TTL", "1h")

        report = examined(capsys, *ward.flags, "--max-retries=0", "--no-login")

        for words in (
            "vault_aws_ttl = 3600 s from VAULT_AWS_TTL",
            "vault_max_retries = 0 from --max-retries",
            "vault_role_id = set, not shown from the profile",
            "vault_secret_id_command = /bin/cat … from the profile",
            "vault_proxy_addr = set, not shown from VAULT_PROXY_ADDR",
        ):
            assert report.says("settings", words), words
        assert "5ec2e7" not in str(report.document)

    def test_what_is_exported_and_not_used(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """Where profile and environment differ it says which wins; a variable that nothing reads is a warning."""
        ward.patch.setenv("VAULT_ADDR", "https://vault.example.com")
        ward.patch.setenv("VAULT_AWS_ROLE", ward.tenant.role)
        ward.patch.setenv("VAULT_ROLEID", "x")

        report = examined(capsys, *ward.flags)

        assert report.says("settings", "VAULT_ADDR = https://vault.example.com is exported, and is not used")
        assert report.says("settings", f"goes first: {ward.tenant.settings['vault_addr']}")
        assert not report.says("settings", "VAULT_AWS_ROLE =")
        assert report.trouble["remedy"] == "is VAULT_ROLE_ID meant?"

    def test_all_that_is_wrong_is_told(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """Each setting that is wrong is an error of its own; nobody logs in with the rest."""
        ward.write("vault_aws_ttl = soon", "vault_aws_rol = x", vault_auth_method="approl")

        report = examined(capsys, *ward.flags)

        errors = [finding["found"] for finding in report.findings if finding["state"] == "error"]
        assert [error.split(" ")[0].strip(":") for error in errors] == [
            "vault_auth_method",
            "vault_aws_rol",
            "vault_aws_ttl",
        ]
        assert report.says("network", "answers in")
        assert report.says("login", "skipped: the settings are not in order")

    def test_weak_spots(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """A secret that others may read, and a server that is not verified, are warnings."""
        secret = pathlib.Path(ward.tenant.settings["vault_secret_id_file"])
        secret.chmod(0o644)
        ward.write(vault_skip_verify="true")
        try:
            report = examined(capsys, *ward.flags)
        finally:
            secret.chmod(0o600)

        assert report.says("settings", "can be read by others (mode 0644)")
        assert report.says("settings", "whoever is on the way can play Vault")
        assert report.code == 0
