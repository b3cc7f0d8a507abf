"""The private pseudo-terminals of a command whose output goes to a terminal.

The command stays in qrec's own session and process group, with the real terminal as its stdin and /dev/tty.  Only its
stdout and stderr, each where qrec has a terminal there, are pseudo-terminals of ours, which are nobody's controlling
terminal and translate nothing: so what is recorded is what was written, while Ctrl-C, Ctrl-Z, echo, passwords and
type-ahead stay the kernel's own business.  What remains to be done here: sizes, modes that a program sets on its
stdout, keys for programs that read from their stderr, and stopping when the command is stopped.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import sys
import termios
import time

from qrec.process import Alarm, Channels, Tap, spawn
from qrec.signals import STOPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from qrec.process import Pump, Sink

    Modes = list[Any]  # as tcgetattr gives them: iflag, oflag, cflag, lflag, speeds, control characters

IFLAG, OFLAG, LFLAG, CC = 0, 1, 3, 6
EXTPROC = (
    0o200000  #: termios(3): the kernel leaves all processing to us, and packet mode tells of every change of modes
)
TIOCPKT_IOCTL = 64  #: the bit of a packet's first byte that says so
OURS = {OFLAG: termios.OPOST, LFLAG: EXTPROC}  #: what differs between a private terminal and a real one
SIZE = struct.Struct("HHHH")  #: rows, columns, and the same in pixels
AGAIN = 0.06  #: seconds after which SIGWINCH is repeated: vim, still redrawing for the first one, loses the second
LOOK = 0.05  #: seconds between two looks at modes and groups of which the kernel tells nothing
PACKET = 4095  #: bytes in the largest packet
JOINED = 1 << 16  #: bytes up to which packets are joined
DEFAULT_SIZE = (24, 80, 0, 0)


class PrivateTerminal(Tap):
    """One stream of the child on a pseudo-terminal of its own, which translates nothing."""

    def __init__(self, name: str, target: int | None, screen: Screen | None) -> None:
        self.screen = screen
        super().__init__(name, target)
        self.base = self.seen = self.modes()
        self.changed = 0  #: where in the block just read the command has changed its modes; 0 if it has not
        self.busy = False  #: whether a block of it is being passed on
        self.feeder: Feeder | None = None
        if screen is not None:
            screen.taps.append(self)

    def open(self) -> tuple[int, int]:
        """A pseudo-terminal with the modes and size of the real one."""
        source, inlet = os.openpty()
        modes = termios.tcgetattr(inlet) if self.screen is None else self.screen.modes() or termios.tcgetattr(inlet)
        termios.tcsetattr(inlet, termios.TCSANOW, without_translation(modes))
        fcntl.ioctl(source, termios.TIOCPKT, struct.pack("i", 1))
        set_size(source, DEFAULT_SIZE if self.screen is None else size_of(self.screen.number) or DEFAULT_SIZE)
        return source, inlet

    def modes(self) -> Modes:
        """The modes as the command has set them; ours put back where it took them."""
        found = termios.tcgetattr(self.source)
        ours = without_translation(found)
        if ours != found:
            termios.tcsetattr(self.source, termios.TCSANOW, ours)
        return ours

    def read(self, buffer: memoryview) -> int | None:
        """See Tap; packets are joined, since each holds a few KiB only.  The first byte is none of the stream's.

        Each packet's own first byte tells of changed modes, or is 0 before data; it lands on the last byte of the
        packet before, which is kept meanwhile.  All that is there is read before the change is followed, which takes
        its time: what is written meanwhile may come after something in the other stream.
        """
        end, self.changed = 1, 0
        while end < JOINED:
            last = buffer[end - 1]
            size = super().read(buffer[end - 1 :])
            if not size:
                return end if end > 1 or self.changed else size  # an end will be met again
            control, buffer[end - 1] = buffer[end - 1], last
            if control & TIOCPKT_IOCTL:
                self.changed = self.changed or end
            end += size - 1
            if not control and size < PACKET:
                return end
        self.more = True
        return end

    def take(self, block: memoryview, sink: Sink) -> None:
        """See Tap; what was written before a change of modes is passed on before it."""
        self.busy = True
        if self.screen is not None:
            self.screen.wait_for_turn()
            self.screen.see_changes_beside(self, sink)
        before, after = (block[1 : self.changed], block[self.changed :]) if self.changed else (block[1:], block[:0])
        self.take_part(before, sink)
        if self.changed:
            self.follow()
            self.let_stdout_go_first(sink)
        self.take_part(after, sink)
        self.busy = False

    def let_stdout_go_first(self, sink: Sink) -> None:
        """Pass on what stdout holds before what stderr got after its change of modes.

        Which of them came first cannot be known.  Programs that set modes on stderr (`vim -`) leave the alternate
        screen on stdout next, and what they then say on stderr would vanish with it.
        """
        first = self.screen.taps[0] if self.screen is not None else self
        if first is not self and first.is_open and not first.busy:
            first.pump(spare_buffer(), sink)

    def take_part(self, block: memoryview, sink: Sink) -> None:
        """Record a part of a block and pass it on, if there is any."""
        if block and self.is_open:
            super().take(block, sink)

    def follow(self) -> None:
        """The command has changed the modes of its terminal: so are the real one's."""
        if self.screen is not None:
            self.screen.follow(self)
            self.feed()

    def feed(self) -> None:
        """Pass keys on as long as a program reads them one by one from its stderr, as `less` and `vim -` do."""
        wanted = self.name == "stderr" and not self.seen[LFLAG] & termios.ICANON and self.is_open
        if wanted and self.feeder is None and self.screen is not None:
            self.feeder = Feeder(self.screen.number, self.source)
        elif not wanted and self.feeder is not None:
            self.feeder.end()
            self.feeder = None

    def close(self) -> None:
        """See Tap; a last look at the modes, and no more keys."""
        if self.is_open:
            self.follow()
        super().close()
        self.feed()

    def hand_over(self) -> None:
        """See Tap; without the packets, of which `cat` knows nothing."""
        fcntl.ioctl(self.source, termios.TIOCPKT, struct.pack("i", 0))
        super().hand_over()


