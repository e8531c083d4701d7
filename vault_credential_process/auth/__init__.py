"""The auth methods: one table that names them, and ``auto``, which chooses.

Adding a method is one file and one line of :data:`METHODS`.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vault_credential_process import sources
from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.config import Config, lookup, resolve
from vault_credential_process.errors import AuthenticationError, AuthUnavailable, ConfigurationError, bare, one_line
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
    "groups",
    "login",
    "options",
    "watched",
]

logger = logging.getLogger(__name__)

ENTRY_POINTS = "vault_credential_process.auth_methods"

METHODS = {
    "approle": "vault_credential_process.auth.approle:AppRole",
    "token": "vault_credential_process.auth.token:Token",
    "agent": "vault_credential_process.auth.agent:Agent",
    "kubernetes": "vault_credential_process.auth.kubernetes:Kubernetes",
    "jwt": "vault_credential_process.auth.jwt:JWT",
    "aws-iam": "vault_credential_process.auth.aws_iam:AWSIAM",
    "aws-ec2": "vault_credential_process.auth.aws_ec2:AWSEC2",
    "azure": "vault_credential_process.auth.azure:Azure",
    "gcp": "vault_credential_process.auth.gcp:GCP",
    "cert": "vault_credential_process.auth.cert:Cert",
    "userpass": "vault_credential_process.auth.userpass:Userpass",
    "ldap": "vault_credential_process.auth.ldap:LDAP",
    "radius": "vault_credential_process.auth.radius:Radius",
    "okta": "vault_credential_process.auth.okta:Okta",
    "github": "vault_credential_process.auth.github:GitHub",
    "oidc": "vault_credential_process.auth.oidc:OIDC",
}
"""Name of each method and where it is."""

_ROLE = "vault_auth_role"
LAST = "token"
"""The method that ``auto`` tries last where nothing is set: somebody's own token file answers for nobody else."""
_OF_OTHERS = ("vault_auth_mount", "vault_login_mfa_code_command")
"""General settings that say nothing of a token, so that whoever sets one means another method."""


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

    Only the methods that something given here belongs to are loaded, or all where nothing tells.

    :raises ConfigurationError: when a setting is malformed or no such method exists.
    """
    try:
        return _configured(arguments, environ, profile, read_aws_role=read_aws_role)
    except ConfigurationError as error:
        failure = bare(error)
    # What looks into the frames of the error must not find these either.
    del arguments, environ, profile
    raise failure


def _configured(
    arguments: Mapping[str, Any], environ: Mapping[str, str], profile: Profile | None, *, read_aws_role: bool
) -> Config:
    declared = next(o for o in options_of(Config) if o.key == "vault_auth_method")
    named = lookup(declared, arguments, environ, profile).value
    owners = _concerned(named, _given(arguments, environ, profile))
    config = resolve(
        arguments,
        environ,
        profile,
        _options(owners.values()),
        read_aws_role=read_aws_role,
        methods=tuple(owners),
        ambient=[name for owner in owners.values() for name in owner.ambient],
    )
    return dataclasses.replace(config, emptied=_emptied(environ, profile)) if named == "auto" else config


def options() -> tuple[Option, ...]:
    """Return the options of every method of the table."""
    return _options(find(name) for name in METHODS)


def _given(arguments: Mapping[str, Any], environ: Mapping[str, str], profile: Profile | None) -> set[str]:
    """Return the keys that have a value here and are no general settings: they are methods' own, or nobody's."""
    general = {o.key: o.variables for o in options_of(Config) if o.key not in (_ROLE, *_OF_OTHERS)}
    variables = {variable for names in general.values() for variable in names}
    exported = {name for name in environ if name.startswith(("VAULT_", "BAO_")) and environ[name]} - variables
    written = {key for key, value in arguments.items() if value is not None} | set(profile.keys if profile else ())
    keys = {key.replace("-", "_") for key in written if key.startswith(("vault_", "vault-"))}
    return (keys | {"vault_" + name.partition("_")[2].lower() for name in exported}) - set(general)


def _emptied(environ: Mapping[str, str], profile: Profile | None) -> str:
    """Return the name of an option that stands here without a value and is of another method than a token's."""
    blank = {key: key for key, value in (profile.keys if profile else {}).items() if value == ""}
    for name in environ:
        if name.startswith(("VAULT_", "BAO_")) and not environ[name]:
            blank.setdefault("vault_" + name.partition("_")[2].lower(), name)
    blank = {key: name for key, name in blank.items() if key.startswith("vault_")}
    for declared in options_of(Config):
        blank.pop(declared.key, None)
    if not blank:
        return ""
    own = {o.key for name in METHODS if name != LAST for o in options_of(find(name))}
    return next((name for key, name in blank.items() if key in own), "")


