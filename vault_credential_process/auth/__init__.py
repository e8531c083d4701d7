"""The auth methods: one table that names them, and ``auto``, which chooses.

Adding a method is one file and one line of :data:`METHODS`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.config import Config, lookup, resolve
from vault_credential_process.errors import AuthenticationError, AuthUnavailable, ConfigurationError, one_line
from vault_credential_process.models import Option, VaultToken, options_of
from vault_credential_process.profiles import Profile

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault

__all__ = [
    "ENTRY_POINTS",
    "METHODS",
    "AuthMethod",
    "candidates",
    "choose",
    "configure",
    "find",
    "login",
    "options",
    "watched",
]

logger = logging.getLogger(__name__)

ENTRY_POINTS = "vault_credential_process.auth_methods"

METHODS = {
    "approle": "vault_credential_process.auth.approle:AppRole",
    "token": "vault_credential_process.auth.token:Token",
}
"""Name of each method, in the order in which ``auto`` tries them, and where it is."""


def find(name: str) -> type[AuthMethod]:
    """Return the method of a name: from the table, else from another package's entry point.

    :raises ConfigurationError: when there is none.
    """
    if name in METHODS:
        module, _, attribute = METHODS[name].partition(":")
        found: type[AuthMethod] = getattr(importlib.import_module(module), attribute)
        return found
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        try:
            loaded = entry_point.load()
        except Exception as error:
            reason = one_line(f"{type(error).__name__}: {error}")
            raise ConfigurationError(
                f"vault_auth_method: {name}: {entry_point.value} cannot be loaded: {reason}; mend that package"
            ) from error
        if isinstance(loaded, type) and issubclass(loaded, AuthMethod):
            return loaded
        raise ConfigurationError(f"vault_auth_method: {name}: {entry_point.value} is not an AuthMethod")
    raise ConfigurationError(f"vault_auth_method: no method {name!r}; write auto, {', '.join(sorted(METHODS))}")


def configure(
    arguments: Mapping[str, Any], environ: Mapping[str, str], profile: Profile | None, *, read_aws_role: bool = False
) -> Config:
    """Return the configuration with the options of the auth methods in it; see :func:`~.config.resolve`.

    :raises ConfigurationError: when a setting is malformed or no such method exists.
    """
    declared = next(o for o in options_of(Config) if o.key == "vault_auth_method")
    name = lookup(declared, arguments, environ, profile).value
    return resolve(arguments, environ, profile, options(name), read_aws_role=read_aws_role)


def options(name: str | None = None) -> tuple[Option, ...]:
    """Return the options of every method of the table, and of the one of ``name`` if it is another package's.

    :raises ConfigurationError: when there is no such method.
    """
    owners = [find(method) for method in METHODS]
    if name is not None and name != "auto" and name not in METHODS:
        owners.append(find(name))
    return tuple(declared for owner in owners for declared in options_of(owner))


def choose(config: Config) -> AuthMethod:
    """Return the configured method, or the first for which ``auto`` finds something to try.

    :raises AuthUnavailable: when no method has anything to try; the message lists each with its reason.
    :raises ConfigurationError: when something that was configured is missing or malformed.
    """
    absent: list[str] = []
    for method in candidates(config):
        try:
            method.identity()
        except AuthUnavailable as error:
            logger.debug("auth method %s: absent: %s", method.name, error)
            absent.append(f"{method.name}: {error}")
        else:
            logger.debug("auth method %s: chosen", method.name)
            return method
    raise AuthUnavailable(
        f"no way to log in to {config.vault_addr} ({'; '.join(absent)}); set vault_auth_method and its options, "
        "or VAULT_TOKEN"
    )


def login(method: AuthMethod, vault: Vault) -> VaultToken:
    """Log in with a method.

    :raises AuthenticationError: when Vault refuses, or gives a token of a single use: on its last use Vault keeps
        the credentials back, after it has made them.
    """
    token = method.login(vault)
    if token.uses_left is not None and token.uses_left < 2:
        raise AuthenticationError(
            f"{vault.config.vault_addr}/v1/auth/{method.mount}: the login gave a token of one use, and on its last "
            "use Vault keeps the credentials back; set token_num_uses to 0, or to 2 or more"
        )
    return token


def watched(config: Config) -> tuple[str, ...]:
    """Return the files that decide which method is chosen and as whom it logs in."""
    return tuple(path for method in candidates(config) for path in method.watched())


def candidates(config: Config) -> Iterator[AuthMethod]:
    """Yield the methods to try, in order.

    With ``auto``: methods whose own options stand in the profile or in arguments, and no others if there are
    any; then AppRole from the environment; then a token from the environment; a token file last, and never when
    options of another method are set: an administrator's ``~/.vault-token`` must not answer for an application.
    """
    if config.vault_auth_method != "auto":
        yield find(config.vault_auth_method).from_config(config)
        return
    methods = [find(name) for name in METHODS]
    chosen = [m for m in methods if _origins(m, config) & {"argument", "profile"}]
    if not chosen:
        exported = [m for m in methods if "environment" in _origins(m, config)]
        chosen = exported[:1] or methods
    for method in chosen:
        yield method.from_config(config)


def _origins(method: type[AuthMethod], config: Config) -> set[str]:
    """Return where a method's options come from; one that stands empty in the profile is not set."""
    return {config.origin(o.key).kind for o in options_of(method) if config.settings[o.key].value is not None}
