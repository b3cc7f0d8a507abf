"""Kills qrec at any moment, again and again, and judges after every blow what it has left.

    python -m tests.faults.campaign [--blows 1000] [--store sqlite|filesystem] [--seed N]

Commands print numbered lines, so that of every byte it is known whether it belongs where it is.  What they print
reaches a file through qrec: what is in there has been seen, and must be on record.  Two sorts of blows: after a random
time, as long as the verb takes at most, and at a random step, counted in lines of qrec's own code (`steps.py`).
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from qrec import Qrec, Status
from qrec.output import STREAMS
from qrec.task import Task
from tests.helpers import environment, kill_processes_of, processes_of, wait_until

STEPS = str(Path(__file__).with_name("steps.py"))
#: Seconds until everything that a verb has started must be gone.
LEASH = 60.0
#: Blows that one home takes before the next is made, as even looking at all its tasks takes time.
BLOWS_A_HOME = 40
#: How often it is looked through the command line, and not only by the API.
CLI_EVERY = 20
#: A fuse that never burns down.
ENDLESS = 10**9

#: Leaves a witness that it ran, then prints so many bursts of so many numbered lines on each stream.
SCRIPT = """\
echo "$2" >>"$1"; n=0
while [ "$n" -lt "$3" ]; do
    from=$((n * $4)); to=$((from + $4 - 1)); n=$((n + 1))
    seq -f "$2 out %08.0f" "$from" "$to"; seq -f "$2 err %08.0f" "$from" "$to" >&2
    [ "$5" = 0 ] || sleep "$5"
done
exit "$6"
"""


class Violation(AssertionError):
    """qrec has broken a promise."""


class Plan:
    """A command whose every byte is known."""

    def __init__(self, token: str, bursts: int, lines: int, pause: float, code: int, pty: bool, detached: bool) -> None:
        self.token = token
        self.bursts, self.lines, self.pause = bursts, lines, pause
        self.code = code
        self.pty = pty
        self.detached = detached

    def argv(self, witness: Path) -> list[str]:
        """The words of the command."""
        numbers = [str(number) for number in (self.bursts, self.lines, self.pause, self.code)]
        return ["sh", "-c", SCRIPT, "sh", str(witness), self.token, *numbers]

    def printed(self, stream: str) -> bytes:
        """What it prints on a stream if nobody stops it."""
        return "".join(f"{self.token} {stream[3:]} {n:08d}\n" for n in range(self.bursts * self.lines)).encode()


class Attempt:
    """What is known of an attempt that has ended: none of it may change any more."""

    def __init__(self, task: Task, streams: dict[str, bytes]) -> None:
        self.status, self.returncode = task.status, task.returncode
        self.streams = streams

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attempt) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.status, self.returncode))

    def __repr__(self) -> str:
        sizes = {stream: len(content) for stream, content in self.streams.items()}
        return f"{self.status}, code {self.returncode}, bytes {sizes}"


class Verb:
    """One call of qrec, with all the processes that come of it."""

    def __init__(self, field: Field, words: Sequence[str], fuse: tuple[str, int] | None = None) -> None:
        self.out, self.err = field.fresh("out"), field.fresh("err")
        self.note = field.fresh("note")
        program = ["-m", "qrec"] if fuse is None else [STEPS, fuse[0], str(fuse[1]), str(self.note)]
        leash, end = os.pipe()  # at its end when every process that holds the other end is gone
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *program, *words], env=field.environment, cwd=field.folder, stdin=subprocess.DEVNULL,
                stdout=out, stderr=err, pass_fds=[end], start_new_session=True,
            )  # fmt: skip
        os.close(end)
        self.leash = leash

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it has ended within this time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is not None

    def killed(self) -> bool:
        """Whether it died of a blow."""
        return self.process.wait() == -signal.SIGKILL

    def wait_for_all(self) -> None:
        """Wait for everything that came of it."""
        self.process.wait(LEASH)
        if not select.select([self.leash], [], [], LEASH)[0]:
            raise Violation("something goes on for ever")
        os.close(self.leash)

    def seen(self) -> dict[str, bytes]:
        """What of the command's output has reached the reader."""
        return {"stdout": self.out.read_bytes(), "stderr": self.err.read_bytes().partition(b"qrec: ")[0]}

    def told(self) -> str:
        """What the fuse has noted."""
        return self.note.read_text() if self.note.exists() else ""


