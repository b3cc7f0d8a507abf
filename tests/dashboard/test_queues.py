"""What the pages of queues are told, on both stores, and what they may do."""

from __future__ import annotations

import os
import re
import subprocess
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from qrec import keeper
from qrec.api import Qrec
from qrec.dashboard import board as board_module
from qrec.dashboard import executors
from qrec.dashboard.app import make_app
from qrec.dashboard.board import Board
from qrec.jobs import Jobs, Submission
from qrec.process import Ended
from qrec.task import Status
from tests.helpers import wait_until
from tests.queueing import Marks, by_name, end_all, find, job, jobs, stands, start_worker, worker


class Client:
    """Asks the application itself: who may come in is another matter, see test_guard."""

    def __init__(self) -> None:
        self.client = make_app(Qrec()).test_client()

    def get(self, path: str, status: int = 200):
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.json

    def post(self, path: str, body=None, status: int = 200):
        answer = self.client.post(path, json=body or {})
        assert answer.status_code == status, answer.text
        return answer.json


@pytest.fixture
def client(kind, monkeypatch) -> Client:
    monkeypatch.setattr(executors, "PATIENCE", 60)
    return Client()


@pytest.fixture
def marks(tmp_path) -> Marks:
    return Marks(tmp_path / "marks")


def pipeline(**policy):
    """A queue that has run: one job failed, one was skipped for it, one ran because of it."""
    queue = jobs(
        job("true", "prep"),
        job("exit 3", "train", depends=("prep",)),
        job("true", "report", depends=("train",)),
        job("true", "clean", depends_any=("train",)),
        job("true", "alarm", depends_failed=("train",)),
        **policy,
    )
    worker(queue).run()
    return queue


def labels(graph) -> dict[str, str]:
    return {node["label"]: node["status"] for node in graph["nodes"]}


def links(graph) -> dict[tuple[str, str], tuple[str, str]]:
    names = [node["label"] for node in graph["nodes"]]
    return {(names[link["from"]], names[link["to"]]): (link["kind"], link["bad"]) for link in graph["links"]}


# Looking


def test_there_is_no_queue_yet(client):
    assert client.get("/queues.json")["queues"] == []
    assert "no queue" in client.get("/queues/nope.json", 404)["error"]
    assert "no queue" in client.get("/queues/nope/graph.json", 404)["error"]


def test_the_list_of_queues(client):
    pipeline(workers=3)
    jobs(job("true"), job("true"), queue="other")
    other, first = sorted(client.get("/queues.json")["queues"], key=lambda queue: queue["name"] == "default")
    assert (first["name"], first["counts"]) == ("default", {"complete": 3, "failed": 1, "skipped": 1})
    assert (first["slots"], first["total"], first["left"], first["workers"]) == (3, 5, 0, [])
    assert (other["name"], other["counts"], other["left"], other["paused"]) == ("other", {"queued": 2}, 2, False)


def test_a_queue_and_why_its_jobs_do_not_run(client):
    jobs(job("true", "prep", tags=("x",)), job("echo 'a  b'", "train", depends=("prep",), priority=4))
    told = client.get("/queues/default.json")
    prep, train = told["jobs"]
    assert (prep["name"], prep["status"], prep["state"], prep["why"]) == ("prep", "queued", "queued", "no worker runs")
    assert (train["state"], train["why"], train["waits_for"]) == ("blocked", "waits for prep", [prep["uid"]])
    assert (train["command"], train["priority"], train["after"]) == ("echo 'a  b'", 4, [prep["uid"]])
    assert (told["queue"], told["blocked"], told["found"], told["next"]) == ("default", 1, 2, None)


