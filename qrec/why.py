"""Why a task failed: what its output says of it, and what was different when the same command went well."""

from __future__ import annotations

import re
import shlex
import signal
from itertools import islice

from qrec.compare import command_of, differences, facts_of, patch_difference, telling, usage_of
from qrec.output import STREAMS
from qrec.reason import COULD_NOT_START, NO_MEMORY, NOT_EXECUTABLE, NOT_FOUND, death, reason, signal_name
from qrec.stores.base import Query
from qrec.task import Record, Status, Task
from qrec.tracebacks import clean, find, last_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from qrec.compare import Difference
    from qrec.output import Output
    from qrec.stores.base import Store
    from qrec.tracebacks import Excerpt

LAST = 10  #: lines shown of the end of its output
READ = 1 << 16  #: bytes of its end in which the cause is looked for
CLOSE = 100  #: lines of these
WIDE = 2_000  #: characters of such a line
CANDIDATES = 5_000  #: of the newest tasks that completed, how many are looked at

#: What lines say that mean the same wherever they stand; `{}` is what the expression has found.
MEANINGS = [(re.compile(expression), meaning) for expression, meaning in (
    (r"oom[-_]kill|[Oo]ut of memory: Killed|OUT_OF_MEMORY",
     "a process was killed because the memory of the machine, the job or the container was used up"),
    (r"DUE TO TIME LIMIT", "Slurm's time limit ended it"),
    (r"CUDA out of memory|CUDA_ERROR_OUT_OF_MEMORY|CUDA error: out of memory|cudaErrorMemoryAllocation",
     "the memory of the GPU was used up"),
    (r"java\.lang\.OutOfMemoryError", "Java had used up the memory that it may take (-Xmx)"),
    (r"JavaScript heap out of memory", "Node had used up the memory that it may take (--max-old-space-size)"),
    (r"\b_?(?:Array)?MemoryError\b", "Python could not get the memory that it asked for"),
    (r"std::bad_alloc", "a C++ program could not get the memory that it asked for"),
    (r"Cannot allocate memory", "the system refused memory that was asked for"),
    (r"No space left on device", "a disk was full, or had no inodes left (`df -h`, `df -i`)"),
    (r"Disk quota exceeded", "the user's quota of disk space or of files was used up"),
    (r"Read-only file system", "something was to be written where nothing can be"),
    (r"Stale file handle", "a file on a network file system was removed or replaced while it was open"),
    (r"Too many open files", "more files were open than the limit allows (`ulimit -n`)"),
    (r"No module named '?([\w.]+)", "the Python that ran does not find the module {}"),
    (r"error while loading shared libraries: ([^:\s]+)|(?:ImportError|OSError): ([^:\s]+): cannot open shared object",
     "the shared library {} was not found (LD_LIBRARY_PATH, `module load`)"),
    (r"version `([^']+)' not found", "a shared library is too old for the program: it lacks {}"),
    (r"Permission denied \(([\w,-]+)\)", "ssh: the other machine accepted none of the ways to log in: {}"),
    (r"Host key verification failed", "ssh: the other machine's key is unknown, or is not the one that is known"),
    (r"Permission denied", "the user may not do that with the file"),
    (r"(?:Could not|cannot) resolve host|Name or service not known|Temporary failure in name resolution",
     "the name of a machine could not be looked up"),
    (r"Connection refused", "nobody listened at the other end of a connection"),
    (r"Address already in use", "another program listens at the same port already"),
    (r"([^\s:]+): command not found$|: \d+: (\S+): not found$|command not found: (\S+)$",
     "there is no program {} on PATH"),
    (r"No such file or directory", "a file or folder was not there"),
    (r"Segmentation fault", "a program used memory that is not its own, which is a mistake in it or in a library"),
    (r"^Killed$|\bline \d+: +\d+ Killed\b|\*\*\* .*\bKilled$",
     "a part of it was killed with SIGKILL, by the kernel when memory is short or by hand"),
)]  # fmt: skip

