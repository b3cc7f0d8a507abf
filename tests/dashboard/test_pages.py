"""The list of tasks and a task's page in a real browser, beside real commands."""

from __future__ import annotations

import getpass
import json
import os
import re
import signal

import pytest
from playwright.sync_api import expect

from qrec.api import Qrec
from qrec.dashboard import feed
from qrec.task import Status, Task, new_uid
from tests.dashboard.browser import PHONE, chord, findings, held, noted, overflow, visit
from tests.dashboard.served import BUSY, MEASURED, free_port, in_turn
from tests.helpers import wait_until

pytestmark = pytest.mark.timeout(180)

#: What the browser says of a page that asks for a task at the moment in which it goes: a page may be told of something
#: else just before, and look again.
JUST_GONE = "404 (NOT FOUND)"
HOSTILE = '<img src=x onerror="document.title=1"> \u202e "quoted" <b>bold</b>'


def rows(page):
    return page.locator("tr[data-uid]")


def numbers(page):
    return rows(page).locator("td.id").all_inner_texts()


def status(page):
    return page.locator(".head h1 .status")


def copied(page):
    return page.evaluate("navigator.clipboard.readText()")


def statuses(qrec, *more):
    return [task["status"] for task in qrec("ls", "--json", *more).json]


# The list


def test_what_the_connection_needs_is_asked_for_until_it_comes(server, page):
    page.forgiven.append("ERR_FAILED")
    page.route("**/socket.io.esm.min.js", lambda route: route.abort())
    visit(page, server)
    expect(page.locator(".connection")).to_have_text("live")


def test_the_list_tells_what_was_recorded(kind, qrec, server, page):
    qrec("run", "-q", "-m", "before the release", "-t", "nightly", "--", "sh", "-c", "exit 3")
    qrec("run", "-q", "--", "echo", HOSTILE)
    visit(page, server)
    expect(rows(page)).to_have_count(2)
    assert numbers(page) == ["2", "1"]
    failed = rows(page).nth(1)
    for text in ("failed", "sh -c 'exit 3'", "before the release", "nightly", "shell", "3"):
        expect(failed).to_contain_text(text)
    failed.locator("time").first.hover()
    expect(failed.locator("time").first).to_have_attribute("title", re.compile(r"\d\d UTC$"))
    expect(failed.locator("time").first).to_have_attribute("datetime", re.compile(r"^20\d\d-.*(Z|\+00:00)$"))
    expect(rows(page).first).to_contain_text("<img src=x onerror=")
    expect(page.get_by_role("link", name="failed 1")).to_be_visible()
    expect(page.locator(".connection")).to_have_text("live")


def test_no_tasks_yet_teaches(qrec, server, page):
    page.goto(server.url())
    expect(page.get_by_role("heading", name="No tasks yet")).to_be_visible()
    page.get_by_role("button", name="Copy the command").click()
    wait_until(lambda: copied(page) == "qrec run -- echo hello")
    qrec("run", "-q", "--", "echo", "hello")
    expect(rows(page)).to_have_count(1)


def test_new_tasks_wait_and_known_ones_change_in_place(kind, qrec, start, server, page, tmp_path):
    gate = tmp_path / "gate"
    start("run", "--", "sh", "-c", f"until test -e {gate}; do sleep 0.05; done")
    wait_until(lambda: statuses(qrec) == ["running"])
    visit(page, server)
    first = rows(page).first
    expect(first.locator(".state")).to_have_text("running")
    place = first.bounding_box()
    qrec("run", "-q", "--", "echo", "new")
    expect(page.get_by_role("button", name="1 new task")).to_be_visible()
    gate.touch()
    expect(first.locator(".state")).to_have_text("complete")
    assert numbers(page) == ["1"]
    assert first.bounding_box() == place
    expect(page.get_by_role("link", name="complete 2")).to_be_visible()
    page.get_by_role("button", name="1 new task").click()
    expect(rows(page)).to_have_count(2)
    assert numbers(page) == ["2", "1"]
    expect(page.locator(".pill")).to_have_count(0)


