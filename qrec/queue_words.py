"""What cmd_queue's scripts say of queues and jobs, and what it means here: words, sizes, times, options of sbatch."""

from __future__ import annotations

import os
import sys
import time
import warnings

from qrec.errors import DuplicateJob, NoSuchJob, WrongUsage
from qrec.executors import sbatch
from qrec.executors.queue import Job as Asked
from qrec.script import line_of
from qrec.task import Task
from qrec.units import seconds, size_in_bytes, time_to_come

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

SERIAL, LOCAL, TMUX, SLURM = "serial", "local", "tmux", "slurm"
#: Those that cmd_queue has, and for which there are scripts; `local` runs `size` jobs at a time without tmux.
BACKENDS = (SERIAL, TMUX, SLURM)
EVERY = (*BACKENDS, LOCAL)
HANDLERS = ("auto", "ask", "kill", "ignore")
MONITORS = ("hybrid", "inline", "tmux", "none")
MEGABYTE = 1_000_000
YEARS = 1e9  #: seconds above which a number is a time since the epoch, and not one from now

#: Options of sbatch, by the names that Python has for them; with a value or without.
SBATCH = {
    word.replace("-", "_"): kind
    for options in (sbatch.COMMON, sbatch.OWN["sbatch"])
    for kind, words in options.items()
    for word in words.split()
    if word not in "help usage version test-only parsable wrap dependency kill-on-invalid-dep job-name output".split()
} | {"export_file": sbatch.VALUE, "no_requeue": sbatch.FLAG}
#: What `submit` takes, besides the name, the dependencies, and options of sbatch.
OPTIONS = """
    log tags cwd environ preamble setup teardown cpus gpus mem begin at timeout retries backoff priority message
    depends_any depends_failed output_fpath shell bookkeeper info_dpath allow_indent
""".split()
KINDS = ("depends_any", "depends_failed")
#: What is taken for the sake of scripts that say it, and means nothing here.
NOTHING = {
    "create": ("shell", "log"),
    "run": """
        with_textual check_other_sessions shell capture mode refresh_rate side_session manifest_path headless
    """.split(),
}


class DuplicateJobError(DuplicateJob, KeyError):
    """A job of that name is in the queue already."""

    __str__ = Exception.__str__


class UnknownJobError(NoSuchJob, KeyError):
    """Nothing in the queue, and no task, goes by the name of a dependency."""

    __str__ = Exception.__str__


class UnknownBackendError(WrongUsage, KeyError):
    """There is no such backend."""

    __str__ = Exception.__str__


# Keywords


def heed(options: Iterable[str], known: Sequence[str], call: Callable[..., Any]) -> None:
    """Warn of keywords that mean nothing to a call."""
    unknown = [option for option in options if option not in known]
    if not unknown:
        return
    import difflib
    import inspect

    parameters = [name for name, what in inspect.signature(call).parameters.items() if what.kind != what.VAR_KEYWORD]
    for option in unknown:
        near = difflib.get_close_matches(option, [*parameters, *known], 1)
        warn(f"{call.__qualname__} knows no {option}= and passes it over{f'; is {near[0]}= meant?' if near else ''}")


def warn(text: str) -> None:
    """Warn whoever called us, of the same thing only once."""
    if text in WARNED:
        return
    WARNED.add(text)
    level, frame = 1, sys._getframe()
    while frame.f_globals.get("__name__") in SPOKEN and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, UserWarning, stacklevel=level)


WARNED: set[str] = set()
#: The modules that speak for us: a warning names who called them.
SPOKEN = (__name__, "qrec.queue", "qrec.queue_job")


# Values


def listed(value: Any) -> list[Any]:
    """One thing, none, or several."""
    if value is None:
        return []
    return [value] if isinstance(value, (str, Task)) or not hasattr(value, "__iter__") else list(value)


def texts(value: Any, split: bool = False) -> list[str]:
    """One text, none, or several; `split` at commas."""
    several = value.split(",") if split and isinstance(value, str) else listed(value)
    return [str(one) for one in several if one is not None and str(one).strip()]


def variables_of(environ: Any) -> dict[str, str]:
    """Environment variables of any kind of values."""
    if environ and not hasattr(environ, "items"):
        raise WrongUsage(f"'environ' is a dict of variables, not {environ!r}")
    return {str(name): str(value) for name, value in environ.items()} if environ else {}


def text_of(path: Any) -> Any:
    """A path as text; what is none, as it is."""
    return (os.fspath(path) if isinstance(path, os.PathLike) else path) or None


def whole_of(count: Any) -> Any:
    """A whole number of any kind; what is none, as it is."""
    return int(count) if hasattr(count, "__index__") else count


def seconds_of(span: Any) -> Any:
    """A duration: seconds, or a text such as `90s`."""
    return seconds(span) if isinstance(span, str) else span


def bytes_of(memory: Any) -> int | None:
    """Memory: megabytes, or a text such as `8GB`."""
    if not memory:
        return None
    if isinstance(memory, (int, float)) or str(memory).strip().isdecimal():
        return int(float(memory) * MEGABYTE)
    return size_in_bytes(str(memory))


def epoch(when: Any) -> float | None:
    """A time to come: seconds from now, a datetime, a text such as `18:30` or `2h`; or one since the epoch."""
    if not when:
        return None
    if isinstance(when, (int, float)):
        return float(when) if when > YEARS else time.time() + when
    said = time_to_come(when.removeprefix("now")) if isinstance(when, str) else when
    if not hasattr(said, "timestamp"):
        raise WrongUsage(f"{when!r} is no time; say seconds from now, a datetime, or a text such as '18:30'")
    return float(said.timestamp())


# Slurm's words


def slurm_options(said: Mapping[str, Any]) -> dict[str, Any]:
    """Options of sbatch, by their long names."""
    found: dict[str, Any] = {}
    for name, value in said.items():
        if name not in SBATCH or name in ("gpus", "mem", "begin") or value is None:
            continue
        if SBATCH[name] == sbatch.FLAG:
            value = bool(value)
        if value is not False:
            found[name.replace("_", "-")] = value if value is True else str(value)
    begin = said.get("begin")
    if begin:
        found["begin"] = f"now+{begin}" if isinstance(begin, (int, float)) else str(begin)
    if said.get("output_fpath"):
        found["output"] = os.path.abspath(said["output_fpath"])
    return found


def sbatch_calls(tasks: Sequence[Task]) -> Iterator[str]:
    """The jobs as calls of sbatch, for reading."""
    import shlex

    from qrec.slurm_queue import AFTER, flags, time_of

    numbers = {task.uid: number for number, task in enumerate(tasks, 1)}
    for task in tasks:
        job, number = Asked.of(task), numbers[task.uid]
        needs = [f"{AFTER[kind]}:$JOB_{numbers[uid]}" for uid, kind in job.links(task.after) if uid in numbers]
        asked = {
            "job-name": task.name, "chdir": task.pwd, "cpus-per-task": job.cpus, "time": time_of(job.timeout),
            "mem": f"{-(-job.mem // MEGABYTE)}M" if job.mem else None, "gres": f"gpu:{job.gpus}" if job.gpus else None,
            **job.slurm,
        }  # fmt: skip
        words = [shlex.join(flags(asked)), f'"--dependency={",".join(needs)}"' if needs else ""]
        lines = "\n".join([*job.preamble, *([job.setup] if job.setup else []), line_of(task)])
        wrapped = f"--wrap {shlex.quote(lines)}"
        yield f"# {number} {task.name}\nJOB_{number}=$(sbatch --parsable {' '.join(filter(None, words))} {wrapped})\n"
