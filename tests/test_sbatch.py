"""Reading what sbatch, srun and salloc are told and what they print; tests/slurm shows that Slurm reads it so."""

from __future__ import annotations

import os

import pytest

from qrec.executors.sbatch import (
    LARGEST_SCRIPT,
    allocation_of,
    expand,
    job_of_srun,
    jobid_of,
    known_fields,
    output_paths,
    script_options,
    script_text,
    submission,
    words_of,
)

# What the programs print


@pytest.mark.parametrize(
    ("stdout", "argv", "found"),
    [
        ("Submitted batch job 42\n", "sbatch job.sh", ("42", None)),
        (b"Submitted batch job 42\n", "sbatch job.sh", ("42", None)),
        ("Submitted batch job 42 on cluster blue\n", "sbatch -M blue job.sh", ("42", "blue")),
        ("Welcome! 7 nodes are down\n7\nSubmitted batch job 42\n", "sbatch job.sh", ("42", None)),
        ("42\n", "sbatch --parsable job.sh", ("42", None)),
        ("42;blue\n", "sbatch --parsable -M blue job.sh", ("42", "blue")),
        ("7 nodes are down\n42\n", "sbatch --pars job.sh", ("42", None)),
        # the script says --parsable
        ("42\n", "sbatch job.sh", ("42", None)),
        ("", "sbatch -Q job.sh", None),
        ("Submitted batch job\n", "sbatch job.sh", None),
        ("it said: Submitted batch job 42\n", "sbatch job.sh", None),
        (b"\xff\nSubmitted batch job 42\n", "sbatch job.sh", ("42", None)),
    ],
)
def test_the_id_that_sbatch_prints(stdout, argv, found):
    assert jobid_of(stdout, argv.split()) == found


@pytest.mark.parametrize(
    ("stderr", "found"),
    [
        ("salloc: Granted job allocation 25\nsalloc: Relinquishing job allocation 25\n", "25"),
        ("salloc: Pending job allocation 28\nsalloc: job 28 queued and waiting for resources\n", "28"),
        ("srun: job 27 queued and waiting for resources\n", "27"),
        ("srun: defined options\nsrun: jobid 24: nodes(1):`qrec0', cpu counts: 1(x1)\n", "24"),
        ("salloc: Granted job allocation 25\nsrun: job 26 queued and waiting for resources\n", "25"),
        ("srun: Job 32 to start at 2026-11-22T06:29:04 using 1 processors on nodes a in partition b\n", None),
        ("salloc: error: Job submit/allocate failed: x\nsalloc: Job allocation 33 has been revoked.\n", None),
        ("", None),
        (b"\xff\nsalloc: Granted job allocation 25\n", "25"),
    ],
)
def test_the_id_of_an_allocation(stderr, found):
    assert allocation_of(stderr) == found


def test_the_job_of_a_running_srun():
    steps = """\
StepId=35.0 UserId=0 StartTime=2026-11-22T04:30:33 TimeLimit=UNLIMITED
   State=RUNNING Partition=debug NodeList=node1
   SrunHost:Pid=front:1619

StepId=36+1.0 UserId=0 StartTime=2026-11-22T04:30:33 TimeLimit=UNLIMITED
   SrunHost:Pid=front:16196

StepId=37_2.0 UserId=0
   SrunHost:Pid=other:5
"""
    assert job_of_srun(steps, 1619, "front") == "35"
    assert job_of_srun(steps, 16196, "front") == "36"
    assert job_of_srun(steps, 5, "other") == "37_2"
    assert job_of_srun(steps, 5, "front") is None
    assert job_of_srun("No steps in the system\n", 5, "front") is None


# The command line


