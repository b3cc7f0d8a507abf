"""Order and time in looking back: `log --merged`, `--timestamps`, `--slow`, and the plain text of terminals."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrec import timeline
from qrec.output import MARKS, STREAMS, Files, InStore, Writer, attempt_folder, pieces
from qrec.task import Kept, moment, timestamp
from qrec.terminal_text import HELD, LONGEST, Screen, plain
from qrec.timeline import laid_out, last_pieces, lines, longest_silence, silences
from tests.helpers import wait_until
from tests.test_look_back import add, call, door, in_terminal, one_line, speak_in_turn, turns

__all__ = ["door"]  # a fixture

LONG_AGO = datetime(2026, 11, 20, 23, 59, 58).astimezone().timestamp()


def printed(*blocks: tuple[int, str, bytes]) -> Kept:
    """An output of (milliseconds since the block before, stream, bytes)."""
    streams = {name: b"".join(block for _, stream, block in blocks if stream == name) for name in STREAMS}
    index = "".join(f"{pause} {MARKS[stream]} {len(block)}\n" for pause, stream, block in blocks)
    return Kept.from_parts({**streams, "timing": index.encode()})


def record(door, *blocks: tuple[int, str, bytes], seconds: float = 60.0, **fields):
    """A task that printed these."""
    started = {"started": timestamp(LONG_AGO), "ended": timestamp(LONG_AGO + seconds)}
    return add(door.store, "make all", kept=printed(*blocks), **started, **fields)


OUT, ERR = STREAMS
BROKEN_OFF = (
    (250, OUT, b"compil"), (750, ERR, b"warning\nmo"), (12_500, OUT, b"ing\nlinking\n"), (500, ERR, b"re\n"),
    (1234, OUT, b"end"),
)  # fmt: skip


# Laid out in lines


def test_merged_marks_the_streams(kind, door):
    record(door, *BROKEN_OFF)
    assert call("log", "--merged").out == "O compil\nE warning\nE mo\nO+ing\nO linking\nE+re\nO end"
    assert call("log", "--merged", "--stderr").out == "E warning\nE more\n"
    assert call("log").out == "compilwarning\nmoing\nlinking\nre\nend", "and nothing else is changed"


def test_merged_in_a_terminal_is_in_colour(door, start):
    record(door, *BROKEN_OFF)
    red, off = "\x1b[31m", "\x1b[0m"
    expected = f"compil\n{red}warning{off}\n{red}mo{off}\ning\nlinking\n{red}re{off}\nend"
    assert in_terminal(start, "log", "--merged") == (expected, 0)
    assert call("log", "--merged", "--color").out == expected
    assert in_terminal(start, "log", "--merged", env={"NO_COLOR": "1"})[0] == call("log", "--merged").out


def test_times_before_lines(kind, door):
    record(door, *BROKEN_OFF)
    assert call("log", "--timestamps").out.splitlines() == [
        "23:59:58.250 compil", "23:59:59.000 warning", "23:59:59.000 mo", "00:00:11.500 ing", "00:00:11.500 linking",
        "00:00:12.000 re", "00:00:13.234 end",
    ]  # fmt: skip
    assert call("log", "--relative", "--stdout").out == "    0.250 compiling\n   13.500 linking\n   15.234 end"
    assert call("log", "--relative", "--merged", "-n", "2").out == "   14.000 E+re\n   15.234 O end"


def test_times_in_a_terminal_are_dim(door, start):
    record(door, (5, ERR, b"x\n"))
    shown, _ = in_terminal(start, "log", "--relative", "--merged")
    assert shown == "\x1b[2m    0.005\x1b[0m \x1b[31mx\x1b[0m\n"


def test_lines_as_json(kind, door):
    task = record(door, *BROKEN_OFF)
    rows = [json.loads(line) for line in call("log", "--merged", "--json").out.splitlines()]
    assert [(row["stream"], row["seconds"], row["text"]) for row in rows] == [
        (OUT, 0.25, "compil"), (ERR, 1.0, "warning\n"), (ERR, 1.0, "mo"), (OUT, 13.5, "ing\n"),
        (OUT, 13.5, "linking\n"), (ERR, 14.0, "re\n"), (OUT, 15.234, "end"),
    ]  # fmt: skip
    assert task.started
    for row in rows:
        assert (moment(row["at"]) - moment(task.started)).total_seconds() == row["seconds"]
    assert call("log", "--timestamps", "--stderr", "-n", "1", "--json").json["text"] == "more\n"


@pytest.mark.parametrize("count", range(9))
def test_the_last_lines_are_those_of_all(door, count):
    record(door, *BROKEN_OFF)
    whole = call("log", "--merged", "--relative").out.splitlines()
    last = whole[max(0, len(whole) - count) :]
    assert call("log", "--merged", "--relative", "-n", str(count)).out.splitlines() == last


def test_of_an_attempt(door, qrec):
    qrec("run", "-q", "sh", "-c", "echo once >&2", check=True)
    qrec("rerun", "-q", check=True)
    for attempt in ("1", "2"):
        assert call("log", "--merged", "--attempt", attempt).out == "E once\n"
    assert "has no attempt 3" in one_line(call("log", "--merged", "--attempt", "3"))


def test_a_real_command_in_both_its_streams(kind, start, tmp_path):
    speak_in_turn(start, tmp_path)
    assert call("log", "--merged").out == "O one\nE one!\nO two\nE two!\nO three\nE three!\n"
    times = [float(line.split()[0]) for line in call("log", "--relative").out.splitlines()]
    assert len(times) == 6
    assert times == sorted(times)
    row = call("ls", "--json").json[0]
    assert times[0] >= 0
    assert times[-1] <= row["seconds"] + 0.1


def test_pauses_of_a_real_command(kind, qrec):
    """What a busy machine adds makes them longer only, and stderr is seen later than it was written."""
    script = "echo a; sleep 0.05; echo b >&2; sleep 0.2; echo c; sleep 0.05; printf d"
    qrec("run", "-q", "sh", "-c", script, check=True)
    merged = call("log", "--merged").out
    assert re.fullmatch(r"O a\n(E b\n)?O c\n(E b\n)?O[+ ]d\n?(E b\n)?", merged)
    assert merged.count("E b\n") == 1
    rows = call("log", "--slow", "1ms", "--json").json
    assert sum(row["seconds"] for row in rows) >= 0.3
    assert max(row["seconds"] for row in rows) in [row["seconds"] for row in rows if row["longest"]]


def test_following_in_lines(kind, start, tmp_path):
    go = turns(tmp_path)
    script = "exec 3< turn; printf 'fir'; read x <&3; echo oops >&2; read x <&3; printf 'st\\nend'"
    speaking = start("run", "-q", "sh", "-c", script, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: call("log").stdout == b"fir")
    following = start("log", "-f", "--merged", "--relative")
    assert following.stdout
    assert re.fullmatch(rb" +\d+\.\d{3} O fir", following.stdout.read(15))
    go()
    assert following.stdout.readline() == b"\n"
    assert re.fullmatch(rb" +\d+\.\d{3} E oops\n", following.stdout.readline())
    assert following.poll() is None
    go()
    assert re.fullmatch(rb" +\d+\.\d{3} O\+st\n +\d+\.\d{3} O end", following.stdout.read())
    assert (following.wait(60), speaking.wait(60)) == (0, 0)


def test_following_the_last_lines_of_what_has_ended(door):
    record(door, *BROKEN_OFF)
    assert call("log", "-f", "--merged", "-n", "2").out == "E+re\nO end"
    assert call("log", "-f", "--timestamps", "--json").out == call("log", "--timestamps", "--json").out


@pytest.mark.parametrize("options", [["--merged"], ["--timestamps"], ["--relative", "--json"], ["-f", "--merged"]])
def test_nothing_printed_is_said_and_no_error(door, options):
    record(door)
    result = call("log", *options, check=True)
    assert (result.out, result.err) == ("", "qrec: 1 printed nothing\n")
    record(door, (1, OUT, b"x"))
    assert call("log", *options, "--stderr", check=True).err == "qrec: 2 printed nothing on stderr\n"
    assert call("log", *options, check=True).err == ""


BLOCKS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(STREAMS), st.text("ab\n", min_size=1, max_size=6).map(str.encode)),
    max_size=10,
)


@given(BLOCKS, st.sampled_from([STREAMS, STREAMS[:1], STREAMS[1:]]))
def test_laid_out_lines_lose_nothing(blocks, streams):
    """Marks tell which bytes are whose; each stream comes back from its lines."""
    place = InStore(printed(*blocks))
    marked = b"".join(
        laid_out(
            pieces(place, streams), lambda _, stream, on: f"{stream[3]}{'+' if on else ' '}".encode(), lambda _: b"$"
        )
    )
    found = dict.fromkeys(STREAMS, b"")
    for line in marked.split(b"\n"):
        if not line:
            continue
        stream = OUT if line[:1] == b"o" else ERR
        assert line.endswith(b"$")
        if line[1:2] == b"+":
            found[stream] = found[stream].removesuffix(b"\n")
        found[stream] += line[2:-1] + b"\n"
    for stream in STREAMS:
        expected = place.read(stream) if stream in streams else b""
        assert found[stream] == (expected if expected.endswith(b"\n") or not expected else expected + b"\n")


@given(BLOCKS)
def test_lines_one_by_one_are_the_same(blocks):
    place = InStore(printed(*blocks))
    one_by_one = [(at, stream, line.removesuffix(b"\n")) for at, stream, line in lines(pieces(place))]
    together = b"".join(laid_out(pieces(place), lambda at, stream, _: f"{at} {stream} ".encode(), lambda _: b""))
    expected = [line.split(b" ", 2) for line in together.removesuffix(b"\n").split(b"\n") if line]
    assert [[str(at).encode(), stream.encode(), text] for at, stream, text in one_by_one] == expected


@given(BLOCKS, st.integers(0, 12))
def test_the_last_pieces_are_laid_out_as_among_all(blocks, count):
    def shown(told, amidst=()):
        whole = b"".join(laid_out(told, lambda at, stream, on: f"{at} {stream} {on} ".encode(), lambda _: b"", amidst))
        return whole.removesuffix(b"\n").split(b"\n") if whole else []

    place = InStore(printed(*blocks))
    assert shown(*last_pieces(place, count)) == (shown(pieces(place))[-count:] if count else [])


def test_a_very_long_line_comes_in_parts(monkeypatch):
    monkeypatch.setattr(timeline, "BLOCK", 10)
    place = InStore(printed(*[(1, OUT, b"abcd")] * 5))
    assert [line for _, _, line in lines(pieces(place))] == [b"abcdabcdabcd", b"abcdabcd"]


def test_many_small_blocks_are_few_reads(tmp_path, monkeypatch):
    writer = Writer(str(tmp_path))
    for number in range(2000):
        writer.write(STREAMS[number % 2], memoryview(b"%d\n" % number))
    writer.close()
    read: list[str] = []
    original = Files.read

    def counted(self: Files, stream: str, *span: int) -> bytes:
        read.append(stream)
        return original(self, stream, *span)

    monkeypatch.setattr(Files, "read", counted)
    found = list(pieces(Files(str(tmp_path))))
    assert b"".join(block for _, _, block in found) == b"".join(b"%d\n" % number for number in range(2000))
    assert len(read) == 3


# Silences


def test_slow_lists_the_silences(kind, door):
    record(door, *BROKEN_OFF, (5500, OUT, b"\n"), seconds=30)
    assert call("log", "--slow", "1s").out.splitlines() == [
        "*  12.5 s  after line 2: mo  before: ing",
        "    1.2 s  after line 4: re  before: end",
        "    5.5 s  after line 5: end  before: ",
        "    9.3 s  after line 5: end  until the end",
        "4 silences of 1.0 s or longer, 28.5 s together, of 30.0 s",
    ]
    assert call("log", "--slow", "0.7s", "--stderr").out.splitlines() == [
        "    1.0 s  before the first line: warning",
        "   13.0 s  after line 2: mo  before: re",
        "*  16.0 s  after line 2: more  until the end",
        "3 silences of 700 ms or longer, 30.0 s together, of 30.0 s",
    ]
    assert call("log", "--slow", "1s", "-n", "1").out.splitlines()[0].endswith("until the end")
    assert call("log", "--slow", "1h").out == "0 silences of 1h 0m or longer, of 30.0 s\n"


def test_slow_as_json(kind, door):
    record(door, *BROKEN_OFF, seconds=16)
    rows = call("log", "--slow", "10", "--json").json
    assert rows == [
        {"at": 1.0, "seconds": 12.5, "line": 2, "after": "mo", "before": "ing", "longest": True},
    ]
    assert [row["seconds"] for row in call("log", "--slow", "200ms", "--json").json] == [
        0.25, 0.75, 12.5, 0.5, 1.234, 0.766,
    ]  # fmt: skip
    assert call("log", "--slow", "1h", "--json").json == []
    assert call("log", "--slow", "1s", "-n", "0", "--json").json == []


def test_slow_fits_the_terminal_and_marks_the_longest(door, start):
    record(door, (9000, OUT, b"\x1b[32m" + b"x" * 300 + b"\n"), (1000, OUT, b"10%\r20%\r\x1b]0;title\x07\x1b[5m30%\n"))
    shown, _ = in_terminal(start, "log", "--slow", "500ms", columns=60)
    first, second, last, total = shown.splitlines()
    assert first == "    9.0 s  before the first line: " + "x" * 25 + "…"
    assert second.startswith("    1.0 s  after line 1: xxx")
    assert last == "\x1b[1;33m*  50.0 s  after line 2: 30%  until the end\x1b[0m"
    assert total.startswith("3 silences")


def test_slow_of_a_task_that_printed_nothing(door):
    record(door, seconds=7)
    result = call("log", "--slow", "5s", check=True)
    assert result.out == "*   7.0 s  nothing was printed\n1 silence of 5.0 s or longer, 7.0 s together, of 7.0 s\n"
    assert result.err == "qrec: 1 printed nothing\n"


def test_slow_of_what_nobody_saw_end():
    place = InStore(printed((2000, OUT, b"x\n")))
    assert [silence.seconds for silence in silences(place, STREAMS, 1, None)] == [2.0]
    assert longest_silence(place, STREAMS, None) == 2.0
    assert longest_silence(InStore(Kept()), STREAMS, None) == 0


def test_slow_of_a_running_task(home, start, tmp_path):
    """The silence that lasts counts; what came last was told of at once."""
    go = turns(tmp_path)
    speaking = start("run", "-q", "sh", "-c", "exec 3< turn; read x <&3; echo hello; read x <&3")
    wait_until(lambda: call("ls", "--json").json and call("ls", "--json").json[0]["pid"])
    wait_until(lambda: call("log", "--slow", "200ms", "--json").json)
    go()
    assert speaking.stdout
    assert speaking.stdout.readline() == b"hello\n"
    wait_until(lambda: (call("log", "--slow", "1ms", "--json").json or [{}])[-1].get("after") == "hello")
    rows = call("log", "--slow", "1ms", "--json").json
    assert (rows[0]["before"], rows[-1]["before"]) == ("hello", None)
    assert rows[0]["seconds"] >= 0.2
    go()
    assert speaking.wait(60) == 0


@pytest.mark.parametrize(
    "words", ["--slow 5s -f", "--slow 5s --merged", "--slow 1s --timestamps", "--slow 1s --relative"]
)
def test_slow_stands_alone(door, words):
    record(door)
    assert one_line(call("log", *words.split()), 2).startswith("--slow is a list of its own")


@pytest.mark.parametrize("words", ["soon", "-1", "0", "0s"])
def test_slow_wants_a_time(door, words):
    record(door)
    assert one_line(call("log", "--slow", words), 2)


# Large


def large_output(home: Path, door, lines: int):
    """A task that printed in both streams by turns, the index a line each."""
    task = record(door)
    folder = Path(attempt_folder(str(home), task.uid, 1))
    folder.mkdir(parents=True)
    (folder / OUT).write_bytes(b"".join(b"%063d\n" % number for number in range(lines)))
    (folder / ERR).write_bytes(b"error\n" * lines)
    (folder / "timing").write_bytes(b"1 o 64\n0 e 6\n" * lines)
    return task


def test_a_long_index_is_streamed(home, door):
    count = 30_000
    large_output(home, door, count)
    whole = call("log", "--merged").out
    assert whole.count("\n") == 2 * count
    assert whole.startswith(f"O {0:063d}\nE error\nO {1:063d}\n")
    assert call("log", "--merged", "-n", "3").out == f"E error\nO {count - 1:063d}\nE error\n"
    assert call("log", "-n", "3").out == f"error\n{count - 1:063d}\nerror\n"
    assert call("log", "--relative", "-n", "1").out == "   30.000 error\n"
    assert call("log", "--slow", "10s", "--json").json[0]["line"] == 2 * count


def test_a_reader_that_leaves_is_no_error(home, start, door):
    large_output(home, door, 30_000)
    process = start("log", "--timestamps")
    assert process.stdout
    assert process.stdout.read(10)
    process.stdout.close()
    assert process.wait(60) == -signal.SIGPIPE
    assert process.stderr
    assert process.stderr.read() == b""


# The plain text of a terminal


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb\n", "a\nb\n"),
        ("abc", "abc"),
        ("a\tb \n\n", "a\tb \n\n"),
        ("10%\r20%\r100%\n", "100%\n"),
        ("100\r20\n", "200\n"),
        ("long\rno\x1b[K\n", "no\n"),
        ("long\rno\x1b[0Kx\n", "nox\n"),
        ("long\r\x1b[2Kno\n", "no\n"),
        ("long\x1b[1Kx\n", "    x\n"),
        ("long\r    \r\x1b[32mok\x1b[m\n", "ok\n"),
        ("abc\b\bX\n", "aXc\n"),
        ("\b\bx\n", "x\n"),
        ("\x1b[1;31mred\x1b[0m \x1b[38;2;1;2;3mrgb\x1b[39m\n", "red rgb\n"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", "alink\n"),
        ("a\x1b]0;no end\nb\n", "a\nb\n"),
        ("\x1bP+q544e\x1b\\x\x1b(B\x1b)0\x1b=\x1b>y\x1b#8\n", "xy\n"),
        ("\x9b31mx\x9b0m\x85\x07\x00y\x7f\n", "xy\n"),
        ("one\ntwo\n\x1b[2A1\x1b[K\r\x1b[1B2\x1b[K\n", "1\n2\n"),
        ("one\ntwo\x1b[F\x1b[Kuno\x1b[Edue\n", "uno\ndue\n"),
        ("abcdef\x1b[3Gx\x1b[2Cy\x1b[4Dz\n", "abzdey\n"),
        ("abcdef\x1b[2G\x1b[2P\x1b[@-\n", "a-def\n"),
        ("abcdef\r\x1b[3X\n", "   def\n"),
        ("a\nb\nc\x1b[A\x1b[M\n", "a\nc\n"),
        ("a\nb\x1b[L\n", "a\n\nb"),
        ("old\n\x1b[H\x1b[2Jnew\n", "old\nnew\n"),
        ("top\nold\x1b[1;1H\x1b[Jnew\n", "new\n"),
        ("\x1b[3;5Hx\x1b[dy\n", "     y\n\n    x"),
        ("before\n\x1b[?1049h\x1b[Hfull screen\x1b[?1049lafter\n", "before\nafter\n"),
        ("before\n\x1b[?1049hkilled in it", "before\nkilled in it"),
        ("ab\x1b7cd\x1b8XY\n", "abXY\n"),
        ("a\x1bcb", "a\nb"),
        ("a\x0cb\x0bc", "a\nb\nc"),
        ("x\x1b[999999999C.\x1b[999999999A\x1b[999999999B\n", "x" + " " * 4095 + ".\n"),
        ("unfinished\x1b[3", "unfinished"),
        ("double \x1b\x1b[31mescape\n", "double escape\n"),
        ("\x1b[?25l\x1b[?7h\x1b[>4;1m\x1b[6n\x1b[!px\n", "x\n"),
    ],
)  # fmt: skip
def test_what_stands_in_a_terminal(text, shown):
    assert plain(text) == shown
    screen = Screen()
    assert "".join(map(screen.feed, text)) + screen.close() == shown, "in pieces, too"


SEQUENCES = "[31m [K [2A [B [1J [2J [3;3H ]0;t\x07 ]2;u\x1b\\ (B [5P [2L 7 8".split()
OTHERS = [
    "\r",
    "\n",
    "\r\n",
    "\b",
    "\t",
    "\x1b",
    "\x9b",
    "\x1b[",
    "\x1b]",
    "\x1b[?1049h",
    "\x1b[?1049l",
    "\x0c",
    "\x85",
]
FRAGMENTS = st.sampled_from([*(f"\x1b{sequence}" for sequence in SEQUENCES), *OTHERS])


@given(st.lists(FRAGMENTS | st.text("ab é\x00", max_size=4), max_size=30), st.integers(1, 7))
def test_text_is_the_same_in_whatever_pieces_it_comes(fragments, size):
    text = "".join(fragments)
    screen = Screen()
    parts = [screen.feed(text[start : start + size]) for start in range(0, len(text), size)]
    assert "".join(parts) + screen.close() == plain(text)


@given(st.lists(FRAGMENTS | st.text(max_size=4), max_size=30))
def test_plain_text_can_do_nothing_to_a_terminal(fragments):
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", plain("".join(fragments)))


@given(st.text().filter(lambda text: not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)))
def test_plain_text_stays_as_it_is(text):
    assert plain(text) == text


def test_a_terminals_memory_is_bounded():
    screen = Screen()
    told = 0
    for piece in ["x" * 100_000, "y\b" * 10_000, "\n" * 100_000, "\x1b]0;" + "t" * 1000] + ["t" * 1000] * 200:
        told += len(screen.feed(piece))
        assert sum(map(len, screen.rows)) + len(screen.rows) + len(screen.held) < 2 * HELD + 4 * LONGEST
    assert told > 190_000


def test_the_time_of_day_is_local(door, monkeypatch):
    record(door, (0, OUT, b"x\n"))
    hours = set()
    for zone in ("UTC0", "XXX-5", "YYY+7"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        hours.add(call("log", "--timestamps").out[:2])
    monkeypatch.undo()
    time.tzset()
    assert len(hours) == 3
