"""What a plug-in's executor shows on a task's page: its own template, and its actions' options."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrec.api import Qrec
from qrec.dashboard import panels
from tests.dashboard.browser import findings, visit
from tests.helpers import ROOT
from tests.test_registry import install, on_path
from tests.test_registry import site as site

LAMP = '''
from qrec.executors.base import Option, action
from qrec.executors.shell import ShellExecutor

class Lamp(ShellExecutor):
    """Commands that shine."""

    name = "lamp"
    panel = "lamp.html"

    def panel_data(self, task):
        return {"words": "<img src=x onerror=alert(1)>", "secret": "--password=tomato7Tomato7", "bytes": 2**20}

    @action(
        Option(name="colour", default="red", choices=("red", "green"), help="Which."),
        Option(name="level", kind=int, default=3, help="How much."),
        Option(name="blink", kind=bool, default=False, help="On and off."),
    )
    def shine(self, task, colour, level, blink):
        """Give light."""
        return [colour, level, blink]
'''
#: What a careless, or a wicked, template says.
HOSTILE = """
<h2 id="app" onclick="alert(1)" style="color: red">{{ data.words }}</h2>
<script>document.title = "taken over"</script><style>* { display: none }</style>
<iframe src="/tasks"></iframe><form action="/logout"><button>Press</button><input name="x"></form>
<a href="javascript:alert(1)">wrong</a> <a href="//evil.example/">foreign</a> <a href="/tasks">list</a>
<svg onload="alert(1)"><circle /></svg><img src="https://evil.example/x.png">
<p class="said">{{ data.bytes | size }} {{ task.number }} {{ data.secret }}</p><template><b>hidden</b></template>
"""


@pytest.fixture
def lamp(site: Path, home: Path) -> Path:
    """A plug-in with a template; the path of that."""
    install(site, "lamp", LAMP)
    template = site / "lamp.html"
    template.write_text("<p class='said'>{{ data.words }}</p>")
    return template


def html_of(site: Path, qrec) -> str:
    """What the server makes of the template for a task."""
    qrec("run", "-q", "-e", "lamp", "true", check=True)
    with on_path(site):
        door = Qrec()
        return panels.rendered(door, door.get())


def test_values_are_escaped_and_secrets_covered(lamp, site, qrec):
    lamp.write_text("{{ data.words }} {{ data.secret }} {{ task.command }}")
    html = html_of(site, qrec)
    assert html.startswith("&lt;img src=x onerror=alert(1)&gt; ")
    assert "tomato7" not in html
    assert html.endswith(" true")


FORBIDDEN = {
    "{{ task.command.__class__.__mro__ }}": "unsafe",
    "{{ ''.__class__.__base__.__subclasses__() }}": "unsafe",
    "{% include '/etc/passwd' %}": "no loader",
    "{{ 1 / 0 }}": "division by zero",
    "{% if %}": "Expected an expression",
    "{% for i in range(10**9) %}x{% endfor %}": "Range too big",
}


def test_what_a_template_may_not_do_is_told(lamp, site, server, qrec):
    qrec("run", "-q", "-e", "lamp", "true", check=True)
    for template, word in FORBIDDEN.items():
        lamp.write_text(template)
        told = server.get("/tasks/1/panel.json").json["own"]
        assert told["error"].startswith("the panel of lamp cannot be shown: "), template
        assert word in told["error"], template


def test_a_task_without_a_template_has_no_such_part(home, qrec, server):
    qrec("run", "-q", "true", check=True)
    assert server.get("/tasks/1/panel.json").json["own"] is None
    assert server.get("/tasks/1.json").json["panel"]["own"] is False


def test_a_template_that_is_gone(lamp, server, qrec):
    qrec("run", "-q", "-e", "lamp", "true", check=True)
    lamp.unlink()
    assert "FileNotFoundError" in server.get("/tasks/1/panel.json").json["own"]["error"]


def test_the_choices_of_an_option_are_told(lamp, server, qrec):
    qrec("run", "-q", "-e", "lamp", "true", check=True)
    (shine,) = [one for one in server.get("/tasks/1.json").json["actions"] if one["name"] == "shine"]
    assert [option["choices"] for option in shine["options"]] == [["red", "green"], [], []]
    assert server.post("/api/tasks/1/shine", {"colour": "green", "level": 5}).json["result"] == ["green", 5, False]
    wrong = server.post("/api/tasks/1/shine", {"colour": "blue"})
    assert (wrong.status, "colour is one of red, green" in wrong.text) == (400, True)


def test_a_hostile_template_only_shows_something(lamp, server, qrec, page):
    page.forgiven.append("violates the following Content Security Policy")  # so much for what it tried
    lamp.write_text(HOSTILE)
    qrec("run", "-q", "-e", "lamp", "true", check=True)
    visit(page, server, "/tasks/1?tab=panel")
    own = page.locator(".own")
    own.locator(".said").wait_for()
    assert own.locator("h2").inner_text() == "<img src=x onerror=alert(1)>"
    assert own.locator(".said").inner_text().startswith("1.0 MB 1 --password=")
    assert "tomato7" not in own.inner_text()
    assert (
        own.locator("script, style, iframe, form, input, button, svg, img, template, [id], [style], [onclick]").count()
        == 0
    )
    links = own.locator("a").evaluate_all("all => all.map((one) => [one.textContent, one.getAttribute('href')])")
    assert links == [["wrong", None], ["foreign", None], ["list", "/tasks"]]
    assert "taken over" not in page.title()
    assert "hidden" not in own.inner_text()


def test_options_with_choices_are_asked_for(lamp, server, qrec, page):
    qrec("run", "-q", "-e", "lamp", "true", check=True)
    visit(page, server, "/tasks/1")
    page.get_by_label("More actions").click()
    page.get_by_role("button", name="Shine").click()
    page.get_by_label("colour").select_option("green")
    page.get_by_label("level").fill("7")
    page.get_by_label("blink").check()
    page.get_by_role("button", name="Shine", exact=True).last.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("green").wait_for()
    assert "7" in dialog.inner_text()


def test_the_panel_of_the_example(site, home, server, qrec, page, monkeypatch):
    """Of ssh, which finds nobody on that port."""
    example = ROOT / "examples" / "qrec-ssh"
    info = site / "qrec_ssh-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: qrec-ssh\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[qrec.executors]\nssh = qrec_ssh.executor:SshExecutor\n")
    (site / "qrec_ssh").symlink_to(example / "qrec_ssh")
    assert qrec("run", "-q", "ssh", "-F", "none", "-p", "1", "me@127.0.0.1", "echo <b>there</b>").returncode == 255
    visit(page, server, "/tasks/1")
    page.get_by_role("tab", name="Ssh").click()
    own = page.locator(".own")
    own.get_by_text("Over there").wait_for()
    facts = own.locator("dd").all_inner_texts()
    assert facts[:3] == ["me@127.0.0.1:1", "echo <b>there</b>", "never made"]
    assert facts[3].startswith("ssh -oBatchMode=yes")
    assert not findings(page)
