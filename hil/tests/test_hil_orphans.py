"""An emulator does not outlive whoever runs it."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from house_under_test import processes_with, until

from opq_hil.backends.backend import Backend
from opq_hil.backends.firmware import Firmware

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not here"),
]


def test_a_killed_box_takes_its_emulator(
    tmp_path: Path, hil_backend: Backend, hil_firmware: Mapping[str, Firmware]
) -> None:
    words = {"box-id": "1", "flash": hil_firmware["opqbox"].image.flash, "port": tmp_path / "p"}
    options = [f"--{name}={value}" for name, value in {**words, "folder": tmp_path / "f"}.items()]
    box = subprocess.Popen(
        [sys.executable, "-m", "opq_hil.backends.emulated", *options], stderr=subprocess.PIPE
    )
    try:
        until((tmp_path / "p").is_symlink, 60, "the link to the pty")
        assert len(processes_with(str(tmp_path / "f"))) == 2
    finally:
        box.send_signal(signal.SIGKILL)
        box.communicate()
    until(lambda: processes_with(str(tmp_path / "f")) == [], 60, "no emulator is left")


def test_an_interrupt_ends_a_scenario_and_emulator(
    tmp_path: Path, hil_backend: Backend, hil_firmware: Mapping[str, Firmware]
) -> None:
    """A long scenario, at once."""
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "  # nohup ignores it
        "from pathlib import Path; from opq_hil.backends.backend import backend; "
        "from opq_hil.backends.firmware import read_firmware; "
        "from opq_hil.suites.catalogue import chosen, play_all; "
        "play_all(chosen(['one_hour']), backend('qemu', ''), read_firmware(Path(sys.argv[1])), "
        "Path(sys.argv[2]), print)"
    )
    folder = hil_firmware["opqbox"].image.flash.parents[1]
    line = [sys.executable, "-c", program, str(folder), str(tmp_path / "f")]
    hil = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until((tmp_path / "f/one_hour/run/uart1.log").is_file, 60, "the emulator's log")
        hil.send_signal(signal.SIGINT)
        output, _ = hil.communicate(timeout=600)
    finally:
        hil.kill()
        hil.wait()
    assert output == "" and hil.returncode != 0
    until(lambda: processes_with(str(tmp_path / "f")) == [], 60, "no emulator is left")
