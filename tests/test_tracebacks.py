"""Tracebacks and the like of them, as programs write them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from qrec.output import Files, InStore
from qrec.task import Kept
from qrec.tracebacks import HEAD, LONGEST, SHOWN, TAIL, Excerpt, clean, find, last_lines

CHAINED = """
try:
    {}["a"]
except KeyError as error:
    try:
        raise ValueError("first\\nsecond") from error
    except ValueError:
        raise TypeError("last")
"""


def found(stderr: str, stdout: str = "") -> Excerpt:
    excerpt = find(InStore(Kept(stdout=stdout.encode(), stderr=stderr.encode())))
    assert excerpt is not None
    return excerpt


def python(script: str) -> str:
    """What Python itself says of an error."""
    return subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True).stderr


def test_a_chain_from_its_first_error_to_the_last():
    told = python(CHAINED)
    excerpt = found(f"a line\n{told}the end\n")
    assert (excerpt.stream, excerpt.line) == ("stderr", 2)
    assert excerpt.text + "\n" == told
    assert told.count("Traceback") == 3
    assert excerpt.lines[-1] == "TypeError: last"


def test_two_errors_that_have_nothing_to_do_with_each_other():
    first, second = python("1 / 0"), python(CHAINED)
    assert found(first + second).text + "\n" == first


def test_a_launcher_writes_something_before_each_line():
    told = python("1 / 0")
    marked = "".join(f"[rank0]: {line}\n" for line in told.splitlines())
    assert found(f"x\n{marked}[rank0]: bye\nbye\n").text == marked.rstrip("\n")


def test_an_exception_group():
    told = (
        "  + Exception Group Traceback (most recent call last):\n"
        "  |   File x\n  | ExceptionGroup: two (1 sub-exception)\n"
        "  +-+---------------- 1 ----------------\n    | ValueError: a\n    +------------------------------------\n"
    )
    assert found(f"{told}end\n").text + "\n" == told


def test_a_long_one_keeps_its_head_and_its_tail():
    told = "Traceback (most recent call last):\n" + "".join(f"  File {n}\n    x\n" for n in range(500)) + "E: end\n"
    excerpt = found(told)
    assert len(excerpt.lines) == SHOWN
    assert excerpt.count == 1002
    assert (excerpt.lines[1], excerpt.lines[10], excerpt.lines[-1]) == ("  File 0", "[... 973 lines ...]", "E: end")


RUST = """thread 'main' panicked at src/main.rs:2:5:
assertion `left == right` failed
  left: 1
 right: 2
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace"""
GO = """panic: runtime error: index out of range [3] with length 1

goroutine 1 [running]:
main.main()
\t/tmp/x.go:5 +0x1d
exit status 2"""
JAVA = """Exception in thread "main" java.lang.RuntimeException: a
\tat Main.main(Main.java:3)
Caused by: java.lang.Error: b
\tat Main.f(Main.java:9)
\t... 1 more"""
CPP = """terminate called after throwing an instance of 'std::runtime_error'
  what():  out of cheese"""
NODE = """TypeError: x is not a function
    at f (/tmp/a.js:1:2)
    at Module._compile (node:internal:1)"""
JULIA = """ERROR: LoadError: DivideError: integer division error
Stacktrace:
 [1] div at ./int.jl:1
in expression starting at /tmp/a.jl:1"""
GCC = """a.c:3:5: error: 'y' undeclared (first use in this function)
    3 |     y = 1;
      |     ^"""
RUSTC = """error[E0308]: mismatched types
 --> src/main.rs:2:18
  |
2 |     let x: i32 = "a";
  |            ---   ^^^ expected `i32`, found `&str`"""
PYTEST = """E       assert 1 == 2

