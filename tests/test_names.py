"""How a person names a task: case 10 of what must work."""

from __future__ import annotations

import pytest

from qrec import Qrec, Status, Task
from qrec.task import Kept, timestamp

FIRST = "shell-aaaa1111-0000-4000-8000-000000000001"
SECOND = "shell-aaaa2222-0000-4000-8000-000000000002"
THIRD = "shell-bbbb3333-0000-4000-8000-000000000003"

#: Every verb that takes a task, and what makes it print something of that task.
VERBS = {
    "get": ["get", "TASK"],
    "log": ["log", "TASK"],
    "rerun": ["-q", "rerun", "TASK"],
    "note": ["note", "TASK", "a note", "--json"],
    "tag": ["tag", "TASK", "a-tag", "--json"],
    "exec": ["exec", "output", "TASK"],
    "exec, turned round": ["exec", "TASK", "output"],
    "cancel": ["cancel", "TASK"],
    "clear": ["clear", "TASK", "-y", "--json"],
}


@pytest.fixture(params=["sqlite", "filesystem"])
def store(request, monkeypatch) -> str:
    monkeypatch.setenv("QREC_STORE", request.param)
    return str(request.param)


def remember(uid: str, word: str, folder: str) -> None:
    """A task that has printed a word and ended."""
    store = Qrec().store
    store.add(Task(uid=uid, executor="shell", argv=("echo", word), turn=1, pwd=folder, created=timestamp()))
    kept = Kept(stdout=word.encode() + b"\n")
    store.swap(uid, (Status.RUNNING, 1), Status.COMPLETE, kept=kept, returncode=0, ended=timestamp())


@pytest.fixture
def three(home, store, tmp_path) -> None:
    for uid, word in ((FIRST, "one"), (SECOND, "two"), (THIRD, "three")):
        remember(uid, word, str(tmp_path))


def words(verb: str, name: str) -> list[str]:
    return [name if word == "TASK" else word for word in VERBS[verb]]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("name", [SECOND, "shell-aaaa2", "aaaa2", "aaaa2222-0", "2"])
def test_10_a_task_has_many_names(qrec, name):
    assert qrec("log", name).out == "two\n"


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("verb", VERBS)
def test_10_a_prefix_that_fits_one_task(qrec, verb):
    result = qrec(*words(verb, "aaaa2"))
    left = [FIRST, SECOND, THIRD]
    if verb == "cancel":
        assert (result.returncode, result.stdout, result.err.count("\n")) == (1, b"", 1)
        assert f"{SECOND} is complete" in result.err
    else:
        assert result.returncode == 0, result
        assert "two" in result.out or SECOND in result.out
    if verb == "clear":
        left.remove(SECOND)
    assert [task["uid"] for task in qrec("ls", "--json").json] == left


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("verb", VERBS)
def test_10_a_prefix_that_fits_two_lists_both(qrec, verb):
    before = qrec("ls", "--json").json
    result = qrec(*words(verb, "aaaa"))
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.err.count("\n") == 1
    assert FIRST in result.err
    assert SECOND in result.err
    assert THIRD not in result.err
    assert qrec("ls", "--json").json == before


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("verb", VERBS)
def test_10_a_wrong_id_is_one_line(qrec, verb):
    before = qrec("ls", "--json").json
    for name in ("zzz", "", "bbb", "shell-bbb"):  # a few letters are no task
        result = qrec(*words(verb, name))
        assert (result.returncode, result.stdout) == (1, b""), name
        assert result.err.count("\n") == 1, name
    assert qrec("ls", "--json").json == before


WRONG = [
    "99",
    "shell-aaaa1111-0000-4000-8000-00000000000f",
    " ",
    "0",
    "-1",
    "\u00e9",
    "\udcff",
    "%",
    "_",
    "*",
    "1\n",
    "9" * 30,
]


@pytest.mark.usefixtures("three")
def test_10_every_kind_of_wrong_id(qrec):
    for name in WRONG:
        result = qrec("get", "--", name)
        assert (result.returncode, result.stdout) == (1, b""), name
        assert result.err.count("\n") == 1, name


@pytest.mark.usefixtures("three")
def test_10_without_a_name_it_is_the_task_started_last(qrec):
    assert qrec("log").out == "three\n"
    qrec("-q", "rerun", "1", check=True)
    assert qrec("log").out == "one\n"
    assert qrec("get").json["uid"] == FIRST
    # a note is no start
    qrec("note", "2", "looked at again", check=True)
    assert qrec("exec", "output").out == "one\n"


@pytest.mark.usefixtures("three")
def test_10_digits_that_are_no_number_are_a_prefix_if_they_are_many(qrec, tmp_path):
    uid = "shell-12345678-0000-4000-8000-000000000004"
    remember(uid, "four", str(tmp_path))
    assert qrec("log", "12345678").out == "four\n"
    assert qrec("log", "1234").out == "four\n"
    assert qrec("log", "123").returncode == 1
    assert qrec("log", "1").out == "one\n"


@pytest.mark.usefixtures("three")
def test_10_the_name_of_an_executor_wins_over_a_prefix(qrec):
    assert len(qrec("ls", "shell", "--json").json) == 3
    listed = qrec("exec", "shell", check=True).out
    assert [line.split()[0] for line in listed.splitlines()] == ["status", "output", "error", "cancel"]
    assert len(qrec("clear", "shell", "-y", "--json").json["removed"]) == 3


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("call", [["run", "--foo", "ls"], ["--foo", "run", "ls"], ["run", "-x"], ["run"], ["nonsense"]])
def test_10_an_unknown_option_is_an_error_and_runs_nothing(qrec, tmp_path, call):
    (tmp_path / "to-be-listed").touch()
    result = qrec(*call)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.err.count("\n") == 1
    assert qrec("ls", "--json").json == []


@pytest.mark.usefixtures("store")
def test_10_an_empty_store_is_no_error_for_ls(qrec, home):
    for call in (["ls"], ["ls", "--all"], ["ls", "shell"], ["ls", "--failed"]):
        result = qrec(*call)
        assert (result.returncode, result.stdout) == (0, b"")
        assert result.err.count("\n") == 1
    assert qrec("ls", "--json").json == []
    assert qrec("search", "anything", "--json").json == []
    for call in (["get"], ["log"], ["rerun"], ["get", "1"], ["cancel"], ["exec", "status"]):
        result = qrec(*call)
        assert (result.returncode, result.stdout) == (1, b"")
        assert result.err.count("\n") == 1
    # looking makes no store
    assert not [path for path in home.rglob("*") if path.name in ("qrec.db", "tasks")]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("call", [["ls", "nonsense"], ["-e", "nonsense"], ["run", "-e", "nonsense", "true"]])
def test_10_no_such_executor(qrec, call):
    result = qrec(*call)
    assert result.returncode == (2 if call[0] == "-e" else 1)
    assert result.err.count("\n") == 1
    assert len(qrec("ls", "--json").json) == 3


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("verb", ["get", "log"])
def test_10_no_such_attempt(qrec, verb):
    result = qrec(verb, "1", "--attempt", "2")
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.err.count("\n") == 1
    assert "it has: 1" in result.err
