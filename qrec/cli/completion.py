"""What a shell offers when somebody presses Tab: verbs and options by click, tasks, actions and tags from the store."""

from __future__ import annotations

import os
import sys
from itertools import islice

from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from qrec.cli import COMPLETE
from qrec.cli.show import cut, printable
from qrec.cli.words import ALWAYS, RUN, NotPlain, read_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    import click

    from qrec.api import Qrec
    from qrec.task import Task

OFFERED = 50  #: tasks at once
LOOKED_AT = 500  #: newest tasks whose numbers and tags are considered
DESCRIBED = 70  #: columns of a command that a shell shows

# Each function asks qrec for lines of kind, value and description.  The value of a `command` is the place among the
# words where another command begins, which the shell completes as it would without qrec in front.

BASH = r"""# qrec's completion for bash: put this into ~/.bashrc
_qrec_completion() {
    local kind value words reply
    COMPREPLY=()
    printf -v words '%s\n' "${COMP_WORDS[@]}"
    reply=$(_QREC_COMPLETE=bash_complete COMP_WORDS=$words COMP_CWORD=$COMP_CWORD "$1" 2>/dev/null)
    while IFS=$'\t' read -r kind value _; do
        case $kind in
            plain)
                [[ $value == *[^[:alnum:]_,./:@%+-]* ]] && printf -v value %q "$value"
                COMPREPLY+=("$value")
                ;;
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            command)
                if declare -F _command_offset >/dev/null; then
                    _command_offset "$value"
                elif ((COMP_CWORD == value)); then
                    mapfile -t COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}")
                else
                    compopt -o default
                fi
                ;;
        esac
    done <<<"$reply"
}
complete -o nosort -F _qrec_completion qrec
"""

ZSH = r"""#compdef qrec
# qrec's completion for zsh: put this into ~/.zshrc, after compinit
_qrec_completion() {
    local line kind rest value
    local -a reply described bare
    reply=("${(@f)$(_QREC_COMPLETE=zsh_complete COMP_WORDS="${(F)words}" COMP_CWORD=$((CURRENT - 1)) \
        ${words[1]} 2>/dev/null)}")
    for line in $reply; do
        kind=${line%%$'\t'*} rest=${line#*$'\t'}
        value=${rest%%$'\t'*}
        case $kind in
            plain)
                if [[ -n ${rest#*$'\t'} ]]; then
                    rest=${rest//\\/\\\\}
                    described+=("${${rest%%$'\t'*}//:/\\:}:${rest#*$'\t'}")
                else
                    bare+=("$value")
                fi
                ;;
            dir) _files -/ ;;
            file) _files ;;
            command)
                shift $value words
                ((CURRENT -= value))
                _normal
                return
                ;;
        esac
    done
    ((${#described})) && _describe -V -t tasks qrec described
    ((${#bare})) && compadd -V qrec -- $bare
}
if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _qrec_completion "$@"
else
    compdef _qrec_completion qrec
fi
"""

FISH = r"""# qrec's completion for fish: put this into ~/.config/fish/completions/qrec.fish
function _qrec_completion
    set -l tokens (commandline -opc)
    set -l current (commandline -ct)
    set -lx COMP_WORDS (string join \n -- $tokens $current | string collect -a)
    set -lx COMP_CWORD (count $tokens)
    set -lx _QREC_COMPLETE fish_complete
    for line in ($tokens[1] 2>/dev/null)
        set -l parts (string split -m 2 \t -- $line)
        switch $parts[1]
            case plain
                string join \t -- $parts[2..]
            case dir
                __fish_complete_directories "$current"
            case file
                __fish_complete_path "$current"
            case command
                set -l rest (string escape -- $tokens[(math $parts[2] + 1)..])
                set -e _QREC_COMPLETE
                complete -C (string join ' ' -- $rest "$current")
        end
    end
end
complete -c qrec -f -k -a '(_qrec_completion)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def answer(instruction: str) -> int:
    """Print what a shell's function asks for.  Whatever goes wrong, nothing may spoil the line somebody is typing."""
    from qrec.cli.verbs import qrec

    shell, _, act = instruction.partition("_")
    try:
        reply = SCRIPTS[shell] if act == "source" else Reader(qrec, {}, "qrec", COMPLETE).complete()
    except Exception:
        return 1
    sys.stdout.buffer.write(reply.encode("utf-8", "replace") + b"\n")
    return 0


