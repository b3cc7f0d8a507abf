"""The usage of a command over time, drawn with characters."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise

from qrec.units import duration, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qrec.usage import Point

NARROWEST = 10  #: columns that a chart needs to say anything
GUTTER = len("9999 MB ")  #: columns before the upright axis


class Marks:
    """The characters to draw with."""

    def __init__(self, levels: str, upright: str, corner: str, flat: str) -> None:
        self.levels = levels  #: a cell from empty to full
        self.upright, self.corner, self.flat = upright, corner, flat


BLOCKS = Marks(" ▁▂▃▄▅▆▇█", "┤", "└", "─")
ASCII = Marks(" .:#", "|", "+", "-")


def marks_for(encoding: str | None) -> Marks:
    """The best characters that an encoding has."""
    try:
        (BLOCKS.levels + BLOCKS.upright + BLOCKS.corner + BLOCKS.flat).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def plot(points: Sequence[Point], width: int, height: int, encoding: str | None = "utf-8") -> list[str]:
    """CPU and memory over time, each in `height` lines of bars, and the totals: lines of at most `width` columns.

    Where a terminal is too narrow for charts there are the totals only, and for no points there is nothing.
    """
    if not points:
        return []
    marks, end = marks_for(encoding), points[-1].at
    columns = width - GUTTER - 1
    lines: list[str] = []
    if columns >= NARROWEST and height > 0 and end > 0:
        lines += ["CPU, cores in use", *chart(cores(points, columns), height, cores_label, marks)]
        lines += ["memory", *chart(memory(points, columns), height, size, marks)]
        lines.append(" " * (GUTTER + 1) + time_labels(end, columns))
    return lines + wrapped(totals(points), width)


def chart(values: Sequence[float], height: int, label: Callable[[float], str], marks: Marks) -> list[str]:
    """A chart with its axes; the highest value reaches the top."""
    top = max(values)
    labels = [fitting(top, label), *[""] * (height - 1)]
    if height >= 4:
        labels[height // 2] = fitting(top * (height - height // 2) / height, label)
    rows = bars(values, top, height, marks.levels)
    lines = [f"{label:>{GUTTER - 1}} {marks.upright}{row}".rstrip() for label, row in zip(labels, rows, strict=True)]
    return [*lines, f"{'0':>{GUTTER - 1}} {marks.corner}{marks.flat * len(values)}"]


def fitting(value: float, label: Callable[[float], str]) -> str:
    """A value in words; as a bare power of ten if they have no room."""
    words = label(value)
    return words if len(words) < GUTTER else f"{value:.0e}"


def bars(values: Sequence[float], top: float, height: int, levels: str) -> list[str]:
    """The rows of a bar for each value, the highest row first."""
    steps = len(levels) - 1
    heights = [round(value / top * height * steps) if top > 0 else 0 for value in values]
    return [
        "".join(levels[min(max(filled - row * steps, 0), steps)] for filled in heights)
        for row in reversed(range(height))
    ]


def time_labels(end: float, columns: int) -> str:
    """The axis of time: its begin, its middle if there is room, and its end."""
    left, middle, right = "0", duration(end / 2), duration(end)
    line = left.ljust(columns - len(right)) + right
    at = (columns - len(middle)) // 2
    if at > len(left) + 1 and at + len(middle) + 1 < columns - len(right):
        line = line[:at] + middle + line[at + len(middle) :]
    return line


# From points to columns


def edges(end: float, columns: int) -> list[float]:
    """The times at which the columns begin, and the end of the last."""
    return [end * column / columns for column in range(columns)] + [end]


def cores(points: Sequence[Point], columns: int) -> list[float]:
    """How many cores were in use, on average over each column."""
    times = edges(points[-1].at, columns)
    used = [cpu_at(points, at) for at in times]
    pause = times[-1] / columns
    return [max(0.0, after - before) / pause for before, after in pairwise(used)]


def cpu_at(points: Sequence[Point], at: float) -> float:
    """Seconds of CPU used until a time, evenly between two points."""
    place = bisect_left(points, at, key=lambda point: point.at)
    if place == len(points):
        return points[-1].cpu
    after, (time, cpu) = points[place], (points[place - 1].at, points[place - 1].cpu) if place else (0.0, 0.0)
    share = (at - time) / (after.at - time) if after.at > time else 1.0
    return cpu + (after.cpu - cpu) * share


def memory(points: Sequence[Point], columns: int) -> list[float]:
    """Bytes resident, the highest within each column: a short peak is as high as it was."""
    times = edges(points[-1].at, columns)
    highest = []
    for begin, end in pairwise(times):
        first = bisect_right(points, begin, key=lambda point: point.at)
        last = bisect_left(points, end, key=lambda point: point.at)
        highest.append(max(float(point.memory) for point in points[first : last + 1]))
    return highest


# In words


def totals(points: Sequence[Point]) -> list[str]:
    """What the command used in all, as parts of a sentence."""
    last, end = points[-1], points[-1].at
    parts = [f"cpu {duration(last.cpu)}"]
    if end > 0:
        parts.append(f"{cores_label(last.cpu / end)} cores on average")
    parts.append(f"memory {size(max(point.memory for point in points))} at most")
    most = max(point.processes for point in points)
    parts.append(f"{most} process{'es' if most > 1 else ''} at most")
    parts += [f"read {size(last.read)}", f"written {size(last.written)}"]
    held = [point.gpu_memory for point in points if point.gpu_memory is not None]
    return parts + ([f"gpu memory {size(max(held))} at most"] if held else [])


def cores_label(value: float) -> str:
    """A number of cores: `12`, `1.9`, `0.03`."""
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.095 else f"{value:.2f}"


def wrapped(parts: Sequence[str], width: int) -> list[str]:
    """The parts with commas between them, in as many lines as they need; none is broken."""
    lines: list[str] = []
    for place, part in enumerate(parts):
        part += "," if place < len(parts) - 1 else ""
        if lines and len(lines[-1]) + 1 + len(part) <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return lines
