"""The log on a task's page, in a real browser."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.browser import PHONE, findings, overflow, visit
from tests.dashboard.served import Served, in_turn
from tests.helpers import wait_until

pytestmark = pytest.mark.timeout(180)

HIGHLIGHTED = "name => [...(CSS.highlights.get(name) || [])].map((range) => range.toString())"


def opened(page: Page, server: Served, path: str) -> Page:
    """A page of a server, shown."""
    visit(page, server, path)
    return page


@pytest.fixture
def show(qrec, server, page, tmp_path):
    """Records a command that prints these bytes, and shows its page."""

    def show(content: bytes, hash: str = "") -> Page:
        (tmp_path / "printed").write_bytes(content)
        qrec("run", "-q", "cat", "printed", check=True)
        return opened(page, server, f"/tasks/1{hash}")

    return show


def row(page: Page, number: int) -> Any:
    """The row of a line."""
    return page.locator(".log-row").filter(has=page.locator(".log-n", has_text=re.compile(f"^{number}$")))


def in_sight(page: Page, locator: Any) -> bool:
    """Whether an element is within what is seen of the log."""
    box, view = locator.bounding_box(), page.locator(".log-view").bounding_box()
    return bool(
        box and view and box["y"] >= view["y"] - 1 and box["y"] + box["height"] <= view["y"] + view["height"] + 1
    )


def highlights(page: Page) -> list[str]:
    """What is marked in yellow."""
    return [*page.evaluate(HIGHLIGHTED, "log-search"), *page.evaluate(HIGHLIGHTED, "log-current")]


def numbered(count: int) -> bytes:
    return b"".join(b"line %d\n" % n for n in range(1, count + 1))


# Rows


def test_only_what_is_seen_is_in_the_page(show):
    page = show(numbered(100_000))
    expect(row(page, 1)).to_contain_text("line 1")
    assert page.locator(".log-row").count() < 100
    expect(page.locator(".log-foot")).to_contain_text("100,000 lines")
    page.locator(".log-view").focus()
    page.keyboard.press("End")
    expect(row(page, 100_000)).to_contain_text("line 100000")
    assert page.locator(".log-row").count() < 100
    page.locator(".log-view").evaluate("view => { view.scrollTop = view.scrollHeight / 2 }")
    expect(row(page, 50_010)).to_contain_text("line 50010")
    page.keyboard.press("Home")
    expect(row(page, 1)).to_contain_text("line 1")


def test_every_line_of_millions_can_be_reached(show):
    """Browsers clamp the height of elements: 1,000,000 lines are taller than that."""
    page = show(b"".join(b"%d\n" % n for n in range(1, 1_000_001)))
    expect(row(page, 1)).to_be_visible()
    page.keyboard.press("G")
    expect(row(page, 1_000_000)).to_be_visible()
    wait_until(lambda: in_sight(page, row(page, 1_000_000)))
    page.evaluate("location.hash = 'L654321'")
    expect(row(page, 654_321)).to_be_visible()
    wait_until(lambda: in_sight(page, row(page, 654_321)))
    page.locator(".log-view").hover()
    page.mouse.wheel(0, 18 * 6)  # small moves are not coarser for it
    expect(row(page, 654_327)).to_be_visible()
    expect(row(page, 654_321)).to_be_visible()


def test_streams_are_told_apart_and_chosen(qrec, server, page):
    qrec("run", "-q", "sh", "-c", in_turn("out", "!err", "more"), check=True)
    opened(page, server, "/tasks/1")
    expect(page.locator(".log-row")).to_have_count(3)
    expect(page.locator(".log-row.e")).to_have_text(re.compile("err"))
    colours = page.locator(".log-n").evaluate_all("all => all.map((one) => getComputedStyle(one).borderRightColor)")
    assert colours[0] == colours[2] != colours[1]
    page.get_by_label("Streams").select_option("stderr")
    expect(page.locator(".log-row")).to_have_count(1)
    row(page, 1).locator(".log-n").click()
    expect(page).to_have_url(re.compile("#stderr-L1$"))
    page.reload()
    expect(page.locator(".log-row")).to_have_count(1)
    expect(page.locator(".log-row")).to_contain_text("err")


def test_times_are_shown_and_remembered(qrec, server, page):
    qrec("run", "-q", "sh", "-c", in_turn("one", "two", pause=0.3), check=True)
    opened(page, server, "/tasks/1")
    expect(page.locator(".log-row")).to_have_count(2)
    expect(page.locator(".log-t")).to_have_count(0)
    page.get_by_label("Times").select_option("delta")
    one, two = (line["t"] for line in server.get("/tasks/1/log.json").json["lines"])
    expect(page.locator(".log-t").nth(1)).to_have_text(f"+{(two - one) / 1000:.3f}")
    page.get_by_label("Times").select_option("relative")
    expect(page.locator(".log-t").nth(1)).to_have_text(re.compile(r"^\d\d:\d\d\.\d{3}$"))
    page.reload()
    expect(page.locator(".log-t").nth(1)).to_have_text(re.compile(r"^\d\d:\d\d\.\d{3}$"))
    page.get_by_label("Times").select_option("absolute")
    expect(page.locator(".log-t").nth(1)).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d{3}$"))


def test_frames_are_folded_and_unfolded(show):
    page = show(b"begin\n10%\r50%\r100%\nend\n")
    expect(row(page, 2).locator(".log-x")).to_have_text("100%")
    expect(row(page, 2).locator(".log-f")).to_have_text("+2 overwritten")
    row(page, 2).locator(".log-f").click()
    expect(row(page, 2)).to_have_count(3)
    expect(page.locator(".log-foot")).to_contain_text("5 frames")
    page.get_by_role("button", name="Show overwritten").click()
    expect(row(page, 2)).to_have_count(1)


def test_long_lines_are_wrapped(show):
    page = show(b"short\n" + b"x" * 3000 + b"\nlast\n")
    expect(row(page, 2)).to_be_visible()
    assert row(page, 2).bounding_box()["height"] == 18
    page.keyboard.press("W")
    wait_until(lambda: row(page, 2).bounding_box()["height"] > 100)
    expect(row(page, 3)).to_be_visible()
    assert page.locator(".log-view").evaluate("view => view.scrollWidth - view.clientWidth") <= 0
    page.reload()
    expect(page.get_by_role("button", name="Wrap long lines")).to_have_attribute("aria-pressed", "true")


def test_a_long_line_goes_on_in_rows_without_numbers(show):
    page = show(b"L" * 40_000 + b"\nend\n", "#L2")
    expect(page.locator(".log-n")).to_have_text(["1", "↳", "↳", "2"])
    expect(page.locator(".log-n").nth(1)).to_have_attribute("title", "line 1 goes on")
    expect(page.locator(".log-row.linked")).to_contain_text("end")
    expect(page.locator(".log-foot")).to_contain_text("2 lines")
    expect(page.locator(".log-foot")).to_contain_text("Long lines go on in other rows (↳), 4 in all.")
    page.get_by_role("button", name="copy", exact=True).click()
    wait_until(lambda: page.evaluate("navigator.clipboard.readText()") == "end\n")
    row(page, 1).locator(".log-n").click()
    expect(page.locator(".log-row.linked")).to_have_count(3)
    page.get_by_role("button", name="copy", exact=True).click()
    wait_until(lambda: page.evaluate("navigator.clipboard.readText()") == "L" * 40_000 + "\n")


# What programs print


def test_colours(show):
    page = show(
        b"\x1b[31mred\x1b[0m plain \x1b[1;4;38;5;208mbold\x1b[0m \x1b[38;2;1;2;3mtrue\x1b[0m \x1b[7;32minverse\x1b[m"
        b" \x1b[48;5;21mback\x1b[0m\n"
    )
    expect(page.locator(".log-x .f1")).to_have_text("red")
    expect(page.locator(".log-x .s-bold.s-under")).to_have_text("bold")
    expect(page.locator(".log-x .s-inverse")).to_have_text("inverse")
    expect(page.locator(".log-x")).to_have_text("red plain bold true inverse back")
    colour = "element => getComputedStyle(element).color"
    assert page.get_by_text("bold", exact=True).evaluate(colour) != page.locator(".log-x").evaluate(colour)
    assert page.locator("#app [style*=script]").count() == 0


def test_what_is_hostile_stays_text(show):
    page = show(
        b"<img src=x onerror='document.title=1'><script>document.title=2</script>\n"
        b"\x1b]8;;javascript:document.title=3\x07click\x1b]8;;\x07 \x1b]8;;https://example.org/a?b\x1b\\good\x1b]8;;\x1b\\\n"
        b"\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x07after\x1b[2J\x1b[10;10Hcursor\x1b[?25l\n"
        b"nul\0 \xe2\x80\xaeturned\xe2\x80\xac bell\x07 back\x08\x08ed \xff\xfe\n"
        b"\x1b]8;;https://example.org/unended\n" + b"x" * 3_000_000
    )
    expect(row(page, 1).locator(".log-x")).to_have_text(
        "<img src=x onerror='document.title=1'><script>document.title=2</script>"
    )
    links = page.locator(".log-x a")
    expect(links).to_have_count(1)
    expect(links).to_have_attribute("href", "https://example.org/a?b")
    expect(links).to_have_attribute("rel", re.compile("noopener"))
    expect(row(page, 2).locator(".log-x")).to_have_text("click good")
    expect(row(page, 3).locator(".log-x")).to_have_text("aftercursor")
    expect(row(page, 4).locator(".log-x")).to_have_text("nul^@ U+202EturnedU+202C bell^G baed \ufffd\ufffd")
    assert page.locator(".log-x img, .log-x script").count() == 0
    assert "qrec" in page.title() or "complete" in page.title()


# Search


def test_every_match_is_yellow_and_counted(show):
    page = show(
        b"".join(b"line %d %s\n" % (n, b"a Needle, a needle" if n % 1000 == 0 else b"hay") for n in range(1, 5001))
    )
    expect(row(page, 1)).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("needle")
    count = page.locator(".log-count")
    expect(count).to_have_text("1 of 5")
    expect(row(page, 1000)).to_be_visible()
    wait_until(lambda: highlights(page) == ["Needle", "needle"])
    page.keyboard.press("Enter")
    expect(count).to_have_text("2 of 5")
    expect(row(page, 2000)).to_be_visible()
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")
    expect(count).to_have_text("5 of 5")
    page.locator(".log-view").focus()
    page.keyboard.press("n")
    expect(count).to_have_text("1 of 5")
    page.keyboard.press("N")
    expect(row(page, 5000)).to_be_visible()
    page.get_by_role("button", name="Match case").click()
    wait_until(lambda: highlights(page) == ["needle"])
    page.get_by_label("Search this log").press("Escape")
    expect(count).to_have_text("")
    wait_until(lambda: highlights(page) == [])


def test_the_yellow_is_seen(show):
    """In the picture, and not only in the program."""
    page = show(b"one needle here\ntwo needle there\n")
    expect(row(page, 2)).to_be_visible()
    page.keyboard.press("Control+f")
    page.keyboard.type("needle")
    expect(page.locator(".log-count")).to_have_text("1 of 2")
    wait_until(lambda: len(highlights(page)) == 2)
    with_mark = row(page, 2).screenshot()
    page.get_by_label("Search this log").press("Escape")
    wait_until(lambda: highlights(page) == [])
    assert row(page, 2).screenshot() != with_mark


def test_regular_expressions_and_their_faults(show):
    page = show(b"alpha 12\nbeta 345\n")
    expect(row(page, 1)).to_be_visible()
    page.get_by_role("button", name="Regular expression").click()
    page.get_by_label("Search this log").fill(r"\d{3}")
    expect(page.locator(".log-count")).to_have_text("1 of 1")
    wait_until(lambda: highlights(page) == ["345"])
    page.forgiven.append("400")
    page.get_by_label("Search this log").fill("(")
    expect(page.locator(".log-foot")).to_contain_text("no regular expression")
    page.get_by_label("Search this log").fill("nothing of it")
    expect(page.locator(".log-count")).to_have_text("no match")


def test_matches_across_colours_are_yellow(show):
    page = show(b"\x1b[31mfatal\x1b[0m\x1b[1m: no such\x1b[0m file\n")
    page.keyboard.press("/")
    page.get_by_label("Search this log").fill("fatal: no such file")
    wait_until(lambda: highlights(page) == ["fatal: no such file"])


# Going about


def test_lines_have_links(show):
    page = show(numbered(5000), "#L4000-L4002")
    expect(row(page, 4000)).to_be_visible()
    expect(page.locator(".log-row.linked")).to_have_count(3)
    wait_until(lambda: in_sight(page, row(page, 4000)))
    row(page, 4004).locator(".log-n").click()
    expect(page).to_have_url(re.compile("#L4004$"))
    row(page, 4006).locator(".log-n").click(modifiers=["Shift"])
    expect(page).to_have_url(re.compile("#L4004-L4006$"))
    expect(page.locator(".log-row.linked")).to_have_count(3)
    page.get_by_role("button", name="copy", exact=True).click()
    wait_until(lambda: page.evaluate("navigator.clipboard.readText()") == "line 4004\nline 4005\nline 4006\n")


def test_the_first_error_the_top_and_the_end(show):
    page = show(numbered(3000) + b"ValueError: bad\n" + numbered(3000))
    expect(row(page, 1)).to_be_visible()
    page.get_by_role("button", name="first error").click()
    expect(row(page, 3001)).to_contain_text("ValueError")
    expect(row(page, 3001)).to_have_class(re.compile("hit"))
    page.get_by_role("button", name="end", exact=True).click()
    expect(row(page, 6001)).to_be_visible()
    page.get_by_role("button", name="top", exact=True).click()
    expect(row(page, 1)).to_be_visible()


def test_downloads(show):
    page = show(b"\x1b[31mred\x1b[0m\n")
    expect(row(page, 1)).to_be_visible()
    with page.expect_download() as raw:
        page.get_by_role("link", name="raw", exact=True).click()
    assert raw.value.path().read_bytes() == b"\x1b[31mred\x1b[0m\n"
    assert raw.value.suggested_filename == "qrec-1.log"
    with page.expect_download() as shown:
        page.get_by_role("link", name="text", exact=True).click()
    assert shown.value.path().read_text() == "red\n"
    assert shown.value.suggested_filename == "qrec-1.txt"


# Growth


def test_a_running_log_is_followed_until_one_scrolls_up(start, server, page, tmp_path):
    go = tmp_path / "go"
    script = f"i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo line $i; done; while [ ! -e {go} ]; do sleep 0.1; done"
    script += "; for i in 201 202 203; do echo line $i; done; sleep 600"
    start("run", "-q", "bash", "-c", script)
    opened(page, server, "/tasks")
    wait_until(lambda: page.request.get(f"{server.base}/tasks.json").json()["tasks"])
    opened(page, server, "/tasks/1")
    expect(row(page, 200)).to_be_visible()
    expect(page.get_by_role("button", name="Follow the end")).to_have_attribute("aria-pressed", "true")
    page.locator(".log-view").hover()
    page.mouse.wheel(0, -900)
    expect(page.get_by_role("button", name="Follow the end")).to_have_attribute("aria-pressed", "false")
    go.touch()
    pill = page.locator(".log-pill")
    expect(pill).to_have_text(re.compile("3 new lines"))
    expect(row(page, 203)).to_have_count(0)
    pill.click()
    expect(row(page, 203)).to_be_visible()
    expect(pill).to_have_count(0)
    expect(page.get_by_role("button", name="Follow the end")).to_have_attribute("aria-pressed", "true")


#: When the log was asked for, in ms, as the page's own clock has it: what is told of it here may come late.
ASKED = """\
performance.getEntriesByType("resource").filter((one) => one.name.includes("log.json")).map((one) => one.startTime)"""


def test_a_fast_command_leaves_the_page_responsive(start, server, page):
    """However much is printed, the page asks for what it shows, some times a second."""
    start(
        "run",
        "-q",
        "sh",
        "-c",
        "yes 'a line of what is printed without end' | head -n 3000000; sleep 600",
        stdout=subprocess.DEVNULL,
    )
    opened(page, server, "/tasks")
    wait_until(lambda: page.request.get(f"{server.base}/tasks.json").json()["tasks"])
    opened(page, server, "/tasks/1")
    expect(page.locator(".log-row").first).to_be_visible()
    page.evaluate("performance.setResourceTimingBufferSize(10_000)")
    expect(row(page, 3_000_000)).to_be_visible(timeout=120_000)
    asked = page.evaluate(ASKED)
    assert len(asked) <= 5 * (asked[-1] - asked[0]) / 1000 + 5
    assert page.locator(".log-row").count() < 100


SLOW = (
    "const ask = fetch; window.fetch = (...words) => new Promise((go) => setTimeout(go, 500)).then(() => ask(...words))"
)


def test_what_is_looked_at_comes_although_the_log_grows(start, server, page):
    """A server may take longer for an answer than the log for its next line."""
    page.add_init_script(SLOW)
    start("run", "-q", "sh", "-c", "seq 3000; while :; do echo more; sleep 0.05; done")
    opened(page, server, "/tasks")
    wait_until(lambda: page.request.get(f"{server.base}/tasks.json").json()["tasks"])
    opened(page, server, "/tasks/1")
    expect(page.locator(".log-x").last).to_have_text("more")
    page.keyboard.press("T")
    expect(row(page, 1).locator(".log-x")).to_have_text("1")


def test_a_log_that_did_not_come_is_asked_for_again(qrec, server, page):
    page.forgiven.append("ERR_FAILED")
    page.route("**/log.json*", lambda route: route.abort(), times=1)
    qrec("run", "-q", "echo", "printed", check=True)
    opened(page, server, "/tasks/1")
    expect(row(page, 1)).to_contain_text("printed")


def test_a_task_that_ends_shows_its_end(start, server, page, tmp_path):
    go = tmp_path / "go"
    start("run", "-q", "bash", "-c", f"echo begun; while [ ! -e {go} ]; do sleep 0.1; done; echo the end")
    opened(page, server, "/tasks")
    wait_until(lambda: page.request.get(f"{server.base}/tasks.json").json()["tasks"])
    opened(page, server, "/tasks/1")
    expect(row(page, 1)).to_contain_text("begun")
    go.touch()
    expect(row(page, 2)).to_contain_text("the end")
    expect(page.get_by_role("button", name="Follow the end")).to_have_count(0)


def test_nothing_printed(qrec, server, page):
    qrec("run", "-q", "true", check=True)
    opened(page, server, "/tasks/1")
    expect(page.locator(".log-empty")).to_have_text("It printed nothing.")


# For everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(qrec, server, look, scheme, tmp_path):
    every = [(n, n + 10) for n in (*range(30, 38), *range(90, 98))]
    looks = [look for fg, bg in every for look in (b"%d" % fg, b"2;%d" % fg, b"%d" % bg, b"7;%d" % bg, b"31;%d" % bg)]
    looks += [b"38;2;255;255;0", b"38;2;0;0;90", b"2", b"7", b"48;2;0;0;90;31", b"48;2;250;250;0;97"]
    words = [b"\x1b[%bm%b\x1b[0m" % (look, look) for look in looks]
    (tmp_path / "printed").write_bytes(b"ValueError " + b" ".join(words[::2]) + b"\n" + b" ".join(words[1::2]) + b"\n")
    qrec("run", "-q", "sh", "-c", "cat printed; cat printed >&2; cat printed; printf '10%%\\r20%%'", check=True)
    page = opened(look(color_scheme=scheme, viewport={"width": 1280, "height": 1400}), server, "/tasks/1#L5-L6")
    page.keyboard.press("W")
    expect(row(page, 7)).to_be_visible()
    expect(page.locator(".log-row.linked")).to_have_count(2)
    page.keyboard.press("E")
    expect(page.locator(".log-row.hit")).to_contain_text("ValueError")
    expect(page.get_by_role("log")).to_have_attribute("aria-live", "off")
    assert findings(page) == []


def test_on_a_phone(qrec, server, look, tmp_path):
    qrec("run", "-q", "seq", "1000", check=True)
    page = opened(look(viewport=PHONE, has_touch=True), server, "/tasks/1")
    expect(row(page, 1)).to_be_visible()
    assert overflow(page) <= 0
    assert (page.locator(".log-view").bounding_box() or {"width": 0})["width"] > 340
