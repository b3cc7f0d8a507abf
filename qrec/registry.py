"""Names to classes: built-ins and plug-ins come in by the same door, and are found fast."""

from __future__ import annotations

import json
import os
import re
import sys

from qrec.config import write_cache
from qrec.errors import BrokenPlugin, NoSuchExecutor, WrongUsage
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from qrec.executors.base import Executor
    from qrec.stores.base import Store

EXECUTORS = "qrec.executors"
STORES = "qrec.stores"
GROUPS = (EXECUTORS, STORES, "qrec.hooks")


class Plugin(Record):
    """Something with a name that is loaded when it is used."""

    group: str
    name: str
    value: str  #: `module:Class`
    pattern: str = ""  #: executors: the commands it takes, as a regular expression; empty: none by itself
    origin: str = "qrec"  #: the distribution it comes from


BUILTIN = (
    Plugin(group=EXECUTORS, name="shell", value="qrec.executors.shell:ShellExecutor"),
    Plugin(
        group=EXECUTORS,
        name="slurm",
        value="qrec.executors.slurm:SlurmExecutor",
        pattern=r"^(\S*/)?(sbatch|srun|salloc)(\s|$)",
    ),
    Plugin(
        group=EXECUTORS,
        name="tmux",
        value="qrec.executors.tmux:TmuxExecutor",
        pattern=r"^(\S*/)?tmux(\s+-[2CDluUNvV]+|\s+-[cfLST]\s*('[^']*'|[^\s']+))*"
        r"\s+(new-session|new|new-window|neww|split-window|splitw)(\s|$)",
    ),
    Plugin(group=EXECUTORS, name="queue", value="qrec.executors.queue:QueueExecutor"),
    Plugin(group=STORES, name="sqlite", value="qrec.stores.sqlite:SqliteStore"),
    Plugin(group=STORES, name="filesystem", value="qrec.stores.filesystem:FilesystemStore"),
)


class Registry:
    """What can be chosen by name, in the order in which it is asked: plug-ins first, then built-ins.

    `complaints` names the plug-ins that could not be loaded; they are left out and everything else works.
    """

    def __init__(self, home: str) -> None:
        self.cache = os.path.join(home, "cache", "plugins.json")
        self.complaints: list[str] = []
        self.plugins = [*self.installed(), *BUILTIN]

    def installed(self) -> list[Plugin]:
        """The plug-ins of this Python, remembered as long as nothing is installed or removed."""
        key = search_path()
        try:
            with open(self.cache, encoding="utf-8") as file:
                kept = json.load(file)
            if kept["key"] == key:
                return [Plugin(**values) for values in kept["plugins"]]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no cache yet, or another version's
        plugins = list(self.discover())
        if not self.complaints:
            write_cache(self.cache, {"key": key, "plugins": [plugin.asdict() for plugin in plugins]})
        return plugins

    def discover(self) -> Iterator[Plugin]:
        """Ask every installed distribution for its plug-ins, and every executor among them for its pattern."""
        from importlib.metadata import entry_points

        for group in GROUPS:
            for entry in entry_points(group=group):
                plugin = Plugin(
                    group=group, name=entry.name, value=entry.value, origin=entry.dist.name if entry.dist else "?"
                )
                try:
                    made = load_value(plugin.value)
                    yield plugin.copy(pattern=re.compile(getattr(made, "pattern", "") or "").pattern)
                except (
                    Exception,
                    SystemExit,
                ) as error:  # whatever a stranger's module does must not stop anybody's work
                    self.complaints.append(f"plug-in {plugin.name} ({plugin.origin}) is left out: {error!r}")

    def named(self, group: str, name: str) -> Plugin | None:
        """The plug-in of that name."""
        return next((plugin for plugin in self.plugins if plugin.group == group and plugin.name == name), None)

    def names(self, group: str) -> Sequence[str]:
        """Every name in a group."""
        return [plugin.name for plugin in self.plugins if plugin.group == group]

    def pick_executor(self, command: str) -> str:
        """The name of the executor whose pattern fits the command line; the shell takes what nobody claims."""
        for plugin in self.plugins:
            if plugin.group == EXECUTORS and plugin.pattern and re.search(plugin.pattern, command):
                return plugin.name
        return "shell"

    def executor(self, name: str) -> type[Executor]:
        """The executor of that name, or NoSuchExecutor."""
        plugin = self.named(EXECUTORS, name)
        if plugin is None:
            raise NoSuchExecutor(name, self.names(EXECUTORS))
        loaded: type[Executor] = self.load(plugin)
        return loaded

    def load(self, plugin: Plugin) -> Any:
        """The plug-in's class, or a BrokenPlugin that names it."""
        try:
            return load_value(plugin.value)
        except (Exception, SystemExit) as error:
            raise BrokenPlugin(f"plug-in {plugin.name} ({plugin.origin}) cannot be loaded: {error!r}") from error

    def store(self, home: str, choice: str) -> Store:
        """The store that a name (`sqlite`) or a URL (`filesystem:/some/folder`) asks for."""
        name, colon, location = choice.partition(":")
        plugin = self.named(STORES, name)
        if plugin is None or (colon and not location):
            known = ", ".join(self.names(STORES))
            raise WrongUsage(f"no store is called {choice!r}; there are: {known}, or NAME:PATH for one elsewhere")
        made: Store = self.load(plugin)(home, os.path.abspath(location.removeprefix("//")) if location else None)
        return made


def search_path() -> list[Any]:
    """What changes whenever a distribution is installed or removed; not the working folder, where files come and go."""
    key: list[Any] = [sys.version]
    chosen = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    for folder in sys.path:
        if folder not in chosen and os.path.basename(folder) not in ("site-packages", "dist-packages"):
            continue
        try:
            key.append([folder, os.stat(folder).st_mtime_ns])
        except OSError:
            continue
    return key


def load_value(value: str) -> Any:
    """The class that `module:Class` names."""
    module, _, name = value.partition(":")
    loaded = __import__(module, fromlist=[name])
    return getattr(loaded, name)
