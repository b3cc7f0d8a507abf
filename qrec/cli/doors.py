"""The verbs that take a history out, bring one in, carry it over, and ask it questions in SQL."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

import click

from qrec.cli import say
from qrec.cli.groups import Group, OneOf
from qrec.cli.verbs import (
    AS_JSON,
    completes,
    examples,
    filters,
    front_door,
    looking,
    query_of,
    stamp_of,
    tell,
    verb,
    wants_json,
)
from qrec.cli.words import JSON, REVEAL
from qrec.doors.sources import SOURCES
from qrec.errors import NoSuchTask, Refused, WrongUsage
from qrec.task import moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, BinaryIO

    from qrec.api import Qrec
    from qrec.doors.intake import Arrival
    from qrec.doors.noted import Noted
    from qrec.doors.sources import Given
    from qrec.progress import Progress
    from qrec.stores.base import Query, Store
    from qrec.task import Task

COMPLAINTS = 100  #: bad lines that are told one by one
NAMED = 5  #: tasks in a sentence


# Out


@verb(
    "qrec export jsonl -o history.jsonl\n  qrec export bash 12 13 -o again.sh",
    REVEAL,
)
@click.argument("form", metavar="FORMAT", type=OneOf(["jsonl", "csv", "text", "asciicast", "bash", "markdown"]))
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

    \b
    jsonl      all there is, a line a task as `qrec get` prints it, with its attempts and
               the exact bytes of its output; `qrec import jsonl` takes it in again
    csv        a row a task, with the columns of `ls --json` and without output
    text       what a task printed as it stands in a terminal in the end: without
               colours, a progress bar as it was last
    asciicast  one task for `asciinema play` and other players
    bash       a script that runs the commands again, in their folders and their order
    markdown   a report: how each went, and the end of what it printed
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
    if form == "jsonl":
        from qrec.doors import jsonl

        yield from jsonl.lines_of(door.store, tasks, total >= door.count(), door.covered)
        return
    if form in WHOLE:
        yield from WHOLE[form](door, tasks)
        return
    for task in tasks:
        try:
            yield from lines_of_task(door, form, task, total > 1)
        except NoSuchTask:
            pass  # removed meanwhile


def as_script(door: Qrec, tasks: Iterable[Task]) -> Iterator[bytes]:
    """A bash script of the tasks."""
    from qrec.doors import bash_script

    return bash_script.lines(tasks)


def as_report(door: Qrec, tasks: Iterable[Task]) -> Iterator[bytes]:
    """A report on the tasks."""
    from qrec.doors import markdown
    from qrec.output import Frozen

    return markdown.report(tasks, lambda task: Frozen(door.output(task)))


#: The formats that are made of all tasks at once.
WHOLE = {"csv": lambda door, tasks: csv_of(tasks), "bash": as_script, "markdown": as_report}


def heading(task: Task) -> bytes:
    """The line above a task's text where there are several."""
    from qrec.cli.show import printable

    return f"==> {task.number}  {printable(task.command)} <==\n".encode("utf-8", "replace")


def lines_of_task(door: Qrec, form: str, task: Task, among_others: bool) -> Iterator[bytes]:
    """The lines of one task in an export."""
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


def sources_told() -> str:
    """What can be imported, a line each."""
    width = max(map(len, SOURCES))
    return "\b\n" + "\n".join(f"    {name:<{width}}  {told}" for name, told in SOURCES.items())


