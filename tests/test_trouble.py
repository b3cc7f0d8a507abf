"""The home is read-only, the disk is full, the store is too new or garbage: case 12 of what must work.

Disks are mounted in a mount namespace of the test's own, so that nobody else sees them and none is left behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qrec.stores.sqlite import VERSION
from tests.helpers import Result, environment


@pytest.fixture(autouse=True, params=["sqlite", "filesystem"])
def store(request, monkeypatch) -> str:
    monkeypatch.setenv("QREC_STORE", request.param)
    return str(request.param)


#: What `run` must do all the same.
SCRIPT = ["sh", "-c", "read word; echo $word; echo err >&2; exit 3"]

#: Every verb that looks at the store or changes it.
VERBS = [
    ["ls"],
    ["ls", "--json"],
    ["get"],
    ["log", "1"],
    ["search", "before"],
    ["exec", "status", "1"],
    ["note", "1", "x"],
    ["tag", "1", "x"],
    ["rerun", "1"],
    ["cancel", "1"],
    ["clear", "1", "-y"],
]
READING = 6  #: so many of them only look

Call = Callable[..., Result]


def still_runs(call: Call) -> str:
    """`run` runs the command as ever, and says one line; returns that."""
    result = call("-q", "run", *SCRIPT, input="word\n")
    assert (result.returncode, result.out) == (3, "word\n"), result
    lines = result.err.splitlines()
    assert lines[0] == "err", result
    assert len(lines) == 2, result
    assert lines[1].startswith("qrec: "), result
    assert "Error" not in lines[1], result
    closing = call("run", "true").err.splitlines()
    assert len(closing) == 2, closing
    assert "[returncode: 0]" in closing[1]
    return lines[1]


def one_clear_line(call: Call, verbs: list[list[str]], why: str = "") -> None:
    """Each says one line and ends with 1, or works."""
    for words in verbs:
        result = call(*words)
        assert result.returncode in (0, 1), result
        assert "Traceback" not in result.err, result
        assert "own" not in result.err.split(), result  # an error of qrec's own
        told = [line for line in result.err.splitlines() if line.startswith("qrec: ")]
        if result.returncode:
            assert result.stdout == b"", result
            assert len(result.err.splitlines()) == len(told) == 1, result
            assert why in told[0], result
        else:
            assert len(told) <= 1, result


def location(home: Path, store: str) -> Path:
    return home / ("qrec.db" if store == "sqlite" else "tasks")


# Disks


class Disk:
    """Runs qrec where a file system has been mounted."""

    def __init__(self, script: str, *words: str | Path) -> None:
        """`script` mounts it, and has the words as $1, $2 ..."""
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        self.holder = subprocess.Popen(
            ["unshare", "--mount", *as_root, "sh", "-ec", script + "; echo mounted; exec cat", "sh", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.holder.stdout
        answer = self.holder.stdout.readline()
        if answer != "mounted\n":
            self.close()
            pytest.skip(f"nothing can be mounted here: {answer.strip()}")
        as_root = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.enter = ["nsenter", f"--target={self.holder.pid}", "--mount", *as_root]

    def close(self) -> None:
        self.holder.communicate()

    def sees(self, path: Path) -> Path:
        """The path as it is in there."""
        return Path(f"/proc/{self.holder.pid}/root{path}")

    def do(self, *words: str | Path, input: str = "", check: bool = False) -> Result:
        """Run a program in there, in the working folder of the test."""
        done = subprocess.run(
            [*self.enter, "sh", "-c", 'cd "$1"; shift; exec "$@"', "sh", os.environ["HOME"], *words],
            input=input.encode(),
            env=environment(),
            capture_output=True,
            timeout=60,
        )
        result = Result(words, done.returncode, done.stdout, done.stderr)
        assert done.returncode == 0 or not check, result
        return result

    def qrec(self, *words: str, **options: Any) -> Result:
        return self.do(sys.executable, "-m", "qrec", *words, **options)


@pytest.fixture
def disk() -> Iterator[Callable[..., Disk]]:
    with contextlib.ExitStack() as opened:

        def disk(script: str, *words: str | Path) -> Disk:
            return opened.enter_context(contextlib.closing(Disk(script, *words)))

        yield disk


READ_ONLY = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"'


def test_12_the_home_is_read_only(qrec, home, disk):
    qrec("run", "echo", "before", check=True)
    before = contents(home)
    disk = disk(READ_ONLY, home)
    line = still_runs(disk.qrec)
    assert str(home) in line
    assert "ead-only" in line
    one_clear_line(disk.qrec, VERBS)
    assert contents(home) == before
    # a reader needs to write nothing
    assert disk.qrec("log", "1").out == "before\n"
    assert [task["status"] for task in disk.qrec("ls", "--json").json] == ["complete"]
    for words in VERBS[READING:]:
        assert disk.qrec(*words).returncode == 1, words


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file, but for the memory that SQLite's readers share."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")}


def test_12_the_read_only_home_was_closed_in_order(qrec, home, disk, store):
    """As a copy or a backup is: without SQLite's journal beside it."""
    qrec("run", "echo", "before", check=True)
    if store == "sqlite":
        with contextlib.closing(sqlite3.connect(home / "qrec.db")) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for path in home.glob("qrec.db-*"):
            path.unlink()
    disk = disk(READ_ONLY, home)
    still_runs(disk.qrec)
    assert disk.qrec("log", "1").out == "before\n"
    assert [task["status"] for task in disk.qrec("ls", "--json").json] == ["complete"]


