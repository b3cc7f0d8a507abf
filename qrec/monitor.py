"""The live view of a queue in a terminal; elsewhere, plain lines.

It only looks: leaving it, in whatever way, ends nothing.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time

from qrec.api import Qrec
from qrec.errors import StoreError
from qrec.executors.queue import label
from qrec.reason import reason
from qrec.task import Status
from qrec.units import duration, size
from qrec.watch import Watch, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from rich.text import Text

    from qrec.task import Task
    from qrec.watch import Active, View

POLL = 0.1  #: seconds between two looks at keys and at the size of the terminal
SHARE = 4  #: a look that took long is not repeated for so many times as long
LAST_LOOK = 2.0  #: seconds that a look under way is waited for in the end
WIDE = 72  #: columns from which a running job has one line, with all there is to say
ROOMY = 56  #: columns from which there is room for what a job uses
LEAST = 3  #: lines of a section: its heading, one row and a blank line
LABEL = 24  #: columns of a job's name at most
INTERRUPTED = 130
COLOURS = {
    Status.COMPLETE: "green", Status.FAILED: "red", Status.LOST: "red", Status.CANCELLED: "yellow",
    Status.SKIPPED: "yellow", Status.RUNNING: "cyan", Status.SUBMITTED: "cyan", Status.QUEUED: "",
}  # fmt: skip
ORDER = (
    Status.RUNNING, Status.SUBMITTED, Status.QUEUED, Status.COMPLETE, Status.FAILED, Status.SKIPPED, Status.CANCELLED,
    Status.LOST,
)  # fmt: skip
FOOTER = "q leaves, and the jobs go on"


def monitor(door: Qrec, name: str, *, interval: float = 0.5) -> int:
    """Show how the jobs of a queue come along, until all have ended; `interval` is in seconds.

    Returns 0 if every job has completed, 130 after Ctrl-C, else 1.  NoSuchQueue.
    """
    watch = Watch(door, name)
    try:
        return live(door, name, interval) if is_screen() else lines(watch, interval)
    except BrokenPipeError:  # nobody reads any more
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def is_screen() -> bool:
    """Whether our stdout is a terminal on which one can draw."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def summary(view: View) -> str:
    """How a queue stands, in a line."""
    parts = [f"{view.counts[status]} {status}" for status in ORDER if view.counts.get(status)]
    return f"queue {one_line(view.name)}: {', '.join(parts) or 'no jobs'}"


def one_line(words: str) -> str:
    """Text in one line that cannot do anything to a terminal."""
    from qrec.cli.show import printable

    return printable(words)


# Lines


def lines(watch: Watch, interval: float) -> int:
    """Print a line for each job that begins or ends, and how it stands in the end."""
    from qrec.cli.show import put

    def say(line: str) -> None:
        put(line)
        sys.stdout.flush()

    with interruptible():
        watch.look()
        begun = {(task.uid, task.attempt) for task in watch.running.values()}
        for task in sorted(watch.running.values(), key=lambda task: task.number):
            say(one_line(f"{task.number} {label_of(task)} {task.status}, {duration(task.seconds)}".removesuffix(", ")))
        while not watch.is_over:
            wait_for_reader(min(interval, POLL))
            for change in looked(watch):
                for line in told(change, begun):
                    say(one_line(line))
        view = watch.view(0)
        say(summary(view))
    return int(not view.succeeded)


