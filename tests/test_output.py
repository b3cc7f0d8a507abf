"""An attempt's output on disk: written, read while it grows, read from its end, folded into the store."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrec import output
from qrec.output import (
    FOLD_LIMIT,
    STREAMS,
    Files,
    InStore,
    Writer,
    attempt_folder,
    fold,
    from_the_end,
    head_and_tail,
    last_lines,
    last_spans,
    make_private,
    merged,
    remove_folder,
    sequence,
    text_lines,
)
from qrec.task import Kept


class Clock:
    """Time as a test wants it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch) -> Iterator[Clock]:
    with monkeypatch.context() as patch:
        yield Clock(patch)


@pytest.fixture
def folder(tmp_path) -> str:
    return str(tmp_path / "attempts" / "ab" / "shell-ab.1")


def write(writer: Writer, stream: str, block: bytes) -> None:
    writer.write(stream, memoryview(block))


def printed(*blocks: tuple[str, bytes], index: bytes | None = None) -> InStore:
    """An output as if each block had come by itself; or with another index."""
    streams = {name: b"".join(block for stream, block in blocks if stream == name) for name in STREAMS}
    lines = b"".join(b"1 %s %d\n" % (output.MARKS[stream].encode(), len(block)) for stream, block in blocks)
    return InStore(Kept.from_parts({**streams, "timing": lines if index is None else index}))


# Writing


def test_bytes_and_their_order_come_back(folder):
    writer = Writer(folder)
    blocks = [("stdout", b"a"), ("stderr", b"\xff\0"), ("stdout", b"b\r\n"), ("stderr", b"c")]
    for stream, block in blocks:
        write(writer, stream, block)
    writer.close()
    files = Files(folder)
    assert (files.read("stdout"), files.read("stderr")) == (b"ab\r\n", b"\xff\0c")
    assert list(merged(files)) == blocks
    assert list(merged(files, ["stderr"])) == [blocks[1], blocks[3]]


def test_the_index_tells_when_what_came(folder, clock):
    writer = Writer(folder)
    for pause, stream, block in [(0.25, "stdout", b"abc"), (1.5, "stderr", b"d"), (0.0004, "stdout", b"e")]:
        clock.now += pause
        write(writer, stream, block)
    writer.close()
    assert Files(folder).timing() == b"250 o 3\n1500 e 1\n0 o 1\n"
    assert list(sequence(Files(folder))) == [(0.25, "stdout", 3), (1.75, "stderr", 1), (1.75, "stdout", 1)]


def test_blocks_that_come_together_share_a_line(folder, clock):
    writer = Writer(folder)
    for _ in range(100):
        clock.now += 0.0001
        write(writer, "stdout", b"xy")
    clock.now += 1
    write(writer, "stdout", b"z")
    writer.close()
    lines = Files(folder).timing().splitlines()
    assert [line.split()[1:] for line in lines] == [[b"o", b"200"], [b"o", b"1"]]


def test_streams_that_take_turns_have_lines_of_their_own_for_a_while(folder, clock, monkeypatch):
    """Then, within each 10 ms, there is one line a stream, and one more for each KiB of output."""
    monkeypatch.setattr(output, "CHANGES", 10)
    writer = Writer(folder)
    for number in range(1000):
        clock.now += 0.0001
        write(writer, STREAMS[number % 2], b"x")
    writer.close()
    lines = Files(folder).timing().splitlines()
    assert [line.split()[1:] for line in lines[:10]] == [[b"o", b"1"], [b"e", b"1"]] * 5
    assert 20 <= len(lines) <= 10 + 2 * (1000 * 0.0001 / output.MERGED + 1)
    assert {line.split()[2] for line in lines[12:-2]} <= {b"50", b"51"}, "each stream's part of 10 ms"
    assert list(merged(Files(folder)))[:3] == [("stdout", b"x"), ("stderr", b"x"), ("stdout", b"x")]
    *_, (at, _, _) = sequence(Files(folder))
    assert at == pytest.approx(0.1, abs=0.012)


def test_output_pays_for_changes_of_stream(folder, clock, monkeypatch):
    monkeypatch.setattr(output, "CHANGES", 0)
    writer = Writer(folder)
    for number in range(100):
        write(writer, STREAMS[number % 2], b"x" * output.BYTES_A_CHANGE)
    writer.close()
    assert len(Files(folder).timing().splitlines()) == 100


