"""``doctor`` where all is well, where nothing is there, and what one error leaves of the rest."""

from __future__ import annotations

import json
import sys

import pytest

from vault_credential_process import doctor as package
from vault_credential_process.errors import SealedError

from ..conftest import Run
from .ward import QUICK, Ward, command_line, examined

FINE = {"ok", "note", "skipped"}


def test_all_is_well(ward: Ward, run: Run) -> None:
    """Every step is green where nothing is wrong; stderr is empty, the exit code 0, and AWS says who it is."""
    quick = ward.program("opt/vcp/bin/vault-credential-process", QUICK)
    ward.write(line=f"{quick} get --profile webapp")

    done = run(*command_line(ward, "--read"), PYTHONIOENCODING="utf-8")

    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, lines[-1]) == (0, "", "all is well")
    assert [line for line in lines if line.startswith(("  !", "  ✗"))] == []
    assert [line for line in lines if line and not line.startswith(" ")][:-1] == list(package.STEPS)
    assert "assumed-role/app/demo, account 123456789012" in done.stdout
    assert ward.tenant.approle["secret_id"] not in done.stdout


def test_profile_that_assumes_a_role(ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a profile that assumes a role with the credentials of ours, ours is examined: a chain leads to its end."""
    quick = ward.program("opt/vcp/bin/vault-credential-process", QUICK)
    role = "role_arn = arn:aws:iam::123456789012:role/admin"
    chain = ("[profile admin]", role, "source_profile = webapp", "[profile far]", role, "source_profile = admin")
    ward.write(*chain, line=f"{quick} get --profile webapp")
    ward.patch.setenv("AWS_PROFILE", "far")

    report = examined(capsys, "--read")

    assert (report.code, report.document["profile"]) == (0, "webapp")
    assert {finding["state"] for finding in report.findings} <= FINE
    found = [finding["found"] for finding in report.of("settings")]
    assert found[1:3] == [
        "[profile far] assumes a role with the credentials of [profile admin]",
        "[profile admin] assumes a role with the credentials of [profile webapp]",
    ]
    assert report.of("settings")[1]["remedy"] == "see that they may with: aws sts get-caller-identity --profile far"


def test_what_it_kept_serves_get(ward: Ward, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The login and the read are not in vain: ``get`` finds them, and so does the next examination."""
    first = examined(capsys, *ward.flags, "--read")
    done = run(sys.executable, "-m", "vault_credential_process", "get", *ward.flags, VAULT_AWS_ROLE="x", VAULT_ADDR="")
    second = examined(capsys, *ward.flags)

    assert first.says("login", "logged in; the token is kept for get")
    assert done.returncode == 0
    assert second.says("login", "nobody logged in again")
    assert second.says("role", "valid credentials are kept")
    assert second.says("role", "gives STS credentials")
    assert {finding["state"] for finding in second.findings} <= FINE


def test_json_has_a_stable_shape(ward: Ward, run: Run) -> None:
    """``--json`` prints one document: version, verdict, cause, and each finding with the same six fields."""
    good = json.loads(run(*command_line(ward, "--json")).stdout)
    ward.write(vault_addr="http://127.0.0.1:1")
    bad = json.loads(run(*command_line(ward, "--json")).stdout)

    for document in (good, bad):
        assert list(document) == ["version", "ok", "complete", "exit_code", "profile", "cause", "findings"]
        assert {tuple(finding) for finding in document["findings"]} == {
            ("step", "state", "found", "means", "remedy", "exit_code")
        }
    assert {**good, "findings": []} == {
        "version": 1, "ok": True, "complete": False, "exit_code": 0, "profile": "webapp", "cause": None, "findings": [],
    }  # fmt: skip
    assert (bad["ok"], bad["exit_code"], bad["cause"]["step"]) == (False, 5, "network")
    assert bad["cause"] in bad["findings"]


def test_steps_without_a_ground_are_skipped(ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
    """Behind the first error there are no others that follow from it: what cannot be told is skipped, with why."""
    ward.write(vault_addr="http://127.0.0.1:1")

    report = examined(capsys, *ward.flags)

    assert [finding["step"] for finding in report.findings if finding["state"] == "error"] == ["network"]
    assert report.says("server", "skipped: no server answered")
    assert report.says("login", "skipped: the server does not serve")
    assert report.says("identity", "skipped: there are no valid credentials")


def test_sealed_server(ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
    """A real server that is sealed: exit code 6; kept credentials still work, and are told to."""
    examined(capsys, *ward.flags, "--read")
    server = ward.tenant.laboratory.server
    server.seal()
    try:
        report = examined(capsys, *ward.flags)
    finally:
        server.unseal()

    assert (report.code, report.trouble["step"]) == (SealedError.exit_code, "server")
    assert "Vault is sealed" in report.trouble["found"]
    assert report.says("role", "valid credentials are kept")
    assert report.says("identity", "AWS takes the credentials")


class TestHost:
    """The host: no AWS files at all, other programs, clocks and names that differ."""

    def test_nothing_at_all(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a profile, a config file or a Vault it says what is missing, and ends in time."""
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

        report = examined(capsys)

        assert report.code == 2
        assert "vault_aws_role: missing (name the profile" in report.trouble["found"]
        assert report.says("settings", "no profile: none is named")
        assert report.says("network", "(the default, for vault_addr is not set)")

    def test_aws_command(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """The version of the aws command and of its own botocore are told; one that fails is a warning."""
        said = "aws-cli/2.25.1 Python/3.12.9 Linux/6.1 exe/x86_64.debian.12 botocore/2.25.1"
        ward.program("bin/aws", f"#!/bin/sh\necho '{said}'\n")
        good = examined(capsys, *ward.flags)
        ward.program("bin/aws", "#!/bin/sh\nexit 1\n")
        bad = examined(capsys, *ward.flags)

        assert good.says("versions", "aws-cli 2.25.1")
        assert good.says("versions", "with botocore 2.25.1 of its own")
        assert bad.says("versions", "--version fails")

    @pytest.mark.parametrize(
        ("version", "variable", "is_old"),
        [
            ("2.9.19", True, True),
            ("2.9.19", False, True),
            ("1.27.5", True, True),
            ("2.13.0", True, False),
            ("1.29.0", True, False),
            ("2.25.1", False, False),
        ],
    )
    def test_aws_command_that_knows_no_endpoints(
        self, ward: Ward, capsys: pytest.CaptureFixture[str], version: str, variable: bool, is_old: bool
    ) -> None:
        """An aws command that is older than the endpoints that are set is a warning, and asks AWS itself."""
        ward.program("bin/aws", f"#!/bin/sh\necho 'aws-cli/{version} Python/3.11.2 botocore/2.4.5'\n")
        if variable:
            ward.patch.setenv("AWS_ENDPOINT_URL", ward.tenant.laboratory.cloud.endpoint)
        what = "AWS_ENDPOINT_URL" if variable else "endpoint_url in [profile webapp]"

        report = examined(capsys, *ward.flags)

        assert report.says("versions", f"aws-cli {version} does not know {what}, which is set") == is_old

    def test_aws_command_does_not_read_a_broken_file(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """A config file that cannot be parsed is the cause, not the aws command that stumbles over it."""
        ward.program(
            "bin/aws",
            '#!/bin/sh\n[ -s "$AWS_CONFIG_FILE" ] && exit 255\n[ "$AWS_PROFILE" ] && exit 255\necho aws-cli/2.25.1\n',
        )
        ward.write("broken")
        ward.patch.setenv("AWS_PROFILE", "webapp")

        report = examined(capsys, *ward.flags)

        assert (report.code, report.trouble["step"]) == (2, "settings")
        assert report.says("versions", "aws-cli 2.25.1")
        assert not report.says("settings", "other settings have their defaults")

    def test_address_that_is_refused(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """Plain http to another host is complained of once, and the network is skipped for that reason."""
        ward.write(vault_addr="http://vault.example.com:8200")

        report = examined(capsys, *ward.flags)

        assert (report.code, report.trouble["step"]) == (2, "settings")
        assert report.says("network", "skipped: the address is refused")

    def test_region(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """A profile without a region is a warning, unless the environment has one."""
        config = ward.write()
        config.write_text(config.read_text().replace("region = us-east-1\n", ""))
        without = examined(capsys, *ward.flags)
        ward.patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")

        assert without.says("settings", "there is no region, in [profile webapp] or in AWS_REGION")
        assert not examined(capsys, *ward.flags).says("settings", "there is no region")

    def test_other_names(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """A profile that the environment names besides, and one that is written twice, are told of."""
        config = ward.write()
        config.write_text(config.read_text() + '[profile "webapp"]\n' + config.read_text().split("\n", 1)[1])
        ward.patch.setenv("AWS_PROFILE", "other")

        report = examined(capsys, *ward.flags)

        assert report.says("other keys", "the environment names [profile other], not [profile webapp]")
        assert report.says("other keys", "[profile webapp] stands 2 times")

    def test_credentials_file(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """What stands in the credentials file and is read there, or is not, is told of."""
        path = ward.path / "credentials"
        path.write_text("[webapp]\ncredential_process = /bin/other\nvault_aws_role = other\n")
        ward.patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
        ward.write("aws_access_key_id = AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key = EXAMPLE")

        report = examined(capsys, *ward.flags)

        assert report.says("other keys", "has a credential_process: it goes before")
        assert report.says("other keys", "has vault_ keys, which nothing reads there")
        assert report.says("other keys", "the SDKs of Go and JavaScript take these keys first")
        assert report.code == 0
