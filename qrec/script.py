"""A queue as plain bash, which needs neither qrec nor Python where it is run; and its bare commands, for reading.

A script is a header of functions, one function that goes through all jobs, parents before their children, and a few
lines that begin the work.  What becomes of a job is kept in files of one state folder, so that another run continues:
`N.state`, `N.out` and `N.err`.  Any number of workers may go through the same jobs: whoever has the lock of `N.out`
runs job N, and the kernel takes that lock from whoever dies.

A job has a bash of its own, so neither its `exit` nor an open quote in it concerns another.  CPUs and memory are
Slurm's affair; the other backends look at neither.
"""

from __future__ import annotations

import math
import re
from itertools import takewhile

from qrec.errors import WrongUsage, did_you_mean
from qrec.executors.queue import Job
from qrec.graph import ANY, FAILED, OK, ordered
from qrec.limits import asks_for
from qrec.quoting import one_line, quoted, words
from qrec.task import Record, Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

MOST_PAUSES = 100  #: so many retries are written into a script at most
LONGEST_PAUSE = 86400.0  #: seconds
LONGEST_NAME = 200  #: bytes of a queue's name in the name of its folder
MIB = 1 << 20

# The bash of scripts.  Arrays may be empty, so there is no `set -u`: bash before 4.4 minds them.  `filled` puts values
# in the place of capitals between two `@`, and takes out lines that say `@IF@` and a feature that nobody uses.

#: What shellcheck shall not mind: expressions in single quotes, as they are for the bash of a job; letters that look
#: like quotes, and backslashes before quotes, as they are meant; variables and functions that other backends, or
#: traps, use.
START = r"""#!/usr/bin/env bash
# @COUNT@, backend @BACKEND@, written by qrec. Needs only bash 4.2 or later and @NEEDS@. Run again, it goes on: what is
# done stays done, what failed is tried again. State and output are in $QREC_STATE, else in a folder beside this script.
# shellcheck disable=SC1003,SC2016,SC1110,SC1111,SC1112,SC2034,SC2089,SC2090,SC2317
title=@TITLE@ default=@DEFAULT@ script=${BASH_SOURCE[0]:-}; [[ $script == /* ]] || script=$PWD/$script
state=${1:-${QREC_STATE:-${script%/*}/$default}}
(umask 077 && mkdir -p -- "$state") && CDPATH='' cd -- "$state" || exit 125
state=$PWD common=@COMMON@ preamble=(@PREAMBLE@) environment=(@ENVIRONMENT@)
unset QREC_STATE; set -m # so a job is a process group, and ends as a whole
"""

#: `qrec` holds COUNT STEP... TEARDOWN WORD...; a preamble's `set -e` is for the command, not for what comes after it.
#: The descriptor 200 is the job's lock, which is not for processes that the job may leave behind.
JOBS = r"""job() { # NUMBER NAME: all that the lines before `run` may set is as follows
    number=$1 name=$2 folder=$common after=() vars=() before=() teardown='' timeout='' pauses=() refused=''@OWN@
}
ended() { end=''; [ ! -e "$1.state" ] || read -r end _ <"$1.state"; [ "$end" ]; } # NUMBER: done, failed or skipped
conclude() { echo "$1" >"$number.state" || exit 125; echo "$number${name:+ $name}: $1"; } # STATE
shell='qrec=("$@"); set --
for qrec_step in "${qrec[@]:1:qrec}"; do eval "$qrec_step" 200>&- || exit; done
qrec_flags=$-; set +e; trap : HUP INT QUIT TERM
(case $qrec_flags in *e*) set -e ;; esac; "${qrec[@]:qrec+2}") 200>&-
qrec_code=$?; (eval "${qrec[qrec+1]}") 200>&-; exit "$qrec_code"'
perform() { # WORD...: runs the job until it succeeds or may not be tried again
    local code pause limit=() steps=("${preamble[@]}" "${before[@]}"); : >"$number.out"; : >"$number.err"
    [ ! "$timeout" ] || limit=("$(type -P timeout)" -k 10 "$timeout")
    for pause in '' "${pauses[@]}"; do
        [ ! "$pause" ] || { sleep "$pause" & wait "$!"; }
        (cd -- "$folder" && exec env -- "${environment[@]}" "${vars[@]}" "${limit[@]}" "$BASH" -c "$shell" job \
            "${#steps[@]}" "${steps[@]}" "$teardown" "$@") </dev/null >>"$number.out" 2>>"$number.err" & child=$!
        if wait "$child"; then code=0; break; else code=$?; fi
    done
    child=''; if [ "$code" = 0 ]; then conclude 'done'; else conclude "failed $code"; fi
}
"""