def test_the_index_of_a_long_run_is_coarser(folder, clock):
    """Progress every 20 ms for three hours; the first quarter of an hour is told of exactly."""
    writer = Writer(folder)
    began, count = clock.now, 3 * 3600 * 50
    for number in range(count):
        clock.now = began + 0.02 * number
        writer.sizes["stdout"] += 2
        writer.note("stdout", 2)
    writer.append("stdout", b"x" * (2 * count))
    writer.close()
    index = Files(folder).timing()
    assert index.startswith(b"0 o 2\n" + b"20 o 2\n" * 40_000)
    assert index.count(b"\n") < count * 0.6
    told = [at for at, _, _ in sequence(Files(folder))]
    assert max(late - early for early, late in itertools.pairwise(told)) < 3 * 3600 / output.COARSER + 0.03
    assert told[-1] == pytest.approx(0.02 * count, abs=0.2)


def test_what_comes_after_a_silence_is_in_the_index_at_once(folder, clock):
    writer = Writer(folder)
    for pause, block in [(5, b"ab"), (0.001, b"c"), (60, b"d")]:
        clock.now += pause
        write(writer, "stdout", block)
        told = Files(folder).timing()
    assert told == b"5000 o 2\n1 o 1\n60000 o 1\n"
    writer.close()
    assert Files(folder).timing() == told


def test_rounding_does_not_add_up(folder, clock):
    """A line every 10.4 ms for ten minutes, each in whole milliseconds, still ends after ten minutes."""
    writer = Writer(folder)
    began = clock.now
    for count in range(60_000):
        clock.now = began + 0.0104 * count
        write(writer, STREAMS[count % 2], b"x")
    writer.close()
    *_, (at, _, _) = sequence(Files(folder))
    assert at == pytest.approx(0.0104 * 59_999, abs=0.001)


def test_silence_makes_no_files(folder):
    writer = Writer(folder)
    writer.close()
    assert not os.path.exists(folder)
    assert fold(folder) == Kept()


def test_files_are_for_the_user_alone(folder):
    before = os.umask(0)
    try:
        writer = Writer(folder)
        write(writer, "stdout", b"x")
        writer.close()
    finally:
        os.umask(before)
    assert {name: os.stat(os.path.join(folder, name)).st_mode & 0o777 for name in os.listdir(folder)} == {
        "stdout": 0o600,
        "timing": 0o600,
    }
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert os.stat(os.path.dirname(folder)).st_mode & 0o777 == 0o700


def test_trouble_is_kept_and_raises_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    writer = Writer(str(tmp_path / "file" / "below"))
    for _ in range(2):
        write(writer, "stdout", b"x")
    writer.close()
    assert isinstance(writer.trouble, OSError)
    assert writer.sizes == {"stdout": 0, "stderr": 0}


def test_the_folder_above_goes_while_ours_is_made(folder, monkeypatch):
    """It is shared with other attempts, and the last of them to end removes it."""
    other = Writer(os.path.join(os.path.dirname(folder), "shell-abother.1"))
    write(other, "stdout", b"x")
    other.close()
    original = os.mkdir

    def mkdir(path: str, mode: int = 0o777) -> None:
        if path == folder:
            remove_folder(other.folder)
        original(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    writer = Writer(folder)
    write(writer, "stdout", b"kept")
    writer.close()
    assert writer.trouble is None
    assert Files(folder).read("stdout") == b"kept"


def test_trouble_with_the_index_is_kept_too(folder):
    make_private(folder)
    os.symlink("/dev/full", os.path.join(folder, "timing"))
    writer = Writer(folder)
    write(writer, "stdout", b"x")
    write(writer, "stderr", b"y")
    writer.close()
    assert isinstance(writer.trouble, OSError)
    os.unlink(os.path.join(folder, "timing"))
    assert list(merged(Files(folder))) == [("stdout", b"x"), ("stderr", b"y")]


def test_what_somebody_else_writes_is_noted(folder, clock):
    make_private(folder)
    writer = Writer(folder)
    for pause, stream, block in [(1, "stdout", b"ab"), (2, "stderr", b"c"), (0.5, "stdout", b"d")]:
        with open(os.path.join(folder, stream), "ab") as file:
            file.write(block)
        clock.now += pause
        writer.observe()
        writer.observe()
    writer.close()
    assert list(sequence(Files(folder))) == [(1.0, "stdout", 2), (3.0, "stderr", 1), (3.5, "stdout", 1)]


# Reading what grows, or what a crash has left


def test_what_the_index_does_not_tell_of_yet_comes_last(folder, clock):
    writer = Writer(folder)
    for stream, block in [("stderr", b"told "), ("stdout", b"told too "), ("stderr", b"not yet")]:
        write(writer, stream, block)
    assert Files(folder).timing().count(b"\n") == 2
    assert b"".join(block for _, block in merged(Files(folder))) == b"told told too not yet"
    with open(os.path.join(folder, "stdout"), "ab") as file:
        file.write(b"later")
    assert list(merged(Files(folder)))[2:] == [("stdout", b"later"), ("stderr", b"not yet")]
    writer.close()


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"1 o",
        b"1 o 2\n1 e 2\n1 o",
        b"1 o 1",
        b"1 o 999\n1 e 999\n",
        b"1 x 3\n\n\n1 o -5\n-1 o 1\n",
        b"\0\0\0\0\xff\n1 o 2\n",
        b"1 o 2 3\n1 o\n o 1\n",
        "\u00b2 o \u00b2\n".encode(),
        b"1 o 0\n" * 10,
    ],
)
def test_a_spoilt_index_loses_no_bytes(index):
    found = list(merged(printed(("stdout", b"abcd"), ("stderr", b"xy"), index=index)))
    for stream, expected in (("stdout", b"abcd"), ("stderr", b"xy")):
        assert b"".join(block for name, block in found if name == stream) == expected


