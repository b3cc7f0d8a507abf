"""Without a terminal: pipelines, the background, cron, and whatever else starts commands: all as without qrec.

Each line is run by bash twice, with `q` as a function that adds nothing and with one that adds `qrec -q run`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import Result, environment, wait_until

QREC = f"{shlex.quote(sys.executable)} -m qrec"
NATIVE, RECORDED = 'exec "$@"', f'exec {QREC} -q run "$@"'


@pytest.fixture
def both(tmp_path, home):
    """Runs a line natively and recorded, each in a folder of its own; returns what is seen of either."""

    def both(line: str, **popen: Any) -> tuple[Result, Result]:
        native, recorded = (run(tmp_path / name, line, how, **popen) for name, how in (("n", NATIVE), ("r", RECORDED)))
        return native, recorded

    return both


def run(folder: Path, line: str, how: str, **popen: Any) -> Result:
    """`q` is a program on PATH, so that xargs, find and make find it, too."""
    folder.mkdir()
    (folder / "q").write_text(f"#!/bin/sh\n{how}\n")
    (folder / "q").chmod(0o755)
    work = folder / "work"
    work.mkdir()
    variables = environment({"PATH": f"{folder}:{os.environ['PATH']}"})
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "env": variables, "cwd": work, "start_new_session": True}
    # SIGINT and SIGQUIT may be ignored by whoever has started the tests
    options.update(capture_output=True, timeout=60, **popen)
    done = subprocess.run(["bash", "-c", line], **options)
    return Result(line, done.returncode, done.stdout, done.stderr)


#: Lines whose output and code are wholly their own.  A death by a signal is a code here: no shell says `Killed`.
LINES = {
    "the reader has enough": "yes | q head -n 3",
    "the writer is told": "q yes | head -n 3; echo ${PIPESTATUS[@]}",
    "in the middle": "seq 100000 | q cat | q sort -rn | q head -n 2",
    "pipefail": "set -o pipefail; q sh -c 'echo a; exit 3' | cat; echo $?",
    "both streams in one pipe": "q sh -c 'echo a; echo b >&2; echo c' 2>&1 | sort",
    "only stderr in a pipe": "q sh -c 'echo a; echo b >&2' 2>&1 >/dev/null | cat",
    "a pipe of both": "q sh -c 'echo a; echo b >&2' |& sort; echo ${PIPESTATUS[@]}",
    "tee": "q seq 3 | tee file; cat file",
    "substitution": 'x=$(q sh -c "echo a; echo; exit 4"); echo "$x $?"',
    "backticks": "echo `q echo a` `q echo b`",
    "processes as files": "q cat <(q echo a) <(q echo b); q echo c > >(cat); wait $!",
    "a here-document": "q cat <<end\na\n$((1 + 1))\nend",
    "a loop that reads": "printf 'a\\nb\\n' | while read -r x; do q echo \"$x\" </dev/null; done",
    "stdin is shared": "printf 'a\\nb\\nc\\n' | (q head -n 1 >/dev/null; echo over)",
    "xargs": "printf 'a b\\0c\\0' | xargs -0 -n 1 q printf '<%s>'; echo $?",
    "xargs at once": "seq 8 | xargs -P 4 -n 1 q sh -c 'exit 0' sh; echo $?",
    "xargs and 255": "echo a | xargs q sh -c 'exit 255'; echo $?",
    "find": "touch a 'b c'; find . -type f -exec q printf '%s|' {} \\; | sort; find . -name a -exec q false \\; -print",
    "find all": "touch a 'b c'; find . -type f -exec q printf '%s|' {} +; echo $?",
    "time": "TIMEFORMAT=; time q sh -c 'exit 3'; echo $?",
    "timeout outside": "timeout 0.5 q sleep 60; echo $?",
    "timeout inside": "q timeout 0.3 sleep 60; echo $?",
    "timeout that kills": "exec 2>/dev/null; q timeout -s KILL 0.3 sleep 60; echo $?",
    "nohup": "nohup q sh -c 'echo a; grep -c . /dev/null; exit 3'; echo $?",
    "nice": "q nice -n 3 nice; nice -n 4 q nice",
    "env": "env A=b q sh -c 'echo $A'; q env A=c sh -c 'echo $A'",
    "a session of its own": "setsid -w q sh -c 'echo a; exit 3'; echo $?",
    "the background": "q sh -c 'echo a; exit 3' & wait $!; echo $?",
    "many in the background": 'for i in 1 2 3 4; do q sh -c "exit $i" & p[i]=$!; done; '
    "for i in 1 2 3 4; do wait ${p[i]}; echo $?; done",
    "the background reads nothing": "q cat & wait $!; echo $?",
    "and, or, not": "q true && echo a; q false || echo b; ! q false; echo $?; if q true; then echo c; fi",
    "set -e": "set -e; q false; echo never",
    "descriptors": "q sh -c 'echo x >&3; echo y >&9' 3>file 9>>file; cat file; exec 4<file; q cat <&4",
    "stdin and stdout are one file": "echo abc >file; q dd bs=1 count=1 conv=notrunc status=none <>file >&0; cat file",
    "appending": "echo a >file; q echo b >>file; cat file",
    "stdin is closed": "q sh -c 'cat <&0 2>/dev/null; echo $?' <&-",
    "stdout is closed": "q sh -c 'echo a 2>/dev/null; echo $? >&2' >&-",
    "stderr is closed": "q sh -c 'echo a; echo b >&2; exit 3' 2>&-; echo $?",
    "all are closed": "q sh -c 'exit 3' <&- >&- 2>&-; code=$?; echo $code",
    "one in another": "q q q sh -c 'echo a; echo b >&2; cat; exit 3' <<<c; echo $?",
    "a death": "exec 2>/dev/null; q sh -c 'kill -9 $$'; echo $?",
    "exec": "exec q sh -c 'echo a; exit 3'",
    "a trap": "trap 'echo trapped' USR1; q sh -c 'kill -USR1 '$$; echo $?",
    "a coprocess": "coproc q cat; echo a >&${COPROC[1]}; read -r x <&${COPROC[0]}; echo $x; "
    'eval "exec ${COPROC[1]}>&-"; wait $COPROC_PID; echo $?',
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_line_does_what_it_does_without_qrec(both, line):
    native, recorded = both(line)
    assert (recorded.returncode, recorded.out) == (native.returncode, native.out), recorded
    assert told(recorded) == told(native)


def told(result: Result) -> list[str]:
    """What was told on stderr; the shell names its line and the pid of a dead one.

    Where a machine stalls who has the store, a record comes into it later, and qrec says so.
    """
    lines = result.err.replace("/r/", "/n/").splitlines()
    return sorted(line for line in lines if not line.startswith("qrec: the record waits in "))


def test_a_reader_that_ends_early_ends_the_writer(qrec, both):
    both("q yes | head -n 1")
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["signal"]) == ("failed", 13)


MAKEFILE = """
all: one two three four
one two three four:
\t@q $(MAKE) -f ../../makefile below
below:
\t@echo "$$MAKEFLAGS" | grep -q jobserver && echo shared
"""


def test_make_shares_its_slots(both, tmp_path):
    """The jobserver's descriptors come through, and no make complains that they do not."""
    (tmp_path / "makefile").write_text(MAKEFILE)
    native, recorded = both("q make -j3 --no-print-directory -f ../../makefile; echo $?")
    assert recorded.out == native.out == "shared\n" * 4 + "0\n"
    assert recorded.err == native.err == ""


