"""The blocks of code of a page in Markdown, and what the page says of how each is to be tried.

Behind the language of a block may stand `norun REASON`, `slurm` (it takes a cluster), `output` (what the block before
printed), or the name of the file that it is.  Comments tell what a reader need not see: `<!-- run`, lines for bash,
`-->` is done before what follows; `<!-- power cut -->` is what it says; `<!-- own environment -->` is one of Python,
into which the page may install things.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+)(?P<language>[\w+-]*)[ ]*(?P<words>[^\n]*)\n(?P<text>.*?)^ *(?P=fence)[ ]*$"
    r"|^<!-- run\n(?P<hidden>.*?)^-->$"
    r"|^<!-- (?P<event>power cut|own environment) -->$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One block; `line` is where its text begins."""

    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def is_shown(self) -> bool:
        """Whether a reader of the page sees it."""
        return self.language not in ("hidden", "power_cut", "own_environment")

    @property
    def reason(self) -> str:
        """Why it is not run; empty if it is."""
        return " ".join(self.words[1:]) if self.words[:1] == ("norun",) else ""

    @property
    def file(self) -> str:
        """The name of the file that it is, if it says so."""
        return next((word for word in self.words if "." in word or "/" in word), "") if not self.reason else ""


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    return [made(text, found) for found in FENCE.finditer(text)]


def made(text: str, found: re.Match[str]) -> Block:
    if found["event"]:
        return Block(1 + text.count("\n", 0, found.start()), found["event"].replace(" ", "_"), (), "")
    if found["hidden"] is not None:
        return Block(1 + text.count("\n", 0, found.start("hidden")), "hidden", (), found["hidden"])
    line = 1 + text.count("\n", 0, found.start("text"))
    return Block(line, found["language"], tuple(found["words"].split()), textwrap.dedent(found["text"]))


class Step(NamedTuple):
    """A command in a block of what was typed and what came of it."""

    line: int
    command: str
    output: str = ""  #: what came of it
    is_interrupted: bool = False  #: whether it goes on until Ctrl-C
    rest: str = ""  #: what came then


def steps_of(block: Block) -> list[Step]:
    """What is typed stands behind `$ `, and goes on behind `> `; `^C` in the output is Ctrl-C."""
    steps: list[Step] = []
    for place, line in enumerate(block.text.splitlines()):
        if line.startswith("$ "):
            steps.append(Step(block.line + place, line[2:]))
        else:
            assert steps, f"line {block.line + place}: output before a command"
            steps[-1] = grown(steps[-1], line)
    return steps


def grown(step: Step, line: str) -> Step:
    """The step with one line more."""
    if line.startswith("> ") and not step.output:
        return step._replace(command=f"{step.command}\n{line[2:]}")
    if line.startswith("^C"):
        return step._replace(is_interrupted=True, rest=f"{line[2:]}\n" if line[2:] else "")
    if step.is_interrupted:
        return step._replace(rest=f"{step.rest}{line}\n")
    return step._replace(output=f"{step.output}{line}\n")