#: What each signal is sent for.
SIGNALS: Mapping[int, str] = {
    signal.SIGKILL: "it comes when memory is short, from the limits of a job or container, or from `kill -9`",
    signal.SIGSEGV: "it used memory that is not its own, which is a mistake in the program or in a library",
    signal.SIGBUS: "it used memory that is not there, as of a mapped file that became shorter or a full /dev/shm",
    signal.SIGFPE: "it divided an integer by zero, or the like",
    signal.SIGILL: "it had an instruction that this processor does not know",
    signal.SIGABRT: "it gave up by itself, as after a failed assertion or an exception that nobody caught",
    signal.SIGPIPE: "whoever read its output did not read to the end",
    signal.SIGXCPU: "it used more processor time than its limit allows (`ulimit -t`)",
    signal.SIGXFSZ: "it wrote a larger file than its limit allows (`ulimit -f`)",
    signal.SIGTERM: "somebody, or some program, asked it to end",
    signal.SIGHUP: "its terminal or its connection was closed",
    signal.SIGINT: "somebody interrupted it, as with Ctrl-C",
}

#: What each status means that is no failure of the command.
STATUSES = {
    Status.COMPLETE: "it completed",
    Status.QUEUED: "it waits for a worker",
    Status.RUNNING: "it still runs",
    Status.SUBMITTED: "another scheduler has it and has not told of its end",
    Status.LOST: "its process is gone and so is its recorder, as after a power cut, a reboot or a kill of both; "
    "what it printed until then is kept",
    Status.SKIPPED: "it was not started",
}

INTERPRETERS = frozenset(
    "python pypy bash sh dash zsh ksh fish perl ruby julia node Rscript R java lua php octave tclsh".split()
)
NO_PROGRAMS = frozenset("cd export set source . ( { if for while eval exec time".split())


class Why(Record):
    """What is known about a task's failure."""

    task: Task
    reason: str  #: a short phrase; empty if it completed, or has not ended
    explanation: str  #: what that means, in a sentence; empty if nobody can know
    traceback: Excerpt | None
    last: Excerpt | None  #: the end of what it printed
    good: Task | None  #: the last run of the same command that went well
    differs: tuple[Difference, ...]  #: from the good run (`first`) to this one (`second`)


def why(task: Task, output: Output, good: Task | None, good_output: Output | None) -> Why:
    """Why a task failed, seen beside a good run of the same command."""
    failed = task.status.is_final and task.status is not Status.COMPLETE
    return Why(
        task=task, reason=reason(task), explanation=explanation(task, output), good=good,
        traceback=find(output) if failed else None, last=last_lines(output, LAST) if failed else None,
        differs=changes(good, task, good_output, output) if good and good_output else (),
    )  # fmt: skip


# What it means


def explanation(task: Task, output: Output) -> str:
    """What the end of a task means, as far as that is sure."""
    if task.status in STATUSES:
        return STATUSES[task.status]
    told = reason(task)
    if told.startswith("time limit"):
        return "it was ended by `--timeout`"
    if NO_MEMORY in told and death(task) == signal.SIGKILL:
        return "while it ran the memory of the machine, a job or a container was used up, for which the kernel kills"
    if task.status is Status.CANCELLED:
        return cancelled(task)
    deadly = task.signal in SIGNALS and task.signal != signal.SIGABRT
    return ("" if deadly else said(output)) or meaning_of_code(task)


def cancelled(task: Task) -> str:
    """By whom."""
    number = task.data.get("interrupted")
    if not isinstance(number, int):
        return "somebody cancelled it: with `qrec cancel`, in the dashboard, or where it ran"
    return f"qrec received {signal_name(number)} and the command died of it: {SIGNALS.get(number, 'sent by hand')}"


def meaning_of_code(task: Task) -> str:
    """What the signal or the exit code alone says."""
    number = death(task)
    if number is not None:
        return SIGNALS.get(number, "")
    if task.pid is None and task.returncode in (COULD_NOT_START, NOT_EXECUTABLE, NOT_FOUND):
        return "it never began"
    return ""


