"""Who may talk to the server: every row of the security list that needs no browser."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from qrec.dashboard.guard import HEADERS, POLICY, Guard, Sessions
from qrec.output import attempt_folder
from qrec.stores.sqlite import SqliteStore
from qrec.task import Status
from tests.dashboard.served import Answer, Served, free_port
from tests.helpers import wait_until

EVIL = "http://evil.example"
UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
POLLING = "/socket.io/?EIO=4&transport=polling"


@pytest.fixture
def task(home, qrec) -> str:
    """A task that notes in a file each time it runs."""
    qrec("run", "-q", "sh", "-c", "echo ran >> ran", check=True)
    return "1"


def runs(tmp_path: Path) -> int:
    """How often it ran."""
    return (tmp_path / "ran").read_text().count("ran")


def tokens(served: Served) -> str:
    return served.url().partition("token=")[2]


# 1: where it listens


def listening(pid: int) -> set[str]:
    """The addresses of a process's TCP sockets that listen."""
    import psutil

    found = psutil.Process(pid).net_connections("tcp")
    return {connection.laddr.ip for connection in found if connection.status == "LISTEN"}


def test_it_listens_on_loopback_only(server):
    assert listening(server.process.pid) == {"127.0.0.1"}


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])
def test_another_host_is_refused_unless_the_user_knows(qrec, host):
    refused = qrec("start", "--no-open", "--port", "0", "--host", host)
    assert refused.returncode == 2
    assert "--i-know" in refused.err
    assert refused.err.count("\n") == 1


def test_a_user_who_knows_is_also_called_by_the_machines_name(serve):
    served = serve("--host", "0.0.0.0", "--i-know")
    assert served.first_url.startswith(f"http://{os.uname().nodename}:{served.port}/?token="), "0.0.0.0 leads nowhere"
    cookie = {"Cookie": served.log_in()["Cookie"]}
    assert served.ask("GET", "/tasks.json", {**cookie, "Host": f"{os.uname().nodename}:5000"}).status == 200
    assert served.ask("GET", "/tasks.json", {**cookie, "Host": "evil.example"}).status == 421
    assert served.ask("GET", "/tasks.json").status == 401, "a token is needed all the same"


def test_a_name_that_resolves_is_admitted_with_that_name(serve):
    name = os.uname().nodename
    served = serve("--host", name, "--i-know")
    address = socket.gethostbyname(name)
    assert listening(served.process.pid) == {address}
    assert served.first_url.startswith(f"http://{name}:")

    def ask(host: str) -> int:
        connection = http.client.HTTPConnection(address, served.port, timeout=60)
        connection.request("GET", "/tasks.json", headers={"Host": host})
        status = connection.getresponse().status
        connection.close()
        return status

    assert ask(f"{name}:{served.port}") == 401, "known, and without a session"
    assert ask("evil.example") == 421


def test_a_name_that_does_not_resolve_is_said(qrec):
    refused = qrec("start", "--no-open", "--port", "0", "--host", "nowhere.invalid", "--i-know")
    assert refused.returncode != 0
    assert refused.err.startswith("qrec: cannot listen on nowhere.invalid")
    assert refused.err.count("\n") == 1


