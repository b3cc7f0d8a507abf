"""What the doctor finds in homes that are really broken, and what it mends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from qrec import Qrec, doctor
from qrec.doctor import CHECKS, MENDED, NOTE, OK, PROBLEM, Doctor, Finding
from qrec.errors import StoreBroken
from qrec.jobs import Jobs, Submission
from qrec.output import attempt_folder
from qrec.presence import Presence, workers
from qrec.spool import WORDS, private_words
from qrec.stores.base import REMOVED
from qrec.task import Kept, Status, Task, new_uid, timestamp
from qrec.worker import Worker
from tests.helpers import wait_until
from tests.test_trouble import READ_ONLY, SMALL_DISK, disk, fill  # noqa: F401

YEARS_AGO = 1_000_000_000
SECRET = "s3cr3t-token-of-a-service"


ONLY_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
ONLY_FILES = pytest.mark.parametrize("kind", ["filesystem"], indirect=True)


@pytest.fixture(autouse=True)
def each_store(kind: str) -> str:
    return kind


@pytest.fixture
def some(qrec) -> Qrec:
    """A home with a small task and one whose output is in files."""
    qrec("-q", "run", "echo", "small", check=True)
    qrec("-q", "run", "seq", "20000", check=True)
    return Qrec()


def examine(door: Qrec, **options: Any) -> dict[str, list[Finding]]:
    """All that is found, by check."""
    found: dict[str, list[Finding]] = {}
    for finding in Doctor(door.home, **options).examine():
        found.setdefault(finding.check, []).append(finding)
    return found


def states(door: Qrec, check: str, **options: Any) -> list[str]:
    """How a check ends; all others must find nothing but what is worth a note."""
    found = examine(door, **options)
    others = [f for name, some in found.items() for f in some if name != check and f.state not in (OK, NOTE)]
    assert others == []
    return [finding.state for finding in found[check]]


def mended(door: Qrec, check: str, **options: Any) -> bool:
    """Whether it is a problem to who only looks, is mended by who may, and is well then."""
    return [states(door, check, **more, **options) for more in ({"dry": True}, {}, {})] == [[PROBLEM], [MENDED], [OK]]


def folder_of(door: Qrec, number: int) -> Path:
    return Path(attempt_folder(door.home, door.store.numbered(number).uid, 1))


def nothing_waits(door: Qrec) -> None:
    """Waits until no record is on its way to the store."""
    wait_until(lambda: os.listdir(f"{door.home}/incoming") == [], what="the store to have all records")


def make_old(path: Path) -> None:
    for one in (path, *path.rglob("*")):
        os.utime(one, (YEARS_AGO, YEARS_AGO))


# As a verb


def test_a_line_for_each_check(qrec, some):
    result = qrec("doctor")
    assert (result.returncode, result.err) == (0, "")
    lines = [line.split()[:2] for line in result.out.splitlines()]
    assert {state for state, _ in lines} <= {OK, NOTE}
    assert {name for _, name in lines} == {name.split()[0] for name in CHECKS}
    told = qrec("doctor", "--json").json
    assert told["ok"] is True
    assert {finding["check"] for finding in told["findings"]} == set(CHECKS)
    assert set(told["findings"][0]) == {"check", "state", "text", "hint"}


def test_before_anything_was_recorded(qrec, home):
    for words in (["doctor"], ["doctor", "--dry-run"]):
        result = qrec(*words)
        assert (result.returncode, result.out.count("\n"), result.err) == (0, 1, "")
        assert not home.exists()
    home.mkdir(0o700)
    assert qrec("doctor").returncode == 0


def test_a_problem_that_stays_ends_with_1(qrec, home, some):
    (home / "incoming" / "x.json").write_text("{")
    result = qrec("doctor")
    assert result.returncode == 1
    assert f"problem  incoming     {home}/incoming/x.json is no record" in result.out
    assert result.err == ""
    done = qrec("doctor", "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (1, False)


def test_a_check_that_breaks_does_not_hide_the_others(some, monkeypatch):
    def broken(doctor: Doctor) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setitem(CHECKS, "disk", broken)
    found = examine(some)
    assert [(f.state, f.text) for f in found["disk"]] == [(PROBLEM, "could not be checked: ZeroDivisionError: by zero")]
    assert list(found) == list(CHECKS)


# The home


def test_rights(some, home):
    os.chmod(home, 0o755)
    os.chmod(next(home.glob("attempts/*/*/stdout")), 0o644)
    os.chmod(home / "cache", 0o750)
    assert mended(some, "rights")
    assert {path.stat().st_mode & 0o777 for path in (home, *home.rglob("*")) if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in home.rglob("*") if path.is_file()} == {0o600}


def test_rights_that_are_missing(some, home):
    folder = folder_of(some, 2)
    os.chmod(folder, 0)
    os.chmod(folder.parent, 0)
    found = examine(some)["rights"]
    assert [finding.state for finding in found] == [MENDED]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert states(some, "rights") == [OK]


@pytest.mark.parametrize("name", ["hooks", "typed"])
def test_what_hooks_and_shells_leave_in_the_home_is_ours(some, home, name):
    (home / name).mkdir(0o755)
    assert mended(some, "rights")
    assert (home / name).stat().st_mode & 0o777 == 0o700
    assert states(some, "rights") == [OK]


def test_what_is_not_ours_is_left_alone(some, home):
    """A home may be any folder, the user's own included."""
    (home / "photos").mkdir(0o755)
    (home / "photos" / "cat.jpg").write_bytes(b"")
    os.chmod(home / "photos" / "cat.jpg", 0o644)
    os.chmod(home, 0o755)
    outside = home.with_name("outside")
    outside.write_bytes(b"")
    os.chmod(outside, 0o644)
    (home / "cache" / "link").symlink_to(outside)
    os.chmod(home / "attempts", 0o755)
    assert states(some, "rights") == [MENDED, NOTE]
    modes = [path.stat().st_mode & 0o777 for path in (home, home / "photos", home / "photos" / "cat.jpg", outside)]
    assert modes == [0o755, 0o755, 0o644, 0o644]
    assert (home / "attempts").stat().st_mode & 0o777 == 0o700


