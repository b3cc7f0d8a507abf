"""The machine and what runs: looked at only while somebody watches."""

from __future__ import annotations

import os
import shlex
import time

import psutil
import pytest

from qrec.api import Qrec
from qrec.dashboard import live
from qrec.dashboard.app import make_app
from qrec.task import Status, Task, new_uid, timestamp
from tests.helpers import wait_until


@pytest.fixture
def sampler(home, monkeypatch):
    """The one of an application of this process; its looks follow each other quickly."""
    monkeypatch.setattr(live, "EACH", 0.05)
    monkeypatch.setattr(live, "FIRST", 0.01)
    monkeypatch.setattr(live, "PATIENCE", 60)
    monkeypatch.setattr(live, "KEPT", 100_000)
    found = make_app(Qrec()).config["sampler"]
    yield found
    monkeypatch.setattr(live, "WANTED", 0)
    wait_until(lambda: found.thread is None, what="the looking to end")


def samples(told):
    return [dict(zip(told["names"], row, strict=True)) for row in zip(*told["columns"], strict=True)]


def test_the_machine(sampler):
    told = sampler.told()
    assert (told["host"], told["cores"]) == (os.uname().nodename, os.cpu_count())
    assert told["memory_total"] == psutil.virtual_memory().total
    assert 0 < told["disk"]["free"] <= told["disk"]["total"]
    assert told["up"] > 0
    sample = samples(told)[-1]
    assert 0 <= sample["cpu"] <= 100
    assert 0 < sample["memory"] < told["memory_total"]
    assert (told["running"], told["count"]) == ([], 0)


def test_looks_are_remembered_and_end_when_nobody_watches(sampler, monkeypatch):
    wait_until(lambda: len(samples(sampler.told())) > 3)
    times = [sample["at"] for sample in samples(sampler.told())]
    assert times == sorted(times)
    monkeypatch.setattr(live, "WANTED", 0.2)
    wait_until(lambda: sampler.thread is None, what="the looking to end")
    count = len(sampler.samples)
    wait_until(lambda: len(samples(sampler.told())) > count, what="it to begin again")
    assert sampler.samples.maxlen == live.KEPT


def test_what_runs_with_its_last_line_and_usage(kind, sampler, start, tmp_path):
    gate = tmp_path / "gate"
    lines = "echo first; echo token=ghp_0123456789abcdefghijklmnopqrstuvwxyz"
    start("run", "-q", "sh", "-c", f"{lines}; until [ -e {shlex.quote(str(gate))} ]; do sleep 0.05; done")
    (task,) = wait_until(lambda: [one for one in sampler.told()["running"] if one["line"].startswith("token=")])
    assert "ghp_" not in task["line"]
    assert (task["status"], task["number"]) == ("running", 1)
    wait_until(lambda: sampler.told()["running"][0]["memory"], what="a look at its memory")
    gate.touch()
    wait_until(lambda: sampler.told()["count"] == 0)


def test_ends_are_counted_by_how_they_went(sampler, qrec, monkeypatch):
    monkeypatch.setattr(live, "WANTED", 600)
    sampler.told()
    for words in (["true"], ["true"], ["sh", "-c", "exit 3"]):
        qrec("run", "-q", *words)

    def counted():
        found = samples(sampler.told())
        return {name: sum(sample[name] for sample in found) for name in live.FINAL}

    wait_until(lambda: counted() == {"complete": 2, "failed": 1, "other": 0})


def test_what_ended_before_anybody_looked_is_told_too(kind, sampler, monkeypatch):
    monkeypatch.setattr(live, "WANTED", 600)
    store, now = sampler.door.store, time.time()
    for status, age in ((Status.COMPLETE, 300), (Status.LOST, 200), (Status.FAILED, 100), (Status.FAILED, 100_000)):
        task = Task(uid=new_uid("shell"), executor="shell", argv=("x",), status=status, ended=timestamp(now - age))
        store.add(task)

    def counted(ends):
        return {name: sum(one[name] for one in ends) for name in live.FINAL}

    monkeypatch.setattr(live, "KEPT", 600 / live.EACH)
    told = sampler.told()
    assert counted(told["before"]) == {"complete": 1, "failed": 1, "other": 1}
    assert sorted(round(now - one["at"], -1) for one in told["before"]) == [100, 200, 300]
    assert not any(counted(samples(told)).values()), "nothing is told twice"


def test_an_end_while_we_look_back_is_counted_once(sampler, monkeypatch):
    store = sampler.door.store
    task = store.add(Task(uid=new_uid("shell"), executor="shell", argv=("true",), status=Status.RUNNING))
    ends = store.ends

    def ends_meanwhile(since, among):
        store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, returncode=0, ended=timestamp())
        return ends(since, among)

    monkeypatch.setattr(store, "ends", ends_meanwhile)
    sampler.look_back()
    assert (sampler.before, [sampler.ends()["complete"] for _ in range(2)]) == ([], [1, 0])


def test_an_end_is_counted_once_though_it_came_while_we_looked(sampler, qrec, monkeypatch):
    """Between reading what has changed and how that stands, a task may end; and in the next look it is told again."""
    store = sampler.door.store
    sampler.cursor = 0
    task = store.add(Task(uid=new_uid("shell"), executor="shell", argv=("true",), status=Status.RUNNING))
    statuses = store.statuses

    def ends_meanwhile(uids):
        monkeypatch.setattr(store, "statuses", statuses)
        store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, returncode=0)
        return statuses(uids)

    monkeypatch.setattr(store, "statuses", ends_meanwhile)
    assert [sampler.ends()["complete"] for _ in range(3)] == [0, 1, 0]


def test_the_page_asks_for_it_by_http(home, monkeypatch):
    monkeypatch.setattr(live, "PATIENCE", 60)
    told = make_app(Qrec()).test_client().get("/live.json").get_json()
    assert samples(told)


def test_who_watches_is_told_and_who_does_not_is_not(serve):
    server = serve(limits={"live.EACH": 0.25})
    with server.connect() as wire, server.connect() as other:
        assert server.get("/live.json").json["each"] == 0.25
        wire.watch({"live": True})
        told = wait_until(lambda: wire.told("live"))[0]
        assert {"sample", "running", "count", "load"} <= set(told)
        wait_until(lambda: len(wire.told("live")) > 1)
        assert other.told("live") == []
