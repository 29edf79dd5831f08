"""`opq-tools flash --link` against the firmware itself, live in the emulator: app and boot loader."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from command_in_process import run_in_process

from opq_hil.backends.backend import Backend
from opq_hil.backends.firmware import Firmware
from opq_hil.world.world import NS_PER_S, BitNoise, World
from opq_proto.firmware.image import Slot
from opq_tools.firmware.flash import in_place, protection

pytestmark = pytest.mark.timeout(600)
LONG_NS = 3600 * NS_PER_S


def flashed(
    backend: Backend, firmware: Firmware, folder: Path, world: World, *options: str
) -> Mapping[str, Any]:
    """The command's JSON; the Box's flash is in `folder` afterwards."""
    with backend.live(firmware.image, world, folder) as box, pytest.MonkeyPatch.context() as patch:
        # seconds of a real Box; an emulator on a busy machine needs many times as many
        for limit in ("HELLO_S", "TRIES", "ERASE_S", "RESTART_S", "CONFIRM_S", "UNANSWERED_S", "QUIET_S"):
            patch.setattr(in_place, limit, 20 * getattr(in_place, limit))
        patch.setattr(protection, "ANSWER_S", 20 * protection.ANSWER_S)
        done = run_in_process("flash", str(firmware.update), "--link", str(box.port), "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def slot_b(folder: Path, firmware: Firmware) -> None:
    """Hold the Box's flash to the file."""
    image = firmware.images()[Slot.B]
    flash = (folder / "flash.bin").read_bytes()
    assert flash[0x80000 : 0x80000 + len(image)] == image


@pytest.mark.slow
def test_a_running_box_is_updated_and_protected(
    hil_backend: Backend, hil_firmware: Mapping[str, Firmware], tmp_path: Path
) -> None:
    """Always run: the command with a model Box (tools/tests/test_flash_link.py), and an update that the boot
    loader's binary receives (device/tests/test_boot_binary.py).
    """
    firmware = hil_firmware["opqbox"]
    found = flashed(hil_backend, firmware, tmp_path, World(LONG_NS), "--protect")
    assert "confirmed" in found["notes"][0]
    assert found["protection"] == {"brown_out_level": "2.70 V", "protected_sectors": "sectors 0, 1"}
    slot_b(tmp_path, firmware)


@pytest.mark.soak
def test_a_line_that_flips_bits_costs_time_only(
    hil_backend: Backend, hil_firmware: Mapping[str, Firmware], tmp_path: Path
) -> None:
    firmware = hil_firmware["opqbox"]
    world = World(LONG_NS, noise=(BitNoise(1e-4, False, 5), BitNoise(1e-4, True, 6)))
    found = flashed(hil_backend, firmware, tmp_path, world)
    assert found["retries"] > 0
    slot_b(tmp_path, firmware)


@pytest.mark.soak
def test_the_boot_loaders_recovery_takes_it_too(
    hil_backend: Backend, hil_firmware: Mapping[str, Firmware], tmp_path: Path
) -> None:
    firmware = hil_firmware["opqbox"]
    found = flashed(hil_backend, firmware, tmp_path, World(LONG_NS, pins=(("C8", 0, False),)))
    assert "take the jumper off" in found["notes"][0]
    slot_b(tmp_path, firmware)