def wait_for_reader(seconds: float) -> None:
    """Wait so long.  BrokenPipeError once nobody can read our stdout any more, which no line would tell us of."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        pass  # it is no file
    if poll.poll(seconds * 1000):
        raise BrokenPipeError


def looked(watch: Watch) -> Sequence[Any]:
    """What has changed; nothing while the store cannot be read."""
    try:
        return watch.look()
    except StoreError:
        return ()


class interruptible:
    """As long as the `with` lasts, Ctrl-C raises KeyboardInterrupt."""

    def __enter__(self) -> None:
        self.before: Any = None
        try:
            self.before = signal.signal(signal.SIGINT, signal.default_int_handler)
        except ValueError:
            pass  # not in the main thread: then it is somebody else's

    def __exit__(self, *_: object) -> None:
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)


# Live


def live(door: Qrec, name: str, interval: float) -> int:
    """Draw it on the terminal until all has ended, or somebody wants to leave."""
    with Looker(door, name, interval) as looker, Stage() as stage:
        while not (looker.over or stage.leaving):
            looker.rows = stage.draw(looker.view)
            stage.rest(lambda: looker.news or looker.over)
            looker.news = False
    if looker.error is not None:
        raise looker.error
    if stage.number in (signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), stage.number)
    if looker.view is not None and stage.number is None:
        sys.stdout.write(summary(looker.view) + "\n")
    if stage.number == signal.SIGINT:
        return INTERRUPTED
    return int(looker.view is None or not looker.view.succeeded)


class Looker:
    """Looks at a queue in a thread of its own, as long as the `with` lasts: a slow store or cluster holds up no key."""

    def __init__(self, door: Qrec, name: str, interval: float) -> None:
        self.where = door.home, door.store.place
        self.reveal = door.reveal
        self.name = name
        self.interval = interval
        self.rows = 24  #: how many jobs of a kind can be shown
        self.view: View | None = None  #: None before the first look
        self.news = False  #: whether it is another than was drawn
        self.over = False
        self.error: Exception | None = None  #: because of which it was given up
        self.enough = threading.Event()
        self.thread = threading.Thread(target=self.run, name="qrec-monitor", daemon=True)

    def __enter__(self) -> Looker:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.enough.set()
        self.thread.join(LAST_LOOK)

    def run(self) -> None:
        """Look again and again."""
        try:
            door = Qrec(*self.where)  # a store's connection belongs to its thread
            door.reveal = self.reveal
            watch = Watch(door, self.name)
            while not (self.over or self.enough.is_set()):
                began = time.monotonic()
                self.look(watch)
                self.enough.wait(max(self.interval, SHARE * (time.monotonic() - began)))
            door.store.close()
        except Exception as error:
            self.error = error
        self.over = True

    def look(self, watch: Watch) -> None:
        """Look once; a store that cannot be read now may be so soon."""
        try:
            watch.look()
            self.view = watch.view(self.rows)
            self.over = watch.is_over
        except StoreError as error:
            if self.view is not None:
                self.view = self.view.copy(trouble=str(error))
        self.news = True


class Stage:
    """The terminal while something is drawn on it, as long as the `with` lasts; it is left as it was found."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.leaving = False
        self.number: int | None = None  #: the signal because of which we leave
        self.suspended = False
        self.size = (0, 0)
        self.shown: Any = None  #: what stands there, and in which size
        self.handlers: dict[int, Any] = {}
        self.modes: list[Any] | None = None
        self.keys = False  #: whether there is somebody to press keys
        self.display: Any = None

    def __enter__(self) -> Stage:
        try:
            for number in self.SIGNALS:
                self.handlers[number] = signal.signal(number, self.take)
            self.handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self.take)
        except ValueError:
            pass  # not in the main thread: then they are somebody else's
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def take(self, number: int, _: object) -> None:
        """One signal."""
        if number == signal.SIGTSTP:
            self.suspended = True
        else:
            self.leaving, self.number = True, number

    def open(self) -> None:
        """Take the terminal."""
        from rich.console import Console
        from rich.live import Live

        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        console = Console(force_terminal=True, highlight=False, markup=False, emoji=False, legacy_windows=False)
        self.display = Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self.size, self.shown = (0, 0), None
        self.read_keys()
        self.try_to(self.display.start)

    def read_keys(self) -> None:
        """Get keys as they are pressed, unseen; nothing if there is no keyboard."""
        import termios
        import tty

        try:
            self.modes = termios.tcgetattr(0)
            tty.setcbreak(0, termios.TCSANOW)
            self.keys = True
        except (termios.error, OSError):
            self.modes, self.keys = None, False

    def close(self) -> None:
        """Give the terminal back."""
        self.try_to(self.display.stop)
        if self.modes is not None:
            import termios

            try:
                termios.tcsetattr(0, termios.TCSANOW, self.modes)
            except (termios.error, OSError):
                pass  # it is gone
            self.modes = None

    def try_to(self, act: Callable[[], object]) -> None:
        """Do something to the terminal; leave if it is gone."""
        try:
            act()
        except OSError:
            self.leaving, self.number = True, self.number or signal.SIGHUP

    def draw(self, view: View | None) -> int:
        """Draw the queue as it stands; return how many lines there are."""
        from rich.console import Group

        self.size = columns, rows = terminal_size()
        self.display.console.size = (columns, rows)
        shown = drawn(view, columns, rows, sys.stdout.encoding)
        if (self.size, shown) != self.shown:
            self.shown = self.size, shown
            self.try_to(lambda: self.display.update(Group(*shown), refresh=True))
        return rows

    def rest(self, is_news: Callable[[], bool]) -> None:
        """Wait until there is something to be drawn, heeding keys."""
        while not (self.leaving or is_news() or terminal_size() != self.size):
            ready = select.select([0] if self.keys else [], [], [], POLL)[0]
            if ready:
                self.hear()
            if self.suspended:
                self.suspend()
                return

    def hear(self) -> None:
        """What keys were pressed."""
        try:
            keys = os.read(0, 1024)
        except OSError:
            keys = b""
        self.keys = bool(keys)
        if b"q" in keys.lower():
            self.leaving = True
        if b"\f" in keys:  # Ctrl-L: something else has written here
            self.size, self.shown = (0, 0), None

    def suspend(self) -> None:
        """Stop, as Ctrl-Z asks; go on when we are told to."""
        self.suspended = False
        self.close()
        mine = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, mine)
        self.open()


