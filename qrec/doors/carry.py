"""From store to store: every task whole, with its number where that is free."""

from __future__ import annotations

import os
import shutil

from qrec.doors.intake import BATCH, BATCH_BYTES
from qrec.errors import NoSuchTask, StoreUnwritable
from qrec.output import attempt_folder, make_private
from qrec.stores.base import Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from qrec.stores.base import Bundle, Store
    from qrec.task import Task


def whole(store: Store, task: Task) -> Bundle:
    """All that the store has of a task as it was then: it may have been started again since."""
    bundle = store.bundle(task)
    return bundle.copy(attempts=tuple(one for one in bundle.attempts if one.attempt < task.attempt))


def carry(source: Store, target: Store, tasks: Iterable[Task]) -> Iterator[tuple[int, int]]:
    """Copy tasks with all the store has of them; produce for each batch how many it was, and how many were new.

    The files of large outputs are in the home, and are copied where the other store has another home.
    """
    for batch in batches(source, tasks):
        if os.path.realpath(source.home) != os.path.realpath(target.home):
            for bundle in batch:
                carry_files(source.home, target, bundle)
        yield len(batch), target.add_all(batch)


def carry_queues(source: Store, target: Store) -> None:
    """Copy what holds for the queues that the other store does not have; their tasks must be there already."""
    for queue, policy in source.policies().items():
        with target.together():
            if queue not in target.policies():
                target.set_policy(queue, {**policy, "since": since(source, target, queue, policy)})


def since(source: Store, target: Store, queue: str, policy: Mapping[str, Any]) -> int:
    """The number above which the other store has the jobs of a queue's generation."""
    jobs = source.oldest_first(Query(queue=queue, above=policy.get("since", 0)))
    for job in jobs:
        try:
            return target.get(job.uid).number - 1
        except NoSuchTask:
            continue  # added meanwhile, or removed
    return target.highest_number()


def batches(store: Store, tasks: Iterable[Task]) -> Iterator[list[Bundle]]:
    """The bundles of tasks, as many at once as are good for speed and memory."""
    batch: list[Bundle] = []
    size = 0
    for task in tasks:
        try:
            bundle = whole(store, task)
        except NoSuchTask:
            continue  # removed meanwhile
        batch.append(bundle)
        size += sum(len(kept.stdout) + len(kept.stderr) for kept in bundle.kept.values())
        if len(batch) >= BATCH or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def carry_files(home: str, target: Store, bundle: Bundle) -> None:
    """Copy the outputs that are in files, unless the other store knows the task: then its files are its own."""
    try:
        target.get(bundle.task.uid)
        return
    except NoSuchTask:
        pass
    for attempt in (*bundle.attempts, bundle.task):
        copy_folder(*(attempt_folder(top, attempt.uid, attempt.attempt) for top in (home, target.home)))


def copy_folder(source: str, target: str) -> None:
    """Copy the files of an attempt, if it has any."""
    try:
        if os.path.isdir(source):
            make_private(target)
            for name in os.listdir(source):
                shutil.copyfile(os.path.join(source, name), os.path.join(target, name))
                os.chmod(os.path.join(target, name), 0o600)
    except OSError as error:
        raise StoreUnwritable(f"{target}: {error.strerror or error}") from error
