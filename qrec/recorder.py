"""The only code that starts a recorded process and writes down how it went."""

from __future__ import annotations

import os
import select
import signal
import time

from qrec import spool
from qrec.errors import CouldNotStart, DuplicateTask, NoSuchTask, StaleTask, StoreBusy
from qrec.output import Files, Writer, attempt_folder, fold, listed, make_private, remove_folder
from qrec.process import (
    GRACE,
    RECORDED,
    Channels,
    Ended,
    Identity,
    Pump,
    Tap,
    Unrecorded,
    boot_id,
    closed_descriptors,
    end_family,
    exit_descriptor,
    own_peak,
    pid_namespace,
    reap,
    start_ticks,
)
from qrec.signals import Watch
from qrec.task import Kept, Record, Status, Task, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from qrec.facts import Changes
    from qrec.redact import Redactor
    from qrec.stores.base import Store
    from qrec.usage import Meter

    #: What an executor makes of a command's end: fields of the task that come out otherwise, its status among them.
    Outcome = Callable[[Task, Ended, Files], dict[str, Any]]

    T = TypeVar("T")

REFUSED = "refused"  #: the note of what a hook, or a slip of its executor, did not let begin
TIMED_OUT = 124  #: the code that timeout(1) has taught scripts
AT_START = 0.3  #: seconds the store may keep a command's start waiting
TRY_AGAIN = 1.0  #: seconds until a busy store is asked again
WORTHWHILE = 0.1  #: seconds a command runs before what it uses is looked at
LOOK = 0.1  #: seconds between two looks at the growing output of an unattended command
OWN_TIME = 2.0  #: seconds after the end of an unattended command in which its record is its observer's to close
FACTS_AT_END = 0.1  #: seconds that git may keep a command's end waiting
AT_END = 0.6  #: seconds the store may keep a command's end waiting; together less than one


class Terms(Record):
    """How a command is to be run; nothing of it is recorded."""

    timeout: float | None = None  #: seconds until it is ended
    show: bool = True  #: pass its output on to ours
    take_signals: bool = False  #: this process exists for the command: its signals are the command's
    pty: bool | None = None  #: its streams are terminals; None: where ours are, if the process exists for the command
    detach: bool = False  #: let it outlive this process and the terminal; return as soon as it runs
    one_stream: bool = False  #: one terminal for all its streams, with a session of its own
    argv: tuple[str, ...] | None = None  #: the words as they were given, where secrets are left out of the record's
    redactor: Redactor | None = None  #: what takes secrets out of the recorded output, where that is wanted
    socket: str = ""  #: the server of tmux, a name or the path of its socket; empty: that of the settings


