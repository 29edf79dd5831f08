"""The text of `/metrics` is what Prometheus reads."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from opq_gateway.counters import MEANING, BoxCounters
from opq_gateway.local.metrics import GatewayMetrics

names = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
)


@given(st.dictionaries(names, st.none() | st.floats(allow_nan=False), max_size=4))
def test_prometheus_reads_what_is_written(values: dict[str, float | None]) -> None:
    counters = {name: BoxCounters() for name in values}
    metrics = GatewayMetrics({}, counters)
    metrics.add("age", "a text\nof \\ two lines", lambda: values, "thread")
    found = _read(metrics.text())
    gauges = {key: value for key, value in found.items() if key[0] == "opq_gateway_age"}
    assert gauges == {
        ("opq_gateway_age", (("thread", name),)): value for name, value in values.items() if value is not None
    }
    counted = {(f"opq_gateway_{name}_total", (("box_id", box),)) for name in MEANING for box in values}
    assert counted == {key for key in found if key[0].endswith("_total") and key[1]}


def test_the_process_tells_of_itself() -> None:
    found = _read(GatewayMetrics({}, {}).text())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    assert found["process_resident_memory_bytes", ()] == pytest.approx(4096 * pages, rel=0.2)
    assert 0 < found["process_open_fds", ()] <= found["process_max_fds", ()]
    assert found["process_cpu_seconds_total", ()] > 0 and found["process_start_time_seconds", ()] > 1e9


def _read(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    samples: Iterable = (
        each for family in text_string_to_metric_families(text.decode()) for each in family.samples
    )
    return {(sample.name, tuple(sample.labels.items())): sample.value for sample in samples}
