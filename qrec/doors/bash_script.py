"""Tasks as a bash script that runs their commands again, one after the other, each in its folder."""

from __future__ import annotations

import re

from qrec.executors.queue import BROUGHT, Job, job_words
from qrec.executors.shell import words_to_run
from qrec.graph import ordered
from qrec.quoting import one_line, quoted, words
from qrec.redact import REDACTED
from qrec.units import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from qrec.task import Task

#: What shellcheck shall not mind: what it thinks of words and programs; they are as they were recorded.
HEAD = """\
#!/usr/bin/env bash
# {count}, written by qrec in the order in which they ran. Environments are told of in comments only.
# It ends at the first command that fails; without the line `set -e` it goes on.
# shellcheck disable=SC1003,SC1010,SC1110,SC1111,SC1112,SC2016,SC2020,SC2021,SC2063,SC2088,SC2185,SC2283,SC2284
# shellcheck disable=SC1127,SC2215,SC2232,SC2287,SC2288,SC2289
set -e
"""
#: What bash does itself if the first word is one of these; what was recorded is a program of that name.
BASH_ITSELF = frozenset(
    """! . : [ [[ ]] { } alias bg bind break builtin caller case cd command compgen complete compopt continue coproc
    declare dirs disown do done echo elif else enable esac eval exec exit export false fc fg fi for function getopts
    hash help history if in jobs kill let local logout mapfile popd printf pushd pwd read readarray readonly return
    select set shift shopt source suspend test then time times trap true type typeset ulimit umask unalias unset until
    wait while""".split()
)
#: What is surely nothing but a program's name.
PLAIN = re.compile(r"[a-zA-Z0-9_./+][a-zA-Z0-9_./+-]*")
#: Variables that every terminal has, and that say little of a command.
DULL = frozenset("PATH TERM SHELL LANG LC_ALL".split())
WIDE = 200  #: characters of a comment's value


def lines(tasks: Iterable[Task]) -> Iterator[bytes]:
    """The script, piece by piece."""
    every = in_order(tasks)
    yield HEAD.format(count=f"{len(every)} command{'s' * (len(every) != 1)}").encode()
    if not all(task.pwd for task in every):
        yield b"start=$PWD\n"
    folder: str | None = None
    told: Mapping[str, str] = {}
    for task in every:
        now = surroundings(task)
        yield paragraph(task, now if now != told else {}, task.pwd != folder).encode()
        folder, told = task.pwd, now


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """As they ran, but none before what it depends on, wherever a rerun has put that."""
    by_uid = {task.uid: task for task in sorted(tasks, key=lambda task: (task.started or task.created, task.number))}
    order = ordered({uid: task.after for uid, task in by_uid.items()})
    return [by_uid[uid] for uid in (*order, *(by_uid.keys() - set(order)))]


def paragraph(task: Task, surroundings: Mapping[str, str], moves: bool) -> str:
    """One task: what is known of it as comments, the way to its folder, its command."""
    folder = quoted(task.pwd) if task.pwd else '"$start"'
    parts = [
        "",
        *(f"# {remark}" for remark in remarks(task, surroundings)),
        *([f"cd -- {folder}"] if moves else []),
        *left_out(task),
        command(task) if task.argv else "# its command is not known",
    ]
    return "\n".join(parts) + "\n"


def remarks(task: Task, surroundings: Mapping[str, str]) -> Iterator[str]:
    """What the record tells of a task beside its command."""
    where = f" on {seen(task.host)}" if task.host else ""
    took = f" after {duration(task.seconds)}" if task.seconds is not None and task.status.is_final else ""
    code = f" with {task.returncode}" if task.returncode else ""
    yield f"{task.number} ({task.uid}): {task.status}{code}{took}, {task.started or task.created}{where}"
    yield from (f"note: {seen(line)}" for line in task.message.splitlines() if line.strip())
    if task.tags:
        yield f"tags: {seen(', '.join(task.tags))}"
    if task.queue is not None:
        after = f", after {', '.join(task.after)}" if task.after else ""
        yield f"of the queue {seen(task.queue)}{f' as {seen(task.name)}' if task.name else ''}{seen(after)}"
    if not task.pwd:
        yield "its folder is not known; here it runs where the script is started"
    if commit := task.facts.get("commit"):
        yield f"git commit {seen(str(commit))}"
    yield from (f"{seen(name)}={seen(value)}" for name, value in surroundings.items())


def surroundings(task: Task) -> dict[str, str]:
    """The variables that were recorded and may matter."""
    known = task.facts.get("environment")
    every = known if isinstance(known, dict) else {}
    return {str(name): str(value) for name, value in every.items() if name not in DULL}


def seen(text: str) -> str:
    """A text in a comment: one line, in which nothing is hidden."""
    line = one_line(text)[:WIDE]
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)


def left_out(task: Task) -> list[str]:
    """What keeps the script from running a command whose secrets are not in the record."""
    if not (count := sum(word.count(REDACTED) for word in task.argv)):
        return []
    secrets = f"{count} secret{'s were' if count > 1 else ' was'}"
    return [
        f"# TO BE COMPLETED: {secrets} left out of the record and {REDACTED} stands for it; then take `false` out",
        "false",
    ]


def command(task: Task) -> str:
    """The command, with exactly the recorded words."""
    job = Job.of(task)
    given = job_words(task, job) if task.queue is not None else words_to_run(task)
    variables = [f"{name}={value}" for name, value in job.env.items() if name not in BROUGHT]
    return f"env -- {words([*variables, *given])}" if variables else program(given)


def program(given: Sequence[str]) -> str:
    """Words of which the first is a program and nothing of bash's own: no builtin, no assignment, no job."""
    first, *rest = given
    if "=" in first:  # env would take it for a variable
        return " ".join([f"'{first}'" if quoted(first) == first else quoted(first), *map(quoted, rest)])
    if first in BASH_ITSELF or not PLAIN.fullmatch(first):
        return f"env {'-- ' * first.startswith('-')}{words(given)}"
    return words(given)
