"""The workers of a queue in tmux: as many sessions as there are slots, each with a worker that shows what it runs.

A session's worker takes the next ready job whenever it is free, as any worker does, so that there are no ranks and
nothing is polled for.  Sessions end with their worker; a job does not end with its session, see keeper.py.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time

from qrec.config import Config, replace_file
from qrec.errors import CouldNotStart
from qrec.output import listed, make_private
from qrec.pane import GOING, GOING_LOOK, OF_PANE, TRIES, as_letters, take_back, words_for
from qrec.process import entry, own_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from qrec.jobs import Jobs

PATIENCE = 30.0  #: seconds that a session's worker has to begin
#: What the process in a session becomes; see pane.py.
PROGRAM = entry("qrec.sessions")
COMING = ".coming"  #: the end of the name of a file that is there until a session's worker works
CHECK = 0.5  #: seconds between two looks at sessions whose worker is still to come
KEEP = "keep"  #: a session in which a job has failed stays


def start(
    queue: Jobs, size: int, *, chosen: Mapping[str, Any], on_fail: str = "", fail_fast: bool = False, keep: bool = False
) -> list[str]:
    """Start sessions with a worker each; return their names when all work.  Raises CouldNotStart."""
    entries = {}
    for number in range(size):
        name = session_name(queue.name, number)
        path = entries[name] = os.path.join(queue.door.home, "incoming", f"{name}-{os.getpid()}.pane")
        how = {"on_fail": on_fail, "fail_fast": fail_fast, "keep": keep}
        leave_entry(path, queue, {"chosen": {**chosen, "workers": 1}, "slot": number, **how})
        open_session(queue.door.home, name, path)
    wait_for(queue.door.home, entries)
    return list(entries)


def open_session(home: str, name: str, path: str) -> None:
    """Start a session with a worker, in the place of a dead pane that was kept.  Raises CouldNotStart.

    A server whose last session has just ended is about to go, and takes no other.
    """
    for left in range(TRIES, 0, -1):
        call(home, "kill-session", "-t", f"={name}")
        done = call(home, "new-session", "-d", "-s", name, *words_for(path))
        if not done:
            return
        if left > 1 and GOING.search(done):
            time.sleep(GOING_LOOK)
            continue
        take_back(path)
        take_back(path + COMING)
        raise CouldNotStart(f"tmux: {done}")


def wait_for(home: str, entries: Mapping[str, str]) -> None:
    """Wait until the workers of sessions have begun; one that went with its server before is started once more."""
    deadline, next_look = time.monotonic() + PATIENCE, time.monotonic() + CHECK
    coming, again = dict(entries), set(entries)
    while coming and time.monotonic() < deadline:
        time.sleep(0.01)
        coming = {name: path for name, path in coming.items() if os.path.exists(path + COMING)}
        if time.monotonic() < next_look:
            continue
        next_look = time.monotonic() + CHECK
        for name, path in list(coming.items()):
            if not call(home, "has-session", "-t", f"={name}") or not os.path.exists(path + COMING):
                continue
            if name in again and os.path.exists(path):  # nothing of it was begun
                again.discard(name)
                open_session(home, name, path)
            else:
                take_back(path + COMING)
    for path in coming.values():  # where a worker could not begin
        take_back(path + COMING)


def is_coming(queue: Jobs) -> bool:
    """Whether the worker of a session has yet to begin: it may take the place of the only one there was."""
    pattern = re.compile(re.escape(session_name(queue.name, 0)[:-1]) + r"\d+-\d+\.pane" + re.escape(COMING))
    folder = os.path.join(queue.door.home, "incoming")
    return any(is_young(os.path.join(folder, name)) for name in listed(folder) if pattern.fullmatch(name))


def is_young(path: str) -> bool:
    """Whether whoever has left that file is still waited for."""
    try:
        return time.time() - os.stat(path).st_mtime < PATIENCE
    except FileNotFoundError:
        return False


def session_name(queue: str, number: int) -> str:
    """The session of one slot; tmux allows neither dots nor colons, and blanks are a nuisance."""
    plain = re.sub(r"[^\w-]", "_", queue)[:40]
    import zlib

    mark = "" if plain == queue else f"-{zlib.crc32(queue.encode('utf-8', 'surrogateescape')):08x}"
    return f"qrec-{plain}{mark}-{number}"


def sessions(queue: Jobs) -> list[str]:
    """The sessions of a queue that are there, dead panes included."""
    stem = session_name(queue.name, 0)[:-1]
    from libtmux import Server

    try:
        lines = server(queue.door.home, Server).cmd("list-sessions", "-F", "#{session_name}").stdout
    except Exception:  # no tmux, or no server: then there is none
        return []
    return [line for line in lines if line.startswith(stem) and line[len(stem) :].isdigit()]


def end(queue: Jobs) -> list[str]:
    """End the sessions of a queue; its running jobs go on.  Returns their names."""
    names = sessions(queue)
    for name in names:
        call(queue.door.home, "kill-session", "-t", f"={name}")
    return names


def server(home: str, kind: Any) -> Any:
    """The tmux server that is set: `tmux_socket` is a name or a path."""
    socket = Config(home).get("tmux_socket")
    if not socket:
        return kind()
    return kind(socket_path=socket) if "/" in socket else kind(socket_name=socket)


def call(home: str, *words: str) -> str:
    """Call tmux; what it complains of, or nothing."""
    from libtmux import Server
    from libtmux.exc import LibTmuxException

    try:
        done = server(home, Server).cmd(*words)
    except LibTmuxException as error:
        return f"{type(error).__name__} {error}".strip()
    return "; ".join(done.stderr)


def leave_entry(path: str, queue: Jobs, how: Mapping[str, Any]) -> None:
    """Write down for a pane what it is to do: it sees the environment and folder that we see."""
    environment = {as_letters(name): as_letters(value) for name, value in own_environment().items()}
    entry = {
        "environment": environment, "of_pane": OF_PANE, "program": PROGRAM, "folder": os.getcwd(),
        "home": queue.door.home, "store": queue.store.place, "queue": queue.name,
        "coming": path + COMING, **how,
    }  # fmt: skip
    make_private(os.path.dirname(path))
    replace_file(path + COMING, b"")
    replace_file(path, json.dumps(entry, default=list).encode())


def main() -> None:
    """Work in a pane; what is to be done is in the file with that number."""
    with open(int(sys.argv[1]), encoding="utf-8") as file:
        entry = json.load(file)
    os.chdir(entry["folder"])
    from qrec.api import Qrec
    from qrec.presence import Presence
    from qrec.task import Status
    from qrec.worker import Worker

    failed = False

    def told(task: Any) -> None:
        nonlocal failed
        failed = failed or task.status in (Status.FAILED, Status.LOST)
        print(f"\033[1m[{task.name or task.number}][{task.status}]\033[0m {task.command}", flush=True)

    door = Qrec(entry["home"], entry["store"])
    worker = Worker(
        door, entry["queue"], chosen=entry["chosen"], fail_fast=entry["fail_fast"], keep=entry["keep"], show=True,
        slot=entry["slot"], told=told,
    )  # fmt: skip
    with Presence(worker):
        os.unlink(entry["coming"])
        worker.run()
    for complaint in door.complaints:
        print(f"qrec: {complaint}", flush=True)
    if failed and entry["on_fail"] == KEEP:
        call(entry["home"], "set-option", "-p", "-t", os.environ["TMUX_PANE"], "remain-on-exit", "on")
    os._exit(0)
