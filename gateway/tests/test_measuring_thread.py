"""Measuring without a port: blocks in, Measurements and Values out, however the blocks come."""

import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from opq_gateway.blocks import SampleBlock
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.backlog import RingBacklog
from opq_gateway.measuring.feed import KINDS, DisturbanceNotice, MeasuredFeed, Values
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.measuring.measuring import Measuring
from opq_gateway.measuring.measuring_plan import MeasuringPlan
from opq_gateway.ring.segment import Segment
from opq_proto.link.messages import BoxMeasurement, Hello
from opq_proto.messages import Gap, Measurement, TimeSource
from opq_sim.mains import MIX_3_PERCENT, mains
from opq_sim.mains.rms_events import Interruption, Sag

T0_NS = 1_700_000_000_000_000_000
RATE_HZ = 12_000
V_PER_LSB = 0.0068
HELLO = Hello(1, 1, 5, 12_000_000, V_PER_LSB, 120.0, 60.0, 15.0, 200, 120_000, "test", "1")


def blocks_of(
    volts: np.ndarray, t0_ns: int = T0_NS, first: int = 0, rate_millihz: int = 12_000_000
) -> list[SampleBlock]:
    counts = np.rint(volts / V_PER_LSB).astype(np.int16)
    return [
        SampleBlock(
            5,
            V_PER_LSB,
            first + at,
            t0_ns + (first + at) * 10**12 // rate_millihz,
            1000,
            TimeSource.GPS,
            rate_millihz,
            counts[at : at + 200],
        )
        for at in range(0, len(counts), 200)
    ]


class Bench:
    """Measuring with its own clock; nothing waits."""

    def __init__(
        self,
        folder: Path | None = None,
        plan: MeasuringPlan | None = None,
        hello: Hello = HELLO,
        backlog: Callable[[str], RingBacklog | None] = lambda _: None,
        edge: Callable[[str, Measurement], None] = lambda *_: None,
        ring_end: Callable[[str], Segment | None] = lambda _: None,
    ) -> None:
        self.measurements: list[Measurement] = []
        self.now_s = 0.0
        feed = MeasuredFeed()
        self.values_in = feed.subscribe("values", (Values,), 1_000_000)
        self.told_in = feed.subscribe("told", (DisturbanceNotice,), 1_000_000)
        self.counters, self.status = BoxCounters(), BoxStatus("1", 60)
        self.ledger = None if folder is None else Ledger(folder, "1", 24.0, 30.0)
        self.measuring = Measuring(
            lambda _, each: self.measurements.append(each),
            lambda *_: None,
            feed,
            backlog=backlog,
            piece_s=0.0,
            monotonic_s=lambda: self.now_s,
            edge=edge,
            ring_end=ring_end,
        )
        self.measuring.add(plan or MeasuringPlan("1", 1.0, 10.0), self.counters, self.status, self.ledger)
        self.measuring.restart("1", hello)

    def feed(self, blocks: list[SampleBlock], at_once: int = 60) -> "Bench":
        for first in range(0, len(blocks), at_once):
            for block in blocks[first : first + at_once]:
                self.measuring.accept_block("1", block)
            self.now_s += 0.5
            self.measuring.round()
        self.now_s += 2.0
        self.measuring.round()
        return self

    def end(self) -> "Bench":
        self.measuring.gap("1", Gap(0, 1, "end"))
        self.measuring.round(everything=True)
        self.measuring.ledgers.write()
        return self

    def values(self, kind: str) -> list[Values]:
        self._kept = [*getattr(self, "_kept", []), *self.values_in.take_all()]
        return [each for each in self._kept if isinstance(each, Values) and each.kind == kind]


def _order(values: Values) -> tuple[int, list[str]]:
    """Flicker is told when it is known, a little before or behind the windows."""
    return values.start_ns, sorted(values.values)


