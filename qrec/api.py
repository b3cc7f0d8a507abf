"""The front door: what the command line, the dashboard and a user's script all hold."""

from __future__ import annotations

import os
import time

from qrec.config import Config, find_home
from qrec.errors import (
    BrokenPlugin,
    NoSuchAttempt,
    NoSuchTask,
    QrecError,
    Refused,
    RefusedByHook,
    StoreBusy,
    StoreError,
    StoreUnwritable,
    WrongUsage,
)
from qrec.output import BLOCK, STREAMS, Frozen, last_lines, listed, merged
from qrec.process import here
from qrec.recorder import Recorder, Terms
from qrec.registry import EXECUTORS, Registry
from qrec.stores.base import LASTING, REMOVED, Query
from qrec.task import BY_HOOK, INSIDE, MATCHED, NOTIFY, Status, Task, new_uid, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from qrec.compare import Comparison
    from qrec.executors.base import Action, Executor
    from qrec.output import Output
    from qrec.redact import Redactor
    from qrec.search import Hit, Match
    from qrec.stores.base import Store
    from qrec.why import Why

OF_THE_WORDS = ("shell", "redacted", "inner", "job")  #: notes that belong to the words, and so to every attempt
SHOWN = 50  #: tasks in a list when nobody says how many
AT_LOOK = 0.5  #: seconds a look back waits for another writer before it shows what there is
LOOKED = 0.2  #: seconds between two looks at tasks that are waited for
FOLLOWED = 0.05  #: seconds between two looks at a growing output


