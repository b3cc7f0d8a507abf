"""An attempt's output: written while it runs, read while it runs and for ever after.

While an attempt runs, three plain files in its folder hold what it printed: `stdout` and `stderr`, byte-exact, and
`timing`, a text line a block: milliseconds since the line before, `o` or `e`, and the number of bytes.  When it has
ended, small output moves into the store (`Kept`) and the files go.

The index stays small whatever the command does.  Blocks of one stream that come within 10 ms share a line; in a run of
more than a quarter of an hour, within a hundred-thousandth of the time that has passed.  Blocks that change the stream
within that time have a line of their own for the first 10,000 changes and then for one a KiB of output; beyond that
there is one line a stream, and the order of the streams within these 10 ms is lost.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from qrec.task import Kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from qrec.compressed import Compressed

STREAMS = ("stdout", "stderr")
JOB = {"stdout": "job.stdout", "stderr": "job.stderr"}  #: what a job printed that another scheduler ran
EXTRAS = ("series", "patch", "script")  #: files that others write beside the output
MARKS = {"stdout": "o", "stderr": "e"}
NAMES = {mark: name for name, mark in MARKS.items()}
FOLD_LIMIT = 64 * 1024  #: bytes of stdout and stderr together that still move into the store
TRIES = 5  #: how often a folder is made anew that somebody else, who found it empty, has removed
ROOM = 256 * 1024  #: bytes of recorded output that are given up on a full disk, so that the record can be closed
MERGED = 0.010  #: seconds within which blocks of one stream share a line of the timing index
COARSER = 100_000  #: and a part of so many of the time that has passed, once that is more: a day needs no 10 ms
SILENCE = 0.1  #: seconds after which a block is told of in the index at once
CHANGES = 10_000  #: lines for changes of stream within that time: at the start, and one more for each BYTES_A_CHANGE
BYTES_A_CHANGE = 1024
BLOCK = 1 << 20
LINE = rb"(?m)^(\d{1,12}) ([oe]) (\d{1,18})$"  #: a line of the index; whatever else is there comes from a crash
INDEX_PART = 1 << 16  #: bytes of the index that are read at a time


def attempt_folder(home: str, uid: str, attempt: int) -> str:
    """Where the output of an attempt lies while it runs, or for ever if it is large."""
    return os.path.join(home, "attempts", uid.partition("-")[2][:2], f"{uid}.{attempt}")


def uids_with_folders(home: str) -> set[str]:
    """The tasks whose output, or some of it, lies in files."""
    top = os.path.join(home, "attempts")
    return {name.rpartition(".")[0] for part in listed(top) for name in listed(os.path.join(top, part))}


def listed(folder: str) -> list[str]:
    """What is in a folder; nothing if it is none."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


# Writing


