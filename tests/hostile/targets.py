"""The table of targets, and every parser of the package with the target that reaches it, or why none does."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

from . import (
    of_answers,
    of_cache,
    of_child,
    of_command,
    of_discovery,
    of_doctor,
    of_endpoint,
    of_login,
    of_paths,
    of_people,
    of_profiles,
    of_settings,
    of_wire,
)
from .kit import TARGETS

__all__ = ["ELSEWHERE", "MODULES", "TARGETS", "found", "parsers_in"]

MODULES = (
    *(of_answers, of_wire, of_paths, of_settings, of_profiles, of_cache),
    *(of_login, of_command, of_people, of_doctor, of_endpoint, of_child, of_discovery),
)
"""What fills the table when it is imported."""

SIGNS = (
    "json.loads", "urlsplit", "urlparse", "parse_qs", "parse_qsl", "RawConfigParser", "ConfigParser", "shlex.split",
    "compat_shell_split", "fullmatch", "fromisoformat", "strptime", "b64decode", "literal_eval", "fromstring",
)  # fmt: skip
"""Calls that take text apart."""

NAMES = re.compile(r"_*(?:parse|from|read|load|looked_up)(?:_|$)")
"""How functions are called that make a value of what came from elsewhere."""

_IN_PROCESS = "gives what was fetched to botocore; parses nothing"
_DECLARES = "declares a setting"
ELSEWHERE = {
    "aio.AioVaultProvider.load": _IN_PROCESS,
    "auth.aws_chain._Chain.load": "botocore reads AWS's files and services; its errors are shown on one line",
    "auth.callback.Listener.__init__": "takes a redirect URI that parse_redirect_uri let through",
    "auth.gcp.GCP._address": "parse_address judges it",
    "auth.oidc.OIDC._served_by_us": "takes a redirect URI that parse_redirect_uri let through",
    "auth.token.looked_up": "hands the answer on to answers.looked_up_token",
    "auth.token_helper.Helper.read": "what a command prints is judged by sources.single_line",
    "auth.wrapping.secret_id": "takes a word that sources.single_line let through",
    "cli.exec.child._become": "takes the command and its variables from the pipe of exec, which wrote them",
    "cli.env._dotenv": "writes a value; parses nothing",
    "commands._read": "what a command prints is judged by sources.single_line",
    "commands._read_in_thread": "the same",
    "config._check_address": "takes an address that parse_address let through",
    "doctor.certificate._shake_hands": "takes an address that parse_address let through",
    "doctor.network._way": "takes a proxy that parse_proxy or requests let through",
    "flight.Flight._read": "asks Vault and hands the answer on",
    "flight.Flight._read_with": "asks Vault and hands the answer on",
    "flight.Flight.load": "hands the bytes on to Entry.load",
    "manager._SharedProvider.load": _IN_PROCESS,
    "provider.VaultProvider.load": _IN_PROCESS,
    "sources.Source.read": "hands the bytes on to sources.single_line",
    "sources.from_command": _DECLARES,
    "sources.from_environment": _DECLARES,
    "sources.from_file": _DECLARES,
    "sources.from_keyring": _DECLARES,
    "sources.load_store": "imports the keyring; parses nothing",
    "sources.read_keyring": "hands the bytes on to sources.single_line",
    "tls._load": "OpenSSL reads the file; its errors are shown in words of ours",
    "tls._load_client": "OpenSSL reads the files",
    "tls._load_directory": "OpenSSL reads the files",
    "transport._Adapter.send": "takes an address that parse_address or the redirect's check let through",
    "transport._proxies": "takes an address that parse_address let through",
}
"""Parsers that no target names, with the reason."""


def parsers_in(tree: ast.AST, module: str) -> Iterator[str]:
    """Yield the functions of a module that take text apart, by what they call or are called."""
    owners = {inner: node for node in ast.walk(tree) for inner in ast.iter_child_nodes(node)}
    for node, owner in owners.items():
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            called = {ast.unparse(inner.func) for inner in ast.walk(node) if isinstance(inner, ast.Call)}
            if any(name.endswith(SIGNS) for name in called) or NAMES.match(node.name):
                place = f"{module}.{owner.name}" if isinstance(owner, ast.ClassDef) else module
                yield f"{place}.{node.name}"


def found(package: pathlib.Path) -> Iterator[str]:
    """Yield every parser of the package; the demo and the kit for tests are no part of it here."""
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package)
        if relative.parts[0] not in ("demo", "testing"):
            name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
            yield from parsers_in(ast.parse(path.read_text(encoding="utf-8")), name)
