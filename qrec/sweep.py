"""Many jobs at once: from the lines of a file, and from a command with names in braces that take all their values.

--sweep lr=0.1,0.01 --sweep seed=1..3 -- python train.py --lr {lr} --seed {seed}        makes six jobs.
"""

from __future__ import annotations

import re

from qrec import quoting
from qrec.errors import WrongUsage, did_you_mean
from qrec.jobs import PARTS, Submission, check_parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    #: Gives the text of the file of that name; `-` is stdin.
    Read = Callable[[str], str]

MOST = 1_000_000  #: jobs that one call may make
RANGE = re.compile(r"([+-]?\d+)\.\.([+-]?\d+)(?:\.\.([+-]?\d+))?")
NAME = re.compile(r"[^\W\d]\w*")
OBJECT = re.compile(r'\s*\{\s*"[\w-]+"\s*:')  #: how a job of JSON begins, and no line for bash
#: What may hold a name in braces, besides the command.
FILLED = ("name", "cwd", "message", "setup", "teardown")
#: How the keys of a file may be spelt, too.
SPELT = {"jobname": "name", "tag": "tags", "begin": "at", "begin_at": "at", "memory": "mem"}
#: Of what a file says of a job, what may be one or several.
LISTS = ("depends", "depends_any", "depends_failed", "tags", "preamble")


# Sweeps


def sweep_of(words: str, read: Read) -> tuple[str, list[str]]:
    """The name and the values of `NAME=VALUES`: `a,b`, `1..5`, `1..9..2`, `@FILE` a line each, `-` for stdin."""
    name, equals, said = words.partition("=")
    if not equals or not NAME.fullmatch(name):
        raise WrongUsage(f"{words!r} is no sweep; write NAME=a,b or NAME=1..5, NAME=@FILE or NAME=-")
    if said == "-" or said.startswith("@"):
        values = [line for line in read(said.removeprefix("@")).splitlines() if line]
    else:
        values = [value for part in said.split(",") for value in in_range(part)] if said else []
    if not values:
        raise WrongUsage(f"there are no values for {name!r} in {words!r}")
    return name, values


def in_range(part: str) -> list[str]:
    """The numbers of `1..5`, both ends included, with as many digits as are written; or the word itself."""
    found = RANGE.fullmatch(part)
    if found is None:
        return [part]
    first, last = int(found[1]), int(found[2])
    step = abs(int(found[3] or 1)) or 1
    if abs(last - first) // step >= MOST:
        raise WrongUsage(f"{part} are too many; one call makes {MOST:,} jobs at most")
    is_padded = any(
        digits.lstrip("+-").startswith("0") and len(digits.lstrip("+-")) > 1 for digits in found.group(1, 2)
    )
    width = max(len(found[1]), len(found[2])) if is_padded else 0
    numbers = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    return [str(number).zfill(width) for number in numbers]


def swept(job: Submission, sweeps: Sequence[tuple[str, Sequence[str]]]) -> list[Submission]:
    """The job with each combination of the values, the last sweep's changing fastest."""
    from itertools import product

    names = [name for name, _ in sweeps]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise WrongUsage(f"--sweep names {doubled[0]!r} twice")
    count = 1
    for _, values in sweeps:
        count *= len(values)
    if count > MOST:
        raise WrongUsage(f"this would make {count:,} jobs; one call makes {MOST:,} at most")
    if missing := [name for name in names if not any(f"{{{name}}}" in text for text in texts_of(job))]:
        raise WrongUsage(f"{{{missing[0]}}} is nowhere in the command; --sweep {missing[0]} would make the same jobs")
    return [filled(job, dict(zip(names, values, strict=True))) for values in product(*(each for _, each in sweeps))]


def texts_of(job: Submission) -> Iterable[str]:
    """All texts of a job in which a name may stand."""
    command = (job.command,) if isinstance(job.command, str) else job.command
    others = (text for name in FILLED if (text := getattr(job, name)))
    return (*command, *others, *job.tags, *job.depends, *job.env.values())


def filled(job: Submission, values: Mapping[str, str]) -> Submission:
    """The job with values in the place of names in braces; in a line for bash each as its quotes need it."""
    pattern = re.compile("|".join(re.escape(f"{{{name}}}") for name in values))

    def put(text: str) -> str:
        return pattern.sub(lambda match: values[match[0][1:-1]], text)

    def put_quoted(line: str) -> str:
        return quoting.filled(line, values)

    argv = (job.command,) if isinstance(job.command, str) else job.command
    return job.copy(
        command=put_quoted(argv[0]) if len(argv) == 1 else tuple(map(put, argv)),
        name=None if job.name is None else put(job.name),
        cwd=None if job.cwd is None else put(job.cwd),
        message=put(job.message),
        setup=put_quoted(job.setup),
        teardown=put_quoted(job.teardown),
        tags=tuple(map(put, job.tags)),
        depends=tuple(map(put, job.depends)),
        env={name: put(value) for name, value in job.env.items()},
    )


