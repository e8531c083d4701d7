"""The profile that ``configure`` is about to write, while it is put together."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from vault_credential_process import auth, awsconfig
from vault_credential_process.config import Config, Setting, lookup
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.models import Option, Origin, options_of
from vault_credential_process.profiles import Profile

FROM_ENVIRONMENT = frozenset(
    {
        *("vault_addr", "vault_namespace", "vault_auth_namespace", "vault_auth_method", "vault_auth_mount"),
        *("vault_auth_role", "vault_aws_role", "vault_aws_mount", "vault_aws_endpoint"),
        *("vault_cacert", "vault_capath", "vault_client_cert", "vault_client_key", "vault_tls_server_name"),
    }
)
"""General settings that are taken over from the environment: without them the profile would not work elsewhere.

Of the method that is chosen all settings are. How long and how often, and what is risky, is written only where somebody
asks for it.
"""

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "approle": ("vault_role_id",),
    "userpass": ("vault_username",),
    "ldap": ("vault_username",),
    "radius": ("vault_username",),
    "okta": ("vault_username",),
    "cert": ("vault_client_cert", "vault_client_key"),
}
"""What a method cannot log in without, besides a secret."""

_CONNECTION = (
    *("vault_addr", "vault_allow_http", "vault_cacert", "vault_cacert_bytes", "vault_capath"),
    *("vault_client_cert", "vault_client_key", "vault_tls_server_name", "vault_skip_verify"),
)
_GENERAL = {declared.key: declared for declared in options_of(Config)}
_BEFORE_METHOD = tuple(_GENERAL)[: tuple(_GENERAL).index("vault_aws_role")]


@dataclasses.dataclass
class Draft:
    """Settings as text, by key: flags go before answers, those before the profile that is there, then the environment.

    ``old`` is that profile with all its keys; ``is_marked`` tells whether ``configure`` wrote it.
    """

    name: str
    flags: Mapping[str, str] = dataclasses.field(repr=False)
    environ: Mapping[str, str] = dataclasses.field(repr=False)
    old: Mapping[str, Any] | None = dataclasses.field(default=None, repr=False)
    is_marked: bool = False
    region: str = ""
    answers: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def method(self) -> str:
        """The auth method; empty while nobody has chosen one."""
        named = self.text("vault_auth_method")
        return "" if named == "auto" else named

    def option(self, key: str) -> Option:
        """Return the declaration of a setting of the general ones or the method's."""
        if key in _GENERAL:
            return _GENERAL[key]
        return next(o for o in options_of(auth.find(self.method)) if o.key == key)

    def is_given(self, key: str) -> bool:
        """Tell whether a flag or an answer settles it."""
        return key in self.flags or key in self.answers

    def text(self, key: str) -> str:
        """Return the value of a setting as the profile has it; empty where there is none.

        A path is whole: who runs the command may be in another directory. What stands in the profile stays as it is.

        :raises ConfigurationError: when it is malformed.
        """
        setting = self._setting(key)
        if setting.origin.kind == "default":
            return ""
        if setting.origin.kind == "profile":
            return str((self.old or {}).get(key, "")).strip()
        if isinstance(setting.value, str):
            return setting.value
        return (self._given(key) or self.environ.get(setting.origin.name, "")).strip()

    def _given(self, key: str) -> str | None:
        return self.answers.get(key, self.flags.get(key))

    def _setting(self, key: str) -> Setting:
        declared = self.option(key)
        given = self._given(key)
        if given == "":
            return Setting(declared.default)
        is_read = key in FROM_ENVIRONMENT or key not in _GENERAL
        environ = self.environ if is_read and declared.flag else {}
        return lookup(declared, {key: given}, environ, Profile(self.name, self.old or {}))

    def names_a_method(self) -> bool:
        """Tell whether a flag is one of an auth method's own."""
        return not self.flags.keys() <= _GENERAL.keys()

    def connection(self) -> dict[str, str]:
        """Return the settings without which the server is not reached."""
        return {key: value for key in _CONNECTION if (value := self.text(key))}

    def require(self, *keys: str) -> None:
        """Make sure that settings have a value.

        :raises ConfigurationError: when one has none; the message names its flag.
        """
        for key in keys:
            if not self.text(key):
                raise self._missing(key)

    def _missing(self, key: str) -> ConfigurationError:
        return ConfigurationError(f"{key}: missing ({self.option(key).remedy(self.name)})")

    def settle(self) -> None:
        """Decide what a script leaves open, and make sure that the login has what it needs.

        A token of whoever runs the script is taken only where that is said: it must not answer for an application.

        :raises VaultCredentialError: when something is missing; the message names its flag.
        """
        self.require("vault_addr")
        if not self.method:
            found = self.guess()
            own = {declared.key for declared in options_of(auth.find(auth.LAST))}
            if found == auth.LAST and own.isdisjoint(self.flags.keys() | (self.old or {}).keys()):
                raise self._missing("vault_auth_method")
            self.answers["vault_auth_method"] = found
        self.require(*REQUIRED.get(self.method, ()))

    def guess(self) -> str:
        """Return the method that ``auto`` would take with all that is given; empty where it finds none.

        :raises ConfigurationError: when what is given is malformed.
        """
        config = auth.configure(self.flags_with_answers, self.environ, Profile(self.name, self.old or {}))
        return auth.choose(config).name

    @property
    def flags_with_answers(self) -> dict[str, str]:
        """What goes before the profile."""
        return {key: value for key, value in {**self.flags, **self.answers}.items() if value}

    def keys(self) -> dict[str, str]:
        """Return our keys of the profile, in the order in which they are written, the command aside.

        A default that nobody asked for is left out. So is what belongs to another auth method.

        :raises ConfigurationError: when one is malformed, or would not be read as it is written.
        """
        found = {}
        for declared in self._declared():
            value = self.text(declared.key)
            is_asked_for = self.is_given(declared.key) or declared.key in (self.old or {})
            if value and (is_asked_for or value != str(declared.default)):
                found[declared.key] = value
                if value == (self.old or {}).get(declared.key):
                    continue
                try:
                    awsconfig.check_value(value)
                except ValueError as error:
                    raise ConfigurationError(f"{declared.key}: {error}; write another value") from None
        return found

    def variables(self) -> Iterator[str]:
        """Yield the variables that hold a secret of the login which no setting of the profile names."""
        keys = self.keys()
        for declared in options_of(auth.find(self.method)):
            if declared.secret and not any(key.startswith(declared.key) for key in keys):
                yield from [name for name in declared.variables if self.environ.get(name)][:1]

    def has_same_login(self) -> bool:
        """Tell whether a login would be made as by the profile that is there."""
        before = {key: value for key, value in (self.old or {}).items() if is_ours(key)}
        return _of_login(self.keys()) == _of_login(before)

    def _declared(self) -> Iterator[Option]:
        own = options_of(auth.find(self.method)) if self.method else ()
        yield from (_GENERAL[key] for key in _BEFORE_METHOD)
        yield from (declared for declared in own if not declared.secret)
        yield from (declared for key, declared in _GENERAL.items() if key not in _BEFORE_METHOD)

    def config(self) -> Config:
        """Return the configuration that the profile alone makes, with the secrets of the environment.

        :raises ConfigurationError: when it makes none.
        """
        written = {
            variable
            for declared in (*_GENERAL.values(), *auth.options())
            if declared.flag
            for variable in declared.variables
        }
        environ = {name: value for name, value in self.environ.items() if name not in written}
        foreign = {key: value for key, value in (self.old or {}).items() if not is_ours(key)}
        region = {"region": self.region} if self.region else {}
        made = auth.configure({}, environ, Profile(self.name, {**foreign, **region, **self.keys()}))
        settings = {
            key: dataclasses.replace(setting, origin=self._origin(key, setting.origin))
            for key, setting in made.settings.items()
        }
        origins = {key: self._origin(key, origin) for key, origin in made.origins.items()}
        return dataclasses.replace(made, settings=settings, origins=origins)

    def _origin(self, key: str, written: Origin) -> Origin:
        """Return where a value that will stand in the profile comes from now, for messages."""
        if written.kind != "profile" or (key in (self.old or {}) and not self.is_given(key)):
            return written
        if key in self.answers:
            return Origin(written.kind, "what was answered")
        name = self.option(key).flag if key in self.flags else self._setting(key).origin.name
        return Origin(written.kind, name or written.name)


def _of_login(keys: Mapping[str, Any]) -> dict[str, Any]:
    later = _GENERAL.keys() - {*_BEFORE_METHOD, "vault_allow_http", "vault_aws_cache", *_CONNECTION}
    return {key: value for key, value in keys.items() if key not in later and key != "credential_process"}


def is_ours(key: str) -> bool:
    """Tell whether a key of a profile is one that ``configure`` writes, the region aside."""
    return key == "credential_process" or key in _known()


@functools.cache
def _known() -> frozenset[str]:
    return frozenset({*_GENERAL, *(declared.key for declared in auth.options())})
