"""Output played back: `qrec replay`, and the exports for players and as plain text."""

from __future__ import annotations

import codecs
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrec.cli.printed import RESTORED, Stage
from qrec.doors import cast
from qrec.output import STREAMS, InStore, pieces
from qrec.task import Kept, Task
from qrec.timeline import play
from tests.helpers import wait_until
from tests.test_look_back import add, call, door, in_terminal, one_line
from tests.test_timeline import BLOCKS, BROKEN_OFF, ERR, OUT, printed, record

__all__ = ["door"]  # a fixture


# replay


class Room:
    """Where time passes only by sleeping, and by writing if that is slow."""

    def __init__(self, slow: float = 0.0) -> None:
        self.now = 100.0
        self.slow = slow
        self.heard: list[tuple[float, str, bytes]] = []

    def write(self, stream: str, block: bytes) -> None:
        self.heard.append((round(self.now - 100, 6), stream, block))
        self.now += self.slow

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def play(self, *blocks: tuple[int, str, bytes], **terms: float) -> list[float]:
        """When the blocks were heard."""
        play(pieces(InStore(printed(*blocks))), self.write, clock=lambda: self.now, sleep=self.sleep, **terms)
        return [at for at, _, _ in self.heard]


def test_the_rhythm_is_that_of_the_recording():
    assert Room().play(*BROKEN_OFF) == [0.25, 1.0, 13.5, 14.0, 15.234]
    assert Room().play(*BROKEN_OFF, speed=4) == [0.0625, 0.25, 3.375, 3.5, 3.8085]
    assert Room().play(*BROKEN_OFF, speed=0.5, longest=2) == [0.5, 2.0, 4.0, 5.0, 7.0]
    assert Room().play(*BROKEN_OFF, longest=0) == [0, 0, 0, 0, 0]


def test_writing_takes_no_time_away_and_delays_are_not_hurried_after():
    assert Room(slow=0.1).play(*[(200, OUT, b"x")] * 3) == [0.2, 0.4, 0.6]
    assert Room(slow=1.0).play((200, OUT, b"x"), (200, OUT, b"y"), (1500, OUT, b"z")) == [0.2, 1.2, 2.7]


def test_a_real_run_is_played_back_exactly(kind, qrec):
    script = r"printf 'a\377\000'; sleep 0.05; echo b >&2; sleep 0.05; printf '\033[1mc\r\n'"
    qrec("run", "-q", "sh", "-c", script, check=True)
    began = time.monotonic()
    result = qrec("replay", "--speed", "0.5", check=True)
    took = time.monotonic() - began
    assert (result.stdout, result.stderr) == (b"a\xff\0\x1b[1mc\r\n", b"b\n")
    assert took >= 0.15
    assert call("replay", "--speed", "100", "--stdout").stdout == result.stdout
    only = call("replay", "1", "--max-pause", "1ms", "--stderr", "--attempt", "1")
    assert (only.stdout, only.stderr) == (b"", b"b\n")


@pytest.mark.parametrize(
    "words", ["--speed 0", "--speed -1", "--speed nan", "--speed inf", "--speed fast", "--max-pause x"]
)
def test_wrong_rhythms_are_refused(door, words):
    record(door)
    assert one_line(call("replay", *words.split()), 2)


def test_nothing_to_replay(door):
    record(door)
    result = call("replay", check=True)
    assert (result.out, result.err) == ("", "qrec: 1 printed nothing\n")
    assert "no task is called" in one_line(call("replay", "nope"))


def read_until(terminal: int, wanted: bytes) -> bytes:
    """What is shown until it holds what is wanted."""
    shown = b""

    def found() -> bool:
        nonlocal shown
        if select.select([terminal], [], [], 0.05)[0]:
            shown += os.read(terminal, 65536)
        return wanted in shown

    wait_until(found, what=f"{wanted!r}")
    return shown


@pytest.mark.parametrize(
    ("opening", "left"), [(b"\x1b[31m\x1b[?25lred", b""), (b"\x1b[?1049hfull", b"\x1b[?1049l"), (b"plain", None)]
)
def test_ctrl_c_leaves_the_terminal_as_it_was(home, start, door, opening, left):
    record(door, (0, OUT, opening), (3_600_000, OUT, b"never"))
    ours, theirs = pty.openpty()
    process = start("replay", stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=control_terminal)
    os.close(theirs)
    shown = read_until(ours, opening[-3:])
    os.write(ours, b"\x03")
    assert process.wait(60) == -signal.SIGINT
    shown += read_until(ours, b"^C" if left is None else left or RESTORED[-6:].encode())
    os.close(ours)
    after = shown.partition(opening)[2].replace(b"^C", b"")
    assert after == (b"" if left is None else RESTORED.encode() + left)