def test_steady_mains_give_their_own_numbers() -> None:
    volts, _ = mains(6.5, RATE_HZ, frequency_hz=59.97, voltage_v=119.4, harmonics={3: 3.0}, seed=2)
    bench = Bench().feed(blocks_of(volts)).end()
    assert len(bench.measurements) == 7 and bench.counters["unmeasured_samples"] == 0
    for made in bench.measurements[:6]:
        rms, f, thd = (made.metrics[key] for key in ("rms", "f", "thd"))
        total_v = 119.4 * np.sqrt(1 + 0.03**2)
        assert rms.min == pytest.approx(total_v, rel=1e-4) and rms.max == pytest.approx(total_v, rel=1e-4)
        assert f.average == pytest.approx(59.97, abs=1e-3)
        assert thd.average == pytest.approx(0.03, abs=1e-4)
        assert made.metrics["trans"].max < 0.3
        assert (made.nominal_v, made.nominal_hz, made.source) == (120.0, 60.0, TimeSource.GPS)
        assert made.end_ns is not None and made.timestamp_ms == round(made.end_ns / 1e6)
    for before, after in pairwise(bench.measurements):
        assert before.end_ns == after.start_ns
    for window in bench.values("window"):
        assert window.values["rms_v"] == pytest.approx(total_v, rel=1e-4) and not window.flagged
        assert window.values["harmonics_v"][2] == pytest.approx(0.03 * 119.4, rel=1e-3)  # type: ignore[index]
    three = bench.values("3s")
    assert three and three[0].values["thd_ratio"] == pytest.approx(0.03, abs=1e-4)


def test_a_dip_is_reported_at_both_ends() -> None:
    """It flags its windows."""
    volts, _ = mains(6, RATE_HZ, disturbances=[Sag(depth=0.3, start_s=2.0, cycles=30)])
    bench = Bench().feed(blocks_of(volts)).end()
    begun, ended = [each for each in bench.told_in.take_all() if isinstance(each, DisturbanceNotice)]
    assert (begun.kind, begun.entering, ended.kind, ended.entering) == ("dip", True, "dip", False)
    assert abs(begun.t_ns - T0_NS - 2 * 10**9) < 20e6 and abs(ended.t_ns - T0_NS - 25 * 10**8) < 20e6
    assert ended.rms_v == pytest.approx(84.0, rel=2e-3)
    flagged = [each for each in bench.values("window") if each.flagged]
    assert flagged[0].start_ns <= T0_NS + 2 * 10**9 <= flagged[0].end_ns
    assert flagged[-1].start_ns <= T0_NS + 25 * 10**8 <= flagged[-1].end_ns
    lowest = min(made.metrics["rms"].min for made in bench.measurements)
    assert lowest == pytest.approx(84.0, rel=2e-3)


def test_an_interruption_is_reported_within_its_dip() -> None:
    volts, _ = mains(6, RATE_HZ, disturbances=[Interruption(start_s=2.0, cycles=60)])
    bench = Bench().feed(blocks_of(volts)).end()
    told = [
        (each.kind, each.entering) for each in bench.told_in.take_all() if isinstance(each, DisturbanceNotice)
    ]
    assert told[:2] == [("dip", True), ("interruption", True)]
    assert sorted(told[2:]) == [("dip", False), ("interruption", False)]