LOCAL = r"""run() { # WORD...: the job, if it is its time and nobody else has it
    local need failure='' verdict=${refused:-go}
    ! ended "$number" || return 0
    printf -v now '%(%s)T' -1; [ "${at:-0}" -le "$now" ] || verdict='wait' @IF@at
    for need in "${after[@]}"; do
        ended "${need#*:}"
        case ${need%:*}.$end in
        *.) verdict='wait' ;;
        failed.done) failure=${failure:-none} ;; @IF@failed
        failed.*) failure=seen ;; @IF@failed
        ok.failed | ok.skipped) verdict="skipped (${need#*:} is not done)"; break ;;
        esac
    done
    [ "$verdict.$failure" != go.none ] || verdict='skipped (nothing failed)' @IF@failed
    case $verdict in
    wait) pending=yes ;;
    go) { if flock -n 200 && ! ended "$number"; then @PERFORM@ "$@"; else pending=yes; fi; } 200>>"$number.out" ;;
    *) conclude "$verdict" ;;
    esac
}
"""

#: Takes the place of `perform` where workers share GPUs.
WITH_GPUS = r"""with_gpus() { # WORD...: runs the job with GPUs that no other has; it waits while there are not enough
    local gpu fd held=()
    for gpu in "${gpus[@]}"; do
        [ "${#held[@]}" -lt "$wanted" ] || break
        exec {fd}>>"gpu-${gpu//\//_}.lock"
        if flock -n "$fd"; then held+=("$fd") devices+=,$gpu; else exec {fd}>&-; fi
    done
    [ "$wanted" = 0 ] || vars+=("CUDA_VISIBLE_DEVICES=${devices#,}")
    if [ "${#held[@]}" = "$wanted" ]; then perform "$@"; else pending=yes; fi
    for fd in "${held[@]}"; do exec {fd}>&-; done
}
"""

SLURM = r"""submit() { # OPTION...: prints the id of the new job
    id=$(sbatch --parsable --kill-on-invalid-dep=yes "$@") && id=${id##*$'\n'} && [ "$id" ] && echo "${id%%;*}"
}
batch() { # WORD...: prints a batch script in which all that the job takes is spelled out
    local words=("$@"); echo "#!$BASH"; declare -f conclude perform
    declare -p state number name folder vars before teardown timeout pauses preamble environment shell words
    echo 'set -m; cd -- "$state" || exit; perform "${words[@]}"; read -r _ code <"$number.state"; exit "${code:-0}"'
}
run() { # WORD...: submits the job, unless it is done, or in Slurm's hands from an earlier run
    local need id='' needs='' several=() failure='' verdict=${refused:-go}
    ! ended "$number" || return 0
    [ ! -e "$number.id" ] || read -r id <"$number.id"
    if [ "$id" ] && [ "$(squeue --noheader --jobs="$id" 2>/dev/null)" ]; then ids[number]=$id; return; fi
    for need in "${after[@]}"; do
        ended "${need#*:}"; id=${ids[${need#*:}]}
        case ${need%:*}.${id:+id}.$end in
        ok.*.done | any..* | any.*.done) ;;
        ok.id.* | any.id.*) needs+=,after${need%:*}:$id ;;
        failed.*.done) failure=${failure:-none} ;; @IF@failed
        failed.id.*) several+=("$id") ;; @IF@failed
        failed.*) failure=seen ;; @IF@failed
        *) verdict="skipped (${need#*:} is not submitted)"; break ;;
        esac
    done
    wait_for_failure @IF@failed
    if [ "$verdict" = go ] && id=$(batch "$@" | submit --chdir="$state" --output="$number.slurm" \
        --job-name="${name:-$number}" ${needs:+"--dependency=${needs#,}"} "${options[@]}"); then
        ids[number]=$id; echo "$id" >"$number.id"; echo "$number${name:+ $name}: job $id"
    elif [ "$verdict" = go ]; then conclude 'failed 125 (not submitted)'; else conclude "$verdict"; fi
}
"""

