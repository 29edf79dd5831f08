"""An emulator does not outlive whoever runs it."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from house_under_test import processes_with, until

from opq_hil.backends.backend import Backend
from opq_hil.firmware import Firmware

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not here"),
]


def test_an_emulated_box_that_is_killed_takes_its_emulator_along(
    tmp_path: Path, hil_backend: Backend, hil_firmware: Mapping[str, Firmware]
) -> None:
    words = {"box-id": "1", "flash": hil_firmware["opqbox"].image.flash, "port": tmp_path / "p"}
    told = [f"--{name}={value}" for name, value in {**words, "folder": tmp_path / "f"}.items()]
    box = subprocess.Popen([sys.executable, "-m", "opq_hil.emulated", *told], stderr=subprocess.PIPE)
    try:
        until((tmp_path / "p").is_symlink, 60, "the link to the pty")
        assert len(processes_with(str(tmp_path / "f"))) == 2
    finally:
        box.send_signal(signal.SIGKILL)
        box.communicate()
    time.sleep(0.2)
    until(lambda: processes_with(str(tmp_path / "f")) == [], 10, "no emulator is left")