@verb("qrec import zsh\n  qrec import jsonl history.jsonl", JSON, name="import")
@click.argument("form", metavar="FORMAT", type=OneOf(list(SOURCES)))
@click.argument("source", metavar="[FILE|DIR]", required=False, shell_complete=completes("file"))
@click.option("--since", metavar="TIME", help="Only what began since then: 30d (ago), today, 2026-11-20.")
@click.option("--until", metavar="TIME", help="Only what began before then.")
@click.option("--host", metavar="NAME", help="The machine that a shell's history is from, which it does not tell.")
@click.option("--results", metavar="DIR", shell_complete=completes("dir"), help="What parallel --results DIR has kept.")
def import_(
    given: dict[str, Any], form: str, source: str | None, since: str | None, until: str | None, host: str | None,
    results: str | None,
) -> int:  # fmt: skip
    """Take a history in: tasks that are not here yet.

    @SOURCES@

    Where a place stands in parentheses, that is where FILE is if you name none; `-` is stdin.  A task that is here
    already is passed over, so a history may be imported again when it has grown; what has ended since it came in is
    named.  What cannot be read is told of, and does not stop the rest.  Nothing is changed where it comes from.

    Secrets among the words are left out, as `run` does.  All that comes from another program has the tag `from-FORMAT`;
    of a command whose end its history does not tell, the code stays empty.
    """
    from qrec.api import user
    from qrec.doors import sources
    from qrec.doors.intake import Intake
    from qrec.progress import Progress

    check_options(form, host, results)
    door = front_door(given)
    first, last = stamp_of(since), stamp_of(until)
    history = sources.Given(
        form=form, path=sources.place_of(form, source), redactor=door.redactor, store=door.store, user=user(),
        host=host or "", results=results, since=None if first is None else moment(first).timestamp(),
    )  # fmt: skip
    intake = Intake(door.store, Complaints(history.path or form), noted_for(door, form))
    with Progress("importing", size_of(history)) as progress:
        intake.take(sources.within(arrivals(history, progress), first, last))
    if intake.queues:
        take_queues(door, intake.queues)
    report(given["json"], intake.counts())
    tell_outgrown(intake.outgrown)
    tell(door)
    return 1 if intake.bad else 0


def tell_outgrown(uids: Sequence[str]) -> None:
    """Name the tasks that are here as they stood before they ended."""
    if uids:
        more = f" and {len(uids) - NAMED:,} more" if len(uids) > NAMED else ""
        have = "1 of these has" if len(uids) == 1 else f"{len(uids):,} of these have"
        clear = f"`qrec clear {' '.join(uids[:NAMED])}`{more}"
        say(f"{have} ended since, which is not taken over; to have it, import again after {clear}")


import_.help = (import_.help or "").replace("@SOURCES@", sources_told())


def noted_for(door: Qrec, form: str) -> Noted | None:
    """The lines that shells have noted themselves, if the format tells of the same."""
    from qrec.doors.noted import Noted
    from qrec.doors.sources import TYPED

    if form not in TYPED:
        return None
    door.take_in_typed()
    return Noted(door.store)


def take_queues(door: Qrec, told: Mapping[str, Any]) -> None:
    """Take in what holds for queues."""
    from qrec.doors import queues
    from qrec.jobs import Jobs

    queues.take(door.store, told, lambda name, policy: Jobs(door, name).checked(policy), say)


def check_options(form: str, host: str | None, results: str | None) -> None:
    """Refuse options that mean nothing for a format."""
    if host is not None and form not in ("bash", "zsh", "fish", "parallel-joblog"):
        raise WrongUsage(f"--host is for histories that do not tell it; that of {form} does")
    if results is not None and form != "parallel-joblog":
        raise WrongUsage("--results is for parallel-joblog")


def size_of(history: Given) -> int | None:
    """How many bytes will be read, if that is known."""
    path = history.path or ""
    return os.stat(path).st_size if history.is_by_line and os.path.isfile(path) else None


def arrivals(history: Given, progress: Progress) -> Iterator[Arrival]:
    """What comes in."""
    from qrec.doors import sources

    if not history.is_by_line:
        for arrival in sources.arrivals(history, None):
            yield arrival
            progress.advance()
        return
    with opened(history.path or "-") as file:
        yield from sources.arrivals(history, counted(file, progress))


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


@click.group("store", cls=Group, epilog=examples("qrec store copy sqlite filesystem\n  qrec store schema"))
def store() -> None:
    """Copy a store into another, or see how it is built."""


@store.command(
    "copy",
    epilog=examples("qrec store copy sqlite filesystem\n  qrec store copy filesystem sqlite:backup.db"),
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


@store.command("schema", epilog=examples("qrec store schema\n  qrec store schema | less"))
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
@click.argument("shell", metavar="bash|zsh|fish", type=OneOf(["bash", "zsh", "fish"]))
def completion(given: dict[str, Any], shell: str) -> None:
    """Print what makes a shell complete verbs, options, tasks, actions and tags.

    Put it where your shell reads it: at the end of ~/.bashrc, of ~/.zshrc (after compinit), or into
    ~/.config/fish/completions/qrec.fish.
    """
    from qrec.cli.completion import SCRIPTS

    sys.stdout.write(SCRIPTS[shell])
