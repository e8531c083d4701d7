"""The documentation site: it builds without a warning, leads nowhere that is not, and asks no other host for anything.

And its pages read well without it, as plain Markdown.
"""

from __future__ import annotations

import html.parser
import itertools
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from vault_credential_process.cli.parser import COMMANDS

from . import peers
from .conftest import ROOT
from .pages import PAGES, blocks_of

DOCS = ROOT / "docs"
SVGS = sorted(DOCS.rglob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
BEYOND = """
[...document.querySelectorAll(".highlight pre")].map((block) => block.scrollWidth - block.clientWidth)
"""
"""For each block of code, how many pixels of it are out of sight."""
CLAIMS = {"meta", "a"}
"""Elements whose addresses load nothing."""
ELSEWHERE = re.compile(r"(?:@import|url\()\s*['\"]?((?:\w+:)?//[^'\")]*)")
"""An address of another host in a style."""


def build(source: pathlib.Path, target: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Build a site as the documentation says."""
    words = ["-W", "-b", "html", "--keep-going", "-q", "-d", str(target / "doctrees")]
    return subprocess.run(
        [sys.executable, "-B", "-m", "sphinx", *words, str(source), str(target / "html")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Link(NamedTuple):
    """One address in a page: the element, its attribute, the address."""

    tag: str
    attribute: str
    address: str


class Read(html.parser.HTMLParser):
    """What a built page refers to, and what in it can be referred to."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[Link] = []
        self.names: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note addresses and anchors."""
        for name, value in attrs:
            if name in ("href", "src", "data", "poster", "action", "srcset"):
                self.links.append(Link(tag, name, value or ""))
            elif name in ("id", "name"):
                self.names.add(value or "")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The directory of the built site."""
    target = tmp_path_factory.mktemp("site")
    done = build(DOCS, target)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return target / "html"


@pytest.fixture(scope="module")
def pages(built: pathlib.Path) -> dict[pathlib.Path, Read]:
    """All pages of the site."""
    return {path: Read(path) for path in built.rglob("*.html")}


def local(pages: dict[pathlib.Path, Read]) -> Iterator[tuple[Read, Link]]:
    """Yield each address that leads to the site itself, with its page."""
    for page in pages.values():
        for link in page.links:
            if not re.match(r"\w+:|//", link.address):
                yield page, link


class TestSite:
    """The built site."""

    def test_has_each_page(self, built: pathlib.Path) -> None:
        """Whatever stands in the repository's documentation is in the site."""
        expected = {path.relative_to(DOCS).with_suffix(".html") for path in PAGES if path.is_relative_to(DOCS)}

        assert expected - {path.relative_to(built) for path in built.rglob("*.html")} == set()

    def test_each_page_is_in_the_side_bar(self, built: pathlib.Path, pages: dict[pathlib.Path, Read]) -> None:
        """From the start page one reaches all of them."""
        start = {(built / link.address.partition("#")[0]).resolve() for link in pages[built / "index.html"].links}
        described = {(built / path.relative_to(DOCS)).with_suffix(".html") for path in PAGES if path.parent != ROOT}

        assert described - start - {built / "index.html"} == set()

    @pytest.mark.parametrize("name", [name for name in COMMANDS if (DOCS / f"{name}.md").is_file()])
    def test_command_is_in_the_side_bar_by_its_name(self, built: pathlib.Path, name: str) -> None:
        """Whoever looks for a command finds its name among the pages."""
        start = (built / "index.html").read_text(encoding="utf-8")
        entry = re.search(rf'<a class="reference internal" href="{name}\.html">(.*?)</a>', start, re.DOTALL)

        assert entry is not None
        assert name in re.sub(r"<[^>]*>", "", entry[1])

    @pytest.mark.parametrize("name", ["changelog", "security", "contributing"])
    def test_files_beside_have_pages(self, built: pathlib.Path, pages: dict[pathlib.Path, Read], name: str) -> None:
        """What stands at the root of the project is a page of the side bar, and nowhere a text to download."""
        start = {link.address for link in pages[built / "index.html"].links}
        downloads = {link.address for _, link in local(pages) if "_downloads" in link.address}

        assert f"project/{name}.html" in start
        assert "<h1>" in (built / "project" / f"{name}.html").read_text(encoding="utf-8")
        assert [address for address in downloads if address.endswith(".md")] == []

    @peers.needs("chromium")
    def test_no_code_is_out_of_sight(self, built: pathlib.Path) -> None:
        """In a browser, at a desk or on a phone, no block of code or output is wider than its place."""
        beyond = {}
        with peers.Browser() as browser:
            for width, name in itertools.product((1280, 390), ("index", "doctor", "serve", "exec", "tutorial")):
                browser.call(
                    "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
                )
                browser.visit((built / f"{name}.html").as_uri())
                beyond[width, name] = browser.run(BEYOND)
            browser.run(
                'document.head.append(Object.assign(document.createElement("style"), {textContent: WIDE}))'.replace(
                    "WIDE", '".highlight pre { white-space: pre !important }"'
                )
            )
            control = browser.run(BEYOND)

        assert {place: found for place, found in beyond.items() if not found or any(found)} == {}
        assert any(control)

    def test_links_lead_somewhere(self, pages: dict[pathlib.Path, Read]) -> None:
        """Each address within the site is a file that is there, and each anchor is in the page that it names."""
        lost = []
        for page, link in local(pages):
            path, _, anchor = urllib.parse.unquote(link.address).partition("#")
            path = path.partition("?")[0]
            target = (page.path.parent / path).resolve() if path else page.path
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].names):
                # furo's own "back to top" leads to the beginning of any page.
                lost += [(page.path.name, link.address)] if link.address != "#" else []

        assert lost == []

    def test_asks_no_other_host(self, built: pathlib.Path, pages: dict[pathlib.Path, Read]) -> None:
        """No script, style, font or picture comes from elsewhere: whoever reads the site is told to nobody."""
        loaded = [
            (page.path.name, link)
            for page in pages.values()
            for link in page.links
            if link.tag not in CLAIMS and re.match(r"\w+:|//", link.address) and not link.address.startswith("data:")
        ]
        styles = [
            (path.name, found)
            for path in built.rglob("*.css")
            for found in ELSEWHERE.findall(path.read_text(encoding="utf-8"))
        ]

        assert (loaded, styles) == ([], [])

    def test_other_host_is_seen(self, tmp_path: pathlib.Path) -> None:
        """The check above would fail for a script of a content network."""
        page = tmp_path / "page.html"
        page.write_text('<script src="https://cdn.example.com/x.js"></script><a href="https://example.com">x</a>')

        assert [link.tag for link in Read(page).links if link.tag not in CLAIMS] == ["script"]

    def test_build_fails_for_a_lost_link(self, tmp_path: pathlib.Path) -> None:
        """A link to a page, or to an anchor, that is not there is a warning, and so an error."""
        source = tmp_path / "docs"
        source.mkdir()
        shutil.copytree(DOCS / "_static", source / "_static")
        shutil.copy(DOCS / "conf.py", source)
        (source / "index.md").write_text("# Start\n\n[a](nosuch.md) and [b](#nosuch)\n")

        done = build(source, tmp_path / "out")

        assert done.returncode != 0
        assert [word for word in ("nosuch.md", "#nosuch") if word.strip("#.md") not in done.stderr] == []


