"""Queues as bash scripts: written, looked at by shellcheck, and run without qrec and Python in reach."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from qrec.errors import WrongUsage
from qrec.quoting import quoted
from qrec.script import commands, script
from qrec.task import Status, Task
from tests.helpers import Result, environment, wait_until

BASH = shutil.which("bash") or "bash"
TOOLS = "bash cat cksum date echo env flock grep kill mkdir printf rm sh sleep timeout tmux touch true".split()
BACKENDS = ["serial", "tmux"]
TRICKY = [
    "1",
    "001",
    "j",
    "True",
    "a b",
    "--x",
    "it's",
    'a "b"',
    "$(touch x)`y`",
    "two\nlines",
    "ünï “x”",
    "\u00a0",
    "@SIZE@",
]


def uid(number):
    return f"queue-{number:08x}-0000-4000-8000-000000000000"


def task(number, command, after=(), folder="", name=None, priority=0, status=Status.QUEUED, **job):
    """A job: a line for bash if the command is one text, else words; `any` and `failed` are numbers."""
    is_line = isinstance(command, str)
    for kind in {"any", "failed"} & job.keys():
        job[kind] = [uid(parent) for parent in job[kind]]
    return Task(
        uid=uid(number),
        executor="queue",
        number=number,
        name=name,
        argv=(command,) if is_line else tuple(command),
        after=tuple(map(uid, after)),
        pwd=str(folder),
        priority=priority,
        status=status,
        data={**({"shell": "/bin/bash"} if is_line else {}), "job": job},
    )


def submitted(jobs, policy):
    """The jobs as they are once they have been put into a queue with such a policy."""
    found = []
    for one in jobs:
        job = one.data["job"]
        env, preamble = (
            {**policy.get("env", {}), **job.get("env", {})},
            [*policy.get("preamble", ()), *job.get("preamble", ())],
        )
        found.append(one.copy(data={**one.data, "job": {**job, "env": env, "preamble": preamble}}))
    return found


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A PATH with neither qrec nor Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or pytest.fail(f"no {tool} here"))
    return str(folder)


@pytest.fixture
def play(tmp_path: Path, bare: str):
    """Writes the jobs as a script and runs it; every job's folder is tmp_path unless it has another."""

    def play(
        jobs, policy=None, backend="serial", name="q", folder=tmp_path, outside=None, wait=True, env=None, check=True
    ):
        jobs = [job if job.pwd else job.copy(pwd=str(tmp_path)) for job in jobs]
        path, fresh = folder / "script.sh", folder / "script.new"
        fresh.write_text(script(submitted(jobs, policy or {}), policy or {}, name, backend, outside))
        fresh.replace(path)  # bash reads on in the one that it has begun
        if check:
            shellcheck(path)
        surroundings = environment({"PATH": bare, "QREC_STATE": str(folder / "state"), **(env or {})})
        given: dict[str, Any] = {"env": surroundings, "cwd": folder}
        if not wait:
            return subprocess.Popen(
                [BASH, path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **given
            )
        done = subprocess.run([BASH, path], input=b"not for jobs", capture_output=True, timeout=50, **given)
        return Result(done.args, done.returncode, done.stdout, done.stderr)

    return play


@pytest.fixture
def read(tmp_path: Path):
    """What is in a file of the state folder."""
    return lambda name: (tmp_path / "state" / name).read_text()


def shellcheck(path):
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def states(folder):
    return {int(path.stem): path.read_text().strip() for path in (folder / "state").glob("*.state")}


# How it looks


def everything(folder):
    """Jobs with all that can be asked for."""
    asked = {
        "env": {"A": "it's $(x)", "B": "\n"},
        "setup": "x=1",
        "teardown": "rm -f 'y'",
        "preamble": ["set -e", "y=2"],
        "timeout": 90.5,
        "retries": 3,
        "backoff": 0.5,
        "cpus": 2,
        "mem": 1 << 30,
        "gpus": 1,
        "at": 1.5,
        "slurm": {"partition": "a b", "exclusive": True, "cpus_per_task": 4, "nodes": None},
    }
    first = [task(number, "true", folder=folder, name=name) for number, name in enumerate(TRICKY, 1)]
    rest = [
        task(
            100, "cat <<'E' # it's\n$x `y`\nE\n", [1, 2, 3, 4], folder=f"{folder}/a b", any=[2], failed=[3, 4], **asked
        ),
        task(101, ["--x", "a b", "", "$x", "“”"], [100], folder=folder, failed=[100]),
    ]
    return first + rest + [task(number, line) for number, line in enumerate(("echo hi \\", r"echo 'it'\''s'"), 110)]


@pytest.mark.parametrize("backend", ["serial", "tmux", "slurm"])
@pytest.mark.parametrize("name", TRICKY)
def test_shellcheck_finds_nothing(tmp_path, backend, name):
    policy = {"workers": 3, "gpus": ["0", "MIG-1/2"], "preamble": ["z='3'"], "env": {"C": name}}
    path = tmp_path / "script.sh"
    path.write_text(script(submitted(everything(tmp_path), policy), policy, name, backend))
    shellcheck(path)


@pytest.mark.parametrize("backend", ["serial", "tmux", "slurm"])
def test_header_and_jobs_are_short(tmp_path, backend):
    jobs = [job for job in everything(tmp_path) if "\n" not in "".join([job.name or "", *job.argv])]
    jobs += [task(102, "true", [1, 2, 999], any=[2], failed=[1, 999], timeout=1, retries=1, at=3, gpus=1, setup="x")]
    gone = task(999, "x", status=Status.FAILED)
    lines = script(jobs, {"workers": 2, "gpus": [0]}, "q", backend, {gone.uid: gone}).splitlines()
    begin, end = lines.index("queue() {"), lines.index("}", lines.index("queue() {"))
    assert begin <= 60
    starts = [number for number, line in enumerate(lines) if line.startswith("    job ") and begin < number]
    assert len(starts) == len(jobs)
    assert max(b - a for a, b in zip(starts, [*starts[1:], end], strict=True)) <= 4
    assert len(lines) - end < 45


@pytest.mark.parametrize("text", [*TRICKY, "\r\x1b[0m'\\", "\udcff1", "", "a'b", "it's \\ $x"])
def test_words_are_exact(text):
    done = subprocess.run([BASH, "-c", f"printf %s {quoted(text)}"], capture_output=True, check=True)
    assert done.stdout == text.encode(errors="surrogateescape")


def test_commands():
    jobs = [task(2, ["echo", "a b"], [7]), task(7, "echo 1 |\ncat", name="the first\none")]
    assert commands(jobs) == "# 7 'the first one'\necho 1 |\ncat\n\n# 2\necho 'a b'\n"


def test_jobs_without_numbers_are_counted():
    jobs = [task(4, "x").copy(number=0), task(5, "y").copy(number=0)]
    assert commands(jobs) == "# 1\nx\n\n# 2\ny\n"


def test_what_cannot_be_written():
    with pytest.raises(WrongUsage, match="serial, tmux, slurm"):
        script([], {}, "q", "make")
    with pytest.raises(WrongUsage, match="2 jobs wait for each other"):
        script([task(1, "x", [2]), task(2, "x", [1])], {}, "q", "serial")


# How it runs


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_jobs(play, backend):
    assert play([], backend=backend).returncode == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_dependencies(play, read, tmp_path, backend):
    jobs = [
        task(9, "echo out; echo err >&2", name="prep"),
        task(1, "cat made", [2]),
        task(2, "echo hi >made", [9]),
        task(3, "exit 3", [2]),
        task(4, "echo never", [3]),
        task(5, "echo never", [4]),
        task(6, "echo anyway", [3, 4], any=[3, 4]),
        task(7, "echo mended", [3, 9], failed=[3, 9]),
        task(8, "echo never", [9], failed=[9]),
        task(10, "echo mended", [4], failed=[4]),
    ]
    done = play(jobs, {"workers": 2}, backend)
    assert done.returncode == 1
    assert states(tmp_path) == {
        9: "done", 1: "done", 2: "done", 3: "failed 3", 4: "skipped (3 is not done)", 5: "skipped (4 is not done)",
        6: "done", 7: "done", 8: "skipped (nothing failed)", 10: "done",
    }  # fmt: skip
    assert (read("9.out"), read("9.err"), read("1.out"), read("7.out")) == ("out\n", "err\n", "hi\n", "mended\n")
    assert f"failed: 3, see {tmp_path}/state/3.err" in done.out
    assert f"q: 6 done, 1 failed, 3 skipped, 0 left; see {tmp_path}/state" in done.out


@pytest.mark.parametrize("backend", BACKENDS)
def test_continuing(play, tmp_path, backend):
    jobs = [task(1, "echo x >>first"), task(2, "test -e wanted", [1]), task(3, "echo x >>last", [2])]
    assert play(jobs, backend=backend).returncode == 1
    (tmp_path / "wanted").touch()
    for _ in range(2):
        assert play(jobs, backend=backend).returncode == 0
    assert states(tmp_path) == {1: "done", 2: "done", 3: "done"}
    assert ((tmp_path / "first").read_text(), (tmp_path / "last").read_text()) == ("x\n", "x\n")


@pytest.mark.parametrize("backend", BACKENDS)
def test_codes_and_shells_of_their_own(play, read, tmp_path, backend):
    jobs = [
        task(1, "cd /; x=1; exit 3"),
        task(2, ["no-such-program"]),
        task(3, ["/"]),
        task(4, "echo 'open"),
        task(5, "if"),
        task(6, "echo ${x-unset} $PWD # it's a comment"),
        task(7, "cat <<E\n$((1 + 1)) it's\nE"),
        task(8, ["echo", "-n", "a  b", "$x", "it's", "two\nlines"]),
        task(9, ["A=b"]),
        task(10, ["exit", "0"]),
        task(11, "kill -9 $BASHPID"),
        task(12, "cat; echo $# $0"),
        task(13, "number=99 state=/ end=x; exec 200>&- 1>&-"),
        task(14, "set -e; false; echo never"),
    ]
    play(jobs, backend=backend)
    found = states(tmp_path)
    assert [found[n] for n in (1, 2, 3, 4, 5)] == ["failed 3", "failed 127", "failed 126", "failed 2", "failed 2"]
    assert [found[n] for n in (9, 10, 11, 14)] == ["failed 127", "failed 127", "failed 137", "failed 1"]
    assert {found[n] for n in (6, 7, 8, 12, 13)} == {"done"}
    assert read("6.out") == f"unset {tmp_path}\n"
    assert read("7.out") == "2 it's\n"
    assert read("8.out") == "a  b $x it's two\nlines"
    assert read("12.out") == "0 job\n"


@pytest.mark.parametrize("text", TRICKY)
def test_names_folders_and_values_are_exact(play, read, tmp_path, text):
    folder = tmp_path / text.replace("/", "_")
    folder.mkdir()
    job = task(1, 'printf "%s|%s|%s|" "$PWD" "$V" "$W"', folder=folder, name=text, env={"V": text})
    done = play([job, task(2, ["printf", "%s", text])], {"env": {"V": "other", "W": text}}, name=text)
    assert read("1.out") == f"{folder}|{text}|{text}|"
    assert read("2.out") == text
    assert f"1 {text}: done\n" in done.out
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("text", TRICKY)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_state_is_beside_the_script(play, tmp_path, backend, text):
    folder = tmp_path / f"in {text}"
    folder.mkdir()
    done = play([task(1, "true")], name=text, folder=folder, backend=backend, env={"QREC_STATE": None}, check=False)
    assert done.returncode == 0, done
    (state,) = folder.glob("*.state")
    assert state.name == f"{text}-000000.state"
    assert (state / "1.state").read_text() == "done\n"
    assert state.stat().st_mode & 0o777 == 0o700


def test_a_queue_of_the_same_name_has_a_state_of_its_own(play, tmp_path):
    for job in (task(1, "echo x >>made"), task(1, "echo x >>made").copy(uid="queue-1a2b3c4d")):
        play([job], env={"QREC_STATE": None})
    assert (tmp_path / "made").read_text() == "x\nx\n"


def test_from_stdin(tmp_path, bare):
    text = script([task(1, "cat; echo here >made", folder=tmp_path), task(2, "true", [1])], {}, "q", "serial")
    surroundings = environment({"PATH": bare})
    done = subprocess.run([BASH], input=text.encode(), cwd=tmp_path, env=surroundings, capture_output=True)
    assert done.returncode == 0, done
    assert (tmp_path / "q-000000.state" / "2.state").exists()


def test_an_unwritable_place(play, tmp_path):
    (tmp_path / "file").touch()
    done = play([task(1, "true")], env={"QREC_STATE": str(tmp_path / "file" / "x")})
    assert (done.returncode, done.out, len(done.err.splitlines())) == (125, "", 1)


@pytest.mark.parametrize(("backend", "tool"), [("serial", "flock"), ("tmux", "tmux"), ("slurm", "sbatch")])
def test_a_tool_is_missing(play, bare, tmp_path, backend, tool):
    (Path(bare) / tool).unlink(missing_ok=True)
    done = play([task(1, "true")], backend=backend)
    assert (done.returncode, done.out) == (125, "")
    assert re.fullmatch(f"this script needs .*{tool}.*, which is not here\n", done.err)


def test_preamble_setup_and_teardown(play, read, tmp_path):
    jobs = [
        task(1, "echo $a$b$c; exit 4", preamble=["b=2"], setup="c=3; f() { echo f; }", teardown="f; echo torn; exit 0"),
        task(2, "echo never", setup="(exit 5)", teardown="echo never"),
        task(3, "echo never", preamble=["exit 6"], teardown="echo never"),
        task(4, "echo never", setup="if", teardown="echo never"),
        task(5, "false; echo never", setup="set -e", teardown="echo torn"),
        task(6, ["no-such-program"], teardown="echo torn"),
        task(7, "true", teardown="exit 7"),
    ]
    play(jobs, {"preamble": ["a=1", "set -- x"]})
    assert states(tmp_path) == {
        1: "failed 4", 2: "failed 5", 3: "failed 6", 4: "failed 2", 5: "failed 1", 6: "failed 127", 7: "done",
    }  # fmt: skip
    assert read("1.out") == "123\nf\ntorn\n"
    assert [read(f"{n}.out") for n in (2, 3, 4)] == [""] * 3
    assert read("5.out") == read("6.out") == "torn\n"


def test_what_all_jobs_have_alike_is_said_once():
    policy = {"preamble": ["a=1", "b=2"], "env": {"V": "w", "C": "d"}}
    jobs = submitted([task(1, "true"), task(2, "true", preamble=["c=3"], env={"C": "e"})], policy)
    text = script(jobs, {**policy, "preamble": ["changed since"]}, "q", "serial")
    assert "preamble=(a=1 b=2) environment=(V=w)" in text
    assert "before=(c=3)" in text
    assert (text.count("a=1"), text.count("V=w"), text.count("C=d"), text.count("C=e")) == (1, 1, 1, 1)
    assert "changed since" not in text


def test_timeout_ends_all_of_a_job_but_its_teardown(play, read, tmp_path):
    job = task(1, "sleep 1000 & echo $! >pid; wait; echo never", timeout=1.5, teardown="echo torn")
    play([job])
    assert (states(tmp_path)[1], read("1.out")) == ("failed 124", "torn\n")
    pid = (tmp_path / "pid").read_text().strip() if (tmp_path / "pid").exists() else ""
    if pid:  # it may have been killed before it got that far
        wait_until(lambda: not Path(f"/proc/{pid}").exists())


def test_retries(play, read, tmp_path):
    count = "echo x >>tries; test $(grep -c x tries) = 3"
    begun = time.monotonic()
    assert play([task(1, count, retries=2, backoff=0.1)]).returncode == 0
    assert time.monotonic() - begun >= 0.3
    (tmp_path / "tries").unlink()
    assert play([task(2, count, retries=1)]).returncode == 1
    assert (tmp_path / "tries").read_text() == "x\nx\n"


def test_not_before(play, tmp_path):
    at = time.time() + 1.2
    assert play([task(1, "date +%s.%N >when", at=at)]).returncode == 0
    assert float((tmp_path / "when").read_text()) >= at


def test_priority(play):
    done = play([task(1, "true"), task(2, "true", priority=5), task(3, "true", [1], priority=9)])
    assert re.findall(r"^(\d): done", done.out, re.MULTILINE) == ["2", "1", "3"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_gpus(play, read, backend):
    line = 'echo "$CUDA_VISIBLE_DEVICES"; mkdir "lock$CUDA_VISIBLE_DEVICES" && sleep 0.2 && rm -r lock*'
    jobs = [task(n, line, gpus=2) for n in (1, 2)] + [
        task(3, "echo ${CUDA_VISIBLE_DEVICES-none}"),
        task(4, "x", gpus=3),
    ]
    done = play(jobs, {"gpus": ["0", "5"], "workers": 3}, backend)
    assert (read("1.out"), read("2.out"), read("3.out")) == ("0,5\n", "0,5\n", "none\n")
    assert read("1.err") == read("2.err") == ""
    assert read("4.state") == "failed 125 (it asks for 3 GPUs, and the queue has 2)\n"
    assert done.returncode == 1


def test_dependencies_outside(play, tmp_path):
    well, badly, running = (
        task(n, "x", status=Status(s)) for n, s in ((51, "complete"), (52, "failed"), (53, "running"))
    )
    jobs = [
        task(1, "true", [51]),
        task(2, "true", [52]),
        task(3, "true", [52, 51], any=[52, 51]),
        task(4, "true", [52], failed=[52]),
        task(5, "true", [51], failed=[51]),
        task(6, "true", [53], any=[53]),
        task(7, "true", [54]),
        task(8, "true", [2]),
        task(9, "true", [1, 52], failed=[1, 52]),
        task(10, "true", [2, 51], failed=[2, 51]),
    ]
    done = play(jobs, outside={one.uid: one for one in (well, badly, running)})
    found = states(tmp_path)
    assert {n for n, state in found.items() if state == "done"} == {1, 3, 4, 9, 10}
    assert found[2] == f"skipped (it depends on {uid(52)}, which was failed)"
    assert found[5] == f"skipped (it depends on {uid(51)}, which was complete)"
    assert found[6] == f"failed 125 (it depends on {uid(53)}, which was running)"
    assert found[7] == f"skipped (it depends on {uid(54)}, which was not there)"
    assert found[8] == "skipped (2 is not done)"
    assert f"# depends also on {uid(51)} (was complete)\n" in (tmp_path / "script.sh").read_text()
    assert done.returncode == 1
    done = play([task(11, "true", [52])], outside={badly.uid: badly})
    assert "0 done, 0 failed, 1 skipped, 0 left" in done.out
    assert done.returncode == 1, "what was refused is not well"


# Signals and deaths


def test_a_signal_ends_the_script_and_its_job(play, tmp_path):
    job = task(1, "echo $$ >pid; touch begun; sleep 1000", teardown="echo torn >torn")
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)):
        process = play([job, task(2, "true", [1])], wait=False)
        wait_until((tmp_path / "begun").exists)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == code
        assert b"q: 0 done, 0 failed, 0 skipped, 2 left" in output
        assert states(tmp_path) == {}
        assert (tmp_path / "torn").read_text() == "torn\n"
        for name in ("begun", "torn"):
            (tmp_path / name).unlink()