def control_terminal() -> None:
    """Make our stdin the session's terminal, so that Ctrl-C there reaches us."""
    import fcntl
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_the_end_of_a_replay_restores_a_terminal_but_no_pipe(home, start, door):
    record(door, (0, OUT, b"\x1b[31mred\n"))
    assert in_terminal(start, "replay") == ("\x1b[31mred\n" + RESTORED, 0)
    assert call("replay").out == "\x1b[31mred\n"


@pytest.mark.parametrize(
    ("blocks", "aside"),
    [
        ([b"\x1b[?1049h", b"x"], True), ([b"\x1b[?10", b"49h"], True), ([b"\x1b[?1049h..", b"\x1b[?1049", b"l"], False),
        ([b"\x1b[?47h\x1b[?1049l"], False), ([b"\x1b[?1049l\x1b[?1047h"], True), ([b"none"], False),
    ],
)  # fmt: skip
def test_the_second_screen_is_known(blocks, aside):
    stage = Stage(lambda file, block: 1)
    for block in blocks:
        stage.write(OUT, block)
    assert stage.aside == aside


def test_ctrl_c_at_a_pipe_is_quiet(home, start, door):
    record(door, (0, ERR, b"\x1b[31mred"), (3_600_000, OUT, b"never"))
    process = start("replay", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert process.stderr.read(8) == b"\x1b[31mred"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == -signal.SIGINT


def test_a_reader_that_leaves_ends_a_replay_quietly(home, start, door):
    record(door, *[(10, OUT, b"x" * 100)] * 600)
    process = start("replay")
    assert process.stdout.read(5) == b"xxxxx"
    process.stdout.close()
    assert process.wait(60) == -signal.SIGPIPE
    assert process.stderr.read() == b""


# asciicast


def check_cast(content: bytes) -> tuple[dict[str, Any], list[list[Any]]]:
    """The header and events of an asciicast v2, every line of the format's description checked."""
    assert content.endswith(b"\n")
    first, *rest = content.decode("ascii").removesuffix("\n").split("\n")
    header = json.loads(first, object_pairs_hook=no_key_twice)
    known = {"version": int, "width": int, "height": int, "timestamp": int, "duration": float, "command": str,
             "idle_time_limit": float, "title": str, "env": dict, "theme": dict}  # fmt: skip
    assert header["version"] == 2
    assert {"width", "height"} <= set(header) <= set(known)
    for name, value in header.items():
        assert type(value) is known[name], name
    assert min(header["width"], header["height"]) > 0
    assert all(isinstance(value, str) for value in header.get("env", {}).values())
    events = [json.loads(line) for line in rest]
    last = 0.0
    for event in events:
        at, code, text = event
        assert type(at) in (int, float)
        assert at >= last
        assert code in ("o", "i", "m", "r")
        assert isinstance(text, str)
        assert text
        last = at
    for text in (*strings(header), *(event[2] for event in events)):
        text.encode()  # no half of a pair
    return header, events


def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in strings(part)]
    return [value] if isinstance(value, str) else []


def test_an_asciicast_of_a_real_run(kind, qrec, tmp_path):
    script = "printf 'gr\\303'; sleep 0.05; printf 'oops\\n' >&2; sleep 0.05; printf '\\274n\\n\\r\\nend'"
    qrec("run", "-q", "-m", "to show", "sh", "-c", script, check=True)
    header, events = check_cast(call("export", "asciicast", "1", check=True).stdout)
    task = call("ls", "--json").json[0]
    assert (header["width"], header["height"], header["title"]) == (80, 24, "to show")
    assert (header["command"], header["env"]["SHELL"] or "/bin/sh") == (task["command"], "/bin/sh")
    text = "".join(text for _, _, text in events)
    assert re.fullmatch(r"groops\r\nün\r\n\r\nend|grün\r\n\r\nendoops\r\n", text)
    file = tmp_path / "1.cast"
    assert call("export", "asciicast", "1", "-o", file, check=True).stdout == b""
    assert check_cast(file.read_bytes()) == (header, events)
    assert os.stat(file).st_mode & 0o777 == 0o600


def test_the_times_of_an_asciicast(door):
    record(
        door, *BROKEN_OFF, facts={"columns": 132, "lines": 43, "environment": {"TERM": "vt220", "SHELL": "/bin/zsh"}}
    )
    header, events = check_cast(call("export", "asciicast", "1").stdout)
    assert (header["width"], header["height"]) == (132, 43)
    assert header["env"] == {"TERM": "vt220", "SHELL": "/bin/zsh"}
    assert events == [
        [0.25, "o", "compil"], [1.0, "o", "warning\r\nmo"], [13.5, "o", "ing\r\nlinking\r\n"], [14.0, "o", "re\r\n"],
        [15.234, "o", "end"],
    ]  # fmt: skip


