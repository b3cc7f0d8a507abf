"""The recorder inside a pane of tmux, and how it is told what to run.

A pane gets the environment that tmux's server had at its first start, and its command line may be read by everybody.
So all that matters comes in a private file, removed as soon as it is read: whoever removes it has it, and a start that
was given up cannot happen later.  The pane's process first takes on the environment in that file, and becomes a
recorder then, which does what `qrec run` does in a terminal.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time

from qrec.config import replace_file
from qrec.output import listed, make_private
from qrec.process import entry, own_environment, own_umask
from qrec.task import Record, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from qrec.observer import Request
    from qrec.recorder import Terms

#: How tmux says that its server has gone in the meantime.
GOING = re.compile("^(qrec: tmux: )?(server exited|lost server|no server running|error connecting)")
GOING_LOOK = 0.1  #: seconds until it is asked again
TRIES = 20  #: times that it is asked
NEVER = 3600.0  #: seconds after which no pane will come for what was written for it
#: The variables that tell of the pane, and so are the pane's.
OF_PANE = ("TERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "COLORTERM", "TMUX", "TMUX_PANE")

#: What a pane executes first: it takes the file and the environment in it.  Bytes stand in it as Latin-1 letters,
#: since the locale here may be another.
ENTER = """\
import json, os, sys
path = sys.argv[1]
try:
    file = os.open(path, os.O_RDONLY)
    os.unlink(path)
except FileNotFoundError:
    sys.exit(125)
os.set_inheritable(file, True)
given = json.load(open(file, closefd=False, encoding="utf-8"))
os.lseek(file, 0, os.SEEK_SET)
env = {name.encode("latin-1"): value.encode("latin-1") for name, value in given["environment"].items()}
for name in given["of_pane"]:
    env.pop(name.encode(), None)
    if name in os.environ:
        env[name.encode()] = os.fsencode(os.environ[name])
words = [sys.executable, "-c", given["program"], str(file), os.environ.get("SHELL", "")]
os.execve(sys.executable, words, env)
"""

#: What that becomes.
PROGRAM = entry("qrec.pane")


class Entry(Record):
    """What a recorder in a pane is told, beside the request that an observer gets, too."""

    request: Mapping[str, Any]
    environment: Mapping[str, str]
    of_pane: Sequence[str]  #: variables that the pane has of its own
    program: str = PROGRAM
    folder: str  #: where it goes first, as whoever typed the command was there; empty: it stays
    umask: str
    limits: Mapping[str, tuple[int, int]]  #: of resources, soft and hard, by their names in `resource`
    in_shell: bool  #: whether there is one word, a line for the shell of tmux
    pty: bool | None
    one_stream: bool
    redact: bool  #: whether secrets are taken out of the output
    own: bool  #: whether the session is there for nothing else


def entry_path(home: str, uid: str) -> str:
    """The file that tells a pane what to run."""
    return os.path.join(home, "incoming", f"{uid}.pane")


def words_for(path: str) -> tuple[str, ...]:
    """The command of a pane; several words, so tmux executes them without a shell."""
    return (sys.executable, "-I", "-S", "-c", ENTER, path)


def leave_entry(
    path: str, request: Request, terms: Terms, in_shell: bool, folder: str, variables: Iterable[str], own: bool
) -> None:  # fmt: skip
    """Write down what a pane is to do; `variables` are those that tmux has set for it.  Raises OSError."""
    environment = {as_letters(name): as_letters(value) for name, value in own_environment().items()}
    entry = Entry(
        request=request.asdict(), environment=environment, of_pane=(*OF_PANE, *variables), folder=folder,
        umask=own_umask(), limits=own_limits(), in_shell=in_shell, pty=terms.pty, one_stream=terms.one_stream,
        redact=terms.redactor is not None, own=own,
    )  # fmt: skip
    make_private(os.path.dirname(path))
    remove_left(os.path.dirname(path))
    replace_file(path, json.dumps(entry.asdict(), default=dict).encode())


def remove_left(folder: str) -> None:
    """Remove what was written for panes that never came, by calls that were killed: environments may hold secrets."""
    for path in (os.path.join(folder, name) for name in listed(folder) if name.endswith(".pane")):
        try:
            if time.time() - os.stat(path).st_mtime > NEVER:
                os.unlink(path)
        except OSError:
            pass  # somebody was quicker


def as_letters(word: str) -> str:
    """The bytes of a variable as Latin-1 letters."""
    return os.fsencode(word).decode("latin-1")


def take_back(path: str) -> bool:
    """Remove what a pane was to do; False if it has it already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def main() -> None:
    """Do what is asked in the file with that number; end as the command did."""
    with open(int(sys.argv[1]), encoding="utf-8") as file:
        entry = Entry(**json.load(file))
    task = record(entry, sys.argv[2] or "/bin/sh")
    if entry.own:
        send_back(task.data["tmux"]["socket"], task.data["tmux"]["pane"])
    os._exit(task.returncode or 0)


