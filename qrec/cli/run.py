"""`qrec run` and `qrec rerun`: the path that stands in front of everything."""

from __future__ import annotations

from qrec.api import Qrec
from qrec.cli import say
from qrec.errors import WrongUsage
from qrec.task import Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def run(options: Mapping[str, Any], command: Sequence[str]) -> int:
    """Run and record a command; return the code to exit with."""
    qrec = Qrec(options["home"], options["store"])
    task = qrec.run(
        command,
        message=options["message"] or "",
        tags=options["tag"],
        cwd=options["cwd"],
        executor=options["executor"],
        **terms(options),
    )
    return conclude(qrec, task, options)


def rerun(options: Mapping[str, Any], reference: str | None) -> int:
    """Run a recorded command again; return the code to exit with."""
    qrec = Qrec(options["home"], options["store"])
    task = qrec.rerun(
        reference,
        message=options["message"],
        cwd=options["cwd"],
        **terms(options),
    )
    return conclude(qrec, task, options)


def terms(options: Mapping[str, Any]) -> dict[str, Any]:
    """How the command is to be run."""
    if options["one_stream"] + options["pty"] + options["no_pty"] > 1:
        raise WrongUsage("--pty, --no-pty and --one-stream exclude each other")
    return {
        "timeout": time_limit(options["timeout"]),
        "take_signals": True,
        "pty": True if options["pty"] else False if options["no_pty"] else None,
        "one_stream": options["one_stream"],
    }


def time_limit(words: str | None) -> float | None:
    """The time limit in seconds."""
    if words is None:
        return None
    from qrec.units import seconds

    return seconds(words)


def conclude(qrec: Qrec, task: Task, options: Mapping[str, Any]) -> int:
    """Say how it went and what could not be recorded, and end as the command did."""
    take_in_others(qrec, task)
    quiet = options["quiet"] or qrec.setting("quiet")
    for complaint in qrec.complaints[:1]:
        say(complaint)
    if options["json"]:
        import json

        write(json.dumps(task.summary(), ensure_ascii=False))
    elif not quiet:
        write(closing_line(task))
    if "interrupted" in task.data:
        from qrec.process import die_of

        die_of(task.data["interrupted"])
    return task.returncode or 0


def take_in_others(qrec: Qrec, task: Task) -> None:
    """Take in what others had to leave, if the store has just shown that it can be written."""
    if not task.number:
        return
    try:
        qrec.recorder.take_in()
    except Exception:  # they are told of it who look; this command has ended, and its code is to be passed on
        pass


def closing_line(task: Task) -> str:
    """`[shell-97b1...][returncode: 0] 12.4 s, 310 MB`."""
    facts = []
    if task.seconds is not None:
        from qrec.units import duration

        facts.append(duration(task.seconds))
    if task.usage.get("memory"):
        from qrec.units import size

        facts.append(size(task.usage["memory"]))
    if task.status is not Status.COMPLETE and task.status is not Status.FAILED:
        facts.insert(0, task.status.value)
    return f"[{task.uid}][returncode: {task.returncode}] {', '.join(facts)}"


def write(line: str) -> None:
    """A line of qrec's own on stderr."""
    import os

    try:
        os.write(2, (line + "\n").encode("utf-8", "replace"))
    except OSError:
        pass