def test_a_deleted_task_is_struck_out_where_it_stands(qrec, server, page):
    page.forgiven.append(JUST_GONE)
    qrec("run", "-q", "--", "echo", "one")
    qrec("run", "-q", "--", "echo", "two")
    visit(page, server)
    expect(rows(page)).to_have_count(2)
    qrec("clear", "1", "--yes", check=True)
    expect(rows(page).nth(1)).to_have_class(re.compile("gone"))


def test_filters_live_in_the_address(qrec, server, page):
    for words in (["true"], ["sh", "-c", "exit 1"], ["echo", "needle"]):
        qrec("run", "-q", "--", *words)
    visit(page, server)
    page.get_by_role("link", name="failed 1").click()
    expect(page).to_have_url(re.compile(r"/tasks\?status=failed$"))
    expect(rows(page)).to_have_count(1)
    page.get_by_role("button", name="More filters").click()
    page.get_by_label("Exit code").fill("7")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile(r"code=7"))
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.go_back()
    expect(rows(page)).to_have_count(1)
    page.go_back()
    expect(rows(page)).to_have_count(3)
    page.get_by_role("searchbox").fill("needle")
    expect(rows(page)).to_have_count(1)
    expect(page).to_have_url(re.compile(r"q=needle"))
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("needle")
    expect(rows(page)).to_have_count(1)
    page.get_by_role("button", name="Clear filters").click()
    expect(rows(page)).to_have_count(3)
    page.goto(f"{server.base}/tasks?status=lost")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()


def test_the_words_of_a_search_may_be_typed_with_pauses(qrec, server, page):
    """The space before the pause is not taken away."""
    qrec("run", "-q", "--", "echo", "two words")
    visit(page, server)
    page.get_by_role("searchbox").focus()
    page.keyboard.type("two ")
    expect(page).to_have_url(re.compile(r"q=two$"))
    page.keyboard.type("words")
    expect(page).to_have_url(re.compile(r"q=two\+words$"))


def test_a_filter_is_not_answered_with_what_was_asked_before_it(qrec, server, page):
    """The browser asks for the first rows before there is a program."""
    for word in "hay", "needle":
        qrec("run", "-q", "--", "echo", word)
    release = held(page, r"/tasks\.json\?limit=100$")
    visit(page, server, wait_until="commit")
    page.get_by_role("searchbox").fill("needle")
    expect(rows(page)).to_have_count(1)
    release()
    expect(rows(page)).to_have_count(1)


def test_a_filter_that_makes_no_sense_is_said_in_a_sentence(qrec, server, page):
    page.forgiven.append("400 (BAD REQUEST)")
    visit(page, server, "/tasks?longer=soon")
    said = page.get_by_role("alert").filter(has_text="'soon' is no duration")
    expect(said).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator(".empty")).to_contain_text("No tasks yet")
    expect(said).to_have_count(0)


def lasting(home, *seconds):
    """Tasks of the past that took so long: what is started here takes as long as the machine lets it."""
    store = Qrec(str(home)).store
    for took in seconds:
        store.add(
            Task(
                uid=new_uid("shell"),
                executor="shell",
                argv=("sleep", str(took)),
                status=Status.COMPLETE,
                returncode=0,
                created="2026-11-20T10:00:00.000000Z",
                started="2026-11-20T10:00:00.000000Z",
                ended=f"2026-11-20T10:00:{took:02}.000000Z",
            )
        )


def test_sorting_and_pages(home, server, page):
    lasting(home, 30, 1, 15)
    visit(page, server)
    expect(rows(page)).to_have_count(3)
    page.get_by_role("button", name="Took").click()
    expect(page).to_have_url(re.compile("sort=seconds&order=desc"))
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Took")
    expect(rows(page).first.locator(".id")).to_have_text("1")
    page.get_by_role("button", name="Took").click()
    expect(rows(page).first.locator(".id")).to_have_text("2")
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Took")


