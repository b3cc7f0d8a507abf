"""What every hook promises.  Subclass `HookContract`, name your class, and run pytest.

    class TestMyHook(HookContract):
        @pytest.fixture
        def kind(self):
            return MyHook

        @pytest.fixture
        def settings(self, lamp):  # what its table of the config file says beside `on` and `hook`
            return {"address": lamp.address}

The class must be installed under its entry point's name (`pip install -e .`): hooks run in processes of their own.
"""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from qrec.api import Qrec
from qrec.errors import QrecError
from qrec.hook_tables import DEEDS, EVENTS, LIMIT, Table
from qrec.hooks import Hook
from qrec.hooks.commands import Outcome, run
from qrec.hooks.told import call_of
from qrec.registry import HOOKS
from qrec.task import Status, Task
from qrec.testing.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

#: What a command, a note and an output may hold.
ODD = "gr\u00fc\u00df \u65e5\u672c 'one' \"two\" $(three) `four` %s {five} <b>&\\ \x1b[31m\udcff\nnext line"
STATUS_OF = {status.value: status for status in Status} | {
    "before": Status.RUNNING, "started": Status.RUNNING, "long": Status.RUNNING, "ended": Status.COMPLETE,
    "queue": Status.COMPLETE,
}  # fmt: skip


class HookContract:
    """Give `kind`, and `settings` where it needs some; everything else follows."""

    #: Whether it may refuse a command that is about to begin.
    may_refuse: ClassVar[bool] = False

    @pytest.fixture
    def kind(self) -> type[Hook]:
        """The class."""
        raise NotImplementedError

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        """What its table says of it."""
        return {}

    @pytest.fixture
    def door(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Qrec:
        """The front door of a home of the test's own."""
        monkeypatch.setenv("QREC_HOME", str(tmp_path / "home"))
        return Qrec()

    @pytest.fixture
    def name(self, kind: type[Hook], door: Qrec) -> str:
        """What its entry point calls it."""
        value = f"{kind.__module__}:{kind.__qualname__}"
        names = [plugin.name for plugin in door.registry.plugins if plugin.group == HOOKS and plugin.value == value]
        assert names, "install the package: pip install -e ."
        return names[0]

    @pytest.fixture
    def happen(self, door: Qrec, name: str, settings: dict[str, Any], tmp_path: Path) -> Callable[..., Outcome]:
        """Has it called for an event of a task, as it really is."""

        def happen(event: str, **fields: Any) -> Outcome:
            given = {"uid": "shell-4e1d0000-0000-4000-8000-000000000000", "executor": "shell", "argv": ("true",)}
            given |= {"created": "2026-01-01T00:00:00.000000Z", "pwd": str(tmp_path), "status": STATUS_OF[event]}
            table = Table(
                name="it", on=frozenset({event}), deed="hook", what=name, written={"hook": name, **settings},
                longer_than=1.0,
            )  # fmt: skip
            return run(call_of(door, table, event, Task(**{**given, **fields})))

        return happen

    def test_it_is_a_hook(self, kind):
        assert issubclass(kind, Hook)
        assert (kind.__doc__ or "").strip(), "nobody knows what it is for"

    def test_it_does_something(self, kind):
        methods = [*EVENTS, "happen"]
        assert any(getattr(kind, method) is not getattr(Hook, method) for method in methods)

    def test_its_methods_take_a_task(self, kind):
        for method in (*EVENTS, "happen"):
            inspect.signature(getattr(kind, method)).bind(None, None)

    @pytest.mark.parametrize("event", EVENTS)
    def test_every_event_goes_well(self, happen, event):
        self.check(event, happen(event))

    @pytest.mark.parametrize("event", ["before", "failed", "queue"])
    def test_whatever_a_task_is(self, happen, event):
        times = {"started": "2026-01-01T00:00:00.000000Z", "ended": "2026-01-01T00:00:00.000001Z"}
        odd = happen(
            event, argv=(ODD, "-x", ""), message=ODD, tags=("a b", ODD), user="", host="", returncode=137, signal=9,
            usage={"memory": 2**40}, facts={"git": {"commit": None}}, queue="q", name="\udcff", data={"reason": ODD},
            number=2**40, **times,
        )  # fmt: skip
        self.check(event, odd)

    def check(self, event: str, outcome: Outcome) -> None:
        """Whether it went well."""
        assert not outcome.limit, f"it takes more than {LIMIT:g} s"
        if not (event == "before" and self.may_refuse):
            assert outcome.returncode == 0, outcome.said
        if event == "before" and outcome.returncode == 0 and outcome.out.strip():
            assert isinstance(json.loads(outcome.out), dict), "`before` returns facts"

    def test_it_is_called_in_earnest(self, door, name, settings, tmp_path):
        """By the runner that a task's end has started; how it went is recorded with the task."""
        import tomlkit

        os.makedirs(door.home, mode=0o700, exist_ok=True)
        asks = {} if set(settings) & set(DEEDS) else {"hook": name}
        table = {"on": "failed", **asks, **settings}
        Path(door.home, "config.toml").write_text(tomlkit.dumps({"hooks": {"it": table}}))
        fresh = Qrec()
        task = fresh.run(["sh", "-c", "echo the last line; exit 3"], show=False, cwd=str(tmp_path))
        assert task.returncode == 3, "a hook changes nothing about it"
        (told,) = wait_until(lambda: fresh.store.get(task.uid).data.get("hooks", []), 60, "the hook to be recorded")
        assert (told["event"], told["code"]) == ("failed", 0), told

    def test_qrec_plugins_names_it(self, kind, door, name):
        plugin = door.registry.named(HOOKS, name)
        assert plugin is not None
        assert not plugin.broken
        try:
            assert door.registry.load(plugin) is kind
        except QrecError as error:
            pytest.fail(str(error))
