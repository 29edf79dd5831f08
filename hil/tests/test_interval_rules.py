"""Rules on intervals of a fault world: what is lost, doubled, made up or changed is named."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from opq_gateway.measuring.feed import Values
from opq_proto.messages import TimeSource
from opq_sim.faults.evidence import Evidence
from opq_sim.faults.rules.ledger_intervals import intervals

S = 10**9


def windows(at: int, coverage: float = 0.9, rms_v: float = 119.7) -> Values:
    values: dict[str, float | tuple[float, ...]] = {
        "rms_v": rms_v,
        "coverage_ratio": coverage,
        "harmonics_v": (119.3, 0.1),
    }
    start_ns = at * 3 * S
    return Values("1", "3s", start_ns, start_ns + 3 * S, 500, TimeSource.GPS, at % 2 == 1, values)


def dip(at: int) -> Values:
    return Values("1", "dip", at * S, at * S + 1, 5, TimeSource.GPS, False, {"residual_v": 80.0})


def row(values: Values, **other: Any) -> dict[str, Any]:
    """What `export intervals` writes of it."""
    harmonics = values.values["harmonics_v"]
    assert isinstance(harmonics, tuple)
    return {
        "box_id": "1",
        "length_ms": 3000,
        "start_ns": values.start_ns,
        "end_ns": values.end_ns,
        "flagged": values.flagged,
        "coverage": float(str(np.float32(values.values["coverage_ratio"]))),
        "rms_v": float(str(np.float32(values.values["rms_v"]))),
        "h1_v": float(str(np.float32(harmonics[0]))),
        "h2_v": float(str(np.float32(harmonics[1]))),
        **other,
    }


def evidence(ledger: list[Values], stored: list[dict[str, Any]], dips: tuple[int, ...] = ()) -> Evidence:
    return Evidence(
        ledger={"1": ledger},
        unsent={"1": Counter()},
        intervals={"3s": stored},
        disturbances=[{"box_id": "1", "class": "dip", "start_ns": at * S} for at in dips],
    )


def test_intervals_that_are_stored_once_are_well() -> None:
    ledger = [*map(windows, range(4)), dip(2)]
    assert intervals("1", evidence(ledger, list(map(row, map(windows, range(4)))), (2,))) == []


def test_one_that_was_not_acknowledged_may_be_absent() -> None:
    found = evidence([windows(0), windows(1)], [row(windows(0))])
    (problem,) = intervals("1", found)
    assert "1 are in the ledger and not in the store: 3000000000" in problem
    found.unsent["1"]["3s", 3 * S] = 1
    assert intervals("1", found) == []


@pytest.mark.parametrize(
    ("stored", "dips", "words"),
    [
        ([row(windows(0))] * 2, (2,), "stored twice: 0"),
        ([row(windows(0)), row(windows(7))], (2,), "in the store and not in the ledger: 21000000000"),
        ([row(windows(0), rms_v=119.70002)], (2,), "differ from the ledger: 0"),
        ([row(windows(0), flagged=True)], (2,), "differ from the ledger: 0"),
        ([row(windows(0), h2_v=None)], (2,), "differ from the ledger: 0"),
        ([row(windows(0), coverage=0.8)], (2,), "differ from the ledger: 0"),
        ([row(windows(0))], (), "disturbances: 1 are in the ledger and not in the store: 2000000000"),
        ([row(windows(0))], (2, 3), "disturbances: 1 are in the store and not in the ledger: 3000000000"),
    ],
)
def test_what_is_wrong_is_named(stored: list[dict[str, Any]], dips: tuple[int, ...], words: str) -> None:
    (problem,) = intervals("1", evidence([windows(0), dip(2)], stored, dips))
    assert words in problem


def test_two_parts_have_the_better_coverage() -> None:
    ledger = [windows(0, 0.3), windows(0, 0.5, 118.0)]
    assert intervals("1", evidence(ledger, [row(windows(0, 0.5, 118.0))])) == []
    assert intervals("1", evidence(ledger, [row(windows(0, 0.8, 118.5))])) == []
    (problem,) = intervals("1", evidence(ledger, [row(windows(0, 0.3))]))
    assert "differ from the ledger" in problem
