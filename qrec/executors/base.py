"""The contract of an executor: where a command runs, and what can be done to it afterwards."""

from __future__ import annotations

from qrec.errors import BrokenPlugin, NoSuchAction, QrecError, Refused, WrongUsage, raised
from qrec.task import Record, Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, ClassVar, TypeVar

    from qrec.output import Output
    from qrec.recorder import Recorder, Terms
    from qrec.task import Task

    Method = TypeVar("Method", bound=Callable[..., Any])


class Option(Record):
    """A choice that an action offers: a flag of the command line, a field of the dashboard."""

    name: str
    kind: type = str  #: str, int, float, or bool for a flag
    default: Any = None
    help: str = ""
    short: str = ""  #: a letter that stands for it on the command line
    positional: bool = False  #: whether the words after the task may stand for it, too
    choices: tuple[str, ...] = ()  #: the only texts that it may be

    @property
    def usage(self) -> str:
        """Its help on the command line."""
        more = " The words behind TASK, or behind -- alone, say it as well." if self.positional else ""
        return f"{self.help}{more}"

    def check(self, value: Any) -> Any:
        """The value as the option's kind; None is as good as nothing.  WrongUsage."""
        if value is None:
            return self.default
        if self.kind is float and type(value) is int:
            value = float(value)
        if not isinstance(value, self.kind) or (self.kind is int and isinstance(value, bool)):
            raise WrongUsage(f"{self.name} is to be of the kind {self.kind.__name__}")
        if self.choices and value not in self.choices:
            raise WrongUsage(f"{self.name} is one of {', '.join(self.choices)}")
        return value


class Action(Record):
    """A verb on a recorded task.  The command line, the dashboard and the documentation are made from this object."""

    name: str
    help: str
    options: tuple[Option, ...] = ()
    when: frozenset[Status] = frozenset(Status)  #: the statuses in which it makes sense
    method: str = ""

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every option's value: the given one, or its default."""
        if unknown := given.keys() - {option.name for option in self.options}:
            raise WrongUsage(f"{self.name} has no option {', '.join(map(repr, sorted(unknown)))} for such a task")
        return {option.name: option.check(given.get(option.name)) for option in self.options}

    def check(self, task: Task) -> None:
        """Refuse the action if the task's status rules it out."""
        if task.status not in self.when:
            raise Refused(
                f"{task.uid} is {task.status}; {self.name} is for tasks that are {', '.join(sorted(self.when))}"
            )


def action(*options: Option, when: frozenset[Status] = frozenset(Status), name: str = "") -> Callable[[Method], Method]:
    """Mark a method as an action.  Its name and the first line of its docstring are what users see."""

    def mark(method: Method) -> Method:
        help_line = (method.__doc__ or "").strip().split("\n")[0]
        made = Action(name=name or method.__name__, help=help_line, options=options, when=when, method=method.__name__)
        method.action = made  # type: ignore[attr-defined]
        return method

    return mark


class Executor:
    """Runs commands somewhere.  Subclasses set `name` and `pattern`, and add methods marked `@action`.

    Whether a task of this executor is still going on is for `refresh` to say, and nobody else.
    """

    #: The first half of its tasks' uids, and what `-e` takes.
    name: ClassVar[str]
    #: A regular expression; a command line in which it is found is this executor's.  Empty: only by name.
    pattern: ClassVar[str] = ""
    #: Its own part of a task's page in the dashboard: a Jinja template, a file beside its module.  Empty: none.
    panel: ClassVar[str] = ""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.store = recorder.store
        self.shown: Callable[[Task], Output] = recorder.store.output  #: what a task printed, as it may be shown

    def check_rerun(self, task: Task) -> None:
        """Raise Refused for an ended task that cannot be run again, before anything is changed."""

    def launch(self, task: Task, terms: Terms, known: bool = False) -> Task:
        """Run the command and record it; return the task as it stands when `qrec run` is done with it.

        `known` says that the store has the attempt already, as after a rerun.
        """
        raise NotImplementedError

    def adopt(self, task: Task, what: str, recordable: Callable[[Task], Task], socket: str = "") -> Task:
        """Record from now on what runs here already, and was started without qrec; return its task as it stands.

        The task is a draft; `recordable` takes the secrets out of one.  Raises Refused.
        """
        raise Refused(f"what runs on {self.name} cannot be adopted")

    def printed(self, task: Task) -> Output:
        """What is shown as the task's output: what it printed here, if it does not go on elsewhere."""
        return self.store.output(task)

    def panel_data(self, task: Task) -> Mapping[str, Any]:
        """What the template of its panel is given beside the task.  Somebody waits for it: it asks no other machine."""
        return {}

    def refresh(self, tasks: Sequence[Task]) -> Mapping[str, Task]:
        """Learn how these unfinished tasks stand, record what changed, and return the changed ones by uid.

        All at once, so that a cluster is asked once.
        """
        raise NotImplementedError

    def cancel(self, task: Task) -> Task:
        """Ask the task to end: what `qrec cancel` does.  Every executor marks its own as an action.

        Returns the task when it is over.
        """
        raise NotImplementedError

    @classmethod
    def actions(cls) -> dict[str, Action]:
        """What can be done with a task, by name, in the order of definition."""
        marked: dict[str, Action] = {}
        for kind in reversed(cls.__mro__):
            for method in vars(kind).values():
                found = getattr(method, "action", None)
                if isinstance(found, Action):
                    marked[found.name] = found
        return marked

    def act(self, name: str, task: Task, **options: Any) -> Any:
        """Do one of the actions.  NoSuchAction, Refused if it makes no sense now, BrokenPlugin for a mistake of it."""
        every = self.actions()
        if name not in every:
            raise NoSuchAction(name, self.name, list(every))
        every[name].check(task)
        values = every[name].values(options)
        try:
            return getattr(self, every[name].method)(task, **values)
        except QrecError:
            raise
        except Exception as error:
            if type(self).__module__.startswith("qrec."):
                raise
            raise BrokenPlugin(f"{name} of executor {self.name} failed: {raised(error)}") from error
