"""Why a task did not complete, in a few words: kept with the task, told in the closing line and by `qrec why`."""

from __future__ import annotations

import signal

from qrec.task import Status, Task

NOT_EXECUTABLE, NOT_FOUND = 126, 127
COULD_NOT_START = 125
SSH_FAILED = 255
SHELL_TELLS = {NOT_EXECUTABLE: "a program that cannot be executed", NOT_FOUND: "a command that was not found"}
NEVER_BEGAN = {
    COULD_NOT_START: "could not be started", NOT_EXECUTABLE: "not executable", NOT_FOUND: "command not found",
}  # fmt: skip
NO_MEMORY = "out of memory"
NAMES = {int(one): one.name for one in signal.Signals}
#: Signals that programs die of; not HUP, since git says 129 of wrong usage.
DEADLY = frozenset(
    number for number, name in NAMES.items()
    if name[3:] in "INT QUIT ILL TRAP ABRT BUS FPE KILL SEGV PIPE ALRM TERM XCPU XFSZ".split()
)  # fmt: skip


def reason(task: Task, oom_kills: int = 0) -> str:
    """Why a task did not complete: `exit code 3`, `killed by SIGKILL, out of memory` ...; nothing if it did.

    `oom_kills` is how many processes the kernel killed for want of memory while it ran.  What was noted as the reason
    already stays the reason.
    """
    if task.status is Status.COMPLETE or not task.status.is_final:
        return ""
    if task.status is Status.CANCELLED:
        return cancelled(task)  # whatever was noted by those who did not know yet that it was
    noted = task.data.get("reason")
    if isinstance(noted, str) and noted:
        return noted
    if task.status is Status.SKIPPED:
        return "something it depends on did not complete"
    if task.status is Status.LOST:
        return "nobody saw how it ended"
    return failed(task) + short_of_memory(task, oom_kills)


def beside_status(task: Task) -> str:
    """The reason where the status is told, too: nothing is said twice."""
    return reason(task).removeprefix(task.status.value).removeprefix(", ")


def cancelled(task: Task) -> str:
    """Whose wish it was, and what ended it."""
    interrupted = task.data.get("interrupted")
    if isinstance(interrupted, int):
        return f"interrupted by {signal_name(interrupted)}"
    return "cancelled" if task.signal is None else f"cancelled, killed by {signal_name(task.signal)}"


def failed(task: Task) -> str:
    """How a command that failed ended."""
    code = task.returncode
    if task.signal is not None:
        return f"killed by {signal_name(task.signal)}"
    if code is None:
        return "failed"
    if task.pid is None and code in NEVER_BEGAN:
        return NEVER_BEGAN[code]
    told = code_tells(task, code)
    return f"exit code {code} ({told})" if told else f"exit code {code}"


def code_tells(task: Task, code: int) -> str:
    """What a code means by an old custom; nothing where every program may mean something else."""
    if code in SHELL_TELLS:
        return f"as a shell tells of {SHELL_TELLS[code]}"
    if signal_of_code(code) is not None:
        return f"as a shell tells of {signal_name(code - 128)}"
    if code == SSH_FAILED and task.argv[:1] and task.argv[0].rpartition("/")[2] == "ssh":
        return "as ssh tells of an error of its own"
    return ""


def short_of_memory(task: Task, oom_kills: int) -> str:
    """What the kernel's kills have to do with it: a process that died of another signal, or went on, was not hit."""
    if oom_kills <= 0:
        return ""
    if death(task) == signal.SIGKILL:
        return f", {NO_MEMORY}"
    killed = "a process was" if oom_kills == 1 else f"{oom_kills} processes were"
    return f"; meanwhile {killed} killed, {NO_MEMORY}"


def death(task: Task) -> int | None:
    """The signal that the command, or the last part of it, died of."""
    return task.signal if task.signal is not None else signal_of_code(task.returncode or 0)


def signal_of_code(code: int) -> int | None:
    """The signal n that 128+n stands for, where hardly any program means something else by it."""
    return code - 128 if code - 128 in DEADLY else None


def signal_name(number: int) -> str:
    """`SIGKILL`; `signal 40` where there is no name."""
    return NAMES.get(number, f"signal {number}")
