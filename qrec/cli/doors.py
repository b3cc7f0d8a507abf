"""The verbs that take a history out, bring one in, carry it over, and ask it questions in SQL."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

import click

from qrec.cli import say
from qrec.cli.verbs import (
    AS_JSON,
    completes,
    filters,
    front_door,
    looking,
    query_of,
    tell,
    verb,
    wants_json,
)
from qrec.cli.words import JSON, REVEAL
from qrec.errors import NoSuchTask, Refused, WrongUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, BinaryIO

    from qrec.api import Qrec
    from qrec.doors.intake import Arrival
    from qrec.progress import Progress
    from qrec.stores.base import Query, Store
    from qrec.task import Task

COMPLAINTS = 100  #: bad lines that are told one by one


# Out


@verb(
    "qrec export jsonl -o history.jsonl\n  qrec export csv --failed --since 1w\n  qrec export text 12 13\n"
    "  qrec export asciicast 12 -o 12.cast",
    REVEAL,
)
@click.argument("form", metavar="jsonl|csv|text|asciicast", type=click.Choice(["jsonl", "csv", "text", "asciicast"]))
@click.argument("tasks", nargs=-1, metavar="[TASK]...", shell_complete=completes("task"))
@click.option(
    "-o", "--output", metavar="FILE", shell_complete=completes("file"), help="Write to FILE, for your eyes only."
)
@click.option("-e", "--executor", metavar="NAME", shell_complete=completes("executor"), help="Of this executor.")
@filters
def export(
    given: dict[str, Any], form: str, tasks: tuple[str, ...], output: str | None, limit: int | None, all_: bool,
    **narrowed: Any,
) -> None:  # fmt: skip
    """Write tasks out: all of them, those named, or those that the filters leave.

    jsonl is whole: a line a task as `qrec get` prints it, with its attempts and the exact bytes of its output, which
    `qrec import jsonl` takes in again.  csv is a row a task with the columns of `ls --json`, without output.

    text is what a task printed as it stands in a terminal in the end: without colours, a progress bar as it was last.
    asciicast is one task for `asciinema play` and other players.
    """
    output = None if output == "-" else output
    door = looking(given) if output is None else front_door(given)
    door.refresh()
    query = query_of(**narrowed)
    chosen, total = chosen_tasks(door, tasks, query, limit)
    if form == "asciicast" and total != 1:
        raise WrongUsage(f"an asciicast is of one task, and these are {total}; `qrec export asciicast TASK` names it")
    if total == 1 and form in ("asciicast", "text"):
        chosen = list(chosen)
        tell_empty(door, chosen)
    with sink(output) as file:
        for line in lines_of(door, form, watched(chosen, total, output), total):
            file.write(line)
    if not total:
        say("no task matches")
    tell(door)


def chosen_tasks(door: Qrec, names: Iterable[str], query: Query, limit: int | None) -> tuple[Iterable[Task], int]:
    """The tasks that are meant, by ascending number, and about how many they are."""
    if names:
        named = {task.uid: task for task in map(door.store.resolve, names) if query.matches(task)}
        tasks = sorted(named.values(), key=lambda task: task.number)[-(limit or 0) :]
    elif limit is not None:
        tasks = door.store.find(query, limit)
    else:
        return door.store.oldest_first(query), door.store.count(query)
    return tasks, len(tasks)


def watched(tasks: Iterable[Task], total: int, output: str | None) -> Iterable[Task]:
    """The tasks with a view of how far they have come, unless they are shown themselves."""
    from qrec.progress import track

    return tasks if output is None and sys.stdout.isatty() else track(tasks, "exporting", total)


def tell_empty(door: Qrec, tasks: Iterable[Task]) -> None:
    """Say of which tasks there is no output."""
    from qrec.output import STREAMS

    for task in tasks:
        if not any(map(door.output(task).size, STREAMS)):
            say(f"{task.number} printed nothing")


def lines_of(door: Qrec, form: str, tasks: Iterable[Task], total: int) -> Iterator[bytes]:
    """The lines of an export of so many tasks, or about so many."""
    if form == "csv":
        yield from csv_of(tasks)
        return
    for task in tasks:
        try:
            yield from lines_of_task(door, form, task, total > 1)
        except NoSuchTask:
            pass  # removed meanwhile


def heading(task: Task) -> bytes:
    """The line above a task's text where there are several."""
    from qrec.cli.show import printable

    return f"==> {task.number}  {printable(task.command)} <==\n".encode("utf-8", "replace")