class Reader(ShellComplete):
    """Reads the words that a shell hands over, and writes lines for its function."""

    name = "qrec"

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is being typed, and that one as far as it goes."""
        place = int(os.environ["COMP_CWORD"])
        words = os.environ["COMP_WORDS"].split("\n")
        before = [plain(word) for word in words[1:place] if word != "="]  # bash takes `--tag=x` apart
        return before, plain(words[place]) if place < len(words) else ""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """What fits; within the command of `run`, that is another program's business."""
        start = command_start(args, incomplete)
        if start is not None:
            return [CompletionItem(str(start + 1), "command")]
        name, equals, _ = incomplete.partition("=")
        items = super().get_completions(args, incomplete)
        if name.startswith("--") and equals:  # the shell will replace all of `--tag=x`
            return [CompletionItem(f"{name}={item.value}", item.type, item.help) for item in items]
        return items

    def format_completion(self, item: CompletionItem) -> str:
        """Kind, value and description in one line."""
        return "\t".join((item.type, str(item.value), printable(item.help or "")))

    def complete(self) -> str:
        """All lines; what does not fit into one is left out."""
        items = self.get_completions(*self.get_completion_args())
        return "\n".join(self.format_completion(item) for item in items if str(item.value).isprintable())


def plain(word: str) -> str:
    """A word as the shell will hand it over, its quotes removed, even if one is still open."""
    return (split_arg_string(word) or [""])[0]


def command_start(args: list[str], incomplete: str) -> int | None:
    """At which of the words the command of `run` or `queue submit` begins, if that is what is being typed."""
    try:
        _, rest = read_options(list(args), ALWAYS)
        if rest[:1] == ["queue"] and rest[1:2] in (["submit"], ["edit"]) and "--" in rest:
            return len(args) - len(rest) + rest.index("--") + 1
        if not rest or rest[0] != "run":
            return None
        _, command = read_options(rest[1:], RUN)
    except NotPlain:
        return None
    if not command and incomplete.startswith("-") and args[-1] != "--":
        return None
    return len(args) - len(command)


# What there is to offer, by kind


def offer(kind: str, context: click.Context, incomplete: str) -> list[CompletionItem]:
    """What fits the beginning of a word of this kind."""
    if kind in ("dir", "file"):
        return [CompletionItem(incomplete, kind)]
    from qrec.api import Qrec

    given = context.find_root().params
    return list(OFFERS[kind](Qrec(given.get("home"), given.get("store")), context, incomplete))


