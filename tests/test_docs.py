"""The pages: everything they tell a reader to type is typed, and what they show of the code is what the code says."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest

from qrec.cli.verbs import qrec as program
from tests.helpers import ROOT
from tests.pages.blocks import blocks_of
from tests.pages.playing import PAGES, name_of, play, takes_slurm

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import pictures
from from_code import examples

#: How many blocks are not tried, because they take another machine.
UNTRIED = 6

DOCS = ROOT / "docs"

#: Pages that are written elsewhere.
BARE = ("changelog.md", "contributing.md", "schema.md")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", [page for page in PAGES if not takes_slurm(page)], ids=name_of)
def test_a_page_does_what_it_tells(page, tmp_path, user_home, monkeypatch):
    play(page, tmp_path, user_home, monkeypatch)


def test_blocks_that_are_not_tried_are_few_and_say_why():
    untried = [(name_of(page), block) for page in PAGES for block in blocks_of(page) if "norun" in block.words]
    assert [(page, block.line) for page, block in untried if not block.reason] == []
    assert len(untried) <= UNTRIED, [(page, block.line) for page, block in untried]


#: Pages that have somebody do more than their reader sees, and say so.
UNSEEN = ("README.md", "docs/shell.md")
#: What may be waited for unseen: a reader is slow enough.
WAITING = re.compile(r"until .*; do sleep [0-9.]+; done")


@pytest.mark.parametrize("page", [page for page in PAGES if name_of(page) not in UNSEEN], ids=name_of)
def test_a_page_can_be_followed(page):
    """All that is done is shown: whoever types what stands there gets what stands there."""
    unseen = [block for block in blocks_of(page) if block.language == "hidden"]
    assert [line for block in unseen for line in block.text.splitlines() if not WAITING.fullmatch(line)] == []
    written = [block.file for block in blocks_of(page) if block.file and block.language not in ("", "toctree")]
    told = set(re.findall(r"`(?:\./)?([^`\s]+)`", page.read_text()))
    assert {name.removeprefix("./") for name in written} <= told, "no reader sees what stands behind a block's language"


@pytest.mark.parametrize("page", [page for page in sorted(DOCS.rglob("*.md")) if page.name not in BARE], ids=name_of)
def test_a_page_begins_with_a_command(page):
    """What a tired reader tries first works; files that it needs may stand before it."""
    first = next(block for block in blocks_of(page) if block.is_shown and not block.file)
    assert first.language in ("console", "bash")
    assert not first.reason


# As Sphinx builds them


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    words = "-m sphinx -W --keep-going -n -q -b html".split()
    done = subprocess.run(
        [sys.executable, *words, "-d", folder / "doctrees", DOCS, folder / "html"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder / "html"


class Links(HTMLParser):
    """What a built page links to, what it loads by itself, and the names of its places."""

    LOADS = frozenset({("link", "href"), *((tag, "src") for tag in "script img iframe source audio video".split())})

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.linked: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if (tag, name) in self.LOADS:
                self.loaded.append(value or "")
            elif (tag, name) == ("a", "href"):
                self.linked.append(value or "")
            elif name == "id":
                self.places.add(value or "")


@pytest.fixture(scope="module")
def links(built: Path) -> dict[Path, Links]:
    return {page: Links(page) for page in built.rglob("*.html")}


def test_links_between_pages_lead_somewhere(links):
    broken = [
        (page.name, link) for page, found in links.items() for link in found.linked if not leads(page, link, links)
    ]
    assert broken == []


def leads(page: Path, link: str, links: dict[Path, Links]) -> bool:
    """Whether a link leads to a place that is there, or away."""
    parts = urlsplit(link)
    if parts.scheme:
        return parts.scheme in ("https", "mailto")
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target not in links:
        return target.is_file()
    return not parts.fragment or parts.fragment in links[target].places or page.name in ("genindex.html", "search.html")


def test_pages_ask_nothing_of_other_hosts(built, links):
    assert [(page.name, link) for page, found in links.items() for link in found.loaded if urlsplit(link).netloc] == []
    for file in [*built.rglob("*.css"), *built.rglob("*.html")]:
        assert re.findall(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^)"']*""", file.read_text()) == [], file
    for file in built.rglob("*.js"):
        assert re.findall(r"""(?:fetch|import|open)\(\s*["'`](?:https?:)?//""", file.read_text()) == [], file


def test_every_verb_and_option_is_told(built):
    """Its examples too, which tests/test_help.py runs."""
    text = (built / "verbs.html").read_text()
    told = set(re.findall(r'<span class="pre">([^<]*)</span>', text))
    lines = {line.removeprefix("$ ") for line in html.unescape(re.sub("<[^>]*>", "", text)).splitlines()}
    for path, command in every_verb():
        assert f">{path}<a" in text
        assert set(examples(command)) <= lines, path
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.hidden or set(parameter.opts) & told, path


def every_verb(group: click.Group = program, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """All verbs and their own verbs."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield f"{before}{name}", command
        if isinstance(command, click.Group):
            yield from every_verb(command, f"{before}{name} ")


# Read where the sources lie


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_files_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = page.parent / parts.path if parts.path else page
        assert target.exists(), link
        if parts.fragment and target.suffix == ".md":
            assert parts.fragment in headings(target), link


def headings(page: Path) -> set[str]:
    """The names that a forge gives to a page's headings."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", pictures.DRAWN)
def test_pictures_show_the_code(name):
    assert (DOCS / "images" / name).read_text() == pictures.DRAWN[name](), "`make pictures` draws it"


def test_the_picture_of_the_states_is_told_in_words():
    assert f"![{pictures.described()}](images/states.svg)" in (DOCS / "architecture.md").read_text()
