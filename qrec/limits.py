"""What the jobs of a worker may use together, and what is left of it while jobs are chosen."""

from __future__ import annotations

import os

from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from qrec.executors.queue import Job


class Limits(Record):
    """What the jobs of a worker may use together."""

    slots: int = 1
    cpus: int = 0
    mem: int = 0  #: bytes
    gpus: tuple[str, ...] = ()  #: names of devices; one that is there twice may be shared by two jobs

    def lack(self, job: Job) -> str:
        """Why a job can never run within these limits; nothing if it can."""
        from qrec.units import size

        if (job.cpus or 0) > self.cpus:
            return f"it asks for {job.cpus} CPUs, and there are {self.cpus}"
        if (job.mem or 0) > self.mem:
            return f"it asks for {size(job.mem or 0)} of memory, and there are {size(self.mem)}"
        if job.gpus > len(set(self.gpus)):
            return f"{asks_for(job.gpus)}, and this worker has {len(set(self.gpus))}"
        return ""


def limits_of(policy: Mapping[str, Any], **chosen: Any) -> Limits:
    """The limits that a queue's policy and a call's own choices make; what nobody said is this machine's."""
    from qrec.facts import usable_cpus

    said = {**policy, **{name: value for name, value in chosen.items() if value is not None}}
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Limits(
        slots=int(said.get("workers") or 1), cpus=said.get("cpus") or usable_cpus(), mem=said.get("mem") or memory,
        gpus=tuple(map(str, said.get("gpus") or ())),
    )  # fmt: skip


def asks_for(gpus: int) -> str:
    """How it is told that a job wants so many GPUs."""
    return f"it asks for {gpus} GPU{'s' * (gpus != 1)}"


def needs(job: Job) -> tuple[bool, bool, int] | None:
    """What a job needs, as far as it matters to a `Room`: behind one that does not fit, none fits that needs the same.

    CPUs and memory are short for all behind it, however little they ask for.  None if it needs a slot only.
    """
    return (bool(job.cpus), bool(job.mem), job.gpus) if job.cpus or job.mem or job.gpus else None


class Room:
    """What is left of the limits while jobs are chosen.  What one does not find is kept for it from those behind."""

    def __init__(self, limits: Limits) -> None:
        self.slots, self.cpus, self.mem = limits.slots, limits.cpus, limits.mem
        self.devices = list(limits.gpus)
        self.looked = False  #: whether it is known which devices are busy

    def occupy(self, job: Job, slot: bool = True) -> None:
        """Count a job that runs."""
        self.slots -= slot
        self.cpus -= job.cpus or 0
        self.mem -= job.mem or 0

    def hold(self, devices: Iterable[str]) -> None:
        """Devices that are busy."""
        self.looked = True
        for device in devices:
            if device in self.devices:
                self.devices.remove(device)

    def take(self, job: Job) -> tuple[str, ...] | None:
        """The devices for a job that fits; None if it does not."""
        self.cpus -= job.cpus or 0
        self.mem -= job.mem or 0
        chosen = tuple(dict.fromkeys(self.devices))[: job.gpus]
        if chosen:  # only then it was looked which devices are busy
            self.hold(chosen)
        if (job.cpus and self.cpus < 0) or (job.mem and self.mem < 0) or len(chosen) < job.gpus:
            return None
        self.slots -= 1
        return chosen