#: For Slurm jobs that begin when one of several has failed. Slurm cannot wait for all and for one of several, so a
#: small job stands for "one has failed".
FAILURE = r"""wait_for_failure() { # adds to `needs` that `several` end, and one of them fails unless one has already
    local one
    case ${#several[@]}.$failure.$verdict in
    0.none.go) verdict='skipped (nothing failed)' ;;
    0.* | *.skipped*) ;;
    1..go | 1.none.go) needs+=,afternotok:${several[0]} ;;
    *)
        needs+=$(printf ',afterany:%s' "${several[@]}")
        [ "$failure" != seen ] || return
        one=$(printf '?afternotok:%s' "${several[@]}")
        one=$(submit --job-name="a failure" --output=/dev/null --dependency="${one#\?}" --wrap=true) || exit 125
        needs+=,afterok:$one
        ;;
    esac
}
"""

SUMMARY = r"""type -P @TOOLS@ >/dev/null || { echo 'this script needs @NEEDS@, which is not here' >&2; exit 125; }
again() { grep -Els '^(failed|skipped)' -- *.state | while read -r file; do rm -f -- "$file"; done; }
summary() { # how all stands; the script ends with 1 if a job has failed or was refused@OR@
    local code=$?; local -A all=()
    run() {
        ended "$number"; ((all[${end:-left}] += 1, all[refused] += ${#refused} > 0))
        [ "$end" != failed ] || echo "failed: $number${name:+ $name}, see $state/$number.err"
    }
    queue
    printf '%s: %d done, %d failed, %d skipped, %d @LEFT@; see %s\n' \
        "$title" "${all[done]}" "${all[failed]}" "${all[skipped]}" "${all[left]}" "$state"
    [ "$((@BAD@))" = 0 ] || exit "$((code ? code : 1))"
}
trap summary EXIT
"""

#: What the serial backend does, and each worker of the tmux backend.
WORK = r"""work() { while pending=''; queue; [ "$pending" ]; do sleep @NAP@ & wait "$!"; done; }
stop() { # CODE: a signal ends the running job, but not its teardown; the second one does
    trap 'kill -KILL -- "-$child"' HUP INT TERM; kill -TERM -- "-$child"; wait "$child"; exit "$1"
} 2>/dev/null
trap 'stop 129' HUP; trap 'stop 130' INT; trap 'stop 143' TERM
"""

#: The first word, where the state is, makes a worker. The server is the script's own, so jobs have its environment.
WORKER = r"""[ ! "$1" ] || { work; exit; }
[ -f "$script" ] || { echo 'save this script in a file first: its workers read it, too' >&2; exit 125; }
socket=$(cksum <<<"$state"); socket=qrec-${socket%% *}
"""
SESSIONS = r"""tmux -L "$socket" has-session 2>/dev/null || for ((worker = 1; worker <= @SIZE@; worker++)); do
    [ "$worker" != 1 ] || again
    for try in 1 2 3; do # a server whose last session has just ended takes no other
        tmux -L "$socket" -f /dev/null new-session -d -s "worker-$worker" "$BASH" "$script" "$state" && continue 2
        [ "$try" = 3 ] && exit 125
        sleep 1
    done
done
echo "$title: at work, also without this script; to look on: tmux -L $socket attach"
while tmux -L "$socket" has-session 2>/dev/null; do sleep @NAP@ & wait "$!"; done
"""

SUBMISSION = r"""again
queue
[ "${#ids[@]}" = 0 ] || (IFS=,; trap - EXIT; echo "to look on: squeue --jobs=${ids[*]}")
"""

#: What each backend defines before its jobs, and has after them.
BACKENDS = {
    "serial": (LOCAL, (SUMMARY, WORK, "again\nwork\n")),
    "tmux": (LOCAL, (WORK, WORKER, SUMMARY, SESSIONS)),
    "slurm": (SLURM, (SUMMARY, SUBMISSION)),
}
TOOLS = {"serial": ("flock",), "tmux": ("flock", "tmux"), "slurm": ("sbatch", "squeue")}
NAP = "0.2"  #: seconds between two looks at jobs that others run

#: Options of sbatch that the script itself has to say.
OWN_OPTIONS = frozenset({"dependency", "kill-on-invalid-dep", "parsable", "wrap"})


