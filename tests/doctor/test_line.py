"""What ``doctor`` tells of the ``credential_process`` line."""

from __future__ import annotations

import os
import sys

import pytest

from vault_credential_process.doctor import profile_line

from ..conftest import COMMAND, Run
from .ward import LINE, Ward, command_line, examined, launcher


class TestLine:
    """The ``credential_process`` line."""

    def test_how_it_starts(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """A start that takes long is a warning; another version is told."""
        ward.patch.setattr(profile_line, "SLOW", 0.1)
        slow = "import time\ntime.sleep(0.2)\nprint('vault-credential-process 9.9.9')\n"
        path = ward.program("opt/vault-credential-process", f"#!{sys.executable}\n{slow}")
        ward.write(line=f"{path} get --profile webapp")

        report = examined(capsys, *ward.flags)

        assert report.trouble["found"].startswith("it takes ")
        assert report.trouble["means"] == "so does each refresh of each program"
        assert report.says("credential_process", "the line runs version 9.9.9")

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("{path} --profile webapp", "has no get"),
            ("{path} get", "has no --profile"),
            ("{path} get --profile webapp; true", "a shell takes for more than themselves"),
            ("vault-credential-process get --profile webapp", "is no absolute path"),
            ("{tmp} get --profile webapp", "lies in a directory for temporary files"),
            ("{plain} get --profile webapp", "not executable"),
            ("/bin/cat /dev/null", "the line runs cat, not vault-credential-process"),
            ("'{spaced}' get --profile=webapp", "it starts in"),
        ],
    )
    def test_what_is_wrong_with_it(self, ward: Ward, capsys: pytest.CaptureFixture[str], line: str, words: str) -> None:
        """What works here and not everywhere is told, and so is what does something else."""
        name = "vault-credential-process"
        paths = {
            "path": ward.program(f"opt/{name}", launcher()),
            "tmp": ward.program(f"tmp/{name}", launcher()),
            "spaced": ward.program(f"opt of us/{name}", launcher()),
            "plain": ward.program(f"plain/{name}", launcher()),
        }
        ward.program(f"bin/{name}", launcher())
        os.chmod(paths["plain"], 0o644)
        ward.write(line=line.format(**paths))

        assert examined(capsys, *ward.flags).says("credential_process", words)

    @pytest.mark.parametrize("key", ["credential_proces", "credential-process", "credentials_process"])
    def test_misspelt(self, ward: Ward, capsys: pytest.CaptureFixture[str], key: str) -> None:
        """A key that was meant for it is an error: no SDK asks Vault."""
        ward.write(f"{key} = {LINE}", line=None)

        report = examined(capsys, *ward.flags)

        assert (report.code, report.trouble["step"]) == (2, "credential_process")
        assert report.trouble["found"] == f"{key} in [profile webapp]: did you mean credential_process?"

    def test_name_with_a_space(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """What is to be written can be copied: the name stands in quotes."""
        config = ward.write(line=f"{COMMAND} get --profile other")
        config.write_text(config.read_text().replace("[profile webapp]", '[profile "my app"]'))

        report = examined(capsys, "--profile=my app", "--no-login")

        assert report.of("settings")[0]["found"].startswith('[profile "my app"] in ')
        assert report.trouble["found"] == 'the line says --profile other, and stands in [profile "my app"]'
        assert report.trouble["remedy"] == "write: --profile 'my app'"

    def test_missing(self, ward: Ward, run: Run) -> None:
        """Without the line nothing says that it works: the provider alone can use the profile."""
        ward.write(line=None)

        done = run(*command_line(ward), "--read")

        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == (
            "the AWS CLI and other SDKs cannot use this profile; only programs with the provider can"
        )

    def test_secret_of_another_helper_is_not_shown(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """Of a line that is not ours only the program is shown, whatever is wrong with it."""
        lines = ("/bin/cat --token 5ec2e7", "~/x --token=5ec2e7", "$HOME/x 5ec2e7", "/gone/x 5ec2e7")
        quoted = ('"~/x --token 5ec2e7"', '"$HOME/x 5ec2e7"', "https://user:5ec2e7@host/x", "~/user:5ec2e7@x")
        for line in (*lines, *quoted):
            ward.write(line=line)
            assert "5ec2e7" not in str(examined(capsys, *ward.flags).document)

    @pytest.mark.parametrize(
        "line",
        ["VAULT_TOKEN=5ec2e7 {path} get --profile webapp", "'{path} get --profile webapp --vault-token 5ec2e7'"],
        ids=["variable", "quotes"],
    )
    def test_secret_before_or_around_it_is_not_shown(
        self, ward: Ward, capsys: pytest.CaptureFixture[str], line: str
    ) -> None:
        """What is taken for the program is told up to where something else begins."""
        ward.write(line=line.format(path="/opt/vcp/bin/vault-credential-process"))

        report = examined(capsys, *ward.flags)

        assert " …: there is no such " in report.trouble["found"]
        assert "5ec2e7" not in str(report.document)
