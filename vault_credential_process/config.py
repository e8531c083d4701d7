"""Configuration: one pure function of mappings, with one rule for every setting.

Flag or argument, then a key written in the profile in use, then the environment, then the default. What
somebody wrote for this profile wins over what happens to be exported. Every value keeps its origin.
"""

from __future__ import annotations

import dataclasses
import logging
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vault_credential_process.errors import ConfigurationError, one_line
from vault_credential_process.models import (
    DEFAULT_ORIGIN,
    ORIGIN_KINDS,
    Option,
    Origin,
    option,
    options_of,
    section_name,
)
from vault_credential_process.parsers import (
    is_loopback,
    join_command,
    parse_address,
    parse_auth_role,
    parse_bool,
    parse_command,
    parse_count,
    parse_endpoint,
    parse_mount,
    parse_path,
    parse_probe,
    parse_proxy,
    parse_role,
    parse_role_arn,
    parse_seconds,
    parse_session_name,
)
from vault_credential_process.profiles import Profile

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from."""

    value: Any = dataclasses.field(repr=False)
    origin: Origin = DEFAULT_ORIGIN


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that one way to credentials needs to know. Fields bear the names of the profile's keys."""

    vault_addr: str = option(
        "VAULT_AGENT_ADDR",
        "VAULT_ADDR",
        flag="--vault-addr",
        parse=parse_address,
        metavar="URL",
        default="https://127.0.0.1:8200",
        help="address of Vault, OpenBao or an Agent; unix:///path for a socket",
    )
    vault_namespace: str | None = option(
        "VAULT_NAMESPACE",
        flag="--vault-namespace",
        parse=parse_mount,
        metavar="PATH",
        help="namespace of the AWS secrets engine",
    )
    vault_auth_namespace: str | None = option(
        "VAULT_AUTH_NAMESPACE",
        flag="--auth-namespace",
        parse=parse_mount,
        metavar="PATH",
        help="namespace of the login, where it is another one (default: the same)",
    )
    vault_auth_method: str = option(
        "VAULT_AUTH_METHOD",
        flag="--auth",
        default="auto",
        metavar="METHOD",
        help="auth method; auto takes the first that has something to log in with",
    )
    vault_auth_mount: str | None = option(
        "VAULT_AUTH_MOUNT",
        flag="--auth-mount",
        parse=parse_mount,
        metavar="PATH",
        help="mount point of the auth method (default: the method's own)",
    )
    vault_auth_role: str | None = option(
        "VAULT_AUTH_ROLE",
        flag="--auth-role",
        parse=parse_auth_role,
        metavar="ROLE",
        help="role asked for at the login, where the method has roles (default: what the mount has set)",
    )
    vault_login_mfa_code_command: tuple[str, ...] | None = option(
        "VAULT_LOGIN_MFA_CODE_COMMAND",
        flag="--login-mfa-code-command",
        parse=parse_command,
        metavar="COMMAND",
        help="command whose output is the code, where the login wants a second factor; run without a shell",
    )
    vault_aws_role: str = option(
        "VAULT_AWS_ROLE",
        flag="--role",
        parse=parse_role,
        metavar="ROLE",
        help="Vault role of the AWS secrets engine (required)",
    )
    vault_aws_mount: str = option(
        "VAULT_AWS_MOUNT",
        flag="--mount",
        parse=parse_mount,
        default="aws",
        metavar="PATH",
        help="mount point of the AWS secrets engine",
    )
    vault_aws_endpoint: str = option(
        "VAULT_AWS_ENDPOINT",
        flag="--endpoint",
        parse=parse_endpoint,
        default="creds",
        metavar="NAME",
        help="path below the mount: creds, sts or static-creds",
    )
    vault_aws_role_arn: str | None = option(
        "VAULT_AWS_ROLE_ARN",
        flag="--role-arn",
        parse=parse_role_arn,
        metavar="ARN",
        help="AWS role to assume, where the Vault role lists several",
    )
    vault_aws_role_session_name: str | None = option(
        "VAULT_AWS_ROLE_SESSION_NAME",
        flag="--role-session-name",
        parse=parse_session_name,
        metavar="NAME",
        help="session name that AWS sees",
    )
    vault_aws_ttl: float | None = option(
        "VAULT_AWS_TTL",
        flag="--ttl",
        parse=parse_seconds,
        metavar="DURATION",
        help="life to ask for; Vault clamps it to the role's maximum, STS refuses less than 900 s",
    )
    vault_aws_timeout: float = option(
        "VAULT_AWS_TIMEOUT",
        flag="--timeout",
        parse=parse_seconds,
        default=45.0,
        metavar="DURATION",
        help="deadline of the whole call",
    )
    vault_aws_probe: float = option(
        "VAULT_AWS_PROBE",
        flag="--probe",
        parse=parse_probe,
        default=20.0,
        metavar="auto|off|DURATION",
        help="how long to wait until AWS knows a freshly made IAM user (auto: 20 s)",
    )
    vault_aws_static_interval: float = option(
        "VAULT_AWS_STATIC_INTERVAL",
        flag="--static-interval",
        parse=parse_seconds,
        default=3600.0,
        metavar="DURATION",
        help="how often static credentials are read again where Vault does not say (default: 1h)",
    )
    vault_allow_http: bool = option(
        "VAULT_ALLOW_HTTP",
        flag="--allow-http",
        parse=parse_bool,
        default=False,
        metavar="BOOL",
        help="allow plain http to a host that is not this one",
    )
    vault_token_ttl: float | None = option(
        "VAULT_TOKEN_TTL",
        flag="--token-ttl",
        parse=parse_seconds,
        metavar="DURATION",
        help="life left to a token that was handed in and may not look itself up",
    )
    vault_aws_mfa_code_command: tuple[str, ...] | None = option(
        "VAULT_AWS_MFA_CODE_COMMAND",
        flag="--mfa-code-command",
        parse=parse_command,
        metavar="COMMAND",
        help="command whose output is the MFA code for a session_token role; run without a shell",
    )
    vault_aws_cache: str | None = option(
        "VAULT_AWS_CACHE",
        flag="--cache",
        metavar="NAME",
        help="where credentials and tokens are kept: auto, runtime, keyring, memory or none (default: auto)",
    )
    vault_aws_background: bool = option(
        "VAULT_AWS_BACKGROUND",
        parse=parse_bool,
        default=True,
        metavar="BOOL",
        help="let one thread of a program refresh ahead of time; without it one request in a while does",
    )
    vault_aws_revoke_on_exit: bool = option(
        "VAULT_AWS_REVOKE_ON_EXIT",
        parse=parse_bool,
        default=False,
        metavar="BOOL",
        help="let a program end its Vault token, and IAM users with it, when it ends; never what other processes share",
    )
    vault_cacert: str | None = option(
        "VAULT_CACERT", flag="--cacert", parse=parse_path, metavar="FILE", help="PEM file of the CA to trust"
    )
    vault_cacert_bytes: str | None = option(
        "VAULT_CACERT_BYTES", flag="--cacert-bytes", metavar="PEM", help="the CA to trust, PEM-encoded"
    )
    vault_capath: str | None = option(
        "VAULT_CAPATH", flag="--capath", parse=parse_path, metavar="DIR", help="directory of PEM files of CAs to trust"
    )
    vault_client_cert: str | None = option(
        "VAULT_CLIENT_CERT", flag="--client-cert", parse=parse_path, metavar="FILE", help="PEM file for mutual TLS"
    )
    vault_client_key: str | None = option(
        "VAULT_CLIENT_KEY", flag="--client-key", parse=parse_path, metavar="FILE", help="its private key"
    )
    vault_tls_server_name: str | None = option(
        "VAULT_TLS_SERVER_NAME", flag="--tls-server-name", metavar="NAME", help="name to expect in the certificate"
    )
    vault_skip_verify: bool = option(
        "VAULT_SKIP_VERIFY",
        flag="--skip-verify",
        parse=parse_bool,
        default=False,
        metavar="BOOL",
        help="do not verify the server's certificate; never outside a laboratory",
    )
    vault_client_timeout: float = option(
        "VAULT_CLIENT_TIMEOUT",
        flag="--client-timeout",
        parse=parse_seconds,
        default=60.0,
        metavar="DURATION",
        help="limit of one request, within the deadline",
    )
    vault_max_retries: int = option(
        "VAULT_MAX_RETRIES",
        flag="--max-retries",
        parse=parse_count,
        default=2,
        metavar="N",
        help="how often a request is tried again where that is safe",
    )
    vault_proxy_addr: str | None = option(
        "VAULT_PROXY_ADDR",
        "VAULT_HTTP_PROXY",
        parse=parse_proxy,
        metavar="URL",
        redacted=True,
        help="proxy for requests to Vault; goes before HTTPS_PROXY and NO_PROXY",
    )

    profile: str | None = None
    source_profile: str | None = None
    """The profile with whose credentials SDKs assume the role of this one, if it has a ``role_arn``."""
    methods: tuple[str, ...] = ()
    ambient: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    settings: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    origins: Mapping[str, Origin] = dataclasses.field(default_factory=dict)
    emptied: str = ""
    """An option of an auth method that stands there without a value, by the name that it has there."""
    aws_region: str | None = None
    aws_sts_endpoint: str | None = None
    aws_ca_bundle: str | None = None

    @property
    def aws_path(self) -> str:
        """The path that is read, below ``/v1/``."""
        return f"{self.vault_aws_mount}/{self.vault_aws_endpoint}/{self.vault_aws_role}"

    @property
    def login_command(self) -> str:
        """What a person runs to log in to this profile, with the flags that say where."""
        words = ["vault-credential-process", "login"]
        if self.profile:
            words += ["--profile", self.profile]
        for declared in options_of(type(self)):
            if declared.key in _OF_THE_LOGIN and declared.flag and self.origin(declared.key).kind == "argument":
                words += [declared.flag, str(getattr(self, declared.key))]
        return join_command(words)

    @property
    def auth_namespace(self) -> str | None:
        """The namespace of the login."""
        return self.vault_auth_namespace or self.vault_namespace

    def foremost(self, *keys: str) -> str | None:
        """Return which of several settings that say the same thing goes first; ``None`` where none is given.

        The origin decides, as for every setting; between equals the order of ``keys`` does.
        """
        given = [key for key in keys if self.origin(key).kind != "default"]
        return min(given, key=lambda key: ORIGIN_KINDS.index(self.origin(key).kind), default=None)

    def origin(self, key: str) -> Origin:
        """Return where the value of a setting came from."""
        if key in self.settings:
            return self.settings[key].origin
        return self.origins.get(key, DEFAULT_ORIGIN)


REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
"""Both: boto3 reads the second alone, most other SDKs the first alone."""

BEARER_TOKENS = "AWS_BEARER_TOKEN_"
"""How variables begin whose token a request to one service carries instead of a signature (``botocore.tokens``)."""

_OF_THE_LOGIN = frozenset(
    {
        "vault_addr",
        "vault_namespace",
        "vault_auth_namespace",
        "vault_auth_method",
        "vault_auth_mount",
        "vault_auth_role",
        "vault_aws_cache",
    }
)
"""Settings without which another login would be made."""


def resolve(
    arguments: Mapping[str, Any],
    environ: Mapping[str, str],
    profile: Profile | None,
    options: Sequence[Option],
    *,
    read_aws_role: bool = False,
    methods: tuple[str, ...] = (),
    ambient: Iterable[str] = (),
) -> Config:
    """Return the configuration; the one place where precedence lives.

    ``arguments`` maps keys to values of flags or of a caller in the process (``None``: not given);
    ``options`` are those of auth methods and cache backends, whose values go to :attr:`Config.settings`.
    ``read_aws_role`` lets ``AWS_ROLE`` serve as the last place for the role. ``methods`` names the auth methods whose
    options these are, and ``ambient`` variables that a platform sets, such as a CI job's; their values go to
    :attr:`Config.ambient`.

    :raises ConfigurationError: for a malformed value, a misspelt ``vault_*`` key, an argument that does not
        exist, or plain http to a host that is not this one.
    """
    own = tuple(options_of(Config))
    known = {o.key for o in own} | {o.key for o in options}
    for key, value in arguments.items():
        if value is not None and key not in known and key != "profile":
            raise ConfigurationError(f"{key}: no such setting{did_you_mean(key, known)}")
    if profile is not None:
        _check_keys(profile, known, {o.key for o in (*own, *options) if o.secret})
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for declared in own:
        setting = lookup(declared, arguments, environ, profile)
        values[declared.key], origins[declared.key] = setting.value, setting.origin
    if values["vault_aws_role"] is None and environ.get("AWS_ROLE") and read_aws_role:
        role = dataclasses.replace(next(o for o in own if o.key == "vault_aws_role"), environ=("AWS_ROLE",))
        setting = lookup(role, {}, environ, None)
        values["vault_aws_role"], origins["vault_aws_role"] = setting.value, setting.origin
    config = Config(
        **values,
        profile=profile.name if profile else None,
        source_profile=profile.source if profile else None,
        methods=methods,
        ambient={name: environ[name] for name in ambient if environ.get(name)},
        settings={o.key: lookup(o, arguments, environ, profile) for o in options},
        origins=origins,
        aws_region=_aws_setting(environ, profile, REGION_VARIABLES, "region"),
        aws_sts_endpoint=_aws_setting(environ, profile, ("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"), "endpoint_url"),
        aws_ca_bundle=_aws_setting(environ, profile, ("AWS_CA_BUNDLE",), "ca_bundle"),
    )
    _check_address(config)
    return config


