"""`qrec run` and `qrec rerun`: the path that stands in front of everything."""

from __future__ import annotations

from qrec.api import Qrec
from qrec.cli import say
from qrec.errors import Refused, WrongUsage
from qrec.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

TYPED_AT_ONCE = 16 << 10  #: bytes of what was typed that are taken in after a command; who looks takes in the rest


def run(options: Mapping[str, Any], command: Sequence[str]) -> int:
    """Run and record a command; return the code to exit with."""
    if options["socket"] and options["executor"] != "tmux":
        raise WrongUsage("--socket is for `-e tmux`")
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
    if options["socket"] and qrec.get(reference).executor != "tmux":
        raise WrongUsage("--socket is for tasks that run in tmux")
    task = qrec.rerun(
        reference,
        message=options["message"],
        cwd=options["cwd"],
        secrets=ask_for_secrets,
        **terms(options),
    )
    return conclude(qrec, task, options)


def ask_for_secrets(count: int) -> list[str]:
    """The secrets that a record lacks, from whoever sits at the terminal."""
    import os

    if not os.isatty(0):
        raise Refused("secrets were left out of this record; run it again from a terminal, which asks for them")
    import click

    which = [f" {number} of {count}" if count > 1 else "" for number in range(1, count + 1)]
    return [click.prompt(f"the secret that stood for [redacted]{one}", hide_input=True, err=True) for one in which]


def terms(options: Mapping[str, Any]) -> dict[str, Any]:
    """How the command is to be run."""
    if options["one_stream"] + options["pty"] + options["no_pty"] + options["detach"] > 1:
        raise WrongUsage("--pty, --no-pty, --one-stream and --detach exclude each other")
    if options["detach"] and options["redact_output"]:
        raise WrongUsage("with --detach the command writes its output itself: --redact-output cannot change it")
    return {
        "timeout": time_limit(options["timeout"]),
        "take_signals": True,
        "pty": True if options["pty"] else False if options["no_pty"] else None,
        "one_stream": options["one_stream"],
        "detach": options["detach"],
        "notify": options["notify"],
        "redact_output": options["redact_output"],
        "socket": options["socket"] or "",
    }


def time_limit(words: str | None) -> float | None:
    """The time limit in seconds."""
    if words is None:
        return None
    from qrec.units import seconds

    return seconds(words)


def conclude(qrec: Qrec, task: Task, options: Mapping[str, Any]) -> int:
    """Say how it went and what could not be recorded, and end as the command did."""
    if not task.status.is_final and options["detach"]:
        return tell_begun(qrec, task, options)
    take_in_others(qrec, task)
    quiet = options["quiet"] or qrec.setting("quiet")
    complain(qrec)
    if options["json"]:
        import json

        write(json.dumps(task.summary(), ensure_ascii=False))
    elif not quiet:
        write(closing_line(task))
    if "refused" in task.data and (quiet or options["json"]):
        say(str(task.data["reason"]))  # as it says of any command that could not be started
    if "interrupted" in task.data:
        from qrec.signals import die_of

        die_of(task.data["interrupted"])
    return task.returncode or task.data.get("submission", {}).get("returncode", 0)


def complain(qrec: Qrec) -> None:
    """Tell of plug-ins that are left out, and of the first trouble, which explains the ones that follow."""
    for complaint in (*qrec.registry.complaints, *qrec.complaints[:1]):
        say(complaint)
    qrec.registry.told()


def tell_begun(qrec: Qrec, task: Task, options: Mapping[str, Any]) -> int:
    """Say by which name a command that goes on without us can be asked for."""
    complain(qrec)
    if options["json"]:
        import json

        print(json.dumps(task.summary(), ensure_ascii=False))
    else:
        print(task.uid)
    return 0


def take_in_others(qrec: Qrec, task: Task) -> None:
    """Take in what others had to leave, if the store has just shown that it can be written."""
    if not task.number:
        return
    try:
        qrec.recorder.take_in()
        qrec.take_in_typed(TYPED_AT_ONCE)
    except Exception:  # they are told of it who look; this command has ended, and its code is to be passed on
        pass


def closing_line(task: Task) -> str:
    """`[shell-97b1...][returncode: 0] 12.4 s, 310 MB`."""
    facts = [task.data["reason"]] if "reason" in task.data and tells_more(task) else []
    if task.seconds is not None:
        from qrec.units import duration

        facts.append(duration(task.seconds))
    if task.usage.get("memory"):
        from qrec.units import size

        facts.append(size(task.usage["memory"]))
    if not task.status.is_final and "tmux" in task.data:
        return f"[{task.uid}][running in tmux session {task.data['tmux'].get('session', 'unknown')}]"
    if not task.status.is_final:
        return f"[{task.uid}][{task.status}: job {task.data.get('slurm', {}).get('jobid', 'unknown')}]"
    return f"[{task.uid}][returncode: {task.returncode}] {', '.join(facts)}"


def tells_more(task: Task) -> bool:
    """Whether the reason says more than the code beside it."""
    return str(task.data["reason"]) != f"exit code {task.returncode}"


def write(line: str) -> None:
    """A line of qrec's own on stderr."""
    import os

    try:
        os.write(2, (line + "\n").encode("utf-8", "replace"))
    except OSError:
        pass