class Qrec:
    """One home and its store.

        qrec = Qrec()
        task = qrec.run("make test", message="before the release")
        for task in qrec.find(Query(statuses=frozenset({Status.FAILED})), limit=5): ...

    `home` is a folder (default: $QREC_HOME, else the user's data folder); `store` a name or URL (default: the
    setting).  `complaints` holds sentences for the user about what could not be recorded.
    """

    def __init__(self, home: str | None = None, store: str | None = None) -> None:
        self.home = find_home(home)
        self.config = Config(self.home)
        self.registry = Registry(self.home)
        self.complaints: list[str] = []
        if self.config.complaint is not None:
            self.complaints.append(str(self.config.complaint))
        self.store: Store = self.open_store(store)
        self.fire()
        self.recorder = Recorder(self.home, self.store, self.setting("grace"))
        self.recorder.complaints = self.complaints
        self.recorder.variables = tuple(self.setting("variables"))
        self.executors: dict[str, Executor] = {}
        self._redactor: Redactor | None = None
        self.reveal = False  #: whether output is shown with its secrets

    def setting(self, name: str) -> Any:
        """A setting; its default, and a complaint, where what is written cannot be used: no slip stops a run."""
        try:
            return self.config.get(name)
        except WrongUsage as error:
            from qrec.config import setting_named

            self.complaints.append(str(error))
            return setting_named(name).default

    def open_store(self, choice: str | None) -> Store:
        """The store that was asked for, or else the one that is set."""
        if choice:
            return self.registry.store(self.home, choice)
        try:
            return self.registry.store(self.home, self.setting("store"))
        except WrongUsage as error:
            self.complaints.append(str(error))
            return self.registry.store(self.home, "sqlite")

    def fire(self) -> None:
        """Let changes fire the hooks of the settings, and see to those that nobody takes care of."""
        if self.store.firing is not None:
            self.store.firing.see_to_left()
        elif self.config.written.get("hooks"):
            self.attach_hooks()

    def attach_hooks(self) -> None:
        """Let changes fire hooks, whose troubles are told with all others."""
        from qrec.firing import attach

        firing = attach(self.store, self.config)
        if firing.complaints is not self.complaints:
            self.complaints += firing.complaints
            firing.complaints = self.complaints

    def executor(self, name: str) -> Executor:
        """The executor of that name."""
        if name not in self.executors:
            self.executors[name] = self.registry.executor(name)(self.recorder)
            self.executors[name].shown = self.output
        return self.executors[name]

    # Running

    def run(
        self,
        command: str | Sequence[str],
        *,
        message: str = "",
        tags: Iterable[str] = (),
        cwd: str | None = None,
        executor: str | None = None,
        notify: bool = False,
        **terms: Any,
    ) -> Task:
        """Run a command, record it, and return the task when the executor is done with it.

        A single string is a program, or a line for the shell if it holds blanks or shell characters; several are
        executed as they are.  `terms` are the fields of `Terms`: `timeout` in seconds, `show=False`, `pty=True` ...
        `notify` tells of its end as the settings say.  A command that fails raises nothing, nor does one that a hook
        refuses: see the task's `status` and `returncode`.  Secrets among its words are replaced in the record.
        """
        task = self.new_task(command, message=message, tags=tags, cwd=cwd, executor=executor)
        if notify:
            self.attach_hooks()
        task = task.copy(data={**task.data, **notes_for_hooks(notify)})
        recorded = self.without_secrets(task)
        if recorded is not task:
            terms["argv"] = task.argv
        try:
            recorded = self.asked(recorded)
        except RefusedByHook as error:
            return self.recorder.refuse(recorded, error)
        return self.executor(task.executor).launch(recorded, self.terms(**terms))

    def asked(self, task: Task) -> Task:
        """A task that is about to begin, with the facts that hooks add.  RefusedByHook if one says no."""
        if self.store.firing is None or not self.store.firing.asks(task):
            return task
        from qrec.hooks.before import ask

        return ask(self, task)

    def terms(self, redact_output: bool = False, **terms: Any) -> Terms:
        """`Terms`, with what takes secrets out of the output where that is wanted."""
        return Terms(**terms, redactor=self.redactor if redact_output else None)

    @property
    def redactor(self) -> Redactor:
        """What takes secrets out of words and output: what everybody has, and what the settings describe."""
        from qrec.redact import Redactor

        if self._redactor is None:
            try:
                self._redactor = Redactor(self.setting("secrets"))
            except WrongUsage as error:
                self.complaints.append(f"the setting `secrets`: {error}")
                self._redactor = Redactor()
            self.recorder.redactor = self._redactor
        return self._redactor

    def without_secrets(self, task: Task) -> Task:
        """The task as it may be recorded; itself if there is nothing to hide."""
        argv, count = self.redactor.words(task.argv)
        return task.copy(argv=argv, data={**task.data, "redacted": count}) if count else task

    def new_task(
        self,
        command: str | Sequence[str],
        *,
        message: str = "",
        tags: Iterable[str] = (),
        cwd: str | None = None,
        executor: str | None = None,
    ) -> Task:
        """The record of a command that has not begun."""
        from qrec.executors.shell import shell_for

        argv = (command,) if isinstance(command, str) else tuple(command)
        if not argv:
            raise WrongUsage("there is no command; write `qrec run COMMAND...`")
        shell = shell_for(argv, self.setting("shell"))
        draft = Task(
            uid="", executor="", argv=argv, turn=turn(), message=message, tags=unique(tags),
            pwd=os.path.realpath(cwd) if cwd is not None else here(), user=user(), host=os.uname().nodename,
            created=timestamp(), data={"shell": shell} if shell else {},
        )  # fmt: skip
        name = executor or self.pick_executor(draft.command)
        return draft.copy(uid=new_uid(name), executor=name)

    def pick_executor(self, command: str) -> str:
        """The executor that the command line picks; the shell, and a complaint, if that one's plug-in is broken."""
        name = self.registry.pick_executor(command)
        try:
            self.executor(name)
        except BrokenPlugin as error:
            self.complaints.append(str(error))
            return "shell"
        return name

    def rerun(
        self,
        reference: str | None = None,
        *,
        message: str | None = None,
        cwd: str | None = None,
        secrets: Callable[[int], Sequence[str]] | None = None,
        notify: bool = False,
        **terms: Any,
    ) -> Task:
        """Run a recorded command again, in its folder: the same uid, and the attempt before is kept.

        `secrets` is asked for so many secrets as were left out of the record.  `notify` and `terms` as for `run`.
        Raises RefusedByHook.
        """
        run_as = self.terms(**terms)
        task = self.get(reference)
        if not task.status.is_final:
            raise Refused(f"{task.uid} is {task.status}; `qrec cancel {task.number}` ends it")
        folder = folder_for(task, cwd)
        if task.data.get("redacted"):
            run_as = run_as.copy(argv=self.with_secrets(task, secrets))
        executor = self.executor(task.executor)
        executor.check_rerun(task)
        data = {**notes_of_words(task), **notes_for_hooks(notify)}
        again = Task(**{name: getattr(task, name) for name in LASTING}, attempt=task.attempt + 1, data=data)
        facts = self.asked(again.copy(pwd=folder)).facts
        if message is not None:
            self.store.change(task.uid, message=message)
        task = self.store.archive(
            task.uid, (task.status, task.attempt), Status.RUNNING, turn=turn(), pwd=folder, user=user(),
            host=os.uname().nodename, started=timestamp(), facts=facts, data={**data, **self.recorder.claim()},
        )  # fmt: skip
        return executor.launch(task, run_as, known=True)

    def adopt(
        self,
        *,
        tmux: str | None = None,
        pid: int | None = None,
        slurm: str | int | None = None,
        socket: str = "",
        message: str = "",
        tags: Iterable[str] = (),
    ) -> Task:
        """Record from now on what was started without qrec; return its task.

        `tmux` names a pane (`SESSION[:WINDOW.PANE]`, on the server of `socket`), `pid` a process, `slurm` a job.
        Of a process no output is to be had; its return code only where the kernel tells it.
        """
        chosen = {
            name: str(what) for name, what in (("tmux", tmux), ("shell", pid), ("slurm", slurm)) if what is not None
        }
        if len(chosen) != 1:
            raise WrongUsage("name one thing to adopt: --tmux SESSION, --pid PID, or --slurm JOBID")
        ((name, what),) = chosen.items()
        if socket and name != "tmux":
            raise WrongUsage("--socket is for --tmux")
        draft = Task(
            uid=new_uid(name), executor=name, argv=(), turn=turn(), message=message, tags=unique(tags), user=user(),
            host=os.uname().nodename, created=timestamp(),
        )  # fmt: skip
        return self.executor(name).adopt(draft, what, self.without_secrets, socket)

    def with_secrets(self, task: Task, ask: Callable[[int], Sequence[str]] | None) -> tuple[str, ...]:
        """The words of a task with the secrets that were left out of its record."""
        from qrec.redact import REDACTED, filled_in

        count = sum(word.count(REDACTED) for word in task.argv)
        if not count:
            return task.argv
        if ask is None:
            raise Refused(f"{count} secrets were left out of the record of {task.uid}; they have to be given again")
        return filled_in(task.argv, ask(count))

    # Looking back

    def refresh(self) -> None:
        """Take in what waits for the store, and learn how the running tasks stand.

        A store that cannot be written now is no reason not to read it, nor to wait for it long.
        """
        self.config.renew()
        self.fire()
        patience, self.store.patience = self.store.patience, min(self.store.patience, AT_LOOK)
        try:
            self.recorder.take_in()
            self.take_in_typed()
            unfinished = Query(statuses=frozenset({Status.RUNNING, Status.SUBMITTED}))
            self.refresh_tasks(self.store.find(unfinished))
        except (StoreBusy, StoreUnwritable) as error:
            self.complaints.append(f"shown as last recorded: {error}")
        finally:
            self.store.patience = patience

    def take_in_typed(self, most: int | None = None) -> None:
        """Take in what shells have noted of what was typed, unless that is more than so many bytes.

        Raises StoreError.
        """
        folder = os.path.join(self.home, "typed")
        if listed(folder):
            from qrec.typed import TakeIn

            taking = TakeIn(self.store, self.redactor, self.setting("shell.ignore"), self.complaints.append)
            try:
                taking.all(folder, most)
            except OSError as error:
                self.complaints.append(f"what was typed is not taken in yet: {error}")

    def refresh_tasks(self, tasks: Sequence[Task]) -> None:
        """Ask each executor about its unfinished tasks, all at once."""
        for name in {task.executor for task in tasks}:
            try:
                executor = self.executor(name)
            except QrecError as error:  # its plug-in is gone
                self.complaints.append(str(error))
                continue
            some = [task for task in tasks if task.executor == name]
            changed = executor.refresh(some)
            self.look_at_time([changed.get(task.uid, task) for task in some])

    def look_at_time(self, tasks: Sequence[Task]) -> None:
        """Tell the hooks that wait for a task to run for long, of those after which nobody else looks all the time."""
        if (firing := self.store.firing) is None:
            return
        for task in [task for task in tasks if not task.status.is_final]:
            for seconds in firing.long_after(task):
                if (task.seconds or 0.0) >= seconds:
                    firing.is_long(task, seconds)

    def get(self, reference: str | None = None, attempt: int | None = None) -> Task:
        """The task that a number, uid or prefix names, or the one last started; or one of its attempts."""
        self.refresh()
        task = self.store.resolve(reference)
        if attempt is None or attempt == task.attempt:
            return task
        before = self.store.attempts(task.uid)
        for found in before:
            if found.attempt == attempt:
                return found
        raise NoSuchAttempt(task.uid, attempt, [*(old.attempt for old in before), task.attempt])

    def find(self, query: Query | None = None, limit: int | None = SHOWN) -> list[Task]:
        """The newest tasks that match, oldest first."""
        self.refresh()
        found = self.store.find(query, limit)
        if self.store.broken:
            more = f" (and {len(self.store.broken) - 1} more)" if len(self.store.broken) > 1 else ""
            self.complaints.append(f"left out, since it cannot be read: {self.store.broken[0]}{more}")
        return found

    def count(self, query: Query | None = None) -> int:
        """How many tasks match."""
        return self.store.count(query or Query())

    def output(self, task: Task) -> Output:
        """What an attempt printed; what looks like a secret is covered, unless `reveal` is set.

        `complaints` says so if it was removed.
        """
        if REMOVED in task.data:
            from qrec.units import size

            gone = size(task.data[REMOVED])
            self.complaints.append(f"the output of attempt {task.attempt} of {task.uid} ({gone}) was removed by `gc`")
        return self.covered(self.raw(task))

    def raw(self, task: Task) -> Output:
        """What the task's executor has of its output."""
        try:
            return self.executor(task.executor).printed(task)
        except QrecError:  # its plug-in is gone
            return self.store.output(task)

    def covered(self, output: Output) -> Output:
        """An output as it may be shown."""
        if self.reveal:
            return output
        from qrec.shown import Masked

        return Masked(output, self.redactor)

    def published(self, task: Task) -> dict[str, Any]:
        """The task as `qrec get` prints it."""
        from qrec.published import published

        before = [attempt.attempt for attempt in self.store.attempts(task.uid)]
        printed = self.covered(self.store.output(task))
        return published(task, printed, [*before, self.store.get(task.uid).attempt])

    def search(
        self,
        words: Sequence[str],
        query: Query | None = None,
        limit: int | None = SHOWN,
        deep: bool = False,
        watch: Callable[[Iterator[Task]], Iterator[Task]] = iter,
    ) -> list[Hit]:
        """The newest tasks that hold every word in command, message, tags or output, oldest first.

        Case does not matter.  Words under three characters are looked for in the newest 10,000 tasks only, unless
        a longer word stands beside them.  Of an output above 2 MiB the ends are searched; all of it if `deep`.
        The tasks that have to be compared pass through `watch`, which may count them.
        """
        from itertools import islice

        from qrec.search import PIECE, SHORT_SCAN, Hit, fold, matches

        self.refresh()
        folded = [fold(word) for word in words if word]
        if not folded:
            raise WrongUsage("there is no word to search for; `qrec ls` lists everything")
        long = [word for word in folded if len(word) >= PIECE]
        query = query or Query()
        tasks = self.store.candidates(long, query) if long else islice(self.store.newest_first(query), SHORT_SCAN)
        if deep:
            tasks = self.with_large(tasks, query)
        found = ((task, matches(task, self.raw(task), folded, deep)) for task in watch(tasks))
        told = ((task, self.tellable(matched, folded)) for task, matched in found)
        hits = (Hit(task=task, matches=matched) for task, matched in told if matched)
        return list(islice(hits, limit))[::-1]

    def tellable(self, matched: tuple[Match, ...], words: Sequence[str]) -> tuple[Match, ...]:
        """The matches without secrets; none if a word was found in secrets only."""
        from qrec.search import fold
        from qrec.shown import masked_text

        if self.reveal:
            return matched
        shown = tuple(match.copy(text=masked_text(match.text, self.redactor)) for match in matched)
        left = tuple(
            after
            for before, after in zip(matched, shown, strict=True)
            if after == before or any(word in fold(after.text) for word in words)
        )
        if len(left) == len(matched):
            return left
        return left if all(any(word in fold(match.text) for match in left) for word in words) else ()

    def with_large(self, tasks: Iterator[Task], query: Query) -> Iterator[Task]:
        """The tasks, and those with large outputs, of which no index knows all; newest first."""
        import heapq

        from qrec.output import uids_with_folders

        large = [task for task in map(self.known, uids_with_folders(self.home)) if task and query.matches(task)]
        large.sort(key=lambda task: task.number, reverse=True)
        seen = 0
        for task in heapq.merge(tasks, large, key=lambda task: task.number, reverse=True):
            if task.number != seen:
                yield task
            seen = task.number

    def known(self, uid: str) -> Task | None:
        """The task of this uid, if there is one."""
        try:
            return self.store.get(uid)
        except NoSuchTask:
            return None

    def follow(
        self, task: Task, streams: Sequence[str] = STREAMS, lines: int | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """What the task has printed in these streams (its last lines only, if so many are asked for), and what comes.

        Ends when the task has ended.
        """
        begun = Frozen(self.output(task))
        yield from merged(begun, streams) if lines is None else last_lines(begun, lines, streams)
        yield from self.coming(task, streams, begun.sizes)

    def coming(self, task: Task, streams: Sequence[str], sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
        """What the task prints in these streams after the first so many bytes of each, until it has ended."""
        seen = dict(sizes)
        while True:
            self.refresh_tasks([self.store.get(task.uid)])
            now = self.store.get(task.uid)
            over = now.status.is_final or now.attempt != task.attempt
            output = self.output(task)
            for stream in streams:
                while block := output.read(stream, seen[stream], BLOCK):
                    seen[stream] += len(block)
                    yield stream, block
            if over:
                return
            time.sleep(FOLLOWED)

    def why(self, reference: str | None = None, attempt: int | None = None) -> Why:
        """Why a task failed, and what differs from the last good run of the same command."""
        from qrec.why import last_good, why

        task = self.get(reference, attempt)
        good = last_good(self.store, task) if task.status.is_final and task.status is not Status.COMPLETE else None
        return why(task, self.output(task), good, self.output(good) if good else None)

    def diff(self, first: Task, second: Task) -> Comparison:
        """What differs between two tasks, or two attempts of one."""
        from qrec.compare import compare

        return compare(first, second, (self.output(first), self.output(second)))

    # Acting

    def wait(self, references: Sequence[str | None], timeout: float | None = None) -> Iterator[Task]:
        """Wait for tasks; each is produced as it ends.  Stops when `timeout` seconds have passed."""
        left = {task.uid: task for task in map(self.get, references)}
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        pause = FOLLOWED / 10
        while left:
            self.refresh_tasks(list(left.values()))
            left = {uid: self.store.get(uid) for uid in left}
            for task in [task for task in left.values() if task.status.is_final]:
                del left[task.uid]
                yield task
            if left and time.monotonic() > deadline:
                return
            pause = min(pause * 1.2, LOOKED) if left else 0.0
            time.sleep(pause)

    def actions(self, executor: str) -> dict[str, Action]:
        """What an executor's tasks offer."""
        return self.executor(executor).actions()

    def act(self, reference: str | None, action: str, **options: Any) -> Any:
        """Do one of the actions of a task's executor, and return what it returns."""
        task = self.get(reference)
        return self.executor(task.executor).act(action, task, **options)

    def cancel(self, reference: str | None = None) -> Task:
        """End a task, on whatever executor; return it as it ended."""
        ended: Task = self.act(reference, "cancel")
        return ended

    def note(self, reference: str | None, message: str) -> Task:
        """Change the note of a task."""
        return self.store.change(self.get(reference).uid, message=message)

    def tag(self, reference: str | None, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Task:
        """Add and remove tags of a task."""
        task = self.get(reference)
        gone = set(remove)
        return self.store.change(task.uid, tags=tuple(tag for tag in unique([*task.tags, *add]) if tag not in gone))

    def cleared(self, reference: str | None) -> list[Task]:
        """The tasks that `clear` of this word would remove: an executor's, one task, or with None all."""
        self.refresh()
        if reference is None:
            return self.store.find()
        if reference in self.registry.names(EXECUTORS):
            return self.store.find(Query(executor=reference))
        return [self.store.resolve(reference)]

    def clear(self, tasks: Iterable[Task], force: bool = False) -> list[Task]:
        """Remove tasks with all they left, and return those that stayed.

        Unfinished ones stay, unless `force` cancels them first.
        """
        stayed = []
        for task in tasks:
            if not task.status.is_final and force:
                task = self.executor(task.executor).cancel(task)
            if task.status.is_final:
                self.remove(task)
            else:
                stayed.append(task)
        return stayed

    def remove(self, task: Task) -> None:
        """Forget one ended task: first the record, so that no record ever stands without its output."""
        self.recorder.begin_removal(task)
        try:
            self.store.delete(task.uid)
        except NoSuchTask:
            pass  # somebody else was quicker
        except StoreUnwritable:  # a full disk: its own files make room
            self.recorder.end_removal(task)
            self.store.delete(task.uid)
        self.recorder.end_removal(task)


def turn() -> int:
    """Now, in microseconds: the order in which people start tasks."""
    return time.time_ns() // 1000


def folder_for(task: Task, cwd: str | None) -> str:
    """The folder in which a task runs again.  Raises Refused if it is not there."""
    folder = os.path.realpath(cwd) if cwd is not None else task.pwd
    if not os.path.isdir(folder):
        gone = f"the folder {folder} is not there any more" if folder else "its folder is not known"
        raise Refused(f"{gone}; name {'another' if folder else 'one'} with --cwd")
    return folder


def notes_of_words(task: Task) -> dict[str, Any]:
    """What a task's data says of its words, which another attempt has, too."""
    data = {name: task.data[name] for name in OF_THE_WORDS if name in task.data}
    return {**data, "inner": task.data[MATCHED]} if MATCHED in task.data else data


def notes_for_hooks(notify: bool) -> dict[str, str]:
    """What a new task is noted with: the terminal on which its end may be told, and the hook that we are in."""
    notes = {NOTIFY: terminal()} if notify else {}
    return {**notes, BY_HOOK: os.environ[INSIDE]} if os.environ.get(INSIDE) else notes


def terminal() -> str:
    """The terminal that we were called from; empty if there is none."""
    for number in (2, 1, 0):
        try:
            return os.ttyname(number)
        except OSError:
            continue
    return ""


def user() -> str:
    """Who runs this."""
    for name in ("LOGNAME", "USER"):
        if os.environ.get(name):
            return os.environ[name]
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def unique(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags once each, in their order."""
    return tuple(dict.fromkeys(tag for tag in tags if tag))


__all__ = ["Qrec", "Query", "Status", "StoreError", "Task"]
