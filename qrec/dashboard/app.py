"""The routes: each reads the request, makes one call, and answers."""

from __future__ import annotations

import importlib
import os
import re

from flask import Blueprint, Flask, Response, current_app, jsonify, redirect, render_template, request
from werkzeug.exceptions import HTTPException

from qrec import __version__, errors
from qrec.dashboard import acting, guard, listing, tasks
from qrec.errors import QrecError, WrongUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from werkzeug.wrappers import Response as Answer

    from qrec.api import Qrec
    from qrec.dashboard.feed import Feed

#: Parts of the dashboard with routes of their own; each has `register(app, door)`.
PARTS = ("logs", "plots", "queues", "live", "executors")

#: What went wrong as HTTP tells it, the first that fits.
STATUSES: tuple[tuple[tuple[type[QrecError], ...], int], ...] = (
    ((errors.NoSuchTask, errors.NoSuchAttempt, errors.NoSuchAction, errors.NoSuchExecutor, errors.NoSuchQueue,
      errors.NoSuchJob), 404),
    ((WrongUsage,), 400),
    ((errors.StoreBusy,), 503),
    ((errors.ManyTasks, errors.StaleTask, errors.IllegalMove, errors.DuplicateTask, errors.DuplicateJob, errors.Refused,
      errors.CouldNotStart, errors.NotOnThisMachine, errors.BrokenPlugin), 409),
)  # fmt: skip
WORDS = {
    404: "there is no such page; `/tasks` lists everything",
    405: "that address takes no such request",
    413: "that is too much at once",
}


def make_app(
    door: Qrec, feed: Feed | None = None, sessions: guard.Sessions | None = None, cookie: str = "",
    read_only: bool = False, allow_edit: bool = False,
) -> Flask:  # fmt: skip
    """The application over a front door, which threads may share.

    `feed`, if there is one, tells of changes; `app.config["feed"]` is where others find it.
    """
    app = Flask("qrec", static_folder="static", template_folder="templates", static_url_path="/static")
    app.config.update(
        MAX_CONTENT_LENGTH=guard.BODY, SEND_FILE_MAX_AGE_DEFAULT=0, feed=feed, read_only=read_only,
        allow_edit=allow_edit, sessions=sessions, cookie=cookie,
    )  # fmt: skip
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    app.register_error_handler(QrecError, said)
    app.register_error_handler(HTTPException, said_by_flask)
    app.register_error_handler(Exception, unforeseen)
    app.teardown_request(lambda _: getattr(door, "give_back", lambda: None)())
    app.register_blueprint(pages(door))
    app.register_blueprint(looking(door, feed))
    app.register_blueprint(changing(door))
    for name in PARTS:
        importlib.import_module(f"qrec.dashboard.{name}").register(app, door)
    return app


# Errors


def said(error: QrecError) -> Response:
    """A sentence of ours."""
    status = next((status for kinds, status in STATUSES if isinstance(error, kinds)), 500)
    return sentence(status, str(error))


def said_by_flask(error: HTTPException) -> Response:
    """One of Flask's."""
    status = error.code or 500
    return sentence(status, WORDS.get(status, (error.description or error.name).rstrip(".")))


def unforeseen(error: Exception) -> Response:
    """A mistake of ours, in one line; where it comes from is in the log."""
    current_app.logger.exception("%s %s", request.method, request.path)
    return sentence(500, f"{type(error).__name__}: {error} (an error of qrec's own)")


def sentence(status: int, words: str) -> Response:
    """An error as JSON or as a page."""
    if guard.wants_json(request.path):
        kind, body = guard.told(request.path, status, words)
        return Response(body, status, content_type=kind)
    return Response(
        render_template("page.html", title=str(status), sentence=f"{words[:1].upper()}{words[1:]}."), status
    )


# Pages


