"""Channels of a Box's program in its Measurements: when, how many, and what is dropped."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from test_measuring_backlog import ring_of
from test_measuring_thread import HELLO, RATE_HZ, T0_NS, Bench, blocks_of

from opq_gateway.blocks import SampleBlock
from opq_gateway.counters import BoxCounters
from opq_gateway.measuring.backlog import RingBacklog
from opq_gateway.measuring.box_figures import SILENT_MEASUREMENTS, WAITING_VALUES, OwnChannels
from opq_proto.link.messages import ChannelValue
from opq_proto.measurement.own_channels import CHANNELS
from opq_proto.messages import Metric
from opq_sim.mains import mains

WINDOW = 2000
"""Samples of one of the Box's windows, at 60 Hz."""


def test_each_value_is_in_one_measurement() -> None:
    """Each window's value comes 20 ms after its end, and lies in its second or in the next one."""
    bench = Bench()
    volts, _ = mains(10.0, RATE_HZ, seed=1)
    given: list[float] = []
    blocks = blocks_of(volts)
    for number, block in enumerate(blocks):
        bench.measuring.accept_block("1", block)
        if number and number % 10 == 0:
            given.append(float(len(given)))
            value = ChannelValue((number - 10) * 200, given[-1], "steps", "count")
            bench.measuring.figures("1", value)
        bench.measuring.round()
    bench.end()
    own = [each.metrics.get("own_steps_count") for each in bench.measurements]
    with_values = [each for each in own if each is not None]
    assert len(with_values) >= 9 and len(given) == 59
    assert with_values[0].min == 0 and with_values[-1].max == given[-1]
    assert all(after.min == before.max + 1 for before, after in pairwise(with_values))
    for at, metric in enumerate(with_values):
        assert metric.average == (metric.min + metric.max) / 2
        assert 6 * at - 6 <= metric.min <= 6 * at, at
    assert bench.counters["own_values"] == 59


def test_a_window_after_the_measurement_waits() -> None:
    channels = OwnChannels(BoxCounters())
    for first in (0, WINDOW, 6 * WINDOW):
        channels.accept_value(ChannelValue(first, first / WINDOW, "a", "v"))
    assert channels.of_span(6 * WINDOW) == {"own_a_v": Metric(0, 1, 0.5)}
    assert channels.of_span(6 * WINDOW + 1) == {"own_a_v": Metric(6, 6, 6)}
    assert channels.of_span(9 * WINDOW) == {}


@pytest.mark.parametrize(
    "value",
    [
        *(ChannelValue(0, 1.0, name, "v") for name in ("", "A", "a b", "9a", "_a", "a" * 17, "ä", "a\n")),
        *(ChannelValue(0, 1.0, "a", unit) for unit in ("", "V", "%", "m/s", "m_s", "9", "a" * 9)),
        *(ChannelValue(0, 1.0, "a", end) for end in ("min", "max")),
        *(ChannelValue(0, value, "a", "v") for value in (None, 1.1e12, -3e38, float("inf"), float("nan"))),
    ],
)
def test_what_is_no_channel_is_counted(value: ChannelValue) -> None:
    counters = BoxCounters()
    channels = OwnChannels(counters)
    channels.accept_value(value)
    assert channels.of_span(1.0) == {} and counters["own_values_dropped"] == 1


def test_a_box_has_eight_channels_at_a_time() -> None:
    counters = BoxCounters()
    channels = OwnChannels(counters)
    for number in range(1000):
        channels.accept_value(ChannelValue(0, 1.0, f"n{number}", "v"))
    assert len(channels.of_span(1.0)) == CHANNELS
    assert counters["own_values_dropped"] == 1000 - CHANNELS
    for _ in range(SILENT_MEASUREMENTS):
        channels.accept_value(ChannelValue(0, 1.0, "n0", "v"))
        assert len(channels.of_span(1.0)) == 1
    for number in range(CHANNELS):
        channels.accept_value(ChannelValue(0, 1.0, f"later{number}", "v"))
    assert len(channels.of_span(1.0)) == CHANNELS - 1, "n0 has its place"


