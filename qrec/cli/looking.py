"""The verbs that look back."""

from __future__ import annotations

import sys

import click

from qrec.cli import say
from qrec.cli.verbs import ATTEMPT, TASK, completes, filters, limit_of, looking, query_of, tell, verb
from qrec.cli.words import JSON, REVEAL
from qrec.errors import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from qrec.api import Qrec
    from qrec.search import Hit
    from qrec.stores.base import Query
    from qrec.task import Task

LOOKED_AT = 500  #: newest tasks whose tags are compared with one that none has


@verb("qrec get 12\n  qrec get | jq .data.returncode", JSON, REVEAL)
@TASK
@ATTEMPT
def get(given: dict[str, Any], task: str | None, attempt: int | None) -> None:
    """Print all that is known of a task, as JSON."""
    from qrec.cli.show import put_json

    door = looking(given)
    found = door.get(task, attempt)
    put_json(door.published(found))
    tell(door)


@verb("qrec ls --failed --since 2d\n  qrec ls --cwd . -n 5\n  qrec ls --columns number,memory,command", JSON)
@click.argument("executor", required=False, shell_complete=completes("executor"))
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--columns", "named", metavar="NAME,NAME...", shell_complete=completes("column"),
              help="Only these: keys of --json, cpu, memory.")  # fmt: skip
@filters
def ls(
    given: dict[str, Any], executor: str | None, as_csv: bool, named: str | None, limit: int | None, all_: bool,
    **narrowed: Any,
) -> None:  # fmt: skip
    """List the tasks, newest last.

    EXECUTOR names one kind of task, `shell` say.
    """
    from qrec.cli.doors import columns_of, put_csv, task_grid
    from qrec.cli.show import put, put_json, table

    names: tuple[str, ...] = ()
    if named is not None:
        from qrec.doors.columns import named_columns

        names = named_columns(named)
    door = looking(given)
    if executor is not None:
        door.registry.executor(executor)
    query = query_of(executor=executor, **narrowed)
    tasks = door.find(query, limit_of(limit, all_))
    if given["json"]:
        put_json([columns_of(task, names) for task in tasks])
    elif as_csv:
        put_csv(tasks, names)
    elif tasks:
        for line in task_grid(tasks, names) if names else table(tasks):
            put(line)
        left_out(door, query, tasks, limit)
    else:
        say(no_match(door, query))
    tell(door)


def no_match(door: Qrec, query: Query) -> str:
    """Why a list is empty, as far as that can be told."""
    newest = door.find(limit=LOOKED_AT)
    known = {tag for task in newest for tag in task.tags}
    for word in query.tags - known:
        if near := nearest(word, sorted(known)):
            return f"no task matches; no tag is called {word!r}, did you mean {near!r}?"
    return "no task matches" if newest else "nothing is recorded yet"


def left_out(door: Qrec, query: Query, tasks: Sequence[Task], limit: int | None) -> None:
    """Say how many tasks the list leaves out; who asked for a number knows."""
    from qrec.api import SHOWN

    if limit is None and len(tasks) >= SHOWN and (more := door.count(query) - len(tasks)) > 0:
        sys.stdout.flush()
        click.echo(f"{more} more before these; --all lists them", err=True)


@verb("qrec search 'cannot allocate' --since 1w\n  qrec search make release --failed", JSON, REVEAL)
@click.argument("words", nargs=-1, required=True)
@click.option("-e", "--executor", metavar="NAME", shell_complete=completes("executor"), help="Of this executor.")
@click.option("--deep", is_flag=True, help="Also the middle of outputs above 2 MiB, at the speed of the disk.")
@filters
def search(
    given: dict[str, Any], words: tuple[str, ...], deep: bool, limit: int | None, all_: bool, **narrowed: Any
) -> None:
    """Find tasks that hold every word, newest last.

    Commands, notes, tags and output are searched, whatever the case of letters; an argument with blanks is one
    phrase.
    """
    from qrec.cli.show import hit_lines, put, put_json
    from qrec.search import PIECE, SHORT_SCAN

    door = looking(given)
    shown = limit_of(limit, all_)
    hits = found(door, words, query_of(**narrowed), None if shown is None else shown + 1, deep)
    more, hits = shown is not None and len(hits) > shown, hits[-shown:] if shown else hits
    if given["json"]:
        put_json([{**hit.task.summary(), "matches": [match.asdict() for match in hit.matches]} for hit in hits])
    for hit in () if given["json"] else hits:
        for line in hit_lines(hit, words):
            put(line)
    if more and limit is None:
        sys.stdout.flush()
        click.echo("there are more before these; --all shows them", err=True)
    if all(len(word) < PIECE for word in words) and door.count() > SHORT_SCAN:
        say(f"words this short are looked for in the newest {SHORT_SCAN:,} tasks only")
    if not hits and not given["json"]:
        say("no task holds " + ("that" if len(words) == 1 else "all of these"))
    tell(door)


def found(door: Qrec, words: Sequence[str], query: Query, limit: int | None, deep: bool) -> list[Hit]:
    """The tasks that hold the words, with a view of how far a deep search has come."""
    from qrec.output import uids_with_folders
    from qrec.progress import track

    large = len(uids_with_folders(door.home)) if deep else None
    return door.search(words, query, limit, deep, watch=lambda tasks: track(tasks, "searching", large))
