"""What ``docs/configure.md`` tells."""

from __future__ import annotations

import argparse
import functools
import pathlib
import shlex

from vault_credential_process.cli import configure
from vault_credential_process.config import Config
from vault_credential_process.models import options_of

from ..conftest import ROOT, Run, Tenant
from ..pages import commands_of
from .newcomer import told


class TestPage:
    """``docs/configure.md``."""

    TEXT = (ROOT / "docs" / "configure.md").read_text(encoding="utf-8")

    def test_commands_work(self, command: Run, teams: Tenant, config: pathlib.Path) -> None:
        """Each command, as it stands and in order, ends well; the first one, with questions, is a test of its own."""
        first, *others = commands_of(self.TEXT)
        assert first == "vault-credential-process configure"
        replacing = {
            "https://vault.example.com:8200": teams.laboratory.server.address,
            "7d0b8e0c-2d9c-4d5a-9d4c-0c6c1b7f0e11": teams.approle["role_id"],
            "/etc/webapp/secret-id": teams.approle["secret_id_file"],
            "--role webapp": f"--role {teams.role}-a",
            "team-*": f"{teams.role}-*",
        }
        for line in others:
            typed = functools.reduce(lambda text, pair: text.replace(*pair), replacing.items(), line)
            program, *words = shlex.split(typed)
            assert program == "vault-credential-process"
            told(command(*words))
        assert config.read_text().count("[profile vault-team-") == 2

    def test_all_flags_are_told(self) -> None:
        """Each flag of its own that the command has stands on the page."""
        of_its_own = argparse.ArgumentParser()
        configure.add_options(of_its_own)
        general = {o.flag for o in options_of(Config)} | {"--profile", "--no-cache", "--help"}
        found = {word for action in of_its_own._actions for word in action.option_strings if word.startswith("--")}

        assert {flag for flag in found - general if f"`{flag}" not in self.TEXT} == {"--region"}