def test_a_value_far_ahead_keeps_no_place() -> None:
    bench = Bench()
    blocks = blocks_of(mains(3.0, RATE_HZ, seed=1)[0])
    bench.feed(blocks[:60])
    for number in range(CHANNELS):
        bench.measuring.figures("1", ChannelValue(2**63, 1.0, f"n{number}", "v"))
    bench.measuring.figures("1", ChannelValue(60 * 200 + 29 * RATE_HZ, 1.0, "soon", "v"))
    bench.measuring.figures("1", ChannelValue(0, 1.0, "a", "v"))
    bench.feed(blocks[60:]).end()
    assert own_values(bench) == [(5, 1.0, 1.0)] and bench.counters["own_values_dropped"] == CHANNELS


def test_a_flood_of_values_is_bounded() -> None:
    counters = BoxCounters()
    channels = OwnChannels(counters)
    for number in range(3 * WAITING_VALUES):
        channels.accept_value(ChannelValue(0, float(number), "a", "v"))
    assert channels.of_span(1.0)["own_a_v"].min == 2 * WAITING_VALUES
    assert counters["own_values_dropped"] == 2 * WAITING_VALUES


def test_another_start_forgets_waiting_values() -> None:
    bench = Bench()
    volts = np.asarray(mains(3.0, RATE_HZ, seed=1)[0])
    bench.measuring.figures("1", ChannelValue(10**9, 5.0, "a", "v"))
    bench.measuring.round(everything=True)
    bench.measuring.restart("1", HELLO)
    bench.feed(blocks_of(volts)).end()
    assert bench.measurements and not any("own_a_v" in each.metrics for each in bench.measurements)


def next_start(seconds: float) -> list[SampleBlock]:
    volts, _ = mains(seconds, RATE_HZ, seed=2)
    return [replace(each, start_id=6) for each in blocks_of(volts, t0_ns=T0_NS + 20 * 10**9)]


def own_values(bench: Bench) -> list[tuple[int | None, float, float]]:
    """Start, minimum and maximum of each Measurement that has the channel."""
    return [
        (each.start_id, own.min, own.max)
        for each in bench.measurements
        if (own := each.metrics.get("own_a_v")) is not None
    ]


def test_each_start_keeps_its_own_values() -> None:
    """The last Measurement of a start is made in the round that begins the next one."""
    bench = Bench()
    bench.feed(blocks_of(mains(5.5, RATE_HZ, seed=1)[0]))
    bench.measuring.figures("1", ChannelValue(63_000, 1.0, "a", "v"))
    bench.measuring.restart("1", replace(HELLO, boot_id=6))
    blocks = next_start(3.0)
    for block in blocks[:25]:
        bench.measuring.accept_block("1", block)
    bench.measuring.figures("1", ChannelValue(0, 2.0, "a", "v"))
    bench.feed(blocks[25:]).end()
    assert own_values(bench) == [(5, 1.0, 1.0), (6, 2.0, 2.0)]


def test_an_older_start_of_the_ring_has_none(tmp_path: Path) -> None:
    ring = ring_of(tmp_path, blocks_of(mains(5.5, RATE_HZ, seed=1)[0]))
    bench = Bench(
        hello=replace(HELLO, boot_id=6), backlog=lambda _: RingBacklog(ring, T0_NS, ring.segments())
    )
    blocks = next_start(3.0)
    for block in blocks[:25]:
        bench.measuring.accept_block("1", block)
    bench.measuring.figures("1", ChannelValue(0, 2.0, "a", "v"))
    bench.feed(blocks[25:]).end()
    assert {each.start_id for each in bench.measurements} == {5, 6}
    assert own_values(bench) == [(6, 2.0, 2.0)]
