"""What comes in through a door goes into the store in batches; what cannot is told of, and does not stop the rest."""

from __future__ import annotations

import os

from qrec.doors.records import NotATask
from qrec.errors import NoSuchTask, StoreBroken, StoreBusy, StoreTooNew, StoreUnwritable
from qrec.output import FOLD_LIMIT, attempt_folder, file_size, make_private, read_part
from qrec.task import FINAL, Kept, Record, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from qrec.doors.noted import Noted
    from qrec.stores.base import Bundle, Store

BATCH = 2_000  #: tasks given to the store at once; a running command waits for no more than these
KNOWN_ENDS = FINAL - {Status.LOST}
BATCH_BYTES = 16 << 20  #: of output, or about that


class Arrival(Record):
    """Something that came in: a task, or why it is none."""

    place: str  #: `line 12`, or a file
    bundle: Bundle | None = None
    trouble: str = ""
    queues: Mapping[str, Any] = {}  #: what holds for queues of which some of these tasks are jobs
    #: Makes a new task whole: reads what it has printed, into the home that is given where that is much.
    fill: Callable[[Bundle, str], Bundle] | None = None


def read(place: str, make: Callable[..., Bundle], *values: Any) -> Arrival:
    """What a door makes of something: `make` is called with the values."""
    try:
        return Arrival(place=place, bundle=make(*values))
    except NotATask as error:
        return Arrival(place=place, trouble=str(error))


class Intake:
    """Takes arrivals into a store and counts them: `new`, `present` before, and `bad`.

    What is bad is told to `complain`, a sentence each.  `noted`, if it is given, tells what is here by another name.
    """

    def __init__(self, store: Store, complain: Callable[[str], None], noted: Noted | None = None) -> None:
        self.noted = noted
        self.store = store
        self.complain = complain
        self.new = self.present = self.bad = 0
        self.outgrown: list[str] = []  #: tasks that are here as they stood before they ended
        self.queues: dict[str, Any] = {}  #: what was told of them
        self.batch: list[Arrival] = []
        self.bytes = 0

    def take(self, arrivals: Iterable[Arrival]) -> None:
        """Take in all of them."""
        for arrival in arrivals:
            self.queues.update(arrival.queues)
            if arrival.bundle is None:
                self.refuse(arrival, arrival.trouble)
            elif self.noted is not None and self.noted.has(arrival.bundle.task):
                self.present += 1
            elif arrival.fill is not None:
                self.take_new(arrival, arrival.bundle, arrival.fill)
            elif not self.has_large(arrival.bundle):
                self.batch.append(arrival)
            elif self.is_present(arrival.bundle.task.uid):
                self.pass_over([arrival])
            else:
                self.batch.append(arrival.copy(bundle=to_files(self.store.home, arrival.bundle)))
            if len(self.batch) >= BATCH or self.bytes > BATCH_BYTES:
                self.flush()
        self.flush()

    def take_new(self, arrival: Arrival, bundle: Bundle, fill: Callable[[Bundle, str], Bundle]) -> None:
        """Take in a task with what belongs to it, unless it is here."""
        if self.is_present(bundle.task.uid):
            self.pass_over([arrival])
            return
        try:
            whole = fill(bundle, self.store.home)
        except NotATask as error:
            self.refuse(arrival, str(error))
            return
        self.has_large(whole)
        self.batch.append(arrival.copy(bundle=whole))

    def has_large(self, bundle: Bundle) -> bool:
        """Whether some output is too large for the store; counts bytes on the way."""
        sizes = [len(kept.stdout) + len(kept.stderr) for kept in bundle.kept.values()]
        self.bytes += sum(sizes)
        return any(size > FOLD_LIMIT for size in sizes)

    def is_present(self, uid: str) -> bool:
        """Whether the task is in the store or about to be: then its files are not ours to write."""
        if any(arrival.bundle is not None and arrival.bundle.task.uid == uid for arrival in self.batch):
            return True
        try:
            self.store.get(uid)
        except NoSuchTask:
            return False
        return True

    def flush(self) -> None:
        """Give the store what has gathered."""
        batch, self.batch, self.bytes = self.batch, [], 0
        self.add(batch)

    def add(self, batch: list[Arrival]) -> None:
        """Give the store a batch; if it will not have it, look for the ones to blame by halves."""
        if not batch:
            return
        try:
            new = self.store.add_all([arrival.bundle for arrival in batch if arrival.bundle is not None])
        except (StoreBusy, StoreBroken, StoreTooNew, StoreUnwritable):
            raise
        except Exception as error:  # a value that this kind of store cannot hold; there are too many ways to ask before
            if len(batch) == 1:
                self.refuse(batch[0], f"the store cannot hold it ({error})")
                return
            middle = len(batch) // 2
            self.add(batch[:middle])
            self.add(batch[middle:])
            return
        self.new += new
        if new < len(batch):
            self.pass_over(batch, new)

    def pass_over(self, batch: Sequence[Arrival], new: int = 0) -> None:
        """Count those that are here already, and note which of them have ended since."""
        self.present += len(batch) - new
        tasks = {arrival.bundle.task.uid: arrival.bundle.task for arrival in batch if arrival.bundle is not None}
        for uid, here in self.store.statuses(tasks).items():
            there = tasks[uid]
            knows_more = there.status in KNOWN_ENDS and here not in KNOWN_ENDS
            if knows_more and there.attempt >= self.store.get(uid).attempt:
                self.outgrown.append(uid)

    def refuse(self, arrival: Arrival, why: str) -> None:
        """Tell of something that does not come in."""
        self.bad += 1
        self.complain(f"{arrival.place}: {why}")

    def counts(self) -> dict[str, int]:
        """How it went."""
        return {"new": self.new, "present": self.present, "bad": self.bad}


