"""The output of a task as the page shows it: any lines of it at once, its search, and the download."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from datetime import timedelta

from qrec.dashboard.lines import Index, Row
from qrec.dashboard.seek import LONGEST, MOST, SEQUENCE, Needle, Trouble, by_pattern, literal
from qrec.errors import NoSuchAttempt, WrongUsage
from qrec.output import STREAMS, JobFiles, OfJob, merged
from qrec.shown import Masked
from qrec.stores.base import REMOVED
from qrec.task import Task, moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from flask import Flask, Response

    from qrec.api import Qrec
    from qrec.output import Output
    from qrec.redact import Redactor

SHOWN = 500  #: lines in an answer if nobody says how many
MOST_SHOWN = 2000
LOOK = 0.5  #: seconds an answer may spend on what was not looked at before
SEARCH_LOOK = 5.0  #: the same of a search, which needs all
KEPT = 24  #: indexes that are remembered
WEIGHT = 64 << 20  #: and bytes of memory that they may take
GAP = 16 * 1024  #: bytes between two rows that are read with them rather than apart
SEARCHERS = 2  #: regular expressions that are searched at a time
AT_ONCE = 2000  #: lines of a download that are made at a time
CONTINUING = re.compile(rb"[\x80-\xbf]{0,3}")
OTHER = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]")
VIEWS = ("raw", "shown")
CLOCKS = ("off", "absolute", "relative", "delta")


def register(app: Flask, door: Qrec) -> None:
    """Add the routes of the log."""
    from flask import Response, request

    logs = Logs(door)

    @app.get("/tasks/<task>/log.json")
    def log_json(task: str) -> dict[str, Any]:
        return logs.window(logs.asked(task, request.args), request.args)

    @app.get("/tasks/<task>/search.json")
    def search_json(task: str) -> dict[str, Any]:
        return logs.search(logs.asked(task, request.args), request.args)

    @app.get("/tasks/<task>/log.txt")
    def log_txt(task: str) -> Response:
        log = logs.asked(task, request.args)
        name = f"qrec-{log.task.number}" + (f".{log.task.attempt}" if log.task.attempt > 1 else "")
        kind = "log" if choice(request.args, "view", VIEWS) == "raw" else "txt"
        head = {"Content-Disposition": f'attachment; filename="{name}.{kind}"', "X-Content-Type-Options": "nosniff"}
        return Response(logs.download(log, request.args), content_type="text/plain; charset=utf-8", headers=head)


def number(args: Any, name: str, default: int, least: int = 0, most: int = 10**15) -> int:
    """A number in the query string."""
    words = args.get(name)
    if words is None or words == "":
        return default
    if not re.fullmatch(r"-?[0-9]{1,15}", words, re.ASCII) or not least <= int(words) <= most:
        raise WrongUsage(f"{name} is a number" + (f" from {least} on" if least > -(10**15) else ""))
    return int(words)


def choice(args: Any, name: str, words: Sequence[str]) -> str:
    """One of some words in the query string; the first if there is none."""
    word: str = args.get(name) or words[0]
    if word not in words:
        raise WrongUsage(f"{name} is one of {', '.join(words)}")
    return word


class Log:
    """What is asked about: the streams of an attempt, and the index of their lines."""

    def __init__(self, task: Task, output: Output, redactor: Redactor | None, entry: Entry) -> None:
        self.task = task
        self.output = output
        self.redactor = redactor
        self.entry = entry
        self.index = entry.index

    @property
    def streams(self) -> list[str]:
        """Those that are shown."""
        return list(self.index.streams)

    def update(self, seconds: float) -> None:
        """Take in what has come."""
        self.index.update(self.output, seconds)

    def covered(self, rows: Sequence[Row]) -> list[bytes]:
        """What is shown of some rows, with secrets covered; each stream is read in few large parts."""
        found: list[bytes] = [b""] * len(rows)
        for stream in self.streams:
            for group in near(rows, stream):
                start = max(0, rows[group[0]].start - 1)
                block = self.read(stream, start, rows[group[-1]].end + 3 - start)
                for at in group:
                    found[at] = piece(block, rows[at], start)
        return found

    def read(self, stream: str, start: int, size: int) -> bytes:
        """Bytes of a stream as they may be shown."""
        output = Masked(self.output, self.redactor) if self.redactor else self.output
        return output.read(stream, start, size)

    def line(self, row: Row, raw: bytes) -> dict[str, Any]:
        """A row as the page gets it."""
        text, frames = last_frame(raw.decode("utf-8", "replace"))
        return {
            "n": row.line + 1, "s": row.stream[3], "t": self.index.layout.time(row.place), "text": text,
            "frames": frames + row.returns, "rest": row.is_rest,
        }  # fmt: skip

    def lines(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Rows as the page gets them."""
        return [self.line(row, raw) for row, raw in zip(rows, self.covered(rows), strict=True)]


