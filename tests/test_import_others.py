"""What atuin, con-duct and GNU parallel remember comes in, as the real ones have written it; and what sacct prints."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrec.doors import accounts, duct, joblog
from qrec.executors.slurm_jobs import epoch
from qrec.output import FOLD_LIMIT
from qrec.task import moment, timestamp
from tests.test_look_back import call, one_line

#: Where pip puts the programs of packages that only the tests need.
BIN = Path(sys.executable).parent


def run(*words: str | os.PathLike[str], cwd: Path, **variables: str) -> str:
    """What a program prints, whatever its code."""
    env = {**os.environ, "PWD": str(cwd), **variables}
    return subprocess.run(
        words, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    ).stdout.strip()


def tasks() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call("ls", "--json", "--all", check=True).json
    return found


# atuin


class Atuin:
    """A real atuin with a history of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.session = run(BIN / "atuin", "uuid", cwd=folder)
        assert self.session, "atuin cannot be run"

    def __call__(self, *words: str) -> str:
        return run(BIN / "atuin", *words, cwd=self.folder, ATUIN_SESSION=self.session)

    def typed(self, command: str, code: int | None = 0, seconds: float = 0.5) -> str:
        """A command that was typed; without a code it still runs."""
        name = self("history", "start", "--", command)
        if code is not None:
            self("history", "end", "--exit", str(code), "--duration", str(int(seconds * 1e9)), "--", name)
        return name


@pytest.fixture
def atuin(user_home: Path, monkeypatch: pytest.MonkeyPatch) -> Atuin:
    for name in [name for name in os.environ if name.startswith(("ATUIN_", "XDG_"))]:
        monkeypatch.delenv(name)
    return Atuin(user_home)


def test_the_history_of_a_real_atuin(home, kind, atuin, user_home):
    name = atuin.typed("make 'a b' | cat", 3, 1.5)
    atuin.typed("for i in 1\ndo echo ü\ndone")
    atuin.typed("sleep 99", None)
    gone = atuin.typed("rm -rf secret")
    atuin("search", "--delete", "rm -rf secret")
    assert gone
    assert call("import", "atuin", check=True).out == "3 tasks taken in\n"
    first, second, third = tasks()
    assert (first["argv"], first["executor"], first["tags"]) == (["make 'a b' | cat"], "typed", ["from-atuin"])
    assert (first["status"], first["returncode"], first["seconds"]) == ("failed", 3, 1.5)
    assert (first["pwd"], first["host"]) == (str(user_home), os.uname().nodename)
    assert (first["data"]["origin"], first["data"]["session"]) == ("atuin", atuin.session)
    assert abs(time.time() - moment(first["started"]).timestamp()) < 600
    assert (second["command"], second["status"], second["returncode"]) == ("for i in 1\ndo echo ü\ndone", "complete", 0)
    assert (third["status"], third["returncode"], third["ended"]) == ("complete", None, None)
    assert name
    atuin.typed("date")
    assert call("import", "atuin", check=True).out == "1 task taken in, 3 here already\n"


def test_atuin_may_be_writing(home, atuin, user_home):
    atuin.typed("one")
    path = next(user_home.rglob("history.db"))
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE history SET command = 'not yet' WHERE 1")
        assert call("import", "atuin", path, check=True).out == "1 task taken in\n"
        db.rollback()
    assert [one["command"] for one in tasks()] == ["one"]


