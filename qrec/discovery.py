"""Asks what is installed for plug-ins, in a process of its own: nobody knows what a stranger's module does at import.

It may raise, exit, print, crash, or never end; whatever it does, we learn what is wrong with it, and go on.  Loaded
only when something has been installed, changed or removed since the last time.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import time
from importlib import import_module

from qrec.errors import CouldNotStart, raised
from qrec.process import entry, spawn
from qrec.registry import BASES, BUILTIN, GROUPS, KINDS, Plugin, load_value, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import Distribution
    from typing import Any

#: Looks where we look, whatever has been added to our path; the rest is as for every Python of our own.
PROGRAM = f"import sys; sys.path[:] = sys.argv[2:]; {entry('qrec.discovery')}"
PATIENCE = 10.0  #: seconds that one plug-in may take to be imported
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")  #: what becomes a part of uids, addresses and settings


def discover(patience: float = PATIENCE) -> list[Plugin]:
    """Every plug-in of this Python; `broken` tells what is wrong with one.  Raises CouldNotStart, OSError."""
    found: list[Plugin] = []
    while True:
        told, named, count = ask(len(found), patience)
        found += told
        if named is None or len(found) >= count:
            return unambiguous(found)
        found.append(named)


def ask(first: int, patience: float) -> tuple[list[Plugin], Plugin | None, int]:
    """Have the plug-ins from the first on examined by a process of its own.

    Returns those of which it told, the one at which it got stuck, and how many there are in all.
    """
    reader, writer = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        words = [sys.executable, "-c", PROGRAM, str(first), *sys.path]
        child = spawn(words, {0: null, 1: writer, 2: null}, own_group=True)
    finally:
        os.close(writer)
        os.close(null)
    is_over = False
    try:
        lines, is_over = heard(reader, patience)
    finally:
        os.close(reader)
        ended = end(child, PATIENCE if is_over else 0.0)
    if not lines:
        raise CouldNotStart("the process that was to ask for them told nothing")
    every = [Plugin(**values) for values in json.loads(lines[0])]
    told = [Plugin(**json.loads(line)) for line in lines[1:]]
    left = every[first + len(told) :]
    return told, left[0].copy(broken=how(ended, patience)) if left else None, len(every)


def heard(reader: int, patience: float) -> tuple[list[bytes], bool]:
    """The lines that a process writes until it ends or falls silent, and whether it has closed its end of the pipe.

    Its first line costs it a start of Python, which takes as long as it takes.
    """
    lines: list[bytes] = []
    rest, deadline = b"", time.monotonic() + max(patience, PATIENCE)
    poll = select.poll()
    poll.register(reader)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        block = os.read(reader, 1 << 16)
        if not block:
            return lines, True
        *more, rest = (rest + block).split(b"\n")
        lines += more
        deadline = time.monotonic() + patience
    return lines, False


def end(child: int, patience: float) -> int | None:
    """End a process with all it has started; its return code, or None if it did not end by itself within `patience`.

    One that ends has closed its pipe a moment before that is told, or seconds before on a machine that is busy.
    """
    deadline = time.monotonic() + patience
    while not (reaped := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.001)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if not reaped[0]:
        os.waitpid(child, 0)
        return None
    return os.waitstatus_to_exitcode(reaped[1])


def how(ended: int | None, patience: float) -> str:
    """What an import did to the process, in words."""
    if ended is None:
        return f"its import takes more than {patience:g} s"
    return f"its import kills the process (signal {-ended})" if ended < 0 else "its import ends the process"


def unambiguous(found: list[Plugin]) -> list[Plugin]:
    """The plug-ins, of which each that takes a name that is given away already is broken."""
    owners = {(plugin.group, plugin.name): "qrec itself" for plugin in BUILTIN}
    told = []
    for plugin in found:
        key = plugin.group, plugin.name
        if not plugin.broken and key in owners:
            plugin = plugin.copy(broken=f"{owners[key]} has {KINDS[plugin.group]} of that name")
        elif not plugin.broken:
            owners[key] = plugin.origin
        told.append(plugin)
    return told


# In the process of its own


def main() -> None:
    """Tell of all plug-ins there are, and then of each, from the given one on, how it stands."""
    first = int(sys.argv[1])
    out, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # what is printed at an import is not for us
    every = list(installed())
    tell(out, [plugin.asdict() for plugin in every])
    for plugin in every[first:]:
        tell(out, examined(plugin).asdict())
    os._exit(0)  # threads that an import has started shall not keep us


def tell(out: int, words: Any) -> None:
    """A line of JSON."""
    line = json.dumps(words).encode() + b"\n"
    while line:
        line = line[os.write(out, line) :]


def installed() -> Iterator[Plugin]:
    """What the installed distributions say they offer; of two versions of one, the first on the path counts."""
    from importlib.metadata import distributions

    found: dict[str, list[Plugin]] = {}
    for distribution in distributions():
        name, version = name_of(distribution)
        if (key := re.sub(r"[-_.]+", "-", name).lower()) not in found:
            found[key] = list(offered(distribution, name, version))
    return iter(sorted((plugin for some in found.values() for plugin in some), key=by_name))


def by_name(plugin: Plugin) -> tuple[int, str, str]:
    """The order in which plug-ins are told of, and asked."""
    return GROUPS.index(plugin.group), plugin.name, plugin.origin


def name_of(distribution: Distribution) -> tuple[str, str]:
    """The name and the version of a distribution, as far as its metadata are there."""
    try:
        return str(distribution.metadata["Name"] or "?"), str(distribution.version or "")
    except Exception:
        return "?", ""


def offered(distribution: Distribution, name: str, version: str) -> Iterator[Plugin]:
    """What one distribution offers; nothing if its list cannot be read."""
    try:
        points = [point for point in distribution.entry_points if point.group in GROUPS]
    except Exception:
        return
    for point in points:
        value = point.value.partition("[")[0].strip()
        yield Plugin(group=point.group, name=point.name, value=value, origin=name, version=version)


def examined(plugin: Plugin) -> Plugin:
    """A plug-in with its pattern, or with what is wrong with it."""
    try:
        made = load_value(plugin.value)
        pattern = getattr(made, "pattern", "") or ""
        broken = unfit(plugin, made) or wrong_pattern(pattern)
        plugin = plugin.copy(broken=broken, **({} if broken else {"pattern": pattern, "needs": needed_by(pattern)}))
    except BaseException as error:  # whatever a stranger's module does must not stop anybody's work
        plugin = plugin.copy(broken=raised(error))
    source = source_of(plugin.value.partition(":")[0])
    return plugin.copy(source=source, written=written(source))


def unfit(plugin: Plugin, made: Any) -> str:
    """Why something that was loaded cannot be used; nothing if it can."""
    base = load_value(BASES[plugin.group])
    if not isinstance(made, type) or not issubclass(made, base):
        return f"{plugin.value} is no subclass of {BASES[plugin.group].replace(':', '.')}"
    if missing := sorted(getattr(made, "__abstractmethods__", ())):
        return f"its class lacks {', '.join(missing)}"
    if not NAME.fullmatch(plugin.name):
        return f"{plugin.name!r} cannot be a name: letters, digits, dots, dashes, and a letter first"
    own = getattr(made, "name", plugin.name)
    return "" if own == plugin.name else f"its class is called {own!r}, and its entry point {plugin.name!r}"


def wrong_pattern(pattern: Any) -> str:
    """What is wrong with a pattern."""
    try:
        re.compile(pattern)
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        return f"its pattern is no regular expression: {error}"
    return "" if isinstance(pattern, str) else "its pattern is no text"


def needed_by(pattern: str) -> str:
    """The longest text that stands in whatever a pattern matches; empty if nobody can tell."""
    try:
        parser = import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
        parsed = parser.parse(pattern)
        return "" if parsed.state.flags & re.IGNORECASE else max(literals(parsed), key=len, default="")
    except Exception:  # it is no public part of Python, and saves time only
        return ""


def literals(parsed: Any) -> Iterator[str]:
    """The texts that a parsed pattern cannot do without."""
    run = ""
    for kind, told in parsed:
        if str(kind) == "LITERAL":
            run += chr(told)
            continue
        yield run
        run = ""
        if str(kind) == "SUBPATTERN" and not told[1]:  # without flags of its own
            yield from literals(told[3])
        elif str(kind) in ("MAX_REPEAT", "MIN_REPEAT") and told[0] > 0:
            yield from literals(told[2])
    yield run


def source_of(module: str) -> str:
    """The file that a module is, or would be, loaded from; it tells of changes that no installer has made."""
    from importlib.util import find_spec

    try:
        found = sys.modules[module].__file__ if module in sys.modules else getattr(find_spec(module), "origin", "")
    except BaseException:
        return ""
    return found if found and os.path.isabs(found) else ""
