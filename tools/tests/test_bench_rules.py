"""The benchmark of the rule engine: its loads go through whole, and give what they should."""

import msgspec
import pytest

from bench import rules as bench_rules
from bench.harness.flow import PayloadLoad, flowed, payloads
from bench.rules import FAN, FILTER, latency_rows, thresholds, windowed


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
        ("file", bench_rules.send_nothing),
        ("memory", bench_rules.send_nothing),
        ("httppush", bench_rules.post),
        ("httppush rows", bench_rules.post_rows),
    ],
)
def test_a_transport_is_measured_when_all_has_arrived(what: str, send: bench_rules.Send) -> None:
    assert all(each > 0 for each in bench_rules.measured(what, bench_rules.free_port(), 1000, send))
