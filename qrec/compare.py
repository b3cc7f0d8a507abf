"""What differs between two tasks: command, facts, usage, and output as a unified diff."""

from __future__ import annotations

import os

from qrec.output import BLOCK, STREAMS, Frozen
from qrec.reason import reason
from qrec.task import Record, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from qrec.output import Output

CONTEXT = 3  #: unchanged lines around a change, as diff(1) has it
PIECE = 1 << 16  #: bytes of a line that are passed on at once
LOOKED_AT = 1 << 16  #: bytes in which a NUL tells that a stream is no text
WITHOUT_DIFF = 1 << 20  #: bytes of a stream that Python's own difflib compares, which is slow
MANY_WORDS = 2_000  #: words above which two commands are not compared word by word
SECTIONS = ("command", "facts", "usage")

#: Of Slurm's variables those that tell how a job was meant; the others differ with every job.
OF_SLURM = frozenset(
    """SLURM_JOB_PARTITION SLURM_JOB_QOS SLURM_JOB_ACCOUNT SLURM_JOB_NODELIST SLURM_JOB_NUM_NODES SLURM_NTASKS
    SLURM_CPUS_PER_TASK SLURM_CPUS_ON_NODE SLURM_MEM_PER_NODE SLURM_MEM_PER_CPU SLURM_GPUS SLURM_GPUS_ON_NODE
    SLURM_ARRAY_TASK_ID""".split()
)


class Difference(Record):
    """One thing that two tasks do not have in common; None where one has nothing of it."""

    what: str
    first: Any
    second: Any


class Comparison(Record):
    """All that differs between two tasks."""

    command: tuple[Difference, ...]
    facts: tuple[Difference, ...]
    usage: tuple[Difference, ...]
    output: tuple[OutputDifference, ...]  #: a stream each

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return bool(self.command or self.facts or self.usage or self.output)


def compare(first: Task, second: Task, outputs: tuple[Output, Output]) -> Comparison:
    """What differs between two tasks, or two attempts of one."""
    frozen = [still(task, output) for task, output in zip((first, second), outputs, strict=True)]
    labels = label(first, second), label(second, first)
    patches = [output.extras().get("patch", b"") for output in frozen]
    return Comparison(
        command=differences(command_of(first) | end_of(first), command_of(second) | end_of(second)),
        facts=(*differences(facts_of(first), facts_of(second)), *patch_difference(*patches)),
        usage=differences(usage_of(first), usage_of(second)),
        output=tuple(
            OutputDifference(stream, (frozen[0], frozen[1]), labels)
            for stream in STREAMS
            if not same(stream, frozen[0], frozen[1])
        ),
    )


def still(task: Task, output: Output) -> Output:
    """An output that does not grow while it is compared."""
    return output if task.status.is_final else Frozen(output)


def label(task: Task, other: Task) -> str:
    """What a task is called beside another one."""
    name = str(task.number or task.uid)
    return f"{name} attempt {task.attempt}" if task.uid == other.uid else name


# What there is to compare


def command_of(task: Task) -> dict[str, Any]:
    """What was run, where and by whom."""
    return {
        "arguments": list(task.argv), "shell": task.data.get("shell"), "executor": task.executor, "folder": task.pwd,
        "host": task.host, "user": task.user,
    }  # fmt: skip


def end_of(task: Task) -> dict[str, Any]:
    """What people said of it, and how it ended."""
    return {
        "note": task.message or None, "tags": list(task.tags), "status": task.status.value,
        "exit code": task.returncode, "signal": task.signal, "reason": reason(task) or None,
    }  # fmt: skip


def facts_of(task: Task) -> dict[str, Any]:
    """What surrounded it, each variable a fact of its own."""
    facts: dict[str, Any] = {}
    for name, value in task.facts.items():
        inner = value if isinstance(value, dict) else None
        facts |= {name: value} if inner is None else {f"{name} {key}": one for key, one in inner.items()}
    return facts


def usage_of(task: Task) -> dict[str, Any]:
    """What it cost."""
    return {"duration": None if task.seconds is None else round(task.seconds, 3), **task.usage}


