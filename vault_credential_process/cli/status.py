"""``status``: what is held for one profile, and whether anybody is logged in for it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

from vault_credential_process import cache
from vault_credential_process.cli import parser
from vault_credential_process.cli.cache import described, of_login
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.tokens import lives


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of every setting."""
    to.epilog = "example: vault-credential-process status --profile webapp --json"
    to.add_argument("--json", action="store_true", help="as JSON, for programs")
    parser.add_settings(to)


def run(arguments: argparse.Namespace) -> int:
    """Show the entry of the profile and its token; nothing is asked of Vault."""
    config = parser.configuration(arguments)
    backend = cache.choose(config.vault_aws_cache or "auto", os.environ)
    fetcher = Fetcher(config, cache=backend)
    entry, kept = fetcher.peek(), fetcher.kept_token()
    now = time.time()
    found: dict[str, Any] = {"held": entry is not None and entry.credentials.seconds_left(now) > 0}
    if entry is not None:
        found |= described(entry, now)
    found |= {"cache": backend.name, "cache_reason": backend.reason, "token": None}
    if kept is not None:
        token = of_login("token", kept, kept.token.token_type, kept.token.expiry, now)
        found["token"] = {key: token[key] for key in ("path", "type", "expires", "seconds_left")}
    if arguments.json:
        text = json.dumps(found, indent=2)
    elif not found["held"]:
        text = f"nothing is held for {config.aws_path} at {config.vault_addr} ({backend.name} cache: {backend.reason})"
    else:
        text = f"{found['path']} at {found['vault_addr']}: {found['type']}, {found['seconds_left']} s left"
        text += f", until {found['expires']}" + (f", lease {found['lease_id']}" if found["lease_id"] else "")
        text += f"\nlast failure: {found['last_failure']}" if found["last_failure"] else ""
    if not arguments.json:
        text += f"\nVault token: {f'of {kept.path}, {lives(kept.token)}' if kept else 'none is held'}"
    sys.stdout.write(text + "\n")
    return 0
