"""OutletConfig: a Box of a scenario with a network: its place, converter, clock and supply."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from opq_proto.config.reading import Field, section
from opq_proto.errors import RecordingError
from opq_sim.mains.replayed_recording import read_replay
from opq_sim.mains.steady import find_steady
from opq_sim.mains.wave import Harmonic
from opq_sim.power_system.box_supply import BoxSupplyConfig, supply_problems
from opq_sim.power_system.timekeeping import TimekeepingConfig, timekeeping_problems

BACKGROUND = ((3, 1.2), (5, 1.6), (7, 0.7), (9, 0.4), (11, 0.3))
"""Percent of the usual harmonics of a low-voltage network; each outlet has 0.5 to 1.5 times as much."""


@section
class OutletConfig:
    """A Box, where it is plugged in, and its converter and clock."""

    id: str = Field(pattern=r"^[1-9][0-9]{0,8}$", examples=["1"], description="Box id, a whole number")
    at: str = Field(description="a place", examples=["lv1", "feeder1/2.5km"])
    phase: str = Field(default="a", pattern=r"^[abc]$", description="a, b or c, to neutral")
    nominal_v: float | None = Field(
        default=None, gt=0.0, le=100_000.0, description="own nominal voltage; else the scenario's"
    )
    v_per_lsb: float | None = Field(
        default=None, gt=0.0, le=10.0, description="full scale; else twice nominal"
    )
    gain_error: float = Field(default=0.0, ge=-0.1, le=0.1, description="0.001 reads 0.1 % too high")
    offset_v: float = Field(default=0.0, ge=-100.0, le=100.0, description="of the converter")
    noise_v: float = Field(default=0.014, ge=0.0, le=100.0, description="rms of white noise")
    effective_bits: float = Field(default=14.0, gt=0.0, le=16.0, description="text in Hello")
    clock_ppm: float = Field(default=0.0, ge=-500.0, le=500.0, description="error of the sampling rate")
    drift_ppm_per_s: float = Field(default=0.0, ge=-1.0, le=1.0, description="of the clock")
    jitter_ns: float = Field(default=0.0, ge=0.0, le=100_000.0, description="rms, of each sample's moment")
    harmonics: tuple[tuple[int, float, float], ...] | None = Field(
        default=None, description="(order, percent, degrees); else usual ones by seed and id"
    )
    dc_v: float = Field(default=0.0, ge=-100.0, le=100.0, description="DC offset of the outlet")
    clock: TimekeepingConfig | None = Field(
        default=None, description="clock of its stamps; else the clock of the run"
    )
    supply: BoxSupplyConfig | None = Field(
        default=None, description="times of loss of its own supply; else never"
    )
    recording: str | None = Field(
        default=None, description="an .i16 that is played there instead of the network's voltage"
    )


def outlet_problems(box: OutletConfig, nominal_hz: float) -> Iterator[str]:
    """Faults of one Box that its network does not matter for, each with its key."""
    for text in timekeeping_problems(box.clock) if box.clock is not None else ():
        yield f"clock.{text}"
    for text in supply_problems(box.supply) if box.supply is not None else ():
        yield f"supply.{text}"
    if box.recording is None:
        return
    try:
        recording = read_replay(Path(box.recording))
        find_steady(recording)
    except RecordingError as error:
        yield f"recording  {error}"
        return
    if recording.nominal_hz != nominal_hz:
        yield f"recording  is of {recording.nominal_hz:g} Hz; want one of {nominal_hz:g} Hz"
    if box.clock is not None or box.supply is not None:
        yield "recording  has the clock and supply of its own time; leave out clock and supply"


def harmonics_of(box: OutletConfig, seed: int) -> tuple[Harmonic, ...]:
    """The harmonics of a Box's outlet: its own, or usual ones."""
    if box.harmonics is not None:
        return tuple(Harmonic(*each) for each in box.harmonics)
    chance = np.random.Generator(np.random.PCG64((seed, int(box.id))))
    return tuple(
        Harmonic(
            order,
            round(percent * float(chance.uniform(0.5, 1.5)), 4),
            round(float(chance.uniform(0, 360)), 3),
        )
        for order, percent in BACKGROUND
    )
