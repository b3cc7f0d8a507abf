"""Questions in SQL: answered as a table, CSV or JSON, and never able to change anything."""

from __future__ import annotations

import csv
import io
import os
import re
import sqlite3

import pytest

from qrec.api import Qrec
from qrec.doors import schema
from qrec.doors.sql import ask, distinct
from qrec.stores.sqlite import SqliteStore, empty_store
from qrec.task import Kept
from tests.helpers import ROOT
from tests.test_look_back import add, call, in_terminal, lines, one_line


@pytest.fixture
def store(home) -> SqliteStore:
    store = Qrec().store
    assert isinstance(store, SqliteStore)
    return store


@pytest.fixture
def history(store):
    add(store, "make all", tags=("ci", "x"), kept=Kept(stdout=b"one\ntwo\n"))
    add(store, "make 'a b'", status="failed", kept=Kept(stderr=b"\xff\0\x1b[31m"), pwd="/d\udcff")
    return store


def test_a_table(history):
    done = call("sql", "SELECT number, command, returncode AS code, message FROM tasks", check=True)
    assert lines(done.out) == [
        "number  command     code  message",
        "     1  make all       0",
        "     2  make 'a b'     1",
    ]


def test_bytes_in_a_table_harm_no_terminal(history):
    done = call("sql", "SELECT number, stdout, stderr FROM outputs", check=True)
    assert lines(done.out)[1:] == ["     1  one\\ntwo\\n", "     2              \\xff\\x00\\x1b[31m"]
    assert "\\xff" in call("sql", "SELECT pwd FROM tasks").out


def test_a_table_fits_the_terminal(history, start):
    shown, code = in_terminal(
        start, "sql", f"SELECT number, '{'x' * 300}' AS wide, 'end' AS last FROM tasks", columns=60
    )
    assert code == 0
    assert {len(line) for line in lines(shown)[1:]} == {60 - 1}, "the last column needs one less than its heading"
    assert all(line.endswith(("last", "end")) for line in lines(shown))


def test_csv(history):
    done = call("sql", "--csv", "SELECT number, stdout, stderr, NULL AS void, 1.5 AS half FROM outputs", check=True)
    rows = list(csv.reader(io.StringIO(done.out.replace("\0", "\\0"))))
    assert rows == [
        ["number", "stdout", "stderr", "void", "half"],
        ["1", "one\ntwo\n", "", "", "1.5"],
        ["2", "", "\\xff\\0\x1b[31m", "", "1.5"],
    ]


def test_json(history):
    done = call("sql", "--json", "SELECT number, number, stdout, stderr, NULL AS void FROM outputs", check=True)
    assert done.json == [
        {"number": 1, "number_2": 1, "stdout": "one\ntwo\n", "stderr": "", "void": None},
        {"number": 2, "number_2": 2, "stdout": "", "stderr": {"base64": "/wAbWzMxbQ=="}, "void": None},
    ]
    assert call("--json", "sql", "SELECT 1 WHERE 0").json == []
    assert call("sql", "--json", "SELECT 9e999 AS endless, CAST(x'ff' AS TEXT) AS odd").json == [
        {"endless": None, "odd": "\\xff"}
    ]


def test_no_row_is_no_error(history):
    assert call("sql", "SELECT number FROM tasks WHERE 0", check=True).out == "number\n"


def test_a_home_without_a_store(home):
    assert call("sql", "SELECT count(*) AS tasks FROM tasks", check=True).out == "tasks\n    0\n"
    assert not (home / "qrec.db").exists()


ASKING = [
    "SELECT count(*) FROM tasks, json_each(tags)",
    "SELECT json_extract(tags, '$[0]'), max(number) OVER () FROM tasks",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 5) SELECT sum(x) FROM n",
    "SELECT rowid FROM search WHERE search MATCH '\"mak\"'",
    "SELECT * FROM pragma_table_info('tasks')",
    "PRAGMA table_info(tasks)",
    "PRAGMA user_version",
    "EXPLAIN QUERY PLAN SELECT * FROM tasks",
    "VALUES (1), (2)",
    "SELECT * FROM sqlite_master;",
    "SELECT 1 -- a comment",
]

CHANGING = [
    "DELETE FROM tasks",
    "UPDATE tasks SET message = 'x'",
    "INSERT INTO events VALUES (1, 'x', 1, 'x', 'x')",
    "WITH x AS (SELECT 1) DELETE FROM tasks",
    "DROP TABLE tasks",
    "CREATE TABLE x (y)",
    "CREATE TEMP TABLE x (y)",
    "CREATE VIRTUAL TABLE temp.x USING fts5(y)",
    "ALTER TABLE tasks ADD COLUMN x",
    "INSERT INTO search(search) VALUES ('rebuild')",
    "UPDATE sqlite_master SET sql = ''",
    "ATTACH '{outside}' AS x",
    "VACUUM",
    "VACUUM INTO '{outside}'",
    "REINDEX",
    "ANALYZE",
    "BEGIN IMMEDIATE",
    "PRAGMA user_version = 99",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA writable_schema = 1",
    "PRAGMA query_only = 0",
    "SELECT load_extension('x')",
    "SELECT 1; DELETE FROM tasks",
]


