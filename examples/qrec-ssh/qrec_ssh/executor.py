"""`ssh HOST COMMAND`: recorded here, run there."""

from __future__ import annotations

import re
import subprocess
import time

from qrec.errors import QrecError, Refused
from qrec.executors.base import Option, action
from qrec.executors.shell import ShellExecutor
from qrec.process import boot_id
from qrec.task import UNFINISHED, Task
from qrec_ssh.call import PATTERN, Call, call_of, words_of_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from qrec.output import Files
    from qrec.process import Ended

FAILED = 255  #: what ssh ends with when it is ssh that failed
#: The variable by which processes on the other machine are known.  Most servers take over what begins with LC_.
MARK = "LC_QREC_TASK"
END = 4096  #: bytes of stderr in which ssh's last words are looked for
#: How ssh begins to tell that there was no connection, or that there is none any more.
NO_CONNECTION = re.compile(
    r"ssh: |kex_exchange_identification: |banner exchange: |Host key verification failed|\S*Permission denied \(|"
    r"\S+: Permission denied \(|Connection (closed|reset|timed)|No route to host|command-line: |Bad |mux_client"
)
LOST = re.compile(
    r"client_loop: |Timeout, server |Connection to .* closed by remote host|packet_write|Received disconnect|"
    r"Disconnected from |Shared connection to .* closed|Write failed|Read from remote host"
)
#: Prints a line for each process that has a mark, and its words; not for our own ssh, if this is the same machine.
FIND = """\
read -r boot </proc/sys/kernel/random/boot_id
for file in $(grep -ls {mark} /proc/[0-9]*/environ); do
    pid=${{file#/proc/}}; pid=${{pid%/environ}}
    [ "$boot $pid" = "{own}" ] || echo "$pid $(tr '\\0\\n' '  ' <"/proc/$pid/cmdline")"
done
"""
TIMEOUT = Option(name="timeout", kind=float, default=10.0, help="Seconds to wait for an answer.")


class SshExecutor(ShellExecutor):
    """Commands that ssh runs on other machines."""

    name = "ssh"
    pattern = PATTERN
    panel = "templates/panel.html"

    # How it runs

    def words(self, task: Task) -> Sequence[str]:
        """See ShellExecutor: what was typed, and a mark that is handed on."""
        if "shell" in task.data or call_of(task.argv) is None:
            return super().words(task)
        return ("env", f"{MARK}={task.uid}", task.argv[0], "-o", f"SendEnv={MARK}", *task.argv[1:])

    def notes(self, task: Task) -> Mapping[str, Any]:
        """See ShellExecutor: where it runs, and what."""
        call = call_in(task)
        if call is None:
            return {}
        marked = "shell" not in task.data
        return {**call.place, **({"command": " ".join(call.command)} if marked else {}), "marked": marked}

    def outcome(self, task: Task, ended: Ended, output: Files) -> dict[str, Any]:
        """See ShellExecutor: whether it was the connection that failed."""
        if ended.returncode != FAILED:
            return {}
        words = output.read("stderr", max(0, output.size("stderr") - END)).decode("utf-8", "replace")
        for line in reversed([one.strip() for one in words.splitlines()]):
            lost = LOST.match(line) is not None
            if lost or NO_CONNECTION.match(line):
                reason = f"{'the connection was lost' if lost else 'no connection'}: {line.rstrip('.')}"
                return {"data": {"reason": reason, "ssh": {**task.data.get("ssh", {}), "lost": lost}}}
        return {}

    def panel_data(self, task: Task) -> Mapping[str, Any]:
        """See Executor."""
        call = call_in(task)
        return {"again": [] if call is None else call.again(call.host)}

    # What can be done with it

    @action(when=UNFINISHED)
    def cancel(self, task: Task) -> Task:
        """Ask the command to end over there, and end the connection."""
        self.store.change(task.uid, wish="cancel")
        try:
            self.end_remote(task, "TERM", 10.0)
        except QrecError as error:
            self.recorder.complaints.append(f"it may go on over there: {error}")
        return super().cancel(self.store.get(task.uid))

    @action()
    def where(self, task: Task) -> dict[str, Any]:
        """Tell which machine that is, by the configuration of ssh."""
        call = known_call(task)
        lines = asked(call.again("-G", call.host), 10.0).splitlines()
        told = dict(line.split(" ", 1) for line in reversed(lines) if " " in line)
        wanted = ("hostname", "user", "port", "proxyjump", "identityfile")
        return {name: told[name] for name in wanted if name in told}

    @action(TIMEOUT)
    def remote_status(self, task: Task, timeout: float) -> dict[str, Any]:
        """Look at what of the command runs on the other machine."""
        if not task.data.get("ssh", {}).get("marked"):
            raise Refused(f"{task.uid} was a line for the shell: its processes carry no mark")
        call = known_call(task)
        script = FIND.format(mark=f"{MARK}={task.uid}", own=f"{boot_id()} {task.pid}")
        lines = asked(call.again("--", call.host, script), timeout).splitlines()
        rows = [line.partition(" ") for line in lines if line.partition(" ")[0].isdecimal()]
        running = [{"pid": int(pid), "command": words.strip()} for pid, _, words in rows]
        note = "it has ended there, or the server takes no variables that begin with LC_"
        return {"host": call.host, "running": running, **({} if running else {"note": note})}

    @action(
        Option(name="signal", default="TERM", choices=("TERM", "INT", "HUP", "KILL"), help="What is sent."), TIMEOUT
    )
    def end_remote(self, task: Task, signal: str, timeout: float) -> dict[str, Any]:
        """Send a signal to what of the command runs on the other machine."""
        found = self.remote_status(task, timeout)
        pids = [str(one["pid"]) for one in found["running"]]
        if pids:
            call = known_call(task)
            asked(call.again("--", call.host, f"kill -s {signal} {' '.join(pids)} 2>/dev/null || :"), timeout)
        return {"host": found["host"], "signalled": len(pids)}

    @action(
        Option(name="tries", kind=int, default=1, help="How often."),
        Option(name="pause", kind=float, default=5.0, help="Seconds between two."),
        TIMEOUT,
    )
    def reconnect(self, task: Task, tries: int, pause: float, timeout: float) -> dict[str, Any]:
        """Try whether the machine can be reached."""
        call, said = known_call(task), ""
        for count in range(1, max(1, tries) + 1):
            began = time.monotonic()
            try:
                asked(call.again("--", call.host, "true"), timeout)
                return {"reached": True, "tries": count, "seconds": round(time.monotonic() - began, 3)}
            except Refused as error:
                said = str(error)
            if count < tries:
                time.sleep(pause)
        return {"reached": False, "tries": count, "why": said}


def call_in(task: Task) -> Call | None:
    """The call that a task is, or begins with."""
    return call_of(words_of_line(task.argv[0]) if "shell" in task.data else task.argv)


def known_call(task: Task) -> Call:
    """The same; Refused if nobody can tell."""
    call = call_in(task)
    if call is None:
        raise Refused(f"{task.uid} names no machine")
    return call


def asked(words: Sequence[str], timeout: float) -> str:
    """What a call of ssh prints.  Refused if it fails, with the last line it says."""
    options = [f"-oConnectTimeout={max(1, round(timeout))}"]
    try:
        done = subprocess.run(
            [words[0], *options, *words[1:]], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"there was no answer within {timeout:g} s") from None
    except OSError as error:
        raise Refused(f"{words[0]}: {error.strerror}") from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").split("\n")
        raise Refused(next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {done.returncode}"))
    return done.stdout.decode("utf-8", "replace")