class Screen:
    """A real terminal that our output goes to, with the modes that the command set on its private ones.

    curses, for one, sets modes on its stdout though it reads from stdin: they have to hold for the real terminal.
    """

    def __init__(self, number: int, front: Callable[[], bool]) -> None:
        self.number = number  #: our descriptor of it
        self.front = front  #: whether the command is in the foreground
        self.taps: list[PrivateTerminal] = []
        self.saved: Modes | None = None  #: its modes when the command first left those it began with
        self.own: Modes | None = None  #: the modes that we set last
        self.healed: Modes | None = None  #: what to go back to if `own` is there again
        self.checked = 0.0

    def modes(self) -> Modes | None:
        """Its modes now; None if it has been closed."""
        try:
            return termios.tcgetattr(self.number)
        except termios.error:
            return None

    def set(self, modes: Modes) -> None:
        """Set its modes; from the background only after having been stopped for it, as the kernel would do."""
        if not self.front():
            stop_for_output()
        try:
            termios.tcsetattr(self.number, termios.TCSADRAIN, modes)
        except termios.error:
            pass

    def follow(self, tap: PrivateTerminal) -> None:
        """Give the real terminal the modes that the command has changed on its own."""
        before, tap.seen = tap.seen, tap.modes()
        now = self.modes()
        if before == tap.seen or now is None:
            return
        if self.saved is None:
            self.saved = now
        if all(other.seen == other.base for other in self.taps):
            self.go_back(now)
        else:
            self.set(changed(now, before, tap.seen))
            self.own = self.modes()

    def see_changes_beside(self, tap: PrivateTerminal, sink: Sink) -> None:
        """Take over modes that the command has set on its other stream, before it may rely on them on this one.

        `vim -` asks the terminal for its cursor on stdout as soon as it has switched echo off on stderr.
        """
        for other in self.taps:
            if other is not tap and not other.busy and other.is_open and other.seen == other.base != other.modes():
                other.pump(spare_buffer(), sink)

    def go_back(self, now: Modes) -> None:
        """The command has put back what it found: so do we, unless somebody else has set the terminal meanwhile."""
        if now == self.own and self.saved is not None:
            self.set(self.saved)
        self.healed, self.saved = self.saved, None

    def heal(self) -> None:
        """Undo what a program did that saved the modes while ours were set, and put them back after we had not."""
        if self.healed is not None and self.saved is None and self.own != self.healed and self.modes() == self.own:
            self.set(self.healed)

    def wait_for_turn(self) -> None:
        """Stop before writing from the background where the terminal's mode asks for that (`stty tostop`)."""
        now = time.monotonic()
        if now - self.checked < LOOK:
            return
        self.checked = now
        self.heal()
        modes = self.modes()
        if modes and modes[LFLAG] & termios.TOSTOP and not self.front():
            stop_for_output()


