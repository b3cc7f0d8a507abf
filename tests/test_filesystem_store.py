"""What only the filesystem store has to stand: spoilt files, leftovers of crashes, full and read-only disks."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qrec.errors import DuplicateTask, NoSuchTask, StoreBroken, StoreError, StoreTooNew, StoreUnwritable
from qrec.stores import filesystem
from qrec.stores.base import Query
from qrec.stores.filesystem import FilesystemStore, Lock
from qrec.task import Kept, Status, Task, new_uid
from qrec.testing.processes import Elsewhere, hold
from qrec.testing.stores import make
from tests.helpers import ROOT
from tests.test_stores import lock_folder


@pytest.fixture
def store(tmp_path: Path) -> FilesystemStore:
    return FilesystemStore(str(tmp_path / "home"))


@pytest.fixture
def folder(store: FilesystemStore) -> Path:
    return Path(store.location)


def file_of(store: FilesystemStore, task: Task) -> Path:
    return Path(store.location, str(task.number // 1000), f"{task.number}.{task.uid}.json")


def content_of(store: FilesystemStore, task: Task) -> Any:
    return json.loads(file_of(store, task).read_text())


class Crash(BaseException):
    """Ends a write in its midst, as a kill would: nothing in the store catches it."""


@contextlib.contextmanager
def crashing(monkeypatch: pytest.MonkeyPatch, call: str) -> Iterator[None]:
    """What is done within meets its end at that system call."""

    def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(os, call, crash)
        with pytest.raises(Crash):
            yield


# The files


def test_a_task_is_one_readable_file(store):
    task = store.add(make(message="caf\u00e9", argv=("ls", "-l")))
    kept = Kept(stdout="caf\u00e9\n".encode(), stderr=b"\xff\x00")
    store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=kept)
    content = content_of(store, task)
    assert content["schema"] == 1
    assert content["task"]["argv"] == ["ls", "-l"]
    assert content["task"]["status"] == "complete"
    assert content["kept"] == {"1": {"stdout": "caf\u00e9\n", "stderr": {"base64": "/wA="}, "timing": ""}}


def test_a_store_of_the_first_release_opens(store, folder):
    (folder / "0").mkdir(parents=True)
    (folder / "schema").write_text("1\n")
    (folder / "lock").write_text('{"number": 4, "turn": 2, "latest": "shell-x"}\n')
    (folder / "events").write_text('{"sequence": 9, "uid": "shell-x", "number": 3, "kind": "status", "at": "t"}\n')
    old_attempt = {"uid": "shell-x", "executor": "shell", "argv": ["a"], "status": "failed", "returncode": 2}
    task = {"uid": "shell-x", "executor": "shell", "argv": ["a", "b c"], "turn": 2, "attempt": 2, "status": "running"}
    kept = {"1": {"stdout": "text", "stderr": {"base64": "/w=="}, "timing": ""}}
    document = {"schema": 1, "sequence": 9, "task": task, "attempts": [old_attempt], "kept": kept}
    (folder / "0" / "3.shell-x.json").write_text(json.dumps(document))
    found = store.latest()
    assert found == Task(uid="shell-x", executor="shell", argv=("a", "b c"), number=3, turn=2, attempt=2)
    assert [attempt.returncode for attempt in store.attempts("shell-x")] == [2]
    assert store.kept("shell-x", 1) == Kept(stdout=b"text", stderr=b"\xff")
    assert [event.sequence for event in store.events()] == [9]
    assert store.add(make(turn=1)).summary()["number"] == 5
    assert [event.sequence for event in store.events()] == [9, 10]


def test_fields_of_a_later_release_outlive_a_change(store):
    task = store.add(make(status=Status.FAILED))
    content = content_of(store, task)
    content["future"] = [1]
    content["task"]["colour"] = "red"
    file_of(store, task).write_text(json.dumps(content))
    store.change(task.uid, message="m")
    store.archive(task.uid, (Status.FAILED, 1), Status.RUNNING)
    content = content_of(store, task)
    assert content["future"] == [1]
    assert content["attempts"][0]["colour"] == "red"


def test_many_folders(store, monkeypatch):
    monkeypatch.setattr(filesystem, "PER_FOLDER", 3)
    tasks = [store.add(make()) for _ in range(11)]
    other = FilesystemStore(store.home)
    for handle in (store, other):
        assert handle.find() == tasks
        assert [handle.numbered(task.number) for task in tasks] == [handle.get(task.uid) for task in tasks] == tasks
    for task in tasks[4:]:
        store.delete(task.uid)
    assert other.add(make()).number == 12
    assert [task.number for task in store.find()] == [1, 2, 3, 4, 12]


@pytest.mark.parametrize("uid", ["", "../../etc/passwd", "shell-/x", "shell-\0", "x" * 300])
def test_a_uid_that_leads_elsewhere_is_refused(store, uid):
    with pytest.raises(StoreError) as caught:
        store.add(make(uid=uid))
    assert "\n" not in str(caught.value)
    assert store.find() == []
    with pytest.raises(NoSuchTask):
        store.get(uid)


# Reading little


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    names: list[str] = []
    read_whole = filesystem.read_whole

    def noted(path: str, **options: Any) -> bytes | None:
        names.append(os.path.basename(path))
        return read_whole(path, **options)

    monkeypatch.setattr(filesystem, "read_whole", noted)
    return names


@pytest.mark.parametrize(
    ("call", "files"),
    [
        (lambda store: store.latest(), {"schema", "lock", "20.shell-20.json"}),
        (lambda store: store.numbered(7), {"schema", "7.shell-7.json"}),
        (lambda store: store.get("shell-7"), {"schema", "7.shell-7.json"}),
        (lambda store: store.starting_with("shell"), {"schema"}),
        (lambda store: store.count(Query()), {"schema"}),
        (lambda store: store.find(limit=2), {"schema", "20.shell-20.json", "19.shell-19.json", "18.shell-18.json"}),
        (lambda store: store.events(20), {"schema", "events"}),
    ],
    ids=["latest", "numbered", "get", "starting_with", "count", "find", "events"],
)
def test_names_answer_what_they_can(store, read, call, files):
    for number in range(1, 21):
        store.add(make(uid=f"shell-{number}", turn=1))
    fresh = FilesystemStore(store.home)
    read.clear()
    call(fresh)
    assert set(read) <= files
    assert len(read) == len(set(read))


def test_a_file_that_vanishes_while_it_is_listed_was_cleared(store, monkeypatch):
    tasks = [store.add(make()) for _ in range(3)]
    names_in = filesystem.names_in

    def names_then_gone(folder: str) -> list[str]:
        names = names_in(folder)
        file_of(store, tasks[1]).unlink(missing_ok=True)
        return names

    monkeypatch.setattr(filesystem, "names_in", names_then_gone)
    assert store.find() == [tasks[0], tasks[2]]
    assert store.broken == []


def test_a_file_that_another_host_replaced_is_opened_again(store, monkeypatch):
    task = store.add(make())
    read_once, left = filesystem.read_once, [2]

    def stale_twice(path: str, tail: int | None) -> bytes:
        if path.endswith(".json") and left[0]:
            left[0] -= 1
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
        return read_once(path, tail)

    monkeypatch.setattr(filesystem, "read_once", stale_twice)
    assert store.get(task.uid) == task
    left[0] = 1000
    with pytest.raises(StoreUnwritable, match="cannot use"):
        store.get(task.uid)


# Spoilt files

SPOILT = {
    "empty": b"",
    "text": b"hello",
    "half": b'{"schema": 1, "task": {"uid"',
    "zeros": b"\0" * 100,
    "bytes": b"\xff\xfe\xfd",
    "list": b"[]",
    "number": b"7",
    "deep": b"[" * 100_000,
    "no task": b'{"schema": 1}',
    "no executor": b'{"schema": 1, "task": {"argv": []}}',
    "strange status": b'{"schema": 1, "task": {"executor": "shell", "argv": [], "status": "dancing"}}',
    "strange schema": b'{"schema": "x", "task": {"executor": "shell", "argv": []}}',
}


@pytest.mark.parametrize("content", SPOILT.values(), ids=SPOILT)
def test_one_spoilt_file_does_not_hide_the_others(store, content):
    first, spoilt, last = (store.add(make(turn=1)) for _ in range(3))
    path = file_of(store, spoilt)
    path.write_bytes(content)
    assert store.find() == [first, last]
    assert store.broken == [str(path)]
    for ask in (
        lambda: store.get(spoilt.uid),
        lambda: store.numbered(2),
        lambda: store.change(spoilt.uid, message="m"),
        lambda: store.kept(spoilt.uid, 1),
    ):
        with pytest.raises(StoreBroken) as caught:
            ask()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert store.latest() == last
    assert store.add(make()).number == 4
    assert len(store.events()) == 4
    store.delete(spoilt.uid)
    assert len(store.find()) == 3
    assert store.broken == []


def test_the_latest_is_told_though_its_file_is_spoilt(store):
    first = store.add(make(turn=1))
    file_of(store, store.add(make(turn=1))).write_text("")
    assert store.latest() == first
    assert store.change(first.uid, message="m").message == "m"


def test_a_task_of_a_later_qrec(store):
    first, later = store.add(make()), store.add(make())
    content = json.dumps({"schema": 2, "task": "in a way nobody knows yet"})
    file_of(store, later).write_text(content)
    for ask in (lambda: store.get(later.uid), lambda: store.numbered(2), lambda: store.delete(later.uid)):
        with pytest.raises(StoreTooNew, match=r"written by a later qrec \(schema 2, .*; upgrade qrec"):
            ask()
    assert store.find() == [first]
    assert store.broken == [str(file_of(store, later))]
    assert file_of(store, later).read_text() == content


@pytest.mark.parametrize(("schema", "error"), [("2\n", StoreTooNew), ("soon", StoreBroken), ("", StoreBroken)])
def test_a_store_of_another_kind_is_left_alone(store, folder, schema, error):
    task = store.add(make())
    (folder / "schema").write_text(schema)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for call in (
        lambda store: store.add(make()),
        lambda store: store.change(task.uid, message="m"),
        lambda store: store.delete(task.uid),
        lambda store: store.get(task.uid),
        lambda store: store.numbered(1),
        lambda store: store.latest(),
        lambda store: store.find(),
        lambda store: store.count(Query()),
        lambda store: store.starting_with("s"),
        lambda store: store.events(),
    ):
        with pytest.raises(error) as caught:
            call(FilesystemStore(store.home))
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


# Leftovers of crashes


def test_who_changes_a_task_of_no_store_makes_none(store, folder):
    for write in (
        lambda: store.change("shell-1", message="m"),
        lambda: store.swap("shell-1", (Status.RUNNING, 1), Status.FAILED),
        lambda: store.delete("shell-1"),
    ):
        with pytest.raises(NoSuchTask):
            write()
    assert not folder.parent.exists()


def test_a_store_is_marked_with_its_schema(store, folder):
    store.add(make())
    assert (folder / "schema").read_text() == "1\n"


def test_strange_files_are_no_tasks(store, folder):
    task = store.add(make())
    for name in (".new", ".nfs00001", "2.shell-x.json.tmp", "x.shell-x.json", "readme.txt", "2", "\u00b2.a.json"):
        (folder / "0" / name).write_text("{}")
        (folder / name).write_text("{}") if name != "2" else None
    (folder / "7").mkdir()
    (folder / "notes").mkdir()
    assert store.find() == [task]
    assert store.count(Query()) == 1
    assert store.broken == []
    assert store.add(make()).number == 2
    assert not (folder / "0" / ".new").exists()


def test_a_crash_before_the_file_leaves_a_gap_and_no_event(store, monkeypatch):
    first = store.add(make(turn=1))
    with crashing(monkeypatch, "replace"):
        store.add(make(turn=1))
    other = FilesystemStore(store.home)
    assert other.find() == [first]
    assert other.latest() == first
    assert [event.kind for event in other.events()] == ["added"]
    third = other.add(make(turn=1))
    assert third.number == 3
    assert [(event.sequence, event.number) for event in store.events()] == [(1, 1), (2, 3)]


def test_a_turn_whose_attempt_never_began_does_not_count(store, monkeypatch):
    first = store.add(make(turn=1, status=Status.QUEUED))
    first = store.swap(first.uid, (Status.QUEUED, 1), Status.CANCELLED)
    second = store.add(make(turn=1))
    with crashing(monkeypatch, "replace"):
        store.archive(first.uid, (Status.CANCELLED, 1), Status.RUNNING, turn=1)
    assert store.get(first.uid) == first
    assert store.latest() == second


def test_an_event_whose_change_never_came_is_not_told(store, monkeypatch):
    task = store.add(make())
    with crashing(monkeypatch, "replace"):
        store.change(task.uid, message="m")
    assert store.get(task.uid) == task
    assert len(store.events()) == 1
    store.change(task.uid, tags=("t",))
    assert [(event.sequence, event.kind) for event in store.events()] == [(1, "added"), (2, "tags")]


def test_a_delete_that_never_came_is_not_told(store, monkeypatch):
    task = store.add(make())
    with crashing(monkeypatch, "unlink"):
        store.delete(task.uid)
    assert store.find() == [task]
    assert len(store.events()) == 1
    store.delete(task.uid)
    assert [(event.sequence, event.kind) for event in store.events()] == [(1, "added"), (2, "removed")]


def test_the_pulse_tells_an_announced_change_from_one_that_was_made(store):
    """Between the two a reader finds the task as it was: it has to look again."""
    task = store.add(make())
    file = file_of(store, task)
    before, pulse = file.read_bytes(), store.pulse()
    FilesystemStore(store.home).change(task.uid, message="new")
    after = file.read_bytes()
    file.write_bytes(before)
    announced = store.pulse()
    assert len({pulse, announced, store.pulse()}) == 2
    assert (store.get(task.uid).message, store.last_event()) == ("", 1)
    file.write_bytes(after)
    assert store.pulse() not in {pulse, announced}
    assert (store.get(task.uid).message, store.last_event()) == ("new", 2)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"q": 7}', b"\xff"])
def test_spoilt_policies_are_told_in_one_line_and_not_written_over(store, folder, content):
    task = store.add(make(queue="q"))
    store.set_policy("q", {"workers": 2})
    (folder / "queues").write_bytes(content)
    if content:
        for call in (store.policies, lambda: store.set_policy("r", {})):
            with pytest.raises(StoreBroken, match=f"{folder}/queues") as caught:
                call()
            assert "\n" not in str(caught.value)
        assert [(fault.kind, fault.mendable) for fault in store.check()] == [("queue", False)]
    else:
        assert store.policies() == {}, "a crash of the machine may have left nothing of it"
    assert (folder / "queues").read_bytes() == content
    assert store.find(Query(queue="q")) == [task]
    assert store.change(task.uid, message="m").message == "m"


def test_a_policy_that_was_not_written_whole(store, monkeypatch):
    store.set_policy("q", {"workers": 2})
    with crashing(monkeypatch, "replace"):
        store.set_policy("q", {"workers": 3})
    assert (store.policies(), store.last_event()) == ({"q": {"workers": 2}}, 1)
    store.set_policy("r", {})
    assert (store.policies(), store.last_event()) == ({"q": {"workers": 2}, "r": {}}, 2)
    assert list(store.check()) == []


def test_a_crash_within_together_leaves_the_lock_to_others(store, monkeypatch):
    task = store.add(make())
    with crashing(monkeypatch, "replace"), store.together():
        store.change(task.uid, message="never")
    other = FilesystemStore(store.home)
    other.patience = 0.05
    for handle in (other, store):
        assert handle.change(task.uid, message="m").message == "m"


@pytest.mark.parametrize("torn", [b'{"sequence": 2, "uid": "shell-1", "num', b"\0\0\0\0", b"\n\n", b"{}", b"\xff"])
def test_half_a_line_of_events_is_passed_over(store, folder, torn):
    task = store.add(make())
    with (folder / "events").open("ab") as events:
        events.write(torn)
    assert [event.sequence for event in store.events()] == [1]
    store.change(task.uid, message="m")
    assert [event.sequence for event in store.events()] == [1, 2]


def test_events_longer_than_the_tail_of_garbage(store, folder):
    task = store.add(make())
    with (folder / "events").open("ab") as events:
        events.write(b"x" * 3 * filesystem.TAIL)
    store.change(task.uid, message="m")
    assert [event.sequence for event in store.events()] == [1, 2]


def test_old_events_are_forgotten(store, folder, monkeypatch):
    monkeypatch.setattr(filesystem, "EVENTS_SIZE", 8000)
    monkeypatch.setattr(filesystem, "REMEMBERED", 20)
    task = store.add(make())
    for number in range(200):
        store.change(task.uid, priority=number)
        assert store.events()[-1].sequence == number + 2
        assert store.events(number + 1) == store.events()[-1:]
    sequences = [event.sequence for event in store.events(5)]
    assert sequences == list(range(sequences[0], 202))
    assert sequences[0] > 6
    assert len(sequences) >= 20
    assert (folder / "events").stat().st_size < 9000


def test_a_deleted_lock_file_costs_nothing_but_time(store, folder):
    tasks = [store.add(make(turn=1)) for _ in range(3)]
    store.delete(tasks[2].uid)
    (folder / "lock").unlink()
    assert store.latest() == tasks[1]
    late = FilesystemStore(store.home).add(make(turn=1))
    assert late.number == 4
    assert late.turn > tasks[1].turn
    assert store.latest() == late


@pytest.mark.parametrize("content", [b"", b"garbage", b'{"number": 1', b"[]\n", b"\0" * 50])
def test_spoilt_counters_are_counted_again(store, folder, content):
    tasks = [store.add(make(turn=1)) for _ in range(3)]
    (folder / "lock").write_bytes(content)
    assert store.latest() == tasks[2]
    late = store.add(make(turn=1))
    assert (late.number, late.turn > tasks[2].turn) == (4, True)


def test_counters_behind_the_files_are_not_believed(store, folder):
    store.add(make())
    old = (folder / "lock").read_bytes()
    store.add(make())
    (folder / "lock").write_bytes(old)
    assert FilesystemStore(store.home).add(make()).number == 3


# The lock


def test_the_lock_is_not_inherited(store, folder):
    store.add(make())
    with Lock(str(folder / "lock"), 0):
        listing = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, check=True)
    assert b"/dev" in listing.stdout or b"pipe" in listing.stdout
    assert b"/lock" not in listing.stdout


def test_no_file_stays_open(store):
    gc.collect()  # what tests before have left
    before = os.listdir("/proc/self/fd")
    task = store.add(make())
    store.change(task.uid, message="m")
    next(store.newest_first(Query()))
    store.events()
    assert os.listdir("/proc/self/fd") == before


def test_a_lock_file_that_was_deleted_is_no_lock(store, folder):
    store.add(make())
    with Elsewhere(hold, lock_folder, str(folder)) as holder:
        holder.go()
        holder.hears("held")
        (folder / "lock").unlink()
        assert store.add(make()).number == 2


def test_a_lock_file_that_is_deleted_while_it_is_taken(store, folder, monkeypatch):
    store.add(make())
    opened, left = Lock._opened, [1]

    def opened_then_gone(lock: Lock) -> int:
        descriptor = opened(lock)
        if left:
            left.pop()
            (folder / "lock").unlink()
        return descriptor

    monkeypatch.setattr(Lock, "_opened", opened_then_gone)
    assert store.add(make()).number == 2
    assert (folder / "lock").read_bytes()


# Rights and disks


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_umask_changes_nothing(store, folder, umask):
    before = os.umask(umask)
    try:
        task = store.add(make())
        store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=b"x"))
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in [folder.parent, folder, *folder.rglob("*")]}
    files = {"schema", "lock", "events", file_of(store, task).name}
    assert modes == {
        "home": "0o700",
        "tasks": "0o700",
        "0": "0o700",
        "unfinished": "0o700",
        **dict.fromkeys(files, "0o600"),
    }


def mount(*words: str) -> None:
    """Mount, or skip where that takes more rights than we have."""
    done = subprocess.run(["mount", *words], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder as it is on a disk that is mounted for reading."""
    mount("--bind", str(folder), str(folder))
    try:
        mount("-o", "remount,ro,bind", str(folder))
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=64k", "none", str(disk))
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_read_only_store_can_be_read(store, folder):
    task = store.add(make(turn=1))
    with read_only(folder):
        fresh = FilesystemStore(store.home)
        assert fresh.find() == [task]
        assert fresh.latest() == fresh.get(task.uid) == task
        assert len(fresh.events()) == 1
        for write in (
            lambda: fresh.add(make()),
            lambda: fresh.change(task.uid, message="m"),
            lambda: fresh.swap(task.uid, (Status.RUNNING, 1), Status.FAILED),
            lambda: fresh.delete(task.uid),
        ):
            with pytest.raises(StoreUnwritable, match="read-only file system; choose a writable place") as caught:
                write()
            assert str(folder) in str(caught.value)
            assert "\n" not in str(caught.value)