class Plan(Record):
    """What a script is made from."""

    name: str  #: the queue's
    backend: str
    jobs: Sequence[Task]  #: parents before their children
    keys: Mapping[str, str]  #: by uid, the number by which the script knows a job
    policy: Mapping[str, Any]
    outside: Mapping[str, Task]  #: by uid, what jobs depend on that are no jobs here
    common: str  #: the folder in which most jobs run
    preamble: Sequence[str]  #: what goes before every job
    environment: Mapping[str, str]  #: the variables that all jobs have alike

    @property
    def gpus(self) -> Sequence[str]:
        """The GPUs that the script gives to jobs; with Slurm that is Slurm's affair."""
        return () if self.backend == "slurm" else [str(gpu) for gpu in self.policy.get("gpus") or ()]

    @property
    def shares_gpus(self) -> bool:
        """Whether workers have to agree on GPUs."""
        return self.backend == "tmux" and bool(self.gpus) and self.anybody("gpus")

    @property
    def size(self) -> int:
        """How many sessions are worth their while."""
        return max(1, min(self.policy.get("workers") or 1, len(self.jobs)))

    def anybody(self, name: str) -> bool:
        """Whether any job asks for that."""
        return any(getattr(Job.of(job), name) for job in self.jobs)


def script(
    jobs: Sequence[Task], policy: Mapping[str, Any], name: str, backend: str, outside: Mapping[str, Task] | None = None
) -> str:
    """A bash script that runs these jobs, whatever became of them here.

    `outside` holds, by uid, the tasks that jobs depend on and that are no jobs of this script: what has ended as it
    should counts as fulfilled, and a job that depends on any other is refused when the script runs: skipped, as qrec
    does, unless the other may still end as it should.  Raises WrongUsage for an unknown backend, and for jobs that wait
    for each other.
    """
    if backend not in BACKENDS:
        there = did_you_mean(backend, BACKENDS, f"there is one for {', '.join(BACKENDS)}")
        raise WrongUsage(f"there is no script for {backend!r}; {there}")
    plan = planned(jobs, policy, name, backend, outside or {})
    before, after = BACKENDS[backend]
    extra = [WITH_GPUS] if plan.shares_gpus else [FAILURE] if backend == "slurm" and plan.anybody("failed") else []
    lines = "".join(job_lines(plan, job) for job in plan.jobs) or "    :\n"
    return f"{filled(plan, START, JOBS, before)}queue() {{\n{lines}}}\n{filled(plan, *extra, *after)}"


def commands(jobs: Sequence[Task]) -> str:
    """The plain commands, each below its number and name, parents before their children."""
    keys = keys_of(jobs)
    return "\n".join(
        f"# {' '.join([keys[job.uid], *([quoted(one_line(job.name))] if job.name else [])])}\n{line_of(job)}\n"
        for job in in_order(jobs)
    )


def line_of(job: Task) -> str:
    """The command as one would type it."""
    return job.argv[0] if "shell" in job.data else words(job.argv)


# The plan


def planned(
    jobs: Sequence[Task], policy: Mapping[str, Any], name: str, backend: str, outside: Mapping[str, Task]
) -> Plan:
    from collections import Counter

    folders = Counter(folder_of(job, policy) for job in jobs)
    return Plan(
        name=name,
        backend=backend,
        jobs=in_order(jobs),
        keys=keys_of(jobs),
        policy=policy,
        outside=outside,
        common=folders.most_common(1)[0][0] if folders else ".",
        preamble=shared_preamble(jobs),
        environment=shared_environment(jobs),
    )


def shared_preamble(jobs: Sequence[Task]) -> list[str]:
    """The commands with which all preambles begin: the queue's own have been put there."""
    every = zip(*(Job.of(job).preamble for job in jobs), strict=False)
    return [steps[0] for steps in takewhile(lambda steps: len(set(steps)) == 1, every)]


def shared_environment(jobs: Sequence[Task]) -> dict[str, str]:
    """The variables that have one value in all jobs."""
    every = [Job.of(job).env for job in jobs]
    first = every[0] if every else {}
    return {name: value for name, value in first.items() if all(env.get(name) == value for env in every)}


def in_order(jobs: Sequence[Task]) -> list[Task]:
    """Parents before their children; among those that may come next, as a worker would take them."""
    by_uid = {job.uid: job for job in sorted(jobs, key=lambda job: (-job.priority, job.number))}
    order = ordered({uid: job.after for uid, job in by_uid.items()})
    if left := by_uid.keys() - set(order):
        raise WrongUsage(f"{len(left)} jobs wait for each other: {', '.join(sorted(left)[:10])}")
    return [by_uid[uid] for uid in order]


