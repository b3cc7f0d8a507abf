"""Why a task failed, and what differs between two."""

from __future__ import annotations

import os
import sys
from itertools import islice

import click

from qrec.cli import say
from qrec.cli.verbs import ATTEMPT, TASK, completes, looking, tell, verb
from qrec.cli.words import JSON, REVEAL
from qrec.errors import QrecError, WrongUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from qrec.api import Qrec
    from qrec.compare import Comparison, Difference, OutputDifference
    from qrec.task import Task
    from qrec.tracebacks import Excerpt
    from qrec.why import Why

HEADING, OLD, NEW, PLACE = "1", "31", "32", "36"
SAME, DIFFERENT, TROUBLE = 0, 1, 2  #: exit codes, as of diff(1)
SHORT = 12  #: digits of a commit
KEPT = 3  #: words shown on either side of those that differ
IN_JSON = 256  #: pieces of a diff that JSON holds, of 64 KiB at most


@verb("qrec why\n  qrec why 12 --json", JSON, REVEAL)
@TASK
@ATTEMPT
def why(given: dict[str, Any], task: str | None, attempt: int | None) -> None:
    """Tell why a task failed.

    Shows how it ended and what that means, the first traceback, the end of its stderr, and what differs from the last
    good run of the same command.
    """
    from qrec.cli.show import put, put_json

    door = looking(given)
    found = door.why(task, attempt)
    failed = last_failed(door) if not found.reason else None
    if given["json"]:
        put_json({**as_json(found), "last_failed": failed})
    else:
        for line in told(found, failed):
            put(line)
    tell(door)


def last_failed(door: Qrec) -> int | None:
    """The number of the newest task that failed or was lost."""
    from qrec.stores.base import Query
    from qrec.task import Status

    newest = door.store.newest_first(Query(statuses=frozenset({Status.FAILED, Status.LOST})))
    return next((task.number for task in newest), None)


def as_json(found: Why) -> dict[str, Any]:
    """What is known, for programs."""
    traceback, last, good = found.traceback, found.last, found.good
    return {
        "task": found.task.summary(),
        "reason": found.reason or None,
        "explanation": found.explanation or None,
        "traceback": traceback and {"stream": traceback.stream, "line": traceback.line, "text": traceback.text},
        "last": last and {"stream": last.stream, "lines": list(last.lines)},
        "good": good and good.summary(),
        "differs": [{"what": one.what, "good": one.first, "this": one.second} for one in found.differs],
    }


def told(found: Why, failed: int | None) -> Iterator[str]:
    """What is known, for people."""
    if not found.reason:
        yield nothing_failed(found, failed)
        return
    yield from head(found)
    if found.traceback:
        yield from ("", *excerpt(found, found.traceback, place(found.traceback)))
    if found.last and not (found.traceback and found.last.text in found.traceback.text):
        yield from ("", *excerpt(found, found.last, f"the end of {found.last.stream}"))
    yield ""
    yield from beside_good(found)


def nothing_failed(found: Why, failed: int | None) -> str:
    """One line where there is nothing to explain."""
    from qrec.cli.show import cut, printable

    task = found.task
    line = f"{task.number} ({cut(printable(task.command), 60)}): {found.explanation}"
    if not task.status.is_final:
        return f"{line}; `qrec log {task.number} -f` shows what it prints"
    return line + (f"; the last that failed is {failed}: `qrec why {failed}`" if failed else "; none has failed")


def head(found: Why) -> Iterator[str]:
    """Which task, and why."""
    from qrec.cli.show import COLOURS, paint, printable, when
    from qrec.units import duration

    task = found.task
    yield f"{task.number}  {paint(printable(task.command), HEADING)}"
    after = f" after {duration(task.seconds)}" if task.seconds is not None else ""
    status = paint(task.status.value, COLOURS[task.status])
    where = f"in {printable(task.pwd)}" + (f" on {printable(task.host)}" if task.host else "")
    yield f"   {status} {when(task.ended or task.started or task.created)}{after}, {where}"
    yield f"   {printable(found.reason)}" + (f": {printable(found.explanation)}" if found.explanation else "")


