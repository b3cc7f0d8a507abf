"""What surrounds a command: read from real repositories, and asked of a real git."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from qrec import facts
from qrec.facts import EMPTY_TREE, LEFT_OUT, LONGEST, PATCH_LIMIT, Changes, surroundings
from qrec.redact import Redactor
from tests.helpers import wait_until

PATIENCE = 30.0  #: seconds; a git that is asked about a small repository needs a few milliseconds


@pytest.fixture(autouse=True)
def settings(monkeypatch) -> None:
    """No settings of the machine's reach git, and none is left behind."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setattr(facts, "FAREWELL", PATIENCE)  # a killed git that takes its time would be met by later tests
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV"):
        monkeypatch.delenv(name, raising=False)


def git(folder: Path, *words: str) -> str:
    """What git prints in a folder."""
    identity = ["-c", "user.name=A User", "-c", "user.email=user@example.org", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done
    return done.stdout.strip()


def new_repository(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return folder


def commit(folder: Path, text: str = "one\n", name: str = "file") -> str:
    """Commit a file, and return the commit."""
    (folder / name).write_text(text)
    git(folder, "add", name)
    git(folder, "commit", "-q", "-m", text)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with one commit."""
    commit(folder := new_repository(tmp_path / "a tree"))
    return folder


def seen(folder: Path, **environment: str) -> dict[str, Any]:
    """What is recorded of a folder's repository."""
    found = surroundings(str(folder), environment)
    return {name: found[name] for name in ("repository", "commit", "branch") if name in found}


def told(folder: Path) -> dict[str, Any]:
    """The same, as git tells it."""
    branch = subprocess.run(
        ["git", "symbolic-ref", "-q", "--short", "HEAD"], cwd=folder, capture_output=True, text=True
    )
    facts = {"repository": git(folder, "rev-parse", "--show-toplevel"), "commit": git(folder, "rev-parse", "HEAD")}
    return facts | ({"branch": branch.stdout.strip()} if branch.returncode == 0 else {})


# The repository


def test_a_repository_is_seen_from_any_folder_in_it(tree):
    (tree / "deep" / "down").mkdir(parents=True)
    expected = {"repository": str(tree), "commit": git(tree, "rev-parse", "HEAD"), "branch": "main"}
    assert seen(tree) == seen(tree / "deep" / "down") == told(tree) == expected


def test_no_repository(tmp_path):
    assert seen(tmp_path) == {}


def test_a_branch_with_slashes(tree):
    git(tree, "checkout", "-q", "-b", "some/long/name")
    assert seen(tree)["branch"] == "some/long/name"
    assert seen(tree) == told(tree)


def test_packed_references(tree):
    for name in ("mai", "main2", "a/main"):
        git(tree, "branch", name)
    commit(tree, "two\n")
    git(tree, "tag", "-a", "-m", "a tag", "v1")
    git(tree, "pack-refs", "--all")
    assert not (tree / ".git" / "refs" / "heads" / "main").exists()
    assert seen(tree) == told(tree)
    commit(tree, "three\n")  # now the loose one is newer than the packed one
    assert seen(tree) == told(tree)


def test_a_detached_head_is_on_no_branch(tree):
    git(tree, "checkout", "-q", "--detach")
    assert "branch" not in seen(tree)
    assert seen(tree) == told(tree)


def test_no_commit_yet(tmp_path):
    folder = new_repository(tmp_path / "new")
    assert seen(folder) == {"repository": str(folder), "branch": "main"}


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_further_work_tree(tree, tmp_path, is_packed):
    git(tree, "worktree", "add", "-q", "-b", "other", str(tmp_path / "other"))
    commit(tmp_path / "other", "two\n")
    if is_packed:
        git(tree, "pack-refs", "--all")
    assert seen(tmp_path / "other") == told(tmp_path / "other")
    assert seen(tmp_path / "other")["branch"] == "other"
    assert seen(tmp_path / "other")["commit"] != seen(tree)["commit"]


def test_a_submodule(tree, tmp_path):
    commit(above := new_repository(tmp_path / "above"), "above\n")
    git(above, "submodule", "--quiet", "add", str(tree), "sub")
    assert (above / "sub" / ".git").is_file()
    assert seen(above / "sub") == told(above / "sub")
    assert seen(above / "sub")["commit"] == seen(tree)["commit"] != seen(above)["commit"]


def test_a_bare_repository_and_the_inside_of_one(tree, tmp_path):
    git(tmp_path, "clone", "-q", "--bare", str(tree), "bare.git")
    bare = tmp_path / "bare.git"
    assert seen(bare / "objects") == {**seen(tree), "repository": str(bare)}
    assert seen(tree / ".git" / "objects") == seen(tree)
    assert asked(bare, tmp_path) == {}


def test_a_head_that_is_a_symbolic_link(tree):
    (tree / ".git" / "HEAD").unlink()
    (tree / ".git" / "HEAD").symlink_to("refs/heads/main")
    assert seen(tree) == told(tree)


def test_a_reference_to_a_reference(tree):
    git(tree, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    git(tree, "symbolic-ref", "HEAD", "refs/heads/alias")
    assert seen(tree)["commit"] == git(tree, "rev-parse", "HEAD")
    assert seen(tree)["branch"] == "alias"


def test_git_dir_names_the_repository(tree, tmp_path):
    named = seen(tmp_path, GIT_DIR="a tree/.git", GIT_WORK_TREE="a tree")
    assert named == seen(tree)
    assert seen(tree, GIT_DIR=str(tmp_path / "nowhere")) == {}


@pytest.mark.parametrize(
    "head", [b"", b"ref: refs/heads/../../../../secret", b"ref: \0", b"\xff" * 40, b"ref: refs/heads/loop", b"0" * 39]
)
def test_a_broken_head_is_no_trouble(tree, tmp_path, head):
    (tmp_path / "secret").write_text("0" * 40)
    (tree / ".git" / "refs" / "heads" / "loop").write_text("ref: refs/heads/loop")
    (tree / ".git" / "HEAD").write_bytes(head)
    assert "commit" not in seen(tree)
    assert seen(tree)["repository"] == str(tree)


@pytest.mark.timeout(60)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tree):
    (tree / ".git" / "HEAD").unlink()
    os.mkfifo(tree / ".git" / "HEAD")
    assert seen(tree) == {"repository": str(tree)}


# The rest


def test_the_machine(tmp_path):
    found = surroundings(str(tmp_path), {})
    assert found["cpus"] == len(os.sched_getaffinity(0))
    assert found["memory"] == pytest.approx(psutil.virtual_memory().total, rel=0.01)
    assert found["system"] == f"{os.uname().sysname} {os.uname().release}"
    assert found.get("cpu", "") in Path("/proc/cpuinfo").read_text()
    assert not {"environment", "slurm", "python", "conda"} & set(found)


def test_the_terminals_are_named(tmp_path):
    show = "from qrec.facts import terminals; import os; os.write({}, repr(terminals()).encode())"
    master, slave = os.openpty()
    reader, writer = os.pipe()
    words = [sys.executable, "-c", show.format(writer)]
    subprocess.run(words, stdin=slave, stdout=subprocess.DEVNULL, stderr=slave, pass_fds=[writer], check=True)
    assert os.read(reader, 100) == b"['stdin', 'stderr']"
    for number in (master, slave, reader, writer):
        os.close(number)


def test_the_environments_of_python(tmp_path):
    found = surroundings(str(tmp_path), {"VIRTUAL_ENV": "/v", "CONDA_PREFIX": "/c", "CONDA_DEFAULT_ENV": "base"})
    assert (found["python"], found["conda"]) == ("/v", "base")
    assert surroundings(str(tmp_path), {"CONDA_PREFIX": "/c"})["python"] == "/c"


def test_only_what_is_allowed_is_recorded_of_the_environment(tmp_path):
    environment = {"PATH": "/bin", "OMP_NUM_THREADS": "4", "TZ": "", "HOME": "/home/me", "WANDB_MODE": "off", "A": "1"}
    assert surroundings(str(tmp_path), environment)["environment"] == {"PATH": "/bin", "OMP_NUM_THREADS": "4"}
    more = surroundings(str(tmp_path), environment, ["WANDB_*", "A"])["environment"]
    assert more == {"PATH": "/bin", "OMP_NUM_THREADS": "4", "WANDB_MODE": "off", "A": "1"}


def test_a_secret_in_a_variable_is_redacted(tmp_path):
    environment = {
        "PYTHONPATH": "https://me:hunter2@example.org/x", "WANDB_API_KEY": "0123", "SLURM_JOB_ID": "7",
        "SLURM_JWT": "a secret", "SLURM_SUBMIT_DIR": "/home/me", "LANG": "my word", "PATH": "x" * (LONGEST + 1),
    }  # fmt: skip
    found = surroundings(str(tmp_path), environment, ["WANDB_*"], Redactor(["my (word)"]))
    assert found["environment"].pop("PATH").startswith("x" * LONGEST + "... (8193")
    assert found["environment"] == {
        "PYTHONPATH": "https://me:[redacted]@example.org/x", "WANDB_API_KEY": "[redacted]", "LANG": "my [redacted]",
    }  # fmt: skip
    assert found["slurm"] == {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": "/home/me"}


def test_one_part_that_fails_takes_nothing_from_the_others(tree, monkeypatch):
    def fail() -> None:
        raise RuntimeError

    monkeypatch.setattr(facts, "machine", fail)
    found = surroundings(str(tree), {"PATH": "/bin"})
    assert "cpus" not in found
    assert (found["branch"], found["environment"]) == ("main", {"PATH": "/bin"})


def test_a_folder_that_is_gone(tmp_path):
    assert surroundings(str(tmp_path / "gone"), {})["cpus"]
    assert asked(tmp_path / "gone", tmp_path) == {}


# What differs


def asked(folder: Path, tmp_path: Path, patience: float = PATIENCE) -> dict[str, Any]:
    """What git says of a folder; no process of it is left."""
    changes = Changes(str(folder), str(tmp_path / "attempt" / "1" / "patch"))
    changes.begin()
    try:
        return changes.finish(patience)
    finally:
        assert [child for child in psutil.Process().children() if child.name() == "git"] == []


def patch(tmp_path: Path) -> bytes:
    return (tmp_path / "attempt" / "1" / "patch").read_bytes()


def test_a_clean_tree(tree, tmp_path):
    (tree / "untracked").write_text("not looked for")
    assert asked(tree, tmp_path) == {"dirty": False}
    assert not (tmp_path / "attempt").exists()


def test_the_patch_makes_the_changes_again(tree, tmp_path):
    (tree / "sub").mkdir()
    (tree / "file").write_text("one\ntwo\n")
    (tree / "new").write_text("staged\n")
    git(tree, "add", "new")
    found = asked(tree / "sub", tmp_path)
    assert found == {"dirty": True, "patch": len(patch(tmp_path))}
    file = tmp_path / "attempt" / "1" / "patch"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    git(tree, "reset", "-q", "--hard")
    git(tree, "apply", str(file))
    assert (tree / "file").read_text() == "one\ntwo\n"
    assert (tree / "new").read_text() == "staged\n"


def test_a_repository_without_a_commit_differs_in_all_it_has(tmp_path):
    folder = new_repository(tmp_path / "new")
    assert asked(folder, tmp_path) == {"dirty": False}
    (folder / "file").write_text("one\n")
    git(folder, "add", "file")
    assert asked(folder, tmp_path)["dirty"] is True
    assert b"+one\n" in patch(tmp_path)
    assert git(folder, "hash-object", "-t", "tree", os.devnull) == EMPTY_TREE


def test_outside_of_a_repository_no_git_is_started(tmp_path):
    changes = Changes(str(tmp_path), str(tmp_path / "patch"))
    changes.begin()
    assert (changes.diff, changes.descriptor, changes.poll(), changes.finish(0)) == (None, -1, True, {})


def test_what_git_writes_can_be_taken_without_waiting(tree, tmp_path):
    (tree / "file").write_text("two\n")
    changes = Changes(str(tree), str(tmp_path / "patch"))
    changes.begin()
    wait_until(changes.poll)
    assert changes.descriptor == -1
    assert changes.finish(PATIENCE) == {"dirty": True, "patch": (tmp_path / "patch").stat().st_size}


def test_git_waits_for_no_reader(tree, tmp_path):
    (tree / "file").write_text("a line of text\n" * 12_000)
    changes = Changes(str(tree), str(tmp_path / "patch"))
    changes.begin()
    assert changes.diff is not None
    pid = changes.diff.pid
    wait_until(lambda: is_gone(pid), what="git to end by itself")
    assert changes.finish(0) == {"dirty": True, "patch": (tmp_path / "patch").stat().st_size}
    assert (tmp_path / "patch").read_bytes().count(b"+a line of text\n") == 12_000


@pytest.mark.parametrize("is_polled", [False, True])
def test_of_many_changes_only_so_much_is_kept(tree, tmp_path, is_polled):
    (tree / "file").write_text("a line of text\n" * 200_000)
    changes = Changes(str(tree), str(tmp_path / "attempt" / "1" / "patch"))
    changes.begin()
    if is_polled:
        wait_until(changes.poll)
        assert changes.diff is not None
        assert len(changes.diff.text) < 2 * PATCH_LIMIT
    size = len(text := b"" if (found := changes.finish(PATIENCE)) == {} else patch(tmp_path))
    assert found == {"dirty": True, "patch": size}
    assert PATCH_LIMIT - 1000 < size <= PATCH_LIMIT
    assert text.endswith(b"+a line of text\n" + LEFT_OUT)


def test_a_large_file_is_only_said_to_differ(tree, tmp_path):
    (tree / "file").write_text("a line of text\n" * 600_000)
    assert asked(tree, tmp_path)["dirty"] is True
    assert patch(tmp_path).endswith(b"Binary files a/file and b/file differ\n")


def test_a_huge_file_fills_no_disk(tree, tmp_path):
    os.truncate(tree / "file", 2 << 30)
    found = asked(tree, tmp_path, patience=0.1)  # git may well not be ready
    assert found.get("patch", 0) < 1000


def test_the_user_s_settings_start_no_program(tree, tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch '{tmp_path}/sprung'\n")
    trap.chmod(0o755)
    for name in ("diff.external", "diff.driver.command", "diff.driver.textconv", "core.fsmonitor", "core.pager"):
        git(tree, "config", name, str(trap))
    git(tree, "config", "diff.noprefix", "true")
    git(tree, "config", "color.diff", "always")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(trap))
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "sprung"))
    (tree / ".git" / "info").mkdir(exist_ok=True)
    (tree / ".git" / "info" / "attributes").write_text("file diff=driver\n")
    (tree / "file").write_text("two\n")
    assert asked(tree, tmp_path)["dirty"] is True
    assert patch(tmp_path).startswith(b"diff --git a/file b/file\n")
    assert not (tmp_path / "sprung").exists()


def test_the_index_is_left_alone(tree, tmp_path):
    os.utime(tree / "file", (1e9, 1e9))  # git would take the lock and note the new time
    before = (tree / ".git" / "index").stat()
    assert asked(tree, tmp_path) == {"dirty": False}
    after = (tree / ".git" / "index").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    (tree / ".git" / "index.lock").touch()
    assert asked(tree, tmp_path) == {"dirty": False}


def test_the_folder_goes_while_git_looks(tree, tmp_path):
    changes = Changes(str(tree), str(tmp_path / "patch"))
    tree.rename(tmp_path / "elsewhere")
    changes.begin()
    assert changes.finish(PATIENCE) == {}


def test_a_work_tree_that_was_moved_away_after_it_was_found(tree, tmp_path, monkeypatch):
    found = facts.find_repository(str(tree), {})
    monkeypatch.setattr(facts, "find_repository", lambda *_: found)
    tree.rename(tmp_path / "elsewhere")
    assert asked(tree, tmp_path) == {}


def test_a_patch_that_cannot_be_written(tree, tmp_path):
    (tree / "file").write_text("two\n")
    (tmp_path / "attempt").write_text("no folder")
    assert asked(tree, tmp_path) == {"dirty": True}


def test_no_git_at_all(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert asked(tree, tmp_path) == {}


def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program called git, the first on PATH."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that is nobody's child any more may wait for somebody to notice."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("script", ["sleep 1000", "exec >&-; sleep 1000", "echo '+half of it'; sleep 1000"])
def test_a_fake_git_that_hangs_is_ended_with_all_it_started(tree, tmp_path, monkeypatch, script):
    fake_git(tmp_path, monkeypatch, f"echo $$ >'{tmp_path}/pid'; {script} & wait; wait")
    changes = Changes(str(tree), str(tmp_path / "patch"))
    changes.begin()
    pid = int(wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    child = wait_until(lambda: psutil.Process(pid).children())[0].pid
    if "echo" in script:
        wait_until(lambda: changes.poll() or (changes.diff and changes.diff.text))
    found = changes.finish(0.05)
    assert found == ({"dirty": True, "patch": len(b"+half of it\n" + LEFT_OUT)} if "echo" in script else {})
    assert not psutil.pid_exists(pid)
    wait_until(lambda: is_gone(child))


def test_a_fake_git_that_fails_says_nothing(tree, tmp_path, monkeypatch):
    fake_git(tmp_path, monkeypatch, "echo nonsense; exit 128")
    assert asked(tree, tmp_path) == {}


def test_a_fake_git_has_a_session_of_its_own_and_no_input(tree, tmp_path, monkeypatch):
    script = (
        'ps -o sid= -p $$ | tr -d " "; echo $$; cat; readlink /proc/$$/fd/0 /proc/$$/fd/2; echo $GIT_OPTIONAL_LOCKS'
    )
    fake_git(tmp_path, monkeypatch, script)
    assert asked(tree, tmp_path)["dirty"] is True
    session, pid, *rest = patch(tmp_path).decode().split("\n")
    assert session == pid
    assert rest == ["/dev/null", "/dev/null", "0", ""]


def test_references_that_only_git_can_read_are_asked_of_git(tree, tmp_path):
    """The folder is all that tells of that form, and this git need not know it."""
    (tree / ".git" / "reftable").mkdir()
    assert seen(tree) == {"repository": str(tree)}
    assert asked(tree, tmp_path) == {"dirty": False, "commit": told(tree)["commit"], "branch": "main"}
    git(tree, "checkout", "-q", "--detach")
    assert asked(tree, tmp_path) == {"dirty": False, "commit": told(tree)["commit"]}