def test_many_tasks_come_in_pages(qrec, server, page):
    data = {"returncode": 0, "status": "complete"}
    lines = [
        {
            "executor": "shell",
            "uid": f"shell-00000000-0000-4000-8000-{at:012x}",
            "command": f"echo {at}",
            "data": {**data, "cmd": ["echo", str(at)]},
        }
        for at in range(230)
    ]
    qrec("import", "jsonl", "-", input="".join(f"{json.dumps(line)}\n" for line in lines), check=True)
    visit(page, server)
    expect(page.get_by_text("100 of 230")).to_be_visible()
    expect(rows(page)).to_have_count(100)
    assert (numbers(page)[0], numbers(page)[-1]) == ("230", "131")
    page.get_by_role("link", name="Older").click()
    expect(rows(page).first.locator(".id")).to_have_text("130")
    page.get_by_role("link", name="Older").click()
    expect(rows(page)).to_have_count(30)
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    page.go_back()
    expect(rows(page).first.locator(".id")).to_have_text("130")
    page.get_by_role("link", name="Newer").click()
    expect(rows(page).first.locator(".id")).to_have_text("230")


def test_back_leads_to_where_one_was(home, server, page):
    lasting(home, *range(60))
    visit(page, server)
    expect(rows(page)).to_have_count(60)
    page.evaluate("scrollTo(0, 900)")
    page.wait_for_timeout(0)
    rows(page).nth(30).locator("a.command").click()
    expect(status(page)).to_contain_text("complete")
    page.go_back()
    expect(rows(page)).to_have_count(60)
    wait_until(lambda: page.evaluate("scrollY") == 900)


def test_a_job_is_called_by_its_name(qrec, server, page):
    qrec("queue", "submit", "--name", "prep", "--", "echo", "prepare", check=True)
    visit(page, server)
    expect(rows(page).first).to_contain_text("echo prepare")
    rows(page).first.get_by_role("link", name="prep", exact=True).click()
    expect(page).to_have_url(re.compile(r"/queues/default\?job=queue-"))
    expect(page.get_by_label("Chosen job")).to_contain_text("prep")


def test_what_runs_shows_what_it_uses_now(qrec, start, server, page):
    start("run", "--", "sleep", "600")
    visit(page, server)
    expect(rows(page).first.locator(".memory .counting")).to_have_text(re.compile(r"[kM]B$"))


def test_the_keyboard_is_enough(qrec, server, page):
    for word in "one", "two", "three":
        qrec("run", "-q", "--", "echo", word)
    visit(page, server)
    expect(rows(page)).to_have_count(3)
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(rows(page).nth(1).locator("a.command")).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("x")
    expect(page.get_by_text("1 selected")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("1 selected")).to_have_count(0)
    page.keyboard.press("y")
    wait_until(lambda: copied(page) == "echo three")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("jx?two")
    expect(page.get_by_role("searchbox")).to_have_value("jx?two")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("searchbox").fill("two")
    expect(rows(page)).to_have_count(1)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("next task")
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/tasks/2$"))
    expect(status(page)).to_contain_text("complete")
    chord(page, "g", "t")
    expect(page).to_have_url(re.compile(r"/tasks$"))


