"""Commands that nobody watches: a small shell script keeps their return code, whatever becomes of who started them."""

from __future__ import annotations

import os
import signal
import time

from qrec.process import Ended, must_exist, own_umask, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHIM_START = 1.0  #: seconds that are waited for a shim to tell which process it has started

#: Runs a command that nobody watches: `sh -c SHIM qrec-shim ATTEMPT-FOLDER WORKING-FOLDER UMASK COMMAND...`.
#: - `started` is created exclusively before anything else: whoever creates it runs the command, nobody runs it twice.
#: - Signals to the group must not end the shim before it has written the code; `trap :` and not `trap ''`, since an
#:   ignored signal would be inherited by the command.
#: - It exits with the command's code, for the time when the folder has gone or the disk is full.
#: - `process` and `ended` are whole once they end in a newline: one write each, so no `mv` has to be forked.
SHIM = """\
folder=$1 pwd=$2 umask=$3; shift 3
umask 077
set -C; true 2>/dev/null >"$folder/started" || exit 0; set +C
trap : HUP INT QUIT TERM USR1 USR2
(
    read -r pid _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ ticks _ </proc/self/stat
    echo "$pid $ticks" >"$folder/process"
    umask "$umask"
    [ -z "$pwd" ] || cd -- "$pwd" || exit 125
    exec "$@"
) </dev/null >"$folder/stdout" 2>"$folder/stderr"
code=$?
echo "$code" >"$folder/ended"
exit "$code"
"""


def spawn_unattended(argv: Sequence[str], folder: str, cwd: str, env: Mapping[str, str] | None = None) -> int:
    """Start a command under the shim in a process group of its own; return the shim's pid.

    The command writes `stdout` and `stderr` in the attempt's folder, its return code comes to `ended`, and its pid and
    start ticks to `process`.  Without a `cwd` it stays where we are.
    """
    if cwd:
        must_exist(cwd)
    words = ["/bin/sh", "-c", SHIM, "qrec-shim", folder, cwd, own_umask(), *argv]
    null = os.open(os.devnull, os.O_RDWR)
    try:
        return spawn(words, {0: null, 1: null, 2: null}, env=env, own_group=True)
    finally:
        os.close(null)


def shim_process(folder: str) -> tuple[int, int] | None:
    """The pid and start ticks of the command under a shim or a keeper; None before it began."""
    words = (shim_line(folder, "process") or kept_line(folder, 0)).split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else None


def shim_process_soon(folder: str) -> tuple[int, int] | None:
    """The same as soon as the shim has told it, which takes it some milliseconds; None if it does not come to that."""
    deadline = time.monotonic() + SHIM_START
    while (found := shim_process(folder)) is None and not shim_ended(folder) and time.monotonic() < deadline:
        time.sleep(0.001)
    return found


def shim_ended(folder: str) -> Ended | None:
    """How the command under a shim ended; None while it runs.

    A code above 128 reads as death by a signal, or as an exit with that code: sh does not tell them apart.
    """
    line = shim_line(folder, "ended")
    if line:
        try:
            written = os.stat(os.path.join(folder, "ended")).st_mtime
        except FileNotFoundError:
            return None  # somebody has just closed the attempt and removed its files
        return Ended(returncode=int(line), signal=death_told_by(int(line)), at=written)
    words = kept_line(folder, 1).split()
    if len(words) != 5:
        return None
    code, number, at, cpu, memory = words
    return Ended(returncode=int(code), signal=int(number) or None, at=float(at), cpu=float(cpu), memory=int(memory))


def death_told_by(code: int) -> int | None:
    """The signal that a shell tells of by a code, if it is that."""
    return code - 128 if 128 < code < 128 + signal.NSIG else None


def shim_unheard(folder: str) -> bool:
    """Whether a shim that has ended could not write the code: its folder was removed, or the disk was full."""
    return not os.path.exists(os.path.join(folder, "started")) or (
        os.path.exists(os.path.join(folder, "ended")) and not shim_line(folder, "ended")
    )


def kept_line(folder: str, number: int) -> str:
    """One of the lines that a keeper writes to `started`: who runs, and how it ended; nothing if it is not there."""
    lines = shim_line(folder, "started").split("\n")
    return lines[number] if len(lines) > number and lines[0][:1].isdigit() else ""


def shim_line(folder: str, name: str) -> str:
    """The line in one of the shim's files, or nothing as long as it is not wholly written."""
    try:
        with open(os.path.join(folder, name)) as file:
            line = file.read()
    except OSError:
        return ""
    return line.strip() if line.endswith("\n") else ""