def pages(door: Qrec) -> Blueprint:
    """What a browser shows: one shell, and a module of JavaScript for each page."""
    routes = Blueprint("pages", __name__)

    @routes.get("/")
    def front() -> Answer:
        return redirect("/tasks", 303)

    @routes.get("/tasks")
    def task_list() -> str:
        asked = request.query_string.decode("latin-1")
        return shell("tasks", "Tasks", ahead=f"/tasks.json?limit=100{'&' * bool(asked)}{asked}")

    @routes.get("/tasks/<reference>")
    def task(reference: str) -> str:
        found = tasks.resolve(door, reference)
        return shell("task", f"{found.number} {found.status}", uid=found.uid, number=found.number)

    @routes.get("/queues")
    def queue_list() -> str:
        return shell("queues", "Queues")

    @routes.get("/queues/<path:name>")
    def queue(name: str) -> str:
        from qrec.jobs import queues

        every = [known.name for known in queues(door)]
        if name not in every:
            raise errors.NoSuchQueue(name, every)
        return shell("queue", f"Queue {name}", name=name)

    @routes.get("/live")
    def live() -> str:
        return shell("live", "Live")

    @routes.get("/executor/<name>")
    def executor(name: str) -> str:
        door.registry.executor(name)
        return shell("executor", f"Executor {name}", name=name)

    return routes


def shell(page: str, title: str, ahead: str = "", **data: Any) -> str:
    """The one HTML page: `data` is what its body tells the page's module, `ahead` what that will ask for first."""
    config = current_app.config
    session = request.environ.get("qrec.session")
    data = {
        **data, "csrf": session.csrf if session else "", "version": __version__,
        "read_only": "yes" if config["read_only"] else "", "allow_edit": "yes" if config["allow_edit"] else "",
        "host": os.uname().nodename,
    }  # fmt: skip
    told = {name.replace("_", "-"): str(value).encode("utf-8", "replace").decode() for name, value in data.items()}
    return render_template("page.html", page=page, title=title, ahead=ahead, data=told)


# Reading


def looking(door: Qrec, feed: Feed | None) -> Blueprint:
    """What is only read."""
    routes = Blueprint("looking", __name__)

    @routes.get("/tasks.json")
    def task_list() -> Response:
        fresh(feed)
        return jsonify(listing.listed(door, request.args))

    @routes.get("/tasks/<reference>.json")
    def task(reference: str) -> Response:
        fresh(feed)
        return jsonify(tasks.told(door, reference, attempt_of("attempt")))

    @routes.get("/tasks/<reference>/why.json")
    def why(reference: str) -> Response:
        return jsonify(tasks.why(door, reference, attempt_of("attempt")))

    @routes.get("/tasks/<reference>/diff.json")
    def diff(reference: str) -> Response:
        other = request.args.get("with") or reference
        return jsonify(tasks.diff(door, (reference, attempt_of("attempt")), (other, attempt_of("with_attempt"))))

    @routes.get("/tasks/<reference>/panel.json")
    def panel(reference: str) -> Response:
        return jsonify(tasks.panel(door, reference))

    @routes.get("/tasks/<reference>/screen.json")
    def screen(reference: str) -> Response:
        return jsonify(tasks.screen(door, reference))

    @routes.get("/executors.json")
    def executors() -> Response:
        return jsonify(tasks.executors(door))

    return routes


def fresh(feed: Feed | None) -> None:
    """Have it looked at how the unfinished tasks stand, unless that was done a moment ago."""
    if feed is not None:
        feed.freshen()


def attempt_of(name: str) -> int | None:
    """The attempt that the query string names."""
    words = request.args.get(name)
    if not words:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,8}", words):
        raise WrongUsage(f"{name} is a number from 1 on")
    return int(words)


# Acting


def changing(door: Qrec) -> Blueprint:
    """What changes something.  The guard lets nobody in who may not."""
    routes = Blueprint("changing", __name__)

    @routes.post("/api/tasks/<reference>/<action>")
    def act(reference: str, action: str) -> Response:
        edit = bool(current_app.config["allow_edit"])
        return jsonify(acting.act(door, reference, action, body(), edit=edit))

    @routes.delete("/api/tasks/<reference>")
    def delete(reference: str) -> Response:
        return jsonify(acting.delete(door, reference))

    @routes.post("/api/bulk")
    def bulk() -> Response:
        return jsonify(acting.bulk(door, body()))

    @routes.post("/logout")
    def logout() -> Response:
        config, session = current_app.config, request.environ.get("qrec.session")
        answer = jsonify({})
        if session and session.key and config["sessions"]:
            config["sessions"].end(session.key)
            answer.delete_cookie(config["cookie"], path="/", httponly=True, samesite="Strict")
            if config["feed"]:
                config["feed"].drop(session.key)
        return answer

    return routes


def body() -> dict[str, Any]:
    """What a request says; WrongUsage unless that is an object."""
    said = request.get_json(silent=True) if request.content_length else {}
    if not isinstance(said, dict):
        raise WrongUsage("the body is to be a JSON object")
    return said
