"""The home and the settings: option, then environment, then config file, then default."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from qrec import config as configuring
from qrec.api import Qrec
from qrec.config import BY_NAME, SETTINGS, Config, find_home
from tests.test_look_back import add, call, one_line

#: What is written for each setting, and what it means.
SET = (
    ("store", "filesystem", "filesystem"),
    ("quiet", "yes", True),
    ("grace", "1m", 60),
    ("shell", "/bin/zsh", "/bin/zsh"),
    ("shell.typed", "true", True),
    ("shell.ignore", "^vault", ("^vault",)),
    ("shell.record", "^make", "^make"),
    ("secrets", "PROJECT-[0-9]+", ("PROJECT-[0-9]+",)),
    ("variables", "WANDB_*", ("WANDB_*",)),
    ("tmux_socket", "aside", "aside"),
    ("notify", "ntfy://runs", ("ntfy://runs",)),
    ("keep_size", "20G", "20G"),
    ("keep_age", "180d", "180d"),
)
NO_STORE = "no store is called 'oracle'; there are: sqlite, filesystem, or NAME:PATH for one elsewhere"


@pytest.fixture
def file(home: Path) -> Path:
    """The config file, in a home that exists."""
    home.mkdir(0o700)
    return home / "config.toml"


# The home


@pytest.mark.parametrize(
    ("option", "environment", "expected"),
    [
        (None, {}, "~/.local/share/qrec"),
        (None, {"XDG_DATA_HOME": "/data"}, "/data/qrec"),
        (None, {"XDG_DATA_HOME": "relative"}, "~/.local/share/qrec"),
        (None, {"XDG_DATA_HOME": ""}, "~/.local/share/qrec"),
        (None, {"XDG_DATA_HOME": "/data", "QREC_HOME": "/home"}, "/home"),
        (None, {"XDG_DATA_HOME": "/data", "QREC_HOME": ""}, "/data/qrec"),
        ("/option", {"QREC_HOME": "/home"}, "/option"),
        ("", {"QREC_HOME": "/home"}, "/home"),
        ("~/there", {}, "~/there"),
        (None, {"QREC_HOME": "~/there"}, "~/there"),
        ("there/../here", {}, "./here"),
        (None, {"QREC_HOME": "here"}, "./here"),
    ],
)
def test_where_the_home_is(option, environment, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = expected.replace("~", os.environ["HOME"]).replace("./", f"{tmp_path}/")
    assert find_home(option, environment) == expected


def test_the_home_of_the_command_line(qrec, user_home, tmp_path):
    qrec("run", "-q", "true", env={"QREC_HOME": None}, check=True)
    assert (user_home / ".local/share/qrec/qrec.db").exists()
    qrec("run", "-q", "true", env={"QREC_HOME": "", "XDG_DATA_HOME": str(tmp_path / "data")}, check=True)
    assert (tmp_path / "data/qrec/qrec.db").exists()
    qrec("--home", tmp_path / "option", "run", "-q", "true", env={"QREC_HOME": "elsewhere"}, check=True)
    assert (tmp_path / "option/qrec.db").exists()
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "home").exists()
    assert call("--home", tmp_path / "option", "config", "path").out == f"{tmp_path}/option/config.toml\n"


# Precedence


def test_option_then_environment_then_file_then_default(home, monkeypatch):
    def chosen(option: str | None = None) -> str:
        return Qrec(store=option).store.name

    assert chosen() == "sqlite"
    call("config", "set", "store", "filesystem", check=True)
    assert chosen() == "filesystem"
    monkeypatch.setenv("QREC_STORE", "sqlite")
    assert chosen() == "sqlite"
    assert chosen("filesystem") == "filesystem"
    monkeypatch.setenv("QREC_STORE", "")
    assert chosen() == chosen("") == "filesystem"


def variable(name: str) -> str:
    return f"QREC_{name.upper().replace('.', '_')}"


def test_each_setting_has_a_variable(home, monkeypatch):
    for name, word, value in SET:
        assert (Config(str(home)).get(name), Config(str(home)).source(name)) != (value, variable(name))
        monkeypatch.setenv(variable(name), word)
        assert (Config(str(home)).get(name), Config(str(home)).source(name)) == (value, variable(name))
        monkeypatch.setenv(variable(name), "")
        assert Config(str(home)).source(name) == "default"


def test_settings_do_what_they_say(home, qrec, tmp_path):
    shell = tmp_path / "myshell"
    shell.write_text('#!/bin/sh\necho "myshell: $2"\n')
    shell.chmod(0o755)
    call("config", "set", "quiet", "true", check=True)
    call("config", "set", "shell", shell, check=True)
    result = qrec("run", "echo a; echo b")
    assert (result.out, result.err) == ("myshell: echo a; echo b\n", "")
    assert "returncode: 0" in qrec("run", "true", env={"QREC_QUIET": "no"}).err


# get, set, list, path


def test_get_set_list_path(home):
    assert call("config", "path").out == f"{home}/config.toml\n"
    assert not home.exists(), "looking makes nothing"
    assert [call("config", "get", s.name).out for s in SETTINGS] == [
        "sqlite\n", "false\n", "10s\n", "\n", "false\n", *["\n"] * (len(SETTINGS) - 5)
    ]  # fmt: skip
    for name, word, _ in SET:
        assert call("config", "set", name, word, check=True).out == ""
    written = {
        "store": "filesystem", "quiet": "true", "grace": "60s", "shell": "/bin/zsh", "shell.typed": "true",
        "shell.ignore": "^vault", "shell.record": "^make", "secrets": "PROJECT-[0-9]+",
        "variables": "WANDB_*", "tmux_socket": "aside", "notify": "ntfy://runs", "keep_size": "20G",
        "keep_age": "180d",
    }  # fmt: skip
    assert {name: call("config", "get", name).out for name, *_ in SET} == {k: f"{v}\n" for k, v in written.items()}
    assert call("config", "list", "--json").json == {
        **written, "quiet": True, "shell.typed": True, "shell.ignore": ["^vault"], "grace": 60.0,
        "secrets": ["PROJECT-[0-9]+"], "variables": ["WANDB_*"], "notify": ["ntfy://runs"],
    }  # fmt: skip
    rows = [line.split(None, 3) for line in call("config", "list").out.splitlines()]
    assert [row[:2] for row in rows] == [[*pair] for pair in written.items()]
    assert all(row[2] == "config" for row in rows)
    assert stat.S_IMODE((home / "config.toml").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_list_tells_where_a_value_comes_from(home, monkeypatch):
    call("config", "set", "quiet", "on", check=True)
    monkeypatch.setenv("QREC_GRACE", "3")
    sources = {line.split()[0]: line for line in call("config", "list").out.splitlines()}
    assert "config file" in sources["quiet"]
    assert "QREC_GRACE" in sources["grace"]
    assert "default" in sources["store"]


def test_the_store_as_it_was_published(home):
    """`qrec config --database sqlite|filesystem`."""
    assert call("config", "--database", "filesystem", check=True).out == ""
    assert call("config", "get", "store").out == "filesystem\n"
    assert Qrec().store.name == "filesystem"
    call("config", "--database", "sqlite", check=True)
    assert Qrec().store.name == "sqlite"
    said = one_line(call("config", "--database", "oracle"), 2)
    assert said == NO_STORE
    assert call("config", "get", "store").out == "sqlite\n"


def test_a_store_elsewhere(home, qrec, tmp_path):
    for choice, place in (("sqlite:elsewhere.db", "elsewhere.db"), (f"filesystem://{tmp_path}/tasks", "tasks")):
        qrec("--store", choice, "run", "-q", "true", check=True)
        assert (tmp_path / place).exists()
        assert len(qrec("--store", choice, "ls", "--json").json) == 1
    assert call("ls", "--json").json == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["get", "colour"], "there is no setting 'colour'; there are: " + ", ".join(BY_NAME)),
        (["set", "colour", "red"], "there is no setting 'colour'; there are: " + ", ".join(BY_NAME)),
        (["set", "quiet", "perhaps"], "quiet: quiet: 'perhaps' is neither true nor false"),
        (["set", "grace", "soon"], "grace: grace: 'soon' is no duration; write 90s, 10m, 1h30m or 2d"),
        (["set", "store", "oracle"], NO_STORE),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(home, words, said):
    assert one_line(call("config", *words), 2).endswith(said.removeprefix("quiet: ").removeprefix("grace: "))
    assert not (home / "config.toml").exists()


def test_words_that_set_nothing_are_told(file):
    file.write_text('stroe = "x"\n[shell]\nprogram = "/bin/sh"\ntpyed = true\n[shel]\ntyped = true\n[other]\nkey = 1\n')
    done = call("config", "list", check=True)
    assert [line.partition(" (in ")[0] for line in done.err.splitlines()] == [
        "qrec: there is no setting 'stroe'; did you mean 'store'?",
        "qrec: there is no setting 'shell.tpyed'; did you mean 'shell.typed'?",
        "qrec: there is no table [shel]; did you mean [shell]?",
    ]
    columns = {line.index(" default ") for line in done.out.splitlines() if " default " in line}
    assert len(columns) == 1, "whatever the length of a name"


def test_an_address_is_a_url(home):
    assert "'me' is no address" in one_line(call("config", "set", "notify", "me"), 2)


def test_a_setting_is_named_once(home):
    assert one_line(call("config", "set", "quiet", "perhaps"), 2) == "quiet: 'perhaps' is neither true nor false"


def test_comments_and_order_survive_a_set(file):
    file.write_text(
        '# mine\nshell = "/bin/zsh"  # the best\n\n# not too chatty\nquiet = false\n\n[other]\nkey = 1 # kept\n'
    )
    call("config", "set", "quiet", "true", check=True)
    call("config", "set", "grace", "3s", check=True)
    text = file.read_text()
    for comment in ("# mine\n", "  # the best\n", "# not too chatty\nquiet = true\n", "[other]\nkey = 1 # kept\n"):
        assert comment in text, text
    assert [call("config", "get", name).out for name in ("shell", "quiet", "grace")] == ["/bin/zsh\n", "true\n", "3s\n"]


def test_what_is_unset_has_its_default_again(file):
    file.write_text('# mine\nquiet = true  # really\ngrace = "3s"\n\n[shell]\ntyped = true\n')
    for name in ("quiet", "shell.typed"):
        assert call("config", "unset", name, check=True).err == ""
    assert file.read_text().strip() == '# mine\ngrace = "3s"'
    assert [call("config", "get", name).out for name in ("quiet", "shell.typed", "grace")] == ["false\n"] * 2 + ["3s\n"]
    assert call("config", "unset", "quiet", check=True).err == f"qrec: quiet is not set in {file}\n"
    assert "there is no setting 'quit'" in one_line(call("config", "unset", "quit"), 2)


def test_a_program_for_lines_beside_the_shells_table_is_unset_alone(file):
    file.write_text('[shell]\nprogram = "/bin/zsh"\ntyped = true\n')
    call("config", "unset", "shell", check=True)
    assert file.read_text() == "[shell]\ntyped = true\n"


def test_nothing_is_unset_where_there_is_no_home(home):
    assert "is not set" in call("config", "unset", "quiet", check=True).err
    assert not home.exists()


def test_what_is_set_on_a_broken_file_is_refused(file):
    file.write_text("quiet = maybe\n")
    assert str(file) in one_line(call("config", "set", "quiet", "true"))
    assert file.read_text() == "quiet = maybe\n"


def test_a_config_that_is_a_link_stays_one(file, tmp_path):
    """People keep such files elsewhere, under version control."""
    real = tmp_path / "dotfiles.toml"
    real.write_text("quiet = false\n")
    file.symlink_to(real)
    call("config", "set", "quiet", "true", check=True)
    assert call("config", "get", "quiet").out == "true\n"
    assert file.is_symlink()
    assert real.read_text() == "quiet = true\n"


# A slip in the file stops nobody

BROKEN = {
    "half a line": b"store =",
    "two of one": b"quiet = true\nquiet = false\n",
    "not UTF-8": b'shell = "\xff"\n',
    "NUL": b"\0",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_does_not_stop_a_run(file, qrec, content):
    file.write_bytes(content)
    result = qrec("run", "-q", "sh", "-c", "echo ran; exit 3")
    assert (result.out, result.returncode) == ("ran\n", 3)
    assert result.err.count("\n") == 1
    assert result.err.startswith(f"qrec: {file} is not valid TOML: ")
    (row,) = call("ls", "--json").json
    assert (row["returncode"], Qrec().store.name) == (3, "sqlite")
    assert call("ls").err == result.err, "and the verbs that look back say so as well"
    assert call("config", "path").out == f"{file}\n"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("quiet = 'perhaps'", "quiet: 'perhaps' is neither true nor false"),
        ("grace = 'soon'", "grace: 'soon' is no duration; write 90s, 10m, 1h30m or 2d"),
        ("grace = true", "grace: 'True' is no duration; write 90s, 10m, 1h30m or 2d"),
        (
            "store = 'oracle'",
            NO_STORE,
        ),
        ("store = 5", "store: 5 is no text; write it in quotes"),
    ],
)
def test_a_wrong_value_does_not_stop_a_run(file, qrec, written, said):
    file.write_text(written + "\n")
    result = qrec("run", "sh", "-c", "echo ran; exit 3")
    assert (result.out, result.returncode) == ("ran\n", 3)
    complaints = [line for line in result.err.splitlines() if "returncode" not in line]
    assert len(complaints) == 1
    assert complaints[0].startswith("qrec: ")
    assert complaints[0].endswith(said)
    assert len(call("ls", "--json").json) == 1


def test_a_wrong_variable_does_not_stop_a_run(home, qrec):
    result = qrec("run", "-q", "true", env={"QREC_GRACE": "soon"})
    assert (result.returncode, result.err) == (
        0, "qrec: $QREC_GRACE: grace: 'soon' is no duration; write 90s, 10m, 1h30m or 2d\n",
    )  # fmt: skip


def test_an_option_that_is_wrong_does_stop_it(home, qrec):
    said = one_line(qrec("--store", "oracle", "run", "echo", "ran"), 2)
    assert said == NO_STORE


def test_a_file_that_may_not_be_read(file, qrec):
    file.mkdir()
    result = qrec("run", "-q", "echo", "ran")
    assert (result.out, result.returncode, result.err.count("\n")) == ("ran\n", 0, 1)
    assert str(file) in result.err


# The parsed file is kept


def test_the_parsed_file_is_cached_and_renewed(file, home, monkeypatch):
    parsed: list[str] = []
    real = configuring.read_toml

    def watched(path: str) -> dict[str, Any]:
        parsed.append(path)
        return real(path)

    monkeypatch.setattr(configuring, "read_toml", watched)
    file.write_text("quiet = true\n")
    assert [Config(str(home)).get("quiet") for _ in range(3)] == [True] * 3
    assert len(parsed) == 1
    file.write_text("quiet = false\n")
    assert [Config(str(home)).get("quiet") for _ in range(3)] == [False] * 3
    assert len(parsed) == 2
    before = file.stat()
    fresh = home / "fresh"
    fresh.write_text("quiet = 'yes'\n")
    os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fresh.stat().st_size == before.st_size
    fresh.replace(file)
    assert Config(str(home)).get("quiet") is True, "another file of the same size and time"
    file.unlink()
    assert Config(str(home)).get("quiet") is False
    assert len(parsed) == 3


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"key": 1}', b'{"key": [1, 2, 3], "value": 5}', b"\xff"]
)
def test_a_spoilt_cache_is_made_again(file, home, content):
    file.write_text("quiet = true\n")
    cache = home / "cache" / "config.json"
    Config(str(home))
    good = cache.read_bytes()
    cache.write_bytes(content)
    assert Config(str(home)).get("quiet") is True
    assert cache.read_bytes() == good


def test_a_cache_with_a_spoilt_value_is_made_again(file, home):
    file.write_text("quiet = true\n")
    cache = home / "cache" / "config.json"
    Config(str(home))
    kept = json.loads(cache.read_text())
    for value in (5, "text", None, [1]):
        cache.write_text(json.dumps({**kept, "value": value}))
        assert Config(str(home)).get("quiet") is True


def test_what_json_does_not_know_is_read_all_the_same(file, home):
    file.write_text("when = 2026-11-22\nquiet = true\n")
    for _ in range(2):
        assert Config(str(home)).get("quiet") is True


def test_config_opens_nothing_else(home):
    """So that a broken store can always be mended with it."""
    home.mkdir()
    (home / "qrec.db").write_bytes(b"garbage")
    add(Qrec(store="filesystem").store)
    call("config", "set", "store", "filesystem", check=True)
    assert len(call("ls", "--json").json) == 1
