"""`bench view`: its store is the same whenever it is filled."""

from pathlib import Path

import pytest

from bench.harness.filled import fill_incidents
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.incidents.index import IncidentFilter

NOW_MS = 1_796_000_000_000
INCIDENTS = 100
"""A year of these has its dips a multiple of nine seconds apart, as a quick run has."""


@pytest.mark.parametrize("later_ms", range(0, 9_000, 1_000))
def test_filter_finds_dips_whenever_filled(tmp_path: Path, later_ms: int) -> None:
    store = EmbeddedStore(tmp_path / "opq.db")
    fill_incidents(store, 10, INCIDENTS, NOW_MS + later_ms)
    assert store.count_incidents(IncidentFilter(kind="sag", least_severity=4.0), INCIDENTS) == 13
    store.close()