def near(rows: Sequence[Row], stream: str) -> Iterator[list[int]]:
    """The rows of a stream by their positions, those together that are read at once."""
    group: list[int] = []
    for at, row in enumerate(rows):
        if row.stream != stream:
            continue
        if group and row.start - rows[group[-1]].end > GAP:
            yield group
            group = []
        group.append(at)
    if group:
        yield group


def piece(block: bytes, row: Row, start: int) -> bytes:
    """A row out of a block that begins at `start`; no character is cut in two where a line is."""
    begin, end = row.start - start, row.end - start
    raw = block[begin:end]
    if begin and block[begin - 1] not in b"\r\n":
        raw = raw[CONTINUING.match(raw).end() :]  # type: ignore[union-attr]
    if row.is_cut:
        raw += CONTINUING.match(block, end).group()  # type: ignore[union-attr]
    return raw


def last_frame(text: str) -> tuple[str, int]:
    """The last frame of a line in which anything is to be seen, and how many it has overwritten."""
    text = text.rstrip("\r\n")
    if "\r" not in text:
        return text, 0
    frames = [frame for frame in text.split("\r") if frame]
    seen = next((frame for frame in reversed(frames) if bare(frame).strip()), frames[-1] if frames else "")
    return seen, max(0, len(frames) - 1)


