"""The signals and the time limit of a command in the foreground: whom they are for, and what becomes of them."""

from __future__ import annotations

import os
import signal
import time
from _thread import allocate_lock, get_ident, start_new_thread

from qrec.process import GRACE, end_family, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qrec.process import Alarm

#: What stops a job, and can be blocked.
STOPS = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
#: What is passed on to the command when it is sent to qrec alone.
PASSED_ON = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
#: Of these, the ones that end qrec as well once the command has died of them.
DEADLY = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP})
#: What we send to ourselves when all that was sent before is to be seen.
MARK = signal.SIGRTMAX


class Watch:
    """Looks after a child from a thread: passes signals on, ends it at its time limit.

    A thread, since the pump may be blocked in a write to a slow reader.  The signals are blocked rather than handled,
    so that ignored ones stay ignored for the command (nohup), and `sigwaitinfo` tells who sent them: what the
    terminal sends, the command has received itself, being in the same process group.

        with Watch(limit=600) as watch:
            watch.guard(spawn(..., mask=watch.mask))
    """

    def __init__(
        self,
        limit: float | None = None,
        signals: bool = True,
        grace: float = GRACE,
        alarm: Alarm | None = None,
        job_control: bool = False,
    ) -> None:
        self.limit = limit
        self.grace = grace
        self.alarm = alarm if signals else None  #: rung when the window's size changes, and when the command stops
        #: What must not stop us until it has stopped the command.
        self.stops: frozenset[int] = STOPS if signals and job_control else frozenset()
        self.signals = {*PASSED_ON, signal.SIGCONT, MARK} if signals else set()
        if self.alarm is not None:
            self.signals |= {signal.SIGCHLD, signal.SIGWINCH}
        self.mask: set[int] = set()
        self.received: list[int] = []
        self.timed_out = False
        self.over = False
        self.child: int | None = None
        self.drained = allocate_lock()
        self.alone = False  #: whether there is no thread to look after the child

    def __enter__(self) -> Watch:
        self.mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, self.signals | self.stops))
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True
        while self.stops and signal.sigtimedwait(self.stops, 0) is not None:
            pass  # it was for the command, which is over
        if self.signals:
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def guard(self, pid: int) -> None:
        """Begin to look after the child."""
        self.child = pid
        if self.signals or self.limit is not None:
            deadline = None if self.limit is None else time.monotonic() + self.limit
            try:
                start_new_thread(self.look_after, (deadline,))
            except RuntimeError:  # no memory, or no more threads are allowed
                self.leave_alone()

    def leave_alone(self) -> None:
        """Do without the thread: signals do to us what they do to anybody."""
        self.alone = True
        self.signals, self.stops = set(), frozenset()
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def release(self) -> None:
        """The child has ended: its pid may be somebody else's from now on.

        Returns when all that was sent to us until now is in `received`: what it died of may not have been taken yet.
        Signals are taken in the order of their numbers, so the mark comes last; a real-time signal, since others of
        one number that wait are counted as one.
        """
        self.child = None
        if self.signals:
            self.drained.acquire()
            os.kill(os.getpid(), MARK)
            self.drained.acquire(timeout=2 * self.grace + GRACE)  # it may be ending descendants; never hang on it

    def look_after(self, deadline: float | None) -> None:
        """Wait for signals until the deadline, end the child then, and go on waiting."""
        while not self.over:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            info = signal.sigwaitinfo(self.signals) if left is None else signal.sigtimedwait(self.signals, left)
            if info is None:
                deadline = None
                self.end_child()
                if not self.signals:
                    return
            elif info.si_signo == MARK:
                self.drained.release()
            elif info.si_signo in (signal.SIGCHLD, signal.SIGWINCH):
                self.ring()
            else:
                self.pass_on(info)

    def ring(self) -> None:
        """Let the pump look at the terminal and at the command."""
        if self.alarm is not None:
            self.alarm.ring()

    def end_child(self) -> None:
        """End the child at its time limit, unless it has ended by itself."""
        if self.child is not None:
            self.timed_out = True
            end_family(self.child, self.grace)

    def pass_on(self, info: signal.struct_siginfo) -> None:
        """Pass a signal on to the child; remember it if it is a deadly one.

        The kernel's own (positive codes: the terminal's) went to the whole group and so to the child, but for the
        hang-up of a terminal, which is told to the session's leader alone.  What the child sent, it sent to the group.
        Of others nobody can tell whether they meant the group: twice is better than never.
        """
        if info.si_signo in DEADLY:
            self.received.append(info.si_signo)
        if info.si_signo == signal.SIGCONT:
            self.ring()  # the window's size may have changed meanwhile
        child = self.child
        if child is None:
            return  # the command has ended, and its record is being closed
        hung_up = info.si_signo == signal.SIGHUP and os.getsid(0) == os.getpid()
        if hung_up or (info.si_code <= 0 and info.si_pid != child):
            send(child, info.si_signo)


def die_of(number: int) -> None:
    """End this process by a signal, so that whoever waits for it sees that death and no mere code."""
    import resource

    if number in (signal.SIGQUIT,):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    signal.pthread_kill(get_ident(), number)  # to the process, the waiting thread might take it
