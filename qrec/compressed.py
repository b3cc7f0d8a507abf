"""Large output, compressed: gzip that `zcat` reads, of which any part can be read by itself.

    member, member ...   a MiB of the stream each, compressed for itself
    index, index ...     members without content; an extra field holds the compressed length of each member before
    foot                  one more of these, of fixed length: how long the stream is, and where the index begins

All is in one file, so that one rename puts it in its place.
"""

from __future__ import annotations

import os
import zlib

from qrec.errors import StoreBroken, StoreUnwritable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIX = ".gz"  #: what a compressed file's name ends with
FRESH = ".gz.new"  #: and one that is being written
MEMBER = 1 << 20  #: bytes of the stream in a member
LARGE = 64 * 1024  #: bytes above which a file is worth compressing
WORTH = 0.9  #: of its length a compressed file may have at most
LEVEL = 6
AT_HAND = 3  #: members that a reader remembers

HEAD = bytes.fromhex("1f8b0804 00000000 00ff")  #: of a gzip member with an extra field
NOTHING = bytes.fromhex("0300 00000000 00000000")  #: no content, its CRC and length
PER_INDEX = 16_000  #: lengths in an index member; an extra field has 64 KiB at most
LENGTH = 4  #: bytes of a length
INDEX, FOOT = b"qi", b"qf"
AROUND = len(HEAD) + 2 + len(INDEX) + 2  #: bytes before the payload of an empty member
FOOT_SIZE = AROUND + 3 * 8 + len(NOTHING)
GZIP = 31  #: zlib's word for gzip with its head and checksum


def empty_member(kind: bytes, payload: bytes) -> bytes:
    """A member without content that carries something else."""
    extra = kind + len(payload).to_bytes(2, "little") + payload
    return HEAD + len(extra).to_bytes(2, "little") + extra + NOTHING


# Reading


