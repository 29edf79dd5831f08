"""The text of `/metrics` is what Prometheus reads."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from opq_gateway.local.metrics import Family, exposition, process

values = st.floats(allow_nan=False) | st.integers(0, 2**60)
families = st.builds(
    Family,
    st.from_regex(r"[a-z][a-z_]{0,20}[a-z]_total", fullmatch=True),
    st.just("counter"),
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), max_size=40),
    st.sampled_from(("box_id", "thread")),
    st.dictionaries(
        st.text(
            st.characters(
                exclude_categories=("Cs",), exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
            )
        ),
        values,
        min_size=1,
        max_size=4,
    ),
)


@given(st.lists(families, max_size=3, unique_by=lambda family: family.name))
def test_prometheus_reads_what_is_written(told: list[Family]) -> None:
    assert _read(exposition(told)) == {
        (family.name, ((family.label, key),)): float(value)
        for family in told
        for key, value in family.values.items()
    }


def test_the_process_tells_of_itself() -> None:
    found = _read(exposition(process()))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    assert found["process_resident_memory_bytes", ()] == pytest.approx(4096 * pages, rel=0.2)
    assert 0 < found["process_open_fds", ()] <= found["process_max_fds", ()]
    assert found["process_cpu_seconds_total", ()] > 0 and found["process_start_time_seconds", ()] > 1e9


def _read(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    samples: Iterable = (
        each for family in text_string_to_metric_families(text.decode()) for each in family.samples
    )
    return {(sample.name, tuple(sample.labels.items())): sample.value for sample in samples}
