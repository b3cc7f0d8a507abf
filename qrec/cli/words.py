"""The options of `qrec` and `qrec run`, declared once as data; a small reader for the path that must be fast.

click reads every call that the reader passes up, wrong ones and requests for help included.  A test feeds both.
"""

from __future__ import annotations

from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class Flag(Record):
    """An option of the command line."""

    names: tuple[str, ...]  #: `-m`, `--message`
    help: str
    metavar: str = ""  #: what its value is called; empty for a switch
    many: bool = False  #: whether it may be given again and again

    @property
    def key(self) -> str:
        """Its name in Python."""
        return self.names[-1].lstrip("-").replace("-", "_")

    @property
    def default(self) -> Any:
        """What it is when it is not given."""
        return () if self.many else None if self.metavar else False


HOME = Flag(names=("--home",), metavar="DIR", help="The folder that holds everything (QREC_HOME).")
STORE = Flag(names=("--store",), metavar="NAME|URL", help="Where records are kept (QREC_STORE).")
MESSAGE = Flag(names=("-m", "--message"), metavar="TEXT", help="A note that is kept with the task.")
QUIET = Flag(names=("-q", "--quiet"), help="No closing line.")
JSON = Flag(names=("--json",), help="Print JSON.")
YES = Flag(names=("-y", "--yes"), help="Ask nothing.")
REVEAL = Flag(names=("--reveal",), help="Show output with the secrets in it.")
DEBUG = Flag(names=("--debug",), help="Show where an error comes from.")
TAG = Flag(names=("-t", "--tag"), metavar="TAG", many=True, help="A tag; may be given again.")
CWD = Flag(names=("--cwd",), metavar="DIR", help="Run in this folder.")
TIMEOUT = Flag(names=("--timeout",), metavar="TIME", help="End the command after 90s, 10m, 1h30m ...")
PATIENCE = TIMEOUT.copy(help="Wait no longer than 90s, 10m, 1h30m ...; what runs goes on.")
EXECUTOR = Flag(
    names=("-e", "--executor"), metavar="NAME", help="Run by this executor, whatever the command looks like."
)

PTY = Flag(names=("--pty",), help="Its stdout and stderr are terminals, whatever ours are.")
NO_PTY = Flag(names=("--no-pty",), help="Its stdout and stderr are pipes, whatever ours are.")
ONE_STREAM = Flag(names=("--one-stream",), help="One terminal for all its streams, with a session of its own.")

DETACH = Flag(names=("-d", "--detach"), help="Let it outlive the terminal; print its uid and return.")
REDACT = Flag(names=("--redact-output",), help="Take secrets out of the recorded output before it is written.")

NOTIFY = Flag(names=("--notify",), help="Tell of its end, on the desktop or as the setting `notify` says.")

SOCKET = Flag(names=("--socket",), metavar="NAME|PATH", help="tmux's server, for `-e tmux`; else that of the settings.")

ALWAYS = (HOME, STORE, MESSAGE, QUIET, JSON, YES, REVEAL, DEBUG)
TERMS = (TIMEOUT, DETACH, NOTIFY, PTY, NO_PTY, ONE_STREAM, REDACT, SOCKET)
RUN = (MESSAGE, TAG, CWD, EXECUTOR, *TERMS, QUIET, JSON)


class NotPlain(Exception):
    """The words need click's full reading."""


def read_run(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The options and the command of a plain `qrec [OPTIONS] run [OPTIONS] COMMAND...`.

    Raises NotPlain for everything else.
    """
    options, rest = read_options(list(words), ALWAYS)
    if not rest or rest[0] != "run":
        raise NotPlain
    own, command = read_options(rest[1:], RUN)
    if not command:
        raise NotPlain
    return merge(options, own), command


def read_options(words: list[str], flags: Sequence[Flag]) -> tuple[dict[str, Any], list[str]]:
    """The options at the head of the words, up to the first other word or past a `--`; and what follows."""
    known = {name: flag for flag in flags for name in flag.names}
    values = {flag.key: flag.default for flag in flags}
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        flag = known.get(name)
        if flag is None or (equals and not flag.metavar) or (flag.metavar and not equals and not words):
            raise NotPlain
        if not flag.metavar:
            values[flag.key] = True
            continue
        value = value if equals else words.pop(0)
        values[flag.key] = (*values[flag.key], value) if flag.many else value
    return values, words


def merge(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Options given before the verb and after it; what stands later wins."""
    return {**before, **{key: value for key, value in after.items() if key not in before or value not in (None, False)}}
