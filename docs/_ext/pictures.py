"""The pictures of docs/architecture.md, drawn from the code: `python docs/_ext/pictures.py` writes them.

Whatever is written has a ground of its own, and lines are of a middling grey, so both are legible on white and black.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path

from qrec.task import FINAL, MOVES, UNFINISHED, Status

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"

WIDTH = 760
INK, PAPER, LINE, SOFT = "#1b2733", "#e8eef5", "#7a8794", "#c9d6e3"
FONT = 'font-family="ui-sans-serif, system-ui, sans-serif"'


def picture(height: int, title: str, shapes: Iterable[str]) -> str:
    """An SVG file of these shapes; the title is what a reader who cannot see it is told."""
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    marker = (
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 10 5 0 10z" fill="{LINE}"/></marker></defs>'
    )
    return "\n".join([head, f"<title>{escape(title)}</title>", marker, *shapes, "</svg>", ""])


def box(x: float, y: float, width: float, height: float, fill: str = PAPER) -> str:
    """A rectangle, named by its upper left corner."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" stroke="{LINE}"/>'


def frame(x: float, y: float, width: float, height: float) -> str:
    """A rectangle around others."""
    dashed = f'fill="none" stroke="{LINE}" stroke-dasharray="5 4"'
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="10" {dashed}/>'


def words(x: float, y: float, text: str, size: int = 14, anchor: str = "middle", fill: str = INK) -> str:
    """One line of text; `y` is its foot."""
    style = f'font-size="{size}" text-anchor="{anchor}" fill="{fill}" {FONT}'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(text)}</text>'


def label(x: float, y: float, text: str) -> str:
    """A line of small text on a ground of its own, in the middle of an arrow."""
    width = 6.4 * len(text) + 12
    return box(x - width / 2, y - 15, width, 20, SOFT) + words(x, y, text, 12)


