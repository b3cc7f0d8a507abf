"""Whether a program printed what a page says, but for what differs from run to run: times, sizes, ids, places."""

from __future__ import annotations

import difflib
import re

#: What is the same although it reads otherwise, in this order; each becomes a word that is printed nowhere.
DIFFERENT = [
    (re.compile(pattern), word)
    for pattern, word in (
        (r"\b([a-z]+)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", r"\1-UID"),
        (r"\b([a-z]+)-[0-9a-f]{8}(?![0-9a-f-])", r"\1-UID"),
        (r"token=[\w-]+", "token=TOKEN"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
        (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:\d\d)?", "TIME"),
        (r"\b\d\d:\d\d:\d\d(\.\d+)?\b", "TIME"),
        (r"\d+(\.\d+)? ?(ms|s|m|min|h|d)\b( \d+ ?(s|m|min|h)\b)*", "DURATION"),
        (r"\d+(\.\d+)? ?([kMGT]?B)\b", "SIZE"),
        (r"\b(worker|pid|process) \d+", r"\1 PID"),
        (r"\b(job|slurm-)( ?)\d+", r"\1\2JOB"),
        # memory is measured only of what runs long enough, which depends on the machine
        (r"(\]\[returncode: \w+\].*), SIZE$", r"\1"),
        (r"^(jobid\s+)\d+", r"\1JOB"),
        (r"[ \t]+", " "),
    )
]  # fmt: skip


#: A line that comes only where somebody else's server has the port.
TAKEN = re.compile(r"^qrec: port \d+ is taken; .*\n", re.M)


def plain(text: str) -> str:
    """The text with its differences gone."""
    return "".join(f"{plain_line(line)}\n" for line in TAKEN.sub("", text).strip("\n").splitlines())


def plain_line(line: str) -> str:
    for pattern, word in DIFFERENT:
        line = pattern.sub(word, line)
    return line.rstrip()


def pattern_of(expected: str) -> str:
    """`...` stands for anything within a line, and alone on a line for any lines."""
    lines = plain(expected).splitlines(keepends=True)
    return "".join(r"(?:[^\n]*\n)*?" if line.strip() == "..." else pattern_of_line(line) for line in lines)


def pattern_of_line(line: str) -> str:
    return r"[^\n]*".join(re.escape(part) for part in line.split("..."))


def is_alike(expected: str, printed: str) -> bool:
    return re.fullmatch(pattern_of(expected), plain(printed)) is not None if expected else not printed.strip()


def difference(expected: str, printed: str) -> str:
    """What a person needs to mend the page."""
    lines = difflib.unified_diff(
        plain(expected).splitlines(), plain(printed).splitlines(), "the page", "what came", lineterm="", n=10**6
    )
    return "\n".join([*lines, "", "as it came:", printed])
