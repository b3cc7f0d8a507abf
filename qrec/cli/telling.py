"""The verbs that say more about a task."""

from __future__ import annotations

import click

from qrec.cli import say
from qrec.cli.verbs import completes, looking, tell, verb
from qrec.cli.words import JSON
from qrec.errors import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qrec.api import Qrec
    from qrec.task import Task


@verb("qrec note 12 'this one used the old data'\n  qrec note 12 ''", JSON)
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
        before = door.get(task)
        confirm(given, door, door.tag(before.uid, tags, remove))
        for word in [word for word in remove if word not in before.tags]:
            there = did_you_mean(word, before.tags, f"it has: {', '.join(before.tags) or 'none'}")
            say(f"task {before.number} has no tag {word!r}; {there}")
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
