"""Who may talk to the server: a WSGI wrapper around Flask and engine.io alike.

It trusts the bytes of the request and the session alone.  Every refusal is a sentence with a status:

    421  the Host is not ours, as after DNS rebinding
    403  another site's page asks, or one of ours without what proves that it is ours; a read-only server
    401  no session: `qrec start` prints a URL with a token that opens one, once
    405 413 429  a method, a size or a number of tries that nobody needs
"""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import os
import re
import secrets
import threading
import time
from http import HTTPStatus
from urllib.parse import parse_qs

from qrec.config import replace_file
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Environ = dict[str, Any]
    Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

TOKENS = 16  #: one-time tokens that are good at a time, the newest
TOKEN_AGE = 3600.0  #: seconds until a token that nobody used is worth nothing
SESSION_AGE = 7 * 86400.0  #: seconds a session lasts after its beginning
SESSIONS = 200  #: sessions at a time, the newest
BODY = 64 << 10  #: bytes of a request
TRIES, TRIES_TIME = 10, 60.0  #: wrong tokens within so many seconds, after which no more are looked at

#: A name, and perhaps a port: any port, since `ssh -L 9000:127.0.0.1:5000` is how people come from afar.
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(?::[0-9]{1,5})?", re.IGNORECASE)
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
SAFE = frozenset({"GET", "HEAD"})
CHANGING = frozenset({"POST", "DELETE"})
SOCKET = "/socket.io/"
NO_SESSION = "there is no session; `qrec start` prints a URL that opens one"

POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "font-src 'self'",
    "connect-src 'self'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'",
))  # fmt: skip
HEADERS = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)


