"""Names to classes: built-ins and plug-ins come in by the same door, and are found fast."""

from __future__ import annotations

import json
import os
import re
import sys

from qrec.config import write_cache
from qrec.errors import BrokenPlugin, NoSuchExecutor, QrecError, WrongUsage, did_you_mean, raised
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from qrec.executors.base import Executor
    from qrec.stores.base import Store

EXECUTORS = "qrec.executors"
STORES = "qrec.stores"
HOOKS = "qrec.hooks"
GROUPS = (EXECUTORS, STORES, HOOKS)
#: What one of a group is called, and what it is a subclass of.
KINDS = {EXECUTORS: "an executor", STORES: "a store", HOOKS: "a hook"}
BASES = {EXECUTORS: "qrec.executors.base:Executor", STORES: "qrec.stores.base:Store", HOOKS: "qrec.hooks:Hook"}


class Plugin(Record):
    """Something with a name that is loaded when it is used."""

    group: str
    name: str
    value: str  #: `module:Class`
    pattern: str = ""  #: executors: the commands it takes, as a regular expression; empty: none by itself
    needs: str = ""  #: what stands in every such command: to look for it is much less work than to compile the pattern
    origin: str = "qrec"  #: the distribution it comes from
    version: str = ""  #: of that
    broken: str = ""  #: what is wrong with it: it is left out then
    source: str = ""  #: the file it is loaded from
    written: int = 0  #: when that was changed

    @property
    def complaint(self) -> str:
        """What is wrong with it, as a sentence."""
        came = f"{self.origin} {self.version}".strip()
        return f"plug-in {self.name} ({came}) is left out: {self.broken}"


BUILTIN = (
    Plugin(group=EXECUTORS, name="shell", value="qrec.executors.shell:ShellExecutor"),
    Plugin(
        group=EXECUTORS,
        name="slurm",
        value="qrec.executors.slurm:SlurmExecutor",
        pattern=r"^(\S*/)?(sbatch|srun|salloc)(\s|$)",
        needs="s",
    ),
    Plugin(
        group=EXECUTORS,
        name="tmux",
        value="qrec.executors.tmux:TmuxExecutor",
        pattern=r"^(\S*/)?tmux(\s+-[2CDluUNvV]+|\s+-[cfLST]\s*('[^']*'|[^\s']+))*"
        r"\s+(new-session|new|new-window|neww|split-window|splitw)(\s|$)",
        needs="tmux",
    ),
    Plugin(group=EXECUTORS, name="queue", value="qrec.executors.queue:QueueExecutor"),
    Plugin(group=EXECUTORS, name="typed", value="qrec.executors.typed:TypedExecutor"),
    Plugin(group=STORES, name="sqlite", value="qrec.stores.sqlite:SqliteStore"),
    Plugin(group=STORES, name="filesystem", value="qrec.stores.filesystem:FilesystemStore"),
    Plugin(group=HOOKS, name="desktop", value="qrec.hooks.notices:Desktop"),
    Plugin(group=HOOKS, name="mail", value="qrec.hooks.notices:Mail"),
    Plugin(group=HOOKS, name="webhook", value="qrec.hooks.notices:Webhook"),
    Plugin(group=HOOKS, name="notify", value="qrec.hooks.notices:Notify"),
)