def test_several_are_run_again_cancelled_compared_and_deleted(qrec, start, server, page, tmp_path):
    page.forgiven.append(JUST_GONE)
    for word in "one", "two":
        qrec("run", "-q", "--", "echo", word)
    start("run", "--", "sleep", "600")
    wait_until(lambda: statuses(qrec)[2:] == ["running"])
    visit(page, server)
    page.get_by_label("Select all on this page").check()
    said = noted(page, ".toasts [role=status]")
    expect(page.get_by_text("3 selected")).to_be_visible()
    expect(page.get_by_role("button", name="Compare")).to_be_disabled()
    page.get_by_role("region").get_by_role("button", name="Rerun").click()
    dialog = page.get_by_role("dialog", name="Rerun 2 tasks?")
    expect(dialog).to_contain_text("that of the shell in which qrec start was typed")
    for text in ("Folder", str(tmp_path), "User", getpass.getuser()):
        expect(dialog).to_contain_text(text)
    expect(dialog).to_contain_text("1 of the 3 selected is left out")
    expect(dialog).to_contain_text("echo two")
    dialog.get_by_role("button", name="Back").click()
    assert [task["attempt"] for task in qrec("ls", "--json").json] == [1, 1, 1]
    page.get_by_role("region").get_by_role("button", name="Rerun").click()
    dialog.get_by_role("button", name="Rerun 2").click()
    wait_until(lambda: "Started 2 tasks." in said())
    wait_until(lambda: [task["attempt"] for task in qrec("ls", "--json").json] == [2, 2, 1])
    wait_until(lambda: statuses(qrec) == ["complete", "complete", "running"])
    rows(page).first.get_by_label("Select task 3").check()
    page.get_by_role("region").get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel", exact=True).last.click()
    expect(rows(page).locator(".state")).to_have_text(["cancelled", "complete", "complete"])
    page.get_by_label("Select task 1").check()
    page.get_by_label("Select task 2").check()
    page.get_by_role("region").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete 2").click()
    wait_until(lambda: "Deleted 2 tasks." in said())
    assert [task["number"] for task in qrec("ls", "--json").json] == [3]


def test_two_are_compared(qrec, server, page):
    qrec("run", "-q", "--", "echo", "one")
    qrec("run", "-q", "--", "echo", "two")
    visit(page, server)
    page.get_by_label("Select all on this page").check()
    page.get_by_role("button", name="Compare").click()
    expect(page).to_have_url(re.compile(r"/tasks/2\?tab=compare&with=1$"))
    panel = page.get_by_role("tabpanel")
    expect(panel.locator("tr", has_text="arguments")).to_contain_text("echo one")
    expect(panel.locator("pre .removed")).to_have_text(["-one\n"])
    expect(panel.locator("pre .added")).to_have_text(["+two\n"])


def test_what_was_not_measured_is_called_so(home, qrec, server, page):
    lasting(home, 5)
    qrec("run", "-q", "--", "sh", "-c", BUSY, check=True)
    visit(page, server, "/tasks/2?tab=compare&with=1")
    usage = page.get_by_role("tabpanel").locator("section").filter(has=page.get_by_role("heading", name="Usage"))
    expect(usage.locator("tr", has_text="memory")).to_contain_text("not measured")


def test_a_history_of_the_same_command_stands_beside_it(qrec, server, page, tmp_path):
    for _ in range(3):
        qrec("run", "-q", "--", "sh", "-c", "test -e x; code=$?; touch x; exit $code")
    visit(page, server)
    bars = rows(page).first.get_by_role("img", name="Last 3 runs of this command: 1 failed")
    drawn = {status: bars.locator(f"path.{status}").get_attribute("d").count("M") for status in ("complete", "failed")}
    assert drawn == {"complete": 2, "failed": 1}


# A task


