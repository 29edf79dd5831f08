"""The waveforms of the benches of Mauka: events in a store, and the CPU of all analyses on one."""

import math
import time

import numpy as np
from numpy.typing import NDArray

from opq_cloud.mauka.measuring import results as measuring
from opq_cloud.mauka.running.calls.event_analysis import analyse_event
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import CloudStore
from opq_proto.decision import Nominal
from opq_proto.messages import Event, TimeSource, Trigger, Waveform
from opq_sim.mains.grid import Grid
from opq_sim.mains.phase_events import PhaseJumpEvent
from opq_sim.mains.rms_events import Sag
from opq_sim.mains.transients import OscillatoryTransient
from opq_sim.mains.voltage import Mains
from opq_sim.mains.wave import Harmonic, Wave

RATE_HZ = 12_000
V_PER_LSB = 0.0068
NOMINAL = Nominal(120.0, 60.0)
START_NS = 1_765_792_486_000_000_000
REPEATS = 4


def waveform_ms(eventful: bool) -> float:
    """Least CPU of several runs, each without cached results."""
    parts = (
        Sag(depth=0.4, cycles=8, start_s=2, angle_deg=30),
        PhaseJumpEvent(degrees=20, start_s=2, angle_deg=30),
        OscillatoryTransient(peak_pu=0.4, ring_hz=900, decay_s=0.003, start_s=4.5, angle_deg=70),
        Sag(depth=0.6, cycles=20, start_s=6, angle_deg=80),
        PhaseJumpEvent(degrees=-25, start_s=6, angle_deg=80),
        OscillatoryTransient(peak_pu=0.3, ring_hz=600, decay_s=0.003, start_s=8.2, angle_deg=70),
    )
    wave = Wave(NOMINAL.volts, (Harmonic(3, 0.8, 20), Harmonic(5, 1.5, 70)))
    mains = Mains(rate_hz=RATE_HZ, grid=Grid(60.013), wave=wave, disturbances=parts if eventful else ())
    volts = mains.clean_v(np.arange(10 * RATE_HZ) / RATE_HZ)
    volts += np.random.default_rng(1).normal(0, NOMINAL.volts * 10 ** (-30 / 20), len(volts))
    one = _waveform(np.round(volts / V_PER_LSB).astype(np.int16), START_NS)
    event = Event(1, START_NS, one.end_ns, (one,))
    analyses, spent_s = load_analyses([]), []
    for _ in range(REPEATS):
        measuring.RESULTS = measuring.MeasuredResults()
        began_s = time.process_time()
        found = analyse_event(event, analyses, lambda _: NOMINAL, {})
        spent_s.append(time.process_time() - began_s)
        assert not found.failed and bool(found.findings) == eventful
    return 1000 * min(spent_s)


def put_waveforms(store: CloudStore, number: int, boxes: int) -> int:
    """Stores an event of 3 s with a dip and noise of 40 dB; no two waveforms are the same."""
    box_ids = tuple(str(place + 1) for place in range(boxes))
    chance = np.random.default_rng(number)
    start_ns = START_NS + number * 100 * 10**9
    span = (start_ns, start_ns + 3 * 10**9)
    event_id = store.open_event(Trigger(f"t{number}", *span, box_ids, "1", "bench"), "bench")
    t_s = np.arange(3 * RATE_HZ) / RATE_HZ
    volts = 120 * math.sqrt(2) * np.sin(2 * math.pi * 60 * t_s)
    volts[RATE_HZ : 2 * RATE_HZ] *= chance.uniform(0.3, 0.85)
    for box_id in box_ids:
        counts = np.round((volts + chance.normal(0, 1.2, len(volts))) / V_PER_LSB).astype(np.int16)
        store.put_waveform(event_id, _waveform(counts, start_ns, box_id))
    return event_id


def _waveform(counts: NDArray[np.int16], start_ns: int, box_id: str = "1") -> Waveform:
    return Waveform(box_id, start_ns, 1000, TimeSource.GPS, RATE_HZ * 1000, V_PER_LSB, 0, counts)
