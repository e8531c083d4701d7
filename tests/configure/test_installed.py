"""The ``credential_process`` line that is written."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from vault_credential_process.cli import installed

from .newcomer import SCRIPT


class TestCommandLine:
    """The ``credential_process`` line."""

    def test_is_the_installed_script(self) -> None:
        """It is the console script of this environment, by its absolute path, with the profile."""
        assert installed.command_line("webapp") == f"{SCRIPT} get --profile webapp"

    def test_without_a_script(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no script is installed the interpreter runs the package."""
        monkeypatch.setattr(os, "access", lambda *_: False)

        assert installed.installed() == [sys.executable, "-m", "vault_credential_process"]

    @pytest.mark.parametrize("name", ["a b", "a'b", 'a"b', "a$b", "a`b", "a%b", "a #b", "a ;b"])
    def test_path_is_quoted(self, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
        """A space goes into double quotes, which botocore and ``sh -c`` read alike; what they do not is refused."""
        from botocore.compat import compat_shell_split

        path = tmp_path / name / "vault-credential-process"
        path.parent.mkdir()
        path.write_text('#!/bin/sh\necho "$0" "$@"\n')
        path.chmod(0o755)
        monkeypatch.setattr(installed, "_scripts", lambda: iter([str(path)]))
        if name != "a b":
            with pytest.raises(installed.ConfigurationError, match="SDKs read this in different ways; install "):
                installed.command_line("webapp")
            return
        line = installed.command_line("webapp")

        words = [str(path), "get", "--profile", "webapp"]
        assert compat_shell_split(line) == words
        done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)
        assert done.stdout == " ".join(words) + "\n"

    def test_name_is_quoted(self) -> None:
        """So is the name of a profile, which may have a space in a file that somebody else wrote."""
        assert installed.command_line("my app") == f'{SCRIPT} get --profile "my app"'
        with pytest.raises(installed.ConfigurationError, match="in different ways; give the profile another name"):
            installed.command_line("it's")

    @pytest.mark.parametrize(
        ("path", "word"),
        [("/tmp/x/bin/v", "temporary"), ("/root/.cache/uv/archive-v0/x/bin/v", "a cache"), ("/opt/vcp/bin/v", None)],
    )
    def test_place_that_does_not_last(self, path: str, word: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        """A temporary directory, and the cache of a tool that runs things once, are pointed at."""
        monkeypatch.setattr(installed, "installed", lambda: [path])
        found = list(installed.doubts())

        assert len(found) == (word is not None)
        assert word is None or word in found[0]
