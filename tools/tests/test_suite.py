"""tools/suite.py, which tools/test runs: steps side by side, and nothing left running."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from house_under_test import processes_with, until
from hypothesis import given, settings
from hypothesis import strategies as st

SUITE = Path(__file__).resolve().parents[1] / "suite.py"


@pytest.fixture(scope="module")
def suite() -> ModuleType:
    spec = importlib.util.spec_from_file_location("suite", SUITE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["suite"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_a_failed_step_is_named_with_output(suite: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    """The other steps run to their end."""
    steps = (
        suite.Step("bad", (sys.executable, "-c", "print('line 7 is wrong'); raise SystemExit(1)")),
        suite.Step("may lack", (sys.executable, "-c", "raise SystemExit(1)"), "What needs it is skipped."),
        suite.Step("broken", (sys.executable, "-c", "raise SystemExit(3)"), "What needs it is skipped."),
        suite.Step("absent", ("/no/such/program",)),
        suite.Step("good", (sys.executable, "-c", "print('first'); print('12 files')")),
    )
    ended = list(suite.side_by_side(steps, cores=2))
    assert {step.name for step, failed in ended if failed} == {"bad", "broken", "absent"}
    assert {step.name for step, _ in ended} == {step.name for step in steps}
    said = capfd.readouterr().err
    assert "== bad: FAILED in" in said and "line 7 is wrong" in said
    assert "What needs it is skipped." in said
    assert "== good: done in" in said and "12 files" in said and "first" not in said


def test_a_failed_step_beside_tests_is_reported(suite: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    """The tests can read its name while they run, and the result has it."""
    wait_for_both = """
import os, sys, time
from pathlib import Path
record = Path(os.environ["OPQ_FAILED_STEPS"])
while len(found := record.read_text().split()) < 3:
    time.sleep(0.05)
assert (found[0], set(found[1:])) == ("style", {"pages", "absent"}), found
sys.exit(3)
"""
    beside = (
        suite.Step("pages", (sys.executable, "-c", "raise SystemExit('a page is missing')")),
        suite.Step("absent", ("/no/such/program",)),
        suite.Step("good", (sys.executable, "-c", "")),
    )
    ended = suite.with_tests((sys.executable, "-c", wait_for_both), beside, ["style"])
    assert (ended[0], set(ended[1])) == (3, {"pages", "absent"})
    assert "a page is missing" in capfd.readouterr().err


def test_tests_wait_for_the_emulators_step(
    suite: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Tests that wait for the emulator continue when its step ends, whether it succeeded or failed."""
    tests_run = tmp_path / "tests run"
    build = f"""
import time
from pathlib import Path
while not Path({str(tests_run)!r}).exists():
    time.sleep(0.05)
print("bus.c:7: error: no such field")
raise SystemExit(3)
"""
    emulator = suite.Step("emulator", (sys.executable, "-c", build), "Its tests are skipped.")
    monkeypatch.setattr(suite, "EMULATOR", emulator)
    wait_for_it = f"""
import os, time
from pathlib import Path
being_built = Path(os.environ["OPQ_EMULATOR_STEP"])
assert being_built.exists()
Path({str(tests_run)!r}).touch()
while being_built.exists():
    time.sleep(0.05)
"""
    assert suite.with_tests((sys.executable, "-c", wait_for_it), (emulator,), []) == (0, ["emulator"])
    assert "bus.c:7: error: no such field" in capfd.readouterr().err


PLAIN = """
import os
from pathlib import Path

def test_plain():
    with open("ran", "a") as ran:
        ran.write("plain\\n")
    if len(Path("ran").read_text().splitlines()) == 4:
        Path(os.environ["OPQ_EMULATOR_STEP"]).unlink(missing_ok=True)
"""
EMULATED = """
import pytest
from pathlib import Path

@pytest.mark.timeout(60)  # the wait is not part of it
def test_on_qemu():
    assert Path("ran").read_text().splitlines() == ["plain"] * 4
"""


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_files_with_emulator_wait_for_its_build(tmp_path: Path, workers: int) -> None:
    root = SUITE.parents[1]
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(root / name, tmp_path)
    for name in "abyz":
        (tmp_path / f"test_{name}.py").write_text(PLAIN)
    for name in ("zz_one", "zz_other"):
        (tmp_path / f"test_{name}.py").write_text(EMULATED)
    being_built = tmp_path / "being built"
    being_built.touch()
    modules = str(root / "tools" / "tests")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            str(workers),
            "--dist",
            "loadfile",
            "--no-loadscope-reorder",
            "-p",
            "no:cacheprovider",
            ".",
        ],
        cwd=tmp_path,
        env={**os.environ, "OPQ_EMULATOR_STEP": str(being_built), "PYTHONPATH": modules},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert "6 passed" in done.stdout, done.stdout + done.stderr


