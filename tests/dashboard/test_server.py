"""`qrec start` itself: where it listens, how it ends, how it learns of changes, and that no command notices it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from functools import partial
from typing import Any

import pytest

from qrec.dashboard import feed
from qrec.dashboard.doors import Doors
from qrec.dashboard.server import SLOW, settle
from qrec.errors import Refused
from qrec.notify import NOTIFY, tell_all
from tests.dashboard.served import Served, line_of
from tests.helpers import wait_until

URL = re.compile(r"http://127\.0\.0\.1:(\d+)/\?token=[\w-]{43}")


def port_of(line: str | None) -> int:
    """The port in an address as it is printed."""
    found = URL.fullmatch(line or "")
    assert found, line
    return int(found[1])


# Starting and ending


def test_start_prints_an_address_that_opens_a_session(server):
    found = URL.fullmatch(server.first_url)
    assert found, server.first_url
    assert int(found[1]) == server.port
    path = server.first_url.partition(str(server.port))[2]
    assert server.ask("GET", path).status == 303


def test_start_again_prints_a_fresh_address_of_the_one_that_runs(server, qrec):
    again = qrec("start", "--no-open", check=True)
    assert "runs already" in again.err
    found = URL.fullmatch(again.out.strip())
    assert found, again
    assert int(found[1]) == server.port
    assert again.out.strip() != server.first_url
    for url in (again.out.strip(), server.first_url):
        assert server.ask("GET", url.partition(str(server.port))[2]).status == 303


def test_start_again_says_that_options_come_too_late(server, qrec):
    said = qrec("start", "--no-open", "--read-only", "--port", "1", check=True).err.splitlines()[1]
    assert said == (
        f"qrec: it was started without --read-only, with --port {server.port};"
        f" to change that, end it (`kill {server.process.pid}`) and start it again"
    )
    for same in ([], ["--port", str(server.port)], ["--store", "sqlite"], ["--host", "127.0.0.1"]):
        words = [*same, "start", "--no-open"] if "--store" in same else ["start", "--no-open", *same]
        assert "to change that" not in qrec(*words, check=True).err


def test_one_that_does_not_answer_keeps_its_place(server, home, monkeypatch):
    """Or pages would find the new one, and nobody the old one any more."""
    monkeypatch.setattr("qrec.dashboard.server.ASKED", 0.1)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Refused, match=f"process {server.process.pid}, and does not answer"):
            settle(str(home))
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    monkeypatch.setattr("qrec.dashboard.server.ASKED", 60)
    assert port_of(settle(str(home))) == server.port


def test_of_those_that_begin_at_once_one_serves(start, home):
    both = [start("start", "--no-open", "--port", "0") for _ in range(2)]
    ports = {port_of(line_of(process)) for process in both}
    assert len(ports) == 1
    wait_until(lambda: [process.poll() for process in both].count(0) == 1)


def test_machines_that_share_a_home_have_a_server_each(server, home, monkeypatch):
    """A port of one tells nothing of another's, and neither takes the other's place."""
    here = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((here[0], "elsewhere", *here[2:])))
    assert settle(str(home)) is None, "there is none yet"
    monkeypatch.undo()
    assert port_of(settle(str(home))) == server.port


def test_a_home_that_cannot_be_written_is_told_in_a_line(qrec, tmp_path):
    (tmp_path / "file").write_text("")
    told = qrec("--home", tmp_path / "file" / "home", "start", "--no-open")
    assert (told.returncode, told.err.count("\n")) == (1, 1), told
    assert "own" not in told.err


def test_start_again_finds_a_unix_socket(serve, qrec, tmp_path):
    served = serve("--unix", str(tmp_path / "s"))
    again = qrec("start", check=True)
    token = again.out.partition("?token=")[2].strip()
    assert served.ask("GET", f"/?token={token}").status == 303


def test_what_a_killed_server_left_holds_up_nobody(serve, home, tmp_path):
    path = str(tmp_path / "s")
    served = serve("--unix", path)
    served.end(signal.SIGKILL)
    assert (served.folder / "server.json").exists()
    assert serve("--unix", path).get("/tasks.json").status == 200


def test_a_socket_or_file_in_use_is_not_taken_away(serve, qrec, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    refused = qrec("start", "--no-open", "--unix", taken)
    assert (refused.returncode, taken.read_text()) == (1, "mine")
    assert "Address already in use" in refused.err
    serve("--unix", str(tmp_path / "s"))
    other = qrec("--home", tmp_path / "other", "start", "--no-open", "--unix", tmp_path / "s")
    assert other.returncode == 1


def test_a_port_that_is_asked_for_and_taken_is_an_error(qrec):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = qrec("start", "--no-open", "--port", str(taken.getsockname()[1]))
    assert refused.returncode == 1
    assert "taken" in refused.err
    assert refused.err.count("\n") == 1


def test_the_default_port_taken_the_next_one_is_used_and_said_so(start, home):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(AssertionError):  # who has it all that time keeps it, which is as good
            wait_until(partial(holds, taken, 5000), 10)
        process = start("start", "--no-open")
        found = URL.fullmatch(line_of(process))
        assert found
        assert int(found[1]) > 5000
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert b"port 5000 is taken" in process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(serve, home, number):
    server = serve(limits={"server.DEADLINE": 75, "server.LAST_WORDS": 45})  # as soon as it can, and not by then
    pages = [server.connect() for _ in range(5)]
    for page in pages:
        page.watch({"tasks": True})
    began = time.monotonic()
    assert server.end(number) == 0
    assert time.monotonic() - began < 40
    for page in pages:
        page.thread.join(60)
        assert (page.connected, page.told("bye")) == (False, [{}])
    assert not (server.folder / "server.json").exists()
    assert list((home / NOTIFY).iterdir()) == []
    assert b"Traceback" not in server.process.stderr.read()


def test_it_ends_though_a_page_hears_nothing(server):
    """A page whose machine sleeps takes nothing any more; the deadline holds."""
    page = server.connect()
    page.watch({"tasks": True})
    stuck = socket.create_connection(("127.0.0.1", server.port))
    stuck.sendall(b"POST /api/bulk HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
    began = time.monotonic()
    assert server.end() == 0
    assert time.monotonic() - began < 0.8 * SLOW
    stuck.close()


def test_nothing_but_the_address_goes_to_stdout(server):
    server.get("/tasks")
    server.get("/nowhere")
    server.end()
    assert server.process.stdout.read() == b""
    assert server.process.stderr.read().decode() == "qrec: Ctrl-C ends the dashboard, and no command with it\n"


def test_wrong_words_are_told(qrec):
    for words in (["--port", "70000"], ["--port", "x"], ["--nonsense"], ["more"]):
        told = qrec("start", *words)
        assert (told.returncode, told.err.count("\n")) == (2, 1), told


def holds(taken: socket.socket, port: int) -> bool:
    """Have a socket listen at a port, if nobody else does."""
    with contextlib.suppress(OSError):
        taken.bind(("127.0.0.1", port))
        taken.listen()
    return bool(taken.getsockname()[1] == port)


# Following changes


def says(page, message: str) -> bool:
    """Whether a page was told of a task with that note."""
    return any(row["message"] == message for what in page.told("changed") for row in what.get("tasks", []))


def changes(page, kind: str) -> list[dict[str, Any]]:
    return [event for what in page.told("changed") for event in what["events"] if event["kind"] == kind]


def test_a_change_by_another_process_is_told(kind, server, qrec):
    with server.connect() as page:
        page.watch({"tasks": True})
        qrec("run", "-q", "-m", "fresh", "true", check=True)
        wait_until(lambda: len(changes(page, "status")) >= 1)
        assert changes(page, "added")[0]["number"] == 1
        rows = [row for what in page.told("changed") for row in what.get("tasks", [])]
        assert rows[-1]["message"] == "fresh"
        qrec("note", "1", "other", check=True)
        wait_until(lambda: changes(page, "note"))
        qrec("clear", "-y", "1", check=True)
        wait_until(lambda: changes(page, "removed"))
        assert max(what["sequence"] for what in page.told("changed")) == server.get("/tasks.json").json["sequence"]


def test_changes_are_told_soon(kind, serve, qrec, home):
    """Long before the server looks by itself, which here it never does: the writer wakes it."""
    from qrec.registry import Registry

    server = serve(limits={"feed.LOOK": 3600})
    qrec("run", "-q", "true", check=True)
    store = Registry(str(home)).store(str(home), kind)
    task = store.numbered(1)
    with server.connect() as page:
        page.watch({"tasks": True})
        for turn in range(12):
            time.sleep(0.01 * turn)  # before and after the server has gone to rest
            store.change(task.uid, message=str(turn))
            wait_until(partial(says, page, str(turn)))


def test_without_a_wake_up_changes_are_told_all_the_same(kind, server, qrec, home):
    for path in (home / NOTIFY).iterdir():
        path.unlink()
    with server.connect() as page:
        page.watch({"tasks": True})
        qrec("run", "-q", "true", check=True)
        wait_until(lambda: changes(page, "status"))


def test_what_changed_just_before_is_told_to_who_begins_to_watch(kind, serve, qrec):
    """Between reading the list and watching it something may have changed."""
    server = serve(limits={"feed.RECENT": 600})
    qrec("run", "-q", "true", check=True)
    with server.connect() as page:
        page.watch({"tasks": True})
        wait_until(lambda: changes(page, "added"))


def test_only_those_who_watch_a_task_are_told_of_it(kind, server, qrec):
    qrec("run", "-q", "true", check=True)
    qrec("run", "-q", "true", check=True)
    uids = {task["number"]: task["uid"] for task in server.get("/tasks.json").json["tasks"]}
    with server.connect() as one, server.connect() as other, server.connect() as none:
        one.watch({"task": uids[1]})
        other.watch({"task": uids[2]})
        qrec("note", "1", "x", check=True)
        wait_until(lambda: changes(one, "note"))
        qrec("note", "2", "x", check=True)
        wait_until(lambda: changes(other, "note"))
        assert {event["number"] for event in changes(one, "note")} == {1}
        assert {event["number"] for event in changes(other, "note")} == {2}
        assert none.told("changed") == []
        one.emit("unwatch", {"task": uids[1]})


def test_a_queue_is_told_of_its_jobs_only(kind, server, qrec):
    with server.connect() as mine, server.connect() as other:
        mine.watch({"queue": "mine"})
        other.watch({"queue": "other"})
        qrec("queue", "submit", "mine", "--", "true", check=True)
        qrec("run", "-q", "true", check=True)
        wait_until(lambda: changes(mine, "added"))
        assert len(changes(mine, "added")) == 1
        assert changes(other, "added") == []
        qrec("queue", "pause", "mine", check=True)
        wait_until(lambda: changes(mine, "queue"))
        assert changes(other, "queue") == []


def test_many_changes_at_once_are_a_gap(server, qrec, home):
    from qrec.stores.sqlite import SqliteStore
    from tests.dashboard.test_api import many

    with server.connect() as page:
        page.watch({"tasks": True})
        SqliteStore(str(home)).add_all([many(index) for index in range(1000)])
        wait_until(lambda: [what for what in page.told("changed") if what["gap"]])
        (gap,) = [what for what in page.told("changed") if what["gap"]]
        assert (gap["events"], gap["sequence"]) == ([], 1000)


def test_growing_output_is_told_to_who_watches_the_task(kind, server, start, tmp_path):
    (tmp_path / "go").touch()
    start("run", "-q", "sh", "-c", "echo begun; while [ -e go ]; do sleep 0.05; done; echo more >&2; sleep 60")
    uid = wait_until(lambda: [task["uid"] for task in server.get("/tasks.json").json["tasks"] if task["last_line"]])[0]
    with server.connect() as page:
        page.watch({"task": uid})
        wait_until(lambda: page.told("grew"))
        assert page.told("grew")[-1] == {"uid": uid, "attempt": 1, "stdout": 6, "stderr": 0, "bytes": 6}
        (tmp_path / "go").unlink()
        wait_until(lambda: page.told("grew")[-1]["stderr"] == 5)


def test_a_page_more_than_there_are_seats_is_told_so(server):
    pages = [server.connect() for _ in range(feed.SEATS)]
    try:
        late = server.connect()
        assert "connected already" in json.loads(late.refusal)["message"]
        assert server.get("/tasks").status == 200, "it only is not live"
        pages.pop().close()
        wait_until(lambda: is_seated(server))
    finally:
        for page in pages:
            page.close()


def is_seated(server: Served) -> bool:
    page = server.connect()
    page.close()
    return not page.refusal


# Commands do not notice


def test_a_server_that_stands_still_delays_no_command(kind, server, qrec, home):
    with server.connect() as page:
        page.watch({"tasks": True})
        qrec("run", "-q", "true", check=True)
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            for _ in range(600):  # more than its socket holds
                tell_all(str(home))
            for _ in range(2):  # a command that waited would never end
                qrec("run", "-q", "true", check=True)
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        wait_until(lambda: {event["number"] for event in changes(page, "added")} >= {2, 3})


def test_nothing_is_asked_of_a_command_when_its_server_dies(kind, server, start, qrec, tmp_path):
    running = start("run", "-q", "sh", "-c", "echo one; until [ -e go ]; do sleep 0.05; done; echo two")
    wait_until(lambda: server.get("/tasks.json").json["counts"]["running"])
    server.end(signal.SIGKILL)
    (tmp_path / "go").touch()
    assert running.communicate(timeout=60)[0] == b"one\ntwo\n"
    assert qrec("get", "1").json["data"]["status"] == "complete"


def test_a_dead_servers_socket_is_removed_by_the_next_writer(kind, serve, home, qrec):
    serve().end(signal.SIGKILL)
    assert len(list((home / NOTIFY).iterdir())) == 1
    qrec("run", "-q", "true", check=True)
    assert list((home / NOTIFY).iterdir()) == []


def test_other_things_in_the_folder_harm_nobody(kind, serve, home, qrec):
    serve()
    (home / NOTIFY / "a file").write_text("x")
    (home / NOTIFY / "a folder").mkdir()
    assert qrec("run", "-q", "true", check=True).err == ""


def test_a_home_of_a_long_name(kind, serve, start, tmp_path):
    """The address of a socket has 107 bytes at most."""
    home = tmp_path / ("long" * 40)
    served = Served(start("--home", home, "start", "--no-open", "--port", "0"), home)
    (notified,) = (home / NOTIFY).iterdir()
    assert len(str(notified)) > 108
    with served.connect() as page:
        page.watch({"tasks": True})
        process = start("--home", home, "run", "-q", "true")
        wait_until(lambda: changes(page, "status"))
    assert process.wait(60) == 0


def test_who_may_hear_is_the_user_alone(server, home):
    (path,) = (home / NOTIFY).iterdir()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def gate(tmp_path, qrec):
    """Task 1 ends when this file is there, which it is not any more."""
    gate = tmp_path / "gate"
    gate.touch()
    qrec("run", "-q", "sh", "-c", f"until test -e {gate}; do sleep 0.05; done", check=True)
    gate.unlink()
    yield gate
    gate.touch()


def test_pages_are_answered_while_a_rerun_is_under_way(kind, serve, gate):
    """As many as anybody asks for, all before the command ends: it cannot end before we let it."""
    served = serve()
    assert served.post("/api/tasks/1/rerun").json["task"]["status"] == "running"
    told = [served.get(path).status for path in ("/", "/tasks", "/tasks.json", "/tasks/1.json") * 10]
    assert told == [303, 200, 200, 200] * 10
    assert served.get("/tasks/1.json").json["task"]["status"] == "running"
    gate.touch()
    wait_until(lambda: served.get("/tasks/1.json").json["task"]["status"] == "complete")


def test_pages_wait_for_no_lock(serve, gate, home):
    """Whoever writes, a rerun as much as anybody, holds up nobody who only looks."""
    served = serve()
    served.log_in()
    db = sqlite3.connect(home / "qrec.db", isolation_level=None)
    try:
        db.execute("BEGIN IMMEDIATE")
        assert [served.get(path).status for path in ("/", "/tasks", "/tasks.json", "/tasks/1.json")] == [
            303,
            200,
            200,
            200,
        ]
    finally:
        db.close()


# The settings


def test_secrets_that_are_set_later_are_covered_from_then_on(kind, server, qrec, home):
    qrec("run", "-q", "-m", "with hunter2hunter2", "echo", "hunter2hunter2", check=True)
    paths = ("/tasks.json", "/tasks/1.json", "/tasks/1/log.json", "/tasks/1/log.txt")
    assert all("hunter2" in server.get(path).text for path in paths)
    qrec("config", "set", "secrets", "hunter[0-9a-z]+", check=True)
    assert not [path for path in paths if "hunter2" in server.get(path).text]
    (home / "config.toml").write_text("secrets = [")
    assert not [path for path in paths if "hunter2" in server.get(path).text], "a slip uncovers nothing"
    (home / "config.toml").write_text("secrets = []")
    assert all("hunter2" in server.get(path).text for path in paths)


# Front doors of threads


def test_each_thread_has_a_door_of_its_own_until_it_gives_it_back(home):
    doors = Doors(str(home))
    mine = doors.mine()
    assert doors.mine() is mine
    others: list[object] = []
    thread = threading.Thread(target=lambda: others.append(doors.mine()))
    thread.start()
    thread.join()
    assert others[0] is not mine
    doors.give_back()
    again = threading.Thread(target=lambda: others.append(doors.mine()))
    again.start()
    again.join()
    assert others[1] is mine


def test_a_slip_in_the_settings_uncovers_nothing_behind_a_new_door(home):
    doors = Doors(str(home))
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text('secrets = ["hunter[0-9]+"]')
    assert doors.mine().redactor.text("hunter2")[0] != "hunter2"
    (home / "config.toml").write_text("secrets = [")
    shown: list[str] = []
    thread = threading.Thread(target=lambda: shown.append(doors.mine().redactor.text("hunter2")[0]))
    thread.start()
    thread.join()
    assert shown != ["hunter2"]


def test_the_verbs_help_does_not_need_flask():
    """Flask takes a quarter of a second; only `qrec start` itself pays for it."""
    code = "import sys; from qrec.cli import run_click; run_click(['start', '--help']); print('flask' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
    assert "--read-only" in done.stdout
