"""Settings of Sphinx. Each page is a Markdown file that reads well as it is; what only the site needs stands here.

``python -m sphinx -W --keep-going -b html docs <directory>`` builds it (extra ``docs``).
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import pathlib
import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "vault-credential-process"
author = "the authors of vault-credential-process"
project_copyright = f"{author}; Apache-2.0"
release = importlib.metadata.version(project)
extensions = ["myst_parser"]
myst_heading_anchors = 4
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]  # Pygments knows Terraform's HCL, not all of Vault's
html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/mark.svg"
html_theme_options = {"light_logo": "wordmark-light.svg", "dark_logo": "wordmark-dark.svg", "sidebar_hide_name": True}
html_copy_source = False
html_show_sourcelink = False

SECTIONS = {
    "Start": ("tutorial", "install", "how-to/vault", "configure", "comparison"),
    "How-to": (
        *("how-to/laptop", "how-to/ci", "how-to/ec2", "how-to/kubernetes", "how-to/container"),
        *("how-to/terraform", "how-to/other-sdks", "how-to/*", "aws-cli", "python", "autoload", "auth/README"),
    ),
    "Commands for people": ("login", "exec", "serve", "env", "console", "status", "doctor", "completion"),
    "When something is wrong": ("troubleshooting", "doctor", "errors"),
    "Reference": ("commands", "settings", "wire", "cache", "platforms"),
    "Explanation": ("explanation/call", "explanation/expiry", "explanation/*", "threat-model", "glossary"),
    "Evidence": ("benchmarks", "faults", "canary", "hostile-input", "soak", "dependencies"),
    "The project": ("project/changelog", "project/security", "project/contributing"),
}
"""The parts of the site, each with its pages in order; a pattern stands for the rest of a directory."""
BELOW = {"auth/README": ("auth/*",), "python": ("frameworks/*",), "how-to/other-sdks": ("sdks/*",)}
"""Pages that have others below them."""
REST = "Reference"
"""The part of the pages that are named nowhere."""

ROOT = ("CHANGELOG", "SECURITY", "CONTRIBUTING")
"""Markdown files beside this directory that are pages of the site, too."""

_BESIDE = r"\[([^][]+)\]\({}(README|CHANGELOG|SECURITY|CONTRIBUTING)\.md(?:#[^)]*)?\)"
"""A link to such a file, or to the one whose place the index takes."""


def contents(found: Collection[str]) -> dict[str, str]:
    """Return the tables of contents below the index and the pages of ``BELOW``, as MyST writes them."""
    above = [name for name in BELOW if name in found]
    left = set(found) - {"index", *above}
    lists: dict[str, list[str]] = {}
    for place, entries in (*((name, BELOW[name]) for name in above), *SECTIONS.items()):
        lists[place] = []
        for entry in entries:
            some = [entry] if entry in above else sorted(fnmatch.filter(left, entry))
            lists[place] += some
            left -= set(some)
    lists[REST] += sorted(left)
    made = {name: table("", lists[name]) for name in above}
    return {**made, "index": "".join(table(f":caption: {title}", lists[title]) for title in SECTIONS)}


def table(option: str, pages: Iterable[str]) -> str:
    """Return one table of contents, which shows in the side bar only."""
    return "\n".join(["", "```{toctree}", ":hidden:", option, "", *(f"/{page}" for page in pages), "```", ""])


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Do what plain Markdown has no word for: tables of contents, and links out of this directory or into it."""
    text = source[0]
    if name.startswith("project/"):
        text = text.replace("](docs/", "](/")
    beside = _BESIDE.format("" if name.startswith("project/") else r"(?:\.\./)+")
    source[0] = re.sub(beside, _to_page, text) + contents(app.env.found_docs).get(name, "")


def _to_page(link: re.Match[str]) -> str:
    """Return a link to one of ``ROOT`` as MyST writes it."""
    page = "index" if link[2] == "README" else f"project/{link[2].lower()}"
    return f"{{doc}}`{link[1]} </{page}>`"


def add_root(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Make pages of the files beside this directory, and return their names: Sphinx looks for none out of it."""
    for name in ROOT:
        path = pathlib.Path("..", f"{name}.md")
        if (env.srcdir / path).is_file():
            env.project.docnames.add(f"project/{name.lower()}")
            # There is no public way to say that a page lies elsewhere.
            env.project._docname_to_path[f"project/{name.lower()}"] = path
    return sorted(page for page in env.found_docs if page.startswith("project/"))


def parents(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Return the pages that have tables of contents, which are read again when there are other pages."""
    return sorted({"index", *BELOW} & env.found_docs) if added or removed else []


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what this file adds."""
    app.connect("env-get-outdated", add_root)
    app.connect("env-get-outdated", parents)
    app.connect("source-read", add_contents)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
