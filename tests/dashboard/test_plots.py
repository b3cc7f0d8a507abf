"""The usage of a task as the page plots it."""

from __future__ import annotations

from qrec.dashboard.plots import columns
from qrec.usage import Point
from tests.dashboard.served import BUSY


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
    now, before = (server.get(f"/tasks/1/usage.json{which}").json for which in ("", "?attempt=1"))
    assert (now["attempt"], before["attempt"]) == (2, 1)
    assert len(before["columns"][0]) >= 2
    assert now["columns"] != before["columns"]


def test_what_is_not_there_is_said(qrec, server):
    qrec("run", "-q", "--", "true")
    for path, status in {
        "99999999/usage.json": 404,
        "1/usage.json?attempt=7": 404,
        "1/usage.json?attempt=x": 400,
    }.items():
        answer = server.get(f"/tasks/{path}")
        assert answer.status == status, path
        assert answer.json["error"]
