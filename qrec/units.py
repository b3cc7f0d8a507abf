"""Durations, sizes and times, as people write and read them."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from qrec.errors import WrongUsage, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])", re.IGNORECASE)
#: How units may be spelt, too, where it is told how to spell them.
LONG_TIMES = {
    "millisecond": "ms", "msec": "ms", "second": "s", "sec": "s", "minute": "m", "min": "m", "hour": "h", "hr": "h",
    "day": "d", "week": "w", **{unit: unit for unit in SECONDS},
}  # fmt: skip
LONG_SIZES = {
    "kilobyte": "K", "megabyte": "M", "gigabyte": "G", "terabyte": "T", "meg": "M", "gig": "G",
    **{unit + byte: unit.upper() for unit in "kmgt" for byte in ("", "b")},
}  # fmt: skip
SPELT_ALIKE = 0.8  #: how like a unit a word is that was meant to be one
STEPS = ("B", "kB", "MB", "GB", "TB")


def seconds(words: str) -> float:
    """A duration: `90`, `90s`, `10m`, `1h30m`, `2d`.  In seconds; a bare number counts seconds."""
    text = words.strip()
    try:
        number = float(text)
    except ValueError:
        parts = PART.findall(text)
        if not parts or PART.sub("", text).strip():
            raise no_duration(words) from None
        number = sum(float(value) * SECONDS[unit.lower()] for value, unit in parts)
    if not 0 <= number < float("inf"):
        raise no_duration(words)
    return number


def no_duration(words: str) -> WrongUsage:
    """The error for what is no duration."""
    return WrongUsage(f"{words!r} is no duration; {respelt(words, LONG_TIMES, 'write 90s, 10m, 1h30m or 2d')}")


def respelt(words: str, units: dict[str, str], otherwise: str) -> str:
    """What may have been meant where units are spelt in another way (`10 min`); else whatever helps."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]+)", words.casefold())
    found = [(number, nearest(unit.removesuffix("s") or unit, units, SPELT_ALIKE)) for number, unit in parts]
    is_whole = re.fullmatch(r"(\d+(\.\d+)?\s*[a-z]+\s*)+", words.casefold())
    if not is_whole or not all(unit for _, unit in found):
        return otherwise
    meant = "".join(number + units[unit] for number, unit in found)
    return f"did you mean {meant!r}?" if meant != words else otherwise


def point_in_time(words: str, now: datetime | None = None) -> datetime:
    """A time: a duration ago (`2d`), `now`, `today`, `yesterday`, or ISO 8601 (`2026-11-20 14:30`).

    Local time unless it names its zone.
    """
    from datetime import timedelta

    now = now or datetime.now(timezone.utc)
    midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    named = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    if words in named:
        return named[words]
    try:
        return datetime.fromisoformat(words.replace("Z", "+00:00")).astimezone()
    except ValueError:
        pass
    try:
        return now - timedelta(seconds=seconds(words))
    except (WrongUsage, OverflowError):
        usual = "write 2d (ago), today, 2026-11-20 or '2026-11-20 14:30'"
        there = f"did you mean {near!r}?" if (near := nearest(words, named)) else respelt(words, LONG_TIMES, usual)
        raise WrongUsage(f"{words!r} is no time; {there}") from None


def time_to_come(words: str, now: datetime | None = None) -> datetime:
    """A time in the future: a duration from now (`2h`, `+2h`), a time of day (`18:30`), or ISO 8601.

    A time of day that has passed is tomorrow's.  Local time unless it names its zone.
    """
    from datetime import timedelta

    now = (now or datetime.now(timezone.utc)).astimezone()
    text = words.strip()
    try:
        if clock := re.fullmatch(r"(\d{1,2}):(\d\d)(?::(\d\d))?", text):
            hour, minute, second = (int(part or 0) for part in clock.groups())
            naive = now.replace(tzinfo=None, hour=hour, minute=minute, second=second, microsecond=0)
            today = naive.astimezone()
            return today if today > now else (naive + timedelta(days=1)).astimezone()
        if re.match(r"\d{4}-\d", text):
            found = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone()
        else:
            found = now + timedelta(seconds=seconds(text.removeprefix("+")))
    except (WrongUsage, ValueError, OverflowError):
        raise WrongUsage(f"{words!r} is no time to come; write 2h, 18:30 or '2026-11-23 08:00'") from None
    if found < now:
        raise WrongUsage(f"{words!r} has passed")
    return found


def duration(value: float | None) -> str:
    """Seconds for people: `85 ms`, `12.4 s`, `3m 20s`, `12h 5m`, `3d 4h`; nothing for None."""
    if value is None:
        return ""
    if value < 0.95:
        return f"{value * 1000:.0f} ms"
    if value < 100:
        return f"{value:.1f} s"
    whole = round(value)
    for unit, below, size in (("d", "h", 86400), ("h", "m", 3600), ("m", "s", 60)):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // int(SECONDS[below])}{below}"
    return f"{whole} s"


def size_in_bytes(words: str) -> int:
    """A size: `500M`, `2G`, `1.5 GB`, `1024`; powers of a thousand, or of 1024 for `Ki`, `Mi`, `Gi`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", words, re.IGNORECASE)
    if match is None:
        raise WrongUsage(f"{words!r} is no size; {respelt(words, LONG_SIZES, 'write 500M, 2G or 1.5Gi')}")
    number, unit, binary = match.groups()
    step = 1024 if binary else 1000
    return int(float(number) * step ** " kmgt".index(unit.lower() or " "))


def size(value: float) -> str:
    """Bytes for people, in powers of a thousand: `310 MB`, `1.2 GB`."""
    step = 0
    while value >= 999.5 and step < len(STEPS) - 1:
        value /= 1000
        step += 1
    return f"{value:.1f} {STEPS[step]}" if step and value < 10 else f"{value:.0f} {STEPS[step]}"


def counted(counts: Mapping[str, int]) -> str:
    """How many jobs have which status: `3 complete, 1 failed`."""
    return ", ".join(f"{count:,} {status}" for status, count in counts.items()) or "no job"