def _concerned(named: str, given: set[str]) -> dict[str, type[AuthMethod]]:
    """Return the methods that the keys belong to, with the one that is named; all of them where that does not tell.

    Loading all of them costs a tenth of a call that has to ask Vault.
    """
    owners = {} if named == "auto" else {named: find(named)}
    open_keys = given - {_ROLE, *_OF_OTHERS} - {o.key for owner in owners.values() for o in options_of(owner)}
    for name in METHODS:
        if not open_keys:
            break
        owner = find(name)
        own = {o.key for o in options_of(owner)} & open_keys
        if own:
            owners[name] = owner
            # What a method inherits it shares with others, which are concerned too.
            open_keys -= own & set(owner.__annotations__)
    is_open = not owners or _ROLE in given or (owners.keys() == {LAST} and not given.isdisjoint(_OF_OTHERS))
    if open_keys or (named == "auto" and is_open):
        owners |= {name: find(name) for name in METHODS}
    return {name: owners[name] for name in (*METHODS, *owners) if name in owners}


def groups() -> Iterator[tuple[str, tuple[Option, ...]]]:
    """Yield the methods of the table with their options as people read them: what several share stands once."""
    owners = {name: find(name) for name in METHODS}
    sharing: dict[str, list[str]] = {}
    for name, owner in owners.items():
        for declared in options_of(owner):
            sharing.setdefault(declared.key, []).append(name)
    told = set()
    for name, owner in owners.items():
        own = tuple(o for o in options_of(owner) if sharing[o.key] == [name])
        yield f"auth method {name}: {owner.summary}", own
        for declared in options_of(owner):
            names = tuple(sharing[declared.key])
            if len(names) > 1 and names not in told:
                told.add(names)
                yield (
                    f"auth methods {', '.join(names)}",
                    tuple(o for o in options_of(owner) if tuple(sharing[o.key]) == names),
                )


def _options(owners: Iterable[type[AuthMethod]]) -> tuple[Option, ...]:
    return tuple({declared.key: declared for owner in owners for declared in options_of(owner)}.values())


def choose(config: Config) -> AuthMethod:
    """Return the configured method, or the first for which ``auto`` finds something to try.

    :raises AuthUnavailable: when no method has anything to try; the message lists each with its reason.
    :raises ConfigurationError: when something that was configured is missing or malformed, or a command of ours led
        here.
    """
    # Before anybody waits for a lock that the call has which runs the command.
    sources.refuse_nested_of(config)
    method, absent = _search(config)
    if method is None:
        raise _nothing_to_try(config, absent)
    logger.debug("auth method %s: chosen", method.name)
    return method


def _search(config: Config) -> tuple[AuthMethod | None, list[tuple[str, AuthUnavailable]]]:
    """Return the first method that has something to try, and the absent ones before it, each with its reason."""
    absent = []
    for method, is_guess in candidates(config):
        try:
            if is_guess:
                method.at_home()
            method.identity()
        except AuthUnavailable as error:
            logger.debug("auth method %s: absent: %s", method.name, error)
            absent.append((method.name, error))
        else:
            return method, absent
    return None, absent


def _nothing_to_try(config: Config, absent: Sequence[tuple[str, AuthUnavailable]]) -> AuthUnavailable:
    """Return the error that lists each method with why it is absent, a reason that several share once."""
    told: dict[str, list[str]] = {}
    for name, reason in absent:
        told.setdefault(str(reason), []).append(name)
    withheld = _withheld(config)
    if withheld and LAST not in {name for name, _ in absent}:
        told.setdefault(withheld, []).append(LAST)
    if config.vault_auth_method != "auto":
        return AuthUnavailable(
            f"no way to log in to {config.vault_addr} by vault_auth_method = {config.vault_auth_method}: "
            f"{'; '.join(told)}; set its options, or write auto"
        )
    reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in told.items())
    return AuthUnavailable(
        f"no way to log in to {config.vault_addr} ({reasons}); set vault_auth_method and its options, or VAULT_TOKEN"
    )


