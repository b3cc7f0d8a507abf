"""The server of the dashboard: one for each home, on a loopback port or a unix socket.

Werkzeug serves; nothing in here makes it fit for the open network, which is why it listens where only this machine, or
this user, can come.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from typing import cast

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from qrec.config import find_home, replace_file
from qrec.dashboard import guard
from qrec.dashboard.doors import Doors
from qrec.errors import Refused, WrongUsage
from qrec.notify import remove
from qrec.output import make_private
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from qrec.api import Qrec

FOLDER = "dashboard"  #: of a home, with a folder for each machine: what the servers there leave for each other
DEADLINE = 3.0  #: seconds until a server that is to end has ended
LAST_WORDS = 1.0  #: of these, seconds that pages have to take the goodbye
SLOW = 30.0  #: seconds a request may take to come
CONNECTIONS = 400  #: at a time; those beyond are closed at once
TRIED = 20  #: ports after a default one that is taken
ASKED = 10.0  #: seconds another server has for an answer, or to begin, or to be gone
PAUSE = 0.05  #: seconds between two such looks
LOCK = "lock"  #: held by a server as long as it lives; tells its pid
FRESH_TOKEN = "/api/token"
EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  #: what means all addresses of a machine, and where it reaches itself


class Running(Record):
    """What a server tells those of the same user who can read its file."""

    pid: int
    host: str
    port: int  #: 0 for a unix socket
    unix: str = ""
    secret: str
    store: str = ""
    read_only: bool = False
    allow_edit: bool = False

    @property
    def url(self) -> str:
        """Where a browser finds it; a unix socket has to be led to a port first."""
        name = os.uname().nodename if self.host in EVERY else bracketed(self.host)
        return f"http://{'localhost' if self.unix else name}:{self.port or 5000}/"


class Settings(Record):
    """What `qrec start` is told."""

    host: str = "127.0.0.1"
    port: int = 5000
    any_port: bool = True  #: the next free one if that is taken
    unix: str = ""
    read_only: bool = False
    allow_edit: bool = False
    knows: bool = False  #: the user knows what another host than loopback means
    debug: bool = False


# One server


class Server:
    """Everything that belongs to a running server."""

    def __init__(self, home: str | None, store: str | None, settings: Settings) -> None:
        from qrec.dashboard.app import make_app
        from qrec.dashboard.feed import Feed

        self.settings = settings
        self.doors = Doors(home, store)
        self.home: str = self.doors.home
        folder = folder_of(self.home)
        make_private(folder)
        self.file = os.path.join(folder, "server.json")
        import secrets

        self.secret = secrets.token_urlsafe(32)
        self.sessions = guard.Sessions(os.path.join(folder, "sessions.json"), self.secret)
        self.feed = Feed(self.doors, self.sessions, settings.debug)
        listener = listen(settings)
        port = 0 if settings.unix else int(listener.getsockname()[1])
        cookie = guard.cookie_name(port, settings.unix or self.home)
        app = make_app(
            cast("Qrec", self.doors), self.feed, self.sessions, cookie, settings.read_only, settings.allow_edit
        )
        app.logger.disabled = not settings.debug
        self.feed.attach(app)
        hosts = () if is_loopback(settings.host) or settings.unix else (settings.host, os.uname().nodename)
        guarded = Tokens(guard.Guard(app, self.sessions, cookie, map(bracketed, hosts), settings.read_only))
        self.http = make_server(settings, listener, guarded)
        self.running = Running(
            pid=os.getpid(), host=settings.host, port=port, unix=settings.unix, secret=self.secret,
            store=self.doors.store.place, read_only=settings.read_only, allow_edit=settings.allow_edit,
        )  # fmt: skip
        self.ending = threading.Event()

    def url(self) -> str:
        """An address that opens a session, once."""
        return f"{self.running.url}?token={self.sessions.token()}"

    def announce(self) -> None:
        """Tell the next `qrec start` where we are."""
        replace_file(self.file, json.dumps(self.running.asdict()).encode())

    def serve(self) -> None:
        """Answer until somebody calls `stop`."""
        self.feed.begin()
        try:
            self.http.serve_forever(poll_interval=60)
        finally:
            self.withdraw()

    def stop(self) -> None:
        """End, from any thread: say goodbye to the pages, and be gone when the deadline comes."""
        if self.ending.is_set():
            return
        self.ending.set()
        threading.Thread(target=self.wind_up, daemon=True, name="stop").start()

    def wind_up(self) -> None:
        """What ending takes."""
        self.feed.end()
        self.http.finish(LAST_WORDS)
        self.http.wake_and_shutdown()

    def withdraw(self) -> None:
        """Leave nothing behind."""
        if read_running(self.home) == self.running:
            remove(self.file)
        remove(self.feed.ear.path)
        if self.settings.unix:
            remove(self.settings.unix)


class Tokens:
    """Answers another `qrec start` that knows our secret with a fresh one-time token."""

    def __init__(self, inner: guard.Guard) -> None:
        self.inner = inner

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """See WSGI."""
        if environ.get("PATH_INFO") != FRESH_TOKEN:
            return self.inner(environ, start_response)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, guard.with_headers(headers, FRESH_TOKEN), exc_info)

        try:
            self.inner.check_host(environ)
            self.inner.check_origin(environ)
            guard.check_size(environ)
            if self.inner.sessions.bearer(environ.get("HTTP_AUTHORIZATION", "")) is None:
                raise guard.Denied(401, "only `qrec start` of the same user is told a token")
            if environ["REQUEST_METHOD"] != "POST":
                raise guard.Denied(405, "a token is asked for with POST")
        except guard.Denied as denied:
            return guard.answer(environ, start, denied.status, denied.sentence)
        body = json.dumps({"token": self.inner.sessions.token()}).encode()
        start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]


class Handler(WSGIRequestHandler):
    """One connection: bounded in time, and silent unless somebody wants to know."""

    verbose = False
    server: Http

    def setup(self) -> None:
        """See socketserver: whoever sends nothing is sent away."""
        self.request.settimeout(SLOW)
        super().setup()

    def parse_request(self) -> bool:
        """See http.server: a socket that stays open waits as long as its page is open."""
        parsed = super().parse_request()
        if parsed and self.headers.get("Upgrade", "").lower() == "websocket":
            self.request.settimeout(None)
        return parsed

    def version_string(self) -> str:
        """What is said of us: nothing that helps anybody."""
        return "qrec"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """A line for each request; without its query, which may hold a token."""
        if self.verbose:
            path = getattr(self, "path", "").partition("?")[0]
            self.log_line(f"{getattr(self, 'command', '')} {path} {code}")

    def log(self, type: str, message: str, *args: Any) -> None:
        """Errors of http.server and Werkzeug."""
        if self.verbose:
            self.log_line(message % args if args else message)

    def log_line(self, line: str) -> None:
        """One line on stderr."""
        words = line.translate(self._control_char_table)
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {words}\n")


class Http(ThreadedWSGIServer):
    """Werkzeug's server, with a limit to its connections and a way to end at once."""

    def __init__(self, *words: Any, **settings: Any) -> None:
        super().__init__(*words, **settings)
        self.seats = threading.BoundedSemaphore(CONNECTIONS)
        self.taken: set[int] = set()  #: the threads of open connections

    def log(self, type: str, message: str, *args: Any) -> None:
        """See Werkzeug."""
        if Handler.verbose:
            sys.stderr.write(f"{message % args if args else message}\n")

    def process_request(self, request: Any, client_address: Any) -> None:
        """See socketserver."""
        if self.seats.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """See socketserver."""
        self.taken.add(threading.get_ident())
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.taken.discard(threading.get_ident())
            self.seats.release()

    def finish(self, seconds: float) -> None:
        """Let what is being said be said, for so long at most."""
        deadline = time.monotonic() + seconds
        while self.taken and time.monotonic() < deadline:
            time.sleep(0.005)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """See socketserver: a connection that breaks is nobody's concern."""
        if Handler.verbose:
            super().handle_error(request, client_address)

    def wake_and_shutdown(self) -> None:
        """End `serve_forever`, which looks up only now and then: a connection wakes it."""
        self._BaseServer__shutdown_request = True
        try:
            with socket.socket(self.socket.family, socket.SOCK_STREAM) as knock:
                knock.settimeout(0.5)
                knock.connect(self.socket.getsockname())
        except OSError:
            pass
        self.shutdown()


