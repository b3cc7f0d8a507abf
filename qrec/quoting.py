"""Any text as words of bash."""

from __future__ import annotations

import re
import shlex
from functools import lru_cache

from qrec.errors import WrongUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def words(values: Iterable[str]) -> str:
    """Words of bash that stand for exactly these texts."""
    return " ".join(map(quoted, values))


def quoted(text: str) -> str:
    """A word of bash that stands for exactly this text; lines stay lines, what cannot be seen is spelled out."""
    if not all(char.isprintable() or char in "\n\t" for char in text):
        return f"$'{''.join(map(spelled, text))}'"
    if "'" in text and not re.search(r'["$`\\!]', text):
        return f'"{text}"'  # easier to read, and nothing in it has a meaning there
    return shlex.quote(text) if "," not in text or "'" in text else f"'{text}'"  # shellcheck minds a bare comma


def spelled(char: str) -> str:
    """A character between `$'` and `'`."""
    if char in "'\\":
        return f"\\{char}"
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode(errors="surrogateescape"))


def one_line(text: str) -> str:
    """For a comment."""
    return " ".join(text.split())


# Values in a line that somebody has written

#: What has to be told apart in a line of bash to know in which quotes a name in braces stands; SPOT is such a name.
#: What is `dim` ends where it says, and has rules of its own inside; where what is `lost` ends is not certain.
BOTH = r"""
    (?P<braces>\$SPOT) | (?P<variable>\$(?:\w+|[$?!*@\#-])(?=SPOT)) | (?P<known>\$(?:\w+|[$?!*@\#-]))
    | (?P<spot>SPOT) | (?P<escaped>\\(?!SPOT|\n\#).\#*) | (?P<open>\$\((?!\())
    | (?P<dim>\\SPOT | `(?:[^`\\]|\\.)*` | \$\{[^}'"`$\\{]*\} | \$\(\([^()'"`\\\#]*\)\))
    | (?P<lost>[\\`] | \$\{ | \$\(\( | \$\[)"""
OUTSIDE = (
    r"""
    (?P<before>SPOT(?=[<>])) | (?P<single>'[^']*') | (?P<quote>\$?") | (?P<close>\)) | (?P<paren>\((?!\())
    | (?P<comment>(?:^|(?<=[\s;&|]))\#[^\n]*) | (?P<case>\bcase\b)
    | (?P<ansi>\$'(?:[^'\\]|\\.)*' | \(\([^()'"`\\\#]*\)\)) | (?P<astray>\$?' | \(\( | (?<!<)<<(?!<) | (?<=[()<>])\#)
    |"""
    + BOTH
)
DOUBLE = '(?P<end>") |' + BOTH


def filled(line: str, values: Mapping[str, str]) -> str:
    """A line of bash with values in the place of names in braces, each exactly as it is, in quotes or without.

    WrongUsage for a value that has to be quoted where it is not certain how: in backquotes, say, or a here-document.
    """
    return "".join(put(text, values, way) for way, text in parts(line, tuple(values)))


@lru_cache(8)
def parts(line: str, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """The line in parts, each with what it is; many values are put into one line."""
    spot = f"(?:{'|'.join(re.escape(f'{{{name}}}') for name in names)})"
    outside, double = (re.compile(bash.replace("SPOT", spot), re.VERBOSE | re.DOTALL) for bash in (OUTSIDE, DOUBLE))
    inside: list[str] = []  # the quotes and parentheses that are open
    found, place = [], 0
    while match := (double if inside[-1:] == ['"'] else outside).search(line, place):
        way, text = str(match.lastgroup), match[0]
        if way in ("lost", "astray") or (way in ("comment", "case") and '"' in inside):
            break  # which quote or parenthesis behind it ends what is not certain
        found += [("", line[place : match.start()]), ("text" if way == "spot" and inside[-1:] == ['"'] else way, text)]
        place = match.end()
        if way in ("quote", "paren", "open"):
            inside.append(text[-1])
        elif way == "end" or (way == "close" and inside[-1:] == ["("]):
            inside.pop()
    return [("lost", line)] if '"' in inside else [*found, ("lost", line[place:])]


def put(text: str, values: Mapping[str, str], way: str) -> str:
    """A part of a line with its values."""
    if way == "variable":
        return f'{text}""'  # else its name would be a longer one
    names = "|".join(re.escape(f"{{{name}}}") for name in values)
    return re.sub(names, lambda match: shaped(values[match[0][1:-1]], match[0], way), text)


def shaped(value: str, spot: str, way: str) -> str:
    """A value as it must stand in a part of a line."""
    if way == "spot":
        return shlex.quote(value)
    if way == "before":  # the number of a file, if it is one without quotes
        return shlex.quote(value) if shlex.quote(value) != value else f"'{value}'"
    if way == "single":
        return value.replace("'", r"'\''")
    if way == "text":
        return re.sub(r'[\\"$`]', r"\\\g<0>", value)
    if way == "braces":
        raise WrongUsage(f"${spot} is a variable of the shell; write {spot} without the dollar")
    if shlex.quote(value) != value:
        raise WrongUsage(f"it is not certain how to quote {value!r} for {spot} there; begin with f={spot} and write $f")
    return value