def login(method: AuthMethod, vault: Vault) -> VaultToken:
    """Log in with a method.

    :raises AuthUnavailable: when it turned out only now that there is nothing to try, as with a token helper that
        holds no token.
    :raises AuthenticationError: when Vault refuses, or gives a token of a single use: on its last use Vault keeps
        the credentials back, after it has made them.
    """
    try:
        token = method.login(vault)
    except AuthUnavailable as error:
        _, absent = _search(vault.config)
        raise _nothing_to_try(vault.config, [*absent, (method.name, error)]) from None
    if token.uses_left is not None and token.uses_left < 2:
        raise AuthenticationError(
            f"{vault.config.vault_addr}/v1/auth/{method.mount}: the login gave a token of one use, and on its last "
            "use Vault keeps the credentials back; set token_num_uses to 0, or to 2 or more"
        )
    return token


def watched(config: Config) -> tuple[str, ...]:
    """Return the files that decide which method is chosen and as whom it logs in."""
    return tuple(path for method, _ in candidates(config) for path in method.watched())


def candidates(config: Config) -> Iterator[tuple[AuthMethod, bool]]:
    """Yield the methods to try, in order, each with whether it is a guess: nothing says that it is wanted.

    With ``auto``: methods whose own options stand in the profile or in arguments, and no others if there are any;
    then AppRole from the environment, then a token from it, then whatever else has options there; then the methods
    that can tell by themselves that they are at home. A token file or token helper comes last, and never when options
    of another method are set or stand there empty, or settings that say nothing of a token: an administrator's
    ``~/.vault-token`` must not answer for an application. Nor does a token from the environment, where such a setting
    stands in the profile or in arguments.

    :raises ConfigurationError: when all that is set serves several methods.
    """
    if config.vault_auth_method != "auto":
        yield find(config.vault_auth_method).from_config(config), False
        return
    owners = {name: find(name) for name in config.methods}
    for kinds in ({"argument", "profile"}, {"environment"}):
        chosen = _chosen(owners, config, kinds)
        if chosen:
            for name in chosen if "profile" in kinds else chosen[:1]:
                yield owners[name].from_config(config), False
            return
        if config.vault_auth_role and config.origin(_ROLE).kind in kinds:
            owners = {name: owner for name, owner in owners.items() if owner.takes_role}
            break
        if any(getattr(config, key) and config.origin(key).kind in kinds for key in _OF_OTHERS):
            owners.pop(LAST, None)
    if config.emptied:
        owners.pop(LAST, None)
    for name in [n for n in owners if n != LAST] + [n for n in owners if n == LAST]:
        yield owners[name].from_config(config), True


def _withheld(config: Config) -> str:
    """Return why nobody's own token may answer here; nothing where it may."""
    for key in _OF_OTHERS:
        if config.vault_auth_method == "auto" and getattr(config, key):
            return f"not taken where {key} is set (from {config.origin(key)})"
    return f"not taken where {config.emptied} is there but empty" if config.emptied else ""


def _chosen(owners: Mapping[str, type[AuthMethod]], config: Config, kinds: set[str]) -> list[str]:
    """Return the methods that have an option from one of these places which is no other method's too.

    :raises ConfigurationError: when only options that several share are set there.
    """
    given: dict[str, list[str]] = {}
    for name, owner in owners.items():
        for declared in options_of(owner):
            # One that stands empty in the profile is not set.
            if config.settings[declared.key].value is not None and config.origin(declared.key).kind in kinds:
                given.setdefault(declared.key, []).append(name)
    chosen = {names[0] for names in given.values() if len(names) == 1}
    if given and not chosen:
        key, names = next(iter(given.items()))
        raise ConfigurationError(
            f"vault_auth_method: missing; {key} (from {config.origin(key)}) serves {', '.join(names)}: name one of them"
        )
    return [name for name in owners if name in chosen]
