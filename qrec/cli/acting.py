"""The verbs that act on a task."""

from __future__ import annotations

import itertools
import sys

import click

from qrec.cli import INTERRUPTED, say
from qrec.cli.groups import OneOf, Verb
from qrec.cli.printed import print_blocks
from qrec.cli.verbs import completes, examples, front_door, looking, tell, verb
from qrec.cli.words import JSON, YES
from qrec.errors import BrokenPlugin, NoSuchAction, NoSuchTask, QrecError, Refused, StoreError, WrongUsage, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from qrec.api import Qrec
    from qrec.executors.base import Action, Option
    from qrec.task import Task


class Interrupted(QrecError):
    """Ctrl-C came in the midst of things; the text tells how far they got."""

    exit_code = INTERRUPTED


class ExecVerb(Verb):
    """A verb whose `--help` belongs to the action, if one is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the help option only where it stands alone."""
        if any(not word.startswith("-") for word in args):
            ctx.help_option_names = []
        if "--" in args:  # the first would be taken for ours, and it is the action's
            args.insert(args.index("--"), "--")
        return super().parse_args(ctx, args)


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

    ACTION and TASK may come in either order; what an action takes comes behind them.  Without an action, or with an
    executor's name alone, lists what can be done; `qrec exec ACTION --help` tells an action's options.
    """
    door = front_door(given)
    offered = all_actions(door)
    name = next((word for word in words if word in offered), None)
    if name is None:
        without_action(given, door, words)
    else:
        rest = list(words)
        rest.remove(name)
        reference, values = read_action(name, meant(door, offered[name], rest), rest)
        try:
            present(given, door.act(reference, name, **values))
        except KeyboardInterrupt:
            if name != "cancel":
                raise
            raise Interrupted(how_far(door.get(reference))) from None
    tell(door)


def without_action(given: dict[str, Any], door: Qrec, words: Sequence[str]) -> None:
    """List what an executor's tasks, or one task, offer; say so if a word is no action."""
    if len(words) == 1 and words[0] in door.registry.names("qrec.executors"):
        list_actions(given, door.actions(words[0]))
    elif len(words) > 1:
        no_such_action(door, words)
    else:
        list_actions(given, door.actions(executor_of(door, words[0] if words else None)))


def executor_of(door: Qrec, reference: str | None) -> str:
    """The executor of a task; a word that is none may have been meant as an action, or an executor."""
    try:
        return door.get(reference).executor
    except NoSuchTask:
        known = [*all_actions(door), *door.registry.names("qrec.executors")]
        if reference is None or not (near := nearest(reference, known)):
            raise
        raise Refused(f"{reference!r} is no action, task or executor; did you mean {near!r}?") from None


def no_such_action(door: Qrec, words: Sequence[str]) -> None:
    """Of two words that are no action, the one that names a task is the task, and the other was meant as the action."""
    for reference, name in (words[:2], words[1::-1]):
        try:
            executor = door.get(reference).executor
        except NoSuchTask:
            continue
        raise NoSuchAction(name, executor, list(door.actions(executor)))
    raise NoSuchTask(words[0])


def all_actions(door: Qrec) -> dict[str, dict[str, Action]]:
    """Every executor's action, by the action's name and the executor's; what a broken plug-in offers is left out."""
    offered: dict[str, dict[str, Action]] = {}
    for executor in door.registry.names("qrec.executors"):
        try:
            actions = door.actions(executor)
        except BrokenPlugin as error:
            door.complaints.append(str(error))
            continue
        for name, action in actions.items():
            offered.setdefault(name, {})[executor] = action
    return offered


def meant(door: Qrec, actions: dict[str, Action], words: Sequence[str]) -> dict[str, Action]:
    """Of every executor's actions the one that help is asked for, where a task is named with it; else all."""
    own = list(itertools.takewhile(lambda word: word != "--", words))
    named = next((word for word in own if not word.startswith("-")), None)
    if named is None or "--help" not in own:
        return actions
    try:
        executor = door.get(named).executor
    except StoreError:
        return actions  # it is no task, but a value
    return {executor: actions[executor]} if executor in actions else actions


def read_action(name: str, actions: dict[str, Action], words: list[str]) -> tuple[str | None, dict[str, Any]]:
    """The task, and the values of the options that are given, among the words beside an action's name."""
    options = {option.name: option for action in actions.values() for option in action.options}
    taken = next((option.name for option in options.values() if option.positional), None)
    parameters: list[click.Parameter] = [click.Argument(["task"], required=False)]
    behind: list[str] = []  # what stands behind `--` is no task
    if taken is not None and "--" in words:
        behind = words[words.index("--") + 1 :]
        words = words[: words.index("--")]
    if taken is not None:
        parameters.append(click.Argument(["words"], nargs=-1, metavar=f"[{taken.upper()}]..."))
    for option in options.values():
        short = [f"-{option.short}"] if option.short else []
        word = option.name.replace("_", "-")
        both = f"--{word}/--no-{word}" if option.kind is bool and option.default else f"--{word}"
        names = [*short, both, option.name]
        parameters.append(
            click.Option(
                names, default=option.default, help=option.usage + whose(option, actions), show_default=True,
                **kind_of(option),
            )
        )  # fmt: skip
    command = click.Command(name, params=parameters, help=helps(actions), epilog=action_examples(name, actions))
    with command.make_context(f"qrec exec {name}", words) as context:
        given = click.core.ParameterSource.COMMANDLINE
        told = {name: value for name, value in context.params.items() if context.get_parameter_source(name) is given}
    reference = told.pop("task", None)
    if taken is not None and (given_words := (*told.pop("words", ()), *behind)):
        if taken in told:
            raise WrongUsage(f"give --{taken} or the words, not both")
        told[taken] = " ".join(given_words)
    return reference, told


