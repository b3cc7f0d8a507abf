"""Exports that people read and run: a bash script, and a report in Markdown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from qrec.api import Qrec
from qrec.doors import bash_script, markdown
from qrec.jobs import Jobs, Submission
from qrec.output import InStore
from qrec.task import Kept, Status, Task, new_uid
from tests.test_look_back import add, call, one_line

quickly = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
#: As the operating system hands words over: any bytes but NUL.
WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6) | st.binary(
    max_size=6
).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))
TEXT = st.text(st.sampled_from("a`~#|\\*_<>&[]()!-+=1.: \t\n\r\x1b\x0b\x00é\u2028\u202e"), max_size=30)
AWKWARD = ["show", "if", "echo", "time", "%1", "A=b", "a b", "it's", "[", "!", "-x", "é", "$HOME", "export", "x:", "&"]
SHOW_WORDS = """#!/bin/sh
printf '%s\\0' "${0##*/}" "$@" >>"$OUT"
"""


def task(*argv: str, **fields: object) -> Task:
    known = {"executor": "shell", "uid": new_uid("shell"), "number": 1, "created": "2026-11-22T10:00:00.000000Z"}
    return Task(argv=argv, **{**known, "status": Status.COMPLETE, **fields})  # type: ignore[arg-type]


def script_of(*tasks: Task) -> bytes:
    return b"".join(bash_script.lines(tasks))


def run(script: bytes, folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    path = folder / "again.sh"
    path.write_bytes(script)
    env = {**os.environ, **variables}
    return subprocess.run(
        ["bash", path], cwd=folder, env=env, capture_output=True, timeout=60, stdin=subprocess.DEVNULL
    )


def shellcheck(script: bytes) -> None:
    done = subprocess.run(["shellcheck", "-"], input=script, capture_output=True, timeout=60)
    assert done.returncode == 0, (script, done.stdout.decode())


# bash


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs with awkward names that tell how they were called."""
    folder = tmp_path_factory.mktemp("programs")
    for name in AWKWARD:
        (folder / name).write_text(SHOW_WORDS)
        (folder / name).chmod(0o755)
    return folder


@quickly
@given(st.lists(st.tuples(st.sampled_from(AWKWARD), st.lists(WORD, max_size=3)), min_size=1, max_size=4))
@example([("show", ["", "~", "a=~", "{a,b}", "!!", "*", "a\nb", "\t", "\udcff", "'", '"', "\\", "#", "-n"])])
def test_any_words_are_run_as_they_were_recorded(tmp_path_factory, programs, commands):
    folder = tmp_path_factory.mktemp("run")
    out = folder / "out"
    script = script_of(*(task(name, *words, number=at, pwd=str(folder)) for at, (name, words) in enumerate(commands)))
    done = run(script, folder, OUT=str(out), PATH=f"{programs}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (0, b""), script
    expected = [os.fsencode(word) for name, words in commands for word in (name, *words)]
    assert out.read_bytes() == b"".join(word + b"\0" for word in expected)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(WORD, min_size=1, max_size=4), min_size=1, max_size=4), TEXT)
@example([["~/x", "a,b", "$x", "“q”"], ["find", "{}", ";"], ["A=b"], ["sh", "-c", "rm *; cd x && `ls`"]], "a note\n# x")
def test_shellcheck_has_nothing_to_say(commands, note):
    shellcheck(script_of(*(task(*words, message=note, pwd="/x y") for words in commands)))


def test_an_exported_script_does_it_again(home, kind, tmp_path, monkeypatch, qrec):
    there = tmp_path / "the other"
    there.mkdir()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    qrec("-q", "run", "-m", "two words\nof mine", "-t", "x", "sh", "-c", "pwd; echo $((6 * 7)) it\\'s", check=True)
    qrec("-q", "run", 'for i in a b; do echo "$i"; done | tr a-z A-Z', cwd=there, check=True)
    qrec("-q", "run", "printf", "%s\\n", "a  b", "*", cwd=there, check=True)
    before = b"".join(call("log", number, "--stdout").stdout for number in "123")
    call("export", "bash", "3", "1", "2", "-o", tmp_path / "out.sh", check=True)
    script = (tmp_path / "out.sh").read_bytes()
    shellcheck(script)
    done = run(script, tmp_path)
    assert (done.stdout, done.returncode) == (before, 0), done
    text = script.decode()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "# note: two words\n# note: of mine\n# tags: x\n" in text
    assert text.count("# CUDA_VISIBLE_DEVICES=1\n") == 1, "told of where it changes"
    assert f"\ncd -- '{there}'\n" in text
    assert text.count("\ncd -- ") == 2
    assert call("export", "bash", "--tag", "x").out.count("# note:") == 2