class Field:
    """A home under fire, and all that is known of what it must hold."""

    def __init__(self, folder: Path, kind: str, chance: random.Random) -> None:
        self.folder = folder
        self.kind = kind
        self.chance = chance
        self.home = folder / "home"
        (folder / "user").mkdir()
        self.environment = environment(
            {"HOME": str(folder / "user"), "QREC_HOME": str(self.home), "QREC_STORE": kind, "SHELL": "/bin/sh",
             "PYTHONPATH": str(Path(__file__).parents[2]), "QREC_QUIET": "1", "LC_ALL": "C.UTF-8"}
        )  # fmt: skip
        self.files = 0
        self.plans: dict[str, Plan] = {}  #: by token
        self.numbers: dict[str, int] = {}  #: of all tasks that were ever seen, by uid
        self.ended: dict[str, dict[int, Attempt]] = {}  #: by uid and attempt
        self.tokens: dict[str, str] = {}  #: by uid
        self.ran: dict[str, int] = {}  #: how often each command has run, by token

    def fresh(self, name: str) -> Path:
        """A path that is not used yet."""
        self.files += 1
        return self.folder / f"{self.files}.{name}"

    def witness(self, token: str) -> Path:
        """Where a command tells that it ran."""
        return self.folder / f"{token}.ran"

    def times_run(self, token: str) -> int:
        """How often the command has run."""
        path = self.witness(token)
        return path.read_text().count("\n") if path.exists() else 0

    # Verbs

    def plan(self) -> Plan:
        """A command to be run."""
        lines, bursts, pause = self.chance.choice([(3, 1, 0.0), (20, 4, 0.01), (3000, 1, 0.0), (900, 4, 0.005)])
        sort = self.chance.random()
        plan = Plan(
            f"t{len(self.plans)}", bursts, lines, pause, self.chance.choice([0, 3]), pty=sort < 0.2, detached=sort > 0.8
        )
        self.plans[plan.token] = plan
        return plan

    def options(self, plan: Plan) -> list[str]:
        """How it is run."""
        return ["-d"] * plan.detached + ["--pty"] * plan.pty

    def pick(self) -> str | None:
        """A task that has ended."""
        return self.chance.choice(sorted(self.ended)) if self.ended else None

    # Judging

    def judge(self, verb: Verb | None = None, token: str = "", cleared: str = "", crashed: bool = False) -> None:
        """Look at all there is by a fresh door.

        `verb` ran the command of `token`; `cleared` is a task that may be gone; `crashed` says that everything died.
        """
        door = Qrec(str(self.home), self.kind)
        try:
            tasks = settled(door)
            demand(not door.complaints, f"complaints: {door.complaints}")
            self.judge_tasks(tasks, cleared)
            for task in tasks.values():
                self.judge_attempts(door, task)
            if token:
                self.judge_run(tasks, verb, token, crashed)
            if cleared and cleared not in tasks:
                self.forget(cleared)
            self.judge_folders(tasks)
            faults = [fault.text for fault in door.store.check() if not fault.mendable]
            demand(not faults, f"faults of the store: {faults}")
        finally:
            door.store.close()
        self.judge_files()

    def judge_tasks(self, tasks: dict[str, Task], cleared: str) -> None:
        """None has vanished, and each has its number for itself and for ever."""
        demand(not (gone := self.ended.keys() - tasks.keys() - {cleared}), f"vanished: {gone}")
        highest = max(self.numbers.values(), default=0)
        for uid, task in tasks.items():
            if uid in self.numbers:
                demand(self.numbers[uid] == task.number, f"{uid} was {self.numbers[uid]} and is {task.number}")
            else:
                demand(task.number > highest, f"the number {task.number} is used again")
                self.tokens[uid] = task.argv[5] if len(task.argv) > 5 else ""
        demand(len({task.number for task in tasks.values()}) == len(tasks), "two tasks of one number")
        self.numbers.update((uid, task.number) for uid, task in tasks.items())

    def judge_attempts(self, door: Qrec, task: Task) -> None:
        """Each is whole: it is the beginning of what the command prints, and what was known is as it was."""
        known = self.ended.setdefault(task.uid, {})
        found = [*door.store.attempts(task.uid), task]
        demand([one.attempt for one in found] == list(range(1, task.attempt + 1)), f"attempts of {task.uid}: {found}")
        for one in found:
            output = door.store.output(one)
            now = Attempt(one, {stream: output.read(stream) for stream in STREAMS})
            plan = self.plans[self.tokens[task.uid]]
            if one.attempt in known:
                demand(known[one.attempt] == now, f"{task.uid}.{one.attempt} was {known[one.attempt]}, is {now}")
            else:
                self.judge_output(plan, one, now)
            known[one.attempt] = now

    def judge_output(self, plan: Plan, task: Task, now: Attempt) -> None:
        """The recorded streams are what the command prints, up to a point; all of it if it has come to its end."""
        demand(now.status in (Status.LOST, Status.COMPLETE, Status.FAILED), f"{task.uid}: {now}")
        for stream, content in now.streams.items():
            demand(plan.printed(stream).startswith(content), f"{task.uid}.{task.attempt}: strange {stream}: {now}")
        if now.status is not Status.LOST:
            demand(now.returncode == plan.code, f"{task.uid}: ended with {plan.code}, recorded {now}")
            whole = all(plan.printed(stream) == content for stream, content in now.streams.items())
            demand(whole, f"{task.uid}.{task.attempt} is {now}, of {len(plan.printed('stdout'))} each")

    def judge_run(self, tasks: dict[str, Task], verb: Verb | None, token: str, crashed: bool) -> None:
        """A command that ran is on record with all that was seen of it; a detached one has its code."""
        plan, ran = self.plans[token], self.times_run(token)
        mine = [uid for uid in tasks if self.tokens[uid] == token]
        demand(len(mine) <= 1, f"two tasks of one run: {mine}")
        task = tasks[mine[0]] if mine else None
        demand(task is not None or not ran, f"{token} ran and is not on record")
        demand(task is None or ran <= task.attempt, f"{token} ran {ran} times in {task and task.attempt} attempts")
        seen = {} if verb is None or plan.detached else verb.seen()
        for stream, content in seen.items():
            recorded = self.ended[task.uid][task.attempt].streams[stream] if task else b""
            where = f"{token}: {len(content)} bytes of {stream} were seen, {len(recorded)} are recorded"
            demand(recorded.startswith(content), where)
        if plan.detached and task is not None and ran > self.ran.get(token, 0) and not crashed:
            demand(task.status is not Status.LOST, f"{token} ran detached, and its end is lost: {task}")
        self.ran[token] = ran

    def judge_folders(self, tasks: dict[str, Task]) -> None:
        """No output lies about that belongs to nobody."""
        for folder in self.home.glob("attempts/*/*"):
            uid, _, attempt = folder.name.rpartition(".")
            is_known = uid in tasks and int(attempt) <= tasks[uid].attempt
            demand(is_known, f"orphaned: {folder.name}, {os.listdir(folder)}")

    def judge_files(self) -> None:
        """Every file can be read."""
        for path in self.home.glob("tasks/*/*.json"):
            json.loads(path.read_bytes())
        if (path := self.home / "qrec.db").exists():
            with contextlib.closing(sqlite3.connect(path)) as db:
                demand(db.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the database is corrupt")
                for table in ("outputs", "attempts", "extras"):
                    where = "number NOT IN (SELECT number FROM tasks)"
                    left = db.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0]
                    demand(not left, f"{left} rows of {table} belong to no task")

    def judge_by_command_line(self) -> None:
        """What a person would look at works, too."""
        tasks = json.loads(self.call("ls", "--all", "--json"))
        demand({task["uid"] for task in tasks} == set(self.ended), "ls tells of others")
        if tasks:
            uid = self.chance.choice(tasks)["uid"]
            demand(json.loads(self.call("get", uid))["uid"] == uid, f"get {uid}")
            known = self.ended[uid][max(self.ended[uid])].streams
            demand(len(self.call("log", uid)) == sum(map(len, known.values())), f"log {uid}")
            demand(len(self.call("export", "jsonl", uid).splitlines()) == 1, f"export {uid}")

    def call(self, *words: str) -> bytes:
        """What qrec prints; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "qrec", *words], env=self.environment, cwd=self.folder, capture_output=True
        )
        demand(done.returncode == 0, f"qrec {' '.join(words)}: {done.stderr!r}")
        return done.stdout

    def forget(self, uid: str) -> None:
        """It was cleared."""
        del self.ended[uid]


def settled(door: Qrec) -> dict[str, Task]:
    """All tasks by uid, once none runs any more and no record waits: a process is gone just after its leash."""
    tasks: dict[str, Task] = {}

    def all_ended() -> bool:
        tasks.update({task.uid: task for task in door.find(limit=None)})
        return all(task.status.is_final for task in tasks.values()) and not waiting(Path(door.home))

    try:
        wait_until(all_ended, what="every record to be closed")
    except AssertionError as error:
        unfinished = [task for task in tasks.values() if not task.status.is_final]
        raise Violation(f"{error}: {unfinished}, waiting: {waiting(Path(door.home))}") from None
    return tasks


def waiting(home: Path) -> list[str]:
    """What the next call is to take in."""
    return [path.name for path in home.glob("incoming/*") if path.suffix in (".json", ".cleared")]


def demand(condition: object, otherwise: str) -> None:
    """Raise Violation unless the condition holds."""
    if not condition:
        raise Violation(otherwise)


class Campaign:
    """Blow after blow on one home after the other."""

    def __init__(self, folder: Path, kind: str, seed: int) -> None:
        self.folder = folder
        self.kind = kind
        self.seed = seed
        self.chance = random.Random(f"{seed} {kind}")
        self.blows = self.kills = self.homes = 0
        self.last = ""  #: the verb that was hit last, and where
        self.places: collections.Counter[str] = collections.Counter()  #: where qrec died
        self.verbs: collections.Counter[str] = collections.Counter()  #: in what it died
        self.steps: dict[str, int] = {}  #: how many steps each sort of verb takes
        self.times: dict[str, float] = {}  #: how many seconds
        self.field = self.next_field()

    def next_field(self) -> Field:
        """A new home."""
        self.homes += 1
        folder = self.folder / f"{self.kind}{self.homes}"
        folder.mkdir()
        return Field(folder, self.kind, self.chance)

    def strike(self, blows: int) -> None:
        """So many blows, each judged."""
        for _ in range(blows):
            try:
                self.blow()
            except Violation as violation:
                blow, seed = self.blows, self.seed
                raise Violation(f"{violation}\n({self.last}; {self.kind}, seed {seed}, blow {blow})") from None

    def blow(self) -> None:
        """One verb, and one blow in it."""
        self.blows += 1
        if self.blows % BLOWS_A_HOME == 0:
            self.end_field()
        self.last = "crash"
        sort = self.chance.random()
        uid = self.field.pick()
        if sort < 0.40 or uid is None:
            plan = self.field.plan()
            self.hit(plan, "run", ["run", *self.field.options(plan), *plan.argv(self.field.witness(plan.token))])
        elif sort < 0.65:
            plan = self.field.plans[self.field.tokens[uid]]
            self.hit(plan, "rerun", ["rerun", *self.field.options(plan), uid])
        elif sort < 0.82:
            self.hit(None, "clear", ["clear", "-y", uid], cleared=uid)
        elif sort < 0.90:
            words = self.chance.choice([["note", uid, "a note"], ["tag", uid, "one", "two"]])
            self.hit(None, words[0], words)
        elif sort < 0.95:
            self.hit(None, "gc", ["gc", "-y"])
        else:
            self.crash()
        if self.blows % CLI_EVERY == 0:
            self.field.judge_by_command_line()

    def end_field(self) -> None:
        """Leave this home, and make the next."""
        shutil.rmtree(self.field.folder)
        self.field = self.next_field()

    def hit(self, plan: Plan | None, name: str, words: list[str], cleared: str = "") -> None:
        """Kill one call, and judge."""
        sort = f"{name} {plan.bursts}x{plan.lines}{' pty' * plan.pty}{' -d' * plan.detached}" if plan else name
        self.last = sort
        who = "observer" if plan and plan.detached and self.chance.random() < 0.5 else "qrec"
        if self.chance.random() < 0.5:
            verb, place = self.at_a_step(sort, who, words)
        elif who == "observer":
            verb, place = self.observer_after_a_while(sort, words)
        else:
            verb, place = self.after_a_while(sort, words)
        verb.wait_for_all()
        if place:
            self.kills += 1
            self.verbs[name] += 1
            self.places[place] += 1
        self.last = f"{sort}, {place or 'not hit'}"
        self.field.judge(verb, plan.token if plan else "", cleared)

    def at_a_step(self, sort: str, who: str, words: list[str]) -> tuple[Verb, str]:
        """Kill it at a random step; return where that was, or nothing if it came to its end."""
        fuse = self.chance.randint(1, self.steps.get(f"{sort} {who}", 2000))
        verb = Verb(self.field, words, (who, fuse))
        verb.process.wait(LEASH)
        if who == "observer":
            select.select([verb.leash], [], [], LEASH)
        told = verb.told()
        if told.isdecimal():
            self.steps[f"{sort} {who}"] = int(told)
        return verb, "" if told.isdecimal() else told

    def after_a_while(self, sort: str, words: list[str]) -> tuple[Verb, str]:
        """Kill it after a random time; return by what it had left where that was."""
        began = time.monotonic()
        verb = Verb(self.field, words)
        if sort.startswith(("run", "rerun")) and self.chance.random() < 0.7:
            # Half of its life is Python's start: from when it has told what it is about to do, it gets interesting.
            incoming = self.field.home / "incoming"
            wait_until(lambda: any(incoming.glob("*.json")) or verb.process.poll() is not None)
            verb.wait(self.chance.uniform(0, 0.06))
        elif verb.wait(self.chance.triangular(0.0, 1.05, 0.7) * self.times.get(sort, 0.3)):
            self.times[sort] = time.monotonic() - began
        verb.process.kill()
        return verb, f"(time) {self.phase()}" if verb.killed() else ""

    def observer_after_a_while(self, sort: str, words: list[str]) -> tuple[Verb, str]:
        """Let a command be detached, and kill what looks after it."""
        verb = Verb(self.field, words)
        verb.process.wait(LEASH)
        uid = verb.out.read_text().strip()
        door = Qrec(str(self.field.home), self.kind)
        process = door.store.get(uid).data.get("process", {"recorder": [0]})
        door.store.close()
        time.sleep(self.chance.uniform(0, 0.1))
        observer = process["recorder"][0]
        with contextlib.suppress(ProcessLookupError):
            if observer:
                os.kill(observer, signal.SIGKILL)
                return verb, "(time) observing"
        return verb, ""

    def phase(self) -> str:
        """How far the verb had come, by what it has left."""
        door = Qrec(str(self.field.home), self.kind)
        running = [task for task in door.store.find() if not task.status.is_final]
        door.store.close()
        left = [name for name in ("incoming", "attempts") if any((self.field.home / name).glob("*"))]
        return " ".join(["running" if running else "before or after", *left])

    # A crash of everything at once

    def crash(self) -> None:
        """Stop all processes while several verbs are at work, copy the home, and look at the copy in its place."""
        field = self.field
        plans = [field.plan() for _ in range(3)]
        plans[0].detached, plans[0].pty = True, False
        verbs = [Verb(field, ["run", *field.options(one), *one.argv(field.witness(one.token))]) for one in plans]
        if uid := field.pick():
            token = field.tokens[uid]
            plans.append(field.plans[token])
            verbs.append(Verb(field, ["rerun", *field.options(plans[-1]), uid]))
        time.sleep(self.chance.uniform(0.1, 0.6))
        stopped = freeze(field.folder)
        copy = field.folder / "copy"
        shutil.copytree(field.home, copy)
        ran = {one.token: field.times_run(one.token) for one in plans}
        seen = [(verb.out.read_bytes(), verb.err.read_bytes()) for verb in verbs]
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        for verb in verbs:
            verb.wait_for_all()
        for one in plans:
            put_back(field.witness(one.token), one.token, ran[one.token])
        for verb, (out, err) in zip(verbs, seen, strict=True):
            verb.out.write_bytes(out)
            verb.err.write_bytes(err)
        shutil.rmtree(field.home)
        copy.rename(field.home)
        self.kills += 1
        self.verbs["everything"] += 1
        field.judge(crashed=True)
        for one, verb in zip(plans, verbs, strict=True):
            field.judge(verb, one.token, crashed=True)


def put_back(witness: Path, token: str, times: int) -> None:
    """Let a witness tell what it told at the crash."""
    witness.write_text(f"{token}\n" * times)


def freeze(folder: Path) -> list[int]:
    """Stop every process of a folder; those that one starts before it stops are found by the next look."""
    stopped: list[int] = []

    def all_stopped() -> bool:
        fresh = [process.pid for process in processes_of(folder) if process.pid not in stopped]
        for pid in fresh:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped.extend(fresh)
        return not fresh and all(map(is_still, stopped))

    wait_until(all_stopped, what="all processes to stop")
    return stopped


def is_still(pid: int) -> bool:
    """Whether a process is stopped or gone, or waits for a stopped child to execute its program."""
    state = state_of(pid)
    if state != "D":
        return state in "TtZX"
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return any(state_of(int(child)) in "Tt" for child in children)
    return False


def state_of(pid: int) -> str:
    """The state of a process as the kernel calls it; X if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


@contextlib.contextmanager
def battlefield() -> Iterator[Path]:
    """A folder that is removed if all went well; else it is left for whoever looks for the reason."""
    folder = Path(tempfile.mkdtemp(prefix="qrec-faults-"))
    try:
        yield folder
    except BaseException:
        kill_processes_of(folder)
        print(f"left for you: {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder)


def main() -> None:
    """The long campaign."""
    parser = argparse.ArgumentParser(description="kill qrec at any moment and judge what it leaves")
    parser.add_argument("--blows", type=int, default=700, help="on each store")
    parser.add_argument("--store", choices=("sqlite", "filesystem"), action="append")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    for kind in options.store or ("sqlite", "filesystem"):
        with battlefield() as folder:
            campaign = Campaign(folder, kind, options.seed)
            while campaign.blows < options.blows:
                campaign.strike(min(100, options.blows - campaign.blows))
                print(
                    f"{kind}: {campaign.blows} blows, {campaign.kills} kills in {dict(campaign.verbs)}, "
                    f"at {len(campaign.places)} places, no violation", flush=True,
                )  # fmt: skip
        for place, count in campaign.places.most_common():
            print(f"{count:6} {place}")


if __name__ == "__main__":
    main()
