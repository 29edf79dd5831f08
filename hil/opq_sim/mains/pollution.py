"""Disturbances of the waveform that last: harmonics, interharmonics, signalling, flicker, DC, noise."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from opq_sim.mains.disturbance import DisturbanceSpan, Instants, MainsDisturbance
from opq_sim.mains.grid import Grid
from opq_sim.mains.profiles import EDGE_S, FloatArray
from opq_sim.mains.wave import Harmonic, MainsTone, Wave, shape


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmonicDistortion(MainsDisturbance):
    """Additional harmonics for a while."""

    kind: ClassVar[str] = "harmonics"
    usual_s: ClassVar[float] = 1.0
    harmonics: tuple[Harmonic, ...] = (Harmonic(5, 8.0), Harmonic(7, 5.0))

    def highest_hz(self, grid_hz: float) -> float:
        return grid_hz * max((harmonic.order for harmonic in self.harmonics), default=0)

    def added(self, at: Instants, span: DisturbanceSpan, wave: Wave) -> FloatArray | None:
        return np.asarray(wave.peak_v * shape(self.harmonics, at.cycles, fundamental=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Interharmonics(MainsDisturbance):
    """Tones between the harmonics for a while."""

    kind: ClassVar[str] = "interharmonics"
    usual_s: ClassVar[float] = 1.0
    tones: tuple[MainsTone, ...] = (MainsTone(175.0, 2.0),)

    def highest_hz(self, grid_hz: float) -> float:
        return max((abs(tone.hz) for tone in self.tones), default=0.0)

    def added(self, at: Instants, span: DisturbanceSpan, wave: Wave) -> FloatArray | None:
        return np.asarray(wave.peak_v * sum(tone.shape(at.t_s) for tone in self.tones))


@dataclass(frozen=True, slots=True, kw_only=True)
class MainsSignalling(MainsDisturbance):
    """A ripple-control telegram: a tone, on during the ones of `bits` (always on without bits)."""

    kind: ClassVar[str] = "mains_signalling"
    usual_s: ClassVar[float] = 1.0
    signal_hz: float = 316.67
    percent: float = 2.0
    """Share of the fundamental."""
    bits: str = ""
    bit_s: float = 1.0

    def check(self) -> None:
        MainsDisturbance.check(self)
        if set(self.bits) - {"0", "1"} or not self.bit_s > 0:
            raise ValueError(f"bits is {self.bits!r} of {self.bit_s} s; want zeros and ones, longer than 0 s")

    def highest_hz(self, grid_hz: float) -> float:
        return abs(self.signal_hz)

    def added(self, at: Instants, span: DisturbanceSpan, wave: Wave) -> FloatArray | None:
        tone = wave.peak_v * MainsTone(self.signal_hz, self.percent).shape(at.t_s - span.start_s)
        if not self.bits:
            return np.asarray(tone)
        number = np.floor((at.t_s - span.start_s + EDGE_S) / self.bit_s).astype(np.int64)
        on = np.array([bit == "1" for bit in self.bits] + [False])
        return np.where(on[np.clip(number, 0, len(self.bits))], tone, 0.0)

    def breaks_s(self, span: DisturbanceSpan, grid: Grid) -> FloatArray:
        edges = span.start_s + self.bit_s * np.arange(len(self.bits) + 1)
        return np.concatenate(([span.start_s, span.stop_s], edges[edges < span.stop_s]))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlickerEvent(MainsDisturbance):
    """A modulated amplitude: u (1 + change/2 s(2 pi f t)), s a sine or its sign.

    `change_percent` is dV/V, peak to peak, as in the tables of IEC 61000-4-15:2010; a rectangular modulation
    of f makes 2 f changes per second, `120 f` per minute.
    """

    kind: ClassVar[str] = "flicker"
    usual_s: ClassVar[float] = 10.0
    modulation_hz: float = 8.8
    change_percent: float = 1.0
    form: Literal["sine", "rectangular"] = "sine"
    duty: float = 0.5
    """Rectangular: part of the period at the upper level."""

    def check(self) -> None:
        MainsDisturbance.check(self)
        if self.form not in ("sine", "rectangular"):
            raise ValueError(f"form is {self.form!r}; want sine or rectangular")
        if not (self.modulation_hz > 0 and 0 < self.change_percent < 200 and 0 < self.duty < 1):
            raise ValueError(f"{self}; want modulation_hz above 0, change_percent below 200, duty in 0 .. 1")

    def share(self, at: Instants, span: DisturbanceSpan, wave: Wave) -> FloatArray | None:
        periods = self.modulation_hz * (at.t_s - span.start_s)
        if self.form == "sine":
            return np.asarray(1 + self.change_percent / 200 * np.sin(2 * math.pi * periods))
        place = np.mod(periods + EDGE_S * self.modulation_hz, 1.0)
        return np.asarray(1 + self.change_percent / 200 * np.where(place < self.duty, 1.0, -1.0))

    def breaks_s(self, span: DisturbanceSpan, grid: Grid) -> FloatArray:
        if self.form == "sine":
            return np.array([span.start_s, span.stop_s])
        periods = np.arange(math.ceil((span.stop_s - span.start_s) * self.modulation_hz))
        starts = span.start_s + np.concatenate((periods, periods + self.duty)) / self.modulation_hz
        return np.concatenate((starts, [span.start_s, span.stop_s]))


@dataclass(frozen=True, slots=True, kw_only=True)
class DcOffset(MainsDisturbance):
    """An added direct voltage."""

    kind: ClassVar[str] = "dc_offset"
    usual_s: ClassVar[float] = 1.0
    dc_v: float = 2.0

    def added(self, at: Instants, span: DisturbanceSpan, wave: Wave) -> FloatArray | None:
        return np.full(len(at), self.dc_v)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseBurst(MainsDisturbance):
    """Added white noise, `noise_db` under the fundamental."""

    kind: ClassVar[str] = "noise"
    usual_s: ClassVar[float] = 1.0
    noise_db: float = 30.0

    def noise_v(self, wave: Wave) -> float:
        return float(wave.fundamental_v * 10 ** (-self.noise_db / 20))


Lamp = Literal["120V 60Hz", "230V 50Hz"]

PST_ONE_PERCENT: dict[Lamp, dict[float, float]] = {
    "120V 60Hz": {1: 3.178, 2: 2.561, 7: 1.694, 39: 1.045, 110: 0.844, 1620: 0.545, 4000: 3.426},
    "230V 50Hz": {1: 2.715, 2: 2.191, 7: 1.450, 39: 0.894, 110: 0.722, 1620: 0.407, 4000: 2.343},
}
"""dV/V in percent that makes Pst = 1 (within 5 %), by changes per minute of a rectangular modulation.

IEC 61000-4-15:2010, table 5; Pst is in proportion to the change. From memory of the standard; the change at
39 per minute for 230 V was confirmed by a public test script that cites the table.
"""


def flicker_of(pst: float, changes_per_minute: float, lamp: Lamp, seconds: float) -> FlickerEvent:
    """The rectangular modulation of a row of the table that makes `pst`, from sample 0 on.

    Raises:
        ValueError: the table has no such row.
    """
    rows = PST_ONE_PERCENT.get(lamp, {})
    if changes_per_minute not in rows:
        raise ValueError(f"{changes_per_minute} changes per minute for {lamp}; want a row of table 5: {rows}")
    return FlickerEvent(
        form="rectangular",
        modulation_hz=changes_per_minute / 120,
        change_percent=pst * rows[changes_per_minute],
        seconds=seconds,
    )
