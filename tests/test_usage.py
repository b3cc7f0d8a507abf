"""CPU and memory of a process tree: real trees, a /proc made up where the real one cannot be asked to misbehave."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrec import usage
from qrec.process import Ended, reap, spawn
from qrec.usage import (
    ALLOWANCE,
    DAY,
    FIRST,
    LIMIT,
    SHARE,
    Meter,
    Point,
    Series,
    Tree,
    line_of,
    points,
    thinned,
)
from tests.helpers import ROOT, environment, kill_processes_of, wait_until

#: What the children here can do: use CPU, tell how far they are, and wait to be told.
CHILD = """
import os, signal, sys, time
def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
def tell(name): open(name, "w").close()
def wait_for(name):
    while not os.path.exists(name): time.sleep(0.005)
"""
TICK = 1 / usage.TICKS


class Children:
    """Starts children in a folder of their own, through which they and the test talk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pids: list[int] = []

    def start(self, *words: str) -> int:
        self.pids.append(spawn(words, {}, cwd=str(self.folder)))
        return self.pids[-1]

    def python(self, script: str) -> int:
        return self.start(sys.executable, "-S", "-c", CHILD + script)

    def reap(self, pid: int) -> Ended:
        self.pids.remove(pid)
        return reap(pid)

    def tell(self, name: str) -> None:
        (self.folder / name).touch()

    def wait_for(self, name: str) -> None:
        wait_until((self.folder / name).exists, what=name)


@pytest.fixture
def children(tmp_path) -> Iterator[Children]:
    children = Children(tmp_path)
    yield children
    for pid in children.pids:
        os.kill(pid, signal.SIGKILL)
    kill_processes_of(tmp_path)
    for pid in children.pids:
        os.waitpid(pid, 0)


@pytest.fixture
def meter(tmp_path, children) -> Callable[[int], Meter]:
    return lambda pid: Meter(pid, str(tmp_path / "home" / "attempts" / "usage"))


def look(meter: Meter) -> dict[str, float]:
    """Look now, due or not."""
    meter.due = 0.0
    meter.tick()
    return meter.figures


def runs(meter: Meter, pid: int) -> bool:
    """Whether a process was alive when the meter looked; the system may take its time to bury it."""
    return pid in meter.tree.members and meter.tree.members[pid].running


def series_of(meter: Meter) -> list[Point]:
    return points(Path(meter.series.path).read_bytes())


def has_ended(pid: int) -> bool:
    """Whether a child of ours has ended, which leaves it to be reaped."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


class Clock:
    """Time, and the CPU time of looking, as a test wants them."""

    def __init__(self, patch: pytest.MonkeyPatch, cost: float = 0.0) -> None:
        self.now, self.cost, self.used = 1000.0, cost, 0.0
        patch.setattr(time, "monotonic", lambda: self.now)
        patch.setattr(time, "thread_time", self.thread_time)

    def thread_time(self) -> float:
        """As if a look's cost passed between any two questions."""
        self.used += self.cost
        return self.used


# CPU of real trees


def test_cpu_is_what_the_kernel_says_in_the_end(children, meter):
    """Children one after the other and at once, waited for: everything counts, and nothing twice."""
    spinning = f"'{sys.executable}' -S -c 'import time\nwhile time.process_time() < 0.15: pass'"
    pid = children.start("sh", "-c", f"{spinning}; {spinning} & {spinning}; wait; exit 3")
    measured = meter(pid)
    while not has_ended(pid):
        look(measured)
        time.sleep(0.005)
    ended = children.reap(pid)
    figures = measured.close(ended)
    assert ended.returncode == 3
    assert figures["cpu"] == pytest.approx(ended.cpu, abs=TICK)
    assert figures["memory"] >= ended.memory > 0
    seen = [point.cpu for point in series_of(measured)]
    assert seen == sorted(seen)
    assert seen[-1] <= ended.cpu + TICK