def bare(text: str) -> str:
    """Text without control sequences."""
    if "\x1b" in text:
        text = SEQUENCE.sub(b"", text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    return OTHER.sub("", text)


class Entry:
    """An index that is remembered."""

    def __init__(self, streams: Sequence[str], frames: bool) -> None:
        self.lock = threading.Lock()
        self.index = Index(streams, frames)
        self.job: OfJob | None = None  #: the output of a running job, which remembers in what order its files grew


class Logs:
    """Answers what is asked about outputs; for many threads."""

    def __init__(self, door: Qrec) -> None:
        self.door = door
        self.lock = threading.Lock()
        self.entries: OrderedDict[tuple[Any, ...], Entry] = OrderedDict()
        self.searchers = threading.BoundedSemaphore(SEARCHERS)

    # What is asked about

    def asked(self, reference: str, args: Any) -> Log:
        """The log that a request means."""
        task = self.task(reference, number(args, "attempt", 0, 1))
        stream = choice(args, "stream", ("both", *STREAMS))
        frames = choice(args, "frames", ("0", "1")) == "1"
        output = self.door.raw(task)
        job = output if isinstance(output, OfJob) and isinstance(output.output, JobFiles) else None
        streams = STREAMS if stream == "both" else (stream,)
        entry = self.entry((task.uid, task.attempt, stream, frames, job is not None), streams, frames)
        if job is not None:
            output = grown(entry, job)
        return Log(task, output, None if self.door.reveal else self.door.redactor, entry)

    def task(self, reference: str, attempt: int) -> Task:
        """A task, or one of its attempts, as last recorded."""
        task = self.door.store.resolve(reference)
        if attempt in (0, task.attempt):
            return task
        before = self.door.store.attempts(task.uid)
        for found in before:
            if found.attempt == attempt:
                return found
        raise NoSuchAttempt(task.uid, attempt, [*(old.attempt for old in before), task.attempt])

    def entry(self, key: tuple[Any, ...], streams: Sequence[str], frames: bool) -> Entry:
        """The index of that name; those not asked for longest are forgotten."""
        with self.lock:
            entry = self.entries.pop(key, None) or Entry(streams, frames)
            self.entries[key] = entry
            weight = sum(one.index.weight for one in self.entries.values())
            while len(self.entries) > 1 and (len(self.entries) > KEPT or weight > WEIGHT):
                _, old = self.entries.popitem(last=False)
                weight -= old.index.weight
            return entry

    # Answers

    def window(self, log: Log, args: Any) -> dict[str, Any]:
        """Some lines: from `from` on, or from a line (`at`) or time (`time`, in milliseconds) that is looked for."""
        count = number(args, "count", SHOWN, 1, MOST_SHOWN)
        with log.entry.lock:
            log.update(LOOK)
            index = log.index
            first = self.first(log, args)
            rows = index.rows(log.output, first, count) if first < index.total else []
            lines = log.lines(rows)
            return {
                "lines": lines, "first": first + 1, "total": index.total, "numbered": index.lines,
                "bytes": index.layout.size,
                "growing": not log.task.status.is_final, "whole": index.is_whole, "looked": index.now.place,
                "timed": bool(index.layout.marks), "seconds": log.task.seconds, "removed": log.task.data.get(REMOVED),
                "sizes": {stream: log.output.size(stream) for stream in STREAMS},
            }  # fmt: skip

    def first(self, log: Log, args: Any) -> int:
        """The row, from 0, with which an answer begins."""
        index = log.index
        if line := number(args, "at", 0):
            return index.row_of_line(log.output, line - 1)
        at = number(args, "time", -1, -1)
        if at >= 0:
            place = min(index.layout.place(at), max(0, index.now.place - 1))
            return next(iter(index.rows_at(log.output, [place])), 0)
        begin = number(args, "from", 1, -(10**15))
        return max(0, index.total + begin if begin < 0 else begin - 1)

    def search(self, log: Log, args: Any) -> dict[str, Any]:
        """The numbers of the lines that hold `q`, or of the first line that tells of an error."""
        began = time.monotonic()
        with log.entry.lock:
            log.update(SEARCH_LOOK)
        found = self.found(log, args)
        with log.entry.lock:
            layout = log.index.layout
            places = sorted(
                place
                for stream, offsets in found.offsets.items()
                for place in layout.places(stream, offsets[:MOST])
                if place < layout.size
            )
            rows = log.index.rows_at(log.output, places[:MOST])
            count = sum(map(len, found.offsets.values()))
            is_cut = found.is_cut or count > MOST or not log.index.is_whole
        lines = [row + 1 for row in rows]
        if args.get("error"):
            lines = lines[:1]
        took = round(time.monotonic() - began, 3)
        return {"count": len(lines), "lines": lines, "truncated": is_cut, "took": took}

    def found(self, log: Log, args: Any) -> Any:
        """What is found in the streams."""
        if args.get("error"):
            return literal(log.output, log.streams, Trouble(), log.redactor, first=True)
        text = args.get("q", "")
        if not text or len(text) > LONGEST:
            raise WrongUsage(f"search for something of at most {LONGEST} characters")
        case = choice(args, "case", ("0", "1")) == "1"
        if choice(args, "regex", ("0", "1")) == "0":
            return literal(log.output, log.streams, Needle(text, case), log.redactor)
        with self.searchers:
            return by_pattern(log.output, log.streams, text, case, log.redactor)

    def download(self, log: Log, args: Any) -> Iterator[bytes]:
        """The whole log with secrets covered: byte for byte, or as it is shown."""
        clock = choice(args, "clock", CLOCKS)
        if choice(args, "view", VIEWS) == "raw":
            output = Masked(log.output, log.redactor) if log.redactor else log.output
            return (block for _, block in merged(output, log.streams))
        with log.entry.lock:
            log.update(float("inf"))
        return self.as_shown(log, clock)

    def as_shown(self, log: Log, clock: str) -> Iterator[bytes]:
        """The lines as text, with the times that are shown."""
        last = None
        first = 0
        while True:
            with log.entry.lock:
                rows = log.index.rows(log.output, first, AT_ONCE)
                lines = log.lines(rows)
            if not rows:
                return
            first = rows[-1].row + 1
            for row, line in zip(rows, lines, strict=True):
                if not row.is_rest:
                    yield told(clock, log.task, line["t"], last).encode()
                    last = line["t"]
                yield bare(line["text"]).encode("utf-8", "replace") + (b"" if row.is_cut else b"\n")


def grown(entry: Entry, job: OfJob) -> OfJob:
    """The output of a running job that was looked at before, with the files there are now."""
    if entry.job is None:
        entry.job = job
    elif isinstance(entry.job.output, JobFiles) and isinstance(job.output, JobFiles):
        entry.job.output.paths = job.output.paths
    return entry.job


def told(clock: str, task: Task, at: int | None, before: int | None) -> str:
    """The time of a line as text."""
    if clock == "off" or at is None:
        return ""
    if clock == "absolute" and task.started:
        when = moment(task.started) + timedelta(milliseconds=at)
        return when.isoformat(" ", "milliseconds").replace("+00:00", "Z ")
    if clock == "delta":
        return f"+{(at - (before or 0)) / 1000:.3f}\t"
    return f"{at / 1000:.3f}\t"