def arrow(path: str) -> str:
    """A line with a tip."""
    return f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.6" marker-end="url(#tip)"/>'


# The house

#: What each floor is for, from the ground up.
PURPOSES = (
    "plain data",
    "one thing each, knowing nothing of the others",
    "remembering, recording, explaining",
    "where commands run; ways in and out",
    "Qrec and queues: what the CLI and your scripts hold",
    "parse, one call, print",
)


def floors() -> tuple[str, ...]:
    """The modules by floor, from the ground up, as the test that keeps imports going downward has them."""
    tree = ast.parse((ROOT / "tests" / "test_imports.py").read_text())
    (found,) = [node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS"]
    value: tuple[str, ...] = ast.literal_eval(found.value)
    return value


def house() -> str:
    """The floors of the house, the highest first; imports go downward only."""
    shapes: list[str] = []
    y = 12.0
    for purpose, names in reversed(list(zip(PURPOSES, floors(), strict=True))):
        lines = textwrap.wrap(names, 92)
        height = 34 + 19 * len(lines)
        shapes.append(box(12, y, WIDTH - 24, height))
        shapes.append(words(26, y + 21, purpose, 13, "start", "#4b5866"))
        shapes += [words(26, y + 42 + 19 * row, line, 14, "start") for row, line in enumerate(lines)]
        y += height + 8
    return picture(int(y + 4), "The modules of qrec, floor by floor: imports go downward only.", shapes)


# The states

#: Where each status stands: the unfinished ones on the left, the final ones on the right.
LEFT = (Status.QUEUED, Status.RUNNING, Status.SUBMITTED)
RIGHT = (Status.SKIPPED, Status.CANCELLED, Status.COMPLETE, Status.FAILED, Status.LOST)
BOX_WIDTH, BOX_HEIGHT = 116, 36
TOP, PITCH = 78, 62


def places() -> dict[Status, tuple[float, float]]:
    """The upper left corner of each status."""
    left = {status: (60.0, TOP + 31 + place * 93.0) for place, status in enumerate(LEFT)}
    right = {status: (500.0, TOP + place * float(PITCH)) for place, status in enumerate(RIGHT)}
    return {**left, **right}


def states() -> str:
    """The statuses, and an arrow for each move; where all final ones move alike, or to all of a side, one for all."""
    at = places()
    bottom = TOP + PITCH * (len(RIGHT) - 1) + BOX_HEIGHT
    shapes = [
        frame(44, TOP - 16, BOX_WIDTH + 32, bottom - TOP + 32),
        frame(484, TOP - 16, BOX_WIDTH + 32, bottom - TOP + 32),
    ]
    shapes += [arrow(path) for path in arrows(at)]
    shapes += [shape for status, (x, y) in at.items() for shape in state(status, x, y)]
    shapes += [label(118, TOP - 16, "not over"), label(558, TOP - 16, "over")]
    shapes += [label(338, 22, "rerun, retry, requeue"), label(682, bottom - 60, "truth learned")]
    return picture(bottom + 36, described(), shapes)


def state(status: Status, x: float, y: float) -> Iterator[str]:
    """A status in its box."""
    yield box(x, y, BOX_WIDTH, BOX_HEIGHT)
    yield words(x + BOX_WIDTH / 2, y + 23, status.value)


def arrows(at: Mapping[Status, tuple[float, float]]) -> Iterator[str]:
    """The paths of all arrows."""
    for status in LEFT:
        yield from leaving(status, at)
    if all(MOVES[status] >= UNFINISHED for status in FINAL):
        yield f"M558 {TOP - 30} V22 H118 V{TOP - 32}"
    (x, y) = at[Status.LOST]
    if MOVES[Status.LOST] >= FINAL:
        yield f"M{x + BOX_WIDTH:g} {y + 18:g} H682 V{TOP + 18} H636"


def leaving(status: Status, at: Mapping[Status, tuple[float, float]]) -> Iterator[str]:
    """The arrows from one that is not over."""
    x, y = at[status]
    after = MOVES[status] - {status}
    for other in LEFT:
        if other in after:
            yield beside(LEFT.index(status), LEFT.index(other), at)
    if after >= FINAL:
        yield f"M{x + BOX_WIDTH:g} {y + 18:g} H482"
        return
    for place, other in enumerate(other for other in RIGHT if other in after):
        start, (end_x, end_y) = y + 6 + 8 * place, at[other]
        bend = f"C{x + 260:g} {start:g} {end_x - 120:g} {end_y + 18:g}"
        yield f"M{x + BOX_WIDTH:g} {start:g} {bend} {end_x - 2:g} {end_y + 18:g}"


def beside(here: int, there: int, at: Mapping[Status, tuple[float, float]]) -> str:
    """An arrow between two that are not over: straight to the next, in a bow around one between."""
    x, start = at[LEFT[here]]
    _, end = at[LEFT[there]]
    down = there > here
    if abs(there - here) == 1:
        along = x + (40 if down else 76)
        return f"M{along:g} {start + BOX_HEIGHT * down:g} V{end + BOX_HEIGHT * (not down) - (2 if down else -2):g}"
    return f"M{x:g} {start + 18:g} C{x - 42:g} {start + 40:g} {x - 42:g} {end - 4:g} {x - 2:g} {end + 18:g}"


def described() -> str:
    """The picture in words."""
    moves = (f"{status.value} to {listed(MOVES[status] - {status})}" for status in Status)
    return f"Which status may follow which: {'; '.join(moves)}."


def listed(statuses: Iterable[Status]) -> str:
    """Statuses in the order of their declaration; `any` for all."""
    chosen = set(statuses)
    return "any" if len(chosen) == len(Status) - 1 else ", ".join(status.value for status in Status if status in chosen)


DRAWN = {"house.svg": house, "states.svg": states}


def main() -> None:
    """Write the pictures."""
    for name, draw in DRAWN.items():
        (IMAGES / name).write_text(draw())


if __name__ == "__main__":
    main()
