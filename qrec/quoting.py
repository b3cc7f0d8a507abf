"""Any text as words of bash."""

from __future__ import annotations

import re
import shlex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


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
