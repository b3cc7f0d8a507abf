"""qrec with a fuse: it is killed when it is about to execute its so manieth line.

    python steps.py WHO FUSE NOTE WORDS...

WHO is `qrec`, or `observer` for the process that looks after a detached command.  The file NOTE is told the function
in which the fuse burned down, or how many lines there were if the process came to its end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from inspect import CO_OPTIMIZED
from types import CodeType, FrameType
from typing import Any, NoReturn

#: Modules that only read and reckon: a blow there does not differ from one just before or after.
HARMLESS = ("qrec.registry", "qrec.redact", "qrec.config", "qrec.task", "qrec.errors", "qrec.units", "qrec.cli")


def counts(module: str, code: CodeType) -> bool:
    """Whether the lines of a piece of code count; those of modules, classes and comprehensions do not."""
    if code.co_name == "replace_file":
        return True
    is_ours = module.startswith("qrec.") and not module.startswith(HARMLESS)
    return is_ours and bool(code.co_flags & CO_OPTIMIZED) and not code.co_name.startswith("<")


def arm(fuse: int, note: str) -> None:
    """Light the fuse of this process."""
    passed = 0

    def line(frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
        nonlocal passed
        if event == "line":
            passed += 1
            if passed == fuse:
                write(note, f"{frame.f_globals['__name__']}.{frame.f_code.co_name}")
                os.kill(os.getpid(), signal.SIGKILL)
        return line

    def call(frame: FrameType, _: str, __: Any) -> Callable[..., Any] | None:
        return line if counts(frame.f_globals.get("__name__", ""), frame.f_code) else None

    leave = os._exit

    def end(code: int) -> NoReturn:
        write(note, str(passed))
        leave(code)

    os._exit = end  # type: ignore[assignment]
    sys.settrace(call)


def write(path: str, words: str) -> None:
    """Leave a file with these words."""
    with open(path, "w") as file:
        file.write(words)


def main() -> None:
    """Run qrec."""
    who, fuse, note = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    import qrec.observer
    from qrec.cli import main

    if who == "qrec":
        arm(fuse, note)
    else:
        here = os.path.dirname(os.path.abspath(__file__))
        own = f"import os, sys; sys.path.append({here!r}); import steps; steps.arm({fuse}, {note!r}); "
        qrec.observer.PROGRAM = own + qrec.observer.PROGRAM + "; os._exit(0)"
    main(sys.argv[4:])


if __name__ == "__main__":
    sys.path.pop(0)
    main()
