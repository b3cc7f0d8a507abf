"""One child process, always a real one: how it is started, fed, emptied and signalled, and what is told of its end."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from qrec import process
from qrec.errors import CommandNotFound, CouldNotStart, NotExecutable
from qrec.process import (
    Ended,
    Identity,
    Pump,
    Tap,
    end_family,
    family,
    identity,
    reap,
    send,
    spawn,
    start_ticks,
)
from qrec.shim import shim_ended, shim_process, spawn_unattended
from tests.helpers import Result, wait_until

WEIRD = ["a b", "it's", 'say "x"', "new\nline", "$HOME", "`id`", "-dash", "*", "ü", "\\", " ", "%s"]


@pytest.fixture(params=WEIRD)
def weird(request, tmp_path) -> Path:
    """A folder with a name that few programs expect."""
    folder: Path = tmp_path / "top" / request.param
    folder.mkdir(parents=True)
    return folder


def executable(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


class Collected:
    """A sink that remembers what came, in its order."""

    def __init__(self) -> None:
        self.blocks: list[tuple[str, bytes]] = []

    def write(self, stream: str, block: memoryview) -> None:
        self.blocks.append((stream, bytes(block)))

    def of(self, stream: str) -> bytes:
        return b"".join(block for name, block in self.blocks if name == stream)


def pumped(*words: str, targets: tuple[int | None, int | None] = (None, None)) -> tuple[Ended, Collected]:
    """Run a program with its streams in taps."""
    taps = [Tap(name, target) for name, target in zip(("stdout", "stderr"), targets, strict=True)]
    sink = Collected()
    pid = spawn(words, {1: taps[0].inlet, 2: taps[1].inlet})
    for tap in taps:
        tap.close_inlet()
    return Pump(pid, taps, sink).run(), sink


# Starting


def test_words_and_environment_reach_the_program():
    show = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['A']]), end='')"
    tap = Tap("stdout", None)
    pid = spawn([sys.executable, "-c", show, *WEIRD, ""], {1: tap.inlet}, env={**os.environ, "A": "a b"})
    tap.close_inlet()
    sink = Collected()
    assert Pump(pid, [tap], sink).run().returncode == 0
    assert json.loads(sink.of("stdout")) == [[*WEIRD, ""], "a b"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["no-such-program"], CommandNotFound),
        (["./no-such-program"], CommandNotFound),
        (["/no/such/folder/program"], CommandNotFound),
        (["/etc/passwd/program"], CommandNotFound),
        ([""], CommandNotFound),
        (["/etc/passwd"], NotExecutable),
        (["/etc"], NotExecutable),
        (["tr\0ue"], CouldNotStart),
        (["true", "a\0b"], CouldNotStart),
    ],
)
def test_what_cannot_be_started(words, error):
    with pytest.raises(error) as caught:
        spawn(words, {})
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == {CommandNotFound: 127, NotExecutable: 126, CouldNotStart: 125}[error]


def test_a_missing_interpreter_is_named(tmp_path):
    with pytest.raises(NotExecutable, match="interpreter"):
        spawn([executable(tmp_path / "script", "#!/no/such/interpreter\n")], {})


@pytest.mark.parametrize("by_path", [True, False])
def test_a_script_without_a_first_line_is_for_sh(tmp_path, monkeypatch, by_path):
    """ENOEXEC: shells, env and nohup do so."""
    path = executable(tmp_path / "script", 'printf "%s|" "$0" "$@"\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ended, sink = pumped(path if by_path else "script", "a b", "")
    assert (ended.returncode, sink.of("stdout")) == (0, f"{path}|a b||".encode())


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("first:second", "first"),
        ("missing:/etc/passwd:dir:second:first", "second"),
        ("closed:no-interpreter:second", "second"),
        (":second", "here"),
        ("script:second", "script"),
        ("closed:missing", NotExecutable),
        ("missing:dir", NotExecutable),
        ("missing:/etc/passwd", CommandNotFound),
        ("no-interpreter", CommandNotFound),
        (None, CommandNotFound),
    ],
)
def test_a_program_is_looked_for_on_the_path_that_it_is_given(tmp_path, monkeypatch, path, said):
    """And not on ours, which has another; the search goes on, and ends, as that of env(1) does, an execvp."""
    monkeypatch.chdir(tmp_path)
    for folder in ("ours", "first", "second", "."):
        Path(folder).mkdir(exist_ok=True)
        executable(Path(folder) / "it", f"#!/bin/sh\necho {'here' if folder == '.' else folder}\n")
    for folder, words, mode in (("closed", "", 0o644), ("no-interpreter", "#!/no/such\n", 0o755),
                                ("script", "echo script\n", 0o755)):  # fmt: skip
        Path(folder).mkdir()
        executable(Path(folder) / "it", words, mode)
    Path("dir", "it").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{tmp_path / 'ours'}:{os.environ['PATH']}")
    env = {} if path is None else {"PATH": path}
    if isinstance(said, type):
        with pytest.raises(said) as caught:
            spawn(["it"], {}, env=env)
        assert type(caught.value) is said
    else:
        tap = Tap("stdout", None)
        pid = spawn(["it"], {1: tap.inlet}, env=env)
        tap.close_inlet()
        sink = Collected()
        assert Pump(pid, [tap], sink).run().returncode == 0
        assert sink.of("stdout").decode() == f"{said}\n"
    if path != "script:second":  # env(1) does not hand it to sh everywhere
        told = subprocess.run(["/usr/bin/env", "it"], env=env, stdout=subprocess.PIPE, text=True, check=False)
        assert told.stdout == ("" if isinstance(said, type) else f"{said}\n")


def test_a_program_in_the_working_folder_is_not_found_by_its_name_alone(tmp_path, monkeypatch):
    executable(tmp_path / "here-only", "#!/bin/sh\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandNotFound):
        spawn(["here-only"], {})
    assert pumped("./here-only")[0].returncode == 0


def test_in_another_folder(weird):
    ended, sink = started_in(weird, "sh", "-c", 'pwd; printf "%s|" "$PWD" "$@"', "sh", *WEIRD)
    assert ended.returncode == 0
    assert sink.of("stdout").decode() == f"{weird}\n{weird}|{'|'.join(WEIRD)}|"


def started_in(folder: Path, *words: str, **options: Any) -> tuple[Ended, Collected]:
    taps = [Tap("stdout", None), Tap("stderr", None)]
    pid = spawn(words, {1: taps[0].inlet, 2: taps[1].inlet}, cwd=str(folder), **options)
    for tap in taps:
        tap.close_inlet()
    sink = Collected()
    return Pump(pid, taps, sink).run(), sink


def test_another_folder_that_is_not_there(tmp_path):
    with pytest.raises(CouldNotStart, match="nowhere"):
        spawn(["true"], {}, cwd=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("folder", [None, "below"])
def test_a_program_whose_name_begins_with_a_dash(tmp_path, monkeypatch, folder):
    executable(tmp_path / "-program", '#!/bin/sh\nprintf "%s|" "$@"\n')
    (tmp_path / "below").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    if folder is None:
        ended, sink = pumped("-program", "-x")
    else:
        ended, sink = started_in(tmp_path / folder, "-program", "-x")
    assert (ended.returncode, sink.of("stdout"), sink.of("stderr")) == (0, b"-x|", b"")


@pytest.mark.parametrize(("name", "code"), [("no-such-program", 127), ("./not-executable", 126)])
def test_in_another_folder_failures_have_the_same_codes(tmp_path, name, code):
    executable(tmp_path / "not-executable", "", 0o644)
    ended, sink = started_in(tmp_path, name)
    assert (ended.returncode, sink.of("stdout"), sink.of("stderr").count(b"\n")) == (code, b"", 1)


def test_a_program_of_the_other_folder(tmp_path):
    executable(tmp_path / "program", "#!/bin/sh\necho here\n")
    assert started_in(tmp_path, "./program")[1].of("stdout") == b"here\n"


def test_the_environment_of_the_other_folder_is_the_same(tmp_path):
    """But for the folder itself: what `cd` in a shell would leave behind."""
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    environment = {"PATH": os.environ["PATH"], "PWD": os.getcwd(), "OLDPWD": "/", "A": "b"}
    _, sink = started_in(tmp_path, sys.executable, "-c", show, env=environment)
    found = json.loads(sink.of("stdout"))
    assert found.pop("PWD") == str(tmp_path)
    assert found.pop("OLDPWD") in ("/", os.getcwd())
    found.pop("LC_CTYPE", None)  # Python's own
    assert found == {"PATH": os.environ["PATH"], "A": "b"}


def test_signals_are_as_a_shell_leaves_them():
    """Python ignores SIGPIPE and SIGXFSZ, and whoever watches has blocked what he watches."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        tap = Tap("stdout", None)
        pid = spawn(["cat", "/proc/self/status"], {1: tap.inlet}, mask=before)
        tap.close_inlet()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    sink = Collected()
    Pump(pid, [tap], sink).run()
    masks = dict(line.split(":\t") for line in sink.of("stdout").decode().splitlines() if line.startswith("Sig"))
    libc = 1 << 31 | 1 << 32  # signals 32 and 33 are its own
    assert (int(masks["SigBlk"], 16), int(masks["SigIgn"], 16) & ~libc) == (0, 0)


