"""`qrec init`: what a shell has to be told so that it completes, and records what is typed."""

from __future__ import annotations

import os
import re
import sys

import click

from qrec.cli.groups import OneOf
from qrec.cli.verbs import verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qrec.config import Config

#: What redact's hints are in a pattern that a shell tries on each line, where they would fit too much by themselves.
NARROWER = {"key": ("_key", "-key", "apikey"), "@": (("://", "@"),), "curl": (("curl", ":"),)}


@verb('eval "$(qrec init bash)"  # at the end of ~/.bashrc\n  qrec init fish --record | source')
@click.argument("shell", metavar="bash|zsh|fish", type=OneOf(["bash", "zsh", "fish"]))
@click.option("--record/--no-record", default=None, help="Record what is typed; else by the setting shell.typed.")
def init(given: dict[str, Any], shell: str, record: bool | None) -> None:
    """Print what makes a shell complete, and record what is typed.

    Of each line: command, folder, times and code, not its output; `qrec ls typed` lists them.  No process is started
    for it.  A line that begins with a space, or fits one of shell.ignore, is not recorded.  One that fits shell.record
    is run by `qrec run`, if it is a plain command or pipeline.
    """
    sys.stdout.write(script(shell, given["home"], given["store"], record))


def script(shell: str, home: str | None, store: str | None, record: bool | None) -> str:
    """All that a shell is told."""
    from qrec.cli.completion import SCRIPTS
    from qrec.config import Config, find_home

    completion = SCRIPTS[shell]
    if shell == "zsh":
        completion = f"if (($+functions[compdef])); then\n{completion}fi\n"
    config = Config(find_home(home))
    if config.complaint is not None:
        raise config.complaint
    typed = config.get("shell.typed") if record is None else record
    if not typed and not config.get("shell.record"):
        return completion
    return f"{completion}\n{recording(shell, config, home, store, typed)}"


def recording(shell: str, config: Config, home: str | None, store: str | None, typed: bool) -> str:
    """The part that records, for this home and store."""
    given = {"home": config.home if home else None, "store": store}
    options = "".join(f" --{name} {quoted(shell, value)}" for name, value in given.items() if value)
    values = {
        "FOLDER": os.path.join(config.home, "typed"),
        "ABOUT": about(config, store),
        "TYPED": "1" if typed else "",
        "OPTIONS": options,
        "IGNORE": any_of(config.get("shell.ignore")),
        "RECORD": config.get("shell.record"),
        "SECRETS": any_of(config.get("secrets")),
    }
    words = {name: quoted(shell, value) for name, value in values.items()}
    words |= {"OPTIONS_PLAIN": options, "HINTS": hints(shell)}
    with open(
        os.path.join(os.path.dirname(__file__), os.pardir, "templates", f"init.{shell}"), encoding="utf-8"
    ) as file:
        return re.sub("@([A-Z_]+)@", lambda match: words[match[1]], file.read())


def about(config: Config, store: str | None) -> str:
    """What stands above each shell's lines and the shell cannot know: the pids' namespace, the user, the store."""
    from qrec.api import user
    from qrec.process import pid_namespace
    from qrec.registry import Registry
    from qrec.typed import escaped

    place = Registry(config.home).store(config.home, store or config.get("store")).place
    return "\t".join(map(escaped, (pid_namespace(), user(), place)))


def any_of(patterns: tuple[str, ...]) -> str:
    """One extended regular expression for several; empty for none."""
    return "|".join(f"({pattern})" for pattern in patterns)


def hints(shell: str) -> str:
    """What fits each line that may hold a secret: for fish a regular expression, for others the pattern of a `case`."""
    from qrec.redact import RULES

    plain = sorted({hint for rule in RULES for hint in rule.hints})
    parts = [part if isinstance(part, tuple) else (part,) for hint in plain for part in NARROWER.get(hint, (hint,))]
    if shell == "fish":
        return "|".join(".*".join(map(re.escape, words)) for words in parts)
    return " | ".join("*" + "*".join(f"'{word}'" for word in words) + "*" for words in parts)


def quoted(shell: str, text: str) -> str:
    """A word for a shell that stands for exactly this text."""
    if shell == "fish":
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + text.replace("'", "'\\''") + "'"