def old_atuin(path: Path, *rows: tuple[Any, ...]) -> Path:
    """A database with the columns of atuin's first releases, and the mark of deletion that came with 15."""
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TABLE history (id text primary key, timestamp integer not null, duration integer not null,"
            " exit integer not null, command text not null, cwd text not null, session text not null,"
            " hostname text not null,"
            " deleted_at integer, unique(timestamp, cwd, command))"
        )
        db.executemany("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    db.close()
    return path


def test_a_database_built_by_the_schema_of_older_atuins(home, tmp_path):
    at = 1_700_000_000_000_000_000
    rows = [
        ("a", at, 5_000_000, 0, "ls", "/x", "s", "box:me", None),
        ("b", at + 1, 0, 0, "", "/x", "s", "box:me", at),
        ("c", at + 2, -1, -1, "vim", "unknown", "s", "box:me", None),
        ("d", "when?", -1, -1, "odd", "/", "s", "box", None),
        ("e", "9" * 400, -1, -1, "odd", "/", "s", "box", None),
    ]
    done = call("import", "atuin", old_atuin(tmp_path / "h.db", *rows))
    assert (done.out, done.returncode) == ("2 tasks taken in, 2 bad\n", 1)
    assert "entry d: it cannot be read" in done.err
    assert [(one["command"], one["user"], one["host"]) for one in tasks()] == [
        ("ls", "me", "box"),
        ("vim", "me", "box"),
    ]


def test_an_atuin_that_cannot_be_written_beside(home, tmp_path):
    path = old_atuin(tmp_path / "h.db", ("a", 1, 1, 0, "ls", "/", "s", "box:me", None))
    before = path.read_bytes()
    call("import", "atuin", path, check=True)
    assert path.read_bytes() == before


def test_what_is_no_atuin(home, tmp_path):
    (tmp_path / "text").write_text("ls\n" * 100)
    assert "cannot be read as a history of atuin: file is not a database" in one_line(
        call("import", "atuin", tmp_path / "text")
    )
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    assert "is no history of atuin: it has no command" in one_line(call("import", "atuin", tmp_path / "other.db"))
    assert "there is no file" in one_line(call("import", "atuin", tmp_path / "none"))


# con-duct


def ducted(folder: Path, *words: str) -> None:
    """Run something by a real con-duct, which keeps what fails fast as well."""
    run(
        BIN / "con-duct",
        "run",
        "--fail-time",
        "0",
        "--sample-interval",
        "0.05",
        "--report-interval",
        "0.1",
        *words,
        cwd=folder,
    )


def test_what_a_real_duct_has_recorded(home, kind, tmp_path):
    script = "echo out; echo err >&2; n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done; exit 3"
    ducted(tmp_path, "-m", "a note", "sh", "-c", script)
    assert call("import", "duct", tmp_path / ".duct" / "logs", check=True).out == "1 task taken in\n"
    (task,) = tasks()
    assert task["argv"] == [f"sh -c {script}"], "duct does not tell the words one by one"
    assert (task["status"], task["returncode"], task["message"]) == ("failed", 3, "a note")
    assert (task["pwd"], task["host"], task["executor"]) == (str(tmp_path), os.uname().nodename, "shell")
    assert task["seconds"] > 0.05
    assert task["usage"]["memory"] > 100_000
    assert task["facts"]["cpus"] == os.cpu_count()
    got = call("get", "1").json["data"]
    assert (got["output"], got["error"]) == (["out\n"], ["err\n"])
    assert call("usage", "1", "--json").json["points"], "the reports are a series"
    assert call("import", "duct", tmp_path / ".duct" / "logs", check=True).out == "0 tasks taken in, 1 here already\n"


def test_duct_by_prefix_and_by_file(home, tmp_path, monkeypatch):
    for name in ("a_", "b_"):
        ducted(tmp_path, "-p", str(tmp_path / name), "echo", name)
    ducted(tmp_path, "-p", str(tmp_path / "c_"), "-c", "none", "true")
    assert call("import", "duct", tmp_path / "a_", check=True).out == "1 task taken in\n"
    assert call("import", "duct", tmp_path / "b_info.json", check=True).out == "1 task taken in\n"
    assert call("import", "duct", tmp_path, check=True).out == "1 task taken in, 2 here already\n"
    assert [call("log", number).out for number in "123"] == ["a_\n", "b_\n", ""]
    monkeypatch.chdir(tmp_path)
    assert one_line(call("import", "duct")).startswith("con-duct has left nothing at .duct/logs: ")


def test_much_output_of_duct_goes_into_files(home, kind, tmp_path):
    ducted(tmp_path, "-p", str(tmp_path / "a_"), "sh", "-c", f"head -c {FOLD_LIMIT + 1} /dev/zero")
    call("import", "duct", tmp_path, check=True)
    assert call("log", "1", "--stdout", check=True).stdout == bytes(FOLD_LIMIT + 1)
    (folder,) = {path.parent for path in Path(home).rglob("stdout")}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "stdout").stat().st_mode & 0o777 == 0o600


