"""A job as cmd_queue's scripts hold it, and the files that they expect of one, written when somebody asks for them."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from qrec.errors import CouldNotStart, Refused, StoreUnwritable
from qrec.executors.queue import Job as Asked
from qrec.executors.queue import with_words
from qrec.output import Frozen, make_private, merged
from qrec.queue_words import OPTIONS, listed
from qrec.redact import REDACTED
from qrec.script import line_of
from qrec.task import Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from qrec.queue import Queue

STYLES = ("colors", "rich", "plain", "auto")


class Job:
    """A job as a script holds it.  Before it is submitted it is only what was asked for, and has no files."""

    def __init__(
        self, command: str | None = None, name: str | None = None, depends: Any = None, **options: Any
    ) -> None:
        self.command = command
        self.name = name
        self.depends: list[Any] = listed(depends)
        self.kwargs = options
        self.tags: list[str] | None = [tag for tag in listed(options.get("tags")) if tag not in (None, "")] or None
        self.log = bool(options.get("log", False))
        self.bookkeeper = int(options.get("bookkeeper") or 0)
        self.queue: Queue | None = None
        self.uid = ""
        self.number = 0
        self._logged: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"<Job({self.name})>"

    @classmethod
    def of(cls, task: Task, queue: Queue) -> Job:
        """The job of a recorded task, with the secrets that were left out of its record if they are still known."""
        given, asked = task, Asked.of(task)
        try:
            given, asked = with_words(queue.core.door.home, task, asked)
        except CouldNotStart:
            pass
        options = {name: value for name, value in asked.asked().items() if name in OPTIONS}
        if asked.env:
            options["environ"] = dict(asked.env)
        if task.tags:
            options["tags"] = list(task.tags)
        for kind in ("any", "failed"):
            if uids := getattr(asked, kind):
                options[f"depends_{kind}"] = list(uids)
        return cls(line_of(given), task.name or str(task.number), **options, **asked.slurm).bound(queue, task)

    def bound(self, queue: Queue, task: Task) -> Job:
        """The same job, now in a queue."""
        self.queue, self.uid, self.number = queue, task.uid, task.number
        return self

    @property
    def task(self) -> Task:
        """Its record as it stands: status, returncode, started, usage ...  Raises NoSuchTask if it was cleared."""
        return self.home.core.store.get(self.uid)

    @property
    def home(self) -> Queue:
        """The queue it is in.  Refused as long as it is in none."""
        if self.queue is None:
            raise Refused(f"the job {self.name or self.command!r} is in no queue yet")
        return self.queue

    @property
    def status(self) -> str:
        """How it stands."""
        return self.task.status.value

    def lacks_secrets(self) -> bool:
        """Whether it is known from a record only that leaves secrets out."""
        return any(REDACTED in text for text in (str(self.command), *self.kwargs.get("environ", {}).values()))

    # Files, written when they are asked for

    @property
    def log_fpath(self) -> Path:
        """A file with what the job has printed, both streams; it is not there before the job has begun."""
        task, path = self.task, self.file("log")
        if task.started is None:
            path.unlink(missing_ok=True)
        elif not (path.exists() and task.status.is_final and self._logged == (task.attempt, task.ended)):
            write(path, (block for _, block in merged(Frozen(self.home.core.door.output(task)))))
            self._logged = (task.attempt, task.ended)
        return path

    @property
    def output_fpath(self) -> Path:
        """Where a Slurm job was told to write, else the same file."""
        said = self.kwargs.get("output_fpath")
        return Path(said) if said else self.log_fpath

    @property
    def pass_fpath(self) -> Path:
        """A file that is there if the job has completed."""
        return self.marker("pass", Status.COMPLETE)

    @property
    def fail_fpath(self) -> Path:
        """A file that is there if the job has failed."""
        return self.marker("fail", Status.FAILED, Status.LOST)

    @property
    def skip_fpath(self) -> Path:
        """A file that is there if the job was skipped or cancelled."""
        return self.marker("skip", Status.SKIPPED, Status.CANCELLED)

    @property
    def stat_fpath(self) -> Path:
        """A file of JSON that tells how it ended; it is there once the job has."""
        return self.marker("stat", *(status for status in Status if status.is_final))

    def marker(self, end: str, *statuses: Status) -> Path:
        """A file that is there if the job has one of these statuses."""
        task, path = self.task, self.file(end)
        if task.status in statuses:
            about = {"ret": task.returncode, "name": self.name, "status": task.status.value, "uid": self.uid}
            write(path, [json.dumps(about).encode()])
        else:
            path.unlink(missing_ok=True)
        return path

    def file(self, end: str) -> Path:
        """The path of one of its files."""
        return self.home.job_info_dpath / f"{self.number}-{plain(self.name or '')}.{end}"

    # Its text

    def finalize_text(self, **ignored: Any) -> str:
        """The command."""
        return str(self.command)

    def print_commands(self, *ignored: Any, style: str = "colors", **more: Any) -> None:
        """Print the command."""
        show(f"{self.command}\n", style)


# Files and the terminal


def plain(name: str) -> str:
    """A name as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", name)[:60]


def write(path: Path, blocks: Iterable[bytes], mode: int = 0o600) -> None:
    """Put a private file in its place whole.  Raises StoreUnwritable."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        make_private(str(path.parent))
        with open(fresh, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.writelines(blocks)
        os.replace(fresh, path)
    except OSError as error:
        raise StoreUnwritable(f"{path}: {error.strerror or error}") from None


def show(text: str, style: str) -> None:
    """Print bash, in colours if the style and the terminal allow them.  KeyError for an unknown style."""
    if style not in STYLES:
        raise KeyError(style)
    if style in ("plain", "auto") or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        print(text)
        return
    from rich.console import Console
    from rich.syntax import Syntax

    Console().print(Syntax("", "bash", background_color="default").highlight(text), soft_wrap=True)
