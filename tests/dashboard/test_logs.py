"""What the server answers about a log."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, jsonify
from flask.testing import FlaskClient

from qrec.api import Qrec
from qrec.dashboard import logs, seek
from qrec.dashboard.doors import Doors
from qrec.errors import NoSuchTask, QrecError
from qrec.executors.joboutput import Growing
from qrec.output import LINE, Files, InStore, OfJob, attempt_folder, merged
from qrec.redact import Redactor
from qrec.task import Kept, Task
from tests.dashboard.served import in_turn
from tests.helpers import wait_until

SECRET = "ghp_" + "abcDEF1234567890abcDEF1234567890abcd"


@pytest.fixture
def ask(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Asks the routes of the log: `ask("/tasks/1/log.json", count=3)`; they have all the time they need."""
    for module, name in ((logs, "LOOK"), (logs, "SEARCH_LOOK"), (seek, "PATIENCE"), (seek, "LIMIT")):
        monkeypatch.setattr(module, name, 60)
    app = Flask("tiny")
    door = Doors(str(home))
    logs.register(app, door)  # type: ignore[arg-type]
    app.teardown_request(lambda _: door.give_back())

    @app.errorhandler(QrecError)
    def said(error: QrecError) -> Any:
        return jsonify(error=str(error)), 404 if isinstance(error, NoSuchTask) else 400

    def ask(path: str, code: int = 200, **query: Any) -> Any:
        client: FlaskClient = app.test_client()
        query = {name.rstrip("_"): value for name, value in query.items()}
        answer = client.get(path, query_string=query)
        assert answer.status_code == code, answer.text
        return answer.json if answer.is_json else answer

    return ask


@pytest.fixture
def printed(qrec, tmp_path: Path) -> Callable[[bytes], None]:
    """Records a command that prints these bytes."""

    def printed(content: bytes) -> None:
        (tmp_path / "printed").write_bytes(content)
        qrec("run", "-q", "cat", "printed", check=True)

    return printed


def texts(answer: Any) -> list[str]:
    return [line["text"] for line in answer["lines"]]


# Windows


def test_both_streams_in_order_with_their_times(kind, qrec, ask):
    qrec("run", "-q", "sh", "-c", in_turn("one", "!two", "three", pause=0.2), check=True)
    told = ask("/tasks/1/log.json")
    assert texts(told) == ["one", "two", "three"]
    assert [line["s"] for line in told["lines"]] == ["o", "e", "o"]
    assert [line["n"] for line in told["lines"]] == [1, 2, 3]
    times = [line["t"] for line in told["lines"]]
    assert times == sorted(times)
    assert times[0] < times[2] >= 400  # they are the times of reading, which may come late but never early
    assert (told["total"], told["bytes"], told["growing"]) == (3, 14, False)
    assert told["sizes"] == {"stdout": 10, "stderr": 4}
    alone = ask("/tasks/1/log.json", stream="stdout")
    assert [(line["n"], line["text"]) for line in alone["lines"]] == [(1, "one"), (2, "three")]


def test_any_window_of_a_large_log(printed, ask):
    printed(b"".join(b"line %d\n" % n for n in range(1, 50_001)))
    assert texts(ask("/tasks/1/log.json", from_=30_000, count=2)) == ["line 30000", "line 30001"]
    assert texts(ask("/tasks/1/log.json", from_=-2)) == ["line 49999", "line 50000"]
    assert texts(ask("/tasks/1/log.json", from_=50_001)) == []
    assert ask("/tasks/1/log.json", from_=30_000, count=1)["first"] == 30_000
    assert texts(ask("/tasks/1/log.json", at=77, count=1)) == ["line 77"]


def test_a_compressed_log_is_read_as_before(qrec, printed, ask, home):
    content = b"".join(b"line %d of many\n" % n for n in range(1, 20_001))
    printed(content)
    before = ask("/tasks/1/log.json", from_=15_000)
    qrec("gc", "-y", "--compress", check=True)
    assert list(home.glob("attempts/*/*/stdout.gz"))
    assert ask("/tasks/1/log.json", from_=15_000) == before
    assert ask("/tasks/1/search.json", q="line 15000 ")["lines"] == [15_000]


def test_attempts_have_logs_of_their_own(qrec, ask, tmp_path):
    (tmp_path / "what").write_text("first\n")
    qrec("run", "-q", "cat", "what", check=True)
    (tmp_path / "what").write_text("second\n")
    qrec("rerun", "-q", "1", check=True)
    assert texts(ask("/tasks/1/log.json")) == ["second"]
    assert texts(ask("/tasks/1/log.json", attempt=1)) == ["first"]
    assert "3" in ask("/tasks/1/log.json", 400, attempt=3)["error"]


