"""Groups of verbs: help that fits a screen, files that are imported when used, and words that are nearly right."""

from __future__ import annotations

import re
import sys
from importlib import import_module

import click

from qrec.errors import WrongUsage, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    #: Headings, each with its verbs: the name, the file that it is written in, and what it does in a few words.
    Shelves = Mapping[str, Mapping[str, tuple[str, str]]]

HEADING, NAME = 6, 11  #: columns that they have in a help text
NARROW = 76  #: columns below which verbs stand in one row, not in two side by side


WORD = re.compile(r"""\s*(?:'[^']*'|"[^"]*"|\S)+""")


class WithExamples(click.Command):
    """What ends its help with examples, as `examples` makes them."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """In a terminal one that is too long goes on in the next line, and can be copied still."""
        formatter.write_paragraph()
        for line in (self.epilog or "").splitlines()[1:]:
            for part in folded(f"  {line}", formatter.width) if sys.stdout.isatty() else [f"  {line}"]:
                formatter.write(f"{part}\n")


def folded(line: str, room: int) -> Iterator[str]:
    """A command in lines that fit, as a shell reads them; nothing in quotes is broken."""
    begun, *words = WORD.findall(line)
    for word in words:
        if len(begun + word) > room - 2:
            yield f"{begun} \\"
            begun = " " * 5 + word
        else:
            begun += word
    yield begun


class Verb(WithExamples):
    """A verb whose errors tell of its own help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click, which does not say everywhere whose words were wrong."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise


class Group(WithExamples, click.Group):
    """Verbs under a verb; a wrong one is answered with the nearest."""

    command_class = Verb

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click; a wrong word is our error."""
        if not ctx.resilient_parsing and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise WrongUsage(self.unknown(ctx, args))
        return super().resolve_command(ctx, args)

    def unknown(self, ctx: click.Context, args: Sequence[str]) -> str:
        """What to say of a word that is no verb."""
        path = ctx.command_path
        near = nearest(args[0], self.list_commands(ctx))
        verb = f"{path.removeprefix('qrec').strip()} {args[0]}".strip()
        return f"no verb {verb!r}; " + (f"did you mean `{path} {near}`?" if near else f"`{path} --help` lists them")


class Shelved(Group):
    """Verbs by purpose; the file of one is imported when somebody uses it, and not for the list of all."""

    def __init__(self, *words: Any, shelves: Shelves, prefix: str = "", **settings: Any) -> None:
        super().__init__(*words, **settings)
        self.shelves = shelves
        self.prefix = prefix  #: of their functions' names
        self.places = {name: module for verbs in shelves.values() for name, (module, _) in verbs.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """By purpose."""
        return list(self.places)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb of that name; its function has an underscore behind it where the name is a word of Python."""
        if name not in self.places:
            return None
        module = import_module(f"qrec.cli.{self.places[name]}")
        found: click.Command = getattr(module, f"{self.prefix}{name}", None) or getattr(module, f"{name}_")
        return found

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs, then the options."""
        self.format_verbs(formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_verbs(self, formatter: click.HelpFormatter) -> None:
        """The verbs, in two columns where there is room."""
        formatter.write_paragraph()
        for line in self.lines(formatter.width):
            formatter.write(f"{line}\n")

    def lines(self, width: int) -> Iterator[str]:
        """The verbs under their headings, in so many columns of text."""
        shelves = [shelf(heading, verbs) for heading, verbs in self.shelves.items()]
        if width < NARROW:
            yield from (line for lines in shelves for line in lines)
            return
        left, right = halves(shelves)
        room = width // 2 + 1
        for number, line in enumerate(left):
            yield f"{line:<{room}}{right[number] if number < len(right) else ''}".rstrip()
        yield from (" " * room + line for line in right[len(left) :])


def shelf(heading: str, verbs: Mapping[str, tuple[str, str]]) -> list[str]:
    """A line each for the verbs of one purpose, the first of which has the heading."""
    headings = (heading, *[""] * len(verbs))
    return [
        f"{first:<{HEADING}}{name:<{NAME}}{told}"
        for first, (name, (_, told)) in zip(headings, verbs.items(), strict=False)
    ]


def halves(shelves: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """The lines of two columns: the second begins with the heading at which the first is half of all or more."""
    half = sum(map(len, shelves)) / 2
    left: list[str] = []
    right: list[str] = []
    for lines in shelves:
        (left if len(left) < half else right).extend(lines)
    return left, right


def options_in_short(words: str, width: int) -> str:
    """Options under a heading of their own, as if they were verbs."""
    from click.formatting import wrap_text

    return wrap_text(" ".join(words.split()), width, f"{'Opts':<{HEADING}}", " " * HEADING) + "\n"


class OneOf(click.Choice[str]):
    """A word out of a few; a wrong one is answered with the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See click; a wrong word is our error."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            near = nearest(str(value), self.choices)
            known = ", ".join(self.choices)
            where = f"{param.opts[0]}: " if isinstance(param, click.Option) else ""
            meant = f"; did you mean {near!r}?" if near else ""
            raise WrongUsage(f"{where}{value!r} is none of {known}{meant}") from None