# Ends


@pytest.mark.parametrize(
    ("script", "code", "death"),
    [("exit 0", 0, None), ("exit 7", 7, None), ("exit 255", 255, None), ("exit 137", 137, None),
     ("kill -9 $$", 137, 9), ("kill -TERM $$", 143, 15), ("kill -PIPE $$", 141, 13)],
)  # fmt: skip
def test_how_it_ended(script, code, death):
    ended, _ = pumped("sh", "-c", script)
    assert (ended.returncode, ended.signal) == (code, death)


def test_what_it_used(qrec):
    """In a process of its own: a peak that is not above the starter's cannot be told, and this one has grown large."""
    burn = "import os, time\nwhile time.process_time() < 0.3: pass\nx = b'x' * 150_000_000"
    qrec("run", sys.executable, "-c", burn, check=True)
    usage = qrec("get").json["data"]["usage"]
    assert 0.3 <= usage["cpu"] < 3
    assert 150e6 < usage["memory"] < 300e6


def test_our_own_memory_is_not_taken_for_the_childs():
    assert reap(spawn(["true"], {}), floor=process.own_peak()).memory < 20e6


# Who a process is


def test_a_process_is_alive_until_it_is_not():
    pid = spawn(["sleep", "600"], {})
    who = identity(pid)
    assert (who.pid, who.ticks) == (pid, start_ticks(pid))
    assert who.alive() is True
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert who.alive() is False  # a corpse, which psutil.pid_exists takes for alive
    os.waitpid(pid, 0)
    assert who.alive() is False


