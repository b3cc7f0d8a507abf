"""A task's usage over time, as the page plots it."""

from __future__ import annotations

from qrec.dashboard.tasks import attempt as one_attempt
from qrec.dashboard.tasks import resolve
from qrec.usage import points

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from flask import Flask

    from qrec.api import Qrec
    from qrec.usage import Point

    Column = list[float | None]


def register(app: Flask, door: Qrec) -> None:
    """Add the route of the usage."""
    from qrec.dashboard.app import attempt_of

    @app.get("/tasks/<task>/usage.json")
    def usage_json(task: str) -> dict[str, Any]:
        return usage(door, task, attempt_of("attempt"))


def usage(door: Qrec, reference: str, attempt: int | None = None) -> dict[str, Any]:
    """The series of an attempt in columns, the first of them seconds since its start."""
    task = one_attempt(door, resolve(door, reference), attempt)
    series = points(door.output(task).extras().get("series", b""))
    told = columns(series)
    return {
        "names": list(told), "columns": list(told.values()), "started": task.started, "attempt": task.attempt,
        "running": not task.status.is_final,
    }  # fmt: skip


def columns(series: Sequence[Point]) -> dict[str, Column]:
    """Columns by name: `cpu` in cores, `read` and `written` in bytes a second, all over the span that ends there."""
    told: dict[str, Column] = {
        "seconds": [point.at for point in series],
        "cpu": rates(series, [point.cpu for point in series]),
        "memory": [point.memory for point in series],
        "read": rates(series, [point.read for point in series]),
        "written": rates(series, [point.written for point in series]),
        "processes": [point.processes for point in series],
    }
    if any(point.gpu is not None for point in series):
        told["gpu"] = [point.gpu for point in series]
        told["gpu_memory"] = [point.gpu_memory for point in series]
    return told


def rates(series: Sequence[Point], sums: Sequence[float]) -> Column:
    """By how much a sum grew in each second, over the span that ends at each point; None where a span has no length."""
    told: Column = []
    at, total = 0.0, 0.0
    for point, value in zip(series, sums, strict=True):
        span = point.at - at
        told.append(round(max(0.0, value - total) / span, 3) if span > 0 else None)
        at, total = point.at, value
    return told