def test_a_full_disk_loses_nothing_that_was_written(small_disk):
    store = FilesystemStore(str(small_disk / "home"))
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 8192)
    added: list[Task] = []
    with pytest.raises(StoreUnwritable, match="no space left on device; free some space") as caught:
        added.extend(iter(lambda: store.add(make()), None))
    assert "\n" not in str(caught.value)
    assert len(added) > 3
    assert store.find() == added
    assert [event.number for event in store.events()] == [task.number for task in added]
    with pytest.raises(StoreUnwritable):
        store.swap(added[0].uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=b"x" * 20_000))
    assert store.get(added[0].uid) == added[0]
    ballast.unlink()
    late = store.add(make())
    assert late.number > added[-1].number
    assert store.find() == [*added, late]
    assert [event.sequence for event in store.events()] == list(range(1, len(added) + 2))


@pytest.mark.parametrize("code", [*filesystem.REMEDIES, errno.ENXIO], ids=lambda code: errno.errorcode[code])
def test_what_the_system_refuses_is_told_in_one_line(store, folder, monkeypatch, code):
    task = store.add(make())

    def refuse(_: object, path: str) -> None:
        raise OSError(code, os.strerror(code), path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(StoreUnwritable) as caught:
            store.change(task.uid, message="m")
    assert str(folder) in str(caught.value)
    assert filesystem.REMEDIES.get(code, "choose another place") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.change(task.uid, message="n").message == "n"


def test_a_path_with_a_newline_still_makes_one_line(tmp_path):
    store = FilesystemStore(str(tmp_path / "a\nb"))
    task = store.add(make())
    file_of(store, task).write_text("")
    with pytest.raises(StoreBroken) as caught:
        store.get(task.uid)
    assert "\n" not in str(caught.value)
    assert "a\\nb" in str(caught.value)


def test_a_file_where_the_folder_should_be(tmp_path):
    store = FilesystemStore(str(tmp_path), str(tmp_path / "tasks"))
    Path(store.location).write_text("mine")
    calls: list[Callable[[], object]] = [lambda: store.add(make()), store.find, store.latest, store.events]
    for call in calls:
        with pytest.raises(StoreUnwritable, match="not a directory; move away the file") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert Path(store.location).read_text() == "mine"


def test_an_unreadable_file_is_passed_over(store, monkeypatch):
    first, second = store.add(make()), store.add(make())
    read_once = filesystem.read_once

    def refuse(path: str, tail: int | None) -> bytes:
        if second.uid in path:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return read_once(path, tail)

    monkeypatch.setattr(filesystem, "read_once", refuse)
    assert store.find() == [first]
    assert store.broken == [str(file_of(store, second))]
    with pytest.raises(StoreUnwritable, match="change its permissions"):
        store.get(second.uid)


# Start-up


def test_importing_it_is_cheap():
    dear = {"dataclasses", "pathlib", "tempfile", "logging", "base64", "subprocess", "sqlite3", "uuid", "click"}
    script = "import sys; import qrec.stores.filesystem; print(*sys.modules)"
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    out = subprocess.run([sys.executable, "-S", "-c", script], env=environment, capture_output=True, check=True).stdout
    assert dear & set(out.decode().split()) == set()


def test_uids_are_as_new_uid_makes_them(store):
    uid = new_uid("my-own")
    store.add(make(uid=uid, executor="my-own"))
    assert store.starting_with(uid[7:15]) == [uid]


def test_a_uid_that_was_added_while_a_listing_passed_by_is_known(store, monkeypatch):
    task = store.add(make())
    store.add(make())
    other = FilesystemStore(store.home)
    names_in, left = filesystem.names_in, [1]

    def missing_one(folder: str) -> list[str]:
        names = names_in(folder)
        if folder.endswith("/0") and left:
            left.pop()
            names.remove(file_of(store, task).name)
        return names

    monkeypatch.setattr(filesystem, "names_in", missing_one)
    with pytest.raises(DuplicateTask):
        other.add(task)
