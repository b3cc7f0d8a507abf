"""Tells the pages what changes, as soon as it has changed, whoever changed it.

A writer wakes us with one byte (`Store.wake`); once a second we look ourselves, as long as somebody is connected.  What
we say is only that something changed: the store, and the files of the output, are the truth, and pages ask for those.
Nothing that comes over a socket changes anything.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter

from flask import request
from flask_socketio import ConnectionRefusedError, SocketIO

from qrec.errors import NoSuchTask, QrecError
from qrec.notify import Ear
from qrec.output import STREAMS, OfJob
from qrec.task import Status, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from flask import Flask

    from qrec.dashboard.doors import Doors
    from qrec.dashboard.guard import Sessions
    from qrec.output import Output
    from qrec.task import Event, Task

TICK = 0.05  #: seconds between two messages to the same pages, at least
LOOK = 1.0  #: seconds after which the store is looked at though nobody woke us
FRESH = 2.0  #: seconds between two looks at the unfinished tasks
WAITED = 0.05  #: seconds a request waits for such a look
SEATS = 128  #: pages connected at a time: each takes some threads
WATCHED = 32  #: things that one page may watch at a time
MANY = 500  #: changes at once, above which a page is told to ask anew
SHOWN = 20  #: changed tasks that are told whole
QUIET = 0.5  #: seconds between two looks at an output that does not grow
PING = 2.0  #: seconds between two signs of life to each page
SILENCE = 8.0  #: seconds that one may be late, on a busy machine; then the page says that nobody answers, or is gone
RECENT = 60.0  #: seconds: what changed since then is told to who begins to watch
REMEMBERED = 10_000  #: tasks whose queue is known by heart
LONG = 200  #: characters of a name


class Feed:
    """Knows who watches what, and wakes them.  Rooms are `tasks`, `live`, `task:UID` and `queue:NAME`."""

    def __init__(self, doors: Doors, sessions: Sessions | None = None, debug: bool = False) -> None:
        self.doors = doors
        self.sessions = sessions
        log = logging.getLogger("qrec.dashboard")
        log.setLevel(logging.INFO if debug else logging.CRITICAL)
        self.io = SocketIO(
            async_mode="threading", async_handlers=False, max_http_buffer_size=1 << 16, manage_session=False,
            ping_interval=PING, ping_timeout=SILENCE, logger=log, engineio_logger=log,
        )  # fmt: skip
        self.pages: dict[str, set[str]] = {}  #: the rooms of every page, by its socket
        self.keys: dict[str, str] = {}  #: whose session each is
        self.rooms: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.wanted = threading.Event()  #: somebody wants to know how the unfinished tasks stand
        self.known = threading.Event()  #: it was looked at
        self.looked = 0.0
        self.connected = threading.Event()
        self.growing = threading.Event()  #: somebody watches a task
        self.ear = Ear(doors.home)
        self.last = -1  #: the newest change that was told; none yet
        self.queues: dict[str, str] = {}  #: the queue of each task that was looked up
        doors.freshen = self.freshen

    # Who watches what

    def attach(self, app: Flask) -> None:
        """Answer the sockets of an application."""
        self.io.init_app(app)
        self.io.on_event("connect", self.connect)
        self.io.on_event("disconnect", self.disconnect)
        self.io.on_event("watch", self.watch)
        self.io.on_event("unwatch", self.unwatch)

    def connect(self, *_: object) -> None:
        """A page has come; the guard has let it in, and it is asked once more."""
        session = request.environ.get("qrec.session")
        if self.sessions is not None and session is None:
            raise ConnectionRefusedError("there is no session")
        if self.over.is_set():
            raise ConnectionRefusedError("the server ends")
        with self.lock:
            if len(self.pages) >= SEATS:
                raise ConnectionRefusedError(f"{SEATS} pages are connected already; close some")
            self.pages[sid()] = set()
            self.keys[sid()] = session.key if session else ""
        self.connected.set()
        self.ear.wake()

    def disconnect(self, *_: object) -> None:
        """A page has gone."""
        with self.lock:
            for room in self.pages.pop(sid(), ()):
                self.rooms[room] -= 1
            self.keys.pop(sid(), None)
            self.rooms += Counter()
            if not self.pages:
                self.connected.clear()
            self.note_growing()

    def watch(self, what: Any = None) -> None:
        """A page wants to be told of something."""
        room = room_of(what)
        with self.lock:
            rooms = self.pages.get(sid())
            if room is None or rooms is None or room in rooms or len(rooms) >= WATCHED:
                return
            rooms.add(room)
            self.rooms[room] += 1
            self.note_growing()
        self.io.server.enter_room(sid(), room)
        self.tell_recent(room)

    def tell_recent(self, room: str) -> None:
        """Tell who begins to watch what has changed a moment ago: after they read how things stand, perhaps."""
        store = self.doors.mine().store
        since = timestamp(time.time() - RECENT)
        recent = [event for event in store.events(max(0, store.last_event() - MANY)) if event.at >= since]
        if some := self.about(room, recent):
            self.io.emit("changed", message(some, gap=False), to=sid())
        self.doors.give_back()

    def unwatch(self, what: Any = None) -> None:
        """A page does not want to be told any more."""
        room = room_of(what)
        with self.lock:
            rooms = self.pages.get(sid(), set())
            if room is None or room not in rooms:
                return
            rooms.discard(room)
            self.rooms[room] -= 1
            self.rooms += Counter()
            self.note_growing()
        self.io.server.leave_room(sid(), room)

    def note_growing(self) -> None:
        """Wake or rest the look at growing outputs; the lock must be held."""
        if any(room.startswith("task:") for room in self.rooms):
            self.growing.set()
        else:
            self.growing.clear()

    def is_watched(self, room: str) -> bool:
        """Whether anybody watches a room."""
        return self.rooms[room] > 0

    def tell(self, name: str, what: Mapping[str, Any], room: str) -> None:
        """Send something to all who watch a room."""
        self.io.emit(name, what, to=room)

    def drop(self, key: str) -> None:
        """Disconnect the pages of a session that has ended."""
        for page in [page for page, known in self.keys.items() if known == key]:
            self.io.server.disconnect(page)

    # The threads

    def begin(self) -> None:
        """Begin to look; what changes from now on is told, however late the first look is."""
        with contextlib.suppress(QrecError):  # then it is from the first look on
            self.catch_up()
        self.doors.give_back()
        for work in (self.follow_changes, self.follow_unfinished, self.follow_outputs):
            threading.Thread(target=self.kept_up, args=(work,), daemon=True, name=work.__name__).start()

    def kept_up(self, work: Callable[[], None]) -> None:
        """Do some work for ever: a store that cannot be read for a moment ends nothing."""
        while not self.over.is_set():
            try:
                work()
            except Exception:
                self.over.wait(LOOK)
            finally:
                self.doors.give_back()

    def end(self) -> None:
        """Say goodbye, and close every page's connection; returns at once."""
        self.over.set()
        for event in (self.wanted, self.connected, self.growing):
            event.set()
        self.ear.leave()
        try:
            self.io.emit("bye", {})
            for one in list(self.io.server.eio.sockets.values()):
                one.close(wait=False)
        except Exception:
            pass  # whoever has gone needs no goodbye

    # Changes

    def follow_changes(self) -> None:
        """Tell of every change of the store, at most twenty times a second."""
        store = self.doors.mine().store
        pulse: object = ()  # taken before each look: what changes in between is looked at again
        while not self.over.is_set():
            now = store.pulse()
            if now != pulse:
                pulse = now
                self.catch_up()
                self.over.wait(TICK)
            self.ear.hear(LOOK if self.pages else None)
            self.connected.wait()

    def catch_up(self) -> None:
        """Tell what has changed since the last look."""
        store = self.doors.mine().store
        if self.last < 0:
            self.last = store.last_event()
            return
        events = store.events(self.last)
        if events:
            self.tell_changes(events, gap=events[0].sequence > self.last + 1 or len(events) > MANY)
            self.last = events[-1].sequence
        else:
            self.last = min(self.last, store.last_event())  # another store has taken its place

    def tell_changes(self, events: Sequence[Event], gap: bool) -> None:
        """One message for each room whose watchers it concerns."""
        with self.lock:
            rooms = list(self.rooms)
        for room in rooms:
            if gap:
                self.tell("changed", message(events, gap), room)
            elif some := self.about(room, events):
                more = {"tasks": self.rows(some)} if room == "tasks" else {}
                self.tell("changed", {**message(some, gap), **more}, room)

    def about(self, room: str, events: Sequence[Event]) -> Sequence[Event]:
        """The changes that concern a room."""
        kind, _, name = room.partition(":")
        if kind == "task":
            return [event for event in events if event.uid == name]
        if kind == "queue":
            return [event for event in events if self.queue(event) in (name, None)]
        return events

    def queue(self, event: Event) -> str | None:
        """The queue that a change is about; empty if it is about none, None if nobody knows any more."""
        if event.kind == "queue":
            return event.uid
        if event.uid not in self.queues:
            if len(self.queues) > REMEMBERED:
                self.queues.clear()
            try:
                self.queues[event.uid] = self.doors.mine().store.get(event.uid).queue or ""
            except QrecError:
                return None  # it was removed
        return self.queues[event.uid]

    def rows(self, events: Sequence[Event]) -> list[dict[str, Any]]:
        """The tasks that have changed, as the list of tasks shows them, if they are few."""
        from qrec.dashboard.listing import row

        uids = list(dict.fromkeys(event.uid for event in events if event.kind not in ("queue", "removed")))
        found = []
        for uid in uids if len(uids) <= SHOWN else ():
            try:
                found.append(row(self.doors.mine(), self.doors.mine().store.get(uid)))
            except NoSuchTask:
                continue
        return found

    # Unfinished tasks

    def freshen(self) -> None:
        """Have it looked at how the unfinished tasks stand; wait a moment for that, and no longer."""
        if time.monotonic() - self.looked < FRESH / 2 or threading.current_thread().name == "follow_unfinished":
            return
        self.known.clear()
        self.wanted.set()
        self.known.wait(WAITED)

    def follow_unfinished(self) -> None:
        """Look at them while somebody is connected, and whenever somebody wants to know."""
        while not self.over.is_set():
            self.wanted.wait(FRESH if self.pages else None)
            self.wanted.clear()
            if self.over.is_set():
                return
            try:
                self.doors.mine().look()
            except QrecError:
                pass  # what is shown is as last recorded
            self.doors.mine().complaints.clear()
            self.looked = time.monotonic()
            self.known.set()
            if not self.pages:
                self.doors.give_back()

    # Outputs

    def follow_outputs(self) -> None:
        """Tell those who watch a running task how long its output has become."""
        seen: dict[str, Growth] = {}
        while not self.over.is_set():
            self.growing.wait()
            with self.lock:
                watched = {room[5:] for room in self.rooms if room.startswith("task:")}
            seen = {uid: seen.get(uid) or Growth(uid) for uid in watched}
            now = time.monotonic()
            for growth in seen.values():
                if now >= growth.due and (told := growth.look(self.doors, now)):
                    self.tell("grew", told, f"task:{growth.uid}")
            self.over.wait(TICK if any(growth.pause <= TICK for growth in seen.values()) else TICK * 2)


