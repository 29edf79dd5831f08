"""Each command line in a block of a page is run as it stands, at a running system, or is marked why not.

It need not succeed, because a page may name a file or a number that is not here; then it says so in one line.
Wrong use (exit code 2), a traceback, and a line that neither ends nor is marked are failures.
"""

import io
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_in_process import run_in_process
from house_under_test import House, house
from test_documents import TODAY, typed_in, words_of

PROGRAMS = {"opq-gateway": "opq_gateway", "opq-cloud": "opq_cloud"}
NOT_RUN = {
    r"opq-tools up\b": "runs until Ctrl-C, or starts a second system; tests/test_up_*.py",
    r"opq-gateway( run| rules|$)": "a service, runs until it is ended; gateway/tests",
    r"opq-cloud (all|view|mauka|notifications)(?! graph| log)\b": "a service, runs until ended; cloud/tests",
    r".*\]": "a summary of options in brackets",
    r"opq-tools (flash|calibrate)\b": "needs a Box; test_flash_*.py, test_calibrate.py",
    r"opq-tools hil (run|digests|faults|debug)": "builds firmware and emulator, takes minutes; hil/tests",
    r"opq-tools firmware build": "needs the ARM compiler, takes minutes; test_firmware_build.py",
    r"opq-tools bench measure": "takes a minute; test_bench_measure.py",
    r"opq-tools sim (\d|fleet|history)": "runs until Ctrl-C, or for hours of simulated time; hil/tests",
    r"opq-tools logs --follow": "runs until Ctrl-C; test_logs.py",
    r"opq-tools sim dataset": "takes minutes; hil/tests/test_data_sets.py",
    r"opq-tools sim score": "needs the truth of such a run; test_sim_score.py",
    r"opq-tools plugin install (dip|my-plugins)": "needs a compiler or originals; test_plugin_command.py",
    r"opq-tools recordings get": "asks the internet; test_recordings_get.py",
    r"opq-tools release build": "asks the package index; test_release_commands.py",
    r"opq-tools release rollout": "needs a published release; test_release_commands.py",
    r"opq-tools service (install|remove)": "changes this machine's units; test_service_units.py",
    r".* --scheduler ": "starts or needs a cluster of Dask; cloud/tests/mauka",
    r".*mongodb://": "needs a MongoDB; cloud/tests/store",
    r".* /(var|mnt|srv|etc)/": "is about the system's own folders; test_backup.py",
    r"opq-tools (box reset|rules try -|keys rotate --server|sim event supply_lost)": "would disturb others",
}
"""Beginning of a line -> why it is not run, and what tests it."""


def lines() -> list[str]:
    """Each command line of the blocks, once, with the words as the shell splits them."""
    found: dict[tuple[str, ...], None] = {}
    for page in TODAY:
        for _, typed, whole in typed_in(page.read_text(encoding="utf-8")):
            if whole and not typed.rstrip().endswith("\\"):
                found[tuple(words_of(typed))] = None
    return ["\0".join(words) for words in found]


def why_not(line: str) -> str:
    text = line.replace("\0", " ")
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, text)), "")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("lines")
    with house(folder / "share" / "opq") as running:
        running.wait_for("everything runs", timeout_s=120)
        running.wait_for("on the page", timeout_s=120)
        yield running


def run(line: str) -> str:
    """Runs a line; what is wrong with it, or nothing."""
    program, *words = line.split("\0")
    if program == "opq-tools":  # in this process: most of the time of a command is its start
        done = run_in_process(*words)
    else:
        command = [sys.executable, "-m", PROGRAMS[program], *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    last = (done.stderr.strip().splitlines() or [""])[-1]
    print(f"{done.returncode}  {line.replace(chr(0), ' ')}  {last[:160]}")
    absent = done.returncode == 2 and re.search("does not exist|[Nn]o such file", last)  # a file of the page
    if (done.returncode in (0, 1) and "Traceback" not in done.stderr) or absent:
        return ""
    return f"{line.replace(chr(0), ' ')}: exit {done.returncode}: {last}"


def recordings_of_the_pages(folder: Path) -> None:
    """Recordings with the names that pages use."""
    words = ("--classes", "sag,harmonics+sag", "--per-class", "1", "--hz", "50", "--out", "sags")
    made = run_in_process("sim", "dataset", *words)
    assert made.returncode == 0, made.stderr
    names = ("event_9354_box1.i16", "recordings/event_9354_box1.i16", "day.i16", "archive/one.i16")
    (sag,) = (folder / "sags").glob("sag_50hz_*.i16")
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(sag, folder / name)
        shutil.copy(sag.with_suffix(".json"), (folder / name).with_suffix(".json"))
    rows = [f"{k / 12_000:.6f},{325 * math.sin(2 * math.pi * 50 * k / 12_000):.3f}" for k in range(12_000)]
    for name in ("mains.csv", "scope.csv"):
        (folder / name).write_text("s,V\n" + "\n".join(rows))


@pytest.mark.slow  # 3 minutes: some 110 commands
@pytest.mark.timeout(3600)
def test_each_command_line_of_the_pages_runs(
    up: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(up.data_dir.parent))  # there, commands find this system
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    recordings_of_the_pages(tmp_path)
    command = [sys.executable, "-m", "opq_gateway", "rules", "--data-dir", "rules"]
    engine = subprocess.Popen([*command, "--port-offset", str(up.offset)], stderr=subprocess.DEVNULL)
    try:
        wrong = [each for line in lines() if not why_not(line) and (each := run(line))]
    finally:
        engine.terminate()
        engine.wait(240)
    assert not wrong, "\n".join(wrong)


def test_each_mark_is_still_needed() -> None:
    texts = [line.replace("\0", " ") for line in lines()]
    assert [pattern for pattern in NOT_RUN if not any(re.match(pattern, text) for text in texts)] == []
    assert sum(1 for line in lines() if not why_not(line)) > 100
