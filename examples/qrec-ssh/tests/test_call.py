"""The words of ssh."""

import pytest
from qrec_ssh.call import call_of


@pytest.mark.parametrize(
    ("words", "host", "command"),
    [
        ("ssh box ls", "box", "ls"),
        ("ssh -p 22 box ls -l", "box", "ls -l"),
        ("ssh -p22 -vv box -o A=b -t ls", "box", "ls"),
        ("ssh -vvp 22 box ls", "box", "ls"),
        ("ssh -- box ls", "box", "ls"),
        ("ssh box -- ls -l", "box", "ls -l"),
        ("ssh -i key -l me box ls -p 3", "box", "ls -p 3"),
        ("ssh -", None, None),
        ("ssh box", None, None),
        ("ssh -V", None, None),
        ("ssh -p", None, None),
        ("ssh -- box", None, None),
        ("ssh", None, None),
    ],
)
def test_what_is_asked_for(words, host, command):
    call = call_of(words.split())
    assert (call and call.host, call and " ".join(call.command)) == (host, command)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("ssh box ls", {"host": "box"}),
        ("ssh me@box ls", {"host": "box", "user": "me"}),
        ("ssh me@dom@box ls", {"host": "box", "user": "me@dom"}),
        ("ssh -l me -p 2222 box ls", {"host": "box", "user": "me", "port": 2222}),
        ("ssh -p 1 -p 2 box ls", {"host": "box", "port": 1}),
        ("ssh ssh://me@box:2222 ls", {"host": "box", "user": "me", "port": 2222}),
        ("ssh ssh://box ls", {"host": "box"}),
        ("ssh ::1 ls", {"host": "::1"}),
        ("ssh me@::1 ls", {"host": "::1", "user": "me"}),
    ],
)
def test_where_that_is(words, place):
    assert call_of(words.split()).place == place


def test_the_same_machine_again():
    call = call_of("ssh -tt -L 1:a:2 -p22 -o A=b -f box ls".split())
    kept = [word for word in call.again("true") if "yes" not in word and "no" not in word]
    assert kept == ["ssh", "-p", "22", "-o", "A=b", "true"]