def test_12_a_read_only_home_that_is_empty(home, disk):
    home.mkdir()
    disk = disk(READ_ONLY, home)
    still_runs(disk.qrec)
    one_clear_line(disk.qrec, VERBS)
    assert disk.qrec("ls").returncode == 0


def test_12_there_is_no_place_for_the_home(home, disk, tmp_path):
    (tmp_path / "locked").mkdir()
    mounted: Disk = disk(READ_ONLY, tmp_path / "locked")

    def elsewhere(*words: str, **options: Any) -> Result:
        return mounted.qrec("--home", str(tmp_path / "locked" / "new"), *words, **options)

    still_runs(elsewhere)
    one_clear_line(elsewhere, VERBS)


SMALL_DISK = 'mkdir "$1"; mount -t tmpfs -o size=2m tmpfs "$1"; cp -a "$2/." "$1"'


@pytest.fixture
def full(qrec, home, disk) -> Disk:
    """A home on a disk of its own, which holds one task and has no room for more."""
    qrec("run", "echo", "before", check=True)
    before = home.rename(home.with_name("before"))
    full: Disk = disk(SMALL_DISK, home, before)
    fill(full, home)
    return full


def fill(disk: Disk, home: Path) -> None:
    disk.do("sh", "-c", 'cat /dev/zero >>"$1"; cat /dev/zero >>"$1"; true', "sh", home / "filler")


def make_room(disk: Disk, home: Path) -> None:
    disk.do("rm", home / "filler", check=True)


def test_12_the_disk_is_full(full, home):
    line = still_runs(full.qrec)
    assert "space" in line or "full" in line
    one_clear_line(full.qrec, VERBS[:READING])
    assert full.qrec("log", "1").out == "before\n"
    assert full.qrec("get", "1").json["data"]["status"] == "complete"
    one_clear_line(full.qrec, [words for words in VERBS[READING:] if words[0] != "clear"])
    make_room(full, home)
    assert full.qrec("-q", "run", "echo", "after", check=True).out == "after\n"
    assert full.qrec("-q", "run", "echo", "after", check=True).err == ""
    assert full.qrec("log").out == "after\n"
    assert full.qrec("ls", "--json").json[0]["argv"] == ["echo", "before"]
    assert whole(full, home)


