"""Where Slurm really writes a job's output, and where we say it does."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qrec.executors.sbatch import NO_TASK, Submission, known_fields, output_paths, submission
from tests.slurm.conftest import slurm

PATTERNS = r"""
    %j %A %a %x %u %N %n %t %s %J %b %% a%%j %5j %05j %12j %99j %3x %4N %3A %8a %4t %3n %4s %5J %4b %q % a% %5 %5% %%%j
    %-5j %.5j ./%j ~%j %3u a\\%j b\%j \%j c%j\ d\\ w\%j%x %j%%%a.%x
""".split()

ARRAY_PATTERNS = "%j %a %A %3a %A_%4a %b %2b %x%J %t".split()

#: What is submitted in a folder of its own, with a script that prints to stdout and stderr.
CALLS = [
    *(["-J", "a name", "-o", pattern] for pattern in PATTERNS),
    *(["-a", "7,12", "-o", pattern] for pattern in ARRAY_PATTERNS),
    [],
    ["-a", "3"],
    ["-e", "err %j"],
    ["-o", "same", "-e", "same"],
    ["-J", "50%j \\ x", "-o", "%x"],
    ["-e", "none"],
    ["-o", "NONE", "-e", "e"],
    ["-a", "1", "-e", "e%a"],
    # fields and backslashes in the folder's name count as soon as a name is given
    ["-D", "in%u", "-e", "%j"],
    ["-D", "in%u", "-a", "1"],
    ["-D", "in%u", "-o", "%j"],
    ["-D", "back\\slash", "-e", "%j"],
    ["-D", "back\\slash", "-o", "%j"],
    ["--out", "abbreviated"],
    ["-sHoX", "--error=Y"],
]


class Call:
    """One submission: what was asked for, and where."""

    def __init__(self, folder: Path, words: list[str], submit: Callable[..., str]) -> None:
        for name in ("in%u", f"in{getpass.getuser()}", "back\\slash", "backslash"):
            (folder / name).mkdir(parents=True)
        script = folder / "job.sh"
        script.write_text("#!/bin/sh\necho out\necho err >&2\n")
        self.folder, self.words = folder, [*words, "job.sh"]
        self.jobid = submit(*self.words, cwd=folder)
        if any(word.startswith("-sH") for word in words):
            slurm("scontrol", "release", self.jobid)
        self.asked: Submission = submission(["sbatch", *self.words], str(folder), {})

    def expected(self, host: str) -> set[str]:
        """The files that should be there."""
        return {
            str(Path(path).resolve()) for task in self.tasks() for path in self.paths(task, host) if path != "/dev/null"
        }

    def paths(self, known: dict[str, str], host: str) -> Iterator[str]:
        for path in output_paths(self.asked, {**known, "N": host}):
            assert path is not None
            yield path

    def tasks(self) -> Iterator[dict[str, str]]:
        """What is known of the job, or of each task of the array."""
        listed = slurm("squeue", "-hr", "-t", "all", "-j", self.jobid, "-o", "%A %K").out.split("\n")
        for jobid, number in (line.split() for line in listed if line):
            task = (self.jobid, number) if self.asked.is_array else None
            yield known_fields(self.asked, jobid, getpass.getuser(), task)

    def found(self) -> set[str]:
        """The files that are there."""
        return {str(path) for path in self.folder.rglob("*") if path.is_file() and path.name != "job.sh"}


def test_the_files_are_where_we_say(submit, wait_for_state, tmp_path):
    calls = [Call(tmp_path / str(number), words, submit) for number, words in enumerate(CALLS)]
    for call in calls:
        assert wait_for_state(call.jobid, "COMPLETED", "FAILED", "COMPLETED FAILED") == "COMPLETED", call.words
    # the short name of the host that a job runs on; the node may be called otherwise
    host = slurm("srun", "hostname", "-s").out.strip()
    differences = [(call.words, call.found(), call.expected(host)) for call in calls]
    assert [difference for difference in differences if difference[1] != difference[2]] == []


def test_the_number_of_no_task(submit, wait_for_state, tmp_path):
    jobid = submit("-o", "%a", "--wrap", "true")
    wait_for_state(jobid, "COMPLETED")
    assert (tmp_path / NO_TASK).exists()


# What is asked for

SCRIPTS = [
    "\n # comment\n  #SBATCH -J indented\n#SBATCH -J one -o 'two words'\n:\n#SBATCH -J late",
    "#SBATCH -J a#b -o c\n#SBATCH -e d",
    "#SBATCH\t-J x\n#SBATCH-o y",
    "#SBATCH -J\n#SBATCH x",
    """#SBATCH -J "a\\"b'c" --comment='x\\y'""",
    """#SBATCH -J a"b c"d --outp="o p"q""",
    "#SBATCH -D / --err=x",
    "#SBATCH --wrap=no -o x '' -e y\n#SBATCH -J z",
    "#SBATCH -J first\n#SBATCH -J last\n\t# after a tab",
]


@pytest.mark.parametrize("words", [[], ["-J", "c"], ["--job-n=c", "-e", "c"], ["-Dfolder"]])
def test_what_is_asked_for(batch, submit, tmp_path, words, monkeypatch):
    """Name, folder, and both paths of a job are as Slurm tells them, with the same precedence."""
    (tmp_path / "folder").mkdir()
    variables = {"SBATCH_ERROR": "b", "SLURM_JOB_NAME": "no", "SBATCH_CHDIR": "no", "SBATCH_OUTPUT": "b%j"}
    for number, lines in enumerate([*SCRIPTS, None]):
        for environ in ({}, variables):
            source = [batch(lines, f"{number}.sh").name] if lines else ["--wrap", "true"]
            with monkeypatch.context() as patch:
                for name, value in environ.items():
                    patch.setenv(name, value)
                jobid = submit("--hold", *words, *source)
            asked = submission(["sbatch", *words, *source], str(tmp_path), environ)
            paths = [asked.chdir, *output_paths(asked, known_fields(asked, jobid, getpass.getuser()))]
            assert told_by_slurm(jobid) == {"name": asked.name, "paths": [normal(path) for path in paths]}


def told_by_slurm(jobid: str) -> dict[str, object]:
    shown = slurm("scontrol", "show", "job", jobid).out
    field = dict(line.strip().split("=", 1) for line in shown.splitlines() if "=" in line)
    name = slurm("squeue", "-h", "-j", jobid, "-o", "%j").out.removesuffix("\n")
    return {"name": name, "paths": [normal(field[key]) for key in ("WorkDir", "StdOut", "StdErr")]}


def normal(path: str | None) -> str:
    return f"/{os.path.normpath(path or 'unknown').lstrip('/')}"


def test_the_script_is_found_in_path(submit, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "job").write_text("#!/bin/sh\n#SBATCH -J found\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    jobid = submit("--hold", "job")
    assert told_by_slurm(jobid)["name"] == "found"


def test_the_script_that_wrap_makes(submit, tmp_path):
    words = ["--hold", "--wrap", "echo 'a b'"]
    jobid = submit(*words)
    text = submission(["sbatch", *words], str(tmp_path), {}).script
    assert slurm("scontrol", "write", "batch_script", jobid, "-").stdout.rstrip(b"\0\n") == (text or b"").rstrip()
