"""The recursive filters of the flickermeter, held to SciPy's."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.flicker.lamps import LAMP_120V
from opq_measure.flicker.recursive import Recursive, bilinear, high_pass_sections, low_pass_sections
from opq_measure.flicker.sensation import Sensation

LAMP_ZEROS, LAMP_POLES = [0j, -14.3 + 0j], [-25.5 + 51.5j, -25.5 - 51.5j, -7.7 + 0j, -137.6 + 0j]
NOISE = np.random.default_rng(1).normal(size=4000)
OURS = {
    "low pass": low_pass_sections(6, 42.0, 4000.0),
    "smoothing": low_pass_sections(1, 0.5, 4000.0),
    "high pass": high_pass_sections(0.05, 4000.0),
    "lamp": bilinear(LAMP_ZEROS, LAMP_POLES, 1640.0, 8.8, 4000.0),
}


def run_by_scipy(name: str) -> NDArray[np.float64]:
    """Returns what SciPy's filter of this name makes of the noise."""
    from scipy import signal  # half a second of CPU, not for each process that collects tests

    warped = np.pi * 8.8 / np.tan(np.pi * 8.8 / 4000.0)
    peers = {
        "low pass": signal.butter(6, 42.0, output="sos", fs=4000.0),
        "smoothing": signal.butter(1, 0.5, output="sos", fs=4000.0),
        "high pass": signal.butter(1, 0.05, "highpass", output="sos", fs=4000.0),
        "lamp": signal.zpk2sos(*signal.bilinear_zpk(LAMP_ZEROS, LAMP_POLES, 1640.0, warped)),
    }
    return signal.sosfilt(peers[name], NOISE)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("block", [1, 20, 64])
def test_a_block_filter_equals_sample_by_sample(name: str, block: int) -> None:
    by_blocks = Recursive(OURS[name], block)
    whole = len(NOISE) // 3 // block * block
    found = np.concatenate((by_blocks.run(NOISE[:whole]), by_blocks.run(NOISE[whole:])))
    wanted = run_by_scipy(name)
    assert np.abs(found - wanted).max() < 1e-9 * np.abs(wanted).max()


def test_a_settled_filter_stays_where_it_is() -> None:
    settled = Recursive(low_pass_sections(6, 35.0, 4000.0), 20)
    settled.set_steady(7.0)
    assert settled.run(np.full(400, 7.0)) == pytest.approx(np.full(400, 7.0), abs=1e-9)


def test_thinning_has_no_seam() -> None:
    sensation = Sensation(12_000.0, LAMP_120V)
    noise = np.random.default_rng(2).normal(size=48_000)
    thinned = np.concatenate((sensation._thinned(noise[:24_000]), sensation._thinned(noise[24_000:])))
    wanted = np.convolve(noise, sensation._taps)[2::3][: len(thinned)]
    assert np.abs(thinned - wanted)[10:].max() < 1e-12


def test_a_gateway_that_measures_flicker_imports_no_scipy() -> None:
    script = (
        "import sys, numpy, opq_gateway.gateway\n"
        "from opq_measure.flicker.lamps import LAMP_120V\n"
        "from opq_measure.flicker.sensation import Sensation\n"
        "Sensation(12000.0, LAMP_120V).push_volts(numpy.ones(24000))\n"
        "print('scipy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