def whole(disk: Disk, home: Path) -> bool:
    """Whether the store is in order."""
    if not disk.sees(home / "qrec.db").exists():
        return True
    shutil.copytree(disk.sees(home), copy := home.with_name("copy"))
    with contextlib.closing(sqlite3.connect(copy / "qrec.db")) as db:
        return bool(db.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


def test_12_clearing_makes_room_on_a_full_disk(qrec, home, disk):
    """The way out must not be shut."""
    qrec("run", "sh", "-c", "head -c 1000000 /dev/zero", check=True)
    full = disk(SMALL_DISK, home, home.rename(home.with_name("before")))
    fill(full, home)
    result = full.qrec("clear", "1", "-y")
    assert result.returncode == 0, result
    assert full.qrec("ls", "--json").json == []
    assert full.qrec("-q", "run", "echo", "after", check=True).err == ""


def test_12_the_disk_fills_up_under_a_command(qrec, home, disk):
    """What it prints still arrives, all of it; what was kept is told as a part."""
    qrec("run", "true", check=True)
    small = disk(SMALL_DISK, home, home.rename(home.with_name("before")))
    result = small.qrec("-q", "run", "sh", "-c", "head -c 4000000 /dev/zero; echo end >&2; exit 3")
    assert result.returncode == 3
    assert result.stdout == bytes(4_000_000)
    first, last = result.err.splitlines()
    assert first == "end"
    assert "space" in last
    assert "part" in last
    (task,) = small.qrec("ls", "--json").json[1:]
    # the command's own output must not push out the news of its end
    assert (task["status"], task["returncode"]) == ("failed", 3)
    part = small.qrec("log", "2", "--stdout").stdout
    assert 100_000 < len(part) < 2 << 20
    assert not part.strip(b"\0")
    assert small.qrec("clear", "2", "-y").out == "1 task removed\n"
    assert small.qrec("-q", "run", "echo", "after", check=True).err == ""
    assert whole(small, home)


def test_12_the_disk_is_full_when_a_command_ends(qrec, home, disk):
    """The record of its beginning is there; its end comes in as soon as there is room."""
    qrec("run", "true", check=True)
    small = disk(SMALL_DISK, home, home.rename(home.with_name("before")))
    script = 'echo out; cd "$1"; until grep -q out attempts/*/*/stdout; do sleep 0.01; done 2>/dev/null; '
    script += "cat /dev/zero >>filler; cat /dev/zero >>filler; exit 3"
    result = small.qrec("-q", "run", "sh", "-c", script, "sh", str(home))
    assert result.returncode == 3
    assert len([line for line in result.err.splitlines() if line.startswith("qrec: ")]) == 1
    make_room(small, home)
    (task,) = small.qrec("ls", "--json").json[1:]
    assert task["argv"][2] == script
    # its code was known only to the qrec that found no room for it
    assert (task["status"], task["returncode"]) in (("failed", 3), ("lost", None))
    assert small.qrec("log", "2", "--stdout").out == "out\n"


# Stores that are something else


def newer(place: Path) -> None:
    """What a later qrec makes of it."""
    if place.is_dir():
        (place / "schema").write_text("99\n")
        return
    with contextlib.closing(sqlite3.connect(place)) as db:
        db.execute("PRAGMA user_version = 99")


def older(place: Path) -> None:
    if place.is_dir():
        (place / "schema").write_text("1\n")
        return
    with contextlib.closing(sqlite3.connect(place)) as db:
        db.execute(f"PRAGMA user_version = {VERSION}")


def test_12_the_store_is_of_a_newer_schema(qrec, home, store):
    qrec("run", "echo", "before", check=True)
    place = location(home, store)
    newer(place)
    line = still_runs(qrec)
    assert "later qrec" in line
    assert "upgrade" in line
    one_clear_line(qrec, VERBS, "later qrec")
    assert [qrec(*words).returncode for words in VERBS] == [1] * len(VERBS)
    # nothing was lost, and nothing of the store was touched
    older(place)
    tasks = qrec("ls", "--json").json
    assert [(task["argv"][0], task["returncode"]) for task in tasks] == [("echo", 0), ("sh", 3), ("true", 0)]
    assert qrec("log", "2").out == "word\nerr\n"


GARBAGE = bytes(range(256)) * 40


def spoil_all(place: Path) -> None:
    """Another file stands where the store should be."""
    for path in place.parent.glob(place.name + "*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    place.write_bytes(GARBAGE)


def spoil_schema(place: Path) -> None:
    """The first thing that is read."""
    if place.is_dir():
        (place / "schema").write_bytes(GARBAGE)
    else:
        place.write_bytes(GARBAGE[:100] + place.read_bytes()[100:])
        for path in place.parent.glob(place.name + "-*"):
            path.unlink()


def spoil_rest(place: Path) -> None:
    """All but the first thing that is read."""
    if place.is_dir():
        (task,) = place.glob("*/*.json")
        task.write_bytes(GARBAGE)
        return
    with contextlib.closing(sqlite3.connect(place)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    place.write_bytes(place.read_bytes()[:4096] + GARBAGE)


def foreign(place: Path) -> None:
    """Somebody else's data in the same format."""
    spoil_all(place)
    place.unlink()
    if place.name == "tasks":
        (place / "1").mkdir(parents=True)
        (place / "1" / "1.json").write_text('{"title": "buy milk"}')
        (place / "schema").write_text("milk")
        return
    with contextlib.closing(sqlite3.connect(place)) as db:
        db.execute("CREATE TABLE tasks (title)")
        db.execute("INSERT INTO tasks VALUES ('buy milk')")
        db.commit()


@pytest.mark.parametrize("spoil", [spoil_all, spoil_schema, foreign])
def test_12_the_store_is_garbage(qrec, home, store, spoil):
    qrec("run", "echo", "before", check=True)
    place = location(home, store)
    spoil(place)
    before = files(place)
    line = still_runs(qrec)
    assert str(place) in line
    one_clear_line(qrec, VERBS, str(place))
    assert [qrec(*words).returncode for words in VERBS] == [1] * len(VERBS)
    # it may be the only copy of something
    assert files(place) == before
    # put out of the way, as the line says, and all that was run meanwhile is there
    place.rename(place.with_name("moved-away"))
    assert [task["returncode"] for task in qrec("ls", "--json").json] == [3, 0]


def files(place: Path) -> list[tuple[Path, bytes]]:
    paths = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return [(path, path.read_bytes()) for path in paths]


def test_12_the_store_is_garbage_behind_its_beginning(qrec, home, store):
    qrec("run", "echo", "before", check=True)
    spoil_rest(location(home, store))
    if store == "sqlite":
        still_runs(qrec)
        one_clear_line(qrec, VERBS, str(location(home, store)))
        return
    # one bad file: everything else works, and `ls` tells of it
    result = qrec("-q", "run", *SCRIPT, input="word\n")
    assert (result.returncode, result.out, result.err) == (3, "word\n", "err\n")
    listed = qrec("ls", check=True)
    assert len(listed.out.splitlines()) == 2
    assert listed.err.count("\n") == 1
    assert "1.shell-" in listed.err
    one_clear_line(qrec, VERBS)
    assert qrec("log", "1").returncode == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'"x"', b"null", b'{"uid": 1}', b"\xff", GARBAGE])
def test_12_garbage_among_the_records_that_wait(qrec, home, content):
    qrec("run", "echo", "before", check=True)
    (home / "incoming").mkdir(exist_ok=True)
    (home / "incoming" / "shell-x.1.json").write_bytes(content)
    assert qrec("ls", check=True).out.count("\n") == 2
    assert qrec("run", "true").returncode == 0
    assert len(qrec("ls", "--json").json) == 2


def test_12_an_empty_database_file_is_a_new_store(qrec, home, store):
    """A crash right after its creation, or a `touch`."""
    home.mkdir()
    location(home, store).touch() if store == "sqlite" else location(home, store).mkdir()
    assert qrec("run", "echo", "out", check=True).out == "out\n"
    assert len(qrec("ls", "--json").json) == 1


@pytest.mark.parametrize("place", ["home", "incoming", "attempts", "cache"])
def test_12_a_file_stands_where_a_folder_should_be(qrec, home, place):
    path = home if place == "home" else home / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("a file")
    result = qrec("-q", "run", *SCRIPT, input="word\n")
    assert (result.returncode, result.out) == (3, "word\n")
    assert result.err.startswith("err\n")
    assert result.err.count("\n") <= 2
    assert "Traceback" not in result.err
    assert path.read_text() == "a file"
    one_clear_line(qrec, [["ls"], ["get"], ["search", "word"]])


def test_12_a_setting_that_cannot_be_read(qrec, home):
    home.mkdir()
    (home / "config.toml").write_text("store = [\n")
    line = still_runs(qrec)
    assert "config.toml" in line
    assert [task["returncode"] for task in qrec("ls", "--json").json] == [3, 0]
