"""What the dashboard costs, and how quickly it shows what there is, in a real Chromium where a page is concerned.

    python bench/dashboard.py [--home DIR] [--only follow,log,...] [--rounds 7] [--clients 100] [--bytes 200e6]

  follow  from before a commit in another process to the page, on both stores; what a server costs with one tab open
  crowd   what a server costs that many pages watch
  root    how long GET / takes while a rerun of a long command is under way
  flood   how much a command that prints 50,000 lines a second is slowed by somebody who watches it
  log     an output of 200 MB: until it is seen, a jump, a search of all of it
  lists   every kind of list over the large store that `million.py --home DIR` has made

Run it with the Python of an environment that holds qrec, pytest and playwright; Debian's Chromium is used.  Other work
on the machine shows in every figure: the load is printed, and what is compared is taken in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

# In place of this folder, whose queue.py would hide the one that Python's library uses.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import psutil  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from qrec.registry import Registry  # noqa: E402
from tests.dashboard.browser import DESK, FLAGS, visit  # noqa: E402
from tests.dashboard.served import Served  # noqa: E402
from tests.helpers import wait_until  # noqa: E402

PROGRAM = [sys.executable, "-m", "qrec"]
COMMITS = 100
IDLE = 20.0  #: seconds
BUSY = 10.0
RUNNING = 10
JUMPS = 40
QUICK = 50_000  #: lines a second
FLOOD = 150_000  #: lines in a round
LISTS = (
    "", "sort=seconds", "sort=memory", "order=asc", "status=failed", "status=running", "code=7", "host=x", "tag=x",
    "cwd=/home/ada/project3", "longer=1h", "since=1h", "q=warning", "q=xyzzyplugh", "q=qqqqzzzz", "q=warning+train.py",
)  # fmt: skip
SEARCHES = (
    ("a word of one line", "xyzzyplugh", ""), ("a word of 5,000 lines", "resumed", ""),
    ("a word of every other line", "warning", ""), ("what is nowhere", "qqqqzzzz", ""),
    ("the same, case as it is", "qqqqzzzz", "Match case"), ("`step=\\d+7777 `", r"step=\d+7777 ", "Regular expression"),
)  # fmt: skip

#: `painted(is)` is the time, in milliseconds since the page was asked for, when what `is` looks for had been drawn.
WATCHER = """
window.painted = (is) => new Promise((done) => {
  const drawn = () => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done(performance.now());
    port2.postMessage(0);
  };
  const look = () => {
    if (!is()) return;
    observer.disconnect();
    requestAnimationFrame(drawn);
  };
  const observer = new MutationObserver(look);
  observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
  look();
});
const row = "table.tasks tbody tr";
const find = (what) => document.querySelector(what);
window.isBegun = () => find(row);
window.isListed = () => (find(row) ? !find("[aria-busy=true]") : find(".empty"));
// Also when the rows in the window have taken the place of a hundred, and the others have not yet come.
window.isSeen = () => isListed() || document.querySelectorAll(row).length < 100;
window.isLogged = () => find(".log-row:not(.wait) .log-x")?.textContent;
"""
#: When the rows were asked for.
ASKED = "performance.getEntriesByType('resource').find((one) => one.name.includes('/tasks.json')).startTime"
FOLLOW = """
window.seen = {};
const look = () => {
  const now = performance.timeOrigin + performance.now();
  for (const note of document.querySelectorAll(".note")) seen[note.textContent] ??= now;
};
new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true });
"""
LISTED = """async ([address, isThere]) => {
  const began = performance.now();
  history.pushState(null, "", address);
  dispatchEvent(new PopStateEvent("popstate"));
  await new Promise((done) => setTimeout(done));
  return await painted(window[isThere]) - began;
}"""
JUMPED = """async (line) => {
  const began = performance.now();
  const isThere = () => [...document.querySelectorAll(".log-row.linked .log-n")].some((one) => one.textContent == line);
  location.hash = `#L${line}`;
  return await painted(isThere) - began;
}"""
SEARCHED = """async (words) => {
  const field = document.querySelector(".log-search input");
  const count = () => document.querySelector(".log-count").textContent;
  const type = (text) => {
    field.value = text;
    field.dispatchEvent(new Event("input"));
  };
  type("");
  await new Promise((done) => setTimeout(done, 400));  // until what was found before is forgotten
  type(words);
  const began = performance.now();
  field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
  const took = await painted(() => !["", "…"].includes(count())) - began;
  return [took, count()];
}"""
FRAMES = """
window.gaps = [];
window.longest = 0;
let last = performance.now();
const step = (now) => {
  gaps.push(now - last);
  last = now;
  requestAnimationFrame(step);
};
requestAnimationFrame(step);
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) longest = Math.max(longest, one.duration);
}).observe({ entryTypes: ["longtask"] });
"""
#: A command that works for about 20 us, prints a line, and so on; it waits for a file to begin, and tells what it took.
PRINTER = """
import os, sys, time
lines, work, go, told = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
while not os.path.exists(go):
    time.sleep(0.01)
