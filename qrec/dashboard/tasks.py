"""The list of tasks, a task's page, and what can be done with them: JSON, and no HTTP."""

from __future__ import annotations

import json
import os
import shlex
import threading
import time

from qrec.errors import NoSuchAttempt, NoSuchTask, QrecError, Refused, StoreBusy, WrongUsage
from qrec.stores.base import SORTED_BY, Order, Query
from qrec.task import Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from werkzeug.datastructures import MultiDict

    from qrec.api import Qrec
    from qrec.executors.base import Action

    Row = dict[str, Any]
    Asked = MultiDict[str, str]

PAGE, LONGEST_PAGE = 100, 500  #: tasks in an answer
PATIENCE = 0.15  #: seconds that are spent on looking for them
HISTORY = 30  #: runs of the same command that are shown
AMONG = {"sqlite": 20_000}  #: the numbers before a page in which those are looked for
AMONG_FILES = 300  #: the same of a store without a query language
LAST_LINES = 20  #: running tasks of a page whose last line is shown
END = 4096  #: bytes in which that is looked for
TEXT = 1 << 20  #: bytes of what an action shows
ANSWERED = 1.5  #: seconds that an answer waits for something that goes on by itself
SHOWING = 10.0  #: seconds an action may go on telling
MANY = 500  #: tasks at once
LARGEST = 1 << 62  #: a number that stores can compare with
AGES = 1e9  #: seconds that nothing runs
OUTPUT_LINES = 2_000  #: lines of a diff

#: Actions that need what a page has not, with what to do instead.
NOT_HERE = {
    "attach": "it needs a terminal: `qrec exec attach {}`",
    "wait": "this page waits by itself",
}
#: Actions that only tell something, as far as we know them, and so are shown by themselves.
TELLING = {"slurm": ("status", "resources", "script"), "tmux": ("status",), "shell": (), "queue": ()}


# Finding


def resolve(door: Qrec, reference: str) -> Task:
    """The task of a number, a uid or a prefix."""
    if not reference or len(reference) > 200:
        raise NoSuchTask(reference[:50])
    return door.store.resolve(reference)


def attempt(door: Qrec, task: Task, number: int | None) -> Task:
    """One of its attempts; the current one if none is named."""
    if number is None or number == task.attempt:
        return task
    before = door.store.attempts(task.uid)
    for one in before:
        if one.attempt == number:
            return one
    raise NoSuchAttempt(task.uid, number, [*(one.attempt for one in before), task.attempt])


# The list


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
    deadline, seen = time.monotonic() + PATIENCE, below
    found: list[Task] = []
    try:
        with door.store.hurried(PATIENCE):
            tasks = door.store.candidates(long, query) if long else door.store.newest_first(query)
            for count, task in enumerate(tasks):
                if len(found) >= limit or time.monotonic() > deadline or (count >= SHORT_SCAN and not long):
                    break
                seen = task.number
                matched = matches(task, door.raw(task), folded)
                if matched and door.tellable(matched, folded):
                    found.append(task)
            else:
                return found, None
    except StoreBusy:
        pass  # shown as far as we came
    return found, (seen, seen) if seen else None


def split(words: str) -> list[str]:
    """Words, of which those in quotes are one."""
    try:
        return shlex.split(words) or [words]
    except ValueError:
        return words.split()


def counted(door: Qrec) -> Row:
    """How many tasks there are of each status, and at all."""
    tally = door.store.tally()
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
            shown["last_line"] = last_line(door, task)
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
    return {task.uid: bars([run for run in runs.get(task.command, ()) if run.number <= task.number]) for task in tasks}


def bars(runs: Sequence[Task]) -> list[Row]:
    """Runs, newest first, as small bars, newest last."""
    return [{"number": run.number, "status": run.status.value, "seconds": run.seconds} for run in runs[:HISTORY]][::-1]


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


# Without secrets


def without_secrets(door: Qrec, task: Task) -> Row:
    """The summary of a task with whatever looks like a secret covered, should its record hold one."""
    redactor = door.redactor
    shown: Row = covered(door, task.summary())
    argv, count = redactor.words(task.argv)
    if count:
        shown["argv"] = list(argv)
        shown["command"] = argv[0] if len(argv) == 1 and "shell" in task.data else shlex.join(argv)
    return shown