def test_a_page_of_a_task_tells_it_and_takes_note_and_tags(kind, qrec, server, page):
    qrec("run", "-q", "--", "sh", "-c", "echo out; echo trouble >&2; exit 3")
    visit(page, server, "/tasks/1")
    expect(status(page)).to_contain_text("failed")
    expect(status(page)).to_contain_text("exit 3")
    expect(page).to_have_title(re.compile("^1 failed"))
    page.get_by_role("button", name="Copy the command").click()
    wait_until(lambda: copied(page).startswith("sh -c "))
    page.get_by_role("button", name="Add a note").click()
    page.get_by_label("Note", exact=True).fill(HOSTILE)
    page.keyboard.press("Enter")
    expect(page.locator("p.note")).to_have_text(HOSTILE)
    page.get_by_role("button", name="+ tag").click()
    page.get_by_label("New tags").fill("nightly run, paper")
    page.keyboard.press("Enter")
    expect(page.locator(".words .tag")).to_have_count(2)
    page.get_by_role("button", name="Remove the tag nightly run").click()
    expect(page.locator(".words .tag")).to_have_count(1)
    (task,) = qrec("ls", "--json").json
    assert (task["message"], task["tags"]) == (HOSTILE, ["paper"])
    qrec("note", "1", "from elsewhere", check=True)
    expect(page.locator("p.note")).to_have_text("from elsewhere")
    page.get_by_role("tab", name="Why").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("trouble")
    page.get_by_role("tab", name="Details").click()
    expect(page.get_by_role("tabpanel")).to_contain_text(task["uid"])
    page.go_back()
    expect(page.get_by_role("tab", name="Why")).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Why").press("ArrowRight")
    expect(page.get_by_role("tab", name="Details")).to_be_focused()


def test_what_hooks_have_done_is_told(home, qrec, server, page):
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text('[hooks.diary]\non = "failed"\nrun = "echo noted"\n')
    qrec("run", "-q", "--", "sh", "-c", "exit 3")
    wait_until(lambda: "diary" in qrec("get", "1").out, what="the hook to have run")
    visit(page, server, "/tasks/1?tab=details")
    record = page.get_by_role("tabpanel").locator("section").filter(has=page.get_by_role("heading", name="Record"))
    expect(record).to_contain_text(re.compile(r"Hooks\s*diary \(failed\): done"))
    expect(page.get_by_role("tab", name="Shell")).to_have_count(0)


def test_a_rerun_asks_and_shows_the_next_attempt(qrec, server, page):
    qrec("run", "-q", "--", "sh", "-c", "test -e x && echo second || { echo first; touch x; exit 1; }")
    visit(page, server, "/tasks/1")
    expect(status(page)).to_contain_text("failed")
    page.keyboard.press("r")
    dialog = page.get_by_role("dialog", name="Rerun task 1?")
    for text in ("attempt 2", "test -e x", "Folder", "User", "Host"):
        expect(dialog).to_contain_text(text)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert qrec("ls", "--json").json[0]["attempt"] == 1
    page.get_by_role("button", name="Rerun").click()
    dialog.get_by_role("button", name="Rerun").click()
    expect(status(page)).to_contain_text("complete")
    page.get_by_role("tab", name="Attempts 2").click()
    page.get_by_role("button", name="Compare with 2").click()
    expect(page.locator("pre .added")).to_have_text(["+second\n"])
    page.get_by_label("attempt").select_option("1")
    expect(page.get_by_text("This is attempt 1 of 2.")).to_be_visible()
    expect(status(page)).to_contain_text("failed")
    expect(page).to_have_url(re.compile("attempt=1"))


def test_whose_environment_a_rerun_has_is_said_before_it_runs(qrec, serve, page):
    qrec("run", "-q", "--", "true", env={"CUDA_VISIBLE_DEVICES": "1"}, check=True)
    visit(page, serve("--allow-edit", limits={}), "/tasks/1")
    expect(status(page)).to_contain_text("complete")
    page.keyboard.press("r")
    told = page.get_by_role("dialog")
    expect(told).to_contain_text("that of the shell in which qrec start was typed")
    expect(told.locator("tbody tr")).to_have_text(["CUDA_VISIBLE_DEVICES1not set"])
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Edit and run").click()
    page.get_by_role("button", name="Look at the change").click()
    expect(told.locator("tbody tr")).to_have_text(["CUDA_VISIBLE_DEVICES1not set"])
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    told.get_by_role("button", name="Rerun").click()
    expect(page.get_by_role("tab", name="Attempts 2")).to_be_visible()
    expect(status(page)).to_contain_text("complete")
    page.keyboard.press("r")
    expect(told).to_contain_text("What is recorded of it is the same.")
    expect(told.locator("tbody tr")).to_have_count(0)


