"""What a log tells, taken together: tasks, attempts, output, events.  Knows nothing of files.

The log is lines of JSON, each one step: a list of entries.  An entry tells what is from now on, of one task or queue:

    {"event": ["status", "shell-1d...", 12, "2026-..."], "task": {...}, "kept": {"1": {"stdout": "hello\\n"}}}

`task` is null where it was removed; `before` are the attempts before, where they changed; `policy` is a queue's.
"""

from __future__ import annotations

import base64
import json
from collections import deque

from qrec.errors import NoSuchTask
from qrec.task import Event, Kept, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    Entry = dict[str, Any]

FORMAT = 1
REMEMBERED = 2000  #: events


class Book:
    """All that is known after some entries."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.numbers: dict[int, str] = {}  #: in rising order
        self.before: dict[str, list[Task]] = {}
        self.kept: dict[str, dict[int, Kept]] = {}
        self.policies: dict[str, dict[str, Any]] = {}
        self.events: deque[Event] = deque(maxlen=REMEMBERED)
        self.sequence = self.highest = self.turn = 0
        self.steps = 0  #: lines that were read; more than there are tasks, where much has changed

    def take(self, entry: Entry) -> None:
        """Let an entry be true."""
        if "counted" in entry:
            self.sequence, self.highest, self.turn = entry["counted"]
        if "event" in entry:
            self.sequence += 1
            kind, uid, number, at = entry["event"]
            self.events.append(Event(sequence=self.sequence, kind=kind, uid=uid, number=number, at=at))
        for event in entry.get("events", ()):
            self.events.append(Event(**event))
        if "policy" in entry:
            self.take_policy(*entry["policy"])
        if "task" in entry:
            self.take_task(entry["uid"], entry["task"] and Task.from_plain(entry["task"]))
        if "before" in entry:
            self.before[entry["uid"]] = [Task.from_plain(values) for values in entry["before"]]
        for attempt, parts in entry.get("kept", {}).items():
            self.kept.setdefault(entry["uid"], {})[int(attempt)] = unpacked(parts)

    def take_policy(self, queue: str, policy: dict[str, Any] | None) -> None:
        """A queue has another policy, or none any more."""
        self.policies.pop(queue, None)
        if policy is not None:
            self.policies[queue] = policy

    def take_task(self, uid: str, task: Task | None) -> None:
        """A task is like this from now on, or is gone."""
        if task is not None:
            self.tasks[uid] = task
            self.numbers[task.number] = uid
            self.highest, self.turn = max(self.highest, task.number), max(self.turn, task.turn)
        elif uid in self.tasks:
            del self.numbers[self.tasks.pop(uid).number]
            self.before.pop(uid, None)
            self.kept.pop(uid, None)

    def get(self, uid: str) -> Task:
        """The task.  NoSuchTask."""
        if uid not in self.tasks:
            raise NoSuchTask(uid)
        return self.tasks[uid]

    def newest_first(self) -> Iterator[Task]:
        """The tasks there are now, whatever happens while they are looked at."""
        return iter([self.tasks[uid] for uid in reversed(self.numbers.values())])

    def whole(self, uid: str) -> Entry:
        """All of a task as one entry."""
        kept = {str(attempt): packed(one) for attempt, one in self.kept.get(uid, {}).items()}
        before = [task.plain() for task in self.before.get(uid, ())]
        return {"uid": uid, "task": self.tasks[uid].plain(), "before": before, "kept": kept}

    def lines(self) -> Iterator[bytes]:
        """The shortest log that tells the same."""
        yield heading()
        events = [event.asdict() for event in self.events]
        yield line_of([{"counted": [self.sequence, self.highest, self.turn], "events": events}])
        yield from (line_of([{"policy": [queue, policy]}]) for queue, policy in self.policies.items())
        yield from (line_of([self.whole(uid)]) for uid in self.numbers.values())


def heading() -> bytes:
    """The first line."""
    return json.dumps({"qrec-log": FORMAT}).encode() + b"\n"


def line_of(entries: Iterable[Entry]) -> bytes:
    """A step as a line; in ASCII, since words may hold what no encoding knows."""
    return json.dumps(list(entries), default=dict).encode() + b"\n"


def packed(kept: Kept) -> dict[str, Any]:
    """Output as JSON: as text where it is text."""
    return {name: as_text(block) for name, block in kept.parts().items() if block}


def as_text(block: bytes) -> str | dict[str, str]:
    """A text that people can read, or else what can be made bytes again."""
    try:
        return block.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(block).decode()}


def unpacked(parts: Mapping[str, Any]) -> Kept:
    """The output that `packed` wrote."""
    blocks = {
        name: part.encode() if isinstance(part, str) else base64.b64decode(part["base64"])
        for name, part in parts.items()
    }
    return Kept.from_parts(blocks)