def test_a_script_ends_at_what_fails_and_goes_on_without_its_line(tmp_path):
    script = script_of(*(task(*words, number=at) for at, words in enumerate([["show-nothing"], ["pwd"]])))
    assert run(script, tmp_path).stdout == b""
    done = run(script.replace(b"\nset -e\n", b"\n"), tmp_path)
    assert done.stdout == f"{tmp_path}\n".encode(), "a folder that is not known is where the script is started"
    shellcheck(script)


def test_a_script_stops_where_secrets_are_missing(home, tmp_path, qrec):
    qrec("-q", "run", "echo", "--password", "hunter2")
    qrec("-q", "run", "echo", "after")
    script = call("export", "bash", check=True).stdout
    shellcheck(script)
    assert b"hunter2" not in script
    assert b"# TO BE COMPLETED: 1 secret was left out of the record" in script
    assert run(script, tmp_path).stdout == b""
    completed = script.replace(b"\nfalse\n", b"\n").replace(b"[redacted]'", b"hunter2'")
    assert run(completed, tmp_path).stdout == b"--password hunter2\nafter\n"


def test_a_queue_comes_in_the_order_of_its_dependencies(home, tmp_path):
    jobs = Jobs(Qrec(), "q")
    late = jobs.submit(Submission(command=("echo", "first"), cwd=str(tmp_path), name="late", env={"A": "b c"}))
    jobs.submit(Submission(command=('echo "$A" "second"',), cwd=str(tmp_path), depends=(late.uid,), preamble=("A=x",)))
    script = call("export", "bash", "2", "1", check=True).stdout
    shellcheck(script)
    assert run(script, tmp_path).stdout == b"first\nx second\n"
    assert b"# of the queue q as late\n" in script
    assert b"\nenv -- 'A=b c' echo first\n" in script
    assert b"PATH=" not in script, "it is that of whoever runs the script"


def test_order_is_that_of_running_but_for_dependencies():
    def at(minute: int) -> str:
        return f"2026-11-22T10:{minute:02}:00.000000Z"

    first, second, third = (task("x", number=n, started=at(minute)) for n, minute in ((1, 30), (2, 10), (3, 20)))
    assert [one.number for one in bash_script.in_order([first, second, third])] == [2, 3, 1]
    assert [one.number for one in bash_script.in_order([first, second.copy(after=(first.uid,)), third])] == [3, 1, 2]


def test_nothing_and_a_command_that_is_not_known():
    assert b"# 0 commands, " in script_of()
    script = script_of(task(pwd="/"))
    assert b"# its command is not known" in script
    shellcheck(script)


# Markdown


def parsed(report: bytes) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(report.decode())


def reported(one: Task, stdout: str = "", stderr: str = "") -> bytes:
    kept = Kept(stdout=stdout.encode(), stderr=stderr.encode())
    return b"".join(markdown.report([one], lambda _: InStore(kept)))


@given(TEXT, TEXT, TEXT, TEXT)
@example("```\n````", "# x\n- y\n1. z\n> q\n    code\n***", "a|b\n| c |", "`")
@example("~~~\n", "-", "|", "``")
def test_a_report_keeps_its_form_whatever_it_tells(output, note, word, other):
    one = task("sh", word, message=note, host=word, pwd=other, tags=(other,), status=Status.FAILED, returncode=3)
    tokens = parsed(reported(one, output))
    kinds = [token.type for token in tokens if token.level == 0 and token.nesting >= 0]
    kinds = [kind for kind in kinds if kind != "blockquote_open"]
    assert kinds[:5] == ["heading_open", "heading_open", "fence", "table_open", "paragraph_open"]  # what follows: why
    assert kinds[5:] in ([], ["paragraph_open", "fence"], ["fence", "paragraph_open", "fence"])
    fences = [token for token in tokens if token.type == "fence"]
    assert fences[0].info == "sh"
    rows = [token for token in tokens if token.type == "tr_open"]
    cells = [token for token in tokens if token.type in ("td_open", "th_open")]
    assert len(cells) == 2 * len(rows)
    inner = [child.type for token in tokens if token.type == "inline" for child in token.children or ()]
    assert set(inner) <= {"text", "code_inline", "strong_open", "strong_close", "text_special", "softbreak"}