def record(entry: Entry, shell: str) -> Task:
    """Run and record the command."""
    from qrec.observer import Request, recorder_of
    from qrec.recorder import Terms

    request = Request(**entry.request)
    os.umask(int(entry.umask, 8))
    take_limits(entry.limits)
    task = settled_in(Task.from_plain(request.task), entry.folder)
    recorder = recorder_of(request)
    words = (shell, "-c", request.words[0]) if entry.in_shell else tuple(request.words)
    terms = Terms(
        timeout=request.timeout, take_signals=True, pty=entry.pty, one_stream=entry.one_stream,
        redactor=recorder.redactor if entry.redact else None,
    )  # fmt: skip
    return recorder.record(task, words, terms, request.known)


def own_limits() -> dict[str, tuple[int, int]]:
    """Our limits of resources, as `ulimit` tells them."""
    import resource

    names = (name for name in dir(resource) if name.startswith("RLIMIT_"))
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def take_limits(limits: Mapping[str, Sequence[int]]) -> None:
    """Have these limits, or what comes nearest: nobody but root may raise a hard one."""
    import resource

    for number, (soft, hard) in ((getattr(resource, name), pair) for name, pair in limits.items()):
        try:
            resource.setrlimit(number, (soft, hard))
        except (ValueError, OSError):
            most = resource.getrlimit(number)[1]
            fits = soft <= most and soft != resource.RLIM_INFINITY
            resource.setrlimit(number, (soft if fits else most, most))


def settled_in(task: Task, folder: str) -> Task:
    """Go where the command was typed, or stay where tmux was told to put it; the task with its place in tmux."""
    if folder:
        try:
            os.chdir(folder)
        except OSError:
            pass  # it was removed meanwhile; the recorder says so if it is needed
    else:
        task = task.copy(pwd=os.getcwd())
    return task.copy(data={**task.data, "tmux": whereabouts(os.environ)})


def whereabouts(environment: Mapping[str, str]) -> dict[str, str]:
    """Where in tmux we are: the pane's id, which stays, and the names of what it is in now."""
    socket, server, _ = environment["TMUX"].rsplit(",", 2)
    found = {"socket": socket, "server": server, "pane": environment["TMUX_PANE"]}
    names = told_by_tmux(
        socket, "display-message", "-p", "-t", found["pane"], "#{session_name}\n#{window_id}"
    ).splitlines()
    return {**found, **dict(zip(("session", "window"), names, strict=False))}


def send_back(socket: str, pane: str) -> None:
    """Before a pane goes, and its session with it, let those who came there from another session see that again.

    tmux would detach them, or show them whichever session.
    """
    what = "#{client_name}\t#{client_last_session}\t#{session_windows} #{window_panes} #{remain-on-exit}"
    for line in told_by_tmux(socket, "list-clients", "-t", pane, "-F", what).splitlines():
        client, before, place = line.split("\t")
        if before and place == "1 1 off":
            told_by_tmux(socket, "switch-client", "-c", client, "-t", f"={before}:")


def told_by_tmux(socket: str, *words: str) -> str:
    """What a call of tmux prints; nothing if it does not.

    Not by libtmux: to load that takes longer than all the rest of a start here.
    """
    import subprocess

    given = ["tmux", "-S", socket, *words]
    try:
        told = subprocess.run(given, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.decode("utf-8", "replace")