def test_a_file_stands_where_the_home_should_be(qrec, home):
    home.write_text("a file")
    result = qrec("doctor")
    assert (result.returncode, result.out.count("\n")) == (1, 1)
    assert "is no folder" in result.out


def test_a_full_disk(qrec, some, home, disk):  # noqa: F811
    small = disk(SMALL_DISK, home, home.rename(home.with_name("before")))
    fill(small, home)
    result = small.qrec("doctor")
    assert result.returncode == 1
    assert "problem  disk         the disk of the home is full" in result.out
    assert "Error" not in result.out


def test_a_read_only_disk(some, home, disk):  # noqa: F811
    result = disk(READ_ONLY, home).qrec("doctor")
    assert result.returncode == 1
    assert f"problem  home         {home} cannot be written to" in result.out
    assert "could not be checked" not in result.out


def test_a_network_file_system(some, monkeypatch, each_store):
    monkeypatch.setattr(doctor, "LOCAL", frozenset())
    found = examine(some)
    assert [finding.state for finding in found["file system"]] == [NOTE]
    assert [finding.state for finding in found["sqlite"]] == [PROBLEM if each_store == "sqlite" else OK]
    if each_store == "sqlite":
        some.store.close()
        with contextlib.closing(sqlite3.connect(some.store.location)) as db:
            db.execute("PRAGMA journal_mode = DELETE")
        assert [finding.state for finding in examine(some)["sqlite"]] == [OK]


def test_an_old_sqlite(some, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 0))
    assert states(some, "sqlite") == [PROBLEM]


# Settings and plug-ins


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("grace = [", "TOML"),
        ('grace = "soon"\n', "soon"),
        ('stroe = "sqlite"\n', "stroe"),
        ('keep_size = "x"', "x"),
        ("[hook.a]\nrun = 'x'", "[hooks]"),
        ("[shell]\ntpyed = 1", "shell.typed"),
    ],
)
def test_a_config_file_with_a_slip(some, home, content, word):
    (home / "config.toml").write_text(content)
    os.chmod(home / "config.toml", 0o600)
    (finding,) = examine(some)["config"]
    assert finding.state == PROBLEM
    assert word in finding.text


def test_a_broken_plugin(some, home, tmp_path, monkeypatch):
    info = tmp_path / "site" / "broken-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[qrec.executors]\nwonder = there.is.none:Wonder\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{os.environ.get('PYTHONPATH', '')}")
    (finding,) = examine(some)["plug-ins"]
    assert finding.state == PROBLEM
    assert "wonder" in finding.text


