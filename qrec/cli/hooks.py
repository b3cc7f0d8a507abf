"""`qrec hooks`: what happens when a task changes, and one hook tried."""

from __future__ import annotations

import re
import sys

import click

from qrec.cli import say
from qrec.cli.groups import Group
from qrec.cli.verbs import AS_JSON, completes, examples, front_door, looking, tell, wants_json
from qrec.errors import WrongUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from qrec.api import Qrec
    from qrec.hook_tables import Table
    from qrec.task import Task

PASSWORD = re.compile(r"://[^@/\s]*@")
CONDITIONS = ("longer_than", "tag", "command", "executor", "queue", "host", "code")


@click.group(cls=Group, invoke_without_command=True, epilog=examples("qrec hooks list\n  qrec hooks test phone 12"))
@click.pass_context
def hooks(context: click.Context) -> None:
    """What is done when a task starts, ends, fails, is lost, is long, or a whole queue ends.

    A hook is a table of the config file (`qrec config path`), such as

    \b
    [hooks.phone]
    on = "failed"
    longer_than = "10m"
    tag = "train"
    webhook = "https://ntfy.sh/my-runs"

    `on` is one of before, started, ended, complete, failed, cancelled, lost, skipped, long, queue, or a list of them.
    Conditions are longer_than, tag, command, executor, queue, host, code.  What is done is one of run, desktop, mail,
    webhook, hook.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def options() -> dict[str, Any]:
    """The options before the verb."""
    return click.get_current_context().find_root().params


@hooks.command("list", epilog=examples("qrec hooks list\n  qrec hooks list --json"))
@AS_JSON
def hooks_list(as_json: bool) -> None:
    """Print the hooks of the config file: when each happens, and what."""
    from qrec.cli.show import put, put_json

    door = looking(options())
    every = [described(table) for table in tables_of(door)]
    if wants_json(as_json):
        put_json(every)
    else:
        for about in every:
            put(line(about))
        if not every and not door.complaints:
            say(f"there is no hook yet; `qrec hooks --help` shows one, to be written into {door.config.path}")
    tell(door)


def tables_of(door: Qrec) -> list[Table]:
    """The hooks of the config file; what is wrong with others, or with words beside them, is told in the end."""
    from qrec.config import unknown_words
    from qrec.hook_tables import tables_of

    tables, complaints = tables_of(door.config.written)
    door.complaints += [*complaints, *unknown_words(door.config.written)]
    return tables


def described(table: Table) -> dict[str, Any]:
    """A hook in JSON's types, without passwords."""
    conditions = {key: getattr(table, key) for key in CONDITIONS if getattr(table, key)}
    return {
        "name": table.name, "on": sorted(table.on), "deed": table.deed,
        "what": PASSWORD.sub("://...@", str(table.what)), **conditions, "limit": table.limit, "lines": table.lines,
    }  # fmt: skip


def line(about: Mapping[str, Any]) -> str:
    """A hook for people."""
    conditions = ", ".join(f"{key} {shown(about[key])}" for key in CONDITIONS if key in about)
    what = "; ".join(filter(None, about["what"].splitlines()))
    return f"{about['name']:<10}  {', '.join(about['on']):<18}  {about['deed']} {what}  {conditions}".rstrip()


def shown(value: Any) -> str:
    """A condition as it is written."""
    if isinstance(value, tuple):
        return " or ".join(map(str, value))
    return f"{value:g}s" if isinstance(value, float) else str(value)


@hooks.command("test", epilog=examples("qrec hooks test phone\n  qrec hooks test phone 12 --event lost"))
@click.argument("name", shell_complete=completes("hook"))
@click.argument("task", required=False, shell_complete=completes("task"))
@click.option("--event", metavar="EVENT", help="What is said to have happened; else what the hook waits for.")
@AS_JSON
def hooks_test(name: str, task: str | None, event: str | None, as_json: bool) -> int:
    """Call a hook now for a task, whatever its conditions; show what it prints.

    TASK is a number, a uid or the beginning of one; without it, the task you last started.  Nothing is recorded.  The
    exit code is that of the hook.
    """
    from qrec.hooks.commands import run
    from qrec.hooks.told import call_of

    door = front_door(options())
    table = named(door, name)
    found = door.get(task)
    outcome = run(call_of(door, table, event_for(table, found, event), found))
    if wants_json(as_json):
        from qrec.cli.show import put_json

        put_json({"code": outcome.returncode, "seconds": outcome.seconds, "said": outcome.said})
    else:
        for stream, printed in ((sys.stdout, outcome.out), (sys.stderr, outcome.errors)):
            stream.buffer.write(printed)
            stream.flush()
        limit = f", ended by its limit of {outcome.limit:g} s" if outcome.limit else ""
        click.echo(f"hook {name}: exit code {outcome.returncode} after {outcome.seconds:.2f} s{limit}")
    tell(door)
    return outcome.returncode


def named(door: Qrec, name: str) -> Table:
    """The hook of that name; WrongUsage if there is none, or it cannot be understood."""
    from qrec.api import terminal
    from qrec.hook_tables import NOTIFIER, nearest, notifier

    tables = {table.name: table for table in tables_of(door)}
    if name == NOTIFIER:
        return notifier(terminal())
    if name in tables:
        return tables[name]
    wrong = [complaint for complaint in door.complaints if complaint.startswith(f"hook {name} is left out")]
    wrong += [str(door.config.complaint)] if door.config.complaint else []
    names = f"; {nearest(name, tables)}" if tables else f"; write one into {door.config.path}"
    raise WrongUsage(wrong[0] if wrong else f"no hook is called {name!r}{names}")


def event_for(table: Table, task: Task, asked: str | None) -> str:
    """The event that the hook is told: the one that is asked for, or that it waits for and that fits the task."""
    from qrec.hook_tables import ENDS, EVENT_OF, as_events

    if asked is not None:
        (event,) = as_events(asked)
        return str(event)
    natural = EVENT_OF.get(task.status, "started")
    if natural in table.on or (natural in ENDS and ("ended" in table.on or not table.on)):
        return natural
    return next(iter(sorted(table.on)), natural)
