"""The emulated Box of `up`: its world, without an emulator."""

import math

import numpy as np

from opq_hil.backends.boards import BOARDS, EMULATED
from opq_hil.backends.emulated import LONGEST_NS, counts_of, world
from opq_hil.world.world import Played


def volts_of(board: str, lead_s: float, every_s: int) -> "np.typing.NDArray[np.float64]":
    facts = BOARDS[board]
    made = world(facts, 0, lead_s, every_s, seed=5)
    assert made.restarted and made.seed == 5  # a program starts it, and its supply was there
    assert isinstance(made.mains, Played) and made.mains.loop and made.end_ns == LONGEST_NS
    return (made.mains.counts - facts.zero) * facts.counts_per_lsb * facts.front_end.v_per_lsb


def test_mains_dip_once_each_turn() -> None:
    """At the converter of each board."""
    for board in EMULATED:
        volts = volts_of(board, 30.0, 60)
        rms_v = np.sqrt(np.mean(volts.reshape(-1, 200) ** 2, axis=1))  # of each cycle
        low = np.flatnonzero(rms_v < 100)
        assert low.tolist() == list(range(1800, 1810))  # 10 cycles from 30 s on
        assert math.isclose(float(np.median(rms_v)), 120.0, abs_tol=0.1)
        assert math.isclose(float(rms_v[1805]), 84.0, abs_tol=0.1)


def test_the_front_end_clips_before_the_converter_does() -> None:
    for facts in BOARDS.values():
        counts = counts_of(facts, np.array([-2000.0, -550.0, 550.0, 2000.0])) - facts.zero
        assert [abs(int(count)) == facts.front_end.rail for count in counts] == [True, False, False, True]
        assert facts.front_end.rail * facts.counts_per_lsb < 32_000


def test_a_turn_ends_with_a_whole_cycle() -> None:
    """So that the loop does not jump."""
    volts = volts_of("opqbox", 10.0, 7)
    assert len(volts) == 7 * 12_000 and abs(volts[0]) < 0.02
    assert volts[-1] == -volts[1]
