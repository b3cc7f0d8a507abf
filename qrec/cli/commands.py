"""Every verb, read by click: each function makes one call and prints."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys

import click

from qrec import __version__
from qrec.cli import say
from qrec.cli.words import ALWAYS, CWD, JSON, MESSAGE, QUIET, RUN, TIMEOUT, YES, Flag, merge
from qrec.errors import BrokenPlugin, NoSuchAction, NoSuchTask, QrecError, Refused, WrongUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeVar

    from qrec.api import Qrec
    from qrec.executors.base import Action
    from qrec.stores.base import Query
    from qrec.task import Task

    Function = TypeVar("Function", bound=Callable[..., Any])

TASK_HELP = "TASK is a number, a uid or the beginning of one; without it, the task you last started."


def completes(kind: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """What a shell offers for a word of this kind; looked up when somebody presses Tab."""

    def offer(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
        from qrec.cli.completion import offer

        return offer(kind, context, incomplete)

    return offer


#: Options whose values a shell can offer.
COMPLETED = {"home": "dir", "store": "store", "cwd": "dir", "tag": "tag", "executor": "executor"}


class Verbs(click.Group):
    """The verbs in the order in which a newcomer needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of definition."""
        return list(self.commands)


class ExecVerb(click.Command):
    """A verb whose `--help` belongs to the action, if one is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the help option only where it stands alone."""
        if any(not word.startswith("-") for word in args):
            ctx.help_option_names = []
        return super().parse_args(ctx, args)


def options(*flags: Flag) -> Callable[[Function], Function]:
    """Declare options from their data."""

    def declare(function: Function) -> Function:
        for flag in reversed(flags):
            settings: dict[str, Any] = {"help": flag.help}
            settings |= {"metavar": flag.metavar, "multiple": flag.many} if flag.metavar else {"is_flag": True}
            if flag.key in COMPLETED:
                settings["shell_complete"] = completes(COMPLETED[flag.key])
            function = click.option(*flag.names, flag.key, **settings)(function)
        return function

    return declare


def verb(example: str, *flags: Flag, **settings: Any) -> Callable[[Function], click.Command]:
    """A verb with its options and an example; its function gets the group's and its own options as one dict."""

    def declare(function: Function) -> click.Command:
        @functools.wraps(function)
        def call(**given: Any) -> Any:
            context = click.get_current_context()
            keys = {flag.key for flag in flags}
            own = {key: value for key, value in given.items() if key in keys}
            words = {key: value for key, value in given.items() if key not in keys}
            return function(merge(context.find_root().params, own), **words)

        described = {
            "epilog": "\b\nExample:\n" + "\n".join(f"  {line.strip()}" for line in example.splitlines()),
            **settings,
        }
        return qrec.command(**described)(options(*flags)(call))

    return declare


TASK = click.argument("task", required=False, shell_complete=completes("task"))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@options(*ALWAYS)
@click.version_option(__version__, prog_name="qrec", message="%(prog)s %(version)s")
def qrec(**_: Any) -> None:
    """Record any command, wherever it runs, and look back at it.

    \b
    qrec run make test         run it as without qrec, and keep everything
    qrec ls                    what was run, newest last
    qrec get                   all about the last one, as JSON
    qrec log 12                what task 12 printed
    qrec search segfault       every task that said so
    qrec rerun 12              the same again, in the same folder
    """


def front_door(given: dict[str, Any]) -> Qrec:
    """The Qrec that the options name."""
    from qrec.api import Qrec

    return Qrec(given["home"], given["store"])


