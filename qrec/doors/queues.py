"""What holds for queues, beside the jobs that an export carries: on its last line, as `queues` in the `data` there."""

from __future__ import annotations

from qrec.errors import NoSuchTask, QrecError
from qrec.stores.base import Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from qrec.stores.base import Store

    #: Makes of what came with a queue's name what may hold for it; QrecError.
    Check = Callable[[str, Mapping[str, Any]], dict[str, Any]]


def told(store: Store, names: Iterable[str | None]) -> dict[str, Any]:
    """What holds for those queues, and the first job of each that is its own."""
    policies = store.policies()
    found = {}
    for name in sorted({name for name in names if name in policies}, key=str):
        policy = policies[str(name)]
        jobs = store.oldest_first(Query(queue=name, above=policy.get("since", 0)))
        first = next((job.uid for job in jobs), None)
        kept = {key: value for key, value in policy.items() if key != "since"}  # numbers are others elsewhere
        found[name] = {"policy": kept, **({"first": first} if first else {})}
    return found


def take(store: Store, queues: Mapping[str, Any], check: Check, complain: Callable[[str], None]) -> None:
    """Make the queues that are not here yet; their jobs must be there already."""
    for name, one in queues.items():
        try:
            policy = check(name, one["policy"])
            with store.together():
                if name not in store.policies():
                    store.set_policy(name, {**policy, "since": since(store, one.get("first"))})
        except QrecError as error:
            complain(f"queue {name!r}: {error}")
        except (KeyError, TypeError, ValueError, AttributeError):
            complain(f"queue {name!r}: what holds for it cannot be read")


def since(store: Store, first: str | None) -> int:
    """The number above which a queue has its jobs here."""
    try:
        return store.get(first).number - 1 if first else store.highest_number()
    except NoSuchTask:
        return store.highest_number()