def require(config: Config, key: str, options: Iterable[Option]) -> ConfigurationError:
    """Return the error for a setting that is missing, with every place where it could be set."""
    declared = next(o for o in options if o.key == key)
    return ConfigurationError(f"{key}: missing ({declared.remedy(config.profile)})")


def missing_role(config: Config) -> ConfigurationError:
    """Return the error for a profile without a role, or for no profile."""
    if config.profile is None:
        return ConfigurationError(
            "vault_aws_role: missing (name the profile that has it with --profile or AWS_PROFILE, or set --role or "
            "VAULT_AWS_ROLE)"
        )
    if config.source_profile is not None:
        source = section_name(config.source_profile)
        return ConfigurationError(
            f"vault_aws_role: {section_name(config.profile)} assumes a role with the credentials of {source}; name the "
            "latter"
        )
    return require(config, "vault_aws_role", options_of(Config))


def lookup(
    declared: Option, arguments: Mapping[str, Any], environ: Mapping[str, str], profile: Profile | None
) -> Setting:
    """Return one option's value and origin, by the rule that holds for all.

    :raises ConfigurationError: when the value is malformed.
    """
    found: tuple[str, Origin] | None = None
    if arguments.get(declared.key) is not None:
        found = str(arguments[declared.key]), Origin("argument", declared.flag or f"the argument {declared.key}")
    elif profile is not None and not declared.secret and isinstance(profile.keys.get(declared.key), str):
        where = Origin("profile", f"{declared.key} in {section_name(profile.name)}")
        found = profile.keys[declared.key].strip(), where
        if not found[0]:
            return Setting(declared.default, where)
    else:
        for name in declared.variables:
            if environ.get(name):
                found = environ[name], Origin("environment", name)
                break
    if found is None:
        return Setting(declared.default)
    text, origin = found
    try:
        return Setting(declared.parse(text), origin)
    except ValueError as error:
        raise ConfigurationError(f"{declared.key}: {error} (from {origin})") from None


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """Return the end of a message about a word that there is not, which names the one that it resembles."""
    import difflib

    close = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.8)
    return f"; did you mean {close[0]}?" if close else ""