class Terminals(Channels):
    """A child whose streams are private terminals where ours are terminals; or all of them, if so `forced`."""

    def __init__(self, show: bool, closed: Iterable[int], forced: bool = False) -> None:
        self.forced = forced
        self.alarm = Alarm()
        self.tty = controlling_terminal()
        self.job_control = self.tty is not None  # else there is no shell that would continue us with the command
        self.pid = 0
        self.screens: dict[int, Screen] = {}
        self.private: list[PrivateTerminal] = []
        self.again = float("inf")  #: when SIGWINCH is to be repeated
        self.drain: Callable[[], None] = lambda: None
        super().__init__(show, closed)

    def tap(self, name: str, target: int | None) -> Tap:
        """See Channels."""
        is_terminal = target is not None and os.isatty(target)
        if not (is_terminal or self.forced):
            return Tap(name, target)
        tap = PrivateTerminal(name, target, self.screen(target) if is_terminal and target is not None else None)
        self.private.append(tap)
        return tap

    def screen(self, target: int) -> Screen:
        """The real terminal behind one of our streams: mostly one for both, with one set of modes."""
        return self.screens.setdefault(os.fstat(target).st_rdev, Screen(target, self.in_front))

    def start(self, words: Sequence[str], cwd: str | None, mask: Iterable[int]) -> int:
        """See Channels."""
        self.pid = super().start(words, cwd, mask)
        return self.pid

    def serve(self, pump: Pump) -> None:
        """See Channels."""
        super().serve(pump)
        self.drain = pump.exhaust

    def in_front(self) -> bool:
        """Whether we, or a descendant with a group of its own, are in the terminal's foreground."""
        group = foreground(self.tty)
        return group is None or group == os.getpgrp() or descends(group, os.getpid())

    def attend(self) -> None:
        """Something has happened: the window has another size, or the command was stopped, or both."""
        self.resize()
        stop = stopped_by(self.pid)
        if stop and self.job_control:
            self.stop(stop)
            self.resize()

    def resize(self) -> None:
        """Give the private terminals the size of the real ones, and tell the foreground.

        The kernel has told the command already, but too early: before the private terminals had their new size.
        """
        sizes = {tap: size_of(tap.screen.number) for tap in self.private if tap.screen and tap.is_open}
        new = {tap: size for tap, size in sizes.items() if size and size != size_of(tap.source)}
        for tap, size in new.items():
            set_size(tap.source, size)
        if new:
            self.announce_size()
            self.again = time.monotonic() + AGAIN

    def announce_size(self) -> None:
        """Send SIGWINCH to whoever is in the foreground."""
        group = foreground(self.tty)
        try:
            os.killpg(group or os.getpgrp(), signal.SIGWINCH)
        except OSError:
            pass  # another user's program (sudo)

    def stop(self, number: int) -> None:
        """Stop as the command was stopped, so that the shell's table of jobs is right; return when continued."""
        self.drain()
        os.kill(os.getpid(), number)
        let_stop(number)
        try:
            if os.getpgid(self.pid) != os.getpgrp():
                os.killpg(os.getpgid(self.pid), signal.SIGCONT)
        except OSError:
            pass

    def tick(self) -> float:
        """What the kernel does not tell of; returns the seconds until the next look."""
        now = time.monotonic()
        if now >= self.again:
            self.again = float("inf")
            self.announce_size()
        for screen in self.screens.values():
            screen.heal()
        healing = any(screen.healed is not None for screen in self.screens.values())
        return min(self.again - now, LOOK if healing else float("inf"))

    def close(self) -> None:
        """See Channels."""
        if self.tty is not None:
            os.close(self.tty)


