"""The accounts of `bench fleet`: every number that a Box made is found or named; all of it, small."""

import json
from pathlib import Path

import pytest

from bench.fleet.figures import run
from bench.fleet.numbers import account_of, held_of, numbers_of, stored_runs
from opq_cloud.store import open_store
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_sim.faults.evidence import FILE_NAME

S = 10**9
ZERO_NS = 1_795_000_000 * S


def measured(box_id: str, numbers: range) -> list[Measurement]:
    """One a second, under these numbers."""
    return [
        Measurement(
            box_id, ZERO_NS // 10**6 + 1000 * k, {"rms": Metric(119.0, 121.0, 120.0)}, ZERO_NS + (k - 1) * S,
            ZERO_NS + k * S, 1000, TimeSource.GPS, sequence=number,
        )
        for k, number in enumerate(numbers)
    ]  # fmt: skip


def numbers_file(folder: Path, told: dict[str, tuple[int, int]]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "numbers.json").write_text(json.dumps(told))
    return folder


def test_every_measurement_is_stored_held_or_named(tmp_path: Path) -> None:
    store = open_store(None, tmp_path)
    store.append_measurements([*measured("1", range(100, 160)), *measured("2", range(100, 130))])
    store.append_measurements(measured("3", range(150, 160)))
    store.close()
    first, second = tmp_path / "a", tmp_path / "b"
    begun = numbers_of(
        [numbers_file(first, {"1": (100, 100), "2": (104, 100)}), numbers_file(second, {"3": (100, 100)})]
    )
    ended = numbers_of(
        [numbers_file(first, {"1": (160, 150), "2": (140, 130)}), numbers_file(second, {"3": (160, 155)})]
    )
    found = account_of(held_of(begun, ended), stored_runs(tmp_path / FILE_NAME))
    assert (found.made, found.stored, found.waiting) == (160, 100, 10)
    (problem,) = found.problems
    assert problem.startswith("Box 3: 50 Measurements were acknowledged and are in no store: 100")


def test_a_process_that_has_not_begun_says_nothing(tmp_path: Path) -> None:
    assert numbers_of([tmp_path / "nothing"]) == {}


@pytest.mark.slow
def test_a_small_fleet_loses_nothing_and_is_answered() -> None:
    found = {row.case: row for row in run(quick=True).results}
    assert all(row.value <= row.limit for row in found.values() if row.limit is not None), found
    assert found["Measurements made meanwhile"].value > 600
    assert found["requested waveforms"].value > 10
    assert found["each Box is heard again after all services were killed"].runs == 1
