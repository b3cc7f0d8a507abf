"""The verbs: where each is written, and what they share.

Each verb reads words, makes one call and prints; its file is imported when somebody uses it.
"""

from __future__ import annotations

import functools
import os
import signal

import click

from qrec import __version__
from qrec.cli import say
from qrec.cli.groups import OneOf, Shelved, Verb, options_in_short
from qrec.cli.words import ALWAYS, Flag, merge
from qrec.errors import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeVar

    from qrec.api import Qrec
    from qrec.cli.groups import Shelves
    from qrec.stores.base import Query

    Function = TypeVar("Function", bound=Callable[..., Any])


def completes(kind: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """What a shell offers for a word of this kind; looked up when somebody presses Tab."""

    def offer(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
        from qrec.cli.completion import offer

        return offer(kind, context, incomplete)

    return offer


#: Options whose values a shell can offer.
COMPLETED = {"home": "dir", "store": "store", "cwd": "dir", "tag": "tag", "executor": "executor"}


#: The verbs by purpose: the file that each is written in, and what it does in a few words.
VERBS: Shelves = {
    "Run": {
        "run": ("running", "record a command"),
        "rerun": ("running", "run a task again"),
        "wait": ("running", "until tasks end"),
        "adopt": ("adopting", "take in what runs"),
    },
    "Look": {
        "ls": ("looking", "list tasks"),
        "get": ("looking", "a task as JSON"),
        "log": ("printed", "what a task printed"),
        "search": ("looking", "find words in tasks"),
        "why": ("compare", "why a task failed"),
        "diff": ("compare", "compare two tasks"),
        "usage": ("usage", "CPU and memory"),
        "replay": ("printed", "output as it came"),
        "start": ("dashboard", "all in a browser"),
    },
    "Shell": {
        "init": ("init", "set up your shell"),
        "completion": ("doors", "words for Tab"),
    },
    "Queue": {
        "queue": ("queueing", "jobs after each other"),
    },
    "Act": {
        "cancel": ("acting", "end what runs"),
        "exec": ("acting", "what executors offer"),
        "note": ("telling", "change the note"),
        "tag": ("telling", "give or take tags"),
        "clear": ("acting", "remove for good"),
    },
    "Move": {
        "export": ("doors", "write tasks out"),
        "import": ("doors", "take tasks in"),
        "store": ("doors", "copy all of them"),
        "sql": ("doors", "ask in SQL"),
    },
    "Care": {
        "config": ("settings", "the settings"),
        "doctor": ("upkeep", "check, and mend"),
        "gc": ("upkeep", "keep the home small"),
        "hooks": ("hooks", "what happens when"),
        "plugins": ("plugins", "what is installed"),
    },
}  # fmt: skip


#: What other tools call a verb.  Some are programs, too, and `qrec run kill 12` is not what was meant.
ELSEWHERE = {
    word: verb
    for verb, words in {
        "cancel": "kill stop abort end terminate",
        "clear": "rm remove delete del purge forget",
        "ls": "list history jobs tasks ps",
        "rerun": "restart again redo repeat",
        "log": "tail cat logs output print",
        "get": "show info inspect describe",
        "usage": "stats top",
        "exec attach": "attach",
    }.items()
    for word in words.split()
}


class Verbs(Shelved):
    """All verbs; the help fits a small terminal."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """In one line with what all of it is for."""
        formatter.write(f"Usage: {ctx.command_path} [OPTIONS] VERB ...    {self.help}\n")

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The usage has told."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs, and the options in few words."""
        self.format_verbs(formatter)
        formatter.write(options_in_short(IN_SHORT, formatter.width))

    def unknown(self, ctx: click.Context, args: Sequence[str]) -> str:
        """See Group: it may be a verb of `queue`, or a command to be recorded."""
        import shlex
        import shutil

        if args[0] == "help":
            return "no verb 'help'; did you mean `qrec --help`, or `qrec VERB --help`?"
        is_line = bool(set(args[0]) & set(" |;<>&"))
        is_command = is_line or shutil.which(args[0]) is not None
        meant = [ELSEWHERE[args[0]]] if args[0] in ELSEWHERE else []
        if meant:
            is_command = is_command and not all(word.isdecimal() or word.startswith("-") for word in args[1:])
        elif is_command and not is_line and (near := nearest(args[0], self.places)):
            meant = [near]
        if not is_command and is_of_queue(args[0]):
            meant.append(f"queue {args[0]}")
        meant += [f"run {shlex.join(args)}"] * is_command
        if not meant:
            return super().unknown(ctx, args)
        return f"no verb {args[0]!r}; did you mean {', or '.join(f'`qrec {words}`' for words in meant)}?"


def is_of_queue(word: str) -> bool:
    """Whether a word is a verb of `queue`."""
    from qrec.cli import queueing

    return any(word in verbs for verbs in queueing.VERBS.values())


#: The options before the verb.
IN_SHORT = """--home DIR and --store NAME|URL, where records are; -m, --message TEXT, a note; -q, --quiet; --json;
    -y, --yes, ask nothing; --reveal, show secrets; --debug, show where an error comes from; --version; -h, --help"""


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


def examples(lines: str) -> str:
    """What a help text ends with."""
    return "\b\nExamples:\n" + "\n".join(f"  {line.strip()}" for line in lines.splitlines())


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

        described = {"cls": Verb, "epilog": examples(example), **settings}
        made: click.Command = click.command(**described)(options(*flags)(call))
        return made

    return declare


TASK = click.argument("task", required=False, shell_complete=completes("task"))


@click.group(
    cls=Verbs, shelves=VERBS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples("qrec run make test\n  qrec ls --failed --since 2d"),
)  # fmt: skip
@options(*ALWAYS)
@click.version_option(__version__, prog_name="qrec", message="%(prog)s %(version)s")
def qrec(**_: Any) -> None:
    """Record any command, and look back at it."""


def front_door(given: dict[str, Any]) -> Qrec:
    """The Qrec that the options name."""
    from qrec.api import Qrec

    door = Qrec(given["home"], given["store"])
    door.reveal = given["reveal"]
    return door


def looking(given: dict[str, Any]) -> Qrec:
    """The Qrec for a verb that only prints: a reader that closes its pipe (`| head`), or Ctrl-C, ends us quietly."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return front_door(given)


def tell(door: Qrec) -> None:
    """Tell what could not be done on the way, on stderr."""
    for complaint in dict.fromkeys([*door.registry.complaints, *door.complaints]):
        say(complaint)
    door.registry.told()


# Words that several verbs take

ATTEMPT = click.option("--attempt", type=click.IntRange(1), metavar="N", help="An attempt before the current one.")


def filters(function: Function) -> Function:
    """The options that narrow down a list of tasks."""
    from qrec.task import Status

    names = [status.value for status in Status]
    for option in reversed((
        click.option("--status", "statuses", multiple=True, type=OneOf(names), help="With this status."),
        click.option("--failed", is_flag=True, help="That failed or were lost."),
        click.option("-t", "--tag", "tags", multiple=True, metavar="TAG", shell_complete=completes("tag"),
                     help="With this tag."),
        click.option("--queue", metavar="NAME", shell_complete=completes("queue"), help="Put into this queue."),
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


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def wants_json(as_json: bool) -> bool:
    """Whether JSON was asked for, before the verb or after it."""
    return as_json or bool(click.get_current_context().find_root().params["json"])
