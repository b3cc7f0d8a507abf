"""The player of pages: it finds what is wrong with a page, or the tests of the pages would tell nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrec.errors import QrecError
from tests.pages.alike import is_alike
from tests.pages.blocks import blocks_of, steps_of
from tests.pages.playing import play


@pytest.fixture
def write(tmp_path: Path):
    """Writes a page."""

    def write(*lines: str) -> Path:
        path = tmp_path / "page.md"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write


@pytest.fixture
def played(write, tmp_path, user_home, monkeypatch):
    """Plays a page of these lines."""
    return lambda *lines: play(write(*lines), tmp_path, user_home, monkeypatch)


@pytest.mark.parametrize(
    ("page", "printed"),
    [
        ("done in 3.5 s", "done in 120 ms"),
        ("done in 1m 2s", "done in 12 s"),
        ("[shell-1d72260a-a2ce-4ad9-9491-22cef95100d7][returncode: 0] 7 ms",
         "[shell-fe72260a-b2ce-5ad9-8491-12cef95100d7][returncode: 0] 1.2 s, 5.5 MB"),
        ("shell-1d72260a  00:56:59", "shell-ab72260a     12:00:01"),
        ("http://127.0.0.1:5000/?token=abc", "http://127.0.0.1:41234/?token=x-_z"),
        ("one\n...\nfour", "one\ntwo\nthree\nfour"),
        ("one\n...\nfour", "one\nfour"),
        ("sum ... of it", "sum 12 of it"),
        ("...", ""),
        ("", "\n"),
    ],
)  # fmt: skip
def test_what_differs_from_run_to_run_is_the_same(page, printed):
    assert is_alike(page, f"{printed}\n")


@pytest.mark.parametrize(
    ("page", "printed"),
    [
        ("2 complete", "3 complete"),
        ("exit code 1", "exit code 2"),
        ("one\ntwo", "one"),
        ("one", "one\ntwo"),
        ("", "a word"),
        ("task 1", "task 2"),
        ("[returncode: 0] 7 ms", "[returncode: 1] 7 ms"),
        ("one\n...\nfour", "one\ntwo"),
    ],
)
def test_what_is_different_is_found(page, printed):
    assert not is_alike(page, f"{printed}\n")


def test_a_page_that_is_right(played):
    played(
        "# Title", "```console", "$ cd /; x=5", "$ echo $x; pwd", "5", "/", "```",
        "```python a/b.py", "print('hi')", "```", "<!-- run", "cd ~/work", "-->",
        "```python", "print(6 * 7)", "```", "```text output", "42", "```",
        "```console", "$ cat <<END", "> one", "> END", "one", "$ sleep 60", "^C", "```",
        "```console norun it is a lie", "$ echo a", "b", "```",
    )  # fmt: skip


@pytest.mark.parametrize(
    "lines",
    [
        ["```console", "$ echo a", "b", "```"],
        ["```console", "$ false", "```"],
        ["```bash", "exit 3", "```"],
        ["```bash", "(exit 3)", "```"],
        ["```python", "1 / 0", "```"],
        ["```python", "print(1)", "```", "```text output", "2", "```"],
        ["```toml", "quiet = 'perhaps'", "```"],
        ["```toml", "quiet =", "```"],
        ["```json", "{", "```"],
        ["```cobol", "STOP RUN.", "```"],
        ["<!-- run", "false", "-->"],
        ["```console", "b", "```"],
    ],
)
def test_a_page_that_is_wrong(played, lines):
    with pytest.raises((AssertionError, ValueError, QrecError)) as raised:
        played("", "", *lines)
    assert raised.value.args


def test_a_failure_tells_the_line(played):
    with pytest.raises(AssertionError, match=r"page.md:3:\n(.|\n)*-b\n\+a"):
        played("", "```console", "$ echo a", "b", "```")


def test_blocks_know_their_lines(write):
    page = write(
        "text", "```console slurm", "$ one", "1", "$ two", "```", "- in a list", "  ```bash", "  true", "  ```"
    )
    first, second = blocks_of(page)
    assert (first.line, first.words) == (3, ("slurm",))
    assert [step.line for step in steps_of(first)] == [3, 5]
    assert (second.line, second.text) == (9, "true\n")


def test_a_power_cut_ends_all_that_ran(played):
    played(
        "```console", "$ qrec run --detach sleep 300", "shell-1d72260a-a2ce-4ad9-9491-22cef95100d7", "```",
        "<!-- power cut -->",
        "```console", "$ qrec ls --columns status,command", "status  command", "lost    sleep 300", "```",
    )  # fmt: skip