class Registry:
    """What can be chosen by name, in the order in which it is asked: plug-ins first, then built-ins.

    What cannot be used is in `broken` and left out; everything else works.  `complaints` names it until somebody
    has been `told`: once for every change, since nobody wants to read of it in front of all that is run.
    `anew` asks even if nothing seems to have changed.
    """

    def __init__(self, home: str, anew: bool = False) -> None:
        self.cache = os.path.join(home, "cache", "plugins.json")
        self.complaints: list[str] = []
        found = self.installed(anew)
        self.broken = [plugin for plugin in found if plugin.broken]
        self.plugins = [*(plugin for plugin in found if not plugin.broken), *BUILTIN]

    def installed(self, anew: bool) -> list[Plugin]:
        """The plug-ins of this Python, remembered as long as nothing is installed, changed or removed."""
        key = search_path()
        kept = {} if anew else read_cache(self.cache).get(sys.prefix, {})
        try:
            plugins = [Plugin(**values) for values in kept["plugins"]]
            known = complaints_of(plugins) if kept["told"] else []
            if kept["key"] == key and all(written(plugin.source) == plugin.written for plugin in plugins):
                self.complaints = [] if kept["told"] else complaints_of(plugins)
                return plugins
        except (KeyError, TypeError):
            known = []  # no cache yet, or another version's
        found = self.discover()
        if found is None:
            return []
        complaints = complaints_of(found)
        # that an import was compiled is a change, and no news
        self.complaints = [] if complaints == known else complaints
        self.remember(key, found, told=not self.complaints)
        return found

    def discover(self) -> list[Plugin] | None:
        """Ask every installed distribution for its plug-ins; None, and a complaint, if nobody can be asked now."""
        if not any(map(may_offer, sys.path)):
            return []
        from qrec.discovery import discover

        try:
            return discover()
        except (QrecError, OSError) as error:
            self.complaints = [f"plug-ins are left out: {error}"]
            return None

    def remember(self, key: list[Any], plugins: list[Plugin], told: bool) -> None:
        """Keep what was found, beside what other Pythons have found that use the same home."""
        others = {prefix: kept for prefix, kept in read_cache(self.cache).items() if os.path.isdir(prefix)}
        found = {"key": key, "told": told, "plugins": [plugin.asdict() for plugin in plugins]}
        write_cache(self.cache, {**others, sys.prefix: found})

    def told(self) -> None:
        """The user has been told of the broken ones, if there are any."""
        if self.complaints and self.broken:
            kept = read_cache(self.cache)
            if sys.prefix in kept:
                kept[sys.prefix]["told"] = True
                write_cache(self.cache, kept)

    def named(self, group: str, name: str) -> Plugin | None:
        """The plug-in of that name."""
        return next((plugin for plugin in self.plugins if plugin.group == group and plugin.name == name), None)

    def names(self, group: str) -> Sequence[str]:
        """Every name in a group."""
        return [plugin.name for plugin in self.plugins if plugin.group == group]

    def pick_executor(self, command: str) -> str:
        """The name of the executor whose pattern fits the command line; the shell takes what nobody claims."""
        for plugin in self.plugins:
            if plugin.group != EXECUTORS or not plugin.pattern or plugin.needs not in command:
                continue
            if re.search(plugin.pattern, command):
                return plugin.name
        return "shell"

    def executor(self, name: str) -> type[Executor]:
        """The executor of that name, or NoSuchExecutor."""
        plugin = self.named(EXECUTORS, name)
        if plugin is None:
            self.check_broken(EXECUTORS, name)
            raise NoSuchExecutor(name, self.names(EXECUTORS))
        loaded: type[Executor] = self.load(plugin)
        return loaded

    def check_broken(self, group: str, name: str, error: type[QrecError] = BrokenPlugin) -> None:
        """Raise an error if there is nothing of that name as its plug-in is broken."""
        for plugin in self.broken:
            if (plugin.group, plugin.name) == (group, name):
                raise error(f"{plugin.complaint}; `qrec plugins` looks again")

    def load(self, plugin: Plugin) -> Any:
        """The plug-in's class, or a BrokenPlugin that names it.  What is printed at its import goes to stderr."""
        stdout, sys.stdout = sys.stdout, sys.stderr
        try:
            return load_value(plugin.value)
        except (Exception, SystemExit) as error:
            raise BrokenPlugin(plugin.copy(broken=raised(error)).complaint) from error
        finally:
            sys.stdout = stdout

    def store(self, home: str, choice: str) -> Store:
        """The store that a name (`sqlite`) or a URL (`filesystem:/some/folder`) asks for."""
        name, colon, location = choice.partition(":")
        plugin = self.named(STORES, name)
        if plugin is None or (colon and not location):
            self.check_broken(STORES, name, WrongUsage)
            names = self.names(STORES)
            there = did_you_mean(name, names, f"there are: {', '.join(names)}, or NAME:PATH for one elsewhere")
            raise WrongUsage(f"no store is called {choice!r}; {there}")
        made: Store = self.load(plugin)(home, os.path.abspath(location.removeprefix("//")) if location else None)
        return made


def complaints_of(plugins: Sequence[Plugin]) -> list[str]:
    """What is wrong with some, a sentence each."""
    return [plugin.complaint for plugin in plugins if plugin.broken]


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


def may_offer(folder: str) -> bool:
    """Whether a distribution in a folder of the path says that it offers something, or nobody can tell without asking.

    It is ten times as quick as asking properly, and most people have no plug-ins.
    """
    try:
        names = [name for name in os.listdir(folder or ".") if name.endswith((".dist-info", ".egg-info"))]
    except FileNotFoundError:
        return False
    except OSError:  # an archive, perhaps
        return True
    return any(mentions_us(os.path.join(folder, name, "entry_points.txt")) for name in names)


def mentions_us(path: str) -> bool:
    """Whether a list of entry points has one of our groups."""
    try:
        with open(path, "rb") as file:
            return b"[qrec." in file.read().replace(b" ", b"")
    except OSError:
        return False


def read_cache(path: str) -> dict[str, Any]:
    """What every Python has found; nothing if that cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in kept.items() if isinstance(value, dict)} if isinstance(kept, dict) else {}


def written(path: str) -> int:
    """When a file was changed; 0 if there is none."""
    try:
        return os.stat(path).st_mtime_ns if path else 0
    except OSError:
        return 0


def load_value(value: str) -> Any:
    """What `module:Class` names."""
    module, _, names = value.partition(":")
    loaded: Any = __import__(module, fromlist=["*"])
    for name in names.split("."):
        loaded = getattr(loaded, name)
    return loaded
