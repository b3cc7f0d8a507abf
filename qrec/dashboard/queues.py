"""The queues: JSON of their jobs, their graph and their timeline, and what can be done with them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from urllib.parse import unquote, urlsplit

from qrec.cli.gantt import bars, side_by_side
from qrec.dashboard.acting import cancel_all
from qrec.dashboard.board import Boards, counts
from qrec.dashboard.covering import covered
from qrec.dashboard.folding import folded, near
from qrec.dashboard.layout import layout
from qrec.dashboard.tasks import linked
from qrec.drawing import MOST_REDUCED, without_shortcuts
from qrec.errors import NoSuchJob, NoSuchQueue, Refused, WrongUsage
from qrec.executors.queue import Job, label
from qrec.explain import Picture, explain
from qrec.graph import ANY, FAILED, OK, ordered
from qrec.jobs import Jobs
from qrec.task import UNFINISHED, Record, Status, Task, moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from typing import Any

    from flask import Flask

    from qrec.api import Qrec
    from qrec.dashboard.layout import Layout
    from qrec.stores.base import Store

    Row = dict[str, Any]
    Asked = Mapping[str, str]

MOST = 5_000  #: jobs that are listed at a time
LABEL = 60  #: characters of a node's label
HOPS, FARTHEST = 2, 20  #: steps around the job in focus
OUTSIDE = 500  #: tasks of which jobs depend and that are not of the queue, that are drawn
FOLLOWERS = 100  #: jobs that wait for one, that are named
LAYOUTS = 8  #: drawings that are kept
PLACES = 100  #: of a queue's jobs that are named
ENDS = 60  #: over how many of the last ends the pace is averaged
#: What of a policy may be changed from here: nothing that is ever executed.
SETTABLE = ("workers", "cpus", "mem")
GROUP = "group:"  #: before the uid of the job that stands for a group
BLOCKED = "blocked"  #: a queued job that waits for another


def register(app: Flask, door: Qrec) -> None:
    """Add the routes of the queues."""
    from flask import jsonify, request

    from qrec.dashboard.app import body

    boards, drawings = Boards(), Drawings()

    @app.get("/queues.json")
    def queue_list() -> Any:
        return jsonify(listed(door, boards))

    @app.get("/queues/<path:name>.json")
    def queue(name: str) -> Any:
        name, part = split(as_written(request.environ), door.store.policies())
        return jsonify(PARTS[part](door, boards, drawings, name, request.args))

    @app.post("/api/queues/<path:name>/<action>")
    def act(name: str, action: str) -> Any:
        return jsonify(acted(door, boards, name, action, body()))


def as_written(environ: Mapping[str, Any]) -> str:
    """What an address names, with all that is escaped in it."""
    path: str = urlsplit(environ["REQUEST_URI"]).path
    return path.removeprefix("/queues/").removesuffix(".json")


def split(path: str, known: Collection[str]) -> tuple[str, str]:
    """A queue's name and the part of it that an address asks for: `x/graph` is the graph of `x`, `x%2Fgraph` a queue.

    A name with a slash may be written as it is where that can mean nothing else.
    """
    name, _, part = path.rpartition("/")
    return (unquote(name), part) if part in PARTS and unquote(name) in known else (unquote(path), "")


# All queues


def listed(door: Qrec, boards: Boards) -> Row:
    """Every queue, and how it stands."""
    door.refresh()
    sequence = door.store.last_event()
    told = []
    for name in sorted(door.store.policies()):
        try:
            queue, jobs = boards.jobs(door, name)
            told.append(standing(queue, jobs, Picture(queue, unfinished(jobs))))
        except NoSuchQueue:
            continue  # forgotten meanwhile
    return {"queues": told, "sequence": sequence}


def unfinished(jobs: Mapping[str, Task]) -> list[Task]:
    """The jobs that have not ended."""
    return [job for job in jobs.values() if job.status in UNFINISHED]


def standing(queue: Jobs, jobs: Mapping[str, Task], picture: Picture) -> Row:
    """How a queue stands as a whole."""
    policy = picture.policy
    crews = [
        {"pid": crew.pid, "host": crew.host, "slots": crew.limits.slots, "running": len(crew.running)}
        for crew in picture.crews
    ]
    there = counts(jobs)
    waiting = [job for job in jobs.values() if job.status is Status.QUEUED]
    rate = pace(jobs.values())
    left = sum(there.get(status.value, 0) for status in UNFINISHED)
    goes_on = bool(crews) and not policy.get("paused") and left > there.get("running", 0)
    return {
        "name": queue.name, "counts": there, "total": len(jobs), "left": left, "belongs": belongs(jobs.values()),
        BLOCKED: sum(1 for job in waiting if picture.waits_for(job)),
        "paused": bool(policy.get("paused")), "backend": policy.get("backend"), "created": policy.get("created"),
        "workers": crews,
        "slots": sum(crew["slots"] for crew in crews) if crews else int(policy.get("workers") or 1),
        "set": {name: policy[name] for name in SETTABLE if policy.get(name) is not None},
        "rate": rate, "seconds_left": left / rate if rate and goes_on else None,
    }  # fmt: skip


def belongs(jobs: Iterable[Task]) -> list[dict[str, str]]:
    """In which folders and for whom jobs run: each once, so that somebody who is asked about all of them can see it."""
    found = list(dict.fromkeys((job.pwd, job.user, job.host) for job in jobs))
    return [dict(zip(("pwd", "user", "host"), one, strict=True)) for one in found[:PLACES]]


def pace(jobs: Iterable[Task]) -> float | None:
    """How many jobs end in a second, going by the last that did; None if nobody can tell."""
    ends = sorted(job.ended for job in jobs if job.ended)[-ENDS:]
    if len(ends) < 3:
        return None
    passed = time.time() - moment(ends[0]).timestamp()
    return (len(ends) - 1) / passed if passed > 1.0 else None


# One queue


def told(door: Qrec, boards: Boards, _: object, name: str, asked: Asked) -> Row:
    """A queue and its jobs: those that are asked for, each with why it is not running."""
    door.refresh()
    sequence = door.store.last_event()
    queue, jobs = boards.jobs(door, name)
    picture = Picture(queue, list(jobs.values()))
    found = chosen(jobs.values(), asked)
    limit, after = whole(asked, "limit", MOST, MOST), whole(asked, "after", 0, 1 << 62)
    shown = [job for job in found if job.number > after][:limit]
    return {
        "queue": name, **standing(queue, jobs, picture),
        "jobs": covered(door, [row(job, picture) for job in shown]),
        "found": len(found), "next": shown[-1].number if shown and shown[-1] is not found[-1] else None,
        "policy": policy_shown(door, picture.policy), "sequence": sequence,
    }  # fmt: skip


def chosen(jobs: Iterable[Task], asked: Asked) -> list[Task]:
    """The jobs that match `status` (several with commas), `q` (a part of name, command, note or tag), `finished=0`."""
    statuses = {word for word in asked.get("status", "").split(",") if word}
    if unknown := statuses - {status.value for status in Status}:
        raise WrongUsage(f"{sorted(unknown)[0]!r} is no status; there are: {', '.join(Status)}")
    words = asked.get("q", "").casefold().split()
    running_only = asked.get("finished") == "0"
    return [
        job
        for job in jobs
        if (not statuses or job.status.value in statuses) and not (running_only and job.status.is_final)
        and (not words or all(word in text_of(job) for word in words))
    ]  # fmt: skip


def text_of(job: Task) -> str:
    """All of a job that a word may be found in."""
    return "\n".join((str(job.number), job.name or "", job.command, job.message, *job.tags)).casefold()


def whole(asked: Asked, name: str, usual: int, most: int) -> int:
    """A number of the query string."""
    word = asked.get(name) or str(usual)
    if not word.isdecimal() or not word.isascii():
        raise WrongUsage(f"{name} is a whole number")
    return min(int(word[:20]), most)


def row(job: Task, picture: Picture) -> Row:
    """A job in a list."""
    waits = picture.waits_for(job)
    names = "message tags returncode priority attempt host pwd user created started ended seconds".split()
    return {
        "name": job.name, "number": job.number, "uid": job.uid, "status": job.status.value,
        "state": BLOCKED if waits else job.status.value, "command": job.command, "after": list(job.after),
        "waits_for": waits, "why": picture.why(job), **{name: getattr(job, name) for name in names},
        "slot": job.data.get("slot"), "inner": job.data.get("inner", "shell"), "memory": job.usage.get("memory"),
    }  # fmt: skip


def policy_shown(door: Qrec, policy: Mapping[str, Any]) -> Row:
    """A policy as it may be shown: its variables may be secrets."""
    env = door.redactor.variables(dict(policy.get("env") or {}))
    shown: Row = covered(door, {**policy, "env": env})
    return {name: value for name, value in shown.items() if name not in ("since", "size") and value not in (None, {})}


# One job


def one(door: Qrec, boards: Boards, _: object, name: str, asked: Asked) -> Row:
    """A job: why it is not running, what it waits for, and what waits for it."""
    door.refresh()
    queue, jobs = boards.jobs(door, name)
    job = find(queue, jobs, asked.get("job", ""))
    picture = Picture(queue, unfinished(jobs))
    links = Job.of(job).links(job.after)
    followers = [other for other in jobs.values() if job.uid in other.after]
    return {
        "job": covered(door, row(job, picture)), "why": covered(door, explain(queue, job)),
        "parents": [
            {**(linked(door, parent) if (parent := picture.task(uid)) else {"uid": uid, "gone": True}), "kind": kind,
             "inside": uid in jobs}
            for uid, kind in links
        ],
        "children": [
            {**linked(door, child), "kind": dict(Job.of(child).links(child.after))[job.uid], "inside": True}
            for child in followers[:FOLLOWERS]
        ],
        "followers": len(followers),
    }  # fmt: skip


def find(queue: Jobs, jobs: Mapping[str, Task], reference: str) -> Task:
    """A job by uid, number or name.  NoSuchJob."""
    if reference in jobs:
        return jobs[reference]
    for job in jobs.values():
        if str(job.number) == reference:
            return job
    for job in jobs.values():
        if job.name == reference:
            return job
    raise NoSuchJob(queue.name, reference[:100])


# The graph


class Network(Record):
    """What is drawn: nodes with their status and the links between them."""

    statuses: Mapping[str, str]
    parents: Mapping[str, Sequence[tuple[str, str]]]
    outside: Mapping[str, Task]  #: tasks that are not of the queue


def graph(door: Qrec, boards: Boards, drawings: Drawings, name: str, asked: Asked) -> Row:
    """The graph with a place for every node.

    `focus` names a job: only what is within `hops` steps of it is drawn.  `collapse=0` folds nothing, `open` names
    groups (with commas) that are not folded, and `apart` a job that is drawn by itself in any case.
    """
    door.refresh()
    sequence = door.store.last_event()
    queue, jobs = boards.jobs(door, name)
    whole_network = network(door.store, jobs)
    focus, hops = asked.get("focus", ""), whole(asked, "hops", HOPS, FARTHEST)
    if focus:
        focus = find(queue, jobs, focus).uid
        seen = near(focus, whole_network.parents, hops)
    else:
        seen = set(whole_network.statuses)
    part = within(whole_network, seen)
    heads = {node: node for node in part.statuses}
    if asked.get("collapse", "1") != "0":
        unfolded = {word.removeprefix(GROUP) for word in asked.get("open", "").split(",")}
        apart = [word for word in (focus, asked.get("apart", "")) if word in part.statuses]
        heads = unfold(folded(part.statuses, part.parents, apart), unfolded)
    links, left_out = drawn_links(part, heads)
    groups: dict[str, list[str]] = {}
    for node, head in heads.items():
        groups.setdefault(head, []).append(node)
    nodes = list(groups)
    drawing = drawings.of(nodes, [link[:2] for link in links])
    place = {node: at for at, node in enumerate(nodes)}
    return {
        "nodes": covered(door, [node_row(head, groups[head], part, jobs, drawing) for head in nodes]),
        "links": [
            {"from": place[source], "to": place[target], "kind": kind,
             "bad": broken(part.statuses[source], kind, groups[source]),
             **({"bends": [[round(x, 2), round(y, 2)] for x, y in bends]} if bends else {})}
            for (source, target, kind), bends in zip(links, drawing.bends, strict=True)
        ],
        "columns": drawing.columns, "rows": round(drawing.rows, 2), "total": len(jobs), "shown": len(part.statuses),
        "folded": sum(len(group) for group in groups.values() if len(group) > 1), "left_out": left_out,
        "focus": focus or None, "hops": hops, "counts": counts(jobs), "sequence": sequence,
    }  # fmt: skip


def network(store: Store, jobs: Mapping[str, Task]) -> Network:
    """The jobs of a queue, and the tasks that they depend on."""
    parents = {uid: Job.of(job).links(job.after) if job.after else [] for uid, job in jobs.items()}
    strangers = dict.fromkeys(uid for links in parents.values() for uid, _ in links if uid not in jobs)
    outside = {}
    for uid in list(strangers)[:OUTSIDE]:
        try:
            outside[uid] = store.get(uid)
        except Exception:  # gone: nothing to draw
            continue
    known = {**{uid: task.status for uid, task in outside.items()}, **{uid: job.status for uid, job in jobs.items()}}
    statuses = {uid: state_of(uid, known, parents.get(uid, ())) for uid in known}
    drawn = {uid: [link for link in links if link[0] in known] for uid, links in parents.items()}
    return Network(statuses=statuses, parents={**dict.fromkeys(outside, ()), **drawn}, outside=outside)


def state_of(uid: str, known: Mapping[str, Status], links: Iterable[tuple[str, str]]) -> str:
    """A status, or BLOCKED if it waits for another."""
    status = known[uid]
    if status is Status.QUEUED and any(parent in known and not known[parent].is_final for parent, _ in links):
        return BLOCKED
    return status.value


def within(whole_network: Network, seen: Collection[str]) -> Network:
    """A part of a network."""
    return Network(
        statuses={node: status for node, status in whole_network.statuses.items() if node in seen},
        parents={
            node: [link for link in links if link[0] in seen]
            for node, links in whole_network.parents.items() if node in seen
        },
        outside=whole_network.outside,
    )  # fmt: skip


def unfold(heads: Mapping[str, str], unfolded: Collection[str]) -> dict[str, str]:
    """The groups without those that are to be seen; a circle cannot come of that, as there are only fewer groups."""
    return {node: node if head in unfolded else head for node, head in heads.items()}


def drawn_links(part: Network, heads: Mapping[str, str]) -> tuple[list[tuple[str, str, str]], int]:
    """The links between what is drawn, and how many are left out since they follow from others."""
    kinds: dict[tuple[str, str], str] = {}
    for child, links in part.parents.items():
        for parent, kind in links:
            pair = heads[parent], heads[child]
            if pair[0] != pair[1] and kinds.get(pair, OK) == OK:
                kinds[pair] = kind
    needed = necessary(dict.fromkeys(heads.values()), [pair for pair, kind in kinds.items() if kind == OK])
    drawn = [(*pair, kind) for pair, kind in kinds.items() if kind != OK or pair in needed]
    return drawn, len(kinds) - len(drawn)


def necessary(nodes: Iterable[str], pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """The pairs that do not follow from others."""
    parents: dict[str, list[str]] = {node: [] for node in nodes}
    for parent, child in pairs:
        parents[child].append(parent)
    if len(parents) > MOST_REDUCED or len(ordered(parents)) < len(parents):
        return set(pairs)
    return {(parent, child) for child, above in without_shortcuts(parents).items() for parent in above}


def broken(status: str, kind: str, group: Sequence[str]) -> str:
    """What is to be said of a link from something that did not complete; nothing of other links that must complete."""
    if kind == ANY:
        return "any end"
    if kind == FAILED:
        return "if failed"
    return status if status in ("failed", "cancelled", "skipped", "lost") else ""


def node_row(
    head: str, group: Sequence[str], part: Network, jobs: Mapping[str, Task], drawing: Layout
) -> dict[str, Any]:
    """What is drawn at a place: a job, or several as one."""
    column, place = drawing.places[head]
    job = jobs.get(head) or part.outside[head]
    status = part.statuses[head]
    told: Row = {"uid": head, "status": status, "x": round(column, 2), "y": round(place, 2)}
    if len(group) > 1:
        return {
            **told,
            "uid": f"{GROUP}{head}",
            "count": len(group),
            "label": f"{len(group):,} {'done' if status == 'complete' else status}",
        }
    if head not in jobs:
        told["outside"] = True
    return {**told, "number": job.number, "label": label_of(job)}


def label_of(job: Task) -> str:
    """What stands for a job: its name, else its command."""
    text = " ".join((job.name or job.command).split())
    return text if len(text) <= LABEL else f"{text[: LABEL - 1]}…"


class Drawings:
    """The layouts that were made last: of a queue that runs only the statuses change, mostly."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: OrderedDict[object, Layout] = OrderedDict()

    def of(self, nodes: Sequence[str], links: Sequence[tuple[str, str]]) -> Layout:
        """The layout of a graph."""
        key = (tuple(nodes), tuple(links))
        with self.lock:
            found = self.made.pop(key, None) or layout(nodes, links)
            self.made[key] = found
            while len(self.made) > LAYOUTS:
                self.made.popitem(last=False)
            return found


