"""Constants that C, Python and the unit file have copies of are equal."""

import re
from pathlib import Path

import pytest

from opq_gateway import config
from opq_gateway.serial_side import box_settings, early_ports, greeting, reassembly, sample_stream, station
from opq_hil.backends.boards import BOARDS, OUR_FRONT_ENDS
from opq_hil.suites import gateway_process
from opq_hil.world import world
from opq_proto.link import frames as link
from opq_proto.link import messages as link_messages
from opq_proto.link import payloads as link_payloads
from opq_proto.link import user_program
from opq_proto.link.log_codes import CODES, PROGRAM_STATES
from opq_proto.measurement import supply_word
from opq_sim.box import box, commands, wire_faults
from opq_sim.faults.parts import mongo_server

ROOT = Path(__file__).resolve().parents[2]
UNIT = (ROOT / "tools/opq_tools/system/service/units/opq-gateway.service").read_text()
RATE_HZ = 12_000
BACK_S = 2.0
"""A gateway that was killed reads again within this."""


def constant(path: str, name: str) -> int:
    """A whole number that a file of the device defines."""
    text = (ROOT / "device" / path).read_text()
    found = re.search(rf"\b{name}\b\s*=?\s*(?:const\()?\s*(\d[\d_]*)", text)
    assert found, f"{path} defines no {name}"
    return int(found[1])


RING_SAMPLES = constant("cmodules/acquire/acquire.h", "OPQ_RING_SAMPLES")
RING_S = RING_SAMPLES / RATE_HZ


def test_simulated_boxes_hold_what_the_firmware_holds() -> None:
    assert box.RING_SAMPLES == box.Box("1").ring.samples == RING_SAMPLES
    assert BOARDS["opqbox"].memory.ring_samples == RING_SAMPLES
    assert f"return {RING_SAMPLES}" in (ROOT / "device/tests/fakes/opq/acquire.py").read_text()
    assert early_ports.REACH_SAMPLES >= RING_SAMPLES


def test_boxes_believe_the_same_times() -> None:
    assert constant("cmodules/clock/clock.c", "NET_REFUSED") == box_settings.BELIEVED_AFTER
    assert commands.LATEST_NS == 4 * 10**18
    assert "LATEST_NS = 4 * 10**18" in (ROOT / "device/app/commands.py").read_text()


def test_the_restarts_store_is_the_tests_ferretdb() -> None:
    text = (ROOT / "cloud" / "tests" / "store" / "ferretdb_build.py").read_text(encoding="utf-8")
    assert f'VERSION = "{mongo_server.VERSION}"' in text


def test_a_low_supply_is_the_firmwares() -> None:
    text = (ROOT / "device/cmodules/settings/settings_table.c").read_text()
    assert f'NUMBER("supply_low_v", "{supply_word.SUPPLY_LOW_V:g}"' in text


def test_a_killed_gateway_restarts_in_time() -> None:
    found = re.search(r"^RestartSec=(\d+)ms$", UNIT, re.M)
    assert found and int(found[1]) / 1000 == gateway_process.RESTART_S < BACK_S < RING_S - 1.0
    assert "\nStartLimitIntervalSec=0\n" in UNIT
    assert "\nRestartSteps=" not in UNIT  # its count of restarts never begins again


def test_blocks_frames_and_requests_are_of_one_size() -> None:
    assert constant("cmodules/acquire/acquire.h", "OPQ_BLOCK_SAMPLES") == box.BLOCK_SAMPLES
    assert constant("cmodules/link/link.h", "OPQ_LINK_MAX_FRAME") == link.MAX_FRAME
    assert constant("cmodules/link/messages.h", "OPQ_MAX_SAMPLES") == link_payloads.MAX_SAMPLES
    assert constant("cmodules/link/messages.h", "OPQ_UPDATE_BYTES") == link_payloads.MAX_UPDATE_BYTES
    assert constant("cmodules/pipeline/resends.h", "OPQ_RESENDS") > reassembly.MAX_REQUESTS
    assert sample_stream.LATEST_NS == 4 * 10**18
    assert "LATEST_NS = 4 * 10**18" in (ROOT / "device/app/commands.py").read_text()


def test_a_users_program_has_one_format() -> None:
    module, store = "cmodules/program/module.c", "cmodules/program/program_store.h"
    assert constant(module, "PIECE_BYTES") == user_program.PIECE_BYTES
    places = constant(store, "OPQ_PROGRAM_PLACE_BYTES"), constant(store, "OPQ_PROGRAM_HEAD_BYTES")
    assert places[0] - places[1] == user_program.MAX_BYTES
    assert CODES[constant(module, "PROGRAM_LINE")].name == "PROGRAM_LINE"


def test_states_of_a_users_program_have_words() -> None:
    words = {
        "NONE": "none",
        "RUNS": "runs",
        "TOO_LONG": "too long",
        "HEAP": "too much heap",
        "RAISED": "raised",
        "CRASHED": "resets",
        "NOT_COMPILED": "does not compile",
    }
    numbers = {constant("app/user_program.py", name): word for name, word in words.items()}
    assert numbers.keys() == PROGRAM_STATES.keys()
    assert all(word in PROGRAM_STATES[number] for number, word in numbers.items())


def test_a_hello_comes_often_enough() -> None:
    every_s = constant("app/sampler.py", "HELLO_COMMANDED_MS") / 1000
    assert every_s == box.HELLO_S
    assert 3 * every_s < station.SILENT_S and every_s > greeting.REQUEST_HELLO_S


def test_the_line_has_one_speed() -> None:
    speeds = {
        constant("cmodules/link/link.h", "OPQ_LINK_BAUD"),
        config.BoxSection(id="1", port="/dev/ttyUSB0").baud,
        early_ports.DEFAULT_BAUD,
        wire_faults.HARDWARE.baud,
        link_messages.LINK_BAUD,
    }
    assert speeds == {921_600}


def test_the_world_samples_as_the_firmware_does() -> None:
    assert world.SAMPLE_RATE_MILLIHZ == RATE_HZ * 1000
    assert 84_000_000 // constant("cmodules/acquire/acquire.h", "OPQ_SAMPLE_TICKS") == RATE_HZ


@pytest.mark.parametrize("converter", OUR_FRONT_ENDS)
def test_the_firmware_has_our_front_end(converter: str) -> None:
    path, front, name = (
        "cmodules/acquire/front_end.h",
        OUR_FRONT_ENDS[converter],
        f"OPQ_BOARD_{converter.upper()}",
    )
    text = (ROOT / "device" / path).read_text()
    assert f"{name}_V_PER_LSB {front.v_per_lsb:.6f}f" in text
    assert f"{name}_NOISE_LSB {front.noise_lsb:.2f}f" in text
    assert constant(path, f"{name}_LINEAR_LSB") == front.linear_lsb
    counts_per_lsb = 16 if converter == "internal" else 1
    assert front.linear_lsb < front.rail * counts_per_lsb  # what the rails cut is marked


def test_a_simulated_box_accepts_calibration() -> None:
    text = (ROOT / "device/cmodules/settings/settings_table.c").read_text()
    for key, (standard, least, most) in commands.CALIBRATION.items():
        found = re.search(rf'NUMBER\("{key}", "([^"]+)", ([^,]+), ([^)]+)\)', text)
        assert found, key
        assert tuple(map(float, found.groups())) == (standard, least, most)
    value_bytes = constant("cmodules/settings/settings.h", "OPQ_SETTINGS_VALUE_BYTES")
    assert value_bytes - 1 == commands.MAX_VALUE_BYTES  # its closing zero
