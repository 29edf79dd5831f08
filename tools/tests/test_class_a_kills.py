"""kill -9 of the gateway, the brokers and the writer of the cloud, again and again: each interval once."""

import random
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from class_a_system import QUESTION_S, ClassASystem, Row, whole_rows
from house_under_test import until

KINDS = ("3s", "10s", "10min", "2h")
VICTIMS = ("gateway", "triggering-service", "triggering-broker", "acquisition-broker")
RUNS_S, AWAY_S = 6.0, 1.5
"""A process runs at most so long before one is killed, and is away at most so long."""


def kill_at_random(system: ClassASystem, kills: int, chance: random.Random) -> Counter[str]:
    """Kills one of the processes at a time; returns how often each was killed."""
    counts: Counter[str] = Counter()
    for number in range(kills):
        time.sleep(chance.uniform(0.0, RUNS_S))
        victim = VICTIMS[number % len(VICTIMS)]
        system.check_that_all_run()
        system.kill(victim)
        counts[victim] += 1
        time.sleep(chance.uniform(0.0, AWAY_S))
        system.start(victim)
    return counts


def windows_of(parts: list[tuple[int, Row]]) -> dict[int, list[Row]]:
    """Start -> the parts in which the windows of that interval were measured."""
    found: dict[int, list[Row]] = defaultdict(list)
    for start_ns, row in parts:
        if "coverage" in row:
            found[start_ns].append(row)
    return found


def check(stored: list[Row], parts: list[tuple[int, Row]]) -> int:
    """What was measured in one part is stored bit for bit, the rest with the greatest coverage at least.

    Returns the number of intervals that were measured in more than one part.
    """
    windows = windows_of(parts)
    several = {start_ns for start_ns, rows in windows.items() if len(rows) > 1}
    whole = {row["start_ns"]: row for row in whole_rows([each for each in parts if each[0] not in several])}
    for row in stored:
        start_ns = row["start_ns"]
        if start_ns in several:
            assert row["coverage"] >= max(each["coverage"] for each in windows[start_ns])
        else:
            assert row == whole[start_ns]
    return len(several)


@pytest.mark.slow  # test_class_a_whole.py always runs, and a kill in test_measuring_two_hours.py
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("kills", "seed"), [(60, 61), (4, 62)])
def test_kills_lose_and_double_no_interval(tmp_path: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    apart = ("triggering-broker", "acquisition-broker", "triggering-service")
    settings = {"triggering_service": {"rules": {"enabled": False}}}
    with ClassASystem(tmp_path, (*KINDS, "disturbances"), settings, apart) as system:
        system.wait_for_first("3s")
        counts = kill_at_random(system, kills, chance)
        system.end("boxes")
        system.settle_ledger(KINDS)
        rows: dict[str, int] = {}
        several: dict[str, int] = {}
        for kind in KINDS:
            parts = system.ledger(kind)
            stored = stored_when_complete(system, kind, {start_ns for start_ns, _ in parts})
            several[kind], rows[kind] = check(stored, parts), len(stored)
        dips = system.ledger_disturbances()
        until(lambda: len(system.stored_disturbances()) >= len(dips), 60, f"{len(dips)} dips in the store")
        assert {each[:2] for each in system.stored_disturbances()} == {each[:2] for each in dips}
        numbers = Counter(system.sequences())
    assert set(numbers.values()) == {1}
    print(f"{dict(counts)}; {rows} intervals, {several} of them in parts; {len(numbers)} Measurements")
    assert rows["3s"] > kills / 2 and sum(counts.values()) == kills


def stored_when_complete(system: ClassASystem, kind: str, starts: set[int]) -> list[Row]:
    """The stored intervals, once all of the ledger's are there: each once, and no others."""
    stored: list[Any] = []

    def complete() -> bool:
        stored[:] = system.stored(kind)
        missing = starts - {row["start_ns"] for row in stored}
        time.sleep(QUESTION_S if missing else 0.0)
        return not missing

    until(complete, 120, f"{len(starts)} intervals of {kind} in the store")
    assert sorted(row["start_ns"] for row in stored) == sorted(starts)
    return stored
