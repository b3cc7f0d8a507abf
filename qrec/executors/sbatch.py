"""What the words of sbatch, srun and salloc say, and what a batch script says: pure reading, Slurm itself is not asked.

The rules are those of Slurm 22.05, each tried on a real one (tests/slurm/). Whatever Slurm would refuse is read as far
as it makes sense: it is for Slurm to complain. Options in lines that begin with `#PBS` or `#BSUB` are not read, and of
a heterogeneous job only what is said of its first component.
"""

from __future__ import annotations

import os
import re

from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: A script is kept up to this size, in bytes; Slurm's own limit is 4 MiB.
LARGEST_SCRIPT = 1 << 20

#: What `%a` becomes in a job that is no array.
NO_TASK = "4294967294"


# What the programs print


def jobid_of(stdout: bytes | str, argv: Sequence[str] = ()) -> tuple[str, str | None] | None:
    """The id that sbatch has printed, and the cluster if it named one; None if it printed none, as with --quiet.

    A site's plug-ins may print something before: the last match counts. --parsable may also be said in the script.
    """
    text = as_text(stdout)
    sentence, bare = r"^Submitted batch job (\d+)(?: on cluster (\S+))?$", r"^(\d+)(?:;(\S+))?$"
    for pattern in (bare, sentence) if "parsable" in words_of(argv).options else (sentence, bare):
        if found := re.findall(pattern, text, re.MULTILINE):
            jobid, cluster = found[-1]
            return jobid, cluster or None
    return None


def allocation_of(stderr: bytes | str) -> str | None:
    """The id of the job that srun or salloc has told of on stderr; None if it kept that to itself.

    The first one counts: what comes later is the command's own, which may be an srun. srun tells only when it has to
    wait, or with --verbose; see `job_of_srun`.
    """
    pattern = (
        r"^salloc: (?:Granted|Pending) job allocation (\d+)|^(?:srun|salloc): job (\d+) queued and waiting"
        r"|^srun: jobid (\d+): nodes"
    )
    found = re.search(pattern, as_text(stderr), re.MULTILINE)
    return next(filter(None, found.groups()), None) if found else None


def job_of_srun(steps: bytes | str, pid: int, host: str) -> str | None:
    """The id of the job that a running srun has made, from what `scontrol show step` prints.

    That names each step's srun by host and pid, so it is sure; but only as long as the step runs.
    """
    for step in as_text(steps).split("StepId=")[1:]:
        if re.search(rf"\bSrunHost:Pid={re.escape(host)}:{pid}$", step, re.MULTILINE):
            return re.split(r"[.+]", step.split()[0])[0]
    return None


def as_text(output: bytes | str) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output


# The command line

#: Every long option of sbatch, srun or salloc by whether it takes a value: `FLAG`s do not, `VALUE`s do, be it the next
#: word, and `OPTIONAL`s take one only if it is in the same word.
FLAG, VALUE, OPTIONAL = "flag", "value", "optional"

COMMON = {
    FLAG: """
        contiguous help hold overcommit oversubscribe quiet reboot spread-job usage use-min-nodes verbose version
    """,
    VALUE: """
        account acctg-freq bb bbf begin chdir cluster cluster-constraint clusters comment constraint container context
        core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency distribution
        exclude extra-node-info gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags
        hint job-name licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus network
        nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket ntasks-per-tres
        partition power prefer priority profile qos reservation signal sockets-per-node switches tasks-per-node
        thread-spec threads-per-core time time-min tmp uid wckey
    """,
    OPTIONAL: "exclusive nice no-kill",
}
OWN = {
    "sbatch": {
        FLAG: "ignore-pbs no-requeue parsable requeue test-only wait",
        VALUE: "array batch error export export-file input kill-on-invalid-dep open-mode output wait-all-nodes wrap",
        OPTIONAL: "get-user-env propagate",
    },
    "srun": {
        FLAG: """
            debugger-test disable-status exact interactive label multi-prog no-allocate preserve-env pty
            quit-on-interrupt test-only unbuffered whole
        """,
        VALUE: """
            accel-bind bcast-exclude cpu-bind cpu_bind epilog error export het-group input jobid mpi msg-timeout
            open-mode output pack-group prolog relative slurmd-debug task-epilog task-prolog threads wait
        """,
        OPTIONAL: "bcast compress immediate kill-on-bad-exit overlap propagate resv-ports send-libs x11",
    },
    "salloc": {
        FLAG: "bell no-bell no-shell",
        VALUE: "wait-all-nodes",
        OPTIONAL: "get-user-env immediate kill-command x11",
    },
}