def test_frames_are_folded_and_unfolded(printed, ask):
    printed(b"a\r\n10%\r50%\r100%\nend\n")
    told = ask("/tasks/1/log.json")
    assert texts(told) == ["a", "100%", "end"]
    assert [line["frames"] for line in told["lines"]] == [0, 2, 0]
    told = ask("/tasks/1/log.json", frames=1)
    assert texts(told) == ["a", "10%", "50%", "100%", "end"]
    assert [line["n"] for line in told["lines"]] == [1, 2, 2, 2, 3]
    assert told["total"] == 5
    assert ask("/tasks/1/log.json", frames=1, at=3)["first"] == 5


def test_a_bar_that_wipes_itself_out_shows_its_last_state(printed, ask):
    printed(b"10%\r100%\r\x1b[K\nnext\r\n")
    assert texts(ask("/tasks/1/log.json")) == ["100%", "next"]


def test_a_line_without_end_comes_in_pieces_of_whole_characters(printed, ask):
    printed("é".encode() * 20_001)
    told = ask("/tasks/1/log.json")
    assert told["total"] == 3
    assert "".join(texts(told)) == "é" * 20_001
    assert len(texts(told)[0].encode()) == 16 * 1024


def test_what_follows_a_long_line_has_its_number(printed, ask):
    printed(b"L" * 40_000 + b"\nend\n")
    told = ask("/tasks/1/log.json")
    assert [(line["n"], line["rest"]) for line in told["lines"]] == [(1, False), (1, True), (1, True), (2, False)]
    assert (told["total"], told["numbered"]) == (4, 2)
    assert texts(ask("/tasks/1/log.json", at=2)) == ["end"]
    assert ask("/tasks/1/log.txt", view="shown").text == "L" * 40_000 + "\nend\n"
    timed = ask("/tasks/1/log.txt", view="shown", clock="relative").text
    assert re.fullmatch(r"\d\.\d{3}\tL{40000}\n\d\.\d{3}\tend\n", timed)


def test_an_answer_is_bounded(printed, ask):
    printed((b"x" * 16_000 + b"\n") * 200)
    told = ask("/tasks/1/log.json", count=200)
    assert 0 < len(told["lines"]) < 50
    assert ask("/tasks/1/log.json", from_=1 + len(told["lines"]), count=1)["lines"]