# The timeline


def timeline(door: Qrec, boards: Boards, _: object, name: str, __: Asked) -> Row:
    """When each job ran, by slot, and the chain of jobs that took longest."""
    door.refresh()
    sequence, now = door.store.last_event(), time.time()
    _queue, jobs = boards.jobs(door, name)
    every = bars(jobs.values(), now)
    if len({jobs[bar.uid].host for bar in every}) > 1:
        every = [bar.copy(slot=f"{jobs[bar.uid].host} {bar.slot}") for bar in every]
    every.sort(key=lambda bar: (natural(bar.slot), bar.start, bar.number))
    chain, seconds = longest_chain(jobs, now)
    lanes: list[Row] = []
    told: list[Row] = []
    for slot in dict.fromkeys(bar.slot for bar in every):
        for lane in side_by_side([bar for bar in every if bar.slot == slot], slot):
            lanes.append({"slot": slot})
            told += [
                {"uid": bar.uid, "number": bar.number, "label": label_of(jobs[bar.uid]), "status": bar.status.value,
                 "lane": len(lanes) - 1, "start": bar.start, "end": bar.end if jobs[bar.uid].ended else None}
                for bar in lane
            ]  # fmt: skip
    return {
        "lanes": lanes, "bars": covered(door, told), "now": now,
        "begin": min((bar.start for bar in every), default=None), "end": max((bar.end for bar in every), default=None),
        "critical": chain, "critical_seconds": seconds, "total": len(jobs), "begun": len(told),
        "counts": counts(jobs), "sequence": sequence,
    }  # fmt: skip