class Writer:
    """Writes the files of one attempt.  Each is made with its first byte: silent commands cost nothing.

    Nothing here raises: the first failure is kept in `trouble`, and recording ends there while the command goes on.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.trouble: OSError | None = None
        self.sizes = dict.fromkeys(STREAMS, 0)
        self.began = self.last = self.newest = time.monotonic()
        self.files: dict[str, int] = {}
        self.pending: dict[str, int] = {}  #: bytes that the index does not tell of yet, by stream
        self.since = 0.0  #: when the first of them came
        self.changes: float = CHANGES  #: how many changes of stream may still have a line of their own

    def write(self, stream: str, block: memoryview) -> None:
        """Record a block: the bytes first, then when they came."""
        if self.trouble is not None:
            return
        try:
            self.append(stream, block)
            self.sizes[stream] += len(block)
            self.note(stream, len(block))
        except OSError as error:
            self.trouble = error
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.make_room()

    def make_room(self) -> None:
        """Give up the end of what was recorded: it is not whole any more, and how the command ended matters more."""
        for file in self.files.values():
            size = os.fstat(file).st_size
            if size > 2 * ROOM:
                os.ftruncate(file, size - ROOM)

    def append(self, name: str, block: memoryview | bytes) -> None:
        """Write all of a block to one of the files."""
        file = self.files.get(name)
        if file is None:
            file = self.files[name] = self.create(name)
        view = memoryview(block)
        while view:
            view = view[os.write(file, view) :]

    def create(self, name: str) -> int:
        """Open one of the files, and make the folder with the first."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        path = os.path.join(self.folder, name)
        for _ in range(TRIES):
            try:
                return os.open(path, flags, 0o600)
            except FileNotFoundError:
                make_private(self.folder)
        return os.open(path, flags, 0o600)

    def note(self, stream: str, size: int) -> None:
        """Note in the index that a stream grew, together with the blocks before if they came just now.

        What comes after a silence is told of at once, so that whoever looks at a running task sees when it came.
        """
        now = time.monotonic()
        silent, self.newest = now - self.newest >= SILENCE, now
        self.changes += size / BYTES_A_CHANGE
        if self.pending and not self.joins(stream, now):
            self.flush()
        if not self.pending:
            self.since = now
        self.pending[stream] = self.pending.get(stream, 0) + size
        if silent:
            self.flush()

    def joins(self, stream: str, now: float) -> bool:
        """Whether a block shares the lines of the pending ones; a change of stream that does not is paid for."""
        if now - self.since >= max(MERGED, (now - self.began) / COARSER):
            return False
        if list(self.pending) == [stream] or self.changes < 1:
            return True
        self.changes -= 1
        return False

    def flush(self) -> None:
        """Write the pending lines of the index."""
        pause = round((self.since - self.last) * 1000)
        lines = ""
        for stream, size in self.pending.items():
            lines += f"{pause} {MARKS[stream]} {size}\n"
            self.last += pause / 1000  # not `since`: rounding must not add up over a long run
            pause = 0
        self.pending = {}
        if lines:
            self.append("timing", lines.encode())

    def observe(self) -> None:
        """Note how far the files have grown by somebody else's writing; no finer in time than these calls."""
        for stream in STREAMS:
            size = file_size(os.path.join(self.folder, stream))
            if size > self.sizes[stream]:
                self.note(stream, size - self.sizes[stream])
                self.sizes[stream] = size

    def close(self) -> None:
        """Write what is pending and close the files."""
        try:
            self.flush()
        except OSError as error:
            self.trouble = self.trouble or error
        for file in self.files.values():
            if not os.fstat(file).st_nlink:
                self.trouble = self.trouble or OSError(errno.ENOENT, "removed while the command ran")
            os.close(file)
        self.files.clear()


def make_private(folder: str) -> None:
    """Make a folder, and those above it, that only the user may enter, whatever the umask."""
    for _ in range(TRIES):
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            return
        except FileNotFoundError:
            make_private(os.path.dirname(folder))
        else:
            try:
                os.chmod(folder, 0o700)  # the umask may have taken away even our own rights
            except FileNotFoundError:
                continue  # somebody else has found it empty
            return
    os.mkdir(folder, 0o700)


def private(path: str, flags: int) -> int:
    """Open a file that is for the user alone."""
    return os.open(path, flags, 0o600)


def fold(folder: str) -> Kept | None:
    """What an ended attempt left in its folder, if it is small enough for the store; None if it stays in files."""
    files = Files(folder)
    if sum(map(files.size, STREAMS)) > FOLD_LIMIT:
        return None
    return Kept(stdout=files.read("stdout"), stderr=files.read("stderr"), timing=files.timing(), extras=files.extras())


def remove_folder(folder: str) -> None:
    """Remove an attempt's folder and, if it was the last there, the one above.  What is gone already is fine."""
    try:
        for _ in range(TRIES):
            for name in listed(folder):
                remove_file(os.path.join(folder, name))
            if not listed(folder):  # `qrec gc` may just have put a compressed file in the place of another
                break
        os.rmdir(folder)
        os.rmdir(os.path.dirname(folder))
    except OSError:
        pass  # never made, not empty, or read-only: nothing that concerns the caller


def remove_file(path: str) -> None:
    """Remove a file that may be gone.  Raises OSError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


# Reading


class Files:
    """Reads the output of an attempt from its folder, finished or growing.

    What is there and is no plain file of that folder, but a link or a pipe, counts as missing: it could lead to any
    other file, or keep its reader waiting.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.compressed: dict[str, Compressed] = {}

    def path(self, name: str) -> str:
        """Where one of the files is, or would be."""
        return os.path.join(self.folder, name)

    def size(self, stream: str) -> int:
        """How many bytes the stream has by now."""
        path = self.path(stream)
        size = file_size(path) if is_plain(path) else 0
        if not size and (packed := self.packed(stream)):
            return packed.size
        return size

    def read(self, stream: str, start: int = 0, size: int | None = None) -> bytes:
        """Bytes of a stream from `start`; fewer than `size` at its end, none if there never were any."""
        try:
            if stream not in self.compressed:
                return read_part(self.path(stream), start, size, plain)
        except (FileNotFoundError, NotADirectoryError):
            pass
        packed = self.packed(stream)
        return packed.read(start, size) if packed else b""

    def packed(self, name: str) -> Compressed | None:
        """What `qrec gc` has made of the file: in its place before the plain one goes; None if it has not."""
        if name not in self.compressed:
            path = self.path(name) + ".gz"
            if not is_plain(path):
                return None
            from qrec.compressed import Compressed

            try:
                self.compressed[name] = Compressed(path)
            except FileNotFoundError:
                return None  # removed just now
        return self.compressed[name]

    def timing(self) -> bytes:
        """The index as it is written."""
        return self.read("timing")

    def extras(self) -> dict[str, bytes]:
        """What else was recorded, by name; nothing of what is empty."""
        return {name: content for name in EXTRAS if (content := self.read(name))}