def test_what_duct_has_not_finished_or_somebody_has_spoilt(home, tmp_path):
    (tmp_path / "a_info.json").write_text("")
    (tmp_path / "b_info.json").write_text("[]")
    (tmp_path / "c_info.json").write_text(json.dumps({"command": "x", "execution_summary": {"exit_code": "many"}}))
    done = call("import", "duct", tmp_path)
    assert (done.out, done.returncode) == ("0 tasks taken in, 3 bad\n", 1)
    assert "a_info.json: it cannot be read: duct has not finished it" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "spoilt",
    [
        {"execution_summary": {"exit_code": 0, "start_time": "soon"}},
        {"execution_summary": {"exit_code": 0, "start_time": 1.0, "wall_clock_time": "long"}},
        {"execution_summary": {"exit_code": float("inf")}},
        {"execution_summary": {"exit_code": 0, "peak_rss": float("inf")}},
        {"env": ["x"]},
        {"system": "a box"},
    ],
)
def test_one_file_that_is_spoilt_does_not_stop_the_others(home, tmp_path, spoilt):
    good = {"command": "x", "execution_summary": {"exit_code": 0}, "message": 5, "system": {"user": ["me"]}}
    (tmp_path / "a_info.json").write_text(json.dumps({**good, **spoilt}))
    (tmp_path / "b_info.json").write_text(json.dumps(good))
    (tmp_path / "c_info.json").symlink_to(tmp_path / "gone")
    done = call("import", "duct", tmp_path)
    assert (done.out, done.returncode) == ("1 task taken in, 2 bad\n", 1)
    assert "a_info.json: it cannot be read: " in done.err


def test_reports_of_duct_that_tell_nonsense(home, tmp_path):
    (tmp_path / "a_info.json").write_text(
        json.dumps({"command": "x", "execution_summary": {"exit_code": 0, "start_time": 1.0}})
    )
    report = '{"timestamp": "1970-01-01T00:01:40+00:00", "totals": {"rss": Infinity}, "processes": {}}\n'
    (tmp_path / "a_usage.jsonl").write_text(report + "[" * 100_000 + "\n")
    assert call("import", "duct", tmp_path, check=True).out == "1 task taken in\n"


def test_cpu_and_time_of_reports():
    assert [*map(duct.seconds_of, ("00:07", "01:02:03", "2-00:00:01"))] == [7, 3723, 172801]
    report = {"timestamp": "1970-01-01T00:01:40+00:00", "totals": {"rss": 4096}, "processes": {
        "1": {"pcpu": 50.0, "etime": "00:10"}, "2": {"pcpu": 0.0, "etime": "00:10"}}}  # fmt: skip
    point = duct.point_of(report, 90.0, None)
    assert (point.at, point.cpu, point.memory, point.processes) == (10, 5, 4096, 2)
    assert duct.point_of({**report, "processes": {}}, 95.0, point).cpu == 5, "what was used stays used"


# GNU parallel


def parallel(folder: Path, *words: str, **given: Any) -> None:
    """Run a real GNU parallel."""
    line = ["parallel", "--will-cite", "--no-notice", "-j1", *words]
    subprocess.run(line, cwd=folder, capture_output=True, timeout=60, **{"stdin": subprocess.DEVNULL, **given})


def test_the_joblog_of_a_real_parallel(home, kind, tmp_path):
    parallel(tmp_path, "--joblog", "log", "echo {}\t'x'; exit {}", ":::", "0", "3")
    parallel(tmp_path, "--joblog", "+log", "--timeout", "0.3", "sleep {}", ":::", "60")
    parallel(tmp_path, "--joblog", "+log", "kill -9 $$; :", ":::", "1")
    assert call("import", "parallel-joblog", tmp_path / "log", check=True).out == "4 tasks taken in\n"
    found = tasks()
    assert found[0]["command"] == "echo 0\t'x'; exit 0"
    assert [(one["status"], one["returncode"], one["signal"]) for one in found] == [
        ("complete", 0, None), ("failed", 3, None), ("failed", 143, 15), ("failed", 137, 9),
    ]  # fmt: skip
    assert found[2]["seconds"] < 60
    assert {one["executor"] for one in found} == {"shell"}
    assert found[0]["data"] == {"origin": "parallel-joblog", "shell": "/bin/sh", "seq": "1"}
    again = call("import", "parallel-joblog", tmp_path / "log", check=True)
    assert again.out == "0 tasks taken in, 4 here already\n"


