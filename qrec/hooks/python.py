"""The process of a hook that is a class: calls its methods for one event, with what it is told on stdin.

It ends with 1 if the hook fails, or refuses.  A slip of the class refuses nothing, so `before` has another code for it.
"""

from __future__ import annotations

import json
import os
import sys

from qrec.errors import CouldNotStart, QrecError, Refused
from qrec.hooks import Hook
from qrec.registry import load_value
from qrec.task import Task


def main() -> None:
    """Call the hook that is named; if it fails, its words are a line on stderr."""
    given = json.load(sys.stdin)
    answer = os.dup(1)
    os.dup2(2, 1)  # what it prints is no answer
    try:
        hook = load_value(sys.argv[1])(given["told"]["event"], given["settings"], given["told"])
        said = happen(hook, Task.from_plain(given["task"]))
        if said is not None:
            os.write(answer, json.dumps(said, default=dict).encode())
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and not error.code:
            return  # it has left early, and well
        words = str(error) if isinstance(error, QrecError) else f"{type(error).__name__}: {error}"
        print(" ".join(words.split()), file=sys.stderr)
        is_slip = given["told"]["event"] == "before" and not isinstance(error, Refused)
        sys.exit(CouldNotStart.exit_code if is_slip else 1)


def happen(hook: Hook, task: Task) -> object:
    """Call its methods."""
    return hook.happen(task)
