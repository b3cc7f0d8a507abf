"""The list of tasks: JSON, and no HTTP."""

from __future__ import annotations

import shlex
import time

from qrec.dashboard.covering import without_secrets
from qrec.errors import NoSuchTask, StoreBusy, WrongUsage
from qrec.stores.base import SORTED_BY, Order, Query
from qrec.task import Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from werkzeug.datastructures import MultiDict

    from qrec.api import Qrec

    Row = dict[str, Any]
    Asked = MultiDict[str, str]

PAGE, LONGEST_PAGE = 100, 500  #: tasks in an answer
PATIENCE = 0.15  #: seconds that are spent on looking for them
HISTORY = 30  #: runs of the same command that are shown
AMONG = {"sqlite": 10_000}  #: the numbers before a page in which those are looked for
AMONG_FILES = 300  #: the same of a store without a query language
LAST_LINES = 20  #: running tasks of a page whose last line and usage are shown
END = 4096  #: bytes in which that is looked for
LARGEST = 1 << 62  #: a number that stores can compare with
AGES = 1e9  #: seconds that nothing runs


def listed(door: Qrec, asked: Asked) -> Row:
    """A page of tasks."""
    sequence = door.store.last_event()  # before the look: what comes meanwhile is told again rather than never
    query, order, limit = query_of(asked), order_of(asked), limit_of(asked)
    words = asked.get("q", "").strip()
    backwards = asked.get("after", "").startswith("<")
    if backwards:
        order = order.copy(descending=not order.descending)
    if words:
        found, place = searched(door, words, query, order, limit + 1)
    else:
        page = door.store.page(query, order, limit + 1, PATIENCE)
        found, place = list(page.tasks), page.place
    partial = len(found) <= limit and place is not None
    if len(found) > limit:
        found, place = found[:limit], order.place(found[limit - 1])
    if backwards:
        found.reverse()
        order = order.copy(descending=not order.descending)
    begin = order.place(found[0]) if found and asked.get("after") else None
    end = order.place(found[-1]) if found else None
    earlier, later = (place, end) if backwards else (begin, place)
    counts = counted(door)
    return {
        "tasks": rows(door, found),
        "next": cursor(later), "previous": cursor(earlier, "<"),
        "partial": partial, "looked": place[1] if partial and place and order.by == "number" else None,
        "total": total(query, words, counts, None if place or asked.get("after") else len(found)),
        "counts": counts, "order": {"sort": order.by, "order": "desc" if order.descending else "asc"},
        "sequence": sequence,
    }  # fmt: skip


def query_of(asked: Asked) -> Query:
    """The facets that a query string names; WrongUsage for what makes no sense."""
    from qrec.cli.verbs import stamp_of
    from qrec.units import seconds, size_in_bytes

    def given(name: str) -> str | None:
        return asked.get(name) or None

    longer, over, code = given("longer"), given("mem_over"), given("code")
    return Query(
        statuses=frozenset(map(status_of, several(asked, "status"))), executor=given("executor"),
        tags=frozenset(several(asked, "tag")), host=given("host"), user=given("user"), cwd=given("cwd"),
        commit=given("commit"), queue=given("queue"), name=given("name"), since=stamp_of(given("since")),
        until=stamp_of(given("until")), longer=None if longer is None else min(seconds(longer), AGES),
        memory_over=None if over is None else min(size_in_bytes(over), LARGEST),
        code=None if code is None else whole("code", code),
    )  # fmt: skip


def several(asked: Asked, name: str) -> list[str]:
    """The values of a name that may be given again, or several at once with commas."""
    return [word for words in asked.getlist(name) for word in words.split(",") if word]


def status_of(word: str) -> Status:
    """A status by its name."""
    try:
        return Status(word)
    except ValueError:
        raise WrongUsage(f"{word!r} is no status; there are: {', '.join(status.value for status in Status)}") from None


def whole(name: str, word: str) -> int:
    """A whole number."""
    try:
        return max(-LARGEST, min(int(word[:30]), LARGEST))
    except ValueError:
        raise WrongUsage(f"{name} is a whole number") from None


def order_of(asked: Asked) -> Order:
    """In which order, and from where."""
    by, way = asked.get("sort") or "number", asked.get("order") or "desc"
    if by not in SORTED_BY or way not in ("asc", "desc"):
        raise WrongUsage(f"sort is one of {', '.join(SORTED_BY)}, and order is asc or desc")
    return Order(by=by, descending=way == "desc", after=after_of(asked.get("after"), by))


def after_of(words: str | None, by: str) -> tuple[Any, int] | None:
    """Where a page begins, as `cursor` wrote it."""
    if not words:
        return None
    value, _, number = words.lstrip("<").rpartition("~")
    try:
        place = whole("after", number)
        return (place if by == "number" else value if by == "started" else float(value)), place
    except ValueError:
        raise WrongUsage("after is what `next` or `previous` of another page said") from None


def cursor(place: tuple[Any, int] | None, sign: str = "") -> str | None:
    """Where another page begins; `<` for one that ends there."""
    return None if place is None else f"{sign}{place[0]}~{place[1]}"


def limit_of(asked: Asked) -> int:
    """How many tasks."""
    return max(1, min(whole("limit", asked.get("limit") or str(PAGE)), LONGEST_PAGE))