def place(excerpt: Excerpt) -> str:
    """Where `qrec log` has it."""
    last = excerpt.line + excerpt.count - 1
    if excerpt.line < 0:
        return f"{excerpt.stream}, {-excerpt.line:,} lines before its end"
    lines = f"line {excerpt.line:,}" if excerpt.count == 1 else f"lines {excerpt.line:,} to {last:,}"
    return f"{excerpt.stream}, {lines}"


def excerpt(found: Why, shown: Excerpt, title: str) -> Iterator[str]:
    """Lines of an output below a heading that tells how to see more."""
    from qrec.cli.show import DIM, columns, cut, paint, printable

    which = f" --attempt {found.task.attempt}" if found.task.attempt > 1 else ""
    lines = f" -n {-shown.line}" if shown.line < 0 else ""
    yield paint(f"{title} (`qrec log {found.task.number}{which} --{shown.stream}{lines}`)", DIM)
    room = columns()
    for line in shown.lines:
        yield ("   " + cut(printable(line.expandtabs()), room and max(1, room - 3))).rstrip()


def beside_good(found: Why) -> Iterator[str]:
    """What differs from the last good run."""
    from qrec.cli.show import DIM, paint, when

    good = found.good
    if good is None:
        yield paint("no run of the same command went well, so there is none to compare with", DIM)
        return
    name = f"attempt {good.attempt}" if good.uid == found.task.uid else f"task {good.number}"
    begun = when(good.started or good.created)
    if not found.differs:
        yield paint(f"nothing recorded differs from the last good run, {name} ({begun})", DIM)
        return
    yield paint(f"what differs from the last good run, {name} ({begun})", DIM)
    yield from rows(found.differs)


# Two tasks


@verb("qrec diff 12 14\n  qrec diff 12 --attempt 1\n  qrec diff 12 --attempt 1 --attempt 3 --stat", JSON, REVEAL)
@click.argument("task", shell_complete=completes("task"))
@click.argument("other", required=False, shell_complete=completes("task"))
@click.option("--attempt", "attempts", type=click.IntRange(1), metavar="N", multiple=True,
              help="An attempt of the first task; given twice, the second is the other one's.")  # fmt: skip
@click.option("--stat", is_flag=True, help="Say that the output differs, not how.")
@click.option("-U", "context", type=click.IntRange(0), metavar="N", default=3, help="Lines around a change; 3.")
@click.option("--no-color", is_flag=True, help="No colours.")
def diff(
    given: dict[str, Any], task: str, other: str | None, attempts: tuple[int, ...], stat: bool, context: int,
    no_color: bool,
) -> int:  # fmt: skip
    """Compare two tasks: command, facts, usage and output.

    With one task and --attempt, two attempts of it.  Ends with 0 if nothing differs, 1 if something does, 2 in
    trouble.
    """
    if no_color:
        os.environ["NO_COLOR"] = "1"
    try:
        door = looking(given)
        first, second = both(door, task, other, attempts)
        found = door.diff(first, second)
    except QrecError as error:
        error.exit_code = TROUBLE
        raise
    if given["json"]:
        put_comparison(first, second, found, stat, context)
    else:
        show_comparison(found, stat, context)
    if not found and not given["json"]:
        say("nothing differs")
    tell(door)
    return DIFFERENT if found else SAME


def both(door: Qrec, task: str, other: str | None, attempts: tuple[int, ...]) -> tuple[Task, Task]:
    """The two tasks that are meant."""
    if other is None and not attempts:
        raise WrongUsage("name two tasks, or one and an attempt of it: `qrec diff 12 --attempt 1`")
    if len(attempts) > 2:
        raise WrongUsage("two attempts can be compared, not more")
    which = dict(enumerate(attempts))
    return door.get(task, which.get(0)), door.get(task if other is None else other, which.get(1))


def put_comparison(first: Task, second: Task, found: Comparison, stat: bool, context: int) -> None:
    """All that differs, for programs."""
    from qrec.cli.show import put_json
    from qrec.compare import SECTIONS

    sides = {name: {"number": task.number, "uid": task.uid, "attempt": task.attempt}
             for name, task in (("a", first), ("b", second))}  # fmt: skip
    sections = {
        name: {one.what: {"a": one.first, "b": one.second} for one in getattr(found, name)} for name in SECTIONS
    }
    output = {one.stream: str(one) if stat else unified_text(one, context) for one in found.output}
    put_json({**sides, **sections, "output": output})


