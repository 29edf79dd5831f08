"""A gateway that knows the carrier of the mains signalling measures its voltage; another has none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_measuring_thread import HELLO, Bench, blocks_of

from opq_cloud.reports.limit_table import limit_table
from opq_cloud.store import open_store
from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.ledger_rows import measurement_of
from opq_gateway.measuring.measuring_plan import MeasuringPlan
from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire

RATE_HZ, SECOND_NS = 2400, 10**9
TEN_NS = 600 * SECOND_NS
START_NS = 3_000_000 * TEN_NS
SLOW = replace(HELLO, rate_millihz=2_400_000)
CARRIER_HZ, SIGNAL_V = 235.0, 2.4


def of_ten_minutes(folder: Path, carrier_hz: float, since_s: int = 0) -> dict[str, list[Values]]:
    """What is in the ledger of ten minutes of 120 V, from `since_s` on, with a signal in their first half."""
    at_s = np.arange(since_s * RATE_HZ, 604 * RATE_HZ) / RATE_HZ
    signal = np.where(at_s < 300, SIGNAL_V, 0.0) * np.sin(2 * np.pi * CARRIER_HZ * at_s)
    volts = np.sqrt(2) * (
        120.0 * np.sin(2 * np.pi * 60 * at_s) + 4.0 * np.sin(2 * np.pi * 300 * at_s) + signal
    )
    plan = MeasuringPlan("1", 120.0, 60.0, flicker=False, signalling_hz=carrier_hz)
    bench = Bench(folder, plan, SLOW)
    bench.feed(blocks_of(volts, START_NS + since_s * SECOND_NS, rate_millihz=2_400_000), at_once=120)
    assert bench.end().ledger is not None
    ledger = bench.ledger
    assert ledger is not None
    return {kind: list(ledger.read(kind, START_NS, START_NS + TEN_NS)) for kind in ("3s", "10min")}


def test_a_known_carrier_is_measured(tmp_path: Path) -> None:
    found = of_ten_minutes(tmp_path / "ledger", CARRIER_HZ)
    short = np.array([each.values["signalling_v"] for each in found["3s"]])
    assert len(short) >= 199
    assert short[:99] == pytest.approx(SIGNAL_V, rel=0.005) and np.all(short[102:] < 0.02)
    (ten,) = [each for each in found["10min"] if each.start_ns == START_NS]
    assert ten.values["signalling_v"] == pytest.approx(SIGNAL_V / np.sqrt(2), rel=0.01)
    assert ten.values["signalling_max_v"] == pytest.approx(SIGNAL_V, rel=0.01)

    store = open_store(None, tmp_path / "store")
    sent = measurement_from_wire(measurement_to_wire(replace(measurement_of(ten), sequence=7)))
    store.intervals.append([sent])
    columns = store.intervals.read("1", 600_000, START_NS, START_NS + 1)
    store.close()
    for name in ("signalling_v", "signalling_max_v"):
        assert columns.values[name][0] == np.float32(ten.values[name])  # type: ignore[arg-type]
    assert "signalling_v" in {limit.quantity for limit in limit_table("en50160").limits}


def test_an_unknown_carrier_has_no_voltage(tmp_path: Path) -> None:
    found = of_ten_minutes(tmp_path / "ledger", 0.0, since_s=290)
    assert found["10min"] and not any("signalling_v" in row.values for rows in found.values() for row in rows)