def test_cpu_without_the_word_of_the_kernel_is_not_more(children, meter):
    pid = children.python("spin(0.1); tell('spun'); wait_for('end')")
    measured = meter(pid)
    children.wait_for("spun")
    assert look(measured)["cpu"] >= 0.1 - 2 * TICK
    children.tell("end")
    ended = children.reap(pid)
    assert measured.close()["cpu"] <= ended.cpu + TICK


def test_a_child_that_was_waited_for_counts_once(children, meter):
    pid = children.python("""
if not os.fork():
    spin(0.2); tell("spun"); wait_for("go"); os._exit(0)
os.wait(); tell("waited"); wait_for("end")
""")
    measured = meter(pid)
    children.wait_for("spun")
    before = look(measured)["cpu"]
    assert measured.figures["processes"] == len(measured.tree.members) == 2
    children.tell("go")
    children.wait_for("waited")
    after = look(measured)["cpu"]
    assert list(measured.tree.members) == [pid]
    assert 0.2 - 2 * TICK <= before <= after < before + 0.15
    assert measured.figures["processes"] == 2


def test_a_child_that_nobody_waits_for_counts(children, meter):
    """Its parent ignores SIGCHLD, so the kernel tells the parent nothing of what it used."""
    pid = children.python("""
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if not os.fork():
    spin(0.2); tell("spun"); wait_for("go"); os._exit(0)
wait_for("end")
""")
    measured = meter(pid)
    children.wait_for("spun")
    before = look(measured)["cpu"]
    children.tell("go")
    wait_until(lambda: look(measured) and list(measured.tree.members) == [pid])
    assert 0.2 - 2 * TICK <= before <= measured.figures["cpu"] < before + 0.15


def test_a_zombie_counts_with_its_cpu_only(children, meter):
    pid = children.python("""
child = os.fork()
if not child:
    spin(0.2); os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT); tell("dead"); wait_for("end")
""")
    measured = meter(pid)
    children.wait_for("dead")
    figures = look(measured)
    parent, child = measured.tree.members.values()
    assert (child.running, child.resident) == (False, 0)
    assert parent.resident > 0
    assert figures["processes"] == 1
    assert figures["cpu"] >= 0.2 - 2 * TICK


def test_one_that_left_session_and_parents_stays(children, meter):
    pid = children.python("""
if not os.fork():
    os.setsid()
    if not os.fork():
        tell("there"); wait_for("alone"); spin(0.2); tell("spun"); wait_for("over"); tell("bye"); os._exit(0)
    wait_for("seen"); os._exit(0)
os.wait(); tell("alone"); wait_for("end")
""")
    measured = meter(pid)
    children.wait_for("there")
    look(measured)
    (orphan,) = [member.pid for member in measured.tree.members.values() if member.parent not in (pid, os.getpid())]
    children.tell("seen")
    children.wait_for("spun")
    figures = look(measured)
    assert list(measured.tree.members) == [pid, orphan]
    assert measured.tree.members[orphan].parent not in (pid, os.getpid())
    assert figures["cpu"] >= 0.2 - 2 * TICK
    children.tell("over")
    children.wait_for("bye")
    wait_until(lambda: look(measured) and not runs(measured, orphan))
    assert figures["cpu"] <= measured.figures["cpu"] < figures["cpu"] + 0.15
    children.tell("end")
    ended = children.reap(pid)
    assert measured.close(ended)["cpu"] == pytest.approx(ended.cpu + 0.2, abs=0.15)


def test_one_that_outlives_the_command_counts(children, meter):
    """The command's own end says nothing of it, since nobody waited for it."""
    pid = children.python("""
if not os.fork():
    spin(0.2); tell("spun"); wait_for("never")
wait_for("end")
""")
    measured = meter(pid)
    children.wait_for("spun")
    look(measured)
    children.tell("end")
    ended = children.reap(pid)
    assert measured.close(ended)["cpu"] >= ended.cpu + 0.2 - 2 * TICK