def test_jobs_are_found_by_status_word_and_page(client):
    pipeline()
    jobs(job("sleep 0 # needle", "late", tags=("nightly",)))

    def names(query: str) -> list[str]:
        return [one["name"] for one in client.get(f"/queues/default.json?{query}")["jobs"]]

    assert names("status=failed,skipped") == ["train", "report"]
    assert names("finished=0") == names("q=NEEDLE") == names("q=nightly+late") == ["late"]
    assert names("q=nothing") == []
    page = client.get("/queues/default.json?limit=2")
    assert ([one["name"] for one in page["jobs"]], page["found"]) == (["prep", "train"], 6)
    assert names(f"limit=2&after={page['next']}") == ["report", "clean"]
    assert names("limit=0") == []
    for wrong in ("status=nope", "limit=x", "after=-1", "limit=%C2%B2"):
        client.get(f"/queues/default.json?{wrong}", 400)


def test_what_a_job_waits_for_and_what_waits_for_it(client):
    pipeline()
    told = client.get("/queues/default/job.json?job=train")
    assert told["job"]["name"] == "train"
    assert re.match("it failed after .*exit code 3", told["why"][0])
    assert [(one["name"], one["status"], one["kind"], one["inside"]) for one in told["parents"]] == [
        ("prep", "complete", "ok", True)
    ]
    assert [(one["name"], one["kind"]) for one in told["children"]] == [
        ("report", "ok"), ("clean", "any"), ("alarm", "failed"),
    ]  # fmt: skip
    uid, number = told["job"]["uid"], told["job"]["number"]
    assert client.get(f"/queues/default/job.json?job={uid}")["job"]["number"] == number
    assert client.get(f"/queues/default/job.json?job={number}")["job"]["uid"] == uid
    client.get("/queues/default/job.json?job=nobody", 404)
    client.get("/queues/default/job.json", 404)


def test_a_parent_that_is_gone_or_of_no_queue(client, qrec):
    qrec("run", "true", check=True)
    jobs(job("true", "prep"), job("true", "last", depends=("1", "prep")))
    door = Qrec()
    told = client.get("/queues/default/job.json?job=last")
    assert [(one["number"], one["inside"]) for one in told["parents"]] == [(1, False), (2, True)]
    assert labels(client.get("/queues/default/graph.json")) == {"true": "complete", "prep": "queued", "last": "blocked"}
    door.clear([door.get("1")])
    assert client.get("/queues/default/job.json?job=last")["parents"][0]["gone"]
    assert set(labels(client.get("/queues/default/graph.json"))) == {"prep", "last"}


def test_names_that_are_no_words(client):
    for name in ("a b", "with/slash", "ä?&#", "x/graph", "%41"):
        jobs(job("true", "one"), queue=name)
        assert client.get(f"/queues/{quote(name, safe='')}.json")["queue"] == name
        assert labels(client.get(f"/queues/{quote(name, safe='')}/graph.json")) == {"one": "queued"}
        client.post(f"/api/queues/{quote(name, safe='')}/pause")
        assert Jobs(Qrec(), name).policy["paused"]


def test_a_queue_called_like_a_part_of_another(client):
    jobs(job("true", "outer"), queue="x")
    jobs(job("true", "inner"), queue="x/graph")
    assert client.get("/queues/x.json")["queue"] == "x"
    assert labels(client.get("/queues/x/graph.json")) == {"outer": "queued"}
    assert client.get("/queues/x%2Fgraph.json")["queue"] == "x/graph"
    assert labels(client.get("/queues/x%2Fgraph/graph.json")) == {"inner": "queued"}
    assert [one["name"] for one in client.get("/queues/x%2Fgraph.json")["jobs"]] == ["inner"]


def test_where_all_its_jobs_belong(client, tmp_path):
    jobs(job("true", "one"), job("true", "two"))
    (one,) = client.get("/queues/default.json")["belongs"]
    assert (one["pwd"], set(one)) == (os.path.realpath(os.getcwd()), {"pwd", "user", "host"})


