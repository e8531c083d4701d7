"""The files that are there: a profile of somebody else's, and what would win over ours."""

from __future__ import annotations

import pathlib

from ..conftest import Run, Tenant
from ..test_command import document, refusal
from .newcomer import SCRIPT, SOMEBODYS, flags, refused, told


class TestProfileThatIsThere:
    """A profile that somebody else wrote."""

    def test_is_not_changed_unasked(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """It is left alone, by ``--remove`` too; ``--replace`` changes our keys in it and keeps the rest."""
        config.parent.mkdir()
        config.write_text(SOMEBODYS)
        arguments = ("configure", "--profile=webapp", *flags(tenant), "--yes")

        assert "configure did not write it; --replace changes its" in refused(command(*arguments), 2)
        assert "was not put there by configure" in refused(command(*arguments, "--remove"), 2)
        assert config.read_text() == SOMEBODYS
        said = told(command(*arguments, "--replace"))

        assert "-credential_process = …\n" in said
        assert (
            f"[profile webapp]\nregion = us-east-1\noutput = json\nvault_aws_role = {tenant.role}\n"
            in config.read_text()
        )
        document(command("get", "--profile=webapp"))
        assert "nothing to change" in told(command(*arguments))

    def test_command_of_somebody_else_is_not_shown(self, command: Run, config: pathlib.Path) -> None:
        """Only a line as ``configure`` writes it is: in another a secret may stand before our command."""
        config.parent.mkdir()
        config.write_text(
            "[profile webapp]\ncredential_process = env VAULT_TOKEN=hvs.CAESI /opt/vault-credential-process get\n"
        )
        said = told(
            command(
                *("configure", "--profile=webapp", "--vault-addr=http://127.0.0.1:1", "--auth=token", "--role=x"),
                *("--no-login", "--yes", "--replace"),
            )
        )

        assert "hvs.CAESI" not in said
        assert f"\n+credential_process = {SCRIPT} get --profile webapp\n" in said

    def test_keys_of_every_section(self, command: Run, config: pathlib.Path) -> None:
        """What ``configparser`` puts into every section is no part of the profile."""
        config.parent.mkdir()
        config.write_text("[DEFAULT]\nregion = us-east-1\nvault_aws_ttl = 1h\n[profile webapp]\noutput = json\n")
        before = config.read_text()
        words = ("--vault-addr=http://127.0.0.1:1", "--auth=token", "--role=x", "--no-login", "--yes", "--replace")
        for name in ("webapp", "other"):
            told(command("configure", f"--profile={name}", *words))
            told(command("configure", f"--profile={name}", "--region=", "--no-login", "--yes", "--replace"))
        assert config.read_text().startswith(before)

    def test_malformed_file_is_left_alone(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """What botocore cannot read is to be mended first."""
        config.parent.mkdir()
        for content in (b"\xef\xbb\xbf[default]\n", b"[default]\n[default]\n", b"[default]\n# \xe9\n", b"x = y\n"):
            config.write_bytes(content)
            assert str(config) in refusal(command("configure", "--profile=webapp", *flags(tenant), "--yes"), 2)
            assert config.read_bytes() == content

    def test_link(self, command: Run, tenant: Tenant, config: pathlib.Path, tmp_path: pathlib.Path) -> None:
        """A config file among somebody's dotfiles is written where it is."""
        real = tmp_path / "dotfiles"
        real.write_text("[default]\n")
        config.parent.mkdir()
        config.symlink_to(real)
        told(command("configure", "--profile=webapp", *flags(tenant), "--yes"))

        assert config.is_symlink()
        assert "[profile webapp]" in real.read_text()


class TestWarnings:
    """What would keep the profile from being used."""

    def test_keys_that_win(self, command: Run, tenant: Tenant, config: pathlib.Path, tmp_path: pathlib.Path) -> None:
        """Keys of the same name in the credentials file, in the environment and in the profile are pointed at."""
        credentials = tmp_path / "credentials"
        credentials.write_text("[webapp]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\ncredential_process = x\n")
        config.parent.mkdir()
        config.write_text("[profile webapp]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\nsso_session = x\n")
        said = told(
            command(
                *("configure", "--profile=webapp", *flags(tenant), "--yes", "--replace"),
                AWS_SHARED_CREDENTIALS_FILE=str(credentials),
                AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE",
            )
        )

        assert f"warning: [webapp] in {credentials} has keys, and they win over the profile: remove them" in said
        assert f"warning: [webapp] in {credentials} has a credential_process, which wins over the profile's" in said
        assert "warning: AWS_ACCESS_KEY_ID is set, and its keys win" in said
        assert "warning: [profile webapp] has keys of its own" in said
        assert "warning: [profile webapp] has sso_session, which wins" in said
        assert "AKIAIOSFODNN7EXAMPLE" not in said