#: The long option that a letter stands for.
LETTERS = dict(
    pair.split("=")
    for pair in """
        A=account B=extra-node-info C=constraint D=chdir F=nodefile G=gpus H=hold J=job-name L=licenses M=clusters
        N=nodes O=overcommit Q=quiet S=core-spec V=version a=array b=begin c=cpus-per-task d=dependency h=help k=no-kill
        m=distribution n=ntasks p=partition q=qos s=oversubscribe t=time v=verbose w=nodelist x=exclude W=wait
        e=error i=input o=output
        E=preserve-env I=immediate T=threads X=disable-status Z=no-allocate l=label r=relative u=unbuffered
    """.split()
)
OWN_LETTERS = {"srun": {"K": "kill-on-bad-exit"}, "salloc": {"K": "kill-command"}, "sbatch": {}}


def kinds_of(program: str) -> dict[str, str]:
    """Which options a program has, and whether they take a value."""
    tables = (COMMON, OWN.get(program, {}))
    return {name: kind for table in tables for kind, names in table.items() for name in names.split()}


class Words(Record):
    """What a command line says, or the option lines of a script."""

    program: str = "sbatch"  #: sbatch, srun or salloc
    options: Mapping[str, str] = {}  #: by their long names; the last one counts; a flag's value is empty
    rest: tuple[str, ...] = ()  #: what follows the options: the script, or srun's command, and its arguments

    @property
    def script(self) -> str | None:
        """The script's name as it was given; None if it comes from stdin or is made of --wrap."""
        return self.rest[0] if self.rest and "wrap" not in self.options else None


def words_of(argv: Sequence[str]) -> Words:
    """What a command line says, whose first word is the program."""
    program = os.path.basename(argv[0]) if argv else "sbatch"
    rest = list(argv[1:])
    first = dict(options(rest, program))
    while rest[:1] == [":"]:
        del rest[0]
        for _ in options(rest, program):
            pass  # of another component
    return Words(program=program, options=first, rest=tuple(rest))


def options(words: list[str], program: str = "sbatch") -> Iterator[tuple[str, str]]:
    """Takes the options off the words, up to the first word that is none, as getopt_long does."""
    kinds = kinds_of(program)
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            return
        yield from long_option(word[2:], words, kinds) if word.startswith("--") else letters(word[1:], words, program)


