"""What surrounds a command: terminal, machine, environment, and the git repository it was started in.

`surroundings` reads what is quick to read and is asked right after the command's start; `Changes` has git itself find
out, beside the running command, what takes longer.  Neither raises: a fact that cannot be had is left out.
"""

from __future__ import annotations

import os
import select
import signal
import time

from qrec.output import make_private
from qrec.process import widen
from qrec.redact import Redactor
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

#: The environment variables that are recorded if they are set.
RECORDED = frozenset(
    """PATH LANG LC_ALL TZ TERM SHELL PYTHONPATH LD_LIBRARY_PATH LD_PRELOAD VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV
    OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS CUDA_VISIBLE_DEVICES CUDA_HOME HIP_VISIBLE_DEVICES
    MODULEPATH LOADEDMODULES""".split()
)
LONGEST = 8192  #: characters that are kept of a variable's value
STREAMS = ("stdin", "stdout", "stderr")


def surroundings(
    folder: str, environment: Mapping[str, str], more: Iterable[str] = (), redactor: Redactor | None = None
) -> dict[str, Any]:
    """What surrounds a command that is started in a folder with an environment; what does not apply is left out.

    `more` names further variables to record, with `*`, `?` and `[...]` as in a shell.  Secrets in values are redacted.
    """
    redactor = redactor or Redactor()
    parts: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: {"terminal": terminals()},
        window,
        lambda: pythons(environment),
        lambda: repository_facts(folder, environment),
        machine,
        lambda: {"environment": recorded(environment, tuple(more), redactor)},
        lambda: {"slurm": slurm(environment, redactor)},
    )
    facts: dict[str, Any] = {}
    for part in parts:
        try:
            facts.update(part())
        except Exception:  # whatever one part meets, the command runs, and the other parts are told
            continue
    return {name: value for name, value in facts.items() if value}


def terminals() -> list[str]:
    """Which of our own streams are terminals."""
    return [name for number, name in enumerate(STREAMS) if os.isatty(number)]


def window() -> dict[str, Any]:
    """The size of the terminal that is written to."""
    columns, lines = os.get_terminal_size(1)
    return {"columns": columns, "lines": lines}


def pythons(environment: Mapping[str, str]) -> dict[str, Any]:
    """The active virtual or conda environment."""
    return {
        "python": environment.get("VIRTUAL_ENV") or environment.get("CONDA_PREFIX"),
        "conda": environment.get("CONDA_DEFAULT_ENV"),
    }


# The environment


def recorded(environment: Mapping[str, str], more: tuple[str, ...], redactor: Redactor) -> dict[str, str]:
    """The variables that may be recorded, without secrets."""
    chosen = {name: value for name, value in environment.items() if value and is_recorded(name, more)}
    return shortened(redactor.variables(chosen))


def is_recorded(name: str, more: tuple[str, ...]) -> bool:
    """Whether a variable may be recorded."""
    if name in RECORDED or name in more:
        return True
    if not any("*" in pattern or "?" in pattern or "[" in pattern for pattern in more):
        return False
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, pattern) for pattern in more)


def slurm(environment: Mapping[str, str], redactor: Redactor) -> dict[str, str]:
    """What Slurm tells a job, less what is secret."""
    chosen = {name: value for name, value in environment.items() if value and name.startswith("SLURM_")}
    return shortened({name: value for name, value in redactor.variables(chosen).items() if value == chosen[name]})


