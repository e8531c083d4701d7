"""The badge keeps every promise of an auth method."""

import pathlib

import pytest
from badge_auth import Badge

from vault_credential_process.testing.auth import AuthMethodContract


class TestBadge(AuthMethodContract):
    """The contract of every method."""

    method = Badge

    @pytest.fixture
    def settings(self, tmp_path: pathlib.Path) -> dict[str, str]:
        """Return what it needs to log in."""
        pin = tmp_path / "pin"
        pin.write_text("pin-4711")
        pin.chmod(0o600)
        return {"vault_badge": "007", "vault_badge_pin_file": str(pin)}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        """Return its secrets."""
        return ("pin-4711",)