def natural(words: str) -> list[tuple[int, str]]:
    """What sorts `slot 10` behind `slot 9`."""
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in words.split()]


def longest_chain(jobs: Mapping[str, Task], now: float) -> tuple[list[str], float]:
    """The jobs, each after the one before, that took longest together: what the whole could not be faster than."""
    took: dict[str, float] = {}
    before: dict[str, str | None] = {}
    last: str | None = None
    for uid in ordered({uid: job.after for uid, job in jobs.items()}):
        job = jobs[uid]
        above = max((parent for parent in job.after if parent in took), key=took.__getitem__, default=None)
        took[uid] = (took[above] if above else 0.0) + ran(job, now)
        before[uid] = above
        if ran(job, now) and (last is None or took[uid] > took[last]):
            last = uid
    chain: list[str] = []
    seconds = took[last] if last else 0.0
    while last is not None:
        if ran(jobs[last], now):
            chain.append(last)
        last = before[last]
    return chain[::-1], seconds


def ran(job: Task, now: float) -> float:
    """For how long a job ran; nothing before it began, or if nobody saw its end."""
    if job.started is None or (job.ended is None and job.status.is_final):
        return 0.0
    return max(0.0, (moment(job.ended).timestamp() if job.ended else now) - moment(job.started).timestamp())


