"""The fault campaign in small; `make faults` runs the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrec import Qrec, Status, spool
from tests.faults.campaign import Campaign, Plan, Verb
from tests.helpers import wait_until

#: A blow takes some tenths of a second, so the campaign is cut into pieces that the workers share.
BLOWS = 20


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("store", ["sqlite", "filesystem"])
def test_random_blows(tmp_path: Path, store: str, seed: int) -> None:
    campaign = Campaign(tmp_path, store, seed)
    campaign.strike(BLOWS)
    assert campaign.kills


@pytest.mark.parametrize("store", ["sqlite", "filesystem"])
def test_everything_crashes_at_once(tmp_path: Path, store: str) -> None:
    campaign = Campaign(tmp_path, store, 3)
    for _ in range(2):
        campaign.crash()
    campaign.field.judge_by_command_line()


@pytest.mark.parametrize("store", ["sqlite", "filesystem"])
@pytest.mark.parametrize("detached", [False, True])
def test_every_part_of_a_run(tmp_path: Path, store: str, detached: bool) -> None:
    """Blows at even distances from the first step to the last; what writes the record of a detached one is hit."""
    field = Campaign(tmp_path, store, 4).field
    who, fuse = "observer" if detached else "qrec", 1
    for number in range(100):
        plan = field.plans[f"t{number}"] = Plan(f"t{number}", 1, 20, 0.0, 3, pty=False, detached=detached)
        verb = Verb(field, ["run", *field.options(plan), *plan.argv(field.witness(plan.token))], (who, fuse))
        verb.wait_for_all()
        field.judge(verb, plan.token)
        if verb.told().isdecimal():
            break
        fuse += 97
    assert verb.told().isdecimal()
    assert number > 5


@pytest.mark.parametrize("kind", ["sqlite", "filesystem"])
def test_a_clear_that_is_killed_between_record_and_files_is_ended_by_the_next_call(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = Campaign(tmp_path, kind, 5).field
    plan = field.plans["t0"] = Plan("t0", 1, 3000, 0.0, 0, pty=False, detached=False)
    verb = Verb(field, ["run", *plan.argv(field.witness("t0"))])
    verb.wait_for_all()
    field.judge(verb, "t0")
    door = Qrec(str(field.home), kind)
    (task,) = door.find()
    monkeypatch.setattr(door.recorder, "end_removal", lambda task: None)
    monkeypatch.setattr(door.recorder, "claim", lambda: {})  # nobody is alive who could go on with it
    assert door.clear([task]) == []
    assert list(field.home.glob("attempts/*/*"))
    field.judge(cleared=task.uid)
    assert not list(field.home.glob("attempts/*"))


@pytest.mark.parametrize("kind", ["sqlite", "filesystem"])
def test_a_removal_that_never_began_is_forgotten(tmp_path: Path, kind: str) -> None:
    field = Campaign(tmp_path, kind, 6).field
    plan = field.plans["t0"] = Plan("t0", 1, 3000, 0.0, 0, pty=False, detached=False)
    verb = Verb(field, ["run", *plan.argv(field.witness("t0"))])
    verb.wait_for_all()
    field.judge(verb, "t0")
    door = Qrec(str(field.home), kind)
    spool.put_removal(str(field.home), door.get().copy(data={}), door.store.place)
    field.judge(verb, "t0")
    assert door.output(door.get()).size("stdout") == len(plan.printed("stdout"))


@pytest.mark.parametrize("kind", ["sqlite", "filesystem"])
def test_a_detached_command_whose_observer_told_nothing_is_not_called_lost(tmp_path: Path, kind: str) -> None:
    """The observer is killed just after it has started the shim, whose pid is in no record yet."""
    field = Campaign(tmp_path, kind, 7).field
    door = Qrec(str(field.home), kind)
    gate = tmp_path / "gate"
    task = door.new_task(["sh", "-c", f'while [ ! -e "{gate}" ]; do sleep 0.01; done; exit 3'])
    recording = door.recorder.detach(task, task.argv)
    door.store.delete(task.uid)
    alone = task.copy(data={"process": {"boot": "", "namespace": "", "recorder": [0, 0]}})
    spool.put(str(field.home), alone, door.store.place)
    note = Path(recording.folder) / "process"
    wait_until(note.exists)
    note.unlink()
    assert door.get(task.uid).status is Status.RUNNING
    gate.touch()
    wait_until(lambda: door.get(task.uid).status.is_final)
    assert door.get(task.uid).returncode == 3
