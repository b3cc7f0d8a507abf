"""What a task printed: as it was, with times, and played back."""

from __future__ import annotations

import json
import sys

import click

from qrec.cli.verbs import ATTEMPT, TASK, looking, tell, verb
from qrec.cli.words import JSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


@verb("qrec log 12 -f\n  qrec log --stderr -n 20", JSON)
@TASK
@ATTEMPT
@click.option("-f", "--follow", is_flag=True, help="Go on as the task prints, until it has ended.")
@click.option("--stdout", "only", flag_value="stdout", help="Only what went to stdout.")
@click.option("--stderr", "only", flag_value="stderr", help="Only what went to stderr.")
@click.option("-n", "lines", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
def log(
    given: dict[str, Any], task: str | None, attempt: int | None, follow: bool, only: str | None, lines: int | None
) -> None:
    """Print what a task printed, byte for byte, both streams in their order."""
    from qrec.output import STREAMS, Frozen, last_lines, merged

    door = looking(given)
    found = door.get(task, attempt)
    streams = STREAMS if only is None else (only,)
    if follow:
        blocks = door.follow(found, streams, lines)
    else:
        output = Frozen(door.output(found))
        blocks = merged(output, streams) if lines is None else iter(last_lines(output, lines, streams))
    if given["json"]:
        print_json_log(blocks)
    else:
        print_blocks(blocks)
    tell(door)


def print_blocks(blocks: Iterable[tuple[str, bytes]]) -> None:
    """Bytes on stdout, as they come."""
    for _, block in blocks:
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()


def print_json_log(blocks: Iterable[tuple[str, bytes]]) -> None:
    """One JSON object a block: its stream and text."""
    from qrec.output import text

    for stream, block in blocks:
        click.echo(json.dumps({"stream": stream, "text": text(block)}))
        sys.stdout.flush()
