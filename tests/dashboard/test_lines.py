"""The index of lines, against the plainest way to find them."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrec.dashboard import lines
from qrec.dashboard.lines import Index, Row
from qrec.output import STREAMS, Files, InStore, sequence
from qrec.task import Kept


def output(blocks: list[tuple[str, bytes]], told: int | None = None) -> InStore:
    """What printed these blocks; only the first so many of them are in the timing index."""
    timing = b"".join(b"5 %c %d\n" % (mark.encode(), len(block)) for mark, block in blocks[:told])
    streams = {name: b"".join(block for mark, block in blocks if mark == name[3]) for name in STREAMS}
    return InStore(Kept(stdout=streams["stdout"], stderr=streams["stderr"], timing=timing))


def plain_rows(output: InStore, frames: bool, piece: int) -> list[tuple[int, str, bytes, bool]]:
    """The number of its line, the stream and the bytes of every row, and whether it goes on with that line."""
    at = dict.fromkeys(STREAMS, 0)
    runs: list[tuple[str, bytes]] = []
    for _, stream, size in sequence(output):
        block = output.read(stream, at[stream], size)
        at[stream] += size
        if runs and runs[-1][0] == stream:
            block = runs.pop()[1] + block
        runs.append((stream, block))
    found, line = [], 0
    for stream, block in runs:
        row, frame, has_begun, is_rest = b"", 0, False, False
        for position, byte in enumerate(block):
            if frame == piece and byte not in b"\r\n":
                found.append((line, stream, row, is_rest))
                row, frame, is_rest = b"", 0, True
            row, frame, has_begun = row + bytes([byte]), frame + 1, True
            if byte == 10:
                found.append((line, stream, row, is_rest))
                row, frame, line, has_begun, is_rest = b"", 0, line + 1, False, False
            elif byte == 13 and block[position + 1 : position + 2] != b"\n":
                frame = 0
                if frames:
                    found.append((line, stream, row, is_rest))
                    row, is_rest = b"", False
        if row:
            found.append((line, stream, row, is_rest))
        line += has_begun
    return found


def content(output: InStore, row: Row) -> bytes:
    return output.read(row.stream, row.start, row.end - row.start)


def identity(row: Row) -> tuple[int, int, str, int, int, bool]:
    """What does not depend on where it was looked for from; of a long row, how much is shown does."""
    return row.row, row.line, row.stream, row.place, row.end, row.is_rest


@pytest.fixture
def small(monkeypatch):
    """An index that remembers a state at each few bytes, and cuts short lines."""
    for name, value in {"CHUNK": 11, "PIECE": 8, "CLEAN": 4, "BLOCK": 29}.items():
        monkeypatch.setattr(lines, name, value)


BLOCKS = st.lists(
    st.tuples(st.sampled_from("oe"), st.text("ab\n\r", min_size=1, max_size=30).map(str.encode)), max_size=12
)
QUICK = settings(
    max_examples=300, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@QUICK
@given(blocks=BLOCKS, frames=st.booleans(), told=st.integers(0, 12))
def test_rows_are_where_the_plainest_way_finds_them(small, blocks, frames, told):
    printed = output(blocks, told)
    index = Index(frames=frames)
    index.update(printed)
    wanted = plain_rows(printed, frames, lines.PIECE)
    assert index.total == len(wanted)
    assert index.lines == (wanted[-1][0] + 1 if wanted else 0)
    for first in range(len(wanted)):
        found = index.rows(printed, first, 3)
        assert [row.row for row in found] == list(range(first, min(first + 3, len(wanted))))
        for row, (line, stream, block, is_rest) in zip(found, wanted[first:], strict=False):
            assert (row.line, row.stream, row.is_rest) == (line, stream, is_rest)
            shown = content(printed, row)
            assert block == shown if len(block) <= lines.PIECE else block.endswith(shown)
            assert row.returns + shown.replace(b"\r\n", b"").count(b"\r") == block.replace(b"\r\n", b"").count(b"\r")


@QUICK
@given(blocks=BLOCKS, frames=st.booleans(), lag=st.integers(0, 3))
def test_an_index_that_grows_is_the_same_in_the_end(small, blocks, frames, lag):
    index = Index(frames=frames)
    for count in range(len(blocks) + 1):
        index.update(output(blocks[:count], max(0, count - lag)))
    printed = output(blocks)
    index.update(printed)
    fresh = Index(frames=frames)
    fresh.update(printed)
    assert index.total == fresh.total
    assert list(map(identity, index.rows(printed, 0, 1000))) == list(map(identity, fresh.rows(printed, 0, 1000)))


@QUICK
@given(blocks=BLOCKS, frames=st.booleans())
def test_places_are_in_their_rows(small, blocks, frames):
    printed = output(blocks)
    index = Index(frames=frames)
    index.update(printed)
    every = index.rows(printed, 0, 1000)
    rows = [max((row for row in every if row.place <= place), key=lambda row: row.row).row
            for place in range(index.layout.size)]  # fmt: skip
    assert index.rows_at(printed, range(index.layout.size)) == sorted(set(rows))
    for place in range(index.layout.size):
        assert index.rows_at(printed, [place]) == [rows[place]]
    for line in {row.line for row in every}:
        assert index.row_of_line(printed, line) == min(row.row for row in every if row.line == line)


@QUICK
@given(blocks=BLOCKS)
def test_one_stream_has_the_lines_of_that_stream(small, blocks):
    printed = output(blocks)
    index = Index(("stderr",))
    index.update(printed)
    alone = output([("e", printed.read("stderr"))]) if printed.size("stderr") else output([])
    assert [content(printed, row) for row in index.rows(printed, 0, 1000)] == [
        content(alone, row) for row in index.rows(printed, 0, 1000)
    ]
    assert index.total == len(plain_rows(alone, False, lines.PIECE))


def test_what_was_told_keeps_its_number(tmp_path: Path):
    """Line numbers are stable while an output grows, whatever the two streams do."""
    chance = random.Random(3)
    blocks = [(chance.choice("oe"), b"%d %s\n" % (n, b"x" * chance.randrange(300))) for n in range(3000)]
    index = Index()
    before: list[Row] = []
    for count in range(0, len(blocks), 150):
        printed = output(blocks[:count], count)
        index.update(printed)
        now = index.rows(printed, 0, 5000, 1 << 30)
        assert now[: len(before)] == before
        before = now
    assert len(before) == 2850


def test_a_file_that_became_shorter_is_read_anew(tmp_path: Path):
    (tmp_path / "stdout").write_bytes(b"one\ntwo\nthree\n")
    files, index = Files(str(tmp_path)), Index()
    index.update(files)
    assert index.total == 3
    (tmp_path / "stdout").write_bytes(b"four\n")
    index.update(files)
    assert index.total == 1
    assert files.read("stdout", 0, index.rows(files, 0, 1)[0].end) == b"four\n"


def test_one_line_without_end_is_cut_into_pieces(tmp_path: Path):
    size = 20_000_000
    (tmp_path / "stdout").write_bytes(b"x" * size)
    files, index = Files(str(tmp_path)), Index()
    index.update(files)
    assert (index.total, index.lines) == (-(-size // lines.PIECE), 1)
    (row,) = index.rows(files, 1000, 1)
    assert (row.start, row.end, row.is_cut) == (1000 * lines.PIECE, 1001 * lines.PIECE, True)


def test_what_follows_a_long_line_has_its_number(tmp_path: Path):
    (tmp_path / "stdout").write_bytes(b"first\n" + b"x" * 3_000_000 + b"\nlast\n")
    files, index = Files(str(tmp_path)), Index()
    index.update(files)
    last = index.total - 1
    (before, row) = index.rows(files, last - 1, 2)
    assert (before.line, before.is_rest, row.line, row.is_rest) == (1, True, 2, False)
    assert [index.row_of_line(files, line) for line in range(3)] == [0, 1, last]


def test_a_progress_bar_of_megabytes_is_one_row(tmp_path: Path):
    """Only its last frames are read to show it."""
    with open(tmp_path / "stdout", "wb") as file:
        file.write(b"begin\n")
        file.writelines(b"%9d of 400000\r" % n for n in range(400_000))
        file.write(b"\nend\n")
    files, index = Files(str(tmp_path)), Index()
    index.update(files)
    _, bar, end = index.rows(files, 0, 10)
    assert index.total == 3
    assert bar.end - bar.start < 100
    assert bar.returns > 399_990
    assert content(files, end) == b"end\n"  # type: ignore[arg-type]
    assert os.path.getsize(tmp_path / "stdout") > 8_000_000


def test_looking_takes_no_longer_than_it_may(tmp_path: Path):
    (tmp_path / "stdout").write_bytes(b"line\n" * 2_000_000)
    files, index = Files(str(tmp_path)), Index()
    index.update(files, 0.001)
    assert not index.is_whole
    while not index.is_whole:
        index.update(files, 0.001)
    assert index.total == 2_000_000
