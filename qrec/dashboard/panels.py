"""The part of a task's page for which its executor has a template of its own."""

from __future__ import annotations

import json
import os
import sys
from functools import cache

from qrec.dashboard.covering import covered, without_secrets
from qrec.errors import BrokenPlugin, QrecError, raised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jinja2.sandbox import SandboxedEnvironment

    from qrec.api import Qrec
    from qrec.executors.base import Executor
    from qrec.task import Task


def kind_of(task: Task) -> str:
    """The name of the executor that the command matched, in a queue or not."""
    return str(task.data.get("inner", task.executor) if task.executor == "queue" else task.executor)


def executor_of(door: Qrec, task: Task) -> Executor | None:
    """The executor that the command matched, if it can be had."""
    try:
        return door.executor(kind_of(task))
    except QrecError:
        return None


def has_panel(door: Qrec, task: Task) -> bool:
    """Whether there is a template."""
    executor = executor_of(door, task)
    return executor is not None and bool(executor.panel)


def told(door: Qrec, task: Task) -> dict[str, str] | None:
    """What a page is told: the HTML, or why there is none; None where there is no template.

    The page takes over elements and attributes that only show something (static/panel.js).
    """
    try:
        html = rendered(door, task)
    except BrokenPlugin as error:
        return {"error": str(error)}
    return {"html": html} if html else None


def rendered(door: Qrec, task: Task) -> str:
    """The HTML that the template makes of the task; nothing if there is no template.  BrokenPlugin."""
    executor = executor_of(door, task)
    if executor is None or not executor.panel:
        return ""
    try:
        data = json.loads(json.dumps(dict(executor.panel_data(task)), default=str))
        template = environment().from_string(source_of(type(executor)))
        return template.render(task=without_secrets(door, task), data=covered(door, data))
    except Exception as error:  # a stranger's template, and a stranger's method
        raise BrokenPlugin(f"the panel of {executor.name} cannot be shown: {raised(error)}") from error


def source_of(kind: type[Executor]) -> str:
    """The text of the template, which lies beside the module of the class that names it."""
    owner = next(one for one in kind.__mro__ if "panel" in vars(one))
    path = os.path.join(os.path.dirname(sys.modules[owner.__module__].__file__ or ""), kind.panel)
    with open(path, encoding="utf-8") as file:
        return file.read()


@cache
def environment() -> SandboxedEnvironment:
    """What templates may do: show values, escaped, and call nothing that could do harm."""
    from jinja2.sandbox import SandboxedEnvironment

    from qrec.units import duration, size

    made = SandboxedEnvironment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"duration": shown_by(duration), "size": shown_by(size)}
    return made


def shown_by(tell: Any) -> Any:
    """A filter that leaves out what is not known."""
    return lambda value: "" if value is None else tell(value)