class Recorder:
    """Records attempts in one home and one store.

    `complaints` tells, in sentences for the user, what could not be recorded and why.
    """

    def __init__(self, home: str, store: Store, grace: float = GRACE) -> None:
        self.home = home
        self.store = store
        self.grace = grace  #: seconds between asking a command to end and killing it
        self.variables: tuple[str, ...] = ()  #: names of variables that are recorded beside the usual ones
        self.redactor: Redactor | None = None  #: what takes secrets out of variables; None: those that everybody has
        self.complaints: list[str] = []

    def record(
        self, task: Task, words: tuple[str, ...], terms: Terms, known: bool = False, outcome: Outcome | None = None
    ) -> Task:
        """Run `words` in the foreground as this attempt of the task, and return the task as it ended.

        `known` says that the store has the attempt already.  Whatever happens to the record, the command runs
        undisturbed, and the returned task has its code.
        """
        recording = Recording(self, task, known, terms.redactor, outcome)
        channels = connect(terms)
        watch = Watch(terms.timeout, terms.take_signals, self.grace, channels.alarm, channels.job_control)
        with watch:  # until all is written down
            recording.announce()
            try:
                pid = channels.start(words, elsewhere(task.pwd), watch.mask)
            except CouldNotStart as error:
                channels.close()
                return recording.never_began(error, channels.taps)
            watch.guard(pid)
            pump = Pump(pid, channels.taps, recording.sink)  # while there are descriptors left for it
            recording.began(pid)
            recording.complain_of(watch, channels)
            ended = recording.pump(pump, channels)
            watch.release()
            return recording.close(ended, watch.received, terms.timeout if watch.timed_out else None)

    def claim(self) -> dict[str, Any]:
        """What a running task's data says of who records it, so that others can see whether we are still there."""
        mine = [os.getpid(), start_ticks(os.getpid()) or 0]
        return {"process": {"boot": boot_id(), "namespace": pid_namespace(), "recorder": mine}}

    def detach(self, task: Task, words: tuple[str, ...], known: bool = False) -> Recording:
        """Start `words` as this attempt under the shim, which outlives us; `observe` looks after it.

        Raises CouldNotStart.
        """
        from qrec.shim import shim_process_soon, spawn_unattended

        recording = Recording(self, task, known)
        recording.announce()
        make_private(recording.folder)
        try:
            recording.shim = spawn_unattended(words, recording.folder, elsewhere(task.pwd) or "")
        except CouldNotStart as error:
            recording.never_began(error, [])
            raise
        recording.began(recording.shim, (shim_process_soon(recording.folder) or (recording.shim,))[0])
        return recording

    def refuse(self, task: Task, error: CouldNotStart, known: bool = False) -> Task:
        """Record a task that shall or can not begin; return it as it ended."""
        said = {"reason": str(error), REFUSED: True}
        recording = Recording(self, task.copy(data={**task.data, **said}), known)
        recording.announce()
        return recording.never_began(error, [])

    def send_off(self, task: Task, words: tuple[str, ...], terms: Terms, known: bool = False) -> Task:
        """`detach` in a process of its own, which goes on to observe the command; return the task as it runs."""
        from qrec.observer import Request, send_off

        request = Request(
            home=self.home, store=self.store.place, task=task.plain(), words=words, timeout=terms.timeout,
            known=known, grace=self.grace, variables=self.variables,
            secrets=[rule.source for rule in self.redactor.own] if self.redactor else (),
        )  # fmt: skip
        begun, complaints = send_off(request)
        self.complaints += complaints
        return begun

    def settle(self, task: Task) -> Task:
        """Close the record of a running task whose recorder is gone, if it is over; return it as it stands.

        A command under the shim left its code; of any other nobody knows how it ended, and it is `lost`.
        """
        process = task.data.get("process")
        if task.status is not Status.RUNNING or not process:
            return task
        from qrec.shim import shim_ended, shim_process

        folder = attempt_folder(self.home, task.uid, task.attempt)
        ended = shim_ended(folder)
        if ended is not None and time.time() - ended.at < OWN_TIME and runs(task, "recorder"):
            return task  # whoever looks after it knows more than we do
        if ended is None and (runs(task, "recorder") is not False or runs(task, "command") is not False):
            return task
        if ended is None and (pair := shim_process(folder)) and start_ticks(pair[0]) == pair[1]:
            return task  # the shim was killed but its command goes on
        if ended is None and "command" not in process and shim_runs(folder):
            return task  # its observer was killed before it could tell of it
        if tmux_tells_more(task, folder):
            return task
        left = spool.read(spool.spool_path(self.home, task.uid, task.attempt), self.store.place)
        if left is not None and left.status is not task.status:  # the store was busy when its recorder ended
            self.take(left)
            spool.drop(self.home, left)
            return self.store.get(task.uid)
        ended = ended or shim_ended(folder)  # it may have ended while we looked
        fields = ended_fields(task, ended, limit=process.get("limit")) if ended else lost_fields(task)
        fields["usage"] = {**figures_of(folder), **fields.get("usage", {})}
        return self.finish(task, fields.pop("status"), fields)

    def finish(self, task: Task, status: Status, fields: dict[str, Any]) -> Task:
        """Close an attempt: its last fields and its output in one step, then its files go.  Returns what won."""
        folder = attempt_folder(self.home, task.uid, task.attempt)
        fields["data"] = {**fields["data"], **explained(task.copy(**{"status": status, **fields}))}
        kept = fold(folder)
        try:
            done = self.store.swap(task.uid, (task.status, task.attempt), status, kept=kept, **fields)
        except StaleTask:
            return self.store.get(task.uid)
        if kept is not None:
            remove_folder(folder)
        return done

    def take_in(self) -> None:
        """Give the store the records that were left for it; those whose recorder still lives are its own business."""
        for task in spool.waiting(self.home, self.store.place):
            if not task.status.is_final and runs(task, "recorder") is not False:
                continue
            # Only now that its recorder is gone does the file not change any more: it may have left the end last.
            left = spool.read(spool.spool_path(self.home, task.uid, task.attempt), self.store.place)
            if left is not None:
                self.take(left)
                spool.drop(self.home, left)
        self.end_removals()

    def begin_removal(self, task: Task) -> None:
        """Tell that we are about to remove a task, if it has files, which might be left alone."""
        if any(map(os.path.exists, (spool.private_words(self.home, task.uid), *self.folders_of(task)))):
            spool.put_removal(self.home, task.copy(data=self.claim()), self.store.place)

    def end_removal(self, task: Task) -> None:
        """Remove the files of a task that the store has forgotten."""
        for folder in self.folders_of(task):
            remove_folder(folder)
        spool.forget_words(self.home, task.uid)
        spool.drop_removal(self.home, task)

    def end_removals(self) -> None:
        """End the removals of those who were killed on the way; a task that the store still has is kept whole."""
        for task in spool.removals(self.home, self.store.place):
            if runs(task, "recorder") is not False:
                continue
            try:
                self.store.get(task.uid)
            except NoSuchTask:
                self.end_removal(task)
            else:
                spool.drop_removal(self.home, task)

    def folders_of(self, task: Task) -> list[str]:
        """Where the output of a task's attempts lies, if it is in files."""
        return [attempt_folder(self.home, task.uid, attempt) for attempt in range(1, task.attempt + 1)]

    def take(self, task: Task) -> None:
        """Give the store one attempt's record, whatever it has of it by now."""
        try:
            known = self.store.get(task.uid)
        except NoSuchTask:
            known = self.add_late(task)
        if task.turn and not known.turn:
            known = self.store.change(task.uid, turn=task.turn)  # what it was added without
        if known.attempt == task.attempt and not known.status.is_final and task.status is not known.status:
            self.finish(known, task.status, end_of(task))

    def add_late(self, task: Task) -> Task:
        """Add a task as it was before its end, without its turn: it must not pass for the newest."""
        begun = task.copy(status=Status.RUNNING, ended=None, turn=0)
        try:
            return self.store.add(begun)
        except DuplicateTask:
            return self.store.get(task.uid)  # another call was quicker