def looking(given: dict[str, Any]) -> Qrec:
    """The Qrec for a verb that only prints: a reader that closes its pipe (`| head`), or Ctrl-C, ends us quietly."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return front_door(given)


def tell(door: Qrec) -> None:
    """Tell what could not be done on the way, on stderr."""
    for complaint in dict.fromkeys(door.complaints):
        say(complaint)


# Running


@verb(
    "qrec run make test\n  qrec run -m 'before the release' -t ci make test\n  qrec run 'grep -c error *.log | sort'",
    *RUN,
    context_settings={"allow_interspersed_args": False},
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(given: dict[str, Any], command: tuple[str, ...]) -> int:
    """Run a command and record it.

    Output, input, signals and exit code are as without qrec.  Options end at the first word of the command. One
    argument with blanks or shell characters is a line for your $SHELL.
    """
    from qrec.cli.run import run

    return run(given, command)


@verb("qrec rerun 12\n  qrec -m 'with the fix' rerun", MESSAGE, CWD, TIMEOUT, QUIET, JSON)
@TASK
def rerun(given: dict[str, Any], task: str | None) -> int:
    """Run a recorded command again, in its folder.

    The task keeps its uid; the attempt before is kept (`get --attempt 1`).
    """
    from qrec.cli.run import rerun

    return rerun(given, task)


# Looking back

ATTEMPT = click.option("--attempt", type=click.IntRange(1), metavar="N", help="An attempt before the current one.")


@verb("qrec get 12\n  qrec get | jq .data.returncode", JSON)
@TASK
@ATTEMPT
def get(given: dict[str, Any], task: str | None, attempt: int | None) -> None:
    """Print all that is known of a task, as JSON."""
    from qrec.cli.show import put_json

    door = looking(given)
    found = door.get(task, attempt)
    put_json(door.published(found))
    tell(door)


def filters(function: Function) -> Function:
    """The options that narrow down a list of tasks."""
    from qrec.task import Status

    names = [status.value for status in Status]
    for option in reversed((
        click.option("--status", "statuses", multiple=True, type=click.Choice(names), help="With this status."),
        click.option("--failed", is_flag=True, help="That failed or were lost."),
        click.option("-t", "--tag", "tags", multiple=True, metavar="TAG", shell_complete=completes("tag"),
                     help="With this tag."),
        click.option("--host", metavar="NAME", help="Recorded on this machine."),
        click.option("--user", metavar="NAME", help="Run by this user."),
        click.option("--commit", metavar="HASH", help="At this git commit, or what begins so."),
        click.option("--code", type=int, metavar="N", help="Ended with this exit code."),
        click.option("--longer", metavar="TIME", help="Ran for 5m, 1h30m ... or longer."),
        click.option("--mem-over", metavar="SIZE", help="Used more memory than 500M, 2G ..."),
        click.option("--since", metavar="TIME", help="Recorded since then: 2d (ago), today, 2026-11-20."),
        click.option("--until", metavar="TIME", help="Recorded before then."),
        click.option("--cwd", metavar="DIR", shell_complete=completes("dir"),
                     help="Recorded in this folder or below it."),
        click.option("-n", "limit", type=click.IntRange(1), metavar="N", help="At most so many, the newest."),
        click.option("--all", "all_", is_flag=True, help="All of them."),
    )):  # fmt: skip
        function = option(function)
    return function


def query_of(
    statuses: Iterable[str], failed: bool, tags: Iterable[str], since: str | None, until: str | None, cwd: str | None,
    longer: str | None, mem_over: str | None, executor: str | None = None, **equal: Any,
) -> Query:  # fmt: skip
    """The query that the filters ask for."""
    from qrec.stores.base import Query
    from qrec.task import Status
    from qrec.units import seconds, size_in_bytes

    chosen = {Status(name) for name in statuses} | ({Status.FAILED, Status.LOST} if failed else set())
    return Query(
        statuses=frozenset(chosen), executor=executor, tags=frozenset(tags), since=stamp_of(since),
        until=stamp_of(until), cwd=None if cwd is None else os.path.realpath(cwd),
        longer=None if longer is None else seconds(longer),
        memory_over=None if mem_over is None else size_in_bytes(mem_over), **equal,
    )  # fmt: skip


def stamp_of(words: str | None) -> str | None:
    """A time from the command line as it is stored."""
    from qrec.task import timestamp
    from qrec.units import point_in_time

    return None if words is None else timestamp(point_in_time(words).timestamp())


def limit_of(limit: int | None, all_: bool) -> int | None:
    """How many are shown: as many as asked for, all, or a screenful."""
    from qrec.api import SHOWN

    return limit if limit is not None else None if all_ else SHOWN


@verb("qrec ls --failed --since 2d\n  qrec ls --cwd . -n 5\n  qrec ls --columns number,memory,command", JSON)
@click.argument("executor", required=False, shell_complete=completes("executor"))
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--columns", "named", metavar="NAME,NAME...", shell_complete=completes("column"),
              help="Only these: keys of --json, cpu, memory.")  # fmt: skip
@filters
def ls(
    given: dict[str, Any], executor: str | None, as_csv: bool, named: str | None, limit: int | None, all_: bool,
    **narrowed: Any,
) -> None:  # fmt: skip
    """List the tasks, newest last.

    EXECUTOR names one kind of task, `shell` say.
    """
    from qrec.cli.show import put, put_json, table

    names: tuple[str, ...] = ()
    if named is not None:
        from qrec.doors.columns import named_columns

        names = named_columns(named)
    door = looking(given)
    if executor is not None:
        door.registry.executor(executor)
    query = query_of(executor=executor, **narrowed)
    tasks = door.find(query, limit_of(limit, all_))
    if given["json"]:
        put_json([doors.columns_of(task, names) for task in tasks])
    elif as_csv:
        doors.put_csv(tasks, names)
    elif tasks:
        for line in doors.task_grid(tasks, names) if names else table(tasks):
            put(line)
        left_out(door, query, tasks, limit)
    else:
        say("nothing is recorded yet" if not door.count() else "no task matches")
    tell(door)


def left_out(door: Qrec, query: Query, tasks: Sequence[Task], limit: int | None) -> None:
    """Say how many tasks the list leaves out; who asked for a number knows."""
    from qrec.api import SHOWN

    if limit is None and len(tasks) >= SHOWN and (more := door.count(query) - len(tasks)) > 0:
        sys.stdout.flush()
        click.echo(f"{more} more before these; --all lists them", err=True)


@verb("qrec search 'cannot allocate' --since 1w\n  qrec search make release --failed", JSON)
@click.argument("words", nargs=-1, required=True)
@click.option("-e", "--executor", metavar="NAME", shell_complete=completes("executor"), help="Of this executor.")
@click.option("--deep", is_flag=True, help="Also the middle of outputs above 2 MiB, at the speed of the disk.")
@filters
def search(
    given: dict[str, Any], words: tuple[str, ...], deep: bool, limit: int | None, all_: bool, **narrowed: Any
) -> None:
    """Find tasks that hold every word, newest last.

    Commands, notes, tags and output are searched, whatever the case of letters; an argument with blanks is one
    phrase.
    """
    from qrec.cli.show import hit_lines, put, put_json
    from qrec.output import uids_with_folders
    from qrec.progress import track
    from qrec.search import PIECE, SHORT_SCAN

    door = looking(given)
    shown = limit_of(limit, all_)
    large = len(uids_with_folders(door.home)) if deep else None
    hits = door.search(
        words,
        query_of(**narrowed),
        None if shown is None else shown + 1,
        deep,
        watch=lambda tasks: track(tasks, "searching", large),
    )
    more, hits = shown is not None and len(hits) > shown, hits[-shown:] if shown else hits
    if given["json"]:
        put_json([{**hit.task.summary(), "matches": [match.asdict() for match in hit.matches]} for hit in hits])
    for hit in () if given["json"] else hits:
        for line in hit_lines(hit, words):
            put(line)
    if more and limit is None:
        sys.stdout.flush()
        click.echo("there are more before these; --all shows them", err=True)
    if all(len(word) < PIECE for word in words) and door.count() > SHORT_SCAN:
        say(f"words this short are looked for in the newest {SHORT_SCAN:,} tasks only")
    if not hits and not given["json"]:
        say("no task holds " + ("that" if len(words) == 1 else "all of these"))
    tell(door)


@verb("qrec log 12 -f\n  qrec log --stderr -n 20", JSON)
@TASK
@ATTEMPT
@click.option("-f", "--follow", is_flag=True, help="Go on as the task prints, until it has ended.")
@click.option("--stdout", "only", flag_value="stdout", help="Only what went to stdout.")
@click.option("--stderr", "only", flag_value="stderr", help="Only what went to stderr.")
@click.option("-n", "lines", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
def log(
    given: dict[str, Any], task: str | None, attempt: int | None, follow: bool, only: str | None, lines: int | None
) -> None:
    """Print what a task printed, byte for byte, both streams in their order."""
    from qrec.output import STREAMS, Frozen, last_lines, merged

    door = looking(given)
    found = door.get(task, attempt)
    streams = STREAMS if only is None else (only,)
    if follow:
        blocks = door.follow(found, streams, lines)
    else:
        output = Frozen(door.output(found))
        blocks = merged(output, streams) if lines is None else iter(last_lines(output, lines, streams))
    if given["json"]:
        print_json_log(blocks)
    else:
        print_blocks(blocks)
    tell(door)


def print_blocks(blocks: Iterable[tuple[str, bytes]]) -> None:
    """Bytes on stdout, as they come."""
    for _, block in blocks:
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()


def print_json_log(blocks: Iterable[tuple[str, bytes]]) -> None:
    """One JSON object a block: its stream and text."""
    from qrec.output import text

    for stream, block in blocks:
        click.echo(json.dumps({"stream": stream, "text": text(block)}))
        sys.stdout.flush()


# Telling more


@verb("qrec note 12 'this one used the old data'", JSON)
@click.argument("task", shell_complete=completes("task"))
@click.argument("text", nargs=-1, required=True)
def note(given: dict[str, Any], task: str, text: tuple[str, ...]) -> None:
    """Change the note of a task."""
    door = looking(given)
    confirm(given, door, door.note(task, " ".join(text)))


@verb("qrec tag 12 baseline paper\n  qrec tag 12 --remove paper", JSON)
@click.argument("task", shell_complete=completes("task"))
@click.argument("tags", nargs=-1, shell_complete=completes("tag"))
@click.option(
    "-r",
    "--remove",
    multiple=True,
    metavar="TAG",
    shell_complete=completes("own tag"),
    help="Take this tag away; may be given again.",
)
def tag(given: dict[str, Any], task: str, tags: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Give a task tags, or take some away; without any, print those it has."""
    door = looking(given)
    if tags or remove:
        confirm(given, door, door.tag(task, tags, remove))
        return
    from qrec.cli.show import put, put_json

    found = door.get(task).tags
    if given["json"]:
        put_json(list(found))
    for word in () if given["json"] else found:
        put(word)


