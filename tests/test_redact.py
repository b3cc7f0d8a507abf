"""Secrets: found by name, by place and by form, and nothing else is touched."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qrec import Qrec, redact
from qrec.errors import QrecError, WrongUsage
from qrec.jobs import Jobs, Submission
from qrec.redact import REDACTED, Filter, Redactor
from tests.helpers import ROOT

#: Stands for a secret in the lists below.
X = "S3cr3t-w0rd"
KEY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDBj08sp5++4anGf"

COMMANDS = f"""
mysql --password={X} --user=root
mysql --password {X} db
tool -password {X}
tool --token {X}
tool --token={X}
tool --api-key {X}
tool --github-token={X}
tool --secret {X}
tool --passwd={X}
tool --passphrase {X}
tool --auth {X}
tool --auth-token {X}
tool --clientSecret {X}
env PASSWORD={X} make
env AWS_SECRET_ACCESS_KEY={X} DB_PASS={X} aws s3 ls
docker run -e GITHUB_TOKEN={X} image
docker run --env=MY_SECRET={X} image
kubectl create secret generic s --from-literal=password={X}
curl -u me:{X} https://example.org
curl -sSu me:{X} https://example.org
curl -ume:{X} https://example.org
curl --user=me:{X} https://example.org
/usr/bin/curl --proxy-user me:{X} https://example.org
git clone https://me:{X}@example.org/repository
psql postgresql://me:{X}@db:5432/name
wget https://example.org/?a=b&access_token={X}&c=d
wget https://example.org/?token={X}
""".strip().splitlines()

TEXTS = f"""
export API_KEY={X}
API_KEY='{X}' make; echo done
API_KEY="{X} with \\"more\\" blanks" make
set -x; mysql --password {X} <dump
mysql --password '{X} {X}' <dump
Authorization: Bearer {X}
authorization: token {X}
Proxy-Authorization: Basic {X}
curl -H "Authorization: Bearer {X}" https://example.org
{{'Authorization': 'Bearer {X}'}}
X-Api-Key: {X}-{X}
PRIVATE-TOKEN: {X}-{X}
sent bearer {X}-{X} along
{{"user": "me", "password": "{X}", "n": 1}}
{{"accessToken":"{X}"}}
{{\\"api_key\\": \\"{X}\\", \\"n\\": 1}}
password = {X}
password = "{X}"
aws_secret_access_key = {X}
    POSTGRES_PASSWORD: {X}
  - password: "{X}"
connect(user="me", password="{X}", port=1)
connect(user='me', password='{X}')
Server=db;Password={X};Port=1
redis://:{X}@host:6379/0
amqp://me:{X}@host/a and ftp://me:{X}@host
sh -c "curl -u me:{X} x"
""".strip().splitlines()

FORMS = [
    "ghp_" + "a1B2" * 9,
    "gho_" + "a1B2" * 9,
    "ghs_" + "a1B2" * 9,
    "github_pat_" + "a1B2" * 5 + "_" + "a1B2" * 14,
    "glpat-" + "a1-B" * 5,
    "AKIA" + "IOSF" * 4,
    "ASIA" + "IOSF" * 4,
    "xoxb-" + "1234567890-" * 2 + "abc",
    "sk-" + "a1B2" * 12,
    "sk-ant-api03-" + "a1B2" * 12,
    "sk-" + "0a1b" * 8,
    "AIza" + "a1B2_" * 7,
    "hf_" + "aBcD" * 8 + "ef",
    "pypi-AgEIcHlwaS5vcmc" + "a1B2" * 12,
    "npm_" + "a1B2" * 9,
    "sk_live_" + "a1B2" * 6,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
]

#: Nothing in these is a secret.
INNOCENT = """
make test
python train.py --tokenizer bert --max-tokens 5 --max_tokens=5 --max-token=5
tool --token-file=x --password-file y --secret-name=z --key value
tool --eos-token </s> --pad-token=<pad>
tool key=value keys=1 monkey=2 KEY=3 --sort-key=name primary_key=id SORT_KEY=x CACHE_KEY=y PUBLIC_KEY=z
git commit --author=me --author me
psql --no-password db
gh auth login --with-token file
docker login --password-stdin --username me
docker run -u 1000:1000 image
ssh -i ~/.ssh/id --private-key ~/.ssh/id --private-key=/etc/ssl/key.pem host
PATH=/usr/bin:/bin PWD=/home/me HOME=/root
rsync me@host:/path git@github.com:me/repository ssh://me@host:22/x
wget https://example.org:8080/a@b http://example.org/?q=me@example.org
tar -xzf a.tgz && tokenize file && secretary --passed
tests/test_a.py::test_password PASSED [  5%]
d41d8cd98f00b204e9800998ecf8427e e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24sIGJ1dCBieSB0aGlz
task-aaaaaaaaaaaaaaaaaaaaaaaa1A disk-usage sk-folding-cube-with-a-long-name
Asia/Tokyo hf_transformers npm_config_cache eyJ xoxo
loss=2.3 tokens=12345 tokens/s 123 token 5 of 9, token=5
{"token": "Hello", "logprob": -0.1, "max_tokens": 5, "password": null, "tokens": ["a"]}
  --password PASSWORD   the password; without it, --password is asked for