def searched(
    door: Qrec, words: str, query: Query, order: Order, limit: int
) -> tuple[list[Task], tuple[Any, int] | None]:
    """The newest tasks that hold every word, as far as a moment allows, and up to where was looked."""
    from qrec.search import PIECE, SHORT_SCAN, fold, matches

    folded = [fold(word) for word in split(words)]
    long = [word for word in folded if len(word) >= PIECE]
    if not order.descending or order.by != "number":
        raise WrongUsage("what was searched for is sorted by number, the newest first")
    below = order.after[1] if order.after else None
    query = query.copy(below=below)
    deadline = time.monotonic() + PATIENCE
    found: list[Task] = []
    seen = below or door.store.highest_number() + 1  # above all that have not been looked at
    try:
        with door.store.hurried(PATIENCE):
            tasks = door.store.candidates(long, query) if long else door.store.newest_first(query)
            for count, task in enumerate(tasks):
                if len(found) >= limit or (count >= SHORT_SCAN and not long):
                    break
                if count and time.monotonic() > deadline:  # one always, or nobody would ever come further
                    break
                seen = task.number
                matched = matches(task, door.raw(task), folded)
                if matched and door.tellable(matched, folded):
                    found.append(task)
            else:
                return found, None
    except StoreBusy:
        pass  # shown as far as we came
    return found, (seen, seen)


def split(words: str) -> list[str]:
    """Words, of which those in quotes are one."""
    try:
        return shlex.split(words) or [words]
    except ValueError:
        return words.split()


def counted(door: Qrec) -> Row:
    """How many tasks there are of each status, and at all."""
    tally = getattr(door, "tally", door.store.tally)()
    return {"all": sum(tally.values()), **{status.value: tally.get(status, 0) for status in Status}}


def total(query: Query, words: str, counts: Mapping[str, int], found: int | None) -> int | None:
    """How many match; None if that would have to be counted."""
    if words or query.copy(statuses=frozenset()) != Query():
        return found
    return sum(counts[status.value] for status in query.statuses) if query.statuses else counts["all"]


def rows(door: Qrec, tasks: Sequence[Task]) -> list[Row]:
    """Tasks as the list shows them, with the runs before and the last line of what runs."""
    before = history(door, tasks)
    lines = 0
    told = []
    for task in tasks:
        shown = {**row(door, task), "history": before.get(task.uid, [])}
        if task.status is Status.RUNNING and lines < LAST_LINES:
            shown |= {"last_line": last_line(door, task), "uses": uses(door, task)}
            lines += 1
        told.append(shown)
    return told


def row(door: Qrec, task: Task) -> Row:
    """A task as a list shows it: without its facts and without secrets."""
    from qrec.reason import reason

    shown = without_secrets(door, task)
    del shown["facts"]
    return {**shown, "reason": reason(task)}


def history(door: Qrec, tasks: Sequence[Task]) -> dict[str, list[Row]]:
    """The last runs of each task's command, its own the last, by its uid."""
    if not tasks:
        return {}
    commands = {task.command for task in tasks}
    among = AMONG.get(door.store.name, AMONG_FILES)
    highest = max(task.number for task in tasks)
    runs: dict[str, list[Task]] = {}
    for run in door.store.runs(list(commands), highest + 1, min(among, highest)):
        runs.setdefault(run.command, []).append(run)
    known: dict[str, list[Task]] = {}
    return {
        task.uid: bars(every_run(door, [run for run in runs.get(task.command, ()) if run.number <= task.number], known))
        for task in tasks
    }


def every_run(door: Qrec, tasks: Sequence[Task], known: dict[str, list[Task]]) -> list[Task]:
    """Tasks, newest first, as far as they are shown, each with its attempts before; `known` holds what was read."""
    found: list[Task] = []
    for task in tasks:
        if len(found) >= HISTORY:
            break
        if task.uid not in known:
            known[task.uid] = attempts_before(door, task)
        found += [task, *known[task.uid]]
    return found


def attempts_before(door: Qrec, task: Task) -> list[Task]:
    """Those that are shown of the attempts before, newest first."""
    if task.attempt == 1:
        return []
    try:
        return [run for run in door.store.attempts(task.uid) if run.attempt < task.attempt][: -HISTORY - 1 : -1]
    except NoSuchTask:
        return []  # it was removed a moment ago


def bars(runs: Sequence[Task]) -> list[Row]:
    """Runs, newest first, as small bars, newest last."""
    return [
        {"number": run.number, "attempt": run.attempt, "status": run.status.value, "seconds": run.seconds}
        for run in runs[:HISTORY]
    ][::-1]


def uses(door: Qrec, task: Task) -> Row:
    """What a running task uses, as it was last looked at: its record tells of its peak when it ends."""
    from qrec.watch import usage_now

    cpu, memory = usage_now(door.home, task)
    return {"cpu": cpu, "memory": memory}


def last_line(door: Qrec, task: Task) -> str:
    """The last line of what a task has printed."""
    from qrec.tracebacks import clean

    output = door.output(task)
    for stream in ("stdout", "stderr"):
        size = output.size(stream)
        if size:
            lines = clean(output.read(stream, max(0, size - END), END)).strip().split("\n")
            if lines[-1].strip():
                return lines[-1].strip()[:300]
    return ""
