"""Searching a whole output: plain words here, regular expressions in a process that can be killed.

What is searched is what is shown: without colours and other control sequences, and with secrets covered.  Covering
200 MB takes seconds, so what is raw is searched first, and only the lines that have a match and a hint of a secret are
covered and looked at again.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from itertools import islice

from qrec.errors import WrongUsage
from qrec.output import STREAMS
from qrec.redact import FOLDED, Redactor
from qrec.shown import CONTEXT, masked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from qrec.output import Output

    #: Whether a line holds what is searched.
    Holds = Callable[[bytes], bool]
    #: Makes of lines, each with where it begins, what may be shown of them.
    Cover = Callable[[list[tuple[int, bytes]]], list[bytes]]

BLOCK = 1 << 20  #: bytes searched at a time
MANY = 500  #: places of a word in a block from which on its lines are looked at as they are shown
TOGETHER = 1000  #: matching lines whose secrets are looked for at once
LIMIT = 2.0  #: seconds a regular expression may take
PATIENCE = 8.0  #: seconds plain words may take
MOST = 10_000  #: lines that are found of a stream
LONGEST = 1000  #: characters that may be searched for
MEMORY = 1 << 30  #: bytes of memory that the process with a regular expression may take
SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
KEY = b"PRIVATE KEY"
KEY_LENGTH = 16 * 1024  #: bytes after its first line that may belong to a private key
NEWLINE = re.compile(rb"\n")
WORD = re.compile(rb"[A-Za-z0-9_]+")

#: What tells of an error, and what looks so but does not.
ERRORS = (b"error", b"exception", b"traceback", b"fatal", b"panic", b"failed")
IS_ERROR = re.compile(
    rb"(?<![a-z0-9])(?<![-_./=])(?:[a-z]*error|[a-z]*exception|traceback|fatal|panic(?:ked)?|failed)"
    rb"(?![a-z0-9_]|s?[-./=(]|s? *[:=] *0\b)"
)
NO_ERROR = re.compile(rb"\b(?:0|no|without|zero|any)(?: [a-z]+)? (?:errors?|failed|exceptions?)\b|\berrors?[:=] *0\b")


class Found:
    """The places of the lines that match: sorted offsets in each stream."""

    def __init__(self) -> None:
        self.offsets: dict[str, list[int]] = {stream: [] for stream in STREAMS}
        self.is_cut = False  #: whether there may be more


def plain(text: bytes) -> bytes:
    """A line without control sequences."""
    return SEQUENCE.sub(b"", text) if b"\x1b" in text else text


class Needle:
    """A piece of text to be found, and how it is looked for in bytes as quickly as may be."""

    def __init__(self, text: str, case: bool) -> None:
        self.text = text if case else text.casefold()
        self.case = case
        self.bytes = text.encode("utf-8", "surrogatepass")
        self.lowers = not case and self.bytes.isascii()
        if self.lowers:
            self.bytes = self.bytes.lower()
        self.pattern = None if case or self.lowers else re.compile(b"".join(map(either, text)))
        words = WORD.findall(self.bytes)
        #: What is looked for where colours may stand between words.
        self.word = max(words, key=len) if words else self.bytes

    def holds(self, line: bytes) -> bool:
        """Whether a line, as it is shown, has it."""
        shown = plain(line)
        if self.case:
            return self.bytes in shown
        if self.lowers:
            return self.bytes in shown.lower()
        return self.text in shown.decode("utf-8", "replace").casefold()

    def hits(self, block: bytes) -> Iterator[int]:
        """Where it may be, at most once in each line."""
        if self.pattern is not None:
            position = 0
            while match := self.pattern.search(block, position):
                yield match.start()
                position = next_line(block, match.start(), match.end())
            return
        searched = block.lower() if self.lowers else block
        word = self.word if b"\x1b" in block else self.bytes
        if word != self.bytes and searched.count(word) > MANY:
            yield from self.lines(searched)
            return
        at = searched.find(word)
        while at >= 0:
            yield at
            at = searched.find(word, next_line(block, at, at + len(word)))

    def lines(self, block: bytes) -> Iterator[int]:
        """Where the lines of a block begin that have it when all control sequences are gone."""
        shown = plain(block).split(b"\n")
        begins = [0, *(match.end() for match in NEWLINE.finditer(block))]
        return (begins[number] for number, line in enumerate(shown) if self.bytes in line)


class Trouble:
    """What looks like the report of an error."""

    def holds(self, line: bytes) -> bool:
        """Whether a line is one."""
        shown = plain(line).lower()
        return IS_ERROR.search(shown) is not None and NO_ERROR.search(shown) is None

    def hits(self, block: bytes) -> Iterator[int]:
        """Where one may be."""
        low = block.lower()
        following = {word: low.find(word) for word in ERRORS}
        while following := {word: at for word, at in following.items() if at >= 0}:
            word = min(following, key=following.__getitem__)
            yield following[word]
            past = next_line(low, following[word], following[word] + 1)
            following = {one: low.find(one, past) if at < past else at for one, at in following.items()}


def either(character: str) -> bytes:
    """An expression for a character in either case."""
    forms = {form.encode("utf-8", "surrogatepass") for form in (character, character.lower(), character.upper())}
    return b"(?:" + b"|".join(map(re.escape, sorted(forms))) + b")"


def next_line(block: bytes, at: int, end: int) -> int:
    """Where to look on after a match: in the next line, or right behind it if the line is long."""
    newline = block.find(b"\n", end, at + CONTEXT)
    return newline + 1 if newline >= 0 else end


def literal(
    output: Output, streams: list[str], needle: Needle | Trouble, redactor: Redactor | None, first: bool = False
) -> Found:
    """Every line that has a piece of text, or the first of each stream only."""
    found = Found()
    deadline = time.monotonic() + PATIENCE
    for stream in streams:
        start, size = 0, output.size(stream)
        while start < size and not (first and found.offsets[stream]):
            if time.monotonic() > deadline or len(found.offsets[stream]) > MOST:
                found.is_cut = True
                break
            block = Block(output, stream, start, redactor)
            hits = (hit for hit in needle.hits(block.data) if hit < BLOCK)
            kept = block.kept(hits, needle.holds, 1 if first else MOST + 1)
            found.offsets[stream] += (start + hit for hit in kept)
            start += BLOCK
    return found


class Block:
    """A part of a stream that is searched, with enough behind it not to cut a match."""

    def __init__(self, output: Output, stream: str, start: int, redactor: Redactor | None) -> None:
        self.output, self.stream, self.start = output, stream, start
        self.redactor = redactor
        self.data = output.read(stream, start, BLOCK + 4 * LONGEST)

    def kept(self, hits: Iterator[int], holds: Holds, most: int) -> Iterator[int]:
        """The hits whose lines hold it as they are shown."""
        cover: Cover | None = None
        while together := list(islice(hits, min(TOGETHER, most))):
            cover = cover or self.cover()
            lines = cover([self.line(hit) for hit in together])
            for hit, line in zip(together, lines, strict=True):
                if holds(line):
                    yield hit
                    most -= 1
                if not most:
                    return

    def line(self, hit: int) -> tuple[int, bytes]:
        """Where the line of a hit begins in this block, perhaps before it, and the line; of a long one a part."""
        start = self.data.rfind(b"\n", max(0, hit - CONTEXT), hit) + 1
        end = self.data.find(b"\n", hit, hit + CONTEXT + LONGEST)
        if (start or not self.start or hit > CONTEXT) and end >= 0:
            return max(start, hit - CONTEXT), self.data[max(start, hit - CONTEXT) : end]
        begin = max(0, self.start + hit - CONTEXT)
        around = self.output.read(self.stream, begin, 2 * CONTEXT + LONGEST)
        at = self.start + hit - begin
        start = around.rfind(b"\n", 0, at) + 1
        end = around.find(b"\n", at)
        return begin + start - self.start, around[start : end if end >= 0 else None]

    def cover(self) -> Cover:
        """What covers the secrets of lines in this block."""
        redactor = self.redactor
        if redactor is None:
            return lambda lines: [line for _, line in lines]
        before = min(self.start, KEY_LENGTH)
        if KEY in self.data or KEY in self.output.read(self.stream, self.start - before, before):
            length = before + len(self.data) + CONTEXT
            whole = masked(self.output.read(self.stream, self.start - before, length), redactor)
            return lambda lines: [
                whole[before + start : before + start + len(line)] if before + start >= 0 else line
                for start, line in lines
            ]
        return lambda lines: covered([line for _, line in lines], redactor)


def covered(lines: list[bytes], redactor: Redactor) -> list[bytes]:
    """Lines with their secrets covered; hints of any are looked for in all of them at once."""
    hinted = redactor.lines(b"\n".join(lines).translate(FOLDED))
    if not hinted:
        return lines
    at, told = 0, []
    for line in lines:
        told.append(masked(line, redactor) if at in hinted else line)
        at += len(line) + 1
    return told


# Regular expressions, in a process of their own


def by_pattern(output: Output, streams: list[str], pattern: str, case: bool, redactor: Redactor | None) -> Found:
    """Every line that a regular expression matches, as far as it comes in the time it has.

    Raises WrongUsage if it is none.
    """
    import subprocess
    import threading

    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    child = subprocess.Popen(
        [sys.executable, "-m", "qrec.dashboard.seek"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=package,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    own = [rule.source for rule in redactor.own] if redactor else []
    head = {"pattern": pattern, "case": case, "own": own, "reveal": redactor is None}
    feeder = threading.Thread(target=feed, args=(child.stdin, head, output, streams), daemon=True)
    killer = threading.Timer(LIMIT, child.kill)
    killer.start()
    feeder.start()
    try:
        return hear(child.stdout)
    finally:
        killer.cancel()
        child.kill()
        child.wait()
        feeder.join()
        child.stdout.close()


def feed(pipe: IO[bytes], head: dict[str, object], output: Output, streams: list[str]) -> None:
    """Give the process what it is to search, in blocks of whole lines."""
    try:
        pipe.write(json.dumps(head).encode() + b"\n")
        for number, stream in enumerate(STREAMS):
            start, size = 0, output.size(stream) if stream in streams else 0
            while start < size:
                block = output.read(stream, start, BLOCK)
                if start + len(block) < size:
                    block = block[: block.rfind(b"\n") + 1] or block
                if not block:
                    break
                pipe.write(b"%d %d %d\n" % (number, start, len(block)) + block)
                start += len(block)
    except OSError:
        pass  # it was killed, or does not want more
    finally:
        try:
            pipe.close()
        except OSError:
            pass


def hear(pipe: IO[bytes]) -> Found:
    """What the process has found by the time it is over."""
    found = Found()
    found.is_cut = True
    for line in pipe:
        words = line.split()
        if words == [b"end"]:
            found.is_cut = False
        elif words[0] == b"bad":
            raise WrongUsage(f"that is no regular expression: {line[4:].decode('utf-8', 'replace').strip()}")
        elif len(words) == 2 and line.endswith(b"\n"):
            found.offsets[STREAMS[int(words[0])]].append(int(words[1]))
    return found


def main() -> None:
    """Search what comes: the process with the regular expression."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    head = json.loads(source.readline())
    try:
        pattern = re.compile(head["pattern"], 0 if head["case"] else re.IGNORECASE)
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        sink.write(b"bad %s\n" % str(error).replace("\n", " ").encode("utf-8", "replace"))
        sink.flush()
        return
    redactor = None if head["reveal"] else Redactor(head["own"])
    runs = required(head["pattern"])
    count = 0
    while count <= MOST and (words := source.readline().split()):
        number, start, size = map(int, words)
        block = source.read(size)
        for offset in matching(block, pattern, redactor, rarest(block, runs)):
            sink.write(b"%d %d\n" % (number, start + offset))
            count += 1
        sink.flush()
    if count > MOST:
        return
    sink.write(b"end\n")
    sink.flush()


