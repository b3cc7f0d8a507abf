"""What other programs remember of commands, as tasks: their identity, their words without secrets, how they ended.

A history tells less than a record has.  What it does not tell stays empty: the folder and the machine, mostly, and the
return code; such a task is `complete` without a code, as all that is known is that it was typed and is over.
"""

from __future__ import annotations

from qrec.doors.intake import Arrival
from qrec.doors.records import uuid_of
from qrec.stores.base import Bundle
from qrec.task import Record, Status, Task, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from qrec.redact import Redactor


class Entry(Record):
    """What a history tells of one command."""

    place: str  #: `line 12`
    command: str = ""  #: the line as it was typed
    argv: tuple[str, ...] = ()  #: its words, where they are known; the command is for showing then
    trouble: str = ""  #: why it tells of none
    at: float | None = None  #: when it began, in seconds since the epoch
    seconds: float | None = None  #: how long it ran
    returncode: int | None = None
    signal: int | None = None
    name: str = ""  #: by which its history knows it for ever; else it is known by its time, its words and their count
    pwd: str = ""
    user: str = ""
    host: str = ""
    message: str = ""
    usage: Mapping[str, Any] = {}
    facts: Mapping[str, Any] = {}
    data: Mapping[str, Any] = {}


class Past:
    """Makes tasks of what one history tells; of the same history always the same ones.

    `written` is when the history was last added to: commands of which no time is told were typed by then.
    """

    def __init__(
        self, source: str, executor: str, shell: str, redactor: Redactor, written: float, user: str = "", host: str = ""
    ) -> None:
        self.source = source
        self.executor = executor
        self.shell = shell  #: what understands the lines
        self.redactor = redactor
        self.written = timestamp(written)
        self.user = user
        self.host = host
        self.at: float | None = None  #: the time that is being counted
        self.then: dict[str, int] = {}  #: how often each command occurred at that time
        self.untimed: dict[str, int] = {}  #: how often each command occurred of which no time is told

    @property
    def tag(self) -> str:
        """By which all that came from such histories is found, and removed again."""
        return f"from-{self.source}"

    def arrivals(self, entries: Iterable[Entry]) -> Iterator[Arrival]:
        """The tasks of a history, but for lines on which nothing stands."""
        return (self.arrival(entry) for entry in entries if entry.trouble or entry.command.strip())

    def arrival(self, entry: Entry, fill: Callable[[Bundle, str], Bundle] | None = None) -> Arrival:
        """The task of one command, or why it is none."""
        if entry.trouble or "\0" in entry.command:
            return Arrival(place=entry.place, trouble=entry.trouble or "a NUL byte is in it, which no command can hold")
        try:
            return Arrival(place=entry.place, bundle=Bundle(task=self.task(entry)), fill=fill)
        except (OverflowError, ValueError, OSError):
            return Arrival(place=entry.place, trouble=f"{entry.at!r:.40} is no time")

    def task(self, entry: Entry) -> Task:
        """The task of one command.  Raises what `timestamp` raises."""
        words, secrets = self.redactor.words(entry.argv or (entry.command,))
        started = None if entry.at is None else timestamp(entry.at)
        known_end = entry.at is not None and entry.seconds is not None
        data = {"origin": self.source, **({} if entry.argv else {"shell": self.shell}), **entry.data}
        return Task(
            uid=f"{self.executor}-{self.identity(entry, started, words)}", executor=self.executor, argv=words,
            message=self.redactor.text(entry.message)[0] if entry.message else "", tags=(self.tag,), pwd=entry.pwd,
            user=entry.user or self.user, host=entry.host or self.host, status=status_of(entry.returncode),
            returncode=entry.returncode, signal=entry.signal, created=started or self.written, started=started,
            ended=timestamp(entry.at + entry.seconds) if known_end else None,  # type: ignore[operator]
            usage=entry.usage, facts=entry.facts, data={**data, "redacted": secrets} if secrets else data,
        )  # fmt: skip

    def identity(self, entry: Entry, started: str | None, words: tuple[str, ...]) -> str:
        """A uuid that another import of the history gives again.

        It is made of the words without their secrets, as whoever has the uid could try what they are.
        """
        line = "\0".join(words)
        if entry.name:
            return uuid_of(f"{self.source}\0{entry.name}")
        host = entry.host or self.host
        return uuid_of(f"{self.source}\0{host}\0{started or ''}\0{line}\0{self.count(entry.at, line)}")

    def count(self, at: float | None, line: str) -> int:
        """How often the line has occurred so far: at that time, or of all without a time.

        A history loses its oldest lines one day.  Counting from its start then gives the rest numbers that are known
        already: a repetition may be missed, but nothing comes in twice.
        """
        if at is None:
            seen = self.untimed
        else:
            if at != self.at:
                self.at, self.then = at, {}
            seen = self.then
        seen[line] = seen.get(line, 0) + 1
        return seen[line]


def status_of(returncode: int | None) -> Status:
    """The status of what is over."""
    return Status.FAILED if returncode else Status.COMPLETE
