"""The verbs that make a queue and put jobs into it."""

from __future__ import annotations

import sys

import click

from qrec.cli import say
from qrec.cli.queueing import WithCommand, choose_one, command_behind, put_jobs, queue_of
from qrec.cli.verbs import completes, front_door, tell, verb
from qrec.cli.words import CWD, JSON, MESSAGE, TAG, TIMEOUT
from qrec.errors import WrongUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence
    from typing import Any, TypeVar

    from qrec.api import Qrec
    from qrec.jobs import Jobs, Submission
    from qrec.task import Task

    Function = TypeVar("Function", bound=Callable[..., Any])

ENV = click.option("--env", "env", multiple=True, metavar="NAME=VALUE", help="An environment variable of the jobs.")


def policy_options(function: Function) -> Function:
    """The options that say what holds for a queue."""
    for option in reversed((
        click.option("--workers", type=click.IntRange(1), metavar="N", help="How many jobs run at a time; else 1."),
        click.option("--gpus", metavar="0,1,...", help="The GPUs that jobs may have; one named twice may be shared."),
        click.option("--mem", metavar="SIZE", help="How much memory jobs may ask for together: 16G ..."),
        click.option("--cpus", type=click.IntRange(1), metavar="N", help="How many CPUs they may ask for together."),
        click.option("--preamble", multiple=True, metavar="CMD", help="Goes before each job; may be given again."),
        click.option("--cwd", metavar="DIR", shell_complete=completes("dir"), help="The folder of its jobs."),
        ENV,
        click.option("--backend", metavar="NAME", help="How `run` runs it: local, serial, tmux or slurm."),
    )):  # fmt: skip
        function = option(function)
    return function


def policy_of(door: Qrec, words: dict[str, Any]) -> dict[str, Any]:
    """The parts of a policy that were named; an empty value takes one away."""
    import os

    from qrec.backends import BACKENDS, no_backend
    from qrec.sweep import variables
    from qrec.units import size_in_bytes

    found: dict[str, Any] = {name: words[name] for name in ("workers", "cpus") if words[name] is not None}
    if words["gpus"] is not None:
        found["gpus"] = devices(words["gpus"])
    if words["mem"] is not None:
        found["mem"] = size_in_bytes(words["mem"]) if words["mem"] else None
    if words["preamble"]:
        found["preamble"] = [line for line in words["preamble"] if line] or None
    if words["cwd"] is not None:
        found["cwd"] = os.path.realpath(words["cwd"]) if words["cwd"] else None
    if words["env"]:
        found["env"] = without_secrets(door, variables(word for word in words["env"] if word)) or None
    if words["backend"]:
        if words["backend"] not in BACKENDS:
            raise no_backend(words["backend"])
        found["backend"] = words["backend"]
    return found


def devices(words: str) -> list[str] | None:
    """The names of GPUs between commas."""
    return [name.strip() for name in words.split(",") if name.strip()] or None


def without_secrets(door: Qrec, env: dict[str, str]) -> dict[str, str]:
    """The variables, if none looks like a secret: what holds for a queue is kept as it is said."""
    for name, shown in door.redactor.variables(env).items():
        if shown != env[name]:
            raise WrongUsage(f"{name} looks like a secret, which no queue keeps; set it where `qrec queue run` runs")
    return env


@verb(
    "qrec queue new train --workers 4 --gpus 0,1\n  qrec queue new demo --clear --preamble 'source venv/bin/activate'",
    JSON,
    name="new",
)
@click.argument("name")
@policy_options
@click.option("--clear", is_flag=True, help="Anew, if there is one of that name; what waits in it is cancelled.")
def queue_new(given: dict[str, Any], name: str, clear: bool, **words: Any) -> None:
    """Make a queue.

    Without this, the first `submit` makes it, with one slot.
    """
    from qrec.jobs import Jobs

    door = front_door(given)
    queue = Jobs(door, name)
    policy = {key: value for key, value in policy_of(door, words).items() if value is not None}
    queue.create(clear=clear, **policy)
    put_policy(given, name, queue.policy)
    tell(door)


@verb("qrec queue set train --workers 4\n  qrec queue set train --gpus ''", JSON, name="set")
@click.argument("name", shell_complete=completes("queue"))
@policy_options
def queue_set(given: dict[str, Any], name: str, **words: Any) -> None:
    """Change what holds for a queue.

    Also while it runs; but a worker keeps what `queue run` was told for it alone.  An empty value takes a part away.
    """
    door = front_door(given)
    queue = queue_of(door, name)
    changed = policy_of(door, words)
    if changed.get("env"):
        changed["env"] = {**queue.policy.get("env", {}), **changed["env"]}
    put_policy(given, name, queue.set(**changed) if changed else queue.policy)
    tell_unmoved(door.home, name, changed)
    tell(door)


def tell_unmoved(home: str, name: str, changed: Container[str]) -> None:
    """Say what of a change does not hold for the workers that are there, as they were told otherwise."""
    from qrec.presence import workers

    kept = [part for about in workers(home, name) for part in about.get("chosen") or {} if part in changed]
    if kept:
        options = " and ".join(f"--{part}" for part in dict.fromkeys(kept))
        say(f"who runs {name!r} now was started with {options} of its own, and keeps to that")


