"""Where a job's output is, how it is read while it grows, and how it is taken into the record."""

from __future__ import annotations

import os
import re

from qrec.errors import QrecError
from qrec.executors import sbatch, slurm_calls, slurm_jobs
from qrec.output import FOLD_LIMIT, JOB, STREAMS, JobFiles, attempt_folder, file_size, make_private, private, read_part
from qrec.task import Kept, Record, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, BinaryIO

    from qrec.executors.slurm_jobs import Job
    from qrec.output import Output
    from qrec.redact import Redactor

    Paths = dict[str, list[tuple[str, str]]]  #: for each stream (job, path) of each of its tasks

TAKEN_IN = 64 << 20  #: bytes of each of a job's streams that are taken into the record; an array's tasks share them
GAP = b"\n[... %d bytes left out ...]\n"
BLOCK = 1 << 20
ONE_BY_ONE = 3  #: so many jobs are asked about by themselves; of more, one question asks about all there are


# Where it is


def described(asked: sbatch.Submission) -> dict[str, Any]:
    """What of a submission has to be known later to tell where its output is."""
    options = {name: asked.options[name] for name in ("output", "error", "chdir", "array") if name in asked.options}
    return {"folder": asked.folder, "options": {**options, "job-name": asked.name}}


def expected(note: Mapping[str, Any], jobs: Sequence[Job], user: str) -> list[dict[str, str]]:
    """Where the output of each of these jobs is to be expected, by what was submitted."""
    if "asked" not in note:
        return []
    asked = sbatch.Submission(folder=note["asked"]["folder"], options=note["asked"]["options"])
    found = []
    for job in in_order(jobs):
        array, _, number = job.jobid.partition("_")
        known = sbatch.known_fields(asked, job.raw, user, (array, number) if number.isdecimal() else None)
        stdout, stderr = sbatch.output_paths(asked, {**known, **node_field(job.nodes)})
        if stdout and stderr:
            found.append({"jobid": job.jobid, "stdout": stdout, "stderr": stderr})
    return found


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """The tasks of an array by their numbers; of those that wait together nothing is known yet."""
    return sorted((job for job in jobs if "[" not in job.jobid), key=lambda job: place_of(job.jobid))


def place_of(jobid: str) -> list[int]:
    """What jobs are sorted by: 5_10 comes after 5_9."""
    return [int(part) for part in jobid.replace("+", "_").split("_") if part.isdecimal()]


def node_field(nodes: str) -> dict[str, str]:
    """What %N stands for: the first node, `gpu03` of `gpu[03-05,7],login`."""
    first = nodes.split(",")[0]
    head, _, numbers = first.partition("[")
    name = head + numbers.rstrip("]").split("-")[0]
    return {"N": name.split(".")[0]} if name else {}


def reported(details: Sequence[Mapping[str, str]], name: str | None) -> dict[str, list[dict[str, str]]]:
    """Where Slurm says that the output is, by the job's id; it tells the host's name in no path."""
    found: dict[str, list[dict[str, str]]] = {}
    told = [one for one in details if one.get("StdOut") and one.get("NodeList") and known_task(one)]
    hosts: dict[str, str | None] = {}
    for one in sorted(told, key=lambda one: place_of(name_of(one))):
        known = {**node_field(one["NodeList"]), "t": "0", "n": "0", "s": "batch"}
        paths = (one["StdOut"], one.get("StdErr") or one["StdOut"])
        stdout, stderr = (filled_in(path, known, name, hosts) for path in paths)
        found.setdefault(base_of(one), []).append({"jobid": name_of(one), "stdout": stdout, "stderr": stderr})
    return found


def known_task(details: Mapping[str, str]) -> bool:
    """Whether it is one job, and not what is left of an array."""
    return details.get("ArrayTaskId", "0").isdecimal()


def filled_in(path: str, known: Mapping[str, str], name: str | None, hosts: dict[str, str | None]) -> str:
    """A path as Slurm reports it with the fields that it has left in it.

    %N is the host's own name, by which the node need not go; `hosts` holds those that were asked for.
    """
    if "%" not in path or os.path.lexists(path):
        return path
    first = sbatch.expand(path, known) or path
    if os.path.lexists(first) or not re.search("%[0-9]*N", path) or "N" not in known:
        return first
    node = known["N"]
    host = hosts[node] = hosts[node] if node in hosts else host_of(node, name)
    return (sbatch.expand(path, {**known, "N": host}) if host else None) or first


