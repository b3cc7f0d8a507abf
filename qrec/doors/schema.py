"""The page that describes the sqlite store's tables, made from the code: the schema, and the comments on its fields."""

from __future__ import annotations

import ast
import inspect

from qrec import task
from qrec.stores.sqlite import VERSION, empty_store

HEAD = f"""# The sqlite store's schema

Made from the code by `qrec store schema`; schema version {VERSION}.

`qrec.db` in qrec's home (`$QREC_HOME`, else `~/.local/share/qrec`) is an ordinary SQLite file.  `qrec sql` asks it and
cannot change it; so does any SQLite tool, which should open it for reading only.  Times are text in UTC, ISO 8601 with
microseconds, and so sort as they are.  `tags`, `after`, `argv`, `usage`, `facts` and `data` are JSON, for SQLite's
`json_extract` and `json_each`, and NULL where they are empty.  Text that is not UTF-8 (a folder's name, say) is kept as
a blob of those bytes.
"""

TABLES = {
    "tasks": "One row a task, as its current attempt stands.",
    "outputs": "What the current attempt of a task printed, if that is at most 64 KiB and not nothing.  "
    "Larger outputs are files in `attempts/` in the home.",
    "extras": "What else was recorded of an attempt, if its output is in the store.",
    "attempts": "The attempts before the current one, with what they printed.",
    "events": "The newest changes, in the order they were written.  One to a queue (`queue`) has its name for the uid.",
    "queues": "What holds for each queue.  Its jobs are the tasks of that `queue` with a number above `since`.",
    "search": "A full-text index (FTS5, trigrams, contentless) over command, note, tags and output, folded for case; "
    "`rowid` is the task's number.  It holds the tasks whose `indexed` is 1.",
}

#: Columns that are no fields of a task, and those that are kept in another way.
NOTES = {
    "command": "the command as text",
    "created": "when it was first recorded",
    "argv": "the words exactly; NULL where `command` gives them: one line for a shell, or no word that needs quotes",
    "seconds": "how long the attempt ran, if somebody saw it end",
    "cpu": "seconds of CPU time, of `usage`",
    "memory": "bytes of memory at the peak of the largest process, of `usage`",
    "usage": "what else was measured",
    "indexed": "1 if the search index holds the task",
    "stdout": "the bytes exactly",
    "stderr": "the bytes exactly",
    "timing": "a line a block: milliseconds since the line before, `o` or `e`, bytes",
    "text": "only for MATCH",
    "policy": "JSON: `since`, and as far as they were said `workers`, `gpus`, `mem`, `cpus`, `paused`, `preamble` ...",
    "content": "the bytes: `series` is CPU and memory over time, `patch` what git told of uncommitted changes",
}

#: Columns that mean something else in one table.
OWN = {("extras", "name"): "what it is", ("queues", "name"): "the queue's name"}

EXAMPLES = (
    ("What fails most", "SELECT command, count(*) AS times FROM tasks WHERE status = 'failed' "
     "GROUP BY command ORDER BY times DESC LIMIT 10"),
    ("Hours by month", "SELECT substr(created, 1, 7) AS month, sum(seconds) / 3600 AS hours FROM tasks GROUP BY month"),
    ("Tags and their tasks", "SELECT value AS tag, count(*) AS tasks FROM tasks, json_each(tasks.tags) GROUP BY tag"),
    ("What the failed ones said", "SELECT number, command, stderr FROM tasks JOIN outputs USING (number) "
     "WHERE status = 'failed' ORDER BY number DESC LIMIT 5"),
    ("A word in the index", "SELECT number, command FROM search JOIN tasks ON number = search.rowid "
     "WHERE search MATCH '\"err\" AND \"rro\" AND \"ror\"'"),
)  # fmt: skip


def page() -> str:
    """The whole page, as Markdown."""
    examples = "".join(f"\n{title}:\n\n```sql\n{sql}\n```\n" for title, sql in EXAMPLES)
    return HEAD + "".join(map(section, TABLES)) + "\n## To begin with\n" + examples


def section(table: str) -> str:
    """What one table is, and its columns."""
    rows = "".join(f"| `{name}` | {kind} | {meaning(table, name)} |\n" for name, kind in columns(table))
    return f"\n## {table}\n\n{TABLES[table]}\n\n| column | type | what it is |\n|---|---|---|\n{rows}"


def columns(table: str) -> list[tuple[str, str]]:
    """The columns of a table and their types."""
    db = empty_store()
    rows = db.execute(f"PRAGMA table_info({table})").fetchall()
    db.close()
    return [(name, kind) for _, name, kind, *_ in rows]


def meaning(table: str, column: str) -> str:
    """What is known of a column."""
    fields = comments(task.Event) if table == "events" else comments(task.Task)
    words = OWN.get((table, column)) or NOTES.get(column) or fields.get(column, "")
    if column == "status":
        return f"{words}: {', '.join(f'`{status.value}`' for status in task.Status)}"
    return words.replace("|", "\\|")


def comments(record: type) -> dict[str, str]:
    """The `#:` comments on the fields of a record."""
    source = inspect.getsource(record)
    lines = source.splitlines()
    fields = [node for node in ast.parse(source).body[0].body if isinstance(node, ast.AnnAssign)]  # type: ignore[attr-defined]
    found = {ast.unparse(node.target): lines[node.lineno - 1].partition("#:")[2].strip() for node in fields}
    return {name: comment for name, comment in found.items() if comment}