#: What is told of a queue at `/queues/NAME/PART.json`.
PARTS: Mapping[str, Callable[[Any, Boards, Any, str, Any], Row]] = {
    "": told, "graph": graph, "timeline": timeline, "job": one,
}  # fmt: skip


# Acting


def acted(door: Qrec, boards: Boards, name: str, action: str, given: Mapping[str, Any]) -> Row:
    """Do something with a queue, or with some of its jobs; tells how it stands then."""
    queue = Jobs(door, name)
    queue.policy  # noqa: B018  (it must be there)
    if action not in ACTIONS:
        raise WrongUsage(f"a queue has no {action!r}; there are: {', '.join(ACTIONS)}")
    outcome = ACTIONS[action](door, queue, given)
    queue, jobs = boards.jobs(door, name)
    return {**outcome, "queue": standing(queue, jobs, Picture(queue, unfinished(jobs)))}


def pause(_: Qrec, queue: Jobs, __: Mapping[str, Any]) -> Row:
    """Let no more jobs begin."""
    queue.pause()
    return {}


def resume(_: Qrec, queue: Jobs, __: Mapping[str, Any]) -> Row:
    """Let jobs begin again."""
    queue.resume()
    return {}


def change(_: Qrec, queue: Jobs, given: Mapping[str, Any]) -> Row:
    """Change how many jobs may run at a time, and what they may use together; null takes a limit away."""
    if not given or (unknown := sorted(set(given) - set(SETTABLE))):
        raise WrongUsage(f"{', '.join(unknown) if given else 'nothing'} cannot be set here; {', '.join(SETTABLE)} can")
    for name, value in given.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 53):
            raise WrongUsage(f"{name} is a whole number above 0")
    if given.get("workers", 1) is None:
        raise WrongUsage("workers is a whole number above 0")
    queue.set(**given)
    return {}