def test_a_killed_script_leaves_no_job_to_be_run_twice(play, tmp_path):
    job = task(1, "echo x >>begun; while [ ! -e go ]; do sleep 0.05; done; test $(grep -c x begun) = 2")
    first = play([job], wait=False)
    wait_until(lambda: (tmp_path / "begun").exists() and (tmp_path / "begun").read_text())
    first.kill()
    first.wait()
    assert first.stdout
    first.stdout.close()
    second = play([job], wait=False)
    time.sleep(0.5)  # it shall do nothing, which no condition can show
    assert (tmp_path / "begun").read_text() == "x\n"
    (tmp_path / "go").touch()
    assert b"1 done" in second.communicate(timeout=60)[0]
    assert (tmp_path / "begun").read_text() == "x\nx\n"


def test_two_runs_share_the_work(play, tmp_path):
    jobs = [task(n, f"mkdir did{n}; sleep 0.02") for n in range(1, 21)]
    runs = [play(jobs, wait=False, check=False) for _ in range(2)]
    outputs = [run.communicate(timeout=50)[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert all("20 done" in output for output in outputs)
    assert sum(len(re.findall(r"^\d+: done$", output, re.MULTILINE)) for output in outputs) == 20


def test_what_a_job_leaves_behind_holds_nothing(play, tmp_path):
    job = task(1, "sleep 1000 >/dev/null 2>&1 & echo $! >pid; test -e wanted")
    play([job])
    (tmp_path / "wanted").touch()
    try:
        assert play([job]).returncode == 0
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


# tmux


def test_sessions_work_at_the_same_time(play, tmp_path):
    meet = "touch {}; until [ -e {} ]; do sleep 0.02; done"
    jobs = [task(1, meet.format("a", "b")), task(2, meet.format("b", "a"))]
    assert play(jobs, {"workers": 2}, "tmux").returncode == 0


def test_jobs_in_tmux_have_the_environment_of_the_script(play, read, tmp_path):
    play([task(1, "echo $OWN ${QREC_STATE-none}")], backend="tmux", env={"OWN": "it's mine"})
    assert read("1.out") == "it's mine none\n"


def test_sessions_outlive_the_script_which_finds_them_again(play, tmp_path, bare):
    jobs = [task(1, "echo x >>begun; until [ -e go ]; do sleep 0.02; done"), task(2, "true", [1])]
    first = play(jobs, backend="tmux", wait=False)
    wait_until((tmp_path / "begun").exists)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = play(jobs, backend="tmux", wait=False)
    wait_until(lambda: b"at work" in os.read(second.stdout.fileno(), 1000) if second.stdout else False)
    (tmp_path / "go").touch()
    assert b"2 done, 0 failed, 0 skipped, 0 left" in second.communicate(timeout=60)[0]
    assert (tmp_path / "begun").read_text() == "x\n"


def test_a_killed_session_ends_its_job(play, tmp_path):
    job = task(1, "echo $BASHPID >pid; touch begun; sleep 1000", teardown="touch torn")
    process = play([job], backend="tmux", wait=False)
    wait_until((tmp_path / "begun").exists)
    assert process.stdout
    talk = process.stdout.readline().decode()
    socket = re.search(r"tmux -L (qrec-\d+) attach", talk)
    assert socket, talk
    subprocess.run(["tmux", "-L", socket[1], "kill-server"], check=True)
    output = process.communicate(timeout=60)[0]
    assert (process.returncode, b"1 left" in output) == (1, True)
    wait_until((tmp_path / "torn").exists)


def test_tmux_without_a_file(tmp_path, bare):
    text = script([task(1, "true")], {}, "q", "tmux").encode()
    surroundings = environment({"PATH": bare})
    done = subprocess.run([BASH], input=text, cwd=tmp_path, env=surroundings, capture_output=True)
    assert (done.returncode, done.stderr[:24]) == (125, b"save this script in a fi")


# Slurm

#: Notes its words, says ids from 41 on; the job whose name is "refused" is refused.
FAKE_SBATCH = """#!/bin/sh
printf '%s\\n' "$@" END >>"$NOTES/asked"
case "$*" in *=refused*) exit 1 ;; esac
cat >>"$NOTES/scripts"
echo "a plug-in says hello"
echo "$((40 + $(grep -c END "$NOTES/asked")));cluster"
"""


@pytest.fixture
def fake_slurm(tmp_path, bare):
    """An sbatch and a squeue that only note what is asked; squeue tells of the ids in the file `live`."""
    for name, text in (("sbatch", FAKE_SBATCH), ("squeue", '#!/bin/sh\n[ ! -e "$NOTES/live" ] || echo one\n')):
        (Path(bare) / name).write_text(text)
        (Path(bare) / name).chmod(0o755)
    return {"NOTES": str(tmp_path)}


def asked(folder):
    """What the fake sbatch was asked for, by job name."""
    words = [call.split("\n") for call in (folder / "asked").read_text().split("END\n")[:-1]]
    named = {next(word[11:] for word in call if word.startswith("--job-name=")): call for call in words}
    return {name: set(filter(None, call)) for name, call in named.items()}


def test_fake_slurm_is_asked_for_what_the_jobs_ask(play, tmp_path, fake_slurm):
    jobs = [
        task(
            1,
            "true",
            cpus=3,
            mem=1_500_000,
            gpus=2,
            timeout=60,
            slurm={"partition": "a b", "exclusive": True, "nice": 0},
        ),
        task(2, "false", [1], at=86400 * 365, name="--x"),
        task(3, "x", [1, 2], any=[1], failed=[2]),
        task(4, "x", [1, 2, 3], failed=[1, 2]),
        task(5, "x", [1, 2, 3], name="refused"),
        task(6, "x", [5], name="after refused"),
        task(7, "x", [5], any=[5]),
        task(8, "x", [5], failed=[5]),
    ]
    done = play(jobs, backend="slurm", env={**fake_slurm, "TZ": "UTC"})
    assert done.returncode == 1
    found = asked(tmp_path)
    both = {"--parsable", "--kill-on-invalid-dep=yes", f"--chdir={tmp_path}/state"}
    assert all(both < call for name, call in found.items() if name != "a failure")
    assert {
        "--cpus-per-task=3",
        "--mem=2M",
        "--gres=gpu:2",
        "--time=2",
        "--partition=a b",
        "--exclusive",
        "--nice=0",
    } < found["1"]
    assert {"--dependency=afterok:41", "--begin=1971-01-01T00:00:00"} < found["--x"]
    assert "--dependency=afterany:41,afternotok:42" in found["3"]
    assert "--dependency=afternotok:41?afternotok:42" in found["a failure"]
    assert "--dependency=afterok:43,afterany:41,afterany:42,afterok:44" in found["4"]
    assert not [word for name in ("7", "8") for word in found[name] if word.startswith("--dependency")]
    assert states(tmp_path) == {5: "failed 125 (not submitted)", 6: "skipped (5 is not submitted)"}
    assert "1: job 41\n2 --x: job 42\n" in done.out
    assert "to look on: squeue --jobs=41,42,43,45,47,48\n" in done.out


def test_fake_slurm_gets_scripts_that_run(play, read, tmp_path, fake_slurm, bare):
    job = task(
        1,
        "echo \"$V\"; cat <<'E'\nit's `x` $y\nE\nexit 3",
        env={"V": "a '$b'"},
        teardown="echo torn",
        name="two\nlines",
    )
    assert play([job], backend="slurm", env=fake_slurm).returncode == 0
    done = subprocess.run([BASH], input=(tmp_path / "scripts").read_bytes(), env=environment({"PATH": bare}), cwd="/")
    assert (done.returncode, states(tmp_path)[1]) == (3, "failed 3")
    assert read("1.out") == "a '$b'\nit's `x` $y\ntorn\n"


def test_fake_slurm_is_not_asked_twice(play, tmp_path, fake_slurm):
    jobs = [task(1, "x"), task(2, "x", [1]), task(3, "x", [1, 2])]
    play(jobs, backend="slurm", env=fake_slurm)
    (tmp_path / "live").touch()
    (tmp_path / "asked").unlink()
    (tmp_path / "state" / "1.state").write_text("done\n")
    (tmp_path / "state" / "3.id").unlink()
    assert play(jobs, backend="slurm", env=fake_slurm).returncode == 0
    assert set(asked(tmp_path)) == {"3"}
    assert "--dependency=afterok:42" in asked(tmp_path)["3"]