def spare_buffer() -> memoryview:
    """Room for a joined read while the pump's own is in use."""
    return memoryview(bytearray(JOINED + PACKET + 1))


def stop_for_output() -> None:
    """Stop the whole job, as the kernel does to what touches a terminal from the background."""
    os.kill(0, signal.SIGTTOU)
    let_stop(signal.SIGTTOU)


def let_stop(number: int) -> None:
    """Let a stopping signal that has been sent to us take effect; return when somebody continues us."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})  # here we stand
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS & {number})


def without_translation(modes: Modes) -> Modes:
    """The modes of a terminal that passes bytes on as they are, and tells of every change."""
    ours = list(modes)
    ours[OFLAG] &= ~termios.OPOST
    ours[LFLAG] |= EXTPROC
    return ours


def changed(real: Modes, before: Modes, after: Modes) -> Modes:
    """The real terminal's modes with what has changed on a private one between `before` and `after`."""
    new = list(real)
    for place in (IFLAG, OFLAG, LFLAG):
        flips = (before[place] ^ after[place]) & ~OURS.get(place, 0)
        new[place] = real[place] & ~flips | after[place] & flips
    new[CC] = [late if early != late else now for now, early, late in zip(real[CC], before[CC], after[CC], strict=True)]
    if is_raw(after):
        new[OFLAG] &= ~termios.OPOST
    elif is_raw(before):
        new[OFLAG] |= termios.OPOST
    return new


def is_raw(modes: Modes) -> bool:
    """Whether a program has asked for raw modes: that it switched OPOST off cannot be seen, being off already.

    cfmakeraw(3) clears ICRNL and leaves ONLCR; curses clears both, and wants output to be processed.
    """
    return not modes[IFLAG] & termios.ICRNL and bool(modes[OFLAG] & termios.ONLCR)


def size_of(number: int) -> tuple[int, ...] | None:
    """The size of a terminal; None if it is gone."""
    try:
        return SIZE.unpack(fcntl.ioctl(number, termios.TIOCGWINSZ, bytes(SIZE.size)))
    except OSError:
        return None


def set_size(number: int, size: Sequence[int]) -> None:
    """Set the size of a terminal."""
    fcntl.ioctl(number, termios.TIOCSWINSZ, SIZE.pack(*size))


def controlling_terminal() -> int | None:
    """A descriptor of the terminal that rules our session; None if there is none."""
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None


def foreground(tty: int | None) -> int | None:
    """The process group in front of a terminal; None if nobody knows."""
    try:
        return None if tty is None else os.tcgetpgrp(tty)
    except OSError:
        return None


def descends(pid: int, ancestor: int) -> bool:
    """Whether a process is a descendant of another."""
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:
            return False
    return False


def stopped_by(pid: int) -> int:
    """The signal that has just stopped our child; 0 if it has not been stopped since we last asked."""
    try:
        found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
    except ChildProcessError:
        return 0
    return found.si_status if found else 0


#: Copies keys from its 0 to its 1 until it is killed, or nobody holds the other end of its 3 any more.
FEEDER = """
import os, select
while 3 not in select.select([0, 3], [], [])[0]:
    keys = os.read(0, 4096)
    if not keys:
        break
    os.write(1, keys)
"""


