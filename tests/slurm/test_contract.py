"""The contract of executors, run over what Slurm runs."""

from __future__ import annotations

import pytest

from qrec.executors.slurm import SlurmExecutor
from qrec.testing import ExecutorContract


class TestSbatch(ExecutorContract):
    waits = False
    untried = ExecutorContract.untried | {"requeue"}
    unbearable = frozenset({"50%25?x=1#y&z"})  # Slurm reads the sign in the names of files

    @pytest.fixture
    def kind(self):
        return SlurmExecutor

    @pytest.fixture
    def command(self):
        return lambda line: ("sbatch", "--output=out-%j", "--error=err-%j", "--wrap", line)


class TestSrun(ExecutorContract):
    @pytest.fixture
    def kind(self):
        return SlurmExecutor

    @pytest.fixture
    def command(self):
        return lambda line: ("srun", "--quiet", "sh", "-c", line)
