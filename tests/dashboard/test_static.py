"""What the browser is given: vendored as it says, and nothing that the content security policy would stop."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.helpers import ROOT

STATIC = ROOT / "qrec" / "static"
VENDOR = STATIC / "vendor"
TEMPLATES = ROOT / "qrec" / "templates"
ROW = re.compile(r"^\| (\S+) \| (\S+) \| ([\d.]+) \| (\S+) \(\[text\]\((\S+)\)\) \| ([0-9a-f]{64}) \|$", re.MULTILINE)
ROWS = ROW.findall((VENDOR / "README.md").read_text())
LICENCES = {"MIT", "Apache-2.0", "ISC", "BSD-2-Clause", "BSD-3-Clause"}
NAMESPACES = {"http://www.w3.org/2000/svg"}
OURS = sorted(
    path for path in STATIC.rglob("*") if path.suffix in {".js", ".css", ".svg"} and VENDOR not in path.parents
)


def test_every_vendored_file_is_told_of():
    told = {name for row in ROWS for name in (row[0], row[4])}
    assert told == {path.name for path in VENDOR.iterdir()} - {"README.md"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_vendored_file_is_what_was_taken_over(row):
    name, _, _, licence, text, digest = row
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest
    assert licence in LICENCES
    assert "ermission" in (VENDOR / text).read_text() or "Apache License" in (VENDOR / text).read_text()


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(STATIC)))
def test_our_files_name_no_other_host(path: Path):
    assert not set(re.findall(r"(?:https?:|wss?:)?//[\w-]+(?:\.[\w-]+)+[^\s\"'`)]*", path.read_text())) - NAMESPACES


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(STATIC)))
def test_our_scripts_make_no_html_from_text(path: Path):
    found = re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path.read_text()
    )
    assert not found


class Shell(HTMLParser):
    """Notes what a strict policy forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.bad += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.bad.append(tag)
        for name in ("src", "href", "action"):
            if (given.get(name) or "").startswith(("http", "//", "javascript:")):
                self.bad.append(f"{tag} {name}={given[name]}")


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_templates_hold_no_inline_script_or_style_and_no_other_host(path: Path):
    shell = Shell()
    shell.feed(path.read_text())
    assert not shell.bad


def test_what_the_templates_and_scripts_name_is_there():
    named = {
        name
        for path in [*OURS, *TEMPLATES.glob("*.html")]
        for name in re.findall(r"/static/([\w./-]+\.\w+)", path.read_text())
    }
    assert not [name for name in named if not (STATIC / name).is_file()]
