"""The pages of ``docs``: their commands are run and their profiles used, so that what they tell works."""

from __future__ import annotations

import configparser
import os
import pathlib
import re
import shlex
import subprocess
import textwrap
from collections.abc import Mapping

from vault_credential_process.demo.server import VaultServer

from .conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
"""All that tells commands."""
SHELLS = ("bash", "sh", "zsh", "fish", "powershell")
"""Languages of blocks that hold commands without a prompt and nothing else."""


def blocks_of(text: str) -> list[tuple[str, str]]:
    """Return language and content of each fenced block, be it indented or not."""
    found = re.findall(r"^( *)```([\w-]*)\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    return [(language, textwrap.dedent(content)) for _, language, content in found]


def commands_of(text: str) -> list[str]:
    """Return the commands of a page in order, a line continued with a backslash joined.

    They are the lines of ``console`` blocks that begin with ``$``, and all of a shell's own blocks but comments.
    """
    commands = []
    for language, content in blocks_of(text):
        lines = content.replace("\\\n", "").splitlines()
        if language == "console":
            commands += [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        elif language in SHELLS:
            commands += [line for line in lines if line.strip() and not line.startswith("#")]
    return commands


class Page:
    """One page of ``docs/auth``: its set-up commands, below "Set up Vault", and its profile, the first ``ini``."""

    def __init__(self, method: str) -> None:
        """Read the page of a method."""
        self.text = (ROOT / "docs" / "auth" / f"{method}.md").read_text(encoding="utf-8")

    def section(self, title: str) -> str:
        """Return what stands below a heading of the second level."""
        found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", self.text, re.DOTALL | re.MULTILINE)
        assert found is not None, f"no section {title!r}"
        return found.group(1)

    def commands(self) -> list[str]:
        """Return the commands that set Vault up, a line continued with a backslash joined."""
        return commands_of(self.section("Set up Vault"))

    def set_up(self, server: VaultServer, directory: pathlib.Path, replacing: Mapping[str, str] | None = None) -> None:
        """Run the commands as the administrator, with the server's own program as ``vault``.

        ``replacing`` maps example values of the page to those of the test; each must stand in the page.
        """
        script = "\n".join(self.commands())
        for old, new in (replacing or {}).items():
            assert old in script, f"{old!r} does not stand in the commands"
            script = script.replace(old, new)
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        done = subprocess.run(
            ["/bin/bash", "-euc", f'vault() {{ {shlex.quote(server.engine.binary)} "$@"; }}\n{script}'],
            cwd=directory,
            env={**kept, "HOME": str(directory), "VAULT_ADDR": server.address, "VAULT_TOKEN": server.root_token},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def profile(self, replacing: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the ``vault_*`` keys of the page's profile, example values replaced."""
        found = re.search(r"```ini\n(.*?)```", self.text, re.DOTALL)
        assert found is not None, "no profile"
        text = found.group(1)
        for old, new in (replacing or {}).items():
            assert old in text, f"{old!r} does not stand in the profile"
            text = text.replace(old, new)
        parser = configparser.RawConfigParser()
        parser.read_string(text)
        (section,) = parser.sections()
        return {key: value for key, value in parser.items(section) if key.startswith("vault_")}