def test_times_are_found(qrec, ask):
    qrec("run", "-q", "sh", "-c", in_turn("one", "two"), check=True)
    one, two = (line["t"] for line in ask("/tasks/1/log.json")["lines"])
    assert ask("/tasks/1/log.json", time=(one + two) // 2)["first"] == 2
    assert ask("/tasks/1/log.json", time=0)["first"] == 1
    assert ask("/tasks/1/log.json", time=99_999)["first"] == 2


def test_line_numbers_are_stable_while_a_command_prints(start, ask, home):
    script = (
        "i=0; while [ $i -lt 300 ]; do echo out $i; [ $((i % 7)) = 0 ] && echo err $i >&2; i=$((i+1)); done; sleep 600"
    )
    start("run", "-q", "bash", "-c", script)
    wait_until(lambda: ask_quietly(ask), what="the task")
    output = Qrec(str(home)).raw(Qrec(str(home)).get("1"))
    seen: dict[int, str] = {}

    def has_all() -> bool:
        ordered = sum(int(size) for _, _, size in re.findall(LINE, output.timing()))  # bytes: others may still move
        told = ask("/tasks/1/log.json", count=1000)
        assert told["growing"]
        for line in told["lines"]:
            ordered -= len(line["text"]) + 1
            assert ordered < 0 or seen.setdefault(line["n"], line["text"]) == line["text"]
        return bool(told["total"] == 343)

    wait_until(has_all, 60)
    assert seen


def ask_quietly(ask: Callable[..., Any]) -> bool:
    try:
        return bool(ask("/tasks/1/log.json")["total"])
    except AssertionError:
        return False


def test_nothing_printed_and_nothing_there(qrec, ask):
    qrec("run", "-q", "true", check=True)
    told = ask("/tasks/1/log.json")
    assert (told["lines"], told["total"], told["whole"]) == ([], 0, True)
    ask("/tasks/99999999/log.json", 404)  # no task's number, and hardly how one's uid begins
    for query in ({"from_": "x"}, {"count": 0}, {"count": 10**9}, {"stream": "stdin"}, {"frames": 2}, {"attempt": -1}):
        assert ask("/tasks/1/log.json", 400, **query)["error"]


def test_removed_output_is_told_of(qrec, printed, ask):
    printed(b"line\n" * 100_000)
    qrec("gc", "-y", "--no-compress", "--size", "400K", check=True)
    told = ask("/tasks/1/log.json")
    assert told["total"] == 0
    assert told["removed"] >= 500_000


# Output of jobs: nobody tells when it came


class Paths(dict[str, list[tuple[str, str]]]):
    pass


def test_a_jobs_streams_are_in_the_order_in_which_they_were_seen(tmp_path):
    """And they keep their numbers, although neither has times."""
    paths = {"stdout": [("1", str(tmp_path / "out"))], "stderr": [("1", str(tmp_path / "err"))]}
    entry = logs.Entry(("stdout", "stderr"), False)
    lines: list[str] = []
    for n in range(6):
        with open(tmp_path / ("err" if n % 2 else "out"), "a") as file:
            file.write(f"line {n}\n")
        lines.append(f"line {n}")
        output = logs.grown(entry, OfJob(Growing(paths, InStore(Kept()))))
        log = logs.Log(Task(uid="slurm-1", executor="slurm", argv=("x",)), output, Redactor(), entry)
        log.update(9)
        told = log.lines(log.index.rows(output, 0, 100))
        assert [line["text"] for line in told] == lines
        assert {line["t"] for line in told} == {None}


# Search


def test_search_tells_lines_and_their_count(printed, ask):
    printed(b"".join(b"line %d\n" % n for n in range(1, 3001)) + "Größe\nGRÖSSE\n".encode())
    told = ask("/tasks/1/search.json", q="LINE 29")
    assert told["count"] == len(told["lines"]) == 111
    assert told["lines"][:2] == [29, 290]
    assert not told["truncated"]
    assert ask("/tasks/1/search.json", q="LINE 29", case=1)["count"] == 0
    assert ask("/tasks/1/search.json", q="GRÖ")["lines"] == [3001, 3002]
    assert ask("/tasks/1/search.json", q="^line [12]{2}$", regex=1)["lines"] == [11, 12, 21, 22]
    assert ask("/tasks/1/search.json", q="e 7|E 8", regex=1)["count"] == 222
    assert ask("/tasks/1/search.json", q="E 8", regex=1, case=1)["count"] == 0


def test_search_finds_in_each_stream(qrec, ask):
    qrec("run", "-q", "sh", "-c", in_turn("one", "!one", "two", "one"), check=True)
    told = ask("/tasks/1/log.json")["lines"]
    assert ask("/tasks/1/search.json", q="one")["lines"] == [line["n"] for line in told if line["text"] == "one"]
    assert ask("/tasks/1/search.json", q="one", stream="stderr")["lines"] == [1]


def test_search_sees_what_is_shown(printed, ask):
    """Colours in the middle of words hide nothing, and their numbers are not found."""
    printed(b"\x1b[31mfatal\x1b[0m\x1b[1m: no\x1b[0m such\nplain 31m\n\x1b[38;5;208mcolour\x1b[0m\n" * 3)
    assert ask("/tasks/1/search.json", q="fatal: no such")["lines"] == [1, 4, 7]
    assert ask("/tasks/1/search.json", q="fatal: no such$", regex=1)["lines"] == [1, 4, 7]
    assert ask("/tasks/1/search.json", q="31m")["lines"] == [2, 5, 8]
    assert ask("/tasks/1/search.json", q="208")["lines"] == []
    assert ask("/tasks/1/search.json", q="208", regex=1)["lines"] == []


@pytest.mark.parametrize("text", ["needle", "nee dle"])
def test_many_colours_cost_no_match(printed, ask, monkeypatch, text):
    monkeypatch.setattr(seek, "BLOCK", 30_000)
    line = b"\x1b[3%dmnee\x1b[0m \x1b[1mdle\x1b[0m x %d\nneedle %d\nnothing\n"
    printed(b"".join(line % (n % 8, n, n) for n in range(4000)))
    found = ask("/tasks/1/search.json", q=text)["lines"]
    assert found == list(range(2 if text == "needle" else 1, 12_001, 3))


def test_matches_across_blocks_and_in_pieces(printed, ask, monkeypatch):
    monkeypatch.setattr(seek, "BLOCK", 1000)
    content = b"x" * 995 + b"needle" + b"y" * 40_000 + b"needle\nz\n"
    printed(content)
    told = ask("/tasks/1/search.json", q="needle")
    assert told["lines"] == [1, 3]
    assert ask("/tasks/1/search.json", q="z")["lines"] == [4]


def test_frames_are_searched_in_the_rows_they_have(printed, ask):
    printed(b"one\n10%\r50% lost\r100%\nlost\n")
    assert ask("/tasks/1/search.json", q="lost")["lines"] == [2, 3]
    assert ask("/tasks/1/search.json", q="lost", frames=1)["lines"] == [3, 5]


def test_there_is_an_end_to_what_is_counted(printed, ask):
    printed(b"the same\n" * 30_000)
    for regex in (0, 1):
        told = ask("/tasks/1/search.json", q="same", regex=regex)
        assert told["truncated"]
        assert told["count"] == len(told["lines"]) == 10_000


def test_a_regular_expression_has_only_so_much_time(printed, ask, monkeypatch):
    monkeypatch.setattr(seek, "LIMIT", 1)
    printed(b"first aaa\n" + b"a" * 4000 + b"!\n")
    assert ask("/tasks/1/search.json", q="(a+)+$", regex=1)["truncated"], "and it would not end by itself"


@pytest.mark.parametrize("words", ["(", "[a", "(?P<x", "a{99999999999}", "(?<=a+)b"])
def test_what_is_no_regular_expression_is_said(printed, ask, words):
    printed(b"x\n")
    assert "no regular expression" in ask("/tasks/1/search.json", 400, q=words, regex=1)["error"]


@pytest.mark.parametrize(("expression", "words"), [
    ("foo", [b"foo"]), (r"\d+ ERROR", [b"error"]), ("err[ou]r now", [b"err", b"now"]), ("a|b", []), ("(foo)?x", []),
    ("fo*", []), ("", []), ("(?x) foo bar", [b"foobar"]), ("x{2}abc", [b"abc"]), (r"step=\d+77 ", [b"step", b"77"]),
])  # fmt: skip
def test_the_words_that_an_expression_needs(expression, words):
    assert seek.required(expression) == words


def test_lines_are_looked_for_by_the_rarest_word():
    assert seek.rarest(b"step=1 INFO\nstep=2 Info\nStep=377 info\n", [b"step", b"77", b"info"]) == b"77"
    assert seek.rarest(b"step=1\n", []) == b""


def test_empty_and_endless_searches_are_refused(printed, ask):
    printed(b"x\n")
    ask("/tasks/1/search.json", 400, q="")
    ask("/tasks/1/search.json", 400, q="x" * 1001)


def test_the_first_error(printed, ask):
    printed(b"start\n0 errors so far\nerror_count=0 log/error.txt\nok\n\x1b[31mValueError\x1b[0m: no\nerror again\n")
    assert ask("/tasks/1/search.json", error=1)["lines"] == [5]
    printed(b"all is well\n")
    assert ask("/tasks/2/search.json", error=1)["lines"] == []


# Secrets


def test_secrets_are_covered_and_not_found(kind, printed, ask):
    lines = [
        f"token is {SECRET} here",
        "plain",
        f"again {SECRET}",
        "PASSWORD=hunter2hunter2",
        "hunter2hunter2 in prose",
    ]
    printed("\n".join(lines).encode() + b"\n")
    told = ask("/tasks/1/log.json")
    assert SECRET not in str(told)
    assert texts(told)[0] == f"token is {'*' * len(SECRET)} here"
    for regex in (0, 1):
        assert ask("/tasks/1/search.json", q=SECRET[4:12], regex=regex)["count"] == 0
        assert ask("/tasks/1/search.json", q="hunter2", regex=regex)["lines"] == [5]
        assert ask("/tasks/1/search.json", q="again", regex=regex)["lines"] == [3]
    for view in ("raw", "shown"):
        downloaded = ask("/tasks/1/log.txt", view=view).text
        assert SECRET not in downloaded
        assert "again ****" in downloaded


@pytest.mark.parametrize("regex", [0, 1])
def test_secrets_on_many_lines_are_not_found(printed, ask, regex):
    printed(b"".join(b"request %d Authorization: Bearer hunter2hunter2hunter2\n" % n for n in range(5000)))
    assert ask("/tasks/1/search.json", q="hunter2", regex=regex)["lines"] == []
    assert ask("/tasks/1/search.json", q="request 4999", regex=regex)["lines"] == [5000]


@pytest.mark.parametrize("regex", [0, 1])
def test_the_lines_of_a_private_key_are_not_found(printed, ask, regex):
    body = "\n".join("MIIEpAIBAAKCAQEAabcdefgh" + 40 * chr(97 + n) for n in range(20))
    printed(f"before\n-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\nMIIEpA after\n".encode())
    assert ask("/tasks/1/search.json", q="MIIEpA", regex=regex)["lines"] == [24]


@pytest.fixture
def own_secrets(qrec) -> None:
    """A kind of secret that only the user knows."""
    qrec("config", "set", "secrets", "my-[0-9]+", check=True)


def test_own_secrets_are_not_found(own_secrets, printed, ask):
    printed(b"id my-12345 x\nid other-12345 x\n")
    for regex in (0, 1):
        assert ask("/tasks/1/search.json", q="12345", regex=regex)["lines"] == [2]
    assert texts(ask("/tasks/1/log.json"))[0] == "id ******** x"


# Download


def test_downloads(qrec, printed, ask):
    content = b"\x1b[31mred\x1b[0m\r\n10%\r100%\n<b>\0\n"
    printed(content)
    raw = ask("/tasks/1/log.txt", view="raw")
    assert raw.data == content
    assert raw.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert raw.headers["Content-Disposition"] == 'attachment; filename="qrec-1.log"'
    assert ask("/tasks/1/log.txt", view="shown").text == "red\n100%\n<b>\n"
    assert ask("/tasks/1/log.txt", view="shown", frames=1).text == "red\n10%\n100%\n<b>\n"
    timed = ask("/tasks/1/log.txt", view="shown", clock="relative").text
    assert re.fullmatch(r"\d\.\d{3}\tred\n\d\.\d{3}\t100%\n\d\.\d{3}\t<b>\n", timed)
    assert re.match(
        r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z red\n", ask("/tasks/1/log.txt", view="shown", clock="absolute").text
    )


def test_a_large_download_is_whole(printed, ask, home):
    printed(b"".join(b"line %d\n" % n for n in range(120_000)))
    door = Qrec(str(home))
    task = door.get("1")
    assert ask("/tasks/1/log.txt").data == b"".join(block for _, block in merged(door.output(task)))
    assert ask("/tasks/1/log.txt", view="shown").text.count("\n") == 120_000


# Many at once, and memory


def test_many_ask_at_once(printed, ask):
    printed(b"".join(b"line %d\n" % n for n in range(1, 200_001)))
    wrong: list[Any] = []

    def look(seed: int) -> None:
        for n in range(20):
            first = 1 + (seed * 7919 + n * 104_729) % 199_000
            if texts(ask("/tasks/1/log.json", from_=first, count=2)) != [f"line {first}", f"line {first + 1}"]:
                wrong.append(first)

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_old_indexes_are_forgotten(home, monkeypatch):
    monkeypatch.setattr(logs, "KEPT", 3)
    known = logs.Logs(Doors(str(home)))  # type: ignore[arg-type]
    first = known.entry(("a",), ("stdout",), False)
    for name in "bcd":
        known.entry((name,), ("stdout",), False)
    assert len(known.entries) == 3
    assert known.entry(("a",), ("stdout",), False) is not first


def test_paths_come_from_the_record_only(qrec, ask, home, tmp_path):
    """Whatever stands in the address, only what a record names is read."""
    qrec("run", "-q", "echo", "x", check=True)
    for path in ("..%2f..%2fetc%2fpasswd", "%2e%2e", "1%2f..", "/etc/passwd"):
        answer = ask_raw(ask, f"/tasks/{path}/log.json")
        assert "root:" not in answer


def ask_raw(ask: Callable[..., Any], path: str) -> str:
    for code in (200, 400, 404, 308):
        try:
            return str(ask(path, code))
        except AssertionError as error:
            last = str(error)
    raise AssertionError(last)


def test_files_gone_under_us_are_no_error(printed, ask, home):
    printed(b"line\n" * 50_000)
    assert ask("/tasks/1/log.json")["total"] == 50_000
    uid = Qrec(str(home)).get("1").uid
    folder = Path(attempt_folder(str(home), uid, 1))
    assert Files(str(folder)).size("stdout") == 250_000
    (folder / "stdout").unlink()
    assert ask("/tasks/1/log.json")["total"] == 0
