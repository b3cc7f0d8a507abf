"""The home and the settings: option, then environment, then config file, then default."""

from __future__ import annotations

import json
import os
import sys

from qrec.errors import QrecError, WrongUsage, did_you_mean, nearest
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


class BadConfig(QrecError):
    """The config file cannot be understood."""


class Setting(Record):
    """One thing that can be set.  Its variable is `QREC_` and its name in capitals, with `_` for a dot."""

    name: str  #: with a dot: the table that it stands in, and its name there
    default: Any
    help: str
    check: Callable[[Any], Any]  #: makes the value from what was written, or raises QrecError

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "QREC_" + self.name.upper().replace(".", "_")


def as_text(value: Any) -> str:
    """A setting that is text."""
    if not isinstance(value, str):
        raise WrongUsage(f"{value!r} is no text; write it in quotes")
    return value


def as_switch(value: Any) -> bool:
    """A setting that is on or off."""
    switches = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    switch = switches.get(str(value).lower())
    if switch is None:
        raise WrongUsage(f"{value!r} is neither true nor false")
    return switch


def as_size_limit(value: Any) -> str:
    """A setting that is a size, or empty for none; as it was written."""
    from qrec.units import size_in_bytes

    if value != "":
        size_in_bytes(str(value))
    return str(value)


def as_age_limit(value: Any) -> str:
    """A setting that is an age, or empty for none; as it was written."""
    if value != "":
        as_seconds(value)
    return str(value)


def as_seconds(value: Any) -> float:
    """A setting that is a duration, in seconds."""
    from qrec.units import seconds

    return seconds(str(value))


def as_list(value: Any) -> tuple[str, ...]:
    """A setting that is a list of texts; in a variable or on the command line, one a line."""
    words = value.split("\n") if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise WrongUsage(f"{value!r} is no list of texts")
    return tuple(word for word in words if word)


def as_addresses(value: Any) -> tuple[str, ...]:
    """A setting that is a list of addresses."""
    return tuple(map(as_address, as_list(value)))


def as_address(value: Any) -> str:
    """An address that a message can be sent to."""
    address = as_text(value)
    if "://" not in address:
        raise WrongUsage(f"{address!r} is no address; write https://ntfy.sh/my-runs, or another URL")
    return address


def as_patterns(value: Any) -> tuple[str, ...]:
    """A setting that is a list of regular expressions which shells understand, too."""
    patterns = as_list(value)
    for pattern in patterns:
        check_pattern(pattern)
    return patterns


def as_pattern(value: Any) -> str:
    """A setting that is one of them, or empty."""
    pattern = as_text(value)
    check_pattern(pattern)
    return pattern


def check_pattern(pattern: str) -> None:
    """Raise WrongUsage unless Python, bash, zsh and fish mean the same by a regular expression."""
    import re

    try:
        re.compile(pattern)
    except re.error as error:
        raise WrongUsage(f"{pattern!r} is no regular expression: {error}") from None
    if found := re.search(r"\\[A-Za-z0-9]|\(\?|[*+?}][?+]", pattern):
        raise WrongUsage(f"shells do not know {found[0]!r}, in {pattern!r}: write [0-9] and the like")