began, value = time.perf_counter(), 1
for number in range(lines):
    for _ in range(work):
        value = value * 31 + number & 0xFFFFFFFF
    os.write(1, b"step=%d loss=%d INFO a line as programs print them\\n" % (number, value))
with open(told + ".new", "w") as file:
    print(time.perf_counter() - began, time.process_time(), file=file)
os.rename(told + ".new", told)
"""


@contextmanager
def server(home: Path, store: str = "sqlite") -> Iterator[Served]:
    """A server of a home, until the end of the `with`."""
    words = [*PROGRAM, "--home", str(home), "--store", store, "start", "--no-open", "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield Served(process, home)
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def tab(chromium: Browser, *scripts: str) -> Iterator[Page]:
    """A page of its own, which runs these scripts before any other."""
    context = chromium.new_context(viewport={"width": DESK["width"], "height": DESK["height"]})
    try:
        page = context.new_page()
        for script in (WATCHER, *scripts):
            page.add_init_script(script)
        yield page
    finally:
        context.close()


def record(home: Path, *words: str, store: str = "sqlite") -> None:
    """Run a command."""
    given = [*PROGRAM, "--home", str(home), "--store", store, "run", "-q", *words]
    subprocess.run(given, check=True, stdout=subprocess.DEVNULL)


def cpu(served: Served, seconds: float) -> float:
    """Per cent of a core that the server takes for so long."""
    before = used(served)
    time.sleep(seconds)
    return (used(served) - before) / seconds * 100


def used(served: Served) -> float:
    """CPU seconds of a server."""
    times = psutil.Process(served.process.pid).cpu_times()
    return float(times.user + times.system)


def load() -> str:
    """How busy the machine is."""
    return f"load {os.getloadavg()[0]:.1f}"


def heading(words: str, columns: Sequence[str]) -> None:
    """Begin a table."""
    print(f"\n| {words} | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1), flush=True)


def line(words: str, *figures: object) -> None:
    """A row of a table."""
    print(f"| {words} | " + " | ".join(map(str, figures)) + " |", flush=True)


def middle(times: Sequence[float]) -> str:
    """The median, in bold."""
    return f"**{statistics.median(times):.0f}**"


def late(times: Sequence[float]) -> str:
    """What 95 of a hundred stay under."""
    return f"{sorted(times)[len(times) * 95 // 100]:.0f}"


# Following


def follow(chromium: Browser, given: argparse.Namespace) -> None:
    """From a commit to the socket and to the page, and what it costs to wait for one."""
    heading(
        "commit in another process, ms",
        ["socket, median", "p95", "page, median", "p95", "worst", "seen", "idle, % of a core"],
    )
    for kind in ("sqlite", "filesystem"):
        with tempfile.TemporaryDirectory() as folder:
            follow_store(chromium, Path(folder), kind)


def follow_store(chromium: Browser, home: Path, kind: str) -> None:
    """The same of one store."""
    record(home, "true", store=kind)
    store = Registry(str(home)).store(str(home), kind)
    uid = store.numbered(1).uid
    begins, sockets = [], []
    with server(home, kind) as served, tab(chromium, FOLLOW) as page:
        visit(page, served)
        page.evaluate("painted(isListed)")
        with served.connect() as wire:
            wire.watch({"tasks": True})
            time.sleep(1)
            for turn in range(COMMITS):
                time.sleep(0.2)
                heard = len(wire.heard)
                began, clock = time.perf_counter(), time.time()
                store.change(uid, message=f"turn {turn}")
                while len(wire.heard) == heard:
                    time.sleep(0.0002)
                sockets.append((time.perf_counter() - began) * 1000)
                begins.append(clock * 1000)
        time.sleep(1)
        seen = page.evaluate("seen")
        pages = [seen[f"turn {turn}"] - begin for turn, begin in enumerate(begins) if f"turn {turn}" in seen]
        idle = cpu(served, IDLE)
    figures = [f"{statistics.median(sockets):.1f}", late(sockets), f"**{statistics.median(pages):.1f}**", late(pages)]
    line(f"{kind} ({load()})", *figures, f"{max(pages):.0f}", f"{len(pages)} of {COMMITS}", f"{idle:.2f}")


def crowd(chromium: Browser, given: argparse.Namespace) -> None:
    """What many pages cost."""
    loop = "while :; do echo line; sleep 0.1; done"
    with ExitStack() as opened:
        home = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        words = [*PROGRAM, "--home", str(home), "run", "-q", "sh", "-c", loop]
        for _ in range(RUNNING):
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            opened.callback(process.wait)
            opened.callback(process.terminate)
        served = opened.enter_context(server(home))
        while (running := served.get("/tasks.json?status=running").json["tasks"]) and len(running) < RUNNING:
            time.sleep(0.1)
        for number in range(given.clients):
            page = opened.enter_context(served.connect())
            page.watch({"tasks": True})
            page.watch({"task": running[number % len(running)]["uid"]})
        spent = [cpu(served, BUSY) for _ in range(3)]
        print(f"\n{given.clients} pages and {RUNNING} running tasks, each printing ten lines a second: ", end="")
        print(f"**{statistics.median(spent):.1f}** % of a core ({load()})", flush=True)


def root(chromium: Browser, given: argparse.Namespace) -> None:
    """How long GET takes while a rerun is under way."""
    with tempfile.TemporaryDirectory() as folder:
        home, long = Path(folder) / "home", Path(folder) / "long"
        record(home, "sh", "-c", f"while [ -e {long} ]; do sleep 0.05; done")
        with server(home) as served:
            paths, posts = ("/", "/tasks", "/tasks.json"), []
            times: dict[str, list[float]] = {path: [] for path in paths}
            served.get("/tasks")
            for _ in range(given.rounds):
                long.touch()
                rerun = threading.Thread(target=lambda: posts.append(timed(lambda: served.post("/api/tasks/1/rerun"))))
                rerun.start()
                for turn in range(30):
                    path = paths[turn % len(paths)]
                    times[path].append(timed(lambda path=path: served.get(path)))  # type: ignore[misc]
                rerun.join()
                long.unlink()
                wait_until(lambda: served.get("/tasks/1.json").json["task"]["status"] == "complete")
    heading("while a rerun of a long command is under way, ms", ["median", "p95", "worst"])
    for path, figures in {**times, "the rerun's own answer": posts}.items():
        line(f"`{path}`" if path in times else path, middle(figures), late(figures), f"{max(figures):.0f}")
    print(f"\n({load()})")


def timed(work: Callable[[], object]) -> float:
    """How many milliseconds something takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