def tasks(door: Qrec, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """Tasks, newest first: by number, or by uid once that is begun."""
    from qrec.stores.base import Query

    return offered_tasks(door, door.store.newest_first(Query()), incomplete)


def running_tasks(door: Qrec, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """Tasks that have not ended."""
    from qrec.stores.base import Query
    from qrec.task import UNFINISHED

    return offered_tasks(door, door.store.newest_first(Query(statuses=UNFINISHED)), incomplete)


def offered_tasks(door: Qrec, newest: Iterator[Task], incomplete: str) -> Iterator[CompletionItem]:
    """Those of the tasks that the word may become."""
    if incomplete and not incomplete.isdigit():
        for uid in door.store.starting_with(incomplete, OFFERED):
            yield described(uid, door.store.get(uid))
        return
    fitting = (task for task in islice(newest, LOOKED_AT) if str(task.number).startswith(incomplete))
    for task in islice(fitting, OFFERED):
        yield described(str(task.number), task)


def described(word: str, task: Task) -> CompletionItem:
    """A task with its command beside it."""
    return CompletionItem(word, help=cut(printable(task.command), DESCRIBED))


def executors(door: Qrec, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """Executors by name."""
    return fitting(door.registry.names("qrec.executors"), incomplete)


def stores(door: Qrec, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """Stores by name; what stands behind a colon is a path."""
    if ":" in incomplete:
        return iter([CompletionItem(incomplete, "file")])
    return fitting(door.registry.names("qrec.stores"), incomplete)


def tags(door: Qrec, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """Tags of the newest tasks, the most frequent first."""
    from collections import Counter

    from qrec.stores.base import Query

    newest = islice(door.store.newest_first(Query()), LOOKED_AT)
    counted = Counter(tag for task in newest for tag in task.tags)
    return fitting([tag for tag, _ in counted.most_common()], incomplete)


def own_tags(door: Qrec, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """Tags that the task has, as far as click has read which one."""
    task = context.params.get("task")
    return tags(door, context, incomplete) if task is None else fitting(door.store.resolve(task).tags, incomplete)


def words_of_exec(door: Qrec, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """For `exec`: actions and tasks, and after one of them the other."""
    words = context.params.get("words") or ()
    actions = {name: action.help for executor in door.registry.names("qrec.executors")
               for name, action in door.actions(executor).items()}  # fmt: skip
    if words and words[0] in actions:
        return tasks(door, context, incomplete)
    if words:
        own = door.actions(door.store.resolve(words[0]).executor)
        return fitting(own, incomplete, {name: action.help for name, action in own.items()})
    return iter([*fitting(actions, incomplete, actions), *tasks(door, context, incomplete)])


def words_of_clear(door: Qrec, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """For `clear`: tasks and executors."""
    return iter([*tasks(door, context, incomplete), *executors(door, context, incomplete)])


def settings(door: Qrec, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """Settings by name."""
    from qrec.config import SETTINGS

    return fitting([one.name for one in SETTINGS], incomplete, {one.name: one.help for one in SETTINGS})


def hooks(door: Qrec, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """Hooks by name."""
    from qrec.hook_tables import tables_of

    tables = tables_of(door.config.written)[0]
    return fitting([one.name for one in tables], incomplete, {one.name: ", ".join(sorted(one.on)) for one in tables})


def columns(door: Qrec, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """Columns of `ls`; the last of a list with commas."""
    from qrec.doors.columns import COLUMNS

    head, comma, last = incomplete.rpartition(",")
    return (CompletionItem(head + comma + name) for name in COLUMNS if name.startswith(last))


def queue_names(door: Qrec, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """Queues by name."""
    return fitting(sorted(door.store.policies()), incomplete)


def words_of_jobs(door: Qrec, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """For `[QUEUE] [JOB]...`: queues and the jobs of `default`, and after a queue its jobs by name."""
    from qrec.jobs import DEFAULT, Jobs

    words = context.params.get("words") or ()
    known = door.store.policies()
    queue = words[0] if words and words[0] in known else DEFAULT
    names = Jobs(door, queue).names() if queue in known else {}
    return fitting([*([] if words else sorted(known)), *names], incomplete)


def fitting(words: Iterable[str], incomplete: str, helps: dict[str, Any] | None = None) -> Iterator[CompletionItem]:
    """The words that begin so, each with what is said of it."""
    return (CompletionItem(word, help=(helps or {}).get(word)) for word in words if word.startswith(incomplete))


OFFERS: dict[str, Callable[[Qrec, click.Context, str], Iterator[CompletionItem]]] = {
    "task": tasks, "running": running_tasks, "executor": executors, "store": stores, "tag": tags, "own tag": own_tags,
    "exec": words_of_exec, "clear": words_of_clear, "setting": settings, "column": columns,
    "queue": queue_names, "job": words_of_jobs, "hook": hooks,
}  # fmt: skip
