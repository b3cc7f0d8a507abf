"""Compressed output: what is read is what was written, and a crash at any moment loses nothing."""

from __future__ import annotations

import errno
import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrec import compressed
from qrec.compressed import MEMBER, Compressed, compress
from qrec.errors import StoreBroken, StoreUnwritable
from qrec.output import Files, last_lines, merged
from tests.helpers import environment

LINES = b"".join(b"line %d of many\n" % number for number in range(200_000))
assert len(LINES) > 3 * MEMBER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An attempt's folder with a large output."""
    folder = tmp_path / "attempt"
    folder.mkdir()
    (folder / "stdout").write_bytes(LINES)
    (folder / "timing").write_bytes(b"0 o %d\n" % len(LINES))
    return folder


def test_what_is_read_is_what_was_written(folder):
    before = folder.joinpath("stdout").stat()
    saved = compress(str(folder / "stdout"))
    assert sorted(os.listdir(folder)) == ["stdout.gz", "timing"]
    packed = folder / "stdout.gz"
    assert saved == len(LINES) - packed.stat().st_size > 0.5 * len(LINES)
    assert (packed.stat().st_mode & 0o777, packed.stat().st_mtime_ns) == (0o600, before.st_mtime_ns)
    files = Files(str(folder))
    assert (files.size("stdout"), files.read("stdout")) == (len(LINES), LINES)
    assert b"".join(block for _, block in merged(files)) == LINES
    assert list(last_lines(files, 2)) == [("stdout", b"line 199998 of many\nline 199999 of many\n")]


def test_other_programs_read_it(folder):
    compress(str(folder / "stdout"))
    assert gzip.decompress((folder / "stdout.gz").read_bytes()) == LINES
    assert subprocess.run(["zcat", folder / "stdout.gz"], capture_output=True, check=True).stdout == LINES
    subprocess.run(["gzip", "--test", folder / "stdout.gz"], check=True)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.integers(0, len(LINES) + 100), st.none() | st.integers(0, 2 * MEMBER), st.booleans())
def test_any_part_of_it(tmp_path_factory, start, size, at_an_edge):
    packed = shared_copy(tmp_path_factory)
    start = start // MEMBER * MEMBER if at_an_edge else start
    assert packed.read(start, size) == LINES[start : None if size is None else start + size]


SHARED: list[Compressed] = []


def shared_copy(tmp_path_factory: pytest.TempPathFactory) -> Compressed:
    if not SHARED:
        path = tmp_path_factory.mktemp("shared") / "stdout"
        path.write_bytes(LINES)
        compress(str(path))
        SHARED.append(Compressed(f"{path}.gz"))
    return SHARED[0]


@pytest.mark.parametrize("size", [MEMBER - 1, MEMBER, MEMBER + 1, 2 * MEMBER, 70_000])
def test_lengths_around_that_of_a_member(tmp_path, size):
    path = tmp_path / "stdout"
    path.write_bytes(LINES[:size])
    assert compress(str(path))
    packed = Compressed(f"{path}.gz")
    assert (packed.size, packed.read(), packed.read(size - 1, 5)) == (size, LINES[:size], LINES[size - 1 : size])