def test_an_asciicast_is_of_one_task(door, tmp_path):
    record(door, (0, OUT, b"x"))
    record(door, (0, OUT, b"y"))
    for words in ([], ["1", "2"], ["--failed"]):
        count = 0 if words == ["--failed"] else 2
        told = one_line(call("export", "asciicast", *words, "-o", tmp_path / "x"), 2)
        assert told.startswith(f"an asciicast is of one task, and these are {count}; ")
    assert not (tmp_path / "x").exists()
    assert check_cast(call("export", "asciicast", "-n", "1").stdout)[1] == [[0, "o", "y"]]


def test_exports_of_a_task_that_printed_nothing(door):
    record(door)
    result = call("export", "asciicast", "1", check=True)
    assert check_cast(result.stdout)[1] == []
    assert result.err == "qrec: 1 printed nothing\n"
    result = call("export", "text", "1", check=True)
    assert (result.out, result.err) == ("", "qrec: 1 printed nothing\n")


@pytest.mark.parametrize(
    ("facts", "size"),
    [
        ({"columns": 100, "lines": 30}, (100, 30)),
        ({"columns": "80", "lines": [24]}, (80, 24)),
        ({"columns": 0, "lines": -1}, (80, 24)),
        ({"columns": 10**9, "lines": 24}, (80, 24)),
        ({"columns": 80}, (80, 24)),
        ({}, (80, 24)),
    ],
)
def test_the_size_of_the_terminal(facts, size):
    assert cast.size_of(facts) == size


WORDS = st.text(max_size=8) | st.binary(max_size=8).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(STREAMS), st.binary(min_size=1, max_size=5)), max_size=8),
    st.lists(WORDS, max_size=3), WORDS, st.dictionaries(st.sampled_from(["environment", "lines", "columns"]), WORDS),
)  # fmt: skip
def test_whatever_was_printed_is_a_valid_asciicast(blocks, argv, message, facts):
    task = Task(
        uid="shell-1", executor="shell", argv=tuple(argv), message=message, facts=facts, created="2026-11-22T00:00:00Z"
    )
    place = InStore(printed(*blocks))
    _, events = check_cast(b"".join(cast.asciicast(task, place)))
    told = "".join(text for _, _, text in events)
    assert not re.search(r"(?<!\r)\n", told)
    assert told.count("\n") == sum(block.count(b"\n") for _, _, block in blocks)
    if len({stream for _, stream, _ in blocks}) == 1:
        whole = b"".join(block for _, _, block in blocks).decode("utf-8", "replace")
        assert told == re.sub(r"(?<!\r)\n", "\r\n", whole)


# Plain text


def test_text_is_what_a_terminal_shows_in_the_end(kind, qrec, tmp_path):
    script = r"printf '\033[32mok\033[0m\r\n 10%%\r 99%%\r100%%\n'; printf 'wrong\b\b\b\b\bright\n\303\274'"
    qrec("run", "-q", "sh", "-c", script, check=True)
    assert call("export", "text", "1", check=True).out == "ok\n100%\nright\nü\n"
    call("export", "text", "1", "-o", tmp_path / "1.txt", check=True)
    assert (tmp_path / "1.txt").read_text() == "ok\n100%\nright\nü\n"


def test_several_texts_have_headings(door):
    record(door, (0, OUT, b"out "), (1, ERR, b"err\n"))
    add(door.store, "echo 'a\nb'", kept=Kept(stdout=b"\xff"))
    add(door.store, "true")
    assert call("export", "text", check=True).out == (
        "==> 1  make all <==\nout err\n==> 2  echo 'a\\nb' <==\n\ufffd\n==> 3  true <==\n"
    )
    assert call("export", "text", "1", check=True).out == "out err\n"
    assert call("export", "text", "1", "3").err == ""


@given(BLOCKS)
def test_text_of_plain_lines_is_the_log(blocks):
    task = Task(uid="shell-1", executor="shell", argv=("x",), created="2026-11-22T00:00:00Z")
    place = InStore(printed(*blocks))
    whole = b"".join(block for _, _, block in pieces(place))
    assert b"".join(cast.plain_text(task, place)) == whole + b"\n" * bool(whole and not whole.endswith(b"\n"))


def test_exports_of_a_running_task(home, start, qrec):
    speaking = start("run", "-q", "sh", "-c", "echo begun; read x", stdin=subprocess.PIPE)
    assert speaking.stdout.readline() == b"begun\n"
    wait_until(lambda: call("ls", "--json").json)
    assert call("export", "text", "1").out == "begun\n"
    assert [event[1:] for event in check_cast(call("export", "asciicast", "1").stdout)[1]] == [["o", "begun\r\n"]]
    assert call("replay", "--speed", "1000").out == "begun\n"
    speaking.communicate(b"\n")


def test_decoders_are_told_apart():
    """A character that one stream has begun is not finished by the other."""
    place = InStore(printed((0, OUT, b"\xc3"), (0, ERR, b"\xbc"), (0, OUT, b"\xa4"), (0, ERR, b"\xe2\x82")))
    assert "".join(text for _, text in cast.decoded(place)) == "\ufffdä\ufffd"
    assert codecs.lookup("utf-8").name == "utf-8"