def test_secrets_are_covered(client):
    jobs(job("true", "one"), env={"API_TOKEN": "hunter2hunter2", "PLAIN": "seen"})
    door = Qrec()
    task = find(Jobs(door), "one")
    door.store.swap(task.uid, (task.status, task.attempt), Status.QUEUED, argv=("curl --password hunter2hunter2",))
    for path in ("", "/graph", "/job"):
        told = client.client.get(f"/queues/default{path}.json?job=one").text
        assert "hunter2" not in told
    assert client.get("/queues/default.json")["policy"]["env"]["PLAIN"] == "seen"


# The graph


def test_the_graph_with_its_kinds_of_links(client):
    pipeline()
    graph = client.get("/queues/default/graph.json")
    assert labels(graph) == {
        "prep": "complete", "train": "failed", "report": "skipped", "clean": "complete", "alarm": "complete",
    }  # fmt: skip
    assert links(graph) == {
        ("prep", "train"): ("ok", ""), ("train", "report"): ("ok", "failed"), ("train", "clean"): ("any", "any end"),
        ("train", "alarm"): ("failed", "if failed"),
    }  # fmt: skip
    places = {(node["x"], node["y"]) for node in graph["nodes"]}
    assert len(places) == 5
    assert max(x for x, _ in places) == 2 == graph["columns"] - 1


def test_links_that_follow_from_others_are_left_out(client):
    jobs(job("true", "a"), job("true", "b", depends=("a",)), job("true", "c", depends=("a", "b")),
         job("true", "d", depends_any=("b",)), job("true", "e", depends=("b",), depends_any=("d",)))  # fmt: skip
    graph = client.get("/queues/default/graph.json")
    assert ("a", "c") not in links(graph)
    assert ("b", "e") in links(graph)  # from `d ends` it does not follow that b completed
    assert graph["left_out"] == 1


def test_focus_folding_and_unfolding(client):
    jobs(job("true", "first"), *(job("true", f"m{at}", depends=("first",)) for at in range(50)),
         job("true", "last", depends=tuple(f"m{at}" for at in range(50))))  # fmt: skip
    graph = client.get("/queues/default/graph.json")
    assert labels(graph) == {"first": "queued", "50 blocked": "blocked", "last": "blocked"}
    assert (graph["folded"], graph["total"], len(graph["links"])) == (50, 52, 2)
    group = next(node["uid"] for node in graph["nodes"] if "count" in node)
    for query in ("collapse=0", f"open={group}"):
        assert len(client.get(f"/queues/default/graph.json?{query}")["nodes"]) == 52
    uid = find(Jobs(Qrec()), "m7").uid
    apart = client.get(f"/queues/default/graph.json?apart={uid}")
    assert labels(apart) == {"first": "queued", "49 blocked": "blocked", "m7": "blocked", "last": "blocked"}
    near = client.get("/queues/default/graph.json?focus=m7&hops=1")
    assert labels(near) == {"first": "queued", "m7": "blocked", "last": "blocked"}
    assert (near["focus"], near["hops"], near["shown"]) == (uid, 1, 3)
    client.get("/queues/default/graph.json?focus=nobody", 404)


# The timeline


def test_the_timeline_and_its_longest_chain(client, marks, started):
    queue = jobs(
        job(marks.held("long"), "long"),
        job("true", "short"),
        job("true", "end", depends=("long", "short")),
        job("true", "never", depends_failed=("long",)),
    )
    told = client.get("/queues/default/timeline.json")
    assert (told["bars"], told["begin"], told["critical"]) == ([], None, [])
    started(workers=2)
    wait_until(lambda: stands(queue, "short", Status.COMPLETE))
    marks.let_go("long")
    wait_until(lambda: stands(queue, "end", Status.COMPLETE))
    told = client.get("/queues/default/timeline.json")
    bars = {bar["label"]: bar for bar in told["bars"]}
    assert set(bars) == {"long", "short", "end"}
    assert [lane["slot"] for lane in told["lanes"]] == ["slot 0", "slot 1"]
    assert bars["long"]["lane"] != bars["short"]["lane"]
    assert bars["long"]["end"] <= bars["end"]["start"]
    assert told["critical"] == [bars["long"]["uid"], bars["end"]["uid"]]
    assert told["critical_seconds"] == pytest.approx(
        sum(bars[name]["end"] - bars[name]["start"] for name in ("long", "end"))
    )
    assert (told["begun"], told["total"], told["begin"]) == (3, 4, min(bar["start"] for bar in told["bars"]))


