"""Converts drawn magnitudes to disturbances of `opq_sim.mains`, by class; and which classes combine."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opq_proto.errors import OpqError
from opq_sim.data_sets.draws import KeyedDraws
from opq_sim.data_sets.magnitudes import CLASSES_LEFT_OUT, MAGNITUDES
from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.phase_events import FrequencyDeviation, PhaseJumpEvent
from opq_sim.mains.pollution import (
    DcOffset,
    FlickerEvent,
    HarmonicDistortion,
    Interharmonics,
    MainsSignalling,
    NoiseBurst,
)
from opq_sim.mains.rms_events import Interruption, Overvoltage, RapidVoltageChange, Sag, Swell, Undervoltage
from opq_sim.mains.transients import ImpulsiveTransient, OscillatoryTransient, PeriodicNotching
from opq_sim.mains.wave import Harmonic, MainsTone

EXCLUSIVE_CLASSES = ("sag", "swell", "interruption", "undervoltage", "overvoltage", "rapid_voltage_change")
"""Classes of which a recording has one at most, because it has one level of the voltage."""
BIT_PATTERN = "1101001011001110"


class DataSetError(OpqError):
    """The requested data set cannot be made."""

    exit_code = 2


def checked_classes(names: str) -> tuple[str, ...]:
    """Reads `sag,harmonics+sag,none` as classes, the parts of each in alphabetical order.

    Raises:
        DataSetError: an unknown class, a class that no recording can have, a repeated class, or parts that
            exclude each other.
    """
    found: list[str] = []
    for name in names.split(","):
        parts = sorted(part.strip() for part in name.split("+"))
        for part in parts:
            if part in CLASSES_LEFT_OUT:
                raise DataSetError(f"class {part}: {CLASSES_LEFT_OUT[part]}")
            if part not in MAGNITUDES:
                raise DataSetError(
                    f"class is {part!r}; want some of {', '.join(MAGNITUDES)}, joined by , or +"
                )
        if len(parts) != len(set(parts)) or (len(parts) > 1 and "none" in parts):
            raise DataSetError(f"class {name.strip()}: want different parts, without the class none")
        levels = [part for part in parts if part in EXCLUSIVE_CLASSES]
        if len(levels) > 1:
            raise DataSetError(f"class {name.strip()}: {' and '.join(levels)} exclude each other")
        if "+".join(parts) in found:
            raise DataSetError(f"class {'+'.join(parts)} is given twice")
        found.append("+".join(parts))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class DrawnNumbers:
    """The numbers of a disturbance: the table's values by name, and values of the recording."""

    values: Mapping[str, float]
    phases_deg: tuple[float, ...]
    """Phases of the harmonics, in the order of the table."""
    hz: float
    """Nominal."""
    nominal_v: float
    level: float
    """The steady fundamental in shares of nominal; the table's residuals are shares of nominal."""

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    @property
    def left(self) -> float:
        """Remaining share of the steady voltage."""
        return self["residual"] / 100 / self.level


def _harmonics(n: DrawnNumbers) -> MainsDisturbance:
    orders = (3, 5, 7, 11)
    made = [Harmonic(k, n[f"order {k}"], phase) for k, phase in zip(orders, n.phases_deg, strict=True)]
    return HarmonicDistortion(harmonics=tuple(made), seconds=n["length"])


def _signalling(n: DrawnNumbers) -> MainsDisturbance:
    bit_s = n["bit"] / 1000
    bits = BIT_PATTERN * math.ceil(n["length"] / bit_s / len(BIT_PATTERN))
    return MainsSignalling(
        signal_hz=n["signal"], percent=n["size"], bits=bits, bit_s=bit_s, seconds=n["length"]
    )


MAKERS: dict[str, Callable[[DrawnNumbers], MainsDisturbance]] = {
    "sag": lambda n: Sag(depth=1 - n.left, cycles=n["length"], angle_deg=n["point on wave"]),
    "swell": lambda n: Swell(rise=n.left - 1, cycles=n["length"], angle_deg=n["point on wave"]),
    "interruption": lambda n: Interruption(residual=n.left, cycles=n["length"], angle_deg=n["point on wave"]),
    "undervoltage": lambda n: Undervoltage(
        depth=1 - n.left, seconds=n["length"], angle_deg=n["point on wave"]
    ),
    "overvoltage": lambda n: Overvoltage(rise=n.left - 1, seconds=n["length"], angle_deg=n["point on wave"]),
    "impulsive_transient": lambda n: ImpulsiveTransient(
        peak_pu=n["peak"], rise_s=n["rise"] * 1e-6, decay_s=n["decay"] * 1e-6, angle_deg=n["point on wave"]
    ),
    "oscillatory_transient": lambda n: OscillatoryTransient(
        peak_pu=n["peak"],
        ring_hz=n["ringing"],
        decay_s=n["decay"] * 1e-3,
        angle_deg=n["point on wave"],
    ),
    "periodic_notching": lambda n: PeriodicNotching(
        depth=n["depth"] / 100,
        width_s=n["width"] * 1e-6,
        first_deg=n["first notch"],
        grid_hz=n.hz,
        seconds=n["length"],
    ),
    "harmonics": _harmonics,
    "interharmonics": lambda n: Interharmonics(
        tones=(MainsTone(n["tone"] * n.hz, n["size"]),), seconds=n["length"]
    ),
    "flicker": lambda n: FlickerEvent(
        change_percent=n["change"], modulation_hz=n["modulation"], seconds=n["length"]
    ),
    "frequency_deviation": lambda n: FrequencyDeviation(
        offset_hz=n["deviation"], ramp_s=n["ramp"], seconds=n["length"]
    ),
    "phase_jump": lambda n: PhaseJumpEvent(degrees=n["jump"], angle_deg=n["point on wave"]),
    "dc_offset": lambda n: DcOffset(dc_v=n["direct voltage"] / 100 * n.nominal_v, seconds=n["length"]),
    "noise": lambda n: NoiseBurst(noise_db=-20 * math.log10(n["noise"] / 100), seconds=n["length"]),
    "rapid_voltage_change": lambda n: RapidVoltageChange(
        change=n["change"] / 100, seconds=n["length"], angle_deg=n["point on wave"]
    ),
    "mains_signalling": _signalling,
}
"""Class -> function that makes its disturbance from the numbers, at 0 s."""


def draw_numbers(kind: str, draws: KeyedDraws, hz: float, nominal_v: float, level: float) -> DrawnNumbers:
    """The numbers of one class, drawn in the order of the table; phases of harmonics last."""
    values = {one.name: draws.magnitude(one) for one in MAGNITUDES[kind] if one.name != "phase of each"}
    phases = 4 if kind == "harmonics" else 0
    return DrawnNumbers(
        values, tuple(draws.magnitude(PHASE_OF_EACH) for _ in range(phases)), hz, nominal_v, level
    )


PHASE_OF_EACH = next(one for one in MAGNITUDES["harmonics"] if one.name == "phase of each")