usage: tool [--token TOKEN] [--secret <secret>]
    token = get_token()
if token == expected and password == other:
unexpected token: }
Access denied for user 'me'@'host' (using password: YES)
Password:
password=$PASSWORD token=${TOKEN} --password "$PASSWORD" --token $(cat token)
password=**** https://me:****@example.org
Authorization: required
grep -e '-----BEGIN PRIVATE KEY-----' -r .
-----BEGIN CERTIFICATE----- MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ -----END CERTIFICATE-----
""".strip().splitlines()

PEM = f"""\
before
-----BEGIN RSA PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,0123456789ABCDEF

{KEY}
{KEY}
abcd
-----END RSA PRIVATE KEY-----
after
"""
PEM_REDACTED = """\
before
-----BEGIN RSA PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,0123456789ABCDEF

[redacted]
-----END RSA PRIVATE KEY-----
after
"""


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor()


def without(text: str, secret: str = X) -> str:
    """A text from the lists as it should be shown: what is between the first and the last letter of one secret."""
    return re.sub(
        rf"{re.escape(secret)}(?:-{re.escape(secret)}| {re.escape(secret)}| with [^;]*blanks)?", REDACTED, text
    )


# What is found


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_s_secrets(redactor, command):
    expected = without(command)
    words, count = redactor.words(command.split())
    assert " ".join(words) == expected
    assert count == expected.count(REDACTED) > 0
    assert redactor.words(words) == (words, 0)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_s_secrets(redactor, text):
    expected = without(text)
    assert redactor.text(text) == (expected, expected.count(REDACTED))
    assert redactor.text(expected) == (expected, 0)
    assert redactor.text(f"one\n{text}\r\ntwo\n") == (f"one\n{expected}\r\ntwo\n", expected.count(REDACTED))
    assert redactor.text(f"50%\r{text}\r60%") == (f"50%\r{expected}\r60%", expected.count(REDACTED))
    assert redactor.words(["sh", "-c", text]) == (("sh", "-c", expected), expected.count(REDACTED))


@pytest.mark.parametrize("token", FORMS)
def test_tokens_by_their_form(redactor, token):
    for text in ("{}", "with {} in it", "'{}'", "https://{}@host/x", "a={}", "({}, 1)"):
        assert redactor.text(text.format(token)) == (text.format(REDACTED), 1)
    assert redactor.words(["tool", token]) == (("tool", REDACTED), 1)
    assert redactor.text(f"x{token[:12]}")[1] == 0


@pytest.mark.parametrize("line", INNOCENT)
def test_what_is_no_secret_stays(redactor, line):
    assert redactor.text(line) == (line, 0)
    assert redactor.words([line]) == ((line,), 0)
    if not {"'", '"', "$"} & set(line) and not line.startswith(" "):  # a command's words, and no manual's
        assert redactor.words(line.split()) == (tuple(line.split()), 0)


def test_a_word_s_secret_reaches_to_its_end(redactor):
    words = ["env", "PASSWORD=a b;c", "--token=d e", "x", "--password", "f g", "--password", "$h"]
    expected = ("env", "PASSWORD=[redacted]", "--token=[redacted]", "x", *("--password", REDACTED) * 2)
    assert redactor.words(words) == (expected, 4)


def test_a_shell_s_line_goes_on_after_a_secret(redactor):
    for words in (["bash", "-lc", "PASSWORD=a make"], ["PASSWORD=a make"]):
        assert redactor.words(words) == ((*words[:-1], "PASSWORD=[redacted] make"), 1)


def test_an_option_s_value_is_no_option(redactor):
    words = ("tool", "--token", "--password", "--", "x", "--secret")
    assert redactor.words(words) == (words, 0)


def test_words_with_line_ends_and_foreign_letters(redactor):
    words = ("é\n", "--password", "ü\nü", "\udcff", f"a\nTOKEN={X}\nb", "--token", "\udcfe")
    expected = ("é\n", "--password", REDACTED, "\udcff", "a\nTOKEN=[redacted]\nb", "--token", REDACTED)
    assert redactor.words(words) == (expected, 3)


def test_a_private_key(redactor):
    assert redactor.text(PEM) == (PEM_REDACTED, 1)
    assert redactor.text(PEM_REDACTED) == (PEM_REDACTED, 0)
    assert redactor.words(["tool", PEM]) == (("tool", PEM_REDACTED), 1)
    carriage = PEM.replace("\n", "\r\n")
    assert redactor.text(carriage) == (PEM_REDACTED.replace("\n", "\r\n"), 1)
    assert redactor.text(PEM + PEM) == (PEM_REDACTED + PEM_REDACTED, 2)


def test_a_private_key_in_a_patch_or_on_one_line(redactor):
    def key(*lines: str) -> str:
        return "".join(lines)

    begin, end = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"
    assert redactor.text(key("+", begin, "\n+", KEY, "\n+abcd\n+", end, "\n")) == (
        key("+", begin, "\n", REDACTED, "\n+", end, "\n"),
        1,
    )
    for text in ('{{"key": "{}\\n{}\\n{}\\n", "id": 1}}', "{}{}{} and more"):
        shown = text.replace("\\n{}\\n{}", "{}{}").format(begin, REDACTED, end)
        assert redactor.text(text.format(begin, KEY, end)) == (shown, 1)
    assert redactor.text(f"{begin}\n{KEY}{end}\n") == (f"{begin}\n{REDACTED}{end}\n", 1)


def test_a_private_key_without_its_end(redactor):
    text = f"-----BEGIN PRIVATE KEY-----\n{KEY}\n{KEY}\n\nand on it goes\n"
    shown = "-----BEGIN PRIVATE KEY-----\n[redacted]\n\nand on it goes\n"
    assert redactor.text(text) == (shown, 1)
    assert redactor.text(text[:50]) == ("-----BEGIN PRIVATE KEY-----\n[redacted]", 1)


def test_bytes_of_any_encoding_stay_as_they_are(redactor):
    block = bytes(range(256)) + b"\n\xff\xfe password=\xe4\xf6 \xc3\xa4\r\n\0\n"
    assert redactor.data(block) == (block.replace(b"\xe4\xf6", b"[redacted]"), 1)
    assert redactor.data(b"") == (b"", 0)


def test_variables(redactor):
    env = {"API_KEY": "a b", "PATH": "/bin", "URL": "http://a:b@c", "TOKEN": "", "SLURM_JWT": "x", "AUTHOR": "me"}
    assert redactor.variables(env) == {
        **env,
        "API_KEY": REDACTED,
        "URL": "http://a:[redacted]@c",
        "SLURM_JWT": REDACTED,
    }


# The user's own


def test_own_expressions():
    own = Redactor([r"case \d+", r"name=(\w+)", "ß+", "x*"])
    assert own.words(["tell", "case 12 and case 3", "name=me;"]) == (
        ("tell", "[redacted] and [redacted]", "name=[redacted];"),
        3,
    )
    assert own.data("Straße\nxx\n".encode()) == (b"Stra[redacted]e\n[redacted]\n", 2)
    assert own.text("name=me\nname=you")[0] == "name=[redacted]\nname=[redacted]"
    assert own.text("name=[redacted]") == ("name=[redacted]", 0)
    assert own.text("name=me --password x")[1] == 2
    assert Redactor(["act", "red"]).text("act --password=x red") == ("[redacted] --password=[redacted] [redacted]", 3)


@pytest.mark.parametrize("wrong", ["(", "a{99999999999}", "*"])
def test_a_wrong_expression_is_named(wrong):
    with pytest.raises(WrongUsage, match=re.escape(repr(wrong))):
        Redactor(["right", wrong])


def test_half_a_letter_that_is_none():
    assert Redactor(["(.)b"]).text("\ud800b\udcffb")[1] == 2


# Blocks


def filtered(block: bytes, cuts: list[int], own: Redactor, **options: Any) -> tuple[bytes, int]:
    """A stream that is cut at these places, filtered."""
    filter = Filter(own, **options)
    places = sorted({0, len(block), *(cut % (len(block) + 1) for cut in cuts)})
    shown = [filter.feed(block[start:end]) for start, end in pairwise(places)]
    return b"".join([*shown, filter.flush()]), filter.count


LINES = [line.encode() for line in (*TEXTS, *FORMS, *INNOCENT, *PEM.splitlines(), PEM, *COMMANDS)]
MARKS = b'token password= --token --secret :// @ : curl -u bearer \\" " \' = [redacted] ] , ghp_ eyJ .'.split()
FRAGMENTS = st.sampled_from(
    [
        *LINES,
        *MARKS,
        b" ",
        b"\n",
        b"\r",
        b"\r\n",
        b"\xc3\xa4",
        b"\xff",
        b"-----BEGIN PRIVATE KEY-----",
        KEY.encode(),
        b"x" * 40,
    ]
)
STREAMS = st.lists(FRAGMENTS | st.binary(max_size=5), max_size=12).flatmap(
    lambda parts: st.sampled_from([b"\n", b"", b" ", b"\r"]).map(lambda glue: glue.join(parts))
)


@settings(deadline=None)
@given(STREAMS, st.lists(st.integers(min_value=0), max_size=8))
def test_however_a_stream_is_cut_the_same_is_shown(block, cuts):
    own = Redactor(["x{3}(x+)"])
    assert filtered(block, cuts, own) == own.data(block) == filtered(block, list(range(len(block))), own)


@settings(deadline=None)
@given(STREAMS)
@example(b"sk-" + b"0a1b" * 8 + b"ghp_" + b"a1B2" * 9)
def test_what_was_redacted_is_not_redacted_again(block):
    shown, _ = Redactor().data(block)
    assert Redactor().data(shown) == (shown, 0)


@settings(deadline=None)
@given(st.lists(st.sampled_from([X, *COMMANDS, *TEXTS, "--password", "-u", "curl", "-c", "\n", "é", ""]), max_size=6))
def test_words_that_were_redacted_are_not_redacted_again(argv):
    words, _ = Redactor().words(argv)
    assert len(words) == len(argv)
    assert Redactor().words(words) == (words, 0)


def test_a_complete_line_comes_out_at_once(redactor):
    filter = Filter(redactor)
    assert filter.feed(b"one\ntw") == b"one\n"
    assert filter.feed(b"o\r 50%\r--tok") == b"two\r 50%\r"
    assert filter.feed(b"en hunter2") == b""
    assert filter.flush() == b"--token [redacted]"
    assert filter.count == 1
    assert filter.flush() == b""


@pytest.mark.parametrize("size", [1, 7, 100, 5000])
def test_a_line_without_end_comes_out_before_its_end(redactor, size):
    """However the secrets lie, none is cut as long as it is shorter than half of what is held."""
    secrets = b"".join(b"%s ghp_%036d PASSWORD='%s'" % (b"." * n, n, b"y" * n) for n in range(1, 200, 3))
    filter = Filter(redactor, limit=1000)
    shown, held = b"", 0
    for at in range(0, len(secrets), size):
        shown += filter.feed(secrets[at : at + size])
        held = max(held, len(filter.held))
    assert held <= 1000 + size
    assert len(shown) > 1000
    shown += filter.flush()
    assert shown == redactor.data(secrets)[0]
    assert (b"0000" in shown, b"y" in shown, filter.count) == (False, False, 67 * 2)


def test_a_secret_longer_than_what_is_held_does_not_hold_up_the_stream(redactor):
    filter = Filter(redactor, limit=1000)
    shown = b"".join(filter.feed(b"A_KEY=" * 10) for _ in range(1000))
    assert shown.startswith(b"A_KEY=[redacted]")
    assert len(filter.held) <= 1000


def test_a_private_key_without_line_ends_is_followed_through_the_blocks(redactor):
    filter = Filter(redactor, limit=1000)
    block = b"-----BEGIN PRIVATE KEY-----\n" + b"abcd" * 10_000 + b"\n-----END PRIVATE KEY-----\n"
    shown = b"".join(filter.feed(block[at : at + 100]) for at in range(0, len(block), 100)) + filter.flush()
    assert shown == b"-----BEGIN PRIVATE KEY-----\n[redacted]\n-----END PRIVATE KEY-----\n"


# What it costs


#: Each piece ends with a tilde, since blanks count.
HOSTILE = """
password="~|password='~|password=\\"~|token=)~|token = ~|--token ~|--password 'x ~|-a~|--a-b-~|a_token~|x-token: ~
x-~|authorization: bearer ~|://~|://a:b~|a:b@~|-----BEGIN PRIVATE KEY-----A~|-----BEGIN ~|curl -u a:~|curl -u ~|sk-a~
eyJaaaaaaaaa.~|A_KEY=~|password     ~|@~|\\x~|- password: 'a~|---~|password="\\ ~|secret~|no-token ~|-u a:b ~
"""
PIECES = [piece.removesuffix("~").encode() for line in HOSTILE.strip().splitlines() for piece in line.split("|")]


@pytest.mark.parametrize("piece", PIECES)
def test_no_line_takes_for_ever(redactor, piece):
    """A rule that went through the rest of a line from each of its places would take until the test is given up."""
    block = b"password token= curl -----BEGIN PRIVATE KEY----- :// " + piece * (500_000 // len(piece))
    assert redactor.data(block)[0].startswith(b"password token= curl ")
    part = block[:100_000]
    assert filtered(part, list(range(0, len(part), 10_000)), redactor)[0].startswith(b"password token= curl ")


def test_a_line_of_ten_million_bytes(redactor):
    block = b"--token " + b"token=" * 1_666_667
    assert redactor.data(block) == (b"--token [redacted]", 2)  # the value of token= first, then what that stands in


def test_a_command_without_a_hint_compiles_nothing():
    """Also one that has what only looks like a hint."""
    program = """if True:
        import re
        from qrec.errors import WrongUsage
        compiled = []
        original = re._compile if hasattr(re, "_compile") else None
        re._compile = lambda *words: compiled.append(words) or original(*words)
        from qrec.redact import Redactor
        for argv in (["make", "test"], ["train", "--tokenizer", "bert", "--max-tokens", "5", "PASSED", "me@host"]):
            Redactor().words(argv)
        assert compiled == [], compiled
        Redactor().words(["--password=x"])
        print(len(compiled))"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_every_rule_is_asked_for_by_its_hints(redactor):
    """Each of the lists' lines is found through hints alone: taking one away would show."""
    lines = [*COMMANDS, *TEXTS, *FORMS, PEM]
    for hint, rules, check in redact.HINTS:
        others = tuple(entry for entry in redact.HINTS if entry != (hint, rules, check))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(redact, "HINTS", others)
            assert [line for line in lines if redactor.text(line)[1] == 0 < rules], hint


