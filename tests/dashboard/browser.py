"""A real browser for tests: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, Request, Response, Route, expect, sync_playwright

from tests.dashboard.served import Served

#: For starting as root, and for silence on the network.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 800}
GRAVE = {"serious", "critical"}

expect.set_options(timeout=60_000)  # only a failure takes so long


#: The one of this process: another cannot be started beside it.
running: list[Browser] = []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; one for all tests of a process, whichever folder of tests asks for it."""
    if running:
        yield running[0]
        return
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        pytest.skip("needs Chromium")
    with sync_playwright() as playwright:
        running.append(playwright.chromium.launch(executable_path=program, args=FLAGS))
        yield running[0]
        running.pop().close()


@pytest.fixture
def look(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page of its own, with no cookies: `look(color_scheme="dark", viewport=PHONE)`.

    In the end, what any of them complained of on its console, and any request to another host than the first one's,
    fails the test; `page.forgiven` is a list of what may be in a complaint.
    """
    opened: list[Watched] = []

    def look(**settings: Any) -> Page:
        context = browser.new_context(
            **{"viewport": DESK, "permissions": ["clipboard-read", "clipboard-write"], **settings}
        )
        context.set_default_timeout(60_000)
        opened.append(Watched(context))
        return opened[-1].page

    yield look
    for watched in opened:
        watched.context.close()
    for watched in opened:
        watched.check()


@pytest.fixture
def page(look: Callable[..., Page]) -> Page:
    """A page as on a desk, in light colours."""
    return look(color_scheme="light")


def visit(page: Page, server: Served, path: str = "/tasks", **settings: Any) -> None:
    """Show a page of a server, with a session."""
    if not page.context.cookies():
        page.context.request.get(server.url(), max_redirects=0)
    page.goto(server.base + path, **settings)


def chord(page: Page, *keys: str) -> None:
    """Press keys one after the other, in no time as far as the page knows: it waits a second for the next."""
    page.evaluate(
        "left => { performance.now = () => 5000;"
        " addEventListener('keydown', () => { if (!(left -= 1)) delete performance.now }) }",
        len(keys),
    )
    for key in keys:
        page.keyboard.press(key)


def held(page: Page, address: str) -> Callable[[], None]:
    """From now on, requests for addresses that match wait until this is called; they were answered when it returns."""
    waiting: list[Route] = []
    released: list[bool] = []

    def answers(request: Request, response: Response) -> bool:
        return response.request == request

    def wait(route: Route) -> None:
        if released:
            route.continue_()
        else:
            waiting.append(route)

    def release() -> None:
        released.append(True)
        for route in waiting:
            with page.expect_response(partial(answers, route.request)):
                route.continue_()
        page.evaluate("new Promise((done) => setTimeout(() => requestAnimationFrame(done), 100))")  # and shown

    page.route(re.compile(address), wait)
    return release


def noted(page: Page, selector: str) -> Callable[[], str]:
    """From now on, all that an element has said: what it says is gone soon.  Call it for what that was until then."""
    page.evaluate(
        "selector => { const box = document.querySelector(selector); const said = [];"
        " window.noted = { ...window.noted, [selector]: said };"
        " new MutationObserver(() => said.push(box.innerText))"
        ".observe(box, { childList: true, characterData: true, subtree: true }) }",
        selector,
    )
    return lambda: "\n".join(page.evaluate("selector => window.noted[selector]", selector))


class Watched:
    """A page, and what it complained of and asked for."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.page = context.new_page()
        self.page.forgiven = []  # type: ignore[attr-defined]
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))

    def check(self) -> None:
        """Fail for complaints and for strangers."""
        forgiven: list[str] = self.page.forgiven  # type: ignore[attr-defined]
        complaints = [said for said in self.complaints if not any(words in said for words in forgiven)]
        assert not complaints, complaints
        assert len(self.hosts - {""}) <= 1 or "other hosts" in forgiven, self.hosts


def findings(page: Page) -> list[str]:
    """What axe finds that is serious: a line each."""
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes']][:3]}"
        for one in found["violations"]
        if one["impact"] in GRAVE
    ]


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


__all__ = [
    "DESK", "PHONE", "Error", "browser", "chord", "findings", "held", "look", "noted", "overflow", "page", "visit",
]  # fmt: skip
