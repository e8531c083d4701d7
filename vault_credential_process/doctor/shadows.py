"""Other keys that an SDK finds before it asks us: in the environment, in the credentials file, in the profile itself.

The order is botocore's (``botocore.credentials.create_credential_resolver``): environment, role, web identity, SSO,
credentials file, ``aws login``, ``credential_process``, keys of the config file.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator, Mapping

from vault_credential_process.config import BEARER_TOKENS
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, error, note, ok, skipped, warning
from vault_credential_process.models import section_name
from vault_credential_process.profiles import called, config_path, credentials_path, profile_name

_BEFORE_US = {
    "role_arn": ("source_profile", "credential_source", "web_identity_token_file"),
    "sso_session": (),
    "sso_start_url": (),
    "login_session": (),
}
"""Keys of a profile for which botocore goes elsewhere, with those one of which must stand beside them."""
_EXPORTED = {
    "its keys": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "the credentials of that role": ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
}
"""What variables bring, and which."""
_KEY, _SECRET = "aws_access_key_id", "aws_secret_access_key"


def examine(case: Case) -> Iterator[Finding]:
    """Tell what wins over the profile, and in which programs."""
    found = list(_found(case))
    yield from found
    if not any(finding.state in ("warning", "error", "skipped") for finding in found):
        yield ok(case.step, "no other AWS keys win over this profile")


def _found(case: Case) -> Iterator[Finding]:
    yield from _of_environment(case)
    if case.profile is None:
        yield skipped(case.step, "there is no profile to look for")
        return
    yield from _names(case, case.profile.name)
    yield from _of_credentials_file(case, case.profile.name)
    yield from _of_profile(case, case.profile.name, case.profile.keys)


def _of_environment(case: Case) -> Iterator[Finding]:
    """Tell of variables that win over a profile, unless a flag or the program itself names it."""
    half = [name for name in _EXPORTED["its keys"] if case.environ.get(name)]
    if len(half) == 1:
        lacking = next(name for name in _EXPORTED["its keys"] if name not in half)
        yield warning(
            case.step,
            f"{half[0]} is set, and {lacking} is not",
            "botocore and the AWS CLI end with that wherever AWS_PROFILE names the profile",
            f"unset {half[0]}",
        )
    for name in sorted(name for name, value in case.environ.items() if value and name.startswith(BEARER_TOKENS)):
        yield warning(
            case.step,
            f"{name} is set: requests to that service carry it, and no signature",
            "whatever the profile is",
            f"unset {name}",
        )
    for what, names in _EXPORTED.items():
        if not all(case.environ.get(name) for name in names):
            continue
        also = [name for name in ("AWS_SESSION_TOKEN",) if case.environ.get(name)]
        remedy = f"unset {', '.join((*names, *also))}"
        if case.arguments.get("profile"):
            yield warning(
                case.step,
                f"{names[0]} is set: {what} win wherever AWS_PROFILE names the profile",
                "not where --profile or profile_name= does",
                remedy,
            )
        else:
            yield error(
                case.step,
                f"{names[0]} is set: {what} win over the profile",
                "programs use them, and never ask Vault",
                f"{remedy}, or name the profile with --profile",
            )


def _names(case: Case, name: str) -> Iterator[Finding]:
    """Tell where variables name another profile than the one that is looked at, or one name stands twice."""
    named, wanted = profile_name({}, case.environ), profile_name(case.arguments, case.environ)
    if named is not None and wanted is not None and named != wanted:
        yield note(
            case.step,
            f"the environment names {section_name(named)}, not {section_name(wanted)}",
            "programs that are not told otherwise use that one",
        )
    one, two = case.environ.get("AWS_DEFAULT_PROFILE"), case.environ.get("AWS_PROFILE")
    if one and two and one != two:
        yield warning(
            case.step,
            "AWS_DEFAULT_PROFILE and AWS_PROFILE name two profiles",
            "botocore takes the first, other SDKs the second",
            "unset AWS_DEFAULT_PROFILE",
        )
    sections = [section for section in _sections(config_path(case.environ)) or () if called(section) == name]
    if len(sections) > 1:
        yield warning(
            case.step,
            f"{section_name(name)} stands {len(sections)} times: [{'], ['.join(sections)}]",
            "the last one counts",
            "join them",
        )


def _of_credentials_file(case: Case, name: str) -> Iterator[Finding]:
    path = credentials_path(case.environ)
    sections = _sections(path)
    if sections is None:
        yield error(
            case.step,
            f"{path}: cannot be parsed",
            "botocore and the AWS CLI end with that, whatever profile they use",
            "mend the file: UTF-8 without a byte-order mark, no section and no key twice; or remove it",
        )
        return
    keys, section = sections.get(name, {}), f"[{name}] in {path}"
    if _KEY in keys:
        yield error(
            case.step,
            f"{section} has aws_access_key_id: these keys win over credential_process",
            "programs use them, and never ask Vault",
            "remove that section, or call the profile something else",
        )
    if "credential_process" in keys:
        yield warning(
            case.step,
            f"{section} has a credential_process: it goes before that of the config file",
            remedy="take it out there",
        )
    if any(key.startswith("vault_") for key in keys):
        yield warning(
            case.step,
            f"{section} has vault_ keys, which nothing reads there",
            remedy=f"write them into {section_name(name)} of {config_path(case.environ)}",
        )


def _of_profile(case: Case, name: str, keys: Mapping[str, object]) -> Iterator[Finding]:
    for key in before_us(keys):
        yield error(
            case.step,
            f"{key} in {section_name(name)}: SDKs do that first, not the credential_process",
            "programs never ask Vault",
            f"take {key} out; a role is assumed from a profile of its own, with source_profile = {name}",
        )
    if _KEY in keys and _SECRET in keys:
        yield warning(
            case.step,
            f"{_KEY} in {section_name(name)}: the SDKs of Go and JavaScript take these keys first",
            "botocore and the AWS CLI do not",
            "take them out",
        )


def before_us(keys: Mapping[str, object]) -> list[str]:
    """Return the keys of a profile for which SDKs go elsewhere than to its ``credential_process``."""
    return [
        key
        for key, beside in _BEFORE_US.items()
        if key in keys and (not beside or any(other in keys for other in beside))
    ]


def _sections(path: str) -> dict[str, dict[str, str]] | None:
    """Return the sections of one of AWS's files with their keys; none without the file, ``None`` where it is broken."""
    if not os.path.isfile(path):  # a pipe would be waited for
        return {}
    parser = configparser.RawConfigParser()
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except OSError:
        return {}
    except (configparser.Error, ValueError):
        return None
    return {section: dict(parser.items(section)) for section in parser.sections()}
