"""What a call of ssh asks for: read as ssh itself reads its words."""

from __future__ import annotations

import re
import shlex

from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FLAGS = "46AaCfGgKkMNnqsTtVvXxYy"
VALUED = "BbcDEeFIiJLlmOopQRSWw"
#: Options that say how the machine is reached; the others say what is done there.
REACHING = frozenset("46FiIJlopcmbBSkKaAC")

WORD = r"""(?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+"""
OPTION = rf"\s+-[{FLAGS}]*(?:[{VALUED}]\s*{WORD}|[{FLAGS}])"
#: A call with a command for the other machine; to log in there is to open a shell, and the shell's business.
PATTERN = rf"^(\S*/)?ssh({OPTION})*\s+(--\s+)?(?!-){WORD}({OPTION})*\s+(--\s+)?(?!-)\S"


class Call(Record):
    """A call with a command."""

    program: str
    options: tuple[tuple[str, str | None], ...]  #: each letter with its value
    host: str
    command: tuple[str, ...]

    @property
    def place(self) -> dict[str, str | int]:
        """The user, the host and the port, as far as they were said."""
        found = re.fullmatch(r"(?:ssh://)?(?:(?P<user>.*)@)?(?P<host>[^@]*?)(?::(?P<port>\d+))?", self.host)
        is_address = self.host.startswith("ssh://")
        host = self.host.rpartition("@")[2] if found is None or not is_address else found["host"]
        user = self.value("l") or self.host.removeprefix("ssh://").rpartition("@")[0]
        port = self.value("p") or (found["port"] if found is not None and is_address else None)
        told: dict[str, str | int] = {"host": host}
        if user:
            told["user"] = user
        if port and port.isdecimal():
            told["port"] = int(port)
        return told

    def value(self, letter: str) -> str | None:
        """What an option was given first, which is what counts for ssh."""
        return next((value for one, value in self.options if one == letter), None)

    def again(self, *words: str) -> tuple[str, ...]:
        """The words of a call that reaches the same machine with other words, without asking anybody anything."""
        kept = [word for letter, value in self.options if letter in REACHING for word in (f"-{letter}", value) if word]
        quiet = "BatchMode=yes ClearAllForwardings=yes RemoteCommand=none RequestTTY=no"
        return (self.program, *(f"-o{one}" for one in quiet.split()), *kept, *words)


def call_of(words: Sequence[str]) -> Call | None:
    """What the words of a call ask for; None if there is no command among them."""
    rest, host = list(words[1:]), ""
    options: list[tuple[str, str | None]] = []
    while rest and (not host or (rest[0].startswith("-") and rest[0] != "-")):
        word = rest.pop(0)
        if word == "--":
            if host:
                break
            host = rest.pop(0) if rest else ""
        elif word.startswith("-") and word != "-":
            options += letters(word, rest)
        else:
            host = word
    if not host or not rest:
        return None
    return Call(program=words[0], options=tuple(options), host=host, command=tuple(rest))


def letters(word: str, rest: list[str]) -> Iterator[tuple[str, str | None]]:
    """The options of one word; a value that is not in it is taken from those behind."""
    for place, letter in enumerate(word[1:], 2):
        if letter in VALUED:
            yield letter, word[place:] or (rest.pop(0) if rest else None)
            return
        yield letter, None


def words_of_line(line: str) -> list[str]:
    """The words of a line for the shell, as far as they can be told apart without one."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()
