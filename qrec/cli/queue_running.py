"""The verbs that have a queue run, and that watch it."""

from __future__ import annotations

import os
import sys
import time

import click

from qrec.cli import say
from qrec.cli.groups import OneOf
from qrec.cli.queueing import QUEUE, queue_of
from qrec.cli.verbs import front_door, looking, tell, verb
from qrec.cli.words import JSON, PATIENCE, QUIET, Flag
from qrec.executors.queue import queue_line
from qrec.task import UNFINISHED, Status
from qrec.units import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qrec.backends import Outcome
    from qrec.jobs import Jobs
    from qrec.task import Task

DETACH = Flag(names=("-d", "--detach"), help="In the background: it outlives the terminal.")
TOLD = 10  #: jobs that can never run of which a line each tells
LOOK = 0.05  #: seconds between two looks at a queue that is waited for
OUTSIDE = 1.0  #: seconds between two looks at jobs whose worker may have gone
INTERRUPTED, TERMINATED = 130, 143


@verb(
    "qrec queue run\n  qrec queue run train --workers 4 --gpus 0,1 --fail-fast\n  qrec queue run --keep --detach",
    QUIET,
    DETACH,
    JSON,
    name="run",
)
@QUEUE
@click.option("--backend", metavar="NAME", help="local (as a rule), serial (one at a time), tmux, or slurm.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="So many jobs at a time; else as the queue says.")
@click.option("--gpus", metavar="0,1,...", help="The GPUs that jobs may have; one named twice may be shared.")
@click.option("--mem", metavar="SIZE", help="How much memory jobs may ask for together: 16G ...")
@click.option("--cpus", type=click.IntRange(1), metavar="N", help="How many CPUs they may ask for together.")
@click.option("--fail-fast", is_flag=True, help="Begin nothing more once a job did not complete.")
@click.option("--on-fail", type=OneOf(["end", "keep"]), help="keep: sessions of tmux in which a job failed stay.")
@click.option("--keep", is_flag=True, help="Stay when all have ended, and take what arrives.")
def queue_run(
    given: dict[str, Any], queue: str | None, backend: str | None, gpus: str | None, mem: str | None, **options: Any
) -> int:
    """Run the jobs of a queue until all have ended.

    What has completed is not repeated; what failed waits for `retry`.  Ctrl-C lets nothing more begin, a second one
    cancels what runs.  The exit code is 0 only if every job of the queue completed.
    """
    from qrec.cli.queue_making import devices
    from qrec.sweep import bytes_of

    door = front_door(given)
    found = queue_of(door, queue)
    options["gpus"] = None if gpus is None else devices(gpus) or []
    options["mem"] = None if mem is None else bytes_of(mem)
    options["on_fail"] = "keep" if options["on_fail"] == "keep" else ""
    if given["detach"]:
        return run_detached(given, found, backend, options)
    from qrec.backends import run

    teller = Teller(found.name, given["quiet"])
    if found.policy.get("paused") and not given["quiet"]:
        say(f"queue {found.name!r} is paused; {queue_line('resume', found.name)} lets jobs begin")
    outcome = run(found, backend, told=teller, on_interrupt=teller.interrupted, on_wait=teller.waits, **options)
    code = conclude(given, found, outcome, teller)
    tell(door)
    return code


def run_detached(given: dict[str, Any], queue: Jobs, backend: str | None, options: dict[str, Any]) -> int:
    """Start a worker that outlives us."""
    from qrec.backends import log_of, start_detached
    from qrec.cli.show import put, put_json

    pid = start_detached(queue, backend, **options)
    if given["json"]:
        put_json({"queue": queue.name, "pid": pid, "log": log_of(queue)})
    elif not given["quiet"]:
        waits = queue_line("wait", queue.name)
        put(f"worker {pid} runs queue {queue.name}; {waits} waits for it, its log is {log_of(queue)}")
    tell(queue.door)
    return 0


def conclude(given: dict[str, Any], queue: Jobs, outcome: Outcome, teller: Teller) -> int:
    """Say how it went; the exit code."""
    from qrec.cli.show import put_json

    counts = queue.counts() if queue.exists else {}
    if not given["quiet"]:
        teller.conclude(counts)
        tell_never(queue, outcome)
        waits = queue_line("wait", queue.name)
        if outcome.interrupted and outcome.sessions:
            say(f"the jobs go on; `tmux attach -t {outcome.sessions[0]}` shows them, {waits} waits for them")
        elif outcome.interrupted and counts.get(Status.SUBMITTED.value):
            say(f"what Slurm has goes on; {waits} waits for it, {queue_line('cancel', queue.name)} ends it")
        elif outcome.sessions and counts.get(Status.RUNNING.value):
            say(f"its sessions are gone, and what ran in them goes on; {queue_line('run', queue.name)} takes it over")
    if given["json"]:
        put_json({"queue": queue.name, "counts": counts, "jobs": sum(counts.values())})
    if outcome.interrupted or outcome.left:
        return INTERRUPTED if outcome.interrupted else TERMINATED
    return int(not set(counts) <= {Status.COMPLETE.value})


def tell_never(queue: Jobs, outcome: Outcome) -> None:
    """Name the jobs that can never run here."""
    from qrec.executors.queue import label

    left = [job for uid in outcome.never if (job := queue.door.known(uid)) and job.status is Status.QUEUED]
    for job in left[:TOLD]:
        say(f"{label(job)} can never run: {outcome.never[job.uid]}")
    if len(left) > TOLD:
        say(f"{len(left) - TOLD} more can never run; {queue_line('show', queue.name)} tells why")


class Teller:
    """Tells on stderr how a run goes: every job in a terminal, else the failures; then all in one line."""

    def __init__(self, name: str, quiet: bool) -> None:
        self.name = name
        self.quiet = quiet
        self.is_terminal = os.isatty(2)
        self.began = time.monotonic()

    def __call__(self, job: Task) -> None:
        """A job that has begun, has ended, or was skipped."""
        if not self.quiet and (self.is_terminal or job.status not in (Status.RUNNING, Status.COMPLETE)):
            self.write(self.line(job))

    def line(self, job: Task) -> str:
        """A job as one line."""
        from qrec.cli.show import cut, printable
        from qrec.executors.queue import Job
        from qrec.reason import beside_status

        details = [said] if (said := beside_status(job)) else []
        if job.status is Status.FAILED and (retries := Job.of(job).retries):
            details.append(f"try {job.data.get('retried', 0) + 1} of {retries + 1}")
        if job.status is Status.RUNNING:
            details = [job.command] if job.name else []
        elif job.seconds is not None:
            from qrec.units import duration

            details.append(duration(job.seconds))
        name = printable(job.name or job.command)
        text = f"{job.number:>4}  {name}" + (f"  {printable(', '.join(details))}" if any(details) else "")
        word = "retried" if job.status is Status.QUEUED else job.status.value
        return f"{self.paint(f'{word:<9}', job.status)} {cut(text, self.room())}"

    def room(self) -> int | None:
        """How many columns there are behind the status."""
        return os.get_terminal_size(2).columns - 10 if self.is_terminal else None

    def paint(self, word: str, status: Status) -> str:
        """A status in its colour, where there are colours."""
        from qrec.cli.show import COLOURS

        dull = not self.is_terminal or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return word if dull else f"\x1b[{COLOURS[status]}m{word}\x1b[0m"

    def conclude(self, counts: dict[str, int]) -> None:
        """All in one line."""
        from qrec.cli.show import printable
        from qrec.units import duration

        total = sum(counts.values())
        each = ", ".join(f"{count:,} {status}" for status, count in counts.items())
        took = duration(time.monotonic() - self.began)
        self.write(f"[{printable(self.name)}] {total:,} job{'s' * (total != 1)}{': ' * bool(each)}{each}; {took}")

    def interrupted(self) -> None:
        """Say what the first Ctrl-C did."""
        if not self.quiet:
            say("no more jobs begin; Ctrl-C again ends those that run")

    def waits(self, sentence: str) -> None:
        """Say what all that is left waits for."""
        if not self.quiet:
            say(f"queue {self.name!r} {sentence}")

    def write(self, line: str) -> None:
        """A line on stderr; nobody there to read it is no error."""
        try:
            os.write(2, (line + "\n").encode("utf-8", "replace"))
        except OSError:
            pass


@verb("qrec queue monitor\n  qrec queue monitor train", name="monitor")
@QUEUE
def queue_monitor(given: dict[str, Any], queue: str | None) -> int:
    """Watch a queue, live, from any terminal.

    Leaving it, with q or Ctrl-C, never touches the jobs.  Piped, it prints a line for each that begins or ends.
    """
    from qrec.monitor import monitor

    door = front_door(given)
    found = queue_of(door, queue)
    code = monitor(door, found.name)
    tell(door)
    return code


@verb("qrec queue wait\n  qrec queue wait train --timeout 8h", PATIENCE, QUIET, JSON, name="wait")
@QUEUE
def queue_wait(given: dict[str, Any], queue: str | None) -> int:
    """Wait until all jobs have ended.

    Whoever runs them.  The exit code is 0 if every job completed, 1 if not, and 124 after --timeout.
    """
    from qrec.cli.run import time_limit
    from qrec.cli.show import put, put_json
    from qrec.presence import workers
    from qrec.recorder import TIMED_OUT

    timeout = time_limit(given["timeout"])
    door = looking(given)
    found = queue_of(door, queue)
    found.refresh()
    if not given["quiet"] and found.store.count(found.query({Status.QUEUED})) and not workers(door.home, found.name):
        say(f"no worker runs queue {found.name!r} yet; {queue_line('run', found.name)} starts one")
    over = wait_for_end(found, timeout)
    counts = found.counts()
    if given["json"]:
        put_json({"queue": found.name, "counts": counts, "jobs": sum(counts.values())})
    elif not given["quiet"]:
        put(counted(counts))
    tell(door)
    sys.stdout.flush()
    return (0 if set(counts) <= {Status.COMPLETE.value} else 1) if over else TIMED_OUT


def wait_for_end(queue: Jobs, timeout: float | None) -> bool:
    """Wait until all jobs have ended; False if so many seconds have passed before."""
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    pulse: Any = None
    next_look = 0.0
    while True:
        if time.monotonic() >= next_look:
            queue.refresh()
            next_look = time.monotonic() + OUTSIDE
        now = queue.store.pulse()
        if now != pulse:
            pulse = now
            if not queue.store.count(queue.query(UNFINISHED)):
                return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK)