@pytest.mark.parametrize(
    "words",
    [
        "-o X",
        "-oX",
        "--output X",
        "--output=X",
        "--out=X",
        "--outp X",
        "-HoX",
        "-Ho X",
        "-o 1 -o X",
        "-sQo X",
        "-k -oX",
    ],
)
def test_forms_of_an_option(words):
    found = words_of(["sbatch", *words.split(), "job.sh", "-o", "Y"])
    assert found.options["output"] == "X"
    assert found.rest == ("job.sh", "-o", "Y")
    assert found.script == "job.sh"


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["-o=X"], {"output": "=X"}),
        (["--output="], {"output": ""}),
        (["-e", "-"], {"error": "-"}),
        (["--o=X"], {"o": "X"}),  # refused: it might be --open-mode
        (["--foo=X"], {"foo": "X"}),
        (["--exclusive", "--nice=5", "-k"], {"exclusive": "", "nice": "5", "no-kill": ""}),
        (["--cluster=a"], {"clusters": "a"}),
        (["--tasks=2"], {"ntasks-per-node": "2"}),
        (["-n4", "-c", "2", "--mem", "4G", "-t5"], {"ntasks": "4", "cpus-per-task": "2", "mem": "4G", "time": "5"}),
        (["-W", "-H"], {"wait": "", "hold": ""}),
        (["-J"], {"job-name": ""}),
        (["--"], {}),
        (["-n1", ":", "-n2", "-J", "x"], {"ntasks": "1"}),
    ],
)
def test_options(words, options):
    found = words_of(["sbatch", *words, "job.sh"] if words != ["-J"] else ["sbatch", "-J"])
    assert found.options == options
    assert found.script == (None if words == ["-J"] else "job.sh")


@pytest.mark.parametrize("words", ["--wrap=true", "--wrap true", "", "-H", "--"])
def test_no_script_is_named(words):
    assert words_of(["sbatch", *words.split()]).script is None


def test_srun_and_salloc_have_options_of_their_own():
    srun = words_of(["/usr/bin/srun", "--pty", "-W", "5", "-l", "-K", "python", "-o", "x"])
    assert srun.options == {"pty": "", "wait": "5", "label": "", "kill-on-bad-exit": ""}
    assert srun.rest == ("python", "-o", "x")
    salloc = words_of(["salloc", "-I", "-K9", "--no-shell"])
    assert salloc.options == {"immediate": "", "kill-command": "9", "no-shell": ""}


# The script


def test_the_script_of_a_file(tmp_path):
    (tmp_path / "job.sh").write_bytes(b"#!/bin/sh\n\xff\n")
    assert script_text(["sbatch", "-n1", "job.sh", "arg"], str(tmp_path), {}) == b"#!/bin/sh\n\xff\n"
    assert script_text(["sbatch", str(tmp_path / "job.sh")], "/", {}) == b"#!/bin/sh\n\xff\n"


def test_a_bare_name_is_looked_for_in_path(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "job.sh").write_text("in bin")
    variables = {"PATH": f"/nowhere:{tmp_path}/bin"}
    assert script_text(["sbatch", "job.sh"], str(tmp_path), variables) == b"in bin"
    assert script_text(["sbatch", "./job.sh"], str(tmp_path), variables) is None
    (tmp_path / "job.sh").write_text("here")
    assert script_text(["sbatch", "job.sh"], str(tmp_path), variables) == b"here"


def test_the_script_that_wrap_makes():
    text = b"#!/bin/sh\n# This script was created by sbatch --wrap.\n\necho hi\n"
    assert script_text(["sbatch", "--wrap", "echo hi"], "/", {}) == text


def test_scripts_that_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "missing", "nul\0"):
        assert script_text(["sbatch", str(tmp_path / name)], "/", {}) is None
    assert script_text(["sbatch"], str(tmp_path), {}) is None


