"""Tasks as JSON, one a line: what `get` publishes, and in its `data` all that it takes to make the task again.

`attempts` are the full records, oldest first, the current one last; `streams` holds by attempt what each printed, as
text where it is UTF-8, else as `{"base64": ...}`, with nothing for an empty stream.  The last line has `queues`, too:
what holds for them (queues.py).
"""

from __future__ import annotations

import json
import os
from binascii import b2a_base64

from qrec.doors.carry import whole
from qrec.doors.intake import Arrival, read
from qrec.doors.records import NotATask, from_published, task_of
from qrec.errors import NoSuchTask
from qrec.output import JOB, STREAMS, Files, InStore, attempt_folder
from qrec.published import published
from qrec.stores.base import Bundle
from qrec.task import Kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from qrec.output import Output
    from qrec.stores.base import Store
    from qrec.task import Task

BASE64 = "base64"


# Going out


def lines_of(
    store: Store, tasks: Iterable[Task], every: bool, shown: Callable[[Output], Output] = lambda output: output
) -> Iterator[bytes]:
    """Tasks, a line each, and on the last what holds for their queues; for all queues, if these are all tasks."""
    from qrec.doors.queues import told

    line, names = b"", set(store.policies()) if every else set()
    for task in tasks:
        try:
            following = line_of(store, task, shown)
        except NoSuchTask:
            continue  # removed meanwhile
        if line:
            yield line
        line, names = following, names | ({task.queue} if task.queue is not None else set())
    queues = told(store, names)
    if line and queues:
        last = json.loads(line)
        last["data"]["queues"] = queues
        line = encoded(last)
    if line:
        yield line


def line_of(store: Store, task: Task, shown: Callable[[Output], Output] = lambda output: output) -> bytes:
    """A task, its attempts and all they printed, as one line.  Large outputs are in memory one task at a time.

    `shown` makes of an output what may be told of it.
    """
    bundle = whole(store, task)
    attempts = (*bundle.attempts, task)
    found = {one.attempt: output_of(store.home, bundle, one) for one in attempts}
    outputs = {number: shown(output) for number, output in found.items() if output is not None}
    current = outputs.get(task.attempt, InStore(Kept()))
    told = published(task, current)
    told["data"].update(
        number=task.number,
        tags=list(task.tags),
        attempts=[one.plain() for one in attempts],
        streams={str(number): streams(output) for number, output in outputs.items()},
    )
    return encoded(told)


def output_of(home: str, bundle: Bundle, attempt: Task) -> Output | None:
    """What an attempt printed, wherever that is; None if nothing was ever kept."""
    folder = attempt_folder(home, attempt.uid, attempt.attempt)
    if attempt.attempt in bundle.kept:
        return InStore(bundle.kept[attempt.attempt], Files(folder))
    return Files(folder) if os.path.isdir(folder) else None


def streams(output: Output) -> dict[str, Any]:
    """The parts of an output that are not empty."""
    every = (*STREAMS, *JOB.values())
    parts = {**{stream: output.read(stream) for stream in every}, "timing": output.timing(), **output.extras()}
    return {name: written(data) for name, data in parts.items() if data}


def written(data: bytes) -> str | dict[str, str]:
    """Bytes in JSON's types."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {BASE64: b2a_base64(data, newline=False).decode()}


def encoded(value: Any) -> bytes:
    """JSON in one line; readable, unless it holds what UTF-8 cannot tell (undecodable bytes of a command)."""
    try:
        return json.dumps(value, ensure_ascii=False, default=dict, separators=(",", ":")).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, default=dict, separators=(",", ":")).encode() + b"\n"


# Coming in


def objects(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Each JSON text with the number of its first line.

    A text is a line; one that was printed over many lines, as `qrec get` does, runs from `{` to `}`.
    """
    begun: list[bytes] = []
    for number, line in enumerate(lines, 1):
        if begun:
            begun.append(line)
            if line.rstrip() == b"}":
                yield number - len(begun) + 1, b"".join(begun)
                begun = []
        elif line.rstrip() == b"{":
            begun = [line]
        elif not line.isspace():
            yield number, line
    if begun:
        yield number - len(begun) + 1, b"".join(begun)


def arrivals(lines: Iterable[bytes]) -> Iterator[Arrival]:
    """What a file of JSON lines brings."""
    for number, text in objects(lines):
        arrival = read(f"line {number}", bundle_of, text)
        yield arrival.copy(queues=queues_of(text)) if arrival.bundle is not None and b'"queues":' in text else arrival


def queues_of(text: bytes) -> dict[str, Any]:
    """What a line tells of queues."""
    queues = json.loads(text).get("data", {}).get("queues")
    return queues if isinstance(queues, dict) else {}


def bundle_of(text: bytes) -> Bundle:
    """The task that a JSON text tells of, or NotATask."""
    try:
        told = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise NotATask(f"this is not JSON: {getattr(error, 'msg', error)}") from None
    if not isinstance(told, dict) or not isinstance(told.get("data", {}), dict):
        raise NotATask("this is no task as `qrec get` prints it")
    attempts = told.get("data", {}).get("attempts")
    if not isinstance(attempts, list) or not attempts or not isinstance(attempts[-1], dict):
        return from_published(told)
    return from_export(told["data"])


def refuse_constant(name: str) -> None:
    """NaN and the infinities are no JSON: SQLite's functions would choke on them later."""
    raise ValueError(f"{name} is no number of JSON")


def from_export(data: dict[str, Any]) -> Bundle:
    """What `line_of` wrote."""
    *before, current = map(task_of, data["attempts"])
    numbers = [one.attempt for one in (*before, current)]
    if numbers != sorted(set(numbers)) or any(one.uid != current.uid for one in before):
        raise NotATask("its attempts do not belong together")
    outputs = data.get("streams", {})
    try:
        kept = {int(number): kept_of(parts) for number, parts in outputs.items()}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise NotATask(f"its streams cannot be read: {error}") from None
    if not kept.keys() <= set(numbers):
        raise NotATask("its streams belong to no attempt")
    return Bundle(task=current, attempts=tuple(before), kept=kept)


def kept_of(parts: dict[str, Any]) -> Kept:
    """The output of one attempt."""
    return Kept.from_parts({name: bytes_of(value) for name, value in parts.items()})


def bytes_of(value: Any) -> bytes:
    """The bytes that `written` wrote."""
    if isinstance(value, str):
        return value.encode()
    import base64

    return base64.b64decode(value[BASE64], validate=True)