# A flood


def flood(chromium: Browser, given: argparse.Namespace) -> None:
    """A command that prints much, watched and not, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        record(home, "true")
        pairs, frames, costs = [], [], []
        with server(home) as served:
            work = calibrated(home, served, Path(folder))
            for turn in range(given.rounds + 1):
                alone, _ = printed(home, served, Path(folder), work)
                with tab(chromium, FRAMES) as page:
                    before = used(served)
                    watched, gaps = printed(home, served, Path(folder), work, page)
                if turn:  # the first warms up
                    pairs.append((alone, watched))
                    frames.append(gaps)
                    costs.append((used(served) - before) / watched[0] * 100)
    walls = sorted((two[0] / one[0] - 1) * 100 for one, two in pairs)
    cpus = sorted((two[1] / one[1] - 1) * 100 for one, two in pairs)
    quick, least = (statistics.median(FLOOD / one[at] for one, _ in pairs) for at in (1, 0))
    heading(
        f"a command that prints {quick:,.0f} lines per CPU second, {least:,.0f} a second, watched ({load()})",
        ["median", "least", "most"],
    )
    for name, figures in (
        ("takes longer by, %", walls),
        ("takes more CPU by, %", cpus),
        ("CPU of the server, %", costs),
    ):
        line(name, f"**{statistics.median(figures):.1f}**", f"{min(figures):.1f}", f"{max(figures):.1f}")
    for at, name in enumerate(("frames/s of the page", "p95 between frames, ms", "longest task of the page, ms")):
        figures = [one[at] for one in frames]
        line(name, middle(figures), f"{min(figures):.0f}", f"{max(figures):.0f}")


def calibrated(home: Path, served: Served, folder: Path) -> int:
    """How much work between two lines makes QUICK of them a second of CPU time, unwatched."""
    costs = [printed(home, served, folder, work)[0][1] / FLOOD for work in (0, 200)]
    return max(0, round((1 / QUICK - costs[0]) / (costs[1] - costs[0]) * 200))


def printed(
    home: Path, served: Served, folder: Path, work: int, page: Page | None = None
) -> tuple[tuple[float, float], tuple[float, float, float]]:
    """Seconds and CPU seconds of a flood, and with a page what its frames were like."""
    go, told = folder / "go", folder / "told"
    for path in (go, told):
        path.unlink(missing_ok=True)
    command = [sys.executable, "-c", PRINTER, str(FLOOD), str(work), str(go), str(told)]
    words = [*PROGRAM, "--home", str(home), "run", "-q", "--", *command]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    frames = (0.0, 0.0, 0.0)
    running = wait_until(lambda: served.get("/tasks.json?status=running").json["tasks"])
    if page:
        visit(page, served, f"/tasks/{running[0]['number']}")
        page.wait_for_selector(".log-box")
        time.sleep(1)
        page.evaluate("gaps.length = 0, longest = 0")
    else:
        time.sleep(1)
    go.touch()
    while not told.exists():
        if page:
            page.wait_for_timeout(50)
        else:
            time.sleep(0.05)
    if page:
        gaps, longest = page.evaluate("[gaps, longest]")
        frames = (1000 * len(gaps) / sum(gaps), sorted(gaps)[len(gaps) * 95 // 100], longest)
    process.wait()
    wall, spent = map(float, told.read_text().split())
    return (wall, spent), frames


# A long log


def log(chromium: Browser, given: argparse.Namespace) -> None:
    """An output of 200 MB."""
    with tempfile.TemporaryDirectory() as folder:
        home, text = Path(folder) / "home", Path(folder) / "text"
        lines = write(text, int(given.bytes))
        record(home, "cat", str(text))
        text.unlink()
        firsts, again, jumps = [], [], []
        searches: dict[str, list[float]] = {}
        told: dict[str, str] = {}
        for turn in range(given.rounds):
            with server(home) as served, tab(chromium) as page:
                visit(page, served, "/tasks/1")
                firsts.append(page.evaluate("painted(isLogged)"))
                page.reload()
                again.append(page.evaluate("painted(isLogged)"))
                places = [1 + (number * 7919 + 13) * 104729 % lines for number in range(turn, JUMPS, given.rounds)]
                jumps += [page.evaluate(JUMPED, place) for place in places]
                for name, words, button in SEARCHES:
                    if button:
                        page.click(f"[aria-label='{button}']")
                    took, told[name] = page.evaluate(SEARCHED, words)
                    searches.setdefault(name, []).append(took)
                    if button:
                        page.click(f"[aria-label='{button}']")
    heading(f"a log of {given.bytes / 1e6:.0f} MB, {lines:,} lines ({load()})", ["median ms", "p95", "worst"])
    rows = {"first paint, as the server's first look": firsts, "first paint once more": again, "jump to a line": jumps}
    for name, figures in rows.items():
        line(name, middle(figures), late(figures), f"{max(figures):.0f}")
    for name, figures in searches.items():
        line(f"search: {name} ({told[name]})", middle(figures), late(figures), f"{max(figures):.0f}")


def write(path: Path, size: int) -> int:
    """Write so many bytes of a log; how many lines they are."""
    lines = 0
    with open(path, "wb") as file:
        while file.tell() < size:
            block = [
                b"2026-11-22 08:15:%02d.%03d %s step=%d loss=%.5f lr=0.0003 data/shard-%05d.tar%s\n"
                % (n // 1000 % 60, n % 1000, (b"INFO", b"WARNING")[n % 2], n, 1 / (n + 1), n % 4096,
                   b" resumed" if n % 500 == 0 else b"")
                for n in range(lines, lines + 10_000)
            ]  # fmt: skip
            file.write(b"".join(block))
            lines += len(block)
        file.write(b"the end: xyzzyplugh\n")
    return lines + 1


# A long history


def lists(chromium: Browser, given: argparse.Namespace) -> None:
    """How long each kind of list takes over a long history."""
    for home in sorted(given.home.glob("sqlite-*0")) if given.home else ():
        with server(home) as served:
            total = served.get("/tasks.json?limit=1").json["total"]
            loads, data = [], []
            for _ in range(given.rounds):
                with tab(chromium) as page:
                    visit(page, served)
                    loads.append(page.evaluate("painted(isBegun)"))
                    asked = page.evaluate(ASKED)
                    data.append(loads[-1] - asked)
            heading(
                f"of {total:,} tasks ({load()})",
                ["painted, median ms", "worst", "server alone", "worst", "rows", "all looked at"],
            )
            line("the page, opened", middle(loads), f"{max(loads):.0f}", "", "", "", "")
            line("of that, from its request for the rows", middle(data), f"{max(data):.0f}", "", "", "", "")
            with tab(chromium) as page:
                visit(page, served)
                page.evaluate("painted(isListed)")
                for words in LISTS:
                    kind(page, served, words, given.rounds)


def kind(page: Page, served: Served, words: str, rounds: int) -> None:
    """One kind of list."""
    shown, alone = [], []
    for _ in range(rounds):
        page.evaluate(LISTED, ["/tasks?number=0", "isListed"])
        shown.append(page.evaluate(LISTED, [f"/tasks?{words}", "isSeen"]))
        alone.append(timed(lambda: served.get(f"/tasks.json?{words}")))
    told = served.get(f"/tasks.json?{words}").json
    rows, whole = len(told["tasks"]), "no" if told["partial"] else "yes"
    line(f"`{words or 'all'}`", middle(shown), f"{max(shown):.0f}", middle(alone), f"{max(alone):.0f}", rows, whole)


PARTS = {"follow": follow, "crowd": crowd, "root": root, "flood": flood, "log": log, "lists": lists}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="where million.py has left its stores")
    parser.add_argument("--only", default=",".join(PARTS), help="the parts that are measured")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--bytes", type=float, default=200e6)
    given = parser.parse_args()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        print(f"{time.strftime('%Y-%m-%d')}, Python {sys.version.split()[0]}, {os.cpu_count()} cores, ", end="")
        print(f"Chromium {chromium.version}, {load()}", flush=True)
        for part in given.only.split(","):
            PARTS[part](chromium, given)
        chromium.close()


if __name__ == "__main__":
    main()