def test_names_and_numbers_are_told_as_people_read_them(qrec, server, page):
    qrec("run", "-q", "--", "true", env={"CUDA_VISIBLE_DEVICES": "1"}, check=True)
    visit(page, server, "/tasks/1?tab=details")
    expect(page.get_by_role("tabpanel")).to_contain_text("CUDA_VISIBLE_DEVICES")
    expect(page.get_by_role("tabpanel")).to_contain_text(re.compile(r"memory[\d.]+ [MGT]B"))
    page.keyboard.press("o")
    expect(page.locator(".log-empty")).to_be_visible()
    page.keyboard.press("?")
    expect(page.locator("dl.keys")).to_contain_text("search the log")
    every = page.locator("dl.keys dt").all_inner_texts()
    assert len(set(every)) == len(every)


def test_what_comes_late_is_not_shown_for_what_was_asked_since(qrec, server, page):
    qrec("run", "-q", "--", "sh", "-c", "test -e x || { touch x; exit 3; }")
    qrec("rerun", "-q", "1", check=True)
    release = held(page, r"/tasks/[^/]+\.json$")
    visit(page, server, "/tasks/1")
    expect(page.locator("header")).to_be_visible()
    for key in "yYipw":
        page.keyboard.press(key)
    release()
    expect(status(page)).to_contain_text("complete")
    release = held(page, r"/tasks/[^/]+\.json\?attempt=1$")
    page.get_by_label("attempt").select_option("1")
    expect(page).to_have_url(re.compile("attempt=1$"))
    with page.expect_response(re.compile(r"/tasks/[^/]+\.json$")):
        page.go_back()
    release()
    expect(status(page)).to_contain_text("complete")


def test_a_running_task_is_cancelled_and_deleted(qrec, start, server, page):
    page.forgiven.append(JUST_GONE)
    start("run", "--", "sleep", "600")
    wait_until(lambda: statuses(qrec) == ["running"])
    visit(page, server, "/tasks/1")
    expect(page.get_by_role("button", name="Rerun")).to_have_count(0)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_contain_text(re.compile("Folder.*User.*Host"))
    page.get_by_role("dialog").get_by_role("button", name="Cancel", exact=True).last.click()
    expect(status(page)).to_contain_text("cancelled")
    page.get_by_label("More actions").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_contain_text(re.compile("Folder.*User.*Host"))
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="No tasks yet")).to_be_visible()
    assert qrec("ls", "--json").json == []


def test_actions_of_the_executor_are_buttons_and_their_options_fields(qrec, start, server, page):
    qrec("run", "-q", "--", "tmux", "new-session", "-d", "-s", "work", "cat", check=True)
    wait_until(lambda: statuses(qrec) == ["running"])
    visit(page, server, "/tasks/1")
    page.get_by_role("button", name="Send").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("What to type.")
    expect(dialog).not_to_contain_text("TASK")
    dialog.get_by_label("text").fill("typed by a test")
    dialog.get_by_label("enter").check()
    said = noted(page, ".toasts [role=status]")
    dialog.get_by_role("button", name="Send").click()
    wait_until(lambda: "typed into" in said())
    page.get_by_role("tab", name="tmux").click()
    expect(page.locator("pre.screen")).to_contain_text("typed by a test")
    page.get_by_label("More actions").click()
    expect(page.get_by_role("button", name="Attach")).to_be_disabled()
    page.get_by_role("button", name="Status").click()
    expect(page.get_by_role("dialog", name="Status")).to_contain_text("work")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel", exact=True).last.click()
    expect(status(page)).to_contain_text("cancelled")


def test_a_job_tells_what_it_waits_for(qrec, server, page):
    qrec("queue", "submit", "--name", "prep", "--", "echo", "prep", check=True)
    qrec("queue", "submit", "--name", "train", "--depends", "prep", "--", "echo", "train", check=True)
    visit(page, server, "/tasks/2?tab=panel")
    panel = page.get_by_role("tabpanel")
    expect(panel).to_contain_text("Depends on")
    expect(panel.get_by_role("link", name="prep")).to_have_attribute("href", "/tasks/1")
    expect(panel).to_contain_text("Why it waits")