class Growth:
    """How the output of a watched task grows; looked at ever less often while it does not."""

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.pause = TICK
        self.due = 0.0
        self.checked = 0.0
        self.attempt = 0
        self.output: Output | None = None
        self.sizes: tuple[int, ...] = ()

    def look(self, doors: Doors, now: float) -> dict[str, Any] | None:
        """What there is to tell."""
        if now - self.checked > LOOK:
            self.checked = now
            self.find(doors)
        if self.output is None:
            self.due = now + LOOK
            return None
        sizes = tuple(self.output.size(stream) for stream in STREAMS)
        grew = sizes != self.sizes
        self.pause = TICK if grew else min(QUIET, self.pause * 1.5)
        self.due = now + self.pause * 0.9
        if not grew:
            return None
        self.sizes = sizes
        return {"uid": self.uid, "attempt": self.attempt, **dict(zip(STREAMS, sizes, strict=True)), "bytes": sum(sizes)}

    def find(self, doors: Doors) -> None:
        """Where its output is, as long as it is unfinished."""
        door = doors.mine()
        try:
            task = door.store.get(self.uid)
        except QrecError:
            self.output = None
            return
        if task.status not in (Status.RUNNING, Status.SUBMITTED):
            self.output = None
        elif task.attempt != self.attempt or self.output is None or may_move(task, self.output):
            self.attempt, self.output = task.attempt, door.raw(task)


def may_move(task: Task, output: Output) -> bool:
    """Whether the output may be looked for elsewhere the next time: a job that begins tells where it prints."""
    return task.status is Status.SUBMITTED or isinstance(output, OfJob)


def message(events: Sequence[Event], gap: bool) -> dict[str, Any]:
    """What pages are told of changes; with a gap, that they must ask anew."""
    told = [] if gap else [{"uid": event.uid, "number": event.number, "kind": event.kind} for event in events]
    return {"events": told, "sequence": events[-1].sequence, "gap": gap}


def sid() -> str:
    """The socket that has sent what is handled."""
    return str(request.sid)  # type: ignore[attr-defined]


def room_of(what: Any) -> str | None:
    """The room that a page names; None for what makes no sense."""
    if not isinstance(what, dict) or len(what) != 1:
        return None
    ((kind, name),) = what.items()
    if kind in ("tasks", "live"):
        return str(kind)
    if kind in ("task", "queue") and isinstance(name, str) and 0 < len(name) <= LONG:
        return f"{kind}:{name}"
    return None