def _check_keys(profile: Profile, known: set[str], secrets: set[str]) -> None:
    for key, shown in ((key, one_line(key, limit=80)) for key in profile.keys):
        if key in secrets:
            raise ConfigurationError(
                f"{key} in {section_name(profile.name)}: a secret must not stand in the config file; "
                f"use {key}_file, or the environment variable {key.upper()}"
            )
        if key in known and not isinstance(profile.keys[key], str):
            raise ConfigurationError(
                f"{key} in {section_name(profile.name)}: its value is indented below it; write it on the same line"
            )
        if key.startswith(("vault_", "vault-")) and key not in known:
            hint = did_you_mean(key.replace("-", "_"), known)
            if hint:
                raise ConfigurationError(f"{shown} in {section_name(profile.name)}: no such setting{hint}")
            logger.warning("%s in %s: no such setting; ignored", shown, section_name(profile.name))


def _check_address(config: Config) -> None:
    parts = urllib.parse.urlsplit(config.vault_addr)
    if parts.scheme != "http" or config.vault_allow_http or is_loopback(parts.hostname or ""):
        return
    raise ConfigurationError(
        f"vault_addr: {config.vault_addr} would send secrets over plain http to another host "
        f"(from {config.origin('vault_addr')}); write https://, or set vault_allow_http = true"
    )


def _aws_setting(
    environ: Mapping[str, str], profile: Profile | None, variables: tuple[str, ...], key: str
) -> str | None:
    """Return one of AWS's own settings, the environment first as botocore has it.

    They serve what is asked of AWS itself, and the programs of ``exec``.
    """
    for name in variables:
        if environ.get(name):
            return environ[name]
    value = profile.keys.get(key) if profile else None
    return value if isinstance(value, str) and value else None