def long_option(word: str, words: list[str], kinds: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """`--name`, `--name=value`, `--name value`; the name may be cut short as long as it is clear which is meant."""
    given, equals, value = word.partition("=")
    name = full_name(given, kinds)
    if kinds.get(name) == VALUE and not equals and words:
        value = words.pop(0)
    yield SAME.get(name, name), value


#: Names that Slurm takes for others.
SAME = {"cluster": "clusters", "tasks-per-node": "ntasks-per-node", "cpu_bind": "cpu-bind"}


def full_name(given: str, kinds: Mapping[str, str]) -> str:
    """The option that begins like this; what is none, or might be several, stays as it is."""
    if given in kinds:
        return given
    meant = {SAME.get(name, name) for name in kinds if name.startswith(given)}
    return meant.pop() if len(meant) == 1 else given


def letters(word: str, words: list[str], program: str) -> Iterator[tuple[str, str]]:
    """`-H`, `-oNAME`, `-o NAME`, `-HoNAME`."""
    kinds, known = kinds_of(program), {**LETTERS, **OWN_LETTERS.get(program, {})}
    while word:
        letter, word = word[0], word[1:]
        name = known.get(letter, letter)
        if kinds.get(name, FLAG) == FLAG:
            yield name, ""
            continue
        if kinds[name] == VALUE and not word and words:
            word = words.pop(0)
        yield name, word
        return


# The script


def script_file(words: Words, cwd: str, environ: Mapping[str, str]) -> str | None:
    """The path of the script: as named, else, for a bare name, in PATH.  None if there is no file of that name."""
    if words.script is None:
        return None
    folders = [""] if "/" in words.script else ["", *environ.get("PATH", "").split(":")]
    places = (os.path.join(cwd, folder, words.script) for folder in folders)
    return next((path for path in places if os.path.exists(path)), None)


def script_text(argv: Sequence[str], cwd: str, environ: Mapping[str, str]) -> bytes | None:
    """The batch script as sbatch submits it, or its first MiB; None if it comes from stdin or cannot be read.

    A pipe is left alone (`sbatch <(make-script)`): what we read would be missing for sbatch.
    """
    words = words_of(argv)
    if "wrap" in words.options:
        made = f"#!/bin/sh\n# This script was created by sbatch --wrap.\n\n{words.options['wrap']}\n"
        return os.fsencode(made)[:LARGEST_SCRIPT]
    path = script_file(words, cwd, environ)
    if path is None or not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            return file.read(LARGEST_SCRIPT)
    except OSError:
        return None


def script_options(text: bytes | None) -> dict[str, str]:
    """What the `#SBATCH` lines say: those above the first command."""
    words = [word for line in option_lines(text or b"") for word in split(line)]
    return dict(options(words))


def option_lines(text: bytes) -> Iterator[str]:
    """What follows `#SBATCH` in the lines that begin with that, from the top until a line is neither empty nor comment.

    They end where the second component of a heterogeneous job begins.
    """
    for line in os.fsdecode(text).split("\n"):
        if line.startswith("#SBATCH"):
            if re.match(r"#SBATCH\s*(hetjob|packjob)\b", line):
                return
            yield line[len("#SBATCH") :]
        elif line.strip(BLANK) and not line.lstrip(BLANK).startswith("#"):
            return


BLANK = " \t\v\f\r"


def split(line: str) -> list[str]:
    """The words of an option line, as sbatch splits it.

    Quotes of both kinds, a backslash for the next character even between them, and `#` begins a comment anywhere else.
    An empty word (`""`) ends the line.
    """
    words = all_words(line)
    return words[: words.index("")] if "" in words else words


def all_words(line: str) -> list[str]:
    words: list[str] = []
    word: str | None = None
    quote = ""
    characters = iter(line)
    for character in characters:
        if character == "\\":
            word = (word or "") + next(characters, "")
        elif quote:
            quote, word = ("", word) if character == quote else (quote, (word or "") + character)
        elif character in "\"'":
            quote, word = character, word or ""
        elif character == "#":
            break
        elif character in BLANK:
            words, word = (words if word is None else [*words, word]), None
        else:
            word = (word or "") + character
    return words if word is None else [*words, word]


# All together


def environment_options(environ: Mapping[str, str]) -> dict[str, str]:
    """What variables say, of the options that matter for looking at a job; only those that sbatch 22.05 reads."""
    names = {
        "SBATCH_ACCOUNT": "account",
        "SBATCH_ARRAY_INX": "array",
        "SLURM_CLUSTERS": "clusters",
        "SBATCH_CLUSTERS": "clusters",
        "SBATCH_CONSTRAINT": "constraint",
        "SBATCH_ERROR": "error",
        "SBATCH_GPUS": "gpus",
        "SBATCH_GRES": "gres",
        "SBATCH_INPUT": "input",
        "SBATCH_JOB_NAME": "job-name",
        "SBATCH_MEM_PER_CPU": "mem-per-cpu",
        "SBATCH_MEM_PER_NODE": "mem",
        "SBATCH_OPEN_MODE": "open-mode",
        "SBATCH_OUTPUT": "output",
        "SBATCH_PARTITION": "partition",
        "SBATCH_QOS": "qos",
        "SBATCH_RESERVATION": "reservation",
        "SBATCH_TIMELIMIT": "time",
    }
    return {option: environ[variable] for variable, option in names.items() if variable in environ}


class Submission(Record):
    """What a call of sbatch asks for: the script's options, over them those of variables, over them its own."""

    folder: str  #: where sbatch was called
    options: Mapping[str, str] = {}  #: by their long names
    words: Words = Words()
    script: bytes | None = None  #: its text, as far as it is known

    @property
    def chdir(self) -> str:
        """Where the job runs, absolute."""
        return os.path.join(self.folder, self.options.get("chdir", ""))

    @property
    def name(self) -> str:
        """The job's name."""
        default = "wrap" if "wrap" in self.words.options else os.path.basename(self.words.script or "sbatch")
        return self.options.get("job-name", default)

    @property
    def is_array(self) -> bool:
        return "array" in self.options


def submission(argv: Sequence[str], cwd: str, environ: Mapping[str, str]) -> Submission:
    """What a call of sbatch in that folder asks for."""
    words, text = words_of(argv), script_text(argv, cwd, environ)
    inside = {} if "wrap" in words.options else script_options(text)
    inside.pop("wrap", None)  # has no effect there
    every = {**inside, **environment_options(environ), **words.options}
    return Submission(folder=cwd, options=every, words=words, script=text)


# Where the output goes


def known_fields(asked: Submission, jobid: str, user: str, task: tuple[str, str] | None = None) -> dict[str, str]:
    """What the letters of an output pattern stand for in the batch script of a job.

    `jobid` is the job's own (each task of an array has one), `task` the array's id and the task's number.  `N`, the
    short name of the host on which the script runs, is to be added by whoever knows it.
    """
    array, number = task or (jobid, NO_TASK)
    once = {"n": "0", "t": "0", "s": "batch"}
    return {**once, "j": jobid, "J": jobid, "A": array, "a": number, "u": user, "x": asked.name}


def output_paths(asked: Submission, known: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Where stdout and stderr of a job go, absolute; None for a path that has a field that is not in `known`."""
    default = default_path(asked, known)
    stdout = path_of(asked.options["output"], asked.chdir, known) if "output" in asked.options else default
    stderr = path_of(asked.options["error"], asked.chdir, known) if "error" in asked.options else stdout
    return stdout, stderr


def default_path(asked: Submission, known: Mapping[str, str]) -> str | None:
    name = expand("slurm-%A_%a.out" if asked.is_array else "slurm-%j.out", known)
    return None if name is None else os.path.join(asked.chdir, name)


def path_of(pattern: str, chdir: str, known: Mapping[str, str]) -> str | None:
    """The path that a pattern means in that folder.  Fields and backslashes in the folder's own name count, too."""
    if pattern.lower() == "none":
        return os.devnull
    return expand(os.path.join(chdir, pattern), known)


#: Letters that stand for something in the name of a batch script's output, and of these the numbers.
LETTERS_OF_OUTPUT = "aAjJnNstux"
NUMBERS = "aAjJnt"


def expand(pattern: str, known: Mapping[str, str]) -> str | None:
    """The name that a pattern stands for; None if it has a field that is not in `known`.

    A backslash anywhere, and nothing is replaced: only the backslashes go, two of them make one.
    """
    if "\\" in pattern:
        return re.sub(r"\\(.?)", r"\1", pattern, flags=re.DOTALL)
    pieces = re.split(r"%(\d*)(.?)", pattern, flags=re.DOTALL)
    fields = [field(width, letter, known) for width, letter in zip(pieces[1::3], pieces[2::3], strict=True)]
    if None in fields:
        return None
    return "".join(piece for pair in zip(pieces[::3], [*fields, ""], strict=True) for piece in pair if piece)


def field(width: str, letter: str, known: Mapping[str, str]) -> str | None:
    """What `%`, a width, if any, and a letter stand for: numbers are filled up with zeros, to ten digits at most.

    What stands for nothing stays, but loses its `%` where a width is given.
    """
    if letter and letter in LETTERS_OF_OUTPUT:
        value = known.get(letter)
        return value.zfill(min(int(width or 0), 10)) if value is not None and letter in NUMBERS else value
    if width:
        return width + letter
    return "%" if letter in ("", "%") else f"%{letter}"
