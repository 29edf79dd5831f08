"""The samples of a Box on a bus and a phase: a voltage, noise, a converter and a clock; a `SampleSource`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opq_sim.mains.profiles import FloatArray
from opq_sim.mains.replay import Replay, replays
from opq_sim.mains.replayed_recording import read_replay
from opq_sim.mains.sampling import TRUE, Converter, SampleClock, white
from opq_sim.mains.scenario import EVERY_S, LEAD_S
from opq_sim.power_system.box_supply import BoxSupply
from opq_sim.power_system.box_times import BoxTimes
from opq_sim.power_system.network_source import NetworkSource, Sampled
from opq_sim.power_system.outlet_config import OutletConfig
from opq_sim.power_system.outlet_voltage import OutletVoltage
from opq_sim.power_system.power_scenario import PowerScenario
from opq_sim.power_system.power_system import PowerSystem
from opq_sim.power_system.timekeeping import Timekeeping

CHUNK_SAMPLES = 1200
"""Six blocks of a Box at once: any way of reading gives the same bits, and NumPy's calls cost a third."""
KEPT_CHUNKS = 4
CHUNKS_AT_ONCE = 10
"""Chunks of a long span that are computed together: 1 s."""
RATE_MILLIHZ = 12_000_000
FULL_SCALE = 32_768


class PowerSource(NetworkSource):
    """Counts of one Box in a power system.

    Args:
        voltage: of its outlet.
        noise_seed: of its own noise and jitter.
        timekeeping: the basis of its stamps; None: the run's own clock.
        supply: gives the times in which it is silent; None: never.
    """

    offset_ns = 0

    def __init__(
        self,
        system: PowerSystem,
        voltage: OutletVoltage,
        converter: Converter,
        noise_v: float = 0.0,
        effective_bits: float = 14.0,
        clock: SampleClock = TRUE,
        noise_seed: int = 1,
        timekeeping: Timekeeping | None = None,
        supply: BoxSupply | None = None,
    ) -> None:
        self.system = system
        self.voltage = voltage
        self.converter = converter
        self.clock = clock
        self.noise_v = noise_v
        self.effective_bits = effective_bits
        self.timekeeping = timekeeping
        self.supply = supply
        self._seed = noise_seed
        self._chunks: dict[int, NDArray[np.int16]] = {}
        self._marks: list[int] = []

    @property
    def rate_millihz(self) -> int:
        return RATE_MILLIHZ

    @property
    def v_per_lsb(self) -> float:
        return self.converter.v_per_lsb

    @property
    def nominal_v(self) -> float:
        return self.voltage.nominal_v

    @property
    def nominal_hz(self) -> float:
        return self.voltage.nominal_hz

    def counts(self, first: int, count: int) -> NDArray[np.int16]:
        """(count,) int16 from sample `first` on."""
        parts = [np.empty(0, np.int16)]
        end = (first + count - 1) // CHUNK_SAMPLES + 1
        for chunk in range(first // CHUNK_SAMPLES, end):
            if chunk not in self._chunks:
                self._make(chunk, min(end, chunk + CHUNKS_AT_ONCE))
            start = chunk * CHUNK_SAMPLES
            parts.append(self._chunks[chunk][max(0, first - start) : first + count - start])
        return np.concatenate(parts)

    def marks(self, first: int, count: int) -> tuple[int, ...]:
        """Samples in the span at which a disturbance begins at this outlet; only for samples already made."""
        self._marks = [mark for mark in self._marks if mark >= first]
        return tuple(mark for mark in self._marks if mark < first + count)

    def _true_s(self, samples: FloatArray) -> FloatArray:
        return self.clock.t_s(samples, RATE_MILLIHZ / 1000)

    def _make(self, chunk: int, end: int) -> None:
        """Makes the chunks from `chunk` on that lie before `end` and before the first existing one."""
        end = next((each for each in range(chunk + 1, end) if each in self._chunks), end)
        first, count = chunk * CHUNK_SAMPLES, (end - chunk) * CHUNK_SAMPLES
        t_s = self._true_s(np.arange(first, first + count, dtype=np.float64))
        t_s = t_s + self.clock.jitter_s(self._seed, first, count)
        volts = self.voltage.volts(t_s)
        for begin_s, end_s in self.supply.dead_s if self.supply is not None else ():
            volts[(begin_s <= t_s) & (t_s < end_s)] = 0.0
        if self.noise_v:
            volts += self.noise_v * white(self._seed, first, count)
        counts = self.converter.counts(volts)
        self._mark(first, float(t_s[0]), float(t_s[-1]))
        while self._chunks and len(self._chunks) + end - chunk > max(KEPT_CHUNKS, end - chunk):
            del self._chunks[next(iter(self._chunks))]
        for each in range(chunk, end):
            at = (each - chunk) * CHUNK_SAMPLES
            self._chunks[each] = counts[at : at + CHUNK_SAMPLES]

    def _mark(self, first: int, start_s: float, end_s: float) -> None:
        """Stores the first samples of disturbances that begin in a chunk."""
        begun_s = self.voltage.onsets(start_s - 1000 / RATE_MILLIHZ, end_s)
        if begun_s:
            positions = np.ceil(self.clock.position(np.array(begun_s), RATE_MILLIHZ / 1000))
            self._marks += sorted({max(first, int(position)) for position in positions})


def box_times_of(boxes: Mapping[str, Sampled]) -> dict[str, BoxTimes]:
    """Clock and supply of Boxes on a network, by Box id."""
    found: dict[str, BoxTimes] = {}
    for box_id, box in boxes.items():
        if isinstance(source := box.source, PowerSource):
            keeping, supply = source.timekeeping, source.supply
            found[box_id] = BoxTimes(
                None if keeping is None else keeping.config, None if supply is None else supply.config
            )
    return found


def power_sources(scenario: PowerScenario, system: PowerSystem, seed: int = 1) -> dict[str, PowerSource]:
    """One source per Box of a scenario, by Box id, all in one system; without played recordings."""
    return {box.id: _source(scenario, box, system, seed) for box in scenario.box if box.recording is None}


def recorded_sources(
    scenario: PowerScenario, every_s: float = EVERY_S, lead_s: float = LEAD_S
) -> dict[str, Replay]:
    """The sources of the Boxes that play a recording; those of one event on one time axis.

    Raises:
        RecordingError: a file cannot be played (a loaded scenario's can).
    """
    recordings = {
        box.id: read_replay(Path(box.recording)) for box in scenario.box if box.recording is not None
    }
    return dict(zip(recordings, replays(list(recordings.values()), every_s, lead_s), strict=True))


def _source(scenario: PowerScenario, box: OutletConfig, system: PowerSystem, seed: int) -> PowerSource:
    oscillator = SampleClock(box.clock_ppm, box.drift_ppm_per_s, box.jitter_ns)
    own_seed = seed * 1_000_003 + int(box.id)
    keeping = None if box.clock is None else Timekeeping(box.clock, oscillator, RATE_MILLIHZ, own_seed)
    v_per_lsb = box.v_per_lsb or 2 * (box.nominal_v or scenario.nominal_v) / FULL_SCALE
    return PowerSource(
        system,
        system.voltages[box.id],
        Converter(16, v_per_lsb * FULL_SCALE, box.gain_error, box.offset_v),
        box.noise_v,
        box.effective_bits,
        oscillator,
        own_seed,
        keeping,
        None if box.supply is None else BoxSupply(box.supply),
    )