def make_server(settings: Settings, listener: socket.socket, app: Any) -> Http:
    """The server on a socket that listens."""
    Handler.verbose = settings.debug
    Handler.protocol_version = "HTTP/1.1"
    name = f"unix://{settings.unix}" if settings.unix else settings.host
    port = 0 if settings.unix else int(listener.getsockname()[1])
    server = Http(name, port, app, Handler, fd=listener.fileno())
    server.daemon_threads = True
    server.block_on_close = False
    listener.close()
    return server


# Listening


def listen(settings: Settings) -> socket.socket:
    """The socket; Refused with what to do instead."""
    if settings.unix:
        return listen_at(settings.unix)
    if not is_loopback(settings.host) and not settings.knows:
        raise WrongUsage(
            f"--host {settings.host} lets others on the network reach this server, unencrypted; --i-know says that "
            "you know, and `ssh -L 5000:127.0.0.1:5000` needs no such thing"
        )
    ports = range(settings.port, settings.port + (TRIED if settings.any_port and settings.port else 1))
    for port in ports:
        try:
            return listen_on(settings.host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise Refused(f"cannot listen on {settings.host} port {port}: {error.strerror or error}") from None
        except OverflowError:
            break
    last = f" to {ports[-1]}" if len(ports) > 1 else ""
    raise Refused(f"port {settings.port}{last} is taken by another program; choose another with --port")


def listen_on(host: str, port: int) -> socket.socket:
    """A port of an address."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def listen_at(path: str) -> socket.socket:
    """A unix socket that only the user may connect to."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if is_deserted(path):
            os.unlink(path)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise Refused(f"cannot listen at {path}: {error.strerror or error}") from None
    return listener


def is_deserted(path: str) -> bool:
    """Whether there is a socket that nobody listens to."""
    import stat

    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can come by that address."""
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bracketed(host: str) -> str:
    """A host as it is written in URLs."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


# Another server of this home


def folder_of(home: str) -> str:
    """Where the server of a home on this machine keeps what is its own: other machines may share the home."""
    return os.path.join(home, FOLDER, os.uname().nodename)


def settle(home: str) -> str | None:
    """A URL of the server that this home has here; None if there was none: from now on this process is it.

    Refused if there is one that does not answer.
    """
    deadline = time.monotonic() + ASKED
    try:
        while not hold(home):
            if url := fresh_url(home):
                return url
            if time.monotonic() > deadline:
                raise Refused(silent(home))
            time.sleep(PAUSE)  # it has just begun, or just ends
    except OSError as error:
        raise unusable(home, error) from None
    return None


def hold(home: str) -> bool:
    """Have the lock of the server of this home until this process ends, however that comes; False if another has it."""
    import fcntl

    folder = folder_of(home)
    make_private(folder)
    file = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError) or fresh_url(home):  # on a file system without locks, who answers has it
            os.close(file)
            return False
    os.ftruncate(file, 0)
    os.write(file, str(os.getpid()).encode())
    return True


