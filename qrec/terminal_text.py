"""Output as plain text: what would stand in a terminal in the end, without colours and other control sequences.

A progress bar that was drawn a thousand times is its last state.  Every character, a tab too, counts as one column; a
row has no end, so nothing is wrapped.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HEIGHT = 24  #: rows of the terminal, for what is placed by its number
KEPT = 200  #: rows that can still change; above them they are settled
WIDEST = 4096  #: columns a cursor can be sent to where nothing is written
LONGEST = 16 * 1024  #: characters of a row that can still change
HELD = 64 * 1024  #: characters that are held back for the end of a control sequence

# A sequence that sets a title or the like ends at a newline too: where its own end is missing, the text must not.
STRING = r"[\]PX^_][^\x07\x1b\n]*"
SEQUENCE = r"(?:\x1b\[|\x9b)(?P<words>[0-?]*)[ -/]*(?P<final>[@-~])"
OTHER = rf"\x1b(?:{STRING}(?:\x07|\x1b\\)?|[ -/]+[0-~]|(?P<short>[0-~]))"
IGNORED = r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f-\x9a\x9c-\x9f]+|\x1b|\x9b"
SPECIAL = re.compile(rf"{SEQUENCE}|{OTHER}|(?P<control>[\b\r\x0b\x0c])|{IGNORED}")
ODD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
UNFINISHED = re.compile(rf"(?:\x1b(?:\[[0-?]*[ -/]*|{STRING}\x1b?|[ -/]*)?|\x9b[0-?]*[ -/]*)\Z")
COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
ASIDE = frozenset(("?1049", "?1047", "?47"))  #: the second screen, which full-screen programs use


def plain(text: str, height: int = HEIGHT) -> str:
    """Text as it stands in a terminal in the end."""
    screen = Screen(height)
    return screen.feed(text) + screen.close()


class Screen:
    """A terminal that is fed piece by piece, and gives back what cannot change any more."""

    def __init__(self, height: int = HEIGHT) -> None:
        self.height = height
        self.rows = [""]
        self.row = self.column = 0
        self.saved = (0, 0)
        self.aside: tuple[list[str], int, int] | None = None  #: the first screen, while the second is shown
        self.held = ""
        self.done: list[str] = []

    def feed(self, text: str) -> str:
        """Show more text; return what is settled by it."""
        text = self.held + text
        unfinished = UNFINISHED.search(text, start_of_last(text))
        self.held = unfinished.group() if unfinished else ""
        text = text[: len(text) - len(self.held)].replace("\r\n", "\n")
        bare = COLOUR.sub("", text) if "\x1b" in text else text  # mostly there is nothing else
        if ODD.search(bare):
            self.interpret(text)
        else:
            self.put(bare)
        return self.settled()

    def interpret(self, text: str) -> None:
        """Write text, and do what the control sequences in it say."""
        position = 0
        for match in SPECIAL.finditer(text):
            self.put(text[position : match.start()])
            self.obey(match)
            position = match.end()
        self.put(text[position:])

    def close(self) -> str:
        """What is shown in the end and was not returned yet."""
        if self.aside is not None:
            self.rows, self.aside = [*without_end(self.aside[0]), *self.rows], None
        self.settle(len(self.rows))
        return self.settled().removesuffix("\n")

    def settled(self) -> str:
        """What has become settled since the last time."""
        done, self.done = self.done, []
        return "".join(done)

    def settle(self, count: int) -> None:
        """Take so many rows off the top.  Nothing comes of those on the second screen."""
        if self.aside is None:
            self.done += [f"{row}\n" for row in self.rows[:count]]
        del self.rows[:count]
        self.row = max(0, self.row - count)
        self.saved = max(0, self.saved[0] - count), self.saved[1]

    def start_anew(self) -> None:
        """Begin with an empty screen; what stood there was printed all the same."""
        self.rows = without_end(self.rows)
        self.settle(len(self.rows))
        self.rows, self.row, self.column = [""], 0, 0

    def put(self, text: str) -> None:
        """Write text that holds nothing special but newlines."""
        first, *rest = text.split("\n")
        if first:
            self.write(first)
        if rest and self.row == len(self.rows) - 1:
            self.rows += rest
            self.row, self.column = len(self.rows) - 1, len(rest[-1])
            self.bound()
            return
        for line in rest:
            self.next_row()
            self.column = 0
            self.write(line)

    def write(self, text: str) -> None:
        """Write text in this row, over what stands there."""
        row, column = self.rows[self.row], self.column
        if column < len(row):  # blanks written over something wipe it out
            row = row.rstrip(" ")
            over = text[: max(0, len(row) - column)]
            row = (row[:column] + over + row[column + len(over) :]).rstrip(" ") if over else row
            text, column = text[len(over) :], column + len(over)
        ink = text if column == len(row) else text.lstrip(" ")
        self.column = column + len(text)
        self.rows[self.row] = row.ljust(self.column - len(ink)) + ink if ink else row
        if self.column > LONGEST:
            self.bound()

    def bound(self) -> None:
        """Settle what is too much to be kept changeable."""
        if len(self.rows) > 2 * KEPT:
            self.settle(len(self.rows) - KEPT)
        if len(self.rows[self.row]) > LONGEST:
            self.settle(len(self.rows))
            self.rows, self.row, self.column = [""], 0, 0
            if self.aside is None:
                self.done[-1] = self.done[-1].removesuffix("\n")
        self.column = min(self.column, LONGEST)

    def obey(self, match: re.Match[str]) -> None:
        """Do what a control character or sequence says, if it says where or what to erase."""
        control, final, short = match.group("control", "final", "short")
        if control:
            self.control(control)
        elif final in SEQUENCES:
            words = match["words"]
            SEQUENCES[final](self, [int(word) if word.isdigit() else 0 for word in words[:40].split(";")])
        elif final in ("h", "l") and not ASIDE.isdisjoint(match["words"].split(";")):
            self.show_aside(final == "h")
        elif short in SHORT:
            SHORT[short](self)

    def control(self, character: str) -> None:
        """A control character."""
        if character == "\r":
            self.column = 0
        elif character == "\b":
            self.column = max(0, self.column - 1)
        else:
            self.put("\n")

    def show_aside(self, aside: bool) -> None:
        """Change to the second screen, or back: what was shown there leaves no trace."""
        if aside and self.aside is None:
            self.aside = self.rows, self.row, self.column
            self.rows, self.row, self.column = [""], 0, 0
        elif not aside and self.aside is not None:
            (self.rows, self.row, self.column), self.aside = self.aside, None

    # Sequences: each gets the numbers that it was given, 0 where none was

    def up(self, count: int, column: int | None = None) -> None:
        """Move the cursor up, and to a column if one is given."""
        self.row = max(0, len(self.rows) - KEPT, self.row - some(count))
        self.column = self.column if column is None else column

    def down(self, count: int, column: int | None = None) -> None:
        """Move the cursor down as far as there are rows, and to a column if one is given."""
        self.row = min(len(self.rows) - 1, self.row + some(count))
        self.column = self.column if column is None else column

    def next_row(self) -> None:
        """Move the cursor down; there is always another row."""
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")
            self.bound()

    def go_to_column(self, column: int) -> None:
        """Move the cursor in its row."""
        self.column = max(0, min(column, max(WIDEST, len(self.rows[self.row]))))

    def go_to(self, numbers: list[int]) -> None:
        """Move the cursor to a row and a column of the screen."""
        top = max(0, len(self.rows) - self.height)
        self.row = top + min(some(numbers[0]), self.height) - 1
        self.rows += [""] * (self.row + 1 - len(self.rows))
        self.go_to_column(some([*numbers, 0][1]) - 1)

    def erase_in_row(self, part: int) -> None:
        """Erase the row to its end, from its beginning, or all of it."""
        row = self.rows[self.row]
        rest = row[self.column + 1 :].rjust(len(row)) if self.column < len(row) else ""
        self.rows[self.row] = row[: self.column] if part == 0 else rest if part == 1 else ""

    def erase_in_screen(self, part: int) -> None:
        """Erase the screen from here to its end; where all of it goes, what stood there is settled."""
        if part == 0:
            self.erase_in_row(0)
            del self.rows[self.row + 1 :]
        elif part > 1:
            self.start_anew()

    def change_row(self, count: int, gap: int) -> None:
        """Take so many characters out at the cursor, and put so many blanks in."""
        row = self.rows[self.row]
        self.rows[self.row] = row[: self.column] + " " * min(gap, WIDEST) + row[self.column + count :]

    def save(self) -> None:
        """Keep in mind where the cursor is."""
        self.saved = self.row, self.column

    def restore(self) -> None:
        """Move the cursor to where it was."""
        self.row = min(self.saved[0], len(self.rows) - 1)
        self.column = self.saved[1]

    def change_rows(self, count: int, gap: int) -> None:
        """Take so many rows out at the cursor, and put so many empty ones in."""
        self.rows[self.row : self.row + count] = [""] * min(gap, KEPT)
        self.rows += [""] * (self.row + 1 - len(self.rows))
        self.bound()


def start_of_last(text: str) -> int:
    """From where the end of a text may be a control sequence that goes on: its last two escapes, if they are near."""
    last = max(text.rfind("\x1b"), text.rfind("\x9b"))
    before = text.rfind("\x1b", 0, max(0, last))
    return len(text) if last < 0 else max(last if before < 0 else before, len(text) - HELD)


def without_end(rows: list[str]) -> list[str]:
    """Rows without the empty ones at their end."""
    end = max((place for place, row in enumerate(rows, 1) if row), default=0)
    return rows[:end]


def some(count: int) -> int:
    """A count that a sequence was given: at least one."""
    return max(1, count)


#: What the sequences do that move the cursor or erase, by their last character.
SEQUENCES: dict[str, Callable[[Screen, list[int]], None]] = {
    "A": lambda screen, n: screen.up(n[0]),
    "B": lambda screen, n: screen.down(n[0]),
    "C": lambda screen, n: screen.go_to_column(screen.column + some(n[0])),
    "D": lambda screen, n: screen.go_to_column(screen.column - some(n[0])),
    "E": lambda screen, n: screen.down(n[0], 0),
    "F": lambda screen, n: screen.up(n[0], 0),
    "G": lambda screen, n: screen.go_to_column(some(n[0]) - 1),
    "`": lambda screen, n: screen.go_to_column(some(n[0]) - 1),
    "H": lambda screen, n: screen.go_to(n),
    "f": lambda screen, n: screen.go_to(n),
    "d": lambda screen, n: screen.go_to([n[0], screen.column + 1]),
    "J": lambda screen, n: screen.erase_in_screen(n[0]),
    "K": lambda screen, n: screen.erase_in_row(n[0]),
    "P": lambda screen, n: screen.change_row(some(n[0]), 0),
    "X": lambda screen, n: screen.change_row(some(n[0]), some(n[0])),
    "@": lambda screen, n: screen.change_row(0, some(n[0])),
    "L": lambda screen, n: screen.change_rows(0, some(n[0])),
    "M": lambda screen, n: screen.change_rows(some(n[0]), 0),
    "s": lambda screen, n: screen.save(),
    "u": lambda screen, n: screen.restore(),
}
#: The same for the sequences of two characters.
SHORT: dict[str, Callable[[Screen], None]] = {
    "7": Screen.save,
    "8": Screen.restore,
    "D": Screen.next_row,
    "E": lambda screen: screen.put("\n"),
    "M": lambda screen: screen.up(1),
    "c": Screen.start_anew,
}
