"""With QREC_NO_SKIPS=1, a skipped test is a failed one.

On a machine of our own everything a test needs can be installed, so a skip there means that something is not tested
although everybody believes it is. tests/conftest.py takes the hooks in.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

# Read once, as every test runs in an environment without QREC_* variables.
NO_SKIPS = os.environ.get("QREC_NO_SKIPS") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # an expected failure is reported as skipped too, but it was run
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skips of whole modules: pytest.importorskip, and pytest.skip(allow_module_level=True)."""
    report = yield
    if NO_SKIPS and report.skipped:
        fail(report)
    return report


def fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{reason} (with QREC_NO_SKIPS=1, a skipped test has failed)"