def silent(home: str) -> str:
    """What is told of a server that does not answer."""
    with open(os.path.join(folder_of(home), LOCK), encoding="ascii", errors="replace") as file:
        pid = file.read(20)
    return (
        f"the dashboard of this home runs already, as process {pid}, and does not answer; "
        f"wait for it, or end it with `kill -9 {pid}`"
    )


def unusable(home: str, error: OSError) -> Refused:
    """What is told of a home in which nothing can be written."""
    return Refused(f"{error.filename or home}: {error.strerror or error}")


def read_running(home: str) -> Running | None:
    """What the file of a running server tells; None if there is none."""
    try:
        with open(os.path.join(folder_of(home), "server.json"), encoding="utf-8") as file:
            known = json.load(file)
        return Running(**{name: value for name, value in known.items() if name in Running._fields})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def fresh_url(home: str) -> str | None:
    """A URL of the server of this home, with a token that it makes for us; None if no server answers."""
    running = read_running(home)
    if running is None:
        return None
    try:
        told = ask(running)
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return f"{running.url}?token={told['token']}" if isinstance(told.get("token"), str) else None


def ask(running: Running) -> dict[str, Any]:
    """Ask a server for a token."""
    connection = http.client.HTTPConnection("localhost", timeout=ASKED)
    if running.unix:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(ASKED)
        connection.sock.connect(running.unix)
    else:
        host = EVERY.get(running.host, running.host)
        connection.sock = socket.create_connection((host, running.port), timeout=ASKED)
    try:
        connection.request("POST", FRESH_TOKEN, headers={"Authorization": f"Bearer {running.secret}"})
        told: dict[str, Any] = json.loads(connection.getresponse().read(4096))
        return told
    finally:
        connection.close()


# Running


def start(home: str | None, store: str | None, settings: Settings, ready: Callable[[Server], None]) -> None:
    """Serve until SIGINT or SIGTERM, after `settle`; `ready` is called when pages can come."""
    try:
        server = Server(home, store, settings)
    except OSError as error:
        raise unusable(find_home(home), error) from None

    def end(*_: object) -> None:
        server.stop()
        signal.signal(signal.SIGALRM, lambda *_: leave(server))
        signal.setitimer(signal.ITIMER_REAL, DEADLINE * 0.8)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    server.announce()
    ready(server)
    server.serve()


def leave(server: Server) -> None:
    """End at once, whatever still goes on."""
    server.withdraw()
    os._exit(0)
