"""``python -m vault_credential_process`` is ``vault-credential-process``."""

from __future__ import annotations

from vault_credential_process.cli import command

if __name__ == "__main__":
    command()
