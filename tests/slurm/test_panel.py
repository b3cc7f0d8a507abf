"""A job of a real cluster on its page in the dashboard, in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.dashboard.browser import PHONE, findings, overflow, visit
from tests.dashboard.browser import browser as browser
from tests.dashboard.browser import look as look
from tests.dashboard.browser import page as page
from tests.dashboard.conftest import serve as serve
from tests.dashboard.conftest import server as server
from tests.helpers import wait_until
from tests.slurm.conftest import UNTIL_MEASURED
from tests.slurm.test_executor import row as row
from tests.slurm.test_executor import sbatch as sbatch
from tests.slurm.test_executor import told_by
from tests.slurm.test_executor import until as until

pytestmark = pytest.mark.timeout(300)

SCRIPT = f"""\
#!/bin/sh
#SBATCH --job-name panel --cpus-per-task=1 --mem=64M --time=5
echo begun; echo trouble >&2
until test -e go; do sleep 0.1; done
{UNTIL_MEASURED}
echo ended
"""


def section(page: Page, title: str) -> Locator:
    """A part of the panel."""
    return page.get_by_role("tabpanel").locator("section").filter(has=page.get_by_role("heading", name=title))


def fact(part: Locator, name: str) -> Locator:
    """What stands beside a name."""
    return part.locator("dt").filter(has_text=re.compile(f"^{name}$")).locator("xpath=following-sibling::dd[1]")


def test_the_panel(qrec, sbatch, until, batch, server, page, look, tmp_path):
    batch(SCRIPT)
    jobid = sbatch("job.sh")["data"]["slurm"]["jobid"]
    until(1, "running")
    visit(page, server, "/tasks/1")
    log = page.get_by_role("log")
    expect(log).to_contain_text("begun", timeout=60_000)
    expect(log).to_contain_text("trouble", timeout=60_000)
    (tmp_path / "go").touch()
    until(1, "complete")
    wait_until(lambda: "? used at most" not in told_by(qrec, "resources")["memory"], 60, "accounting to tell of it")
    expect(page.locator(".head h1 .status")).to_contain_text("complete", timeout=60_000)
    expect(log).to_contain_text("ended", timeout=60_000)
    page.get_by_role("tab", name="Slurm").click()
    status = section(page, "Status")
    for name, value in {"jobid": jobid, "jobname": "panel", "state": "COMPLETED", "exitcode": "0:0"}.items():
        expect(fact(status, name)).to_have_text(value)
    resources = section(page, "Resources")
    expect(fact(resources, "cpus")).to_contain_text("1 asked for")
    expect(fact(resources, "memory")).to_contain_text(re.compile(r"^67 MB asked for, [\d.]+ MB used at most$"))
    expect(fact(resources, "time")).to_contain_text("5m 0s asked for")
    script = section(page, "Script").locator("pre")
    for line in SCRIPT.splitlines():
        expect(script).to_contain_text(line)
    assert not findings(page)
    phone = look(viewport=PHONE, color_scheme="dark", has_touch=True, is_mobile=True)
    visit(phone, server, "/tasks/1?tab=panel")
    expect(fact(section(phone, "Status"), "jobid")).to_have_text(jobid)
    assert overflow(phone) <= 0
    assert not findings(phone)


def test_a_running_job_is_cancelled_from_its_page(sbatch, until, batch, server, page):
    batch("#!/bin/sh\nsleep 600\n")
    sbatch("job.sh")
    until(1, "running")
    visit(page, server, "/tasks/1?tab=panel")
    expect(fact(section(page, "Status"), "state")).to_have_text("RUNNING")
    page.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("sbatch job.sh")
    dialog.get_by_role("button", name="Cancel", exact=True).last.click()
    expect(page.locator(".head h1 .status")).to_contain_text("cancelled", timeout=60_000)
    expect(fact(section(page, "Status"), "state")).to_contain_text("CANCELLED", timeout=60_000)
