"""The parser of the command line, made from the option tables."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from vault_credential_process import auth
from vault_credential_process.cli import coredump, logs
from vault_credential_process.config import Config, did_you_mean
from vault_credential_process.errors import ConfigurationError, bare, one_line
from vault_credential_process.fastpath import Ticket
from vault_credential_process.models import Option, options_of
from vault_credential_process.profiles import Profile, find_profile, profile_name

COMMANDS = {
    "configure": "write a profile, by questions or by flags",
    "get": "print credentials, as the AWS credential_process wants them",
    "exec": "run a program with credentials that refresh",
    "shell": "run your shell with credentials that refresh",
    "serve": "serve credentials to SDKs in containers, at a local address",
    "login": "log in as a person; get goes on with the token while it lives",
    "logout": "end what login began: revoke the token, forget its credentials",
    "secret": "keep a secret in the system's keyring, for vault_*_keyring",
    "env": "print credentials as lines for a shell or a .env file",
    "whoami": "ask AWS who a program with this profile is",
    "console": "sign in to the AWS console, in the browser",
    "status": "show what is held and how long it lives, without asking Vault",
    "doctor": "find out what is wrong between a profile and AWS",
    "cache": "list what is held for all profiles, or forget it",
    "completion": "print the completion script of bash, zsh, fish or PowerShell",
    "autoload": "have unmodified boto3 programs use Vault, without a subprocess",
    "demo": "see it all work on this machine, with a real server",
}
"""Each command with its one-line help; the module of the same name in this package adds its options and runs it."""

GROUPS = {
    "to begin with": ("demo", "configure", "doctor"),
    "credentials for programs": ("get", "exec", "shell", "serve", "env", "autoload"),
    "people": ("login", "logout", "whoami", "console"),
    "what is kept": ("status", "cache", "secret"),
    "this command": ("completion",),
}
"""The commands by what somebody wants, as the general help shows them."""

FIRST = """\
first things to try:
  vault-credential-process demo                      see it work on this machine
  vault-credential-process configure                 write a profile
  vault-credential-process doctor --profile webapp   see what is right with it

vault-credential-process COMMAND --help tells the flags of one, with an example.
"""


_REPEATED = re.compile(
    r"(invalid choice): .*(?= \(choose from)|(invalid \w+ value|ignored explicit argument)[: ].*", re.DOTALL
)
_KEPT = r"\1\2"
"""What argparse says of a value, and what is left of that."""


class _Parser(argparse.ArgumentParser):
    """argparse, with one line for each error instead of the whole usage."""

    words: Sequence[str] = ()
    """The command line, which tells whose flags are wanted."""

    def error(self, message: str) -> NoReturn:
        # argparse repeats a value that it does not take, which may be a secret that belongs elsewhere.
        raise ConfigurationError(f"{_REPEATED.sub(_KEPT, message)}; see {self.prog} --help")

    def format_help(self) -> str:
        """Return the help; the usage, which is not argparse's own, in lines that fit."""
        usage, blank, rest = super().format_help().partition("\n\n")
        lines, margin = [""], " " * len(f"usage: {self.prog}")
        room = shutil.get_terminal_size().columns - 2
        for piece in re.findall(r"\[[^\]]*\]|\S+", usage):
            if len(lines[-1]) + len(piece) >= room and lines[-1].strip():
                lines.append(margin)
            lines[-1] += f" {piece}" if lines[-1] else piece
        return "\n".join(lines) + blank + rest

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write a help; unlike argparse's own, this one does not keep quiet where it cannot be written."""
        stream = file or sys.stdout
        if stream is not None:
            stream.write(message)