def test_an_orphan_that_was_never_seen_is_known_by_its_group(children, meter):
    pid = children.python("""
os.setpgid(0, 0)
if not os.fork():
    if not os.fork():
        tell("there"); wait_for("never")
    os._exit(0)
os.wait(); wait_for("there"); tell("ready"); wait_for("end")
""")
    measured = meter(pid)
    children.wait_for("ready")
    look(measured)
    assert len(measured.tree.members) == 2


# What else real trees are like


def test_neither_qrec_nor_its_other_children_count(children, meter):
    other = children.start("sleep", "100")
    pid = children.start("sleep", "100")
    later = children.start("sleep", "100")
    measured = meter(pid)
    look(measured)
    look(measured)
    assert list(measured.tree.members) == [pid]
    assert not {other, later, os.getpid()} & measured.tree.members.keys()


def test_a_process_that_is_not_our_child_is_left_alone(meter):
    measured = meter(1)
    assert look(measured) == {}
    assert measured.tick() == DAY
    assert measured.close() == {}


def test_threads_are_no_processes(children, meter):
    pid = children.python("""
import threading
for _ in range(5): threading.Thread(target=spin, args=(0.5,)).start()
tell("ready"); wait_for("end"); os._exit(0)
""")
    measured = meter(pid)
    children.wait_for("ready")
    assert look(measured)["processes"] == 1


def test_one_whose_first_thread_has_ended_is_alive(children, meter):
    """It looks like a zombie, yet it has memory."""
    pid = children.python("""
import ctypes, threading
block = b"x" * 50_000_000
def others():
    while ") Z " not in open(f"/proc/{os.getpid()}/stat").read(): time.sleep(0.005)
    tell("ready"); wait_for("end"); os._exit(0)
threading.Thread(target=others).start()
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
""")
    measured = meter(pid)
    children.wait_for("ready")
    figures = look(measured)
    assert figures["processes"] == 1
    assert figures["memory"] > 50_000_000
    assert measured.tree.members[pid].resident > 50_000_000


def test_names_that_look_like_fields(children, meter):
    pid = children.python("""
open("/proc/self/comm", "w").write("a) Z 1 (b\\n")
if not os.fork():
    open("/proc/self/comm", "w").write(") R ) 1 1")
    tell("ready")
wait_for("end")
""")
    measured = meter(pid)
    children.wait_for("ready")
    assert look(measured)["processes"] == 2
    assert measured.tree.members[pid].parent == os.getpid()


def test_three_hundred_processes(children, meter):
    pid = children.start("sh", "-c", "i=0; while [ $i -lt 300 ]; do sleep 100 & i=$((i+1)); done; wait")
    measured = meter(pid)
    wait_until(lambda: look(measured)["processes"] == 301)
    assert len(measured.tree.members) == 301
    assert measured.figures["memory"] > 301 * 100_000


def test_a_chain_of_processes(children, meter):
    pid = children.python("""
depth = 0
while depth < 20 and not os.fork(): depth += 1
if depth == 20: tell("ready")
wait_for("end")
""")
    measured = meter(pid)
    children.wait_for("ready")
    assert look(measured)["processes"] == 21


def test_bytes_read_and_written(children, meter):
    """Those of a child that was waited for are in its parent's account, where they count once."""
    (children.folder / "large").write_bytes(bytes(3_000_000))
    pid = children.python("""
data = open("large", "rb").read()
if not os.fork():
    with open("copy", "wb") as file: file.write(data)
    tell("written"); wait_for("go"); os._exit(0)
os.wait(); tell("waited"); wait_for("end")
""")
    measured = meter(pid)
    children.wait_for("written")
    before = dict(look(measured))
    children.tell("go")
    children.wait_for("waited")
    after = look(measured)
    for figures in (before, after):
        assert 3_000_000 <= figures["read"] < 5_000_000
        assert 3_000_000 <= figures["written"] < 4_000_000
    assert before["read"] <= after["read"]