def host_of(node: str, name: str | None) -> str | None:
    """The short name of a node's host, as Slurm knows it."""
    try:
        shown = slurm_calls.act([*slurm_calls.words_for("scontrol", name), "show", "node", node])
    except QrecError:
        return None
    found = re.search(r"\bNodeHostName=([^\s.]+)", shown)
    return found[1] if found else None


def base_of(details: Mapping[str, str]) -> str:
    """The id of a job, or of the array that it is of, from what `scontrol show job` tells."""
    return details.get("ArrayJobId") or details["JobId"]


def name_of(details: Mapping[str, str]) -> str:
    """A job's id as users are told it, from what `scontrol show job` tells."""
    if "ArrayTaskId" in details:
        return f"{details.get('ArrayJobId', details['JobId'])}_{details['ArrayTaskId']}"
    return details["JobId"]


def ask_where(keys: Sequence[tuple[str | None, str]]) -> dict[tuple[str | None, str], list[dict[str, str]]]:
    """Where Slurm says that the output of these jobs is; nothing of those that it does not know any more."""
    found = {}
    for name in {name for name, _ in keys}:
        ids = [jobid for where, jobid in keys if where == name]
        every = (one for which in (ids if len(ids) <= ONE_BY_ONE else [""]) for one in details(which, name))
        told = reported([one for one in every if base_of(one) in ids], name)  # others' jobs are none of our business
        found.update({(name, jobid): told[jobid] for jobid in ids if jobid in told})
    return found


def details(jobid: str, name: str | None) -> list[dict[str, str]]:
    """What the controller tells of a job, or of all if none is named; nothing if it does not answer."""
    try:
        if jobid:
            return slurm_calls.details(jobid, name)
        return slurm_jobs.described(slurm_calls.act([*slurm_calls.words_for("scontrol", name), "show", "job"]))
    except QrecError:
        return []


def paths_in(note: Mapping[str, Any]) -> Paths:
    """Where each stream of a job is, as the record tells.  A stderr that goes where stdout goes is none of its own."""
    paths: Paths = {stream: [] for stream in STREAMS}
    for job in note.get("files", []):
        paths["stdout"].append((job["jobid"], job["stdout"]))
        if job["stderr"] != job["stdout"]:
            paths["stderr"].append((job["jobid"], job["stderr"]))
    return {stream: [pair for pair in pairs if pair[1] != os.devnull] for stream, pairs in paths.items()}


def is_left(path: str, left: Mapping[str, Any]) -> bool:
    """Whether a file is as the run before has left it: a job that was put back has not come to it yet."""
    return path in left and mark_of(path) == left[path]


# Reading it while it grows


class Growing(JobFiles):
    """The files that a job writes, read as one for each stream; what else was recorded comes from the store.

    Several files of one stream grow at once: whoever reads on finds each new part behind what was there before.
    """

    def __init__(self, paths: Paths, beside: Output, left: Mapping[str, Any] | None = None) -> None:
        super().__init__(paths)
        self.beside = beside
        self.left = left or {}  #: see is_left
        self.parts: dict[str, list[tuple[str, int, int]]] = {stream: [] for stream in JOB.values()}

    def add(self, paths: Paths) -> None:
        """Read these files, too."""
        self.paths = JobFiles(paths).paths

    def observe(self, stream: str) -> None:
        """Note what has come."""
        seen: dict[str, int] = {}
        for path, start, size in self.parts[stream]:
            seen[path] = start + size
        for path in self.paths.get(stream, []):
            start = seen.get(path, 0)
            if (now := file_size(path)) > start and not is_left(path, self.left):
                self.parts[stream].append((path, start, now - start))

    def size(self, stream: str) -> int:
        """How many bytes the stream has by now."""
        if stream not in self.parts:
            return 0
        self.observe(stream)
        return sum(size for _, _, size in self.parts[stream])

    def read(self, stream: str, start: int = 0, size: int | None = None) -> bytes:
        """Bytes of a stream from `start`, in the order in which they were seen."""
        left = min(self.size(stream) - start, BLOCK * BLOCK if size is None else size)
        found = []
        for path, begin, length in self.parts.get(stream, []):
            if start < length and left > 0:
                part = part_of(path, begin + start, min(left, length - start))
                found.append(part)
                left -= len(part)
            start = max(0, start - length)
        return b"".join(found)

    def extras(self) -> dict[str, bytes]:
        """What else was recorded, by name."""
        return self.beside.extras()