class Feeder:
    """Passes keys from the real terminal on to a private one.

    It has a session of its own: a terminal that is not the reader's controlling one knows no job control, and so it
    may read whoever is in front.  It ends with us, however we end: it must not take keys that are meant for others.
    """

    def __init__(self, source: int, target: int) -> None:
        held, self.life = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, *pair) for pair in ((source, 0), (target, 1), (held, 3))]
        try:
            self.pid = os.posix_spawn(
                sys.executable, [sys.executable, "-ISc", FEEDER], {}, file_actions=actions, setsid=True
            )
        finally:
            os.close(held)

    def end(self) -> None:
        """Stop at once: the program reads whole lines again, or is gone."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.life)


# One terminal for everything


class OneTerminal(Channels):
    """A child in a session of its own, on one terminal for all its streams, as script(1) does it.

    stderr cannot be told from stdout then, but job control works in `bash -i`, and `more` gets its keys.  Our own
    terminal is raw meanwhile: every key is for the child's.
    """

    def __init__(self, show: bool, closed: Iterable[int]) -> None:
        self.alarm = Alarm()
        self.real = next((number for number in (0, 1, 2) if number not in set(closed) and os.isatty(number)), None)
        self.before: Modes | None = None
        self.keys = b""  #: typed and not yet taken
        self.hearing = False
        self.over = False  #: whether our stdin has ended
        self.terminal: SessionTerminal | None = None
        super().__init__(show, closed)
        self.taps = self.taps[:1] or [self.tap("stdout", None)]  # what is written to stderr comes with it

    def tap(self, name: str, target: int | None) -> Tap:
        """See Channels; one for all."""
        if self.terminal is None:
            self.terminal = SessionTerminal("stdout", target, self.real)
        return self.terminal

    def start(self, words: Sequence[str], cwd: str | None, mask: Iterable[int]) -> int:
        """See Channels."""
        (tap,) = self.taps
        try:
            return spawn(words, {}, cwd=cwd, mask=mask, session=os.ttyname(tap.inlet))
        finally:
            tap.close_inlet()

    def serve(self, pump: Pump) -> None:
        """See Channels."""
        super().serve(pump)
        self.pump = pump
        self.before = self.make_raw()
        self.hear()

    def make_raw(self) -> Modes | None:
        """Pass every key on as it is; return the modes to go back to."""
        if self.real is None:
            return None
        import tty

        before = termios.tcgetattr(self.real)
        tty.setraw(self.real, termios.TCSADRAIN)
        return before

    def hear(self) -> None:
        """Listen for keys; what is a file is read in our ticks instead."""
        try:
            self.pump.hear(0, self.type)
            self.hearing = True
        except PermissionError:
            pass

    def type(self) -> None:
        """Give the child's terminal what is typed, or what comes through our stdin; at its end, what means the end."""
        (tap,) = self.taps
        keys = os.read(0, 4096)
        if not keys:
            self.over = True
            keys = termios.tcgetattr(tap.source)[CC][termios.VEOF]
        self.keys += keys
        self.pass_keys()
        if self.hearing and (self.keys or self.over):  # it takes no more now
            self.pump.hear_no_more(0)
            self.hearing = False

    def pass_keys(self) -> None:
        """Write as many of the keys as the child's terminal takes now."""
        (tap,) = self.taps
        try:
            while self.keys and tap.is_open:
                self.keys = self.keys[os.write(tap.source, self.keys) :]
        except OSError:
            pass  # full, or nobody is there to read them

    def attend(self) -> None:
        """Give the child's terminal the size of ours."""
        (tap,) = self.taps
        size = None if self.real is None else size_of(self.real)
        if size and tap.is_open:
            set_size(tap.source, size)

    def tick(self) -> float:
        """See Channels."""
        self.pass_keys()
        if not self.keys and not self.over and not self.hearing:
            self.hear()
            if not self.hearing:
                self.type()
        return LOOK if self.keys else float("inf") if self.hearing or self.over else 0.0

    def close(self) -> None:
        """See Channels."""
        if self.terminal is not None:
            self.terminal.vanish()
        if self.real is not None and self.before is not None:
            termios.tcsetattr(self.real, termios.TCSADRAIN, self.before)


class SessionTerminal(Tap):
    """The terminal of a session; its output is what ours would be given, line ends translated."""

    def __init__(self, name: str, target: int | None, real: int | None) -> None:
        self.real = real
        self.held = -1
        super().__init__(name, target)

    def close(self) -> None:
        """See Tap; nothing is read any more, but the terminal stays.

        Many a program closes its streams before it ends: without a terminal behind them that would be a hang-up.
        """
        if self.is_open:
            self.held = os.dup(self.source)
        super().close()

    def vanish(self) -> None:
        """The command has ended, and with it the use of its terminal."""
        self.close()
        os.close(self.held)

    def open(self) -> tuple[int, int]:
        """A terminal with the modes and size of ours."""
        source, inlet = os.openpty()
        if self.real is not None:
            termios.tcsetattr(inlet, termios.TCSANOW, termios.tcgetattr(self.real))
        set_size(source, (self.real is not None and size_of(self.real)) or DEFAULT_SIZE)
        return source, inlet
