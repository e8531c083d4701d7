"""Which versions are at work: ours, Python's, the libraries', and the ``aws`` command's with a botocore of its own."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import sysconfig
from collections.abc import Iterator

from vault_credential_process import commands
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, error, note, ok, warning
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.models import section_name
from vault_credential_process.profiles import find_profile

_OF_PROFILES = frozenset({"AWS_PROFILE", "AWS_DEFAULT_PROFILE"})
LIBRARIES = (("botocore", "boto3"), ("hvac", "requests", "urllib3", "keyring"))
"""What speaks to AWS, and what to Vault and the keyring."""
_PATIENCE = 10.0
_MOST = 4096
_AWS = re.compile(r"aws-cli/(\d\S*)", re.ASCII)
_BOTOCORE = re.compile(r"botocore/(\S+)", re.ASCII)


def examine(case: Case) -> Iterator[Finding]:
    """Tell the versions of what is installed."""
    own = importlib.metadata.version("vault-credential-process")
    system = f"{platform.python_implementation()} {platform.python_version()} on {sysconfig.get_platform()}"
    yield ok(case.step, f"vault-credential-process {own}, {system}")
    found = {name: _version(name) for names in LIBRARIES for name in names}
    for names in LIBRARIES:
        yield ok(case.step, ", ".join(f"{name} {found[name] or 'missing'}" for name in names))
    missing = [name for name, version in found.items() if version is None]
    if missing:
        yield error(
            case.step,
            f"not installed: {', '.join(missing)}",
            remedy="install vault-credential-process anew, with its dependencies",
        )
    yield from _aws(case)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _aws(case: Case) -> Iterator[Finding]:
    """Tell of the ``aws`` command, whose botocore is its own: that of this environment matters to programs here."""
    path = shutil.which("aws", path=case.environ.get("PATH"))
    if path is None:
        yield note(case.step, "no aws command on PATH", "SDKs do without it")
        return
    seconds = case.limit(_PATIENCE, "aws --version")
    # A config file that is broken is told of as such, not as an aws command that is.
    environ = {name: value for name, value in case.environ.items() if name not in _OF_PROFILES}
    environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    try:
        code, printed = commands.run((path, "--version"), environ, seconds, _MOST)
    except OSError as failure:
        yield warning(case.step, f"aws at {path} does not start: {failure.strerror}", remedy="install it anew")
        return
    if printed is None:
        yield warning(
            case.step, f"aws at {path}: no answer to --version within {seconds:g} s", remedy="look at what starts it"
        )
        return
    said = printed.decode("utf-8", "replace")
    version, botocore = _AWS.search(said), _BOTOCORE.search(said)
    if code or version is None:
        yield warning(case.step, f"aws at {path}: --version fails", remedy="run it by hand, or install it anew")
        return
    own = f"botocore {botocore[1]}" if botocore else "a botocore"
    yield ok(case.step, f"aws-cli {version[1]} at {path}", f"with {own} of its own")
    endpoint = _endpoint(case)
    if endpoint is not None and not reads_endpoint(said):
        yield warning(
            case.step,
            f"aws-cli {version[1]} does not know {endpoint}, which is set",
            "it asks AWS itself, whatever that names",
            "get aws-cli 1.29, 2.13 or later, or call it with --endpoint-url",
        )


def _endpoint(case: Case) -> str | None:
    """Return what names another endpoint than AWS's."""
    named = sorted(name for name in case.environ if name.startswith("AWS_ENDPOINT_URL") and case.environ[name])
    if named:
        return named[0]
    with contextlib.suppress(ConfigurationError):  # the settings tell of it
        profile = find_profile(case.arguments, case.environ)
        if profile is not None and profile.keys.get("endpoint_url"):
            return f"endpoint_url in {section_name(profile.name)}"
    return None


def reads_endpoint(said: str) -> bool:
    """Tell by its ``--version`` whether an AWS CLI takes AWS's address from these settings: since 1.29 and 2.13."""
    version = _AWS.search(said)
    numbers = [int(number) for number in re.findall(r"\d+", version[1])[:2]] if version else []
    return numbers >= ([1, 29] if numbers[:1] == [1] else [2, 13])
