"""Output as it is shown: what looks like a secret is covered, byte for byte, so that every offset stays what it was."""

from __future__ import annotations

import re

from qrec.redact import FOLDED, UTF8, line_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qrec.output import Output
    from qrec.redact import Redactor

CONTEXT = 8192  #: bytes on both sides of what is read that are looked at, too: a secret may reach into it
ARMOR = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(.{1,16000}?)(?:-----END|\Z)", re.DOTALL)


class Masked:
    """An output without its secrets; the same verbs as the output itself."""

    def __init__(self, output: Output, redactor: Redactor) -> None:
        self.output = output
        self.redactor = redactor

    def size(self, stream: str) -> int:
        """How many bytes the stream has."""
        return self.output.size(stream)

    def read(self, stream: str, start: int = 0, size: int | None = None) -> bytes:
        """Bytes of a stream from `start`, secrets covered by asterisks."""
        before = min(start, CONTEXT)
        block = self.output.read(stream, start - before, None if size is None else before + size + CONTEXT)
        return masked(block, self.redactor)[before : None if size is None else before + size]

    def timing(self) -> bytes:
        """The index as it was written."""
        return self.output.timing()

    def extras(self) -> dict[str, bytes]:
        """What else was recorded, by name."""
        return {name: masked(content, self.redactor) for name, content in self.output.extras().items()}


def masked(block: bytes, redactor: Redactor) -> bytes:
    """The block with every secret covered; as long as it was."""
    folded = block.translate(FOLDED)
    covered = bytearray(block)
    for start, rules in redactor.lines(folded).items():
        line = block[start : line_end(folded, start)].decode(*UTF8)
        for rule in redactor.rules(rules):
            for _, first, last in rule.spans(line):
                cover(covered, *(start + len(line[:place].encode(*UTF8)) for place in (first, last)))
    for match in ARMOR.finditer(block) if b"PRIVATE KEY" in block else ():
        for body in re.finditer(rb"[A-Za-z0-9+/=]{4,}", match[1]):
            cover(covered, match.start(1) + body.start(), match.start(1) + body.end())
    return bytes(covered)


def cover(block: bytearray, start: int, end: int) -> None:
    """Put asterisks in the place of some bytes."""
    block[start:end] = b"*" * (end - start)


def masked_text(text: str, redactor: Redactor) -> str:
    """The same of a text."""
    return masked(text.encode(*UTF8), redactor).decode(*UTF8)