def keys_of(jobs: Sequence[Task]) -> dict[str, str]:
    """What a script calls each job: its number, or its place where not all have numbers yet."""
    numbered = all(job.number for job in jobs)
    return {job.uid: str(job.number if numbered else place) for place, job in enumerate(jobs, 1)}


def folder_of(job: Task, policy: Mapping[str, Any]) -> str:
    return job.pwd or str(policy.get("cwd") or ".")


# Filling in


def filled(plan: Plan, *parts: str) -> str:
    """The parts with what stands between `@`; what is filled in is not looked at again."""
    values = fillings(plan)
    lines = (line.partition(" @IF@") for line in "".join(parts).splitlines())
    wanted = "".join(f"{line}\n" for line, _, feature in lines if not feature or plan.anybody(feature))
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], wanted)


def fillings(plan: Plan) -> dict[str, str]:
    with_time = plan.backend != "slurm" and plan.anybody("at")
    own = [" options=()"] if plan.backend == "slurm" else []
    own += [" at=''"] if with_time else []
    own += [f" wanted=0 devices='' gpus=({words(plan.gpus)})"] if plan.shares_gpus else []
    in_slurm = plan.backend == "slurm"
    return {
        "COUNT": f"{len(plan.jobs)} job{'s' * (len(plan.jobs) != 1)}",
        "BACKEND": plan.backend,
        "NEEDS": " and ".join(TOOLS[plan.backend]),
        "TOOLS": words(TOOLS[plan.backend]),
        "TITLE": quoted(plan.name),
        "DEFAULT": quoted(state_folder(plan)),
        "COMMON": quoted(plan.common),
        "PREAMBLE": words(plan.preamble),
        "ENVIRONMENT": words(assignments(plan.environment)),
        "OWN": "".join(own),
        "PERFORM": "with_gpus" if plan.shares_gpus else "perform",
        "OR": "" if in_slurm else ", or is left",
        "LEFT": "in Slurm" if in_slurm else "left",
        "BAD": f"all[failed] + all[refused]{'' if in_slurm else ' + all[left]'}",
        "NAP": NAP,
        "SIZE": str(plan.size),
    }


def state_folder(plan: Plan) -> str:
    """Its name: the queue's, and a part of the first job's uid, which tells it from other queues of that name."""
    name = plan.name.replace("/", "_").encode(errors="surrogateescape")[:LONGEST_NAME].decode(errors="ignore")
    first = min(plan.jobs, key=lambda job: job.number).uid if plan.jobs else ""
    return f"{name}{re.sub('^[a-z]+-', '-', first)[:7]}.state"


# A job


def job_lines(plan: Plan, task: Task) -> str:
    """A job as the script has it: its name, what it asks for, and its command."""
    lines = [
        f"job {plan.keys[task.uid]} {quoted(task.name or '')}",
        comment(plan, task),
        " ".join(settings(plan, task)),
        f"run {run_words(task)}",
    ]
    return "".join(f"    {line}\n" for line in lines if line)


def comment(plan: Plan, task: Task) -> str:
    """What the job depends on that is no job of the script, and how that stood."""
    found = [(one_line(uid), plan.outside.get(uid)) for uid, _ in outer_links(plan, task)]
    told = ", ".join(f"{uid} (was {other.status if other else 'not there'})" for uid, other in found)
    return f"# depends also on {told}" if told else ""


def run_words(task: Task) -> str:
    """What a job's bash executes: a line as it is, or a program by its words, be it called as a builtin is."""
    return words(["eval", *task.argv]) if "shell" in task.data else words(["exec", "--", *task.argv])


def settings(plan: Plan, task: Task) -> Iterator[str]:
    """Assignments of all that is not as usual."""
    job = Job.of(task)
    folder = folder_of(task, plan.policy)
    if folder != plan.common:
        yield f"folder={quoted(folder)}"
    arrays = {
        "after": [f"{kind}:{plan.keys[uid]}" for uid, kind in inner_links(plan, task)],
        "vars": assignments({**own_variables(plan, job), **own_gpus(plan, job)}),
        "before": [*job.preamble[len(plan.preamble) :], *([job.setup] if job.setup else [])],
        "pauses": pauses(job),
        "options": sbatch_options(job) if plan.backend == "slurm" else [],
    }
    yield from (f"{name}=({words(values)})" for name, values in arrays.items() if values)
    if plan.backend == "slurm" and job.at:
        # the time zone is that of where the script runs
        yield f"""options+=(--begin="$(printf '%(%Y-%m-%dT%H:%M:%S)T' {math.ceil(job.at)})")"""
    yield from (f"{name}={quoted(value)}" for name, value in single(plan, task, job).items() if value)