def test_a_command_of_several_lines_in_a_joblog(home, tmp_path):
    parallel(tmp_path, "-0", "--joblog", "log", "echo {}", stdin=None, input=b"a\nb\0c")
    call("import", "parallel-joblog", tmp_path / "log", check=True)
    assert [one["command"] for one in tasks()] == ["echo 'a\nb'", "echo c"]


@pytest.mark.parametrize("results", ["out", "out/{}", "out/{}.txt"])
def test_what_parallel_has_kept_of_the_output(home, tmp_path, results):
    parallel(tmp_path, "--joblog", "log", "--results", results, "echo {}; echo e{} >&2", ":::", "a b", "c")
    words = ("import", "parallel-joblog", tmp_path / "log", "--results", tmp_path / "out")
    assert call(*words, check=True).out == "2 tasks taken in\n"
    assert [call("log", number, "--stdout").out for number in "12"] == ["a b\n", "c\n"]
    assert [call("log", number, "--stderr").out for number in "12"] == ["ea b\n", "ec\n"]
    assert call(*words, check=True).out == "0 tasks taken in, 2 here already\n"


def test_output_belongs_to_the_last_job_of_its_number(home, tmp_path):
    for text in ("first", "second"):
        parallel(tmp_path, "--joblog", "+log", "--results", "out", f"echo {text} {{}}", ":::", "x")
    call("import", "parallel-joblog", tmp_path / "log", "--results", tmp_path / "out", check=True)
    assert [call("log", number).out for number in "12"] == ["", "second x\n"]


def test_what_is_no_joblog(home, tmp_path):
    (tmp_path / "log").write_bytes(b"ls\n")
    assert "this is no joblog of GNU parallel" in one_line(call("import", "parallel-joblog", tmp_path / "log"))
    (tmp_path / "log").write_bytes(b"\t".join(joblog.COLUMNS) + b"\n1\t:\tx\n1\t:\t1.5\t0\t0\t0\t0\t0\tls\n")
    done = call("import", "parallel-joblog", tmp_path / "log")
    assert (done.out, done.returncode) == ("1 task taken in, 1 bad\n", 1)
    assert "log, line 2: this is no line of a joblog" in done.err
    assert "--results is for parallel-joblog" in one_line(call("import", "zsh", "--results", "x"), 2)
    assert "name the file" in one_line(call("import", "parallel-joblog"), 2)


# sacct, as it prints


SACCT = """\
JobID|JobIDRaw|JobName|State|ExitCode|Submit|Start|End|Elapsed|Timelimit|ReqTRES|MaxRSS|WorkDir|User|Cluster|SubmitLine
7|7|fit|COMPLETED|0:0|2024-05-01T10:00:00|2024-05-01T10:01:00|2024-05-01T10:03:00|00:02:00|01:00:00|cpu=2,mem=4G||/nowhere|ann|big|sbatch fit.sh | x
7.batch|7.batch|batch|COMPLETED|0:0|2024-05-01T10:01:00|2024-05-01T10:01:00|2024-05-01T10:03:00|00:02:00|||1000K|||big|
8_1|8|many|COMPLETED|0:0|2024-05-01T11:00:00|2024-05-01T11:00:10|2024-05-01T11:00:20|00:00:10|01:00:00|cpu=1||/nowhere|ann|big|sbatch --array=1-2 many.sh
8_2|9|many|FAILED|4:0|2024-05-01T11:00:00|2024-05-01T11:00:10|2024-05-01T11:00:30|00:00:20|01:00:00|cpu=1||/nowhere|ann|big|sbatch --array=1-2 many.sh
10|10|long|TIMEOUT|0:0|2024-05-01T12:00:00|2024-05-01T12:00:10|2024-05-01T12:10:10|00:10:00|00:10:00|cpu=1||/nowhere|ann|big|sbatch long.sh
11|11|gone|CANCELLED by 0|0:0|2024-05-01T12:00:00|Unknown|2024-05-01T12:00:10|00:00:00|00:10:00|cpu=1||/nowhere|ann|big|sbatch gone.sh
"""  # noqa: E501 - as sacct prints it


