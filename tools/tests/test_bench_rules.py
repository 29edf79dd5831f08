"""The benchmark of the rule engine: its loads go through whole, and give what they should."""

import msgspec
import pytest

from bench.rules import transports
from bench.rules.figures import FAN, FILTER, latency_rows, thresholds, windowed
from bench.rules.flow import PayloadLoad, flowed, payloads


def test_every_event_passes_every_rule_once() -> None:
    given = payloads(2_000)
    values = [msgspec.json.decode(each)["v"] for each in given]
    above = sum(v > 126 for v in values)
    found = flowed(FILTER, PayloadLoad(given, 3))
    assert (found.events, found.emissions, found.dropped) == (6_000, 3 * above, 0)
    found = flowed(FAN[:20], PayloadLoad(given, 1))
    assert (found.emissions, found.dropped) == (20 * above, 0)
    rules = thresholds(500)
    limits = [float(each["sql"].rpartition(" ")[2]) for each in rules]
    found = flowed(rules, PayloadLoad(given, 1))
    assert found.emissions == sum(v > limit for v in values for limit in limits)
    found = flowed(windowed(50), PayloadLoad(given, 1))
    assert (found.events, found.emissions, found.dropped) == (2_000, 0, 0)


def test_latency_is_reported_of_every_event() -> None:
    p50, p99 = latency_rows(0.2, 1, None)
    assert 0 < p50.value <= p99.value


@pytest.mark.parametrize(
    ("what", "send"),
    [
        ("file", transports.send_nothing),
        ("memory", transports.send_nothing),
        ("httppush", transports.post),
        ("httppush rows", transports.post_rows),
    ],
)
def test_a_transport_is_measured_when_all_has_arrived(what: str, send: transports.Send) -> None:
    assert all(each > 0 for each in transports.measured(what, transports.free_port(), 1000, send))
