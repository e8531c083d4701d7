"""The code itself: layers, types, style, and what importing costs."""

from __future__ import annotations

import ast
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from .conftest import ROOT

PACKAGE = ROOT / "vault_credential_process"
LAYERS = {
    "models": 0, "errors": 0, "expiry": 0, "parsers": 0, "lock": 0, "forks": 0, "timed": 0, "fastpath": 0,
    "directory": 1, "profiles": 1, "config": 1, "awsconfig": 1,
    "blotting": 2, "commands": 2, "sources": 2, "tls": 2, "connections": 2, "transport": 2, "failures": 2,
    "answers": 2, "refusals": 2,
    "mfa": 2, "retries": 2, "requester": 2, "sts": 2, "vault": 2, "auth": 2, "cache": 2, "refused": 2,
    "awswire": 2,
    "probe": 3, "caller": 3, "federation": 3, "tokens": 3, "flight": 3, "fetcher": 3,
    "process": 4, "background": 4, "health": 4, "keeper": 4, "registry": 4, "healing": 4, "chain": 4,
    "aio": 4, "provider": 4, "manager": 4, "autoload": 4, "awscli": 4,
    "server": 4,
    "doctor": 4,
    "cli": 5, "demo": 5, "__main__": 5, "testing": 5,
}  # fmt: skip
ORDER_WITHIN = {
    "expiry": 0, "errors": 0, "models": 0, "parsers": 1,
    "profiles": 0, "config": 1, "awsconfig": 1,
    "blotting": 0, "commands": 0, "sources": 0, "tls": 0, "connections": 1, "transport": 1, "failures": 0,
    "answers": 0, "refusals": 1,
    "retries": 2, "requester": 2, "sts": 0, "cache": 3, "refused": 4, "mfa": 5, "vault": 6, "auth": 7,
    "awswire": 0, "caller": 1, "federation": 1,
    "probe": 0, "tokens": 0, "flight": 1, "fetcher": 2,
    "process": 0, "background": 0, "health": 0, "keeper": 1, "registry": 2, "healing": 2, "chain": 1, "aio": 2,
    "provider": 3, "manager": 4, "autoload": 4, "awscli": 5, "doctor": 5,
    "server": 4,
}  # fmt: skip
"""Layers of several storeys: within one, a module imports only what stands below it or beside it in a lower place."""


def room(path: pathlib.Path) -> str:
    """Return the part of the package that a file belongs to."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: pathlib.Path) -> set[str]:
    """Return the parts of the package that a file imports when it runs; imports for type checkers do not count."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vault_credential_process"):
            rest = (node.module or "").split(".")[1:]
            found |= {rest[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("vault_credential_process.")}
    return found


SOURCES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: pathlib.Path) -> None:
    """No module imports from a layer above its own."""
    own = room(path)
    upward = {
        other
        for other in imports(path) - {own}
        if (LAYERS[other], ORDER_WITHIN.get(other, 0)) > (LAYERS[own], ORDER_WITHIN.get(own, 0))
    }

    assert set() == upward


def private(tree: ast.AST) -> Iterator[str]:
    """Return what a module imports that is another's own affair."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vault_credential_process"):
            yield from (f"{node.module}.{a.name}" for a in node.names if re.match("_[^_]", a.name))


def test_nothing_private_is_imported() -> None:
    """What two modules need has a public name; and the check would see one that has none."""
    assert [name for path in SOURCES for name in private(ast.parse(path.read_text(encoding="utf-8")))] == []
    stray = "from vault_credential_process.profiles import _read as read, __doc__"
    assert list(private(ast.parse(stray))) == ["vault_credential_process.profiles._read"]


def test_layer_check_sees_an_upward_arrow(tmp_path: pathlib.Path) -> None:
    """The check above would fail: it finds imports inside functions, too."""
    path = tmp_path / "module.py"
    path.write_text("def f():\n    from vault_credential_process.cli import main\n")

    assert {"cli"} == imports(path)


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)],
    ids=["lint", "format", "types"],
)
def test_tools_find_nothing(command: tuple[str, ...]) -> None:
    """Linter, formatter and type checker are content."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_the_package_costs_nothing() -> None:
    """``import vault_credential_process`` loads no other module of ours and no dependency."""
    code = (
        "import sys; before = set(sys.modules); import vault_credential_process; "
        "print(sorted(set(sys.modules) - before - {'__future__', 'typing', 'vault_credential_process'}))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, env={})
    loaded = ast.literal_eval(done.stdout)

    assert not [name for name in loaded if name.split(".")[0] in {"hvac", "botocore", "boto3", "requests", "keyring"}]
    assert not [name for name in loaded if name.startswith("vault_credential_process.")]
