"""What the firmware makes of oversampled conversions, bit for bit, against whole-number NumPy.

Mains is noise of which every conversion gets one value. The taps are read from the checked-in header, so this
holds timer, converter, DMA, filter, ring and line together to `sum(tap * count) + half >> shift`.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_hil.suites.scenario import Bench
from opq_hil.world.capture import waveform
from opq_hil.world.world import NS_PER_S, Played, World
from opq_proto.link.messages import Samples

pytestmark = pytest.mark.timeout(1800)
HEADER = Path(__file__).parents[2] / "device" / "cmodules" / "acquire" / "decimate_taps.h"
RUN_S = 4


def taps_of(oversampling: int) -> NDArray[np.int64]:
    text = HEADER.read_text(encoding="utf-8")
    found = re.search(rf"taps_{oversampling}\[\d+\] = {{([^}}]*)}}", text)
    assert found
    return np.array([int(word) for word in found[1].replace(",", " ").split()], np.int64)


def filtered(counts: NDArray[np.int64], oversampling: int) -> NDArray[np.int64]:
    """Output for every place of the newest conversion; the Box keeps one in `oversampling`."""
    taps = taps_of(oversampling)
    shift = int(taps.sum()).bit_length() - 1
    assert taps.sum() == 1 << shift  # DC exact
    return (np.convolve(counts, taps, "valid") + (1 << shift >> 1)) >> shift


@pytest.mark.parametrize(
    ("board", "oversampling"), [pytest.param("pyboard_f405", 5, marks=pytest.mark.slow), ("opqbox", 10)]
)
def test_samples_are_the_filtered_conversions_bit_for_bit(
    board: str, oversampling: int, hil_bench: Bench
) -> None:
    chance = np.random.default_rng(7)
    internal = board == "pyboard_f405"
    low, high = (100, 4000) if internal else (-12_000, 12_000)  # what the filter adds may not clip either
    size = RUN_S * 12_000 * oversampling
    counts = chance.integers(low, high, size).astype(np.int16)
    converter = "adc1" if internal else "spi2"
    world = World(RUN_S * NS_PER_S, mains=Played(counts, converter, 12_000_000 * oversampling), gps=None)
    run = hil_bench.run(world, board)
    received = waveform(run.capture.of(Samples))
    assert received.missing == 0 and len(received.counts) > 3 * 12_000
    wide = counts.astype(np.int64)
    expected = filtered((wide << 4) - 32_768 if internal else wide, oversampling)
    first = received.counts[:40].astype(np.int64)
    places = [
        at
        for at in np.flatnonzero(expected == first[0])
        if np.array_equal(expected[at : at + 40 * oversampling : oversampling], first)
    ]
    assert len(places) == 1, "the first 40 samples are nowhere among the filtered conversions"
    ours = expected[places[0] :: oversampling][: len(received.counts)]
    assert np.array_equal(ours, received.counts)