@given(st.text(st.sampled_from("ab`~ \n#|"), min_size=1, max_size=40))
def test_the_output_stands_in_its_block_as_it_was(output):
    fences = [token for token in parsed(reported(task("x"), output)) if token.type == "fence"]
    if output.strip("\n"):
        assert fences[1].content.rstrip("\n") == "\n".join(output.split("\n")).rstrip("\n")


def test_a_report_tells_of_each_task(home, kind, tmp_path, qrec):
    qrec("-q", "run", "-m", "before *the* release", "sh", "-c", "seq 30; echo '````'; echo bad >&2; exit 3")
    qrec("-q", "run", "echo", "a|b")
    report = call("export", "markdown", check=True).out
    tokens = parsed(report.encode())
    fences = [token.content for token in tokens if token.type == "fence"]
    assert fences[0] == "sh -c 'seq 30; echo '\"'\"'````'\"'\"'; echo bad >&2; exit 3'\n"
    assert fences[1].splitlines()[-1] in ("bad", "````")
    assert "\n30\n" in fences[1]
    assert "\n9\n" not in fences[1]
    assert "\\-" not in report, "a date begins no list"
    text = re.sub(r"\\(.)", r"\1", report)
    assert "> before *the* release\n" in text
    assert "| status | failed |\n| exit code | 3 |\n" in text
    assert f"| host | {os.uname().nodename} |" in text
    assert f"| folder | {tmp_path} |" in text
    assert "**Why:** exit code 3" in text
    assert text.count("**Why:**") == 1
    assert fences[-1] == "a|b\n"
    assert call("export", "markdown", "--failed").out.count("\n## ") == 1


def test_why_a_program_failed_is_told_with_its_traceback(home, qrec):
    qrec("-q", "run", "python3", "-c", "import nothing_of_that_name")
    report = call("export", "markdown", check=True).out
    assert "the Python that ran does not find the module nothing" in report
    assert "Traceback (most recent call last)" in report


def test_secrets_in_output_are_not_reported(home, qrec):
    qrec("-q", "run", "sh", "-c", "echo API_TOKEN=abc123def456")
    assert "abc123def456" not in call("export", "markdown", check=True).out
    assert "abc123def456" in call("export", "markdown", "--reveal", check=True).out


# Both


@pytest.mark.parametrize("form", ["bash", "markdown"])
def test_what_nobody_recorded_whole(home, kind, form):
    store = Qrec().store
    add(store, pwd="", host="", created="", started=None, ended=None, returncode=None)
    done = call("export", form, check=True)
    assert done.out.startswith("#")
    assert one_line(call("export", form, "zz")) == "no task is called 'zz'; `qrec ls` lists what there is"


@pytest.mark.parametrize("verb", ["import", "export"])
def test_every_format_is_told_of_and_offered(verb, home):
    told = call(verb, "--help", check=True).out
    from qrec.doors.sources import SOURCES

    forms = list(SOURCES) if verb == "import" else "jsonl csv text asciicast bash markdown".split()
    for form in forms:
        assert re.search(rf"^  {form}  ", told, re.M), form
    assert len(re.findall(rf"^    qrec {verb} ", told, re.M)) == 2
    asked = {"_QREC_COMPLETE": "bash_complete", "COMP_WORDS": f"qrec\n{verb}\n", "COMP_CWORD": "2"}
    done = subprocess.run([sys.executable, "-m", "qrec"], env={**os.environ, **asked}, capture_output=True, text=True)
    assert set(forms) <= {line.split("\t")[1] for line in done.stdout.splitlines()}, done