class Moving(Files):
    """The files of an attempt that may move into the store while they are read: what is gone here is read there."""

    def __init__(self, folder: str, kept: Callable[[], Kept | None]) -> None:
        super().__init__(folder)
        self.kept = kept
        self.moved: InStore | None = None

    def size(self, stream: str) -> int:
        """See Files."""
        return super().size(stream) or (there.size(stream) if (there := self.there(stream)) else 0)

    def read(self, stream: str, start: int = 0, size: int | None = None) -> bytes:
        """See Files."""
        found = super().read(stream, start, size)
        return found or (there.read(stream, start, size) if (there := self.there(stream)) else b"")

    def extras(self) -> dict[str, bytes]:
        """See Files."""
        found = {name: content for name in EXTRAS if (content := Files.read(self, name))}
        return found or (there.extras() if (there := self.there()) else {})

    def there(self, name: str = "") -> InStore | None:
        """What the store has, if a file, or the folder, is here no more."""
        if self.moved is None and not os.path.lexists(self.path(name)) and (kept := self.kept()) is not None:
            self.moved = InStore(kept, Files(self.folder))
        return self.moved


class InStore:
    """Reads the output of an attempt that the store keeps; the same verbs as `Files`."""

    def __init__(self, kept: Kept, beside: Files | None = None) -> None:
        self.streams = kept.parts()
        self.beside = beside  #: files of what came later and was too large

    def size(self, stream: str) -> int:
        """How many bytes the stream has."""
        if stream in self.streams:
            return len(self.streams[stream])
        return self.beside.size(stream) if self.beside else 0

    def read(self, stream: str, start: int = 0, size: int | None = None) -> bytes:
        """Bytes of a stream from `start`; fewer than `size` at its end."""
        if stream in self.streams or self.beside is None:
            return self.streams.get(stream, b"")[start : None if size is None else start + size]
        return self.beside.read(stream, start, size)

    def timing(self) -> bytes:
        """The index as it was written."""
        return self.streams["timing"]

    def extras(self) -> dict[str, bytes]:
        """What else was recorded, by name."""
        streams = (*STREAMS, "timing", *JOB.values())
        return {name: content for name, content in self.streams.items() if name not in streams}


