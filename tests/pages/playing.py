"""Plays a page: does what it tells its reader to do, in a shell and a home of its own, and compares what comes."""

from __future__ import annotations

import getpass
import json
import re
import shlex
import socket
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrec.config import Config
from qrec.hook_tables import tables_of
from tests.helpers import ROOT, kill_processes_of
from tests.pages.alike import difference, is_alike
from tests.pages.blocks import Block, Step, blocks_of, steps_of
from tests.pages.shell import Shell

#: What the pages call the reader, and the reader's machine.
READER, MACHINE = "me", "laptop"

#: Languages of blocks that are only looked at.
SHOWN = ("", "text", "ini", "html", "toctree", "include")


class Page:
    """A page that is being played; its reader's home folder is `user_home`."""

    def __init__(self, path: Path, user_home: Path) -> None:
        self.path = path
        self.user_home = user_home
        self.folder = user_home / "work"
        self.folder.mkdir()
        self.shell = Shell(self.folder)
        self.printed = ""  #: by the block before

    def play(self) -> None:
        """Try every block, from the top to the bottom."""
        for block in blocks_of(self.path):
            if not block.reason:
                self.play_block(block)

    def play_block(self, block: Block) -> None:
        if block.language == "console":
            for step in steps_of(block):
                self.play_step(step)
        elif "output" in block.words:
            self.compare(block.line, block.text, self.printed)
        elif block.file:
            self.write(block)
        else:
            player = getattr(self, f"play_{block.language}", None)
            assert player or block.language in SHOWN, f"{self.at(block.line)}: what is {block.language}?"
            if player:
                player(block)

    def at(self, line: int) -> str:
        return f"{self.path.name}:{line}"

    # Commands

    def play_step(self, step: Step) -> None:
        """A command whose output is shown may fail, as the output tells; one without must not."""
        if step.is_interrupted:
            before, rest = self.shell.interrupt(step.command, lambda text: is_alike(step.output, self.as_told(text)))
            self.compare(step.line, step.output, before)
            self.compare(step.line, step.rest, rest)
            return
        code, printed = self.shell.run(step.command)
        self.compare(step.line, step.output, printed)
        if step.output.strip() in ("", "..."):
            assert code == 0, f"{self.at(step.line)}: {step.command} ended with {code}:\n{printed}"

    def compare(self, line: int, expected: str, printed: str) -> None:
        here = self.as_told(printed)
        assert is_alike(expected, here), f"{self.at(line)}:\n{difference(expected, here)}"

    def as_told(self, printed: str) -> str:
        """What was printed with the names that the pages have."""
        for home in (self.user_home.resolve(), self.user_home):
            printed = printed.replace(str(home), f"/home/{READER}")
        printed = re.sub(rf'( on |"host": "){re.escape(socket.gethostname())}\b', rf"\1{MACHINE}", printed)
        return printed.replace(f'"user": "{getpass.getuser()}"', f'"user": "{READER}"')

    def play_bash(self, block: Block) -> None:
        code, self.printed = self.shell.run(block.text)
        assert code == 0, f"{self.at(block.line)}: ended with {code}:\n{self.printed}"

    play_sh = play_hidden = play_bash

    def play_python(self, block: Block) -> None:
        script = self.user_home / "block.py"
        script.write_text(block.text)
        self.play_bash(block._replace(text=shlex.join([sys.executable, str(script)])))

    def play_sql(self, block: Block) -> None:
        self.play_bash(block._replace(text=shlex.join(["qrec", "sql", block.text])))

    def play_power_cut(self, _: Block) -> None:
        """All that runs is gone in a moment, as when the machine goes down; only the reader's shell stays."""
        kill_processes_of(self.user_home, but=self.shell.process.pid)

    def play_own_environment(self, _: Block) -> None:
        """One that sees what ours has, and into which pip installs without a network."""
        folder = self.user_home / "environment"
        venv.create(folder, symlinks=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        (packages / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        python = shlex.quote(str(folder / "bin" / "python"))
        pip = (
            f'{shlex.quote(sys.executable)} -m pip --python {python} "$@" --no-build-isolation --no-deps --no-index -q'
        )
        for name, command in {"pip": pip, "qrec": f'{python} -m qrec "$@"'}.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\nexec {command}\n")
            (folder / "bin" / name).chmod(0o755)
        self.shell.run(f"export PIP_DISABLE_PIP_VERSION_CHECK=1 PATH={shlex.quote(str(folder / 'bin'))}:$PATH")

    # Files

    def write(self, block: Block) -> None:
        """A file that the page shows, in the folder in which its reader is."""
        folder = Path(self.shell.run("pwd")[1].strip())
        path = folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        if block.text.startswith("#!"):
            path.chmod(0o755)

    def play_toml(self, block: Block) -> None:
        """Added to the config file, as its reader would; every setting in it is asked for."""
        path = Path(self.shell.run("qrec config path")[1].strip())
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("a") as file:
            file.write(block.text)
        config = Config(str(path.parent), {})
        assert config.complaint is None, f"{self.at(block.line)}: {config.complaint}"
        assert tables_of(config.written)[1] == []
        for name in names_of(config.written):
            config.get(name)

    def play_json(self, block: Block) -> None:
        json.loads(block.text)

    def close(self) -> None:
        self.shell.close()


def names_of(written: dict[str, Any]) -> Iterator[str]:
    """The settings of a config file by name, but for the hooks, which are no settings."""
    for name, value in written.items():
        if isinstance(value, dict):
            yield from (f"{name}.{each}" for each in value if name != "hooks")
        else:
            yield name


# All pages

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    """As a reader of a test's result calls it."""
    return str(page.relative_to(ROOT))


def takes_slurm(page: Path) -> bool:
    """Whether a page is for the tests of Slurm to play."""
    return any("slurm" in block.words for block in blocks_of(page))


def play(page: Path, tmp_path: Path, user_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play a page in a fresh home, and end all it has left."""
    monkeypatch.setenv("COLUMNS", "100")  # a reader's window
    playing = Page(page, user_home)
    try:
        playing.play()
    finally:
        playing.close()
        kill_processes_of(tmp_path)