def test_usage_is_plotted_on_one_clock(qrec, server, page):
    qrec("run", "-q", "--", "sh", "-c", BUSY)
    visit(page, server, "/tasks/1")
    plots = page.locator(".usage figure")
    expect(plots.filter(has_text="CPU").locator("canvas")).to_be_visible()
    expect(plots.filter(has_text="Memory").locator("canvas")).to_be_visible()
    page.locator(".usage .u-over").first.hover()
    places = "[...document.querySelectorAll('.usage .u-cursor-x')].map((line) => line.style.transform)"
    wait_until(lambda: len(set(page.evaluate(places))) == 1)
    assert "translate" in page.evaluate(places)[0]


def test_edited_commands_run_where_that_is_allowed(qrec, serve, page):
    qrec("run", "-q", "--", "echo", "one")
    allowed = serve("--allow-edit")
    visit(page, allowed, "/tasks/1")
    page.get_by_role("button", name="Edit and run").click()
    page.get_by_label("Arguments").fill("echo\ntwo; touch x")
    page.get_by_role("button", name="Look at the change").click()
    expect(page.locator("dialog .added")).to_have_text(["+ two; touch x\n"])
    page.get_by_role("dialog", name="Run this?").get_by_role("button", name="Run").click()
    expect(page).to_have_url(re.compile("/tasks/2$"))
    expect(status(page)).to_contain_text("complete")
    assert [task["argv"] for task in qrec("ls", "--json").json] == [["echo", "one"], ["echo", "two; touch x"]]


def test_a_read_only_server_offers_nothing_that_changes(qrec, serve, page):
    qrec("run", "-q", "--", "echo", "one")
    shown = serve("--read-only")
    visit(page, shown)
    expect(rows(page)).to_have_count(1)
    page.get_by_label("Select task 1").check()
    expect(page.get_by_role("region").get_by_role("button")).to_have_text(["Compare", "Copy", "Clear"])
    page.goto(f"{shown.base}/tasks/1")
    expect(status(page)).to_contain_text("complete")
    for name in ("Rerun", "Delete", "Add a note", "Edit and run", "+ tag"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)


def test_what_was_deleted_meanwhile_is_said(qrec, server, page):
    page.forgiven.append(JUST_GONE)
    qrec("run", "-q", "--", "echo", "one")
    visit(page, server, "/tasks/1")
    expect(status(page)).to_contain_text("complete")
    qrec("clear", "1", "--yes", check=True)
    expect(page.get_by_role("heading", name="This task is gone")).to_be_visible()


# The connection, the look


def test_a_lost_connection_is_said_and_made_up_for(qrec, serve, page):
    page.forgiven += ["WebSocket", "ERR_", "Failed to load resource"]
    qrec("run", "-q", "--", "echo", "one")
    server = serve("--port", str(free_port()))
    visit(page, server)
    connection = page.locator(".connection")
    expect(connection).to_have_text("live")
    said = noted(page, ".connection")
    server.end()
    expect(connection).to_contain_text("stale since")
    assert "reconnecting" in said()
    qrec("run", "-q", "--", "echo", "two")
    serve("--port", str(server.port))
    expect(connection).to_have_text("live")
    expect(page.get_by_role("button", name="1 new task")).to_be_visible()


def test_a_server_that_stands_still_is_said_as_soon(serve, page):
    """Nothing ends its connections: only that nothing comes tells of it."""
    assert feed.PING + feed.SILENCE <= 10
    page.forgiven += ["WebSocket", "ERR_", "Failed to load resource"]
    server = serve(limits={"feed.PING": 1, "feed.SILENCE": 1})
    visit(page, server)
    connection = page.locator(".connection")
    expect(connection).to_have_text("live")
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        expect(connection).to_contain_text("stale since", timeout=30_000)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    expect(connection).to_have_text("live")