@pytest.mark.parametrize(
    ("change", "alive"),
    [({}, True), ({"ticks": 1}, False), ({"boot": "another"}, False), ({"host": "another"}, None),
     ({"namespace": "another"}, None), ({"host": "another", "ticks": 1}, None), ({"pid": 2**30}, False)],
)  # fmt: skip
def test_only_the_same_boot_and_namespace_may_say_that_it_is_gone(change, alive):
    assert identity(os.getpid()).copy(**change).alive() is alive


def test_who_may_open_no_file_does_not_call_a_process_gone():
    me, limit = identity(os.getpid()), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limit[1]))
    try:
        alive = me.alive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert (alive, me.alive()) == (None, True)


def test_a_process_with_a_difficult_name(tmp_path):
    """Whatever stands between the brackets of /proc/PID/stat."""
    path = executable(tmp_path / ") R 1 (", "#!/bin/sh\nread word\n")
    with subprocess.Popen([path], stdin=subprocess.PIPE) as child:
        assert (start_ticks(child.pid) or 0) >= (start_ticks(os.getpid()) or 0) > 0
        assert identity(child.pid).alive() is True


# Ending a family


def test_a_whole_family_is_ended():
    pid = spawn(["sh", "-c", "sleep 600 & sh -c 'sleep 600; true' & wait"], {})
    wait_until(lambda: len(family(pid)) == 4)
    members = family(pid)
    end_family(pid)
    os.waitpid(pid, 0)
    assert [member.alive() for member in members] == [False] * 4