test_a.py:3: AssertionError"""


@pytest.mark.parametrize(
    "told",
    [RUST, GO, JAVA, CPP, NODE, JULIA, GCC, RUSTC, PYTEST, "a.out: a.c:3: main: Assertion `x == 1' failed."],
    ids=["rust", "go", "java", "c++", "node", "julia", "gcc", "rustc", "pytest", "assert"],
)
def test_what_programs_say(told):
    excerpt = found(f"all is well\n\n{told}\nsomething else\n")
    assert excerpt.text == told
    assert excerpt.line == 3


@pytest.mark.parametrize(
    "line",
    [
        "make[1]: *** [Makefile:3: all] Error 2",
        "bash: line 4: nosuch: command not found",
        "sh: 1: nosuch: not found",
        "Error in f(x) : no such thing",
        "prog: error: the following arguments are required: x",
    ],
)
def test_single_lines(line):
    assert found(f"a\nb\n{line}\nmake: *** [all] Error 2\n").lines[0] == line


@pytest.mark.parametrize("line", ["0 errors, 3 warnings", "errors: 0", "no error here", "panic: none", "at line 3: x"])
def test_what_is_no_error(line):
    assert find(InStore(Kept(stderr=f"{line}\n".encode()))) is None


def test_a_story_in_stdout_is_worth_more_than_a_line_in_stderr():
    told = python("1 / 0")
    excerpt = found("make: *** [all] Error 1\n", f"x\n{told}")
    assert (excerpt.stream, excerpt.line, excerpt.text + "\n") == ("stdout", 2, told)


def test_colours_and_progress_bars_are_taken_out():
    block = b"1%\r50%\r100%\r\n\x1b[1;31mred\x1b[0m\x1b]0;title\x07 \xc2\x9b\x08x\xff\n\x1b(B"
    assert clean(block) == "100%\nred x\ufffd\n"


def test_a_coloured_compiler():
    told = "\x1b[01m\x1b[Ka.c:3:5:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[Kno"
    assert found(told).text == "a.c:3:5: error: no"


def test_one_in_the_tail_of_a_large_stream_is_counted_from_the_end(tmp_path):
    (tmp_path / "stderr").write_bytes(
        b"12345\n" * ((HEAD + 3 * TAIL) // 6) + b"Traceback (most recent call last):\nE: x\nz"
    )
    excerpt = find(Files(str(tmp_path)))
    assert excerpt is not None
    assert (excerpt.line, excerpt.text) == (-3, "Traceback (most recent call last):\nE: x")


def test_one_in_the_middle_of_a_very_large_stream_is_not_looked_for(tmp_path):
    line = b"12345\n"
    block = line * (2 * TAIL // 6)
    (tmp_path / "stderr").write_bytes(line * (HEAD // 6 + 1) + b"Traceback (most recent call last):\nE: x\n" + block)
    assert find(Files(str(tmp_path))) is None


def test_the_last_lines_are_those_of_stderr_if_it_says_anything():
    numbers = "".join(f"{n}\n" for n in range(50))
    assert last_lines(InStore(Kept(stdout=b"out\n", stderr=numbers.encode())), 3) == Excerpt(
        stream="stderr", line=-3, lines=("47", "48", "49"), count=3
    )
    only = last_lines(InStore(Kept(stdout=b"out\n", stderr=b"\x1b[0m\n")), 3)
    assert only is not None
    assert (only.stream, only.lines) == ("stdout", ("out",))
    assert last_lines(InStore(Kept()), 3) is None


def test_a_line_without_end_is_cut():
    excerpt = last_lines(InStore(Kept(stderr=b"x" * 60_000)), 3)
    assert excerpt is not None
    assert [len(line) for line in excerpt.lines] == [LONGEST]


@pytest.mark.parametrize(
    "block",
    [b"Assertion `" * 90_000, b"ERROR: x\n" * 100_000, b"thread '" * 100_000 + b"panicked at", b"\x1b]" * 400_000,
     b"E   " * 200_000, b"x: error: " * 90_000 + b"\n" + b"\\" * 9, b"a: 1: " * 150_000 + b"not found"],
    ids=["assert", "julia", "rust", "escapes", "pytest", "error", "dash"],
)  # fmt: skip
def test_hostile_output_is_searched_to_its_end(block):
    """Hangs where an expression takes quadratic time."""
    find(InStore(Kept(stderr=block)))
