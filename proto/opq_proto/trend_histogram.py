"""Histograms that can be added: how long a metric's one-minute means were in each of fixed bins.

Pure. The bins never change, so that two histograms merge by addition, in any order and without loss: the
histogram of a year is the sum of those of its days. Bins have relative widths where a value spans decades
(the idea of DDSketch: Masson, Rim, Lee, VLDB 2019), and equal widths for the frequency:

| metric | bins | error of a quantile |
|---|---|---|
| `rms` | 0.2 % wide | 0.1 % of the value |
| `f` | 5 mHz wide | 2.5 mHz |
| `thd` | 2 % wide | 1 % of the value |
| `trans` | 5 % wide | 2.5 % of the value |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, floor, isfinite, log

_FREQUENCY_HZ = 0.005
_RATIO_LOGS = {"rms": log(1.002), "thd": log(1.02), "trans": log(1.05)}
_MIN_VALUE = 1e-6
"""Volts or ratio; smaller values count as this."""
HISTOGRAM_METRICS = ("rms", "f", "thd", "trans")
"""Part of the stored form of a trend, in this order."""


@dataclass(frozen=True, slots=True)
class TrendHistogram:
    """Whole seconds by bin, packed: pairs of varints (step from the bin before, seconds), bins rising."""

    packed: bytes = b""

    @classmethod
    def of(cls, seconds: Mapping[int, int]) -> "TrendHistogram":
        """Makes a histogram from {bin: seconds}; bins without seconds are left out."""
        packed = bytearray()
        before = 0
        for place in sorted(seconds):
            if seconds[place] > 0:
                step = place - before
                _put_varint(packed, step << 1 if step >= 0 else (-step << 1) - 1)
                _put_varint(packed, seconds[place])
                before = place
        return cls(bytes(packed))

    def add_to(self, seconds: dict[int, int]) -> None:
        """Adds its seconds to {bin: seconds}, by which histograms merge; of a damaged end, nothing."""
        place = number = shift = 0
        step = None
        for byte in self.packed:
            if byte > 0x7F:
                number |= (byte & 0x7F) << shift
                shift += 7
                continue
            number |= byte << shift
            if step is None:
                step = number
            else:
                place += step >> 1 if step & 1 == 0 else -((step + 1) >> 1)
                seconds[place] = seconds.get(place, 0) + number
                step = None
            number = shift = 0

    def bins(self) -> dict[int, int]:
        seconds: dict[int, int] = {}
        self.add_to(seconds)
        return seconds


def bin_of(metric: str, value: float) -> int | None:
    """Returns the bin of a value in SI units; None where it is not finite or the metric has no histogram."""
    if not isfinite(value):
        return None
    if metric == "f":
        return floor(value / _FREQUENCY_HZ)
    ratio = _RATIO_LOGS.get(metric)
    return None if ratio is None else floor(log(max(value, _MIN_VALUE)) / ratio)


def bin_middle(metric: str, place: int) -> float:
    """Returns the value in the middle of a bin, SI units."""
    if metric == "f":
        return (place + 0.5) * _FREQUENCY_HZ
    return exp((place + 0.5) * _RATIO_LOGS[metric])


def quantile(metric: str, seconds: Mapping[int, int], share: float) -> float | None:
    """Returns the value that the metric did not exceed for `share` of the time (0 to 1); None where empty."""
    wanted = share * sum(seconds.values())
    found, passed = None, 0
    for place in sorted(seconds):
        found = place
        passed += seconds[place]
        if passed >= wanted:
            break
    return None if found is None else bin_middle(metric, found)


def _put_varint(packed: bytearray, number: int) -> None:
    while number > 0x7F:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)
