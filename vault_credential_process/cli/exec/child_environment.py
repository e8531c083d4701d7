"""The environment of a program under ``exec``: our credentials, no others, and none of our own secrets."""

from __future__ import annotations

import configparser
import logging
import os
import re
import stat
from collections.abc import Iterator, Mapping

from vault_credential_process import auth
from vault_credential_process.auth import azure, jwt
from vault_credential_process.cli.env import CREDENTIALS
from vault_credential_process.cli.exec.child_config import KEYS, child_config, text_of
from vault_credential_process.cli.outer import CONFIG, SHARED, marks
from vault_credential_process.config import BEARER_TOKENS, REGION_VARIABLES, Config
from vault_credential_process.errors import ConfigurationError, one_line
from vault_credential_process.fastpath import write_private
from vault_credential_process.models import options_of
from vault_credential_process.profiles import config_path, credentials_path, read

logger = logging.getLogger(__name__)

ENDPOINT, TOKEN = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN"

RIVALS = (
    *CREDENTIALS,
    *("AWS_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_CREDENTIAL_FILE", "AWS_BEARER_TOKEN_BEDROCK"),
    # Ruby's, which it takes before an endpoint's (aws-sdk-core, Aws::CredentialProviderChain).
    *("AMAZON_ACCESS_KEY_ID", "AMAZON_SECRET_ACCESS_KEY", "AMAZON_SESSION_TOKEN"),
    *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", ENDPOINT, TOKEN),
)
"""Variables that lead an SDK to other credentials, or to a profile that has others."""

_MAY_HOLD_ONE = frozenset({"vault_proxy_addr"})
"""Settings that are no secret and may have one in them."""
_OF_PLATFORMS = (jwt.GITLAB, f"BAO_{jwt.GITLAB.removeprefix('VAULT_')}", jwt.REQUEST_TOKEN, azure.HEADER)
"""Variables in which a platform gives a proof of identity."""
_ROLE = ("VAULT_AWS_ROLE", "BAO_AWS_ROLE")
"""An exported role would have a program with our provider ask Vault by itself."""


def vault_variables() -> frozenset[str]:
    """Return the variables that hold a secret of ours, or have a program ask Vault."""
    declared = (o for o in (*options_of(Config), *auth.options()) if o.secret or o.key in _MAY_HOLD_ONE)
    return frozenset(variable for o in declared for variable in o.variables) | {*_OF_PLATFORMS, *_ROLE}


def name_of(config: Config) -> str:
    """Return what a program under ``exec`` runs as: the profile, else the role."""
    return config.profile or config.vault_aws_role


def refuse_pipes(environ: Mapping[str, str]) -> None:
    """Refuse AWS files that are pipes: one that was read for our settings has nothing left for the program, or hangs.

    :raises ConfigurationError: when one of them is.
    """
    for name, path in ((CONFIG, config_path(environ)), (SHARED, credentials_path(environ))):
        if _is_pipe(path):
            raise ConfigurationError(f"{name}: {one_line(path)} is a pipe, which can be read but once; name a file")


def environment(
    config: Config, environ: Mapping[str, str], directory: str, further: Mapping[str, str], *, keep_vault: bool
) -> dict[str, str]:
    """Return the environment of a program, with ``further`` variables that bring the credentials.

    Its AWS files are written into a private directory.

    :raises OSError: when they cannot be written.
    """
    removed = {*RIVALS, *(() if keep_vault else vault_variables())}
    # A variable without a name, which some programs leave behind, is none that a program can be started with.
    made = {
        name: value
        for name, value in environ.items()
        if name and name not in removed and not name.startswith(BEARER_TOKENS)
    }
    made.update(marks(environ, config.profile, name_of(config)))
    made[CONFIG], empty = os.path.join(directory, "config"), os.path.join(directory, "credentials")
    sections, left_out = child_config(
        _sections(config_path(environ)),
        _sections(credentials_path(environ)),
        config.profile or "default",
        is_endpoint=ENDPOINT in further,
    )
    if left_out:
        logger.debug("profiles whose keys stand in a file are not there: %s", ", ".join(map(one_line, left_out)))
    write_private(made[CONFIG], text_of(sections).encode("utf-8", "surrogateescape"))
    write_private(empty, b"")
    # The second is what old SDKs for Java read.
    made[SHARED] = made["AWS_CREDENTIAL_PROFILES_FILE"] = empty
    if any(_has_keys(path) for path in _boto_paths(environ)):
        made["BOTO_CONFIG"] = empty
    if config.aws_region:
        for name in REGION_VARIABLES:
            made.setdefault(name, config.aws_region)
    made.update(further)
    return made


def _sections(path: str) -> dict[str, dict[str, str]]:
    """Return the sections of a file of AWS; none where it cannot be read: the child has another one anyway."""
    try:
        parser = read(path)
    except FileNotFoundError:
        return {}
    except ConfigurationError as error:
        logger.warning("%s; the program sees nothing of it", error)
        return {}
    return {
        section: {key: _without_keys(value) for key, value in parser.items(section)} for section in parser.sections()
    }


def _without_keys(value: str) -> str:
    """Return a value without static credentials in its further lines, which are a part of it if they are indented."""
    first, *further = value.split("\n")
    return "\n".join([first, *(line for line in further if re.split("[=:]", line)[0].strip().lower() not in KEYS)])


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _boto_paths(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the files in which botocore looks for keys of boto 2, before it asks a container's endpoint."""
    named = environ.get("BOTO_CONFIG")
    for path in ("/etc/boto.cfg", "~/.boto") if named is None else (named,):
        yield os.path.expanduser(os.path.expandvars(path))


def _has_keys(path: str) -> bool:
    parser = configparser.RawConfigParser()
    if _is_pipe(path):
        return False
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except (OSError, ValueError, configparser.Error):
        return False
    return parser.has_option("Credentials", "aws_access_key_id")
