"""The table of magnitudes from which a recording of each class is drawn. docs/sim-data-sets.md shows it.

Limits follow IEEE 1159-2019, table 2 (categories), EN 50160:2010 and IEC 61000-4-30:2015; where these have
none, the resolution of a converter of 12,000 samples a second. A small distance is left to the neighbour's
limit, so that the label is unambiguous: a sag leaves 12 to 88 %, not 10 to 90 %; a transient,
notches or a phase jump alone change no Urms(1/2) by the 5 % of a rapid voltage change.
"""

from dataclasses import dataclass
from typing import Literal

Distribution = Literal["uniform", "log-uniform", "either sign", "one of"]
"""log-uniform: the logarithm is uniform; either sign: uniform, with a random sign; one of: all equally
likely.
"""


@dataclass(frozen=True, slots=True)
class Magnitude:
    """One quantity of a class, and its distribution."""

    name: str
    unit: str
    least: float
    most: float
    distribution: Distribution = "uniform"
    choices: tuple[float, ...] = ()


_ANGLE = Magnitude("point on wave", "deg", 0.0, 360.0)
_SHORT = Magnitude("length", "cycles", 1.5, 120.0, "log-uniform")
_LONG = Magnitude("length", "s", 61.0, 66.0)
_LASTING = Magnitude("length", "s", 4.0, 8.0)
SIGNALS_HZ = (175.0, 183.33, 216.67, 283.33, 316.67, 383.33, 425.0, 492.0)
"""Ripple control frequencies in use in Europe."""

MAGNITUDES: dict[str, tuple[Magnitude, ...]] = {
    "none": (),
    "sag": (Magnitude("residual", "%", 12.0, 88.0), _SHORT, _ANGLE),
    "swell": (Magnitude("residual", "%", 112.0, 175.0), _SHORT, _ANGLE),
    "interruption": (
        Magnitude("residual", "%", 0.0, 8.0),
        Magnitude("length", "cycles", 2.0, 180.0, "log-uniform"),
        _ANGLE,
    ),
    "undervoltage": (Magnitude("residual", "%", 80.0, 88.0), _LONG, _ANGLE),
    "overvoltage": (Magnitude("residual", "%", 112.0, 120.0), _LONG, _ANGLE),
    "impulsive_transient": (
        Magnitude("peak", "pu of peak", 0.2, 1.0, "either sign"),
        Magnitude("rise", "us", 1.0, 40.0, "log-uniform"),
        Magnitude("decay", "us", 100.0, 300.0, "log-uniform"),
        _ANGLE,
    ),
    "oscillatory_transient": (
        Magnitude("peak", "pu of peak", 0.15, 0.7),
        Magnitude("ringing", "Hz", 350.0, 3000.0, "log-uniform"),
        Magnitude("decay", "ms", 1.5, 5.0, "log-uniform"),
        _ANGLE,
    ),
    "periodic_notching": (
        Magnitude("depth", "%", 12.0, 25.0),
        Magnitude("width", "us", 200.0, 300.0),
        Magnitude("first notch", "deg", 20.0, 40.0),
        _LASTING,
    ),
    "harmonics": (
        Magnitude("order 3", "%", 0.0, 6.0),
        Magnitude("order 5", "%", 8.0, 16.0),
        Magnitude("order 7", "%", 2.0, 10.0),
        Magnitude("order 11", "%", 0.0, 5.0),
        Magnitude("phase of each", "deg", 0.0, 360.0),
        _LASTING,
    ),
    "interharmonics": (
        Magnitude("tone", "orders", 1.3, 16.7),
        Magnitude("size", "%", 1.5, 5.0),
        _LASTING,
    ),
    "flicker": (
        Magnitude("change", "% peak to peak", 1.5, 6.0),
        Magnitude("modulation", "Hz", 2.0, 20.0, "log-uniform"),
        Magnitude("length", "s", 8.0, 14.0),
    ),
    "frequency_deviation": (
        Magnitude("deviation", "Hz", 0.8, 3.0, "either sign"),
        Magnitude("ramp", "s", 0.1, 1.0, "log-uniform"),
        _LASTING,
    ),
    "phase_jump": (Magnitude("jump", "deg", 8.0, 25.0, "either sign"), _ANGLE),
    "dc_offset": (Magnitude("direct voltage", "% of nominal", 1.0, 5.0, "either sign"), _LASTING),
    "noise": (Magnitude("noise", "% of fundamental", 8.0, 18.0), _LASTING),
    "rapid_voltage_change": (
        Magnitude("change", "%", 5.5, 8.0, "either sign"),
        Magnitude("length", "s", 2.5, 5.0),
        _ANGLE,
    ),
    "mains_signalling": (
        Magnitude("signal", "Hz", min(SIGNALS_HZ), max(SIGNALS_HZ), "one of", SIGNALS_HZ),
        Magnitude("size", "%", 1.5, 5.0),
        Magnitude("bit", "ms", 100.0, 400.0),
        _LASTING,
    ),
}
"""Class -> its magnitudes, in the order in which they are drawn."""

BACKGROUND: tuple[Magnitude, ...] = (
    Magnitude("voltage", "% of nominal", 99.0, 101.0),
    Magnitude("frequency", "Hz off nominal", -0.05, 0.05),
    Magnitude("phase at sample 0", "deg", 0.0, 360.0),
    Magnitude("order 3", "%", 0.0, 1.2),
    Magnitude("order 5", "%", 0.3, 2.0),
    Magnitude("order 7", "%", 0.0, 1.2),
    Magnitude("phase of each", "deg", 0.0, 360.0),
    Magnitude("before the disturbance", "s", 1.5, 2.5),
    Magnitude("after it", "s", 1.2, 2.0),
)
"""Magnitudes of every recording, drawn first; `none` has no others."""

CLASSES_LEFT_OUT = {
    "outage": "a Box without supply records nothing",
    "unbalance": "it needs the recordings of three phases",
    "unknown": "it is what a classifier says, not what is",
}
"""Classes of the contract that one recording cannot have."""
