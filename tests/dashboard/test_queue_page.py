"""The pages of queues, of the machine and of executors in a real browser, beside real workers."""

from __future__ import annotations

import re
import subprocess

import pytest
from playwright.sync_api import expect

from qrec.api import Qrec
from qrec.jobs import Jobs, Submission
from qrec.task import Status
from tests.dashboard.browser import PHONE, chord, findings, held, overflow, visit
from tests.helpers import wait_until
from tests.queueing import Marks, end_all, find, job, jobs, stands, start_worker, worker


@pytest.fixture
def marks(tmp_path) -> Marks:
    return Marks(tmp_path / "marks")


@pytest.fixture
def started():
    """Processes that are ended after the test."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    end_all(processes)


@pytest.fixture
def pipeline(home):
    """A queue that has run: one job failed, one was skipped for it, one ran because of it."""
    queue = jobs(
        job("true", "prep"),
        job("echo here; exit 3", "train", depends=("prep",)),
        job("true", "report", depends=("train",)),
        job("true", "clean", depends_any=("train",)),
        job("true", "alarm", depends_failed=("train",)),
    )
    worker(queue).run()
    return queue


def node(page, name: str):
    return page.locator(".node", has_text=name)


def settled(page, locator):
    """Where something stands, when it does not move any more."""
    boxes = [None, locator.bounding_box()]
    while boxes[-1] is None or boxes[-1] != boxes[-2]:
        page.evaluate("new Promise((done) => setTimeout(() => requestAnimationFrame(done), 50))")
        boxes.append(locator.bounding_box())
    return boxes[-1]


def click_at(page, name: str) -> None:
    """Click on a node as a hand does: at its place in the drawing."""
    box = settled(page, node(page, name).locator("rect").last)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_the_axis_of_the_timeline_counts_on(home, server, page):
    """A few seconds are cut into tenths; after 44.9 comes 45.0."""
    queue = jobs(job("true", "one"), job("true", "two", depends=("one",)))
    began = "2026-11-20T10:00:44.200000Z"
    for one, ended in zip(queue.all(), ("44.600000Z", "45.400000Z"), strict=True):
        moved = queue.store.swap(one.uid, (Status.QUEUED, 1), Status.RUNNING, started=began)
        queue.store.swap(
            moved.uid, (Status.RUNNING, 1), Status.COMPLETE, ended=f"2026-11-20T10:00:{ended}", returncode=0
        )
    visit(page, server, "/queues/default?view=timeline")
    labels = page.locator("g.tick text")
    expect(labels.filter(has_text=re.compile(r"^45\.0$"))).to_have_count(1)
    assert not [label for label in labels.all_inner_texts() if label and not re.fullmatch(r"\d\d\.\d", label)]
    expect(page.locator("g.lane text")).to_have_text(["slot 0", "slot 0"])  # two workers' first, or one's that overlap
    page.keyboard.press("+")
    chart = page.locator("svg.gantt")
    before = settled(page, page.locator("g.tick line").first)
    chart.dispatch_event("pointerdown", {"pointerId": 5, "clientX": 400})
    chart.dispatch_event("pointercancel", {"pointerId": 5})
    chart.hover(position={"x": 700, "y": 40})
    assert settled(page, page.locator("g.tick line").first) == before


# The graph


def test_the_graph_shows_every_job_and_how_it_went(server, pipeline, page):
    visit(page, server, "/queues/default")
    expect(page.locator(".node")).to_have_count(5)
    expect(page.locator(".node.failed > text")).to_have_text("train")
    expect(page.locator("path.link.bad")).to_have_count(1)
    expect(page.locator("path.link.any")).to_have_count(1)
    expect(page.locator("path.link.failed")).to_have_count(1)
    expect(page.locator("text.link")).to_have_text(["failed", "any end", "if failed"])
    expect(page).to_have_title("default · qrec")


def test_a_click_tells_why_and_leads_on(server, pipeline, page):
    visit(page, server, "/queues/default")
    click_at(page, "report")
    panel = page.locator(".chosen-job")
    expect(panel).to_be_visible()
    clicked, drawing = (settled(page, one) for one in (node(page, "report"), page.locator("svg.graph")))
    assert clicked["x"] + clicked["width"] <= drawing["x"] + drawing["width"], "what is told of it hides it"
    click_at(page, "train")
    expect(panel).to_contain_text("It failed after")
    expect(panel).to_contain_text("exit code 3")
    expect(page).to_have_url(re.compile(r"job=queue-"))
    panel.get_by_role("button", name="report").click()
    expect(panel.locator("h2")).to_contain_text("report")
    expect(panel).to_contain_text("It was skipped: train failed")
    panel.get_by_role("link", name="Open").click()
    expect(page).to_have_url(re.compile(rf"/tasks/{find(pipeline, 'report').number}$"))
    page.go_back()
    expect(panel.locator("h2")).to_contain_text("report")


def test_a_job_that_never_began(server, pipeline, page):
    visit(page, server, f"/tasks/{find(pipeline, 'report').number}")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    expect(page.locator(".about")).to_contain_text(re.compile("^made "))
    page.keyboard.press("r")
    dialog = page.get_by_role("dialog", name="Rerun")
    for words in (
        "attempt 1 never began",
        "at once and from here, whatever it waits for",
        "Retry lets the queue run it",
    ):
        expect(dialog).to_contain_text(words)
    expect(dialog).not_to_contain_text("printed")
    for path in ("/executor/queue", "/tasks"):
        page.goto(server.base + path)
        expect(page.locator("tr[data-uid]", has_text="skipped").locator(".when")).to_have_text("\u2013")


def test_keys_alone_walk_through_the_graph(server, pipeline, page):
    visit(page, server, "/queues/default")
    page.locator("svg.graph").focus()
    for key, name in (
        ("ArrowRight", "prep"),
        ("ArrowRight", "train"),
        ("ArrowRight", "clean"),
        ("ArrowUp", "report"),
        ("ArrowLeft", "train"),
    ):
        page.keyboard.press(key)
        expect(page.locator(".node.chosen > text")).to_have_text(name)
    page.keyboard.press("Escape")
    expect(page.locator(".node.chosen")).to_have_count(0)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/tasks/\d+$"))


def test_keys_may_be_faster_than_the_server(server, pipeline, page):
    visit(page, server, "/queues/default?job=prep")
    panel = page.locator(".chosen-job")
    expect(panel.locator("h2")).to_contain_text("prep")
    release = held(page, "/job.json")
    page.locator("svg.graph").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".node.chosen > text")).to_have_text("train")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".node.chosen > text")).to_have_text("clean")
    release()
    expect(panel.locator("h2")).to_contain_text("clean")


def scale(page) -> float:
    found = re.search(r"scale\(([\d.]+)\)", page.locator("svg.graph > g").get_attribute("transform"))
    assert found
    return float(found[1])


def test_wheel_keys_and_drag_move_the_graph(server, pipeline, page):
    visit(page, server, "/queues/default")
    expect(page.locator(".node")).to_have_count(5)
    before = scale(page)
    page.locator("svg.graph").hover()
    page.mouse.wheel(0, 400)
    wait_until(lambda: scale(page) < before)
    page.keyboard.press("+")
    page.keyboard.press("+")
    wait_until(lambda: scale(page) > 0.9 * before)
    page.keyboard.press("0")
    wait_until(lambda: scale(page) == before)
    x = node(page, "train").bounding_box()["x"]
    corner = page.locator("svg.graph").bounding_box()
    page.mouse.move(corner["x"] + 100, corner["y"] + 30)
    page.mouse.down()
    page.mouse.move(corner["x"] + 140, corner["y"] + 60, steps=4)
    page.mouse.up()
    wait_until(lambda: abs(node(page, "train").bounding_box()["x"] - x - 40) < 2)
    expect(page.locator(".chosen-job")).to_have_count(0)


def test_focus_is_in_the_address(server, pipeline, page):
    visit(page, server, "/queues/default?job=report")
    page.locator(".chosen-job").get_by_role("button", name="Focus").click()
    expect(page).to_have_url(re.compile("focus=queue-"))
    page.get_by_label("Steps around it").fill("1")
    page.get_by_label("Steps around it").press("Enter")
    expect(page.locator(".node")).to_have_count(2)
    page.get_by_role("button", name="Show all", exact=True).click()
    expect(page.locator(".node")).to_have_count(5)
    page.go_back()
    expect(page.locator(".node")).to_have_count(2)


def test_what_is_alike_is_folded_and_unfolds(server, home, page):
    jobs(job("true", "first"), *(job("true", f"m{at}", depends=("first",)) for at in range(50)))
    visit(page, server, "/queues/default")
    expect(page.locator(".node.group > text")).to_have_text("50 blocked")
    click_at(page, "50 blocked")
    page.locator(".chosen-job").get_by_role("button", name="Unfold").click()
    expect(page.locator(".node.group")).to_have_count(0)
    expect(page.locator(".node", has_text="m9")).to_have_count(1)
    page.get_by_role("button", name="Fold again").click()
    expect(page.locator(".node")).to_have_count(2)
    page.goto(f"{server.base}/queues/default?job=m7")
    expect(page.locator(".node.chosen > text")).to_have_text("m7")


def test_five_thousand_jobs_stay_usable(server, home, page):
    jobs(job("true", "j0"), *(job("true", f"j{at}", depends=(f"j{at // 2}",)) for at in range(1, 5000)))
    visit(page, server, "/queues/default")
    page.keyboard.press("0")
    expect(page.locator(".boxes")).not_to_have_count(0)
    assert page.locator("svg.graph *").count() < 100
    page.goto(f"{server.base}/queues/default?job=j4321")
    expect(page.locator(".chosen-job h2")).to_contain_text("j4321")
    page.locator("svg.graph").focus()
    for _ in range(8):
        page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".chosen-job h2")).to_contain_text("j2160")
    assert page.locator("svg.graph *").count() < 12_000
    page.goto(f"{server.base}/queues/default?view=list")
    expect(page.locator("table.jobs tbody tr")).to_have_count(200)
    page.get_by_role("button", name="Show 200 more").click()
    expect(page.locator("table.jobs tbody tr")).to_have_count(400)


# The list


def test_the_list_filters_and_keeps_that_in_the_address(server, pipeline, page):
    visit(page, server, "/queues/default?view=list")
    rows = page.locator("table.jobs tbody tr")
    expect(rows).to_have_count(5)
    expect(rows.nth(2)).to_contain_text("train failed")
    page.get_by_role("navigation", name="Jobs by status").get_by_role("link", name="failed").click()
    expect(rows).to_have_count(1)
    page.go_back()
    expect(rows).to_have_count(5)
    page.get_by_label("Filter jobs").fill("alarm")
    expect(rows).to_have_count(1)
    page.reload()
    expect(rows).to_have_count(1)
    page.get_by_label("Filter jobs").fill("nothing like it")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    page.get_by_role("button", name="Clear filters").last.click()
    expect(rows).to_have_count(5)
    page.get_by_label("Hide finished").check()
    expect(rows).to_have_count(0)


def test_keys_walk_through_the_list(server, pipeline, page):
    visit(page, server, "/queues/default?view=list")
    expect(page.locator("table.jobs tbody tr")).to_have_count(5)
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("tr:focus-within")).to_contain_text("train")
    page.keyboard.press("i")
    expect(page.locator(".chosen-job h2")).to_contain_text("train")
    chord(page, "v", "t")
    expect(page.locator("svg.gantt")).to_be_visible()
    page.get_by_role("tab", name="Timeline").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("svg.graph")).to_be_visible()
    expect(page.get_by_role("tab", name="Graph")).to_be_focused()


# The timeline


def test_the_timeline_has_a_lane_for_each_slot_and_the_longest_chain_bold(server, home, page, marks, started):
    queue = jobs(job(marks.held("long"), "long"), job("true", "short"), job("true", "end", depends=("long",)))
    start_worker(started, workers=2)
    wait_until(lambda: stands(queue, "short", Status.COMPLETE))
    marks.let_go("long")
    wait_until(lambda: stands(queue, "end", Status.COMPLETE))
    visit(page, server, "/queues/default?view=timeline")
    expect(page.locator(".gantt .lane text")).to_have_text(["slot 0", "slot 1"])
    expect(page.locator(".bar")).to_have_count(3)
    expect(page.locator(".bar.critical")).to_have_count(2)
    expect(page.locator(".toolbar")).to_contain_text("longest chain: 2 jobs")
    page.locator(".bar.critical").first.click()
    expect(page.locator(".chosen-job h2")).to_contain_text("long")
    page.locator("svg.gantt").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".chosen-job h2")).to_contain_text("short")


# Changes


def test_what_a_worker_does_is_seen_as_it_happens(server, home, page, marks, started):
    queue = jobs(job(marks.held("one"), "one"), job("true", "two", depends=("one",)))
    visit(page, server, "/queues/default")
    expect(page.locator(".node.blocked > text")).to_have_text("two")
    expect(page.locator(".notice")).to_contain_text("No worker runs")
    start_worker(started)
    marks.began("one")
    expect(page.locator(".node.running > text")).to_have_text("one")
    expect(page.locator(".notice")).to_have_count(0)
    expect(page.locator(".about")).to_contain_text("1 of 1 slot in use")
    marks.let_go("one")
    expect(page.locator(".node.complete")).to_have_count(2)
    Jobs(Qrec()).submit(Submission(command="true", name="three"))
    expect(page.locator(".node")).to_have_count(3)
    wait_until(lambda: stands(queue, "two", Status.COMPLETE))


def test_pause_slots_and_resume_ask_first(server, home, page):
    queue = jobs(job("true", "one"), workers=2)
    visit(page, server, "/queues/default")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Back").click()
    assert "paused" not in queue.policy
    page.keyboard.press("p")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.locator("h1")).to_contain_text("paused")
    assert queue.policy["paused"]
    page.get_by_role("button", name="Slots").click()
    page.get_by_role("spinbutton", name="Slots").fill("-3")
    page.get_by_role("dialog").get_by_role("button", name="Set").click()
    expect(page.locator(".field input:invalid")).to_be_visible()
    page.get_by_role("spinbutton", name="Slots").fill("5")
    page.get_by_role("dialog").get_by_role("button", name="Set").click()
    expect(page.locator(".about")).to_contain_text("5 slots")
    assert queue.policy["workers"] == 5
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(page.locator("h1")).not_to_contain_text("paused")
    assert "paused" not in queue.policy


def test_retry_and_cancel_ask_first(server, pipeline, page):
    visit(page, server, "/queues/default?job=train")
    page.locator(".chosen-job").get_by_role("button", name="Retry").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    expect(page.locator(".node.blocked > text")).to_have_text("report")
    assert stands(pipeline, "train", Status.QUEUED)
    page.get_by_role("button", name="Cancel 2").click()
    expect(page.get_by_role("dialog")).to_contain_text("Cancel 2 jobs?")
    expect(page.get_by_role("dialog")).to_contain_text(re.compile("Folder.*User.*Host"))
    page.get_by_role("dialog").get_by_role("button", name="Cancel 2").click()
    expect(page.locator(".node.cancelled")).to_have_count(2)
    assert stands(pipeline, "report", Status.CANCELLED)
    page.get_by_role("button", name="Retry 2").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry 2").click()
    expect(page.locator(".node.queued, .node.blocked")).to_have_count(2)


def test_a_filter_that_makes_no_sense_can_be_taken_away(server, pipeline, page):
    page.forgiven.append("400 (BAD REQUEST)")
    visit(page, server, "/queues/default?view=list&status=bogus")
    expect(page.get_by_role("alert").filter(has_text="'bogus' is no status")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("table.jobs tbody tr")).to_have_count(5)


def test_who_only_reads_has_no_buttons(serve, pipeline, page):
    visit(page, serve("--read-only"), "/queues/default?job=train")
    expect(page.locator(".chosen-job")).to_contain_text("exit code 3")
    for name in ("Pause", "Retry", "Cancel", "Slots"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)


# All queues, the machine, executors


def test_all_queues_with_how_they_stand(server, pipeline, page):
    jobs(job("true"), queue="a / b & c")
    visit(page, server, "/queues")
    rows = page.locator("table.queues tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.last).to_contain_text("3 complete")
    expect(rows.first).to_contain_text("waiting for a worker")
    Jobs(Qrec(), "a / b & c").pause()
    expect(rows.first).to_contain_text("paused")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("a / b & c")
    expect(page.locator(".node")).to_have_count(1)


def test_where_there_is_nothing_it_is_said_how_to_begin(server, home, page):
    visit(page, server, "/queues")
    expect(page.locator(".empty")).to_contain_text("qrec queue submit -- make")
    Jobs(Qrec(), "it's").create()
    expect(page.locator("table.queues tbody tr")).to_have_count(1)
    page.locator("table.queues a").click()
    expect(page.locator(".empty")).to_contain_text("qrec queue submit 'it'\\''s' -- make")
    page.goto(f"{server.base}/live")
    expect(page.locator(".empty")).to_contain_text("qrec run")
    page.goto(f"{server.base}/executor/slurm")
    expect(page.locator(".empty")).to_contain_text("qrec run sbatch job.sh")


def test_the_machine_and_what_runs(server, start, qrec, page, tmp_path):
    gate = tmp_path / "gate"
    qrec("run", "-q", "--", "true", check=True)
    start("run", "-q", "sh", "-c", f"echo step one; until [ -e {gate} ]; do sleep 0.05; done")
    visit(page, server, "/live")
    row = page.locator("table.running tbody tr")
    expect(row).to_contain_text("step one")
    expect(page.locator(".machine")).to_contain_text("Memory")
    expect(page.locator(".plot")).to_have_count(4)
    expect(page.locator(".plot", has_text="Ended")).to_contain_text(re.compile("1 complete.*15 min ago", re.DOTALL))
    expect(page.locator(".plot", has_text="CPU")).to_contain_text("1 min ago, not looked at before")
    expect(page.locator(".plot path.line").first).to_have_attribute("d", re.compile("L"))
    assert page.locator(".plot figcaption span").nth(2).evaluate(CUT) <= 0
    page.keyboard.press("j")
    page.keyboard.press("c")
    expect(page.get_by_role("dialog")).to_contain_text(re.compile("Folder.*User.*Host"))
    page.get_by_role("dialog").get_by_role("button", name="Cancel the task").click()
    expect(row).to_have_count(0)
    assert Qrec().get("2").status is Status.CANCELLED
    page.get_by_role("button", name="1 min", exact=True).click()
    expect(page).to_have_url(re.compile("range=1m"))


def test_an_executor_with_its_actions(server, qrec, page):
    qrec("run", "sh", "-c", "exit 4")
    visit(page, server, "/executor/shell")
    expect(page.locator("table.actions")).to_contain_text("qrec exec cancel")
    expect(page.locator("table.latest tbody tr")).to_contain_text("failed")
    qrec("run", "true")
    expect(page.locator("table.latest tbody tr")).to_have_count(2)
    page.get_by_role("navigation", name="Tasks by status").get_by_role("link", name="failed").click()
    expect(page).to_have_url(re.compile(r"/tasks\?executor=shell&status=failed"))


# For everybody

PAGES = {
    "queues": "/queues", "graph": "/queues/default?job=train", "list": "/queues/default?view=list",
    "timeline": "/queues/default?view=timeline", "live": "/live", "executor": "/executor/slurm",
}  # fmt: skip
SHOWN = {
    "queues": "table.queues", "graph": ".node.chosen", "list": "table.jobs", "timeline": ".bar", "live": ".plot",
    "executor": "table.actions",
}  # fmt: skip


#: How much of a long caption is not seen.
CUT = "it => { it.textContent = 'read 24.5 MB/s, written 24.5 MB/s'; return it.scrollWidth - it.clientWidth }"
#: How much of the counts is beside what is seen of them.
HIDDEN = "Math.max(0, ...[...document.querySelectorAll('.counts')].map((one) => one.scrollWidth - one.clientWidth))"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_barriers(server, pipeline, look, scheme):
    page = look(color_scheme=scheme, reduced_motion="reduce")
    for name, path in PAGES.items():
        visit(page, server, path)
        expect(page.locator(SHOWN[name]).first).to_be_visible()
        assert findings(page) == [], name


def test_every_page_fits_a_phone(server, pipeline, look):
    page = look(viewport=PHONE)
    for name, path in PAGES.items():
        visit(page, server, path)
        expect(page.locator(SHOWN[name]).first).to_be_visible()
        assert overflow(page) <= 0, name
        assert page.evaluate(HIDDEN) <= 0, f"{name}: there is no sign that there is more"
    visit(page, server, "/queues/default")
    assert page.locator(".node text").first.evaluate("text => text.getBoundingClientRect().height") > 9
    assert settled(page, page.locator("svg.graph"))["height"] < 300, "of a few jobs"
