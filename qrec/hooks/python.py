"""The process of a hook that is a class: calls its methods for one event, with what it is told on stdin."""

from __future__ import annotations

import json
import os
import sys

from qrec.errors import QrecError
from qrec.hooks import Hook
from qrec.registry import load_value
from qrec.task import Task


def main() -> None:
    """Call the hook that is named; end with 1 if it fails, its words in one line on stderr."""
    given = json.load(sys.stdin)
    answer = os.dup(1)
    os.dup2(2, 1)  # what it prints is no answer
    try:
        hook = load_value(sys.argv[1])(given["told"]["event"], given["settings"], given["told"])
        said = happen(hook, Task.from_plain(given["task"]))
        if said is not None:
            os.write(answer, json.dumps(said, default=dict).encode())
    except Exception as error:
        words = str(error) if isinstance(error, QrecError) else f"{type(error).__name__}: {error}"
        print(" ".join(words.split()), file=sys.stderr)
        sys.exit(1)


def happen(hook: Hook, task: Task) -> object:
    """Call its methods."""
    return hook.happen(task)