def test_tools_that_are_missing(some, monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = examine(some)["tools"]
    assert [finding.state for finding in found] == [NOTE, NOTE, NOTE, OK]
    assert "git" in found[-1].text


# The store


def test_a_store_that_does_not_open(qrec, some, each_store):
    some.store.close()
    place = Path(some.store.location)
    (place if each_store == "sqlite" else place / "schema").write_bytes(b"garbage" * 1000)
    for path in place.parent.glob("qrec.db-*"):
        path.unlink()
    found = examine(some)
    assert [finding.state for finding in found["store"]] == [PROBLEM]
    assert str(place) in found["store"][0].text
    assert "orphans" not in found  # who cannot ask the store knows of none
    assert qrec("doctor", "--remove-orphans").returncode == 1
    assert folder_of_any(some).is_dir()


def folder_of_any(door: Qrec) -> Path:
    return next(Path(door.home).glob("attempts/*/*"))


def test_a_store_of_a_later_qrec(some, each_store):
    some.store.close()
    if each_store == "sqlite":
        with contextlib.closing(sqlite3.connect(some.store.location)) as db:
            db.execute("PRAGMA user_version = 999")
    else:
        Path(some.store.location, "schema").write_text("999\n")
    (finding,) = examine(some)["store"]
    assert finding.state == PROBLEM
    assert "later qrec" in finding.text


def database(door: Qrec) -> contextlib.closing[sqlite3.Connection]:
    door.store.close()
    return contextlib.closing(sqlite3.connect(door.store.location, isolation_level=None))


def filled(door: Qrec) -> Qrec:
    """With enough tasks for a few pages."""
    for number in range(300):
        uid = new_uid("shell")
        task = door.store.add(Task(uid=uid, executor="shell", argv=("echo", f"number-{number}"), created=timestamp()))
        kept = Kept(stdout=b"word %d\n" % number * 100)
        door.store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=kept)
    getattr(door.store, "catch_up", int)()
    return door


