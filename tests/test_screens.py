"""What a person sees of full-screen programs, in tmux: after every step the same screen and cursor as without qrec.

Both are played side by side, each in a folder of its own, so that a machine which lets one wait costs time only.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers import kill_processes_of
from tests.terminals import PATIENCE, RECORDED, Tmux, has, plain, way, ways

pytestmark = pytest.mark.timeout(240)

LINES = "".join(f"line {number}\n" for number in range(1, 201))

#: What is done, and what is to be seen then: something that is not in the typed line itself; "@" is a new prompt.
Step = tuple[str, str]


@pytest.fixture
def watch(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Plays steps without qrec and with it, and compares the screens after each.

    A step is `type TEXT`, `press KEY...`, `size ROWS COLUMNS`; `line` is what records, in sh.
    """
    monkeypatch.setenv("LESSHISTFILE", "-")
    rules = "set nocompatible noswapfile viminfo= shortmess+=I ruler nottyfast nowarn\n"
    (tmp_path / "user" / ".vimrc").write_text(rules)
    paths = ways(tmp_path)

    def watch(*steps: Step, line: str = RECORDED) -> None:
        paths["recorded"] = way(tmp_path / "recorded", line)
        with contextlib.ExitStack() as opened:
            both = [opened.enter_context(window(paths[way], tmp_path / way)) for way in ("native", "recorded")]
            settle_alike(both, "@")
            for action, wanted in steps:
                for tmux in both:
                    do(tmux, action)
                settle_alike(both, wanted)
        assert (tmp_path / "home").exists()  # it was recorded indeed

    yield watch
    kill_processes_of(tmp_path)


def window(path: str, folder: Path) -> Tmux:
    """A shell in that folder."""
    (folder / "lines").write_text(LINES)
    return Tmux(path, folder, inside=folder)


def settle_alike(both: list[Tmux], wanted: str) -> None:
    """Wait until that is to be seen in both, nothing changes any more, and both are the same."""
    deadline = time.monotonic() + PATIENCE
    last, since = ["", ""], time.monotonic()
    while not (all(has(plain(one), wanted) for one in last) and last[0] == last[1] and quiet(both, since)):
        if time.monotonic() > deadline:
            native, recorded = map(plain, last)
            assert has(native, wanted), f"waited for {wanted!r}, seen:\n{native}"
            assert recorded == native, wanted
            assert last[1] == last[0], wanted
            raise AssertionError(f"it never rests after {wanted!r}:\n{native}")
        time.sleep(0.03)
        if (now := [seen(tmux) for tmux in both]) != last:
            last, since = now, time.monotonic()


def quiet(both: list[Tmux], since: float) -> bool:
    """Whether nothing has changed for long enough."""
    return time.monotonic() - since > max(tmux.quiet for tmux in both)


def seen(tmux: Tmux) -> str:
    """What is to be seen, without numbers of terminals and processes."""
    return re.sub(r"/dev/pts/\d+|\[\d+\] \d+", "N", tmux.screen())


def do(tmux: Tmux, action: str) -> None:
    """What a person does in one step."""
    verb, _, what = action.partition(" ")
    if verb == "type":
        tmux.type(what)
    elif verb == "press":
        tmux.press(*what.split())
    elif verb == "run":
        tmux.type(what)
        tmux.press("Enter")
    else:
        rows, columns = map(int, what.split())
        tmux.resize((rows, columns))


IN_ONE = RECORDED.replace("-q", "-q --one-stream")
AT_PROMPT = "run echo code $?", "code 0"


def test_vim(watch):
    watch(
        ("run q vim lines", "line 23"),
        ("type Onew text", "new text"),
        ("press Escape", "1,8"),
        ("size 30 100", "line 28"),
        ("press C-z", "topped"),
        ("run fg", "line 28"),
        ("type G", "line 200"),
        ("run :wq", "@"),
        ("run head -1 lines", "new text"),
    )


def test_vim_and_a_shell_in_it(watch):
    """In one terminal, since vim ends the last line of such a shell on stderr, which might overtake stdout."""
    watch(
        ("run q vim lines", "line 23"),
        ("run :!echo from the shell; echo and beside >&2", "Press ENTER"),
        ("press Enter", "line 23"),
        ("run :wq", "@"),
        line=IN_ONE,
    )


def test_vim_reading_a_pipe_and_in_a_run_of_a_run(watch):
    watch(
        ("run seq 100 | q vim -", "23"),
        ("type Gihello", "hello"),
        ("press Escape", "hello"),
        ("run :q!", "@"),
        ("run q q vim lines", "line 23"),
        ("size 20 60", "line 19"),
        ("press C-z", "topped"),
        ("run fg", "line 19"),
        ("type dd", "line 20"),
        ("run :q!", "@"),
        AT_PROMPT,
    )


def test_less(watch):
    watch(
        ("run q less lines", "line 23"),
        ("type  ", "line 46"),
        ("run /line 77", "line 99"),
        ("size 30 60", "line 105"),
        ("press C-z", "topped"),
        ("run fg", "line 105"),
        ("type q", "@"),
        ("run cat lines | q less", "line 29"),
        ("type G", "line 200"),
        ("type q", "@"),
        AT_PROMPT,
    )


def test_nano(watch):
    watch(
        ("run q nano -R lines", "line 18"),
        ("press Down Down Right", "line 3"),
        ("size 30 100", "line 24"),
        ("press C-w", "Search"),
        ("run line 150", "line 150"),
        ("press C-x", "@"),
        ("run stty -a | grep -o 'icanon.*echo '", "icanon"),
    )


def test_dialog(watch):
    watch(
        ("run q dialog --inputbox Question 10 40 2>answer", "<  OK  >"),
        ("type words", "words"),
        ("press Tab", "words"),
        ("press BTab Enter", "@"),
        ("run echo; cat answer", "words"),
        ("run clear; q dialog --msgbox Message 10 40", "<  OK  >"),
        ("press Enter", "@"),
        ("run stty -a | grep -o 'icanon.*echo '", "icanon"),
    )


def test_a_prompt_of_python(watch):
    """Lines that print on stdout; what overtakes what between the streams is tested in test_terminal.py."""
    watch(
        ("run q python3 -q", ">>>"),
        ("run print(6 * 7)", "42"),
        ("type prinx", "prinx"),
        ("press BSpace", "prin"),
        ("run t('a', end='b\\n')", "ab"),
        ("run exit(0)", "@"),
        AT_PROMPT,
    )


def test_a_prompt_of_python_that_is_interrupted(watch):
    """In one terminal, since it says so on stderr, and prompts again on stdout."""
    watch(
        ("run q python3 -q", ">>>"),
        ("type not", "not"),
        ("press C-c", "KeyboardInterrupt"),
        ("run exit(0)", "@"),
        AT_PROMPT,
        line=IN_ONE,
    )


def test_tmux_within(watch):
    """A program that draws on whichever stream is its terminal, with a session of its own behind it."""
    watch(
        ("run q tmux -S within -f tmux.conf new-session 'PS1=in\"\"side: exec sh'", "inside:"),
        ("run echo within", "\nwithin"),
        ("run exit", "[exited]"),
        AT_PROMPT,
    )
