"""The verb that tells what comes with qrec and what is plugged in."""

from __future__ import annotations

from qrec.cli.verbs import verb
from qrec.cli.words import JSON
from qrec.registry import GROUPS, KINDS, Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from qrec.registry import Plugin

RED = "31"


@verb("qrec plugins\n  qrec plugins --json", JSON)
def plugins(given: dict[str, Any]) -> None:
    """List executors, stores and hooks, and where each comes from.

    Looks at everything that is installed anew.  What cannot be used stands last, with the reason, and is left out by
    all other verbs.  `broken` is empty, in JSON, for what works.
    """
    from qrec.cli.show import put_json
    from qrec.config import find_home

    registry = Registry(find_home(given["home"]), anew=True)
    works, broken = in_order(registry.plugins), in_order(registry.broken)
    if given["json"]:
        put_json([row(plugin) for plugin in (*works, *broken)])
    else:
        put_table(works, broken)
    registry.told()


def in_order(plugins: Sequence[Plugin]) -> list[Plugin]:
    """By kind; those of a kind in the order in which they are asked."""
    return sorted(plugins, key=lambda plugin: GROUPS.index(plugin.group))


def kind(plugin: Plugin) -> str:
    """What it is, in one word."""
    return KINDS[plugin.group].split()[-1]


def row(plugin: Plugin) -> dict[str, Any]:
    """One in JSON's types.  The keys are published."""
    return {
        "kind": kind(plugin), "name": plugin.name, "pattern": plugin.pattern, "class": plugin.value,
        "origin": plugin.origin, "version": version(plugin), "broken": plugin.broken,
    }  # fmt: skip


def version(plugin: Plugin) -> str:
    """Of what it came with."""
    from qrec import __version__

    return __version__ if plugin.origin == "qrec" else plugin.version


def put_table(works: Sequence[Plugin], broken: Sequence[Plugin]) -> None:
    """Them for people; a reason is never cut."""
    from qrec.cli.grid import grid
    from qrec.cli.show import paint, printable, put

    rows = [(kind(one), one.name, f"{one.origin} {version(one)}".strip(), one.pattern) for one in works]
    for line in grid(("kind", "name", "from", "pattern"), rows, set()):
        put(line)
    for plugin in broken:
        put(paint(printable(f"{kind(plugin)}: {plugin.complaint}"), RED))