def test_a_unix_socket_is_the_users_alone(serve, tmp_path):
    path = tmp_path / "dash.sock"
    served = serve("--unix", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert listening(served.process.pid) == set()
    assert served.get("/tasks.json").status == 200
    assert served.end() == 0
    assert not path.exists()


# 2: the secret


def test_the_secret_is_in_a_private_file_and_nowhere_else(server, home):
    server.log_in()
    for name in ("server.json", "sessions.json", "lock"):
        assert stat.S_IMODE((server.folder / name).stat().st_mode) == 0o600
    for folder in (server.folder, home / "dashboard"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    secret = server.known["secret"]
    assert len(secret) >= 43, "256 bits"
    told = b"".join(Path(f"/proc/{server.process.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    assert secret.encode() not in told
    key = server.session["Cookie"].partition("=")[2]
    assert key not in (server.folder / "sessions.json").read_text(), "only its hash"


def test_a_verbose_log_holds_no_token(serve):
    served = serve("--debug")
    token = served.first_url.partition("token=")[2]
    assert served.ask("GET", f"/?token={token}").status == 303
    served.end()
    log = served.process.stderr.read().decode()
    assert "GET / 303" in log
    assert token not in log
    assert served.known["secret"] not in log


def test_a_wrong_secret_opens_nothing(server):
    for authorization in ("Bearer wrong", "Bearer ", "Bearer", "Basic abc", "", "Bearer \xff"):
        headers = {"Authorization": authorization, "Cookie": server.log_in()["Cookie"]}
        assert server.ask("GET", "/tasks.json", headers).status == 401, authorization


def test_the_secret_opens_everything(server, task, tmp_path):
    headers = {"Authorization": f"Bearer {server.known['secret']}", "Content-Type": "application/json"}
    assert server.ask("GET", "/tasks.json", headers).status == 200
    answer = server.ask("POST", f"/api/tasks/{task}/rerun", headers, b"{}")
    assert answer.status == 200, answer
    wait_until(lambda: runs(tmp_path) == 2)


# 3, 4: tokens and cookies


def test_a_token_is_good_once(server):
    token = server.first_url.partition("token=")[2]
    first = server.ask("GET", f"/tasks?token={token}")
    assert (first.status, first.headers["Location"]) == (303, "/tasks")
    assert first.headers["Referrer-Policy"] == "no-referrer"
    assert server.ask("GET", "/tasks.json", {"Cookie": first.cookie}).status == 200
    again = server.ask("GET", f"/tasks?token={token}")
    assert again.status == 401
    assert "Set-Cookie" not in again.headers


def test_a_used_address_still_leads_there_with_the_session_that_it_opened(server):
    url = server.first_url.partition("127.0.0.1")[2].partition("/")[2]
    cookie = server.ask("GET", f"/{url}").cookie
    assert server.ask("GET", f"/{url}", {"Cookie": cookie}).status == 303


def test_a_token_leads_to_no_other_site(server):
    for path in ("//evil.example/", "/\\evil.example/", "/%2f%2fevil.example/", "/a%0d%0aSet-Cookie:x=y"):
        location = server.ask("GET", f"{path}?token={tokens(server)}").headers["Location"]
        assert re.fullmatch(r"/|/[^/\\][^\r\n]*", location), location


def test_a_browser_that_was_led_from_a_file_keeps_the_session(server):
    """It would follow a redirect without the cookie."""
    answer = server.ask("GET", f"/?token={tokens(server)}", {"Sec-Fetch-Site": "cross-site"})
    assert (answer.status, answer.body.count(b'content="0;url=/"')) == (200, 1)
    assert server.ask("GET", "/tasks.json", {"Cookie": answer.cookie}).status == 200


def test_wrong_tokens_are_soon_not_looked_at(server):
    statuses = [server.ask("GET", f"/?token=guess{number}").status for number in range(14)]
    assert statuses[:10] == [401] * 10
    assert set(statuses[10:]) == {429}
    assert server.ask("GET", f"/?token={tokens(server)}").status == 303, "who has a good one is not kept out"


def test_the_cookie_is_for_this_server_and_no_script(server):
    words = server.ask("GET", f"/?token={tokens(server)}").headers["Set-Cookie"]
    name, _, rest = words.partition("=")
    assert name.startswith(f"qrec-{server.port}-")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(rest.split("; "))


def test_two_servers_side_by_side_stay_logged_in(serve, server, start, tmp_path):
    other_home = tmp_path / "other"
    other = Served(start("--home", other_home, "start", "--no-open", "--port", "0"), other_home)
    both = f"{server.log_in()['Cookie']}; {other.log_in()['Cookie']}"
    assert server.session["Cookie"] != other.session["Cookie"]
    assert [one.ask("GET", "/tasks.json", {"Cookie": both}).status for one in (server, other)] == [200, 200]


def test_cookies_of_other_programs_are_in_nobodys_way(server):
    ours = server.log_in()["Cookie"]
    name = ours.partition("=")[0]
    for others in ('a={"b": "c, d"}', "x", "=", ";;", "a b=c", f"{name}=", f"{name}=old"):
        assert server.ask("GET", "/tasks.json", {"Cookie": f"{others}; {ours}"}).status == 200, others


def test_logging_out_ends_the_session(server):
    cookie = server.log_in()["Cookie"]
    with server.connect() as page:
        assert server.post("/logout").status == 200
        assert server.ask("GET", "/tasks.json", {"Cookie": cookie}).status == 401
        wait_until(lambda: not page.connected, what="its sockets to close")


def test_a_session_outlives_the_server_and_ends_with_its_age(serve, home, tmp_path):
    port = str(free_port())
    first = serve("--port", port)
    cookie = first.log_in()["Cookie"]
    first.end()
    again = serve("--port", port)
    assert again.ask("GET", "/tasks.json", {"Cookie": cookie}).status == 200
    sessions = Sessions(str(tmp_path / "s.json"), "secret")
    key = sessions.exchange(sessions.token()) or ""
    assert sessions.session(key)
    sessions.known = {name: began - 8 * 86400 for name, began in sessions.known.items()}
    assert sessions.session(key) is None


# 5: whose name the request is for


def test_loopback_by_any_port_is_answered(server):
    for host in ("127.0.0.1", "localhost", "localhost:9000", "127.0.0.1:1", "[::1]:5000", "LOCALHOST:5000"):
        headers = {"Host": host, "Cookie": server.log_in()["Cookie"]}
        assert server.ask("GET", "/tasks.json", headers).status == 200, host


STRANGE = (
    "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "127.0.0.1.evil.example:5000", "localhost:5000@evil",
    "evil.example#localhost", "localhost:", "localhost:x", "", " ", "localhost, evil.example", "127.1", "0.0.0.0",
    "2130706433", "[::ffff:127.0.0.1]", "localhost.", None,
)  # fmt: skip


def test_any_other_name_is_not_ours(server):
    cookie, token = server.log_in()["Cookie"], tokens(server)
    for host in STRANGE:
        for path in ("/", "/tasks.json", "/static/lib.js", POLLING, "/api/token", f"/?token={token}"):
            assert server.ask("GET", path, {"Host": host, "Cookie": cookie}).status == 421, (host, path)
    assert server.ask("GET", f"/?token={token}").status == 303, "nor was the token taken from anybody"


def test_a_whole_url_in_the_request_counts_as_the_name(server):
    assert server.ask("GET", "http://evil.example/tasks.json", server.log_in()).status == 421


def test_a_name_that_comes_twice_is_none(server):
    with socket.create_connection(("127.0.0.1", server.port)) as wire:
        wire.sendall(f"GET /tasks.json HTTP/1.1\r\nHost: {server.host}\r\nHost: evil.example\r\n\r\n".encode())
        assert b" 421 " in wire.recv(100)


# 6: whose page asks


def websocket(served: Served, **headers: str | None) -> int:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return served.ask("GET", WEBSOCKET, {**UPGRADE, **given}).status


def test_the_pages_of_others_are_refused(server, task, tmp_path):
    ours = {**server.log_in(), "Content-Type": "application/json"}
    for origin in (EVIL, "null", "", "https://127.0.0.1", "http://localhost:1", "http://127.0.0.1:1"):
        theirs = {**ours, "Origin": origin}
        told = [
            websocket(server, **{"Cookie": ours["Cookie"], "Origin": origin}),
            server.ask("GET", POLLING, theirs).status,
            server.ask("POST", POLLING, theirs, b"40").status,
            server.ask("POST", f"/api/tasks/{task}/rerun", theirs, b"{}").status,
            server.ask("DELETE", f"/api/tasks/{task}", theirs).status,
            server.ask("GET", "/tasks.json", theirs).status,
        ]
        assert told == [403] * 6, origin
    assert server.ask("POST", f"/api/tasks/{task}/rerun", {**ours, "Host": "evil.example"}, b"{}").status == 421
    assert runs(tmp_path) == 1


def test_a_page_that_was_rebound_to_us_is_refused(server):
    """Host and Origin agree, and both are somebody else's: engine.io alone would let it in."""
    cookie = server.log_in()["Cookie"]
    assert websocket(server, Host="evil.example", Origin=EVIL, Cookie=cookie) == 421


def test_what_a_browser_says_of_other_sites_is_believed(server):
    for site in ("cross-site", "same-site", "nonsense"):
        headers = {"Cookie": server.log_in()["Cookie"], "Sec-Fetch-Site": site}
        assert server.ask("GET", "/tasks", headers).status == 403, site
        assert server.ask("GET", "/static/lib.js", headers).status == 403, site


def test_our_own_pages_are_let_in(server):
    ours = server.log_in()
    assert websocket(server, Cookie=ours["Cookie"], Origin=server.base) == 101
    assert server.ask("GET", POLLING, {**ours, "Sec-Fetch-Site": "same-origin"}).status == 200
    through_ssh = {"Host": "localhost:9000", "Origin": "http://localhost:9000"}
    assert websocket(server, Cookie=ours["Cookie"], **through_ssh) == 101


# 7: what changes something

MUTATING = [
    "/api/tasks/1/rerun", "/api/tasks/1/edit", "/api/tasks/1/note", "/api/tasks/1/tag", "/api/tasks/1/cancel",
    "/api/tasks/1/status", "/api/bulk", "/logout",
]  # fmt: skip


def refusals(server: Served, path: str) -> dict[str, Answer]:
    """The ways in which another site, or nobody in particular, may ask for a change."""
    ours = {**server.log_in(), "Content-Type": "application/json"}
    body = b'{"action": "rerun", "ids": [1], "message": "x"}'

    def but(**changed: str | None) -> dict[str, str | None]:
        return {**ours, **{name.replace("_", "-"): value for name, value in changed.items()}}

    return {
        "a form": server.ask("POST", path, but(Content_Type="application/x-www-form-urlencoded"), b"a=b"),
        "plain text": server.ask("POST", path, but(Content_Type="text/plain"), body),
        "no type": server.ask("POST", path, but(Content_Type=None), body),
        "no CSRF": server.ask("POST", path, but(X_Qrec_CSRF=None), body),
        "wrong CSRF": server.ask("POST", path, but(X_Qrec_CSRF="0" * 64), body),
        "no origin": server.ask("POST", path, but(Origin=None), body),
        "GET": server.ask("GET", path, ours),
        "PUT": server.ask("PUT", path, ours, body),
        "no cookie": server.ask("POST", path, but(Cookie=None), body),
        "a wrong cookie": server.ask("POST", path, but(Cookie=f"{ours['Cookie']}x"), body),
    }


def test_nobody_else_can_change_anything(server, task, tmp_path):
    before = server.get("/tasks.json").json["sequence"]
    for path in MUTATING:
        told = {way: answer.status for way, answer in refusals(server, path).items()}
        assert {told.pop("no cookie"), told.pop("a wrong cookie")} == {401}, path
        assert {told.pop("GET"), told.pop("PUT")} <= {403, 404, 405}, path
        assert set(told.values()) == {403}, (path, told)
        assert server.get("/tasks.json").json["sequence"] == before, path
    assert runs(tmp_path) == 1


def test_deleting_needs_the_same(server, task):
    ours = server.log_in()
    for missing in ("X-Qrec-CSRF", "Origin"):
        assert server.ask("DELETE", "/api/tasks/1", {**ours, missing: None}).status == 403
    assert server.ask("DELETE", "/api/tasks/1", {**ours, "Cookie": None}).status == 401
    assert server.get("/tasks/1.json").status == 200


def routes() -> list[tuple[str, str]]:
    """Every route there is, with its methods."""
    from flask import Flask

    from qrec.dashboard.app import make_app
    from qrec.dashboard.doors import Doors

    app: Flask = make_app(Doors())  # type: ignore[arg-type]
    return [(method, rule.rule) for rule in app.url_map.iter_rules() for method in sorted(rule.methods or ())]


def test_every_route_needs_a_session(server):
    for method, rule in routes():
        path = re.sub(r"<(\w+:)?\w+>", "1", rule)
        answer = server.ask(method, path, {"Content-Type": "application/json"}, b"{}" if method == "POST" else None)
        assert answer.status == 401 or path.startswith("/static/"), (method, path, answer)


def test_whatever_changes_something_is_no_get(home):
    safe = {"GET", "HEAD", "OPTIONS"}
    changing = {rule for method, rule in routes() if method not in safe}
    assert all(rule.startswith("/api/") or rule == "/logout" for rule in changing)
    assert not [rule for method, rule in routes() if method == "GET" and rule.startswith("/api/")]


# 8: sockets only read


def test_a_socket_can_do_nothing(server, task, tmp_path):
    before = server.get("/tasks.json").json["sequence"]
    with server.connect() as page:
        for name in ("rerun", "cancel", "delete", "clear", "run", "exec", "note", "changed", "bye"):
            page.emit(name, {"task": "1", "cmd": "touch hacked"})
        wrong: list[object] = [
            None,
            1,
            "tasks",
            [],
            {},
            {"task": 7},
            {"tasks": True, "live": True},
            {"task": "x" * 10_000},
        ]
        for what in wrong:
            page.watch(what)
        page.emit("watch", 1, 2, 3)
        page.watch({"tasks": True})
    assert server.get("/tasks.json").json["sequence"] == before
    assert runs(tmp_path) == 1
    assert not (tmp_path / "hacked").exists()


def test_these_are_all_that_a_socket_may_say(home):
    from qrec.dashboard.app import make_app
    from qrec.dashboard.doors import Doors
    from qrec.dashboard.feed import Feed

    doors = Doors()
    feed = Feed(doors)
    feed.attach(make_app(doors, feed))  # type: ignore[arg-type]
    assert set(feed.io.server.handlers["/"]) == {"connect", "disconnect", "watch", "unwatch"}
    feed.end()
    feed.ear.close()


def test_a_socket_needs_a_session(server):
    for path, headers in ((WEBSOCKET, UPGRADE), (POLLING, {})):
        for cookie in (None, "a=b", f"{server.log_in()['Cookie']}x"):
            asked = {**headers, "Origin": server.base, "Cookie": cookie}
            assert server.ask("GET", path, asked).status == 401, (path, cookie)


# 9: what may be run


def test_a_rerun_takes_no_command(server, task, tmp_path):
    body = {"cmd": "touch hacked", "command": "touch hacked", "argv": ["touch", "hacked"], "cwd": "/"}
    assert server.post(f"/api/tasks/{task}/rerun", body).status == 200
    wait_until(lambda: runs(tmp_path) == 2)
    assert not (tmp_path / "hacked").exists()
    assert server.get("/tasks.json").json["total"] == 1


def test_commands_are_written_only_where_that_is_allowed(server, task):
    answer = server.post(f"/api/tasks/{task}/edit", {"argv": ["touch", "hacked"]})
    assert answer.status in (403, 409)
    assert "--allow-edit" in answer.json["error"]
    assert server.get("/tasks.json").json["total"] == 1


def test_an_edited_command_is_words_and_never_a_line(serve, task, tmp_path):
    served = serve("--allow-edit")
    word = "a; touch hacked; $(touch hacked)"
    for argv in (["printf", "%s", word], ["./a; touch hacked"]):
        served.post(f"/api/tasks/{task}/edit", {"argv": argv})
    wait_until(lambda: not served.get("/tasks.json?status=running,queued").json["tasks"])
    newest = served.get("/tasks/2.json").json["task"]
    assert newest["argv"] == ["printf", "%s", word]
    assert not (tmp_path / "hacked").exists()
    wrong: list[object] = ["touch hacked", [], [""], [["touch"]], None, {"0": "touch"}]
    for words in wrong:
        assert served.post(f"/api/tasks/{task}/edit", {"argv": words}).status == 400, words


# 10: a server that only shows


def test_a_read_only_server_changes_nothing(serve, task, tmp_path):
    served = serve("--read-only", "--allow-edit")
    before = served.get("/tasks.json").json["sequence"]
    for path in MUTATING[:-1]:
        answer = served.post(path, {"action": "rerun", "ids": [1], "argv": ["true"], "message": "x"})
        assert (answer.status, "--read-only" in answer.json["error"]) == (403, True), path
    assert served.delete("/api/tasks/1").status == 403
    bearer = {"Authorization": f"Bearer {served.known['secret']}", "Content-Type": "application/json"}
    assert served.ask("POST", "/api/tasks/1/rerun", bearer, b"{}").status == 403
    assert served.get("/tasks.json").json["sequence"] == before
    assert runs(tmp_path) == 1
    assert served.post("/logout").status == 200


# 11: headers


def test_every_answer_has_the_headers(server, task):
    ours = server.log_in()
    answers = {
        path: server.get(path)
        for path in ("/", "/tasks", "/tasks/1", "/tasks/77", "/tasks.json", "/live", "/nowhere", "/nowhere.json",
                     "/static/lib.js", "/static/nowhere", "/tasks.json?sort=x", POLLING)
    }  # fmt: skip
    answers["401"] = server.ask("GET", "/tasks")
    answers["421"] = server.ask("GET", "/tasks", {"Host": "evil"})
    answers["413"] = server.ask("POST", "/api/bulk", {**ours, "Content-Length": "70000"})
    answers["405"] = server.ask("PUT", "/tasks", ours)
    answers["token"] = server.ask("GET", f"/?token={tokens(server)}")
    answers["secret"] = server.ask("GET", "/api/token")
    for path, answer in answers.items():
        for name, value in HEADERS:
            assert answer.headers.get_all(name) == [value], (path, name)
        if not path.startswith("/static/"):
            assert answer.headers.get_all("Cache-Control") == ["no-store"], path
        assert "Access-Control-Allow-Origin" not in answer.headers, path
        assert "erkzeug" not in str(answer.headers), path


def test_the_policy_lets_nothing_in_line_or_from_elsewhere():
    rules = dict(rule.split(" ", 1) for rule in POLICY.split("; "))
    assert rules["default-src"] == "'none'"
    assert set(" ".join(rules.values()).split()) == {"'none'", "'self'", "data:"}
    assert "data:" in rules["img-src"]
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"


def test_pages_hold_no_script_and_no_style(server, task):
    for path in ("/tasks", "/tasks/1", "/live", "/queues", "/tasks/77", "/executor/shell"):
        page = server.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+\s*=|javascript:", page, re.I), path
        assert not re.search(r"""(src|href)=["'](https?:)?//""", page), path


# 12 to 14: what is shown


def test_hostile_words_stay_words(server, qrec):
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x1b]0;title\x07"
    qrec("run", "-q", "-m", hostile, "-t", hostile, "true", hostile, check=True)
    page = server.get("/tasks/1").text
    assert "<img" not in page.partition("<body")[2]
    told = server.get("/tasks.json")
    assert told.headers["Content-Type"] == "application/json"
    assert told.json["tasks"][0]["message"] == hostile
    missing = server.get("/tasks/%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    assert missing.status == 404
    assert "<script>alert" not in missing.text


def test_secrets_in_old_records_are_covered(server, home, qrec):
    """Records that were made before their secrets were known as such."""
    qrec("run", "-q", "true", check=True)
    secret = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"
    store = SqliteStore(str(home))
    task = store.numbered(1)
    store.add(task.copy(
        uid=task.uid[:-4] + "0000", status=Status.COMPLETE, argv=("curl", "-H", f"Authorization: token {secret}"),
        message=f"with {secret}", tags=(secret,), facts={"environment": {"GITHUB_TOKEN": secret}},
        data={"note": {"deep": [secret]}},
    ))  # fmt: skip
    for path in ("/tasks.json", "/tasks/2.json", "/tasks/2", "/tasks/2/why.json", "/tasks/2/diff.json?with=1",
                 "/tasks.json?q=curl", "/tasks.json?sort=seconds"):  # fmt: skip
        answer = server.get(path)
        assert answer.status == 200, answer
        assert secret not in answer.text, path
    with server.connect() as page:
        page.watch({"tasks": True})
        qrec("note", "2", f"now {secret}", check=True)
        wait_until(lambda: [one for one in page.told("changed") if one.get("tasks")])
        assert secret not in json.dumps(page.heard)


OUTSIDE = (
    "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "%2Fetc%2Fpasswd",
    "1/../../x", "link/secret", "%00", "..\\..\\x",
)  # fmt: skip
PLACES = ("/tasks/{}", "/tasks/{}.json", "/tasks/{}/log.txt", "/static/{}", "/tasks/{}/log.json")


def test_no_path_leads_outside(server, task, home, tmp_path):
    (tmp_path / "secret").write_text("root:x:0")
    (home / "link").symlink_to(tmp_path)
    for path in (place.format(name) for name in OUTSIDE for place in PLACES):
        answer = server.get(path)
        assert answer.status in (303, 308, 400, 404), path
        assert answer.headers["Location"] is None or answer.headers["Location"].startswith(f"{server.base}/"), path
        assert "root:x:0" not in answer.text, path


@pytest.mark.parametrize("what", ["stdout", "folder", "pipe", "stdout.gz"])
def test_a_link_in_the_place_of_an_output_leads_nowhere(kind, server, home, qrec, tmp_path, what):
    """Nor does a pipe keep the server waiting."""
    printed = "".join(f"line {n}\n" for n in range(20_000))
    (tmp_path / "printed").write_text(printed)
    qrec("run", "-q", "cat", "printed", check=True)
    uid = server.get("/tasks/1.json").json["task"]["uid"]
    folder = Path(attempt_folder(str(home), uid, 1))
    assert "line 19999" in server.get("/tasks/1/log.txt").text
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "stdout").write_text("root:x:0\n")
    (folder / "stdout").unlink()
    if what == "folder":
        shutil.rmtree(folder)
        folder.symlink_to(outside)
    elif what == "pipe":
        os.mkfifo(folder / "stdout")
    else:
        (folder / what).symlink_to(outside / "stdout")
    for path in ("log.json", "log.txt", "log.txt?view=shown", "search.json?q=root", "why.json"):
        answer = server.get(f"/tasks/1/{path}")
        assert answer.status == 200, (path, answer)
        assert "root:x" not in answer.text, path
    assert server.get("/tasks/1/search.json?q=root").json["count"] == 0
    assert server.get("/tasks.json?q=root").json["tasks"] == []


# 15, 16: nothing that helps an attacker


@pytest.mark.parametrize("words", [(), ("--debug",)])
def test_there_is_no_debugger(serve, words):
    served = serve(*words)
    assert served.get("/console").status == 404
    assert served.get("/?__debugger__=yes&cmd=resource&f=debugger.js").status in (303, 404)
    wrong = served.get("/tasks.json?after=nonsense")
    assert wrong.status == 400
    assert "Traceback" not in wrong.text


def test_a_body_is_short(server):
    ours = {**server.log_in(), "Content-Type": "application/json"}
    body = json.dumps({"ids": ["x" * 70_000]}).encode()
    assert server.ask("POST", "/api/bulk", ours, body).status == 413
    assert server.ask("POST", POLLING, ours, body).status == 413
    chunked = {**ours, "Transfer-Encoding": "chunked", "Content-Length": None}
    assert server.ask("POST", "/api/bulk", chunked).status == 413
    for length in ("-1", "1e3", "99999999999999999999999"):
        assert server.ask("POST", "/api/bulk", {**ours, "Content-Length": length}).status == 413


def test_forwarded_headers_mean_nothing(server):
    forged = {
        "X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/evil", "Forwarded": "for=1.2.3.4;host=evil.example", "X-Real-IP": "10.0.0.1",
    }  # fmt: skip
    assert server.ask("GET", "/tasks.json", forged).status == 401
    front = server.ask("GET", "/", {**forged, "Cookie": server.log_in()["Cookie"]})
    assert (front.status, front.headers["Location"]) == (303, "/tasks")
    assert server.ask("GET", "/tasks.json", {**server.session, **forged, "Host": "evil.example"}).status == 421


def test_the_guard_lets_nothing_through_before_it_has_looked():
    """Whatever stands behind it is not even called."""
    called: list[object] = []

    def behind(environ: dict[str, Any], start: object) -> list[bytes]:
        called.append(environ)
        return []

    guard = Guard(behind, Sessions("/nowhere/at/all", "s"), "c")
    told: list[str] = []
    for environ in ({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, {"REQUEST_METHOD": "POST", "HTTP_HOST": "localhost"}):
        guard(environ, lambda status, headers, exc_info=None: told.append(status))
    assert [status[:3] for status in told] == ["421", "401"]
    assert called == []


def test_nothing_is_asked_of_the_network(server, tmp_path):
    """Not by the server, either: it has no connections but those that came to it."""
    import psutil

    server.get("/tasks")
    open_now = psutil.Process(server.process.pid).net_connections("inet")
    assert {one.laddr.port for one in open_now} == {server.port}


def test_a_program_that_sends_nothing_holds_up_nobody(server):
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    try:
        assert server.get("/tasks.json").status == 200
    finally:
        for one in idle:
            one.close()


def test_the_browser_is_not_given_its_token_in_words(home, start, tmp_path):
    """Everybody may read a program's arguments; so the browser is given a private file."""
    shown = tmp_path / "shown"
    browser = tmp_path / "a-browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {shown}.new; mv {shown}.new {shown}\n')
    browser.chmod(0o755)
    served = Served(start("start", "--open", "--port", "0", env={"BROWSER": f"{browser} %s"}), home)
    wait_until(shown.exists)
    address = shown.read_text().strip()
    assert "token=" not in address
    page = Path(address.removeprefix("file://"))
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert served.first_url in page.read_text()
