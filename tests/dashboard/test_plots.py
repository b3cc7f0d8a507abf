"""The usage of a task as the page plots it."""

from __future__ import annotations

import pytest

from qrec.dashboard.plots import columns
from qrec.usage import Point

BUSY = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 0.3"


def point(at, cpu, **more):
    return Point(**{"at": at, "cpu": cpu, "memory": 1000, "processes": 1, "read": 0, "written": 0, **more})


def test_sums_become_rates():
    told = columns([point(1.0, 0.5), point(3.0, 2.5, written=4000), point(3.0, 2.5, written=4000)])
    assert told["seconds"] == [1.0, 3.0, 3.0]
    assert told["cpu"] == [0.5, 1.0, None]
    assert told["written"] == [0.0, 2000.0, None]
    assert "gpu" not in told


def test_a_graphics_device_is_told_of_where_there_is_one():
    told = columns([point(1.0, 0.5), point(2.0, 0.5, gpu=0.5, gpu_memory=7)])
    assert told["gpu"] == [None, 0.5]
    assert told["gpu_memory"] == [None, 7]


def test_a_task_has_columns_of_one_length(kind, qrec, server):
    qrec("run", "-q", "--", "sh", "-c", BUSY)
    told = server.get("/tasks/1/usage.json").json
    assert told["names"][:3] == ["seconds", "cpu", "memory"]
    assert len({len(column) for column in told["columns"]}) == 1
    by = dict(zip(told["names"], told["columns"], strict=True))
    assert by["seconds"] == sorted(by["seconds"])
    assert max(by["cpu"]) > 0
    assert max(by["memory"]) > 100_000
    assert (told["attempt"], told["running"]) == (1, False)


def test_each_attempt_has_its_own(qrec, server):
    qrec("run", "-q", "--", "sh", "-c", f"test -e x && exit; touch x; {BUSY}")
    qrec("rerun", "1")
    assert not server.get("/tasks/1/usage.json").json["columns"][0]
    assert server.get("/tasks/1/usage.json?attempt=1").json["columns"][0]


@pytest.mark.parametrize(
    ("path", "status"), [("9", 404), ("1/usage.json?attempt=7", 404), ("1/usage.json?attempt=x", 400)]
)
def test_what_is_not_there_is_said(qrec, server, path, status):
    qrec("run", "-q", "--", "true")
    answer = server.get(f"/tasks/{path if '/' in path else path + '/usage.json'}")
    assert answer.status == status
    assert answer.json["error"]
