"""Search: each word must occur, anywhere, whatever its case, on every store alike."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrec import search as searching
from qrec.api import Qrec
from qrec.cli.show import width
from qrec.output import attempt_folder
from qrec.search import ENDS, SHORT_SCAN, marked, pieces
from qrec.stores.base import Query
from qrec.task import SUMMARY, Kept, Status, Task
from tests.helpers import wait_until
from tests.test_look_back import ESCAPES, add, call, in_terminal, lines, numbers, one_line


@pytest.fixture
def door(kind: str) -> Qrec:
    return Qrec()


def found(door: Qrec, *words: str, **options: Any) -> list[int]:
    """The numbers of the tasks that hold the words."""
    return [hit.task.number for hit in door.search(words, **options)]


# Where words are looked for


def test_words_are_looked_for_everywhere(door):
    add(door.store, "grep needle file")
    add(door.store, message="the needle")
    add(door.store, tags=("hay", "needle"))
    add(door.store, kept=Kept(stdout=b"hay\nneedle\n"))
    add(door.store, kept=Kept(stderr=b"no needle\n"), status="failed")
    add(door.store, "echo hay")
    assert found(door, "needle") == [1, 2, 3, 4, 5]
    assert found(door, "needle", query=Query(statuses=frozenset({Status.FAILED}))) == [5]
    assert found(door, "needle", limit=2) == [4, 5]
    assert found(door, "needle", "hay") == [3, 4]
    assert found(door, "eedl") == [1, 2, 3, 4, 5]


def test_every_word_must_occur_in_whatever_place(door):
    add(door.store, "compile alpha", message="beta", tags=("gamma",), kept=Kept(stdout=b"delta\n", stderr=b"epsilon\n"))
    add(door.store, "compile alpha", message="beta")
    assert found(door, "alpha", "beta", "gamma", "delta", "epsilon") == [1]
    assert found(door, "alpha", "beta") == [1, 2]
    assert found(door, "alpha", "beta", "zeta") == []


def test_an_argument_with_blanks_is_one_phrase(kind, door):
    add(door.store, kept=Kept(stdout=b"cannot allocate memory\n"))
    add(door.store, kept=Kept(stdout=b"allocate what cannot be\n"))
    assert found(door, "cannot allocate") == [1]
    assert found(door, "cannot", "allocate") == [1, 2]
    assert numbers(call("search", "cannot allocate", "--json")) == [1]
    assert numbers(call("search", "cannot", "allocate", "--json")) == [1, 2]


def test_a_phrase_does_not_reach_from_one_place_into_the_next(door):
    add(door.store, "echo end", message="begin", tags=("one", "two"))
    assert found(door, "end\nbegin") == []
    assert found(door, "end begin") == []


def test_no_word_at_all(kind, door):
    add(door.store)
    assert one_line(call("search", ""), 2) == "there is no word to search for; `qrec ls` lists everything"
    assert "'WORDS...'" in one_line(call("search"), 2)


def test_words_that_look_like_options(kind, door):
    add(door.store, "gcc --verbose -O3")
    assert numbers(call("search", "--json", "--", "--verbose", "-O3")) == [1]
    assert one_line(call("search", "--verbose"), 2).startswith("No such option")


@pytest.mark.parametrize(
    "word",
    ['"', "'", '"or"', "a OR b", "NOT x", "NEAR(a b)", "*", "a*b", "%", "_x_", "(", "a:b", "^", "\\", "{text}", "-x y"],
)
def test_no_character_has_a_meaning_of_its_own(door, word):
    add(door.store, kept=Kept(stdout=f"see >{word}< here".encode()))
    add(door.store, kept=Kept(stdout=b"axb aORb NEAR x text or not"))
    assert found(door, f">{word}<") == [1]
    assert 1 in found(door, word)


# Characters


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("STRASSE", "stra\u00dfe"),
        ("Stra\u00dfe", "STRASSE"),
        ("\u1e9e", "SS"),
        ("\u0130STANBUL", "\u0130stanbul"),
        ("\u0130STANBUL", "i\u0307stanbul"),
        ("\u1f48\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3", "\u1f40\u03b4\u03c5\u03c3\u03c3\u03b5\u03c5\u03c2"),
        ("\u039f\u0394\u039f\u03a3", "\u03bf\u03b4\u03bf\u03c2"),
        ("\ufb01ne \ufb03", "FINE FFI"),
        ("caf\u00c9", "CAF\u00e9"),
        ("nai\u0308ve", "NAI\u0308VE"),
        ("\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u05e2\u05d5\u05dc\u05dd"),
        ("\u0645\u0631\u062d\u0628\u0627", "\u0631\u062d\u0628"),
        ("all \U0001f600\U0001f600\U0001f600 done", "\U0001f600\U0001f600\U0001f600"),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),
        ("\u65e5\u672c\u8a9e\u306e\u51fa\u529b", "\u672c\u8a9e\u306e"),
        ("\u0416\u0423\u041a", "\u0436\u0443\u043a"),
        ("\u13a0\u13a1\u13a2", "\uab70\uab71\uab72"),
        ("a\x00b", "A B"),
        ("one\x00two three", "two three"),
        ("\x00\x00\x00tail", "TAIL"),
        ("\x1b[31merror\x1b[0m: bad", "ERROR"),
        ("tab\there", "tab\tHERE"),
        ("\ufffd\ufffe\uffff", "\ufffd\ufffe\uffff"),
        ("\U0010ffff" * 3, "\U0010ffff" * 3),
    ],
)
def test_letters_of_every_kind(door, text, word):
    add(door.store, kept=Kept(stdout=b"nothing of it: \xf0\x9f\x98\x81 strase odo"))
    add(door.store, kept=Kept(stdout=f"before {text} after".encode()))
    assert found(door, word) == [2]
    add(door.store, message=text)
    assert found(door, word) == [2, 3]


@pytest.mark.parametrize(
    ("text", "word"),
    [("caf\u00e9", "cafe"), ("caf\u00e9", "cafe\u0301"), ("Istanbul", "\u0130stanbul"), ("\u0131stanbul", "istanbul")],
)
def test_what_casefold_tells_apart_stays_apart(door, text, word):
    add(door.store, kept=Kept(stdout=text.encode()))
    assert found(door, word) == []


@pytest.mark.parametrize("word", ["x", "xy", "\u00df", "\U0001f600", "e\u0301", " ", "\n"])
def test_words_of_one_and_two_characters(kind, door, word):
    add(door.store, "true")
    add(door.store, kept=Kept(stdout=f"<{word}>".encode()), message="long enough")
    assert found(door, f"<{word}>") == [2]
    assert 2 in found(door, word)
    assert found(door, "enough", word) == [2]
    assert found(door, "enough", word, "zz") == []
    assert call("search", word).err in ("", "qrec: no task holds that\n")


def test_short_words_are_looked_for_in_the_newest_only(kind, door, monkeypatch):
    for number in range(4):
        add(door.store, f"echo ab{number}")
    monkeypatch.setattr(searching, "SHORT_SCAN", 3)
    assert found(door, "ab") == [2, 3, 4]
    assert found(door, "ab", "echo") == [1, 2, 3, 4], "a longer word stands beside it"
    assert call("search", "ab", check=True).err == "qrec: words this short are looked for in the newest 3 tasks only\n"
    assert call("search", "ab0", check=True).err == ""
    assert SHORT_SCAN == 10_000


def test_undecodable_output_is_found_by_what_surrounds_it(door):
    add(door.store, kept=Kept(stdout=b"caf\xe9 noir\xff"))
    assert found(door, "caf") == found(door, "noir") == found(door, "\ufffd noir") == [1]


@pytest.mark.parametrize("where", ["command", "message", "tags"])
def test_undecodable_words_are_found(kind, door, where):
    odd = os.fsdecode(b"caf\xe9 noir")
    fields: dict[str, Any] = {"command": {"argv": ("echo", odd)}, "message": {"message": odd}, "tags": {"tags": (odd,)}}
    add(door.store, **fields[where])
    assert found(door, "noir") == [1]
    assert found(door, odd) == [1]
    assert numbers(call("search", odd, "--json")) == [1]
    assert call("search", "noir").returncode == 0
    door.note("1", "changed")
    assert found(door, "changed") == [1]


# What is searched of whom


def test_a_running_task_is_found_by_what_it_has_printed(kind, door, start):
    start("run", "-q", "-m", "goes on", "sh", "-c", "echo so far; exec sleep 60", stdout=subprocess.DEVNULL)
    wait_until(lambda: found(door, "so far", "goes on"))
    assert found(door, "never printed") == []


def test_a_running_task_is_found_as_its_output_grows(kind, door, start, tmp_path):
    os.mkfifo(tmp_path / "word")
    speaking = start("run", "-q", "sh", "-c", "read word < word; echo $word; exec sleep 60")
    assert speaking.stdout
    wait_until(lambda: found(door, "exec sleep"))
    assert found(door, "unheard-of") == []
    (tmp_path / "word").write_text("unheard-of\n")
    assert speaking.stdout.readline() == b"unheard-of\n"
    assert found(door, "unheard-of") == [1]


def test_a_cleared_task_is_never_found(kind, door):
    add(door.store, "echo needle", kept=Kept(stdout=b"needle\n"))
    add(door.store, "echo needle", message="stays")
    assert found(door, "needle") == [1, 2]
    call("clear", "1", "-y", check=True)
    assert found(door, "needle") == [2]
    add(door.store, "echo other")
    assert found(door, "needle") == [2]
    assert found(door, "other") == [3]
    call("clear", "--all", "-y", check=True)
    assert found(door, "needle") == found(door, "ne") == []


def test_a_task_cleared_before_anybody_searched_is_never_found(kind, door):
    add(door.store, "echo needle")
    call("clear", "1", "-y", check=True)
    assert found(door, "needle") == []


@pytest.mark.parametrize("indexed", [True, False])
def test_a_changed_note_is_found_and_the_old_one_is_not(kind, door, indexed):
    add(door.store, "echo same", message="wolkenbruch", tags=("alt",), kept=Kept(stdout=b"output\n"))
    add(door.store, "echo same", message="wolkenbruch")
    if indexed:
        assert found(door, "wolkenbruch") == [1, 2]
    door.note("1", "sonnenschein")
    door.tag("1", add=["newtag"], remove=["alt"])
    assert found(door, "wolkenbruch") == [2]
    assert found(door, "sonnenschein", "newtag", "output") == [1]
    door.note("1", "wolkenbruch")
    assert found(door, "wolkenbruch") == [1, 2]
    assert found(door, "sonnenschein") == []


def test_after_a_rerun_the_new_output_is_found_and_the_old_is_not(kind, door, qrec, tmp_path):
    (tmp_path / "word").write_text("firsthand\n")
    qrec("run", "-q", "cat", "word", check=True)
    assert found(door, "firsthand") == [1]
    (tmp_path / "word").write_text("secondhand\n")
    qrec("rerun", "-q", check=True)
    assert found(door, "secondhand") == [1]
    assert found(door, "firsthand") == []


def big_task(door: Qrec, head: bytes, middle: bytes, tail: bytes) -> Task:
    """A task whose output is in a file: more than its two ends, which are searched."""
    task = add(door.store, "cat big", kept=None)
    folder = Path(attempt_folder(door.home, task.uid, 1))
    folder.mkdir(parents=True)
    filler = b"filler line\n" * (ENDS // 12)
    (folder / "stdout").write_bytes(head + filler + middle + filler + tail)
    return task


def test_of_much_output_both_ends_are_searched(kind, door):
    big_task(door, b"headword\n", b"middleword\n", b"tailword\n")
    add(door.store, "echo small")
    assert found(door, "headword", "tailword") == [1]
    assert found(door, "middleword") == []
    (row,) = call("search", "headword", "--json").json
    assert row["matches"] == [{"where": "stdout", "line": 1, "text": "headword"}]
    (row,) = call("search", "tailword", "--json").json
    assert row["matches"] == [{"where": "stdout", "line": 0, "text": "tailword"}]
    assert "stdout:end: tailword" in call("search", "tailword").out
    door.note("1", "annotated")
    assert found(door, "annotated", "headword") == [1]
    call("clear", "1", "-y", check=True)
    assert found(door, "headword") == []


def test_a_phrase_does_not_join_the_two_ends(kind, door):
    """What was left out lies between them."""
    task = add(door.store, "cat big", kept=None)
    folder = Path(attempt_folder(door.home, task.uid, 1))
    folder.mkdir(parents=True)
    (folder / "stdout").write_bytes(b"x" * (ENDS - 4) + b"left" + b"y" * ENDS + b"right" + b"z" * (ENDS - 5))
    assert found(door, "left") == found(door, "right") == [1]
    assert found(door, "leftright") == []


def test_deep_search_reads_the_middle_too(kind, door):
    big_task(door, b"headword\n", b"middleword\n", b"tailword\n")
    assert numbers(call("search", "middleword", "--json", "--deep")) == [1]


def test_much_output_recorded_by_a_real_run(kind, door, qrec):
    script = "echo headword; yes filler line | head -c 3000000; echo; echo tailword"
    qrec("run", "-q", "--", script, check=True)
    assert found(door, "headword") == [1], "in the command, too"
    (row,) = call("search", "tailword", "--json").json
    assert [match["where"] for match in row["matches"]] == ["command", "stdout"]


# What is told


def test_search_as_json(kind, door):
    add(
        door.store, "echo Needle", message="my NEEDLE", tags=("needle", "x"), status="failed",
        kept=Kept(stdout=b"no\nneedle one\r\n\nneedle two \xff\nneedle three\nneedle four\n", stderr=b"last needle"),
    )  # fmt: skip
    (row,) = call("search", "needle", "--json").json
    assert tuple(row) == (*SUMMARY, "matches")
    assert {name: value for name, value in row.items() if name != "matches"} == call("ls", "--json").json[0]
    assert row["matches"] == [
        {"where": "command", "line": 1, "text": "echo Needle"},
        {"where": "message", "line": 1, "text": "my NEEDLE"},
        {"where": "tags", "line": 1, "text": "needle"},
        {"where": "stdout", "line": 2, "text": "needle one\r"},
        {"where": "stdout", "line": 4, "text": "needle two \ufffd"},
        {"where": "stdout", "line": 5, "text": "needle three"},
        {"where": "stderr", "line": 1, "text": "last needle"},
    ]


def test_every_word_shows_where_it_was_found(kind, door):
    """A frequent word must not hide the line of a rare one."""
    add(door.store, kept=Kept(stdout=b"often\n" * 10 + b"rare\n"))
    (row,) = call("search", "often", "rare", "--json").json
    assert {"where": "stdout", "line": 11, "text": "rare"} in row["matches"]


def test_a_phrase_over_two_lines_shows_a_line_of_it(kind, door):
    add(door.store, "true", kept=Kept(stdout=b"x\nfirst half\nsecond half\n"))
    (row,) = call("search", "half\nsecond", "--json").json
    assert row["matches"] == [{"where": "stdout", "line": 2, "text": "first half"}]


def test_hits_for_people(kind, door):
    add(door.store, argv=("echo", "a\nb"), kept=Kept(stdout=b"the Needle\n"))
    add(door.store, "find needle", status="failed", returncode=137)
    first, line, second = call("search", "needle").out.splitlines()
    assert first.split()[0] == "1"
    assert first.endswith("  complete 0  echo 'a\\nb'")
    assert line == "    stdout:1: the Needle"
    assert second.split()[0] == "2"
    assert second.endswith("  failed 137  find needle"), "and that is the line that matches"
    assert call("search", "needle").err == ""
    assert "\x1b" not in call("search", "needle").out


def test_a_match_in_the_command_is_marked(home, start):
    add(Qrec().store, "echo needle and more")
    add(Qrec().store, "echo " + "filler " * 60 + "needle and more")
    shown, _ = in_terminal(start, "search", "needle")
    assert shown.count("\x1b[1;33mneedle\x1b[0m and more") == 2
    assert max(map(width, lines(shown))) <= 80


def test_nothing_found(kind, door):
    add(door.store)
    for words, said in ((["needle"], "no task holds that"), (["needle", "true"], "no task holds all of these")):
        result = call("search", *words)
        assert (result.returncode, result.out, result.err) == (0, "", f"qrec: {said}\n")
        result = call("search", *words, "--json")
        assert (result.json, result.err) == ([], "")


def test_fifty_hits_unless_more_are_asked_for(kind, door):
    for number in range(53):
        add(door.store, f"echo needle {number}")
    assert numbers(call("search", "needle", "--json")) == list(range(4, 54))
    assert numbers(call("search", "needle", "--json", "--all")) == list(range(1, 54))
    assert numbers(call("search", "needle", "--json", "-n", "2")) == [52, 53]
    assert "--all" in call("search", "needle").err, "somebody must tell that there are more"
    assert call("search", "needle", "-n", "3").err == call("search", "needle", "--all").err == ""


def test_matches_are_marked_in_a_terminal(kind, door, start):
    add(door.store, "true", kept=Kept(stdout="a Needle and a NEEDLE, Stra\u00dfe".encode()))
    shown, code = in_terminal(start, "search", "needle", "strasse")
    assert code == 0
    mark = "\x1b[1;33m{}\x1b[0m".format
    assert f"a {mark('Needle')} and a {mark('NEEDLE')}, {mark('Stra' + chr(0xDF) + 'e')}" in shown
    assert "\x1b[32mcomplete 0\x1b[0m" in shown
    assert "stdout:1: a Needle and a NEEDLE, Stra\u00dfe" in ESCAPES.sub("", shown)


@pytest.mark.parametrize("changes", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_marks_are_left_out_where_colours_are_not_wanted(home, start, changes):
    add(Qrec().store, "echo needle")
    shown, _ = in_terminal(start, "search", "needle", env=changes)
    assert "echo needle" in shown
    assert "\x1b" not in shown


HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m needle \x1b[0m\r\b\b\x08\x9b31m\x7f\u202etfel\u2066\u200b\u2028",
    "needle " + "\x1b[31m" * 60,
    "\x00\x01\x02" * 40 + "needle" + "\x03" * 60,
)


def test_nothing_in_a_matching_line_acts_on_the_terminal(home, start):
    store = Qrec().store
    for text in HOSTILE:
        add(store, text, message=text, tags=(text,), kept=Kept(stdout=text.encode(), stderr=text.encode()))
    shown, code = in_terminal(start, "search", "needle")
    assert code == 0
    assert not [c for c in ESCAPES.sub("", shown) if not c.isprintable() and c != "\n"]
    assert all(escape in ("\x1b[0m", "\x1b[2m", "\x1b[32m", "\x1b[1;33m") for escape in ESCAPES.findall(shown))
    assert "\\x1b]0;owned\\x07" in shown
    in_pipe = call("search", "needle").out
    assert not [c for c in in_pipe if not c.isprintable() and c != "\n"]


LONG = {
    "at its beginning": "needle " + "filler " * 60,
    "at its end": "filler " * 60 + "needle",
    "in the middle": "filler " * 30 + "needle " + "filler " * 30,
    "between wide letters": "\u65e5\u672c\u8a9e" * 60 + "needle" + "\u65e5\u672c\u8a9e" * 60,
    "after control characters": "\x1b[31m" * 30 + "needle" + "\x1b[0m" * 30,
    "between combining marks": "u\u0308" * 60 + "needle" + "u\u0308" * 60,
    "many times": "needle " * 60,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_long_lines_are_cut_around_their_match(home, start, text):
    add(Qrec().store, "true", kept=Kept(stdout=text.encode()))
    shown, _ = in_terminal(start, "search", "needle")
    _, line = lines(shown)
    assert "needle" in line
    assert "\x1b[1;33mneedle\x1b[0m" in shown
    assert width(line) <= 80


def test_a_very_long_line_is_cut_in_a_pipe_too(home):
    add(Qrec().store, "true", kept=Kept(stdout=b"x" * 30_000 + b"needle" + b"y" * 30_000))
    _, line = call("search", "needle").out.splitlines()
    assert "needle" in line
    assert len(line) < 300


def test_a_long_command_fits_although_no_line_of_it_matches(home, start):
    add(Qrec().store, "echo " + "long " * 60, kept=Kept(stdout=b"a\nb\nc"))
    shown, _ = in_terminal(start, "search", "a\nb")
    assert max(map(width, lines(shown))) <= 80


# Pure functions


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=3))
def test_marks_cover_the_words_and_nothing_else(line, words):
    folded = [searching.fold(word) for word in words]
    spans = marked(line, folded)
    assert all(0 <= start < end <= len(line) for start, end in spans)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))
    assert bool(spans) == any(word in searching.fold(line) for word in folded if word)
    for start, end in spans:
        stretch = searching.fold(line[start:end])
        assert any(word in stretch for word in folded)


@given(st.text(max_size=300))
def test_the_pieces_of_a_word_are_in_it(word):
    every = pieces(word)
    assert all(len(piece) == 3 and piece in word for piece in every)
    assert bool(every) == (len(word) >= 3)
    assert len(every) <= 32


# Both stores against a plain comparison

#: Few letters, so that words meet; among them those that change their length when folded.
LETTERS = "ab\u00df\u0130i\u0307\u03a3\u03c3\u03c2e\u00e9\u00c9\u0301\u05d0\U0001f600 \"'*%-_\n\0\x1bS"
TEXTS = st.text(LETTERS, max_size=14)
SAID = st.one_of(TEXTS.map(str.encode), st.binary(max_size=8), TEXTS.map(lambda text: text.encode() + b"\xe9\xff"))
STEPS = st.one_of(
    st.tuples(st.just("add"), TEXTS, TEXTS, st.lists(TEXTS, max_size=2), SAID, SAID),
    st.tuples(st.just("note"), st.integers(1, 6), TEXTS),
    st.tuples(st.just("tag"), st.integers(1, 6), TEXTS),
    st.tuples(st.just("clear"), st.integers(1, 6)),
    st.tuples(st.just("again"), st.integers(1, 6), SAID),
    st.tuples(st.just("search"), st.lists(st.text(LETTERS, min_size=1, max_size=6), min_size=1, max_size=3)),
)


class History:
    """What a store should know, as plainly as can be."""

    def __init__(self, door: Qrec) -> None:
        self.door = door
        self.texts: dict[int, dict[str, Any]] = {}

    def add(self, word: str, note: str, tags: list[str], out: bytes, err: bytes) -> None:
        argv = ("echo", word)
        task = add(self.door.store, argv=argv, message=note, tags=tuple(tags), kept=Kept(stdout=out, stderr=err))
        self.texts[task.number] = {"command": task.command, "note": note, "tags": tags, "out": out, "err": err}

    def note(self, number: int, note: str) -> None:
        if number in self.texts:
            self.door.note(str(number), note)
            self.texts[number]["note"] = note

    def tag(self, number: int, tag: str) -> None:
        if number in self.texts and tag:
            kept = self.door.tag(str(number), add=[tag]).tags
            self.texts[number]["tags"] = list(kept)

    def clear(self, number: int) -> None:
        if self.texts.pop(number, None):
            assert self.door.clear(self.door.cleared(str(number))) == []

    def again(self, number: int, out: bytes) -> None:
        if number in self.texts:
            store, task = self.door.store, self.door.get(str(number))
            task = store.archive(task.uid, (task.status, task.attempt), Status.RUNNING)
            store.swap(task.uid, (task.status, task.attempt), Status.COMPLETE, kept=Kept(stdout=out))
            self.texts[number] |= {"out": out, "err": b""}

    def search(self, words: list[str]) -> None:
        assert found(self.door, *words, limit=None) == [
            number for number, texts in self.texts.items() if all(self.holds(texts, word) for word in words)
        ], words

    @staticmethod
    def holds(texts: dict[str, Any], word: str) -> bool:
        streams = [texts[name].decode("utf-8", "replace") for name in ("out", "err")]
        places = [texts["command"], texts["note"], "\n".join(texts["tags"]), *streams]
        return any(word.casefold().replace("\0", " ") in place.casefold().replace("\0", " ") for place in places)


@contextlib.contextmanager
def a_door(kind: str) -> Iterator[Qrec]:
    with tempfile.TemporaryDirectory() as folder:
        door = Qrec(folder, kind)
        yield door
        door.store.close()


@pytest.mark.parametrize("kind", ["sqlite", "filesystem"])
def test_both_stores_find_what_a_plain_comparison_finds(kind):
    @given(st.lists(STEPS, min_size=3, max_size=14))
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def check(steps):
        with a_door(kind) as door:
            history = History(door)
            words = [step[1] for step in steps if step[0] == "search"]
            for name, *values in steps:
                getattr(history, name)(*values)
            for word in words:
                history.search(word)

    check()


def test_results_stay_right_while_others_write(kind, door):
    """Whatever had ended before a search began is found, and nothing is found that does not hold the word."""
    ended: list[str] = []
    over = threading.Event()

    def write() -> None:
        writer = Qrec()
        for number in range(40):
            word = "wanted" if number % 2 else "other"
            task = add(writer.store, f"echo {word} {number}", kept=Kept(stdout=f"{word} here\n".encode()))
            if number % 2:
                ended.append(task.uid)
        over.set()

    thread = threading.Thread(target=write)
    thread.start()
    looks = 0
    while not over.is_set() or not looks:
        before = set(ended)
        hits = door.search(["wanted", "here"], limit=None)
        looks += 1
        assert before <= {hit.task.uid for hit in hits}
        assert all("wanted" in hit.task.command for hit in hits)
    thread.join()
    assert {hit.task.uid for hit in door.search(["wanted", "here"], limit=None)} == set(ended)


def test_what_has_to_be_compared_can_be_watched(kind, door):
    """Behind it is the progress that a long search shows."""
    tasks = [add(door.store, "echo wanted"), add(door.store, "echo other"), add(door.store, "echo wanted too")]
    seen: list[str] = []

    def watch(compared: Iterator[Task]) -> Iterator[Task]:
        for task in compared:
            seen.append(task.uid)
            yield task

    found = door.search(["wanted"], watch=watch)
    assert {hit.task.uid for hit in found} == {tasks[0].uid, tasks[2].uid} <= set(seen)
