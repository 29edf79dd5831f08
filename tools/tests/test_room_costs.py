"""What the tests of a room may cost."""

from pathlib import Path

import pytest
from room_costs import RoomCosts, read_shares

ROOT = Path(__file__).resolve().parents[2]


def costs_of(cpu_s: dict[str, float], shares: dict[str, float]) -> RoomCosts:
    costs = RoomCosts(shares)
    for nodeid, seconds in cpu_s.items():
        costs.add(nodeid, seconds, 2 * seconds, counts=True)
    return costs


def test_a_room_above_its_share_is_named() -> None:
    costs = costs_of({"proto/tests/a.py::a": 30.0, "hil/tests/b.py::b": 70.0}, {"proto": 29, "hil": 71})
    (line,) = costs.excesses()
    assert line.startswith("proto: its tests take 30.0 % of the CPU time, at most 29 % are allowed;")


def test_a_slow_machine_changes_no_share() -> None:
    seconds = {"proto/tests/a.py::a": 3.0, "hil/tests/b.py::b": 7.0}
    assert (
        costs_of({test: 2 * each for test, each in seconds.items()}, {"proto": 31, "hil": 71}).excesses()
        == []
    )


def test_a_longer_path_is_its_own_room() -> None:
    costs = costs_of(
        {"gateway/tests/test_rules_a.py::a": 1.0, "gateway/tests/test_b.py::b": 3.0},
        {"gateway": 75, "gateway/tests/test_rules": 25},
    )
    assert costs.excesses() == []
    assert [line.split()[0] for line in costs.lines()] == ["gateway", "gateway/tests/test_rules"]
    assert "    1 tests  CPU      3 s = 75.0 % of at most 75 %  wall      6 s" in costs.lines()[0]


def test_a_room_without_a_share_is_named() -> None:
    (line,) = costs_of({"cellar/tests/a.py::a": 1.0}, {}).excesses()
    assert line.startswith("cellar: its tests take 100.0 %")


def test_every_room_that_pytest_collects_has_a_share(pytestconfig: pytest.Config) -> None:
    shares = read_shares(ROOT / "pyproject.toml")
    assert set(pytestconfig.getini("testpaths")) <= set(shares)
    assert all((ROOT / f"{room}").exists() or list(ROOT.glob(f"{room}*")) for room in shares)


def test_the_dearest_files_come_first() -> None:
    costs = costs_of({"a/a.py::one": 2.0, "b/b.py::only": 3.0, "a/a.py::two": 2.0, "c/c.py::c": 1.0}, {})
    dearest, second = costs.dearest_files(2)
    assert dearest.split() == ["CPU", "4", "s", "wall", "8", "s", "2", "tests", "a/a.py"]
    assert second.endswith(" 1 tests  b/b.py")