# Files


def jobs_of(text: str, usual: Submission) -> list[Submission]:
    """The jobs of a file: JSON objects, one a line, or command lines; what a line does not say is as `usual`.

    Empty lines, and among command lines those that begin with `#`, are passed over.
    """
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise WrongUsage("there is no job in it")
    if len(lines) > MOST:
        raise WrongUsage(f"these are {len(lines):,} jobs; one call takes {MOST:,} at most")
    usual = lean(usual)
    if not is_json(lines[0][1]):
        if mixed := [number for number, line in lines if OBJECT.match(line)]:
            raise WrongUsage(f"line {mixed[0]} is JSON, and the first line is a command; give each a file of its own")
        commands = [line.rstrip("\r") for _, line in lines if not line.lstrip().startswith("#")]
        return [usual.copy(command=line) for line in commands]
    import json

    found = []
    for number, line in lines:
        try:
            said = json.loads(line)
            found.append(job_of(said, usual))
        except ValueError as error:
            raise WrongUsage(f"line {number} is no JSON: {error}") from None
        except WrongUsage as error:
            raise WrongUsage(f"line {number}: {error}") from None
    return found


def lean(usual: Submission) -> Submission:
    """The same, holding only what is not the default: of a hundred thousand copies, that is felt."""
    kind = type(usual)
    return kind(**{name: value for name, value in vars(usual).items() if value != getattr(kind, name, None)})


def is_json(line: str) -> bool:
    """Whether a line is meant as an object of JSON; `{ echo; }` is a line for bash."""
    return re.match(r'\s*\{\s*("|\}\s*$)', line) is not None


def job_of(said: Any, usual: Submission) -> Submission:
    """One job from an object whose keys are the options of `submit`."""
    if not isinstance(said, dict):
        raise WrongUsage("it is no object")
    fields: dict[str, Any] = {}
    for key, value in said.items():
        name = key.replace("-", "_")
        name = SPELT.get(name, name)
        if name in ("command", "argv"):
            fields["command"] = command_of(name, value)
        elif value is not None:
            fields[name] = value_of(key, name, value)
    if "command" not in fields or {"command", "argv"} <= said.keys():
        raise WrongUsage('a job has one "command", a line for the shell, or one "argv", a list of words')
    check_parts(fields)
    if "env" in fields:
        fields["env"] = {**usual.env, **fields["env"]}
    return usual.copy(**fields)


def command_of(name: str, value: Any) -> str | tuple[str, ...]:
    """A command, by a line or by its words."""
    if name == "command" and isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise WrongUsage(f"{name!r} is {'text' if name == 'command' else 'a list of texts'}, not {value!r}")


def value_of(key: str, name: str, value: Any) -> Any:
    """What a job asks for, as a Submission has it if it is right.  WrongUsage."""
    if name not in PARTS:
        raise WrongUsage(f"a job has no {key!r}; {did_you_mean(key, PARTS, 'it has: ' + ', '.join(PARTS))}")
    if name in QUANTITIES:
        return QUANTITIES[name](value)
    if name in LISTS:
        several = value if isinstance(value, list) else [value]
        return tuple(str(one) if type(one) is int else one for one in several)  # a task's number
    if name == "env" and isinstance(value, list):
        return variables(value)
    if name == "env" and isinstance(value, dict):
        return {name: str(text) for name, text in value.items()}
    return value


def variables(words: Iterable[str]) -> dict[str, str]:
    """Environment variables from `NAME=VALUE`."""
    found = {}
    for word in words:
        name, equals, value = str(word).partition("=")
        if not equals or not name or "\0" in word:
            raise WrongUsage(f"{word!r} is no variable; write NAME=VALUE")
        found[name] = value
    return found


# Quantities, by a number or in words


def span(said: Any) -> float:
    """Seconds, from a number or a duration."""
    from qrec.units import seconds

    return seconds(str(said))


def bytes_of(said: Any) -> int:
    """Bytes, from a number or a size."""
    from qrec.units import size_in_bytes

    return size_in_bytes(str(said))


def time_of(said: Any) -> float:
    """Seconds since the epoch, from such a number or a time to come."""
    from qrec.units import time_to_come

    return float(said) if isinstance(said, (int, float)) else time_to_come(str(said)).timestamp()


QUANTITIES: dict[str, Callable[[Any], Any]] = {
    "timeout": span, "backoff": span, "mem": bytes_of, "at": time_of,
}  # fmt: skip
