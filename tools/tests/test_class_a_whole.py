"""A Box by Sim, and a real cloud that is away meanwhile: each value of the ledger is in the store once."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from class_a_system import QUESTION_S, ClassASystem, whole_rows
from house_under_test import until

from opq_sim.faults.parts import mongo_server
from opq_sim.faults.parts.mongo_server import MongoServer

ALL = ("3s", "10s", "10min", "2h", "disturbances")
FEW = ("10s", "10min", "2h", "disturbances")
"""FerretDB stores each row by itself, and takes a third of a core for one in three seconds."""


@pytest.fixture(params=["embedded", pytest.param("ferretdb", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, dict[str, str]]]:
    """The section `[store]` of a cloud."""
    with ExitStack() as opened:
        if request.param == "embedded":
            yield {}
            return
        if not mongo_server.program().exists():
            pytest.skip("FerretDB is not built (cloud/tests/store/ferretdb_build.py)")
        yield {"store": opened.enter_context(MongoServer(tmp_path / "mongo")).settings}


def arrived(read: Callable[[], list[Any]], wanted: list[Any], what: str) -> None:
    """Waits until the store has as many rows as are wanted, which must be these."""
    found: list[Any] = []

    def there() -> bool:
        found[:] = read()
        time.sleep(0.0 if len(found) >= len(wanted) else QUESTION_S)
        return len(found) >= len(wanted)

    until(there, 60, f"{len(wanted)} {what} in the store")
    assert found == wanted


def check_all_arrives(system: ClassASystem, kinds: tuple[str, ...]) -> dict[str, int]:
    """The ledger and the store agree, bit for bit; returns how many intervals each length has."""
    counts = {}
    for kind in kinds:
        wanted = whole_rows(system.ledger(kind))
        arrived(partial(system.stored, kind), wanted, f"intervals of {kind}")
        counts[kind] = len(wanted)
    dips = system.ledger_disturbances()
    assert dips
    arrived(system.stored_disturbances, dips, "disturbances")
    return {**counts, "disturbances": len(dips)}


def pass_time(system: ClassASystem, seconds: float) -> None:
    """Lets the Box measure; no process may end by itself."""
    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        time.sleep(min(left_s, 0.5))
        system.check_that_all_run()


def played(folder: Path, store: dict[str, dict[str, str]], parts_s: tuple[float, ...]) -> dict[str, int]:
    """A Box that is measured for the first part, then without the cloud, then with it; returns the counts."""
    intervals = FEW if store else ALL
    kinds = tuple(kind for kind in intervals if kind != "disturbances")
    with ClassASystem(folder, intervals, store) as system:
        system.wait_for_first("10s")
        before_s, without_s, after_s = parts_s
        pass_time(system, before_s)
        system.kill("cloud")
        at_kill = {kind: len(system.ledger(kind)) for kind in kinds}
        pass_time(system, without_s)
        made = {kind: len(system.ledger(kind)) - count for kind, count in at_kill.items()}
        assert made["10s"] > 0
        system.start("cloud")
        pass_time(system, after_s)
        system.end("boxes")
        system.settle_ledger(kinds)
        return {**check_all_arrives(system, kinds), "10min while it was away": made["10min"]}


@pytest.mark.timeout(600)
def test_intervals_survive_a_cloud_that_is_away(tmp_path: Path, store: dict[str, dict[str, str]]) -> None:
    counts = played(tmp_path, store, (2.0, 25.0, 2.0))
    assert counts["10s"] >= 3 and counts["disturbances"] >= 1


@pytest.mark.soak
def test_25_minutes_with_the_cloud_away_for_13(tmp_path: Path, store: dict[str, dict[str, str]]) -> None:
    counts = played(tmp_path, store, (300.0, 780.0, 420.0))
    print(counts)
    assert counts["10min while it was away"] >= 1 and counts["10min"] >= 2