# Jobs of queues


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ([Submission(command="true", name="a", depends=("b",)), Submission(command="true", name="b", depends=("a",))],
         "these jobs wait for each other: a after b after a"),
        ([Submission(command="true", name="a", depends=("c",)), Submission(command="true", name="b", depends=("a",)),
          Submission(command="true", name="c", depends=("b",))],
         "these jobs wait for each other: a after c after b after a"),
        ([Submission(command="true"), Submission(command="true", depends=("nobody",))], "nobody"),
        ([Submission(command="true"), Submission(command="true", cpus=10**6)], "can never run"),
        ([Submission(command="true"), Submission(command="  ")], "there is no command"),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_no_secret(kind, home, jobs, said):
    door = Qrec()
    with pytest.raises(QrecError, match=said):
        Jobs(door, "q").submit_all([job.copy(env={"API_TOKEN": X}) for job in jobs])
    assert door.store.find() == []
    assert [path for path in home.rglob("*") if path.is_file() and X.encode() in path.read_bytes()] == []
    assert list(home.glob("incoming/*")) == []


def test_what_is_there_already_leaves_its_secret_once(kind, home):
    queue = Jobs(Qrec(), "q")
    job = Submission(command=("echo", "hi"), env={"API_TOKEN": X}, if_absent=True)
    first, second = queue.submit(job), queue.submit(job)
    assert first.uid == second.uid
    assert [path.name for path in (home / "incoming").iterdir()] == [f"{first.uid}.words"]