def said(output: Output) -> str:
    """What the last line means, in the end of what it printed, that says something of which the meaning is sure."""
    for line in reversed(closing_lines(output)):
        for expression, meaning in MEANINGS:
            if match := expression.search(line):
                return meaning.format(next((group for group in match.groups() if group), ""))
    return ""


def closing_lines(output: Output) -> list[str]:
    """The end of stderr, or of stdout if stderr says nothing."""
    for stream in reversed(STREAMS):
        size = output.size(stream)
        told = clean(output.read(stream, max(0, size - READ), READ)).strip()
        if told:
            return [line[:WIDE] for line in told.split("\n")[-CLOSE:]]
    return []


# The good run


def last_good(store: Store, task: Task) -> Task | None:
    """The last good run of the same command, among the newest that there are.

    Runs from before this task count first; if none of those is alike, the runs since.
    """
    complete = frozenset({Status.COMPLETE})
    begun = task.started or task.created
    attempts = [*store.attempts(task.uid), store.get(task.uid)]
    own = [one for one in reversed(attempts) if one.attempt != task.attempt and one.status is Status.COMPLETE]
    before = store.newest_first(Query(statuses=complete, until=begun))
    since = store.newest_first(Query(statuses=complete, since=begun))
    earlier = [one for one in own if one.attempt < task.attempt]
    return best([*earlier, *others(before, task)], task) or best([*own, *others(since, task)], task)


def others(tasks: Iterator[Task], task: Task) -> Iterator[Task]:
    """The newest of the tasks, without the one that is asked about."""
    return (one for one in islice(tasks, CANDIDATES) if one.uid != task.uid)


def best(candidates: Iterable[Task], task: Task) -> Task | None:
    """The candidate that is most like the task, the first of equals; None if none is the same command."""
    found: tuple[int, Task] | None = None
    for one in candidates:
        rank = likeness(one, task)
        if rank is not None and (found is None or rank < found[0]):
            found = rank, one
            if rank <= 1:
                break  # those that follow are older
    return found[1] if found else None


def likeness(one: Task, task: Task) -> int | None:
    """How much two tasks are the same command, 0 most of all; None if they are not."""
    if one.uid == task.uid:
        return 0
    here = one.pwd == task.pwd
    if one.argv == task.argv:
        return 1 if here else 2
    if program(one) is None or program(one) != program(task):
        return None
    return 3 if here else 4


def program(task: Task) -> tuple[str, ...] | None:
    """The program and, of an interpreter, its script: `("python", "train.py")`; None if that says nothing."""
    words = list(task.argv)
    if len(words) == 1 and "shell" in task.data:
        try:
            words = shlex.split(words[0])
        except ValueError:
            return None
    if not words or words[0] in NO_PROGRAMS or "=" in words[0]:
        return None
    name = words[0].rpartition("/")[2]
    plain = name.rstrip("0123456789.") or name
    return (plain, *script(words[1:])) if plain in INTERPRETERS else (name,)


def script(words: list[str]) -> list[str]:
    """What an interpreter is given to run: a file, `-m module`, or with `-c` just that."""
    for at, word in enumerate(words):
        if word in ("-m", "-jar"):
            return words[at : at + 2]
        if word in ("-c", "-e"):
            return [word]
        if not word.startswith("-"):
            return [word]
    return []


def changes(good: Task, task: Task, good_output: Output, output: Output) -> tuple[Difference, ...]:
    """What differs from the good run, as far as it may explain the failure."""
    facts = [one for one in differences(facts_of(good), facts_of(task)) if telling(one)]
    patches = patch_difference(good_output.extras().get("patch", b""), output.extras().get("patch", b""))
    return (
        *differences(command_of(good), command_of(task)),
        *facts,
        *patches,
        *differences(cost(good), cost(task)),
    )


def cost(task: Task) -> dict[str, object]:
    """How long it took, and how much memory."""
    usage = usage_of(task)
    return {"duration": usage["duration"], "memory used": usage.get("memory")}
