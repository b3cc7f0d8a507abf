"""ls --columns and --csv: the columns somebody chose, as a table, CSV or JSON."""

from __future__ import annotations

import csv
import io
import re

import pytest

from qrec.api import Qrec
from qrec.cli.grid import fitted, grid
from qrec.cli.show import HEADINGS, width
from qrec.doors.columns import COLUMNS, SHORT
from qrec.task import SUMMARY
from tests.test_look_back import ESCAPES, HOUR_AGO, add, call, in_terminal, lines, one_line


@pytest.fixture(params=["sqlite", "filesystem"])
def door(request, monkeypatch, home) -> Qrec:
    monkeypatch.setenv("QREC_STORE", request.param)
    return Qrec()


@pytest.fixture
def history(door):
    add(door.store, "make all", tags=("ci", "a b"), usage={"cpu": 12.25, "memory": 310_000_000}, message="it, works")
    add(door.store, "sh -c 'echo \t\udcff'", status="failed", returncode=137, signal=9, data={"jobid": "42"})
    return door


def test_a_table_of_chosen_columns(history):
    done = call("ls", "--columns", "number,status,memory,cpu,tags,command", check=True)
    assert lines(done.out) == [
        "number  status    memory     cpu  tags     command",
        "     1  complete  310 MB  12.2 s  ci, a b  make all",
        "     2  failed                             sh -c 'echo \\t\\udcff'",
    ]


def test_numbers_stand_at_the_right_and_texts_at_the_left(history):
    first, second = lines(call("ls", "--columns", "message,returncode,signal").out)[1:]
    assert (first, second) == ("it, works           0", "                  137       9")


def test_every_column_can_be_shown(history):
    shown = lines(call("ls", "--columns", ",".join(COLUMNS), check=True).out)
    assert shown[0].split() == list(COLUMNS)
    for name in COLUMNS:
        assert len(lines(call("ls", "--columns", name, check=True).out)) == 3
    assert lines(call("ls", "--columns", "data,argv").out)[2] == '{"jobid": "42"}  sh -c \'echo \\t\\udcff\''
    assert re.fullmatch(r"\d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d", lines(call("ls", "--columns", "created").out)[1])


def test_blanks_and_repetitions_in_the_list_of_columns(history):
    assert lines(call("ls", "--columns", " number , code".replace("code", "returncode")).out)[0] == "number  returncode"
    assert lines(call("ls", "--columns", "number,,").out)[0] == "number"


def test_the_headings_of_the_list_are_columns_too(history):
    assert call("ls", "--columns", "when,took,code", check=True).out == (
        call("ls", "--columns", "started,seconds,returncode").out
    )
    assert set(SHORT) < set(HEADINGS)


@pytest.mark.parametrize("words", ["colour", "number,colour,smell", "", ","])
def test_an_unknown_column_is_one_line(history, words):
    said = one_line(call("ls", "--columns", words), 2)
    assert said.endswith("there are: " + ", ".join(COLUMNS))
    assert said.startswith("name columns" if not words.strip(",") else "no column is called '")


def test_json_of_chosen_columns(history):
    assert call("ls", "--json", "--columns", "number,memory,tags").json == [
        {"number": 1, "memory": 310_000_000, "tags": ["ci", "a b"]},
        {"number": 2, "memory": None, "tags": []},
    ]
    assert list(call("ls", "--json").json[0]) == list(SUMMARY)


def test_csv_has_all_columns_of_json_or_those_chosen(history):
    rows = list(csv.DictReader(io.StringIO(call("ls", "--csv", check=True).out)))
    assert [list(row) for row in rows] == [list(SUMMARY)] * 2
    assert (rows[0]["message"], rows[0]["tags"], rows[0]["created"]) == ("it, works", '["ci", "a b"]', HOUR_AGO)
    assert (rows[1]["command"], rows[1]["data"]) == ("sh -c 'echo \t\\udcff'", '{"jobid": "42"}')
    assert call("ls", "--csv", "--columns", "number,cpu").out == "number,cpu\n1,12.25\n2,\n"
    assert call("ls", "--csv", "--failed", "--columns", "number").out == "number\n2\n"
    assert call("ls", "--csv", "--tag", "none", "--columns", "number").out == "number\n"


def test_a_long_list_says_what_it_leaves_out(door):
    for _ in range(52):
        add(door.store)
    done = call("ls", "--columns", "number")
    assert len(lines(done.out)) == 51
    assert done.err == "2 more before these; --all lists them\n"


def test_a_table_in_a_terminal_fits_and_has_colours(history, start):
    add(history.store, "echo " + "x" * 300, message="y" * 100)
    shown, code = in_terminal(start, "ls", "--columns", "command,status,message,number", columns=70)
    assert code == 0
    assert {width(ESCAPES.sub("", line)) for line in shown.splitlines()} == {70}
    assert "\x1b[31mfailed" in shown
    assert [ESCAPES.sub("", line).split()[-1] for line in shown.splitlines()[1:]] == ["1", "2", "3"]


def test_widths_that_fit():
    assert fitted([3, 50, 20], None) == [3, 50, 20]
    assert fitted([3, 50, 20], 40) == [3, 16, 16]
    assert fitted([3, 50, 20], 60) == [3, 33, 20]
    assert fitted([3, 50, 20], 10) == [3, 8, 8], "below that nothing can be read"
    assert fitted([], 10) == []


def test_wide_characters_keep_the_columns_straight():
    assert list(grid(["a", "b"], [["日本", "1"], ["x", "22"]], {1})) == ["a      b", "日本   1", "x     22"]
