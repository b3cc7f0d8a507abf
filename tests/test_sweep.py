"""Many jobs at once: the values of a sweep, the lines of a file, and times to come."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta, timezone
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrec.errors import WrongUsage
from qrec.jobs import Submission
from qrec.quoting import filled
from qrec.sweep import MOST, jobs_of, sweep_of, swept, variables
from qrec.units import time_to_come

USUAL = Submission(command=(), tags=("usual",), env={"A": "1"})


def unread(name: str) -> str:
    raise AssertionError(f"{name} was read")


@pytest.mark.parametrize(
    ("words", "name", "values"),
    [
        ("lr=0.1,0.01", "lr", ["0.1", "0.01"]),
        ("seed=1..5", "seed", ["1", "2", "3", "4", "5"]),
        ("seed=5..3", "seed", ["5", "4", "3"]),
        ("seed=0..10..5", "seed", ["0", "5", "10"]),
        ("seed=08..11", "seed", ["08", "09", "10", "11"]),
        ("seed=-1..1", "seed", ["-1", "0", "1"]),
        ("x=1..2,7,a b", "x", ["1", "2", "7", "a b"]),
        ("x=a=b,,", "x", ["a=b", "", ""]),
        ("x=1.5..2", "x", ["1.5..2"]),
        ("größe=a", "größe", ["a"]),
    ],
)
def test_values(words, name, values):
    assert sweep_of(words, unread) == (name, values)


def test_values_from_a_file_and_from_stdin():
    read = {"names.txt": "a b\n\n$(c)\n", "-": "x\r\ny"}.__getitem__
    assert sweep_of("file=@names.txt", read) == ("file", ["a b", "$(c)"])
    assert sweep_of("file=-", read) == ("file", ["x", "y"])


@pytest.mark.parametrize(
    "words", ["lr", "=a", "lr=", "a b=c", "1a=c", "n=@empty", f"n=1..{MOST + 1}", "n=1..9999999999"]
)
def test_no_values(words):
    with pytest.raises(WrongUsage) as raised:
        sweep_of(words, {"empty": "\n\n"}.get)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_the_product():
    job = Submission(command=("t", "--lr", "{lr}", "{seed}{lr}", "{other}"), name="{lr}-{seed}", env={"S": "{seed}"})
    made = swept(job, [("lr", ["0.1", "a b"]), ("seed", ["1", "2"])])
    assert [one.command for one in made] == [
        ("t", "--lr", lr, f"{seed}{lr}", "{other}") for lr, seed in product(["0.1", "a b"], ["1", "2"])
    ]
    assert [one.name for one in made] == ["0.1-1", "0.1-2", "a b-1", "a b-2"]
    assert [one.env["S"] for one in made] == ["1", "2", "1", "2"]


def test_a_value_with_another_name_in_braces_is_left_alone():
    (made,) = swept(Submission(command=("t", "{a}", "{b}")), [("a", ["{b}"]), ("b", ["{a}"])])
    assert made.command == ("t", "{b}", "{a}")


def test_in_a_line_for_the_shell_values_are_quoted_where_they_must_be():
    made = swept(
        Submission(command=("cat {f} | wc",), setup="touch {f}", message="of {f}"), [("f", ["a", "x; rm -r y"])]
    )
    assert [one.command for one in made] == ["cat a | wc", "cat 'x; rm -r y' | wc"]
    assert [(one.setup, one.message) for one in made] == [("touch a", "of a"), ("touch 'x; rm -r y'", "of x; rm -r y")]


HOSTILE = ("a b", "it's", 'a"b', "$(echo x)", "`echo x`", "$v", "\\", "; echo x;", "\n", "'; echo x; '", '"; echo x; "')
BASH = 'v=V; p() { printf "<%s>" "$@"; }\n'


def printed(lines: list[str]) -> list[str]:
    """What bash prints for each of these lines."""
    text = BASH + "".join(f"{line}\nprintf '\\1'\n" for line in lines)
    return subprocess.run(["/bin/bash", "-c", text], capture_output=True, text=True, check=True).stdout.split("\1")[:-1]


@pytest.mark.parametrize(
    "line",
    [
        "p {f} x{f}y --o={f}",
        "p '{f}' 'a {f}'",
        'p "{f}" "a {f} $v"',
        'p $v""{f} "$v""{f}"',
        'p "$(p "a {f}")" "{f}"',
        'p "$(p \'{f}\' \\" {f})$v"',
        "p \\' {f} \\\\'{f}'",
        'p $v"it\'s {f}"',
        "p ${v:-x} '{f}'",
        "p a#'{f}' # it's",
        "(p \"$(p {f})\" ) | cat; p '{f}'",
        "p $((1 + 2)) `p x` {f}",
        "p <(true) >/dev/null; cat <<<{f}",
        "p $'it\\'s' '{f}'",
    ],
)
def test_in_quotes_a_value_stays_as_it_is(line):
    """Bash makes of it what it makes of a plain word in that place."""
    (plain,) = printed([line.replace("{f}", "WORD")])
    assert "WORD" in plain
    assert printed([filled(line, {"f": value}) for value in HOSTILE]) == [
        plain.replace("WORD", value) for value in HOSTILE
    ]


def test_a_value_is_a_word_of_its_own():
    """It makes no name of a variable longer, and is no number of a file."""
    assert printed([filled('p $v{f} "$v{f}" {f}>/dev/null; p {f}>&1', {"f": "2"})]) == ["<2>"]
    assert printed([filled('p $v{f} "$v{f}"', {"f": "2"})]) == ["<V2><V2>"]


@pytest.mark.parametrize(
    "line",
    [
        "ls `echo {f}`",
        "cat <<E\n{f}\nE",
        "echo # {f}",
        "echo $'{f}'",
        "echo ${x:-{f}}",
        'echo "${x:-"}{f}"',
        "echo \\{f}",
        "echo $(({f}))",
        "((x = '{f}'))",
        "echo $[{f}]",
        "echo 'a {f}",
        'echo "{f}',
        'echo "$(case a in a) echo ;; esac)" {f}',
    ],
)
def test_where_it_is_not_certain_how_to_quote_it_is_refused(line):
    assert filled(line, {"f": "a-1"}) == line.replace("{f}", "a-1"), "what needs no quotes is not"
    with pytest.raises(WrongUsage, match=r"not certain how to quote '\$\(touch x\)' for \{f\}"):
        filled(line, {"f": "$(touch x)"})


def test_a_variable_of_the_shell_is_no_name_in_braces():
    with pytest.raises(WrongUsage, match="variable of the shell"):
        swept(Submission(command=("echo ${f}",)), [("f", ["a"])])


@pytest.mark.parametrize(
    "sweeps",
    [
        [("b", ["1"])],
        [("a", ["1"]), ("a", ["2"])],
        [("a", ["x"] * 2000), ("b", ["y"] * 2000)],
    ],
    ids=["nowhere", "twice", "too many"],
)
def test_what_makes_no_sense(sweeps):
    with pytest.raises(WrongUsage):
        swept(Submission(command=("{a}",) if len(sweeps[0][1]) == 1 else ("{a}{b}",)), sweeps)


# Files


def test_command_lines():
    text = "make data\n\n  # a note\npython train.py 'a b'\r\n{ echo x; } | cat\n"
    made = jobs_of(text, USUAL)
    assert [one.command for one in made] == ["make data", "python train.py 'a b'", "{ echo x; } | cat"]
    assert {one.tags for one in made} == {("usual",)}


def test_json_lines():
    rows: list[dict[str, Any]] = [
        {"argv": ["t", "a b", "$(x)"], "name": "one", "depends": ["two"], "env": {"B": 2}, "mem": "16G"},
        {"command": "x | y", "jobname": "two", "depends_any": "one,z", "depends-failed": 3, "priority": -1, "mem": 5},
        {"argv": ["t"], "retries": 2, "backoff": "1m", "timeout": 90, "gpus": 1, "cpus": 4, "tags": ["a"], "at": 5.5},
        {"command": "t", "setup": "s", "teardown": "d", "cwd": "/", "if_absent": True, "slurm": {"partition": "x"},
         "message": "m", "preamble": ["p"], "log": False, "name": None},
    ]  # fmt: skip
    one, two, three, four = jobs_of("\n".join(map(json.dumps, rows)) + "\n", USUAL)
    assert (one.command, one.name, one.depends) == (("t", "a b", "$(x)"), "one", ("two",))
    assert (one.env, one.mem, one.tags) == ({"A": "1", "B": "2"}, 16_000_000_000, ("usual",))
    assert (two.command, two.name, two.depends_any, two.depends_failed) == ("x | y", "two", ("one,z",), ("3",))
    assert (two.priority, two.mem) == (-1, 5)
    assert (three.retries, three.backoff, three.timeout, three.gpus, three.cpus) == (2, 60.0, 90.0, 1, 4)
    assert (three.tags, three.at) == (("a",), 5.5)
    assert (four.setup, four.teardown, four.cwd, four.if_absent, four.log) == ("s", "d", "/", True, False)
    assert (four.slurm, four.message, four.preamble, four.name) == ({"partition": "x"}, "m", ("p",), None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"argv": []}', "argv"),
        ('{"argv": "t"}', "argv"),
        ('{"command": ["t", 1]}', "command"),
        ("{}", "command"),
        ('{"command": "t", "argv": ["t"]}', "one"),
        ('{"command": "t", "nmae": "x"}', "nmae"),
        ('{"command": "t", "priority": "high"}', "priority"),
        ('{"command": "t", "priority": true}', "priority"),
        ('{"command": "t", "mem": "much"}', "much"),
        ('{"command": "t", "env": ["A"]}', "'A'"),
        ('{"command": "t", "at": "soon"}', "soon"),
        ('{"command": "t"', "JSON"),
        ("echo t", "JSON"),
        ("[1]", "object"),
        ('{"command": "t", "retries": -1}', "'retries' is a whole number from 0, not -1"),
        ('{"command": "t", "cpus": 0}', "'cpus'"),
        ('{"command": "t", "priority": 99999999999999999999}', "'priority'"),
        ('{"command": "t", "at": 1e300}', "'at'"),
        ('{"command": "t", "timeout": "-5"}', "'-5'"),
        ('{"command": "t", "tags": [["a"]]}', "'tags'"),
        ('{"command": "t", "message": 3}', "'message' is text, not 3"),
        ('{"command": "t", "env": {"A=B": "1"}}', "'env'"),
        ('{"command": "t", "name": "\\u0000"}', "'name'"),
        ('{"command": "t", "name": "\\ud800"}', "'name'"),
        ('{"command": "t", "log": 1}', "'log'"),
    ],
)
def test_a_wrong_line_is_named(line, said):
    with pytest.raises(WrongUsage) as raised:
        jobs_of('{"command": "good"}\n\n' + line, USUAL)
    assert str(raised.value).startswith("line 3")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_json_among_command_lines_is_named():
    with pytest.raises(WrongUsage, match=r"^line 4 is JSON, and the first line is a command"):
        jobs_of('make data\n\n{ echo x; }\n{"command": "t", "name": "J"}\n', USUAL)


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_nothing(text):
    with pytest.raises(WrongUsage):
        jobs_of(text, USUAL)


@given(st.lists(st.lists(st.text(), min_size=1), min_size=1))
def test_words_come_through_unchanged(commands):
    text = "\n".join(json.dumps({"argv": words}) for words in commands)
    assert [one.command for one in jobs_of(text, USUAL)] == [tuple(words) for words in commands]


def test_variables():
    assert variables(["A=b=c", "B=", "C=\n'\"$(x)"]) == {"A": "b=c", "B": "", "C": "\n'\"$(x)"}
    for wrong in ("A", "=b", "A=\0"):
        with pytest.raises(WrongUsage):
            variables([wrong])


# Times to come

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize("words", ["2h", "+2h", " 2h ", "120m", "7200"])
def test_from_now(words):
    assert time_to_come(words, NOW) == NOW + timedelta(hours=2)


def test_a_time_of_day():
    here = NOW.astimezone()
    soon, before = here + timedelta(minutes=30), here - timedelta(minutes=30)
    assert time_to_come(f"{soon:%H:%M}", NOW) == soon
    assert time_to_come(f"{before:%H:%M:%S}", NOW) == before + timedelta(days=1)


def test_a_day():
    assert time_to_come("2026-11-23 08:00", NOW) == datetime(2026, 11, 23, 8).astimezone()
    assert time_to_come("2026-11-23T08:00Z", NOW) == datetime(2026, 11, 23, 8, tzinfo=timezone.utc)


@pytest.mark.parametrize("words", ["", "soon", "25:00", "18:61", "2026-13-01", "2026-11-21", "-2h", "1e400", "9" * 30])
def test_no_time_to_come(words):
    with pytest.raises(WrongUsage):
        time_to_come(words, NOW)