def test_who_does_not_listen_is_killed(tmp_path):
    pid = spawn(["sh", "-c", f"trap '' TERM; touch {tmp_path}/deaf; while :; do sleep 0.01; done"], {})
    wait_until((tmp_path / "deaf").exists)
    end_family(pid, grace=0.1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_nobody_is_left_to_end():
    pid = spawn(["true"], {})
    os.waitpid(pid, 0)
    end_family(pid, grace=0)
    send(pid, signal.SIGTERM)
    assert family(pid) == []


# Streams


def test_every_byte_in_its_order():
    """A line is written when the one before has come."""
    reader, writer = os.pipe()

    class Answering(Collected):
        def write(self, stream: str, block: memoryview) -> None:
            super().write(stream, block)
            os.write(writer, b"\n")

    taps = [Tap("stdout", None), Tap("stderr", None)]
    script = "for i in 1 2 3 4 5; do echo out $i; read go; echo err $i >&2; read go; done"
    pid = spawn(["sh", "-c", script], {0: reader, 1: taps[0].inlet, 2: taps[1].inlet})
    for tap in taps:
        tap.close_inlet()
    sink = Answering()
    assert Pump(pid, taps, sink).run().returncode == 0
    os.close(reader)
    os.close(writer)
    assert b"".join(block for _, block in sink.blocks).decode().split("\n")[:-1] == [
        f"{stream} {i}" for i in range(1, 6) for stream in ("out", "err")
    ]


def stopped(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def test_the_order_of_two_streams_that_wait_together():
    """Both were written before qrec looked: first come, first served, and no stream is always before the other."""
    for first, second in (("stdout", "stderr"), ("stderr", "stdout")):
        taps = {name: Tap(name, None) for name in ("stdout", "stderr")}
        pid = spawn(["sh", "-c", "kill -STOP $$; exit 0"], {})
        wait_until(partial(stopped, pid))
        sink = Collected()
        pump = Pump(pid, list(taps.values()), sink)
        with pytest.MonkeyPatch.context() as patch:
            original = pump.pump_until_exit

            def write_first(tick: Callable[[], float]) -> None:
                for name in (first, second):  # noqa: B023
                    os.write(taps[name].inlet, name.encode())  # noqa: B023
                for tap in taps.values():  # noqa: B023
                    tap.close_inlet()
                os.kill(pid, signal.SIGCONT)  # noqa: B023
                original(tick)  # noqa: B023

            patch.setattr(pump, "pump_until_exit", write_first)
            pump.run()
        assert [stream for stream, _ in sink.blocks] == [first, second]


def test_what_is_passed_on_is_what_is_recorded(tmp_path):
    with open(tmp_path / "out", "w+b") as out, open(tmp_path / "err", "w+b") as err:
        script = "import os\nfor i in range(300): os.write(1 + i % 2, os.urandom(10_000))"
        _, sink = pumped(sys.executable, "-c", script, targets=(out.fileno(), err.fileno()))
        assert (out.tell(), err.tell()) == (1_500_000, 1_500_000)
        assert (tmp_path / "out").read_bytes() == sink.of("stdout")
        assert (tmp_path / "err").read_bytes() == sink.of("stderr")


def test_a_reader_that_is_gone_is_told_by_a_signal():
    reader, writer = os.pipe()
    os.close(reader)
    ended, sink = pumped("yes", targets=(writer, None))
    os.close(writer)
    assert (ended.returncode, ended.signal) == (141, signal.SIGPIPE)
    assert sink.of("stdout").startswith(b"y\ny\n")


def test_a_reader_that_made_its_pipe_non_blocking():
    """As node and ssh do with a terminal that they share; a write then fails half-way."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    size = 3_000_000
    with subprocess.Popen(["wc", "-c"], stdin=reader, stdout=subprocess.PIPE) as count:
        os.close(reader)
        ended, _ = pumped("head", "-c", str(size), "/dev/zero", targets=(writer, None))
        os.close(writer)
        assert ended.returncode == 0
        assert count.stdout
        assert int(count.stdout.read()) == size


def test_our_own_descriptors_stay_ours():
    """The child has its three and no more: a pipe that it inherits would never see its end."""
    _, sink = pumped("ls", "-l", f"/proc/{os.getpid()}/fd", "/proc/self/fd")
    own = sink.of("stdout").decode().partition("/proc/self/fd:")[2].split("\n")
    numbers = [line.split(" -> ")[0].split()[-1] for line in own if " -> " in line]
    assert sorted(numbers) == ["0", "1", "2", "3"]  # ls has the folder open


def test_nothing_stays_open():
    gc.collect()  # what tests before have left
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        pumped("echo", "x")
    assert len(os.listdir("/proc/self/fd")) <= len(before)


def test_waiting_costs_nothing(monkeypatch):
    """It looks when there is something to be seen, and not over and over."""
    looks: list[float] = []
    original = Pump.poll

    def poll(self: Pump, patience: float) -> list[int]:
        looks.append(patience)
        return original(self, patience)

    monkeypatch.setattr(Pump, "poll", poll)
    pumped("sleep", "0.5")
    assert len(looks) < 10


# A grandchild that outlives the command


def test_what_outlives_the_command_goes_on_talking(tmp_path):
    """`cat` takes over, so that its words still arrive and it is not killed by SIGPIPE."""
    reader, writer = os.pipe()
    script = f"(until [ -e {tmp_path}/go ]; do sleep 0.01; done; echo late; echo 'still there' >&2) & echo early"
    ended, sink = pumped("sh", "-c", script, targets=(writer, writer))
    os.close(writer)
    assert (ended.returncode, sink.of("stdout")) == (0, b"early\n")
    (tmp_path / "go").touch()
    with open(reader, "rb") as shown:
        assert sorted(shown.read().splitlines()) == [b"early", b"late", b"still there"]


def test_what_comes_right_after_the_end_is_recorded(monkeypatch):
    """However late a busy machine lets it come."""
    monkeypatch.setattr(process, "QUIET", 60.0)
    monkeypatch.setattr(process, "LINGER", 60.0)
    ended, sink = pumped("sh", "-c", "(sleep 0.05; echo late) & exit 3")
    assert (ended.returncode, sink.of("stdout")) == (3, b"late\n")


def test_all_that_the_command_has_left_is_recorded_however_long_that_takes(monkeypatch):
    """A terminal gives a little at a time; and behind a slow disk or reader the time for others is soon over."""
    monkeypatch.setattr(process, "LINGER", 0.0)
    taps = [Tap("stdout", None), Tap("stderr", None)]
    pid = spawn(["sh", "-c", "seq 10000; seq 10000 >&2"], {1: taps[0].inlet, 2: taps[1].inlet})
    for tap in taps:
        tap.close_inlet()
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    sink = Collected()
    pump = Pump(pid, taps, sink)
    pump.buffer = memoryview(bytearray(100))
    pump.run()
    assert sink.of("stdout") == sink.of("stderr") == "".join(f"{i}\n" for i in range(1, 10001)).encode()


@pytest.mark.usefixtures("home")
def test_one_that_never_stops_talking_does_not_hold_us():
    with open(os.devnull, "wb") as null:
        ended, sink = pumped("sh", "-c", "yes & echo $! >&2; exit 3", targets=(null.fileno(), None))
    os.kill(int(sink.of("stderr")), signal.SIGKILL)
    assert ended.returncode == 3


# Closed descriptors


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_what_was_closed_for_qrec_is_closed_for_the_command(home, tmp_path, closed):
    """And nothing of qrec's, the database least of all, gets that number."""
    line = f"{sys.executable} -m qrec run sh -c 'echo out; echo err >&2; exit 3' {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, stdin=subprocess.DEVNULL, cwd=tmp_path)
    assert done.returncode == 3
    out = b"" if ">&-" in closed.split() else b"out\n"
    assert done.stdout == out
    assert (b"err\n" in done.stderr) == (b"[returncode: 3]" in done.stderr) == ("2>&-" not in closed)
    # what qrec and the command say to nobody is nowhere, and what they say to somebody is where it belongs
    for path in home.rglob("*"):
        assert path.is_dir() or b"[returncode:" not in path.read_bytes(), path
    show = [sys.executable, "-m", "qrec", "get"]
    data = json.loads(subprocess.run(show, capture_output=True, check=True, cwd=tmp_path).stdout)["data"]
    assert (data["returncode"], data["output"]) == (3, [out.decode()] if out else [])
    if "2>&-" not in closed:
        assert "err\n" in data["error"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_descriptor_that_was_closed_is_closed(home, tmp_path, number):
    """Asked by the command itself."""
    show = "import os, sys\ntry: os.fstat(int(sys.argv[1]))\nexcept OSError: sys.exit(7)"
    ask = [sys.executable, "-S", "-c", show, str(number)]
    code = subprocess.run(ask, preexec_fn=lambda: os.close(number)).returncode
    assert code == 7
    done = subprocess.run([sys.executable, "-m", "qrec", "-q", "run", *ask], preexec_fn=lambda: os.close(number))
    assert done.returncode == 7


# The shim


@pytest.fixture
def shim(tmp_path) -> Iterator[Callable[..., tuple[int, str]]]:
    """Starts a command under the shim: the shim's pid and the folder."""
    started = []

    def shim(*words: str, folder: Path = tmp_path / "attempt", cwd: Path = tmp_path) -> tuple[int, str]:
        folder.mkdir(exist_ok=True)
        started.append(spawn_unattended(words, str(folder), str(cwd)))
        return started[-1], str(folder)

    yield shim
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def read(folder: str, name: str) -> bytes:
    path = Path(folder, name)
    return path.read_bytes() if path.exists() else b""


def ended(folder: str) -> Ended:
    done = wait_until(lambda: shim_ended(folder))
    assert done
    return done


def begun(folder: str) -> tuple[int, int]:
    """Pid and start ticks of the command, as soon as it has begun."""
    process = wait_until(lambda: shim_process(folder))
    assert process
    return process


@pytest.mark.parametrize(
    ("script", "code", "death"),
    [
        ("exit 0", 0, None),
        ("exit 7", 7, None),
        ("kill -9 $$", 137, 9),
        ("exit 200", 200, None),
        ("exit 255", 255, None),
    ],
)
def test_the_shim_keeps_output_and_code(shim, script, code, death):
    _, folder = shim("sh", "-c", f"echo out; echo err >&2; {script}")
    done = ended(folder)
    assert (done.returncode, done.signal) == (code, death)
    assert (read(folder, "stdout"), read(folder, "stderr")) == (b"out\n", b"err\n")


@pytest.mark.parametrize(("program", "code"), [("no-such-program", 127), ("/etc/passwd", 126)])
def test_the_shim_and_what_cannot_be_started(shim, program, code):
    _, folder = shim(program)
    assert ended(folder).returncode == code
    assert program.encode() in read(folder, "stderr")


def test_the_shim_and_a_folder_that_is_not_there(shim, tmp_path):
    with pytest.raises(CouldNotStart, match="nowhere is not there"):
        shim("echo", "never", cwd=tmp_path / "nowhere")


def test_the_shim_runs_nothing_twice(shim, tmp_path):
    """Ten at once; whoever creates `started` runs it, and the others say nothing at all."""
    pids = [shim("sh", "-c", f"echo ran >>{tmp_path}/ran")[0] for _ in range(10)]
    folder = str(tmp_path / "attempt")
    ended(folder)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 10
    assert (tmp_path / "ran").read_text() == "ran\n"
    shim("sh", "-c", f"echo ran >>{tmp_path}/ran")
    os.waitpid(shim("sh", "-c", f"echo ran >>{tmp_path}/ran")[0], 0)
    assert (tmp_path / "ran").read_text() == "ran\n"
    assert ended(folder).returncode == 0


def test_the_shim_tells_pid_and_start_of_the_command(shim):
    shim_pid, folder = shim("sleep", "600")
    pid, ticks = begun(folder)
    assert pid != shim_pid
    wait_until(lambda: psutil.Process(pid).name() == "sleep")
    assert start_ticks(pid) == ticks
    assert shim_ended(folder) is None
    os.kill(pid, signal.SIGTERM)
    assert ended(folder).signal == signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_a_signal_to_the_group_ends_the_command_but_not_the_shim(shim, number):
    shim_pid, folder = shim("sleep", "600")
    pid, _ = begun(folder)
    assert os.getpgid(pid) == shim_pid
    wait_until(lambda: psutil.Process(pid).name() == "sleep")
    os.killpg(shim_pid, number)
    done = ended(folder)
    assert (done.returncode, done.signal) == (128 + number, number)


def test_a_command_that_outlives_a_signal_is_waited_for(shim):
    shim_pid, folder = shim(
        "sh", "-c", "trap 'echo got' TERM; echo ready; until [ -e go ]; do sleep 0.01; done; exit 5"
    )
    wait_until(lambda: read(folder, "stdout") == b"ready\n")
    for _ in range(2):
        os.killpg(shim_pid, signal.SIGTERM)
    wait_until(lambda: b"got" in read(folder, "stdout"))
    assert shim_ended(folder) is None
    Path(folder, "..", "go").touch()
    assert ended(folder).returncode == 5


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "PIPE"])
def test_signals_have_their_ordinary_meaning_inside(shim, name):
    """`trap ''` would be inherited, and sh cannot undo what Python ignores."""
    _, folder = shim("sh", "-c", f"kill -{name} $$; echo ignored")
    done = ended(folder)
    assert done.signal == getattr(signal, f"SIG{name}")
    assert read(folder, "stdout") == b""


def test_a_pipe_inside_ends_when_nobody_reads(shim):
    _, folder = shim("bash", "-c", "set -o pipefail; yes | head -1")
    assert ended(folder).returncode == 141
    assert (read(folder, "stdout"), read(folder, "stderr")) == (b"y\n", b"")


def test_the_shim_outlives_its_starter(tmp_path):
    """A worker that is killed: its jobs go on, and their codes are there for the next."""
    folder = tmp_path / "attempt"
    folder.mkdir()
    code = "import sys; from qrec.shim import spawn_unattended; spawn_unattended(sys.argv[3:], *sys.argv[1:3])"
    script = 'echo "$PPID"; until [ -e go ]; do sleep 0.01; done; exit 9'
    starter = subprocess.Popen(
        [sys.executable, "-c", code + "; import time; time.sleep(600)", str(folder), str(tmp_path), "sh", "-c", script],
        start_new_session=True,
    )
    wait_until(lambda: (folder / "stdout").exists() and (folder / "stdout").read_text())
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    assert shim_ended(str(folder)) is None
    (tmp_path / "go").touch()
    assert ended(str(folder)).returncode == 9


def test_the_shim_in_weird_places(shim, weird):
    folder = weird / "the attempt's folder"
    _, place = shim("sh", "-c", 'pwd; printf "%s|" "$@"', "sh", *WEIRD, folder=folder, cwd=weird)
    assert ended(place).returncode == 0
    assert read(place, "stdout").decode() == f"{weird}\n{'|'.join(WEIRD)}|"
    assert not [path for path in weird.iterdir() if path != folder]


def test_the_shim_and_a_program_whose_name_begins_with_a_dash(shim, tmp_path, monkeypatch):
    executable(tmp_path / "-program", '#!/bin/sh\nprintf "%s|" "$@"\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    _, folder = shim("-program", "-x")
    assert (ended(folder).returncode, read(folder, "stdout")) == (0, b"-x|")


def test_the_shim_leaves_the_terminal_alone(shim):
    """No stdin, and nothing of ours is held open."""
    _, folder = shim("sh", "-c", "cat; ls -l /proc/self/fd")
    assert ended(folder).returncode == 0
    assert b"/dev/null" in read(folder, "stdout")
    targets = {line.split()[-1] for line in read(folder, "stdout").decode().splitlines() if " -> " in line}
    assert {target for target in targets if not target.startswith("/proc/")} == {
        "/dev/null", f"{folder}/stdout", f"{folder}/stderr",
    }  # fmt: skip


def test_the_shims_files_are_for_the_user_alone(shim):
    _, folder = shim("sh", "-c", "umask; echo err >&2")
    ended(folder)
    before = os.umask(0)
    os.umask(before)
    assert int(read(folder, "stdout"), 8) == before  # the command's own files are its own business
    modes = {name: os.stat(os.path.join(folder, name)).st_mode & 0o777 for name in os.listdir(folder)}
    assert modes == dict.fromkeys(["started", "process", "ended", "stdout", "stderr"], 0o600)


@pytest.mark.parametrize("content", ["", "1", "12", "0"])
def test_half_written_notes_of_the_shim_count_as_none(tmp_path, content):
    (tmp_path / "ended").write_text(content)
    (tmp_path / "process").write_text(content)
    assert shim_ended(str(tmp_path)) is None
    assert shim_process(str(tmp_path)) is None
    assert shim_ended(str(tmp_path / "nowhere")) is None


# Identity and Ended are plain data


def test_plain_data():
    assert Ended(returncode=0) == Ended(returncode=0, signal=None, cpu=0.0, memory=0)
    assert Identity(host="h", boot="b", namespace="n", pid=1, ticks=2).asdict()["pid"] == 1


def test_dying_of_a_signal():
    """So that whoever waits sees that death; Python's own handlers stand aside."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        code = f"from qrec.signals import die_of; die_of({int(number)})"
        assert subprocess.run([sys.executable, "-c", code]).returncode == -number


def test_nothing_here_is_about_qrec(qrec: Callable[..., Result], tmp_path):
    """The home's folder may be weird as well."""
    home = tmp_path / "it's a\nhome"
    assert qrec("--home", str(home), "-q", "run", "echo", "x").out == "x\n"
    assert qrec("--home", str(home), "log").out == "x\n"
