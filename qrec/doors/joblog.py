"""What GNU parallel has done: its `--joblog`, and with it what `--results` has kept of the output."""

from __future__ import annotations

import os
from functools import partial

from qrec.doors.intake import with_files
from qrec.doors.past import Entry
from qrec.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qrec.doors.intake import Arrival
    from qrec.doors.past import Past

COLUMNS = b"Seq Host Starttime JobRuntime Send Receive Exitval Signal Command".split()
LOCAL = ":"  #: how parallel calls the machine it runs on


def arrivals(lines: Iterable[bytes], past: Past, results: str | None = None) -> Iterator[Arrival]:
    """The jobs of a joblog.  Refused if it is none."""
    entries = rows(lines)
    if results is None:
        return past.arrivals(entries)
    return with_results(list(entries), past, results)


def rows(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Each line below the headings, which are missing from a log that was begun with `--joblog +FILE`."""
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == 1 and line.split() == COLUMNS):
            continue
        entry = row(f"line {number}", os.fsdecode(line.removesuffix(b"\n")))
        if number == 1 and entry.trouble:
            raise Refused(f"this is no joblog of GNU parallel: it does not begin with {b' '.join(COLUMNS).decode()}")
        yield entry


def row(place: str, line: str) -> Entry:
    """One job.  Its command is the last column, and may hold tabs itself."""
    values = line.split("\t", len(COLUMNS) - 1)
    try:
        number, host, at, seconds, _, _, code, signal, command = values
        returncode, deadly = ending(int(code), int(signal))
        began, took = float(at), float(seconds)
    except ValueError:
        return Entry(place=place, trouble=f"this is no line of a joblog: {line!r:.60}")
    command = command.replace("\0", "\n")  # parallel keeps each job in a line of its own by this
    return Entry(
        place=place, command=command, at=began, seconds=took, returncode=returncode, signal=deadly,
        name=f"{host}\0{number}\0{at}", host="" if host == LOCAL else host, data={"seq": number},
    )  # fmt: skip


def ending(code: int, signal: int) -> tuple[int, int | None]:
    """Code and signal; of a job that it killed, for its time was over, parallel tells the code -1."""
    return (128 + signal, signal) if signal else (code, None) if code >= 0 else (1, None)


# What the jobs printed


def with_results(entries: list[Entry], past: Past, folder: str) -> Iterator[Arrival]:
    """The jobs with their output.  Of several with one number, the folder has that of the last."""
    found = outputs(folder)
    last = {entry.data["seq"]: entry for entry in entries if not entry.trouble}
    for entry in entries:
        paths = found.get(entry.data["seq"]) if last.get(entry.data.get("seq")) is entry else None
        fill = partial(with_files, paths=paths) if paths else None
        if entry.trouble or entry.command.strip():
            yield past.arrival(entry, fill)


def outputs(folder: str) -> dict[str, dict[str, str]]:
    """By the number of its job, where each stream was put: `DIR/1/a/stdout`, or `a` and `a.err` beside `a.seq`."""
    found: dict[str, dict[str, str]] = {}
    for where, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            if name == "seq" or name.endswith(".seq"):
                start = os.path.join(where, name[: -len("seq")])
                stem, err = (start + "stdout", start + "stderr") if name == "seq" else (start[:-1], start + "err")
                found[small_text(start + "seq")] = {"stdout": stem, "stderr": err}
    return found


def small_text(path: str) -> str:
    """The number in a file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(100).strip()
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror or error}") from error


def refuse(error: OSError) -> None:
    """A folder that cannot be read."""
    raise Refused(f"{error.filename} cannot be read: {error.strerror or error}")
