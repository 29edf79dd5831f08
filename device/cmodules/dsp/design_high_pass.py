"""Designs the transient filter: `python design_high_pass.py > transient_taps.h`; a test compares the header.

125 taps at 12 kS/s, 400 Hz, Kaiser window of 60 dB (beta 5.65 by Kaiser 1974): one minus a windowed sinc.
Rounded to Q15; the middle tap absorbs the rounding, so that DC is removed exactly.
"""

import sys

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 12_000
CUTOFF_HZ = 400
TAPS = 125
BETA = 5.65
"""Shape of the Kaiser window."""


def taps() -> NDArray[np.int64]:
    offsets = np.arange(TAPS) - TAPS // 2
    low = np.sinc(2 * CUTOFF_HZ / RATE_HZ * offsets) * np.kaiser(TAPS, BETA)
    whole = np.rint(-low / low.sum() * 2**15).astype(np.int64)
    whole[TAPS // 2] -= whole.sum()  # adds the one, and the rest of the rounding
    return whole


def header() -> str:
    lines = [
        "// Made by design_high_pass.py (a test holds it to that); not edited by hand.",
        "const int16_t opq_high_pass[OPQ_HIGH_PASS_PADDED] = {",
    ]
    row = "   "
    for tap in [*taps(), 0, 0, 0]:
        if len(row) + len(f" {tap},") > 110:
            lines.append(row)
            row = "   "
        row += f" {tap},"
    return "\n".join([*lines, row, "};"]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(header())
