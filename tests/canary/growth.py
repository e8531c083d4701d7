"""What is missing: whatever the package's tables name and the canary does not play."""

from __future__ import annotations

import contextlib
import pathlib
import re
from collections.abc import Iterator

import vault_credential_process
from vault_credential_process import auth, cache
from vault_credential_process.config import Config
from vault_credential_process.models import Option, options_of

from .caches import BACKENDS
from .commands import RUNS, declared, played_flags
from .faces import FACES, OF_NO_FACE
from .methods import PLAYS
from .plays import VALUES, Props

REFERENCE = re.compile(r"vault_\w+_(file|keyring|command)")
"""Settings that tell where a secret lies."""
ELSEWHERE = {
    "vault_aws_mfa_code_command": "test_processes.py: the code goes into the read, not into the login",
    "vault_proxy_addr": "test_settings.py",
    "vault_token_ttl": "a duration",
    "vault_client_key": "the private key of `cert`",
}
"""Options of no method that may hold or name a secret, and where they are planted."""


def missing(directory: pathlib.Path) -> Iterator[str]:
    """Yield in words what is not played; ``directory`` is a place to plant in."""
    found = declared()
    for name in found.keys() - RUNS.keys():
        yield f"no run of the command {name!r} in commands.RUNS"
    for name, flags in found.items():
        for flag in sorted(flags - played_flags(name)):
            yield f"no run of the command {name!r} with {flag} in commands.RUNS"
    for name in auth.METHODS.keys() - PLAYS.keys():
        yield f"no play of the auth method {name!r} in methods.PLAYS"
    for name in cache.BACKENDS.keys() - BACKENDS.keys():
        yield f"no stage for the cache backend {name!r} in caches.BACKENDS"
    for name in set(vault_credential_process.__all__) - {n for face in FACES.values() for n in face.names} - OF_NO_FACE:
        yield f"no face of faces.FACES uses {name!r}"
    for option in set(_secret_options()) - _planted(directory) - ELSEWHERE.keys():
        yield f"no play plants {option!r}"


def _secret_options() -> Iterator[str]:
    """Yield the options that hold a secret or tell where one lies, of every method and of all of them."""
    owners: list[type] = [Config, *(auth.find(name) for name in auth.METHODS)]
    for owner in owners:
        for declared_option in options_of(owner):
            if is_secret(declared_option):
                yield declared_option.key


def is_secret(option: Option) -> bool:
    """Tell whether an option is declared as secret, or tells where a secret lies."""
    return option.secret or bool(REFERENCE.fullmatch(option.key))


def _planted(directory: pathlib.Path) -> set[str]:
    """Return the options that all plays set together."""
    found: set[str] = set()
    with contextlib.ExitStack() as stack:
        props = Props(directory, stack)
        for method in auth.METHODS.keys() & PLAYS.keys():
            with contextlib.suppress(KeyError):  # a secret of which there is no value
                for play in PLAYS[method](props):
                    found |= play.options
    return found


def unknown_secrets() -> set[str]:
    """Return the secrets that methods declare and nothing is planted for."""
    return {o.key for name in auth.METHODS for o in options_of(auth.find(name)) if o.secret} - VALUES.keys()
