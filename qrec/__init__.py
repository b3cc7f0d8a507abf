"""qrec records every command you run, wherever it runs.

import qrec
task = qrec.run("make test", message="before the release")
print(task.status, task.returncode)
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from qrec.api import Qrec
    from qrec.queue import Job, Queue
    from qrec.stores.base import Query
    from qrec.task import Status, Task

__all__ = ["Job", "Qrec", "Query", "Queue", "Status", "Task", "__version__", "run"]


def run(command: str | Sequence[str], *, message: str = "", **options: Any) -> Task:
    """Run and record a command in the user's own history; see `Qrec.run` for the options."""
    from qrec.api import Qrec

    return Qrec().run(command, message=message, **options)


def __getattr__(name: str) -> Any:
    """The public classes, loaded when they are asked for: `qrec run` must start fast."""
    if name in ("Job", "Queue"):
        from qrec import queue

        return getattr(queue, name)
    if name in __all__:
        from qrec import api

        return getattr(api, name)
    raise AttributeError(f"module 'qrec' has no attribute {name!r}")