@pytest.mark.parametrize("question", ASKING)
def test_what_may_be_asked(history, question):
    Qrec().search(["make"])  # fills the index
    rows = list(ask(history, question).rows)
    assert rows


@pytest.mark.parametrize("question", CHANGING)
def test_what_would_change_something_is_refused(history, tmp_path, question):
    outside = tmp_path / "outside.db"
    before = contents(history.location)
    one_line(call("sql", question.format(outside=outside)))
    assert contents(history.location) == before
    assert not outside.exists()


def contents(path: str) -> list[str]:
    db = sqlite3.connect(path)
    try:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE name <> 'search'")]
        tables = [name for name in names if db.execute(f"PRAGMA table_info({name})").fetchone()]
        questions = ["PRAGMA user_version", "PRAGMA journal_mode", *(f"SELECT * FROM {name}" for name in tables)]
        return [str(row) for question in questions for row in db.execute(question)] + names
    finally:
        db.close()


def test_errors_are_one_line(history):
    assert one_line(call("sql", "DELETE FROM tasks")) == "`qrec sql` only reads: not authorized"
    assert one_line(call("sql", "SELECT 1; SELECT 2")) == "`qrec sql` takes one statement at a time"
    wrong = one_line(call("sql", "SELECT nonsense FROM tasks"))
    assert wrong == "no such column: nonsense; `qrec store schema` tells what there is"
    assert "syntax error" in one_line(call("sql", "SELEC"))
    assert "malformed JSON" in one_line(call("sql", "SELECT json_extract('{', '$')"))
    for nothing in ("", "/* nothing */"):
        assert "that asks nothing" in one_line(call("sql", nothing), 2)


def test_an_error_in_the_middle_of_the_rows(history):
    late = "SELECT json_extract(CASE number WHEN 1 THEN '{}' ELSE '{' END, '$') FROM tasks"
    assert "malformed JSON" in call("sql", "--csv", late).err
    assert call("sql", "--csv", late).returncode == 1


def test_the_filesystem_store_says_what_to_do(home):
    said = one_line(call("--store", "filesystem", "sql", "SELECT 1"))
    assert said.startswith("the filesystem store has no SQL; `qrec store copy filesystem sqlite` makes a copy")
    add(Qrec(store="filesystem").store, "echo x")
    command = re.findall(r"`qrec (store copy .*?)`", said)[0]
    call(*command.split(), check=True)
    assert call("--store", "sqlite", "sql", "SELECT command FROM tasks").out == "command\necho x\n"


def test_a_file_that_is_no_store(home):
    home.mkdir()
    (home / "qrec.db").write_text("something else" * 100)
    assert "is no qrec store" in one_line(call("sql", "SELECT 1"))


def test_a_path_of_any_kind(tmp_path):
    place = tmp_path / "50%25?x=1#y&z"
    store = Qrec(str(tmp_path / "home"), f"sqlite:{place}/a b.db").store
    add(store, "echo x")
    assert isinstance(store, SqliteStore)
    assert list(ask(store, "SELECT command FROM tasks").rows) == [("echo x",)]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("50")] == [place.name]


def test_asking_waits_for_no_writer(history):
    db = sqlite3.connect(history.location, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    db.execute("DELETE FROM tasks")
    assert list(ask(history, "SELECT count(*) FROM tasks").rows) == [(2,)]
    db.close()


def test_names_of_columns_are_made_different():
    assert distinct(["a", "b", "a", "a_2", "a"]) == ("a", "b", "a_2", "a_2_2", "a_3")


# The page


def test_the_page_is_current():
    assert (ROOT / "docs" / "schema.md").read_text() == schema.page(), "`qrec store schema >docs/schema.md` makes it"
    assert call("store", "schema", check=True).out == schema.page()


def test_the_page_tells_of_every_table_and_column():
    shadows = re.compile(r"sqlite_|search_")
    tables = [name for (name,) in empty_store().execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert {name for name in tables if not shadows.match(name)} == set(schema.TABLES)
    untold = [
        (table, name) for table in schema.TABLES for name, _ in schema.columns(table) if not schema.meaning(table, name)
    ]
    assert untold == []


@pytest.mark.parametrize(("title", "sql"), schema.EXAMPLES)
def test_the_examples_on_the_page_work(history, title, sql):
    add(history, "grep error log", kept=Kept(stdout=b"an error"))
    Qrec().search(["error"])
    rows = list(ask(history, sql).rows)
    assert rows, title


def test_the_page_names_the_default_home():
    assert os.path.basename(SqliteStore.default_location("/home")) in schema.HEAD