def test_a_new_checkout_reuses_mypys_cache(suite: ModuleType, tmp_path: Path) -> None:
    kept = tmp_path / "cache" / "mypy"
    for number, before in enumerate((None, "found in 0", "found in 1")):
        checkout = tmp_path / str(number)
        checkout.mkdir()
        found = checkout / suite.MYPY_CACHE / "3.11" / "cache.db"
        with suite.kept_types(checkout, kept):
            assert (found.read_text() if found.exists() else None) == before
            found.parent.mkdir(parents=True, exist_ok=True)
            found.write_text(f"found in {number}")
    with suite.kept_types(tmp_path / "0", kept):  # it has its own
        assert (tmp_path / "0" / suite.MYPY_CACHE / "3.11" / "cache.db").read_text() == "found in 0"
    assert [path.name for path in kept.parent.iterdir()] == ["mypy"]


_drawn: list[int] = []


@settings(max_examples=40)
@given(st.integers())
def test_an_example_is_counted(number: int) -> None:
    _drawn.append(number)


def test_a_profile_scales_examples() -> None:
    assert len(_drawn) == {"opq": 40, "ci": 10, "nightly": 80}[settings.get_current_profile_name()]


@pytest.mark.parametrize(("mark", "limit_s"), [("soak", 10_800), ("slow", 1800), ("parametrize", None)])
def test_a_long_test_gets_its_marks_limit(
    request: pytest.FixtureRequest, mark: str, limit_s: int | None
) -> None:
    """A long test without its own limit gets that of its mark."""
    conftest = next(each for each in request.config.pluginmanager.get_plugins() if hasattr(each, "LIMITS_S"))
    plain, own = (
        pytest.Function.from_parent(request.node.parent, name=name, callobj=lambda: None)
        for name in ("plain", "own")
    )
    own.add_marker(pytest.mark.timeout(7))
    for item in (plain, own):
        item.add_marker(mark)
    conftest.limit_long_tests([plain, own])
    found = plain.get_closest_marker("timeout")
    assert (found and found.args) == (limit_s and (limit_s,))
    assert own.get_closest_marker("timeout").args == (7,)


CHILD = """
import subprocess, sys, time
# a grandchild in its own session, forgotten by its parent
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1]], start_new_session=True)
time.sleep(600)
"""
PARENT = """
import importlib.util, subprocess, sys
spec = importlib.util.spec_from_file_location("suite", sys.argv[1])
suite = importlib.util.module_from_spec(spec)
sys.modules["suite"] = suite
spec.loader.exec_module(suite)
suite.END_S = 1.0
try:
    with suite.nobody_left():
        child = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[3]])
        print("started", flush=True)
        child.wait()
except KeyboardInterrupt:
    sys.exit(130)
"""


ORPHAN = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("suite", sys.argv[1])
suite = importlib.util.module_from_spec(spec)
sys.modules["suite"] = suite
spec.loader.exec_module(suite)
with suite.nobody_left():
    sys.exit(suite.with_tests((sys.executable, "-c", sys.argv[2]), (), [])[0])
"""
LEAVES_AN_ORPHAN = """
import subprocess, sys, time
import psutil
orphan = int(subprocess.check_output(["sh", "-c", "sleep 0.1 >/dev/null & echo $!"]))
end_s = time.monotonic() + 240
while psutil.pid_exists(orphan) and time.monotonic() < end_s:
    time.sleep(0.05)
sys.exit(7 if psutil.pid_exists(orphan) else 3)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to a subreaper")
def test_an_ended_orphan_is_reaped() -> None:
    """It does not stay in the process table until the tests end."""
    run = [sys.executable, "-c", ORPHAN, str(SUITE), LEAVES_AN_ORPHAN]
    done = subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr


def test_test_files_are_in_memory_where_possible(
    suite: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There must be room; the files are removed afterwards."""
    monkeypatch.setattr(suite, "MEMORY", tmp_path)
    monkeypatch.setattr(suite, "MEMORY_BYTES", 1)
    with suite.files_in_memory() as environment:
        assert Path(environment["TMPDIR"]).parent == tmp_path
        (Path(environment["TMPDIR"]) / "left").touch()
    assert list(tmp_path.iterdir()) == []
    for memory, room in ((tmp_path, 1 << 60), (tmp_path / "none", 1)):
        monkeypatch.setattr(suite, "MEMORY", memory)
        monkeypatch.setattr(suite, "MEMORY_BYTES", room)
        with suite.files_in_memory() as environment:
            assert environment == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to a subreaper")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_running_after_a_signal(tmp_path: Path, number: int) -> None:
    mark = str(tmp_path)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(SUITE), CHILD, mark],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout and parent.stdout.readline() == "started\n"
    until(lambda: len(processes_with(mark)) == 3, 30, "the grandchild runs")
    parent.send_signal(number)
    assert parent.wait(240) == 130
    parent.stdout.close()
    assert processes_with(mark) == []