def retry(_: Qrec, queue: Jobs, given: Mapping[str, Any]) -> Row:
    """Let jobs wait again: those that are named, or all that did not complete."""
    jobs = named(queue, given)
    if jobs is not None and (going := [job for job in jobs if not job.status.is_final]):
        raise Refused(f"{label(going[0])} is {going[0].status}; only what has ended can be tried again")
    return {"done": [job.uid for job in queue.retry(jobs)], "failed": []}


def cancel(door: Qrec, queue: Jobs, given: Mapping[str, Any]) -> Row:
    """End jobs: those that are named, or all that have not ended.  What waits goes first, so that nothing follows."""
    jobs = named(queue, given)
    chosen_ones = [job for job in (queue.unfinished() if jobs is None else jobs) if not job.status.is_final]
    with queue.store.together():
        waiting = queue.cancel([job for job in chosen_ones if job.status is Status.QUEUED])
    over = {job.uid for job in waiting}
    why_not = cancel_all(door, [job for job in chosen_ones if job.uid not in over])
    return {
        "done": [job.uid for job in waiting] + [uid for uid, why in why_not.items() if why is None],
        "failed": [{"id": uid, "why": why} for uid, why in why_not.items() if why is not None],
    }


def named(queue: Jobs, given: Mapping[str, Any]) -> list[Task] | None:
    """The jobs that a request names; None if it names none, and so means all."""
    if "jobs" not in given:
        return None
    uids = given["jobs"]
    if not isinstance(uids, list) or not uids or not all(isinstance(uid, str) for uid in uids) or len(uids) > MOST:
        raise WrongUsage(f"jobs is a list of jobs' ids, {MOST} at most")
    return [queue.find(uid) for uid in dict.fromkeys(uids)]


ACTIONS: Mapping[str, Callable[[Any, Jobs, Mapping[str, Any]], Row]] = {
    "pause": pause, "resume": resume, "retry": retry, "cancel": cancel, "set": change,
}  # fmt: skip