SETTINGS = (
    Setting(name="store", default="sqlite", check=as_text, help="where records are kept: sqlite, filesystem, or a URL"),
    Setting(name="quiet", default=False, check=as_switch, help="whether `run` leaves out its closing line"),
    Setting(
        name="grace",
        default=10.0,
        check=as_seconds,
        help="how long a command has between being asked to end and being killed",
    ),
    Setting(name="shell", default="", check=as_text, help="the shell for one-argument command lines; empty: $SHELL"),
    Setting(
        name="shell.typed", default=False, check=as_switch, help="whether `init` lets a shell record all that is typed"
    ),
    Setting(
        name="shell.ignore",
        default=(),
        check=as_patterns,
        help="extended regular expressions of lines that are never recorded as typed; nor is what begins with a space",
    ),
    Setting(
        name="shell.record",
        default="",
        check=as_pattern,
        help="an extended regular expression of lines that `init` turns into `qrec run`: ^(python|make) ",
    ),
    Setting(
        name="secrets", default=(), check=as_list, help="regular expressions of what is to be left out of records, too"
    ),
    Setting(
        name="variables", default=(), check=as_list, help="variables to record beside the usual ones: WANDB_*, ..."
    ),
    Setting(
        name="tmux_socket",
        default="",
        check=as_text,
        help="tmux's server for `run -e tmux`: a name, or the path of its socket; empty: that of tmux itself",
    ),
    Setting(
        name="notify",
        default=(),
        check=as_addresses,
        help="where `--notify` tells of an end, as URLs of apprise; empty: on the desktop, or in the terminal",
    ),
    Setting(
        name="keep_size",
        default="",
        check=as_size_limit,
        help="how large all that is kept may grow before `gc` removes the oldest (20G); empty: no limit",
    ),
    Setting(
        name="keep_age",
        default="",
        check=as_age_limit,
        help="how old a task may grow before `gc` removes it (180d); empty: no limit",
    ),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


class Config:
    """The settings of one home.

    `complaint` tells what is wrong with the file, if anything is: `run` goes on with the defaults then, since a
    slip in a file must not stop anybody's work.
    """

    def __init__(self, home: str, environment: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.environment = os.environ if environment is None else environment
        self.complaint: BadConfig | None = None
        self.written = self.read()

    @property
    def path(self) -> str:
        """The config file."""
        return os.path.join(self.home, "config.toml")

    def read(self) -> dict[str, Any]:
        """What the file sets."""
        self.stamp = stamp_of(self.path)
        try:
            return read_cached(self.path, os.path.join(self.home, "cache", "config.json"))
        except BadConfig as error:
            self.complaint = error
        return {}

    def renew(self) -> None:
        """Read the file again, if it has changed."""
        if stamp_of(self.path) != self.stamp:
            self.complaint = None
            self.written = self.read()

    def get(self, name: str) -> Any:
        """The value in force.  WrongUsage if there is no such setting or its value is of the wrong kind."""
        setting = setting_named(name)
        if word := self.environment.get(setting.variable):
            return checked(setting, word, f"${setting.variable}")
        value = found(self.written, place_of(self.written, name))
        return setting.default if value is None else checked(setting, value, self.path)

    def source(self, name: str) -> str:
        """Where the value in force comes from."""
        setting = setting_named(name)
        if self.environment.get(setting.variable):
            return setting.variable
        return "default" if found(self.written, place_of(self.written, name)) is None else "config file"

    def set(self, name: str, word: str) -> None:
        """Write a setting into the file; comments and order stay as they are."""
        value = checked(setting_named(name), word)
        written = list(value) if isinstance(value, tuple) else value if isinstance(value, bool) else word
        self.edit(lambda document: put(document, name, written))

    def unset(self, name: str) -> bool:
        """Take a setting out of the file, so that its default holds; False if it is not there."""
        setting_named(name)
        if found(self.written, place_of(self.written, name)) is None and self.complaint is None:
            return False
        self.edit(lambda document: take_out(document, place_of(document, name)))
        return True

    def edit(self, change: Callable[[Any], None]) -> None:
        """Write the file with a change in it.  Raises BadConfig if it cannot be read as it is."""
        import tomlkit

        from qrec.output import make_private

        if self.complaint is not None:
            raise self.complaint
        make_private(self.home)
        document = tomlkit.parse(read_text(self.path))
        change(document)
        replace_file(os.path.realpath(self.path), tomlkit.dumps(document).encode())
        self.written = self.read()


def place_of(written: Mapping[str, Any], name: str) -> list[str]:
    """The keys below which a setting stands.

    What has a table of its name (`shell`) is called `program` in there, as TOML knows no name for both.
    """
    return [name, "program"] if isinstance(written.get(name), dict) else name.split(".")


def unknown_words(written: Mapping[str, Any]) -> list[str]:
    """A sentence for each word of a config file that sets nothing; a table that is like none of ours is let be."""
    tables = {name.partition(".")[0] for name in BY_NAME if "." in name}
    wrong = []
    for name, value in written.items():
        if name in tables and isinstance(value, dict):
            words = [f"{name}.{key}" for key in value if key != "program"]  # see place_of
            wrong += [no_setting(word) for word in words if word not in BY_NAME]
        elif isinstance(value, dict) and name != "hooks" and (near := nearest(name, [*tables, "hooks"])):
            wrong.append(f"there is no table [{name}]; did you mean [{near}]?")
        elif not isinstance(value, dict) and name not in BY_NAME and name != "hooks":
            wrong.append(no_setting(name))
    return wrong


def no_setting(name: str) -> str:
    """What to say of a word that is no setting."""
    return f"there is no setting {name!r}; " + did_you_mean(name, BY_NAME, f"there are: {', '.join(BY_NAME)}")


def found(written: Any, place: Sequence[str]) -> Any:
    """What is written at a place; None if nothing is."""
    for key in place:
        if not isinstance(written, dict) or key not in written:
            return None
        written = written[key]
    return written


def put(document: Any, name: str, value: Any) -> None:
    """Write a setting into a TOML document; a value that stands where its table belongs moves into that."""
    *tables, key = place_of(document, name)
    for table in tables:
        if table not in document:
            document[table] = {}
        elif not isinstance(document[table], dict):
            document[table] = {"program": document.pop(table)}
        document = document[table]
    document[key] = value


def take_out(document: Any, place: Sequence[str]) -> None:
    """Remove what stands at a place of a TOML document; a table that has nothing else goes with it."""
    key, *below = place
    if below:
        take_out(document[key], below)
    if not below or not document[key]:
        del document[key]


def setting_named(name: str) -> Setting:
    """The setting of that name."""
    if name not in BY_NAME:
        raise WrongUsage(no_setting(name))
    return BY_NAME[name]


def checked(setting: Setting, value: Any, where: str = "") -> Any:
    """A written value as the setting's type."""
    try:
        return setting.check(value)
    except QrecError as error:
        raise WrongUsage(f"{where}{': ' * bool(where)}{setting.name}: {error}") from None


def find_home(option: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """The folder that holds everything: the option, `QREC_HOME`, or the user's data folder by the XDG rules."""
    environment = os.environ if environment is None else environment
    chosen = option or environment.get("QREC_HOME")
    if chosen:
        return os.path.abspath(os.path.expanduser(chosen))
    data = environment.get("XDG_DATA_HOME") or ""
    if not os.path.isabs(data):  # the XDG rules: a relative path is to be ignored
        data = os.path.expanduser("~/.local/share")
    return os.path.abspath(os.path.join(data, "qrec"))


def read_cached(path: str, cache: str) -> dict[str, Any]:
    """The parsed TOML file; parsing costs more than all the rest of a start, so its result is kept beside it."""
    key = stamp_of(path)
    if key is None:
        return {}
    try:
        with open(cache, encoding="utf-8") as file:
            kept = json.load(file)
        if kept["key"] == key:
            return dict(kept["value"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no cache yet, or half of one
    value = read_toml(path)
    write_cache(cache, {"key": key, "value": value})
    return value


def stamp_of(path: str) -> list[int] | None:
    """What is another whenever a file has been changed; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_mtime_ns, found.st_size, found.st_ino]


def read_toml(path: str) -> dict[str, Any]:
    """Parse a TOML file, or say in one line what is wrong with it."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return dict(tomllib.loads(read_text(path)))
    except (ValueError, OSError) as error:
        raise BadConfig(f"{path} is not valid TOML: {error}") from None


def read_text(path: str) -> str:
    """A text file, or nothing if there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def write_cache(path: str, content: object) -> None:
    """Keep something that can be made again; failing to is no loss."""
    from qrec.output import make_private

    try:
        text = json.dumps(content)
        make_private(os.path.dirname(path))
        replace_file(path, text.encode())
    except (OSError, TypeError):
        pass  # a read-only home, or a date in the file, which JSON does not know


def replace_file(path: str, content: bytes) -> None:
    """Put a private file in its place whole: readers see the old one or the new one.  Raises OSError."""
    fresh = f"{path}.{os.getpid()}"
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(file, "wb", buffering=0) as raw:
            while content:
                content = content[raw.write(content) :]
        os.replace(fresh, path)
    except OSError:
        os.unlink(fresh)
        raise
