"""Random numbers that are the same on every Python and NumPy, keyed by words.

Uniform ones come from `random.Random(number).random()`, whose sequence Python guarantees for all versions.
Noise comes from PCG64's raw 64-bit output with its state set explicitly; NumPy may change how Generator's
methods use that output, never the output itself (NEP 19). A normal value is the sum of twelve 16-bit
numbers (Irwin and Hall): whole numbers until one exact division, so that it uses no library's logarithm. Its
density is the normal one within 3 % up to 2.5 sigma (kurtosis 2.9), and it ends at 6 sigma.
"""

import hashlib
import random

import numpy as np

from opq_sim.data_sets.magnitudes import Magnitude
from opq_sim.mains.profiles import FloatArray

TERMS = 12
UNIT = 1 << 16
"""Standard deviation of the sum of twelve numbers from 0 to 65,535, exact to 1e-10."""
MIDDLE_SUM = TERMS * (UNIT - 1) // 2
NOISE_AT_ONCE = 1 << 16


class KeyedDraws:
    """The draws of one recording; the same key gives the same numbers, another key others."""

    def __init__(self, *key: object) -> None:
        self._digest = hashlib.sha256("/".join(map(str, key)).encode("utf-8")).digest()
        self._uniform = random.Random(int.from_bytes(self._digest, "big"))

    def uniform(self, least: float = 0.0, most: float = 1.0) -> float:
        """A number from `least` to `most`; rounding may give either of them."""
        return least + (most - least) * self._uniform.random()

    def magnitude(self, one: Magnitude) -> float:
        """A value for one row of the table, with six digits: to that precision every library's power
        function agrees.
        """
        share = self._uniform.random()
        if one.distribution == "one of":
            return one.choices[int(share * len(one.choices))]
        if one.distribution == "log-uniform":
            return _six_digits(one.least * (one.most / one.least) ** share)
        value = _six_digits(one.least + (one.most - one.least) * share)
        if one.distribution == "either sign" and self._uniform.random() < 0.5:
            return -value
        return value

    def noise(self, count: int, stream: int) -> FloatArray:
        """(count,) near normal values of unit variance, white; streams of one key are independent."""
        key = hashlib.sha256(self._digest + stream.to_bytes(2, "big")).digest()
        bits = np.random.PCG64(0)
        bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": int.from_bytes(key[:16], "big"), "inc": int.from_bytes(key[16:], "big") | 1},
            "has_uint32": 0,
            "uinteger": 0,
        }
        parts = [np.empty(0)]
        for first in range(0, count, NOISE_AT_ONCE):
            size = min(NOISE_AT_ONCE, count - first)
            raw = bits.random_raw((size, TERMS // 4))
            total = np.zeros(size, dtype=np.int64)
            for shift in (0, 16, 32, 48):
                for column in range(raw.shape[1]):
                    total += ((raw[:, column] >> np.uint64(shift)) & np.uint64(UNIT - 1)).astype(np.int64)
            parts.append((total - MIDDLE_SUM) / UNIT)
        return np.concatenate(parts)


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")
