"""Every page in a browser of another make: it is shown, follows what happens, and complains of nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from urllib.parse import urlsplit

import pytest

from tests.dashboard import firefox
from tests.dashboard.served import BUSY
from tests.helpers import wait_until

pytestmark = pytest.mark.timeout(180)

#: What each page has to show.
PAGES = {
    "/tasks": ("sh -c", "nightly", "failed"),
    "/tasks?status=failed": ("sh -c",),
    "/tasks/1": ("failed", "exit 3", "word 1"),
    "/tasks/1?tab=why": ("The end of stderr", "trouble"),
    "/tasks/1?tab=details": ("Record", "Surroundings"),
    "/tasks/1?tab=attempts": ("It ran once",),
    "/tasks/2?tab=panel": ("Depends on", "Why it waits"),
    "/tasks/3?tab=compare&with=1": ("Task 1", "Task 3"),
    "/queues": ("default", "waiting for a worker"),
    "/queues/default": ("train", "No worker runs"),
    "/queues/default?view=list": ("train",),
    "/queues/default?view=timeline": ("No job has begun",),
    "/live": ("CPU", "Running now"),
    "/executor/shell": ("Actions", "Latest tasks"),
}


def reads(browser: firefox.Firefox, words: Iterable[str]) -> bool:
    """Whether all this is to be read on the page."""
    text = browser.text
    return all(word in text for word in words)


@pytest.fixture
def some_tasks(qrec):
    """A failed one, a job that waits for it, and a good one."""
    script = f"for n in $(seq 500); do echo word $n; done; echo trouble >&2; {BUSY}; exit 3"
    qrec("run", "-q", "-t", "nightly", "--", "sh", "-c", script)
    qrec("queue", "submit", "--name", "train", "--depends-any", "1", "--", "echo", "waits", check=True)
    qrec("run", "-q", "--", "echo", "good", check=True)


@pytest.mark.usefixtures("some_tasks")
def test_every_page_is_shown_and_complains_of_nothing(server, qrec, tmp_path):
    profile = tmp_path / "profile"
    profile.mkdir()
    with firefox.started(profile) as browser:
        browser.show(server.url())
        for path, words in PAGES.items():
            browser.show(server.base + path)
            wait_until(partial(reads, browser, words), 60, f"{words} at {path}")
            wait_until(lambda: browser.evaluate("document.querySelector('.connection')?.innerText") == "live", 60)
        browser.show(f"{server.base}/tasks")
        wait_until(lambda: browser.evaluate("document.querySelector('.connection')?.innerText") == "live", 60)
        qrec("note", "3", "from elsewhere", check=True)
        wait_until(lambda: "from elsewhere" in browser.text, 60)
        strangers = {address for address in browser.asked if urlsplit(address).netloc not in (server.host, "")}
        assert not strangers
        assert not browser.complaints