def shortened(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables with values that nobody has to scroll through."""
    return {
        name: value if len(value) <= LONGEST else f"{value[:LONGEST]}... ({len(value)} characters)"
        for name, value in variables.items()
    }


# The machine


def machine() -> dict[str, Any]:
    """What the command runs on."""
    about = os.uname()
    return {
        "cpus": usable_cpus(),
        "cpu": cpu_model(),
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{about.sysname} {about.release}",
    }


def usable_cpus() -> int:
    """How many logical CPUs this process, and so the command, may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 0


def cpu_model() -> str:
    """What the CPU calls itself; nothing where the kernel does not tell.

    Only the first bytes are read: the kernel makes up the whole file for all CPUs while it is read.
    """
    for line in small_file("/proc/cpuinfo", 1024).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return ""


def small_file(path: str, limit: int = 4096) -> str:
    """The beginning of a file as text; nothing if it cannot be read.  Never waits for the writer of a pipe."""
    return os.fsdecode(small_bytes(path, limit))


def small_bytes(path: str, limit: int) -> bytes:
    """The beginning of a file; nothing if it cannot be read."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    try:
        return os.read(file, min(limit, os.fstat(file).st_size or limit))  # 0 in /proc
    except OSError:
        return b""
    finally:
        os.close(file)


# The repository, read by hand: starting git costs more than all the rest


class Repository(Record):
    """A git repository as seen from one of its work trees."""

    root: str  #: the work tree's folder; the repository's own if it is bare
    folder: str  #: where HEAD is
    common: str  #: where the branches are: the same, but for further work trees

    @property
    def is_reftable(self) -> bool:
        """Whether branches are kept in a form that only git reads."""
        return os.path.isdir(os.path.join(self.common, "reftable"))


PACKED_LIMIT = 32 * 1024 * 1024  #: bytes of packed-refs that are read
DEPTH = 5  #: how many references may lead from one to the next, as in git


def repository_facts(folder: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Root, commit and branch of the repository a folder is in."""
    found = find_repository(folder, environment)
    if found is None:
        return {}
    if found.is_reftable:
        return {"repository": found.root}
    branch, commit = head(found)
    return {"repository": found.root, "commit": commit, "branch": branch}


def find_repository(folder: str, environment: Mapping[str, str]) -> Repository | None:
    """The repository that git would use in a folder."""
    if named := environment.get("GIT_DIR"):
        git = os.path.join(folder, named)
        root = os.path.join(folder, environment.get("GIT_WORK_TREE") or "")
        return repository(os.path.normpath(root), git) if is_git_folder(git) else None
    folder = os.path.abspath(folder)
    while True:
        if below := git_folder(os.path.join(folder, ".git")):
            return repository(folder, below)
        if os.path.basename(folder) != ".git" and is_git_folder(folder):
            return repository(folder, folder)
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def git_folder(path: str) -> str | None:
    """The folder that a `.git` is, or names: that of a further work tree, or of a submodule."""
    line = small_file(path).strip() if os.path.isfile(path) else ""
    git = os.path.join(os.path.dirname(path), line[len("gitdir:") :].strip()) if line.startswith("gitdir:") else path
    return os.path.normpath(git) if is_git_folder(git) else None


def is_git_folder(path: str) -> bool:
    """Whether a folder has what git wants to see: a HEAD, and objects of its own or of the one it belongs to."""
    return os.path.lexists(os.path.join(path, "HEAD")) and any(
        os.path.exists(os.path.join(path, name)) for name in ("objects", "commondir")
    )


def repository(root: str, git: str) -> Repository:
    """The repository with that folder; a further work tree's shares its branches with the first one's."""
    common = small_file(os.path.join(git, "commondir")).strip()
    return Repository(root=root, folder=git, common=os.path.normpath(os.path.join(git, common)))


def head(found: Repository) -> tuple[str | None, str | None]:
    """The branch that is checked out, and the commit; None for what there is not."""
    name, branch = "HEAD", None
    for _ in range(DEPTH):
        value = reference(found, name)
        if not value.startswith("ref:"):
            return branch, value if is_commit(value) else None
        name = value[len("ref:") :].strip()
        if not name.startswith("refs/") or ".." in name:
            break
        branch = branch or name.removeprefix("refs/heads/")
    return branch, None


def reference(found: Repository, name: str) -> str:
    """What a reference says: a commit, or `ref:` and another one; nothing if it is not there."""
    link = os.path.join(found.folder, name)
    if os.path.islink(link):  # as git once made them
        return f"ref: {os.readlink(link)}"
    for folder in (found.folder, found.common):
        if line := small_file(os.path.join(folder, name)).strip():
            return line
    return packed(found.common, name)


def packed(common: str, name: str) -> str:
    """The commit of a reference that git has packed away with others, a line each."""
    text = small_bytes(os.path.join(common, "packed-refs"), PACKED_LIMIT)
    before, found, _ = text.partition(b" " + os.fsencode(name) + b"\n")
    return os.fsdecode(before[before.rfind(b"\n") + 1 :]) if found else ""


def is_commit(text: str) -> bool:
    """Whether a text is a commit's full name, by SHA-1 or SHA-256."""
    return len(text) in (40, 64) and not text.strip("0123456789abcdef")


# What differs from the commit, by git itself

PATCH_LIMIT = 256 * 1024  #: bytes of a patch that are kept
LEFT_OUT = b"[qrec: more was left out]\n"
LARGE_FILE = "4m"  #: from this size on, a file is only said to differ; git would load both versions of it
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  #: stands for the commit where there is none yet
FAREWELL = 1.0  #: seconds a killed git may take to go; one that hangs in the kernel is left alone
NICE = 10  #: how far git steps back behind the command

GIT = """git --no-pager -c core.fsmonitor=false -c color.ui=false -c diff.relative=false -c diff.autoRefreshIndex=false
    -c diff.noprefix=false -c diff.mnemonicPrefix=false""".split()
DIFF = "diff --no-ext-diff --no-textconv --no-color --no-renames --submodule=short --ignore-submodules=dirty".split()
#: No prompt, no lock, no trace, and no network: a partial clone would fetch what it lacks.
QUIET = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "LC_ALL": "C",
}
UNWANTED = ("GIT_TRACE", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS")


class Changes:
    """Asks git, beside the running command, what differs from the commit.

        changes = Changes(folder, patch)
        changes.begin()                     # the command has been started
        ...                                 # changes.poll() whenever changes.descriptor can be read
        facts.update(changes.finish(0.5))   # the command has ended

    The differences are those of tracked files; whether there are untracked ones, only a walk through all folders would
    tell.  What a submodule has changed inside of itself is left out, too.  Secrets in the patch are redacted where it
    is shown.

    git writes into a pipe, and is killed once more than PATCH_LIMIT bytes have come: until somebody reads, it can
    write no more than the pipe holds, so that no size of a change fills the disk or the memory.  It has a session of
    its own: no terminal to talk to, and no signals that are meant for the command.
    """

    def __init__(self, folder: str, patch: str, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.patch = patch  #: the file for the patch; its folder is made if need be
        self.environment = os.environ if environment is None else environment
        self.diff: Asked | None = None
        self.name: Asked | None = None  #: where branch and commit cannot be read by hand

    def begin(self) -> None:
        """Start git, if the folder is in a repository."""
        try:
            found = find_repository(self.folder, self.environment)
            if found is None:
                return
            base = "HEAD" if found.is_reftable or head(found)[1] else EMPTY_TREE
            self.diff = self.ask(*DIFF, base, "--", limit=PATCH_LIMIT)
            if found.is_reftable:
                self.name = self.ask("rev-parse", "HEAD", "--symbolic-full-name", "HEAD")
        except Exception:  # no git, no room for a process, a wondrous repository: then nothing is known
            return

    def ask(self, *words: str, limit: int = 4096) -> Asked:
        """Start git with these words."""
        kept = {name: value for name, value in self.environment.items() if not name.startswith(UNWANTED)}
        large = ["-c", f"core.bigFileThreshold={LARGE_FILE}"]
        return Asked([*GIT, *large, "-C", self.folder, *words], {**kept, **QUIET}, limit)

    @property
    def descriptor(self) -> int:
        """Can be read when `poll` has something to do; -1 if there is nothing to wait for."""
        return self.diff.source if self.diff else -1

    def poll(self) -> bool:
        """Take what git has written, without waiting; True if all of it is there."""
        if self.diff is not None:
            self.diff.take()
        return self.descriptor < 0

    def finish(self, patience: float) -> dict[str, Any]:
        """What git has found, waiting at most so many seconds for it; nothing if it is not known.

        `dirty` says whether anything differs, `patch` how many bytes of it were kept; `commit` and `branch` are added
        where `surroundings` could not read them.
        """
        deadline = time.monotonic() + patience
        try:
            facts = self.named(deadline)
            return facts | self.difference(deadline)
        except Exception:  # nothing of this is worth a command's record
            return {}

    def named(self, deadline: float) -> dict[str, Any]:
        """Commit and branch, where git was asked for them."""
        if self.name is None:
            return {}
        text, is_whole = self.name.end(deadline)
        commit, _, branch = os.fsdecode(text).strip().partition("\n")
        if not is_whole or not is_commit(commit):
            return {}
        return {"commit": commit} | ({"branch": branch.removeprefix("refs/heads/")} if branch != "HEAD" else {})

    def difference(self, deadline: float) -> dict[str, Any]:
        """Whether anything differs, and the size of the patch."""
        if self.diff is None:
            return {}
        text, is_whole = self.diff.end(deadline)
        if not text:
            return {"dirty": False} if is_whole else {}
        if not is_whole:
            text = text[: text.rfind(b"\n", 0, PATCH_LIMIT - len(LEFT_OUT)) + 1] + LEFT_OUT
        return {"dirty": True} | ({"patch": len(text)} if write_private(self.patch, text) else {})


class Asked:
    """A git that has been asked something, and its answer so far."""

    def __init__(self, words: list[str], environment: Mapping[str, str], limit: int) -> None:
        self.limit = limit  #: bytes of the answer that are wanted
        self.text = bytearray()
        self.pid = 0
        self.source, inlet = os.pipe()
        try:
            os.set_blocking(self.source, False)
            widen(self.source)  # so that git need not wait for a reader, and sees the files as they are now
            self.pid = start_apart(words, environment, inlet)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(inlet)

    def take(self) -> None:
        """Take what is there; close at the answer's end, or when it is longer than wanted."""
        while self.source >= 0:
            try:
                block = os.read(self.source, 65536)
            except BlockingIOError:
                return
            self.text += block
            if not block or len(self.text) > self.limit:
                self.close()

    def close(self) -> None:
        """Read no more."""
        if self.source >= 0:
            os.close(self.source)
            self.source = -1

    def end(self, deadline: float) -> tuple[bytes, bool]:
        """The answer, and whether it is whole.  A git that is not ready at the deadline is killed."""
        self.wait_for_text(deadline)
        is_too_long = len(self.text) > self.limit
        status = None if is_too_long else self.reap(deadline)
        if status is None:
            self.kill()
        if status:
            return b"", False  # git has failed, and what it printed is no answer
        return bytes(self.text), status == 0

    def wait_for_text(self, deadline: float) -> None:
        """Read until the end of the answer, or the deadline."""
        self.take()
        if self.source < 0:
            return
        poll = select.poll()
        poll.register(self.source, select.POLLIN)
        while self.source >= 0 and (left := deadline - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self.take()
        self.close()

    def reap(self, deadline: float) -> int | None:
        """The code git ended with, -1 if nobody can tell; None if it has not ended by the deadline."""
        pause = 0.0005
        while True:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody has waited for any child, or lets the kernel do it
                return -1
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= deadline:
                return None
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def kill(self) -> None:
        """End git and what it has started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except OSError:
            pass  # it is gone
        self.reap(time.monotonic() + FAREWELL)


def start_apart(words: list[str], environment: Mapping[str, str], output: int) -> int:
    """Start a program in a session of its own that writes into a descriptor, and has nothing else; return its pid."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        pid = os.posix_spawnp(
            words[0],
            words,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, source, number) for number, source in enumerate((null, output, null))],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM],
        )
    finally:
        os.close(null)
    try:
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
    except OSError:
        pass  # it is gone already
    return pid


def write_private(path: str, text: bytes) -> bool:
    """Write a file that only the user may read, in a folder that is made if need be; False if that cannot be."""
    try:
        make_private(os.path.dirname(path))
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(file, "wb") as stream:
            stream.write(text)
    except OSError:
        return False
    return True