def test_a_peak_between_two_looks_is_known(children, meter):
    pid = children.python("block = b'x' * 80_000_000; del block; tell('ready'); wait_for('end')")
    measured = meter(pid)
    children.wait_for("ready")
    assert look(measured)["memory"] > 80_000_000 > measured.tree.resident
    first = measured.tree.memory
    look(measured)
    assert measured.tree.memory < 80_000_000 < first, "it belongs to the look that found it"


def test_a_program_that_takes_over_stays_one_process(children, meter):
    pid = children.python("spin(0.1); tell('spun'); wait_for('go'); os.execvp('sleep', ['sleep', '100'])")
    measured = meter(pid)
    children.wait_for("spun")
    before = look(measured)["cpu"]
    children.tell("go")
    wait_until(lambda: psutil.Process(pid).name() == "sleep")
    assert look(measured)["cpu"] >= before
    assert measured.figures["processes"] == 1


# When it looks, and at what price


def test_a_short_command_costs_nothing(children, meter, monkeypatch, tmp_path):
    pid = children.start("sleep", "100")
    looks: list[str] = []
    with monkeypatch.context() as patch:
        clock = Clock(patch)
        measured = meter(pid)
        patch.setattr(measured.tree, "look", lambda: looks.append("look"))
        for clock.now in (1000.0, 1000.05, 1000.099):
            assert measured.tick() == pytest.approx(1000 + FIRST - clock.now)
        assert looks == []
        assert measured.close() == {}
        clock.now = 1000 + FIRST
        measured.tick()
    assert looks == []
    assert not (tmp_path / "home").exists()


def test_it_may_be_told_that_the_command_began_before(children, meter, monkeypatch, tmp_path):
    pid = children.start("sleep", "100")
    with monkeypatch.context() as patch:
        Clock(patch)
        measured = Meter(pid, str(tmp_path / "usage"), began=997.0)
        measured.tick()
        measured.close()
    assert [point.at for point in series_of(measured)] == [3.0]


@pytest.mark.parametrize(("elapsed", "pause"), [(0.1, 0.1), (6.4, 0.1), (64, 1), (320, 5), (100_000, 5)])
def test_looks_become_rarer(children, meter, monkeypatch, elapsed, pause):
    pid = children.start("sleep", "100")
    with monkeypatch.context() as patch:
        clock = Clock(patch)
        measured = meter(pid)
        clock.now += elapsed
        assert measured.tick() == pytest.approx(pause)
        assert measured.tick() == pytest.approx(pause), "it has just looked"


@pytest.mark.parametrize("cost", [0.0005, 0.01, 0.2])
def test_dear_looks_are_rare_enough(children, meter, monkeypatch, cost):
    pid = children.start("sleep", "100")
    with monkeypatch.context() as patch:
        clock = Clock(patch, cost)
        measured = meter(pid)
        clock.now += FIRST
        pauses = []
        while clock.now < 1000 + 3600:
            pauses.append(measured.tick())
            assert len(pauses) * cost == pytest.approx(measured.spent)
            assert measured.spent <= max(cost, ALLOWANCE + SHARE * (clock.now - 1000)) + 1e-6
            clock.now += pauses[-1]
        assert pauses[-1] == pytest.approx(max(5, cost / SHARE), rel=0.02)
        assert measured.figures["processes"] == 1


def test_after_the_end_there_is_nothing_to_do(children, meter):
    pid = children.start("true")
    children.reap(pid)
    measured = meter(pid)
    assert look(measured) == {}
    assert measured.tick() == DAY
    assert measured.close() == measured.close() == {}
    assert measured.tick() == DAY


def test_a_failure_inside_is_kept_inside(children, meter, monkeypatch):
    pid = children.start("sleep", "100")
    measured = meter(pid)
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", lambda path: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        measured.due = 0.0
        assert 0 < measured.tick() <= usage.LONGEST
    look(measured)
    assert measured.figures["processes"] == 1


# The file


