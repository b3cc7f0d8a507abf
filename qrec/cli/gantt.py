"""When jobs ran, drawn with characters: a line a slot."""

from __future__ import annotations

import time

from qrec.task import Record, Status, moment
from qrec.units import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qrec.task import Task

NARROWEST = 20  #: columns of the part that is drawn
FILLINGS = {Status.COMPLETE: "=", Status.RUNNING: "~"}  #: what a bar is made of; of what did not complete: OTHER
OTHER = "x"


class Bar(Record):
    """When a job ran."""

    slot: str  #: where
    name: str | None
    number: int
    uid: str
    status: Status
    start: float  #: seconds since the epoch
    end: float  #: the same; now while it runs

    @property
    def label(self) -> str:
        """What is written into it."""
        return self.name or str(self.number)


def bars(jobs: Iterable[Task], now: float | None = None) -> list[Bar]:
    """The bars of the jobs that have begun, by slot and start."""
    now = time.time() if now is None else now
    found = [
        Bar(
            slot=slot_of(job), name=job.name, number=job.number, uid=job.uid, status=job.status,
            start=moment(job.started).timestamp(), end=moment(job.ended).timestamp() if job.ended else now,
        )
        for job in jobs
        if job.started is not None and (job.ended is not None or not job.status.is_final)
    ]  # fmt: skip
    return sorted(found, key=lambda bar: (len(bar.slot), bar.slot, bar.start, bar.number))


def slot_of(job: Task) -> str:
    """Where a job ran."""
    slurm = job.data.get("slurm", {})
    if slurm.get("nodes"):
        return str(slurm["nodes"])
    return f"slot {job.data.get('slot', 0)}"


def gantt(jobs: Sequence[Task], width: int, now: float | None = None) -> list[str]:
    """The lines of a drawing that is so wide: a bar a job, its name in it where that fits."""
    every = bars(jobs, now)
    if not every:
        return ["no job has begun"]
    begin, end = min(bar.start for bar in every), max(bar.end for bar in every)
    lanes = [(slot, lane) for slot in dict.fromkeys(bar.slot for bar in every) for lane in side_by_side(every, slot)]
    margin = max(len(slot) for slot, _ in lanes) + 1
    room = max(NARROWEST, width - margin)
    scale = room / max(end - begin, 1e-6)
    lines = []
    last = ""
    for slot, lane in lanes:
        lines.append(f"{'' if slot == last else slot:<{margin}}{drawn(lane, begin, scale, room)}".rstrip())
        last = slot
    told = duration(end - begin)
    return [*lines, f"{'':<{margin}}0{told:>{room - 1}}", f"{'':<{margin}}= complete, x not, ~ running"[:width]]


def side_by_side(every: Iterable[Bar], slot: str) -> list[list[Bar]]:
    """The bars of a slot, in as many lines as it takes that none lies on another."""
    lanes: list[list[Bar]] = []
    for bar in every:
        if bar.slot != slot:
            continue
        lane = next((lane for lane in lanes if lane[-1].end <= bar.start), None)
        if lane is None:
            lanes.append([bar])
        else:
            lane.append(bar)
    return lanes


def drawn(lane: Iterable[Bar], begin: float, scale: float, room: int) -> str:
    """Bars in a line; one that is too short for a column has one all the same."""
    cells = [" "] * room
    for bar in lane:
        first = min(room - 1, int((bar.start - begin) * scale))
        last = max(first + 1, min(room, round((bar.end - begin) * scale)))
        cells[first:last] = bar_of(bar, last - first)
    return "".join(cells)


def bar_of(bar: Bar, length: int) -> str:
    """A bar so long."""
    from qrec.cli.show import printable

    filling = FILLINGS.get(bar.status, OTHER)
    if length == 1:
        return "|" if filling == "=" else filling
    name = printable(bar.label)
    name = name if name.isascii() and len(name) <= length - 2 else ""
    return f"[{name}{filling * (length - 2 - len(name))}]" if bar.status is not Status.RUNNING else (
        f"[{name}{filling * (length - 1 - len(name))}"
    )  # fmt: skip
