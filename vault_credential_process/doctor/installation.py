"""Which versions are at work: ours, Python's, the libraries', and the ``aws`` command's with a botocore of its own."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import sysconfig
from collections.abc import Iterator

from vault_credential_process import commands
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, error, note, ok, warning

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
    yield _aws(case)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _aws(case: Case) -> Finding:
    """Tell of the ``aws`` command, whose botocore is its own: that of this environment matters to programs here."""
    path = shutil.which("aws", path=case.environ.get("PATH"))
    if path is None:
        return note(case.step, "no aws command on PATH", "SDKs do without it")
    seconds = case.limit(_PATIENCE, "aws --version")
    try:
        code, printed = commands.run((path, "--version"), case.environ, seconds, _MOST)
    except OSError as failure:
        return warning(case.step, f"aws at {path} does not start: {failure.strerror}", remedy="install it anew")
    if printed is None:
        return warning(
            case.step, f"aws at {path}: no answer to --version within {seconds:g} s", remedy="look at what starts it"
        )
    said = printed.decode("utf-8", "replace")
    version, botocore = _AWS.search(said), _BOTOCORE.search(said)
    if code or version is None:
        return warning(case.step, f"aws at {path}: --version fails", remedy="run it by hand, or install it anew")
    own = f"botocore {botocore[1]}" if botocore else "a botocore"
    return ok(case.step, f"aws-cli {version[1]} at {path}", f"with {own} of its own")