def unified_text(one: OutputDifference, context: int) -> str:
    """A unified diff as text, as far as it has a size that a reader of JSON can bear."""
    from qrec.output import text

    pieces = one.unified(context)
    kept = b"".join(islice(pieces, IN_JSON * 64))
    left_out = next(pieces, None) is not None
    return text(kept) + ("[... the rest is left out ...]\n" if left_out else "")


def show_comparison(found: Comparison, stat: bool, context: int) -> None:
    """All that differs, for people: a section for each part that does."""
    from qrec.cli.show import paint, put
    from qrec.compare import SECTIONS

    for name in SECTIONS:
        if differing := getattr(found, name):
            put(paint(name, HEADING))
            for line in rows(differing):
                put(line)
    if found.output:
        put(paint("output", HEADING))
    for one in found.output:
        if stat:
            put(f"   {one}")
        else:
            show_unified(one.unified(context))


def show_unified(pieces: Iterable[bytes]) -> None:
    """A unified diff: its exact bytes for programs, colours and nothing that moves the cursor for a terminal."""
    from qrec.cli.show import is_terminal, paint, printable, put
    from qrec.output import text

    if not is_terminal():
        sys.stdout.flush()
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return
    for piece in pieces:
        line = text(piece.rstrip(b"\n"))
        put(paint(printable(line.expandtabs()), colour_of(line)))


def colour_of(line: str) -> str:
    """The colour of a line of a unified diff."""
    if line.startswith(("--- ", "+++ ")):
        return HEADING
    return {"-": OLD, "+": NEW, "@": PLACE}.get(line[:1], "0")


# What differs, in rows


def rows(differing: Sequence[Difference]) -> Iterator[str]:
    """A line for each thing that differs."""
    from qrec.cli.show import printable

    wide = max(len(printable(one.what)) for one in differing)
    for one in differing:
        yield f"   {printable(one.what).ljust(wide)}  {change(one)}"


def change(one: Difference) -> str:
    """From what to what."""
    from qrec.cli.show import paint

    old, new = one.first, one.second
    if one.what == "arguments":
        return words_changed([*map(quoted, old)], [*map(quoted, new)], " ")
    if isinstance(old, str) and isinstance(new, str) and ":" in old and ":" in new and "PATH" in one.what:
        return words_changed(old.split(":"), new.split(":"), ":")
    return f"{paint(value(one.what, old), OLD)} → {paint(value(one.what, new), NEW)}"


def quoted(word: str) -> str:
    """A word as a shell takes it."""
    import shlex

    return shlex.quote(word)


def words_changed(old: Sequence[str], new: Sequence[str], between: str) -> str:
    """Words with those that went in `[-...-]` and those that came in `{+...+}`."""
    from qrec.cli.show import paint, printable
    from qrec.compare import word_changes

    parts = []
    for gone, come in word_changes(old, new):
        if gone == come:
            parts.append(printable(between.join(gone if len(gone) <= 2 * KEPT else [*gone[:KEPT], "…", *gone[-KEPT:]])))
            continue
        parts.append(
            (paint(f"[-{printable(between.join(gone))}-]", OLD) if gone else "")
            + (paint(f"{{+{printable(between.join(come))}+}}", NEW) if come else "")
        )
    return between.join(parts)


def value(what: str, given: Any) -> str:
    """A value as people read it."""
    from qrec.cli.show import printable
    from qrec.units import duration, size

    if given is None:
        return "(none)"
    if isinstance(given, bool):
        return "yes" if given else "no"
    if isinstance(given, list):
        return printable(" ".join(map(str, given))) or "(none)"
    if what in ("duration", "cpu") and isinstance(given, float):
        return duration(given)
    if what in ("memory", "memory used", "read", "written", "gpu_memory") and isinstance(given, int):
        return size(given)
    return printable(str(given)[:SHORT] if what == "commit" else str(given))