def put_policy(given: dict[str, Any], name: str, policy: dict[str, Any]) -> None:
    """What holds for a queue."""
    import json

    from qrec.cli.show import printable, put, put_json
    from qrec.units import size

    if given["json"]:
        put_json({"queue": name, **policy})
        return
    count = policy.get("workers", 1)
    put(f"{printable(name)}: {count} slot{'s' * (count != 1)}")
    shown = {"mem": lambda value: size(value), "gpus": ",".join}
    for key in ("backend", "gpus", "mem", "cpus", "cwd", "preamble", "env", "paused"):
        if key in policy:
            value = shown.get(key, lambda value: value if isinstance(value, str) else json.dumps(value))(policy[key])
            put(f"{key:<9} {printable(value)}")


# Submitting


def job_options(function: Function) -> Function:
    """The options that say what a job asks for."""
    for option in reversed((
        click.option("--priority", type=int, metavar="N", help="The higher, the sooner; 0 if unsaid."),
        click.option("--retries", type=click.IntRange(0), metavar="N", help="Try again so often when it fails."),
        click.option("--backoff", metavar="TIME", help="Wait 30s, 5m ... before that, each time twice as long."),
        click.option("--cpus", type=click.IntRange(1), metavar="N", help="It needs so many CPUs."),
        click.option("--mem", metavar="SIZE", help="It needs so much memory: 500M, 8G ..."),
        click.option("--gpus", type=click.IntRange(0), metavar="N", help="It needs so many GPUs."),
        ENV,
        click.option("--setup", metavar="CMD", help="Goes before it in its shell; if that fails, the job does."),
        click.option("--teardown", metavar="CMD", help="Goes after it, whatever became of it."),
        click.option("--at", metavar="TIME", help="Not before 18:30, 2h (from now), '2026-11-23 08:00' ..."),
        click.option("--slurm", multiple=True, metavar="OPTION=VALUE", help="An option of sbatch, for that backend."),
    )):  # fmt: skip
        function = option(function)
    return function