class Denied(Exception):
    """A request that is not answered."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class Session(Record):
    """Somebody who came with a token."""

    key: str  #: what the browser's cookie holds, or "" for whoever holds the server's own secret
    csrf: str  #: what proves that a request comes from one of our pages


class Sessions:
    """Who is logged in.  Outlives the server, so that open pages go on; the file knows no session's key."""

    def __init__(self, path: str, secret: str) -> None:
        self.path = path
        self.secret = secret  #: this start's: opens everything to whoever can read the user's files
        self.tokens: dict[str, float] = {}  #: one-time tokens, and when each was made
        self.failures: list[float] = []
        self.lock = threading.Lock()
        self.known = self.read()

    def read(self) -> dict[str, float]:
        """The hashes of the sessions that were open when a server ended, and when each began."""
        try:
            with open(self.path, encoding="utf-8") as file:
                return {str(name): float(began) for name, began in json.load(file).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def save(self) -> None:
        """Remember them for the next server; a disk that is full only means that people log in again."""
        try:
            replace_file(self.path, json.dumps(self.known).encode())
        except OSError:
            pass

    def token(self) -> str:
        """A token that opens a session, once."""
        with self.lock:
            fresh = secrets.token_urlsafe(32)
            self.tokens[fresh] = time.monotonic()
            for old in list(self.tokens)[:-TOKENS]:
                del self.tokens[old]
            return fresh

    def exchange(self, token: str) -> str | None:
        """The key of a new session for a token that is good; None for another.  Denied after too many of those."""
        with self.lock:
            now = time.monotonic()
            found = next((known for known in self.tokens if same(known, token)), None)
            if found is not None and now - self.tokens.pop(found) < TOKEN_AGE:
                return self.begin()
            self.failures = [at for at in self.failures if now - at < TRIES_TIME]
            if len(self.failures) >= TRIES:
                raise Denied(429, "too many wrong tokens; wait a minute")
            self.failures.append(now)
            return None

    def begin(self) -> str:
        """A new session's key."""
        key = secrets.token_urlsafe(32)
        now = time.time()
        recent = [(name, began) for name, began in self.known.items() if now - began < SESSION_AGE]
        self.known = dict([*recent, (digest(key), now)][-SESSIONS:])
        self.save()
        return key

    def session(self, key: str) -> Session | None:
        """The session of this key, if there is one."""
        began = self.known.get(digest(key))
        if began is None or not 0 <= time.time() - began < SESSION_AGE:
            return None
        return Session(key=key, csrf=digest(f"csrf {key}"))

    def end(self, key: str) -> None:
        """Log out."""
        with self.lock:
            if self.known.pop(digest(key), None) is not None:
                self.save()

    def bearer(self, header: str) -> Session | None:
        """The session of whoever knows the server's secret."""
        kind, _, value = header.partition(" ")
        if kind.lower() == "bearer" and same(self.secret, value.strip()):
            return Session(key="", csrf="")
        return None


class Guard:
    """The wrapper: nothing behind it sees a request that it denies, and every answer has its headers."""

    def __init__(
        self, app: Application, sessions: Sessions, cookie: str, hosts: Iterable[str] = (), read_only: bool = False
    ) -> None:
        self.app = app
        self.sessions = sessions
        self.cookie = cookie  #: its name tells servers apart: cookies ignore ports
        self.hosts = LOOPBACK | {host.lower() for host in hosts}
        self.read_only = read_only

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """See WSGI."""
        path = environ.get("PATH_INFO", "")

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, with_headers(headers, path), exc_info)

        try:
            self.check_host(environ)
            check_size(environ)
            if (token := token_of(environ)) is not None:
                return self.log_in(environ, start, token)
            self.check_origin(environ)
            if not is_public(environ):
                environ["qrec.session"] = self.check_session(environ)
        except Denied as denied:
            return answer(environ, start, denied.status, denied.sentence)
        return self.app(environ, start)

    def check_host(self, environ: Environ) -> None:
        """Whether it was meant for us."""
        found = HOST.fullmatch(environ.get("HTTP_HOST", ""))
        if found is None or found[1].lower() not in self.hosts:
            raise Denied(421, "this server does not answer to that name; call it 127.0.0.1 or localhost")

    def check_origin(self, environ: Environ) -> None:
        """Whether one of our pages, a person or a program asks."""
        check_page(environ)
        if comes_from_elsewhere(environ):
            raise Denied(403, "a link of another site led here; type the address, or use a bookmark")

    def log_in(self, environ: Environ, start: Callable[..., Any], token: str) -> Iterable[bytes]:
        """A token for a session: the URL with it leads to the one without."""
        check_page(environ)
        key = self.sessions.exchange(token)
        if key is None:
            if self.session_of(environ) is None:
                raise Denied(401, "that token was used, or is none; `qrec start` prints a fresh URL")
            cookies = []  # the address that they came by, taken from the history
        else:
            settings = f"HttpOnly; SameSite=Strict; Path=/; Max-Age={round(SESSION_AGE)}"
            cookies = [("Set-Cookie", f"{self.cookie}={key}; {settings}")]
        clean = "/" + environ.get("PATH_INFO", "/").lstrip("/\\")
        if not re.fullmatch(r"[\w/.~-]*", clean, re.ASCII):
            clean = "/"
        if comes_from_elsewhere(environ):  # a browser would follow a redirect without the cookie
            body = b'<!doctype html><meta http-equiv="refresh" content="0;url=%s">' % clean.encode()
            start("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(body))), *cookies])
            return [body]
        start("303 See Other", [("Location", clean), ("Content-Length", "0"), *cookies])
        return [b""]

    def session_of(self, environ: Environ) -> Session | None:
        """Whose request it is."""
        header = environ.get("HTTP_AUTHORIZATION")
        if header is not None:
            return self.sessions.bearer(header)
        keys = cookies_of(environ).get(self.cookie, ())
        return next((found for key in keys if (found := self.sessions.session(key))), None)

    def check_session(self, environ: Environ) -> Session:
        """Whether whoever asks may, and may do what they ask for."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        session = self.session_of(environ)
        if session is None:
            raise Denied(401, NO_SESSION)
        if method in SAFE:
            return session
        if method not in CHANGING:
            raise Denied(405, "only GET, POST and DELETE are known here")
        if session.key and "HTTP_ORIGIN" not in environ:
            raise Denied(403, "a browser says from which page a change comes")
        if path == SOCKET:
            return session  # a socket's messages change nothing
        if session.key and not same(session.csrf, environ.get("HTTP_X_QREC_CSRF", "")):
            raise Denied(403, "the header X-Qrec-CSRF of this session is missing; reload the page")
        kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        if method == "POST" and kind != "application/json":
            raise Denied(403, "changes come as application/json")
        if self.read_only and path != "/logout":
            raise Denied(403, "this server only shows: it was started with --read-only")
        return session


def cookies_of(environ: Environ) -> dict[str, list[str]]:
    """The cookies of a request, of which those of other programs on this machine may be anything."""
    found: dict[str, list[str]] = {}
    for word in environ.get("HTTP_COOKIE", "").split(";"):
        name, _, value = word.strip().partition("=")
        found.setdefault(name, []).append(value)
    return found


def check_page(environ: Environ) -> None:
    """Whether the page that asks, if one does, is one of ours."""
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and origin.lower() != f"http://{environ.get('HTTP_HOST', '')}".lower():
        raise Denied(403, "the page of another site has asked for this")


def comes_from_elsewhere(environ: Environ) -> bool:
    """Whether the browser says that another site, or a file, led here."""
    return environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("none", "same-origin")


def token_of(environ: Environ) -> str | None:
    """The token in the URL of a page."""
    if environ["REQUEST_METHOD"] != "GET" or environ.get("PATH_INFO", "").startswith((SOCKET, "/static/")):
        return None
    found = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True).get("token")
    return found[0] if found else None


def is_public(environ: Environ) -> bool:
    """Whether everybody may have it: what the package itself brings, which tells nothing of anybody's work."""
    return environ["REQUEST_METHOD"] in SAFE and environ.get("PATH_INFO", "").startswith("/static/")


def check_size(environ: Environ) -> None:
    """Whether the body is as short as all that is ever sent here."""
    length = environ.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length[:20]) > BODY or "HTTP_TRANSFER_ENCODING" in environ:
        raise Denied(413, f"a request has {BODY >> 10} KiB at most, and says how many")