class Compressed:
    """Reads a compressed stream.  FileNotFoundError if there is none, StoreBroken if it is damaged.

    The file stays open, so that a reader can finish when it is removed meanwhile.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.file = -1
        self.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.members: dict[int, bytes] = {}  #: the last few that were read
        try:
            self.size, self.starts = self.read_index()
        except (ValueError, OverflowError) as error:
            raise self.damaged() from error

    def __del__(self) -> None:
        if self.file >= 0:
            os.close(self.file)

    def damaged(self) -> StoreBroken:
        """The error for a file that is not what we wrote."""
        return StoreBroken(f"{self.path} is damaged; put back a copy of it, or see what `zcat` makes of it")

    def read_index(self) -> tuple[int, list[int]]:
        """The stream's length, and where each member begins and the last one ends.  ValueError if it is damaged."""
        end = os.fstat(self.file).st_size - FOOT_SIZE
        foot = os.pread(self.file, FOOT_SIZE, max(0, end))
        size, index, crc = (int.from_bytes(foot[at : at + 8], "little") for at in range(AROUND, AROUND + 24, 8))
        if foot != empty_member(FOOT, foot[AROUND : AROUND + 24]) or not 0 <= index <= end:
            raise ValueError(self.path)
        raw = os.pread(self.file, end - index, index)
        if zlib.crc32(raw) != crc:
            raise ValueError(self.path)
        starts = [0]
        for length in lengths_in(raw):
            starts.append(starts[-1] + length)
        if starts[-1] != index or len(starts) - 1 != -(-size // MEMBER):
            raise ValueError(self.path)
        return size, starts

    def read(self, start: int = 0, size: int | None = None) -> bytes:
        """Bytes of the stream from `start`; fewer than `size` at its end."""
        end = self.size if size is None else min(self.size, start + size)
        parts = []
        while start < end:
            number, at = divmod(start, MEMBER)
            parts.append(self.member(number)[at : at + end - start])
            start += len(parts[-1])
        return b"".join(parts)

    def member(self, number: int) -> bytes:
        """The content of a member; the last few are at hand, for who reads in small or overlapping steps."""
        if number not in self.members:
            block = self.unpacked(number)
            if len(self.members) >= AT_HAND:
                del self.members[next(iter(self.members))]
            self.members[number] = block
        return self.members[number]

    def unpacked(self, number: int) -> bytes:
        """The content of a member, read from the file."""
        start, end = self.starts[number : number + 2]
        try:
            block = zlib.decompress(os.pread(self.file, end - start, start), GZIP)
        except zlib.error as error:
            raise self.damaged() from error
        if len(block) != min(MEMBER, self.size - number * MEMBER):
            raise self.damaged()
        return block


def lengths_in(index: bytes) -> Iterator[int]:
    """The lengths that the index members tell."""
    whole = AROUND + PER_INDEX * LENGTH + len(NOTHING)
    for start in range(0, len(index), whole):
        payload = index[start + AROUND : min(start + whole, len(index)) - len(NOTHING)]
        for at in range(0, len(payload), LENGTH):
            yield int.from_bytes(payload[at : at + LENGTH], "little")


# Writing


def compress(path: str) -> int:
    """Put `path.gz` in the place of a file that nobody writes to; return how many bytes that saves.

    0: it is not worth it, and nothing was done.  The plain file goes when the compressed one was read back and is in
    its place, so that a crash loses nothing and a reader finds the one or the other.  Raises OSError, or
    StoreUnwritable for a disk that does not give back what was written.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        before = os.fstat(file)
        if estimate(file, before.st_size) > WORTH * before.st_size:
            return 0
        if not write_checked(file, before, path + FRESH):
            return 0
        saved = before.st_size - os.stat(path + FRESH).st_size
        if saved < (1 - WORTH) * before.st_size or changed(path, before):
            os.unlink(path + FRESH)
            return 0
    finally:
        os.close(file)
    os.rename(path + FRESH, path + SUFFIX)
    sync_folder(os.path.dirname(path))  # the new name must be on the disk before the old one goes from it
    os.unlink(path)
    return saved


def estimate(file: int, size: int) -> int:
    """About how many bytes would be left, judged by a file's beginning, middle and end."""
    blocks = [os.pread(file, MEMBER, at) for at in sorted({0, max(0, size // 2), max(0, size - MEMBER)})]
    read = sum(map(len, blocks))
    return size * sum(len(zlib.compress(block, LEVEL)) for block in blocks) // read if read else 0


def estimated(path: str) -> int:
    """About how many bytes compressing a file would save; 0 if it is not worth it, or the file is gone."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        size = os.fstat(file).st_size
        left = estimate(file, size)
        return size - left if left <= WORTH * size else 0
    finally:
        os.close(file)


def write_checked(source: int, before: os.stat_result, fresh: str) -> bool:
    """Write the compressed file and read it back; nothing is left of it if that fails.  False if the source changed."""
    target = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(target, 0o600)
        size, crc = write(source, target)
        os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.fsync(target)
        if size == before.st_size and check(fresh) == (size, crc):
            return True
        os.unlink(fresh)
        return False
    except BaseException:
        if os.path.exists(fresh):
            os.unlink(fresh)
        raise
    finally:
        os.close(target)


def write(source: int, target: int) -> tuple[int, int]:
    """Compress one descriptor into another; return the length and CRC of what was read."""
    size = crc = written = 0
    lengths = []
    while block := read_block(source, size):
        size, crc = size + len(block), zlib.crc32(block, crc)
        packer = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
        lengths.append(put(target, packer.compress(block) + packer.flush()))
        written += lengths[-1]
    index = b"".join(index_members(lengths))
    put(target, index)
    put(target, empty_member(FOOT, b"".join(n.to_bytes(8, "little") for n in (size, written, zlib.crc32(index)))))
    return size, crc


def read_block(source: int, start: int) -> bytes:
    """The content of the member that begins at `start`: a whole MiB, unless the stream ends before."""
    block = b""
    while len(block) < MEMBER and (part := os.pread(source, MEMBER - len(block), start + len(block))):
        block += part
    return block


def index_members(lengths: list[int]) -> Iterator[bytes]:
    """The index of members of these lengths."""
    for start in range(0, len(lengths), PER_INDEX):
        told = lengths[start : start + PER_INDEX]
        yield empty_member(INDEX, b"".join(length.to_bytes(LENGTH, "little") for length in told))


def put(target: int, block: bytes) -> int:
    """Write all of a block; return its length."""
    view = memoryview(block)
    while view:
        view = view[os.write(target, view) :]
    return len(block)


def check(path: str) -> tuple[int, int]:
    """The length and CRC of what a compressed file holds.  StoreUnwritable if it cannot be read back."""
    crc = 0
    try:
        packed = Compressed(path)
        for number in range(len(packed.starts) - 1):
            crc = zlib.crc32(packed.member(number), crc)
    except StoreBroken as error:
        raise StoreUnwritable(f"{path} cannot be read back as it was written; check that disk") from error
    return packed.size, crc


def changed(path: str, before: os.stat_result) -> bool:
    """Whether a file is not any more what it was."""
    now = os.stat(path)
    return (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns)


def sync_folder(folder: str) -> None:
    """Wait until the names in a folder are on the disk, where the system can say so."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some file systems cannot
    finally:
        os.close(descriptor)
