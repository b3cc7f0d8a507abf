"""Durations, sizes and times, read and written."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrec.errors import WrongUsage
from qrec.units import duration, point_in_time, seconds, size

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)

NO_DURATIONS = ["", " ", *"soon 10parsecs -5 -5s nan inf -inf 1e999 1h-30m 10m! m h10 -- 1:30".split()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("90", 90),
        ("0", 0),
        ("0.5", 0.5),
        ("90s", 90),
        ("250ms", 0.25),
        ("10m", 600),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1 h", 3600),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        ("1D2H3M4S", 93_784),
        ("  10m\n", 600),
    ],
)
def test_durations_are_read(words, expected):
    assert seconds(words) == pytest.approx(expected)


@pytest.mark.parametrize("words", NO_DURATIONS)
def test_what_is_no_duration_is_quoted_with_a_cure(words):
    with pytest.raises(WrongUsage) as caught:
        seconds(words)
    assert str(caught.value) == f"{words!r} is no duration; write 90s, 10m, 1h30m or 2d"


@given(st.text(max_size=12))
def test_any_words_are_a_duration_or_a_wrong_usage(words):
    try:
        assert 0 <= seconds(words) < float("inf")
    except WrongUsage:
        pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (0, "0 ms"),
        (0.085, "85 ms"),
        (0.949, "949 ms"),
        (0.96, "1.0 s"),
        (12.4, "12.4 s"),
        (200, "3m 20s"),
        (3599.7, "1h 0m"),
        (43_500, "12h 5m"),
        (86_399.6, "1d 0h"),
        (273_600, "3d 4h"),
        (86_400 * 1000, "1000d 0h"),
    ],
)
def test_durations_are_shown(value, expected):
    assert duration(value) == expected


@given(st.floats(0, 0.9494) | st.floats(0.95, 98) | st.floats(100, 1e8))
def test_a_shown_duration_can_be_read_again(value):
    """Within what is shown: a millisecond, a tenth, or the smaller of two units."""
    step = 0.0006 if value < 0.95 else 0.051 if value < 100 else 3600 if value >= 86_400 else 60
    assert seconds(duration(value)) == pytest.approx(value, abs=step)


@given(st.floats(0, 1e8))
def test_a_shown_duration_is_short(value):
    assert len(duration(value)) <= len("1157d 10h")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_900, "9.9 kB"),
        (12_345, "12 kB"),
        (310_000_000, "310 MB"),
        (999_600_000, "1.0 GB"),
        (1_200_000_000, "1.2 GB"),
        (5e15, "5000 TB"),
    ],
)
def test_sizes_are_shown(value, expected):
    assert size(value) == expected


@given(st.integers(0, 10**15))
def test_a_shown_size_is_near_the_truth(value):
    number, unit = size(value).split()
    assert float(number) * 1000 ** ("B", "kB", "MB", "GB", "TB").index(unit) == pytest.approx(value, rel=0.06)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("now", NOW),
        ("2d", NOW - timedelta(days=2)),
        ("1h30m", NOW - timedelta(minutes=90)),
        ("90", NOW - timedelta(seconds=90)),
        ("2026-11-20T14:30:00Z", datetime(2026, 11, 20, 14, 30, tzinfo=timezone.utc)),
        ("2026-11-20T14:30:00+02:00", datetime(2026, 11, 20, 12, 30, tzinfo=timezone.utc)),
        ("2026-11-20T14:30:00.123456Z", datetime(2026, 11, 20, 14, 30, 0, 123456, tzinfo=timezone.utc)),
    ],
)
def test_times_are_read(words, expected):
    assert point_in_time(words, NOW) == expected


@pytest.fixture
def in_tokyo(monkeypatch):
    import time

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("2026-11-20", datetime(2026, 11, 19, 15, tzinfo=timezone.utc)),
        ("2026-11-20 14:30", datetime(2026, 11, 20, 5, 30, tzinfo=timezone.utc)),
        ("today", datetime(2026, 11, 21, 15, tzinfo=timezone.utc)),
        ("yesterday", datetime(2026, 11, 20, 15, tzinfo=timezone.utc)),
    ],
)
@pytest.mark.usefixtures("in_tokyo")
def test_times_are_local_unless_they_name_a_zone(words, expected):
    assert point_in_time(words, NOW) == expected


@pytest.mark.parametrize(
    "words", ["", "tomorrow-ish", "2026-13-01", "2026-11-20 25:00", "-2d", "99999999999d", "1e300"]
)
def test_what_is_no_time_is_quoted_with_a_cure(words):
    with pytest.raises(WrongUsage) as caught:
        point_in_time(words, NOW)
    assert str(caught.value) == f"{words!r} is no time; write 2d (ago), today, 2026-11-20 or '2026-11-20 14:30'"


@given(st.text(max_size=12) | st.from_regex(r"\d{1,18}[smhdw]?", fullmatch=True))
def test_any_words_are_a_time_or_a_wrong_usage(words):
    try:
        assert isinstance(point_in_time(words, NOW), datetime)
    except WrongUsage:
        pass