def helps(actions: dict[str, Action]) -> str:
    """What an action does; where that is not the same for all who have it, a line for each kind."""
    by_help: dict[str, list[str]] = {}
    for executor, action in actions.items():
        by_help.setdefault(action.help, []).append(executor)
    if len(by_help) == 1:
        return next(iter(by_help))
    return "\b\n" + "\n".join(f"{', '.join(names)}: {told}" for told, names in by_help.items())


def whose(option: Option, actions: dict[str, Action]) -> str:
    """The executors that know an option, if others who have the action do not."""
    names = [key for key, action in actions.items() if option.name in {one.name for one in action.options}]
    return f" ({', '.join(names)})" if len(names) < len(actions) else ""


def action_examples(name: str, actions: dict[str, Action]) -> str:
    """What the help of an action ends with, whichever executor's it is."""
    first, *others = actions.values()
    if any(option.positional for option in first.options):
        return examples(f"qrec exec {name} 12 yes\n  qrec exec {name} -- yes")
    shared = (option for option in first.options if all(option in one.options for one in others))
    switch = next((f" --{option.name}" for option in shared if option.kind is bool), "")
    return examples(f"qrec exec {name}\n  qrec exec {name} 12{switch}")


def kind_of(option: Option) -> dict[str, Any]:
    """What click is told of an option's kind."""
    if option.kind is bool:
        return {"is_flag": True}
    return {"type": OneOf(option.choices) if option.choices else option.kind}


def list_actions(given: dict[str, Any], actions: dict[str, Action]) -> None:
    """What can be done, a line each."""
    from qrec.cli.show import put, put_json

    if given["json"]:
        put_json({name: action.help for name, action in actions.items()})
    for name, action in () if given["json"] else actions.items():
        put(f"{name:<10}  {action.help}")
        for option in action.options:
            short = f"-{option.short}, " if option.short else ""
            put(f"{'':<10}  {short}--{option.name.replace('_', '-')}  {option.usage}".rstrip())


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
        print_blocks((("", block) for block in result), follow=True)
    elif isinstance(result, dict):
        for key, value in result.items():
            put(f"{key:<10}  {'' if value is None else value}")
    else:
        put(str(result))


@verb("qrec cancel\n  qrec cancel 12 13", JSON)
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
        except KeyboardInterrupt:
            present_all(given, ended, several=len(tasks) > 1)
            raise Interrupted(how_far(door.get(task))) from None
    present_all(given, ended, several=len(tasks) > 1)
    if not refusals:  # what is in the way is told by them
        tell(door)
    for refusal in refusals[:-1]:
        say(str(refusal))
    if refusals:
        raise refusals[-1]


def present_all(given: dict[str, Any], ended: Sequence[Task], several: bool) -> None:
    """The tasks that were ended; as JSON one list where several were named."""
    if given["json"] and several:
        from qrec.cli.show import put_json

        put_json([one.summary() for one in ended])
    else:
        for one in ended:
            present(given, one)


def how_far(task: Task) -> str:
    """What became of a task whose end somebody did not want to wait for."""
    if task.status.is_final:
        return f"{task.uid} is {task.status}"
    if task.wish != "cancel":
        return f"{task.uid} is {task.status}, and was not asked to end"
    return f"{task.uid} was asked to end, and is {task.status} still; `qrec cancel {task.number}` goes on with it"


@verb("qrec clear 12\n  qrec clear shell -y\n  qrec clear --all -y", YES, JSON)
@click.argument("words", nargs=-1, metavar="[TASK|EXECUTOR]...", shell_complete=completes("clear"))
@click.option(
    "--all", "all_", is_flag=True, help="Everything; the same as naming nothing, and needed for that with -y."
)
@click.option(
    "-t", "--tag", "tags", multiple=True, metavar="TAG", shell_complete=completes("tag"), help="Only with this tag."
)
@click.option("--force", is_flag=True, help="Cancel what still runs, then remove it too.")
def clear(given: dict[str, Any], words: tuple[str, ...], all_: bool, tags: tuple[str, ...], force: bool) -> None:
    """Remove tasks with their output, for good.

    Asks first.  Unfinished tasks are left, and named.
    """
    from qrec.progress import track

    door = looking(given)
    if all_ and words:
        raise WrongUsage("name tasks or say --all, not both")
    found = [task for word in words or (None,) for task in door.cleared(word) if set(tags) <= set(task.tags)]
    tasks = list({task.uid: task for task in found}.values())
    if not tasks:
        say("there is nothing to remove")
        report_cleared(given, [], [])
        return
    ask_to_clear(given, tasks, everything=not words and not tags, all_=all_)
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
