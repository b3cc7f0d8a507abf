"""The command line: parse, one call, print."""

from __future__ import annotations

import os
import sys

from qrec.cli.words import NotPlain, read_run
from qrec.errors import QrecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    import click


INTERRUPTED = 130  #: the exit code after Ctrl-C
COMPLETE = "_QREC_COMPLETE"  #: set by the functions that `qrec completion` prints


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Do what the words say and exit."""
    words = sys.argv[1:] if words is None else words
    if not words and COMPLETE in os.environ:
        leave(run_completion(os.environ[COMPLETE]))
    try:
        plain = read_run(words)
    except NotPlain:
        plain = None
    leave(run_click(words) if plain is None else guarded(lambda: run_plain(*plain), bool(plain[0]["debug"])))


def run_plain(options: dict[str, object], command: list[str]) -> int:
    """`qrec run`, without click."""
    from qrec.cli.run import run

    return run(options, command)


def run_completion(instruction: str) -> int:
    """What a shell's completion function asks for."""
    from qrec.cli.completion import answer

    return answer(instruction)


def run_click(words: Sequence[str]) -> int:
    """Every other call."""
    from qrec.cli.verbs import qrec

    return guarded(lambda: qrec.main(list(words), prog_name="qrec", standalone_mode=False) or 0, "--debug" in words)


def guarded(call: Callable[[], int], debug: bool) -> int:
    """The exit code of a call; errors become one line, and a traceback only for those who ask for it."""
    try:
        return call()
    except QrecError as error:
        if debug:
            raise
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        return unforeseen(error)


def unforeseen(error: Exception) -> int:
    """What click found wrong with the words, or a mistake of ours, in one line."""
    import click

    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort):
        if isinstance(error.__cause__, KeyboardInterrupt):  # not at a question, but in the midst of things
            return INTERRUPTED
        say("nothing was done")
        return 1
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.ctx.get_help(), err=True)
        return error.exit_code
    if isinstance(error, click.NoSuchOption) and (meant := option_meant(error)):
        say(f"no option {error.option_name!r}; {meant}")
        return error.exit_code
    if isinstance(error, click.ClickException):
        words = " ".join(error.format_message().split()).replace("integer range", "whole number")  # click's own words
        hint = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "qrec"
        say(f"{words.rstrip('.?')}; `{hint} --help` tells more" if isinstance(error, click.UsageError) else words)
        return error.exit_code
    say(f"{type(error).__name__}: {error} (an error of qrec's own; --debug shows where)")
    return 1


def option_meant(error: click.NoSuchOption) -> str:
    """What may help where an option is wrong; nothing if nothing is near."""
    from qrec.cli.words import ALWAYS

    for flag in ALWAYS:
        if error.option_name in flag.names and error.ctx is not None:
            verb = error.ctx.command_path.removeprefix("qrec").strip()
            words = " ".join(filter(None, (error.option_name, flag.metavar, verb)))
            return f"it stands before the verb: `qrec {words}`"
    return f"did you mean {error.possibilities[0]!r}?" if error.possibilities else ""


def say(sentence: str) -> None:
    """Tell the user something, in one line on stderr; nobody there to read it is no error."""
    line = "qrec: " + " ".join(sentence.splitlines()) + "\n"
    try:
        sys.stdout.flush()
        os.write(2, line.encode("utf-8", "replace"))
    except (OSError, AttributeError):
        pass


def leave(code: int) -> NoReturn:
    """Exit at once: taking the interpreter down in order costs more than it is worth here."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError:
        pass  # the reader has gone
    os._exit(code)