def to_files(home: str, bundle: Bundle) -> Bundle:
    """Put the large outputs of a new task into files, where they belong; what is left is for the store."""
    kept = dict(bundle.kept)
    for attempt, output in bundle.kept.items():
        if len(output.stdout) + len(output.stderr) > FOLD_LIMIT:
            write_output(attempt_folder(home, bundle.task.uid, attempt), kept.pop(attempt))
    return bundle.copy(kept=kept)


def with_files(bundle: Bundle, home: str, paths: Mapping[str, str]) -> Bundle:
    """The task with what is in these files, by the stream: for the store if it is little, else copied into the home."""
    sizes = {stream: file_size(path) for stream, path in paths.items()}
    try:
        if sum(sizes.values()) <= FOLD_LIMIT:
            kept = Kept.from_parts(
                {stream: read_part(paths[stream], 0, size) for stream, size in sizes.items() if size}
            )
            return bundle if kept == Kept() else bundle.copy(kept={bundle.task.attempt: kept})
        copy_files(attempt_folder(home, bundle.task.uid, bundle.task.attempt), paths)
    except OSError as error:
        raise NotATask(f"its output cannot be taken in: {error.filename}: {error.strerror or error}") from error
    return bundle


def copy_files(folder: str, paths: Mapping[str, str]) -> None:
    """Copy files into the folder of an attempt.  Raises OSError."""
    import shutil

    make_private(folder)
    for stream, path in paths.items():
        if file_size(path):
            target = os.path.join(folder, stream)
            shutil.copyfile(path, target)
            os.chmod(target, 0o600)


def write_output(folder: str, kept: Kept) -> None:
    """The files of an attempt, as its recorder would have left them."""
    try:
        make_private(folder)
        for name, data in kept.parts().items():
            if data:
                write_private(os.path.join(folder, name), data)
    except OSError as error:
        raise StoreUnwritable(f"{folder}: {error.strerror or error}") from error


def write_private(path: str, data: bytes) -> None:
    """A file for its owner's eyes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
