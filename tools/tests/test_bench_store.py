"""`bench store`: its figures are of the store's own calls, and any span holds its limits."""

from pathlib import Path

from anyio.from_thread import start_blocking_portal

from bench.harness.store_filling import filled
from bench.harness.store_spans import span_cost
from bench.store import measurement_cost
from opq_cloud.store.embedded.embedded_store import EmbeddedStore


def test_a_measurement_has_its_cost_and_its_bytes(tmp_path: Path) -> None:
    cpu, written = measurement_cost(tmp_path / "opq.db", 1)
    assert cpu.unit == "us" and cpu.value > 0
    assert written.unit == "bytes" and 100 < written.value < 5000


def test_a_span_of_days_fits_its_level(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "opq.db")
    filled(store, 3)
    with start_blocking_portal() as loop:
        rows, *costs = span_cost(store, loop, "3 d", 3.0)
    store.close()
    assert rows.case == "3 d: rows of 10 min" and rows.value == 432
    assert [each.unit for each in costs] == ["ms"] * 3
