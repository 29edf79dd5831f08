"""Boxes whose order is within the uncertainty are all first; waveforms and clocks decide how finely."""

import pytest

from opq_cloud.mauka.joining.incident_facts import facts_of
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.incidents.arrival_order import may_be_first
from opq_cloud.store.incidents.join_plan import KnownFinding
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, BoxArrival, Finding, WaveformAlignment

START_NS, UNKNOWN = 1_795_000_000_000_000_000, UNKNOWN_UNCERTAINTY_NS


def at(box_id: str, after_us: float, within_us: float | None, aligned_to: str | None = None) -> BoxArrival:
    within_ns = UNKNOWN if within_us is None else round(within_us * 1000)
    return BoxArrival(box_id, START_NS + round(after_us * 1000), within_ns, aligned_to)


@pytest.mark.parametrize(
    ("arrivals", "first"),
    [
        ([at("1", 0, 100), at("2", 150, 100), at("3", 201, 100)], {"1", "2"}),
        ([at("1", 0, 100), at("2", 150, 20)], {"1"}),
        ([at("1", 0, None), at("2", 150, 20), at("3", 160, 20)], {"2", "3"}),
        ([at("2", 0, 100, "1"), at("1", 50, None)], {"1", "2"}),
        ([at("2", 0, 100, "1"), at("1", 101, None)], {"2"}),
        ([at("1", 0, None), at("2", 1, None)], set()),
        ([at("1", 0, 20_000)], set()),
        ([], set()),
    ],
)
def test_boxes_within_the_uncertainty_are_all_first(arrivals: list[BoxArrival], first: set[str]) -> None:
    """First are all Boxes that are not surely later."""
    assert may_be_first(arrivals) == first


def arrival_of(finding: Finding) -> BoxArrival:
    facts = facts_of(1, [KnownFinding(1, 1, (1,), finding)], lambda _box_id, _t_ns: BoxPlace())
    return facts.arrivals[0]


def test_an_arrivals_uncertainty_includes_clock_and_waveform() -> None:
    shown = (("onset_within_ms", 0.4),)
    finding = Finding("sag", "1", START_NS, START_NS + 10**8, 300_000, figures=shown)
    assert arrival_of(finding).uncertainty_ns == 500_000
    assert arrival_of(Finding("sag", "1", START_NS, START_NS + 10**8, 300_000)).uncertainty_ns == 300_000
    unknown = Finding("sag", "1", START_NS, START_NS + 10**8, UNKNOWN, figures=shown)
    assert arrival_of(unknown).uncertainty_ns == UNKNOWN
    absurd = Finding("sag", "1", START_NS, START_NS + 10**8, 1000, figures=(("onset_within_ms", -1e300),))
    assert arrival_of(absurd).uncertainty_ns == UNKNOWN, "a figure of somebody's own analysis"
    aligned = WaveformAlignment("2", -1_000, 30_000, 100, 7, "by their waveforms")
    compared = Finding("sag", "1", START_NS, START_NS + 10**8, UNKNOWN, figures=shown, alignment=aligned)
    assert arrival_of(compared) == BoxArrival("1", START_NS - 1_000, 401_124, "2")