def state(at: float, memory: int = 10_000_000, **more: Any) -> Point:
    values = {"cpu": round(at / 2, 2), "processes": 3, "read": int(at * 1_000_000), "written": int(at * 1000), **more}
    return Point(at=round(at, 2), memory=memory // 1024 * 1024, **values)


def long_run(series: Series, count: int, pause: float = 5.0) -> list[Point]:
    """Add as many points as a long run brings, with a short peak of memory in the middle."""
    added = [state((i + 1) * pause, 9_000_000_000 if i == count // 2 else 10_000_000) for i in range(count)]
    for point in added:
        series.add(point)
    return added


def test_points_come_back(tmp_path):
    series = Series(str(tmp_path / "new" / "folder" / "usage"))
    added = [state(0.1), state(0.25, processes=5), state(7.0, gpu_memory=1024, gpu=0.5)]
    for point in added:
        series.add(point)
    assert points(Path(series.path).read_bytes()) == added
    series.close()
    series.add(state(9.0))
    assert points(Path(series.path).read_bytes()) == added


def test_files_and_folders_are_private(tmp_path):
    before = os.umask(0)
    try:
        series = Series(str(tmp_path / "home" / "folder" / "usage"))
        long_run(series, 2 * LIMIT)
    finally:
        os.umask(before)
    series.close()
    assert series.span > FIRST
    modes = [stat.S_IMODE(path.stat().st_mode) for path in sorted((tmp_path / "home").rglob("*"))]
    assert modes == [0o700, 0o600]
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_a_day_is_a_small_file_with_all_its_peaks(tmp_path):
    series = Series(str(tmp_path / "home" / "usage"))
    added = long_run(series, 86_400 // 5)
    series.close()
    data = Path(series.path).read_bytes()
    found = points(data)
    assert LIMIT // 2 <= len(found) <= LIMIT
    assert len(data) < 48 * LIMIT
    assert len(found) == data.count(b"\n")
    assert found[-1] == added[-1]
    (peak,) = [point for point in found if point.memory == added[len(added) // 2].memory]
    assert abs(peak.at - added[len(added) // 2].at) <= series.span
    whole = [after.at - before.at for before, after in pairwise(found[:-1])]
    assert all(abs(span - series.span) < 10 for span in whole)
    assert [point.cpu for point in found] == [point.at / 2 for point in found]
    assert os.listdir(tmp_path / "home") == ["usage"]


@pytest.mark.parametrize("pause", [0.01, 0.1, 3.3])
def test_the_file_is_whole_after_every_point(tmp_path, pause):
    series = Series(str(tmp_path / "usage"))
    last = 0
    for number in range(1, 3 * LIMIT):
        point = state(number * pause, memory=number % 7 * 1_000_000)
        series.add(point)
        if number % 97 == 0 or series.count < last:
            data = Path(series.path).read_bytes()
            found = points(data)
            assert len(found) == data.count(b"\n") == series.count <= LIMIT
            assert (found[-1].at, found[-1].cpu) == (point.at, point.cpu)
        last = series.count
    series.close()


def test_the_load_of_graphics_devices_is_an_average():
    series = [state(at, gpu_memory=at * 1024, gpu=load) for at, load in ((1, 1.0), (2, 0.0), (3, 0.5), (4, 0.5))]
    (one,) = thinned([*series[:3]], 100)
    assert one.gpu == pytest.approx(0.5)
    assert one.gpu_memory == 3 * 1024
    assert [point.gpu for point in thinned(series, 2)] == [1.0, pytest.approx(0.25), 0.5]


def test_a_series_tells_the_figures_of_a_command_whose_end_nobody_saw():
    series = [state(1, 5000 * 1024, gpu_memory=2048, gpu=1.0), state(4, processes=7, gpu_memory=1024, gpu=0.2)]
    assert usage.figures(series) == {
        "cpu": 2.0, "memory": 9_999_360, "processes": 7, "read": 4_000_000, "written": 4000,
        "gpu_memory": 2048, "gpu": pytest.approx(0.4),
    }  # fmt: skip
    assert "gpu" not in usage.figures([state(1)])
    assert usage.figures([]) == {}


def test_a_killed_recorder_leaves_all_it_saw(tmp_path):
    script = """
import os, subprocess, sys, time
from qrec.usage import Meter
meter = Meter(subprocess.Popen(["sleep", "100"]).pid, sys.argv[1])
for number in range(40):
    meter.began -= 1
    meter.due = 0
    meter.tick()
print(meter.seen, flush=True)
time.sleep(100)
"""
    path = tmp_path / "home" / "usage"
    recorder = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], cwd=ROOT, stdout=subprocess.PIPE, env=environment()
    )
    assert recorder.stdout is not None
    seen = float(recorder.stdout.readline())
    recorder.send_signal(signal.SIGKILL)
    recorder.wait()
    recorder.stdout.close()
    kill_processes_of(tmp_path)
    found = points(path.read_bytes())
    assert len(found) == 40
    assert found[-1].at == pytest.approx(seen, abs=0.01)


def test_a_full_disk_ends_the_series_only(children):
    pid = children.start("sleep", "100")
    measured = Meter(pid, "/dev/full")
    look(measured)
    assert measured.series.broken
    assert look(measured)["processes"] == 1
    assert measured.close()["memory"] > 0


def test_a_home_that_vanished_is_not_made_again(tmp_path):
    series = Series(str(tmp_path / "home" / "usage"))
    long_run(series, 100)
    shutil.rmtree(tmp_path / "home")
    long_run(series, 2 * LIMIT)
    assert series.broken
    series.close()
    assert not (tmp_path / "home").exists()


def test_a_file_that_cannot_be_replaced_leaves_no_other(tmp_path):
    series = Series(str(tmp_path / "home" / "usage"))
    long_run(series, LIMIT)
    os.unlink(series.path)
    os.mkdir(series.path)
    long_run(series, 2 * LIMIT)
    assert series.broken
    series.close()
    assert os.listdir(tmp_path / "home") == ["usage"]


def test_a_home_that_cannot_be_made_costs_the_series_only(children, tmp_path):
    (tmp_path / "home").write_text("a file")
    pid = children.start("sleep", "100")
    measured = Meter(pid, str(tmp_path / "home" / "attempts" / "usage"))
    assert look(measured)["processes"] == 1
    assert measured.series.broken


def test_half_a_line_is_left_out():
    whole = line_of(state(1.0)) + line_of(state(2.0))
    for size in range(len(whole) + 1):
        assert points(whole[:size]) == [state(1.0), state(2.0)][: whole[:size].count(b"\n")]


def test_damage_is_left_out():
    damaged = line_of(state(1.0)) + b"\0\0\0\n" + b"x" + line_of(state(2.0)) + line_of(state(3.0)) + line_of(state(2.0))
    assert points(damaged) == [state(1.0), state(3.0)]


@given(st.binary() | st.text("0123456789. \n", max_size=200).map(str.encode))
def test_any_bytes_are_a_series(data):
    found = points(data)
    assert [point.at for point in found] == sorted(point.at for point in found)
    assert points(b"".join(map(line_of, found))) == found


# A /proc made up


class Proc:
    """A /proc with the processes that a test wants; a figure of CPU is in ticks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        (self.folder / "cpuinfo").touch()
        self.newest(99)

    def newest(self, pid: int) -> None:
        (self.folder / "loadavg").write_text(f"0.00 0.00 0.00 1/69 {pid}\n")

    def put(
        self, pid: int, parent: int, started: int = 5, cpu: int = 0, waited: int = 0, pages: int = 1, read: int = 0
    ) -> None:
        fields = ["S", str(parent), *["0"] * 20]
        fields[usage.UTIME], fields[usage.CUTIME] = str(cpu), str(waited)
        fields[usage.STARTED], fields[usage.RESIDENT], fields[usage.THREADS] = str(started), str(pages), "1"
        folder = self.folder / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "stat").write_text(f"{pid} (name) {' '.join(fields)}\n")
        (folder / "io").write_text(f"rchar: {read}\nwchar: 0\nsyscr: 0\n")

    def remove(self, pid: int) -> None:
        shutil.rmtree(self.folder / str(pid))


@pytest.fixture
def proc(tmp_path, monkeypatch) -> Proc:
    proc = Proc(tmp_path / "proc")
    monkeypatch.setattr(usage, "PROC", str(proc.folder))
    proc.put(100, os.getpid())
    proc.newest(110)
    return proc


def seen(tree: Tree) -> list[int]:
    assert tree.look()
    return sorted(tree.members)


def test_without_proc_nothing_is_measured(children, meter, monkeypatch, tmp_path):
    monkeypatch.setattr(usage, "PROC", str(tmp_path / "none"))
    measured = meter(children.start("sleep", "100"))
    assert look(measured) == {}
    assert measured.tick() == DAY
    assert measured.close() == {}


def test_a_members_number_given_to_a_stranger(proc):
    tree = Tree(100)
    proc.put(101, 100, started=6, cpu=50)
    assert seen(tree) == [100, 101]
    proc.put(101, 1, started=9, cpu=7000)
    assert seen(tree) == [100]
    assert tree.sums.cpu == 50


def test_a_members_number_given_to_another_member(proc):
    tree = Tree(100)
    proc.put(101, 100, started=6, cpu=50)
    seen(tree)
    proc.put(101, 100, started=9, cpu=3)
    assert seen(tree) == [100, 101]
    assert tree.sums.cpu == 53


def test_a_strangers_number_given_to_a_member(proc):
    """Nothing in the names tells; but the numbers have begun anew."""
    tree = Tree(100)
    proc.put(105, 1, cpu=7000)
    assert seen(tree) == [100]
    proc.put(105, 100, started=99, cpu=4)
    proc.newest(107)
    assert seen(tree) == [100, 105]
    assert tree.sums.cpu == 4


def test_numbers_that_began_anew_before_the_first_look(proc):
    proc.put(20, 100, started=6)
    proc.newest(21)
    assert seen(Tree(100)) == [20, 100]


def test_a_child_with_a_smaller_number_than_its_parent(proc):
    tree = Tree(100)
    seen(tree)
    proc.put(30, 40)
    proc.put(40, 100)
    assert seen(tree) == [30, 40, 100]


def test_a_child_that_goes_while_we_look_counts_once(proc, monkeypatch):
    """Its parent is read just before the parent has waited for it."""
    tree = Tree(100)
    proc.put(101, 100, started=6, cpu=50, read=1000)
    seen(tree)
    read = usage.contents

    def contents(pid: int, name: str) -> bytes:
        if pid == 101:
            shutil.rmtree(proc.folder / "101", ignore_errors=True)
            proc.put(100, os.getpid(), waited=52, read=1100)
        return read(pid, name)

    with monkeypatch.context() as patch:
        patch.setattr(usage, "contents", contents)
        assert seen(tree) == [100]
        assert (tree.sums.cpu, tree.sums.read) == (50, 1000)
    assert seen(tree) == [100]
    assert (tree.sums.cpu, tree.sums.read) == (52, 1100)


def test_a_parent_and_child_that_go_together_count_once(proc):
    tree = Tree(100)
    proc.put(101, 100, started=6, cpu=10)
    proc.put(102, 101, started=7, cpu=50, read=1000)
    seen(tree)
    proc.remove(101)
    proc.remove(102)
    proc.put(100, os.getpid(), waited=61, read=1000)
    assert seen(tree) == [100]
    assert (tree.sums.cpu, tree.sums.read) == (61, 1000)


def test_cpu_never_goes_back(proc):
    tree = Tree(100)
    proc.put(100, os.getpid(), cpu=50)
    seen(tree)
    proc.put(100, os.getpid(), cpu=49)
    seen(tree)
    assert tree.sums.cpu == 50


def test_what_is_hidden_is_left_out(proc, monkeypatch):
    """As with hidepid=1, which names other users' processes but tells nothing of them."""
    proc.put(101, 100, cpu=5)
    proc.put(102, 1)
    proc.put(103, 100, cpu=5, read=10)
    read = usage.contents

    def contents(pid: int, name: str) -> bytes:
        if pid == 102 or (pid == 103 and name == "io"):
            raise PermissionError(1, "Operation not permitted")
        return read(pid, name)

    monkeypatch.setattr(usage, "contents", contents)
    tree = Tree(100)
    assert seen(tree) == seen(tree) == [100, 101, 103]
    assert (tree.sums.cpu, tree.sums.read) == (10, 0)


def test_a_member_that_is_hidden_later_stays_as_it_was(proc, monkeypatch):
    tree = Tree(100)
    proc.put(101, 100, cpu=5, read=10)
    seen(tree)
    read = usage.contents

    def contents(pid: int, name: str) -> bytes:
        if pid == 101:
            raise PermissionError(13, "Permission denied")
        return read(pid, name)

    with monkeypatch.context() as patch:
        patch.setattr(usage, "contents", contents)
        assert seen(tree) == [100, 101]
    proc.remove(101)
    assert seen(tree) == [100]
    assert (tree.sums.cpu, tree.sums.read) == (5, 10)


# Graphics devices


class FakeNvml(types.ModuleType):
    """Two devices of the driver's library; the tree is on the second, and one process of it is listed twice there."""

    def __init__(self, pid: int) -> None:
        super().__init__("pynvml")
        self.pid = pid
        self.fails = False

    def nvmlInit(self) -> None:
        if self.fails:
            raise RuntimeError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        return number

    def nvmlDeviceGetComputeRunningProcesses(self, device: int) -> list[types.SimpleNamespace]:
        amounts = (3_072_000, None) if device else ()  # None where the driver does not tell
        own = [types.SimpleNamespace(pid=self.pid, usedGpuMemory=amount) for amount in amounts]
        return [types.SimpleNamespace(pid=1, usedGpuMemory=10**9), *own]

    def nvmlDeviceGetGraphicsRunningProcesses(self, device: int) -> list[types.SimpleNamespace]:
        return [types.SimpleNamespace(pid=self.pid, usedGpuMemory=3_072_000)] if device else []

    def nvmlDeviceGetUtilizationRates(self, device: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(gpu=80 if device else 100)


@pytest.fixture
def fake_driver(children, monkeypatch) -> FakeNvml:
    fake = FakeNvml(children.start("sleep", "100"))
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(usage, "NVIDIA", os.devnull)
    monkeypatch.setattr(usage, "GPU_FIRST", 0.0)
    return fake


def test_graphics_devices_with_a_fake_driver(fake_driver, meter):
    measured = meter(fake_driver.pid)
    look(measured)
    wait_until(lambda: measured.gpu and measured.gpu.usage)
    figures = look(measured)
    assert (figures["gpu_memory"], figures["gpu"]) == (3_072_000, 0.8)
    figures = measured.close()
    assert (figures["gpu_memory"], figures["gpu"]) == (3_072_000, 0.8)
    assert (series_of(measured)[-1].gpu_memory, series_of(measured)[-1].gpu) == (3_072_000, 0.8)


def test_a_fake_driver_that_fails_is_not_asked_again(fake_driver, meter):
    fake_driver.fails = True
    measured = meter(fake_driver.pid)
    look(measured)
    wait_until(lambda: measured.gpu and measured.gpu.over and not measured.gpu.asking)
    look(measured)
    assert "gpu" not in measured.close()
    assert series_of(measured)[-1].gpu is None


def test_no_driver_is_asked_where_there_is_no_device_even_with_a_fake(fake_driver, meter, monkeypatch, tmp_path):
    monkeypatch.setattr(usage, "NVIDIA", str(tmp_path / "none"))
    measured = meter(fake_driver.pid)
    look(measured)
    assert measured.gpu is not None
    assert not measured.gpu.asking
    assert "gpu" not in measured.figures


def test_without_the_library_there_are_no_graphics(fake_driver, meter, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    measured = meter(fake_driver.pid)
    look(measured)
    wait_until(lambda: measured.gpu and measured.gpu.over)
    assert look(measured)["processes"] == 1
