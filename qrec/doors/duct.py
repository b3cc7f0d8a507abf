"""What con-duct has recorded: `PREFIX_info.json` for each command, beside it its output and its use of the machine."""

from __future__ import annotations

import glob
import json
import os
from datetime import datetime
from functools import partial

from qrec.doors.intake import Arrival, with_files, write_private
from qrec.doors.past import Entry
from qrec.errors import Refused
from qrec.output import attempt_folder
from qrec.task import Kept
from qrec.usage import Point, line_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from qrec.doors.past import Past
    from qrec.stores.base import Bundle

USUAL = os.path.join(".duct", "logs")  #: where duct writes, in the folder in which it is called
INFO = "info.json"
USAGE = ("usage.jsonl", "usage.json")  #: as it is called now, and before
#: What may be raised by looking into a file that holds anything.
SPOILT = (OSError, ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError)


def arrivals(path: str, past: Past) -> Iterator[Arrival]:
    """The commands of a folder, of a prefix, or of one `info.json`, oldest first."""
    return (arrival(info, past) for info in infos(path))


def infos(path: str) -> list[str]:
    """The files that tell of a command each, by the time of their last change.  Refused if there is none."""
    if path.endswith(INFO) and os.path.isfile(path):
        return [path]
    start = os.path.join(path, "") if os.path.isdir(path) else path
    if not (found := glob.glob(f"{glob.escape(start)}*{INFO}")):
        raise Refused(f"con-duct has left nothing at {start}: there is no {start}*{INFO}")
    return sorted(found, key=lambda info: (os.lstat(info).st_mtime_ns, info))


def arrival(info: str, past: Past) -> Arrival:
    """The command of one file."""
    try:
        told = read_json(info)
        entry = entry_of(info, told)
        env = {name: value for name, value in (told.get("env") or {}).items() if isinstance(value, str)}
    except SPOILT as error:
        why = "duct has not finished it" if os.path.exists(info) and not os.path.getsize(info) else error
        return Arrival(place=info, trouble=f"it cannot be read: {why}")
    if env:
        entry = entry.copy(facts={**entry.facts, "environment": past.redactor.variables(env)})
    prefix = info[: -len(INFO)]
    return past.arrival(entry, partial(filled, prefix=prefix, began=entry.at))


def read_json(path: str) -> Any:
    """What a file holds.  Raises OSError and ValueError."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return json.load(file)


def entry_of(info: str, told: Mapping[str, Any]) -> Entry:
    """What a file tells.  The words of the command are joined by blanks there, and their quotes are lost."""
    ran, system = told["execution_summary"], told.get("system") or {}
    host, began, code = str(system.get("hostname") or ""), number(ran.get("start_time")), ran["exit_code"]
    folder = told.get("working_directory") or ran.get("working_directory")
    own_name = os.path.basename(info[: -len(INFO)])
    return Entry(
        place=info, command=str(told["command"]), at=began, seconds=number(ran.get("wall_clock_time")),
        returncode=None if code is None else int(code), name=f"{host}\0{began}\0{own_name}", host=host,
        user=str(system.get("user") or ""), pwd=str(folder or ""), message=str(told.get("message") or ""),
        facts=facts_of(system),
        usage={"memory": int(ran["peak_rss"])} if ran.get("peak_rss") else {},
        data={"duct": told["duct_version"]} if "duct_version" in told else {},
    )  # fmt: skip


def number(value: Any) -> float | None:
    """A number, if there is one.  Raises ValueError, TypeError."""
    return None if value is None else float(value)


def facts_of(system: Mapping[str, Any]) -> dict[str, Any]:
    """What it tells of the machine, by our names."""
    name = " ".join(str(system[key]) for key in ("os_name", "os_release") if system.get(key))
    facts = {"cpus": system.get("cpu_total"), "memory": system.get("memory_total"), "system": name}
    return {key: value for key, value in facts.items() if value}


# What lies beside it


def filled(bundle: Bundle, home: str, prefix: str, began: float | None) -> Bundle:
    """The task with its output and the series of what it used."""
    paths = {name: prefix + name for name in ("stdout", "stderr") if os.path.isfile(prefix + name)}
    bundle = with_files(bundle, home, paths)
    if not (points := [] if began is None else series(prefix, began)):
        return bundle
    task, text = bundle.task, b"".join(map(line_of, points))
    if points[-1].cpu:
        task = task.copy(usage={**task.usage, "cpu": round(points[-1].cpu, 3)})
    folder = attempt_folder(home, task.uid, task.attempt)
    if os.path.isdir(folder):
        write_private(os.path.join(folder, "series"), text)
        return bundle.copy(task=task)
    kept = bundle.kept.get(task.attempt, Kept())
    return bundle.copy(task=task, kept={task.attempt: kept.copy(extras={**kept.extras, "series": text})})


def series(prefix: str, began: float) -> list[Point]:
    """What was used over time; reports that cannot be read are left out."""
    points: list[Point] = []
    path = next((prefix + name for name in USAGE if os.path.isfile(prefix + name)), os.devnull)
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                points.append(point_of(json.loads(line), began, points[-1] if points else None))
            except SPOILT:
                continue
    return points


def point_of(report: Mapping[str, Any], began: float, before: Point | None) -> Point:
    """One report.  CPU is told as a share of each process's life, so it is exact to about a second."""
    running = report["processes"].values()
    cpu = sum(one["pcpu"] / 100 * seconds_of(one["etime"]) for one in running)
    return Point(
        at=max(datetime.fromisoformat(report["timestamp"]).timestamp() - began, before.at if before else 0.0),
        cpu=max(cpu, before.cpu if before else 0.0), memory=int(report["totals"]["rss"] or 0), processes=len(running),
        read=0, written=0,
    )  # fmt: skip


def seconds_of(elapsed: str) -> float:
    """Seconds, from `1-02:03:04` or `03:04` as ps tells how long a process has been running."""
    days, _, clock = elapsed.rpartition("-")
    total = 0.0
    for part in clock.split(":"):
        total = total * 60 + float(part)
    return total + float(days or 0) * 86_400