class Recording:
    """One attempt while it is being recorded.  No method here raises because of the store or the disk."""

    def __init__(
        self,
        recorder: Recorder,
        task: Task,
        known: bool,
        redactor: Redactor | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        self.outcome = outcome
        self.recorder = recorder
        self.home = recorder.home
        self.store = recorder.store
        self.task = task
        self.known = known  #: whether the store has this attempt
        self.told = False  #: whether the store has its pid
        self.hopeless = False  #: whether the store refused for a reason that time does not mend
        self.spooled = False
        self.folder = attempt_folder(self.home, task.uid, task.attempt)
        self.writer = Writer(self.folder)
        self.sink: Writer | RedactingSink = self.writer if redactor is None else RedactingSink(self.writer, redactor)
        self.started = time.monotonic()
        self.oom_kills = oom_kills()
        self.shim: int | None = None  #: the pid of the shim, if the command runs under one
        self.meter: Meter | None = None
        self.measured = True  #: whether its usage can be looked at
        self.long_after: list[float] | None = None  #: seconds after which hooks want to hear that it still runs
        self.place: tuple[int, int] | None = None  #: which file or folder the store was when it was told
        self.changes: Changes | None = None

    def complain(self, error: Exception | str) -> None:
        """Tell the user, once: the first trouble explains the ones that follow."""
        if not self.recorder.complaints:
            self.recorder.complaints.append(str(error))

    def complain_of(self, watch: Watch, channels: Channels) -> None:
        """Tell the user what does not work as it should."""
        if channels.trouble is not None:
            self.complain(f"output not recorded: {channels.trouble.strerror}")
        if watch.alone:
            self.complain("no thread could be started: signals are not passed on, and there is no time limit")

    def tried(self, do: Callable[[], T], what: str) -> T | None:
        """Do what the command must not suffer from; None if it fails, for whatever reason."""
        try:
            return do()
        except Exception as error:
            self.complain(f"{what} not recorded: {error}")
            return None

    def announce(self) -> None:
        """Leave the intention where it survives us, before the command starts."""
        self.task = self.task.copy(data={**self.task.data, **self.recorder.claim()}, started=timestamp())
        self.spool()

    def spool(self) -> None:
        """Leave the record as it stands for the next qrec call."""
        try:
            spool.put(self.home, self.task, self.store.place)
            self.spooled = True
        except OSError as error:
            self.complain(f"not recorded: {self.home}: {error.strerror}")

    def began(self, pid: int, own: int | None = None) -> None:
        """Note that the command runs, and what surrounds it; `own` is its pid, if `pid` is that of its shim."""
        self.started = time.monotonic()
        process = {**self.task.data["process"], "command": [pid, start_ticks(pid) or 0]}
        facts = self.tried(self.gather, "surroundings") or {}
        self.task = self.task.copy(
            pid=own or pid, facts={**self.task.facts, **facts}, data={**self.task.data, "process": process}
        )
        self.tell(AT_START)

    def gather(self) -> dict[str, Any]:
        """The facts that are quickly known; git is asked for more while the command runs."""
        from qrec.facts import Changes, surroundings

        facts = surroundings(self.task.pwd, os.environ, self.recorder.variables, self.recorder.redactor)
        if "repository" in facts:
            self.changes = Changes(self.task.pwd, os.path.join(self.folder, "patch"))
            self.changes.begin()
        return facts

    def tell(self, patience: float) -> bool:
        """Tell the store that the command runs; True if it should be tried again later."""
        if self.hopeless:
            return False
        task, self.store.patience = self.task, patience
        try:
            if self.known:
                running = Status.RUNNING
                told = {name: getattr(task, name) for name in ("pid", "started", "facts", "data")}
                self.store.swap(task.uid, (running, task.attempt), running, **told)
            else:
                added = self.store.add(task)
                self.task = task.copy(number=added.number, turn=added.turn)
                self.known = True
        except StoreBusy:
            return True
        except Exception as error:  # whatever it is: the command runs, and its output has to be read
            self.hopeless = True
            self.complain(f"not recorded yet: {error}")
            return False
        self.told, self.place = True, standing(self.store.location)
        spool.drop(self.home, self.task)
        return False

    def observe(self, shim: int, timeout: float | None = None) -> Task:
        """Look after a command under a shim, which is our child, until it has ended; close its record."""
        from qrec.shim import death_told_by, shim_ended, shim_unheard

        deadline = self.started + timeout if timeout is not None else float("inf")
        poll = select.poll()
        poll.register(exit_descriptor(shim), select.POLLIN)
        pause, over = 0.0, None
        while not poll.poll(min(pause, LOOK) * 1000):
            self.writer.observe()
            self.learn_pid(shim)
            pause = min(self.tell_later(), self.measure(shim))
            if over is None and time.monotonic() > deadline:
                over = timeout
                end_family(shim, self.recorder.grace)
        used, ended = reap(shim, own_peak()), shim_ended(self.folder)
        self.writer.observe()
        if ended is None and used.signal is None and self.task.pid != shim and shim_unheard(self.folder):
            ended = used.copy(signal=death_told_by(used.returncode))
        if ended is None:  # it was killed; what it ran may go on
            return self.task
        return self.close(ended.copy(cpu=used.cpu, memory=used.memory), limit=over)

    def learn_pid(self, shim: int) -> None:
        """On a busy machine a shim takes its time to tell which process it has started; the store is told then."""
        from qrec.shim import shim_process

        if self.task.pid == shim and (found := shim_process(self.folder)):
            self.task, self.told = self.task.copy(pid=found[0]), False

    def pump(self, pump: Pump, channels: Channels) -> Ended:
        """Record until the command has ended.

        An interrupt of a program that uses us as a library ends the command first.
        """
        channels.serve(pump)
        try:
            ended = pump.run(lambda: min(channels.tick(), self.tell_later(), self.measure(pump.pid)))
            for tap in channels.taps:
                if tap.trouble is not None:
                    self.complain(f"{tap.name} could not be passed on: {tap.trouble.strerror}")
            return ended
        except KeyboardInterrupt:
            end_family(pump.pid, self.recorder.grace, signal.SIGINT)
            self.close(pump.run(), [signal.SIGINT, signal.SIGKILL])
            raise
        finally:
            channels.close()

    def tell_later(self) -> float:
        """Tell the store what it could not be told before; return the seconds until the next try."""
        return TRY_AGAIN if not self.told and self.tell(0) else float("inf")

    def measure(self, pid: int) -> float:
        """Look at what the command uses, once it runs long enough to be worth it; return the seconds until then."""
        left = self.started + WORTHWHILE - time.monotonic()
        if left > 0:
            return left
        wait = self.tried(lambda: self.measure_now(pid), "usage") if self.measured else None
        self.measured = wait is not None
        return min(float("inf") if wait is None else wait, self.look_at_time())

    def look_at_time(self) -> float:
        """Tell the hooks that wait for a command to run for long; return the seconds until the next does."""
        firing = self.store.firing
        if firing is None or not self.told:
            return float("inf")
        if self.long_after is None:
            self.long_after = firing.long_after(self.task)
        ran = time.monotonic() - self.started
        while self.long_after and self.long_after[0] <= ran:
            firing.is_long(self.task, self.long_after.pop(0))
        return self.long_after[0] - ran if self.long_after else float("inf")

    def measure_now(self, pid: int) -> float:
        """Look, and return the seconds until the next look."""
        if self.meter is None:
            from qrec.usage import Meter

            self.meter = Meter(pid, os.path.join(self.folder, "series"), self.started)
        return self.meter.tick()

    def never_began(self, error: CouldNotStart, taps: list[Tap]) -> Task:
        """Record a command that could not be started; what a shell would have said is its stderr."""
        line = f"qrec: {error}\n".encode()
        self.writer.write("stderr", memoryview(line))
        for tap in taps:
            if tap.name == "stderr":
                tap.pass_on(memoryview(line))
            tap.close()
        return self.close(Ended(returncode=error.exit_code))

    def close(self, ended: Ended, received: list[int] | None = None, limit: float | None = None) -> Task:
        """Write down how it ended."""
        self.sink.close()
        if self.writer.trouble is not None:
            self.complain(f"output recorded only in part: {self.writer.folder}: {self.writer.trouble.strerror}")
        fields = ended_fields(self.task, ended, received or [], limit)
        if self.meter is not None:
            fields["usage"] |= {name: value for name, value in self.meter.close(ended).items() if value}
        if self.changes is not None:
            fields["facts"] = {**self.task.facts, **self.changes.finish(FACTS_AT_END)}
        if (outcome := self.outcome) is not None and limit is None:
            changed = self.tried(lambda: outcome(self.task, ended, Files(self.folder)), "what became of it") or {}
            fields |= {**changed, "data": {**fields["data"], **changed.get("data", {})}}
        if isinstance(self.sink, RedactingSink):
            fields["data"]["redacted_output"] = self.sink.count
        before, status = self.task, fields.pop("status")
        self.task = self.task.copy(status=status, **fields)
        fields["data"] |= explained(self.task, oom_kills() - self.oom_kills)
        self.task = self.task.copy(data=fields["data"])
        try:
            self.store_end(before, status, fields)
        except Exception as error:  # a store's mistake, a plug-in's perhaps, must not change the command's code
            self.leave(error)
        return self.task

    def store_end(self, before: Task, status: Status, fields: dict[str, Any]) -> None:
        """Give the end to the store; who cancelled, or closed the attempt before us, is learned there."""
        self.store.patience = AT_END
        if self.told and self.place != standing(self.store.location):
            self.complain(f"{self.store.location} was removed or replaced while the command ran")
            self.store.close()  # SQLite would go on writing to what nobody can open any more
            self.known = False
        if not self.known:
            added = self.store.add(before)
            self.task = self.task.copy(number=added.number, turn=added.turn)
            self.known = True
        found = self.store.get(before.uid)
        if found.wish == "cancel" and status.is_final and status is not Status.CANCELLED:
            status = Status.CANCELLED
            fields["data"] = {**fields["data"], **explained(self.task.copy(status=status))}
        was = Status.LOST if found.status is Status.LOST else Status.RUNNING  # called lost too early: we know better
        kept = fold(self.folder)
        if was is Status.LOST and kept is not None:
            kept = fuller(self.store.kept(before.uid, before.attempt), kept)
        self.task = self.store.swap(before.uid, (was, before.attempt), status, kept=kept, **fields)
        if kept is not None:
            remove_folder(self.folder)
        spool.drop(self.home, before)

    def leave(self, error: Exception) -> None:
        """The store does not take it now: leave the record beside its output."""
        self.spool()
        if isinstance(error, StaleTask):
            return  # somebody else has closed it
        if self.spooled:
            self.complain(f"the record waits in {os.path.join(self.home, 'incoming')} for the next qrec call: {error}")
        else:
            self.complain(f"not recorded: {error}")


class RedactingSink:
    """Takes secrets out of the streams before they are written, whatever blocks they come in."""

    def __init__(self, writer: Writer, redactor: Redactor) -> None:
        from qrec.redact import Filter

        self.writer = writer
        self.filters = {name: Filter(redactor) for name in RECORDED.values()}

    @property
    def count(self) -> int:
        """How many secrets were taken out."""
        return sum(one.count for one in self.filters.values())

    def write(self, stream: str, block: memoryview) -> None:
        """Record what can be told by now."""
        if shown := self.filters[stream].feed(bytes(block)):
            self.writer.write(stream, memoryview(shown))

    def close(self) -> None:
        """Record the rest, and close the writer."""
        for name, one in self.filters.items():
            if rest := one.flush():
                self.writer.write(name, memoryview(rest))
        self.writer.close()


def explained(task: Task, killed_for_memory: int = 0) -> dict[str, str]:
    """Why an ended task did not complete, in a few words."""
    if task.status is Status.COMPLETE or not task.status.is_final:
        return {}
    from qrec.reason import reason

    return {"reason": reason(task, killed_for_memory)}


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since it was booted."""
    try:
        with open("/proc/vmstat", "rb") as file:
            return int(file.read().partition(b"\noom_kill ")[2].partition(b"\n")[0] or 0)
    except OSError:
        return 0


def fuller(before: Kept | None, now: Kept) -> Kept:
    """Of each part the longer: who called it lost has kept what there was, and may be removing the files just now."""
    parts = dict(before.parts()) if before is not None else {}
    for name, part in now.parts().items():
        parts[name] = max(parts.get(name, b""), part, key=len)
    return Kept.from_parts(parts)


def connect(terms: Terms) -> Channels:
    """How the streams of a command are to be connected."""
    closed = closed_descriptors()
    try:
        return recorded_channels(terms, closed)
    except OSError as error:
        return Unrecorded(closed, error)


def recorded_channels(terms: Terms, closed: set[int]) -> Channels:
    """The same.  Raises OSError if there are no more descriptors, or no more terminals, to be had."""
    if terms.one_stream or terms.pty or (terms.pty is None and terms.take_signals and any(map(os.isatty, RECORDED))):
        from qrec.terminal import OneTerminal, Terminals

        return OneTerminal(terms.show, closed) if terms.one_stream else Terminals(terms.show, closed, bool(terms.pty))
    return Channels(terms.show, closed)


def standing(location: str) -> tuple[int, int] | None:
    """Which file or folder is there; None if there is none."""
    try:
        found = os.stat(location)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def elsewhere(folder: str) -> str | None:
    """The folder, unless we are there already (or nobody knows where we are)."""
    try:
        return folder if folder and folder != os.getcwd() else None
    except OSError:
        return folder or None


def runs(task: Task, who: str) -> bool | None:
    """Whether the `recorder` or the `command` of a running task is alive; None where this host cannot know."""
    process = task.data.get("process", {})
    if who not in process:
        return False
    pid, ticks = process[who]
    known_by = {"host": task.host, "boot": process["boot"], "namespace": process["namespace"]}
    return Identity(**known_by, pid=pid, ticks=ticks).alive()


def tmux_tells_more(task: Task, folder: str) -> bool:
    """Whether tmux may still write the last output of an adopted pane whose command has ended, or its return code."""
    if not {"adopted", "tmux"} <= task.data.keys() or task.data["process"]["boot"] != boot_id():
        return False
    from qrec.adopted import tells_more

    return tells_more(folder)


def shim_runs(folder: str) -> bool:
    """Whether there is a shim for an attempt's folder, even if it has written nothing yet."""
    words = b"\0qrec-shim\0" + os.fsencode(folder) + b"\0"
    return any(words in command_line(name) for name in listed("/proc") if name.isdecimal())


def command_line(pid: str) -> bytes:
    """The words of a process, each with a NUL behind it; nothing if it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def ended_fields(
    task: Task, ended: Ended, received: list[int] | None = None, limit: float | None = None
) -> dict[str, Any]:
    """What the end of a command changes in its record."""
    data = without_process(task)
    code, status = ended.returncode, Status.FAILED if ended.returncode else Status.COMPLETE
    died_of = next((number for number in received or [] if code == 128 + number), None)
    if limit is not None:
        code, status, data["reason"] = TIMED_OUT, Status.FAILED, f"time limit of {limit:g} s"
    elif died_of is not None:
        status, data["interrupted"] = Status.CANCELLED, died_of
    elif task.wish == "cancel":
        status = Status.CANCELLED
    usage = {"cpu": round(ended.cpu, 3)} | ({"memory": ended.memory} if ended.memory else {})
    return {
        "status": status, "returncode": code, "signal": ended.signal, "ended": timestamp(ended.at or None),
        "usage": usage, "data": data,
    }  # fmt: skip


def figures_of(folder: str) -> dict[str, Any]:
    """What is known of the usage of a command that nobody saw end, from its series."""
    from qrec.usage import figures, points

    return figures(points(Files(folder).read("series")))


def lost_fields(task: Task) -> dict[str, Any]:
    """What is known of a command whose end nobody saw."""
    status = Status.CANCELLED if task.wish == "cancel" else Status.LOST
    return {"status": status, "data": without_process(task)}


def without_process(task: Task) -> dict[str, Any]:
    """The executor's notes without the processes, which are gone."""
    return {name: value for name, value in task.data.items() if name != "process"}


def end_of(task: Task) -> dict[str, Any]:
    """The fields that tell of an attempt's end."""
    return {name: getattr(task, name) for name in ("returncode", "signal", "pid", "started", "ended", "usage", "data")}