def telling(difference: Difference) -> bool:
    """Whether a fact may explain why one run failed and another did not."""
    section, _, name = difference.what.partition(" ")
    return name in OF_SLURM if section == "slurm" else section != "patch"  # its size; `patch_difference` tells more


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What is not the same in both, in their order."""
    pairs = ((name, first.get(name), second.get(name)) for name in dict.fromkeys([*first, *second]))
    return tuple(Difference(what=name, first=a, second=b) for name, a, b in pairs if a != b)


def patch_difference(first: bytes, second: bytes) -> tuple[Difference, ...]:
    """How large the uncommitted changes were, if they were not the same."""
    if first == second:
        return ()
    return (Difference(what="uncommitted changes", first=patch_size(first), second=patch_size(second)),)


def patch_size(patch: bytes) -> str | None:
    """`2 files, +12 -4`; None for no patch."""
    lines = patch.split(b"\n")
    files = sum(line.startswith(b"diff --git ") for line in lines)
    added = sum(line.startswith(b"+") and not line.startswith(b"+++ ") for line in lines)
    removed = sum(line.startswith(b"-") and not line.startswith(b"--- ") for line in lines)
    return f"{files} file{'s' * (files != 1)}, +{added} -{removed}" if patch else None


def word_changes(first: Sequence[str], second: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """Two rows of words as stretches: (words, the same words) where they agree, else what stands for what."""
    if len(first) + len(second) > MANY_WORDS:
        return [(list(first), list(second))]
    from difflib import SequenceMatcher

    steps = SequenceMatcher(None, first, second, autojunk=False).get_opcodes()
    return [(list(first[a:b]), list(second[c:d])) for _, a, b, c, d in steps]


# Output


def same(stream: str, first: Output, second: Output) -> bool:
    """Whether a stream is the same in both, a block at a time."""
    size = first.size(stream)
    if size != second.size(stream):
        return False
    return all(first.read(stream, at, BLOCK) == second.read(stream, at, BLOCK) for at in range(0, size, BLOCK))


class OutputDifference:
    """A stream that differs.  However large it is, at most a block of it is in our memory."""

    def __init__(self, stream: str, outputs: tuple[Output, Output], labels: tuple[str, str]) -> None:
        self.stream = stream
        self.outputs = outputs
        self.labels = f"{labels[0]} {stream}", f"{labels[1]} {stream}"
        self.sizes = outputs[0].size(stream), outputs[1].size(stream)

    def __str__(self) -> str:
        """In one line."""
        return f"{self.stream} differs, {self.sizes[0]:,} and {self.sizes[1]:,} bytes"

    def is_text(self) -> bool:
        """Whether the lines of both can be shown."""
        return not any(b"\0" in output.read(self.stream, 0, LOOKED_AT) for output in self.outputs)

    def unified(self, context: int = CONTEXT) -> Iterator[bytes]:
        """The unified diff in pieces that end with a line, or in the middle of a very long one.

        One line that says so where the streams are no text, or too large for diff.
        """
        if not self.is_text():
            return iter([self.excuse("")])
        import shutil

        return self.by_diff(context) if shutil.which("diff") else self.by_difflib(context)

    def excuse(self, why: str) -> bytes:
        """A line in place of a diff."""
        return f"{self}{why}\n".encode()

    def by_difflib(self, context: int) -> Iterator[bytes]:
        """By Python, which takes long for large ones."""
        if max(self.sizes) > WITHOUT_DIFF:
            yield self.excuse(", too much to compare without the program `diff`")
            return
        from difflib import unified_diff

        old, new = (raw_lines(output.read(self.stream)) for output in self.outputs)
        for line in unified_diff(old, new, *self.labels, n=context):
            whole = line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            yield whole.encode("utf-8", "surrogateescape")

    def by_diff(self, context: int) -> Iterator[bytes]:
        """By the program `diff`, which reads from us through pipes."""
        import subprocess

        pipes = os.pipe(), os.pipe()
        words = ["diff", "-a", "-U", str(context), "-L", self.labels[0], "-L", self.labels[1]]
        process = subprocess.Popen(
            ["/bin/sh", "-c", LIMITED, "sh", str(memory_limit()), *words, *(f"/dev/fd/{end}" for end, _ in pipes)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            pass_fds=[end for end, _ in pipes], env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
        for (end, inlet), output in zip(pipes, self.outputs, strict=True):
            os.close(end)
            feed(inlet, output, self.stream)
        assert process.stdout is not None
        with process.stdout as differing:
            try:
                yield from iter(lambda: differing.readline(PIECE), b"")
            except GeneratorExit:
                process.kill()
                raise
            finally:
                code = process.wait()
        if code > 1:
            yield self.excuse(f", too much for `diff`, which ended with {code}")


#: diff holds both files in memory; what it may take is limited, so that the machine lives on.
LIMITED = 'ulimit -v "$1" 2>/dev/null; shift; exec "$@"'


def memory_limit() -> int:
    """Half of the machine's memory, in KiB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2048


def feed(inlet: int, output: Output, stream: str) -> None:
    """Write a stream into a pipe, beside whatever else is done, until its end or the reader's."""
    import signal
    import threading

    def write() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})  # the reader may leave early: no reason to die
        with open(inlet, "wb", buffering=0) as pipe:
            try:
                for at in range(0, output.size(stream), BLOCK):
                    write_all(pipe.fileno(), output.read(stream, at, BLOCK))
            except OSError:
                pass

    threading.Thread(target=write, daemon=True).start()


def write_all(file: int, block: bytes) -> None:
    """Write all of a block."""
    view = memoryview(block)
    while view:
        view = view[os.write(file, view) :]


def raw_lines(block: bytes) -> list[str]:
    """Lines that give back their exact bytes."""
    parts = block.decode("utf-8", "surrogateescape").split("\n")
    return [part + "\n" for part in parts[:-1]] + [part for part in parts[-1:] if part]
