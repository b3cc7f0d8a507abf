"""Hooks that are asked before a command begins: they may refuse it, and add to its facts.

The command waits for them, so their time is short.  One that is broken (it is not there, a signal ended it, or its time
was over) refuses nothing: a slip in a file must not stop anybody's work, and is told in a line.
"""

from __future__ import annotations

import json

from qrec.errors import QrecError, RefusedByHook
from qrec.hooks.commands import TIMED_OUT, Outcome, run
from qrec.hooks.told import call_of
from qrec.reason import NEVER_BEGAN
from qrec.shown import masked_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qrec.api import Qrec
    from qrec.hook_tables import Table
    from qrec.task import Task


def ask(door: Qrec, task: Task) -> Task:
    """The task with what the hooks have added to its facts.  Raises RefusedByHook."""
    firing = door.store.firing
    for table in firing.tables if firing is not None else ():
        if table.wants("before", task):
            task = task.copy(facts={**task.facts, **told_by(door, table, task)})
    return task


def told_by(door: Qrec, table: Table, task: Task) -> dict[str, Any]:
    """What one hook adds to the facts, under its name.  Raises RefusedByHook."""
    try:
        outcome = run(call_of(door, table, "before", task))
    except QrecError as error:  # a plug-in that is not there
        door.complaints.insert(0, f"hook {table.name} was not asked: {error}")
        return {}
    said = masked_text(outcome.said, door.redactor)
    if is_broken(outcome):
        door.complaints.insert(0, f"hook {table.name} was passed over: {said or f'exit code {outcome.returncode}'}")
        return {}
    if outcome.returncode:
        raise RefusedByHook(f"refused by hook {table.name}: {said or f'exit code {outcome.returncode}'}")
    facts = facts_in(outcome.out)
    return {table.name: facts} if facts else {}


def is_broken(outcome: Outcome) -> bool:
    """Whether it did not come to an answer."""
    return bool(outcome.limit) or outcome.signal is not None or outcome.returncode in (*NEVER_BEGAN, TIMED_OUT)


def facts_in(printed: bytes) -> dict[str, Any]:
    """The JSON object that a hook has printed; none if it printed something else."""
    try:
        found = json.loads(printed)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