def covered(door: Qrec, value: Any) -> Any:
    """The same value with secrets covered in all its texts: all at once, since that is several times as quick."""
    from qrec.shown import masked_text

    texts: list[str] = []
    collect(value, texts)
    joined = SEPARATOR.join(texts)
    shown = masked_text(joined, door.redactor)
    if shown == joined:
        return value
    parts = shown.split(SEPARATOR)
    if len(parts) != len(texts):
        parts = [masked_text(text, door.redactor) for text in texts]
    return replaced(value, iter(parts))


SEPARATOR = "\n\x1e\n"


def collect(value: Any, texts: list[str]) -> None:
    """Every text in a value, in order."""
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, dict):
        for one in value.values():
            collect(one, texts)
    elif isinstance(value, (list, tuple)):
        for one in value:
            collect(one, texts)


def replaced(value: Any, texts: Iterable[str]) -> Any:
    """The value with other texts in the places that `collect` saw."""
    left = iter(texts)
    if isinstance(value, str):
        return next(left)
    if isinstance(value, dict):
        return {name: replaced(one, left) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [replaced(one, left) for one in value]
    return value


# A task's page


def told(door: Qrec, reference: str, number: int | None = None) -> Row:
    """All that a task's page begins with."""
    from qrec.reason import reason

    sequence = door.store.last_event()
    now = resolve(door, reference)
    task = attempt(door, now, number)
    shown = without_secrets(door, task)
    facts = shown.pop("facts")
    attempts = [*door.store.attempts(now.uid), now]
    return {
        "task": {**shown, "wish": task.wish, "reason": reason(task), "history": history(door, [now]).get(now.uid, [])},
        "current": now.attempt,
        "attempts": [brief(door, one) for one in attempts],
        "actions": actions(door, now),
        "can": possible(door, now),
        "facts": facts,
        "why": {"reason": reason(task), "explanation": explained(door, task)},
        "queue": queue_of(door, now),
        "panel": {"executor": task.executor, "data": shown["data"], "shows": shows(door, now)},
        "output": {stream: door.output(task).size(stream) for stream in ("stdout", "stderr")},
        "sequence": sequence,
    }


def brief(door: Qrec, task: Task) -> Row:
    """An attempt in a list of them."""
    from qrec.reason import reason

    names = ("attempt", "status", "returncode", "signal", "started", "ended", "host", "pwd", "usage")
    row = task.summary()
    return {**{name: row[name] for name in names}, "seconds": task.seconds, "reason": reason(task)}


def explained(door: Qrec, task: Task) -> str:
    """What its end means."""
    from qrec.why import explanation

    try:
        return explanation(task, door.output(task))
    except (QrecError, OSError):
        return ""


def actions(door: Qrec, task: Task) -> list[Row]:
    """What the task's executor offers, each to become a button."""
    try:
        offered = door.actions(task.executor)
        inner = task.data.get("inner")
        if task.executor == "queue" and inner not in (None, "shell"):
            offered = {**offered, **door.actions(str(inner))}
    except QrecError:
        return []  # its plug-in is gone
    return [described(action, task) for action in offered.values()]


def described(action: Action, task: Task) -> Row:
    """An action with its options, and whether it makes sense now."""
    why_not = ""
    try:
        action.check(task)
    except Refused as error:
        why_not = str(error)
    why_not = why_not or NOT_HERE.get(action.name, "").format(task.number)
    return {
        "name": action.name, "help": action.help, "enabled": not why_not, "why_not": why_not,
        "options": [
            {"name": option.name, "kind": option.kind.__name__, "default": option.default, "help": option.help,
             "positional": option.positional}
            for option in action.options if option.name != "follow"
        ],
    }  # fmt: skip


def possible(door: Qrec, task: Task) -> Row:
    """What can be done with any task, and why not."""
    from qrec.redact import REDACTED

    ended = "" if task.status.is_final else f"it is {task.status}; cancel it first"
    gone = "" if os.path.isdir(task.pwd) else f"the folder {task.pwd} is not there any more"
    secrets = sum(word.count(REDACTED) for word in task.argv) if task.data.get("redacted") else 0
    cancel = "" if not task.status.is_final else f"it is {task.status} already"
    return {
        "rerun": {"enabled": not (ended or gone), "why_not": ended or gone, "secrets": secrets},
        "delete": {"enabled": not ended, "why_not": ended},
        "cancel": {"enabled": not cancel, "why_not": cancel},
        "note": {"enabled": True, "why_not": ""},
        "tag": {"enabled": True, "why_not": ""},
    }


def queue_of(door: Qrec, task: Task) -> Row | None:
    """For a job of a queue: what it waits for and what waits for it."""
    if task.queue is None:
        return None
    from qrec.jobs import Jobs

    told: Row = {"name": task.queue, "job": task.name, "after": [], "blocks": []}
    for uid in task.after:
        try:
            told["after"].append(linked(door, door.store.get(uid)))
        except NoSuchTask:
            told["after"].append({"uid": uid, "gone": True})
    jobs = Jobs(door, task.queue).all()
    told["blocks"] = [linked(door, job) for job in jobs if task.uid in job.after][:MANY]
    return {**told, "why": waits(door, task)}


def linked(door: Qrec, task: Task) -> Row:
    """A job that is named beside another."""
    names = ("uid", "number", "name", "status")
    row = without_secrets(door, task)
    return {**{name: row[name] for name in names}, "command": row["command"]}


def waits(door: Qrec, task: Task) -> list[str]:
    """Why a job waits, in sentences."""
    if task.status is not Status.QUEUED:
        return []
    try:
        from qrec.explain import explain
        from qrec.jobs import Jobs

        return explain(Jobs(door, task.queue or ""), task)
    except QrecError:
        return []


def shows(door: Qrec, task: Task) -> list[str]:
    """What `panel` tells of a task of this kind."""
    name = task.data.get("inner", task.executor) if task.executor == "queue" else task.executor
    told = [*TELLING.get(str(name), ())]
    return [*told, "screen"] if name == "tmux" and not task.status.is_final else told


def panel(door: Qrec, reference: str) -> Row:
    """What the executor itself tells of the task; each part is what it says, or why it says nothing."""
    task = resolve(door, reference)
    parts: Row = {}
    for name in shows(door, task):
        try:
            parts[name] = outcome(door, door.executor(task.executor).act(name, task))
        except QrecError as error:
            parts[name] = {"error": str(error)}
    return {"uid": task.uid, "executor": task.executor, "parts": parts}


def screen(door: Qrec, reference: str) -> Row:
    """What is to be seen in a task's terminal now."""
    task = resolve(door, reference)
    return {
        "uid": task.uid,
        "status": task.status.value,
        **outcome(door, door.executor(task.executor).act("screen", task)),
    }


def why(door: Qrec, reference: str, number: int | None = None) -> Row:
    """Why it failed, and what differs from the last good run."""
    from qrec.why import last_good
    from qrec.why import why as found

    task = attempt(door, resolve(door, reference), number)
    failed = task.status.is_final and task.status is not Status.COMPLETE
    good = last_good(door.store, task) if failed else None
    known = found(task, door.output(task), good, door.output(good) if good else None)
    excerpts = {"traceback": known.traceback, "last": known.last}
    return {
        "reason": known.reason, "explanation": known.explanation,
        **{name: None if excerpt is None else plain(excerpt) for name, excerpt in excerpts.items()},
        "good": None if good is None else linked(door, good) | {"attempt": good.attempt},
        "differs": covered(door, [plain(difference) for difference in known.differs]),
    }  # fmt: skip


def plain(record: Any) -> Any:
    """A record in JSON's types."""
    if hasattr(record, "asdict"):
        return {name: plain(value) for name, value in record.asdict().items()}
    if isinstance(record, (list, tuple)):
        return [plain(value) for value in record]
    if isinstance(record, bytes):
        return record.decode("utf-8", "replace")
    return record


def diff(door: Qrec, first: tuple[str, int | None], second: tuple[str, int | None]) -> Row:
    """What differs between two tasks, or two attempts of one."""
    one, other = (attempt(door, resolve(door, reference), number) for reference, number in (first, second))
    known = door.diff(one, other)
    return {
        "first": linked(door, one) | {"attempt": one.attempt},
        "second": linked(door, other) | {"attempt": other.attempt},
        "same": not known,
        **{
            name: covered(door, [plain(difference) for difference in getattr(known, name)])
            for name in ("command", "facts", "usage")
        },
        "output": [unified(output) for output in known.output],
    }  # fmt: skip


def unified(output: Any) -> Row:
    """How a stream differs, line by line, as far as anybody reads."""
    lines: list[str] = []
    left = b""
    more = False
    for piece in output.unified():
        left += piece
        if left.endswith(b"\n") or len(left) > 4096:
            lines.append(left.decode("utf-8", "replace").rstrip("\n"))
            left = b""
        if len(lines) >= OUTPUT_LINES:
            more = True
            break
    if left and not more:
        lines.append(left.decode("utf-8", "replace"))
    return {"stream": output.stream, "lines": lines, "more": more}


def executors(door: Qrec) -> Row:
    """Every executor and what it offers."""
    from qrec.registry import EXECUTORS

    told: list[Row] = []
    for name in door.registry.names(EXECUTORS):
        plugin = door.registry.named(EXECUTORS, name)
        try:
            offered = [{"name": action.name, "help": action.help} for action in door.actions(name).values()]
        except QrecError as error:
            told.append({"name": name, "broken": str(error)})
            continue
        told.append({"name": name, "pattern": plugin.pattern if plugin else "", "actions": offered})
    return {"executors": told}


# Acting


def act(door: Qrec, reference: str, name: str, given: Mapping[str, Any], edit: bool = False) -> Row:
    """Do something with a task; return how it stands then, and what the action told."""
    task = resolve(door, reference)
    if name == "rerun":
        return again(door, [{"uid": task.uid, **rerun_options(given)}])[0]
    if name == "edit":
        return edited(door, task, given, edit)
    if name == "note":
        return {"task": row(door, door.note(task.uid, text_of(given, "message")))}
    if name == "tag":
        return {"task": row(door, door.tag(task.uid, texts_of(given, "add"), texts_of(given, "remove")))}
    if name in NOT_HERE:
        raise Refused(NOT_HERE[name].format(task.number))
    options = options_of(door, task, name, given)
    if name == "cancel":
        return by_itself(door, task, lambda: door.act(task.uid, name, **options))
    return {**outcome(door, door.act(task.uid, name, **options)), "task": row(door, door.store.get(task.uid))}


def by_itself(door: Qrec, task: Task, work: Callable[[], Any]) -> Row:
    """Do what may take its time; `pending` says that it goes on."""
    done = aside(door, [work])[0]
    if isinstance(done, BaseException):
        raise done
    return {"task": row(door, door.store.get(task.uid)), "pending": done is PENDING}


PENDING = object()


def aside(door: Qrec, works: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do several things at a time, each in a thread; what each gave, what it raised, or PENDING, after a moment."""
    done: list[Any] = [PENDING] * len(works)
    give_back = getattr(door, "give_back", lambda: None)

    def do(place: int, work: Callable[[], Any]) -> None:
        try:
            done[place] = work()
        except Exception as error:
            done[place] = error
        finally:
            give_back()

    threads = [
        threading.Thread(target=do, args=(place, work), daemon=True, name="act") for place, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + ANSWERED
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(done)


def outcome(door: Qrec, result: Any) -> Row:
    """What an action told, as JSON."""
    if isinstance(result, Task):
        return {"task": row(door, result)}
    if result is None or isinstance(result, (str, int, float, bool, dict, list, tuple)):
        return {"result": covered(door, json.loads(json.dumps(result, default=str)))}
    if isinstance(result, bytes):
        result = iter([result])
    block, deadline = b"", time.monotonic() + SHOWING
    for piece in result:
        block += piece
        if len(block) > TEXT or time.monotonic() > deadline:
            break
    else:
        return {"text": text(door, block), "truncated": False}
    return {"text": text(door, block[:TEXT]), "truncated": True}


def text(door: Qrec, block: bytes) -> str:
    """Bytes as they are shown."""
    from qrec.shown import masked

    return masked(block, door.redactor).decode("utf-8", "replace")


def options_of(door: Qrec, task: Task, name: str, given: Mapping[str, Any]) -> Row:
    """The values of an action's options, each of its kind."""
    offered = {one["name"]: one for one in actions(door, task)}
    known = {option["name"]: option["kind"] for option in offered[name]["options"]} if name in offered else {}
    return {key: of_kind(key, known[key], value) for key, value in given.items() if key in known and value is not None}


def of_kind(name: str, kind: str, value: Any) -> Any:
    """A value of JSON as the kind that an option has."""
    if kind == "bool" and isinstance(value, bool):
        return value
    try:
        if kind == "int" and not isinstance(value, bool):
            return int(value)
        if kind == "float" and not isinstance(value, bool):
            return float(value)
    except (TypeError, ValueError):
        pass
    if kind in ("bool", "int", "float") or not isinstance(value, str):
        raise WrongUsage(f"{name} is to be of the kind {kind}")
    return value


def text_of(given: Mapping[str, Any], name: str) -> str:
    """A text that is needed."""
    value = given.get(name)
    if not isinstance(value, str):
        raise WrongUsage(f"{name} is to be a text")
    return value


def texts_of(given: Mapping[str, Any], name: str) -> list[str]:
    """A list of texts that may be missing."""
    value = given.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise WrongUsage(f"{name} is to be a list of texts")
    return value


# Running again


def rerun_options(given: Mapping[str, Any]) -> Row:
    """What a rerun may be told; a command is not among it."""
    told: Row = {}
    if given.get("message") is not None:
        told["message"] = text_of(given, "message")
    if given.get("secrets") is not None:
        told["secrets"] = texts_of(given, "secrets")
    return told


def again(door: Qrec, wanted: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Start commands in a process of their own; Refused if there is one only and it does not start."""
    from qrec.dashboard.again import start

    for one in wanted:
        task = door.store.get(one["uid"]) if "uid" in one else None
        if task is not None and len(wanted) == 1:
            check_rerun(door, task)
    answers = start(door.home, door.store.place, wanted)
    if len(answers) == 1 and "error" in answers[0]:
        raise Refused(answers[0]["error"])
    return [{"task": row(door, door.store.get(one["uid"]))} if "uid" in one else one for one in answers]


def check_rerun(door: Qrec, task: Task) -> None:
    """Refuse at once what cannot be run again."""
    can = possible(door, task)["rerun"]
    if not can["enabled"]:
        raise Refused(f"{task.uid} cannot be run again: {can['why_not']}")


def edited(door: Qrec, task: Task, given: Mapping[str, Any], allowed: bool) -> Row:
    """Run another command in a task's place: its words as they are, never a line that something is put into."""
    if not allowed:
        raise Refused("commands cannot be written here: the server was started without --allow-edit")
    argv = texts_of(given, "argv")
    if not argv or not argv[0]:
        raise WrongUsage("argv is to be a list of words, the program first")
    if len(argv) == 1 and "shell" not in task.data:
        argv = ["env", "--", *argv]  # one word alone would be read as a line
    folder = given.get("cwd") or task.pwd
    if not isinstance(folder, str) or not os.path.isdir(folder):
        raise Refused(f"the folder {folder} is not there")
    return again(door, [{"argv": argv, "cwd": folder, "message": given.get("message"), "tags": list(task.tags)}])[0]


# Many at once


def delete(door: Qrec, reference: str) -> Row:
    """Forget a task with all it left."""
    task = resolve(door, reference)
    if door.clear([task]):
        raise Refused(f"{task.uid} is {task.status}; cancel it first")
    return {"deleted": task.uid}


def bulk(door: Qrec, given: Mapping[str, Any]) -> Row:
    """Do one thing with many tasks; tells which went well, and why the others did not."""
    name, ids = given.get("action"), given.get("ids")
    if name not in ("rerun", "cancel", "delete"):
        raise WrongUsage("action is rerun, cancel or delete")
    if not isinstance(ids, list) or not ids or len(ids) > MANY:
        raise WrongUsage(f"ids is a list of tasks, {MANY} at most")
    done: list[str] = []
    failed: list[Row] = []
    chosen: dict[str, Task] = {}
    for one in ids:
        try:
            task = resolve(door, str(one))
            chosen[task.uid] = task
        except QrecError as error:
            failed.append({"id": one, "why": str(error)})
    work = {"rerun": rerun_all, "cancel": cancel_all, "delete": delete_all}[name]
    for uid, why_not in work(door, list(chosen.values())).items():
        if why_not is None:
            done.append(uid)
        else:
            failed.append({"id": uid, "number": chosen[uid].number, "why": why_not})
    return {"done": done, "failed": failed}


def rerun_all(door: Qrec, tasks: Sequence[Task]) -> dict[str, str | None]:
    """Run tasks again."""
    from qrec.dashboard.again import start

    answers = start(door.home, door.store.place, [{"uid": task.uid} for task in tasks])
    return {task.uid: answer.get("error") for task, answer in zip(tasks, answers, strict=True)}


def cancel_all(door: Qrec, tasks: Sequence[Task]) -> dict[str, str | None]:
    """End tasks; what takes longer goes on."""

    def cancel(task: Task) -> Callable[[], Any]:
        return lambda: door.act(task.uid, "cancel")

    results = aside(door, [cancel(task) for task in tasks])
    return {
        task.uid: str(result) if isinstance(result, BaseException) else None
        for task, result in zip(tasks, results, strict=True)
    }


def delete_all(door: Qrec, tasks: Sequence[Task]) -> dict[str, str | None]:
    """Forget tasks."""
    told: dict[str, str | None] = {}
    for task in tasks:
        try:
            delete(door, task.uid)
            told[task.uid] = None
        except QrecError as error:
            told[task.uid] = str(error)
    return told