# As cron and ssh start things


@pytest.mark.parametrize("way", ["env -i", "env -i HOME={home} LOGNAME=x SHELL=/bin/sh PATH=/usr/bin:/bin"])
def test_as_cron_starts_it(qrec, home, tmp_path, way):
    """No terminal, next to no environment, stdin of /dev/null, and a pipe for both streams."""
    line = f"setsid -w {way.format(home=tmp_path)} {QREC} --home {home} -q run /bin/sh -c 'echo a; echo b >&2; exit 3'"
    done = subprocess.run(
        ["sh", "-c", line], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert (done.returncode, done.stdout) == (3, b"a\nb\n")
    assert qrec("ls", "--json").json[0]["returncode"] == 3
    assert sorted(qrec("log").out.splitlines()) == ["a", "b"]


def test_as_ssh_without_a_terminal_starts_it(home, tmp_path):
    """Pipes for all three, a session of its own; stdin stays open until the command has ended."""
    native, recorded = (
        run(tmp_path / name, "q sh -c 'read x; echo $x; exit 3'", how, stdin=reading(b"word\n"))
        for name, how in (("native", NATIVE), ("recorded", RECORDED))
    )
    assert (native.returncode, native.out, native.err) == (3, "word\n", "")
    assert (recorded.returncode, recorded.out, recorded.err) == (3, "word\n", "")


def reading(content: bytes) -> int:
    """A pipe with something in it."""
    ours, theirs = os.pipe()
    os.write(theirs, content)
    os.close(theirs)
    return ours


def test_a_connection_that_breaks(start, qrec, tmp_path):
    """Whoever reads goes away, and a hang-up follows: the command ends, and its end is on record."""
    process = start("-q", "run", "sh", "-c", "echo a; sleep 600")
    assert process.stdout.readline() == b"a\n"
    process.stdout.close()
    process.stderr.close()
    os.killpg(process.pid, 1)
    assert process.wait(30) == -1
    (task,) = wait_until(lambda: qrec("ls", "--json").json)
    assert (task["status"], task["signal"]) == ("cancelled", 1)


def test_a_container_without_init(qrec, home):
    """qrec is the first process of its namespace, to which the kernel gives all orphans."""
    script = "(sleep 0.2 &); echo a; exit 3"
    unshare = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--pid", "--fork", "--mount-proc"]
    words = [*unshare, sys.executable, "-m", "qrec", "-q", "run", "sh", "-c", script]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"a\n", b"")
    assert qrec("ls", "--json").json[0]["returncode"] == 3
