"""Which workers there are: each leaves a file in the home as long as it works."""

from __future__ import annotations

import json
import os

from qrec.config import replace_file
from qrec.output import listed, make_private
from qrec.process import Identity
from qrec.task import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from qrec.worker import Worker


class Presence:
    """A file that tells others of a worker, as long as the `with` lasts: `<home>/workers/<pid>-<ticks>.json`."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.path = os.path.join(worker.home, "workers", f"{worker.mine[0]}-{worker.mine[1]}.json")

    def __enter__(self) -> None:
        worker = self.worker
        about = {
            **worker.where, "host": worker.host, "pid": worker.mine[0], "ticks": worker.mine[1], "queue": worker.queue,
            "keep": worker.keep, "since": timestamp(), "chosen": worker.chosen,
        }  # fmt: skip
        try:
            make_private(os.path.dirname(self.path))
            replace_file(self.path, json.dumps(about).encode())
        except OSError:
            pass  # it works unseen

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Tell of it no more."""
        try:
            os.unlink(self.path)
        except OSError:
            pass


def workers(home: str, queue: str | None = None) -> list[dict[str, Any]]:
    """The workers of a home, of one queue or of all; what dead ones have left is removed."""
    found = []
    folder = os.path.join(home, "workers")
    for name in listed(folder):
        path = os.path.join(folder, name)
        if not name.endswith(".json"):
            continue
        try:
            with open(path, encoding="utf-8") as file:
                about = json.load(file)
            alive = who(about).alive()
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if alive is False:
            try:
                os.unlink(path)
            except OSError:
                pass
        elif queue is None or about.get("queue") == queue:
            found.append(about)
    return found


def who(about: Mapping[str, Any]) -> Identity:
    """The process of a worker."""
    return Identity(**{key: about[key] for key in ("host", "boot", "namespace", "pid", "ticks")})