def lines_of_task(door: Qrec, form: str, task: Task, among_others: bool) -> Iterator[bytes]:
    """The lines of one task in an export."""
    if form == "jsonl":
        from qrec.doors.jsonl import line_of

        yield line_of(door.store, task, door.covered)
        return
    from qrec.doors import cast
    from qrec.output import Frozen

    output = Frozen(door.output(task))
    if among_others:
        yield heading(task)
    yield from (cast.asciicast if form == "asciicast" else cast.plain_text)(task, output)


def csv_of(tasks: Iterable[Task], names: tuple[str, ...] = ()) -> Iterator[bytes]:
    """Tasks as CSV, with these columns or those of `ls --json`."""
    from qrec.doors.columns import csv_lines, row_of
    from qrec.task import SUMMARY

    names = names or SUMMARY
    return csv_lines(names, (tuple(row_of(task, names).values()) for task in tasks))


def put_csv(tasks: Iterable[Task], names: tuple[str, ...]) -> None:
    """Tasks as CSV on stdout."""
    for line in csv_of(tasks, names):
        sys.stdout.buffer.write(line)


def columns_of(task: Task, names: tuple[str, ...]) -> dict[str, Any]:
    """A task as `ls --json` prints it, or only these columns."""
    if not names:
        return task.summary()
    from qrec.doors.columns import row_of

    return row_of(task, names)


def task_grid(tasks: Sequence[Task], names: tuple[str, ...]) -> Iterator[str]:
    """The lines of a table of tasks with these columns."""
    from qrec.cli.grid import task_grid

    return task_grid(tasks, names)


@contextmanager
def sink(path: str | None) -> Iterator[BinaryIO]:
    """Where an export goes: stdout, or a file that appears when it is whole."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    beside = f"{path}.part" if os.path.isfile(path) or not os.path.exists(path) else path
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file
        if beside != path:
            os.replace(beside, path)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if beside != path and os.path.exists(beside):
            os.unlink(beside)


# In


@verb("qrec import jsonl history.jsonl\n  qrec import qme ~/.qme", JSON, name="import")
@click.argument("form", metavar="jsonl|qme", type=click.Choice(["jsonl", "qme"]))
@click.argument("source", metavar="FILE|DIR", shell_complete=completes("file"))
def import_(given: dict[str, Any], form: str, source: str) -> int:
    """Take tasks in that are not here yet.

    jsonl reads what `qrec export jsonl` wrote, or `qrec get`, or QueueMe; `-` is stdin.  qme reads a home of QueueMe,
    ~/.qme mostly, and changes nothing there.  A task that is here already is passed over; what cannot be read is told
    of, and does not stop the rest.
    """
    from qrec.doors.intake import Intake
    from qrec.progress import Progress

    door = front_door(given)
    intake = Intake(door.store, Complaints(source))
    size = os.stat(source).st_size if form == "jsonl" and os.path.isfile(source) else None
    with Progress("importing", size) as progress:
        intake.take(arrivals(form, source, progress))
    report(given["json"], intake.counts())
    tell(door)
    return 1 if intake.bad else 0


def arrivals(form: str, source: str, progress: Progress) -> Iterator[Arrival]:
    """What comes in."""
    if form == "qme":
        from qrec.doors import qme

        for arrival in qme.arrivals(source):
            yield arrival
            progress.advance()
        return
    from qrec.doors import jsonl

    with opened(source) as file:
        yield from jsonl.arrivals(counted(file, progress))


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A file to read, or stdin."""
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 - errors of the body are not ours
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror or error}") from error
    with file:
        yield file