def required(source: str) -> list[bytes]:
    """Words, in small letters, all of which stand in whatever an expression matches."""
    try:
        from re import _parser as parser  # type: ignore[attr-defined]
    except ImportError:  # before Python 3.11
        import sre_parse as parser
    found, run = [], ""
    for kind, value in [*parser.parse(source), (None, None)]:
        if str(kind) == "LITERAL" and chr(value).isascii() and (chr(value).isalnum() or chr(value) == "_"):
            run += chr(value)
            continue
        if len(run) > 1:
            found.append(run.lower().encode())
        run = ""
    return found


def rarest(block: bytes, words: list[bytes]) -> bytes:
    """The one of some words that is in the fewest places of a block; empty if there is none."""
    low = block.lower() if words else b""
    return min(words, key=low.count, default=b"")


def matching(block: bytes, pattern: re.Pattern[str], redactor: Redactor | None, word: bytes) -> Iterator[int]:
    """Where the lines begin that match as they are shown."""
    has_key = redactor is not None and KEY in block
    covered = masked(block, redactor) if has_key and redactor else block
    for start, end in candidates(block, pattern, word):
        line = covered[start:end]
        if redactor is not None and redactor.lines(line.translate(FOLDED)):
            line = masked(line, redactor)
        elif not has_key and not word:
            yield start
            continue
        if pattern.search(readable(line)):
            yield start


def candidates(block: bytes, pattern: re.Pattern[str], word: bytes) -> Iterator[tuple[int, int]]:
    """From where to where the lines reach that may match."""
    if word:
        low = block.lower()
        at = low.find(word)
        while at >= 0:
            end = low.find(b"\n", at) + 1 or len(low)
            yield low.rfind(b"\n", 0, at) + 1, end
            at = low.find(word, end)
        return
    lines = plain(block).decode("utf-8", "replace").split("\n")
    if not lines[-1]:
        lines.pop()  # there is no line behind the last newline
    begins: list[int] = []
    for number, line in enumerate(lines):
        if pattern.search(line.rstrip("\r")):
            begins = begins or [0, *(match.end() for match in NEWLINE.finditer(block)), len(block)]
            yield begins[number], begins[number + 1]


def readable(line: bytes) -> str:
    """A line as text, without its end."""
    return plain(line).decode("utf-8", "replace").rstrip("\r\n")


if __name__ == "__main__":
    main()
