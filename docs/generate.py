"""Writes what the package's own tables tell: ``python docs/generate.py``; with ``--check`` it only compares.

``docs/settings.md`` comes from the option tables, ``docs/commands.md`` and the manual page from the parser, and the
tables of ``docs/wire.md`` from the limits and the retries.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import pathlib
import re
import sys
import types
from collections.abc import Iterable, Sequence

from vault_credential_process import auth, connections, fastpath, probe, sources
from vault_credential_process.auth import aws_chain, callback, metadata, oidc
from vault_credential_process.cli import get, login, terminal
from vault_credential_process.config import Config
from vault_credential_process.models import Option, options_of
from vault_credential_process.retries import Failure

TARGET = pathlib.Path(__file__).with_name("settings.md")
WIRE = TARGET.with_name("wire.md")
COMMANDS = TARGET.with_name("commands.md")
MANUAL = TARGET.with_name("man") / "vault-credential-process.1"

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
    """Write the pages, or with ``--check`` tell by the exit code whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file differs")
    reference = _beside("reference")
    texts = {
        TARGET: page(),
        WIRE: wire(WIRE.read_text(encoding="utf-8")),
        COMMANDS: reference.commands_page(),
        MANUAL: reference.manual(),
    }
    if not parser.parse_args(arguments).check:
        for target, text in texts.items():
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, encoding="utf-8", newline="\n")
        return 0
    old = [t for t, text in texts.items() if not t.is_file() or t.read_text(encoding="utf-8") != text]
    for target in old:
        sys.stderr.write(f"{target} is not up to date; run python docs/generate.py\n")
    return 1 if old else 0


def _beside(name: str) -> types.ModuleType:
    """Return a module of this directory, which is no package and may not be on the path."""
    loader = importlib.machinery.SourceFileLoader(name, str(pathlib.Path(__file__).with_name(f"{name}.py")))
    module = types.ModuleType(name)
    module.__file__ = loader.path
    loader.exec_module(module)
    return module


def wire(text: str) -> str:
    """Return the page of the wire with its tables renewed: each stands between two marks."""
    for name, table in (("limits", limits()), ("retries", retry_table())):
        begin, end = f"<!-- {name}, written by generate.py -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        text = before + begin + "\n" + table + "\n" + end + rest.partition(end)[2]
    return text


def retry_table() -> str:
    """Return the table of retries."""
    lines = ["| failure | nothing was done | column 1 | column 2 |", "|---|---|---|---|"]
    for row in (failure.value for failure in Failure):
        again = "again, when `Retry-After` says" if row.told else "again"
        cells = ("certain" if row.undone else "", again if row.harmless else "no", again if row.harmful else "no")
        lines.append(f"| {row.failure} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def limits() -> str:
    """Return the table of waits and their limits; figures are those of the code."""
    config = Config()
    rest = "what is left of the call"
    rows = {
        "the whole call": f"`vault_aws_timeout`, {config.vault_aws_timeout:g} s",
        "the command, in what has no time-out of its own (a disk, a named pipe)": f"the same and {get._GRACE:g} s: the "
        "process ends",
        "to connect: name server, every address of the host, proxy, handshake": f"{connections.CONNECT_LIMIT:g} s, and "
        f"{rest}; of several addresses each has its share, {connections.LEAST_SHARE:g} s at least",
        "a request to Vault, until the last byte of its answer": f"`vault_client_timeout`, "
        f"{config.vault_client_timeout:g} s, and {rest}",
        "pauses between tries": f"{rest}: a try that would come too late is not waited for",
        "another process or thread that fetches": rest,
        "a call that queues before it has read its configuration": f"the limit of the call that fetches, else "
        f"{fastpath.DEFAULT_WAIT:g} s",
        "a metadata service, or GitHub's issuer of identity tokens": f"{metadata.LIMIT:g} s a request (2 to 5 s on the "
        f"clouds), and {rest}",
        "AWS credentials to log in with: programs, files, name servers": f"{aws_chain._SHARE:.0%} of {rest}",
        "AWS, while these are fetched": f"{aws_chain._CONNECT_LIMIT:g} s to connect, {aws_chain._READ_LIMIT:g} s to "
        "read, 2 tries",
        "STS, until it knows a new IAM user": f"{probe._LONGEST:g} s a request, `vault_aws_probe` "
        f"({config.vault_aws_probe:g} s) in all",
        "a command that prints a secret, a token helper": f"{rest}; then it is killed",
        "the keyring": f"{sources.KEYRING_TIMEOUT:g} s a question",
        "somebody at the terminal (`login`)": f"{login.PATIENCE:g} s more than the call; on Windows no limit",
        "the browser that comes back": f"{oidc.WAIT:g} s, {callback.PATIENCE:g} s for each connection it makes",
        "a browser that starts": f"{terminal.START:g} s",
    }
    return "| wait for | limit |\n|---|---|\n" + "".join(f"| {what} | {limit} |\n" for what, limit in rows.items())


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