class _Version(argparse.Action):
    """Look the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import importlib.metadata

        sys.stdout.write(f"{parser.prog} {importlib.metadata.version('vault-credential-process')}\n")
        parser.exit()


def run(argv: Sequence[str], place: Ticket | None = None) -> int:
    """Parse the arguments and run the command they name; ``place`` is where ``get`` leaves its quick answer."""
    coredump.forbid()
    _keep_exit_codes()
    if not argv and "_ARGCOMPLETE" in os.environ:
        from vault_credential_process.cli import completers

        if completers.is_asked(os.environ):
            return completers.answer(build)
    if not argv:
        if sys.stderr is not None:
            build(argv).print_help(sys.stderr)
        return ConfigurationError.exit_code
    argv, command_line = _parted(argv)
    _check_command(argv)
    parser = build(argv)
    given = argparse.Namespace(place=place, command_line=command_line)
    arguments, unknown = _parsed(parser, argv, given)
    if unknown:
        raise _unknown(unknown, parser, arguments.command)
    logs.set_up(verbose=arguments.verbose, file=arguments.log_file)
    code: int = importlib.import_module(f"vault_credential_process.cli.{arguments.command}").run(arguments)
    return code


def build(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser for a command line: with the options of the command that it names, if it names one."""
    named = _named(argv)
    parser, subparsers = _parser([named] if named else list(COMMANDS))
    if named:
        module = importlib.import_module(f"vault_credential_process.cli.{named}")
        subparsers[named].words = argv
        module.add_options(subparsers[named])
    return parser


def _named(argv: Sequence[str]) -> str | None:
    """Return the command that a command line names."""
    return next((word for word in argv if word in COMMANDS), None)


def _parsed(
    parser: argparse.ArgumentParser, argv: Sequence[str], given: argparse.Namespace
) -> tuple[argparse.Namespace, list[str]]:
    """Return what stands in the words, and those that no flag takes.

    :raises ConfigurationError: bare, for argparse's own error repeats a value that it does not take.
    """
    try:
        return parser.parse_known_args(list(argv), given)
    except ConfigurationError as error:
        failure = bare(error)
    raise failure


def _check_command(argv: Sequence[str]) -> None:
    """Make sure that a command line that begins with a command begins with one of ours.

    :raises ConfigurationError: when it does not; the command that was meant is named, not all of them.
    """
    word = argv[0]
    named = _named(argv)
    if word.startswith("-") and word not in ("-h", "--help", "--version") and named:
        flag = flag_of(word)
        raise ConfigurationError(f"{flag}: flags stand behind the command: vault-credential-process {named} {flag} ...")
    if not word.startswith("-") and word not in COMMANDS:
        hint = did_you_mean(word, COMMANDS)
        if hint:
            raise ConfigurationError(f"no such command: {one_line(word, limit=40)}{hint}")
        # It may be a secret.
        raise ConfigurationError("no such command; see vault-credential-process --help")


def _parted(argv: Sequence[str]) -> tuple[Sequence[str], list[str]]:
    """Return the words that are ours, and those behind ``--`` that ``exec`` runs, which nothing of ours looks at.

    :raises ConfigurationError: for an ``exec`` without ``--``: nobody could tell whose a flag is.
    """
    if _named(argv) != "exec":
        return argv, []
    if "--" in argv:
        at = list(argv).index("--")
        return argv[:at], list(argv[at + 1 :])
    if {"-h", "--help"} & set(argv):
        return argv, []
    raise ConfigurationError(
        "exec: the command stands behind --: vault-credential-process exec --profile webapp -- aws s3 ls"
    )


def _keep_exit_codes() -> None:
    """Take an ignored ``SIGCHLD`` back: who started us may have left it that, and no command of ours could fail."""
    if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        with contextlib.suppress(ValueError):  # not the main thread, so not a process of ours
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def flag_of(word: str) -> str:
    """Return of a word what names a flag: what is attached may be a secret, and so may all of what is none."""
    return one_line(word.partition("=")[0], limit=80) if word.startswith("--") else word[:2]


def _unknown(words: Sequence[str], parser: argparse.ArgumentParser, command: str) -> ConfigurationError:
    """Return the error for words that no flag takes; only flags are repeated, for the others may be a secret."""
    flags = [flag_of(word) for word in words if word.startswith("-")]
    commands = parser._subparsers._group_actions[0].choices if parser._subparsers is not None else None
    known = commands[command]._option_string_actions if isinstance(commands, dict) else ()
    hint = did_you_mean(flags[0], known) if flags else ""
    if hint:
        return ConfigurationError(f"no such flag: {flags[0]}{hint}")
    what = f"no such flag: {', '.join(flags)}" if flags else "an argument that belongs to no flag"
    return ConfigurationError(f"{what}; see vault-credential-process {command} --help")