@given(st.binary(max_size=60), st.binary(max_size=20), st.binary(max_size=20))
def test_no_index_loses_or_adds_bytes(index, stdout, stderr):
    found = list(merged(InStore(Kept(stdout=stdout, stderr=stderr, timing=index))))
    assert b"".join(block for name, block in found if name == "stdout") == stdout
    assert b"".join(block for name, block in found if name == "stderr") == stderr


def test_no_folder_is_no_output(tmp_path):
    for place in ("nowhere", "file/below"):
        (tmp_path / "file").write_text("")
        files = Files(str(tmp_path / place))
        assert (files.size("stdout"), files.read("stdout"), files.timing()) == (0, b"", b"")
        assert list(merged(files)) == []
        assert list(last_lines(files, 3)) == []


def test_blocks_are_of_bounded_size(folder):
    writer = Writer(folder)
    write(writer, "stdout", bytes(3 * output.BLOCK + 5))
    writer.close()
    assert [len(block) for _, block in merged(Files(folder))] == [output.BLOCK] * 3 + [5]


def test_parts_are_read_alike_from_either_place(folder):
    writer = Writer(folder)
    write(writer, "stdout", b"0123456789")
    writer.close()
    files, kept = Files(folder), fold(folder)
    assert kept is not None
    for place in (files, InStore(kept)):
        assert place.size("stdout") == 10
        assert [place.read("stdout", *span) for span in [(0,), (3, 4), (8, 100), (10, 1), (99,)]] == [
            b"0123456789", b"3456", b"89", b"", b"",
        ]  # fmt: skip


# The end

BLOCKS = st.lists(
    st.tuples(st.sampled_from(STREAMS), st.text(alphabet="ab\n", min_size=1, max_size=8).map(str.encode)), max_size=12
)


