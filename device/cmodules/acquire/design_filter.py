"""Designs the decimation filters: `python design_filter.py > decimate_taps.h`; a test compares the header.

One linear-phase equiripple low pass per oversampling (Parks and McClellan 1972, SciPy's remez):
pass band 0 to 3 kHz (order 50 at 60 Hz), stop band from 9 kHz on, which would alias onto the pass
band at 12 kS/s. An odd number of taps, so that the delay is whole conversions. Rounded to 16 bits with
the largest power of two that fits; the middle tap absorbs the rounding, so that DC passes exactly.
"""

import sys

import numpy as np
from numpy.typing import NDArray
from scipy import signal

RATE_HZ = 12_000
PASS_HZ = 3_000
"""Upper edge of the pass band."""
STOP_HZ = 9_000
"""Lower edge of the stop band."""
TAPS = {2: 19, 4: 41, 5: 51, 7: 69, 8: 79, 10: 97}
"""Fewest odd taps with at least 80 dB in the stop band and at most 0.002 dB ripple, after rounding."""


def taps(oversampling: int) -> tuple[NDArray[np.int64], int]:
    """Returns the whole-number taps and the shift that removes their scale."""
    rate_hz = RATE_HZ * oversampling
    bands = [0, PASS_HZ, STOP_HZ, rate_hz / 2]
    ideal = signal.remez(TAPS[oversampling], bands, [1, 0], fs=rate_hz)
    ideal = ideal / ideal.sum()
    shift = int(np.floor(np.log2(32767 / np.abs(ideal).max())))
    whole = np.rint(ideal * 2**shift).astype(np.int64)
    whole[len(whole) // 2] += 2**shift - whole.sum()
    return whole, shift


def header() -> str:
    lines = [
        "// Made by design_filter.py (a test holds it to that); not edited by hand.",
        "#ifndef OPQ_DECIMATE_TAPS_H",
        "#define OPQ_DECIMATE_TAPS_H",
        "",
    ]
    for oversampling in TAPS:
        whole, _ = taps(oversampling)
        lines.append(f"static const int16_t taps_{oversampling}[{len(whole)}] = {{")
        row = "   "
        for tap in whole:
            if len(row) + len(f" {tap},") > 110:
                lines.append(row)
                row = "   "
            row += f" {tap},"
        lines += [row, "};"]
    lines += ["", "static const opq_filter_t filters[] = {", "    {1, 1, 0, NULL},"]
    for oversampling in TAPS:
        whole, shift = taps(oversampling)
        lines.append(f"    {{{oversampling}, {len(whole)}, {shift}, taps_{oversampling}}},")
    lines += ["};", "", "#endif"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(header())
