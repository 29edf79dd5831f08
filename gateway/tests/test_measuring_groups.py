"""Three Boxes as one place, flicker of ten minutes, and what is sent by choice."""

from dataclasses import replace

import numpy as np
import pytest
from test_measuring_thread import HELLO, RATE_HZ, T0_NS, Bench, blocks_of

from opq_cloud.makai.measurements.trends import Trends
from opq_gateway.config import GroupSection
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import MeasuredFeed, Values
from opq_gateway.measuring.measuring import Measuring
from opq_gateway.measuring.measuring_plan import MeasuringPlan
from opq_proto.decision import Nominal
from opq_proto.link.log_codes import STARTED
from opq_proto.link.messages import Health, Log
from opq_proto.measurement.continuity import RESTART
from opq_proto.measurement.supply_word import SupplyWord, supply_word
from opq_proto.measurement.wire import batches_of, measurement_from_wire, measurement_to_wire
from opq_proto.messages import Measurement
from opq_sim.mains import mains

SEND = ("rms", "unbalance")


class Place:
    """Measuring of Boxes 1, 2, 3 that are a group."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Measurement]] = []
        feed = MeasuredFeed()
        self._values = feed.subscribe("values", (Values,), 100_000)
        self.measuring = Measuring(
            lambda box_id, each: self.made.append((box_id, each)),
            lambda *_: None,
            feed,
            groups=(GroupSection(name="house", boxes=("1", "2", "3")),),
            piece_s=0.0,
        )
        for box_id in ("1", "2", "3"):
            self.measuring.add(
                MeasuringPlan(box_id, 1.0, 10.0, send=SEND), BoxCounters(), BoxStatus(box_id, 60), None
            )
            self.measuring.restart(box_id, HELLO)

    def feed(self, box_id: str, volts: np.ndarray, first: int = 0) -> None:
        for block in blocks_of(volts, first=first):
            self.measuring.accept_block(box_id, block)
        self.measuring.round(everything=True)

    def unbalance(self) -> list[Values]:
        items = [each for each in self._values.take_all() if isinstance(each, Values)]
        return [each for each in items if each.box_id == "house" and each.kind == "window"]


def phases(seconds: float, levels: tuple[float, float, float]) -> list[np.ndarray]:
    turned = (0.0, -120.0, 120.0)
    return [
        mains(seconds, RATE_HZ, voltage_v=120 * level, phase_deg=phase, frequency_hz=60.03)[0]
        for level, phase in zip(levels, turned, strict=True)
    ]


def test_unbalance_of_three_boxes_uses_phasors() -> None:
    place = Place()
    for box_id, volts in zip("123", phases(4, (1.0, 0.97, 1.0)), strict=True):
        place.feed(box_id, volts)
    found = place.unbalance()
    turn = np.exp(2j * np.pi / 3)
    a, b, c = 1.0, 0.97 * turn**-1, turn
    expected = abs(a + turn**2 * b + turn * c) / abs(a + turn * b + turn**2 * c)
    assert len(found) >= 17
    for each in found:
        assert each.values["u2_ratio"] == pytest.approx(expected, abs=3e-5)
        assert each.values["u0_ratio"] == pytest.approx(expected, abs=3e-5)
    sent = [made.metrics["unbalance"].average for _, made in place.made if "unbalance" in made.metrics]
    assert sent and sent[0] == pytest.approx(expected, abs=3e-5)


def test_a_group_without_one_box_says_nothing() -> None:
    place = Place()
    first = phases(4, (1.0, 0.97, 1.0))
    for box_id in "12":
        place.feed(box_id, first[int(box_id) - 1])
    assert place.unbalance() == [] and len(place.made) == 6
    assert not any("unbalance" in made.metrics for _, made in place.made)
    whole = phases(8, (1.0, 0.97, 1.0))
    for box_id in "123":
        place.feed(box_id, whole[int(box_id) - 1][48_000:], first=48_000)
    found = place.unbalance()
    assert found and min(each.start_ns for each in found) > T0_NS + 3.5e9


def test_a_low_supply_is_reported_while_low() -> None:
    bench, (volts, _) = Bench(), mains(4, RATE_HZ, voltage_v=120.0, frequency_hz=60.0)
    said: list[set[str]] = []
    words: list[SupplyWord | None] = []

    def second(number: int, supply_v: float, battery_v: float | None, failing: bool | None = None) -> None:
        """The Measurements of one second under this Health."""
        bench.status.health = Health(0, None, supply_v, battery_v, 0, 0, 0, 0, 0, 0, 0, 0)
        bench.status.gateway_failing = failing
        before = len(bench.measurements)
        bench.feed(blocks_of(volts[:RATE_HZ], first=number * RATE_HZ))
        for each in bench.measurements[before:]:
            back = measurement_from_wire(measurement_to_wire(each))  # the map is the original's own
            said.append(set(back.metrics) - {"rms", "f", "thd", "trans"})
            words.append(supply_word(back.metrics))

    for number in range(70):
        second(number, 5.0, 4.1)
    assert 2 <= sum(map(bool, said)) <= 3 and set(words) == {SupplyWord.WELL, None}
    said.clear(), words.clear()
    for number, (supply_v, battery_v, failing) in enumerate(
        [(0.0, 4.0, None)] * 4 + [(5.0, None, None)] * 4 + [(5.0, None, True)] * 4 + [(5.0, None, False)] * 4
    ):
        second(70 + number, supply_v, battery_v, failing)
    once = [word for number, word in enumerate(words) if not number or word != words[number - 1]]
    assert once[-4:] == [SupplyWord.ON_BATTERY, None, SupplyWord.GATEWAY_FAILING, None]
    assert words.count(SupplyWord.ON_BATTERY) >= 3 <= words.count(SupplyWord.GATEWAY_FAILING)
    assert said.count({"supply_v"}) == 1, "that it is back is said once"
    assert said.count({"supply_v", "gateway_supply"}) == words.count(SupplyWord.GATEWAY_FAILING) + 1


def test_a_restarts_reason_is_reported_once() -> None:
    bench, (volts, _) = Bench(), mains(15, RATE_HZ, voltage_v=120.0, frequency_hz=60.0)
    said: list[float | None] = []

    def measure(first_s: int, end_s: int) -> None:
        before = len(bench.measurements)
        at, end = first_s * RATE_HZ, end_s * RATE_HZ
        bench.feed(blocks_of(volts[at:end], T0_NS + first_s * 10**9, first=at))
        for each in bench.measurements[before:]:
            cause = measurement_from_wire(measurement_to_wire(each)).metrics.get(RESTART)
            said.append(None if cause is None else cause.average)

    measure(0, 4)
    bench.status.started = Log(STARTED, 77, 4, 120)
    measure(4, 6)
    assert set(said) == {None}, "these samples are from before"
    bench.measuring.restart("1", replace(HELLO, boot_id=77))
    measure(6, 15)
    again = said.index(4.0)
    assert said[again : again + 5] == [4.0] * 5 and set(said[again + 5 :]) == {None}
    assert len(said) > again + 6 and bench.measurements[again + 4].start_ns >= T0_NS + 6 * 10**9


def test_pst_is_in_the_ledger_and_sent_once() -> None:
    """It is sent if it is chosen."""
    start_ns = 2_833_334 * 600 * 10**9
    rate_hz, seconds = 2400, 12  # slow, for ten minutes are long
    volts, _ = mains(seconds, rate_hz, frequency_hz=60.0)
    t = np.arange(len(volts)) / rate_hz
    volts = volts * (1 + 0.5 * 0.01 * np.sign(np.sin(2 * np.pi * 8.75 * t)))
    hello = replace(HELLO, rate_millihz=2_400_000)
    bench = Bench(plan=MeasuringPlan("1", 1.0, 10.0, send=("rms", "pst")), hello=hello)
    blocks = blocks_of(np.tile(volts, 51), start_ns, rate_millihz=2_400_000)
    bench.feed(blocks, at_once=120).end()
    ten = [each for each in bench.values("10min") if "pst" in each.values]
    assert [each.start_ns for each in ten] == [start_ns]
    told = [each for each in bench.measurements if "pst" in each.metrics]
    assert len(told) == 1 and told[0].metrics["pst"].average == ten[0].values["pst"]
    assert 600e9 + 5e9 <= (told[0].start_ns or 0) - start_ns < 600e9 + 7e9
    assert float(ten[0].values["pst"]) > 1.0  # type: ignore[arg-type]
    assert 18 <= len(bench.values("window")[9].values["harmonics_v"]) <= 20  # type: ignore[arg-type]


def test_sent_metrics_are_chosen() -> None:
    volts, _ = mains(3, RATE_HZ, harmonics={5: 4.0})
    bench = Bench(plan=MeasuringPlan("1", 1.0, 10.0, send=("rms", "h5", "rocof"))).feed(blocks_of(volts))
    made = bench.measurements[1]
    assert set(made.metrics) == {"rms", "h5", "rocof"}
    assert made.metrics["h5"].average == pytest.approx(0.04, abs=1e-4)
    assert abs(made.metrics["rocof"].average) < 1e-2
    read = measurement_from_wire(measurement_to_wire(made))
    assert set(read.metrics) == set(made.metrics)
    trends = Trends()
    trends.add(*batches_of([read], lambda *_: Nominal(120.0, 60.0)), 0.0)