def test_a_large_script_is_cut(tmp_path):
    (tmp_path / "job.sh").write_bytes(b"#!/bin/sh\n#SBATCH -J x\n" + b"#" * LARGEST_SCRIPT)
    asked = submission(["sbatch", "job.sh"], str(tmp_path), {})
    assert asked.name == "x"
    assert asked.script is not None
    assert len(asked.script) == LARGEST_SCRIPT


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        ("\n # comment\n#SBATCH -J x\n:\n#SBATCH -J y", {"job-name": "x"}),
        ("   #SBATCH -J x\n##SBATCH -J y", {}),
        ("#SBATCH -J x # -J y", {"job-name": "x"}),
        ("#SBATCH -J a#b -o c\n#SBATCH -t 5", {"job-name": "a", "time": "5"}),
        ("#SBATCH\t-J x\n#SBATCH-o y", {"job-name": "x", "output": "y"}),
        ("#SBATCH -J\n#SBATCH x", {"job-name": "x"}),
        ("""#SBATCH -J "a\\"b'c" -o 'x\\y\\\\z'""", {"job-name": "a\"b'c", "output": "xy\\z"}),
        ("""#SBATCH -J a"b c"d --output="o p"q""", {"job-name": "ab cd", "output": "o pq"}),
        ('#SBATCH -J x "" -o x\n#SBATCH -e y', {"job-name": "x", "error": "y"}),
        ("#SBATCH -J x\n#SBATCH hetjob\n#SBATCH -J y", {"job-name": "x"}),
        ("#SBATCH -J x\n#SBATCH -J y", {"job-name": "y"}),
    ],
)
def test_options_in_a_script(lines, options):
    assert script_options(f"#!/bin/sh\n{lines}\n".encode()) == options


def test_the_command_line_wins_over_variables_and_these_over_the_script(tmp_path):
    (tmp_path / "job.sh").write_text("#!/bin/sh\n#SBATCH -J a -o a -e a\n")
    variables = {"SBATCH_OUTPUT": "b", "SBATCH_JOB_NAME": "b", "SLURM_JOB_NAME": "no", "SBATCH_CHDIR": "no"}
    asked = submission(["sbatch", "-J", "c", "job.sh"], str(tmp_path), variables)
    assert asked.options == {"job-name": "c", "output": "b", "error": "a"}
    assert asked.chdir == f"{tmp_path}/"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["/some/where/job.sh"], "job.sh"),
        (["--wrap=true"], "wrap"),
        ([], "sbatch"),
        (["-J", "my job", "job.sh"], "my job"),
    ],
)
def test_names(words, name):
    assert submission(["sbatch", *words], "/", {}).name == name


# Where the output goes


def paths(*words: str, jobid: str = "42", task: tuple[str, str] | None = None) -> tuple[str | None, str | None]:
    asked = submission(["sbatch", *words, "job.sh"], "/w", {})
    return output_paths(asked, known_fields(asked, jobid, "me", task))


@pytest.mark.parametrize(
    ("words", "stdout", "stderr"),
    [
        ("", "/w/slurm-42.out", "/w/slurm-42.out"),
        ("-o %x.%j", "/w/job.sh.42", "/w/job.sh.42"),
        ("-e err", "/w/slurm-42.out", "/w/err"),
        ("-D sub -o o", "/w/sub/o", "/w/sub/o"),
        ("-D /abs%j -e /x/%u", "/abs%j/slurm-42.out", "/x/me"),
        ("-D /abs%j -o o -e /x/%u", "/abs42/o", "/x/me"),
        ("-D /a\\b -o %j", "/ab/%j", "/ab/%j"),
        ("-o none -e NONE", "/dev/null", "/dev/null"),
        ("-o %N", None, None),
        ("-o %%N -e %N", "/w/%N", None),
    ],
)
def test_paths(words, stdout, stderr):
    assert paths(*words.split()) == (stdout, stderr)


def test_paths_of_an_array_s_task():
    assert paths("-a", "1-9", jobid="50", task=("42", "7")) == ("/w/slurm-42_7.out", "/w/slurm-42_7.out")
    assert paths("-a", "1-9", "-o", "%j %4a", jobid="50", task=("42", "7"))[0] == "/w/50 0007"


def test_a_field_is_known_later():
    asked = submission(["sbatch", "-o", "%N", "job.sh"], "/w", {})
    assert output_paths(asked, {**known_fields(asked, "42", "me"), "N": "node7"})[0] == "/w/node7"


def test_what_a_field_holds_is_not_read_again():
    assert expand("%x", {"x": "%j\\%%"}) == "%j\\%%"
