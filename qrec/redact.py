"""Secrets in commands, variables and output, and how they are taken out before anybody sees them.

A secret is known by the name it is given to (`--password X`, `API_TOKEN=X`), by where it stands
(`scheme://user:X@host`, `Authorization: Bearer X`), or by its form (`ghp_...`, a private key's block).  Only the secret
itself is replaced.  mysql's `-pSECRET` is not known: too many programs mean something else by `-p...`.

What is looked at is first searched for plain hints, a hundred times faster than any regular expression; a rule is
compiled and run only on the lines that have one of its hints.  Every built-in expression is linear in the length of a
line: it starts only where a run of its characters starts, or meets nothing that makes it try again.
"""

from __future__ import annotations

import re

from qrec.errors import WrongUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Judge = Callable[[re.Match[str], str], bool]
    Check = Callable[[bytes, int, int], bool]

REDACTED = "[redacted]"
PASSES = 16  #: over one line at most: an expression of a user's may find something in whatever it leaves
LINE_LIMIT = 64 * 1024  #: bytes of an incomplete line that a filter holds back
UTF8 = ("utf-8", "surrogateescape")  #: any bytes at all become text and the same bytes again
TEXT = ("utf-8", "surrogatepass")  #: any text at all becomes bytes and the same text again

#: For searching: small letters only, and one kind of line end; a progress bar's lines end with a carriage return.
FOLDED = bytes(range(256)).lower().replace(b"\r", b"\n")


# What is no secret although it stands where one would

PLACEHOLDERS = frozenset("none null nil true false undefined str string bytes basic digest bearer".split())
#: What follows an option's name in a manual rather than in a command.
PROSE = frozenset(
    """a an and are as at be but by can cannot could does flag flags for from has have if in instead into is it may must
    not of on only option options or requires required should so that the then to unless value was when which will with
    without you your""".split()
)
#: `--no-password`, `--ask-pass`, `--with-token`: options that take no value.
FLAGS = tuple(f"-{word}-" for word in "no ask with without show use prompt print get skip allow".split())
HOMELY = ("~/", "./", "../", "/home/", "/root/", "/etc/", "/usr/", "/var/", "/tmp/", "/run/", "/opt/", "/mnt/", "/srv/",
          "/data/", "/dev/", "/proc/")  # fmt: skip
SHORT_TOKEN = 8  #: characters; what is called just `token` and has fewer is a parser's or a model's


def is_placeholder(value: str) -> bool:
    """Whether a value says that there is no secret, or no secret any more."""
    is_tag = value.startswith("<") and value.endswith(">")
    return value == REDACTED or is_tag or not value.strip("*.") or value.lower() in PLACEHOLDERS


def is_reference(value: str) -> bool:
    """Whether a value is only the name of where the secret is, for a shell or a template to fill in."""
    if value.startswith(("$(", "${{", "%(", "{{", "`")):
        return True
    name = value[1:].strip("{}")
    return (value.startswith("$") or (value[0] == "{" and value[-1] == "}")) and name.isidentifier()


def is_trivial(name: str, before: str, value: str) -> bool:
    """Whether a value does not fit its name: a key's path, a model's token (`before` is what the name ends)."""
    name = name.lower()
    if name.endswith("key"):
        return value.startswith(HOMELY)
    if name != "token":
        return False
    return (value.isdigit() and len(value) < SHORT_TOKEN) and not before.endswith("--")


def is_plain(match: re.Match[str], value: str) -> bool:
    """The judgement on a value whose place leaves no doubt."""
    return not is_placeholder(value) and not is_reference(value)


def is_named(match: re.Match[str], value: str) -> bool:
    """The judgement on what is given to a name, which is the match's first group."""
    name = match[1]
    before = match.string[max(0, match.start(1) - 8) : match.start(1)]
    if not is_plain(match, value) or is_trivial(name, before, value):
        return False
    if name != "token" or before[-1:] in ("-", "_") or before[-1:].isalnum():
        return True
    loose = match.groupdict().get("loose")
    return len(value) >= SHORT_TOKEN and " " not in value and (not loose or any(map(str.isdigit, value)))


def is_given(match: re.Match[str], value: str) -> bool:
    """The judgement on the word after an option, which may stand in a manual."""
    if match.string[max(0, match.start(1) - 12) : match.start(1)].lower().endswith(FLAGS):
        return False
    words = value.rstrip(".,:!?").lower()
    return is_named(match, value) and words not in PROSE and not (value.isupper() and value.strip("_").isalpha())


