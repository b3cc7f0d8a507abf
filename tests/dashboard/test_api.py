"""What the dashboard answers, over real homes of both stores."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from qrec.api import Qrec
from qrec.dashboard import listing
from qrec.dashboard.acting import of_kind
from qrec.dashboard.doors import Doors
from qrec.errors import WrongUsage
from qrec.stores.base import Bundle
from qrec.stores.sqlite import SqliteStore
from qrec.task import Status, Task, new_uid, timestamp
from tests.dashboard.served import Served
from tests.helpers import wait_until


@pytest.fixture
def recorded(kind, qrec) -> None:
    """Five tasks: 1 to 3 alike, 4 failed, 5 tagged and with a note."""
    for _ in range(3):
        qrec("run", "-q", "echo", "hello", check=True)
    qrec("run", "-q", "sh", "-c", "echo a broken pipe >&2; exit 3")
    qrec("run", "-q", "-t", "fast", "-m", "the last", "true", check=True)


@pytest.fixture
def page(recorded: None, server: Served) -> Served:
    return server


def numbers(answer) -> list[int]:
    assert answer.status == 200, answer
    return [task["number"] for task in answer.json["tasks"]]


# The list


def test_the_list_begins_with_the_newest(page):
    told = page.get("/tasks.json").json
    assert [task["number"] for task in told["tasks"]] == [5, 4, 3, 2, 1]
    assert (told["total"], told["next"], told["previous"], told["partial"]) == (5, None, None, False)
    assert told["counts"] == {"all": 5, "queued": 0, "running": 0, "submitted": 0, "complete": 4, "failed": 1,
                              "cancelled": 0, "skipped": 0, "lost": 0}  # fmt: skip
    first = told["tasks"][0]
    assert (first["command"], first["message"], first["tags"], first["status"]) == (
        "true",
        "the last",
        ["fast"],
        "complete",
    )
    assert told["tasks"][1]["reason"] == "exit code 3"
    assert told["sequence"] > 0


FILTERS = {
    "status=failed": [4], "status=failed,complete": [5, 4, 3, 2, 1], "status=running": [], "tag=fast": [5],
    "tag=slow": [], "code=3": [4], "code=0": [5, 3, 2, 1], "executor=shell": [5, 4, 3, 2, 1], "executor=slurm": [],
    "longer=1h": [], "mem_over=1T": [], "since=1h": [5, 4, 3, 2, 1], "since=now": [], "until=1h": [],
    "host=nowhere": [], "q=hello": [3, 2, 1], "q=BROKEN+pipe": [4], "q=%22broken+pipe%22": [4],
    "q=%22pipe+broken%22": [], "q=zz": [], "q=the+last": [5], "q=hello&status=failed": [], "queue=x": [],
    "limit=2": [5, 4], "order=asc": [1, 2, 3, 4, 5], "sort=started&order=asc": [1, 2, 3, 4, 5], "cwd=/nowhere": [],
    "commit=ffff": [],
}  # fmt: skip


def test_filters(page):
    assert {words: numbers(page.get(f"/tasks.json?{words}")) for words in FILTERS} == FILTERS


def test_a_folder_narrows_the_list(page, tmp_path, qrec):
    below = tmp_path / "below"
    below.mkdir()
    qrec("run", "-q", "true", cwd=below, check=True)
    assert numbers(page.get(f"/tasks.json?cwd={below}")) == [6]
    assert numbers(page.get(f"/tasks.json?cwd={tmp_path}")) == [6, 5, 4, 3, 2, 1]


def test_what_makes_no_sense_is_said(page):
    for words in ("status=nonsense", "sort=color", "order=up", "after=x", "after=1~x", "limit=many", "longer=soon",
                  "since=then", "mem_over=big", "code=x", "q=hello&sort=seconds"):  # fmt: skip
        answer = page.get(f"/tasks.json?{words}")
        assert answer.status == 400, (words, answer)
        assert answer.json["error"]


def test_numbers_beyond_all_measure_find_nothing_and_break_nothing(page):
    huge = "9" * 40
    for words in (f"code={huge}", f"mem_over={huge}T", f"longer={huge}d", f"after={huge}~{huge}", f"after=-{huge}~-1",
                  f"limit={huge}", f"sort=seconds&after=nan~{huge}", f"sort=seconds&after=inf~{huge}", "q=%00",
                  "host=%00%ff", "tag=%ed%a0%80", f"since={huge}d", f"q={'x' * 3000}", "cwd=%00"):  # fmt: skip
        assert page.get(f"/tasks.json?{words}").status in (200, 400), words
    for name in (huge, "%00", "%ed%a0%80", "x" * 3000, "%F0%9F%92%A9"):
        assert page.get(f"/tasks/{name}.json").status == 404, name


def test_pages_follow_each_other_and_lead_back(page):
    for sort in ("number", "started", "seconds", "memory"):
        for order in ("desc", "asc"):
            follow_and_return(page, sort, order)


def follow_and_return(page: Served, sort: str, order: str) -> None:
    """Through a sorted list to its end, and back to its beginning."""
    where = f"/tasks.json?sort={sort}&order={order}"
    every = numbers(page.get(where))
    assert sorted(every) == [1, 2, 3, 4, 5]
    first = page.get(f"{where}&limit=2").json
    second = page.get(f"{where}&limit=2&after={first['next']}").json
    third = page.get(f"{where}&limit=2&after={second['next']}").json
    shown = [[task["number"] for task in told["tasks"]] for told in (first, second, third)]
    assert shown == [every[:2], every[2:4], every[4:]]
    assert (first["previous"], third["next"]) == (None, None)
    back = page.get(f"{where}&limit=2&after={third['previous']}").json
    assert [task["number"] for task in back["tasks"]] == every[2:4]
    front = page.get(f"{where}&limit=2&after={back['previous']}").json
    assert [task["number"] for task in front["tasks"]] == every[:2]
    assert page.get(f"{where}&limit=2&after={front['next']}").json["tasks"] == second["tasks"]


def test_the_sorting_is_by_what_it_says(page):
    told = page.get("/tasks.json?sort=seconds").json["tasks"]
    assert [task["seconds"] for task in told] == sorted((task["seconds"] for task in told), reverse=True)


def test_search_goes_on_where_it_ended(page):
    first = page.get("/tasks.json?q=hello&limit=2").json
    assert [task["number"] for task in first["tasks"]] == [3, 2]
    rest = page.get(f"/tasks.json?q=hello&limit=2&after={first['next']}").json
    assert [task["number"] for task in rest["tasks"]] == [1]


def test_a_row_shows_the_runs_before(page):
    rows = {task["number"]: task for task in page.get("/tasks.json").json["tasks"]}
    assert [run["number"] for run in rows[3]["history"]] == [1, 2, 3]
    assert [run["number"] for run in rows[2]["history"]] == [1, 2]
    assert [run["status"] for run in rows[4]["history"]] == ["failed"]


def test_each_rerun_is_one_of_the_runs_before(kind, home):
    store = Qrec().store
    statuses = (Status.FAILED, Status.COMPLETE, Status.FAILED)
    uids = [new_uid("shell") for _ in range(2)]
    for uid in uids:
        task = store.add(Task(uid=uid, executor="shell", argv=("make",), status=Status.RUNNING))
        for status in statuses:
            if task.status.is_final:
                task = store.archive(uid, (task.status, task.attempt), Status.RUNNING)
            task = store.swap(uid, (Status.RUNNING, task.attempt), status)
    told = listing.history(Qrec(), [store.get(uid) for uid in uids])
    runs = [[(run["number"], run["attempt"], run["status"]) for run in told[uid]] for uid in uids]
    assert runs[0] == [(1, attempt + 1, status.value) for attempt, status in enumerate(statuses)]
    assert runs[1] == [*runs[0], *((2, *rest) for _, *rest in runs[0])]


def test_of_many_reruns_the_last_are_shown(home):
    store = Qrec().store
    task = store.add(Task(uid=new_uid("shell"), executor="shell", argv=("make",), status=Status.FAILED))
    for _ in range(listing.HISTORY):
        task = store.archive(task.uid, (task.status, task.attempt), Status.RUNNING)
        task = store.swap(task.uid, (Status.RUNNING, task.attempt), Status.FAILED)
    (told,) = listing.history(Qrec(), [task]).values()
    assert [run["attempt"] for run in told] == list(range(2, listing.HISTORY + 2))


def test_what_runs_shows_its_last_line(kind, serve, start):
    start("run", "-q", "sh", "-c", "echo first; echo second; sleep 60")
    served = serve()
    told = wait_until(
        lambda: [row for row in served.get("/tasks.json").json["tasks"] if row.get("last_line") == "second"]
    )
    assert told[0]["status"] == "running"
    in_use = wait_until(lambda: served.get("/tasks.json").json["tasks"][0]["uses"]["memory"])
    assert in_use > 100_000


def test_what_was_counted_is_counted_again_after_a_change_only(home, qrec, monkeypatch):
    qrec("run", "-q", "true", check=True)
    door: Any = Doors(str(home))
    counted: list[SqliteStore] = []
    tally = SqliteStore.tally

    def noted(store: SqliteStore) -> dict[Status, int]:
        counted.append(store)
        return tally(store)

    monkeypatch.setattr(SqliteStore, "tally", noted)
    for _ in range(3):
        assert listing.counted(door)["complete"] == 1
    assert len(counted) == 1
    qrec("run", "-q", "true", check=True)
    assert listing.counted(door)["complete"] == 2


def test_an_empty_home_has_an_empty_list(kind, server):
    told = server.get("/tasks.json").json
    assert (told["tasks"], told["total"], told["next"]) == ([], 0, None)
    assert server.get("/tasks").status == 200


# A task


def test_a_task_by_its_names(page):
    uid = page.get("/tasks.json?code=3").json["tasks"][0]["uid"]
    for name in ("4", uid, uid[:14]):
        is_task(page, name, uid)


def is_task(page: Served, name: str, uid: str) -> None:
    """The page and the JSON of a name are those of task 4."""
    told = page.get(f"/tasks/{name}.json").json
    assert told["task"]["uid"] == uid
    assert told["why"]["reason"] == "exit code 3"
    assert told["facts"]
    assert told["queue"] is None
    assert [one["attempt"] for one in told["attempts"]] == [1]
    html = page.get(f"/tasks/{name}")
    assert (html.status, html.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert f'data-uid="{uid}"' in html.text


def test_every_action_of_the_executor_is_offered(page):
    from qrec.executors.shell import ShellExecutor

    told = {one["name"]: one for one in page.get("/tasks/4.json").json["actions"]}
    assert list(told) == list(ShellExecutor.actions())
    assert told["status"]["enabled"]
    assert not told["cancel"]["enabled"]
    assert "failed" in told["cancel"]["why_not"]


def test_what_is_not_there_is_said(page):
    for path in (
        "/tasks/99999999.json",
        "/tasks/nothing.json",
        "/tasks/1/why.json?attempt=3",
        "/executor/nobody",
        "/queues/none",
    ):
        answer = page.get(path)
        assert answer.status == 404, answer
    assert "no task is called '99999999'" in page.get("/tasks/99999999.json").json["error"]
    assert page.get("/tasks/99999999").headers["Content-Type"].startswith("text/html")
    assert page.post("/api/tasks/1/dance").status == 404
    assert page.get("/tasks/s.json").status == 404, "too little to mean one"
    assert page.get("/tasks/1.json?attempt=x").status == 400


def test_why_and_what_differs(page, qrec):
    told = page.get("/tasks/4/why.json").json
    assert told["reason"] == "exit code 3"
    assert told["last"]["lines"][-1] == "a broken pipe"
    assert page.get("/tasks/1/why.json").json["reason"] == ""
    same = page.get("/tasks/1/diff.json?with=2").json
    assert same["output"] == []
    other = page.get("/tasks/1/diff.json?with=4").json
    assert other["same"] is False
    assert {one["what"] for one in other["command"]} >= {"arguments", "exit code"}
    assert "-hello" in [line for stream in other["output"] for line in stream["lines"]]


def test_executors_tell_what_they_offer(page):
    told = {one["name"]: one for one in page.get("/executors.json").json["executors"]}
    assert {"shell", "slurm", "tmux", "queue"} <= set(told)
    assert "sbatch" in told["slurm"]["pattern"]


# Acting


def test_a_rerun_is_answered_at_once_and_runs_by_itself(kind, serve, qrec, tmp_path):
    qrec("run", "-q", "sh", "-c", "echo again; exec sleep $(cat seconds 2>/dev/null || echo 0)", check=True)
    (tmp_path / "seconds").write_text("60")
    served = serve()
    began = time.monotonic()
    answer = served.post("/api/tasks/1/rerun", {"message": "once more"})
    assert answer.status == 200, answer
    assert time.monotonic() - began < 30, "long before it ends"
    task = answer.json["task"]
    assert (task["status"], task["attempt"], task["message"]) == ("running", 2, "once more")
    assert [one["attempt"] for one in served.get("/tasks/1.json").json["attempts"]] == [1, 2]
    assert served.post("/api/tasks/1/rerun").status == 409, "it runs"
    assert served.end() == 0
    assert qrec("get", "1").json["data"]["status"] == "running", "the server's end is not its own"
    qrec("cancel", "1", check=True)


def test_cancel_ends_a_task(kind, serve, start, qrec):
    running = start("run", "-q", "sleep", "60")
    served = serve()
    wait_until(lambda: [task for task in served.get("/tasks.json").json["tasks"] if task["pid"]])
    told = served.get("/tasks/1.json").json
    assert [one["enabled"] for one in told["actions"] if one["name"] == "cancel"] == [True]
    assert not told["can"]["delete"]["enabled"]
    assert served.delete("/api/tasks/1").status == 409
    assert served.post("/api/tasks/1/cancel").status == 200
    assert running.wait(60) != 0
    wait_until(lambda: served.get("/tasks/1.json").json["task"]["status"] == "cancelled")


def test_a_stubborn_task_is_cancelled_while_the_page_goes_on(serve, start, home):
    (home / "config.toml").parent.mkdir(exist_ok=True)
    (home / "config.toml").write_text("grace = 5\n")
    start("run", "-q", "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done")
    served = serve(limits={"acting.ANSWERED": 0.05})
    wait_until(lambda: [task for task in served.get("/tasks.json").json["tasks"] if task.get("last_line") == "deaf"])
    answer = served.post("/api/tasks/1/cancel").json
    assert (answer["pending"], answer["task"]["status"]) == (True, "running")
    wait_until(lambda: served.get("/tasks/1.json").json["task"]["status"] == "cancelled")


def test_notes_and_tags(page):
    assert page.post("/api/tasks/1/note", {"message": "näturlich <b>"}).json["task"]["message"] == "näturlich <b>"
    assert page.post("/api/tasks/1/tag", {"add": ["a", "b"]}).json["task"]["tags"] == ["a", "b"]
    assert page.post("/api/tasks/1/tag", {"add": ["c"], "remove": ["a"]}).json["task"]["tags"] == ["b", "c"]
    wrong: list[object] = [{}, {"message": 7}, {"message": None}, []]
    for body in wrong:
        assert page.post("/api/tasks/1/note", body).status == 400
    assert page.post("/api/tasks/1/tag", {"add": "abc"}).status == 400


def test_what_an_action_tells(page):
    assert page.post("/api/tasks/1/status").json["result"]["status"] == "complete"
    output = page.post("/api/tasks/1/output").json
    assert (output["text"], output["truncated"]) == ("hello\n", False)
    assert page.post("/api/tasks/1/cancel").status == 409


def test_a_number_that_is_none_is_refused():
    for value in (float("inf"), "many", True, [1]):
        with pytest.raises(WrongUsage, match="lines is to be of the kind int"):
            of_kind("lines", "int", value)
    assert of_kind("lines", "int", "3") == 3


def test_delete_forgets(page):
    assert page.delete("/api/tasks/2").status == 200
    assert page.get("/tasks/2.json").status == 404
    assert numbers(page.get("/tasks.json")) == [5, 4, 3, 1]


def test_many_at_once(page, qrec):
    told = page.post("/api/bulk", {"action": "rerun", "ids": [1, 4, "nobody"]}).json
    assert len(told["done"]) == 2
    assert [one["id"] for one in told["failed"]] == ["nobody"]
    qrec("wait", "1", "4")
    assert [page.get(f"/tasks/{n}.json").json["current"] for n in (1, 4)] == [2, 2]
    told = page.post("/api/bulk", {"action": "cancel", "ids": [1]}).json
    assert (told["done"], len(told["failed"])) == ([], 1)
    told = page.post("/api/bulk", {"action": "delete", "ids": [1, 4]}).json
    assert len(told["done"]) == 2
    assert numbers(page.get("/tasks.json")) == [5, 3, 2]
    for body in ({"action": "dance", "ids": [1]}, {"action": "delete"}, {"action": "delete", "ids": []},
                 {"action": "delete", "ids": [1] * 501}, {"ids": [1]}):  # fmt: skip
        assert page.post("/api/bulk", body).status == 400, body


def test_a_rerun_whose_folder_is_gone_is_refused(kind, qrec, serve, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    qrec("run", "-q", "true", cwd=folder, check=True)
    folder.rmdir()
    served = serve()
    answer = served.post("/api/tasks/1/rerun")
    assert (answer.status, "not there any more" in answer.json["error"]) == (409, True)
    assert not served.get("/tasks/1.json").json["can"]["rerun"]["enabled"]


def test_a_rerun_with_secrets_asks_for_them(qrec, serve, tmp_path):
    qrec("run", "-q", "sh", "-c", 'printf %s "$1" | wc -c > size', "sh", "--password=hunter2hunter2", check=True)
    served = serve()
    assert served.get("/tasks/1.json").json["can"]["rerun"]["secrets"] == 1
    assert served.post("/api/tasks/1/rerun").status == 409
    (tmp_path / "size").unlink()
    answer = served.post("/api/tasks/1/rerun", {"secrets": ["other"]})
    assert answer.status == 200, answer
    wait_until(lambda: (tmp_path / "size").exists() and (tmp_path / "size").read_text().split() == ["16"])


def test_a_lost_task_is_seen_as_lost(kind, serve, start):
    """Nobody but the server looks."""
    running = start("run", "-q", "sleep", "60")
    served = serve()
    pid = wait_until(lambda: [task["pid"] for task in served.get("/tasks.json").json["tasks"] if task["pid"]])[0]
    running.kill()
    os.kill(pid, 9)
    wait_until(lambda: served.get("/tasks/1.json").json["task"]["status"] == "lost")


# Much


def test_a_long_history_is_listed_a_page_at_a_time(home, serve):
    """Whatever is asked for: an answer takes as long as one page, and says how far it looked."""
    store = SqliteStore(str(home))
    store.add_all([many(index) for index in range(20_000)])
    served = serve(limits={"listing.PATIENCE": 0.0001})
    assert len(numbers(served.get("/tasks.json"))) == 100
    for words in ("host=nowhere", "tag=none", "sort=seconds", "sort=memory&host=nowhere", "status=failed", "longer=1h"):
        answer = served.get(f"/tasks.json?{words}").json
        found = len(answer["tasks"])
        assert found == 100 or answer["partial"] or answer["next"] is None, words
    assert followed(served, "host=nowhere", 3) == []
    assert followed(served, "host=rare", 3) == [12_346]


def followed(served: Served, words: str, least: int) -> list[int]:
    """The numbers of all tasks that are found, in answers of which at least so many say that there is more to see."""
    told = served.get(f"/tasks.json?{words}").json
    found, partial = [task["number"] for task in told["tasks"]], 0
    while told["partial"]:
        partial += 1
        told = served.get(f"/tasks.json?{words}&after={told['next']}").json
        found += [task["number"] for task in told["tasks"]]
    assert told["next"] is None
    assert partial >= least
    return found


def test_a_search_without_time_says_that_there_is_more_to_see(home, qrec, serve):
    """However short the time is, one task is looked at: who goes on comes to the end."""
    for word in ("needle", "hay", "hay"):
        qrec("run", "-q", "echo", word, check=True)
    assert followed(serve(limits={"listing.PATIENCE": 0}), "q=needle", 0) == [1]
    assert followed(serve(limits={"listing.PATIENCE": 0}), "q=a", 2) == [3, 2]


def many(index: int) -> Bundle:
    status = Status.FAILED if index % 10 == 0 else Status.COMPLETE
    began = 1.6e9 + index
    return Bundle(task=Task(
        uid=new_uid("shell"), executor="shell", argv=("make", str(index)), turn=index + 1, user="ada", pwd="/",
        host="rare" if index == 12_345 else "box", status=status, returncode=int(status is Status.FAILED),
        created=timestamp(began), started=timestamp(began), ended=timestamp(began + index % 97),
        usage={"memory": index * 7919 % 10_007},
    ))  # fmt: skip


def test_the_wheel_has_what_pages_need():
    """setup.cfg names the folders; tests/test_package.py builds one."""
    words = (Path(__file__).parents[2] / "setup.cfg").read_text()
    assert "templates/**" in words
    assert "static/**" in words
    needed = {line.split()[0] for line in words.splitlines() if ">=" in line}
    assert {"flask", "flask-socketio", "simple-websocket"} <= needed