def _parser(commands: list[str]) -> tuple[_Parser, dict[str, _Parser]]:
    common = _Parser(add_help=False, allow_abbrev=False)
    group = common.add_argument_group("messages")
    group.add_argument("-v", "--verbose", action="store_true", help="tell on stderr what is done and why; no secrets")
    group.add_argument("--log-file", metavar="FILE", help="append the same to a file, for a credential_process line")
    parser = _Parser(
        prog="vault-credential-process",
        usage="%(prog)s [-h] [--version] COMMAND ...",
        description="AWS credentials from HashiCorp Vault or OpenBao, for programs that must not know about Vault.",
        epilog=FIRST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and end")
    # Its own list of the commands is left out of the help, which has them by groups.
    subparsers = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="COMMAND",
        prog=parser.prog,
        parser_class=_Parser,
        help=argparse.SUPPRESS,
    )
    made = {
        name: subparsers.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        for name, text in COMMANDS.items()
        if name in commands
    }
    lines = {line.dest: line for line in subparsers._choices_actions}
    for title, names in GROUPS.items():
        parser.add_argument_group(title)._group_actions += [lines[name] for name in names if name in lines]
    return parser, made


def add_settings(parser: argparse.ArgumentParser, *, profiles: bool = False) -> None:
    """Add ``--profile`` and a flag for each setting that may be given on the command line.

    The flags of auth methods only where the command line has one that is none of the general settings: loading every
    method costs a tenth of a call that has to ask Vault. So a command adds its own flags before. With ``profiles``
    several may be named: a list.
    """
    words = getattr(parser, "words", ())
    if {"-h", "--help"} & set(words):
        parser.usage = f"%(prog)s{_actions(parser)} [--profile NAME] [setting ...]"
    how, several = ("append", "; may be given several times") if profiles else ("store", "")
    parser.add_argument(
        "--profile", metavar="NAME", action=how, help=f"profile of the AWS config file (AWS_PROFILE){several}"
    )
    parser.add_argument(
        "--no-cache", dest="vault_aws_cache", action="store_const", const="none", help="keep nothing; --cache none"
    )
    _add_flags(parser.add_argument_group("what to read, and from where"), options_of(Config))
    general = parser._option_string_actions.keys() - {"-h", "--help"}
    if {word.partition("=")[0] for word in words if word.startswith("-")} <= general:
        return
    for title, declared in auth.groups():
        # argparse leaves a group out that is empty, and with it the method.
        about = None if any(o.flag for o in declared) else "no settings of its own"
        _add_flags(parser.add_argument_group(title, about), declared)


def _actions(parser: argparse.ArgumentParser) -> str:
    """Return what a command wants to be told besides settings, as its usage writes it."""
    wanted = parser.format_usage().partition("[--log-file FILE]")[2].split()
    return "".join(f" {word}" for word in wanted)


def _add_flags(group: Any, options: Iterable[Option]) -> None:
    for declared in options:
        if declared.flag is None:
            continue
        default = (
            "" if declared.default in (None, False) or "default" in declared.help else f", default {_plain(declared)}"
        )
        group.add_argument(
            declared.flag,
            dest=declared.key,
            metavar=declared.metavar,
            help=f"{declared.help} ({declared.key}; {', '.join(declared.environ)}{default})".replace("%", "%%"),
        )


def _plain(declared: Option) -> str:
    value = declared.default
    return f"{value:g} s" if isinstance(value, float) else str(value)


def configuration(arguments: argparse.Namespace, profile: Profile | None = None) -> Config:
    """Return the configuration that flags, profile and environment make; ``profile`` where it was looked up before.

    :raises ConfigurationError: when any of them is malformed.
    """
    given = ((key, value) for key, value in vars(arguments).items() if value is not None)
    flags = {key: value for key, value in given if key.startswith("vault_") or key == "profile"}
    profile = profile or find_profile(flags, os.environ)
    return auth.configure(flags, os.environ, profile, read_aws_role=profile_name(flags, os.environ) is None)
