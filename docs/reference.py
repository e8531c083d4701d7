"""The commands as their parsers have them, for ``docs/commands.md`` and the manual page; ``generate.py`` writes both.

Nothing here depends on the terminal, the machine or the day: the same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import inspect
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from vault_credential_process import auth, errors
from vault_credential_process.cli import BUG, INTERRUPTED, parser
from vault_credential_process.cli.exec import NOT_EXECUTABLE, NOT_FOUND
from vault_credential_process.models import Option

PROGRAM = "vault-credential-process"
DOCS = pathlib.Path(__file__).parent
COMMON = {"help", "verbose", "log_file"}
"""Arguments of every command."""

PAGES = {
    "get": "explanation/call.md",
    "logout": "login.md",
    "secret": "auth/README.md",
    "shell": "exec.md",
    "whoami": "console.md",
    "demo": "tutorial.md",
}
"""The page that tells more of a command, where it has none of its own name."""

TOP = f"""\
# Commands

Written by `docs/generate.py` from the parser; do not edit it by hand. `{PROGRAM} COMMAND --help` tells the same.

Every command takes `-v` (`--verbose`: tell on stderr what is done and why, without secrets), `--log-file FILE` (append
the same to a file) and `--help`. Where a usage ends with `[setting ...]` the command takes each flag of
[settings.md](settings.md), too. What it ends with when it fails stands in [errors.md](errors.md).
"""


class Argument(NamedTuple):
    """An argument of a command, as a usage and a table have it."""

    usage: str
    written: str
    meaning: str


class Command(NamedTuple):
    """A command: its line in the help, its own arguments, its examples, and what else it takes."""

    name: str
    summary: str
    arguments: tuple[Argument, ...]
    examples: tuple[str, ...]
    rest: str

    @property
    def usage(self) -> str:
        """The usage in one line."""
        return " ".join([PROGRAM, self.name, *(argument.usage for argument in self.arguments)]) + self.rest


def groups() -> Iterator[tuple[str, list[Command]]]:
    """Yield the groups of the general help, each with its commands."""
    for title, names in parser.GROUPS.items():
        yield title, [command(name) for name in names if name in parser.COMMANDS]


def command(name: str) -> Command:
    """Return a command as its parser has it."""
    made = _parser_of(name)
    own = [a for a in made._actions if a.dest not in COMMON and not a.dest.startswith("vault_")]
    # What must be told stands first, as people type it.
    own.sort(key=lambda action: bool(action.option_strings))
    arguments = tuple(_argument(action, made.prog) for action in own if action.help is not argparse.SUPPRESS)
    # What follows the settings, as the command of exec does, stands in the usage of the help alone.
    _, settings, others = (_parser_of(name, "--help").usage or "").partition(" [setting ...]")
    return Command(name, parser.COMMANDS[name], arguments, examples(made.epilog or ""), settings + others)


def _parser_of(name: str, *flags: str) -> argparse.ArgumentParser:
    made = parser.build([name, *flags])
    (subparsers,) = (a for a in made._actions if isinstance(a, argparse._SubParsersAction))
    found: argparse.ArgumentParser = subparsers.choices[name]
    return found


def examples(epilog: str) -> tuple[str, ...]:
    """Return the examples at the end of a help: what follows ``example:``, a reference to a page left out."""
    text = re.sub(r"^examples?:", "", epilog.strip())
    lines = (line.strip().partition("; see docs/")[0] for line in text.splitlines())
    return tuple(line for line in lines if line)


def _argument(action: argparse.Action, prog: str) -> Argument:
    choices = None if action.choices is None else "|".join(map(str, action.choices))
    value = action.metavar if isinstance(action.metavar, str) else choices or action.dest.upper()
    meaning = (action.help or "") % {**vars(action), "prog": prog}
    if not action.option_strings:
        many = {"*": f"[{value} ...]", "+": f"{value} ...", "?": f"[{value}]", argparse.REMAINDER: f"{value} ..."}
        written = many.get(str(action.nargs), value)
        return Argument(written, written, meaning)
    value = "" if action.nargs == 0 else f" [{value}]" if action.nargs == "?" else f" {value}"
    written = ", ".join(f"{flag}{value}" for flag in action.option_strings)
    usage = f"{action.option_strings[-1]}{value}"
    return Argument(usage if action.required else f"[{usage}]", written, meaning)


def commands_page() -> str:
    """Return ``docs/commands.md``."""
    parts = [TOP]
    for title, found in groups():
        rows = "".join(f"| [`{one.name}`](#{one.name}) | {_cell(one.summary)} |\n" for one in found)
        parts.append(f"**{title[0].upper()}{title[1:]}**\n\n| command | what for |\n|---|---|\n{rows}")
    parts += [_section(one) for _, found in groups() for one in found]
    return "\n".join(parts)


def _section(one: Command) -> str:
    text = f"## {one.name}\n\n{one.summary[0].upper()}{one.summary[1:]}."
    page = PAGES.get(one.name, f"{one.name}.md")
    if (DOCS / page).is_file():
        text += f" [More]({page})."
    text += f"\n\n```text\n{one.usage}\n```\n\n"
    if one.arguments:
        rows = (f"| `{_cell(a.written)}` | {_cell(a.meaning)} |\n" for a in one.arguments)
        text += "| argument | meaning |\n|---|---|\n" + "".join(rows) + "\n"
    lines = "\n".join(one.examples)
    return text + f"Example:\n\n```text\n{lines}\n```\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


FILES = (
    (
        "~/.aws/config",
        "The profiles, each with a line credential_process and its settings. AWS_CONFIG_FILE names another.",
    ),
    (
        "$XDG_RUNTIME_DIR/vault-credential-process/, /dev/shm/vault-credential-process-UID/",
        "On Linux, what is kept: in memory, readable by the user alone. Elsewhere the system's secret store keeps it.",
    ),
    (
        "~/.vault-token",
        "The token of vault login, which the method token uses where no other has anything to log in with.",
    ),
)
ENVIRONMENT = (
    ("AWS_PROFILE, AWS_DEFAULT_PROFILE", "The profile in use, where no flag names one."),
    ("AWS_CONFIG_FILE", "The file that holds the profiles."),
    ("NO_COLOR", "Set to anything: no colour on a terminal."),
)
SEE_ALSO = (
    "The pages of the project: docs/index.md leads to all of them, docs/settings.md has every setting, docs/errors.md "
    "every message."
)


def manual() -> str:
    """Return the manual page, as the macros of man(7) have it."""
    pyproject = DOCS.with_name("pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.+)"$', pyproject, re.M)
    lines = [
        '.\\" Written by docs/generate.py from the parser; do not edit it by hand.',
        f'.TH VAULT\\-CREDENTIAL\\-PROCESS 1 "" "{PROGRAM} {version}" "User Commands"',
        ".SH NAME",
        f"{_roff(PROGRAM)} \\- AWS credentials from HashiCorp Vault or OpenBao",
        ".SH SYNOPSIS",
        f".B {_roff(PROGRAM)}",
        "[\\fB\\-h\\fR] [\\fB\\-\\-version\\fR] \\fICOMMAND\\fR [\\fIargument\\fR ...]",
        ".SH DESCRIPTION",
        *_paragraph(
            "Reads short-lived AWS credentials from the AWS secrets engine of Vault or OpenBao, with their true "
            "expiry, for programs that must not know about Vault: one line credential_process in the AWS config file "
            "gives them to the AWS CLI and to every SDK. What was read is kept in memory, never on a disk, and shared "
            "by all processes of the user."
        ),
        ".SH COMMANDS",
    ]
    for title, found in groups():
        lines += [f".SS {_roff(title[0].upper() + title[1:])}"]
        for one in found:
            lines += [".TP", _bold(one.usage.removeprefix(f"{PROGRAM} ")), *_paragraph(f"{one.summary}.")]
            for argument in one.arguments:
                if argument.written != "--profile NAME":
                    lines += [".RS", ".TP", _bold(argument.written), _roff(argument.meaning), ".RE"]
    lines += [".SH OPTIONS", *_options(), ".SH EXIT STATUS"]
    for code, meaning in exit_codes().items():
        lines += [".TP", f".B {code}", *_paragraph(meaning)]
    lines += [".PP", *_paragraph("With exec and shell whatever their program ends with, once it runs.")]
    lines += [".SH ENVIRONMENT"]
    lines += [line for name, meaning in ENVIRONMENT for line in (".TP", _bold(name), *_paragraph(meaning))]
    lines += [
        ".PP",
        *_paragraph(
            "Each setting has its own variables, which stand with its flag above. BAO_X goes before VAULT_X. Secrets "
            "have no flag and come from these, from files, from the keyring or from commands:"
        ),
    ]
    for declared in _secrets():
        lines += [".TP", _bold(", ".join(declared.environ)), _roff(declared.help)]
    lines += [".SH FILES"]
    lines += [line for name, meaning in FILES for line in (".TP", _bold(name), *_paragraph(meaning))]
    lines += [".SH EXAMPLES", *_examples(), ".SH SEE ALSO", "aws(1), vault(1), bao(1)", ".PP", *_paragraph(SEE_ALSO)]
    return "\n".join(lines) + "\n"


def _options() -> Iterator[str]:
    everywhere = (
        ("-h, --help", "show the help of a command, with an example"),
        ("-v, --verbose", "tell on stderr what is done and why; no secrets"),
        ("--log-file FILE", "append the same to a file, for a credential_process line"),
        ("--version", "show the version and end; before any command"),
    )
    yield ".SS Of every command"
    for flag, meaning in everywhere:
        yield from (".TP", _bold(flag), _roff(meaning))
    yield ".SS Of commands that take settings"
    yield from _paragraph(
        "A flag goes before a key of the profile, that before the environment. The key and the variables of each stand "
        "in parentheses."
    )
    # The flag of a method's own makes the parser load them all.
    for group in _parser_of("get", "--role-id")._action_groups:
        actions = [action for action in group._group_actions if action.dest not in COMMON]
        if actions and group.title and group.title.startswith("auth method"):
            yield f".SS {_roff(group.title[0].upper() + group.title[1:])}"
        for action in actions:
            found = _argument(action, PROGRAM)
            yield from (".TP", _bold(found.written), _roff(found.meaning))


def _secrets() -> list[Option]:
    found = [declared for _, group in auth.groups() for declared in group if declared.secret]
    return list({declared.key: declared for declared in found}.values())


def _examples() -> Iterator[str]:
    yield from _paragraph("A profile of the AWS config file, which every SDK understands:")
    yield from (".PP", ".in +4n", ".nf")
    for line in (
        "[profile webapp]",
        "region = eu-central-1",
        "credential_process = /opt/vcp/bin/vault-credential-process get --profile webapp",
        "vault_addr = https://vault.example.com:8200",
        "vault_role_id = 7d0b8e0c-2d9c-4d5a-9d4c-0c6c1b7f0e11",
        "vault_secret_id_file = /etc/webapp/secret-id",
        "vault_aws_role = webapp",
    ):
        yield _roff(line)
    yield from (".fi", ".in", ".PP", *_paragraph("One of each command:"), ".PP", ".in +4n", ".nf")
    for _, found in groups():
        for one in found:
            yield from (_roff(line) for line in one.examples)
    yield from (".fi", ".in")


def exit_codes() -> dict[int, str]:
    """Return what each exit code means: the first sentence of its error's docstring."""
    told = {
        kind.exit_code: (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ").replace("`", "")
        for kind in errors.VaultCredentialError.__subclasses__()
    }
    return {
        0: "All is well.",
        1: "The demo failed.",
        **dict(sorted(told.items())),
        BUG: "A bug, or nobody read the output.",
        NOT_EXECUTABLE: "The program that exec was to run cannot be run.",
        NOT_FOUND: "There is no program of that name.",
        INTERRUPTED: "Interrupted.",
    }


def _bold(text: str) -> str:
    return f"\\fB{_roff(text)}\\fR"


def _paragraph(text: str) -> list[str]:
    """Return a text as lines, one a sentence, as the macros want it."""
    text = text[0].upper() + text[1:] + ("" if text.endswith((".", ":", ")")) else ".")
    return [_roff(line) for line in re.split(r"(?<=[.:?]) (?=[A-Z])", text)]


def _roff(text: str) -> str:
    """Return a text as roff shows it as it is: its hyphens are those of flags, and no line is a request."""
    text = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga").replace("~", "\\(ti")
    )
    text = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in text.replace("^", "\\(ha"))
    return f"\\&{text}" if text.startswith((".", "'")) else text
