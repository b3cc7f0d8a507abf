"""The usage of a command, drawn with characters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrec.cli.chart import ASCII, BLOCKS, bars, cores, cores_label, marks_for, memory, plot, time_labels
from qrec.usage import Point


def point(at: float, cpu: float = 0.0, resident: int = 0, **more: Any) -> Point:
    return Point(at=at, cpu=cpu, memory=resident, processes=1, read=0, written=0, **more)


@st.composite
def series(draw: st.DrawFn) -> list[Point]:
    steps = draw(st.lists(st.tuples(st.floats(0.01, 1e4), st.floats(0, 1e5), st.integers(0, 10**13)), min_size=1))
    at = cpu = 0.0
    found = []
    for pause, used, resident in steps:
        at, cpu = at + pause, cpu + used
        found.append(point(at, cpu, resident))
    return found


HALF_A_MINUTE = [point(10, 10, 100_000_000), point(20, 30, 400_000_000), point(30, 30, 200_000_000)]


def test_a_small_plot():
    assert plot(HALF_A_MINUTE, 24, 2) == [
        "CPU, cores in use",
        "    2.0 ┤     █████",
        "        ┤██████████",
        "      0 └───────────────",
        "memory",
        " 400 MB ┤     █████",
        "        ┤▄▄▄▄▄██████████",
        "      0 └───────────────",
        "         0        30.0 s",
        "cpu 30.0 s,",
        "1.0 cores on average,",
        "memory 400 MB at most,",
        "1 process at most,",
        "read 0 B, written 0 B",
    ]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", None, "no-such-encoding"])
def test_ascii_where_there_are_no_blocks(encoding):
    lines = plot(HALF_A_MINUTE, 24, 2, encoding)
    assert lines[5:8] == [
        " 400 MB |     #####",
        "        |:::::##########",
        "      0 +---------------",
    ]
    assert "".join(lines).isascii()


def test_blocks_where_the_encoding_has_them():
    assert marks_for("utf-8") is BLOCKS
    assert marks_for("gb18030") is BLOCKS
    assert marks_for("cp1252") is ASCII


def test_a_tall_chart_tells_a_value_between():
    lines = plot(HALF_A_MINUTE, 80, 4)
    assert [line[:8].strip() for line in lines[1:6]] == ["2.0", "", "1.0", "", "0"]


def test_nothing_is_drawn_of_nothing():
    assert plot([], 80, 5) == []


def test_a_narrow_terminal_gets_the_totals_only():
    assert plot(HALF_A_MINUTE, 12, 3)[0] == "cpu 30.0 s,"


def test_what_used_nothing_has_an_empty_chart():
    lines = plot([point(5)], 40, 2)
    assert lines[1:3] == ["   0.00 ┤", "        ┤"]
    assert "memory 0 B at most" in " ".join(lines)


def test_graphics_memory_is_told_if_there_is_any():
    assert "gpu memory 2.0 GB at most" in " ".join(plot([point(5, gpu_memory=2_000_000_000, gpu=0.5)], 80, 2))


@given(series(), st.integers(1, 200), st.integers(0, 12), st.sampled_from(["utf-8", "ascii"]))
def test_every_plot_is_aligned_and_fits(points, width, height, encoding):
    lines = plot(points, width, height, encoding)
    drawn = [line for line in lines if line[8:9] in ("┤", "└", "|", "+") and not line[:8].strip("0123456789. kMGTBe+")]
    assert len(drawn) == (2 * (height + 1) if width >= 19 and height else 0)
    if width >= 40:
        assert all(len(line) <= width for line in lines)


@given(series(), st.integers(1, 300))
def test_a_peak_of_memory_is_never_averaged_away(points, columns):
    values = memory(points, columns)
    assert len(values) == columns
    assert max(values) == max(point.memory for point in points)


@given(series(), st.integers(1, 300))
def test_the_area_below_the_cores_is_the_cpu(points, columns):
    values = cores(points, columns)
    assert len(values) == columns
    assert sum(values) * points[-1].at / columns == pytest.approx(points[-1].cpu, rel=1e-6, abs=1e-6)


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=50), st.integers(1, 12))
def test_the_highest_bar_reaches_the_top_and_none_goes_beyond(values, height):
    rows = bars(values, max(values), height, BLOCKS.levels)
    assert [len(row) for row in rows] == [len(values)] * height
    assert ("█" in rows[0]) == (max(values) > 0)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0.00"), (0.034, "0.03"), (1.94, "1.9"), (9.97, "10"), (128.0, "128")]
)
def test_cores_in_words(value, shown):
    assert cores_label(value) == shown


def test_the_middle_of_the_time_gives_way():
    assert time_labels(30, 40).split() == ["0", "15.0", "s", "30.0", "s"]
    assert time_labels(30, 12) == "0     30.0 s"