def terminal_size() -> tuple[int, int]:
    """Columns and rows of the terminal behind stdout."""
    try:
        columns, rows = os.get_terminal_size(1)
    except OSError:
        columns, rows = 0, 0
    return columns or 80, rows or 24


# Drawing


def drawn(view: View | None, columns: int, rows: int, encoding: str | None = "utf-8") -> list[Text]:
    """The lines of the view, which fit into so many columns and rows."""
    if view is None:
        return [fitted(row("reading the queue ...", "dim"), columns)]
    head = [*header(view, columns, encoding), row("")]
    room = rows - len(head) - 1
    wanted = [(1 if columns >= WIDE else 2) * len(view.running), len(view.failures), len(view.waiting)]
    rooms = shared(room, [lines + 2 if lines else 0 for lines in wanted])
    body = [
        *section("running", view.begun, running_rows(view.running, columns, rooms[0] - 2), rooms[0]),
        *section("not completed", view.failed, map(failure_row, view.failures), rooms[1]),
        *section("waiting", view.counts.get(Status.QUEUED, 0), map(waiting_row, view.waiting), rooms[2]),
    ]
    body = body[: max(0, room)]
    filled = [*head[: rows - 1], *body, *[row("")] * (rows - 1 - len(head) - len(body)), row(FOOTER, "dim")]
    return [fitted(line, columns) for line in filled]


def row(*parts: str) -> Text:
    """A line of text and style, text and style ..."""
    from rich.text import Text

    line = Text(no_wrap=True, end="\n")
    for words, style in zip(parts[::2], [*parts[1::2], ""], strict=False):
        line.append(one_line(words), style or None)
    return line


def fitted(line: Text, columns: int) -> Text:
    """The line, cut to so many columns."""
    line.truncate(columns, overflow="ellipsis")
    return line


def shared(room: int, wanted: Sequence[int]) -> list[int]:
    """Some lines for each that wants them: LEAST for each, and what is left for the first that want more."""
    given: list[int] = []
    for want in wanted:
        least = min(want, LEAST, room - sum(given))
        given.append(least if least > 1 else 0)
    for place, want in enumerate(wanted):
        given[place] += min(want - given[place], max(0, room - sum(given))) if given[place] == LEAST else 0
    return given


def section(title: str, count: int, rows: Iterable[Text], room: int) -> Iterator[Text]:
    """A heading, as many rows as there is room for, and a blank line."""
    if room < 2:
        return
    yield row(title, "bold", f" {count}", "")
    for number, line in enumerate(rows):
        if number < max(1, room - 2):
            yield line
    if room > 2:
        yield row("")


def header(view: View, columns: int, encoding: str | None) -> Iterator[Text]:
    """How the queue stands as a whole."""
    yield row(view.name, "bold", "  ", "", *state(view))
    yield bar(view, columns, encoding)
    yield from counts(view, columns)
    yield row(", ".join(figures(view, columns)))
    if view.trouble:
        yield row(view.trouble, "yellow")


def counts(view: View, columns: int) -> Iterator[Text]:
    """How many jobs have which status, in as many lines as that takes."""
    line = row()
    for status in ORDER:
        words = f"{count} {status}" if (count := view.counts.get(status)) else ""
        if words and line and len(line) + 2 + len(words) > columns:
            yield line
            line = row()
        if words:
            line.append_text(row("  " if line else "", "", words, COLOURS[status]))
    yield line if line else row("no jobs", "dim")


