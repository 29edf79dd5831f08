"""`opq-tools calibrate` against the firmware's own binary, live on our QEMU."""

import json
from collections.abc import Mapping

import pytest
from click.testing import CliRunner

from opq_hil.backends.firmware import NO_FIRMWARE, Firmware
from opq_hil.suites.scenario import Bench
from opq_hil.world.world import NS_PER_S, Sine, World
from opq_proto.errors import OpqError
from opq_tools.boxes.calibrate.calibrate_command import command

AMPLITUDE_LSB, OFFSET_LSB = 7891, 37


@pytest.fixture(scope="session")
def hil_firmware(request: pytest.FixtureRequest) -> Mapping[str, Firmware]:
    """Firmware built from this tree (cached) unless --hil-firmware or OPQ_FIRMWARE_DIR names some."""
    from opq_tools.hil.built_firmware import firmware_for

    try:
        option = request.config.getoption
        return firmware_for(option("--hil-firmware"), board_dir=option("--hil-board-dir"))
    except OpqError as error:
        pytest.skip(f"{NO_FIRMWARE}: {error}")


@pytest.mark.slow  # test_calibrate.py always calibrates a Box of our Sim
@pytest.mark.timeout(600)
def test_the_real_firmware_reads_its_calibrated_reference(hil_bench: Bench) -> None:
    mains = Sine(amplitude_lsb=AMPLITUDE_LSB, offset_lsb=OFFSET_LSB)
    with hil_bench.live(World(300 * NS_PER_S, mains=mains)) as box:
        options = [str(box.port), "--reference-v", "118.0", "--seconds", "1", "--yes", "--json"]
        done = CliRunner().invoke(command, options)
        while "samples without a hole" in done.stdout:  # this machine was too busy to read the line
            done = CliRunner().invoke(command, options)
    assert done.exit_code == 0, done.output + str(done.exception)
    facts = json.loads(done.stdout)
    true_v = AMPLITUDE_LSB / 2**0.5 * hil_bench.firmware().image.board.front_end.v_per_lsb
    assert facts["before"]["rms_v"] == pytest.approx(true_v, rel=1e-4)
    assert facts["new"]["gain"] == pytest.approx(118.0 / true_v, rel=1e-4)
    assert facts["new"]["offset_lsb"] == pytest.approx(OFFSET_LSB, abs=0.5)
    assert facts["after"]["rms_v"] == pytest.approx(118.0, rel=1e-4)
    assert facts["after"]["offset_lsb"] == pytest.approx(0.0, abs=0.5)
