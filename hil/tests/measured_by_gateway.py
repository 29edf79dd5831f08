"""What the gateway's measuring thread makes of Boxes' samples, all at once."""

from opq_gateway.blocks import SampleBlock
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import MeasuredFeed
from opq_gateway.measuring.measuring import Measuring
from opq_gateway.measuring.measuring_plan import MeasuringPlan
from opq_proto.link.messages import Hello
from opq_proto.messages import Measurement
from opq_sim.box.source import RunClock, SampleSource


def by_gateway(
    sources: dict[str, SampleSource], seconds: int, cycles: int, clock: RunClock, detectors: bool = False
) -> dict[str, list[Measurement]]:
    """What the gateway's measuring thread makes of the samples, handed to it as a Box's blocks are."""
    found: dict[str, list[Measurement]] = {box_id: [] for box_id in sources}

    def keep(box_id: str, measurement: Measurement) -> None:
        found[box_id].append(measurement)

    measuring = Measuring(keep, lambda *_: None, MeasuredFeed(), edge=keep)
    for box_id, source in sources.items():
        numbers = source.nominal_v, source.nominal_hz, cycles
        plan = MeasuringPlan(box_id, *numbers, flicker=False, detectors=detectors)
        measuring.add(plan, BoxCounters(), BoxStatus(box_id, cycles), None)
        facts = source.rate_millihz, source.v_per_lsb, source.nominal_v, source.nominal_hz
        measuring.restart(box_id, Hello(1, int(box_id), 1, *facts, 14.0, 200, 38_400, "", ""))
    for second in range(seconds):
        for box_id, source in sources.items():
            for first in range(12_000 * second, 12_000 * (second + 1), 2_400):
                t_ns = clock.t_ns(first, source.rate_millihz)
                counts = source.counts(first, 2_400)
                block = SampleBlock(
                    1,
                    source.v_per_lsb,
                    first,
                    t_ns,
                    clock.uncertainty_ns,
                    clock.source,
                    source.rate_millihz,
                    counts,
                )
                measuring.accept_block(box_id, block)
        measuring.round(everything=True)
    return found