def state(view: View) -> tuple[str, str]:
    """What goes on, and the colour of that."""
    if not view.left:
        return ("all completed", "green") if view.succeeded else ("ended", "yellow")
    if view.paused:
        return "paused", "yellow"
    if view.is_unattended:
        return "no worker runs it", "yellow"
    return "running", "cyan"


def bar(view: View, columns: int, encoding: str | None) -> Text:
    """How much is done, what completed and what did not told apart."""
    done = view.total - view.left
    told = f" {done / view.total:4.0%}  {done} of {view.total}" if view.total else ""
    width = columns - len(told)
    if not view.total or width < 8:
        return row(told.strip())
    full, other, empty = bar_marks(encoding)
    complete = width * view.counts.get(Status.COMPLETE, 0) // view.total
    bad = min(width - complete, -(-width * (done - view.counts.get(Status.COMPLETE, 0)) // view.total))
    return row(full * complete, "green", other * bad, "red", empty * (width - complete - bad), "dim", told, "")


def bar_marks(encoding: str | None) -> tuple[str, str, str]:
    """The characters of a bar: completed, ended otherwise, not ended."""
    try:
        "█▓░".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "#", "x", "."
    return "█", "▓", "░"


def figures(view: View, columns: int) -> Iterator[str]:
    """Slots, pace, and the time that is left."""
    if view.slots is not None:
        yield f"{view.begun} of {view.slots} slot{'s' * (view.slots != 1)}"
    if view.workers and columns >= ROOMY:
        yield f"{view.workers} worker{'s' * (view.workers != 1)}"
    if view.rate:
        yield pace(view.rate)
    if (seconds := view.seconds_left) is not None:
        yield f"{duration(max(1.0, seconds))} left"


def pace(rate: float) -> str:
    """So many jobs in a second, a minute or an hour."""
    for unit, times in (("s", 1), ("min", 60), ("h", 3600)):
        if rate * times >= 1 or unit == "h":
            return f"{rate * times:.3g} jobs/{unit}" if rate * times < 1000 else f"{rate * times:,.0f} jobs/{unit}"
    raise AssertionError


def label_of(task: Task) -> str:
    """What a job is called: its name, else its command."""
    return label(task) if task.name else task.command


def padded(words: str, columns: int) -> str:
    """Printable text in exactly so many columns."""
    from rich.cells import cell_len, set_cell_size

    words = one_line(words)
    return set_cell_size(words, columns) if cell_len(words) <= columns else set_cell_size(words, columns - 1) + "…"


def running_rows(running: Sequence[Active], columns: int, room: int) -> Iterator[Text]:
    """A line for each running job, or two on a narrow terminal, as long as they all have room."""
    wide, twice = columns >= WIDE, columns < WIDE and 2 * len(running) <= room
    digits = max((len(str(one.task.number)) for one in running), default=1)
    used = 14 if columns >= ROOMY else 0
    width = LABEL if wide else max(1, columns - digits - used - 9)
    for one in running:
        usage = f" {percent(one.cpu):>5} {'' if one.memory is None else size(one.memory):>7}" if used else ""
        lead = f"{one.task.number:>{digits}} {padded(label_of(one.task), width)}"
        told = (f" {duration(one.task.seconds):>7}", "cyan", usage, "")
        yield row(lead, "", *told, f"  {one.line}" if wide else "", "dim")
        if twice:
            yield row(" " * (digits + 1) + one.line, "dim")


def percent(cores: float | None) -> str:
    """Cores in use, as `top` tells them."""
    return "" if cores is None else f"{cores:.0%}"


def failure_row(task: Task) -> Text:
    """A job that did not complete."""
    took = f", {duration(task.seconds)}" if task.seconds is not None else ""
    return row(f"{task.number} {cropped(label_of(task))}  ", "", reason(task) + took, COLOURS[task.status])


def waiting_row(told: tuple[Task, str]) -> Text:
    """A job that waits."""
    task, why = told
    return row(f"{task.number} {cropped(label_of(task))}  ", "", why, "dim")


def cropped(words: str) -> str:
    """A name, cut to what it may take."""
    return padded(words, LABEL).rstrip()
