"""The fixtures and hooks that every other test leans on. Inner test suites take in the real conftest."""

from __future__ import annotations

import psutil
import pytest

from tests.helpers import ROOT, wait_until


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Runs an inner test suite under xdist and returns its result; of all other plug-ins it has none to load."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest("from tests.conftest import *")

    def run(source: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-p", "xdist", "-rfEs", "-n", "2")

    return run


SKIPPED = """
    import pytest

    @pytest.mark.skipif(True, reason="no teleporter")
    def test_teleporter(): pass

    def test_inside():
        pytest.skip("no time machine")

    @pytest.mark.xfail(strict=True)
    def test_known():
        assert False

    def test_fine(): pass
"""


def test_skips_are_listed_with_their_reasons(suite):
    result = suite(SKIPPED)
    result.assert_outcomes(passed=1, skipped=2, xfailed=1)
    result.stdout.fnmatch_lines_random(["SKIPPED*no teleporter", "SKIPPED*no time machine"])
    assert result.ret == 0


def test_skips_fail_where_none_are_allowed(suite, monkeypatch):
    monkeypatch.setenv("QREC_NO_SKIPS", "1")
    result = suite(SKIPPED)
    # a test that is skipped before it begins is counted as an error
    result.assert_outcomes(passed=1, failed=1, errors=1, xfailed=1)
    result.stdout.fnmatch_lines_random(
        ["*no teleporter (with QREC_NO_SKIPS=1*", "*no time machine (with QREC_NO_SKIPS=1*"]
    )
    assert result.ret == 1


@pytest.mark.parametrize("no_skips", ["0", "1"])
def test_a_skipped_module_fails_where_no_skips_are_allowed(suite, monkeypatch, no_skips):
    monkeypatch.setenv("QREC_NO_SKIPS", no_skips)
    result = suite("""
        import pytest

        pytest.importorskip("no_such_module")

        def test_fine(): pass
    """)
    result.stdout.fnmatch_lines(["*could not import 'no_such_module'*"])
    assert (result.ret == 1) is (no_skips == "1")


def test_nothing_of_the_users_environment_reaches_a_test(suite, monkeypatch, user_home):
    for name in ("QREC_HOME", "QREC_STORE", "XDG_DATA_HOME", "TMUX", "NO_COLOR"):
        monkeypatch.setenv(name, str(user_home))
    suite("""
        import os
        from pathlib import Path

        def test_without_fixtures(tmp_path):
            assert Path.home().is_relative_to(tmp_path)
            assert not {"QREC_HOME", "QREC_STORE", "XDG_DATA_HOME", "TMUX", "NO_COLOR"} & set(os.environ)

        def test_home(tmp_path, home):
            assert home.is_relative_to(tmp_path)
            assert os.environ["QREC_HOME"] == str(home)
    """).assert_outcomes(passed=2)


def test_what_a_test_leaves_running_is_killed(suite, tmp_path):
    pid_file = tmp_path / "pid"
    # `start` runs `python -m qrec`; here that is a stand-in which leaves a process in a session of its own
    suite(f"""
        from pathlib import Path
        from tests.helpers import wait_until

        def test_leaves_a_process(start, tmp_path):
            stand_in = "import subprocess, time; p = subprocess.Popen(['sleep', '600'], start_new_session=True)"
            stand_in += "; open({str(pid_file)!r}, 'w').write(str(p.pid)); time.sleep(600)"
            (tmp_path / "qrec.py").write_text(stand_in)
            start()
            wait_until(lambda: Path({str(pid_file)!r}).exists() and Path({str(pid_file)!r}).read_text())
    """).assert_outcomes(passed=1)
    assert not alive(int(pid_file.read_text()))


def test_a_program_that_hangs_fails_its_test(suite, tmp_path):
    result = suite("""
        import pytest
        from tests.helpers import wait_until

        @pytest.fixture
        def start(start, tmp_path):
            # the time begins when the program has said something, however long that takes
            def begun(*words, **popen):
                process = start(*words, **popen)
                wait_until((tmp_path / "said").exists)
                return process

            return begun

        def test_hangs(qrec, tmp_path):
            stand_in = "import time; print('so far', flush=True); open('said', 'w').close(); time.sleep(600)"
            (tmp_path / "qrec.py").write_text(stand_in)
            qrec(timeout=0.5)
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*took more than 0.5 s*so far*"])


def test_the_program_gets_input_environment_and_folder(suite):
    suite("""
        import os

        PROGRAM = "import os, sys; env = os.environ; "
        PROGRAM += "print(os.getcwd(), env.get('A'), env.get('B'), sys.stdin.read(), sys.argv[1:])"

        def test_stand_in(qrec, tmp_path, monkeypatch):
            monkeypatch.setenv("B", "b")
            (tmp_path / "qrec.py").write_text(PROGRAM)
            result = qrec("x y", input="in", env={"A": "a", "B": None}, check=True)
            assert result.out == f"{tmp_path} a None in ['x y']\\n"
            assert result.stderr == b""
    """).assert_outcomes(passed=1)


def test_a_failing_program_fails_a_test_that_checks(suite):
    result = suite("""
        import pytest

        @pytest.mark.parametrize("check", [False, True])
        def test_stand_in(qrec, tmp_path, check):
            (tmp_path / "qrec.py").write_text("import sys; sys.exit('bad luck')")
            assert qrec(check=check).returncode == 1
    """)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*bad luck*"])


def test_wait_until_returns_what_it_waited_for():
    values = iter([None, 0, "there"])
    assert wait_until(lambda: next(values)) == "there"


def test_wait_until_gives_up():
    with pytest.raises(AssertionError, match="for a miracle, last got None"):
        wait_until(lambda: None, timeout=0.01, what="a miracle")


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