def test_what_the_record_of_an_end_takes_is_none_of_the_jobs_time(monkeypatch):
    """Its bar would begin too early, and lie on that of the job before it in its slot."""
    clock = [10.0]
    told: list[Any] = []
    monkeypatch.setattr(keeper, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(keeper, "write_line", lambda *_: clock.append(clock.pop() + 5))
    keeping = object.__new__(keeper.Keeping)
    monkeypatch.setattr(keeping, "tell", told.append, raising=False)
    order = keeper.Order(key="job", folder="", words=("true",), cwd="/", env={}, slots=1)
    job = keeper.Kept(order, os.open(os.devnull, os.O_WRONLY), 0)
    clock[0] = 12.0
    keeping.end(job, Ended(returncode=0, at=100.0))
    assert told[0][-1] == 2.0


def test_what_runs_has_no_end_yet(client, marks):
    queue = jobs(job(marks.held("one"), "one"))
    started: list[subprocess.Popen[bytes]] = []
    try:
        start_worker(started)
        marks.began("one")
        (bar,) = client.get("/queues/default/timeline.json")["bars"]
        assert (bar["status"], bar["end"]) == ("running", None)
        (crew,) = client.get("/queues/default.json")["workers"]
        assert crew["running"] == 1
        assert client.get("/queues/default/job.json?job=one")["why"][0].startswith("it has been running for")
        marks.let_go("one")
        wait_until(lambda: stands(queue, "one", Status.COMPLETE))
    finally:
        end_all(started)


# Doing


def test_pause_and_resume(client):
    jobs(job("true"))
    assert client.post("/api/queues/default/pause")["queue"]["paused"]
    assert Jobs(Qrec()).policy["paused"]
    assert not client.post("/api/queues/default/resume")["queue"]["paused"]
    assert "paused" not in Jobs(Qrec()).policy


def test_slots_can_be_set_and_nothing_that_is_executed(client):
    jobs(job("true"), workers=2)
    assert client.post("/api/queues/default/set", {"workers": 7})["queue"]["slots"] == 7
    assert Jobs(Qrec()).policy["workers"] == 7
    for wrong in (
        {}, {"workers": 0}, {"workers": "3"}, {"workers": True}, {"workers": None}, {"workers": 1.5},
        {"preamble": ["rm -rf /"]}, {"env": {"PATH": "/tmp"}}, {"cwd": "/"}, {"workers": 3, "since": 0},
    ):  # fmt: skip
        client.post("/api/queues/default/set", wrong, 400)
    assert Jobs(Qrec()).policy["workers"] == 7
    assert set(Jobs(Qrec()).policy) == {"workers", "since", "created"}


def test_retry_one_with_what_was_skipped_and_all(client):
    queue = pipeline()
    tasks = by_name(queue)
    told = client.post("/api/queues/default/retry", {"jobs": [tasks["train"].uid]})
    assert {tasks[name].uid for name in ("train", "report")} == set(told["done"])
    assert told["queue"]["counts"] == {"queued": 2, "complete": 3}
    again = client.post("/api/queues/default/retry", {"jobs": [tasks["train"].uid]}, 409)
    assert "only what has ended" in again["error"]
    worker(queue).run()
    assert set(client.post("/api/queues/default/retry")["done"]) == {tasks[name].uid for name in ("train", "report")}
    assert find(queue, "prep").status is Status.COMPLETE


def test_cancel_one_and_all_also_what_runs(client, marks):
    queue = jobs(
        job(marks.held("one"), "one"), job("true", "two", depends=("one",)), job("true", "three", depends=("one",))
    )
    started: list[subprocess.Popen[bytes]] = []
    try:
        start_worker(started)
        marks.began("one")
        two = find(queue, "two").uid
        told = client.post("/api/queues/default/cancel", {"jobs": [two]})
        assert (told["done"], told["failed"]) == ([two], [])
        assert stands(queue, "two", Status.CANCELLED)
        assert stands(queue, "one", Status.RUNNING)
        assert len(client.post("/api/queues/default/cancel")["done"]) == 2
        wait_until(lambda: stands(queue, "one", Status.CANCELLED))
        assert stands(queue, "three", Status.CANCELLED)
        assert client.post("/api/queues/default/cancel")["done"] == []
    finally:
        end_all(started)


@pytest.mark.parametrize("wrong", [{"jobs": []}, {"jobs": "one"}, {"jobs": [1]}, {"jobs": None}])
def test_a_wrong_choice_of_jobs_is_not_all_of_them(client, wrong):
    queue = jobs(job("true", "one"))
    client.post("/api/queues/default/cancel", wrong, 400)
    assert stands(queue, "one", Status.QUEUED)


def test_what_is_not_there(client):
    jobs(job("true"))
    jobs(job("true", "theirs"), queue="other")
    client.post("/api/queues/nope/pause", {}, 404)
    client.post("/api/queues/default/explode", {}, 400)
    theirs = find(Jobs(Qrec(), "other"), "theirs").uid
    client.post("/api/queues/default/cancel", {"jobs": [theirs]}, 404)
    assert stands(Jobs(Qrec(), "other"), "theirs", Status.QUEUED)


# Following changes


def test_the_board_follows_changes_without_reading_all_again(client, monkeypatch):
    queue = jobs(job("true", "one"), job("true", "two"))
    board = Board("default")
    board.look(queue)
    monkeypatch.setattr(Jobs, "all", lambda self: pytest.fail("all jobs were read again"))
    Jobs(Qrec()).submit(Submission(command="true", name="three"))
    Qrec().note(queue.find("two").uid, "changed")
    found = {task.name: task for task in board.look(Jobs(Qrec())).values()}
    assert list(found) == ["one", "two", "three"]
    assert found["two"].message == "changed"
    door = Qrec()
    Jobs(door).cancel()
    door.clear([Jobs(door).find("one")])
    assert [(task.name, task.status) for task in board.look(Jobs(Qrec())).values()] == [
        ("two", Status.CANCELLED), ("three", Status.CANCELLED),
    ]  # fmt: skip


def test_the_board_reads_all_when_much_has_changed_or_the_queue_is_new(client, monkeypatch):
    monkeypatch.setattr(board_module, "FEW", 20)
    queue = jobs(job("true", "one"))
    board = Board("default")
    board.look(queue)
    queue.submit_all([job("true", f"j{at}") for at in range(25)])
    assert len(board.look(Jobs(Qrec()))) == 26
    Jobs(Qrec()).create(clear=True)
    assert board.look(Jobs(Qrec())) == {}


# Executors


def test_an_executor_says_what_it_is_and_offers(client, qrec):
    qrec("run", "sh", "-c", "exit 4")
    told = client.get("/executor/slurm.json")
    assert re.search(told["pattern"], "sbatch job.sh")
    assert {action["name"] for action in told["actions"]} == set(Qrec().actions("slurm"))
    lines = next(action for action in told["actions"] if action["name"] == "output")["options"]
    assert {"follow", "lines"} <= {option["name"] for option in lines}
    assert (told["latest"], told["counts"]["failed"]) == ([], 0)
    shell = client.get("/executor/shell.json")
    assert [(task["number"], task["status"]) for task in shell["latest"]] == [(1, "failed")]
    assert shell["counts"]["failed"] == 1
    cancel = next(action for action in shell["actions"] if action["name"] == "cancel")
    assert (cancel["always"], cancel["when"]) == (False, ["queued", "running", "submitted"])
    assert "nope" in client.get("/executor/nope.json", 404)["error"]
