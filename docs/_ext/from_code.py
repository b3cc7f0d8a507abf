"""What the pages show of the code itself, so that it cannot be wrong: verbs, actions, settings, statuses.

A page says `<!-- from code: verbs -->`, and has there what the function of that name writes in Markdown.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

import qrec.task
from qrec.cli.verbs import VERBS
from qrec.cli.verbs import qrec as program
from qrec.config import SETTINGS, Setting
from qrec.executors.base import Action, Executor
from qrec.executors.base import Option as Choice
from qrec.registry import BUILTIN, EXECUTORS, load_value
from qrec.stores.base import Store
from qrec.task import FINAL, MOVES, UNFINISHED, Status
from qrec.units import duration

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARK = re.compile(r"^<!-- from code: (\w+) -->$", re.MULTILINE)


# Words


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Text as code, in a cell of a table."""
    return f"`{cell(text)}`" if text else ""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table, and a blank line behind it."""
    head = list(head)
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def fenced(language: str, lines: Iterable[str]) -> Iterator[str]:
    """A block of code, and a blank line behind it."""
    yield from (f"```{language}", *lines, "```", "")


# Verbs


def verbs() -> Iterator[str]:
    """A section for every verb, by purpose; before them what goes before each."""
    context = click.Context(program, info_name="qrec")
    yield from table(("option before the verb", "what it does"), options(program, context))
    for purpose, names in VERBS.items():
        yield from (f"## {purpose}", "")
        for name in names:
            yield from verb(context, name, level=3)


def verb(above: click.Context, name: str, level: int) -> Iterator[str]:
    """What a verb's `--help` tells, and below it its own verbs."""
    group = above.command
    assert isinstance(group, click.Group)
    command = group.get_command(above, name)
    assert command is not None, name
    context = click.Context(command, info_name=name, parent=above)
    path = context.command_path.removeprefix("qrec ")
    yield from (f"{'#' * level} {path}", "")
    yield from fenced("text", [f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"])
    yield from prose(command.help or "")
    if rows := list(options(command, context)):
        yield from table(("option", "what it does"), rows)
    yield from fenced("console", (f"$ {line}" for line in examples(command)))
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            yield from verb(context, each, level + 1)


def prose(text: str) -> Iterator[str]:
    """A help text, paragraph by paragraph; what is not to be wrapped is set as it stands."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        lines = paragraph.splitlines()
        if lines and lines[0].strip() == "\b":
            yield from fenced("text", lines[1:])
        else:
            yield from (*lines, "")


def options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """Each option of a verb as it is written, and what it does; all have --help."""
    for parameter in command.params:
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record:
            yield ", ".join(map(code, record[0].split(", "))), cell(record[1])


def examples(command: click.Command) -> Iterator[str]:
    """The lines of a verb's example."""
    lines = inspect.cleandoc((command.epilog or "").replace("\b\n", "")).splitlines()
    return (line.strip() for line in lines[1:] if line.strip())


# Executors


def actions() -> Iterator[str]:
    """A section for every executor that comes with qrec, with what it offers on a task."""
    for plugin in BUILTIN:
        if plugin.group == EXECUTORS:
            yield from executor(plugin.name, load_value(plugin.value), plugin.pattern)


def executor(name: str, kind: type[Executor], pattern: str) -> Iterator[str]:
    """Which commands an executor takes, and what can be done with them afterwards."""
    yield from (f"## {name}", "")
    yield f"Takes the commands in which `{pattern}` is found." if pattern else "Takes no command by itself."
    yield ""
    rows = [
        (code(action.name), cell(action.help), "<br>".join(map(choice, action.options)), when(action))
        for action in kind.actions().values()
    ]
    yield from table(("action", "what it does", "options", "for tasks that are"), rows)


def choice(option: Choice) -> str:
    """One option of an action."""
    return f"{code('--' + option.name.replace('_', '-'))} {cell(option.help)}".strip()


def when(action: Action) -> str:
    """The statuses in which an action makes sense, shortly."""
    named = {frozenset(Status): "any", FINAL: "over", UNFINISHED: "not over"}
    return named.get(action.when) or ", ".join(status.value for status in Status if status in action.when)


# Stores


def store() -> Iterator[str]:
    """What every store has to have, with the first sentence of its contract."""
    wanted = [name for name in vars(Store) if name in Store.__abstractmethods__]
    rows = [(code(name), cell((getattr(Store, name).__doc__ or "").strip().split("\n")[0])) for name in wanted]
    yield from table(("method", "what it does"), rows)


# Settings and statuses


def settings() -> Iterator[str]:
    """All settings with their variables and defaults."""
    yield from table(
        ("setting", "variable", "default", "meaning"),
        [(code(each.name), code(each.variable), code(default(each)), cell(each.help)) for each in SETTINGS],
    )


def default(setting: Setting) -> str:
    """A setting's default as it would be written."""
    value = setting.default
    if isinstance(value, bool):
        return str(value).lower()
    return duration(value) if isinstance(value, float) else "" if value == () else str(value)


def statuses() -> Iterator[str]:
    """All statuses, what they mean, and what may follow."""
    meanings = comments_of("Status")
    rows = [
        (code(status.value), cell(meanings[status.name]), ", ".join(code(after.value) for after in followers(status)))
        for status in Status
    ]
    yield from table(("status", "meaning", "what may follow"), rows)


def followers(status: Status) -> list[Status]:
    """Which other statuses may follow on one, in the order of their declaration."""
    return [after for after in Status if after in MOVES[status] and after is not status]


def comments_of(name: str) -> dict[str, str]:
    """What stands behind `#:` beside each member of a class in qrec/task.py."""
    lines = inspect.getsource(qrec.task).splitlines()
    kind = next(
        node for node in ast.parse("\n".join(lines)).body if isinstance(node, ast.ClassDef) and node.name == name
    )
    members = [node for node in kind.body if isinstance(node, ast.Assign)]
    return {ast.unparse(node.targets[0]): lines[node.lineno - 1].partition("#:")[2].strip() for node in members}


# Sphinx

WRITERS: dict[str, Callable[[], Iterator[str]]] = {
    writer.__name__: writer for writer in (verbs, actions, store, settings, statuses)
}


def filled(text: str) -> str:
    """A page with what comes from the code in its places."""
    return MARK.sub(lambda found: "\n".join(WRITERS[found[1]]()), text)


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Fill in a page as Sphinx reads it; it is read each time, since the code is no file that Sphinx watches."""
    source[0] = filled(source[0])


def outdated(app: Sphinx, *_: object) -> list[str]:
    """The pages that are made from the code."""
    return [page for page in app.env.found_docs if MARK.search(app.env.doc2path(page).read_text(encoding="utf-8"))]


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("source-read", fill)
    app.connect("env-get-outdated", outdated)
    return {"parallel_read_safe": True}