def confirm(given: dict[str, Any], door: Qrec, task: Task) -> None:
    """Print the changed task for programs; people asked for the change and need no answer."""
    from qrec.cli.show import put_json

    if given["json"]:
        put_json(task.summary())
    tell(door)


# Acting


@verb(
    "qrec exec status 12\n  qrec exec 12 output\n  qrec exec shell",
    JSON,
    name="exec",
    cls=ExecVerb,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[ACTION] [TASK]", shell_complete=completes("exec"))
def exec_(given: dict[str, Any], words: tuple[str, ...]) -> None:
    """Do what a task's executor offers.

    ACTION and TASK may come in either order.  Without an action, or with an executor's name alone, lists what can be
    done; `qrec exec ACTION --help` tells an action's options.
    """
    door = front_door(given)
    offered = all_actions(door)
    name = next((word for word in words if word in offered), None)
    if name is None:
        without_action(given, door, words)
    else:
        rest = list(words)
        rest.remove(name)
        reference, values = read_action(offered[name], rest)
        present(given, door.act(reference, name, **values))
    tell(door)


def without_action(given: dict[str, Any], door: Qrec, words: Sequence[str]) -> None:
    """List what an executor's tasks, or one task, offer; say so if a word is no action."""
    if len(words) == 1 and words[0] in door.registry.names("qrec.executors"):
        list_actions(given, door.actions(words[0]))
    elif len(words) > 1:
        no_such_action(door, words)
    else:
        list_actions(given, door.actions(door.get(words[0] if words else None).executor))


def no_such_action(door: Qrec, words: Sequence[str]) -> None:
    """Of two words that are no action, the one that names a task is the task, and the other was meant as the action."""
    for reference, name in (words[:2], words[1::-1]):
        try:
            executor = door.get(reference).executor
        except NoSuchTask:
            continue
        raise NoSuchAction(name, executor, list(door.actions(executor)))
    raise NoSuchTask(words[0])


def all_actions(door: Qrec) -> dict[str, list[Action]]:
    """Every executor's actions by name; what a broken plug-in would offer is not to be had."""
    offered: dict[str, list[Action]] = {}
    for executor in door.registry.names("qrec.executors"):
        try:
            actions = door.actions(executor)
        except BrokenPlugin as error:
            door.complaints.append(str(error))
            continue
        for name, action in actions.items():
            offered.setdefault(name, []).append(action)
    return offered


def read_action(actions: Sequence[Action], words: list[str]) -> tuple[str | None, dict[str, Any]]:
    """The task, and the values of the options that are given, among the words beside an action's name."""
    options = {option.name: option for action in actions for option in action.options}
    parameters: list[click.Parameter] = [click.Argument(["task"], required=False)]
    for option in options.values():
        names = [f"--{option.name.replace('_', '-')}", option.name]
        kind: dict[str, Any] = {"is_flag": True} if option.kind is bool else {"type": option.kind}
        parameters.append(click.Option(names, default=option.default, help=option.help, show_default=True, **kind))
    command = click.Command(actions[0].name, params=parameters, help=actions[0].help)
    with command.make_context(f"qrec exec {actions[0].name}", words) as context:
        given = click.core.ParameterSource.COMMANDLINE
        told = {name: value for name, value in context.params.items() if context.get_parameter_source(name) is given}
    reference = told.pop("task", None)
    return reference, told


def list_actions(given: dict[str, Any], actions: dict[str, Action]) -> None:
    """What can be done, a line each."""
    from qrec.cli.show import put, put_json

    if given["json"]:
        put_json({name: action.help for name, action in actions.items()})
    for name, action in () if given["json"] else actions.items():
        put(f"{name:<10}  {action.help}")
        for option in action.options:
            put(f"{'':<10}  --{option.name.replace('_', '-')}  {option.help}".rstrip())


def present(given: dict[str, Any], result: Any) -> None:
    """What an action returned: bytes as they are, a task in a sentence, the rest as text."""
    from qrec.cli.show import put, put_json
    from qrec.output import text_lines
    from qrec.task import Task

    if isinstance(result, Task):
        if given["json"]:
            put_json(result.summary())
        else:
            put(f"{result.uid} is {result.status}")
    elif given["json"]:
        put_json(text_lines(result) if hasattr(result, "__next__") else result)
    elif hasattr(result, "__next__"):
        print_blocks(("", block) for block in result)
    elif isinstance(result, dict):
        for key, value in result.items():
            put(f"{key:<10}  {'' if value is None else value}")
    else:
        put(str(result))


@verb("qrec cancel 12", JSON)
@click.argument("tasks", nargs=-1, metavar="[TASK]...", shell_complete=completes("running"))
def cancel(given: dict[str, Any], tasks: tuple[str, ...]) -> None:
    """End a running task: ask it first, kill it if it does not listen."""
    door = front_door(given)
    ended: list[Task] = []
    refusals: list[QrecError] = []
    for task in tasks or (None,):
        try:
            ended.append(door.cancel(task))
        except QrecError as error:  # the others are to end all the same
            refusals.append(error)
    if given["json"] and len(tasks) > 1:
        from qrec.cli.show import put_json

        put_json([one.summary() for one in ended])
    else:
        for one in ended:
            present(given, one)
    if not refusals:  # what is in the way is told by them
        tell(door)
    for refusal in refusals[:-1]:
        say(str(refusal))
    if refusals:
        raise refusals[-1]


@verb("qrec clear 12\n  qrec clear shell -y\n  qrec clear --all -y", YES, JSON)
@click.argument("words", nargs=-1, metavar="[TASK|EXECUTOR]...", shell_complete=completes("clear"))
@click.option(
    "--all", "all_", is_flag=True, help="Everything; the same as naming nothing, and needed for that with -y."
)
@click.option("--force", is_flag=True, help="Cancel what still runs, then remove it too.")
def clear(given: dict[str, Any], words: tuple[str, ...], all_: bool, force: bool) -> None:
    """Remove tasks with their output, for good.

    Asks first.  Unfinished tasks are left, and named.
    """
    from qrec.progress import track

    door = looking(given)
    if all_ and words:
        raise WrongUsage("name tasks or say --all, not both")
    found = [task for word in words or (None,) for task in door.cleared(word)]
    tasks = list({task.uid: task for task in found}.values())
    if not tasks:
        say("there is nothing to remove")
        report_cleared(given, [], [])
        return
    ask_to_clear(given, tasks, everything=not words, all_=all_)
    left = door.clear(track(tasks, "removing", len(tasks)), force)
    stayed = {task.uid for task in left}
    report_cleared(given, [task for task in tasks if task.uid not in stayed], left)
    tell(door)


def ask_to_clear(given: dict[str, Any], tasks: Sequence[Task], everything: bool, all_: bool) -> None:
    """Let the user confirm, or refuse."""
    what = f"task {tasks[0].number} ({tasks[0].uid})" if len(tasks) == 1 else f"{len(tasks)} tasks"
    if given["yes"] and (all_ or not everything):
        return
    if given["yes"]:
        raise Refused(f"this would remove all there is, {what}; say --all -y if you mean it")
    if not sys.stdin.isatty():
        raise Refused(f"this would remove {what}; say {'--all -y' if everything else '-y'} where nobody can be asked")
    click.confirm(f"Remove {'all there is, ' if everything else ''}{what}?", abort=True, err=True)


def report_cleared(given: dict[str, Any], removed: Sequence[Task], left: Sequence[Task]) -> None:
    """What went and what stayed."""
    from qrec.cli.show import put, put_json

    if given["json"]:
        put_json({"removed": [task.uid for task in removed], "left": [task.uid for task in left]})
    elif removed or left:
        put(f"{len(removed)} task{'s' * (len(removed) != 1)} removed")
    for task in left:
        say(f"{task.uid} is {task.status} and was left; --force cancels it first")


# Settings


@qrec.group(invoke_without_command=True, epilog="\b\nExample:\n  qrec config set store filesystem\n  qrec config list")
@click.option("--database", metavar="sqlite|filesystem", help="Where records are kept; short for `set store`.")
@click.pass_context
def config(context: click.Context, database: str | None) -> None:
    """Read and write the settings."""
    if database is not None:
        set_setting("store", database)
    elif context.invoked_subcommand is None:
        click.echo(context.get_help())


def settings_of() -> Any:
    """The settings of the home that the options name; nothing else is opened, so that they can always be mended."""
    from qrec.config import Config, find_home

    return Config(find_home(click.get_current_context().find_root().params["home"]))


def set_setting(name: str, value: str) -> None:
    """Write one setting, if it makes sense."""
    settings = settings_of()
    if name == "store":
        from qrec.registry import Registry

        Registry(settings.home).store(settings.home, value)
    settings.set(name, value)


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def wants_json(as_json: bool) -> bool:
    """Whether JSON was asked for, before the verb or after it."""
    return as_json or bool(click.get_current_context().find_root().params["json"])


@config.command("get", epilog="\b\nExample:\n  qrec config get store")
@click.argument("name", shell_complete=completes("setting"))
@AS_JSON
def config_get(name: str, as_json: bool) -> None:
    """Print one setting's value in force."""
    value = settings_of().get(name)
    click.echo(json.dumps(value) if wants_json(as_json) else shown(value))


@config.command("set", epilog="\b\nExample:\n  qrec config set grace 30s")
@click.argument("name", shell_complete=completes("setting"))
@click.argument("value")
def config_set(name: str, value: str) -> None:
    """Write a setting into the config file."""
    set_setting(name, value)


@config.command("list", epilog="\b\nExample:\n  qrec config list --json")
@AS_JSON
def config_list(as_json: bool) -> None:
    """Print every setting, its value in force, and where that comes from."""
    from qrec.config import SETTINGS

    settings = settings_of()
    values = {setting.name: settings.get(setting.name) for setting in SETTINGS}
    if wants_json(as_json):
        click.echo(json.dumps(values, indent=2))
        return
    for setting in SETTINGS:
        click.echo(
            f"{setting.name:<8}  {shown(values[setting.name]):<12}  {settings.source(setting.name):<12}  {setting.help}"
        )


@config.command("path", epilog='\b\nExample:\n  $EDITOR "$(qrec config path)"')
@AS_JSON
def config_path(as_json: bool) -> None:
    """Print where the config file is, or would be."""
    path = settings_of().path
    click.echo(json.dumps(path) if wants_json(as_json) else path)


def shown(value: Any) -> str:
    """A setting's value as it is written."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}s" if isinstance(value, float) else str(value)


# The verbs of other files are known once they are imported.
from qrec.cli import doors as doors  # noqa: E402
