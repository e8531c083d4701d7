"""``python -m vault_credential_process`` is ``vault-credential-process``."""

from __future__ import annotations

from vault_credential_process.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