def asked_of(words: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Submission that the options name."""
    plain = ("name", "priority", "retries", "cpus", "gpus", "setup", "teardown", "message", "cwd")
    lists = {"depends": "depends", "depends_any": "depends_any", "depends_failed": "depends_failed", "tag": "tags"}
    found = {key: words[key] for key in plain if words.get(key) is not None}
    found |= {name: tuple(words[key]) for key, name in lists.items() if words.get(key)}
    if any(words.get(key) not in (None, ()) for key in ("backoff", "timeout", "mem", "at", "env", "slurm")):
        from qrec.sweep import QUANTITIES, variables

        found |= {key: read(words[key]) for key, read in QUANTITIES.items() if words.get(key) is not None}
        found |= {key: variables(words[key]) for key in ("env", "slurm") if words.get(key)}
    return found


@verb(
    "qrec queue submit --name prep -- make data\n"
    "  qrec queue submit train --depends prep --gpus 1 -- python train.py\n"
    "  qrec queue submit -- 'sort *.txt | uniq > all'\n"
    "  qrec queue submit --sweep lr=0.1,0.01 --sweep seed=1..5 -- python train.py {lr} {seed}\n"
    "  qrec queue submit train --from jobs.jsonl",
    MESSAGE, TAG, CWD, TIMEOUT, JSON,
    name="submit", cls=WithCommand, options_metavar="[OPTIONS] [QUEUE] -- COMMAND...",
)  # fmt: skip
@click.argument("words", nargs=-1, metavar="", shell_complete=completes("queue"))
@click.option("--name", "--jobname", "name", metavar="JOB", help="What others of the queue call it.")
@click.option("--depends", multiple=True, metavar="A,B", help="After these completed: jobs by name, or any task.")
@click.option("--depends-any", multiple=True, metavar="A,B", help="After these ended, however.")
@click.option("--depends-failed", multiple=True, metavar="A,B", help="Only if one of these did not complete.")
@job_options
@click.option("--notify", is_flag=True, help="Tell of its end, on the desktop or as the setting `notify` says.")
@click.option("--if-absent", is_flag=True, help="Not if the same command waits or runs in the queue already.")
@click.option("--start", is_flag=True, help="Start a worker that outlives the terminal, if there is none.")
@click.option("--from", "source", metavar="FILE|-", shell_complete=completes("file"),
              help="Many at once: JSON objects, one a line, or command lines.")  # fmt: skip
@click.option("--sweep", multiple=True, metavar="NAME=VALUES",
              help="A job for each value of {NAME}: a,b or 1..5, @FILE or - (a line each).")  # fmt: skip
def queue_submit(
    given: dict[str, Any], words: tuple[str, ...], notify: bool, if_absent: bool, start: bool, source: str | None,
    sweep: tuple[str, ...], **asked: Any,
) -> None:  # fmt: skip
    """Put a command into a queue, and print its uid.

    It runs in this folder, with this PATH, once `qrec queue run` takes it.  One argument with blanks or shell
    characters is a line for bash; several are executed as they are.  Each value of a sweep stays as it is: in a line,
    quotes around {NAME} may stand or be left out.
    """
    from qrec.jobs import DEFAULT, Jobs

    command = command_behind()
    check_words(words, command, source, sweep)
    door = front_door(given)
    queue = Jobs(door, words[0] if words else DEFAULT)
    fields = asked_of({**asked, **{key: given[key] for key in ("message", "tag", "cwd", "timeout")}})
    jobs = submissions(command or (), source, sweep, {**fields, "if_absent": if_absent, "notify": notify})
    uids = queue.submit_all(jobs)
    if start:
        from qrec.backends import start_if_none

        start_if_none(queue)
    put_submitted(given, queue, uids)
    tell(door)


def check_words(words: Sequence[str], command: Sequence[str] | None, source: str | None, sweep: Sequence[str]) -> None:
    """Refuse what does not fit together."""
    if source is not None and (command is not None or sweep):
        raise WrongUsage("--from brings the commands: leave out --sweep and `--`")
    if source is None and command is None:
        raise WrongUsage("there is no `--` before a command; write `qrec queue submit [QUEUE] -- COMMAND...`")
    if len(words) > 1:
        raise WrongUsage(f"{words[1]!r} stands before the `--`; write `qrec queue submit [QUEUE] -- COMMAND...`")


def submissions(
    command: tuple[str, ...], source: str | None, sweep: Sequence[str], fields: dict[str, Any]
) -> list[Submission]:
    """The jobs that are asked for."""
    from qrec.jobs import Submission

    usual = Submission(command=command, **fields)
    if source is None and not sweep:
        return [usual]
    from qrec.sweep import jobs_of, sweep_of, swept

    if source is not None:
        return jobs_of(text_of(source), usual)
    if sum(one.endswith("=-") for one in sweep) > 1:
        raise WrongUsage("only one --sweep can read stdin")
    return swept(usual, [sweep_of(one, text_of) for one in sweep])


def text_of(name: str) -> str:
    """The text of a file, or of stdin."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(name, "rb") as file:
                data = file.read()
    except OSError as error:
        raise WrongUsage(f"{name}: {error.strerror or error}") from None
    return data.decode("utf-8", "surrogateescape")


def put_submitted(given: dict[str, Any], queue: Jobs, uids: Sequence[str]) -> None:
    """The uids of what waits now."""
    if given["json"]:
        from qrec.cli.show import put_json

        put_json([queue.store.get(uid).summary() for uid in uids])
    else:
        sys.stdout.writelines(f"{uid}\n" for uid in uids)


# Editing


@verb(
    "qrec queue edit prep --priority 5\n  qrec queue edit demo train --mem 2G -- python train.py --small",
    MESSAGE, TAG, CWD, TIMEOUT, JSON,
    name="edit", cls=WithCommand, options_metavar="[OPTIONS] [QUEUE] JOB [-- COMMAND...]",
)  # fmt: skip
@click.argument("words", nargs=-1, metavar="", shell_complete=completes("job"))
@click.option("--name", "--jobname", "name", metavar="JOB", help="Another name.")
@click.option("--depends", multiple=True, metavar="A,B", help="After these completed, instead of what was said before.")
@click.option("--depends-any", multiple=True, metavar="A,B", help="After these ended, however; instead, too.")
@click.option("--depends-failed", multiple=True, metavar="A,B", help="Only if one of these failed; instead, too.")
@job_options
def queue_edit(given: dict[str, Any], words: tuple[str, ...], **asked: Any) -> None:
    """Change a job that waits.

    Its command, behind `--`, or what it asks for.  An empty value takes something away; --env adds to the variables it
    has, --tag and --slurm replace what was said.  A name that begins with a dash goes behind a `--` of its own.
    """
    door = front_door(given)
    queue, job = choose_one(door, words, "edit")
    asked = {**asked, **{key: given[key] for key in ("message", "tag", "cwd", "timeout")}}
    gone = {key: None for key in ("mem", "timeout", "at", "backoff") if asked.get(key) == ""}
    fields = {**asked_of({key: value for key, value in asked.items() if key not in gone}), **gone}
    changed = edited(queue, job, fields, command_behind())
    put_jobs(given, [changed])
    tell(door)


def edited(queue: Jobs, job: Task, fields: dict[str, Any], command: tuple[str, ...] | None) -> Task:
    """The job with its changes."""
    import os

    from qrec.executors.queue import Job

    if command is not None:
        fields["command"] = command
    if "cwd" in fields:
        fields["pwd"] = os.path.realpath(fields.pop("cwd"))
    if "env" in fields:
        fields["env"] = {**Job.of(job).env, **fields["env"]}
    depends: dict[str, Any] = {
        name: fields.pop(name) for name in ("depends", "depends_any", "depends_failed") if name in fields
    }
    if not fields and not depends:
        raise WrongUsage("say what is to be changed; `qrec queue edit --help` lists what can be")
    return queue.edit(job, depends=depends or None, **fields)