def test_what_sacct_has_printed(home, kind, tmp_path):
    (tmp_path / "jobs").write_text(SACCT)
    assert call("import", "sacct", tmp_path / "jobs", check=True).out == "4 tasks taken in\n"
    one, many, long, gone = tasks()
    assert (one["executor"], one["argv"], one["user"], one["pwd"]) == (
        "slurm", ["sbatch", "fit.sh", "|", "x"], "ann", "/nowhere",
    )  # fmt: skip
    assert (one["status"], one["returncode"], one["seconds"], one["usage"]["memory"]) == ("complete", 0, 120, 1_024_000)
    assert (one["data"]["slurm"]["jobid"], one["data"]["slurm"]["requested"]) == (
        "7", {"cpus": 2, "memory": 4 << 30, "time": 3600},
    )  # fmt: skip
    assert (many["status"], many["returncode"], many["data"]["reason"]) == (
        "failed", 4, "of its tasks 1 COMPLETED, 1 FAILED",
    )  # fmt: skip
    assert [row[0] for row in many["data"]["slurm"]["tasks"]] == ["8_1", "8_2"]
    assert (long["status"], long["returncode"], long["data"]["reason"]) == ("failed", 124, "time limit of the job")
    assert (gone["status"], gone["returncode"]) == ("cancelled", None)
    assert call("exec", "array", "2").out.splitlines()[1].split() == ["8_2", "FAILED", "4:0"]
    assert "4.3 GB asked for" in call("exec", "resources", "1").out
    assert call("import", "sacct", tmp_path / "jobs", check=True).out == "0 tasks taken in, 4 here already\n"


def test_a_job_that_qrec_has_is_not_taken_in_again(home, tmp_path):
    from qrec.api import Qrec
    from tests.test_look_back import add

    submit = epoch("2024-05-01T10:00:00")
    assert submit is not None
    note = {"slurm": {"jobid": "7", "sent": submit - 1}, "submission": {"returncode": 0}}
    other = {"slurm": {"jobid": "10", "sent": submit - 5_000_000}, "submission": {"returncode": 0}}
    for data in (note, other):
        add(Qrec().store, executor="slurm", data=data)
    (tmp_path / "jobs").write_text(SACCT)
    done = call("import", "sacct", tmp_path / "jobs", check=True)
    assert done.out == "3 tasks taken in, 1 here already\n", "the other 10 was another job"


def test_the_little_that_sacct_prints_unasked(home, tmp_path):
    text = "JobID|JobName|Partition|Account|AllocCPUS|State|ExitCode\n"
    text += "3|a|b|debug|root|2|COMPLETED|0:0\n3.batch|batch||root|2|COMPLETED|0:0\nrubbish\n"
    (tmp_path / "jobs").write_text(text)
    done = call("import", "sacct", tmp_path / "jobs")
    assert (done.out, done.returncode) == ("1 task taken in, 1 bad\n", 1)
    assert f"{tmp_path}/jobs, line 4: it has not the 7 columns that the first line names" in done.err
    (task,) = tasks()
    assert (task["argv"], task["started"]) == (["sbatch", "--job-name", "a|b"], None)
    assert task["created"] == timestamp(os.stat(tmp_path / "jobs").st_mtime)


def test_what_sacct_has_not_printed(home, tmp_path, monkeypatch):
    (tmp_path / "x").write_text("ls\n")
    assert "was not printed by `sacct --parsable2`" in one_line(call("import", "sacct", tmp_path / "x"))
    monkeypatch.setenv("PATH", str(tmp_path))
    told = one_line(call("import", "sacct"))
    assert told.startswith("sacct is not on PATH here; `qrec import sacct FILE` reads")


@given(
    st.lists(st.text(st.characters(exclude_characters="|\n\r"), max_size=5), min_size=3, max_size=3), st.integers(0, 3)
)
def test_bars_in_the_one_free_column_belong_to_it(values, bars):
    names = ["JobID", "JobName", "State"]
    given = [values[0], values[1] + "|x" * bars, values[2]]
    assert accounts.fitted("|".join(given), names) == given