@ONLY_SQLITE
def test_pages_that_are_torn(some):
    with database(filled(some)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'outputs'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with open(some.store.location, "r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xaa" * size)
    found = examine(some)["integrity"]
    assert [finding.state for finding in found][:1] == [PROBLEM]
    assert "export" in found[0].hint


@ONLY_SQLITE
def test_a_file_that_was_cut_off(some):
    with database(filled(some)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    os.truncate(some.store.location, os.path.getsize(some.store.location) // 2)
    found = [finding for findings in examine(some).values() for finding in findings if finding.state == PROBLEM]
    assert {"integrity", "store"} & {finding.check for finding in found}
    assert not [finding for finding in found if "Error" in finding.text]


@ONLY_SQLITE
def test_an_index_of_a_table_that_lacks_a_row(some):
    with database(some) as db:
        (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'tasks_turn'").fetchone()
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = sql || ' WHERE turn < 0' WHERE name = 'tasks_turn'")
    with database(some) as db:
        db.execute("REINDEX")
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'tasks_turn'", (sql,))
    assert mended(some, "integrity")


@ONLY_SQLITE
def test_rows_without_a_task(some):
    with database(some) as db:
        db.execute("DELETE FROM tasks WHERE number = 1")
        db.execute("INSERT INTO extras VALUES (99, 1, 'patch', x'00')")
    assert states(some, "integrity", dry=True) == [PROBLEM, PROBLEM]
    assert MENDED in states(some, "integrity")
    assert states(some, "integrity") == [OK]
    with database(some) as db:
        for table in ("outputs", "extras"):
            assert db.execute(f"SELECT count(*) FROM {table} WHERE number IN (1, 99)").fetchone() == (0,)


@ONLY_SQLITE
def test_a_row_that_cannot_be_read(some):
    with database(some) as db:
        db.execute("UPDATE tasks SET data = '{' WHERE number = 1")
    found = examine(some)["integrity"]
    assert [(finding.state, finding.text) for finding in found] == [(PROBLEM, "task 1 cannot be read")]


@ONLY_SQLITE
@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE search_data SET block = x'00112233445566778899' WHERE id > 10",
        "DELETE FROM search_data WHERE id > 10",
        "INSERT INTO search(search) VALUES ('delete-all')",
    ],
)
def test_a_search_index_that_is_broken(qrec, some, spoil):
    with database(filled(some)) as db:
        db.execute(spoil)
    assert mended(some, "integrity")
    assert len(qrec("search", "word 123", "--json").json) == 1
    assert len(qrec("search", "number-299", "--json").json) == 1


@ONLY_FILES
def test_files_of_tasks_that_are_spoilt(some):
    (path,) = Path(some.store.location).glob("0/1.*.json")
    whole = path.read_text()
    for content in ("{", "", whole.replace('"kept": {"1": {', '"kept": {"1": {"stderr": {"base64": 7}, "x": {')):
        path.write_text(content)
        found = examine(some)["integrity"]
        assert [finding.state for finding in found] == [PROBLEM], content
        assert str(path) in found[0].text


@ONLY_FILES
def test_marks_of_unfinished_tasks(qrec, some, start):
    unfinished = Path(some.store.location, "unfinished")
    process = start("run", "sleep", "600")
    (task,) = wait_until(lambda: qrec("ls", "--status", "running", "--json").json)
    nothing_waits(some)
    for path in unfinished.iterdir():
        path.unlink()
    assert qrec("ls", "--status", "running", "--json").json == []
    assert mended_marks(some)
    assert len(qrec("ls", "--status", "running", "--json").json) == 1
    (unfinished / f"1.{some.store.numbered(1).uid}").touch(0o600)
    (unfinished / "77.shell-none").touch(0o600)
    assert mended_marks(some)
    assert [path.name for path in unfinished.iterdir()] == [f"3.{task['uid']}"]
    assert process.poll() is None


def mended_marks(door: Qrec) -> bool:
    return [states(door, "integrity", dry=dry) for dry in (True, False, False)] == [[PROBLEM], [MENDED], [OK]]


@ONLY_FILES
def test_what_a_crash_has_left_in_the_folder_of_tasks(some):
    left = Path(some.store.location, "0", ".new")
    left.touch(0o600)
    assert states(some, "integrity") == [OK]  # its writer may be at work
    os.utime(left, (YEARS_AGO, YEARS_AGO))
    assert mended(some, "integrity")
    assert not left.exists()


def test_a_queue_that_cannot_be_read(qrec, some, each_store):
    some.store.set_policy("q", {"workers": 2})
    assert states(some, "integrity") == [OK]
    if each_store == "sqlite":
        some.store.connection().execute("UPDATE queues SET policy = '{'")
    else:
        Path(some.store.location, "queues").write_text("{")
    assert states(some, "integrity") == states(some, "integrity") == [PROBLEM]
    result = qrec("doctor")
    assert (result.returncode, result.err) == (1, "")
    assert "queue" in next(line for line in result.out.splitlines() if line.startswith(PROBLEM))
    with pytest.raises(StoreBroken):
        some.store.policies()
    assert [task.number for task in some.store.find()] == [1, 2]


# Tasks


def test_a_home_with_queues_is_well(qrec, some, home):
    queue = Jobs(some, "a q/..")
    first = queue.submit(Submission(command="true", name="a", env={"API_TOKEN": SECRET}))
    queue.submit(Submission(command="false", depends=("a",)))
    queue.submit(Submission(command="false"))
    worker = Worker(some, queue.name, chosen={"workers": 2})
    with Presence(worker):
        assert workers(some.home) != []
        (home / "workers" / "a%20q.log").touch(0o600)
        assert {finding.state for found in examine(some).values() for finding in found} <= {OK, NOTE}
        assert "other things" not in qrec("doctor").out
    worker.run()
    assert some.store.get(first.uid).status is Status.COMPLETE
    assert {finding.state for found in examine(some).values() for finding in found} <= {OK, NOTE}
    os.chmod(home / "workers", 0o755)
    assert mended(some, "rights")
    assert (home / "workers").stat().st_mode & 0o777 == 0o700


def test_records_that_wait(qrec, home, some, each_store):
    uid, late = new_uid("shell"), new_uid("shell")
    task = Task(uid=uid, executor="shell", argv=("late",), status=Status.COMPLETE, returncode=0, created=timestamp())
    for one, place in ((task, some.store.place), (task.copy(uid=late), "sqlite:/somewhere/else.db")):
        path = home / "incoming" / f"{one.uid}.1.json"
        path.write_text(json.dumps({**one.plain(), "store": place}))
        os.chmod(path, 0o600)
    assert states(some, "incoming", dry=True) == [PROBLEM, NOTE]
    assert [task.number for task in some.store.find()] == [1, 2]
    assert states(some, "incoming") == [MENDED, NOTE]
    assert some.store.get(uid).number == 3
    assert states(some, "incoming") == [NOTE]
    assert [path.name for path in (home / "incoming").iterdir()] == [f"{late}.1.json"]


def test_a_task_whose_recorder_was_killed(qrec, some, start):
    process = start("run", "sleep", "600")
    (task,) = wait_until(lambda: [t for t in some.store.find() if t.status is Status.RUNNING and t.pid])
    nothing_waits(some)
    assert states(some, "running") == [OK]
    process.kill()
    process.wait()
    assert states(some, "running") == [OK]  # the command goes on
    os.kill(task.pid, 9)
    wait_until(lambda: states(some, "running", dry=True) == [PROBLEM])
    assert some.store.get(task.uid).status is Status.RUNNING
    assert states(some, "running") == [MENDED]
    assert some.store.get(task.uid).status is Status.LOST
    assert states(some, "running") == [OK]


def test_several_machines_and_a_wrong_clock(some):
    ahead = timestamp(time.time() + 86_400)
    some.store.add(
        Task(
            uid=new_uid("shell"), executor="shell", argv=("x",), host="elsewhere", status=Status.COMPLETE, created=ahead
        )
    )
    found = examine(some)
    assert [finding.state for name in ("hosts", "clock") for finding in found[name]] == [NOTE, NOTE]
    assert "elsewhere" in found["hosts"][0].text


# Files


def orphan(door: Qrec, uid: str = "", attempt: int = 1) -> Path:
    folder = Path(attempt_folder(door.home, uid or new_uid("shell"), attempt))
    folder.parent.mkdir(0o700, exist_ok=True)
    folder.mkdir(0o700)
    (folder / "stdout").write_bytes(b"x" * 5000)
    os.chmod(folder / "stdout", 0o600)
    make_old(folder)
    return folder


def test_output_of_no_task(qrec, some):
    kept = folder_of(some, 2)
    make_old(kept)
    folders = [orphan(some), orphan(some, some.store.numbered(1).uid, attempt=5)]
    (finding,) = examine(some)["orphans"]
    assert (finding.state, "2 outputs (10 kB)" in finding.text) == (PROBLEM, True)
    assert states(some, "orphans", dry=True, remove_orphans=True) == [PROBLEM]
    assert all(folder.exists() for folder in folders)
    result = qrec("doctor", "--remove-orphans")
    assert result.returncode == 0, result
    assert not any(folder.exists() for folder in folders)
    assert kept.exists()
    assert states(some, "orphans") == [OK]


def test_what_may_still_get_a_record_is_no_orphan(some, home):
    """It is young, or its record waits, or it grows."""
    young, waiting, growing = (orphan(some) for _ in range(3))
    os.utime(young)
    os.utime(growing / "stdout")
    path = home / "incoming" / f"{waiting.name}.json"
    path.write_text(json.dumps({"uid": waiting.name, "executor": "x", "argv": [], "store": "other:/x"}))
    os.chmod(path, 0o600)
    assert states(some, "orphans", remove_orphans=True) == [OK]


def test_the_other_stores_of_the_home_are_asked(qrec, some, each_store, monkeypatch):
    make_old(folder_of(some, 2))
    other = {"sqlite": "filesystem", "filesystem": "sqlite"}[each_store]
    qrec("--store", other, "-q", "run", "seq", "30000", check=True)
    make_old(Path(some.home, "attempts"))
    for store in (each_store, other):
        assert states(some, "orphans", store=store, remove_orphans=True) == [OK]
    monkeypatch.setenv("QREC_STORE", f"{other}:{some.home}/elsewhere")
    assert states(some, "orphans", remove_orphans=True) == [OK]
    assert len(list(Path(some.home).glob("attempts/*/*"))) == 2


def test_another_store_that_cannot_be_asked(qrec, some, each_store):
    """Then nobody knows what is an orphan."""
    other = {"sqlite": "filesystem", "filesystem": "sqlite"}[each_store]
    qrec("--store", other, "-q", "run", "seq", "30000", check=True)
    place = Path(some.home, "qrec.db" if other == "sqlite" else "tasks/schema")
    for path in place.parent.glob("qrec.db-*"):
        if other == "sqlite":
            path.unlink()
    place.write_bytes(b"garbage" * 1000)
    make_old(Path(some.home, "attempts"))
    folder = orphan(some)
    (finding,) = examine(some, remove_orphans=True)["orphans"]
    assert (finding.state, "could not be checked" in finding.text) == (PROBLEM, True)
    assert folder.exists()
    assert len(list(Path(some.home).glob("attempts/*/*"))) == 3


@ONLY_FILES
def test_a_task_that_cannot_be_read_keeps_its_output(some):
    folder = folder_of(some, 2)
    make_old(folder)
    (path,) = Path(some.store.location).glob("0/2.*.json")
    path.write_text("{")
    assert [finding.state for finding in examine(some, remove_orphans=True)["orphans"]] == [OK]
    assert folder.exists()


def test_secrets_of_no_job(qrec, some, home):
    """They are kept for a worker beside the record; without a record nobody would ever remove them."""
    kept, gone, young = (
        Path(
            private_words(some.home, Jobs(some, "q").submit(Submission(command="true", env={"API_TOKEN": SECRET})).uid)
        )
        for _ in range(3)
    )
    for path in (gone, young):
        some.store.delete(path.name.removesuffix(WORDS))
    make_old(kept)
    make_old(gone)
    (finding,) = examine(some)["orphans"]
    assert (finding.state, str(gone) in finding.text, "1 job" in finding.text) == (PROBLEM, True, True)
    assert states(some, "orphans", dry=True, remove_orphans=True) == [PROBLEM]
    assert gone.exists()
    assert states(some, "orphans", remove_orphans=True) == [MENDED]
    assert [path.exists() for path in (kept, gone, young)] == [True, False, True]
    assert states(some, "orphans", remove_orphans=True) == [OK]


def test_output_that_is_gone(some):
    folder = folder_of(some, 2)
    (folder / "stdout").unlink()
    (finding,) = examine(some)["output"]
    assert finding.state == PROBLEM
    assert "task 2, attempt 1, has lost 109 kB of its stdout" in finding.text
    # a compressed one that was cut off
    (folder / "stdout.gz").write_bytes(b"\x1f\x8b\x08")
    os.chmod(folder / "stdout.gz", 0o600)
    assert "cannot be read" in examine(some)["output"][0].text


def test_output_that_has_outlived_its_removal(some):
    task = some.store.numbered(2)
    some.store.strip(task.uid, (task.status, 1), {1: 5})
    assert mended(some, "orphans")
    assert not list(Path(attempt_folder(some.home, task.uid, 1)).glob("std*"))  # a series of its usage stays
    assert some.store.get(task.uid).data[REMOVED] == 5


def test_leftovers_of_crashes(some, home):
    (home / "workers").mkdir(0o700)
    left = [home / "config.toml.4242", home / "incoming" / "shell-x.1.json.77", home / "cache" / "plugins.json.1",
            home / "incoming" / "queue-x.words.78", home / "workers" / "7-8.json.79",
            folder_of(some, 2) / "stdout.gz.new"]  # fmt: skip
    for path in left:
        path.write_bytes(b"half")
        os.chmod(path, 0o600)
    assert states(some, "leftovers") == [OK]  # somebody may be at work
    for path in left:
        os.utime(path, (YEARS_AGO, YEARS_AGO))
    assert mended(some, "leftovers")
    assert not any(path.exists() for path in left)
    assert some.output(some.store.numbered(2)).size("stdout") > 100_000


def test_a_copy_of_a_home_is_well(qrec, some, tmp_path):
    """A backup."""
    shutil.copytree(some.home, tmp_path / "copy")
    assert qrec("--home", tmp_path / "copy", "doctor").returncode == 0


def test_all_at_once(qrec, some, home):
    """Much is broken, and all of it is told, mended or not, without a traceback."""
    os.chmod(home, 0o777)
    (home / "config.toml").write_text("grace = 'x'")
    (home / "incoming" / "x.json").write_bytes(bytes(range(256)))
    orphan(some)
    result = qrec("doctor", "--dry-run")
    assert result.returncode == 1
    assert {line.split()[1] for line in result.out.splitlines() if line.startswith(PROBLEM)} == {
        "rights", "config", "incoming", "orphans"
    }  # fmt: skip
    assert "Error" not in result.out
    assert "Traceback" not in result.err