def part_of(path: str, start: int, size: int) -> bytes:
    """Bytes of a file; none if it is gone."""
    try:
        return read_part(path, start, size)
    except OSError:
        return b""


# Taking it in


class Taken(Record):
    """What was found of a job's output when it had ended."""

    kept: Kept | None = None  #: what the store is to keep; None: what it has
    missing: tuple[str, ...] = ()  #: files that are not there
    marks: Mapping[str, Any] = {}  #: size and time of each file, by which one is known that has not changed


def take_in(home: str, task: Task, before: Kept | None, note: Mapping[str, Any], redactor: Redactor | None) -> Taken:
    """Take in what a job has printed: into the store if it is small, else into files of ours.

    Nothing is read if all is as it was when it was taken in before.
    """
    left = note.get("left", {})
    paths = {stream: [pair for pair in pairs if not is_left(pair[1], left)] for stream, pairs in paths_in(note).items()}
    every = [path for pairs in paths.values() for _, path in pairs]
    marks = {path: mark for path in every if (mark := mark_of(path)) is not None}
    missing = tuple(dict.fromkeys(path for path in every if path not in marks))
    if marks == note.get("taken", {}):
        return Taken(missing=missing, marks=marks)
    folder = attempt_folder(home, task.uid, task.attempt)
    if before is None and not os.path.isdir(folder):
        before = Kept()
    others = {name: part for name, part in before.extras.items() if name not in JOB.values()} if before else {}
    if before and sum(size for size, _ in marks.values()) <= FOLD_LIMIT:
        printed = {JOB[stream]: b"".join(blocks_of(pairs, redactor)) for stream, pairs in paths.items()}
        small = {name: content for name, content in printed.items() if content}
        return Taken(kept=before.copy(extras={**others, **small}), missing=missing, marks=marks)
    make_private(folder)
    for stream, pairs in paths.items():
        write_whole(os.path.join(folder, JOB[stream]), blocks_of(pairs, redactor))
    return Taken(kept=before and before.copy(extras=others), missing=missing, marks=marks)


def mark_of(path: str) -> list[int] | None:
    """Size and time of a file's last change; None if there is no such file."""
    import stat

    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns] if stat.S_ISREG(found.st_mode) else None


def blocks_of(pairs: Sequence[tuple[str, str]], redactor: Redactor | None) -> Iterator[bytes]:
    """What some files hold, each of an array's under a line that names its task; secrets are left out if asked."""
    blocks = (block for name, path in pairs for block in file_blocks(name, path, len(pairs)))
    if redactor is None:
        return blocks
    return redacted(blocks, redactor)


def redacted(blocks: Iterator[bytes], redactor: Redactor) -> Iterator[bytes]:
    """The blocks without their secrets."""
    from qrec.redact import Filter

    sieve = Filter(redactor)
    for block in blocks:
        yield sieve.feed(block)
    yield sieve.flush()


def file_blocks(name: str, path: str, many: int) -> Iterator[bytes]:
    """A file in blocks, or its two ends if it is very large; nothing if it cannot be read."""
    limit = TAKEN_IN // many
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if many > 1 and size:
                yield b"==> %s <==\n" % name.encode()
            if size <= limit:
                yield from stretch(file, 0, size)
                return
            yield from stretch(file, 0, limit // 2)
            yield GAP % (size - limit // 2 * 2)
            yield from stretch(file, size - limit // 2, limit // 2)
    except OSError:
        return


def stretch(file: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    """So many bytes of a file in blocks; fewer if it has become shorter."""
    file.seek(start)
    while size > 0 and (block := file.read(min(size, BLOCK))):
        size -= len(block)
        yield block


def write_whole(path: str, blocks: Iterator[bytes]) -> None:
    """Write a file that others see when it is whole; none if there is nothing to be written."""
    fresh = f"{path}.{os.getpid()}.new"
    written = 0
    with open(fresh, "wb", opener=private) as file:
        for block in blocks:
            written += file.write(block)
    if written:
        os.replace(fresh, path)
    else:
        os.unlink(fresh)
