"""The verb that serves the dashboard."""

from __future__ import annotations

import click

from qrec.cli import say
from qrec.cli.verbs import verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qrec.dashboard.server import Running, Server

HOST, PORT = "127.0.0.1", 5000


@verb("qrec start\n  qrec start --port 8080 --no-open\n  qrec start --unix ~/.qrec.sock --read-only")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Port [5000, or the next that is free].")
@click.option("--host", default=HOST, metavar="NAME", help="Address to listen on [127.0.0.1].")
@click.option("--unix", metavar="PATH", help="Listen on a unix socket, which other users cannot reach.")
@click.option("--open/--no-open", "opens", default=None, help="Open a browser [in a desktop session].")
@click.option("--read-only", is_flag=True, help="Only show: nothing can be run, changed or removed.")
@click.option("--allow-edit", is_flag=True, help="Let pages run edited commands.")
@click.option("--i-know", "knows", is_flag=True, help="With --host: others may reach it, and nothing is encrypted.")
@click.option("--debug", "chatty", is_flag=True, help="Tell every request.")
def start(
    given: dict[str, Any], port: int | None, host: str, unix: str | None, opens: bool | None, read_only: bool,
    allow_edit: bool, knows: bool, chatty: bool,
) -> None:  # fmt: skip
    """Show everything in a browser, live.

    Prints an address that opens a session once; `qrec start` again prints another one of the server that runs.
    Ctrl-C ends it, which no command notices.  From another machine: `ssh -L 5000:127.0.0.1:5000 HOST`.
    """
    import os

    from qrec.config import find_home
    from qrec.dashboard import server

    home = find_home(given["home"])
    url = server.settle(home)
    if url is not None:
        say("the dashboard of this home runs already; this address opens a session, once")
        wanted = {"--port": port, "--unix": unix, "--host": host if host != HOST else None, "--store": given["store"]}
        tell_differences(server.read_running(home), wanted, read_only, allow_edit)
        show(home, url, opens)
        return
    settings = server.Settings(
        host=host, port=PORT if port is None else port, any_port=port is None,
        unix=os.path.abspath(os.path.expanduser(unix)) if unix else "", read_only=read_only, allow_edit=allow_edit,
        knows=knows, debug=chatty or bool(given["debug"]),
    )  # fmt: skip
    server.start(given["home"], given["store"], settings, lambda made: ready(made, opens))


def tell_differences(running: Running | None, wanted: dict[str, Any], read_only: bool, allow_edit: bool) -> None:
    """Say which options come too late for a server that runs, and what gives it those."""
    if running is None:
        return
    switches = {"--read-only": (read_only, running.read_only), "--allow-edit": (allow_edit, running.allow_edit)}
    found = [f"without {name}" for name, (asked, has) in switches.items() if asked and not has]
    has = {"--port": running.port, "--unix": running.unix, "--host": running.host, "--store": running.store}
    for name, value in wanted.items():
        if value is not None and not is_same(name, value, has[name]):
            found.append(f"with {name} {has[name]}" if has[name] else f"without {name}")
    if found:
        say(f"it was started {', '.join(found)}; to change that, end it (`kill {running.pid}`) and start it again")


def is_same(name: str, asked: object, has: object) -> bool:
    """Whether a server has an option's value already."""
    import os

    if name == "--unix":
        return os.path.abspath(os.path.expanduser(str(asked))) == str(has)
    return str(asked) in (str(has), str(has).partition(":")[0] if name == "--store" else str(has))


def ready(made: Server, opens: bool | None) -> None:
    """Say where it is."""
    settings, running = made.settings, made.running
    if running.unix:
        say(f"listening at {running.unix}; lead a port to it: ssh -L 5000:{running.unix} HOST")
    elif settings.port and running.port != settings.port:
        say(f"port {settings.port} is taken; this is the next one that is free")
    for complaint in dict.fromkeys(made.doors.complaints):
        say(complaint)
    show(made.home, made.url(), False if running.unix else opens)
    say("Ctrl-C ends the dashboard, and no command with it")


def show(home: str, url: str, opens: bool | None) -> None:
    """Print the address, and open it where somebody sees it."""
    import os
    import sys

    print(url, flush=True)
    if opens or (
        opens is None and sys.stdout.isatty() and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    ):
        from qrec.dashboard.browser import show_page

        show_page(home, url)
