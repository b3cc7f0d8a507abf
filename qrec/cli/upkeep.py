"""The verbs that keep a home in order."""

from __future__ import annotations

import sys

import click

from qrec.cli import say
from qrec.cli.verbs import front_door, tell, verb
from qrec.cli.words import JSON, YES
from qrec.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from qrec.api import Qrec
    from qrec.doctor import Finding
    from qrec.gc import Limits, Step

#: What `gc` calls its steps.
DOES = {"compress": "compress", "output": "remove output", "task": "remove"}


@verb("qrec gc --dry-run --size 5G\n  qrec gc --size 5G --older 90d -y", YES, JSON)
@click.option("--size", metavar="SIZE", help="Keep all together below 500M, 20G ... (the setting keep_size).")
@click.option("--older", metavar="TIME", help="Remove what ended 90d, 1w ... ago or earlier (the setting keep_age).")
@click.option("--all", "precious", is_flag=True, help="Remove by age also what failed, is tagged or has a note.")
@click.option("--compress/--no-compress", "pack", default=True, help="Whether to compress large output first.")
@click.option("--dry-run", "dry", is_flag=True, help="Only say what would be done.")
def gc(given: dict[str, Any], size: str | None, older: str | None, precious: bool, pack: bool, dry: bool) -> None:
    """Compress large output, and keep the history to a size or an age.

    Without a limit, given here or set, nothing is removed.  First output above 64 KiB is compressed; every verb reads
    it as before, and so does zcat.  Then goes what is least missed, the oldest first, and only until the limits are
    kept:

    \b
      1  tasks that are too old
      2  the output of tasks that went well and have no tag and no note
      3  those tasks
      4  the output of tasks that failed or were lost, or have a tag or a note
      5  those tasks

    Age alone removes none of 4 and 5 without --all.  Unfinished tasks are never touched.  In a terminal it asks before
    it removes anything; elsewhere the limits are its orders.
    """
    from qrec.gc import limits_of

    door = front_door(given)
    limits = limits_of(door, size, older, precious)
    if dry:
        rehearse(given, door, limits, pack)
    else:
        collect(given, door, limits, pack)
    tell(door)


def rehearse(given: dict[str, Any], door: Qrec, limits: Limits, pack: bool) -> None:
    """Say what would be done."""
    from qrec.gc import plan, plan_compression, used

    packed = plan_compression(door) if pack else []
    removed = plan(door, limits, packed)
    report(given, door, limits, packed, removed, used(door), dry=True)


def collect(given: dict[str, Any], door: Qrec, limits: Limits, pack: bool) -> None:
    """Do it, and say what was done."""
    from qrec.gc import alone, compress_all, plan, remove, sweep, used
    from qrec.progress import track

    door.refresh()
    with alone(door.home):
        before = used(door)
        sweep(door)
        packed = compress_all(door, lambda steps: track(steps, "compressing")) if pack else []
        planned = plan(door, limits)
        if planned:
            ask(given, planned)
        removed = remove(door, limits, planned, lambda steps: track(steps, "removing", len(steps)))
    report(given, door, limits, packed, removed, before)


def ask(given: dict[str, Any], steps: Sequence[Step]) -> None:
    """Let a person confirm, or refuse."""
    if given["yes"]:
        return
    from qrec.units import size

    freed = size(sum(step.freed for step in steps))
    what = " and ".join(sentence for name in ("output", "task") if (sentence := what_goes(steps, name)))
    if not sys.stdin.isatty():
        raise Refused(f"this would remove {what} (about {freed}); say -y where nobody can be asked")
    click.confirm(f"Remove {what} (about {freed})?", abort=True, err=True)


def what_goes(steps: Iterable[Step], name: str) -> str:
    """How many tasks, or outputs of tasks, are among the steps."""
    number = sum(step.what == name for step in steps)
    tasks = f"{number:,} task{'s' * (number != 1)}"
    return "" if not number else tasks if name == "task" else f"the output of {tasks}"


