"""Every history that comes in: by which name, from where if nobody says, and what reads it."""

from __future__ import annotations

import os
import time

from qrec.doors.past import Past
from qrec.errors import WrongUsage
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qrec.doors.intake import Arrival
    from qrec.redact import Redactor
    from qrec.stores.base import Store

#: The files of lines, which may come through stdin as well; the others are read by their path.
BY_LINE = frozenset("jsonl bash zsh fish parallel-joblog sacct".split())
#: What comes from where commands were typed; the rest ran as it runs with us.
TYPED = frozenset("bash zsh fish atuin".split())
#: What a history is for, in the order of `--help`.
SOURCES = {
    "jsonl": "what `qrec export jsonl` wrote, or `qrec get`, or QueueMe",
    "qme": "a home of QueueMe (~/.qme)",
    "bash": "the history of bash (~/.bash_history)",
    "zsh": "of zsh (~/.zsh_history), with EXTENDED_HISTORY or without",
    "fish": "of fish (~/.local/share/fish/fish_history)",
    "atuin": "of atuin: its history.db",
    "duct": "what con-duct recorded: a folder (.duct/logs), a prefix, or one info.json",
    "parallel-joblog": "what GNU parallel wrote with --joblog, and with --results",
    "sacct": "your jobs that Slurm accounts for, or a file of `sacct --parsable2`",
}


class Given(Record):
    """What to import, and how."""

    form: str  #: one of SOURCES
    path: str | None  #: `-` is stdin; None: there is none, the program is asked
    redactor: Redactor
    store: Store
    user: str
    host: str = ""  #: where it is from, if it does not tell
    results: str | None = None  #: the folder of `parallel --results`
    since: float | None = None  #: what began before is not wanted

    @property
    def is_by_line(self) -> bool:
        """Whether it is a file of lines."""
        return self.form in BY_LINE and self.path is not None


def place_of(form: str, path: str | None) -> str | None:
    """Where to read: as it is named, or the usual place; None: the program is asked.  WrongUsage if there is none."""
    if path is not None or form == "sacct":
        return path
    if form == "atuin":
        from qrec.doors.atuin import usual

        return usual()
    if form == "duct":
        from qrec.doors.duct import USUAL

        return USUAL
    if not (places := usual_places(form)):
        raise WrongUsage(f"name the file: `qrec import {form} FILE`; `-` is stdin")
    paths = [os.path.expanduser(place) for place in places]
    return next((one for one in paths if os.path.exists(one)), paths[0])


def usual_places(form: str) -> list[str]:
    """Where a history may be, the likeliest first."""
    own = os.environ.get("HISTFILE", "")
    mine = [own] if own and os.path.basename(os.environ.get("SHELL", "")) == form else []
    zsh = os.environ.get("ZDOTDIR") or "~"
    places = {
        "qme": ["~/.qme"],
        "bash": [*mine, "~/.bash_history"],
        "zsh": [*mine, f"{zsh}/.zsh_history", f"{zsh}/.zhistory", f"{zsh}/.histfile"],
        "fish": [f"{os.environ.get('XDG_DATA_HOME') or '~/.local/share'}/fish/fish_history"],
    }
    return places.get(form, [])


def arrivals(given: Given, lines: Iterable[bytes] | None) -> Iterator[Arrival]:
    """What comes in; `lines` are those of the file, where it has lines."""
    if given.form == "jsonl":
        from qrec.doors import jsonl

        return jsonl.arrivals(lines or ())
    if given.form == "qme":
        from qrec.doors import qme

        return iter(qme.arrivals(given.path or ""))
    return of_others(given, past_of(given), lines)


def of_others(given: Given, past: Past, lines: Iterable[bytes] | None) -> Iterator[Arrival]:
    """What other programs remember."""
    path = given.path or ""
    if given.form == "sacct":
        from qrec.doors import accounts

        return accounts.arrivals(lines, past, given.store, given.since)
    if given.form == "parallel-joblog":
        from qrec.doors import joblog

        return joblog.arrivals(lines or (), past, given.results)
    if given.form == "atuin":
        from qrec.doors import atuin

        return atuin.arrivals(path, past)
    if given.form == "duct":
        from qrec.doors import duct

        return duct.arrivals(path, past)
    from qrec.doors.shells import READERS

    return past.arrivals(READERS[given.form](lines or ()))


def past_of(given: Given) -> Past:
    """What makes tasks of it."""
    form = given.form
    executor = "typed" if form in TYPED else "slurm" if form == "sacct" else "shell"
    shell = form if form in ("bash", "zsh", "fish") else "/bin/sh"
    if form in ("atuin", "parallel-joblog"):  # it runs what is typed for the user's shell
        shell = os.environ.get("SHELL") or shell
    return Past(form, executor, shell, given.redactor, last_change(given.path), given.user, given.host)


def last_change(path: str | None) -> float:
    """When a file was written last; now, if there is none."""
    try:
        return os.stat(path or "-").st_mtime
    except OSError:
        return time.time()


def within(arrivals: Iterable[Arrival], since: str | None, until: str | None) -> Iterator[Arrival]:
    """What began in that time; what cannot be read may have."""
    for arrival in arrivals:
        created = arrival.bundle.task.created if arrival.bundle else None
        if created is None or ((since is None or created >= since) and (until is None or created < until)):
            yield arrival
