"""Wrong words are answered with the nearest right one, in one line."""

from __future__ import annotations

import click
import pytest

from qrec.api import Qrec
from qrec.cli.verbs import ELSEWHERE
from qrec.cli.verbs import qrec as program
from qrec.errors import nearest
from qrec.registry import BUILTIN
from qrec.registry import EXECUTORS as GROUP
from tests.queueing import job, jobs
from tests.test_look_back import call, one_line

EXECUTORS = ", ".join(plugin.name for plugin in BUILTIN if plugin.group == GROUP)


@pytest.fixture
def history(home, tmp_path) -> None:
    """A task with a tag, and two queues with jobs of which one runs in neither."""
    Qrec().run(["true"], show=False, tags=["baseline"], cwd=str(tmp_path))
    jobs(job("true", "prepare"), job("true", "evaluate"))
    jobs(job("true", "download"), queue="train")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        # verbs
        ("serach", "`qrec search`"),
        ("LS", "`qrec ls`"),
        ("list", "`qrec ls`"),
        ("submit -- make", "`qrec queue submit`"),
        ("queue stauts", "`qrec queue status`"),
        ("config lst", "`qrec config list`"),
        ("store cpoy sqlite filesystem", "`qrec store copy`"),
        ("help", "`qrec --help`, or `qrec VERB --help`"),
        # what other tools call it
        ("kill 12", "`qrec cancel`"),
        ("rm 12", "`qrec clear`"),
        ("rm -rf build", "`qrec clear`, or `qrec run rm -rf build`"),
        ("tail -f", "`qrec log`"),
        ("restart", "`qrec rerun`"),
        ("history", "`qrec ls`"),
        ("show 12", "`qrec get`, or `qrec queue show`"),
        ("attach", "`qrec exec attach`"),
        # commands without `run`
        ("make test", "`qrec run make test`"),
        ("sort -u", "`qrec store`, or `qrec run sort -u`"),
        ("ls;true", "`qrec run 'ls;true'`"),
        # options
        ("ls --jsno", "'--json'"),
        ("run --mesage hi true", "'--message'"),
        ("queue run --worker 4", "'--workers'"),
        ("exec output 1 --folow", "'--follow'"),
        # words out of a few
        ("ls --status faild", "'failed'"),
        ("export jsnl", "'jsonl'"),
        ("import jsnol x", "'jsonl'"),
        ("completion bsh", "'bash'"),
        ("queue run --on-fail keeep", "'keep'"),
        # names
        ("run -e slrum true", "'slurm'"),
        ("ls tmxu", "'tmux'"),
        ("exec staus", "'status'"),
        ("exec outptu 1", "'output'"),
        ("--store sqlit ls", "'sqlite'"),
        ("config get gracee", "'grace'"),
        ("config set sotre sqlite", "'store'"),
        ("ls --columns numbr", "'number'"),
        ("ls --columns Number", "'number'"),
        ("ls --tag basline", "'baseline'"),
        ("tag 1 --remove basline", "'baseline'"),
        # queues
        ("queue show trian", "'train'"),
        ("queue cancel prepair", "'prepare'"),
        ("queue explain train donwload", "'download'"),
        ("queue submit --depends prepar -- true", "'prepare'"),
        ("queue run --backend slrum", "'slurm'"),
        ("queue new other --backend lokal", "'local'"),
        # quantities
        ("ls --since 10minutes", "'10m'"),
        ("ls --longer 2hours", "'2h'"),
        ("ls --since yesterdy", "'yesterday'"),
        ("run --timeout 1h30min true", "'1h30m'"),
        ("ls --mem-over 2gigabytes", "'2G'"),
    ],
)
def test_the_nearest_right_word(history, words, meant):
    done = call(*words.split())
    assert done.err.startswith("qrec: ")
    assert done.err.endswith(f"did you mean {meant}?\n")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "otherwise"),
    [
        ("xyzzy", "no verb 'xyzzy'; `qrec --help` lists them"),
        ("queue xyzzy", "no verb 'queue xyzzy'; `qrec queue --help` lists them"),
        ("ls --store sqlite", "no option '--store'; it stands before the verb: `qrec --store NAME|URL ls`"),
        ("ls --xyzzy", "No such option '--xyzzy'; `qrec ls --help` tells more"),
        ("run -e xyzzy true", f"no executor is called 'xyzzy'; there are: {EXECUTORS}"),
        ("queue show xyzzy", "no queue is called 'xyzzy'; there are: default, train; `qrec queue new` makes one"),
        ("ls --since xyzzy", "'xyzzy' is no time; write 2d (ago), today, 2026-11-20 or '2026-11-20 14:30'"),
    ],
)
def test_a_word_that_is_near_to_none(history, words, otherwise):
    done = call(*words.split())
    assert done.returncode in (1, 2)
    assert done.err == f"qrec: {otherwise}\n"


def test_a_line_that_was_to_be_recorded(home):
    assert one_line(call("sort a | uniq"), 2) == "no verb 'sort a | uniq'; did you mean `qrec run 'sort a | uniq'`?"


def test_a_key_of_a_file_of_jobs(history, tmp_path):
    (tmp_path / "jobs").write_text('{"command": "true", "prioritty": 3}\n')
    assert call("queue", "submit", "--from", tmp_path / "jobs").err.endswith("did you mean 'priority'?\n")


def test_a_word_of_other_tools_is_none_of_ours():
    context = click.Context(program)
    assert [word for word in ELSEWHERE if program.get_command(context, word)] == []
    assert {verb.split()[0] for verb in ELSEWHERE.values()} <= set(program.list_commands(context))


def test_the_case_of_letters_is_no_difference():
    assert nearest("NUMBER", ["member", "Number"]) == "Number"
    assert nearest("anything", []) == ""