@settings(max_examples=6, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(seed=st.integers(0, 2**31), most=st.sampled_from([7, 40, 400]), gap=st.booleans())
def test_values_do_not_depend_on_arrival(seed: int, most: int, gap: bool) -> None:
    random = np.random.default_rng(seed)
    sag = Sag(depth=float(random.uniform(0.2, 0.95)), start_s=float(random.uniform(0.5, 4)), cycles=7)
    tick_ns = 2_833_334 * 600 * 10**9 - 3 * 10**9
    volts, _ = mains(
        5, RATE_HZ, frequency_hz=60.3, harmonics=MIX_3_PERCENT, noise_db=50, disturbances=[sag], seed=seed
    )
    blocks = blocks_of(volts, tick_ns)
    if gap:
        del blocks[130:137]
    steered, uncertain_ns = int(random.integers(400)), int(random.choice([1_000, 300_000, 5_000_000]))
    blocks = [
        replace(
            block,
            t_ns=block.t_ns + steered * at + int(random.integers(-300, 300)),
            uncertainty_ns=uncertain_ns,
        )
        for at, block in enumerate(blocks)
    ]

    def told(sizes: list[int]) -> tuple[list[Measurement], list[list[Values]], list[object]]:
        bench = Bench(plan=MeasuringPlan("1", 1.0, 10.0, send=("rms", "f", "thd", "trans", "h5", "rocof")))
        at = 0
        for size in sizes:
            bench.feed(blocks[at : at + size], at_once=size)
            at += size
        bench.end()
        return (
            bench.measurements,
            [sorted(bench.values(kind), key=_order) for kind in KINDS],
            bench.told_in.take_all(),
        )

    sizes: list[int] = []
    while sum(sizes) < len(blocks):
        sizes.append(int(random.integers(1, most + 1)))
    assert told([len(blocks)]) == told(sizes)


def test_the_cloud_gets_the_same_alone() -> None:
    volts, _ = mains(
        6, RATE_HZ, frequency_hz=60.03, disturbances=[Sag(depth=0.4, start_s=2.0, cycles=8)], seed=3
    )
    tick_ns = 2_833_334 * 600 * 10**9
    made = []
    for local in (True, False):
        plan = MeasuringPlan("1", 1.0, 10.0, send=("rms", "f", "thd", "trans", "rocof"), local=local)
        bench = Bench(plan=plan).feed(blocks_of(volts, tick_ns - 2_600_000_000)).end()
        made.append(bench.measurements)
        assert bool(bench.values("window")) == bool(bench.told_in.take_all()) == local
    assert made[0] == made[1] and len(made[0]) > 6


def test_a_utc_tick_restarts_measurements() -> None:
    tick_ns = 2_833_334 * 600 * 10**9
    volts, _ = mains(6, RATE_HZ, frequency_hz=60.07)
    bench = Bench().feed(blocks_of(volts, tick_ns - 2_600_000_000)).end()
    starts = [made.start_ns or 0 for made in bench.measurements]
    behind = min(start for start in starts if start >= tick_ns)
    assert behind - tick_ns < 17e6
    short = bench.measurements[starts.index(behind) - 1]
    assert short.end_ns == behind and behind - (short.start_ns or 0) < 1e9
    assert bench.measurements[starts.index(behind)].end_ns == pytest.approx(
        behind + 60 / 60.07 * 1e9, abs=2000
    )
    for before, after in pairwise(bench.measurements):
        assert before.end_ns == after.start_ns
    ten = [each for each in bench.values("10min") if "rms_v" in each.values]
    assert [each.start_ns for each in ten] == [tick_ns - 600 * 10**9] and ten[0].flagged


@pytest.mark.parametrize("cycles", [1, 5, 12, 17, 240])
def test_a_measurement_has_the_wanted_cycles(cycles: int) -> None:
    volts, _ = mains(9, RATE_HZ, frequency_hz=60.1)
    bench = Bench(plan=MeasuringPlan("1", 1.0, 10.0))
    bench.measuring.set_cycles("1", cycles)
    bench.measuring.restart("1", HELLO)
    bench.feed(blocks_of(volts)).end()
    for before, after in pairwise(bench.measurements):
        assert before.end_ns == after.start_ns
        assert (before.end_ns or 0) - (before.start_ns or 0) == pytest.approx(cycles / 60.1 * 1e9, abs=3000)
        assert before.metrics["f"].average == pytest.approx(60.1, abs=2e-3)


def test_a_change_of_cycles_applies_next() -> None:
    volts, _ = mains(4, RATE_HZ)
    blocks = blocks_of(volts)
    bench = Bench().feed(blocks[:90])
    bench.measuring.set_cycles("1", 12)
    bench.feed(blocks[90:]).end()
    lengths = [round(((made.end_ns or 0) - (made.start_ns or 0)) / 1e9 * 60) for made in bench.measurements]
    assert lengths[:4] == [60, 60, 12, 12]


def test_a_gap_ends_a_measurement() -> None:
    volts, _ = mains(4, RATE_HZ)
    blocks = blocks_of(volts)
    bench = Bench().feed(blocks[:90]).end().feed(blocks[100:]).end()
    lost_ns = range(T0_NS + 15 * 10**8, T0_NS + 90 * 200 * 10**12 // 12_000_000 + 1)
    before = [made for made in bench.measurements if (made.end_ns or 0) <= lost_ns[-1]]
    after = [made for made in bench.measurements if (made.start_ns or 0) >= lost_ns[-1] + 160_000_000]
    assert before + after == bench.measurements
    assert lost_ns[-1] - (before[-1].end_ns or 0) < 17e6
    assert bench.measurements[1].metrics["rms"].average == pytest.approx(120.0, rel=1e-4)


@pytest.mark.parametrize("step_ns", [3600 * 10**9, -3600 * 10**9])
def test_a_set_clock_ends_a_measurement(step_ns: int) -> None:
    volts, _ = mains(5, RATE_HZ)
    blocks = blocks_of(volts)
    late = [replace(block, t_ns=block.t_ns + step_ns) for block in blocks[150:]]
    bench = Bench().feed(blocks[:150] + late).end()
    lengths = [(each.end_ns or 0) - (each.start_ns or 0) for each in bench.measurements]
    assert all(0 < length_ns < 1.01e9 for length_ns in lengths)
    assert 5e9 - 0.1e9 < sum(lengths) <= 5e9
    starts = [each.start_ns or 0 for each in bench.measurements]
    assert max(starts) - min(starts) > 3500e9 and not bench.counters["failures"]


def test_a_steered_clock_is_followed_closely() -> None:
    volts, _ = mains(8.0, RATE_HZ)
    slew_ns = 300  # per block of 200 samples
    blocks = [
        replace(block, t_ns=block.t_ns + slew_ns * at, uncertainty_ns=2_000_000 + at)
        for at, block in enumerate(blocks_of(volts))
    ]
    made = Bench().feed(blocks).end().measurements
    assert len(made) >= 7
    for each in made[1:-1]:
        assert each.start_ns is not None and each.uncertainty_ns is not None
        cycles = (each.start_ns - T0_NS) * 60 / (1e9 + slew_ns * 60)
        assert abs(cycles - round(cycles)) * 1e9 / 60 < 2000 + 300  # and the edge's own error
        assert each.uncertainty_ns == pytest.approx(2_000_000 + cycles + 60, abs=2)


def test_what_comes_before_the_hello_is_counted() -> None:
    bench = Bench()
    feed = MeasuredFeed()
    measuring = Measuring(lambda *_: None, lambda *_: None, feed, piece_s=0.0)
    measuring.add(MeasuringPlan("1", 1.0, 10.0), bench.counters, bench.status, None)
    measuring.accept_block("1", blocks_of(np.zeros(400))[0])
    measuring.round()
    assert bench.counters["unmeasured_samples"] == 200


def test_a_too_slow_machine_drops_and_counts() -> None:
    volts, _ = mains(40, RATE_HZ)
    bench = Bench()
    bench.feed(blocks_of(volts), at_once=10**6)
    lost = bench.counters["unmeasured_samples"]
    assert 8 * RATE_HZ < lost < 10 * RATE_HZ
    more, _ = mains(3, RATE_HZ)
    bench.feed(blocks_of(more, first=len(volts))).end()
    spans = [(made.start_ns or 0, made.end_ns or 0) for made in bench.measurements]
    holes = [after[0] - before[1] for before, after in pairwise(spans)]
    assert sum(hole > 0 for hole in holes) == 1 and max(holes) >= lost * 10**9 // RATE_HZ


def test_the_thread_ends_after_its_waiting_work() -> None:
    bench = Bench()
    stop = threading.Event()
    thread = threading.Thread(target=bench.measuring.run, args=(stop,))
    thread.start()
    volts, _ = mains(3, RATE_HZ)
    for block in blocks_of(volts):
        bench.measuring.accept_block("1", block)
    stop.set()
    thread.join(240)
    assert not thread.is_alive() and len(bench.measurements) == 2


def test_figures_of_the_box_that_differ_are_counted() -> None:
    volts, _ = mains(4, RATE_HZ)
    bench = Bench().feed(blocks_of(volts)[:60])
    bench.measuring.figures("1", BoxMeasurement(1000, 5000, 120.0, 60.0, 0.001, None))
    bench.measuring.figures("1", BoxMeasurement(6000, 5000, 131.0, None, None, None))
    bench.feed(blocks_of(volts)[60:])
    assert bench.counters["box_figures_checked"] == 2
    assert bench.counters["box_figures_differ"] == 1


def test_measurements_state_the_boxs_nominal_values() -> None:
    volts, _ = mains(3, RATE_HZ, frequency_hz=50.0, voltage_v=230.0)
    bench = Bench(hello=replace(HELLO, nominal_v=230.0, nominal_hz=50.0, v_per_lsb=0.011))
    blocks = [replace(block, v_per_lsb=0.011) for block in blocks_of(volts * 0.0068 / 0.011)]
    first, *_ = bench.feed(blocks).measurements
    assert (first.nominal_v, first.nominal_hz) == (230.0, 50.0)
    assert first.metrics["rms"].average == pytest.approx(230.0, rel=1e-4)


def test_another_gain_ends_the_measurement() -> None:
    volts, _ = mains(3, RATE_HZ)
    blocks = blocks_of(volts)
    second = [replace(block, v_per_lsb=2 * V_PER_LSB) for block in blocks[90:]]
    bench = Bench().feed(blocks[:90] + second).end()
    assert bench.measurements[1].metrics["rms"].average == pytest.approx(120.0, rel=1e-4)
    assert bench.measurements[2].metrics["rms"].average == pytest.approx(240.0, rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["sine", "zero", "dc", "noise", "steps"]), st.integers(1, 6000)),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([1, 7, 12, 60]),
)
def test_no_signal_whatever_breaks_the_stream_of_measurements(
    parts: list[tuple[str, int]], cycles: int
) -> None:
    random = np.random.default_rng(1)
    steady, _ = mains(0.5, RATE_HZ)
    made = {
        "sine": steady,
        "zero": np.zeros(6000),
        "dc": np.full(6000, 200.0),
        "noise": random.normal(0, 50, 6000),
        "steps": np.where(random.random(6000) < 0.5, -200.0, 200.0),
    }
    volts = np.concatenate([made[kind][:count] for kind, count in parts])
    bench = Bench()
    bench.measuring.set_cycles("1", cycles)
    bench.measuring.restart("1", HELLO)
    bench.feed(blocks_of(volts)).end()
    assert not bench.counters["failures"]
    for before, after in pairwise(bench.measurements):
        assert before.end_ns == after.start_ns
    for each in bench.measurements:
        assert "rms" in each.metrics
        assert all(np.isfinite([m.min, m.max, m.average]).all() for m in each.metrics.values())
    if bench.measurements:
        end_ns = bench.measurements[-1].end_ns or 0
        assert T0_NS + len(volts) * 10**12 // 12_000_000 - end_ns < 34e6  # nothing piles up


