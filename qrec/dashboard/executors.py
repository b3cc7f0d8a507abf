"""What an executor is, what it offers, and what it has run."""

from __future__ import annotations

import inspect
import time

from qrec.dashboard.listing import rows
from qrec.errors import QrecError, StoreBusy
from qrec.registry import EXECUTORS
from qrec.stores.base import Order, Query
from qrec.task import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from flask import Flask

    from qrec.api import Qrec
    from qrec.executors.base import Action

    Row = dict[str, Any]

LATEST = 20  #: tasks that are shown
PATIENCE = 0.3  #: seconds that counting may take


def register(app: Flask, door: Qrec) -> None:
    """Add the route of the executors' pages."""
    from flask import jsonify

    @app.get("/executor/<name>.json")
    def executor(name: str) -> Any:
        return jsonify(told(door, name))


def told(door: Qrec, name: str) -> Row:
    """An executor.  NoSuchExecutor."""
    plugin = door.registry.named(EXECUTORS, name)
    if plugin is None:
        door.registry.executor(name)  # says which there are
    assert plugin is not None
    door.refresh()
    sequence = door.store.last_event()
    told: Row = {"name": name, "pattern": plugin.pattern, "origin": plugin.origin, "help": "", "actions": []}
    try:
        kind = door.registry.executor(name)
        told["help"] = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
        told["actions"] = [described(action) for action in kind.actions().values()]
    except QrecError as error:
        told["broken"] = str(error)
    page = door.store.page(Query(executor=name), Order(), LATEST, PATIENCE)
    counts = counted(door, name)
    return {**told, "latest": rows(door, page.tasks), "counts": counts, "sequence": sequence}


def counted(door: Qrec, name: str) -> dict[str, int | None]:
    """How many of its tasks have which status; None where counting takes too long."""
    found: dict[str, int | None] = dict.fromkeys([status.value for status in Status])
    deadline = time.monotonic() + PATIENCE
    rest = [status for status in Status if status is not Status.COMPLETE]
    for status in [*rest, Status.COMPLETE]:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            with door.store.hurried(left):
                found[status.value] = door.store.count(Query(executor=name, statuses=frozenset({status})))
        except StoreBusy:
            break
    return found


def described(action: Action) -> Row:
    """An action and its options."""
    return {
        "name": action.name, "help": action.help,
        "when": [status.value for status in Status if status in action.when],
        "always": action.when == frozenset(Status),
        "options": [
            {"name": option.name, "kind": option.kind.__name__, "default": option.default, "help": option.help,
             "choices": option.choices}
            for option in action.options
        ],
    }  # fmt: skip
