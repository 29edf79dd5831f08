"""AtOnce: blocks in, Measurements out, with the nominal values of the Box and its figures compared."""

from dataclasses import replace
from pathlib import Path

from opq_gateway.blocks import Block
from opq_gateway.counters import Counters
from opq_gateway.measuring.at_once import AtOnce
from opq_gateway.status import Status
from opq_gateway.uplink.sequences import Sequences
from opq_hil.generator import Generator
from opq_proto.link_messages import BoxMeasurement, Hello
from opq_proto.messages import Measurement, TimeSource

T0_NS = 1_700_000_000_000_000_000
HELLO = Hello(1, 1, 5, 12_000_000, 0.0068, 120.0, 60.0, 15.0, 200, 120_000, "test", "1")


class Bench:
    def __init__(self, folder: Path) -> None:
        self.made: list[Measurement] = []
        self.counters = Counters()
        self.status = Status("1", 60)
        self.measuring = AtOnce(
            self.status, Sequences(folder / "sequence", now_ms=1), self.counters, self.made.append
        )

    def hello(self, hello: Hello) -> None:
        self.status.hello = hello
        self.measuring.restart("1", hello)

    def feed(self, first: int, end: int) -> None:
        for at in range(first, end, 200):
            t_ns = T0_NS + at * 10**12 // 12_000_000
            counts = Generator(seed=1).counts(at, 200)
            block = Block(5, 0.0068, at, t_ns, 1000, TimeSource.GPS, 12_000_000, counts)
            self.measuring.push("1", block)


def test_figures_of_the_box_that_differ_are_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.hello(HELLO)
    bench.feed(0, 12_000)
    bench.measuring.figures("1", BoxMeasurement(1000, 5000, 120.0, 60.0, 0.001, None))
    bench.measuring.figures("1", BoxMeasurement(6000, 5000, 131.0, None, None, None))
    bench.feed(12_000, 24_600)
    assert bench.counters["box_figures_checked"] == 2
    assert bench.counters["box_figures_differ"] == 1


def test_measurements_say_what_the_box_is_meant_to_measure(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.hello(replace(HELLO, nominal_v=230.0, nominal_hz=50.0))
    bench.feed(0, 29_000)
    first, *_ = bench.made
    assert (first.nominal_v, first.nominal_hz) == (230.0, 50.0)