def test_an_index_of_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "MEMBER", 100)
    monkeypatch.setattr(compressed, "PER_INDEX", 7)
    monkeypatch.setattr(compressed, "WORTH", 10)
    path = tmp_path / "stdout"
    for size in (100, 699, 700, 701, 1400, 2345):
        path.write_bytes(LINES[:size])
        source, target = os.open(path, os.O_RDONLY), os.open(f"{path}.gz", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        compressed.write(source, target)
        os.close(source)
        os.close(target)
        packed = Compressed(f"{path}.gz")
        assert (packed.size, packed.read(), packed.read(699, 10)) == (size, LINES[:size], LINES[:size][699:709])
        assert gzip.decompress(Path(f"{path}.gz").read_bytes()) == LINES[:size]


def test_a_small_part_is_cheap(folder, monkeypatch):
    """One member is read for it, and only once by a reader who goes on in small steps."""
    compress(str(folder / "stdout"))
    calls: list[bytes] = []
    whole = zlib.decompress

    def counted(data: bytes, bits: int) -> bytes:
        calls.append(data)
        return whole(data, bits)

    monkeypatch.setattr(zlib, "decompress", counted)
    files = Files(str(folder))
    for start in range(2 * MEMBER, 2 * MEMBER + 1000, 10):
        assert files.read("stdout", start, 10) == LINES[start : start + 10]
    assert len(calls) == 1
    calls.clear()
    files = Files(str(folder))
    for start in range(0, len(LINES), MEMBER):  # as who wants to see a little around each part
        files.read("stdout", max(0, start - 5), MEMBER + 10)
    assert len(calls) == len(LINES) // MEMBER + 1


def test_what_does_not_shrink_stays(tmp_path):
    path = tmp_path / "attempt" / "stdout"
    path.parent.mkdir()
    for content in (random.Random(1).randbytes(200_000), b""):
        path.write_bytes(content)
        assert compress(str(path)) == compressed.estimated(str(path)) == 0
        assert os.listdir(path.parent) == ["stdout"]
        assert path.read_bytes() == content


def test_what_does_not_shrink_though_its_ends_do(tmp_path):
    content = bytes(MEMBER) + random.Random(1).randbytes(28 * MEMBER) + bytes(MEMBER)
    middle = len(content) // 2
    content = content[:middle] + bytes(MEMBER) + content[middle + MEMBER :]
    (tmp_path / "stdout").write_bytes(content)
    assert compressed.estimated(str(tmp_path / "stdout")) > 0
    assert compress(str(tmp_path / "stdout")) == 0
    assert not list(tmp_path.glob("*.gz*"))
    assert (tmp_path / "stdout").read_bytes() == content


def test_a_file_that_changes_meanwhile_stays(folder, monkeypatch):
    whole = compressed.check

    def grown(path):
        with open(folder / "stdout", "ab") as file:
            file.write(b"more")
        return whole(path)

    monkeypatch.setattr(compressed, "check", grown)
    assert compress(str(folder / "stdout")) == 0
    assert sorted(os.listdir(folder)) == ["stdout", "timing"]
    assert Files(str(folder)).read("stdout") == LINES + b"more"


@pytest.mark.parametrize("at", [0, 12, 1000, -1, -20, -40, -60])
def test_damage_is_told(folder, at):
    compress(str(folder / "stdout"))
    content = bytearray((folder / "stdout.gz").read_bytes())
    content[at] ^= 0xFF
    (folder / "stdout.gz").write_bytes(content)
    with pytest.raises(StoreBroken, match=r"stdout\.gz is damaged"):
        Files(str(folder)).read("stdout")


@pytest.mark.parametrize("left", [0, 10, 45, 46, 100_000])
def test_a_torn_file_is_told(folder, left):
    compress(str(folder / "stdout"))
    os.truncate(folder / "stdout.gz", left)
    with pytest.raises(StoreBroken, match=r"stdout\.gz is damaged"):
        Files(str(folder)).size("stdout")


def test_a_disk_that_gives_back_something_else_costs_nothing(folder, monkeypatch):
    whole = compressed.put
    monkeypatch.setattr(compressed, "put", lambda target, block: whole(target, block[:-5] + b"wrong"))
    with pytest.raises(StoreUnwritable, match="cannot be read back"):
        compress(str(folder / "stdout"))
    assert sorted(os.listdir(folder)) == ["stdout", "timing"]


def test_a_full_disk_costs_nothing(folder, monkeypatch):
    def full(target, block):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(compressed, "put", full)
    with pytest.raises(OSError, match="No space"):
        compress(str(folder / "stdout"))
    assert sorted(os.listdir(folder)) == ["stdout", "timing"]


#: Dies right before the so-many-th call that changes anything, or right after the last.
DIE = """
import os, signal, sys
from qrec.compressed import compress
left = int(sys.argv[2])
def mortal(call):
    def called(*given, **more):
        global left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*given, **more)
    return called
for name in "open write fchmod utime fsync rename unlink close".split():
    setattr(os, name, mortal(getattr(os, name)))
compress(sys.argv[1])
os._exit(0)
"""


def test_a_kill_at_any_moment_loses_nothing(folder, tmp_path):
    (folder / "stdout").write_bytes(LINES[: MEMBER + 1000])
    seen, moment, code = set(), 0, -signal.SIGKILL
    while code:
        again = tmp_path / f"again{moment}"
        shutil.copytree(folder, again)
        code = subprocess.run([sys.executable, "-c", DIE, again / "stdout", str(moment)], env=environment()).returncode
        assert code in (0, -signal.SIGKILL)
        assert Files(str(again)).read("stdout") == LINES[: MEMBER + 1000]
        names = frozenset(os.listdir(again))
        seen.add(names)
        if "stdout" in names:  # the next call does it
            assert compress(str(again / "stdout"))
        assert Files(str(again)).read("stdout") == LINES[: MEMBER + 1000]
        assert not {"stdout", "stdout.gz.new"} & set(os.listdir(again))
        shutil.rmtree(again)
        moment += 1
    assert moment > 10
    assert {frozenset({"timing", *names.split()}) for names in
            ("stdout", "stdout stdout.gz.new", "stdout stdout.gz", "stdout.gz")} == seen  # fmt: skip


def test_a_reader_at_the_same_time_sees_it_whole(folder):
    """Again and again compressed under the eyes of readers who come, and of one who stays."""
    over = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        staying = Files(str(folder))
        while not over.is_set():
            for files in (staying, Files(str(folder))):
                start = random.randrange(len(LINES))
                found = files.size("stdout"), files.read("stdout", start, 100)
                if found != (len(LINES), LINES[start : start + 100]):
                    wrong.append((start, found))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(5):
        compress(str(folder / "stdout"))
        (folder / "new").write_bytes(LINES)
        os.rename(folder / "new", folder / "stdout")
    over.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_who_reads_goes_on_when_it_is_removed(folder):
    compress(str(folder / "stdout"))
    files = Files(str(folder))
    assert files.read("stdout", 0, 10) == LINES[:10]
    shutil.rmtree(folder)
    assert files.read("stdout") == LINES
    assert (Files(str(folder)).read("stdout"), Files(str(folder)).size("stdout")) == (b"", 0)