@pytest.mark.parametrize("nominal_hz", [16.7, 50.0, 400.0])
def test_other_mains_are_measured_too(nominal_hz: float) -> None:
    volts, _ = mains(4, RATE_HZ, frequency_hz=nominal_hz * 1.001)
    bench = Bench(hello=replace(HELLO, nominal_hz=nominal_hz)).feed(blocks_of(volts)).end()
    assert bench.measurements and not bench.counters["failures"]
    for made in bench.measurements:
        assert made.metrics["rms"].average == pytest.approx(120.0, rel=1e-3)
    assert bench.measurements[0].metrics["f"].average == pytest.approx(nominal_hz * 1.001, rel=1e-4)


def test_a_short_run_after_a_tick_is_measured() -> None:
    tick_ns = 1_700_000_400 * 10**9
    volts, _ = mains(2.6, RATE_HZ, frequency_hz=60.03)
    made = Bench().feed(blocks_of(volts, t0_ns=tick_ns - 2_500_000_000)).end().measurements
    assert sum(0 <= (each.start_ns or 0) - tick_ns < 17_000_000 for each in made) == 1
    lasted_ns = sum((each.end_ns or 0) - (each.start_ns or 0) for each in made)
    assert lasted_ns == pytest.approx(2.6e9, abs=40e6)