class JobFiles:
    """The files that a running job writes: for each stream some, as (job, path), which are read as one."""

    def __init__(self, paths: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        self.paths = {JOB[stream]: [path for _, path in pairs] for stream, pairs in paths.items()}

    def size(self, stream: str) -> int:
        """How many bytes the stream has by now."""
        return sum(map(file_size, self.paths.get(stream, [])))

    def read(self, stream: str, start: int = 0, size: int | None = None) -> bytes:
        """Bytes of a stream from `start`, over its files in turn."""
        found = []
        for path in self.paths.get(stream, []):
            length = file_size(path)
            if start < length and size != 0:
                part = read_part(path, start, size)
                found.append(part)
                size = None if size is None else size - len(part)
            start = max(0, start - length)
        return b"".join(found)

    def timing(self) -> bytes:
        """Nobody saw when it came."""
        return b""

    def extras(self) -> dict[str, bytes]:
        """Nothing yet."""
        return {}


class OfJob:
    """The output of a job that another scheduler ran, in the place of what its submission printed."""

    def __init__(self, output: Output) -> None:
        self.output = output

    def size(self, stream: str) -> int:
        """How many bytes the stream has."""
        return self.output.size(JOB[stream]) if stream in JOB else 0

    def read(self, stream: str, start: int = 0, size: int | None = None) -> bytes:
        """Bytes of a stream from `start`; fewer than `size` at its end."""
        return self.output.read(JOB[stream], start, size) if stream in JOB else b""

    def timing(self) -> bytes:
        """Nobody saw when it came."""
        return b""

    def extras(self) -> dict[str, bytes]:
        """What else was recorded, by name."""
        return self.output.extras()


class Frozen:
    """A growing output as it is now; the same verbs."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.index = output.timing()
        self.sizes = {stream: output.size(stream) for stream in STREAMS}

    def size(self, stream: str) -> int:
        """How many bytes the stream had."""
        return self.sizes[stream]

    def read(self, stream: str, start: int = 0, size: int | None = None) -> bytes:
        """Bytes of a stream from `start`, none that came later."""
        left = max(0, self.sizes[stream] - start)
        return self.output.read(stream, start, left if size is None else min(size, left))

    def timing(self) -> bytes:
        """The index as it was."""
        return self.index

    def extras(self) -> dict[str, bytes]:
        """What else was recorded, by now."""
        return self.output.extras()


if TYPE_CHECKING:
    from qrec.shown import Masked

    Output = Files | InStore | Frozen | Masked | OfJob | JobFiles
    Opener = Callable[[str, int], int]


def is_plain(path: str) -> bool:
    """Whether there is a plain file in an attempt's folder, that is in its place, too."""
    folder = os.path.dirname(path)
    try:
        return stat.S_ISREG(os.lstat(path).st_mode) and not any(map(os.path.islink, (folder, os.path.dirname(folder))))
    except (FileNotFoundError, NotADirectoryError):
        return False


def plain(path: str, flags: int) -> int:
    """Open such a file, and not what it may have become just now.  FileNotFoundError if there is none."""
    if not is_plain(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def read_part(path: str, start: int, size: int | None, opener: Opener | None = None) -> bytes:
    """Bytes of a file from `start`."""
    with open(path, "rb", opener=opener) as file:
        file.seek(start)
        return file.read() if size is None else file.read(size)


def file_size(path: str) -> int:
    """The size of a file in bytes; 0 if there is none."""
    try:
        return os.stat(path).st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def sequence(output: Output) -> Iterator[tuple[float, str, int]]:
    """The blocks of an output in order: seconds since the start, stream, bytes.

    The index may be behind the files, or lost with a crash: what it does not tell of comes at the end.
    """
    import re

    left = {stream: output.size(stream) for stream in STREAMS}
    passed = 0
    for line in re.finditer(LINE, output.timing()):
        pause, mark, told = line.groups()
        passed += int(pause)
        stream = NAMES[mark.decode()]
        size = min(int(told), left[stream])
        left[stream] -= size
        if size:
            yield passed / 1000, stream, size
    yield from ((passed / 1000, stream, size) for stream, size in left.items() if size)


def from_the_end(output: Output) -> Iterator[tuple[float, str, int, int]]:
    """The blocks of `sequence` from the last to the first: seconds since the start, stream, where it begins, bytes.

    The end of a long index comes at once where one stream is all there is; else after its sums.
    """
    index = output.timing()
    passed, told = sums(index)
    end = {stream: output.size(stream) for stream in STREAMS}
    excess = {stream: told[stream] - end[stream] for stream in STREAMS}
    for stream in reversed(STREAMS):
        if excess[stream] < 0:
            end[stream] += excess[stream]
            yield passed / 1000, stream, end[stream], -excess[stream]
    for pause, stream, size in lines_from_the_end(index):
        spared = min(size, max(0, excess[stream]))
        excess[stream] -= spared
        end[stream] -= size - spared
        if size > spared:
            yield passed / 1000, stream, end[stream], size - spared
        passed -= pause


def sums(index: bytes) -> tuple[int, dict[str, int]]:
    """The milliseconds of an index, and the bytes of each stream that it tells of."""
    passed, told = 0, dict.fromkeys(STREAMS, 0)
    for pause, stream, size in lines_from_the_end(index):
        passed += pause
        told[stream] += size
    return passed, told


def lines_from_the_end(index: bytes) -> Iterator[tuple[int, str, int]]:
    """The lines of an index from the last to the first: milliseconds, stream, bytes."""
    import re

    pattern = re.compile(LINE)
    names = {mark.encode(): stream for mark, stream in NAMES.items()}
    end = len(index)
    while end > 0:
        start = index.rfind(b"\n", 0, max(0, end - INDEX_PART)) + 1
        for pause, mark, size in reversed(pattern.findall(index, start, end)):
            yield int(pause), names[mark], int(size)
        end = start - 1  # the newline before


class Ahead:
    """Reads an output in large blocks where it is asked for one small block after the other."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.starts = dict.fromkeys(STREAMS, 0)
        self.blocks = dict.fromkeys(STREAMS, b"")

    def read(self, stream: str, start: int, size: int) -> bytes:
        """Bytes of a stream from `start`."""
        offset = start - self.starts[stream]
        if offset < 0 or offset + size > len(self.blocks[stream]):
            self.starts[stream], self.blocks[stream] = start, self.output.read(stream, start, max(size, BLOCK))
            offset = 0
        return self.blocks[stream][offset : offset + size]


def pieces(output: Output, streams: Sequence[str] = STREAMS) -> Iterator[tuple[float, str, bytes]]:
    """The chosen streams in the order in which they came: seconds since the start, stream, a block of bounded size."""
    ahead, where = Ahead(output), dict.fromkeys(STREAMS, 0)
    for at, stream, size in sequence(output):
        start = where[stream]
        where[stream] += size
        if stream in streams:
            yield from ((at, stream, ahead.read(stream, *span)) for span in spans(start, size))


def merged(output: Output, streams: Sequence[str] = STREAMS) -> Iterator[tuple[str, bytes]]:
    """The same without the times."""
    return ((stream, block) for _, stream, block in pieces(output, streams))


def spans(start: int, size: int) -> Iterator[tuple[int, int]]:
    """A stretch of bytes cut into stretches of at most a block."""
    for offset in range(0, size, BLOCK):
        yield start + offset, min(BLOCK, size - offset)


def last_lines(output: Output, lines: int, streams: Sequence[str] = STREAMS) -> Iterator[tuple[str, bytes]]:
    """The end of `merged` that holds the last so many lines.

    Reads backwards, so that the end of a large output comes at once.
    """
    return ((stream, output.read(stream, *span)) for _, stream, *span in last_spans(output, lines, streams))


def last_spans(
    output: Output, lines: int, streams: Sequence[str] = STREAMS, apart: bool = False
) -> list[tuple[float, str, int, int]]:
    """Where the last so many lines are: seconds since the start, stream, where it begins, bytes.

    `apart` says that a line ends, too, where the other stream begins to speak.
    """
    found: list[tuple[float, str, int, int]] = []
    wanted = lines
    for at, stream, begin, length in from_the_end(output) if lines else ():
        for start, size in reversed(list(spans(begin, length))) if stream in streams else ():
            block = output.read(stream, start, size)
            # The very last newline ends a line and begins none.
            breaks = newlines = block.count(b"\n") - (not found and block.endswith(b"\n"))
            if apart and found and found[-1][1] != stream and not block.endswith(b"\n"):
                breaks += 1
            if breaks >= wanted:
                rest = len(after_breaks(block, breaks - wanted)) if breaks - wanted < newlines else 0
                return [(at, stream, start + size - rest, rest)] * bool(rest) + found[::-1]
            wanted -= breaks
            found.append((at, stream, start, size))
    return found[::-1]


def after_breaks(block: bytes, skipped: int) -> bytes:
    """The block without its first lines, `skipped` + 1 of them."""
    position = 0
    for _ in range(skipped + 1):
        position = block.index(b"\n", position) + 1
    return block[position:]


def text(block: bytes) -> str:
    """Bytes for people: what is not UTF-8 is shown as a replacement character."""
    return block.decode("utf-8", "replace")


def head_and_tail(output: Output, stream: str, limit: int = FOLD_LIMIT) -> tuple[bytes, int, bytes]:
    """The beginning of a stream, how many bytes are left out, and its end; cut at line breaks where there are any."""
    size = output.size(stream)
    if size <= limit:
        return output.read(stream), 0, b""
    half = limit // 2
    head, tail = output.read(stream, 0, half), output.read(stream, size - half, half)
    head = head[: head.rfind(b"\n") + 1] or head
    tail = tail[tail.find(b"\n") + 1 :] or tail
    return head, size - len(head) - len(tail), tail


def text_lines(blocks: Iterable[bytes]) -> list[str]:
    """Text split at newlines only, each kept: the shape in which `get` publishes output."""
    parts = text(b"".join(blocks)).split("\n")
    return [part + "\n" for part in parts[:-1]] + [part for part in parts[-1:] if part]
