"""The ready-made hooks: a note on the desktop, by mail, to a web address; and what `run --notify` does.

Apprise sends them.  Its addresses may stand wherever one of ours may: `mail = "mailtos://me:secret@gmail.com"`,
`webhook = "ntfy://my-topic"`.
"""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from qrec.errors import QrecError
from qrec.hook_tables import LIMIT
from qrec.hooks import Hook
from qrec.task import Task
from qrec.units import counted, duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST = 200  #: characters of a command in a title
SERVER = "localhost:25"
#: How a mail server is spoken to, by the scheme of its address: apprise's scheme and mode.
MAIL = {"smtp": ("mailto", "insecure"), "starttls": ("mailtos", "starttls"), "smtps": ("mailtos", "ssl")}
#: Apprise's addresses of desktops; those that lack a library here are passed over.
DESKTOPS = ("dbus://", "glib://", "gnome://", "macosx://", "windows://")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class NotSent(QrecError):
    """A message could not be sent."""


class Notice(Hook):
    """Tells of an event in a few words."""

    def happen(self, task: Task) -> None:
        """See Hook: whatever it is, it is told."""
        self.send(task)

    def send(self, task: Task) -> None:
        """Tell it.  Raises NotSent."""
        raise NotImplementedError

    def title(self, task: Task) -> str:
        """What happened, in one line."""
        if self.event == "queue":
            return f"queue {UNPRINTABLE.sub(' ', str(task.queue))} has ended: {counted(self.told['jobs'])}"
        command = UNPRINTABLE.sub(" ", task.command)
        command = command if len(command) <= LONGEST else command[:LONGEST] + " ..."
        return f"{command}: {self.what(task)}"

    def what(self, task: Task) -> str:
        """What happened to it."""
        if self.event == "long":
            return f"still running after {duration(task.seconds)}"
        if self.event == "started":
            return "has started"
        ran = f" after {duration(task.seconds)}" if task.seconds is not None and self.event != "skipped" else ""
        reason = task.data.get("reason")
        return f"{task.status.value}{ran}{f' ({reason})' if reason else ''}"

    def body(self, task: Task) -> str:
        """More about it."""
        where = f"task {task.number} in {task.pwd} on {task.host}"
        note = [f"note: {task.message}"] if task.message else []
        return "\n".join([where, *note, *([""] if self.lines else []), *self.lines])


class Webhook(Notice):
    """A message to a web address: of ntfy, Slack and others in the form that they want, else as JSON."""

    def send(self, task: Task) -> None:
        """See Notice."""
        send([self.address(task)], self.title(task), self.body(task))

    def address(self, task: Task) -> str:
        """The address as apprise writes it."""
        url = str(self.settings["webhook"])
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or is_known(url):
            return url
        about = {
            "hook": self.told["hook"], "event": self.event, "uid": task.uid, "number": task.number,
            "status": task.status.value, "returncode": task.returncode, "command": task.command, "host": task.host,
            "seconds": task.seconds, "tags": " ".join(task.tags), "queue": task.queue,
        }  # fmt: skip
        if self.event == "queue":
            about["jobs"] = counted(self.told["jobs"])
        fields = [(f":{name}", "" if value is None else str(value)) for name, value in about.items()]
        fields += [(f"-{name}", value) for name, value in parse_qsl(parts.query)]
        scheme = "json" if parts.scheme == "http" else "jsons"
        return f"{scheme}://{parts.netloc}{parts.path}?{urlencode(fields, errors='replace', quote_via=quote)}"


class Mail(Notice):
    """A mail, by the server that the table names, or that of this machine."""

    def send(self, task: Task) -> None:
        """See Notice."""
        send([self.address()], self.title(task), self.body(task))

    def address(self) -> str:
        """The address as apprise writes it."""
        to = str(self.settings["mail"])
        if "://" in to:
            return to
        server = str(self.settings.get("server", SERVER))
        scheme, _, host = server.rpartition("://")
        if (scheme or "smtp") not in MAIL:
            raise NotSent(
                f"{server!r} is no mail server; write smtp://, starttls:// or smtps://USER:PASSWORD@HOST:PORT"
            )
        kind, mode = MAIL[scheme or "smtp"]
        sender = str(self.settings.get("sender", to))
        return f"{kind}://{host}?{urlencode({'to': to, 'from': sender, 'mode': mode})}"


class Desktop(Notice):
    """A note on the desktop of whoever's call of qrec noticed the event."""

    def send(self, task: Task) -> None:
        """See Notice."""
        if not is_on_desktop(self.title(task), self.body(task)):
            raise NotSent("no desktop is to be had from here: neither apprise nor notify-send reaches one")


class Notify(Notice):
    """What `--notify` asks for: to the addresses of the settings; else on the desktop, or in the terminal."""

    def send(self, task: Task) -> None:
        """See Notice."""
        if urls := self.settings.get("urls"):
            send(urls, self.title(task), self.body(task))
        elif not is_on_desktop(self.title(task), self.body(task)):
            ring(str(self.settings.get("terminal") or ""), f"task {task.number}: {self.title(task)}")


def send(urls: Sequence[str], title: str, body: str) -> None:
    """Send a message to all of these.  Raises NotSent with what apprise says."""
    import apprise

    # else four seconds: a slow server, or a busy machine, is given all the time that a hook has
    apprise.URLBase.socket_connect_timeout = apprise.URLBase.socket_read_timeout = LIMIT
    with apprise.LogCapture(level=apprise.logging.WARNING) as log:  # type: ignore[no-untyped-call]
        sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="qrec", app_desc="qrec", app_url=""))
        if not sender.add(list(urls)):
            raise NotSent(f"an address cannot be understood; {said(log)}")
        if not sender.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT):
            raise NotSent(f"it could not be sent; {said(log)}")


def said(log: object) -> str:
    """The last line of what apprise said, without the time."""
    lines = str(getattr(log, "getvalue", str)()).strip().splitlines()
    return lines[-1].rpartition(" - ")[2] if lines else "apprise does not say why"


def is_known(url: str) -> bool:
    """Whether an ordinary web address is that of a service which apprise knows."""
    import apprise

    return apprise.Apprise.instantiate(url, suppress_exceptions=True) is not None


def is_on_desktop(title: str, body: str) -> bool:
    """Show a note on a desktop; False if there is none."""
    import apprise

    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS")):
        return False
    for address in DESKTOPS:
        sender = apprise.Apprise()
        if sender.add(address) and sender.notify(title=title, body=body):
            return True
    return is_shown_by_program(title, body)


def is_shown_by_program(title: str, body: str) -> bool:
    """The same by notify-send, which needs no library."""
    import subprocess

    words = ["notify-send", "--app-name=qrec", "--", title, body]
    try:
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
    except (OSError, ValueError):
        return False


def ring(terminal: str, line: str) -> None:
    """Ring a terminal's bell, and write a line to it.  Raises NotSent."""
    line = f"\r\n\aqrec: {UNPRINTABLE.sub(' ', line)}\r\n"
    try:
        file = os.open(terminal, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        file = -1
    try:
        if file < 0 or not os.isatty(file) or os.fstat(file).st_uid != os.getuid():
            raise NotSent("there is neither a desktop nor that terminal any more; `qrec config set notify URL` helps")
        os.write(file, line.encode("utf-8", "replace"))
    except OSError as error:
        raise NotSent(f"{terminal} takes nothing: {error.strerror}") from None
    finally:
        if file >= 0:
            os.close(file)
