"""The place of somebody who logs in to the real server, for tests of ``login`` and of what comes after it."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from typing import Any

from vault_credential_process.demo.laboratory import Laboratory

from .conftest import Run
from .pages import Page
from .typist import Typist

PASSWORD = "correct-horse"
ASKED = "Password of alice at "


def with_users(laboratory: Laboratory) -> Laboratory:
    """Return a server with a user ``alice``, set up as the page of userpass tells."""
    Page("userpass").set_up(laboratory.server, laboratory.directory)
    return laboratory


@dataclasses.dataclass
class Desk:
    """The place of somebody with a profile, at a terminal."""

    laboratory: Laboratory
    home: pathlib.Path
    run: Run
    keys: dict[str, str]

    @classmethod
    def of_alice(cls, laboratory: Laboratory, home: pathlib.Path, run: Run, **keys: str) -> Desk:
        """Return the place of alice, with the page's profile."""
        made = cls(
            laboratory, home, run, {**Page("userpass").profile(), "vault_addr": laboratory.server.address, **keys}
        )
        made.profile()
        return made

    def profile(self, **changes: str | None) -> str:
        """Write the profile ``webapp`` and return the path of the config file."""
        keys = {key: value for key, value in {**self.keys, **changes}.items() if value is not None}
        path = self.home / "config"
        path.write_text(self.laboratory.profile("webapp", keys))
        return str(path)

    def login(self, *flags: str, profile: str | None = "webapp", **options: Any) -> Typist:
        """Begin a login."""
        named = [f"--profile={profile}"] if profile else []
        return Typist(sys.executable, "-m", "vault_credential_process", "login", *named, *flags, **options)

    def logged_in(self, *flags: str, password: str = PASSWORD) -> str:
        """Log in with a password and return what was told."""
        with self.login(*flags) as typist:
            typist.answers(ASKED, password)
            done = typist.ends()
            assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1), done.stderr
            assert password not in done.stdout + typist.shown
            return done.stdout

    def get(self, *flags: str, **options: Any) -> Any:
        """Run ``get``."""
        return self.command("get", *flags, **options)

    def command(self, name: str, *flags: str, **options: Any) -> Any:
        """Run a command on the profile."""
        return self.run(sys.executable, "-m", "vault_credential_process", name, "--profile=webapp", *flags, **options)
