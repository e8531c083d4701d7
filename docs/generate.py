"""Writes ``docs/settings.md`` from the option tables: ``python docs/generate.py``; ``--check`` only compares."""

from __future__ import annotations

import argparse
import pathlib
import re
import sys
from collections.abc import Iterable, Sequence

from vault_credential_process import auth
from vault_credential_process.config import Config
from vault_credential_process.models import Option, options_of

TARGET = pathlib.Path(__file__).with_name("settings.md")

TOP = """\
# Settings

Written by `docs/generate.py` from the option tables of the package; do not edit it by hand.

1. A flag or an argument in the process goes first, then a key of the profile, then the environment, then the default.
2. `BAO_X` goes before `VAULT_X`, for every variable below. An empty variable is absent; an empty key means the default.
3. A secret comes from the environment, a file or an argument in the process, never from a flag or the profile itself.

The names of the profile keys are also the names of the arguments in the process:
`boto3_session(vault_aws_role="webapp")`. A duration is written `900`, `900s`, `15m` or `1h30m`.
"""

TLS = (
    "vault_cacert",
    "vault_cacert_bytes",
    "vault_capath",
    "vault_client_cert",
    "vault_client_key",
    "vault_tls_server_name",
    "vault_skip_verify",
)
"""Keys of the settings that have a table of their own."""

HEAD = "| profile key | environment | flag | default | meaning |\n|---|---|---|---|---|\n"

AWS = """\
## AWS's own settings, and messages

The profile is found as the AWS CLI and botocore find it. Region, endpoint and CA serve the probe of a new IAM user;
for these three the environment goes before the profile, as in botocore. Every command takes `-v` and `--log-file`.

| profile key | environment | flag | default | meaning |
|---|---|---|---|---|
| | `AWS_DEFAULT_PROFILE`, `AWS_PROFILE` | `--profile NAME` | `default` | profile in use |
| | `AWS_CONFIG_FILE` | | `~/.aws/config` | file that holds the profiles |
| | `AWS_ROLE` | | | the role where nothing else names one: for the manager, or a call without a profile |
| `region` | `AWS_REGION`, `AWS_DEFAULT_REGION` | | `us-east-1` | region of STS |
| `endpoint_url` | `AWS_ENDPOINT_URL_STS`, `AWS_ENDPOINT_URL` | | AWS | address of STS |
| `ca_bundle` | `AWS_CA_BUNDLE` | | botocore's | CA of STS |
| | | `-v`, `--verbose` | off | tell on stderr what is done and why |
| | | `--log-file FILE` | none | append the same to a file, for a `credential_process` line |
| | | `--no-cache` | off | keep nothing; the same as `--cache none` |
"""

_DEFAULT_IN_HELP = re.compile(r" \((?:default: (.+)|(required))\)$")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or with ``--check`` tell by the exit code whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file differs")
    text = page()
    if not parser.parse_args(arguments).check:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{TARGET} is not up to date; run python docs/generate.py\n")
    return 1


def page() -> str:
    """Return the whole page."""
    own = {declared.key: declared for declared in options_of(Config)}
    tls = [own.pop(key) for key in TLS]
    parts = [TOP, section("What to read, and from where", own.values()), section("TLS", tls)]
    parts += [section(title[0].upper() + title[1:], declared) for title, declared in auth.groups() if declared]
    return "\n".join([*parts, AWS])


def section(title: str, options: Iterable[Option]) -> str:
    """Return a heading and a table."""
    return f"## {title}\n\n{HEAD}" + "".join(map(row, options))


def row(declared: Option) -> str:
    """Return one setting's line; a default that the help tells in words moves to its own column."""
    told = _DEFAULT_IN_HELP.search(declared.help)
    default = (told.group(1) or told.group(2)) if told else plain(declared)
    cells = (
        "environment only" if declared.secret else f"`{declared.key}`",
        ", ".join(f"`{name}`" for name in declared.environ),
        f"`{declared.flag} {declared.metavar}`" if declared.flag else "",
        default,
        _DEFAULT_IN_HELP.sub("", declared.help),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def plain(declared: Option) -> str:
    """Return the default as it would be written in a profile."""
    value = declared.default
    if value is None:
        return ""
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    return f"`{value:g}s`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    sys.exit(main())
