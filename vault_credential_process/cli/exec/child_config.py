"""The AWS config file of a program under ``exec``: all that the user's says, and no way to credentials but ours.

In the chains of the SDKs a container's credentials come after everything that a profile says of credentials
(``botocore.credentials.create_credential_resolver``, the Go SDK's ``resolveCredentialChain``). So the profile in use
says nothing of them. ``credential_source`` would not help: without a ``role_arn`` no SDK reads it.
"""

from __future__ import annotations

import configparser
import io
import shlex
from collections.abc import Mapping

from vault_credential_process.profiles import called

Sections = Mapping[str, Mapping[str, str]]
"""The sections of a config file with their keys, as ``configparser`` has them."""

KEYS = frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_security_token"})
"""Static credentials in a profile. They are written into no file of ours."""

OF_CREDENTIALS = KEYS | {
    *("aws_account_id", "aws_credential_expiration", "credential_process", "credential_source", "source_profile"),
    *("role_arn", "role_session_name", "external_id", "mfa_serial", "duration_seconds", "web_identity_token_file"),
    *("sso_session", "sso_start_url", "sso_region", "sso_account_id", "sso_role_name", "sso_registration_scopes"),
    "login_session",
}
"""All that a profile says of where credentials come from."""

_TAKEN = frozenset({"environment", "ecscontainer"})
"""Sources of credentials for a role, where ours are now."""


def child_config(
    config: Sections, credentials: Sections, profile: str, *, is_endpoint: bool
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return the sections of the child's config file, and the names of the profiles that are left out.

    ``config`` and ``credentials`` are the user's two files, whose profiles are merged as botocore does. ``[default]``,
    which programs use that name none, has the settings of the profile in use. A role that another profile assumes from
    that one is assumed from the endpoint, or from the environment (not ``is_endpoint``). A profile whose keys stand in
    a file is left out, and who assumes a role from it, from another ``[default]``, or from what the environment or a
    container had: an SDK would take ours for it and say nothing.
    """
    headers = {name: header for header in config if (name := called(header)) is not None}
    profiles = {name: dict(config[header]) for name, header in headers.items()}
    for name, keys in credentials.items():
        profiles[name] = {**profiles.get(name, {}), **keys}
    own = profiles.get(profile, {})
    plain = {
        key: value
        for key, value in own.items()
        if key not in OF_CREDENTIALS and not key.startswith(("vault_", "vault-"))
    }
    # Variables do not reach who names the profile: there it goes on as it is.
    named = plain if is_endpoint else {key: value for key, value in own.items() if key not in KEYS}
    source = "EcsContainer" if is_endpoint else "Environment"
    left_out = [name for name in profiles if name != profile and not _stays(profiles, name, profile)]
    made: dict[str, dict[str, str]] = {"default": plain}
    for name, keys in profiles.items():
        if name == "default" or name in left_out:
            continue
        header = headers.get(name, f"profile {shlex.quote(name)}")
        made[header] = named if name == profile else _from_ours(keys, profile, source)
    for header, keys in config.items():
        if called(header) is None:
            # Those of [DEFAULT] stand in every section.
            made[header] = {key: value for key, value in keys.items() if key not in KEYS}
    return made, [name for name in left_out if name != "default"]


def _from_ours(keys: dict[str, str], profile: str, source: str) -> dict[str, str]:
    """Return the keys of another profile, which may assume a role from the one in use."""
    if "role_arn" not in keys or keys.get("source_profile") != profile:
        return keys
    return {**{key: value for key, value in keys.items() if key != "source_profile"}, "credential_source": source}


def _stays(profiles: Mapping[str, Mapping[str, str]], name: str, profile: str) -> bool:
    """Tell whether a profile gets credentials where it did before."""
    seen = set()
    while name != profile and name in profiles:
        keys = profiles[name]
        if not KEYS.isdisjoint(keys) or name == "default" or name in seen:
            return False
        if "role_arn" in keys and keys.get("credential_source", "").lower() in _TAKEN:
            return False
        if "role_arn" not in keys or "source_profile" not in keys:
            return True
        seen.add(name)
        name = keys["source_profile"]
    return True


def text_of(sections: Sections) -> str:
    """Return the text of a config file."""
    # No section is everybody's: what the user's file has in [DEFAULT] stands in each one already.
    writer = configparser.RawConfigParser(default_section="")
    writer.read_dict(sections)
    text = io.StringIO()
    writer.write(text)
    return text.getvalue()
