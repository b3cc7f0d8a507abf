"""What every store promises, and what only this one does."""

import fcntl
import json
import os
import subprocess
import sys

import pytest
from qrec_log.store import LogStore

from qrec.errors import StoreBroken, StoreTooNew
from qrec.stores.base import Query
from qrec.task import Kept, Status
from qrec.testing import StoreContract
from qrec.testing.stores import make


def lock(location):
    """What a writing store does."""
    descriptor = os.open(f"{location}.lock", os.O_RDWR)  # stays open until the process ends
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


class TestLogStore(StoreContract):
    @pytest.fixture
    def kind(self):
        return LogStore

    @pytest.fixture
    def take_lock(self):
        return lock


@pytest.fixture
def store(tmp_path):
    return LogStore(str(tmp_path / "home"))


def lines(store):
    with open(store.location) as file:
        return [json.loads(line) for line in file]


def test_a_step_is_a_line_that_people_can_read(store):
    task = store.add(make(message="a note"))
    store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=b"hello\n", stderr=b"\xff"))
    heading, (added,), (ended,) = lines(store)
    assert heading == {"qrec-log": 1}
    assert (added["event"][0], added["task"]["message"]) == ("added", "a note")
    assert ended["kept"] == {"1": {"stdout": "hello\n", "stderr": {"base64": "/w=="}}}


def test_half_a_line_is_written_over(store):
    task = store.add(make())
    with open(store.location, "ab") as file:
        file.write(b'[{"event": ["removed", "')
    assert store.find() == [task]
    assert LogStore(store.home).find() == [task]
    store.add(make())
    assert len(lines(store)) == 3
    assert LogStore(store.home).count(Query()) == 2


@pytest.mark.parametrize(
    ("content", "error"),
    [('{"qrec-log": 2}\n', StoreTooNew), ("no JSON\n", StoreBroken), ("[]\n", StoreBroken),
     ('{"qrec-log": 1}\n[{"task": 5, "uid": 3}]\n', StoreBroken)],
)  # fmt: skip
def test_a_file_that_is_no_log(store, tmp_path, content, error):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "history.jsonl").write_text(content)
    for _ in range(2):
        with pytest.raises(error):
            store.find()
    with pytest.raises(error):
        store.add(make())
    assert (tmp_path / "home" / "history.jsonl").read_text() == content


def test_a_shorter_log_tells_the_same(store):
    tasks = [store.add(make(turn=1)) for _ in range(5)]
    for task in tasks[:2]:
        store.swap(task.uid, (Status.RUNNING, 1), Status.FAILED, kept=Kept(stdout=b"out"))
        store.archive(task.uid, (Status.FAILED, 1), Status.QUEUED)
    store.delete(tasks[4].uid)
    store.set_policy("q", {"workers": 2})
    other = LogStore(store.home)
    seen = other.find()
    size = store.size()
    store.compact(thorough=True)
    assert store.size() < size
    for one in (store, other, LogStore(store.home)):
        assert one.find() == seen
        assert [one.kept(task.uid, 1) for task in tasks[:2]] == [Kept(stdout=b"out")] * 2
        assert [task.status for task in one.attempts(tasks[0].uid)] == [Status.FAILED]
        assert (one.policies(), one.highest_number(), one.latest()) == ({"q": {"workers": 2}}, 5, seen[3])
        assert [event.sequence for event in one.events()] == list(range(1, 12))
    assert other.add(make(turn=1)).number == 6
    assert store.latest().number == 6


def test_qrec_records_into_it(tmp_path, monkeypatch):
    monkeypatch.setenv("QREC_HOME", str(tmp_path / "home"))
    qrec = (sys.executable, "-m", "qrec", "--store", "log")
    subprocess.run([*qrec, "run", "-q", "-m", "a note", "sh", "-c", "echo a needle; exit 3"], check=False)
    subprocess.run([*qrec, "queue", "submit", "--", "echo", "a job"], check=True, capture_output=True)
    subprocess.run([*qrec, "queue", "run"], check=True, capture_output=True)
    listed = json.loads(subprocess.run([*qrec, "ls", "--json"], check=True, capture_output=True).stdout)
    assert [(row["executor"], row["status"]) for row in listed] == [("shell", "failed"), ("queue", "complete")]
    found = subprocess.run([*qrec, "search", "needle", "--json"], check=True, capture_output=True)
    assert [hit["number"] for hit in json.loads(found.stdout)] == [1]
    assert subprocess.run([*qrec, "rerun", "-q", "1"], capture_output=True).returncode == 3
    assert sorted(os.listdir(tmp_path / "home" / "attempts")) == [], "small output is in the log"
    assert subprocess.run([*qrec, "doctor"], capture_output=True).returncode == 0