def is_credential(match: re.Match[str], value: str) -> bool:
    """The judgement on a header's value: after the name of a scheme it is a secret, else if it is long enough."""
    return is_plain(match, value) and (bool(match[1]) or len(value) >= 12)


def is_armor(match: re.Match[str], value: str) -> bool:
    """The judgement on what follows a private key's first line."""
    return re.search("[A-Za-z0-9+/=]{30}", value) is not None


# The rules


class Rule:
    """One kind of secret: the hints without which it cannot occur, in small letters, and an expression.

    The expression's last group that took part is the secret, or the whole match.  `after`: only what follows the first
    occurrence of this counts.
    """

    def __init__(self, hints: str, source: str, judge: Judge = is_plain, after: str = "") -> None:
        self.hints = hints.split(",")
        self.source = source
        self.judge = judge
        self.after = after
        self.compiled: re.Pattern[str] | None = None

    @property
    def pattern(self) -> re.Pattern[str]:
        """The expression, compiled when it is first needed."""
        if self.compiled is None:
            self.compiled = re.compile(self.source, re.ASCII)
        return self.compiled

    def secret(self, match: re.Match[str]) -> tuple[int, int] | None:
        """From where to where the match's secret reaches, if it is one."""
        part = match.lastindex or 0
        return match.span(part) if match[part] and self.judge(match, match[part]) else None

    def spans(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Of each secret: where what tells of it starts, where it starts itself, and where it ends."""
        start = text.find(self.after)  # nothing is found at the very start
        for match in self.pattern.finditer(text, start) if start >= 0 else ():
            if span := self.secret(match):
                yield (match.start(), *span)


class OwnRule(Rule):
    """The user's own expression: its first group is the secret, or the whole match."""

    def __init__(self, source: str) -> None:
        super().__init__("", source)
        try:
            self.compiled = re.compile(source)
        except (re.error, OverflowError, RecursionError) as error:
            raise WrongUsage(f"{source!r} is no regular expression: {error}") from None

    def secret(self, match: re.Match[str]) -> tuple[int, int] | None:
        """The group, unless it lies in what stands for a secret that was taken out before."""
        start, end = match.span(1 if match.re.groups and match[1] is not None else 0)
        room = len(REDACTED) - (end - start)
        is_known = room >= 0 and REDACTED in match.string[max(0, start - room) : end + room]
        return None if start == end or is_known else (start, end)


QUOTED = r"""(?:"([^"\\]*(?:\\.[^"\\]*){0,1000})"|'([^']*)'|\\"([^"\\]*)\\")"""
#: Without the bracket or comma that a sentence or a program goes on with.
BARE = r"""["']?([^\s"'&;]*[^\s"'&;,)}\]](?:(?<=\[redacted)\])?)"""
NAME = (
    r"(pass(?:word|wd|phrase)|token|secret|api[-_]?key"
    r"|(?:access|secret|auth|account|master|signing|encryption|private|client)[-_]?key|(?<=--)auth(?:orization)?"
    r"|(?-i:(?<=[A-Z0-9]_)(?:(?<!PUBLIC_)(?<!PRIMARY_)(?<!FOREIGN_)(?<!SORT_)(?<!CACHE_)(?<!PARTITION_)KEY|PASS|JWT)))"
    r"[0-9]{0,2}"
)
HINTS_OF_NAMES = "pass,token,secret,key,_jwt,--auth"

#: The word of a command that holds a secret, or announces that the next one is it.
WORD = Rule(HINTS_OF_NAMES, rf"(?is)(-{{0,2}}[\w.-]*?){NAME}(?:=(.+))?")
#: curl's options for a user's name and password, in a word of their own or with their value.
CURL_USER = r"-[fgikLlNnOqSsv]*[uU]|--(?:proxy-)?user"
CURL_GLUED = r"(?s)(?:-[fgikLlNnOqSsv]*[uU]|--(?:proxy-)?user=)[^-=:\s][^:\s]*:(.+)"

RULES = (
    # NAME=value, "name": "value", name = value
    Rule(
        HINTS_OF_NAMES,
        rf"(?i){NAME}(?:=(?!=)(?:{QUOTED}|{BARE})|\\?[\"'][ \t]{{0,4}}:[ \t]{{0,4}}{QUOTED}"
        rf"|[ \t]{{1,8}}=[ \t]{{1,8}}(?:{QUOTED}|(?P<loose>[^\s()\[\]{{}}\"']+)(?=[ \t]*$)))",
        is_named,
    ),
    # name: value, alone on a line
    Rule(
        HINTS_OF_NAMES,
        rf"(?i)^[ \t]*(?:-[ \t]+)?[\w.-]*?{NAME}:[ \t]+(?:{QUOTED}(?=[ \t]*$|,)|([^\s\"']+)(?=[ \t]*$))",
        is_named,
    ),
    # --name value
    Rule(
        HINTS_OF_NAMES,
        rf"(?i)(?<![\w-])--(?:[a-z0-9]+[-_]){{0,4}}{NAME}[ \t]+(?![-\\])(?:{QUOTED}|{BARE})",
        is_given,
    ),
    # Authorization: Bearer value, X-Api-Key: value
    Rule(
        "authorization,token,key,secret",
        r"(?i)(?:authorization|(?<![a-z0-9])(?:x-[a-z-]{0,30}(?:token|key|secret)|(?:private|job|deploy)-token))"
        r"""\\?["']?[ \t]{0,4}[:=][ \t]{0,4}\\?["']?"""
        r"""(?:(bearer|basic|token|apikey|bot|negotiate)[ \t]+)?([^\s"',\\]+)""",
        is_credential,
    ),
    Rule("bearer ", r"(?i)\bbearer[ \t]+([A-Za-z0-9._~+/=-]{16,})"),
    # scheme://user:value@host
    Rule("@", r"""://[^\s/?#@:"'<>]*:([^\s/?#"'<>]+)@"""),
    # a private key on one line, its line ends written as \n; those of many lines are the filter's
    Rule(
        "private key",
        r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----((?:[^-]+|-(?!----)){1,50})",
        is_armor,
    ),
    # curl -u user:value
    Rule(
        "curl",
        r"""(?<=\s)(?:-[fgikLlNnOqSsv]*[uU]|--(?:proxy-)?user[= ])[ \t]{0,4}["']?[^\s:"'=-][^\s:"']*:([^\s"']+)""",
        after="curl",
    ),
    # tokens that have a form of their own
    Rule("ghp_,gho_,ghs_,ghu_,ghr_", r"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{30,}"),
    Rule("github_pat_", r"(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{22,}"),
    Rule("glpat-", r"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_.-]{20,}"),
    Rule("akia,asia", r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    Rule("xox", r"(?<![A-Za-z0-9])xox[a-z]-[A-Za-z0-9-]{10,}"),
    Rule("sk-", r"(?<![A-Za-z0-9_-])sk-(?:[0-9a-f]{32,}|(?=[a-z0-9_-]*[A-Z])[A-Za-z0-9_-]{20,})"),
    Rule("aiza", r"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    Rule("hf_", r"(?<![A-Za-z0-9_])hf_[A-Za-z0-9]{30,}"),
    Rule("pypi-", r"(?<![A-Za-z0-9_-])pypi-(?=[a-z0-9_-]*[A-Z])[A-Za-z0-9_-]{40,}"),
    Rule("npm_", r"(?<![A-Za-z0-9_])npm_[A-Za-z0-9]{30,}"),
    Rule("k_live_", r"(?<![A-Za-z0-9_])[sr]k_live_[A-Za-z0-9]{16,}"),
    Rule("eyj", r"(?<![A-Za-z0-9_.-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
)


# Hints: cheap to find, and then to see whether more of what is needed is there


def gives_value(folded: bytes, start: int, end: int) -> bool:
    """Whether a name is followed by what gives it a value, or is an option's: not tokens, secretary, a key."""
    following = folded[end : end + 1]
    if following.isalpha():
        return False
    if following in (b"=", b":", b'"', b"'", b"\\"):
        return True
    if following in (b"", b"\n"):  # the value may be the next word
        return b"-" in folded[max(0, start - 40) : start]
    return b"=" in folded[end : end + 12] or b"--" in folded[max(0, start - 40) : start]


def is_key(folded: bytes, start: int, end: int) -> bool:
    """The same of a key, which is called api_key or apikey, but not just key."""
    before = folded[start - 1 : start] if start else b""
    return (before in (b"_", b"-") or before.isalpha()) and gives_value(folded, start, end)


def is_pass(folded: bytes, start: int, end: int) -> bool:
    """The same of a password, passwd, passphrase or _PASS: not passed."""
    if folded[end : end + 1] in (b"w", b"p"):
        return True
    return start > 0 and folded[start - 1] == ord("_") and gives_value(folded, start, end)


def ends_user(folded: bytes, start: int, end: int) -> bool:
    """Whether a URL's user ends with this @."""
    return folded.rfind(b"://", max(0, start - 1024), start) >= 0


CHECKS: dict[str, Check] = {
    "pass": is_pass, "token": gives_value, "secret": gives_value, "key": is_key, "_jwt": gives_value, "@": ends_user,
}  # fmt: skip


def hints_of(rules: Sequence[Rule]) -> Iterator[tuple[bytes, int, Check | None]]:
    """Each hint, the rules that it calls for as one bit each, and what to check where it is found."""
    bits: dict[str, int] = {}
    for number, rule in enumerate(rules):
        for hint in rule.hints:
            bits[hint] = bits.get(hint, 0) | 1 << number
    return ((hint.encode(), called, CHECKS.get(hint)) for hint, called in bits.items())


HINTS = tuple(hints_of(RULES))


def line_end(folded: bytes, at: int) -> int:
    """Where the line ends that has this place, its line end included."""
    return folded.find(b"\n", at) + 1 or len(folded)


def hinted_lines(folded: bytes) -> dict[int, int]:
    """Where each line starts that has a hint, and the rules to run on it."""
    lines: dict[int, int] = {}
    for hint, rules, check in HINTS:
        at = folded.find(hint)
        while at >= 0:
            end = at + len(hint)
            if check is None or check(folded, at, end):
                start = folded.rfind(b"\n", 0, at) + 1
                lines[start] = lines.get(start, 0) | rules
                end = line_end(folded, end)
            at = folded.find(hint, end)
    return lines


def filled_in(argv: Sequence[str], secrets: Sequence[str]) -> tuple[str, ...]:
    """The words with each [redacted] replaced by the next of the secrets."""
    left = list(secrets)
    filled = []
    for word in argv:
        first, *rest = word.split(REDACTED)
        filled.append(first + "".join(left.pop(0) + part for part in rest))
    return tuple(filled)


class Redactor:
    """Takes secrets out: those that everybody has, and those that the user's `own` regular expressions describe.

    An own expression is tried on every line by itself; if it has a group, only what the first one holds is taken out.
    Raises WrongUsage that names the one which is none.
    """

    def __init__(self, own: Iterable[str] = ()) -> None:
        self.own = tuple(map(OwnRule, own))

    def words(self, argv: Sequence[str]) -> tuple[tuple[str, ...], int]:
        """A command's words without secrets, and how many there were."""
        lines = hinted_lines("\n".join(argv).encode(*TEXT).translate(FOLDED))
        if not lines and not self.own:
            return tuple(argv), 0
        done = list(argv)
        count = redact_users(done)
        for index in suspects(argv, lines) if not self.own else range(len(argv)):
            done[index], found = self.word(done, index)
            count += found
        return tuple(done), count

    def word(self, argv: Sequence[str], index: int) -> tuple[str, int]:
        """One word; the value in it reaches to its end, but in a line for a shell, which is a command itself."""
        word, before = argv[index], argv[index - 1] if index else ""
        if announces(before, word):
            return REDACTED, 1
        is_line = len(argv) == 1 or (before.startswith("-") and before.endswith("c"))
        match = WORD.pattern.fullmatch(word)
        if match and match[3] and not (is_line and set(match[3]) & set(" \t\n;&|")):
            if is_placeholder(match[3]) or is_trivial(match[2], match[1], match[3]):
                return word, 0
            return word[: match.start(3)] + REDACTED, 1
        return self.text(word)

    def text(self, text: str) -> tuple[str, int]:
        """A text of any number of lines without secrets, and how many there were."""
        block, count = self.data(text.encode(*TEXT))
        if not count:
            return text, 0
        try:
            return block.decode(*TEXT), count
        except UnicodeDecodeError:  # an own expression has taken a part of what was no character to begin with
            return block.decode("utf-8", "replace"), count

    def data(self, block: bytes) -> tuple[bytes, int]:
        """The same of bytes, of which all but the secrets stay as they are, whatever their encoding."""
        whole = Filter(self)
        done = whole.lines(block)
        return done + whole.flush(), whole.count

    def variables(self, env: Mapping[str, str]) -> dict[str, str]:
        """The environment's variables without secrets in their values."""
        return {name: self.words(("env", f"{name}={value}"))[0][1][len(name) + 1 :] for name, value in env.items()}

    def rules(self, bits: int) -> Iterator[Rule]:
        """The rules that the hints of a line call for, and the user's own."""
        while bits:
            yield RULES[(bits & -bits).bit_length() - 1]
            bits &= bits - 1
        yield from self.own

    def lines(self, folded: bytes) -> dict[int, int]:
        """Where each line starts that has to be looked at, and the rules to run on it."""
        lines = hinted_lines(folded)
        if self.own:
            start = 0
            while start < len(folded):
                lines.setdefault(start, 0)
                start = line_end(folded, start)
        return lines

    def line(self, text: str, bits: int) -> tuple[str, int]:
        """One line without secrets, and how many there were; one may show only when that before it is gone."""
        count = 0
        for _ in range(PASSES):
            text, found = self.once(text, bits)
            count += found
            if not found:
                break
        return text, count

    def once(self, text: str, bits: int) -> tuple[str, int]:
        """One pass of all rules over a line."""
        count = 0
        for rule in self.rules(bits):
            done, at = [], 0
            for _, start, end in rule.spans(text):
                done += [text[at:start], REDACTED]
                at = end
                count += 1
            if done:
                text = "".join([*done, text[at:]])
        return text, count

    def gap(self, text: str, at: int) -> int:
        """The last place up to `at` where a text may be cut without cutting a secret; its end if that is too early."""
        bits = 0
        for rules in hinted_lines(text.encode(*UTF8).translate(FOLDED)).values():
            bits |= rules
        for rule in (*self.rules(bits), *self.rules(bits)):  # twice: one rule's gap may be inside another's secret
            at = next((first for first, _, end in rule.spans(text) if first < at < end), at)
        return at if 2 * at > len(text) else len(text)


def suspects(argv: Sequence[str], lines: Mapping[int, int]) -> Iterator[int]:
    """Which of the words have a hint, or follow one that has; by where the hinted lines start if each word is one."""
    at, after_hint = 0, False
    for index, word in enumerate(argv):
        has_hint = at in lines or "\n" in word or "\r" in word
        if has_hint or after_hint:
            yield index
        after_hint = has_hint
        at += len(word.encode(*TEXT)) + 1


def announces(word: str, following: str) -> bool:
    """Whether a word is an option whose value is a secret, which is the following one."""
    match = WORD.pattern.fullmatch(word) if word.startswith("-") else None
    if match is None or match[3] is not None or match[1].lower().endswith(FLAGS) or following.startswith("-"):
        return False
    return not is_placeholder(following) and not is_trivial(match[2], match[1], following)


def redact_users(argv: list[str]) -> int:
    """Take the passwords out of curl's users, in place, and tell how many there were."""
    count = 0
    curl = next((index for index, word in enumerate(argv) if word.rpartition("/")[2].lower() == "curl"), len(argv))
    for index in range(curl + 1, len(argv)):
        word = argv[index]
        match = re.fullmatch(CURL_GLUED, word)
        start = match.start(1) if match else word.find(":") + 1
        if (match or re.fullmatch(CURL_USER, argv[index - 1])) and start and not is_placeholder(word[start:]):
            argv[index] = word[:start] + REDACTED
            count += 1
    return count


class Filter:
    """Takes the secrets out of a stream that comes in blocks, as if it came in one.

    What `feed` is given comes out as soon as its line is complete; a carriage return completes one, too.  An
    incomplete line of more than `limit` bytes comes out but for its last sixteenth, and is not cut inside of a secret
    unless the secret is longer than half of the limit: then only its beginning is known for one.
    """

    def __init__(self, redactor: Redactor, limit: int = LINE_LIMIT) -> None:
        self.redactor = redactor
        self.limit = limit
        self.held = bytearray()  #: the incomplete line
        self.armor = Armor()
        self.found = 0

    @property
    def count(self) -> int:
        """How many secrets were taken out."""
        return self.found + self.armor.count

    def feed(self, block: bytes) -> bytes:
        """Take a block, and return what can be shown."""
        end = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
        done = b""
        if end:
            done = self.lines(bytes(self.held) + block[:end])
            self.held.clear()
        self.held += block[end:]
        return done + self.relieve() if len(self.held) > self.limit else done

    def flush(self) -> bytes:
        """The rest, at the stream's end."""
        done = self.lines(bytes(self.held))
        self.held.clear()
        return done + self.armor.close()

    def relieve(self) -> bytes:
        """Let go of most of a line that is too long to be held."""
        text = self.held.decode(*UTF8)
        cut = self.redactor.gap(text, len(text) - self.limit // 16)
        self.held = bytearray(text[cut:].encode(*UTF8))
        return self.lines(text[:cut].encode(*UTF8))

    def lines(self, block: bytes) -> bytes:
        """Whole lines without secrets; the last may lack its end."""
        folded = block.translate(FOLDED)
        marked = self.redactor.lines(folded)
        if not marked and not self.armor.is_open:
            return block
        done: list[bytes] = []
        at = self.armor.take(block, folded, 0, done)
        for start in sorted(marked):
            if start < at:
                continue  # a line of a private key
            end = line_end(folded, start)
            done += [block[at:start], self.line(block[start:end], marked[start])]
            at = self.armor.take(block, folded, end, done)
        return b"".join([*done, block[at:]])

    def line(self, line: bytes, bits: int) -> bytes:
        """One line without secrets."""
        content = line.rstrip(b"\r\n")
        text, count = self.redactor.line(content.decode(*UTF8), bits)
        self.found += count
        self.armor.look(content)
        return text.encode(*UTF8) + line[len(content) :] if count else line


class Armor:
    """A private key's lines, between the first, which says what comes, and the last."""

    BODY = rb"[+> |-]*[A-Za-z0-9+/=]{4,}"  #: a line of base64, in a patch or a quotation perhaps
    HEADER = rb"[+> |-]*(?:Proc-Type|DEK-Info|Version|Comment|Charset|Hash):"

    def __init__(self) -> None:
        self.is_open = False
        self.is_told = False  #: whether [redacted] stands for the lines already
        self.ending = b""  #: what ended the last line that was taken out, and the blank ones since
        self.count = 0

    def look(self, line: bytes) -> None:
        """Open, if a line ends in what begins a private key, or in its first base64."""
        label, mark, rest = line[line.rfind(b"-----BEGIN ") + 1 :].partition(b"PRIVATE KEY")
        rest = rest.removeprefix(b" BLOCK").removeprefix(b"-----").strip()
        self.is_open = bool(mark) and label.startswith(b"----BEGIN ") and (not rest or self.is_body(rest))
        self.is_told = False

    def is_body(self, content: bytes) -> bool:
        """Whether a line without its ends is base64."""
        return re.fullmatch(self.BODY, content) is not None

    def take(self, block: bytes, folded: bytes, at: int, done: list[bytes]) -> int:
        """Take the key's lines from this place on, add what is to be shown of them, and return where they end."""
        while self.is_open and at < len(block):
            end = line_end(folded, at)
            shown = self.line(block[at:end])
            if shown is None:
                done.append(self.close())
                break
            done.append(shown)
            at = end
        return at

    def line(self, line: bytes) -> bytes | None:
        """What is to be shown of a line; None if it does not belong to the key."""
        content = line.strip()
        if not content and self.is_told:
            self.ending += line
            return b""
        if not content or (not self.is_told and re.match(self.HEADER, content)):
            return line
        if not self.is_body(content):
            return self.last_line(line)
        self.ending = line[len(line.rstrip()) :]
        return self.tell()

    def last_line(self, line: bytes) -> bytes | None:
        """The last line, if base64 stands before its mark."""
        body, mark, rest = line.partition(b"-----END")
        if not mark or not self.is_body(body.strip()):
            return None
        self.is_open = False
        self.ending = b""
        return self.tell() + mark + rest

    def tell(self) -> bytes:
        """The word that stands for all the lines, once."""
        if self.is_told:
            return b""
        self.is_told = True
        self.count += 1
        return REDACTED.encode()

    def close(self) -> bytes:
        """The key is over; returns what is left to show."""
        ending, self.ending, self.is_open = self.ending, b"", False
        return ending
