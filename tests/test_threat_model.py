"""``docs/threat-model.md``: each promise names tests that exist and run."""

from __future__ import annotations

import ast
import importlib
import inspect
import pathlib
import re
import textwrap
import types
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import ROOT

PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
POLICY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")

PROMISE = re.compile(r"\*\*([A-Z]\d+)\.\*\* ")
NAMED = re.compile(r"`(tests/[\w/]+\.py)((?:::\w+)+)`")
FREE = ("What is at stake", "What is not protected")
"""Sections that promise nothing."""

SELDOM = {"soak", "real_engine"}
"""Markers of tests that do not run everywhere: shown by these alone, a promise would be shown by nobody."""


def sections(page: str) -> dict[str, str]:
    """Return the text of each section by its heading."""
    parts = re.split(r"^## (.*)\n", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def points(text: str) -> list[str]:
    """Return the points of a section's lists, each on one line."""
    found = re.findall(r"^- (.*(?:\n  .*)*)", text, flags=re.MULTILINE)
    return [" ".join(line.split()) for line in found]


PROMISES = [point for name, text in sections(PAGE).items() if name not in FREE for point in points(text)]
TESTS = sorted({match.groups() for point in PROMISES for match in NAMED.finditer(point)})


def found(path: str, names: str) -> tuple[types.ModuleType, list[Any]]:
    """Return the module of a test with the classes that it is in and the function itself.

    :raises LookupError: when pytest would not collect it under that name.
    """
    if not pathlib.PurePath(path).name.startswith("test_") or not (ROOT / path).is_file():
        raise LookupError(path)
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    chain: list[Any] = [module]
    for name in names.split("::")[1:]:
        if not hasattr(chain[-1], name):
            raise LookupError(f"{path}{names}")
        chain.append(getattr(chain[-1], name))
    *classes, function = chain[1:]
    is_test = inspect.isfunction(function) and function.__name__.startswith("test")
    if not is_test or not all(inspect.isclass(c) and c.__name__.startswith("Test") for c in classes):
        raise LookupError(f"{path}{names}")
    return module, chain


def marks(chain: list[Any]) -> Iterator[pytest.Mark]:
    """Yield what marks a test: at its module, its classes and itself."""
    for thing in chain:
        given = getattr(thing, "pytestmark", [])
        for mark in given if isinstance(given, list) else [given]:
            yield getattr(mark, "mark", mark)


def is_dead(chain: list[Any]) -> bool:
    """Tell whether a test is skipped, or expected to fail, whatever the machine."""
    for mark in marks(chain):
        conditions = [mark.kwargs["condition"]] if "condition" in mark.kwargs else list(mark.args[:1])
        if mark.name in ("skip", "xfail") and (mark.name == "skip" or not conditions):
            return True
        # ``skipif(True)`` and its like; a condition that this machine decides is no constant of the source.
        if mark.name == "skipif" and conditions and conditions[0] == "True":
            return True
    body = ast.parse(textwrap.dedent(inspect.getsource(chain[-1]))).body[0]
    assert isinstance(body, ast.FunctionDef)
    says = [node for node in body.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    constant = [
        decorator
        for decorator in body.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("skipif")
        if decorator.args and isinstance(decorator.args[0], ast.Constant) and decorator.args[0].value
    ]
    skips = [node for node in says if ast.unparse(node.value.func) in ("pytest.skip", "pytest.xfail")]  # type: ignore[attr-defined]
    return bool(constant or skips)


def test_every_point_is_a_promise_with_tests() -> None:
    """Each point of these sections has a number of its own and names at least one test."""
    numbers = [match.group(1) for point in PROMISES if (match := PROMISE.match(point))]

    assert len(numbers) == len(PROMISES) > 60
    assert sorted({*numbers}) == sorted(numbers)
    assert [point for point in PROMISES if not NAMED.search(point)] == []
    assert [
        text for point in PROMISES for text in re.findall(r"`(tests/[^`]*)`", point) if not NAMED.match(f"`{text}`")
    ] == []


def test_what_is_not_protected_promises_nothing() -> None:
    """The last section has no number and no test: what nobody promises needs no proof."""
    (text,) = [text for name, text in sections(PAGE).items() if name == FREE[1]]

    assert len(points(text)) > 10
    assert [point for point in points(text) if PROMISE.match(point) or NAMED.search(point)] == []


@pytest.mark.parametrize(("path", "names"), TESTS, ids=lambda text: str(text).rpartition("/")[2].strip(":"))
def test_named_test_exists_and_runs(path: str, names: str) -> None:
    """It is collected under that name, says what it shows, and nothing skips it wherever it runs."""
    _, chain = found(path, names)

    assert chain[-1].__doc__
    assert not is_dead(chain)


@pytest.mark.parametrize("point", PROMISES, ids=lambda point: point[2 : point.index(".")])
def test_promise_is_shown_in_the_ordinary_run(point: str) -> None:
    """At least one of its tests needs neither minutes nor what few machines have."""
    chains = [found(*match.groups())[1] for match in NAMED.finditer(point)]

    assert [chain for chain in chains if SELDOM.isdisjoint(mark.name for mark in marks(chain))]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("tests/test_sources.py", "::test_of_nothing"),
        ("tests/test_sources.py", "::run"),
        ("tests/test_sources.py", "::SECRET"),
        ("tests/test_no_such_file.py", "::test_anything"),
        ("tests/bench.py", "::Bench::asked"),
        ("tests/test_cache.py", "::TestRuntime::test_of_nothing"),
        ("tests/test_cache.py", "::TestRuntime"),
    ],
)
def test_missing_test_is_seen(path: str, names: str) -> None:
    """The control: a test that is not there, and what is none, are found out."""
    with pytest.raises(LookupError):
        found(path, names)


def says_skip() -> None:
    """Skip by a word in the body."""
    pytest.skip("later")


@pytest.mark.skip(reason="later")
def marked() -> None:
    """Skip by a mark."""


@pytest.mark.skipif(True, reason="later")
def always() -> None:
    """Skip by a condition that is none."""


@pytest.mark.xfail
def fails() -> None:
    """Be expected to fail."""


@pytest.mark.skipif(ROOT.name == "elsewhere", reason="for this machine to decide")
def here() -> None:
    """Run where it can."""


def test_skipped_test_is_seen() -> None:
    """The control: what is skipped whatever the machine is told from what runs where it can."""
    here_module = importlib.import_module(__name__)
    whole = types.SimpleNamespace(pytestmark=pytest.mark.skip)

    assert [is_dead([here_module, one]) for one in (says_skip, marked, always, fails, here)] == [True] * 4 + [False]
    assert is_dead([whole, here])
    assert not is_dead([here])


def test_security_policy_invents_no_address() -> None:
    """``SECURITY.md`` leads to this page, and names no e-mail address and no host, which nobody reads."""
    assert "docs/threat-model.md" in POLICY
    assert re.findall(r"[\w.+-]+@[\w-]+\.\w+|https?://", POLICY) == []
    assert all((ROOT / link).is_file() for link in re.findall(r"\]\(([^)#\s]+)", POLICY))