def report(
    given: dict[str, Any], door: Qrec, limits: Limits, packed: Sequence[Step], removed: Sequence[Step], before: int,
    dry: bool = False,
) -> None:  # fmt: skip
    """What was done, or would be."""
    from qrec.cli.show import put, put_json
    from qrec.gc import spared, used

    steps = [*packed, *removed]
    after = before - sum(step.freed for step in steps) if dry else used(door)
    old = spared(door, limits)
    if given["json"]:
        rows = [{"what": s.what, "number": s.task.number, "uid": s.task.uid, "bytes": s.freed} for s in steps]
        put_json({
            "dry_run": dry, "steps": rows, "bytes_before": before, "bytes_after": max(0, after),
            "size_limit": limits.size, "age_limit": limits.age, "old_but_kept": old,
        })  # fmt: skip
    else:
        for line in step_lines(steps) if dry else ():
            put(line)
        put(summary(packed, removed, before, max(0, after), dry))
    if old:
        say(f"{old:,} older task{'s' * (old != 1)} failed, or {'have' if old != 1 else 'has'} a tag or a note, "
            f"and {'were' if old != 1 else 'was'} kept; --all removes them too")  # fmt: skip
    if limits.size is not None and after > limits.size:
        from qrec.units import size

        say(f"{size(after)} are left, more than {size(limits.size)}: what is left is unfinished, needed or not qrec's")


def step_lines(steps: Iterable[Step]) -> Iterable[str]:
    """What would be done, a line a task."""
    from qrec.cli.grid import grid
    from qrec.cli.show import when
    from qrec.units import size

    rows = [
        (DOES[step.what], str(step.task.number), step.task.uid, when(step.task.created), size(step.freed),
         step.task.command)
        for step in steps
    ]  # fmt: skip
    return grid(("", "", "uid", "when", "frees", "command"), rows, {1, 4}) if rows else ()


def summary(packed: Sequence[Step], removed: Sequence[Step], before: int, after: int, dry: bool) -> str:
    """All of it in a sentence."""
    from qrec.units import size

    would = "would be " * dry
    parts = [f"the output of {len(packed):,} task{'s' * (len(packed) != 1)} {would}compressed"] if packed else []
    parts += [f"{sentence} {would}removed" for name in ("output", "task") if (sentence := what_goes(removed, name))]
    told = "; ".join(parts) or "nothing to do"
    return f"{told}: {size(before)} {'would become about' if dry else 'before,'} {size(after)}{' now' * (not dry)}"


@verb("qrec doctor\n  qrec doctor --dry-run --json", JSON)
@click.option("--dry-run", "dry", is_flag=True, help="Only look; mend nothing.")
@click.option("--remove-orphans", is_flag=True, help="Remove output that belongs to no task.")
def doctor(given: dict[str, Any], dry: bool, remove_orphans: bool) -> None:
    """Check the home and the store, and mend what can safely be mended.

    A line for each check: ok, mended, problem or note.  Ends with 1 if a problem stays.
    """
    from qrec.cli.show import put_json
    from qrec.config import find_home
    from qrec.doctor import PROBLEM, Doctor

    found = []
    for finding in Doctor(find_home(given["home"]), given["store"], dry, remove_orphans).examine():
        found.append(finding)
        if not given["json"]:
            put_finding(finding)
    well = all(finding.state != PROBLEM for finding in found)
    if given["json"]:
        put_json({"ok": well, "findings": [finding.asdict() for finding in found]})
    if not well:
        click.get_current_context().exit(1)


def put_finding(finding: Finding) -> None:
    """A finding for people."""
    from qrec.cli.show import paint, printable, put
    from qrec.doctor import MENDED, OK, PROBLEM

    colours = {OK: "32", MENDED: "36", PROBLEM: "31"}
    hint = f" ({finding.hint})" if finding.hint else ""
    state = paint(f"{finding.state:<7}", colours.get(finding.state, "33"))
    put(f"{state}  {finding.check:<11}  {printable(finding.text)}{printable(hint)}")