def with_headers(headers: Sequence[tuple[str, str]], path: str) -> list[tuple[str, str]]:
    """The headers of an answer with those that every answer has."""
    given = {name.lower() for name, _ in headers}
    ours = [*HEADERS]
    if not path.startswith("/static/"):
        ours.append(("Cache-Control", "no-store"))
        headers = [(name, value) for name, value in headers if name.lower() != "cache-control"]
    return [*headers, *((name, value) for name, value in ours if name.lower() not in given or name == "Cache-Control")]


def answer(environ: Environ, start: Callable[..., Any], status: int, sentence: str) -> list[bytes]:
    """An error as JSON or as a page."""
    kind, body = told(environ.get("PATH_INFO", ""), status, sentence)
    start(f"{status} {HTTPStatus(status).phrase}", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]


def wants_json(path: str) -> bool:
    """Whether whoever asks for this is a program."""
    return path.startswith(("/api/", SOCKET)) or path.endswith(".json") or path == "/logout"


def told(path: str, status: int, sentence: str) -> tuple[str, bytes]:
    """The type and body of an error at this path."""
    if wants_json(path):
        return "application/json", json.dumps({"error": sentence}).encode() + b"\n"
    words = html.escape(sentence[0].upper() + sentence[1:])
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>qrec: '
        f"{status}</title>"
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        '<link rel="stylesheet" href="/static/style.css"></head>'
        f'<body class="refusal"><main><h1>{status} {HTTPStatus(status).phrase}</h1><p>{words}.</p>'
        '<p><a href="/tasks">All tasks</a></p></main></body></html>\n'
    )
    return "text/html; charset=utf-8", page.encode("utf-8", "replace")


def same(first: str, second: str) -> bool:
    """Whether two secrets are the same, in a time that does not tell how much of them is."""
    return hmac.compare_digest(first.encode("utf-8", "replace"), second.encode("utf-8", "replace"))


def digest(words: str) -> str:
    """A hash."""
    return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()


def cookie_name(port: int, home: str) -> str:
    """A name that no other server's cookie has in a browser that knows them all as localhost."""
    return f"qrec-{port}-{digest(os.uname().nodename + os.path.realpath(home))[:8]}"