def counted(lines: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    """The lines, with a view of how far they have come."""
    for line in lines:
        yield line
        progress.advance(len(line))


class Complaints:
    """Tells of what is wrong with a source, and of most of it only how much there is."""

    def __init__(self, source: str) -> None:
        self.source = "stdin" if source == "-" else source
        self.told = 0

    def __call__(self, complaint: str) -> None:
        self.told += 1
        if self.told <= COMPLAINTS:
            say(complaint if complaint.startswith(self.source) else f"{self.source}, {complaint}")
        elif self.told == COMPLAINTS + 1:
            say("more of it is bad, and only counted from here on")


def report(as_json: bool, counts: dict[str, int]) -> None:
    """How many came in."""
    from qrec.cli.show import put, put_json

    if as_json:
        put_json(counts)
        return
    told = f"{counts['new']:,} task{'s' * (counts['new'] != 1)} taken in"
    told += f", {counts['present']:,} here already" * bool(counts["present"])
    put(told + f", {counts.get('bad', 0):,} bad" * bool(counts.get("bad")))


# Across


@click.group("store", epilog="\b\nExample:\n  qrec store copy sqlite filesystem\n  qrec store schema")
def store() -> None:
    """Copy a store into another, or see how it is built."""


@store.command(
    "copy",
    epilog="\b\nExample:\n  qrec store copy sqlite filesystem\n  qrec store copy filesystem sqlite:/tmp/history.db",
)
@click.argument("source", metavar="FROM", shell_complete=completes("store"))
@click.argument("target", metavar="TO", shell_complete=completes("store"))
@AS_JSON
def store_copy(source: str, target: str, as_json: bool) -> None:
    """Copy every task that TO does not have, with its attempts, notes and exact output.

    FROM and TO are named as --store names them: sqlite, filesystem, sqlite:/some/file.  Numbers are kept where TO has
    none as high.  Outputs above 64 KiB are files in the home, which serves both.  What was set for a queue goes along
    if TO does not have that queue.
    """
    from qrec.doors.carry import carry, carry_queues
    from qrec.progress import Progress
    from qrec.stores.base import Query

    here, there = two_stores(source, target)
    new = seen = 0
    with Progress("copying", here.count(Query())) as progress:
        for count, fresh in carry(here, there, here.oldest_first(Query())):
            seen, new = seen + count, new + fresh
            progress.advance(count, count)
    carry_queues(here, there)
    report(wants_json(as_json), {"new": new, "present": seen - new})
    tell_unfinished(here, source)


def two_stores(*choices: str) -> list[Store]:
    """The stores that two words name; they must not be one."""
    from qrec.config import find_home
    from qrec.registry import Registry

    home = find_home(click.get_current_context().find_root().params["home"])
    stores = [Registry(home).store(home, choice) for choice in choices]
    if len({os.path.realpath(store.location) for store in stores}) < len(stores):
        raise WrongUsage("FROM and TO are the same store")
    return stores


def tell_unfinished(store: Store, name: str) -> None:
    """Say whose end the copy will not learn."""
    from qrec.stores.base import Query
    from qrec.task import Status

    running = store.count(Query(statuses=frozenset({Status.RUNNING, Status.SUBMITTED})))
    if not store.count(Query()):
        say(f"{name} holds no task")
    elif running:
        say(f"{running} task{'s' * (running != 1)} had not ended; the end will be recorded in {name} only")


@store.command("schema", epilog="\b\nExample:\n  qrec store schema")
def store_schema() -> None:
    """Print what the tables and columns of the sqlite store mean, for `qrec sql` and other tools."""
    from qrec.cli.show import put
    from qrec.doors.schema import page

    put(page().rstrip("\n"))


# Questions


@verb("qrec sql 'select executor, count(*) from tasks group by executor'\n  qrec sql --csv 'select * from tasks'", JSON)
@click.argument("question", metavar="SELECT")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def sql(given: dict[str, Any], question: str, as_csv: bool) -> None:
    """Ask the sqlite store in SQL; nothing that is asked can change it.

    `qrec store schema` tells what there is.
    """
    from qrec.cli.grid import value_grid
    from qrec.cli.show import put
    from qrec.doors.columns import csv_lines
    from qrec.doors.sql import ask

    door = looking(given)
    answer = ask(door.store, question)
    if given["json"]:
        put_objects(answer.headings, answer.rows)
    elif as_csv:
        for line in csv_lines(answer.headings, answer.rows):
            sys.stdout.buffer.write(line)
    else:
        for text in value_grid(answer.headings, answer.rows):
            put(text)
    tell(door)


def put_objects(names: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    """Rows as a JSON array of objects, an object a line, as they come."""
    from qrec.doors.jsonl import encoded
    from qrec.doors.sql import json_value

    before = b"["
    for row in rows:
        told = {name: json_value(value) for name, value in zip(names, row, strict=True)}
        sys.stdout.buffer.write(before + encoded(told).rstrip(b"\n"))
        before = b",\n "
    sys.stdout.buffer.write(b"[]\n" if before == b"[" else b"]\n")


# Shells


@verb("qrec completion bash\n  qrec completion fish")
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(["bash", "zsh", "fish"]))
def completion(given: dict[str, Any], shell: str) -> None:
    """Print what makes a shell complete verbs, options, tasks, actions and tags.

    Put it where your shell reads it: at the end of ~/.bashrc, of ~/.zshrc (after compinit), or into
    ~/.config/fish/completions/qrec.fish.
    """
    from qrec.cli.completion import SCRIPTS

    sys.stdout.write(SCRIPTS[shell])