def test_the_theme_is_chosen_and_remembered(qrec, server, look):
    page = look(color_scheme="light")
    visit(page, server)
    paint = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paint)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    dark = page.evaluate(paint)
    assert dark != light
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(paint) == dark
    page.get_by_role("button", name="Theme: dark").click()
    assert page.evaluate(paint) == light
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(paint) == dark


PATHS = [
    "/tasks",
    "/tasks?status=lost",
    "/tasks/1",
    "/tasks/1?tab=why",
    "/tasks/1?tab=details",
    "/tasks/1?tab=attempts",
    "/tasks/3?tab=panel",
    "/tasks/2?tab=compare&with=1",
    "/tasks/4?tab=why",
]


@pytest.fixture
def some_tasks(qrec):
    """A failed one with everything, a good one, a job that waits, and a failed one with a good one to compare with."""
    qrec(
        "run",
        "-q",
        "-m",
        "a note " * 40,
        "-t",
        "nightly",
        "-t",
        "paper",
        "--",
        "sh",
        "-c",
        f"{BUSY}; echo {'x' * 300}; cat /nowhere; exit 3",
    )
    qrec("run", "-q", "--", "sh", "-c", f"echo {'word ' * 80}")
    qrec("queue", "submit", "--depends", "2", "--", "echo", "waits", check=True)
    qrec("run", "-q", "--", "sh", "-c", "exit 4")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.usefixtures("some_tasks")
def test_nothing_serious_is_found_by_axe(server, look, theme):
    page = look(color_scheme=theme, reduced_motion="reduce")
    for path in PATHS:
        visit(page, server, path)
        page.wait_for_load_state("networkidle")
        assert not findings(page), path
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert not findings(page)


@pytest.mark.usefixtures("some_tasks")
def test_a_phone_shows_everything_without_scrolling_sideways(server, look):
    page = look(viewport=PHONE, has_touch=True, is_mobile=True)
    for path in PATHS:
        visit(page, server, path)
        page.wait_for_load_state("networkidle")
        assert overflow(page) <= 0, path
    visit(page, server)
    expect(rows(page).filter(has_text="cat /nowhere")).to_contain_text("failed")
    assert not findings(page)


@pytest.mark.usefixtures("some_tasks")
def test_nothing_moves_for_those_who_want_no_motion(server, look, start):
    start("run", "--", "sleep", "600")
    page = look(reduced_motion="reduce")
    visit(page, server)
    expect(page.locator(".glyph.running").first).to_be_visible()
    assert page.evaluate("document.getAnimations().length") == 0


def test_the_log_and_the_plots_share_a_clock(qrec, server, page):
    lines = in_turn(*(f"line {n}" for n in range(1, 9)), pause=0.2)
    qrec("run", "-q", "--", "sh", "-c", f"{lines}; {MEASURED}")
    visit(page, server, "/tasks/1")
    expect(page.locator(".usage canvas").first).to_be_visible()
    line = page.get_by_text("line 5", exact=True)
    line.hover()
    transform = "getComputedStyle(document.querySelector('.usage .u-cursor-x')).transform"
    wait_until(lambda: float(page.evaluate(transform).split(",")[4]) > 0)  # it stands at -10 when nothing is pointed at
    plot = page.locator(".usage .u-over").first
    box = plot.bounding_box()
    plot.click(position={"x": box["width"] - 4, "y": 10})
    expect(page.get_by_text("line 8", exact=True)).to_be_visible()


def test_shift_selects_all_between(qrec, server, page):
    for word in "one", "two", "three":
        qrec("run", "-q", "--", "echo", word)
    visit(page, server)
    page.get_by_label("Select task 3").check()
    page.get_by_label("Select task 1").click(modifiers=["Shift"])
    expect(page.get_by_text("3 selected")).to_be_visible()