def naive_last_lines(place: InStore, lines: int, streams: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """The last lines byte by byte, from the beginning."""
    every = [(stream, block[i : i + 1]) for stream, block in merged(place, streams) for i in range(len(block))]
    starts = [0] + [i + 1 for i, (_, byte) in enumerate(every) if byte == b"\n" and i + 1 < len(every)]
    return every[starts[max(0, len(starts) - lines)] :] if lines and every else []


def by_byte(blocks: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(stream, block[i : i + 1]) for stream, block in blocks for i in range(len(block))]


@given(BLOCKS, st.integers(0, 8), st.sampled_from([STREAMS, ("stdout",), ("stderr",)]))
def test_last_lines(blocks, lines, streams):
    place = printed(*blocks)
    assert by_byte(list(last_lines(place, lines, streams))) == naive_last_lines(place, lines, streams)


def naive_laid_out_lines(place: InStore, lines: int, streams: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """The same, where a line ends with the other stream's first byte, too."""
    every = by_byte(list(merged(place, streams)))
    ends = [i for i in range(1, len(every)) if every[i - 1][1] == b"\n" or every[i - 1][0] != every[i][0]]
    starts = [0, *ends]
    return every[starts[max(0, len(starts) - lines)] :] if lines and every else []


@given(BLOCKS, st.integers(0, 8), st.sampled_from([STREAMS, ("stdout",), ("stderr",)]))
def test_last_lines_of_streams_apart(blocks, lines, streams):
    place = printed(*blocks)
    found = [(stream, place.read(stream, *span)) for _, stream, *span in last_spans(place, lines, streams, apart=True)]
    assert by_byte(found) == naive_laid_out_lines(place, lines, streams)
    assert all(block for _, block in found)


@given(st.binary(max_size=60) | BLOCKS, st.binary(max_size=20), st.binary(max_size=20), st.integers(1, 30))
def test_an_index_reads_alike_from_both_ends(index, stdout, stderr, part):
    if not isinstance(index, bytes):
        index = printed(*index).timing()
    place = InStore(Kept(stdout=stdout, stderr=stderr, timing=index))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "INDEX_PART", part)
        backwards = [(at, stream, size) for at, stream, _, size in from_the_end(place)]
        begins = [(stream, start) for _, stream, start, _ in from_the_end(place)][::-1]
    assert backwards[::-1] == list(sequence(place))
    where = dict.fromkeys(STREAMS, 0)
    for (_, stream, size), begin in zip(sequence(place), begins, strict=True):
        assert begin == (stream, where[stream])
        where[stream] += size


@given(BLOCKS)
def test_all_the_lines(blocks):
    place = printed(*blocks)
    assert by_byte(list(last_lines(place, 1000))) == by_byte(list(merged(place)))


def test_last_lines_of_much_read_little(folder, monkeypatch):
    writer = Writer(folder)
    for number in range(20):
        write(writer, "stdout", b"x" * output.BLOCK + b"\n%d\n" % number)
    writer.close()
    read: list[int] = []
    original = Files.read

    def counted(self: Files, stream: str, *span: int) -> bytes:
        block = original(self, stream, *span)
        read.append(len(block) * (stream != "timing"))
        return block

    monkeypatch.setattr(Files, "read", counted)
    assert b"".join(block for _, block in last_lines(Files(folder), 1)) == b"19\n"
    assert sum(read) <= 2 * output.BLOCK


# Head and tail


@given(st.binary(max_size=200) | st.lists(st.sampled_from([b"ab\n", b"\n", b"c"])).map(b"".join), st.integers(2, 60))
def test_head_and_tail(content, limit):
    place = printed(("stdout", content)) if content else printed()
    head, left_out, tail = head_and_tail(place, "stdout", limit)
    assert len(head) + left_out + len(tail) == len(content)
    assert content.startswith(head)
    assert content.endswith(tail)
    assert len(head) + len(tail) <= max(limit, 0)
    if len(content) <= limit:
        assert (head, left_out, tail) == (content, 0, b"")
    else:
        assert left_out > 0
        half = limit // 2
        assert head.endswith(b"\n") or b"\n" not in content[:half]
        first, last = content[:half], content[len(content) - half :]
        assert head == first or head.endswith(b"\n")
        assert tail == last or content[len(content) - len(tail) - 1 : len(content) - len(tail)] == b"\n"


def test_head_and_tail_of_the_other_stream():
    assert head_and_tail(printed(("stdout", b"x")), "stderr") == (b"", 0, b"")


@pytest.mark.parametrize(
    ("blocks", "lines"),
    [
        ([], []),
        ([b""], []),
        ([b"a"], ["a"]),
        ([b"a\n"], ["a\n"]),
        ([b"a\nb"], ["a\n", "b"]),
        ([b"\n\n"], ["\n", "\n"]),
        ([b"a\r\nb\x0cc\xe2\x80\xa8d\x1ce"], ["a\r\n", "b\x0cc\u2028d\x1ce"]),
        ([b"\xe2\x80", b"\xa8"], ["\u2028"]),
        ([b"\xff\n"], ["\ufffd\n"]),
    ],
)
def test_lines_end_at_newlines_only(blocks, lines):
    assert text_lines(blocks) == lines


# Folding


@pytest.mark.parametrize(
    ("stdout", "stderr", "folded"),
    [(0, 0, True), (FOLD_LIMIT, 0, True), (FOLD_LIMIT + 1, 0, False), (0, FOLD_LIMIT, True),
     (FOLD_LIMIT // 2, FOLD_LIMIT // 2, True), (FOLD_LIMIT // 2, FOLD_LIMIT // 2 + 1, False)],
)  # fmt: skip
def test_small_output_is_folded(folder, stdout, stderr, folded):
    writer = Writer(folder)
    for stream, size in (("stdout", stdout), ("stderr", stderr)):
        if size:
            write(writer, stream, b"x" * size)
    writer.close()
    kept = fold(folder)
    assert (kept is not None) == folded
    if kept is not None:
        assert (kept.stdout, kept.stderr) == (b"x" * stdout, b"x" * stderr)
        assert kept.timing == Files(folder).timing()


def test_an_attempts_folder(tmp_path):
    """Neither too many in one folder, nor two attempts in the same."""
    first = attempt_folder("/home", "shell-97b1aaaa-x", 1)
    assert first == "/home/attempts/97/shell-97b1aaaa-x.1"
    assert attempt_folder("/home", "shell-97b1aaaa-x", 2) != first


def test_removing_folders(tmp_path):
    first, second = (str(tmp_path / "attempts" / "ab" / f"shell-ab.{number}") for number in (1, 2))
    for folder in (first, second):
        writer = Writer(folder)
        write(writer, "stdout", b"x")
        writer.close()
    remove_folder(first)
    assert not os.path.exists(first)
    assert Files(second).read("stdout") == b"x"
    remove_folder(second)
    assert list((tmp_path / "attempts").iterdir()) == []
    remove_folder(second)
    remove_folder(str(tmp_path / "never" / "was"))
    assert Path(tmp_path).exists()