def single(plan: Plan, task: Task, job: Job) -> dict[str, str]:
    refused = refusal(plan, task, job)
    return {
        "teardown": job.teardown,
        "timeout": plain(job.timeout) if job.timeout else "",
        "at": str(math.ceil(job.at)) if job.at and plan.backend != "slurm" else "",
        "wanted": str(job.gpus) if job.gpus and plan.shares_gpus else "",
        "refused": refused,
    }


def own_variables(plan: Plan, job: Job) -> dict[str, str]:
    """The variables that not all jobs have alike."""
    return {name: value for name, value in job.env.items() if name not in plan.environment}


def own_gpus(plan: Plan, job: Job) -> dict[str, str]:
    """The first GPUs are for every job if no two jobs run at the same time."""
    if plan.backend != "serial" or not plan.gpus or not job.gpus:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(plan.gpus[: job.gpus])}


def pauses(job: Job) -> list[str]:
    """The seconds before each retry."""
    return [plain(min(job.backoff * 2.0**turn, LONGEST_PAUSE)) for turn in range(min(job.retries, MOST_PAUSES))]


def sbatch_options(job: Job) -> list[str]:
    """What the job asks of Slurm; what was said to Slurm itself comes first."""
    derived: dict[str, Any] = {
        "cpus-per-task": job.cpus,
        "mem": f"{math.ceil(job.mem / MIB)}M" if job.mem else None,
        "gres": f"gpu:{job.gpus}" if job.gpus else None,
        "time": minutes(job) if job.timeout else None,
    }
    said = {name.lstrip("-").replace("_", "-"): value for name, value in job.slurm.items()}
    options = {**derived, **said}
    return [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in options.items()
        if value is not None and value is not False and name not in OWN_OPTIONS
    ]


def minutes(job: Job) -> int:
    """Time enough for every try and the end of each: timeout(1) is more exact, and so shall be the first."""
    tries = ((job.timeout or 0) + 10) * (1 + min(job.retries, MOST_PAUSES))
    return math.ceil((tries + sum(map(float, pauses(job)))) / 60)


# Dependencies


def inner_links(plan: Plan, task: Task) -> list[tuple[str, str]]:
    """The links to other jobs of the script; if one outside has failed already, those that might only have to end."""
    links = [(uid, kind) for uid, kind in Job.of(task).links(task.after) if uid in plan.keys]
    met = any(kind == FAILED and fulfils(plan.outside.get(uid), kind) for uid, kind in outer_links(plan, task))
    return [(uid, ANY if met and kind == FAILED else kind) for uid, kind in links]


def outer_links(plan: Plan, task: Task) -> list[tuple[str, str]]:
    return [(uid, kind) for uid, kind in Job.of(task).links(task.after) if uid not in plan.keys]


def fulfils(other: Task | None, kind: str) -> bool:
    """Whether a task outside has ended as a link of that kind wants it."""
    if other is None or not other.status.is_final:
        return False
    return kind == ANY or (other.status is Status.COMPLETE) == (kind == OK)


def refusal(plan: Plan, task: Task, job: Job) -> str:
    """What becomes of a job that the script cannot run; nothing if it can."""
    if plan.gpus and job.gpus > len(plan.gpus):
        return f"failed 125 ({asks_for(job.gpus)}, and the queue has {len(plan.gpus)})"
    may_fail = any(kind == FAILED for _, kind in inner_links(plan, task))
    outer = outer_links(plan, task)
    met = any(kind == FAILED and fulfils(plan.outside.get(uid), kind) for uid, kind in outer)
    for uid, kind in outer:
        other = plan.outside.get(uid)
        is_over = other is not None and other.status.is_final
        if not fulfils(other, kind) and not (kind == FAILED and is_over and (met or may_fail)):
            end = "failed 125" if other is not None and not is_over else "skipped"  # of what goes on nobody knows
            return f"{end} (it depends on {one_line(uid)}, which was {other.status if other else 'not there'})"
    return ""


# Words


def assignments(variables: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in variables.items()]


def plain(value: float) -> str:
    """A number without an exponent."""
    return f"{value:f}".rstrip("0").rstrip(".") if value else "0"
