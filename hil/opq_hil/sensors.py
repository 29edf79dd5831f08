"""What the chip's converter reads beside mains: temperature, reference, supply and battery, as counts.

DS8626 (STM32F405): V25 = 0.76 V and 2.5 mV/K (table 72), factory readings at 30 and 110 degrees C and 3.3 V
(table 73); RM0090 13.10. The emulated chip carries the readings of this very line in its system memory.
"""

import random
from collections.abc import Sequence

from opq_hil.oscillator import Oscillator

NS = 10**9
TEMPERATURE, REFERENCE = 16, 17
"""Channels of ADC1 inside the chip."""
SUPPLY, BATTERY = 11, 12
"""Channels that both boards use, behind dividers by 2."""
FULL = 4095
VDDA_V = 3.3
V25_V, V_PER_K = 0.76, 0.0025
DIVIDER = 2.0


def temperature_count(celsius: float) -> int:
    """Reading of the sensor, rounded."""
    return round((V25_V + V_PER_K * (celsius - 25.0)) / VDDA_V * FULL)


def divided_count(volts: float) -> int:
    """Reading behind a divider by 2."""
    return round(min(volts / DIVIDER, VDDA_V) / VDDA_V * FULL)


def temperature(
    oscillator: Oscillator, end_ns: int, noise_k: float = 0.5, lag_s: float = 60.0, seed: int = 1
) -> tuple[tuple[int, int, int], ...]:
    """One reading a second, for `Power.adc`: the chip follows the oscillator by `lag_s`, with noise."""
    chance = random.Random(seed)
    chip_c = oscillator.celsius(0.0)
    found = []
    for second in range(end_ns // NS + 1):
        found.append((TEMPERATURE, second * NS, temperature_count(chip_c + chance.gauss(0.0, noise_k))))
        chip_c += (oscillator.celsius(second + 0.5) - chip_c) / lag_s
    return tuple(found)


def steps(channel: int, volts: Sequence[tuple[float, float]]) -> tuple[tuple[int, int, int], ...]:
    """(second, volts) of supply or battery as readings."""
    return tuple((channel, round(at_s * NS), divided_count(value)) for at_s, value in volts)