def slugs(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    found: list[str] = []
    outside = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#{1,6} (.+)$", outside, re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


class TestMarkdown:
    """The pages as a host of repositories shows them."""

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_anchors_are_there(self, page: pathlib.Path) -> None:
        """Each link to a heading leads to one, by the rule that GitHub makes anchors by."""
        lost = []
        for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path = (page.parent / target) if target else page
            if path.suffix == ".md" and anchor not in slugs(path.read_text(encoding="utf-8")):
                lost.append(f"{target}#{anchor}")

        assert lost == []

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_has_nothing_that_only_the_site_understands(self, page: pathlib.Path) -> None:
        """No directive, role or front matter of Sphinx stands in a page; one title is at its top."""
        text = page.read_text(encoding="utf-8")
        outside = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)

        assert [language for language, _ in blocks_of(text) if language.startswith("{")] == []
        assert "```{" not in text
        assert re.findall(r"\{[a-z:]+\}\0", re.sub(r"`[^`\n]+`", "\0", outside)) == []
        assert outside.startswith("# ")
        assert len(re.findall(r"^# ", outside, re.MULTILINE)) == 1

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_pictures_are_described(self, page: pathlib.Path) -> None:
        """Each picture is a file of ours, with words for whoever does not see it."""
        pictures = re.findall(r"!\[([^]]*)\]\(([^)]+)\)", page.read_text(encoding="utf-8"))

        assert [path for words, path in pictures if len(words) < 20 or not (page.parent / path).is_file()] == []


@pytest.mark.parametrize("path", SVGS, ids=lambda path: path.name)
class TestDrawings:
    """The drawings."""

    def test_is_text_and_lines(self, path: pathlib.Path) -> None:
        """A drawing has a title, words that are text, and nothing from elsewhere: no picture, script or font."""
        tree = ElementTree.parse(path)  # noqa: S314 - a file of the project
        tags = {element.tag.removeprefix(SVG) for element in tree.iter()}

        assert tree.find(f"{SVG}title") is not None
        assert tags & {"image", "script", "foreignObject", "use"} == set()
        assert re.findall(r"url\(|@import|href", path.read_text(encoding="utf-8")) == []

    def test_is_legible_in_the_dark(self, path: pathlib.Path) -> None:
        """A drawing with words has a ground of its own and colours for both; marks and word marks serve one."""
        text = path.read_text(encoding="utf-8")
        is_mark = path.parent.name == "_static"

        assert is_mark or ("prefers-color-scheme: dark" in text and 'class="panel"' in text)

    def test_is_shown(self, path: pathlib.Path) -> None:
        """No drawing lies there for nobody."""
        told = "".join(page.read_text(encoding="utf-8") for page in PAGES)

        assert path.name in told + (DOCS / "conf.py").read_text(encoding="utf-8")
